//! The end of a set-up: a code proved the channel, and what was begun is set at once.

use super::{Setting, fits};
use crate::account::SetUp;
use crate::apply::{Context, Effect};
use crate::audit::{Event, Kind};
use crate::change;
use crate::factor::{CodeProof, Method, Otp, Sealed};
use crate::id::{FrontEndId, ProcedureId};
use crate::login;
use crate::outcome::{Answer, Rejection};
use crate::state::State;

/// Sets what was begun, at once, after a code proved the channel.
pub(super) fn confirm(
    state: &mut State,
    context: &Context<'_>,
    front_end: &FrontEndId,
    id: &ProcedureId,
    proof: CodeProof,
    password: Option<&Sealed>,
) -> Effect {
    let event = Event::new(Kind::Initiated);
    let found = change::own(state, context, front_end, id).cloned();
    let Some(procedure) = found else {
        return Effect::rejected(Rejection::ProcedureEnded, event);
    };
    let change::Kind::SetUp {
        setting,
        passwords_set,
    } = &procedure.kind
    else {
        return Effect::rejected(Rejection::ProcedureEnded, event);
    };
    let account = state
        .account(&procedure.account)
        .filter(|account| login::may_set_up(state, account) && fits(account, &procedure.kind))
        .filter(|account| account.passwords_set == *passwords_set)
        .cloned();
    let Some(mut account) = account else {
        return Effect::rejected(Rejection::ProcedureEnded, event);
    };
    let now = context.now;
    let steps = state.steps(now);
    let kind = match account.set_up() {
        Some(SetUp::Password) => Kind::PasswordChanged,
        Some(SetUp::Channel) => Kind::ChannelReplaced,
        Some(SetUp::Both) | None => Kind::Initiated,
    };
    let event = Event::of(kind, &account).by(&account.id);
    let set = match (setting, password, account.otp.clone()) {
        (Setting::Channel(channel), Some(password), None) => {
            let channel = channel.confirmed(proof, steps);
            channel.map(|channel| Otp {
                password: account.next_password(password.clone(), now),
                channel,
                failures: 0,
                initiated_at: now,
                changed_at: now,
                reset: None,
            })
        }
        (Setting::Channel(channel), None, Some(otp)) => {
            let channel = channel.confirmed(proof, steps);
            channel.map(|channel| Otp {
                channel,
                failures: 0,
                changed_at: now,
                reset: None,
                ..otp
            })
        }
        (Setting::Password { code }, Some(password), Some(mut otp)) => {
            let right =
                !otp.locked() && login::code_proved(&otp.channel, proof, steps, code.is_some());
            if right {
                login::use_step(&mut otp.channel, proof);
                Some(Otp {
                    password: account.next_password(password.clone(), now),
                    failures: 0,
                    changed_at: now,
                    reset: None,
                    ..otp
                })
            } else {
                otp.failures = otp.failures.saturating_add(1);
                account.otp = Some(otp);
                state.put_account(account.clone());
                None
            }
        }
        (Setting::Channel(_) | Setting::Password { .. }, _, _) => {
            let problem = "a new password belongs to an initiation and to a password's reset";
            let rejection = Rejection::BadValues(vec![problem.to_owned()]);
            return Effect::rejected(rejection, event);
        }
    };
    let Some(otp) = set else {
        change::count_failure(state, procedure);
        return Effect::failed(Answer::CredentialsRejected, event);
    };
    state.short.procedures.remove(id);
    let event = event.detail(format!("{:?}", otp.channel.kind()));
    account.attempts.remove(&Method::Otp);
    account.otp = Some(otp);
    state.put_account(account);
    let carry = state.header.line.carry();
    Effect::done(Answer::Changed { carry }, event)
}
