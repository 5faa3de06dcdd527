//! The state machine of a line: applies entries with `domain::apply` to a state in memory, and
//! publishes what came of it. What it keeps on disk is snapshots and audit rows.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use domain::planted::{self, Fault};
use domain::state::{Digests, RULES_VERSION, State};
use domain::{Applied, Command, Envelope, LogId, Outcome, audit, cluster};
use futures::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tokio::sync::watch;

use crate::audit::Trail;
use crate::digests::Ring;
use crate::image;
use crate::raft::{
    self, Answer, Entry, Proposed, RaftLogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig,
};
use crate::snapshot::{File, Folder};
use crate::store::{Durable, Log, Pin};

/// Most entries that are applied before their outcomes are published.
const ENTRIES_MAX: usize = 64;

/// Called after each envelope, before anybody hears of its outcome. The state is the one right
/// after it: cloning it is O(1), and so the genesis is taken at a boundary.
pub type Hook = Arc<dyn Fn(LogId, &Envelope, &Outcome, &State) + Send + Sync>;

/// Why a state machine cannot be opened, or a state not be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A snapshot cannot be used.
    #[error(transparent)]
    Snapshot(#[from] image::Error),
    /// The audit trail cannot be used.
    #[error(transparent)]
    Audit(#[from] crate::audit::Error),
    /// The log cannot be read.
    #[error("the log: {0}")]
    Log(#[from] io::Error),
    /// The log on the disk does not reach from the snapshot to the boundary any more.
    #[error("the state at {boundary} cannot be rebuilt: log entry {index} is not on the disk")]
    NotKept {
        /// What was to be rebuilt.
        boundary: LogId,
        /// The first entry that is missing.
        index: u64,
    },
}

/// The line's rules were raised beyond those that this program knows.
#[derive(Debug, thiserror::Error)]
#[error(
    "entry {at} raises the rules to {rules}, and this program knows them up to {known}: start the \
     later program that ran here, or on the other nodes"
)]
pub struct TooNew {
    at: LogId,
    rules: u32,
    known: u32,
}

/// The state machine of a line, as openraft drives it.
pub struct Machine {
    shared: Arc<Shared>,
    hook: Hook,
    state: State,
    last: Option<LogId>,
    membership: StoredMembership,
    rules: u32,
}

/// What others may see of a line's state machine, and ask of it.
pub struct Shared {
    log: Log,
    base: State,
    snapshots: Folder,
    trail: Trail,
    state: RwLock<State>,
    applied: watch::Sender<Option<LogId>>,
    digests: Mutex<Ring>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Machine({:?} at {:?})", self.shared.log, self.last)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shared({:?})", self.log)
    }
}

impl Machine {
    /// Opens the state machine of the log's line. `base` is the state before the first entry: an
    /// unfounded one for a main line, the genesis for a branch. openraft then installs the current
    /// snapshot and replays the log. Blocks.
    ///
    /// # Errors
    /// When a snapshot's header is damaged, or the audit trail begins elsewhere.
    pub fn open(log: Log, trail: Trail, base: State, hook: Hook) -> Result<Self, Error> {
        let snapshots = Folder::open(log.disk().data(), log.reference())?;
        trail.begin_at(base.header().audit)?;
        let shared = Arc::new(Shared {
            log,
            snapshots,
            trail,
            state: RwLock::new(base.clone()),
            base: base.clone(),
            applied: watch::Sender::new(None),
            digests: Mutex::default(),
        });
        Ok(Self {
            shared,
            hook,
            state: base,
            last: None,
            membership: StoredMembership::default(),
            rules: RULES_VERSION,
        })
    }

    /// The latest rules that it applies entries by; an entry that raises them further stops it.
    #[must_use]
    pub fn knowing(mut self, rules: u32) -> Self {
        self.rules = rules;
        self
    }

    /// What others may see of it.
    #[must_use]
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    fn apply_entry(&mut self, entry: Entry, rows: &mut Vec<audit::Row>) -> io::Result<Answer> {
        let at = raft::log_id(&entry.log_id);
        if let EntryPayload::Normal(Proposed(envelope)) = &entry.payload
            && let Command::Cluster(cluster::Command::RaiseRules { to }) = &envelope.command
            && *to > self.rules
        {
            return Err(io::Error::other(TooNew {
                at,
                rules: *to,
                known: self.rules,
            }));
        }
        self.last = Some(at);
        Ok(match entry.payload {
            EntryPayload::Blank => Answer(None),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                Answer(None)
            }
            EntryPayload::Normal(Proposed(envelope)) => {
                let line = &self.shared.log.reference().line;
                let Applied { outcome, audit } =
                    domain::apply(&mut self.state, line, at, &envelope);
                rows.extend(audit);
                (self.hook)(at, &envelope, &outcome, &self.state);
                Answer(Some(outcome))
            }
        })
    }

    fn publish(&self) {
        let mut state = self
            .shared
            .state
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *state = self.state.clone();
        drop(state);
        self.shared.applied.send_replace(self.last);
    }
}

