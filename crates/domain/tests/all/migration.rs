//! Migration through `apply`: go-live as data (R1, R2, R3), methods of a firm and of a person,
//! enrolment with its deadline (R5, R6), and the revocation list (S36).
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;

use crate::world::*;
use domain::audit::Kind;
use domain::calendar::{Calendar, Day, Timetable};
use domain::change_request::Act;
use domain::factor::Method;
use domain::migration::{self, Change, Command as Ask, Enrolment, Subject, Switch};
use domain::outcome::Result as Came;
use domain::portal::LandingOption;
use domain::revocation::{List, Serial};
use domain::{Actor, Answer, Command, Outcome, ParticipantId, Rejection, UnixMs};

const CARD: LandingOption = LandingOption::SmartcardOnlineAndReports;
const OTP: LandingOption = LandingOption::OtpOnline;

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

fn local(text: &str) -> UnixMs {
    let (date, time) = text.split_once(' ').unwrap();
    day(date).at(time.parse().unwrap()).unwrap()
}

fn firm(name: &str) -> ParticipantId {
    ParticipantId::parse(name).unwrap()
}

fn say(world: &mut World, who: &str, change: &Change) -> Outcome {
    let command = Command::Migration(Ask::Say {
        change: change.clone(),
        reason: "test".into(),
    });
    world.ask(&operator(who), command)
}

/// Both operators say it: it is carried out.
fn both(world: &mut World, change: Change) {
    let first = say(world, "ann", &change);
    assert_eq!(
        first.result,
        Came::Done(Answer::Approved { have: 1, need: 2 })
    );
    let second = say(world, "ben", &change);
    assert_eq!(
        second.result,
        Came::Done(Answer::Approved { have: 2, need: 2 })
    );
}

fn switch(of: Subject, method: Method, switch: Switch) -> Change {
    Change::Switch { of, method, switch }
}

/// An operator switches a method of one account off.
fn disable(world: &mut World, who: &str, method: Method, from: Option<UnixMs>) {
    let command = domain::account::Command::DisableMethod {
        account: id(who),
        token: None,
        method,
        from,
        reason: "test".into(),
    };
    world.done(&operator("ann"), Command::Account(command));
}

fn schedule(date: &str) -> Change {
    Change::Schedule { date: day(date) }
}

fn approve(date: &str) -> Change {
    Change::Approve {
        date: day(date),
        reference: "SFC 2023/77".into(),
    }
}

fn postpone(date: &str) -> Change {
    Change::Postpone { date: day(date) }
}

fn off(method: Method, from: Option<UnixMs>, until: Option<UnixMs>) -> Rejection {
    Rejection::MethodOff {
        method,
        from,
        until,
    }
}

fn refused(outcome: &Outcome) -> Rejection {
    match &outcome.result {
        Came::Rejected(rejection) => rejection.clone(),
        other => panic!("{other:?}"),
    }
}

fn told(outcome: &Outcome) -> Rejection {
    match &outcome.result {
        Came::FailedAttempt(Answer::Refused(rejection)) => rejection.as_ref().clone(),
        other => panic!("{other:?}"),
    }
}

/// Monday 12 June, a minute after its session opened.
fn monday(world: &mut World) {
    world.start("day-2023-06-12", MONDAY_0800);
}

