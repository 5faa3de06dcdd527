//! `account import`: a file of any length, in as many entries as it takes.
//!
//! Every row is checked before anything is signed. Two operators approve the files as a whole, by
//! the digest of their rows; the second one's command then imports them. Each part has a request id
//! made from the command's, so that a command that was cut off is repeated with the same id and goes
//! on where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::account::import::Terms;
use futures::{StreamExt as _, stream};
use proto::admin::v1::{
    AccountRow, ApproveImportRequest, ApproveImportResponse, ImportAccountsRequest,
    ImportAccountsResponse, ParticipantRow, RowProblem,
};
use uuid::Uuid;

use crate::accounts::{self, ROWS_MAX, Rows};
use crate::args::account::Import;
use crate::client::Operator;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Parts that are under way at once: while one waits for the disks, the next is read.
const IN_FLIGHT: usize = 8;
/// How often progress is told: after each so many parts.
const TOLD_EVERY: usize = 10;

pub(super) async fn run(flags: &Import, output: Output) -> Result<(), Failure> {
    let rows = accounts::read(
        &flags.accounts,
        flags.participants.as_deref().map(Path::new),
    )?;
    let parts = parts(&rows);
    let node = Operator::connect(&flags.connection).await?;
    let id = node.request_id(&flags.change);
    let terms = server::import::terms(
        rows.participants.len(),
        parts
            .iter()
            .map(|part| (part.participants.as_slice(), part.accounts.as_slice())),
    );
    let importer = Importer {
        node: &node,
        flags,
        output,
        id,
        import: terms.id().to_string(),
    };
    // A repeated command finds its own rows there; they were checked the first time.
    let repeated = flags.change.request_id.is_some();
    if flags.change.dry_run || !repeated {
        let checked = importer.check(&rows, &parts).await?;
        if flags.change.dry_run || !checked.problems.is_empty() {
            return importer.report(&checked);
        }
    }
    let approved = importer.approve(&terms).await?;
    if approved.approval_count < approved.needed_count {
        return importer.waits(&approved);
    }
    importer.import(&parts).await
}

/// The rows of one entry: some accounts, and the participants that they name.
#[derive(Debug, Clone, Default, PartialEq)]
struct Part {
    participants: Vec<ParticipantRow>,
    accounts: Vec<AccountRow>,
}

/// Parts that stand by themselves, each small enough for one entry.
fn parts(rows: &Rows) -> Vec<Part> {
    let firms: BTreeMap<&str, &ParticipantRow> = rows
        .participants
        .iter()
        .map(|row| (row.participant_id.as_str(), row))
        .collect();
    let mut parts = Vec::new();
    let mut part = Part::default();
    let mut named: BTreeSet<&str> = BTreeSet::new();
    let mut ever_named: BTreeSet<&str> = BTreeSet::new();
    for row in &rows.accounts {
        // With its participant, a row takes two places.
        if part.participants.len() + part.accounts.len() + 2 > ROWS_MAX {
            parts.push(std::mem::take(&mut part));
            named.clear();
        }
        let firm = firms.get(row.participant_id.as_str());
        if let Some(firm) = firm.filter(|_| named.insert(&row.participant_id)) {
            ever_named.insert(&row.participant_id);
            part.participants.push((*firm).clone());
        }
        part.accounts.push(row.clone());
    }
    for row in &rows.participants {
        if ever_named.contains(row.participant_id.as_str()) {
            continue;
        }
        if part.participants.len() + part.accounts.len() >= ROWS_MAX {
            parts.push(std::mem::take(&mut part));
        }
        part.participants.push(row.clone());
    }
    if part != Part::default() {
        parts.push(part);
    }
    parts
}

/// The request id of a part: its time is the command's, the rest is made from both. The command's
/// own is the approval's.
pub(super) fn part_id(id: Uuid, part: usize) -> Uuid {
    let number = u64::try_from(part).unwrap_or(u64::MAX).to_be_bytes();
    let digest = domain::Digest::of("tidemark import", &[id.as_bytes(), &number]);
    let mut bytes = *id.as_bytes();
    // The first six bytes are the time; version and variant are set again below.
    for (byte, from) in bytes.iter_mut().skip(6).zip(digest.0) {
        *byte = from;
    }
    uuid::Builder::from_bytes(bytes)
        .with_version(uuid::Version::SortRand)
        .with_variant(uuid::Variant::RFC4122)
        .into_uuid()
}

struct Checked {
    participants: u32,
    accounts: u32,
    problems: Vec<String>,
}

struct Importer<'c> {
    node: &'c Operator,
    flags: &'c Import,
    output: Output,
    id: Uuid,
    /// Names what operators approve.
    import: String,
}

