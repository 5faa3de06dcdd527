//! Mailed codes, and what stops guessing for good, through `apply` (S10, S12, S37).
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::net::{IpAddr, Ipv4Addr};

use crate::world::*;
use domain::account::Class;
use domain::attempts::{CONSECUTIVE_FAILURES_MAX, FREE_FAILURES, KNOWN_MAX};
use domain::change::{self, StepUpProof};
use domain::change_request::Act;
use domain::factor::{CodeProof, Method, NewChannel, Verdict};
use domain::initiation::{Command as Initiate, SecondProof, Setting};
use domain::login::{self, Proof, TRIES_MAX};
use domain::outcome::Result as Came;
use domain::policy::Policy;
use domain::portal::{LANDING_OPTIONS, LandingOption};
use domain::{Answer, Command, Outcome, ProcedureId, Rejection};

const REJECTED: Came = Came::FailedAttempt(Answer::CredentialsRejected);
const ENDED: Came = Came::Rejected(Rejection::ProcedureEnded);
const MAILED: Proof = Proof::Code(CodeProof::Mailed { matched: true });

/// In session 1, with AU2 initiated by e-mail and codes that live for a minute.
fn with_short_codes() -> World {
    let mut world = World::in_session_1();
    world.set_policy(Policy {
        code_life_ms: MINUTE,
        login_life_ms: 10 * MINUTE,
        ..Policy::default()
    });
    assert!(matches!(
        world.initiate("AU2", "first", true).result,
        Came::Done(_)
    ));
    world
}

fn opened(world: &mut World) -> domain::LoginId {
    let (login, begun) = world.open_login("AU2", LandingOption::OtpOnline, "first", None);
    assert!(
        matches!(
            begun.result,
            Came::Done(Answer::LoginOpened {
                send_code: true,
                ..
            })
        ),
        "{begun:?}"
    );
    login
}

#[test]
fn a_mailed_code_runs_out_before_its_login_and_another_takes_its_place_s10() {
    let mut world = with_short_codes();
    let login = opened(&mut world);
    let sent = world.now;
    let mut in_time = world.clone();
    in_time.at(sent.plus(MINUTE - 1));
    assert!(issued(&in_time.end_login(login, MAILED, 1)));
    world.at(sent.plus(MINUTE));
    assert_eq!(world.end_login(login, MAILED, 1).result, REJECTED);
    let resend = Command::Login(login::Command::Resend {
        login,
        code: Some(sealed("another")),
    });
    world.done(&front(), resend);
    // The edge's verdict was on the code before.
    assert_eq!(world.end_login(login, MAILED, 1).result, REJECTED);
    assert!(issued(&world.end_login(login, MAILED, 2)));
}

#[test]
fn a_mailed_code_counts_once_s10() {
    let mut world = with_short_codes();
    let [first, second] = [opened(&mut world), opened(&mut world)];
    assert!(issued(&world.end_login(first, MAILED, 1)));
    assert_eq!(world.end_login(first, MAILED, 1).result, ENDED);
    // One login's end is not the other's.
    assert!(issued(&world.end_login(second, MAILED, 1)));
}

