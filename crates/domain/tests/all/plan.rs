//! Plans of sessions through `apply`.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;

use crate::world::*;
use domain::change::Reason;
use domain::outcome::Result as Came;
use domain::portal::LandingOption;
use domain::session::{Act, Command as Plan, Phase, Reply};
use domain::{Actor, Answer, Command, Digest, NodeId, Rejection, totp};

fn open() -> Command {
    Command::Session(Plan::Open {
        session: session("S2"),
    })
}

#[test]
fn a_session_is_not_opened_before_the_earlier_one_closed_r17() {
    let mut world = World::in_session_1();
    world.approve(Act::Open(session("S2")));
    let rejection = world.rejected(&operator("ann"), open());
    let earlier = session("S1");
    assert_eq!(
        rejection,
        Rejection::EarlierSessionOpen { session: earlier }
    );
    // Nor before the earlier one has even begun.
    let mut early = World::founded();
    early.approve(Act::Open(session("S2")));
    let rejection = early.rejected(&operator("ann"), open());
    let earlier = session("S1");
    assert_eq!(
        rejection,
        Rejection::EarlierSessionOpen { session: earlier }
    );
}

#[test]
fn a_session_at_the_secondary_takes_two_operators_s34() {
    let mut world = World::in_session_1();
    world.close("S1", SATURDAY_2000);
    let nobody = Rejection::NotApproved { have: 0, need: 2 };
    assert_eq!(world.rejected(&operator("ann"), open()), nobody);
    let primary = domain::CentreName::parse("east").unwrap();
    let planned = world.state.calendar().session(&session("S2"), &primary);
    let plan = domain::session::Plan::digest_of(&planned.unwrap());
    let approve = Command::Session(Plan::Approve {
        act: Act::Open(session("S2")),
        plan,
    });
    // The same operator twice is one.
    world.done(&operator("ann"), approve.clone());
    world.done(&operator("ann"), approve);
    let one = Rejection::NotApproved { have: 1, need: 2 };
    assert_eq!(world.rejected(&operator("ann"), open()), one);
    let other = Command::Session(Plan::Approve {
        act: Act::Open(session("S2")),
        plan: Digest::ZERO,
    });
    assert_eq!(
        world.rejected(&operator("ben"), other),
        Rejection::PlanDiffers
    );
}

#[test]
fn the_boundary_ends_every_token_and_fences_the_primary_r18() {
    let mut world = World::in_session_1();
    world.login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    world.close("S1", SATURDAY_2000);
    world.open_session_2(SATURDAY_2000);
    let token = world.tokens[0];
    assert!(world.state.tokens().get(&token, world.now).is_none());
    let west = domain::CentreName::parse("west").unwrap();
    assert_eq!(world.state.serving_centre(), Some(&west));
    world.at(SATURDAY_2200);
    let refused = world.login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    let expected = Rejection::CentreNotServing { serving: west };
    assert_eq!(refused.result, Came::Rejected(expected));
    let again = world.rejected(&operator("ann"), open());
    assert_eq!(again, Rejection::AlreadySo);
}

#[test]
fn operators_changes_wait_while_a_branch_is_open() {
    let (mut main, mut branch) = drill();
    let policy = Command::SetPolicy {
        policy: domain::policy::Policy::default(),
        seen: None,
    };
    let waits = Rejection::BranchOpen {
        session: session("S2"),
    };
    assert_eq!(main.rejected(&operator("ann"), policy.clone()), waits);
    assert_eq!(
        branch.rejected(&operator("ann"), policy),
        Rejection::MainLineOnly
    );
}

#[test]
fn what_was_set_in_session_1_works_in_session_2_and_on_monday_r33_r34_r39() {
    let (mut main, mut branch) = drill();
    assert!(issued(&branch.login(
        "AU1",
        LandingOption::OtpOnline,
        "first"
    )));
    close_both(&mut main, &mut branch);
    main.roll_over(branch.evidence(), BTreeMap::new());
    main.start("day-2023-06-12", MONDAY_0800);
    assert!(issued(&main.login(
        "AU1",
        LandingOption::OtpOnline,
        "first"
    )));
}

