//! A firm as a whole: suspended by one person at once, resumed and deleted by two, and what that
//! means for its people, its administrators, a branch and its rollover.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;

use crate::world::*;
use domain::account::{Class, Imported, Status};
use domain::audit::{Kind, Repeat};
use domain::change_request::Act;
use domain::outcome::Result as Came;
use domain::participant::{self, Participant, Wanted};
use domain::portal::LandingOption;
use domain::session::{Command as Plan, Reply, Whose};
use domain::state::ERASED_AN_ENTRY;
use domain::token::Ending;
use domain::{Actor, Answer, Carry, Command, Outcome, ParticipantId, Rejection, State, account};

const CARD: LandingOption = LandingOption::SmartcardOnlineAndReports;
const OTP: LandingOption = LandingOption::OtpOnline;

fn firm(name: &str) -> ParticipantId {
    ParticipantId::parse(name).unwrap()
}

fn found(world: &World, name: &str) -> Participant {
    world.state.participant(&firm(name)).unwrap().clone()
}

fn told(outcome: &Outcome) -> Rejection {
    match &outcome.result {
        Came::FailedAttempt(Answer::Refused(rejection)) => rejection.as_ref().clone(),
        other => panic!("{other:?}"),
    }
}

fn refused(outcome: &Outcome) -> Rejection {
    match &outcome.result {
        Came::Rejected(rejection) => rejection.clone(),
        other => panic!("{other:?}"),
    }
}

fn suspend(world: &mut World, by: &Actor, name: &str, reason: &str) -> Outcome {
    let command = participant::Command::Suspend {
        participant: firm(name),
        reason: reason.into(),
    };
    world.ask(by, Command::Participant(command))
}

/// Both operators say it.
fn both(world: &mut World, name: &str, wanted: Wanted) {
    for (who, have) in [("ann", 1), ("ben", 2)] {
        let said = world.say_of_firm(who, name, wanted);
        let approved = Answer::Approved { have, need: 2 };
        assert_eq!(said.result, Came::Done(approved));
    }
}

#[test]
fn one_operator_suspends_a_firm_and_its_people_hear_of_it_after_a_factor_was_proved_s23() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.initiate("AU2", "first", true);
    world.at(world.now.plus(MINUTE));
    world.card_token("AD1");
    let accounts: Vec<_> = world.state.accounts().cloned().collect();
    let done = world.suspend_firm("ann", "A");
    let carry = Carry::CarriedForward;
    assert_eq!(done.result, Came::Done(Answer::Changed { carry }));
    let row = world.rows.last().unwrap();
    assert_eq!(
        (row.kind, &row.participant),
        (Kind::ParticipantSuspended, &Some(firm("A")))
    );
    assert_eq!((row.repeat, row.account.as_ref()), (None, None));
    let now: Vec<_> = world.state.accounts().cloned().collect();
    assert_eq!(now, accounts, "nothing of the accounts is touched");
    // A wrong password or code is told as ever; that the firm is suspended, to the person alone.
    for (who, option, password) in [("AU1", CARD, "friday"), ("AU1", OTP, "first")] {
        let right = world.login(who, option, password);
        assert_eq!(told(&right), Rejection::ParticipantSuspended, "{who}");
        let wrong = world.login(who, option, "guess");
        let answer = Answer::CredentialsRejected;
        assert_eq!(wrong.result, Came::FailedAttempt(answer), "{who}");
    }
    // The mailed code goes out, or nobody could prove the factor by it.
    let begun = world.begin_login("AU2", OTP, "first");
    assert!(matches!(
        begun.result,
        Came::Done(Answer::LoginOpened { .. })
    ));
    let admin = world.login("AD1", LandingOption::SmartcardSecurity, "friday");
    assert_eq!(told(&admin), Rejection::ParticipantSuspended);
    assert!(
        issued(&world.login("BU1", CARD, "friday")),
        "another firm's"
    );
    let again = world.suspend_firm("ben", "A");
    assert_eq!(refused(&again), Rejection::AlreadySo);
}

#[test]
fn a_suspension_is_an_operators_and_has_a_reason() {
    let mut world = World::in_session_1();
    let admin = world.card_token("AD1");
    for by in [front(), back(), node()] {
        let refusal = suspend(&mut world, &by, "A", "why");
        assert_eq!(refused(&refusal), Rejection::NotAllowed);
    }
    let ann = operator("ann");
    let absent = suspend(&mut world, &ann, "Z", "why");
    assert_eq!(refused(&absent), Rejection::OtherParticipant);
    let silent = suspend(&mut world, &ann, "A", "");
    assert!(matches!(refused(&silent), Rejection::BadValues(_)));
    assert!(found(&world, "A").active());
    assert!(world.state.tokens().get(&admin, world.now).is_some());
}

