//! How plans move up to the close. What comes after is in `rollover`.

use std::collections::BTreeSet;

use super::agreed::{approve, approved, may, operator, operator_or_node};
use super::rollover::{abandon, answer_holds, roll_over};
use super::unplanned::{self, Found};
use super::{Act, Boundary, Command, PLANS_MAX, Phase, Plan};
use crate::apply::{Context, Effect};
use crate::approval;
use crate::audit::Event;
use crate::calendar;
use crate::digest::Digest;
use crate::envelope::Actor;
use crate::id::{CentreName, NodeId, SessionId};
use crate::line::{self, LineId};
use crate::outcome::{Answer, Rejection};
use crate::script::{self, Deed};
use crate::state::State;
use crate::time::UnixMs;

pub(crate) fn apply(
    state: &mut State,
    line: &LineId,
    context: &Context<'_>,
    command: &Command,
) -> Effect {
    let event = Event::new(command.kind());
    let result = on_its_line(line, command).and_then(|()| match command {
        Command::Approve { act, plan } => approve(state, context, act, *plan),
        Command::Open { session } => open(state, context, session),
        Command::ConfirmOpen {
            session,
            digest,
            verified,
        } => confirm_open(state, context, session, *digest, verified),
        Command::BranchStart { session, genesis } => {
            branch_start(state, line, context, session, *genesis)
        }
        Command::BeginUnplanned { order } => unplanned::begin(state, line, context, order),
        Command::Adopt { order, found } => unplanned::adopt(state, context, order, *found),
        Command::Start { session } => start(state, context, session),
        Command::Close { session } => close(state, context, session),
        Command::RollOver {
            session,
            evidence,
            replies,
            gap_accepted,
        } => roll_over(
            state,
            context,
            session,
            evidence,
            replies,
            gap_accepted.as_ref(),
        ),
        Command::Abandon {
            session,
            refused,
            reason,
        } => abandon(state, context, session, refused, reason),
        Command::AnswerHolds { session, replies } => answer_holds(state, context, session, replies),
    });
    let event = event.detail(detail(command));
    if result.is_ok()
        && let Some(deed) = deed_of(command)
    {
        script::count(
            state,
            context.actor,
            context.now,
            Some(command.session()),
            deed,
        );
    }
    match result {
        Ok(answer) => Effect::done(answer, named(state, command, event)),
        Err(rejection) => Effect::rejected(rejection, event),
    }
}

/// The record of what was done, with what operators had approved for it.
fn named(state: &State, command: &Command, event: Event) -> Event {
    let plan = state.plan(command.session());
    match command {
        // Of a script's opening it is the grant.
        Command::Open { .. } => {
            let by = plan.and_then(|plan| plan.approved_by.values().next());
            match by {
                Some(approval) => event.approved(approval.statement.arguments),
                None => event,
            }
        }
        Command::BeginUnplanned { order } | Command::Adopt { order, .. } => {
            match order.approved_by.values().next() {
                Some(first) => event.approved_by(first.statement.arguments, &order.approved_by),
                None => event,
            }
        }
        Command::Abandon { session, .. } => match plan {
            Some(plan) => {
                let act = Act::Abandon(session.clone());
                let signed = approval::Act::Session(act, Plan::digest_of(&plan.session));
                event.approved(signed.digest())
            }
            None => event,
        },
        Command::Approve { .. }
        | Command::ConfirmOpen { .. }
        | Command::BranchStart { .. }
        | Command::Start { .. }
        | Command::Close { .. }
        | Command::RollOver { .. }
        | Command::AnswerHolds { .. } => event,
    }
}

/// What of it a script can be granted.
fn deed_of(command: &Command) -> Option<Deed> {
    match command {
        Command::Open { .. } => Some(Deed::Open),
        Command::Close { .. } => Some(Deed::Close),
        Command::RollOver { .. } => Some(Deed::RollOver),
        Command::Approve { .. }
        | Command::ConfirmOpen { .. }
        | Command::BranchStart { .. }
        | Command::BeginUnplanned { .. }
        | Command::Adopt { .. }
        | Command::Start { .. }
        | Command::Abandon { .. }
        | Command::AnswerHolds { .. } => None,
    }
}

