//! Logins through `apply`.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use crate::world::*;
use domain::attempts::FREE_FAILURES;
use domain::audit::Kind;
use domain::factor::{CodeProof, Method, Verdict};
use domain::login::Proof;
use domain::outcome::{Functions, Result as Came};
use domain::portal::LandingOption;
use domain::{Answer, Carry, Rejection, totp};

fn issued_of(outcome: &domain::Outcome) -> &domain::outcome::Issued {
    match &outcome.result {
        Came::Done(Answer::TokenIssued(issued)) => issued,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_login_before_the_session_opens_is_refused_r15() {
    let mut world = World::founded();
    let outcome = world.login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    let next = Some((session("S1"), SATURDAY_1800));
    assert_eq!(
        outcome.result,
        Came::Rejected(Rejection::SessionClosed { next })
    );
}

#[test]
fn past_its_closing_time_a_session_serves_nobody_whatever_the_log_says_r15() {
    let mut world = World::in_session_1();
    world.at(domain::UnixMs(SATURDAY_2000.0 - 1));
    let in_time = world.login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    assert!(issued(&in_time));
    world.at(SATURDAY_2000);
    let late = world.begin_login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    assert!(matches!(
        late.result,
        Came::Rejected(Rejection::SessionClosed { .. })
    ));
}

#[test]
fn a_smartcard_login_opens_both_services_and_completes_the_test_r22_r27_r51() {
    let mut world = World::in_session_1();
    let outcome = world.login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    let told = issued_of(&outcome);
    assert_eq!(told.functions, Functions::NotAvailable);
    assert_eq!(told.carry, Carry::CarriedForward);
    assert!(told.initiation_required);
    let token = world
        .state
        .tokens()
        .get(&world.tokens[0], world.now)
        .unwrap();
    assert_eq!(token.scopes().len(), 2);
    let last = world.rows.last().unwrap();
    assert_eq!(last.kind, Kind::ConnectivityCompleted);
    assert_eq!(last.session, Some(session("S1")));
}

#[test]
fn a_da_completes_without_the_text_r28() {
    let mut world = World::in_session_1();
    let outcome = world.login("AD1", LandingOption::SmartcardSecurity, "friday");
    assert_eq!(issued_of(&outcome).functions, Functions::Completed);
    assert_eq!(world.rows.last().unwrap().kind, Kind::ConnectivityCompleted);
}

#[test]
fn classes_are_never_interchangeable_r50() {
    let mut world = World::in_session_1();
    let user = world.login("AU1", LandingOption::SmartcardSecurity, "friday");
    let wrong_portal = Came::FailedAttempt(Answer::Refused(Box::new(Rejection::WrongPortal)));
    assert_eq!(user.result, wrong_portal);
    let da = world.login("AD1", LandingOption::SmartcardOnlineAndReports, "friday");
    assert_eq!(da.result, wrong_portal);
    // With a wrong password nothing of the account is told.
    let guess = world.login("AD1", LandingOption::SmartcardOnlineAndReports, "guess");
    assert_eq!(
        guess.result,
        Came::FailedAttempt(Answer::CredentialsRejected)
    );
}

#[test]
fn a_used_code_is_rejected_s5() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.at(world.now.plus(MINUTE));
    assert!(issued(&world.login(
        "AU1",
        LandingOption::OtpOnline,
        "first"
    )));
    let before = world
        .state
        .account(&id("AU1"))
        .unwrap()
        .otp
        .clone()
        .unwrap();
    let again = world.login("AU1", LandingOption::OtpReports, "first");
    assert_eq!(
        again.result,
        Came::FailedAttempt(Answer::CredentialsRejected)
    );
    let after = world
        .state
        .account(&id("AU1"))
        .unwrap()
        .otp
        .clone()
        .unwrap();
    assert_eq!(before.channel, after.channel);
    assert_eq!(after.failures, 1);
}

#[test]
fn the_code_that_confirmed_is_no_login_code_s9() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    assert!(!issued(&world.login(
        "AU1",
        LandingOption::OtpOnline,
        "first"
    )));
    world.at(world.now.plus(totp::STEP_MS));
    assert!(issued(&world.login(
        "AU1",
        LandingOption::OtpOnline,
        "first"
    )));
}

