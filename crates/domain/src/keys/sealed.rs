//! Every sealed value that a state holds, by its place; and putting the same value, sealed anew,
//! in the place of it.
//!
//! Whoever adds a record with a sealed value adds its place here: the key that sealed a value
//! that is not found here would be retired under it. A test counts them in the encoded rows.

use serde::{Deserialize, Serialize};

use crate::account::{self, Account};
use crate::change::{self, Procedure};
use crate::change_request::{self, Act, ChangeRequest};
use crate::digest::Digest;
use crate::encoding;
use crate::envelope::Command;
use crate::factor::{Channel, Method, NewChannel, Password, Sealed};
use crate::id::{AccountId, ChangeRequestId, LoginId, ProcedureId};
use crate::initiation::{self, Activation, Setting};
use crate::login::{self, Login};
use crate::state::State;

/// Where a sealed value stands: what it is sealed for follows from it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place {
    /// The verifier of one of an account's passwords, reset or not.
    Verifier {
        /// Whose.
        account: AccountId,
        /// Of which method.
        method: Method,
    },
    /// The seed of an account's authenticator app.
    Seed {
        /// Whose.
        account: AccountId,
    },
    /// The mailed half of an activation code.
    MailedHalf {
        /// Whose.
        account: AccountId,
    },
    /// The half that an administrator passes on.
    IssuedHalf {
        /// Whose.
        account: AccountId,
    },
    /// The verifier of the card's password in a change request.
    AskedFor {
        /// Which request.
        request: ChangeRequestId,
        /// For whom.
        account: AccountId,
    },
    /// The seed that is being set up in a procedure.
    ProcedureSeed {
        /// Which procedure.
        procedure: ProcedureId,
        /// Whose.
        account: AccountId,
    },
    /// The code that was mailed for a procedure.
    ProcedureCode {
        /// Which procedure.
        procedure: ProcedureId,
        /// Whose.
        account: AccountId,
    },
    /// The code that was mailed for a login.
    LoginCode {
        /// Which login.
        login: LoginId,
        /// Whose.
        account: AccountId,
    },
}

/// A value that was sealed anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resealed {
    /// Where it stands.
    pub place: Place,
    /// The digest of what stood there when it was opened: anything else since stays.
    pub was: Digest,
    /// The same value under the key in use.
    pub sealed: Sealed,
}

impl Sealed {
    /// Names this very ciphertext.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of("sealed", &[&encoding::encode(self)])
    }
}

/// All values of the state whose key fits.
pub(crate) fn values_by<'a>(
    state: &'a State,
    by: impl Fn(u32) -> bool + Copy + 'a,
) -> impl Iterator<Item = (Place, &'a Sealed)> + 'a {
    let short = &state.short;
    let accounts = state.accounts.iter().flat_map(move |account| {
        let verifier = move |method, password: &'a Password| {
            let place = move || Place::Verifier {
                account: account.id.clone(),
                method,
            };
            fitting(&password.verifier, by).map(|sealed| (place(), sealed))
        };
        let card = account.card.as_ref();
        let card = card.and_then(|card| verifier(Method::Smartcard, &card.password));
        let otp = account.otp.as_ref();
        let password = otp.and_then(|otp| verifier(Method::Otp, &otp.password));
        let seed = otp.and_then(|otp| seed_of(&otp.channel));
        let seed = seed.and_then(|seed| fitting(seed, by)).map(|seed| {
            let account = account.id.clone();
            (Place::Seed { account }, seed)
        });
        card.into_iter().chain(password).chain(seed)
    });
    let activations = short.activations.iter().flat_map(move |of| {
        let account = || of.account.clone();
        let mailed = of.mailed.as_ref().and_then(|half| fitting(half, by));
        let mailed = mailed.map(|half| (Place::MailedHalf { account: account() }, half));
        let issued = of.issued.as_ref().and_then(|half| fitting(half, by));
        let issued = issued.map(|half| (Place::IssuedHalf { account: account() }, half));
        mailed.into_iter().chain(issued)
    });
    let asked_for = state.change_requests.iter().filter_map(move |request| {
        let sealed = fitting(card_asked_for(&request.act)?, by)?;
        let place = Place::AskedFor {
            request: request.id,
            account: request.account.clone(),
        };
        Some((place, sealed))
    });
    let procedures = short.procedures.iter().filter_map(move |of| {
        let (kind, sealed) = in_procedure(&of.kind)?;
        let (procedure, account) = (of.id, of.account.clone());
        let place = match kind {
            InProcedure::Seed => Place::ProcedureSeed { procedure, account },
            InProcedure::Code => Place::ProcedureCode { procedure, account },
        };
        Some((place, fitting(sealed, by)?))
    });
    let logins = short.logins.iter().filter_map(move |of| {
        // What is sealed for nobody is never opened, and goes with its login.
        let account = of.subject.account()?.clone();
        let sealed = fitting(of.code.as_ref()?, by)?;
        Some((
            Place::LoginCode {
                login: of.id,
                account,
            },
            sealed,
        ))
    });
    accounts
        .chain(activations)
        .chain(asked_for)
        .chain(procedures)
        .chain(logins)
}

