//! What a node holds of the key file, and which keys it uses (LOGIN.md, "Keys").
//!
//! The bytes in the file are not used directly: a key for each use is derived from them, so that
//! a sealing key never signs and a proof tells nothing about a seal.
//!
//! A key that is added is not used at once: [`Keyring::follow`] is called when the cluster has
//! agreed that every node holds it. Until then the oldest key of its purpose is in use. The key
//! file may be read again while the node runs ([`Keyring::renew`]): new keys are taken in, and one
//! that is needed stays in memory whatever became of the file.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ring::{aead, hkdf, hmac};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use domain::id::{ClusterId, NodeId};
use domain::keys::CheckpointKey;
use domain::{Digest, UnixMs};

use crate::checkpoint::{Checkpoint, PublicKey, Seen, Signer};
use crate::key_file::{Malformed, Purpose, Row};
use crate::statement::Statement;
use crate::{digest_of, key_file};

const PROOF_PURPOSE: &str = "tidemark key proof v1";
const NODE_PROOF_PURPOSE: &str = "tidemark key proof of a node v1";
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
    /// The file was changed under the node: a key is another than it was.
    #[error("key {id} in the key file is another than it was: put the former file back")]
    Changed {
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
    /// What the keys of backups are derived from.
    backup: hkdf::Prk,
}

