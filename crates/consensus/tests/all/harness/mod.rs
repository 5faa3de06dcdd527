//! Nodes of a cluster in one process: real disks in temporary folders, real sockets on loopback.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, and uses what it needs"
)]

pub mod drill;
pub mod hindrance;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use consensus::clock::OffsetClock;
use consensus::node::{Config, Error};
use consensus::peers::Dialer;
use consensus::service::Service;
use consensus::versions::Versions;
use consensus::{Line, Node, Proposal};
use domain::account::{self, Imported, import};
use domain::approval::{Act, Approval, LIFE_MS_MAX, Signed};
use domain::calendar::Calendar;
use domain::cluster::{self, Centre, Founding, KeyPin, Operator};
use domain::participant::Participant;
use domain::policy::Policy;
use domain::{
    Actor, CentreName, ClusterId, Command, LogId, NodeId, OperatorId, ParticipantId, State,
};
use hindrance::{Hindered, Hindrance, Hindrances};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, Server, ServerTlsConfig};

/// No step of these tests takes longer on any machine that can run them.
static WAIT_MS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(40_000);

pub struct Cluster {
    /// What the main line begins with.
    pub base: domain::State,
    pub founding: Founding,
    folders: BTreeMap<u64, TempDir>,
    addresses: BTreeMap<u64, String>,
    pub clocks: BTreeMap<u64, OffsetClock>,
    pub running: BTreeMap<u64, Running>,
    /// What is in the way of other nodes, by node.
    pub hindrances: BTreeMap<u64, Hindrances>,
    /// None in plaintext.
    pub certificates: Option<Certificates>,
    /// What the nodes' programs understand, where it is not what this one does.
    pub versions: BTreeMap<u64, Versions>,
}

/// A CA and a certificate for each node.
pub struct Certificates {
    ca: String,
    nodes: BTreeMap<u64, (String, String)>,
}

pub fn name_of(node: NodeId) -> String {
    format!("node-{node}")
}

impl Certificates {
    pub fn new(names: impl Fn(u64) -> String) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let node = |id| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![names(id)]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            (id, (certificate.pem(), key.serialize_pem()))
        };
        Self {
            ca,
            nodes: (1..=6).map(node).collect(),
        }
    }

    fn identity(&self, id: u64) -> Identity {
        let (certificate, key) = &self.nodes[&id];
        Identity::from_pem(certificate, key)
    }

    pub fn dialer(&self, id: u64) -> Dialer {
        let config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca))
            .identity(self.identity(id));
        Dialer::tls(config, name_of)
    }

    fn server(&self, id: u64) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.identity(id))
            .client_ca_root(Certificate::from_pem(&self.ca))
    }
}

pub struct Running {
    pub node: Node,
    shutdown: oneshot::Sender<()>,
    served: JoinHandle<()>,
    gone: Arc<AtomicBool>,
}

/// Runs a scenario with a fault planted, and says whether the scenario failed. Waits are short:
/// what the fault prevents does not come.
#[cfg(feature = "planted-faults")]
pub fn is_seen<F: Future<Output = ()>>(
    fault: domain::planted::Fault,
    scenario: impl FnOnce() -> F + std::panic::UnwindSafe,
) -> bool {
    domain::planted::plant(Some(fault));
    WAIT_MS.store(8_000, std::sync::atomic::Ordering::SeqCst);
    std::panic::catch_unwind(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(scenario());
    })
    .is_err()
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Duration::from_millis(WAIT_MS.load(std::sync::atomic::Ordering::SeqCst));
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let waited = tokio::time::timeout(deadline, async {
        while !holds().await {
            look.tick().await;
        }
    });
    assert!(waited.await.is_ok(), "not in time: {what}");
}