#[test]
fn a_code_that_was_mailed_for_a_step_up_or_a_new_channel_runs_out_s10() {
    let mut world = World::in_session_1();
    world.set_policy(Policy {
        code_life_ms: MINUTE,
        step_up_life_ms: 2 * MINUTE,
        ..Policy::default()
    });
    world.initiate("AU2", "first", true);
    assert!(issued(&world.login(
        "AU2",
        LandingOption::OtpOnline,
        "first"
    )));
    let token = *world.tokens.last().unwrap();
    let procedure = ProcedureId(world.next_id());
    let begin = Command::Change(change::Command::BeginStepUp {
        procedure,
        token,
        act: change::Act::ReplaceChannel,
        code: Some(sealed("step-up")),
        nonce: [2; 16],
    });
    world.done(&front(), begin);
    let sent = world.now;
    let verify = |world: &mut World| {
        let proof = StepUpProof::Code(CodeProof::Mailed { matched: true });
        let command = Command::Change(change::Command::VerifyStepUp {
            procedure,
            token,
            proof,
        });
        world.ask(&front(), command).result
    };
    let mut late = world.clone();
    late.at(sent.plus(2 * MINUTE));
    assert_eq!(verify(&mut late), ENDED);
    world.at(sent.plus(2 * MINUTE - 1));
    assert!(matches!(verify(&mut world), Came::Done(_)));

    let replacement = ProcedureId(world.next_id());
    let version = match world.verdict("AU2", Method::Otp, "first") {
        Verdict::Right { version } => version,
        Verdict::Wrong => panic!("it is the password"),
    };
    let begin = Command::Change(change::Command::BeginReplacement {
        procedure: replacement,
        token,
        step_up: procedure,
        verdict: Verdict::Right { version },
        channel: NewChannel::Email {
            code: sealed("proof"),
        },
        reason: change::Reason::Routine,
    });
    world.done(&front(), begin);
    world.at(world.now.plus(MINUTE));
    let confirm = Command::Change(change::Command::ConfirmReplacement {
        procedure: replacement,
        token,
        proof: CodeProof::Mailed { matched: true },
    });
    assert_eq!(world.ask(&front(), confirm).result, ENDED);
}

#[test]
fn no_policy_lets_a_mailed_code_live_for_more_than_ten_minutes_s10() {
    let most = 10 * MINUTE;
    let ten = Policy {
        code_life_ms: most,
        login_life_ms: most,
        step_up_life_ms: most,
        ..Policy::default()
    };
    let mut world = World::in_session_1();
    for longer in [
        Policy {
            code_life_ms: most + 1,
            ..ten.clone()
        },
        Policy {
            login_life_ms: most + 1,
            ..ten.clone()
        },
        Policy {
            step_up_life_ms: most + 1,
            ..ten.clone()
        },
    ] {
        let before = world.state.policy().clone();
        let command = Command::SetPolicy {
            policy: longer,
            seen: None,
        };
        let refused = world.rejected(&operator("ann"), command);
        assert!(matches!(refused, Rejection::BadValues(_)), "{refused:?}");
        assert_eq!(*world.state.policy(), before);
    }
    world.set_policy(ten.clone());
    assert_eq!(*world.state.policy(), ten);
}

fn given(world: &mut World, who: &str, act: Act) {
    let class = world.state.account(&id(who)).unwrap().class;
    let two = match class {
        Class::DelegatedAdmin => ["ann", "ben"].map(|name| (operator(name), None)),
        Class::User => ["AD1", "AD2"].map(|name| (front(), Some(world.card_token(name)))),
    };
    let [(maker, mine), (checker, other)] = two;
    let (request, made) = world.make(&maker, mine, who, act);
    assert!(matches!(made.result, Came::Done(_)), "{made:?}");
    let approved = world.approve_change(&checker, other, request);
    assert!(matches!(approved.result, Came::Done(_)), "{approved:?}");
}

