//! The cluster: how it was founded, who is registered with it, and its clock.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::apply::{Context, Effect};
use crate::approval;
use crate::audit::{Event, Kind};
use crate::backup::{self, BackupId, Restored};
use crate::calendar::Calendar;
use crate::centre::Centres;
use crate::digest::Digest;
use crate::envelope::Actor;
use crate::id::{BackEndId, CentreName, ClusterId, FrontEndId, NodeId, OperatorId, PLACES};
use crate::keys::{self, CheckpointKey, Purpose};
use crate::line::LineId;
use crate::outcome::{Answer, Rejection};
use crate::policy::Policy;
use crate::portal::Portal;
use crate::protection;
use crate::registration;
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

/// That whoever made it holds a key, without telling the key (LOGIN.md, "Keys").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyProof {
    /// Which key.
    pub id: u32,
    /// What it is for.
    pub purpose: Purpose,
    /// A code over the cluster, by a key derived from it.
    pub code: Digest,
    /// The public half of its signatures; none of a key that signs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<CheckpointKey>,
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
    /// Proofs of the keys that the cluster was founded with: a node with another key file does not
    /// start. None in a record from before they were kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyProof>,
    /// The backup that the cluster begins with, if it is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Box<Restored>>,
}

impl std::fmt::Display for KeyPin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Founding {
    /// The centre of this name.
    #[must_use]
    pub fn centre(&self, name: &CentreName) -> Option<&Centre> {
        std::iter::once(&self.primary)
            .chain(&self.secondary)
            .find(|centre| centre.name == *name)
    }

    /// What is wrong with this record; nothing when a cluster may be founded from it.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.problems_of(&self.calendar);
        problems.extend(self.policy.problems().into_iter().map(str::to_owned));
        let nodes: Vec<NodeId> = std::iter::once(&self.primary)
            .chain(&self.secondary)
            .flat_map(|centre| centre.nodes.iter().map(|node| node.id))
            .collect();
        if nodes.iter().collect::<BTreeSet<_>>().len() != nodes.len() {
            problems.push("two nodes have one id".to_owned());
        }
        if nodes.iter().any(|id| !(1..PLACES).contains(&id.0)) {
            problems.push(format!("a node's id is between 1 and {}", PLACES - 1));
        }
        if self.primary.nodes.is_empty() {
            problems.push("the primary centre has no nodes".to_owned());
        }
        let secondary = self.secondary.as_ref();
        if secondary.is_some_and(|centre| centre.name == self.primary.name) {
            problems.push("both centres have one name".to_owned());
        }
        let ids: BTreeSet<_> = self.operators.iter().map(|operator| &operator.id).collect();
        let keys: BTreeSet<_> = self.operators.iter().map(|operator| operator.key).collect();
        // Two names with one key are one person (LOGIN.md, "Who calls").
        if ids.len() != self.operators.len() || keys.len() != self.operators.len() {
            problems.push("two operators have one id or one key".to_owned());
        }
        if self.operators.len() < usize::try_from(self.policy.approvals).unwrap_or(usize::MAX) {
            problems.push("there are fewer operators than approvals take".to_owned());
        }
        let mut pinned: Vec<KeyPin> = self.front_ends.iter().map(|one| one.key).collect();
        pinned.extend(self.back_ends.iter().map(|one| one.key));
        pinned.extend(keys);
        let pinned_count = pinned.len();
        if pinned.into_iter().collect::<BTreeSet<_>>().len() != pinned_count {
            problems.push("two callers have one key".to_owned());
        }
        problems
    }

    /// What is wrong with a calendar for this cluster.
    fn problems_of(&self, calendar: &Calendar) -> Vec<String> {
        let unknown = |centre: &CentreName| self.centre(centre).is_none();
        let sessions = calendar
            .timetable
            .iter()
            .map(|session| (&session.id, Some(&session.centre)));
        let rules = calendar
            .weekly
            .iter()
            .map(|rule| (&rule.id, rule.centre.as_ref()));
        let strangers = sessions.chain(rules).filter_map(|(id, centre)| {
            let centre = centre.filter(|centre| unknown(centre))?;
            Some(format!("{id}: there is no centre {centre}"))
        });
        let wrong = calendar.problems();
        wrong
            .iter()
            .map(ToString::to_string)
            .chain(strangers)
            .collect()
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
    /// An operator takes a backup of the main line: the record of it.
    BackUp {
        /// Its name.
        id: BackupId,
        /// Why, for the record.
        reason: String,
    },
    /// The leader raises the rules that entries are applied by, once every node of both centres
    /// runs a program that knows them. There is no way back (DESIGN.md).
    RaiseRules {
        /// The rules from now on.
        to: u32,
    },
}

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: &Command) -> Effect {
    match command {
        Command::Found(founding) => found(state, context, founding),
        Command::AdvanceClock { to, offset_ms } => advance(state, context, *to, *offset_ms),
        Command::BackUp { id, reason } => backup::note(state, context, *id, reason),
        Command::RaiseRules { to } => raise_rules(state, context, *to),
    }
}