#[test]
fn after_an_approved_go_live_cards_are_refused_to_everybody_before_anything_is_asked_r2() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    both(&mut world, schedule("2023-06-12"));
    both(&mut world, approve("2023-06-12"));
    world.at(world.now.plus(MINUTE));
    assert!(
        issued(&world.login("AU1", CARD, "friday")),
        "until then both work"
    );
    world.close("S1", SATURDAY_2000);
    monday(&mut world);
    let accounts = world.state.digests().account;
    let gone = off(Method::Smartcard, Some(local("2023-06-12 00:00")), None);
    for (who, password) in [("AU1", "friday"), ("AU2", "guess"), ("NOBODY", "guess")] {
        let refusal = world.begin_login(who, CARD, password);
        assert_eq!(refused(&refusal), gone, "{who}");
    }
    let admin = world.begin_login("AD1", LandingOption::SmartcardSecurity, "friday");
    assert_eq!(refused(&admin), gone);
    // Nothing was counted, and the other method and the card's proof at initiation work.
    assert_eq!(world.state.digests().account, accounts);
    assert!(issued(&world.login("AU1", OTP, "first")));
    world.initiate("AU2", "first", false);
    world.at(world.now.plus(MINUTE));
    assert!(issued(&world.login("AU2", OTP, "first")));
}

#[test]
fn go_live_without_approval_switches_nothing_r1() {
    let mut world = World::in_session_1();
    both(&mut world, schedule("2023-06-12"));
    world.close("S1", SATURDAY_2000);
    monday(&mut world);
    assert!(issued(&world.login("AU1", CARD, "friday")));
    let date = world.state.migration().unapproved(world.now);
    assert_eq!(date, Some(day("2023-06-12")));
    // An approval that comes late does not switch in the middle of a day.
    let late = say(&mut world, "ann", &approve("2023-06-12"));
    assert!(matches!(refused(&late), Rejection::BadValues(_)));
    both(&mut world, postpone("2023-06-13"));
    both(&mut world, approve("2023-06-13"));
    assert!(issued(&world.login("AU1", CARD, "friday")));
}

#[test]
fn go_live_begins_at_midnight_in_hong_kong_and_ends_a_login_under_way_r2_r14() {
    let timetable = r#"
[[day]]
heading = "11 June 2023 (Sunday)"

[[day.session]]
id = "N1"
centre = "east"
opens = "23:00"
closes = "23:59"
purpose = "drill"
"#;
    let mut world = World::founded();
    both(&mut world, schedule("2023-06-11"));
    both(&mut world, approve("2023-06-11"));
    let start = local("2023-06-11 00:00");
    let before = UnixMs(start.0 - 1);
    assert_eq!(world.state.migration().off(Method::Smartcard, before), None);
    let at = world.state.migration().off(Method::Smartcard, start);
    assert_eq!(at, Some(off(Method::Smartcard, Some(start), None)));
    assert_eq!(world.state.migration().off(Method::Otp, start), None);
    // A firm's or a person's method can go off while a login is under way.
    both(&mut world, Change::Withdraw);
    let calendar = Calendar::new(Timetable::parse(timetable).unwrap(), BTreeSet::new());
    world.done(&operator("ann"), Command::SetCalendar(Box::new(calendar)));
    world.start("N1", local("2023-06-11 23:00"));
    let half = local("2023-06-11 23:30");
    disable(&mut world, "AU1", Method::Smartcard, Some(half));
    world.at(UnixMs(half.0 - 1));
    assert!(issued(&world.login("AU1", CARD, "friday")));
    world.begin_login("AU1", CARD, "friday");
    world.now = half;
    let card = domain::CardNumber::parse("CARD-AU1").unwrap();
    let late = world.verify_login(domain::login::Proof::Card(Some(
        domain::factor::CardProof::bare(card),
    )));
    assert_eq!(told(&late), off(Method::Smartcard, Some(half), None));
}

#[test]
fn a_postponed_or_withdrawn_go_live_leaves_cards_as_they_were_r1_r3() {
    let mut world = World::in_session_1();
    both(&mut world, schedule("2023-06-12"));
    both(&mut world, approve("2023-06-12"));
    let again = say(&mut world, "ann", &schedule("2023-06-20"));
    let date = day("2023-06-12");
    assert_eq!(refused(&again), Rejection::GoLiveScheduled { date });
    both(&mut world, postpone("2023-06-19"));
    // The approval was of the other date.
    let go_live = world.state.migration().go_live.clone().unwrap();
    assert_eq!((go_live.date, go_live.approval), (day("2023-06-19"), None));
    let wrong = say(&mut world, "ann", &approve("2023-06-12"));
    let date = day("2023-06-19");
    assert_eq!(refused(&wrong), Rejection::GoLiveScheduled { date });
    world.close("S1", SATURDAY_2000);
    monday(&mut world);
    assert!(issued(&world.login("AU1", CARD, "friday")));
    both(&mut world, Change::Withdraw);
    let none = say(&mut world, "ann", &Change::Withdraw);
    assert_eq!(refused(&none), Rejection::NoGoLive);
    assert!(issued(&world.login("AU1", CARD, "friday")));
}