#[test]
fn all_tokens_of_a_firm_end_by_one_record_however_many_there_are_s32() {
    let mut world = World::in_session_1();
    let mut own = Vec::new();
    for who in ["AU1", "AU2", "AU3"] {
        world.login(who, CARD, "friday");
        own.push(*world.tokens.last().unwrap());
    }
    let admin = world.card_token("AD1");
    own.push(admin);
    world.login("BU1", CARD, "friday");
    let other = *world.tokens.last().unwrap();
    let position = world.state.tokens().ended();
    world.suspend_firm("ann", "A");
    let (endings, next) = world.state.tokens().endings_from(position).unwrap();
    assert_eq!(
        endings,
        [Ending::Participant(firm("A"))],
        "one ending, not one a token"
    );
    assert_eq!(next, position + 1);
    let now = world.now;
    let live = |state: &State, token| state.tokens().get(token, now).is_some();
    assert!(own.iter().all(|token| !live(&world.state, token)));
    assert!(live(&world.state, &other));
    // Its administrator acts no more, and its tokens do not come back with it.
    let acted = world.suspend(&front(), Some(admin), "AU1");
    assert_eq!(refused(&acted), Rejection::TokenEnded);
    both(&mut world, "A", Wanted::Resume);
    assert!(own.iter().all(|token| !live(&world.state, token)));
    assert!(issued(&world.login("AU1", CARD, "friday")));
    let fresh = *world.tokens.last().unwrap();
    assert!(live(&world.state, &fresh));
    // A snapshot holds all of it.
    let restored = State::from_rows(world.state.rows().collect::<Vec<_>>()).unwrap();
    assert_eq!(restored.digests(), world.state.digests());
    assert!(own.iter().all(|token| !live(&restored, token)));
    assert!(live(&restored, &fresh) && live(&restored, &other));
}

#[test]
fn a_login_and_an_initiation_under_way_do_not_outlive_the_suspension() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.at(world.now.plus(MINUTE));
    world.begin_login("AU1", OTP, "first");
    world.suspend_firm("ann", "A");
    let code = world.code("AU1");
    let late = world.verify_login(domain::login::Proof::Code(code));
    assert_eq!(told(&late), Rejection::ParticipantSuspended);
    let initiated = world.initiate("AU2", "first", false);
    assert!(!matches!(initiated.result, Came::Done(_)), "{initiated:?}");
    assert!(world.state.account(&id("AU2")).unwrap().otp.is_none());
    assert!(world.state.activation(&id("AU2"), world.now).is_none());
}

#[test]
fn resuming_a_firm_takes_two_operators_s34() {
    let mut world = World::in_session_1();
    world.suspend_firm("ann", "A");
    let first = world.say_of_firm("ann", "A", Wanted::Resume);
    let one = Came::Done(Answer::Approved { have: 1, need: 2 });
    assert_eq!(first.result, one);
    let again = world.say_of_firm("ann", "A", Wanted::Resume);
    assert_eq!(again.result, one, "one person twice is one");
    assert!(!found(&world, "A").active());
    // Who says something else of the firm begins anew.
    let other = world.say_of_firm("ben", "A", Wanted::Delete);
    assert_eq!(other.result, one);
    let resumed = world.say_of_firm("ben", "A", Wanted::Resume);
    assert_eq!(resumed.result, one);
    world.say_of_firm("ann", "A", Wanted::Resume);
    assert!(found(&world, "A").active());
    let kinds: Vec<Kind> = world
        .rows
        .iter()
        .rev()
        .take(2)
        .map(|row| row.kind)
        .collect();
    assert_eq!(kinds, [Kind::ParticipantResumed, Kind::ActApproved]);
    let nothing = world.say_of_firm("ann", "A", Wanted::Resume);
    assert_eq!(refused(&nothing), Rejection::AlreadySo);
    assert!(issued(&world.login("AU1", CARD, "friday")));
}

#[test]
fn what_two_operators_say_is_of_the_firm_that_they_saw() {
    let mut world = World::in_session_1();
    let seen = found(&world, "A").etag();
    world.suspend_firm("ann", "A");
    assert_ne!(found(&world, "A").etag(), seen);
    let command = participant::Command::Say {
        act: participant::Act {
            participant: firm("A"),
            wanted: Wanted::Delete,
            seen: Some(seen),
        },
        reason: "it left".into(),
    };
    let stale = world.ask(&operator("ann"), Command::Participant(command));
    assert_eq!(refused(&stale), Rejection::ChangedSince);
}

