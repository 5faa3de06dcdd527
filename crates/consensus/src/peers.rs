//! Where the other nodes are, and the channels to them.
//!
//! Each peer has two connections: one for messages, which must stay quick, and one for
//! snapshots and files, which may be long. Connections are made when first used and made anew
//! after a failure. Deliberately absent: who leads, and what is sent.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use domain::{CentreName, ClusterId, NodeId};
use proto::peer::v1::peer_service_client::PeerServiceClient;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::versions::{Speaks, Versions};

/// Largest message that a node accepts from another, in bytes: the largest envelope several
/// times over, since an append may hold more than one.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Size of the parts in which files travel, in bytes.
pub const CHUNK_BYTES: usize = 256 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that is silent for the sum of these two is taken for gone.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Requests that may wait for a connection to take them.
const REQUESTS_QUEUED_MAX: usize = 1024;

/// The client of the peer service, over one of our channels.
pub type Client = PeerServiceClient<InterceptedService<Channel, Speaks>>;

/// A node as the directory knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its id, never used again once retired.
    pub node: NodeId,
    /// The centre it belongs to.
    pub centre: CentreName,
    /// Host and port of its peer listener.
    pub address: String,
}

/// An address that no connection can be made to, whatever the network does.
#[derive(Debug, thiserror::Error)]
#[error("address {address:?} of node {node} cannot be used: {source}")]
pub struct BadAddress {
    node: NodeId,
    address: String,
    source: tonic::transport::Error,
}

/// How connections to peers are secured.
#[derive(Clone)]
pub struct Dialer {
    security: Security,
}

#[derive(Clone)]
enum Security {
    Plaintext,
    Through(Arc<Through>),
    Tls {
        config: Box<ClientTlsConfig>,
        name: fn(NodeId) -> String,
    },
}

/// Makes a channel over a transport of the caller's.
type Through = dyn Fn(Endpoint) -> Channel + Send + Sync;

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.security {
            Security::Plaintext => f.write_str("Dialer(plaintext)"),
            Security::Through(_) => f.write_str("Dialer(another transport)"),
            // The configuration holds our private key.
            Security::Tls { .. } => f.write_str("Dialer(mutual TLS)"),
        }
    }
}

impl Dialer {
    /// Connections without TLS: for tests within one process alone.
    #[must_use]
    pub fn plaintext() -> Self {
        Self {
            security: Security::Plaintext,
        }
    }

    /// Connections without TLS that `connect` makes: over a simulated network.
    #[must_use]
    pub fn through(connect: impl Fn(Endpoint) -> Channel + Send + Sync + 'static) -> Self {
        Self {
            security: Security::Through(Arc::new(connect)),
        }
    }

    /// Mutual TLS. `name` gives the DNS name that a node's certificate must carry, so that a
    /// stolen address does not make another node of the one we meant.
    #[must_use]
    pub fn tls(config: ClientTlsConfig, name: fn(NodeId) -> String) -> Self {
        Self {
            security: Security::Tls {
                config: Box::new(config),
                name,
            },
        }
    }

    /// A channel to the peer, not connected yet.
    ///
    /// # Errors
    /// `BadAddress` when the address is no host and port, or the TLS settings are unusable.
    pub fn channel(&self, peer: &Peer) -> Result<Channel, BadAddress> {
        let bad = |source| BadAddress {
            node: peer.node,
            address: peer.address.clone(),
            source,
        };
        let endpoint = match &self.security {
            Security::Plaintext | Security::Through(_) => {
                Endpoint::from_shared(format!("http://{}", peer.address)).map_err(bad)?
            }
            Security::Tls { config, name } => {
                Endpoint::from_shared(format!("https://{}", peer.address))
                    .map_err(bad)?
                    .tls_config(config.as_ref().clone().domain_name(name(peer.node.place())))
                    .map_err(bad)?
            }
        };
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .buffer_size(REQUESTS_QUEUED_MAX);
        Ok(match &self.security {
            Security::Through(connect) => connect(endpoint),
            Security::Plaintext | Security::Tls { .. } => endpoint.connect_lazy(),
        })
    }
}

/// The directory of the cluster's nodes, this one included.
#[derive(Debug, Clone)]
pub struct Peers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cluster: ClusterId,
    me: NodeId,
    dialer: Dialer,
    speaks: Speaks,
    connected: RwLock<BTreeMap<NodeId, Connected>>,
}

#[derive(Debug, Clone)]
struct Connected {
    peer: Peer,
    /// Whether it belongs to a centre now. One that does not is still asked for what it has.
    member: bool,
    messages: Channel,
    files: Channel,
}

