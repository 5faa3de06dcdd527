//! The centres as they are now: which of them is the primary, which nodes each has, and moving
//! the primary's role from one to the other (LINES.md, "Switchover").
//!
//! A switchover is a plan in the state: `Start`, after which nobody serves; one change of the main
//! line's voters; `Done`, with which the role moves. The voters follow the state, so that whoever
//! leads drives it on. Deliberately absent: that change of voters, and what is checked before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::apply::{Context, Effect};
use crate::audit::{Event, Kind};
use crate::cluster::{Centre, Founding};
use crate::envelope::Actor;
use crate::id::{CentreName, NodeId};
use crate::line::LineId;
use crate::outcome::{Answer, Rejection};
use crate::script::{self, Deed};
use crate::state::{Held, State};
use crate::time::UnixMs;

pub mod nodes;

/// The centres of a cluster, by their roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Centres {
    /// The primary centre.
    pub primary: Centre,
    /// The secondary centre; none in a cluster of one.
    pub secondary: Option<Centre>,
    /// The switchover under way.
    pub switch: Option<Switch>,
    /// The nodes that are gone; their ids are never given again.
    pub retired: BTreeMap<NodeId, Retired>,
    /// Who protected the primary's answers before, while that is not settled.
    pub former: Option<nodes::Former>,
}

/// A node that is gone, as it was last known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Its centre.
    pub centre: CentreName,
    /// Host and port of its peer listener.
    pub address: String,
}

/// A switchover under way: nobody serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// The centre that becomes the primary.
    pub to: CentreName,
    /// Since when.
    pub since: UnixMs,
}

impl Centres {
    /// As a cluster is founded.
    #[must_use]
    pub fn founded(founding: &Founding) -> Self {
        Self {
            primary: founding.primary.clone(),
            secondary: founding.secondary.clone(),
            switch: None,
            retired: BTreeMap::new(),
            former: None,
        }
    }

    /// All centres, the primary first.
    pub fn all(&self) -> impl Iterator<Item = &Centre> {
        std::iter::once(&self.primary).chain(&self.secondary)
    }

    /// The centre of this name.
    #[must_use]
    pub fn named(&self, name: &CentreName) -> Option<&Centre> {
        self.all().find(|centre| centre.name == *name)
    }

    /// The centre that the node belongs to.
    #[must_use]
    pub fn of_node(&self, node: NodeId) -> Option<&Centre> {
        self.all()
            .find(|centre| centre.nodes.iter().any(|known| known.id == node))
    }

    /// The centre whose nodes vote on the main line, or are about to.
    #[must_use]
    pub fn voting(&self) -> &Centre {
        let switch = self.switch.as_ref();
        switch
            .and_then(|switch| self.named(&switch.to))
            .unwrap_or(&self.primary)
    }
}

impl State {
    /// The centres; none before the cluster is founded.
    #[must_use]
    pub fn centres(&self) -> Option<&Centres> {
        self.centres.as_deref()
    }

    /// The primary centre; none before the cluster is founded.
    #[must_use]
    pub fn primary(&self) -> Option<&Centre> {
        self.centres().map(|centres| &centres.primary)
    }

    /// The nodes of the centre of this name; none where there is no such centre.
    pub fn nodes_of(&self, centre: &CentreName) -> impl Iterator<Item = NodeId> + '_ {
        let centre = self.centres().and_then(|centres| centres.named(centre));
        centre
            .into_iter()
            .flat_map(|centre| centre.nodes.iter().map(|node| node.id))
    }

    /// The registered nodes of the secondary centre, which protect what the primary answers; none
    /// in a cluster of one centre.
    pub fn secondary_nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        let secondary = self
            .centres()
            .and_then(|centres| centres.secondary.as_ref());
        secondary
            .into_iter()
            .flat_map(|centre| centre.nodes.iter().map(|node| node.id))
    }

    /// The centre that serves by this line's state: the primary, or the one whose session fences
    /// it, or on a branch the one that holds it (R18).
    #[must_use]
    pub fn serving_centre(&self) -> Option<&CentreName> {
        let session = match &self.header.line {
            LineId::Main => self.header.fence.as_ref(),
            LineId::Branch { session, .. } => Some(session),
        };
        match session {
            Some(session) => self.plan(session).map(|plan| &plan.session.centre),
            None => self.primary().map(|primary| &primary.name),
        }
    }

    /// Whether a switchover to this centre could begin.
    ///
    /// # Errors
    /// Why not.
    pub fn may_switch(&self, to: &CentreName) -> Result<(), Rejection> {
        let centres = self.centres().ok_or(Rejection::NotFounded)?;
        if self.header.line != LineId::Main {
            return Err(Rejection::MainLineOnly);
        }
        if let Some(session) = self.standing_branch() {
            return Err(Rejection::BranchOpen {
                session: session.clone(),
            });
        }
        match &centres.switch {
            Some(switch) if switch.to == *to => return Err(Rejection::AlreadySo),
            Some(switch) => {
                return Err(Rejection::CentreSwitching {
                    to: switch.to.clone(),
                });
            }
            None => {}
        }
        if centres.former.is_some() {
            return Err(Rejection::TooMany);
        }
        if centres.primary.name == *to {
            return Err(Rejection::AlreadySo);
        }
        if centres
            .named(to)
            .is_none_or(|centre| centre.nodes.is_empty())
        {
            return Err(Rejection::NoSuchCentre);
        }
        // What the other centre lacks would have to reach it first.
        match self.header.protection.degraded_since {
            Some(since) => Err(Rejection::Degraded { since }),
            None => Ok(()),
        }
    }
}

