//! The primary is lost in the middle of a drill: the base is promoted, the branch dropped, and what
//! it did is sealed on the new main line (LINES.md, "A real disaster during a drill").

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use domain::account;
use domain::session::unplanned::Found;
use domain::session::{Evidence, Phase, Plan, Whose};
use domain::{AccountId, SessionId};

use crate::harness::drill::{Drill, at, id, who};
use crate::harness::until;
use crate::promotion::{certified, seal, serves, show};
use crate::unplanned;

async fn primary_lost(drill: &mut Drill) {
    for node in 1..=3 {
        drill.cluster.stop(node).await;
    }
}

/// Two operators promote the west, at node 4.
async fn promote(drill: &Drill) {
    let found = seal(&drill.cluster, 4).await;
    let certificate = certified(&drill.cluster, 4, &found);
    show(&drill.cluster, 4, &certificate).await;
}

fn plan(drill: &Drill, node: u64) -> Plan {
    let state = drill.cluster.main(node).state();
    state.plan(&id("S2")).unwrap().clone()
}

fn current(drill: &Drill, node: u64) -> Option<SessionId> {
    let state = drill.cluster.main(node).state();
    state.header().current.clone()
}

/// Waits until session 2 goes on, or has ended, on the new main line.
async fn held_on_main_line(drill: &Drill, expected: Option<SessionId>) {
    until("session 2 is where the timetable says", async || {
        let mut running = drill.cluster.running.keys();
        running.all(|node| current(drill, *node) == expected)
    })
    .await;
}

/// What every running node has sealed of session 2.
async fn sealed(drill: &Drill) -> Evidence {
    let evidence_at = |node: &u64| {
        let state = drill.cluster.main(*node).state();
        let sealed = state.plan(&id("S2")).and_then(|plan| plan.sealed.clone());
        sealed.and_then(|sealed| sealed.evidence)
    };
    until("the branch's evidence is sealed", async || {
        let mut running = drill.cluster.running.keys();
        running.all(|node| evidence_at(node).is_some())
    })
    .await;
    let evidence = evidence_at(&4).unwrap();
    let plan = plan(drill, 4);
    assert_eq!(plan.phase, Phase::Abandoned);
    let boundary = plan.boundary.unwrap();
    assert_eq!(boundary.epoch, 1, "the branch keeps its epoch");
    assert_eq!(evidence.boundary, boundary.at);
    assert_eq!(Some(evidence.genesis), boundary.digest);
    let items = evidence.must_repeat.iter().map(|item| item.sequence);
    assert_eq!(plan.sealed.unwrap().held, items.collect());
    evidence
}

fn to_repeat(evidence: &Evidence) -> Vec<AccountId> {
    let items = evidence.must_repeat.iter();
    items
        .map(|item| match &item.of {
            Whose::Account(account) => account.clone(),
            Whose::Participant(firm) => panic!("{firm} was not suspended"),
        })
        .collect()
}

/// Nothing is left of the branch but its audit, which is whole on each of its nodes.
async fn branch_is_dropped(drill: &Drill, evidence: &Evidence) {
    drill.branch_is_gone().await;
    for (number, running) in &drill.cluster.running {
        let node = &running.node;
        let branch = node.branch_reference(&evidence.session, evidence.genesis);
        assert_eq!(branch.epoch, 1);
        let (from, head) = (evidence.audit_from, evidence.audit);
        let whole = node.has_audit(&branch, from, &head).await.unwrap();
        assert!(whole, "node {number}");
    }
}

