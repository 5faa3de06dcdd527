//! Sealing: AES-256-GCM under a key of the key file, bound to the row (S22, S39).
//!
//! Nonces are random. A key may seal about four thousand million values before two nonces are
//! likely to meet; it is to be rotated long before, and re-sealing is [`Keyring::reseal`].

use ring::aead::{Aad, NONCE_LEN, Nonce};
use zeroize::Zeroizing;

use domain::factor::Sealed;

use crate::Entropy;
use crate::associated::Associated;
use crate::keyring::Keyring;

/// Most bytes that are sealed at once: a verifier, a seed or a code is far shorter.
pub const PLAINTEXT_BYTES_MAX: usize = 4 * 1024;
/// What sealing adds.
const TAG_BYTES: usize = 16;

/// Why a value was not sealed or did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More bytes than are ever sealed.
    #[error("more than {PLAINTEXT_BYTES_MAX} bytes are not sealed")]
    TooLong,
    /// The key is not in the key file, or not for sealing.
    #[error("key {key} for a sealed value is not in the key file")]
    Key {
        /// Which key.
        key: u32,
    },
    /// The value was changed, belongs to another row, or was sealed under another key.
    #[error("a sealed value does not open with key {key} in its row: it was changed or moved")]
    Damaged {
        /// Which key.
        key: u32,
    },
}

impl Keyring {
    /// Seals a value for its row, with the key in use.
    ///
    /// # Errors
    /// [`Error::TooLong`].
    pub fn seal(
        &self,
        plaintext: &[u8],
        associated: &Associated,
        entropy: &dyn Entropy,
    ) -> Result<Sealed, Error> {
        if plaintext.len() > PLAINTEXT_BYTES_MAX {
            return Err(Error::TooLong);
        }
        let id = self.sealing_key();
        let key = self.get(id).ok_or(Error::Key { key: id })?;
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        // Room for the tag from the start: a vector that grows leaves the plaintext behind.
        let mut bytes = Vec::with_capacity(plaintext.len().saturating_add(TAG_BYTES));
        bytes.extend_from_slice(plaintext);
        key.seal
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated.as_bytes()),
                &mut bytes,
            )
            .map_err(|_| Error::TooLong)?;
        Ok(Sealed {
            key: id,
            nonce,
            bytes,
        })
    }

    /// Opens a sealed value of this row.
    ///
    /// # Errors
    /// [`Error`] if the key is not held, or the value is not this row's.
    pub fn open(
        &self,
        sealed: &Sealed,
        associated: &Associated,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let id = sealed.key;
        let key = self
            .get(id)
            .filter(|key| key.seals())
            .ok_or(Error::Key { key: id })?;
        let mut bytes = Zeroizing::new(sealed.bytes.clone());
        let length = key
            .seal
            .open_in_place(
                Nonce::assume_unique_for_key(sealed.nonce),
                Aad::from(associated.as_bytes()),
                &mut bytes,
            )
            .map_err(|_| Error::Damaged { key: id })?
            .len();
        bytes.truncate(length);
        Ok(bytes)
    }

    /// The value sealed anew with the key in use; none if it already is.
    ///
    /// # Errors
    /// [`Error`] if it does not open.
    pub fn reseal(
        &self,
        sealed: &Sealed,
        associated: &Associated,
        entropy: &dyn Entropy,
    ) -> Result<Option<Sealed>, Error> {
        if sealed.key == self.sealing_key() {
            return Ok(None);
        }
        let plaintext = self.open(sealed, associated)?;
        self.seal(&plaintext, associated, entropy).map(Some)
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
    use crate::key_file::{Purpose, add, found};
    use domain::UnixMs;
    use domain::factor::Method;
    use domain::id::AccountId;

    fn keyring(seed: u64) -> Keyring {
        let text = found(UnixMs(0), &SeededEntropy::new(seed));
        Keyring::parse(&text).ok().unwrap()
    }

    fn account(id: &str) -> AccountId {
        AccountId::parse(id).unwrap()
    }

    fn row() -> Associated {
        Associated::verifier(&account("C001USER1"), Method::Otp)
    }

    #[test]
    fn s22_a_sealed_value_opens_in_its_own_row_only() {
        let keyring = keyring(1);
        let sealed = keyring
            .seal(b"secret", &row(), &SeededEntropy::new(2))
            .unwrap();
        assert_eq!(*keyring.open(&sealed, &row()).unwrap(), b"secret");
        for other in [
            Associated::verifier(&account("C001USER2"), Method::Otp),
            Associated::verifier(&account("C001USER1"), Method::Smartcard),
            Associated::seed(&account("C001USER1")),
        ] {
            assert_eq!(
                keyring.open(&sealed, &other),
                Err(Error::Damaged { key: 1 })
            );
        }
    }

    #[test]
    fn s22_any_change_of_a_sealed_value_is_found() {
        let keyring = keyring(1);
        let sealed = keyring
            .seal(b"secret", &row(), &SeededEntropy::new(2))
            .unwrap();
        assert!(!sealed.bytes.windows(6).any(|w| w == b"secret"));
        for index in 0..sealed.bytes.len() {
            let mut changed = sealed.clone();
            changed.bytes[index] ^= 1;
            assert_eq!(
                keyring.open(&changed, &row()),
                Err(Error::Damaged { key: 1 })
            );
        }
        let mut changed = sealed.clone();
        changed.nonce[0] ^= 1;
        assert_eq!(
            keyring.open(&changed, &row()),
            Err(Error::Damaged { key: 1 })
        );
        changed = sealed.clone();
        changed.bytes.clear();
        assert_eq!(
            keyring.open(&changed, &row()),
            Err(Error::Damaged { key: 1 })
        );
        changed = sealed;
        changed.key = 2;
        assert_eq!(keyring.open(&changed, &row()), Err(Error::Key { key: 2 }));
    }

    #[test]
    fn a_value_of_another_key_file_does_not_open() {
        let sealed = keyring(1)
            .seal(b"secret", &row(), &SeededEntropy::new(2))
            .unwrap();
        assert_eq!(
            keyring(9).open(&sealed, &row()),
            Err(Error::Damaged { key: 1 })
        );
    }

    #[test]
    fn one_value_sealed_twice_looks_different() {
        let (keyring, entropy) = (keyring(1), SeededEntropy::new(2));
        let one = keyring.seal(b"secret", &row(), &entropy).unwrap();
        let two = keyring.seal(b"secret", &row(), &entropy).unwrap();
        assert_ne!(one.bytes, two.bytes);
        let long = vec![0; PLAINTEXT_BYTES_MAX + 1];
        assert_eq!(keyring.seal(&long, &row(), &entropy), Err(Error::TooLong));
    }

    #[test]
    fn s39_a_value_is_resealed_when_the_key_rotates() {
        let entropy = SeededEntropy::new(2);
        let mut text = found(UnixMs(0), &entropy);
        add(&mut text, 3, UnixMs(0), Purpose::Seal, &entropy);
        let keyring = Keyring::parse(&text).ok().unwrap();
        let old = keyring.seal(b"secret", &row(), &entropy).unwrap();
        assert_eq!(keyring.reseal(&old, &row(), &entropy), Ok(None));
        keyring.use_key(3).unwrap();
        let new = keyring.reseal(&old, &row(), &entropy).unwrap().unwrap();
        assert_eq!((old.key, new.key), (1, 3));
        assert_eq!(*keyring.open(&old, &row()).unwrap(), b"secret");
        assert_eq!(*keyring.open(&new, &row()).unwrap(), b"secret");
    }
}
