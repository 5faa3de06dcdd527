//! The link dies inside the joint phase of a switchover, and stays dead: promotion works at either
//! centre (LINES.md, "Switchover").

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::harness::{Cluster, asked, marking, until};
use crate::promotion::{certified_for, has_mark, seal_of, serves, show, six};
use crate::switchover::start_to;
use domain::NodeId;
use domain::outcome::Result as Came;
use domain::protection::Mode;

const MARKS: [u64; 3] = [1, 2, 3];

/// Both centres must agree from here on, as the east and node 4 have it in their logs; and nobody
/// else of the west runs.
async fn in_the_joint_phase() -> Cluster {
    let mut cluster = six(Mode::Async).await;
    for mark in MARKS {
        let done = cluster.main(2).propose(marking(mark)).await.unwrap();
        assert!(matches!(done.result, Came::Done(_)));
    }
    cluster.agree().await;
    for id in 5..=6 {
        cluster.stop(id).await;
    }
    let main = cluster.main(2);
    let begun = main.propose(asked(&main, "op1", start_to("west"))).await;
    assert!(matches!(begun.unwrap().result, Came::Done(_)));
    drop(main);
    until("both centres must agree", async || {
        (1..=4).all(|id| cluster.main(id).membership().joint)
    })
    .await;
    cluster
}

/// One centre is promoted, which has the other's nodes as voters too.
async fn promoted_at(centre: &str, here: [u64; 3], there: [u64; 3]) {
    let mut cluster = in_the_joint_phase().await;
    for id in 1..=4 {
        cluster.stop(id).await;
    }
    for id in here {
        cluster.start(id).await;
    }
    let knows = |id: &u64| cluster.main(*id).membership().joint;
    assert!(here.iter().any(knows), "a restart keeps it so");
    let done = cluster.main(here[0]).propose(marking(4)).await;
    assert!(done.is_err(), "half of the voters decide nothing");
    let nodes = here.map(NodeId).to_vec();
    let found = seal_of(&cluster, here[0], nodes.clone()).await;
    assert_eq!(found.len(), 3);
    let certificate = certified_for(&cluster, here[0], centre, &nodes, &found);
    show(&cluster, here[0], &certificate).await;
    serves(&cluster, &here, 2).await;
    let done = cluster.main(here[1]).propose(marking(5)).await.unwrap();
    assert!(matches!(done.result, Came::Done(_)), "{done:?}");
    for id in here {
        let state = cluster.main(id).state();
        let centres = state.centres().unwrap();
        assert_eq!(centres.primary.name.as_str(), centre);
        assert!(centres.switch.is_none());
        assert!(MARKS.iter().all(|mark| has_mark(&cluster, id, *mark)));
        assert!(!cluster.main(id).membership().joint);
    }
    // Whoever comes back of the other centre is shown that it is over.
    for id in there {
        cluster.start(id).await;
    }
    until("the other centre has stopped", async || {
        there.iter().all(|id| {
            let accepted = cluster.node(*id).standing().accepted;
            accepted.as_ref() == Some(&certificate) && cluster.main(*id).running().is_err()
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_west_is_promoted_when_the_link_stays_dead_in_the_joint_phase() {
    promoted_at("west", [4, 5, 6], [1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_east_is_promoted_when_the_link_stays_dead_in_the_joint_phase() {
    promoted_at("east", [1, 2, 3], [4, 5, 6]).await;
}
