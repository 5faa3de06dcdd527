//! Whose data folder this is. Written once, when a node first uses the folder, and compared at
//! every start: a folder of another cluster or node is refused before anything in it is read.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use domain::{ClusterId, NodeId, encoding};
use serde::{Deserialize, Serialize};

use crate::frame::{self, Next};
use crate::place;

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

/// Takes the folder for this node, or checks that it was taken for it.
///
/// # Errors
/// `Another` when it was taken for another one; else the disk's.
pub fn claim(data: &Path, cluster: ClusterId, node: NodeId) -> Result<(), Error> {
    let file = data.join("identity");
    let at = |source| Error::File {
        file: file.clone(),
        source,
    };
    let mine = Identity { cluster, node };
    match File::open(&file) {
        Ok(open) => {
            let found = read(&file, open)?;
            if found == mine {
                return Ok(());
            }
            Err(Error::Another {
                folder: data.to_owned(),
                found_cluster: found.cluster,
                found_node: found.node,
                cluster,
                node,
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write(data, &file, &mine).map_err(at)
        }
        Err(error) => Err(at(error)),
    }
}

fn read(file: &Path, open: File) -> Result<Identity, Error> {
    let damaged = |why: String| Error::Damaged {
        file: file.to_owned(),
        why,
    };
    let next = frame::read(&mut BufReader::new(open), CONTEXT).map_err(|source| Error::File {
        file: file.to_owned(),
        source,
    })?;
    match next {
        Next::Payload(payload) => {
            encoding::decode(&payload).map_err(|error| damaged(error.to_string()))
        }
        Next::End | Next::Torn => Err(damaged("it is cut short".to_owned())),
        Next::Damaged(error) => Err(damaged(error.to_string())),
    }
}

fn write(data: &Path, file: &Path, identity: &Identity) -> io::Result<()> {
    place::create_folder(data)?;
    let new = file.with_extension("new");
    let mut out = BufWriter::new(File::create(&new)?);
    frame::write(&mut out, CONTEXT, &encoding::encode(identity))?;
    out.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()?;
    place::rename(&new, file)
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
