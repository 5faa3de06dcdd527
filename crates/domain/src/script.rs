//! Script identities: programs that run the plans which two operators approved, and nothing else
//! (LOGIN.md, "Administration").
//!
//! A grant names the script, the plan by its digest, the acts, a window and how many acts it may
//! carry out. Each act that is carried out is counted in the log. Deliberately absent: promotion,
//! policy, keys, accounts and approvals, which no grant can name.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::apply::{Context, Effect};
use crate::approval;
use crate::audit::{Event, Kind};
use crate::calendar;
use crate::cluster::may_set;
use crate::digest::Digest;
use crate::envelope::Actor;
use crate::id::{OperatorId, ScriptId, SessionId};
use crate::line::LineId;
use crate::outcome::{Answer, Rejection};
use crate::registration::{Holder, reason_fits};
use crate::session::{self, Plan};
use crate::state::State;
use crate::table::{Expires, Record};
use crate::time::UnixMs;

/// Longest window of a grant: 31 days.
pub const WINDOW_MS_MAX: u64 = 31 * 24 * 3_600_000;
/// Most runs of a grant.
pub const RUNS_MAX: u32 = 100;
/// Most grants that are kept.
pub const GRANTS_MAX: usize = 1_000;
/// How long a grant stays to be read after its window.
pub const KEPT_MS: u64 = 30 * 24 * 3_600_000;

/// What a script can be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Deed {
    /// Opening the session.
    Open,
    /// Closing it.
    Close,
    /// Rolling it over, where nothing must be repeated.
    RollOver,
    /// Opening it although the primary cannot be asked.
    OpenUnplanned,
    /// Moving the primary's role to the other centre, either way.
    SwitchOver,
}

impl Deed {
    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Close => "close",
            Self::RollOver => "rollover",
            Self::OpenUnplanned => "open-unplanned",
            Self::SwitchOver => "switchover",
        }
    }
}

/// What two operators agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Whose.
    pub script: ScriptId,
    /// The session.
    pub session: SessionId,
    /// The digest of its plan.
    pub plan: Digest,
    /// What the script may do with it.
    pub deeds: BTreeSet<Deed>,
    /// From when on.
    pub from: UnixMs,
    /// Until when.
    pub until: UnixMs,
    /// How many acts it may carry out in all.
    pub runs: u32,
}

impl Terms {
    /// What operators agree on, for people and for the statement.
    pub(crate) fn arguments(&self) -> Vec<(&'static str, String)> {
        let deeds: Vec<&str> = self.deeds.iter().map(|deed| deed.name()).collect();
        vec![
            ("script", self.script.to_string()),
            ("session", self.session.to_string()),
            ("plan", self.plan.to_string()),
            ("acts", deeds.join(",")),
            ("from", self.from.0.to_string()),
            ("until", self.until.0.to_string()),
            ("runs", self.runs.to_string()),
        ]
    }

    /// Names the grant: the digest that its statements sign.
    #[must_use]
    pub fn id(&self) -> Digest {
        approval::Act::Grant(Box::new(self.clone())).digest()
    }

    fn problems(&self, now: UnixMs) -> Vec<String> {
        let mut problems = Vec::new();
        if self.deeds.is_empty() {
            problems.push("a grant names one act or more".to_owned());
        }
        if self.from >= self.until || self.until <= now {
            problems.push("the window ends after it begins, and after now".to_owned());
        }
        if self.until.since(self.from) > WINDOW_MS_MAX || self.until.since(now) > WINDOW_MS_MAX {
            problems.push("the window is at most 31 days long, and ends within 31 days".to_owned());
        }
        if !(1..=RUNS_MAX).contains(&self.runs) {
            problems.push(format!("a grant has 1 to {RUNS_MAX} runs"));
        }
        problems
    }
}

/// What a script may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// What operators agreed on.
    pub terms: Terms,
    /// The operators' statements.
    pub approvals: approval::By,
    /// Since when.
    pub granted_at: UnixMs,
    /// How many acts were carried out.
    pub used: u32,
    /// By whom and when it was withdrawn, if it was.
    pub withdrawn: Option<(OperatorId, UnixMs)>,
}

