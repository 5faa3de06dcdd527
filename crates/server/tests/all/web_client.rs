//! gRPC-Web through a client library that is not ours, over HTTP/1.1 and TLS with the front end's
//! certificate: answers, statuses and their details arrive whole, and at a configured origin alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::world::{Shape, World, at, prepared, request_at, until};
use http::header::{HOST, ORIGIN};
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::verify_factor_request::Factor;
use proto::auth::v1::{
    BeginLoginRequest, ListLandingOptionsRequest, LogoutRequest, VerifyFactorRequest,
};
use proto::operator::v1::AdvanceClockRequest;
use proto::operator::v1::clock_service_client::ClockServiceClient;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tonic::Code;
use tonic::body::Body;
use tonic_types::StatusExt;
use tonic_web::{GrpcWebCall, GrpcWebClientLayer, GrpcWebClientService};
use tower::{Layer, Service};

const PAGE: &str = "https://www.ccass.com";
const ADDRESS: &str = "192.0.2.1";

/// What a browser is to a page: one connection, and the page's origin on each of its requests.
#[derive(Clone)]
struct Browser {
    origin: HeaderValue,
    connection: Arc<Mutex<SendRequest<GrpcWebCall<Body>>>>,
}

impl Service<Request<GrpcWebCall<Body>>> for Browser {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<GrpcWebCall<Body>>) -> Self::Future {
        let path = request.uri().path().parse().unwrap();
        *request.uri_mut() = path;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        headers.insert(ORIGIN, self.origin.clone());
        let connection = self.connection.clone();
        Box::pin(async move {
            let mut connection = connection.lock().await;
            connection.ready().await?;
            connection.send_request(request).await
        })
    }
}

type Client = AuthServiceClient<GrpcWebClientService<Browser>>;

/// A page of this origin, connected to the first node as the front end.
async fn page(world: &World, origin: &'static str) -> Client {
    let mut roots = rustls::RootCertStore::empty();
    let anchor = CertificateDer::from_pem_file(world.folder().join("peer.pem")).unwrap();
    roots.add(anchor).unwrap();
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
    let stream = connector.connect(name, stream).await.unwrap();
    let (connection, driver) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(driver);
    let browser = Browser {
        origin: HeaderValue::from_static(origin),
        connection: Arc::new(Mutex::new(connection)),
    };
    let service = GrpcWebClientLayer::new().layer(browser);
    AuthServiceClient::with_origin(service, Uri::from_static("https://localhost"))
}

/// Two centres in session 1; pages of one origin may call.
async fn started() -> World {
    let mut world = prepared(Shape::TwoCentres);
    for node in 0..2 {
        let file = world.folder().join(format!("node-{}.toml", node + 1));
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("web_origins = [\"{PAGE}\"]\n{text}")).unwrap();
        let node = world.start(node).await.unwrap();
        world.nodes.push(node);
    }
    world.founded().await;
    let seconds = i64::try_from(at(18, 1).0 / 1_000).unwrap();
    ClockServiceClient::new(world.operator(0, &world.kay).await)
        .advance_clock(AdvanceClockRequest {
            request_id: now(&world),
            clock_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        })
        .await
        .unwrap();
    world
}

fn now(world: &World) -> String {
    request_at(world.nodes[0].lines().time())
}

fn login(world: &World) -> BeginLoginRequest {
    BeginLoginRequest {
        request_id: now(world),
        user_id: "C00001U9".to_owned(),
        option: "ccms-otp-online".to_owned(),
        password: "low tide at noon".to_owned(),
        client_address: ADDRESS.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_web_client_gets_answers_statuses_and_details() {
    let world = started().await;
    let mut client = page(&world, PAGE).await;

    let answer = client
        .list_landing_options(ListLandingOptionsRequest::default())
        .await
        .unwrap();
    let allowed = answer.metadata().get("access-control-allow-origin");
    assert_eq!(allowed.unwrap(), PAGE);
    assert_eq!(answer.into_inner().options.len(), 5);

    let begun = until("the session opens", async || {
        client.begin_login(login(&world)).await.ok()
    })
    .await
    .into_inner();
    let refused = client
        .verify_factor(VerifyFactorRequest {
            request_id: now(&world),
            login_id: begun.login_id,
            factor: Some(Factor::Code("123456".to_owned())),
            client_address: ADDRESS.to_owned(),
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(!refused.message().is_empty());
    let info = refused.get_details_error_info().unwrap();
    let told = (info.reason.as_str(), info.domain.as_str());
    assert_eq!(told, ("CREDENTIALS_REJECTED", "tidemark"));
    assert!(info.metadata.contains_key("reference"), "{info:?}");
    let local = refused.get_details_localized_message().unwrap();
    assert_eq!(local.locale, "zh-Hant");

    // The token of a page comes in a header of its request, as any front end's does.
    let mut request = tonic::Request::new(LogoutRequest {
        request_id: now(&world),
        client_address: ADDRESS.to_owned(),
    });
    let bearer = "Bearer never-told".parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    let refused = client.logout(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    assert!(refused.get_details_error_info().is_some());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_web_client_of_another_origin_is_refused_and_changes_nothing() {
    let world = started().await;
    let mut ours = page(&world, PAGE).await;
    until("the session opens", async || {
        ours.begin_login(login(&world)).await.ok()
    })
    .await;
    let applied = world.nodes[0].lines().main().state().header().clone();

    let mut other = page(&world, "https://evil.example").await;
    let refused = other
        .list_landing_options(ListLandingOptionsRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    let refused = other.begin_login(login(&world)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    // It was refused before any rpc: nothing was proposed.
    assert!(refused.get_details_error_info().is_none());
    let allowed = refused.metadata().get("access-control-allow-origin");
    assert!(allowed.is_none(), "{allowed:?}");
    let after = world.nodes[0].lines().main().state().header().clone();
    assert_eq!(after.audit, applied.audit);
    world.stop().await;
}