#[test]
fn a_go_live_in_force_is_taken_back_by_two_and_cards_work_again_r3() {
    let mut world = World::in_session_1();
    both(&mut world, schedule("2023-06-12"));
    both(&mut world, approve("2023-06-12"));
    world.close("S1", SATURDAY_2000);
    monday(&mut world);
    refused(&world.begin_login("AU1", CARD, "friday"));
    both(&mut world, postpone("2023-06-19"));
    assert!(issued(&world.login("AU1", CARD, "friday")));
}

#[test]
fn one_operator_alone_switches_nothing_and_another_statement_begins_anew_s34() {
    let mut world = World::in_session_1();
    let one = Came::Done(Answer::Approved { have: 1, need: 2 });
    assert_eq!(say(&mut world, "ann", &schedule("2023-06-12")).result, one);
    assert_eq!(say(&mut world, "ann", &schedule("2023-06-12")).result, one);
    assert_eq!(say(&mut world, "ben", &schedule("2023-06-13")).result, one);
    assert_eq!(world.state.migration().go_live, None);
    // What was said half an hour ago does not count any more.
    world.at(world.now.plus(30 * MINUTE));
    assert_eq!(world.state.proposals(world.now).count(), 0);
    assert_eq!(say(&mut world, "ann", &schedule("2023-06-13")).result, one);
    assert_eq!(world.state.migration().go_live, None);
    let last = say(&mut world, "ben", &schedule("2023-06-13"));
    assert_eq!(
        last.result,
        Came::Done(Answer::Approved { have: 2, need: 2 })
    );
    assert_eq!(
        world.state.migration().go_live.clone().unwrap().date,
        day("2023-06-13")
    );
    let rows = world.rows.iter().rev().take(2);
    let kinds: Vec<Kind> = rows.map(|row| row.kind).collect();
    assert_eq!(kinds, [Kind::GoLiveSet, Kind::MigrationProposed]);
}

#[test]
fn the_migration_is_the_main_lines_and_operators_alone() {
    let mut world = World::in_session_1();
    let command = Command::Migration(Ask::Say {
        change: schedule("2023-06-12"),
        reason: "test".into(),
    });
    for actor in [front(), back(), node()] {
        assert_eq!(
            world.rejected(&actor, command.clone()),
            Rejection::NotAllowed
        );
    }
    let past = say(&mut world, "ann", &schedule("2023-06-10"));
    assert!(matches!(refused(&past), Rejection::BadValues(_)));
    world.close("S1", SATURDAY_2000);
    world.open_session_2(SATURDAY_2000);
    let fenced = say(&mut world, "ann", &schedule("2023-06-12"));
    assert!(matches!(refused(&fenced), Rejection::BranchOpen { .. }));
    let mut branch = world.branch();
    let of_branch = say(&mut branch, "ann", &schedule("2023-06-12"));
    assert_eq!(refused(&of_branch), Rejection::MainLineOnly);
}

