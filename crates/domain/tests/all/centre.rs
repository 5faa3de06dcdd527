//! The roles of the centres: switchover, and what a promotion rests on (LINES.md).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};

use crate::world::*;
use domain::approval::Act;
use domain::centre::Command;
use domain::centre::nodes::Change;
use domain::cluster::Node;
use domain::promotion::{Begin, Certificate, Found, Loss, SealId, Stopped, Terms};
use domain::protection::Mode;
use domain::session::Phase;
use domain::{Answer, CentreName, LogId, NodeId, OperatorId, Rejection, protection};

fn centre(name: &str) -> CentreName {
    CentreName::parse(name).unwrap()
}

fn start(to: &str) -> domain::Command {
    domain::Command::Centre(Command::SwitchStart {
        to: centre(to),
        reason: "a test".to_owned(),
    })
}

fn done(to: &str) -> domain::Command {
    domain::Command::Centre(Command::SwitchDone { to: centre(to) })
}

fn given_up(to: &str) -> domain::Command {
    domain::Command::Centre(Command::SwitchGivenUp { to: centre(to) })
}

fn primary(world: &World) -> String {
    world.state.primary().unwrap().name.to_string()
}

#[test]
fn nobody_is_served_between_the_start_of_a_switchover_and_its_end() {
    let mut world = World::in_session_1();
    assert!(world.state.open_session(world.now).is_ok());
    world.done(&operator("ann"), start("west"));
    let switching = Rejection::CentreSwitching { to: centre("west") };
    assert_eq!(world.state.open_session(world.now).unwrap_err(), switching);
    assert_eq!(primary(&world), "east");
    assert_eq!(
        world.rejected(&operator("ben"), start("west")),
        Rejection::AlreadySo
    );
    assert_eq!(world.rejected(&operator("ben"), start("east")), switching);
    world.done(&node(), done("west"));
    assert_eq!(primary(&world), "west");
    // The session goes on at the other centre, and its tokens with it.
    assert!(world.state.open_session(world.now).is_ok());
    assert_eq!(world.state.serving_centre(), Some(&centre("west")));
    let protecting: Vec<NodeId> = world.state.secondary_nodes().collect();
    assert_eq!(protecting, [1, 2, 3].map(NodeId));
    assert_eq!(world.rejected(&node(), done("west")), Rejection::AlreadySo);
}

#[test]
fn a_switchover_that_is_given_up_leaves_all_as_it_was() {
    let mut world = World::in_session_1();
    world.done(&operator("ann"), start("west"));
    world.done(&node(), given_up("west"));
    assert_eq!(primary(&world), "east");
    assert!(world.state.open_session(world.now).is_ok());
    assert_eq!(world.rejected(&node(), done("west")), Rejection::AlreadySo);
}

#[test]
fn a_switchover_is_refused_on_a_branch_to_nowhere_degraded_and_by_nodes() {
    let mut world = World::in_session_1();
    assert_eq!(
        world.rejected(&operator("ann"), start("east")),
        Rejection::AlreadySo
    );
    assert_eq!(
        world.rejected(&operator("ann"), start("north")),
        Rejection::NoSuchCentre
    );
    assert_eq!(
        world.rejected(&node(), start("west")),
        Rejection::NotAllowed
    );
    assert_eq!(
        world.rejected(&operator("ann"), done("west")),
        Rejection::NotAllowed
    );
    let degrade = domain::Command::Protection(protection::Command::Degrade);
    world.done(&node(), degrade);
    let refused = world.rejected(&operator("ann"), start("west"));
    assert_eq!(refused, Rejection::Degraded { since: world.now });

    let (mut main, _branch) = drill();
    let refused = main.rejected(&operator("ann"), start("west"));
    assert_eq!(
        refused,
        Rejection::BranchOpen {
            session: session("S2")
        }
    );
}

/// What nodes 4 and 5 were sealed for.
pub(crate) fn terms(world: &World) -> Terms {
    Terms {
        centre: centre("west"),
        epoch: world.state.header().epoch + 1,
        boundary: world.state.header().applied,
        genesis: world.state.digests().full,
        voters: BTreeMap::from([4, 5].map(|id| (NodeId(id), SealId([7; 16])))),
        left_out: BTreeSet::from([NodeId(6)]),
        accepted_loss: Loss::Unknown,
        accepts_split_brain: false,
        old: None,
        reason: "the east is lost".to_owned(),
    }
}

pub(crate) fn certified(world: &World, terms: Terms, who: &[&str]) -> Certificate {
    let act = Act::Promotion(Box::new(terms.clone()));
    let by = who
        .iter()
        .map(|name| (OperatorId::parse(name).unwrap(), world.approval(name, &act)));
    Certificate {
        by: by.collect(),
        terms,
    }
}

