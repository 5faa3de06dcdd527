//! The annex of the circular, played by the drill's own code against six nodes in this process,
//! and what a drill says that must not pass.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::path::{Path, PathBuf};

use tests::cluster;
use tidemark::drill::report::Verdict;
use tidemark::drill::{Report, Setting, failure, play};
use tidemark::exit::Exit;
use tidemark::output::{Format, Output};

/// The drills and the data beside them.
fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Plays a drill file against a new cluster whose timetable the drill sets itself.
async fn played(drill: &Path) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let profile = cluster::found(folder.path(), "");
    let nodes = Box::pin(cluster::start_all(folder.path(), cluster::cheap())).await;
    let setting = Setting {
        profile,
        folder: deploy().join("drills"),
        replayer: PathBuf::from(env!("CARGO_BIN_EXE_replayer")),
    };
    let report = Box::pin(play(drill, setting, Output::new(Format::Json))).await;
    for node in nodes {
        node.stop().await;
    }
    report.unwrap()
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
    let people = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    for secret in [
        "harbour lights",
        "ferry pier",
        "lanterns in autumn",
        "$argon2id$",
    ] {
        assert!(!text.contains(secret) && !people.contains(secret), "R52");
    }
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
