//! One node, real sockets, real disk: what a caller meets at each listener.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::world::{Shape, World, prepared, until, world};
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::{BeginLoginRequest, ListLandingOptionsRequest};
use proto::operator::v1::cluster_service_client::ClusterServiceClient;
use proto::operator::v1::{GetStatusRequest, Verdict};
use server::node::Fault;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_its_status_refuses_logins_and_keeps_callers_apart() {
    let world = world(Shape::OneNode).await;
    let status = world.status(0).await;
    assert_eq!(status.node_id, 1);
    assert_eq!(status.node_centre, "east");

    // A front end at its own listener: facts of the service, and no login outside a session.
    let addresses = world.nodes[0].addresses();
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
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_file_than_the_clusters_is_refused_also_with_an_empty_folder() {
    let world = prepared(Shape::OneNode);
    let ours = std::fs::read(world.folder().join("keys.toml")).unwrap();
    let entropy = credential::SystemEntropy::new();
    let others = credential::key_file::found(domain::UnixMs(0), &entropy);
    std::fs::write(world.folder().join("keys.toml"), others.as_bytes()).unwrap();
    let refused = world.start(0).await;
    assert!(
        matches!(refused, Err(server::Error::Keys { .. })),
        "{refused:?}"
    );
    assert!(!world.folder().join("data-1").exists(), "nothing was made");
    std::fs::write(world.folder().join("keys.toml"), ours).unwrap();
    world.start(0).await.unwrap().stop().await;
}

/// Gives the cluster another title in the founding file.
fn retitle(folder: &std::path::Path) {
    let path = folder.join("founding.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut founding: domain::cluster::Founding = serde_json::from_str(&text).unwrap();
    founding.title = "another".to_owned();
    std::fs::write(path, serde_json::to_string(&founding).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_founding_file_than_the_folders_is_refused() {
    let mut world = world(Shape::OneNode).await;
    world.nodes.remove(0).stop().await;
    retitle(world.folder());
    let refused = world.start(0).await;
    assert!(
        matches!(refused, Err(server::Error::OtherFounding { .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_with_another_founding_file_than_its_clusters_fails() {
    let mut world = prepared(Shape::TwoCentres);
    let east = world.start(0).await.unwrap();
    world.nodes.push(east);
    retitle(world.folder());
    let west = world.start(1).await.unwrap();
    let fault = tokio::time::timeout(std::time::Duration::from_secs(30), west.failed()).await;
    assert!(matches!(fault, Ok(Fault::Founding)), "{fault:?}");
    west.stop().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_of_exports_is_gone_after_a_start() {
    let world = prepared(Shape::OneNode);
    let data = world.folder().join("data-1");
    world.start(0).await.unwrap().stop().await;
    std::fs::write(data.join("export-1.unfinished"), "half").unwrap();
    world.start(0).await.unwrap().stop().await;
    assert!(!data.join("export-1.unfinished").exists());
}

/// What health says of a service at a node; the node as a whole for an empty name.
async fn serves(world: &World, node: usize, service: &str) -> bool {
    let channel = world.operator(node, &world.kay).await;
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(channel).check(request).await.unwrap();
    answer.into_inner().status() == ServingStatus::Serving
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hears_its_leader_no_more_does_not_say_that_it_serves() {
    let mut world = world(Shape::TwoCentres).await;
    let west = 1;
    until("the secondary serves", async || {
        serves(&world, west, "").await.then_some(())
    })
    .await;
    world.nodes.remove(0).stop().await;
    // The others stay where they are in the list.
    let west = 0;
    assert!(world.nodes[west].lines().main().leader().is_some());
    for service in ["", "tidemark.audit.v1.AuditService"] {
        until("it says so", async || {
            (!serves(&world, west, service).await).then_some(())
        })
        .await;
    }
    let status = world.status(west).await;
    assert_eq!(status.verdict(), Verdict::Error, "{:?}", status.reasons);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_engine_has_stopped_serves_nothing_and_says_error() {
    let world = world(Shape::OneNode).await;
    assert!(serves(&world, 0, "").await);
    world.nodes[0].lines().main().stop().await;
    for service in ["", "tidemark.operator.v1.ClusterService"] {
        assert!(!serves(&world, 0, service).await);
    }
    let status = world.status(0).await;
    assert_eq!(status.verdict(), Verdict::Error);
    let said = status
        .reasons
        .iter()
        .any(|reason| reason.contains("node 1: main has stopped there"));
    assert!(said, "{:?}", status.reasons);
    let fault = world.nodes[0].failed().await;
    assert!(
        matches!(
            fault,
            Fault::Line {
                line: domain::LineId::Main,
                ..
            }
        ),
        "{fault:?}"
    );
    world.stop().await;
}
