//! A client that was configured once goes with the serving centre: the name, the certificate's name
//! and the ports are the same at both, and nothing but the address behind the name differs.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proto::auth::v1::ListLandingOptionsRequest;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use tests::cast::{CARD, CCMS_CARD, CHAN};
use tests::client::{Client, door};
use tests::cluster::{EAST, S1, S2, WEST, settled, until};
use tests::{By, Cluster};
use tidemark::drill::request;
use tidemark::refusal;
use tonic::Status;
use tonic::transport::Channel;

async fn landing(channel: Channel) -> Result<String, Status> {
    let answer = AuthServiceClient::new(channel)
        .list_landing_options(request(ListLandingOptionsRequest::default()))
        .await?
        .into_inner();
    Ok(answer.session.unwrap().session)
}

/// The front-end listeners of each centre, by node.
fn fronts(cluster: &Cluster) -> BTreeMap<String, Vec<SocketAddr>> {
    let mut fronts: BTreeMap<String, Vec<SocketAddr>> = BTreeMap::new();
    for node in cluster.profile().nodes() {
        let address = node.front.parse().unwrap();
        let known = fronts.entry(node.centre.to_string()).or_default();
        known.push(address);
    }
    fronts
}

fn ports(fronts: &[SocketAddr]) -> Vec<u16> {
    fronts.iter().map(SocketAddr::port).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_configured_once_logs_in_at_either_centre_r4() {
    let cluster = Box::pin(Cluster::start()).await;
    let fronts = fronts(&cluster);
    let (east, west) = (&fronts[EAST], &fronts[WEST]);
    assert_eq!(ports(east), ports(west), "the same ports at both centres");
    let (primary, secondary) = (east.first().unwrap(), west.first().unwrap());
    assert_ne!(primary.ip(), secondary.ip());
    let client = Client::configured(&cluster, "www.ccass.com", primary.port());

    cluster.serves_at("2023-06-10 18:00").await;
    // Each node's certificate holds the name, and no other one (R19).
    for address in east.iter().chain(west) {
        let named = Client::configured(&cluster, "www.ccass.com", address.port());
        let session = landing(named.dial(address.ip())).await.unwrap();
        assert_eq!(session, S1, "{address}");
        let other = Client::configured(&cluster, "www.ccass.example", address.port());
        assert!(landing(other.dial(address.ip())).await.is_err());
    }
    let name_is_primary = door(client.dial(primary.ip()), EAST);
    let log_in = async |door| {
        let logged_in = cluster.log_in_at(door, &CHAN, CCMS_CARD, CARD, By::Card);
        logged_in.await
    };
    settled(|| log_in(&name_is_primary)).await.unwrap();

    cluster.session_2().await;
    // The name still stands for the primary: the client is told which centre serves (R19).
    let refused = until("the primary's node has heard of it", async || {
        let status = log_in(&name_is_primary).await.unwrap_err();
        let reason = refusal::reason(&status);
        (reason.as_deref() == Some("CENTRE_NOT_SERVING")).then_some(status)
    })
    .await;
    assert_eq!(refusal::fact(&refused, "centre").as_deref(), Some(WEST));

    let name_is_secondary = door(client.dial(secondary.ip()), WEST);
    let session = landing(client.dial(secondary.ip())).await.unwrap();
    assert_eq!(session, S2);
    let token = settled(|| log_in(&name_is_secondary)).await.unwrap();
    assert_eq!(token.answer.function_status, "Function not available");
    cluster.end().await;
}
