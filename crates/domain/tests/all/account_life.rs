//! The whole life of accounts over random sequences of what people, administrators, operators and
//! strangers try, in a session of the main line and on a branch that is thrown away: no sequence
//! lets an ended or a discarded secret in, initiates by the mailed code alone, takes an account
//! from a stage to one that it does not lead to, lets a maker approve or an administrator touch
//! another firm's people, or leaves look-ups that contradict the accounts. What happened is
//! counted, so that nothing holds for want of anything happening.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::world::*;
use domain::account::Stage;
use domain::factor::Method;
use domain::{Digest, State};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};

mod happened;
mod never;
mod step;

use happened::Happened;
use step::{Admins, Known, Step, carry_out};

/// Whose lives are led: users with and without card and address, a delegated administrator, and
/// somebody who is not there at the beginning.
const PEOPLE: [&str; 6] = ["AU1", "AU2", "AU3", "AU4", "BD2", "AU5"];
const PASSWORDS: [&str; 3] = ["friday", "first", "second"];
/// What people choose on the branch, and nowhere else.
const THROWN_AWAY: [&str; 3] = ["first", "on the branch", "there too"];

/// Whether the diagram of stages in docs/accounts.md has the arrow.
fn leads_to(from: Stage, to: Stage) -> bool {
    from == to
        || matches!(
            (from, to),
            (Stage::NoEmail, Stage::EmailRegistered)
                | (
                    Stage::EmailRegistered,
                    Stage::Initiated | Stage::TwoFactorOnly
                )
                | (
                    Stage::Initiated,
                    Stage::TwoFactorOnly | Stage::EmailRegistered
                )
                | (
                    Stage::TwoFactorOnly,
                    Stage::Initiated | Stage::EmailRegistered
                )
        )
}

/// Each account went where its stage leads to, and is the firm's and the class's that it was (R50).
fn stages_lead_on(before: &State, world: &World) -> TestCaseResult {
    for account in world.state.accounts().filter(|account| !account.deleted()) {
        let to = account.stage();
        let Some(was) = before.account(&account.id) else {
            let first = matches!(to, Stage::NoEmail | Stage::EmailRegistered);
            prop_assert!(first, "{} begins at {to:?}", account.id);
            continue;
        };
        let from = was.stage();
        prop_assert!(leads_to(from, to), "{}: {from:?} to {to:?}", account.id);
        prop_assert_eq!(was.class, account.class);
        prop_assert_eq!(&was.participant, &account.participant);
    }
    Ok(())
}

/// A part of a history on one line: each step, and all that must never be after it.
fn lives(
    world: &mut World,
    known: &mut Known,
    (steps, passwords): (&[Step], &[&'static str]),
    happened: &Happened,
) -> TestCaseResult {
    let mut admins = Admins::log_in(world);
    for step in steps {
        admins = admins.still(world);
        let who = step.who();
        let before = world.state.clone();
        carry_out(world, known, &admins, (*step, passwords), happened);
        stages_lead_on(&before, world)?;
        never::contradicting_look_ups(world)?;
        never::an_ended_token(world, known, happened)?;
        never::anybody_of_a_shut_firm(world, &admins, happened)?;
        never::another_firms_administrator(world, &admins, who, happened)?;
        never::a_maker_who_approves(world, &admins, who, happened)?;
        never::the_mailed_code_alone(world, who, happened)?;
        never::an_ended_login(world, known, happened)?;
    }
    Ok(())
}

#[derive(Debug, Clone)]
struct History {
    session_1: Vec<Step>,
    session_2: Vec<Step>,
}

fn histories() -> impl Strategy<Value = History> {
    let steps = |most| {
        let step = (0_u8..26, 0_usize..12, 0_usize..24);
        let step = step.prop_map(|(what, who, how)| Step { what, who, how });
        prop::collection::vec(step, 1..most)
    };
    (steps(80), steps(24)).prop_map(|(session_1, session_2)| History {
        session_1,
        session_2,
    })
}

fn check(history: &History, happened: &Happened) -> TestCaseResult {
    let mut main = World::in_session_1();
    let mut known = Known::of(&main);
    let first: &[&str] = &PASSWORDS;
    lives(&mut main, &mut known, (&history.session_1, first), happened)?;
    let passwords = [&PASSWORDS[..], &THROWN_AWAY[..]].concat();
    never::an_ended_password(&main, &known, &passwords, happened)?;

    main.close("S1", SATURDAY_2000);
    main.open_session_2(SATURDAY_2000.plus(MINUTE));
    let mut branch = main.branch();
    main.at(SATURDAY_2200);
    // What was begun in session 1 is good for nothing on either line.
    never::what_another_line_began(&branch, &known, happened)?;
    let mut there = known.clone();
    there.begun.clear();
    let on_branch: &[&str] = &THROWN_AWAY;
    lives(
        &mut branch,
        &mut there,
        (&history.session_2, on_branch),
        happened,
    )?;
    never::an_ended_password(&branch, &there, &passwords, happened)?;
    branch.close("S2", SATURDAY_2300);
    let evidence = branch.evidence();
    main.close("S2", SATURDAY_2300);
    let rolled = main.roll_over(evidence.clone(), waive(&evidence));
    prop_assert!(step::done(&rolled), "{:?}", rolled);
    main.start("day-2023-06-12", MONDAY_0800);

    // On Monday what counted at the boundary counts, and nothing of the branch does.
    never::an_ended_password(&main, &known, &passwords, happened)?;
    never::what_another_line_began(&main, &known, happened)?;
    never::what_another_line_began(&main, &there, happened)?;
    let tokens: Vec<Digest> = [&main.tokens[..], &branch.tokens[..]].concat();
    never::a_token_of_saturday(&main, &tokens, happened)
}

fn config() -> Config {
    Config {
        cases: std::env::var("TIDEMARK_LIVES")
            .ok()
            .and_then(|cases| cases.parse().ok())
            .unwrap_or(300),
        max_shrink_iters: 2_000,
        failure_persistence: None,
        ..Config::default()
    }
}

#[test]
fn no_sequence_opens_an_account_to_who_may_not_or_skips_a_stage_r9_r10_s24_s34_i6() {
    let algorithm = proptest::test_runner::RngAlgorithm::ChaCha;
    let random = proptest::test_runner::TestRng::deterministic_rng(algorithm);
    let mut runner = TestRunner::new_with_rng(config(), random);
    let happened = Happened::default();
    let ran = runner.run(&histories(), |history| check(&history, &happened));
    if let Err(failure) = ran {
        panic!("{failure}");
    }
    println!("{} lives: {happened:?}", config().cases);
    let too_seldom = happened.too_seldom(u64::from(config().cases));
    assert!(too_seldom.is_empty(), "{too_seldom:?} of {happened:?}");
}

/// The ways in of the person's class.
fn options(world: &World, who: &str) -> [domain::portal::LandingOption; 2] {
    use domain::account::Class;
    use domain::portal::LandingOption as Option;
    let class = world.state.account(&id(who)).map(|account| account.class);
    match class.unwrap_or(Class::User) {
        Class::User => [Option::SmartcardOnlineAndReports, Option::OtpOnline],
        Class::DelegatedAdmin => [Option::SmartcardSecurity, Option::OtpSecurity],
    }
}

/// Whose password of which method.
type Place = (String, Method);
