//! Initiation: the first set-up of password and OTP channel, one atomic change (R30, R31); and the
//! set-up of one of them after a reset.
//!
//! The mailed code alone never initiates: a card's proof or the half that an administrator holds
//! goes with it (S24). After a reset it never replaces the half that was not reset (S26): a new
//! password takes a code of the channel, a new channel the password.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

mod confirm;

use confirm::confirm;

use crate::account::{Account, SetUp};
use crate::apply::{Context, Effect};
use crate::audit::{Event, Kind};
use crate::calendar;
use crate::change::{self, PROCEDURES_MAX, Procedure};
use crate::factor::{CodeProof, Method, NewChannel, Sealed, Verdict};
use crate::id::{AccountId, CardNumber, FrontEndId, ProcedureId};
use crate::login::{self, Subject};
use crate::outcome::{Answer, Rejection};
use crate::state::State;
use crate::table::{Expires, Record};
use crate::time::UnixMs;

/// Wrong activation codes that an activation takes.
pub const TRIES_MAX: u8 = 5;
/// The window in which activations are counted.
pub const HOUR_MS: u64 = 3_600_000;

/// The codes that an account can be initiated with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// Whose.
    pub account: AccountId,
    /// The sealed code that was mailed, if one was.
    pub mailed: Option<Sealed>,
    /// When it ends.
    pub mailed_ends: UnixMs,
    /// The sealed half that an administrator passes on, if one was issued.
    pub issued: Option<Sealed>,
    /// When it ends.
    pub issued_ends: UnixMs,
    /// Counts the codes: a verdict on an earlier one is known for one.
    pub serial: u32,
    /// Wrong codes so far.
    pub tries: u8,
    /// Codes mailed in this hour.
    pub mailed_count: u32,
    /// When the hour began.
    pub hour_began: UnixMs,
}

impl Record for Activation {
    type Key = AccountId;
    const TABLE: &'static str = "activation";
    fn key(&self) -> AccountId {
        self.account.clone()
    }
}

impl Expires for Activation {
    fn expires(&self) -> UnixMs {
        self.mailed_ends
            .max(self.issued_ends)
            .max(self.hour_began.plus(HOUR_MS))
    }
}

impl Activation {
    pub(crate) fn new(account: AccountId, now: UnixMs) -> Self {
        Self {
            account,
            mailed: None,
            mailed_ends: now,
            issued: None,
            issued_ends: now,
            serial: 0,
            tries: 0,
            mailed_count: 0,
            hour_began: now,
        }
    }

    /// The mailed code, if it still counts.
    #[must_use]
    pub fn mailed(&self, now: UnixMs) -> Option<&Sealed> {
        self.mailed
            .as_ref()
            .filter(|_| now < self.mailed_ends && self.tries < TRIES_MAX)
    }

    /// The administrator's half, if it still counts.
    #[must_use]
    pub fn issued(&self, now: UnixMs) -> Option<&Sealed> {
        self.issued
            .as_ref()
            .filter(|_| now < self.issued_ends && self.tries < TRIES_MAX)
    }
}

/// What is being set up, with what its confirming code is checked against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Setting {
    /// A channel: with a password at an initiation, alone after the channel's reset.
    Channel(NewChannel),
    /// The password alone: the channel that is there proves the person.
    Password {
        /// The sealed code that was sent, if that channel is e-mail.
        code: Option<Sealed>,
    },
}

/// What goes with the mailed code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecondProof {
    /// The card's password.
    CardPassword(Verdict),
    /// The card's signature; none when it did not hold.
    CardSignature(Option<CardNumber>),
    /// The half that an administrator issued.
    IssuedHalf {
        /// Whether it is that half.
        matched: bool,
    },
    /// The OTP password, where only the channel was reset.
    CurrentPassword(Verdict),
}

/// What is asked about initiations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Asks for a code by e-mail.
    Request {
        /// For whom.
        subject: Subject,
        /// The sealed code to send, if the account has an address.
        code: Option<Sealed>,
    },
    /// Shows the codes, and names the channel.
    Begin {
        /// The id of what is begun.
        procedure: ProcedureId,
        /// For whom.
        subject: Subject,
        /// The person's address.
        address: Option<IpAddr>,
        /// The serial of the activation that the edge looked at.
        serial: u32,
        /// Whether the mailed code is right.
        code_matched: bool,
        /// What goes with it.
        second: SecondProof,
        /// What to set up.
        setting: Setting,
    },
    /// Shows a code of the channel, and sets what was begun.
    Confirm {
        /// What was begun.
        procedure: ProcedureId,
        /// The edge's verdict on the channel's code.
        proof: CodeProof,
        /// The sealed verifier of the new password; none where only the channel was reset.
        password: Option<Sealed>,
    },
}

