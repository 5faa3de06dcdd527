//! A line's log as openraft sees it.

use std::fmt;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use domain::planted::{self, Fault};
use domain::{LineRef, LogId};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use super::Disk;
use super::QUEUE_BYTES_MAX;
use super::line::{self, Line};
use super::pin::{self, Pin};
use super::queue::{Done, Durable, Task, gone};
use super::record::{self, StoredVote};
use crate::raft::{self, Entry, RaftLogId, TypeConfig, Vote};

/// Most bytes of entries that one message to a follower is filled with.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// What an entry counts at least, so that the queue is bounded in entries too.
const ENTRY_BYTES_MIN: usize = 256;

/// The log, vote and pins of a line. Clones are the same log.
#[derive(Clone)]
pub struct Log {
    disk: Disk,
    line: Arc<Line>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({})", self.line.name)
    }
}

impl Log {
    pub(super) fn new(disk: Disk, line: Arc<Line>) -> Self {
        Self { disk, line }
    }

    /// The line.
    #[must_use]
    pub fn reference(&self) -> &LineRef {
        &self.line.reference
    }

    /// The store that the log is in.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The last entry that is known to be committed.
    #[must_use]
    pub fn committed(&self) -> Option<LogId> {
        self.line.index().committed
    }

    /// The last entry that is purged, and the last there is.
    #[must_use]
    pub fn bounds(&self) -> (Option<LogId>, Option<LogId>) {
        let index = self.line.index();
        (index.purged, index.last)
    }

    /// Whether nothing was ever stored: the line's group can be initialised.
    #[must_use]
    pub fn is_pristine(&self) -> bool {
        let index = self.line.index();
        index.last.is_none() && index.vote.is_none()
    }

    /// The pins.
    #[must_use]
    pub fn pins(&self) -> Vec<Pin> {
        self.line.index().pins.values().copied().collect()
    }

    /// Keeps the entries from the snapshot (or the first) up to the boundary, from now on; it holds
    /// over a restart once the answer has resolved, and before anything asked later does.
    pub fn pin(&self, pin: Pin) -> Durable {
        let mut index = self.line.index();
        index.pins.insert(pin.boundary, pin);
        let key = pin::key(pin.boundary);
        let value = Some(record::seal_fact(&self.line.name, &key, &pin));
        // Pushed under the lock, so that a purge decided before is carried out before.
        self.disk.ask(Task::Fact {
            line: Arc::clone(&self.line),
            key,
            value,
        })
    }

    /// Lets go of a pin, and of the entries that only it kept.
    pub fn release(&self, boundary: LogId) -> Durable {
        let mut index = self.line.index();
        index.pins.remove(&boundary);
        let removal = Task::Fact {
            line: Arc::clone(&self.line),
            key: pin::key(boundary),
            value: None,
        };
        let Some(purged) = index.purged else {
            return self.disk.ask(removal);
        };
        self.disk.push(removal, Done::Nobody);
        self.disk.ask(Task::Purge {
            line: Arc::clone(&self.line),
            purged,
            kept: index.kept(),
        })
    }

    /// Resolves when all that was asked before is durable.
    pub fn barrier(&self) -> Durable {
        self.disk.ask(Task::Barrier)
    }

    /// The entries from `from` to `to`, both included, as far as they are on the disk: those purged
    /// but pinned are among them.
    ///
    /// # Errors
    /// The disk's, or a damaged entry.
    pub fn entries(&self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        let purged = self.line.index().purged.map_or(0, |id| id.index + 1);
        let end = to.saturating_add(1);
        let old = self.line.stored(from, end.min(purged), usize::MAX)?;
        let mut entries: Vec<Entry> = old.into_iter().map(|(entry, _)| entry).collect();
        entries.extend(self.line.read(from.max(purged), end, None)?);
        Ok(entries)
    }

    /// The index of the first entry on the disk that is not purged, and one past the last.
    #[must_use]
    pub fn range(&self) -> (u64, u64) {
        let (purged, last) = self.bounds();
        let next = |id: Option<LogId>| id.map_or(0, |id| id.index + 1);
        (next(purged), next(last))
    }
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.line.read(from, to, None)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.line.read(start, end, Some(MESSAGE_BYTES_MAX))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.line.index().vote)
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let (purged, last) = self.bounds();
        Ok(LogState {
            last_purged_log_id: purged.map(raft::raft_log_id),
            last_log_id: last.map(raft::raft_log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if planted::is(Fault::VoteNotPersisted) {
            self.line.index().vote = Some(*vote);
            return Ok(());
        }
        let (sender, receiver) = oneshot::channel();
        let value = record::seal_fact(&self.line.name, line::VOTE, &StoredVote::from(vote));
        self.disk.push(
            Task::Fact {
                line: Arc::clone(&self.line),
                key: line::VOTE.to_vec(),
                value: Some(value),
            },
            Done::Voted(Arc::clone(&self.line), *vote, sender),
        );
        receiver.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> Result<(), io::Error> {
        let committed = committed.map(|id| raft::log_id(&id));
        if self.line.index().commit(committed) {
            self.disk.0.queue.commit_later(&self.line);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<RaftLogId>, io::Error> {
        Ok(self.committed().map(raft::raft_log_id))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut rows = Vec::new();
        let mut sized = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            let encoded = record::encode_entry(&entry)?;
            rows.extend(record::rows(&self.line.name, entry.log_id.index, &encoded)?);
            bytes += encoded.len().max(ENTRY_BYTES_MIN);
            sized.push((entry, encoded.len()));
        }
        let room = u32::try_from(bytes)
            .unwrap_or(u32::MAX)
            .min(QUEUE_BYTES_MAX);
        let permit = Arc::clone(&self.disk.0.room)
            .acquire_many_owned(room)
            .await
            .map_err(io::Error::other)?;
        let mut index = self.line.index();
        let ticket = index.append(sized);
        let task = Task::Append {
            line: Arc::clone(&self.line),
            rows,
            ticket,
        };
        self.disk.push(task, Done::Flushed(callback, permit));
        drop(index);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> Result<(), io::Error> {
        let mut index = self.line.index();
        if let Some(from) = index.truncate(last.map(|id| raft::log_id(&id))) {
            let line = Arc::clone(&self.line);
            // Whatever replaces these entries is behind this in the queue.
            self.disk.push(Task::Truncate { line, from }, Done::Nobody);
        }
        drop(index);
        Ok(())
    }

    async fn purge(&mut self, upto: RaftLogId) -> Result<(), io::Error> {
        let mut index = self.line.index();
        let purged = raft::log_id(&upto);
        index.purge(purged);
        let task = Task::Purge {
            line: Arc::clone(&self.line),
            purged,
            kept: index.kept(),
        };
        self.disk.push(task, Done::Nobody);
        drop(index);
        Ok(())
    }
}
