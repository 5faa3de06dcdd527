//! Applying an envelope: checks first, then changes, then the record of it. It cannot fail.

use crate::approval::Approval;
use crate::audit::{self, Event, Kind, Verdict};
use crate::digest::Digest;
use crate::envelope::{Actor, Command, Envelope};
use crate::line::{LineId, LogId};
use crate::outcome::{self, Answer, Outcome, Rejection};
use crate::request::{Answered, Asked, Known};
use crate::session;
use crate::state::State;
use crate::time::UnixMs;
use crate::token::TokenId;
use crate::{
    account, centre, change, change_request, cluster, initiation, login, notice, planted, token,
};
use crate::{
    keys, migration, participant, promotion, protection, registration, revocation, script,
};

/// Most ended records of a kind that one entry removes.
const REMOVALS_AN_ENTRY: usize = 64;

/// What applying gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// What is answered.
    pub outcome: Outcome,
    /// The audit records; none for an entry after a branch's close.
    pub audit: Vec<audit::Row>,
}

/// What a noun's rules need to know besides state and command.
pub(crate) struct Context<'a> {
    /// The line's clock with this entry.
    pub(crate) now: UnixMs,
    /// The entry.
    pub(crate) at: LogId,
    /// Who asks.
    pub(crate) actor: &'a Actor,
    /// The approval that came with the command, if one did.
    pub(crate) approval: Option<&'a Approval>,
    /// The full digest of the state before the first entry of a branch, or of a restored cluster.
    pub(crate) genesis: Option<Digest>,
}

/// What came of a command.
pub(crate) struct Effect {
    pub(crate) result: outcome::Result,
    pub(crate) events: Vec<Event>,
    /// The token that the answer yields, if it does.
    pub(crate) token: Option<TokenId>,
    /// Whether the edge's answer holds a secret, which no record keeps.
    pub(crate) holds_secret: bool,
}

impl Effect {
    pub(crate) fn done(answer: Answer, event: Event) -> Self {
        Self {
            result: outcome::Result::Done(answer),
            events: vec![event],
            token: None,
            holds_secret: false,
        }
    }

    pub(crate) fn failed(answer: Answer, event: Event) -> Self {
        Self {
            result: outcome::Result::FailedAttempt(answer),
            events: vec![event],
            token: None,
            holds_secret: false,
        }
    }

    pub(crate) fn rejected(rejection: Rejection, event: Event) -> Self {
        Self {
            result: outcome::Result::Rejected(rejection),
            events: vec![event],
            token: None,
            holds_secret: false,
        }
    }

    pub(crate) fn with_secret(mut self) -> Self {
        self.holds_secret = true;
        self
    }
}

/// Applies the entry at `at` of the line `line` to the state.
///
/// `line` is what the Raft group is: the entry must be meant for it, and the state must be its
/// own, or for a branch's first entry the genesis that it starts from.
pub fn apply(state: &mut State, line: &LineId, at: LogId, envelope: &Envelope) -> Applied {
    let unapplied = |state: &State, rejection| Applied {
        outcome: Outcome {
            at,
            clock: state.header.clock,
            result: outcome::Result::Rejected(rejection),
        },
        audit: Vec::new(),
    };
    // A branch's evidence was taken at its close: nothing may move after it, not even the clock.
    if state.header.ended {
        return unapplied(state, Rejection::LineEnded);
    }
    if state.founding.is_none() && !matches!(envelope.command, Command::Cluster(_)) {
        return unapplied(state, Rejection::NotFounded);
    }
    if !meant_for(state, line, envelope) && !planted::is(planted::Fault::LeakFromBranch) {
        return unapplied(state, Rejection::LineChanged);
    }
    let clock = state.header.clock;
    // What a branch starts from, before this entry moves its clock (I1).
    let begins = starts_branch(envelope) || restores(envelope) || promotes(envelope);
    let genesis = begins.then(|| state.digests().full);
    // Proposers' clocks differ; the line's clock never runs backwards.
    let now = clock.max(envelope.at);
    let (command, approval) = if let Command::Signed(signed) = &envelope.command {
        (&signed.command, Some(&signed.approval))
    } else {
        (&envelope.command, None)
    };
    let context = Context {
        now,
        at,
        actor: &envelope.actor,
        approval,
        genesis,
    };
    let jumps = now.since(clock) > state.policy.clock_jump_ms && !may_jump(state, envelope);
    let effect = if jumps {
        Effect::rejected(Rejection::ClockJump, Event::new(kind_of(command)))
    } else {
        state.header.clock = now;
        // Records that this policy would have dropped stay dropped, whatever policy comes.
        let forgotten = now.minus(state.policy.request_life_ms);
        state.header.requests_from = state.header.requests_from.max(forgotten);
        remove_ended(state, now);
        let effect = answer(state, line, &context, envelope, command);
        state.erase_some();
        effect
    };
    state.outbox.stamp(at, state.header.clock);
    state.header.applied = at;
    let audit = record(state, &context, effect.result.clone(), effect.events);
    let outcome = Outcome {
        at,
        clock: state.header.clock,
        result: effect.result,
    };
    if !jumps {
        note_request(
            state,
            line,
            envelope,
            &outcome,
            effect.token,
            effect.holds_secret,
        );
    }
    Applied { outcome, audit }
}

