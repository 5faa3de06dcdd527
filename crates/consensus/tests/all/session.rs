//! A Saturday with two sessions and the Monday after it: nodes follow the timetable and the plan
//! by themselves (I1, I2, I4, I9; R15–R18).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;

use crate::harness::drill::{Drill, at, id, who};
use crate::harness::hindrance::Hindrance;
use crate::harness::until;
use domain::account;
use domain::session::{Act, Command, Phase, Plan, Reply, Whose};
use domain::{LineId, NodeId};
#[tokio::test(flavor = "multi_thread")]
async fn a_saturday_and_its_monday_by_the_timetable() {
    let drill = Drill::running().await;
    drill.open_session_2().await;
    drill.serve_session_2().await;
    for number in 1..=3 {
        drill.suspend_on_branch(number).await;
    }
    // The main line goes on being applied at the secondary during the session.
    let main_during = drill.cluster.agree().await;
    drill.roll_over().await;
    let state = drill.cluster.main(1).state();
    let sealed = state.plan(&id("S2")).unwrap().sealed.clone().unwrap();
    let evidence = sealed.evidence.unwrap();
    assert_eq!(evidence.must_repeat.len(), 3, "I5");
    assert_eq!(evidence.forgotten.values().sum::<u64>(), 3, "I5");
    assert!(drill.cluster.agree().await > main_during);
    drill.branch_is_gone().await;
    drill.monday().await;
    // The branch's trail is whole in both centres.
    let mut whole = BTreeMap::new();
    for (number, running) in &drill.cluster.running {
        let branch = running
            .node
            .branch_reference(&evidence.session, evidence.genesis);
        let (from, head) = (evidence.audit_from, evidence.audit);
        let has = running.node.has_audit(&branch, from, &head).await;
        whole.insert(*number, has.unwrap_or(false));
    }
    let east = (1..=3).filter(|node| whole[node]).count();
    let west = (4..=6).filter(|node| whole[node]).count();
    assert!(east >= 2 && west == 3, "durable: {whole:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_given_only_over_audit_rows_that_are_durable() {
    let drill = Drill::running().await;
    drill.open_session_2().await;
    drill.serve_session_2().await;
    drill.suspend_on_branch(1).await;
    // So that only this test asks for it.
    for node in 4..=6 {
        let method = "GetBranchEvidence";
        drill.cluster.hinder(node, method, Hindrance::Refuses);
    }
    drill.set_clocks(at(5));
    drill.phase("S2", Phase::Closed).await;
    let node = drill.cluster.node(5);
    let branch = node.branch().unwrap();
    until("the branch is closed", async || {
        branch.state().header().ended
    })
    .await;
    let evidence = node.branch_evidence(&branch).await.unwrap();
    let (from, head) = (evidence.audit_from, evidence.audit);
    let durable = node.has_audit(&branch.reference(), from, &head).await;
    assert!(durable.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_rows_that_one_node_does_not_give_are_copied_from_another() {
    let drill = Drill::running().await;
    drill.cluster.hinder(4, "FetchAudit", Hindrance::Refuses);
    drill.open_session_2().await;
    drill.serve_session_2().await;
    drill.suspend_on_branch(1).await;
    drill.roll_over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_completes_its_trail_of_the_branch() {
    let mut drill = Drill::running().await;
    drill.open_session_2().await;
    drill.serve_session_2().await;
    let leads = |node: &u64| drill.cluster.node(*node).branch().unwrap().is_leader();
    let away = (4..=6).find(|node| !leads(node)).unwrap();
    drill.cluster.stop(away).await;
    drill.suspend_on_branch(1).await;
    drill.roll_over().await;
    drill.branch_is_gone().await;
    drill.cluster.start(away).await;
    let node = drill.cluster.node(away);
    until("the node has the whole trail", async || {
        let state = node.main().state();
        let sealed = state.plan(&id("S2")).and_then(|plan| plan.sealed.clone());
        let Some(evidence) = sealed.and_then(|sealed| sealed.evidence) else {
            return false;
        };
        let branch = node.branch_reference(&evidence.session, evidence.genesis);
        let (from, head) = (evidence.audit_from, evidence.audit);
        node.has_audit(&branch, from, &head).await.unwrap()
    })
    .await;
    drill.branch_is_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_node_gives_evidence_once_it_has_the_audit_rows_before_its_snapshot() {
    let mut drill = Drill::running().await;
    drill.set_clocks(at(0));
    drill.phase("S1", Phase::Open).await;
    drill.set_clocks(at(2));
    drill.phase("S1", Phase::Closed).await;
    drill.cluster.stop(6).await;
    drill.approve_and_open().await;
    drill.phase("S2", Phase::Open).await;
    drill.branch_runs().await;
    drill.serve_session_2().await;
    for number in 1..=3 {
        drill.suspend_on_branch(number).await;
    }
    for node in [4, 5] {
        let branch = drill.cluster.node(node).branch().unwrap();
        let upto = branch.read_index().await.unwrap().index;
        branch.trigger_snapshot().await.unwrap();
        until("the snapshot is built", async || {
            branch.snapshot_index() >= Some(upto)
        })
        .await;
        branch.trigger_purge(upto).await.unwrap();
        drill.cluster.hinder(node, "FetchAudit", Hindrance::Refuses);
    }
    drill.cluster.start(6).await;
    drill.set_clocks(at(5));
    let late = |drill: &Drill| drill.cluster.node(6).branch();
    until("the branch is closed on node 6", async || {
        late(&drill).is_some_and(|branch| branch.state().header().ended)
    })
    .await;
    let (node, branch) = (drill.cluster.node(6), late(&drill).unwrap());
    let refused = node.branch_evidence(&branch).await.unwrap_err().to_string();
    assert!(refused.contains("are missing here"), "{refused}");
    drill.cluster.clear(4);
    drill.cluster.clear(5);
    until("node 6 has the evidence", async || {
        node.branch_evidence(&branch).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_branch_has_failed_still_follows_the_plan() {
    let mut drill = Drill::running().await;
    drill.set_clocks(at(0));
    drill.phase("S1", Phase::Open).await;
    drill.set_clocks(at(2));
    drill.phase("S1", Phase::Closed).await;
    // Alone, node 4 starts the branch and finds no majority: it tries again and again.
    drill.cluster.stop(5).await;
    drill.cluster.stop(6).await;
    drill.approve_and_open().await;
    let runs = async || drill.cluster.node(4).branch().is_some();
    until("the branch runs on node 4", runs).await;
    let failed = drill.cluster.node(4).branch().unwrap();
    failed.stop().await;
    until("node 4 says so to its peers", async || {
        let (_, status) = drill.cluster.node(1).heard().from(NodeId(4)).unwrap();
        status.lines.iter().filter(|line| !line.running).count() == 1
    })
    .await;
    drop(failed);
    drill.cluster.start(5).await;
    drill.cluster.start(6).await;
    until("the others serve", async || {
        let branch = drill.cluster.node(6).branch();
        branch.is_some_and(|branch| branch.state().header().line == branch.reference().line)
    })
    .await;
    drill.suspend_on_branch(1).await;
    drill.roll_over().await;
    drill.branch_is_gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_stop_at_any_phase_go_on_i9() {
    let mut drill = Drill::running().await;
    let genesis = drill.open_session_2().await;
    // All of the secondary at once, and a node of the primary.
    for node in [4, 5, 6, 2] {
        drill.cluster.stop(node).await;
    }
    for node in [4, 5, 6, 2] {
        drill.cluster.start(node).await;
    }
    assert_eq!(drill.branch_runs().await, genesis);
    drill.serve_session_2().await;
    drill.suspend_on_branch(1).await;
    for node in 1..=6 {
        drill.cluster.stop(node).await;
    }
    for node in 1..=6 {
        drill.cluster.start(node).await;
    }
    drill.branch_runs().await;
    drill.roll_over().await;
    for node in [1, 5] {
        drill.cluster.stop(node).await;
        drill.cluster.start(node).await;
    }
    drill.branch_is_gone().await;
    drill.monday().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_closes_by_the_timetable_and_a_rollover_nobody_ordered_runs_in_time() {
    let drill = Drill::running().await;
    drill.open_session_2().await;
    drill.serve_session_2().await;
    drill.suspend_on_branch(2).await;
    drill.set_clocks(at(5));
    drill.phase("S2", Phase::Closed).await;
    // An hour before Monday opens.
    drill.set_clocks(at(37));
    drill.phase("S2", Phase::RolledOver).await;
    let state = drill.cluster.main(1).state();
    let held: Vec<_> = state.holds().map(|hold| hold.of.clone()).collect();
    assert_eq!(held, [Whose::Account(who(2))]);
    drill.branch_is_gone().await;
    drill.monday().await;
}

/// A node of the secondary that was away at the boundary, and comes back when the main line has
/// gone on.
async fn late_node_starts_from_the_boundary() {
    let mut drill = Drill::running().await;
    drill.set_clocks(at(0));
    drill.phase("S1", Phase::Open).await;
    drill.set_clocks(at(2));
    drill.phase("S1", Phase::Closed).await;
    drill.cluster.stop(6).await;
    let boundary = drill.approve_and_open().await.at;
    drill
        .operator(
            "op1",
            domain::Command::Account(account::Command::Suspend {
                account: who(4),
                token: None,
                reason: "an emergency".into(),
            }),
        )
        .await;
    drill.cluster.start(6).await;
    drill.phase("S2", Phase::Open).await;
    drill.branch_runs().await;
    let own = drill.cluster.main(1).digests_at(boundary).unwrap().full;
    for node in 4..=6 {
        let branch = drill.cluster.node(node).branch().unwrap().reference().line;
        let expected = LineId::Branch {
            session: id("S2"),
            genesis: own,
        };
        assert_eq!(branch, expected, "I1 on node {node}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_node_starts_from_the_boundary_and_not_from_what_it_has_i1() {
    Box::pin(late_node_starts_from_the_boundary()).await;
}

#[cfg(feature = "planted-faults")]
async fn discarded() {
    let drill = Drill::running().await;
    drill.open_session_2().await;
    drill.serve_session_2().await;
    drill.suspend_on_branch(1).await;
    drill.roll_over().await;
    drill.branch_is_gone().await;
}

#[cfg(feature = "planted-faults")]
mod faults {
    use domain::planted::Fault;

    use super::*;

    #[test]
    fn a_forgotten_wait_for_the_boundary_is_seen() {
        let fault = Fault::SkipBoundaryWait;
        assert!(crate::harness::is_seen(
            fault,
            late_node_starts_from_the_boundary
        ));
    }

    #[test]
    fn a_skipped_discard_is_seen() {
        assert!(crate::harness::is_seen(Fault::SkipDiscard, discarded));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_off_does_not_stand_for_the_branch() {
    let mut drill = Drill::running().await;
    drill.set_clocks(at(0));
    drill.phase("S1", Phase::Open).await;
    drill.set_clocks(at(2));
    drill.phase("S1", Phase::Closed).await;
    // Two of three: each could vote for the other.
    drill.cluster.stop(6).await;
    for node in [4, 5] {
        drill.cluster.clocks[&node].set_now(at(2000));
        until("the node knows that its clock is off", async || {
            !drill.cluster.node(node).clock_verdict().is_good()
        })
        .await;
    }
    drill.approve_and_open().await;
    let runs = |node| drill.cluster.node(node).branch().is_some();
    until("the branch runs", async || runs(4) && runs(5)).await;
    let right = drill.cluster.clocks[&1].offset_ms();
    drill.cluster.clocks[&5].set_offset_ms(right);
    let branch = drill.cluster.node(4).branch().unwrap();
    until("the branch has begun", async || {
        for node in [4, 5].map(|node| drill.cluster.node(node)) {
            let leads = node.branch().unwrap().is_leader();
            let id = node.id();
            assert!(!leads || node.clock_verdict().is_good(), "{id} leads");
        }
        branch.state().header().line == branch.reference().line
    })
    .await;
    assert_eq!(branch.leader(), Some(NodeId(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_that_was_given_up_did_is_kept_until_it_is_attached() {
    let mut drill = Drill::running().await;
    drill.open_session_2().await;
    drill.serve_session_2().await;
    drill.suspend_on_branch(1).await;
    for node in 4..=6 {
        drill.cluster.stop(node).await;
    }
    drill.set_clocks(at(5).plus(60_000));
    drill.phase("S2", Phase::Closed).await;
    let state = drill.cluster.main(1).state();
    let planned = state.plan(&id("S2")).unwrap().session.clone();
    for operator in ["op1", "op2"] {
        let command = Command::Approve {
            act: Act::Abandon(id("S2")),
            plan: Plan::digest_of(&planned),
        };
        drill
            .operator(operator, domain::Command::Session(command))
            .await;
    }
    drill
        .plan(Command::Abandon {
            session: id("S2"),
            refused: Vec::new(),
            reason: "west does not answer".into(),
        })
        .await;
    // Its nodes come back after all: the branch closes, and leaves what it did behind.
    for node in 4..=6 {
        drill.cluster.start(node).await;
    }
    drill.phase("S2", Phase::Abandoned).await;
    let mut gathered = None;
    until("the evidence is in both centres", async || {
        gathered = drill.cluster.node(1).gather(&id("S2")).await.ok();
        gathered
            .as_ref()
            .is_some_and(|gathered| gathered.in_both_centres)
    })
    .await;
    let evidence = gathered.unwrap().evidence;
    assert_eq!(evidence.must_repeat.len(), 1);
    let waived = Reply::Waived {
        reason: "a drill".into(),
    };
    drill
        .plan(Command::RollOver {
            session: id("S2"),
            replies: BTreeMap::from([(evidence.must_repeat[0].sequence, waived)]),
            evidence: Box::new(evidence),
            gap_accepted: None,
        })
        .await;
    drill.branch_is_gone().await;
    drill.monday().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_closed_before_it_was_confirmed_rolls_over() {
    let drill = Drill::running().await;
    drill.set_clocks(at(0));
    drill.phase("S1", Phase::Open).await;
    drill.set_clocks(at(2));
    drill.phase("S1", Phase::Closed).await;
    drill.approve_and_open().await;
    // The timetable's end comes before anybody could say that the branch runs.
    drill.roll_over().await;
    drill.branch_is_gone().await;
    drill.monday().await;
}
