//! Verifiers as PHC strings: `$argon2id$v=19$m=19456,t=2,p=1$salt$hash` (S21).
//!
//! Strings may come from an import, so they are read strictly and with limits: one line of text
//! must not be able to make the service spend a gigabyte or a minute on every login.

use std::fmt::Write as _;

use argon2::{Algorithm, Version};
use data_encoding::BASE64_NOPAD;
use zeroize::Zeroizing;

/// Most characters of a PHC string.
pub const TEXT_BYTES_MAX: usize = 256;
/// Most memory that a verifier may ask for: 256 MiB.
pub const MEMORY_KIB_MAX: u32 = 256 * 1024;
/// Most passes that a verifier may ask for.
pub const PASSES_MAX: u32 = 16;
/// Most lanes that a verifier may ask for.
pub const LANES_MAX: u32 = 8;
/// Most memory times passes: about 20 times the work of our own verifiers.
pub const WORK_KIB_MAX: u64 = 1024 * 1024;
/// Bytes of a salt that we make: 128 bits (S21).
pub const SALT_BYTES: usize = 16;
/// Fewest bytes of a salt that is imported.
pub const SALT_BYTES_MIN: usize = 8;
/// Most bytes of a salt.
pub const SALT_BYTES_MAX: usize = 48;
/// Bytes of a hash that we make.
pub const HASH_BYTES: usize = 32;
/// Fewest bytes of a hash that is imported.
pub const HASH_BYTES_MIN: usize = 16;
/// Most bytes of a hash.
pub const HASH_BYTES_MAX: usize = 64;

/// Why a text is no verifier that we take. Never quotes the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than any verifier is.
    #[error("the verifier is longer than {TEXT_BYTES_MAX} characters")]
    TooLong,
    /// Not of the PHC string's form.
    #[error("the verifier is no PHC string of the form $argon2id$v=19$m=..,t=..,p=..$salt$hash")]
    Form,
    /// A hash function that is not read here.
    #[error("the verifier is not made by argon2id or argon2i: reset the password instead")]
    Algorithm,
    /// A version of Argon2 that does not exist.
    #[error("the verifier's version of Argon2 is unknown; 16 and 19 are known")]
    Version,
    /// More memory, passes or lanes than the limits, or fewer than Argon2 works with.
    #[error("the verifier's {what} is out of bounds")]
    Cost {
        /// Which.
        what: &'static str,
    },
    /// A salt or hash that is too short or too long.
    #[error("the verifier's {what} is too short, too long or no base64")]
    Bytes {
        /// Which.
        what: &'static str,
    },
}

/// How much work a guess costs (S20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Params {
    /// OWASP's minimum, and what we use (S20): 19 MiB, two passes, one lane.
    pub const STANDARD: Self = Self {
        memory_kib: 19_456,
        passes: 2,
        lanes: 1,
    };

    /// Parameters within the limits.
    ///
    /// # Errors
    /// [`Malformed::Cost`] if any is out of bounds.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, Malformed> {
        if lanes == 0 || lanes > LANES_MAX {
            return Err(Malformed::Cost { what: "lanes" });
        }
        if memory_kib < 8 * lanes || memory_kib > MEMORY_KIB_MAX {
            return Err(Malformed::Cost { what: "memory" });
        }
        if passes == 0
            || passes > PASSES_MAX
            || u64::from(memory_kib) * u64::from(passes) > WORK_KIB_MAX
        {
            return Err(Malformed::Cost { what: "passes" });
        }
        Ok(Self {
            memory_kib,
            passes,
            lanes,
        })
    }

    /// Whether a guess costs less in memory or passes than with `wanted`.
    #[must_use]
    pub fn weaker_than(&self, wanted: &Self) -> bool {
        self.memory_kib < wanted.memory_kib || self.passes < wanted.passes
    }

    /// Memory in KiB.
    #[must_use]
    pub fn memory_kib(&self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    #[must_use]
    pub fn passes(&self) -> u32 {
        self.passes
    }

    /// Lanes.
    #[must_use]
    pub fn lanes(&self) -> u32 {
        self.lanes
    }
}

/// A verifier in its parts.
pub(crate) struct Parts {
    pub(crate) algorithm: Algorithm,
    pub(crate) version: Version,
    pub(crate) params: Params,
    pub(crate) salt: Vec<u8>,
    pub(crate) hash: Zeroizing<Vec<u8>>,
}

