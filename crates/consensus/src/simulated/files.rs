//! Files on simulated disks, shaped like `std::fs`. Each file and folder has a copy that programs
//! see and one that is on the disk: a sync makes them equal, and when the power goes only the
//! second is certain. What of the rest stands all the same is chance's.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::dice;
use super::rows::Store;

mod file;

pub use file::{File, FileExt, Metadata, OpenOptions};
pub use std::fs::TryLockError;

/// What is wrong with the disk that a folder is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing can be written or synced.
    Failing,
    /// Nothing can be written; what was written can be synced.
    Full,
    /// A sync takes up to so many milliseconds.
    Stalling(u64),
}

/// What an operation does to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    Write,
    Sync,
}

enum Inode {
    Folder {
        now: BTreeMap<OsString, usize>,
        durable: BTreeMap<OsString, usize>,
    },
    File {
        now: Vec<u8>,
        durable: Vec<u8>,
        locked: bool,
    },
}

struct Disks {
    inodes: Vec<Inode>,
    stores: BTreeMap<PathBuf, Store>,
    faults: BTreeMap<PathBuf, Fault>,
    off: BTreeSet<PathBuf>,
}

static DISKS: Mutex<Disks> = Mutex::new(Disks {
    inodes: Vec::new(),
    stores: BTreeMap::new(),
    faults: BTreeMap::new(),
    off: BTreeSet::new(),
});

const ROOT: usize = 0;

fn disks() -> MutexGuard<'static, Disks> {
    let mut disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    if disks.inodes.is_empty() {
        disks.inodes.push(folder());
    }
    disks
}

fn folder() -> Inode {
    Inode::Folder {
        now: BTreeMap::new(),
        durable: BTreeMap::new(),
    }
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

fn no_folder() -> io::Error {
    io::Error::from(io::ErrorKind::NotADirectory)
}

/// The process that uses the disk under this folder is gone: nothing that it still does, while its
/// parts are torn down, reaches the disk any more.
pub fn turn_off(folder: &Path) {
    disks().off.insert(folder.to_owned());
}

/// A process may use the disk under this folder again.
pub fn turn_on(folder: &Path) {
    let mut disks = disks();
    disks.off.remove(folder);
    // The locks of a process go with it.
    if let Ok(inode) = disks.find(folder) {
        disks.unlock_all(inode);
    }
}

/// The power of the disk under this folder goes.
pub fn cut_power(folder: &Path) {
    let mut disks = disks();
    if let Ok(inode) = disks.find(folder) {
        disks.cut(inode);
    }
    for (path, store) in &mut disks.stores {
        if path.starts_with(folder) {
            store.cut();
        }
    }
}

/// From now on this is wrong with the disk under this folder; or nothing any more.
pub fn set_fault(folder: &Path, fault: Option<Fault>) {
    let mut disks = disks();
    match fault {
        Some(fault) => drop(disks.faults.insert(folder.to_owned(), fault)),
        None => drop(disks.faults.remove(folder)),
    }
}

/// How long a sync may take longer than it does.
pub(super) fn stalls_ms(folder: &Path) -> u64 {
    match disks().fault(folder) {
        Some(Fault::Stalling(ms)) => ms,
        Some(Fault::Failing | Fault::Full) | None => 0,
    }
}

/// Works on the rows in a folder.
pub(super) fn at_store<T>(
    folder: &Path,
    change: Change,
    work: impl FnOnce(&mut Store) -> T,
) -> io::Result<T> {
    let mut disks = disks();
    disks.allow(folder, change)?;
    let store = disks.stores.entry(folder.to_owned()).or_default();
    Ok(work(store))
}

impl Disks {
    fn fault(&self, path: &Path) -> Option<Fault> {
        let mut faults = self.faults.iter();
        faults
            .find(|(folder, _)| path.starts_with(folder))
            .map(|(_, fault)| *fault)
    }

    fn allow(&self, path: &Path, change: Change) -> io::Result<()> {
        if self.off.iter().any(|folder| path.starts_with(folder)) {
            return Err(io::Error::other("the power is off"));
        }
        match (self.fault(path), change) {
            (Some(Fault::Failing), Change::Write | Change::Sync) => {
                Err(io::Error::other("the disk fails"))
            }
            (Some(Fault::Full), Change::Write) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            _ => Ok(()),
        }
    }

    fn inode(&mut self, inode: usize) -> io::Result<&mut Inode> {
        self.inodes.get_mut(inode).ok_or_else(missing)
    }

    fn names(&mut self, inode: usize) -> io::Result<&mut BTreeMap<OsString, usize>> {
        match self.inode(inode)? {
            Inode::Folder { now, .. } => Ok(now),
            Inode::File { .. } => Err(no_folder()),
        }
    }

    fn bytes(&mut self, inode: usize) -> io::Result<&mut Vec<u8>> {
        match self.inode(inode)? {
            Inode::File { now, .. } => Ok(now),
            Inode::Folder { .. } => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        }
    }

    fn find(&mut self, path: &Path) -> io::Result<usize> {
        let mut at = ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                at = *self.names(at)?.get(name).ok_or_else(missing)?;
            }
        }
        Ok(at)
    }

    /// The folder that a path is in, and its name there.
    fn parent<'a>(&mut self, path: &'a Path) -> io::Result<(usize, &'a OsStr)> {
        let name = path.file_name().ok_or_else(missing)?;
        let parent = self.find(path.parent().ok_or_else(missing)?)?;
        Ok((parent, name))
    }

    fn put(&mut self, path: &Path, inode: Inode) -> io::Result<usize> {
        let (parent, name) = self.parent(path)?;
        let number = self.inodes.len();
        self.names(parent)?.insert(name.to_owned(), number);
        self.inodes.push(inode);
        Ok(number)
    }

    fn sync(&mut self, inode: usize) -> io::Result<()> {
        match self.inode(inode)? {
            Inode::Folder { now, durable } => durable.clone_from(now),
            Inode::File { now, durable, .. } => durable.clone_from(now),
        }
        Ok(())
    }

    fn cut(&mut self, inode: usize) {
        let below: Vec<usize> = match self.inode(inode) {
            Err(_) => return,
            Ok(Inode::File { now, durable, .. }) => {
                *durable = remains(now, durable);
                now.clone_from(durable);
                return;
            }
            Ok(Inode::Folder { now, durable }) => {
                if now != durable && dice::once_in(2) {
                    durable.clone_from(now);
                }
                now.clone_from(durable);
                now.values().copied().collect()
            }
        };
        for inode in below {
            self.cut(inode);
        }
    }

    fn unlock_all(&mut self, inode: usize) {
        let below: Vec<usize> = match self.inode(inode) {
            Err(_) => return,
            Ok(Inode::File { locked, .. }) => {
                *locked = false;
                return;
            }
            Ok(Inode::Folder { now, .. }) => now.values().copied().collect(),
        };
        for inode in below {
            self.unlock_all(inode);
        }
    }
}

