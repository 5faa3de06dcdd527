//! A cluster whose nodes are started anew one by one, with a later program (R55; DESIGN.md).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::harness::{Cluster, marking, until};
use crate::promotion::{has_mark, six};
use consensus::Node;
use consensus::versions::Versions;
use domain::protection::Mode;
use domain::state::RULES_VERSION;
use proto::peer::v1::GetNodeStatusRequest;
use tonic::Code;

/// The next program: it speaks one protocol more, and knows rules that nobody else does.
fn later() -> Versions {
    Versions {
        protocols: 1..=2,
        rules: RULES_VERSION + 1,
    }
}

fn rules(cluster: &Cluster, at: u64) -> u32 {
    cluster.main(at).state().header().rules_version
}

/// Makes one change after another at a node that stays, as a client that tries again, and counts
/// what was answered.
fn changes(cluster: &Cluster, at: u64) -> (Arc<AtomicBool>, Arc<AtomicU64>) {
    let (ended, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let (main, until, count) = (cluster.main(at), Arc::clone(&ended), Arc::clone(&done));
    tokio::spawn(async move {
        while !until.load(Ordering::SeqCst) {
            let mark = count.load(Ordering::SeqCst) + 1;
            if main.propose(marking(mark)).await.is_ok() {
                count.store(mark, Ordering::SeqCst);
            }
        }
    });
    (ended, done)
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_upgraded_one_by_one_and_the_rules_are_raised_after_the_last_r55() {
    let mut cluster = six(Mode::Sync).await;
    let (ended, done) = changes(&cluster, 6);
    // The secondary first. Node 6, where the client is, comes last.
    for node in [4, 5, 1, 2, 3] {
        let before = done.load(Ordering::SeqCst);
        cluster.stop(node).await;
        cluster.versions.insert(node, later());
        cluster.start(node).await;
        until("changes are answered, and the node follows", async || {
            let mark = done.load(Ordering::SeqCst);
            mark > before + 5 && has_mark(&cluster, node, before + 1)
        })
        .await;
        assert_eq!(
            rules(&cluster, node),
            RULES_VERSION,
            "one node is not ready"
        );
    }
    ended.store(true, Ordering::SeqCst);
    let last = done.load(Ordering::SeqCst);
    cluster.stop(6).await;
    cluster.versions.insert(6, later());
    cluster.start(6).await;
    until("the rules are raised on all nodes", async || {
        (1..=6).all(|node| rules(&cluster, node) == RULES_VERSION + 1)
    })
    .await;
    let all = (1..=last).all(|mark| (1..=6).all(|node| has_mark(&cluster, node, mark)));
    assert!(all, "every change that was answered is there");
    cluster.agree().await;

    // The way back is closed, in words, and the others go on.
    cluster.stop(5).await;
    cluster.versions.remove(&5);
    until("the earlier program says what to do", async || {
        let refused = Node::open(cluster.config(5)).await.unwrap_err();
        refused.to_string().contains("start the later program")
    })
    .await;
    cluster.main(1).propose(marking(last + 10)).await.unwrap();
    cluster.versions.insert(5, later());
    cluster.start(5).await;
    until("the later program has it all", async || {
        has_mark(&cluster, 5, last + 10)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_with_no_protocol_in_common_is_told_so_and_the_others_go_on() {
    let mut cluster = six(Mode::Async).await;
    cluster.stop(5).await;
    cluster.versions.insert(
        5,
        Versions {
            protocols: 2..=3,
            ..Versions::default()
        },
    );
    cluster.start(5).await;
    let asked = GetNodeStatusRequest {
        cluster: cluster.founding.cluster.0.to_vec().into(),
    };
    for (from, to) in [(1, 5), (5, 1)] {
        let peers = cluster.node(from).peers();
        let mut client = peers.client(domain::NodeId(to)).unwrap();
        let refused = client.get_node_status(asked.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains("peer protocols"), "{refused}");
    }
    until("the nodes know why they do not talk", async || {
        let why = cluster.node(1).heard().refusal(domain::NodeId(5));
        why.is_some_and(|why| why.contains("peer protocols"))
    })
    .await;
    cluster.main(1).propose(marking(1)).await.unwrap();
    assert!(!has_mark(&cluster, 5, 1));
    cluster.stop(5).await;
    cluster.versions.remove(&5);
    cluster.start(5).await;
    until("it has what it missed", async || has_mark(&cluster, 5, 1)).await;
    until("and nothing is in the way", async || {
        cluster.node(1).heard().refusal(domain::NodeId(5)).is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_about_to_stop_hands_over_first() {
    let cluster = six(Mode::Sync).await;
    let leader = cluster.wait_leader().await;
    let term = cluster.main(leader).term();
    cluster.node(leader).leave().await;
    assert!(
        !cluster.main(leader).is_leader(),
        "it waits for a successor"
    );
    cluster.main(leader).propose(marking(1)).await.unwrap();
    let successor = cluster.wait_leader().await;
    assert_ne!(successor, leader);
    assert_eq!(
        cluster.main(successor).term(),
        term + 1,
        "and nobody else stood"
    );
}
