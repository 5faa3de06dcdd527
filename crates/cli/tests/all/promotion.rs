//! `centre promote` as operators meet it, with six processes of the built binary (LINES.md,
//! "Promotion").

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::cluster::{Cluster, until};

const USAGE: i32 = 2;
const REFUSED: i32 = 4;
const LOSS: i32 = 6;
const ALREADY: i32 = 8;

fn started() -> Cluster {
    let cluster = Cluster::start();
    until("the other centre is relied on", || {
        let (_, told) = cluster.operator(&["status"]);
        told.contains("main, epoch 1") && !told.contains("DEGRADED")
    });
    cluster
}

fn promote<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let act = ["centre", "promote", "--to", "west", "--reason", "a drill"];
    [&act[..], more].concat()
}

fn create(firm: &str) -> [&str; 4] {
    ["participant", "create", firm, "A firm"]
}

/// Both operators say it at this node; the second one's word ends with this code.
fn both(cluster: &Cluster, node: &str, more: &[&str], code: i32, words: &[&str]) -> String {
    let more = [&["--confirm", "west", "--node", node][..], more].concat();
    cluster.expect(&promote(&more), 0, &["1 of 2"]);
    let second = [&promote(&more)[..], &["--as", "bob"]].concat();
    cluster.expect(&second, code, words)
}

fn is_sealed(cluster: &Cluster) -> bool {
    let told = ["4", "5", "6"].map(|node| cluster.operator(&["status", "--node", node]).1);
    told.iter()
        .any(|told| told.contains("sealed for a promotion"))
}

#[test]
fn what_ends_before_a_signature_leaves_no_seal_and_no_loss_ends_with_0() {
    let cluster = started();
    let dry = promote(&["--dry-run"]);
    let words = [
        "east    primary",
        "would go on from entry",
        "AGE",
        "the seals were taken back",
        "0 if the old primary stops",
    ];
    cluster.expect(&dry, 0, &words);
    assert!(!is_sealed(&cluster));
    let json = [&["--output", "json"], &dry[..]].concat();
    cluster.expect(
        &json,
        0,
        &["\"loss\": \"unknown\"", "\"loss_at_best\": \"0\""],
    );
    // Nobody can be asked: nothing is sealed for it.
    let told = cluster.expect(&promote(&[]), USAGE, &["--confirm west"]);
    assert!(!told.contains("sealing"), "{told}");
    let wrong = promote(&["--confirm", "east"]);
    let told = cluster.expect(&wrong, USAGE, &["is not west"]);
    assert!(!told.contains("sealing"), "{told}");
    let silent = promote(&["--confirm", "west"]);
    cluster.expect(
        &silent,
        USAGE,
        &["--accept-loss=0", "--accept-loss=unknown"],
    );
    let odd = promote(&["--accept-loss", "some"]);
    cluster.expect(&odd, USAGE, &["0, a number of entries, or unknown"]);
    assert!(!is_sealed(&cluster));
    until("the other centre is relied on", || {
        !cluster.operator(&["status"]).1.contains("DEGRADED")
    });

    cluster.expect(&create("C00081"), 0, &[]);
    let words = [
        "east    primary",
        "west    primary",
        "fence: acknowledged; loss: 0",
    ];
    both(&cluster, "4", &["--accept-loss=0"], 0, &words);
    let there = ["participant", "show", "C00081", "--node", "5"];
    cluster.expect(&there, 0, &["A firm"]);
    let again = promote(&["--confirm", "west", "--accept-loss=0"]);
    cluster.expect(&again, ALREADY, &["west is the primary"]);
    let well = [&again[..], &["--ok-if-done"]].concat();
    cluster.expect(&well, 0, &["west is the primary"]);
}

