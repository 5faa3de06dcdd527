//! A node: its data folder, its peers, its clock, the main line, and at most one branch.
//!
//! Deliberately absent: when a branch starts and ends. That is the plan in the main line's state;
//! who follows it uses the primitives in `branch`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use domain::centre::Centres;
use domain::cluster::Founding;
use domain::state::State;
use domain::{ClusterId, Digest, LineId, LineRef, LogId, NodeId, SessionId, UnixMs};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use crate::audit::Trails;
use crate::boundary;
use crate::clock::{Clock, NodeClock};
use crate::clockwatch::{self, ClockVerdict, Heard, LastGood};
use crate::facts;
use crate::follow::{self, Copied};
use crate::line::{self, Line};
use crate::machine::{self, Machine};
use crate::mailed::Mailed;
use crate::peers::{BadAddress, Dialer, Peer, Peers};
use crate::promotion::{self, Judge, Promotion};
use crate::seen::Seen;
use crate::store::Log;
use crate::store::{self, Disk};
use crate::unplanned::{self, Unplanned};
use crate::versions::Versions;
use crate::{base, duties, identity, image, join, place, standing};

/// The epoch that a cluster is founded with.
pub const FIRST_EPOCH: u64 = 1;

/// What a node is opened with.
#[derive(Clone)]
pub struct Config {
    /// The node's data folder.
    pub data: PathBuf,
    /// This node's place: what its configuration and its certificate name.
    pub node: NodeId,
    /// Where nodes are that came after the founding, for one that joins.
    pub others: Vec<Peer>,
    /// The record that the cluster is founded from, the same on all nodes.
    pub founding: Founding,
    /// The state before the first entry of the main line: an unfounded one, or what the cluster was
    /// restored from (`base::read`).
    pub base: State,
    /// How peers are connected to.
    pub dialer: Dialer,
    /// The machine's clock, without a simulated offset.
    pub base_clock: Arc<dyn Clock>,
    /// Who checks the signatures of certificates.
    pub judge: Judge,
    /// Whether somebody mails notices here, and says when a branch's have left (`note_mailed`).
    /// Where nobody does, no branch is kept for them.
    pub mails_notices: bool,
    /// What this node's program understands.
    pub versions: Versions,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("data", &self.data)
            .field("node", &self.node)
            .field("dialer", &self.dialer)
            .finish_non_exhaustive()
    }
}

