//! What a node does for its lines without being asked: forms the main line's group once, keeps
//! its learners in it, founds the cluster, fills holes in audit trails, and follows the verdict on
//! its clock.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::{Actor, Command, NodeId, cluster};
use tokio::sync::watch;

use crate::clockwatch::ClockVerdict;
use crate::line::{Error, Line};
use crate::members;
use crate::node::{FIRST_EPOCH, Node};
use crate::promotion;
use crate::propose::Proposal;
use crate::switchover;
use crate::versions;

/// How often a node looks whether something is left to do, when nothing told it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Tells the lines what became of the clock, for as long as it is watched.
pub(crate) async fn follow_clock(node: Node, mut verdict: watch::Receiver<ClockVerdict>) {
    while verdict.changed().await.is_ok() {
        let ok = verdict.borrow_and_update().is_good();
        for line in std::iter::once(node.main()).chain(node.branch()) {
            // Repeated with every comparison: a leader that found nobody tries again.
            if !ok || !line.clock_was_ok() {
                line.set_clock_ok(ok);
            }
        }
    }
}

/// Keeps the directory of nodes and the list of those that were seen true, and gives this node's
/// disk up when its place has got another id; for as long as the node runs.
pub(crate) async fn see_to_place(node: Node) {
    let mut heard = node.heard().watch();
    loop {
        node.follow_centres();
        if let Err(error) = node.note_seen().await {
            tracing::warn!(%error, "cannot keep which nodes were seen");
        }
        if let Some(life) = node.another_life_heard() {
            tracing::warn!(own = %node.id(), %life, "this place has another id now: giving up what is here");
            match node.begin_wipe().await {
                Ok(()) => {
                    node.inner.another_life.send_replace(Some(life));
                    return;
                }
                Err(error) => tracing::error!(%error, "cannot give up what is here"),
            }
        }
        let _elapsed = tokio::time::timeout(LOOK_EVERY, heard.changed()).await;
    }
}

/// Sees to the main line, for as long as the node runs.
pub(crate) async fn see_to_main(node: Node) {
    loop {
        let main = node.main();
        if let Err(error) = main.running() {
            tracing::warn!(%error, "the main line has stopped here");
            node.another_main(&main).await;
            continue;
        }
        if let Err(error) = round(&node, &main).await {
            tracing::debug!(%error, "will try again");
        }
        let _elapsed = tokio::time::timeout(LOOK_EVERY, main.changed()).await;
    }
}

async fn round(node: &Node, main: &Line) -> Result<(), Error> {
    for line in std::iter::once(main).chain(&node.branch()) {
        if let Err(error) = node.fill_audit(line).await {
            tracing::debug!(line = %line.reference().line, %error, "audit rows are missing here");
        }
    }
    if main.clock_is_ok()
        && !main.is_initialized().await?
        && let Some(voters) = founders(node, main)
    {
        main.initialize(&voters).await?;
    }
    if !main.is_leader() {
        return Ok(());
    }
    if main.state().founding().is_none() {
        // The founding is answered once the secondary has it.
        add_learners(node, main).await?;
        found(node, main).await?;
    }
    promotion::begin(node, main).await?;
    promotion::inform(node, main).await;
    add_learners(node, main).await?;
    switchover::drive(node, main).await?;
    members::settle(node, main).await?;
    versions::raise(node, main).await
}

/// Lets every node of the centres receive the log.
async fn add_learners(node: &Node, main: &Line) -> Result<(), Error> {
    let members = main.membership();
    if members.joint {
        return Ok(());
    }
    for id in node.centres().all().flat_map(|centre| &centre.nodes) {
        if !members.voters.contains(&id.id) && !members.learners.contains(&id.id) {
            main.add_learner(id.id).await?;
            tracing::info!(node = %id.id, "added a learner");
        }
    }
    Ok(())
}

/// The nodes that form the line's group, if this node may form it. In the first epoch exactly one
/// does, the primary centre's first; later any that the certificate names, all with the same set.
fn founders(node: &Node, main: &Line) -> Option<BTreeSet<NodeId>> {
    if main.reference().epoch > FIRST_EPOCH {
        return promotion::founders(node, main);
    }
    let voters: BTreeSet<NodeId> = node.founding().primary.nodes.iter().map(|n| n.id).collect();
    let forms = voters.first() == Some(&node.id()) && !heard_of_a_group(node, &voters);
    forms.then_some(voters)
}

/// Whether another voter already has a log: then this node lost its folder, and must not form a
/// second group under the same name.
fn heard_of_a_group(node: &Node, voters: &BTreeSet<NodeId>) -> bool {
    voters
        .iter()
        .filter_map(|voter| node.heard().from(*voter))
        .flat_map(|(_, status)| status.lines)
        .any(|line| line.term > 0 || line.applied.is_some())
}

/// The first entry of all, by whichever node leads first.
async fn found(node: &Node, main: &Line) -> Result<(), Error> {
    if main.state().founding().is_some() {
        return Ok(());
    }
    // A state that lags behind the log may only look unfounded.
    main.read_index().await?;
    if main.state().founding().is_some() {
        return Ok(());
    }
    let outcome = main
        .propose(Proposal {
            actor: Actor::Node(node.id()),
            request: None,
            command: Command::Cluster(cluster::Command::Found(Box::new(node.founding().clone()))),
        })
        .await?;
    tracing::info!(result = ?outcome.result, "proposed the founding");
    Ok(())
}
