//! An audit trail away from its node: one file of records in their order, with the checkpoints
//! that were signed of them. Whoever has the public key can tell that nothing was altered, removed,
//! put in another order, added or cut off. Nothing here asks a node.
//!
//! A file begins with [`BEGINNING`]. Each record is a letter for its kind, the length of its
//! content in four bytes, big endian, and the content in the stored encoding.

use domain::audit::{Head, Row};
use domain::{LogId, UnixMs, encoding};

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

/// A trail as its file is read: each row follows on the one before, and each checkpoint is of the
/// rows before it.
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
mod tests {
    use domain::audit::{Kind, Verdict};
    use domain::id::ClusterId;
    use domain::{LineId, LineRef};

    use super::*;
    use crate::checkpoint::Seen;
    use crate::keyring::Keyring;
    use crate::{SeededEntropy, key_file};

    const AT: UnixMs = UnixMs(1_686_391_200_000);

    fn keyring(seed: u64) -> Keyring {
        Keyring::parse(&key_file::found(AT, &SeededEntropy::new(seed)))
            .ok()
            .unwrap()
    }

    fn key(of: &Keyring) -> PublicKey {
        of.checkpoint_keys().next().unwrap().1
    }

    fn rows(from: Head, count: u64) -> Vec<Row> {
        let mut head = from;
        (0..count)
            .map(|_| {
                let row = Row {
                    sequence: head.sequence,
                    previous: head.hash,
                    log: LogId::default(),
                    at: UnixMs(head.sequence),
                    session: None,
                    kind: Kind::LoggedOut,
                    verdict: Verdict::Done,
                    actor: "front-end/web-1".to_owned(),
                    by: "C1".to_owned(),
                    account: None,
                    participant: None,
                    class: None,
                    portal: None,
                    method: None,
                    repeat: None,
                    detail: None,
                    approval: None,
                };
                head = row.head();
                row
            })
            .collect()
    }

    fn signed(by: &Keyring, trail: &LineId, rows: &[Row], claim: Claim) -> Vec<u8> {
        let seen = Seen {
            trail: Trail::Line(LineRef {
                cluster: ClusterId([7; 16]),
                line: trail.clone(),
                epoch: 1,
            }),
            head: rows.last().map(Row::head).unwrap_or_default(),
            at: AT,
            claim,
        };
        checkpoint(&by.sign_checkpoint(seen).unwrap())
    }

    const ALL: Claim = Claim::Export { first: 0 };

    /// The records of an export of six rows, with a checkpoint after the third.
    fn exported(by: &Keyring, rows: &[Row]) -> Vec<Vec<u8>> {
        let mut records: Vec<_> = rows.iter().map(row).collect();
        records.insert(3, signed(by, &LineId::Main, &rows[..3], Claim::End));
        records.push(signed(by, &LineId::Main, rows, ALL));
        records
    }

    fn read(records: &[Vec<u8>], key: PublicKey) -> Result<Whole, Fault> {
        let mut chain = Chain::believing(&[key]);
        chain.take(BEGINNING)?;
        // In small parts, as a stream may come.
        for part in records.concat().chunks(7) {
            chain.take(part)?;
        }
        chain.end()
    }

    #[test]
    fn a_whole_trail_is_found_whole() {
        let ours = keyring(1);
        let rows = rows(Head::default(), 6);
        let whole = read(&exported(&ours, &rows), key(&ours)).unwrap();
        assert_eq!((whole.rows, whole.first), (6, 0));
        assert_eq!(whole.head, Some(rows[5].head()));
        assert_eq!(whole.checkpoints, Some(2));
        assert_eq!(whole.ended_at, Some(AT));
        assert_eq!(whole.trail.unwrap().name(), "main");
    }

    #[test]
    fn an_altered_removed_reordered_or_added_record_is_found() {
        let ours = keyring(1);
        let rows = rows(Head::default(), 6);
        let whole = exported(&ours, &rows);
        for at in 0..whole.len() {
            let mut removed = whole.clone();
            removed.remove(at);
            // Without one checkpoint among them, the rows are still all there.
            assert_eq!(read(&removed, key(&ours)).is_ok(), at == 3, "{at} removed");
            let mut doubled = whole.clone();
            doubled.insert(at, whole[at].clone());
            assert_eq!(read(&doubled, key(&ours)).is_ok(), at == 3, "{at} added");
            if at > 0 {
                let mut swapped = whole.clone();
                swapped.swap(at - 1, at);
                assert!(read(&swapped, key(&ours)).is_err(), "{at} in another place");
            }
        }
        let all = whole.concat();
        for at in 0..all.len() {
            let mut altered = all.clone();
            altered[at] ^= 1;
            assert!(read(&[altered], key(&ours)).is_err(), "byte {at} altered");
        }
    }

    #[test]
    fn a_trail_that_was_cut_off_anywhere_is_found() {
        let ours = keyring(1);
        let rows = rows(Head::default(), 6);
        let all = exported(&ours, &rows).concat();
        for length in 0..all.len() {
            // The end of the third row's checkpoint is among these.
            assert!(read(&[all[..length].to_vec()], key(&ours)).is_err());
        }
        assert!(read(&exported(&ours, &rows)[1..], key(&ours)).is_err());
    }

    #[test]
    fn a_chain_that_was_made_anew_fits_no_signature() {
        let (ours, theirs) = (keyring(1), keyring(2));
        let mut forged = rows(Head::default(), 3);
        forged[1].by = "C2".to_owned();
        let mut head = Head::default();
        for row in &mut forged {
            row.previous = head.hash;
            head = row.head();
        }
        let rows = rows(Head::default(), 3);
        let mut records: Vec<_> = forged.iter().map(row).collect();
        records.push(signed(&ours, &LineId::Main, &rows, ALL));
        let found = read(&records, key(&ours)).unwrap_err();
        assert!(matches!(found, Fault::Checkpoint { .. }), "{found}");
        records.pop();
        records.push(signed(&theirs, &LineId::Main, &forged, ALL));
        let found = read(&records, key(&ours)).unwrap_err();
        assert!(found.to_string().contains("no key"), "{found}");
    }

    #[test]
    fn a_branchs_trail_begins_where_its_signature_says() {
        let ours = keyring(1);
        let all = rows(Head::default(), 6);
        let line = LineId::Branch {
            session: "S2-2023-06-10".parse().unwrap(),
            genesis: domain::Digest([1; 32]),
        };
        let own = &all[2..];
        let mut records: Vec<_> = own.iter().map(row).collect();
        records.push(signed(&ours, &line, own, Claim::Export { first: 2 }));
        let whole = read(&records, key(&ours)).unwrap();
        assert_eq!((whole.rows, whole.first), (4, 2));
        assert_eq!(whole.trail.unwrap().name(), "S2-2023-06-10");
        assert!(read(&records[1..], key(&ours)).is_err());
    }
}
