//! A node as a whole: its lines, its edge and its listeners. `serve` and `demo` start the
//! same one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use consensus::clock::{Clock, WallClock};
use consensus::peers::Dialer;
use consensus::{Line, base, line, place};
use credential::breached::Breached;
use credential::card::Anchors;
use credential::keyring::Keyring;
use credential::phc::Params;
use credential::{Entropy, SystemEntropy};
use domain::cluster::Founding;
use domain::{LineId, NodeId};
use futures::FutureExt;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::checkpoints;
use crate::config::Config;
use crate::edge::{self, Edge, Parts};
use crate::facts;
use crate::gate::{Gate, Register};
use crate::hashing::{self, Pool};
use crate::health::metrics::{self, Answers};
use crate::health::plain::{self, Page};
use crate::identity::Listener;
use crate::keys;
use crate::listener::{self, Addresses, Bound, Credentials, Serving};
use crate::mail::{self, Outbox, post};
use crate::reads::Reads;
use crate::rpc::{self, export};
use crate::shown::Shown;
use crate::table::{self, Table};
use crate::unheard;
use crate::web::Origins;

/// How often a node looks whether its engines run.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The founding file is none.
    #[error("{path} is not a founding file: {source}")]
    Founding {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The key file is none.
    #[error("{path}: {source}")]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: credential::key_file::Malformed,
    },
    /// The founding record is another than the cluster was founded from.
    #[error(
        "{path} is not the record that this cluster was founded from: use the file that tidemark init wrote"
    )]
    OtherFounding {
        /// Which file.
        path: PathBuf,
    },
    /// What the cluster was restored from is not there, or another one.
    #[error("{0}: restore into a new folder, or copy it from another node of this cluster")]
    Base(#[source] consensus::image::Error),
    /// The key file is not the cluster's, or not the one that the node was first started with.
    #[error("{path}: {source}")]
    Keys {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: credential::keyring::Error,
    },
    /// The cards' anchors cannot be used.
    #[error("{path}: {source}")]
    Cards {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: credential::card::Error,
    },
    /// A listener.
    #[error(transparent)]
    Listener(#[from] listener::Error),
    /// The data folder or a line in it.
    #[error(transparent)]
    Node(#[from] consensus::node::Error),
    /// The trail of what is read here.
    #[error(transparent)]
    Reads(#[from] consensus::audit::Error),
    /// The hashing threads.
    #[error(transparent)]
    Hashing(#[from] hashing::Error),
    /// The outbox.
    #[error(transparent)]
    Mail(#[from] mail::Error),
    /// The list of stolen passwords.
    #[error(transparent)]
    Breached(#[from] credential::breached::Error),
    /// A fault in the protos.
    #[error(transparent)]
    Table(#[from] table::Error),
    /// A fault in the protos.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl Error {
    /// Whether another node, or what is left of one, still holds the data folder.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(
            self,
            Self::Node(consensus::node::Error::Store(
                consensus::store::Error::InUse { .. }
            ))
        )
    }
}

/// Why a node that runs can do no more what it is there for. Only a new start helps.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A line's engine has ended.
    #[error("{line} has ended: {source}")]
    Line {
        /// Which line.
        line: LineId,
        /// Why.
        source: line::Error,
    },
    /// The cluster that the node came to was founded from another record than its own.
    #[error("this node's founding record is not the one that the cluster was founded from")]
    Founding,
    /// The main line has another id for this node's place: what was on its disk is given up, and it
    /// comes back under that one when it is started again.
    #[error("this node is {0} from now on, and starts anew without what it had")]
    AnotherLife(NodeId),
    /// The cluster uses a key that the node does not hold: its key file is not that of the others.
    #[error(transparent)]
    Keys(credential::keyring::Error),
}

/// What is not in the configuration, and differs in tests alone.
pub struct Environment {
    /// The machine's clock.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub entropy: Arc<dyn Entropy>,
    /// What a password's verifier costs.
    pub params: Params,
    /// How soon a mail that failed is tried again.
    pub mail_pace: post::Pace,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            clock: Arc::new(WallClock),
            entropy: Arc::new(SystemEntropy::new()),
            params: Params::STANDARD,
            mail_pace: post::Pace::default(),
        }
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    post: JoinHandle<()>,
    keys: JoinHandle<()>,
    checkpoints: JoinHandle<()>,
    unheard: JoinHandle<()>,
    facts: JoinHandle<()>,
    edge: Edge,
    addresses: Addresses,
    serving: Serving,
}

/// The DNS name that a node's certificate carries for its peers, whatever its address.
#[must_use]
pub fn peer_name(node: NodeId) -> String {
    format!("node-{node}.tidemark.internal")
}

impl Node {
    /// Starts a node. When this returns, its listeners are bound and answer.
    ///
    /// # Errors
    /// [`Error`], with the file or address that is at fault; nothing is left running.
    pub async fn start(config: Config) -> Result<Self, Error> {
        // On the heap: what starts a node holds its whole configuration across many awaits.
        Box::pin(Self::start_in(config, Environment::default())).await
    }

    /// As `start`, with another clock, randomness or cost of verifiers.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_in(config: Config, environment: Environment) -> Result<Self, Error> {
        let founding = read_founding(&config.founding)?;
        let keyring = read_keys(&config.keys)?;
        // Before anything is made: with another key file every password would look damaged.
        check_keys(&config, &founding, &keyring)?;
        let credentials = Credentials::read(&config)?;
        let anchors_pem = read(&config.anchors.cards)?;
        let anchors = read_anchors(&config.anchors.cards, &anchors_pem)?;
        let breached = match &config.breached_passwords {
            Some(path) => Some(Arc::new(Breached::open(path)?)),
            None => None,
        };
        let table = Table::read()?;
        let bound = bind(&config).await?;
        let addresses = Addresses {
            front: bound.front.address(),
            back: bound.back.address(),
            operator: bound.operator.address(),
            peer: bound.peer.address(),
            health: bound.health.as_ref().map(plain::Bound::address),
            metrics: bound.metrics.as_ref().map(plain::Bound::address),
        };
        let outbox = Outbox::open(&config.mail)?;
        let pool = Pool::start(
            config.hashing.threads,
            config.hashing.queue,
            environment.params,
            Arc::clone(&environment.entropy),
        )?;
        let node = consensus::Node::open(consensus::node::Config {
            data: config.data.clone(),
            node: NodeId(config.node),
            others: config.others.clone(),
            base: read_base(&config.founding, &founding).await?,
            founding: founding.clone(),
            dialer: Dialer::tls(credentials.client(), peer_name),
            base_clock: environment.clock,
            judge: Arc::new(crate::promotion::signatures_hold),
            mails_notices: true,
            versions: consensus::versions::Versions::default(),
        })
        .await?;
        // After the folder is known to be ours, and before anything is answered from it.
        if let Err(error) = check_folder(&config, &founding, &keyring, &node) {
            node.stop().await;
            return Err(error);
        }
        let reads = match open_reads(&node).await {
            Ok(reads) => reads,
            Err(error) => {
                node.stop().await;
                return Err(error);
            }
        };
        let serving = Serving::default();
        let edge = Edge::new(Parts {
            node,
            keyring,
            entropy: environment.entropy,
            pool,
            breached,
            params: environment.params,
            outbox,
            anchors,
            anchors_pem: anchors_pem.to_string(),
            table,
            reads,
            fence_hook: config.fence_hook.clone(),
            stopping: serving.stopping(),
        });
        let checkpoints = tokio::spawn(checkpoints::keep(edge.clone()));
        let unheard = tokio::spawn(unheard::keep(edge.clone()));
        let shown = Shown::default();
        let mut certificates = credentials.expiries();
        certificates.extend(listener::expiries("anchor/cards", &anchors_pem));
        let facts = tokio::spawn(facts::keep(edge.clone(), certificates, shown.clone()));
        let post = tokio::spawn(post::run(edge.clone(), environment.mail_pace));
        let keys = tokio::spawn(keys::keep(edge.clone(), config.keys.clone()));
        let mut node = Self {
            post,
            keys,
            checkpoints,
            unheard,
            facts,
            edge,
            addresses,
            serving,
        };
        match node.serve(bound, &credentials, founding, &config.web_origins, &shown) {
            Ok(()) => Ok(node),
            Err(error) => {
                node.stop().await;
                Err(error)
            }
        }
    }

    fn serve(
        &mut self,
        bound: AllBound,
        credentials: &Credentials,
        founding: Founding,
        web: &Origins,
        shown: &Shown,
    ) -> Result<(), Error> {
        let no_web = Origins::default();
        let health = bound.health;
        let answers = Answers::default();
        let all = [
            (Listener::Peer, bound.peer),
            (Listener::Operator, bound.operator),
            (Listener::Back, bound.back),
            (Listener::Front, bound.front),
        ];
        let founding = Arc::new(founding);
        for (listener, bound) in all {
            let edge = self.edge.clone();
            let register: Register = Arc::new(move || edge.node().main().state());
            let table = self.edge.parts().table.clone();
            let gate = Gate::new(listener, table, register)
                .noting(shown.clone())
                .counting(answers.clone());
            let gate = match listener {
                Listener::Peer => gate.founded(Arc::clone(&founding)),
                Listener::Front | Listener::Back | Listener::Operator => gate,
            };
            let routes = rpc::routes(&self.edge, listener)?;
            let web = match listener {
                Listener::Front => web,
                Listener::Back | Listener::Operator | Listener::Peer => &no_web,
            };
            self.serving.add(bound, credentials, gate, routes, web)?;
        }
        if let Some(bound) = health {
            let edge = self.edge.clone();
            let people = Arc::new(move || edge.people());
            self.serving.add_page(bound, Page::serving(people));
        }
        if let Some(bound) = bound.metrics {
            let page = metrics::page(&self.edge, &answers);
            self.serving.add_page(bound, page);
        }
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its lines.
    #[must_use]
    pub fn lines(&self) -> &consensus::Node {
        self.edge.node()
    }

    /// Resolves once the node can do no more what it is there for, and says why.
    pub async fn failed(&self) -> Fault {
        // Branches come and go, and an engine tells its end to nobody who came later.
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            look.tick().await;
            if let Some(fault) = self.fault() {
                return fault;
            }
        }
    }

    fn fault(&self) -> Option<Fault> {
        let node = self.lines();
        if let Some(id) = node.another_life().now_or_never() {
            return Some(Fault::AnotherLife(id));
        }
        if is_of_another(&node.main(), node.founding()) {
            return Some(Fault::Founding);
        }
        if let Some(error) = self.edge.keys().fault() {
            return Some(Fault::Keys(error));
        }
        let main = Some(node.main()).filter(|_| !node.stands_still());
        main.into_iter().chain(node.branch()).find_map(|line| {
            let source = edge::fault(&line)?;
            let line = line.reference().line;
            Some(Fault::Line { line, source })
        })
    }

    /// Takes no more calls, lets those under way end, and stops the lines. What is on its disk
    /// stays.
    pub async fn stop(self) {
        self.edge.node().leave().await;
        self.serving.stop().await;
        if let Err(error) = self.post.await {
            tracing::error!(%error, "mailing notices ended badly");
        }
        if let Err(error) = self.unheard.await {
            tracing::error!(%error, "the counts of attempts ended badly");
        }
        if let Err(error) = self.checkpoints.await {
            tracing::error!(%error, "the checkpoints ended badly");
        }
        if let Err(error) = self.keys.await {
            tracing::error!(%error, "seeing to the keys ended badly");
        }
        if let Err(error) = self.facts.await {
            tracing::error!(%error, "what the node says of itself ended badly");
        }
        self.edge.node().stop().await;
    }
}

async fn open_reads(node: &consensus::Node) -> Result<Reads, Error> {
    let node = node.clone();
    let opened = tokio::task::spawn_blocking(move || Reads::open(&node)).await;
    let opened = opened.map_err(|error| Error::Read {
        path: PathBuf::from(place::READS),
        source: std::io::Error::other(error),
    })?;
    Ok(opened?)
}

struct AllBound {
    front: Bound,
    back: Bound,
    operator: Bound,
    peer: Bound,
    health: Option<plain::Bound>,
    metrics: Option<plain::Bound>,
}

async fn bind(config: &Config) -> Result<AllBound, listener::Error> {
    Ok(AllBound {
        front: Bound::at(Listener::Front, config.listen.front).await?,
        back: Bound::at(Listener::Back, config.listen.back).await?,
        operator: Bound::at(Listener::Operator, config.listen.operator).await?,
        peer: Bound::at(Listener::Peer, config.listen.peer).await?,
        health: bind_page(config.listen.health).await?,
        metrics: bind_page(config.listen.metrics).await?,
    })
}

async fn bind_page(at: Option<SocketAddr>) -> Result<Option<plain::Bound>, listener::Error> {
    match at {
        Some(address) => Ok(Some(plain::Bound::at(address).await?)),
        None => Ok(None),
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, Error> {
    std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })
}

fn read_founding(path: &Path) -> Result<Founding, Error> {
    serde_json::from_str(&read(path)?).map_err(|source| Error::Founding {
        path: path.to_owned(),
        source,
    })
}

/// What the main line begins with.
async fn read_base(path: &Path, founding: &Founding) -> Result<domain::State, Error> {
    let (path, founding) = (base::path(path), founding.clone());
    let read = tokio::task::spawn_blocking(move || base::read(&path, &founding)).await;
    let read = read.map_err(|error| Error::Read {
        path: PathBuf::from(base::FILE),
        source: std::io::Error::other(error),
    })?;
    read.map_err(Error::Base)
}

fn read_keys(path: &Path) -> Result<Keyring, Error> {
    Keyring::parse(&read(path)?).map_err(|source| Error::KeyFile {
        path: path.to_owned(),
        source,
    })
}

fn read_anchors(path: &Path, pem: &str) -> Result<Anchors, Error> {
    Anchors::from_pem(pem).map_err(|source| Error::Cards {
        path: path.to_owned(),
        source,
    })
}

/// Whether the line's state was founded from another record.
fn is_of_another(main: &Line, founding: &Founding) -> bool {
    main.state()
        .founding()
        .is_some_and(|found| found != founding)
}

/// Compares what the data folder holds with the founding record and the key file.
fn check_folder(
    config: &Config,
    founding: &Founding,
    keyring: &Keyring,
    node: &consensus::Node,
) -> Result<(), Error> {
    if is_of_another(&node.main(), founding) {
        return Err(Error::OtherFounding {
            path: config.founding.clone(),
        });
    }
    export::sweep(&config.data).map_err(|source| Error::Read {
        path: config.data.clone(),
        source,
    })?;
    let main = node.main();
    let begun = keys::begin(
        &config.data,
        keyring,
        &main.state(),
        &founding.keys,
        (founding.cluster, node.time()),
    );
    begun
        .map_err(|source| Error::Read {
            path: config.data.clone(),
            source,
        })?
        .map_err(|source| Error::Keys {
            path: config.keys.clone(),
            source,
        })
}

/// Compares the key file with what the node's last run left in its data folder, or before its
/// first with the founding record.
fn check_keys(config: &Config, founding: &Founding, keyring: &Keyring) -> Result<(), Error> {
    let left = keys::left(&config.data).map_err(|source| Error::Read {
        path: config.data.clone(),
        source,
    })?;
    let needed = left.as_deref().unwrap_or(&founding.keys);
    keyring
        .check(founding.cluster, needed)
        .map_err(|source| Error::Keys {
            path: config.keys.clone(),
            source,
        })
}
