//! Digests: a plain hash, and a multiset hash that is kept up to date record by record.
//!
//! The multiset hash is LtHash with 1,024 lanes of 16 bits over BLAKE3 (Bellare and Micciancio
//! 1997; Lewi et al., 2019): adding and removing a record are one addition each, and finding two
//! different sets of records with one hash is as hard as a short-vector problem. A sum of short
//! hashes would not be.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A BLAKE3 hash of 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl Digest {
    /// The hash of nothing yet: before the first record of a chain.
    pub const ZERO: Self = Self([0; 32]);

    /// The hash of `parts`, each with its length before it, so that no two lists of parts collide.
    #[must_use]
    pub fn of(domain: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        absorb(&mut hasher, domain.as_bytes());
        for part in parts {
            absorb(&mut hasher, part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The first and last bytes, for people: `9f3c…88`.
    #[must_use]
    pub fn short(&self) -> String {
        let [first, second, .., last] = self.0;
        format!("{first:02x}{second:02x}…{last:02x}")
    }
}

/// A plain BLAKE3 hash of bytes that come part by part, however they are cut.
#[derive(Debug, Clone, Default)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Takes the next part.
    pub fn add(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// The hash of everything so far.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

fn absorb(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let mut bytes = [0_u8; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(NotADigest);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| NotADigest)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NotADigest)?;
        }
        Ok(Self(bytes))
    }
}

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hexadecimal digits")]
pub struct NotADigest;

/// Lanes of the multiset hash.
const LANES: usize = 1024;

/// A multiset hash of records (LINES.md, "Digests").
#[derive(Clone, PartialEq, Eq)]
pub struct SetHash(Arc<[u16; LANES]>);

impl Default for SetHash {
    fn default() -> Self {
        Self(Arc::new([0; LANES]))
    }
}

impl fmt::Debug for SetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetHash({})", self.digest().short())
    }
}

impl SetHash {
    /// Adds the record.
    pub fn add(&mut self, record: &[u8]) {
        let lanes = Arc::make_mut(&mut self.0);
        for (lane, value) in lanes.iter_mut().zip(lanes_of(record)) {
            *lane = lane.wrapping_add(value);
        }
    }

    /// Removes a record that was added before.
    pub fn remove(&mut self, record: &[u8]) {
        let lanes = Arc::make_mut(&mut self.0);
        for (lane, value) in lanes.iter_mut().zip(lanes_of(record)) {
            *lane = lane.wrapping_sub(value);
        }
    }

    /// Adds all records of another set.
    pub fn add_all(&mut self, other: &Self) {
        let lanes = Arc::make_mut(&mut self.0);
        for (lane, value) in lanes.iter_mut().zip(other.0.iter()) {
            *lane = lane.wrapping_add(*value);
        }
    }

    /// The hash of the set as it is now.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut bytes = [0_u8; LANES * 2];
        for (pair, lane) in bytes.chunks_exact_mut(2).zip(self.0.iter()) {
            pair.copy_from_slice(&lane.to_le_bytes());
        }
        Digest(*blake3::hash(&bytes).as_bytes())
    }
}

fn lanes_of(record: &[u8]) -> [u16; LANES] {
    let mut bytes = [0_u8; LANES * 2];
    blake3::Hasher::new()
        .update(record)
        .finalize_xof()
        .fill(&mut bytes);
    let mut lanes = [0_u16; LANES];
    for (lane, pair) in lanes.iter_mut().zip(bytes.chunks_exact(2)) {
        if let [low, high] = pair {
            *lane = u16::from_le_bytes([*low, *high]);
        }
    }
    lanes
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_set_hash_forgets_order_and_what_was_removed() {
        let mut one = SetHash::default();
        one.add(b"a");
        one.add(b"b");
        let mut other = SetHash::default();
        other.add(b"c");
        other.add(b"b");
        other.add(b"a");
        assert_ne!(one.digest(), other.digest());
        other.remove(b"c");
        assert_eq!(one.digest(), other.digest());
    }

    #[test]
    fn a_record_twice_is_not_a_record_once() {
        let mut once = SetHash::default();
        once.add(b"a");
        let mut twice = once.clone();
        twice.add(b"a");
        assert_ne!(once.digest(), twice.digest());
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(
            Digest::of("t", &[b"ab", b"c"]),
            Digest::of("t", &[b"a", b"bc"])
        );
        let digest = Digest::of("t", &[b"x"]);
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
    }
}
