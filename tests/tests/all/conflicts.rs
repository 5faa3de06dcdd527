//! Two operators who give conflicting orders at the same time: one wins, and the other is told.
//! Whichever it is, the cluster is as the winner wants it, at every node.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use domain::approval::Act;
use domain::centre::nodes::Change;
use domain::{NodeId, State};
use proto::operator::v1::centre_service_client::CentreServiceClient;
use proto::operator::v1::node_service_client::NodeServiceClient;
use proto::operator::v1::session_service_client::SessionServiceClient;
use proto::operator::v1::{
    ChangeNodesRequest, ChangeNodesResponse, Check, CheckSwitchoverRequest, NodesChange,
    OpenSessionRequest, OpenSessionResponse, SwitchoverRequest, SwitchoverResponse, Verdict,
};
use tests::Cluster;
use tests::cluster::{EAST, S2, WEST, refused, until};
use tidemark::drill::request;
use tonic::Status;
use tonic::transport::Channel;

const ALICE: usize = 1;
const BOB: usize = 2;

fn at(cluster: &Cluster, operator: usize, node: u64) -> Channel {
    let doors = cluster.operators(operator);
    let door = doors.iter().find(|door| door.node == node).unwrap();
    door.channel.clone()
}

fn state(cluster: &Cluster, node: u64) -> State {
    cluster.node(node).lines().main().state()
}

fn primary(cluster: &Cluster, node: u64) -> String {
    state(cluster, node).primary().unwrap().name.to_string()
}

/// Waits until every node has this centre as the primary, and no switchover is under way.
async fn settled(cluster: &Cluster, centre: &str) {
    until("every node knows the primary", async || {
        (1..=6)
            .all(|node| {
                let state = state(cluster, node);
                let is_under_way = state.centres().unwrap().switch.is_some();
                !is_under_way && primary(cluster, node) == centre
            })
            .then_some(())
    })
    .await;
}

/// Waits until every node finds that a switchover could begin.
async fn free(cluster: &Cluster, to: &str) {
    until("every check holds", async || {
        for node in 1..=6 {
            let message = CheckSwitchoverRequest {
                centre: to.to_owned(),
            };
            let found = CentreServiceClient::new(at(cluster, ALICE, node))
                .check_switchover(request(message))
                .await
                .ok()?
                .into_inner();
            // A machine that runs tests may have little room.
            let failed = |check: &Check| check.verdict() == Verdict::Error;
            if found.checks.iter().any(failed) {
                return None;
            }
        }
        Some(())
    })
    .await;
}

async fn switch(
    cluster: &Cluster,
    operator: usize,
    node: u64,
    to: &str,
) -> Result<SwitchoverResponse, Status> {
    let message = SwitchoverRequest {
        request_id: cluster.id(),
        centre: to.to_owned(),
        reason: "a drill".to_owned(),
    };
    CentreServiceClient::new(at(cluster, operator, node))
        .switchover(request(message))
        .await
        .map(tonic::Response::into_inner)
}

async fn open(
    cluster: &Cluster,
    operator: usize,
    node: u64,
) -> Result<OpenSessionResponse, Status> {
    let message = OpenSessionRequest {
        request_id: cluster.id(),
        session: S2.to_owned(),
        validate_only: false,
    };
    SessionServiceClient::new(at(cluster, operator, node))
        .open_session(request(message))
        .await
        .map(tonic::Response::into_inner)
}

/// An operator signs that node 6 goes. The second one does it.
async fn remove(
    cluster: &Cluster,
    operator: usize,
    node: u64,
) -> Result<ChangeNodesResponse, Status> {
    let change = Change {
        centre: WEST.parse().unwrap(),
        add: Vec::new(),
        remove: [NodeId(6)].into(),
        tail: None,
    };
    let message = ChangeNodesRequest {
        request_id: cluster.id(),
        change: Some(NodesChange {
            centre: WEST.to_owned(),
            remove_node_ids: vec![6],
            ..NodesChange::default()
        }),
        reason: "its rack goes".to_owned(),
        dry_run: false,
        approval: Some(
            cluster
                .signed(operator, &Act::Nodes(Box::new(change)))
                .await,
        ),
    };
    NodeServiceClient::new(at(cluster, operator, node))
        .change_nodes(request(message))
        .await
        .map(tonic::Response::into_inner)
}

