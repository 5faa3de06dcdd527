//! One page over plain HTTP, for machines that speak no gRPC. `GET /serving` tells load balancers
//! whether a node serves people (R19): 200 or 503, with a line that says why. It is the answer that
//! `grpc.health.v1` gives, from the same source. What `metrics` tells is the other one.
//!
//! Such a listener is off unless `[listen]` names its address. Anybody who reaches it may ask, so
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

/// What one says to whoever asks whether the node serves.
const TEXT: &str = "text/plain; charset=utf-8";
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

/// The one page of a listener.
#[derive(Clone)]
pub struct Page {
    /// Its path.
    pub path: &'static str,
    /// The type of what it says.
    pub kind: &'static str,
    /// What it says now.
    pub text: Arc<dyn Fn() -> (StatusCode, String) + Send + Sync>,
}

impl Page {
    /// Whether people can log in at the node.
    #[must_use]
    pub fn serving(people: People) -> Self {
        Self {
            path: "/serving",
            kind: TEXT,
            text: Arc::new(move || match people() {
                Ok(session) => (
                    StatusCode::OK,
                    format!("serving: session {session} is open\n"),
                ),
                Err(why) => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("not serving: {why}\n"),
                ),
            }),
        }
    }
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Page({})", self.path)
    }
}

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
pub async fn serve(bound: Bound, page: Page, mut stopping: watch::Receiver<bool>) {
    tokio::select! {
        () = answer_all(&bound.socket, &page) => {}
        // The sender is gone only when the node is.
        _ = stopping.wait_for(|stop| *stop) => {}
    }
}

async fn answer_all(socket: &TcpListener, page: &Page) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let page = page.clone();
        connections.spawn(async move {
            let _slot = slot;
            let _too_slow = tokio::time::timeout(CONNECTION_LIMIT, connection(stream, page)).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// One request of a connection, which then ends.
async fn connection(stream: TcpStream, page: Page) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&request, &page);
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
        tracing::debug!(%error, "a request was cut short");
    }
}

fn answer<B>(request: &Request<B>, page: &Page) -> Response<String> {
    let only = || format!("only GET {}\n", page.path);
    let (status, kind, text) = match (request.method(), request.uri().path() == page.path) {
        (&Method::GET, true) => {
            let (status, text) = (page.text)();
            (status, page.kind, text)
        }
        (_, true) => (StatusCode::METHOD_NOT_ALLOWED, TEXT, only()),
        (_, false) => (StatusCode::NOT_FOUND, TEXT, only()),
    };
    let mut answer = Response::new(text);
    *answer.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
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
        let task = tokio::spawn(serve(bound, Page::serving(people), stopping));
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
