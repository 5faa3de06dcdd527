//! Proposing: from whichever node, to the leader, and back with the outcome.
//!
//! The leader stamps the time. What can be repeated safely is repeated until the deadline: a
//! refusal always (nothing was executed), a lost answer only under a request id, which the state
//! recognises. Otherwise a lost answer is `OutcomeUnknown`.

use std::error::Error as _;
use std::time::Duration;

use domain::{
    Actor, Command, Envelope, LineId, LogId, NodeId, Outcome, cluster, encoding, request,
};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use proto::peer::v1 as peer;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::line::{ENVELOPE_BYTES_MAX, Error, Line, PATIENCE};
use crate::raft::{self, Proposed};
use crate::wire;

/// What an attempt that found no leader waits for a change, before it looks again anyway.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A command that somebody wants executed.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Who asks.
    pub actor: Actor,
    /// The caller's request id, which makes a repeat harmless.
    pub request: Option<request::Key>,
    /// What is asked.
    pub command: Command,
}

/// What came of one attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// Executed, at this log id.
    Done(LogId, Outcome),
    /// Not executed, and worth another attempt.
    Again,
    /// Executed, or not, or not yet.
    Unclear,
    /// Not executed, and not worth another attempt.
    Refused(Error),
}

impl Line {
    /// Has the leader execute a command, and waits until this node has applied it too, so that
    /// `state` shows it.
    ///
    /// # Errors
    /// `OutcomeUnknown` when the command may have been executed; all others mean that it was not.
    pub async fn propose(&self, proposal: Proposal) -> Result<Outcome, Error> {
        let deadline = Instant::now() + PATIENCE;
        if !self.clock_was_ok() {
            return Err(Error::ClockOff);
        }
        let _permit = tokio::time::timeout_at(deadline, self.inner.proposals.acquire())
            .await
            .map_err(|_| Error::NoLeader)?
            .map_err(|_| Error::Stopped)?;
        let mut unclear = false;
        while Instant::now() < deadline {
            match self.attempt(&proposal, deadline).await {
                Attempt::Done(log_id, outcome) => {
                    // The outcome stands even if this node is slow to apply it.
                    if !self.wait_applied(log_id.index, deadline).await {
                        tracing::warn!(%log_id, "this node is late to apply an outcome");
                    }
                    return Ok(outcome);
                }
                Attempt::Again => {}
                Attempt::Unclear if proposal.request.is_some() => unclear = true,
                Attempt::Unclear => return Err(Error::OutcomeUnknown),
                Attempt::Refused(_) if unclear => return Err(Error::OutcomeUnknown),
                Attempt::Refused(error) => return Err(error),
            }
            // Right after an election the leader is not known yet, or has no lease.
            let _elapsed = tokio::time::timeout(LOOK_AGAIN, self.changed()).await;
        }
        Err(if unclear {
            Error::OutcomeUnknown
        } else {
            Error::NoLeader
        })
    }

    async fn attempt(&self, proposal: &Proposal, deadline: Instant) -> Attempt {
        if self.is_leader() {
            return self.write(proposal.clone(), deadline).await;
        }
        match self.leader() {
            Some(leader) if leader != self.inner.peers.me() => {
                self.forward(leader, proposal, deadline).await
            }
            Some(_) | None => self
                .running()
                .map_or_else(Attempt::Refused, |()| Attempt::Again),
        }
    }

    /// An error once the engine has stopped here, on purpose or by a fault of its own.
    ///
    /// # Errors
    /// `Stopped` and `Storage`.
    pub fn running(&self) -> Result<(), Error> {
        let metrics = self.inner.raft.metrics();
        let state = metrics.borrow_watched().running_state.clone();
        Ok(state?)
    }

    /// Executes a command here, where the leader is thought to be.
    pub(crate) async fn write(&self, proposal: Proposal, deadline: Instant) -> Attempt {
        if !self.clock_was_ok() {
            return Attempt::Refused(Error::ClockOff);
        }
        if let Err(error) = self.running() {
            return Attempt::Refused(error);
        }
        if !self.has_begun() && !matches!(proposal.command, Command::Promote(_)) {
            return Attempt::Again;
        }
        let now = self.inner.clock.now();
        // Asked after the clock was read. The next comparison says whether the step was the peers'
        // too, or this node must not lead; until then nothing is stamped.
        if !self.clock_is_ok() {
            return Attempt::Again;
        }
        let envelope = Envelope {
            // The log's clock never runs backwards, whoever led before.
            at: now.max(self.state().header().clock),
            actor: proposal.actor,
            line: self.inner.reference.line.clone(),
            request: proposal.request,
            command: proposal.command,
        };
        let bytes = encoding::encode(&envelope).len();
        if bytes > ENVELOPE_BYTES_MAX {
            return Attempt::Refused(Error::TooLarge { bytes });
        }
        if let Some(advance) = self.advance(&envelope) {
            // What becomes of it, the command's own outcome tells.
            let _attempt = self.submit(advance, deadline).await;
        }
        match self.submit(envelope, deadline).await {
            // A rejection tells of the state too: it waits as a change does.
            Attempt::Done(at, outcome) => match self.protect(at, at.term, deadline).await {
                Ok(known_at) => Attempt::Done(known_at, outcome),
                Err(_) => Attempt::Unclear,
            },
            other @ (Attempt::Again | Attempt::Unclear | Attempt::Refused(_)) => other,
        }
    }

    /// Whether the state here is of the line's own epoch. A main line of a later one begins with the
    /// state that two operators signed: nothing comes before the entry that says so, not even the
    /// clock of a line that was idle.
    fn has_begun(&self) -> bool {
        let reference = &self.inner.reference;
        reference.line != LineId::Main || reference.epoch == self.state().header().epoch
    }

