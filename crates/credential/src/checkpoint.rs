//! Signed checkpoints of an audit chain: whoever has the public key can tell, away from the
//! cluster, that a chain is the one that a node of the cluster saw, and how far it went.
//!
//! The key is derived from the key file's, so that every node of a cluster signs with the same
//! one, and its public half says nothing about the file.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use domain::audit::Head;
use domain::id::ClusterId;
use domain::line::{LineId, LineRef};
use domain::{NodeId, UnixMs};

use crate::statement::Statement;

const PURPOSE: &str = "tidemark audit checkpoint v1";
/// Bytes of an Ed25519 public key (RFC 8032 §5.1.5).
const PUBLIC_KEY_BYTES: usize = 32;

/// Whose records a chain holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trail {
    /// What was done and tried on a line: the same at every node.
    Line(LineRef),
    /// What was read at one node.
    Reads {
        /// The cluster.
        cluster: ClusterId,
        /// The node.
        node: NodeId,
    },
}

impl Trail {
    /// Its short name: `main`, the session of a branch, or `reads`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Line(line) => match &line.line {
                LineId::Main => "main",
                LineId::Branch { session, .. } => session.as_str(),
            },
            Self::Reads { .. } => "reads",
        }
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        match self {
            Self::Line(line) => line.cluster,
            Self::Reads { cluster, .. } => *cluster,
        }
    }

    fn state(&self, statement: Statement) -> Statement {
        match self {
            Self::Reads { cluster, node } => {
                statement.text("reads").bytes(&cluster.0).number(node.0)
            }
            Self::Line(LineRef {
                cluster,
                line,
                epoch,
            }) => {
                let statement = statement.text("line").bytes(&cluster.0).number(*epoch);
                match line {
                    LineId::Main => statement.text("main"),
                    LineId::Branch { session, genesis } => statement
                        .text("branch")
                        .text(session.as_str())
                        .bytes(&genesis.0),
                }
            }
        }
    }
}

/// What is said of a chain's end. The two are never taken for each other: an export that was cut
/// off at an earlier checkpoint lacks the statement that it ends there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// The chain had this end; it goes on.
    End,
    /// An export holds all records from this one to this end, and nothing after.
    Export {
        /// The sequence number of its first record.
        first: u64,
    },
}

/// What a checkpoint says: of this trail, at this time, the chain had this end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Whose chain.
    pub trail: Trail,
    /// How many records there were, and the hash of the last.
    pub head: Head,
    /// When, by the signing node's clock.
    pub at: UnixMs,
    /// What is said of that end.
    pub claim: Claim,
}

impl Seen {
    fn to_bytes(&self, key: u32) -> Vec<u8> {
        let statement = Statement::new(PURPOSE).number(u64::from(key));
        let statement = self.trail.state(statement);
        let statement = match self.claim {
            Claim::End => statement.text("end"),
            Claim::Export { first } => statement.text("export").number(first),
        };
        statement
            .number(self.head.sequence)
            .bytes(&self.head.hash.0)
            .number(self.at.0)
            .finish()
    }
}

/// A checkpoint with its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// What was seen.
    pub seen: Seen,
    /// The key in the key file that the signing key comes from.
    pub key: u32,
    /// Ed25519.
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
}

impl Checkpoint {
    /// Whether the key signed it.
    #[must_use]
    pub fn signed_by(&self, key: &PublicKey) -> bool {
        UnparsedPublicKey::new(&ED25519, key.0)
            .verify(&self.seen.to_bytes(self.key), &self.signature)
            .is_ok()
    }
}

/// The public half of a signing key, in hexadecimal for people.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey(#[serde(with = "serde_bytes")] pub [u8; PUBLIC_KEY_BYTES]);

/// A text that is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a checkpoint key is {PUBLIC_KEY_BYTES} bytes in hexadecimal")]
pub struct Malformed;

impl FromStr for PublicKey {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes());
        let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(Malformed)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER_PERMISSIVE.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The signing half.
pub(crate) struct Signer(Ed25519KeyPair);

impl Signer {
    /// From 32 uniform bytes; none if the library refuses them.
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    pub(crate) fn public(&self) -> PublicKey {
        // An Ed25519 public key has 32 bytes, as a digest has.
        PublicKey(crate::digest_of(self.0.public_key()).0)
    }

    pub(crate) fn sign(&self, key: u32, seen: Seen) -> Checkpoint {
        Checkpoint {
            signature: self.0.sign(&seen.to_bytes(key)).as_ref().to_vec(),
            key,
            seen,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use domain::Digest;
    use domain::id::{ClusterId, SessionId};

    use super::*;
    use crate::keyring::Keyring;
    use crate::{SeededEntropy, key_file};

    fn keyring(seed: u64) -> Keyring {
        let file = key_file::found(UnixMs(1_686_391_200_000), &SeededEntropy::new(seed));
        Keyring::parse(&file).ok().unwrap()
    }

    fn line() -> LineRef {
        LineRef {
            cluster: ClusterId([7; 16]),
            line: LineId::Branch {
                session: SessionId::parse("S2-2023-06-10").unwrap(),
                genesis: Digest([1; 32]),
            },
            epoch: 1,
        }
    }

    fn seen() -> Seen {
        Seen {
            trail: Trail::Line(line()),
            head: Head {
                sequence: 57,
                hash: Digest([2; 32]),
            },
            at: UnixMs(1_686_391_200_000),
            claim: Claim::End,
        }
    }

    #[test]
    fn a_checkpoint_is_believed_by_its_own_key_alone() {
        let (ours, theirs) = (keyring(1), keyring(2));
        let checkpoint = ours.sign_checkpoint(seen()).unwrap();
        let (_, public) = ours.checkpoint_keys().next().unwrap();
        assert!(checkpoint.signed_by(&public));
        let (_, other) = theirs.checkpoint_keys().next().unwrap();
        assert!(!checkpoint.signed_by(&other));
        assert_eq!(public.to_string().parse(), Ok(public));
    }

    #[test]
    fn every_field_of_a_checkpoint_is_signed() {
        let ours = keyring(1);
        let checkpoint = ours.sign_checkpoint(seen()).unwrap();
        let (_, public) = ours.checkpoint_keys().next().unwrap();
        type Change = fn(&mut Seen);
        let changes: [Change; 9] = [
            |seen| {
                seen.trail = Trail::Line(LineRef {
                    cluster: ClusterId([8; 16]),
                    ..line()
                })
            },
            |seen| {
                seen.trail = Trail::Line(LineRef {
                    line: LineId::Main,
                    ..line()
                })
            },
            |seen| seen.trail = Trail::Line(LineRef { epoch: 2, ..line() }),
            |seen| {
                seen.trail = Trail::Reads {
                    cluster: ClusterId([7; 16]),
                    node: NodeId(1),
                };
            },
            |seen| seen.head.sequence = 56,
            |seen| seen.head.hash = Digest([3; 32]),
            |seen| seen.at = UnixMs(1),
            |seen| seen.claim = Claim::Export { first: 0 },
            |seen| seen.claim = Claim::Export { first: 1 },
        ];
        for change in changes {
            let mut changed = checkpoint.clone();
            change(&mut changed.seen);
            assert!(!changed.signed_by(&public), "{changed:?}");
        }
    }
}
