//! The boundary rule over random histories: I1, I3, I4, I5, I7, I8, I10, and the planted faults
//! that these properties must see.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::world::*;
use domain::account::Class;
use domain::audit::{Kind, Row, Verdict};
use domain::change_request::Act;
use domain::factor::Method;
use domain::outcome::Result as Came;
use domain::participant::Wanted;
use domain::portal::LandingOption;
use domain::session::Evidence;
use domain::{Digest, LineId, State, UnixMs, apply, change::Reason, planted};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};

const PEOPLE: [&str; 12] = [
    "AU1", "AU2", "AU3", "AU4", "AD1", "AD2", "BU1", "BU2", "BU3", "BU4", "BD1", "BD2",
];
const PASSWORDS: [&str; 4] = ["friday", "first", "second", "third"];

/// One thing that somebody does.
#[derive(Debug, Clone, Copy)]
struct Step {
    what: u8,
    who: u8,
    how: u8,
    wait_s: u8,
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = (0..21_u8, 0..12_u8, 0..4_u8, 0..90_u8).prop_map(|(what, who, how, wait_s)| Step {
        what,
        who,
        how,
        wait_s,
    });
    prop::collection::vec(step, 0..most)
}

fn carry_out(world: &mut World, step: Step) -> Came {
    let who = PEOPLE[usize::from(step.who)];
    let password = PASSWORDS[usize::from(step.how)];
    let is_da = who.contains('D');
    world.now = world.now.plus(u64::from(step.wait_s) * 1_000);
    let latest = world.tokens.last().copied().unwrap_or(Digest::ZERO);
    let by_card = if is_da {
        LandingOption::SmartcardSecurity
    } else {
        LandingOption::SmartcardOnlineAndReports
    };
    let by_otp = match (is_da, step.how % 2) {
        (true, _) => LandingOption::OtpSecurity,
        (false, 0) => LandingOption::OtpOnline,
        (false, _) => LandingOption::OtpReports,
    };
    let outcome = match step.what {
        0 => world.login(who, by_card, password),
        1 | 2 => world.login(who, by_otp, password),
        3 => world.initiate(who, password, step.who.is_multiple_of(3)),
        4 => world.initiate(who, password, false),
        5 => world.change_password(latest, password, "second", Reason::Routine),
        6 => world.change_password(latest, password, "third", Reason::LostOrCompromised),
        7 => world.replace_channel(latest, password, Reason::LostOrCompromised),
        8 => world.suspend(&front(), Some(latest), who),
        9 => world.suspend(&operator("ann"), None, who),
        10 => world.revoke_otp(who),
        11 => world.end(latest),
        // Two administrators of the firm, and what gives access.
        13 => world.login(who, by_card, "friday"),
        14..=16 => {
            let act = match step.how {
                0 => Act::Resume,
                1 => Act::SetEmail(format!("{who}-{}@example.com", step.wait_s)),
                2 => Act::ResetPassword,
                _ if step.what == 14 => Act::ResetChannel,
                _ => Act::Unlock(Method::Smartcard),
            };
            let (maker, token) = match is_da {
                true => (operator("ann"), None),
                false => (front(), Some(latest)),
            };
            world.make(&maker, token, who, act).1
        }
        17 | 18 => {
            let open = world.state.change_requests().iter();
            let open = open.filter(|request| request.open(world.now)).last();
            let Some(request) = open.cloned() else {
                return world.end(Digest::ZERO).result;
            };
            let (checker, token) = match request.class {
                Class::DelegatedAdmin => (operator("ben"), None),
                Class::User => (front(), Some(latest)),
            };
            world.approve_change(&checker, token, request.id)
        }
        20 => {
            let firm = if who.starts_with('A') { "A" } else { "B" };
            let wanted = match (step.how, step.wait_s) {
                (0, _) => return world.suspend_firm("ann", firm).result,
                (1, 0..10) => Wanted::Delete,
                (_, _) => Wanted::Resume,
            };
            world.say_of_firm("ann", firm, wanted);
            world.say_of_firm("ben", firm, wanted)
        }
        // The wrong portal, and a code that was used already.
        12 => world.login(who, LandingOption::SmartcardSecurity, "friday"),
        _ => {
            world.begin_login(who, by_otp, password);
            world.verify_login(domain::login::Proof::None)
        }
    };
    outcome.result
}

/// What operators do to the main line while the branch is open.
fn emergency(world: &mut World, step: Step) -> Came {
    let who = PEOPLE[usize::from(step.who)];
    match step.what % 3 {
        0 => world.suspend(&operator("ben"), None, who).result,
        1 => world.suspend_firm("ben", "B").result,
        _ => world.revoke_otp(who).result,
    }
}

