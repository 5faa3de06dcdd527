//! How people's changes are carried out.

use super::{Act, Command, Kind, PROCEDURES_MAX, Procedure, Reason, StepUpProof, TRIES_MAX};
use crate::account::Account;
use crate::apply::{Context, Effect};
use crate::audit::{Event, Repeat};
use crate::factor::{CodeProof, Method, NewChannel, Otp, Sealed, Verdict};
use crate::id::{FrontEndId, ProcedureId};
use crate::line::Carry;
use crate::login;
use crate::outcome::{Answer, Rejection};
use crate::revocation;
use crate::state::State;
use crate::time::UnixMs;
use crate::token::{self, Token, TokenId};

/// The procedure, if it is under way and this front end's.
pub(crate) fn own<'a>(
    state: &'a State,
    context: &Context<'_>,
    front_end: &FrontEndId,
    id: &ProcedureId,
) -> Option<&'a Procedure> {
    state
        .procedure(id, context.now)
        .filter(|procedure| procedure.front_end == *front_end)
}

/// Counts a wrong code; the procedure ends with the last one that it takes.
pub(crate) fn count_failure(state: &mut State, mut procedure: Procedure) {
    procedure.tries = procedure.tries.saturating_add(1);
    if procedure.tries >= TRIES_MAX {
        state.short.procedures.remove(&procedure.id);
    } else {
        state.short.procedures.set(procedure);
    }
}

/// Who changes something: the token that is shown, and its account.
struct Person {
    token: Token,
    account: Account,
    event: Event,
}

impl Person {
    fn may_use(&self, id: &TokenId) -> bool {
        self.token.id == *id
    }
}

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: &Command) -> Effect {
    let person = match person(state, context, command) {
        Ok(person) => person,
        Err(rejection) => return Effect::rejected(rejection, Event::new(command.kind())),
    };
    match command {
        Command::Password {
            verdict,
            password,
            reason,
            ..
        } => set_password(state, context.now, person, *verdict, password, *reason),
        Command::BeginStepUp {
            procedure,
            token,
            act,
            code,
            nonce,
        } => {
            let kind = Kind::StepUp {
                token: *token,
                act: act.clone(),
                code: code.clone(),
                nonce: *nonce,
                verified: false,
            };
            let ends_at = context.now.plus(state.policy.step_up_life_ms);
            if code.is_some()
                && let Some(until) = email_held(&person.account, context.now)
            {
                let rejection = Rejection::EmailJustChanged { until };
                return Effect::rejected(rejection, person.event);
            }
            if code.is_some() && !login::may_mail(state, &person.account.id, context.now) {
                return Effect::rejected(Rejection::TooMany, person.event);
            }
            open(state, &person, *procedure, kind, ends_at)
        }
        Command::VerifyStepUp {
            procedure, proof, ..
        } => verify_step_up(state, context, person, procedure, proof),
        Command::BeginReplacement {
            procedure,
            token,
            step_up,
            verdict,
            channel,
            reason,
        } => {
            if let (NewChannel::Email { .. }, Some(until)) =
                (channel, email_held(&person.account, context.now))
            {
                let rejection = Rejection::EmailJustChanged { until };
                return Effect::rejected(rejection, person.event);
            }
            let kind = Kind::Replacement {
                token: *token,
                channel: channel.clone(),
                reason: *reason,
            };
            begin_replacement(
                state,
                context,
                person,
                (*procedure, kind),
                step_up,
                *verdict,
            )
        }
        Command::ConfirmReplacement {
            procedure, proof, ..
        } => confirm_replacement(state, context, person, procedure, *proof),
    }
}

/// Until when a changed address gets no codes.
fn email_held(account: &Account, now: UnixMs) -> Option<UnixMs> {
    let email = account.email.as_ref()?;
    (!email.gets_codes(now)).then_some(email.codes_from)
}

fn person(state: &State, context: &Context<'_>, command: &Command) -> Result<Person, Rejection> {
    state.open_session(context.now)?;
    let token = token::shown(state, context, command.token())?;
    let account = state.account(&token.account).ok_or(Rejection::TokenEnded)?;
    Ok(Person {
        event: Event::of(command.kind(), account)
            .at(token.portal(), token.method())
            .by(&account.id),
        account: account.clone(),
        token: token.clone(),
    })
}

