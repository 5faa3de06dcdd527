//! A real disaster in the middle of a drill: the base is promoted, the branch dropped, and what it
//! did is sealed on the new main line (LINES.md).
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;

use crate::centre::{begin, certified, terms};
use crate::unplanned::{adopt, order_by};
use crate::world::*;
use domain::account::Account;
use domain::change::Reason;
use domain::notice;
use domain::portal::LandingOption;
use domain::session::unplanned::Found;
use domain::session::{Act, Command as Plan, Evidence, Phase};
use domain::{Command, NodeId, Rejection, SessionId};

const CARD: LandingOption = LandingOption::SmartcardOnlineAndReports;

fn promoted(world: &mut World) {
    let certificate = certified(world, terms(world), &["ann", "ben"]);
    world.done(&node(), begin(certificate));
}

fn seal(evidence: &Evidence) -> Command {
    Command::Session(Plan::RollOver {
        session: session("S2"),
        evidence: Box::new(evidence.clone()),
        replies: BTreeMap::new(),
        gap_accepted: None,
    })
}

fn start() -> Command {
    Command::Session(Plan::Start {
        session: session("S2"),
    })
}

fn plan(world: &World) -> domain::session::Plan {
    world.state.plan(&session("S2")).unwrap().clone()
}

fn current(world: &World) -> Option<SessionId> {
    world.state.header().current.clone()
}

/// The primary is lost at 22:10, with session 2 open: somebody was suspended there, and somebody
/// has another password.
fn lost_in_session_2() -> (World, World) {
    let (mut main, mut branch) = drill();
    branch.suspend(&operator("ann"), None, "AU2");
    branch.login("AU1", CARD, "friday");
    let token = *branch.tokens.last().unwrap();
    branch.change_password(token, "friday", "s2", Reason::Routine);
    main.now = SATURDAY_2200.plus(10 * MINUTE);
    promoted(&mut main);
    (main, branch)
}

#[test]
fn what_a_dropped_branch_did_is_sealed_on_the_new_main_line_and_held_i2_i5() {
    let (mut main, mut branch) = lost_in_session_2();
    assert_eq!(plan(&main).phase, Phase::Abandoned);
    assert!(plan(&main).awaits_evidence_of_dropped(2));
    assert_eq!(main.state.holds().count(), 0, "nothing is known of it yet");
    // Its nodes close it, a moment later.
    branch.close("S2", SATURDAY_2200.plus(11 * MINUTE));
    let evidence = branch.evidence();
    assert_eq!(evidence.must_repeat.len(), 1);
    let accounts = main.state.digests().account;
    let floor = main.state.header().totp_floor;
    main.done(&node(), seal(&evidence));
    assert_eq!(main.state.digests().account, accounts, "I2");
    let header = main.state.header();
    assert!(floor < header.totp_floor, "a code of 22:11 counts once");
    let sealed = plan(&main).sealed.unwrap();
    assert_eq!(sealed.evidence.as_ref(), Some(&evidence));
    assert_eq!(
        sealed.gap_accepted.as_deref(),
        Some("dropped by a promotion")
    );
    let item = evidence.must_repeat.first().unwrap().sequence;
    assert!(sealed.held.contains(&item));
    assert_eq!(plan(&main).phase, Phase::Abandoned);
    assert!(!plan(&main).awaits_evidence_of_dropped(2));
    // Both holders are told, at the address that the main line knows.
    let told: Vec<String> = main
        .state
        .outbox()
        .iter()
        .filter(|one| matches!(one.kind, notice::Kind::NotCarriedForward { .. }))
        .map(|one| one.account.to_string())
        .collect();
    assert_eq!(told, ["AU1", "AU2"]);
    let again = main.rejected(&node(), seal(&evidence));
    assert_eq!(again, Rejection::AlreadySo);
}

#[test]
fn the_session_goes_on_on_the_new_main_line_with_its_passwords_until_its_time_is_over_i6() {
    let (mut main, mut branch) = lost_in_session_2();
    main.done(&node(), start());
    assert_eq!(current(&main), Some(session("S2")));
    assert!(main.state.open_session(main.now).is_ok());
    assert!(issued(&main.login("AU1", CARD, "friday")));
    assert!(!issued(&main.login("AU1", CARD, "s2")));
    assert!(issued(&main.login("AU2", CARD, "friday")));
    branch.close("S2", SATURDAY_2200.plus(11 * MINUTE));
    main.done(&node(), seal(&branch.evidence()));
    assert_eq!(current(&main), Some(session("S2")), "it is not ended by it");
    assert!(
        !issued(&main.login("AU2", CARD, "friday")),
        "held until somebody says what becomes of the suspension"
    );
    main.close("S2", SATURDAY_2300);
    assert_eq!(current(&main), None);
    assert_eq!(
        plan(&main).phase,
        Phase::Abandoned,
        "its branch was dropped"
    );
    let phase = Phase::Abandoned;
    let again = main.rejected(&node(), start());
    assert_eq!(again, Rejection::WrongPhase { phase });
    main.start("day-2023-06-12", MONDAY_0800);
    assert!(main.state.accounts().all(Account::active), "I10");
}

