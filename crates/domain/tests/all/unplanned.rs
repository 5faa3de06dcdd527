//! A session that is opened without the primary, through `apply` (R41; LINES.md, "Opening,
//! unplanned").
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;

use crate::world::*;
use domain::account::Account;
use domain::audit::Kind;
use domain::session::unplanned::{Found, Order, Used};
use domain::session::{Act, Command as Plan, Phase};
use domain::{Actor, Command, LineId, LogId, NodeId, Rejection, State, UnixMs};

/// The order that a node of the secondary makes of a state.
fn order(state: &State, at: UnixMs) -> Result<Order, Rejection> {
    order_by(operator("ann"), state, at)
}

pub(crate) fn order_by(by: Actor, state: &State, at: UnixMs) -> Result<Order, Rejection> {
    let (session, approved_by) = state.may_open_unplanned(at, &by, &session("S2"))?;
    let header = state.header();
    Ok(Order {
        session,
        boundary: header.applied,
        epoch: header.epoch,
        genesis: state.digests().full,
        clock: header.clock,
        committed: header.applied,
        used: Vec::new(),
        used_count: 0,
        degraded_since: None,
        approved_by,
        by,
        reason: "the primary is dark".to_owned(),
        at,
    })
}

/// Session 1 is over, and both operators have approved session 2.
fn approved() -> World {
    let mut world = World::in_session_1();
    world.close("S1", SATURDAY_2000);
    world.approve(Act::Open(session("S2")));
    world
}

fn begin(order: &Order) -> Command {
    let order = Box::new(order.clone());
    Command::Session(Plan::BeginUnplanned { order })
}

pub(crate) fn adopt(order: &Order, found: Found) -> Command {
    let order = Box::new(order.clone());
    Command::Session(Plan::Adopt { order, found })
}

/// The branch of an order, in session 2.
pub(crate) fn serving(main: &World, order: &Order) -> World {
    let mut branch = main.fork_at(order.at);
    branch.done(&node(), begin(order));
    branch.start("S2", SATURDAY_2200);
    branch
}

fn phase(world: &World) -> Phase {
    world.state.plan(&session("S2")).unwrap().phase
}

#[test]
fn i1_the_branch_begins_with_the_state_as_it_is_and_ends_what_is_short_lived() {
    let mut main = World::in_session_1();
    let card = domain::portal::LandingOption::SmartcardOnlineAndReports;
    main.login("AU1", card, "friday");
    main.approve(Act::Open(session("S2")));
    // The primary is lost in the middle of session 1, and its close with it.
    let order = order(&main.state, SATURDAY_2200).unwrap();
    let mut branch = main.fork_at(order.at);
    assert_eq!(branch.state.digests(), main.state.digests(), "I1");
    let generation = branch.state.header().generation;
    branch.done(&node(), begin(&order));
    let header = branch.state.header();
    assert_eq!(header.line, branch.line);
    assert_eq!((&header.fence, &header.current), (&None, &None));
    assert!(header.generation > generation);
    assert!(
        branch
            .state
            .tokens()
            .get(&main.tokens[0], branch.now)
            .is_none()
    );
    let plan = branch.state.plan(&session("S2")).unwrap();
    assert_eq!(plan.boundary.unwrap().at, order.boundary);
    assert_eq!(plan.unplanned.as_ref().unwrap().order, order);
    assert_eq!(branch.rows[0].kind, Kind::BranchStarted);
    assert!(branch.rows[0].detail.as_ref().unwrap().contains("ann"));
    branch.start("S2", SATURDAY_2200);
    assert_eq!(
        branch.rejected(&node(), begin(&order)),
        Rejection::AlreadySo
    );
}

#[test]
fn a_branch_of_another_genesis_or_on_the_main_line_does_not_begin() {
    let mut main = approved();
    let order = order(&main.state, SATURDAY_2200).unwrap();
    assert_eq!(main.rejected(&node(), begin(&order)), Rejection::BranchOnly);
    let mut other = main.fork_at(order.at);
    let wrong = Order {
        genesis: domain::Digest([9; 32]),
        ..order.clone()
    };
    let before = other.state.digests().account;
    let rejection = other.rejected(&node(), begin(&wrong));
    assert_eq!(rejection, Rejection::EvidenceDiffers);
    assert_eq!(other.state.digests().account, before);
    assert_eq!(
        other.rejected(&front(), begin(&order)),
        Rejection::NotAllowed
    );
}

#[test]
fn it_takes_the_approvals_that_counted_when_the_main_line_was_last_heard_s34() {
    let mut main = World::in_session_1();
    main.close("S1", SATURDAY_2000);
    let none = Rejection::NotApproved { have: 0, need: 2 };
    assert_eq!(order(&main.state, SATURDAY_2200).unwrap_err(), none);
    main.approve(Act::Open(session("S2")));
    // Nobody can approve anew: what counted then counts two hours later.
    assert!(order(&main.state, SATURDAY_2200).is_ok());
    let over = order(&main.state, SATURDAY_2300).unwrap_err();
    assert!(matches!(over, Rejection::OutsideSession { .. }), "{over:?}");
    // Those that had expired by then do not.
    main.at(main.now.plus(HOUR));
    assert_eq!(order(&main.state, SATURDAY_2200).unwrap_err(), none);
}

