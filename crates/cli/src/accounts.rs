//! Participants and accounts from CSV files, as an import takes them. Every bad row is listed
//! with its line; what the cluster knows better (ids that exist, participants that do not) is
//! left to it.

use std::collections::BTreeSet;
use std::path::Path;

use domain::{AccountId, CardNumber, ParticipantId};
use proto::account::v1::AccountClass;
use proto::admin::v1::{AccountRow, ParticipantRow};
use serde::Deserialize;

use crate::exit::Failure;

/// Most rows that one import takes.
pub const ROWS_MAX: usize = domain::account::IMPORT_ROWS_MAX;

/// The rows of both files.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Participants.
    pub participants: Vec<ParticipantRow>,
    /// Accounts.
    pub accounts: Vec<AccountRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Participant {
    participant: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    participant: String,
    id: String,
    class: String,
    name: String,
    email: String,
    card: String,
    card_password_phc: String,
}

/// Reads both files.
///
/// # Errors
/// Every bad row of both, with its line.
pub fn read(accounts: &Path, participants: Option<&Path>) -> Result<Rows, Failure> {
    let mut problems = Vec::new();
    let mut rows = Rows::default();
    if let Some(path) = participants {
        let mut known = BTreeSet::new();
        for (line, row) in parsed::<Participant>(path, &mut problems)? {
            match ParticipantId::parse(&row.participant) {
                Ok(id) if !known.insert(id.clone()) => {
                    problems.push(format!("{}:{line}: {id} is there twice", path.display()));
                }
                Ok(_) => rows.participants.push(ParticipantRow {
                    line,
                    participant_id: row.participant,
                    title: row.name,
                }),
                Err(error) => problems.push(format!("{}:{line}: {error}", path.display())),
            }
        }
    }
    let mut ids = BTreeSet::new();
    let mut cards = BTreeSet::new();
    for (line, row) in parsed::<Account>(accounts, &mut problems)? {
        let mut wrong = |what: String| {
            problems.push(format!("{}:{line}: {what}", accounts.display()));
        };
        let class = class(&row.class);
        if class.is_none() {
            wrong(format!("class: \"{}\" is neither user nor da", row.class));
        }
        if let Err(error) = ParticipantId::parse(&row.participant) {
            wrong(format!("participant: {error}"));
        }
        match AccountId::parse(&row.id) {
            Ok(id) if !ids.insert(id.clone()) => wrong(format!("id: {id} is there twice")),
            Ok(_) => {}
            Err(error) => wrong(format!("id: {error}")),
        }
        if !row.email.is_empty() && !row.email.contains('@') {
            wrong(format!("email: \"{}\" is no address", row.email));
        }
        if row.card.is_empty() != row.card_password_phc.is_empty() {
            wrong("card and card_password_phc go together".to_owned());
        }
        if !row.card.is_empty() {
            match CardNumber::parse(&row.card) {
                Ok(card) if !cards.insert(card.clone()) => {
                    wrong(format!("card: {card} is there twice"));
                }
                Ok(_) => {}
                Err(error) => wrong(format!("card: {error}")),
            }
        }
        if !row.card_password_phc.is_empty()
            && let Err(error) = credential::password::Verifier::parse(&row.card_password_phc)
        {
            wrong(format!("card_password_phc: {error}"));
        }
        rows.accounts.push(AccountRow {
            line,
            user_id: row.id,
            participant_id: row.participant,
            account_class: class.unwrap_or_default().into(),
            title: row.name,
            email: row.email,
            card_number: row.card,
            card_verifier: row.card_password_phc,
        });
    }
    if problems.is_empty() {
        Ok(rows)
    } else {
        Err(Failure::pre_check(format!(
            "nothing was imported:\n  {}",
            problems.join("\n  ")
        ))
        .next("correct the rows; the whole file can be imported again"))
    }
}

fn class(text: &str) -> Option<AccountClass> {
    match text.to_ascii_lowercase().as_str() {
        "user" => Some(AccountClass::User),
        "da" => Some(AccountClass::DelegatedAdmin),
        _ => None,
    }
}

/// The rows that can be read, with their lines; the others are among the problems.
fn parsed<T: for<'de> Deserialize<'de>>(
    path: &Path,
    problems: &mut Vec<String>,
) -> Result<Vec<(u32, T)>, Failure> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(|error| Failure::pre_check(format!("cannot read {}: {error}", path.display())))?;
    let mut rows = Vec::new();
    let headers = reader
        .headers()
        .map_err(|error| Failure::pre_check(format!("{}: {error}", path.display())))?
        .clone();
    let mut record = csv::StringRecord::new();
    loop {
        let line = |position: Option<&csv::Position>| position.map_or(0, csv::Position::line);
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(rows),
            Ok(true) => {
                let at = u32::try_from(line(record.position())).unwrap_or(u32::MAX);
                match record.deserialize::<T>(Some(&headers)) {
                    Ok(row) => rows.push((at, row)),
                    Err(error) => {
                        problems.push(format!("{}:{at}: {}", path.display(), said(&error)))
                    }
                }
            }
            Err(error) => {
                let at = line(error.position());
                problems.push(format!("{}:{at}: {}", path.display(), said(&error)));
                if matches!(error.kind(), csv::ErrorKind::Io(_)) {
                    return Ok(rows);
                }
            }
        }
    }
}

/// What is wrong with a row, without the place, which is told already.
fn said(error: &csv::Error) -> String {
    if let csv::ErrorKind::Deserialize { err, .. } = error.kind() {
        err.to_string()
    } else if let csv::ErrorKind::UnequalLengths {
        expected_len, len, ..
    } = error.kind()
    {
        format!("{len} columns, not {expected_len}")
    } else {
        error.to_string()
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Rows, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.csv");
        std::fs::write(&path, text).unwrap();
        read(&path, None)
    }

    #[test]
    fn the_demo_s_files_are_read_whole() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/demo");
        let rows = read(
            &demo.join("accounts.csv"),
            Some(&demo.join("participants.csv")),
        )
        .unwrap();
        assert_eq!(rows.participants.len(), 3);
        assert_eq!(rows.accounts.len(), 11);
        assert_eq!(rows.accounts[0].line, 2);
        assert!(rows.accounts[0].card_verifier.starts_with("$argon2id$"));
    }

    #[test]
    fn all_bad_rows_are_listed_with_their_lines() {
        let refused = read_text(
            "participant,id,class,name,email,card,card_password_phc\n\
             C1,U1,user,A,a@example,,\n\
             C1,U1,user,A,a@example,,\n\
             C1,U2,boss,A,nowhere,,\n\
             C1,U 3,user,A,,K1,\n\
             C1,U4\n\
             C1,U5,da,A,,K2,plain words\n\
             C1,U6,da,A,,K2,plain words\n",
        )
        .unwrap_err();
        for expected in [
            "csv:3: id: U1 is there twice",
            "csv:4: class: \"boss\"",
            "csv:4: email: \"nowhere\"",
            "csv:5: id: ",
            "csv:5: card and card_password_phc go together",
            "csv:6: 2 columns, not 7",
            "csv:7: card_password_phc",
            "csv:8: card: K2 is there twice",
        ] {
            assert!(refused.what.contains(expected), "{expected}: {refused}");
        }
    }

    #[test]
    fn an_unknown_column_is_refused() {
        let refused = read_text(
            "participant,id,class,name,email,card,card_password_phc,admin\nC1,U1,user,A,,,,yes\n",
        );
        assert!(refused.unwrap_err().what.contains("admin"));
    }
}
