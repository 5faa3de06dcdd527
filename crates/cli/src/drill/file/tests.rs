//! Drill files: the one that is delivered, and some that are wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use super::*;

const ANNEX: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/drills/annex-1.toml"
));

fn annex() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/drills/annex-1.toml")
}

#[test]
fn the_annex_can_be_played() {
    let drill = Drill::read(&annex()).unwrap();
    assert_eq!(drill.part.len(), 7);
    assert!(drill.steps().count() > 70);
    assert_eq!(drill.begins.0, UnixMs(1_686_390_900_000));
}

#[test]
fn the_annex_holds_an_account_for_each_person() {
    let drill = Drill::read(&annex()).unwrap();
    let folder = annex().parent().unwrap().to_path_buf();
    let accounts = fs::read_to_string(folder.join(&drill.data.accounts)).unwrap();
    for person in &drill.person {
        let row = accounts
            .lines()
            .find(|row| row.split(',').nth(1) == Some(person.account.as_str()))
            .unwrap_or_else(|| panic!("{} has no account", person.id));
        let cells: Vec<&str> = row.split(',').collect();
        assert_eq!(cells[0], person.participant.as_str());
        assert_eq!(cells[4], person.email.as_deref().unwrap_or_default());
        let card = person.card.as_ref().map(CardNumber::as_str);
        assert_eq!(cells[5], card.unwrap_or_default());
    }
}

#[test]
fn the_annex_s_sessions_are_in_its_timetable() {
    let drill = Drill::read(&annex()).unwrap();
    let folder = annex().parent().unwrap().to_path_buf();
    let text = fs::read_to_string(folder.join(&drill.data.timetable)).unwrap();
    let timetable = domain::calendar::Timetable::parse(&text).unwrap();
    for id in [&drill.first_session, &drill.second_session] {
        let session = timetable.sessions.iter().find(|session| session.id == *id);
        assert_eq!(session.unwrap().source.as_deref(), Some(&*drill.source));
    }
    let holidays = fs::read_to_string(folder.join(&drill.data.holidays)).unwrap();
    assert_eq!(
        domain::calendar::parse_holidays(&holidays).unwrap().len(),
        14
    );
}

#[test]
fn unknown_fields_acts_and_versions_are_refused() {
    for (right, wrong) in [
        ("version = 1", "version = 2"),
        ("begins = ", "start = "),
        ("do.import = {}", "do.imports = {}"),
        ("do.import = {}", "do.import = { all = true }"),
        ("at = \"2023-06-10 17:56\"", "at = \"17:56\""),
    ] {
        let text = ANNEX.replacen(right, wrong, 1);
        assert_ne!(text, ANNEX, "{right}");
        assert!(Drill::parse(&text).is_err(), "{wrong}");
    }
}

#[test]
fn names_that_nobody_has_are_all_listed() {
    let text = ANNEX
        .replacen(
            "unready = { person = \"ho\"",
            "unready = { person = \"hu\"",
            1,
        )
        .replacen("token = \"chan-s1\", ", "", 1)
        .replacen("at = \"2023-06-10 22:00\"", "at = \"2023-06-10 20:30\"", 1);
    let problems = Drill::parse(&text).unwrap().problems().join("\n");
    assert!(problems.contains("there is no person hu"), "{problems}");
    assert!(
        problems.contains("no login before it keeps a token chan-s1"),
        "{problems}"
    );
    assert!(
        problems.contains("before that of an earlier step"),
        "{problems}"
    );
}
