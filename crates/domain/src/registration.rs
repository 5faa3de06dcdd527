//! Who may call: operators, front ends, back ends and scripts, each with the key of its certificate
//! (LOGIN.md, "Who calls").
//!
//! Registering gives access, and takes two operators. Retiring takes it away: one operator, at
//! once, on a fenced main line too. Deliberately absent: nodes, which their own authority vouches
//! for, and certificates, of which the key alone is pinned.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::account::{By, review};
use crate::apply::{Context, Effect};
use crate::approval::{self, Act};
use crate::audit::{Event, Kind};
use crate::centre;
use crate::cluster::{Founding, KeyPin, may_set};
use crate::envelope::{Actor, Command as Asked};
use crate::id::{BackEndId, FrontEndId, OperatorId, ScriptId};
use crate::line::LineId;
use crate::outcome::{Answer, Rejection};
use crate::portal::Portal;
use crate::session::{self, REASON_BYTES_MAX};
use crate::state::State;
use crate::table::Record;
use crate::time::UnixMs;

/// Most callers that are registered, retired ones included.
pub const REGISTRATIONS_MAX: usize = 1_000;
/// Fewest operators that stay: with one alone nothing could be approved any more.
pub const OPERATORS_MIN: u32 = 2;

/// Who calls, by role and id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Holder {
    /// Staff of the clearing house.
    Operator(OperatorId),
    /// A web server that logs people in.
    FrontEnd(FrontEndId),
    /// A system that checks tokens.
    BackEnd(BackEndId),
    /// A program that runs approved plans alone.
    Script(ScriptId),
}

impl fmt::Display for Holder {
    /// As certificates write it: `operator/alice`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(id) => write!(f, "operator/{id}"),
            Self::FrontEnd(id) => write!(f, "front-end/{id}"),
            Self::BackEnd(id) => write!(f, "back-end/{id}"),
            Self::Script(id) => write!(f, "script/{id}"),
        }
    }
}

impl Holder {
    /// Whom the log names so; none for a node.
    #[must_use]
    pub fn of(actor: &Actor) -> Option<Self> {
        match actor {
            Actor::Operator(id) => Some(Self::Operator(id.clone())),
            Actor::FrontEnd(id) => Some(Self::FrontEnd(id.clone())),
            Actor::BackEnd(id) => Some(Self::BackEnd(id.clone())),
            Actor::Script(id) => Some(Self::Script(id.clone())),
            Actor::Node(_) => None,
        }
    }
}

/// Who is to be registered, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registering {
    /// Who.
    pub holder: Holder,
    /// The certificate's key.
    pub key: KeyPin,
    /// The portals that a front end serves; none for others.
    pub portals: Vec<Portal>,
}

impl Registering {
    /// What operators agree on.
    pub(crate) fn arguments(&self) -> Vec<(&'static str, String)> {
        let portals = self.portals.iter().map(|portal| match portal {
            Portal::Ccms => "ccms",
            Portal::Dms => "dms",
        });
        vec![
            ("caller", self.holder.to_string()),
            ("key", self.key.to_string()),
            ("portals", portals.collect::<Vec<_>>().join(",")),
        ]
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let ordered = self.portals.is_sorted_by(|one, next| one < next);
        match &self.holder {
            Holder::FrontEnd(_) if self.portals.is_empty() || !ordered => {
                problems.push("a front end has one portal or more, each once, in order".to_owned());
            }
            Holder::Operator(_) | Holder::BackEnd(_) | Holder::Script(_)
                if !self.portals.is_empty() =>
            {
                problems.push("only a front end has portals".to_owned());
            }
            Holder::FrontEnd(_) | Holder::Operator(_) | Holder::BackEnd(_) | Holder::Script(_) => {}
        }
        problems
    }
}

/// That a caller's access was taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// When.
    pub at: UnixMs,
    /// By whom.
    pub by: OperatorId,
    /// Why.
    pub reason: String,
}

/// A caller, registered or retired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Who.
    pub holder: Holder,
    /// The certificate's key.
    pub key: KeyPin,
    /// The portals that a front end serves.
    pub portals: Vec<Portal>,
    /// Since when, by the line's clock.
    pub since: UnixMs,
    /// The operators' statements; none for those that the cluster was founded with.
    pub approvals: approval::By,
    /// That it is retired, if it is.
    pub retired: Option<Retired>,
}