#[test]
fn what_was_changed_in_session_2_is_gone_on_monday_r44_r45_r53() {
    let (mut main, mut branch) = drill();
    for (who, option, current) in [
        ("AU1", LandingOption::OtpOnline, "first"),
        ("AU2", LandingOption::SmartcardOnlineAndReports, "friday"),
        ("AD1", LandingOption::SmartcardSecurity, "friday"),
    ] {
        assert!(issued(&branch.login(who, option, current)), "{who}");
        let token = *branch.tokens.last().unwrap();
        let changed = branch.change_password(token, current, "s2", Reason::Routine);
        let discarded = Answer::Changed {
            carry: domain::Carry::DiscardedAtRollover,
        };
        assert_eq!(changed.result, Came::Done(discarded), "{who}");
    }
    branch.initiate("AU3", "s2", false);
    close_both(&mut main, &mut branch);
    main.roll_over(branch.evidence(), BTreeMap::new());
    main.start("day-2023-06-12", MONDAY_0800);
    let card = LandingOption::SmartcardOnlineAndReports;
    assert!(!issued(&main.login("AU1", LandingOption::OtpOnline, "s2")));
    assert!(issued(&main.login(
        "AU1",
        LandingOption::OtpOnline,
        "first"
    )));
    assert!(!issued(&main.login("AU2", card, "s2")));
    assert!(issued(&main.login("AU2", card, "friday")));
    assert!(!issued(&main.login(
        "AD1",
        LandingOption::SmartcardSecurity,
        "s2"
    )));
    assert!(main.state.account(&id("AU3")).unwrap().otp.is_none());
}

#[test]
fn a_code_of_the_branch_is_no_code_of_the_main_line_i6() {
    let (mut main, mut branch) = drill();
    branch.at(SATURDAY_2300.minus(1));
    assert!(issued(&branch.login(
        "AU1",
        LandingOption::OtpOnline,
        "first"
    )));
    close_both(&mut main, &mut branch);
    main.roll_over(branch.evidence(), BTreeMap::new());
    // At once the next session opens: the code is still within its thirty seconds of grace.
    main.start("S3", SATURDAY_2300);
    main.begin_login("AU1", LandingOption::OtpOnline, "first");
    let step = totp::step(SATURDAY_2300.minus(1));
    let code = domain::factor::CodeProof::Step(Some(step));
    let replayed = main.verify_login(domain::login::Proof::Code(code));
    assert!(!issued(&replayed), "a code was accepted on two lines");
    main.at(SATURDAY_2300.plus(MINUTE));
    assert!(issued(&main.login(
        "AU1",
        LandingOption::OtpOnline,
        "first"
    )));
}

#[cfg(feature = "planted-faults")]
#[test]
fn a_floor_that_is_not_raised_is_seen() {
    domain::planted::plant(Some(domain::planted::Fault::NoTotpFloor));
    let seen = std::panic::catch_unwind(a_code_of_the_branch_is_no_code_of_the_main_line_i6);
    assert!(seen.is_err());
}

#[test]
fn the_branchs_close_is_its_last_entry() {
    let (_, mut branch) = drill();
    branch.close("S2", SATURDAY_2300);
    let before = (branch.state.digests(), branch.rows.len());
    let late = branch.suspend(&operator("ann"), None, "AU1");
    assert_eq!(late.result, Came::Rejected(Rejection::LineEnded));
    assert_eq!((branch.state.digests(), branch.rows.len()), before);
}

#[test]
fn an_emergency_is_two_commands_and_nothing_flows_between_lines() {
    let (mut main, mut branch) = drill();
    branch.login("AU1", LandingOption::OtpOnline, "first");
    let token = branch.tokens[0];
    main.suspend(&operator("ann"), None, "AU1");
    assert!(branch.state.tokens().get(&token, branch.now).is_some());
    branch.suspend(&operator("ann"), None, "AU1");
    assert!(branch.state.tokens().get(&token, branch.now).is_none());
    close_both(&mut main, &mut branch);
    let evidence = branch.evidence();
    let item = evidence.must_repeat[0].sequence;
    main.roll_over(evidence, BTreeMap::from([(item, Reply::Repeated)]));
    assert!(!main.state.account(&id("AU1")).unwrap().active());
}

#[test]
fn a_lost_branch_is_given_up_by_two_operators_and_monday_opens() {
    let (mut main, _) = drill();
    main.at(SATURDAY_2200);
    main.approve(Act::Abandon(session("S2")));
    // Before the timetable's end only if a majority of its nodes refused to start it.
    let early = main.rejected(&operator("ann"), abandon(vec![NodeId(4)]));
    assert!(matches!(early, Rejection::OutsideSession { .. }));
    let mut refused = main.clone();
    refused.done(&operator("ann"), abandon(vec![NodeId(4), NodeId(6)]));
    main.at(SATURDAY_2300.plus(MINUTE));
    // Approvals do not count for ever.
    assert_eq!(
        main.rejected(&operator("ann"), abandon(vec![])),
        Rejection::NotApproved { have: 0, need: 2 }
    );
    main.approve(Act::Abandon(session("S2")));
    main.done(&operator("ann"), abandon(vec![]));
    assert_eq!(
        main.rejected(&operator("ann"), abandon(vec![])),
        Rejection::AlreadySo
    );
    main.start("day-2023-06-12", MONDAY_0800);
    assert!(issued(&main.login(
        "AU1",
        LandingOption::OtpOnline,
        "first"
    )));
}

