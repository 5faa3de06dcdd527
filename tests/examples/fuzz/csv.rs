//! Files of accounts: every bad row is told, or the file is read; nothing else happens.

use std::path::Path;

use crate::Run;

const ACCOUNTS: &str = include_str!("../../../deploy/demo/accounts.csv");
const PARTICIPANTS: &str = include_str!("../../../deploy/demo/participants.csv");

pub(crate) fn throw(run: &mut Run) {
    let folder = tempfile::tempdir().unwrap();
    let accounts = folder.path().join("accounts.csv");
    let participants = folder.path().join("participants.csv");
    let whole = [(&accounts, ACCOUNTS), (&participants, PARTICIPANTS)];
    while run.goes_on() {
        for (path, text) in whole {
            let altered = match run.dice.below(4) {
                0 => text.as_bytes().to_vec(),
                _ => run.dice.altered(text.as_bytes()),
            };
            std::fs::write(path, altered).unwrap();
        }
        let read = read(&accounts, &participants);
        run.count(read);
    }
}

fn read(accounts: &Path, participants: &Path) -> bool {
    match tidemark::accounts::read(accounts, Some(participants)) {
        Ok(_) => true,
        Err(failure) => {
            assert!(!failure.to_string().is_empty(), "a refusal says why");
            false
        }
    }
}