/// What a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// What is left of a file. One that grew ends after any sector of what was added, or with zeros
/// where nothing of it had arrived; one that was written over is the former or the latter.
fn remains(now: &[u8], durable: &[u8]) -> Vec<u8> {
    let all = dice::once_in(2);
    if all || !now.starts_with(durable) {
        return if all { now } else { durable }.to_vec();
    }
    let added = now.len().saturating_sub(durable.len());
    let arrived = usize::try_from(dice::below(added as u64 + 1)).unwrap_or(0);
    let end = (durable.len() + arrived) / SECTOR_BYTES * SECTOR_BYTES;
    if dice::once_in(4) {
        let mut left = durable.to_vec();
        left.resize(now.len(), 0);
        return left;
    }
    now.iter().take(end.max(durable.len())).copied().collect()
}

/// What is in a folder.
#[derive(Debug)]
pub struct DirEntry {
    path: PathBuf,
    name: OsString,
}

impl DirEntry {
    /// As in `std`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// As in `std`.
    #[must_use]
    pub fn file_name(&self) -> OsString {
        self.name.clone()
    }
}

/// As in `std`, sorted.
///
/// # Errors
/// When it is not there or no folder, or the disk refuses.
pub fn read_dir(path: impl AsRef<Path>) -> io::Result<std::vec::IntoIter<io::Result<DirEntry>>> {
    let path = path.as_ref();
    let mut disks = disks();
    disks.allow(path, Change::Nothing)?;
    let inode = disks.find(path)?;
    let names = disks.names(inode)?.keys();
    let entry = |name: &OsString| {
        Ok(DirEntry {
            path: path.join(name),
            name: name.clone(),
        })
    };
    Ok(names.map(entry).collect::<Vec<_>>().into_iter())
}

/// As in `std`.
///
/// # Errors
/// When something is there, or the disk refuses.
pub fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let mut disks = disks();
    disks.allow(path, Change::Write)?;
    if disks.find(path).is_ok() {
        return Err(io::Error::from(io::ErrorKind::AlreadyExists));
    }
    disks.put(path, folder()).map(drop)
}

/// As in `std`.
///
/// # Errors
/// The disk's.
pub fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    if is_dir(path) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_dir_all(parent)?;
    }
    create_dir(path)
}

/// As in `std`.
///
/// # Errors
/// When `from` is not there, or the disk refuses.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let mut disks = disks();
    disks.allow(from, Change::Write)?;
    let (old, name) = disks.parent(from)?;
    let (new, new_name) = disks.parent(to)?;
    let inode = disks.names(old)?.remove(name).ok_or_else(missing)?;
    disks.names(new)?.insert(new_name.to_owned(), inode);
    Ok(())
}

/// As in `std`.
///
/// # Errors
/// When it is not there, or the disk refuses.
pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let mut disks = disks();
    // Also on a full disk.
    disks.allow(path, Change::Sync)?;
    let (parent, name) = disks.parent(path)?;
    disks.names(parent)?.remove(name).ok_or_else(missing)?;
    Ok(())
}

/// As in `std`.
///
/// # Errors
/// When it is not there, or the disk refuses.
pub fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    remove_file(path)?;
    disks().stores.retain(|folder, _| !folder.starts_with(path));
    Ok(())
}

/// As in `std`: there are no links.
///
/// # Errors
/// When it is not there, or the disk refuses.
pub fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = path.as_ref();
    let mut disks = disks();
    disks.allow(path, Change::Nothing)?;
    disks.find(path)?;
    Ok(path.to_owned())
}

/// Whether something is at the path.
#[must_use]
pub fn exists(path: &Path) -> bool {
    disks().find(path).is_ok()
}

/// Whether a folder is at the path.
#[must_use]
pub fn is_dir(path: &Path) -> bool {
    let mut disks = disks();
    let Ok(inode) = disks.find(path) else {
        return false;
    };
    disks.names(inode).is_ok()
}
