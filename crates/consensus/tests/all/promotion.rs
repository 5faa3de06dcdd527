//! The other centre goes on without the primary (LINES.md, "Promotion"; I11, I12).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;

use crate::harness::{Cluster, approved_by, marking, until};
use consensus::promotion::{Report, best};
use domain::approval::{Act, LIFE_MS_MAX};
use domain::outcome::Result as Came;
use domain::promotion::{Certificate, Loss, SealId, Terms};
use domain::protection::Mode;
use domain::{CentreName, NodeId, ParticipantId};

pub(crate) async fn six(mode: Mode) -> Cluster {
    running(3, 3, mode).await
}

/// So many nodes in the east and in the west, where everything is protected.
pub(crate) async fn running(east: u64, west: u64, mode: Mode) -> Cluster {
    let mut cluster = Cluster::of(east, west).await;
    cluster.founding.policy.protection = mode;
    cluster.founding.policy.degrade_after_ms = 1_000;
    for id in 1..=east + west {
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

/// The nodes of the west.
fn west(cluster: &Cluster) -> impl Iterator<Item = NodeId> {
    let west = cluster.founding.secondary.as_ref().unwrap();
    west.nodes.iter().map(|node| node.id)
}

/// Seals what runs of the west, and gives what was found by node.
pub(crate) async fn seal(cluster: &Cluster, at: u64) -> BTreeMap<NodeId, Report> {
    seal_of(cluster, at, west(cluster).collect()).await
}

/// Seals what runs of these nodes, and gives what was found by node.
pub(crate) async fn seal_of(
    cluster: &Cluster,
    at: u64,
    nodes: Vec<NodeId>,
) -> BTreeMap<NodeId, Report> {
    let epoch = cluster.main(at).reference().epoch + 1;
    let said = cluster
        .node(at)
        .collect_seals(nodes, epoch, SealId([u8::try_from(at).unwrap(); 16]))
        .await;
    said.into_iter()
        .filter_map(|(node, report)| Some((node, report.ok()?)))
        .collect()
}

/// What two operators sign: the best node's tail, and who was sealed.
pub(crate) fn certified(
    cluster: &Cluster,
    at: u64,
    found: &BTreeMap<NodeId, Report>,
) -> Certificate {
    let nodes: Vec<NodeId> = west(cluster).collect();
    certified_for(cluster, at, "west", &nodes, found)
}

/// The same, for a centre with these nodes.
pub(crate) fn certified_for(
    cluster: &Cluster,
    at: u64,
    centre: &str,
    nodes: &[NodeId],
    found: &BTreeMap<NodeId, Report>,
) -> Certificate {
    let best = best(found.values()).unwrap();
    let left_out = nodes.iter().filter(|node| !found.contains_key(node));
    let terms = Terms {
        centre: CentreName::parse(centre).unwrap(),
        epoch: best.seal.epoch,
        boundary: best.last,
        genesis: best.digest,
        voters: found
            .iter()
            .map(|(node, report)| (*node, report.seal.id))
            .collect(),
        left_out: left_out.copied().collect(),
        accepted_loss: Loss::Unknown,
        accepts_split_brain: true,
        old: cluster.node(at).main_named(),
        reason: "a test".to_owned(),
    };
    let act = Act::Promotion(Box::new(terms.clone()));
    let main = cluster.main(at);
    let by = ["op1", "op2"].map(|name| {
        let (operator, mut approval) = approved_by(&main, name, &act);
        // The clock of a line that nobody uses stands still.
        approval.statement.expires_at = cluster.node(at).time().plus(LIFE_MS_MAX / 2);
        (operator, approval)
    });
    Certificate {
        terms,
        by: by.into_iter().collect(),
    }
}

pub(crate) async fn show(cluster: &Cluster, at: u64, certificate: &Certificate) {
    for voter in certificate.terms.voters.keys() {
        cluster
            .node(at)
            .show_certificate(*voter, certificate)
            .await
            .unwrap();
    }
}

pub(crate) async fn serves(cluster: &Cluster, nodes: &[u64], epoch: u64) {
    until("the new main line has begun", async || {
        nodes.iter().all(|id| {
            let main = cluster.main(*id);
            main.reference().epoch == epoch && main.state().header().epoch == epoch
        })
    })
    .await;
}

pub(crate) fn has_mark(cluster: &Cluster, id: u64, mark: u64) -> bool {
    let firm = ParticipantId::parse(&format!("MARK{mark:04}")).unwrap();
    cluster.main(id).state().participant(&firm).is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_protected_is_there_after_the_primary_is_lost() {
    let mut cluster = six(Mode::Strict).await;
    for mark in 1..=20 {
        let done = cluster.main(2).propose(marking(mark)).await.unwrap();
        assert!(matches!(done.result, Came::Done(_)));
    }
    let generation = cluster.main(4).state().header().generation;
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    let found = seal(&cluster, 5).await;
    assert_eq!(found.len(), 3);
    let certificate = certified(&cluster, 5, &found);
    show(&cluster, 5, &certificate).await;
    serves(&cluster, &[4, 5, 6], 2).await;
    for mark in 1..=20 {
        assert!(has_mark(&cluster, 6, mark), "mark {mark} is lost");
    }
    let state = cluster.main(4).state();
    assert_eq!(state.primary().unwrap().name.as_str(), "west");
    assert!(
        state.header().generation > generation,
        "what is short-lived has ended"
    );
    assert_eq!(state.certificate(), Some(&certificate));
    assert!(state.header().protection.degraded_since.is_some());
    let done = cluster.main(4).propose(marking(21)).await.unwrap();
    assert!(matches!(done.result, Came::Done(_)), "{done:?}");
    // A restart goes on in the new epoch.
    cluster.stop(6).await;
    cluster.start(6).await;
    until("the restarted node has it", async || {
        has_mark(&cluster, 6, 21)
    })
    .await;
    assert_eq!(cluster.main(6).reference().epoch, 2);
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_primary_that_is_shown_the_certificate_stops_and_stays_so() {
    let mut cluster = six(Mode::Sync).await;
    cluster.main(1).propose(marking(1)).await.unwrap();
    let found = seal(&cluster, 4).await;
    // It goes on alone for a moment: the west has promised not to listen.
    let alone = cluster.main(1).propose(marking(2)).await;
    assert!(alone.is_ok(), "{alone:?}");
    let certificate = certified(&cluster, 4, &found);
    show(&cluster, 4, &certificate).await;
    serves(&cluster, &[4, 5, 6], 2).await;
    until("the old primary has stopped", async || {
        (1..=3).all(|id| cluster.main(id).running().is_err())
    })
    .await;
    assert!(cluster.main(1).propose(marking(3)).await.is_err());
    assert!(
        !has_mark(&cluster, 4, 2),
        "what it did alone is not of the new line"
    );
    cluster.stop(1).await;
    cluster.start(1).await;
    assert!(
        cluster.main(1).running().is_err(),
        "a restart does not bring it back"
    );
    assert!(cluster.main(5).propose(marking(4)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_seal_lets_the_line_go_on_and_its_certificate_does_not_hold() {
    let cluster = six(Mode::Sync).await;
    let found = seal(&cluster, 4).await;
    let certificate = certified(&cluster, 4, &found);
    for (node, report) in &found {
        cluster
            .node(4)
            .ask_to_release(*node, report.seal.id)
            .await
            .unwrap();
    }
    let done = cluster.main(1).propose(marking(1)).await.unwrap();
    assert!(matches!(done.result, Came::Done(_)));
    until("the west follows again", async || {
        (4..=6).all(|id| has_mark(&cluster, id, 1))
    })
    .await;
    for node in 4..=6 {
        let shown = cluster
            .node(4)
            .show_certificate(NodeId(node), &certificate)
            .await;
        assert!(shown.is_err(), "what was answered since would be lost");
    }
    assert_eq!(cluster.main(4).reference().epoch, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_node_is_the_one_with_the_greatest_last_log_id_and_a_late_one_joins() {
    let mut cluster = six(Mode::Sync).await;
    cluster.main(1).propose(marking(1)).await.unwrap();
    // One of the west lacks what the other two have, and is away as the others are sealed.
    cluster.stop(6).await;
    cluster.main(1).propose(marking(2)).await.unwrap();
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    let found = seal(&cluster, 4).await;
    assert_eq!(found.len(), 2);
    let certificate = certified(&cluster, 4, &found);
    show(&cluster, 4, &certificate).await;
    serves(&cluster, &[4, 5], 2).await;
    assert!(has_mark(&cluster, 4, 2));
    cluster.start(6).await;
    serves(&cluster, &[6], 2).await;
    until("it votes", async || {
        cluster.main(4).membership().voters.contains(&NodeId(6))
    })
    .await;
    assert!(has_mark(&cluster, 6, 2));
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_primary_that_holds_its_giving_up_unapplied_says_that_it_gave_up_i11() {
    let mut cluster = six(Mode::Sync).await;
    let leader = cluster.wait_leader().await;
    let found = seal(&cluster, 4).await;
    let certificate = certified(&cluster, 4, &found);
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.stop(id).await;
    }
    // Alone, it commits nothing: what it writes stands in its log and is not applied.
    let before = cluster.main(leader).last_log_index().unwrap();
    let alone = cluster.main(leader).propose(marking(1)).await;
    assert!(alone.is_err(), "{alone:?}");
    until("it has written that it gives the west up", async || {
        cluster.main(leader).last_log_index() >= Some(before + 2)
    })
    .await;
    let applied = cluster.main(leader).state();
    assert!(applied.header().protection.degraded_since.is_none());
    drop(applied);
    for _ in 0..2 {
        let shown = cluster
            .node(4)
            .show_certificate(NodeId(leader), &certificate);
        let shown = shown.await.unwrap();
        assert!(shown.fenced && shown.degraded, "{shown:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_to_be_committed_is_named_with_the_seal() {
    let mut cluster = six(Mode::Async).await;
    let leader = cluster.wait_leader().await;
    cluster.main(leader).propose(marking(1)).await.unwrap();
    cluster.agree().await;
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.stop(id).await;
    }
    // It reaches the west and is never committed.
    let before = cluster.main(leader).last_log_index().unwrap();
    let alone = cluster.main(leader).propose(marking(2)).await;
    assert!(alone.is_err(), "{alone:?}");
    until("the west has it in its logs", async || {
        (4..=6).all(|id| cluster.main(id).last_log_index() > Some(before))
    })
    .await;
    let found = seal(&cluster, 4).await;
    for report in found.values() {
        let told = report.uncommitted.iter();
        let told: Vec<String> = told
            .filter_map(|used| used.participant.as_ref().map(ToString::to_string))
            .collect();
        assert_eq!(told, ["MARK0002"]);
        assert_eq!(report.uncommitted_count, 1);
        assert!(report.applied < report.last);
    }
    cluster.stop(leader).await;
    show(&cluster, 4, &certified(&cluster, 4, &found)).await;
    serves(&cluster, &[4, 5, 6], 2).await;
    assert!(has_mark(&cluster, 6, 2), "the tail is replayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_log_of_an_older_leader_loses_to_a_shorter_one_of_a_later() {
    let mut cluster = six(Mode::Async).await;
    let old = cluster.wait_leader().await;
    cluster.main(old).propose(marking(1)).await.unwrap();
    cluster.agree().await;
    let rest: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    for id in [rest[0], rest[1], 5, 6] {
        cluster.stop(id).await;
    }
    // What it writes alone reaches node 4, and is never committed.
    let before = cluster.main(old).last_log_index().unwrap();
    let line = cluster.main(old);
    let alone = (100..140).map(|mark| line.propose(marking(mark)));
    let written = async {
        until("node 4 has it in its log", async || {
            cluster.main(4).last_log_index() >= Some(before + 40)
        })
        .await;
    };
    let (_, alone) = tokio::join!(written, futures::future::join_all(alone));
    assert!(alone.iter().all(Result::is_err));
    drop(line);
    cluster.stop(old).await;
    cluster.stop(4).await;
    // The others elect a later leader, who has less to say.
    for id in [rest[0], rest[1], 5, 6] {
        cluster.start(id).await;
    }
    until("a change is answered", async || {
        cluster.main(5).propose(marking(2)).await.is_ok()
    })
    .await;
    cluster.agree().await;
    for id in rest {
        cluster.stop(id).await;
    }
    cluster.start(4).await;
    let found = seal(&cluster, 6).await;
    assert_eq!(found.len(), 3);
    let (long, short) = (found[&NodeId(4)].last, found[&NodeId(5)].last);
    assert!(
        long.index > short.index && long.term < short.term,
        "{long} {short}"
    );
    let chosen = best(found.values()).unwrap();
    assert_eq!(
        chosen.last,
        found[&NodeId(5)].last.max(found[&NodeId(6)].last)
    );
    show(&cluster, 6, &certified(&cluster, 6, &found)).await;
    serves(&cluster, &[4, 5, 6], 2).await;
    until("a change is answered", async || {
        cluster.main(4).propose(marking(3)).await.is_ok()
    })
    .await;
    cluster.agree().await;
    for id in 4..=6 {
        assert!(
            (1..=3).all(|mark| has_mark(&cluster, id, mark)),
            "node {id}"
        );
        assert!(
            (100..140).all(|mark| !has_mark(&cluster, id, mark)),
            "node {id}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_nobody_used_for_an_hour_is_promoted_as_any_other() {
    let mut cluster = six(Mode::Sync).await;
    cluster.main(1).propose(marking(1)).await.unwrap();
    cluster.agree().await;
    for clock in cluster.clocks.values() {
        clock.set_offset_ms(3_600_000);
    }
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    let found = seal(&cluster, 4).await;
    let certificate = certified(&cluster, 4, &found);
    show(&cluster, 4, &certificate).await;
    serves(&cluster, &[4, 5, 6], 2).await;
    assert!(cluster.main(5).propose(marking(2)).await.is_ok());
    assert!(has_mark(&cluster, 4, 1) && has_mark(&cluster, 4, 2));
}
