//! New passwords, wrong ones and mailed codes, over the API (S10, S15, S18, S19, S40).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use domain::attempts::FREE_FAILURES;
use domain::policy::Policy;
use proto::account::v1::Channel;
use proto::auth::v1::ResendCodeRequest;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::begin_initiation_request::Proof;
use proto::auth::v1::verify_factor_request::Factor;
use tests::administration::Admin;
use tests::cast::{APP, CARD, CARD_S2, CCMS_OTP, CHAN, LEE, OTP, OTP_S2, WONG};
use tests::cluster::{refused, settled};
use tests::{By, Cluster, Person, Token};
use tidemark::drill::{call, request};
use tonic::Status;

/// A password that was stolen elsewhere, and a list that has its SHA-1.
const STOLEN: &str = "harbour-lantern-17";
const LIST: &str = "0000000000000000000000000000000000000001:3\n\
    28BFB0C968D6E38817052FEBA205C76867CBE7A0:12\n\
    FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF\n";

/// What may not be a new password of Wong's, and why (S15, S18).
fn refused_ones() -> Vec<(String, &'static str)> {
    let ones = [
        ("", "PASSWORD_TOO_SHORT"),
        ("7 chars", "PASSWORD_TOO_SHORT"),
        ("password", "PASSWORD_BLOCKED"),
        ("PassWord", "PASSWORD_BLOCKED"),
        (WONG.id, "PASSWORD_BLOCKED"),
        ("wong@harbour.example", "PASSWORD_BLOCKED"),
        (STOLEN, "PASSWORD_BREACHED"),
    ];
    let ones = ones.map(|(password, reason)| (password.to_owned(), reason));
    let long = [("x".repeat(4_097), "PASSWORD_TOO_LONG")];
    ones.into_iter().chain(long).collect()
}

/// The nodes of the east hold new passwords to the list from now on.
async fn list_is_configured(cluster: &mut Cluster) {
    for node in 1..=3 {
        let folder = cluster.folder().join(format!("nodes/{node}"));
        std::fs::write(folder.join("stolen.txt"), LIST).unwrap();
        let config = folder.join("node.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let text = format!("breached_passwords = \"stolen.txt\"\n{text}");
        std::fs::write(&config, text).unwrap();
        cluster.stop(node).await;
        cluster.restart(node).await;
    }
}

