//! Reports: written, read again, and checked by their own values.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use super::*;

fn equal(a: &str, b: &str) -> BTreeMap<String, String> {
    [
        ("east".to_owned(), a.to_owned()),
        ("west".to_owned(), b.to_owned()),
    ]
    .into()
}

pub(in crate::drill) fn report() -> Report {
    let change = Change {
        kind: "AccountSuspended".to_owned(),
        account: "participants/C00001/users/C00001U5".to_owned(),
        at: "2023-06-10 22:14:03+08:00".to_owned(),
        by: "account/C00001A1".to_owned(),
    };
    Report {
        schema: SCHEMA.to_owned(),
        drill: "annex-1".to_owned(),
        title: "The annex".to_owned(),
        source: "CD/OEC/SEOCH/093/2023".to_owned(),
        cluster: "0188a1f0-0000-7abc-8123-456789abcdef".to_owned(),
        result: Verdict::Pass,
        timetable: vec![SessionRow {
            session: "S2-2023-06-10".to_owned(),
            centre: "west".to_owned(),
            role: "secondary".to_owned(),
            opens: "2023-06-10 22:00:00+08:00".to_owned(),
            closes: "2023-06-10 23:00:00+08:00".to_owned(),
            source: "CD/OEC/SEOCH/093/2023".to_owned(),
            stage: "rolled over".to_owned(),
        }],
        approved_by: vec!["alice".to_owned(), "bob".to_owned()],
        boundary: Some(Boundary {
            log_id: "1-1-57".to_owned(),
            epoch: 1,
            digest: "9f3c".to_owned(),
        }),
        steps: vec![StepRow {
            part: 1,
            title: "A login".to_owned(),
            at: "2023-06-10 18:00:00+08:00".to_owned(),
            result: Verdict::Pass,
            took_ms: 12,
            told: "passes".to_owned(),
            shows: vec!["R15".to_owned()],
        }],
        measured_ms: [("opening".to_owned(), 210)].into(),
        carried: vec![Carried {
            account: "participants/C00001/users/C00001U2".to_owned(),
            acknowledged: "2023-06-10 18:00:12+08:00".to_owned(),
            found_after: true,
        }],
        forgotten: vec![change.clone()],
        must_repeat: vec![Answered {
            item: "7".to_owned(),
            change,
            answer: "repeated".to_owned(),
            reason: String::new(),
        }],
        proofs: ["I1", "I4", "I5", "I6"]
            .into_iter()
            .map(|id| Proof::of_equality(id, "they are equal", equal("9f3c", "9f3c")))
            .collect(),
        matrix: vec![Cell {
            session: "S2-2023-06-10".to_owned(),
            participant: "C00001".to_owned(),
            class: "user".to_owned(),
            account: "C00001U1".to_owned(),
            method: "smartcard".to_owned(),
            tried: 2,
            passed: 2,
            completed: true,
        }],
        anomalies: Vec::new(),
    }
}

#[test]
fn a_report_survives_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let report = report();
    report.write(&folder.path().join("out")).unwrap();
    let path = folder.path().join("out/report.json");
    assert_eq!(Report::read(&path).unwrap(), report);
    assert!(folder.path().join("out/report.md").exists());
}

#[test]
fn a_report_of_another_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = report();
    report.schema = "tidemark.drill-report/2".to_owned();
    report.write(folder.path()).unwrap();
    assert!(Report::read(&folder.path().join("report.json")).is_err());
}

#[test]
fn a_report_is_judged_by_its_values_and_not_by_its_words() {
    assert!(report().contradictions().is_empty());
    let mut forged = report();
    forged.proofs[0].equal = equal("9f3c", "77ab");
    forged.forgotten.clear();
    forged.carried[0].found_after = false;
    forged.proofs.retain(|proof| proof.id != "I6");
    assert_eq!(
        forged.contradictions().len(),
        4,
        "{:?}",
        forged.contradictions()
    );
}

#[test]
fn a_failed_proof_is_exit_7_and_a_failed_step_is_exit_1() {
    assert_eq!(report().exit(), Exit::Done);
    let mut failed = report();
    failed.steps[0].result = Verdict::Fail;
    assert_eq!(failed.exit(), Exit::Internal);
    failed.proofs[0].result = Verdict::Fail;
    assert_eq!(failed.exit(), Exit::Mismatch);
}

#[test]
fn a_proof_needs_two_values_that_say_something() {
    let one: BTreeMap<String, String> = [("east".to_owned(), "9f".to_owned())].into();
    for values in [BTreeMap::new(), one, equal("", ""), equal("9f", "9e")] {
        assert_eq!(Proof::of_equality("I4", "", values).result, Verdict::Fail);
    }
}
