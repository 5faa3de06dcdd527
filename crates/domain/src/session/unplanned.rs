//! Opening a session at the secondary while the primary cannot be asked (LINES.md, "Opening,
//! unplanned"; R41).
//!
//! The branch leaves the main line at the last entry that the best node of the secondary has,
//! whether it is known to be committed or not. An operator orders it, and the order is a record of
//! its own: the branch begins with it, and the main line takes it over once it can be asked again.
//! From there on it is a plan like any other. Deliberately absent: which node is the best, and how
//! nodes agree on one order.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::agreed::{approved_at, operator_or_node};
use super::plan::{Moved, make_room, moved, planned, primary};
use super::rollover::drop_branch;
use super::{Act, Boundary, Phase, Plan, REASON_BYTES_MAX};
use crate::apply::Context;
use crate::approval;
use crate::audit;
use crate::calendar;
use crate::digest::Digest;
use crate::envelope::Actor;
use crate::id::{AccountId, ParticipantId, SessionId};
use crate::line::{self, LineId, LogId};
use crate::outcome::Rejection;
use crate::script::{self, Deed};
use crate::state::State;
use crate::time::UnixMs;

/// Most entries beyond what is known to be committed that an order names one by one.
pub const USED_MAX: usize = 200;

/// A session at the secondary that is opened without the primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The session as it stands in the calendar at the boundary.
    pub session: calendar::Session,
    /// The last entry of the main line that is used.
    pub boundary: LogId,
    /// The main line's epoch.
    pub epoch: u64,
    /// The full digest of the state there, which the branch starts from.
    pub genesis: Digest,
    /// The main line's clock there: what it has done since is not in the branch.
    pub clock: UnixMs,
    /// The last entry that the secondary knows to be committed.
    pub committed: LogId,
    /// What was used beyond it, the oldest first: at most `USED_MAX`.
    pub used: Vec<Used>,
    /// How many there were.
    pub used_count: u64,
    /// Since when the main line had given the secondary up by then, if it had: what it answered
    /// since is missing here.
    pub degraded_since: Option<UnixMs>,
    /// Who approved that the session opens, each with the signed statement.
    pub approved_by: approval::By,
    /// Who ordered it: an operator, or a script to which it was granted.
    pub by: Actor,
    /// Why.
    pub reason: String,
    /// When.
    pub at: UnixMs,
}

/// What an entry did that is used and not known to be committed. No secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// The entry.
    pub at: LogId,
    /// What happened.
    pub kind: audit::Kind,
    /// The account that was acted on.
    pub account: Option<AccountId>,
    /// Its firm.
    pub participant: Option<ParticipantId>,
    /// When, by the line's clock.
    pub time: UnixMs,
    /// The person or operator who acted.
    pub by: String,
}

impl From<&audit::Row> for Used {
    fn from(row: &audit::Row) -> Self {
        Self {
            at: row.log,
            kind: row.kind,
            account: row.account.clone(),
            participant: row.participant.clone(),
            time: row.at,
            by: row.by.clone(),
        }
    }
}

impl Order {
    /// The order as a plan: what the nodes of the secondary follow before the main line knows.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan {
            session: self.session.clone(),
            phase: Phase::Opening,
            opened_at: self.at,
            started_at: None,
            closed_at: None,
            approved_by: self.approved_by.clone(),
            boundary: Some(Boundary {
                at: self.boundary,
                epoch: self.epoch,
                digest: Some(self.genesis),
            }),
            sealed: None,
            unplanned: Some(Box::new(Unplanned {
                order: self.clone(),
                found: None,
            })),
        }
    }
}

impl fmt::Display for Order {
    /// What the audit says of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            session,
            boundary,
            committed,
            used_count,
            by,
            reason,
            ..
        } = self;
        write!(
            f,
            "{} without the primary, from entry {boundary}; known to be committed up to \
             {committed}, {used_count} changes used beyond; ordered by {by}: {reason}",
            session.id
        )
    }
}

/// What became on the main line of the entries that an order used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// All of them are there, and the state was the same.
    OnMainLine,
    /// The boundary is not on the main line: what was used from this entry on is not.
    NotOnMainLine {
        /// The first index.
        from: u64,
    },
}

/// That a plan was opened without the primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unplanned {
    /// The order.
    pub order: Order,
    /// What the main line found as it took the plan over; none before, and on the branch.
    pub found: Option<Found>,
}

impl Unplanned {
    /// Whether the boundary was found not to be on the main line.
    #[must_use]
    pub fn is_off_main_line(&self) -> bool {
        match self.found {
            Some(Found::NotOnMainLine { .. }) => true,
            Some(Found::OnMainLine) | None => false,
        }
    }

