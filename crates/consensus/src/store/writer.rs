//! The one thread that writes to a node's store, for all its lines: it takes a batch, applies it,
//! syncs once and then tells everybody who waits, in order.
//!
//! sled's `flush` does not sync the file on Linux (docs/decisions/003), so the thread does, through a
//! handle of its own. After the first error nothing is acknowledged any more: what a failed sync
//! left on the disk is unknown, and a retry that succeeds would prove nothing.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::LogId;

use super::line::{self, Line};
use super::pin::Kept;
use super::queue::{Queue, Task, Work};
use super::record;
use super::witness::Witness;

/// Most rows that a purge removes at once: readers wait meanwhile.
const PURGE_ROWS_MAX: usize = 4096;

pub(super) struct Writer {
    pub(super) db: sled::Db,
    pub(super) file: File,
    pub(super) witness: Witness,
    pub(super) blobs: PathBuf,
    pub(super) queue: Arc<Queue>,
    pub(super) syncs: Arc<AtomicU64>,
}

/// What is to be applied to a line's trees in one go.
struct Pending {
    line: Arc<Line>,
    log: sled::Batch,
    meta: sled::Batch,
    ticket: u64,
}

impl Writer {
    /// Works until the queue is closed.
    pub(super) fn run(mut self) {
        let mut failed: Option<String> = None;
        loop {
            let batch = self.queue.take();
            if batch.is_empty() {
                return;
            }
            let (tasks, dones): (Vec<_>, Vec<_>) = batch
                .into_iter()
                .map(|Work { task, done }| (task, done))
                .unzip();
            let result = match &failed {
                Some(why) => Err(io::Error::other(why.clone())),
                // sled may panic on a broken disk; those who wait must hear of it all the same.
                None => catch_unwind(AssertUnwindSafe(|| self.carry_out(tasks)))
                    .unwrap_or_else(|_| Err(io::Error::other("the store panicked"))),
            };
            if let (Err(error), None) = (&result, &failed) {
                tracing::error!(%error, "the store failed, nothing is acknowledged any more");
                failed = Some(format!("the store failed before: {error}"));
            }
            for done in dones {
                done.tell(&result);
            }
        }
    }

    fn carry_out(&mut self, tasks: Vec<Task>) -> io::Result<()> {
        let mut pendings: Vec<Pending> = Vec::new();
        let mut changed = false;
        for task in tasks {
            changed |= !matches!(task, Task::Barrier);
            match task {
                Task::Append { line, rows, ticket } => {
                    let pending = pending(&mut pendings, &line);
                    for (key, value) in rows {
                        pending.log.insert(&key, value);
                    }
                    pending.ticket = ticket;
                }
                Task::Fact { line, key, value } => {
                    let pending = pending(&mut pendings, &line);
                    match value {
                        Some(value) => pending.meta.insert(key, value),
                        None => pending.meta.remove(key),
                    }
                }
                Task::Truncate { line, from } => {
                    settle(&mut pendings, &line)?;
                    truncate(&line, from)?;
                }
                Task::Purge { line, purged, kept } => {
                    settle(&mut pendings, &line)?;
                    purge(&line, purged, &kept)?;
                }
                Task::Forget { name } => {
                    pendings.retain(|pending| pending.line.name != name);
                    self.db.drop_tree(line::log_tree(&name))?;
                    self.db.drop_tree(line::meta_tree(&name))?;
                }
                Task::Commit { line } => {
                    let _with_the_rest = pending(&mut pendings, &line);
                }
                Task::Barrier => {}
            }
        }
        for pending in pendings {
            apply(pending)?;
        }
        if changed {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.witness.number(&self.db)?;
        self.db.flush()?;
        // Rows are too small for sled to move a page out of its file; should it ever, the page is
        // synced too.
        for blob in fs::read_dir(&self.blobs)? {
            File::open(blob?.path())?.sync_data()?;
            File::open(&self.blobs)?.sync_all()?;
        }
        self.file.sync_data()?;
        self.witness.note()?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn pending<'a>(pendings: &'a mut Vec<Pending>, line: &Arc<Line>) -> &'a mut Pending {
    let at = pendings
        .iter()
        .position(|pending| Arc::ptr_eq(&pending.line, line))
        .unwrap_or_else(|| {
            pendings.push(Pending {
                line: Arc::clone(line),
                log: sled::Batch::default(),
                meta: sled::Batch::default(),
                ticket: 0,
            });
            pendings.len() - 1
        });
    #[allow(
        clippy::indexing_slicing,
        reason = "the position was found, or pushed, just above"
    )]
    &mut pendings[at]
}

/// Applies what is pending for the line, before something that must see it in the trees.
fn settle(pendings: &mut Vec<Pending>, line: &Arc<Line>) -> io::Result<()> {
    match pendings
        .iter()
        .position(|pending| Arc::ptr_eq(&pending.line, line))
    {
        Some(at) => apply(pendings.swap_remove(at)),
        None => Ok(()),
    }
}

/// Entries first: what says "committed" must not survive them.
fn apply(mut pending: Pending) -> io::Result<()> {
    let line = &pending.line;
    line.log.apply_batch(pending.log)?;
    if let Some(committed) = line.take_committed(pending.ticket) {
        let value = record::seal_fact(&line.name, line::COMMITTED, &committed);
        pending.meta.insert(line::COMMITTED, value);
    }
    line.meta.apply_batch(pending.meta)?;
    line.written(pending.ticket);
    Ok(())
}

/// Notes first, removes then: a power cut in between leaves rows too many, never a hole.
fn purge(line: &Line, purged: LogId, kept: &Kept) -> io::Result<()> {
    let value = record::seal_fact(&line.name, line::PURGED, &purged);
    line.meta.insert(line::PURGED, value)?;
    let range = record::key(0, 0)..=record::key(purged.index, u16::MAX);
    let mut batch = sled::Batch::default();
    let mut removed = 0;
    for row in line.log.range(range) {
        let (key, _) = row?;
        if record::index_of(&key).is_some_and(|(index, _)| kept.contains(index)) {
            continue;
        }
        batch.remove(key);
        removed += 1;
        if removed % PURGE_ROWS_MAX == 0 {
            line.log.apply_batch(std::mem::take(&mut batch))?;
        }
    }
    line.log.apply_batch(batch)?;
    Ok(())
}

/// Removes the entries from `from` on, in one batch: half a truncation could leave a hole.
fn truncate(line: &Line, from: u64) -> io::Result<()> {
    let mut batch = sled::Batch::default();
    for row in line.log.range(record::key(from, 0)..) {
        let (key, _) = row?;
        batch.remove(key);
    }
    line.log.apply_batch(batch)?;
    Ok(())
}
