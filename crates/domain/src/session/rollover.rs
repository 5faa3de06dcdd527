//! After the close: the rollover, its answers, what is held, and the session that is given up.

use std::collections::{BTreeMap, BTreeSet};

use super::agreed::{approved, may, operator};
use super::plan::{Moved, is_majority, moved, need, plan_of};
use super::{
    Act, Evidence, Hold, MustRepeat, Phase, Plan, REASON_BYTES_MAX, Reply, Sealing, Whose,
};
use crate::apply::Context;
use crate::audit::Repeat;
use crate::envelope::Actor;
use crate::factor::{Method, Password};
use crate::id::{NodeId, SessionId};
use crate::line;
use crate::migration::Switch;
use crate::notice;
use crate::outcome::Rejection;
use crate::script::Deed;
use crate::state::State;
use crate::time::UnixMs;

/// Why a session has no branch any more after a promotion.
pub(crate) const DROPPED: &str = "dropped by a promotion";

pub(super) fn roll_over(
    state: &mut State,
    context: &Context<'_>,
    id: &SessionId,
    evidence: &Evidence,
    replies: &BTreeMap<u64, Reply>,
    gap_accepted: Option<&String>,
) -> Moved {
    may(state, context, id, Deed::RollOver)?;
    let plan = plan_of(state, id)?.clone();
    let sealed = plan
        .sealed
        .as_ref()
        .map(|sealing| sealing.evidence.is_some());
    if plan.phase == Phase::RolledOver || sealed == Some(true) {
        return Err(Rejection::AlreadySo);
    }
    // Evidence of a session that was given up may be found later, and is attached.
    need(&plan, &[Phase::Closed, Phase::Abandoned])?;
    check_evidence(state, context, &plan, evidence)?;
    check_answers(&evidence.must_repeat, replies)?;
    if gap_accepted.is_some_and(|gap| gap.is_empty() || gap.len() > REASON_BYTES_MAX) {
        let problem = format!("a gap is accepted in 1 to {REASON_BYTES_MAX} bytes");
        return Err(Rejection::BadValues(vec![problem]));
    }
    let held = check_replies(
        state,
        context,
        plan.opened_at,
        &evidence.must_repeat,
        replies,
    )?;
    for item in evidence
        .must_repeat
        .iter()
        .filter(|item| held.contains(&item.sequence))
    {
        hold(state, id, &item.of, item.sequence);
    }
    tell_holders(state, evidence);
    // Why it was given up is kept.
    let before = plan.sealed.as_ref();
    let before = before.and_then(|sealing| sealing.gap_accepted.clone());
    let sealing = Sealing {
        evidence: Some(evidence.clone()),
        replies: replies.clone(),
        held,
        at: context.now,
        log: context.at,
        gap_accepted: gap_accepted.cloned().or(before),
    };
    if plan.phase == Phase::Abandoned {
        // A branch may have served for a moment after it was dropped, and never past its times.
        let served_until = evidence.closed_at.min(plan.session.closes);
        line::raise_totp_floor(state, served_until);
        state.plans.set(Plan {
            sealed: Some(sealing),
            ..plan
        });
        return moved(id, Phase::Abandoned);
    }
    let closed_at = evidence.closed_at;
    end_plan(state, context, plan, Phase::RolledOver, sealing, closed_at);
    moved(id, Phase::RolledOver)
}

/// Tells each holder of an account that the branch changed that it is as it was before: at the
/// address that the main line knows.
fn tell_holders(state: &mut State, evidence: &Evidence) {
    for (account, changes) in &evidence.touched {
        let Some(account) = state.accounts.get(account) else {
            continue;
        };
        let kind = notice::Kind::NotCarriedForward {
            session: evidence.session.clone(),
            changes: changes.clone(),
        };
        state.outbox.note(account, kind);
    }
}

/// Whether the evidence is of the plan's own branch.
fn check_evidence(
    state: &State,
    context: &Context<'_>,
    plan: &Plan,
    evidence: &Evidence,
) -> Result<(), Rejection> {
    let fits = plan.boundary.as_ref().is_some_and(|boundary| {
        boundary.at == evidence.boundary && boundary.digest == Some(evidence.genesis)
    });
    // Its time raises the floor under codes: one far ahead would shut everybody out.
    let latest = context.now.plus(state.policy.clock_jump_ms);
    if !fits || evidence.session != plan.session.id || evidence.closed_at > latest {
        return Err(Rejection::EvidenceDiffers);
    }
    Ok(())
}

