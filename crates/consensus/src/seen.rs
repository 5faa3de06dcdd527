//! Which nodes were seen with entries of a line: what they promised with their disks is lost once
//! these are, so they do not come back under their ids (`join`). Kept on disk, since the nodes
//! that saw one may have been started anew when it asks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::NodeId;

use crate::identity;
use crate::node::{Error, Node, blocking};

const FILE: &str = "seen";
const CONTEXT: &[u8] = b"seen";

/// The nodes that were seen. An id never comes back, so that none is ever forgotten; a change of
/// nodes by two operators is what makes one more.
#[derive(Debug)]
pub(crate) struct Seen {
    file: PathBuf,
    nodes: Mutex<BTreeSet<NodeId>>,
}

impl Seen {
    /// Reads what is on the disk. Blocks.
    ///
    /// # Errors
    /// The disk's, and `Damaged`.
    pub(crate) fn read(data: &Path) -> Result<Self, Error> {
        let file = data.join(FILE);
        let nodes = identity::read_record(&file, CONTEXT)?.unwrap_or_default();
        Ok(Self {
            file,
            nodes: Mutex::new(nodes),
        })
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Whether this node knows that `node` has had entries: by what it saw before, or because it
    /// replicates to it now.
    #[must_use]
    pub fn has_seen(&self, node: NodeId) -> bool {
        self.inner.seen.nodes().contains(&node) || self.reached().any(|reached| reached == node)
    }

    /// The nodes that this one, as the leader, knows to have entries of the main line.
    fn reached(&self) -> impl Iterator<Item = NodeId> {
        let replication = self.main().replication().into_iter();
        replication.filter_map(|(node, upto)| upto.map(|_| node))
    }

    /// Keeps which nodes said lately that they have entries.
    ///
    /// # Errors
    /// The disk's; nothing is kept then.
    pub(crate) async fn note_seen(&self) -> Result<(), Error> {
        let mut nodes = self.inner.seen.nodes().clone();
        let known = nodes.len();
        let peers = self.peers().others().into_iter();
        nodes.extend(peers.map(|peer| peer.node).filter(|node| {
            let said = self.heard().from(*node).map(|(_, said)| said);
            said.is_some_and(|said| {
                let mut lines = said.lines.iter();
                said.node == node.0 && lines.any(|line| line.applied.is_some())
            })
        }));
        nodes.extend(self.reached());
        if nodes.len() == known {
            return Ok(());
        }
        let (file, kept) = (self.inner.seen.file.clone(), nodes.clone());
        blocking(move || Ok(identity::write_record(&file, CONTEXT, &kept)?)).await?;
        *self.inner.seen.nodes() = nodes;
        Ok(())
    }
}
