//! A front end that was configured once, and knows the service by its name alone.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use domain::CentreName;
use hyper_util::rt::TokioIo;
use tidemark::drill::Door;
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};

use crate::Cluster;

/// All that a front end is configured with. The address is not part of it: it is what the name
/// stands for when the client dials.
#[derive(Debug, Clone)]
pub struct Client {
    port: u16,
    tls: ClientTlsConfig,
}

/// What the name stands for, as one client believes. Others may have heard something newer.
#[derive(Debug, Clone)]
pub struct Resolver(Arc<Mutex<IpAddr>>);

impl Resolver {
    /// The name stands for this address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(Arc::new(Mutex::new(address)))
    }

    /// From now on it stands for another one. Connections stay where they are.
    ///
    /// # Panics
    /// Never: nobody panics with it in hand.
    pub fn set(&self, address: IpAddr) {
        *self.0.lock().unwrap() = address;
    }

    fn address(&self) -> IpAddr {
        *self.0.lock().unwrap()
    }
}

impl Client {
    /// Configured once, from what `tidemark init` wrote.
    ///
    /// # Panics
    /// If there is no front end, or a file of it is missing.
    #[must_use]
    pub fn configured(cluster: &Cluster, name: &str, port: u16) -> Self {
        let profile = cluster.profile();
        let file = profile.file();
        let read = |path: &_| profile.text(path).unwrap();
        let identity = file.front_ends.values().next().unwrap();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(&file.ca)))
            .identity(Identity::from_pem(
                read(&identity.cert),
                read(&identity.key),
            ))
            .domain_name(name);
        Self { port, tls }
    }

    fn endpoint(&self, address: IpAddr) -> Endpoint {
        let address = SocketAddr::new(address, self.port);
        let endpoint = Endpoint::from_shared(format!("https://{address}"));
        endpoint.unwrap().tls_config(self.tls.clone()).unwrap()
    }

    /// A channel to one address.
    #[must_use]
    pub fn dial(&self, address: IpAddr) -> Channel {
        self.endpoint(address).connect_lazy()
    }

    /// A channel that asks for the address whenever it dials, as a client does that was given a
    /// name.
    #[must_use]
    pub fn call(&self, name: &Resolver) -> Channel {
        let (name, port) = (name.clone(), self.port);
        let connector = tower::service_fn(move |_: Uri| {
            let address = (name.address(), port);
            async move { TcpStream::connect(address).await.map(TokioIo::new) }
        });
        // The address in the endpoint is never dialled.
        self.endpoint(IpAddr::from([127, 0, 0, 1]))
            .connect_with_connector_lazy(connector)
    }
}

/// What `Cluster` logs in through. The centre is for its own notes alone.
///
/// # Panics
/// If that is no name of a centre.
#[must_use]
pub fn door(channel: Channel, centre: &str) -> [Door; 1] {
    [Door {
        node: 0,
        centre: CentreName::parse(centre).unwrap(),
        channel,
    }]
}
