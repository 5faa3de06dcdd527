//! Logins: from the password to the token (LOGIN.md, "Login").

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

mod rehash;
mod verify;

use rehash::rehash;
pub(crate) use verify::{code_proved, use_step};
use verify::{own_login, verify};

use crate::account::{Account, Class};
use crate::apply::{self, Context, Effect};
use crate::attempts::{Attempts, FORGOTTEN_AFTER_MS};
use crate::audit::{Event, Kind};
use crate::digest::Digest;
use crate::envelope::Actor;
use crate::factor::{CardProof, Channel, CodeProof, Method, Sealed, Verdict};
use crate::id::{AccountId, FrontEndId, LoginId};
use crate::migration;
use crate::outcome::{Answer, Rejection};
use crate::participant;
use crate::portal::{LandingOption, Portal};
use crate::registration::Holder;
use crate::session::Whose;
use crate::state::State;
use crate::table::{Expires, Record};
use crate::time::UnixMs;
use crate::token::TokenId;

/// Most logins under way on a line.
pub const LOGINS_MAX: usize = 200_000;
/// Wrong one-time passwords that one login takes.
pub const TRIES_MAX: u8 = 5;
/// Codes that one login sends, the first included.
pub const CODES_MAX: u8 = 3;
/// Most unknown user ids whose failures are counted; the one that failed longest ago makes room.
pub const UNKNOWN_MAX: usize = 50_000;
/// Most codes that are mailed to one account in an hour.
pub const MAILS_AN_HOUR_MAX: u32 = 20;
/// Most addresses of one record of attempts that were refused unheard.
pub const UNHEARD_MAX: usize = 64;
/// The window in which they are counted.
const HOUR_MS: u64 = 3_600_000;

/// Who somebody says to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// An account that exists.
    Known(AccountId),
    /// A keyed digest of a user id that does not: often a mistyped password, so never in clear.
    Unknown(Digest),
}

impl Subject {
    /// The account, if it exists.
    #[must_use]
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Known(id) => Some(id),
            Self::Unknown(_) => None,
        }
    }
}

/// A login under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Its id.
    pub id: LoginId,
    /// Who.
    pub subject: Subject,
    /// What was chosen.
    pub option: LandingOption,
    /// The front end; no other may go on with it.
    pub front_end: FrontEndId,
    /// The person's address, as the front end states it.
    pub address: Option<IpAddr>,
    /// The version of the password that was right. Nothing says so before the factor was checked.
    pub password_right: Option<u64>,
    /// The sealed code that was sent last, if the channel is e-mail.
    pub code: Option<Sealed>,
    /// When that code ends.
    pub code_ends: UnixMs,
    /// Codes sent, or said to be: the same for everybody.
    pub codes: u8,
    /// Wrong codes so far.
    pub tries: u8,
    /// What a card must sign, once.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; 16],
    /// When the login ends.
    pub ends_at: UnixMs,
}

impl Record for Login {
    type Key = LoginId;
    const TABLE: &'static str = "login";
    fn key(&self) -> LoginId {
        self.id
    }
}

impl Expires for Login {
    fn expires(&self) -> UnixMs {
        self.ends_at
    }
}

/// The codes that were mailed to an account lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailed {
    /// Whose.
    pub account: AccountId,
    /// How many.
    pub count: u32,
    /// When counting begins anew.
    pub ends_at: UnixMs,
}

impl Record for Mailed {
    type Key = AccountId;
    const TABLE: &'static str = "mailed";
    fn key(&self) -> AccountId {
        self.account.clone()
    }
}

impl Expires for Mailed {
    fn expires(&self) -> UnixMs {
        self.ends_at
    }
}

/// Whether another code may be mailed to the account; counts it if so.
pub(crate) fn may_mail(state: &mut State, account: &AccountId, now: UnixMs) -> bool {
    let mailed = state.short.mailed.get(account, now).cloned();
    let mut mailed = mailed.unwrap_or_else(|| Mailed {
        account: account.clone(),
        count: 0,
        ends_at: now.plus(HOUR_MS),
    });
    mailed.count = mailed.count.saturating_add(1);
    let may = mailed.count <= MAILS_AN_HOUR_MAX;
    if may {
        state.short.mailed.set(mailed);
    }
    may
}

