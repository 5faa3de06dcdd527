//! Accounts and participants: who may log in, and what administrators do to them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::apply::{Context, Effect};
use crate::attempts::Attempts;
use crate::audit::{Event, Kind, Repeat};
use crate::cluster;
use crate::envelope::Actor;
use crate::factor::{Card, Method, Otp, Password, Sealed};
use crate::id::{AccountId, CardNumber, OperatorId, ParticipantId};
use crate::initiation::Activation;
use crate::line::{Carry, LineId};
use crate::outcome::{Answer, Rejection};
use crate::state::State;
use crate::table::Record;
use crate::time::UnixMs;
use crate::token::{self, TokenId};

/// Longest e-mail address, in bytes (RFC 5321 §4.5.3.1).
pub const EMAIL_BYTES_MAX: usize = 254;
/// Longest name of a person or firm, in bytes.
pub const TITLE_BYTES_MAX: usize = 128;
/// Most rows in one import entry; longer files become several.
pub const IMPORT_ROWS_MAX: usize = 500;

/// A firm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    /// Its id.
    pub id: ParticipantId,
    /// Its name.
    pub title: String,
}

impl Record for Participant {
    type Key = ParticipantId;
    const TABLE: &'static str = "participant";
    fn key(&self) -> ParticipantId {
        self.id.clone()
    }
}

/// The two classes of accounts, never interchangeable (R50).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// Works in CCMS.
    User,
    /// Delegated administrator: works in DMS.
    DelegatedAdmin,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::DelegatedAdmin => "DA",
        })
    }
}

/// Who took or gave access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// A delegated administrator of the same participant.
    Account(AccountId),
    /// An operator.
    Operator(OperatorId),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(f, "{id}"),
            Self::Operator(id) => write!(f, "operator {id}"),
        }
    }
}

/// Whether the account may log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It may.
    Active,
    /// It may not, until resumed.
    Suspended {
        /// Since when.
        at: UnixMs,
        /// By whom.
        by: By,
    },
}

/// A registered e-mail address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Email {
    /// The address.
    pub address: String,
    /// When it was registered.
    pub since: UnixMs,
}

/// A person's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The user id.
    pub id: AccountId,
    /// The firm.
    pub participant: ParticipantId,
    /// User or delegated administrator.
    pub class: Class,
    /// The person's name.
    pub title: String,
    /// The registered address, if any (R8).
    pub email: Option<Email>,
    /// Whether it may log in.
    pub status: Status,
    /// The smartcard, if any.
    pub card: Option<Card>,
    /// Password and OTP, once initiated.
    pub otp: Option<Otp>,
    /// Failures by method, of a password that is not set too: so an account without one waits
    /// like one that has it (S23).
    pub attempts: BTreeMap<Method, Attempts>,
    /// Counts the changes of passwords, for `factor::Password::version`, and revocations.
    pub passwords_set: u64,
    /// The last login, if any.
    pub last_login: Option<UnixMs>,
}

impl Record for Account {
    type Key = AccountId;
    const TABLE: &'static str = "account";
    fn key(&self) -> AccountId {
        self.id.clone()
    }
}

/// How far an account's migration is (R10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    /// No e-mail registered: it cannot initiate.
    NoEmail,
    /// It can initiate, and has not.
    EmailRegistered,
    /// It has initiated, and has a card too.
    Initiated,
    /// It has initiated, and has no card.
    TwoFactorOnly,
}

