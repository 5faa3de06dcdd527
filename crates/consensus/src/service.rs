//! The peer service: what other nodes ask of this one.
//!
//! Every message names its line, and is compared with the lines that run here before anything
//! else looks at it: Raft's log ids do not say which line they belong to. Deliberately absent:
//! who may connect (mutual TLS on the listener, roles at the edge).

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use domain::promotion::SealId;
use domain::{Actor, NodeId, SessionId, encoding};
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use openraft::errors::Fatal;
use proto::peer::v1 as peer;
use proto::peer::v1::peer_service_server::{PeerService, PeerServiceServer};
use serde::de::DeserializeOwned;
use tokio::time::{Duration, Instant};
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};

use crate::files::FileExt as _;
use crate::line::{Error, Line, PATIENCE};
use crate::node::{self, Node};
use crate::peers::MESSAGE_BYTES_MAX;
use crate::promotion::Answer;
use crate::propose::{self, Proposal};
use crate::raft::TypeConfig;
use crate::versions::Understands;
use crate::{status, transfer, wire};

/// Most audit rows in one message.
const ROWS_EACH: usize = 256;
/// Most audit rows in one answer.
const ROWS_MAX: usize = 100_000;

/// The node that calls, by its place, as its certificate names it: whoever knows puts it among the request's
/// extensions. Where nobody does, callers are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller(pub NodeId);

/// The peer service of a node.
#[derive(Debug, Clone)]
pub struct Service {
    node: Node,
}

/// The peer service, behind what it understands.
pub type Server = InterceptedService<PeerServiceServer<Service>, Understands>;

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send + 'static>>;

impl Service {
    /// The service of this node, ready for a listener.
    #[must_use]
    pub fn server(node: Node) -> Server {
        let understands = Understands(node.versions().clone());
        let service = PeerServiceServer::new(Self { node })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        InterceptedService::new(service, understands)
    }

    fn check_cluster(&self, named: &[u8]) -> Result<(), Status> {
        let cluster = wire::read_cluster(named)?;
        if cluster == self.node.cluster() {
            return Ok(());
        }
        Err(Status::failed_precondition(format!(
            "this node belongs to cluster {}, not to {cluster}",
            self.node.cluster()
        )))
    }

    /// The line that a message speaks of, if it runs here.
    fn line(&self, named: Option<peer::LineRef>) -> Result<Line, Status> {
        let meant = named.as_ref().map_or(0, |named| named.node);
        if meant != 0 && NodeId(meant) != self.node.id() {
            return Err(Status::failed_precondition(format!(
                "the message is for node {meant}, this is node {}",
                self.node.id()
            )));
        }
        let beginning = named.as_ref().and_then(wire::beginning);
        let named = wire::read_line_ref(named)?;
        let line = self
            .node
            .line(&named)
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        if beginning.is_some() && line.inner.beginning != beginning {
            return Err(Status::failed_precondition(format!(
                "the message is of another main line of epoch {} than node {} has: two promotions \
                 began one; wake someone",
                named.epoch,
                self.node.id()
            )));
        }
        Ok(line)
    }
}

/// A stopped engine cannot answer now; the caller backs off and tries again.
fn stopped(fatal: Fatal<TypeConfig>) -> Status {
    Status::unavailable(Error::from(fatal).to_string())
}

fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Status> {
    encoding::decode(bytes).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// What a node says of itself, another cannot say for it: that it holds a key, for one.
fn in_own_name(caller: Option<Caller>, actor: &Actor) -> Result<(), Status> {
    match (caller, actor) {
        (Some(Caller(caller)), Actor::Node(named)) if caller.place() != named.place() => Err(
            Status::permission_denied(format!("node {caller} speaks in the name of node {named}")),
        ),
        (Some(_) | None, _) => Ok(()),
    }
}

fn deadline(deadline_ms: u32) -> Instant {
    Instant::now() + Duration::from_millis(deadline_ms.into()).min(PATIENCE)
}

#[tonic::async_trait]
impl PeerService for Service {
    type AppendStream = Replies<peer::AppendResponse>;
    type FetchGenesisStream = Replies<peer::FetchGenesisResponse>;
    type FetchAuditStream = Replies<peer::FetchAuditResponse>;

    async fn append(
        &self,
        request: Request<Streaming<peer::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let service = self.clone();
        // The answer begins before the first request is read: the sender waits for it.
        let answers = stream::once(async move {
            let mut inbound = request.into_inner();
            // A sender may open a stream long before it has something to send.
            let first = tokio::select! {
                biased;
                first = inbound.message() => first?,
                () = nothing_runs(&service.node) => None,
            };
            let Some(first) = first else {
                return Ok(stream::empty().boxed());
            };
            let line = service.line(first.line.clone())?;
            Ok::<_, Status>(append(&line, first, inbound))
        })
        .try_flatten();
        Ok(Response::new(Box::pin(answers)))
    }

    async fn vote(
        &self,
        request: Request<peer::VoteRequest>,
    ) -> Result<Response<peer::VoteResponse>, Status> {
        let request = request.into_inner();
        let line = self.line(request.line)?;
        let vote = decoded(&request.request)?;
        let raft = &line.inner.raft;
        let answer = if request.pre_vote {
            raft.pre_vote(vote).await
        } else {
            raft.vote(vote).await
        };
        let answer = answer.map_err(|error| stopped(error.unwrap_fatal()))?;
        Ok(Response::new(peer::VoteResponse {
            response: encoding::encode(&answer).into(),
        }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<peer::InstallSnapshotRequest>>,
    ) -> Result<Response<peer::InstallSnapshotResponse>, Status> {
        let mut inbound = request.into_inner();
        let first = inbound.message().await?.and_then(|message| message.part);
        let Some(peer::install_snapshot_request::Part::Header(header)) = first else {
            return Err(Status::invalid_argument(
                "a snapshot begins with its header",
            ));
        };
        let line = self.line(header.line.clone())?;
        let chunks =
            inbound
                .take_until(line.clone().stopped())
                .map(|message| match message?.part {
                    Some(peer::install_snapshot_request::Part::Chunk(chunk)) => Ok(chunk),
                    Some(peer::install_snapshot_request::Part::Header(_)) | None => Err(
                        Status::invalid_argument("a part of a snapshot has no bytes"),
                    ),
                });
        let snapshot = self
            .node
            .receive_snapshot(
                &line,
                decoded(&header.meta)?,
                header.length,
                Box::pin(chunks),
            )
            .await?;
        let answer = line
            .inner
            .raft
            .install_full_snapshot(decoded(&header.vote)?, snapshot)
            .await
            .map_err(stopped)?;
        Ok(Response::new(peer::InstallSnapshotResponse {
            response: encoding::encode(&answer).into(),
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<peer::TransferLeaderRequest>,
    ) -> Result<Response<peer::TransferLeaderResponse>, Status> {
        let request = request.into_inner();
        let line = self.line(request.line)?;
        if !line.clock_is_ok() {
            return Err(Status::failed_precondition(Error::ClockOff.to_string()));
        }
        let answer = line
            .inner
            .raft
            .handle_transfer_leader(decoded(&request.request)?)
            .await
            .map_err(stopped)?;
        Ok(Response::new(peer::TransferLeaderResponse {
            response: encoding::encode(&answer).into(),
        }))
    }

    async fn propose(
        &self,
        request: Request<peer::ProposeRequest>,
    ) -> Result<Response<peer::ProposeResponse>, Status> {
        let caller = request.extensions().get::<Caller>().copied();
        let request = request.into_inner();
        let line = self.line(request.line)?;
        let proposal = Proposal {
            actor: decoded(&request.actor)?,
            request: request.request.as_deref().map(decoded).transpose()?,
            command: decoded(&request.command)?,
        };
        in_own_name(caller, &proposal.actor)?;
        let attempt = line.write(proposal, deadline(request.deadline_ms)).await;
        Ok(Response::new(propose::answer(attempt, line.leader())))
    }

    async fn read_index(
        &self,
        request: Request<peer::ReadIndexRequest>,
    ) -> Result<Response<peer::ReadIndexResponse>, Status> {
        let request = request.into_inner();
        let line = self.line(request.line)?;
        let deadline = deadline(request.deadline_ms);
        let confirmed = tokio::time::timeout_at(deadline, line.confirm_leading(deadline)).await;
        let result = match confirmed {
            Ok(Ok(log_id)) => peer::read_index_response::Result::LogId(wire::log_id(log_id)),
            Ok(Err(_)) | Err(_) => {
                let reason = match confirmed {
                    Ok(Err(Error::SecondaryUnreachable)) => {
                        peer::refusal::Reason::SecondaryUnreachable
                    }
                    Ok(_) | Err(_) => peer::refusal::Reason::NotLeader,
                };
                peer::read_index_response::Result::Refusal(peer::Refusal {
                    reason: reason.into(),
                    leader: line.leader().map_or(0, |NodeId(node)| node),
                    detail: String::new(),
                })
            }
        };
        Ok(Response::new(peer::ReadIndexResponse {
            result: Some(result),
        }))
    }

    async fn fetch_genesis(
        &self,
        request: Request<peer::FetchGenesisRequest>,
    ) -> Result<Response<Self::FetchGenesisStream>, Status> {
        let branch = wire::read_line_ref(request.into_inner().line)?;
        let (file, length) = self.node.open_genesis(&branch).await?;
        let parts = transfer::chunks(
            move |offset, buffer: &mut [u8]| file.read_at(buffer, offset),
            length,
        )
        .map(move |chunk| match chunk {
            Ok(chunk) => Ok(peer::FetchGenesisResponse {
                chunk: chunk.into(),
                length,
            }),
            Err(error) => Err(Status::internal(error.to_string())),
        });
        Ok(Response::new(Box::pin(parts)))
    }

    async fn fetch_audit(
        &self,
        request: Request<peer::FetchAuditRequest>,
    ) -> Result<Response<Self::FetchAuditStream>, Status> {
        let request = request.into_inner();
        let line = wire::read_line_ref(request.line)?;
        let rows_max = usize::try_from(request.rows_max)
            .unwrap_or(ROWS_MAX)
            .min(ROWS_MAX);
        let rows = self
            .node
            .audit_rows(&line, request.from_sequence, rows_max)
            .await
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        let parts: Vec<_> = rows
            .chunks(ROWS_EACH)
            .map(|rows| {
                let rows = rows.iter().map(|row| encoding::encode(row).into());
                Ok(peer::FetchAuditResponse {
                    rows: rows.collect(),
                })
            })
            .collect();
        Ok(Response::new(Box::pin(stream::iter(parts))))
    }

    async fn get_node_status(
        &self,
        request: Request<peer::GetNodeStatusRequest>,
    ) -> Result<Response<peer::GetNodeStatusResponse>, Status> {
        self.check_cluster(&request.into_inner().cluster)?;
        Ok(Response::new(status::of(&self.node)))
    }

    async fn get_branch_evidence(
        &self,
        request: Request<peer::GetBranchEvidenceRequest>,
    ) -> Result<Response<peer::GetBranchEvidenceResponse>, Status> {
        let line = self.line(request.into_inner().line)?;
        let evidence = self
            .node
            .branch_evidence(&line)
            .await
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(peer::GetBranchEvidenceResponse {
            log_id: Some(wire::log_id(evidence.closed)),
            evidence: encoding::encode(&evidence).into(),
        }))
    }

    async fn refuse_branch(
        &self,
        request: Request<peer::RefuseBranchRequest>,
    ) -> Result<Response<peer::RefuseBranchResponse>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let session = SessionId::parse(&request.session)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.node
            .refuse_branch(&session)
            .await
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(peer::RefuseBranchResponse {}))
    }

    async fn seal(
        &self,
        request: Request<peer::SealRequest>,
    ) -> Result<Response<peer::SealResponse>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let line = wire::read_digest(&request.beginning).ok();
        let sealed = self.node.seal(request.epoch, seal_id(&request.seal)?, line);
        let report = sealed.await.map_err(|error| not_taken(&error))?;
        Ok(Response::new(peer::SealResponse {
            report: encoding::encode(&report).into(),
        }))
    }

    async fn release_seal(
        &self,
        request: Request<peer::ReleaseSealRequest>,
    ) -> Result<Response<peer::ReleaseSealResponse>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let released = self.node.release(seal_id(&request.seal)?);
        released.await.map_err(|error| not_taken(&error))?;
        Ok(Response::new(peer::ReleaseSealResponse {}))
    }

    async fn show_certificate(
        &self,
        request: Request<peer::ShowCertificateRequest>,
    ) -> Result<Response<peer::ShowCertificateResponse>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let certificate = decoded(&request.certificate)?;
        let answer = self.node.be_shown(certificate, request.has_begun).await;
        let answer = match answer.map_err(|error| not_taken(&error))? {
            Answer::Accepted(accepted) => peer::ShowCertificateResponse {
                fenced: accepted.fenced,
                degraded: accepted.degraded,
                another: Vec::new().into(),
            },
            Answer::Another(other) => peer::ShowCertificateResponse {
                another: encoding::encode(&*other).into(),
                ..peer::ShowCertificateResponse::default()
            },
        };
        Ok(Response::new(answer))
    }

    async fn join(
        &self,
        request: Request<peer::JoinRequest>,
    ) -> Result<Response<peer::JoinResponse>, Status> {
        let caller = request.extensions().get::<Caller>().copied();
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let place = NodeId(request.place).place();
        if caller.is_some_and(|Caller(caller)| caller.place() != place) {
            return Err(Status::permission_denied("a node asks for its own place"));
        }
        Ok(Response::new(self.node.told(place)?))
    }

    async fn get_tail(
        &self,
        request: Request<peer::GetTailRequest>,
    ) -> Result<Response<peer::GetTailResponse>, Status> {
        self.check_cluster(&request.into_inner().cluster)?;
        let tail = self.node.own_tail().await;
        let tail = tail.map_err(|error| not_taken(&error))?;
        Ok(Response::new(tail))
    }

    async fn keep_tail(
        &self,
        request: Request<peer::KeepTailRequest>,
    ) -> Result<Response<peer::KeepTailResponse>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let kept = self.node.keep_tail(&decoded(&request.tail)?).await;
        kept.map_err(|error| not_taken(&error))?;
        Ok(Response::new(peer::KeepTailResponse {}))
    }

    async fn promise_unplanned(
        &self,
        request: Request<peer::PromiseUnplannedRequest>,
    ) -> Result<Response<peer::PromiseUnplannedResponse>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let wanted = decoded(&request.wanted)?;
        let promised = self
            .node
            .promise_unplanned(&wanted, decoded(&request.ballot)?);
        let promise = promised.await.map_err(|error| not_taken(&error))?;
        Ok(Response::new(peer::PromiseUnplannedResponse {
            promise: encoding::encode(&promise).into(),
        }))
    }

    async fn accept_unplanned(
        &self,
        request: Request<peer::AcceptUnplannedRequest>,
    ) -> Result<Response<peer::AcceptUnplannedResponse>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let order = decoded(&request.order)?;
        let source = NodeId(request.source);
        let accepted = self
            .node
            .accept_unplanned(order, decoded(&request.ballot)?, source);
        accepted.await.map_err(|error| not_taken(&error))?;
        Ok(Response::new(peer::AcceptUnplannedResponse {}))
    }

    async fn decide_unplanned(
        &self,
        request: Request<peer::DecideUnplannedRequest>,
    ) -> Result<Response<peer::DecideUnplannedResponse>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster)?;
        let decided = self.node.decide_unplanned(decoded(&request.order)?);
        decided.await.map_err(|error| not_taken(&error))?;
        Ok(Response::new(peer::DecideUnplannedResponse {}))
    }
}

