//! What every handler needs: the node's lines, the keys, the hashing threads, the mail.
//!
//! Here a command is proposed; which line a call speaks to, and whether it is served there, is in
//! `serving`. Deliberately absent: what the commands mean.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use consensus::{Line, Node, Proposal, line};
use credential::Entropy;
use credential::breached::Breached;
use credential::card::{Anchors, Revocations, Serial};
use credential::keyring::Keyring;
use credential::phc::Params;
use domain::policy::Support;
use domain::request::Key;
use domain::{
    Actor, Answer, Carry, Command, Digest, Envelope, LineId, LogId, Outcome, SessionId, State,
    UnixMs, cluster, outcome,
};
use tokio::sync::{Mutex, watch};
use tonic::{Response, Status};

use crate::hashing::Pool;
use crate::keys;
use crate::mail::{Mark, Outbox};
use crate::reads::{Read, Reads};
use crate::request::Ask;
use crate::rpc::centre::Waiting;
use crate::rpc::cluster::tally::Tally;
use crate::status::{self, Field, Refusal};
use crate::table::Table;
use crate::unheard::Unheard;

mod serving;

pub use consensus::clockwatch::WORD_AGE_MAX;
pub use serving::{Unserved, fault};

/// What an edge is made of.
pub struct Parts {
    /// The node and its lines.
    pub node: Node,
    /// The keys.
    pub keyring: Keyring,
    /// Where randomness comes from.
    pub entropy: Arc<dyn Entropy>,
    /// The hashing threads.
    pub pool: Pool,
    /// Stolen passwords, none of which is taken as a new one.
    pub breached: Option<Arc<Breached>>,
    /// What a new verifier costs.
    pub params: Params,
    /// Where mail leaves.
    pub outbox: Outbox,
    /// The trust anchors of smartcards.
    pub anchors: Anchors,
    /// The same as PEM, which revocation lists are checked against.
    pub anchors_pem: String,
    /// The rpcs and their lines.
    pub table: Table,
    /// What is read here, by whom.
    pub reads: Reads,
    /// A program that stops the other centre for good.
    pub fence_hook: Option<std::path::PathBuf>,
    /// True once the node stops.
    pub stopping: watch::Receiver<bool>,
}

/// Names a revocation list that was made ready: the digests of the main line's and the line's own,
/// and until when it is usable.
type ListName = ((Option<Digest>, Option<Digest>), Option<UnixMs>);

struct Inner {
    parts: Parts,
    refused_outside_session: AtomicU64,
    tally: Mutex<Option<Tally>>,
    revocations: std::sync::Mutex<Option<(ListName, Arc<Revocations>)>>,
    keys: keys::Watch,
    unheard: Unheard,
    waiting: Waiting,
}

/// The edge of one node. Clones share it.
#[derive(Clone)]
pub struct Edge {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").finish_non_exhaustive()
    }
}

/// What a proposal came to.
#[derive(Debug)]
pub struct Settled {
    /// The answer; of a failed attempt too.
    pub answer: Answer,
    /// The entry.
    pub at: LogId,
    /// The line's clock after it.
    pub clock: UnixMs,
}

