//! The annex of the circular, played by the drill's own code against six nodes in this process,
//! and what a drill says that must not pass.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use credential::SystemEntropy;
use credential::secret::Token;
use tests::cluster;
use tests::search::{Search, Secrets, files, private};
use tidemark::args::{Connection, audit, log, session};
use tidemark::drill::report::Verdict;
use tidemark::drill::{Drill, Report, Setting, failure, play};
use tidemark::exit::Exit;
use tidemark::output::{Format, Output};
use tidemark::verb;

/// The drills and the data beside them.
fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Plays a drill file against a new cluster whose timetable the drill sets itself.
async fn played(drill: &Path) -> Report {
    let folder = tempfile::tempdir().unwrap();
    played_in(folder.path(), drill, async |_| ()).await
}

/// The same in a folder that stays, with what is to be done while the nodes still run.
async fn played_in(folder: &Path, drill: &Path, then: impl AsyncFnOnce(&Report)) -> Report {
    let profile = cluster::found(folder, "");
    let nodes = Box::pin(cluster::start_all(folder, cluster::cheap())).await;
    let setting = Setting {
        profile,
        folder: deploy().join("drills"),
        replayer: PathBuf::from(env!("CARGO_BIN_EXE_replayer")),
    };
    let report = Box::pin(play(drill, setting, Output::new(Format::Json))).await;
    let report = report.unwrap();
    then(&report).await;
    for node in nodes {
        node.stop().await;
    }
    report
}

/// What the command line writes into files after a drill.
async fn files_of_verbs(folder: &Path, out: &Path) {
    let output = || Output::new(Format::Json);
    let connection = || Connection {
        profile: folder.join("profile.toml"),
        operator: None,
        node: None,
        timeout: Duration::from_secs(20),
    };
    let report = session::Report {
        session: cluster::S2.to_owned(),
        dir: Some(out.join("session")),
        connection: connection(),
    };
    let report = session::Session::Report(report);
    verb::session::run(&report, output()).await.unwrap();
    for line in ["main", "reads"] {
        let export = audit::Audit::Export(audit::Export {
            line: line.to_owned(),
            file: out.join(format!("{line}.audit")),
            connection: connection(),
        });
        verb::audit::run(&export, output()).await.unwrap();
    }
    let export = log::Log::Export(log::Export {
        line: "main".to_owned(),
        file: out.join("main.log"),
        connection: connection(),
    });
    verb::log::run(&export, output()).await.unwrap();
}

/// What the people and nodes of a drill kept secret, as far as it is in files: passwords, codes
/// that were mailed, keys.
fn secrets(folder: &Path, drill: &Path) -> Secrets {
    let mut secrets = Secrets::default();
    for person in Drill::read(drill).unwrap().person {
        for password in person.passwords.values() {
            secrets.add("a password", password);
        }
    }
    secrets.add("a verifier", "$argon2id$");
    for node in 1..=6 {
        let own = folder.join(format!("nodes/{node}"));
        secrets.add_keys(&std::fs::read_to_string(own.join("keys.toml")).unwrap());
        for mail in std::fs::read_dir(own.join("data/outbox")).unwrap() {
            let mail = std::fs::read_to_string(mail.unwrap().path()).unwrap();
            for code in mail.lines().filter_map(|line| line.strip_prefix("Code: ")) {
                secrets.add("a code", code);
            }
        }
    }
    for folder in ["operators", "front-ends", "back-ends", "ca"].map(|name| folder.join(name)) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "key") {
                let pem = std::fs::read_to_string(path).unwrap();
                secrets.add("a private key", private(&pem));
            }
        }
    }
    secrets
}

/// Whether a word is written as tokens and the keys of apps are, which nobody but the drill's
/// people had: 32 bytes in base64, or 20 in base32.
fn looks_secret(word: &str) -> bool {
    let seed = |letter: u8| letter.is_ascii_uppercase() || (b'2'..=b'7').contains(&letter);
    Token::parse(word).is_ok() || (word.len() == 32 && word.bytes().all(seed))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-' && letter != '_')
}