#[test]
fn a_confirmed_opening_names_a_majority() {
    let mut main = World::in_session_1();
    main.close("S1", SATURDAY_2000);
    main.open_session_2(SATURDAY_2000);
    let branch = main.branch_at(main.now);
    let domain::LineId::Branch { genesis, .. } = branch.line.clone() else {
        panic!("a branch");
    };
    let confirm = |verified: &[u64]| {
        Command::Session(Plan::ConfirmOpen {
            session: session("S2"),
            digest: genesis,
            verified: verified.iter().map(|id| NodeId(*id)).collect(),
        })
    };
    let leader = Actor::Node(NodeId(1));
    for too_few in [&[4][..], &[4, 4, 4], &[1, 2, 3, 4]] {
        let rejection = main.rejected(&leader, confirm(too_few));
        assert_eq!(rejection, Rejection::EvidenceDiffers);
    }
    main.done(&leader, confirm(&[4, 6]));
    assert_eq!(main.state.plan(&session("S2")).unwrap().phase, Phase::Open);
}

#[test]
fn business_days_follow_each_other_r49() {
    let (mut main, mut branch) = drill();
    close_both(&mut main, &mut branch);
    main.roll_over(branch.evidence(), BTreeMap::new());
    let day = main.state.header().business_day.unwrap();
    assert_eq!(day.to_string(), "2023-06-12");
}

#[test]
fn a_branch_may_begin_long_after_its_boundary_i9() {
    let mut main = World::in_session_1();
    main.close("S1", SATURDAY_2000);
    main.open_session_2(SATURDAY_2000);
    let branch = main.branch_at(SATURDAY_2000.plus(HOUR));
    assert_eq!(branch.state.header().current, Some(session("S2")));
}

#[test]
fn a_branch_starts_from_what_its_name_says_i1() {
    let mut main = World::in_session_1();
    main.close("S1", SATURDAY_2000);
    main.open_session_2(SATURDAY_2000);
    let mut other = World::in_session_1();
    other.initiate("AU1", "first", false);
    other.close("S1", SATURDAY_2000);
    other.open_session_2(SATURDAY_2000);
    let genesis = main.state.digests().full;
    let line = domain::LineId::Branch {
        session: session("S2"),
        genesis,
    };
    let mut wrong = other;
    wrong.line = line;
    let start = Command::Session(Plan::BranchStart {
        session: session("S2"),
        genesis,
    });
    assert_eq!(wrong.rejected(&node(), start), Rejection::EvidenceDiffers);
}

#[test]
fn one_operator_cannot_lower_the_number_of_approvals_to_one_s34() {
    let mut world = World::founded();
    let policy = domain::policy::Policy {
        approvals: 1,
        ..domain::policy::Policy::default()
    };
    let command = Command::SetPolicy { policy, seen: None };
    let rejection = world.rejected(&operator("ann"), command);
    assert!(matches!(rejection, Rejection::BadValues(_)));
}

#[test]
fn of_two_policies_over_the_same_one_the_second_is_refused_and_a_repeat_is_not() {
    let mut world = World::founded();
    let before = world.state.policy().clone();
    let policy = |contact: &str| domain::policy::Policy {
        support_contact: contact.to_owned(),
        ..before.clone()
    };
    let set = |contact: &str| Command::SetPolicy {
        policy: policy(contact),
        seen: Some(before.digest()),
    };
    let key = world.key("first");
    let ask = |world: &mut World| {
        let envelope = domain::Envelope {
            at: world.now,
            actor: operator("ann"),
            line: world.line.clone(),
            request: Some(key),
            command: set("first"),
        };
        world.propose(envelope).outcome.result
    };
    let first = ask(&mut world);
    assert!(matches!(first, Came::Done(_)), "{first:?}");
    assert_eq!(*world.state.policy(), before);
    world.done(&operator("ben"), set("first"));
    let second = world.rejected(&operator("ben"), set("second"));
    assert_eq!(second, Rejection::ChangedSince);
    // The caller that did not hear of its success hears of it now.
    assert_eq!(ask(&mut world), first);
    assert_eq!(*world.state.policy(), policy("first"));
}
