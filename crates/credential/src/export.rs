//! An audit trail away from its node: one file of records in their order, with the checkpoints
//! that were signed of them. Whoever has the public key can tell that nothing was altered, removed,
//! put in another order, added or cut off. Nothing here asks a node.
//!
//! A file begins with [`BEGINNING`]. Each record is a letter for its kind, the length of its
//! content in four bytes, big endian, and the content in the stored encoding.

use domain::audit::{Head, Row};
use domain::{LogId, UnixMs, encoding};

mod acts;
mod approvals;

use approvals::Approvals;

use crate::checkpoint::{Checkpoint, Claim, PublicKey, Trail};

/// What every file begins with; its last number is the version of the form.
pub const BEGINNING: &[u8] = b"tidemark audit 1\n";
/// Most bytes of a record's content.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;

const ROW: u8 = b'r';
const CHECKPOINT: u8 = b'c';
const LENGTH_BYTES: usize = 4;

/// Why a file is not the trail that was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It does not begin as one.
    #[error("this is no exported audit trail of a version that is known here")]
    NotAnExport,
    /// A record is not what is written in such a file.
    #[error("record {number} cannot be read: {why}")]
    Unreadable {
        /// Which, from 1, checkpoints counted too.
        number: u64,
        /// Why.
        why: String,
    },
    /// The row is not the one that belongs there.
    #[error("row {sequence}: {why}")]
    Row {
        /// Which.
        sequence: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// A checkpoint is not of these rows, or not of a key that is believed.
    #[error("the checkpoint after row {sequence}: {why}")]
    Checkpoint {
        /// Where the chain stood.
        sequence: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// It ends before its end.
    #[error("the trail is cut short after {rows} rows: {why}")]
    CutShort {
        /// Whole rows that were read.
        rows: u64,
        /// How that is known.
        why: &'static str,
    },
}

/// A row as it stands in a file.
#[must_use]
pub fn row(row: &Row) -> Vec<u8> {
    record(ROW, &encoding::encode(row))
}

/// A checkpoint as it stands in a file, after the last row that it is of.
#[must_use]
pub fn checkpoint(checkpoint: &Checkpoint) -> Vec<u8> {
    record(CHECKPOINT, &encoding::encode(checkpoint))
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(1 + LENGTH_BYTES + content.len());
    bytes.push(kind);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(content);
    bytes
}

/// What stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A row.
    Row(Box<Row>),
    /// A checkpoint.
    Checkpoint(Box<Checkpoint>),
}

/// Takes a file apart, in whatever parts it comes.
#[derive(Debug, Default)]
pub struct Reader {
    pending: Vec<u8>,
    begun: bool,
    records: u64,
    bytes: u64,
}

impl Reader {
    /// The records that are whole with this part.
    ///
    /// # Errors
    /// `NotAnExport` or `Unreadable`.
    pub fn take(&mut self, part: &[u8]) -> Result<Vec<Record>, Fault> {
        self.pending.extend_from_slice(part);
        let mut used = 0;
        if !self.begun {
            let known = self.pending.len().min(BEGINNING.len());
            if self.pending.get(..known) != BEGINNING.get(..known) {
                return Err(Fault::NotAnExport);
            }
            if known < BEGINNING.len() {
                return Ok(Vec::new());
            }
            self.begun = true;
            used = known;
        }
        let mut found = Vec::new();
        while let Some((record, length)) = self.next(used)? {
            found.push(record);
            used += length;
            self.records += 1;
        }
        self.pending.drain(..used);
        self.bytes += u64::try_from(used).unwrap_or(u64::MAX);
        Ok(found)
    }

    fn next(&self, from: usize) -> Result<Option<(Record, usize)>, Fault> {
        let unreadable = |why: &dyn std::fmt::Display| Fault::Unreadable {
            number: self.records + 1,
            why: why.to_string(),
        };
        let Some((kind, rest)) = self.pending.get(from..).and_then(<[u8]>::split_first) else {
            return Ok(None);
        };
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > RECORD_BYTES_MAX {
            return Err(unreadable(&format_args!("it has {length} bytes")));
        }
        let Some(content) = rest.get(..length) else {
            return Ok(None);
        };
        let (record, again) = match *kind {
            ROW => {
                let row: Row = encoding::decode(content).map_err(|error| unreadable(&error))?;
                let again = encoding::encode(&row);
                (Record::Row(Box::new(row)), again)
            }
            CHECKPOINT => {
                let checkpoint: Checkpoint =
                    encoding::decode(content).map_err(|error| unreadable(&error))?;
                let again = encoding::encode(&checkpoint);
                (Record::Checkpoint(Box::new(checkpoint)), again)
            }
            other => return Err(unreadable(&format_args!("its kind is {other}"))),
        };
        // What is hashed and signed is the content, not these bytes: they must be no others.
        if again != content {
            return Err(unreadable(&"it is not written as it should be"));
        }
        Ok(Some((record, 1 + LENGTH_BYTES + length)))
    }

    /// Bytes of the file up to the end of its last whole record.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it ended within a record, or before the first.
    #[must_use]
    pub fn torn(&self) -> bool {
        !self.begun || !self.pending.is_empty()
    }
}