/// A user id that does not exist, and the method that somebody tried.
pub type UnknownId = (Digest, Method);

/// The failures of a user id that does not exist, so that it is throttled like one that does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// The keyed digest of the id.
    pub id: Digest,
    /// The method.
    pub method: Method,
    /// Its failures.
    pub attempts: Attempts,
    /// When they are forgotten.
    pub ends_at: UnixMs,
}

impl Record for Unknown {
    type Key = UnknownId;
    const TABLE: &'static str = "unknown";
    fn key(&self) -> UnknownId {
        (self.id, self.method)
    }
}

impl Expires for Unknown {
    fn expires(&self) -> UnixMs {
        self.ends_at
    }
}

/// What is asked about logins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Opens a login, whatever the verdict on the password.
    Begin {
        /// The login's id.
        login: LoginId,
        /// Who.
        subject: Subject,
        /// What was chosen.
        option: LandingOption,
        /// The person's address.
        address: Option<IpAddr>,
        /// The verdict on the password of the option's method.
        verdict: Verdict,
        /// The sealed code that will be sent, if the password is right and the channel e-mail.
        code: Option<Sealed>,
        /// What a card must sign.
        #[serde(with = "serde_bytes")]
        nonce: [u8; 16],
    },
    /// Sends another code.
    Resend {
        /// The login.
        login: LoginId,
        /// The new sealed code, if one is to be sent.
        code: Option<Sealed>,
    },
    /// Checks the factor and issues the token.
    Verify {
        /// The login.
        login: LoginId,
        /// What the edge found.
        proof: Proof,
        /// How many codes the login had sent when the edge looked: a code counts until the next.
        codes: u8,
        /// The hash of the token to issue.
        token: TokenId,
    },
    /// Counts attempts that a node refused without looking at anything of them, of about a minute:
    /// whoever must wait leaves no record of each (LOGIN.md, "Audit").
    Unheard {
        /// How many, by the person's address as the front end stated it.
        counts: Vec<(Option<IpAddr>, u32)>,
    },
    /// Keeps a password that was right under a verifier of today's cost (S21).
    Rehash {
        /// Whose.
        account: AccountId,
        /// The method whose password it is.
        method: Method,
        /// The verdict on the password that was typed.
        verdict: Verdict,
        /// The sealed verifier of the same password.
        verifier: Sealed,
    },
}

/// What the edge found about the second factor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// A one-time password.
    Code(CodeProof),
    /// A card that signed this login's nonce; none when chain or signature did not hold.
    Card(Option<CardProof>),
    /// Nothing that fits the login.
    None,
}

impl Command {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Begin { .. } => Kind::LoginBegun,
            Self::Resend { .. } => Kind::CodeResent,
            Self::Verify { .. } => Kind::LoginVerified,
            Self::Unheard { .. } => Kind::AttemptsUnheard,
            Self::Rehash { .. } => Kind::PasswordRehashed,
        }
    }
}

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: &Command) -> Effect {
    match command {
        Command::Begin {
            login,
            subject,
            option,
            address,
            verdict,
            code,
            nonce,
        } => {
            let opened = Login {
                id: *login,
                subject: subject.clone(),
                option: *option,
                front_end: match front_end(context) {
                    Ok(front_end) => front_end.clone(),
                    Err(rejection) => {
                        return Effect::rejected(rejection, Event::new(Kind::LoginBegun));
                    }
                },
                address: *address,
                password_right: None,
                code: None,
                code_ends: context.now.plus(state.policy.code_life_ms),
                codes: 1,
                tries: 0,
                nonce: *nonce,
                ends_at: context.now.plus(state.policy.login_life_ms),
            };
            begin(state, context, opened, *verdict, code.as_ref())
        }
        Command::Resend { login, code } => resend(state, context, login, code.as_ref()),
        Command::Verify {
            login,
            proof,
            codes,
            token,
        } => verify(state, context, (login, *codes), proof, token),
        Command::Unheard { counts } => unheard(context, counts),
        Command::Rehash {
            account,
            method,
            verdict,
            verifier,
        } => rehash(state, context, (account, *method), *verdict, verifier),
    }
}

