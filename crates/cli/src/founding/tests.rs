//! Founded folders: whole, private, and never written over.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn plan() -> Plan {
    let node = |id: u64, centre: &str| {
        let port = |offset| {
            let port = u16::try_from(7000 + 10 * id).unwrap() + offset;
            SocketAddr::from(([127, 0, 0, 1], port))
        };
        PlannedNode {
            id: NodeId(id),
            centre: centre.parse().unwrap(),
            listen: [port(0), port(1), port(2), port(3)],
            health: (id == 1).then(|| port(4)),
            metrics: (id == 1).then(|| port(5)),
        }
    };
    Plan {
        title: "test".to_owned(),
        primary: "east".parse().unwrap(),
        secondary: Some("west".parse().unwrap()),
        nodes: vec![node(1, "east"), node(2, "west")],
        server_name: "www.ccass.com".to_owned(),
        operators: vec!["alice".parse().unwrap(), "bob".parse().unwrap()],
        front_ends: vec!["web-1".parse().unwrap()],
        back_ends: vec!["ccms-1".parse().unwrap()],
        calendar: Calendar::default(),
        now: UnixMs(1_795_000_000_000),
        simulated: Some(UnixMs(1_686_390_900_000)),
    }
}

#[test]
fn a_founded_folder_starts_nodes_and_serves_as_profile() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = found(&plan(), folder.path()).unwrap();
    let profile = profile::Profile::read(&folder.path().join("profile.toml")).unwrap();
    assert_eq!(profile.cluster(), cluster);
    assert_eq!(profile.nodes().len(), 2);
    for node in ["1", "2"] {
        let path = folder.path().join("nodes").join(node);
        let config = server::Config::read(&path.join("node.toml")).unwrap();
        assert!(config.anchors.cards.exists());
        let health = config.listen.health.map(|address| address.port());
        assert_eq!(health, (node == "1").then_some(7014));
        let text = fs::read_to_string(config.founding).unwrap();
        let founding: Founding = serde_json::from_str(&text).unwrap();
        assert_eq!(founding.cluster, cluster);
        assert!(founding.simulated_clock);
        assert_eq!(
            founding.clock_offset_ms,
            1_686_390_900_000 - 1_795_000_000_000
        );
        let keys = fs::read_to_string(&config.keys).unwrap();
        let keyring = Keyring::parse(&keys).ok().unwrap();
        assert!(!founding.keys.is_empty(), "the record proves its keys");
        assert_eq!(keyring.check(cluster, &founding.keys), Ok(()));
    }
}

#[test]
fn private_keys_are_for_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    found(&plan(), folder.path()).unwrap();
    for secret in [
        "ca/operator.key",
        "nodes/1/keys.toml",
        "nodes/1/node.key",
        "operators/alice.key",
    ] {
        let facts = fs::metadata(folder.path().join(secret)).unwrap();
        assert_eq!(facts.permissions().mode() & 0o777, 0o600, "{secret}");
    }
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("keys.toml"), "mine").unwrap();
    assert!(found(&plan(), folder.path()).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_cluster_in_earnest_has_no_software_cards() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        simulated: None,
        ..plan()
    };
    found(&plan, folder.path()).unwrap();
    let profile = profile::Profile::read(&folder.path().join("profile.toml")).unwrap();
    assert!(profile.file().cards.is_none());
}
