//! What a node holds of the key file, and which keys it uses (LOGIN.md, "Keys").
//!
//! The bytes in the file are not used directly: a key for each use is derived from them, so that
//! a sealing key never signs and a proof tells nothing about a seal.
//!
//! A key that is added is not used at once: [`Keyring::use_key`] is called when the cluster has
//! agreed that every node holds it. Until then the oldest key of its purpose is in use.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use ring::{aead, hkdf, hmac};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use domain::id::ClusterId;
use domain::{Digest, UnixMs};

use crate::checkpoint::{Checkpoint, PublicKey, Seen, Signer};
use crate::key_file::{Malformed, Purpose, Row};
use crate::statement::Statement;
use crate::{digest_of, key_file};

const PROOF_PURPOSE: &str = "tidemark key proof v1";
const DIGEST_PURPOSE: &str = "tidemark keyed digest v1";

/// Why the keys held are not the cluster's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The cluster uses a key that the file does not hold.
    #[error("the key file does not hold key {id}, which the cluster uses: add it and start again")]
    Missing {
        /// Which key.
        id: u32,
    },
    /// The file's key is another than the cluster's of that id.
    #[error("key {id} in the key file is not the cluster's: is it the file of another cluster?")]
    Wrong {
        /// Which key.
        id: u32,
    },
}

/// One key as it is used.
pub(crate) struct Key {
    purpose: Purpose,
    created: UnixMs,
    pub(crate) seal: aead::LessSafeKey,
    digest: hmac::Key,
    proof: hmac::Key,
    signer: Signer,
}

/// The keys that this node holds, and which it uses.
pub struct Keyring {
    keys: BTreeMap<u32, Key>,
    sealing: AtomicU32,
    digesting: AtomicU32,
}

/// Kept in the cluster's founding record, and compared at the start of every node.
pub use domain::cluster::KeyProof as Proof;

/// A digest that only holders of the key file can compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Keyed {
    /// Which key.
    pub key: u32,
    /// The digest.
    pub digest: Digest,
}