/// A trail as its file is read: each row follows on the one before, each operator's approval is
/// the operator's, and each checkpoint is of the rows before it.
#[derive(Debug, Default)]
pub struct Chain {
    reader: Reader,
    keys: Vec<PublicKey>,
    trail: Option<Trail>,
    first: Option<u64>,
    last: Option<Last>,
    rows: u64,
    checkpoints: u64,
    ended_at: Option<UnixMs>,
    approvals: Approvals,
}

#[derive(Debug)]
struct Last {
    head: Head,
    log: LogId,
    at: UnixMs,
}

/// What a whole trail was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// Whose; none if no checkpoint says so.
    pub trail: Option<Trail>,
    /// Its rows.
    pub rows: u64,
    /// The sequence number of its first row: 0, but for a branch.
    pub first: u64,
    /// Its end; none without rows.
    pub head: Option<Head>,
    /// Checkpoints whose signatures were checked; none if no key was given.
    pub checkpoints: Option<u64>,
    /// Operators' signed approvals among its rows, each of which holds.
    pub approvals: u64,
    /// When it was signed that the export ends there.
    pub ended_at: Option<UnixMs>,
}

impl Chain {
    /// A chain whose checkpoints are believed by one of these keys; without any, the rows are
    /// checked and the signatures are not.
    #[must_use]
    pub fn believing(keys: &[PublicKey]) -> Self {
        Self {
            keys: keys.to_vec(),
            ..Self::default()
        }
    }

    /// Takes a part of the file; its records may begin and end anywhere.
    ///
    /// # Errors
    /// [`Fault`], naming the first record that is not as it should be.
    pub fn take(&mut self, part: &[u8]) -> Result<(), Fault> {
        for record in self.reader.take(part)? {
            match record {
                Record::Row(row) => self.follow(&row)?,
                Record::Checkpoint(checkpoint) => self.sealed(&checkpoint)?,
            }
        }
        Ok(())
    }

    fn follow(&mut self, row: &Row) -> Result<(), Fault> {
        let wrong = |why| {
            Err(Fault::Row {
                sequence: row.sequence,
                why,
            })
        };
        if self.ended_at.is_some() {
            return wrong("it was added after the end that was signed");
        }
        match &self.last {
            Some(last) if !row.follows(&last.head) => {
                return wrong("it does not follow on the one before it: the chain is broken");
            }
            Some(last) if row.log < last.log => {
                return wrong("it is of an earlier entry than the one before it");
            }
            Some(last) if row.at < last.at => {
                return wrong("its time is before that of the one before it");
            }
            Some(_) => {}
            // A main line's trail begins with nothing before it.
            None if row.sequence == 0 && !row.follows(&Head::default()) => {
                return wrong("it is the first and names one before it");
            }
            // A branch's own trail begins where it left the main line's.
            None => self.first = Some(row.sequence),
        }
        if let Err(why) = self.approvals.follow(row) {
            return wrong(why);
        }
        self.last = Some(Last {
            head: row.head(),
            log: row.log,
            at: row.at,
        });
        self.rows += 1;
        Ok(())
    }

    fn sealed(&mut self, checkpoint: &Checkpoint) -> Result<(), Fault> {
        let head = self.last.as_ref().map(|last| last.head).unwrap_or_default();
        let wrong = |why| {
            Err(Fault::Checkpoint {
                sequence: head.sequence,
                why,
            })
        };
        let seen = &checkpoint.seen;
        if self.ended_at.is_some() {
            return wrong("it was added after the end that was signed");
        }
        if !self.keys.is_empty() && !self.keys.iter().any(|key| checkpoint.signed_by(key)) {
            return wrong("its signature is by no key that is believed");
        }
        if seen.head != head {
            return wrong("other rows were signed than those that are here");
        }
        if !self.approvals.are_of(seen.trail.cluster()) {
            return wrong("approvals before it are of another cluster");
        }
        if self
            .trail
            .as_ref()
            .is_some_and(|trail| *trail != seen.trail)
        {
            return wrong("it is of another trail");
        }
        match seen.claim {
            Claim::End => {}
            Claim::Export { first } if first == self.first.unwrap_or_default() => {
                self.ended_at = Some(seen.at);
            }
            Claim::Export { .. } => return wrong("the trail was signed from another row on"),
        }
        self.trail = Some(seen.trail.clone());
        self.checkpoints += 1;
        Ok(())
    }

    /// What was read, if it ends where it should.
    ///
    /// # Errors
    /// `CutShort`.
    pub fn end(self) -> Result<Whole, Fault> {
        let cut = |why| {
            Err(Fault::CutShort {
                rows: self.rows,
                why,
            })
        };
        if self.reader.torn() {
            return cut("the file ends within a record");
        }
        if self.ended_at.is_none() {
            return cut("nothing that was signed says that it ends there");
        }
        Ok(Whole {
            trail: self.trail,
            rows: self.rows,
            first: self.first.unwrap_or_default(),
            head: self.last.map(|last| last.head),
            approvals: self.approvals.count(),
            checkpoints: (!self.keys.is_empty()).then_some(self.checkpoints),
            ended_at: self.ended_at,
        })
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
mod tests;
