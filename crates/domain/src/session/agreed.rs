//! Who may move a plan, and which operators have agreed to it (S34).

use super::plan::{Moved, may_open, plan_of};
use super::{Act, Approvals, Plan};
use crate::apply::Context;
use crate::approval;
use crate::calendar;
use crate::digest::Digest;
use crate::envelope::Actor;
use crate::id::{OperatorId, SessionId};
use crate::outcome::{Answer, Rejection};
use crate::script::{self, Deed};
use crate::state::State;
use crate::time::UnixMs;

pub(crate) fn operator<'a>(context: &Context<'a>) -> Result<&'a OperatorId, Rejection> {
    match context.actor {
        Actor::Operator(id) => Ok(id),
        Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Node(_) | Actor::Script(_) => {
            Err(Rejection::NotAllowed)
        }
    }
}

pub(super) fn operator_or_node(context: &Context<'_>) -> Result<(), Rejection> {
    match context.actor {
        Actor::Operator(_) | Actor::Node(_) => Ok(()),
        Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Script(_) => Err(Rejection::NotAllowed),
    }
}

/// Whether the actor may do it: an operator, a node that follows the timetable, or a script to
/// which it is granted.
pub(super) fn may(
    state: &State,
    context: &Context<'_>,
    session: &SessionId,
    deed: Deed,
) -> Result<(), Rejection> {
    match context.actor {
        Actor::Script(_) => script::may(state, context, Some(session), deed),
        Actor::Operator(_) | Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Node(_) => {
            operator_or_node(context)
        }
    }
}

pub(super) fn approve(
    state: &mut State,
    context: &Context<'_>,
    act: &Act,
    digest: Digest,
) -> Moved {
    operator(context)?;
    let session = match act {
        Act::Open(session) => may_open(state, context, session)?,
        Act::Abandon(session) => plan_of(state, session)?.session.clone(),
    };
    if Plan::digest_of(&session) != digest {
        return Err(Rejection::PlanDiffers);
    }
    // Approvals of a plan that has changed since, and old ones, count no longer.
    let mut approvals = Approvals {
        act: act.clone(),
        plan: digest,
        by: approved_lately(state, context.now, act, digest),
    };
    let signed = approval::Act::Session(act.clone(), digest);
    let (operator, approval) = approval::given(state, context, &signed)?;
    approvals.by.insert(operator, approval);
    let have = u32::try_from(approvals.by.len()).unwrap_or(u32::MAX);
    state.approvals.set(approvals);
    Ok(Answer::Approved {
        have,
        need: state.policy.approvals,
    })
}

/// Who has approved the act on this plan by a statement that counts now.
fn approved_lately(state: &State, now: UnixMs, act: &Act, plan: Digest) -> approval::By {
    state
        .approvals
        .get(act)
        .filter(|approvals| approvals.plan == plan)
        .map(|approvals| approval::counted(state, now, &approvals.by))
        .unwrap_or_default()
}

/// The operators who approved the act on this very plan: enough of them.
pub(super) fn approved(
    state: &State,
    context: &Context<'_>,
    act: &Act,
    session: &calendar::Session,
) -> Result<approval::By, Rejection> {
    approved_at(state, context.now, act, session)
}

/// As `approved`, by the statements that counted then.
pub(super) fn approved_at(
    state: &State,
    now: UnixMs,
    act: &Act,
    session: &calendar::Session,
) -> Result<approval::By, Rejection> {
    let by = approved_lately(state, now, act, Plan::digest_of(session));
    let have = u32::try_from(by.len()).unwrap_or(u32::MAX);
    let need = state.policy.approvals;
    if have < need {
        return Err(Rejection::NotApproved { have, need });
    }
    Ok(by)
}
