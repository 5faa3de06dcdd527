//! Initiation and the changes that people make, through `apply`.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use crate::world::*;
use domain::account::Stage;
use domain::change::{self, Act, Reason, StepUpProof};
use domain::factor::{CodeProof, NewChannel, Verdict};
use domain::initiation::{Command as Initiate, SecondProof, Setting};
use domain::outcome::Result as Came;
use domain::portal::LandingOption;
use domain::{Answer, Carry, Command, ProcedureId, Rejection};

const CARRIED: Came = Came::Done(Answer::Changed {
    carry: Carry::CarriedForward,
});
const REJECTED: Came = Came::FailedAttempt(Answer::CredentialsRejected);

fn request(world: &mut World, who: &str) -> Answer {
    let subject = world.subject(who);
    let code = Some(sealed("activation"));
    world.done(
        &front(),
        Command::Initiation(Initiate::Request { subject, code }),
    )
}

fn begin(world: &mut World, who: &str, code_matched: bool, second: SecondProof) -> Came {
    let procedure = ProcedureId(world.next_id());
    let subject = world.subject(who);
    let command = Command::Initiation(Initiate::Begin {
        procedure,
        serial: world.serial(who),
        subject,
        address: None,
        code_matched,
        second,
        setting: Setting::Channel(NewChannel::Authenticator {
            seed: sealed("seed"),
        }),
    });
    world.ask(&front(), command).result
}

#[test]
fn initiation_sets_password_and_channel_at_once_r30_r31() {
    for (who, by_mail) in [("AU1", false), ("AU2", true), ("AU3", true), ("AD1", false)] {
        let mut world = World::in_session_1();
        assert_eq!(world.initiate(who, "first", by_mail).result, CARRIED);
        assert!(world.state.account(&id(who)).unwrap().otp.is_some());
    }
}

#[test]
fn initiation_leaves_the_cards_password_alone_r3() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    let card = world.login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    assert!(issued(&card));
    assert_eq!(
        world.state.account(&id("AU1")).unwrap().stage(),
        Stage::Initiated
    );
}

#[test]
fn an_account_without_e_mail_gets_the_answer_that_everyone_gets_r8() {
    let mut world = World::in_session_1();
    let send = |answer| match answer {
        Answer::ActivationNoted { send_code } => send_code,
        other => panic!("{other:?}"),
    };
    // `send_code` is the edge's; the caller is told the same whatever it is.
    assert!(send(request(&mut world, "AU1")));
    assert!(!send(request(&mut world, "AU4")));
    let second = SecondProof::IssuedHalf { matched: true };
    assert_eq!(begin(&mut world, "AU4", true, second), REJECTED);
    assert_eq!(
        world.state.account(&id("AU4")).unwrap().stage(),
        Stage::NoEmail
    );
}

#[test]
fn the_mailed_code_alone_never_initiates_s24() {
    let mut world = World::in_session_1();
    request(&mut world, "AU1");
    let wrong_card = SecondProof::CardPassword(Verdict::Wrong);
    assert_eq!(begin(&mut world, "AU1", true, wrong_card), REJECTED);
    // Who has a card cannot do with the half by voice.
    let half = SecondProof::IssuedHalf { matched: true };
    assert_eq!(begin(&mut world, "AU1", true, half), REJECTED);
    request(&mut world, "AU3");
    let no_half = SecondProof::IssuedHalf { matched: false };
    assert_eq!(begin(&mut world, "AU3", true, no_half), REJECTED);
    // A half that nobody issued is none.
    let unissued = SecondProof::IssuedHalf { matched: true };
    assert_eq!(begin(&mut world, "AU3", true, unissued), REJECTED);
    // Nor does the card's password without the code.
    let right = SecondProof::CardPassword(world.verdict(
        "AU1",
        domain::factor::Method::Smartcard,
        "friday",
    ));
    assert_eq!(begin(&mut world, "AU1", false, right), REJECTED);
    assert!(world.state.accounts().all(|account| account.otp.is_none()));
}

#[test]
fn an_hour_has_three_activation_codes() {
    let mut world = World::in_session_1();
    let sent = (0..5)
        .filter(|_| request(&mut world, "AU1") == Answer::ActivationNoted { send_code: true })
        .count();
    assert_eq!(sent, 3);
    world.at(world.now.plus(HOUR));
    assert_eq!(
        request(&mut world, "AU1"),
        Answer::ActivationNoted { send_code: true }
    );
}

#[test]
fn a_second_initiation_is_none() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    let before = world.state.account(&id("AU1")).cloned();
    assert_eq!(world.initiate("AU1", "second", false).result, REJECTED);
    assert_eq!(world.state.account(&id("AU1")).cloned(), before);
}

#[test]
fn a_password_change_is_of_the_tokens_method() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    let token = *world.tokens.last().unwrap();
    let wrong = world.change_password(token, "first", "new", Reason::Routine);
    assert_eq!(wrong.result, REJECTED);
    let right = world.change_password(token, "friday", "new", Reason::Routine);
    assert_eq!(right.result, CARRIED);
    world.at(world.now.plus(MINUTE));
    assert!(issued(&world.login(
        "AU1",
        LandingOption::OtpOnline,
        "first"
    )));
    assert!(!issued(&world.login(
        "AU1",
        LandingOption::SmartcardOnlineAndReports,
        "friday"
    )));
}

