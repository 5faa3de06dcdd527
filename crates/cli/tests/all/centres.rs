//! The primary's role moves by the verbs of `centre`, with six processes of the built binary
//! (LINES.md, "Switchover", "Promotion").

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::cluster::{Cluster, free_ports, said, tidemark, until};

const USAGE: i32 = 2;
const PRE_CHECK: i32 = 3;
const REFUSED: i32 = 4;
const LOSS: i32 = 6;
const ALREADY: i32 = 8;

fn relied_on(cluster: &Cluster) {
    until("the other centre is relied on", || {
        let (_, told) = cluster.operator(&["status"]);
        told.contains("main, epoch 1") && !told.contains("DEGRADED")
    });
}

fn switchover<'a>(to: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let act = ["centre", "switchover", "--to", to, "--reason", "a drill"];
    [&act[..], more].concat()
}

fn promote<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let act = ["centre", "promote", "--to", "west", "--confirm", "west"];
    [&act[..], &["--reason", "the east is lost"], more].concat()
}

#[test]
fn the_primary_moves_planned_and_goes_on_without_the_other_centre() {
    let mut cluster = Cluster::start();
    let create = |firm: &'static str| ["participant", "create", firm, "A firm"];
    relied_on(&cluster);
    cluster.expect(&create("C00081"), 0, &[]);

    // Everything is looked at, and nothing done without the centre's name said twice.
    let dry = switchover("west", &["--dry-run"]);
    // Each node's word is a second old at most, and this one has just started.
    until("all checks hold", || cluster.operator(&dry).0 == 0);
    cluster.expect(&dry, 0, &["PLAN", "LAG", "DIGESTS", "nothing was changed"]);
    cluster.expect(&switchover("west", &[]), USAGE, &["--confirm west"]);
    let nowhere = switchover("north", &["--confirm", "north"]);
    cluster.expect(&nowhere, PRE_CHECK, &["there is no centre north"]);
    let west = switchover("west", &["--confirm", "west"]);
    cluster.expect(&west, 0, &["west is the primary"]);
    cluster.expect(&west, ALREADY, &["west is the primary"]);
    cluster.expect(&create("C00082"), 0, &[]);
    relied_on(&cluster);
    let east = switchover("east", &["--confirm", "east"]);
    cluster.expect(&east, 0, &["east is the primary"]);
    relied_on(&cluster);

    cluster.kill(&[1, 2, 3]);
    // A node counts as answering for some seconds after its last word.
    until("the east is not heard", || {
        let told = cluster.operator(&promote(&["--dry-run"])).1;
        told.contains("east does not answer")
    });
    let refused = cluster.expect(&promote(&[]), USAGE, &["unknown", "--accept-loss=unknown"]);
    assert!(refused.contains("would go on from entry"), "{refused}");
    let zero = promote(&["--accept-loss", "0"]);
    cluster.expect(&zero, PRE_CHECK, &["a loss of 0 cannot be claimed"]);
    // Seals are taken back, and set again under other names.
    let release = ["centre", "release", "--centre", "west"];
    cluster.expect(&release, 0, &["4, 5, 6"]);
    let unknown = promote(&["--accept-loss", "unknown"]);
    cluster.expect(&unknown, 0, &["1 of 2"]);
    let other = promote(&["--accept-loss", "unknown", "--as", "bob"]);
    cluster.expect(&other, REFUSED, &["NOT_FENCED"]);
    let both = ["--accept-loss", "unknown", "--accept-split-brain"];
    cluster.expect(&promote(&both), 0, &["1 of 2"]);
    let second = promote(&[&both[..], &["--as", "bob"]].concat());
    cluster.expect(&second, LOSS, &["west is the primary", "both may serve"]);

    for firm in ["C00081", "C00082"] {
        cluster.expect(&["participant", "show", firm], 0, &["A firm"]);
    }
    cluster.expect(&create("C00083"), LOSS, &["C00083"]);
    // Back, the old primary says that it has stopped.
    cluster.spawn(&[1, 2]);
    until("the old primary has stopped", || {
        let told = cluster.operator(&["status", "--node", "1"]).1;
        told.contains("has stopped: west was promoted, in epoch 2")
    });
    let there = ["participant", "show", "C00083", "--node", "5"];
    cluster.expect(&there, 0, &["A firm"]);
    // A restart of all goes on where it was.
    cluster.kill_and_start(&[4, 5, 6]);
    until("the new main line goes on", || {
        cluster.operator(&there).0 == 0
    });
}

