//! Passwords to verifiers, and back to a verdict: Argon2id (S20, S21).
//!
//! Hashing is the service's one expensive act: 19 MiB and tens of milliseconds a password. It
//! belongs on a bounded pool of threads, each with one [`Memory`] that it uses again and again.
//! What is stored is the verifier sealed (`seal`, S22); rules for new passwords are in `rules`.

use argon2::{Algorithm, Argon2, Block, Version};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::Entropy;
use crate::phc::{self, HASH_BYTES, Params, Parts, SALT_BYTES};
use crate::secret::Password;

/// A fault while hashing. A wrong password is no fault but [`Verdict::Wrong`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The memory for the parameters could not be had.
    #[error("no memory for {memory_kib} KiB of Argon2 blocks")]
    OutOfMemory {
        /// What was asked for.
        memory_kib: u32,
    },
    /// The library refused parameters that are within our limits.
    #[error("argon2 refused the parameters: {0}")]
    Argon2(argon2::Error),
}

/// Whether a password fits a verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Right,
    /// It does not.
    Wrong,
}

/// A PHC string: what is kept of a password, sealed. Not printable, not storable in clear.
pub struct Verifier {
    text: Zeroizing<String>,
    parts: Parts,
}

impl Verifier {
    /// Reads a PHC string: unsealed, or from an import.
    ///
    /// # Errors
    /// [`phc::Malformed`] if it is none, or asks for more work than the limits in [`phc`].
    pub fn parse(text: &str) -> Result<Self, phc::Malformed> {
        Ok(Self {
            parts: Parts::parse(text)?,
            text: Zeroizing::new(text.to_owned()),
        })
    }

    /// Reads a verifier that was sealed with [`Verifier::as_bytes`].
    ///
    /// # Errors
    /// As [`Verifier::parse`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, phc::Malformed> {
        Self::parse(std::str::from_utf8(bytes).map_err(|_| phc::Malformed::Form)?)
    }

    /// A verifier that no password fits, of the same cost as any other: what the login of an
    /// unknown user id is checked against, so that its time tells nothing (S23).
    ///
    /// # Errors
    /// [`Error`] as [`hash`].
    pub fn dummy(
        params: Params,
        entropy: &dyn Entropy,
        memory: &mut Memory,
    ) -> Result<Self, Error> {
        hash(&Password::nobodys(entropy), params, entropy, memory)
    }

    /// The text, for sealing.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// What a guess costs.
    #[must_use]
    pub fn params(&self) -> Params {
        self.parts.params
    }

    /// Whether the next login with the right password should replace it (S21): less memory or
    /// passes, or less salt or hash than we give.
    #[must_use]
    pub fn needs_rehash(&self, wanted: &Params) -> bool {
        self.parts.params.weaker_than(wanted)
            || self.parts.salt.len() < SALT_BYTES
            || self.parts.hash.len() < HASH_BYTES
    }
}

/// The blocks that Argon2 works in: one for each hashing thread, used again for every password.
pub struct Memory {
    blocks: Vec<Block>,
    worked_kib: u64,
}

impl Memory {
    /// Memory enough for `params`. It grows if a verifier needs more, and keeps what it has.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(params: Params) -> Result<Self, Error> {
        let mut memory = Self {
            blocks: Vec::new(),
            worked_kib: 0,
        };
        memory.reserve(params)?;
        Ok(memory)
    }

    /// The work done here so far, in KiB: what shows that all checks cost the same (S23).
    #[must_use]
    pub fn worked_kib(&self) -> u64 {
        self.worked_kib
    }

    fn reserve(&mut self, params: Params) -> Result<&mut [Block], Error> {
        let out_of_memory = Error::OutOfMemory {
            memory_kib: params.memory_kib(),
        };
        // One block is one KiB.
        let wanted = usize::try_from(params.memory_kib()).map_err(|_| out_of_memory.clone())?;
        let missing = wanted.saturating_sub(self.blocks.len());
        self.blocks
            .try_reserve_exact(missing)
            .map_err(|_| out_of_memory)?;
        if missing > 0 {
            self.blocks.resize(wanted, Block::new());
        }
        Ok(&mut self.blocks)
    }
}

