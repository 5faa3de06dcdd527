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

use crate::world::{Shape, World, prepared, request_at};
use proto::account::v1::AccountClass;
use proto::admin::v1::import_service_client::ImportServiceClient;
use proto::admin::v1::{AccountRow, ImportAccountsRequest, ImportAccountsResponse, ParticipantRow};
use tonic::Status;
use tonic_types::StatusExt as _;

/// The SHA-1 of a password that was stolen elsewhere, `harbour-lantern-17`, between two others.
const LIST: &str = "0000000000000000000000000000000000000001:3\n\
    {stolen}:12\n\
    FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF\n";
const STOLEN: &str = "harbour-lantern-17";

/// A world whose node has the list, which anybody may write if `mode` says so.
fn listed(mode: u32, list: &str) -> World {
    let world = prepared(Shape::OneNode);
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

async fn import(
    world: &World,
    password: &str,
    dry_run: bool,
) -> Result<ImportAccountsResponse, Status> {
    let request = ImportAccountsRequest {
        request_id: request_at(world.nodes[0].lines().time()),
        participants: vec![ParticipantRow {
            line: 1,
            participant_id: "C1".to_owned(),
            title: "a firm".to_owned(),
        }],
        accounts: vec![AccountRow {
            line: 2,
            user_id: "U1".to_owned(),
            participant_id: "C1".to_owned(),
            account_class: AccountClass::DelegatedAdmin.into(),
            title: "somebody".to_owned(),
            card_number: "CARD-1".to_owned(),
            card_password: password.to_owned(),
            ..AccountRow::default()
        }],
        dry_run,
    };
    ImportServiceClient::new(world.operator(0, &world.kay).await)
        .import_accounts(request)
        .await
        .map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_a_stolen_password_is_refused_where_an_import_brings_it() {
    let mut world = listed(0o600, &list());
    let node = world.start(0).await.unwrap();
    world.nodes.push(node);
    world.founded().await;

    let dry = import(&world, STOLEN, true).await.unwrap();
    assert_eq!(dry.problems.len(), 1, "{dry:?}");
    assert_eq!(
        (dry.problems[0].line, dry.problems[0].column.as_str()),
        (2, "card_password")
    );
    assert!(dry.problems[0].text.contains("stolen elsewhere"), "{dry:?}");
    let refused = import(&world, STOLEN, false).await.unwrap_err();
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.reason, "BAD_ROWS");
    assert!(!refused.message().contains(STOLEN));
    import(&world, "harbour-lantern-18", false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_a_node_does_not_start_with_a_list_that_it_cannot_rely_on() {
    for (mode, text, told) in [
        (0o622, list(), "can be written by others"),
        (0o600, "password\n".to_owned(), "SHA-1"),
        (0o600, format!("{}{}", list(), list()), "sorted"),
        (0o600, String::new(), "is empty"),
    ] {
        let world = listed(mode, &text);
        let refused = world.start(0).await.unwrap_err().to_string();
        assert!(refused.contains(told), "{refused}");
        assert!(refused.contains("pwned.txt"), "{refused}");
    }
}