async fn monday(drill: &Drill) {
    drill.set_clocks(at(38));
    drill.phase("day-2023-06-12", Phase::Open).await;
    drill.cluster.agree().await;
    let state = drill.cluster.main(4).state();
    assert!(state.accounts().all(account::Account::active), "I10");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_while_session_2_is_open_seals_what_was_done_there_and_the_session_goes_on() {
    let mut drill = Drill::running().await;
    let genesis = drill.open_session_2().await;
    drill.serve_session_2().await;
    drill.suspend_on_branch(1).await;
    primary_lost(&mut drill).await;
    let found = seal(&drill.cluster, 4).await;
    // Until somebody promotes, the drill goes on.
    drill.suspend_on_branch(2).await;
    let certificate = certified(&drill.cluster, 4, &found);
    show(&drill.cluster, 4, &certificate).await;
    // A node that is switched off and on in between goes on with the branch that it had.
    drill.cluster.stop(5).await;
    drill.cluster.start(5).await;
    serves(&drill.cluster, &[4, 5, 6], 2).await;
    let evidence = sealed(&drill).await;
    assert_eq!(evidence.genesis, genesis, "I1");
    assert_eq!(to_repeat(&evidence), [who(1), who(2)]);
    assert_eq!(evidence.forgotten.values().sum::<u64>(), 2, "I5");
    let state = drill.cluster.main(6).state();
    assert_eq!(state.holds().count(), 2);
    assert_eq!(state.header().fence, None);
    held_on_main_line(&drill, Some(id("S2"))).await;
    branch_is_dropped(&drill, &evidence).await;
    drill.set_clocks(at(5));
    held_on_main_line(&drill, None).await;
    assert_eq!(plan(&drill, 4).phase, Phase::Abandoned);
    monday(&drill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_promotion_between_close_and_rollover_seals_it_though_every_node_was_restarted() {
    let mut drill = Drill::running().await;
    drill.open_session_2().await;
    drill.serve_session_2().await;
    drill.suspend_on_branch(3).await;
    drill.set_clocks(at(5));
    drill.phase("S2", Phase::Closed).await;
    until("the branch is closed", async || {
        (4..=6).all(|node| {
            let branch = drill.cluster.node(node).branch();
            branch.is_some_and(|branch| branch.state().header().ended)
        })
    })
    .await;
    let closed = drill.cluster.node(4).branch().unwrap();
    let expected = drill
        .cluster
        .node(4)
        .branch_evidence(&closed)
        .await
        .unwrap();
    drop(closed);
    primary_lost(&mut drill).await;
    promote(&drill).await;
    for node in 4..=6 {
        drill.cluster.stop(node).await;
    }
    for node in 4..=6 {
        drill.cluster.start(node).await;
    }
    serves(&drill.cluster, &[4, 5, 6], 2).await;
    assert_eq!(sealed(&drill).await, expected);
    assert_eq!(to_repeat(&expected), [who(3)]);
    branch_is_dropped(&drill, &expected).await;
    monday(&drill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_a_session_without_the_primary_is_sealed_by_a_promotion_that_nobody_had_adopted_it_before()
 {
    let mut drill = unplanned::approved().await;
    unplanned::primary_off(&mut drill).await;
    let order = unplanned::order(&drill, 5).await.unwrap();
    drill.branch_runs().await;
    drill.serve_session_2().await;
    drill.suspend_on_branch(1).await;
    promote(&drill).await;
    serves(&drill.cluster, &[4, 5, 6], 2).await;
    let taken = unplanned::adopted(&drill).await;
    assert_eq!(taken.order, order);
    assert_eq!(taken.found, Some(Found::OnMainLine));
    let evidence = sealed(&drill).await;
    assert_eq!(evidence.boundary, order.boundary);
    assert_eq!(to_repeat(&evidence), [who(1)]);
    held_on_main_line(&drill, Some(id("S2"))).await;
    branch_is_dropped(&drill, &evidence).await;
    assert!((4..=6).all(|node| drill.cluster.node(node).orders().is_empty()));
    monday(&drill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lone_survivor_cannot_know_of_the_branch_is_never_told_as_nothing() {
    let mut drill = Drill::running().await;
    drill.open_session_2().await;
    drill.serve_session_2().await;
    drill.suspend_on_branch(1).await;
    primary_lost(&mut drill).await;
    drill.cluster.stop(5).await;
    drill.cluster.stop(6).await;
    let mut found = seal(&drill.cluster, 4).await;
    until("the others answer no more", async || {
        found = seal(&drill.cluster, 4).await;
        found.len() == 1
    })
    .await;
    let certificate = certified(&drill.cluster, 4, &found);
    show(&drill.cluster, 4, &certificate).await;
    serves(&drill.cluster, &[4], 2).await;
    held_on_main_line(&drill, Some(id("S2"))).await;
    // Nor does a restart make a branch up in which nothing was done.
    drill.cluster.stop(4).await;
    drill.cluster.start(4).await;
    serves(&drill.cluster, &[4], 2).await;
    drill.set_clocks(at(5).plus(60_000));
    held_on_main_line(&drill, None).await;
    monday(&drill).await;
    let gathered = drill.cluster.node(4).gather(&id("S2")).await;
    assert!(gathered.is_err(), "{gathered:?}");
    let sealed = plan(&drill, 4).sealed.unwrap();
    assert_eq!(sealed.evidence, None);
    assert_eq!(
        sealed.gap_accepted.as_deref(),
        Some("dropped by a promotion")
    );
}
