//! Chance that can be had again.

use credential::{Entropy, SeededEntropy, SystemEntropy};

/// A seed that nobody chose.
pub(crate) fn any_seed() -> u64 {
    number(&SystemEntropy::default())
}

fn number(entropy: &dyn Entropy) -> u64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Numbers and bytes by a seed.
pub(crate) struct Dice(SeededEntropy);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    /// Below `end`, which is more than 0.
    pub(crate) fn below(&self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap();
        usize::try_from(number(&self.0) % end).unwrap()
    }

    pub(crate) fn number(&self) -> u64 {
        number(&self.0)
    }

    pub(crate) fn one<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub(crate) fn bytes(&self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.below(most + 1)];
        self.0.fill(&mut bytes);
        bytes
    }

    /// The bytes with something done to them: flipped, cut, doubled, taken out, put in.
    pub(crate) fn altered(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(3) {
            if bytes.is_empty() {
                return self.bytes(16);
            }
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = *self.one(&[0, 0x7f, 0x80, 0xff]),
                2 => bytes.truncate(at),
                3 => drop(bytes.drain(at..(at + self.below(16)).min(bytes.len()))),
                4 => {
                    let part = bytes[at..(at + self.below(64)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => drop(bytes.splice(at..at, self.bytes(16))),
            }
        }
        bytes
    }
}
