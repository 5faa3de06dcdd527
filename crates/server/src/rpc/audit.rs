//! `AuditService`: the trails of all lines as they are on disk, branches' too.

use std::collections::BTreeMap;
use std::pin::Pin;

use domain::account::Class;
use domain::audit::{Kind, Row, Verdict};
use domain::factor::Method;
use domain::id::{AccountId, ParticipantId, SessionId};
use domain::{LineRef, State, encoding};
use futures::{Stream, StreamExt, stream};
use proto::audit::v1 as wired;
use proto::audit::v1::audit_service_server::AuditService;
use tonic::{Request, Response, Status};

use super::answered;
use crate::edge::Edge;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;
/// Rows that are read at once.
pub(super) const ROWS_AT_ONCE: u32 = 4_096;
/// Rows in one part of an export.
const ROWS_A_PART: usize = 256;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Audits(pub(super) Edge);

#[tonic::async_trait]
impl AuditService for Audits {
    type ExportAuditStream =
        Pin<Box<dyn Stream<Item = Result<wired::ExportAuditResponse, Status>> + Send>>;

    async fn list_audit_events(
        &self,
        request: Request<wired::ListAuditEventsRequest>,
    ) -> Result<Response<wired::ListAuditEventsResponse>, Status> {
        answered!(self.0, request, list)
    }

    async fn export_audit(
        &self,
        request: Request<wired::ExportAuditRequest>,
    ) -> Result<Response<Self::ExportAuditStream>, Status> {
        let line = request.into_inner().line;
        self.0.tell(export(&self.0, &line))
    }

    async fn get_completion_matrix(
        &self,
        request: Request<wired::GetCompletionMatrixRequest>,
    ) -> Result<Response<wired::GetCompletionMatrixResponse>, Status> {
        answered!(self.0, request, matrix)
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
    let rows_max = usize::try_from(rows_max).unwrap_or(PAGE_MAX);
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
    let plan = state.plan(session)?;
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

fn event(row: &Row) -> wired::AuditEvent {
    wired::AuditEvent {
        sequence: row.sequence,
        time: Some(wire::time(row.at)),
        log_id: Some(wire::log_id(row.log)),
        actor: row.by.clone(),
        kind: format!("{:?}", row.kind),
        account: row
            .account
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        detail_json: serde_json::to_string(row).unwrap_or_default(),
        hash: row.hash().to_string(),
    }
}

async fn list(
    edge: &Edge,
    ask: Ask<wired::ListAuditEventsRequest>,
) -> Result<wired::ListAuditEventsResponse, Refusal> {
    let size = wire::page_size(ask.body.page_size, PAGE_DEFAULT, PAGE_MAX)?;
    let from: u64 = match ask.body.page_token.as_str() {
        "" => 0,
        text => text.parse().map_err(|_| {
            Refusal::malformed(Field::Other("page_token"), "one that was answered before")
        })?,
    };
    let line = named(edge, &ask.body.line)?;
    let rows_max = u32::try_from(size.saturating_add(1)).unwrap_or(u32::MAX);
    let mut rows = page(edge, &line, from, rows_max).await?;
    let more = rows.len() > size;
    rows.truncate(size);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|last| last.sequence.saturating_add(1).to_string());
    Ok(wired::ListAuditEventsResponse {
        events: rows.iter().map(event).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

type Exported = Pin<Box<dyn Stream<Item = Result<wired::ExportAuditResponse, Status>> + Send>>;

/// The rows in their stored encoding, each with its length in four bytes, big endian, before it.
fn export(edge: &Edge, line: &str) -> Result<Exported, Refusal> {
    let line = named(edge, line)?;
    let edge = edge.clone();
    let parts = stream::unfold(Some(0_u64), move |from| {
        let (edge, line) = (edge.clone(), line.clone());
        async move {
            let from = from?;
            match page(&edge, &line, from, ROWS_AT_ONCE).await {
                Err(refusal) => Some((vec![Err(edge.status(refusal))], None)),
                Ok(rows) => {
                    let next = rows.last().map(|last| last.sequence.saturating_add(1));
                    // The end is the first page without rows.
                    next.map(|next| (parts(&rows), Some(next)))
                }
            }
        }
    });
    Ok(parts.flat_map(stream::iter).boxed())
}

fn parts(rows: &[Row]) -> Vec<Result<wired::ExportAuditResponse, Status>> {
    rows.chunks(ROWS_A_PART)
        .map(|rows| {
            let mut chunk = Vec::new();
            for row in rows {
                let row = encoding::encode(row);
                let length = u32::try_from(row.len()).unwrap_or(u32::MAX);
                chunk.extend_from_slice(&length.to_be_bytes());
                chunk.extend_from_slice(&row);
            }
            Ok(wired::ExportAuditResponse { chunk })
        })
        .collect()
}

type Cell = (SessionId, ParticipantId, AccountId, Class, Method);

/// Who tried and passed what, from the records alone (R51, R56).
async fn matrix(
    edge: &Edge,
    ask: Ask<wired::GetCompletionMatrixRequest>,
) -> Result<wired::GetCompletionMatrixResponse, Refusal> {
    let main = edge.node().main();
    let state = main.state();
    let mut lines = vec![main.reference()];
    lines.extend(
        state
            .plans()
            .filter_map(|plan| branch(edge, &state, &plan.session.id)),
    );
    let wanted = &ask.body.sessions;
    let mut cells: BTreeMap<Cell, wired::Completion> = BTreeMap::new();
    for (index, line) in lines.iter().enumerate() {
        let mut from = 0;
        loop {
            let rows = match page(edge, line, from, ROWS_AT_ONCE).await {
                // A branch's rows may be at other nodes alone.
                Err(_) if index > 0 => break,
                found => found?,
            };
            let Some(last) = rows.last() else { break };
            from = last.sequence.saturating_add(1);
            for row in &rows {
                count(&mut cells, row, wanted);
            }
        }
    }
    Ok(wired::GetCompletionMatrixResponse {
        completions: cells.into_values().collect(),
    })
}

fn count(cells: &mut BTreeMap<Cell, wired::Completion>, row: &Row, wanted: &[String]) {
    let (Some(session), Some(participant), Some(account), Some(class), Some(method)) = (
        &row.session,
        &row.participant,
        &row.account,
        row.class,
        row.method,
    ) else {
        return;
    };
    if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == session.as_str()) {
        return;
    }
    if !matches!(row.kind, Kind::LoginVerified | Kind::ConnectivityCompleted) {
        return;
    }
    let key = (
        session.clone(),
        participant.clone(),
        account.clone(),
        class,
        method,
    );
    let cell = cells.entry(key).or_insert_with(|| wired::Completion {
        session: session.to_string(),
        participant: wire::participant_name(participant),
        account: wire::account_name(participant, class, account),
        account_class: wire::class(class).into(),
        method: wire::method(method).into(),
        ..Default::default()
    });
    if row.kind == Kind::ConnectivityCompleted {
        cell.completed = true;
        return;
    }
    cell.tried_count = cell.tried_count.saturating_add(1);
    if row.verdict == Verdict::Done {
        cell.passed_count = cell.passed_count.saturating_add(1);
    }
}
