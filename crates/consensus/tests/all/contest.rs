//! Two certificates for one epoch (LINES.md, "Promotion", 6).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::harness::{Cluster, approved_by, marking, until};
use crate::nodes::{address_of, change, has_members, say};
use crate::promotion::{certified, has_mark, seal, serves, show, six};
use domain::approval::Act;
use domain::protection::Mode;
use domain::{NodeId, outcome::Result as Came};

async fn mark(cluster: &Cluster, at: u64, mark: u64) {
    let done = cluster.main(at).propose(marking(mark)).await.unwrap();
    assert!(matches!(done.result, Came::Done(_)), "{done:?}");
}

/// Node 4 and nodes 5 and 6 have each begun a line of epoch 2, with the others named dead; and they
/// see each other again.
async fn healed() -> Cluster {
    let mut cluster = six(Mode::Sync).await;
    mark(&cluster, 1, 1).await;
    until("the west has it", async || {
        (4..=6).all(|id| has_mark(&cluster, id, 1))
    })
    .await;
    for id in [1, 2, 3, 5, 6] {
        cluster.stop(id).await;
    }
    let found = seal(&cluster, 4).await;
    assert_eq!(found.len(), 1);
    let alone = certified(&cluster, 4, &found);
    show(&cluster, 4, &alone).await;
    serves(&cluster, &[4], 2).await;
    mark(&cluster, 4, 40).await;
    cluster.stop(4).await;
    for id in 5..=6 {
        cluster.start(id).await;
    }
    let found = seal(&cluster, 5).await;
    assert_eq!(found.len(), 2);
    let both = certified(&cluster, 5, &found);
    assert_eq!(both.terms.genesis, alone.terms.genesis, "of one state");
    show(&cluster, 5, &both).await;
    serves(&cluster, &[5, 6], 2).await;
    mark(&cluster, 6, 50).await;
    cluster.start(4).await;
    cluster
}

