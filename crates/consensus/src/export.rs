//! A line's log as a file, for another process to replay (I4): nothing but this file, and an image
//! where the log does not reach back to its first entry, is needed to get the same state.

use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::state::State;
use domain::{Command, Envelope, LineRef, LogId, cluster, encoding};
use openraft::EntryPayload;
use serde::{Deserialize, Serialize};

use crate::files::File;
use crate::frame::{self, Next};
use crate::image::{self, Error, Kind, at};
use crate::raft::{self, Proposed};
use crate::store::{Log, record};
use crate::{base, place};

/// The only version of the format so far.
pub const FORMAT: u32 = 1;

/// What an exported log begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub format: u32,
    /// The line.
    pub reference: LineRef,
    /// The index of the first entry; 0 when the log is whole.
    pub first: u64,
    /// The last entry.
    pub last: LogId,
}

fn context(record: u64) -> [u8; 15] {
    let mut context = *b"export\0\0\0\0\0\0\0\0\0";
    if let Some((_, place)) = context.split_last_chunk_mut::<8>() {
        place.copy_from_slice(&record.to_be_bytes());
    }
    context
}

/// Writes the log up to and with `last`, which must be committed, from the first entry that is on
/// the disk. Blocks.
///
/// # Errors
/// When the log does not hold `last`; else the file system's.
pub fn write_log(log: &Log, last: LogId, path: &Path) -> Result<Header, Error> {
    let (first, end) = log.range();
    let other = |why: String| Error::Other {
        file: path.to_owned(),
        why,
    };
    if last.index < first || last.index >= end {
        return Err(other(format!(
            "entry {last} was asked for, the log goes from {first} up to {end}"
        )));
    }
    let header = Header {
        format: FORMAT,
        reference: log.reference().clone(),
        first,
        last,
    };
    let unfinished = path.with_extension(image::UNFINISHED);
    let written = File::create(&unfinished).and_then(|file| {
        let mut to = BufWriter::new(file);
        frame::write(&mut to, &context(0), &encoding::encode(&header))?;
        let mut found = None;
        let mut next = first;
        while next <= last.index {
            let upto = next.saturating_add(255).min(last.index);
            for entry in log.entries(next, upto)? {
                let record = entry.log_id.index - first + 1;
                frame::write(&mut to, &context(record), &record::encode_entry(&entry)?)?;
                found = Some(raft::log_id(&entry.log_id));
            }
            next = upto + 1;
        }
        if found != Some(last) {
            let found = found.unwrap_or_default();
            return Err(io::Error::other(format!(
                "the log holds {found}, not {last}"
            )));
        }
        to.flush()?;
        to.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()
    });
    at(&unfinished, written)?;
    at(path, place::rename(&unfinished, path))?;
    Ok(header)
}

/// An entry of an exported log: its envelope, and nothing for the engine's own entries.
pub type Exported = (LogId, Option<Arc<Envelope>>);

/// The entries of an exported log, in order.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    from: BufReader<File>,
    header: Header,
    record: u64,
    failed: bool,
}

/// Opens an exported log.
///
/// # Errors
/// `Damaged` when it does not begin as one; else the file system's.
pub fn read_log(path: &Path) -> Result<Reader, Error> {
    let mut from = BufReader::new(at(path, File::open(path))?);
    let damaged = |why: String| Error::Damaged {
        file: path.to_owned(),
        record: 0,
        why,
    };
    let payload = match at(path, frame::read(&mut from, &context(0)))? {
        Next::Payload(payload) => payload,
        Next::End | Next::Torn => return Err(damaged("the file is cut short".to_owned())),
        Next::Damaged(why) => return Err(damaged(why.to_string())),
    };
    let header: Header = encoding::decode(&payload).map_err(|error| damaged(error.to_string()))?;
    if header.format != FORMAT {
        let why = format!("format {}, this binary reads {FORMAT}", header.format);
        return Err(damaged(why));
    }
    Ok(Reader {
        path: path.to_owned(),
        from,
        header,
        record: 1,
        failed: false,
    })
}

