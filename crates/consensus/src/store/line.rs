//! A line's part of the store: its trees, and what is known of them in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{LineRef, LogId};

use super::Error;
use super::pin::{self, Kept, Pin};
use super::record::{self, Assembly, StoredVote};
use super::rows::{Batch, Rows, Tree};
use crate::place;
use crate::raft::{self, Entry, Vote};

pub(super) const REFERENCE: &[u8] = b"reference";
pub(super) const PURGED: &[u8] = b"purged";
pub(super) const COMMITTED: &[u8] = b"committed";
pub(super) const VOTE: &[u8] = b"vote";

/// Most bytes of entries held in memory once they are written.
const TAIL_BYTES_MAX: usize = 16 << 20;

pub(super) fn log_tree(name: &str) -> String {
    format!("log/{name}")
}

pub(super) fn meta_tree(name: &str) -> String {
    format!("meta/{name}")
}

/// A line's trees and index.
pub(super) struct Line {
    pub(super) reference: LineRef,
    pub(super) name: String,
    pub(super) log: Tree,
    pub(super) meta: Tree,
    index: Mutex<Index>,
}

/// What is known of the log in memory: where it begins and ends, and its latest entries.
#[derive(Default)]
pub(super) struct Index {
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    /// Where the log begins, when nothing of it was purged.
    first: u64,
    /// The vote as it is on the disk.
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    /// Whether `committed` is still to go to the disk, with the next batch.
    committed_waits: bool,
    pub(super) pins: BTreeMap<LogId, Pin>,
    /// The latest entries: all that are not written yet, and some that are.
    tail: BTreeMap<u64, Held>,
    tail_bytes: usize,
    ticket: u64,
    written: u64,
    /// Moves whenever entries go away, so that a reader sees that its range did.
    pub(super) generation: u64,
}

struct Held {
    entry: Entry,
    bytes: usize,
    ticket: u64,
}