impl Keyring {
    /// Reads a key file.
    ///
    /// # Errors
    /// [`Malformed`] if it is none, or lacks a key of some purpose.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut keys = BTreeMap::new();
        for row in key_file::parse(text)? {
            keys.insert(row.id, Key::derive(&row)?);
        }
        let oldest = |purpose: Purpose| {
            keys.iter()
                .find(|(_, key)| key.purpose == purpose)
                .map(|(id, _)| AtomicU32::new(*id))
                .ok_or(Malformed::None {
                    purpose: purpose.name(),
                })
        };
        Ok(Self {
            sealing: oldest(Purpose::Seal)?,
            digesting: oldest(Purpose::Digest)?,
            keys,
        })
    }

    /// Uses the key from now on for its purpose: the cluster agreed that every node holds it.
    ///
    /// # Errors
    /// [`Error::Missing`] if this node does not.
    pub fn use_key(&self, id: u32) -> Result<(), Error> {
        let key = self.keys.get(&id).ok_or(Error::Missing { id })?;
        match key.purpose {
            Purpose::Seal => self.sealing.store(id, Ordering::Release),
            Purpose::Digest => self.digesting.store(id, Ordering::Release),
        }
        Ok(())
    }

    /// The keys held: id, purpose, and when they were made.
    pub fn keys(&self) -> impl Iterator<Item = (u32, Purpose, UnixMs)> + '_ {
        self.keys
            .iter()
            .map(|(id, key)| (*id, key.purpose, key.created))
    }

    /// The key that new values are sealed with.
    #[must_use]
    pub fn sealing_key(&self) -> u32 {
        self.sealing.load(Ordering::Acquire)
    }

    /// A proof for each key held.
    #[must_use]
    pub fn proofs(&self, cluster: ClusterId) -> Vec<Proof> {
        self.keys
            .iter()
            .map(|(id, key)| Proof {
                id: *id,
                code: digest_of(hmac::sign(&key.proof, &proof_statement(cluster, *id, key))),
            })
            .collect()
    }

    /// Compares with the proofs that the cluster keeps. Keys that the cluster does not know yet
    /// are no error: that is how a new one arrives.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Wrong`] for the first that differs; the node must not start.
    pub fn check(&self, cluster: ClusterId, proofs: &[Proof]) -> Result<(), Error> {
        for proof in proofs {
            let id = proof.id;
            let key = self.keys.get(&id).ok_or(Error::Missing { id })?;
            let statement = proof_statement(cluster, id, key);
            hmac::verify(&key.proof, &statement, &proof.code.0).map_err(|_| Error::Wrong { id })?;
        }
        Ok(())
    }

    /// A keyed digest: what is kept of an unknown user id, which is often a mistyped password.
    /// `context` says what is digested, so that digests of different things never meet.
    #[must_use]
    pub fn digest(&self, context: &str, value: &[u8]) -> Keyed {
        let key = self.digesting.load(Ordering::Acquire);
        let digest = match self.keys.get(&key) {
            Some(found) => found.code(context, value),
            // The key in use is always held: `parse` and `use_key` see to it.
            None => Digest::ZERO,
        };
        Keyed { key, digest }
    }

    /// Whether `keyed` was made of this value, in constant time; also by an older key. None if
    /// the key is not held any more.
    #[must_use]
    pub fn digest_fits(&self, keyed: &Keyed, context: &str, value: &[u8]) -> Option<bool> {
        let key = self.keys.get(&keyed.key)?;
        let statement = digest_statement(context, value);
        Some(hmac::verify(&key.digest, &statement, &keyed.digest.0).is_ok())
    }

    /// Signs what was seen of an audit chain; none if the key in use is not held, which `parse`
    /// and `use_key` see to.
    #[must_use]
    pub fn sign_checkpoint(&self, seen: Seen) -> Option<Checkpoint> {
        let id = self.digesting.load(Ordering::Acquire);
        let key = self.keys.get(&id)?;
        Some(key.signer.sign(id, seen))
    }

    /// The public keys by which checkpoints are believed, one for each digest key held.
    pub fn checkpoint_keys(&self) -> impl Iterator<Item = (u32, PublicKey)> + '_ {
        let digesting = self.keys.iter().filter(|(_, key)| !key.seals());
        digesting.map(|(id, key)| (*id, key.signer.public()))
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Key> {
        self.keys.get(&id)
    }
}

impl Key {
    fn derive(row: &Row) -> Result<Self, Malformed> {
        let broken = || Malformed::Secret { id: row.id };
        let secret = row.secret()?;
        // The secret is uniform already: what is wanted of HKDF is the separation.
        let root =
            hkdf::Salt::new(hkdf::HKDF_SHA256, b"tidemark key file v1").extract(secret.as_ref());
        let seal: aead::UnboundKey = root
            .expand(&[b"seal"], &aead::AES_256_GCM)
            .map_err(|_| broken())?
            .into();
        let mac = |use_for: &'static [u8]| -> Result<hmac::Key, Malformed> {
            Ok(root
                .expand(&[use_for], hmac::HMAC_SHA256)
                .map_err(|_| broken())?
                .into())
        };
        let mut seed = Zeroizing::new([0; 32]);
        root.expand(&[b"checkpoint"], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(seed.as_mut()))
            .map_err(|_| broken())?;
        let signer = Signer::from_seed(&seed).ok_or_else(broken)?;
        Ok(Self {
            purpose: row.purpose,
            created: UnixMs(row.created_ms),
            seal: aead::LessSafeKey::new(seal),
            digest: mac(b"digest")?,
            proof: mac(b"proof")?,
            signer,
        })
    }

    pub(crate) fn seals(&self) -> bool {
        match self.purpose {
            Purpose::Seal => true,
            Purpose::Digest => false,
        }
    }

    fn code(&self, context: &str, value: &[u8]) -> Digest {
        digest_of(hmac::sign(&self.digest, &digest_statement(context, value)))
    }
}

