//! One node, real sockets, real disk: what a caller meets at each listener.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::path::Path;
use std::time::Duration;

use credential::authority::{Authorities, Issued, Validity};
use credential::certificate::{Holder, Identity};
use credential::{SystemEntropy, key_file};
use domain::calendar::{Calendar, Timetable};
use domain::cluster::{BackEnd, Centre, Founding, FrontEnd, Operator};
use domain::id::{BackEndId, CentreName, ClusterId, FrontEndId, NodeId, OperatorId};
use domain::portal::Portal;
use domain::{UnixMs, policy::Policy};
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::{BeginLoginRequest, ListLandingOptionsRequest};
use proto::operator::v1::GetStatusRequest;
use proto::operator::v1::cluster_service_client::ClusterServiceClient;
use server::Config;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic_types::StatusExt;
use uuid::Uuid;

const CLUSTER: ClusterId = ClusterId([7; 16]);
const VALID: Validity = Validity {
    not_before: UnixMs(1_600_000_000_000),
    not_after: UnixMs(4_000_000_000_000),
};
const PATIENCE: Duration = Duration::from_secs(30);

/// Always, so that the test does not depend on the day it runs.
const TIMETABLE: &str = r#"
[[day]]
heading = "10 June 2023 (Saturday)"

[[day.session]]
id = "S1-2023-06-10"
centre = "east"
opens = "18:00"
closes = "20:00"
purpose = "connectivity-test"
"#;

struct World {
    _folder: tempfile::TempDir,
    node: server::Node,
    authorities: Authorities,
    front: Issued,
    operator: Issued,
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

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let authorities = Authorities::create("test", VALID).unwrap();
    let name = server::peer_name(NodeId(1));
    let node = authorities
        .peer
        .issue_node(CLUSTER, NodeId(1), &[&name, "localhost"], &[], VALID)
        .unwrap();
    let front = Holder::FrontEnd(FrontEndId::parse("www").unwrap());
    let front = authorities
        .front
        .issue_client(&identity(front), VALID)
        .unwrap();
    let operator = Holder::Operator(OperatorId::parse("kay").unwrap());
    let operator = authorities
        .operator
        .issue_client(&identity(operator), VALID)
        .unwrap();
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = reserved.local_addr().unwrap();
    drop(reserved);
    let founding = Founding {
        cluster: CLUSTER,
        title: "test".to_owned(),
        primary: Centre {
            name: CentreName::parse("east").unwrap(),
            nodes: vec![domain::cluster::Node {
                id: NodeId(1),
                address: peer.to_string(),
            }],
        },
        secondary: None,
        operators: [
            ("kay", operator.key),
            ("lee", domain::cluster::KeyPin([1; 32])),
        ]
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
            key: front.key,
        }],
        policy: Policy::default(),
        calendar: Calendar::new(Timetable::parse(TIMETABLE).unwrap(), Default::default()),
        simulated_clock: false,
        clock_offset_ms: 0,
    };
    write(
        at,
        "founding.json",
        &serde_json::to_string(&founding).unwrap(),
    );
    write(
        at,
        "keys.toml",
        &key_file::found(UnixMs(0), &SystemEntropy::new()),
    );
    write(at, "node.pem", &node.certificate_pem);
    write(at, "node.key", &node.key_pem);
    for (name, authority) in [
        ("front.pem", &authorities.front),
        ("back.pem", &authorities.back),
        ("operator.pem", &authorities.operator),
        ("peer.pem", &authorities.peer),
        ("cards.pem", &authorities.card),
    ] {
        write(at, name, authority.certificate_pem());
    }
    write(
        at,
        "node.toml",
        &format!(
            "node = 1\ndata = \"data\"\nfounding = \"founding.json\"\nkeys = \"keys.toml\"\n\
             certificate = \"node.pem\"\nprivate_key = \"node.key\"\n\
             [listen]\nfront = \"127.0.0.1:0\"\nback = \"127.0.0.1:0\"\n\
             operator = \"127.0.0.1:0\"\npeer = \"{peer}\"\n\
             [anchors]\nfront = \"front.pem\"\nback = \"back.pem\"\n\
             operator = \"operator.pem\"\npeer = \"peer.pem\"\ncards = \"cards.pem\"\n"
        ),
    );
    let config = Config::read(&at.join("node.toml")).unwrap();
    World {
        node: server::Node::start(config).await.unwrap(),
        _folder: folder,
        authorities,
        front,
        operator,
    }
}

impl World {
    async fn channel(
        &self,
        address: std::net::SocketAddr,
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

    /// The status, once the cluster is founded.
    async fn founded(&self) -> proto::operator::v1::GetStatusResponse {
        let address = self.node.addresses().operator;
        let channel = self.channel(address, &self.operator).await.unwrap();
        let mut client = ClusterServiceClient::new(channel);
        let asked = async {
            loop {
                match client.get_status(GetStatusRequest {}).await {
                    Ok(status) => return status.into_inner(),
                    Err(status) if status.code() == Code::Unavailable => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    Err(status) => panic!("{status:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, asked)
            .await
            .expect("founded in time")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_its_status_refuses_logins_and_keeps_callers_apart() {
    let world = world().await;
    let status = world.founded().await;
    assert_eq!(status.node_id, 1);
    assert_eq!(status.node_centre, "east");

    // A front end at its own listener: facts of the service, and no login outside a session.
    let addresses = world.node.addresses();
    let channel = world.channel(addresses.front, &world.front).await.unwrap();
    let mut client = AuthServiceClient::new(channel);
    let landing = client
        .list_landing_options(ListLandingOptionsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(landing.options.len(), 5);
    let refused = client
        .begin_login(BeginLoginRequest {
            request_id: Uuid::now_v7().to_string(),
            user_id: "KAY01".to_owned(),
            option: "ccms-otp-online".to_owned(),
            password: "low tide at noon".to_owned(),
            client_address: "192.0.2.1".to_owned(),
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.reason, "SESSION_CLOSED");

    // The operators' services are not there, nor would the operators' listener let it in.
    let channel = world.channel(addresses.front, &world.front).await.unwrap();
    let absent = ClusterServiceClient::new(channel)
        .get_status(GetStatusRequest {})
        .await
        .unwrap_err();
    assert_eq!(absent.code(), Code::Unimplemented);
    let strange = match world.channel(addresses.operator, &world.front).await {
        Err(_) => None,
        Ok(channel) => ClusterServiceClient::new(channel)
            .get_status(GetStatusRequest {})
            .await
            .ok(),
    };
    assert!(strange.is_none(), "another anchor is no way in");
    world.node.stop().await;
}
