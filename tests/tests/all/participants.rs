//! A participant as a whole through the gRPC API: shut by one operator at once, everywhere within
//! a second; opened again and deleted by two; on a branch discarded, and to be repeated.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::time::{Duration, Instant};

use proto::account::v1::{AccountStatus, Channel};
use proto::admin::v1::ParticipantState;
use proto::auth::v1::begin_initiation_request::Proof;
use proto::auth::v1::verify_factor_request::Factor;
use proto::line::v1::CarryForward;
use proto::operator::v1::Answer;
use proto::token::v1::token_service_client::TokenServiceClient;
use proto::token::v1::watch_revocations_response::Event;
use proto::token::v1::{WatchRevocationsRequest, WatchRevocationsResponse};
use tests::cast::{APP, CARD, CCMS_OTP, CHAN, CHEUNG, LAU, LEE, MAK, NG, OTP, TAM, WONG};
use tests::cluster::{refused, until};
use tests::{By, Cluster, Person, Token};
use tidemark::drill::{at, request};
use tonic::Streaming;

/// S32: how soon an ending is seen everywhere.
const EVERYWHERE_WITHIN: Duration = Duration::from_secs(1);
/// How long a stream may take to tell what it must.
const TOLD_WITHIN: Duration = Duration::from_secs(20);
const FIRM: &str = "C00001";

/// What a login with the right card and this password is refused with.
async fn login(cluster: &Cluster, person: &'static Person, password: &str) -> String {
    let option = person.card_option();
    refused(cluster.log_in(person, option, password, By::Card).await)
}

/// Every node of the centre that serves says within a second of `ended` that the tokens are dead.
async fn dead_everywhere(cluster: &Cluster, tokens: &[&Token], ended: Instant) {
    let doors = at(cluster.back(), &cluster.centre());
    assert_eq!(doors.len(), 3);
    for door in &doors {
        for token in tokens {
            let question = token.question(token.scope(), true);
            let mut client = TokenServiceClient::new(door.channel.clone());
            let answer = client.introspect_token(request(question)).await.unwrap();
            let active = answer.into_inner().introspection.unwrap().active;
            assert!(!active, "node {}", door.node);
        }
    }
    assert!(ended.elapsed() < EVERYWHERE_WITHIN, "{:?}", ended.elapsed());
}

async fn watch(cluster: &Cluster) -> Streaming<WatchRevocationsResponse> {
    let doors = at(cluster.back(), &cluster.centre());
    let message = WatchRevocationsRequest {
        position: String::new(),
    };
    let mut client = TokenServiceClient::new(doors[0].channel.clone());
    client
        .watch_revocations(message)
        .await
        .unwrap()
        .into_inner()
}

