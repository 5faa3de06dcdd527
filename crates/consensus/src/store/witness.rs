//! A count of the batches that the store acknowledged, kept beside sled's file.
//!
//! sled takes a damaged record near the end of its file for one that a crash cut short, and drops
//! it with all that follows: votes and entries that were acknowledged would be gone, and nobody
//! would know. So every batch carries its number into the store, and the number is written here
//! once the batch is durable. A store that knows of fewer batches than its witness lost some.
//!
//! The witness is never synced: it must not be ahead of the store, and being behind costs nothing
//! but what it could have found.

use std::io;
use std::path::Path;

use super::rows::Tree;
use crate::files::{File, FileExt as _};
use crate::frame;

/// The key of the count in sled's default tree.
const COUNT: &[u8] = b"batches";
/// What the frame is checked with, besides the number.
const CONTEXT: &[u8] = b"witness";

const FRAMED_BYTES: usize = frame::HEAD_BYTES + 8;

/// The file that knows how many batches there must be.
pub(super) struct Witness {
    file: File,
    count: u64,
}

/// What the witness found.
pub(super) enum Found {
    /// The store has all that was acknowledged.
    Whole(Witness),
    /// It has fewer batches than it acknowledged.
    Lost {
        /// Batches that were acknowledged.
        acknowledged: u64,
        /// Batches that are there.
        there: u64,
    },
}

impl Witness {
    /// Opens the witness, which is created when it is not there, and compares it with the store.
    ///
    /// # Errors
    /// The disk's; `InvalidData` when the witness itself or the store's count is damaged.
    pub(super) fn open(path: &Path, rows: &Tree) -> io::Result<Found> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut framed = [0; FRAMED_BYTES];
        let acknowledged = match file.read_exact_at(&mut framed, 0) {
            // A power cut before its bytes arrived leaves it short, or zeros.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(error),
            Ok(()) if framed == [0; FRAMED_BYTES] => 0,
            Ok(()) => read(&framed)?,
        };
        let there = match rows.get(COUNT)? {
            Some(framed) => read(&framed)?,
            None => 0,
        };
        Ok(if there < acknowledged {
            Found::Lost {
                acknowledged,
                there,
            }
        } else {
            let count = there;
            Found::Whole(Self { file, count })
        })
    }

    /// Puts the next number into the store, as the last of its batch.
    pub(super) fn number(&mut self, rows: &Tree) -> io::Result<()> {
        self.count += 1;
        rows.insert(COUNT, self.framed())?;
        Ok(())
    }

    /// Notes that the batch of the last number is durable.
    pub(super) fn note(&self) -> io::Result<()> {
        self.file.write_all_at(&self.framed(), 0)
    }

    fn framed(&self) -> Vec<u8> {
        frame::seal(CONTEXT, &self.count.to_le_bytes())
    }
}

fn read(framed: &[u8]) -> io::Result<u64> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let payload = frame::open(CONTEXT, framed).map_err(|damaged| wrong(damaged.to_string()))?;
    payload
        .try_into()
        .map(u64::from_le_bytes)
        .map_err(|_| wrong(format!("a count of {} bytes", payload.len())))
}
