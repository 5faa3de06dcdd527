//! The drill scripts of `scripts/dr` as an operator schedules them: under a script's profile, with a
//! grant, against six processes of the built binary. Each is run again once it is done, and stops
//! at the first doubt.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::cluster::{Cluster, Running, TIDEMARK, repository, said, tidemark, until};

const PRE_CHECK: i32 = 3;
const REFUSED: i32 = 4;
const UNKNOWN: i32 = 5;
const ALREADY: i32 = 8;
const S2: &str = "S2-2023-06-10";
const PRIMARY: [u64; 3] = [1, 2, 3];

/// A script of the folder, as a timer would start it.
fn script(cluster: &Cluster, name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(repository("scripts/dr").join(name));
    command
        .args(arguments)
        .current_dir(cluster.path(""))
        .env(
            "TIDEMARK_PROFILE",
            cluster.path("scripts/saturday.profile.toml"),
        )
        .env("TIDEMARK_BIN", TIDEMARK)
        .env("TIDEMARK_LOOK_S", "0.2")
        .env("TIDEMARK_SETTLE_S", "60");
    command
}

/// Runs one to its end, which must be so, and say each of these words.
fn expect(cluster: &Cluster, name: &str, arguments: &[&str], code: i32, words: &[&str]) {
    let (ended, told) = Running::start(script(cluster, name, arguments)).end();
    assert_eq!(ended, code, "{name}\n{told}");
    for word in words {
        assert!(told.contains(word), "{name}: no \"{word}\" in:\n{told}");
    }
}

/// Issues and registers the script's certificate.
fn registered(cluster: &Cluster) {
    let folder = cluster.path("");
    let folder = folder.to_str().unwrap();
    let (code, told) = said(&tidemark(&[
        "certificate",
        "issue",
        "script/saturday",
        "--dir",
        folder,
    ]));
    assert_eq!(code, 0, "{told}");
    let certificate = cluster.path("scripts/saturday.pem");
    let certificate = certificate.to_str().unwrap();
    for who in ["alice", "bob"] {
        let register = ["caller", "register", certificate, "--reason", "drills"];
        cluster.expect(&[&register[..], &["--as", who]].concat(), 0, &[]);
    }
}

/// Grants it acts, as often as they are, until a time.
fn granted(cluster: &Cluster, acts: &[&str], until: &str) {
    let mut grant = vec!["script", "grant", "saturday", S2, "--reason", "the drill"];
    for act in acts {
        grant.extend(["--act", act]);
    }
    grant.extend(["--from", "2023-06-10 17:00", "--until", until]);
    for who in ["alice", "bob"] {
        cluster.expect(&[&grant[..], &["--as", who]].concat(), 0, &[]);
    }
}

fn grants(cluster: &Cluster) -> String {
    cluster.expect(&["script", "list"], 0, &[])
}

/// Moves the clock, with a step that comes to pass whatever a script has done meanwhile.
fn clock(cluster: &Cluster, time: &str) {
    let step = format!("at = \"2023-06-10 {time}\"\ndo.nodes-agree = {{}}");
    cluster.carry_out(&[&step]);
}

fn stage(cluster: &Cluster, stage: &str) {
    let words = format!("{S2} at west (secondary), {stage}");
    cluster.expect(&["session", "show", S2], 0, &[&words]);
}

fn report(cluster: &Cluster) -> PathBuf {
    cluster.path(&format!("{S2}/report.md"))
}

fn relied_on(cluster: &Cluster) {
    until("the other centre is relied on", || {
        let (code, told) = cluster.operator(&["status"]);
        code == 0 && told.contains("main, epoch 1") && !told.contains("DEGRADED")
    });
}

/// A cluster with its people, and the script.
fn evening() -> Cluster {
    let cluster = Cluster::start();
    cluster.import();
    registered(&cluster);
    relied_on(&cluster);
    cluster
}