#[test]
fn what_is_off_for_a_firm_or_a_person_is_told_only_after_a_factor_was_proved() {
    let mut world = World::in_session_1();
    world.initiate("AU2", "first", false);
    world.at(world.now.plus(MINUTE));
    let firm_a = Subject::Participant(firm("A"));
    both(
        &mut world,
        switch(firm_a.clone(), Method::Smartcard, Switch::Off),
    );
    let gone = off(Method::Smartcard, Some(world.now), None);
    let guess = world.login("AU1", CARD, "guess");
    assert_eq!(
        guess.result,
        Came::FailedAttempt(Answer::CredentialsRejected)
    );
    let begun = world.begin_login("AU1", CARD, "friday");
    assert!(matches!(
        begun.result,
        Came::Done(Answer::LoginOpened { .. })
    ));
    let right = world.login("AU1", CARD, "friday");
    assert_eq!(told(&right), gone);
    // Another firm's cards and the firm's other method are as they were.
    assert!(issued(&world.login("BU1", CARD, "friday")));
    assert!(issued(&world.login("AU2", OTP, "first")));
    both(&mut world, switch(firm_a, Method::Smartcard, Switch::On));
    assert!(issued(&world.login("AU1", CARD, "friday")));

    let people = Subject::Participant(firm("A"));
    let from = world.now.plus(HOUR);
    both(
        &mut world,
        switch(people.clone(), Method::Smartcard, Switch::OnFrom(from)),
    );
    let until = off(Method::Smartcard, None, Some(from));
    assert_eq!(told(&world.login("AU1", CARD, "friday")), until);
    let again = say(
        &mut world,
        "ann",
        &switch(people, Method::Smartcard, Switch::OnFrom(from)),
    );
    assert_eq!(refused(&again), Rejection::AlreadySo);
    world.at(from);
    assert!(issued(&world.login("AU1", CARD, "friday")));
}

#[test]
fn one_time_passwords_can_be_off_for_everybody_and_the_smartcard_only_by_go_live_r55() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.at(world.now.plus(MINUTE));
    let card = switch(Subject::Service, Method::Smartcard, Switch::Off);
    let refusal = say(&mut world, "ann", &card);
    assert!(matches!(refused(&refusal), Rejection::BadValues(_)));
    both(
        &mut world,
        switch(Subject::Service, Method::Otp, Switch::Off),
    );
    let refusal = world.begin_login("AU1", OTP, "first");
    assert!(matches!(
        refused(&refusal),
        Rejection::MethodOff {
            method: Method::Otp,
            ..
        }
    ));
    assert!(issued(&world.login("AU1", CARD, "friday")));
    let nobody = Subject::Participant(firm("Z"));
    let outcome = say(&mut world, "ann", &switch(nobody, Method::Otp, Switch::Off));
    assert_eq!(refused(&outcome), Rejection::OtherParticipant);
}

/// One person would say half of what takes two, or a checker would be left out.
#[test]
fn no_change_of_the_migration_names_an_account_s34() {
    let of = |name: &str, whose: &str| {
        serde_json::from_value::<Subject>(serde_json::json!({ name: whose }))
    };
    assert_eq!(
        of("Participant", "A").unwrap(),
        Subject::Participant(firm("A"))
    );
    let refused = of("Account", "AU1").unwrap_err().to_string();
    assert!(refused.contains("unknown variant `Account`"), "{refused}");
}

/// The annex's test for those that wish to join, and nothing else.
const ENROLLED: &str = r#"
[[day]]
heading = "10 June 2023 (Saturday)"

[[day.session]]
id = "S1"
centre = "east"
opens = "18:00"
closes = "20:00"
purpose = "connectivity-test"
enrolled_only = true
enrol_by = "2023-06-02"
not_enrolled_text = "This test is for participants that enrolled."
not_enrolled_text_zh_hant = "本測試只供已登記的參與者參加。"
"#;

fn enrolling(now: &str) -> World {
    let mut world = World::founded_at(local(now));
    let calendar = Calendar::new(Timetable::parse(ENROLLED).unwrap(), BTreeSet::new());
    world.done(&operator("ann"), Command::SetCalendar(Box::new(calendar)));
    world
}

