//! The fence hook of a promotion, with six processes of the built binary: it is called with the
//! old primary's name, and unless it says that the old primary has stopped, nothing is promoted
//! (LINES.md, "Promotion", 5).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::cluster::{ALL, Cluster, SECONDARY, until};

const REFUSED: i32 = 4;
const LOSS: i32 = 6;

/// A hook that notes what it is called with, and ends as the file `verdict` says.
fn write_hook(path: &Path) {
    let text = "#!/bin/sh\n\
                here=$(dirname \"$0\")\n\
                echo \"$# $1\" >>\"$here/called\"\n\
                exit \"$(cat \"$here/verdict\")\"\n";
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

/// Six nodes of which those of the secondary have the hook; none if a port was taken meanwhile.
fn hooked() -> Option<Cluster> {
    let mut cluster = Cluster::found();
    write_hook(&cluster.path("hook"));
    for node in SECONDARY {
        let file = cluster.path(&format!("nodes/{node}/node.toml"));
        let text = fs::read_to_string(&file).unwrap();
        // A path begins at the file's own folder.
        fs::write(&file, format!("fence_hook = \"../../hook\"\n{text}")).unwrap();
    }
    cluster.spawn(&ALL);
    cluster.ready().then_some(cluster)
}

fn called(cluster: &Cluster) -> String {
    fs::read_to_string(cluster.path("called")).unwrap_or_default()
}

fn verdict(cluster: &Cluster, code: &str) {
    fs::write(cluster.path("verdict"), code).unwrap();
}

fn not_promoted(cluster: &Cluster) {
    for node in SECONDARY {
        let node = node.to_string();
        let told = cluster.operator(&["status", "--node", &node]).1;
        assert!(told.contains("main, epoch 1"), "{told}");
        assert!(told.contains("east    primary"), "{told}");
    }
}

#[test]
fn a_promotion_is_done_once_the_fence_hook_says_so_and_not_before() {
    let mut cluster = (0..5).find_map(|_| hooked()).expect("free ports");
    until("the other centre is relied on", || {
        let (code, told) = cluster.operator(&["status"]);
        code == 0 && !told.contains("DEGRADED")
    });
    let create = ["participant", "create", "C00081", "A firm"];
    cluster.expect(&create, 0, &[]);
    cluster.kill(&[1, 2, 3]);
    let promote = ["centre", "promote", "--to", "west", "--confirm", "west"];
    let promote = [&promote[..], &["--reason", "the east burns"]].concat();
    let promote = [&promote[..], &["--accept-loss", "unknown"]].concat();
    let second = [&promote[..], &["--as", "bob"]].concat();

    // One signature asks nobody to stop anything.
    verdict(&cluster, "1");
    cluster.expect(&promote, 0, &["1 of 2"]);
    assert_eq!(called(&cluster), "");
    // It could not stop the old primary: nothing is promoted.
    cluster.expect(&second, REFUSED, &["NOT_FENCED", "Nothing was promoted"]);
    assert_eq!(called(&cluster), "1 east\n");
    not_promoted(&cluster);
    assert!(
        cluster
            .log(4)
            .contains("the fence hook did not stop the old primary")
    );
    // Nor where it cannot be run.
    let hook = cluster.path("hook");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o600)).unwrap();
    cluster.expect(&second, REFUSED, &["NOT_FENCED"]);
    assert_eq!(called(&cluster), "1 east\n");
    not_promoted(&cluster);

    // It has: the same order goes on.
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o700)).unwrap();
    verdict(&cluster, "0");
    let words = ["west is the primary", "fence: by the hook"];
    cluster.expect(&second, LOSS, &words);
    assert_eq!(called(&cluster), "1 east\n1 east\n");
    let there = ["participant", "show", "C00081", "--node", "4"];
    cluster.expect(&there, 0, &["A firm"]);
    let told = cluster.operator(&["status", "--node", "4"]).1;
    assert!(told.contains("main, epoch 2"), "{told}");
}
