//! Time-based one-time passwords (RFC 6238) over HOTP (RFC 4226).
//!
//! [`matched_step`] says which step a code belongs to; the step travels in the proposal, and
//! `domain` accepts it only above the account's last step and above the floor (S5, S6). The time
//! is the server's (S8), and is passed in.

use totp_rs::{Algorithm as Hmac, Builder, Totp};
use zeroize::Zeroizing;

use domain::UnixMs;
use domain::totp::STEP_MS;

use crate::Entropy;
use crate::code::Code;
use crate::secret::Seed;

/// Steps before the current one that are accepted (S8). None after it are.
pub const LOOKBACK_STEPS: u64 = 1;
/// Most characters of an issuer or account name in a provisioning URI.
pub const LABEL_CHARACTERS_MAX: usize = 64;

/// The hash under the code. Authenticator apps reliably know SHA-1 alone, for which collisions
/// do not matter here (RFC 4226, B.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// HMAC-SHA-1.
    #[default]
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

impl Algorithm {
    fn hmac(self) -> Hmac {
        match self {
            Self::Sha1 => Hmac::SHA1,
            Self::Sha256 => Hmac::SHA256,
            Self::Sha512 => Hmac::SHA512,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }
}

/// How long the code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Digits {
    /// Six, as every app shows.
    #[default]
    Six,
    /// Seven.
    Seven,
    /// Eight, as in the vectors of RFC 6238.
    Eight,
}

impl Digits {
    /// The number.
    #[must_use]
    pub fn count(self) -> u8 {
        match self {
            Self::Six => 6,
            Self::Seven => 7,
            Self::Eight => 8,
        }
    }
}

/// What an app and the service agreed on besides the seed; the step is always 30 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parameters {
    /// The hash.
    pub algorithm: Algorithm,
    /// The length of a code.
    pub digits: Digits,
}

/// A seed that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The library refused it; a [`Seed`] never is.
    #[error("the seed cannot be used")]
    Seed,
    /// An issuer or account name does not fit a provisioning URI.
    #[error("the {what} must have 1 to {LABEL_CHARACTERS_MAX} characters and no colon")]
    Label {
        /// Which of the two.
        what: &'static str,
    },
}

/// The code of a step: what the person's app shows in those 30 seconds. For simulation and tests;
/// the service itself only compares.
///
/// # Errors
/// [`Error::Seed`] if the library refuses the seed.
pub fn code(seed: &Seed, parameters: Parameters, step: u64) -> Result<Code, Error> {
    shown(&hotp(seed, parameters)?, step)
}

/// The step whose code this is: the current one, or one of the `lookback` before it; never one
/// to come (S8). Every candidate is computed and compared in constant time, whichever matches.
///
/// # Errors
/// [`Error::Seed`] if the library refuses the seed.
pub fn matched_step(
    seed: &Seed,
    parameters: Parameters,
    given: &Code,
    now: UnixMs,
    lookback: u64,
) -> Result<Option<u64>, Error> {
    let hotp = hotp(seed, parameters)?;
    let current = domain::totp::step(now);
    let oldest = current.saturating_sub(lookback);
    let mut matched = None;
    for step in oldest..=current {
        if shown(&hotp, step)?.matches(given) {
            matched = Some(step);
        }
    }
    Ok(matched)
}

/// A code that nobody is ever shown: what a login without a channel is compared with, so that it
/// costs what any costs (S23).
///
/// # Errors
/// [`Error::Seed`] if the library refuses the seed.
pub fn decoy(entropy: &dyn Entropy, now: UnixMs) -> Result<Code, Error> {
    let seed = Seed::random(entropy);
    code(&seed, Parameters::default(), domain::totp::step(now))
}

/// The URI that an authenticator app reads from a QR code. It holds the seed: show it once, over
/// the person's own connection, and store it nowhere.
///
/// # Errors
/// [`Error::Label`] if a name is empty, too long, or has the colon that separates the two.
pub fn uri(
    seed: &Seed,
    parameters: Parameters,
    issuer: &str,
    account: &str,
) -> Result<Zeroizing<String>, Error> {
    let issuer = label("issuer", issuer)?;
    let account = label("account name", account)?;
    Ok(Zeroizing::new(format!(
        "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm={}&digits={}&period={}",
        *seed.text(),
        parameters.algorithm.name(),
        parameters.digits.count(),
        STEP_MS / 1_000,
    )))
}

