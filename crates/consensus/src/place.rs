//! Where a node's files are in its data folder.
//!
//! ```text
//! lock                     held while a process uses the folder
//! store/                   sled: logs, votes and pins of all lines
//! acknowledged             how many batches the store has acknowledged
//! snapshots/<line>/        the snapshots of a line
//! genesis/<session>.genesis
//! genesis/main.e<epoch>    what the main line of a later epoch begins with
//! standing                 what was promised about epochs
//! wiping                   there while all but the audit is being removed
//! audit/<line>/            the audit trail of a line, with its signed checkpoints; never removed
//! audit/reads/             what was read at this node, by whom; never removed
//! audit/dropped.e<epoch>.<head>/  what an old primary answered and the main line does not have
//! audit.<node>/            the audit trails of an earlier life of this node; never removed
//! ```

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use domain::centre::nodes::Tail;
use domain::{LineId, LineRef, NodeId, SessionId};

use crate::files::{self, File};

/// The name of a line in paths and among the store's trees.
#[must_use]
pub fn line_name(line: &LineRef) -> String {
    match &line.line {
        LineId::Main => format!("main.e{}", line.epoch),
        LineId::Branch { session, genesis } => {
            // Enough of the digest to tell two branches apart; the store holds the whole of it.
            let digest: String = genesis.to_string().chars().take(16).collect();
            format!("branch.{session}.{digest}.e{}", line.epoch)
        }
    }
}

/// The file whose lock says that a process uses the folder.
#[must_use]
pub fn lock(data: &Path) -> PathBuf {
    data.join("lock")
}

/// The folder of the embedded store.
#[must_use]
pub fn store(data: &Path) -> PathBuf {
    data.join("store")
}

/// The file that says how much the store has acknowledged.
#[must_use]
pub fn witness(data: &Path) -> PathBuf {
    data.join("acknowledged")
}

/// The folder of a line's snapshots.
#[must_use]
pub fn snapshots(data: &Path, line: &LineRef) -> PathBuf {
    data.join("snapshots").join(line_name(line))
}

/// The genesis file of a session's branch: outside the snapshots, so that nothing sweeps it.
#[must_use]
pub fn genesis(data: &Path, session: &SessionId) -> PathBuf {
    data.join("genesis").join(format!("{session}.genesis"))
}

/// What the main line of an epoch after the first begins with.
#[must_use]
pub fn beginning(data: &Path, line: &LineRef) -> PathBuf {
    data.join("genesis").join(line_name(line))
}

/// The folder of a line's audit trail.
#[must_use]
pub fn audit(data: &Path, line: &LineRef) -> PathBuf {
    data.join("audit").join(line_name(line))
}

/// How the name of a trail of what was dropped begins. No line is called so.
const DROPPED: &str = "dropped.";

/// The name of the trail of what was dropped of an old main line.
#[must_use]
pub fn dropped_name(tail: &Tail) -> String {
    let head: String = tail.head.hash.to_string().chars().take(16).collect();
    format!("{DROPPED}e{}.{head}", tail.epoch)
}

/// Whether a trail of what was dropped may have this name.
#[must_use]
pub fn is_dropped(name: &str) -> bool {
    let allowed = |one: char| one.is_ascii_alphanumeric() || one == '.';
    name.starts_with(DROPPED) && name.chars().all(allowed)
}

/// The folder of the trail of this name.
#[must_use]
pub fn dropped(data: &Path, name: &str) -> PathBuf {
    data.join("audit").join(name)
}

/// The name of a node's own trail of what was read there. No line is called so.
pub const READS: &str = "reads";

/// The folder of that trail.
#[must_use]
pub fn reads(data: &Path) -> PathBuf {
    data.join("audit").join(READS)
}

/// How the name of a folder with the audit trails of an earlier life begins.
const FORMER: &str = "audit.";

/// The folder of the audit trails of an earlier life of this node.
#[must_use]
pub fn former_audit(data: &Path, former: NodeId) -> PathBuf {
    data.join(format!("{FORMER}{former}"))
}

/// The nodes that this folder belonged to before it was given up.
///
/// # Errors
/// The file system's.
pub fn former_lives(data: &Path) -> io::Result<BTreeSet<NodeId>> {
    let entries = match files::read_dir(data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    let mut lives = BTreeSet::new();
    for entry in entries {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix(FORMER));
        lives.extend(id.and_then(|id| id.parse().ok()).map(NodeId));
    }
    Ok(lives)
}

/// The file with the checkpoints that were signed of the trail in a folder, beside its rows.
#[must_use]
pub fn checkpoints(trail: &Path) -> PathBuf {
    trail.join("checkpoints")
}

/// Makes the names in a folder durable: a rename that a power cut takes back was no rename.
///
/// # Errors
/// The file system's.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Creates the folder and what leads to it, durably.
///
/// # Errors
/// The file system's.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    if files::is_dir(folder) {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|p| !p.as_os_str().is_empty()) {
        create_folder(parent)?;
        match files::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        return sync_folder(parent);
    }
    files::create_dir_all(folder)
}

/// Puts `from` in the place of `to`, durably; both are in the same folder.
///
/// # Errors
/// The file system's.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    files::rename(from, to)?;
    match to.parent() {
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Removes the folder with all that is in it; gone already is fine.
///
/// # Errors
/// The file system's.
pub fn remove_folder(folder: &Path) -> io::Result<()> {
    match files::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes the file; gone already is fine.
///
/// # Errors
/// The file system's.
pub fn remove_file(file: &Path) -> io::Result<()> {
    match files::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
