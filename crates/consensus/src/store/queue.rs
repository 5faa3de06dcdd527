//! The queue in front of the disk's writer thread. It is drained in batches, each of which costs
//! one sync, however many wait for it (group commit).

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use domain::LogId;
use openraft::storage::IOFlushed;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::line::Line;
use super::pin::Kept;
use super::record::Row;
use crate::raft::{TypeConfig, Vote};

/// Most bytes of entries that one sync covers.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Most pieces of work that one sync covers.
const BATCH_WORKS_MAX: usize = 4096;
/// How long the disk is left alone before what is only noted as committed goes there by itself.
const IDLE: Duration = Duration::from_millis(100);

/// What is asked of the disk.
pub(super) enum Task {
    /// Store entries.
    Append {
        line: Arc<Line>,
        rows: Vec<Row>,
        ticket: u64,
    },
    /// Store or remove one of the line's facts.
    Fact {
        line: Arc<Line>,
        key: Vec<u8>,
        value: Option<Vec<u8>>,
    },
    /// Remove entries from this index on.
    Truncate { line: Arc<Line>, from: u64 },
    /// Note what is purged, and remove the entries up to there but those kept for a pin.
    Purge {
        line: Arc<Line>,
        purged: LogId,
        kept: Kept,
    },
    /// Remove everything of a line.
    Forget { name: String },
    /// Store what is noted as committed and still waits for an entry to go with.
    Commit { line: Arc<Line> },
    /// Nothing: only wait for what was asked before.
    Barrier,
}

impl Task {
    /// Whether there is something to be synced after it.
    pub(super) fn changes(&self) -> bool {
        match self {
            Self::Append { .. }
            | Self::Fact { .. }
            | Self::Truncate { .. }
            | Self::Purge { .. }
            | Self::Forget { .. } => true,
            // It may have gone with an entry since.
            Self::Commit { line } => line.committed_waits(),
            Self::Barrier => false,
        }
    }
}

/// Who is told when it is durable.
pub(super) enum Done {
    /// openraft, about entries.
    Flushed(IOFlushed<TypeConfig>, OwnedSemaphorePermit),
    /// Someone who waits.
    Durable(oneshot::Sender<io::Result<()>>),
    /// Someone who waits for a vote, which counts as saved from then on.
    Voted(Arc<Line>, Vote, oneshot::Sender<io::Result<()>>),
    /// Nobody.
    Nobody,
}

/// A task and who waits for it.
pub(super) struct Work {
    pub(super) task: Task,
    pub(super) done: Done,
}

impl Work {
    fn bytes(&self) -> usize {
        match &self.task {
            Task::Append { rows, .. } => rows.iter().map(|(_, value)| value.len()).sum(),
            Task::Fact { .. }
            | Task::Truncate { .. }
            | Task::Purge { .. }
            | Task::Forget { .. }
            | Task::Commit { .. }
            | Task::Barrier => 0,
        }
    }
}

/// Resolves when what was asked is durable. Dropping it does not take the request back.
#[derive(Debug)]
#[must_use = "what was asked is durable only once this has resolved"]
pub struct Durable(oneshot::Receiver<io::Result<()>>);

impl Durable {
    pub(super) fn new() -> (oneshot::Sender<io::Result<()>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }
}

impl Future for Durable {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or_else(|_| Err(gone())))
    }
}

pub(super) fn gone() -> io::Error {
    io::Error::other("the store's writer has ended")
}

#[cfg(not(simulation))]
type Arrived = std::sync::Condvar;
#[cfg(simulation)]
type Arrived = tokio::sync::Notify;

#[derive(Default)]
struct Waiting {
    works: VecDeque<Work>,
    /// Lines of which what is committed goes to the disk once nothing else has for a while.
    later: Vec<Arc<Line>>,
    closed: bool,
}

/// The queue. Its length is bounded by those who put work in: entries by a semaphore, all else by
/// being waited for or rare.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Arrived,
}

impl Queue {
    pub(super) fn push(&self, work: Work) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.closed {
            drop(waiting);
            work.done.tell(&Err(gone()));
            return;
        }
        waiting.works.push_back(work);
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Leaves it until the disk has nothing else to do to store what is committed of a line. It may
    /// never come to it.
    pub(super) fn commit_later(&self, line: &Arc<Line>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.later.iter().any(|other| Arc::ptr_eq(other, line)) {
            return;
        }
        waiting.later.push(Arc::clone(line));
        drop(waiting);
        self.arrived.notify_one();
    }

    pub(super) fn close(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.closed = true;
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Waits for work and takes a batch; nothing once the queue is closed and empty. One waits.
    #[cfg(not(simulation))]
    pub(super) fn take(&self) -> Vec<Work> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if waiting.is_ready() {
                return waiting.batch();
            }
            if waiting.later.is_empty() {
                let woken = self.arrived.wait(waiting);
                waiting = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let idle = |waiting: &mut Waiting| !waiting.is_ready();
            let woken = self.arrived.wait_timeout_while(waiting, IDLE, idle);
            let (now, waited) = woken.unwrap_or_else(PoisonError::into_inner);
            waiting = now;
            if waited.timed_out() && !waiting.is_ready() {
                return waiting.commits();
            }
        }
    }

    /// Waits for work and takes a batch; nothing once the queue is closed and empty. One waits.
    #[cfg(simulation)]
    pub(super) async fn take(&self) -> Vec<Work> {
        loop {
            let has_later = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if waiting.is_ready() {
                    return waiting.batch();
                }
                !waiting.later.is_empty()
            };
            let arrived = self.arrived.notified();
            if !has_later {
                arrived.await;
            } else if tokio::time::timeout(IDLE, arrived).await.is_err() {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                return waiting.commits();
            }
        }
    }
}

impl Waiting {
    fn is_ready(&self) -> bool {
        self.closed || !self.works.is_empty()
    }

    fn commits(&mut self) -> Vec<Work> {
        let lines = std::mem::take(&mut self.later).into_iter();
        let works = lines.map(|line| Work {
            task: Task::Commit { line },
            done: Done::Nobody,
        });
        works.collect()
    }

    fn batch(&mut self) -> Vec<Work> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES_MAX && batch.len() < BATCH_WORKS_MAX {
            let Some(work) = self.works.pop_front() else {
                break;
            };
            bytes += work.bytes();
            batch.push(work);
        }
        batch
    }
}

impl Done {
    pub(super) fn tell(self, result: &io::Result<()>) {
        let result = match result {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        match self {
            Self::Flushed(callback, permit) => {
                callback.io_completed(result);
                drop(permit);
            }
            // Who waited may have given up; what was asked is done all the same.
            Self::Durable(sender) => drop(sender.send(result)),
            Self::Voted(line, vote, sender) => {
                if result.is_ok() {
                    line.index().vote = Some(vote);
                }
                drop(sender.send(result));
            }
            Self::Nobody => {}
        }
    }
}
