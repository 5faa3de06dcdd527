//! Verifiers as PHC strings: `$argon2id$v=19$m=19456,t=2,p=1$salt$hash` (S21).
//!
//! Strings may come from an import, so they are read strictly and with limits. None may cost more
//! than our own do: the check of one that costs less is made up to that cost, so that all checks
//! take the same time, that of nobody's password too (S23).

use std::fmt::Write as _;

use data_encoding::BASE64_NOPAD;
use zeroize::Zeroizing;

/// Most characters of a PHC string.
pub const TEXT_BYTES_MAX: usize = 256;
/// Most passes that a verifier may ask for. Many over little memory would run in the processor's
/// caches, and faster than the same work over more.
pub const PASSES_MAX: u32 = 5;
/// Most lanes that a verifier may ask for.
pub const LANES_MAX: u32 = 8;
/// Most memory times passes, in KiB: the work of our own verifiers.
pub const WORK_KIB_MAX: u64 = Params::STANDARD.work_kib();
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
    #[error("the verifier is not made by argon2id: reset the password instead")]
    Algorithm,
    /// A version of Argon2 that is not read here.
    #[error("the verifier's version of Argon2 is not 19: reset the password instead")]
    Version,
    /// More memory, passes or lanes than the limits, or fewer than Argon2 works with.
    #[error(
        "the verifier's {what} is out of bounds: memory times passes is at most {WORK_KIB_MAX} \
         KiB, passes {PASSES_MAX}, lanes {LANES_MAX}"
    )]
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
        if passes == 0 || passes > PASSES_MAX {
            return Err(Malformed::Cost { what: "passes" });
        }
        let params = Self {
            memory_kib,
            passes,
            lanes,
        };
        if memory_kib < 8 * lanes || params.work_kib() > WORK_KIB_MAX {
            return Err(Malformed::Cost { what: "memory" });
        }
        Ok(params)
    }

    /// The work of a guess: memory times passes, in KiB. Time goes with it.
    #[must_use]
    pub const fn work_kib(&self) -> u64 {
        // `From` is not for constants yet; both fit.
        self.memory_kib as u64 * self.passes as u64
    }

    /// What a guess costs less than with `wanted`, as parameters of its own; none where it is
    /// nothing, or less than Argon2 can work.
    #[must_use]
    pub fn missing_of(&self, wanted: &Self) -> Option<Self> {
        let missing = wanted.work_kib().saturating_sub(self.work_kib());
        let memory_kib = u32::try_from(missing / u64::from(wanted.passes)).ok()?;
        Self::new(memory_kib, wanted.passes, 1).ok()
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
        if field()? != "argon2id" {
            return Err(Malformed::Algorithm);
        }
        match field()? {
            "v=19" => {}
            other if other.starts_with("v=") => return Err(Malformed::Version),
            _ => return Err(Malformed::Form),
        }
        let params = params(field()?)?;
        let salt = bytes("salt", field()?, SALT_BYTES_MIN, SALT_BYTES_MAX)?;
        let hash = bytes("hash", field()?, HASH_BYTES_MIN, HASH_BYTES_MAX)?;
        if fields.next().is_some() {
            return Err(Malformed::Form);
        }
        Ok(Self {
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
            "$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${}$",
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
        assert_eq!(refusal(&with("m=64,t=1000,p=1")), cost("passes"));
        assert_eq!(refusal(&with("m=64,t=0,p=1")), Malformed::Form);
        assert_eq!(refusal(&with("m=19456,t=2,p=64")), cost("lanes"));
        assert_eq!(refusal(&with("m=7,t=2,p=1")), cost("memory"));
    }

    #[test]
    fn no_verifier_costs_more_than_ours_and_the_rest_is_made_up_s23() {
        let with = |params: &str| format!("$argon2id$v=19${params}${SALT}${HASH}");
        // What libraries give by default, above our own.
        for costlier in ["m=19457,t=2,p=1", "m=65536,t=3,p=4", "m=47104,t=1,p=1"] {
            let refused = refusal(&with(costlier));
            assert_eq!(refused, Malformed::Cost { what: "memory" }, "{costlier}");
        }
        // OWASP's own alternatives, and what is weaker.
        for cheaper in [
            "m=19456,t=2,p=1",
            "m=38912,t=1,p=1",
            "m=12288,t=3,p=1",
            "m=9216,t=4,p=1",
            "m=7168,t=5,p=1",
            "m=4096,t=3,p=1",
            "m=64,t=1,p=8",
            "m=8,t=1,p=1",
        ] {
            let own = Parts::parse(&with(cheaper)).ok().unwrap().params;
            let missing = own.missing_of(&Params::STANDARD);
            let spent = own.work_kib() + missing.map_or(0, |missing| missing.work_kib());
            let short = Params::STANDARD.work_kib() - spent;
            assert!(short < 16, "{cheaper} is {short} KiB short");
        }
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
        for kind in ["argon2", "argon2d", "argon2i"] {
            let text = format!("${kind}$v=19$m=8,t=1,p=1$x$y");
            assert_eq!(refusal(&text), Malformed::Algorithm);
        }
        for version in [16, 20] {
            let text = format!("$argon2id$v={version}$m=8,t=1,p=1$x$y");
            assert_eq!(refusal(&text), Malformed::Version);
        }
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
