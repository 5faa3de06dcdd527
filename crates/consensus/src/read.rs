//! Reads that are never stale: the leader confirms by a quorum that it still leads, and this
//! node waits until it has applied all that was committed before.
//!
//! Callers that come while a round is under way share the next one, so that any number of them
//! costs one round trip.

use std::time::Duration;

use domain::{LogId, NodeId};
use openraft::ReadPolicy;
use openraft::errors::RaftError;
use proto::peer::v1 as peer;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::line::{Error, Line, PATIENCE};
use crate::{raft, wire};

/// Most callers that may wait for a round.
pub(crate) const READS_QUEUED_MAX: usize = 8192;
/// How long one round may look for a leader.
const ROUND_MAX: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long before its deadline the leader says that the secondary does not confirm, so that the
/// word arrives in time.
const WORD_MAX: Duration = Duration::from_millis(250);

/// A caller that waits for a round.
pub(crate) type Waiting = oneshot::Sender<Result<LogId, Error>>;

impl Line {
    /// Waits until `state` shows everything that was committed anywhere before this call, and
    /// says up to which entry that is.
    ///
    /// # Errors
    /// `NoLeader` when no leader could confirm that it leads, `SecondaryUnreachable` when one did
    /// and what is read is not protected; `Stopped`, `Storage`.
    pub async fn read_index(&self) -> Result<LogId, Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut why = Error::NoLeader;
        while Instant::now() < deadline {
            let (sender, receiver) = oneshot::channel();
            let queued = tokio::time::timeout_at(deadline, self.inner.reads.send(sender)).await;
            let Ok(queued) = queued else {
                break;
            };
            queued.map_err(|_| Error::Stopped)?;
            let Ok(round) = tokio::time::timeout_at(deadline, receiver).await else {
                break;
            };
            match round.map_err(|_| Error::Stopped)? {
                Ok(log_id) if self.wait_applied(log_id.index, deadline).await => return Ok(log_id),
                Ok(_) => {}
                Err(error @ (Error::NoLeader | Error::SecondaryUnreachable)) => why = error,
                Err(error) => return Err(error),
            }
        }
        Err(why)
    }

    /// The log id that a read must wait for, if this node leads, a quorum says so, and what is read
    /// is protected.
    pub(crate) async fn confirm_leading(&self, deadline: Instant) -> Result<LogId, Error> {
        let term = self.term();
        // What is waited for depends on the entries up to there.
        let at = self.lead_and_apply(deadline).await?;
        let until = deadline.checked_sub(WORD_MAX).unwrap_or(deadline);
        let protected = self.protect(at, term, until).await;
        protected.map_err(|error| match error {
            Error::SecondaryUnreachable => error,
            Error::NoLeader
            | Error::OutcomeUnknown
            | Error::WrongLine { .. }
            | Error::ClockOff
            | Error::Stopped
            | Error::Storage(_)
            | Error::TooLarge { .. } => Error::NoLeader,
        })
    }

    /// As `confirm_leading`, protected or not: for what the leader itself decides by.
    pub(crate) async fn lead_and_apply(&self, deadline: Instant) -> Result<LogId, Error> {
        let at = self.leading_at().await?;
        if self.wait_applied(at.index, deadline).await {
            Ok(at)
        } else {
            Err(Error::NoLeader)
        }
    }

    async fn leading_at(&self) -> Result<LogId, Error> {
        match self
            .inner
            .raft
            .get_read_linearizer(ReadPolicy::ReadIndex)
            .await
        {
            Ok(linearizer) => Ok(raft::log_id(linearizer.read_log_id().log_id())),
            Err(RaftError::APIError(_)) => Err(Error::NoLeader),
            Err(RaftError::Fatal(fatal)) => Err(fatal.into()),
        }
    }

    async fn round(&self) -> Result<LogId, Error> {
        let deadline = Instant::now() + ROUND_MAX;
        while Instant::now() < deadline {
            let asked = async {
                if self.is_leader() {
                    return self.confirm_leading(deadline).await;
                }
                match self.leader() {
                    Some(leader) if leader != self.inner.peers.me() => {
                        self.ask_leader(leader, deadline).await
                    }
                    Some(_) | None => self.running().and(Err(Error::NoLeader)),
                }
            };
            match tokio::time::timeout_at(deadline, asked).await {
                Ok(Ok(log_id)) => return Ok(log_id),
                Ok(Err(Error::NoLeader)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => break,
            }
            let _elapsed = tokio::time::timeout(LOOK_AGAIN, self.changed()).await;
        }
        Err(Error::NoLeader)
    }

    async fn ask_leader(&self, leader: NodeId, deadline: Instant) -> Result<LogId, Error> {
        let mut client = self.inner.peers.client(leader).ok_or(Error::NoLeader)?;
        let message = peer::ReadIndexRequest {
            line: Some(self.named()),
            deadline_ms: wire::millis_until(deadline),
        };
        let answer = client
            .read_index(message)
            .await
            .map_err(|_| Error::NoLeader)?
            .into_inner();
        match answer.result {
            Some(peer::read_index_response::Result::LogId(log_id)) => Ok(wire::read_log_id(log_id)),
            Some(peer::read_index_response::Result::Refusal(refusal)) => {
                use peer::refusal::Reason;
                Err(match refusal.reason() {
                    Reason::SecondaryUnreachable => Error::SecondaryUnreachable,
                    Reason::Unspecified
                    | Reason::NotLeader
                    | Reason::OutcomeUnknown
                    | Reason::ClockOff
                    | Reason::Stopped
                    | Reason::Storage
                    | Reason::TooLarge => Error::NoLeader,
                })
            }
            None => Err(Error::NoLeader),
        }
    }
}

/// Runs rounds for as long as the line does, each for all who wait when it starts.
pub(crate) async fn rounds(line: Line, mut queue: mpsc::Receiver<Waiting>) {
    while let Some(first) = queue.recv().await {
        let mut waiting = vec![first];
        while let Ok(next) = queue.try_recv() {
            waiting.push(next);
        }
        let result = line.round().await;
        for caller in waiting {
            // A caller that lost patience is gone.
            let _gone = caller.send(result.clone());
        }
    }
}
