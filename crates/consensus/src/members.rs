//! The members of a line's group: forming it, adding to it, and who of them leads next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::{LogId, NodeId};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, InitializeError, RaftError};

use crate::line::{Error, Line};
use crate::raft;

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

    /// Whether these and no others vote, with no change under way.
    #[must_use]
    pub fn is_led_by(&self, voters: impl Iterator<Item = NodeId>) -> bool {
        let metrics = self.inner.raft.server_metrics();
        let stored = Arc::clone(&metrics.borrow_watched().membership_config);
        let voters: BTreeSet<u64> = voters.map(|node| node.0).collect();
        matches!(stored.membership().get_joint_config().as_slice(), [uniform] if *uniform == voters)
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
        match self.inner.raft.change_membership(voters, true).await {
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
