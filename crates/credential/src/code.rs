//! Codes that people type: one-time digits by e-mail, and the two halves of an activation code.
//!
//! How long a code lives, how often it may be tried and that it counts once is `domain`'s
//! business (S10, S24). Here they are drawn, read as people write them, and compared.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::Entropy;
use crate::entropy::below;
use crate::secret::Malformed;

/// Digits of an e-mailed code, unless told otherwise.
pub const CODE_DIGITS: usize = 8;
/// The fewest digits of a code (S10).
pub const CODE_DIGITS_MIN: usize = 6;
/// The most digits of a code.
pub const CODE_DIGITS_MAX: usize = 10;
/// Symbols in each half of an activation code: 50 bits.
pub const HALF_SYMBOLS: usize = 10;
/// Symbols between two hyphens, as people read them out.
pub const GROUP_SYMBOLS: usize = 5;

/// Most bytes read of a code on the wire; spaces and hyphens are ignored.
const WIRE_BYTES_MAX: usize = 64;

/// Crockford's base 32: no I, L, O or U, so that a half survives the telephone.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Digits that prove a channel: sent by e-mail, or shown by an authenticator app.
pub struct Code(Zeroizing<String>);

impl Code {
    /// A new code of [`CODE_DIGITS`], each equally likely (S10).
    #[must_use]
    pub fn random(entropy: &dyn Entropy) -> Self {
        Self(drawn(b"0123456789", CODE_DIGITS, entropy))
    }

    /// Reads what the person typed; spaces and hyphens between digits do not count.
    ///
    /// # Errors
    /// [`Malformed`] if it is not [`CODE_DIGITS_MIN`] to [`CODE_DIGITS_MAX`] digits.
    pub fn parse(wire: &str) -> Result<Self, Malformed> {
        let digits = typed(wire)?;
        if digits.len() > CODE_DIGITS_MAX {
            return Err(Malformed::TooLong {
                max: CODE_DIGITS_MAX,
            });
        }
        if digits.len() < CODE_DIGITS_MIN {
            return Err(Malformed::TooShort {
                min: CODE_DIGITS_MIN,
            });
        }
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Malformed::Alphabet);
        }
        Ok(Self(digits))
    }

    /// Reads a code that was sealed with [`Code::as_bytes`].
    ///
    /// # Errors
    /// As [`Code::parse`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::parse(std::str::from_utf8(bytes).map_err(|_| Malformed::Alphabet)?)
    }

    /// Whether both are the same code, in constant time for one length.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }

    /// The digits, for the mail that carries them.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The digits, for sealing. A hash of so few digits would be no protection.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// One half of an activation code. One goes to the registered address, the other is shown once to
/// the administrator who issued it and passed on by voice; neither is enough alone (S24), and each
/// is drawn, sealed and expires by itself.
pub struct Half(Zeroizing<String>);

impl Half {
    /// A new half.
    #[must_use]
    pub fn random(entropy: &dyn Entropy) -> Self {
        Self(drawn(CROCKFORD, HALF_SYMBOLS, entropy))
    }

    /// Reads what the person typed: any case, spaces and hyphens ignored, O for 0, I and L for 1.
    ///
    /// # Errors
    /// [`Malformed`] if it is not [`HALF_SYMBOLS`] of Crockford's base 32.
    pub fn parse(wire: &str) -> Result<Self, Malformed> {
        let symbols = typed(wire)?;
        if symbols.chars().count() != HALF_SYMBOLS {
            return Err(Malformed::Alphabet);
        }
        let mut half = Zeroizing::new(String::with_capacity(HALF_SYMBOLS));
        for symbol in symbols.chars() {
            let plain = match symbol.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            if !CROCKFORD.iter().any(|known| char::from(*known) == plain) {
                return Err(Malformed::Alphabet);
            }
            half.push(plain);
        }
        Ok(Self(half))
    }

