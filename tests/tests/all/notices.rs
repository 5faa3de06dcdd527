//! Notices of changes (S28): told at least once, by the line on which they were made, whatever
//! becomes of leaders and of the mail server.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;

use domain::policy::Policy;
use proto::operator::v1::Answer;
use tests::cast::{CARD, CARD_S2, CHAN, CHEUNG, LAU, NG, OTP, OTP_S2, TAM, WONG};
use tests::cluster::{settled, until};
use tests::{By, Cluster, Person};
use tidemark::refusal::fact;

const CARD_CHANGED: &str = "The password of your smartcard login was changed.";
const CHANGED: &str = "The password of your account was changed.";
const SUSPENDED: &str = "Your account was suspended.";

/// Waits until no notice stands on the main line at any running node.
async fn all_mailed(cluster: &Cluster) {
    until("all is mailed", async || {
        let mut running = cluster.running();
        running
            .all(|node| cluster.waiting_at(node) == 0)
            .then_some(())
    })
    .await;
}

async fn no_branch(cluster: &Cluster) {
    until("the branch is dropped", async || {
        let mut running = cluster.running();
        let none = |node: u64| cluster.node(node).lines().branch().is_none();
        running.all(none).then_some(())
    })
    .await;
}

async fn changes_card_password(cluster: &Cluster, person: &'static Person) {
    let token = cluster.with_card(person).await;
    let changed = cluster.change_password(&token, CARD, CARD_S2).await;
    changed.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_session_2_is_told_as_a_drill_and_then_as_not_carried_forward_s28() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    changes_card_password(&cluster, &TAM).await;
    let real = cluster.notice(&TAM, CARD_CHANGED).await;
    assert!(!real.drill, "{}", real.text);
    cluster.sets_up_app(&WONG).await;

    cluster.session_2().await;
    changes_card_password(&cluster, &CHAN).await;
    let drill = cluster.notice(&CHAN, CARD_CHANGED).await;
    assert!(drill.drill && drill.text.contains("DRILL: what is changed"));
    let token = cluster.with_app(&WONG).await;
    let changed = cluster.change_password(&token, OTP, OTP_S2).await;
    changed.unwrap();
    assert!(cluster.notice(&WONG, CHANGED).await.drill);
    // What is done on the main line meanwhile is told as what it is.
    cluster.suspend_main(&NG).await.unwrap();
    let emergency = cluster.notice(&NG, SUSPENDED).await;
    assert!(!emergency.drill, "{}", emergency.text);
    // The branch told nothing of what the main line did before.
    assert_eq!(cluster.notices(&TAM, CARD_CHANGED).len(), 1);

    cluster.at("2023-06-10 23:00").await;
    cluster.closed().await;
    cluster.rolled_over(Answer::Waive).await;
    for person in [&CHAN, &WONG] {
        let told = cluster.notice(person, "was not carried forward").await;
        assert!(!told.drill, "{}", told.text);
        assert!(told.text.contains("Your change of 22:"), "{}", told.text);
        assert!(told.text.contains("Use your earlier password"));
        assert!(told.text.contains("Reference: "), "R11: {}", told.text);
        assert!(told.text.contains("hotline"), "R11: {}", told.text);
        assert!(!told.text.contains("://"), "S29: {}", told.text);
    }
    // Whom the session did not touch is told nothing.
    assert!(cluster.notices(&TAM, "not carried forward").is_empty());
    no_branch(&cluster).await;
    all_mailed(&cluster).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_stopped_between_commit_and_mail_loses_no_notice() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let leader = cluster.main_leader().await;
    cluster.mail_is_down_at(leader);
    changes_card_password(&cluster, &CHAN).await;
    // Committed on every node of the primary, and not mailed.
    assert_eq!(cluster.waiting_at(leader), 1);
    let id = {
        let state = cluster.node(leader).lines().main().state();
        let waiting = state.outbox().iter().next().unwrap();
        waiting.id.to_string()
    };
    assert!(cluster.notices(&CHAN, CARD_CHANGED).is_empty());
    cluster.stop(leader).await;
    let mail = cluster.notice(&CHAN, CARD_CHANGED).await;
    assert_ne!(mail.node, leader);
    assert!(mail.id.contains(&format!("notice.{id}.")), "{}", mail.id);
    cluster.mail_is_up_at(leader);
    cluster.restart(leader).await;
    all_mailed(&cluster).await;
    // Once or more, and always as the same mail.
    let ids: BTreeSet<String> = cluster
        .notices(&CHAN, CARD_CHANGED)
        .into_iter()
        .map(|mail| mail.id)
        .collect();
    assert_eq!(ids.len(), 1);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_is_down_for_an_hour_delays_notices_and_loses_none() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    for node in 1..=6 {
        cluster.mail_is_down_at(node);
    }
    let people = [&CHAN, &TAM, &LAU, &CHEUNG];
    for person in people {
        changes_card_password(&cluster, person).await;
    }
    cluster.suspend_main(&NG).await.unwrap();
    let leader = cluster.main_leader().await;
    assert_eq!(cluster.waiting_at(leader), 5);
    cluster.at("2023-06-10 19:00").await;
    // Operators are told, and nothing of mail holds up a login.
    until("the status says it", async || {
        let reasons = cluster.warnings().await;
        let told = |text: &String| text.starts_with("5 notices of main wait for their mail");
        reasons.iter().any(told).then_some(())
    })
    .await;
    let token = cluster.with_card(&WONG).await;
    cluster.log_out(&token).await.unwrap();
    assert_eq!(cluster.waiting_at(leader), 5);
    for node in 1..=6 {
        cluster.mail_is_up_at(node);
    }
    for person in people {
        let mail = cluster.notice(person, CARD_CHANGED).await;
        assert!(
            mail.text.contains("18:0"),
            "when it was done: {}",
            mail.text
        );
    }
    cluster.notice(&NG, SUSPENDED).await;
    all_mailed(&cluster).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_goes_only_once_its_notices_have_left() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.session_2().await;
    for node in 4..=6 {
        cluster.mail_is_down_at(node);
    }
    changes_card_password(&cluster, &CHAN).await;
    cluster.at("2023-06-10 23:00").await;
    cluster.closed().await;
    settled(|| cluster.preview()).await.unwrap();
    cluster.rolled_over(Answer::Waive).await;
    // The main line's mail leaves in the east.
    let told = cluster.notice(&CHAN, "was not carried forward").await;
    assert!(!told.drill);
    assert!(cluster.notices(&CHAN, CARD_CHANGED).is_empty());
    for node in 4..=6 {
        let branch = cluster.node(node).lines().branch();
        assert!(branch.is_some(), "node {node} dropped it");
    }
    // Its leader, which stops now, does not take the notice with it.
    let leader = cluster.branch_leader().await;
    cluster.stop(leader).await;
    for node in 4..=6 {
        cluster.mail_is_up_at(node);
    }
    cluster.restart(leader).await;
    let drill = cluster.notice(&CHAN, CARD_CHANGED).await;
    assert!(drill.drill, "{}", drill.text);
    no_branch(&cluster).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_to_ask_is_told_in_both_languages_wherever_people_are_told_something_r11_r12() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let unsaid = cluster.support().await;
    assert_eq!(unsaid.zh_hant, "你的管理員，或結算所熱線");
    let policy = Policy {
        support_contact: "the hotline 2211 6688".to_owned(),
        support_contact_zh_hant: "熱線 2211 6688".to_owned(),
        ..cluster.policy().await
    };
    cluster.has_policy(&policy).await;
    // Landing pages, refusals and mail.
    let landing = cluster.support().await;
    assert_eq!(landing.en, policy.support_contact);
    assert_eq!(landing.zh_hant, policy.support_contact_zh_hant);
    let refusal = cluster
        .log_in(&NG, NG.card_option(), OTP, By::Card)
        .await
        .err()
        .unwrap();
    let expected = [
        ("support", &policy.support_contact),
        ("support_zh_hant", &policy.support_contact_zh_hant),
    ];
    for (name, text) in expected {
        assert_eq!(fact(&refusal, name).as_ref(), Some(text), "{refusal:?}");
    }
    cluster.suspend_main(&NG).await.unwrap();
    let mail = cluster.notice(&NG, SUSPENDED).await.text;
    let (english, chinese) = mail.split_once("\n帳戶 ").unwrap();
    assert!(english.contains("tell the hotline 2211 6688 at"), "{mail}");
    assert!(chinese.contains("請立即聯絡：熱線 2211 6688。"), "{mail}");

    // One that has no words in Chinese still gives its number.
    let policy = Policy {
        support_contact_zh_hant: String::new(),
        ..policy
    };
    cluster.has_policy(&policy).await;
    assert_eq!(cluster.support().await.zh_hant, policy.support_contact);
    cluster.end().await;
}
