//! A centre is lost for good in the middle of a drill, over the API (LINES.md, "A real disaster
//! during a drill", "Abandon").
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail loudly, and says what it measured"
)]

use std::time::Duration;

use domain::AccountId;
use proto::operator::v1::session_service_client::SessionServiceClient;
use proto::operator::v1::{
    AbandonSessionRequest, Answer, AnswerHoldsRequest, Evidence, Loss, MustRepeatAnswer, PlanAct,
    PlanStage, PromotionTerms, Session,
};
use tests::Cluster;
use tests::cast::{CARD, CARD_S2, CHAN, LEE, NG, Person, TAM, WONG};
use tests::cluster::{EAST, S2, WEST, refused, until};
use tests::login::By;
use tidemark::drill::{call, request};
use tokio::time::Instant;
use tonic::Status;

use crate::centres::{assess, promote, protected};

/// The primary is lost for good, and two operators promote the west: from the first command to the
/// first login.
async fn promoted(cluster: &mut Cluster) -> Duration {
    for node in 1..=3 {
        cluster.stop(node).await;
    }
    let began = Instant::now();
    let shown = assess(cluster, 4).await.unwrap().terms.unwrap();
    assert_eq!(shown.accepted_loss(), Loss::Unknown);
    let wanted = PromotionTerms {
        reason: "the east is on fire".to_owned(),
        accept_split_brain: true,
        ..shown
    };
    promote(cluster, 1, 4, &wanted).await.unwrap();
    let done = promote(cluster, 2, 4, &wanted).await.unwrap();
    assert_eq!(done.primary, WEST);
    cluster.send_to(WEST);
    cluster.with_card(&CHAN).await;
    began.elapsed()
}

async fn by_card(cluster: &Cluster, person: &'static Person, password: &str) -> Result<(), Status> {
    let option = person.card_option();
    cluster
        .log_in(person, option, password, By::Card)
        .await
        .map(|_| ())
}

