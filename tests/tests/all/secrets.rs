//! R52: after a run that uses every kind of secret, none of them is in any file that a node
//! wrote, in what was exported, nor in what was logged; neither as it is, nor in hexadecimal,
//! base32, base64 or as numbers. The search is shown to find what is there.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use credential::key_file::Purpose;
use data_encoding::BASE32_NOPAD;
use proto::admin::v1::change_act::Act;
use proto::admin::v1::{NewCard, Plain};
use proto::audit::v1::ExportAuditRequest;
use proto::audit::v1::audit_service_client::AuditServiceClient;
use proto::auth::v1::ResendCodeRequest;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::begin_initiation_request::Proof;
use proto::auth::v1::verify_factor_request::Factor;
use proto::operator::v1::Answer;
use tests::administration::Admin;
use tests::cast::{
    ALL, APP, CARD, CARD_S2, CHAN, CHEUNG, LEE, MAK, NG, OTP, OTP_S2, SIT, WONG, YIP,
};
use tests::cluster::{S2, cheap, settled};
use tests::import::verifier;
use tests::search::{Search, Secrets, files, forms, private};
use tests::{By, Cluster, Person, Token};
use tidemark::args::{Connection, session};
use tidemark::drill::{call, request};
use tidemark::output::{Format, Output};
use tidemark::verb;

/// A password of a card that is asked for in a change request.
const CARD_ASKED_FOR: &str = "nineteen paper lanterns";
/// What somebody sets after a reset.
const AFTER_RESET: &str = "tram bells before noon";
/// What somebody sets on the branch.
const ON_BRANCH: &str = "slack water at the pier";
/// Somebody who types a password where the user id goes.
const MISTYPED: Person = Person {
    id: "red junks come home",
    ..CHAN
};

/// What everything in this process logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged() -> Log {
    let log = Log::default();
    let writer = log.clone();
    let filter = "trace,h2=warn,hyper=warn,hyper_util=warn,tower=warn,rustls=warn,sled=warn";
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || writer.clone())
        .init();
    log
}

async fn exported(cluster: &Cluster) {
    for line in ["main", "reads"] {
        let message = ExportAuditRequest {
            line: line.to_owned(),
        };
        let mut parts = call(cluster.operators(1), |channel| {
            let message = message.clone();
            async move {
                AuditServiceClient::new(channel)
                    .export_audit(request(message))
                    .await
            }
        })
        .await
        .unwrap();
        let mut file = std::fs::File::create(cluster.folder().join(format!("nodes/{line}.audit")));
        while let Some(part) = parts.message().await.unwrap() {
            file.as_mut().unwrap().write_all(&part.chunk).unwrap();
        }
    }
    let log = cluster.export(1).await;
    std::fs::rename(log, cluster.folder().join("nodes/main.log")).unwrap();
}

/// Proves a channel that is e-mail again.
async fn proves_again_by_mail(cluster: &Cluster, token: &Token) {
    cluster.mailbox_is_read().await;
    let step_up = cluster.begin_step_up(token).await.unwrap();
    let code = cluster.mailed(token.person, "channel-code").await;
    cluster
        .verify_step_up(token, &step_up, &code)
        .await
        .unwrap();
}

/// Sets a password anew, after its reset: an activation code was asked for.
async fn sets_anew(cluster: &Cluster, person: &Person, password: &str) {
    let code = cluster.mailed(person, "activation-code").await;
    let by = Proof::CardPassword(CARD.to_owned());
    let channel = proto::account::v1::Channel::Email;
    let begun = cluster.begin_initiation(person, &code, by, channel).await;
    let begun = begun.unwrap();
    let code = cluster.mailed(person, "channel-code").await;
    cluster
        .confirm_initiation(&begun.initiation_id, &code, password)
        .await
        .unwrap();
}

