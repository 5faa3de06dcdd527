//! A line over several nodes: who leads, what is kept, who is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::harness::{Cluster, mark_of, marking, until};
use consensus::clockwatch::ClockVerdict;
use consensus::line::Error;
use consensus::peers::{Dialer, Peer};
use consensus::{Node, wire};
use domain::{ClusterId, Digest, LineId, LineRef, NodeId, SessionId, outcome};
use proto::peer::v1::peer_service_client::PeerServiceClient;
use proto::peer::v1::{AppendRequest, GetNodeStatusRequest, ProposeRequest, VoteRequest};
use tonic::Code;

const YEAR_MS: i64 = 31_536_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_through_any_node_is_applied_on_all() {
    let cluster = Cluster::six_running().await;
    for id in 1..=6 {
        let main = cluster.main(id);
        let outcome = main.propose(marking(id)).await.unwrap();
        assert!(
            matches!(outcome.result, outcome::Result::Done(_)),
            "{outcome:?}"
        );
        // The node that was asked shows it at once; any other after asking the leader.
        assert_eq!(mark_of(&main), format!("mark {id}"));
        let other = cluster.main(id % 6 + 1);
        assert!(other.read_index().await.unwrap() >= outcome.at);
        assert_eq!(mark_of(&other), format!("mark {id}"));
    }
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_leads_when_the_leader_stops() {
    let mut cluster = Cluster::six_running().await;
    let first = cluster.wait_leader().await;
    cluster.main(4).propose(marking(1)).await.unwrap();
    cluster.stop(first).await;
    let second = cluster.wait_leader().await;
    assert!(second <= 3 && second != first, "{second} leads");
    cluster.main(4).propose(marking(2)).await.unwrap();
    cluster.start(first).await;
    cluster.agree().await;
    assert_eq!(mark_of(&cluster.main(first)), "mark 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_all_keeps_everything() {
    let mut cluster = Cluster::six_running().await;
    let outcome = cluster.main(2).propose(marking(9)).await.unwrap();
    for id in 1..=6 {
        cluster.stop(id).await;
    }
    for id in 1..=6 {
        cluster.start(id).await;
    }
    let at = cluster.agree().await;
    assert!(at >= outcome.at);
    for id in 1..=6 {
        assert_eq!(mark_of(&cluster.main(id)), "mark 9", "node {id}");
        assert_eq!(cluster.main(id).membership().learners.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_another_cluster_epoch_or_line_are_refused() {
    let cluster = Cluster::six_running().await;
    let before = cluster.agree().await;
    let mine = cluster.main(1).reference();
    let others = [
        LineRef {
            cluster: ClusterId([8; 16]),
            ..mine.clone()
        },
        LineRef {
            epoch: mine.epoch + 1,
            ..mine.clone()
        },
        LineRef {
            line: LineId::Branch {
                session: SessionId::parse("s2").unwrap(),
                genesis: Digest::ZERO,
            },
            ..mine.clone()
        },
    ];
    let channel = Dialer::plaintext()
        .channel(&Peer {
            node: NodeId(1),
            centre: cluster.founding.primary.name.clone(),
            address: cluster.founding.primary.nodes[0].address.clone(),
        })
        .unwrap();
    let mut client = PeerServiceClient::new(channel);
    for other in others {
        let line = Some(wire::line_ref(&other));
        let request = VoteRequest {
            line: line.clone(),
            ..VoteRequest::default()
        };
        let refused = client.vote(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{other:?}");
        let request = ProposeRequest {
            line: line.clone(),
            ..ProposeRequest::default()
        };
        let refused = client.propose(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{other:?}");
        let request = AppendRequest {
            line,
            ..AppendRequest::default()
        };
        let mut answers = client
            .append(tokio_stream::once(request))
            .await
            .unwrap()
            .into_inner();
        let refused = answers.message().await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{other:?}");
        assert!(!refused.message().is_empty());
    }
    let request = GetNodeStatusRequest {
        cluster: vec![8; 16].into(),
    };
    let refused = client.get_node_status(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(cluster.agree().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_another_cluster_is_refused() {
    let mut cluster = Cluster::six().await;
    cluster.start(1).await;
    cluster.stop(1).await;
    let mut config = cluster.config(1);
    config.founding.cluster = ClusterId([8; 16]);
    let mut refused = String::new();
    until("the folder is free, and refused", async || {
        match Node::open(config.clone()).await {
            Err(consensus::node::Error::Identity(error)) => refused = error.to_string(),
            Err(consensus::node::Error::Store(consensus::store::Error::InUse { .. })) => {}
            other => panic!("{other:?}"),
        }
        !refused.is_empty()
    })
    .await;
    assert!(refused.contains("belongs to node 1"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_a_year_ahead_neither_leads_nor_proposes() {
    let mut cluster = Cluster::six().await;
    cluster.clocks[&2].set_offset_ms(YEAR_MS);
    for id in 1..=6 {
        cluster.start(id).await;
    }
    cluster.founded().await;
    until("node 2 knows", async || {
        matches!(cluster.node(2).clock_verdict(), ClockVerdict::Off { ahead_ms } if ahead_ms > YEAR_MS / 2)
    })
    .await;
    assert_eq!(
        cluster.main(2).propose(marking(1)).await,
        Err(Error::ClockOff)
    );
    // Its peers are not moved by it, and it follows.
    let outcome = cluster.main(3).propose(marking(2)).await.unwrap();
    let now = cluster.node(3).base_time();
    assert!(now.since(outcome.clock) < 60_000 && outcome.clock.since(now) < 60_000);
    cluster.agree().await;
    assert_eq!(mark_of(&cluster.main(2)), "mark 2");

    // Without the leader, the only node left to lead is the third: two of three vote for it.
    let leader = cluster.wait_leader().await;
    assert_ne!(leader, 2);
    cluster.stop(leader).await;
    let next = cluster.wait_leader().await;
    assert_ne!(next, 2);
    cluster.main(5).propose(marking(3)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_clock_jumps_hands_over() {
    let cluster = Cluster::six_running().await;
    let first = cluster.wait_leader().await;
    cluster.clocks[&first].set_offset_ms(YEAR_MS);
    until("another node leads", async || {
        cluster.leader().is_some_and(|leader| leader != first)
    })
    .await;
    let outcome = cluster.main(4).propose(marking(1)).await.unwrap();
    assert!(
        matches!(outcome.result, outcome::Result::Done(_)),
        "{outcome:?}"
    );
    assert_eq!(
        cluster.main(first).propose(marking(2)).await,
        Err(Error::ClockOff)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stamped_with_a_clock_that_stepped_since_it_was_compared() {
    let cluster = Cluster::six_running().await;
    let first = cluster.wait_leader().await;
    // Before the next comparison, the leader alone can know.
    cluster.clocks[&first].set_offset_ms(YEAR_MS);
    let (leader, other) = (cluster.main(first), cluster.main(4));
    let (here, there) = tokio::join!(leader.propose(marking(1)), other.propose(marking(2)));
    let now = cluster.node(4).base_time();
    for outcome in [here.ok(), there.ok()].into_iter().flatten() {
        assert!(outcome.clock.since(now) < 60_000, "{outcome:?}");
    }
    let outcome = cluster.main(5).propose(marking(3)).await.unwrap();
    let now = cluster.node(4).base_time();
    assert!(outcome.clock.since(now) < 60_000, "{outcome:?}");
    assert!(
        matches!(outcome.result, outcome::Result::Done(_)),
        "{outcome:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_nothing_is_promised() {
    let mut cluster = Cluster::six_running().await;
    let before = cluster.main(4).propose(marking(1)).await.unwrap();
    let leader = cluster.wait_leader().await;
    let followers: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    for id in &followers {
        cluster.stop(*id).await;
    }
    let main = cluster.main(leader);
    let (proposed, read) = tokio::join!(main.propose(marking(2)), main.read_index());
    assert!(
        matches!(proposed, Err(Error::NoLeader | Error::OutcomeUnknown)),
        "{proposed:?}"
    );
    assert_eq!(read, Err(Error::NoLeader));
    assert_eq!(mark_of(&cluster.main(5)), "mark 1");
    drop(main);
    for id in &followers {
        cluster.start(*id).await;
    }
    until("proposals go on", async || {
        cluster.main(6).propose(marking(3)).await.is_ok()
    })
    .await;
    assert!(cluster.agree().await > before.at);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_was_idle_for_an_hour_goes_on() {
    const HOUR_MS: i64 = 3_600_000;
    let cluster = Cluster::six_running().await;
    let before = cluster.main(4).propose(marking(1)).await.unwrap();
    for clock in cluster.clocks.values() {
        clock.set_offset_ms(HOUR_MS);
    }
    let mut after = None;
    // Nodes may have compared their clocks while these were being set.
    until("a proposal is answered", async || {
        after = cluster.main(5).propose(marking(2)).await.ok();
        after.is_some()
    })
    .await;
    let after = after.unwrap();
    assert!(
        matches!(after.result, outcome::Result::Done(_)),
        "{after:?}"
    );
    assert!(after.clock.since(before.clock) >= HOUR_MS.unsigned_abs());
}

/// Connections that a leader makes within a second to a node that refuses them are a few dozen:
/// streams, heartbeats and questions, each with its pause.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_refuses_connections_is_left_alone_for_a_while() {
    let mut cluster = Cluster::of(3, 0).await;
    for id in 1..=3 {
        cluster.start(id).await;
    }
    cluster.founded().await;
    let leader = cluster.wait_leader().await;
    let refusing = (1..=3).find(|id| *id != leader).unwrap();
    cluster.stop(refusing).await;
    let listener = cluster.listen_instead(refusing).await;
    let mut refused = 0;
    let refuse = async {
        loop {
            drop(listener.accept().await.unwrap());
            refused += 1;
        }
    };
    let _a_second = tokio::time::timeout(std::time::Duration::from_secs(1), refuse).await;
    assert!(refused > 0, "nobody asked");
    assert!(refused < 200, "{refused} connections in a second");
}
