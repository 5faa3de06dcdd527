//! The cluster: how it was founded, who is registered with it, and its clock.

use serde::{Deserialize, Serialize};

use crate::apply::{Context, Effect};
use crate::audit::{Event, Kind};
use crate::calendar::Calendar;
use crate::envelope::Actor;
use crate::id::{BackEndId, CentreName, ClusterId, FrontEndId, NodeId, OperatorId};
use crate::line::LineId;
use crate::outcome::{Answer, Rejection};
use crate::policy::Policy;
use crate::portal::Portal;
use crate::state::{Held, State};
use crate::time::UnixMs;

/// The SHA-256 of a certificate's public key, pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyPin(#[serde(with = "serde_bytes")] pub [u8; 32]);

/// A centre and its nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Centre {
    /// Its name.
    pub name: CentreName,
    /// Its nodes.
    pub nodes: Vec<Node>,
}

/// A node, and where its peers reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Host and port of its peer listener.
    pub address: String,
}

/// A registered operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Its id.
    pub id: OperatorId,
    /// Its certificate's key.
    pub key: KeyPin,
}

/// A registered front end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontEnd {
    /// Its id.
    pub id: FrontEndId,
    /// Its certificate's key.
    pub key: KeyPin,
    /// The portals that it serves.
    pub portals: Vec<Portal>,
}

/// A registered back end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackEnd {
    /// Its id.
    pub id: BackEndId,
    /// Its certificate's key.
    pub key: KeyPin,
}

/// How a cluster begins: the main line's first entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its name, for people.
    pub title: String,
    /// The primary centre.
    pub primary: Centre,
    /// The secondary centre; none in a cluster of one.
    pub secondary: Option<Centre>,
    /// The first operators (S27: there is no other account).
    pub operators: Vec<Operator>,
    /// Registered front ends.
    pub front_ends: Vec<FrontEnd>,
    /// Registered back ends.
    pub back_ends: Vec<BackEnd>,
    /// The first policy.
    pub policy: Policy,
    /// The first calendar.
    pub calendar: Calendar,
    /// Whether operators may set the clock: in drills on a cluster of their own, never in service.
    pub simulated_clock: bool,
    /// How far the simulated clock is ahead of the machine's, in milliseconds; 0 without.
    pub clock_offset_ms: i64,
}

impl Founding {
    /// The centre of this name.
    #[must_use]
    pub fn centre(&self, name: &CentreName) -> Option<&Centre> {
        std::iter::once(&self.primary)
            .chain(&self.secondary)
            .find(|centre| centre.name == *name)
    }

    /// The centre that the node belongs to.
    #[must_use]
    pub fn centre_of(&self, node: NodeId) -> Option<&Centre> {
        std::iter::once(&self.primary)
            .chain(&self.secondary)
            .find(|centre| centre.nodes.iter().any(|known| known.id == node))
    }
}

/// What is asked about the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The first entry.
    Found(Box<Founding>),
    /// Moves the line's clock further than a jump allows: at idle times by a leader whose clock
    /// its peers confirm, or in a cluster with a simulated clock by an operator.
    AdvanceClock {
        /// The time that the line's clock gets; never an earlier one than it has.
        to: UnixMs,
        /// The simulated clock's new offset, if it is one.
        offset_ms: Option<i64>,
    },
}

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: &Command) -> Effect {
    match command {
        Command::Found(founding) => found(state, founding),
        Command::AdvanceClock { to, offset_ms } => advance(state, context, *to, *offset_ms),
    }
}

fn found(state: &mut State, founding: &Founding) -> Effect {
    let event = Event::new(Kind::Founded);
    if state.founding.is_some() {
        return Effect::rejected(Rejection::AlreadyFounded, event);
    }
    let problems = founding.policy.problems();
    if !problems.is_empty() {
        let problems = problems.into_iter().map(str::to_owned).collect();
        return Effect::rejected(Rejection::BadValues(problems), event);
    }
    state.header.clock_offset_ms = founding.clock_offset_ms;
    state.policy = Held::new(founding.policy.clone());
    state.calendar = Held::new(founding.calendar.clone());
    state.founding = Some(Held::new(founding.clone()));
    Effect::done(Answer::Nothing, event.detail(founding.title.clone()))
}

fn advance(state: &mut State, context: &Context<'_>, to: UnixMs, offset_ms: Option<i64>) -> Effect {
    let event = Event::new(Kind::ClockAdvanced);
    let simulated = state
        .founding()
        .is_some_and(|founding| founding.simulated_clock);
    let rejection = match (context.actor, offset_ms) {
        (Actor::Node(_), None) => None,
        (Actor::Operator(_), Some(_)) if simulated => None,
        (Actor::Operator(_), _) => Some(Rejection::ClockNotSimulated),
        (Actor::Node(_) | Actor::FrontEnd(_) | Actor::BackEnd(_), _) => Some(Rejection::NotAllowed),
    };
    if let Some(rejection) = rejection {
        return Effect::rejected(rejection, event);
    }
    state.header.clock = state.header.clock.max(to);
    if let Some(offset_ms) = offset_ms {
        state.header.clock_offset_ms = offset_ms;
    }
    Effect::done(Answer::ClockAdvanced, event.detail(format!("to {to}")))
}

pub(crate) fn set_calendar(
    state: &mut State,
    context: &Context<'_>,
    calendar: &Calendar,
) -> Effect {
    let event = Event::new(Kind::CalendarSet);
    let mut problems: Vec<String> = calendar
        .problems()
        .iter()
        .map(ToString::to_string)
        .collect();
    if let Some(founding) = state.founding() {
        problems.extend(
            calendar
                .timetable
                .iter()
                .filter(|session| founding.centre(&session.centre).is_none())
                .map(|session| format!("{}: there is no centre {}", session.id, session.centre)),
        );
    }
    if let Err(rejection) = may_set(state, context) {
        return Effect::rejected(rejection, event);
    }
    if !problems.is_empty() {
        return Effect::rejected(Rejection::BadValues(problems), event);
    }
    state.calendar = Held::new(calendar.clone());
    Effect::done(Answer::Nothing, event)
}

pub(crate) fn set_policy(state: &mut State, context: &Context<'_>, policy: &Policy) -> Effect {
    let event = Event::new(Kind::PolicySet);
    if let Err(rejection) = may_set(state, context) {
        return Effect::rejected(rejection, event);
    }
    let problems = policy.problems();
    if !problems.is_empty() {
        let problems = problems.into_iter().map(str::to_owned).collect();
        return Effect::rejected(Rejection::BadValues(problems), event);
    }
    state.policy = Held::new(policy.clone());
    Effect::done(Answer::Nothing, event)
}

/// Whether the actor may make an operator's change now: on the main line, with no branch open.
pub(crate) fn may_set(state: &State, context: &Context<'_>) -> Result<(), Rejection> {
    if !matches!(context.actor, Actor::Operator(_)) {
        return Err(Rejection::NotAllowed);
    }
    if state.header.line != LineId::Main {
        return Err(Rejection::MainLineOnly);
    }
    match &state.header.fence {
        Some(session) => Err(Rejection::BranchOpen {
            session: session.clone(),
        }),
        None => Ok(()),
    }
}
