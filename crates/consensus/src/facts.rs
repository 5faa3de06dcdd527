//! What a node knows of its machine and of the files that it was started with, and tells its peers:
//! room on its disk, the end of its certificates, the state of its key file.
//!
//! Whoever runs the node notes them. Deliberately absent: what is too little room, or too near an
//! end. Those who read the status judge that.

use std::sync::{PoisonError, RwLock};

use domain::UnixMs;
use proto::peer::v1 as peer;

use crate::node::Node;

/// The version of this program, as nodes tell it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Most certificates that are taken from a peer's word.
const CERTIFICATES_MAX: usize = 64;

/// Room on the file system with the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that the node may still write.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// A certificate in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// What it is for: `node`, or `anchor/` with whose.
    pub name: String,
    /// When it expires.
    pub not_after: UnixMs,
}

/// What a node says of itself beside its lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Room on its disk, if that could be found out.
    pub room: Option<Room>,
    /// The certificates that it uses.
    pub certificates: Vec<Certificate>,
    /// What is wrong with its key file.
    pub key_problem: Option<String>,
}

impl Facts {
    /// As a peer sent them.
    #[must_use]
    pub fn read(said: peer::NodeFacts) -> Self {
        let certificates = said.certificates.into_iter().take(CERTIFICATES_MAX);
        Self {
            room: (said.disk_total_bytes > 0).then_some(Room {
                free_bytes: said.disk_free_bytes,
                total_bytes: said.disk_total_bytes,
            }),
            certificates: certificates
                .map(|one| Certificate {
                    name: one.name,
                    not_after: UnixMs(one.not_after_ms),
                })
                .collect(),
            key_problem: Some(said.key_problem).filter(|what| !what.is_empty()),
        }
    }

    /// As peers are sent them.
    #[must_use]
    pub fn message(self) -> peer::NodeFacts {
        peer::NodeFacts {
            disk_free_bytes: self.room.map_or(0, |room| room.free_bytes),
            disk_total_bytes: self.room.map_or(0, |room| room.total_bytes),
            certificates: self
                .certificates
                .into_iter()
                .map(|one| peer::CertificateFact {
                    name: one.name,
                    not_after_ms: one.not_after.0,
                })
                .collect(),
            key_problem: self.key_problem.unwrap_or_default(),
        }
    }
}

/// What was noted last.
#[derive(Debug, Default)]
pub(crate) struct Noted(RwLock<Facts>);

impl Node {
    /// Notes what the node says of itself from now on.
    pub fn note_facts(&self, facts: Facts) {
        let noted = self.inner.facts.0.write();
        *noted.unwrap_or_else(PoisonError::into_inner) = facts;
    }

    /// What was noted last; nothing before.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let noted = self.inner.facts.0.read();
        noted.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_as_they_were_told() {
        let facts = Facts {
            room: Some(Room {
                free_bytes: 1,
                total_bytes: 2,
            }),
            certificates: vec![Certificate {
                name: "node".to_owned(),
                not_after: UnixMs(3),
            }],
            key_problem: Some("gone".to_owned()),
        };
        assert_eq!(Facts::read(facts.clone().message()), facts);
        assert_eq!(Facts::read(peer::NodeFacts::default()), Facts::default());
    }
}