/// Whether each answer is to an item, and has a reason of a length that is kept. It does not look
/// at what was repeated: a bad answer is told before anything is done for a good one.
fn check_answers(items: &[MustRepeat], replies: &BTreeMap<u64, Reply>) -> Result<(), Rejection> {
    let known: BTreeSet<u64> = items.iter().map(|item| item.sequence).collect();
    for (item, reply) in replies {
        if !known.contains(item) {
            let problem = format!("there is no item {item} to answer");
            return Err(Rejection::BadValues(vec![problem]));
        }
        match reply {
            Reply::Waived { reason } if reason.is_empty() || reason.len() > REASON_BYTES_MAX => {
                let problem =
                    format!("item {item} is waived for a reason of 1 to {REASON_BYTES_MAX} bytes");
                return Err(Rejection::BadValues(vec![problem]));
            }
            Reply::Waived { .. } | Reply::Repeated => {}
        }
    }
    Ok(())
}

/// The items that nobody answered: an operator must answer all, a rollover that runs by itself
/// holds them. That something was not repeated is said last, when nothing else is wrong.
fn check_replies(
    state: &State,
    context: &Context<'_>,
    since: UnixMs,
    items: &[MustRepeat],
    replies: &BTreeMap<u64, Reply>,
) -> Result<BTreeSet<u64>, Rejection> {
    let unanswered: BTreeSet<u64> = items
        .iter()
        .map(|item| item.sequence)
        .filter(|item| !replies.contains_key(item))
        .collect();
    match context.actor {
        Actor::Operator(_) | Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Script(_)
            if !unanswered.is_empty() =>
        {
            return Err(Rejection::Unanswered(unanswered.into_iter().collect()));
        }
        Actor::Operator(_)
        | Actor::FrontEnd(_)
        | Actor::BackEnd(_)
        | Actor::Node(_)
        | Actor::Script(_) => {}
    }
    let untrue = items.iter().find(|item| {
        replies.get(&item.sequence) == Some(&Reply::Repeated) && !stands(state, since, item)
    });
    match untrue {
        Some(item) => Err(Rejection::NotRepeated {
            item: item.sequence,
        }),
        None => Ok(unanswered),
    }
}

/// Whether what the item took away on the branch is taken away on this line too.
fn stands(state: &State, since: UnixMs, item: &MustRepeat) -> bool {
    let account = match &item.of {
        Whose::Account(id) => state.account(id),
        Whose::Participant(id) => {
            return state.firm(id).is_none_or(|firm| !firm.active());
        }
    };
    let Some(account) = account.filter(|account| account.active() && !state.gone(account)) else {
        return true;
    };
    let method = item.method.unwrap_or(Method::Otp);
    let set_since = |password: &Password| password.set_at > since;
    match item.kind {
        // Of a firm, and judged above.
        Repeat::ParticipantSuspension | Repeat::Suspension => false,
        Repeat::MethodDisabled => account.methods.get(method) != Switch::On,
        Repeat::CardRevocation => account
            .card
            .as_ref()
            .is_none_or(|card| card.password.set_at > since),
        Repeat::OtpRevocation | Repeat::ChannelCompromised => account
            .otp
            .as_ref()
            .is_none_or(|otp| otp.initiated_at > since),
        Repeat::PasswordCompromised => account.password(method).is_none_or(set_since),
    }
}

fn hold(state: &mut State, session: &SessionId, of: &Whose, item: u64) {
    let mut hold = state.holds.get(of).cloned().unwrap_or_else(|| Hold {
        of: of.clone(),
        items: BTreeSet::new(),
    });
    hold.items.insert((session.clone(), item));
    state.holds.set(hold);
}

