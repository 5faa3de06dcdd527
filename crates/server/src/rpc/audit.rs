//! `AuditService`: the trails of all lines as they are on disk, branches' too, and this node's own
//! trail of what was read here. Who reads is noted there, once a call.

use std::path::PathBuf;
use std::pin::Pin;

use consensus::place;
use credential::checkpoint;
use domain::audit::{Row, Verdict};
use domain::id::SessionId;
use domain::{LineRef, Rejection, State};
use futures::Stream;
use proto::audit::v1 as wired;
use proto::audit::v1::audit_service_server::AuditService;
use tonic::{Request, Response, Status};

use super::answered;
use crate::edge::Edge;
use crate::identity::Caller;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

mod export;
mod filter;
mod list;
mod matrix;
mod watch;

/// Rows that are read at once.
pub(super) const ROWS_AT_ONCE: u32 = 4_096;

type Parts<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Audits(pub(super) Edge);

#[tonic::async_trait]
impl AuditService for Audits {
    type ExportAuditStream = Parts<wired::ExportAuditResponse>;
    type WatchAuditEventsStream = Parts<wired::WatchAuditEventsResponse>;

    async fn list_audit_events(
        &self,
        request: Request<wired::ListAuditEventsRequest>,
    ) -> Result<Response<wired::ListAuditEventsResponse>, Status> {
        answered!(self.0, request, list::list)
    }

    async fn watch_audit_events(
        &self,
        request: Request<wired::WatchAuditEventsRequest>,
    ) -> Result<Response<Self::WatchAuditEventsStream>, Status> {
        answered!(self.0, request, watch::watch)
    }

    async fn get_checkpoint(
        &self,
        request: Request<wired::GetCheckpointRequest>,
    ) -> Result<Response<wired::GetCheckpointResponse>, Status> {
        answered!(self.0, request, export::checkpoint)
    }

    async fn export_audit(
        &self,
        request: Request<wired::ExportAuditRequest>,
    ) -> Result<Response<Self::ExportAuditStream>, Status> {
        answered!(self.0, request, export::export)
    }

    async fn get_completion_matrix(
        &self,
        request: Request<wired::GetCompletionMatrixRequest>,
    ) -> Result<Response<wired::GetCompletionMatrixResponse>, Status> {
        answered!(self.0, request, matrix::matrix)
    }
}

/// A trail that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// A line's.
    Line(LineRef),
    /// What was read at this node.
    Reads,
}

impl Source {
    /// The trail by its name on the wire: `main`, the session whose branch is meant, or `reads`.
    fn named(edge: &Edge, name: &str) -> Result<Self, Refusal> {
        match name {
            place::READS => Ok(Self::Reads),
            name => named(edge, name).map(Self::Line),
        }
    }

    fn trail(&self, edge: &Edge) -> checkpoint::Trail {
        match self {
            Self::Line(line) => checkpoint::Trail::Line(line.clone()),
            Self::Reads => edge.parts().reads.trail(),
        }
    }

    fn folder(&self, edge: &Edge) -> PathBuf {
        match self {
            Self::Line(line) => place::audit(edge.node().data(), line),
            Self::Reads => place::reads(edge.node().data()),
        }
    }

    async fn page(&self, edge: &Edge, from: u64, rows_max: u32) -> Result<Vec<Row>, Refusal> {
        match self {
            Self::Line(line) => page(edge, line, from, rows_max).await,
            Self::Reads => edge.parts().reads.page(from, rows_max).await,
        }
    }
}

/// Only operators may: whoever else reaches the service reads what is about one participant.
fn operators_only<B>(ask: &Ask<B>) -> Result<(), Refusal> {
    match &ask.caller {
        Caller::Operator(_) | Caller::Script(_) => Ok(()),
        Caller::FrontEnd(..) | Caller::BackEnd(_) | Caller::Node(_) => Err(Refusal::NotAllowed {
            why: "whole trails are read by operators alone".to_owned(),
        }),
    }
}

/// At most `rows_max` rows from a sequence number on, as this node has them.
///
/// # Errors
/// `NO_EVIDENCE` when the trail is not here.
pub(super) async fn page(
    edge: &Edge,
    line: &LineRef,
    from: u64,
    rows_max: u32,
) -> Result<Vec<Row>, Refusal> {
    let node = edge.node();
    let rows_max = usize::try_from(rows_max).unwrap_or(usize::MAX);
    node.audit_rows(line, from, rows_max)
        .await
        .map_err(|error| Refusal::NoEvidence {
            why: error.to_string(),
        })
}

/// The line by its name on the wire: `main`, or the session whose branch is meant.
pub(super) fn named(edge: &Edge, name: &str) -> Result<LineRef, Refusal> {
    let main = edge.node().main();
    if name == "main" {
        return Ok(main.reference());
    }
    let absent = || Refusal::NotFound {
        what: format!("line {name:?}: say main, or the id of a session at the secondary"),
    };
    let session = SessionId::parse(name)
        .map_err(|_| Refusal::malformed(Field::Other("line"), "main, or a session's id"))?;
    branch(edge, &main.state(), &session).ok_or_else(absent)
}

/// The branch of a session: the one that runs here, or the one that the plan knows.
pub(super) fn branch(edge: &Edge, state: &State, session: &SessionId) -> Option<LineRef> {
    let Some(plan) = state.plan(session) else {
        // Opened without the main line, which has yet to hear of it.
        let order = edge.node().order(session)?;
        return Some(edge.node().branch_reference(session, order.genesis));
    };
    let boundary = plan.boundary?;
    let sealed = plan
        .sealed
        .as_ref()
        .and_then(|sealed| sealed.evidence.as_ref());
    let genesis = sealed
        .map(|evidence| evidence.genesis)
        .or(boundary.digest)
        .or_else(|| {
            let known = edge.node().geneses();
            known
                .into_iter()
                .find(|(id, _)| id == session)
                .map(|(_, digest)| digest)
        })?;
    Some(edge.node().branch_reference(session, genesis))
}

pub(super) fn event(row: &Row) -> wired::AuditEvent {
    wired::AuditEvent {
        sequence: row.sequence,
        time: Some(wire::time(row.at)),
        log_id: Some(wire::log_id(row.log)),
        actor: row.actor.clone(),
        by: row.by.clone(),
        kind: row.kind.to_string(),
        account: row
            .account
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        participant: row
            .participant
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        verdict: match &row.verdict {
            Verdict::Done => "Done".to_owned(),
            Verdict::Failed => "Failed".to_owned(),
            Verdict::Rejected(reason) => reason.clone(),
        },
        detail_json: serde_json::to_string(row).unwrap_or_default(),
        hash: row.hash().to_string(),
        approval: row.approval.as_deref().map(crate::approvals::statement),
    }
}

/// What a caller without a right to it is told.
fn not_allowed(edge: &Edge, state: &State) -> Refusal {
    Refusal::Rejected {
        rejection: Rejection::NotAllowed,
        clock: edge.now(state),
    }
}
