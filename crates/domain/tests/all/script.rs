//! What a script may do besides opening, closing and rolling over: open without the primary, and
//! move the primary's role. Each only as two operators granted it (LOGIN.md, "Administration").
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;

use crate::approval::{granted, open, script_actor, scripted, terms, used};
use crate::unplanned::{adopt, order_by, serving};
use crate::world::*;
use domain::centre::Command as Centre;
use domain::script::{self, Deed, Terms};
use domain::session::unplanned::Found;
use domain::{CentreName, Command, Rejection};

fn switch(to: &str) -> Command {
    Command::Centre(Centre::SwitchStart {
        to: CentreName::parse(to).unwrap(),
        reason: "a drill".to_owned(),
    })
}

fn switched(world: &mut World, to: &str) {
    world.done(&script_actor(), switch(to));
    let to = CentreName::parse(to).unwrap();
    world.done(&node(), Command::Centre(Centre::SwitchDone { to }));
}

/// A grant of one act, to be done as often as is said.
fn of(world: &World, deed: Deed, runs: u32) -> Terms {
    Terms {
        deeds: BTreeSet::from([deed]),
        runs,
        ..terms(world)
    }
}

fn withdraw(terms: &Terms) -> Command {
    Command::Script(script::Command::Withdraw {
        grant: terms.id(),
        reason: "called off".to_owned(),
    })
}

/// The timetable opens session 2 at another time than when the grant was made.
fn reschedule(world: &mut World) {
    let changed = TIMETABLE.replace("opens = \"22:00\"", "opens = \"22:15\"");
    let timetable = domain::calendar::Timetable::parse(&changed).unwrap();
    let calendar = domain::calendar::Calendar::new(timetable, BTreeSet::new());
    world.done(&operator("ann"), Command::SetCalendar(Box::new(calendar)));
}

fn outside(terms: &Terms) -> Rejection {
    Rejection::OutsideWindow {
        from: terms.from,
        until: terms.until,
    }
}

#[test]
fn a_script_moves_the_primary_there_and_back_and_each_move_is_counted() {
    let mut world = scripted();
    let both = of(&world, Deed::SwitchOver, 2);
    granted(&mut world, &both);
    switched(&mut world, "west");
    assert_eq!(used(&world), 1);
    let so = world.rejected(&script_actor(), switch("west"));
    assert_eq!(so, Rejection::AlreadySo);
    switched(&mut world, "east");
    assert_eq!(used(&world), 2);
    let more = world.rejected(&script_actor(), switch("west"));
    assert_eq!(more, Rejection::RunsUsed { runs: 2 });
    // To begin is what is granted: the rest is the nodes' own.
    for step in [
        Centre::SwitchDone {
            to: CentreName::parse("west").unwrap(),
        },
        Centre::SwitchGivenUp {
            to: CentreName::parse("west").unwrap(),
        },
        Centre::NodesSettled { until: 1 },
    ] {
        let refused = world.rejected(&script_actor(), Command::Centre(step));
        assert_eq!(refused, Rejection::ScriptMayNot);
    }
}

#[test]
fn a_script_moves_no_primary_without_the_grant_outside_its_window_or_with_another_plan() {
    let refused = |world: &mut World| {
        let refused = world.rejected(&script_actor(), switch("west"));
        assert!(world.state.centres().unwrap().switch.is_none());
        refused
    };
    let mut world = scripted();
    assert_eq!(refused(&mut world), Rejection::NotGranted);
    // What is granted is granted by name.
    let opens = of(&world, Deed::Open, 3);
    granted(&mut world, &opens);
    assert_eq!(refused(&mut world), Rejection::NotGranted);

    let mut world = scripted();
    let mut later = of(&world, Deed::SwitchOver, 2);
    (later.from, later.until) = (SATURDAY_2000.plus(MINUTE), SATURDAY_2000.plus(2 * MINUTE));
    granted(&mut world, &later);
    assert_eq!(refused(&mut world), outside(&later));
    world.at(later.until);
    assert_eq!(refused(&mut world), outside(&later));

    let mut world = scripted();
    let two = of(&world, Deed::SwitchOver, 2);
    granted(&mut world, &two);
    reschedule(&mut world);
    assert_eq!(refused(&mut world), Rejection::PlanDiffers);

    let mut world = scripted();
    granted(&mut world, &two);
    world.done(&operator("ben"), withdraw(&two));
    assert_eq!(refused(&mut world), Rejection::NotGranted);

    // A session is opened by nobody who may move the primary alone.
    let mut world = scripted();
    granted(&mut world, &two);
    let opened = world.rejected(&script_actor(), open());
    assert_eq!(opened, Rejection::NotGranted);
}

