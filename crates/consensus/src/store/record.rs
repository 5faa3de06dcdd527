//! How log entries and a line's few other facts are written as rows of the store.
//!
//! An entry is MessagePack with named fields in our own words, cut into parts: the store keeps
//! some twenty rows on a page, and a page past 128 KiB would leave the file that we sync
//! (docs/decisions/003).

use std::io;
use std::sync::Arc;

use domain::encoding;
use domain::{Envelope, LogId};
use openraft::EntryPayload;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::frame;
use crate::raft::{self, Entry, Members, Membership, Proposed, Vote};

/// The largest part of an entry that one row holds.
pub(super) const PART_BYTES: usize = 4000;
/// The largest entry that a log takes; proposers check against it before they propose.
pub const ENTRY_BYTES_MAX: usize = 8 << 20;

/// A log entry as it is stored and exported.
#[derive(Serialize)]
struct StoredRef<'a> {
    id: LogId,
    body: BodyRef<'a>,
}

#[derive(Serialize)]
enum BodyRef<'a> {
    Blank,
    Envelope(&'a Envelope),
    Members(Members),
}

#[derive(Deserialize)]
struct Stored {
    id: LogId,
    body: Body,
}

#[derive(Deserialize)]
enum Body {
    Blank,
    Envelope(Arc<Envelope>),
    Members(Members),
}

/// Encodes an entry.
pub(crate) fn encode_entry(entry: &Entry) -> io::Result<Vec<u8>> {
    let body = match &entry.payload {
        EntryPayload::Blank => BodyRef::Blank,
        EntryPayload::Normal(Proposed(envelope)) => BodyRef::Envelope(envelope),
        EntryPayload::Membership(membership) => BodyRef::Members(Members::from(membership)),
    };
    let id = raft::log_id(&entry.log_id);
    let bytes = encoding::encode(&StoredRef { id, body });
    if bytes.is_empty() || bytes.len() > ENTRY_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "entry {id} of {} bytes cannot be stored: at most {ENTRY_BYTES_MAX}",
                bytes.len()
            ),
        ));
    }
    Ok(bytes)
}

/// Decodes an entry; the error says why.
pub(crate) fn decode_entry(bytes: &[u8]) -> Result<Entry, String> {
    let stored: Stored = encoding::decode(bytes).map_err(|error| error.to_string())?;
    let payload = match stored.body {
        Body::Blank => EntryPayload::Blank,
        Body::Envelope(envelope) => EntryPayload::Normal(Proposed(envelope)),
        Body::Members(members) => EntryPayload::Membership(Membership::try_from(members)?),
    };
    Ok(Entry {
        log_id: raft::raft_log_id(stored.id),
        payload,
    })
}

/// The key of a part of an entry.
pub(super) fn key(index: u64, part: u16) -> [u8; 10] {
    let mut key = [0_u8; 10];
    let (high, low) = key.split_at_mut(8);
    high.copy_from_slice(&index.to_be_bytes());
    low.copy_from_slice(&part.to_be_bytes());
    key
}

/// Reads a key back.
pub(super) fn index_of(key: &[u8]) -> Option<(u64, u16)> {
    let (index, rest) = key.split_first_chunk::<8>()?;
    let (part, rest) = rest.split_first_chunk::<2>()?;
    rest.is_empty()
        .then(|| (u64::from_be_bytes(*index), u16::from_be_bytes(*part)))
}

/// What the checksum of a row covers besides its payload: the line and the key.
fn context(kind: &str, line: &str, key: &[u8]) -> Vec<u8> {
    let mut context = Vec::with_capacity(kind.len() + line.len() + key.len() + 2);
    context.extend_from_slice(kind.as_bytes());
    context.push(0);
    context.extend_from_slice(line.as_bytes());
    context.push(0);
    context.extend_from_slice(key);
    context
}

/// A row of the store: key and value.
pub(super) type Row = ([u8; 10], Vec<u8>);