impl Importer<'_> {
    /// Shows what is signed, signs it and says so.
    async fn approve(&self, terms: &Terms) -> Result<ApproveImportResponse, Failure> {
        let seen = self.node.seen().await?;
        let message = ApproveImportRequest {
            request_id: self.id.to_string(),
            participant_count: terms.participants,
            account_count: terms.accounts,
            part_digests: terms.parts.iter().map(|part| part.0.to_vec()).collect(),
            approval: Some(self.node.sign(&terms.act(), &seen, self.output)?),
        };
        let ask = |request| {
            let mut client = self.node.import();
            async move { client.approve_import(request).await }
        };
        let change = &self.flags.change;
        self.node.change(self.id, change, message, ask).await
    }

    /// Another operator is to approve first.
    fn waits(&self, approved: &ApproveImportResponse) -> Result<(), Failure> {
        let (have, need) = (approved.approval_count, approved.needed_count);
        self.output.talk(&format!(
            "{have} of {need} operators have approved; nothing is imported until another approves \
             the same files within 30 minutes, with --as"
        ));
        let document = serde_json::json!({
            "dry_run": false, "approvals": have, "needed": need, "done": false,
            "import": self.import, "participants": 0, "accounts": 0, "problems": [],
        });
        self.output
            .data(&document, || "nothing was imported yet".to_owned())
    }

    async fn send(
        &self,
        part: &Part,
        index: usize,
        id: Uuid,
        dry: bool,
    ) -> Result<ImportAccountsResponse, Failure> {
        let message = ImportAccountsRequest {
            request_id: id.to_string(),
            participants: part.participants.clone(),
            accounts: part.accounts.clone(),
            dry_run: dry,
            import_digest: self.import.clone(),
            part: u32::try_from(index).unwrap_or(u32::MAX),
        };
        let ask = |request| {
            let mut client = self.node.import();
            async move { client.import_accounts(request).await }
        };
        // Who repeats the command repeats all its parts.
        let change = &self.flags.change;
        self.node.change(self.id, change, message, ask).await
    }

    /// Everything that a node finds wrong, of all parts.
    async fn check(&self, rows: &Rows, parts: &[Part]) -> Result<Checked, Failure> {
        let mut checked = Checked {
            participants: 0,
            accounts: 0,
            problems: Vec::new(),
        };
        let mut told = BTreeSet::new();
        let mut note = |path: Option<&Path>, problems: Vec<RowProblem>| {
            for problem in problems {
                // A participant goes with each part that names it.
                if told.insert((problem.line, problem.column.clone(), problem.text.clone())) {
                    let path = path.unwrap_or_else(|| Path::new("-")).display();
                    let RowProblem { line, column, text } = problem;
                    checked
                        .problems
                        .push(format!("{path}:{line}: {column}: {text}"));
                }
            }
        };
        for chunk in rows.participants.chunks(ROWS_MAX) {
            let part = Part {
                participants: chunk.to_vec(),
                accounts: Vec::new(),
            };
            let answer = self.send(&part, 0, self.id, true).await?;
            checked.participants = checked
                .participants
                .saturating_add(answer.participant_count);
            note(self.flags.participants.as_deref(), answer.problems);
        }
        let all: usize = parts.iter().map(|part| part.accounts.len()).sum();
        let mut looked_at = 0;
        let mut answers = stream::iter(parts)
            .map(|part| async move { (part, self.send(part, 0, self.id, true).await) })
            .buffered(IN_FLIGHT)
            .enumerate();
        while let Some((index, (part, answer))) = answers.next().await {
            let answer = answer?;
            checked.accounts = checked.accounts.saturating_add(answer.account_count);
            note(Some(&self.flags.accounts), answer.problems);
            looked_at += part.accounts.len();
            self.progress(index, parts.len(), &format!("checked {looked_at} of {all}"));
        }
        Ok(checked)
    }

    /// What the check found: of a dry run, or of an import that is not begun.
    fn report(&self, checked: &Checked) -> Result<(), Failure> {
        if self.flags.change.dry_run {
            let document = serde_json::json!({
                "dry_run": true,
                "participants": checked.participants,
                "accounts": checked.accounts,
                "problems": checked.problems,
            });
            self.output.data(&document, || {
                format!(
                    "{} participants and {} accounts would be imported",
                    checked.participants, checked.accounts
                )
            })?;
        }
        if checked.problems.is_empty() {
            return Ok(());
        }
        Err(Failure::pre_check(format!(
            "nothing was imported:\n  {}",
            checked.problems.join("\n  ")
        ))
        .next("correct the rows; the whole file can be imported again"))
    }

    async fn import(&self, parts: &[Part]) -> Result<(), Failure> {
        let all: usize = parts.iter().map(|part| part.accounts.len()).sum();
        if parts.len() > 1 {
            // Told first: whoever is cut off has nothing else to go on with.
            self.output.talk(&format!(
                "{all} accounts in {} entries under the request id {}",
                parts.len(),
                self.id
            ));
        }
        let (mut participants, mut accounts, mut done) = (0_u32, 0_u32, 0);
        let mut answered = 0;
        let stop = AtomicBool::new(false);
        let mut failed = None;
        let mut answers = stream::iter(parts.iter().enumerate())
            .map(|(index, part)| {
                let stop = &stop;
                async move {
                    // What is under way when one fails is waited for; nothing more is begun.
                    if stop.load(Ordering::Relaxed) {
                        return None;
                    }
                    let id = part_id(self.id, index);
                    let answer = self.send(part, index, id, false).await;
                    if answer.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    Some((part.accounts.len(), answer))
                }
            })
            .buffer_unordered(IN_FLIGHT);
        while let Some(answer) = answers.next().await {
            match answer {
                None => {}
                Some((count, Ok(answer))) => {
                    participants = participants.saturating_add(answer.participant_count);
                    accounts = accounts.saturating_add(answer.account_count);
                    done += count;
                    self.progress(answered, parts.len(), &format!("{done} of {all} accounts"));
                    answered += 1;
                }
                Some((_, Err(failure))) => failed = worse(failed, failure),
            }
        }
        if let Some(failure) = failed {
            return Err(self.cut_off(failure, done));
        }
        let document = serde_json::json!({
            "dry_run": false,
            "done": true,
            "import": self.import,
            "participants": participants,
            "accounts": accounts,
            "entries": parts.len(),
            "problems": [],
        });
        self.output.data(&document, || {
            format!("{participants} participants and {accounts} accounts imported")
        })
    }

    /// How far it is with one part more than `before`, for people; the last one is always told.
    fn progress(&self, before: usize, parts: usize, text: &str) {
        let last = before + 1 == parts;
        if parts > 1 && (last || (before + 1).is_multiple_of(TOLD_EVERY)) {
            self.output.talk(text);
        }
    }

    /// Parts that were imported stay, so that the whole is neither done nor undone.
    fn cut_off(&self, failure: Failure, done: usize) -> Failure {
        if done == 0 {
            return failure;
        }
        let exit = match failure.exit {
            Exit::Unknown => Exit::Unknown,
            Exit::Done
            | Exit::Internal
            | Exit::Usage
            | Exit::PreCheck
            | Exit::Refused
            | Exit::Loss
            | Exit::Mismatch
            | Exit::Already => Exit::Loss,
        };
        Failure {
            exit,
            what: format!(
                "{done} accounts are imported, of the others no answer says so: {}",
                failure.what
            ),
            next: Some(format!(
                "repeat the command with --request-id {} within 10 minutes: it goes on from there",
                self.id
            )),
            reason: failure.reason,
        }
    }
}

