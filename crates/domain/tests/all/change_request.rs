//! Change requests through `apply`: what gives access takes two people (S34).
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::cell::RefCell;

use crate::world::*;
use domain::account::{Account, Class, Imported};
use domain::audit::Kind;
use domain::change_request::{Act, Command as Change, Decision};
use domain::factor::Method;
use domain::outcome::Result as Came;
use domain::participant::Participant;
use domain::portal::LandingOption;
use domain::{
    Actor, Answer, CardNumber, Carry, ChangeRequestId, Command, Digest, Rejection, account,
    line::LineId,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};

const CARRIED: Came = Came::Done(Answer::Changed {
    carry: Carry::CarriedForward,
});

fn account<'a>(world: &'a World, who: &str) -> &'a Account {
    world.state.account(&id(who)).unwrap()
}

fn new_user(firm: &str, name: &str) -> Act {
    Act::Create(Box::new(Imported {
        id: id(name),
        participant: domain::ParticipantId::parse(firm).unwrap(),
        class: Class::User,
        title: name.into(),
        email: Some(format!("{name}@example.com")),
        card: None,
    }))
}

fn refused(outcome: &domain::Outcome) -> Rejection {
    match &outcome.result {
        Came::Rejected(rejection) => rejection.clone(),
        other => panic!("{other:?}"),
    }
}

/// Both administrators of firm A, logged in.
fn two_admins() -> (World, Digest, Digest) {
    let mut world = World::in_session_1();
    let maker = world.card_token("AD1");
    let checker = world.card_token("AD2");
    (world, maker, checker)
}

#[test]
fn what_gives_access_takes_a_maker_and_a_checker_s34() {
    let (mut world, maker, checker) = two_admins();
    world.suspend(&operator("ann"), None, "AU1");
    let (request, made) = world.make(&front(), Some(maker), "AU1", Act::Resume);
    assert_eq!(made.result, CARRIED);
    assert!(!account(&world, "AU1").active());
    let own = world.approve_change(&front(), Some(maker), request);
    assert_eq!(refused(&own), Rejection::MakerIsChecker);
    assert!(!account(&world, "AU1").active());
    let approved = world.approve_change(&front(), Some(checker), request);
    assert_eq!(approved.result, CARRIED);
    assert!(account(&world, "AU1").active());
    let kinds: Vec<Kind> = world
        .rows
        .iter()
        .rev()
        .take(2)
        .map(|row| row.kind)
        .collect();
    assert_eq!(kinds, [Kind::AccountResumed, Kind::ChangeApproved]);
    assert_eq!(world.rows.last().unwrap().by, "AD2");
}

#[test]
fn approving_twice_changes_nothing_and_nobody_decides_again() {
    let (mut world, maker, checker) = two_admins();
    let (request, _) = world.make(&front(), Some(maker), "AU5", new_user("A", "AU5"));
    world.approve_change(&front(), Some(checker), request);
    let digest = world.state.digests().account;
    let again = world.approve_change(&front(), Some(checker), request);
    assert_eq!(again.result, CARRIED);
    assert_eq!(world.state.digests().account, digest);
    let withdraw = Command::ChangeRequest(Change::Withdraw {
        id: request,
        token: Some(maker),
    });
    let rejection = world.rejected(&front(), withdraw);
    assert_eq!(rejection, Rejection::ChangeRequestDecided);
}

#[test]
fn a_da_acts_on_its_own_firm_s_users_alone_and_an_operator_on_das_r9() {
    let (mut world, maker, _) = two_admins();
    for (who, act) in [
        ("BU1", Act::Delete),
        ("AD2", Act::ResetBoth),
        ("AD1", Act::SetEmail("x@example.com".into())),
        ("NOBODY", Act::Delete),
        ("BU5", new_user("B", "BU5")),
    ] {
        let (_, made) = world.make(&front(), Some(maker), who, act);
        assert_eq!(refused(&made), Rejection::OtherParticipant, "{who}");
    }
    let (_, made) = world.make(&operator("ann"), None, "AU1", Act::Delete);
    assert_eq!(refused(&made), Rejection::LookedAfterByAdmins);
    let (request, made) = world.make(&operator("ann"), None, "AD2", Act::Delete);
    assert_eq!(made.result, CARRIED);
    // A DA sees no request about itself or its colleagues.
    let seen = world.approve_change(&front(), Some(maker), request);
    assert_eq!(refused(&seen), Rejection::NoSuchChangeRequest);
    let approved = world.approve_change(&operator("ben"), None, request);
    assert_eq!(approved.result, CARRIED);
    assert!(account(&world, "AD2").deleted());
}