impl Shared {
    /// The state after the latest entry that was applied.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The log id of the latest entry that was applied; changes with each.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<Option<LogId>> {
        self.applied.subscribe()
    }

    /// The digests after the entry, if it is one of the latest or was asked to be kept.
    #[must_use]
    pub fn digests_at(&self, at: LogId) -> Option<Digests> {
        self.ring().find(at)
    }

    /// Keeps the digests after this entry beyond the latest ones; from the hook, at plan entries.
    pub fn keep_digests(&self, at: LogId) {
        self.ring().keep(at);
    }

    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line's audit trail.
    #[must_use]
    pub fn audit(&self) -> &Trail {
        &self.trail
    }

    /// The line's snapshots.
    #[must_use]
    pub fn snapshots(&self) -> &Folder {
        &self.snapshots
    }

    /// The line's log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The state before the first entry.
    #[must_use]
    pub fn base(&self) -> &State {
        &self.base
    }

    /// Keeps what rebuilding the state at the boundary needs, from now on: called from the hook at
    /// the boundary. It holds over a restart once the answer has resolved; what could break it
    /// (purges, newer snapshots) waits for that.
    pub fn pin(&self, boundary: LogId) -> Durable {
        if planted::is(Fault::SkipGenesisPin) {
            return self.log.barrier();
        }
        let from = self.snapshots.at_or_before(boundary);
        self.log.pin(Pin { boundary, from })
    }

    /// Lets go of what was kept for the boundary: its genesis is durable.
    pub fn release(&self, boundary: LogId) -> Durable {
        self.log.release(boundary)
    }

    /// The state right after the boundary, from a snapshot at or before it and the log from there.
    /// What was appended may still be on its way to the disk: `Log::barrier` comes first. Blocks.
    ///
    /// # Errors
    /// `NotKept` when neither a pin nor the log's age left enough; else what is damaged.
    pub fn rebuild(&self, boundary: LogId) -> Result<State, Error> {
        let pinned = self
            .log
            .pins()
            .into_iter()
            .find(|pin| pin.boundary == boundary);
        let from = match pinned {
            Some(pin) => pin.from,
            None => self.snapshots.at_or_before(boundary),
        };
        let mut state = match from {
            Some(from) => self.snapshots.load(from)?.state,
            None => self.base.clone(),
        };
        let mut next = from.map_or(0, |from| from.index + 1);
        while next <= boundary.index {
            let upto = next.saturating_add(255).min(boundary.index);
            let entries = self.log.entries(next, upto)?;
            for entry in &entries {
                let at = raft::log_id(&entry.log_id);
                let is_boundary = at == boundary;
                if at.index != next || (at.index == boundary.index && !is_boundary) {
                    break;
                }
                if let EntryPayload::Normal(Proposed(envelope)) = &entry.payload {
                    let line = &self.log.reference().line;
                    let _applied = domain::apply(&mut state, line, at, envelope);
                }
                next += 1;
            }
            if next <= upto {
                return Err(Error::NotKept {
                    boundary,
                    index: next,
                });
            }
        }
        Ok(state)
    }

    /// Removes old snapshots, once every pin is durable.
    async fn sweep(self: Arc<Self>) -> io::Result<()> {
        self.log.barrier().await?;
        let pinned: Vec<_> = self.log.pins().into_iter().map(|pin| pin.from).collect();
        blocking(move || Ok(self.snapshots.sweep(&pinned)?)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    crate::blocking::run(work).await?
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = File;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, StoredMembership), io::Error> {
        let last = self.last.map(raft::raft_log_id);
        Ok((last, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut ready = entries.ready_chunks(ENTRIES_MAX);
        while let Some(chunk) = ready.next().await {
            let mut answers: Vec<(Option<ApplyResponder<TypeConfig>>, Answer)> = Vec::new();
            let mut rows = Vec::new();
            for item in chunk {
                let (entry, responder) = item?;
                let at = raft::log_id(&entry.log_id);
                let answer = self.apply_entry(entry, &mut rows)?;
                let digests = self.state.digests();
                self.shared.ring().note(at, digests);
                answers.push((responder, answer));
            }
            self.shared.trail.append(&rows)?;
            self.publish();
            for (responder, answer) in answers {
                if let Some(responder) = responder {
                    responder.send(answer);
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            shared: self.shared(),
            state: self.state.clone(),
            last: self.last,
            membership: self.membership.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: File,
    ) -> Result<(), io::Error> {
        let shared = self.shared();
        let announced = meta.clone();
        let image = blocking(move || {
            let image = shared.snapshots.install(&announced, &snapshot)?;
            shared.trail.skip_to(image.state.header().audit);
            Ok(image)
        })
        .await?;
        self.last = image.header.last;
        self.membership = meta.last_membership.clone();
        self.state = image.state;
        if let Some(last) = self.last {
            self.shared.ring().note(last, image.digests);
        }
        self.publish();
        self.shared().sweep().await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let shared = self.shared();
        let current = blocking(move || Ok(shared.snapshots.current()?)).await?;
        Ok(current.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Writes a snapshot of the state as it was when the builder was made.
pub struct Builder {
    shared: Arc<Shared>,
    state: State,
    last: Option<LogId>,
    membership: StoredMembership,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = File;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        // A pin of a boundary that this snapshot includes must not be lost once the snapshot lets
        // the log go.
        self.shared.log.barrier().await?;
        let shared = Arc::clone(&self.shared);
        let (state, last) = (self.state.clone(), self.last);
        let membership = self.membership.clone();
        let (meta, snapshot) = blocking(move || {
            // Replay brings lost audit rows back, but only those after the snapshot.
            shared.trail.sync()?;
            Ok(shared.snapshots.write(&state, last, &membership)?)
        })
        .await?;
        Arc::clone(&self.shared).sweep().await?;
        Ok(Snapshot { meta, snapshot })
    }
}

#[cfg(test)]
mod tests;