/// The repeat that a change asks for: only what is forgotten and was not routine.
fn repeat(state: &State, reason: Reason, repeat: Repeat) -> Option<Repeat> {
    match (state.header.line.carry(), reason) {
        (Carry::DiscardedAtRollover, Reason::LostOrCompromised) => Some(repeat),
        (Carry::DiscardedAtRollover | Carry::CarriedForward, _) => None,
    }
}

fn set_password(
    state: &mut State,
    now: UnixMs,
    mut person: Person,
    verdict: Verdict,
    password: &Sealed,
    reason: Reason,
) -> Effect {
    let method = person.token.method();
    if let Err(effect) = check_password(state, &mut person, method, verdict, now) {
        return *effect;
    }
    let fresh = person.account.next_password(password.clone(), now);
    match method {
        Method::Smartcard => {
            if let Some(card) = &mut person.account.card {
                card.password = fresh;
            }
        }
        Method::Otp => {
            if let Some(otp) = &mut person.account.otp {
                otp.password = fresh;
                otp.changed_at = now;
            }
        }
    }
    let repeat = repeat(state, reason, Repeat::PasswordCompromised);
    settle(state, person, repeat)
}

/// Checks the current password of the method; a failure is counted, a wait is not one.
fn check_password(
    state: &mut State,
    person: &mut Person,
    method: Method,
    verdict: Verdict,
    now: UnixMs,
) -> Result<(), Box<Effect>> {
    let (account, event) = (&mut person.account, &person.event);
    let address = person.token.address;
    if let Some(until) = account.wait_until(method, address, now) {
        let rejection = Rejection::RateLimited { until };
        return Err(Box::new(Effect::rejected(rejection, event.clone())));
    }
    let right = account
        .password(method)
        .is_some_and(|password| verdict.fits(password));
    if right && !account.locked(method) {
        return Ok(());
    }
    if !right {
        account.attempts_mut(method).fail(address, now);
        state.put_account(account.clone());
    }
    let failed = Effect::failed(Answer::CredentialsRejected, event.clone());
    Err(Box::new(failed))
}

/// Puts the changed account; its other tokens end.
fn settle(state: &mut State, person: Person, repeat: Option<Repeat>) -> Effect {
    let others: Vec<TokenId> = state
        .short
        .tokens
        .of(&person.account.id, UnixMs(0))
        .map(|token| token.id)
        .filter(|id| !person.may_use(id))
        .collect();
    for id in &others {
        state.short.tokens.end(id);
    }
    state.put_account(person.account);
    let carry = state.header.line.carry();
    Effect::done(Answer::Changed { carry }, person.event.repeat(repeat))
}

fn open(
    state: &mut State,
    person: &Person,
    id: ProcedureId,
    kind: Kind,
    ends_at: UnixMs,
) -> Effect {
    let event = person.event.clone();
    if state.short.procedures.len() >= PROCEDURES_MAX {
        return Effect::rejected(Rejection::TooMany, event);
    }
    let proves = person.account.otp.is_some()
        || match &kind {
            // Who has not initiated has a card to prove.
            Kind::StepUp {
                act: Act::ApproveChange(_) | Act::IssueActivation(_),
                ..
            } => person.account.card.is_some(),
            Kind::StepUp {
                act: Act::ReplaceChannel,
                ..
            }
            | Kind::Replacement { .. }
            | Kind::SetUp { .. } => false,
        };
    if !proves {
        return Effect::rejected(Rejection::InitiationRequired, event);
    }
    // One at a time: the former one of this token ends.
    if let Some(former) = state.short.tokens.set_procedure(&person.token.id, id) {
        state.short.procedures.remove(&former);
    }
    state.short.procedures.set(Procedure {
        id,
        account: person.account.id.clone(),
        front_end: person.token.front_end.clone(),
        tries: 0,
        ends_at,
        kind,
    });
    Effect::done(Answer::ProcedureOpened { ends_at }, event)
}

