//! `--dry-run` is judged by a node, with the line's own rules: what would be refused is refused,
//! what would pass changes nothing, and scripts get a document.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::cluster::{Cluster, said, tidemark};

const PRE_CHECK: i32 = 3;
const REFUSED: i32 = 4;
const ALREADY: i32 = 8;
const S2: &str = "S2-2023-06-10";

fn with<'a>(act: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [act, more].concat()
}

/// Tries an act that would be done: a document says so, and nothing of the cluster is another.
fn would(cluster: &Cluster, act: &[&str]) {
    let profile = cluster.profile();
    let before = acts(cluster);
    let flags = ["--dry-run", "--output", "json", "--profile", &profile];
    let output = tidemark(&with(act, &flags));
    assert!(output.status.success(), "{act:?}\n{}", said(&output).1);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{act:?}: {error}\n{}", said(&output).1));
    assert_eq!(document["dry_run"], true, "{act:?}: {document}");
    assert_eq!(acts(cluster), before, "{act:?}");
}

/// How many acts of people the main line has a record of.
fn acts(cluster: &Cluster) -> usize {
    let told = cluster.expect(&["audit", "list"], 0, &[]);
    told.lines().filter(|line| !line.contains("node/")).count()
}

/// Both operators say it.
fn by_two(cluster: &Cluster, act: &[&str]) {
    would(cluster, act);
    cluster.expect(&with(act, &["--as", "alice"]), 0, &["1 of 2"]);
    cluster.expect(&with(act, &["--as", "bob"]), 0, &["done: 2 of 2"]);
}

fn go_live<'a>(act: &[&'a str]) -> Vec<&'a str> {
    [&["method", "go-live"][..], act, &["--reason", "circular"]].concat()
}

#[test]
fn go_live_is_planned_approved_postponed_and_withdrawn_and_each_dry_run_is_judged_r1_r3() {
    let cluster = Cluster::start();
    cluster.import();
    let dry = |act: &[&'static str]| with(&go_live(act), &["--dry-run"]);
    cluster.expect(&dry(&["schedule", "2023-06-01"]), PRE_CHECK, &["has begun"]);
    let approve = ["approve", "2023-06-12", "--reference", "SFC 2023/77"];
    for act in [&approve[..], &["postpone", "2023-06-19"], &["withdraw"]] {
        cluster.expect(&dry(act), REFUSED, &["NO_GO_LIVE"]);
    }
    by_two(&cluster, &go_live(&["schedule", "2023-06-12"]));
    cluster.expect(
        &dry(&["schedule", "2023-06-13"]),
        REFUSED,
        &["GO_LIVE_SCHEDULED"],
    );
    by_two(&cluster, &go_live(&approve));
    cluster.expect(&["method", "show"], 0, &["approved: SFC 2023/77"]);
    cluster.expect(&dry(&["postpone", "2023-06-12"]), ALREADY, &[]);
    by_two(&cluster, &go_live(&["postpone", "2023-06-19"]));
    cluster.expect(&["method", "show"], 0, &["2023-06-19, not approved"]);
    by_two(&cluster, &go_live(&["withdraw"]));
    cluster.expect(&["method", "show"], 0, &["not planned"]);

    let set = ["method", "set", "otp", "off", "--reason", "x"];
    let service = with(&set, &["--service"]);
    would(&cluster, &service);
    let firm = with(&set, &["--participant", "C00001"]);
    would(&cluster, &firm);
    let nobody = with(&set, &["--participant", "C99999", "--dry-run"]);
    cluster.expect(&nobody, REFUSED, &[]);
    let cards = [
        "method",
        "set",
        "smartcard",
        "off",
        "--service",
        "--reason",
        "x",
    ];
    cluster.expect(
        &with(&cards, &["--dry-run"]),
        PRE_CHECK,
        &["approved go-live"],
    );

    // A session's plan is judged too.
    let approve = ["session", "approve", S2];
    would(&cluster, &approve);
    let open = ["session", "open", S2, "--dry-run"];
    cluster.expect(&open, REFUSED, &[]);
    let close = ["session", "close", S2, "--dry-run"];
    assert_ne!(cluster.operator(&close).0, 0);
    let unknown = [
        "script", "grant", "sunday", S2, "--act", "open", "--reason", "x",
    ];
    let window = ["--from", "2023-06-10 20:00", "--until", "2023-06-11 02:00"];
    let unknown = [&unknown[..], &window, &["--dry-run"]].concat();
    assert_ne!(cluster.operator(&unknown).0, 0, "there is no such script");
}