/// The rows of an encoded entry. The first says how many there are.
pub(super) fn rows(line: &str, index: u64, encoded: &[u8]) -> io::Result<Vec<Row>> {
    let parts = encoded.len().div_ceil(PART_BYTES).max(1);
    let count = u16::try_from(parts).map_err(io::Error::other)?;
    let mut rows = Vec::with_capacity(parts);
    for (part, bytes) in (0..count).zip(encoded.chunks(PART_BYTES)) {
        let key = key(index, part);
        let context = context("log", line, &key);
        let value = if part == 0 {
            let mut payload = Vec::with_capacity(bytes.len() + 2);
            payload.extend_from_slice(&count.to_le_bytes());
            payload.extend_from_slice(bytes);
            frame::seal(&context, &payload)
        } else {
            frame::seal(&context, bytes)
        };
        rows.push((key, value));
    }
    Ok(rows)
}

/// Puts rows, fed in the order of their keys, together to entries.
pub(super) struct Assembly<'a> {
    line: &'a str,
    open: Option<Open>,
}

struct Open {
    index: u64,
    parts: u16,
    next: u16,
    bytes: Vec<u8>,
}

/// A row that is not what was written: the index that it was under, if it had one, and why.
pub(super) type Fault = (Option<u64>, String);

impl<'a> Assembly<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { line, open: None }
    }

    /// Takes the next row; gives the entry, and its size, that the row completes.
    pub(super) fn take(
        &mut self,
        key: &[u8],
        value: &[u8],
    ) -> Result<Option<(Entry, usize)>, Fault> {
        let (index, part) = index_of(key).ok_or((None, format!("odd key {key:02x?}")))?;
        let fault = |why: String| (Some(index), why);
        let payload = frame::open(&context("log", self.line, key), value)
            .map_err(|damaged| fault(damaged.to_string()))?;
        let mut open = match self.open.take() {
            None if part == 0 => {
                let (count, bytes) = payload
                    .split_first_chunk::<2>()
                    .ok_or_else(|| fault("first part has no count".to_owned()))?;
                Open {
                    index,
                    parts: u16::from_le_bytes(*count),
                    next: 1,
                    bytes: bytes.to_vec(),
                }
            }
            Some(mut open) if open.index == index && open.next == part => {
                open.bytes.extend_from_slice(payload);
                open.next = open.next.saturating_add(1);
                open
            }
            Some(open) => {
                let why = format!("entry has {} of its {} parts", open.next, open.parts);
                return Err((Some(open.index), why));
            }
            None => return Err(fault(format!("part {part} without those before it"))),
        };
        if open.next < open.parts {
            self.open = Some(open);
            return Ok(None);
        }
        let bytes = std::mem::take(&mut open.bytes);
        let entry = decode_entry(&bytes).map_err(fault)?;
        if entry.log_id.index != index {
            return Err(fault(format!("entry says index {}", entry.log_id.index)));
        }
        Ok(Some((entry, bytes.len())))
    }

    /// Checks that no entry was left half read.
    pub(super) fn finish(self) -> Result<(), Fault> {
        match self.open {
            None => Ok(()),
            Some(open) => {
                let why = format!("entry has {} of its {} parts", open.next, open.parts);
                Err((Some(open.index), why))
            }
        }
    }
}

/// A vote as it is stored.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct StoredVote {
    term: u64,
    node: u64,
    committed: bool,
}

impl From<&Vote> for StoredVote {
    fn from(vote: &Vote) -> Self {
        Self {
            term: vote.leader_id.term,
            node: vote.leader_id.node_id,
            committed: vote.committed,
        }
    }
}

impl From<StoredVote> for Vote {
    fn from(stored: StoredVote) -> Self {
        Self {
            leader_id: openraft::impls::leader_id_adv::LeaderId {
                term: stored.term,
                node_id: stored.node,
            },
            committed: stored.committed,
        }
    }
}

/// Frames one of a line's few facts.
pub(super) fn seal_fact<T: Serialize>(line: &str, key: &[u8], fact: &T) -> Vec<u8> {
    frame::seal(&context("meta", line, key), &encoding::encode(fact))
}

/// Reads one of a line's few facts.
pub(super) fn open_fact<T: DeserializeOwned>(
    line: &str,
    key: &[u8],
    value: &[u8],
) -> Result<T, String> {
    let payload =
        frame::open(&context("meta", line, key), value).map_err(|damaged| damaged.to_string())?;
    encoding::decode(payload).map_err(|error| error.to_string())
}
