//! What this node has promised about epochs, durably (LINES.md, "Promotion"): that it takes part in
//! no older main line any more, and which certificate it has accepted.
//!
//! A promise is on the disk before anybody hears of it, and is read before the node does anything.
//! Deliberately absent: what follows from it.

use std::path::{Path, PathBuf};

use domain::promotion::{Certificate, SealId};
use serde::{Deserialize, Serialize};

use crate::identity::{self, Error};

const CONTEXT: &[u8] = b"standing";

/// A promise to take part in no main line of an epoch below this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The epoch.
    pub epoch: u64,
    /// Names this promise.
    pub id: SealId,
}

/// All that a node has promised.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The promise that no certificate has followed yet.
    pub sealed: Option<Seal>,
    /// The last certificate that was accepted.
    pub accepted: Option<Certificate>,
    /// Another certificate for the same epoch, which stops the node: a person must look. The next
    /// certificate that is accepted settles it.
    pub conflicting: Option<Certificate>,
    /// The epoch of a certificate of this node's centre that goes on from another line than its
    /// own: up to it the node stops for good.
    #[serde(default)]
    pub apart: u64,
    /// The epoch in which the node came to the cluster: certificates up to it do not stop it.
    #[serde(default)]
    pub joined: u64,
}

impl Standing {
    /// The epoch below which this node takes part in nothing.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        let sealed = self.sealed.map_or(0, |seal| seal.epoch);
        let accepted = self.accepted.as_ref();
        sealed.max(accepted.map_or(0, |certificate| certificate.terms.epoch))
    }

    /// Whether a main line of this epoch must stand still here.
    #[must_use]
    pub fn stops(&self, epoch: u64) -> bool {
        epoch < self.epoch() || self.is_contested(epoch)
    }

    /// Whether two certificates are known for this epoch or a later one.
    #[must_use]
    pub fn is_contested(&self, epoch: u64) -> bool {
        let other = self.conflicting.as_ref();
        other.is_some_and(|other| other.terms.epoch >= epoch)
    }
}

fn path(data: &Path) -> PathBuf {
    data.join("standing")
}

/// What the node has promised; nothing where it never did. Blocks.
///
/// # Errors
/// `Damaged`: such a node must not start, since it may have promised anything.
pub fn read(data: &Path) -> Result<Standing, Error> {
    Ok(identity::read_record(&path(data), CONTEXT)?.unwrap_or_default())
}

/// Makes it durable. Blocks.
///
/// # Errors
/// The file system's; the former promise stands then.
pub fn write(data: &Path, standing: &Standing) -> Result<(), Error> {
    identity::write_record(&path(data), CONTEXT, standing)
}
