//! What people and operators are told when the secondary centre confirms nothing (LINES.md,
//! "Protection").
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use domain::policy::Policy;
use domain::protection::Mode;
use proto::admin::v1::account_service_client::AccountServiceClient;
use proto::admin::v1::{GetAccountRequest, SuspendAccountRequest};
use proto::operator::v1::cluster_service_client::ClusterServiceClient;
use proto::operator::v1::{GetStatusRequest, GetStatusResponse, ProtectionMode, Verdict};
use server::gate::PROTECTION;
use tests::Cluster;
use tests::cast::{CHAN, LAU, Person, TAM};
use tests::cluster::{refused, until};
use tidemark::drill::request;

const SUSPENDED: &str = "Your account was suspended.";

async fn status(cluster: &Cluster, node: u64) -> GetStatusResponse {
    let doors = cluster.operators(1);
    let door = doors.iter().find(|door| door.node == node).unwrap();
    let answer = ClusterServiceClient::new(door.channel.clone())
        .get_status(request(GetStatusRequest {}))
        .await;
    answer.unwrap().into_inner()
}

/// What a suspension through a node says of its protection.
async fn suspended(cluster: &Cluster, node: u64, person: &Person) -> Option<String> {
    let doors = cluster.operators(1);
    let door = doors.iter().find(|door| door.node == node).unwrap();
    let message = SuspendAccountRequest {
        request_id: cluster.id(),
        name: person.resource(),
        reason: "the card was stolen".to_owned(),
        ..SuspendAccountRequest::default()
    };
    let answer = AccountServiceClient::new(door.channel.clone())
        .suspend_account(request(message))
        .await
        .unwrap();
    let said = answer.metadata().get(PROTECTION)?;
    Some(said.to_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_secondary_lacks_is_said_to_be_committed_and_not_protected() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    until("the secondary is relied on", async || {
        let protection = status(&cluster, 2).await.protection?;
        protection.degraded_time.is_none().then_some(())
    })
    .await;
    let before = status(&cluster, 2).await.protection.unwrap();
    assert_eq!(before.mode(), ProtectionMode::Sync);
    assert_eq!(suspended(&cluster, 3, &CHAN).await, None);

    cluster.stop(5).await;
    cluster.stop(6).await;
    let said = suspended(&cluster, 3, &TAM).await;
    assert_eq!(said.as_deref(), Some("degraded"));
    let degraded = status(&cluster, 3).await;
    assert_eq!(degraded.verdict(), Verdict::Warning);
    let reasons = &degraded.reasons;
    assert!(
        reasons
            .iter()
            .any(|reason| reason.starts_with("degraded since")),
        "{reasons:?}"
    );
    let counted = degraded.protection.unwrap().degraded_count;
    assert_eq!(counted, before.degraded_count + 1);
    // People log in all the while.
    cluster.with_card(&LAU).await;

    cluster.restart(5).await;
    cluster.restart(6).await;
    let after = until("the secondary is relied on again", async || {
        let protection = status(&cluster, 4).await.protection?;
        protection.degraded_time.is_none().then_some(protection)
    })
    .await;
    assert!(after.degraded_ms > before.degraded_ms);
    let kinds = cluster.audited_kinds().await;
    for kind in ["ProtectionDegraded", "ProtectionRecovered"] {
        assert!(kinds.contains_key(kind), "{kind}: {kinds:?}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_waits_until_what_it_tells_of_is_protected() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let strict = Policy {
        protection: Mode::Strict,
        ..cluster.policy().await
    };
    cluster.has_policy(&strict).await;
    suspended(&cluster, 3, &CHAN).await;
    let told = cluster.notice(&CHAN, SUSPENDED).await;
    assert!(!told.drill, "{}", told.text);

    cluster.stop(5).await;
    cluster.stop(6).await;
    let leader = cluster.main_leader().await;
    let doors = cluster.operators(1).to_vec();
    let door = doors.iter().find(|door| door.node == leader).unwrap();
    let message = SuspendAccountRequest {
        request_id: cluster.id(),
        name: TAM.resource(),
        reason: "the card was stolen".to_owned(),
        ..SuspendAccountRequest::default()
    };
    // It is committed at once, and nobody hears of it for as long as the call waits.
    let unknown = AccountServiceClient::new(door.channel.clone())
        .suspend_account(request(message))
        .await;
    assert_eq!(refused(unknown), "OUTCOME_UNKNOWN");
    // Who reads is told why nothing is answered, at each node of the primary.
    for door in doors.iter().filter(|door| door.node <= 3) {
        let message = GetAccountRequest {
            name: TAM.resource(),
        };
        let read = AccountServiceClient::new(door.channel.clone())
            .get_account(request(message))
            .await;
        assert_eq!(refused(read), "SECONDARY_UNREACHABLE", "node {}", door.node);
    }
    let state = cluster.node(leader).lines().main().state();
    let account = state.account(&TAM.id.parse().unwrap()).unwrap().clone();
    assert!(!account.active(), "it is not committed");
    assert_eq!(cluster.waiting_at(leader), 1);
    assert!(cluster.notices(&TAM, SUSPENDED).is_empty());

    cluster.restart(5).await;
    let told = cluster.notice(&TAM, SUSPENDED).await;
    assert_eq!(told.node, cluster.main_leader().await);
    cluster.end().await;
}
