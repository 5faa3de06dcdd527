//! Rollovers through `apply`: evidence, answers, holds.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;

use crate::world::*;
use domain::audit::Repeat;
use domain::change::Reason;
use domain::outcome::Result as Came;
use domain::portal::LandingOption;
use domain::session::{Act, Command as Plan, Phase, Reply};
use domain::{Command, Rejection};

#[test]
fn a_rollover_waits_for_the_close() {
    let (mut main, branch) = drill();
    let outcome = main.roll_over(branch.evidence(), BTreeMap::new());
    let phase = Phase::Open;
    assert_eq!(
        outcome.result,
        Came::Rejected(Rejection::WrongPhase { phase })
    );
}

#[test]
fn a_rollover_wants_an_answer_to_each_item_and_a_true_one() {
    let (mut main, mut branch) = drill();
    branch.suspend(&operator("ann"), None, "AU2");
    branch.login("AU1", LandingOption::OtpOnline, "first");
    let token = *branch.tokens.last().unwrap();
    branch.at(branch.now.plus(MINUTE));
    branch.replace_channel(token, "first", Reason::LostOrCompromised);
    close_both(&mut main, &mut branch);
    let evidence = branch.evidence();
    let kinds: Vec<Repeat> = evidence.must_repeat.iter().map(|item| item.kind).collect();
    assert_eq!(kinds, [Repeat::Suspension, Repeat::ChannelCompromised]);
    let items: Vec<u64> = evidence
        .must_repeat
        .iter()
        .map(|item| item.sequence)
        .collect();
    let none = main.roll_over(evidence.clone(), BTreeMap::new());
    assert_eq!(
        none.result,
        Came::Rejected(Rejection::Unanswered(items.clone()))
    );
    let mut replies = waive(&evidence);
    replies.insert(items[0], Reply::Repeated);
    let untrue = main.roll_over(evidence.clone(), replies.clone());
    let item = items[0];
    assert_eq!(
        untrue.result,
        Came::Rejected(Rejection::NotRepeated { item })
    );
    main.suspend(&operator("ann"), None, "AU2");
    let answered = main.roll_over(evidence, replies);
    assert!(matches!(answered.result, Came::Done(_)));
    assert!(!main.state.account(&id("AU2")).unwrap().active());
    let sealed = main.state.plan(&session("S2")).unwrap().sealed.clone();
    assert_eq!(sealed.unwrap().replies.len(), 2);
}

#[test]
fn a_rehash_in_session_2_is_discarded_and_is_nothing_that_somebody_did_r44_s21() {
    let (mut main, mut branch) = drill();
    let method = domain::factor::Method::Smartcard;
    let kept = main.state.account(&id("AU1")).cloned();
    let right = branch.verdict("AU1", method, "friday");
    let fenced = main.rehash("AU1", method, right, "anew").result;
    let serving = domain::CentreName::parse("west").unwrap();
    let expected = Rejection::CentreNotServing { serving };
    assert_eq!(fenced, Came::Rejected(expected));
    let done = branch.rehash("AU1", method, right, "anew").result;
    assert!(matches!(done, Came::Done(_)), "{done:?}");
    assert_ne!(branch.state.account(&id("AU1")).cloned(), kept);
    close_both(&mut main, &mut branch);
    let evidence = branch.evidence();
    assert!(evidence.forgotten.is_empty() && evidence.must_repeat.is_empty());
    main.roll_over(evidence, BTreeMap::new());
    assert_eq!(main.state.account(&id("AU1")).cloned(), kept);
}

#[test]
fn a_bad_answer_is_told_before_what_was_not_repeated_yet() {
    let (mut main, mut branch) = drill();
    branch.suspend(&operator("ann"), None, "AU1");
    branch.suspend(&operator("ann"), None, "AU2");
    close_both(&mut main, &mut branch);
    let evidence = branch.evidence();
    let items: Vec<u64> = evidence
        .must_repeat
        .iter()
        .map(|item| item.sequence)
        .collect();
    let mut answer = |replies: &[(u64, Reply)]| {
        let replies = replies.iter().cloned().collect();
        main.roll_over(evidence.clone(), replies).result
    };
    let repeated = (items[0], Reply::Repeated);
    let waived = |item, length| {
        let reason = "x".repeat(length);
        (item, Reply::Waived { reason })
    };
    let too_long = domain::session::REASON_BYTES_MAX + 1;
    for bad in [
        waived(items[1], too_long),
        waived(items[1], 0),
        waived(u64::MAX, 1),
    ] {
        let said = answer(&[repeated.clone(), bad]);
        assert!(
            matches!(said, Came::Rejected(Rejection::BadValues(_))),
            "{said:?}"
        );
    }
    let said = answer(std::slice::from_ref(&repeated));
    assert_eq!(said, Came::Rejected(Rejection::Unanswered(vec![items[1]])));
    let said = answer(&[repeated, waived(items[1], too_long - 1)]);
    let item = items[0];
    assert_eq!(said, Came::Rejected(Rejection::NotRepeated { item }));
}