impl Parts {
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Malformed::TooLong);
        }
        let mut fields = text.split('$');
        let mut field = || fields.next().ok_or(Malformed::Form);
        if !field()?.is_empty() {
            return Err(Malformed::Form);
        }
        let algorithm = match field()? {
            "argon2id" => Algorithm::Argon2id,
            "argon2i" => Algorithm::Argon2i,
            _ => return Err(Malformed::Algorithm),
        };
        let version = match field()? {
            "v=19" => Version::V0x13,
            "v=16" => Version::V0x10,
            other if other.starts_with("v=") => return Err(Malformed::Version),
            _ => return Err(Malformed::Form),
        };
        let params = params(field()?)?;
        let salt = bytes("salt", field()?, SALT_BYTES_MIN, SALT_BYTES_MAX)?;
        let hash = bytes("hash", field()?, HASH_BYTES_MIN, HASH_BYTES_MAX)?;
        if fields.next().is_some() {
            return Err(Malformed::Form);
        }
        Ok(Self {
            algorithm,
            version,
            params,
            salt,
            hash: Zeroizing::new(hash),
        })
    }

    pub(crate) fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(TEXT_BYTES_MAX));
        let Params {
            memory_kib,
            passes,
            lanes,
        } = self.params;
        // Writing to a string cannot fail.
        let _infallible = write!(
            text,
            "${}$v={}$m={memory_kib},t={passes},p={lanes}${}$",
            self.algorithm.as_str(),
            u32::from(self.version),
            BASE64_NOPAD.encode(&self.salt),
        );
        let hash = Zeroizing::new(BASE64_NOPAD.encode(&self.hash));
        text.push_str(&hash);
        text
    }
}

fn params(text: &str) -> Result<Params, Malformed> {
    let mut fields = text.split(',');
    let mut number = |name: &str| -> Result<u32, Malformed> {
        let value = fields
            .next()
            .and_then(|field| field.strip_prefix(name))
            .ok_or(Malformed::Form)?;
        // `parse` would take a sign or leading zeros, and one verifier would have many texts.
        let plain = value.bytes().all(|b| b.is_ascii_digit()) && !value.starts_with('0');
        if !plain || value.is_empty() {
            return Err(Malformed::Form);
        }
        // A number beyond u32 is refused by the limits like any other that is too large.
        Ok(value.parse().unwrap_or(u32::MAX))
    };
    let (memory_kib, passes, lanes) = (number("m=")?, number("t=")?, number("p=")?);
    if fields.next().is_some() {
        return Err(Malformed::Form);
    }
    Params::new(memory_kib, passes, lanes)
}

fn bytes(what: &'static str, text: &str, min: usize, max: usize) -> Result<Vec<u8>, Malformed> {
    let decoded = BASE64_NOPAD
        .decode(text.as_bytes())
        .map_err(|_| Malformed::Bytes { what })?;
    if decoded.len() < min || decoded.len() > max {
        return Err(Malformed::Bytes { what });
    }
    Ok(decoded)
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

    const SALT: &str = "c29tZXNhbHRzb21lc2FsdA";
    const HASH: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn refusal(text: &str) -> Malformed {
        Parts::parse(text).err().expect("should have been refused")
    }

    #[test]
    fn s21_a_verifier_reads_and_writes_as_a_phc_string() {
        let text = format!("$argon2id$v=19$m=19456,t=2,p=1${SALT}${HASH}");
        let parts = Parts::parse(&text).ok().unwrap();
        assert_eq!(parts.params, Params::STANDARD);
        assert_eq!(*parts.text(), text);
    }

    #[test]
    fn an_imported_verifier_cannot_cost_without_limit() {
        let with = |params: &str| format!("$argon2id$v=19${params}${SALT}${HASH}");
        let cost = |what| Malformed::Cost { what };
        assert_eq!(refusal(&with("m=4194304,t=1,p=1")), cost("memory"));
        assert_eq!(refusal(&with("m=99999999999,t=1,p=1")), cost("memory"));
        assert_eq!(refusal(&with("m=19456,t=1000,p=1")), cost("passes"));
        assert_eq!(refusal(&with("m=262144,t=16,p=1")), cost("passes"));
        assert_eq!(refusal(&with("m=19456,t=2,p=64")), cost("lanes"));
        assert_eq!(refusal(&with("m=7,t=2,p=1")), cost("memory"));
    }

    #[test]
    fn what_is_no_argon2_string_is_refused() {
        let bytes = |what| Malformed::Bytes { what };
        for text in [
            "",
            "hunter2",
            "$argon2id",
            "$argon2id$v=19",
            "x$argon2id$v=19",
        ] {
            assert_eq!(refusal(text), Malformed::Form, "{text}");
        }
        assert_eq!(refusal("$2b$12$abcdefgh"), Malformed::Algorithm);
        assert_eq!(
            refusal("$argon2d$v=19$m=8,t=1,p=1$x$y"),
            Malformed::Algorithm
        );
        assert_eq!(
            refusal("$argon2id$v=20$m=8,t=1,p=1$x$y"),
            Malformed::Version
        );
        for params in [
            "",
            "t=2,m=19456,p=1",
            "m=+8,t=1,p=1",
            "m=08,t=1,p=1",
            "m=8,t=1,p=1,x=1",
        ] {
            let text = format!("$argon2id$v=19${params}${SALT}${HASH}");
            assert_eq!(refusal(&text), Malformed::Form, "{params}");
        }
        let start = "$argon2id$v=19$m=19456,t=2,p=1";
        assert_eq!(refusal(&format!("{start}$c2FsdA${HASH}")), bytes("salt"));
        assert_eq!(refusal(&format!("{start}${SALT}$AAAA")), bytes("hash"));
        assert_eq!(refusal(&format!("{start}${SALT}${HASH}=")), bytes("hash"));
        assert_eq!(refusal(&format!("{start}${SALT}${HASH}$")), Malformed::Form);
        assert_eq!(refusal(&"$".repeat(257)), Malformed::TooLong);
    }
}