    /// What was used and is not on the main line, as far as the order names it.
    pub fn lost(&self) -> impl Iterator<Item = &Used> {
        let from = match self.found {
            Some(Found::NotOnMainLine { from }) => Some(from),
            Some(Found::OnMainLine) | None => None,
        };
        let used = self.order.used.iter();
        used.filter(move |used| from.is_some_and(|from| from <= used.at.index))
    }
}

impl Plan {
    /// Whether the plan stands and was opened without the primary: it is followed to its rollover
    /// even where it does not fence the main line.
    #[must_use]
    pub fn is_unplanned_and_stands(&self) -> bool {
        self.unplanned.is_some()
            && match self.phase {
                Phase::Opening | Phase::Open | Phase::Closed => true,
                Phase::RolledOver | Phase::Abandoned => false,
            }
    }

    /// Whether an order can take this plan over: the primary had begun to open the session, and no
    /// majority of the secondary was heard to have its genesis.
    #[must_use]
    pub fn gives_way(&self) -> bool {
        self.unplanned.is_none()
            && self
                .boundary
                .is_some_and(|boundary| boundary.digest.is_none())
    }
}

impl State {
    /// The session, and who approved it, if it could be opened now from this state without the
    /// primary. Approvals count that counted when the main line was last heard: nobody can give it
    /// new ones.
    ///
    /// # Errors
    /// Why not.
    pub fn may_open_unplanned(
        &self,
        now: UnixMs,
        by: &Actor,
        id: &SessionId,
    ) -> Result<(calendar::Session, approval::By), Rejection> {
        self.may_open_from(self.header.clock, now, by, id)
    }

    /// As `may_open_unplanned`, with the main line's clock at the boundary.
    fn may_open_from(
        &self,
        clock: UnixMs,
        now: UnixMs,
        by: &Actor,
        id: &SessionId,
    ) -> Result<(calendar::Session, approval::By), Rejection> {
        if self.header.line != LineId::Main {
            return Err(Rejection::MainLineOnly);
        }
        let (session, approved_by) = match self.plan(id) {
            // An opening that the secondary never heard to be committed.
            Some(plan) if plan.phase == Phase::Opening && plan.gives_way() => {
                (plan.session.clone(), Some(plan.approved_by.clone()))
            }
            Some(plan) => {
                return Err(match plan.phase {
                    Phase::Opening | Phase::Open => Rejection::AlreadySo,
                    Phase::Closed | Phase::RolledOver | Phase::Abandoned => {
                        Rejection::WrongPhase { phase: plan.phase }
                    }
                });
            }
            None => (planned(self, id)?, None),
        };
        if session.centre == *primary(self)? {
            return Err(Rejection::NotAtSecondary);
        }
        if session.closes <= now {
            return Err(Rejection::OutsideSession {
                opens: session.opens,
                closes: session.closes,
            });
        }
        if let Some(pending) = self.standing_branch().filter(|standing| *standing != id) {
            return Err(Rejection::RolloverPending {
                session: pending.clone(),
            });
        }
        if let Some(switch) = self.centres().and_then(|centres| centres.switch.as_ref()) {
            return Err(Rejection::CentreSwitching {
                to: switch.to.clone(),
            });
        }
        // One that the timetable has ended is over, whether its close was heard of or not.
        let earlier = [
            self.header
                .current
                .as_ref()
                .and_then(|current| self.plan(current).map(|plan| plan.session.clone())),
            self.calendar
                .previous_session(session.opens, primary(self)?)
                .filter(|earlier| !self.has_closed_plan(&earlier.id)),
        ];
        if let Some(earlier) = earlier
            .into_iter()
            .flatten()
            .find(|earlier| now < earlier.closes)
        {
            return Err(Rejection::EarlierSessionOpen {
                session: earlier.id,
            });
        }
        let approvals = match (by, approved_by) {
            // Those who granted it approved this very plan.
            (Actor::Script(script), known) => {
                let grant = script::granted(self, now, script, Some(id), Deed::OpenUnplanned)?;
                known.unwrap_or_else(|| grant.approvals.clone())
            }
            (Actor::Operator(_), Some(by)) => by,
            (Actor::Operator(_), None) => {
                approved_at(self, clock, &Act::Open(id.clone()), &session)?
            }
            (Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Node(_), _) => {
                return Err(Rejection::NotAllowed);
            }
        };
        Ok((session, approvals))
    }

    fn has_closed_plan(&self, id: &SessionId) -> bool {
        self.plan(id).is_some_and(|plan| match plan.phase {
            Phase::Closed | Phase::RolledOver | Phase::Abandoned => true,
            Phase::Opening | Phase::Open => false,
        })
    }

    /// The session whose branch stands: the one that fences this line, else one that was opened
    /// without the primary and is not rolled over yet.
    #[must_use]
    pub fn standing_branch(&self) -> Option<&SessionId> {
        let unplanned = || self.unplanned().next().map(|plan| &plan.session.id);
        self.header.fence.as_ref().or_else(unplanned)
    }