#[test]
fn a_rollover_that_runs_by_itself_holds_what_nobody_answered() {
    let (mut main, mut branch) = drill();
    branch.suspend(&operator("ann"), None, "AU2");
    close_both(&mut main, &mut branch);
    let evidence = branch.evidence();
    let item = evidence.must_repeat[0].sequence;
    let digest = main.state.digests().account;
    main.done(
        &node(),
        Command::Session(Plan::RollOver {
            session: session("S2"),
            evidence: Box::new(evidence),
            replies: BTreeMap::new(),
            gap_accepted: None,
        }),
    );
    // A hold is evidence, not account state.
    assert_eq!(main.state.digests().account, digest);
    main.start("day-2023-06-12", MONDAY_0800);
    let card = LandingOption::SmartcardOnlineAndReports;
    assert!(!issued(&main.login("AU2", card, "friday")));
    let waived = Reply::Waived {
        reason: "a drill".into(),
    };
    let answer = |item| {
        Command::Session(Plan::AnswerHolds {
            session: session("S2"),
            replies: BTreeMap::from([(item, waived.clone())]),
        })
    };
    let strange = main.rejected(&operator("ann"), answer(item + 1));
    assert!(matches!(strange, Rejection::BadValues(_)), "{strange:?}");
    main.done(&operator("ann"), answer(item));
    assert!(issued(&main.login("AU2", card, "friday")));
}

#[test]
fn evidence_of_another_boundary_is_refused() {
    let (mut main, mut branch) = drill();
    close_both(&mut main, &mut branch);
    let mut evidence = branch.evidence();
    evidence.boundary.index += 1;
    let outcome = main.roll_over(evidence, BTreeMap::new());
    assert_eq!(outcome.result, Came::Rejected(Rejection::EvidenceDiffers));
}

#[test]
fn a_compromised_card_password_is_repeated_by_a_suspension_alone() {
    let (mut main, mut branch) = drill();
    let card = LandingOption::SmartcardOnlineAndReports;
    branch.login("AU2", card, "friday");
    let token = branch.tokens[0];
    branch.change_password(token, "friday", "s2", Reason::LostOrCompromised);
    close_both(&mut main, &mut branch);
    let evidence = branch.evidence();
    let item = evidence.must_repeat[0].sequence;
    let repeated = BTreeMap::from([(item, Reply::Repeated)]);
    let untrue = main.roll_over(evidence.clone(), repeated.clone());
    assert_eq!(
        untrue.result,
        Came::Rejected(Rejection::NotRepeated { item })
    );
    main.suspend(&operator("ann"), None, "AU2");
    let done = main.roll_over(evidence, repeated);
    assert!(matches!(done.result, Came::Done(_)));
}

#[test]
fn the_same_change_ten_times_is_one_item() {
    let (mut main, mut branch) = drill();
    let card = LandingOption::SmartcardOnlineAndReports;
    branch.login("AU2", card, "friday");
    let token = branch.tokens[0];
    for number in 0..10 {
        let current = if number == 0 { "friday" } else { "s2" };
        branch.change_password(token, current, "s2", Reason::LostOrCompromised);
    }
    close_both(&mut main, &mut branch);
    let evidence = branch.evidence();
    assert_eq!(evidence.must_repeat.len(), 1);
    assert_eq!(evidence.forgotten.values().sum::<u64>(), 10);
    assert_eq!(evidence.accounts, 1);
}

#[test]
fn evidence_found_after_an_abandonment_is_attached_with_its_items() {
    let (mut main, mut branch) = drill();
    branch.suspend(&operator("ann"), None, "AU2");
    close_both(&mut main, &mut branch);
    main.at(SATURDAY_2300.plus(MINUTE));
    main.approve(Act::Abandon(session("S2")));
    main.done(&operator("ann"), abandon(vec![]));
    main.done(
        &node(),
        Command::Session(Plan::RollOver {
            session: session("S2"),
            evidence: Box::new(branch.evidence()),
            replies: BTreeMap::new(),
            gap_accepted: None,
        }),
    );
    let plan = main.state.plan(&session("S2")).unwrap();
    assert_eq!(plan.phase, Phase::Abandoned);
    assert!(plan.sealed.as_ref().unwrap().evidence.is_some());
    assert_eq!(main.state.holds().count(), 1);
}

#[test]
fn evidence_with_a_time_far_ahead_does_not_shut_the_codes_out() {
    let (mut main, mut branch) = drill();
    close_both(&mut main, &mut branch);
    let mut evidence = branch.evidence();
    evidence.closed_at = evidence.closed_at.plus(24 * HOUR);
    let outcome = main.roll_over(evidence, BTreeMap::new());
    assert_eq!(outcome.result, Came::Rejected(Rejection::EvidenceDiffers));
}
