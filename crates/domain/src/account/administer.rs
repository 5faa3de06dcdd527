//! What administrators do to accounts: a DA to its own participant's users, an operator to DAs, and
//! to anybody where it takes access away.

use super::{Account, By, Class, Command, Status, import, review};
use crate::apply::{Context, Effect};
use crate::audit::{Event, Kind, Repeat};
use crate::change;
use crate::cluster;
use crate::digest::Digest;
use crate::envelope::Actor;
use crate::factor::{Method, Sealed};
use crate::id::AccountId;
use crate::initiation::Activation;
use crate::line::{Carry, LineId};
use crate::migration::Switch;
use crate::outcome::{Answer, Rejection};
use crate::participant::Participant;
use crate::state::State;
use crate::token::{self, TokenId};

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: &Command) -> Effect {
    match command {
        Command::ApproveImport { terms } => import::approve(state, context, terms),
        Command::Import {
            participants,
            accounts,
            part,
        } => import::carry_out(state, context, participants, accounts, part.as_ref()),
        Command::Suspend {
            account,
            token,
            reason,
        } => {
            let event = Event::new(Kind::AccountSuspended);
            match administer(state, context, account, token.as_ref()) {
                Ok((account, by)) => {
                    let effect = suspend(state, context, account, by.clone(), reason);
                    review::note(state, context, &by, effect)
                }
                Err(rejection) => refused(rejection, event, account),
            }
        }
        Command::RevokeOtp { account, reason } => revoke_otp(state, context, account, reason),
        Command::RevokeCard {
            account,
            token,
            reason,
        } => match administer(state, context, account, token.as_ref()) {
            Ok((account, by)) => {
                let effect = revoke_card(state, account, &by, reason);
                review::note(state, context, &by, effect)
            }
            Err(rejection) => refused(rejection, Event::new(Kind::CardRevoked), account),
        },
        Command::DisableMethod {
            account,
            token,
            method,
            from,
            reason,
        } => match administer(state, context, account, token.as_ref()) {
            Ok((account, by)) => {
                let switch = from.map_or(Switch::Off, Switch::OffFrom);
                let effect =
                    disable_method(state, context, account, &by, (*method, switch), reason);
                review::note(state, context, &by, effect)
            }
            Err(rejection) => refused(rejection, Event::new(Kind::MethodsSet), account),
        },
        Command::SetTitle {
            account,
            token,
            title,
            seen,
        } => {
            let target = administer(state, context, account, token.as_ref())
                .and_then(|found| looked_after(state, found))
                .and_then(|found| open_for_people(state, context).map(|()| found))
                .and_then(|found| match seen {
                    Some(seen) if *seen != found.0.etag() => Err(Rejection::ChangedSince),
                    Some(_) | None => Ok(found),
                });
            match target {
                Ok((account, by)) => set_title(state, account, &by, title),
                Err(rejection) => refused(rejection, Event::new(Kind::AccountRenamed), account),
            }
        }
        Command::SetParticipant {
            participant,
            new,
            seen,
        } => set_participant(state, context, participant, *new, *seen),
        Command::IssueActivationCode {
            account,
            token,
            code,
        } => {
            let event = Event::new(Kind::ActivationIssued);
            let target = administer(state, context, account, token.as_ref())
                .and_then(|found| looked_after(state, found))
                .and_then(|found| open_for_people(state, context).map(|()| found));
            match target {
                Ok((account, by)) => {
                    issue_activation(state, context, &account, &by, token.as_ref(), code)
                }
                Err(rejection) => refused(rejection, event, account),
            }
        }
        Command::EndTokens {
            account,
            one,
            token,
            reason,
        } => match administer(state, context, account, token.as_ref()) {
            Ok((account, by)) => end_tokens(state, context, &account, &by, (one.as_ref(), reason)),
            Err(rejection) => refused(rejection, Event::new(Kind::TokensEnded), account),
        },
        Command::Review { act, token } => review::review(state, context, *act, token.as_ref()),
    }
}

fn refused(rejection: Rejection, mut event: Event, account: &AccountId) -> Effect {
    event.account = Some(account.clone());
    Effect::rejected(rejection, event)
}

