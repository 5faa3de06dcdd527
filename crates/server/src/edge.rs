//! What every handler needs: the node's lines, the keys, the hashing threads, the mail.
//!
//! Here a call finds its line, by the table and not by its handler, and a command is proposed.
//! Deliberately absent: what the commands mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use consensus::{Line, Node, Proposal, line};
use credential::Entropy;
use credential::card::{Anchors, Revocations};
use credential::keyring::Keyring;
use credential::phc::Params;
use domain::cluster::Founding;
use domain::request::Key;
use domain::session::Phase;
use domain::{
    Answer, Carry, CentreName, Command, Digest, LineId, LogId, NodeId, Outcome, Rejection,
    SessionId, State, UnixMs, outcome,
};
use futures::FutureExt;
use tokio::sync::{Mutex, watch};
use tonic::{Response, Status};

use crate::hashing::Pool;
use crate::identity::Caller;
use crate::mail::{Mark, Outbox};
use crate::request::Ask;
use crate::rpc::cluster::tally::Tally;
use crate::status::{self, Field, Refusal};
use crate::table::{Table, Target};

/// How old a node's last word may be. They ask each other every second.
pub const WORD_AGE_MAX: Duration = Duration::from_secs(5);

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
    /// What a new verifier costs.
    pub params: Params,
    /// Where mail leaves.
    pub outbox: Outbox,
    /// The trust anchors of smartcards.
    pub anchors: Anchors,
    /// The rpcs and their lines.
    pub table: Table,
    /// True once the node stops.
    pub stopping: watch::Receiver<bool>,
}

struct Inner {
    parts: Parts,
    refused_outside_session: AtomicU64,
    tally: Mutex<Option<Tally>>,
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

    /// The source of randomness.
    #[must_use]
    pub fn entropy(&self) -> &dyn Entropy {
        self.inner.parts.entropy.as_ref()
    }

