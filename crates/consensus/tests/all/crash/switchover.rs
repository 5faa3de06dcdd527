//! The leader is lost at each step of a switchover.

use super::{crash, ends_at};
use crate::harness::hindrance::Hindrance;
use crate::harness::{Cluster, asked, marking, until};
use crate::promotion::six;
use crate::switchover::start_to;
use domain::outcome::Result as Came;
use domain::protection::Mode;

async fn begin(cluster: &Cluster) {
    let leader = cluster.wait_leader().await;
    let main = cluster.main(leader);
    let begun = main.propose(asked(&main, "op1", start_to("west"))).await;
    assert!(matches!(begun.unwrap().result, Came::Done(_)));
}

async fn mark(cluster: &Cluster, marks: std::ops::RangeInclusive<u64>) {
    for mark in marks {
        let done = cluster.main(2).propose(marking(mark)).await.unwrap();
        assert!(matches!(done.result, Came::Done(_)), "{done:?}");
    }
}

/// The west's nodes receive nothing that is new.
fn hold_up(cluster: &Cluster) {
    for id in 4..=6 {
        cluster.hinder(id, "Append", Hindrance::Refuses);
        cluster.hinder(id, "InstallSnapshot", Hindrance::Refuses);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_lost_before_the_voters_are_touched_leaves_it_before_or_after() {
    let mut cluster = six(Mode::Async).await;
    // Too far behind to vote: the leader waits for them, and so does the next one.
    hold_up(&cluster);
    for id in 4..=6 {
        crash_held(&mut cluster, id).await;
    }
    mark(&cluster, 1..=100).await;
    begin(&cluster).await;
    let leader = cluster.wait_leader().await;
    assert!(!cluster.main(leader).membership().joint);
    cluster.stop(leader).await;
    cluster.start(leader).await;
    for id in 4..=6 {
        cluster.clear(id);
    }
    let known = (1..=6).find(|id| *id != leader).unwrap();
    until("the switchover is over", async || {
        let state = cluster.main(known).state();
        state.centres().unwrap().switch.is_none()
    })
    .await;
    let state = cluster.main(known).state();
    let marks: Vec<u64> = (1..=100).collect();
    match state.primary().unwrap().name.as_str() {
        "east" => ends_at(&cluster, "east", &[1, 2, 3], &marks).await,
        _ => return ends_at(&cluster, "west", &[4, 5, 6], &marks).await,
    }
    // Given up, it can be repeated.
    until("it begins again", async || {
        let main = cluster.main(known);
        let begun = main.propose(asked(&main, "op1", start_to("west"))).await;
        begun.is_ok_and(|outcome| matches!(outcome.result, Came::Done(_)))
    })
    .await;
    ends_at(&cluster, "west", &[4, 5, 6], &marks).await;
}

/// Cuts what streams already.
async fn crash_held(cluster: &mut Cluster, id: u64) {
    cluster.stop(id).await;
    cluster.start(id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_lost_in_the_joint_phase_is_followed_by_one_that_ends_it() {
    let mut cluster = six(Mode::Async).await;
    mark(&cluster, 1..=5).await;
    cluster.agree().await;
    // Near enough to vote, and silent from here on.
    hold_up(&cluster);
    for id in 4..=6 {
        cluster.stop(id).await;
    }
    begin(&cluster).await;
    until("both centres must agree", async || {
        let leader = cluster.leader();
        leader.is_some_and(|leader| cluster.main(leader).membership().joint)
    })
    .await;
    let leader = cluster.wait_leader().await;
    cluster.stop(leader).await;
    for id in 4..=6 {
        cluster.clear(id);
        cluster.start(id).await;
    }
    cluster.start(leader).await;
    ends_at(&cluster, "west", &[4, 5, 6], &[1, 2, 3, 4, 5]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_lost_after_the_voters_changed_is_followed_by_one_that_moves_the_role() {
    let mut cluster = six(Mode::Sync).await;
    mark(&cluster, 1..=5).await;
    // Nobody of the west comes to lead: who led until now stops leading with the last change.
    for id in 4..=6 {
        cluster.hinder(id, "Vote", Hindrance::Refuses);
        cluster.hinder(id, "TransferLeader", Hindrance::Refuses);
    }
    let leader = cluster.wait_leader().await;
    begin(&cluster).await;
    until("the west votes, and the role has not moved", async || {
        (4..=6).all(|id| {
            let main = cluster.main(id);
            let members = main.membership();
            let state = main.state();
            !members.joint
                && members.voters.iter().all(|voter| voter.0 > 3)
                && state.centres().unwrap().switch.is_some()
        })
    })
    .await;
    crash(&mut cluster, leader).await;
    for id in 4..=6 {
        crash(&mut cluster, id).await;
    }
    ends_at(&cluster, "west", &[4, 5, 6], &[1, 2, 3, 4, 5]).await;
}