#[test]
fn an_operator_checks_where_the_firm_has_no_other_administrator() {
    let (mut world, maker, _) = two_admins();
    let (request, _) = world.make(&front(), Some(maker), "AU5", new_user("A", "AU5"));
    let early = world.approve_change(&operator("ann"), None, request);
    assert_eq!(refused(&early), Rejection::LookedAfterByAdmins);
    world.suspend(&operator("ann"), None, "AD2");
    let approved = world.approve_change(&operator("ann"), None, request);
    assert_eq!(approved.result, CARRIED);
    assert!(account(&world, "AU5").active());
}

#[test]
fn a_request_does_not_outlive_its_time_or_its_maker_s_rights() {
    let (mut world, maker, checker) = two_admins();
    let (request, _) = world.make(&front(), Some(maker), "AU5", new_user("A", "AU5"));
    world.suspend(&operator("ann"), None, "AD1");
    let approved = world.approve_change(&front(), Some(checker), request);
    assert_eq!(refused(&approved), Rejection::MakerNotActive);

    let (mut world, ..) = two_admins();
    let (request, _) = world.make(&operator("ann"), None, "AD1", Act::Delete);
    let life = world.state.policy().change_request_life_ms;
    world.at(world.now.plus(life));
    let late = world.approve_change(&operator("ben"), None, request);
    assert_eq!(refused(&late), Rejection::ChangeRequestExpired);
    // It can be read for a month, and goes then.
    assert!(
        world
            .state
            .change_requests()
            .get(&request, world.now)
            .is_some()
    );
    world.at(world.now.plus(domain::change_request::KEPT_MS));
    assert_eq!(world.state.change_requests().iter().count(), 0);
}

#[test]
fn a_refused_or_withdrawn_request_is_never_carried_out() {
    let (mut world, maker, checker) = two_admins();
    for (by, command) in [
        (
            Decision::Withdrawn,
            (|id, maker, _| Change::Withdraw {
                id,
                token: Some(maker),
            }) as fn(ChangeRequestId, Digest, Digest) -> Change,
        ),
        (
            Decision::Rejected {
                reason: "no".into(),
            },
            |id, _, checker| Change::Reject {
                id,
                reason: "no".into(),
                token: Some(checker),
            },
        ),
    ] {
        let (request, _) = world.make(&front(), Some(maker), "AU5", new_user("A", "AU5"));
        world.done(
            &front(),
            Command::ChangeRequest(command(request, maker, checker)),
        );
        let decided = world.state.change_requests().get(&request, world.now);
        assert_eq!(decided.unwrap().decided.as_ref().unwrap().0, by);
        let approved = world.approve_change(&front(), Some(checker), request);
        assert_eq!(refused(&approved), Rejection::ChangeRequestDecided);
    }
    assert!(world.state.account(&id("AU5")).is_none());
}

#[test]
fn who_is_no_administrator_makes_no_request() {
    let mut world = World::in_session_1();
    let user = world.card_token("AU1");
    let (_, made) = world.make(&front(), Some(user), "AU2", Act::Delete);
    assert_eq!(refused(&made), Rejection::NotAllowed);
    for actor in [front(), back(), node()] {
        let (_, made) = world.make(&actor, None, "AU2", Act::Delete);
        assert_eq!(refused(&made), Rejection::NotAllowed);
    }
    let (_, made) = world.make(&operator("ann"), Some(user), "AD1", Act::Delete);
    assert_eq!(refused(&made), Rejection::NotAllowed);
}