    /// The plans that were opened without the primary and are not rolled over yet.
    pub fn unplanned(&self) -> impl Iterator<Item = &Plan> {
        self.plans().filter(|plan| plan.is_unplanned_and_stands())
    }
}

/// The branch's first entry. It is not in the genesis that the session is open, so this says it:
/// the plan, and the end of everything short-lived, as an opening on the main line does.
pub(super) fn begin(
    state: &mut State,
    line: &LineId,
    context: &Context<'_>,
    order: &Order,
) -> Moved {
    operator_or_node(context)?;
    let id = &order.session.id;
    if state.header.line != LineId::Main {
        return Err(Rejection::AlreadySo);
    }
    // I1: the branch is what its name says, and starts from what its name says.
    let own = LineId::Branch {
        session: id.clone(),
        genesis: order.genesis,
    };
    if *line != own || context.genesis != Some(order.genesis) || order.epoch != state.header.epoch {
        return Err(Rejection::EvidenceDiffers);
    }
    reason_fits(&order.reason)?;
    let (session, _) = state.may_open_from(order.clock, order.at, &order.by, id)?;
    if session != order.session {
        return Err(Rejection::PlanDiffers);
    }
    line::start_branch(state, id.clone(), order.genesis);
    if let Some(current) = state.header.current.take() {
        state.plans.change(&current, |plan| {
            plan.phase = Phase::Closed;
            plan.closed_at = Some(context.now);
        });
    }
    state.approvals.remove(&Act::Open(id.clone()));
    make_room(state);
    state.plans.set(order.plan());
    state.header.line_since = context.now;
    line::end_short_lived(state, context.now);
    moved(id, Phase::Opening)
}

/// The main line takes the plan over. Nothing of the branch's state comes with it. What a script
/// did is counted here, for the main line could not be asked when it was done.
pub(super) fn adopt(
    state: &mut State,
    context: &Context<'_>,
    order: &Order,
    found: Found,
) -> Moved {
    let moved = take_over(state, context, order, found)?;
    let session = Some(&order.session.id);
    script::count(state, &order.by, order.at, session, Deed::OpenUnplanned);
    Ok(moved)
}

fn take_over(state: &mut State, context: &Context<'_>, order: &Order, found: Found) -> Moved {
    if !matches!(context.actor, Actor::Node(_)) {
        return Err(Rejection::NotAllowed);
    }
    reason_fits(&order.reason)?;
    let id = order.session.id.clone();
    let is_late = order.epoch < state.header.epoch;
    let is_here = order.session.centre == *primary(state)?;
    if order.epoch > state.header.epoch || (is_here && !is_late) {
        return Err(Rejection::EvidenceDiffers);
    }
    let known = state.plan(&id).cloned();
    let mut plan = order.plan();
    plan.unplanned = Some(Box::new(Unplanned {
        order: order.clone(),
        found: Some(found),
    }));
    match known {
        None => {}
        Some(known) if known.unplanned.is_some() => return Err(Rejection::AlreadySo),
        Some(known) if known.gives_way() && known.phase == Phase::Abandoned => {
            // What the branch did can still be attached.
            state.plans.set(Plan {
                phase: known.phase,
                started_at: known.started_at,
                closed_at: known.closed_at,
                sealed: known.sealed,
                ..plan
            });
            return moved(&id, Phase::Abandoned);
        }
        Some(known) if known.gives_way() => {}
        // The new primary had begun it by the timetable before it heard of the order.
        Some(known) if is_late && known.boundary.is_none() => {
            plan.started_at = known.started_at;
            plan.closed_at = known.closed_at;
        }
        Some(known) => return Err(Rejection::WrongPhase { phase: known.phase }),
    }
    state.approvals.remove(&Act::Open(id.clone()));
    make_room(state);
    if is_late {
        drop_branch(state, context, plan);
        return moved(&id, Phase::Abandoned);
    }
    // The main line's own session is history as good as any: it goes on, and is not fenced.
    let stands_alone = state.header.current.is_none() && state.header.fence.is_none();
    if stands_alone {
        state.header.fence = Some(id.clone());
        state.header.line_since = context.now;
        line::end_short_lived(state, context.now);
    }
    plan.phase = Phase::Open;
    state.plans.set(plan);
    moved(&id, Phase::Open)
}

fn reason_fits(reason: &str) -> Result<(), Rejection> {
    if reason.is_empty() || reason.len() > REASON_BYTES_MAX {
        let problem = format!("a reason of 1 to {REASON_BYTES_MAX} bytes is needed");
        return Err(Rejection::BadValues(vec![problem]));
    }
    Ok(())
}
