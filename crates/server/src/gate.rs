//! What every call passes before any service sees it: who calls, and which rpc it is.
//!
//! Both are attached to the request. A caller without a record in the state goes no further, to
//! no service, health and reflection included.

use std::sync::Arc;
use std::task::{Context, Poll};

use domain::cluster::Founding;
use futures::future::{Either, Ready, ready};
use http::{Request, Response};
use tonic::body::Body;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tower::{Layer, Service};

use crate::identity::{self, Caller, Listener};
use crate::status::{self, Refusal};
use crate::table::{Rpc, Table};

/// What is known of a call before it is read.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who calls.
    pub caller: Caller,
    /// What is called; none for health and reflection.
    pub rpc: Option<Arc<Rpc>>,
}

/// Who is registered, and whom people ask, as of now.
pub type Register = Arc<dyn Fn() -> (Option<Arc<Founding>>, String) + Send + Sync>;

/// The gate of one listener.
#[derive(Clone)]
pub struct Gate {
    listener: Listener,
    table: Table,
    register: Register,
}

impl Gate {
    /// A gate for this listener.
    #[must_use]
    pub fn new(listener: Listener, table: Table, register: Register) -> Self {
        Self {
            listener,
            table,
            register,
        }
    }

    fn call(&self, request: &Request<Body>) -> Result<Call, tonic::Status> {
        let certificates = request
            .extensions()
            .get::<TlsConnectInfo<TcpConnectInfo>>()
            .and_then(TlsConnectInfo::peer_certs);
        let (founding, support) = (self.register)();
        let caller = identity::identify(
            certificates.as_ref().map(|chain| chain.as_slice()),
            self.listener,
            founding.as_deref(),
        )
        .map_err(|error| {
            tracing::info!(listener = %self.listener, %error, "a caller was refused");
            status::of(Refusal::Caller(error), &support)
        })?;
        Ok(Call {
            caller,
            rpc: self.table.get(request.uri().path()),
        })
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated {
            gate: self.clone(),
            inner,
        }
    }
}

/// A service behind its gate.
#[derive(Debug, Clone)]
pub struct Gated<S> {
    gate: Gate,
    inner: S,
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.gate.call(&request) {
            Ok(call) => {
                request.extensions_mut().insert(call);
                Either::Left(self.inner.call(request))
            }
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}
