//! Nodes of the secondary are lost at each step of an opening without the primary.

use crate::harness::drill::Drill;
use crate::harness::hindrance::Hindrance;
use crate::harness::until;
use crate::unplanned::{approved, order, primary_off, silent};
use domain::session::unplanned::Order;

async fn opens(drill: &Drill, node: u64) -> Order {
    let mut opened = Err(String::new());
    until("the session opens", async || {
        opened = order(drill, node).await;
        opened.is_ok()
    })
    .await;
    opened.unwrap()
}

/// The secondary's nodes are lost, all of them, and back.
async fn secondary_lost(drill: &mut Drill) {
    for node in 4..=6 {
        drill.cluster.stop(node).await;
        drill.cluster.clear(node);
    }
    for node in 4..=6 {
        drill.cluster.start(node).await;
    }
    silent(drill).await;
}

fn hinder(drill: &Drill, nodes: &[u64], method: &'static str, hindrance: Hindrance) {
    for node in nodes {
        drill.cluster.hinder(*node, method, hindrance);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_lost_after_their_promises_open_it_once() {
    let mut drill = approved().await;
    primary_off(&mut drill).await;
    hinder(&drill, &[5, 6], "PromiseUnplanned", Hindrance::Unheard);
    let cut = order(&drill, 4).await.unwrap_err();
    assert!(cut.contains("a majority is needed"), "{cut}");
    secondary_lost(&mut drill).await;
    assert!((4..=6).all(|node| drill.cluster.node(node).branch().is_none()));
    let opened = opens(&drill, 5).await;
    assert_eq!(drill.branch_runs().await, opened.genesis);
    assert_eq!(opens(&drill, 6).await, opened);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_lost_between_the_order_and_its_decision_open_by_that_order() {
    let mut drill = approved().await;
    primary_off(&mut drill).await;
    // A majority has it durably, and nobody knows that.
    hinder(&drill, &[5, 6], "AcceptUnplanned", Hindrance::Unheard);
    let first = drill.cluster.node(4).time();
    let cut = order(&drill, 4).await.unwrap_err();
    assert!(cut.contains("repeat it"), "{cut}");
    let last = drill.cluster.node(4).time();
    secondary_lost(&mut drill).await;
    assert!((4..=6).all(|node| drill.cluster.node(node).orders().is_empty()));
    let opened = opens(&drill, 6).await;
    assert!(
        (first..=last).contains(&opened.at),
        "it is the order that a majority had"
    );
    assert_eq!(drill.branch_runs().await, opened.genesis, "I1");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_lost_after_the_decision_at_one_of_them_follow_it() {
    let mut drill = approved().await;
    primary_off(&mut drill).await;
    hinder(&drill, &[5, 6], "DecideUnplanned", Hindrance::Refuses);
    let opened = order(&drill, 4).await.unwrap();
    secondary_lost(&mut drill).await;
    assert_eq!(drill.branch_runs().await, opened.genesis, "I1");
    until("all know the order", async || {
        (4..=6).all(|node| drill.cluster.node(node).orders() == [opened.clone()])
    })
    .await;
}
