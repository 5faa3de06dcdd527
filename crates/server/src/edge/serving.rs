//! Which line a call is served by, and whether it is served here and now (LINES.md; R18).
//!
//! Deliberately absent: what a session may do. That is the line's, in `domain`.

use std::sync::atomic::Ordering;

use consensus::clockwatch::WORD_AGE_MAX;
use consensus::{Line, line};
use domain::session::Phase;
use domain::{CentreName, LineId, NodeId, Rejection, SessionId, State};
use futures::FutureExt;

use super::{Edge, next_opening};
use crate::identity::Caller;
use crate::request::Ask;
use crate::status::Refusal;
use crate::table::Target;

/// Why people cannot log in at a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unserved {
    /// The node's clock is not to be trusted.
    #[error("this node's clock is off its peers', or not compared yet")]
    ClockOff,
    /// Nobody whom the node hears leads the line.
    #[error("no leader is heard here")]
    NoLeader,
    /// The other centre serves.
    #[error("{0} serves")]
    Elsewhere(CentreName),
    /// The branch of this centre does not serve yet, or no more.
    #[error("the session is changing over")]
    Changing,
    /// It is outside the times of every session.
    #[error("no session is open")]
    Closed,
}

impl Edge {
    /// The line that the call speaks to.
    ///
    /// # Errors
    /// For the line of the centre that serves: `CLOCK_OFF`, `CENTRE_NOT_SERVING`, `BRANCH_OPEN`,
    /// `CENTRE_CHANGING`, and for people `SESSION_CLOSED`.
    pub fn line<B>(&self, ask: &Ask<B>) -> Result<Line, Refusal> {
        match ask.rpc.line {
            Target::Main | Target::None => Ok(self.node().main()),
            Target::Serving => {
                let line = self.serving_line();
                self.admit(&line.state(), &ask.caller)?;
                Ok(line)
            }
        }
    }

    /// As `line`, and the state there is as new as the call: whatever was answered anywhere
    /// before it is in it.
    ///
    /// # Errors
    /// As `line`, and the line's own.
    pub async fn fresh<B>(&self, ask: &Ask<B>) -> Result<(Line, State), Refusal> {
        let line = self.line(ask)?;
        line.read_index().await?;
        let state = line.state();
        match ask.rpc.line {
            // A boundary may be among what was read.
            Target::Serving => self.admit(&state, &ask.caller)?,
            Target::Main | Target::None => {}
        }
        Ok((line, state))
    }

    /// The open branch, else the main line.
    #[must_use]
    pub fn serving_line(&self) -> Line {
        let fence = self.node().main().state().header().fence.clone();
        self.node()
            .branch()
            .filter(|branch| {
                let state = branch.state();
                // One that was given up may still run, to be closed: it serves nobody.
                match &state.header().line {
                    LineId::Branch { session, .. } => {
                        let line = &state.header().line;
                        !state.header().ended
                            && (fence.as_ref() == Some(session) || self.node().runs_unplanned(line))
                    }
                    LineId::Main => false,
                }
            })
            .unwrap_or_else(|| self.node().main())
    }

    /// Whether this node can answer for the line: its engine runs, and it hears the leader, or
    /// leads and hears a majority. What it believes of the leader alone may be long past.
    #[must_use]
    pub fn answers(&self, line: &Line) -> bool {
        let me = self.node().id();
        let hears = |node: NodeId| {
            let heard = self.node().heard().from(node);
            node == me || heard.is_some_and(|(ago, _)| ago <= WORD_AGE_MAX)
        };
        if fault(line).is_some() {
            return false;
        }
        match line.leader() {
            Some(leader) if leader == me => {
                let voters = line.membership().voters;
                let heard = voters.iter().filter(|voter| hears(**voter)).count();
                heard > voters.len() / 2
            }
            Some(leader) => hears(leader),
            None => false,
        }
    }

    /// Whether people can log in at this node now.
    #[must_use]
    pub fn serves_people(&self) -> bool {
        self.people().is_ok()
    }

    /// The session that people can log in to at this node now.
    ///
    /// # Errors
    /// Why they cannot.
    pub fn people(&self) -> Result<SessionId, Unserved> {
        if !self.node().clock_verdict().is_good() {
            return Err(Unserved::ClockOff);
        }
        let line = self.serving_line();
        if !self.answers(&line) {
            return Err(Unserved::NoLeader);
        }
        let state = line.state();
        match state.open_session(self.now(&state)) {
            Ok(plan) => match self.has_the_role(&state) {
                Ok(()) => Ok(plan.session.id.clone()),
                Err(Rejection::CentreNotServing { serving }) => Err(Unserved::Elsewhere(serving)),
                Err(_) => Err(Unserved::Changing),
            },
            Err(Rejection::CentreSwitching { .. }) => Err(Unserved::Changing),
            Err(Rejection::CentreNotServing { serving }) if !self.is_here(&serving) => {
                Err(Unserved::Elsewhere(serving))
            }
            Err(Rejection::CentreNotServing { .. }) => Err(Unserved::Changing),
            Err(_) => Err(Unserved::Closed),
        }
    }

    fn is_here(&self, centre: &CentreName) -> bool {
        self.node()
            .centre()
            .is_some_and(|here| here.name == *centre)
    }