fn digest_statement(context: &str, value: &[u8]) -> Vec<u8> {
    Statement::new(DIGEST_PURPOSE)
        .text(context)
        .bytes(value)
        .finish()
}

fn proof_statement(cluster: ClusterId, id: u32, key: &Key) -> Vec<u8> {
    Statement::new(PROOF_PURPOSE)
        .bytes(&cluster.0)
        .number(u64::from(id))
        .text(key.purpose.name())
        .finish()
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
    use crate::key_file::{add, found};

    const CLUSTER: ClusterId = ClusterId([7; 16]);

    fn file(seed: u64) -> Zeroizing<String> {
        found(UnixMs(1_686_391_200_000), &SeededEntropy::new(seed))
    }

    fn keyring(text: &str) -> Keyring {
        Keyring::parse(text).ok().unwrap()
    }

    #[test]
    fn a_founded_key_file_reads_back() {
        let keyring = keyring(&file(1));
        let made = UnixMs(1_686_391_200_000);
        assert_eq!(
            keyring.keys().collect::<Vec<_>>(),
            [(1, Purpose::Seal, made), (2, Purpose::Digest, made)]
        );
        assert_eq!(keyring.sealing_key(), 1);
    }

    #[test]
    fn a_wrong_or_missing_key_is_found_at_start() {
        let (ours, theirs) = (keyring(&file(1)), keyring(&file(2)));
        let proofs = ours.proofs(CLUSTER);
        assert_eq!(ours.check(CLUSTER, &proofs), Ok(()));
        assert_eq!(theirs.check(CLUSTER, &proofs), Err(Error::Wrong { id: 1 }));
        assert_eq!(
            ours.check(ClusterId([8; 16]), &proofs),
            Err(Error::Wrong { id: 1 })
        );
        let mut rotated = file(1);
        add(
            &mut rotated,
            3,
            UnixMs(0),
            Purpose::Seal,
            &SeededEntropy::new(3),
        );
        let rotated = keyring(&rotated);
        assert_eq!(rotated.check(CLUSTER, &proofs), Ok(()));
        assert_eq!(
            ours.check(CLUSTER, &rotated.proofs(CLUSTER)),
            Err(Error::Missing { id: 3 })
        );
    }

    #[test]
    fn a_new_key_is_used_only_when_told() {
        let mut text = file(1);
        add(
            &mut text,
            3,
            UnixMs(0),
            Purpose::Seal,
            &SeededEntropy::new(3),
        );
        let keyring = keyring(&text);
        assert_eq!(keyring.sealing_key(), 1);
        assert_eq!(keyring.use_key(3), Ok(()));
        assert_eq!(keyring.sealing_key(), 3);
        assert_eq!(keyring.use_key(4), Err(Error::Missing { id: 4 }));
        assert_eq!(keyring.sealing_key(), 3);
    }

    #[test]
    fn a_keyed_digest_needs_the_key_and_the_context() {
        let (ours, theirs) = (keyring(&file(1)), keyring(&file(2)));
        let digest = ours.digest("user id", b"hunter2");
        assert_eq!(digest, ours.digest("user id", b"hunter2"));
        assert_ne!(digest, ours.digest("address", b"hunter2"));
        assert_ne!(digest, ours.digest("user id", b"hunter3"));
        assert_ne!(digest, theirs.digest("user id", b"hunter2"));
        assert_eq!(ours.digest_fits(&digest, "user id", b"hunter2"), Some(true));
        assert_eq!(
            ours.digest_fits(&digest, "user id", b"hunter3"),
            Some(false)
        );
        let unknown = Keyed { key: 9, ..digest };
        assert_eq!(ours.digest_fits(&unknown, "user id", b"hunter2"), None);
    }
}