#[test]
fn of_a_hundred_submissions_of_one_code_one_wins_s6() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.at(world.now.plus(MINUTE));
    let code = Proof::Code(CodeProof::Step(Some(totp::step(world.now))));
    let mut won = 0;
    for _ in 0..100 {
        world.begin_login("AU1", LandingOption::OtpOnline, "first");
        won += u32::from(issued(&world.verify_login(code.clone())));
    }
    assert_eq!(won, 1);
}

#[test]
fn a_code_failure_counts_only_after_the_right_password_s12() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    let failures = |world: &World| {
        let otp = world.state.account(&id("AU1")).unwrap().otp.clone();
        otp.unwrap().failures
    };
    world.begin_login("AU1", LandingOption::OtpOnline, "guess");
    world.verify_login(Proof::Code(CodeProof::Step(None)));
    assert_eq!(failures(&world), 0);
    world.begin_login("AU1", LandingOption::OtpOnline, "first");
    world.verify_login(Proof::Code(CodeProof::Step(None)));
    assert_eq!(failures(&world), 1);
    // A hundred disable the channel, and no time brings it back (S13).
    for _ in 0..99 {
        world.begin_login("AU1", LandingOption::OtpOnline, "first");
        world.verify_login(Proof::Code(CodeProof::Step(None)));
    }
    world.at(world.now.plus(HOUR));
    assert!(!issued(&world.login(
        "AU1",
        LandingOption::OtpOnline,
        "first"
    )));
}

#[test]
fn after_ten_failures_an_unknown_user_waits_like_a_known_one_s13_s23() {
    let mut world = World::in_session_1();
    let option = LandingOption::SmartcardOnlineAndReports;
    for _ in 0..FREE_FAILURES {
        world.begin_login("AU1", option, "guess");
    }
    let known = world.begin_login("AU1", option, "friday");
    let until = world.now.plus(MINUTE);
    assert_eq!(
        known.result,
        Came::Rejected(Rejection::RateLimited { until })
    );
    let unknown = domain::login::Subject::Unknown(domain::Digest::of("unknown", &[b"x"]));
    let mut last = None;
    for _ in 0..=FREE_FAILURES {
        let login = domain::LoginId(world.next_id());
        let command = domain::Command::Login(domain::login::Command::Begin {
            login,
            subject: unknown.clone(),
            option,
            address: None,
            verdict: domain::factor::Verdict::Wrong,
            code: None,
            nonce: [0; 16],
        });
        last = Some(world.ask(&front(), command).result);
    }
    assert_eq!(last, Some(Came::Rejected(Rejection::RateLimited { until })));
    world.at(until);
    assert!(issued(&world.login("AU1", option, "friday")));
}

#[test]
fn a_login_with_another_option_leaves_the_first_token_alive_r23() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.at(world.now.plus(MINUTE));
    assert!(issued(&world.login(
        "AU1",
        LandingOption::OtpOnline,
        "first"
    )));
    world.at(world.now.plus(MINUTE));
    assert!(issued(&world.login(
        "AU1",
        LandingOption::OtpReports,
        "first"
    )));
    let live: Vec<_> = world
        .state
        .tokens()
        .of(&id("AU1"), world.now)
        .map(|token| token.scopes())
        .collect();
    assert_eq!(live.len(), 2);
    assert!(live.iter().all(|scopes| scopes.len() == 1));
}

#[test]
fn a_token_is_its_front_ends_alone() {
    let mut world = World::in_session_1();
    world.login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    let token = world.tokens[0];
    let other = domain::Actor::FrontEnd(domain::FrontEndId::parse("other").unwrap());
    let end = domain::Command::Token(domain::token::Command::End {
        token,
        which: domain::token::Which::This,
    });
    assert_eq!(world.rejected(&other, end), Rejection::TokenEnded);
    world.end(token);
    assert!(world.state.tokens().get(&token, world.now).is_none());
}

