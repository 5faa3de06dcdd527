//! A line on this node: a member of its Raft group, the state it has applied, and the clock that
//! stamps what is proposed here.
//!
//! Proposing is in `propose`, reading in `read`, the group in `members`; this file starts and stops the member and says
//! what it knows. Deliberately absent: which lines a node has (`node`), and what a state means
//! (`domain`).

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::audit::Head;
use domain::state::{Digests, State};
use domain::{Digest, LineId, LineRef, LogId, NodeId};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::Fatal;
use openraft::{ServerState, SnapshotPolicy};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::clockwatch::LastGood;
use crate::machine::{Machine, Shared};
use crate::network::Network;
use crate::peers::Peers;
use crate::protection::{self, Persisted};
use crate::raft::{Raft, TypeConfig};
use crate::read;
use crate::store::Log;
use crate::wire;

/// Largest encoded envelope, in bytes. The store ends an append with the entry that exceeds a
/// mebibyte, so that one such entry more still fits into `peers::MESSAGE_BYTES_MAX`.
pub const ENVELOPE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most entries in one append.
pub const ENTRIES_EACH_APPEND: u64 = 300;
/// Most proposals of this node under way on one line.
pub const PROPOSALS_MAX: usize = 4096;

// Two busy cores: a heartbeat may come late by several of them before anybody stands.
const HEARTBEAT_MS: u64 = 150;
const ELECTION_MIN_MS: u64 = 1000;
const ELECTION_MAX_MS: u64 = 2000;
/// One segment's limit; a whole snapshot's is in `network`.
const SNAPSHOT_TIMEOUT_MS: u64 = 60_000;
/// Entries kept behind a snapshot, so that a node that was away for a while needs none.
const ENTRIES_KEPT: u64 = 5_000;
/// A follower this far behind is sent a snapshot.
const LAG_MAX: u64 = 20_000;
/// Entries that are purged at once.
const PURGE_BATCH: u64 = 256;

/// Why a line has no answer. None of these says anything about the command itself: that would be
/// an `Outcome`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No leader was found in time; nothing was executed.
    #[error("no leader answers; nothing was executed, try again")]
    NoLeader,
    /// The secondary centre does not confirm what the answer rests on, and nothing is answered
    /// without it: of a read alone. Nothing was executed.
    #[error("the secondary centre does not confirm; nothing was executed, try again")]
    SecondaryUnreachable,
    /// The command may have been executed, or may still be: only a repeat under the same request
    /// id tells.
    #[error("the outcome is unknown; repeat with the same request id")]
    OutcomeUnknown,
    /// The message or the caller meant another line than the one that runs here.
    #[error("another line: {detail}")]
    WrongLine {
        /// Which was meant and which is here.
        detail: String,
    },
    /// This node's clock is not near its peers', so that it must not lead or propose.
    #[error("this node's clock is off, or not compared yet; see the node's status")]
    ClockOff,
    /// The line was stopped on this node; nothing was executed.
    #[error("the line is stopped on this node")]
    Stopped,
    /// The disk failed; the line stops here until the node is restarted.
    #[error("storage failed: {0}")]
    Storage(String),
    /// The envelope exceeds `ENVELOPE_BYTES_MAX`; nothing was executed.
    #[error("the command has {bytes} bytes, the most is {ENVELOPE_BYTES_MAX}; split it")]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
    },
}

impl From<Fatal<TypeConfig>> for Error {
    fn from(fatal: Fatal<TypeConfig>) -> Self {
        match fatal {
            Fatal::StorageError(error) => Self::Storage(error.to_string()),
            Fatal::Panicked => Self::Storage("the engine stopped on a fault".to_owned()),
            Fatal::Stopped => Self::Stopped,
        }
    }
}

/// What this node is in a line's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Receives the log and has no vote.
    Learner,
    /// A voter that follows.
    Follower,
    /// A voter that stands for election.
    Candidate,
    /// The one that leads.
    Leader,
    /// Stopped.
    Stopped,
}

/// What a line is started with.
pub struct Start {
    /// Which line.
    pub reference: LineRef,
    /// The directory of nodes; this node is `peers.me()`.
    pub peers: Peers,
    /// The clock that stamps what is proposed here.
    pub clock: Arc<dyn Clock>,
    /// Whether this node's clock was found near its peers'.
    pub clock_is_ok: bool,
    /// When it was last, by which its steps are seen.
    pub last_good: LastGood,
    /// The line's log on this node's disk.
    pub log: Log,
    /// The line's state on this node.
    pub machine: Machine,
    /// At most one snapshot is built at a time in a process.
    pub builders: Arc<Semaphore>,
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start")
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

/// A line on this node. Clones are handles of the same line.
#[derive(Clone)]
pub struct Line {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) reference: LineRef,
    /// Names a main line among those of its epoch, after a promotion (`Terms::line`).
    pub(crate) beginning: Option<Digest>,
    pub(crate) raft: Raft,
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) peers: Peers,
    pub(crate) proposals: Semaphore,
    pub(crate) reads: mpsc::Sender<read::Waiting>,
    pub(crate) persisted: watch::Sender<Persisted>,
    clock_is_ok: AtomicBool,
    last_good: LastGood,
    stopped: watch::Sender<bool>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("reference", &self.inner.reference)
            .finish_non_exhaustive()
    }
}

