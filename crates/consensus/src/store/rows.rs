//! The rows of a store: trees of sorted keys by name, in one sled database. Nothing outside this
//! file knows that it is sled's; a build of the simulation has rows of its own.

use std::path::{Path, PathBuf};
use std::{io, ops::Deref as _};

use crate::files::{self, File};
use crate::place;

pub(super) use sled::{Batch, Error, Tree};

/// What sled may keep in memory: the state is there already, so little helps.
const CACHE_BYTES: u64 = 64 << 20;

/// The rows. Clones are the same ones.
#[derive(Clone)]
pub(super) struct Rows {
    db: sled::Db,
}

/// What makes the rows durable.
pub(super) struct Sync {
    db: sled::Db,
    file: File,
    blobs: PathBuf,
}

impl Rows {
    /// Opens the rows in a folder.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let db = sled::Config::new()
            .path(folder)
            .flush_every_ms(None)
            .cache_capacity(CACHE_BYTES)
            .open()?;
        Ok(Self { db })
    }

    /// The tree of this name, created if it is not there.
    pub(super) fn tree(&self, name: impl AsRef<[u8]>) -> Result<Tree, Error> {
        self.db.open_tree(name)
    }

    /// The tree that has no name.
    pub(super) fn nameless(&self) -> &Tree {
        self.db.deref()
    }

    /// The names of the trees.
    pub(super) fn names(&self) -> Vec<Vec<u8>> {
        let names = self.db.tree_names().into_iter();
        names.map(|name| name.to_vec()).collect()
    }

    /// Removes a tree with all that is in it.
    pub(super) fn drop_tree(&self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        self.db.drop_tree(name).map(drop)
    }

    /// What makes the rows durable that are in this folder, in this file above all.
    pub(super) fn sync(&self, folder: &Path, file: &Path) -> io::Result<Sync> {
        Ok(Sync {
            db: self.db.clone(),
            file: File::options().write(true).open(file)?,
            blobs: folder.join("blobs"),
        })
    }
}

#[cfg(test)]
impl From<sled::Db> for Rows {
    fn from(db: sled::Db) -> Self {
        Self { db }
    }
}

impl Sync {
    /// Makes all that was put into the rows so far durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.db.flush()?;
        // Rows are too small for sled to move a page out of its file; should it ever, the page is
        // synced too.
        for blob in files::read_dir(&self.blobs)? {
            File::open(blob?.path())?.sync_data()?;
            File::open(&self.blobs)?.sync_all()?;
        }
        self.file.sync_data()
    }
}

/// Makes the files that sled creates, and their names, durable.
pub(super) fn sync_new(data: &Path, folder: &Path) -> io::Result<()> {
    for entry in files::read_dir(folder)? {
        File::open(entry?.path())?.sync_all()?;
    }
    place::sync_folder(folder)?;
    place::sync_folder(data)
}
