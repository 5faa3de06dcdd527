//! The migration from smartcards to 2FA through the gRPC API: go-live as data (R1, R2, R3), the
//! methods of a firm and of a person, enrolment with its deadline (R5, R6), readiness (R8, R10),
//! and the revocation list of smartcards (S36).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use credential::authority::{Authority, Validity};
use credential::card::{Anchors, Challenge, Revocations, Serial, verify};
use domain::portal::Portal;
use domain::{ClusterId, LineId, LineRef, UnixMs};
use proto::account::v1::{Method, MethodState};
use proto::admin::v1::change_act::Act;
use tests::administration::Admin;
use tests::cast::{
    APP, CARD, CCMS_CARD, CCMS_OTP, CCMS_REPORTS, CHAN, CHEUNG, DMS_CARD, DMS_OTP, HO, LAU, LEE,
    NG, OTP, SIT, TAM, WONG,
};
use tests::cluster::{S1, TIMETABLE, local, refused};
use tests::{By, Cluster, Person};
use tidemark::refusal::fact;

const GO_LIVE: &str = "2023-06-12";

/// Logs in with the card, and gives why not.
async fn card_refused(cluster: &Cluster, person: &'static Person, password: &str) -> String {
    let option = person.card_option();
    let login = cluster.log_in(person, option, password, By::Card).await;
    refused(login)
}

