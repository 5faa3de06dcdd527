//! Genesis files on their way from node to node.
//!
//! What comes is believed only if it is the genesis that was asked for; how long it may take hangs
//! on its length, so that no peer holds another up.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::promotion::Terms;
use domain::state::State;
use domain::{Digest, LineId, LineRef, LogId, NodeId, SessionId};
use proto::peer::v1 as peer;
use tonic::Status;

use crate::branch::make_folder;
use crate::line::PATIENCE;
use crate::node::{Error, FIRST_EPOCH, Node, blocking};
use crate::peers::CHUNK_BYTES;
use crate::transfer::Count;
use crate::{files, genesis, image, network, place, wire};

/// Longest genesis that is fetched: what a node can hold in memory is far below.
const GENESIS_BYTES_MAX: u64 = 4 << 30;

impl Node {
    /// Fetches a genesis from a peer and keeps it only if it is the one of this boundary with
    /// this full digest.
    ///
    /// # Errors
    /// `Branch` when the peer has none or cannot be reached; `Image` when what came is another.
    pub async fn fetch_genesis(
        &self,
        session: &SessionId,
        boundary: LogId,
        full: Digest,
        from: NodeId,
    ) -> Result<State, Error> {
        let path = genesis::path(self.data(), session);
        make_folder(&path)?;
        let fetched = path.with_extension(format!("fetched-{from}"));
        let received = self.receive_genesis(session, full, from, &fetched).await;
        let checked = match received {
            Ok(()) => {
                let (fetched, path) = (fetched.clone(), path);
                blocking(move || {
                    let image = genesis::verify(&fetched, boundary, &full)?;
                    files::File::open(&fetched)?.sync_all()?;
                    place::rename(&fetched, &path)?;
                    Ok(image)
                })
                .await
            }
            Err(error) => Err(error),
        };
        match checked {
            Ok(image) => {
                self.note_genesis(session, Some(full));
                Ok(image.state)
            }
            Err(error) => {
                place::remove_file(&fetched)?;
                Err(error)
            }
        }
    }

    async fn receive_genesis(
        &self,
        session: &SessionId,
        full: Digest,
        from: NodeId,
        into: &Path,
    ) -> Result<(), Error> {
        let reference = self.branch_reference(session, full);
        self.receive_file(&reference, from, into).await
    }

    /// Fetches what the main line of a later epoch begins with, and keeps it only if it is what
    /// the terms of its promotion name.
    pub(crate) async fn receive_beginning(
        &self,
        reference: &LineRef,
        terms: &Terms,
        from: NodeId,
    ) -> Result<State, Error> {
        let path = place::beginning(self.data(), reference);
        make_folder(&path)?;
        let fetched = path.with_extension(format!("fetched-{from}"));
        self.receive_file(reference, from, &fetched).await?;
        let (boundary, genesis) = (terms.boundary, terms.genesis);
        blocking(move || {
            let image = image::read(&fetched)?;
            if image.digests.full != genesis || image.header.last != Some(boundary) {
                place::remove_file(&fetched)?;
                return Err(Error::Promotion(
                    "what came is not what the certificate names".to_owned(),
                ));
            }
            files::File::open(&fetched)?.sync_all()?;
            place::rename(&fetched, &path)?;
            Ok(image.state)
        })
        .await
    }

    /// Receives what a line begins with into a file.
    async fn receive_file(
        &self,
        reference: &LineRef,
        from: NodeId,
        into: &Path,
    ) -> Result<(), Error> {
        let unreachable = |why: String| Error::Branch(format!("genesis from node {from}: {why}"));
        let mut client = self
            .peers()
            .file_client(from)
            .ok_or_else(|| unreachable("it is not in the directory".to_owned()))?;
        let request = peer::FetchGenesisRequest {
            line: Some(wire::line_ref(reference)),
        };
        let mut file = Some(files::File::create(into)?);
        let begin = async {
            let mut parts = client.fetch_genesis(request).await?.into_inner();
            let first = parts.message().await?;
            let first = first.ok_or_else(|| Status::data_loss("nothing came"))?;
            Ok::<_, Status>((parts, first))
        };
        // The first part says how long the whole is, and so how long it may take.
        let (mut parts, first) = within(PATIENCE, begin).await.map_err(unreachable)?;
        let length = first.length;
        if length > GENESIS_BYTES_MAX {
            return Err(unreachable(format!("it would have {length} bytes")));
        }
        let receive = async {
            let mut count = Count::new(length);
            let mut next = Some(first);
            while let Some(part) = next {
                count.add(&part.chunk)?;
                file = append(file.take(), part.chunk.to_vec()).await?;
                next = parts.message().await?;
            }
            Ok::<_, Status>(count.finish()?)
        };
        let limit = network::snapshot_limit(length);
        within(limit, receive).await.map_err(unreachable)
    }

    /// A genesis that a peer asks for, and its length.
    pub(crate) async fn open_genesis(
        &self,
        branch: &LineRef,
    ) -> Result<(Arc<files::File>, u64), Status> {
        let LineId::Branch { session, genesis } = &branch.line else {
            return self.open_beginning(branch);
        };
        let here = self.geneses().into_iter().any(|(known, digest)| {
            known == *session && digest == *genesis && branch.cluster == self.cluster()
        });
        if !here {
            return Err(Status::failed_precondition(format!(
                "this node has no genesis of {}",
                branch.line
            )));
        }
        opened(&genesis::path(self.data(), session))
    }

    fn open_beginning(&self, main: &LineRef) -> Result<(Arc<files::File>, u64), Status> {
        if main.cluster != self.cluster() || main.epoch <= FIRST_EPOCH {
            return Err(Status::invalid_argument("the main line has no genesis"));
        }
        opened(&place::beginning(self.data(), main))
    }
}

fn opened(path: &Path) -> Result<(Arc<files::File>, u64), Status> {
    let file = files::File::open(path)?;
    let length = file.metadata()?.len();
    Ok((Arc::new(file), length))
}

/// What a peer's answer comes to, or why it does not.
async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map_err(|status| status.message().to_owned()),
        Err(_) => Err("it took too long".to_owned()),
    }
}

/// Appends to a file in a thread that may block, and hands it back.
async fn append(file: Option<files::File>, chunk: Vec<u8>) -> io::Result<Option<files::File>> {
    debug_assert!(chunk.len() <= CHUNK_BYTES, "peers send parts of this size");
    crate::blocking::run(move || {
        let mut file = file;
        if let Some(file) = &mut file {
            file.write_all(&chunk)?;
        }
        Ok(file)
    })
    .await?
}