impl Record for Grant {
    type Key = Digest;
    const TABLE: &'static str = "script grant";
    fn key(&self) -> Digest {
        self.terms.id()
    }
}

impl Expires for Grant {
    fn expires(&self) -> UnixMs {
        self.terms.until.plus(KEPT_MS)
    }
}

/// What is asked about scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// An operator approves a grant. It holds once enough have approved the same.
    Grant {
        /// What is granted.
        terms: Terms,
        /// Why, for the record.
        reason: String,
    },
    /// Takes a grant back, at once.
    Withdraw {
        /// Which.
        grant: Digest,
        /// Why.
        reason: String,
    },
    /// Counts a run on the main line of an act that is carried out on a branch.
    Run {
        /// The session.
        session: SessionId,
        /// The act.
        deed: Deed,
    },
}

impl Command {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Grant { .. } => Kind::ScriptGrantApproved,
            Self::Withdraw { .. } => Kind::ScriptGrantWithdrawn,
            Self::Run { .. } => Kind::ScriptRun,
        }
    }

    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Grant { .. } => "GrantScript",
            Self::Withdraw { .. } => "WithdrawScriptGrant",
            Self::Run { .. } => "ScriptRun",
        }
    }

    /// Whether a script asks for it itself.
    pub(crate) fn is_run(&self) -> bool {
        match self {
            Self::Run { .. } => true,
            Self::Grant { .. } | Self::Withdraw { .. } => false,
        }
    }
}

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: &Command) -> Effect {
    match command {
        Command::Grant { terms, reason } => grant(state, context, terms, reason),
        Command::Withdraw { grant, reason } => withdraw(state, context, grant, reason),
        Command::Run { session, deed } => run(state, context, session, *deed),
    }
}

fn grant(state: &mut State, context: &Context<'_>, terms: &Terms, reason: &str) -> Effect {
    let id = terms.id();
    let said = format!(
        "{} for {}, grant {id}: {reason}",
        terms.script, terms.session
    );
    let event = Event::new(Kind::ScriptGrantApproved).detail(said.clone());
    let judged = may_set(state, context)
        .and_then(|()| reason_fits(reason))
        .and_then(|()| judge(state, context.now, terms));
    if let Err(rejection) = judged {
        return Effect::rejected(rejection, event);
    }
    let act = approval::Act::Grant(Box::new(terms.clone()));
    let counted = match approval::note(state, context, format!("grant {id}"), act) {
        Ok(counted) => counted,
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    let approved = Answer::Approved {
        have: counted.have,
        need: counted.need,
    };
    let mut effect = Effect::done(approved, event);
    if counted.have >= counted.need {
        state.grants.set(Grant {
            terms: terms.clone(),
            approvals: counted.by,
            granted_at: context.now,
            used: 0,
            withdrawn: None,
        });
        let done = Event::new(Kind::ScriptGranted)
            .detail(said)
            .approved(counted.act);
        effect.events.push(done);
    }
    effect
}

fn judge(state: &State, now: UnixMs, terms: &Terms) -> Result<(), Rejection> {
    let problems = terms.problems(now);
    if !problems.is_empty() {
        return Err(Rejection::BadValues(problems));
    }
    state
        .registered(&Holder::Script(terms.script.clone()))
        .ok_or(Rejection::NoSuchCaller)?;
    let session = planned(state, &terms.session)?;
    if Plan::digest_of(&session) != terms.plan {
        return Err(Rejection::PlanDiffers);
    }
    // A grant that was withdrawn is not granted again under its name: it has its runs counted.
    if state.grants.get(&terms.id(), now).is_some() {
        return Err(Rejection::AlreadySo);
    }
    if state.grants.len() >= GRANTS_MAX {
        return Err(Rejection::TooMany);
    }
    Ok(())
}

/// The session as it was opened, or as the calendar has it.
fn planned(state: &State, session: &SessionId) -> Result<calendar::Session, Rejection> {
    match state.plan(session) {
        Some(plan) => Ok(plan.session.clone()),
        None => session::planned(state, session),
    }
}

/// Takes a grant back. A fenced main line takes it too: it takes access away.
fn withdraw(state: &mut State, context: &Context<'_>, id: &Digest, reason: &str) -> Effect {
    let event = Event::new(Kind::ScriptGrantWithdrawn).detail(format!("grant {id}: {reason}"));
    let judged = session::operator(context).and_then(|operator| {
        if state.header.line != LineId::Main {
            return Err(Rejection::MainLineOnly);
        }
        reason_fits(reason)?;
        let about = format!("grant {id}");
        let waiting = state.pending.get(&about, context.now).is_some();
        match state.grants.get(id, context.now) {
            Some(grant) if grant.withdrawn.is_some() => Err(Rejection::AlreadySo),
            Some(_) => Ok((operator.clone(), about)),
            None if waiting => Ok((operator.clone(), about)),
            None => Err(Rejection::NotGranted),
        }
    });
    let (operator, about) = match judged {
        Ok(found) => found,
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    state.pending.remove(&about);
    let now = context.now;
    state
        .grants
        .change(id, |grant| grant.withdrawn = Some((operator, now)));
    Effect::done(Answer::Nothing, event)
}

/// The grant under which the script may do this now: the one with runs left that ends first. A
/// switchover is of no session, so that each grant that names it counts.
///
/// # Errors
/// Why there is none; of several grants, what is wrong with the last.
pub(crate) fn granted<'a>(
    state: &'a State,
    now: UnixMs,
    script: &ScriptId,
    session: Option<&SessionId>,
    deed: Deed,
) -> Result<&'a Grant, Rejection> {
    let mut refused = Rejection::NotGranted;
    let mut found: Option<&Grant> = None;
    let own = state.grants.iter().filter(|grant| {
        grant.terms.script == *script
            && session.is_none_or(|session| grant.terms.session == *session)
            && grant.terms.deeds.contains(&deed)
            && grant.withdrawn.is_none()
    });
    for grant in own {
        match holds(state, now, grant) {
            Ok(()) if found.is_none_or(|other| grant.terms.until < other.terms.until) => {
                found = Some(grant);
            }
            Ok(()) => {}
            Err(rejection) => refused = rejection,
        }
    }
    found.ok_or(refused)
}

