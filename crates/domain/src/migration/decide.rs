//! What operators say about the migration, and when it is carried out.

use super::{
    Change, Command, ENROLMENTS_MAX, Enrolment, GoLive, Migration, PROPOSALS_MAX, Proposal,
    REFERENCE_BYTES_MAX, Subject, Switch, Terms, Topic,
};
use crate::apply::{Context, Effect};
use crate::approval;
use crate::audit::{Event, Kind};
use crate::calendar::{Day, Session};
use crate::cluster;
use crate::factor::Method;
use crate::id::{ParticipantId, SessionId};
use crate::outcome::{Answer, Rejection};
use crate::session::REASON_BYTES_MAX;
use crate::state::{Held, State};
use crate::time::UnixMs;

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: &Command) -> Effect {
    match command {
        Command::Say { change, reason } => say(state, context, change, reason),
        Command::Enrol {
            participant,
            session,
            wanted,
        } => enrol(state, context, participant, session, *wanted),
    }
}

fn said(change: &Change, reason: &str) -> String {
    let what = match change {
        Change::Schedule { date } => format!("go-live on {date}"),
        Change::Approve { date, reference } => format!("go-live on {date} approved: {reference}"),
        Change::Postpone { date } => format!("go-live postponed to {date}"),
        Change::Withdraw => "go-live withdrawn".to_owned(),
        Change::Switch { of, method, switch } => {
            let whose = match of {
                Subject::Service => "the service".to_owned(),
                Subject::Participant(id) => format!("participant {id}"),
            };
            let how = match switch {
                Switch::On => "on".to_owned(),
                Switch::Off => "off".to_owned(),
                Switch::OffFrom(at) => format!("off from {at}"),
                Switch::OnFrom(at) => format!("on from {at}"),
            };
            format!("{method:?} of {whose} {how}")
        }
    };
    format!("{what}: {reason}")
}

