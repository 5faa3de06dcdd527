//! Lines of the standards that only a cluster, or the whole surface, shows
//! (docs/rules/STANDARDS.md).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use domain::attempts::FREE_FAILURES;
use domain::portal::LANDING_OPTIONS;
use prost_reflect::{DescriptorPool, Kind};
use proto::operator::v1::PromotionTerms;
use tests::Cluster;
use tests::cast::{CARD, CARD_S2, CCMS_CARD, CHAN, WONG};
use tests::cluster::{EAST, WEST, refused, settled, until};

use crate::centres;

/// The fields of a package's messages whose names speak of a secret.
fn secret_fields(package: &str) -> Vec<String> {
    let pool = DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
    let messages = pool
        .all_messages()
        .filter(|message| message.package_name() == package);
    let mut fields: Vec<String> = messages
        .flat_map(|message| message.fields().collect::<Vec<_>>())
        .filter(|field| matches!(field.kind(), Kind::String | Kind::Bytes))
        .map(|field| field.full_name().to_owned())
        .filter(|name| {
            [
                "password", "seed", "secret", "hint", "question", "pin", "verifier",
            ]
            .iter()
            .any(|word| {
                name.rsplit('.')
                    .next()
                    .unwrap()
                    .split('_')
                    .any(|part| part == *word)
            })
        })
        .collect();
    fields.sort_unstable();
    fields
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_survive_a_restart_and_a_change_of_leader_s14() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let wrong = CARD_S2;
    for _ in 0..FREE_FAILURES {
        let front = cluster.front();
        settled(|| cluster.begin(&front, &CHAN, CCMS_CARD, wrong))
            .await
            .unwrap();
    }
    let waits = |status: Result<_, tonic::Status>| refused(status) == "RATE_LIMITED";
    let front = cluster.front();
    assert!(waits(cluster.begin(&front, &CHAN, CCMS_CARD, CARD).await));
    let leader = cluster.main_leader().await;
    cluster.stop(leader).await;
    let left: Vec<_> = cluster
        .front()
        .into_iter()
        .filter(|door| door.node != leader)
        .collect();
    let tried = settled(|| cluster.begin(&left, &CHAN, CCMS_CARD, CARD)).await;
    assert!(waits(tried), "under another leader");
    cluster.restart(leader).await;
    for node in 1..=3 {
        cluster.stop(node).await;
        cluster.restart(node).await;
    }
    let front = cluster.front();
    let tried = settled(|| cluster.begin(&front, &CHAN, CCMS_CARD, CARD)).await;
    assert!(waits(tried), "after every node restarted");
    cluster.end().await;
}

/// The longest wait: what has passed meanwhile does not end it.
async fn guessed_until_the_longest_wait(cluster: &Cluster) {
    let front = cluster.front();
    for _ in 0..FREE_FAILURES {
        cluster
            .begin(&front, &CHAN, CCMS_CARD, CARD_S2)
            .await
            .unwrap();
    }
    for minutes in [1, 2, 4, 8] {
        let over = cluster.now().await.plus(minutes * 60_000 + 1_000);
        cluster.until(over).await;
        cluster
            .begin(&front, &CHAN, CCMS_CARD, CARD_S2)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_survive_a_switchover_and_a_promotion_s14() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    guessed_until_the_longest_wait(&cluster).await;
    let waits = async |cluster: &Cluster, when: &str| {
        let front = cluster.front();
        let tried = settled(|| cluster.begin(&front, &CHAN, CCMS_CARD, CARD)).await;
        assert_eq!(refused(tried), "RATE_LIMITED", "{when}");
    };
    waits(&cluster, "before").await;

    centres::protected(&cluster).await;
    until("the role moves", async || {
        centres::switch(&cluster, 3, WEST).await.ok()
    })
    .await;
    cluster.send_to(WEST);
    waits(&cluster, "after a switchover").await;

    // And back, without the centre that is primary now.
    centres::protected(&cluster).await;
    for node in 4..=6 {
        cluster.stop(node).await;
    }
    let found = until("the other centre is assessed", async || {
        centres::assess(&cluster, 1).await.ok()
    })
    .await;
    let terms = PromotionTerms {
        reason: "the west is on fire".to_owned(),
        accept_split_brain: true,
        ..found.terms.unwrap()
    };
    centres::promote(&cluster, 1, 1, &terms).await.unwrap();
    let done = centres::promote(&cluster, 2, 1, &terms).await.unwrap();
    assert_eq!(done.primary, EAST);
    cluster.send_to(EAST);
    waits(&cluster, "after a promotion").await;
    // Others are not in its way, and the wait ends as it would have.
    cluster.with_card(&WONG).await;
    cluster.until(cluster.now().await.plus(15 * 60_000)).await;
    cluster.with_card(&CHAN).await;
    cluster.end().await;
}

#[test]
fn no_administrator_s_call_takes_or_gives_a_password_s25() {
    // Operators alone send these, two for each: the verifiers of cards' first passwords, as their
    // issuer made them (`giving.rs` tries it by caller).
    assert_eq!(
        secret_fields("tidemark.admin.v1"),
        [
            "tidemark.admin.v1.AccountRow.card_verifier",
            "tidemark.admin.v1.NewCard.verifier"
        ]
    );
    assert_eq!(secret_fields("tidemark.operator.v1"), Vec::<String>::new());
    assert_eq!(secret_fields("tidemark.audit.v1"), Vec::<String>::new());
}

#[test]
fn there_are_no_hints_and_no_secret_questions_s27() {
    for field in secret_fields("tidemark.auth.v1") {
        assert!(
            !field.contains("hint") && !field.contains("question"),
            "{field}"
        );
    }
}

#[test]
fn every_way_in_is_listed_with_its_controls_s37() {
    let listed = include_str!("../../../docs/security.md");
    for option in LANDING_OPTIONS {
        let row = format!("| `{}` |", option.id());
        assert!(listed.contains(&row), "docs/security.md lacks {row}");
    }
}
