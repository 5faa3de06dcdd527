//! Randomness, as something passed in: production takes it from the operating system, a
//! simulation from a seed that it prints.
//!
//! Nothing in this crate reaches for randomness behind its caller's back, but for the keys
//! that the certificate library makes (`authority`).

use std::sync::atomic::{AtomicU64, Ordering};

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// A source of random bytes.
pub trait Entropy: Send + Sync {
    /// Fills the whole buffer with random bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// The operating system's generator (S7, S24, S30).
#[derive(Debug, Clone)]
pub struct SystemEntropy {
    source: SystemRandom,
}

impl SystemEntropy {
    /// A handle on the generator; making one costs nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            source: SystemRandom::new(),
        }
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    #[allow(
        clippy::panic,
        reason = "a process without randomness must not go on issuing secrets"
    )]
    fn fill(&self, buffer: &mut [u8]) {
        if self.source.fill(buffer).is_err() {
            panic!("the operating system gave no random bytes");
        }
    }
}

/// The same bytes for the same seed and the same order of calls: for tests and simulation only,
/// so that a run replays from the seed it printed. Never for a service: who knows the seed
/// knows every secret.
#[derive(Debug)]
pub struct SeededEntropy {
    key: hmac::Key,
    counter: AtomicU64,
}

impl SeededEntropy {
    /// A generator that starts at the beginning of the seed's stream.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &seed.to_be_bytes()),
            counter: AtomicU64::new(0),
        }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(32) {
            let block = self.counter.fetch_add(1, Ordering::Relaxed);
            let tag = hmac::sign(&self.key, &block.to_be_bytes());
            for (byte, random) in chunk.iter_mut().zip(tag.as_ref()) {
                *byte = *random;
            }
        }
    }
}

/// A number below `bound`, each equally likely. A bound of zero gives zero.
pub(crate) fn below(bound: u32, entropy: &dyn Entropy) -> u32 {
    if bound == 0 {
        return 0;
    }
    // The last, incomplete run of `bound` values would make its numbers likelier: draw again.
    let fair = u32::MAX - u32::MAX % bound;
    loop {
        let mut bytes = [0; 4];
        entropy.fill(&mut bytes);
        let drawn = u32::from_be_bytes(bytes);
        if drawn < fair {
            return drawn % bound;
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_stream() {
        let (one, two, other) = (
            SeededEntropy::new(7),
            SeededEntropy::new(7),
            SeededEntropy::new(8),
        );
        let mut bytes = [[0_u8; 100]; 3];
        one.fill(&mut bytes[0]);
        two.fill(&mut bytes[1]);
        other.fill(&mut bytes[2]);
        assert_eq!(bytes[0], bytes[1]);
        assert_ne!(bytes[0], bytes[2]);
    }

    #[test]
    fn a_stream_does_not_repeat() {
        let source = SeededEntropy::new(7);
        let mut bytes = [[0_u8; 32]; 2];
        source.fill(&mut bytes[0]);
        source.fill(&mut bytes[1]);
        assert_ne!(bytes[0], bytes[1]);
    }

    #[test]
    fn the_system_gives_different_bytes_each_time() {
        let source = SystemEntropy::new();
        let mut bytes = [[0_u8; 32]; 2];
        source.fill(&mut bytes[0]);
        source.fill(&mut bytes[1]);
        assert_ne!(bytes[0], bytes[1]);
    }

    #[test]
    fn numbers_below_a_bound_are_even() {
        let source = SeededEntropy::new(7);
        let mut seen = [0_u32; 10];
        for _ in 0..10_000 {
            seen[usize::try_from(below(10, &source)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|n| (850..1150).contains(n)), "{seen:?}");
        assert_eq!(below(0, &source), 0);
    }
}