/// A record an address; the last one, of a node that saw more addresses, is of all others.
fn unheard(context: &Context<'_>, counts: &[(Option<IpAddr>, u32)]) -> Effect {
    let event = Event::new(Kind::AttemptsUnheard);
    match context.actor {
        Actor::Node(_) if counts.len() <= UNHEARD_MAX && !counts.is_empty() => {}
        Actor::Node(_)
        | Actor::FrontEnd(_)
        | Actor::BackEnd(_)
        | Actor::Operator(_)
        | Actor::Script(_) => return Effect::rejected(Rejection::NotAllowed, event),
    }
    let events = counts.iter().map(|(address, count)| {
        let from = address.map_or_else(|| "other addresses".to_owned(), |at| at.to_string());
        Event::new(Kind::AttemptsUnheard).detail(format!("{count} from {from}"))
    });
    Effect {
        events: events.collect(),
        ..Effect::done(Answer::Nothing, event)
    }
}

/// The front end that asks.
pub(crate) fn front_end<'a>(context: &Context<'a>) -> Result<&'a FrontEndId, Rejection> {
    match context.actor {
        Actor::FrontEnd(id) => Ok(id),
        Actor::BackEnd(_) | Actor::Operator(_) | Actor::Node(_) | Actor::Script(_) => {
            Err(Rejection::NotAllowed)
        }
    }
}

/// An event about somebody who says to be `subject`.
pub(crate) fn event_about(state: &State, kind: Kind, subject: &Subject) -> Event {
    match subject {
        Subject::Known(id) => match state.account(id) {
            Some(account) => Event::of(kind, account).by(id),
            None => Event::new(kind).by(id),
        },
        Subject::Unknown(id) => Event::new(kind).by(apply::shown(id)),
    }
}

/// Whether the front end is registered for the portal of this class of accounts.
pub(crate) fn serves_class(state: &State, front_end: &FrontEndId, class: Class) -> bool {
    [Portal::Ccms, Portal::Dms]
        .into_iter()
        .any(|portal| portal.class() == class && serves(state, front_end, portal))
}

fn serves(state: &State, front_end: &FrontEndId, portal: Portal) -> bool {
    state
        .registered(&Holder::FrontEnd(front_end.clone()))
        .is_some_and(|known| known.portals.contains(&portal))
}

/// Until when somebody must wait before the password of `method` is looked at again.
///
/// Unknown user ids wait like known ones, so that waiting tells nothing (S23).
#[must_use]
pub fn wait_until(
    state: &State,
    subject: &Subject,
    method: Method,
    address: Option<IpAddr>,
    now: UnixMs,
) -> Option<UnixMs> {
    match subject {
        Subject::Known(id) => state.account(id)?.wait_until(method, address, now),
        Subject::Unknown(id) => {
            let unknown = state.unknown(&(*id, method), now)?;
            unknown.attempts.wait_until(address, now)
        }
    }
}

fn begin(
    state: &mut State,
    context: &Context<'_>,
    mut login: Login,
    verdict: Verdict,
    code: Option<&Sealed>,
) -> Effect {
    let (portal, method) = (login.option.portal(), login.option.method());
    let event = event_about(state, Kind::LoginBegun, &login.subject).at(portal, method);
    if !serves(state, &login.front_end, portal) {
        return Effect::rejected(Rejection::PortalNotRegistered, event);
    }
    if let Err(rejection) = state.open_session(context.now) {
        return Effect::rejected(rejection, event);
    }
    if let Err(rejection) = migration::admit(state, method, context.now) {
        return Effect::rejected(rejection, event);
    }
    if state.short.logins.len() >= LOGINS_MAX {
        return Effect::rejected(Rejection::TooMany, event);
    }
    if let Some(until) = wait_until(state, &login.subject, method, login.address, context.now) {
        return Effect::rejected(Rejection::RateLimited { until }, event);
    }
    login.password_right = check_password(state, context.now, &login, verdict);
    let send_code = code.is_some() && sends_code(state, &login, context.now);
    if send_code {
        login.code = code.cloned();
    }
    let answer = Answer::LoginOpened {
        ends_at: login.ends_at,
        send_code,
    };
    let right = login.password_right.is_some();
    state.short.logins.set(login);
    if right {
        Effect::done(answer, event)
    } else {
        Effect::failed(answer, event)
    }
}

