//! What every call passes before any service sees it: who calls, and which rpc it is.
//!
//! Both are attached to the request. A caller without a record in the state goes no further, to
//! no service, health and reflection included.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use domain::cluster::Founding;
use domain::protection::Mode;
use domain::{Rejection, State};
use futures::future::{self, Either, Ready};
use http::{HeaderMap, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tonic::body::Body;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::health::metrics::Answers;
use crate::identity::{self, Caller, Listener};
use crate::shown::Shown;
use crate::status::{self, Refusal, Unread};
use crate::table::{Rpc, Table, Target};

/// Said with an answer that is committed and not protected: `degraded`, or `async` where policy
/// waits for nobody (LINES.md, "Protection"). An answer without it is protected.
pub const PROTECTION: &str = "tidemark-protection";

/// What is known of a call before it is read.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who calls.
    pub caller: Caller,
    /// What is called; none for health and reflection.
    pub rpc: Option<Arc<Rpc>>,
}

/// The main line's state as of now: who is registered, and whom people ask.
pub type Register = Arc<dyn Fn() -> State + Send + Sync>;

/// The gate of one listener.
#[derive(Clone)]
pub struct Gate {
    listener: Listener,
    table: Table,
    register: Register,
    founding: Option<Arc<Founding>>,
    shown: Shown,
    answers: Answers,
}

impl Gate {
    /// A gate for this listener.
    #[must_use]
    pub fn new(listener: Listener, table: Table, register: Register) -> Self {
        Self {
            listener,
            table,
            register,
            founding: None,
            shown: Shown::default(),
            answers: Answers::default(),
        }
    }

    /// Knows the nodes by this record: they meet before there is a state to ask.
    #[must_use]
    pub(crate) fn founded(mut self, founding: Arc<Founding>) -> Self {
        self.founding = Some(founding);
        self
    }

    /// Notes there when the certificates of callers expire.
    #[must_use]
    pub(crate) fn noting(mut self, shown: Shown) -> Self {
        self.shown = shown;
        self
    }

    /// Counts answers there.
    #[must_use]
    pub(crate) fn counting(mut self, answers: Answers) -> Self {
        self.answers = answers;
        self
    }

    fn call(&self, request: &Request<Body>) -> Result<Call, Status> {
        let certificates = request
            .extensions()
            .get::<TlsConnectInfo<TcpConnectInfo>>()
            .and_then(TlsConnectInfo::peer_certs);
        let state = (self.register)();
        let refused = |refusal| status::of(refusal, &state.policy().support());
        let caller = identity::identify(
            certificates.as_ref().map(|chain| chain.as_slice()),
            self.listener,
            self.founding.as_deref().or(state.founding()),
            &state,
        )
        .map_err(|error| {
            tracing::info!(listener = %self.listener, %error, "a caller was refused");
            refused(Refusal::Caller(error))
        })?;
        let leaf = certificates.as_ref().and_then(|chain| chain.first());
        if let Some(leaf) = leaf {
            self.shown.note(&caller, leaf);
        }
        let rpc = self.table.get(request.uri().path());
        if let (Caller::Script(_), Some(rpc)) = (&caller, &rpc)
            && rpc.writes
            && !rpc.scripted()
        {
            let rejection = Rejection::ScriptMayNot;
            let clock = state.header().clock;
            return Err(refused(Refusal::Rejected { rejection, clock }));
        }
        Ok(Call { caller, rpc })
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

/// What is wrong with a message, by the status that the transport gave it: one of ours has details.
fn unread(headers: &HeaderMap) -> Option<Unread> {
    if headers.contains_key(Status::GRPC_STATUS_DETAILS) {
        return None;
    }
    let code = headers.get(Status::GRPC_STATUS)?;
    // The transport says only why it could not read a message, never why a service failed:
    // a service's own faults have details.
    match Code::from_bytes(code.as_bytes()) {
        Code::Internal => Some(Unread::Malformed),
        Code::OutOfRange => Some(Unread::TooLarge),
        Code::Unimplemented => Some(Unread::UnknownRpc),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => None,
    }
}

pin_project! {
    /// An answer in which what the transport refused has a reason, as every refusal has.
    pub struct Answered<F> {
        #[pin]
        answer: F,
        gate: Gate,
        rpc: Option<Arc<Rpc>>,
        began: Instant,
    }
}

/// What is said of an answer that went out before the secondary centre had what it tells of.
fn unprotected(state: &State, rpc: &Rpc) -> Option<&'static str> {
    let header = state.header();
    let of_main = match rpc.line {
        Target::Main => true,
        Target::Serving => header.fence.is_none(),
        Target::None => false,
    };
    let mode = state.policy().protection;
    let said = match (mode, header.protection.degraded_since) {
        (Mode::Async, _) => Some(mode.name()),
        // Also under `strict` after a promotion, until the other centre is back.
        (Mode::Sync | Mode::Strict, Some(_)) => Some("degraded"),
        (Mode::Sync | Mode::Strict, None) => None,
    };
    let has_secondary = state
        .centres()
        .is_some_and(|centres| centres.secondary.is_some());
    said.filter(|_| of_main && has_secondary)
}

impl<F, E> Future for Answered<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = ready!(this.answer.poll(context))?;
        // Nodes speak among themselves without reasons.
        if this.gate.listener == Listener::Peer {
            return Poll::Ready(Ok(answer));
        }
        let state = (this.gate.register)();
        if let Some(why) = unread(answer.headers()) {
            answer = status::of(Refusal::Unread(why), &state.policy().support()).into_http();
        }
        let rpc = this.rpc.as_deref();
        if let Some(rpc) = rpc {
            let took = this.began.elapsed();
            this.gate.answers.note(rpc, answer.headers(), took);
        }
        if let Some(said) = rpc.and_then(|rpc| unprotected(&state, rpc)) {
            let said = HeaderValue::from_static(said);
            answer.headers_mut().insert(PROTECTION, said);
        }
        Poll::Ready(Ok(answer))
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
    type Future = Either<Answered<S::Future>, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.gate.call(&request) {
            Ok(call) => {
                if let Caller::Node(node) = &call.caller {
                    let caller = consensus::service::Caller(*node);
                    request.extensions_mut().insert(caller);
                }
                let rpc = call.rpc.clone();
                request.extensions_mut().insert(call);
                Either::Left(Answered {
                    answer: self.inner.call(request),
                    gate: self.gate.clone(),
                    rpc,
                    began: Instant::now(),
                })
            }
            Err(status) => Either::Right(future::ready(Ok(status.into_http()))),
        }
    }
}
