//! The same password under another verifier: one that costs less than today's is replaced once
//! the password was right (S21).
//!
//! Nothing else moves: version, date and the person's own changes stay, and nobody is told. What
//! an account can do is the same, so that a rollover, which forgets it too, does not name it.

use super::front_end;
use crate::account::Account;
use crate::apply::{Context, Effect};
use crate::audit::{Event, Kind};
use crate::factor::{Method, Password, Sealed, Verdict};
use crate::id::AccountId;
use crate::outcome::{Answer, Rejection};
use crate::state::State;

pub(super) fn rehash(
    state: &mut State,
    context: &Context<'_>,
    (id, method): (&AccountId, Method),
    verdict: Verdict,
    verifier: &Sealed,
) -> Effect {
    let event = Event::new(Kind::PasswordRehashed);
    let admitted = front_end(context).and_then(|_| state.open_session(context.now));
    if let Err(rejection) = admitted {
        return Effect::rejected(rejection, event);
    }
    let Some(mut account) = state.account(id).cloned() else {
        return Effect::rejected(Rejection::NoSuchAccount, event);
    };
    let mut event = Event::of(Kind::PasswordRehashed, &account).by(id);
    event.method = Some(method);
    let locked = account.locked(method);
    let password = password_mut(&mut account, method);
    // Of another password since, or of none: its verifier stays as it is.
    let Some(password) = password.filter(|password| verdict.fits(password) && !locked) else {
        return Effect::rejected(Rejection::ChangedSince, event);
    };
    password.verifier = verifier.clone();
    state.put_account(account);
    Effect::done(Answer::Nothing, event)
}

fn password_mut(account: &mut Account, method: Method) -> Option<&mut Password> {
    match method {
        Method::Smartcard => account.card.as_mut().map(|card| &mut card.password),
        Method::Otp => account.otp.as_mut().map(|otp| &mut otp.password),
    }
}