/// A port on a loopback address of this process's own, so that it is nobody else's while a node is
/// stopped.
async fn free_address() -> String {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 64 + high % 128, middle, low);
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn centre(name: &str, nodes: impl Iterator<Item = u64>) -> Centre {
    let mut centre = Centre {
        name: CentreName::parse(name).unwrap(),
        nodes: Vec::new(),
    };
    for id in nodes {
        centre.nodes.push(cluster::Node {
            id: NodeId(id),
            address: free_address().await,
        });
    }
    centre
}

impl Cluster {
    /// Three nodes in each of two centres, none of them running.
    pub async fn six() -> Self {
        Self::of(3, 3).await
    }

    /// So many nodes in each centre, none of them running; with none in the west it is not there.
    pub async fn of(east: u64, west: u64) -> Self {
        let all = east + west;
        let secondary = match west {
            0 => None,
            _ => Some(centre("west", east + 1..=all).await),
        };
        let founding = Founding {
            cluster: ClusterId([7; 16]),
            title: "test".to_owned(),
            primary: centre("east", 1..=east).await,
            secondary,
            operators: [("op1", 1), ("op2", 2)]
                .map(|(name, key)| Operator {
                    id: OperatorId::parse(name).unwrap(),
                    key: KeyPin([key; 32]),
                })
                .to_vec(),
            front_ends: Vec::new(),
            back_ends: Vec::new(),
            policy: Policy::default(),
            calendar: Calendar::default(),
            simulated_clock: false,
            clock_offset_ms: 0,
            keys: Vec::new(),
            restored: None,
        };
        Self {
            founding,
            addresses: BTreeMap::new(),
            folders: (1..=all)
                .map(|id| (id, tempfile::tempdir().unwrap()))
                .collect(),
            clocks: (1..=all).map(|id| (id, OffsetClock::default())).collect(),
            running: BTreeMap::new(),
            hindrances: (1..=all).map(|id| (id, Hindrances::default())).collect(),
            certificates: None,
            base: domain::State::unfounded(),
            versions: BTreeMap::new(),
        }
    }

    pub async fn six_running() -> Self {
        let mut cluster = Self::six().await;
        for id in 1..=6 {
            cluster.start(id).await;
        }
        cluster.founded().await;
        cluster
    }

    pub fn config(&self, id: u64) -> Config {
        Config {
            data: self.folders[&id].path().to_owned(),
            node: NodeId(id),
            others: Vec::new(),
            founding: self.founding.clone(),
            base: self.base.clone(),
            dialer: self
                .certificates
                .as_ref()
                .map_or_else(Dialer::plaintext, |certificates| certificates.dialer(id)),
            base_clock: Arc::new(self.clocks[&id].clone()),
            mails_notices: false,
            versions: self.versions.get(&id).cloned().unwrap_or_default(),
            // These approvals have no signatures.
            judge: Arc::new(|_, _| Ok(())),
        }
    }

    /// A machine that came after the founding; gives its address.
    pub async fn machine(&mut self, id: u64) -> String {
        let address = free_address().await;
        self.addresses.insert(id, address.clone());
        self.folders.insert(id, tempfile::tempdir().unwrap());
        self.clocks.insert(id, OffsetClock::default());
        self.hindrances.insert(id, Hindrances::default());
        address
    }

    /// The disk of a machine whose node is stopped is lost.
    pub fn lose_disk(&mut self, id: u64) {
        self.folders.insert(id, tempfile::tempdir().unwrap());
    }

    pub fn data(&self, id: u64) -> &std::path::Path {
        self.folders[&id].path()
    }

    /// Waits until a node has given its disk up, and starts it again.
    pub async fn comes_back(&mut self, id: u64) {
        let life = self.node(id).another_life();
        tokio::time::timeout(Duration::from_secs(30), life)
            .await
            .expect("the node hears of its other life");
        self.stop(id).await;
        self.start(id).await;
    }

    fn address(&self, id: u64) -> String {
        if let Some(address) = self.addresses.get(&id) {
            return address.clone();
        }
        let centre = self.founding.centre_of(NodeId(id)).unwrap();
        let node = centre.nodes.iter().find(|node| node.id == NodeId(id));
        node.unwrap().address.clone()
    }