impl Line {
    /// Starts this node's member of the line's group from what is on its disk.
    ///
    /// # Errors
    /// `Storage` when the disk cannot be read.
    pub async fn start(start: Start) -> Result<Self, Error> {
        Self::start_as(start, None).await
    }

    /// As `start`, a main line that this names among those of its epoch.
    pub(crate) async fn start_as(start: Start, beginning: Option<Digest>) -> Result<Self, Error> {
        // On the heap: it holds a state machine across awaits.
        Box::pin(Self::start_whole(start, beginning)).await
    }

    async fn start_whole(start: Start, beginning: Option<Digest>) -> Result<Self, Error> {
        let config = config(&start.reference, start.clock_is_ok)?;
        let shared = start.machine.shared();
        let network = Network::new(
            start.peers.clone(),
            wire::line_ref_from(&start.reference, beginning),
        );
        let raft = Raft::new(
            start.peers.me().0,
            Arc::new(config),
            network,
            start.log,
            start.machine,
        )
        .await?;
        let (reads, waiting) = mpsc::channel(read::READS_QUEUED_MAX);
        let persisted = watch::Sender::default();
        let line = Self {
            inner: Arc::new(Inner {
                reference: start.reference,
                beginning,
                raft,
                shared,
                clock: start.clock,
                peers: start.peers,
                proposals: Semaphore::new(PROPOSALS_MAX),
                reads,
                persisted: persisted.clone(),
                clock_is_ok: AtomicBool::new(start.clock_is_ok),
                last_good: start.last_good,
                stopped: watch::Sender::new(false),
                tasks: Mutex::new(Vec::new()),
            }),
        };
        line.keep(tokio::spawn(read::rounds(line.clone(), waiting)).abort_handle());
        line.keep(
            tokio::spawn(crate::pace::snapshots(line.clone(), start.builders)).abort_handle(),
        );
        if line.inner.reference.line == LineId::Main {
            let watched = protection::watch_secondary(line.clone(), persisted);
            line.keep(tokio::spawn(watched).abort_handle());
            line.keep(tokio::spawn(protection::guard(line.clone())).abort_handle());
        }
        Ok(line)
    }

    fn keep(&self, task: AbortHandle) {
        self.tasks().push(task);
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<AbortHandle>> {
        self.inner
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether both are handles of one line that was started once.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Which line this is, as messages name it.
    pub(crate) fn named(&self) -> proto::peer::v1::LineRef {
        wire::line_ref_from(&self.inner.reference, self.inner.beginning)
    }

    /// Which line this is.
    #[must_use]
    pub fn reference(&self) -> LineRef {
        self.inner.reference.clone()
    }

    /// The end of the audit chain that this line began with: on another line, or in the cluster that
    /// was restored.
    #[must_use]
    pub fn began_with(&self) -> Head {
        self.inner.shared.base().header().audit
    }

    /// The state as applied on this node so far. For an answer that must not be stale, see
    /// `read_index`.
    #[must_use]
    pub fn state(&self) -> State {
        self.inner.shared.state()
    }

    /// The log id of the last entry applied on this node, as it moves.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<Option<LogId>> {
        self.inner.shared.applied()
    }

    /// The digests of the state right after an entry, if that is recent enough to be kept.
    #[must_use]
    pub fn digests_at(&self, log_id: LogId) -> Option<Digests> {
        self.inner.shared.digests_at(log_id)
    }

    /// Whether this node leads, as far as it knows.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.role() == Role::Leader
    }

