//! Pins: what must stay on the disk until a genesis is durable, whatever openraft purges.
//!
//! Opening a session makes the state at the boundary the genesis of a branch (LINES.md, "Opening,
//! planned"). Until its file is durable, a snapshot at or before the boundary and the log from
//! there to the boundary stay, or a power cut after a purge leaves no node with the genesis.

use domain::LogId;
use serde::{Deserialize, Serialize};

/// A pinned stretch of a line's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The entry whose state can be rebuilt.
    pub boundary: LogId,
    /// The snapshot to start from; without one, the line's base.
    pub from: Option<LogId>,
}

impl Pin {
    /// The first entry that is kept.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.from.map_or(0, |from| from.index + 1)
    }
}

/// The stretches of a log that a purge leaves, first and last index.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept(Vec<(u64, u64)>);

impl Kept {
    pub(super) fn by<'a>(pins: impl IntoIterator<Item = &'a Pin>) -> Self {
        let stretch = |pin: &Pin| (pin.first_index(), pin.boundary.index);
        Self(pins.into_iter().map(stretch).collect())
    }

    pub(super) fn contains(&self, index: u64) -> bool {
        self.0
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&index))
    }
}

/// The key of a pin among the line's facts.
pub(super) fn key(boundary: LogId) -> Vec<u8> {
    let mut key = PREFIX.to_vec();
    key.extend_from_slice(&boundary.term.to_be_bytes());
    key.extend_from_slice(&boundary.node.to_be_bytes());
    key.extend_from_slice(&boundary.index.to_be_bytes());
    key
}

/// What the keys of pins begin with.
pub(super) const PREFIX: &[u8] = b"pin/";