#[test]
fn a_deleted_account_leaves_a_tombstone_and_its_id_is_not_used_again() {
    let (mut world, maker, checker) = two_admins();
    let token = world.card_token("AU1");
    let (request, _) = world.make(&front(), Some(maker), "AU1", Act::Delete);
    world.approve_change(&front(), Some(checker), request);
    let gone = account(&world, "AU1");
    assert!(gone.deleted() && gone.email.is_none() && gone.card.is_none());
    assert!(gone.title.is_empty());
    assert!(world.state.tokens().get(&token, world.now).is_none());
    let login = world.login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    assert_eq!(
        login.result,
        Came::FailedAttempt(Answer::CredentialsRejected)
    );
    for act in [
        new_user("A", "AU1"),
        Act::Resume,
        Act::SetEmail("a@b.c".into()),
    ] {
        let (_, made) = world.make(&front(), Some(maker), "AU1", act);
        let rejection = refused(&made);
        assert!(
            matches!(
                rejection,
                Rejection::IdUsedBefore | Rejection::NoSuchAccount
            ),
            "{rejection:?}"
        );
    }
    let row = Imported {
        id: id("AU1"),
        participant: domain::ParticipantId::parse("A").unwrap(),
        class: Class::User,
        title: String::new(),
        email: None,
        card: None,
    };
    let imported = world.import(&[], &[row]);
    assert!(matches!(refused(&imported), Rejection::ImportConflicts(_)));
    // The card is free for another person.
    let register = Act::RegisterCard {
        number: domain::CardNumber::parse("CARD-AU1").unwrap(),
        password: sealed("new"),
    };
    let (request, made) = world.make(&operator("ann"), None, "AU3", register);
    assert_eq!(made.result, CARRIED);
    world.approve_change(&operator("ben"), None, request);
    let number = domain::CardNumber::parse("CARD-AU1").unwrap();
    assert_eq!(world.state.account_of_card(&number).unwrap().id, id("AU3"));
}

#[test]
fn a_card_belongs_to_one_account() {
    let mut world = World::in_session_1();
    let ann = operator("ann");
    let register = |number: &str| Act::RegisterCard {
        number: domain::CardNumber::parse(number).unwrap(),
        password: sealed("new"),
    };
    let (_, made) = world.make(&ann, None, "AU3", register("CARD-AU1"));
    assert_eq!(refused(&made), Rejection::CardInUse);
    // Judged again at approval: two requests for one new card.
    let (first, _) = world.make(&ann, None, "AU1", register("CARD-NEW"));
    let (second, _) = world.make(&ann, None, "AU2", register("CARD-NEW"));
    world.approve_change(&operator("ben"), None, first);
    let late = world.approve_change(&operator("ben"), None, second);
    assert_eq!(refused(&late), Rejection::CardInUse);
    let former = domain::CardNumber::parse("CARD-AU1").unwrap();
    assert!(world.state.account_of_card(&former).is_none());
}

#[test]
fn a_changed_address_gets_no_codes_for_a_day_and_who_changed_it_resets_nothing() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", true);
    let maker = world.card_token("AD1");
    let checker = world.card_token("AD2");
    let (request, _) = world.make(
        &front(),
        Some(maker),
        "AU1",
        Act::SetEmail("thief@example.com".into()),
    );
    world.approve_change(&front(), Some(checker), request);
    let begun = world.begin_login("AU1", LandingOption::OtpOnline, "first");
    assert!(matches!(
        begun.result,
        Came::Done(Answer::LoginOpened {
            send_code: false,
            ..
        })
    ));
    for act in [Act::ResetPassword, Act::ResetChannel, Act::ResetBoth] {
        for token in [maker, checker] {
            let (_, made) = world.make(&front(), Some(token), "AU1", act.clone());
            assert!(matches!(refused(&made), Rejection::EmailJustChanged { .. }));
        }
    }
    let hold = world.state.policy().email_hold_ms;
    let email = account(&world, "AU1").email.clone().unwrap();
    assert_eq!(email.codes_from, email.since.plus(hold));
    assert!(!email.gets_codes(email.codes_from.minus(1)));
    assert!(email.gets_codes(email.codes_from));
}

#[test]
fn the_first_address_of_an_account_gets_codes_at_once_r8() {
    let (mut world, maker, checker) = two_admins();
    let act = Act::SetEmail("au4@example.com".into());
    let (request, _) = world.make(&front(), Some(maker), "AU4", act);
    world.approve_change(&front(), Some(checker), request);
    assert_eq!(world.initiate("AU4", "first", false).result, CARRIED);
}

#[test]
fn unlocking_forgets_failures_and_nothing_else() {
    let (mut world, maker, checker) = two_admins();
    for _ in 0..10 {
        world.begin_login("AU1", LandingOption::SmartcardOnlineAndReports, "wrong");
    }
    let waits = world.begin_login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    assert!(matches!(refused(&waits), Rejection::RateLimited { .. }));
    let act = Act::Unlock(Method::Smartcard);
    let (request, _) = world.make(&front(), Some(maker), "AU1", act.clone());
    world.approve_change(&front(), Some(checker), request);
    world.card_token("AU1");
    let (_, made) = world.make(&front(), Some(maker), "AU2", act);
    assert_eq!(refused(&made), Rejection::AlreadySo);
}