fn verify_step_up(
    state: &mut State,
    context: &Context<'_>,
    mut person: Person,
    id: &ProcedureId,
    proof: &StepUpProof,
) -> Effect {
    let found = own(state, context, &person.token.front_end, id).cloned();
    let Some(mut procedure) = found else {
        return Effect::rejected(Rejection::ProcedureEnded, person.event);
    };
    let Kind::StepUp {
        token,
        code,
        verified,
        ..
    } = &mut procedure.kind
    else {
        return Effect::rejected(Rejection::ProcedureEnded, person.event);
    };
    if !person.may_use(token) || *verified {
        return Effect::rejected(Rejection::ProcedureEnded, person.event);
    }
    let steps = state.steps(context.now);
    let account = &mut person.account;
    let right = match (proof, &mut account.otp) {
        (StepUpProof::Card(shown), _) => account
            .card
            .as_ref()
            .is_some_and(|card| revocation::proved(state, card, shown.as_ref())),
        (StepUpProof::Code(proof), Some(otp)) => {
            let right =
                !otp.locked() && login::code_proved(&otp.channel, *proof, steps, code.is_some());
            if right {
                login::use_step(&mut otp.channel, *proof);
                otp.failures = 0;
            } else {
                otp.failures = otp.failures.saturating_add(1);
            }
            right
        }
        (StepUpProof::Code(_), None) => false,
    };
    *verified = right;
    let ends_at = procedure.ends_at;
    state.put_account(person.account);
    if right {
        state.short.procedures.set(procedure);
        return Effect::done(Answer::ProcedureOpened { ends_at }, person.event);
    }
    match proof {
        StepUpProof::Code(_) => count_failure(state, procedure),
        // A card's nonce counts once (S36).
        StepUpProof::Card(_) => drop(state.short.procedures.remove(id)),
    }
    Effect::failed(Answer::CredentialsRejected, person.event)
}

/// Whether this is a verified step-up of the token for the act.
fn is_stepped_up(
    state: &State,
    context: &Context<'_>,
    by: &Token,
    step_up: &ProcedureId,
    wanted: &Act,
) -> bool {
    own(state, context, &by.front_end, step_up).is_some_and(|procedure| match &procedure.kind {
        Kind::StepUp {
            token,
            act,
            verified,
            ..
        } => *token == by.id && act == wanted && *verified,
        Kind::SetUp { .. } | Kind::Replacement { .. } => false,
    })
}

/// Uses up the step-up that the token has for the act.
///
/// # Errors
/// `StepUpRequired` if it has none that was verified.
pub(crate) fn use_step_up(
    state: &mut State,
    context: &Context<'_>,
    token: &TokenId,
    act: &Act,
) -> Result<(), Rejection> {
    let token = token::shown(state, context, token)?;
    let step_up = token.procedure.ok_or(Rejection::StepUpRequired)?;
    if !is_stepped_up(state, context, token, &step_up, act) {
        return Err(Rejection::StepUpRequired);
    }
    state.short.procedures.remove(&step_up);
    Ok(())
}

fn begin_replacement(
    state: &mut State,
    context: &Context<'_>,
    mut person: Person,
    (id, kind): (ProcedureId, Kind),
    step_up: &ProcedureId,
    verdict: Verdict,
) -> Effect {
    if !is_stepped_up(state, context, &person.token, step_up, &Act::ReplaceChannel) {
        return Effect::rejected(Rejection::StepUpRequired, person.event);
    }
    if let Err(effect) = check_password(state, &mut person, Method::Otp, verdict, context.now) {
        return *effect;
    }
    let ends_at = context.now.plus(state.policy.code_life_ms);
    // What is opened takes the place of the step-up, which is used up.
    open(state, &person, id, kind, ends_at).with_secret()
}

fn confirm_replacement(
    state: &mut State,
    context: &Context<'_>,
    mut person: Person,
    id: &ProcedureId,
    proof: CodeProof,
) -> Effect {
    let found = own(state, context, &person.token.front_end, id).cloned();
    let Some(procedure) = found else {
        return Effect::rejected(Rejection::ProcedureEnded, person.event);
    };
    let Kind::Replacement {
        token,
        channel,
        reason,
    } = &procedure.kind
    else {
        return Effect::rejected(Rejection::ProcedureEnded, person.event);
    };
    let Some(otp) = person
        .account
        .otp
        .as_mut()
        .filter(|_| person.token.id == *token)
    else {
        return Effect::rejected(Rejection::ProcedureEnded, person.event);
    };
    let Some(channel) = channel.confirmed(proof, state.steps(context.now)) else {
        count_failure(state, procedure);
        return Effect::failed(Answer::CredentialsRejected, person.event);
    };
    *otp = Otp {
        channel,
        failures: 0,
        changed_at: context.now,
        ..otp.clone()
    };
    let repeat = repeat(state, *reason, Repeat::ChannelCompromised);
    state.short.procedures.remove(id);
    settle(state, person, repeat)
}