/// What people do in session 2, of which nothing stays: logins with a code that is sent again, a
/// step-up and another app, an initiation by each channel, changes of both passwords.
async fn on_the_branch(cluster: &Cluster, secrets: &mut Secrets) {
    let by = || By::App(APP);
    let app = settled(|| cluster.log_in(&WONG, WONG.otp_option(), OTP_S2, by())).await;
    let app = app.unwrap();
    cluster
        .replace_app(&app, OTP_S2, "of the branch")
        .await
        .unwrap();
    cluster
        .change_password(&app, OTP_S2, ON_BRANCH)
        .await
        .unwrap();
    let card = cluster.with_card(&CHAN).await;
    cluster.change_password(&card, CARD, CARD_S2).await.unwrap();

    cluster.mailbox_is_read().await;
    let front = cluster.front();
    let begun = cluster.begin(&front, &LEE, LEE.otp_option(), AFTER_RESET);
    let login_id = begun.await.unwrap().login_id;
    cluster.mailed(&LEE, "login-code").await;
    cluster.mailbox_is_read().await;
    let again = ResendCodeRequest {
        request_id: cluster.id(),
        login_id: login_id.clone(),
        client_address: tests::token::ADDRESS.to_owned(),
    };
    call(&front, |channel| {
        let again = again.clone();
        async move {
            AuthServiceClient::new(channel)
                .resend_code(request(again))
                .await
        }
    })
    .await
    .unwrap();
    let code = Factor::Code(cluster.mailed(&LEE, "login-code").await);
    let by_mail = cluster.verify(&front, &login_id, code).await.unwrap();
    secrets.add("a branch's token", &by_mail.access_token);

    // By the spoken half, and by a card's password.
    let admin = cluster.with_card(&MAK).await;
    let half = cluster.issue_half(&admin, &YIP).await.unwrap().second_half;
    secrets.add("a spoken half of the branch", &half);
    let channel = proto::account::v1::Channel::Authenticator;
    let set = cluster
        .initiate(&YIP, Proof::SecondHalf(half), channel, ON_BRANCH)
        .await;
    set.unwrap();
    cluster.sets_up_mail(&NG).await;
    for token in [&app, &card, &admin] {
        secrets.add("a branch's token", &token.text);
    }
}

