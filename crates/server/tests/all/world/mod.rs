//! Nodes on real sockets and real disks, founded for a test, and the callers that they know.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, and uses what it needs"
)]

pub mod drill;
mod import;

pub use import::verifier;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use consensus::clock::OffsetClock;
use credential::authority::{Authorities, Issued, Validity};
use credential::certificate::{Holder, Identity};
use credential::keyring::Keyring;
use credential::software_card::SoftwareCard;
use credential::{SystemEntropy, key_file};
use domain::calendar::{Calendar, Timetable};
use domain::cluster::{BackEnd, Centre, Founding, FrontEnd, Operator};
use domain::id::{BackEndId, CardNumber, CentreName, ClusterId, FrontEndId, NodeId, OperatorId};
use domain::portal::Portal;
use domain::{UnixMs, policy::Policy};
use proto::operator::v1::cluster_service_client::ClusterServiceClient;
use proto::operator::v1::{GetStatusRequest, GetStatusResponse};
use server::Config;
use server::mail::post::Pace;
use server::node::Environment;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use uuid::Uuid;

const CLUSTER: ClusterId = ClusterId([7; 16]);
const VALID: Validity = Validity {
    not_before: UnixMs(1_600_000_000_000),
    not_after: UnixMs(4_000_000_000_000),
};
const PATIENCE: Duration = Duration::from_secs(30);

/// 17:55 on Saturday 10 June 2023 in Hong Kong.
pub const BEGINS: UnixMs = UnixMs(1_686_390_900_000);
/// The second session of the timetable.
pub const S2: &str = "S2-2023-06-10";

const TIMETABLE: &str = r#"
[[day]]
heading = "10 June 2023 (Saturday)"

[[day.session]]
id = "S1-2023-06-10"
centre = "east"
opens = "18:00"
closes = "20:00"
purpose = "connectivity-test"

[[day.session]]
id = "S2-2023-06-10"
centre = "west"
opens = "22:00"
closes = "23:00"
purpose = "connectivity-test"

[[day]]
heading = "12 June 2023 (Monday)"

[[day.session]]
id = "S-2023-06-12"
centre = "east"
opens = "08:00"
closes = "19:00"
purpose = "business"
"#;

pub struct World {
    folder: tempfile::TempDir,
    pub nodes: Vec<server::Node>,
    /// The nodes' clocks, in their order.
    pub clocks: Vec<OffsetClock>,
    authorities: Authorities,
    pub front: Issued,
    pub back: Issued,
    pub kay: Issued,
    pub lee: Issued,
}

/// What is founded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One node in one centre, on the real clock.
    OneNode,
    /// A node in each of two centres, on a simulated clock.
    TwoCentres,
}