#[test]
fn a_renamed_firm_stays_suspended() {
    let mut world = World::in_session_1();
    world.suspend_firm("ann", "A");
    let command = account::Command::SetParticipant {
        participant: Participant::new(firm("A"), "Another Name".into()),
        new: false,
        seen: None,
    };
    world.done(&operator("ann"), Command::Account(command));
    let renamed = found(&world, "A");
    assert_eq!(renamed.title, "Another Name");
    assert!(!renamed.active());
}

#[test]
fn a_deleted_firm_takes_its_accounts_with_it_and_its_id_is_never_used_again() {
    let mut world = World::in_session_1();
    world.login("AU1", CARD, "friday");
    let token = *world.tokens.last().unwrap();
    both(&mut world, "A", Wanted::Delete);
    assert!(found(&world, "A").deleted());
    assert!(world.state.tokens().get(&token, world.now).is_none());
    for account in world.state.accounts() {
        let gone = account.participant == firm("A");
        assert_eq!(world.state.gone(account), gone, "{}", account.id);
        assert_eq!(
            account.deleted(),
            gone && account.card.is_none(),
            "{}",
            account.id
        );
    }
    assert!(
        world
            .state
            .account_of_card(&domain::CardNumber::parse("CARD-AU1").unwrap())
            .is_none()
    );
    let rejected = Came::FailedAttempt(Answer::CredentialsRejected);
    assert_eq!(world.login("AU1", CARD, "friday").result, rejected);
    let create = account::Command::SetParticipant {
        participant: Participant::new(firm("A"), "Another firm".into()),
        new: true,
        seen: None,
    };
    let again = world.ask(&operator("ann"), Command::Account(create));
    assert_eq!(refused(&again), Rejection::ParticipantIdUsed);
    let person = Imported {
        id: id("AU9"),
        participant: firm("A"),
        class: Class::DelegatedAdmin,
        title: "new".into(),
        email: None,
        card: None,
    };
    for participants in [vec![], vec![Participant::new(firm("A"), "A".into())]] {
        let refusal = world.import(&participants, std::slice::from_ref(&person));
        assert!(matches!(refused(&refusal), Rejection::ImportConflicts(_)));
    }
    let (_, made) = world.make(&operator("ann"), None, "AU9", Act::Create(Box::new(person)));
    assert_eq!(refused(&made), Rejection::OtherParticipant);
    for wanted in [Wanted::Resume, Wanted::Delete] {
        let said = world.say_of_firm("ann", "A", wanted);
        assert_eq!(refused(&said), Rejection::OtherParticipant);
    }
    let suspended = world.suspend_firm("ann", "A");
    assert_eq!(refused(&suspended), Rejection::OtherParticipant);
    assert!(issued(&world.login("BU1", CARD, "friday")));
}

#[test]
fn a_large_firm_is_gone_at_once_and_erased_a_bounded_number_an_entry() {
    let mut world = World::in_session_1();
    let people = ERASED_AN_ENTRY * 3 + 5;
    let accounts: Vec<Imported> = (0..people)
        .map(|number| Imported {
            id: id(&format!("LU{number:04}")),
            participant: firm("L"),
            class: Class::User,
            title: "somebody".into(),
            email: Some(format!("{number}@example.com")),
            card: None,
        })
        .collect();
    let large = [Participant::new(firm("L"), "large".into())];
    let imported = world.import(&large, &accounts);
    assert!(matches!(imported.result, Came::Done(_)), "{imported:?}");
    both(&mut world, "L", Wanted::Delete);
    let left = |state: &State| {
        let of = state.accounts().filter(|of| of.participant == firm("L"));
        of.filter(|of| !of.deleted()).count()
    };
    let mut expected = people - ERASED_AN_ENTRY;
    assert_eq!(left(&world.state), expected);
    let last = world.state.account(&id("LU0196")).unwrap();
    assert!(
        !last.deleted() && world.state.gone(last),
        "not erased yet, and gone"
    );
    let (_, made) = world.make(&operator("ann"), None, "LU0196", Act::Resume);
    assert!(matches!(made.result, Came::Rejected(_)));
    expected -= ERASED_AN_ENTRY;
    assert_eq!(left(&world.state), expected, "any entry erases some");
    // A node that starts from a snapshot in the middle goes on as the others do.
    let mut restored = world.clone();
    restored.state = State::from_rows(world.state.rows().collect::<Vec<_>>()).unwrap();
    while expected > 0 {
        expected = expected.saturating_sub(ERASED_AN_ENTRY);
        for world in [&mut world, &mut restored] {
            world.begin_login("BU1", CARD, "guess");
            assert_eq!(left(&world.state), expected);
        }
        assert_eq!(restored.state.digests(), world.state.digests());
    }
    let status = &world.state.account(&id("LU0196")).unwrap().status;
    assert!(matches!(status, Status::Deleted { .. }));
}