/// The account, and who acts on it: a DA on its own participant's users alone (R9, R47), an operator
/// on anybody, from whom access is taken away. What a DA may not touch looks to it like what is not
/// there.
fn administer(
    state: &State,
    context: &Context<'_>,
    account: &AccountId,
    token: Option<&TokenId>,
) -> Result<(Account, By), Rejection> {
    match (context.actor, token) {
        (Actor::Operator(operator), None) => {
            let account = state
                .account(account)
                .filter(|account| !state.gone(account))
                .ok_or(Rejection::NoSuchAccount)?;
            Ok((account.clone(), By::Operator(operator.clone())))
        }
        (Actor::FrontEnd(_), Some(token)) => {
            let token = token::shown(state, context, token)?;
            if token.class != Class::DelegatedAdmin {
                return Err(Rejection::NotAllowed);
            }
            let account = state
                .account(account)
                .filter(|account| account.class == Class::User && !state.gone(account))
                .filter(|account| account.participant == token.participant)
                .ok_or(Rejection::OtherParticipant)?;
            Ok((account.clone(), By::Account(token.account.clone())))
        }
        (
            Actor::Operator(_)
            | Actor::FrontEnd(_)
            | Actor::BackEnd(_)
            | Actor::Node(_)
            | Actor::Script(_),
            Some(_) | None,
        ) => Err(Rejection::NotAllowed),
    }
}