impl Record for Registration {
    type Key = Holder;
    const TABLE: &'static str = "registration";
    fn key(&self) -> Holder {
        self.holder.clone()
    }
}

/// What is asked about callers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// An operator approves that somebody be registered, or get another key. It is carried out once
    /// enough have approved the same.
    Register {
        /// Who, and how.
        registering: Registering,
        /// Why, for the record.
        reason: String,
    },
    /// Takes a caller's access away, at once.
    Retire {
        /// Whose.
        holder: Holder,
        /// Why.
        reason: String,
    },
}

impl Command {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Register { .. } => Kind::RegistrationApproved,
            Self::Retire { .. } => Kind::CallerRetired,
        }
    }

    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Register { .. } => "Register",
            Self::Retire { .. } => "Retire",
        }
    }
}

/// Those that the cluster is founded with.
pub(crate) fn found(state: &mut State, founding: &Founding, now: UnixMs) {
    let operators = founding.operators.iter().map(|operator| {
        let holder = Holder::Operator(operator.id.clone());
        (holder, operator.key, Vec::new())
    });
    let front_ends = founding.front_ends.iter().map(|front_end| {
        let holder = Holder::FrontEnd(front_end.id.clone());
        (holder, front_end.key, front_end.portals.clone())
    });
    let back_ends = founding.back_ends.iter().map(|back_end| {
        let holder = Holder::BackEnd(back_end.id.clone());
        (holder, back_end.key, Vec::new())
    });
    for (holder, key, portals) in operators.chain(front_ends).chain(back_ends) {
        state.registrations.set(Registration {
            holder,
            key,
            portals,
            since: now,
            approvals: approval::By::new(),
            retired: None,
        });
    }
}

/// Whether the actor may ask for anything like it: a retired caller for nothing, a script for what
/// a grant can name alone.
pub(crate) fn may_ask(state: &State, actor: &Actor, command: &Asked) -> Result<(), Rejection> {
    let Some(holder) = Holder::of(actor) else {
        return Ok(());
    };
    let known = state.registrations.get(&holder);
    match actor {
        Actor::Script(_) => {
            let live = known.is_some_and(|known| known.retired.is_none());
            live.then_some(()).ok_or(Rejection::CallerRetired)?;
            scripted(command)
                .then_some(())
                .ok_or(Rejection::ScriptMayNot)
        }
        Actor::Operator(_) | Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Node(_) => {
            let retired = known.is_some_and(|known| known.retired.is_some());
            (!retired).then_some(()).ok_or(Rejection::CallerRetired)
        }
    }
}

/// Whether a script can be granted it at all.
fn scripted(command: &Asked) -> bool {
    match command {
        Asked::Session(command) => match command {
            session::Command::Open { .. } | session::Command::Close { .. } => true,
            // To answer for what is forgotten, or for a gap, is a person's.
            session::Command::RollOver {
                replies,
                gap_accepted,
                ..
            } => replies.is_empty() && gap_accepted.is_none(),
            session::Command::Approve { .. }
            | session::Command::ConfirmOpen { .. }
            | session::Command::BranchStart { .. }
            | session::Command::BeginUnplanned { .. }
            | session::Command::Adopt { .. }
            | session::Command::Start { .. }
            | session::Command::Abandon { .. }
            | session::Command::AnswerHolds { .. } => false,
        },
        Asked::Script(command) => command.is_run(),
        Asked::Centre(command) => match command {
            centre::Command::SwitchStart { .. } => true,
            centre::Command::SwitchDone { .. }
            | centre::Command::SwitchGivenUp { .. }
            | centre::Command::ChangeNodes { .. }
            | centre::Command::NodesSettled { .. } => false,
        },
        Asked::Cluster(_)
        | Asked::SetCalendar(_)
        | Asked::SetPolicy { .. }
        | Asked::Account(_)
        | Asked::Participant(_)
        | Asked::ChangeRequest(_)
        | Asked::Migration(_)
        | Asked::SetRevocationList(_)
        | Asked::Login(_)
        | Asked::Token(_)
        | Asked::Initiation(_)
        | Asked::Change(_)
        | Asked::Notice(_)
        | Asked::Keys(_)
        | Asked::Protection(_)
        | Asked::Promote(_)
        | Asked::Registration(_)
        | Asked::Signed(_) => false,
    }
}

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: &Command) -> Effect {
    match command {
        Command::Register {
            registering,
            reason,
        } => register(state, context, registering, reason),
        Command::Retire { holder, reason } => retire(state, context, holder, reason),
    }
}

