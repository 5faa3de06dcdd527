//! The audit trail of a line: append-only files of framed rows, a hash chain. Never wiped.
//!
//! Rows come from `apply`, again at each replay: what is there already is not written twice. What
//! the trail misses (a snapshot was installed past it) is known by the state's head, and is filled
//! from peers, checked against that head. The same files hold another line's rows, copied.

mod elsewhere;
mod once;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::LineRef;
use domain::audit::{Head, Row};

pub use self::once::Trails;

use self::segment::{Found, Rows, Segment, Tail};
use crate::files::{self, File};
use crate::place;

/// A segment of this size is closed.
const SEGMENT_BYTES_MAX: u64 = 4 << 20;
const EXTENSION: &str = "audit";

/// What is wrong with a trail, or with rows for it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A row on the disk is not what was written.
    #[error("audit row {sequence} in {file} is damaged: {why}")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The row.
        sequence: u64,
        /// What is wrong.
        why: String,
    },
    /// Rows do not belong where they were to go: another history, or a gap.
    #[error("audit row {sequence} does not belong to this trail: {why}")]
    Foreign {
        /// The row.
        sequence: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// The file system.
    #[error("{file}: {source}")]
    File {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl Error {
    fn file(file: &Path, source: io::Error) -> Self {
        Self::File {
            file: file.to_owned(),
            source,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Damaged { .. } | Error::Foreign { .. } => io::ErrorKind::InvalidData,
            Error::File { source, .. } => source.kind(),
        };
        Self::new(kind, error)
    }
}

/// A line's trail. Clones are the same trail.
#[derive(Debug, Clone)]
pub struct Trail(Arc<Held>);

#[derive(Debug)]
struct Held {
    folder: PathBuf,
    line: String,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// By the sequence number of the first row.
    segments: BTreeMap<u64, Segment>,
    /// What the first row follows: the parent's chain, on a branch.
    origin: Head,
    /// The end of the chain as the state has it: what the next row follows.
    next: Head,
    /// The segment that is appended to.
    open: Option<Arc<File>>,
    /// Rows before this one are durable, where there are rows.
    synced: u64,
}

impl Trail {
    /// Opens the trail in a node's data folder, and checks all of it. An unfinished row at its very
    /// end is cut off, so that nobody else may have the trail open: see `Trails`.
    ///
    /// # Errors
    /// `Damaged`, naming file and row.
    pub fn open(data: &Path, line: &LineRef) -> Result<Self, Error> {
        Self::open_in(place::audit(data, line), place::line_name(line))
    }

    /// As `open`, a trail that is no line's, such as a node's own of what was read there.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_in(folder: PathBuf, name: String) -> Result<Self, Error> {
        let file = |source| Error::file(&folder, source);
        place::create_folder(&folder).map_err(file)?;
        let mut firsts = Vec::new();
        for entry in files::read_dir(&folder).map_err(file)? {
            let path = entry.map_err(file)?.path();
            let first = path
                .file_stem()
                .filter(|_| path.extension().is_some_and(|found| found == EXTENSION))
                .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            if let Some(first) = first {
                firsts.push((first, path));
            }
        }
        firsts.sort();
        let newest = firsts.last().map(|(first, _)| *first);
        let mut segments: BTreeMap<u64, Segment> = BTreeMap::new();
        for (first, path) in firsts {
            let tail = if Some(first) == newest {
                Tail::MayBeTorn
            } else {
                Tail::Whole
            };
            let Some(segment) = segment::check(&name, &path, first, tail)? else {
                continue;
            };
            if let Some((_, before)) = segments.last_key_value() {
                joins(&before.head, &segment)?;
            }
            segments.insert(first, segment);
        }
        let next = segments
            .last_key_value()
            .map_or_else(Head::default, |(_, segment)| segment.head);
        Ok(Self(Arc::new(Held {
            folder,
            line: name,
            inner: Mutex::new(Inner {
                // Written by an earlier process: perhaps not on the disk yet.
                synced: segments.last_key_value().map_or(0, |(first, _)| *first),
                segments,
                origin: Head::default(),
                next,
                open: None,
            }),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, first: u64) -> PathBuf {
        self.0.folder.join(format!("{first:020}.{EXTENSION}"))
    }

    /// The end of the chain: of the rows here, or of the state if that is further.
    #[must_use]
    pub fn head(&self) -> Head {
        self.inner().next
    }

    /// Notes what the first row of this trail follows: on a branch, the chain at its boundary.
    /// Without this, a trail begins with row 0.
    ///
    /// # Errors
    /// `Foreign` when the rows here do not.
    pub fn begin_at(&self, origin: Head) -> Result<(), Error> {
        let mut inner = self.inner();
        if let Some((first, segment)) = inner.segments.first_key_value() {
            let breaks = *first == origin.sequence && segment.previous != origin.hash;
            if *first < origin.sequence || breaks {
                return Err(Error::Foreign {
                    sequence: *first,
                    why: "the trail begins elsewhere",
                });
            }
        } else {
            inner.synced = origin.sequence;
        }
        inner.origin = origin;
        if inner.next.sequence < origin.sequence {
            inner.next = origin;
        }
        Ok(())
    }

    /// Notes that the state's chain ends here now: a snapshot was installed.
    pub fn skip_to(&self, head: Head) {
        let mut inner = self.inner();
        if head.sequence > inner.next.sequence {
            inner.next = head;
            inner.open = None;
        }
    }

    /// Appends rows; those that are here already, since a log is replayed, are not written again.
    /// They are durable after the next `sync`.
    ///
    /// # Errors
    /// `Foreign` when they do not follow on the trail; else the file system's.
    pub fn append(&self, rows: &[Row]) -> Result<(), Error> {
        let mut inner = self.inner();
        let new = self.new_rows(&inner, rows)?;
        let (Some(first), Some(last)) = (new.first(), new.last()) else {
            return Ok(());
        };
        let head = chained(new, inner.next)?;
        let file = self.open_segment(&mut inner, first)?;
        let bytes = segment::encode(&self.0.line, new)
            .map_err(|source| Error::file(&self.0.folder, source))?;
        let path = self.path(first.sequence);
        if let Err(source) = (&*file).write_all(&bytes) {
            // Part of a row may be there: it is cut off when the file is opened again.
            inner.open = None;
            return Err(Error::file(&path, source));
        }
        debug_assert_eq!(last.sequence + 1, head.sequence);
        inner.next = head;
        if let Some(mut segment) = inner.segments.last_entry() {
            let segment = segment.get_mut();
            segment.head = head;
            segment.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    /// The rows of these that are not here yet; the last of the others must be the one here.
    fn new_rows<'a>(&self, inner: &Inner, rows: &'a [Row]) -> Result<&'a [Row], Error> {
        let known = rows.partition_point(|row| row.sequence < inner.next.sequence);
        let (old, new) = rows.split_at(known);
        if let Some(row) = old.last()
            && row.sequence + 1 == inner.next.sequence
            && row.hash() != inner.next.hash
        {
            return Err(Error::Foreign {
                sequence: row.sequence,
                why: "another row has its place",
            });
        }
        Ok(new)
    }

    /// Lets the next row begin a new segment, as if this one were full.
    #[cfg(test)]
    fn close_segment(&self) {
        if let Some(mut segment) = self.inner().segments.last_entry() {
            segment.get_mut().bytes = SEGMENT_BYTES_MAX;
        }
    }

    /// The file that takes the row: the newest segment, or a new one.
    fn open_segment(&self, inner: &mut Inner, row: &Row) -> Result<Arc<File>, Error> {
        let last = inner.segments.last_key_value().map(|(_, last)| last);
        let fits = last
            .filter(|last| last.head.sequence == row.sequence && last.bytes < SEGMENT_BYTES_MAX);
        if let Some(segment) = fits {
            if let Some(file) = &inner.open {
                return Ok(Arc::clone(file));
            }
            let path = segment.path.clone();
            let file = File::options()
                .append(true)
                .open(&path)
                .and_then(|file| file.set_len(segment.bytes).map(|()| file))
                .map_err(|source| Error::file(&path, source))?;
            let file = Arc::new(file);
            inner.open = Some(Arc::clone(&file));
            return Ok(file);
        }
        let path = self.path(row.sequence);
        let created = (|| {
            // A closed segment is durable before another one follows it.
            match (&inner.open, last) {
                (Some(file), _) => file.sync_data()?,
                (None, Some(last)) => File::open(&last.path)?.sync_data()?,
                (None, None) => {}
            }
            let file = File::options()
                .create(true)
                .append(true)
                .open(&path)
                .and_then(|file| file.set_len(0).map(|()| file))?;
            place::sync_folder(&self.0.folder)?;
            Ok(Arc::new(file))
        })();
        let file = created.map_err(|source| Error::file(&path, source))?;
        inner.synced = row.sequence;
        inner.open = Some(Arc::clone(&file));
        let head = Head {
            sequence: row.sequence,
            hash: row.previous,
        };
        inner.segments.insert(
            row.sequence,
            Segment {
                path,
                first: row.sequence,
                previous: row.previous,
                head,
                bytes: 0,
            },
        );
        Ok(file)
    }

    /// Makes all rows appended so far durable. Blocks.
    ///
    /// # Errors
    /// The file system's.
    pub fn sync(&self) -> Result<(), Error> {
        let inner = self.inner();
        let Some((_, last)) = inner.segments.last_key_value() else {
            return Ok(());
        };
        let path = last.path.clone();
        let upto = last.head.sequence;
        if inner.synced >= upto {
            return Ok(());
        }
        let file = inner.open.clone();
        drop(inner);
        // Not under the lock: entries are applied meanwhile.
        let synced = match file {
            Some(file) => file.sync_data(),
            None => File::open(&path).and_then(|file| file.sync_data()),
        };
        synced.map_err(|source| Error::file(&path, source))?;
        let mut inner = self.inner();
        inner.synced = inner.synced.max(upto);
        Ok(())
    }

    /// All rows before this one are here and durable: none is missing and none can be lost.
    #[must_use]
    pub fn durable_up_to(&self) -> u64 {
        let inner = self.inner();
        let first_gap = inner.gaps().first().map_or(u64::MAX, |gap| gap.start);
        inner.synced.min(first_gap)
    }

    /// Whether the rows from `from` up to `head` are all here, durably, and lead there.
    #[must_use]
    pub fn holds(&self, from: u64, head: &Head) -> bool {
        let inner = self.inner();
        let whole = inner.gaps().iter().all(|gap| gap.end <= from);
        whole && inner.next == *head && inner.synced >= head.sequence
    }

    /// What is missing, by the state's head: first and one past the last row of each gap.
    #[must_use]
    pub fn missing(&self) -> Vec<Range<u64>> {
        self.inner().gaps()
    }

    /// The rows of the range that are here, at most `rows_max`, in order. Blocks.
    ///
    /// # Errors
    /// `Damaged`, naming file and row.
    pub fn rows(&self, range: Range<u64>, rows_max: usize) -> Result<Vec<Row>, Error> {
        let segments: Vec<Segment> = self.inner().segments.values().cloned().collect();
        let mut found = Vec::new();
        for segment in segments {
            if segment.head.sequence <= range.start || segment.first >= range.end {
                continue;
            }
            let mut rows = Rows::open(&self.0.line, &segment.path, segment.first)?;
            // As far as was known above: more may be half written by now.
            for sequence in segment.first..segment.head.sequence.min(range.end) {
                if found.len() >= rows_max {
                    return Ok(found);
                }
                match rows.next()? {
                    Found::Row(row) if sequence >= range.start => found.push(*row),
                    Found::Row(_) => {}
                    Found::End | Found::Torn => {
                        return Err(Error::Damaged {
                            file: segment.path.clone(),
                            sequence,
                            why: "the file is cut short".to_owned(),
                        });
                    }
                }
            }
        }
        Ok(found)
    }
}

impl Inner {
    fn gaps(&self) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = self.origin.sequence;
        for segment in self.segments.values() {
            if segment.first > at {
                gaps.push(at..segment.first);
            }
            at = segment.head.sequence;
        }
        if self.next.sequence > at {
            gaps.push(at..self.next.sequence);
        }
        gaps
    }
}

/// The end of the chain after the rows, each of which must follow on the one before.
fn chained(rows: &[Row], mut head: Head) -> Result<Head, Error> {
    for row in rows {
        if !row.follows(&head) {
            return Err(Error::Foreign {
                sequence: row.sequence,
                why: "it does not follow on the row before it",
            });
        }
        head = row.head();
    }
    Ok(head)
}

/// Checks that a segment does not contradict the one before it; a gap between them is none.
fn joins(before: &Head, segment: &Segment) -> Result<(), Error> {
    let overlaps = before.sequence > segment.first;
    let breaks = before.sequence == segment.first && before.hash != segment.previous;
    if overlaps || breaks {
        return Err(Error::Damaged {
            file: segment.path.clone(),
            sequence: segment.first,
            why: "the row does not follow on the file before it".to_owned(),
        });
    }
    Ok(())
}
