//! What nodes of the secondary do: start the branch from a verified genesis, begin and end its
//! service, and drop it once the main line has sealed it.

use std::collections::BTreeSet;

use domain::planted::{self, Fault};
use domain::session::{Command, Phase, Plan, Sealing};
use domain::{Digest, LineId, NodeId, SessionId, State};

use super::{main_line, seal, step};
use crate::line::Line;
use crate::node::{Error, Node, blocking};
use crate::unplanned;

pub(super) async fn round(node: &Node) -> Result<(), Error> {
    let state = node.main().state();
    drop_ended(node, &state).await?;
    unplanned::learn(node).await?;
    let plan = attended(node, &state);
    let plan = plan.filter(|plan| main_line::voters(node, plan).contains(&node.id()));
    let Some(plan) = &plan else { return Ok(()) };
    let branch = match node.branch() {
        Some(branch) if is_another(node, &branch, plan) => {
            tracing::warn!(session = %plan.session.id, "the main line decided for another branch");
            return node.drop_branch(&plan.session.id).await;
        }
        Some(branch) => branch,
        // One that was given up goes on where it had begun; it does not begin now.
        None if plan.phase == Phase::Abandoned && !was_started(node, plan).await? => return Ok(()),
        None => match start(node, plan).await? {
            Some(branch) => branch,
            None => return Ok(()),
        },
    };
    lead(node, &branch, plan).await
}

/// The plan whose branch is looked after: one that was opened here without the primary and that the
/// main line has yet to take over, else the one that fences the main line, else one that was opened
/// without it, else the last one if it was given up and its evidence may still be found and attached
/// (LINES.md, Abandon).
pub(super) fn attended(node: &Node, state: &State) -> Option<Plan> {
    let epoch = node.main().reference().epoch;
    let ordered = node.orders().into_iter().find(|order| {
        let plan = state.plan(&order.session.id);
        order.epoch == epoch
            && plan.is_none_or(|plan| plan.gives_way() && plan.phase != Phase::Abandoned)
    });
    if let Some(order) = ordered {
        return Some(order.plan());
    }
    if let Some(session) = &state.header().fence {
        return state.plan(session).cloned();
    }
    let last = || {
        let plans = state.plans().filter(|plan| plan.boundary.is_some());
        plans
            .max_by_key(|plan| plan.opened_at)
            .filter(|plan| awaits_evidence(plan, state))
    };
    state.unplanned().next().or_else(last).cloned()
}

/// Whether the branch is of the plan's session, and the one of the two was opened without the
/// primary and not the other.
fn is_another(node: &Node, branch: &Line, plan: &Plan) -> bool {
    if plan.unplanned.is_none() && node.order(&plan.session.id).is_none() {
        return false;
    }
    let expected = plan.boundary.and_then(|boundary| boundary.digest);
    match branch.reference().line {
        LineId::Main => false,
        LineId::Branch { session, genesis } => {
            session == plan.session.id && expected.is_some_and(|expected| expected != genesis)
        }
    }
}

/// Whether the plan was given up, or a promotion dropped its branch, and what that did can still be
/// sealed. Not where a majority
/// refused to start it: nothing was ever acknowledged there.
fn awaits_evidence(plan: &Plan, state: &State) -> bool {
    if plan.awaits_evidence_of_dropped(state.header().epoch) {
        return true;
    }
    let given_up = match plan.phase {
        Phase::Abandoned => true,
        Phase::Opening | Phase::Open | Phase::Closed | Phase::RolledOver => false,
    };
    let confirmed = plan
        .boundary
        .is_some_and(|boundary| boundary.digest.is_some());
    let ends = plan.session.closes.plus(state.policy().clock_skew_ms);
    let open = |sealed: &Sealing| sealed.evidence.is_none() && ends <= sealed.at;
    given_up && confirmed && plan.sealed.as_ref().is_some_and(open)
}

async fn was_started(node: &Node, plan: &Plan) -> Result<bool, Error> {
    let disk = node.inner.disk.clone();
    let lines = blocking(move || Ok(disk.lines()?)).await?;
    Ok(lines.iter().any(|line| match &line.line {
        LineId::Main => false,
        LineId::Branch { session, .. } => *session == plan.session.id,
    }))
}

/// Drops what is left of branches that the main line has sealed, or given up for good.
async fn drop_ended(node: &Node, state: &State) -> Result<(), Error> {
    if planted::is(Fault::SkipDiscard) {
        return Ok(());
    }
    let running = node.branch().map(|branch| branch.reference().line);
    let mut here: Vec<SessionId> = node.verified().into_iter().map(|(id, _)| id).collect();
    if let Some(LineId::Branch { session, .. }) = running {
        here.push(session);
    }
    here.extend(node.orders().into_iter().map(|order| order.session.id));
    let attended = attended(node, state).map(|plan| plan.session.id);
    for session in here {
        let ended = state.plan(&session).is_some_and(|plan| match plan.phase {
            Phase::RolledOver | Phase::Abandoned => true,
            Phase::Opening | Phase::Open | Phase::Closed => false,
        });
        if ended && attended.as_ref() != Some(&session) {
            if let Some(plan) = state.plan(&session) {
                // Another session does not wait for this one's mail.
                if attended.is_none() && !mail_has_left(node, plan).await? {
                    continue;
                }
                seal::complete(node, plan).await;
            }
            node.drop_branch(&session).await?;
            tracing::info!(%session, "dropped the branch");
        }
    }
    Ok(())
}

