//! Protection: an answer of the main line waits until the secondary centre has persisted what it
//! depends on, or until the log says that the secondary was given up (LINES.md, "Protection").
//!
//! Only the leader knows who has persisted what, so all of it happens there: proposals and reads
//! that other nodes forward wait at the leader too. What must be waited for is `domain`'s.

use std::time::Duration;

use domain::protection::{self, Mode};
use domain::{Actor, Command, LineId, LogId, NodeId};
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::line::{Error, Line, PATIENCE};
use crate::propose::Proposal;
use crate::raft;

/// How often the leader looks whether the secondary confirms.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many looks in a row must find the secondary caught up before it is relied on again, so that
/// a link that comes and goes does not make the line degrade again and again.
const STEADY_LOOKS: u32 = 10;

/// How far the secondary has persisted the log, as the leader of a term knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Persisted {
    /// The term; what is known of an earlier one says nothing of this one's log.
    pub(crate) term: u64,
    /// The index that enough nodes of the secondary have persisted.
    pub(crate) index: u64,
}

impl Line {
    /// Waits, at the leader of `term`, until an answer that depends on the entry at `at` may go
    /// out. Gives the log id that a node must have applied to know how it went out: a later one
    /// where the line is degraded.
    ///
    /// # Errors
    /// `SecondaryUnreachable` when the deadline came before the secondary confirmed,
    /// `OutcomeUnknown` when leadership went before that.
    pub(crate) async fn protect(
        &self,
        at: LogId,
        term: u64,
        deadline: Instant,
    ) -> Result<LogId, Error> {
        if self.inner.reference.line != LineId::Main {
            return Ok(at);
        }
        let mut persisted = self.inner.persisted.subscribe();
        let mut applied = self.applied();
        loop {
            let known = *persisted.borrow_and_update();
            let last = *applied.borrow_and_update();
            let state = self.state();
            let promise = state.header().protection;
            let needed = promise.needed(state.policy().protection, at.index);
            let confirmed = known.term == term && known.index >= needed;
            if needed == 0 || confirmed {
                let gave_up = promise.degraded_since.is_some();
                return Ok(last.filter(|_| gave_up).unwrap_or(at).max(at));
            }
            let moved = async {
                tokio::select! {
                    changed = persisted.changed() => changed.is_ok(),
                    changed = applied.changed() => changed.is_ok(),
                    () = self.changed() => true,
                }
            };
            match tokio::time::timeout_at(deadline, moved).await {
                Ok(true) if self.is_leader() && self.term() == term => {}
                Err(_) if self.is_leader() && self.term() == term => {
                    return Err(Error::SecondaryUnreachable);
                }
                Ok(_) | Err(_) => return Err(Error::OutcomeUnknown),
            }
        }
    }

    /// How far the secondary has persisted the log, if this node leads.
    #[must_use]
    pub fn persisted_by_secondary(&self) -> Option<u64> {
        let known = *self.inner.persisted.borrow();
        (self.is_leader() && known.term == self.term()).then_some(known.index)
    }
}