/// Resolves once no line runs here that could be meant. A branch goes on where the main line stands
/// still for a promotion.
async fn nothing_runs(node: &Node) {
    node.main().stopped().await;
    if let Some(branch) = node.branch() {
        branch.stopped().await;
    }
}

fn seal_id(bytes: &[u8]) -> Result<SealId, Status> {
    let bytes = <[u8; 16]>::try_from(bytes);
    bytes
        .map(SealId)
        .map_err(|_| Status::invalid_argument("a seal's name has 16 bytes"))
}

fn not_taken(error: &node::Error) -> Status {
    Status::failed_precondition(error.to_string())
}

/// Feeds a stream of appends to the engine, and gives its answers in their order.
fn append(
    line: &Line,
    first: peer::AppendRequest,
    inbound: Streaming<peer::AppendRequest>,
) -> stream::BoxStream<'static, Result<peer::AppendResponse, Status>> {
    let expected = first.line.clone();
    let refused: Arc<Mutex<Option<Status>>> = Arc::default();
    let refusal = Arc::clone(&refused);
    let requests = stream::once(async { Ok(first) })
        .chain(inbound)
        // The engine reads on as long as there may be requests, even when it has stopped.
        .take_until(line.clone().stopped())
        .map(move |message| {
            let message = message?;
            if message.line == expected {
                decoded(&message.request)
            } else {
                Err(Status::failed_precondition(
                    "the line changed within a stream",
                ))
            }
        })
        // The first message that is no good ends the stream; its answer is the refusal.
        .scan((), move |(), request| {
            let request = request
                .inspect_err(|status| {
                    *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(status.clone());
                })
                .ok();
            async { request }
        });
    let answers = line
        .inner
        .raft
        .stream_append(requests)
        .map(|answer| match answer {
            Ok(result) => Ok(peer::AppendResponse {
                result: encoding::encode(&result).into(),
            }),
            Err(fatal) => Err(stopped(fatal)),
        });
    let last_word = stream::once(async move {
        refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    })
    .filter_map(|status| async { status.map(Err) });
    let line = line.clone();
    answers.take_until(line.stopped()).chain(last_word).boxed()
}
