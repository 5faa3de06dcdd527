//! The list of stolen passwords in a node's configuration (S18).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use crate::world::{Shape, World, at, prepared, request_at, until, verifier};
use proto::account::v1::{AccountClass, ChangeReason};
use proto::admin::v1::AccountRow;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::verify_factor_request::Factor;
use proto::auth::v1::{BeginLoginRequest, CardProof, ChangePasswordRequest, VerifyFactorRequest};
use proto::operator::v1::AdvanceClockRequest;
use proto::operator::v1::clock_service_client::ClockServiceClient;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

/// The SHA-1 of a password that was stolen elsewhere, `harbour-lantern-17`, between two others.
const LIST: &str = "0000000000000000000000000000000000000001:3\n\
    {stolen}:12\n\
    FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF\n";
const STOLEN: &str = "harbour-lantern-17";

/// A world whose node has the list, which anybody may write if `mode` says so.
fn listed(mode: u32, list: &str, shape: Shape) -> World {
    let world = prepared(shape);
    let path = world.folder().join("pwned.txt");
    std::fs::write(&path, list).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    let config = world.folder().join("node-1.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        format!("breached_passwords = \"pwned.txt\"\n{text}"),
    )
    .unwrap();
    world
}

fn list() -> String {
    let hash = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, STOLEN.as_bytes());
    let hex: String = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    LIST.replace("{stolen}", &hex)
}

/// A login by card in session 1, and the password that it was made with.
async fn logged_in(world: &World, password: &str) -> (AuthServiceClient<Channel>, String) {
    let now = || request_at(world.nodes[0].lines().time());
    let row = AccountRow {
        line: 2,
        user_id: "KAY01".to_owned(),
        participant_id: "C1".to_owned(),
        account_class: AccountClass::User.into(),
        title: "somebody".to_owned(),
        card_number: "CARD-1".to_owned(),
        card_verifier: verifier(password),
        ..AccountRow::default()
    };
    world.import(vec![row]).await.unwrap();
    let opens = at(18, 1);
    let seconds = i64::try_from(opens.0 / 1_000).unwrap();
    ClockServiceClient::new(world.operator(0, &world.kay).await)
        .advance_clock(AdvanceClockRequest {
            request_id: now(),
            clock_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        })
        .await
        .unwrap();
    let address = world.nodes[0].addresses().front;
    let channel = world.channel(address, &world.front).await.unwrap();
    let mut client = AuthServiceClient::new(channel);
    let begun = until("the session opens", async || {
        let message = BeginLoginRequest {
            request_id: now(),
            user_id: "KAY01".to_owned(),
            option: "ccms-smartcard-online-and-reports".to_owned(),
            password: password.to_owned(),
            client_address: "192.0.2.1".to_owned(),
        };
        client.begin_login(message).await.ok()
    })
    .await
    .into_inner();
    let card = world.card("CARD-1");
    let challenge = begun.card_challenge.unwrap();
    let signed = credential::card::Challenge {
        line: world.nodes[0].lines().main().reference(),
        portal: domain::portal::Portal::Ccms,
        option: challenge.option,
        user_id: challenge.user_id,
        nonce: challenge.nonce.try_into().unwrap(),
        expires_at: domain::UnixMs(challenge.expire_unix_ms),
    };
    let proof = CardProof {
        certificate_chain_der: card.chain().iter().map(|der| der.to_vec()).collect(),
        signature: card.sign(&signed).unwrap(),
    };
    let login = client
        .verify_factor(VerifyFactorRequest {
            request_id: now(),
            login_id: begun.login_id,
            factor: Some(Factor::Card(proof)),
            client_address: "192.0.2.1".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    (client, login.access_token)
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_a_stolen_password_is_refused_as_a_new_one() {
    let mut world = listed(0o600, &list(), Shape::TwoCentres);
    for node in 0..2 {
        let started = world.start(node).await.unwrap();
        world.nodes.push(started);
    }
    world.founded().await;
    let (mut client, token) = logged_in(&world, "ferry pier seven").await;
    let mut change = async |new: &str| {
        let message = ChangePasswordRequest {
            request_id: request_at(world.nodes[0].lines().time()),
            current_password: "ferry pier seven".to_owned(),
            new_password: new.to_owned(),
            reason: ChangeReason::Routine.into(),
            client_address: "192.0.2.1".to_owned(),
        };
        let mut request = tonic::Request::new(message);
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        client.change_password(request).await
    };
    let refused = change(STOLEN).await.unwrap_err();
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.reason, "PASSWORD_BREACHED");
    assert!(
        refused.message().contains("stolen elsewhere"),
        "{refused:?}"
    );
    assert!(!refused.message().contains(STOLEN));
    change("harbour-lantern-18").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_a_node_does_not_start_with_a_list_that_it_cannot_rely_on() {
    for (mode, text, told) in [
        (0o622, list(), "can be written by others"),
        (0o600, "password\n".to_owned(), "SHA-1"),
        (0o600, format!("{}{}", list(), list()), "sorted"),
        (0o600, String::new(), "is empty"),
    ] {
        let world = listed(mode, &text, Shape::OneNode);
        let refused = world.start(0).await.unwrap_err().to_string();
        assert!(refused.contains(told), "{refused}");
        assert!(refused.contains("pwned.txt"), "{refused}");
    }
}