    /// No revocation list is kept yet: cards are revoked with their accounts.
    #[must_use]
    pub fn revocations(&self) -> Revocations {
        Revocations::default()
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
    pub fn support(&self) -> String {
        self.node().main().state().policy().support_contact.clone()
    }

    /// Who is registered, and whom people ask: for the gate.
    #[must_use]
    pub fn register(&self) -> (Option<Arc<Founding>>, String) {
        let state = self.node().main().state();
        let founding = state.founding().cloned().map(Arc::new);
        (founding, state.policy().support_contact.clone())
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

    /// The line that the call speaks to.
    ///
    /// # Errors
    /// For the line of the centre that serves: `CLOCK_OFF`, `CENTRE_NOT_SERVING`, `BRANCH_OPEN`,
    /// `CENTRE_CHANGING`, and for people `SESSION_CLOSED`.
    pub fn line<B>(&self, ask: &Ask<B>) -> Result<Line, Refusal> {
        match ask.rpc.line {
            Target::Main | Target::None => Ok(self.node().main()),
            Target::Serving => {
                let line = self.serving_line();
                self.admit(&line.state(), &ask.caller)?;
                Ok(line)
            }
        }
    }

    /// As `line`, and the state there is as new as the call: whatever was answered anywhere
    /// before it is in it.
    ///
    /// # Errors
    /// As `line`, and the line's own.
    pub async fn fresh<B>(&self, ask: &Ask<B>) -> Result<(Line, State), Refusal> {
        let line = self.line(ask)?;
        line.read_index().await?;
        let state = line.state();
        match ask.rpc.line {
            // A boundary may be among what was read.
            Target::Serving => self.admit(&state, &ask.caller)?,
            Target::Main | Target::None => {}
        }
        Ok((line, state))
    }

    /// The open branch, else the main line.
    #[must_use]
    pub fn serving_line(&self) -> Line {
        let fence = self.node().main().state().header().fence.clone();
        self.node()
            .branch()
            .filter(|branch| {
                let state = branch.state();
                // One that was given up may still run, to be closed: it serves nobody.
                match &state.header().line {
                    LineId::Branch { session, .. } => {
                        !state.header().ended && fence.as_ref() == Some(session)
                    }
                    LineId::Main => false,
                }
            })
            .unwrap_or_else(|| self.node().main())
    }

    /// Whether this node can answer for the line: its engine runs, and it hears the leader, or
    /// leads and hears a majority. What it believes of the leader alone may be long past.
    #[must_use]
    pub fn answers(&self, line: &Line) -> bool {
        let me = self.node().id();
        let hears = |node: NodeId| {
            let heard = self.node().heard().from(node);
            node == me || heard.is_some_and(|(ago, _)| ago <= WORD_AGE_MAX)
        };
        if fault(line).is_some() {
            return false;
        }
        match line.leader() {
            Some(leader) if leader == me => {
                let voters = line.membership().voters;
                let heard = voters.iter().filter(|voter| hears(**voter)).count();
                heard > voters.len() / 2
            }
            Some(leader) => hears(leader),
            None => false,
        }
    }

    /// Whether people can log in at this node now.
    #[must_use]
    pub fn serves_people(&self) -> bool {
        let line = self.serving_line();
        let state = line.state();
        let now = self.now(&state);
        self.node().clock_verdict().is_good()
            && self.answers(&line)
            && state
                .open_session(now)
                .is_ok_and(|plan| self.is_here(&plan.session.centre))
    }

    fn is_here(&self, centre: &CentreName) -> bool {
        self.node()
            .centre()
            .is_some_and(|here| here.name == *centre)
    }

    fn rejected(&self, rejection: Rejection, state: &State) -> Refusal {
        Refusal::Rejected {
            rejection,
            clock: self.now(state),
        }
    }

    /// People are served where and while a session is open; operators and back ends also between
    /// sessions. Nobody is by a clock that is off, nor by a fenced main line.
    fn admit(&self, state: &State, caller: &Caller) -> Result<(), Refusal> {
        if !self.node().clock_verdict().is_good() {
            return Err(Refusal::Line(line::Error::ClockOff));
        }
        let header = state.header();
        if let (LineId::Main, Some(session)) = (&header.line, &header.fence) {
            return Err(self.fenced(state, session, caller));
        }
        match (state.open_session(self.now(state)), caller) {
            (Ok(plan), _) if self.is_here(&plan.session.centre) => Ok(()),
            (Ok(plan), _) => {
                let serving = plan.session.centre.clone();
                Err(self.rejected(Rejection::CentreNotServing { serving }, state))
            }
            (Err(Rejection::SessionClosed { .. }), Caller::Operator(_) | Caller::BackEnd(_)) => {
                Ok(())
            }
            (
                Err(rejection @ Rejection::SessionClosed { .. }),
                Caller::FrontEnd(..) | Caller::Node(_),
            ) => Err(self.refused_outside(rejection, state)),
            (Err(rejection), _) => Err(self.rejected(rejection, state)),
        }
    }

    /// Why a main line that a session fences serves nobody. What is done in the session belongs
    /// on its branch; a call that was done there and is repeated here would be done twice, and a
    /// token of the branch is not known here.
    fn fenced(&self, state: &State, session: &SessionId, caller: &Caller) -> Refusal {
        let now = self.now(state);
        let serves = state.plan(session).filter(|plan| match plan.phase {
            Phase::Opening | Phase::Open => plan.session.holds(now) && !self.has_ended(session),
            Phase::Closed | Phase::RolledOver | Phase::Abandoned => false,
        });
        match (serves, caller) {
            (Some(plan), _) if self.is_here(&plan.session.centre) => Refusal::CentreChanging {
                session: session.clone(),
            },
            (Some(plan), _) => {
                let serving = plan.session.centre.clone();
                self.rejected(Rejection::CentreNotServing { serving }, state)
            }
            (None, Caller::Operator(_) | Caller::BackEnd(_)) => {
                let session = session.clone();
                self.rejected(Rejection::BranchOpen { session }, state)
            }
            // The fence stands until rollover; but outside its times nobody serves.
            (None, Caller::FrontEnd(..) | Caller::Node(_)) => {
                let next = next_opening(state, now);
                self.refused_outside(Rejection::SessionClosed { next }, state)
            }
        }
    }

    /// Whether the session's branch has closed here; the main line's plan follows it.
    fn has_ended(&self, session: &SessionId) -> bool {
        self.node().branch().is_some_and(|branch| {
            let state = branch.state();
            let is_of = match &state.header().line {
                LineId::Branch { session: of, .. } => of == session,
                LineId::Main => false,
            };
            is_of && state.header().ended
        })
    }

    fn refused_outside(&self, rejection: Rejection, state: &State) -> Refusal {
        self.inner
            .refused_outside_session
            .fetch_add(1, Ordering::Relaxed);
        self.rejected(rejection, state)
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
        let Outcome { at, clock, result } =
            line.propose(proposal).await.map_err(|error| match error {
                line::Error::OutcomeUnknown => Refusal::OutcomeUnknown {
                    request_id: request.map(|key| key.id.to_string()).unwrap_or_default(),
                },
                line::Error::NoLeader
                | line::Error::WrongLine { .. }
                | line::Error::ClockOff
                | line::Error::Stopped
                | line::Error::Storage(_)
                | line::Error::TooLarge { .. } => Refusal::Line(error),
            })?;
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

    /// 16 bytes that belong to a request: the same when it is repeated, unknown to everybody
    /// before. Ids and nonces are made of it, so that a repeated call gets the first one's.
    #[must_use]
    pub fn derived(&self, context: &str, key: &Key) -> [u8; 16] {
        let mut value = [0; 48];
        for (byte, from) in value.iter_mut().zip(key.id.0.iter().chain(&key.body.0)) {
            *byte = *from;
        }
        let Digest(digest) = self.keyring().digest(context, &value).digest;
        let mut bytes = [0; 16];
        for (byte, from) in bytes.iter_mut().zip(digest) {
            *byte = from;
        }
        bytes
    }
}

/// Why the line's engine has stopped here, if it has.
#[must_use]
pub fn fault(line: &Line) -> Option<line::Error> {
    line.failed().now_or_never()
}

/// The next session's opening.
#[must_use]
pub fn next_opening(state: &State, now: UnixMs) -> Option<(SessionId, UnixMs)> {
    let primary = &state.founding()?.primary.name;
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