impl Account {
    /// How far the migration is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match (&self.otp, &self.card, &self.email) {
            (Some(_), Some(_), _) => Stage::Initiated,
            (Some(_), None, _) => Stage::TwoFactorOnly,
            (None, _, Some(_)) => Stage::EmailRegistered,
            (None, _, None) => Stage::NoEmail,
        }
    }

    /// Whether it may log in.
    #[must_use]
    pub fn active(&self) -> bool {
        match self.status {
            Status::Active => true,
            Status::Suspended { .. } => false,
        }
    }

    /// The password of the method, if it is set.
    #[must_use]
    pub fn password(&self, method: Method) -> Option<&Password> {
        match method {
            Method::Smartcard => self.card.as_ref().map(|card| &card.password),
            Method::Otp => self.otp.as_ref().map(|otp| &otp.password),
        }
    }

    /// Whether the password of the method is disabled until it is unlocked (S12).
    #[must_use]
    pub fn locked(&self, method: Method) -> bool {
        self.attempts.get(&method).is_some_and(Attempts::locked)
    }

    /// Until when this address must wait before the password of the method is looked at.
    #[must_use]
    pub fn wait_until(
        &self,
        method: Method,
        address: Option<IpAddr>,
        now: UnixMs,
    ) -> Option<UnixMs> {
        self.attempts.get(&method)?.wait_until(address, now)
    }

    /// The failures of the method, to count one or to end them.
    pub(crate) fn attempts_mut(&mut self, method: Method) -> &mut Attempts {
        self.attempts.entry(method).or_default()
    }

    /// A new password of this account, with its version.
    pub(crate) fn next_password(&mut self, verifier: Sealed, now: UnixMs) -> Password {
        self.passwords_set = self.passwords_set.saturating_add(1);
        Password {
            verifier,
            version: self.passwords_set,
            set_at: now,
        }
    }
}

/// An account as an import gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The user id.
    pub id: AccountId,
    /// The firm; it must exist or be in the same import.
    pub participant: ParticipantId,
    /// User or delegated administrator.
    pub class: Class,
    /// The person's name.
    pub title: String,
    /// The registered address, if any.
    pub email: Option<String>,
    /// The card's number and the sealed verifier of its password, if there is a card.
    pub card: Option<(CardNumber, Sealed)>,
}

impl Imported {
    pub(crate) fn into_account(self, now: UnixMs) -> Account {
        let mut account = Account {
            id: self.id,
            participant: self.participant,
            class: self.class,
            title: self.title,
            email: self.email.map(|address| Email {
                address,
                since: now,
            }),
            status: Status::Active,
            card: None,
            otp: None,
            attempts: BTreeMap::new(),
            passwords_set: 0,
            last_login: None,
        };
        if let Some((number, verifier)) = self.card {
            account.card = Some(Card {
                number,
                password: account.next_password(verifier, now),
            });
        }
        account
    }
}

/// What is asked about accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// New participants and accounts, all or none.
    Import {
        /// Firms; one that exists is left as it is.
        participants: Vec<Participant>,
        /// People; one that exists refuses the import.
        accounts: Vec<Imported>,
    },
    /// Takes access away at once; all tokens end.
    Suspend {
        /// Whose.
        account: AccountId,
        /// The administrator's token; none when the actor is an operator.
        token: Option<TokenId>,
        /// Why, for the record.
        reason: String,
    },
    /// Takes password and OTP channel away: the account must be initiated again.
    RevokeOtp {
        /// Whose.
        account: AccountId,
        /// Why, for the record.
        reason: String,
    },
    /// Notes the second half of an activation code, which the administrator passes on by voice.
    IssueActivationCode {
        /// For whom.
        account: AccountId,
        /// The administrator's token; none when the actor is an operator.
        token: Option<TokenId>,
        /// The sealed half.
        code: Sealed,
    },
    /// Ends the account's tokens (S33).
    EndTokens {
        /// Whose.
        account: AccountId,
        /// The administrator's token; none when the actor is an operator.
        token: Option<TokenId>,
    },
}

