//! The annex against six processes of the built binary, which are killed with SIGKILL in each of
//! its phases and started again: the drill goes on, and ends with the same verdict.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::cluster;

use crate::cluster::{ALL, Cluster, Running, SECONDARY};

const IN_SESSION_1: &str = "A user without card sets up 2FA with e-mail";
const OPENED: &str = "the boundary is taken";
const IN_SESSION_2: &str = "A user changes the OTP password";
const BEFORE_CLOSE: &str = "Rolling over before the close is refused";
const BEFORE_ROLLOVER: &str = "Rolling over without answers to the must-repeat list is refused";
const ON_SUNDAY: &str = "A login on Sunday is refused";

/// The drill has passed, with every proof, and its report says so too.
fn passed(cluster: &Cluster, drill: Running) {
    let (code, told) = drill.end();
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("PASS  88 steps, 9 proofs"), "{told}");
    let report = cluster.path("report/report.json");
    let (code, told) = cluster::said(&cluster::tidemark(&[
        "drill",
        "verify",
        report.to_str().unwrap(),
    ]));
    assert_eq!(code, 0, "{told}");
}

/// Waits until a node of the secondary has begun to keep a genesis, or the opening is over.
fn in_the_middle_of_opening(cluster: &Cluster, drill: &mut Running) {
    cluster::until("a genesis appears", || {
        SECONDARY.iter().any(|node| {
            let folder = cluster.path(&format!("nodes/{node}/data/genesis"));
            std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some())
        }) || drill.has_told(OPENED)
    });
}

/// Kills processes in each phase of the annex; `next` says which.
fn survives_in_each_phase(mut next: impl FnMut() -> Vec<u64>) {
    let mut cluster = Cluster::start();
    let mut drill = cluster.annex();
    drill.until(IN_SESSION_1);
    cluster.kill_and_start(&next());
    drill.until("The primary refuses a login");
    in_the_middle_of_opening(&cluster, &mut drill);
    cluster.kill_and_start(&next());
    drill.until("The branch starts from the boundary");
    cluster.kill_and_start(&next());
    drill.until(IN_SESSION_2);
    cluster.kill_and_start(&next());
    drill.until(BEFORE_CLOSE);
    cluster.kill_and_start(&next());
    drill.until(BEFORE_ROLLOVER);
    cluster.kill_and_start(&next());
    drill.until(ON_SUNDAY);
    cluster.kill_and_start(&next());
    passed(&cluster, drill);
}

#[test]
fn the_annex_passes_against_six_processes() {
    let cluster = Cluster::start();
    let drill = cluster.annex();
    passed(&cluster, drill);
}

#[test]
fn the_annex_passes_when_one_process_is_killed_in_each_phase() {
    // Another one each time; the primary's and the secondary's leaders are among them.
    let mut order = [1, 4, 5, 6, 2, 3, 1].into_iter();
    survives_in_each_phase(|| vec![order.next().unwrap()]);
}

#[test]
fn the_annex_passes_when_the_whole_secondary_is_killed_in_each_phase() {
    survives_in_each_phase(|| SECONDARY.to_vec());
}

#[test]
fn the_annex_passes_when_all_six_are_killed_in_each_phase() {
    survives_in_each_phase(|| ALL.to_vec());
}

#[test]
fn the_boundary_outlives_all_who_could_have_written_its_genesis() {
    let mut cluster = Cluster::start();
    let mut drill = cluster.annex();
    drill.until(OPENED);
    cluster.kill_and_start(&SECONDARY);
    passed(&cluster, drill);
}
