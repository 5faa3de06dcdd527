//! `grpc.health.v1`, one entry a service. A service that follows the sessions is SERVING at the
//! centre that serves now and nowhere else, so that a load balancer steers people by it (R19).
//!
//! The state is asked at each check: there is no copy of the answer that could be old. The same
//! answer for load balancers that speak no gRPC is in `plain`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

pub mod metrics;
pub mod plain;

/// How often a watch looks again: a session opens by the clock, and nothing tells that.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Says how a service is; none for a service that is not on this listener.
pub type Probe = Arc<dyn Fn(&str) -> Option<bool> + Send + Sync>;

/// The health service of one listener.
#[derive(Clone)]
pub struct Service {
    probe: Probe,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// A health service that answers by `probe`.
    #[must_use]
    pub fn server(probe: Probe) -> HealthServer<Self> {
        HealthServer::new(Self { probe })
    }
}

fn answer(serving: Option<bool>) -> HealthCheckResponse {
    let status = match serving {
        Some(true) => ServingStatus::Serving,
        Some(false) => ServingStatus::NotServing,
        None => ServingStatus::ServiceUnknown,
    };
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl Health for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        match (self.probe)(&service) {
            Some(serving) => Ok(Response::new(answer(Some(serving)))),
            None => Err(Status::not_found("no such service at this listener")),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let probe = Arc::clone(&self.probe);
        let changes = stream::unfold(None, move |said: Option<Option<bool>>| {
            let (probe, service) = (Arc::clone(&probe), service.clone());
            async move {
                let mut now = probe(&service);
                while said == Some(now) {
                    tokio::time::sleep(LOOK_EVERY).await;
                    now = probe(&service);
                }
                Some((Ok(answer(now)), Some(now)))
            }
        });
        Ok(Response::new(changes.boxed()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_watch_tells_each_change_once() {
        let serving = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&serving);
        let probe: Probe = Arc::new(move |name| (name == "a").then(|| seen.load(Ordering::SeqCst)));
        let service = Service { probe };
        let request = |name: &str| {
            Request::new(HealthCheckRequest {
                service: name.to_owned(),
            })
        };
        let mut watch = service.watch(request("a")).await.unwrap().into_inner();
        let first = watch.next().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::NotServing);
        serving.store(true, Ordering::SeqCst);
        let second = watch.next().await.unwrap().unwrap();
        assert_eq!(second.status(), ServingStatus::Serving);
        assert!(service.check(request("b")).await.is_err());
    }
}
