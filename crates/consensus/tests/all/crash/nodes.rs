//! A node that gives up its disk, or joins, is lost at each step of it.

use std::path::Path;
use std::time::Duration;

use super::ends_at;
use crate::harness::hindrance::Hindrance;
use crate::harness::{Cluster, marking, until};
use crate::nodes::{address_of, change, found_tail, has_members, ids, say};
use crate::promotion::{certified, seal, serves, show, six};
use domain::NodeId;
use domain::centre::nodes::Change;
use domain::protection::Mode;

/// What a wipe removes, in its order; before it the audit is put aside, after it the marker goes.
const REMOVED: [&str; 6] = [
    "store",
    "snapshots",
    "genesis",
    "acknowledged",
    "standing",
    "identity",
];

/// The node at this place is given another id in its centre.
async fn replace(cluster: &Cluster, at: u64, centre: &str, id: u64) {
    let address = address_of(cluster, at, id);
    say(
        cluster,
        at,
        &change(centre, &[(id + 1_000, address)], &[id]),
    )
    .await;
}

/// Does the first steps of a wipe that a crash then cuts short.
fn wipe_begun(data: &Path, id: u64, steps: usize) {
    assert!(data.join("wiping").is_file(), "the marker is durable");
    std::fs::rename(data.join("audit"), data.join(format!("audit.{id}"))).unwrap();
    for name in &REMOVED[..steps] {
        let path = data.join(name);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else if path.exists() {
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// Waits until a node has noted that it gives its disk up, and stops it there.
async fn marked_to_wipe(cluster: &mut Cluster, id: u64) {
    let life = cluster.node(id).another_life();
    tokio::time::timeout(Duration::from_secs(30), life)
        .await
        .expect("the node hears of its other life");
    cluster.stop(id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_lost_as_it_was_replaced_hears_of_it_when_it_is_back() {
    let mut cluster = six(Mode::Sync).await;
    cluster.main(1).propose(marking(1)).await.unwrap();
    cluster.agree().await;
    // The change is committed, and the node does not know it yet.
    cluster.stop(5).await;
    replace(&cluster, 1, "west", 5).await;
    cluster.start(5).await;
    assert_eq!(cluster.node(5).id(), NodeId(5), "as its disk has it");
    cluster.comes_back(5).await;
    assert_eq!(cluster.node(5).id(), NodeId(1_005));
    has_members(&cluster, &[1, 2, 3], &[4, 6, 1_005]).await;
    ends_at(&cluster, "east", &[1, 2, 3], &[1]).await;
}

/// The east comes back in the epoch of the west, and its nodes are lost at different steps of that.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_primary_whose_nodes_are_lost_in_the_middle_of_the_wipe_comes_back_whole() {
    let mut cluster = six(Mode::Sync).await;
    cluster.main(1).propose(marking(1)).await.unwrap();
    let found = seal(&cluster, 4).await;
    cluster.main(1).propose(marking(2)).await.unwrap();
    show(&cluster, 4, &certified(&cluster, 4, &found)).await;
    serves(&cluster, &[4, 5, 6], 2).await;
    until("the old primary has stopped", async || {
        (1..=3).all(|id| cluster.main(id).running().is_err())
    })
    .await;
    let tail = found_tail(&cluster, 6).await;
    let west = ids(&[4, 5, 6]).into_iter().collect();
    assert_eq!(cluster.node(6).have_tail_kept(&tail, west).await.len(), 3);
    // A keeper that is lost right after has it still.
    super::crash(&mut cluster, 5).await;
    let rows = cluster.node(5).kept_tail(&tail, 0, 1_000).await.unwrap();
    assert_eq!(u64::try_from(rows.len()).unwrap(), tail.records());

    let back = [1_001, 1_002, 1_003].map(|id| (id, address_of(&cluster, 4, id - 1_000)));
    let back = Change {
        tail: Some(Box::new(tail.clone())),
        ..change("east", &back, &[])
    };
    say(&cluster, 4, &back).await;
    // The marker alone; in the middle; all but the marker.
    for (id, steps) in [(1, 0), (2, 3), (3, REMOVED.len())] {
        marked_to_wipe(&mut cluster, id).await;
        if id > 1 {
            wipe_begun(cluster.data(id), id, steps);
        }
        cluster.start(id).await;
        assert_eq!(cluster.node(id).id(), NodeId(id + 1_000));
        let data = cluster.data(id);
        assert!(data.join(format!("audit.{id}/main.e1")).is_dir());
        assert!(!data.join("wiping").exists());
    }
    has_members(&cluster, &[4, 5, 6], &[1_001, 1_002, 1_003]).await;
    ends_at(&cluster, "west", &[4, 5, 6], &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_lost_before_it_knows_who_it_is_asks_again() {
    let mut cluster = six(Mode::Sync).await;
    cluster.main(1).propose(marking(1)).await.unwrap();
    replace(&cluster, 1, "west", 5).await;
    marked_to_wipe(&mut cluster, 5).await;
    let others = [1, 2, 3, 4, 6];
    for id in others {
        cluster.hinder(id, "Join", Hindrance::Stalls);
    }
    // Wiped, and nobody answers: it waits, or comes up as nobody's place.
    let came = tokio::time::timeout(Duration::from_secs(2), cluster.start(5)).await;
    assert!(came.is_err(), "nobody told it who it is");
    let data = cluster.data(5);
    assert!(!data.join("store").exists() && !data.join("wiping").exists());
    assert!(data.join("audit.5/main.e1").is_dir());
    for id in others {
        cluster.clear(id);
    }
    cluster.start(5).await;
    assert_eq!(cluster.node(5).id(), NodeId(1_005));
    has_members(&cluster, &[1, 2, 3], &[4, 6, 1_005]).await;
    ends_at(&cluster, "east", &[1, 2, 3], &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_lost_before_its_first_snapshot_joins_as_the_same() {
    let mut cluster = six(Mode::Sync).await;
    for mark in 1..=5 {
        cluster.main(1).propose(marking(mark)).await.unwrap();
    }
    let upto = cluster.agree().await;
    // Nobody has the first entries any more: who joins needs a snapshot.
    for id in 1..=6 {
        let main = cluster.main(id);
        main.trigger_snapshot().await.unwrap();
        until("the snapshot is built", async || {
            main.snapshot_index() >= Some(upto.index)
        })
        .await;
        main.trigger_purge(upto.index).await.unwrap();
    }
    cluster.hinder(5, "InstallSnapshot", Hindrance::Refuses);
    replace(&cluster, 1, "west", 5).await;
    cluster.comes_back(5).await;
    assert_eq!(cluster.node(5).id(), NodeId(1_005));
    assert!(cluster.main(5).applied().borrow().is_none());
    super::crash(&mut cluster, 5).await;
    assert_eq!(cluster.node(5).id(), NodeId(1_005), "as its disk has it");
    has_members(&cluster, &[1, 2, 3], &[4, 6, 1_005]).await;
    ends_at(&cluster, "east", &[1, 2, 3], &[1, 2, 3, 4, 5]).await;
}
