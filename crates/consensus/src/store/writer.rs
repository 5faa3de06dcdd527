//! The one thread that writes to a node's store, for all its lines: it takes a batch, applies it,
//! syncs once and then tells everybody who waits, in order.
//!
//! sled's `flush` does not sync the file on Linux (docs/decisions/003), so the thread does, through a
//! handle of its own. After the first error nothing is acknowledged any more: what a failed sync
//! left on the disk is unknown, and a retry that succeeds would prove nothing.

use std::io;
#[cfg(not(simulation))]
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::LogId;
use domain::planted::{self, Fault};

use super::line::{self, Line};
use super::pin::Kept;
use super::queue::{Done, Queue, Task, Work};
use super::record;
use super::rows::{self, Batch, Rows};
use super::witness::Witness;

/// Most rows that a purge removes at once: readers wait meanwhile.
const PURGE_ROWS_MAX: usize = 4096;

pub(super) struct Writer {
    pub(super) rows: Rows,
    pub(super) sync: rows::Sync,
    pub(super) witness: Witness,
    pub(super) queue: Arc<Queue>,
    pub(super) syncs: Arc<AtomicU64>,
}

/// What is to be applied to a line's trees in one go.
struct Pending {
    line: Arc<Line>,
    log: Batch,
    meta: Batch,
    ticket: u64,
}

/// A writer at work.
pub(super) struct Running(Worker);

#[cfg(not(simulation))]
type Worker = std::thread::JoinHandle<()>;
#[cfg(simulation)]
type Worker = tokio::task::JoinHandle<()>;

#[cfg(not(simulation))]
impl Running {
    /// Waits until the closed queue is worked off.
    pub(super) fn end(self) {
        // It catches its own panics, and has told those who waited.
        drop(self.0.join());
    }
}

#[cfg(simulation)]
impl Running {
    /// Lets it work the closed queue off.
    pub(super) fn end(self) {
        drop(self.0);
    }
}

/// Why nothing is acknowledged any more, once something failed.
#[derive(Default)]
struct Failed(Option<String>);

impl Failed {
    /// Tells everybody who waits, in order.
    fn tell(&mut self, result: io::Result<()>, dones: Vec<Done>) {
        if let (Err(error), None) = (&result, &self.0) {
            tracing::error!(%error, "the store failed, nothing is acknowledged any more");
            self.0 = Some(format!("the store failed before: {error}"));
        }
        for done in dones {
            done.tell(&result);
        }
    }

    fn before(&self) -> io::Result<()> {
        self.0
            .as_ref()
            .map_or(Ok(()), |why| Err(io::Error::other(why.clone())))
    }
}

fn split(batch: Vec<Work>) -> (Vec<Task>, Vec<Done>) {
    let works = batch.into_iter().map(|Work { task, done }| (task, done));
    works.unzip()
}

impl Writer {
    /// Works until the queue is closed, in a thread of its own.
    #[cfg(not(simulation))]
    pub(super) fn start(self) -> io::Result<Running> {
        let thread = std::thread::Builder::new().name("tidemark-disk".to_owned());
        Ok(Running(thread.spawn(move || self.run())?))
    }

    /// Works until the queue is closed, as a task: a simulation has one thread.
    #[cfg(simulation)]
    pub(super) fn start(self) -> io::Result<Running> {
        Ok(Running(tokio::spawn(self.run())))
    }

    #[cfg(not(simulation))]
    fn run(mut self) {
        let mut failed = Failed::default();
        loop {
            let batch = self.queue.take();
            if batch.is_empty() {
                return;
            }
            let (tasks, dones) = split(batch);
            let result = failed.before().and_then(|()| {
                // sled may panic on a broken disk; those who wait must hear of it all the same.
                catch_unwind(AssertUnwindSafe(|| self.carry_out(tasks)))
                    .unwrap_or_else(|_| Err(io::Error::other("the store panicked")))
            });
            failed.tell(result, dones);
        }
    }

    #[cfg(not(simulation))]
    fn carry_out(&mut self, tasks: Vec<Task>) -> io::Result<()> {
        if self.put(tasks)? {
            self.sync()?;
        }
        Ok(())
    }

    /// Between what is put and what is synced, time passes: the power may go.
    #[cfg(simulation)]
    async fn run(mut self) {
        let mut failed = Failed::default();
        loop {
            let batch = self.queue.take().await;
            if batch.is_empty() {
                return;
            }
            let (tasks, mut dones) = split(batch);
            if planted::is(Fault::EarlyAcknowledgement) {
                failed.tell(Ok(()), std::mem::take(&mut dones));
            }
            let mut result = failed.before().and_then(|()| self.put(tasks));
            if let Ok(true) = result {
                self.sync.takes().await;
                result = self.sync().map(|()| true);
            }
            failed.tell(result.map(drop), dones);
        }
    }

    /// Puts what is asked into the rows, and says whether there is something to be synced.
    fn put(&mut self, tasks: Vec<Task>) -> io::Result<bool> {
        let mut pendings: Vec<Pending> = Vec::new();
        let mut changed = false;
        for task in tasks {
            changed |= task.changes();
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
                    self.rows.drop_tree(line::log_tree(&name))?;
                    self.rows.drop_tree(line::meta_tree(&name))?;
                }
                Task::Commit { line } => {
                    if line.committed_waits() {
                        let _with_the_rest = pending(&mut pendings, &line);
                    }
                }
                Task::Barrier => {}
            }
        }
        for pending in pendings {
            apply(pending)?;
        }
        Ok(changed)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.witness.number(self.rows.nameless())?;
        if !planted::is(Fault::SkipSync) {
            self.sync.sync()?;
        }
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
                log: Batch::default(),
                meta: Batch::default(),
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
    let mut batch = Batch::default();
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
    let mut batch = Batch::default();
    for row in line.log.range(record::key(from, 0)..) {
        let (key, _) = row?;
        batch.remove(key);
    }
    line.log.apply_batch(batch)?;
    Ok(())
}