impl Command {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Request { .. } => Kind::ActivationRequested,
            Self::Begin { .. } => Kind::InitiationBegun,
            Self::Confirm { .. } => Kind::Initiated,
        }
    }
}

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: &Command) -> Effect {
    let front_end = match may_initiate(state, context) {
        Ok(front_end) => front_end.clone(),
        Err(rejection) => return Effect::rejected(rejection, Event::new(command.kind())),
    };
    match command {
        Command::Request { subject, code } => request(state, context, subject, code.as_ref()),
        Command::Begin {
            procedure,
            subject,
            address,
            serial,
            code_matched,
            second,
            setting,
        } => {
            let opened = Procedure {
                id: *procedure,
                account: match subject {
                    Subject::Known(id) => id.clone(),
                    Subject::Unknown(_) => {
                        let event = login::event_about(state, Kind::InitiationBegun, subject);
                        return Effect::failed(Answer::CredentialsRejected, event);
                    }
                },
                front_end,
                tries: 0,
                ends_at: context.now.plus(state.policy.code_life_ms),
                kind: change::Kind::SetUp {
                    setting: setting.clone(),
                    passwords_set: 0,
                },
            };
            let shown = Shown {
                address: *address,
                serial: *serial,
                code_matched: *code_matched,
                second,
            };
            begin(state, context, opened, &shown)
        }
        Command::Confirm {
            procedure,
            proof,
            password,
        } => confirm(
            state,
            context,
            &front_end,
            procedure,
            *proof,
            password.as_ref(),
        ),
    }
}

fn may_initiate<'a>(state: &State, context: &Context<'a>) -> Result<&'a FrontEndId, Rejection> {
    let front_end = login::front_end(context)?;
    match state.open_session(context.now)?.session.initiation {
        calendar::Initiation::Allow => Ok(front_end),
        calendar::Initiation::Deny => Err(Rejection::InitiationDenied),
    }
}

/// Notes a code for an account that can be set up. The answer is the same for everyone (R8).
fn request(
    state: &mut State,
    context: &Context<'_>,
    subject: &Subject,
    code: Option<&Sealed>,
) -> Effect {
    let event = login::event_about(state, Kind::ActivationRequested, subject);
    let now = context.now;
    let account = subject
        .account()
        .and_then(|id| state.account(id))
        .filter(|account| login::may_set_up(state, account))
        .filter(|account| account.set_up().is_some())
        .filter(|account| {
            account
                .email
                .as_ref()
                .is_some_and(|email| email.gets_codes(now))
        });
    let mut send_code = false;
    if let (Some(account), Some(code)) = (account, code) {
        let mut activation = state
            .activation(&account.id, now)
            .cloned()
            .unwrap_or_else(|| Activation::new(account.id.clone(), now));
        if now.since(activation.hour_began) >= HOUR_MS {
            activation.hour_began = now;
            activation.mailed_count = 0;
        }
        if activation.mailed_count < state.policy.activations_an_hour {
            activation.mailed = Some(code.clone());
            activation.serial = activation.serial.saturating_add(1);
            activation.mailed_ends = now.plus(state.policy.activation_life_ms);
            activation.mailed_count = activation.mailed_count.saturating_add(1);
            activation.tries = 0;
            state.short.activations.set(activation);
            send_code = true;
        }
    }
    Effect::done(Answer::ActivationNoted { send_code }, event)
}

/// What the edge found about the codes.
struct Shown<'a> {
    address: Option<IpAddr>,
    serial: u32,
    code_matched: bool,
    second: &'a SecondProof,
}

