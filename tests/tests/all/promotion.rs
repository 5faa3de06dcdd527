//! What a promotion claims of the loss, and which certificates it takes (LINES.md, "Promotion"; I11,
//! S34).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::BTreeMap;

use domain::approval::{Act, Approval};
use domain::promotion::Certificate;
use domain::protection::Mode;
use domain::{NodeId, OperatorId, encoding};
use proto::operator::v1::{AssessPromotionResponse, Fence, Loss, PromotionTerms};
use proto::peer::v1::{SealRequest, ShowCertificateRequest};
use tests::Cluster;
use tests::cast::{CARD, CHAN, LAU, Person, TAM};
use tests::cluster::{EAST, WEST, refused, until};
use tests::login::By;
use tidemark::terms;

use crate::centres::{assess, promote, protected, status};

/// Six nodes in this mode, in which what the secondary confirms is relied on.
async fn cluster_in(mode: Mode) -> Cluster {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    if mode != Mode::Sync {
        let policy = domain::policy::Policy {
            protection: mode,
            ..cluster.policy().await
        };
        cluster.has_policy(&policy).await;
    }
    protected(&cluster).await;
    cluster
}

fn accepting(found: &AssessPromotionResponse, loss: Loss, entries: u64) -> PromotionTerms {
    PromotionTerms {
        accepted_loss: loss.into(),
        accepted_loss_entries: entries,
        reason: "the east is to be left".to_owned(),
        ..found.terms.clone().unwrap()
    }
}

fn with_split_brain(terms: PromotionTerms) -> PromotionTerms {
    PromotionTerms {
        accept_split_brain: true,
        ..terms
    }
}

fn is_suspended(cluster: &Cluster, node: u64, person: &Person) -> bool {
    let state = cluster.node(node).lines().main().state();
    let account = state.account(&person.id.parse().unwrap());
    account.is_some_and(|account| !account.active())
}