#[test]
fn a_session_that_had_closed_before_the_promotion_does_not_begin_again() {
    let (mut main, mut branch) = drill();
    branch.suspend(&operator("ann"), None, "AU2");
    let early = SATURDAY_2200.plus(20 * MINUTE);
    branch.close("S2", early);
    main.close("S2", early);
    promoted(&mut main);
    let phase = Phase::Abandoned;
    let refused = main.rejected(&node(), start());
    assert_eq!(refused, Rejection::WrongPhase { phase });
    main.done(&node(), seal(&branch.evidence()));
    assert_eq!(main.state.holds().count(), 1);
}

#[test]
fn a_session_that_operators_gave_up_does_not_begin_again_at_a_primary_that_was_promoted_later() {
    let (mut main, _branch) = drill();
    main.at(SATURDAY_2000.plus(5 * MINUTE));
    main.approve(Act::Abandon(session("S2")));
    main.done(&operator("ann"), abandon(vec![NodeId(4), NodeId(5)]));
    promoted(&mut main);
    main.now = SATURDAY_2200;
    main.at(SATURDAY_2200);
    let phase = Phase::Abandoned;
    let refused = main.rejected(&node(), start());
    assert_eq!(refused, Rejection::WrongPhase { phase });
}

#[test]
fn a_branch_that_was_lost_before_it_was_confirmed_is_confirmed_on_the_new_main_line() {
    let mut main = World::in_session_1();
    main.close("S1", SATURDAY_2000);
    main.open_session_2(SATURDAY_2000);
    let mut branch = main.branch_at(SATURDAY_2000);
    branch.suspend(&operator("ann"), None, "AU2");
    main.now = SATURDAY_2200.plus(10 * MINUTE);
    promoted(&mut main);
    branch.close("S2", SATURDAY_2200.plus(11 * MINUTE));
    let evidence = branch.evidence();
    let early = main.rejected(&node(), seal(&evidence));
    assert_eq!(early, Rejection::EvidenceDiffers);
    main.confirm(evidence.genesis);
    assert_eq!(plan(&main).phase, Phase::Abandoned);
    main.done(&node(), seal(&evidence));
    assert_eq!(main.state.holds().count(), 1);
}

/// Session 1 is over and session 2 approved; what is opened without the primary is ordered by 22:00.
fn ordered() -> (World, World, domain::session::unplanned::Order) {
    let mut main = World::in_session_1();
    main.close("S1", SATURDAY_2000);
    main.approve(Act::Open(session("S2")));
    let order = order_by(operator("ann"), &main.state, SATURDAY_2200).unwrap();
    let mut branch = crate::unplanned::serving(&main, &order);
    branch.suspend(&operator("ann"), None, "AU2");
    (main, branch, order)
}

#[test]
fn an_unplanned_branch_that_does_not_fence_the_main_line_is_dropped_too() {
    let (mut main, mut branch, order) = ordered();
    branch.close("S2", SATURDAY_2300);
    // Cut off, the primary held its own session 3.
    main.start("S3", SATURDAY_2300);
    main.done(&node(), adopt(&order, Found::OnMainLine));
    assert_eq!(main.state.unplanned().count(), 1);
    promoted(&mut main);
    assert_eq!(main.state.unplanned().count(), 0);
    assert_eq!(plan(&main).phase, Phase::Abandoned);
    main.done(&node(), seal(&branch.evidence()));
    assert_eq!(main.state.holds().count(), 1);
    assert_eq!(current(&main), Some(session("S3")), "that one goes on");
}

#[test]
fn an_order_that_the_new_main_line_hears_of_late_is_dropped_and_its_evidence_sealed_r41() {
    for begun in [false, true] {
        let (mut main, mut branch, order) = ordered();
        main.now = SATURDAY_2200.plus(10 * MINUTE);
        promoted(&mut main);
        if begun {
            // By the timetable, before anybody said that a branch ran.
            main.done(&node(), start());
        }
        main.done(&node(), adopt(&order, Found::OnMainLine));
        assert_eq!(plan(&main).phase, Phase::Abandoned);
        if !begun {
            main.done(&node(), start());
        }
        assert_eq!(current(&main), Some(session("S2")), "it goes on");
        branch.close("S2", SATURDAY_2200.plus(11 * MINUTE));
        main.done(&node(), seal(&branch.evidence()));
        assert_eq!(main.state.holds().count(), 1);
        assert!(plan(&main).unplanned.is_some());
        main.close("S2", SATURDAY_2300);
        assert_eq!(current(&main), None);
    }
}