/// The keys that this node holds, and which it uses.
pub struct Keyring {
    keys: RwLock<BTreeMap<u32, Arc<Key>>>,
    sealing: AtomicU32,
    digesting: AtomicU32,
    /// From when on which key makes digests, oldest first; nothing before the cluster said.
    schedule: RwLock<Vec<(UnixMs, u32)>>,
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
            keys.insert(row.id, Arc::new(Key::derive(&row)?));
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
            schedule: RwLock::default(),
            keys: RwLock::new(keys),
        })
    }

    /// Takes in what the key file holds now. A key that is held and not in the file any more goes,
    /// unless it is `needed`; one that is another than before stays as it was.
    ///
    /// # Errors
    /// The first key that is [`Error::Missing`] or [`Error::Changed`]; all others were taken in.
    pub fn renew(&self, file: Self, needed: impl Fn(u32) -> bool) -> Result<(), Error> {
        let found = file
            .keys
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut wrong = None;
        let used = [self.sealing_key(), self.digesting.load(Ordering::Acquire)];
        keys.retain(|id, _| {
            let gone = !found.contains_key(id);
            let kept = needed(*id) || used.contains(id);
            if gone && kept {
                wrong.get_or_insert(Error::Missing { id: *id });
            }
            !gone || kept
        });
        for (id, key) in found {
            match keys.get(&id) {
                Some(held) if held.same(&key) => {}
                Some(_) => {
                    wrong.get_or_insert(Error::Changed { id });
                }
                None => {
                    keys.insert(id, key);
                }
            }
        }
        wrong.map_or(Ok(()), Err)
    }

    /// Uses the keys that the cluster agreed on: one to seal with, and those that make digests,
    /// each from a time on. A cluster that knows none leaves it at the oldest.
    ///
    /// # Errors
    /// [`Error::Missing`] if this node lacks one; the others are used.
    pub fn follow(
        &self,
        sealing: Option<u32>,
        mut digesting: Vec<(UnixMs, u32)>,
        now: UnixMs,
    ) -> Result<(), Error> {
        digesting.sort_unstable();
        let current = digesting.iter().rev().find(|(from, _)| *from <= now);
        let current = current.map(|(_, id)| *id);
        let used = [sealing, current].into_iter().flatten();
        let done = used.map(|id| self.use_key(id)).collect::<Vec<_>>();
        *self
            .schedule
            .write()
            .unwrap_or_else(PoisonError::into_inner) = digesting;
        done.into_iter().collect()
    }

    /// Uses the key from now on for its purpose: the cluster agreed that every node holds it.
    ///
    /// # Errors
    /// [`Error::Missing`] if this node does not.
    pub fn use_key(&self, id: u32) -> Result<(), Error> {
        let key = self.get(id).ok_or(Error::Missing { id })?;
        match key.purpose {
            Purpose::Seal => self.sealing.store(id, Ordering::Release),
            Purpose::Digest => self.digesting.store(id, Ordering::Release),
        }
        Ok(())
    }

    /// The keys held: id, purpose, and when they were made.
    pub fn keys(&self) -> impl Iterator<Item = (u32, Purpose, UnixMs)> + use<> {
        let held = self.held().into_iter();
        held.map(|(id, key)| (id, key.purpose, key.created))
    }

    fn held(&self) -> Vec<(u32, Arc<Key>)> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter()
            .map(|(id, key)| (*id, Arc::clone(key)))
            .collect()
    }

    /// The key that new values are sealed with.
    #[must_use]
    pub fn sealing_key(&self) -> u32 {
        self.sealing.load(Ordering::Acquire)
    }

    /// A proof for each key held.
    #[must_use]
    pub fn proofs(&self, cluster: ClusterId) -> Vec<Proof> {
        let held = self.held().into_iter();
        held.map(|(id, key)| key.prove(cluster, id)).collect()
    }

    /// The proof of one key; none if it is not held.
    #[must_use]
    pub fn proof(&self, cluster: ClusterId, id: u32) -> Option<Proof> {
        Some(self.get(id)?.prove(cluster, id))
    }

    /// What this node says to prove that it holds the key: no other node's code is the same, and
    /// nobody makes one without the key. None if it is not held.
    #[must_use]
    pub fn node_proof(&self, cluster: ClusterId, id: u32, node: NodeId) -> Option<Digest> {
        let key = self.get(id)?;
        let statement = node_statement(cluster, id, node, key.purpose);
        Some(digest_of(hmac::sign(&key.proof, &statement)))
    }

    /// Whether the node that said this holds the key; none if this one does not hold it.
    #[must_use]
    pub fn node_proof_fits(
        &self,
        cluster: ClusterId,
        id: u32,
        node: NodeId,
        code: &Digest,
    ) -> Option<bool> {
        let key = self.get(id)?;
        let statement = node_statement(cluster, id, node, key.purpose);
        Some(hmac::verify(&key.proof, &statement, &code.0).is_ok())
    }

    /// Compares with the proofs that the cluster keeps. Keys that the cluster does not know yet
    /// are no error: that is how a new one arrives.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Wrong`] for the first that differs; the node must not start.
    pub fn check(&self, cluster: ClusterId, proofs: &[Proof]) -> Result<(), Error> {
        for proof in proofs {
            let id = proof.id;
            let key = self.get(id).ok_or(Error::Missing { id })?;
            let statement = proof_statement(cluster, id, &key);
            hmac::verify(&key.proof, &statement, &proof.code.0).map_err(|_| Error::Wrong { id })?;
        }
        Ok(())
    }

    /// A keyed digest: what is kept of an unknown user id, which is often a mistyped password.
    /// `context` says what is digested, so that digests of different things never meet.
    #[must_use]
    pub fn digest(&self, context: &str, value: &[u8]) -> Keyed {
        self.digest_by(self.digesting.load(Ordering::Acquire), context, value)
    }

    /// As `digest`, with the key that was or is used at this time: every node makes the same of a
    /// call that is repeated, however the keys changed in between.
    #[must_use]
    pub fn digest_at(&self, at: UnixMs, context: &str, value: &[u8]) -> Keyed {
        let schedule = self.schedule.read().unwrap_or_else(PoisonError::into_inner);
        let then = schedule.iter().rev().find(|(from, _)| *from <= at);
        let key = match then {
            Some((_, key)) => *key,
            None => self.digesting.load(Ordering::Acquire),
        };
        drop(schedule);
        self.digest_by(key, context, value)
    }

    /// What the keys before the one in use made of the value, the latest first.
    #[must_use]
    pub fn former_digests(&self, context: &str, value: &[u8]) -> Vec<Keyed> {
        let schedule = self.schedule.read().unwrap_or_else(PoisonError::into_inner);
        let keys: Vec<u32> = schedule.iter().rev().map(|(_, key)| *key).collect();
        drop(schedule);
        let in_use = self.digesting.load(Ordering::Acquire);
        keys.into_iter()
            .filter(|key| *key != in_use)
            .map(|key| self.digest_by(key, context, value))
            .collect()
    }

    fn digest_by(&self, key: u32, context: &str, value: &[u8]) -> Keyed {
        let digest = match self.get(key) {
            Some(found) => found.code(context, value),
            // A key in use is always held: `parse`, `use_key` and `renew` see to it.
            None => Digest::ZERO,
        };
        Keyed { key, digest }
    }

    /// Whether `keyed` was made of this value, in constant time; also by an older key. None if
    /// the key is not held any more.
    #[must_use]
    pub fn digest_fits(&self, keyed: &Keyed, context: &str, value: &[u8]) -> Option<bool> {
        let key = self.get(keyed.key)?;
        let statement = digest_statement(context, value);
        Some(hmac::verify(&key.digest, &statement, &keyed.digest.0).is_ok())
    }

    /// Signs what was seen of an audit chain; none if the key in use is not held, which `parse`
    /// and `use_key` see to.
    #[must_use]
    pub fn sign_checkpoint(&self, seen: Seen) -> Option<Checkpoint> {
        let id = self.digesting.load(Ordering::Acquire);
        Some(self.get(id)?.signer.sign(id, seen))
    }

    /// The public keys by which checkpoints are believed, one for each digest key held.
    pub fn checkpoint_keys(&self) -> impl Iterator<Item = (u32, PublicKey)> + use<> {
        let held = self.held().into_iter();
        let digesting = held.filter(|(_, key)| !key.seals());
        digesting.map(|(id, key)| (id, key.signer.public()))
    }

    pub(crate) fn get(&self, id: u32) -> Option<Arc<Key>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(&id).map(Arc::clone)
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
        root.expand(&[b"backup"], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(seed.as_mut()))
            .map_err(|_| broken())?;
        let backup = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, seed.as_ref());
        Ok(Self {
            purpose: row.purpose,
            created: UnixMs(row.created_ms),
            seal: aead::LessSafeKey::new(seal),
            digest: mac(b"digest")?,
            proof: mac(b"proof")?,
            signer,
            backup,
        })
    }

    /// The key of one backup's file, by what was drawn for it; none if it cannot be made.
    pub(crate) fn of_backup(&self, salt: &[u8]) -> Option<aead::LessSafeKey> {
        let context = [b"file".as_slice(), salt];
        let key = self.backup.expand(&context, &aead::AES_256_GCM).ok()?;
        Some(aead::LessSafeKey::new(aead::UnboundKey::from(key)))
    }

    /// Whether both come from one row of a key file: the public half tells keys apart.
    fn same(&self, other: &Self) -> bool {
        self.purpose == other.purpose && self.signer.public() == other.signer.public()
    }

    fn prove(&self, cluster: ClusterId, id: u32) -> Proof {
        let signs = !self.seals();
        Proof {
            id,
            purpose: self.purpose,
            code: digest_of(hmac::sign(&self.proof, &proof_statement(cluster, id, self))),
            public: signs.then(|| CheckpointKey(self.signer.public().0)),
        }
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

fn node_statement(cluster: ClusterId, id: u32, node: NodeId, purpose: Purpose) -> Vec<u8> {
    Statement::new(NODE_PROOF_PURPOSE)
        .bytes(&cluster.0)
        .number(u64::from(id))
        .text(purpose.name())
        .number(node.0)
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

    fn with_third(seed: u64, purpose: Purpose) -> Zeroizing<String> {
        let mut text = file(seed);
        add(&mut text, 3, UnixMs(0), purpose, &SeededEntropy::new(3));
        text
    }

    #[test]
    fn a_nodes_proof_is_its_own_and_takes_the_key() {
        let (ours, theirs) = (keyring(&file(1)), keyring(&file(2)));
        let (one, two) = (NodeId(1), NodeId(2));
        let code = ours.node_proof(CLUSTER, 1, one).unwrap();
        let fits = |of: &Keyring, key, node| of.node_proof_fits(CLUSTER, key, node, &code);
        assert_eq!(fits(&ours, 1, one), Some(true));
        assert_eq!(fits(&ours, 1, two), Some(false));
        assert_eq!(fits(&ours, 2, one), Some(false));
        assert_eq!(fits(&theirs, 1, one), Some(false));
        assert_eq!(fits(&ours, 3, one), None);
        // What everybody can read in the state is no node's proof.
        let told = ours.proof(CLUSTER, 1).unwrap().code;
        let copied = ours.node_proof_fits(CLUSTER, 1, one, &told);
        assert_eq!(copied, Some(false));
        assert_eq!(ours.node_proof(CLUSTER, 3, one), None);
    }

    #[test]
    fn a_file_that_is_read_again_adds_and_drops_and_never_takes_a_needed_key() {
        let held = keyring(&file(1));
        let needed = |id| id <= 2;
        let read = |text: &str| held.renew(keyring(text), needed);
        assert_eq!(read(&with_third(1, Purpose::Seal)), Ok(()));
        assert_eq!(held.keys().count(), 3);
        // Gone again, and nobody needs it.
        assert_eq!(read(&file(1)), Ok(()));
        assert_eq!(held.keys().count(), 2);
        let before = held.proofs(CLUSTER);
        assert_eq!(read(&file(2)), Err(Error::Changed { id: 1 }));
        assert_eq!(held.proofs(CLUSTER), before);
        let without_first = with_third(1, Purpose::Seal).replacen("id = 1\n", "id = 9\n", 1);
        assert_eq!(read(&without_first), Err(Error::Missing { id: 1 }));
        assert_eq!(held.proof(CLUSTER, 1), before.first().copied());
    }

    #[test]
    fn a_repeated_call_is_digested_by_the_key_of_its_time() {
        let held = keyring(&with_third(1, Purpose::Digest));
        let at = |ms| held.digest_at(UnixMs(ms), "request", b"body").key;
        assert_eq!(at(50), 2);
        let schedule = vec![(UnixMs(0), 2), (UnixMs(100), 3)];
        held.follow(Some(1), schedule.clone(), UnixMs(99)).unwrap();
        assert_eq!((at(99), at(100)), (2, 3));
        // Made ready before its time, and not used for anything else before it.
        assert_eq!(held.digest("user id", b"x").key, 2);
        held.follow(Some(1), schedule, UnixMs(100)).unwrap();
        assert_eq!(held.digest("user id", b"x").key, 3);
        assert_eq!((at(99), at(100)), (2, 3));
        let former = held.former_digests("user id", b"x");
        assert_eq!(
            former.iter().map(|keyed| keyed.key).collect::<Vec<_>>(),
            [2]
        );
        let lacking = held.follow(Some(7), Vec::new(), UnixMs(0));
        assert_eq!(lacking, Err(Error::Missing { id: 7 }));
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
