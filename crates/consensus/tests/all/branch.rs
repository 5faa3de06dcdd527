//! A branch beside the main line, and what moves between nodes as files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::harness::hindrance::Hindrance;
use crate::harness::{Cluster, mark_of, marking, until};
use consensus::place;
use domain::{Digest, NodeId, SessionId};

fn west() -> BTreeSet<NodeId> {
    (4..=6).map(NodeId).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_runs_beside_the_main_line() {
    let cluster = Cluster::six_running().await;
    cluster.main(1).propose(marking(1)).await.unwrap();
    cluster.agree().await;
    let session = SessionId::parse("s2").unwrap();
    let genesis = cluster.main(4).state();
    for id in 4..=6 {
        let line = cluster
            .node(id)
            .start_branch(&session, genesis.clone(), &west())
            .await
            .unwrap();
        assert_eq!(line.state().digests(), genesis.digests());
    }
    let main_before = cluster.agree().await;
    let accounts = |cluster: &Cluster| cluster.main(1).state().digests().account;
    let accounts_before = accounts(&cluster);

    // The branch has a log of its own.
    for id in 4..=6 {
        let branch = cluster.node(id).branch().unwrap();
        let outcome = branch.propose(marking(10 + id)).await.unwrap();
        assert!(outcome.at.index < main_before.index + 10);
        assert!(branch.read_index().await.unwrap() >= outcome.at);
    }
    cluster.agree().await;
    assert_eq!(accounts(&cluster), accounts_before);
    assert_eq!(mark_of(&cluster.main(4)), "mark 1");

    // And the main line goes on.
    cluster.main(5).propose(marking(2)).await.unwrap();
    cluster.agree().await;
    let at = {
        let branch = cluster.node(4).branch().unwrap();
        branch.read_index().await.unwrap()
    };
    for id in 4..=6 {
        let branch = cluster.node(id).branch().unwrap();
        branch.read_index().await.unwrap();
        assert_ne!(mark_of(&branch), "mark 2");
        assert_eq!(
            branch.digests_at(at),
            cluster.node(4).branch().unwrap().digests_at(at)
        );
    }

    // Dropped, it is gone but for its audit trail.
    let reference = cluster.node(4).branch().unwrap().reference();
    for id in 4..=6 {
        cluster.node(id).drop_branch(&session).await.unwrap();
        cluster.node(id).drop_branch(&session).await.unwrap();
        assert!(cluster.node(id).branch().is_none());
        assert!(place::audit(cluster.node(id).data(), &reference).is_dir());
        assert!(!place::snapshots(cluster.node(id).data(), &reference).exists());
    }
    cluster.main(6).propose(marking(3)).await.unwrap();
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_genesis_is_fetched_only_if_it_is_the_one() {
    let cluster = Cluster::six_running().await;
    let boundary = cluster.main(4).propose(marking(1)).await.unwrap().at;
    let session = SessionId::parse("s2").unwrap();
    let state = cluster.main(4).state();
    let full = cluster
        .node(4)
        .fork(&session, boundary, &state)
        .await
        .unwrap();
    assert_eq!(full, state.digests().full);

    let fetched = cluster
        .node(5)
        .fetch_genesis(&session, boundary, full, NodeId(4))
        .await
        .unwrap();
    assert_eq!(fetched.digests(), state.digests());
    let (kept, at, digest) = cluster.node(5).genesis(&session).await.unwrap().unwrap();
    assert_eq!(
        (kept.digests(), at, digest),
        (state.digests(), boundary, full)
    );

    // Nobody has one of another digest, and nothing is kept of it.
    let other = Digest([9; 32]);
    let refused = cluster
        .node(6)
        .fetch_genesis(&session, boundary, other, NodeId(4))
        .await;
    assert!(refused.is_err());
    assert!(cluster.node(6).genesis(&session).await.unwrap().is_none());

    // A node that refused a branch never starts it.
    cluster.node(6).refuse_branch(&session).await.unwrap();
    let refused = cluster.node(6).start_branch(&session, state, &west()).await;
    assert!(refused.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_node_gets_a_snapshot_and_the_audit_rows_before_it() {
    let mut cluster = Cluster::six().await;
    for id in 1..=5 {
        cluster.start(id).await;
    }
    cluster.founded().await;
    for mark in 0..20 {
        cluster.main(1).propose(marking(mark)).await.unwrap();
    }
    let at = cluster.agree().await;
    let leader = cluster.main(cluster.wait_leader().await);
    leader.trigger_snapshot().await.unwrap();
    until("the snapshot is built", async || {
        leader.snapshot_index() >= Some(at.index)
    })
    .await;
    leader.trigger_purge(at.index).await.unwrap();
    drop(leader);

    cluster.start(6).await;
    cluster.agree().await;
    let late = cluster.main(6);
    assert_eq!(mark_of(&late), "mark 19");
    until("the audit trail is whole", async || {
        let head = late.state().header().audit;
        let rows = cluster.node(6).audit_rows(&late.reference(), 0, 1000).await;
        rows.unwrap().len() as u64 == head.sequence
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_sends_its_genesis_is_given_up() {
    let cluster = Cluster::six_running().await;
    let boundary = cluster.main(4).propose(marking(1)).await.unwrap().at;
    let session = SessionId::parse("s2").unwrap();
    let state = cluster.main(4).state();
    let node = cluster.node(4);
    let full = node.fork(&session, boundary, &state).await.unwrap();
    cluster.hinder(4, "FetchGenesis", Hindrance::Stalls);
    let fetching = cluster
        .node(5)
        .fetch_genesis(&session, boundary, full, NodeId(4));
    let fetched = tokio::time::timeout(Duration::from_secs(30), fetching).await;
    let refused = fetched.expect("in time").unwrap_err().to_string();
    assert!(refused.contains("took too long"), "{refused}");
    let left = fs::read_dir(cluster.node(5).data().join("genesis")).unwrap();
    assert_eq!(left.count(), 0);
}