/// A new verifier, with a salt of 128 random bits (S20, S21).
///
/// # Errors
/// [`Error`] if the memory cannot be had.
pub fn hash(
    password: &Password,
    params: Params,
    entropy: &dyn Entropy,
    memory: &mut Memory,
) -> Result<Verifier, Error> {
    let mut salt = vec![0; SALT_BYTES];
    entropy.fill(&mut salt);
    let mut parts = Parts {
        params,
        salt,
        hash: Zeroizing::new(vec![0; HASH_BYTES]),
    };
    parts.hash = derive(password, &parts, memory)?;
    Ok(Verifier {
        text: parts.text(),
        parts,
    })
}

/// Whether the password fits. The comparison takes the same time wherever the hashes differ.
///
/// # Errors
/// [`Error`] if the memory cannot be had; the password was not judged then.
pub fn verify(
    password: &Password,
    verifier: &Verifier,
    memory: &mut Memory,
) -> Result<Verdict, Error> {
    let derived = derive(password, &verifier.parts, memory)?;
    if derived.ct_eq(&verifier.parts.hash).into() {
        Ok(Verdict::Right)
    } else {
        Ok(Verdict::Wrong)
    }
}

/// Does the work of a hash and gives nothing: what a check costs less than others, it makes up by
/// this (S23).
///
/// # Errors
/// [`Error`] if the memory cannot be had.
pub fn spend(password: &Password, params: Params, memory: &mut Memory) -> Result<(), Error> {
    let parts = Parts {
        params,
        salt: vec![0; SALT_BYTES],
        hash: Zeroizing::new(vec![0; HASH_BYTES]),
    };
    // Nobody reads it, and it must be worked out all the same.
    std::hint::black_box(derive(password, &parts, memory)?);
    Ok(())
}