impl Edge {
    /// An edge of these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            inner: Arc::new(Inner {
                parts,
                refused_outside_session: AtomicU64::new(0),
                tally: Mutex::default(),
                revocations: std::sync::Mutex::default(),
                keys: keys::Watch::default(),
                unheard: Unheard::default(),
                waiting: Waiting::default(),
            }),
        }
    }

    /// The parts.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.inner.parts.node
    }

    /// The keys.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.inner.parts.keyring
    }

    /// Terms of a promotion that an operator has signed here.
    pub(crate) fn waiting(&self) -> &Waiting {
        &self.inner.waiting
    }

    /// What this node refused unheard.
    pub(crate) fn unheard(&self) -> &Unheard {
        &self.inner.unheard
    }

    /// What this node says of its keys.
    pub(crate) fn keys(&self) -> &keys::Watch {
        &self.inner.keys
    }

    /// The source of randomness.
    #[must_use]
    pub fn entropy(&self) -> &dyn Entropy {
        self.inner.parts.entropy.as_ref()
    }

    /// The revocation list, as cards are checked against it on a line (S36): what the line's own
    /// list revokes and what the main line's does, since what was revoked since the boundary is
    /// revoked in both. Whether it is overdue is judged by the line's own.
    #[must_use]
    pub fn revocations(&self, state: &State) -> Arc<Revocations> {
        let main = self.node().main().state();
        let policy = state.policy();
        let usable_until = match state.revocations() {
            Some(list) => Some(list.next_update.plus(policy.revocation_grace_ms)),
            None if policy.revocation_list_required => Some(UnixMs(0)),
            None => None,
        };
        let digests = (main.revocations_digest(), state.revocations_digest());
        let named = (digests, usable_until);
        let mut kept = self
            .inner
            .revocations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match kept.as_ref() {
            Some((name, list)) if *name == named => Arc::clone(list),
            Some(_) | None => {
                let lists = [main.revocations(), state.revocations()];
                let serials = lists
                    .into_iter()
                    .flatten()
                    .flat_map(|list| &list.serials)
                    .filter_map(|serial| Serial::from_bytes(&serial.0))
                    .collect();
                let list = Arc::new(Revocations {
                    serials,
                    usable_until,
                });
                *kept = Some((named, Arc::clone(&list)));
                list
            }
        }
    }

    /// The time that expiry is judged by: the later of this node's clock and the line's.
    #[must_use]
    pub fn now(&self, state: &State) -> UnixMs {
        self.node().time().max(state.header().clock)
    }

    /// Logins refused here outside a session, since the start.
    #[must_use]
    pub fn refused_outside_session(&self) -> u64 {
        self.inner.refused_outside_session.load(Ordering::Relaxed)
    }

    /// What the open branch was counted to hold, so far.
    pub(crate) fn tally(&self) -> &Mutex<Option<Tally>> {
        &self.inner.tally
    }

    /// Whom people ask (R11).
    #[must_use]
    pub fn support(&self) -> Support {
        self.node().main().state().policy().support()
    }

    /// A handler's answer as gRPC's, with whom to ask in every status.
    ///
    /// # Errors
    /// The refusal's status.
    pub fn tell<T>(&self, answer: Result<T, Refusal>) -> Result<Response<T>, Status> {
        answer
            .map(Response::new)
            .map_err(|refusal| self.status(refusal))
    }

    /// The status of a refusal.
    #[must_use]
    pub fn status(&self, refusal: Refusal) -> Status {
        status::of(refusal, &self.support())
    }

    /// Proposes a command for the caller and waits for its outcome.
    ///
    /// # Errors
    /// The rejection, or why the line has no answer.
    pub async fn propose<B>(
        &self,
        ask: &Ask<B>,
        line: &Line,
        request: Option<Key>,
        command: Command,
    ) -> Result<Settled, Refusal> {
        let proposal = Proposal {
            actor: ask.caller.actor(),
            request,
            command,
        };
        let outcome = line.propose(proposal).await.map_err(|error| match error {
            line::Error::OutcomeUnknown => Refusal::OutcomeUnknown {
                request_id: request.map(|key| key.id.to_string()).unwrap_or_default(),
            },
            line::Error::NoLeader
            | line::Error::SecondaryUnreachable
            | line::Error::WrongLine { .. }
            | line::Error::ClockOff
            | line::Error::Stopped
            | line::Error::Storage(_)
            | line::Error::TooLarge { .. } => Refusal::Line(error),
        })?;
        settled(outcome)
    }

    /// As `propose`; or, where nothing is to be changed, what the line would answer as it stands
    /// (AIP-163): the same rules, on a copy of its state, without an entry.
    ///
    /// # Errors
    /// As `propose`.
    pub async fn propose_or_judge<B>(
        &self,
        ask: &Ask<B>,
        line: &Line,
        (request, validity): (Option<Key>, Validity),
        command: Command,
    ) -> Result<Settled, Refusal> {
        match validity {
            Validity::CarryOut => return self.propose(ask, line, request, command).await,
            Validity::ValidateOnly => {}
        }
        // What is there is told by what would be refused, so that it is a read: of the line as it
        // is now, and not as this node had it when it was last reached.
        line.read_index().await?;
        self.note_read(ask, &line.state(), Read::of("validate only".to_owned(), 1))?;
        self.judge(ask, line, request, command)
    }

    /// What the line would answer to the command as it stands; nothing is proposed.
    ///
    /// # Errors
    /// The rejection.
    pub fn judge<B>(
        &self,
        ask: &Ask<B>,
        line: &Line,
        request: Option<Key>,
        command: Command,
    ) -> Result<Settled, Refusal> {
        let mut state = line.state();
        let id = line.reference().line;
        let now = self.now(&state);
        let mut at = line.applied().borrow().unwrap_or_default();
        // As the leader does before it stamps an entry of a line that was idle.
        let advance = Envelope {
            at: now,
            actor: Actor::Node(self.node().id()),
            line: id.clone(),
            request: None,
            command: Command::Cluster(cluster::Command::AdvanceClock {
                to: now,
                offset_ms: None,
            }),
        };
        let asked = Envelope {
            at: now,
            actor: ask.caller.actor(),
            line: id.clone(),
            request,
            command,
        };
        at.index = at.index.saturating_add(1);
        domain::apply(&mut state, &id, at, &advance);
        at.index = at.index.saturating_add(1);
        settled(domain::apply(&mut state, &id, at, &asked).outcome)
    }

    fn digest_of_request(&self, key: &Key, context: &str, value: &[u8]) -> Digest {
        let minted = key.id.minted_at().unwrap_or_default();
        self.keyring().digest_at(minted, context, value).digest
    }

    /// 16 bytes that belong to a request: the same when it is repeated, unknown to everybody
    /// before. Ids and nonces are made of it, so that a repeated call gets the first one's.
    #[must_use]
    pub fn derived(&self, context: &str, key: &Key) -> [u8; 16] {
        let mut value = [0; 48];
        for (byte, from) in value.iter_mut().zip(key.id.0.iter().chain(&key.body.0)) {
            *byte = *from;
        }
        let Digest(digest) = self.digest_of_request(key, context, &value);
        let mut bytes = [0; 16];
        for (byte, from) in bytes.iter_mut().zip(digest) {
            *byte = from;
        }
        bytes
    }
}