    pub async fn start(&mut self, id: u64) {
        let mut listener = None;
        // Some connection of another test may have the port for a moment.
        until("the address is free", async || {
            listener = TcpListener::bind(self.address(id)).await.ok();
            listener.is_some()
        })
        .await;
        let listener = listener.unwrap();
        let mut opened = None;
        // A node that was stopped a moment ago may still hold its folder.
        until("the data folder is free", async || {
            match Node::open(self.config(id)).await {
                Ok(node) => opened = Some(node),
                Err(Error::Store(consensus::store::Error::InUse { .. })) => {}
                Err(error) => panic!("node {id}: {error}"),
            }
            opened.is_some()
        })
        .await;
        let node = opened.unwrap();
        let (shutdown, stopped) = oneshot::channel();
        let gone = Arc::new(AtomicBool::new(false));
        let service = Hindered {
            service: Service::server(node.clone()),
            hindrances: Arc::clone(&self.hindrances[&id]),
            gone: Arc::clone(&gone),
        };
        let mut server = Server::builder();
        if let Some(certificates) = &self.certificates {
            server = server.tls_config(certificates.server(id)).unwrap();
        }
        let served = tokio::spawn(async move {
            server
                .add_service(service)
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                    let _gone = stopped.await;
                })
                .await
                .unwrap();
        });
        self.running.insert(
            id,
            Running {
                node,
                shutdown,
                served,
                gone,
            },
        );
    }

    pub async fn stop(&mut self, id: u64) {
        let running = self.running.remove(&id).unwrap();
        running.node.stop().await;
        running.gone.store(true, Ordering::SeqCst);
        let _gone = running.shutdown.send(());
        running.served.abort();
        // With it, the listener and its port are free.
        let _ended = running.served.await;
    }

    /// Listens where a node that is stopped did.
    pub async fn listen_instead(&self, id: u64) -> TcpListener {
        TcpListener::bind(self.address(id)).await.unwrap()
    }

    pub fn node(&self, id: u64) -> &Node {
        &self.running[&id].node
    }

    pub fn main(&self, id: u64) -> Line {
        self.node(id).main()
    }

    pub async fn founded(&self) {
        until("the cluster is founded on all nodes", async || {
            self.running
                .values()
                .all(|running| running.node.main().state().founding().is_some())
        })
        .await;
        until("all learners are members", async || {
            let Some(leader) = self.leader() else {
                return false;
            };
            let secondary = self.founding.secondary.as_ref();
            let learners = secondary.map_or(0, |centre| centre.nodes.len());
            self.main(leader).membership().learners.len() == learners
        })
        .await;
    }

    /// Lets a method of a node's peer service fail, or never answer.
    pub fn hinder(&self, id: u64, method: &'static str, hindrance: Hindrance) {
        let mut hindrances = self.hindrances[&id].lock().unwrap();
        hindrances.insert(method, hindrance);
    }

    /// Lets nothing be in the way at a node any more.
    pub fn clear(&self, id: u64) {
        self.hindrances[&id].lock().unwrap().clear();
    }

    /// The node that leads the main line, by its own account.
    pub fn leader(&self) -> Option<u64> {
        let mut leaders = self
            .running
            .iter()
            .filter(|(_, running)| running.node.main().is_leader());
        leaders.next().map(|(id, _)| *id)
    }

    pub async fn wait_leader(&self) -> u64 {
        until("somebody leads", async || self.leader().is_some()).await;
        self.leader().unwrap()
    }

    /// Waits until all running nodes have applied what was committed so far, and compares.
    pub async fn agree(&self) -> LogId {
        let mut latest = None;
        for running in self.running.values() {
            latest = latest.max(Some(running.node.main().read_index().await.unwrap()));
        }
        let at = latest.unwrap();
        let mut digests = BTreeSet::new();
        for running in self.running.values() {
            let main = running.node.main();
            until("the node has applied the entry", async || {
                *main.applied().borrow() >= Some(at)
            })
            .await;
            if let Some(found) = main.digests_at(at) {
                digests.insert((found.account, found.full));
            }
        }
        assert_eq!(digests.len(), 1, "nodes differ at {at}");
        at
    }
}