impl Line {
    /// Opens the line's trees and checks every row of them.
    pub(super) fn open(rows: &Rows, file: &Path, reference: &LineRef) -> Result<Self, Error> {
        let name = place::line_name(reference);
        let line = Self {
            reference: reference.clone(),
            log: rows.tree(log_tree(&name))?,
            meta: rows.tree(meta_tree(&name))?,
            name,
            index: Mutex::default(),
        };
        line.know(file)?;
        line.scan(file)?;
        Ok(line)
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damaged(&self, file: &Path, index: Option<u64>, why: String) -> Error {
        Error::Damaged {
            line: self.name.clone(),
            index,
            file: file.to_owned(),
            why,
        }
    }

    /// Reads the line's few facts.
    fn know(&self, file: &Path) -> Result<(), Error> {
        let mut index = self.index();
        for row in &self.meta {
            let (key, value) = row?;
            let damaged = |why: String| {
                let fact = String::from_utf8_lossy(&key).into_owned();
                self.damaged(file, None, format!("{fact}: {why}"))
            };
            match &*key {
                REFERENCE => {
                    let found: LineRef =
                        record::open_fact(&self.name, &key, &value).map_err(damaged)?;
                    if found != self.reference {
                        return Err(Error::OtherLine {
                            asked: Box::new(self.reference.clone()),
                            found: Box::new(found),
                        });
                    }
                }
                PURGED => {
                    let id = record::open_fact(&self.name, &key, &value).map_err(damaged)?;
                    index.purged = Some(id);
                }
                COMMITTED => {
                    let id = record::open_fact(&self.name, &key, &value).map_err(damaged)?;
                    index.committed = Some(id);
                }
                VOTE => {
                    let vote: StoredVote =
                        record::open_fact(&self.name, &key, &value).map_err(damaged)?;
                    index.vote = Some(Vote::from(vote));
                }
                other if other.starts_with(pin::PREFIX) => {
                    let pin: Pin = record::open_fact(&self.name, &key, &value).map_err(damaged)?;
                    index.pins.insert(pin.boundary, pin);
                }
                _unknown => return Err(damaged("no such fact".to_owned())),
            }
        }
        Ok(())
    }

    /// Checks every row of the log, and learns where it ends.
    fn scan(&self, file: &Path) -> Result<(), Error> {
        let mut index = self.index();
        let purged = index.purged.map_or(0, |id| id.index);
        let kept = Kept::by(index.pins.values());
        let mut last = index.purged;
        let mut committed_found = index.committed == index.purged;
        let mut superfluous = Batch::default();
        let mut assembly = Assembly::new(&self.name);
        let fault = |(at, why)| self.damaged(file, at, why);
        for row in &self.log {
            let (key, value) = row?;
            let Some((entry, _)) = assembly.take(&key, &value).map_err(fault)? else {
                continue;
            };
            let id = raft::log_id(&entry.log_id);
            committed_found |= index.committed == Some(id);
            if index.purged.is_some() && id.index <= purged {
                // Left by a power cut in the middle of a purge, or by a pin.
                if !kept.contains(id.index) {
                    for part in 0..=record::index_of(&key).map_or(0, |(_, part)| part) {
                        superfluous.remove(&record::key(id.index, part));
                    }
                }
                continue;
            }
            let expected = last.map_or(0, |last| last.index + 1);
            if id.index != expected {
                let why = format!("the log goes on at {} instead of {expected}", id.index);
                return Err(self.damaged(file, Some(expected), why));
            }
            last = Some(id);
        }
        assembly.finish().map_err(fault)?;
        index.last = last;
        if !committed_found {
            // Not known to be committed is always safe: the leader says it again.
            index.committed = index.purged;
        }
        drop(index);
        self.log.apply_batch(superfluous)?;
        Ok(())
    }

    /// The entries from `from` up to but not including `to`, as far as the log has them; when
    /// `bytes_max` is given, the first of them only.
    pub(super) fn read(
        &self,
        from: u64,
        to: u64,
        bytes_max: Option<usize>,
    ) -> io::Result<Vec<Entry>> {
        let bytes_max = bytes_max.unwrap_or(usize::MAX);
        loop {
            let index = self.index();
            let generation = index.generation;
            let start = from
                .max(index.purged.map_or(0, |id| id.index + 1))
                .max(index.first);
            let end = to.min(index.last.map_or(0, |id| id.index + 1));
            if start >= end {
                return Ok(Vec::new());
            }
            let hot: Vec<(Entry, usize)> = index
                .tail
                .range(start..end)
                .map(|(_, held)| (held.entry.clone(), held.bytes))
                .collect();
            drop(index);
            let cold_end = hot.first().map_or(end, |(entry, _)| entry.log_id.index);
            let cold = self.stored(start, cold_end, bytes_max);
            // Entries that went away in the meantime make holes and errors that are none.
            if self.index().generation != generation {
                continue;
            }
            return bounded(cold?, hot, start, end, bytes_max);
        }
    }

    /// The entries in the tree from `from` up to but not including `to`, purged ones too.
    pub(super) fn stored(
        &self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> io::Result<Vec<(Entry, usize)>> {
        let mut entries = Vec::new();
        let mut total = 0;
        if from >= to {
            return Ok(entries);
        }
        let mut assembly = Assembly::new(&self.name);
        let fault = |(at, why): record::Fault| {
            let at = at.map_or_else(String::new, |at| format!(" {at}"));
            let what = format!("log entry{at} of {} is damaged: {why}", self.name);
            io::Error::new(io::ErrorKind::InvalidData, what)
        };
        for row in self.log.range(record::key(from, 0)..record::key(to, 0)) {
            let (key, value) = row?;
            if let Some((entry, bytes)) = assembly.take(&key, &value).map_err(fault)? {
                total += bytes;
                entries.push((entry, bytes));
                if total >= bytes_max {
                    return Ok(entries);
                }
            }
        }
        assembly.finish().map_err(fault)?;
        Ok(entries)
    }

    /// Whether something is noted as committed that is not on the disk.
    pub(super) fn committed_waits(&self) -> bool {
        self.index().committed_waits
    }

    /// What was saved as committed since the last batch, unless that entry itself still waits for
    /// a batch after the one with this ticket.
    pub(super) fn take_committed(&self, ticket: u64) -> Option<LogId> {
        let mut index = self.index();
        let written = index.written.max(ticket);
        let committed = index.committed.filter(|_| index.committed_waits)?;
        let held = index.tail.get(&committed.index);
        if held.is_some_and(|held| held.ticket > written) {
            return None;
        }
        index.committed_waits = false;
        Some(committed)
    }

    /// Notes that the batches up to this ticket are in the trees, and lets go of old entries.
    pub(super) fn written(&self, ticket: u64) {
        let mut index = self.index();
        index.written = index.written.max(ticket);
        while index.tail_bytes > TAIL_BYTES_MAX {
            let written = index.written;
            let Some(first) = index.tail.first_entry() else {
                break;
            };
            if first.get().ticket > written {
                break;
            }
            let held = first.remove();
            index.tail_bytes = index.tail_bytes.saturating_sub(held.bytes);
        }
    }
}

/// Joins what came from the tree with what came from memory, and checks that nothing is missing.
fn bounded(
    cold: Vec<(Entry, usize)>,
    hot: Vec<(Entry, usize)>,
    start: u64,
    end: u64,
    bytes_max: usize,
) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(cold.len() + hot.len());
    let mut bytes = 0;
    for ((entry, size), expected) in cold.into_iter().chain(hot).zip(start..) {
        if entry.log_id.index != expected {
            return Err(hole(expected));
        }
        entries.push(entry);
        bytes += size;
        if bytes >= bytes_max {
            return Ok(entries);
        }
    }
    let read = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    if start.saturating_add(read) == end {
        Ok(entries)
    } else {
        Err(hole(start.saturating_add(read)))
    }
}

pub(super) fn hole(index: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("log entry {index} is missing"),
    )
}

