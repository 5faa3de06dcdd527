//! The end of a login: the factor is checked, and the token issued.

use super::{Login, Proof, TRIES_MAX, event_about, front_end, may_log_in};
use crate::account::Account;
use crate::apply::{Context, Effect};
use crate::audit::{Event, Kind};
use crate::calendar::Purpose;
use crate::factor::{Channel, CodeProof, Method, Steps};
use crate::id::LoginId;
use crate::migration;
use crate::outcome::{Answer, Functions, Issued, Rejection};
use crate::participant;
use crate::portal::Portal;
use crate::revocation;
use crate::session::Plan;
use crate::state::State;
use crate::time::UnixMs;
use crate::token::{TOKENS_MAX, Token, TokenId};

pub(super) fn own_login(
    state: &State,
    context: &Context<'_>,
    id: &LoginId,
) -> Result<Login, Rejection> {
    let front_end = front_end(context)?;
    state
        .login(id, context.now)
        .filter(|login| login.front_end == *front_end)
        .cloned()
        .ok_or(Rejection::ProcedureEnded)
}

pub(super) fn verify(
    state: &mut State,
    context: &Context<'_>,
    (id, codes): (&LoginId, u8),
    proof: &Proof,
    token: &TokenId,
) -> Effect {
    let mut login = match own_login(state, context, id) {
        Ok(login) => login,
        Err(rejection) => return Effect::rejected(rejection, Event::new(Kind::LoginVerified)),
    };
    let (portal, method) = (login.option.portal(), login.option.method());
    let event = event_about(state, Kind::LoginVerified, &login.subject).at(portal, method);
    let plan = match state.open_session(context.now) {
        Ok(plan) => plan.clone(),
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    // A fact of the whole service again: its day may have begun since the login did.
    if let Err(rejection) = migration::admit(state, method, context.now) {
        return Effect::rejected(rejection, event);
    }
    if state.short.tokens.live().len() >= TOKENS_MAX {
        return Effect::rejected(Rejection::TooMany, event);
    }
    let account = login
        .subject
        .account()
        .and_then(|id| state.account(id))
        .filter(|account| password_stands(account, &login))
        .cloned();
    let code_right = account.as_ref().is_some_and(|account| {
        let current = login.codes == codes;
        factor_proved(state, account, &login, proof, (context.now, current))
    });
    let proved = account
        .as_ref()
        .filter(|account| code_right && may_log_in(state, account));
    let Some(account) = proved else {
        if let Some(account) = account.filter(|_| !code_right) {
            count_code_failure(state, account, method);
        }
        login.tries = login.tries.saturating_add(1);
        // A card's nonce counts once, whatever came of it (S36).
        if login.tries >= TRIES_MAX || method == Method::Smartcard {
            state.short.logins.remove(id);
        } else {
            state.short.logins.set(login);
        }
        return Effect::failed(Answer::CredentialsRejected, event);
    };
    state.short.logins.remove(id);
    // Facts of the account are told only now that its factors are proved. The code is used up.
    let told = if account.class != portal.class() {
        Some(Rejection::WrongPortal)
    } else {
        participant::refusal(state, account)
            .or_else(|| migration::refusal(state, account, method, &plan.session, context.now))
    };
    let account = note_success(account.clone(), &login, proof, context.now);
    state.put_account(account.clone());
    match told {
        Some(told) => {
            let event = event.detail(format!("refused: {}", told.code()));
            Effect::failed(Answer::Refused(Box::new(told)), event)
        }
        None => issue(state, context.now, &account, &login, &plan, token, event),
    }
}

/// Whether the password that the login began with is the account's still, and not locked since.
fn password_stands(account: &Account, login: &Login) -> bool {
    let method = login.option.method();
    let version = account.password(method).map(|password| password.version);
    login.password_right.is_some() && login.password_right == version && !account.locked(method)
}

/// Whether the factor of the login's method is proved.
fn factor_proved(
    state: &State,
    account: &Account,
    login: &Login,
    proof: &Proof,
    (now, current): (UnixMs, bool),
) -> bool {
    match login.option.method() {
        Method::Smartcard => account.card.as_ref().is_some_and(|card| match proof {
            Proof::Card(shown) => revocation::proved(state, card, shown.as_ref()),
            Proof::Code(_) | Proof::None => false,
        }),
        Method::Otp => account.otp.as_ref().is_some_and(|otp| {
            !otp.locked()
                && match proof {
                    Proof::Code(proof) => {
                        let mailed = current && login.code.is_some() && now < login.code_ends;
                        code_proved(&otp.channel, *proof, state.steps(now), mailed)
                    }
                    Proof::Card(_) | Proof::None => false,
                }
        }),
    }
}

/// Whether a one-time password of the channel is proved, and was not accepted before (S5).
pub(crate) fn code_proved(channel: &Channel, proof: CodeProof, steps: Steps, mailed: bool) -> bool {
    match (channel, proof) {
        (Channel::Authenticator { last_step, .. }, CodeProof::Step(Some(step))) => {
            steps.admit(step, *last_step)
        }
        (Channel::Email, CodeProof::Mailed { matched }) => matched && mailed,
        (Channel::Authenticator { .. }, CodeProof::Step(None) | CodeProof::Mailed { .. })
        | (Channel::Email, CodeProof::Step(_)) => false,
    }
}

/// Notes that the step was accepted.
pub(crate) fn use_step(channel: &mut Channel, proof: CodeProof) {
    if let (Channel::Authenticator { last_step, .. }, CodeProof::Step(Some(step))) =
        (channel, proof)
    {
        *last_step = step.max(*last_step);
    }
}

/// A one-time password's failure counts only if that login's password was right (S12).
fn count_code_failure(state: &mut State, mut account: Account, method: Method) {
    if method == Method::Otp
        && let Some(otp) = &mut account.otp
    {
        otp.failures = otp.failures.saturating_add(1);
        state.put_account(account);
    }
}

fn note_success(mut account: Account, login: &Login, proof: &Proof, now: UnixMs) -> Account {
    let attempts = account.attempts_mut(login.option.method());
    attempts.succeed(login.address, now);
    if let (Some(otp), Proof::Code(proof)) = (&mut account.otp, proof) {
        use_step(&mut otp.channel, *proof);
        otp.failures = 0;
    }
    account.last_login = Some(now);
    account
}

fn issue(
    state: &mut State,
    now: UnixMs,
    account: &Account,
    login: &Login,
    plan: &Plan,
    id: &TokenId,
    event: Event,
) -> Effect {
    let session = &plan.session;
    let (portal, method) = (login.option.portal(), login.option.method());
    let channel = match method {
        Method::Otp => account.otp.as_ref().map(|otp| otp.channel.kind()),
        Method::Smartcard => None,
    };
    let ends_at = session.closes.min(now.plus(state.policy.token_life_ms));
    let functions = match (session.business_functions_open, portal) {
        (true, _) => Functions::Open,
        (false, Portal::Ccms) => Functions::NotAvailable,
        (false, Portal::Dms) => Functions::Completed,
    };
    let tests = match session.purpose {
        Purpose::Business => false,
        Purpose::ConnectivityTest | Purpose::Drill => true,
    };
    state.short.tokens.issue(Token {
        id: *id,
        account: account.id.clone(),
        participant: account.participant.clone(),
        class: account.class,
        option: login.option,
        channel,
        front_end: login.front_end.clone(),
        session: session.id.clone(),
        address: login.address,
        procedure: None,
        endings: state
            .participant(&account.participant)
            .map_or(0, |firm| firm.endings),
        issued_at: now,
        ends_at,
        idle_until: now.plus(state.policy.token_idle_ms),
    });
    let mut effect = Effect::done(
        Answer::TokenIssued(Box::new(Issued {
            account: account.id.clone(),
            participant: account.participant.clone(),
            class: account.class,
            portal,
            method,
            channel,
            functions,
            carry: state.header.line.carry(),
            initiation_required: account.otp.is_none(),
            ends_at,
            session: session.id.clone(),
        })),
        event,
    )
    .with_secret();
    if tests {
        let completed = Event::of(Kind::ConnectivityCompleted, account)
            .by(&account.id)
            .at(portal, method);
        effect.events.push(completed);
    }
    effect.token = Some(*id);
    effect
}
