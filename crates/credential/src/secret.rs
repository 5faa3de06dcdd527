//! The types that secrets travel in: no `Serialize`, no `Clone`, no `Debug`, and zeroed when
//! dropped. A password cannot enter an envelope or a log line, because it does not compile:
//!
//! ```compile_fail,E0277
//! fn loggable<T: std::fmt::Debug>() {}
//! loggable::<credential::secret::Password>();
//! ```
//! ```compile_fail,E0277
//! fn storable<T: serde::Serialize>() {}
//! storable::<credential::secret::Password>();
//! ```
//! ```compile_fail,E0277
//! fn copyable<T: Clone>() {}
//! copyable::<credential::secret::Seed>();
//! ```
//!
//! What a secret may become is in the other modules: a verifier (`password`), a digest, or
//! sealed bytes (`seal`). E-mailed and activation codes are in `code`.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use ring::digest;
use subtle::ConstantTimeEq;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use domain::Digest;

use crate::Entropy;

/// The most code points a password may have (S15 asks that at least 64 be allowed).
pub const PASSWORD_LENGTH_MAX: usize = 256;
/// The most bytes read of a password on the wire; four for each code point, four times over,
/// because normalising may compose several into one.
pub const PASSWORD_WIRE_BYTES_MAX: usize = 4 * 4 * PASSWORD_LENGTH_MAX;
/// Bytes in a token (S30 asks for 16 at least).
pub const TOKEN_BYTES: usize = 32;
/// Bytes in a seed that we make: 160 bits (S7).
pub const SEED_BYTES: usize = 20;
/// The fewest bytes in a seed that we import: 128 bits (S7).
pub const SEED_BYTES_MIN: usize = 16;
/// The most bytes in a seed: the block of HMAC-SHA-1 and SHA-256, the output of SHA-512.
pub const SEED_BYTES_MAX: usize = 64;

const TOKEN_DOMAIN: &[u8] = b"tidemark token v1\0";

/// Why bytes from outside are no secret of the kind asked for. Never says what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// There was nothing.
    #[error("is empty")]
    Empty,
    /// More code points or bytes than the type's limit.
    #[error("is longer than {max} characters")]
    TooLong {
        /// The limit.
        max: usize,
    },
    /// Fewer bytes than are safe.
    #[error("is shorter than {min} bytes")]
    TooShort {
        /// The limit.
        min: usize,
    },
    /// Characters that the type cannot have.
    #[error("is not written as it should be")]
    Alphabet,
}

/// What a person typed as password: normalised (NFKC), never truncated (S16).
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes a password from the wire.
    ///
    /// # Errors
    /// [`Malformed`] if it is empty or has more than [`PASSWORD_LENGTH_MAX`] code points. That a
    /// *new* password is long enough is `rules::check`'s business: an old one is only compared.
    pub fn parse(wire: &str) -> Result<Self, Malformed> {
        let too_long = Malformed::TooLong {
            max: PASSWORD_LENGTH_MAX,
        };
        if wire.is_empty() {
            return Err(Malformed::Empty);
        }
        if wire.len() > PASSWORD_WIRE_BYTES_MAX {
            return Err(too_long);
        }
        // Measured first: a string that grows leaves copies of the secret in freed memory.
        let (mut length, mut bytes) = (0_usize, 0_usize);
        for point in wire.nfkc() {
            length = length.saturating_add(1);
            bytes = bytes.saturating_add(point.len_utf8());
            if length > PASSWORD_LENGTH_MAX {
                return Err(too_long);
            }
        }
        let mut normal = Zeroizing::new(String::with_capacity(bytes));
        normal.extend(wire.nfkc());
        Ok(Self(normal))
    }

    /// The number of code points, after normalising (S16).
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.chars().count()
    }

    /// Whether both are the same password, in constant time for one length.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }

    /// A password that nobody knows: 256 random bits.
    pub(crate) fn nobodys(entropy: &dyn Entropy) -> Self {
        Self(Token::random(entropy).text())
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// What a login yields: 256 random bits, which the service keeps only hashed (S30).
pub struct Token(Zeroizing<[u8; TOKEN_BYTES]>);

impl Token {
    /// A new token.
    #[must_use]
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        entropy.fill(bytes.as_mut());
        Self(bytes)
    }

    /// Reads a token as [`Token::text`] writes it.
    ///
    /// # Errors
    /// [`Malformed`] if it is not 43 characters of base64url.
    pub fn parse(wire: &str) -> Result<Self, Malformed> {
        // Checked first: whatever is decoded has exactly the right size.
        if BASE64URL_NOPAD.decode_len(wire.len()) != Ok(TOKEN_BYTES) {
            return Err(Malformed::Alphabet);
        }
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        BASE64URL_NOPAD
            .decode_mut(wire.as_bytes(), bytes.as_mut())
            .map_err(|_| Malformed::Alphabet)?;
        Ok(Self(bytes))
    }

    /// The text that the front end is given: base64url, 43 characters.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64URL_NOPAD.encode(self.0.as_ref()))
    }

    /// What the state knows the token by (S30): SHA-256, domain-separated. A plain hash is
    /// enough for 256 random bits.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(TOKEN_DOMAIN);
        context.update(self.0.as_ref());
        crate::digest_of(context.finish())
    }
}

/// The key that an authenticator app and the service share.
pub struct Seed(Zeroizing<Vec<u8>>);

