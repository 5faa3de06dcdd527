//! Session 2 is opened with the primary switched off, and taken over when it is back (R41;
//! LINES.md, "Opening, unplanned").

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use consensus::unplanned::Wanted;
use domain::promotion::SealId;
use domain::session::Phase;
use domain::session::unplanned::{Found, Order, Unplanned};
use domain::{Actor, OperatorId, audit};

use crate::harness::drill::{Drill, at, id};
use crate::harness::hindrance::Hindrance;
use crate::harness::{marking, until};

fn wanted(drill: &Drill, node: u64) -> Wanted {
    Wanted {
        session: id("S2"),
        by: Actor::Operator(OperatorId::parse("op1").unwrap()),
        reason: "the primary is dark".to_owned(),
        at: drill.cluster.node(node).time(),
    }
}

/// An operator orders the opening at a node; why not, if it is not done.
pub(crate) async fn order(drill: &Drill, node: u64) -> Result<Order, String> {
    let asked = drill.cluster.node(node);
    let opened = asked.open_unplanned(&wanted(drill, node)).await;
    opened.map_err(|error| error.to_string())
}

/// Session 1 is over and session 2 is approved, on all nodes.
pub(crate) async fn approved() -> Drill {
    let drill = Drill::running().await;
    drill.set_clocks(at(0));
    drill.phase("S1", Phase::Open).await;
    drill.set_clocks(at(2));
    drill.phase("S1", Phase::Closed).await;
    drill.approve().await;
    drill.cluster.agree().await;
    drill
}

pub(crate) async fn primary_off(drill: &mut Drill) {
    for node in 1..=3 {
        drill.cluster.stop(node).await;
    }
    silent(drill).await;
}

pub(crate) async fn silent(drill: &Drill) {
    until("the primary is heard no more", async || {
        (4..=6).all(|node| {
            let running = drill.cluster.running.get(&node);
            running.is_none_or(|running| !running.node.primary_heard().1)
        })
    })
    .await;
}