fn fitting(sealed: &Sealed, by: impl Fn(u32) -> bool) -> Option<&Sealed> {
    Some(sealed).filter(|sealed| by(sealed.key))
}

fn seed_of(channel: &Channel) -> Option<&Sealed> {
    match channel {
        Channel::Authenticator { seed, .. } => Some(seed),
        Channel::Email => None,
    }
}

fn card_asked_for(act: &Act) -> Option<&Sealed> {
    match act {
        Act::Create(imported) => imported.card.as_ref().map(|(_, sealed)| sealed),
        Act::RegisterCard { password, .. } => Some(password),
        Act::Resume
        | Act::Unlock(_)
        | Act::SetEmail(_)
        | Act::ResetPassword
        | Act::ResetChannel
        | Act::ResetBoth
        | Act::Delete
        | Act::AllowMethod(_) => None,
    }
}

enum InProcedure {
    Seed,
    Code,
}

fn in_channel(channel: &NewChannel) -> (InProcedure, &Sealed) {
    match channel {
        NewChannel::Authenticator { seed } => (InProcedure::Seed, seed),
        NewChannel::Email { code } => (InProcedure::Code, code),
    }
}

fn in_procedure(kind: &change::Kind) -> Option<(InProcedure, &Sealed)> {
    match kind {
        change::Kind::SetUp { setting, .. } => in_setting(setting),
        change::Kind::StepUp { code, .. } => Some((InProcedure::Code, code.as_ref()?)),
        change::Kind::Replacement { channel, .. } => Some(in_channel(channel)),
    }
}

fn in_setting(setting: &Setting) -> Option<(InProcedure, &Sealed)> {
    match setting {
        Setting::Channel(channel) => Some(in_channel(channel)),
        Setting::Password { code } => Some((InProcedure::Code, code.as_ref()?)),
    }
}

/// Puts the value in its place, if what it was made of stands there still; says whether.
pub(super) fn replace(state: &mut State, value: &Resealed) -> bool {
    let with = |slot: Option<&mut Sealed>| match slot {
        Some(slot) if slot.digest() == value.was => {
            *slot = value.sealed.clone();
            true
        }
        Some(_) | None => false,
    };
    let mut done = false;
    match &value.place {
        Place::Verifier { account, method } => {
            done = in_account(state, account, |found| {
                with(password_mut(found, *method).map(|password| &mut password.verifier))
            });
        }
        Place::Seed { account } => {
            done = in_account(state, account, |found| {
                with(
                    found
                        .otp
                        .as_mut()
                        .and_then(|otp| seed_mut(&mut otp.channel)),
                )
            });
        }
        Place::MailedHalf { account } => {
            let change = |of: &mut Activation| done = with(of.mailed.as_mut());
            state.short.activations.change(account, change);
        }
        Place::IssuedHalf { account } => {
            let change = |of: &mut Activation| done = with(of.issued.as_mut());
            state.short.activations.change(account, change);
        }
        Place::AskedFor { request, .. } => {
            let change = |of: &mut ChangeRequest| done = with(card_asked_for_mut(&mut of.act));
            state.change_requests.change(request, change);
        }
        Place::ProcedureSeed { procedure, .. } | Place::ProcedureCode { procedure, .. } => {
            let change = |of: &mut Procedure| done = with(in_procedure_mut(&mut of.kind));
            state.short.procedures.change(procedure, change);
        }
        Place::LoginCode { login, .. } => {
            let change = |of: &mut Login| done = with(of.code.as_mut());
            state.short.logins.change(login, change);
        }
    }
    done
}

fn in_account(
    state: &mut State,
    id: &AccountId,
    change: impl FnOnce(&mut Account) -> bool,
) -> bool {
    let Some(mut account) = state.accounts.get(id).cloned() else {
        return false;
    };
    let changed = change(&mut account);
    if changed {
        state.put_account(account);
    }
    changed
}

fn password_mut(account: &mut Account, method: Method) -> Option<&mut Password> {
    match method {
        Method::Smartcard => account.card.as_mut().map(|card| &mut card.password),
        Method::Otp => account.otp.as_mut().map(|otp| &mut otp.password),
    }
}