fn promotes(envelope: &Envelope) -> bool {
    matches!(envelope.command, Command::Promote(_))
}

fn starts_branch(envelope: &Envelope) -> bool {
    matches!(
        envelope.command,
        Command::Session(
            session::Command::BranchStart { .. } | session::Command::BeginUnplanned { .. }
        )
    )
}

/// Whether the envelope founds a cluster with the state of a backup.
fn restores(envelope: &Envelope) -> bool {
    matches!(
        &envelope.command,
        Command::Cluster(cluster::Command::Found(founding)) if founding.restored.is_some()
    )
}

/// Whether the envelope is for this line, and the state is this line's.
fn meant_for(state: &State, line: &LineId, envelope: &Envelope) -> bool {
    let is_genesis = state.header.line == LineId::Main && *line != LineId::Main;
    envelope.line == *line
        && (state.header.line == *line || (is_genesis && starts_branch(envelope)))
}

/// Whether the envelope may move the clock by more than a jump: the founding, a clock advance that
/// will be accepted, and a branch's first entry, before which none can be applied to a genesis.
fn may_jump(state: &State, envelope: &Envelope) -> bool {
    state.founding.is_none()
        || starts_branch(envelope)
        || promotes(envelope)
        || match &envelope.command {
            Command::Cluster(cluster::Command::AdvanceClock { offset_ms, .. }) => {
                cluster::may_advance(state, &envelope.actor, *offset_ms).is_ok()
            }
            Command::Cluster(
                cluster::Command::Found(_)
                | cluster::Command::BackUp { .. }
                | cluster::Command::RaiseRules { .. },
            )
            | Command::Session(_)
            | Command::SetCalendar(_)
            | Command::SetPolicy { .. }
            | Command::Account(_)
            | Command::Participant(_)
            | Command::ChangeRequest(_)
            | Command::Migration(_)
            | Command::SetRevocationList(_)
            | Command::Login(_)
            | Command::Token(_)
            | Command::Initiation(_)
            | Command::Change(_)
            | Command::Notice(_)
            | Command::Keys(_)
            | Command::Protection(_)
            | Command::Centre(_)
            | Command::Promote(_)
            | Command::Registration(_)
            | Command::Script(_)
            | Command::Signed(_) => false,
        }
}