#[test]
fn a_request_of_what_was_not_seen_is_refused() {
    let (mut world, maker, _) = two_admins();
    let seen = account(&world, "AU1").etag();
    world.suspend(&operator("ann"), None, "AU1");
    let make = |world: &mut World, seen| {
        let request = ChangeRequestId(world.next_id());
        world
            .ask(
                &front(),
                Command::ChangeRequest(Change::Make {
                    id: request,
                    account: id("AU1"),
                    act: Act::Resume,
                    reason: "back from leave".into(),
                    token: Some(maker),
                    seen: Some(seen),
                }),
            )
            .result
    };
    assert_eq!(
        make(&mut world, seen),
        Came::Rejected(Rejection::ChangedSince)
    );
    let seen = account(&world, "AU1").etag();
    assert_eq!(make(&mut world, seen), CARRIED);
}

#[test]
fn a_branch_takes_requests_of_administrators_and_none_of_operators_r47() {
    let mut main = World::in_session_1();
    main.close("S1", SATURDAY_2000);
    main.open_session_2(SATURDAY_2000);
    let mut branch = main.branch();
    branch.at(SATURDAY_2200.plus(MINUTE));
    let before = main.state.digests().account;
    let maker = branch.card_token("AD1");
    let checker = branch.card_token("AD2");
    let (request, made) = branch.make(&front(), Some(maker), "AU5", new_user("A", "AU5"));
    let gone = Came::Done(Answer::Changed {
        carry: Carry::DiscardedAtRollover,
    });
    assert_eq!(made.result, gone);
    let approved = branch.approve_change(&front(), Some(checker), request);
    assert_eq!(approved.result, gone);
    assert!(branch.state.account(&id("AU5")).is_some());
    let (_, made) = branch.make(&operator("ann"), None, "AD1", Act::Delete);
    assert_eq!(refused(&made), Rejection::MainLineOnly);
    let (_, made) = main.make(&operator("ann"), None, "AD1", Act::Delete);
    assert!(matches!(refused(&made), Rejection::BranchOpen { .. }));
    assert_eq!(main.state.digests().account, before);
    assert!(matches!(branch.line, LineId::Branch { .. }));
}

#[test]
fn firms_are_entered_and_renamed_by_operators_alone() {
    let mut world = World::in_session_1();
    let set = |title: &str, new, seen| {
        Command::Account(account::Command::SetParticipant {
            participant: Participant::new(domain::ParticipantId::parse("C").unwrap(), title.into()),
            new,
            seen,
        })
    };
    assert_eq!(
        world.rejected(&front(), set("C", true, None)),
        Rejection::NotAllowed
    );
    assert_eq!(
        world.rejected(&operator("ann"), set("C", false, None)),
        Rejection::OtherParticipant
    );
    world.done(&operator("ann"), set("C", true, None));
    let firm = domain::ParticipantId::parse("C").unwrap();
    let seen = world.state.participant(&firm).unwrap().etag();
    assert_eq!(
        world.rejected(&operator("ann"), set("D", true, None)),
        Rejection::AlreadySo
    );
    world.done(&operator("ann"), set("D", false, Some(seen)));
    assert_eq!(
        world.rejected(&operator("ann"), set("E", false, Some(seen))),
        Rejection::ChangedSince
    );
}

/// One thing that somebody tries.
#[derive(Debug, Clone, Copy)]
struct Try {
    what: u8,
    who: u8,
    by: u8,
}

const PEOPLE: [&str; 6] = ["AU1", "AU3", "AD1", "AD2", "BU1", "BD1"];