fn twice(cluster: &Cluster, act: &[&str], code: i32, done: &str) {
    cluster.expect(act, code, &["1 of 2"]);
    cluster.expect(&[act, &["--as", "bob"]].concat(), code, &[done]);
}

fn settled(cluster: &Cluster) {
    until("the other centre is relied on", || {
        let told = cluster.operator(&["status", "--node", "4"]).1;
        told.contains("main, epoch 2") && !told.contains("DEGRADED")
    });
}

#[test]
fn an_old_primary_comes_back_by_one_command_and_a_lost_disk_is_replaced() {
    let mut cluster = Cluster::start();
    relied_on(&cluster);
    let create = ["participant", "create", "C00081", "A firm"];
    cluster.expect(&create, 0, &[]);
    // The west is signed for by one, and listens no more: the east answers alone.
    let both = promote(&["--accept-loss", "unknown", "--accept-split-brain"]);
    let both = [&both[..], &["--node", "4"]].concat();
    cluster.expect(&both, 0, &["1 of 2"]);
    let alone = ["participant", "create", "C00082", "Told by the east alone"];
    cluster.expect(&alone, LOSS, &["C00082"]);
    cluster.kill(&[1, 2, 3]);
    cluster.expect(&both, 0, &["1 of 2"]);
    let second = [&both[..], &["--as", "bob"]].concat();
    cluster.expect(&second, LOSS, &["west is the primary"]);

    // Nothing is given up that was not read: more than half of its nodes must be there.
    let reinstate = [
        "centre",
        "reinstate",
        "--centre",
        "east",
        "--reason",
        "a drill",
    ];
    let reinstate = [&reinstate[..], &["--confirm", "east", "--node", "4"]].concat();
    cluster.expect(&reinstate, PRE_CHECK, &["NOT_REINSTATED"]);
    cluster.spawn(&[1, 2, 3]);
    until("the old primary has stopped", || {
        [1, 2, 3].iter().all(|node| {
            let told = cluster.status(*node, &[]);
            said(&told).1.contains("has stopped: west was promoted")
        })
    });
    let out = cluster.path("dropped.json");
    let dry = ["--dry-run", "--out", out.to_str().unwrap()];
    let dry = [&reinstate[..], &dry].concat();
    let told = cluster.expect(&dry, 0, &["ParticipantSet", "nothing was changed"]);
    let named = |line: &&str| line.contains("C00082") && line.contains("operator/alice");
    assert_eq!(told.lines().filter(named).count(), 1, "{told}");
    assert!(!told.contains("C00081"), "both have it: {told}");
    let text = std::fs::read_to_string(&out).unwrap();
    let dropped = tests::record::listed(&text);
    let about: Vec<&str> = dropped.iter().map(|row| row.about.as_str()).collect();
    assert!(about.contains(&"C00082"), "{about:?}");
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let line = document["line"].as_str().unwrap().to_owned();
    // Nobody protects yet.
    twice(&cluster, &reinstate, LOSS, "3 of 3 nodes are back");
    // What was shown of people was read, and by whom is noted.
    let reads = ["audit", "list", "--line", "reads", "--node", "4"];
    cluster.expect(&reads, 0, &["AssessReinstatement", "reinstatement of east"]);
    // And it can be read for good.
    let kept = ["audit", "list", "--line", &line, "--node", "6"];
    cluster.expect(&kept, 0, &["ParticipantSet", "ProtectionDegraded"]);
    let list = ["node", "list", "--node", "4"];
    cluster.expect(&list, 0, &["1001", "1002", "1003", "gone"]);
    cluster.expect(&reinstate, PRE_CHECK, &["east has nodes"]);
    settled(&cluster);

    // The new line's trail begins with the end of the old one's, at each node.
    let verify = ["audit", "verify", "--all-nodes"];
    until("each node has the whole trail", || {
        cluster.operator(&verify).0 == 0
    });

    // A disk is lost: the node says so, and does not come back under its old id.
    cluster.kill(&[5]);
    std::fs::remove_dir_all(cluster.path("nodes/5/data")).unwrap();
    cluster.spawn(&[5]);
    until("it says what is to be done", || {
        cluster.log(5).contains("tidemark node replace 5")
    });
    let replace = ["node", "replace", "5", "--reason", "its disk is lost"];
    let replace = [&replace[..], &["--node", "4"]].concat();
    cluster.expect(&replace, USAGE, &["--confirm 5"]);
    twice(
        &cluster,
        &[&replace[..], &["--confirm", "5"]].concat(),
        0,
        "done, 2 of 2",
    );
    until("it has what the others have", || {
        let show = ["participant", "show", "C00081", "--node", "5"];
        cluster.operator(&show).0 == 0
    });
    cluster.expect(&list, 0, &["1005"]);

    // And the role goes back.
    settled(&cluster);
    let east = ["--node", "4", "--confirm", "east"];
    until("the switchover is done", || {
        let (code, _) = cluster.operator(&switchover("east", &east));
        code == 0 || code == ALREADY
    });
    cluster.expect(
        &["participant", "show", "C00081", "--node", "1"],
        0,
        &["A firm"],
    );
}

