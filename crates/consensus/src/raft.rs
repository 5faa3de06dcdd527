//! What openraft is told about our types, and the way between its log ids and ours.
//!
//! openraft stays inside this crate: other crates see `domain::LogId`, envelopes and outcomes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use domain::{Envelope, LogId, Outcome};
use openraft::impls::leader_id_adv::LeaderId;
use serde::{Deserialize, Serialize};

#[cfg(not(simulation))]
type Runtime = openraft_rt_tokio::TokioRuntime;
#[cfg(simulation)]
type Runtime = crate::simulated::Runtime;

openraft::declare_raft_types!(
    /// The types that openraft works with here.
    pub TypeConfig:
        D = Proposed,
        R = Answer,
        NodeId = u64,
        Node = Peer,
        AsyncRuntime = Runtime,
);

/// An envelope as a log entry's payload; sharing it makes copies of entries cheap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proposed(pub Arc<Envelope>);

impl From<Envelope> for Proposed {
    fn from(envelope: Envelope) -> Self {
        Self(Arc::new(envelope))
    }
}

impl fmt::Display for Proposed {
    /// Deliberately without the content: openraft writes this to its logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "envelope at {}", self.0.at.0)
    }
}

/// What applying an entry answers: the outcome of an envelope, and nothing for openraft's own
/// blank and membership entries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Answer(pub Option<Outcome>);

/// A member of a line's Raft group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Where its peer service listens: `host:port`.
    pub address: String,
    /// The centre that it belongs to.
    pub centre: String,
}

/// A log entry of openraft.
pub type Entry = openraft::alias::EntryOf<TypeConfig>;
/// A log id of openraft.
pub type RaftLogId = openraft::alias::LogIdOf<TypeConfig>;
/// A vote of openraft.
pub type Vote = openraft::alias::VoteOf<TypeConfig>;
/// The members of a group.
pub type Membership = openraft::Membership<u64, Peer>;
/// The members of a group and the entry that made them so.
pub type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
/// What openraft knows about a snapshot.
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
/// A snapshot as openraft passes it on: what it knows about it, and our file.
pub type Snapshot = openraft::alias::SnapshotOf<TypeConfig, crate::snapshot::File>;
/// A running member of a line's group.
pub type Raft = openraft::Raft<TypeConfig, crate::machine::Machine>;

/// Our log id for openraft's.
#[must_use]
pub fn log_id(id: &RaftLogId) -> LogId {
    LogId {
        term: id.leader_id.term,
        node: id.leader_id.node_id,
        index: id.index,
    }
}

/// openraft's log id for ours.
#[must_use]
pub fn raft_log_id(id: LogId) -> RaftLogId {
    RaftLogId {
        leader_id: LeaderId {
            term: id.term,
            node_id: id.node,
        },
        index: id.index,
    }
}

/// A membership as it is stored: in our own words, so that the format on disk does not move with
/// the engine's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The voters; two sets while a change is under way.
    pub configs: Vec<BTreeSet<u64>>,
    /// Voters and learners.
    pub nodes: BTreeMap<u64, Peer>,
}

impl From<&Membership> for Members {
    fn from(membership: &Membership) -> Self {
        Self {
            configs: membership.get_joint_config().clone(),
            nodes: membership
                .nodes()
                .map(|(id, peer)| (*id, peer.clone()))
                .collect(),
        }
    }
}

impl TryFrom<Members> for Membership {
    type Error = String;

    fn try_from(members: Members) -> Result<Self, String> {
        // openraft's own "nobody yet" has no set at all, and is refused by its constructor.
        if members.configs.is_empty() && members.nodes.is_empty() {
            return Ok(Self::default());
        }
        Self::new(members.configs, members.nodes).map_err(|error| error.to_string())
    }
}