/// Every code that was mailed or shown by an app, and what people carry.
fn codes(cluster: &Cluster, secrets: &mut Secrets) {
    let mut mailed = 0;
    for mail in cluster.mails() {
        for code in mail
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("Code: "))
        {
            secrets.add("a mailed code", code.trim());
            secrets.add("a mailed code, as it is kept", code.trim().replace('-', ""));
            mailed += 1;
        }
    }
    let pockets = cluster.pockets();
    for card in pockets.cards() {
        secrets.add("a card's private key", private(card.pem()));
    }
    for seed in pockets.seeds() {
        let seed = BASE32_NOPAD.decode(seed.as_bytes()).unwrap();
        secrets.add("an app's key", seed);
    }
    for code in pockets.codes() {
        secrets.add("an app's code", code);
    }
    let (keys, shown) = (pockets.seeds().len(), pockets.codes().len());
    assert!(
        mailed >= 12 && keys >= 3 && shown >= 6,
        "{mailed} {keys} {shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_no_secret_of_a_full_run_is_in_any_file_nor_in_the_log() {
    let log = logged();
    let mut secrets = Secrets::default();
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    for (what, password) in [
        ("a card's password", CARD),
        ("another password of a card", CARD_S2),
        ("a password", OTP),
        ("another password", OTP_S2),
        ("a card's password in a change request", CARD_ASKED_FOR),
        ("a password that was set after a reset", AFTER_RESET),
        ("a password of the branch", ON_BRANCH),
        ("a password in the place of a user id", MISTYPED.id),
        ("the same in capitals", &MISTYPED.id.to_uppercase()),
        ("a verifier", "$argon2id$"),
    ] {
        secrets.add(what, password);
    }

    // Of whoever is not known, a keyed digest is kept and nothing else.
    for _ in 0..2 {
        for option in [CHAN.card_option(), CHAN.otp_option()] {
            let front = cluster.front();
            cluster
                .begin(&front, &MISTYPED, option, CARD)
                .await
                .unwrap();
        }
        cluster.ask_activation(&MISTYPED).await.unwrap();
    }

    // Initiations by app and by e-mail, with each of their codes.
    cluster.ask_activation(&WONG).await.unwrap();
    let code = cluster.mailed(&WONG, "activation-code").await;
    let by = Proof::CardPassword(CARD.to_owned());
    let app = proto::account::v1::Channel::Authenticator;
    let begun = cluster.begin_initiation(&WONG, &code, by, app).await;
    let begun = begun.unwrap();
    let code = cluster
        .channel_code(&WONG, APP, begun.authenticator.as_ref())
        .await;
    cluster
        .confirm_initiation(&begun.initiation_id, &code, OTP)
        .await
        .unwrap();
    cluster.sets_up_mail(&LEE).await;
    let admin = cluster.with_card(&CHEUNG).await;
    let checker = cluster.with_card(&SIT).await;
    let other = cluster.with_card(&MAK).await;
    let half = cluster.issue_half(&other, &YIP).await.unwrap();
    secrets.add("a spoken half", &half.second_half);

    // Logins of each kind, and their tokens.
    let by_app = cluster.with_app(&WONG).await;
    let card = cluster.with_card(&CHAN).await;
    let mail = || By::Mail;
    let by_mail = cluster.log_in(&LEE, LEE.otp_option(), OTP, mail()).await;
    let by_mail = by_mail.unwrap();
    proves_again_by_mail(&cluster, &by_mail).await;
    for token in [&admin, &checker, &other, &by_app, &card, &by_mail] {
        secrets.add("a token", &token.text);
    }

    // A reset, a change request with a card's password, an import with verifiers (at the start).
    let [maker, check] = [&admin, &checker];
    let reset = Act::ResetPassword(Plain {});
    cluster.given([maker, check], &LEE.resource(), reset).await;
    cluster.ask_activation(&LEE).await.unwrap();
    sets_anew(&cluster, &LEE, AFTER_RESET).await;
    let card = Act::RegisterCard(NewCard {
        number: "K77".to_owned(),
        verifier: verifier(CARD_ASKED_FOR, cheap()),
    });
    let whom = CHEUNG.resource();
    let asked = cluster.make(Admin::Operator(1), &whom, card);
    asked.await.unwrap();
    cluster.change_password(&by_app, OTP, OTP_S2).await.unwrap();

    // New keys of both kinds, and everything sealed anew.
    let before = std::fs::read_to_string(cluster.key_file(1)).unwrap();
    cluster.rotate(3, Purpose::Seal).await;
    cluster.rotate(4, Purpose::Digest).await;
    cluster.sealed_anew().await;
    let after = std::fs::read_to_string(cluster.key_file(1)).unwrap();
    secrets.add_keys(&before);
    secrets.add_keys(&after);

    // A branch with changes of its own, thrown away.
    cluster.session_2().await;
    on_the_branch(&cluster, &mut secrets).await;
    cluster.at("2023-06-10 23:00").await;
    cluster.closed().await;
    cluster.rolled_over(Answer::Waive).await;
    let evidence = format!("{:?}", cluster.evidence().await);
    std::fs::write(cluster.folder().join("nodes/evidence"), evidence).unwrap();
    let report = session::Report {
        session: S2.to_owned(),
        dir: Some(cluster.folder().join("nodes/report")),
        connection: Connection {
            profile: cluster.folder().join("profile.toml"),
            operator: None,
            node: None,
            timeout: Duration::from_secs(20),
        },
    };
    let output = Output::new(Format::Json);
    verb::session::run(&session::Session::Report(report), output)
        .await
        .unwrap();
    for node in 1..=6 {
        cluster
            .node(node)
            .lines()
            .main()
            .trigger_snapshot()
            .await
            .unwrap();
    }
    exported(&cluster).await;
    let backup = cluster.backup("as every night").await.unwrap();
    std::fs::write(cluster.folder().join("nodes/backup"), backup).unwrap();
    codes(&cluster, &mut secrets);
    let folder = cluster.folder().join("nodes");

    let search = Search::of(&secrets);
    let paths = files(&folder);
    assert!(paths.len() > 6 * 5, "{paths:?}");
    let mut seen = 0;
    // What is in every store: a search that does not find it finds nothing.
    let mut known = Secrets::default();
    known.add("a user id", CHAN.id);
    known.add("a person's firm", YIP.participant);
    let control = Search::of(&known);
    let mut controls = 0;
    for path in &paths {
        // A snapshot that a newer one replaced meanwhile is on no disk any more.
        let Ok(bytes) = std::fs::read(path) else {
            assert!(!path.exists(), "{} cannot be read", path.display());
            continue;
        };
        seen += bytes.len();
        let found = search.find(&bytes);
        assert!(found.is_empty(), "{} holds {found:?}", path.display());
        controls += control.find(&bytes).len();
    }
    assert!(controls > 6, "nothing is found that is known to be there");
    assert!(seen > 100_000);

    let bytes = log.0.lock().unwrap().clone();
    assert!(bytes.len() > 10_000, "nothing was logged");
    let found = search.find(&bytes);
    assert!(found.is_empty(), "the log holds {found:?}");

    // And each secret, in each form, would have been found.
    for (what, value) in &secrets.0 {
        for (form, bytes) in forms(value) {
            let path = folder.join("1/planted");
            std::fs::write(
                &path,
                [b"some \xff bytes ", &bytes[..], b" and others"].concat(),
            )
            .unwrap();
            let planted = files(&folder).into_iter().find(|found| *found == path);
            let found = search.find(&std::fs::read(planted.unwrap()).unwrap());
            assert!(!found.is_empty(), "{what}, {form}, is not found");
            std::fs::remove_file(&path).unwrap();
        }
    }
    assert!(
        ALL.len() > 10 && secrets.0.len() > 60,
        "{}",
        secrets.0.len()
    );
    cluster.end().await;
}