#[test]
fn a_planned_drill_is_run_by_a_script_goes_on_where_it_was_stopped_and_is_done_once() {
    let cluster = evening();
    clock(&cluster, "20:01");
    // Nobody granted it: the first doubt, and nothing is changed.
    let refused = ["NOT_GRANTED", "STOPPED, exit code 4"];
    expect(&cluster, "planned-drill", &[S2], REFUSED, &refused);
    expect(&cluster, "planned-drill", &["S9"], PRE_CHECK, &["STOPPED"]);
    stage(&cluster, "planned");
    granted(&cluster, &["open", "rollover"], "2023-06-11 02:00");

    let mut first = Running::start(script(&cluster, "planned-drill", &[S2]));
    first.until(&format!("planned-drill: {S2} is open"));
    // Two at once are in each other's way.
    let busy = ["another run", "nothing was changed"];
    expect(&cluster, "planned-drill", &[S2], PRE_CHECK, &busy);
    drop(first);
    assert!(grants(&cluster).contains("1 of 2"));

    let mut second = Running::start(script(&cluster, "planned-drill", &[S2]));
    second.until(&format!("planned-drill: {S2} is open"));
    clock(&cluster, "22:01");
    clock(&cluster, "23:01");
    let (code, told) = second.end();
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("is closed"), "{told}");
    stage(&cluster, "rolled over");
    assert!(grants(&cluster).contains("2 of 2"));

    std::fs::remove_file(report(&cluster)).unwrap();
    let again = ["is rolled over already; nothing was changed"];
    expect(&cluster, "planned-drill", &[S2], ALREADY, &again);
    assert!(report(&cluster).exists());
    assert!(grants(&cluster).contains("2 of 2"));
}

#[test]
fn r41_a_drill_with_the_primary_off_is_run_by_a_script_to_its_rollover() {
    let mut cluster = evening();
    clock(&cluster, "21:59");
    granted(
        &cluster,
        &["open-unplanned", "rollover"],
        "2023-06-11 02:00",
    );
    // The primary is on: the first doubt, and nothing is changed.
    let answers = ["PRIMARY_ANSWERS", "STOPPED, exit code 3"];
    expect(&cluster, "drill-primary-off", &[S2], PRE_CHECK, &answers);
    stage(&cluster, "planned");
    assert!(grants(&cluster).contains("0 of 2"));
    // What the grant does not name is not done by another script either.
    expect(&cluster, "planned-drill", &[S2], REFUSED, &["NOT_GRANTED"]);

    cluster.kill(&PRIMARY);
    // A node that was heard a few seconds ago counts as one that answers.
    let mut run = None;
    until("the primary is heard no more", || {
        let mut started = Running::start(script(&cluster, "drill-primary-off", &[S2]));
        let opened = started.until_one(&["is opening", "is open", "STOPPED"]) != "STOPPED";
        run = opened.then_some(started);
        opened
    });
    let run = run.unwrap();
    cluster.spawn(&PRIMARY);
    until("the main line has taken it over", || {
        let (_, told) = cluster.operator(&["session", "show", S2]);
        told.contains("boundary on the main line")
    });
    clock(&cluster, "22:10");
    clock(&cluster, "23:01");
    let (code, told) = run.end();
    assert_eq!(code, 0, "{told}");
    let text = std::fs::read_to_string(report(&cluster)).unwrap();
    assert!(
        text.contains("Opened without the primary by script/saturday"),
        "{text}"
    );
    assert!(grants(&cluster).contains("2 of 2"));
    let again = ["is rolled over already; nothing was changed"];
    expect(&cluster, "drill-primary-off", &[S2], ALREADY, &again);
}

fn there(cluster: &Cluster, code: i32, words: &[&str]) {
    let arguments = ["west", "moved"];
    expect(cluster, "failover-and-return", &arguments, code, words);
}

fn primary(cluster: &Cluster, centre: &str) {
    let words = format!("{centre}    primary");
    until("it is well", || cluster.operator(&["status"]).0 == 0);
    cluster.expect(&["status"], 0, &[&words]);
}