fn begin(
    state: &mut State,
    context: &Context<'_>,
    mut procedure: Procedure,
    shown: &Shown<'_>,
) -> Effect {
    let now = context.now;
    let subject = Subject::Known(procedure.account.clone());
    let event = login::event_about(state, Kind::InitiationBegun, &subject);
    if state.short.procedures.len() >= PROCEDURES_MAX {
        return Effect::rejected(Rejection::TooMany, event);
    }
    let account = state
        .account(&procedure.account)
        .filter(|account| login::may_set_up(state, account))
        .filter(|account| fits(account, &procedure.kind))
        .filter(|account| login::serves_class(state, &procedure.front_end, account.class))
        .cloned();
    let activation = state
        .activation(&procedure.account, now)
        .filter(|activation| activation.serial == shown.serial)
        .cloned();
    let (Some(mut account), Some(mut activation)) = (account, activation) else {
        return Effect::failed(Answer::CredentialsRejected, event);
    };
    // Told only to who has the mailed code: before it, a wait or a failure counted would say that
    // there is such an account (S23).
    let code_right = shown.code_matched && activation.mailed(now).is_some();
    if !code_right {
        activation.tries = activation.tries.saturating_add(1);
        state.short.activations.set(activation);
        return Effect::failed(Answer::CredentialsRejected, event);
    }
    if let Some(method) = shown.second.guessed()
        && let Some(until) = account.wait_until(method, shown.address, now)
    {
        return Effect::rejected(Rejection::RateLimited { until }, event);
    }
    let second_right = second_right(&mut account, &activation, shown, now);
    if !second_right {
        activation.tries = activation.tries.saturating_add(1);
        state.short.activations.set(activation);
        state.put_account(account);
        return Effect::failed(Answer::CredentialsRejected, event);
    }
    let ends_at = procedure.ends_at;
    if let change::Kind::SetUp { passwords_set, .. } = &mut procedure.kind {
        *passwords_set = account.passwords_set;
    }
    state.short.activations.remove(&procedure.account);
    state.short.procedures.set(procedure);
    Effect::done(Answer::ProcedureOpened { ends_at }, event).with_secret()
}

impl SecondProof {
    /// The method whose password it is a try at, if it is one.
    fn guessed(&self) -> Option<Method> {
        match self {
            Self::CardPassword(_) => Some(Method::Smartcard),
            Self::CurrentPassword(_) => Some(Method::Otp),
            Self::CardSignature(_) | Self::IssuedHalf { .. } => None,
        }
    }
}

/// Whether what is to be set up is what the account lacks.
fn fits(account: &Account, kind: &change::Kind) -> bool {
    let change::Kind::SetUp { setting, .. } = kind else {
        return false;
    };
    match (account.set_up(), setting) {
        (Some(SetUp::Both | SetUp::Channel), Setting::Channel(_))
        | (Some(SetUp::Password), Setting::Password { .. }) => true,
        (Some(_) | None, Setting::Channel(_) | Setting::Password { .. }) => false,
    }
}

/// Whether what goes with the mailed code is right; a wrong password is counted.
fn second_right(
    account: &mut Account,
    activation: &Activation,
    shown: &Shown<'_>,
    now: UnixMs,
) -> bool {
    let channel_alone = account.set_up() == Some(SetUp::Channel);
    match shown.second {
        SecondProof::CurrentPassword(verdict) if channel_alone => {
            password_right(account, Method::Otp, *verdict, shown.address, now)
        }
        // The password that was not reset is what proves the person then, and nothing else.
        SecondProof::CardPassword(_)
        | SecondProof::CardSignature(_)
        | SecondProof::IssuedHalf { .. }
            if channel_alone =>
        {
            false
        }
        SecondProof::CurrentPassword(_) => false,
        SecondProof::CardPassword(verdict) => {
            password_right(account, Method::Smartcard, *verdict, shown.address, now)
        }
        SecondProof::CardSignature(number) => account
            .card
            .as_ref()
            .is_some_and(|card| number.as_ref() == Some(&card.number)),
        // Who has a card proves it: the half by voice is for those who have none.
        SecondProof::IssuedHalf { matched } => {
            *matched && activation.issued(now).is_some() && account.card.is_none()
        }
    }
}

/// Whether the method's password is right; a failure is counted.
fn password_right(
    account: &mut Account,
    method: Method,
    verdict: Verdict,
    address: Option<IpAddr>,
    now: UnixMs,
) -> bool {
    let Some(password) = account.password(method) else {
        return false;
    };
    let right = verdict.fits(password);
    if account.locked(method) {
        return false;
    }
    if !right {
        account.attempts_mut(method).fail(address, now);
    }
    right
}
