//! gRPC-Web for browsers, on the front ends' listener: off unless `node.toml` names origins, which
//! are compared whole (LOGIN.md, "Who calls").
//!
//! Deliberately absent: any origin by pattern, credentials, cookies. A page proves itself by the
//! connection of its front end, whose certificate TLS asks for, and a person by the token that
//! the page sends itself.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::{self, Either, Ready};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, COOKIE,
    ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tonic::body::Body;
use tower::{Layer, Service};

/// Most origins of one node.
pub const ORIGINS_MAX: usize = 64;
/// What a page may send, beside what every page may.
const HEADERS: &str = "authorization, content-type, grpc-timeout, x-grpc-web, x-user-agent";
/// What a page may read of an answer.
const EXPOSED: &str = "grpc-status, grpc-message, grpc-status-details-bin, tidemark-protection";
/// Seconds for which a browser need not ask again.
const MAX_AGE_S: &str = "600";

/// The origins whose pages may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Arc<BTreeSet<String>>);

impl Origins {
    /// Reads a list: each as a browser sends it, `https://host` with the port if it is another
    /// than 443.
    ///
    /// # Errors
    /// What is wrong with which, and what would be right.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        if texts.len() > ORIGINS_MAX {
            return Err(format!("web_origins holds more than {ORIGINS_MAX} origins"));
        }
        for text in texts {
            let plain = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:[]".contains(&byte)
            };
            let host = text.strip_prefix("https://").unwrap_or_default();
            if host.is_empty() || !host.bytes().all(plain) || host.ends_with(":443") {
                return Err(format!(
                    "web_origins: \"{text}\" is no origin: write it as a browser sends it, \
                     https://host or https://host:port, in small letters and without a path"
                ));
            }
        }
        Ok(Self(Arc::new(texts.iter().cloned().collect())))
    }

    /// Whether no page may call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The origin as it is answered, if it is one of them.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        let text = origin.to_str().ok()?;
        self.0.contains(text).then(|| origin.clone())
    }
}

impl<S> Layer<S> for Origins {
    type Service = Web<S>;

    fn layer(&self, inner: S) -> Web<S> {
        Web {
            origins: self.clone(),
            inner,
        }
    }
}

/// A service that pages of some origins may call.
#[derive(Debug, Clone)]
pub struct Web<S> {
    origins: Origins,
    inner: S,
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(EXPOSED),
    );
    headers.append(VARY, HeaderValue::from_static("origin"));
}

/// The answer to a browser that asks before it calls.
fn preflight(origin: HeaderValue) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    allow(headers, origin);
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (ACCESS_CONTROL_MAX_AGE, MAX_AGE_S),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn forbidden() -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::FORBIDDEN;
    answer
}

pin_project! {
    /// An answer that a page of the origin may read.
    pub struct Answered<F> {
        #[pin]
        answer: F,
        origin: Option<HeaderValue>,
    }
}

impl<F, E> Future for Answered<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = ready!(this.answer.poll(context))?;
        if let Some(origin) = this.origin.take() {
            allow(answer.headers_mut(), origin);
        }
        Poll::Ready(Ok(answer))
    }
}

impl<S> Service<Request<Body>> for Web<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Answered<S::Future>, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let named = request.headers().get(ORIGIN);
        let allowed = named.and_then(|origin| self.origins.allowed(origin));
        // A page of another origin is refused, not only kept from reading the answer.
        let answer = match (named, allowed) {
            (Some(_), None) => forbidden(),
            (_, Some(origin)) if asks_before(&request) => preflight(origin),
            (_, origin) => {
                request.headers_mut().remove(COOKIE);
                return Either::Left(Answered {
                    answer: self.inner.call(request),
                    origin,
                });
            }
        };
        Either::Right(future::ready(Ok(answer)))
    }
}

fn asks_before(request: &Request<Body>) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_a_browser_sends_it() {
        let parse = |text: &str| Origins::parse(&[text.to_owned()]);
        for good in ["https://www.ccass.com", "https://localhost:8443"] {
            let origins = parse(good).unwrap();
            assert!(origins.allowed(&good.parse().unwrap()).is_some());
            for other in ["https://evil.example", "null", "https://www.ccass.com.evil"] {
                assert!(origins.allowed(&other.parse().unwrap()).is_none());
            }
        }
        for bad in [
            "*",
            "null",
            "",
            "https://",
            "https://*.ccass.com",
            "http://www.ccass.com",
            "https://www.ccass.com/",
            "https://www.ccass.com:443",
            "https://WWW.ccass.com",
            "https://user@www.ccass.com",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(Origins::parse(&[]).unwrap().is_empty());
    }
}