/// Of two failures the one that says more: an unknown outcome outweighs a refusal.
fn worse(former: Option<Failure>, failure: Failure) -> Option<Failure> {
    match former {
        Some(former) if former.exit == Exit::Unknown || failure.exit != Exit::Unknown => {
            Some(former)
        }
        Some(_) | None => Some(failure),
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

    fn rows(firms: usize, accounts: usize) -> Rows {
        Rows {
            participants: (0..firms)
                .map(|firm| ParticipantRow {
                    line: 0,
                    participant_id: format!("C{firm}"),
                    title: "A firm".to_owned(),
                })
                .collect(),
            accounts: (0..accounts)
                .map(|account| AccountRow {
                    user_id: format!("U{account}"),
                    participant_id: format!("C{}", account % firms.max(1)),
                    ..AccountRow::default()
                })
                .collect(),
        }
    }

    #[test]
    fn every_row_is_in_one_part_and_each_part_stands_by_itself() {
        let rows = rows(700, 3 * ROWS_MAX);
        let parts = parts(&rows);
        let mut ids = BTreeSet::new();
        for part in &parts {
            assert!(part.participants.len() + part.accounts.len() <= ROWS_MAX);
            let firms: BTreeSet<&str> = part
                .participants
                .iter()
                .map(|row| row.participant_id.as_str())
                .collect();
            assert_eq!(firms.len(), part.participants.len());
            for row in &part.accounts {
                assert!(firms.contains(row.participant_id.as_str()));
                assert!(ids.insert(row.user_id.clone()));
            }
        }
        assert_eq!(ids.len(), rows.accounts.len());
    }

    #[test]
    fn participants_without_accounts_are_imported_too() {
        let parts = parts(&rows(ROWS_MAX + 1, 0));
        let counts: Vec<usize> = parts.iter().map(|part| part.participants.len()).collect();
        assert_eq!(counts, [ROWS_MAX, 1]);
    }

    #[test]
    fn a_small_file_is_one_entry_beside_its_approval() {
        assert_eq!(parts(&rows(3, 11)).len(), 1);
        let id = Uuid::now_v7();
        assert_ne!(part_id(id, 0), id);
    }

    #[test]
    fn the_ids_of_parts_are_the_same_when_the_command_is_repeated() {
        let id = Uuid::now_v7();
        let ids: Vec<Uuid> = (0..50).map(|part| part_id(id, part)).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 50);
        for (part, made) in ids.iter().enumerate() {
            assert_eq!(*made, part_id(id, part));
            assert_eq!(made.get_version_num(), 7);
            assert_eq!(made.as_bytes()[..6], id.as_bytes()[..6]);
        }
    }
}
