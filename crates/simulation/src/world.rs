//! The world: six hosts in two centres, their disks and clocks, and what happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use consensus::Node;
use consensus::clock::Clock;
use consensus::node::Config;
use consensus::service::Service;
use consensus::simulated::{dice, files};
use consensus::versions::Versions;
use domain::calendar::Calendar;
use domain::cluster::{self, Centre, Founding, KeyPin, Operator};
use domain::policy::Policy;
use domain::{CentreName, ClusterId, NodeId, OperatorId, State, UnixMs};

use crate::client::{self, Record};
use crate::net;
use crate::trace::Trace;

/// When every simulation begins.
const EPOCH_MS: u64 = 1_800_000_000_000;
/// The nodes of the primary, and of the secondary.
pub(crate) const EAST: [u64; 3] = [1, 2, 3];
pub(crate) const WEST: [u64; 3] = [4, 5, 6];
/// How long messages travel at most, inside a centre and between the two.
const INSIDE_MS_MAX: u64 = 4;
const BETWEEN_MS_MAX: u64 = 15;
/// Bytes in flight on a connection, in segments.
const TCP_CAPACITY: usize = 65_536;

pub(crate) fn all() -> impl Iterator<Item = u64> {
    EAST.into_iter().chain(WEST)
}

pub(crate) fn host(id: u64) -> String {
    format!("node{id}")
}

fn data(id: u64) -> PathBuf {
    PathBuf::from(format!("/{}", host(id)))
}

/// What the hosts and the one who watches them share.
pub(crate) struct Shared {
    founding: Founding,
    now_ms: Arc<AtomicU64>,
    offsets_ms: BTreeMap<u64, Arc<AtomicI64>>,
    running: Mutex<BTreeMap<u64, Node>>,
    /// Nodes whose process ended by itself, and why.
    ended: Mutex<BTreeMap<u64, String>>,
    record: Mutex<Record>,
    trace: Mutex<Trace>,
    quiet: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    pub(crate) fn trace(&self) -> MutexGuard<'_, Trace> {
        lock(&self.trace)
    }

    pub(crate) fn note(&self, what: &str) {
        self.trace().note(self.now_ms(), what);
    }

    /// Milliseconds since the simulation began.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// Whether clients ask for nothing more.
    pub(crate) fn quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// The nodes that run.
    pub(crate) fn nodes(&self) -> BTreeMap<u64, Node> {
        lock(&self.running).clone()
    }

    pub(crate) fn ended(&self) -> BTreeMap<u64, String> {
        lock(&self.ended).clone()
    }
}

struct HostClock {
    now_ms: Arc<AtomicU64>,
    offset_ms: Arc<AtomicI64>,
}

impl Clock for HostClock {
    fn now(&self) -> UnixMs {
        let now = EPOCH_MS + self.now_ms.load(Ordering::Relaxed);
        UnixMs(now.saturating_add_signed(self.offset_ms.load(Ordering::Relaxed)))
    }
}

/// The world, which moves by `step`.
pub(crate) struct World {
    sim: turmoil::Sim<'static>,
    pub(crate) shared: Arc<Shared>,
    down: BTreeSet<u64>,
    faulty: BTreeSet<u64>,
}

fn founding() -> Option<Founding> {
    let centre = |name: &str, nodes: [u64; 3]| {
        let node = |id| cluster::Node {
            id: NodeId(id),
            address: format!("{}:{}", host(id), net::PORT),
        };
        Some(Centre {
            name: CentreName::parse(name).ok()?,
            nodes: nodes.into_iter().map(node).collect(),
        })
    };
    let operator = |name: &str, key| {
        Some(Operator {
            id: OperatorId::parse(name).ok()?,
            key: KeyPin([key; 32]),
        })
    };
    Some(Founding {
        cluster: ClusterId([7; 16]),
        title: "simulation".to_owned(),
        primary: centre("east", EAST)?,
        secondary: Some(centre("west", WEST)?),
        operators: vec![operator("op1", 1)?, operator("op2", 2)?],
        front_ends: Vec::new(),
        back_ends: Vec::new(),
        policy: Policy::default(),
        calendar: Calendar::default(),
        simulated_clock: false,
        clock_offset_ms: 0,
        keys: Vec::new(),
        restored: None,
    })
}

