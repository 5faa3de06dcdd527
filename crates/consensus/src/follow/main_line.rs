//! What the main line's leader does: sessions at the primary begin and end, secondary ones are
//! confirmed and closed, and a rollover that nobody ordered runs in time.

use std::collections::{BTreeMap, BTreeSet};

use domain::session::{Command, Phase, Plan};
use domain::{Digest, NodeId, SessionId, State, UnixMs};

use super::step;
use crate::line::Line;
use crate::node::{Error, Node};
use crate::unplanned;

pub(super) async fn round(node: &Node) -> Result<(), Error> {
    let main = node.main();
    let state = main.state();
    let now = node.time().max(state.header().clock);
    // Asked after the clock was read: the time of one that has stepped decides nothing.
    if !main.is_leader() || !main.clock_is_ok() || state.founding().is_none() {
        return Ok(());
    }
    // A main line of a later epoch is the old one's state until its first entry is there.
    if state.header().epoch != main.reference().epoch {
        return Ok(());
    }
    if state
        .centres()
        .is_some_and(|centres| centres.switch.is_some())
    {
        return Ok(());
    }
    if unplanned::adopt(node, &main, &state).await? {
        return Ok(());
    }
    // One that does not fence the main line goes beside what the timetable asks for.
    for plan in state.unplanned() {
        if state.header().fence.as_ref() != Some(&plan.session.id)
            && let Err(error) = secondary(node, &main, plan, &state, now).await
        {
            tracing::debug!(session = %plan.session.id, %error, "will try again");
        }
    }
    if let Some(fence) = &state.header().fence {
        return match state.plan(fence) {
            Some(plan) => secondary(node, &main, plan, &state, now).await,
            None => Ok(()),
        };
    }
    match &state.header().current {
        Some(current) => end(node, &main, current, &state, now).await,
        None => begin(node, &main, &state, now).await,
    }
}

async fn begin(node: &Node, main: &Line, state: &State, now: UnixMs) -> Result<(), Error> {
    let due = state.primary().and_then(|primary| {
        let session = state.calendar().session_at(now, &primary.name)?;
        let plan = state.plan(&session.id);
        let is_due = plan.is_none_or(Plan::goes_on_without_its_branch);
        (session.centre == primary.name && is_due).then_some(session)
    });
    match due {
        Some(session) => {
            let session = session.id;
            step(node, main, Command::Start { session }).await
        }
        None => Ok(()),
    }
}

async fn end(
    node: &Node,
    main: &Line,
    current: &SessionId,
    state: &State,
    now: UnixMs,
) -> Result<(), Error> {
    let over = state
        .plan(current)
        .is_some_and(|plan| plan.session.closes <= now);
    if over {
        let session = current.clone();
        step(node, main, Command::Close { session }).await?;
    }
    Ok(())
}

async fn secondary(
    node: &Node,
    main: &Line,
    plan: &Plan,
    state: &State,
    now: UnixMs,
) -> Result<(), Error> {
    let session = plan.session.id.clone();
    // Confirmed before anything else, and late too: without it there is no rollover.
    let unconfirmed = plan
        .boundary
        .is_some_and(|boundary| boundary.digest.is_none());
    if unconfirmed && confirm(node, main, plan).await? {
        return Ok(());
    }
    match plan.phase {
        Phase::Opening | Phase::Open if plan.session.closes <= now => {
            step(node, main, Command::Close { session }).await
        }
        Phase::Closed if rollover_due(plan, state).is_some_and(|due| due <= now) => {
            roll_over(node, main, &session).await
        }
        Phase::Opening | Phase::Open | Phase::Closed | Phase::RolledOver | Phase::Abandoned => {
            Ok(())
        }
    }
}

/// When a rollover runs by itself: some time before the next business day opens.
#[must_use]
pub fn rollover_due(plan: &Plan, state: &State) -> Option<UnixMs> {
    let primary = &state.primary()?.name;
    let calendar = state.calendar();
    let day = calendar.next_business_day(plan.session.day)?;
    let opens = calendar.opening_of(day, primary)?;
    Some(opens.minus(state.policy().rollover_lead_ms))
}

/// Confirms the opening once a majority of the centre's nodes has verified one genesis, and it is
/// the state that this line had at the boundary. Says whether it did.
pub(super) async fn confirm(node: &Node, main: &Line, plan: &Plan) -> Result<bool, Error> {
    let Some(boundary) = plan.boundary else {
        return Ok(false);
    };
    let is_of_main = boundary.epoch == main.reference().epoch;
    // What was ordered without a primary is taken over instead: its boundary is another.
    if !is_of_main && node.is_ordered(&plan.session.id) {
        return Ok(false);
    }
    let own = is_of_main.then(|| main.digests_at(boundary.at)).flatten();
    let own = own.map(|digests| digests.full);
    let confirmed = verified(node, plan).into_iter().find(|(digest, nodes)| {
        own.is_none_or(|own| own == *digest) && nodes.len() > voters(node, plan).len() / 2
    });
    let Some((digest, nodes)) = confirmed else {
        return Ok(false);
    };
    let command = Command::ConfirmOpen {
        session: plan.session.id.clone(),
        digest,
        verified: nodes.into_iter().collect(),
    };
    step(node, main, command).await?;
    Ok(true)
}

/// The nodes that vote on the plan's branch.
pub(super) fn voters(node: &Node, plan: &Plan) -> BTreeSet<NodeId> {
    let state = node.main().state();
    state.nodes_of(&plan.session.centre).collect()
}

/// Who says to have verified a genesis of the session, by its digest.
fn verified(node: &Node, plan: &Plan) -> BTreeMap<Digest, BTreeSet<NodeId>> {
    let mut verified: BTreeMap<Digest, BTreeSet<NodeId>> = BTreeMap::new();
    for voter in voters(node, plan) {
        for (session, digest) in super::branch::geneses_of(node, voter) {
            if session == plan.session.id {
                verified.entry(digest).or_default().insert(voter);
            }
        }
    }
    verified
}

/// The rollover that nobody ordered: unanswered items are held.
pub(super) async fn roll_over(node: &Node, main: &Line, session: &SessionId) -> Result<(), Error> {
    let gathered = node.gather(session).await?;
    if !gathered.in_both_centres {
        return Err(Error::Branch(format!(
            "{session} is to be sealed, but the branch's audit rows are durable in too few nodes of \
             the primary"
        )));
    }
    let command = Command::RollOver {
        session: session.clone(),
        evidence: Box::new(gathered.evidence),
        replies: BTreeMap::new(),
        gap_accepted: None,
    };
    step(node, main, command).await
}