#[test]
fn a_strict_line_is_promoted_with_no_loss_whose_primary_is_dead() {
    let mut cluster = started();
    let policy = cluster.path("policy.toml");
    let (_, told) = cluster.operator(&["policy", "show"]);
    let strict = told.replace("protection = \"sync\"", "protection = \"strict\"");
    assert_ne!(strict, told, "{told}");
    std::fs::write(&policy, strict).unwrap();
    let set = [
        "policy",
        "set",
        policy.to_str().unwrap(),
        "--reason",
        "a drill",
    ];
    cluster.expect(&set, 0, &[]);
    cluster.expect(&[&set[..], &["--as", "bob"]].concat(), 0, &[]);
    cluster.expect(&create("C00081"), 0, &[]);
    cluster.kill(&[1, 2, 3]);
    // Nothing shows that it has stopped: that is said by name, and not that anything is lost.
    until("the east is not heard", || {
        let told = cluster.operator(&promote(&["--dry-run"])).1;
        told.contains("east does not answer")
    });
    both(
        &cluster,
        "4",
        &["--accept-loss=0"],
        REFUSED,
        &["NOT_FENCED"],
    );
    let words = ["fence: none; loss: 0", "both may serve"];
    let zero = ["--accept-loss=0", "--accept-split-brain"];
    both(&cluster, "4", &zero, LOSS, &words);
    let there = ["participant", "show", "C00081", "--node", "5"];
    cluster.expect(&there, 0, &["A firm"]);
}

#[test]
fn two_halves_that_were_both_promoted_stop_and_one_goes_on_by_two_operators_word() {
    let mut cluster = started();
    // A node that has this on its disk knows from there that the cluster is founded.
    cluster.expect(&create("C00081"), 0, &[]);
    for node in ["5", "6"] {
        let there = ["participant", "show", "C00081", "--node", node];
        until("it is there", || cluster.operator(&there).0 == 0);
    }
    cluster.kill(&[1, 2, 3, 5, 6]);
    let unknown = ["--accept-loss", "unknown", "--accept-split-brain"];
    both(&cluster, "4", &unknown, LOSS, &["west is the primary"]);
    cluster.expect(
        &[&create("C00084")[..], &["--node", "4"]].concat(),
        LOSS,
        &["C00084"],
    );
    cluster.kill(&[4]);
    cluster.spawn(&[5, 6]);
    until("the other half can be sealed", || {
        let told = cluster.operator(&promote(&["--dry-run", "--node", "5"])).1;
        told.contains("6     yes")
    });
    both(&cluster, "5", &unknown, LOSS, &["west is the primary"]);
    cluster.expect(
        &[&create("C00085")[..], &["--node", "5"]].concat(),
        LOSS,
        &["C00085"],
    );

    cluster.spawn(&[4]);
    until("both lines have stopped, and say so", || {
        ["4", "5", "6"].iter().all(|node| {
            let told = cluster.operator(&["status", "--node", node]).1;
            told.contains("there are two certificates for epoch 2") && told.contains("ERROR")
        })
    });

    // What the other half answered is read before it is wiped.
    cluster.expect(&["audit", "list", "--node", "4"], 0, &["C00084"]);
    until("the other half is heard", || {
        let told = cluster.operator(&promote(&["--dry-run", "--node", "5"])).1;
        told.contains("the other line of this epoch was begun by node 4 of west")
    });
    let words = [
        "west is the primary, after",
        "fence: acknowledged; loss: unknown",
        "two lines began",
    ];
    let unknown = ["--accept-loss", "unknown"];
    both(&cluster, "5", &unknown, LOSS, &words);
    until("the other half knows", || {
        let told = cluster.operator(&["status", "--node", "4"]).1;
        told.contains("from another line than is here")
    });

    let replace = ["node", "replace", "4", "--reason", "a drill"];
    let replace = [&replace[..], &["--confirm", "4", "--node", "5"]].concat();
    cluster.expect(&replace, LOSS, &["1 of 2"]);
    cluster.expect(&[&replace[..], &["--as", "bob"]].concat(), LOSS, &["done"]);
    until("it is back with what the others have", || {
        let there = ["participant", "show", "C00085", "--node", "4"];
        cluster.operator(&there).0 == 0
    });
    let (code, told) = cluster.operator(&["participant", "show", "C00084", "--node", "4"]);
    assert_ne!(code, 0, "{told}");
    assert!(cluster.path("nodes/4/data/audit.4").is_dir());
}