/// What the audit says: of a rollover, the seal itself, so that it outlives the plan.
fn detail(command: &Command) -> String {
    let session = command.session();
    match command {
        Command::RollOver { evidence, .. } => format!(
            "{session}: branch from {} closed at {}; audit {} records, head {}; digests account {}, \
             full {}",
            evidence.genesis,
            evidence.closed,
            evidence.audit.sequence,
            evidence.audit.hash,
            evidence.account,
            evidence.full,
        ),
        Command::Abandon { reason, .. } => format!("{session}: {reason}"),
        Command::BeginUnplanned { order } => order.to_string(),
        Command::Adopt { order, found } => match found {
            Found::OnMainLine => format!("{order}; boundary on the main line"),
            Found::NotOnMainLine { from } => {
                format!("{order}; boundary not on the main line, from entry {from} on")
            }
        },
        Command::Approve { .. }
        | Command::Open { .. }
        | Command::ConfirmOpen { .. }
        | Command::BranchStart { .. }
        | Command::Start { .. }
        | Command::Close { .. }
        | Command::AnswerHolds { .. } => session.to_string(),
    }
}

impl Command {
    fn session(&self) -> &SessionId {
        match self {
            Self::Approve {
                act: Act::Open(session) | Act::Abandon(session),
                ..
            }
            | Self::Open { session }
            | Self::ConfirmOpen { session, .. }
            | Self::BranchStart { session, .. }
            | Self::Start { session }
            | Self::Close { session }
            | Self::RollOver { session, .. }
            | Self::Abandon { session, .. }
            | Self::AnswerHolds { session, .. } => session,
            Self::BeginUnplanned { order } | Self::Adopt { order, .. } => &order.session.id,
        }
    }
}

pub(super) type Moved = Result<Answer, Rejection>;

/// A branch takes its own start, service and close, and nothing else of plans.
fn on_its_line(line: &LineId, command: &Command) -> Result<(), Rejection> {
    match (line, command) {
        (_, Command::Start { .. } | Command::Close { .. })
        | (LineId::Branch { .. }, Command::BranchStart { .. } | Command::BeginUnplanned { .. }) => {
            Ok(())
        }
        (LineId::Main, Command::BranchStart { .. } | Command::BeginUnplanned { .. }) => {
            Err(Rejection::BranchOnly)
        }
        (LineId::Main, _) => Ok(()),
        (LineId::Branch { .. }, _) => Err(Rejection::MainLineOnly),
    }
}

pub(super) fn primary(state: &State) -> Result<&CentreName, Rejection> {
    state
        .primary()
        .map(|primary| &primary.name)
        .ok_or(Rejection::NotFounded)
}

pub(crate) fn planned(state: &State, session: &SessionId) -> Result<calendar::Session, Rejection> {
    state
        .calendar
        .session(session, primary(state)?)
        .ok_or(Rejection::NoSuchSession)
}

pub(super) fn plan_of<'a>(state: &'a State, session: &SessionId) -> Result<&'a Plan, Rejection> {
    state.plan(session).ok_or(Rejection::NoSuchSession)
}

pub(super) fn need(plan: &Plan, phases: &[Phase]) -> Result<(), Rejection> {
    if phases.contains(&plan.phase) {
        Ok(())
    } else {
        Err(Rejection::WrongPhase { phase: plan.phase })
    }
}

pub(super) fn moved(session: &SessionId, phase: Phase) -> Moved {
    Ok(Answer::Plan {
        session: session.clone(),
        phase,
    })
}

/// The session as the calendar has it, if it is one that can be opened or approved.
pub(super) fn may_open(
    state: &State,
    context: &Context<'_>,
    id: &SessionId,
) -> Result<calendar::Session, Rejection> {
    if let Some(plan) = state.plan(id) {
        return Err(match plan.phase {
            Phase::Opening | Phase::Open => Rejection::AlreadySo,
            Phase::Closed | Phase::RolledOver | Phase::Abandoned => {
                Rejection::WrongPhase { phase: plan.phase }
            }
        });
    }
    let session = planned(state, id)?;
    if session.centre == *primary(state)? {
        return Err(Rejection::NotAtSecondary);
    }
    if session.closes <= context.now {
        return Err(Rejection::OutsideSession {
            opens: session.opens,
            closes: session.closes,
        });
    }
    Ok(session)
}