#[test]
fn a_node_on_a_new_machine_is_prepared_added_and_removed_by_two_operators_s34() {
    let mut cluster = Cluster::start();
    relied_on(&cluster);
    let (dir, port) = (cluster.path(""), free_ports());
    let (dir, ports) = (dir.to_str().unwrap(), port.to_string());
    let prepare = |node: &'static str| {
        let act = [
            "node", "prepare", "--dir", dir, "--node", node, "--centre", "west",
        ];
        [&act[..], &["--host", "127.0.0.1", "--port", &ports]].concat()
    };
    let plain = |act: &[&str], code: i32, word: &str| {
        let (ended, told) = said(&tidemark(act));
        assert_eq!(ended, code, "{act:?}\n{told}");
        assert!(told.contains(word), "{told}");
    };
    plain(&prepare("1000"), USAGE, "from 1 to 999");
    plain(&prepare("7"), 0, "tidemark node add 7 --centre west");
    plain(&prepare("7"), PRE_CHECK, "is there");
    // It waits to be registered, and says so.
    cluster.spawn(&[7]);
    until("it waits", || cluster.log(7).contains("register it"));
    let address = format!("127.0.0.1:{}", port + 3);
    let add = [
        "node",
        "add",
        "7",
        "--centre",
        "west",
        "--address",
        &address,
    ];
    let add = [&add[..], &["--reason", "more room"]].concat();
    cluster.expect(
        &[&add[..], &["--dry-run"]].concat(),
        0,
        &["nothing was changed"],
    );
    let elsewhere = [
        "node",
        "add",
        "6",
        "--centre",
        "west",
        "--address",
        &address,
    ];
    let elsewhere = [&elsewhere[..], &["--reason", "a slip"]].concat();
    cluster.expect(&elsewhere, PRE_CHECK, &["node 6 has the place of 6"]);
    twice(&cluster, &add, 0, "done, 2 of 2");
    until("it follows", || {
        let told = cluster.operator(&["status"]).1;
        told.contains("west    secondary  no      4/4") && !told.contains("WARNING")
    });
    let remove = [
        "node",
        "remove",
        "6",
        "--confirm",
        "6",
        "--reason",
        "its rack goes",
    ];
    until("the former change is settled", || {
        cluster.operator(&[&remove[..], &["--dry-run"]].concat()).0 == 0
    });
    twice(&cluster, &remove, 0, "done, 2 of 2");
    cluster.expect(&["node", "list"], 0, &["7     west", "gone"]);
    let nobody = ["node", "remove", "6", "--confirm", "6", "--reason", "again"];
    cluster.expect(&nobody, PRE_CHECK, &["no centre has a node 6"]);
}
