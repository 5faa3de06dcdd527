//! What an answer waits for beyond the primary's own quorum (LINES.md, "Protection"; I11).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::time::{Duration, Instant};

use crate::harness::{Cluster, asked, mark_of, marking, until};
use consensus::line::Error;
use domain::outcome::Result as Came;
use domain::policy::Policy;
use domain::protection::{Mode, Protection};
use domain::{Command, Outcome, Rejection};

/// Shorter than the time after which a line degrades.
const AT_ONCE: Duration = Duration::from_millis(900);

/// Six nodes whose line has this mode, and where everything is protected.
async fn six(mode: Mode) -> Cluster {
    let mut cluster = Cluster::six().await;
    cluster.founding.policy.protection = mode;
    cluster.founding.policy.degrade_after_ms = 1_000;
    for id in 1..=6 {
        cluster.start(id).await;
    }
    cluster.founded().await;
    until("the secondary is relied on", async || {
        cluster.main(1).read_index().await.is_ok() && promise(&cluster, 1).degraded_since.is_none()
    })
    .await;
    cluster
}

/// Has both operators set a mode.
async fn set_mode(cluster: &Cluster, mode: Mode) -> Result<Outcome, Error> {
    let main = cluster.main(1);
    let policy = Policy {
        protection: mode,
        ..main.state().policy().clone()
    };
    let command = Command::SetPolicy { policy, seen: None };
    let _first = main.propose(asked(&main, "op1", command.clone())).await;
    main.propose(asked(&main, "op2", command)).await
}

fn promise(cluster: &Cluster, node: u64) -> Protection {
    cluster.main(node).state().header().protection
}

/// Stops so many of the secondary that the rest protects nothing.
async fn cut_off(cluster: &mut Cluster) {
    cluster.stop(5).await;
    cluster.stop(6).await;
}

async fn bring_back(cluster: &mut Cluster) {
    cluster.start(5).await;
    cluster.start(6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_answers_nothing_that_the_secondary_has_not_persisted() {
    let mut cluster = six(Mode::Strict).await;
    cluster.stop(6).await;
    let with_two = cluster.main(2).propose(marking(1)).await;
    assert!(matches!(with_two.unwrap().result, Came::Done(_)));
    cluster.stop(5).await;
    // Through the leader and through another node alike.
    for node in 1..=2 {
        let alone = cluster.main(node).propose(marking(2)).await;
        assert_eq!(alone.unwrap_err(), Error::OutcomeUnknown);
    }
    let leader = cluster.wait_leader().await;
    assert_eq!(mark_of(&cluster.main(leader)), "mark 2", "it is committed");
    // A read would tell of it; that nobody confirms it is said through every node.
    for node in 1..=3 {
        let read = cluster.main(node).read_index().await;
        assert_eq!(read.unwrap_err(), Error::SecondaryUnreachable);
    }
    assert_eq!(promise(&cluster, leader).degraded_count, 0);
    cluster.start(5).await;
    until("answers go out again", async || {
        cluster.main(3).read_index().await.is_ok()
    })
    .await;
    assert_eq!(mark_of(&cluster.main(3)), "mark 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_already_so_by_a_change_that_can_be_lost() {
    let mut cluster = six(Mode::Strict).await;
    cut_off(&mut cluster).await;
    let first = cluster.main(1).propose(marking(1)).await;
    assert_eq!(first.unwrap_err(), Error::OutcomeUnknown);
    // The rejection rests on the first change, and would tell that it stands.
    let second = cluster.main(2).propose(marking(1)).await;
    assert_eq!(second.unwrap_err(), Error::OutcomeUnknown);
    bring_back(&mut cluster).await;
    until("the rejection goes out", async || {
        let third = cluster.main(2).propose(marking(1)).await;
        third.is_ok_and(|outcome| outcome.result == Came::Rejected(Rejection::AlreadySo))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_degrades_before_it_answers_alone_and_recovers() {
    let mut cluster = six(Mode::Sync).await;
    // A busy machine may degrade it as it starts.
    let before = promise(&cluster, 2).degraded_count;
    let degrade_after = Duration::from_millis(cluster.main(1).state().policy().degrade_after_ms);
    cut_off(&mut cluster).await;
    let began = Instant::now();
    let asked = cluster.main(2).propose(marking(1)).await.unwrap();
    // The leader may have heard of the secondary for the last time shortly before.
    assert!(
        began.elapsed() >= degrade_after / 2,
        "{:?}",
        began.elapsed()
    );
    // Whoever answers knows by its own state that the answer is not protected.
    let known = promise(&cluster, 2);
    assert!(known.degraded_since.is_some());
    assert_eq!(known.degraded_count, before + 1);
    assert!(cluster.main(2).applied().borrow().unwrap() > asked.at);

    let began = Instant::now();
    cluster.main(3).propose(marking(2)).await.unwrap();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());

    // A new leader has it from the log, and does not wait anew.
    let first = cluster.wait_leader().await;
    cluster.stop(first).await;
    let second = cluster.wait_leader().await;
    cluster.main(second).read_index().await.unwrap();
    let began = Instant::now();
    cluster.main(second).propose(marking(3)).await.unwrap();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    cluster.start(first).await;

    bring_back(&mut cluster).await;
    until("the secondary is relied on again", async || {
        (1..=6).all(|node| promise(&cluster, node).degraded_since.is_none())
    })
    .await;
    let known = promise(&cluster, 4);
    assert_eq!(known.degraded_count, before + 1);
    assert!(known.degraded_ms > 0);
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_lost_node_of_the_secondary_degrades_nothing() {
    let mut cluster = six(Mode::Sync).await;
    cluster.stop(4).await;
    for mark in 1..=3 {
        let at = cluster.main(1).propose(marking(mark)).await.unwrap().at;
        until("two of three have it, and are relied on", async || {
            let leader = cluster.wait_leader().await;
            let persisted = cluster.main(leader).persisted_by_secondary();
            persisted.is_some_and(|persisted| persisted >= at.index)
                && promise(&cluster, leader).degraded_since.is_none()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn async_waits_for_nobody() {
    let mut cluster = six(Mode::Async).await;
    cut_off(&mut cluster).await;
    cluster.stop(4).await;
    let began = Instant::now();
    cluster.main(2).propose(marking(1)).await.unwrap();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(promise(&cluster, 2).degraded_count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_ends_only_once_the_secondary_knows_it() {
    let mut cluster = six(Mode::Strict).await;
    cut_off(&mut cluster).await;
    let lowered = set_mode(&cluster, Mode::Async).await;
    assert_eq!(lowered.unwrap_err(), Error::OutcomeUnknown);
    let leader = cluster.wait_leader().await;
    let state = cluster.main(leader).state();
    assert_eq!(state.policy().protection, Mode::Async, "it is committed");
    let standing = promise(&cluster, leader);
    assert_eq!(
        standing.degraded_count, 0,
        "the secondary believes in strict"
    );
    bring_back(&mut cluster).await;
    until("answers go out again", async || {
        cluster.main(3).read_index().await.is_ok()
    })
    .await;
    cut_off(&mut cluster).await;
    let began = Instant::now();
    cluster.main(2).propose(marking(2)).await.unwrap();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}