/// The version of the password that is right; a failure is counted.
fn check_password(state: &mut State, now: UnixMs, login: &Login, verdict: Verdict) -> Option<u64> {
    let method = login.option.method();
    match &login.subject {
        Subject::Known(id) => {
            let mut account = state.account(id)?.clone();
            let right = account
                .password(method)
                .filter(|password| verdict.fits(password) && !account.locked(method))
                .map(|password| password.version);
            if right.is_none() {
                account.attempts_mut(method).fail(login.address, now);
                state.put_account(account);
            }
            right
        }
        Subject::Unknown(id) => {
            count_unknown(state, now, (*id, method), login.address);
            None
        }
    }
}

fn count_unknown(state: &mut State, now: UnixMs, id: UnknownId, address: Option<IpAddr>) {
    let mut unknown = state.unknown(&id, now).cloned().unwrap_or_else(|| Unknown {
        id: id.0,
        method: id.1,
        attempts: Attempts::default(),
        ends_at: now,
    });
    unknown.attempts.fail(address, now);
    unknown.ends_at = now.plus(FORGOTTEN_AFTER_MS);
    if state.unknown.len() >= UNKNOWN_MAX && state.unknown(&id, now).is_none() {
        state.unknown.remove_first();
    }
    state.unknown.set(unknown);
}

/// Whether the code that the edge sealed for the login goes out; it is counted if so.
fn sends_code(state: &mut State, login: &Login, now: UnixMs) -> bool {
    let Some(account) = login.subject.account() else {
        return false;
    };
    login.password_right.is_some()
        && mails_codes(state, &login.subject, login.option.method(), now)
        && may_mail(state, account, now)
}

/// Whether a code goes to the person's mailbox at this login.
fn mails_codes(state: &State, subject: &Subject, method: Method, now: UnixMs) -> bool {
    let account = subject.account().and_then(|id| state.account(id));
    account.is_some_and(|account| {
        let mailed = account
            .otp
            .as_ref()
            .is_some_and(|otp| otp.channel == Channel::Email && !otp.locked());
        let reached = account
            .email
            .as_ref()
            .is_some_and(|email| email.gets_codes(now));
        method == Method::Otp && mailed && reached && may_log_in(state, account)
    })
}

/// Whether the account is neither suspended nor held nor gone. Whether its firm is suspended is told
/// apart, after a factor was proved.
#[must_use]
pub fn may_log_in(state: &State, account: &Account) -> bool {
    let hold = Whose::Account(account.id.clone());
    account.active() && !state.gone(account) && state.holds.get(&hold).is_none()
}

/// Whether the account may be set up: as `may_log_in`, and its firm lets its people in.
pub(crate) fn may_set_up(state: &State, account: &Account) -> bool {
    may_log_in(state, account) && participant::lets_in(state, account)
}

fn resend(state: &mut State, context: &Context<'_>, id: &LoginId, code: Option<&Sealed>) -> Effect {
    let mut login = match own_login(state, context, id) {
        Ok(login) => login,
        Err(rejection) => return Effect::rejected(rejection, Event::new(Kind::CodeResent)),
    };
    let event = event_about(state, Kind::CodeResent, &login.subject);
    if login.codes >= CODES_MAX {
        let until = login.ends_at;
        return Effect::rejected(Rejection::RateLimited { until }, event);
    }
    // The count moves for everybody, so that it tells nothing; failures stay (S11).
    login.codes = login.codes.saturating_add(1);
    let send_code = code.is_some() && sends_code(state, &login, context.now);
    if send_code {
        login.code = code.cloned();
        login.code_ends = context.now.plus(state.policy.code_life_ms);
    }
    let answer = Answer::LoginOpened {
        ends_at: login.ends_at,
        send_code,
    };
    state.short.logins.set(login);
    Effect::done(answer, event)
}