    /// The half in groups, as it is shown: `7K3QD-0M2XA`.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(2 * HALF_SYMBOLS));
        for (index, symbol) in self.0.chars().enumerate() {
            if index > 0 && index % GROUP_SYMBOLS == 0 {
                text.push('-');
            }
            text.push(symbol);
        }
        text
    }

    /// Reads a half that was sealed with [`Half::as_bytes`].
    ///
    /// # Errors
    /// As [`Half::parse`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::parse(std::str::from_utf8(bytes).map_err(|_| Malformed::Alphabet)?)
    }

    /// Whether both are the same half, in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }

    /// The symbols without hyphens, for sealing.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn drawn(alphabet: &[u8], length: usize, entropy: &dyn Entropy) -> Zeroizing<String> {
    let bound = u32::try_from(alphabet.len()).unwrap_or(0);
    let mut text = Zeroizing::new(String::with_capacity(length));
    while text.len() < length {
        let index = usize::try_from(below(bound, entropy)).unwrap_or(0);
        if let Some(symbol) = alphabet.get(index) {
            text.push(char::from(*symbol));
        }
    }
    text
}

fn typed(wire: &str) -> Result<Zeroizing<String>, Malformed> {
    if wire.len() > WIRE_BYTES_MAX {
        return Err(Malformed::TooLong {
            max: WIRE_BYTES_MAX,
        });
    }
    let mut text = Zeroizing::new(String::with_capacity(wire.len()));
    text.extend(wire.chars().filter(|c| !matches!(c, ' ' | '-')));
    if text.is_empty() {
        return Err(Malformed::Empty);
    }
    Ok(text)
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

    #[test]
    fn s10_a_code_has_eight_digits_each_as_likely() {
        let entropy = SeededEntropy::new(3);
        let mut seen = [0_u32; 10];
        for _ in 0..2_000 {
            let code = Code::random(&entropy);
            assert_eq!(code.text().len(), CODE_DIGITS);
            for digit in code.text().bytes() {
                seen[usize::from(digit - b'0')] += 1;
            }
        }
        assert!(seen.iter().all(|n| (1_400..1_800).contains(n)), "{seen:?}");
    }

    #[test]
    fn a_code_reads_as_people_type_it() {
        let code = Code::random(&SeededEntropy::new(3));
        let (one, two) = code.text().split_at(4);
        assert!(
            Code::parse(&format!(" {one} {two}"))
                .ok()
                .unwrap()
                .matches(&code)
        );
        assert!(
            Code::parse(&format!("{one}-{two}"))
                .ok()
                .unwrap()
                .matches(&code)
        );
    }

    #[test]
    fn s10_fewer_than_six_digits_are_no_code() {
        let refused = |wire: &str| Code::parse(wire).err().unwrap();
        assert_eq!(refused("12345"), Malformed::TooShort { min: 6 });
        assert_eq!(refused("12345678901"), Malformed::TooLong { max: 10 });
        assert_eq!(refused("12a456"), Malformed::Alphabet);
        assert_eq!(refused("+123456"), Malformed::Alphabet);
        assert_eq!(refused("１２３４５６"), Malformed::TooLong { max: 10 });
        assert_eq!(refused(" - "), Malformed::Empty);
        assert_eq!(refused(&" ".repeat(65)), Malformed::TooLong { max: 64 });
    }

    #[test]
    fn codes_of_different_length_do_not_match() {
        let six = Code::parse("123456").ok().unwrap();
        let eight = Code::parse("12345678").ok().unwrap();
        assert!(!six.matches(&eight));
    }

    #[test]
    fn s24_the_halves_of_an_activation_code_are_random_and_tell_nothing_of_each_other() {
        let entropy = SeededEntropy::new(3);
        let (mailed, spoken) = (Half::random(&entropy), Half::random(&entropy));
        assert!(!mailed.matches(&spoken));
        let back = Half::from_bytes(mailed.as_bytes()).ok().unwrap();
        assert!(back.matches(&mailed));
        assert_eq!(mailed.text().len(), HALF_SYMBOLS + 1);
        assert_eq!(mailed.text().chars().nth(GROUP_SYMBOLS), Some('-'));
    }

    #[test]
    fn a_half_reads_as_people_say_it() {
        let half = Half::parse("0123456789").ok().unwrap();
        assert!(Half::parse("oI23 4-56789").ok().unwrap().matches(&half));
        assert!(Half::parse("Ol23456789").ok().unwrap().matches(&half));
        let drawn = Half::random(&SeededEntropy::new(4));
        assert!(
            Half::parse(&drawn.text().to_lowercase())
                .ok()
                .unwrap()
                .matches(&drawn)
        );
        for wire in ["", "012345678", "01234567890", "U123456789", "é123456789"] {
            assert!(Half::parse(wire).is_err(), "{wire}");
        }
    }
}
