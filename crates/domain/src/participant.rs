//! Participants: the firms, and what operators do to one as a whole.
//!
//! A firm's people are shut out by the firm's own record, which every login and every act of its
//! delegated administrators looks at; their tokens name how often the firm's were ended. So
//! suspending takes the same work for a firm of ten people and of a hundred thousand, and nothing
//! of their accounts is touched. After a deletion the accounts are erased too, some with every
//! entry of the main line; none of them counts from the deletion on. Deliberately absent: the terms
//! that a firm logs in on, which are `migration`'s.

use serde::{Deserialize, Serialize};

use crate::account::{Account, By, Status, review};
use crate::apply::{Context, Effect};
use crate::approval;
use crate::audit::{Event, Kind, Repeat};
use crate::cluster;
use crate::digest::Digest;
use crate::encoding;
use crate::id::ParticipantId;
use crate::line::Carry;
use crate::outcome::{Answer, Rejection};
use crate::registration::reason_fits;
use crate::session::{self, Whose};
use crate::state::State;
use crate::table::Record;

/// A firm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    /// Its id.
    pub id: ParticipantId,
    /// Its name.
    pub title: String,
    /// Whether its people may log in.
    #[serde(default, skip_serializing_if = "is_active")]
    pub status: Status,
    /// Counts how often all tokens of its people were ended at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub endings: u64,
}

fn is_active(status: &Status) -> bool {
    *status == Status::Active
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a field out by reference"
)]
fn is_zero(endings: &u64) -> bool {
    *endings == 0
}

impl Participant {
    /// A firm that nothing was done to yet.
    #[must_use]
    pub fn new(id: ParticipantId, title: String) -> Self {
        Self {
            id,
            title,
            status: Status::Active,
            endings: 0,
        }
    }

    /// What a caller shows to say which version it saw: it moves with every field.
    #[must_use]
    pub fn etag(&self) -> Digest {
        Digest::of("etag", &[&encoding::encode(self)])
    }

    /// Whether its people may log in.
    #[must_use]
    pub fn active(&self) -> bool {
        match self.status {
            Status::Active => true,
            Status::Suspended { .. } | Status::Deleted { .. } => false,
        }
    }

    /// Whether it is gone for good.
    #[must_use]
    pub fn deleted(&self) -> bool {
        match self.status {
            Status::Deleted { .. } => true,
            Status::Active | Status::Suspended { .. } => false,
        }
    }
}

impl Record for Participant {
    type Key = ParticipantId;
    const TABLE: &'static str = "participant";
    fn key(&self) -> ParticipantId {
        self.id.clone()
    }
}

/// What takes two operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// A suspended firm's people may log in again.
    Resume,
    /// The firm goes for good, with all its accounts; its id is never used again.
    Delete,
}

/// What two operators say alike before it is carried out (S34).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// The firm.
    pub participant: ParticipantId,
    /// What is to be done.
    pub wanted: Wanted,
    /// The firm as the operator saw it, if the operator says so.
    pub seen: Option<Digest>,
}

impl Act {
    pub(crate) fn name(&self) -> &'static str {
        match self.wanted {
            Wanted::Resume => "participant.resume",
            Wanted::Delete => "participant.delete",
        }
    }

    pub(crate) fn arguments(&self) -> Vec<(&'static str, String)> {
        let seen = self.seen.map(|seen| seen.to_string());
        vec![
            ("participant", self.participant.to_string()),
            ("as seen", seen.unwrap_or_default()),
        ]
    }

    fn kind(&self) -> Kind {
        match self.wanted {
            Wanted::Resume => Kind::ParticipantResumed,
            Wanted::Delete => Kind::ParticipantDeleted,
        }
    }
}

/// What is asked about a firm as a whole, by operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Takes the access of all of a firm's people away at once; their tokens end.
    Suspend {
        /// The firm.
        participant: ParticipantId,
        /// Why, for the record.
        reason: String,
    },
    /// An operator says what is to be done. It is carried out once enough have said the same.
    Say {
        /// What.
        act: Act,
        /// Why, for the record.
        reason: String,
    },
}

impl Command {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Suspend { .. } => Kind::ParticipantSuspended,
            Self::Say { .. } => Kind::ActApproved,
        }
    }

    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Suspend { .. } => "SuspendParticipant",
            Self::Say { act, .. } => match act.wanted {
                Wanted::Resume => "ResumeParticipant",
                Wanted::Delete => "DeleteParticipant",
            },
        }
    }
}

