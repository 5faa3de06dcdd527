//! Keys rotate by the verbs of the built binary against six processes, as docs/operations.md says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::cluster::{Cluster, said, tidemark, until};

const USAGE: i32 = 2;
const PRE_CHECK: i32 = 3;
const REFUSED: i32 = 4;
const ALREADY: i32 = 8;

#[test]
fn a_key_rotates_by_its_verbs_and_a_file_without_it_stops_a_node() {
    let mut cluster = Cluster::start();
    cluster.import();
    let file = |node: u64| cluster.path(&format!("nodes/{node}/keys.toml"));
    let first = file(1);
    let before = fs::read_to_string(&first).unwrap();

    let add = |more: &[&str]| {
        let mut words = vec!["key", "add", first.to_str().unwrap()];
        words.extend(more);
        said(&tidemark(&words))
    };
    assert_eq!(add(&["--dry-run"]).0, 0);
    assert_eq!(fs::read_to_string(&first).unwrap(), before);
    assert_eq!(add(&["--id", "1"]).0, PRE_CHECK);
    let (code, told) = add(&[]);
    assert_eq!(code, 0, "{told}");
    assert!(told.lines().any(|line| line == "3"), "{told}");
    let mode = fs::metadata(&first).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let after = fs::read_to_string(&first).unwrap();
    assert!(after.starts_with(&before));
    for line in after.lines() {
        if let Some(secret) = line.strip_prefix("secret = ") {
            assert!(!told.contains(secret.trim_matches('"')), "{told}");
        }
    }

    let ask = |act: &[&str]| cluster.operator(act);
    let announce = ["key", "announce", "3", "--node", "1"];
    until("node 1 has read its file again", || ask(&announce).0 == 0);
    cluster.expect(&announce, ALREADY, &[]);
    cluster.expect(&["key", "use", "3"], PRE_CHECK, &["2, 3, 4, 5, 6"]);
    for node in 2..=6 {
        let partial = file(node).with_extension("new");
        fs::copy(&first, &partial).unwrap();
        fs::rename(partial, file(node)).unwrap();
    }
    until("every node proved it", || ask(&["key", "use", "3"]).0 == 0);
    cluster.expect(&["key", "reseal"], 0, &["are sealed with the key in use"]);
    cluster.expect(&["key", "list"], 0, &["old", "in use", "6 of 6"]);
    cluster.expect(&["key", "retire", "3", "--confirm", "3"], REFUSED, &[]);
    cluster.expect(&["key", "retire", "1"], USAGE, &["--confirm 1"]);
    cluster.expect(&["key", "retire", "1", "--dry-run"], 0, &["dry run"]);
    cluster.expect(&["key", "retire", "1", "--confirm", "1"], 0, &["retired"]);
    cluster.expect(&["audit", "list", "--kind", "KeyUsed"], 0, &["key 3"]);

    cluster.kill(&[2]);
    fs::write(cluster.path("nodes/2/keys.toml"), &before).unwrap();
    cluster.spawn(&[2]);
    let (code, told) = cluster.ends(2);
    assert_ne!(code, 0);
    assert!(told.contains("does not hold key 3"), "{told}");
}
