//! The whole life of accounts over random sequences of what people, administrators, operators and
//! strangers try: no sequence lets an ended secret in, initiates by the mailed code alone, or leaves
//! look-ups that contradict the accounts.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};

use crate::world::*;
use domain::account::Class;
use domain::change::Reason;
use domain::change_request::Act;
use domain::factor::{Method, NewChannel, Verdict};
use domain::initiation::{Command as Initiate, SecondProof, Setting};
use domain::portal::LandingOption;
use domain::{Command, Digest, ProcedureId};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

const USERS: [&str; 4] = ["AU1", "AU2", "AU3", "AU4"];
const PASSWORDS: [&str; 3] = ["friday", "first", "second"];

/// What is known of the people from what was carried out, apart from the state.
#[derive(Default)]
struct Known {
    /// The password that counts, by account and method.
    passwords: BTreeMap<(String, Method), String>,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    what: u8,
    who: usize,
    how: usize,
}

fn done(outcome: &domain::Outcome) -> bool {
    matches!(outcome.result, domain::outcome::Result::Done(_))
}

/// A stranger who has the mailed code, and nothing that goes with it.
fn with_the_mailed_code_alone(world: &mut World, who: &str, second: SecondProof) -> bool {
    let subject = world.subject(who);
    world.ask(
        &front(),
        Command::Initiation(Initiate::Request {
            subject: subject.clone(),
            code: Some(sealed("activation")),
        }),
    );
    let procedure = ProcedureId(world.next_id());
    let begun = world.ask(
        &front(),
        Command::Initiation(Initiate::Begin {
            procedure,
            serial: world.serial(who),
            subject,
            address: None,
            code_matched: true,
            second,
            setting: Setting::Channel(NewChannel::Authenticator {
                seed: sealed("a stranger's seed"),
            }),
        }),
    );
    done(&begun)
}

fn carry_out(world: &mut World, known: &mut Known, admins: [Digest; 2], step: Step) {
    let who = USERS[step.who % USERS.len()];
    let password = PASSWORDS[step.how % PASSWORDS.len()];
    let otp = (who.to_owned(), Method::Otp);
    let latest = *world.tokens.last().unwrap();
    match step.what {
        0 | 1 => {
            if done(&world.initiate(who, password, step.how.is_multiple_of(2))) {
                known.passwords.insert(otp, password.to_owned());
            }
        }
        2 => {
            let token = world.state.tokens().get(&latest, world.now).cloned();
            let current = PASSWORDS[(step.how + 1) % PASSWORDS.len()];
            let changed = world.change_password(latest, current, password, Reason::Routine);
            if let (true, Some(token)) = (done(&changed), token) {
                let place = (token.account.as_str().to_owned(), token.method());
                known.passwords.insert(place, password.to_owned());
            }
        }
        3 => {
            if done(&world.revoke_otp(who)) {
                known.passwords.remove(&otp);
            }
        }
        4 => drop(world.suspend(&front(), Some(admins[0]), who)),
        5..=9 => {
            let act = match step.how % 6 {
                0 => Act::Resume,
                1 => Act::ResetPassword,
                2 => Act::ResetChannel,
                3 => Act::ResetBoth,
                4 => Act::Unlock(Method::Otp),
                _ => Act::SetEmail(format!("{who}{}@example.com", step.what)),
            };
            let (request, _) = world.make(&front(), Some(admins[0]), who, act.clone());
            let approved = world.approve_change(&front(), Some(admins[1]), request);
            if done(&approved) && matches!(act, Act::ResetPassword | Act::ResetBoth) {
                known.passwords.remove(&otp);
            }
        }
        10 => {
            let (request, _) = world.make(&front(), Some(admins[0]), who, Act::Delete);
            if done(&world.approve_change(&front(), Some(admins[1]), request)) {
                known.passwords.retain(|(account, _), _| account != who);
            }
        }
        _ => world.at(world.now.plus(MINUTE)),
    }
}

/// Every password that was ever in use, tried by both ways in: only the one that counts may work.
fn no_ended_password_works(world: &World, known: &Known) -> TestCaseResult {
    for who in USERS {
        for option in [
            LandingOption::SmartcardOnlineAndReports,
            LandingOption::OtpOnline,
        ] {
            for password in PASSWORDS {
                let mut tried = world.clone();
                if issued(&tried.login(who, option, password)) {
                    let counts = known.passwords.get(&(who.to_owned(), option.method()));
                    prop_assert_eq!(counts.map(String::as_str), Some(password), "{}", who);
                }
            }
        }
    }
    Ok(())
}

/// What the look-ups say is what the accounts say.
fn look_ups_are_true(world: &World) -> TestCaseResult {
    let mut cards = BTreeSet::new();
    for account in world.state.accounts() {
        if let Some(card) = &account.card {
            prop_assert!(
                cards.insert(card.number.clone()),
                "two accounts have one card"
            );
            let owner = world.state.account_of_card(&card.number);
            prop_assert_eq!(owner.map(|owner| &owner.id), Some(&account.id));
        }
        let live = world.state.tokens().of(&account.id, world.now).count();
        prop_assert!(account.active() || live == 0, "{} has tokens", account.id);
        if account.deleted() {
            prop_assert!(account.email.is_none() && account.card.is_none());
            prop_assert!(account.otp.is_none() && account.title.is_empty());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn no_sequence_lets_an_ended_secret_in_or_initiates_by_the_mailed_code_alone(
        steps in prop::collection::vec((0_u8..13, 0_usize..4, 0_usize..12), 1..40)
    ) {
        let mut world = World::in_session_1();
        let mut known = Known::default();
        for who in USERS {
            let account = world.state.account(&id(who)).unwrap();
            prop_assert_eq!(account.class, Class::User);
            if account.card.is_some() {
                let place = (who.to_owned(), Method::Smartcard);
                known.passwords.insert(place, "friday".to_owned());
            }
        }
        let admins = [world.card_token("AD1"), world.card_token("AD2")];
        for (what, who, how) in steps {
            let step = Step { what, who, how };
            carry_out(&mut world, &mut known, admins, step);
            look_ups_are_true(&world)?;
            for second in [
                SecondProof::CardPassword(Verdict::Wrong),
                SecondProof::CardSignature(None),
                SecondProof::IssuedHalf { matched: false },
                SecondProof::CurrentPassword(Verdict::Wrong),
            ] {
                let mut tried = world.clone();
                let who = USERS[step.who % USERS.len()];
                prop_assert!(!with_the_mailed_code_alone(&mut tried, who, second));
            }
        }
        no_ended_password_works(&world, &known)?;
    }
}
