//! The life of an account through the gRPC API: made, changed, reset, deleted, by two people where
//! it takes two (S25, S26, S34; R9, R10).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use proto::account::v1::{AccountStatus, Channel, Method, Reset, Stage};
use proto::admin::v1::change_act::Act;
use proto::admin::v1::{ActReviewState, ChangeRequestState, NewAccount, NewCard, Plain};
use proto::auth::v1::SetUp;
use proto::auth::v1::begin_initiation_request::Proof;
use tests::administration::Admin;
use tests::cast::{APP, CARD, CCMS_OTP, CHAN, CHEUNG, HO, LEE, MAK, NG, OTP, OTP_S2, SIT, WONG};
use tests::cluster::{cheap, refused};
use tests::import::verifier;
use tests::{By, Cluster};

const PLAIN: Plain = Plain {};

#[tokio::test(flavor = "multi_thread")]
async fn what_gives_access_takes_two_people_over_the_api_s34_r9() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let maker = cluster.with_card(&CHEUNG).await;
    let checker = cluster.with_card(&SIT).await;
    let other = cluster.with_card(&MAK).await;
    let user = cluster.with_card(&CHAN).await;
    let [by, with, stranger, person] = [&maker, &checker, &other, &user].map(Admin::Token);

    cluster.suspend(&maker, &NG).await.unwrap();
    let resume = || Act::Resume(PLAIN);
    let name = cluster.make(by, &NG.resource(), resume()).await.unwrap();
    assert_eq!(refused(cluster.check(by, &name).await), "MAKER_IS_CHECKER");
    let seen = cluster.check(stranger, &name).await;
    assert_eq!(refused(seen), "NO_SUCH_CHANGE_REQUEST");
    let made = cluster.make(stranger, &NG.resource(), resume()).await;
    assert_eq!(refused(made), "OTHER_PARTICIPANT");
    let made = cluster.make(person, &NG.resource(), resume()).await;
    assert_eq!(refused(made), "NOT_ALLOWED");
    let made = cluster
        .make(Admin::Operator(1), &NG.resource(), resume())
        .await;
    assert_eq!(refused(made), "LOOKED_AFTER_BY_ADMINS");
    cluster.check(with, &name).await.unwrap();
    cluster.check(with, &name).await.unwrap();
    cluster.with_card(&NG).await;
    let decided = cluster.withdraw(by, &name).await;
    assert_eq!(refused(decided), "CHANGE_REQUEST_DECIDED");

    let requests = cluster.change_requests(by, "C00001").await.unwrap();
    let states: Vec<_> = requests.iter().map(|request| request.state()).collect();
    assert_eq!(states, [ChangeRequestState::Approved]);
    assert_eq!(requests[0].maker, "account/C00001A1");
    assert_eq!(requests[0].decider, "account/C00001A2");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_made_used_and_deleted_and_its_id_stays_taken_r10() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let maker = cluster.with_card(&CHEUNG).await;
    let checker = cluster.with_card(&SIT).await;
    let two = [&maker, &checker];

    // The first e-mail address of an account that lacked one (R8).
    let act = Act::SetEmail("ho@harbour.example".to_owned());
    cluster.given(two, &HO.resource(), act).await;
    let account = cluster.account(&HO).await.unwrap();
    assert_eq!(account.stage(), Stage::EmailRegistered);
    assert_eq!(cluster.unready().await, Vec::<String>::new());

    let create = || {
        Act::Create(NewAccount {
            title: "New".to_owned(),
            email: "new@harbour.example".to_owned(),
            card: None,
        })
    };
    let resource = "participants/C00001/users/C00001U9";
    cluster.given(two, resource, create()).await;
    let by = Admin::Token(&maker);
    let again = cluster.make(by, resource, create()).await;
    assert_eq!(refused(again), "ACCOUNT_EXISTS");
    // Its card is the clearing house's to register.
    let register = || {
        Act::RegisterCard(NewCard {
            number: "K99".to_owned(),
            verifier: verifier(CARD, cheap()),
        })
    };
    cluster.given_by_operators(resource, register()).await;
    let operator = Admin::Operator(1);
    let taken = cluster.make(operator, &LEE.resource(), register()).await;
    assert_eq!(refused(taken), "CARD_IN_USE");
    cluster.given(two, resource, Act::Delete(PLAIN)).await;
    let again = cluster.make(by, resource, create()).await;
    assert_eq!(refused(again), "ID_USED_BEFORE");

    cluster
        .given(two, &CHAN.resource(), Act::Delete(PLAIN))
        .await;
    let login = cluster
        .log_in(&CHAN, CHAN.card_option(), CARD, By::Card)
        .await;
    assert_eq!(refused(login), "CREDENTIALS_REJECTED");
    let account = cluster.account(&CHAN).await.unwrap();
    assert_eq!(account.status(), AccountStatus::Deleted);
    assert!(account.email.is_empty() && !account.has_card && account.title.is_empty());
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_password_takes_the_channel_and_a_reset_channel_the_password_s26() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let maker = cluster.with_card(&CHEUNG).await;
    let checker = cluster.with_card(&SIT).await;
    let two = [&maker, &checker];
    cluster.sets_up_app(&WONG).await;

    // The password is reset: the old one is gone, and the app must confirm a new one.
    let token = cluster.with_app(&WONG).await;
    cluster
        .given(two, &WONG.resource(), Act::ResetPassword(PLAIN))
        .await;
    cluster.dead(&token).await;
    let account = cluster.account(&WONG).await.unwrap();
    assert_eq!(account.reset(), Reset::Password);
    let login = cluster.log_in(&WONG, CCMS_OTP, OTP, By::App(APP)).await;
    assert_eq!(refused(login), "CREDENTIALS_REJECTED");
    cluster.ask_activation(&WONG).await.unwrap();
    let code = cluster.mailed(&WONG, "activation-code").await;
    // What is reset proves nothing any more.
    let reset = Proof::CurrentPassword(OTP.to_owned());
    let begun = cluster
        .begin_initiation(&WONG, &code, reset, Channel::Authenticator)
        .await;
    assert_eq!(refused(begun), "CREDENTIALS_REJECTED");
    let proof = Proof::CardPassword(CARD.to_owned());
    let begun = cluster
        .begin_initiation(&WONG, &code, proof, Channel::Email)
        .await
        .unwrap();
    assert_eq!(begun.set_up(), SetUp::Password);
    assert!(begun.authenticator.is_none());
    let wrong = cluster
        .confirm_initiation(&begun.initiation_id, "000000", OTP_S2)
        .await;
    assert_eq!(refused(wrong), "CREDENTIALS_REJECTED");
    let code = cluster.app_code(&WONG, APP).await;
    cluster
        .confirm_initiation(&begun.initiation_id, &code, OTP_S2)
        .await
        .unwrap();
    cluster
        .log_in(&WONG, CCMS_OTP, OTP_S2, By::App(APP))
        .await
        .unwrap();

    // The channel is reset: the old app is gone, and the password must go with a new one.
    cluster
        .given(two, &WONG.resource(), Act::ResetChannel(PLAIN))
        .await;
    let login = cluster.log_in(&WONG, CCMS_OTP, OTP_S2, By::App(APP)).await;
    assert_eq!(refused(login), "CREDENTIALS_REJECTED");
    cluster.ask_activation(&WONG).await.unwrap();
    let code = cluster.mailed(&WONG, "activation-code").await;
    for proof in [
        Proof::CardPassword(CARD.to_owned()),
        Proof::CurrentPassword(OTP.to_owned()),
    ] {
        let begun = cluster
            .begin_initiation(&WONG, &code, proof, Channel::Authenticator)
            .await;
        assert_eq!(refused(begun), "CREDENTIALS_REJECTED");
    }
    let proof = Proof::CurrentPassword(OTP_S2.to_owned());
    let begun = cluster
        .begin_initiation(&WONG, &code, proof, Channel::Authenticator)
        .await
        .unwrap();
    assert_eq!(begun.set_up(), SetUp::Channel);
    let enrolment = begun.authenticator.as_ref();
    let code = cluster.channel_code(&WONG, "second", enrolment).await;
    cluster
        .confirm_initiation(&begun.initiation_id, &code, "")
        .await
        .unwrap();
    cluster
        .log_in(&WONG, CCMS_OTP, OTP_S2, By::App("second"))
        .await
        .unwrap();

    // Both at once: as at the beginning.
    cluster
        .given(two, &WONG.resource(), Act::ResetBoth(PLAIN))
        .await;
    cluster.sets_up_mail(&WONG).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_address_gets_no_codes_for_a_day_and_its_changers_reset_nothing() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let maker = cluster.with_card(&CHEUNG).await;
    let checker = cluster.with_card(&SIT).await;
    cluster.sets_up_mail(&LEE).await;
    let act = Act::SetEmail("other@harbour.example".to_owned());
    cluster
        .given([&maker, &checker], &LEE.resource(), act)
        .await;
    let account = cluster.account(&LEE).await.unwrap();
    assert!(account.email_codes_from_time.is_some());
    for by in [&maker, &checker] {
        let act = Act::ResetPassword(PLAIN);
        let made = cluster.make(Admin::Token(by), &LEE.resource(), act).await;
        assert_eq!(refused(made), "EMAIL_JUST_CHANGED");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_what_was_not_seen_is_refused_by_its_etag() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let admin = cluster.with_card(&CHEUNG).await;
    let etag = cluster.account(&NG).await.unwrap().etag;
    cluster.rename(&admin, &NG, "Ng One", &etag).await.unwrap();
    let late = cluster.rename(&admin, &NG, "Ng Two", &etag).await;
    assert_eq!(refused(late), "ETAG_MISMATCH");
    assert_eq!(cluster.account(&NG).await.unwrap().title, "Ng One");
    let unlock = Act::Unlock(Method::Smartcard.into());
    let made = cluster
        .make(Admin::Token(&admin), &NG.resource(), unlock)
        .await;
    assert_eq!(refused(made), "ALREADY_SO");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_person_took_away_is_reviewed_by_another_over_the_api_r9_r50() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let maker = cluster.with_card(&CHEUNG).await;
    let checker = cluster.with_card(&SIT).await;
    let other = cluster.with_card(&MAK).await;
    let user = cluster.with_card(&CHAN).await;
    let [by, with, stranger, person] = [&maker, &checker, &other, &user].map(Admin::Token);
    let (any, waiting) = (ActReviewState::Unspecified, ActReviewState::Waiting);

    cluster.suspend(&maker, &NG).await.unwrap();
    cluster.revoke_card(&maker, &LEE).await.unwrap();
    cluster.with_card(&WONG).await;
    assert_eq!(cluster.end_tokens_of(&maker, &WONG).await.unwrap(), 1);
    cluster.suspend_serving(&HO).await.unwrap();
    let acts = cluster.acts_to_review(with, "C00001", waiting).await;
    let acts = acts.unwrap();
    let seen: Vec<_> = acts
        .iter()
        .map(|act| (act.kind.as_str(), act.account.clone(), act.maker.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("AccountSuspended", NG.resource(), "account/C00001A1"),
            ("CardRevoked", LEE.resource(), "account/C00001A1"),
            ("TokensEnded", WONG.resource(), "account/C00001A1"),
            ("AccountSuspended", HO.resource(), "operator/alice"),
        ]
    );
    assert_eq!(acts[0].reason, "has left the firm");
    assert_eq!(acts[2].reason, "a forgotten screen");
    assert_eq!(acts[0].participant, "participants/C00001");
    // Another firm's, and everybody's, are not its to see; a user sees none (R9, R50).
    for firm in ["C00001", "-"] {
        let seen = cluster.acts_to_review(stranger, firm, any).await;
        assert_eq!(refused(seen), "OTHER_PARTICIPANT");
    }
    let seen = cluster.acts_to_review(person, "C00001", any).await;
    assert_eq!(refused(seen), "NOT_ALLOWED");
    let own = cluster.acts_to_review(stranger, "C00002", any).await;
    assert!(own.unwrap().is_empty());

    let first = acts[0].name.as_str();
    let told = cluster.review(by, first, false).await;
    assert_eq!(refused(told), "MAKER_IS_CHECKER");
    let told = cluster.review(stranger, first, false).await;
    assert_eq!(refused(told), "NO_SUCH_ACT_REVIEW");
    let told = cluster.review(person, first, false).await;
    assert_eq!(refused(told), "NOT_ALLOWED");
    let told = cluster.review(with, "actReviews/x", false).await;
    assert_eq!(refused(told), "MALFORMED_NAME");
    let own = cluster.review(Admin::Operator(1), &acts[3].name, false);
    assert_eq!(refused(own.await), "MAKER_IS_CHECKER");

    // A review that is only tried leaves the act waiting.
    cluster.review(with, first, true).await.unwrap();
    cluster.review(with, first, false).await.unwrap();
    let again = cluster.review(with, first, false).await;
    assert_eq!(refused(again), "ALREADY_SO");
    let second = Admin::Operator(2);
    for act in &acts[1..] {
        cluster.review(second, &act.name, false).await.unwrap();
    }
    let left = cluster.acts_to_review(second, "-", waiting).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    let reviewed = ActReviewState::Reviewed;
    let done = cluster.acts_to_review(by, "C00001", reviewed).await;
    let done = done.unwrap();
    let by_whom: Vec<_> = done.iter().map(|act| act.reviewer.as_str()).collect();
    let [admin, operator] = ["account/C00001A2", "operator/bob"];
    assert_eq!(by_whom, [admin, operator, operator, operator]);
    // It undid nothing.
    let account = cluster.account(&NG).await.unwrap();
    assert_eq!(account.status(), AccountStatus::Suspended);
    cluster.end().await;
}