    /// The entry that must come before this one, because the line was idle for so long that its
    /// clock would jump (LINES.md, Time). Only a node whose peers confirm its clock gets here.
    fn advance(&self, next: &Envelope) -> Option<Envelope> {
        if matches!(
            next.command,
            Command::Cluster(cluster::Command::AdvanceClock { .. })
        ) {
            return None;
        }
        let state = self.state();
        let header = state.header();
        let begun = state.founding().is_some()
            && self.has_begun()
            && header.line == next.line
            && !header.ended;
        let idle_ms = next.at.since(header.clock);
        (begun && idle_ms > state.policy().clock_jump_ms / 2).then(|| Envelope {
            at: next.at,
            actor: Actor::Node(self.inner.peers.me()),
            line: next.line.clone(),
            request: None,
            command: Command::Cluster(cluster::Command::AdvanceClock {
                to: next.at,
                offset_ms: None,
            }),
        })
    }

    async fn submit(&self, envelope: Envelope, deadline: Instant) -> Attempt {
        let written = self.inner.raft.client_write(Proposed::from(envelope));
        match tokio::time::timeout_at(deadline, written).await {
            Ok(Ok(written)) => match written.data.0 {
                Some(outcome) => Attempt::Done(raft::log_id(&written.log_id), outcome),
                None => Attempt::Unclear,
            },
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Attempt::Again,
            Ok(Err(RaftError::APIError(
                ClientWriteError::LogEntryDiscarded(_)
                | ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_),
            ))) => Attempt::Unclear,
            // The engine stopped while the entry was on its way: it may be in the log.
            Ok(Err(RaftError::Fatal(_))) | Err(_) => Attempt::Unclear,
        }
    }

    async fn forward(&self, leader: NodeId, proposal: &Proposal, deadline: Instant) -> Attempt {
        let Some(mut client) = self.inner.peers.client(leader) else {
            return Attempt::Again;
        };
        let message = peer::ProposeRequest {
            line: Some(self.named()),
            actor: encoding::encode(&proposal.actor).into(),
            request: proposal
                .request
                .as_ref()
                .map(|key| encoding::encode(key).into()),
            command: encoding::encode(&proposal.command).into(),
            deadline_ms: wire::millis_until(deadline),
        };
        match tokio::time::timeout_at(deadline, client.propose(message)).await {
            Ok(Ok(answer)) => read_answer(answer.into_inner()),
            Ok(Err(status)) if was_not_sent(&status) => Attempt::Again,
            Ok(Err(_)) | Err(_) => Attempt::Unclear,
        }
    }
}

/// Whether the leader certainly did not see the message, or refused it before looking inside.
pub(crate) fn was_not_sent(status: &Status) -> bool {
    if matches!(
        status.code(),
        Code::FailedPrecondition | Code::InvalidArgument
    ) {
        return true;
    }
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

fn read_answer(answer: peer::ProposeResponse) -> Attempt {
    match answer.result {
        Some(peer::propose_response::Result::Done(done)) => {
            match (done.log_id, encoding::decode(&done.outcome)) {
                (Some(log_id), Ok(outcome)) => Attempt::Done(wire::read_log_id(log_id), outcome),
                (Some(_) | None, Ok(_) | Err(_)) => Attempt::Unclear,
            }
        }
        Some(peer::propose_response::Result::Refusal(refusal)) => {
            use peer::refusal::Reason;
            match refusal.reason() {
                // A leader whose clock is off hands over: the next one may answer.
                // And one whose disk failed has stopped leading.
                Reason::NotLeader | Reason::ClockOff | Reason::Stopped | Reason::Storage => {
                    Attempt::Again
                }
                Reason::OutcomeUnknown | Reason::SecondaryUnreachable | Reason::Unspecified => {
                    Attempt::Unclear
                }
                Reason::TooLarge => Attempt::Refused(Error::TooLarge {
                    bytes: refusal.detail.parse().unwrap_or_default(),
                }),
            }
        }
        None => Attempt::Unclear,
    }
}

/// What came of an attempt at the leader, as it is sent to the node that asked.
pub(crate) fn answer(attempt: Attempt, leader: Option<NodeId>) -> peer::ProposeResponse {
    use peer::refusal::Reason;
    let refusal = |reason: Reason, detail: String| {
        peer::propose_response::Result::Refusal(peer::Refusal {
            reason: reason.into(),
            leader: leader.map_or(0, |node| node.0),
            detail,
        })
    };
    let result = match attempt {
        Attempt::Done(log_id, outcome) => {
            peer::propose_response::Result::Done(peer::propose_response::Done {
                log_id: Some(wire::log_id(log_id)),
                outcome: encoding::encode(&outcome).into(),
            })
        }
        Attempt::Again => refusal(Reason::NotLeader, String::new()),
        Attempt::Unclear => refusal(Reason::OutcomeUnknown, String::new()),
        Attempt::Refused(error) => match error {
            Error::NoLeader | Error::WrongLine { .. } => {
                refusal(Reason::NotLeader, error.to_string())
            }
            Error::OutcomeUnknown | Error::SecondaryUnreachable => {
                refusal(Reason::OutcomeUnknown, String::new())
            }
            Error::ClockOff => refusal(Reason::ClockOff, String::new()),
            Error::Stopped => refusal(Reason::Stopped, String::new()),
            Error::Storage(detail) => refusal(Reason::Storage, detail),
            Error::TooLarge { bytes } => refusal(Reason::TooLarge, bytes.to_string()),
        },
    };
    peer::ProposeResponse {
        result: Some(result),
    }
}
