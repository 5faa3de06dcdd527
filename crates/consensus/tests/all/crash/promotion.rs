//! Nodes of the centre that is promoted are lost at each step of it.

use super::{crash, ends_at};
use crate::harness::hindrance::Hindrance;
use crate::harness::{Cluster, marking, until};
use crate::promotion::{certified, has_mark, seal, serves, show, six};
use consensus::line::Error;
use domain::NodeId;
use domain::outcome::Result as Came;
use domain::promotion::SealId;
use domain::protection::Mode;

const MARKS: [u64; 3] = [1, 2, 3];

/// Six nodes that have acknowledged the marks, protected.
async fn marked() -> Cluster {
    let cluster = six(Mode::Strict).await;
    for mark in MARKS {
        let done = cluster.main(2).propose(marking(mark)).await.unwrap();
        assert!(matches!(done.result, Came::Done(_)));
    }
    cluster
}

async fn primary_dead(cluster: &mut Cluster) {
    for id in 1..=3 {
        cluster.stop(id).await;
    }
}

fn refuses_certificates(cluster: &Cluster, nodes: &[u64]) {
    for id in nodes {
        cluster.hinder(*id, "ShowCertificate", Hindrance::Refuses);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_lost_between_its_seal_and_its_word_of_it_keeps_the_seal() {
    let mut cluster = marked().await;
    cluster.hinder(5, "Seal", Hindrance::Unheard);
    let first = seal(&cluster, 4).await;
    assert!(!first.contains_key(&NodeId(5)), "it was not heard");
    crash(&mut cluster, 5).await;
    let promised = cluster.node(5).standing().sealed.expect("it is sealed");
    // The primary runs, and nothing of it is acknowledged by who is sealed.
    let alone = cluster.main(1).propose(marking(4)).await;
    assert_eq!(alone.unwrap_err(), Error::OutcomeUnknown);
    let found = seal(&cluster, 4).await;
    assert_eq!(found.len(), 3);
    assert_eq!(
        found[&NodeId(5)].seal,
        promised,
        "asked again, it is the same"
    );
    assert!((4..=6).all(|id| !has_mark(&cluster, id, 4)));
    primary_dead(&mut cluster).await;
    show(&cluster, 4, &certified(&cluster, 4, &found)).await;
    serves(&cluster, &[4, 5, 6], 2).await;
    ends_at(&cluster, "west", &[4, 5, 6], &MARKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_lost_after_their_tails_were_read_have_the_same_to_say_and_go_on_from_it() {
    let mut cluster = marked().await;
    primary_dead(&mut cluster).await;
    let found = seal(&cluster, 6).await;
    let certificate = certified(&cluster, 6, &found);
    for id in 4..=6 {
        cluster.stop(id).await;
    }
    // The primary is back before they are: nobody listens to it.
    for id in 1..=6 {
        cluster.start(id).await;
    }
    until("its clock is as the others'", async || {
        cluster.node(1).clock_verdict().is_good()
    })
    .await;
    let alone = cluster.main(1).propose(marking(4)).await;
    assert_eq!(alone.unwrap_err(), Error::OutcomeUnknown);
    let again = seal(&cluster, 5).await;
    let what = |found: &std::collections::BTreeMap<NodeId, consensus::promotion::Report>| {
        let reports = found.values();
        let what = reports.map(|one| (one.node, one.seal, one.last, one.digest));
        what.collect::<Vec<_>>()
    };
    assert_eq!(what(&again), what(&found));
    primary_dead(&mut cluster).await;
    show(&cluster, 5, &certificate).await;
    serves(&cluster, &[4, 5, 6], 2).await;
    ends_at(&cluster, "west", &[4, 5, 6], &MARKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_lost_between_the_certificate_and_its_word_of_it_goes_on_with_it() {
    let mut cluster = marked().await;
    primary_dead(&mut cluster).await;
    let found = seal(&cluster, 4).await;
    let certificate = certified(&cluster, 4, &found);
    cluster.hinder(6, "ShowCertificate", Hindrance::Unheard);
    let shown = cluster
        .node(4)
        .show_certificate(NodeId(6), &certificate)
        .await;
    assert!(shown.is_err(), "it was not heard");
    cluster.stop(6).await;
    cluster.clear(6);
    // It is alone with it: nothing can have begun.
    refuses_certificates(&cluster, &[4, 5]);
    cluster.start(6).await;
    let accepted = cluster.node(6).standing().accepted;
    assert_eq!(accepted.as_ref(), Some(&certificate));
    for id in 4..=5 {
        cluster.clear(id);
    }
    show(&cluster, 4, &certificate).await;
    serves(&cluster, &[4, 5, 6], 2).await;
    ends_at(&cluster, "west", &[4, 5, 6], &MARKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_lost_as_the_new_epoch_begins_at_it_alone_is_still_in_it() {
    let mut cluster = marked().await;
    primary_dead(&mut cluster).await;
    let found = seal(&cluster, 4).await;
    let certificate = certified(&cluster, 4, &found);
    refuses_certificates(&cluster, &[5, 6]);
    let shown = cluster
        .node(5)
        .show_certificate(NodeId(4), &certificate)
        .await;
    assert!(shown.is_ok(), "{shown:?}");
    until("the new main line runs there", async || {
        cluster.main(4).reference().epoch == 2
    })
    .await;
    crash(&mut cluster, 4).await;
    assert_eq!(cluster.main(4).reference().epoch, 2, "from its disk");
    assert_eq!(cluster.main(4).state().header().epoch, 1, "nobody began it");
    // It has nothing yet to go on from to a third, and does not stand still for one.
    let line = cluster.node(4).main_named();
    let sealed = cluster.node(4).seal(3, SealId([9; 16]), line).await;
    let why = sealed.map(drop).unwrap_err().to_string();
    assert!(why.contains("has not begun here"), "{why}");
    assert!(!cluster.node(4).standing().stops(2));
    for id in 5..=6 {
        assert_eq!(cluster.main(id).reference().epoch, 1);
        cluster.clear(id);
    }
    serves(&cluster, &[4, 5, 6], 2).await;
    ends_at(&cluster, "west", &[4, 5, 6], &MARKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_node_of_all_goes_on_alone_though_it_was_lost_before_it_began() {
    let mut cluster = marked().await;
    primary_dead(&mut cluster).await;
    for id in 5..=6 {
        cluster.stop(id).await;
    }
    let found = seal(&cluster, 4).await;
    let alone: Vec<NodeId> = found.keys().copied().collect();
    assert_eq!(alone, [NodeId(4)]);
    show(&cluster, 4, &certified(&cluster, 4, &found)).await;
    crash(&mut cluster, 4).await;
    serves(&cluster, &[4], 2).await;
    ends_at(&cluster, "west", &[4], &MARKS).await;
    crash(&mut cluster, 4).await;
    serves(&cluster, &[4], 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_certificate_tells_the_others_when_who_decided_is_lost() {
    let mut cluster = marked().await;
    primary_dead(&mut cluster).await;
    let found = seal(&cluster, 4).await;
    let certificate = certified(&cluster, 4, &found);
    refuses_certificates(&cluster, &[6]);
    let shown = cluster
        .node(4)
        .show_certificate(NodeId(5), &certificate)
        .await;
    assert!(shown.is_ok(), "{shown:?}");
    // Who decided has not accepted it, and what was signed there is lost with it.
    cluster.stop(4).await;
    cluster.clear(6);
    serves(&cluster, &[5, 6], 2).await;
    // It comes back when the operators' word has long expired.
    for clock in cluster.clocks.values() {
        clock.set_offset_ms(3_600_000);
    }
    cluster.start(4).await;
    serves(&cluster, &[4], 2).await;
    ends_at(&cluster, "west", &[4, 5, 6], &MARKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_seal_nobody_heard_of_joins_the_line_that_began_without_it() {
    let mut cluster = marked().await;
    primary_dead(&mut cluster).await;
    cluster.hinder(5, "Seal", Hindrance::Unheard);
    let found = seal(&cluster, 4).await;
    assert_eq!(found.len(), 2);
    cluster.stop(5).await;
    cluster.clear(5);
    show(&cluster, 4, &certified(&cluster, 4, &found)).await;
    serves(&cluster, &[4, 6], 2).await;
    cluster.start(5).await;
    serves(&cluster, &[5], 2).await;
    ends_at(&cluster, "west", &[4, 5, 6], &MARKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_is_not_released_once_a_certificate_was_accepted() {
    let mut cluster = marked().await;
    primary_dead(&mut cluster).await;
    let found = seal(&cluster, 4).await;
    let certificate = certified(&cluster, 4, &found);
    refuses_certificates(&cluster, &[4, 5]);
    let shown = cluster.node(6).accept(certificate.clone()).await;
    assert!(shown.is_ok(), "{shown:?}");
    let released = cluster
        .node(6)
        .release(certificate.terms.voters[&NodeId(6)]);
    let told = released.await.unwrap_err().to_string();
    assert!(told.contains("has no seal"), "{told}");
    cluster.clear(4);
    cluster.clear(5);
    serves(&cluster, &[4, 5, 6], 2).await;
    ends_at(&cluster, "west", &[4, 5, 6], &MARKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_lost_in_the_middle_of_it_begin_the_new_line_once() {
    let mut cluster = marked().await;
    primary_dead(&mut cluster).await;
    let found = seal(&cluster, 4).await;
    let certificate = certified(&cluster, 4, &found);
    show(&cluster, 4, &certificate).await;
    for id in 4..=6 {
        cluster.stop(id).await;
    }
    for id in 4..=6 {
        cluster.start(id).await;
    }
    serves(&cluster, &[4, 5, 6], 2).await;
    ends_at(&cluster, "west", &[4, 5, 6], &MARKS).await;
    let state = cluster.main(5).state();
    assert_eq!(state.certificate(), Some(&certificate));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_alone_accepted_a_certificate_does_not_join_a_line_of_its_epoch_that_began_otherwise() {
    let mut cluster = six(Mode::Async).await;
    // Node 4 alone has the last change.
    cluster.stop(5).await;
    cluster.stop(6).await;
    cluster.main(1).propose(marking(1)).await.unwrap();
    until("node 4 has it", async || has_mark(&cluster, 4, 1)).await;
    primary_dead(&mut cluster).await;
    cluster.start(5).await;
    cluster.start(6).await;
    // It accepts what nobody else hears of, and is lost.
    let found = seal(&cluster, 4).await;
    assert_eq!(found.len(), 3);
    let alone = certified(&cluster, 4, &found);
    refuses_certificates(&cluster, &[5, 6]);
    let shown = cluster.node(4).show_certificate(NodeId(4), &alone).await;
    shown.unwrap();
    cluster.stop(4).await;
    // Those who are left go on without it, and without what it had.
    cluster.clear(5);
    cluster.clear(6);
    let found = seal(&cluster, 5).await;
    assert_eq!(found.len(), 2);
    let other = certified(&cluster, 5, &found);
    assert_ne!(other.terms.genesis, alone.terms.genesis);
    show(&cluster, 5, &other).await;
    serves(&cluster, &[5, 6], 2).await;
    cluster.main(5).propose(marking(50)).await.unwrap();

    cluster.start(4).await;
    until("node 4 has stopped", async || {
        cluster.node(4).standing().conflicting.is_some() && cluster.main(4).running().is_err()
    })
    .await;
    // The other line needed one of those who began this one: it never was one, and this one goes on.
    assert!(other.terms.excludes(&alone.terms));
    cluster.main(5).propose(marking(51)).await.unwrap();
    assert!((5..=6).all(|id| cluster.node(id).standing().conflicting.is_none()));
    assert!(!has_mark(&cluster, 4, 51));
}