/// Whether a call changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It does.
    CarryOut,
    /// It says what it would have answered.
    ValidateOnly,
}

impl Validity {
    /// As the field of a message says.
    #[must_use]
    pub fn of(validate_only: bool) -> Self {
        match validate_only {
            true => Self::ValidateOnly,
            false => Self::CarryOut,
        }
    }
}

/// What an outcome is to a handler.
fn settled(outcome: Outcome) -> Result<Settled, Refusal> {
    let Outcome { at, clock, result } = outcome;
    match result {
        outcome::Result::FailedAttempt(Answer::Refused(rejection)) => Err(Refusal::Rejected {
            rejection: *rejection,
            clock,
        }),
        outcome::Result::Done(answer) | outcome::Result::FailedAttempt(answer) => {
            Ok(Settled { answer, at, clock })
        }
        outcome::Result::Rejected(rejection) => Err(Refusal::Rejected { rejection, clock }),
    }
}

/// The next session's opening.
#[must_use]
pub fn next_opening(state: &State, now: UnixMs) -> Option<(SessionId, UnixMs)> {
    let primary = &state.primary()?.name;
    let next = state.calendar().next_session(now, primary)?;
    Some((next.id, next.opens))
}

/// How mail about a line is marked.
#[must_use]
pub fn mark(line: &LineId) -> Mark {
    match line.carry() {
        Carry::CarriedForward => Mark::Real,
        Carry::DiscardedAtRollover => Mark::Drill,
    }
}

/// An answer that the command cannot have: a fault of ours.
#[must_use]
pub fn unexpected(answer: &Answer) -> Refusal {
    Refusal::Internal(format!("unexpected answer {answer:?}"))
}

/// That the credentials were rejected, or a fault of ours.
#[must_use]
pub fn rejected_or_unexpected(answer: &Answer) -> Refusal {
    if *answer == Answer::CredentialsRejected {
        return Refusal::CredentialsRejected;
    }
    unexpected(answer)
}

/// The person's address as a front end states it; none when it says nothing.
///
/// # Errors
/// `MALFORMED_CLIENT_ADDRESS`.
pub fn address(text: &str) -> Result<Option<std::net::IpAddr>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| Refusal::malformed(Field::ClientAddress, "an IP address"))
}