#[test]
fn the_plan_of_a_session_that_names_no_centre_is_another_once_the_primary_moved() {
    let mut world = scripted();
    let monday = session("day-2023-06-12");
    let east = CentreName::parse("east").unwrap();
    let planned = world.state.calendar().session(&monday, &east).unwrap();
    let ordinary = Terms {
        session: monday,
        plan: domain::session::Plan::digest_of(&planned),
        ..of(&world, Deed::SwitchOver, 2)
    };
    granted(&mut world, &ordinary);
    switched(&mut world, "west");
    let back = world.rejected(&script_actor(), switch("east"));
    assert_eq!(back, Rejection::PlanDiffers);
}

#[test]
fn r41_a_script_opens_without_the_primary_as_granted_and_the_main_line_counts_it() {
    let mut main = scripted();
    let once = of(&main, Deed::OpenUnplanned, 1);
    granted(&mut main, &once);
    let order = order_by(script_actor(), &main.state, SATURDAY_2200).unwrap();
    assert_eq!(order.approved_by.len(), 2, "those who granted it");
    serving(&main, &order);
    assert_eq!(used(&main), 0);
    // The main line takes it over after the window, and counts it all the same.
    main.at(once.until);
    main.done(&node(), adopt(&order, Found::OnMainLine));
    assert_eq!(used(&main), 1);
}

#[test]
fn a_script_opens_nothing_without_the_primary_beyond_its_grant() {
    let refused = |world: &World, at| order_by(script_actor(), &world.state, at).unwrap_err();
    let mut world = scripted();
    assert_eq!(refused(&world, SATURDAY_2200), Rejection::NotGranted);
    let planned = of(&world, Deed::Open, 3);
    granted(&mut world, &planned);
    assert_eq!(refused(&world, SATURDAY_2200), Rejection::NotGranted);

    let mut world = scripted();
    let mut once = of(&world, Deed::OpenUnplanned, 1);
    once.until = SATURDAY_2200;
    granted(&mut world, &once);
    assert_eq!(refused(&world, SATURDAY_2200), outside(&once));
    let in_time = SATURDAY_2200.minus(1);
    assert!(order_by(script_actor(), &world.state, in_time).is_ok());
    // The planned opening is another act.
    let planned = world.rejected(&script_actor(), open());
    assert_eq!(planned, Rejection::NotGranted);
    reschedule(&mut world);
    assert_eq!(refused(&world, in_time), Rejection::PlanDiffers);

    let mut world = scripted();
    granted(&mut world, &once);
    world.done(&operator("ben"), withdraw(&once));
    assert_eq!(refused(&world, in_time), Rejection::NotGranted);

    // Runs that are used up open nothing more.
    let mut world = scripted();
    let mut one = of(&world, Deed::OpenUnplanned, 1);
    one.deeds.insert(Deed::SwitchOver);
    granted(&mut world, &one);
    switched(&mut world, "west");
    switched_back(&mut world);
    assert_eq!(
        refused(&world, SATURDAY_2200),
        Rejection::RunsUsed { runs: 1 }
    );
    // A node orders nothing for itself.
    let node = order_by(node(), &world.state, SATURDAY_2200);
    assert_eq!(node.unwrap_err(), Rejection::NotAllowed);
}

/// An operator moves the primary back.
fn switched_back(world: &mut World) {
    world.done(&operator("ann"), switch("east"));
    let to = CentreName::parse("east").unwrap();
    world.done(&node(), Command::Centre(Centre::SwitchDone { to }));
}