#[derive(Debug, Clone)]
struct History {
    session_1: Vec<Step>,
    session_2: Vec<Step>,
    meanwhile: Vec<Step>,
    monday: Vec<Step>,
}

fn histories() -> impl Strategy<Value = History> {
    (steps(20), steps(20), steps(3), steps(12)).prop_map(
        |(session_1, session_2, meanwhile, monday)| History {
            session_1,
            session_2,
            meanwhile,
            monday,
        },
    )
}

/// How the history went, as far as the main line tells.
struct Told {
    main: World,
    monday: Vec<Came>,
    branch: Option<(World, Evidence)>,
}

fn play(history: &History, with_branch: bool) -> Told {
    let mut main = World::in_session_1();
    for step in &history.session_1 {
        carry_out(&mut main, *step);
    }
    main.close("S1", SATURDAY_2000);
    main.open_session_2(SATURDAY_2000.plus(MINUTE));
    let boundary = main.state.digests();
    let mut branch = main.branch();
    main.at(SATURDAY_2200);
    if with_branch {
        for step in &history.session_2 {
            carry_out(&mut branch, *step);
            if planted::is(planted::Fault::LeakFromBranch)
                && let Some((_, envelope)) = branch.log.last().cloned()
            {
                main.propose(envelope);
            }
        }
    }
    branch.close("S2", SATURDAY_2300);
    assert_eq!(
        branch.line,
        LineId::Branch {
            session: session("S2"),
            genesis: boundary.full
        },
        "I1: the branch starts from the boundary"
    );
    let evidence = branch.evidence();
    for step in &history.meanwhile {
        emergency(&mut main, *step);
    }
    main.close("S2", SATURDAY_2300);
    let outcome = main.roll_over(evidence.clone(), waive(&evidence));
    assert!(matches!(outcome.result, Came::Done(_)), "{outcome:?}");
    main.start("day-2023-06-12", MONDAY_0800);
    // Nobody holds a token of Saturday.
    main.tokens.clear();
    let monday = history
        .monday
        .iter()
        .map(|step| carry_out(&mut main, *step))
        .collect();
    Told {
        main,
        monday,
        branch: with_branch.then_some((branch, evidence)),
    }
}

fn config() -> Config {
    Config {
        cases: std::env::var("TIDEMARK_HISTORIES")
            .ok()
            .and_then(|cases| cases.parse().ok())
            .unwrap_or(10_000),
        max_shrink_iters: 2_000,
        failure_persistence: None,
        ..Config::default()
    }
}

/// What happened over all histories, so that nothing holds for want of anything happening.
#[derive(Debug, Default)]
struct Happened {
    carried: Cell<u64>,
    forgotten: Cell<u64>,
    logins_on_monday: Cell<u64>,
    emergencies: Cell<u64>,
}

impl Happened {
    fn note(&self, main: &World, branch: &World) {
        let count = |rows: &[Row], from: UnixMs, what: &dyn Fn(&Row) -> bool| {
            let found = rows.iter().filter(|row| row.at >= from && what(row));
            found.count() as u64
        };
        let login = |row: &Row| row.kind == Kind::LoginVerified && row.verdict == Verdict::Done;
        let change = |row: &Row| row.is_change();
        let add = |cell: &Cell<u64>, more| cell.set(cell.get() + more);
        let initiated = |row: &Row| row.kind == Kind::Initiated && row.is_change();
        add(&self.carried, count(&main.rows, UnixMs(0), &initiated));
        add(&self.forgotten, count(&branch.rows, UnixMs(0), &change));
        add(
            &self.logins_on_monday,
            count(&main.rows, MONDAY_0800, &login),
        );
        let emergency = |row: &Row| row.is_change() && row.at < SATURDAY_2300;
        add(
            &self.emergencies,
            count(&main.rows, SATURDAY_2200, &emergency),
        );
    }
}

