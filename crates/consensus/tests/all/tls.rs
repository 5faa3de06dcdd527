//! Mutual TLS between nodes: each must be the one that its address was given for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use crate::harness::{Certificates, Cluster, marking, name_of, until};
use domain::NodeId;

#[tokio::test(flavor = "multi_thread")]
async fn a_line_runs_over_mutual_tls() {
    let mut cluster = Cluster::six().await;
    cluster.certificates = Some(Certificates::new(|id| name_of(NodeId(id))));
    for id in 1..=6 {
        cluster.start(id).await;
    }
    cluster.founded().await;
    cluster.main(5).propose(marking(1)).await.unwrap();
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_under_another_name_is_not_spoken_to() {
    let mut cluster = Cluster::six().await;
    // Node 1 shows the certificate of a node 9.
    let names = |id| name_of(NodeId(if id == 1 { 9 } else { id }));
    cluster.certificates = Some(Certificates::new(names));
    for id in 1..=4 {
        cluster.start(id).await;
    }
    until("the others have met", async || {
        cluster.node(2).heard().from(NodeId(3)).is_some()
            && cluster.node(4).heard().from(NodeId(3)).is_some()
    })
    .await;
    for id in 2..=4 {
        assert!(cluster.node(id).heard().from(NodeId(1)).is_none());
    }
}
