//! The primary's role moves to the other centre and back (LINES.md, "Switchover"; I11, I12).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Cluster, asked, marking, until};
use consensus::Line;
use domain::centre::Command;
use domain::outcome::Result as Came;
use domain::protection::Mode;
use domain::{CentreName, NodeId, ParticipantId};

fn centre(name: &str) -> CentreName {
    CentreName::parse(name).unwrap()
}

pub(crate) fn start_to(to: &str) -> domain::Command {
    domain::Command::Centre(Command::SwitchStart {
        to: centre(to),
        reason: "a test".to_owned(),
    })
}

fn primary_of(line: &Line) -> String {
    let state = line.state();
    state.primary().unwrap().name.to_string()
}

pub(crate) fn is_at(line: &Line, name: &str, voters: &[u64]) -> bool {
    let state = line.state();
    let members = line.membership();
    let wanted: BTreeSet<NodeId> = voters.iter().map(|id| NodeId(*id)).collect();
    let centres = state
        .centres()
        .filter(|_| !members.joint && members.voters == wanted);
    centres.is_some_and(|centres| centres.switch.is_none() && centres.primary.name == centre(name))
}

async fn six(mode: Mode) -> Cluster {
    let mut cluster = Cluster::six().await;
    cluster.founding.policy.protection = mode;
    cluster.founding.policy.degrade_after_ms = 1_000;
    for id in 1..=6 {
        cluster.start(id).await;
    }
    cluster.founded().await;
    until("the secondary is relied on", async || {
        let main = cluster.main(1);
        main.read_index().await.is_ok() && main.state().header().protection.degraded_since.is_none()
    })
    .await;
    cluster
}

/// A client that marks one firm after another through all nodes, and keeps its own record of what
/// was acknowledged and of the longest time without.
struct Client {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<(Vec<u64>, Duration)>,
}

impl Client {
    fn start(lines: Vec<Line>, from: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            let mut mark = from;
            while !stopping.load(Ordering::SeqCst) {
                let line = &lines[usize::try_from(mark).unwrap() % lines.len()];
                if let Ok(outcome) = line.propose(marking(mark)).await
                    && let Came::Done(_) = outcome.result
                {
                    acknowledged.push(mark);
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
                mark += 1;
            }
            (acknowledged, longest)
        });
        Self { stop, task }
    }

    async fn end(self) -> (Vec<u64>, Duration) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_moves_and_back_and_nothing_acknowledged_is_lost() {
    let cluster = six(Mode::Sync).await;
    let lines: Vec<Line> = (1..=6).map(|id| cluster.main(id)).collect();
    let client = Client::start(lines, 1);
    for (to, voters) in [
        ("west", [4, 5, 6]),
        ("east", [1, 2, 3]),
        ("west", [4, 5, 6]),
    ] {
        let main = cluster.main(2);
        until("the secondary is relied on", async || {
            main.state().header().protection.degraded_since.is_none()
        })
        .await;
        let outcome = main
            .propose(asked(&main, "op1", start_to(to)))
            .await
            .unwrap();
        assert!(matches!(outcome.result, Came::Done(_)), "{outcome:?}");
        until("the role has moved on every node", async || {
            (1..=6).all(|id| is_at(&cluster.main(id), to, &voters))
        })
        .await;
        until("it is led from there", async || {
            cluster
                .leader()
                .is_some_and(|leader| voters.contains(&leader))
        })
        .await;
        // What is answered now is protected by the centre that was the primary.
        until("a change is answered", async || {
            main.propose(marking(9_000)).await.is_ok()
        })
        .await;
    }
    let (acknowledged, longest) = client.end().await;
    assert!(longest < Duration::from_secs(10), "{longest:?}");
    cluster.agree().await;
    let state = cluster.main(5).state();
    for mark in acknowledged {
        let id = ParticipantId::parse(&format!("MARK{mark:04}")).unwrap();
        assert!(state.participant(&id).is_some(), "mark {mark} is lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_lost_in_the_middle_is_followed_by_one_that_ends_it() {
    let mut cluster = six(Mode::Sync).await;
    let leader = cluster.wait_leader().await;
    let main = cluster.main(leader);
    let outcome = main.propose(asked(&main, "op1", start_to("west"))).await;
    assert!(matches!(outcome.unwrap().result, Came::Done(_)));
    // A handle of its line keeps the data folder in use.
    drop(main);
    cluster.stop(leader).await;
    until("the role has moved", async || {
        (4..=6).all(|id| is_at(&cluster.main(id), "west", &[4, 5, 6]))
    })
    .await;
    cluster.start(leader).await;
    until("who was away knows it too", async || {
        is_at(&cluster.main(leader), "west", &[4, 5, 6])
    })
    .await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_centre_that_does_not_keep_pace_does_not_get_the_role() {
    let mut cluster = six(Mode::Async).await;
    for id in 5..=6 {
        cluster.stop(id).await;
    }
    let main = cluster.main(2);
    for mark in 1..=100 {
        main.propose(marking(mark)).await.unwrap();
    }
    let outcome = main.propose(asked(&main, "op1", start_to("west"))).await;
    assert!(matches!(outcome.unwrap().result, Came::Done(_)));
    assert!(main.state().centres().unwrap().switch.is_some());
    until("it is given up", async || {
        (1..=3).all(|id| is_at(&cluster.main(id), "east", &[1, 2, 3]))
    })
    .await;
    main.propose(marking(101)).await.unwrap();
    assert_eq!(primary_of(&main), "east");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_dies_in_the_joint_phase_strands_nobody() {
    let mut cluster = six(Mode::Async).await;
    let main = cluster.main(2);
    main.propose(marking(1)).await.unwrap();
    until("the other centre has it all", async || {
        (4..=6).all(|id| {
            cluster
                .main(id)
                .applied()
                .borrow()
                .is_some_and(|at| Some(at) == *main.applied().borrow())
        })
    })
    .await;
    for id in 4..=6 {
        cluster.stop(id).await;
    }
    let outcome = main.propose(asked(&main, "op1", start_to("west"))).await;
    assert!(matches!(outcome.unwrap().result, Came::Done(_)));
    until("both centres must agree", async || {
        cluster
            .leader()
            .is_some_and(|leader| cluster.main(leader).membership().joint)
    })
    .await;
    for id in 4..=6 {
        cluster.start(id).await;
    }
    until("the role has moved", async || {
        (1..=6).all(|id| is_at(&cluster.main(id), "west", &[4, 5, 6]))
    })
    .await;
    cluster.agree().await;
}