    /// Who leads, as far as this node knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let metrics = self.inner.raft.server_metrics();
        let leader = metrics.borrow_watched().current_leader;
        leader.map(NodeId)
    }

    /// What this node is in the group.
    #[must_use]
    pub fn role(&self) -> Role {
        let metrics = self.inner.raft.server_metrics();
        let state = metrics.borrow_watched().state;
        match state {
            ServerState::Learner => Role::Learner,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Leader => Role::Leader,
            ServerState::Shutdown => Role::Stopped,
        }
    }

    /// The term that this node is in.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.inner.raft.metrics().borrow_watched().current_term
    }

    /// The index of the last entry in this node's log, committed or not.
    #[must_use]
    pub fn last_log_index(&self) -> Option<u64> {
        self.inner.raft.metrics().borrow_watched().last_log_index
    }

    /// Notified whenever the leader, this node's role or the membership changes.
    pub async fn changed(&self) {
        let mut metrics = self.inner.raft.server_metrics();
        drop(metrics.borrow_and_update());
        if metrics.changed().await.is_err() {
            // The engine is gone, and nothing will change any more.
            std::future::pending::<()>().await;
        }
    }

    /// Resolves once the engine has ended by a fault of its own, and with what. It answers nothing
    /// any more then, and only a new start of the process helps.
    pub async fn failed(&self) -> Error {
        let mut metrics = self.inner.raft.metrics();
        loop {
            match metrics.borrow_and_update().running_state.clone() {
                Ok(()) | Err(Fatal::Stopped) => {}
                Err(fault) => return fault.into(),
            }
            if metrics.changed().await.is_err() {
                return self.running().err().unwrap_or(Error::Stopped);
            }
        }
    }

    /// Says whether this node's clock is near its peers' (LINES.md, Time). While it is not, this
    /// node does not stand for election, hands its leadership over, and refuses proposals. May be
    /// repeated: each time, a leader tries again to hand over.
    pub fn set_clock_ok(&self, ok: bool) {
        self.inner.clock_is_ok.store(ok, Ordering::SeqCst);
        self.inner.raft.runtime_config().elect(ok);
        if !ok && self.is_leader() {
            let line = self.clone();
            tokio::spawn(async move { line.hand_over().await });
        }
    }

    /// Whether this node's clock was last found near its peers', and has not stepped since.
    #[must_use]
    pub fn clock_is_ok(&self) -> bool {
        self.clock_was_ok() && self.inner.last_good.holds()
    }

    /// Whether this node's clock was last found near its peers'.
    pub(crate) fn clock_was_ok(&self) -> bool {
        self.inner.clock_is_ok.load(Ordering::SeqCst)
    }

    /// Starts building a snapshot of what is applied here.
    ///
    /// # Errors
    /// `Stopped` and `Storage`.
    pub async fn trigger_snapshot(&self) -> Result<(), Error> {
        Ok(self.inner.raft.trigger().snapshot().await?)
    }

    /// Stands for election now.
    ///
    /// # Errors
    /// `Stopped` and `Storage`.
    pub(crate) async fn stand(&self) -> Result<(), Error> {
        Ok(self.inner.raft.trigger().elect(true).await?)
    }

    /// Purges the log up to an index, as far as snapshots and pins allow.
    ///
    /// # Errors
    /// `Stopped` and `Storage`.
    pub async fn trigger_purge(&self, up_to: u64) -> Result<(), Error> {
        Ok(self.inner.raft.trigger().purge_log(up_to).await?)
    }

    /// Index of the last entry in the newest snapshot.
    #[must_use]
    pub fn snapshot_index(&self) -> Option<u64> {
        let metrics = self.inner.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        metrics.snapshot.as_ref().map(|log_id| log_id.index)
    }

    /// Stops this node's member of the group. What is on its disk stays.
    pub async fn stop(&self) {
        self.inner.stopped.send_replace(true);
        for task in self.tasks().drain(..) {
            task.abort();
        }
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(line = %self.inner.reference.line, %error, "the engine stopped on a fault");
        }
    }

    /// Resolves once the line is stopped here. What waits for messages must wait for this too, or
    /// it keeps the data folder in use.
    pub async fn stopped(self) {
        let mut stopped = self.inner.stopped.subscribe();
        // The sender lives as long as this handle does.
        let _closed = stopped.wait_for(|stopped| *stopped).await;
    }

    /// Waits until this node has applied the entry at `index`; false if the deadline came first.
    pub async fn wait_applied(&self, index: u64, deadline: tokio::time::Instant) -> bool {
        let mut applied = self.applied();
        let reached = applied.wait_for(|applied| applied.is_some_and(|at| at.index >= index));
        matches!(tokio::time::timeout_at(deadline, reached).await, Ok(Ok(_)))
    }
}

fn config(reference: &LineRef, clock_is_ok: bool) -> Result<openraft::Config, Error> {
    openraft::Config {
        cluster_name: format!("{} {}", reference.cluster, reference.line),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MIN_MS,
        election_timeout_max: ELECTION_MAX_MS,
        install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
        max_payload_entries: ENTRIES_EACH_APPEND,
        replication_lag_threshold: LAG_MAX,
        // Every node would fire at the same index; `pace` spreads them instead.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: ENTRIES_KEPT,
        purge_batch_size: PURGE_BATCH,
        api_channel_size: Some(8192),
        notification_channel_size: Some(8192),
        enable_elect: clock_is_ok,
        enable_pre_vote: Some(true),
        // A leader that was away must be elected anew: its clock was not compared yet.
        enable_leader_restore: Some(false),
        ..openraft::Config::default()
    }
    .validate()
    .map_err(|error| Error::Storage(error.to_string()))
}

/// How long something may take that has no better limit.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
