//! The node that leads is stopped in each phase of the circular's Saturday, and started again:
//! the story goes on, and what session 1 set up is there in session 2 and on Monday (I3, I9).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use proto::account::v1::Channel;
use proto::auth::v1::ConfirmInitiationRequest;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::begin_initiation_request::Proof;
use proto::operator::v1::Answer;
use tests::cast::{APP, CARD, CCMS_OTP, CHEUNG, DMS_OTP, LAU, OTP, OTP_S2, WONG};
use tests::cluster::{refused, settled};
use tests::token::ADDRESS;
use tests::{By, Cluster};
use tidemark::drill::request;

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_stops_in_each_phase_and_s1_initiations_work_in_s2_and_on_monday_i3_i9() {
    let mut cluster = Box::pin(Cluster::start()).await;

    // Session 1.
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.sets_up_app(&WONG).await;
    let leader = cluster.main_leader().await;
    cluster.stop(leader).await;
    cluster.sets_up_app(&CHEUNG).await;
    cluster.with_app(&WONG).await;
    cluster.restart(leader).await;
    cluster.sets_up_app(&LAU).await;

    // The gap, before the boundary and after it.
    cluster.shut_at("2023-06-10 20:01").await;
    cluster.approved().await;
    let leader = cluster.main_leader().await;
    cluster.stop(leader).await;
    let boundary = cluster.opened().await;
    cluster.restart(leader).await;
    let leader = cluster.main_leader().await;
    cluster.stop(leader).await;
    cluster.restart(leader).await;
    let leader = cluster.branch_leader().await;
    cluster.stop(leader).await;

    // Session 2: the branch's leader, and the main line's.
    cluster.serves_at("2023-06-10 22:00").await;
    cluster.restart(leader).await;
    let token = cluster.with_app(&WONG).await;
    let leader = cluster.branch_leader().await;
    cluster.stop(leader).await;
    settled(|| cluster.change_password(&token, OTP, OTP_S2))
        .await
        .unwrap();
    cluster.with_app(&CHEUNG).await;
    cluster.restart(leader).await;
    let leader = cluster.main_leader().await;
    cluster.stop(leader).await;
    cluster.with_app(&LAU).await;
    cluster.restart(leader).await;

    // After the close.
    cluster.at("2023-06-10 23:00").await;
    cluster.closed().await;
    let leader = cluster.branch_leader().await;
    cluster.stop(leader).await;
    cluster.restart(leader).await;
    let leader = cluster.main_leader().await;
    cluster.stop(leader).await;
    cluster.rolled_over(Answer::Waive).await;
    cluster.restart(leader).await;

    // Before Monday.
    let leader = cluster.main_leader().await;
    cluster.stop(leader).await;
    cluster.serves_at("2023-06-12 08:00").await;
    cluster.restart(leader).await;
    for person in [&WONG, &CHEUNG, &LAU] {
        cluster.with_app(person).await;
    }
    let forgotten = cluster.log_in(&WONG, CCMS_OTP, OTP_S2, By::App(APP)).await;
    assert_eq!(refused(forgotten), "CREDENTIALS_REJECTED");
    let digests = cluster.agreed_digests().await;
    assert_eq!(
        digests.account,
        replayed(&cluster, 1).await,
        "the boundary was {boundary:?}"
    );
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initiation_whose_leader_stops_half_way_is_whole_or_not_there_r30_r31() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    for (person, option) in [(&WONG, CCMS_OTP), (&CHEUNG, DMS_OTP), (&LAU, CCMS_OTP)] {
        cluster.ask_activation(person).await.unwrap();
        let code = cluster.mailed(person, "activation-code").await;
        let proof = Proof::CardPassword(CARD.to_owned());
        let channel = Channel::Authenticator;
        let begun = cluster.begin_initiation(person, &code, proof, channel);
        let begun = begun.await.unwrap();
        let enrolment = begun.authenticator.as_ref();
        let code = cluster.channel_code(person, APP, enrolment).await;
        let before = cluster.account(person).await.unwrap();

        // Asked of a node that stays, once, while the leader goes.
        let leader = cluster.main_leader().await;
        let doors = cluster.front();
        let door = doors.into_iter().find(|door| door.node != leader).unwrap();
        let message = ConfirmInitiationRequest {
            request_id: cluster.id(),
            initiation_id: begun.initiation_id,
            code,
            new_password: OTP.to_owned(),
            client_address: ADDRESS.to_owned(),
        };
        let asked = tokio::spawn(async move {
            AuthServiceClient::new(door.channel)
                .confirm_initiation(request(message))
                .await
        });
        cluster.stop(leader).await;
        let answer = asked.await.unwrap();
        cluster.restart(leader).await;

        let after = settled(|| cluster.account(person)).await.unwrap();
        let logged_in = cluster.log_in(person, option, OTP, By::App(APP)).await;
        if after.stage == before.stage {
            answer.unwrap_err();
            assert_eq!(after.channel, before.channel);
            assert_eq!(refused(logged_in), "CREDENTIALS_REJECTED");
        } else {
            assert_eq!(after.channel(), channel);
            logged_in.unwrap();
        }
    }
    cluster.end().await;
}

/// The account digest of a replay of the log that a node exports.
async fn replayed(cluster: &Cluster, node: u64) -> String {
    let log = cluster.export(node).await;
    let replayed = consensus::export::replay(&log, None).unwrap();
    replayed.state.digests().account.to_string()
}