pub(crate) fn reason_fits(reason: &str) -> Result<(), Rejection> {
    if (1..=REASON_BYTES_MAX).contains(&reason.len()) {
        return Ok(());
    }
    let problem = format!("a reason has 1 to {REASON_BYTES_MAX} bytes");
    Err(Rejection::BadValues(vec![problem]))
}

fn register(
    state: &mut State,
    context: &Context<'_>,
    registering: &Registering,
    reason: &str,
) -> Effect {
    let holder = &registering.holder;
    let said = format!("{holder}, key {}: {reason}", registering.key);
    let event = Event::new(Kind::RegistrationApproved).detail(said.clone());
    let judged = may_set(state, context)
        .and_then(|()| reason_fits(reason))
        .and_then(|()| judge(state, registering));
    if let Err(rejection) = judged {
        return Effect::rejected(rejection, event);
    }
    let about = format!("register {holder}");
    let counted = match approval::note(state, context, about, Act::Register(registering.clone())) {
        Ok(counted) => counted,
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    let approved = Answer::Approved {
        have: counted.have,
        need: counted.need,
    };
    let mut effect = Effect::done(approved, event);
    if counted.have >= counted.need {
        state.registrations.set(Registration {
            holder: holder.clone(),
            key: registering.key,
            portals: registering.portals.clone(),
            since: context.now,
            approvals: counted.by,
            retired: None,
        });
        let done = Event::new(Kind::CallerRegistered)
            .detail(said)
            .approved(counted.act);
        effect.events.push(done);
    }
    effect
}

fn judge(state: &State, registering: &Registering) -> Result<(), Rejection> {
    let problems = registering.problems();
    if !problems.is_empty() {
        return Err(Rejection::BadValues(problems));
    }
    let holder = &registering.holder;
    // Two names with one key are one person, and a retired one's key is no other's either.
    let mut others = state.registrations.iter();
    let taken = others.find(|other| other.key == registering.key && other.holder != *holder);
    if let Some(other) = taken {
        return Err(Rejection::KeyPinned {
            holder: other.holder.to_string(),
        });
    }
    match state.registrations.get(holder) {
        Some(known)
            if known.retired.is_none()
                && known.key == registering.key
                && known.portals == registering.portals =>
        {
            Err(Rejection::AlreadySo)
        }
        Some(_) => Ok(()),
        None if state.registrations.len() >= REGISTRATIONS_MAX => Err(Rejection::TooMany),
        None => Ok(()),
    }
}

/// Takes access away. A fenced main line takes it too: whoever is retired calls on no line.
fn retire(state: &mut State, context: &Context<'_>, holder: &Holder, reason: &str) -> Effect {
    let event = Event::new(Kind::CallerRetired).detail(format!("{holder}: {reason}"));
    let by = match may_retire(state, context, holder, reason) {
        Ok(by) => by,
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    let retired = Retired {
        at: context.now,
        by: by.clone(),
        reason: reason.to_owned(),
    };
    state
        .registrations
        .change(holder, |known| known.retired = Some(retired));
    let count = match holder {
        Holder::FrontEnd(front_end) => state.short.tokens.end_at(front_end),
        Holder::Operator(_) | Holder::BackEnd(_) | Holder::Script(_) => 0,
    };
    let effect = Effect::done(Answer::TokensEnded { count }, event);
    review::note(state, context, &By::Operator(by), effect)
}

fn may_retire(
    state: &State,
    context: &Context<'_>,
    holder: &Holder,
    reason: &str,
) -> Result<OperatorId, Rejection> {
    let operator = session::operator(context)?;
    if state.header.line != LineId::Main {
        return Err(Rejection::MainLineOnly);
    }
    reason_fits(reason)?;
    let known = state.registrations.get(holder);
    match known {
        None => return Err(Rejection::NoSuchCaller),
        Some(known) if known.retired.is_some() => return Err(Rejection::AlreadySo),
        Some(_) => {}
    }
    if matches!(holder, Holder::Operator(_)) {
        let need = state.policy.approvals.max(OPERATORS_MIN);
        let left = u32::try_from(state.operators().count()).unwrap_or(u32::MAX);
        if left <= need {
            return Err(Rejection::LastOperators { need });
        }
    }
    Ok(operator.clone())
}