/// Why a node cannot start, or cannot do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is no place for a node.
    #[error("{0} is no node's number: check the node's configuration")]
    NoPlace(NodeId),
    /// No cluster can be founded from the founding record.
    #[error("the founding record cannot be used: {0}")]
    Founding(String),
    /// The data folder is another node's or cluster's.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// The store is damaged, or in use.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A snapshot or genesis is damaged, or another one.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// A line's state, snapshots or audit trail are damaged.
    #[error(transparent)]
    Machine(#[from] machine::Error),
    /// A peer's address is none.
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// A line.
    #[error(transparent)]
    Line(#[from] line::Error),
    /// A promise or a certificate cannot be taken.
    #[error("{0}")]
    Promotion(String),
    /// A branch cannot be started, fetched or summed up.
    #[error("{0}")]
    Branch(String),
    /// The file system.
    #[error(transparent)]
    File(#[from] std::io::Error),
}

/// The state at a boundary, as this node applied it: an O(1) clone.
#[derive(Debug, Clone)]
pub(crate) struct Fork {
    /// The boundary.
    pub(crate) at: LogId,
    /// The state right after it.
    pub(crate) state: State,
    /// Its full digest.
    pub(crate) digest: Digest,
}

/// A node. Clones are handles of the same node.
#[derive(Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    id: NodeId,
    pub(crate) another_life: watch::Sender<Option<NodeId>>,
    founding: Founding,
    peers: Peers,
    clock: NodeClock,
    last_good: LastGood,
    heard: Heard,
    verdict: watch::Receiver<ClockVerdict>,
    main: watch::Sender<Line>,
    boundaries: boundary::Sender,
    pub(crate) promotion: Promotion,
    pub(crate) unplanned: Unplanned,
    pub(crate) seen: Seen,
    versions: Versions,
    pub(crate) disk: Disk,
    pub(crate) trails: Trails,
    pub(crate) branch: RwLock<Option<Line>>,
    /// Held while a branch is started or dropped.
    pub(crate) branch_change: tokio::sync::Mutex<()>,
    /// The states at boundaries that this node has applied since it started.
    pub(crate) forks: Mutex<BTreeMap<SessionId, Fork>>,
    /// The genesis files found whole on this node.
    pub(crate) geneses: Mutex<BTreeMap<SessionId, Digest>>,
    pub(crate) builders: Arc<Semaphore>,
    copied: Copied,
    pub(crate) mailed: Mailed,
    pub(crate) facts: facts::Noted,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.inner.id)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Opens the data folder and starts the main line. Elections begin once the node's clock was
    /// compared with its peers'; for that, the peer service must be served.
    ///
    /// # Errors
    /// When the folder is in use, damaged, or another node's.
    pub async fn open(config: Config) -> Result<Self, Error> {
        // On the heap: what opens a node holds states across many awaits.
        Box::pin(Self::open_whole(config)).await
    }

    async fn open_whole(config: Config) -> Result<Self, Error> {
        let founding = config.founding;
        if config.node.place() != config.node || config.node == NodeId(0) {
            return Err(Error::NoPlace(config.node));
        }
        let problems = founding.problems();
        if !problems.is_empty() {
            return Err(Error::Founding(problems.join("; ")));
        }
        base::check(&founding, &config.base).map_err(Error::Founding)?;
        let (id, directory) = join::settle(
            &config.data,
            config.node,
            &founding,
            &config.dialer,
            &config.versions,
            config.others,
        )
        .await?;
        let peers = Peers::new(
            founding.cluster,
            id,
            config.dialer,
            &config.versions,
            directory,
        )?;
        let (disk, reference) = open_disk(config.data.clone(), founding.cluster, id).await?;
        let standing = standing::read(&config.data)?;
        let stands_still = standing.stops(reference.epoch);
        let unplanned = unplanned::read(&config.data)?;
        let seen = Seen::read(&config.data)?;
        let trails = Trails::new(&config.data);
        let clock = NodeClock::new(config.base_clock, founding.clock_offset_ms);
        let last_good = LastGood::none_yet(Arc::clone(clock.base()));
        let (sender, verdict) = watch::channel(ClockVerdict::Unknown);
        let base = promotion::base(&config.data, &reference, config.base).await?;
        let builders = Arc::new(Semaphore::new(1));
        let (boundaries, passed) = boundary::channel();
        let (log, machine) = open_main(&disk, &trails, &boundaries, &reference, base).await?;
        let machine = machine.knowing(config.versions.rules);
        clock.follow(machine.shared());
        let named = promotion::named(&machine.shared().state(), &standing, reference.epoch);
        let start = line::Start {
            reference,
            peers: peers.clone(),
            clock: Arc::new(clock.clone()),
            clock_is_ok: false,
            last_good: last_good.clone(),
            log,
            machine,
            builders: Arc::clone(&builders),
        };
        let main = Line::start_as(start, named).await?;
        if stands_still {
            // Nobody was heard yet: what was promised is kept from the first moment.
            main.stop().await;
        }
        let heard = Heard::default();
        let node = Self {
            inner: Arc::new(Inner {
                id,
                another_life: watch::Sender::new(None),
                founding,
                peers: peers.clone(),
                clock,
                last_good: last_good.clone(),
                heard: heard.clone(),
                verdict: verdict.clone(),
                main: watch::Sender::new(main),
                boundaries,
                promotion: Promotion::new(standing, config.judge),
                unplanned,
                seen,
                versions: config.versions,
                disk,
                trails,
                branch: RwLock::new(None),
                branch_change: tokio::sync::Mutex::new(()),
                forks: Mutex::default(),
                geneses: Mutex::default(),
                builders,
                copied: Copied::default(),
                mailed: Mailed::new(config.mails_notices),
                facts: facts::Noted::default(),
                tasks: Mutex::default(),
            }),
        };
        let promised = node.inner.promotion.promised();
        let watched = clockwatch::watch(peers, last_good, heard, promised, sender);
        node.keep(tokio::spawn(watched).abort_handle());
        node.keep(tokio::spawn(duties::follow_clock(node.clone(), verdict)).abort_handle());
        node.keep(tokio::spawn(duties::see_to_main(node.clone())).abort_handle());
        node.keep(tokio::spawn(duties::see_to_place(node.clone())).abort_handle());
        node.keep(tokio::spawn(boundary::keep(node.clone(), passed)).abort_handle());
        node.keep(tokio::spawn(follow::follow(node.clone())).abort_handle());
        node.keep(tokio::spawn(promotion::follow(node.clone())).abort_handle());
        Ok(node)
    }

    fn keep(&self, task: AbortHandle) {
        self.inner
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(task);
    }

    /// Asks every other node how it is, now; gives those that answered.
    pub async fn hear(&self) -> BTreeSet<NodeId> {
        let base = self.inner.clock.base().as_ref();
        let answered = clockwatch::poll(self.peers(), base, self.heard()).await;
        answered.into_keys().collect()
    }

    /// Hands over what this node leads, before a planned stop.
    pub async fn leave(&self) {
        for line in std::iter::once(self.main()).chain(self.branch()) {
            line.leave().await;
        }
    }

    /// Stops the lines and all that the node does. What is on its disk stays.
    pub async fn stop(&self) {
        let tasks = std::mem::take(
            &mut *self
                .inner
                .tasks
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for task in tasks {
            task.abort();
        }
        let _none_begins = self.inner.promotion.change().await;
        self.main().stop().await;
        let _none_starts = self.inner.branch_change.lock().await;
        if let Some(branch) = self.branch() {
            branch.stop().await;
        }
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.inner.id
    }

    /// What this node's program understands.
    #[must_use]
    pub fn versions(&self) -> &Versions {
        &self.inner.versions
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.inner.founding.cluster
    }

    /// The record that the cluster is founded from.
    #[must_use]
    pub fn founding(&self) -> &Founding {
        &self.inner.founding
    }

    /// The centres as they are now; before the cluster is founded, as it will be.
    #[must_use]
    pub fn centres(&self) -> Centres {
        let state = self.main().state();
        let centres = state.centres().cloned();
        centres.unwrap_or_else(|| Centres::founded(&self.inner.founding))
    }

    /// The centre that this node belongs to; none once it is gone from both.
    #[must_use]
    pub fn centre(&self) -> Option<domain::cluster::Centre> {
        self.centres().of_node(self.inner.id).cloned()
    }

    /// Resolves once the main line has another id for this node's place, and what is on its disk is
    /// given up: the node must be opened again.
    pub async fn another_life(&self) -> NodeId {
        let mut life = self.inner.another_life.subscribe();
        loop {
            if let Some(id) = *life.borrow_and_update() {
                return id;
            }
            // The sender lives as long as this handle does.
            let _closed = life.changed().await;
        }
    }

    /// The node's data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.inner.disk.data()
    }

    /// How many times the log was synced since the node was opened.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.inner.disk.syncs()
    }

    /// The directory of nodes.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.inner.peers
    }

    /// What the other nodes last said of themselves.
    #[must_use]
    pub fn heard(&self) -> &Heard {
        &self.inner.heard
    }

    /// What comparing clocks found last.
    #[must_use]
    pub fn clock_verdict(&self) -> ClockVerdict {
        *self.inner.verdict.borrow()
    }

    /// What shows that this node's clock has stepped since it was last found good.
    pub(crate) fn last_good(&self) -> LastGood {
        self.inner.last_good.clone()
    }

    /// The verdict on this node's clock, as it changes.
    #[must_use]
    pub fn watch_clock(&self) -> watch::Receiver<ClockVerdict> {
        self.inner.verdict.clone()
    }

    /// The clock that stamps this node's proposals, a simulated offset included.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.inner.clock.clone())
    }

    /// The time by `clock`.
    #[must_use]
    pub fn time(&self) -> UnixMs {
        self.inner.clock.now()
    }

    /// The machine's own time.
    #[must_use]
    pub fn base_time(&self) -> UnixMs {
        self.inner.clock.base().now()
    }

    /// The main line.
    #[must_use]
    pub fn main(&self) -> Line {
        self.inner.main.borrow().clone()
    }

    /// Resolves once another main line runs here than this one.
    pub async fn another_main(&self, than: &Line) {
        let mut main = self.inner.main.subscribe();
        // The sender lives as long as this handle does.
        let _closed = main.wait_for(|main| !main.is(than)).await;
    }

    /// Opens the main line of this reference on the state that it begins with, and puts it in the
    /// place of the former one, which must have stopped.
    pub(crate) async fn replace_main(&self, reference: LineRef, base: State) -> Result<(), Error> {
        let inner = &self.inner;
        let opened = open_main(
            &inner.disk,
            &inner.trails,
            &inner.boundaries,
            &reference,
            base,
        );
        let (log, machine) = opened.await?;
        let machine = machine.knowing(inner.versions.rules);
        let shared = machine.shared();
        let named = promotion::named(&shared.state(), &self.standing(), reference.epoch);
        let start = line::Start {
            reference,
            peers: inner.peers.clone(),
            clock: self.clock(),
            clock_is_ok: self.clock_verdict().is_good(),
            last_good: self.last_good(),
            log,
            machine,
            builders: Arc::clone(&inner.builders),
        };
        let line = Line::start_as(start, named).await?;
        inner.clock.follow(shared);
        inner.main.send_replace(line);
        Ok(())
    }

    /// The branch, if one runs here.
    #[must_use]
    pub fn branch(&self) -> Option<Line> {
        self.inner
            .branch
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What this node has copied of closed branches.
    pub(crate) fn copied(&self) -> &Copied {
        &self.inner.copied
    }

    /// The line of this reference, if it runs here.
    ///
    /// # Errors
    /// `WrongLine`, saying which was meant and which is here.
    pub fn line(&self, named: &LineRef) -> Result<Line, line::Error> {
        let wrong = |detail: String| line::Error::WrongLine { detail };
        let mine = self.main().reference();
        if named.cluster != mine.cluster {
            return Err(wrong(format!(
                "the message is of cluster {}, this node belongs to {}",
                named.cluster, mine.cluster
            )));
        }
        match &named.line {
            LineId::Main if named.epoch != mine.epoch => Err(wrong(format!(
                "the message is of epoch {}, this node is in epoch {}",
                named.epoch, mine.epoch
            ))),
            LineId::Main => Ok(self.main()),
            // A branch keeps the epoch of its boundary, whatever becomes of the main line.
            LineId::Branch { .. } => match self.branch() {
                Some(branch) if branch.reference() == *named => Ok(branch),
                Some(branch) => Err(wrong(format!(
                    "the message is of {} in epoch {}, here runs {} in epoch {}",
                    named.line,
                    named.epoch,
                    branch.reference().line,
                    branch.reference().epoch
                ))),
                None => Err(wrong(format!("{} does not run here", named.line))),
            },
        }
    }
}

