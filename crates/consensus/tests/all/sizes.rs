//! Small clusters: one node in each of two centres, and a single centre.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::crash::ends_at;
use crate::harness::{Cluster, asked, marking, until};
use crate::nodes::{address_of, change, found_tail, has_members, say};
use crate::promotion::{certified, has_mark, running, seal, serves, show};
use crate::switchover::start_to;
use consensus::line::Error;
use domain::centre::nodes::Change;
use domain::outcome::Result as Came;
use domain::protection::Mode;
use domain::{NodeId, Rejection};

async fn mark(cluster: &Cluster, at: u64, mark: u64) {
    let done = cluster.main(at).propose(marking(mark)).await.unwrap();
    assert!(matches!(done.result, Came::Done(_)), "{done:?}");
}

async fn switches_to(cluster: &Cluster, at: u64, to: &str) {
    until("the switchover begins", async || {
        let main = cluster.main(at);
        let begun = main.propose(asked(&main, "op1", start_to(to))).await;
        begun.is_ok_and(|outcome| matches!(outcome.result, Came::Done(_)))
    })
    .await;
}

fn degraded(cluster: &Cluster, at: u64) -> bool {
    let state = cluster.main(at).state();
    state.header().protection.degraded_since.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_node_a_centre_the_role_moves_both_ways() {
    let mut cluster = running(1, 1, Mode::Sync).await;
    mark(&cluster, 2, 1).await;
    switches_to(&cluster, 1, "west").await;
    ends_at(&cluster, "west", &[2], &[1]).await;
    mark(&cluster, 1, 2).await;
    switches_to(&cluster, 2, "east").await;
    ends_at(&cluster, "east", &[1], &[1, 2]).await;
    // A restart of each goes on where it was.
    for id in 1..=2 {
        cluster.stop(id).await;
        cluster.start(id).await;
    }
    ends_at(&cluster, "east", &[1], &[1, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_node_a_centre_the_one_there_protects() {
    let mut cluster = running(1, 1, Mode::Strict).await;
    mark(&cluster, 1, 1).await;
    until("the other one has it", async || has_mark(&cluster, 2, 1)).await;
    cluster.stop(2).await;
    let alone = cluster.main(1).propose(marking(2)).await;
    assert_eq!(alone.unwrap_err(), Error::OutcomeUnknown);
    let read = cluster.main(1).read_index().await;
    assert_eq!(read.unwrap_err(), Error::SecondaryUnreachable);
    cluster.start(2).await;
    until("answers go out again", async || {
        cluster.main(2).read_index().await.is_ok()
    })
    .await;
    until("the other one has it", async || has_mark(&cluster, 2, 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_node_a_centre_the_primary_goes_on_alone_and_relies_on_the_other_again() {
    let mut cluster = running(1, 1, Mode::Sync).await;
    cluster.stop(2).await;
    mark(&cluster, 1, 1).await;
    assert!(degraded(&cluster, 1));
    cluster.start(2).await;
    until("it is relied on again", async || {
        !degraded(&cluster, 1) && !degraded(&cluster, 2)
    })
    .await;
    ends_at(&cluster, "east", &[1], &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_node_a_centre_the_other_goes_on_without_the_primary_and_takes_it_back() {
    let mut cluster = running(1, 1, Mode::Sync).await;
    mark(&cluster, 1, 1).await;
    cluster.stop(1).await;
    let found = seal(&cluster, 2).await;
    show(&cluster, 2, &certified(&cluster, 2, &found)).await;
    serves(&cluster, &[2], 2).await;
    mark(&cluster, 2, 2).await;
    cluster.start(1).await;
    until("the old primary has stopped", async || {
        cluster.main(1).running().is_err()
    })
    .await;
    let tail = found_tail(&cluster, 2).await;
    let kept = cluster.node(2).have_tail_kept(&tail, vec![NodeId(2)]).await;
    assert_eq!(kept.len(), 1);
    let back = Change {
        tail: Some(Box::new(tail)),
        ..change("east", &[(1_001, address_of(&cluster, 2, 1))], &[])
    };
    say(&cluster, 2, &back).await;
    cluster.comes_back(1).await;
    has_members(&cluster, &[2], &[1_001]).await;
    until("it is relied on", async || !degraded(&cluster, 2)).await;
    switches_to(&cluster, 2, "east").await;
    ends_at(&cluster, "east", &[1_001], &[1, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_centre_answers_in_every_mode_and_has_nowhere_to_move_to() {
    for mode in [Mode::Async, Mode::Sync, Mode::Strict] {
        let mut cluster = running(1, 0, mode).await;
        mark(&cluster, 1, 1).await;
        assert!(!degraded(&cluster, 1));
        let main = cluster.main(1);
        let nowhere = main.propose(asked(&main, "op1", start_to("west"))).await;
        let nowhere = nowhere.unwrap().result;
        assert_eq!(nowhere, Came::Rejected(Rejection::NoSuchCentre));
        drop(main);
        cluster.stop(1).await;
        cluster.start(1).await;
        ends_at(&cluster, "east", &[1], &[1]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_centre_of_three_goes_on_without_one_of_them_and_replaces_it() {
    let mut cluster = running(3, 0, Mode::Strict).await;
    mark(&cluster, 2, 1).await;
    let leader = cluster.wait_leader().await;
    cluster.stop(leader).await;
    cluster.lose_disk(leader);
    let other = leader % 3 + 1;
    until("two of three go on", async || {
        cluster.main(other).propose(marking(2)).await.is_ok()
    })
    .await;
    let address = address_of(&cluster, other, leader);
    let next = leader + 1_000;
    say(
        &cluster,
        other,
        &change("east", &[(next, address)], &[leader]),
    )
    .await;
    cluster.start(leader).await;
    assert_eq!(cluster.node(leader).id(), NodeId(next));
    let mut voters: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    voters.push(next);
    has_members(&cluster, &voters, &[]).await;
    ends_at(&cluster, "east", &voters, &[1, 2]).await;
}