fn identity(holder: Holder) -> Identity {
    Identity {
        cluster: CLUSTER,
        holder,
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

fn centre(name: &str, node: u64, address: SocketAddr) -> Centre {
    Centre {
        name: CentreName::parse(name).unwrap(),
        nodes: vec![domain::cluster::Node {
            id: NodeId(node),
            address: address.to_string(),
        }],
    }
}

/// Addresses that are free now, no two of them the same.
fn free<const COUNT: usize>() -> [SocketAddr; COUNT] {
    let held = [(); COUNT].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap())
}

fn founding(
    shape: Shape,
    peers: [SocketAddr; 2],
    callers: [&Issued; 4],
    keys: &Keyring,
) -> Founding {
    let [front, back, kay, lee] = callers;
    let timetable = match shape {
        Shape::OneNode => TIMETABLE
            .split("[[day.session]]")
            .take(2)
            .collect::<Vec<_>>(),
        Shape::TwoCentres => TIMETABLE.split("[[day.session]]").collect(),
    };
    let now = consensus::clock::Clock::now(&consensus::clock::WallClock);
    Founding {
        cluster: CLUSTER,
        title: "test".to_owned(),
        primary: centre("east", 1, peers[0]),
        secondary: (shape == Shape::TwoCentres).then(|| centre("west", 2, peers[1])),
        operators: [("kay", kay.key), ("lee", lee.key)]
            .map(|(name, key)| Operator {
                id: OperatorId::parse(name).unwrap(),
                key,
            })
            .to_vec(),
        front_ends: vec![FrontEnd {
            id: FrontEndId::parse("www").unwrap(),
            key: front.key,
            portals: vec![Portal::Ccms],
        }],
        back_ends: vec![BackEnd {
            id: BackEndId::parse("core").unwrap(),
            key: back.key,
        }],
        policy: Policy::default(),
        calendar: Calendar::new(
            Timetable::parse(&timetable.join("[[day.session]]")).unwrap(),
            Default::default(),
        ),
        simulated_clock: shape == Shape::TwoCentres,
        clock_offset_ms: match shape {
            Shape::OneNode => 0,
            Shape::TwoCentres => -i64::try_from(now.since(BEGINS)).unwrap(),
        },
        keys: keys.proofs(CLUSTER),
        restored: None,
    }
}

/// Starts what was founded, and returns once it knows its cluster.
pub async fn world(shape: Shape) -> World {
    let mut world = prepared(shape);
    let count = match shape {
        Shape::OneNode => 1,
        Shape::TwoCentres => 2,
    };
    for node in 0..count {
        let started = world.start(node).await.unwrap();
        world.nodes.push(started);
    }
    world.founded().await;
    world
}

/// The folder of a world, in which nothing was started yet.
pub fn prepared(shape: Shape) -> World {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let authorities = Authorities::create("test", VALID).unwrap();
    let front = Holder::FrontEnd(FrontEndId::parse("www").unwrap());
    let front = authorities
        .front
        .issue_client(&identity(front), VALID)
        .unwrap();
    let back = Holder::BackEnd(BackEndId::parse("core").unwrap());
    let back = authorities
        .back
        .issue_client(&identity(back), VALID)
        .unwrap();
    let [kay, lee] = ["kay", "lee"].map(|name| {
        let operator = Holder::Operator(OperatorId::parse(name).unwrap());
        authorities
            .operator
            .issue_client(&identity(operator), VALID)
            .unwrap()
    });
    let peers = free();
    let keys = key_file::found(UnixMs(0), &SystemEntropy::new());
    let keyring = Keyring::parse(&keys).ok().unwrap();
    let founding = founding(shape, peers, [&front, &back, &kay, &lee], &keyring);
    write(
        at,
        "founding.json",
        &serde_json::to_string(&founding).unwrap(),
    );
    write(at, "keys.toml", &keys);
    for (name, authority) in [
        ("front.pem", &authorities.front),
        ("back.pem", &authorities.back),
        ("operator.pem", &authorities.operator),
        ("peer.pem", &authorities.peer),
        ("cards.pem", &authorities.card),
    ] {
        write(at, name, authority.certificate_pem());
    }
    let members = [&Some(founding.primary.clone()), &founding.secondary];
    for (centre, peer) in members.into_iter().flatten().zip(peers) {
        let id = centre.nodes[0].id;
        let name = server::peer_name(id);
        let node = authorities
            .peer
            .issue_node(CLUSTER, id, &[&name, "localhost"], &[], VALID)
            .unwrap();
        write(at, &format!("node-{id}.pem"), &node.certificate_pem);
        write(at, &format!("node-{id}.key"), &node.key_pem);
        let config = format!("node-{id}.toml");
        write(
            at,
            &config,
            &format!(
                "node = {id}\ndata = \"data-{id}\"\nfounding = \"founding.json\"\n\
                 keys = \"keys.toml\"\ncertificate = \"node-{id}.pem\"\n\
                 private_key = \"node-{id}.key\"\n\
                 [listen]\nfront = \"127.0.0.1:0\"\nback = \"127.0.0.1:0\"\n\
                 operator = \"127.0.0.1:0\"\npeer = \"{peer}\"\n\
                 [anchors]\nfront = \"front.pem\"\nback = \"back.pem\"\n\
                 operator = \"operator.pem\"\npeer = \"peer.pem\"\ncards = \"cards.pem\"\n"
            ),
        );
    }
    World {
        nodes: Vec::new(),
        clocks: vec![OffsetClock::default(), OffsetClock::default()],
        folder,
        authorities,
        front,
        back,
        kay,
        lee,
    }
}

/// Asks again until the answer holds, or fails with what was waited for.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

impl World {
    /// The folder with all its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a node, counted from 0, on what is in its folder.
    pub async fn start(&self, node: usize) -> Result<server::Node, server::Error> {
        let file = format!("node-{}.toml", node + 1);
        let config = Config::read(&self.folder().join(file)).unwrap();
        until("the folder is free", async || {
            let environment = Environment {
                clock: Arc::new(self.clocks[node].clone()),
                mail_pace: Pace {
                    first: Duration::from_millis(50),
                    most: Duration::from_millis(500),
                },
                ..Environment::default()
            };
            match Box::pin(server::Node::start_in(config.clone(), environment)).await {
                // For a moment, what a stopped node leaves behind holds the folder.
                Err(server::Error::Node(_)) => None,
                started => Some(started),
            }
        })
        .await
    }

    /// A certificate of `localhost`, by the authority in `peer.pem`.
    pub fn server(&self) -> Issued {
        let names = ["localhost"];
        let node = NodeId(99);
        self.authorities
            .peer
            .issue_node(CLUSTER, node, &names, &[], VALID)
            .unwrap()
    }

    /// A card with this number, by the cluster's authority of cards.
    pub fn card(&self, number: &str) -> SoftwareCard {
        let number = CardNumber::parse(number).unwrap();
        SoftwareCard::issue(&self.authorities.card, &number, "KAY01", VALID).unwrap()
    }

    pub async fn channel(
        &self,
        address: SocketAddr,
        shown: &Issued,
    ) -> Result<Channel, tonic::transport::Error> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(
                self.authorities.peer.certificate_pem(),
            ))
            .identity(tonic::transport::Identity::from_pem(
                &shown.certificate_pem,
                shown.key_pem.as_str(),
            ))
            .domain_name("localhost");
        Endpoint::from_shared(format!("https://{address}"))?
            .tls_config(tls)?
            .connect()
            .await
    }

    /// An operator at a node's listener; nodes are counted from 0.
    pub async fn operator(&self, node: usize, shown: &Issued) -> Channel {
        let address = self.nodes[node].addresses().operator;
        self.channel(address, shown).await.unwrap()
    }

    /// The status at a node, once the cluster is founded.
    pub async fn status(&self, node: usize) -> GetStatusResponse {
        let mut client = ClusterServiceClient::new(self.operator(node, &self.kay).await);
        until("the cluster is founded", async || {
            match client.get_status(GetStatusRequest {}).await {
                Ok(status) => Some(status.into_inner()),
                Err(status) if status.code() == Code::Unavailable => None,
                Err(status) => panic!("{status:?}"),
            }
        })
        .await
    }

    pub async fn founded(&self) {
        for node in 0..self.nodes.len() {
            self.status(node).await;
        }
    }

    pub async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}

/// The time in Hong Kong on that Saturday.
pub fn at(hour: u64, minute: u64) -> UnixMs {
    let since = hour * 60 + minute - (17 * 60 + 55);
    BEGINS.plus(since * 60_000)
}

/// A request id of the simulated time.
pub fn request_at(now: UnixMs) -> String {
    let nanos = u32::try_from(now.0 % 1_000 * 1_000_000).unwrap();
    let time = uuid::Timestamp::from_unix(uuid::NoContext, now.0 / 1_000, nanos);
    Uuid::new_v7(time).to_string()
}