/// Opens the log, the audit trail and the state machine of a main line.
async fn open_main(
    disk: &Disk,
    trails: &Trails,
    boundaries: &boundary::Sender,
    reference: &LineRef,
    base: State,
) -> Result<(Log, Machine), Error> {
    let (disk, trails, reference) = (disk.clone(), trails.clone(), reference.clone());
    let line = Arc::new(OnceLock::new());
    let hook = boundary::hook(boundaries.clone(), Arc::clone(&line));
    blocking(move || {
        let log = disk.log(&reference)?;
        let trail = trails.of(&reference).map_err(machine::Error::from)?;
        let machine = Machine::open(log.clone(), trail, base, hook)?;
        line.get_or_init(|| machine.shared());
        Ok((log, machine))
    })
    .await
}

/// Runs something that blocks, off the threads that must not.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Error> + Send + 'static,
{
    crate::blocking::run(work).await?
}

async fn open_disk(
    data: PathBuf,
    cluster: ClusterId,
    node: NodeId,
) -> Result<(Disk, LineRef), Error> {
    blocking(move || {
        place::create_folder(&data)?;
        // Opening takes the folder's lock; nothing in it is believed before its owner is known.
        let disk = Disk::open(&data)?;
        identity::claim(&data, cluster, node)?;
        let epoch = disk
            .lines()?
            .into_iter()
            .filter(|line| line.line == LineId::Main && line.cluster == cluster)
            .map(|line| line.epoch)
            .max();
        let reference = LineRef {
            cluster,
            line: LineId::Main,
            epoch: epoch.unwrap_or(FIRST_EPOCH),
        };
        Ok((disk, reference))
    })
    .await
}
