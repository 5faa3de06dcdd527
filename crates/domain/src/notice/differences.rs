//! What an account's holder is told of what the account became: it follows from the difference
//! between the two.

use super::Kind;
use crate::account::{Account, Status};
use crate::attempts::{Attempts, CONSECUTIVE_FAILURES_MAX, FREE_FAILURES};
use crate::factor::{Channel, Method, Otp, Reset};

/// What an account's holder is told when the account becomes another, and at which address.
pub(super) fn told<'a>(former: &'a Account, now: &'a Account) -> Vec<(Kind, &'a str)> {
    let address = |account: &'a Account| account.email.as_ref().map(|email| &*email.address);
    let (old, new) = (address(former), address(now));
    if now.deleted() {
        // Nothing is left of it, the address either.
        let told = old.filter(|_| !former.deleted());
        return told.map(|to| (Kind::Deleted, to)).into_iter().collect();
    }
    let mut kinds = Vec::new();
    kinds.extend(status_told(&former.status, &now.status));
    kinds.extend(otp_told(former.otp.as_ref(), now.otp.as_ref()));
    kinds.extend(card_told(former, now));
    kinds.extend(attempts_told(former, now));
    let mut told = Vec::new();
    // An address that was replaced hears of it first: the new one may be an intruder's.
    if old != new {
        told.extend(old.map(|to| (Kind::EmailChanged, to)));
        told.extend(new.map(|to| (Kind::EmailChanged, to)));
    }
    if let Some(to) = new {
        told.extend(kinds.into_iter().map(|kind| (kind, to)));
    }
    told
}

fn status_told(former: &Status, now: &Status) -> Option<Kind> {
    match (former, now) {
        (Status::Active, Status::Suspended { .. }) => Some(Kind::Suspended),
        (Status::Suspended { .. }, Status::Active) => Some(Kind::Resumed),
        (Status::Active, Status::Active)
        | (Status::Suspended { .. }, Status::Suspended { .. })
        | (Status::Deleted { .. }, _)
        | (_, Status::Deleted { .. }) => None,
    }
}

fn otp_told(former: Option<&Otp>, now: Option<&Otp>) -> Vec<Kind> {
    match (former, now) {
        (None, None) => Vec::new(),
        (None, Some(_)) => vec![Kind::Initiated],
        (Some(_), None) => vec![Kind::OtpRevoked],
        (Some(former), Some(now)) => {
            let reset = match now.reset {
                Some(reset) if former.reset != now.reset => Some(match reset {
                    Reset::Password => Kind::PasswordReset,
                    Reset::Channel => Kind::ChannelReset,
                }),
                Some(_) | None => None,
            };
            let password = former.password.version != now.password.version;
            let channel = replaced(former, now);
            [
                password.then_some(Kind::PasswordChanged(Method::Otp)),
                channel.then_some(Kind::ChannelReplaced),
                reset,
            ]
            .into_iter()
            .flatten()
            .collect()
        }
    }
}

/// Whether the person's channel is another one. A seed that was only sealed anew is the same.
fn replaced(former: &Otp, now: &Otp) -> bool {
    match (&former.channel, &now.channel) {
        (Channel::Email, Channel::Email) => {
            former.reset == Some(Reset::Channel) && now.reset.is_none()
        }
        (Channel::Authenticator { seed: old, .. }, Channel::Authenticator { seed: new, .. }) => {
            old != new && (old.key == new.key || former.changed_at != now.changed_at)
        }
        (Channel::Email, Channel::Authenticator { .. })
        | (Channel::Authenticator { .. }, Channel::Email) => true,
    }
}

fn card_told(former: &Account, now: &Account) -> Option<Kind> {
    match (&former.card, &now.card) {
        (None, None) => None,
        (None, Some(_)) => Some(Kind::CardRegistered),
        (Some(_), None) => Some(Kind::CardRevoked),
        (Some(former), Some(now)) if former.number != now.number => Some(Kind::CardRegistered),
        (Some(former), Some(now)) => (former.password.version != now.password.version)
            .then_some(Kind::PasswordChanged(Method::Smartcard)),
    }
}

/// Failures that have just become many, of passwords or of codes.
fn attempts_told(former: &Account, now: &Account) -> Vec<Kind> {
    let failures = |account: &Account, method: Method| {
        let passwords = account.attempts.get(&method).map_or(0, worst);
        match method {
            Method::Otp => passwords.max(failures_of_codes(account)),
            Method::Smartcard => passwords,
        }
    };
    let locked = |account: &Account, method: Method| {
        let codes = failures_of_codes(account) >= CONSECUTIVE_FAILURES_MAX;
        account.locked(method) || (method == Method::Otp && codes)
    };
    let mut told = Vec::new();
    for method in [Method::Smartcard, Method::Otp] {
        if !locked(former, method) && locked(now, method) {
            told.push(Kind::Locked);
        } else if failures(former, method) < FREE_FAILURES && FREE_FAILURES <= failures(now, method)
        {
            told.push(Kind::SuspiciousAttempts);
        }
    }
    told
}

fn failures_of_codes(account: &Account) -> u32 {
    account.otp.as_ref().map_or(0, |otp| otp.failures)
}

/// The most failures of any origin: each success of the owner ends the consecutive ones, not a
/// stranger's.
fn worst(attempts: &Attempts) -> u32 {
    attempts
        .known
        .values()
        .map(|known| known.count.failures)
        .fold(
            attempts.consecutive.max(attempts.strangers.failures),
            u32::max,
        )
}