/// The answer: the former one for a request that is repeated, else what the command's noun says.
fn answer(
    state: &mut State,
    line: &LineId,
    context: &Context<'_>,
    envelope: &Envelope,
    command: &Command,
) -> Effect {
    if let Some(key) = envelope.request {
        let known = state.requests.look_up(&Asked {
            actor: &envelope.actor,
            method: envelope.command.method(),
            key,
            line,
            line_since: state.header.line_since,
            now: context.now,
            remembered_from: state.header.requests_from,
        });
        let kind = kind_of(command);
        match known {
            Known::New => {}
            Known::Refused(rejection) => return Effect::rejected(rejection, Event::new(kind)),
            Known::Answered(record) => {
                let event = Event::new(Kind::Repeated).detail(record.method.clone());
                let unseen = record.token;
                let result = record.outcome.result.clone();
                let secret = record.held_secret;
                if secret && matches!(result, outcome::Result::Done(_)) {
                    // The caller never saw the token, or it would not ask again.
                    if let Some(unseen) = unseen {
                        state.short.tokens.end(&unseen);
                    }
                    return Effect::rejected(Rejection::AlreadyDone, event);
                }
                return Effect {
                    result,
                    events: vec![event],
                    token: None,
                    holds_secret: false,
                };
            }
        }
    }
    if let Some(key) = keys::retired_in(state, command) {
        let event = Event::new(kind_of(command));
        return Effect::rejected(Rejection::KeyRetired { key }, event);
    }
    if let Err(rejection) = registration::may_ask(state, context.actor, command) {
        return Effect::rejected(rejection, Event::new(kind_of(command)));
    }
    match command {
        Command::Cluster(command) => cluster::apply(state, context, command),
        Command::Session(command) => session::apply(state, line, context, command),
        Command::SetCalendar(calendar) => cluster::set_calendar(state, context, calendar),
        Command::SetPolicy { policy, seen } => {
            cluster::set_policy(state, context, policy, seen.as_ref())
        }
        Command::Account(command) => account::apply(state, context, command),
        Command::Participant(command) => participant::apply(state, context, command),
        Command::ChangeRequest(command) => change_request::apply(state, context, command),
        Command::Migration(command) => migration::apply(state, context, command),
        Command::SetRevocationList(list) => revocation::set(state, context, list),
        Command::Login(command) => login::apply(state, context, command),
        Command::Token(command) => token::apply(state, context, command),
        Command::Initiation(command) => initiation::apply(state, context, command),
        Command::Change(command) => change::apply(state, context, command),
        Command::Notice(command) => notice::apply(state, context, command),
        Command::Registration(command) => registration::apply(state, context, command),
        Command::Script(command) => script::apply(state, context, command),
        // One approval is of one act.
        Command::Signed(_) => Effect::rejected(Rejection::NotAllowed, Event::new(kind_of(command))),
        Command::Keys(command) => keys::apply(state, context, command),
        Command::Protection(command) => protection::apply(state, context, *command),
        Command::Centre(command) => centre::apply(state, context, command),
        Command::Promote(begin) => promotion::begin(state, context, begin),
    }
}

fn remove_ended(state: &mut State, now: UnixMs) {
    let short = &mut state.short;
    short.tokens.remove_ended(now, REMOVALS_AN_ENTRY);
    short.logins.remove_ended(now, REMOVALS_AN_ENTRY);
    short.activations.remove_ended(now, REMOVALS_AN_ENTRY);
    short.procedures.remove_ended(now, REMOVALS_AN_ENTRY);
    state.change_requests.remove_ended(now, REMOVALS_AN_ENTRY);
    state.reviews.remove_ended(now, REMOVALS_AN_ENTRY);
    state.proposals.remove_ended(now, REMOVALS_AN_ENTRY);
    state.pending.remove_ended(now, REMOVALS_AN_ENTRY);
    state.grants.remove_ended(now, REMOVALS_AN_ENTRY);
    state.outbox.remove_ended(now, REMOVALS_AN_ENTRY);
    state.unknown.remove_ended(now, REMOVALS_AN_ENTRY);
    state.requests.remove_ended(now, REMOVALS_AN_ENTRY);
}