#[test]
fn a_suspended_account_loses_its_tokens_and_its_logins_fail_alike_s23_s32() {
    let mut world = World::in_session_1();
    world.login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    world.login("AD1", LandingOption::SmartcardSecurity, "friday");
    let (user, da) = (world.tokens[0], world.tokens[1]);
    let outcome = world.suspend(&front(), Some(da), "AU1");
    assert!(matches!(outcome.result, Came::Done(_)), "{outcome:?}");
    assert!(world.state.tokens().get(&user, world.now).is_none());
    let login = world.login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    assert_eq!(
        login.result,
        Came::FailedAttempt(Answer::CredentialsRejected)
    );
}

#[test]
fn a_da_acts_on_its_own_participants_users_alone_r9() {
    let mut world = World::in_session_1();
    world.login("AD1", LandingOption::SmartcardSecurity, "friday");
    let da = world.tokens[0];
    for other in ["BU1", "AD2", "NOBODY"] {
        let before = world.state.digests().account;
        let outcome = world.suspend(&front(), Some(da), other);
        assert_eq!(outcome.result, Came::Rejected(Rejection::OtherParticipant));
        assert_eq!(world.state.digests().account, before);
    }
    world.login("AU2", LandingOption::SmartcardOnlineAndReports, "friday");
    let user = *world.tokens.last().unwrap();
    let outcome = world.suspend(&front(), Some(user), "AU1");
    assert_eq!(outcome.result, Came::Rejected(Rejection::NotAllowed));
}

fn login_of(envelope: &domain::Envelope) -> domain::LoginId {
    match &envelope.command {
        domain::Command::Login(domain::login::Command::Begin { login, .. }) => *login,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_resent_code_tells_nothing_of_the_password_s23() {
    let resends = |password: &str| {
        let mut world = World::in_session_1();
        world.initiate("AU2", "first", true);
        world.at(world.now.plus(MINUTE));
        world.begin_login("AU2", LandingOption::OtpOnline, password);
        let login = login_of(&world.log.last().unwrap().1);
        (0..4)
            .map(|_| {
                let code = Some(sealed("code"));
                let command = domain::login::Command::Resend { login, code };
                let outcome = world.ask(&front(), domain::Command::Login(command));
                matches!(outcome.result, Came::Done(_))
            })
            .collect::<Vec<bool>>()
    };
    assert_eq!(resends("first"), resends("guess"));
    assert_eq!(resends("first"), [true, true, false, false]);
}

#[test]
fn a_method_that_is_not_set_waits_like_one_that_is_s23() {
    let mut world = World::in_session_1();
    for _ in 0..FREE_FAILURES {
        world.begin_login("AU4", LandingOption::OtpOnline, "guess");
    }
    let outcome = world.begin_login("AU4", LandingOption::OtpOnline, "guess");
    let until = world.now.plus(MINUTE);
    assert_eq!(
        outcome.result,
        Came::Rejected(Rejection::RateLimited { until })
    );
    // The other method is another authenticator.
    let card = world.begin_login("AU4", LandingOption::SmartcardOnlineAndReports, "guess");
    assert!(matches!(card.result, Came::FailedAttempt(_)));
}

#[test]
fn an_open_login_does_not_outlive_its_password() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.at(world.now.plus(MINUTE));
    assert!(issued(&world.login(
        "AU1",
        LandingOption::OtpOnline,
        "first"
    )));
    let token = world.tokens[0];
    world.at(world.now.plus(MINUTE));
    world.begin_login("AU1", LandingOption::OtpOnline, "first");
    let login = login_of(&world.log.last().unwrap().1);
    world.change_password(token, "first", "second", domain::change::Reason::Routine);
    let verify = domain::login::Command::Verify {
        login,
        proof: Proof::Code(CodeProof::Step(Some(totp::step(world.now)))),
        codes: 1,
        token: domain::Digest::of("token", &[b"thief"]),
    };
    let outcome = world.ask(&front(), domain::Command::Login(verify));
    assert_eq!(
        outcome.result,
        Came::FailedAttempt(Answer::CredentialsRejected)
    );
}

#[test]
fn a_code_proved_at_the_wrong_portal_is_used_up_s5() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.at(world.now.plus(MINUTE));
    let wrong = world.login("AU1", LandingOption::OtpSecurity, "first");
    let told = Answer::Refused(Box::new(Rejection::WrongPortal));
    assert_eq!(wrong.result, Came::FailedAttempt(told));
    assert!(!issued(&world.login(
        "AU1",
        LandingOption::OtpOnline,
        "first"
    )));
}

