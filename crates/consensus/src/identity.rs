//! Whose data folder this is. Written once, when a node first uses the folder, and compared at
//! every start: a folder of another cluster or node is refused before anything in it is read.

use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use domain::{ClusterId, NodeId, encoding};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::files::File;
use crate::frame::{self, Next};
use crate::place;

const FILE: &str = "identity";
const CONTEXT: &[u8] = b"identity";

/// Why the folder is not for this node.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is another node's, or another cluster's.
    #[error(
        "data folder {folder} belongs to node {found_node} of cluster {found_cluster}, not to node {node} of cluster {cluster}: choose another folder"
    )]
    Another {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        found_cluster: ClusterId,
        /// Whose it is.
        found_node: NodeId,
        /// Who asked.
        cluster: ClusterId,
        /// Who asked.
        node: NodeId,
    },
    /// The identity is not what was written.
    #[error("{file} is damaged: {why}; restore this node from its peers")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The file system.
    #[error("{file}: {source}")]
    File {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    cluster: ClusterId,
    node: NodeId,
}

/// Whose folder it is; none if nobody took it yet. Blocks.
///
/// # Errors
/// `Damaged`, or the disk's.
pub fn of(data: &Path) -> Result<Option<NodeId>, Error> {
    let found = read_record::<Identity>(&data.join(FILE), CONTEXT)?;
    Ok(found.map(|identity| identity.node))
}

/// Takes the folder for this node, or checks that it was taken for it.
///
/// # Errors
/// `Another` when it was taken for another one; else the disk's.
pub fn claim(data: &Path, cluster: ClusterId, node: NodeId) -> Result<(), Error> {
    let file = data.join(FILE);
    let mine = Identity { cluster, node };
    match read_record::<Identity>(&file, CONTEXT)? {
        Some(found) if found == mine => Ok(()),
        Some(found) => Err(Error::Another {
            folder: data.to_owned(),
            found_cluster: found.cluster,
            found_node: found.node,
            cluster,
            node,
        }),
        None => write_record(&file, CONTEXT, &mine),
    }
}

/// The one record that a small file holds; none if there is no file. Blocks.
pub(crate) fn read_record<T: DeserializeOwned>(
    file: &Path,
    context: &[u8],
) -> Result<Option<T>, Error> {
    let at = |source| Error::File {
        file: file.to_owned(),
        source,
    };
    let damaged = |why: String| Error::Damaged {
        file: file.to_owned(),
        why,
    };
    let open = match File::open(file) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(error)),
    };
    match frame::read(&mut BufReader::new(open), context).map_err(at)? {
        Next::Payload(payload) => encoding::decode(&payload)
            .map(Some)
            .map_err(|error| damaged(error.to_string())),
        Next::End | Next::Torn => Err(damaged("it is cut short".to_owned())),
        Next::Damaged(error) => Err(damaged(error.to_string())),
    }
}

/// Puts a small file with one record in the place of a former one, durably. Blocks.
pub(crate) fn write_record<T: Serialize>(
    file: &Path,
    context: &[u8],
    record: &T,
) -> Result<(), Error> {
    let write = || {
        file.parent().map_or(Ok(()), place::create_folder)?;
        let new = file.with_extension("new");
        let mut out = BufWriter::new(File::create(&new)?);
        frame::write(&mut out, context, &encoding::encode(record))?;
        out.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        place::rename(&new, file)
    };
    write().map_err(|source| Error::File {
        file: file.to_owned(),
        source,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_another_cluster_or_node_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = ClusterId([7; 16]);
        claim(folder.path(), cluster, NodeId(1)).unwrap();
        claim(folder.path(), cluster, NodeId(1)).unwrap();
        for (cluster, node) in [(ClusterId([8; 16]), 1), (cluster, 2)] {
            assert!(matches!(
                claim(folder.path(), cluster, NodeId(node)),
                Err(Error::Another { .. })
            ));
        }
    }

    #[test]
    fn a_damaged_identity_is_found() {
        let folder = tempfile::tempdir().unwrap();
        claim(folder.path(), ClusterId([7; 16]), NodeId(1)).unwrap();
        let file = folder.path().join("identity");
        let mut bytes = std::fs::read(&file).unwrap();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        std::fs::write(&file, bytes).unwrap();
        assert!(matches!(
            claim(folder.path(), ClusterId([7; 16]), NodeId(1)),
            Err(Error::Damaged { .. })
        ));
    }
}
