//! What the main line of a restored cluster begins with: a state as a file in each node's folder,
//! beside the founding record that names its digest. It is read at every start, and a node that
//! lacks it or holds another one does not start.

use std::path::{Path, PathBuf};

use domain::backup;
use domain::cluster::Founding;
use domain::state::State;
use domain::{Digest, LineId, LineRef};

use crate::files;
use crate::image::{self, Error, Header, Kind};
use crate::node::FIRST_EPOCH;
use crate::raft::Members;

/// The name of the file.
pub const FILE: &str = "restored.image";
/// How the name of a cluster's folder ends while a restore writes it.
pub const UNFINISHED: &str = "restoring";

/// Where it is: beside the founding record.
#[must_use]
pub fn path(founding: &Path) -> PathBuf {
    founding.with_file_name(FILE)
}

/// Writes what the cluster's main line begins with, made of a backup's state, durably; gives its
/// full digest. Blocks.
///
/// # Errors
/// The file system's.
pub fn write(path: &Path, cluster: domain::ClusterId, backup: &State) -> Result<Digest, Error> {
    let header = Header {
        format: image::FORMAT,
        kind: Kind::Base,
        reference: LineRef {
            cluster,
            line: LineId::Main,
            epoch: FIRST_EPOCH,
        },
        last: None,
        members: Members::default(),
        members_at: None,
    };
    let written = image::write(path, &header, &backup::base(backup))?;
    Ok(written.full)
}

/// The state that the founded cluster's main line begins with: for a restored cluster from the
/// file, all of it checked. Blocks.
///
/// # Errors
/// `File` when it is not there, `Damaged` saying where, `Other` when it is another one.
pub fn read(path: &Path, founding: &Founding) -> Result<State, Error> {
    let Some(restored) = &founding.restored else {
        return Ok(State::unfounded());
    };
    let other = |why: String| Error::Other {
        file: path.to_owned(),
        why,
    };
    if image::at(path, is_unfinished(path))? {
        return Err(other("the restore that writes it has not ended".to_owned()));
    }
    let image = image::read(path)?;
    if image.header.kind != Kind::Base || image.header.reference.cluster != founding.cluster {
        let (kind, of) = (image.header.kind.name(), image.header.reference.cluster);
        return Err(other(format!("it is {kind} of cluster {of}")));
    }
    if image.digests.full != restored.base {
        let (found, asked) = (image.digests.full, restored.base);
        return Err(other(format!("its digest is {found}, asked for {asked}")));
    }
    Ok(image.state)
}

/// Whether it is in a folder that a restore is writing, or left behind.
fn is_unfinished(path: &Path) -> std::io::Result<bool> {
    let whole = files::canonicalize(path)?;
    let mut folders = whole.ancestors();
    Ok(folders.any(|folder| folder.extension().is_some_and(|name| name == UNFINISHED)))
}

/// Checks that a founding record and a beginning go together: a node that began from nothing where
/// the others began with a backup would come to another state from the same log.
pub(crate) fn check(founding: &Founding, base: &State) -> Result<(), String> {
    let wanted = match &founding.restored {
        Some(restored) => restored.base,
        None => State::unfounded().digests().full,
    };
    let found = base.digests().full;
    if found == wanted {
        return Ok(());
    }
    Err(format!(
        "the main line would begin with a state of digest {found}, and the founding record names {wanted}"
    ))
}