/// Ends the plan of a secondary session: its fence goes, and the next business day is set.
fn end_plan(
    state: &mut State,
    context: &Context<'_>,
    mut plan: Plan,
    phase: Phase,
    sealing: Sealing,
    latest: UnixMs,
) {
    let day = state.calendar.next_business_day(plan.session.day);
    let id = plan.session.id.clone();
    state.approvals.remove(&Act::Open(id.clone()));
    state.approvals.remove(&Act::Abandon(id.clone()));
    plan.phase = phase;
    plan.sealed = Some(sealing);
    state.plans.set(plan);
    // One that was opened without the primary may not fence it: then its own session goes on.
    if state.header.fence.as_ref() == Some(&id) {
        state.header.fence = None;
        state.header.current = None;
    }
    state.header.business_day = state.header.business_day.max(day);
    state.header.line_since = context.now;
    line::end_short_lived(state, latest);
}

/// Ends the plan of a secondary session whose branch is not there, and cannot be.
pub(crate) fn give_up(state: &mut State, context: &Context<'_>, mut plan: Plan, why: &str) {
    plan.closed_at = plan.closed_at.or(Some(context.now));
    end_without_evidence(state, context, plan, why);
}

/// Ends the plan of a secondary session whose main line has gone on as that of a later epoch. What
/// the branch did is attached once it is found. A session that had not closed is not closed by
/// this.
pub(crate) fn drop_branch(state: &mut State, context: &Context<'_>, plan: Plan) {
    end_without_evidence(state, context, plan, DROPPED);
}

fn end_without_evidence(state: &mut State, context: &Context<'_>, plan: Plan, why: &str) {
    let sealing = Sealing {
        evidence: None,
        replies: BTreeMap::new(),
        held: BTreeSet::new(),
        at: context.now,
        log: context.at,
        gap_accepted: Some(why.to_owned()),
    };
    end_plan(state, context, plan, Phase::Abandoned, sealing, context.now);
}

pub(super) fn abandon(
    state: &mut State,
    context: &Context<'_>,
    id: &SessionId,
    refused: &[NodeId],
    reason: &str,
) -> Moved {
    operator(context)?;
    let plan = plan_of(state, id)?.clone();
    if plan.phase == Phase::Abandoned {
        return Err(Rejection::AlreadySo);
    }
    if plan.boundary.is_none() {
        return Err(Rejection::NotAtSecondary);
    }
    need(&plan, &[Phase::Opening, Phase::Open, Phase::Closed])?;
    if reason.is_empty() || reason.len() > REASON_BYTES_MAX {
        let problem = format!("a reason of 1 to {REASON_BYTES_MAX} bytes is needed");
        return Err(Rejection::BadValues(vec![problem]));
    }
    let ended = plan.session.closes.plus(state.policy.clock_skew_ms);
    if context.now < ended && !is_majority(state, &plan.session.centre, refused) {
        return Err(Rejection::OutsideSession {
            opens: ended,
            closes: ended,
        });
    }
    let act = Act::Abandon(id.clone());
    approved(state, context, &act, &plan.session)?;
    give_up(state, context, plan, reason);
    moved(id, Phase::Abandoned)
}

pub(super) fn answer_holds(
    state: &mut State,
    context: &Context<'_>,
    id: &SessionId,
    replies: &BTreeMap<u64, Reply>,
) -> Moved {
    operator(context)?;
    let mut plan = plan_of(state, id)?.clone();
    let since = plan.opened_at;
    let Some(sealing) = plan.sealed.as_mut() else {
        return Err(Rejection::WrongPhase { phase: plan.phase });
    };
    let all = sealing
        .evidence
        .as_ref()
        .map_or(&[][..], |evidence| &evidence.must_repeat);
    check_answers(all, replies)?;
    let items: Vec<MustRepeat> = all
        .iter()
        .filter(|item| sealing.held.contains(&item.sequence))
        .filter(|item| replies.contains_key(&item.sequence))
        .cloned()
        .collect();
    if items.is_empty() {
        return Err(Rejection::AlreadySo);
    }
    check_replies(state, context, since, &items, replies)?;
    for item in &items {
        sealing.held.remove(&item.sequence);
        if let Some(reply) = replies.get(&item.sequence) {
            sealing.replies.insert(item.sequence, reply.clone());
        }
        let mut left = false;
        state.holds.change(&item.of, |hold| {
            hold.items.remove(&(id.clone(), item.sequence));
            left = !hold.items.is_empty();
        });
        if !left {
            state.holds.remove(&item.of);
        }
    }
    let phase = plan.phase;
    state.plans.set(plan);
    moved(id, phase)
}
