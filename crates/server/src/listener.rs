//! The four listeners: bound first, so that the addresses are known and a taken port is found
//! before anything starts; then served with mutual TLS, each with its own anchors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use consensus::facts;
use credential::certificate;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic_web::GrpcWebLayer;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::gate::Gate;
use crate::health::plain;
use crate::identity::Listener;
use crate::web::Origins;

/// Largest message that a listener takes from a caller, in bytes; an import is the largest.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Most calls under way on one connection.
const CALLS_A_CONNECTION_MAX: usize = 256;
/// A TLS handshake that takes longer is dropped.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls under way may take to end once the node stops.
const GRACE: Duration = Duration::from_secs(3);

/// Why a listener cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be bound.
    #[error("cannot listen at {address} for {listener}: {source}")]
    Bind {
        /// Which listener.
        listener: Listener,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate, key or anchor cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The address for load balancers cannot be bound.
    #[error("cannot listen at {address} for load balancers (listen.health): {source}")]
    BindHealth {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Certificate, key and anchors do not make a TLS configuration.
    #[error("certificate, key or anchors cannot be used for {listener}: {source}")]
    Tls {
        /// Which listener.
        listener: Listener,
        /// Why.
        source: tonic::transport::Error,
    },
}

/// What one node shows and whom it believes, read from the files of its configuration.
pub struct Credentials {
    certificate: Vec<u8>,
    private_key: Zeroizing<Vec<u8>>,
    anchors: BTreeMap<&'static str, Vec<u8>>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// `Read`, naming the file.
    pub fn read(config: &Config) -> Result<Self, Error> {
        let anchors = [
            (Listener::Front, &config.anchors.front),
            (Listener::Back, &config.anchors.back),
            (Listener::Operator, &config.anchors.operator),
            (Listener::Peer, &config.anchors.peer),
        ];
        Ok(Self {
            certificate: read(&config.certificate)?,
            private_key: Zeroizing::new(read(&config.private_key)?),
            anchors: anchors
                .into_iter()
                .map(|(listener, path)| Ok((listener.role(), read(path)?)))
                .collect::<Result<_, Error>>()?,
        })
    }

    fn anchors(&self, listener: Listener) -> Certificate {
        let pem = self.anchors.get(listener.role());
        Certificate::from_pem(pem.map(Vec::as_slice).unwrap_or_default())
    }

    fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate, &*self.private_key)
    }

    fn server(&self, listener: Listener) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.identity())
            .client_ca_root(self.anchors(listener))
            .timeout(HANDSHAKE_LIMIT)
    }

    /// When the node's certificate and the anchors of its listeners expire. What cannot be read is
    /// left out: it could not be served with either.
    #[must_use]
    pub fn expiries(&self) -> Vec<facts::Certificate> {
        let anchors = self.anchors.iter();
        let anchors = anchors.map(|(role, pem)| (format!("anchor/{role}"), pem));
        std::iter::once(("node".to_owned(), &self.certificate))
            .chain(anchors)
            .flat_map(|(name, pem)| expiries(&name, &String::from_utf8_lossy(pem)))
            .collect()
    }

    /// How this node connects to its peers.
    #[must_use]
    pub fn client(&self) -> tonic::transport::ClientTlsConfig {
        tonic::transport::ClientTlsConfig::new()
            .identity(self.identity())
            .ca_certificate(self.anchors(Listener::Peer))
    }
}

/// When the certificates of a PEM text expire.
pub(crate) fn expiries(name: &str, pem: &str) -> Vec<facts::Certificate> {
    let certificates = certificate::from_pem(pem).unwrap_or_default();
    let ends = certificates
        .iter()
        .filter_map(|der| certificate::not_after(der).ok());
    ends.map(|not_after| facts::Certificate {
        name: name.to_owned(),
        not_after,
    })
    .collect()
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

/// Where a node listens, with the ports that were given for port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// For front ends.
    pub front: SocketAddr,
    /// For back ends.
    pub back: SocketAddr,
    /// For operators.
    pub operator: SocketAddr,
    /// For the other nodes.
    pub peer: SocketAddr,
    /// For load balancers, if it is configured.
    pub health: Option<SocketAddr>,
    /// For a monitoring system, if it is configured.
    pub metrics: Option<SocketAddr>,
}

/// A listener that has its address and serves nobody yet.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    socket: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Takes an address; any free port for port 0.
    ///
    /// # Errors
    /// `Bind`.
    pub async fn at(listener: Listener, address: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Bind {
            listener,
            address,
            source,
        };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            socket,
            address,
        })
    }

    /// The address, with its port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The listeners that are being served.
#[derive(Debug)]
pub struct Serving {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            tasks: JoinSet::new(),
            stop: watch::Sender::new(false),
        }
    }
}

impl Serving {
    /// Tells streams that never end by themselves that they must.
    #[must_use]
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Serves the routes at a bound listener until `stop`, by gRPC-Web too if pages of some
    /// origins may call.
    ///
    /// # Errors
    /// `Tls` when certificate, key or anchors cannot be used.
    pub fn add(
        &mut self,
        bound: Bound,
        credentials: &Credentials,
        gate: Gate,
        routes: Routes,
        web: &Origins,
    ) -> Result<(), Error> {
        let listener = bound.listener;
        let mut server = Server::builder()
            .tls_config(credentials.server(listener))
            .map_err(|source| Error::Tls { listener, source })?
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT));
        if listener != Listener::Peer {
            server = server.concurrency_limit_per_connection(CALLS_A_CONNECTION_MAX);
        }
        let incoming = TcpIncoming::from(bound.socket).with_nodelay(Some(true));
        let mut stopping = self.stop.subscribe();
        let web = web.clone();
        self.tasks.spawn(async move {
            let stop = async move {
                // The sender is gone only when the node is.
                let _stopped = stopping.wait_for(|stop| *stop).await;
            };
            let ended = if web.is_empty() {
                let served = server.layer(gate).add_routes(routes);
                served.serve_with_incoming_shutdown(incoming, stop).await
            } else {
                // The gate is innermost: it and the services see gRPC alone.
                let server = server.accept_http1(true).layer(web);
                let mut server = server.layer(GrpcWebLayer::new()).layer(gate);
                let served = server.add_routes(routes);
                served.serve_with_incoming_shutdown(incoming, stop).await
            };
            if let Err(error) = ended {
                tracing::error!(%listener, %error, "a listener failed");
            }
        });
        Ok(())
    }

    /// Answers with one page at a bound listener until `stop`.
    pub fn add_page(&mut self, bound: plain::Bound, page: plain::Page) {
        self.tasks
            .spawn(plain::serve(bound, page, self.stop.subscribe()));
    }

    /// Takes no more calls, gives those under way a few seconds to end, and returns.
    pub async fn stop(mut self) {
        // Nobody may be listening any more; then nothing is left to stop.
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}