/// Opens a session at the secondary: this entry is the boundary.
fn open(state: &mut State, context: &Context<'_>, id: &SessionId) -> Moved {
    match context.actor {
        Actor::Script(_) => script::may(state, context, Some(id), Deed::Open)?,
        Actor::Operator(_) | Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Node(_) => {
            operator(context).map(|_| ())?;
        }
    }
    let session = may_open(state, context, id)?;
    let primary = primary(state)?.clone();
    if let Some(pending) = state.standing_branch() {
        return Err(Rejection::RolloverPending {
            session: pending.clone(),
        });
    }
    if let Some(switch) = state.centres().and_then(|centres| centres.switch.as_ref()) {
        return Err(Rejection::CentreSwitching {
            to: switch.to.clone(),
        });
    }
    if let Some(open) = &state.header.current {
        return Err(Rejection::EarlierSessionOpen {
            session: open.clone(),
        });
    }
    // A session that the timetable says is on, or yet to come before this one, has not closed.
    let earlier = state.calendar.previous_session(session.opens, &primary);
    if let Some(earlier) = earlier.filter(|earlier| !has_closed(state, earlier, context.now)) {
        return Err(Rejection::EarlierSessionOpen {
            session: earlier.id,
        });
    }
    let act = Act::Open(id.clone());
    let approved_by = match context.actor {
        // Those who granted it approved this very plan.
        Actor::Script(script) => {
            let grant = script::granted(state, context.now, script, Some(id), Deed::Open)?;
            grant.approvals.clone()
        }
        Actor::Operator(_) | Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Node(_) => {
            approved(state, context, &act, &session)?
        }
    };
    state.approvals.remove(&act);
    make_room(state);
    state.plans.set(Plan {
        session,
        phase: Phase::Opening,
        opened_at: context.now,
        started_at: None,
        closed_at: None,
        approved_by,
        boundary: Some(Boundary {
            at: context.at,
            epoch: state.header.epoch,
            digest: None,
        }),
        sealed: None,
        unplanned: None,
    });
    state.header.fence = Some(id.clone());
    state.header.line_since = context.now;
    line::end_short_lived(state, context.now);
    moved(id, Phase::Opening)
}

fn has_closed(state: &State, session: &calendar::Session, now: UnixMs) -> bool {
    match state.plan(&session.id).map(|plan| plan.phase) {
        Some(Phase::Closed | Phase::RolledOver | Phase::Abandoned) => true,
        Some(Phase::Opening | Phase::Open) => false,
        None => session.closes <= now,
    }
}

/// Finished plans beyond the limit go, the oldest first.
pub(super) fn make_room(state: &mut State) {
    while state.plans.len() >= PLANS_MAX {
        let oldest = state
            .plans
            .iter()
            .filter(|plan| match plan.phase {
                Phase::Closed => plan.boundary.is_none(),
                Phase::RolledOver | Phase::Abandoned => true,
                Phase::Opening | Phase::Open => false,
            })
            .min_by_key(|plan| plan.opened_at)
            .map(|plan| plan.session.id.clone());
        let Some(oldest) = oldest else { return };
        state.plans.remove(&oldest);
    }
}

fn confirm_open(
    state: &mut State,
    context: &Context<'_>,
    id: &SessionId,
    digest: Digest,
    verified: &[NodeId],
) -> Moved {
    operator_or_node(context)?;
    let mut plan = plan_of(state, id)?.clone();
    let known = plan.boundary.and_then(|boundary| boundary.digest);
    if known.is_some() {
        return Err(Rejection::AlreadySo);
    }
    // A branch may be confirmed late, when its plan has closed already or a promotion dropped it.
    let dropped = plan.awaits_evidence_of_dropped(state.header.epoch);
    if !dropped {
        need(&plan, &[Phase::Opening, Phase::Closed])?;
    }
    if !is_majority(state, &plan.session.centre, verified) {
        return Err(Rejection::EvidenceDiffers);
    }
    if plan.phase == Phase::Opening {
        plan.phase = Phase::Open;
    }
    if let Some(boundary) = &mut plan.boundary {
        boundary.digest = Some(digest);
    }
    let phase = plan.phase;
    state.plans.set(plan);
    moved(id, phase)
}

