//! A file of consecutive audit rows, framed. Only the newest one of a trail is ever appended to.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use domain::Digest;
use domain::audit::{Head, Row};
use domain::encoding;

use super::Error;
use crate::files::File;
use crate::frame::{self, Next};

/// What is known of a segment.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// The sequence number of its first row.
    pub(super) first: u64,
    /// What the first row follows.
    pub(super) previous: Digest,
    /// The end of the chain after its last row.
    pub(super) head: Head,
    pub(super) bytes: u64,
}

/// Whether a segment may end in the middle of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// It was being written when the power went: the rest comes again by replay.
    MayBeTorn,
    /// It was complete.
    Whole,
}

pub(super) fn context(line: &str, sequence: u64) -> Vec<u8> {
    let mut context = b"audit\0".to_vec();
    context.extend_from_slice(line.as_bytes());
    context.push(0);
    context.extend_from_slice(&sequence.to_be_bytes());
    context
}

/// The framed rows, to be appended.
pub(super) fn encode(line: &str, rows: &[Row]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for row in rows {
        frame::write(
            &mut bytes,
            &context(line, row.sequence),
            &encoding::encode(row),
        )?;
    }
    Ok(bytes)
}

/// Reads the rows of a file one by one.
pub(super) struct Rows<'a> {
    line: &'a str,
    path: &'a Path,
    from: BufReader<File>,
    sequence: u64,
    /// Bytes of the whole rows read so far.
    good: u64,
}

pub(super) enum Found {
    Row(Box<Row>),
    End,
    /// The file ends within a row.
    Torn,
}

impl<'a> Rows<'a> {
    pub(super) fn open(line: &'a str, path: &'a Path, first: u64) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::file(path, source))?;
        Ok(Self {
            line,
            path,
            from: BufReader::new(file),
            sequence: first,
            good: 0,
        })
    }

    fn damaged(&self, why: String) -> Error {
        Error::Damaged {
            file: self.path.to_owned(),
            sequence: self.sequence,
            why,
        }
    }

    pub(super) fn next(&mut self) -> Result<Found, Error> {
        let context = context(self.line, self.sequence);
        let next = frame::read(&mut self.from, &context)
            .map_err(|source| Error::file(self.path, source))?;
        match next {
            Next::Payload(payload) => {
                let row: Row =
                    encoding::decode(&payload).map_err(|error| self.damaged(error.to_string()))?;
                if row.sequence != self.sequence {
                    return Err(self.damaged(format!("the row says {}", row.sequence)));
                }
                self.sequence += 1;
                let length = payload.len() + frame::HEAD_BYTES + 4;
                self.good += u64::try_from(length).unwrap_or(u64::MAX);
                Ok(Found::Row(Box::new(row)))
            }
            Next::End => Ok(Found::End),
            Next::Torn => Ok(Found::Torn),
            // A file can grow before its bytes arrive: what a power cut leaves then is zeros.
            Next::Damaged(damaged) => match self.only_zeros() {
                Ok(true) => Ok(Found::Torn),
                Ok(false) => Err(self.damaged(damaged.to_string())),
                Err(source) => Err(Error::file(self.path, source)),
            },
        }
    }

    fn only_zeros(&mut self) -> io::Result<bool> {
        self.from.seek(SeekFrom::Start(self.good))?;
        let mut buffer = [0_u8; 4096];
        loop {
            let count = self.from.read(&mut buffer)?;
            if count == 0 {
                return Ok(true);
            }
            if buffer.iter().take(count).any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
    }
}

/// Reads a whole segment, checks its chain, and cuts a torn tail off. Nothing when it has no row.
pub(super) fn check(
    line: &str,
    path: &Path,
    first: u64,
    tail: Tail,
) -> Result<Option<Segment>, Error> {
    let mut rows = Rows::open(line, path, first)?;
    let mut segment: Option<Segment> = None;
    loop {
        match rows.next()? {
            Found::Row(row) => {
                let known = segment.get_or_insert_with(|| Segment {
                    path: path.to_owned(),
                    first,
                    previous: row.previous,
                    head: Head {
                        sequence: first,
                        hash: row.previous,
                    },
                    bytes: 0,
                });
                if !row.follows(&known.head) {
                    return Err(Error::Damaged {
                        file: path.to_owned(),
                        sequence: row.sequence,
                        why: "the row does not follow on the one before it".to_owned(),
                    });
                }
                known.head = row.head();
                known.bytes = rows.good;
            }
            Found::End => return Ok(segment),
            Found::Torn => match tail {
                Tail::MayBeTorn => {
                    let cut = File::options().write(true).open(path).and_then(|file| {
                        file.set_len(rows.good)?;
                        file.sync_all()
                    });
                    cut.map_err(|source| Error::file(path, source))?;
                    tracing::warn!(
                        path = %path.display(),
                        sequence = rows.sequence,
                        "an unfinished audit row was cut off"
                    );
                    return Ok(segment);
                }
                Tail::Whole => return Err(rows.damaged("the file is cut short".to_owned())),
            },
        }
    }
}
