//! What is found in a backup's file.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;

use consensus::image::{self, Image, Kind};
use credential::associated::Associated;
use credential::backup::{Error, Opener};
use credential::keyring::Keyring;
use domain::backup::Backup;
use domain::cluster::KeyProof;
use domain::keys::Key;
use domain::{LineId, State};
use zeroize::Zeroizing;

use crate::exit::{Failure, file_failure};

/// How much is read at once.
const BUFFER_BYTES: usize = 1 << 18;

/// A key file.
pub(super) struct Keys {
    /// Its text.
    pub(super) text: Zeroizing<String>,
    ring: Keyring,
}

impl Keys {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| file_failure("read", path, &error))?;
        let text = Zeroizing::new(text);
        let ring = Keyring::parse(&text)
            .map_err(|error| Failure::pre_check(format!("{}: {error}", path.display())))?;
        Ok(Self { text, ring })
    }
}

/// A backup that was opened and found to be what it says.
pub(super) struct Opened {
    pub(super) backup: Backup,
    pub(super) state: State,
    /// How many sealed values are in it; all open.
    pub(super) sealed: u64,
}

/// The failure that a fault of a file is.
pub(super) fn checked<T>(path: &Path, result: Result<T, Error>) -> Result<T, Failure> {
    result.map_err(|error| match error {
        Error::File(error) => file_failure("read", path, &error),
        Error::Key { .. } => Failure::pre_check(format!("{}: {error}", path.display()))
            .next("name the key file of the cluster that it is of"),
        Error::NotABackup | Error::Damaged { .. } => {
            Failure::mismatch(format!("{}: {error}", path.display()))
                .next("use another backup, and find out who or what altered this one")
        }
    })
}

/// Checks a file by its checksum alone.
pub(super) fn sum(path: &Path) -> Result<Backup, Failure> {
    let file = File::open(path).map_err(|error| file_failure("read", path, &error))?;
    let from = BufReader::with_capacity(BUFFER_BYTES, file);
    checked(path, credential::backup::check(from))
}

/// Opens a backup with the key file, and compares all that is in it with what it says.
pub(super) fn open(path: &Path, keys: &Keys) -> Result<Opened, Failure> {
    // Damage is told from another cluster's key file.
    sum(path)?;
    let file = File::open(path).map_err(|error| file_failure("read", path, &error))?;
    let from = BufReader::with_capacity(BUFFER_BYTES, file);
    let opener = checked(path, Opener::open(&keys.ring, from))?;
    let backup = opener.backup().clone();
    let held: Vec<u32> = keys.ring.keys().map(|(id, _, _)| id).collect();
    if let Some(lacking) = backup.keys.iter().find(|id| !held.contains(id)) {
        let what = format!("the key file does not hold key {lacking}, which the backup needs");
        return Err(Failure::pre_check(what).next("add it from an older copy of the key file"));
    }
    let read = image::read_from(path, BufReader::with_capacity(BUFFER_BYTES, opener));
    let image = read.map_err(|error| unreadable(path, error))?;
    compare(path, &backup, &image)?;
    let state = image.state;
    let proofs: Vec<KeyProof> = state
        .keys()
        .filter(|key| key.needed())
        .map(Key::reference)
        .collect();
    keys.ring
        .check(backup.cluster, &proofs)
        .map_err(|error| Failure::pre_check(error.to_string()))?;
    let sealed = all_open(path, &state, keys)?;
    Ok(Opened {
        backup,
        state,
        sealed,
    })
}

fn unreadable(path: &Path, error: image::Error) -> Failure {
    match error {
        image::Error::File { source, .. } if source.kind() != io::ErrorKind::InvalidData => {
            file_failure("read", path, &source)
        }
        image::Error::File { source, .. } => {
            let what = format!("{}: {source}", path.display());
            Failure::mismatch(what).next(
                "the checksum is right: either the key file is another cluster's, or somebody \
                 altered the backup and made a checksum that fits",
            )
        }
        error @ (image::Error::Damaged { .. }
        | image::Error::State { .. }
        | image::Error::Other { .. }) => Failure::mismatch(error.to_string()),
    }
}

/// What is in it is what it says: the digests were computed from the rows.
fn compare(path: &Path, backup: &Backup, image: &Image) -> Result<(), Failure> {
    let (header, state) = (&image.header, &image.state);
    let founding = state.founding();
    let line = &header.reference;
    let accounts = u64::try_from(state.accounts_count()).unwrap_or(u64::MAX);
    let equal = [
        ("kind", header.kind == Kind::Backup),
        (
            "line",
            line.line == LineId::Main && state.header().line == LineId::Main,
        ),
        ("cluster", line.cluster == backup.cluster),
        (
            "cluster",
            founding.is_some_and(|founding| founding.cluster == backup.cluster),
        ),
        (
            "name",
            founding.is_some_and(|founding| founding.title == backup.title),
        ),
        (
            "epoch",
            line.epoch == backup.epoch && state.header().epoch == backup.epoch,
        ),
        (
            "entry",
            header.last == Some(backup.log) && state.header().applied == backup.log,
        ),
        ("clock", state.header().clock == backup.clock),
        ("digests", image.digests == backup.digests),
        ("audit head", state.header().audit == backup.audit),
        ("accounts", accounts == backup.accounts),
    ];
    match equal.iter().find(|(_, equal)| !equal) {
        None => Ok(()),
        Some((what, _)) => Err(Failure::mismatch(format!(
            "{}: the {what} in it is not what its header says",
            path.display()
        ))),
    }
}

/// Opens every sealed value; says how many there are.
fn all_open(path: &Path, state: &State, keys: &Keys) -> Result<u64, Failure> {
    let mut count = 0;
    // No key has this id: these are all values.
    for (place, sealed) in state.to_reseal(u32::MAX) {
        let opened = keys.ring.open(sealed, &Associated::of(&place));
        opened.map_err(|error| Failure::mismatch(format!("{}: {error}", path.display())))?;
        count += 1;
    }
    Ok(count)
}