impl Peers {
    /// A directory of these nodes, seen from `me`.
    ///
    /// # Errors
    /// `BadAddress` when one of the addresses can never be connected to.
    pub fn new(
        cluster: ClusterId,
        me: NodeId,
        dialer: Dialer,
        versions: &Versions,
        peers: impl IntoIterator<Item = Peer>,
    ) -> Result<Self, BadAddress> {
        let directory = Self {
            inner: Arc::new(Inner {
                cluster,
                me,
                dialer,
                speaks: Speaks::new(versions),
                connected: RwLock::new(BTreeMap::new()),
            }),
        };
        for peer in peers {
            directory.register(peer)?;
        }
        Ok(directory)
    }

    /// Adds a node, or gives a known one another address.
    ///
    /// # Errors
    /// `BadAddress` when the address can never be connected to; the directory is unchanged.
    pub fn register(&self, peer: Peer) -> Result<(), BadAddress> {
        let connected = self.connect(peer, true)?;
        self.write(|directory| directory.insert(connected.peer.node, connected));
        Ok(())
    }

    /// Makes the directory that of these members, and of those that are gone and may have something
    /// left. Channels to nodes that stay are kept; one whose address cannot be used is left out.
    pub(crate) fn follow(&self, members: Vec<Peer>, gone: Vec<Peer>) {
        let mut wanted = BTreeMap::new();
        let gone = gone.into_iter().map(|peer| (peer, false));
        for (peer, member) in gone.chain(members.into_iter().map(|peer| (peer, true))) {
            let known = self.read(|directory| directory.get(&peer.node).cloned());
            let connected = match known.filter(|known| known.peer == peer) {
                Some(known) => Ok(Connected { member, ..known }),
                None => self.connect(peer, member),
            };
            match connected {
                Ok(connected) => drop(wanted.insert(connected.peer.node, connected)),
                Err(error) => tracing::error!(%error, "a node cannot be reached"),
            }
        }
        self.write(|directory| *directory = wanted);
    }

    fn connect(&self, peer: Peer, member: bool) -> Result<Connected, BadAddress> {
        Ok(Connected {
            messages: self.inner.dialer.channel(&peer)?,
            files: self.inner.dialer.channel(&peer)?,
            peer,
            member,
        })
    }

    /// The cluster whose nodes these are.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.inner.cluster
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.inner.me
    }

    /// The nodes of both centres, this one included, in the order of their ids.
    #[must_use]
    pub fn all(&self) -> Vec<Peer> {
        self.read(|connected| {
            let members = connected.values().filter(|one| one.member);
            members.map(|one| one.peer.clone()).collect()
        })
    }

    /// Every known node but this one, in the order of their ids: those that are gone too.
    #[must_use]
    pub fn others(&self) -> Vec<Peer> {
        self.read(|connected| {
            let others = connected.values().map(|one| &one.peer);
            let others = others.filter(|peer| peer.node != self.inner.me);
            others.cloned().collect()
        })
    }

    /// The nodes of a centre, in the order of their ids.
    #[must_use]
    pub fn of_centre(&self, centre: &CentreName) -> Vec<NodeId> {
        self.all()
            .into_iter()
            .filter(|peer| peer.centre == *centre)
            .map(|peer| peer.node)
            .collect()
    }

    /// What is known of a node.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<Peer> {
        self.read(|connected| connected.get(&node).map(|one| one.peer.clone()))
    }

    /// A client for messages to a node; none if the node is unknown.
    #[must_use]
    pub fn client(&self, node: NodeId) -> Option<Client> {
        self.read(|connected| {
            connected
                .get(&node)
                .map(|one| self.limited(one.messages.clone()))
        })
    }

    /// A client for long transfers to or from a node; none if the node is unknown.
    #[must_use]
    pub fn file_client(&self, node: NodeId) -> Option<Client> {
        self.read(|connected| {
            connected
                .get(&node)
                .map(|one| self.limited(one.files.clone()))
        })
    }

    fn limited(&self, channel: Channel) -> Client {
        PeerServiceClient::with_interceptor(channel, self.inner.speaks.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn write<T>(&self, change: impl FnOnce(&mut BTreeMap<NodeId, Connected>) -> T) -> T {
        let connected = self.inner.connected.write();
        change(&mut connected.unwrap_or_else(PoisonError::into_inner))
    }

    fn read<T>(&self, take: impl FnOnce(&BTreeMap<NodeId, Connected>) -> T) -> T {
        take(
            &self
                .inner
                .connected
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}