/// What an operator asks for; where it takes two of them, with the approval that the edge would
/// have checked.
pub fn asked(main: &Line, name: &str, command: Command) -> Proposal {
    Proposal {
        actor: Actor::Operator(OperatorId::parse(name).unwrap()),
        request: None,
        command: signed(&main.state(), shown(main), name, command),
    }
}

/// The command with an operator's approval, if it takes one, of what stands at an index.
pub fn signed(state: &State, shown: u64, name: &str, command: Command) -> Command {
    match Act::of(state, &command) {
        Some(act) => Command::Signed(Box::new(Signed {
            approval: approval(state, shown, &OperatorId::parse(name).unwrap(), &act),
            command,
        })),
        None => command,
    }
}

/// As a status shows it: an entry without a command counts too.
fn shown(main: &Line) -> u64 {
    main.applied().borrow().map_or(0, |at| at.index)
}

/// An operator's approval of an act, without a signature.
pub fn approved_by(main: &Line, name: &str, act: &Act) -> (OperatorId, Approval) {
    let operator = OperatorId::parse(name).unwrap();
    let approval = approval(&main.state(), shown(main), &operator, act);
    (operator, approval)
}

fn approval(state: &State, shown: u64, operator: &OperatorId, act: &Act) -> Approval {
    let founding = state.founding().unwrap();
    let named = (founding.cluster, state.header().epoch);
    let expires_at = state.header().clock.plus(LIFE_MS_MAX / 2);
    let known = founding
        .operators
        .iter()
        .find(|known| known.id == *operator);
    Approval {
        statement: act.statement(named, shown, expires_at),
        key: known.unwrap().key,
        certificate: Vec::new(),
        signature: Vec::new(),
    }
}

/// An import of these rows, a part an entry: what two operators approve, and the entries.
pub fn import_of(parts: Vec<(Vec<Participant>, Vec<Imported>)>) -> (Command, Vec<Command>) {
    let verifiers = import::verifiers_digest([]);
    let count = |rows: usize| u32::try_from(rows).unwrap();
    let digest = |(firms, people): &(Vec<Participant>, Vec<Imported>)| {
        let firms = firms.iter();
        let firms = firms.map(|firm| (firm.id.as_str(), firm.title.as_str()));
        import::part_digest(firms, people.iter().map(import::Row::of), &verifiers)
    };
    let terms = import::Terms {
        participants: count(parts.iter().map(|(firms, _)| firms.len()).sum()),
        accounts: count(parts.iter().map(|(_, people)| people.len()).sum()),
        parts: parts.iter().map(digest).collect(),
    };
    let of = terms.id();
    let entries = (0..).zip(parts).map(|(index, (participants, accounts))| {
        Command::Account(account::Command::Import {
            participants,
            accounts,
            part: Some(import::Part {
                import: of,
                index,
                verifiers,
            }),
        })
    });
    let entries = entries.collect();
    (
        Command::Account(account::Command::ApproveImport { terms }),
        entries,
    )
}

/// A command that is carried out once on a founded main line, and leaves a trace of `mark`, which
/// grows from one to the next.
pub fn marking(mark: u64) -> Proposal {
    let id = ParticipantId::parse(&format!("MARK{mark:04}")).unwrap();
    let participant = Participant::new(id, format!("mark {mark}"));
    Proposal {
        actor: Actor::Operator(OperatorId::parse("op1").unwrap()),
        request: None,
        command: Command::Account(account::Command::SetParticipant {
            participant,
            new: true,
            seen: None,
        }),
    }
}

/// The last mark; nothing without one.
pub fn mark_of(line: &Line) -> String {
    let state = line.state();
    let last = state.participants().last();
    last.map(|last| last.title.clone()).unwrap_or_default()
}