/// Notes what an operator says; carries it out with the last one that it takes.
fn say(state: &mut State, context: &Context<'_>, change: &Change, reason: &str) -> Effect {
    let mut event = Event::new(Kind::MigrationProposed).detail(said(change, reason));
    match change {
        Change::Switch {
            of: Subject::Participant(id),
            ..
        } => event.participant = Some(id.clone()),
        Change::Switch {
            of: Subject::Service,
            ..
        }
        | Change::Schedule { .. }
        | Change::Approve { .. }
        | Change::Postpone { .. }
        | Change::Withdraw => {}
    }
    let now = context.now;
    let judged = cluster::may_set(state, context)
        .and_then(|()| reason_fits(reason))
        .and_then(|()| judge(state, now, change))
        .and_then(|()| approval::given(state, context, &approval::Act::Migration(change.clone())));
    let (operator, approval) = match judged {
        Ok(given) => given,
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    let topic = change.topic();
    // Somebody who says something else about it begins anew: nothing is carried out half-agreed.
    let mut by = alike(state, &topic, change, now);
    by.insert(operator, approval);
    let have = u32::try_from(by.len()).unwrap_or(u32::MAX);
    let need = state.policy.approvals;
    let mut effect = Effect::done(Answer::Approved { have, need }, event);
    if have < need {
        let full = state.proposals.len() >= PROPOSALS_MAX;
        if full && state.proposals.get(&topic, now).is_none() {
            let event = Event::new(Kind::MigrationProposed);
            return Effect::rejected(Rejection::TooMany, event);
        }
        state.proposals.set(Proposal {
            topic,
            change: change.clone(),
            by,
            ends_at: now.plus(approval::LIFE_MS_MAX),
        });
        return effect;
    }
    state.proposals.remove(&topic);
    carry_out(state, now, change);
    let act = approval::Act::Migration(change.clone()).digest();
    let mut done = Event::new(change.kind())
        .detail(said(change, reason))
        .approved(act);
    if let Some(asked) = effect.events.first() {
        done.participant.clone_from(&asked.participant);
    }
    effect.events.push(done);
    effect
}

fn bad(problem: impl Into<String>) -> Rejection {
    Rejection::BadValues(vec![problem.into()])
}

fn reason_fits(reason: &str) -> Result<(), Rejection> {
    if (1..=REASON_BYTES_MAX).contains(&reason.len()) {
        return Ok(());
    }
    Err(bad(format!("a reason has 1 to {REASON_BYTES_MAX} bytes")))
}

/// Who said the very same by a statement that counts now.
fn alike(state: &State, topic: &Topic, change: &Change, now: UnixMs) -> approval::By {
    let same = state
        .proposals
        .get(topic, now)
        .filter(|proposal| proposal.change == *change);
    same.map(|proposal| approval::counted(state, now, &proposal.by))
        .unwrap_or_default()
}

/// Whether the change can be made as things stand.
fn judge(state: &State, now: UnixMs, change: &Change) -> Result<(), Rejection> {
    let planned = state.migration.go_live.as_ref();
    match (change, planned) {
        (Change::Schedule { date }, None) => to_come(*date, now),
        (Change::Schedule { .. }, Some(planned)) => {
            Err(Rejection::GoLiveScheduled { date: planned.date })
        }
        (Change::Approve { .. } | Change::Postpone { .. } | Change::Withdraw, None) => {
            Err(Rejection::NoGoLive)
        }
        (Change::Approve { date, reference }, Some(planned)) => {
            approvable(planned, *date, reference, now)
        }
        (Change::Postpone { date }, Some(planned)) if planned.date == *date => {
            Err(Rejection::AlreadySo)
        }
        (Change::Postpone { date }, Some(_)) => to_come(*date, now),
        (Change::Withdraw, Some(_)) => Ok(()),
        (Change::Switch { of, method, switch }, _) => {
            let kept = kept(state, of, *method)?;
            if kept.is_so(*switch, now) {
                return Err(Rejection::AlreadySo);
            }
            Ok(())
        }
    }
}

/// A go-live begins at midnight: none is planned for a day that has begun.
fn to_come(date: Day, now: UnixMs) -> Result<(), Rejection> {
    if date.start().is_some_and(|start| now < start) {
        return Ok(());
    }
    Err(bad(format!(
        "go-live begins at 00:00 of its day, and {} has begun: choose a later one",
        date.long()
    )))
}

/// An approval is of one date. One that comes late switches nothing in the middle of a day.
fn approvable(planned: &GoLive, date: Day, reference: &str, now: UnixMs) -> Result<(), Rejection> {
    if planned.date != date {
        return Err(Rejection::GoLiveScheduled { date: planned.date });
    }
    if !(1..=REFERENCE_BYTES_MAX).contains(&reference.len()) {
        let problem = format!("the approval's reference has 1 to {REFERENCE_BYTES_MAX} bytes");
        return Err(bad(problem));
    }
    if planned.approval.as_deref() == Some(reference) {
        return Err(Rejection::AlreadySo);
    }
    to_come(date, now)
}

/// The switch as it stands.
fn kept(state: &State, of: &Subject, method: Method) -> Result<Switch, Rejection> {
    match (of, method) {
        (Subject::Service, Method::Otp) => Ok(state.migration.otp),
        (Subject::Service, Method::Smartcard) => Err(bad(
            "the smartcard goes off for everybody by an approved go-live, and by nothing else",
        )),
        (Subject::Participant(id), method) => {
            state.firm(id).ok_or(Rejection::OtherParticipant)?;
            let terms = state.terms(id);
            Ok(terms.map_or(Switch::On, |terms| terms.methods.get(method)))
        }
    }
}

fn carry_out(state: &mut State, now: UnixMs, change: &Change) {
    let mut migration = Migration::clone(&state.migration);
    match change {
        // Another date was not approved.
        Change::Schedule { date } | Change::Postpone { date } => {
            migration.go_live = Some(GoLive {
                date: *date,
                approval: None,
            });
        }
        Change::Approve { date, reference } => {
            migration.go_live = Some(GoLive {
                date: *date,
                approval: Some(reference.clone()),
            });
        }
        Change::Withdraw => migration.go_live = None,
        Change::Switch { of, method, switch } => {
            let switch = switch.carried_out(now);
            match of {
                Subject::Service => migration.otp = switch,
                Subject::Participant(id) => {
                    let mut terms = terms(state, id);
                    terms.methods.set(*method, switch);
                    state.terms.set(terms);
                }
            }
        }
    }
    state.migration = Held::new(migration);
}

fn terms(state: &State, participant: &ParticipantId) -> Terms {
    let terms = state.terms(participant).cloned();
    terms.unwrap_or_else(|| Terms::new(participant.clone()))
}

fn enrol(
    state: &mut State,
    context: &Context<'_>,
    participant: &ParticipantId,
    session: &SessionId,
    wanted: Enrolment,
) -> Effect {
    let what = match wanted {
        Enrolment::Enrolled => "enrolled",
        Enrolment::Withdrawn => "withdrawn",
    };
    let mut event = Event::new(Kind::EnrolmentSet).detail(format!("{session}: {what}"));
    event.participant = Some(participant.clone());
    if let Err(rejection) = may_enrol(state, context, participant, session, wanted) {
        return Effect::rejected(rejection, event);
    }
    let mut terms = terms(state, participant);
    match wanted {
        Enrolment::Enrolled => {
            // What the timetable does not name any more is not counted.
            let named = |id: &SessionId| planned(state, id).is_some();
            if terms.enrolled.len() >= ENROLMENTS_MAX {
                terms.enrolled.retain(named);
            }
            if terms.enrolled.len() >= ENROLMENTS_MAX {
                return Effect::rejected(Rejection::TooMany, event);
            }
            terms.enrolled.insert(session.clone());
        }
        Enrolment::Withdrawn => {
            terms.enrolled.remove(session);
        }
    }
    state.terms.set(terms);
    let carry = state.header.line.carry();
    Effect::done(Answer::Changed { carry }, event)
}

fn planned(state: &State, session: &SessionId) -> Option<Session> {
    let primary = &state.primary()?.name;
    state.calendar.session(session, primary)
}

fn may_enrol(
    state: &State,
    context: &Context<'_>,
    participant: &ParticipantId,
    session: &SessionId,
    wanted: Enrolment,
) -> Result<(), Rejection> {
    cluster::may_set(state, context)?;
    state.firm(participant).ok_or(Rejection::OtherParticipant)?;
    let enrolled = state
        .terms(participant)
        .is_some_and(|terms| terms.enrolled.contains(session));
    match wanted {
        Enrolment::Withdrawn if enrolled => Ok(()),
        Enrolment::Withdrawn => Err(Rejection::AlreadySo),
        Enrolment::Enrolled if enrolled => Err(Rejection::AlreadySo),
        Enrolment::Enrolled => {
            let planned = planned(state, session).ok_or(Rejection::NoSuchSession)?;
            let last = planned.last_day_to_enrol();
            let over = last.tomorrow().and_then(Day::start);
            if over.is_some_and(|over| context.now < over) {
                return Ok(());
            }
            Err(Rejection::EnrolmentClosed {
                session: session.clone(),
                last,
            })
        }
    }
}
