//! The rows of the circular that a caller can see, each as a function that carries its number.
//! One cluster goes through the Saturday and the Monday, and the functions look at it on the way.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::path::Path;

use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::begin_initiation_request::Proof;
use proto::auth::v1::{ListLandingOptionsRequest, ListLandingOptionsResponse};
use proto::line::v1::CarryForward;
use proto::operator::v1::Answer;
use tests::cast::{
    APP, CARD, CARD_S2, CCMS_CARD, CCMS_OTP, CCMS_REPORTS, CHAN, CHEUNG, DMS_CARD, DMS_OTP, HO,
    LAU, LEE, MAK, NG, OTP, OTP_S2, TAM, WONG,
};
use tests::cluster::{EAST, S1, S2, TIMETABLE, WEST, refused, settled};
use tests::{By, Cluster, Person};
use tidemark::drill::{call, request};
use tidemark::refusal;

const NOT_AVAILABLE: &str = "Function not available";

#[tokio::test(flavor = "multi_thread")]
async fn saturday_and_monday_are_what_the_circular_asks_r8_to_r57() {
    let cluster = Box::pin(Cluster::start()).await;
    r15_no_login_is_served_before_18_00(&cluster).await;
    r8_an_account_without_email_is_in_the_readiness_report(&cluster).await;

    cluster.serves_at("2023-06-10 18:00").await;
    r18_r19_the_secondary_refuses_and_names_the_centre_that_serves(&cluster).await;
    r21_r24_the_landing_page_has_five_ways_in_with_stable_ids(&cluster).await;
    r22_r25_r27_r29_a_card_login_has_both_scopes_and_ends_at_logout(&cluster).await;
    r20_r26_r28_an_administrator_s_card_opens_dms_without_that_text(&cluster).await;
    r8_without_email_nobody_initiates_and_the_answer_is_everybody_s(&cluster).await;
    r30_r31_initiation_sets_password_and_channel_at_once(&cluster).await;
    r3_r23_r32_who_initiated_logs_in_with_otp_and_with_the_card_as_before(&cluster).await;
    r50_portals_are_not_interchangeable(&cluster).await;
    r48_a_password_changed_in_session_1(&cluster).await;

    r17_both_centres_refuse_in_the_gap(&cluster).await;
    r17_opening_takes_the_boundary_once(&cluster).await;

    cluster.serves_at("2023-06-10 22:00").await;
    r16_r37_r38_r39_r40_r41_session_2_takes_the_credentials_of_session_1(&cluster).await;
    r42_r43_r45_r47_r53_session_2_takes_writes_and_says_that_they_go(&cluster).await;

    cluster.at("2023-06-10 23:00").await;
    cluster.closed().await;
    r44_the_rollover_asks_for_answers_and_runs_once_i8(&cluster).await;
    r54_nobody_logs_in_on_sunday(&cluster).await;

    cluster.serves_at("2023-06-12 08:00").await;
    r34_r36_r48_r49_monday_has_what_session_1_set_up(&cluster).await;
    r44_r45_r47_r53_monday_has_nothing_of_session_2(&cluster).await;
    r51_r56_the_matrix_fills_by_itself(&cluster).await;
    r57_each_session_names_its_source(&cluster).await;
    r52_no_secret_is_on_disk_in_clear(cluster.folder());
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_a_timetable_may_deny_initiation_in_session_2() {
    let timetable = TIMETABLE.replace("initiation = \"allow\"", "initiation = \"deny\"");
    assert_ne!(timetable, TIMETABLE);
    let cluster = Box::pin(Cluster::with_timetable(&timetable)).await;
    cluster.session_2().await;
    cluster.with_card(&CHAN).await;
    let before = cluster.account(&CHAN).await.unwrap();
    let denied = cluster.ask_activation(&CHAN).await;
    if denied.is_ok() {
        let code = cluster.mailed(&CHAN, "activation-code").await;
        let proof = Proof::CardPassword(CARD.to_owned());
        let channel = proto::account::v1::Channel::Email;
        refused(cluster.begin_initiation(&CHAN, &code, proof, channel).await);
    }
    let after = cluster.account(&CHAN).await.unwrap();
    assert_eq!(after.stage, before.stage);
    cluster.end().await;
}

async fn card_at(cluster: &Cluster, centre: &str, person: &'static Person) -> tonic::Status {
    let doors = cluster.front_at(centre);
    cluster
        .log_in_at(&doors, person, person.card_option(), CARD, By::Card)
        .await
        .unwrap_err()
}

fn reason(status: &tonic::Status) -> String {
    refusal::reason(status).unwrap()
}

async fn r15_no_login_is_served_before_18_00(cluster: &Cluster) {
    cluster.at("2023-06-10 17:59").await;
    for centre in [EAST, WEST] {
        let status = card_at(cluster, centre, &CHAN).await;
        assert_eq!(reason(&status), "SESSION_CLOSED");
    }
}

async fn r8_an_account_without_email_is_in_the_readiness_report(cluster: &Cluster) {
    assert_eq!(cluster.unready().await, [HO.id]);
}

async fn r18_r19_the_secondary_refuses_and_names_the_centre_that_serves(cluster: &Cluster) {
    let status = card_at(cluster, WEST, &CHAN).await;
    assert_eq!(reason(&status), "CENTRE_NOT_SERVING");
    assert_eq!(refusal::fact(&status, "centre").as_deref(), Some(EAST));
}

async fn landing(cluster: &Cluster) -> ListLandingOptionsResponse {
    let front = cluster.front();
    let answer = call(&front, |channel| async move {
        AuthServiceClient::new(channel)
            .list_landing_options(request(ListLandingOptionsRequest::default()))
            .await
    });
    answer.await.unwrap()
}

async fn r21_r24_the_landing_page_has_five_ways_in_with_stable_ids(cluster: &Cluster) {
    let landing = landing(cluster).await;
    let mut ids: Vec<&str> = landing
        .options
        .iter()
        .map(|one| one.option.as_str())
        .collect();
    ids.sort_unstable();
    let mut known = [CCMS_CARD, CCMS_OTP, CCMS_REPORTS, DMS_CARD, DMS_OTP];
    known.sort_unstable();
    assert_eq!(ids, known);
    for option in &landing.options {
        let label = option.label.as_ref().unwrap();
        assert!(!label.en.is_empty() && !label.zh_hant.is_empty(), "R12");
    }
    assert_eq!(landing.session.unwrap().session, S1);
}

async fn r22_r25_r27_r29_a_card_login_has_both_scopes_and_ends_at_logout(cluster: &Cluster) {
    let token = cluster.with_card(&CHAN).await;
    assert_eq!(token.answer.function_status, NOT_AVAILABLE);
    for scope in ["online-functions", "overnight-report-download"] {
        assert!(cluster.good(&token, scope).await);
    }
    cluster.log_out(&token).await.unwrap();
    cluster.dead(&token).await;
}

async fn r20_r26_r28_an_administrator_s_card_opens_dms_without_that_text(cluster: &Cluster) {
    let token = cluster.with_card(&MAK).await;
    assert_eq!(token.answer.function_status, "");
    assert_eq!(token.answer.scopes, ["security-management"]);
}

async fn r8_without_email_nobody_initiates_and_the_answer_is_everybody_s(cluster: &Cluster) {
    let without = cluster.ask_activation(&HO).await.unwrap();
    let with = cluster.ask_activation(&NG).await.unwrap();
    assert_eq!(without, with);
    let code = cluster.mailed(&NG, "activation-code").await;
    let proof = Proof::CardPassword(CARD.to_owned());
    let channel = proto::account::v1::Channel::Authenticator;
    let begun = cluster.begin_initiation(&HO, &code, proof, channel).await;
    assert_eq!(refused(begun), "CREDENTIALS_REJECTED");
}

async fn r30_r31_initiation_sets_password_and_channel_at_once(cluster: &Cluster) {
    cluster.ask_activation(&WONG).await.unwrap();
    let code = cluster.mailed(&WONG, "activation-code").await;
    let before = cluster.account(&WONG).await.unwrap();
    // The code alone never initiates (S24).
    let channel = proto::account::v1::Channel::Authenticator;
    let proof = Proof::CardPassword(OTP.to_owned());
    let begun = cluster.begin_initiation(&WONG, &code, proof, channel).await;
    assert_eq!(refused(begun), "CREDENTIALS_REJECTED");
    let after = cluster.account(&WONG).await.unwrap();
    assert_eq!((before.stage, before.channel), (after.stage, after.channel));
    for person in [&WONG, &CHEUNG, &LAU] {
        let done = cluster.sets_up_app(person).await;
        assert_eq!(done.carry_forward(), CarryForward::CarriedForward);
    }
    cluster.sets_up_mail(&LEE).await;
    let after = cluster.account(&WONG).await.unwrap();
    assert!(after.stage != before.stage && after.channel != before.channel);
}

async fn r3_r23_r32_who_initiated_logs_in_with_otp_and_with_the_card_as_before(cluster: &Cluster) {
    let online = cluster.with_app(&WONG).await;
    assert_eq!(online.answer.function_status, NOT_AVAILABLE);
    assert_eq!(online.answer.scopes, ["online-functions"]);
    let by = By::App(APP);
    let reports = cluster.log_in(&WONG, CCMS_REPORTS, OTP, by).await.unwrap();
    assert_eq!(reports.answer.scopes, ["overnight-report-download"]);
    assert!(cluster.good(&online, "online-functions").await, "R23");
    assert!(!cluster.good(&online, "overnight-report-download").await);
    let card = cluster.with_card(&WONG).await;
    assert_eq!(card.answer.scopes.len(), 2);
    assert_eq!(cluster.with_app(&CHEUNG).await.answer.function_status, "");
    cluster.log_in(&LEE, CCMS_OTP, OTP, By::Mail).await.unwrap();
}

async fn r50_portals_are_not_interchangeable(cluster: &Cluster) {
    let user = cluster.log_in(&CHAN, DMS_CARD, CARD, By::Card).await;
    assert_eq!(refused(user), "WRONG_PORTAL");
    let admin = cluster.log_in(&MAK, CCMS_CARD, CARD, By::Card).await;
    assert_eq!(refused(admin), "WRONG_PORTAL");
    // Before a factor was proved, nothing of the account is told.
    let unproved = cluster.log_in(&CHAN, DMS_CARD, OTP, By::Card).await;
    assert_eq!(refused(unproved), "CREDENTIALS_REJECTED");
}

async fn r48_a_password_changed_in_session_1(cluster: &Cluster) {
    let token = cluster.with_card(&TAM).await;
    let done = cluster
        .change_password(&token, CARD, CARD_S2)
        .await
        .unwrap();
    assert_eq!(done.carry_forward(), CarryForward::CarriedForward);
}

async fn r17_both_centres_refuse_in_the_gap(cluster: &Cluster) {
    let token = cluster.with_card(&CHAN).await;
    cluster.at("2023-06-10 19:59").await;
    cluster.approved().await;
    assert_eq!(refused(cluster.open().await), "EARLIER_SESSION_OPEN");
    cluster.shut_at("2023-06-10 20:00").await;
    cluster.dead(&token).await;
    for centre in [EAST, WEST] {
        let status = card_at(cluster, centre, &CHAN).await;
        assert_eq!(reason(&status), "SESSION_CLOSED");
    }
}

async fn r17_opening_takes_the_boundary_once(cluster: &Cluster) {
    let boundary = cluster.opened().await;
    assert!(boundary.log_id.is_some() && boundary.digests.is_some());
    assert_eq!(refused(cluster.open().await), "ALREADY_OPEN");
    assert_eq!(
        refused(cluster.roll_over(Vec::new()).await),
        "SESSION_NOT_CLOSED"
    );
    cluster.at("2023-06-10 21:00").await;
    for centre in [EAST, WEST] {
        let status = card_at(cluster, centre, &CHAN).await;
        assert_eq!(reason(&status), "SESSION_CLOSED");
    }
}

/// Each initiation that session 1 acknowledged is in the boundary (R33, R35), and nobody who made
/// one is asked to set up again.
async fn r16_r37_r38_r39_r40_r41_session_2_takes_the_credentials_of_session_1(cluster: &Cluster) {
    for person in [&CHAN, &MAK, &WONG, &HO] {
        let token = cluster.with_card(person).await;
        let carry = token.answer.carry_forward();
        assert_eq!(carry, CarryForward::DiscardedAtRollover);
    }
    for person in [&WONG, &CHEUNG, &LAU] {
        cluster.with_app(person).await;
    }
    cluster.log_in(&LEE, CCMS_OTP, OTP, By::Mail).await.unwrap();
    let status = card_at(cluster, EAST, &CHAN).await;
    assert_eq!(reason(&status), "CENTRE_NOT_SERVING", "R18");
}

async fn r42_r43_r45_r47_r53_session_2_takes_writes_and_says_that_they_go(cluster: &Cluster) {
    let gone = CarryForward::DiscardedAtRollover;
    for person in [&WONG, &CHEUNG] {
        let token = cluster.with_app(person).await;
        let done = cluster.change_password(&token, OTP, OTP_S2).await.unwrap();
        assert_eq!(done.carry_forward(), gone);
        let option = person.otp_option();
        cluster
            .log_in(person, option, OTP_S2, By::App(APP))
            .await
            .unwrap();
    }
    let card = cluster.with_card(&CHAN).await;
    let done = cluster.change_password(&card, CARD, CARD_S2).await.unwrap();
    assert_eq!(done.carry_forward(), gone, "R53");
    let token = cluster.with_app(&LAU).await;
    let done = cluster.replace_app(&token, OTP, "app-s2").await.unwrap();
    assert_eq!(done.carry_forward(), gone);

    let done = cluster.sets_up_app(&NG).await;
    assert_eq!(done.carry_forward(), gone, "R42");
    assert!(done.notice.contains("NOT carried forward"), "R42");
    let ng = cluster.with_app(&NG).await;
    let admin = cluster.with_card(&CHEUNG).await;
    let done = cluster.suspend(&admin, &NG).await.unwrap();
    assert_eq!(done.carry_forward(), gone, "R47");
    cluster.dead(&ng).await;
    // An emergency is two commands: one stays, one acts where people are logging in.
    let ho = cluster.with_card(&HO).await;
    let done = cluster.suspend_main(&HO).await.unwrap();
    assert_eq!(done.carry_forward(), CarryForward::CarriedForward);
    let done = cluster.suspend_serving(&HO).await.unwrap();
    assert_eq!(done.carry_forward(), gone);
    cluster.dead(&ho).await;
}

async fn r44_the_rollover_asks_for_answers_and_runs_once_i8(cluster: &Cluster) {
    let bare = settled(|| cluster.roll_over(Vec::new())).await;
    assert_eq!(refused(bare), "MUST_REPEAT_UNANSWERED");
    let done = cluster.rolled_over(Answer::Waive).await;
    assert!(!done.already_done);
    assert_eq!(done.business_day, "2023-06-12", "R49");
    let again = cluster.roll_over(Vec::new()).await.unwrap();
    assert!(again.already_done);
    assert_eq!(again.evidence, done.evidence);
}

async fn r54_nobody_logs_in_on_sunday(cluster: &Cluster) {
    cluster.at("2023-06-11 12:00").await;
    for centre in [EAST, WEST] {
        let status = card_at(cluster, centre, &CHAN).await;
        assert_eq!(reason(&status), "SESSION_CLOSED");
    }
}

async fn r34_r36_r48_r49_monday_has_what_session_1_set_up(cluster: &Cluster) {
    for person in [&WONG, &CHEUNG, &LAU] {
        let token = cluster.with_app(person).await;
        assert_eq!(token.answer.function_status, "");
        assert_eq!(token.answer.carry_forward(), CarryForward::CarriedForward);
    }
    cluster.log_in(&LEE, CCMS_OTP, OTP, By::Mail).await.unwrap();
    cluster
        .log_in(&TAM, CCMS_CARD, CARD_S2, By::Card)
        .await
        .unwrap();
}

async fn r44_r45_r47_r53_monday_has_nothing_of_session_2(cluster: &Cluster) {
    for (person, option, password, by) in [
        (&WONG, CCMS_OTP, OTP_S2, By::App(APP)),
        (&CHEUNG, DMS_OTP, OTP_S2, By::App(APP)),
        (&LAU, CCMS_OTP, OTP, By::App("app-s2")),
        (&NG, CCMS_OTP, OTP, By::App(APP)),
        (&CHAN, CCMS_CARD, CARD_S2, By::Card),
        // What an operator did on the main line stands.
        (&HO, CCMS_CARD, CARD, By::Card),
    ] {
        let done = cluster.log_in(person, option, password, by).await;
        assert_eq!(refused(done), "CREDENTIALS_REJECTED", "{person:?}");
    }
    cluster.with_card(&CHAN).await;
    cluster.with_card(&NG).await;
}

async fn r51_r56_the_matrix_fills_by_itself(cluster: &Cluster) {
    let matrix = cluster.matrix().await;
    for (session, person) in [
        (S1, &WONG),
        (S1, &CHEUNG),
        (S1, &MAK),
        (S2, &CHAN),
        (S2, &LAU),
    ] {
        let completed = matrix.iter().any(|cell| {
            let account = cell.account.rsplit('/').next().unwrap();
            cell.session == session && account == person.id && cell.completed
        });
        assert!(completed, "{} in {session}", person.id);
    }
    assert!(!cluster.audited_kinds().await.is_empty());
}

async fn r57_each_session_names_its_source(cluster: &Cluster) {
    let sessions = cluster.sessions().await;
    let sessions = sessions.into_iter().map(|entry| entry.session.unwrap());
    let named: Vec<_> = sessions
        .filter(|one| [S1, S2].contains(&one.session.as_str()))
        .collect();
    assert_eq!(named.len(), 2);
    for session in named {
        assert_eq!(session.source, "CD/OEC/SEOCH/093/2023");
    }
}

/// Looks into every file of the nodes, but for the mail that people read.
fn r52_no_secret_is_on_disk_in_clear(folder: &Path) {
    let mut folders = vec![folder.join("nodes")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "outbox") {
                    folders.push(path);
                }
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            for secret in [CARD, CARD_S2, OTP, OTP_S2, "$argon2id$"] {
                let found = bytes
                    .windows(secret.len())
                    .any(|part| part == secret.as_bytes());
                assert!(!found, "{} holds a secret", path.display());
            }
        }
    }
    assert!(files > 6 * 5);
}
