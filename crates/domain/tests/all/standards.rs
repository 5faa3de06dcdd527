//! Lines of the standards that only the whole of an account's life shows (docs/rules/STANDARDS.md).
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::world::*;
use domain::account;
use domain::attempts::FREE_FAILURES;
use domain::factor::{ChannelKind, CodeProof, Method};
use domain::login::{self, Proof};
use domain::outcome::Result as Came;
use domain::policy::Policy;
use domain::portal::{LANDING_OPTIONS, LandingOption, Portal};
use domain::{Answer, Command, LoginId, Rejection, State};

const REJECTED: Came = Came::FailedAttempt(Answer::CredentialsRejected);

fn resend(world: &mut World, login: LoginId) -> Came {
    let command = Command::Login(login::Command::Resend {
        login,
        code: Some(sealed("another code")),
    });
    world.ask(&front(), command).result
}

/// The login that was begun last.
fn latest(world: &World) -> LoginId {
    let begun = world.log.iter().rev().find_map(|(_, envelope)| {
        if let Command::Login(login::Command::Begin { login, .. }) = &envelope.command {
            return Some(*login);
        }
        None
    });
    begun.unwrap()
}

#[test]
fn a_code_sent_again_leaves_the_failures_as_they_were_s11() {
    let mut world = World::in_session_1();
    world.initiate("AU2", "first", true);
    world.begin_login("AU2", LandingOption::OtpOnline, "first");
    let login = latest(&world);
    let wrong = Proof::Code(CodeProof::Mailed { matched: false });
    assert_eq!(world.verify_login(wrong).result, REJECTED);
    let failures = |world: &World| {
        let account = world.state.account(&id("AU2")).unwrap();
        account.otp.as_ref().unwrap().failures
    };
    assert_eq!(failures(&world), 1);
    let tries = world.state.login(&login, world.now).unwrap().tries;
    assert!(matches!(resend(&mut world, login), Came::Done(_)));
    assert_eq!(failures(&world), 1);
    assert_eq!(
        world.state.login(&login, world.now).unwrap().tries,
        tries,
        "of the login too"
    );
}

#[test]
fn counters_are_in_every_snapshot_s14() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    for _ in 0..FREE_FAILURES {
        world.begin_login("AU1", LandingOption::OtpOnline, "wrong");
    }
    let waits = |state: &State| {
        state
            .account(&id("AU1"))
            .unwrap()
            .wait_until(Method::Otp, None, world.now)
    };
    assert!(waits(&world.state).is_some());
    let restored = State::from_rows(world.state.rows()).unwrap();
    assert_eq!(waits(&restored), waits(&world.state));
    assert_eq!(restored.digests(), world.state.digests());
}

#[test]
fn a_founded_cluster_has_no_account_s27() {
    let mut world = World::empty();
    let founding = Box::new(founding());
    world.done(
        &node(),
        Command::Cluster(domain::cluster::Command::Found(founding)),
    );
    assert_eq!(world.state.accounts().count(), 0);
    assert_eq!(world.state.participants().count(), 0);
}

#[test]
fn a_token_ends_when_idle_at_its_session_s_end_and_never_later_than_policy_s31() {
    let mut world = World::in_session_1();
    let policy = world.state.policy().clone();
    assert_eq!(policy.token_idle_ms, 15 * MINUTE);
    let token = world.card_token("AU1");
    let live = |world: &World, at| world.state.tokens().get(&token, at).is_some();
    assert!(live(&world, world.now.plus(policy.token_idle_ms - 1)));
    assert!(!live(&world, world.now.plus(policy.token_idle_ms)));
    let held = world.state.tokens().get(&token, world.now).unwrap();
    assert_eq!(held.ends_at, SATURDAY_2000);
    for (life_ms, idle_ms) in [(24 * HOUR + 1, HOUR), (24 * HOUR, HOUR + 1), (0, HOUR)] {
        let policy = Policy {
            token_life_ms: life_ms,
            token_idle_ms: idle_ms,
            ..Policy::default()
        };
        assert_eq!(policy.problems().len(), 1, "{life_ms} {idle_ms}");
    }
}

