//! The whole life of accounts over random sequences of what people, administrators, operators and
//! strangers try: no sequence lets an ended secret in, initiates by the mailed code alone, takes an
//! account from a stage to one that it does not lead to, lets a maker approve or an administrator
//! touch another firm's people, or leaves look-ups that contradict the accounts.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};

use crate::world::*;
use domain::account::{self, Class, Stage};
use domain::change::Reason;
use domain::change_request::Act;
use domain::factor::{Method, NewChannel, Verdict};
use domain::initiation::{Command as Initiate, SecondProof, Setting};
use domain::participant::Wanted;
use domain::portal::LandingOption;
use domain::{CardNumber, Command, Digest, ParticipantId, ProcedureId};
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
    let card = (who.to_owned(), Method::Smartcard);
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
            let revoked = world.ask(
                &front(),
                Command::Account(account::Command::RevokeCard {
                    account: id(who),
                    token: Some(admins[0]),
                    reason: "lost".into(),
                }),
            );
            if done(&revoked) {
                known.passwords.remove(&card);
            }
        }
        11 => {
            let act = Act::RegisterCard {
                number: CardNumber::parse(&format!("CARD-{who}-{}", world.log.len())).unwrap(),
                password: sealed(password),
            };
            let (request, _) = world.make(&operator("ann"), None, who, act);
            if done(&world.approve_change(&operator("ben"), None, request)) {
                known.passwords.insert(card, password.to_owned());
            }
        }
        12 => {
            let (request, _) = world.make(&front(), Some(admins[0]), who, Act::Delete);
            if done(&world.approve_change(&front(), Some(admins[1]), request)) {
                known.passwords.retain(|(account, _), _| account != who);
            }
        }
        15 => match step.how {
            0..=2 => drop(world.suspend_firm("ann", "A")),
            3 => {
                world.say_of_firm("ann", "A", Wanted::Delete);
                if done_by_two(&world.say_of_firm("ben", "A", Wanted::Delete)) {
                    known.passwords.clear();
                }
            }
            _ => {
                world.say_of_firm("ann", "A", Wanted::Resume);
                world.say_of_firm("ben", "A", Wanted::Resume);
            }
        },
        _ => world.at(world.now.plus(MINUTE)),
    }
}

/// Whether it was the approval that carried the act out.
fn done_by_two(outcome: &domain::Outcome) -> bool {
    matches!(
        outcome.result,
        domain::outcome::Result::Done(domain::Answer::Approved { have: 2, need: 2 })
    )
}