fn written(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("drill.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn annex() -> String {
    std::fs::read_to_string(deploy().join("drills/annex-1.toml")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_annex_passes_with_every_proof_and_its_report_says_what_was_carried_and_forgotten() {
    let report = played(&deploy().join("drills/annex-1.toml")).await;
    let failed = report
        .steps
        .iter()
        .filter(|step| step.result == Verdict::Fail);
    let failed: Vec<_> = failed.map(|step| (&step.title, &step.told)).collect();
    assert!(failed.is_empty(), "{failed:?}");
    for id in [
        "I1",
        "I3",
        "I4",
        "I5",
        "I6",
        "R51",
        "nodes, full",
        "nodes, account",
    ] {
        let proof = report.proofs.iter().find(|proof| proof.id == id);
        let proof = proof.unwrap_or_else(|| panic!("there is no proof {id}"));
        assert_eq!(proof.result, Verdict::Pass, "{proof:?}");
    }
    assert_eq!(report.exit(), Exit::Done);
    assert!(failure(&report).is_none());
    assert_eq!(report.source, "CD/OEC/SEOCH/093/2023", "R57");

    // Read back from its file, as an auditor would.
    let folder = tempfile::tempdir().unwrap();
    report.write(folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for list in [
        "carried",
        "forgotten",
        "must_repeat",
        "matrix",
        "proofs",
        "steps",
    ] {
        assert!(!json[list].as_array().unwrap().is_empty(), "{list}");
    }
    let carried = json["carried"].as_array().unwrap();
    assert!(carried.iter().all(|one| one["found_after"] == true), "I3");
    let read = Report::read(&folder.path().join("report.json")).unwrap();
    assert!(read.contradictions().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_no_secret_of_a_drill_is_in_a_file_that_the_command_line_writes() {
    let drill = deploy().join("drills/annex-1.toml");
    let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let played = played_in(folder.path(), &drill, async |report| {
        report.write(out.path()).unwrap();
        files_of_verbs(folder.path(), out.path()).await;
    });
    assert_eq!(Box::pin(played).await.exit(), Exit::Done);
    let secrets = secrets(folder.path(), &drill);
    let count = |what: &str| secrets.0.iter().filter(|(name, _)| name == what).count();
    for what in [
        "a password",
        "a code",
        "a key of the key file",
        "a private key",
    ] {
        assert!(count(what) > 3, "{what}: {}", count(what));
    }
    let search = Search::of(&secrets);
    let mut known = Secrets::default();
    known.add("a user id", "C00001U1");
    let control = Search::of(&known);
    let mut controls = 0;
    let paths = files(out.path());
    assert_eq!(paths.len(), 2 + 2 + 2 + 1, "{paths:?}");
    for path in paths {
        let bytes = std::fs::read(&path).unwrap();
        let found = search.find(&bytes);
        assert!(found.is_empty(), "{} holds {found:?}", path.display());
        controls += control.find(&bytes).len();
        if let Ok(text) = String::from_utf8(bytes) {
            let found = words(&text).find(|word| looks_secret(word));
            assert_eq!(found, None, "{}", path.display());
        }
    }
    assert!(controls > 6, "nothing is found that is known to be there");
    // What is looked for by its form would be found.
    let token = Token::random(&SystemEntropy::new());
    let text = format!("a token: {}, it says", *token.text());
    assert!(words(&text).any(looks_secret));
    assert!(words("otpauth=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP").any(looks_secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_with_one_wrong_expectation_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let right = "do.unready = { person = \"ho\" }";
    let text = annex().replace(right, "do.unready = { person = \"chan\" }");
    assert_ne!(text, annex());
    let report = played(&written(folder.path(), &text)).await;
    let failed = report
        .steps
        .iter()
        .filter(|step| step.result == Verdict::Fail);
    assert_eq!(failed.count(), 1, "{:?}", report.steps);
    assert_eq!(report.result, Verdict::Fail);
    assert_eq!(failure(&report).unwrap().exit.code(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_whose_proof_fails_ends_with_7() {
    // The part before session 1 alone: nobody initiates, so nothing shows that I3 holds.
    let annex = annex();
    let end = annex.find("\ntitle = \"18:00, session 1").unwrap();
    let head = annex[..end].trim_end().trim_end_matches("[[part]]");
    let folder = tempfile::tempdir().unwrap();
    let report = played(&written(folder.path(), head)).await;
    let proof = report.proofs.iter().find(|proof| proof.id == "I3").unwrap();
    assert_eq!(proof.result, Verdict::Fail);
    assert_eq!(failure(&report).unwrap().exit.code(), 7);
}