/// Refuses each with its reason, in both languages, and quotes none.
fn held_to_the_rules<T>(told: Result<T, Status>, password: &str, reason: &str) {
    let status = told.err().unwrap();
    // The word itself is in each text.
    let told_apart = !["", "password"].contains(&password);
    let quoted = told_apart && status.message().contains(password);
    assert!(!quoted, "{status:?}");
    let mut words = status.details().windows(7);
    assert!(words.any(|word| word == b"zh-Hant"), "R12: {status:?}");
    assert_eq!(refused::<()>(Err(status)), reason, "{password}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_is_held_to_the_rules_wherever_it_is_set_s15_s18_s19() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    list_is_configured(&mut cluster).await;

    // At an initiation: nothing is set, and the code is not used up.
    settled(|| cluster.ask_activation(&WONG)).await.unwrap();
    let code = cluster.mailed(&WONG, "activation-code").await;
    let proof = Proof::CardPassword(CARD.to_owned());
    let app = Channel::Authenticator;
    let begun = cluster.begin_initiation(&WONG, &code, proof, app).await;
    let begun = begun.unwrap();
    let enrolment = begun.authenticator.as_ref();
    let code = cluster.channel_code(&WONG, APP, enrolment).await;
    for (password, reason) in refused_ones() {
        let told = cluster
            .confirm_initiation(&begun.initiation_id, &code, &password)
            .await;
        held_to_the_rules(told, &password, reason);
    }
    cluster
        .confirm_initiation(&begun.initiation_id, &code, OTP)
        .await
        .unwrap();

    // At a change, of either method's: the one that was there goes on.
    let by_card = cluster.with_card(&WONG).await;
    let by_app = cluster.with_app(&WONG).await;
    for (token, current, new) in [(&by_card, CARD, CARD_S2), (&by_app, OTP, OTP_S2)] {
        for (password, reason) in refused_ones() {
            let told = cluster.change_password(token, current, &password).await;
            held_to_the_rules(told, &password, reason);
        }
        let told = cluster.change_password(token, "a guess", new).await;
        assert_eq!(refused(told), "CREDENTIALS_REJECTED", "S19");
        // The other method's password is no more the current one (S38).
        let other = if current == CARD { OTP } else { CARD };
        let told = cluster.change_password(token, other, new).await;
        assert_eq!(refused(told), "CREDENTIALS_REJECTED", "S19");
    }
    cluster.with_card(&WONG).await;
    let by_app = cluster.with_app(&WONG).await;
    cluster.change_password(&by_app, OTP, OTP_S2).await.unwrap();
    let old = cluster.log_in(&WONG, CCMS_OTP, OTP, By::App(APP)).await;
    assert_eq!(refused(old), "CREDENTIALS_REJECTED");
    let new = cluster.log_in(&WONG, CCMS_OTP, OTP_S2, By::App(APP)).await;
    new.unwrap();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_of_a_current_password_wait_like_guesses_at_a_login_s13_s19_s37() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let token: Token = cluster.with_card(&CHAN).await;
    for _ in 0..FREE_FAILURES {
        let told = cluster.change_password(&token, "a guess", CARD_S2).await;
        assert_eq!(refused(told), "CREDENTIALS_REJECTED");
    }
    let told = cluster.change_password(&token, CARD, CARD_S2).await;
    assert_eq!(refused(told), "RATE_LIMITED");
    let login = cluster
        .log_in(&CHAN, CHAN.card_option(), CARD, By::Card)
        .await;
    assert_eq!(refused(login), "RATE_LIMITED", "one count for both");
    cluster.until(cluster.now().await.plus(61_000)).await;
    cluster
        .change_password(&token, CARD, CARD_S2)
        .await
        .unwrap();
    cluster.end().await;
}

/// Begins a login of somebody whose channel is e-mail: its id, and the code that came.
async fn by_mail(cluster: &Cluster, person: &Person) -> (String, String) {
    cluster.mailbox_is_read().await;
    let front = cluster.front();
    let begun = cluster
        .begin(&front, person, person.otp_option(), OTP)
        .await;
    let login_id = begun.unwrap().login_id;
    (login_id, cluster.mailed(person, "login-code").await)
}

async fn proves(cluster: &Cluster, login_id: &str, code: &str) -> Result<(), Status> {
    let factor = Factor::Code(code.to_owned());
    let front = cluster.front();
    cluster.verify(&front, login_id, factor).await.map(drop)
}

async fn resend(cluster: &Cluster, login_id: &str) -> Result<(), Status> {
    let message = ResendCodeRequest {
        request_id: cluster.id(),
        login_id: login_id.to_owned(),
        client_address: tests::token::ADDRESS.to_owned(),
    };
    let front = cluster.front();
    let answer = call(&front, |channel| {
        let message = message.clone();
        async move {
            AuthServiceClient::new(channel)
                .resend_code(request(message))
                .await
        }
    });
    answer.await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailed_code_is_its_own_logins_once_and_for_minutes_s10_s11() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let longest = Policy::default();
    let longer = Policy {
        code_life_ms: longest.code_life_ms + 1,
        ..longest.clone()
    };
    let set = cluster.set_policy(1, &longer).await;
    assert_eq!(refused(set), "BAD_POLICY", "ten minutes at most");
    assert_eq!(cluster.policy().await, longest);
    cluster.sets_up_mail(&LEE).await;
    let no = "CREDENTIALS_REJECTED";

    // Another login's code is no better than a guess, of the same person too.
    let (first, code_of_first) = by_mail(&cluster, &LEE).await;
    let (second, code_of_second) = by_mail(&cluster, &LEE).await;
    assert_ne!(code_of_first, code_of_second);
    let told = proves(&cluster, &second, &code_of_first).await;
    assert_eq!(refused(told), no);
    let told = proves(&cluster, &first, &code_of_second).await;
    assert_eq!(refused(told), no);
    // Its own proves it, once.
    proves(&cluster, &second, &code_of_second).await.unwrap();
    let told = proves(&cluster, &second, &code_of_second).await;
    assert_eq!(refused(told), no);
    let told = proves(&cluster, &first, &code_of_second).await;
    assert_eq!(refused(told), no);
    proves(&cluster, &first, &code_of_first).await.unwrap();

    // One that was sent again takes the place of the one before.
    let (login, before) = by_mail(&cluster, &LEE).await;
    cluster.mailbox_is_read().await;
    resend(&cluster, &login).await.unwrap();
    let again = cluster.mailed(&LEE, "login-code").await;
    let told = proves(&cluster, &login, &before).await;
    assert_eq!(refused(told), no);
    proves(&cluster, &login, &again).await.unwrap();

    // And it runs out, before its login does.
    let short = Policy {
        code_life_ms: 60_000,
        login_life_ms: 10 * 60_000,
        ..longest
    };
    cluster.has_policy(&short).await;
    let (login, code) = by_mail(&cluster, &LEE).await;
    cluster.until(cluster.now().await.plus(60_000)).await;
    let told = proves(&cluster, &login, &code).await;
    assert_eq!(refused(told), no);
    cluster.mailbox_is_read().await;
    resend(&cluster, &login).await.unwrap();
    let again = cluster.mailed(&LEE, "login-code").await;
    proves(&cluster, &login, &again).await.unwrap();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_names_no_channel_gets_the_app_and_each_token_says_which_s40() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.ask_activation(&WONG).await.unwrap();
    let code = cluster.mailed(&WONG, "activation-code").await;
    let proof = Proof::CardPassword(CARD.to_owned());
    let unsaid = Channel::Unspecified;
    let begun = cluster.begin_initiation(&WONG, &code, proof, unsaid).await;
    let begun = begun.unwrap();
    assert!(begun.authenticator.is_some(), "the app is the default");
    let enrolment = begun.authenticator.as_ref();
    let code = cluster.channel_code(&WONG, APP, enrolment).await;
    let confirmed = cluster
        .confirm_initiation(&begun.initiation_id, &code, OTP)
        .await;
    confirmed.unwrap();
    cluster.sets_up_mail(&LEE).await;
    cluster.with_app(&WONG).await;
    let mail = cluster.log_in(&LEE, LEE.otp_option(), OTP, By::Mail).await;
    mail.unwrap();
    for (person, channel) in [(&WONG, Channel::Authenticator), (&LEE, Channel::Email)] {
        let resource = person.resource();
        let tokens = cluster.tokens_of(Admin::Operator(1), &resource).await;
        let tokens = tokens.unwrap();
        let channels: Vec<_> = tokens.iter().map(|one| one.channel()).collect();
        assert_eq!(channels, [channel]);
    }
    cluster.end().await;
}
