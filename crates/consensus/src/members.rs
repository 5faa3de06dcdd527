//! The members of a line's group: forming it, adding to it, and who of them leads next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::centre::Command;
use domain::{LogId, NodeId};
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, InitializeError, RaftError};
use tokio::time::Instant;

use crate::line::{Error, Line, PATIENCE};
use crate::node::Node;
use crate::raft;
use crate::switchover;

/// How long a node that is about to stop waits for a successor.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// The members of a line's group, as this node knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Those whose majority commits.
    pub voters: BTreeSet<NodeId>,
    /// Those that only receive.
    pub learners: BTreeSet<NodeId>,
    /// Two sets of voters at once: a change is under way.
    pub joint: bool,
}

impl Line {
    /// How far each other member has persisted the log; empty unless this node leads.
    #[must_use]
    pub fn replication(&self) -> BTreeMap<NodeId, Option<LogId>> {
        let metrics = self.inner.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .replication
            .iter()
            .flatten()
            .map(|(node, log_id)| (NodeId(*node), log_id.as_ref().map(raft::log_id)))
            .collect()
    }

    /// The members of the group, as this node knows them.
    #[must_use]
    pub fn membership(&self) -> Members {
        let metrics = self.inner.raft.server_metrics();
        let stored = Arc::clone(&metrics.borrow_watched().membership_config);
        let membership = stored.membership();
        Members {
            voters: membership.voter_ids().map(NodeId).collect(),
            learners: membership.learner_ids().map(NodeId).collect(),
            joint: membership.get_joint_config().len() > 1,
        }
    }

    /// Whether none of these votes, in a change that is under way neither.
    #[must_use]
    pub fn is_not_led_by(&self, mut nodes: impl Iterator<Item = NodeId>) -> bool {
        let voters = self.membership().voters;
        !voters.is_empty() && nodes.all(|node| !voters.contains(&node))
    }