/// In session 2, its branch open since 22:00.
fn in_session_2() -> (World, World) {
    let mut main = World::in_session_1();
    main.close("S1", SATURDAY_2000);
    main.open_session_2(SATURDAY_2000);
    let branch = main.branch();
    main.at(SATURDAY_2200);
    (main, branch)
}

fn close_both(main: &mut World, branch: &mut World) {
    branch.close("S2", SATURDAY_2300);
    main.close("S2", SATURDAY_2300);
}

#[test]
fn on_a_branch_it_acts_at_once_wants_to_be_repeated_and_is_discarded_r44() {
    let (mut main, mut branch) = in_session_2();
    branch.login("AU1", CARD, "friday");
    let token = *branch.tokens.last().unwrap();
    let done = branch.suspend_firm("ann", "A");
    let carry = Carry::DiscardedAtRollover;
    assert_eq!(done.result, Came::Done(Answer::Changed { carry }));
    assert!(branch.state.tokens().get(&token, branch.now).is_none());
    let refusal = branch.say_of_firm("ann", "A", Wanted::Resume);
    assert_eq!(refused(&refusal), Rejection::MainLineOnly);
    close_both(&mut main, &mut branch);
    let evidence = branch.evidence();
    let items: Vec<_> = evidence.must_repeat.iter().collect();
    let [item] = items[..] else {
        panic!("{items:?}");
    };
    assert_eq!(item.kind, Repeat::ParticipantSuspension);
    assert_eq!(item.of, Whose::Participant(firm("A")));
    let sequence = item.sequence;
    let none = main.roll_over(evidence.clone(), BTreeMap::new());
    assert_eq!(refused(&none), Rejection::Unanswered(vec![sequence]));
    let repeated = BTreeMap::from([(sequence, Reply::Repeated)]);
    let untrue = main.roll_over(evidence.clone(), repeated.clone());
    assert_eq!(refused(&untrue), Rejection::NotRepeated { item: sequence });
    assert!(
        found(&main, "A").active(),
        "nothing flows from line to line"
    );
    let mut waived = main.clone();
    let replies = waive(&evidence);
    let done = waived.roll_over(evidence.clone(), replies);
    assert!(matches!(done.result, Came::Done(_)));
    assert!(found(&waived, "A").active());
    assert_eq!(
        waived.state.participant(&firm("A")),
        main.state.participant(&firm("A"))
    );
    main.suspend_firm("ann", "A");
    let done = main.roll_over(evidence, repeated);
    assert!(matches!(done.result, Came::Done(_)));
    assert!(!found(&main, "A").active());
}

#[test]
fn an_emergency_on_the_fenced_main_line_stays() {
    let (mut main, mut branch) = in_session_2();
    let done = main.suspend_firm("ann", "A");
    let carry = Carry::CarriedForward;
    assert_eq!(done.result, Came::Done(Answer::Changed { carry }));
    assert!(
        issued(&branch.login("AU1", CARD, "friday")),
        "not on the branch"
    );
    close_both(&mut main, &mut branch);
    main.roll_over(branch.evidence(), BTreeMap::new());
    assert!(!found(&main, "A").active());
}

#[test]
fn a_rollover_that_runs_by_itself_holds_the_firm_until_an_operator_answers() {
    let (mut main, mut branch) = in_session_2();
    branch.suspend_firm("ann", "A");
    close_both(&mut main, &mut branch);
    let evidence = branch.evidence();
    let item = evidence.must_repeat.first().unwrap().sequence;
    main.done(
        &node(),
        Command::Session(Plan::RollOver {
            session: session("S2"),
            evidence: Box::new(evidence),
            replies: BTreeMap::new(),
            gap_accepted: None,
        }),
    );
    let held: Vec<_> = main.state.holds().map(|hold| hold.of.clone()).collect();
    assert_eq!(held, [Whose::Participant(firm("A"))]);
    main.start("day-2023-06-12", MONDAY_0800);
    let refusal = main.login("AU1", CARD, "friday");
    assert_eq!(told(&refusal), Rejection::ParticipantSuspended);
    assert!(issued(&main.login("BU1", CARD, "friday")));
    let reason = "it was a mistake".to_owned();
    main.done(
        &operator("ann"),
        Command::Session(Plan::AnswerHolds {
            session: session("S2"),
            replies: BTreeMap::from([(item, Reply::Waived { reason })]),
        }),
    );
    assert!(issued(&main.login("AU1", CARD, "friday")));
}
