//! Processes end with SIGKILL in the middle of a switchover, of a promotion and of a reinstatement,
//! and are started again, while clients call. Repeated, each command comes to its end; what the
//! clients were answered is judged (LINES.md, "Switchover", "Promotion", "Reinstate"; I9, I11, I12).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::path::Path;
use std::time::Duration;

use tests::Recorder;
use tests::cast::{CHAN, LAU, Person, TAM};
use tests::cluster::{EAST, WEST};
use tests::record::{Answer, Kept, Listed, listed};

use crate::cluster::{ALL, Cluster, SECONDARY, until, until_said};

const LOSS: i32 = 6;
const ALREADY: i32 = 8;
const PRIMARY: [u64; 3] = [1, 2, 3];

/// Who calls the processes from this one.
struct Outside {
    runtime: tokio::runtime::Runtime,
    cluster: tests::Cluster,
}

impl Outside {
    /// Everybody has an account, and the first session is open.
    fn of(cluster: &Cluster) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folder = cluster.path("");
        let cluster = runtime.block_on(async {
            let cluster = Box::pin(tests::Cluster::elsewhere(&folder)).await;
            cluster.at("2023-06-10 18:00").await;
            cluster
        });
        Self { runtime, cluster }
    }

    /// Clients who know all nodes go to work; one of them changes this person's password.
    fn clients(&self, changes: &'static Person) -> Recorder {
        self.runtime.block_on(async {
            let doors = [EAST, WEST].map(|centre| self.cluster.front_at(centre));
            let mut clients = Recorder::start(&self.cluster).await;
            clients.logs_in(&CHAN, doors.concat());
            clients.changes_password(changes, doors.concat());
            clients.enters_firms('K', self.cluster.operators(1).to_vec());
            clients
                .acknowledged("people log in", 3, Answer::is_login)
                .await;
            clients
        })
    }

    /// Returns once people log in at this centre.
    fn are_served(&self, clients: &Recorder, centre: &str) {
        let there = |one: &Answer| one.is_login() && one.is_of(centre);
        let what = format!("people log in at {centre}");
        self.runtime.block_on(clients.acknowledged(&what, 3, there));
    }
}

fn switchover(to: &str) -> Vec<&str> {
    let act = ["centre", "switchover", "--to", to, "--confirm", to];
    [&act[..], &["--reason", "a drill", "--timeout", "8s"]].concat()
}

/// Runs a command, kills these that long after it began, and starts them again; the exit code. When
/// they die is what is tried.
fn killed(cluster: &mut Cluster, act: &[&str], after_ms: u64, nodes: &[u64]) -> i32 {
    let command = cluster.begin(act);
    std::thread::sleep(Duration::from_millis(after_ms));
    cluster.kill_and_start(nodes);
    command.end().0
}

/// Whether the status says that a centre is the primary and that all is well.
fn is_well(cluster: &Cluster, primary: &str, node: &str) -> bool {
    let (_, told) = cluster.operator(&["status", "--node", node, "--timeout", "2s"]);
    let rows: Vec<Vec<&str>> = told
        .lines()
        .map(|row| row.split_whitespace().collect())
        .collect();
    let has = |start: &[&str]| rows.iter().any(|row| row.starts_with(start));
    let nodes = rows.iter().filter(|row| row.get(3) == Some(&"3/3"));
    has(&[primary, "primary"]) && nodes.count() == 2 && !told.contains("DEGRADED")
}

#[test]
fn a_switchover_whose_processes_are_killed_moves_the_role_once_and_loses_nothing_i9_i11_i12() {
    let mut cluster = Cluster::start();
    let outside = Outside::of(&cluster);
    let clients = outside.clients(&LAU);
    let tries: [(u64, &[u64]); 6] = [
        (60, &[1]),
        (150, &[5]),
        (250, &PRIMARY),
        (350, &SECONDARY),
        (200, &ALL),
        (450, &ALL),
    ];
    let mut at = EAST;
    for (after_ms, nodes) in tries {
        let (to, node) = if at == EAST { (WEST, "1") } else { (EAST, "4") };
        until("both centres are well", || is_well(&cluster, at, node));
        let code = killed(&mut cluster, &switchover(to), after_ms, nodes);
        until("the switchover is done", || {
            let (again, _) = cluster.operator(&switchover(to));
            assert!(code != 0 || again != 0, "what was answered is so");
            [0, ALREADY].contains(&again)
        });
        outside.are_served(&clients, to);
        at = to;
    }
    let record = outside.runtime.block_on(clients.end());
    assert_eq!(record.turns(EAST), tries.len(), "I12");
    outside.runtime.block_on(async {
        let doors = outside.cluster.operators_at(at);
        let firms = outside.cluster.firms_at(&doors).await;
        let lost = record.lost_firms(&firms, |_| true);
        assert!(lost.is_empty(), "I11: {lost:?}");
        let doors = outside.cluster.front_at(at);
        let held = record.passwords_hold(&outside.cluster, &doors, |_| true);
        held.await;
    });
}