impl World {
    /// Six hosts, all of them starting.
    pub(crate) fn new(seed: u64, trace: Trace) -> Option<Self> {
        dice::seed(seed);
        let mut builder = turmoil::Builder::new();
        builder
            .rng_seed(seed)
            .epoch(SystemTime::UNIX_EPOCH + Duration::from_millis(EPOCH_MS))
            .simulation_duration(Duration::from_secs(86_400))
            .tick_duration(Duration::from_millis(1))
            .min_message_latency(Duration::from_millis(0))
            .max_message_latency(Duration::from_millis(INSIDE_MS_MAX))
            .tcp_capacity(TCP_CAPACITY)
            // A port that a connection was refused from is never free again.
            .ephemeral_ports(10_000..=65_535)
            .enable_random_order();
        let shared = Arc::new(Shared {
            founding: founding()?,
            now_ms: Arc::default(),
            offsets_ms: all().map(|id| (id, Arc::default())).collect(),
            running: Mutex::default(),
            ended: Mutex::default(),
            record: Mutex::default(),
            trace: Mutex::new(trace),
            quiet: AtomicBool::new(true),
        });
        let mut world = Self {
            sim: builder.build(),
            shared,
            down: BTreeSet::new(),
            faulty: BTreeSet::new(),
        };
        for id in all() {
            let shared = Arc::clone(&world.shared);
            world
                .sim
                .host(host(id), move || serve(id, Arc::clone(&shared)));
        }
        for (east, west) in pairs(&EAST, &WEST) {
            let most = Duration::from_millis(BETWEEN_MS_MAX);
            world
                .sim
                .set_link_max_message_latency(host(east), host(west), most);
        }
        Some(world)
    }

    /// One millisecond passes.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        self.sim.step().map_err(|error| error.to_string())?;
        self.shared.now_ms.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn up(&self) -> Vec<u64> {
        all().filter(|id| !self.down.contains(id)).collect()
    }

    pub(crate) fn down(&self) -> Vec<u64> {
        self.down.iter().copied().collect()
    }

    /// The process of a node is gone from one moment to the next; with `power`, what was not synced
    /// is lost too, and its peers hear nothing of it.
    pub(crate) fn crash(&mut self, id: u64, power: bool) {
        if !self.down.insert(id) {
            return;
        }
        self.shared
            .note(&format!("node {id} crashes, power cut: {power}"));
        lock(&self.shared.running).remove(&id);
        lock(&self.shared.ended).remove(&id);
        files::turn_off(&data(id));
        if power {
            for other in all().filter(|other| *other != id) {
                self.sim.partition(host(id), host(other));
            }
        }
        self.sim.crash(host(id));
        if power {
            files::cut_power(&data(id));
        }
    }

    /// A node that is down starts again, its disk whole.
    pub(crate) fn boot(&mut self, id: u64) {
        if !self.down.remove(&id) {
            return;
        }
        self.shared.note(&format!("node {id} starts"));
        self.set_fault(id, None);
        files::turn_on(&data(id));
        for other in all().filter(|other| *other != id) {
            self.sim.repair(host(id), host(other));
        }
        self.sim.bounce(host(id));
    }

    /// Something is wrong with the disk of a node, or nothing any more.
    pub(crate) fn set_fault(&mut self, id: u64, fault: Option<files::Fault>) {
        if fault.is_some() || self.faulty.contains(&id) {
            self.shared.note(&format!("disk of node {id}: {fault:?}"));
        }
        match fault {
            Some(_) => self.faulty.insert(id),
            None => self.faulty.remove(&id),
        };
        files::set_fault(&data(id), fault);
    }

    /// Whether the node's disk has a fault now.
    pub(crate) fn is_faulty(&self, id: u64) -> bool {
        self.faulty.contains(&id)
    }