#[test]
fn an_administrator_ends_the_tokens_of_its_own_firm_s_users_s33() {
    let mut world = World::in_session_1();
    let admin = world.card_token("AD1");
    let tokens = [world.card_token("AU1"), world.card_token("AU1")];
    let other = world.card_token("BU1");
    let end = |who: &str, token| {
        Command::Account(account::Command::EndTokens {
            account: id(who),
            one: None,
            token,
            reason: String::new(),
        })
    };
    let done = world.done(&front(), end("AU1", Some(admin)));
    assert_eq!(done, Answer::TokensEnded { count: 2 });
    for token in tokens {
        assert!(world.state.tokens().get(&token, world.now).is_none());
    }
    let refused = world.rejected(&front(), end("BU1", Some(admin)));
    assert_eq!(refused, Rejection::OtherParticipant);
    assert!(world.state.tokens().get(&other, world.now).is_some());
    let done = world.done(&operator("ann"), end("BU1", None));
    assert_eq!(done, Answer::TokensEnded { count: 1 });
}

#[test]
fn two_passwords_are_never_two_factors_s38() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    for (option, password) in [
        (LandingOption::SmartcardOnlineAndReports, "friday"),
        (LandingOption::OtpOnline, "first"),
    ] {
        // What the other method has is no second factor of this one.
        let card = domain::CardNumber::parse("CARD-AU1").unwrap();
        let step = domain::totp::step(world.now);
        let other = match option.method() {
            Method::Smartcard => Proof::Code(CodeProof::Step(Some(step))),
            Method::Otp => Proof::Card(Some(domain::factor::CardProof::bare(card))),
        };
        for proof in [Proof::None, other] {
            world.begin_login("AU1", option, password);
            assert_eq!(world.verify_login(proof).result, REJECTED);
        }
    }
}

#[test]
fn each_token_records_the_channel_of_its_one_time_password_s40() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.initiate("AU2", "first", true);
    world.at(world.now.plus(MINUTE));
    let channel = |world: &mut World, who: &str, option, password: &str| {
        assert!(issued(&world.login(who, option, password)), "{who}");
        let token = *world.tokens.last().unwrap();
        world.state.tokens().get(&token, world.now).unwrap().channel
    };
    let app = channel(&mut world, "AU1", LandingOption::OtpOnline, "first");
    assert_eq!(app, Some(ChannelKind::Authenticator));
    let mail = channel(&mut world, "AU2", LandingOption::OtpOnline, "first");
    assert_eq!(mail, Some(ChannelKind::Email));
    let card = LandingOption::SmartcardOnlineAndReports;
    assert_eq!(channel(&mut world, "AU1", card, "friday"), None);
}

#[test]
fn every_way_in_slows_guessing_alike_s37() {
    let mut waits = Vec::new();
    for option in LANDING_OPTIONS {
        let mut world = World::in_session_1();
        let who = match option.portal().class() {
            account::Class::User => "AU1",
            account::Class::DelegatedAdmin => "AD1",
        };
        world.initiate(who, "first", false);
        for _ in 0..FREE_FAILURES {
            let begun = world.begin_login(who, option, "wrong").result;
            assert!(matches!(begun, Came::FailedAttempt(_)), "{option:?}");
        }
        match world.begin_login(who, option, "first").result {
            Came::Rejected(Rejection::RateLimited { until }) => {
                waits.push(until.since(world.now));
            }
            other => panic!("{option:?}: {other:?}"),
        }
    }
    assert!(waits.iter().all(|wait| *wait == waits[0]), "{waits:?}");
}

#[test]
fn a_way_in_without_a_password_alone_is_on_offer_at_each_portal_s35() {
    for portal in [Portal::Ccms, Portal::Dms] {
        let by_card = LANDING_OPTIONS
            .iter()
            .any(|option| option.portal() == portal && option.method() == Method::Smartcard);
        assert!(
            by_card,
            "{portal:?}: the card's signature cannot be phished"
        );
    }
}
