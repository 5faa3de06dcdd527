//! The boundary of a session: every node keeps the state there, whatever happens right after.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;
use std::fs;

use crate::harness::{Cluster, asked, marking, until};
use domain::calendar::{Calendar, Day, Initiation, Purpose, Session};
use domain::session::{Act, Command, Plan};
use domain::{CentreName, LogId, NodeId, SessionId, UnixMs, outcome};

const HOUR_MS: u64 = 3_600_000;
/// Saturday 10 June 2023, 20:00 in Hong Kong.
const EIGHT: UnixMs = UnixMs(1_686_391_200_000 + 2 * HOUR_MS);

fn evening() -> Session {
    Session {
        id: SessionId::parse("s2").unwrap(),
        centre: CentreName::parse("west").unwrap(),
        day: Day::new(2023, 6, 10).unwrap(),
        opens: EIGHT.plus(2 * HOUR_MS),
        closes: EIGHT.plus(3 * HOUR_MS),
        purpose: Purpose::ConnectivityTest,
        title: None,
        source: None,
        business_functions_open: false,
        enrolled_only: false,
        enrol_by: None,
        not_enrolled_text: None,
        not_enrolled_text_zh_hant: None,
        initiation: Initiation::Allow,
    }
}

/// Six nodes, not running, on the evening before a session at the secondary.
async fn saturday() -> Cluster {
    let mut cluster = Cluster::six().await;
    for clock in cluster.clocks.values() {
        clock.set_now(EIGHT);
    }
    cluster.founding.calendar = Calendar {
        days_named: BTreeSet::from([evening().day]),
        timetable: vec![evening()],
        ..Calendar::default()
    };
    cluster
}

async fn carry_out(cluster: &Cluster, operator: &str, command: Command) -> LogId {
    let main = cluster.main(1);
    let command = domain::Command::Session(command);
    let outcome = main.propose(asked(&main, operator, command)).await.unwrap();
    assert!(
        matches!(outcome.result, outcome::Result::Done(_)),
        "{outcome:?}"
    );
    outcome.at
}

/// Opens the session, approved by two; gives the boundary.
async fn open(cluster: &Cluster) -> LogId {
    let session = evening().id;
    let plan = Plan::digest_of(&evening());
    for operator in ["op1", "op2"] {
        let act = Act::Open(session.clone());
        carry_out(cluster, operator, Command::Approve { act, plan }).await;
    }
    carry_out(cluster, "op1", Command::Open { session }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_keeps_the_state_at_the_boundary() {
    let mut cluster = saturday().await;
    for id in 1..=6 {
        cluster.start(id).await;
    }
    cluster.founded().await;
    let boundary = open(&cluster).await;
    let full = cluster.main(1).digests_at(boundary).unwrap().full;
    for id in 1..=6 {
        until("the genesis is durable", async || {
            cluster.node(id).geneses() == [(evening().id, full)]
        })
        .await;
    }
    let (state, at, _) = cluster
        .node(4)
        .genesis(&evening().id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((state.digests().full, at), (full, boundary));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_genesis_that_was_not_written_is_rebuilt_after_snapshot_and_purge() {
    let mut cluster = saturday().await;
    for id in 1..=6 {
        cluster.start(id).await;
    }
    cluster.founded().await;
    // A file in the place of the folder: node 4 cannot write its genesis.
    let blocked = cluster.node(4).data().join("genesis");
    fs::write(&blocked, b"").unwrap();
    let boundary = open(&cluster).await;
    let full = cluster.main(1).digests_at(boundary).unwrap().full;
    for mark in 0..20 {
        cluster.main(5).propose(marking(mark)).await.unwrap();
    }
    let after = cluster.agree().await;
    let main = cluster.main(4);
    main.trigger_snapshot().await.unwrap();
    until("the snapshot is built", async || {
        main.snapshot_index() >= Some(after.index)
    })
    .await;
    main.trigger_purge(after.index).await.unwrap();
    assert!(cluster.node(4).geneses().is_empty());
    drop(main);

    cluster.stop(4).await;
    fs::remove_file(&blocked).unwrap();
    cluster.start(4).await;
    until("the genesis was rebuilt", async || {
        cluster.node(4).geneses() == [(evening().id, full)]
    })
    .await;
    let voters = BTreeSet::from([NodeId(4), NodeId(5), NodeId(6)]);
    let (genesis, _, _) = cluster
        .node(4)
        .genesis(&evening().id)
        .await
        .unwrap()
        .unwrap();
    let branch = cluster
        .node(4)
        .start_branch(&evening().id, genesis, &voters)
        .await
        .unwrap();
    assert_eq!(
        branch.reference(),
        cluster.node(4).branch_reference(&evening().id, full)
    );
}

/// No node could write its genesis, each has taken a snapshot after the boundary and purged its
/// log, and then all lost their power.
async fn geneses_come_back() {
    let mut cluster = saturday().await;
    for id in 1..=6 {
        cluster.start(id).await;
    }
    cluster.founded().await;
    let blocked = |cluster: &Cluster, id| cluster.node(id).data().join("genesis");
    let folders: Vec<_> = (1..=6).map(|id| blocked(&cluster, id)).collect();
    for folder in &folders {
        fs::write(folder, b"").unwrap();
    }
    let boundary = open(&cluster).await;
    let full = cluster.main(1).digests_at(boundary).unwrap().full;
    for mark in 0..20 {
        cluster.main(5).propose(marking(mark)).await.unwrap();
    }
    let after = cluster.agree().await;
    for id in 1..=6 {
        let main = cluster.main(id);
        main.trigger_snapshot().await.unwrap();
        until("the snapshot is built", async || {
            main.snapshot_index() >= Some(after.index)
        })
        .await;
        main.trigger_purge(after.index).await.unwrap();
    }
    for id in 1..=6 {
        cluster.stop(id).await;
    }
    for folder in &folders {
        fs::remove_file(folder).unwrap();
    }
    for id in 1..=6 {
        cluster.start(id).await;
    }
    for id in 1..=6 {
        until("the genesis was rebuilt", async || {
            cluster.node(id).geneses() == [(evening().id, full)]
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn geneses_come_back_after_snapshots_purges_and_a_power_cut_i9() {
    geneses_come_back().await;
}

#[cfg(feature = "planted-faults")]
#[test]
fn a_forgotten_genesis_pin_is_seen() {
    let fault = domain::planted::Fault::SkipGenesisPin;
    assert!(crate::harness::is_seen(fault, geneses_come_back));
}