    /// Whether this line is served at this centre: the state gives it the role, and on the main line
    /// no node of the other centre votes (LINES.md, "Switchover").
    fn has_the_role(&self, state: &State) -> Result<(), Rejection> {
        if let LineId::Main = state.header().line {
            self.goes_on()?;
        }
        let serving = state.serving_centre().ok_or(Rejection::NotFounded)?;
        if !self.is_here(serving) {
            let serving = serving.clone();
            return Err(Rejection::CentreNotServing { serving });
        }
        let to = serving.clone();
        match &state.header().line {
            LineId::Main if !self.node().main().is_not_led_by(elsewhere(state, serving)) => {
                Err(Rejection::CentreSwitching { to })
            }
            LineId::Main | LineId::Branch { .. } => Ok(()),
        }
    }

    /// Whether the main line here is not held by a promise to take part in a later one.
    fn goes_on(&self) -> Result<(), Rejection> {
        let (node, standing) = (self.node(), self.node().standing());
        if !standing.stops(node.main().reference().epoch) {
            return Ok(());
        }
        let promoted = standing.accepted.map(|accepted| accepted.terms.centre);
        match promoted.or_else(|| node.centre().map(|here| here.name.clone())) {
            Some(serving) if !self.is_here(&serving) => {
                Err(Rejection::CentreNotServing { serving })
            }
            Some(to) => Err(Rejection::CentreSwitching { to }),
            None => Err(Rejection::NotFounded),
        }
    }

    fn rejected(&self, rejection: Rejection, state: &State) -> Refusal {
        Refusal::Rejected {
            rejection,
            clock: self.now(state),
        }
    }

    /// People are served where and while a session is open; operators and back ends also between
    /// sessions. Nobody is by a clock that is off, nor by a fenced main line.
    fn admit(&self, state: &State, caller: &Caller) -> Result<(), Refusal> {
        if !self.node().clock_verdict().is_good() {
            return Err(Refusal::Line(line::Error::ClockOff));
        }
        let header = state.header();
        if let (LineId::Main, Some(session)) = (&header.line, &header.fence) {
            return Err(self.fenced(state, session, caller));
        }
        match (state.open_session(self.now(state)), caller) {
            (Ok(_), _) => self
                .has_the_role(state)
                .map_err(|rejection| self.rejected(rejection, state)),
            (
                Err(Rejection::SessionClosed { .. }),
                Caller::Operator(_) | Caller::BackEnd(_) | Caller::Script(_),
            ) => Ok(()),
            (
                Err(rejection @ Rejection::SessionClosed { .. }),
                Caller::FrontEnd(..) | Caller::Node(_),
            ) => Err(self.refused_outside(rejection, state)),
            (Err(rejection), _) => Err(self.rejected(rejection, state)),
        }
    }

    /// Why a main line that a session fences serves nobody. What is done in the session belongs
    /// on its branch; a call that was done there and is repeated here would be done twice, and a
    /// token of the branch is not known here.
    fn fenced(&self, state: &State, session: &SessionId, caller: &Caller) -> Refusal {
        let now = self.now(state);
        let serves = state.plan(session).filter(|plan| match plan.phase {
            Phase::Opening | Phase::Open => plan.session.holds(now) && !self.has_ended(session),
            Phase::Closed | Phase::RolledOver | Phase::Abandoned => false,
        });
        match (serves, caller) {
            (Some(plan), _) if self.is_here(&plan.session.centre) => Refusal::CentreChanging {
                session: session.clone(),
            },
            (Some(plan), _) => {
                let serving = plan.session.centre.clone();
                self.rejected(Rejection::CentreNotServing { serving }, state)
            }
            (None, Caller::Operator(_) | Caller::BackEnd(_) | Caller::Script(_)) => {
                let session = session.clone();
                self.rejected(Rejection::BranchOpen { session }, state)
            }
            // The fence stands until rollover; but outside its times nobody serves.
            (None, Caller::FrontEnd(..) | Caller::Node(_)) => {
                let next = next_opening(state, now);
                self.refused_outside(Rejection::SessionClosed { next }, state)
            }
        }
    }

    /// Whether the session's branch has closed here; the main line's plan follows it.
    fn has_ended(&self, session: &SessionId) -> bool {
        self.node().branch().is_some_and(|branch| {
            let state = branch.state();
            let is_of = match &state.header().line {
                LineId::Branch { session: of, .. } => of == session,
                LineId::Main => false,
            };
            is_of && state.header().ended
        })
    }

    fn refused_outside(&self, rejection: Rejection, state: &State) -> Refusal {
        self.inner
            .refused_outside_session
            .fetch_add(1, Ordering::Relaxed);
        self.rejected(rejection, state)
    }
}

/// The nodes of the other centre.
fn elsewhere<'a>(state: &'a State, than: &'a CentreName) -> impl Iterator<Item = NodeId> + 'a {
    let centres = state
        .centres()
        .into_iter()
        .flat_map(|centres| centres.all());
    let others = centres.filter(move |centre| centre.name != *than);
    others.flat_map(|centre| centre.nodes.iter().map(|node| node.id))
}

/// Why the line's engine has stopped here, if it has.
#[must_use]
pub fn fault(line: &Line) -> Option<line::Error> {
    line.failed().now_or_never()
}