fn label(what: &'static str, name: &str) -> Result<String, Error> {
    let length = name.chars().count();
    if length == 0 || length > LABEL_CHARACTERS_MAX || name.contains(':') {
        return Err(Error::Label { what });
    }
    let mut escaped = String::new();
    for byte in name.bytes() {
        // RFC 3986's unreserved characters stand for themselves.
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(escaped)
}

/// With a step of one second the library's time is RFC 4226's counter.
fn hotp(seed: &Seed, parameters: Parameters) -> Result<Totp, Error> {
    Builder::new()
        .with_algorithm(parameters.algorithm.hmac())
        .with_digits(parameters.digits.count())
        .with_step_duration(1)
        .with_secret(seed.as_bytes().to_vec())
        .build()
        .map_err(|_| Error::Seed)
}

fn shown(hotp: &Totp, counter: u64) -> Result<Code, Error> {
    let text = Zeroizing::new(hotp.generate(counter).to_string());
    Code::parse(&text).map_err(|_| Error::Seed)
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

    const SIX: Parameters = Parameters {
        algorithm: Algorithm::Sha1,
        digits: Digits::Six,
    };

    fn seed(bytes: &[u8]) -> Seed {
        Seed::from_bytes(Zeroizing::new(bytes.to_vec()))
            .ok()
            .unwrap()
    }

    /// The RFC's seeds: the same digits, repeated to the length of the hash.
    fn rfc_seed(algorithm: Algorithm) -> Seed {
        let length = match algorithm {
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        };
        let bytes: Vec<u8> = b"1234567890".iter().copied().cycle().take(length).collect();
        seed(&bytes)
    }

    fn rfc_6238(at_s: u64, expected: [&str; 3]) {
        let algorithms = [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512];
        for (algorithm, expected) in algorithms.into_iter().zip(expected) {
            let parameters = Parameters {
                algorithm,
                digits: Digits::Eight,
            };
            let shown = code(&rfc_seed(algorithm), parameters, at_s / 30).unwrap();
            assert_eq!(shown.text(), expected, "{algorithm:?} at {at_s}");
        }
    }

    #[test]
    fn s1_hotp_gives_the_vectors_of_rfc_4226() {
        let expected = [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583",
            "399871", "520489",
        ];
        for (counter, expected) in (0..).zip(expected) {
            let shown = code(&rfc_seed(Algorithm::Sha1), SIX, counter).unwrap();
            assert_eq!(shown.text(), expected, "counter {counter}");
        }
    }

    #[test]
    fn s2_totp_gives_the_vectors_of_rfc_6238_at_59() {
        rfc_6238(59, ["94287082", "46119246", "90693936"]);
    }

    #[test]
    fn s3_totp_gives_the_vectors_of_rfc_6238_at_1111111109_and_1111111111() {
        rfc_6238(1_111_111_109, ["07081804", "68084774", "25091201"]);
        rfc_6238(1_111_111_111, ["14050471", "67062674", "99943326"]);
    }

    #[test]
    fn s4_totp_gives_the_vectors_of_rfc_6238_at_later_times() {
        rfc_6238(1_234_567_890, ["89005924", "91819424", "93441116"]);
        rfc_6238(2_000_000_000, ["69279037", "90698825", "38618901"]);
        rfc_6238(20_000_000_000, ["65353130", "77737706", "47863826"]);
    }

    #[test]
    fn s8_the_current_step_and_one_back_match_and_no_other() {
        let seed = Seed::random(&SeededEntropy::new(5));
        let now = UnixMs(1_686_391_200_000);
        let current = domain::totp::step(now);
        let matched = |step: u64| {
            let given = code(&seed, SIX, step).unwrap();
            matched_step(&seed, SIX, &given, now, LOOKBACK_STEPS).unwrap()
        };
        assert_eq!(matched(current), Some(current));
        assert_eq!(matched(current - 1), Some(current - 1));
        assert_eq!(matched(current - 2), None);
        assert_eq!(matched(current + 1), None);
    }

    #[test]
    fn s8_a_code_ages_with_the_servers_clock() {
        let seed = Seed::random(&SeededEntropy::new(5));
        let given = code(&seed, SIX, 100).unwrap();
        let at = |ms: u64| matched_step(&seed, SIX, &given, UnixMs(ms), LOOKBACK_STEPS).unwrap();
        assert_eq!(at(100 * STEP_MS - 1), None);
        assert_eq!(at(100 * STEP_MS), Some(100));
        assert_eq!(at(102 * STEP_MS - 1), Some(100));
        assert_eq!(at(102 * STEP_MS), None);
    }

    #[test]
    fn a_code_of_another_length_never_matches() {
        let seed = Seed::random(&SeededEntropy::new(5));
        let eight = Parameters {
            digits: Digits::Eight,
            ..SIX
        };
        let given = code(&seed, eight, 100).unwrap();
        let now = UnixMs(100 * STEP_MS);
        assert_eq!(matched_step(&seed, SIX, &given, now, 1), Ok(None));
        assert_eq!(matched_step(&seed, eight, &given, now, 1), Ok(Some(100)));
        assert_eq!(matched_step(&seed, eight, &given, UnixMs(0), 1), Ok(None));
    }

    #[test]
    fn s23_no_two_decoys_come_from_one_seed() {
        let entropy = SeededEntropy::new(5);
        let now = UnixMs(100 * STEP_MS);
        let (one, two) = (decoy(&entropy, now).unwrap(), decoy(&entropy, now).unwrap());
        assert_eq!(one.text().len(), 6);
        assert!(!one.matches(&two));
    }

    #[test]
    fn an_app_is_told_seed_issuer_and_account() {
        let uri = uri(
            &rfc_seed(Algorithm::Sha1),
            SIX,
            "Clearing House (east)",
            "C001USER1",
        )
        .unwrap();
        assert_eq!(
            *uri,
            "otpauth://totp/Clearing%20House%20%28east%29:C001USER1\
             ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Clearing%20House%20%28east%29\
             &algorithm=SHA1&digits=6&period=30"
        );
    }

    #[test]
    fn a_label_that_would_break_the_uri_is_refused() {
        let seed = rfc_seed(Algorithm::Sha1);
        for bad in ["", "a:b", &"x".repeat(LABEL_CHARACTERS_MAX + 1)] {
            assert!(uri(&seed, SIX, bad, "C001USER1").is_err(), "{bad}");
            assert!(uri(&seed, SIX, "Clearing House", bad).is_err(), "{bad}");
        }
    }
}
