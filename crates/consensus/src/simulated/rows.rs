//! The rows of a store, as `store::rows` has them, on a simulated disk: what was not synced is lost
//! with the power, but for as much of it from the beginning as chance lets stand.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::dice;
use super::files::{self, Change};
use crate::place;

type Bytes = Vec<u8>;
type Named = BTreeMap<Bytes, BTreeMap<Bytes, Bytes>>;

/// The trees of one store, as they are and as they are on the disk.
#[derive(Default)]
pub(super) struct Store {
    now: Named,
    durable: Named,
    /// What was done since the last sync, in order.
    since: Vec<Step>,
}

enum Step {
    Open(Bytes),
    Drop(Bytes),
    Put(Bytes, Batch),
}

impl Store {
    fn take(&mut self, step: Step) {
        carry_out(&mut self.now, &step);
        self.since.push(step);
    }

    fn sync(&mut self) {
        for step in self.since.drain(..) {
            carry_out(&mut self.durable, &step);
        }
    }

    /// The power goes: a beginning of what was not synced may be on the disk all the same.
    pub(super) fn cut(&mut self) {
        let stands = dice::below(self.since.len() as u64 + 1);
        let stands = usize::try_from(stands).unwrap_or(0);
        for step in self.since.drain(..).take(stands) {
            carry_out(&mut self.durable, &step);
        }
        self.since.clear();
        self.now = self.durable.clone();
    }
}

fn carry_out(trees: &mut Named, step: &Step) {
    match step {
        Step::Open(name) => drop(trees.entry(name.clone()).or_default()),
        Step::Drop(name) => drop(trees.remove(name)),
        Step::Put(name, batch) => {
            let tree = trees.entry(name.clone()).or_default();
            for (key, value) in &batch.0 {
                match value {
                    Some(value) => drop(tree.insert(key.clone(), value.clone())),
                    None => drop(tree.remove(key)),
                }
            }
        }
    }
}

/// The disk refuses.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] io::Error);

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        error.0
    }
}

/// Rows that are put and removed together.
#[derive(Default)]
pub(crate) struct Batch(Vec<(Bytes, Option<Bytes>)>);

impl Batch {
    pub(crate) fn insert(&mut self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) {
        self.0.push((key.as_ref().to_vec(), Some(value.into())));
    }

    pub(crate) fn remove(&mut self, key: impl AsRef<[u8]>) {
        self.0.push((key.as_ref().to_vec(), None));
    }
}

/// The rows. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct Rows {
    folder: PathBuf,
    nameless: Tree,
}

/// What makes the rows durable.
pub(crate) struct Sync {
    folder: PathBuf,
}

/// A tree of sorted keys.
#[derive(Clone)]
pub(crate) struct Tree {
    folder: PathBuf,
    name: Bytes,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tree({})", String::from_utf8_lossy(&self.name))
    }
}

impl Rows {
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        files::at_store(folder, Change::Nothing, |_| ())?;
        let nameless = Tree {
            folder: folder.to_owned(),
            name: Vec::new(),
        };
        Ok(Self {
            folder: folder.to_owned(),
            nameless,
        })
    }

    pub(crate) fn tree(&self, name: impl AsRef<[u8]>) -> Result<Tree, Error> {
        let name = name.as_ref().to_vec();
        files::at_store(&self.folder, Change::Write, |store| {
            if !store.now.contains_key(&name) {
                store.take(Step::Open(name.clone()));
            }
        })?;
        Ok(Tree {
            folder: self.folder.clone(),
            name,
        })
    }

    pub(crate) fn nameless(&self) -> &Tree {
        &self.nameless
    }

    pub(crate) fn names(&self) -> Vec<Bytes> {
        files::at_store(&self.folder, Change::Nothing, |store| {
            store.now.keys().cloned().collect()
        })
        .unwrap_or_default()
    }

    pub(crate) fn drop_tree(&self, name: impl AsRef<[u8]>) -> Result<(), Error> {
        let name = name.as_ref().to_vec();
        files::at_store(&self.folder, Change::Write, |store| {
            store.take(Step::Drop(name));
        })?;
        Ok(())
    }

    #[allow(
        clippy::unnecessary_wraps,
        reason = "elsewhere it opens a file that may not be there"
    )]
    pub(crate) fn sync(&self, folder: &Path, _file: &Path) -> io::Result<Sync> {
        Ok(Sync {
            folder: folder.to_owned(),
        })
    }
}

impl Sync {
    /// The time that a sync takes.
    pub(crate) async fn takes(&self) {
        let stalls_ms = files::stalls_ms(&self.folder);
        let ms = dice::between(1, 4)
            + if stalls_ms > 0 {
                dice::below(stalls_ms)
            } else {
                0
            };
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// Makes all that was put into the rows so far durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        files::at_store(&self.folder, Change::Sync, Store::sync)
    }
}

impl Tree {
    fn see<T>(&self, look: impl FnOnce(&BTreeMap<Bytes, Bytes>) -> T) -> Result<T, Error> {
        let empty = BTreeMap::new();
        Ok(files::at_store(&self.folder, Change::Nothing, |store| {
            look(store.now.get(&self.name).unwrap_or(&empty))
        })?)
    }

    pub(crate) fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.see(|rows| rows.get(key.as_ref()).cloned())
    }

    pub(crate) fn insert(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
    ) -> Result<(), Error> {
        let mut batch = Batch::default();
        batch.insert(key, value);
        self.apply_batch(batch)
    }

    pub(crate) fn apply_batch(&self, batch: Batch) -> Result<(), Error> {
        files::at_store(&self.folder, Change::Write, |store| {
            store.take(Step::Put(self.name.clone(), batch));
        })?;
        Ok(())
    }

    pub(crate) fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Found {
        let bound = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
        let bounds = (bound(range.start_bound()), bound(range.end_bound()));
        let found = self.see(|rows| {
            let found = rows.range::<Bytes, _>(bounds);
            found
                .map(|(key, value)| Ok((key.clone(), value.clone())))
                .collect()
        });
        found.unwrap_or_else(|error| vec![Err(error)]).into_iter()
    }
}

type Found = std::vec::IntoIter<Result<(Bytes, Bytes), Error>>;

impl IntoIterator for &Tree {
    type Item = Result<(Bytes, Bytes), Error>;
    type IntoIter = Found;

    fn into_iter(self) -> Found {
        self.range::<Bytes>(..)
    }
}

/// Makes the store's folder durable.
pub(crate) fn sync_new(data: &Path, folder: &Path) -> io::Result<()> {
    place::sync_folder(folder)?;
    place::sync_folder(data)
}