#[test]
fn the_primary_moves_there_and_back_by_a_script_that_stops_at_a_failed_check() {
    let mut cluster = evening();
    granted(&cluster, &["switchover"], "2023-06-11 02:00");
    let dry = ["centre", "switchover", "--to", "west", "--dry-run"];
    cluster.kill(&[4, 5]);
    until("a check fails", || cluster.operator(&dry).0 == PRE_CHECK);
    let failed = [" ERROR  ", "a check failed", "STOPPED, exit code 3"];
    there(&cluster, PRE_CHECK, &failed);
    assert!(grants(&cluster).contains("0 of 1"));
    primary(&cluster, "east");
    cluster.spawn(&[4, 5]);
    until("all checks hold", || cluster.operator(&dry).0 == 0);

    // The grant is for one way: it stops there, and goes on from there once there is another.
    let one_way = ["west is the primary", "RUNS_USED", "to-east was not done"];
    there(&cluster, REFUSED, &one_way);
    primary(&cluster, "west");
    granted(&cluster, &["switchover"], "2023-06-11 03:00");
    there(&cluster, 0, &["east is the primary again"]);
    primary(&cluster, "east");

    there(&cluster, ALREADY, &["both moves are done already"]);
    let anew = ["RUNS_USED", "STOPPED, exit code 4"];
    let other = ["west", "another"];
    expect(&cluster, "failover-and-return", &other, REFUSED, &anew);
    primary(&cluster, "east");
}

/// A program that loses what it is told to lose of the orders to move the primary to the west, notes
/// the request id of each, and is `tidemark` otherwise.
fn lossy(cluster: &Cluster) -> PathBuf {
    let path = cluster.path("lossy");
    let text = format!(
        "#!/bin/sh\n\
         case \"$*\" in *'--to west'*--request-id*) ;; *) exec {TIDEMARK} \"$@\" ;; esac\n\
         for id; do :; done\n\
         echo \"$id\" >>\"$0.ids\"\n\
         lost=$(head -n 1 \"$0.losses\")\n\
         sed -i 1d \"$0.losses\"\n\
         case $lost in\n\
         order) exit 5 ;;\n\
         leader) exit 3 ;;\n\
         answer) {TIDEMARK} \"$@\" >/dev/null 2>&1; exit 5 ;;\n\
         esac\n\
         exec {TIDEMARK} \"$@\"\n"
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

#[test]
fn an_unknown_outcome_is_never_guessed_and_repeated_under_one_request_id() {
    let cluster = evening();
    granted(&cluster, &["switchover"], "2023-06-11 02:00");
    let program = lossy(&cluster);
    let lose = |losses: &str| std::fs::write(cluster.path("lossy.losses"), losses).unwrap();
    let run = || {
        let mut command = script(&cluster, "failover-and-return", &["west", "moved"]);
        command.env("TIDEMARK_BIN", &program);
        Running::start(command).end()
    };
    let dry = ["centre", "switchover", "--to", "west", "--dry-run"];
    until("all checks hold", || cluster.operator(&dry).0 == 0);

    // Nobody knows of the first, and what refuses the repeats tells nothing of it.
    lose("order\nleader\nleader\n");
    let (code, told) = run();
    assert_eq!(code, UNKNOWN, "{told}");
    assert!(told.contains("the same request is repeated"), "{told}");
    assert!(told.contains("STOPPED, exit code 5"), "{told}");
    primary(&cluster, "east");
    // It is carried out, and the answer is lost: the repeat is told what was done, and is no other
    // run. The way back is not granted.
    lose("answer\n");
    let (code, told) = run();
    assert_eq!(code, REFUSED, "{told}");
    assert!(told.contains("outcome unknown (try 1 of 3)"), "{told}");
    assert!(told.contains("to-east was not done"), "{told}");
    primary(&cluster, "west");
    assert!(grants(&cluster).contains("1 of 1"));
    let ids = std::fs::read_to_string(cluster.path("lossy.ids")).unwrap();
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!(ids.len(), 5, "{ids:?}");
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}