pub(crate) fn begin(certificate: Certificate) -> domain::Command {
    domain::Command::Promote(Box::new(Begin { certificate }))
}

#[test]
fn a_promotion_ends_what_is_short_lived_moves_the_role_and_drops_a_branch() {
    let (mut world, _branch) = drill();
    // Codes of a later step could have been used.
    world.now = world.now.plus(60_000);
    let (generation, floor) = {
        let header = world.state.header();
        (header.generation, header.totp_floor)
    };
    let certificate = certified(&world, terms(&world), &["ann", "ben"]);
    assert_eq!(
        world.done(&node(), begin(certificate.clone())),
        Answer::Nothing
    );
    let state = &world.state;
    let header = state.header();
    assert_eq!(header.epoch, 2);
    assert!(header.generation > generation);
    assert!(header.totp_floor > floor);
    assert!(header.fence.is_none());
    assert_eq!(state.plan(&session("S2")).unwrap().phase, Phase::Abandoned);
    assert_eq!(state.certificate(), Some(&certificate));
    assert_eq!(header.line_since, world.now);
    assert!(header.protection.degraded_since.is_some());
    let centres = state.centres().unwrap();
    // Two of three are a majority: the third may come back under its id; the old primary may not.
    let west: Vec<NodeId> = centres.primary.nodes.iter().map(|node| node.id).collect();
    assert_eq!(
        (primary(&world).as_str(), west),
        ("west", [4, 5, 6].map(NodeId).to_vec())
    );
    let retired: Vec<u64> = centres.retired.keys().map(|id| id.0).collect();
    assert_eq!(retired, [1, 2, 3]);
    assert_eq!(state.secondary_nodes().count(), 0);
    let again = world.rejected(&node(), begin(certificate));
    assert_eq!(again, Rejection::AlreadySo);
}

#[test]
fn a_lone_survivor_s_others_are_retired() {
    let mut world = World::in_session_1();
    let alone = Terms {
        voters: BTreeMap::from([(NodeId(5), SealId([7; 16]))]),
        left_out: BTreeSet::from([4, 6].map(NodeId)),
        ..terms(&world)
    };
    let certificate = certified(&world, alone, &["ann", "ben"]);
    world.done(&node(), begin(certificate));
    let centres = world.state.centres().unwrap();
    assert_eq!(centres.primary.nodes.len(), 1);
    let retired: Vec<u64> = centres.retired.keys().map(|id| id.0).collect();
    assert_eq!(retired, [1, 2, 3, 4, 6]);
}

#[test]
fn a_certificate_that_does_not_fit_begins_nothing_s34() {
    let world = World::in_session_1();
    let right = terms(&world);
    let refused = |certificate: Certificate, who| {
        let mut world = world.clone();
        let before = world.state.digests().account;
        let refused = world.rejected(&who, begin(certificate));
        assert_eq!(world.state.header().epoch, 1);
        assert_eq!(world.state.digests().account, before);
        refused
    };
    let both = ["ann", "ben"];
    let one = certified(&world, right.clone(), &["ann"]);
    let too_few = Rejection::NotApproved { have: 1, need: 2 };
    assert_eq!(refused(one, node()), too_few);
    let by_a_person = certified(&world, right.clone(), &both);
    assert_eq!(refused(by_a_person, operator("ann")), Rejection::NotAllowed);
    // Signed for other terms.
    let mut moved = certified(&world, right.clone(), &both);
    moved.terms.accepted_loss = Loss::None;
    assert_eq!(refused(moved, node()), Rejection::ApprovalDiffers);
    let elsewhere = Terms {
        genesis: domain::Digest::ZERO,
        ..right.clone()
    };
    let elsewhere = certified(&world, elsewhere, &both);
    assert_eq!(refused(elsewhere, node()), Rejection::EvidenceDiffers);
    type Change = fn(&mut Terms);
    let wrong: [Change; 4] = [
        |terms| terms.epoch = 3,
        |terms| terms.voters = BTreeMap::new(),
        |terms| terms.left_out = BTreeSet::new(),
        |terms| terms.reason = String::new(),
    ];
    for change in wrong {
        let mut changed = right.clone();
        change(&mut changed);
        let certificate = certified(&world, changed, &both);
        let refused = refused(certificate, node());
        assert!(matches!(refused, Rejection::BadValues(_)), "{refused:?}");
    }
}