async fn all_have_stopped(cluster: &Cluster) {
    until("both lines have stopped, and say so", async || {
        (4..=6).all(|id| {
            let standing = cluster.node(id).standing();
            standing.conflicting.is_some() && cluster.main(id).running().is_err()
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_halves_of_a_split_secondary_that_both_began_both_stop() {
    let mut cluster = healed().await;
    all_have_stopped(&cluster).await;
    let of = |id: u64| cluster.node(id).standing();
    assert_eq!(
        of(4).conflicting.unwrap().terms,
        of(5).accepted.unwrap().terms
    );
    for id in 5..=6 {
        assert_eq!(
            of(id).conflicting.unwrap().terms,
            of(4).accepted.unwrap().terms
        );
    }
    for id in 4..=6 {
        assert!(cluster.main(id).propose(marking(60 + id)).await.is_err());
    }
    // A restart brings neither back, nor does a seal that is taken back.
    for id in 4..=6 {
        cluster.stop(id).await;
    }
    for id in 4..=6 {
        cluster.start(id).await;
    }
    for (node, report) in seal(&cluster, 5).await {
        let released = cluster.node(5).ask_to_release(node, report.seal.id).await;
        released.unwrap();
    }
    all_have_stopped(&cluster).await;
    assert!(!has_mark(&cluster, 4, 50) && !has_mark(&cluster, 5, 40));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_half_that_two_operators_choose_goes_on_and_the_other_comes_back_wiped() {
    let mut cluster = healed().await;
    all_have_stopped(&cluster).await;
    // The next certificate settles it; who has the other line is not of it.
    let found = seal(&cluster, 5).await;
    let nodes: Vec<u64> = found.keys().map(|node| node.0).collect();
    assert_eq!(nodes, [5, 6]);
    let next = certified(&cluster, 5, &found);
    assert_eq!(next.terms.epoch, 3);
    show(&cluster, 5, &next).await;
    serves(&cluster, &[5, 6], 3).await;
    assert!((5..=6).all(|id| cluster.node(id).standing().conflicting.is_none()));
    mark(&cluster, 5, 51).await;
    until("the other half is told", async || {
        cluster.node(4).standing().apart == 3
    })
    .await;
    assert!(cluster.main(4).running().is_err());
    assert!(has_mark(&cluster, 4, 40), "what it answered can be read");
    cluster.stop(4).await;
    cluster.start(4).await;
    assert!(cluster.main(4).running().is_err(), "a restart keeps it so");
    let address = address_of(&cluster, 5, 4);
    say(&cluster, 5, &change("west", &[(1_004, address)], &[4])).await;
    cluster.comes_back(4).await;
    assert_eq!(cluster.node(4).id(), NodeId(1_004));
    assert!(cluster.data(4).join("audit.4").is_dir(), "its audit stays");
    has_members(&cluster, &[5, 6, 1_004], &[]).await;
    until("it has what they have", async || {
        has_mark(&cluster, 4, 51) && has_mark(&cluster, 4, 50)
    })
    .await;
    assert!(!has_mark(&cluster, 4, 40));
    assert!(cluster.node(4).standing().conflicting.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lone_half_can_be_chosen_too_and_the_two_come_back_wiped() {
    let mut cluster = healed().await;
    all_have_stopped(&cluster).await;
    let epoch = cluster.main(4).reference().epoch + 1;
    let id = domain::promotion::SealId([9; 16]);
    let said = cluster
        .node(4)
        .collect_seals(vec![NodeId(4)], epoch, id)
        .await;
    let found = said
        .into_iter()
        .map(|(node, report)| (node, report.unwrap()));
    let mut next = certified(&cluster, 4, &found.collect());
    next.terms.left_out.clear();
    let main = cluster.main(4);
    let act = Act::Promotion(Box::new(next.terms.clone()));
    let by = ["op1", "op2"].map(|name| approved_by(&main, name, &act));
    next.by = by.into_iter().collect();
    drop(main);
    show(&cluster, 4, &next).await;
    serves(&cluster, &[4], 3).await;
    mark(&cluster, 4, 41).await;
    until("the other half is told", async || {
        (5..=6).all(|id| cluster.node(id).standing().apart == 3)
    })
    .await;
    for id in 5..=6 {
        let address = address_of(&cluster, 4, id);
        say(&cluster, 4, &change("west", &[(1_000 + id, address)], &[])).await;
        cluster.comes_back(id).await;
        until("it has what the other has", async || {
            has_mark(&cluster, id, 40) && has_mark(&cluster, id, 41)
        })
        .await;
        assert!(!has_mark(&cluster, id, 50));
    }
    has_members(&cluster, &[4, 1_005, 1_006], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_certificate_that_needs_the_same_voters_is_refused_and_begins_nothing() {
    let mut cluster = six(Mode::Sync).await;
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    let found = seal(&cluster, 4).await;
    let certificate = certified(&cluster, 4, &found);
    let mut other = certificate.clone();
    other.terms.reason = "another one".to_owned();
    let act = Act::Promotion(Box::new(other.terms.clone()));
    let main = cluster.main(4);
    let by = ["op1", "op2"].map(|name| approved_by(&main, name, &act));
    other.by = by.into_iter().collect();
    drop(main);
    show(&cluster, 4, &certificate).await;
    // Before the line has begun, and after.
    for _ in 0..2 {
        for id in 4..=6 {
            let shown = cluster.node(4).show_certificate(NodeId(id), &other).await;
            let told = shown.unwrap_err().to_string();
            assert!(told.contains("has accepted another"), "{told}");
            let standing = cluster.node(id).standing();
            assert_eq!(standing.accepted.as_ref(), Some(&certificate));
        }
        serves(&cluster, &[4, 5, 6], 2).await;
    }
    mark(&cluster, 5, 1).await;
    assert_eq!(cluster.main(5).state().certificate(), Some(&certificate));
}