impl Command {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Import { .. } => Kind::AccountsImported,
            Self::Suspend { .. } => Kind::AccountSuspended,
            Self::RevokeOtp { .. } => Kind::OtpRevoked,
            Self::IssueActivationCode { .. } => Kind::ActivationIssued,
            Self::EndTokens { .. } => Kind::TokensEnded,
        }
    }
}

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: &Command) -> Effect {
    match command {
        Command::Import {
            participants,
            accounts,
        } => import(state, context, participants, accounts),
        Command::Suspend {
            account,
            token,
            reason,
        } => {
            let event = Event::new(Kind::AccountSuspended);
            match administer(state, context, account, token.as_ref()) {
                Ok((account, by)) => suspend(state, context, account, by, reason),
                Err(rejection) => refused(rejection, event, account),
            }
        }
        Command::RevokeOtp { account, reason } => revoke_otp(state, context, account, reason),
        Command::IssueActivationCode {
            account,
            token,
            code,
        } => {
            let event = Event::new(Kind::ActivationIssued);
            let target = administer(state, context, account, token.as_ref())
                .and_then(|found| open_for_people(state, context).map(|()| found));
            match target {
                Ok((account, by)) => issue_activation(state, context, &account, &by, code),
                Err(rejection) => refused(rejection, event, account),
            }
        }
        Command::EndTokens { account, token } => {
            let event = Event::new(Kind::TokensEnded);
            match administer(state, context, account, token.as_ref()) {
                Ok((account, by)) => {
                    let count = state.short.tokens.end_of(&account.id);
                    let event = Event::of(Kind::TokensEnded, &account).by(by);
                    Effect::done(Answer::TokensEnded { count }, event)
                }
                Err(rejection) => refused(rejection, event, account),
            }
        }
    }
}

fn refused(rejection: Rejection, mut event: Event, account: &AccountId) -> Effect {
    event.account = Some(account.clone());
    Effect::rejected(rejection, event)
}

/// The account, and who acts on it: a DA on its own participant's users alone, an operator on
/// anybody (R9, R47). What a DA may not touch looks to it like what is not there.
fn administer(
    state: &State,
    context: &Context<'_>,
    account: &AccountId,
    token: Option<&TokenId>,
) -> Result<(Account, By), Rejection> {
    match (context.actor, token) {
        (Actor::Operator(operator), None) => {
            let account = state.account(account).ok_or(Rejection::NoSuchAccount)?;
            Ok((account.clone(), By::Operator(operator.clone())))
        }
        (Actor::FrontEnd(_), Some(token)) => {
            let token = token::shown(state, context, token)?;
            if token.class != Class::DelegatedAdmin {
                return Err(Rejection::NotAllowed);
            }
            let account = state
                .account(account)
                .filter(|account| account.class == Class::User)
                .filter(|account| account.participant == token.participant)
                .ok_or(Rejection::OtherParticipant)?;
            Ok((account.clone(), By::Account(token.account.clone())))
        }
        (
            Actor::Operator(_) | Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Node(_),
            Some(_) | None,
        ) => Err(Rejection::NotAllowed),
    }
}

/// Giving access needs an open session on the line, or an unfenced main line.
fn open_for_people(state: &State, context: &Context<'_>) -> Result<(), Rejection> {
    match context.actor {
        Actor::Operator(_) if state.header.line == LineId::Main => match &state.header.fence {
            Some(session) => Err(Rejection::BranchOpen {
                session: session.clone(),
            }),
            None => Ok(()),
        },
        Actor::Operator(_) | Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Node(_) => {
            state.open_session(context.now).map(|_| ())
        }
    }
}

/// Takes access away at once. A fenced main line takes it too: an emergency is two commands, one
/// a line, and nothing flows between them (LOGIN.md, "Administration").
fn suspend(
    state: &mut State,
    context: &Context<'_>,
    mut account: Account,
    by: By,
    reason: &str,
) -> Effect {
    let event = Event::of(Kind::AccountSuspended, &account)
        .by(&by)
        .detail(reason);
    if !account.active() {
        return Effect::rejected(Rejection::AlreadySo, event);
    }
    account.status = Status::Suspended {
        at: context.now,
        by,
    };
    state.short.tokens.end_of(&account.id);
    state.put_account(account);
    let carry = state.header.line.carry();
    let repeat = (carry == Carry::DiscardedAtRollover).then_some(Repeat::Suspension);
    Effect::done(Answer::Changed { carry }, event.repeat(repeat))
}