#[test]
fn no_loss_is_claimed_only_where_nothing_answered_can_be_gone_i11() {
    let found = Found {
        nodes: 3,
        sealed: 2,
        mode: Mode::Strict,
        degraded: false,
        stopped: None,
        contested: false,
    };
    let loss = |found: Found| found.claim().0;
    assert_eq!(loss(found.clone()), Loss::None);
    let stopped = |gave_up, beyond| Some(Stopped { gave_up, beyond });
    let sync = |stopped| Found {
        mode: Mode::Sync,
        stopped,
        ..found.clone()
    };
    assert_eq!(loss(sync(stopped(false, Some(7)))), Loss::None);
    // It may have given this centre up since.
    assert_eq!(loss(sync(None)), Loss::Unknown);
    assert_eq!(loss(sync(stopped(true, None))), Loss::Unknown);
    // What it has and this centre has not is all that can be gone.
    assert_eq!(loss(sync(stopped(true, Some(7)))), Loss::AtMost(7));
    let two_lines = Found {
        contested: true,
        ..sync(stopped(false, Some(0)))
    };
    assert_eq!(loss(two_lines), Loss::Unknown);
    let too_few = Found {
        sealed: 1,
        ..found.clone()
    };
    // One of three learners may be the one without the acknowledged entry.
    assert_eq!(loss(too_few), Loss::Unknown);
    let degraded = Found {
        degraded: true,
        ..sync(stopped(false, None))
    };
    assert_eq!(loss(degraded), Loss::Unknown);
    let loose = Found {
        mode: Mode::Async,
        stopped: stopped(false, None),
        ..found.clone()
    };
    assert_eq!(loss(loose), Loss::Unknown);
    let (one, five) = (
        Found {
            nodes: 1,
            sealed: 1,
            ..found.clone()
        },
        Found {
            nodes: 5,
            sealed: 3,
            ..found.clone()
        },
    );
    assert_eq!((loss(one), loss(five.clone())), (Loss::None, Loss::None));
    assert_eq!(loss(Found { sealed: 2, ..five }), Loss::Unknown);
}

#[test]
fn who_accepts_a_loss_accepts_a_smaller_one_and_no_greater() {
    let rising = [Loss::None, Loss::AtMost(3), Loss::AtMost(9), Loss::Unknown];
    for (at, accepted) in rising.iter().enumerate() {
        for (other, found) in rising.iter().enumerate() {
            assert_eq!(accepted.covers(*found), other <= at, "{accepted}: {found}");
        }
    }
}

#[test]
fn a_longer_log_of_an_older_term_is_the_lesser_one() {
    let at = |term, node, index| LogId { term, node, index };
    let rising = [
        at(1, 9, 900),
        at(2, 1, 50),
        at(2, 3, 7),
        at(2, 3, 8),
        at(3, 1, 1),
    ];
    assert!(
        rising.is_sorted_by(|a, b| a < b),
        "leader first, then index"
    );
}

#[test]
fn a_line_that_began_excludes_those_that_need_its_voters() {
    let world = World::in_session_1();
    let of = |voters: &[u64]| Terms {
        voters: voters
            .iter()
            .map(|id| (NodeId(*id), SealId([1; 16])))
            .collect(),
        reason: format!("{voters:?}"),
        ..terms(&world)
    };
    // Both can have begun.
    for (began, other) in [
        (&[4][..], &[5, 6][..]),
        (&[5, 6], &[4]),
        (&[1, 2, 3], &[4, 5, 6]),
        (&[4], &[4, 5, 6]),
        (&[4, 5, 6], &[4]),
    ] {
        assert!(!of(began).excludes(&of(other)), "{began:?} {other:?}");
        assert_ne!(of(began).line(), of(other).line());
    }
    // Whoever began had a node that the other needs.
    for (began, other) in [
        (&[5, 6][..], &[4, 5, 6][..]),
        (&[4, 5, 6], &[5, 6]),
        (&[4, 5], &[5, 6]),
        (&[4, 5, 6], &[4, 5, 6]),
    ] {
        assert!(of(began).excludes(&of(other)), "{began:?} {other:?}");
    }
}

fn at(id: u64) -> Node {
    Node {
        id: NodeId(id),
        address: format!("10.2.0.{}:7013", id % 1_000),
    }
}

fn nodes(add: &[u64], remove: &[u64]) -> Change {
    Change {
        centre: centre("west"),
        add: add.iter().copied().map(at).collect(),
        remove: remove.iter().copied().map(NodeId).collect(),
        tail: None,
    }
}

fn changing(change: &Change) -> domain::Command {
    domain::Command::Centre(Command::ChangeNodes {
        change: Box::new(change.clone()),
        reason: "a disk is lost".to_owned(),
    })
}