/// Whether these are at least a majority of the centre's nodes.
pub(super) fn is_majority(state: &State, centre: &CentreName, nodes: &[NodeId]) -> bool {
    let named: BTreeSet<NodeId> = nodes.iter().copied().collect();
    let registered: Vec<NodeId> = state.nodes_of(centre).collect();
    let known = registered.iter().filter(|node| named.contains(node));
    known.count() > registered.len() / 2
}

fn branch_start(
    state: &mut State,
    line: &LineId,
    context: &Context<'_>,
    id: &SessionId,
    genesis: Digest,
) -> Moved {
    operator_or_node(context)?;
    if state.header.line != LineId::Main || state.header.fence.as_ref() != Some(id) {
        return Err(Rejection::AlreadySo);
    }
    // I1: the branch is what its name says, and starts from what its name says.
    let own = LineId::Branch {
        session: id.clone(),
        genesis,
    };
    if *line != own || context.genesis != Some(genesis) {
        return Err(Rejection::EvidenceDiffers);
    }
    line::start_branch(state, id.clone(), genesis);
    state.header.line_since = context.now;
    moved(id, Phase::Opening)
}

/// The session begins to serve on this line.
fn start(state: &mut State, context: &Context<'_>, id: &SessionId) -> Moved {
    operator_or_node(context)?;
    let now = context.now;
    if let Some(current) = &state.header.current {
        return Err(if current == id {
            Rejection::AlreadySo
        } else {
            Rejection::EarlierSessionOpen {
                session: current.clone(),
            }
        });
    }
    if let Some(pending) = &state.header.fence {
        return Err(Rejection::RolloverPending {
            session: pending.clone(),
        });
    }
    let on_branch = matches!(state.header.line, LineId::Branch { .. });
    let known = state.plan(id).cloned();
    let mut plan = match (known, on_branch) {
        (Some(plan), true) => plan,
        (Some(plan), false)
            if plan.goes_on_without_its_branch() && plan.session.centre == *primary(state)? =>
        {
            plan
        }
        (Some(plan), false) => return Err(Rejection::WrongPhase { phase: plan.phase }),
        (None, true) => return Err(Rejection::NoSuchSession),
        (None, false) => new_primary_plan(state, context, id)?,
    };
    need(&plan, &[Phase::Opening, Phase::Open, Phase::Abandoned])?;
    if !plan.session.holds(now) {
        return Err(Rejection::OutsideSession {
            opens: plan.session.opens,
            closes: plan.session.closes,
        });
    }
    // What became of its branch is not forgotten.
    if plan.phase != Phase::Abandoned {
        plan.phase = Phase::Open;
    }
    let phase = plan.phase;
    plan.started_at = Some(now);
    if !on_branch {
        state.header.business_day = state.header.business_day.max(Some(plan.session.day));
        make_room(state);
    }
    state.plans.set(plan);
    state.header.current = Some(id.clone());
    moved(id, phase)
}

fn new_primary_plan(
    state: &State,
    context: &Context<'_>,
    id: &SessionId,
) -> Result<Plan, Rejection> {
    let session = planned(state, id)?;
    if session.centre != *primary(state)? {
        return Err(Rejection::CentreNotServing {
            serving: session.centre,
        });
    }
    Ok(Plan {
        session,
        phase: Phase::Opening,
        opened_at: context.now,
        started_at: None,
        closed_at: None,
        approved_by: approval::By::new(),
        boundary: None,
        sealed: None,
        unplanned: None,
    })
}

fn close(state: &mut State, context: &Context<'_>, id: &SessionId) -> Moved {
    may(state, context, id, Deed::Close)?;
    let mut plan = plan_of(state, id)?.clone();
    if plan.phase == Phase::Closed {
        return Err(Rejection::AlreadySo);
    }
    let is_current = state.header.current.as_ref() == Some(id);
    if !(is_current && plan.goes_on_without_its_branch()) {
        need(&plan, &[Phase::Opening, Phase::Open])?;
        plan.phase = Phase::Closed;
    }
    let phase = plan.phase;
    plan.closed_at = Some(context.now);
    state.plans.set(plan);
    if is_current {
        state.header.current = None;
    }
    line::end_short_lived(state, context.now);
    // A branch's close is its last entry: the evidence is taken here.
    state.header.ended = matches!(state.header.line, LineId::Branch { .. });
    moved(id, phase)
}
