//! A node is lost at each step of each operation, with what is on its disk, and comes back: the end
//! is before or after, never between (I9).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod nodes;
mod opening;
mod promotion;
mod switchover;

use crate::harness::{Cluster, marking, until};
use crate::promotion::has_mark;
use crate::switchover::is_at;

/// The primary is this centre with these voters, everywhere alike; one node leads, nothing that was
/// acknowledged is lost, and changes are answered.
pub(crate) async fn ends_at(
    cluster: &Cluster,
    primary: &str,
    voters: &[u64],
    acknowledged: &[u64],
) {
    until("all nodes know the same primary", async || {
        let mut nodes = cluster.running.values();
        nodes.all(|running| is_at(&running.node.main(), primary, voters))
    })
    .await;
    until("a change is answered", async || {
        let last = *cluster.running.keys().next_back().unwrap();
        cluster.main(last).propose(marking(9_000)).await.is_ok()
    })
    .await;
    cluster.agree().await;
    for id in cluster.running.keys() {
        for mark in acknowledged {
            assert!(has_mark(cluster, *id, *mark), "mark {mark} at node {id}");
        }
    }
    until("one node leads, and it is the primary's", async || {
        let leading = cluster.running.values().map(|running| &running.node);
        let leading: Vec<u64> = leading
            .filter(|node| node.main().is_leader())
            .map(|node| node.id().0)
            .collect();
        matches!(leading.as_slice(), [leader] if voters.contains(leader))
    })
    .await;
}

/// Stops a node where it is, and starts it again on what is on its disk.
async fn crash(cluster: &mut Cluster, id: u64) {
    cluster.stop(id).await;
    cluster.clear(id);
    cluster.start(id).await;
}