pub(crate) async fn adopted(drill: &Drill) -> Unplanned {
    until("the main line has taken it over", async || {
        drill.cluster.running.values().all(|running| {
            let state = running.node.main().state();
            let plan = state.plan(&id("S2"));
            plan.is_some_and(|plan| plan.unplanned.as_ref().is_some_and(|u| u.found.is_some()))
        })
    })
    .await;
    let node = *drill.cluster.running.keys().next().unwrap();
    let state = drill.cluster.main(node).state();
    let plan = state.plan(&id("S2")).unwrap();
    *plan.unplanned.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_a_session_opens_with_the_primary_off_and_is_taken_over_and_rolled_over_when_it_is_back()
 {
    let mut drill = approved().await;
    let before = drill.cluster.main(4).state().digests();
    primary_off(&mut drill).await;
    let order = order(&drill, 5).await.unwrap();
    assert_eq!(drill.branch_runs().await, order.genesis, "I1");
    assert_eq!(order.genesis, before.full, "I1");
    assert_eq!(order.by.to_string(), "operator/op1");
    drill.serve_session_2().await;
    drill.suspend_on_branch(1).await;
    let branch = drill.cluster.node(4).branch().unwrap();
    let plan = branch.state().plan(&id("S2")).cloned().unwrap();
    let boundary = plan.boundary.unwrap();
    assert_eq!(boundary.at, order.boundary);
    assert_eq!(plan.unplanned.unwrap().order, order);
    let again = self::order(&drill, 6).await.unwrap();
    assert_eq!(again, order, "asked again, it is the same opening");
    for node in 4..=6 {
        let state = drill.cluster.main(node).state();
        assert!(
            state.plan(&id("S2")).is_none(),
            "the main line is untouched"
        );
        assert_eq!(state.digests().full, before.full, "I2");
    }
    // A node that is switched off and on again goes on with it.
    drill.cluster.stop(6).await;
    drill.cluster.start(6).await;
    assert_eq!(drill.branch_runs().await, order.genesis);

    for node in 1..=3 {
        drill.cluster.start(node).await;
    }
    let taken = adopted(&drill).await;
    assert_eq!(taken.order, order);
    assert_eq!(taken.found, Some(Found::OnMainLine));
    drill.phase("S2", Phase::Open).await;
    let fence = drill.cluster.main(1).state().header().fence.clone();
    assert_eq!(fence, Some(id("S2")), "one centre serves (R18)");
    drill.roll_over().await;
    let state = drill.cluster.main(1).state();
    let plan = state.plan(&id("S2")).unwrap();
    let sealed = plan.sealed.clone().unwrap().evidence.unwrap();
    assert_eq!(sealed.must_repeat.len(), 1, "I5");
    assert_eq!(sealed.boundary, order.boundary);
    assert!(plan.unplanned.is_some(), "the evidence says how it opened");
    drill.branch_is_gone().await;
    assert!(
        (4..=6).all(|node| drill.cluster.node(node).orders().is_empty()),
        "nothing is left to take over again"
    );
    drill.monday().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_refused_while_the_primary_answers_or_approvals_are_missing_or_a_node_is_sealed() {
    let mut drill = Drill::running().await;
    drill.set_clocks(at(0));
    drill.phase("S1", Phase::Open).await;
    let heard = order(&drill, 4).await.unwrap_err();
    assert!(heard.contains("of the primary"), "{heard}");
    primary_off(&mut drill).await;
    let early = order(&drill, 4).await.unwrap_err();
    assert!(early.contains("EarlierSessionOpen"), "{early}");
    drill.set_clocks(at(2));
    let unapproved = order(&drill, 4).await.unwrap_err();
    assert!(unapproved.contains("NotApproved"), "{unapproved}");
    drill.set_clocks(at(6));
    let late = order(&drill, 6).await.unwrap_err();
    assert!(late.contains("OutsideSession"), "{late}");
    let nodes = (4..=5).map(domain::NodeId).collect();
    let sealed = drill
        .cluster
        .node(4)
        .collect_seals(nodes, 2, SealId([1; 16]));
    assert!(sealed.await.iter().all(|(_, said)| said.is_ok()));
    let sealed = order(&drill, 6).await.unwrap_err();
    assert!(sealed.contains("sealed"), "{sealed}");
    assert!((4..=6).all(|node| drill.cluster.node(node).orders().is_empty()));
    assert!((4..=6).all(|node| drill.cluster.node(node).branch().is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_an_opening_that_was_cut_short_goes_on_with_the_order_that_was_begun() {
    let mut drill = approved().await;
    primary_off(&mut drill).await;
    for node in 5..=6 {
        drill
            .cluster
            .hinder(node, "AcceptUnplanned", Hindrance::Refuses);
    }
    let cut = order(&drill, 4).await.unwrap_err();
    assert!(cut.contains("a majority is needed"), "{cut}");
    assert!((4..=6).all(|node| drill.cluster.node(node).branch().is_none()));
    // What one node has durably is not forgotten over its restart.
    drill.cluster.stop(4).await;
    drill.cluster.start(4).await;
    for node in [4, 6] {
        drill.cluster.clear(node);
        drill
            .cluster
            .hinder(node, "DecideUnplanned", Hindrance::Refuses);
    }
    drill.cluster.clear(5);
    silent(&drill).await;
    let first = drill.cluster.node(6).time();
    drill.set_clocks(at(3));
    let mut opened = Err(String::new());
    until("the node is heard again", async || {
        opened = order(&drill, 5).await;
        opened.is_ok()
    })
    .await;
    let opened = opened.unwrap();
    assert!(opened.at <= first, "it is the order that was begun");
    // Who was not told learns it from who was.
    assert_eq!(drill.branch_runs().await, opened.genesis);
    assert!(
        (4..=6).all(|node| drill.cluster.node(node).order(&id("S2")).as_ref() == Some(&opened))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_returning_main_line_overwrote_is_listed_as_not_on_it() {
    let mut drill = approved().await;
    let leader = drill.cluster.wait_leader().await;
    let others: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
    for node in &others {
        drill.cluster.stop(*node).await;
    }
    let main = drill.cluster.main(leader);
    let last = main.last_log_index();
    let asking = tokio::spawn(async move { main.propose(marking(7)).await });
    until("the secondary has what is not committed", async || {
        (4..=6).all(|node| drill.cluster.main(node).last_log_index() > last)
    })
    .await;
    drill.cluster.stop(leader).await;
    let _unknown = asking.await;
    silent(&drill).await;
    let order = order(&drill, 4).await.unwrap();
    assert!(order.committed < order.boundary);
    assert!(order.used_count > 0, "{order:?}");
    assert_eq!(drill.branch_runs().await, order.genesis);
    drill.serve_session_2().await;
    drill.suspend_on_branch(2).await;

    // Those that never had it go on without it.
    for node in &others {
        drill.cluster.start(*node).await;
    }
    let taken = adopted(&drill).await;
    assert!(taken.is_off_main_line(), "{:?}", taken.found);
    let lost: Vec<_> = taken.lost().collect();
    assert!(
        lost.iter()
            .any(|lost| lost.by == "operator/op1" && lost.kind == audit::Kind::ParticipantSet),
        "{lost:?}"
    );
    drill.cluster.start(leader).await;
    drill.roll_over().await;
    drill.branch_is_gone().await;
    drill.monday().await;
}