/// What gives access to a firm's users, or names them, is its delegated administrators', and an
/// operator's where it has none (R9).
fn looked_after(state: &State, found: (Account, By)) -> Result<(Account, By), Rejection> {
    let (account, by) = found;
    match (&by, account.class) {
        (By::Operator(_), Class::User) if state.has_admin(&account.participant, None) => {
            Err(Rejection::LookedAfterByAdmins)
        }
        (By::Operator(_) | By::Account(_), Class::User | Class::DelegatedAdmin) => {
            Ok((account, by))
        }
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
        Actor::Operator(_)
        | Actor::FrontEnd(_)
        | Actor::BackEnd(_)
        | Actor::Node(_)
        | Actor::Script(_) => state.open_session(context.now).map(|_| ()),
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
    let (mut account, by) = match administer(state, context, account, None) {
        Ok(found) => found,
        Err(rejection) => return refused(rejection, event, account),
    };
    let event = Event::of(Kind::OtpRevoked, &account).detail(reason);
    if account.otp.is_none() {
        return Effect::rejected(Rejection::AlreadySo, event);
    }
    account.revoke_otp();
    state.short.tokens.end_of(&account.id);
    state.put_account(account);
    let carry = state.header.line.carry();
    let repeat = (carry == Carry::DiscardedAtRollover).then_some(Repeat::OtpRevocation);
    let effect = Effect::done(Answer::Changed { carry }, event.repeat(repeat));
    review::note(state, context, &by, effect)
}

/// Ends one of the account's tokens, or all. Where none was left nothing was taken away.
fn end_tokens(
    state: &mut State,
    context: &Context<'_>,
    account: &Account,
    by: &By,
    (one, reason): (Option<&TokenId>, &str),
) -> Effect {
    let tokens = &mut state.short.tokens;
    let count = match one {
        None => tokens.end_of(&account.id),
        Some(one) => {
            let own = tokens.get(one, context.now);
            let own = own.is_some_and(|own| own.account == account.id);
            u32::from(own && tokens.end(one))
        }
    };
    let mut event = Event::of(Kind::TokensEnded, account).by(by);
    event.detail = (!reason.is_empty()).then(|| reason.to_owned());
    let effect = Effect::done(Answer::TokensEnded { count }, event);
    match count {
        0 => effect,
        _ => review::note(state, context, by, effect),
    }
}

/// Takes the card away at once, as a suspension takes everything.
fn revoke_card(state: &mut State, mut account: Account, by: &By, reason: &str) -> Effect {
    let event = Event::of(Kind::CardRevoked, &account).by(by).detail(reason);
    if account.card.take().is_none() {
        return Effect::rejected(Rejection::AlreadySo, event);
    }
    account.attempts.remove(&Method::Smartcard);
    account.outdate_procedures();
    state.short.tokens.end_of(&account.id);
    state.put_account(account);
    let carry = state.header.line.carry();
    let repeat = (carry == Carry::DiscardedAtRollover).then_some(Repeat::CardRevocation);
    Effect::done(Answer::Changed { carry }, event.repeat(repeat))
}

/// Switches a method off. A switch is for logins: tokens go on, unless they are ended too.
fn disable_method(
    state: &mut State,
    context: &Context<'_>,
    mut account: Account,
    by: &By,
    (method, switch): (Method, Switch),
    reason: &str,
) -> Effect {
    let mut event = Event::of(Kind::MethodsSet, &account).by(by);
    event.method = Some(method);
    let when = match switch {
        Switch::OffFrom(at) => format!(" from {at}"),
        Switch::Off | Switch::On | Switch::OnFrom(_) => String::new(),
    };
    let event = event.detail(format!("{method:?} off{when}: {reason}"));
    if account.methods.get(method).is_so(switch, context.now) {
        return Effect::rejected(Rejection::AlreadySo, event);
    }
    // A time to come in the place of one that has come would give access.
    let off = account.methods.get(method).off(method, context.now);
    if let (Some(_), Switch::OffFrom(from)) = (off, switch)
        && context.now < from
    {
        return Effect::rejected(Rejection::AlreadySo, event);
    }
    account.methods.set(method, switch.carried_out(context.now));
    state.put_account(account);
    let carry = state.header.line.carry();
    let repeat = (carry == Carry::DiscardedAtRollover).then_some(Repeat::MethodDisabled);
    Effect::done(Answer::Changed { carry }, event.repeat(repeat))
}

fn set_title(state: &mut State, mut account: Account, by: &By, title: &str) -> Effect {
    let event = Event::of(Kind::AccountRenamed, &account).by(by);
    if account.title == title {
        return Effect::rejected(Rejection::AlreadySo, event);
    }
    title.clone_into(&mut account.title);
    state.put_account(account);
    let carry = state.header.line.carry();
    Effect::done(Answer::Changed { carry }, event)
}

fn set_participant(
    state: &mut State,
    context: &Context<'_>,
    participant: &Participant,
    new: bool,
    seen: Option<Digest>,
) -> Effect {
    let mut event = Event::new(Kind::ParticipantSet);
    event.participant = Some(participant.id.clone());
    if let Err(rejection) = cluster::may_set(state, context) {
        return Effect::rejected(rejection, event);
    }
    let rejection = match (state.participants.get(&participant.id), new) {
        (Some(there), true) if there.deleted() => Some(Rejection::ParticipantIdUsed),
        (Some(_), true) => Some(Rejection::AlreadySo),
        (None, false) => Some(Rejection::OtherParticipant),
        (Some(there), false) if there.deleted() => Some(Rejection::OtherParticipant),
        (Some(there), false) if seen.is_some_and(|seen| seen != there.etag()) => {
            Some(Rejection::ChangedSince)
        }
        (Some(there), false) if there.title == participant.title => Some(Rejection::AlreadySo),
        (Some(_), false) | (None, true) => None,
    };
    if let Some(rejection) = rejection {
        return Effect::rejected(rejection, event);
    }
    let title = participant.title.clone();
    let firm = match state.participants.get(&participant.id) {
        Some(there) => Participant {
            title,
            ..there.clone()
        },
        None => Participant::new(participant.id.clone(), title),
    };
    state.put_participant(firm);
    let carry = state.header.line.carry();
    Effect::done(Answer::Changed { carry }, event)
}

fn issue_activation(
    state: &mut State,
    context: &Context<'_>,
    account: &Account,
    by: &By,
    token: Option<&TokenId>,
    code: &Sealed,
) -> Effect {
    let event = Event::of(Kind::ActivationIssued, account).by(by);
    if account.set_up().is_none() {
        return Effect::rejected(Rejection::AlreadyInitiated, event);
    }
    if account.email.is_none() {
        return Effect::rejected(Rejection::NoEmail, event);
    }
    // A delegated administrator's word rests on token and step-up, an operator's on its certificate.
    if let Some(token) = token {
        let act = change::Act::IssueActivation(account.id.clone());
        if let Err(rejection) = change::use_step_up(state, context, token, &act) {
            return Effect::rejected(rejection, event);
        }
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
