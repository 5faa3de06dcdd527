//! Messages that are not what an rpc asks for: each gets a clear refusal, and nothing is changed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use proto::operator::v1::session_service_client::SessionServiceClient;
use server::table::{Rpc, Table};
use tests::Cluster;
use tests::raw::send;
use tidemark::drill::Door;
use tidemark::refusal;
use tonic::{Code, Request};

/// Field numbers without an end: no message of any type.
const GARBAGE: [u8; 48] = [0xff; 48];
/// More than a listener takes.
const TOO_LARGE: usize = 2 * server::listener::MESSAGE_BYTES_MAX;

fn door(cluster: &Cluster, rpc: &Rpc) -> Door {
    let doors = match rpc.service.as_str() {
        "tidemark.auth.v1.AuthService" => cluster.front(),
        "tidemark.token.v1.TokenService" => cluster.back().to_vec(),
        _ => cluster.operators(1).to_vec(),
    };
    doors.into_iter().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_is_refused_and_changes_nothing() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let before = cluster.agreed_digests().await;
    let table = Table::read().unwrap();
    for rpc in table.rpcs() {
        let door = door(&cluster, rpc);
        for (bytes, expected) in [
            (GARBAGE.to_vec(), "MALFORMED_MESSAGE"),
            (vec![0; TOO_LARGE], "MESSAGE_TOO_LARGE"),
        ] {
            let Err(refused) = send(&door, &rpc.path, bytes).await else {
                panic!("{}: {expected} was answered", rpc.path);
            };
            assert_eq!(
                refused.code(),
                Code::InvalidArgument,
                "{} {refused:?}",
                rpc.path
            );
            let reason = refusal::reason(&refused);
            assert_eq!(reason.as_deref(), Some(expected), "{}", rpc.path);
        }
        // Some rpcs can answer a message without a single field; none may fail on it.
        if let Err(refused) = send(&door, &rpc.path, Vec::new()).await {
            let reason = refusal::reason(&refused);
            assert!(reason.is_some(), "{}: {refused:?}", rpc.path);
            assert_ne!(refused.code(), Code::Internal, "{}", rpc.path);
        }
    }
    let after = cluster.agreed_digests().await;
    assert_eq!(after.account, before.account);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rpc_of_another_listener_is_unknown() {
    let cluster = Box::pin(Cluster::start()).await;
    let front = cluster.front().into_iter().next().unwrap();
    let refused = SessionServiceClient::new(front.channel)
        .list_sessions(Request::new(Default::default()))
        .await
        .unwrap_err();
    assert_eq!(refusal::reason(&refused).as_deref(), Some("UNKNOWN_RPC"));
    cluster.end().await;
}