fn holds(state: &State, now: UnixMs, grant: &Grant) -> Result<(), Rejection> {
    let terms = &grant.terms;
    if now < terms.from || terms.until <= now {
        return Err(Rejection::OutsideWindow {
            from: terms.from,
            until: terms.until,
        });
    }
    if Plan::digest_of(&planned(state, &terms.session)?) != terms.plan {
        return Err(Rejection::PlanDiffers);
    }
    if grant.used >= terms.runs {
        return Err(Rejection::RunsUsed { runs: terms.runs });
    }
    Ok(())
}

/// That the actor is no script, or one that may do this now.
pub(crate) fn may(
    state: &State,
    context: &Context<'_>,
    session: Option<&SessionId>,
    deed: Deed,
) -> Result<(), Rejection> {
    match context.actor {
        Actor::Script(script) => granted(state, context.now, script, session, deed).map(|_| ()),
        Actor::Operator(_) | Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Node(_) => Ok(()),
    }
}

/// Counts an act that was carried out, if by a script.
pub(crate) fn count(
    state: &mut State,
    actor: &Actor,
    at: UnixMs,
    session: Option<&SessionId>,
    deed: Deed,
) {
    let Actor::Script(script) = actor else {
        return;
    };
    let found = granted(state, at, script, session, deed);
    if let Ok(id) = found.map(Record::key) {
        state.grants.change(&id, |grant| {
            grant.used = grant.used.saturating_add(1);
        });
    }
}

fn run(state: &mut State, context: &Context<'_>, session: &SessionId, deed: Deed) -> Effect {
    let event = Event::new(Kind::ScriptRun).detail(format!("{session}: {}", deed.name()));
    let judged = match context.actor {
        Actor::Script(_) if state.header.line == LineId::Main => {
            may(state, context, Some(session), deed)
        }
        Actor::Script(_) => Err(Rejection::MainLineOnly),
        Actor::Operator(_) | Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Node(_) => {
            Err(Rejection::NotAllowed)
        }
    };
    if let Err(rejection) = judged {
        return Effect::rejected(rejection, event);
    }
    count(state, context.actor, context.now, Some(session), deed);
    Effect::done(Answer::Nothing, event)
}