fn enrol(who: &str, wanted: Enrolment) -> Command {
    Command::Migration(Ask::Enrol {
        participant: firm(who),
        session: session("S1"),
        wanted,
    })
}

#[test]
fn enrolment_counts_until_the_last_minute_of_its_last_day_r6() {
    let mut world = enrolling("2023-06-02 20:00");
    let ann = operator("ann");
    world.at(local("2023-06-02 23:59"));
    world.done(&ann, enrol("A", Enrolment::Enrolled));
    let again = world.rejected(&ann, enrol("A", Enrolment::Enrolled));
    assert_eq!(again, Rejection::AlreadySo);
    world.at(local("2023-06-03 00:00"));
    let late = world.rejected(&ann, enrol("B", Enrolment::Enrolled));
    let closed = Rejection::EnrolmentClosed {
        session: session("S1"),
        last: day("2023-06-02"),
    };
    assert_eq!(late, closed);
    // What was enrolled can be taken back at any time, and not be put in again.
    world.done(&ann, enrol("A", Enrolment::Withdrawn));
    assert_eq!(
        world.rejected(&ann, enrol("A", Enrolment::Enrolled)),
        closed
    );
    let none = world.rejected(&front(), enrol("A", Enrolment::Withdrawn));
    assert_eq!(none, Rejection::NotAllowed);
}

#[test]
fn a_session_for_the_enrolled_tells_the_others_so_once_a_factor_is_proved_r5() {
    let mut world = enrolling("2023-06-02 20:00");
    world.done(&operator("ann"), enrol("A", Enrolment::Enrolled));
    world.start("S1", SATURDAY_1800);
    assert!(issued(&world.login("AU1", CARD, "friday")));
    let guess = world.login("BU1", CARD, "guess");
    assert_eq!(
        guess.result,
        Came::FailedAttempt(Answer::CredentialsRejected)
    );
    let other = world.login("BU1", CARD, "friday");
    let text = Some("This test is for participants that enrolled.".to_owned());
    let text_zh_hant = Some("本測試只供已登記的參與者參加。".to_owned());
    let expected = Rejection::NotEnrolled { text, text_zh_hant };
    assert_eq!(told(&other), expected);
    let unknown = Command::Migration(Ask::Enrol {
        participant: firm("A"),
        session: session("S9"),
        wanted: Enrolment::Enrolled,
    });
    let rejection = world.rejected(&operator("ann"), unknown);
    assert_eq!(rejection, Rejection::NoSuchSession);
}

fn list(number: u64, next_update: UnixMs) -> List {
    List {
        number,
        this_update: SATURDAY_1755,
        next_update,
        serials: vec![Serial(vec![1]), Serial(vec![9, 9])],
    }
}

fn set(world: &mut World, actor: &Actor, list: List) -> Outcome {
    world.ask(actor, Command::SetRevocationList(Box::new(list)))
}

#[test]
fn a_revocation_list_grows_and_when_overdue_no_card_is_relied_on_s36() {
    let mut world = World::in_session_1();
    let ann = operator("ann");
    let next = world.now.plus(HOUR);
    let done = Came::Done(Answer::Nothing);
    assert_eq!(set(&mut world, &ann, list(7, next)).result, done);
    let older = set(&mut world, &ann, list(6, next));
    assert_eq!(
        refused(&older),
        Rejection::RevocationListOlder { number: 7 }
    );
    let same = set(&mut world, &ann, list(7, next.plus(1)));
    assert_eq!(refused(&same), Rejection::RevocationListOlder { number: 7 });
    let again = set(&mut world, &ann, list(7, next));
    assert_eq!(refused(&again), Rejection::AlreadySo);
    let mut unordered = list(8, next);
    unordered.serials.reverse();
    let refusal = set(&mut world, &ann, unordered);
    assert!(matches!(refused(&refusal), Rejection::BadValues(_)));
    assert_eq!(
        refused(&set(&mut world, &front(), list(8, next))),
        Rejection::NotAllowed
    );
    assert!(issued(&world.login("AU1", CARD, "friday")));

    world.close("S1", SATURDAY_2000);
    monday(&mut world);
    // The next update was due on Saturday, and the grace is a day.
    let overdue = Rejection::RevocationsOverdue { since: Some(next) };
    for who in ["AU1", "NOBODY"] {
        assert_eq!(refused(&world.begin_login(who, CARD, "friday")), overdue);
    }
    let late = world.now.plus(HOUR);
    assert_eq!(set(&mut world, &ann, list(8, late)).result, done);
    assert!(issued(&world.login("AU1", CARD, "friday")));
}

