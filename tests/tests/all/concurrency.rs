//! What many callers at once cannot do.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::sync::Arc;

use futures::future::join_all;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::verify_factor_request::Factor;
use proto::auth::v1::{VerifyFactorRequest, VerifyFactorResponse};
use tests::cast::{APP, CARD, CCMS_OTP, CHAN, HO, LAU, NG, OTP, TAM, WONG};
use tests::cluster::refused;
use tests::{By, Cluster};
use tidemark::drill::{Door, request};
use tidemark::refusal;
use tonic::Status;

/// Submits each message at once, spread over the doors.
async fn submit(
    doors: &[Door],
    messages: Vec<VerifyFactorRequest>,
) -> Vec<Result<VerifyFactorResponse, Status>> {
    let all = messages.into_iter().zip(doors.iter().cycle());
    join_all(all.map(|(message, door)| {
        let channel = door.channel.clone();
        tokio::spawn(async move {
            let mut client = AuthServiceClient::new(channel);
            let answer = client.verify_factor(request(message)).await;
            answer.map(tonic::Response::into_inner)
        })
    }))
    .await
    .into_iter()
    .map(Result::unwrap)
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_a_hundred_submissions_of_a_valid_code_succeeds_s5_s6() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.sets_up_app(&WONG).await;
    let front = cluster.front();
    assert_eq!(front.len(), 3);

    // A hundred tries of one login.
    let begun = cluster.begin(&front, &WONG, CCMS_OTP, OTP).await.unwrap();
    let code = cluster.app_code(&WONG, APP).await;
    let tries = (0..100).map(|_| cluster.verification(&begun.login_id, Factor::Code(code.clone())));
    one_succeeded(&submit(&front, tries.collect()).await);

    // One code for each of ten logins, ten times.
    let mut logins = Vec::new();
    for _ in 0..10 {
        let begun = cluster.begin(&front, &WONG, CCMS_OTP, OTP).await.unwrap();
        logins.push(begun.login_id);
    }
    let code = cluster.app_code(&WONG, APP).await;
    let tries = (0..100).map(|number| {
        let login = &logins[number % logins.len()];
        cluster.verification(login, Factor::Code(code.clone()))
    });
    one_succeeded(&submit(&front, tries.collect()).await);

    // And not afterwards either (S5).
    let again = cluster.log_in(&WONG, CCMS_OTP, OTP, By::Code(code)).await;
    assert_eq!(refused(again), "CREDENTIALS_REJECTED");
    cluster.with_app(&WONG).await;
    cluster.end().await;
}

fn one_succeeded(answers: &[Result<VerifyFactorResponse, Status>]) {
    assert_eq!(answers.len(), 100);
    let passed = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(passed, 1);
    for status in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        let reason = refusal::reason(status).unwrap_or_else(|| panic!("no reason: {status:?}"));
        assert_eq!(reason, "CREDENTIALS_REJECTED", "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_in_flight_at_the_close_has_a_dead_token_or_a_clear_refusal() {
    let cluster = Arc::new(Box::pin(Cluster::start()).await);
    cluster.session_2().await;
    let mut tokens = vec![cluster.with_card(&CHAN).await];

    let mut logins = Vec::new();
    for round in 0..6 {
        for person in [&CHAN, &WONG, &HO, &NG, &LAU, &TAM] {
            let cluster = Arc::clone(&cluster);
            let door = cluster.front()[round % 3].clone();
            logins.push(tokio::spawn(async move {
                let option = person.card_option();
                let factor = By::Card;
                let door = [door];
                cluster.log_in_at(&door, person, option, CARD, factor).await
            }));
        }
    }
    tokens.push(logins.swap_remove(0).await.unwrap().unwrap());
    cluster.close().await.unwrap();
    let mut refusals = Vec::new();
    for login in logins {
        match login.await.unwrap() {
            Ok(token) => tokens.push(token),
            Err(status) => refusals.push(refusal::reason(&status).unwrap_or_default()),
        }
    }
    for token in &tokens {
        cluster.dead(token).await;
    }
    for reason in &refusals {
        let clear = [
            "SESSION_CLOSED",
            "LINE_CHANGED",
            "CENTRE_NOT_SERVING",
            "ENDED",
            "RATE_LIMITED",
        ];
        assert!(clear.contains(&reason.as_str()), "{reason}");
    }
    let late = cluster
        .log_in(&CHAN, CHAN.card_option(), CARD, By::Card)
        .await;
    assert_eq!(refused(late), "SESSION_CLOSED");
    Arc::into_inner(cluster).unwrap().end().await;
}