fn revoke_otp(
    state: &mut State,
    context: &Context<'_>,
    account: &AccountId,
    reason: &str,
) -> Effect {
    let event = Event::new(Kind::OtpRevoked);
    let mut account = match administer(state, context, account, None) {
        Ok((account, _)) => account,
        Err(rejection) => return refused(rejection, event, account),
    };
    let event = Event::of(Kind::OtpRevoked, &account).detail(reason);
    if account.otp.take().is_none() {
        return Effect::rejected(Rejection::AlreadySo, event);
    }
    // What was begun on the strength of the former state does not come to an end.
    account.passwords_set = account.passwords_set.saturating_add(1);
    account.attempts.remove(&Method::Otp);
    state.short.tokens.end_of(&account.id);
    state.put_account(account);
    let carry = state.header.line.carry();
    let repeat = (carry == Carry::DiscardedAtRollover).then_some(Repeat::OtpRevocation);
    Effect::done(Answer::Changed { carry }, event.repeat(repeat))
}

fn issue_activation(
    state: &mut State,
    context: &Context<'_>,
    account: &Account,
    by: &By,
    code: &Sealed,
) -> Effect {
    let event = Event::of(Kind::ActivationIssued, account).by(by);
    if account.otp.is_some() {
        return Effect::rejected(Rejection::AlreadyInitiated, event);
    }
    if account.email.is_none() {
        return Effect::rejected(Rejection::NoEmail, event);
    }
    let now = context.now;
    let ends_at = now.plus(state.policy.activation_life_ms);
    let mut activation = state
        .activation(&account.id, now)
        .cloned()
        .unwrap_or_else(|| Activation::new(account.id.clone(), now));
    activation.issued = Some(code.clone());
    activation.serial = activation.serial.saturating_add(1);
    activation.issued_ends = ends_at;
    activation.tries = 0;
    state.short.activations.set(activation);
    let carry = state.header.line.carry();
    Effect::done(Answer::HalfIssued { ends_at, carry }, event).with_secret()
}

fn import(
    state: &mut State,
    context: &Context<'_>,
    participants: &[Participant],
    accounts: &[Imported],
) -> Effect {
    let event = Event::new(Kind::AccountsImported);
    if let Err(rejection) = cluster::may_set(state, context) {
        return Effect::rejected(rejection, event);
    }
    let conflicts = conflicts(state, participants, accounts);
    if !conflicts.is_empty() {
        return Effect::rejected(Rejection::ImportConflicts(conflicts), event);
    }
    let mut firms = 0;
    for participant in participants {
        if state.participants.get(&participant.id).is_none() {
            state.participants.set(participant.clone());
            firms += 1;
        }
    }
    for account in accounts {
        state.put_account(account.clone().into_account(context.now));
    }
    let people = u32::try_from(accounts.len()).unwrap_or(u32::MAX);
    let detail = format!("{firms} participants, {people} accounts");
    Effect::done(
        Answer::Imported {
            participants: firms,
            accounts: people,
        },
        event.detail(detail),
    )
}

/// Most conflicts that a refusal names.
const CONFLICTS_NAMED: usize = 20;

/// What contradicts the state, or the other rows.
fn conflicts(state: &State, participants: &[Participant], accounts: &[Imported]) -> Vec<String> {
    let mut conflicts = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    let mut cards = std::collections::BTreeSet::new();
    if accounts.len() + participants.len() > IMPORT_ROWS_MAX {
        conflicts.push(format!("more than {IMPORT_ROWS_MAX} rows in one entry"));
    }
    for account in accounts {
        let id = &account.id;
        let firm = &account.participant;
        let known = state.participants.get(firm).is_some()
            || participants.iter().any(|row| row.id == *firm);
        if !known {
            conflicts.push(format!("{id}: there is no participant {firm}"));
        }
        if state.account(id).is_some() || !ids.insert(id) {
            conflicts.push(format!("{id}: the user id exists already"));
        }
        if let Some((card, _)) = &account.card
            && (state.by_card.contains_key(card) || !cards.insert(card))
        {
            conflicts.push(format!("{id}: the card {card} belongs to another account"));
        }
        if conflicts.len() >= CONFLICTS_NAMED {
            break;
        }
    }
    conflicts
}