impl Index {
    /// Takes entries in, with the bytes of each; gives the ticket under which they are written.
    pub(super) fn append(&mut self, entries: impl IntoIterator<Item = (Entry, usize)>) -> u64 {
        self.ticket += 1;
        for (entry, bytes) in entries {
            let id = raft::log_id(&entry.log_id);
            if self.last.is_none() {
                self.first = id.index;
            }
            self.last = Some(id);
            self.tail_bytes += bytes;
            let ticket = self.ticket;
            let held = Held {
                entry,
                bytes,
                ticket,
            };
            if let Some(former) = self.tail.insert(id.index, held) {
                self.tail_bytes = self.tail_bytes.saturating_sub(former.bytes);
            }
        }
        self.ticket
    }

    /// Lets go of the entries after this one; gives the first index that is gone, if one is.
    pub(super) fn truncate(&mut self, after: Option<LogId>) -> Option<u64> {
        let from = after.map_or(0, |id| id.index + 1);
        if self.last.is_none_or(|last| last.index < from) {
            return None;
        }
        self.generation += 1;
        let gone = self.tail.split_off(&from);
        let bytes: usize = gone.values().map(|held| held.bytes).sum();
        self.tail_bytes = self.tail_bytes.saturating_sub(bytes);
        self.last = after.max(self.purged);
        Some(from)
    }

    /// Lets go of the entries up to this one, which it notes as purged.
    pub(super) fn purge(&mut self, upto: LogId) {
        self.generation += 1;
        self.purged = self.purged.max(Some(upto));
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = Some(upto);
        }
        let rest = self.tail.split_off(&upto.index.saturating_add(1));
        let gone = std::mem::replace(&mut self.tail, rest);
        let bytes: usize = gone.values().map(|held| held.bytes).sum();
        self.tail_bytes = self.tail_bytes.saturating_sub(bytes);
    }

    /// Notes what is committed, to go to the disk with the next batch. Whether none was noted since
    /// the last one.
    pub(super) fn commit(&mut self, committed: Option<LogId>) -> bool {
        if self.committed == committed {
            return false;
        }
        self.committed = committed;
        let waited = std::mem::replace(&mut self.committed_waits, committed.is_some());
        self.committed_waits && !waited
    }

    /// What a purge leaves.
    pub(super) fn kept(&self) -> Kept {
        Kept::by(self.pins.values())
    }
}