#[test]
fn a_fenced_main_line_takes_a_revocation_list_and_a_required_one_is_waited_for() {
    let mut world = World::in_session_1();
    let mut policy = world.state.policy().clone();
    policy.revocation_list_required = true;
    world.set_policy(policy);
    let none = Rejection::RevocationsOverdue { since: None };
    assert_eq!(refused(&world.begin_login("AU1", CARD, "friday")), none);
    world.close("S1", SATURDAY_2000);
    world.open_session_2(SATURDAY_2000);
    let next = world.now.plus(HOUR);
    let held = set(&mut world, &operator("ann"), list(1, next));
    assert_eq!(held.result, Came::Done(Answer::Nothing));
    let mut branch = world.branch();
    // A branch takes one of its own; what it held before was the main line's at the boundary.
    let of_branch = set(&mut branch, &operator("ann"), list(2, next));
    assert_eq!(of_branch.result, Came::Done(Answer::Nothing));
}

#[test]
fn a_migration_survives_its_rows_and_a_deleted_account_keeps_no_switch() {
    let mut world = World::in_session_1();
    let next = world.now.plus(HOUR);
    set(&mut world, &operator("ann"), list(7, next));
    both(&mut world, schedule("2023-06-12"));
    let before = world.state.digests().account;
    disable(&mut world, "AD2", Method::Otp, None);
    assert_ne!(world.state.digests().account, before);
    let terms = world.state.digests().account;
    world.done(&operator("ann"), enrol("A", Enrolment::Enrolled));
    assert_ne!(world.state.digests().account, terms);
    say(&mut world, "ann", &approve("2023-06-12"));
    let rows: Vec<domain::Row> = world
        .state
        .rows()
        .map(|row| domain::encoding::decode(&domain::encoding::encode(&row)).unwrap())
        .collect();
    let restored = domain::State::from_rows(rows).unwrap();
    assert_eq!(restored.digests(), world.state.digests());
    assert_eq!(restored.revocations(), world.state.revocations());
    let (request, _) = world.make(&operator("ann"), None, "AD2", Act::Delete);
    world.approve_change(&operator("ben"), None, request);
    let gone = world.state.account(&id("AD2")).unwrap();
    assert_eq!(gone.methods, migration::Methods::default());
}

#[test]
fn a_timetable_says_who_may_join_until_when_and_what_the_others_are_told_r5_r6() {
    let timetable = Timetable::parse(ENROLLED).unwrap();
    let read = &timetable.sessions[0];
    assert_eq!(read.last_day_to_enrol(), day("2023-06-02"));
    let calendar = Calendar::new(timetable.clone(), BTreeSet::new());
    let again = Timetable::parse(&calendar.timetable_file()).unwrap();
    assert_eq!(again.sessions, timetable.sessions);
    for (line, other, problem) in [
        (
            "2023-06-02",
            "2023-06-11",
            "must not be after the session's day",
        ),
        ("2023-06-02", "2 June", "is not a date"),
        (
            "This test is for participants that enrolled.",
            "",
            "must have 1 to",
        ),
    ] {
        let problems = Timetable::parse(&ENROLLED.replace(line, other)).unwrap_err();
        let told = problems
            .iter()
            .any(|told| told.to_string().contains(problem));
        assert!(told, "{other}: {problems:?}");
    }
}