#[test]
fn a_channel_is_replaced_after_a_step_up_alone_s19() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.at(world.now.plus(MINUTE));
    world.login("AU1", LandingOption::OtpOnline, "first");
    let token = *world.tokens.last().unwrap();
    let procedure = ProcedureId(world.next_id());
    let begin = |verdict, step_up, procedure| {
        Command::Change(change::Command::BeginReplacement {
            procedure,
            token,
            step_up,
            verdict,
            channel: NewChannel::Authenticator {
                seed: sealed("new"),
            },
            reason: Reason::Routine,
        })
    };
    let right = world.verdict("AU1", domain::factor::Method::Otp, "first");
    let without = begin(right, ProcedureId([0; 16]), procedure);
    assert_eq!(world.rejected(&front(), without), Rejection::StepUpRequired);
    // A step-up that was not verified is none.
    let step_up = ProcedureId(world.next_id());
    world.done(
        &front(),
        Command::Change(change::Command::BeginStepUp {
            procedure: step_up,
            token,
            act: Act::ReplaceChannel,
            code: None,
            nonce: [0; 16],
        }),
    );
    let unverified = begin(right, step_up, procedure);
    assert_eq!(
        world.rejected(&front(), unverified),
        Rejection::StepUpRequired
    );
    // The login's own code does not verify it.
    let used = world.ask(
        &front(),
        Command::Change(change::Command::VerifyStepUp {
            procedure: step_up,
            token,
            proof: StepUpProof::Code(CodeProof::Step(Some(domain::totp::step(world.now)))),
        }),
    );
    assert_eq!(used.result, REJECTED);
    world.at(world.now.plus(MINUTE));
    assert_eq!(
        world
            .replace_channel(token, "first", Reason::Routine)
            .result,
        CARRIED
    );
}

#[test]
fn a_change_ends_the_other_tokens_of_the_account() {
    let mut world = World::in_session_1();
    for _ in 0..2 {
        world.login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    }
    let (other, own) = (world.tokens[0], world.tokens[1]);
    world.change_password(own, "friday", "new", Reason::Routine);
    assert!(world.state.tokens().get(&other, world.now).is_none());
    assert!(world.state.tokens().get(&own, world.now).is_some());
}

#[test]
fn a_wait_that_strangers_caused_is_not_the_persons_failure_s13() {
    let mut world = World::in_session_1();
    let card = LandingOption::SmartcardOnlineAndReports;
    world.login("AU1", card, "friday");
    let token = world.tokens[0];
    for _ in 0..domain::attempts::FREE_FAILURES {
        world.begin_login("AU1", card, "guess");
    }
    let before = world.state.account(&id("AU1")).cloned();
    let outcome = world.change_password(token, "friday", "new", Reason::Routine);
    assert!(matches!(
        outcome.result,
        Came::Rejected(Rejection::RateLimited { .. })
    ));
    assert_eq!(world.state.account(&id("AU1")).cloned(), before);
}

#[test]
fn a_wait_is_told_only_after_the_mailed_code_s23() {
    let mut world = World::in_session_1();
    let card = LandingOption::SmartcardOnlineAndReports;
    for _ in 0..domain::attempts::FREE_FAILURES {
        world.begin_login("AU1", card, "guess");
    }
    request(&mut world, "AU1");
    let before = world.state.account(&id("AU1")).cloned();
    let guess = || SecondProof::CardPassword(Verdict::Wrong);
    // As for an account that does not exist, and without a trace in the account.
    assert_eq!(begin(&mut world, "AU1", false, guess()), REJECTED);
    assert_eq!(world.state.account(&id("AU1")).cloned(), before);
    assert!(matches!(
        begin(&mut world, "AU1", true, guess()),
        Came::Rejected(Rejection::RateLimited { .. })
    ));
    assert_eq!(world.state.account(&id("AU1")).cloned(), before);
}

#[test]
fn a_wrong_mailed_code_counts_no_failure_of_the_card_s13() {
    let mut world = World::in_session_1();
    request(&mut world, "AU1");
    let before = world.state.account(&id("AU1")).cloned();
    let guess = || SecondProof::CardPassword(Verdict::Wrong);
    for _ in 0..domain::initiation::TRIES_MAX {
        assert_eq!(begin(&mut world, "AU1", false, guess()), REJECTED);
    }
    assert_eq!(world.state.account(&id("AU1")).cloned(), before);
    // The code has had its tries, and is good for nothing.
    let right = SecondProof::CardPassword(world.verdict(
        "AU1",
        domain::factor::Method::Smartcard,
        "friday",
    ));
    assert_eq!(begin(&mut world, "AU1", true, right), REJECTED);
}

#[test]
fn an_initiation_begun_before_a_revocation_does_not_come_to_an_end() {
    let mut world = World::in_session_1();
    request(&mut world, "AU1");
    let second = SecondProof::CardPassword(world.verdict(
        "AU1",
        domain::factor::Method::Smartcard,
        "friday",
    ));
    assert!(matches!(
        begin(&mut world, "AU1", true, second),
        Came::Done(_)
    ));
    let stale = world.log.last().cloned().unwrap().1;
    let Command::Initiation(Initiate::Begin { procedure, .. }) = stale.command else {
        panic!("{stale:?}");
    };
    world.at(world.now.plus(MINUTE));
    assert_eq!(world.initiate("AU1", "second", false).result, CARRIED);
    world.revoke_otp("AU1");
    world.at(world.now.plus(MINUTE));
    let confirm = Command::Initiation(Initiate::Confirm {
        procedure,
        proof: CodeProof::Step(Some(domain::totp::step(world.now))),
        password: Some(sealed("stale")),
    });
    assert_eq!(world.rejected(&front(), confirm), Rejection::ProcedureEnded);
}