fn promote(who: &str) -> Vec<&str> {
    let act = ["centre", "promote", "--to", "west", "--confirm", "west"];
    let accept = ["--accept-loss", "unknown", "--accept-split-brain"];
    let by = ["--reason", "the east is lost", "--node", "4", "--as", who];
    [&act[..], &accept, &by].concat()
}

/// Both operators promote the west; node 4 and its neighbours are killed in the middle.
fn promoted(cluster: &mut Cluster, after_ms: u64, west: &[u64]) {
    until("the west can be looked at", || {
        cluster.operator(&promote("alice")).0 == 0
    });
    killed(cluster, &promote("bob"), after_ms, west);
    until_said("the west is the primary", || {
        let tried = ["alice", "bob"].map(|who| cluster.operator(&promote(who)));
        let status = ["status", "--node", "4", "--timeout", "2s"];
        let told = cluster.operator(&status).1;
        let mut rows = told.lines().map(str::split_whitespace);
        let is_primary = rows.any(|row| row.take(2).eq([WEST, "primary"]));
        let logs = west.iter().map(|node| cluster.log(*node));
        let said = || format!("{tried:?}\n{told}\n{}", logs.collect::<String>());
        is_primary.then_some(()).ok_or_else(said)
    });
}

fn reinstate<'a>(who: &'a str, out: &'a str) -> Vec<&'a str> {
    let act = ["centre", "reinstate", "--centre", "east", "--node", "5"];
    let by = ["--confirm", "east", "--reason", "mended", "--as", who];
    [&act[..], &by, &["--out", out]].concat()
}

/// Brings the east back; these are killed in the middle. What was dropped.
fn reinstated(cluster: &mut Cluster, out: &Path, after_ms: u64, nodes: &[u64]) -> Vec<Listed> {
    let path = out.to_str().unwrap();
    until("the old primary says what it has", || {
        let (code, _) = cluster.operator(&reinstate("alice", path));
        [0, LOSS].contains(&code)
    });
    let dropped = listed(&std::fs::read_to_string(out).unwrap());
    killed(cluster, &reinstate("bob", path), after_ms, nodes);
    until("the east is the secondary", || {
        if is_well(cluster, WEST, "4") {
            return true;
        }
        // Refused where it was approved already.
        for who in ["alice", "bob"] {
            cluster.operator(&reinstate(who, path));
        }
        false
    });
    dropped
}

#[test]
fn a_promotion_and_a_return_whose_processes_are_killed_come_to_their_end_i9_i11_i12() {
    let mut cluster = Cluster::start();
    let outside = Outside::of(&cluster);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("dropped.json");
    let tries: [(u64, &[u64], u64, &[u64]); 3] = [
        (150, &[4], 300, &PRIMARY),
        (400, &SECONDARY, 600, &[5]),
        (250, &[6], 900, &ALL),
    ];
    let people: [&'static Person; 3] = [&LAU, &TAM, &tests::cast::LEE];
    for ((promotion_ms, west, return_ms, back), person) in tries.into_iter().zip(people) {
        until("both centres are well", || is_well(&cluster, EAST, "1"));
        let clients = outside.clients(person);
        cluster.kill(&PRIMARY);
        promoted(&mut cluster, promotion_ms, west);
        outside.are_served(&clients, WEST);
        cluster.spawn(&PRIMARY);
        let dropped = reinstated(&mut cluster, &out, return_ms, back);
        outside.are_served(&clients, WEST);
        let record = outside.runtime.block_on(clients.end());
        assert_eq!(record.turns(EAST), 1, "I12");
        outside.runtime.block_on(async {
            let doors = outside.cluster.operators_at(WEST);
            let firms = outside.cluster.firms_at(&doors).await;
            let protected = |one: &Answer| one.kept() == Some(Kept::Protected);
            let lost = record.lost_firms(&firms, protected);
            assert!(lost.is_empty(), "I11: {lost:?}");
            let mut lost = record.lost_firms(&firms, |_| true);
            lost.retain(|one| !dropped.iter().any(|row| row.about == one.asked.row().1));
            assert!(lost.is_empty(), "I12: lost, and on no list: {lost:?}");
            let doors = outside.cluster.front_at(WEST);
            let held = record.passwords_hold(&outside.cluster, &doors, protected);
            held.await;
        });
        until("the role goes back", || {
            let (code, _) = cluster.operator(&switchover(EAST));
            [0, ALREADY].contains(&code)
        });
    }
}