async fn told(stream: &mut Streaming<WatchRevocationsResponse>) -> Event {
    let told = tokio::time::timeout(TOLD_WITHIN, stream.message()).await;
    told.unwrap().unwrap().unwrap().event.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_firms_people_are_out_everywhere_at_once_and_told_after_a_factor_s23_s32_s33() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.sets_up_app(&WONG).await;
    let chan = cluster.with_card(&CHAN).await;
    let wong = cluster.with_app(&WONG).await;
    let admin = cluster.with_card(&CHEUNG).await;
    let other = cluster.with_card(&LAU).await;
    cluster.ask_activation(&LEE).await.unwrap();
    let code = cluster.mailed(&LEE, "activation-code").await;
    let mut told_endings = watch(&cluster).await;

    // What would come of it is judged, and nothing is changed.
    let would = cluster.suspend_firm(FIRM, true).await.unwrap();
    let state = would.participant.unwrap().state();
    assert_eq!(state, ParticipantState::Active);
    assert!(cluster.good(&chan, chan.scope()).await);

    let done = cluster.suspend_firm(FIRM, false).await.unwrap();
    let ended = Instant::now();
    dead_everywhere(&cluster, &[&chan, &wong, &admin], ended).await;
    assert_eq!(done.carry_forward(), CarryForward::CarriedForward);
    assert!(cluster.good(&other, other.scope()).await, "another firm's");
    let Event::ParticipantEnded(ending) = told(&mut told_endings).await else {
        panic!("another ending");
    };
    assert_eq!(ending.participant, "participants/C00001");
    let again = cluster.suspend_firm(FIRM, false).await;
    assert_eq!(refused(again), "ALREADY_SO");

    // Only who proves a factor is told; its administrators are out as well, and act no more.
    assert_eq!(
        login(&cluster, &CHAN, "a guess").await,
        "CREDENTIALS_REJECTED"
    );
    assert_eq!(login(&cluster, &CHAN, CARD).await, "PARTICIPANT_SUSPENDED");
    assert_eq!(
        login(&cluster, &CHEUNG, CARD).await,
        "PARTICIPANT_SUSPENDED"
    );
    let by = By::App(APP);
    let wrong = cluster.log_in(&WONG, CCMS_OTP, "a guess", by).await;
    assert_eq!(refused(wrong), "CREDENTIALS_REJECTED");
    cluster.at("2023-06-10 18:01").await;
    let right = cluster.log_in(&WONG, CCMS_OTP, OTP, By::App(APP)).await;
    assert_eq!(refused(right), "PARTICIPANT_SUSPENDED");
    let acted = cluster.suspend(&admin, &NG).await;
    assert_eq!(refused(acted), "TOKEN_EXPIRED");
    let proof = Proof::CardPassword(CARD.to_owned());
    let begun = cluster.begin_initiation(&LEE, &code, proof, Channel::Email);
    assert_eq!(refused(begun.await), "CREDENTIALS_REJECTED");
    let asked = cluster.ask_activation(&LEE).await.unwrap();
    assert!(asked.contains("If this account can be set up"), "{asked}");

    // The accounts are as they were, and the report says why nobody comes in.
    let account = cluster.account(&CHAN).await.unwrap();
    assert_eq!(account.status(), AccountStatus::Active);
    let report = cluster.readiness().await;
    let state = |firm: &str| {
        let name = format!("participants/{firm}");
        report
            .iter()
            .find(|row| row.participant == name)
            .unwrap()
            .state()
    };
    assert_eq!(state(FIRM), ParticipantState::Suspended);
    assert_eq!(state("C00002"), ParticipantState::Active);

    // The audit has both: who did it, and whom it kept out after the factors were right.
    let events = cluster.audit(cluster.operators(1), "main").await;
    let suspended = |event: &&proto::audit::v1::AuditEvent| event.kind == "ParticipantSuspended";
    let by = events
        .iter()
        .filter(suspended)
        .find(|event| event.verdict == "Done");
    let by = by.unwrap();
    assert_eq!((by.participant.as_str(), by.account.as_str()), (FIRM, ""));
    assert!(by.detail_json.contains("by order of the board"));
    let kept_out = events.iter().any(|event| {
        event.kind == "LoginVerified"
            && event.account == CHAN.id
            && event.detail_json.contains("ParticipantSuspended")
    });
    assert!(kept_out);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resuming_a_firm_takes_a_checker_and_a_deleted_one_never_comes_back_s34() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let before = cluster.with_card(&CHAN).await;
    let stale = cluster.firm(FIRM).await.unwrap().etag;
    let done = cluster.suspend_firm(FIRM, false).await.unwrap();
    let firm = done.participant.unwrap();
    assert_eq!(firm.state(), ParticipantState::Suspended);
    assert_ne!(firm.etag, stale);

    let wrong = cluster.resume_firm(1, FIRM, &stale).await;
    assert_eq!(refused(wrong), "ETAG_MISMATCH");
    assert_eq!(
        cluster.resume_firm(1, FIRM, &firm.etag).await.unwrap(),
        (1, 2)
    );
    assert_eq!(
        cluster.resume_firm(1, FIRM, &firm.etag).await.unwrap(),
        (1, 2)
    );
    assert_eq!(login(&cluster, &CHAN, CARD).await, "PARTICIPANT_SUSPENDED");
    assert_eq!(
        cluster.resume_firm(2, FIRM, &firm.etag).await.unwrap(),
        (2, 2)
    );
    let again = cluster.with_card(&CHAN).await;
    assert!(cluster.good(&again, again.scope()).await);
    assert!(
        !cluster.good(&before, before.scope()).await,
        "no token comes back"
    );
    let active = cluster.resume_firm(1, FIRM, "").await;
    assert_eq!(refused(active), "ALREADY_SO");

    assert_eq!(cluster.delete_firm(1, FIRM).await.unwrap(), (1, 2));
    assert!(cluster.good(&again, again.scope()).await);
    assert_eq!(cluster.delete_firm(2, FIRM).await.unwrap(), (2, 2));
    dead_everywhere(&cluster, &[&again], Instant::now()).await;
    let firm = cluster.firm(FIRM).await.unwrap();
    assert_eq!(firm.state(), ParticipantState::Deleted);
    assert_eq!(login(&cluster, &CHAN, CARD).await, "CREDENTIALS_REJECTED");
    let gone = cluster.account(&CHAN).await.unwrap();
    assert_eq!(gone.status(), AccountStatus::Deleted);
    assert!(gone.email.is_empty() && gone.title.is_empty() && !gone.has_card);
    let entered = cluster.enter_firm(FIRM).await;
    assert_eq!(refused(entered), "PARTICIPANT_ID_USED");
    let resumed = cluster.resume_firm(1, FIRM, "").await;
    assert_eq!(refused(resumed), "OTHER_PARTICIPANT");
    let report = cluster.readiness().await;
    assert!(
        report
            .iter()
            .all(|row| row.participant != "participants/C00001")
    );
    cluster.with_card(&MAK).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_branch_it_is_discarded_and_repeated_where_an_operator_says_so_r44() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.session_2().await;
    let chan = cluster.with_card(&CHAN).await;
    let tam = cluster.with_card(&TAM).await;
    let lau = cluster.with_card(&LAU).await;
    let done = cluster.suspend_firm(FIRM, false).await.unwrap();
    dead_everywhere(&cluster, &[&chan], Instant::now()).await;
    assert_eq!(done.carry_forward(), CarryForward::DiscardedAtRollover);
    assert_eq!(login(&cluster, &CHAN, CARD).await, "PARTICIPANT_SUSPENDED");
    assert!(cluster.good(&lau, lau.scope()).await);
    // The emergency is two commands, each of its own line.
    let main = cluster.suspend_firm_main("C00003").await.unwrap();
    assert_eq!(main.carry_forward(), CarryForward::CarriedForward);
    assert!(main.notice.contains("do the same there"), "{}", main.notice);
    assert!(cluster.good(&tam, tam.scope()).await, "not on the branch");
    let fenced = cluster.resume_firm(1, "C00003", "").await;
    assert_eq!(refused(fenced), "BRANCH_OPEN");

    cluster.at("2023-06-10 23:00").await;
    cluster.closed().await;
    let state = cluster.firm(FIRM).await.unwrap().state();
    assert_eq!(state, ParticipantState::Active, "nothing flows");
    let preview = until("the branch's audit is at hand", async || {
        cluster.preview().await.ok()
    });
    let preview = preview.await;
    let item = preview.must_repeat.first().unwrap();
    let change = item.change.clone().unwrap();
    assert_eq!(
        (change.kind.as_str(), change.account.as_str()),
        ("ParticipantSuspension", "participants/C00001")
    );
    assert_eq!(preview.must_repeat.len(), 1);
    cluster.rolled_over(Answer::Repeat).await;
    for firm in [FIRM, "C00003"] {
        let state = cluster.firm(firm).await.unwrap().state();
        assert_eq!(state, ParticipantState::Suspended, "{firm}");
    }
    cluster.serves_at("2023-06-12 08:00").await;
    assert_eq!(login(&cluster, &CHAN, CARD).await, "PARTICIPANT_SUSPENDED");
    assert_eq!(login(&cluster, &TAM, CARD).await, "PARTICIPANT_SUSPENDED");
    cluster.with_card(&LAU).await;
    cluster.end().await;
}