/// What is asked of the centres.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Begins a switchover, by an operator, or a script to which it is granted.
    SwitchStart {
        /// The centre that becomes the primary.
        to: CentreName,
        /// Why, in the operator's words.
        reason: String,
    },
    /// The voters are the other centre's: the role moves. By the node that leads.
    SwitchDone {
        /// The centre that becomes the primary.
        to: CentreName,
    },
    /// Other nodes belong to a centre. By operators, as one act that two of them sign (S34).
    ChangeNodes {
        /// What changes.
        change: Box<nodes::Change>,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Enough of the secondary's former and present nodes have the entry that changed them. By the
    /// node that leads.
    NodesSettled {
        /// That entry.
        until: u64,
    },
    /// The other centre does not keep pace, and no voter was changed yet: all stays as it was. By
    /// the node that leads.
    SwitchGivenUp {
        /// The centre that stays the secondary.
        to: CentreName,
    },
}

impl Command {
    /// The method's name in request records.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::SwitchStart { .. } => "SwitchStart",
            Self::SwitchDone { .. } => "SwitchDone",
            Self::SwitchGivenUp { .. } => "SwitchGivenUp",
            Self::ChangeNodes { .. } => "ChangeNodes",
            Self::NodesSettled { .. } => "NodesSettled",
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::SwitchStart { .. } => Kind::SwitchStarted,
            Self::SwitchDone { .. } => Kind::SwitchDone,
            Self::SwitchGivenUp { .. } => Kind::SwitchGivenUp,
            Self::ChangeNodes { .. } => Kind::ActApproved,
            Self::NodesSettled { .. } => Kind::NodesSettled,
        }
    }
}

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: &Command) -> Effect {
    let event = Event::new(command.kind());
    let told = match command {
        Command::SwitchStart { to, reason } => start(state, context, to, reason),
        Command::SwitchDone { to } => finish(state, context, to, Ending::Done),
        Command::SwitchGivenUp { to } => finish(state, context, to, Ending::GivenUp),
        Command::ChangeNodes { change, reason } => {
            return nodes::change(state, context, change, reason);
        }
        Command::NodesSettled { until } => return nodes::settle(state, context, *until),
    };
    match told {
        Ok(told) => Effect::done(Answer::Nothing, event.detail(told)),
        Err(rejection) => Effect::rejected(rejection, event),
    }
}

fn start(
    state: &mut State,
    context: &Context<'_>,
    to: &CentreName,
    reason: &str,
) -> Result<String, Rejection> {
    match context.actor {
        Actor::Operator(_) => {}
        Actor::Script(_) => script::may(state, context, None, Deed::SwitchOver)?,
        Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Node(_) => {
            return Err(Rejection::NotAllowed);
        }
    }
    state.may_switch(to)?;
    let centres = state.centres().ok_or(Rejection::NotFounded)?;
    let centres = Centres {
        switch: Some(Switch {
            to: to.clone(),
            since: context.now,
        }),
        ..centres.clone()
    };
    state.centres = Some(Held::new(centres));
    script::count(state, context.actor, context.now, None, Deed::SwitchOver);
    Ok(format!("to {to}: {reason}"))
}

/// How a switchover ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Done,
    GivenUp,
}

/// Ends the switchover, and says how long nobody served.
fn finish(
    state: &mut State,
    context: &Context<'_>,
    to: &CentreName,
    ending: Ending,
) -> Result<String, Rejection> {
    if !matches!(context.actor, Actor::Node(_)) {
        return Err(Rejection::NotAllowed);
    }
    let mut centres = state.centres().ok_or(Rejection::NotFounded)?.clone();
    let switch = centres.switch.take().filter(|switch| switch.to == *to);
    let switch = switch.ok_or(Rejection::AlreadySo)?;
    if let (Ending::Done, Some(secondary)) = (ending, centres.secondary.take()) {
        centres.secondary = Some(std::mem::replace(&mut centres.primary, secondary));
    }
    let stays = &centres.primary.name;
    let told = format!(
        "{stays} is the primary; nobody served for {} ms",
        context.now.since(switch.since)
    );
    state.centres = Some(Held::new(centres));
    Ok(told)
}
