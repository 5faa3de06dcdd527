//! Whether an act can be, and what it does once two people want it.

use super::{Act, ChangeRequest};
use crate::account::{Account, By, Email, Status};
use crate::attempts::Attempts;
use crate::audit::Event;
use crate::factor::{Card, Method, Reset};
use crate::id::CardNumber;
use crate::migration::Switch;
use crate::outcome::Rejection;
use crate::state::State;
use crate::time::UnixMs;

/// Whether the act can be carried out now, and `by` may have a part in it. Asked when it is made,
/// and again of both people when it is approved: the account may be another by then.
pub(super) fn judge(
    state: &State,
    now: UnixMs,
    request: &ChangeRequest,
    by: &By,
) -> Result<(), Rejection> {
    if request.act.brings_card() && matches!(by, By::Account(_)) {
        return Err(Rejection::NotAllowed);
    }
    if let Act::Create(account) = &request.act {
        return judge_new(state, account);
    }
    let account = state
        .account(&request.account)
        .filter(|account| !state.gone(account))
        .ok_or(Rejection::NoSuchAccount)?;
    let unless = |so: bool| match so {
        true => Err(Rejection::AlreadySo),
        false => Ok(()),
    };
    match &request.act {
        Act::Create(_) | Act::Delete => {}
        Act::Resume => unless(account.active())?,
        Act::Unlock(method) => {
            let failures = account.attempts.get(method);
            unless(failures.is_none_or(Attempts::clear))?;
        }
        Act::SetEmail(address) => {
            unless(
                account
                    .email
                    .as_ref()
                    .is_some_and(|email| email.address == *address),
            )?;
        }
        Act::RegisterCard { number, .. } => card_free(state, number, Some(account))?,
        Act::ResetPassword => may_reset(account, Reset::Password)?,
        Act::ResetChannel => may_reset(account, Reset::Channel)?,
        Act::AllowMethod(method) => {
            let is = account.methods.get(*method);
            unless(is.is_so(Switch::On, now))?;
        }
        Act::ResetBoth => {
            account.otp.as_ref().ok_or(Rejection::InitiationRequired)?;
        }
    }
    match &account.email {
        Some(email) if request.act.resets() && email.held_for(by, now) => {
            Err(Rejection::EmailJustChanged {
                until: email.codes_from,
            })
        }
        Some(_) | None => Ok(()),
    }
}

fn judge_new(state: &State, account: &crate::account::Imported) -> Result<(), Rejection> {
    match state.account(&account.id) {
        Some(there) if there.deleted() => return Err(Rejection::IdUsedBefore),
        Some(_) => return Err(Rejection::AccountExists),
        None => {}
    }
    if state.firm(&account.participant).is_none() {
        return Err(Rejection::OtherParticipant);
    }
    match &account.card {
        Some((number, _)) => card_free(state, number, None),
        None => Ok(()),
    }
}

fn card_free(
    state: &State,
    number: &CardNumber,
    account: Option<&Account>,
) -> Result<(), Rejection> {
    match state.account_of_card(number) {
        Some(owner) if account.is_none_or(|account| account.id != owner.id) => {
            Err(Rejection::CardInUse)
        }
        Some(_) | None => Ok(()),
    }
}

/// One half alone is reset while the other proves the person; without an address no code gets
/// there.
fn may_reset(account: &Account, what: Reset) -> Result<(), Rejection> {
    let otp = account.otp.as_ref().ok_or(Rejection::InitiationRequired)?;
    if account.email.is_none() {
        return Err(Rejection::NoEmail);
    }
    match otp.reset {
        Some(reset) if reset == what => Err(Rejection::AlreadySo),
        Some(_) | None => Ok(()),
    }
}

/// Carries the act out; it was judged to be possible.
pub(super) fn carry_out(
    state: &mut State,
    now: UnixMs,
    request: &ChangeRequest,
    checker: &By,
) -> Event {
    let account = match &request.act {
        Act::Create(account) => Some(account.as_ref().clone().into_account(now)),
        Act::Resume
        | Act::Unlock(_)
        | Act::SetEmail(_)
        | Act::RegisterCard { .. }
        | Act::ResetPassword
        | Act::ResetChannel
        | Act::ResetBoth
        | Act::Delete
        | Act::AllowMethod(_) => state.account(&request.account).cloned(),
    };
    let event = Event::new(request.act.kind());
    let Some(mut account) = account else {
        return event;
    };
    let event = Event::of(request.act.kind(), &account);
    match &request.act {
        Act::Create(_) => {}
        Act::Resume => account.status = Status::Active,
        Act::Unlock(method) => account.attempts_mut(*method).unlock(),
        Act::SetEmail(address) => {
            let first = account.email.is_none();
            let hold_ms = if first { 0 } else { state.policy.email_hold_ms };
            account.email = Some(Email {
                address: address.clone(),
                since: now,
                codes_from: now.plus(hold_ms),
                changed_by: vec![request.maker.clone(), checker.clone()],
            });
            // What was begun with the former address does not come to an end.
            account.outdate_procedures();
            state.short.activations.remove(&account.id);
        }
        Act::RegisterCard { number, password } => {
            account.attempts.remove(&Method::Smartcard);
            account.card = Some(Card {
                number: number.clone(),
                password: account.next_password(password.clone(), now),
            });
        }
        Act::ResetPassword => reset(&mut account, Reset::Password),
        Act::ResetChannel => reset(&mut account, Reset::Channel),
        Act::ResetBoth => account.revoke_otp(),
        Act::Delete => account.delete(now, checker.clone()),
        Act::AllowMethod(method) => account.methods.set(*method, Switch::On),
    }
    if request.act.resets() || account.deleted() || matches!(request.act, Act::RegisterCard { .. })
    {
        state.short.tokens.end_of(&account.id);
        state.short.activations.remove(&account.id);
    }
    state.put_account(account);
    event.detail(request.reason.clone())
}

/// Starts a reset; the second of the two makes it an initiation.
fn reset(account: &mut Account, what: Reset) {
    account.outdate_procedures();
    match &mut account.otp {
        Some(otp) if otp.reset.is_none() => otp.reset = Some(what),
        Some(_) | None => account.revoke_otp(),
    }
}
