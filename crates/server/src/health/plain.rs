//! Whether a node serves people, for load balancers that speak no gRPC (R19): `GET /serving`
//! answers 200 or 503 over plain HTTP, with a line that says why. It is the answer that
//! `grpc.health.v1` gives, from the same source.
//!
//! The listener is off unless `listen.health` names an address. Anybody who reaches it may ask, so
//! it says nothing of keys, accounts or people, reads no body, and holds few connections for a
//! short time. Deliberately absent: every other path.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::SessionId;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::edge::Unserved;
use crate::listener;

/// The one path.
const PATH: &str = "/serving";
/// Most connections at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may last, from its first byte to its last.
const CONNECTION_LIMIT: Duration = Duration::from_secs(2);
/// Most bytes of a request's head; hyper takes no less.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 32;
/// Pause after a connection could not be accepted, for want of file handles as a rule.
const PAUSE: Duration = Duration::from_millis(100);

/// Says which session people can log in to here now, or why they cannot.
pub type People = Arc<dyn Fn() -> Result<SessionId, Unserved> + Send + Sync>;

/// A listener that has its address and answers nobody yet.
#[derive(Debug)]
pub struct Bound {
    socket: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Takes an address; any free port for port 0.
    ///
    /// # Errors
    /// `BindHealth`.
    pub async fn at(address: SocketAddr) -> Result<Self, listener::Error> {
        let failed = |source| listener::Error::BindHealth { address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address })
    }

    /// The address, with its port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Answers until the node stops. What is still asked then is dropped.
pub async fn serve(bound: Bound, people: People, mut stopping: watch::Receiver<bool>) {
    tokio::select! {
        () = answer_all(&bound.socket, &people) => {}
        // The sender is gone only when the node is.
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}

async fn answer_all(socket: &TcpListener, people: &People) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a load balancer's connection was not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let people = Arc::clone(people);
        connections.spawn(async move {
            let _slot = slot;
            let _too_slow =
                tokio::time::timeout(CONNECTION_LIMIT, connection(stream, people)).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// One request of a connection, which then ends.
async fn connection(stream: TcpStream, people: People) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&request, &people);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_LIMIT)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a load balancer's request was cut short");
    }
}

fn answer<B>(request: &Request<B>, people: &People) -> Response<String> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, PATH) => match people() {
            Ok(session) => (
                StatusCode::OK,
                format!("serving: session {session} is open"),
            ),
            Err(why) => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not serving: {why}"),
            ),
        },
        (_, PATH) => (StatusCode::METHOD_NOT_ALLOWED, format!("only GET {PATH}")),
        _ => (StatusCode::NOT_FOUND, format!("only GET {PATH}")),
    };
    let mut answer = Response::new(format!("{text}\n"));
    *answer.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    let never = header::HeaderValue::from_static("no-store");
    answer.headers_mut().insert(header::CACHE_CONTROL, never);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let get = header::HeaderValue::from_static("GET");
        answer.headers_mut().insert(header::ALLOW, get);
    }
    answer
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    struct Listening {
        address: SocketAddr,
        says: Arc<Mutex<Result<SessionId, Unserved>>>,
        stop: watch::Sender<bool>,
        task: tokio::task::JoinHandle<()>,
    }

    async fn listening() -> Listening {
        let bound = Bound::at("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = bound.address();
        let says = Arc::new(Mutex::new(Err(Unserved::Closed)));
        let said = Arc::clone(&says);
        let (stop, stopping) = watch::channel(false);
        let people: People = Arc::new(move || said.lock().unwrap().clone());
        let task = tokio::spawn(serve(bound, people, stopping));
        Listening {
            address,
            says,
            stop,
            task,
        }
    }

    impl Listening {
        /// All that comes back for these bytes.
        async fn told(&self, bytes: &[u8]) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            // What is too long is not read to its end.
            let _cut = stream.write_all(bytes).await;
            let mut told = Vec::new();
            let _reset = stream.read_to_end(&mut told).await;
            String::from_utf8(told).unwrap()
        }

        fn say(&self, says: Result<SessionId, Unserved>) {
            *self.says.lock().unwrap() = says;
        }
    }

    const GET: &[u8] = b"GET /serving HTTP/1.0\r\n\r\n";

    fn ends_with(told: &str, status: &str, text: &str) {
        assert!(told.starts_with(&format!("HTTP/1.0 {status}")), "{told}");
        assert!(told.ends_with(&format!("\r\n\r\n{text}\n")), "{told}");
    }

    #[tokio::test]
    async fn a_load_balancer_is_told_in_one_line_whether_the_node_serves_and_why_not_r19() {
        let health = listening().await;
        ends_with(
            &health.told(GET).await,
            "503",
            "not serving: no session is open",
        );
        let west = domain::CentreName::parse("west").unwrap();
        health.say(Err(Unserved::Elsewhere(west)));
        ends_with(&health.told(GET).await, "503", "not serving: west serves");
        health.say(Ok(SessionId::parse("S1-2023-06-10").unwrap()));
        let text = "serving: session S1-2023-06-10 is open";
        ends_with(&health.told(GET).await, "200", text);
        let told = health
            .told(b"GET /serving HTTP/1.1\r\nHost: n\r\n\r\n")
            .await;
        assert!(told.starts_with("HTTP/1.1 200 OK"), "{told}");
        assert!(told.contains("connection: close"), "{told}");

        health.stop.send_replace(true);
        health.task.await.unwrap();
        assert!(TcpStream::connect(health.address).await.is_err());
    }

    #[tokio::test]
    async fn nothing_else_is_served_and_no_request_is_long() {
        let health = listening().await;
        health.say(Ok(SessionId::parse("S1").unwrap()));
        for (request, status) in [
            ("GET / HTTP/1.0\r\n\r\n", "404"),
            ("GET /serving/x HTTP/1.0\r\n\r\n", "404"),
            (
                "POST /serving HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
                "405",
            ),
            ("OPTIONS /serving HTTP/1.0\r\n\r\n", "405"),
        ] {
            ends_with(
                &health.told(request.as_bytes()).await,
                status,
                "only GET /serving",
            );
        }
        let long = format!(
            "GET /serving HTTP/1.0\r\nX: {}\r\n\r\n",
            "x".repeat(64 * 1024)
        );
        let told = health.told(long.as_bytes()).await;
        assert!(!told.starts_with("HTTP/1.0 200"), "{told}");
        assert!(!health.told(b"not http\r\n\r\n").await.contains("200"));
    }

    #[tokio::test]
    async fn slow_callers_are_dropped_and_keep_nobody_out_for_long() {
        let health = listening().await;
        let mut slow = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let mut stream = TcpStream::connect(health.address).await.unwrap();
            stream.write_all(b"GET /serving HTT").await.unwrap();
            slow.push(stream);
        }
        let asked = tokio::time::timeout(3 * CONNECTION_LIMIT, health.told(GET)).await;
        ends_with(&asked.unwrap(), "503", "not serving: no session is open");
        for mut stream in slow {
            let mut rest = Vec::new();
            let _reset = stream.read_to_end(&mut rest).await;
            assert!(rest.is_empty(), "{rest:?}");
        }
    }
}