/// Keeps `Line::persisted` true for as long as the line runs.
pub(crate) async fn watch_secondary(line: Line, persisted: watch::Sender<Persisted>) {
    let mut metrics = line.inner.raft.metrics();
    loop {
        let known = {
            let metrics = metrics.borrow_and_update();
            let leads = metrics.state == ServerState::Leader;
            let reached = leads.then(|| {
                let replicated = metrics.replication.iter().flatten();
                let replicated: Vec<(u64, u64)> = replicated
                    .filter_map(|(node, log_id)| {
                        Some((*node, raft::log_id(log_id.as_ref()?).index))
                    })
                    .collect();
                confirmed(&line, &replicated)
            });
            Persisted {
                term: metrics.current_term,
                index: reached.unwrap_or(0),
            }
        };
        persisted.send_if_modified(|held| {
            let moved = *held != known;
            *held = known;
            moved
        });
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

/// The index that enough nodes of the secondary have; the greatest there is without a secondary.
/// After its nodes changed, enough of the former ones too, until that is settled.
fn confirmed(line: &Line, replicated: &[(u64, u64)]) -> u64 {
    let state = line.state();
    let now = reached(state.secondary_nodes(), replicated);
    let former = state.centres().and_then(|centres| centres.former.as_ref());
    former.map_or(now, |former| {
        now.min(reached(former.nodes.iter().copied(), replicated))
    })
}

/// The index that enough of these nodes have.
fn reached(nodes: impl Iterator<Item = NodeId>, replicated: &[(u64, u64)]) -> u64 {
    let mut reached: Vec<u64> = nodes
        .map(|node| {
            let found = replicated.iter().find(|(other, _)| *other == node.0);
            found.map_or(0, |(_, index)| *index)
        })
        .collect();
    reached.sort_unstable_by(|a, b| b.cmp(a));
    let needed = protection::quorum(reached.len());
    match needed.checked_sub(1) {
        Some(last) => reached.get(last).copied().unwrap_or(0),
        None => u64::MAX,
    }
}

/// Gives the secondary up when it confirms nothing for too long, and relies on it again once it
/// has caught up; for as long as the line runs, and where this node leads.
pub(crate) async fn guard(line: Line) {
    let mut clock = tokio::time::interval(LOOK_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Seen::now(&line);
    loop {
        clock.tick().await;
        seen.look(&line);
        let Some(command) = seen.due(&line) else {
            continue;
        };
        let deadline = Instant::now() + PATIENCE;
        let proposal = Proposal {
            actor: Actor::Node(line.inner.peers.me()),
            request: None,
            command: Command::Protection(command),
        };
        let attempt = line.write(proposal, deadline).await;
        match command {
            protection::Command::Degrade => tracing::warn!(
                ?attempt,
                "the secondary confirms nothing: answers go out without it"
            ),
            protection::Command::Recover => {
                tracing::info!(
                    ?attempt,
                    "the secondary has caught up: answers wait for it again"
                );
            }
        }
        seen = Seen::now(&line);
    }
}

/// What the leader has seen of the secondary.
struct Seen {
    term: u64,
    persisted: u64,
    last_log: u64,
    /// Since when something waits and nothing was confirmed.
    silent_since: Instant,
    caught_up: u32,
}

impl Seen {
    fn now(line: &Line) -> Self {
        Self {
            term: line.term(),
            persisted: line.persisted_by_secondary().unwrap_or(0),
            last_log: line.last_log_index().unwrap_or(0),
            silent_since: Instant::now(),
            caught_up: 0,
        }
    }

    fn look(&mut self, line: &Line) {
        let Some(persisted) = line.persisted_by_secondary() else {
            *self = Self::now(line);
            return;
        };
        let last_log = line.last_log_index().unwrap_or(0);
        let term = line.term();
        let moved = persisted > self.persisted || term != self.term;
        if moved || persisted >= last_log {
            self.silent_since = Instant::now();
        }
        // What was in the log at the last look is there: it keeps pace.
        self.caught_up = if persisted >= self.last_log {
            self.caught_up.saturating_add(1)
        } else {
            0
        };
        (self.term, self.persisted, self.last_log) = (term, persisted, last_log);
    }

    fn due(&self, line: &Line) -> Option<protection::Command> {
        line.persisted_by_secondary()?;
        let state = line.state();
        state.founding()?;
        let mode = state.policy().protection;
        let promise = state.header().protection;
        if promise.degraded_since.is_some() {
            // After a promotion nobody is there to rely on.
            state.secondary_nodes().next()?;
            return (self.caught_up >= STEADY_LOOKS).then_some(protection::Command::Recover);
        }
        let limit = Duration::from_millis(state.policy().degrade_after_ms);
        let held_up = match mode {
            Mode::Sync => true,
            // Only what `sync` had promised can hold anything up.
            Mode::Async => self.persisted < promise.sync_until,
            Mode::Strict => false,
        };
        let due = held_up
            && self.silent_since.elapsed() >= limit
            && promise.may_degrade(mode, self.persisted);
        due.then_some(protection::Command::Degrade)
    }
}
