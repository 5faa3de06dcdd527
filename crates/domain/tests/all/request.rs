//! Requests, the clock, and the classes of outcome, through `apply`.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use crate::world::*;
use domain::audit::Kind;
use domain::outcome::Result as Came;
use domain::portal::LandingOption;
use domain::request::Key;
use domain::{Command, Envelope, LineId, Outcome, Rejection, State, UnixMs, apply};

fn suspend(who: &str) -> Command {
    Command::Account(domain::account::Command::Suspend {
        account: id(who),
        token: None,
        reason: "test".into(),
    })
}

fn send(world: &mut World, key: Key, command: Command) -> Outcome {
    world
        .propose(Envelope {
            at: world.now,
            actor: operator("ann"),
            line: world.line.clone(),
            request: Some(key),
            command,
        })
        .outcome
}

#[test]
fn a_request_sent_again_is_answered_again_and_executed_once() {
    let mut world = World::in_session_1();
    let key = world.key("suspend AU1");
    let first = send(&mut world, key, suspend("AU1"));
    let before = world.state.digests().account;
    world.at(world.now.plus(MINUTE));
    let again = send(&mut world, key, suspend("AU1"));
    assert_eq!(first.result, again.result);
    assert!(matches!(again.result, Came::Done(_)));
    assert_eq!(world.state.digests().account, before);
}

#[test]
fn a_request_id_with_another_body_is_refused() {
    let mut world = World::in_session_1();
    let key = world.key("suspend AU1");
    send(&mut world, key, suspend("AU1"));
    let other = Key {
        body: domain::Digest::of("body", &[b"other"]),
        ..key
    };
    let outcome = send(&mut world, other, suspend("AU2"));
    assert_eq!(
        outcome.result,
        Came::Rejected(Rejection::RequestBodyDiffers)
    );
    assert!(world.state.account(&id("AU2")).unwrap().active());
    // The first one's record stands.
    let again = send(&mut world, key, suspend("AU1"));
    assert!(matches!(again.result, Came::Done(_)));
}

#[test]
fn a_retry_does_not_carry_saturdays_change_to_another_line() {
    let mut main = World::in_session_1();
    let key = main.key("suspend AU1");
    main.close("S1", SATURDAY_2000);
    let sent = main.key("suspend AU2");
    send(&mut main, sent, suspend("AU2"));
    main.open_session_2(SATURDAY_2000);
    let mut branch = main.branch();
    for (key, who) in [(sent, "AU2"), (key, "AU1")] {
        let outcome = send(&mut branch, key, suspend(who));
        assert!(
            matches!(
                outcome.result,
                Came::Rejected(Rejection::LineChanged | Rejection::RequestTooOld)
            ),
            "{outcome:?}"
        );
    }
    // An id minted before the boundary, first seen after it, may have gone to the other line.
    let mut minted_before = main.key("x");
    minted_before.id.0[..6].copy_from_slice(&SATURDAY_2000.minus(1).0.to_be_bytes()[2..]);
    let outcome = send(&mut main, minted_before, suspend("AU1"));
    assert_eq!(outcome.result, Came::Rejected(Rejection::LineChanged));
    assert!(main.state.account(&id("AU1")).unwrap().active());
}

#[test]
fn old_and_future_request_ids_are_refused() {
    let mut world = World::in_session_1();
    let old = world.key("old");
    world.at(world.now.plus(10 * MINUTE));
    let outcome = send(&mut world, old, suspend("AU1"));
    assert_eq!(outcome.result, Came::Rejected(Rejection::RequestTooOld));
    let now = world.now;
    world.now = now.plus(MINUTE);
    let future = world.key("future");
    world.now = now;
    let outcome = send(&mut world, future, suspend("AU1"));
    assert_eq!(
        outcome.result,
        Came::Rejected(Rejection::RequestFromTheFuture)
    );
    let mut v4 = world.key("v4");
    v4.id.0[6] = 0x40;
    let outcome = send(&mut world, v4, suspend("AU1"));
    assert_eq!(
        outcome.result,
        Came::Rejected(Rejection::RequestIdMalformed)
    );
}

#[test]
fn a_repeated_login_ends_the_token_that_nobody_saw() {
    let mut world = World::in_session_1();
    world.begin_login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    let Some((_, begun)) = world.log.last().cloned() else {
        panic!("nothing was proposed");
    };
    let Command::Login(domain::login::Command::Begin { login, .. }) = begun.command else {
        panic!("{begun:?}");
    };
    let token = domain::Digest::of("token", &[b"unseen"]);
    let verify = Envelope {
        at: world.now,
        actor: front(),
        line: LineId::Main,
        request: Some(world.key("verify")),
        command: Command::Login(domain::login::Command::Verify {
            login,
            proof: domain::login::Proof::Card(Some(domain::factor::CardProof::bare(
                domain::CardNumber::parse("CARD-AU1").unwrap(),
            ))),
            codes: 1,
            token,
        }),
    };
    assert!(issued(&world.propose(verify.clone()).outcome));
    assert!(world.state.tokens().get(&token, world.now).is_some());
    let again = world.propose(verify).outcome;
    assert_eq!(again.result, Came::Rejected(Rejection::AlreadyDone));
    assert!(world.state.tokens().get(&token, world.now).is_none());
}

#[test]
fn records_go_after_their_time() {
    let mut world = World::in_session_1();
    let key = world.key("a");
    send(&mut world, key, suspend("AU1"));
    world.at(world.now.plus(HOUR));
    world.at(world.now.plus(1));
    let rows = world.state.rows();
    let left = rows.filter(|row| matches!(row, domain::Row::Request(_)));
    assert_eq!(left.count(), 0);
}