/// Whether the account's firm lets its people in: it is not suspended, and not held.
#[must_use]
pub fn lets_in(state: &State, account: &Account) -> bool {
    let held = Whose::Participant(account.participant.clone());
    let firm = state.participants.get(&account.participant);
    firm.is_none_or(Participant::active) && state.holds.get(&held).is_none()
}

/// That the account's firm lets nobody in, if so: told only after a factor was proved.
pub(crate) fn refusal(state: &State, account: &Account) -> Option<Rejection> {
    (!lets_in(state, account)).then_some(Rejection::ParticipantSuspended)
}

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: &Command) -> Effect {
    let mut event = Event::new(command.kind());
    match command {
        Command::Suspend {
            participant,
            reason,
        } => {
            event.participant = Some(participant.clone());
            suspend(state, context, participant, reason, event.detail(reason))
        }
        Command::Say { act, reason } => {
            event.participant = Some(act.participant.clone());
            let event = event.detail(format!("{}: {reason}", act.name()));
            say(state, context, act, reason, event)
        }
    }
}

/// The firm, unless it was deleted.
fn found<'a>(state: &'a State, id: &ParticipantId) -> Result<&'a Participant, Rejection> {
    state.firm(id).ok_or(Rejection::OtherParticipant)
}

/// Takes access away at once. A fenced main line takes it too, as it takes an account's.
fn suspend(
    state: &mut State,
    context: &Context<'_>,
    id: &ParticipantId,
    reason: &str,
    event: Event,
) -> Effect {
    let judged = session::operator(context).and_then(|operator| {
        reason_fits(reason)?;
        let firm = found(state, id)?;
        match firm.active() {
            true => Ok((operator.clone(), firm.clone())),
            false => Err(Rejection::AlreadySo),
        }
    });
    let (operator, mut firm) = match judged {
        Ok(judged) => judged,
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    let by = By::Operator(operator);
    firm.status = Status::Suspended {
        at: context.now,
        by: by.clone(),
    };
    firm.endings = firm.endings.saturating_add(1);
    state.put_participant(firm);
    let carry = state.header.line.carry();
    let repeat = (carry == Carry::DiscardedAtRollover).then_some(Repeat::ParticipantSuspension);
    let effect = Effect::done(Answer::Changed { carry }, event.repeat(repeat));
    review::note(state, context, &by, effect)
}

/// Whether the act can be carried out as things stand.
fn judge(state: &State, act: &Act) -> Result<Participant, Rejection> {
    let firm = found(state, &act.participant)?;
    if act.seen.is_some_and(|seen| seen != firm.etag()) {
        return Err(Rejection::ChangedSince);
    }
    match act.wanted {
        Wanted::Resume if firm.active() => Err(Rejection::AlreadySo),
        Wanted::Resume | Wanted::Delete => Ok(firm.clone()),
    }
}

/// Notes what an operator says; carries it out with the last one that it takes.
fn say(state: &mut State, context: &Context<'_>, act: &Act, reason: &str, event: Event) -> Effect {
    let judged = cluster::may_set(state, context)
        .and_then(|()| reason_fits(reason))
        .and_then(|()| judge(state, act))
        .and_then(|firm| Ok((firm, session::operator(context)?.clone())));
    let (mut firm, operator) = match judged {
        Ok(judged) => judged,
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    let about = format!("participant {}", act.participant);
    let noted = approval::note(
        state,
        context,
        about,
        approval::Act::Participant(act.clone()),
    );
    let counted = match noted {
        Ok(counted) => counted,
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    let (have, need) = (counted.have, counted.need);
    let mut effect = Effect::done(Answer::Approved { have, need }, event);
    if have < need {
        return effect;
    }
    match act.wanted {
        Wanted::Resume => firm.status = Status::Active,
        Wanted::Delete => {
            firm.status = Status::Deleted {
                at: context.now,
                by: By::Operator(operator),
            };
            firm.endings = firm.endings.saturating_add(1);
            state.terms.remove(&firm.id);
        }
    }
    state.put_participant(firm);
    let mut done = Event::new(act.kind()).detail(reason).approved(counted.act);
    done.participant = Some(act.participant.clone());
    effect.events.push(done);
    effect
}
