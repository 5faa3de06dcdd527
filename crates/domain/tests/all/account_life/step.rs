//! One thing that somebody does, and what is known from it apart from the state.

use std::collections::{BTreeMap, BTreeSet};

use super::happened::Happened;
use super::{PASSWORDS, PEOPLE, Place, options};
use crate::world::*;
use domain::account::{self, Class, Imported, SetUp};
use domain::change::{self, Reason};
use domain::change_request::Act;
use domain::factor::{ChannelKind, CodeProof, Method, NewChannel, Verdict};
use domain::initiation::{Command as Initiate, SecondProof, Setting};
use domain::participant::Wanted;
use domain::portal::LandingOption;
use domain::token::{Token, TokenId};
use domain::{Actor, CardNumber, Command, Digest, LoginId, Outcome, ParticipantId, ProcedureId};

#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) what: u8,
    pub(super) who: usize,
    pub(super) how: usize,
}

impl Step {
    pub(super) fn who(self) -> &'static str {
        PEOPLE[self.who % PEOPLE.len()]
    }
}

/// A login whose password was right, and which nobody ended.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    pub(super) login: LoginId,
    pub(super) who: &'static str,
    pub(super) option: LandingOption,
    pub(super) password: String,
}

/// What is known of the people from what was carried out, apart from the state.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// The password that counts, by account and method.
    pub(super) passwords: BTreeMap<Place, String>,
    /// Methods that are off for an account.
    pub(super) off: BTreeSet<Place>,
    /// Logins that wait for their factor.
    pub(super) begun: Vec<Begun>,
    /// Set-ups that wait for a code of the channel.
    pub(super) set_ups: Vec<(&'static str, ProcedureId)>,
    /// Tokens that were seen to have ended.
    pub(super) ended: BTreeSet<TokenId>,
}

impl Known {
    /// What the import made.
    pub(super) fn of(world: &World) -> Self {
        let mut known = Self::default();
        for account in world.state.accounts().filter(|one| one.card.is_some()) {
            let place = (account.id.as_str().to_owned(), Method::Smartcard);
            known.passwords.insert(place, PASSWORDS[0].to_owned());
        }
        known
    }

    fn forget(&mut self, gone: impl Fn(&str) -> bool) {
        self.passwords.retain(|(who, _), _| !gone(who));
        self.off.retain(|(who, _)| !gone(who));
    }
}

/// Who looks after accounts: two of firm A, one of firm B, and a user who only would like to.
pub(super) struct Admins {
    pub(super) own: [TokenId; 2],
    pub(super) other: TokenId,
    pub(super) user: TokenId,
}

impl Admins {
    /// As far as they can log in on this line.
    pub(super) fn log_in(world: &mut World) -> Self {
        let nobody = Self {
            own: [Digest::ZERO; 2],
            other: Digest::ZERO,
            user: Digest::ZERO,
        };
        nobody.still(world)
    }

    /// The same people, with new tokens where theirs have ended.
    pub(super) fn still(self, world: &mut World) -> Self {
        let mut token = |who: &str, held: TokenId| {
            if world.state.tokens().get(&held, world.now).is_some() {
                return held;
            }
            let issued = issued(&world.login(who, options(world, who)[0], "friday"));
            let latest = world.tokens.last().copied();
            latest.filter(|_| issued).unwrap_or(Digest::ZERO)
        };
        let [first, second] = self.own;
        Self {
            own: [token("AD1", first), token("AD2", second)],
            other: token("BD1", self.other),
            user: token("BU1", self.user),
        }
    }

    /// The maker and the checker of what is done to `who`.
    pub(super) fn two(&self, who: &str) -> [(Actor, Option<TokenId>); 2] {
        if is_admin(who) {
            ["ann", "ben"].map(|name| (operator(name), None))
        } else {
            self.own.map(|token| (front(), Some(token)))
        }
    }

    /// Those who may do nothing to `who`: of a delegated administrator its own firm's others too.
    pub(super) fn strangers(&self, who: &str) -> [TokenId; 2] {
        match is_admin(who) {
            true => [self.own[0], self.other],
            false => [self.user, self.other],
        }
    }
}

pub(super) fn is_admin(who: &str) -> bool {
    who.contains('D')
}

pub(super) fn done(outcome: &Outcome) -> bool {
    matches!(outcome.result, domain::outcome::Result::Done(_))
}

/// Whether it was the approval that carried the act out.
fn done_by_two(outcome: &Outcome) -> bool {
    matches!(
        outcome.result,
        domain::outcome::Result::Done(domain::Answer::Approved { have: 2, need: 2 })
    )
}