#[test]
fn no_step_of_the_future_is_accepted_s8() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.at(world.now.plus(MINUTE));
    for ahead in [1, 1 << 40] {
        world.begin_login("AU1", LandingOption::OtpOnline, "first");
        let step = totp::step(world.now) + ahead;
        let code = Proof::Code(CodeProof::Step(Some(step)));
        assert!(!issued(&world.verify_login(code)), "{ahead} steps ahead");
    }
}

#[test]
fn a_suspended_persons_right_code_counts_as_no_failure() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.at(world.now.plus(MINUTE));
    world.suspend(&operator("ann"), None, "AU1");
    assert!(!issued(&world.login(
        "AU1",
        LandingOption::OtpOnline,
        "first"
    )));
    let otp = world.state.account(&id("AU1")).unwrap().otp.clone();
    assert_eq!(otp.unwrap().failures, 0);
}

#[test]
fn a_rehash_replaces_the_verifier_and_nothing_else_s21() {
    let mut world = World::in_session_1();
    let card = LandingOption::SmartcardOnlineAndReports;
    world.login("AU1", card, "friday");
    let token = *world.tokens.last().unwrap();
    let begun = world.begin_login("AU1", card, "friday");
    assert!(matches!(begun.result, Came::Done(_)));
    let before = world.state.account(&id("AU1")).cloned().unwrap();
    let right = world.verdict("AU1", Method::Smartcard, "friday");
    let done = world.rehash("AU1", Method::Smartcard, right, "anew");
    assert_eq!(done.result, Came::Done(Answer::Nothing));
    let mut expected = before;
    expected.card.as_mut().unwrap().password.verifier = sealed("anew");
    assert_eq!(world.state.account(&id("AU1")), Some(&expected));
    // Not a change of the password: tokens live on, logins under way come to their end, and
    // nothing is counted as changed.
    assert!(world.state.tokens().get(&token, world.now).is_some());
    let changes = world.rows.iter().filter(|row| row.is_change());
    assert_eq!(changes.count(), 1, "the import alone");
    let row = world.rows.last().unwrap();
    assert_eq!(row.kind, Kind::PasswordRehashed);
    assert_eq!(row.repeat, None);
}

#[test]
fn a_rehash_after_a_change_or_a_wrong_password_or_at_a_closed_line_is_refused_s21() {
    let mut world = World::in_session_1();
    let card = LandingOption::SmartcardOnlineAndReports;
    world.login("AU1", card, "friday");
    let token = *world.tokens.last().unwrap();
    let stale = world.verdict("AU1", Method::Smartcard, "friday");
    let routine = domain::change::Reason::Routine;
    world.change_password(token, "friday", "second", routine);
    let current = world.verdict("AU1", Method::Smartcard, "second");
    let before = world.state.digests().account;
    for (method, verdict) in [
        (Method::Smartcard, stale),
        (Method::Smartcard, Verdict::Wrong),
        (Method::Otp, current),
    ] {
        let refused = world.rehash("AU1", method, verdict, "friday anew");
        assert_eq!(refused.result, Came::Rejected(Rejection::ChangedSince));
    }
    world.close("S1", SATURDAY_2000);
    let refused = world.rehash("AU1", Method::Smartcard, current, "second anew");
    assert!(matches!(
        refused.result,
        Came::Rejected(Rejection::SessionClosed { .. })
    ));
    assert_eq!(world.state.digests().account, before);
}