fn derive(
    password: &Password,
    parts: &Parts,
    memory: &mut Memory,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let Parts { params, salt, hash } = parts;
    let cost = argon2::Params::new(
        params.memory_kib(),
        params.passes(),
        params.lanes(),
        Some(hash.len()),
    )
    .map_err(Error::Argon2)?;
    let mut derived = Zeroizing::new(vec![0; hash.len()]);
    memory.worked_kib = memory.worked_kib.saturating_add(params.work_kib());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, cost)
        .hash_password_into_with_memory(
            password.text().as_bytes(),
            salt,
            &mut derived,
            memory.reserve(*params)?,
        )
        .map_err(Error::Argon2)?;
    Ok(derived)
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
    use crate::SeededEntropy;

    fn cheap() -> Params {
        Params::new(64, 1, 1).unwrap()
    }

    fn password(wire: &str) -> Password {
        Password::parse(wire).ok().unwrap()
    }

    fn verifier(text: &str) -> Verifier {
        Verifier::parse(text).ok().unwrap()
    }

    #[test]
    fn s20_a_verifier_is_argon2id_with_19_mib_and_two_passes() {
        let mut memory = Memory::new(Params::STANDARD).ok().unwrap();
        let made = hash(
            &password("correct horse"),
            Params::STANDARD,
            &SeededEntropy::new(1),
            &mut memory,
        )
        .ok()
        .unwrap();
        assert!(made.text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(!made.needs_rehash(&Params::STANDARD));
        let back = Verifier::from_bytes(made.as_bytes()).ok().unwrap();
        let check = |wire: &str, memory: &mut Memory| verify(&password(wire), &back, memory);
        assert_eq!(check("correct horse", &mut memory), Ok(Verdict::Right));
        assert_eq!(check("correct horsf", &mut memory), Ok(Verdict::Wrong));
    }

    #[test]
    fn s21_each_verifier_has_128_bits_of_salt_of_its_own() {
        let entropy = SeededEntropy::new(1);
        let mut memory = Memory::new(cheap()).ok().unwrap();
        let mut made = || {
            hash(&password("correct horse"), cheap(), &entropy, &mut memory)
                .ok()
                .unwrap()
        };
        let (one, two) = (made(), made());
        assert_eq!(one.parts.salt.len() * 8, 128);
        assert_ne!(one.parts.salt, two.parts.salt);
        assert_ne!(one.parts.hash, two.parts.hash);
    }

    #[test]
    fn verifiers_of_the_reference_implementation_are_understood() {
        // From the reference implementation's own tests (phc-winner-argon2, src/test.c).
        let known = [
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        ];
        let mut memory = Memory::new(cheap()).ok().unwrap();
        for text in known {
            let known = verifier(text);
            let right = verify(&password("password"), &known, &mut memory);
            assert_eq!(right, Ok(Verdict::Right), "{text}");
            let wrong = verify(&password("Password"), &known, &mut memory);
            assert_eq!(wrong, Ok(Verdict::Wrong), "{text}");
        }
    }

    #[test]
    fn s21_a_weaker_verifier_is_to_be_rehashed() {
        let salt = "c29tZXNhbHRzb21lc2FsdA";
        let hash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let stale = |start: &str| {
            verifier(&format!("{start}${salt}${hash}")).needs_rehash(&Params::STANDARD)
        };
        assert!(!stale("$argon2id$v=19$m=19456,t=2,p=1"));
        assert!(!stale("$argon2id$v=19$m=19456,t=2,p=4"));
        assert!(stale("$argon2id$v=19$m=19456,t=1,p=1"));
        assert!(stale("$argon2id$v=19$m=8192,t=4,p=1"));
        let start = "$argon2id$v=19$m=19456,t=2,p=1";
        let short_salt = verifier(&format!("{start}$c29tZXNhbHQ${hash}"));
        assert!(short_salt.needs_rehash(&Params::STANDARD));
    }

    #[test]
    fn memory_used_again_gives_the_same_verdicts() {
        let entropy = SeededEntropy::new(1);
        let mut memory = Memory::new(cheap()).ok().unwrap();
        let small = hash(&password("one"), cheap(), &entropy, &mut memory)
            .ok()
            .unwrap();
        let larger = Params::new(256, 2, 2).unwrap();
        let large = hash(&password("two"), larger, &entropy, &mut memory)
            .ok()
            .unwrap();
        for _ in 0..3 {
            assert_eq!(
                verify(&password("one"), &small, &mut memory),
                Ok(Verdict::Right)
            );
            assert_eq!(
                verify(&password("two"), &large, &mut memory),
                Ok(Verdict::Right)
            );
            assert_eq!(
                verify(&password("one"), &large, &mut memory),
                Ok(Verdict::Wrong)
            );
        }
    }

    #[test]
    fn s16_both_spellings_of_a_password_fit_its_verifier() {
        let mut memory = Memory::new(cheap()).ok().unwrap();
        let made = hash(
            &password("caf\u{e9}"),
            cheap(),
            &SeededEntropy::new(1),
            &mut memory,
        );
        let verdict = verify(&password("cafe\u{301}"), &made.ok().unwrap(), &mut memory);
        assert_eq!(verdict, Ok(Verdict::Right));
    }

    #[test]
    fn s23_the_dummy_costs_what_any_verifier_costs_and_fits_nothing() {
        let mut memory = Memory::new(cheap()).ok().unwrap();
        let dummy = Verifier::dummy(cheap(), &SeededEntropy::new(1), &mut memory)
            .ok()
            .unwrap();
        assert_eq!(dummy.params(), cheap());
        assert!(!dummy.needs_rehash(&cheap()));
        let verdict = verify(&password("password"), &dummy, &mut memory);
        assert_eq!(verdict, Ok(Verdict::Wrong));
    }
}
