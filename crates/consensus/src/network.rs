//! How openraft speaks to the other members of a line: over the peer service, each message
//! marked with its line.
//!
//! Appends go over one bidirectional stream, so that many are under way at once. Every wait has
//! a limit: an answer that does not come is a time-out, a node that cannot be reached is
//! `Unreachable`, and openraft then backs off.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::{CentreName, NodeId, encoding};
use futures::stream::{self, BoxStream, StreamExt};
use futures::{Stream, future::BoxFuture};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use proto::peer::v1 as peer;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tonic::{Code, Status};

use crate::peers::{self, Client, Peers};
use crate::raft::{self, Snapshot, TypeConfig, Vote};
use crate::{snapshot, transfer};

/// How long a stream of appends may take to be accepted.
const STREAM_SETUP_MAX: Duration = Duration::from_secs(2);
/// How long a peer that refuses a stream is left alone: it may refuse at once.
const STREAM_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How long an append may stay unanswered: a follower answers once its disk has it, and disks
/// pause under load.
const APPEND_ANSWER_MAX: Duration = Duration::from_secs(4);
/// What a snapshot may take, however small, and how much longer for each mebibyte.
const SNAPSHOT_BASE: Duration = Duration::from_secs(60);
const SNAPSHOT_EACH_MIB: Duration = Duration::from_secs(2);

type Answer<T> = Result<T, RPCError<TypeConfig>>;

/// Makes the links from this node to the other members of one line.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    peers: Peers,
    line: peer::LineRef,
}

impl Network {
    /// The links of a line.
    #[must_use]
    pub(crate) fn new(peers: Peers, line: peer::LineRef) -> Self {
        Self { peers, line }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &raft::Peer) -> Link {
        let target = NodeId(target);
        // The directory is what people configured; the membership entry is for the nodes that
        // joined since.
        if self.peers.get(target).is_none()
            && let Ok(centre) = CentreName::parse(&node.centre)
            && let Err(error) = self.peers.register(peers::Peer {
                node: target,
                centre,
                address: node.address.clone(),
            })
        {
            tracing::warn!(node = %target, %error, "a member cannot be reached");
        }
        Link {
            peers: self.peers.clone(),
            // Meant for this node alone: another one may have its address by now.
            line: peer::LineRef {
                node: target.0,
                ..self.line.clone()
            },
            target,
        }
    }
}

/// The way from this node to one other member of one line.
#[derive(Debug)]
pub(crate) struct Link {
    peers: Peers,
    line: peer::LineRef,
    target: NodeId,
}

impl Link {
    fn client(&self) -> Answer<Client> {
        self.peers
            .client(self.target)
            .ok_or_else(|| self.unreachable("the node is not in the directory"))
    }

    fn unreachable(&self, why: &str) -> RPCError<TypeConfig> {
        Unreachable::from_string(format!("node {}: {why}", self.target)).into()
    }

    fn timeout(&self, action: RPCTypes, timeout: Duration) -> RPCError<TypeConfig> {
        Timeout {
            action,
            id: self.peers.me().0,
            target: self.target.0,
            timeout,
        }
        .into()
    }

    /// Sends one message and decodes its answer.
    async fn ask<T: DeserializeOwned>(
        &self,
        action: RPCTypes,
        limit: Duration,
        call: impl Future<Output = Result<Vec<u8>, Status>>,
    ) -> Answer<T> {
        let bytes = tokio::time::timeout(limit, call)
            .await
            .map_err(|_| self.timeout(action, limit))?
            .map_err(|status| failed(self.target, &status))?;
        decoded(&bytes)
    }
}

/// A refusal or a broken connection: either way, asking again at once would not help.
fn failed(target: NodeId, status: &Status) -> RPCError<TypeConfig> {
    if status.code() == Code::FailedPrecondition {
        tracing::debug!(node = %target, reason = status.message(), "a peer refused a message");
    }
    Unreachable::from_string(format!(
        "node {target}: {:?}: {}",
        status.code(),
        status.message()
    ))
    .into()
}

fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    encoding::decode(bytes).map_err(|error| NetworkError::from_string(error).into())
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = snapshot::File;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Answer<AppendEntriesResponse<TypeConfig>> {
        let unanswered = self.unreachable("the stream ended without an answer");
        let mut answers = self
            .stream_append(Box::pin(stream::once(async { request })), option)
            .await?;
        let result = answers.next().await.unwrap_or(Err(unanswered))?;
        Ok(result.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Answer<BoxStream<'s, Answer<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        Box::pin(async move {
            let mut client = self.client()?;
            let sent = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&sent);
            let line = self.line.clone();
            // The transport reads the requests by itself, and would go on waiting for one after
            // the answers are gone: with it, openraft's place in the log would stay taken.
            let (unanswered, dropped) = oneshot::channel::<()>();
            let requests = input.take_until(dropped).map(move |request| {
                counted.fetch_add(1, Ordering::SeqCst);
                peer::AppendRequest {
                    line: Some(line.clone()),
                    request: encoding::encode(&request).into(),
                }
            });
            let begun = tokio::time::timeout(STREAM_SETUP_MAX, client.append(requests))
                .await
                .map_err(|_| self.timeout(RPCTypes::AppendEntries, STREAM_SETUP_MAX))?;
            let inbound = match begun {
                Ok(answer) => answer.into_inner(),
                Err(status) => {
                    // openraft's own pause is among the requests, of which none was taken.
                    tokio::time::sleep(STREAM_AGAIN_AFTER).await;
                    return Err(failed(self.target, &status));
                }
            };
            let answers = Answers {
                link: self,
                inbound,
                sent,
                received: 0,
                _unanswered: unanswered,
            };
            let answers: BoxStream<'s, _> =
                Box::pin(stream::unfold(Some(answers), |answers| async move {
                    answers?.next().await
                }));
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Answer<VoteResponse<TypeConfig>> {
        self.ask_for_vote(&request, false, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Answer<VoteResponse<TypeConfig>> {
        self.ask_for_vote(&request, true, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let file = snapshot.snapshot;
        let length = file.bytes();
        let mut client = self
            .peers
            .file_client(self.target)
            .ok_or_else(|| self.unreachable("the node is not in the directory"))?;
        let header = peer::SnapshotHeader {
            line: Some(self.line.clone()),
            vote: encoding::encode(&vote).into(),
            meta: encoding::encode(&snapshot.meta).into(),
            length,
        };
        let parts =
            stream::once(async move { peer::install_snapshot_request::Part::Header(header) })
                .chain(
                    transfer::chunks(move |offset, buffer| file.read_at(offset, buffer), length)
                        // A file that cannot be read to its end is a stream that ends too early, which
                        // the other side refuses.
                        .filter_map(|chunk| async { chunk.ok() })
                        .map(|chunk| peer::install_snapshot_request::Part::Chunk(chunk.into())),
                )
                .map(|part| peer::InstallSnapshotRequest { part: Some(part) });
        let limit = snapshot_limit(length);
        let sent = tokio::select! {
            closed = cancel => return Err(closed.into()),
            sent = tokio::time::timeout(limit, client.install_snapshot(Box::pin(parts))) => sent,
        };
        let answer = sent
            .map_err(|_| self.timeout(RPCTypes::InstallSnapshot, limit))?
            .map_err(|status| failed(self.target, &status))?
            .into_inner();
        Ok(decoded(&answer.response)?)
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Answer<TransferLeaderResponse<TypeConfig>> {
        let mut client = self.client()?;
        let message = peer::TransferLeaderRequest {
            line: Some(self.line.clone()),
            request: encoding::encode(&request).into(),
        };
        self.ask(RPCTypes::TransferLeader, option.soft_ttl(), async move {
            let answer = client.transfer_leader(message).await?;
            Ok(answer.into_inner().response.into())
        })
        .await
    }
}

impl Link {
    async fn ask_for_vote(
        &self,
        request: &VoteRequest<TypeConfig>,
        pre_vote: bool,
        option: &RPCOption,
    ) -> Answer<VoteResponse<TypeConfig>> {
        let mut client = self.client()?;
        let message = peer::VoteRequest {
            line: Some(self.line.clone()),
            request: encoding::encode(request).into(),
            pre_vote,
        };
        self.ask(RPCTypes::Vote, option.soft_ttl(), async move {
            let answer = client.vote(message).await?;
            Ok(answer.into_inner().response.into())
        })
        .await
    }
}

/// What a snapshot of this length may take.
pub(crate) fn snapshot_limit(length: u64) -> Duration {
    let mebibytes = u32::try_from(length >> 20).unwrap_or(u32::MAX);
    SNAPSHOT_BASE.saturating_add(SNAPSHOT_EACH_MIB.saturating_mul(mebibytes))
}

/// The answers to a stream of appends.
struct Answers<'s> {
    link: &'s Link,
    inbound: tonic::Streaming<peer::AppendResponse>,
    sent: Arc<AtomicU64>,
    received: u64,
    /// Dropped with the answers, it ends the requests.
    _unanswered: oneshot::Sender<()>,
}

impl<'s> Answers<'s> {
    /// The next answer; after an error or a refusal the stream is over.
    async fn next(
        mut self,
    ) -> Option<(Answer<StreamAppendResult<TypeConfig>>, Option<Answers<'s>>)> {
        loop {
            // A stream with nothing to answer may be silent for as long as it likes.
            let waiting = self.sent.load(Ordering::SeqCst) > self.received;
            match tokio::time::timeout(APPEND_ANSWER_MAX, self.inbound.message()).await {
                Ok(Ok(Some(answer))) => {
                    self.received = self.received.saturating_add(1);
                    let result = decoded::<StreamAppendResult<TypeConfig>>(&answer.result);
                    let goes_on = matches!(result, Ok(Ok(_)));
                    return Some((result, goes_on.then_some(self)));
                }
                Ok(Ok(None)) => return None,
                Ok(Err(status)) => return Some((Err(failed(self.link.target, &status)), None)),
                Err(_) if waiting => {
                    let error = self
                        .link
                        .timeout(RPCTypes::AppendEntries, APPEND_ANSWER_MAX);
                    return Some((Err(error), None));
                }
                Err(_) => {}
            }
        }
    }
}
