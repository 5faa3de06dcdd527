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
use proto::auth::v1::begin_initiation_request::Proof;
use proto::operator::v1::Answer;
use tests::administration::Admin;
use tests::cast::{ALL, CARD, CARD_S2, CHAN, CHEUNG, LEE, MAK, OTP, OTP_S2, SIT, WONG, YIP};
use tests::cluster::{S2, cheap, settled};
use tests::import::verifier;
use tests::search::{Search, Secrets, files, forms, private};
use tests::{By, Cluster};
use tidemark::args::{Connection, session};
use tidemark::drill::{call, request};
use tidemark::output::{Format, Output};
use tidemark::verb;

/// A password of a card that is asked for in a change request.
const CARD_ASKED_FOR: &str = "nineteen paper lanterns";

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
        ("a verifier", "$argon2id$"),
    ] {
        secrets.add(what, password);
    }

    // Initiations by app and by e-mail, with each of their codes.
    cluster.ask_activation(&WONG).await.unwrap();
    let code = cluster.mailed(&WONG, "activation-code").await;
    secrets.add("an activation code", &code);
    let by = Proof::CardPassword(CARD.to_owned());
    let app = proto::account::v1::Channel::Authenticator;
    let begun = cluster.begin_initiation(&WONG, &code, by, app).await;
    let begun = begun.unwrap();
    let code = cluster
        .channel_code(&WONG, tests::cast::APP, begun.authenticator.as_ref())
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
    cluster.mailbox_is_read().await;
    let front = cluster.front();
    let begun = cluster.begin(&front, &LEE, LEE.otp_option(), OTP).await;
    let login = begun.unwrap().login_id;
    let code = cluster.mailed(&LEE, "login-code").await;
    secrets.add("a login's code", &code);
    let factor = proto::auth::v1::verify_factor_request::Factor::Code(code);
    let by_mail = cluster.verify(&front, &login, factor).await.unwrap();
    for token in [&admin, &checker, &other, &by_app, &card].map(|token| &token.text) {
        secrets.add("a token", token);
    }
    secrets.add("a token", &by_mail.access_token);

    // A reset, a change request with a card's password, an import with verifiers (at the start).
    let [maker, check] = [&admin, &checker];
    let reset = Act::ResetPassword(Plain {});
    cluster.given([maker, check], &LEE.resource(), reset).await;
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
    {
        let pockets = cluster.pockets();
        for card in pockets.cards() {
            secrets.add("a card's private key", private(card.pem()));
        }
        for seed in pockets.seeds() {
            secrets.add(
                "an app's key",
                BASE32_NOPAD.decode(seed.as_bytes()).unwrap(),
            );
        }
    }

    // A branch with changes of its own, thrown away.
    cluster.session_2().await;
    let by = || By::App(tests::cast::APP);
    let there = settled(|| cluster.log_in(&WONG, WONG.otp_option(), OTP_S2, by())).await;
    secrets.add("a branch's token", &there.unwrap().text);
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
        ALL.len() > 10 && secrets.0.len() > 30,
        "{}",
        secrets.0.len()
    );
    cluster.end().await;
}