fn raise_rules(state: &mut State, context: &Context<'_>, to: u32) -> Effect {
    let from = state.header.rules_version;
    let event = Event::new(Kind::RulesRaised).detail(format!("from {from} to {to}"));
    if !matches!(context.actor, Actor::Node(_)) {
        return Effect::rejected(Rejection::NotAllowed, event);
    }
    if matches!(state.header.line, LineId::Branch { .. }) {
        return Effect::rejected(Rejection::MainLineOnly, event);
    }
    if to <= from {
        return Effect::rejected(Rejection::AlreadySo, event);
    }
    state.header.rules_version = to;
    Effect::done(Answer::Nothing, event)
}

fn found(state: &mut State, context: &Context<'_>, founding: &Founding) -> Effect {
    let event = Event::new(Kind::Founded);
    if state.founding.is_some() {
        return Effect::rejected(Rejection::AlreadyFounded, event);
    }
    if !matches!(context.actor, Actor::Node(_)) {
        return Effect::rejected(Rejection::NotAllowed, event);
    }
    let problems = founding.problems();
    if !problems.is_empty() {
        return Effect::rejected(Rejection::BadValues(problems), event);
    }
    if let Err(rejection) = backup::check(state, context, founding) {
        return Effect::rejected(rejection, event);
    }
    state.header.clock_offset_ms = founding.clock_offset_ms;
    state.centres = Some(Held::new(Centres::founded(founding)));
    state.founding = Some(Held::new(founding.clone()));
    // What else there is came with the backup.
    if let Some(restored) = &founding.restored {
        return backup::begin(state, context, founding, restored);
    }
    state.policy = Held::new(founding.policy.clone());
    state.calendar = Held::new(founding.calendar.clone());
    state.keys = keys::founded(&founding.keys, context.now);
    registration::found(state, founding, context.now);
    Effect::done(Answer::Nothing, event.detail(founding.title.clone()))
}

fn advance(state: &mut State, context: &Context<'_>, to: UnixMs, offset_ms: Option<i64>) -> Effect {
    let event = Event::new(Kind::ClockAdvanced);
    if let Err(rejection) = may_advance(state, context.actor, offset_ms) {
        return Effect::rejected(rejection, event);
    }
    // A leader's own time is what its peers confirmed; it has no other to offer.
    let latest = context.now.plus(state.policy.clock_skew_ms);
    if offset_ms.is_none() && to > latest {
        return Effect::rejected(Rejection::ClockJump, event);
    }
    state.header.clock = state.header.clock.max(to);
    if let Some(offset_ms) = offset_ms {
        state.header.clock_offset_ms = offset_ms;
    }
    Effect::done(Answer::ClockAdvanced, event.detail(format!("to {to}")))
}

/// Whether the actor may move the clock.
pub(crate) fn may_advance(
    state: &State,
    actor: &Actor,
    offset_ms: Option<i64>,
) -> Result<(), Rejection> {
    let founding = state.founding().ok_or(Rejection::NotFounded)?;
    match (actor, offset_ms) {
        (Actor::Node(_), None) => Ok(()),
        (Actor::Operator(_), Some(_)) if founding.simulated_clock => Ok(()),
        (Actor::Operator(_), _) => Err(Rejection::ClockNotSimulated),
        (Actor::Node(_) | Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Script(_), _) => {
            Err(Rejection::NotAllowed)
        }
    }
}

pub(crate) fn set_calendar(
    state: &mut State,
    context: &Context<'_>,
    calendar: &Calendar,
) -> Effect {
    let event = Event::new(Kind::CalendarSet);
    let problems = state
        .founding()
        .map(|founding| founding.problems_of(calendar))
        .unwrap_or_default();
    if let Err(rejection) = may_set(state, context) {
        return Effect::rejected(rejection, event);
    }
    if !problems.is_empty() {
        return Effect::rejected(Rejection::BadValues(problems), event);
    }
    state.calendar = Held::new(calendar.clone());
    Effect::done(Answer::Nothing, event)
}

pub(crate) fn set_policy(
    state: &mut State,
    context: &Context<'_>,
    policy: &Policy,
    seen: Option<&Digest>,
) -> Effect {
    let event = Event::new(Kind::PolicySet);
    if let Err(rejection) = may_set(state, context) {
        return Effect::rejected(rejection, event);
    }
    let problems = policy.problems();
    if !problems.is_empty() {
        let problems = problems.into_iter().map(str::to_owned).collect();
        return Effect::rejected(Rejection::BadValues(problems), event);
    }
    // Judged here, where changes stand in a row: at the edge two callers could both be right.
    if seen.is_some_and(|seen| *seen != state.policy.digest()) {
        return Effect::rejected(Rejection::ChangedSince, event);
    }
    let act = approval::Act::Policy(Box::new(policy.clone()), seen.copied());
    let counted = match approval::note(state, context, "policy".to_owned(), act) {
        Ok(counted) => counted,
        Err(rejection) => return Effect::rejected(rejection, Event::new(Kind::ActApproved)),
    };
    let approved = Answer::Approved {
        have: counted.have,
        need: counted.need,
    };
    let detail = format!("policy {}", policy.digest());
    let mut effect = Effect::done(approved, Event::new(Kind::ActApproved).detail(detail));
    if counted.have >= counted.need {
        protection::policy_changes(state, context, policy);
        state.policy = Held::new(policy.clone());
        let approved = event.approved(counted.act);
        effect.events.push(approved);
    }
    effect
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
