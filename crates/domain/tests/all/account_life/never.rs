//! What must never be, whatever was done before.

use std::collections::BTreeSet;

use super::happened::Happened;
use super::step::{Admins, Known, begin_set_up, confirm, done, newcomer};
use super::{PASSWORDS, PEOPLE, options};
use crate::world::*;
use domain::account;
use domain::change::Reason;
use domain::change_request::Act;
use domain::factor::{CardProof, CodeProof, Method, NewChannel, Verdict};
use domain::initiation::{Command as Initiate, SecondProof, Setting};
use domain::login::Proof;
use domain::token::TokenId;
use domain::{CardNumber, Command, ParticipantId, ProcedureId};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

/// What the look-ups say is what the accounts say.
pub(super) fn contradicting_look_ups(world: &World) -> TestCaseResult {
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

/// A token that ended never lives again, and nothing is done with it.
pub(super) fn an_ended_token(
    world: &World,
    known: &mut Known,
    happened: &Happened,
) -> TestCaseResult {
    let mut tried = world.clone();
    for token in &world.tokens {
        let live = world.state.tokens().get(token, world.now).is_some();
        if live {
            prop_assert!(!known.ended.contains(token), "an ended token lives");
        } else if known.ended.insert(*token) {
            happened.note("token ended");
            refuses(&mut tried, *token)?;
            happened.note("ended token refused");
        }
    }
    Ok(())
}

/// The token is good for nothing that a person or an administrator does with one.
fn refuses(world: &mut World, token: TokenId) -> TestCaseResult {
    prop_assert!(!done(&world.change_password(
        token,
        "friday",
        "first",
        Reason::Routine
    )));
    prop_assert!(!done(&world.replace_channel(
        token,
        "first",
        Reason::Routine
    )));
    prop_assert!(!done(&world.suspend(&front(), Some(token), "AU1")));
    let (_, made) = world.make(&front(), Some(token), "AU1", Act::ResetBoth);
    prop_assert!(!done(&made));
    prop_assert!(!done(&world.end(token)));
    Ok(())
}

/// Nobody of a firm that is shut has a token, gets one, or acts: not its administrators either.
pub(super) fn anybody_of_a_shut_firm(
    world: &World,
    admins: &Admins,
    happened: &Happened,
) -> TestCaseResult {
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
    for who in PEOPLE.into_iter().filter(|who| who.starts_with('A')) {
        for option in options(world, who) {
            for password in PASSWORDS {
                let entered = tried.enter(who, option, password, None);
                prop_assert!(!issued(&entered), "{}", who);
            }
        }
        prop_assert!(!done(&tried.initiate(who, "first", false)), "{}", who);
        for admin in admins.own {
            prop_assert!(!done(&tried.suspend(&front(), Some(admin), who)));
            let (request, made) = tried.make(&front(), Some(admin), who, Act::Resume);
            prop_assert!(!done(&made));
            prop_assert!(!done(&tried.approve_change(&front(), Some(admin), request)));
        }
        happened.note("shut firm's person refused");
    }
    let [by_card, _] = options(world, "AD1");
    prop_assert!(!issued(&tried.login("AD1", by_card, "friday")));
    Ok(())
}

/// The acts that give access, each with the account that it is about.
fn giving(who: &str) -> Vec<(String, Act)> {
    let number = CardNumber::parse(&format!("STRANGERS-{who}")).unwrap();
    let acts = [
        Act::Resume,
        Act::Unlock(Method::Otp),
        Act::Unlock(Method::Smartcard),
        Act::SetEmail("stranger@example.com".into()),
        Act::RegisterCard {
            number,
            password: sealed("a stranger's"),
        },
        Act::ResetPassword,
        Act::ResetChannel,
        Act::ResetBoth,
        Act::Delete,
        Act::AllowMethod(Method::Otp),
        Act::AllowMethod(Method::Smartcard),
    ];
    let mut acts: Vec<_> = acts.map(|act| (who.to_owned(), act)).into();
    // Of somebody new, of the same firm and class.
    let new = format!("{}9", &who[..2]);
    let create = Act::Create(Box::new(newcomer(&new, true)));
    acts.push((new, create));
    acts
}

/// Whatever an administrator of another firm tries with the account, or of the same firm with
/// another administrator's, is refused, and leaves no trace.
pub(super) fn another_firms_administrator(
    world: &World,
    admins: &Admins,
    who: &str,
    happened: &Happened,
) -> TestCaseResult {
    let mut tried = world.clone();
    let before = tried.state.digests().account;
    for stranger in admins.strangers(who) {
        let token = Some(stranger);
        let account = || id(who);
        let reason = || "x".to_owned();
        let mut commands = vec![
            account::Command::Suspend {
                account: account(),
                token,
                reason: reason(),
            },
            account::Command::RevokeCard {
                account: account(),
                token,
                reason: reason(),
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
                reason: String::new(),
            },
            // What operators alone do.
            account::Command::RevokeOtp {
                account: account(),
                reason: reason(),
            },
            account::Command::Import {
                participants: Vec::new(),
                accounts: vec![newcomer("BU9", true)],
                part: None,
            },
        ];
        for method in [Method::Smartcard, Method::Otp] {
            commands.push(account::Command::DisableMethod {
                account: account(),
                token,
                method,
                from: None,
                reason: reason(),
            });
        }
        for command in commands {
            let asked = tried.ask(&front(), Command::Account(command.clone()));
            prop_assert!(!done(&asked), "{:?}", command);
            happened.note("other firm's act refused");
        }
        for (whom, act) in giving(who) {
            let (_, made) = tried.make(&front(), token, &whom, act.clone());
            prop_assert!(!done(&made), "{:?}", act);
            happened.note("other firm's act refused");
        }
    }
    prop_assert_eq!(tried.state.digests().account, before);
    Ok(())
}

/// Who makes a request never carries it out, whatever it is, and nor does another firm.
pub(super) fn a_maker_who_approves(
    world: &World,
    admins: &Admins,
    who: &str,
    happened: &Happened,
) -> TestCaseResult {
    let [(maker, token), _] = admins.two(who);
    for (whom, act) in giving(who) {
        let mut tried = world.clone();
        let (request, made) = tried.make(&maker, token, &whom, act.clone());
        if !done(&made) {
            continue;
        }
        let before = tried.state.account(&id(&whom)).cloned();
        let strangers = admins.strangers(who).map(|token| (front(), Some(token)));
        for (by, token) in strangers.into_iter().chain([(maker.clone(), token)]) {
            let approved = tried.approve_change(&by, token, request);
            prop_assert!(!done(&approved), "{:?}", act);
            happened.note("maker's approval refused");
        }
        prop_assert_eq!(
            tried.state.account(&id(&whom)),
            before.as_ref(),
            "{:?}",
            act
        );
    }
    Ok(())
}

/// A stranger who has one of the codes, and nothing that goes with it, sets nothing up (S24).
pub(super) fn the_mailed_code_alone(
    world: &World,
    who: &str,
    happened: &Happened,
) -> TestCaseResult {
    let account = world.state.account(&id(who));
    let has_card = account.is_some_and(|account| account.card.is_some());
    let others = CardNumber::parse("CARD-BU1").unwrap();
    let mut tries = vec![
        (true, SecondProof::CardPassword(Verdict::Wrong)),
        (true, SecondProof::CardSignature(None)),
        (true, SecondProof::CardSignature(Some(others))),
        (true, SecondProof::IssuedHalf { matched: false }),
        (true, SecondProof::CurrentPassword(Verdict::Wrong)),
        // The half that was passed on by voice, without what was mailed.
        (false, SecondProof::IssuedHalf { matched: true }),
    ];
    if has_card {
        // Two codes, where there is a card to prove.
        tries.push((true, SecondProof::IssuedHalf { matched: true }));
    }
    for (code_matched, second) in tries {
        let mut tried = world.clone();
        let subject = tried.subject(who);
        let request = Initiate::Request {
            subject: subject.clone(),
            code: Some(sealed("activation")),
        };
        tried.ask(&front(), Command::Initiation(request));
        let issue = account::Command::IssueActivationCode {
            account: id(who),
            token: None,
            code: sealed("half"),
        };
        tried.ask(&operator("ann"), Command::Account(issue));
        let before = tried
            .state
            .account(&id(who))
            .and_then(|one| one.otp.clone());
        let procedure = ProcedureId(tried.next_id());
        let begun = Initiate::Begin {
            procedure,
            serial: tried.serial(who),
            subject,
            address: None,
            code_matched,
            second: second.clone(),
            setting: Setting::Channel(NewChannel::Email {
                code: sealed("a stranger's"),
            }),
        };
        let begun = tried.ask(&front(), Command::Initiation(begun));
        prop_assert!(!done(&begun), "{:?}", second);
        let mailed = CodeProof::Mailed { matched: true };
        let set = confirm(&mut tried, procedure, mailed, Some("a stranger's"));
        prop_assert!(!done(&set), "{:?}", second);
        let after = tried
            .state
            .account(&id(who))
            .and_then(|one| one.otp.clone());
        prop_assert_eq!(after, before, "{:?}", second);
        happened.note("stranger's begin refused");
    }
    // And with both it would have begun, where there is something to set up.
    let channel = Setting::Channel(NewChannel::Email {
        code: sealed("proof"),
    });
    let begun = begin_set_up(&mut world.clone(), who, channel);
    happened.note_if(begun.is_some(), "begun with both proofs");
    Ok(())
}

/// Whether somebody got in with what counts for nothing, or by a method that is off.
fn rightly(world: &World, known: &Known, who: &str, method: Method, password: &str) -> bool {
    let place = (who.to_owned(), method);
    let account = world.state.account(&id(who));
    known.passwords.get(&place).map(String::as_str) == Some(password)
        && !known.off.contains(&place)
        && account.is_some_and(account::Account::active)
}

/// A login that was begun does not outlive what it rests on.
pub(super) fn an_ended_login(world: &World, known: &Known, happened: &Happened) -> TestCaseResult {
    for begun in &known.begun {
        let mut tried = world.clone();
        let method = begun.option.method();
        let proof = tried.factor(begun.who, method);
        let outcome = tried.end_login(begun.login, proof, 1);
        if issued(&outcome) {
            let right = rightly(world, known, begun.who, method, &begun.password);
            prop_assert!(right, "{}: {:?}", begun.who, outcome);
        } else {
            happened.note("ended login refused");
        }
    }
    for (who, procedure) in &known.set_ups {
        let account = world.state.account(&id(who));
        if account.is_none_or(|account| !account.active() || account.otp.is_some()) {
            let mailed = CodeProof::Mailed { matched: true };
            let set = confirm(&mut world.clone(), *procedure, mailed, Some("first"));
            prop_assert!(!done(&set), "{}", who);
        }
    }
    Ok(())
}

/// Every password that was ever in use, tried by both ways in with the factor that is right: only
/// the one that counts may work, and it does not with a card that was replaced.
pub(super) fn an_ended_password(
    world: &World,
    known: &Known,
    passwords: &[&str],
    happened: &Happened,
) -> TestCaseResult {
    for who in PEOPLE {
        for option in options(world, who) {
            let method = option.method();
            for password in passwords {
                let mut tried = world.clone();
                if issued(&tried.enter(who, option, password, None)) {
                    prop_assert!(rightly(world, known, who, method, password), "{}", who);
                    happened.note("password that counts works");
                } else {
                    happened.note("ended password refused");
                }
            }
        }
        let first = CardNumber::parse(&format!("CARD-{who}")).unwrap();
        let account = world.state.account(&id(who));
        let card = account.and_then(|account| account.card.as_ref());
        if card.is_none_or(|card| card.number != first) {
            let [by_card, _] = options(world, who);
            for password in passwords {
                let mut tried = world.clone();
                let (login, _) = tried.open_login(who, by_card, password, None);
                let proof = Proof::Card(Some(CardProof::bare(first.clone())));
                prop_assert!(!issued(&tried.end_login(login, proof, 1)), "{}", who);
            }
            happened.note("former card refused");
        }
    }
    Ok(())
}

/// Logins, set-ups and activation codes that were begun on another line, or on this one before
/// another was opened, are good for nothing.
pub(super) fn what_another_line_began(
    world: &World,
    known: &Known,
    happened: &Happened,
) -> TestCaseResult {
    let mut tried = world.clone();
    for begun in &known.begun {
        let proof = tried.factor(begun.who, begun.option.method());
        prop_assert!(!issued(&tried.end_login(begun.login, proof, 1)));
        happened.note("thing of another line refused");
    }
    for (who, procedure) in &known.set_ups {
        let mailed = CodeProof::Mailed { matched: true };
        let set = confirm(&mut tried, *procedure, mailed, Some("first"));
        prop_assert!(!done(&set), "{}", who);
        happened.note("thing of another line refused");
    }
    for who in PEOPLE {
        let kept = world.state.activation(&id(who), world.now);
        prop_assert!(kept.is_none(), "{} keeps its activation code", who);
    }
    Ok(())
}

/// No token of Saturday is good on Monday, of whichever line it was.
pub(super) fn a_token_of_saturday(
    world: &World,
    tokens: &[TokenId],
    happened: &Happened,
) -> TestCaseResult {
    let mut tried = world.clone();
    for token in tokens {
        prop_assert!(world.state.tokens().get(token, world.now).is_none());
        refuses(&mut tried, *token)?;
        happened.note("token of Saturday refused");
    }
    Ok(())
}