/// What is off for an account or a firm is told like every fact of theirs: after a factor.
#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_is_off_is_told_to_who_proved_a_factor_and_stands_in_the_audit_s23() {
    use proto::account::v1::{Method, MethodState};
    use tests::administration::Admin;
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.sets_up_app(&WONG).await;
    let admin = cluster.with_card(&CHEUNG).await;
    let otp = Method::Otp;
    let off = cluster
        .disable_method(Admin::Token(&admin), &WONG.resource(), otp, false)
        .await;
    off.unwrap();
    for operator in [1, 2] {
        let (card, off) = (Method::Smartcard, MethodState::Off);
        let said = cluster.set_method(operator, "participants/C00003", card, off);
        said.await.unwrap();
    }
    cluster.at("2023-06-10 18:01").await;

    // A wrong password, and a wrong code after the right password, are answered as ever.
    let guess = cluster
        .log_in(&WONG, CCMS_OTP, "a guess", By::App(APP))
        .await;
    assert_eq!(refused(guess), "CREDENTIALS_REJECTED");
    let begun = cluster.begin(&cluster.front(), &WONG, CCMS_OTP, OTP).await;
    let login_id = begun.unwrap().login_id;
    let code = Factor::Code("000000".to_owned());
    let wrong = cluster.verify(&cluster.front(), &login_id, code).await;
    assert_eq!(refused(wrong), "CREDENTIALS_REJECTED");
    assert_eq!(
        login(&cluster, &TAM, "a guess").await,
        "CREDENTIALS_REJECTED"
    );

    // Who proves both is told which method, and what to use; of the firm's as of the account's.
    let right = cluster.log_in(&WONG, CCMS_OTP, OTP, By::App(APP)).await;
    let status = right.err().unwrap();
    assert!(
        status
            .message()
            .contains("one-time password is switched off")
            && status.message().contains("log in with the smartcard"),
        "{}",
        status.message()
    );
    assert_eq!(refused::<()>(Err(status)), "METHOD_OFF");
    assert_eq!(login(&cluster, &TAM, CARD).await, "METHOD_OFF");

    let events = cluster.audit(cluster.operators(1), "main").await;
    let verified = |who: &Person| {
        let of: Vec<_> = events
            .iter()
            .filter(|event| event.kind == "LoginVerified" && event.account == who.id)
            .collect();
        let last = of.last().unwrap();
        (
            last.verdict.clone(),
            last.detail_json.contains("refused: MethodOff"),
        )
    };
    assert_eq!(verified(&WONG), ("Failed".to_owned(), true));
    assert_eq!(verified(&TAM), ("Failed".to_owned(), true));
    let told_of = events
        .iter()
        .filter(|event| event.detail_json.contains("MethodOff"));
    assert_eq!(told_of.count(), 2, "of no try that failed before");
    let switched = events.iter().filter(|event| event.kind == "MethodsSet");
    let whose: Vec<_> = switched
        .map(|event| (event.account.as_str(), event.participant.as_str()))
        .collect();
    assert_eq!(whose, [(WONG.id, FIRM), ("", "C00003")]);
    cluster.end().await;
}