#[test]
fn a_disabled_channel_comes_back_by_binding_anew_and_by_nothing_else_s12() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    let wrong = || Proof::Code(CodeProof::Step(None));
    let mut left = CONSECUTIVE_FAILURES_MAX;
    while left > 0 {
        let (login, _) = world.open_login("AU1", LandingOption::OtpOnline, "first", None);
        for _ in 0..u32::from(TRIES_MAX).min(left) {
            assert_eq!(world.end_login(login, wrong(), 1).result, REJECTED);
            left -= 1;
        }
    }
    let enter = |world: &mut World| world.enter("AU1", LandingOption::OtpOnline, "first", None);
    assert_eq!(enter(&mut world).result, REJECTED, "the right code");
    // Time does not bring it back, nor does whoever unlocks the password.
    world.at(world.now.plus(HOUR));
    assert_eq!(enter(&mut world).result, REJECTED);
    let unlock = Act::Unlock(Method::Otp);
    let maker = world.card_token("AD1");
    let (_, made) = world.make(&front(), Some(maker), "AU1", unlock);
    assert_eq!(made.result, Came::Rejected(Rejection::AlreadySo));

    given(&mut world, "AU1", Act::ResetChannel);
    let request = Initiate::Request {
        subject: world.subject("AU1"),
        code: Some(sealed("activation")),
    };
    world.done(&front(), Command::Initiation(request));
    let procedure = ProcedureId(world.next_id());
    let begin = Initiate::Begin {
        procedure,
        subject: world.subject("AU1"),
        address: None,
        serial: world.serial("AU1"),
        code_matched: true,
        second: SecondProof::CurrentPassword(world.verdict("AU1", Method::Otp, "first")),
        setting: Setting::Channel(NewChannel::Authenticator {
            seed: sealed("another seed"),
        }),
    };
    world.done(&front(), Command::Initiation(begin));
    let confirm = Initiate::Confirm {
        procedure,
        proof: CodeProof::Step(Some(domain::totp::step(world.now))),
        password: None,
    };
    world.done(&front(), Command::Initiation(confirm));
    let otp = world.state.account(&id("AU1")).unwrap().otp.clone();
    assert_eq!(otp.unwrap().failures, 0);
    assert!(issued(&enter(&mut world)));
}

/// The addresses from which somebody's password was right lately, each with a count of its own, and
/// the strangers' one.
fn addresses() -> Vec<Option<IpAddr>> {
    let known = (1..=KNOWN_MAX).map(|number| {
        let last = u8::try_from(number).unwrap();
        Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
    });
    known.chain([None]).collect()
}

fn fails(world: &mut World, who: &str, option: LandingOption, address: Option<IpAddr>) {
    let (_, begun) = world.open_login(who, option, "wrong", address);
    assert!(matches!(begun.result, Came::FailedAttempt(_)), "{begun:?}");
}

#[test]
fn every_way_in_is_locked_by_a_hundred_failures_and_unlocked_by_two_people_s12_s37() {
    for option in LANDING_OPTIONS {
        let mut world = World::in_session_1();
        let (who, password) = match (option.portal().class(), option.method()) {
            (Class::User, Method::Smartcard) => ("AU1", "friday"),
            (Class::User, Method::Otp) => ("AU1", "first"),
            (Class::DelegatedAdmin, Method::Smartcard) => ("BD1", "friday"),
            (Class::DelegatedAdmin, Method::Otp) => ("BD1", "first"),
        };
        world.initiate(who, "first", false);
        let addresses = addresses();
        for address in addresses.iter().filter(|address| address.is_some()) {
            let entered = world.enter(who, option, password, *address);
            assert!(issued(&entered), "{option:?}: {entered:?}");
        }
        let mut count = 0;
        for address in &addresses {
            for _ in 0..FREE_FAILURES {
                fails(&mut world, who, option, *address);
                count += 1;
            }
        }
        let mut wait = MINUTE;
        while count < CONSECUTIVE_FAILURES_MAX {
            world.at(world.now.plus(wait));
            wait *= 2;
            for address in &addresses {
                if count < CONSECUTIVE_FAILURES_MAX {
                    fails(&mut world, who, option, *address);
                    count += 1;
                }
            }
        }
        world.at(world.now.plus(HOUR / 4));
        for address in &addresses {
            let entered: Outcome = world.enter(who, option, password, *address);
            assert_eq!(entered.result, REJECTED, "{option:?} from {address:?}");
        }
        given(&mut world, who, Act::Unlock(option.method()));
        let entered = world.enter(who, option, password, None);
        assert!(issued(&entered), "{option:?}: {entered:?}");
    }
}