#[test]
fn one_bad_clock_does_not_poison_a_line() {
    let mut world = World::in_session_1();
    let year = 365 * 24 * HOUR;
    let before = world.state.header().clock;
    let envelope = Envelope {
        at: world.now.plus(year),
        actor: operator("ann"),
        line: LineId::Main,
        request: None,
        command: suspend("AU1"),
    };
    let outcome = world.propose(envelope).outcome;
    assert_eq!(outcome.result, Came::Rejected(Rejection::ClockJump));
    assert_eq!(world.state.header().clock, before);
    assert!(world.state.account(&id("AU1")).unwrap().active());
    assert!(issued(&world.login(
        "AU1",
        LandingOption::SmartcardOnlineAndReports,
        "friday"
    )));
}

#[test]
fn a_clock_that_is_not_simulated_is_nobodys_to_set() {
    let mut world = World::in_session_1();
    let advance = Command::Cluster(domain::cluster::Command::AdvanceClock {
        to: world.now.plus(HOUR),
        offset_ms: Some(1),
    });
    assert_eq!(
        world.rejected(&operator("ann"), advance),
        Rejection::ClockNotSimulated
    );
}

#[test]
fn rules_are_raised_by_a_node_on_the_main_line_and_never_lowered() {
    let mut world = World::in_session_1();
    let to = |rules| Command::Cluster(domain::cluster::Command::RaiseRules { to: rules });
    let rules = world.state.header().rules_version;
    for actor in [front(), back(), operator("ann")] {
        assert_eq!(world.rejected(&actor, to(rules + 1)), Rejection::NotAllowed);
    }
    for same in [rules, rules - 1] {
        assert_eq!(world.rejected(&node(), to(same)), Rejection::AlreadySo);
    }
    world.done(&node(), to(rules + 1));
    assert_eq!(world.state.header().rules_version, rules + 1);
    let row = world.rows.last().unwrap();
    assert_eq!(row.kind, Kind::RulesRaised);
    world.close("S1", SATURDAY_2000);
    world.open_session_2(SATURDAY_2000.plus(MINUTE));
    let mut branch = world.branch();
    let rejection = branch.rejected(&node(), to(rules + 2));
    assert_eq!(rejection, Rejection::MainLineOnly);
}

#[test]
fn the_clock_never_runs_backwards_i7() {
    let mut world = World::in_session_1();
    let before = world.state.header().clock;
    world.now = UnixMs(before.0 - MINUTE);
    world.suspend(&operator("ann"), None, "AU1");
    assert_eq!(world.state.header().clock, before);
}

#[test]
fn an_envelope_for_another_line_is_not_applied() {
    let mut world = World::in_session_1();
    let before = world.state.digests();
    let envelope = Envelope {
        at: world.now,
        actor: operator("ann"),
        line: LineId::Branch {
            session: session("S2"),
            genesis: before.full,
        },
        request: None,
        command: suspend("AU1"),
    };
    let outcome = world.propose(envelope).outcome;
    assert_eq!(outcome.result, Came::Rejected(Rejection::LineChanged));
    assert_eq!(world.state.digests(), before);
}

#[test]
fn before_the_founding_nothing_is_applied() {
    let mut state = State::unfounded();
    let before = state.digests();
    let envelope = Envelope {
        at: SATURDAY_1755,
        actor: operator("ann"),
        line: LineId::Main,
        request: None,
        command: suspend("AU1"),
    };
    let at = domain::LogId::default();
    let applied = apply(&mut state, &LineId::Main, at, &envelope);
    assert_eq!(
        applied.outcome.result,
        Came::Rejected(Rejection::NotFounded)
    );
    assert_eq!(state.digests(), before);
}

#[test]
fn the_audit_is_one_chain_and_each_entry_is_in_it() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", true);
    world.suspend(&operator("ann"), None, "NOBODY");
    let mut head = domain::audit::Head::default();
    for row in &world.rows {
        assert!(row.follows(&head), "{row:?}");
        head = row.head();
    }
    assert_eq!(head, world.state.header().audit);
    for (at, envelope) in &world.log {
        assert!(
            world.rows.iter().any(|row| row.log == *at),
            "{:?} left no record",
            envelope.command
        );
    }
}

#[test]
fn an_import_of_too_many_rows_is_refused_for_that_alone() {
    let mut world = World::founded();
    let before = world.state.digests();
    let row = |number: usize| {
        let id = domain::ParticipantId::parse(&format!("F{number}")).unwrap();
        domain::participant::Participant::new(id, "a firm".into())
    };
    let known = world.state.account(&id("AU1")).unwrap();
    let account = domain::account::Imported {
        id: known.id.clone(),
        participant: known.participant.clone(),
        class: known.class,
        title: known.title.clone(),
        email: None,
        card: None,
    };
    let told = |rejection| match rejection {
        Rejection::ImportConflicts(rows) => rows,
        other => panic!("{other:?}"),
    };
    let most = domain::account::IMPORT_ROWS_MAX;
    let mut import = |rows: usize| {
        let firms: Vec<_> = (0..rows).map(row).collect();
        match world.import(&firms, std::slice::from_ref(&account)).result {
            Came::Rejected(rejection) => told(rejection),
            other => panic!("{other:?}"),
        }
    };
    let too_many = import(most);
    assert!(
        too_many.len() == 1 && too_many[0].contains("500"),
        "{too_many:?}"
    );
    let taken = import(most - 1);
    assert!(taken.len() == 1 && taken[0].contains("AU1"), "{taken:?}");
    assert_eq!(world.state.digests().account, before.account);
}
