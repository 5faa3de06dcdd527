//! What a sealed node says it has, and what it says to a certificate.

use std::collections::BTreeSet;

use domain::protection::Mode;
use domain::session::unplanned::{USED_MAX, Used};
use domain::state::State;
use domain::{Digest, LogId, NodeId, UnixMs};
use serde::{Deserialize, Serialize};

use super::Tail;
use crate::standing::Seal;

/// What a sealed node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The node.
    pub node: NodeId,
    /// Its promise.
    pub seal: Seal,
    /// The last entry in its log.
    pub last: LogId,
    /// The last one that it knows to be committed.
    pub applied: LogId,
    /// The nodes that its centre has after the last entry.
    pub nodes: BTreeSet<NodeId>,
    /// The full digest of the state after the last entry.
    pub digest: Digest,
    /// The line's clock there.
    pub clock: UnixMs,
    /// The protection that policy asks for there.
    pub mode: Mode,
    /// Whether the secondary was given up there.
    pub degraded: bool,
    /// How often it was given up in all.
    #[serde(default)]
    pub degraded_count: u64,
    /// Whether the role is on its way to another centre there.
    #[serde(default)]
    pub switching: bool,
    /// What the last entries did that it does not know to be committed, the oldest first: at most
    /// `USED_MAX`. No secrets.
    #[serde(default)]
    pub uncommitted: Vec<Used>,
    /// How many there are.
    #[serde(default)]
    pub uncommitted_count: u64,
}

/// The node to go on from: the greatest last log id, by leader before index, never simply the
/// longest log. None of none.
#[must_use]
pub fn best<'a>(sealed: impl IntoIterator<Item = &'a Report>) -> Option<&'a Report> {
    sealed.into_iter().max_by_key(|report| report.last)
}

impl Report {
    /// What is in the log of a node that has made this promise.
    pub(super) fn of(node: NodeId, seal: Seal, tail: &Tail) -> Self {
        Self {
            node,
            seal,
            last: tail.last,
            applied: tail.applied,
            nodes: nodes_beside(&tail.state, node),
            digest: tail.digest,
            clock: tail.state.header().clock,
            mode: tail.state.policy().protection,
            degraded: tail.state.header().protection.degraded_since.is_some(),
            degraded_count: tail.state.header().protection.degraded_count,
            switching: tail.state.centres().is_some_and(|one| one.switch.is_some()),
            uncommitted: tail.rows.iter().take(USED_MAX).map(Used::from).collect(),
            uncommitted_count: tail.rows.len() as u64,
        }
    }
}

/// The nodes of this node's centre.
fn nodes_beside(state: &State, id: NodeId) -> BTreeSet<NodeId> {
    let centre = state.centres().and_then(|centres| centres.of_node(id));
    let nodes = centre.into_iter().flat_map(|centre| &centre.nodes);
    nodes.map(|node| node.id).collect()
}

/// What became of a certificate at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Whether the node's old main line has stopped for good, rather than goes on as the new one.
    pub fenced: bool,
    /// Of a node that has stopped for good: whether the secondary had been given up in what is in
    /// its log, or it cannot say.
    pub degraded: bool,
}
