//! Who may make, check and take back a request.

use super::{
    Act, ChangeRequest, Command, Decision, REASON_BYTES_MAX, REQUESTS_A_PARTICIPANT_MAX, carry_out,
};
use crate::account::{By, Class};
use crate::apply::{Context, Effect};
use crate::approval;
use crate::audit::Event;
use crate::change;
use crate::cluster;
use crate::digest::Digest;
use crate::envelope::Actor;
use crate::id::{AccountId, ChangeRequestId, ParticipantId};
use crate::outcome::{Answer, Rejection};
use crate::participant;
use crate::registration::Holder;
use crate::state::State;
use crate::time::UnixMs;
use crate::token::{self, TokenId};

/// Who acts.
struct Person {
    by: By,
    /// The firm whose users a delegated administrator looks after; none for an operator.
    firm: Option<ParticipantId>,
}

impl Person {
    /// Whether the account of this firm and class is the person's to look after (R9). What a
    /// delegated administrator may not touch looks to it like what is not there.
    fn looks_after(
        &self,
        participant: &ParticipantId,
        class: Class,
        act: &Act,
    ) -> Result<(), Rejection> {
        match (&self.firm, class) {
            (Some(firm), Class::User) if firm == participant => Ok(()),
            (Some(_), _) => Err(Rejection::OtherParticipant),
            (None, Class::DelegatedAdmin) => Ok(()),
            (None, Class::User) if act.is_card() => Ok(()),
            (None, Class::User) => Err(Rejection::LookedAfterByAdmins),
        }
    }
}

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: &Command) -> Effect {
    let event = Event::new(command.kind());
    let person = match person(state, context, command.token()) {
        Ok(person) => person,
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    let event = event.by(&person.by);
    match command {
        Command::Make {
            id,
            account,
            act,
            reason,
            seen,
            ..
        } => {
            let asked = Asked {
                id: *id,
                account,
                act,
                reason,
                seen: *seen,
            };
            make(state, context.now, &person, &asked, event)
        }
        Command::Approve { id, token } => {
            approve(state, context, &person, (id, token.as_ref()), event)
        }
        Command::Reject { id, reason, .. } => {
            let decision = Decision::Rejected {
                reason: reason.clone(),
            };
            let found = found(state, context.now, &person, id).and_then(|request| {
                reason_fits(reason)?;
                may_check(state, &person, &request)?;
                Ok(request)
            });
            decide(state, context.now, found, decision, &person, event)
        }
        Command::Withdraw { id, .. } => {
            let found = found(state, context.now, &person, id).and_then(|request| {
                let own = request.maker == person.by;
                own.then_some(request).ok_or(Rejection::NotAllowed)
            });
            decide(
                state,
                context.now,
                found,
                Decision::Withdrawn,
                &person,
                event,
            )
        }
    }
}

/// Who asks. An operator's requests are of the main line (no branch takes an operator's change); a
/// delegated administrator's are of the line that serves.
fn person(
    state: &State,
    context: &Context<'_>,
    token: Option<&TokenId>,
) -> Result<Person, Rejection> {
    match (context.actor, token) {
        (Actor::Operator(operator), None) => {
            cluster::may_set(state, context)?;
            Ok(Person {
                by: By::Operator(operator.clone()),
                firm: None,
            })
        }
        (Actor::FrontEnd(_), Some(token)) => {
            state.open_session(context.now)?;
            let token = token::shown(state, context, token)?;
            if token.class != Class::DelegatedAdmin {
                return Err(Rejection::NotAllowed);
            }
            Ok(Person {
                by: By::Account(token.account.clone()),
                firm: Some(token.participant.clone()),
            })
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

/// What a maker asks for.
struct Asked<'a> {
    id: ChangeRequestId,
    account: &'a AccountId,
    act: &'a Act,
    reason: &'a str,
    seen: Option<Digest>,
}

fn make(
    state: &mut State,
    now: UnixMs,
    person: &Person,
    asked: &Asked<'_>,
    event: Event,
) -> Effect {
    let (participant, class) = match asked.act {
        Act::Create(account) => (account.participant.clone(), account.class),
        Act::Resume
        | Act::Unlock(_)
        | Act::SetEmail(_)
        | Act::RegisterCard { .. }
        | Act::ResetPassword
        | Act::ResetChannel
        | Act::ResetBoth
        | Act::Delete
        | Act::AllowMethod(_) => match state.account(asked.account) {
            Some(account) => (account.participant.clone(), account.class),
            None if person.firm.is_some() => {
                return Effect::rejected(Rejection::OtherParticipant, event);
            }
            None => return Effect::rejected(Rejection::NoSuchAccount, event),
        },
    };
    if let Err(rejection) = person.looks_after(&participant, class, asked.act) {
        return Effect::rejected(rejection, event);
    }
    let request = ChangeRequest {
        id: asked.id,
        account: asked.account.clone(),
        participant,
        class,
        act: asked.act.clone(),
        reason: asked.reason.to_owned(),
        maker: person.by.clone(),
        made_at: now,
        expires_at: now.plus(state.policy.change_request_life_ms),
        decided: None,
    };
    let event = about(event, &request);
    let may = reason_fits(asked.reason)
        .and_then(|()| fresh(state, now, &request, asked.seen))
        .and_then(|()| carry_out::judge(state, now, &request, &person.by));
    match may {
        Ok(()) => {
            state.change_requests.set(request);
            let carry = state.header.line.carry();
            Effect::done(Answer::Changed { carry }, event)
        }
        Err(rejection) => Effect::rejected(rejection, event),
    }
}

fn reason_fits(reason: &str) -> Result<(), Rejection> {
    if (1..=REASON_BYTES_MAX).contains(&reason.len()) {
        return Ok(());
    }
    let problem = format!("a reason has 1 to {REASON_BYTES_MAX} bytes");
    Err(Rejection::BadValues(vec![problem]))
}

/// Whether there is room for it, its id is new, and the account is what the maker saw.
fn fresh(
    state: &State,
    now: UnixMs,
    request: &ChangeRequest,
    seen: Option<Digest>,
) -> Result<(), Rejection> {
    let first = ChangeRequestId([0; 16]);
    let of_firm = state.change_requests.of(&request.participant, first, now);
    if of_firm.count() >= REQUESTS_A_PARTICIPANT_MAX {
        return Err(Rejection::TooMany);
    }
    if state.change_requests.get(&request.id, now).is_some() {
        return Err(Rejection::AlreadySo);
    }
    let is = state
        .account(&request.account)
        .map(crate::account::Account::etag);
    if seen.is_some() && seen != is {
        return Err(Rejection::ChangedSince);
    }
    Ok(())
}

/// The request, if it is one that the person may see.
fn found(
    state: &State,
    now: UnixMs,
    person: &Person,
    id: &ChangeRequestId,
) -> Result<ChangeRequest, Rejection> {
    state
        .change_requests
        .get(id, now)
        .filter(|request| {
            let firm = person.firm.as_ref();
            firm.is_none_or(|firm| *firm == request.participant && request.class == Class::User)
        })
        .cloned()
        .ok_or(Rejection::NoSuchChangeRequest)
}

/// Whether the person is the second one that the request needs.
fn may_check(state: &State, person: &Person, request: &ChangeRequest) -> Result<(), Rejection> {
    if request.maker == person.by {
        return Err(Rejection::MakerIsChecker);
    }
    match (&person.firm, request.class) {
        (Some(_), Class::User) | (None, Class::DelegatedAdmin) => Ok(()),
        (Some(_), Class::DelegatedAdmin) => Err(Rejection::OtherParticipant),
        (None, Class::User) if request.act.is_card() => Ok(()),
        (None, Class::User) if state.has_admin(&request.participant, Some(&request.maker)) => {
            Err(Rejection::LookedAfterByAdmins)
        }
        (None, Class::User) => Ok(()),
    }
}

/// Whether the maker could still make it: a request does not outlive its maker's rights.
fn maker_stands(state: &State, request: &ChangeRequest) -> bool {
    match &request.maker {
        By::Account(id) => state.account(id).is_some_and(|account| {
            account.active()
                && participant::lets_in(state, account)
                && account.class == Class::DelegatedAdmin
                && account.participant == request.participant
        }),
        By::Operator(id) => state.registered(&Holder::Operator(id.clone())).is_some(),
    }
}

fn approve(
    state: &mut State,
    context: &Context<'_>,
    person: &Person,
    (id, token): (&ChangeRequestId, Option<&TokenId>),
    event: Event,
) -> Effect {
    let now = context.now;
    let request = match found(state, now, person, id) {
        Ok(request) => request,
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    let event = about(event, &request);
    if let Some((Decision::Approved, by, _)) = &request.decided
        && *by == person.by
    {
        let carry = state.header.line.carry();
        return Effect::done(Answer::Changed { carry }, event);
    }
    let may = still_open(&request, now)
        .and_then(|()| may_check(state, person, &request))
        .and_then(|()| match maker_stands(state, &request) {
            true => Ok(()),
            false => Err(Rejection::MakerNotActive),
        })
        .and_then(|()| carry_out::judge(state, now, &request, &request.maker))
        .and_then(|()| carry_out::judge(state, now, &request, &person.by))
        // Last, for it uses a step-up up.
        .and_then(|()| proved(state, context, token, &request));
    if let Err(rejection) = may {
        return Effect::rejected(rejection, event);
    }
    let done = carry_out::carry_out(state, now, &request, &person.by);
    state.change_requests.set(ChangeRequest {
        decided: Some((Decision::Approved, person.by.clone(), now)),
        ..request
    });
    let carry = state.header.line.carry();
    let mut effect = Effect::done(Answer::Changed { carry }, event);
    effect.events.push(done.by(&person.by));
    effect
}

/// A delegated administrator's approval rests on token and step-up, an operator's on its signature.
fn proved(
    state: &mut State,
    context: &Context<'_>,
    token: Option<&TokenId>,
    request: &ChangeRequest,
) -> Result<(), Rejection> {
    match token {
        Some(token) => {
            let act = change::Act::ApproveChange(request.id);
            change::use_step_up(state, context, token, &act)
        }
        None => {
            let act = approval::Act::ChangeRequest(request.id, request.content());
            approval::given(state, context, &act).map(|_| ())
        }
    }
}

fn still_open(request: &ChangeRequest, now: UnixMs) -> Result<(), Rejection> {
    match request.decided {
        Some(_) => Err(Rejection::ChangeRequestDecided),
        None if request.open(now) => Ok(()),
        None => Err(Rejection::ChangeRequestExpired),
    }
}

/// Closes a request without carrying it out.
fn decide(
    state: &mut State,
    now: UnixMs,
    found: Result<ChangeRequest, Rejection>,
    decision: Decision,
    person: &Person,
    event: Event,
) -> Effect {
    let request = match found {
        Ok(request) => request,
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    let event = about(event, &request);
    if let Err(rejection) = still_open(&request, now) {
        return Effect::rejected(rejection, event);
    }
    state.change_requests.set(ChangeRequest {
        decided: Some((decision, person.by.clone(), now)),
        ..request
    });
    let carry = state.header.line.carry();
    Effect::done(Answer::Changed { carry }, event)
}

fn about(mut event: Event, request: &ChangeRequest) -> Event {
    event.account = Some(request.account.clone());
    event.participant = Some(request.participant.clone());
    event.class = Some(request.class);
    event.detail(format!(
        "{} ({}): {}",
        request.act.kind(),
        request.id,
        request.reason
    ))
}
