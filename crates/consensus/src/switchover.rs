//! The voters of the main line follow its state: in a switchover they become the other centre's,
//! and then the role moves (LINES.md, "Switchover"); when a centre's nodes change, its own.
//!
//! Whoever leads drives this on, from wherever it stands, and every step may be repeated. What can
//! fail is looked at before the voters are touched; after that, only a lost link can hold it up.
//! Deliberately absent: what an operator is shown before (the server).

use std::collections::BTreeSet;
use std::time::Duration;

use domain::centre::{Centres, Command};
use domain::{Actor, NodeId};
use tokio::time::Instant;

use crate::line::{Error, Line, PATIENCE};
use crate::node::Node;
use crate::propose::{Attempt, Proposal};

/// How long the other centre may take to have all that is in the log, before the switchover is
/// given up. Nobody serves in that time.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);
/// Entries that a node may lack and still count as having caught up: the joint change makes it
/// wait for the rest.
const LAG_MAX: u64 = 64;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Brings the voters to where the state wants them, and the role after them.
pub(crate) async fn drive(node: &Node, main: &Line) -> Result<(), Error> {
    let members = main.membership();
    let state = main.state();
    let Some(centres) = state.centres() else {
        return Ok(());
    };
    let wanted: BTreeSet<NodeId> = centres.voting().nodes.iter().map(|node| node.id).collect();
    let there = !members.joint && members.voters == wanted;
    if there && centres.switch.is_none() {
        // Kept as one that only receives, who led until now would lead on from the other centre.
        if !members.voters.contains(&node.id()) {
            main.hand_over().await;
        }
        return Ok(());
    }
    // What this node has applied may be old; what it decides now must not be.
    main.lead_and_apply(Instant::now() + PATIENCE).await?;
    if main.state().centres() != Some(centres) {
        return Ok(());
    }
    if !there {
        if !members.joint {
            match &centres.switch {
                Some(switch) if !caught_up(main, centres, &wanted).await => {
                    let to = switch.to.clone();
                    return propose(node, main, Command::SwitchGivenUp { to }).await;
                }
                // A node votes once it has what is in the log, and not before.
                None if !near(main, wanted.difference(&members.voters)) => return Ok(()),
                Some(_) | None => {}
            }
        }
        tracing::info!(to = %centres.voting().name, "changing the voters of the main line");
        // It waits for both majorities for as long as this takes; the next round looks again.
        let changed = tokio::time::timeout(PATIENCE, main.change_voters(&wanted)).await;
        changed.map_err(|_| Error::OutcomeUnknown)??;
    }
    match &centres.switch {
        Some(switch) => {
            let to = switch.to.clone();
            propose(node, main, Command::SwitchDone { to }).await
        }
        None => Ok(()),
    }
}

/// Waits until enough of the nodes that are to vote have what is in the log; false when they do
/// not come to it.
async fn caught_up(main: &Line, centres: &Centres, wanted: &BTreeSet<NodeId>) -> bool {
    let deadline = Instant::now() + CATCH_UP_MAX;
    let needed = wanted.len() / 2 + 1;
    loop {
        let last = main.last_log_index().unwrap_or(0);
        let replication = main.replication();
        let near = wanted.iter().filter(|node| {
            let reached = replication.get(node).copied().flatten();
            reached.is_some_and(|reached| reached.index.saturating_add(LAG_MAX) >= last)
        });
        if near.count() >= needed {
            return true;
        }
        if Instant::now() >= deadline || !main.is_leader() {
            tracing::warn!(to = %centres.voting().name, ?replication, last, "does not keep pace");
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether all of these have nearly all that is in the log.
fn near<'a>(main: &Line, nodes: impl Iterator<Item = &'a NodeId>) -> bool {
    let last = main.last_log_index().unwrap_or(0);
    let replication = main.replication();
    let mut reached = nodes.map(|node| replication.get(node).copied().flatten());
    reached.all(|reached| reached.is_some_and(|at| at.index.saturating_add(LAG_MAX) >= last))
}

/// Proposes here alone: what a former leader still has to say must not reach the next one.
pub(crate) async fn propose(node: &Node, main: &Line, command: Command) -> Result<(), Error> {
    let proposal = Proposal {
        actor: Actor::Node(node.id()),
        request: None,
        command: domain::Command::Centre(command.clone()),
    };
    match main.write(proposal, Instant::now() + PATIENCE).await {
        Attempt::Done(at, outcome) => {
            tracing::info!(%at, ?command, result = ?outcome.result, "proposed");
            Ok(())
        }
        Attempt::Again => Err(Error::NoLeader),
        Attempt::Unclear => Err(Error::OutcomeUnknown),
        Attempt::Refused(error) => Err(error),
    }
}