fn told(refusal: Status, reasons: &[&str]) {
    let reason = refused(Err::<(), _>(refusal));
    assert!(reasons.contains(&reason.as_str()), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_who_order_the_same_switchover_one_is_told_that_it_is_so() {
    let cluster = Box::pin(Cluster::start()).await;
    free(&cluster, WEST).await;
    let (alice, bob) = tokio::join!(
        switch(&cluster, ALICE, 1, WEST),
        switch(&cluster, BOB, 5, WEST)
    );
    match (alice, bob) {
        (Ok(done), Err(refusal)) | (Err(refusal), Ok(done)) => {
            assert_eq!(done.primary, WEST);
            told(refusal, &["ALREADY_SO"]);
        }
        both => panic!("one of them: {both:?}"),
    }
    settled(&cluster, WEST).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_who_order_the_primary_to_different_ends_the_loser_is_told_why() {
    let cluster = Box::pin(Cluster::start()).await;
    let (mut home, mut other) = (EAST, WEST);
    // Each in turn is the centre that the role leaves.
    for _ in 0..4 {
        free(&cluster, other).await;
        let (goes, stays) = tokio::join!(
            switch(&cluster, ALICE, 1, other),
            switch(&cluster, BOB, 4, home)
        );
        assert_eq!(goes.unwrap().primary, other);
        match stays {
            // It was there still, or the role was on its way from there.
            Err(refusal) => told(refusal, &["ALREADY_SO", "CENTRE_CHANGING"]),
            // It came after the other order was carried out, and moved the role back.
            Ok(done) => {
                assert_eq!(done.primary, home);
                settled(&cluster, home).await;
                continue;
            }
        }
        settled(&cluster, other).await;
        (home, other) = (other, home);
    }
    cluster.end().await;
}

/// Bob opens session 2 while alice moves the primary to where it is held.
async fn opens_against_switchover(is_first: bool) {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.shut_at("2023-06-10 20:01").await;
    cluster.approved().await;
    free(&cluster, WEST).await;
    let (moves, opens) = if is_first {
        let (opens, moves) = tokio::join!(open(&cluster, BOB, 2), switch(&cluster, ALICE, 3, WEST));
        (moves, opens)
    } else {
        tokio::join!(switch(&cluster, ALICE, 3, WEST), open(&cluster, BOB, 2))
    };
    match (moves, opens) {
        (Ok(_), Err(refusal)) => {
            told(refusal, &["CENTRE_CHANGING", "NOT_AT_SECONDARY"]);
            settled(&cluster, WEST).await;
            assert!((1..=6).all(|node| state(&cluster, node).standing_branch().is_none()));
        }
        (Err(refusal), Ok(_)) => {
            // A request from before the boundary is told that the line is another now.
            told(refusal, &["BRANCH_OPEN", "CHECK_FAILED", "LINE_CHANGED"]);
            settled(&cluster, EAST).await;
            until("every node knows of the session", async || {
                let opened = |node| state(&cluster, node).standing_branch().is_some();
                (1..=6).all(opened).then_some(())
            })
            .await;
        }
        both => panic!("one of them: {both:?}"),
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_opening_and_a_switchover_one_is_done_and_the_other_told() {
    Box::pin(opens_against_switchover(true)).await;
    Box::pin(opens_against_switchover(false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_switchover_and_a_change_of_nodes_one_waits_for_the_other() {
    let cluster = Box::pin(Cluster::start()).await;
    free(&cluster, WEST).await;
    let first = remove(&cluster, ALICE, 1).await.unwrap();
    assert_eq!((first.approval_count, first.needed_count), (1, 2));
    let (moves, changes) = tokio::join!(switch(&cluster, ALICE, 3, WEST), remove(&cluster, BOB, 2));
    let is_moved = moves.is_ok();
    let is_changed = changes.is_ok();
    assert!(is_moved || is_changed, "{moves:?}, {changes:?}");
    if let Err(refusal) = moves {
        told(refusal, &["TOO_MANY", "CHECK_FAILED"]);
    }
    if let Err(refusal) = changes {
        told(refusal, &["CENTRE_CHANGING", "TOO_MANY"]);
    }
    let expected = if is_moved { WEST } else { EAST };
    until("the nodes that stay agree", async || {
        (1..=5)
            .all(|node| {
                let state = state(&cluster, node);
                let centres = state.centres().unwrap();
                let is_gone = centres.retired.contains_key(&NodeId(6));
                centres.switch.is_none()
                    && is_gone == is_changed
                    && primary(&cluster, node) == expected
            })
            .then_some(())
    })
    .await;
    cluster.end().await;
}