async fn east_dies(cluster: &mut Cluster) {
    for node in 1..=3 {
        cluster.stop(node).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_where_the_old_primary_stops_and_had_not_given_the_other_up_i11() {
    let cluster = cluster_in(Mode::Sync).await;
    cluster.suspend_serving(&LAU).await.unwrap();
    let found = assess(&cluster, 4).await.unwrap();
    let shown = found.terms.clone().unwrap();
    assert_eq!(shown.accepted_loss(), Loss::Unknown, "nobody has asked it");
    assert_eq!(found.best_loss(), Loss::None);
    let zero = accepting(&found, Loss::None, 0);
    let first = promote(&cluster, 1, 4, &zero).await.unwrap();
    assert_eq!(first.approval_count, 1);
    let done = promote(&cluster, 2, 4, &zero).await.unwrap();
    assert_eq!(done.primary, WEST);
    assert_eq!(
        (done.fence(), done.loss()),
        (Fence::Acknowledged, Loss::None)
    );
    assert!(is_suspended(&cluster, 4, &LAU));
    cluster.send_to(WEST);
    cluster.with_card(&CHAN).await;
    for node in 1..=3 {
        let standing = cluster.node(node).lines().standing();
        assert!(standing.accepted.is_some(), "node {node}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_centre_promoted_between_sessions_opens_the_next_business_day() {
    let mut cluster = Box::pin(Cluster::start()).await;
    protected(&cluster).await;
    east_dies(&mut cluster).await;
    let found = assess(&cluster, 4).await.unwrap();
    let unknown = with_split_brain(accepting(&found, Loss::Unknown, 0));
    promote(&cluster, 1, 4, &unknown).await.unwrap();
    let done = promote(&cluster, 2, 4, &unknown).await.unwrap();
    assert_eq!(done.primary, WEST);
    cluster.send_to(WEST);
    cluster.serves_at("2023-06-12 08:00").await;
    cluster.with_card(&CHAN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_old_primary_answered_alone_bounds_the_loss_and_it_goes_on_where_that_is_refused_i11()
 {
    let cluster = cluster_in(Mode::Sync).await;
    let found = assess(&cluster, 4).await.unwrap();
    // It gives the west up, and answers alone.
    cluster.suspend_serving(&LAU).await.unwrap();
    assert!(!is_suspended(&cluster, 4, &LAU));
    for refused_terms in [
        accepting(&found, Loss::None, 0),
        accepting(&found, Loss::AtMost, 1),
    ] {
        promote(&cluster, 1, 4, &refused_terms).await.unwrap();
        let claimed = promote(&cluster, 2, 4, &refused_terms).await.unwrap_err();
        assert!(claimed.message().contains("it is at most"), "{claimed:?}");
        assert_eq!(refused::<()>(Err(claimed)), "NOT_PROMOTED");
        // What it was asked is taken back.
        until("the old primary goes on", async || {
            let login = cluster.log_in(&CHAN, CHAN.card_option(), CARD, By::Card);
            login.await.ok()
        })
        .await;
    }
    cluster.suspend_serving(&TAM).await.unwrap();
    let bounded = accepting(&found, Loss::AtMost, 1_000);
    promote(&cluster, 1, 4, &bounded).await.unwrap();
    let done = promote(&cluster, 2, 4, &bounded).await.unwrap();
    assert_eq!(
        (done.fence(), done.loss()),
        (Fence::Acknowledged, Loss::AtMost)
    );
    // Both suspensions, and that the west was given up, are among these.
    assert!((3..1_000).contains(&done.loss_entries), "{done:?}");
    assert!(!is_suspended(&cluster, 4, &LAU) && !is_suspended(&cluster, 4, &TAM));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_line_loses_nothing_with_two_of_three_and_claims_nothing_with_one_i11() {
    let mut cluster = cluster_in(Mode::Strict).await;
    cluster.stop(6).await;
    cluster.suspend_serving(&LAU).await.unwrap();
    // One that holds it is dead, and so is the primary; the one that lacks it is there.
    cluster.stop(5).await;
    east_dies(&mut cluster).await;
    cluster.restart(6).await;
    let found = assess(&cluster, 6).await.unwrap();
    let sealed = |found: &AssessPromotionResponse| {
        let nodes = found.nodes.iter().filter(|node| node.problem.is_empty());
        nodes.map(|node| node.node_id).collect::<Vec<_>>()
    };
    assert_eq!(sealed(&found), [4, 6]);
    assert_eq!(found.terms.clone().unwrap().accepted_loss(), Loss::None);
    // With both dead that hold it, the third says so.
    cluster.stop(4).await;
    let alone = assess(&cluster, 6).await.unwrap();
    assert_eq!(sealed(&alone), [6]);
    assert_eq!(alone.terms.clone().unwrap().accepted_loss(), Loss::Unknown);
    assert!(
        alone.claim_reason.contains("too few"),
        "{}",
        alone.claim_reason
    );
    assert!(!is_suspended(&cluster, 6, &LAU));
    cluster.restart(4).await;
    let found = assess(&cluster, 6).await.unwrap();
    let zero = with_split_brain(accepting(&found, Loss::None, 0));
    promote(&cluster, 1, 6, &zero).await.unwrap();
    let done = promote(&cluster, 2, 6, &zero).await.unwrap();
    assert_eq!((done.fence(), done.loss()), (Fence::None, Loss::None));
    assert!(is_suspended(&cluster, 6, &LAU), "the best node had it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_line_whose_primary_is_dead_claims_no_zero_whoever_holds_the_change_i11() {
    let mut cluster = cluster_in(Mode::Sync).await;
    cluster.stop(6).await;
    cluster.suspend_serving(&LAU).await.unwrap();
    cluster.stop(5).await;
    east_dies(&mut cluster).await;
    cluster.restart(6).await;
    // A holder and the one that lacks it: enough nodes, and a primary that nobody can ask.
    let found = assess(&cluster, 6).await.unwrap();
    assert_eq!(found.terms.clone().unwrap().accepted_loss(), Loss::Unknown);
    assert_eq!(found.best_loss(), Loss::Unknown);
    assert!(
        found.claim_reason.contains("may have given"),
        "{}",
        found.claim_reason
    );
    let zero = with_split_brain(accepting(&found, Loss::None, 0));
    promote(&cluster, 1, 6, &zero).await.unwrap();
    assert_eq!(
        refused(promote(&cluster, 2, 6, &zero).await),
        "NOT_PROMOTED"
    );
    // No holder at all.
    cluster.stop(4).await;
    let found = assess(&cluster, 6).await.unwrap();
    assert!(
        found.claim_reason.contains("too few"),
        "{}",
        found.claim_reason
    );
    for (loss, entries) in [(Loss::None, 0), (Loss::AtMost, 1_000_000)] {
        let terms = with_split_brain(accepting(&found, loss, entries));
        promote(&cluster, 1, 6, &terms).await.unwrap();
        assert_eq!(
            refused(promote(&cluster, 2, 6, &terms).await),
            "NOT_PROMOTED"
        );
    }
    let unknown = with_split_brain(accepting(&found, Loss::Unknown, 0));
    promote(&cluster, 1, 6, &unknown).await.unwrap();
    let done = promote(&cluster, 2, 6, &unknown).await.unwrap();
    assert_eq!(done.loss(), Loss::Unknown);
    assert!(
        !is_suspended(&cluster, 6, &LAU),
        "that is what was accepted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_was_degraded_and_then_burnt_claims_no_bound_i11() {
    let mut cluster = cluster_in(Mode::Sync).await;
    cluster.stop(5).await;
    cluster.stop(6).await;
    cluster.suspend_serving(&LAU).await.unwrap();
    until("it is degraded, as the west knows", async || {
        let state = cluster.node(4).lines().main().state();
        state.header().protection.degraded_since.map(|_| ())
    })
    .await;
    east_dies(&mut cluster).await;
    cluster.restart(5).await;
    cluster.restart(6).await;
    let found = assess(&cluster, 5).await.unwrap();
    assert!(found.nodes.iter().all(|node| node.problem.is_empty()));
    assert_eq!(found.terms.clone().unwrap().accepted_loss(), Loss::Unknown);
    assert_eq!(found.best_loss(), Loss::Unknown);
    let why = &found.claim_reason;
    assert!(why.contains("had given this centre up"), "{why}");
    let zero = with_split_brain(accepting(&found, Loss::None, 0));
    promote(&cluster, 1, 5, &zero).await.unwrap();
    assert_eq!(
        refused(promote(&cluster, 2, 5, &zero).await),
        "NOT_PROMOTED"
    );
}

/// A certificate of what two operators would sign, shown to a node by another node.
async fn shown(cluster: &Cluster, node: u64, certificate: &Certificate) -> Result<bool, String> {
    let request = ShowCertificateRequest {
        cluster: cluster.node(4).lines().cluster().0.to_vec().into(),
        certificate: encoding::encode(certificate).into(),
        has_begun: true,
    };
    let answer = cluster.peer(4, node).show_certificate(request).await;
    let answer = answer.map_err(|status| status.message().to_owned())?;
    Ok(answer.into_inner().fenced)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_certificate_stops_nobody_s34() {
    let cluster = cluster_in(Mode::Sync).await;
    let found = assess(&cluster, 4).await.unwrap();
    let wanted = terms::read(&accepting(&found, Loss::Unknown, 0)).unwrap();
    let act = Act::Promotion(Box::new(wanted.clone()));
    let seen = tidemark::approval::Seen::of(&status(&cluster, 4).await).unwrap();
    let of = |operator: usize, act: &Act| {
        let signed = cluster.pen(operator).sign(act, &seen).unwrap();
        let expires = signed.expire_time.unwrap();
        let expires = server::wire::read_time(&expires).unwrap();
        Approval {
            statement: act.statement((seen.cluster, seen.epoch), signed.index, expires),
            key: credential::certificate::spki_fingerprint(&signed.certificate).unwrap(),
            certificate: signed.certificate.clone(),
            signature: signed.signature.clone(),
        }
    };
    let name = |text: &str| OperatorId::parse(text).unwrap();
    let by = |signed: Vec<(&str, Approval)>| Certificate {
        terms: wanted.clone(),
        by: signed
            .into_iter()
            .map(|(who, one)| (name(who), one))
            .collect::<BTreeMap<_, _>>(),
    };
    let (alice, bob) = (of(1, &act), of(2, &act));
    let mut bent = bob.clone();
    *bent.signature.last_mut().unwrap() ^= 1;
    let mut late = bob.clone();
    late.statement.expires_at.0 += 1;
    let other = Act::Promotion(Box::new(domain::promotion::Terms {
        reason: "something else".to_owned(),
        ..wanted.clone()
    }));
    let mut more = by(vec![("alice", alice.clone()), ("bob", bob.clone())]);
    more.terms.voters.remove(&NodeId(6));
    let forged = [
        (
            "a bad signature",
            by(vec![("alice", alice.clone()), ("bob", bent)]),
        ),
        (
            "a statement that was changed",
            by(vec![("alice", alice.clone()), ("bob", late)]),
        ),
        ("one signer", by(vec![("alice", alice.clone())])),
        (
            "one signer twice",
            by(vec![("alice", alice.clone()), ("bob", alice.clone())]),
        ),
        (
            "somebody unknown",
            by(vec![("alice", alice.clone()), ("mallory", bob.clone())]),
        ),
        (
            "a signature of something else",
            by(vec![("alice", alice.clone()), ("bob", of(2, &other))]),
        ),
        ("terms that nobody signed", more),
        ("nobody", by(Vec::new())),
    ];
    for (what, certificate) in &forged {
        // Of the old primary, and of those that are to go on.
        for node in [1, 5] {
            let refused = shown(&cluster, node, certificate).await;
            assert!(refused.is_err(), "{what} at node {node}: {refused:?}");
            let standing = cluster.node(node).lines().standing();
            assert!(
                standing.accepted.is_none() && standing.conflicting.is_none(),
                "{what}"
            );
        }
        assert!(cluster.node(1).lines().main().running().is_ok(), "{what}");
    }
    // Nor does a forged one beside the right one.
    let right = by(vec![("alice", alice.clone()), ("bob", bob)]);
    assert_eq!(shown(&cluster, 1, &right).await, Ok(true));
    let mut second = right.clone();
    second.terms.reason = "another one".to_owned();
    assert!(shown(&cluster, 1, &second).await.is_err());
    assert!(cluster.node(1).lines().standing().conflicting.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_of_another_main_line_of_the_same_epoch_is_refused() {
    let cluster = cluster_in(Mode::Sync).await;
    let request = SealRequest {
        cluster: cluster.node(4).lines().cluster().0.to_vec().into(),
        epoch: 2,
        seal: vec![1; 16].into(),
        beginning: vec![2; 32].into(),
    };
    let refused = cluster.peer(4, 5).seal(request).await.unwrap_err();
    assert!(
        refused.message().contains("another main line"),
        "{refused:?}"
    );
    assert!(cluster.node(5).lines().standing().sealed.is_none());
    cluster.send_to(EAST);
    cluster.with_card(&CHAN).await;
}