fn check(history: &History, happened: &Happened) -> TestCaseResult {
    let with = play(history, true);
    let without = play(history, false);
    // I10: the twin that never had the session ends in the same accounts, and its people were
    // answered alike.
    prop_assert_eq!(
        with.main.state.digests().account,
        without.main.state.digests().account
    );
    prop_assert_eq!(&with.monday, &without.monday);
    let (branch, evidence) = with.branch.unwrap();
    happened.note(&with.main, &branch);
    // I5: the list of what is forgotten is what was done.
    let changes = branch.rows.iter().filter(|row| row.is_change()).count() as u64;
    prop_assert_eq!(evidence.forgotten.values().sum::<u64>(), changes);
    if changes > 0 {
        prop_assert_ne!(branch.state.digests().account, boundary_digest(&with.main));
    }
    // I4: a replay of the main line's log alone gives the same digests.
    let replayed = replay(&with.main, 0);
    prop_assert_eq!(replayed.digests(), with.main.state.digests());
    // A snapshot anywhere, and the log from there: the same.
    let from = history.monday.len() * 7 % with.main.log.len();
    let restored = replay(&with.main, from);
    prop_assert_eq!(restored.digests(), with.main.state.digests());
    // I7: the clock, the audit and the floor never fall.
    let mut last = (0, UnixMs(0));
    for row in &with.main.rows {
        prop_assert!(row.sequence >= last.0 && row.at >= last.1);
        last = (row.sequence, row.at);
    }
    Ok(())
}

fn boundary_digest(main: &World) -> Digest {
    let at = main
        .state
        .plan(&session("S2"))
        .unwrap()
        .boundary
        .unwrap()
        .at;
    let upto = main.log.iter().position(|(id, _)| *id == at).unwrap();
    let mut state = State::unfounded();
    for (at, envelope) in main.log.iter().take(upto + 1) {
        apply(&mut state, &main.line, *at, envelope);
    }
    state.digests().account
}

/// The state of the log, with a snapshot taken and restored after `snapshot_at` entries.
fn replay(world: &World, snapshot_at: usize) -> State {
    let mut state = State::unfounded();
    for (index, (at, envelope)) in world.log.iter().enumerate() {
        if index == snapshot_at {
            let rows: Vec<_> = state.rows().collect();
            state = State::from_rows(rows).unwrap();
        }
        apply(&mut state, &world.line, *at, envelope);
    }
    state
}

fn holds() -> Result<(), String> {
    let mut runner = TestRunner::new_with_rng(
        config(),
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let happened = Happened::default();
    runner
        .run(&histories(), |history| check(&history, &happened))
        .map_err(|failure| failure.to_string())?;
    let cases = u64::from(config().cases);
    println!("{cases} histories: {happened:?}");
    let enough = happened.carried.get() > cases / 2
        && happened.forgotten.get() > cases / 2
        && happened.logins_on_monday.get() > cases / 10
        && happened.emergencies.get() > cases / 10;
    if enough {
        Ok(())
    } else {
        Err(format!("too little happened: {happened:?}"))
    }
}

#[test]
fn what_the_secondary_session_changed_is_gone_and_the_rest_stays_i1_i4_i5_i7_i10() {
    #[cfg(feature = "planted-faults")]
    planted::plant(None);
    if let Err(failure) = holds() {
        panic!("{failure}");
    }
}

#[cfg(feature = "planted-faults")]
mod faults {
    use super::*;

    // One process a test (nextest): a planted fault is the process's.
    fn is_seen(fault: planted::Fault) {
        planted::plant(Some(fault));
        let seen = std::panic::catch_unwind(holds);
        assert!(
            !matches!(seen, Ok(Ok(()))),
            "{fault:?} went unseen in {} histories",
            config().cases
        );
    }

    #[test]
    fn a_command_of_the_branch_that_leaks_to_the_main_line_is_seen() {
        is_seen(planted::Fault::LeakFromBranch);
    }
}

#[test]
fn a_rollover_twice_is_a_rollover_once_i8() {
    let mut main = World::in_session_1();
    main.initiate("AU1", "first", false);
    main.close("S1", SATURDAY_2000);
    main.open_session_2(SATURDAY_2000);
    let mut branch = main.branch();
    branch.login("AU1", LandingOption::OtpOnline, "first");
    branch.suspend(&operator("ann"), None, "AU2");
    branch.close("S2", SATURDAY_2300);
    main.close("S2", SATURDAY_2300);
    let evidence = branch.evidence();
    main.roll_over(evidence.clone(), waive(&evidence));
    let once = (
        main.state.digests().account,
        main.state.plan(&session("S2")).cloned(),
        main.state.header().generation,
    );
    main.at(SATURDAY_2300.plus(HOUR));
    let again = main.roll_over(evidence.clone(), BTreeMap::new());
    assert_eq!(
        again.result,
        Came::Rejected(domain::Rejection::AlreadySo),
        "{again:?}"
    );
    let twice = (
        main.state.digests().account,
        main.state.plan(&session("S2")).cloned(),
        main.state.header().generation,
    );
    assert_eq!(once, twice);
}
