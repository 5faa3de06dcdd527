//! A node's peer service with single methods that fail, never answer, or are not heard to.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Bytes, Service, StdError, http};
use tonic::server::NamedService;

/// What a method does instead.
#[derive(Debug, Clone, Copy)]
pub enum Hindrance {
    Refuses,
    Stalls,
    /// Does what was asked; the answer is lost.
    Unheard,
}

/// What is in the way at a node, by the method's name; may change while the node runs.
pub type Hindrances = Arc<Mutex<BTreeMap<&'static str, Hindrance>>>;

/// A service with something in its way.
#[derive(Debug, Clone)]
pub struct Hindered<S> {
    pub service: S,
    pub hindrances: Hindrances,
    /// Whether the node has been stopped: connections that stand would go on to be answered.
    pub gone: Arc<AtomicBool>,
}

impl<S: NamedService> NamedService for Hindered<S> {
    const NAME: &'static str = S::NAME;
}

type Answer = Result<http::Response<Body>, Infallible>;

impl<S, B> Service<http::Request<Body>> for Hindered<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: tonic::codegen::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap();
        let hindrance = match self.gone.load(Ordering::SeqCst) {
            true => Some(Hindrance::Refuses),
            false => self.hindrances.lock().unwrap().get(method).copied(),
        };
        match hindrance {
            None => {
                let answer = self.service.call(request);
                Box::pin(async { answer.await.map(|answer| answer.map(Body::new)) })
            }
            Some(Hindrance::Refuses) => {
                let refused = Status::unavailable("hindered").into_http();
                Box::pin(async { Ok(refused) })
            }
            Some(Hindrance::Stalls) => Box::pin(std::future::pending()),
            Some(Hindrance::Unheard) => {
                let done = self.service.call(request);
                Box::pin(async {
                    drop(done.await);
                    Ok(Status::unavailable("hindered").into_http())
                })
            }
        }
    }
}