    /// Forms the group with these voters, unless it was formed before. Several nodes may do so
    /// with the identical set.
    ///
    /// # Errors
    /// `Stopped` and `Storage`.
    pub async fn initialize(&self, voters: &BTreeSet<NodeId>) -> Result<(), Error> {
        let members: BTreeMap<u64, raft::Peer> = voters
            .iter()
            .map(|node| (node.0, self.member(*node)))
            .collect();
        match self.inner.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotInMembers(error))) => {
                Err(Error::WrongLine {
                    detail: error.to_string(),
                })
            }
            Err(RaftError::Fatal(fatal)) => Err(fatal.into()),
        }
    }

    /// Whether the group was formed, here or elsewhere, and this node has heard of it.
    ///
    /// # Errors
    /// `Stopped` and `Storage`.
    pub async fn is_initialized(&self) -> Result<bool, Error> {
        Ok(self.inner.raft.is_initialized().await?)
    }

    /// Adds a node that receives the log and has no vote. For the leader alone; does not wait
    /// until the node has caught up.
    ///
    /// # Errors
    /// `NoLeader` when this node does not lead or another change is under way.
    pub async fn add_learner(&self, node: NodeId) -> Result<(), Error> {
        let added = self
            .inner
            .raft
            .add_learner(node.0, self.member(node), false)
            .await;
        match added {
            Ok(_) => Ok(()),
            Err(RaftError::Fatal(fatal)) => Err(fatal.into()),
            Err(RaftError::APIError(
                ClientWriteError::ForwardToLeader(_)
                | ClientWriteError::LogEntryDiscarded(_)
                | ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_),
            )) => Err(Error::NoLeader),
        }
    }

    /// Makes these the group's voters, by way of a joint majority, and keeps the former ones as
    /// learners. For the leader alone, which is not one of them: it hands over at the end. May be
    /// repeated by whoever leads, and goes on where a former leader stopped.
    ///
    /// # Errors
    /// `NoLeader` when this node does not lead or another change is not committed yet.
    pub(crate) async fn change_voters(&self, voters: &BTreeSet<NodeId>) -> Result<(), Error> {
        let voters: BTreeSet<u64> = voters.iter().map(|node| node.0).collect();
        self.changed_members(voters, true).await
    }

    /// Takes learners out of the group, for good. For the leader alone.
    ///
    /// # Errors
    /// As `change_voters`.
    async fn remove(&self, nodes: &BTreeSet<NodeId>) -> Result<(), Error> {
        let nodes = nodes.iter().map(|node| node.0).collect();
        let change = ChangeMembers::RemoveNodes(nodes);
        self.changed_members(change, false).await
    }

    async fn changed_members(
        &self,
        change: impl Into<ChangeMembers<u64, raft::Peer>>,
        retain: bool,
    ) -> Result<(), Error> {
        match self.inner.raft.change_membership(change, retain).await {
            Ok(_) => Ok(()),
            Err(RaftError::Fatal(fatal)) => Err(fatal.into()),
            Err(RaftError::APIError(
                ClientWriteError::ForwardToLeader(_)
                | ClientWriteError::LogEntryDiscarded(_)
                | ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_),
            )) => Err(Error::NoLeader),
        }
    }

    fn member(&self, node: NodeId) -> raft::Peer {
        let known = self.inner.peers.get(node);
        known.map_or_else(raft::Peer::default, |peer| raft::Peer {
            address: peer.address,
            centre: peer.centre.as_str().to_owned(),
        })
    }

    /// Stands for no election any more and hands over what this node leads, so that a planned stop
    /// costs the others no election. Waits for a successor, `LEAVE_MAX` at most.
    pub async fn leave(&self) {
        let mut changes = self.inner.raft.server_metrics();
        self.inner.raft.runtime_config().elect(false);
        if !self.is_leader() {
            return;
        }
        self.hand_over().await;
        let handed_over = async { while self.is_leader() && changes.changed().await.is_ok() {} };
        if tokio::time::timeout(LEAVE_MAX, handed_over).await.is_err() {
            tracing::warn!(line = %self.inner.reference.line, "nobody took leadership over");
        }
    }

    /// Hands leadership to the voter with the longest log. Nothing happens when there is none.
    pub async fn hand_over(&self) {
        let voters = self.membership().voters;
        let best = self
            .replication()
            .into_iter()
            .filter(|(node, _)| voters.contains(node) && *node != self.inner.peers.me())
            .max_by_key(|(_, log_id)| *log_id);
        if let Some((node, _)) = best {
            tracing::info!(line = %self.inner.reference.line, to = %node, "handing leadership over");
            if let Err(error) = self.inner.raft.trigger().transfer_leader(node.0).await {
                tracing::warn!(%error, "cannot hand leadership over");
            }
        }
    }
}

/// After the centres' nodes changed: says so once both sets that protect have the entry, and takes
/// nodes out of the group that belong to no centre. For the leader, again and again.
pub(crate) async fn settle(node: &Node, main: &Line) -> Result<(), Error> {
    let state = main.state();
    let Some(centres) = state.centres() else {
        return Ok(());
    };
    if let Some(former) = &centres.former {
        if main.persisted_by_secondary() < Some(former.until) {
            return Ok(());
        }
        let until = former.until;
        let settled = Command::NodesSettled { until };
        return switchover::propose(node, main, settled).await;
    }
    let members = main.membership();
    if members.joint {
        return Ok(());
    }
    let strangers = members.learners.iter().copied();
    let strangers = strangers.filter(|learner| centres.of_node(*learner).is_none());
    let strangers: BTreeSet<NodeId> = strangers.collect();
    if strangers.is_empty() {
        return Ok(());
    }
    // What this node has applied may be old; whom it takes out must be decided by what stands.
    main.lead_and_apply(Instant::now() + PATIENCE).await?;
    if main.state().centres() != Some(centres) {
        return Ok(());
    }
    tracing::info!(nodes = ?strangers, "these belong to no centre any more");
    main.remove(&strangers).await
}
