//! The smallest clusters, by the built binary: one node in each of two centres, and one centre.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::cluster::{Cluster, free_ports, repository, said, tidemark, until};

const USAGE: i32 = 2;
const PRE_CHECK: i32 = 3;
const LOSS: i32 = 6;
const ALREADY: i32 = 8;

const CREATE: [&str; 4] = ["participant", "create", "C00081", "A firm"];
const SHOW: [&str; 3] = ["participant", "show", "C00081"];

fn two() -> Cluster {
    let demo = repository("deploy/demo/timetable.toml");
    Cluster::start_of(&[1, 2], || Cluster::found_as(&demo, &["--nodes", "1"]))
}

/// Two operators say it.
fn twice(cluster: &Cluster, act: &[&str], code: i32, done: &str) {
    cluster.expect(act, code, &["1 of 2"]);
    cluster.expect(&[act, &["--as", "bob"]].concat(), code, &[done]);
}

fn switchover(cluster: &Cluster, to: &str, node: &str) {
    let act = ["centre", "switchover", "--to", to, "--reason", "a drill"];
    let act = [&act[..], &["--confirm", to, "--node", node]].concat();
    // Each node's word is a second old at most, and the other centre is relied on after another.
    until("the switchover is done", || {
        let (code, _) = cluster.operator(&act);
        code == 0 || code == ALREADY
    });
}

/// In a session that was opened before the role moved, who is the primary now serves.
fn is_served_at(cluster: &Cluster, centre: &str) {
    until("the status says who serves", || {
        let told = cluster.operator(&["status"]).1;
        let mut rows = told.lines().map(str::split_whitespace);
        rows.any(|row| row.take(3).eq([centre, "primary", "yes"]))
    });
}

#[test]
fn the_annex_passes_with_one_node_a_centre_and_its_role_moves_both_ways() {
    let cluster = two();
    let (code, told) = cluster.annex().end();
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("PASS  88 steps, 9 proofs"), "{told}");
    cluster.expect(&CREATE, 0, &[]);
    switchover(&cluster, "west", "1");
    is_served_at(&cluster, "west");
    cluster.expect(&SHOW, 0, &["A firm"]);
    switchover(&cluster, "east", "2");
    is_served_at(&cluster, "east");
    cluster.expect(&SHOW, 0, &["A firm"]);
    // What this machine lacks beside is not looked at.
    let told = cluster.operator(&["doctor"]).1;
    assert!(told.contains("the 2 nodes hear each other"), "{told}");
}

#[test]
fn one_node_a_centre_goes_on_without_its_primary_and_takes_it_back() {
    let mut cluster = two();
    until("the other centre is relied on", || {
        let told = cluster.operator(&["status"]).1;
        told.contains("main, epoch 1") && !told.contains("DEGRADED")
    });
    cluster.expect(&CREATE, 0, &[]);
    cluster.kill(&[1]);
    let promote = ["centre", "promote", "--to", "west", "--confirm", "west"];
    let promote = [&promote[..], &["--reason", "the east is lost"]].concat();
    let both = ["--accept-loss", "unknown", "--accept-split-brain"];
    let promote = [&promote[..], &both].concat();
    cluster.expect(&promote, 0, &["1 of 2"]);
    let second = [&promote[..], &["--as", "bob"]].concat();
    cluster.expect(&second, LOSS, &["west is the primary"]);
    cluster.expect(&[&SHOW[..], &["--node", "2"]].concat(), 0, &["A firm"]);
    cluster.spawn(&[1]);
    until("the old primary has stopped", || {
        let told = cluster.operator(&["status", "--node", "1"]).1;
        told.contains("has stopped: west was promoted")
    });
    let back = ["centre", "reinstate", "--centre", "east", "--node", "2"];
    let back = [&back[..], &["--confirm", "east", "--reason", "mended"]].concat();
    twice(&cluster, &back, LOSS, "1 of 1 nodes are back");
    switchover(&cluster, "east", "2");
    cluster.expect(&[&SHOW[..], &["--node", "1"]].concat(), 0, &["A firm"]);
}

/// A timetable that names the primary alone.
const ONE: &str = r#"
[[weekly]]
id = "day"
weekdays = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
opens = "08:00"
closes = "20:00"
"#;

#[test]
fn a_single_centre_serves_and_says_that_there_is_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let timetable = folder.path().join("timetable.toml");
    std::fs::write(&timetable, ONE).unwrap();
    let flags = ["--single-centre", "--nodes", "1"];
    let mut cluster = Cluster::start_of(&[1], || Cluster::found_as(&timetable, &flags));
    let login = "do.login = { person = \"chan\", option = \"ccms-smartcard-online-and-reports\", \
                 password = \"card\", factor = \"card\" }";
    let login = format!("at = \"2023-06-12 08:01\"\n{login}");
    cluster.carry_out(&["do.import = {}", &login]);
    // Nobody else could confirm it: what is answered is done, and as safe as it gets.
    cluster.expect(&CREATE, 0, &[]);
    let alone = "protection none: east is the only centre";
    cluster.expect(&["status"], 0, &["OK", alone]);
    // What this machine lacks beside is not looked at.
    let told = cluster.operator(&["doctor"]).1;
    assert!(told.contains("none: east is the only centre"), "{told}");

    let west = ["--to", "west", "--confirm", "west", "--reason", "a drill"];
    let switchover = [&["centre", "switchover"][..], &west].concat();
    cluster.expect(&switchover, PRE_CHECK, &["there is no centre west"]);
    let promote = [&["centre", "promote"][..], &west].concat();
    cluster.expect(&promote, USAGE, &["no node in west"]);
    let east = ["--to", "east", "--confirm", "east", "--reason", "a drill"];
    let promote = [&["centre", "promote"][..], &east].concat();
    cluster.expect(&promote, ALREADY, &["east is the primary"]);
    let demo = repository("deploy/demo/timetable.toml");
    let calendar = ["calendar", "set", demo.to_str().unwrap()];
    let (code, told) = cluster.operator(&calendar);
    assert!(
        code != 0 && told.contains("there is no centre west"),
        "{code}: {told}"
    );

    cluster.kill_and_start(&[1]);
    assert!(cluster.ready());
    cluster.expect(&SHOW, 0, &["A firm"]);
}

#[test]
fn no_cluster_is_founded_whose_timetable_names_a_centre_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, port) = (folder.path().join("cluster"), free_ports().to_string());
    let demo = repository("deploy/demo/timetable.toml");
    let (dir, demo) = (dir.to_str().unwrap(), demo.to_str().unwrap());
    let init = ["init", "--dir", dir, "--port", &port, "--single-centre"];
    let output = tidemark(&[&init[..], &["--timetable", demo]].concat());
    let (code, told) = said(&output);
    assert_eq!(code, PRE_CHECK, "{told}");
    assert!(told.contains("there is no centre west"), "{told}");
}