/// Whether the branch's notices have left. One that a restart finds stopped is started again for
/// them; it has ended, and serves nobody.
async fn mail_has_left(node: &Node, plan: &Plan) -> Result<bool, Error> {
    let session = &plan.session.id;
    let running = node.branch().map(|branch| branch.state());
    if let Some(state) = &running
        && state.outbox().is_empty()
    {
        // One that lags behind knows of itself alone.
        if state.header().ended {
            node.note_mailed(session);
        }
        return Ok(true);
    }
    if node.needs_no_mail(session, main_line::voters(node, plan)) {
        return Ok(true);
    }
    match running {
        Some(_) => Ok(false),
        None => Ok(!was_started(node, plan).await? || start(node, plan).await?.is_none()),
    }
}

/// Starts the branch, once its genesis is here and is the one of the boundary.
async fn start(node: &Node, plan: &Plan) -> Result<Option<Line>, Error> {
    let session = &plan.session.id;
    let (Some(boundary), false) = (plan.boundary, node.has_refused(session)) else {
        return Ok(None);
    };
    if planted::is(Fault::SkipBoundaryWait) {
        let voters = main_line::voters(node, plan);
        let early = node.main().state();
        return node.start_branch(session, early, &voters).await.map(Some);
    }
    let main = node.main();
    let is_of_main = boundary.epoch == main.reference().epoch;
    let own = is_of_main.then(|| main.digests_at(boundary.at)).flatten();
    let expected = boundary.digest.or(own.map(|digests| digests.full));
    let found = match node.genesis(session).await {
        Ok(Some((state, at, digest))) if at == boundary.at => Some((state, digest)),
        Ok(Some(_) | None) => None,
        Err(error) => {
            tracing::error!(%session, %error, "the genesis here cannot be used");
            None
        }
    };
    let genesis = match found {
        Some((state, digest)) if expected.is_none_or(|expected| expected == digest) => state,
        Some(_) | None => match expected {
            Some(expected) => match fetch(node, plan, expected).await? {
                Some(state) => state,
                None => return Ok(None),
            },
            None => return Ok(None),
        },
    };
    let voters = formed_by(node, plan);
    node.start_branch(session, genesis, &voters).await.map(Some)
}

/// The nodes that form the branch's group. Nobody forms that of a branch which has ended: one that
/// was formed before says what was done there, a new one would only say that nothing was.
fn formed_by(node: &Node, plan: &Plan) -> BTreeSet<NodeId> {
    match plan.phase {
        Phase::Opening | Phase::Open | Phase::Closed => main_line::voters(node, plan),
        Phase::RolledOver | Phase::Abandoned => BTreeSet::new(),
    }
}

/// The genesis with this digest from a peer that says to have it.
async fn fetch(node: &Node, plan: &Plan, expected: Digest) -> Result<Option<State>, Error> {
    let session = &plan.session.id;
    let Some(boundary) = plan.boundary else {
        return Ok(None);
    };
    let mut failed = None;
    for peer in node.peers().others() {
        let has = geneses_of(node, peer.node)
            .into_iter()
            .any(|(of, digest)| of == *session && digest == expected);
        if has {
            match node
                .fetch_genesis(session, boundary.at, expected, peer.node)
                .await
            {
                Ok(genesis) => return Ok(Some(genesis)),
                Err(error) => failed = Some(error),
            }
        }
    }
    failed.map_or(Ok(None), Err)
}

/// The geneses that a node says to have verified.
pub(super) fn geneses_of(node: &Node, of: NodeId) -> Vec<(SessionId, Digest)> {
    if of == node.id() {
        return node.verified();
    }
    let heard = node.heard().from(of);
    heard
        .into_iter()
        .flat_map(|(_, status)| status.geneses)
        .filter_map(|genesis| {
            let digest = <[u8; 32]>::try_from(genesis.digest.as_ref()).ok()?;
            Some((SessionId::parse(&genesis.session).ok()?, Digest(digest)))
        })
        .collect()
}

/// What the branch's leader proposes.
async fn lead(node: &Node, branch: &Line, plan: &Plan) -> Result<(), Error> {
    let state = branch.state();
    let now = node.time().max(state.header().clock);
    // Asked after the clock was read: the time of one that has stepped decides nothing.
    if !branch.clock_is_ok() {
        return Ok(());
    }
    let voters = formed_by(node, plan);
    if branch.membership().voters.is_empty() && !voters.is_empty() {
        branch.initialize(&voters).await?;
    }
    if branch.leader().is_none()
        && voters.first() == Some(&node.id())
        && state.header().line == LineId::Main
    {
        // The first vote may have come before the others had started: no need to wait for another.
        branch.stand().await?;
    }
    if !branch.is_leader() {
        return Ok(());
    }
    let LineId::Branch { session, genesis } = branch.reference().line else {
        return Ok(());
    };
    if state.header().ended {
        return Ok(());
    }
    if state.header().line == LineId::Main {
        let first = match &plan.unplanned {
            Some(unplanned) => Command::BeginUnplanned {
                order: Box::new(unplanned.order.clone()),
            },
            None => Command::BranchStart { session, genesis },
        };
        return step(node, branch, first).await;
    }
    let skew_ms = state.policy().clock_skew_ms;
    // The main line says close, or the timetable does: the branch asks nobody (LINES.md, Close).
    let is_over = match plan.phase {
        Phase::Closed | Phase::Abandoned | Phase::RolledOver => true,
        Phase::Opening | Phase::Open => false,
    };
    if is_over || plan.session.closes.plus(skew_ms) <= now {
        return step(node, branch, Command::Close { session }).await;
    }
    if state.header().current.is_none() && plan.session.holds(now) {
        return step(node, branch, Command::Start { session }).await;
    }
    Ok(())
}