/// Monday morning. Session 1's close may come as late as that, with the clock, and takes the step
/// of its codes with it; a minute later they are accepted again.
async fn monday(cluster: &Cluster) {
    cluster.shut_at("2023-06-10 20:01").await;
    cluster.serves_at("2023-06-12 08:00").await;
    cluster.serves_at("2023-06-12 08:01").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_approved_go_live_smartcards_are_refused_with_a_clear_text_r1_r2_r3() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.sets_up_app(&WONG).await;

    // One operator alone plans nothing, and a front end cannot even ask.
    assert_eq!(cluster.schedule_go_live(1, GO_LIVE).await.unwrap(), (1, 2));
    assert_eq!(cluster.schedule_go_live(1, GO_LIVE).await.unwrap(), (1, 2));
    let waiting = cluster.migration().await;
    assert!(waiting.go_live.is_none());
    assert_eq!(waiting.proposals[0].operators, ["alice"]);
    let asked = cluster
        .schedule_go_live_at(&cluster.front(), GO_LIVE, None)
        .await;
    assert_eq!(refused(asked), "NOT_ALLOWED");
    assert_eq!(cluster.schedule_go_live(2, GO_LIVE).await.unwrap(), (2, 2));
    let approved = cluster.approve_go_live(1, "2023-06-13").await;
    assert_eq!(refused(approved), "GO_LIVE_SCHEDULED");
    cluster.approve_go_live(1, GO_LIVE).await.unwrap();
    cluster.approve_go_live(2, GO_LIVE).await.unwrap();
    let planned = cluster.migration().await.go_live.unwrap();
    assert_eq!(
        (planned.approval.as_str(), planned.live),
        ("SFC 2023/77", false)
    );

    // Until then both methods work (R3).
    cluster.with_card(&CHAN).await;
    cluster.with_app(&WONG).await;
    monday(&cluster).await;

    let login = cluster.log_in(&CHAN, CCMS_CARD, CARD, By::Card).await;
    let status = login.err().unwrap();
    assert!(status.message().contains("one-time password"), "{status:?}");
    let from = fact(&status, "from").unwrap();
    assert!(from.starts_with("2023-06-12 00:00:00"), "{from}");
    assert!(fact(&status, "support").is_some(), "R11");
    // The same for everybody, before anything is asked of them.
    assert_eq!(card_refused(&cluster, &CHAN, "a guess").await, "METHOD_OFF");
    assert_eq!(card_refused(&cluster, &CHEUNG, CARD).await, "METHOD_OFF");
    // Nothing was hashed and nothing opened, and each try stands in the audit all the same.
    let events = cluster.audit(cluster.operators(1), "main").await;
    for (person, tries) in [(&CHAN, 2), (&CHEUNG, 1)] {
        let refused = events.iter().filter(|event| {
            event.kind == "LoginBegun" && event.account == person.id && event.verdict == "MethodOff"
        });
        assert_eq!(refused.count(), tries, "{}", person.id);
    }
    assert_eq!(
        cluster.landing_options().await,
        [CCMS_OTP, CCMS_REPORTS, DMS_OTP]
    );
    cluster.with_app(&WONG).await;
    // Who has a card still proves it to set up 2FA.
    cluster.sets_up_app(&CHAN).await;
    cluster.with_app(&CHAN).await;

    // Postponed: the card works as it did, with the password that it had (R3).
    cluster.postpone_go_live(1, "2023-06-19").await.unwrap();
    cluster.postpone_go_live(2, "2023-06-19").await.unwrap();
    let planned = cluster.migration().await.go_live.unwrap();
    assert!(
        planned.approval.is_empty(),
        "another day wants its own approval"
    );
    cluster.with_card(&CHAN).await;
    let options = cluster.landing_options().await;
    assert!(options.contains(&CCMS_CARD.to_owned()) && options.contains(&DMS_CARD.to_owned()));
    cluster.withdraw_go_live(2).await.unwrap();
    cluster.withdraw_go_live(1).await.unwrap();
    assert!(cluster.migration().await.go_live.is_none());
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go_live_without_the_regulators_approval_switches_nothing_r1() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let past = cluster.schedule_go_live(1, "2023-06-10").await;
    assert_eq!(refused(past), "BAD_VALUES");
    cluster.schedule_go_live(1, GO_LIVE).await.unwrap();
    cluster.schedule_go_live(2, GO_LIVE).await.unwrap();
    monday(&cluster).await;
    cluster.with_card(&CHAN).await;
    let late = cluster.approve_go_live(1, GO_LIVE).await;
    assert_eq!(refused(late), "BAD_VALUES");
    let reasons = cluster.status_reasons().await;
    let told = reasons.iter().any(|text| text.contains("is not approved"));
    assert!(told, "{reasons:?}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firms_or_a_persons_method_that_is_off_is_told_only_to_who_proved_a_factor() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.sets_up_app(&WONG).await;
    let firm = "participants/C00001";
    let (card, off, on) = (Method::Smartcard, MethodState::Off, MethodState::On);
    let said = cluster.set_method(1, firm, card, off).await.unwrap();
    assert_eq!(said, (1, 2));
    cluster.with_card(&CHAN).await;
    cluster.set_method(2, firm, card, off).await.unwrap();
    let guess = card_refused(&cluster, &CHAN, "a guess").await;
    assert_eq!(guess, "CREDENTIALS_REJECTED");
    assert_eq!(card_refused(&cluster, &CHAN, CARD).await, "METHOD_OFF");
    cluster.with_card(&LAU).await;
    cluster.with_app(&WONG).await;
    let options = cluster.landing_options().await;
    assert!(
        options.contains(&CCMS_CARD.to_owned()),
        "nobody else's business"
    );
    cluster.set_method(1, firm, card, on).await.unwrap();
    cluster.set_method(2, firm, card, on).await.unwrap();
    cluster.with_card(&CHAN).await;

    let person = WONG.resource();
    let otp = Method::Otp;
    let admin = cluster.with_card(&CHEUNG).await;
    let by = Admin::Token(&admin);
    // What would come of it is judged by the same rules, and changes nothing.
    let other = cluster.disable_method(by, &LAU.resource(), otp, true).await;
    assert_eq!(refused(other), "OTHER_PARTICIPANT");
    cluster
        .disable_method(by, &person, otp, true)
        .await
        .unwrap();
    cluster.with_app(&WONG).await;
    cluster
        .disable_method(by, &person, otp, false)
        .await
        .unwrap();
    let again = cluster.disable_method(by, &person, otp, true).await;
    assert_eq!(refused(again), "ALREADY_SO");
    let login = cluster.log_in(&WONG, CCMS_OTP, OTP, By::App(APP)).await;
    assert_eq!(refused(login), "METHOD_OFF");
    let switches = cluster.account(&WONG).await.unwrap().method_switches;
    assert_eq!(switches.len(), 1);
    assert_eq!(switches[0].state(), off);
    // On again takes a second administrator.
    let checker = cluster.with_card(&SIT).await;
    let allow = Act::AllowMethod(otp.into());
    cluster.given([&admin, &checker], &person, allow).await;
    cluster.with_app(&WONG).await;

    for (name, method, reason) in [
        ("service", card, "BAD_VALUES"),
        ("participants/C99999", card, "OTHER_PARTICIPANT"),
        ("participants/C00001/users/C00001U1", otp, "MALFORMED_NAME"),
        ("everybody", otp, "MALFORMED_NAME"),
    ] {
        let said = cluster.set_method(1, name, method, off).await;
        assert_eq!(refused(said), reason, "{name}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_can_be_limited_to_the_enrolled_until_its_last_day_r5_r6() {
    let last = |day: &str| {
        let only = format!(
            "closes = \"20:00\"\nenrolled_only = true\nenrol_by = \"{day}\"\n\
             not_enrolled_text = \"This test is for participants that enrolled.\"\n"
        );
        let annex = TIMETABLE.split_once("[[day]]").unwrap();
        let day = annex.1.replacen("closes = \"20:00\"\n", &only, 1);
        format!("{}[[day]]{day}", annex.0)
    };
    let cluster = Box::pin(Cluster::with_timetable(&last("2023-06-10"))).await;
    let enrolled = cluster.enrol("C00001", S1).await.unwrap();
    assert_eq!(enrolled.last_day, "2023-06-10");
    let firm = enrolled.participant.unwrap();
    assert_eq!(firm.enrolled_sessions, [S1]);
    assert_eq!(refused(cluster.enrol("C00001", S1).await), "ALREADY_SO");
    let unknown = cluster.enrol("C00001", "S9-2023-06-10").await;
    assert_eq!(refused(unknown), "NO_SUCH_SESSION");
    cluster.enrol("C00002", S1).await.unwrap();
    let left = cluster.withdraw_enrolment("C00002", S1).await.unwrap();
    assert!(left.is_empty());

    cluster.serves_at("2023-06-10 18:00").await;
    cluster.with_card(&CHAN).await;
    let guess = card_refused(&cluster, &LAU, "a guess").await;
    assert_eq!(guess, "CREDENTIALS_REJECTED");
    let login = cluster.log_in(&LAU, CCMS_CARD, CARD, By::Card).await;
    let status = login.err().unwrap();
    assert_eq!(
        status.message(),
        "This test is for participants that enrolled."
    );
    assert_eq!(refused::<()>(Err(status)), "NOT_ENROLLED");
    cluster.end().await;

    // The last day was the Friday week before.
    let cluster = Box::pin(Cluster::with_timetable(&last("2023-06-02"))).await;
    let late = cluster.enrol("C00001", S1).await.err().unwrap();
    assert!(late.message().contains("Fri 2 Jun 2023"), "{late:?}");
    assert_eq!(fact(&late, "last_day").unwrap(), "2023-06-02");
    assert_eq!(refused::<()>(Err(late)), "ENROLMENT_CLOSED");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_counts_each_stage_by_participant_r8_r10() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let of_firm = |rows: Vec<proto::admin::v1::ParticipantReadiness>| {
        let mut rows = rows.into_iter();
        rows.find(|row| row.participant == "participants/C00001")
            .unwrap()
    };
    let before = of_firm(cluster.readiness().await);
    assert_eq!((before.without_email_count, before.initiated_count), (1, 0));
    cluster.sets_up_app(&WONG).await;
    cluster.sets_up_mail(&LEE).await;
    let maker = cluster.with_card(&CHEUNG).await;
    let checker = cluster.with_card(&SIT).await;
    cluster.revoke_card(&maker, &LEE).await.unwrap();
    cluster.suspend(&maker, &NG).await.unwrap();
    let act = Act::SetEmail("ho@harbour.example".to_owned());
    cluster.given([&maker, &checker], &HO.resource(), act).await;
    let after = of_firm(cluster.readiness().await);
    assert_eq!(after.account_count, before.account_count);
    assert_eq!((after.without_email_count, after.initiated_count), (0, 2));
    assert_eq!((after.two_factor_only_count, after.suspended_count), (1, 1));
    let sum = after.without_email_count + after.ready_count + after.initiated_count;
    assert_eq!(sum, after.account_count);
    cluster.end().await;
}

/// The serial number of somebody's card, as a check of it finds it.
fn serial(cluster: &Cluster, authority: &Authority, person: &Person, now: UnixMs) -> Serial {
    let challenge = Challenge {
        line: LineRef {
            cluster: ClusterId([0; 16]),
            line: LineId::Main,
            epoch: 1,
        },
        portal: Portal::Ccms,
        option: "test".to_owned(),
        user_id: person.id.to_owned(),
        nonce: [0; 16],
        expires_at: now.plus(1_000),
    };
    let (chain, signature) = cluster.signed_by_card(person, &challenge);
    let anchors = Anchors::from_pem(authority.certificate_pem()).unwrap();
    let revocations = Revocations::default();
    let proved = verify(&anchors, &revocations, &chain, &challenge, &signature, now);
    proved.unwrap().serial
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_card_does_not_log_in_and_an_overdue_list_stops_all_cards_s36() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.sets_up_app(&WONG).await;
    assert!(cluster.revocations().await.is_none());
    cluster.with_card(&CHAN).await;
    cluster.with_card(&TAM).await;

    let authority = cluster.card_authority();
    let now = local("2023-06-10 18:00");
    let day = |number: u64| Validity {
        not_before: now,
        not_after: now.plus(number * 3_600_000),
    };
    let revoked = [serial(&cluster, &authority, &CHAN, now)];
    let list = authority.revoke(7, &revoked, day(6)).unwrap();
    let stranger = Authority::create("no anchor", day(24)).unwrap();
    let forged = stranger.revoke(8, &[], day(6)).unwrap();
    let forged = cluster.set_revocations(&forged).await;
    assert_eq!(refused(forged), "BAD_REVOCATION_LIST");
    let set = cluster.set_revocations(&list).await.unwrap();
    assert_eq!(set.revocation_list.unwrap().revoked_count, 1);
    let held = cluster.revocations().await.unwrap();
    assert_eq!((held.number, held.revoked_count), (7, 1));
    let again = cluster.set_revocations(&list).await;
    assert_eq!(refused(again), "ALREADY_SO");
    let older = authority.revoke(6, &[], day(6)).unwrap();
    let older = cluster.set_revocations(&older).await;
    assert_eq!(refused(older), "REVOCATION_LIST_OLDER");

    // Nothing is told of why: the card proves nothing any more.
    let reason = card_refused(&cluster, &CHAN, CARD).await;
    assert_eq!(reason, "CREDENTIALS_REJECTED");
    cluster.with_card(&TAM).await;

    // The next update was due at midnight, and the grace of a day is over on Monday.
    monday(&cluster).await;
    let reason = card_refused(&cluster, &TAM, CARD).await;
    assert_eq!(reason, "REVOCATION_LIST_OVERDUE");
    assert_eq!(
        cluster.landing_options().await,
        [CCMS_OTP, CCMS_REPORTS, DMS_OTP]
    );
    cluster.with_app(&WONG).await;
    let newer = authority.revoke(8, &revoked, day(72)).unwrap();
    cluster.set_revocations(&newer).await.unwrap();
    cluster.with_card(&TAM).await;
    cluster.end().await;
}