    /// The clock of a node goes wrong, or right again.
    pub(crate) fn set_offset(&self, id: u64, offset_ms: i64) {
        self.shared
            .note(&format!("clock of node {id}: {offset_ms} ms"));
        if let Some(offset) = self.shared.offsets_ms.get(&id) {
            offset.store(offset_ms, Ordering::Relaxed);
        }
    }

    /// Nothing gets from the one nodes to the others, nor back if `both`.
    pub(crate) fn part(&self, from: &[u64], to: &[u64], both: bool) {
        self.shared
            .note(&format!("cut {from:?} to {to:?}, both ways: {both}"));
        for (one, other) in pairs(from, to) {
            if both {
                self.sim.partition(host(one), host(other));
            } else {
                self.sim.partition_oneway(host(one), host(other));
            }
        }
    }

    /// All links are whole, but those of nodes without power.
    pub(crate) fn mend(&self) {
        self.shared.note("all links are whole");
        let up = self.up();
        for (one, other) in pairs(&up, &up) {
            if one < other {
                self.sim.repair(host(one), host(other));
            }
        }
    }

    /// Clients begin to ask, or ask for nothing more.
    pub(crate) fn set_quiet(&self, quiet: bool) {
        self.shared.note(&format!("clients are quiet: {quiet}"));
        self.shared.quiet.store(quiet, Ordering::Relaxed);
    }
}

fn pairs(from: &[u64], to: &[u64]) -> Vec<(u64, u64)> {
    let pairs = from
        .iter()
        .flat_map(|one| to.iter().map(|other| (*one, *other)));
    pairs.collect()
}

/// A node's process: from its disk to the end.
async fn serve(id: u64, shared: Arc<Shared>) -> turmoil::Result {
    let why = match whole(id, &shared).await {
        Ok(why) | Err(why) => why,
    };
    shared.note(&format!("node {id} ends: {why}"));
    lock(&shared.running).remove(&id);
    lock(&shared.ended).insert(id, why);
    Ok(())
}

async fn whole(id: u64, shared: &Arc<Shared>) -> Result<String, String> {
    let incoming = net::listen().await.map_err(|error| error.to_string())?;
    let now_ms = Arc::clone(&shared.now_ms);
    let offset_ms = shared.offsets_ms.get(&id).cloned().unwrap_or_default();
    let config = Config {
        data: data(id),
        node: NodeId(id),
        others: Vec::new(),
        founding: shared.founding.clone(),
        base: State::unfounded(),
        dialer: net::dialer(),
        base_clock: Arc::new(HostClock { now_ms, offset_ms }),
        mails_notices: false,
        versions: Versions::default(),
        // Nothing here needs an approval.
        judge: Arc::new(|_, _| Ok(())),
    };
    let node = Node::open(config)
        .await
        .map_err(|error| error.to_string())?;
    lock(&shared.running).insert(id, node.clone());
    shared.note(&format!("node {id} runs"));
    for _ in 0..client::EACH {
        tokio::spawn(client::run(id, node.clone(), Arc::clone(shared)));
    }
    tokio::spawn(compact(node.clone()));
    let served = tonic::transport::Server::builder()
        .add_service(Service::server(node.clone()))
        .serve_with_incoming(incoming);
    let main = node.main();
    tokio::select! {
        served = served => Err(format!("{served:?}")),
        failed = main.failed() => Ok(failed.to_string()),
    }
}

/// Now and then, a snapshot is built and the log before it purged.
async fn compact(node: Node) {
    loop {
        tokio::time::sleep(Duration::from_millis(dice::between(2_000, 15_000))).await;
        let main = node.main();
        // Refused where the line has stopped.
        let _stopped = main.trigger_snapshot().await;
        tokio::time::sleep(Duration::from_millis(dice::between(50, 500))).await;
        if let Some(upto) = main.snapshot_index().filter(|_| dice::once_in(2)) {
            let _stopped = main
                .trigger_purge(upto.saturating_sub(dice::below(50)))
                .await;
        }
    }
}