/// The evidence, once the new main line has sealed it.
async fn sealed(cluster: &Cluster) -> Evidence {
    until("the branch's evidence is sealed", async || {
        let evidence = cluster.evidence().await;
        let stage = evidence.session.as_ref().map(Session::stage);
        assert_eq!(stage, Some(PlanStage::Abandoned));
        if evidence.not_available.is_empty() {
            return Some(evidence);
        }
        assert!(evidence.forgotten.is_empty() && evidence.closed_time.is_none());
        None
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_in_the_middle_of_session_2_is_as_fast_as_any_and_seals_what_was_done_there() {
    let mut outside = Box::pin(Cluster::start()).await;
    outside.serves_at("2023-06-10 18:00").await;
    protected(&outside).await;
    let without_a_drill = promoted(&mut outside).await;
    outside.end().await;

    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    protected(&cluster).await;
    cluster.session_2().await;
    let token = cluster.with_card(&WONG).await;
    let changed = cluster.change_password(&token, CARD, CARD_S2).await;
    changed.unwrap();
    cluster.suspend_serving(&NG).await.unwrap();
    let in_a_drill = promoted(&mut cluster).await;
    println!(
        "from the command to the first login: {} ms in the middle of a drill, {} ms without one",
        in_a_drill.as_millis(),
        without_a_drill.as_millis()
    );
    assert!(in_a_drill <= Duration::from_secs(10), "{in_a_drill:?}");

    // What was true before the drill is true again.
    assert!(!cluster.good(&token, token.scope()).await, "I6");
    by_card(&cluster, &WONG, CARD).await.unwrap();
    let new = by_card(&cluster, &WONG, CARD_S2).await;
    assert_eq!(refused(new), "CREDENTIALS_REJECTED", "R44");

    // What was done in it is told, and waits for an answer where it took access away.
    let evidence = sealed(&cluster).await;
    let told: Vec<(&str, &str)> = evidence
        .forgotten
        .iter()
        .map(|change| (change.kind.as_str(), change.account.as_str()))
        .collect();
    assert!(told.contains(&("PasswordChanged", WONG.id)), "{told:?}");
    assert!(told.contains(&("AccountSuspended", NG.id)), "{told:?}");
    assert_eq!(evidence.forgotten_count, 2, "I5");
    assert_eq!(evidence.gap_accepted, "dropped by a promotion");
    let items: Vec<_> = evidence
        .answered
        .iter()
        .filter_map(|one| one.item.clone())
        .collect();
    let whose = items.iter().filter_map(|item| item.change.as_ref());
    let whose: Vec<&str> = whose.map(|change| change.account.as_str()).collect();
    assert_eq!(whose, [NG.id]);
    let held = by_card(&cluster, &NG, CARD).await;
    assert!(held.is_err(), "held until an operator answers");
    let notice = cluster.notice(&WONG, S2).await;
    assert!(!notice.drill, "it is of the main line");

    let answers: Vec<MustRepeatAnswer> = items
        .into_iter()
        .map(|item| MustRepeatAnswer {
            item: item.item,
            answer: Answer::Repeat.into(),
            reason: String::new(),
        })
        .collect();
    let message = AnswerHoldsRequest {
        validate_only: false,
        request_id: cluster.id(),
        session: S2.to_owned(),
        answers,
    };
    let doors = cluster.operators_at(WEST);
    let answer = call(&doors, |channel| {
        let message = message.clone();
        async move {
            SessionServiceClient::new(channel)
                .answer_holds(request(message))
                .await
        }
    });
    answer.await.unwrap();
    let state = cluster.node(4).lines().main().state();
    assert_eq!(state.holds().count(), 0);
    let suspended = state.account(&AccountId::parse(NG.id).unwrap()).unwrap();
    assert!(!suspended.active(), "it is repeated on the main line");

    // The session ends by its timetable, and Monday is as every day.
    cluster.shut_at("2023-06-10 23:01").await;
    cluster.serves_at("2023-06-12 08:00").await;
    cluster.with_card(&LEE).await;
    cluster.agreed_digests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secondary_lost_for_good_in_the_middle_of_a_drill_is_given_up_and_monday_opens_without_it()
 {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.session_2().await;
    let token = cluster.with_card(&WONG).await;
    let changed = cluster.change_password(&token, CARD, CARD_S2).await;
    changed.unwrap();
    for node in 4..=6 {
        cluster.stop(node).await;
    }
    cluster.send_to(EAST);
    let abandon = async |cluster: &Cluster| {
        let message = AbandonSessionRequest {
            validate_only: false,
            request_id: cluster.id(),
            session: S2.to_owned(),
            reason: "the west is on fire".to_owned(),
        };
        call(&cluster.operators_at(EAST), |channel| {
            let message = message.clone();
            async move {
                SessionServiceClient::new(channel)
                    .abandon_session(request(message))
                    .await
            }
        })
        .await
    };
    cluster.at("2023-06-10 23:05").await;
    assert_eq!(refused(abandon(&cluster).await), "NOT_APPROVED");
    cluster.approve_act(1, PlanAct::Abandon).await.unwrap();
    assert_eq!(refused(abandon(&cluster).await), "NOT_APPROVED");
    let have = cluster.approve_act(2, PlanAct::Abandon).await.unwrap();
    assert_eq!(have, 2);
    let done = abandon(&cluster).await.unwrap();
    assert_eq!(done.session.unwrap().stage(), PlanStage::Abandoned);
    // Nobody knows what was done there: that is not the same as nothing.
    let evidence = cluster.evidence().await;
    assert!(!evidence.not_available.is_empty());
    assert_eq!(evidence.gap_accepted, "the west is on fire");

    cluster.serves_at("2023-06-12 08:00").await;
    by_card(&cluster, &WONG, CARD).await.unwrap();
    let new = by_card(&cluster, &WONG, CARD_S2).await;
    assert_eq!(refused(new), "CREDENTIALS_REJECTED", "R44");
    cluster.with_card(&TAM).await;
    assert!(cluster.running().all(|node| node <= 3), "it is still away");
    cluster.agreed_digests().await;
}