/// Chains the events to the audit.
fn record(
    state: &mut State,
    context: &Context<'_>,
    result: outcome::Result,
    events: Vec<Event>,
) -> Vec<audit::Row> {
    let verdict = match result {
        outcome::Result::Done(_) => Verdict::Done,
        outcome::Result::FailedAttempt(_) => Verdict::Failed,
        outcome::Result::Rejected(rejection) => Verdict::Rejected(rejection.code()),
    };
    // What was approved is kept with the first record of it, for whoever checks it later.
    let mut approval = context.approval.filter(|_| verdict == Verdict::Done);
    let done = verdict == Verdict::Done;
    let mut rows = Vec::with_capacity(events.len());
    for event in events {
        let actor = context.actor.to_string();
        let row = audit::Row {
            sequence: state.header.audit.sequence,
            previous: state.header.audit.hash,
            log: context.at,
            at: state.header.clock,
            session: state.header.current.clone(),
            kind: event.kind,
            verdict: verdict.clone(),
            by: event.by.unwrap_or_else(|| actor.clone()),
            actor,
            account: event.account,
            participant: event.participant,
            class: event.class,
            portal: event.portal,
            method: event.method,
            repeat: event.repeat,
            detail: event.detail,
            approval: approval.take().cloned().map(Box::new),
            approved: event.approved.filter(|_| done).map(Box::new),
        };
        state.header.audit = row.head();
        rows.push(row);
    }
    rows
}

fn note_request(
    state: &mut State,
    line: &LineId,
    envelope: &Envelope,
    outcome: &Outcome,
    token: Option<TokenId>,
    held_secret: bool,
) {
    let Some(key) = envelope.request else { return };
    // A refusal of the request itself leaves no record: there may be one of another body or line.
    let refused = match &outcome.result {
        outcome::Result::Rejected(
            Rejection::LineChanged
            | Rejection::RequestIdMalformed
            | Rejection::RequestTooOld
            | Rejection::RequestFromTheFuture
            | Rejection::RequestBodyDiffers
            | Rejection::AlreadyDone
            | Rejection::TooMany
            // Nothing is known of who asked: a record would cost memory, and protect nothing.
            | Rejection::ProcedureEnded
            | Rejection::TokenEnded,
        ) => true,
        outcome::Result::Rejected(_)
        | outcome::Result::Done(_)
        | outcome::Result::FailedAttempt(_) => false,
    };
    let answered = Answered {
        caller: envelope.actor.to_string(),
        id: key.id,
        method: envelope.command.method().to_owned(),
        body: key.body,
        line: line.clone(),
        outcome: outcome.clone(),
        token,
        held_secret,
        ends_at: key
            .id
            .minted_at()
            .unwrap_or(state.header.clock)
            .max(state.header.clock)
            .plus(state.policy.request_life_ms),
    };
    if !refused && !state.requests.has(&answered) {
        state.requests.note(answered);
    }
}

/// The audit kind of a command, for refusals that come before its noun is asked.
fn kind_of(command: &Command) -> Kind {
    match command {
        Command::Cluster(cluster::Command::Found(_)) => Kind::Founded,
        Command::Cluster(cluster::Command::AdvanceClock { .. }) => Kind::ClockAdvanced,
        Command::Cluster(cluster::Command::BackUp { .. }) => Kind::BackupTaken,
        Command::Cluster(cluster::Command::RaiseRules { .. }) => Kind::RulesRaised,
        Command::Session(command) => command.kind(),
        Command::SetCalendar(_) => Kind::CalendarSet,
        Command::SetPolicy { .. } => Kind::PolicySet,
        Command::Account(command) => command.kind(),
        Command::Participant(command) => command.kind(),
        Command::ChangeRequest(command) => command.kind(),
        Command::Migration(command) => command.kind(),
        Command::SetRevocationList(_) => Kind::RevocationListSet,
        Command::Login(command) => command.kind(),
        Command::Token(command) => command.kind(),
        Command::Initiation(command) => command.kind(),
        Command::Change(command) => command.kind(),
        Command::Notice(command) => command.kind(),
        Command::Registration(command) => command.kind(),
        Command::Script(command) => command.kind(),
        Command::Signed(signed) => kind_of(&signed.command),
        Command::Keys(command) => command.kind(),
        Command::Protection(command) => command.kind(),
        Command::Centre(command) => command.kind(),
        Command::Promote(_) => Kind::Promoted,
    }
}

/// The digest that a keyed digest of an unknown id is shown as in the audit.
pub(crate) fn shown(id: &Digest) -> String {
    format!("unknown user id {id}")
}
