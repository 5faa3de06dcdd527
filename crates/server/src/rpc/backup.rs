//! `BackupService`: the main line's state, sealed and streamed while the line goes on.
//!
//! The state is a clone that costs nothing. It is encoded and sealed on a thread of its own, no
//! faster than the caller takes it: a few pieces are all that waits in memory.

use std::io::{self, Write};
use std::pin::Pin;
use std::time::Duration;

use consensus::image;
use credential::backup::{PIECE_BYTES_MAX, Sealer};
use domain::backup::{Backup, BackupId, Taken};
use domain::{State, cluster};
use futures::{Stream, StreamExt, stream};
use proto::operator::v1 as operator;
use proto::operator::v1::backup_service_server::BackupService;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tonic::{Request, Response, Status};

use super::account::reason;
use super::answered;
use crate::edge::{Edge, Validity};
use crate::identity::Caller;
use crate::request::Ask;
use crate::status::Refusal;

/// Pieces that may wait for the caller.
const PIECES_WAITING_MAX: usize = 4;
/// Backups that a node streams at once; others wait.
const AT_ONCE: usize = 2;
/// How long a caller may take over a piece before it is given up.
const STALLED: Duration = Duration::from_secs(60);

static STREAMED: Semaphore = Semaphore::const_new(AT_ONCE);

type Parts = Pin<Box<dyn Stream<Item = Result<operator::TakeBackupResponse, Status>> + Send>>;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Backups(pub(super) Edge);

#[tonic::async_trait]
impl BackupService for Backups {
    type TakeBackupStream = Parts;

    async fn take_backup(
        &self,
        request: Request<operator::TakeBackupRequest>,
    ) -> Result<Response<Self::TakeBackupStream>, Status> {
        answered!(self.0, request, take)
    }
}

async fn take(edge: &Edge, ask: Ask<operator::TakeBackupRequest>) -> Result<Parts, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    let validity = Validity::of(ask.body.validate_only);
    let reason = reason(&ask, &ask.body.reason)?;
    let by = match &ask.caller {
        Caller::Operator(id) => id.clone(),
        Caller::FrontEnd(..) | Caller::BackEnd(_) | Caller::Node(_) | Caller::Script(_) => {
            let why = "backups are taken by operators alone".to_owned();
            return Err(Refusal::NotAllowed { why });
        }
    };
    let (line, _) = edge.fresh(&ask).await?;
    let turn = STREAMED.acquire().await;
    let turn = turn.map_err(|closed| Refusal::Internal(closed.to_string()))?;
    let id = BackupId(edge.derived("backup", &key));
    let command = domain::Command::Cluster(cluster::Command::BackUp { id, reason });
    edge.propose_or_judge(&ask, &line, (Some(key), validity), command)
        .await?;
    if validity == Validity::ValidateOnly {
        return Ok(stream::empty().boxed());
    }
    // As every read: nothing is told of that the secondary could still lose. The note is in it.
    line.read_index().await?;
    let state = line.state();
    let taken = Taken {
        id,
        at: edge.now(&state),
        node: edge.node().id(),
        by,
    };
    let backup = Backup::of(&state, taken, edge.keyring().sealing_key());
    let backup = backup.ok_or_else(|| Refusal::Internal("there is no cluster yet".to_owned()))?;
    let (to, from) = mpsc::channel(PIECES_WAITING_MAX);
    let header = image::Header {
        format: image::FORMAT,
        kind: image::Kind::Backup,
        reference: line.reference(),
        last: Some(backup.log),
        members: Default::default(),
        members_at: None,
    };
    let writer = edge.clone();
    tokio::task::spawn_blocking(move || {
        let failed = to.clone();
        if let Err(error) = write(&writer, backup, (&header, &state), to) {
            tracing::warn!(%error, "a backup was not streamed to its end");
            // One that went away hears nothing any more.
            let _gone = failed.try_send(Err(Status::internal(error.to_string())));
        }
        drop(turn);
    });
    Ok(until_stopped(edge, from))
}

/// Seals the state piece by piece. Blocks.
fn write(
    edge: &Edge,
    backup: Backup,
    (header, state): (&image::Header, &State),
    to: mpsc::Sender<Result<Vec<u8>, Status>>,
) -> io::Result<()> {
    let digests = backup.digests;
    let (sealer, beginning) = Sealer::begin(edge.keyring(), backup, edge.entropy())?;
    let mut pieces = Pieces {
        sealer,
        waiting: Vec::with_capacity(PIECE_BYTES_MAX),
        to,
    };
    pieces.send(beginning)?;
    image::write_to(&mut pieces, header, state, digests)?;
    pieces.flush()?;
    let Pieces { sealer, to, .. } = pieces;
    send(&to, sealer.end()?)
}

/// What is written becomes pieces of the file.
struct Pieces {
    sealer: Sealer,
    waiting: Vec<u8>,
    to: mpsc::Sender<Result<Vec<u8>, Status>>,
}

impl Pieces {
    fn send(&self, bytes: Vec<u8>) -> io::Result<()> {
        send(&self.to, bytes)
    }
}

fn send(to: &mpsc::Sender<Result<Vec<u8>, Status>>, bytes: Vec<u8>) -> io::Result<()> {
    let sent = tokio::time::timeout(STALLED, to.send(Ok(bytes)));
    match Handle::current().block_on(sent) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(io::Error::other("its caller went away")),
        Err(_) => Err(io::Error::other("its caller takes nothing any more")),
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES_MAX.saturating_sub(self.waiting.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.waiting.extend_from_slice(taken);
        if self.waiting.len() >= PIECE_BYTES_MAX {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let piece = self.sealer.piece(&self.waiting)?;
        self.waiting.clear();
        self.send(piece)
    }
}

/// The pieces as they come, until the node stops: what was told by then is no backup, and says so.
fn until_stopped(edge: &Edge, from: mpsc::Receiver<Result<Vec<u8>, Status>>) -> Parts {
    let stopping = edge.parts().stopping.clone();
    let parts = stream::unfold(Some((from, stopping)), |open| async move {
        let (mut from, mut stopping) = open?;
        let stopped = async {
            // The sender is gone only when the node is.
            let _stopped = stopping.wait_for(|stop| *stop).await;
        };
        let next = tokio::select! {
            next = from.recv() => next?,
            () = stopped => Err(Status::unavailable("the node stops: take the backup at another")),
        };
        let next = next.map(|chunk| operator::TakeBackupResponse { chunk });
        let open = next.is_ok().then_some((from, stopping));
        Some((next, open))
    });
    parts.boxed()
}