fn attempt(world: &mut World, tokens: &[Digest; 4], step: Try) {
    let who = PEOPLE[usize::from(step.who) % PEOPLE.len()];
    let (actor, token): (Actor, _) = match step.by % 6 {
        4 => (operator("ann"), None),
        5 => (operator("ben"), None),
        by => (front(), Some(tokens[usize::from(by)])),
    };
    let firm = &who[..1];
    let act = match step.what % 14 {
        0 => Act::Resume,
        1 => Act::SetEmail(format!("{}@example.com", step.what)),
        2 => Act::ResetPassword,
        3 => Act::ResetChannel,
        4 => Act::ResetBoth,
        5 => Act::Delete,
        6 => {
            world.begin_login(who, LandingOption::SmartcardOnlineAndReports, "wrong");
            Act::Unlock(Method::Smartcard)
        }
        7 => new_user(firm, &format!("{firm}U{}", 5 + step.who)),
        8 => Act::RegisterCard {
            number: CardNumber::parse(&format!("NEW-{}", world.log.len())).unwrap(),
            password: sealed("another"),
        },
        9 => {
            let off = account::Command::DisableMethod {
                account: id(who),
                token,
                method: Method::Smartcard,
                from: None,
                reason: "cards returned".into(),
            };
            world.ask(&actor, Command::Account(off));
            Act::AllowMethod(Method::Smartcard)
        }
        10 => {
            world.suspend(&actor, token, who);
            Act::Resume
        }
        _ => {
            let open = world.state.change_requests().iter();
            let nth = open.map(|request| request.id).nth(usize::from(step.who));
            if let Some(nth) = nth {
                world.approve_change(&actor, token, nth);
            }
            return;
        }
    };
    world.make(&actor, token, who, act);
}

/// What must have been done by two people, so that what else holds, holds of something.
const EXPECTED: [Kind; 8] = [
    Kind::AccountCreated,
    Kind::AccountResumed,
    Kind::AccountUnlocked,
    Kind::EmailSet,
    Kind::CardRegistered,
    Kind::OtpRevoked,
    Kind::AccountDeleted,
    Kind::MethodsSet,
];

fn tried(steps: Vec<(u8, u8, u8)>, done: &RefCell<Vec<Kind>>) -> TestCaseResult {
    let mut world = World::in_session_1();
    for who in ["AU1", "AU3", "AD1", "BU1"] {
        world.initiate(who, "first", false);
    }
    let tokens = ["AD1", "AD2", "BD1", "AU1"].map(|who| world.card_token(who));
    let rows = world.rows.len();
    for (what, who, by) in steps {
        attempt(&mut world, &tokens, Try { what, who, by });
    }
    for request in world.state.change_requests().iter() {
        let by_firm = match &request.maker {
            account::By::Account(maker) => {
                prop_assert_eq!(request.class, Class::User);
                world
                    .state
                    .account(maker)
                    .map(|maker| maker.participant.clone())
            }
            account::By::Operator(_) => {
                // Cards come from the clearing house alone, users' too.
                let brings_card = match &request.act {
                    Act::RegisterCard { .. } => true,
                    Act::Create(one) => one.card.is_some(),
                    _ => false,
                };
                prop_assert!(brings_card || request.class == Class::DelegatedAdmin);
                None
            }
        };
        prop_assert!(by_firm.is_none_or(|firm| firm == request.participant));
        if let Some((Decision::Approved, checker, _)) = &request.decided {
            prop_assert_ne!(checker, &request.maker);
            done.borrow_mut().push(request.act.kind());
        }
    }
    // Every change of an account is by who may: its own firm's DA, or an operator.
    for row in world.rows.iter().skip(rows).filter(|row| row.is_change()) {
        let by = domain::AccountId::parse(&row.by).ok();
        let by = by.and_then(|by| world.state.account(&by).cloned());
        if let Some(by) = by {
            prop_assert_eq!(Some(by.participant), row.participant.clone());
            prop_assert_eq!(row.class, Some(Class::User));
        }
    }
    Ok(())
}

/// No sequence of tries lets a DA touch another firm, or a maker approve.
#[test]
fn no_maker_approves_and_no_da_touches_another_firm_s34_r9() {
    let algorithm = proptest::test_runner::RngAlgorithm::ChaCha;
    let random = proptest::test_runner::TestRng::deterministic_rng(algorithm);
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, random);
    let done = RefCell::new(Vec::new());
    let steps = prop::collection::vec((0_u8..42, 0_u8..12, 0_u8..6), 1..90);
    let ran = runner.run(&steps, |steps| tried(steps, &done));
    if let Err(failure) = ran {
        panic!("{failure}");
    }
    let done = done.into_inner();
    for kind in EXPECTED {
        let count = done.iter().filter(|found| **found == kind).count();
        assert!(count > 0, "{kind:?} was never done");
    }
}
