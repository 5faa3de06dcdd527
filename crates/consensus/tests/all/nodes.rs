//! Nodes that come, go and come back (LINES.md, "Reinstate").

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::{Cluster, asked, marking, until};
use crate::promotion::{certified, has_mark, seal, serves, show, six};
use domain::centre::Command;
use domain::centre::nodes::{Change, Tail};
use domain::cluster::Node;
use domain::outcome::Result as Came;
use domain::protection::Mode;
use domain::{CentreName, NodeId};

pub(crate) fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

pub(crate) fn change(centre: &str, add: &[(u64, String)], remove: &[u64]) -> Change {
    Change {
        centre: CentreName::parse(centre).unwrap(),
        add: add
            .iter()
            .map(|(id, address)| Node {
                id: NodeId(*id),
                address: address.clone(),
            })
            .collect(),
        remove: ids(remove),
        tail: None,
    }
}

pub(crate) fn address_of(cluster: &Cluster, at: u64, id: u64) -> String {
    let state = cluster.main(at).state();
    let centres = state.centres().unwrap();
    let mut nodes = centres.all().flat_map(|centre| &centre.nodes);
    let node = nodes.find(|node| node.id == NodeId(id));
    node.map_or_else(
        || centres.retired[&NodeId(id)].address.clone(),
        |node| node.address.clone(),
    )
}

/// Has two operators say it, as soon as the line takes it.
pub(crate) async fn say(cluster: &Cluster, at: u64, change: &Change) {
    let command = || {
        domain::Command::Centre(Command::ChangeNodes {
            change: Box::new(change.clone()),
            reason: "a test".to_owned(),
        })
    };
    for name in ["op1", "op2"] {
        until("an operator's word is taken", async || {
            let main = cluster.main(at);
            let done = main.propose(asked(&main, name, command())).await;
            done.is_ok_and(|outcome| matches!(outcome.result, Came::Done(_)))
        })
        .await;
    }
}