impl Reader {
    /// What the file begins with.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn read(&mut self) -> Result<Option<Exported>, Error> {
        let index = self.header.first + self.record - 1;
        let damaged = |why: String| Error::Damaged {
            file: self.path.clone(),
            record: self.record,
            why,
        };
        let next = frame::read(&mut self.from, &context(self.record));
        let payload = match at(&self.path, next)? {
            Next::Payload(payload) => payload,
            Next::End if index > self.header.last.index => return Ok(None),
            Next::End | Next::Torn => return Err(damaged("the file is cut short".to_owned())),
            Next::Damaged(why) => return Err(damaged(why.to_string())),
        };
        let entry = record::decode_entry(&payload).map_err(damaged)?;
        let id = raft::log_id(&entry.log_id);
        let is_last = index == self.header.last.index;
        if id.index != index || index > self.header.last.index || is_last && id != self.header.last
        {
            return Err(damaged(format!("entry {id} does not belong here")));
        }
        self.record += 1;
        Ok(Some(match entry.payload {
            EntryPayload::Normal(Proposed(envelope)) => (id, Some(envelope)),
            EntryPayload::Blank | EntryPayload::Membership(_) => (id, None),
        }))
    }
}

impl Iterator for Reader {
    type Item = Result<Exported, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.read();
        self.failed = next.is_err();
        next.transpose()
    }
}

/// Where a replay began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// With the first entry of the line.
    FirstEntry,
    /// With a verified snapshot that ends with this entry.
    Snapshot(LogId),
    /// With the first entry, on what the cluster was restored from.
    Restored,
}

/// What a replay gave.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// The state after the last entry.
    pub state: State,
    /// Where it began.
    pub start: Start,
    /// The last entry.
    pub last: LogId,
    /// How many entries were applied.
    pub entries: u64,
}

/// Replays an exported main line: from its first entry, or from the image of a snapshot when the
/// log does not reach back. Blocks.
///
/// # Errors
/// `Damaged`, saying where; `Other` when log and image do not fit together.
pub fn replay(log: &Path, snapshot: Option<&Path>) -> Result<Replayed, Error> {
    let reader = read_log(log)?;
    let header = reader.header().clone();
    let other = |why: String| Error::Other {
        file: log.to_owned(),
        why,
    };
    let (mut state, start) = match snapshot {
        None => (State::unfounded(), Start::FirstEntry),
        Some(path) => {
            let image = image::read(path)?;
            if image.header.reference != header.reference {
                return Err(other("log and snapshot are of different lines".to_owned()));
            }
            let start = match (image.header.kind, image.header.last) {
                (Kind::Base, None) => Start::Restored,
                (Kind::Snapshot, Some(last)) => Start::Snapshot(last),
                (kind, _) => {
                    return Err(other(format!(
                        "a replay begins with no such image: {}",
                        kind.name()
                    )));
                }
            };
            (image.state, start)
        }
    };
    let next = match start {
        Start::FirstEntry | Start::Restored => 0,
        Start::Snapshot(last) => last.index + 1,
    };
    if header.first > next {
        return Err(other(format!(
            "it begins at entry {}, needed from {next} on",
            header.first
        )));
    }
    let mut entries = 0;
    for entry in reader {
        let (id, envelope) = entry?;
        if id.index < next {
            continue;
        }
        if let Some(envelope) = envelope {
            if begins_with_another(&envelope.command, start) {
                return Err(other(format!(
                    "this cluster began with a backup: the replay needs {} of a node's folder too",
                    base::FILE
                )));
            }
            let _applied = domain::apply(&mut state, &header.reference.line, id, &envelope);
        }
        entries += 1;
    }
    Ok(Replayed {
        state,
        start,
        last: header.last,
        entries,
    })
}

/// Whether the line began with a backup's state, and the replay without it.
fn begins_with_another(command: &Command, start: Start) -> bool {
    match start {
        Start::FirstEntry => matches!(
            command,
            Command::Cluster(cluster::Command::Found(founding)) if founding.restored.is_some()
        ),
        Start::Snapshot(_) | Start::Restored => false,
    }
}
