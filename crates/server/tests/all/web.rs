//! gRPC-Web as a browser speaks it, over HTTP/1.1 and byte by byte: pages of configured origins
//! are served, others are not, and by default there is none.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::sync::Arc;

use crate::world::{Shape, World, prepared};
use prost::Message;
use proto::auth::v1::{ListLandingOptionsRequest, ListLandingOptionsResponse};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ORIGIN: &str = "https://www.ccass.com";
const PATH: &str = "/tidemark.auth.v1.AuthService/ListLandingOptions";

/// What came back.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(known, _)| known == name);
        named.next().map(|(_, value)| value.as_str())
    }
}

/// A world of one node that was started with these lines before its configuration.
async fn started(lines: &str) -> World {
    let mut world = prepared(Shape::OneNode);
    let file = world.folder().join("node-1.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{lines}\n{text}")).unwrap();
    let node = world.start(0).await.unwrap();
    world.nodes.push(node);
    world.status(0).await;
    world
}

/// Sends one HTTP/1.1 request as the front end's connection carries it, and reads to the end.
async fn send(world: &World, head: &str, body: &[u8]) -> Option<Answer> {
    let mut roots = rustls::RootCertStore::empty();
    let anchor = std::fs::read_to_string(world.folder().join("peer.pem")).unwrap();
    roots
        .add(CertificateDer::from_pem_slice(anchor.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(world.front.certificate_pem.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(world.front.key_pem.as_bytes()).unwrap(),
        )
        .unwrap();
    let address = world.nodes[0].addresses().front;
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    let request = format!(
        "{head}Host: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut bytes = Vec::new();
    // A server that does not speak HTTP/1.1 cuts the connection.
    let _cut_off = stream.read_to_end(&mut bytes).await;
    read(&bytes)
}

fn read(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer {
        status,
        headers,
        body: bytes[end + 4..].to_vec(),
    };
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = unchunked(&answer.body);
    }
    Some(answer)
}

fn unchunked(mut left: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = left.windows(2).position(|two| two == b"\r\n") {
        let length = std::str::from_utf8(&left[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            break;
        }
        whole.extend_from_slice(&left[end + 2..end + 2 + length]);
        left = &left[end + 2 + length + 2..];
    }
    whole
}

/// The frames of a gRPC-Web answer: a flag, and what it holds.
fn frames(mut left: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = left.split_at_checked(5) {
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        let (frame, rest) = rest.split_at(usize::try_from(length).unwrap());
        frames.push((head[0], frame.to_vec()));
        left = rest;
    }
    frames
}

fn message() -> Vec<u8> {
    let message = ListLandingOptionsRequest::default().encode_to_vec();
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&message);
    frame
}

fn post(origin: &str) -> String {
    format!(
        "POST {PATH} HTTP/1.1\r\nOrigin: {origin}\r\nContent-Type: application/grpc-web+proto\r\n\
         X-Grpc-Web: 1\r\nCookie: session=stale\r\n"
    )
}

fn preflight(origin: &str) -> String {
    format!(
        "OPTIONS {PATH} HTTP/1.1\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: content-type,x-grpc-web\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_configured_origin_calls_by_grpc_web_and_no_other() {
    let world = started(&format!("web_origins = [\"{ORIGIN}\"]")).await;

    let asked = send(&world, &preflight(ORIGIN), b"").await.unwrap();
    assert_eq!(asked.status, 204);
    assert_eq!(asked.header("access-control-allow-origin"), Some(ORIGIN));
    assert_eq!(asked.header("access-control-allow-methods"), Some("POST"));
    let allowed = asked.header("access-control-allow-headers").unwrap();
    assert!(allowed.contains("x-grpc-web") && allowed.contains("authorization"));
    assert_eq!(asked.header("vary"), Some("origin"));

    let answer = send(&world, &post(ORIGIN), &message()).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(ORIGIN));
    let frames = frames(&answer.body);
    assert_eq!(frames.len(), 2, "a message and the trailers");
    let landing = ListLandingOptionsResponse::decode(frames[0].1.as_slice()).unwrap();
    assert_eq!((frames[0].0, landing.options.len()), (0, 5));
    assert_eq!(frames[1].0, 0x80);
    let trailers = String::from_utf8(frames[1].1.clone()).unwrap();
    assert!(trailers.contains("grpc-status:0"), "{trailers}");

    // Never `*`, never cookies: for nobody.
    for answer in [&asked, &answer] {
        assert!(answer.header("access-control-allow-credentials").is_none());
        assert!(answer.header("set-cookie").is_none());
    }
    for other in [
        "https://evil.example",
        "https://www.ccass.com.evil.example",
        "http://www.ccass.com",
        "https://www.ccass.com:8443",
        "null",
    ] {
        for (head, body) in [(preflight(other), Vec::new()), (post(other), message())] {
            let refused = send(&world, &head, &body).await.unwrap();
            assert_eq!(refused.status, 403, "{other}");
            assert!(refused.header("access-control-allow-origin").is_none());
            assert!(refused.body.is_empty());
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_configured_origins_no_page_is_served() {
    let world = started("").await;
    for (head, body) in [(preflight(ORIGIN), Vec::new()), (post(ORIGIN), message())] {
        let answer = send(&world, &head, &body).await;
        assert!(answer.is_none(), "HTTP/1.1 is not spoken");
    }
    world.stop().await;
}