pub(crate) async fn has_members(cluster: &Cluster, voters: &[u64], learners: &[u64]) {
    until("the group has these members", async || {
        let Some(leader) = cluster.leader() else {
            return false;
        };
        let members = cluster.main(leader).membership();
        let settled = cluster.main(leader).state();
        let settled = settled.centres().unwrap().former.is_none();
        settled
            && !members.joint
            && members.voters == ids(voters)
            && members.learners == ids(learners)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_whose_disk_is_lost_comes_back_under_the_next_id() {
    let mut cluster = six(Mode::Sync).await;
    cluster.main(1).propose(marking(1)).await.unwrap();
    cluster.stop(2).await;
    cluster.lose_disk(2);
    let address = address_of(&cluster, 1, 2);
    let change = change("east", &[(1_002, address)], &[2]);
    say(&cluster, 1, &change).await;
    cluster.main(1).propose(marking(2)).await.unwrap();
    cluster.start(2).await;
    assert_eq!(cluster.node(2).id(), NodeId(1_002));
    has_members(&cluster, &[1, 3, 1_002], &[4, 5, 6]).await;
    until("it has all of it", async || {
        has_mark(&cluster, 2, 1) && has_mark(&cluster, 2, 2)
    })
    .await;
    // It counts: with another one gone, it and the third go on.
    cluster.stop(3).await;
    until("two of three go on", async || {
        cluster.main(1).propose(marking(3)).await.is_ok()
    })
    .await;
    cluster.stop(2).await;
    cluster.start(2).await;
    assert_eq!(cluster.node(2).id(), NodeId(1_002), "a restart keeps it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_was_lost_while_all_nodes_were_off_does_not_come_back_under_its_id() {
    let mut cluster = six(Mode::Sync).await;
    cluster.main(1).propose(marking(1)).await.unwrap();
    let others = [1, 2, 3, 4, 6];
    until("all have seen it", async || {
        let mut others = others.iter();
        others.all(|at| cluster.node(*at).has_seen(NodeId(5)))
    })
    .await;
    for node in 1..=6 {
        cluster.stop(node).await;
    }
    cluster.lose_disk(5);
    for node in others {
        cluster.start(node).await;
    }
    cluster.main(1).propose(marking(2)).await.unwrap();
    let came = tokio::time::timeout(Duration::from_secs(3), cluster.start(5)).await;
    assert!(came.is_err(), "nobody that runs now has heard it");
    let address = address_of(&cluster, 1, 5);
    say(&cluster, 1, &change("west", &[(1_005, address)], &[5])).await;
    cluster.start(5).await;
    assert_eq!(cluster.node(5).id(), NodeId(1_005));
    has_members(&cluster, &[1, 2, 3], &[4, 6, 1_005]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_replaced_while_it_runs_gives_up_all_but_its_audit() {
    let mut cluster = six(Mode::Strict).await;
    cluster.main(1).propose(marking(1)).await.unwrap();
    let address = address_of(&cluster, 1, 5);
    say(&cluster, 1, &change("west", &[(1_005, address)], &[5])).await;
    cluster.comes_back(5).await;
    assert_eq!(cluster.node(5).id(), NodeId(1_005));
    has_members(&cluster, &[1, 2, 3], &[4, 6, 1_005]).await;
    assert!(cluster.data(5).join("audit.5/main.e1").is_dir());
    // Strict: nothing is answered that two of the west do not have, the new one among them.
    cluster.stop(6).await;
    cluster.main(1).propose(marking(2)).await.unwrap();
    until("it has it", async || has_mark(&cluster, 5, 2)).await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_a_new_machine_joins_and_one_that_is_removed_is_gone_from_the_group() {
    let mut cluster = six(Mode::Sync).await;
    let address = cluster.machine(7).await;
    say(&cluster, 1, &change("east", &[(7, address)], &[])).await;
    cluster.start(7).await;
    has_members(&cluster, &[1, 2, 3, 7], &[4, 5, 6]).await;
    cluster.main(7).propose(marking(1)).await.unwrap();
    say(&cluster, 1, &change("east", &[], &[3])).await;
    has_members(&cluster, &[1, 2, 7], &[4, 5, 6]).await;
    say(&cluster, 1, &change("west", &[], &[6])).await;
    has_members(&cluster, &[1, 2, 7], &[4, 5]).await;
    cluster.stop(3).await;
    cluster.stop(6).await;
    cluster.main(7).propose(marking(2)).await.unwrap();
    cluster.agree().await;
}

pub(crate) async fn found_tail(cluster: &Cluster, at: u64) -> Tail {
    let east = cluster.founding.primary.nodes.iter().map(|node| node.id);
    let mut tail = None;
    until("the old primary says what it has", async || {
        let east: Vec<NodeId> = east.clone().collect();
        let all = east.len();
        let found = cluster.node(at).find_tail(east);
        tail = found.await.ok().map(|found| found.tail);
        tail.as_ref().is_some_and(|tail| tail.read.len() == all)
    })
    .await;
    tail.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_primary_comes_back_with_what_it_alone_had_kept_and_told_i11() {
    let mut cluster = six(Mode::Sync).await;
    cluster.main(1).propose(marking(1)).await.unwrap();
    let found = seal(&cluster, 4).await;
    // The west listens no more: the east gives it up, and answers alone.
    for mark in 2..=4 {
        let alone = cluster.main(1).propose(marking(mark)).await;
        assert!(alone.is_ok(), "{alone:?}");
    }
    let certificate = certified(&cluster, 4, &found);
    show(&cluster, 4, &certificate).await;
    serves(&cluster, &[4, 5, 6], 2).await;
    cluster.main(5).propose(marking(5)).await.unwrap();
    until("the old primary has stopped", async || {
        (1..=3).all(|id| cluster.main(id).running().is_err())
    })
    .await;

    let tail = found_tail(&cluster, 6).await;
    let west = ids(&[4, 5, 6]).into_iter().collect();
    let kept = cluster.node(6).have_tail_kept(&tail, west).await;
    assert_eq!(kept.len(), 3);
    let rows = cluster.node(5).kept_tail(&tail, 0, 1_000).await.unwrap();
    assert_eq!(u64::try_from(rows.len()).unwrap(), tail.records());
    let told: Vec<&str> = rows
        .iter()
        .filter_map(|row| row.participant.as_ref().map(|firm| firm.as_str()))
        .collect();
    assert_eq!(told, ["MARK0002", "MARK0003", "MARK0004"]);
    let other = Tail {
        head: rows[0].head(),
        ..tail.clone()
    };
    assert!(
        cluster.node(4).keep_tail(&other).await.is_ok(),
        "a part of it is kept for itself"
    );

    let back = [1_001, 1_002, 1_003].map(|id| (id, address_of(&cluster, 4, id - 1_000)));
    let change = Change {
        tail: Some(Box::new(tail.clone())),
        ..change("east", &back, &[])
    };
    say(&cluster, 4, &change).await;
    for id in 1..=3 {
        cluster.comes_back(id).await;
        assert_eq!(cluster.node(id).id(), NodeId(id + 1_000));
        assert!(
            cluster
                .data(id)
                .join(format!("audit.{id}/main.e1"))
                .is_dir()
        );
    }
    has_members(&cluster, &[4, 5, 6], &[1_001, 1_002, 1_003]).await;
    until("the east protects again", async || {
        let state = cluster.main(4).state();
        state.header().protection.degraded_since.is_none()
    })
    .await;
    assert!(has_mark(&cluster, 1, 1) && has_mark(&cluster, 1, 5));
    assert!(!has_mark(&cluster, 1, 2), "what was dropped is nowhere");
    cluster.agree().await;

    // And the role goes back.
    let to = CentreName::parse("east").unwrap();
    until("the switchover begins", async || {
        let main = cluster.main(4);
        let start = domain::Command::Centre(Command::SwitchStart {
            to: to.clone(),
            reason: "a test".to_owned(),
        });
        let done = main.propose(asked(&main, "op1", start)).await;
        done.is_ok_and(|outcome| matches!(outcome.result, Came::Done(_)))
    })
    .await;
    until("the east is the primary", async || {
        (1..=6).all(|id| cluster.main(id).state().primary().unwrap().name == to)
    })
    .await;
    cluster.main(2).propose(marking(6)).await.unwrap();
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_may_go_on_tells_nothing_of_a_tail() {
    let cluster = six(Mode::Sync).await;
    let found = cluster.node(4).find_tail(vec![NodeId(1), NodeId(2)]).await;
    let told = found.unwrap_err().to_string();
    assert!(told.contains("was shown no certificate"), "{told}");
}