impl Seed {
    /// A new seed of 160 bits (S7).
    #[must_use]
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new(vec![0; SEED_BYTES]);
        entropy.fill(&mut bytes);
        Self(bytes)
    }

    /// Takes a seed as raw bytes: what was unsealed, or what is imported.
    ///
    /// # Errors
    /// [`Malformed`] if it has fewer than [`SEED_BYTES_MIN`] or more than [`SEED_BYTES_MAX`].
    pub fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Result<Self, Malformed> {
        if bytes.len() < SEED_BYTES_MIN {
            return Err(Malformed::TooShort {
                min: SEED_BYTES_MIN,
            });
        }
        if bytes.len() > SEED_BYTES_MAX {
            return Err(Malformed::TooLong {
                max: SEED_BYTES_MAX,
            });
        }
        Ok(Self(bytes))
    }

    /// Reads base32 as authenticator apps show it: any case, spaces ignored.
    ///
    /// # Errors
    /// [`Malformed`] if it is not base32 of a seed's length.
    pub fn parse(wire: &str) -> Result<Self, Malformed> {
        if wire.len() > 4 * SEED_BYTES_MAX {
            return Err(Malformed::TooLong {
                max: 4 * SEED_BYTES_MAX,
            });
        }
        let mut text = Zeroizing::new(String::with_capacity(wire.len()));
        text.extend(
            wire.chars()
                .filter(|c| !matches!(c, ' ' | '-' | '='))
                .map(|c| c.to_ascii_uppercase()),
        );
        let bytes = BASE32_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| Malformed::Alphabet)?;
        Self::from_bytes(Zeroizing::new(bytes))
    }

    /// Base32 without padding: what the person types if the camera does not work.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE32_NOPAD.encode(&self.0))
    }

    /// The raw bytes, for sealing (S39).
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
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
    use crate::SeededEntropy;

    fn password(wire: &str) -> Password {
        Password::parse(wire).ok().unwrap()
    }

    fn refusal<T>(result: Result<T, Malformed>) -> Malformed {
        result.err().expect("should have been refused")
    }

    #[test]
    fn s16_two_spellings_of_one_password_are_one_password() {
        let composed = password("caf\u{e9} fin\u{e9}");
        let decomposed = password("cafe\u{301} \u{fb01}ne\u{301}");
        assert!(composed.matches(&decomposed));
        assert!(!composed.matches(&password("cafe fine")));
    }

    #[test]
    fn s16_a_code_point_counts_once() {
        assert_eq!(password("密碼密碼密碼密碼").length(), 8);
        assert_eq!(password("🌊🌊🌊").length(), 3);
        assert_eq!(password("e\u{301}").length(), 1);
    }

    #[test]
    fn s16_all_printing_ascii_and_space_are_taken() {
        let all: String = (' '..='~').collect();
        assert_eq!(password(&all).length(), 95);
        assert_eq!(password(&all).text(), all);
    }

    #[test]
    fn s15_s16_a_long_password_is_kept_whole_and_too_long_is_refused() {
        let longest = "x".repeat(PASSWORD_LENGTH_MAX);
        assert_eq!(password(&longest).text(), longest);
        let too_long = Malformed::TooLong {
            max: PASSWORD_LENGTH_MAX,
        };
        assert_eq!(refusal(Password::parse(&(longest.clone() + "y"))), too_long);
        assert_eq!(refusal(Password::parse(&longest.repeat(1000))), too_long);
        // One code point that becomes eighteen when normalised.
        assert_eq!(refusal(Password::parse(&"\u{fdfa}".repeat(15))), too_long);
        assert_eq!(refusal(Password::parse("")), Malformed::Empty);
    }

    #[test]
    fn s30_a_token_is_256_random_bits_and_reads_back() {
        let entropy = SeededEntropy::new(1);
        let (one, two) = (Token::random(&entropy), Token::random(&entropy));
        assert_eq!(one.text().len(), 43);
        assert_ne!(*one.text(), *two.text());
        assert_ne!(one.digest(), two.digest());
        let back = Token::parse(&one.text()).ok().unwrap();
        assert_eq!(back.digest(), one.digest());
    }

    #[test]
    fn s30_what_is_stored_of_a_token_is_not_the_token() {
        let token = Token::random(&SeededEntropy::new(1));
        assert_ne!(&token.digest().0, &*token.0);
    }

    #[test]
    fn a_malformed_token_is_refused() {
        for wire in [
            "",
            "short",
            &"A".repeat(42),
            &"A".repeat(44),
            &"!".repeat(43),
        ] {
            assert_eq!(refusal(Token::parse(wire)), Malformed::Alphabet);
        }
        // 43 characters carry two bits too many: they must be zero.
        assert_eq!(refusal(Token::parse(&"/".repeat(43))), Malformed::Alphabet);
        assert_eq!(refusal(Token::parse(&"_".repeat(43))), Malformed::Alphabet);
    }

    #[test]
    fn s7_a_seed_is_160_bits_and_one_below_128_is_refused() {
        let seed = Seed::random(&SeededEntropy::new(1));
        assert_eq!(seed.as_bytes().len() * 8, 160);
        let back = Seed::parse(&seed.text().to_lowercase()).ok().unwrap();
        assert_eq!(back.as_bytes(), seed.as_bytes());
        assert_eq!(
            refusal(Seed::from_bytes(Zeroizing::new(vec![1; 15]))),
            Malformed::TooShort { min: 16 }
        );
        assert_eq!(
            refusal(Seed::from_bytes(Zeroizing::new(vec![1; 65]))),
            Malformed::TooLong { max: 64 }
        );
        assert_eq!(refusal(Seed::parse("01890189")), Malformed::Alphabet);
    }
}