#[test]
fn a_node_is_replaced_by_the_next_life_at_its_place_and_by_two_operators_s34() {
    let mut world = World::in_session_1();
    let change = nodes(&[1_005], &[5]);
    world.done(&operator("ann"), changing(&change));
    let west = |world: &World| -> Vec<u64> {
        let nodes = world.state.nodes_of(&centre("west"));
        nodes.map(|id| id.0).collect()
    };
    assert_eq!(
        west(&world),
        [4, 5, 6],
        "one operator alone changes nothing"
    );
    world.done(&operator("ann"), changing(&change));
    assert_eq!(west(&world), [4, 5, 6], "nor one twice");
    world.done(&operator("ben"), changing(&change));
    assert_eq!(west(&world), [4, 6, 1_005]);
    let centres = world.state.centres().unwrap();
    assert_eq!(centres.at_place(NodeId(5)).unwrap().id, NodeId(1_005));
    assert_eq!(centres.next_at(NodeId(5)), NodeId(2_005));
    assert!(centres.retired.contains_key(&NodeId(5)));

    // Until both sets have the entry, both protect, and nothing else moves.
    let former = centres.former.clone().unwrap();
    assert_eq!(former.nodes, BTreeSet::from([4, 5, 6].map(NodeId)));
    let refused = world.rejected(&operator("ann"), changing(&nodes(&[7], &[])));
    assert_eq!(refused, Rejection::TooMany);
    let refused = world.rejected(&operator("ann"), start("west"));
    assert_eq!(refused, Rejection::TooMany);
    let settled = |until| domain::Command::Centre(Command::NodesSettled { until });
    let refused = world.rejected(&node(), settled(former.until + 1));
    assert_eq!(refused, Rejection::AlreadySo);
    let refused = world.rejected(&operator("ann"), settled(former.until));
    assert_eq!(refused, Rejection::NotAllowed);
    world.done(&node(), settled(former.until));
    assert!(world.state.centres().unwrap().former.is_none());
    world.done(&operator("ann"), changing(&nodes(&[7], &[])));
}

#[test]
fn nodes_that_cannot_be_are_refused_with_every_reason() {
    let mut world = World::in_session_1();
    let mut elsewhere = nodes(&[8], &[]);
    elsewhere.add[0].address = "somewhere".to_owned();
    for (change, why) in [
        (nodes(&[], &[]), "nothing would change"),
        (nodes(&[5], &[]), "node 5 has the place of 5"),
        (nodes(&[1_005], &[]), "node 5 has the place of 1005"),
        (nodes(&[2_005], &[5]), "the next node at that place is 1005"),
        (nodes(&[5], &[5]), "the next node at that place is 1005"),
        (nodes(&[1_007], &[]), "the next node at that place is 7"),
        (nodes(&[7, 7], &[]), "7 is no id for a new node"),
        (nodes(&[], &[1]), "west has no node 1"),
        (nodes(&[], &[4, 5, 6]), "west would have no node"),
        (
            nodes(&[7, 8, 9, 10, 11, 12, 13], &[]),
            "a centre has at most 9 nodes",
        ),
        (elsewhere, "\"somewhere\" is no host and port"),
    ] {
        let refused = world.rejected(&operator("ann"), changing(&change));
        let Rejection::BadValues(problems) = refused else {
            panic!("{change:?}: {refused:?}");
        };
        assert!(
            problems.iter().any(|told| told == why),
            "{problems:?}: {why}"
        );
    }
    let elsewhere = Change {
        centre: centre("north"),
        ..nodes(&[7], &[])
    };
    let refused = world.rejected(&operator("ann"), changing(&elsewhere));
    assert_eq!(refused, Rejection::NoSuchCentre);
    let (mut main, _branch) = drill();
    let refused = main.rejected(&operator("ann"), changing(&nodes(&[7], &[])));
    assert!(matches!(refused, Rejection::BranchOpen { .. }));
}

#[test]
fn an_old_primary_comes_back_under_fresh_ids() {
    let mut world = World::in_session_1();
    let certificate = certified(&world, terms(&world), &["ann", "ben"]);
    world.done(&node(), begin(certificate));
    let back = |ids: &[u64]| Change {
        centre: centre("east"),
        ..nodes(ids, &[])
    };
    let again = world.rejected(&operator("ann"), changing(&back(&[1, 2, 3])));
    assert!(matches!(again, Rejection::BadValues(_)), "{again:?}");
    let change = back(&[1_001, 1_002, 1_003]);
    world.done(&operator("ann"), changing(&change));
    world.done(&operator("ben"), changing(&change));
    let protecting: Vec<u64> = world.state.secondary_nodes().map(|id| id.0).collect();
    assert_eq!(protecting, [1_001, 1_002, 1_003]);
    // Degraded: there was nobody who protected before.
    assert!(world.state.centres().unwrap().former.is_none());
}
