//! Opening a session at this centre while the primary cannot be asked (LINES.md, "Opening,
//! unplanned"; R41), and how such a session is shown. Nothing of the opening needs the main line:
//! that is what is not there.

use consensus::unplanned::Wanted;
use domain::session::unplanned::{Found, Unplanned, Used};
use domain::{Rejection, SessionId, State};
use proto::operator::v1 as operator;
use proto::operator::v1::Verdict;
use tokio::time::{Duration, Instant};

use super::super::account::reason;
use super::super::plan;
use super::{read_session, shown};
use crate::edge::Edge;
use crate::identity::Caller;
use crate::reads::Read;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

/// How long the branch may take to begin before the answer comes without it.
const BEGIN_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) async fn open(
    edge: &Edge,
    ask: Ask<operator::OpenUnplannedRequest>,
) -> Result<operator::OpenUnplannedResponse, Refusal> {
    let session = read_session(&ask.body.session)?;
    let node = edge.node();
    let state = node.main().state();
    let rejected = |rejection| Refusal::Rejected {
        rejection,
        clock: edge.now(&state),
    };
    let by = match &ask.caller {
        Caller::Operator(_) | Caller::Script(_) => ask.caller.actor(),
        Caller::FrontEnd(..) | Caller::BackEnd(_) | Caller::Node(_) => {
            return Err(rejected(Rejection::NotAllowed));
        }
    };
    let reason = reason(&ask, &ask.body.reason)?;
    if reason.is_empty() {
        return Err(Refusal::malformed(
            Field::Required("reason"),
            "why it is opened without the primary",
        ));
    }
    if node.order(&session).is_some() || state.plan(&session).is_some() {
        return Err(Refusal::AlreadyOpen { session });
    }
    let (planned, _) = state
        .may_open_unplanned(edge.now(&state), &by, &session)
        .map_err(rejected)?;
    if node.centre().is_none_or(|here| here.name != planned.centre) {
        return Err(Refusal::NotOpened {
            why: format!("{session} is held at {}: ask a node there", planned.centre),
        });
    }
    let (heard, answers) = node.primary_heard();
    if answers && let Some(primary) = state.primary() {
        return Err(Refusal::PrimaryAnswers {
            centre: primary.name.clone(),
            nodes: heard,
        });
    }
    if ask.body.validate_only {
        edge.note_read(&ask, &state, Read::of("validate only".to_owned(), 1))?;
        return Ok(operator::OpenUnplannedResponse {
            session: shown(edge, &session),
        });
    }
    let wanted = Wanted {
        session: session.clone(),
        by,
        reason,
        at: edge.now(&state),
    };
    let opened = Box::pin(node.open_unplanned(&wanted)).await;
    opened.map_err(|error| Refusal::NotOpened {
        why: error.to_string(),
    })?;
    begun(edge, &session).await;
    Ok(operator::OpenUnplannedResponse {
        session: shown(edge, &session),
    })
}

/// Waits until the branch has begun here, or long enough.
async fn begun(edge: &Edge, session: &SessionId) {
    let deadline = Instant::now() + BEGIN_MAX;
    let has_begun =
        || super::branch_state(edge, session).is_some_and(|state| state.plan(session).is_some());
    while !has_begun() && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// That the session was opened without the primary, if it was.
fn of(edge: &Edge, state: &State, id: &SessionId) -> Option<Unplanned> {
    let known = state.plan(id).and_then(|plan| plan.unplanned.as_deref());
    known.cloned().or_else(|| {
        let order = edge.node().order(id)?;
        Some(Unplanned { order, found: None })
    })
}

/// The session with how it was opened.
pub(super) fn told(edge: &Edge, state: &State, session: operator::Session) -> operator::Session {
    let id = SessionId::parse(&session.session).ok();
    let Some(unplanned) = id.and_then(|id| of(edge, state, &id)) else {
        return session;
    };
    let boundary = session.boundary.clone();
    let main = edge.node().main();
    operator::Session {
        boundary: boundary.or_else(|| plan::boundary_of(&unplanned.order.plan(), &main)),
        unplanned: Some(message(&unplanned)),
        ..session
    }
}

fn message(unplanned: &Unplanned) -> operator::UnplannedOpening {
    let order = &unplanned.order;
    let finding = match unplanned.found {
        None => operator::BoundaryFinding::Unspecified,
        Some(Found::OnMainLine) => operator::BoundaryFinding::OnMainLine,
        Some(Found::NotOnMainLine { .. }) => operator::BoundaryFinding::NotOnMainLine,
    };
    operator::UnplannedOpening {
        actor: order.by.to_string(),
        reason: order.reason.clone(),
        order_time: Some(wire::time(order.at)),
        committed_log_id: Some(wire::log_id(order.committed)),
        used_count: order.used_count,
        degraded_time: order.degraded_since.map(wire::time),
        finding: finding.into(),
    }
}

/// What was used and is not on the main line.
pub(super) fn lost(unplanned: Option<&Unplanned>) -> Vec<operator::Change> {
    let lost = unplanned.into_iter().flat_map(Unplanned::lost);
    lost.map(change).collect()
}

fn change(used: &Used) -> operator::Change {
    operator::Change {
        kind: format!("{:?}", used.kind),
        account: match (&used.account, &used.participant) {
            (Some(account), _) => account.to_string(),
            (None, Some(firm)) => wire::participant_name(firm),
            (None, None) => String::new(),
        },
        time: Some(wire::time(used.time)),
        actor: used.by.clone(),
    }
}

/// What the status says of sessions that were opened without the primary and are not rolled over.
pub(in crate::rpc) fn reasons(edge: &Edge, state: &State) -> Vec<(Verdict, String)> {
    let orders = edge.node().orders().into_iter();
    let unknown = orders
        .filter(|order| state.plan(&order.session.id).is_none())
        .map(|order| Unplanned { order, found: None });
    let known = state
        .unplanned()
        .filter_map(|plan| plan.unplanned.as_deref());
    unknown
        .chain(known.cloned())
        .map(|unplanned| (Verdict::Warning, text(&unplanned)))
        .collect()
}

fn text(unplanned: &Unplanned) -> String {
    let order = &unplanned.order;
    let missing = order
        .degraded_since
        .map(|since| format!("; what the primary answered since {since} is missing in it"));
    let found = match unplanned.found {
        None => "the main line does not know of it yet".to_owned(),
        Some(Found::OnMainLine) => "boundary on the main line".to_owned(),
        Some(Found::NotOnMainLine { from }) => format!(
            "boundary not on the main line from entry {from} on: tidemark session report {} lists \
             what is lost",
            order.session.id
        ),
    };
    format!(
        "{} was opened without the primary by {} at {}: from entry {}, known to be committed up to \
         {}, {} changes used beyond{}; {found}",
        order.session.id,
        order.by,
        order.at,
        order.boundary.index,
        order.committed.index,
        order.used_count,
        missing.unwrap_or_default(),
    )
}