#[test]
fn the_main_line_takes_it_over_once_and_rolls_it_over_i4_i8_i10() {
    let mut main = approved();
    let order = order(&main.state, SATURDAY_2200).unwrap();
    let mut branch = serving(&main, &order);
    branch.suspend(&operator("ann"), None, "AU2");
    let accounts = main.state.digests().account;
    main.at(SATURDAY_2200.plus(30 * MINUTE));
    assert_eq!(
        main.rejected(&operator("ann"), adopt(&order, Found::OnMainLine)),
        Rejection::NotAllowed
    );
    main.done(&node(), adopt(&order, Found::OnMainLine));
    assert_eq!(phase(&main), Phase::Open);
    assert_eq!(main.state.header().fence, Some(session("S2")), "R18");
    assert_eq!(
        main.rejected(&node(), adopt(&order, Found::OnMainLine)),
        Rejection::AlreadySo
    );
    let again = Command::Session(Plan::Open {
        session: session("S2"),
    });
    assert_eq!(
        main.rejected(&operator("ann"), again),
        Rejection::AlreadySo,
        "it is not opened twice"
    );
    branch.close("S2", SATURDAY_2300);
    main.close("S2", SATURDAY_2300);
    let evidence = branch.evidence();
    let other = domain::session::Evidence {
        boundary: LogId::default(),
        ..evidence.clone()
    };
    let rejected = main.roll_over(other, BTreeMap::new()).result;
    assert_eq!(
        rejected,
        domain::outcome::Result::Rejected(Rejection::EvidenceDiffers)
    );
    let replies = waive(&evidence);
    main.roll_over(evidence, replies);
    assert_eq!(phase(&main), Phase::RolledOver);
    assert_eq!(main.state.header().fence, None);
    assert_eq!(main.state.digests().account, accounts, "I4");
    assert!(main.state.accounts().all(Account::active));
    main.start("day-2023-06-12", MONDAY_0800);
}

#[test]
fn a_session_that_the_primary_holds_meanwhile_goes_on_beside_it() {
    let mut main = approved();
    let order = order(&main.state, SATURDAY_2200).unwrap();
    let mut branch = serving(&main, &order);
    branch.close("S2", SATURDAY_2300);
    // Cut off, the primary held its own session 3.
    main.start("S3", SATURDAY_2300);
    main.done(&node(), adopt(&order, Found::OnMainLine));
    let header = main.state.header();
    assert_eq!(
        (&header.fence, &header.current),
        (&None, &Some(session("S3")))
    );
    assert_eq!(main.state.unplanned().count(), 1);
    main.done(
        &node(),
        Command::Session(Plan::Close {
            session: session("S2"),
        }),
    );
    assert_eq!(main.state.header().current, Some(session("S3")));
    let evidence = branch.evidence();
    main.roll_over(evidence, BTreeMap::new());
    assert_eq!(phase(&main), Phase::RolledOver);
    assert_eq!(main.state.header().current, Some(session("S3")));
    assert_eq!(main.state.unplanned().count(), 0);
}

#[test]
fn an_opening_at_the_cut_off_primary_gives_way_unless_the_secondary_confirmed_it() {
    let mut main = approved();
    let order = order(&main.state, SATURDAY_2200).unwrap();
    main.at(SATURDAY_2200);
    main.approve(Act::Open(session("S2")));
    main.done(
        &operator("ann"),
        Command::Session(Plan::Open {
            session: session("S2"),
        }),
    );
    let mut confirmed = main.fork_at(order.at);
    confirmed.line = LineId::Main;
    let digest = main.state.digests().full;
    confirmed.done(
        &node(),
        Command::Session(Plan::ConfirmOpen {
            session: session("S2"),
            digest,
            verified: vec![NodeId(4), NodeId(5)],
        }),
    );
    let rejected = confirmed.rejected(&node(), adopt(&order, Found::OnMainLine));
    assert_eq!(rejected, Rejection::WrongPhase { phase: Phase::Open });

    main.done(&node(), adopt(&order, Found::OnMainLine));
    let plan = main.state.plan(&session("S2")).unwrap();
    assert_eq!(plan.boundary.unwrap().digest, Some(order.genesis));
    assert_eq!(main.state.header().fence, Some(session("S2")));
    let late = Command::Session(Plan::ConfirmOpen {
        session: session("S2"),
        digest,
        verified: vec![NodeId(4), NodeId(5)],
    });
    assert_eq!(main.rejected(&node(), late), Rejection::AlreadySo);
}

#[test]
fn what_is_not_on_the_main_line_is_named_in_the_plan_and_in_the_audit() {
    let mut main = approved();
    let kept = order(&main.state, SATURDAY_2200).unwrap();
    let used = |index| Used {
        at: LogId {
            index,
            ..kept.boundary
        },
        kind: Kind::PasswordChanged,
        account: Some(id("AU1")),
        participant: None,
        time: SATURDAY_2000,
        by: "AU1".to_owned(),
    };
    let order = Order {
        used: vec![used(90), used(91), used(92)],
        used_count: 3,
        ..kept.clone()
    };
    main.done(&node(), adopt(&order, Found::NotOnMainLine { from: 91 }));
    let plan = main.state.plan(&session("S2")).unwrap();
    let unplanned = plan.unplanned.as_ref().unwrap();
    assert!(unplanned.is_off_main_line());
    let lost: Vec<u64> = unplanned.lost().map(|used| used.at.index).collect();
    assert_eq!(lost, [91, 92]);
    let row = main.rows.last().unwrap();
    assert_eq!(row.kind, Kind::SessionAdopted);
    let detail = row.detail.as_ref().unwrap();
    assert!(detail.contains("boundary not on the main line"), "{detail}");
}