/// Somebody whose password or channel was reset, and is yet to be set anew.
fn reset_waits(world: &World) -> Option<&'static str> {
    PEOPLE.into_iter().find(|who| {
        let account = world.state.account(&id(who));
        let otp = account.and_then(|account| account.otp.as_ref());
        otp.is_some_and(|otp| otp.reset.is_some())
    })
}

/// The token that one of the people got last, of those that are good.
fn held(world: &World, by_otp: bool) -> Option<Token> {
    let tokens = world.tokens.iter().rev();
    let mut tokens = tokens.filter_map(|id| world.state.tokens().get(id, world.now));
    let theirs = |token: &&Token| PEOPLE.contains(&token.account.as_str());
    let found = tokens.find(|token| theirs(token) && (!by_otp || token.method() == Method::Otp));
    found.cloned()
}

pub(super) fn carry_out(
    world: &mut World,
    known: &mut Known,
    admins: &Admins,
    (step, passwords): (Step, &[&'static str]),
    happened: &Happened,
) {
    let who = step.who();
    let password = passwords[step.how % passwords.len()];
    let otp = (who.to_owned(), Method::Otp);
    let card = (who.to_owned(), Method::Smartcard);
    let [(by, token), _] = admins.two(who);
    match step.what {
        0..=2 => {
            let waits = reset_waits(world).filter(|_| step.what == 0);
            let who = waits.unwrap_or(who);
            let otp = (who.to_owned(), Method::Otp);
            world.at(world.now.plus(MINUTE));
            let by_mail = step.how.is_multiple_of(2);
            if sets_up(world, who, password, by_mail, happened) {
                let first = world.verdict(who, Method::Otp, password) != Verdict::Wrong;
                if first {
                    known.passwords.insert(otp, password.to_owned());
                }
            }
        }
        3..=5 => {
            let [by_card, by_otp] = options(world, who);
            let initiated = known.passwords.contains_key(&otp);
            let option = match step.how % 3 {
                0 => by_card,
                _ if initiated => by_otp,
                _ => by_card,
            };
            let counts = known.passwords.get(&(who.to_owned(), option.method()));
            let mut typed = counts.cloned().unwrap_or_else(|| password.to_owned());
            if step.how.is_multiple_of(5) {
                typed = "mistyped".to_owned();
            }
            happened.note_if(issued(&world.enter(who, option, &typed, None)), "logged in");
        }
        6 | 7 => {
            let Some(held) = held(world, step.what == 7) else {
                return;
            };
            let latest = held.id;
            let place = (held.account.as_str().to_owned(), held.method());
            let Some(current) = known.passwords.get(&place).cloned() else {
                return;
            };
            if step.what == 7 && held.method() == Method::Otp {
                world.at(world.now.plus(MINUTE));
                let replaced = world.replace_channel(latest, &current, Reason::Routine);
                happened.note_if(done(&replaced), "channel replaced");
            } else if done(&world.change_password(latest, &current, password, Reason::Routine)) {
                known.passwords.insert(place, password.to_owned());
                happened.note("password changed");
            }
        }
        8 => {
            if done(&world.revoke_otp(who)) {
                known.passwords.remove(&otp);
                happened.note("OTP revoked");
            }
        }
        9 => {
            let suspended = done(&world.suspend(&by, token, who));
            happened.note_if(suspended, "suspended");
            happened.note_if(suspended && is_admin(who), "DA suspended");
        }
        10..=17 => by_two(world, known, admins, (step, password), happened),
        18 => {
            let command = Command::Account(account::Command::RevokeCard {
                account: id(who),
                token,
                reason: "lost".into(),
            });
            if done(&world.ask(&by, command)) {
                known.passwords.remove(&card);
                happened.note("card revoked");
            }
        }
        19 => {
            let method = [Method::Smartcard, Method::Otp][step.how % 2];
            let command = Command::Account(account::Command::DisableMethod {
                account: id(who),
                token,
                method,
                from: None,
                reason: "cards returned".into(),
            });
            if done(&world.ask(&by, command)) {
                known.off.insert((who.to_owned(), method));
                happened.note("method disabled");
            }
        }
        20 => {
            if let Some(token) = token {
                world.step_up(token, change::Act::IssueActivation(id(who)));
            }
            happened.note_if(done(&world.issue(&by, token, who)), "half issued");
        }
        21 => {
            let account = newcomer(who, step.how.is_multiple_of(2));
            if done(&world.import(&[], std::slice::from_ref(&account))) {
                happened.note("imported");
                enters(known, &account);
            }
        }
        22 => {
            let option = options(world, who)[step.how % 2];
            let place = (who.to_owned(), option.method());
            let Some(password) = known.passwords.get(&place).cloned() else {
                return;
            };
            let (login, outcome) = world.open_login(who, option, &password, None);
            if done(&outcome) {
                happened.note("login begun");
                known.begun.push(Begun {
                    login,
                    who,
                    option,
                    password,
                });
            }
        }
        23 => {
            let code = NewChannel::Email {
                code: sealed("proof"),
            };
            if let Some(procedure) = begin_set_up(world, who, Setting::Channel(code)) {
                happened.note("set-up begun");
                known.set_ups.push((who, procedure));
            }
        }
        // Seldom: a firm that is shut has no life to look at.
        24 if step.how.is_multiple_of(3) => firm(world, known, step, happened),
        _ => world.at(world.now.plus(MINUTE)),
    }
}

/// What takes a maker and a checker.
fn by_two(
    world: &mut World,
    known: &mut Known,
    admins: &Admins,
    (step, password): (Step, &str),
    happened: &Happened,
) {
    let who = step.who();
    let place = |method| (who.to_owned(), method);
    let is_there = world.state.account(&id(who)).is_some();
    let act = match (step.what, step.how % 12) {
        (10..=12, of) if !is_there => Act::Create(Box::new(newcomer(who, of.is_multiple_of(2)))),
        (10..=12, _) => Act::Resume,
        (13, _) => {
            let number = format!("CARD-{who}-{}", world.log.len());
            Act::RegisterCard {
                number: CardNumber::parse(&number).unwrap(),
                password: sealed(password),
            }
        }
        (14, of) => {
            let off = known.off.iter().find(|(whose, _)| whose == who);
            let any = [Method::Smartcard, Method::Otp][of % 2];
            Act::AllowMethod(off.map_or(any, |(_, method)| *method))
        }
        (_, 0 | 1) => {
            let account = world.state.account(&id(who));
            let failed = account.and_then(|account| account.attempts.keys().last());
            Act::Unlock(failed.copied().unwrap_or(Method::Otp))
        }
        (_, 2) => Act::SetEmail(format!("{who}{}@example.com", world.log.len())),
        (_, 3 | 4) => Act::ResetPassword,
        (_, 5 | 6) => Act::ResetChannel,
        (_, 7 | 8) => Act::ResetBoth,
        (_, 9) => Act::Delete,
        (_, of) => Act::Create(Box::new(newcomer(who, of.is_multiple_of(2)))),
    };
    // Cards come from the clearing house alone.
    let brings_card = match &act {
        Act::RegisterCard { .. } => true,
        Act::Create(one) => one.card.is_some(),
        _ => false,
    };
    let [(maker, mine), (checker, other)] = match brings_card {
        true => ["ann", "ben"].map(|name| (operator(name), None)),
        false => admins.two(who),
    };
    let (request, _) = world.make(&maker, mine, who, act.clone());
    if !done(&world.approve_change(&checker, other, request)) {
        return;
    }
    match act {
        Act::Resume => happened.note("resumed"),
        Act::Unlock(_) => happened.note("unlocked"),
        Act::SetEmail(_) => happened.note("address set"),
        Act::ResetChannel => happened.note("channel reset"),
        Act::ResetPassword => {
            known.passwords.remove(&place(Method::Otp));
            happened.note("password reset");
        }
        Act::ResetBoth => {
            known.passwords.remove(&place(Method::Otp));
            happened.note("both reset");
        }
        Act::RegisterCard { .. } => {
            let place = place(Method::Smartcard);
            known.passwords.insert(place, password.to_owned());
            happened.note("card registered");
        }
        Act::AllowMethod(method) => {
            known.off.remove(&place(method));
            happened.note("method allowed");
        }
        Act::Delete => {
            known.forget(|gone| gone == who);
            happened.note("deleted");
        }
        Act::Create(account) => {
            happened.note("created");
            enters(known, &account);
        }
    }
    // A channel that is reset after its password, or the other way round: both are to be set anew.
    let account = world.state.account(&id(who));
    if account.is_some_and(|account| account.password(Method::Otp).is_none()) {
        known.passwords.remove(&place(Method::Otp));
    }
}

/// Somebody new of this id.
pub(super) fn newcomer(who: &str, has_card: bool) -> Imported {
    let card = format!("FIRST-{who}");
    Imported {
        id: id(who),
        participant: ParticipantId::parse(&who[..1]).unwrap(),
        class: match is_admin(who) {
            true => Class::DelegatedAdmin,
            false => Class::User,
        },
        title: who.to_owned(),
        email: Some(format!("{who}@example.com")),
        card: has_card.then(|| (CardNumber::parse(&card).unwrap(), sealed(PASSWORDS[0]))),
    }
}

fn enters(known: &mut Known, account: &Imported) {
    if account.card.is_some() {
        let place = (account.id.as_str().to_owned(), Method::Smartcard);
        known.passwords.insert(place, PASSWORDS[0].to_owned());
    }
}

fn firm(world: &mut World, known: &mut Known, step: Step, happened: &Happened) {
    match step.how {
        0 | 3 => {
            world.say_of_firm("ann", "A", Wanted::Delete);
            if done_by_two(&world.say_of_firm("ben", "A", Wanted::Delete)) {
                happened.note("firm deleted");
                known.forget(|who| who.starts_with('A'));
            }
        }
        6..=12 => happened.note_if(done(&world.suspend_firm("ann", "A")), "firm suspended"),
        _ => {
            world.say_of_firm("ann", "A", Wanted::Resume);
            world.say_of_firm("ben", "A", Wanted::Resume);
        }
    }
}

/// What goes with the mailed code, and is right.
fn second(world: &mut World, who: &str) -> SecondProof {
    let account = world.state.account(&id(who)).cloned();
    let version = |method| {
        let password = account.as_ref().and_then(|one| one.password(method));
        let version = password.map_or(0, |password| password.version);
        Verdict::Right { version }
    };
    match account.as_ref() {
        Some(account) if account.set_up() == Some(SetUp::Channel) => {
            SecondProof::CurrentPassword(version(Method::Otp))
        }
        Some(account) if account.card.is_some() => {
            SecondProof::CardPassword(version(Method::Smartcard))
        }
        Some(_) | None => {
            world.issue_half(who);
            SecondProof::IssuedHalf { matched: true }
        }
    }
}

/// A set-up up to the code of the channel, with everything right.
pub(super) fn begin_set_up(world: &mut World, who: &str, setting: Setting) -> Option<ProcedureId> {
    let subject = world.subject(who);
    let request = Initiate::Request {
        subject: subject.clone(),
        code: Some(sealed("activation")),
    };
    world.ask(&front(), Command::Initiation(request));
    let procedure = ProcedureId(world.next_id());
    let begun = Initiate::Begin {
        procedure,
        second: second(world, who),
        serial: world.serial(who),
        subject,
        address: None,
        code_matched: true,
        setting,
    };
    done(&world.ask(&front(), Command::Initiation(begun))).then_some(procedure)
}

/// The end of one.
pub(super) fn confirm(
    world: &mut World,
    procedure: ProcedureId,
    proof: CodeProof,
    password: Option<&str>,
) -> Outcome {
    let confirm = Initiate::Confirm {
        procedure,
        proof,
        password: password.map(sealed),
    };
    world.ask(&front(), Command::Initiation(confirm))
}

/// Sets up whatever the account lacks: both, or what was reset.
fn sets_up(
    world: &mut World,
    who: &str,
    password: &str,
    by_mail: bool,
    happened: &Happened,
) -> bool {
    let account = world.state.account(&id(who)).cloned();
    let lacks = account.as_ref().and_then(account::Account::set_up);
    let channel = account.as_ref().and_then(|one| one.otp.as_ref());
    let channel = channel.map(|otp| otp.channel.kind());
    let new = match by_mail {
        true => NewChannel::Email {
            code: sealed("proof"),
        },
        false => NewChannel::Authenticator {
            seed: sealed(&format!("seed {}", world.log.len())),
        },
    };
    let step = CodeProof::Step(Some(domain::totp::step(world.now)));
    let mailed = CodeProof::Mailed { matched: true };
    let shown = if by_mail { mailed } else { step };
    let (setting, proof, password) = match lacks {
        Some(SetUp::Password) => {
            let code = (channel == Some(ChannelKind::Email)).then(|| sealed("proof"));
            let setting = Setting::Password { code };
            (setting, world.code(who), Some(password))
        }
        Some(SetUp::Channel) => (Setting::Channel(new), shown, None),
        Some(SetUp::Both) | None => (Setting::Channel(new), shown, Some(password)),
    };
    let Some(procedure) = begin_set_up(world, who, setting) else {
        return false;
    };
    let set = done(&confirm(world, procedure, proof, password));
    if set {
        match lacks {
            Some(SetUp::Both) | None if by_mail => happened.note("initiated by mail"),
            Some(SetUp::Both) | None => happened.note("initiated"),
            Some(SetUp::Password | SetUp::Channel) => happened.note("set up after a reset"),
        }
    }
    set && password.is_some()
}