fn seed_mut(channel: &mut Channel) -> Option<&mut Sealed> {
    match channel {
        Channel::Authenticator { seed, .. } => Some(seed),
        Channel::Email => None,
    }
}

fn card_asked_for_mut(act: &mut Act) -> Option<&mut Sealed> {
    match act {
        Act::Create(imported) => imported.card.as_mut().map(|(_, sealed)| sealed),
        Act::RegisterCard { password, .. } => Some(password),
        Act::Resume
        | Act::Unlock(_)
        | Act::SetEmail(_)
        | Act::ResetPassword
        | Act::ResetChannel
        | Act::ResetBoth
        | Act::Delete
        | Act::AllowMethod(_) => None,
    }
}

fn in_channel_mut(channel: &mut NewChannel) -> &mut Sealed {
    match channel {
        NewChannel::Authenticator { seed } => seed,
        NewChannel::Email { code } => code,
    }
}

fn in_procedure_mut(kind: &mut change::Kind) -> Option<&mut Sealed> {
    match kind {
        change::Kind::SetUp { setting, .. } => match setting {
            Setting::Channel(channel) => Some(in_channel_mut(channel)),
            Setting::Password { code } => code.as_mut(),
        },
        change::Kind::StepUp { code, .. } => code.as_mut(),
        change::Kind::Replacement { channel, .. } => Some(in_channel_mut(channel)),
    }
}

/// Every sealed value that a command brings into the state.
pub(crate) fn carried_by(command: &Command) -> Vec<&Sealed> {
    match command {
        Command::Account(command) => by_administrators(command),
        Command::ChangeRequest(change_request::Command::Make { act, .. }) => {
            card_asked_for(act).into_iter().collect()
        }
        Command::Login(command) => match command {
            login::Command::Begin { code, .. } | login::Command::Resend { code, .. } => {
                code.iter().collect()
            }
            login::Command::Rehash { verifier, .. } => vec![verifier],
            login::Command::Verify { .. } | login::Command::Unheard { .. } => Vec::new(),
        },
        Command::Initiation(command) => match command {
            initiation::Command::Request { code, .. } => code.iter().collect(),
            initiation::Command::Begin { setting, .. } => {
                let found = in_setting(setting).map(|(_, sealed)| sealed);
                found.into_iter().collect()
            }
            initiation::Command::Confirm { password, .. } => password.iter().collect(),
        },
        Command::Change(command) => match command {
            change::Command::Password { password, .. } => vec![password],
            change::Command::BeginStepUp { code, .. } => code.iter().collect(),
            change::Command::BeginReplacement { channel, .. } => vec![in_channel(channel).1],
            change::Command::VerifyStepUp { .. } | change::Command::ConfirmReplacement { .. } => {
                Vec::new()
            }
        },
        Command::Keys(super::Command::Reseal { values, .. }) => {
            values.iter().map(|value| &value.sealed).collect()
        }
        Command::ChangeRequest(
            change_request::Command::Approve { .. }
            | change_request::Command::Reject { .. }
            | change_request::Command::Withdraw { .. },
        )
        | Command::Protection(_)
        | Command::Centre(_)
        | Command::Promote(_)
        | Command::Keys(
            super::Command::Announce { .. }
            | super::Command::Prove { .. }
            | super::Command::Use { .. }
            | super::Command::Retire { .. },
        )
        | Command::Cluster(_)
        | Command::Session(_)
        | Command::SetCalendar(_)
        | Command::SetPolicy { .. }
        | Command::Migration(_)
        | Command::SetRevocationList(_)
        | Command::Token(_)
        | Command::Notice(_)
        | Command::Participant(_)
        | Command::Registration(_)
        | Command::Script(_) => Vec::new(),
        Command::Signed(signed) => carried_by(&signed.command),
    }
}

fn by_administrators(command: &account::Command) -> Vec<&Sealed> {
    match command {
        account::Command::Import { accounts, .. } => {
            let cards = accounts.iter().filter_map(|of| of.card.as_ref());
            cards.map(|(_, sealed)| sealed).collect()
        }
        account::Command::IssueActivationCode { code, .. } => vec![code],
        account::Command::ApproveImport { .. }
        | account::Command::Suspend { .. }
        | account::Command::RevokeOtp { .. }
        | account::Command::RevokeCard { .. }
        | account::Command::DisableMethod { .. }
        | account::Command::SetTitle { .. }
        | account::Command::SetParticipant { .. }
        | account::Command::EndTokens { .. }
        | account::Command::Review { .. } => Vec::new(),
    }
}