/// Nobody of a firm that is shut has a token, gets one, or acts: not its administrators either.
fn a_shut_firm_lets_nobody_in(world: &World, admins: [Digest; 2]) -> TestCaseResult {
    let firm = world.state.participant(&ParticipantId::parse("A").unwrap());
    if firm.is_none_or(domain::participant::Participant::active) {
        return Ok(());
    }
    for account in world.state.accounts() {
        if account.participant.as_str() == "A" {
            let live = world.state.tokens().of(&account.id, world.now).count();
            prop_assert_eq!(live, 0, "{} has tokens", account.id);
        }
    }
    let mut tried = world.clone();
    for who in USERS {
        for option in [
            LandingOption::SmartcardOnlineAndReports,
            LandingOption::OtpOnline,
        ] {
            for password in PASSWORDS {
                prop_assert!(!issued(&tried.login(who, option, password)), "{}", who);
            }
        }
        prop_assert!(!done(&tried.initiate(who, "first", false)), "{}", who);
        for admin in admins {
            prop_assert!(!done(&tried.suspend(&front(), Some(admin), who)));
            let (request, made) = tried.make(&front(), Some(admin), who, Act::Resume);
            prop_assert!(!done(&made));
            prop_assert!(!done(&tried.approve_change(&front(), Some(admin), request)));
        }
    }
    let again = tried.login("AD1", LandingOption::SmartcardSecurity, "friday");
    prop_assert!(!issued(&again));
    Ok(())
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

/// The acts that give access.
fn giving(who: &str) -> [Act; 8] {
    [
        Act::Resume,
        Act::Unlock(Method::Otp),
        Act::SetEmail("stranger@example.com".into()),
        Act::RegisterCard {
            number: CardNumber::parse(&format!("STRANGERS-{who}")).unwrap(),
            password: sealed("a stranger's"),
        },
        Act::ResetPassword,
        Act::ResetChannel,
        Act::ResetBoth,
        Act::Delete,
    ]
}

/// Whatever another firm's administrator tries with the account is refused, and leaves no trace.
fn another_firms_administrator_touches_nothing(
    world: &World,
    foreign: Digest,
    who: &str,
) -> TestCaseResult {
    let token = Some(foreign);
    let mut tried = world.clone();
    let before = tried.state.digests().account;
    let account = || id(who);
    let commands = [
        account::Command::Suspend {
            account: account(),
            token,
            reason: "x".into(),
        },
        account::Command::RevokeCard {
            account: account(),
            token,
            reason: "x".into(),
        },
        account::Command::SetTitle {
            account: account(),
            token,
            title: "x".into(),
            seen: None,
        },
        account::Command::IssueActivationCode {
            account: account(),
            token,
            code: sealed("x"),
        },
        account::Command::EndTokens {
            account: account(),
            one: None,
            token,
        },
    ];
    for command in commands {
        let asked = tried.ask(&front(), Command::Account(command.clone()));
        prop_assert!(!done(&asked), "{:?}", command);
    }
    for act in giving(who) {
        let (_, made) = tried.make(&front(), token, who, act.clone());
        prop_assert!(!done(&made), "{:?}", act);
    }
    prop_assert_eq!(tried.state.digests().account, before);
    Ok(())
}

/// Who makes a request never carries it out, whatever it is, and nor does another firm.
fn no_maker_approves(world: &World, [maker, foreign]: [Digest; 2], who: &str) -> TestCaseResult {
    for act in giving(who) {
        let mut tried = world.clone();
        let (request, made) = tried.make(&front(), Some(maker), who, act.clone());
        if !done(&made) {
            continue;
        }
        let before = tried.state.account(&id(who)).cloned();
        for token in [maker, foreign] {
            let approved = tried.approve_change(&front(), Some(token), request);
            prop_assert!(!done(&approved), "{:?}", act);
        }
        prop_assert_eq!(tried.state.account(&id(who)), before.as_ref(), "{:?}", act);
    }
    Ok(())
}

/// Whether the diagram of stages in docs/accounts.md has the arrow.
fn leads_to(from: Stage, to: Stage) -> bool {
    from == to
        || matches!(
            (from, to),
            (Stage::NoEmail, Stage::EmailRegistered)
                | (
                    Stage::EmailRegistered,
                    Stage::Initiated | Stage::TwoFactorOnly
                )
                | (
                    Stage::Initiated,
                    Stage::TwoFactorOnly | Stage::EmailRegistered
                )
                | (
                    Stage::TwoFactorOnly,
                    Stage::Initiated | Stage::EmailRegistered
                )
        )
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
    fn no_sequence_opens_an_account_to_who_may_not_or_skips_a_stage_r9_r10_s24_s34(
        steps in prop::collection::vec((0_u8..17, 0_usize..4, 0_usize..12), 1..40)
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
        let foreign = world.card_token("BD1");
        for (what, who, how) in steps {
            let step = Step { what, who, how };
            let who = USERS[step.who % USERS.len()];
            let before = world.state.clone();
            carry_out(&mut world, &mut known, admins, step);
            look_ups_are_true(&world)?;
            a_shut_firm_lets_nobody_in(&world, admins)?;
            for account in world.state.accounts().filter(|account| !account.deleted()) {
                let from = before.account(&account.id).unwrap().stage();
                let to = account.stage();
                prop_assert!(leads_to(from, to), "{}: {from:?} to {to:?}", account.id);
            }
            another_firms_administrator_touches_nothing(&world, foreign, who)?;
            no_maker_approves(&world, [admins[0], foreign], who)?;
            for second in [
                SecondProof::CardPassword(Verdict::Wrong),
                SecondProof::CardSignature(None),
                SecondProof::IssuedHalf { matched: false },
                SecondProof::CurrentPassword(Verdict::Wrong),
            ] {
                let mut tried = world.clone();
                prop_assert!(!with_the_mailed_code_alone(&mut tried, who, second));
            }
        }
        no_ended_password_works(&world, &known)?;
    }
}
