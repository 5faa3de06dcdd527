//! The store: the logs, votes and pins of all lines of a node, in one sled database.
//!
//! sled stays inside this module, which is small enough to be replaced (docs/decisions/003).
//! Deliberately absent: state, snapshots and audit rows, which are plain files.

mod line;
mod log;
mod pin;
mod queue;
pub(crate) mod record;
#[cfg(not(simulation))]
mod rows;
#[cfg(test)]
mod tests;
mod witness;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::LineRef;
use tokio::sync::Semaphore;

pub use self::log::Log;
pub use self::pin::Pin;
pub use self::queue::Durable;
pub use self::record::ENTRY_BYTES_MAX;

use self::line::Line;
use self::queue::{Done, Queue, Task, Work};
use self::rows::Rows;
use self::witness::{Found, Witness};
use self::writer::Writer;
use crate::files::{File, TryLockError};
use crate::place;
#[cfg(simulation)]
use crate::simulated::rows;

/// Most bytes of entries that wait for the disk; who appends more waits too.
const QUEUE_BYTES_MAX: u32 = 64 << 20;
/// How long sled's threads may take to let go of a closed file, and how often we look.
const FREED_WITHIN: Duration = Duration::from_secs(5);
const FREED_POLL: Duration = Duration::from_millis(10);

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process, or another node of this one, has the folder.
    #[error("data folder {folder} is in use by another node: stop it, or choose another folder")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A record is not what was written.
    #[error(
        "the log of {line} is damaged{} in {file}: {why}; restore this node from its peers",
        index.map_or_else(String::new, |index| format!(" at index {index}"))
    )]
    Damaged {
        /// The line's name in the store.
        line: String,
        /// The entry's index; none for one of the line's other facts.
        index: Option<u64>,
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Records that were acknowledged are not there any more: sled dropped damaged ones.
    #[error(
        "the log in {file} is damaged: {acknowledged} batches of records were acknowledged, and \
         {there} are there; restore this node from its peers"
    )]
    Lost {
        /// The file.
        file: PathBuf,
        /// Batches that were acknowledged.
        acknowledged: u64,
        /// Batches that are there.
        there: u64,
    },
    /// The trees of this name belong to another line: another cluster's, as a rule.
    #[error("the folder holds {found:?}, not {asked:?}")]
    OtherLine {
        /// The line that was asked for.
        asked: Box<LineRef>,
        /// The line that is there.
        found: Box<LineRef>,
    },
    /// sled could not open or read its files.
    #[error("the store: {0}")]
    Rows(#[from] rows::Error),
    /// The file system.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// A node's store. Clones are the same store; it is closed when the last one goes.
#[derive(Clone)]
pub struct Disk(Arc<Inner>);

struct Inner {
    data: PathBuf,
    rows: Rows,
    file: PathBuf,
    lines: Mutex<BTreeMap<String, Arc<Line>>>,
    queue: Arc<Queue>,
    room: Arc<Semaphore>,
    syncs: Arc<AtomicU64>,
    writer: Option<writer::Running>,
    /// Locked for as long as the store is open.
    _lock: File,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Disk({})", self.0.data.display())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let lines = self.lines.get_mut().unwrap_or_else(PoisonError::into_inner);
        for line in std::mem::take(lines).into_values() {
            // Saves the next start a wait for the leader; no promise hangs on it.
            let task = Task::Commit { line };
            let done = Done::Nobody;
            self.queue.push(Work { task, done });
        }
        self.queue.close();
        if let Some(writer) = self.writer.take() {
            writer.end();
        }
    }
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, Error> {
    result.map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

impl Disk {
    /// Opens the store in a node's data folder, which is created when it is not there.
    ///
    /// # Errors
    /// `InUse` when another process has the folder; else the disk's.
    pub fn open(data: &Path) -> Result<Self, Error> {
        let folder = place::store(data);
        at(&folder, place::create_folder(&folder))?;
        let lock = take_lock(data)?;
        let path = folder.join("db");
        wait_until_free(data, &path)?;
        let rows = Rows::open(&folder)?;
        at(&folder, rows::sync_new(data, &folder))?;
        Self::start(data, rows, &path, lock)
    }

    /// Starts the writer, which syncs the file at `path`.
    fn start(data: &Path, rows: Rows, path: &Path, lock: File) -> Result<Self, Error> {
        let path = path.to_owned();
        let sync = at(&path, rows.sync(&place::store(data), &path))?;
        let queue = Arc::new(Queue::default());
        let syncs = Arc::new(AtomicU64::new(0));
        let beside = place::witness(data);
        let witness = match at(&beside, Witness::open(&beside, rows.nameless()))? {
            Found::Whole(witness) => witness,
            Found::Lost {
                acknowledged,
                there,
            } => {
                return Err(Error::Lost {
                    file: path,
                    acknowledged,
                    there,
                });
            }
        };
        let writer = Writer {
            rows: rows.clone(),
            sync,
            witness,
            queue: Arc::clone(&queue),
            syncs: Arc::clone(&syncs),
        };
        Ok(Self(Arc::new(Inner {
            data: data.to_owned(),
            rows,
            lines: Mutex::default(),
            queue,
            room: Arc::new(Semaphore::new(
                usize::try_from(QUEUE_BYTES_MAX).unwrap_or(usize::MAX),
            )),
            syncs,
            writer: Some(at(&path, writer.start())?),
            file: path,
            _lock: lock,
        })))
    }

    /// The node's data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.0.data
    }

    /// How many times the log was synced since it was opened: the measure of group commit.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::Relaxed)
    }

    /// The lines that have a log here.
    ///
    /// # Errors
    /// The disk's, or `Damaged`.
    pub fn lines(&self) -> Result<Vec<LineRef>, Error> {
        let mut lines = Vec::new();
        for tree in self.0.rows.names() {
            let Some(name) = std::str::from_utf8(&tree)
                .ok()
                .and_then(|tree| tree.strip_prefix("meta/"))
            else {
                continue;
            };
            let meta = self.0.rows.tree(&tree)?;
            // Without it, the line was being created: nothing was acknowledged on it.
            let Some(value) = meta.get(line::REFERENCE)? else {
                continue;
            };
            let reference =
                record::open_fact(name, line::REFERENCE, &value).map_err(|why| Error::Damaged {
                    line: name.to_owned(),
                    index: None,
                    file: self.0.file.clone(),
                    why,
                })?;
            lines.push(reference);
        }
        Ok(lines)
    }

    /// The log of a line, created when it is not there. Every row of it is read and checked.
    ///
    /// # Errors
    /// `Damaged` when a record is; `OtherLine` when the folder is another cluster's.
    pub fn log(&self, reference: &LineRef) -> Result<Log, Error> {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let name = place::line_name(reference);
        if let Some(line) = lines.get(&name).filter(|l| l.reference == *reference) {
            return Ok(Log::new(self.clone(), Arc::clone(line)));
        }
        let line = Arc::new(Line::open(&self.0.rows, &self.0.file, reference)?);
        if line.meta.get(line::REFERENCE)?.is_none() {
            let value = record::seal_fact(&name, line::REFERENCE, reference);
            line.meta.insert(line::REFERENCE, value)?;
        }
        lines.insert(name, Arc::clone(&line));
        Ok(Log::new(self.clone(), line))
    }

    /// Removes a branch's log and snapshots; what is gone already is fine. Its audit trail stays,
    /// always. The branch's group must be shut down.
    ///
    /// # Errors
    /// The disk's.
    pub async fn forget(&self, reference: &LineRef) -> io::Result<()> {
        let name = place::line_name(reference);
        let open = {
            let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.remove(&name)
        };
        if let Some(line) = open {
            // Nothing of it is left to be stored later.
            line.index().commit(None);
        }
        self.ask(Task::Forget { name }).await?;
        let snapshots = place::snapshots(&self.0.data, reference);
        crate::blocking::run(move || place::remove_folder(&snapshots)).await?
    }

    fn push(&self, task: Task, done: Done) {
        self.0.queue.push(Work { task, done });
    }

    fn ask(&self, task: Task) -> Durable {
        let (sender, durable) = Durable::new();
        self.push(task, Done::Durable(sender));
        durable
    }
}

pub(crate) fn take_lock(data: &Path) -> Result<File, Error> {
    let path = place::lock(data);
    let open = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let lock = at(&path, open)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::InUse {
            folder: data.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(Error::File { path, source }),
    }
}

/// Waits until nothing holds sled's file: our own lock is held by now, so that can only be a store
/// closed in this process a moment ago, whose threads let go of the file after its last user has.
fn wait_until_free(data: &Path, path: &Path) -> Result<(), Error> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => at(path, opened)?,
    };
    let deadline = Instant::now() + FREED_WITHIN;
    loop {
        match file.try_lock() {
            Ok(()) => return at(path, file.unlock()),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(FREED_POLL);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::InUse {
                    folder: data.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(Error::File {
                    path: path.to_owned(),
                    source,
                });
            }
        }
    }
}
