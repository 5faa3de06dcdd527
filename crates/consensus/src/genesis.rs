//! Genesis files: the state at a session's boundary, from which its branch starts. They are kept
//! outside the snapshots, and removed only when the branch is.

use std::path::{Path, PathBuf};

use domain::state::{Digests, State};
use domain::{Digest, LineRef, LogId, SessionId};

use crate::image::{self, Error, Header, Image, Kind};
use crate::place;
use crate::raft::Members;

/// Where the genesis of a session's branch is.
#[must_use]
pub fn path(data: &Path, session: &SessionId) -> PathBuf {
    place::genesis(data, session)
}

/// Writes the state at the boundary of the parent line. It is durable when this returns; until
/// then the boundary must stay pinned. Blocks.
///
/// # Errors
/// The file system's.
pub fn write(
    path: &Path,
    parent: &LineRef,
    boundary: LogId,
    state: &State,
) -> Result<Digests, Error> {
    let header = Header {
        format: image::FORMAT,
        kind: Kind::Genesis,
        reference: parent.clone(),
        last: Some(boundary),
        members: Members::default(),
        members_at: None,
    };
    image::write(path, &header, state)
}

/// Reads a genesis and checks all of it. Blocks.
///
/// # Errors
/// `Damaged`, saying where; `Other` when the file is a snapshot.
pub fn read(path: &Path) -> Result<Image, Error> {
    let image = image::read(path)?;
    match image.header.kind {
        Kind::Genesis => Ok(image),
        kind @ (Kind::Snapshot | Kind::Base | Kind::Backup) => Err(Error::Other {
            file: path.to_owned(),
            why: format!("it is {}", kind.name()),
        }),
    }
}

/// Reads a genesis, and checks that it is the one of this boundary with this full digest. Blocks.
///
/// # Errors
/// As `read`; `Other` when the digest or the boundary is another.
pub fn verify(path: &Path, boundary: LogId, full: &Digest) -> Result<Image, Error> {
    let image = read(path)?;
    let other = |why: String| Error::Other {
        file: path.to_owned(),
        why,
    };
    if image.digests.full != *full {
        let found = image.digests.full;
        return Err(other(format!("its digest is {found}, asked for {full}")));
    }
    if image.header.last != Some(boundary) {
        let found = image.header.last.unwrap_or_default();
        return Err(other(format!(
            "its boundary is {found}, asked for {boundary}"
        )));
    }
    Ok(image)
}

/// Removes a genesis; gone already is fine.
///
/// # Errors
/// The file system's.
pub fn remove(data: &Path, session: &SessionId) -> Result<(), Error> {
    let path = path(data, session);
    image::at(&path, place::remove_file(&path))
}
