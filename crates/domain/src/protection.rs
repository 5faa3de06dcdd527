//! Protection: what an answer of the main line waits for beyond the primary's own quorum
//! (LINES.md, "Protection").
//!
//! A change is protected once w of the n registered nodes of the secondary centre have persisted
//! it. Here stands what the log knows: the mode, whether the line is degraded, and up to which
//! entry a stricter promise was given. Deliberately absent: who has persisted what, and any wait.

use serde::{Deserialize, Serialize};

use crate::apply::{Context, Effect};
use crate::audit::{Event, Kind};
use crate::envelope::Actor;
use crate::line::LineId;
use crate::outcome::{Answer, Rejection};
use crate::policy::Policy;
use crate::state::State;
use crate::time::UnixMs;

/// What an answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The primary's quorum.
    Async,
    /// That the change is protected; without the secondary the line degrades and goes on.
    #[default]
    Sync,
    /// That the change is protected; without the secondary nothing is answered.
    Strict,
}

impl Mode {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Async => "async",
            Self::Sync => "sync",
            Self::Strict => "strict",
        }
    }
}

/// What the main line promises of its answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// Since when the secondary has been given up; none while it is relied on.
    pub degraded_since: Option<UnixMs>,
    /// How often it was given up.
    pub degraded_count: u64,
    /// For how long in all, spells that have ended.
    pub degraded_ms: u64,
    /// The entry that ended `strict`, or 0. The secondary believes in `strict` until it has it, so
    /// that no answer goes out before.
    pub strict_until: u64,
    /// The entry that ended `sync` for `async`, or 0. The same, unless the line is degraded.
    pub sync_until: u64,
}

impl Protection {
    /// The index that w nodes of the secondary must have persisted before an answer that depends
    /// on the entry at `index` may go out; 0 for none.
    #[must_use]
    pub fn needed(&self, mode: Mode, index: u64) -> u64 {
        match (mode, self.degraded_since) {
            (Mode::Strict, _) | (Mode::Sync, None) => index,
            (Mode::Sync | Mode::Async, Some(_)) => self.strict_until,
            (Mode::Async, None) => self.strict_until.max(self.sync_until),
        }
    }

    /// Whether the secondary may be given up, once it has persisted up to `persisted`: not while
    /// it may still believe in `strict`.
    #[must_use]
    pub fn may_degrade(&self, mode: Mode, persisted: u64) -> bool {
        mode != Mode::Strict && self.degraded_since.is_none() && persisted >= self.strict_until
    }

    /// How long the line has been degraded in all, a spell that goes on included.
    #[must_use]
    pub fn degraded_ms_at(&self, now: UnixMs) -> u64 {
        let spell = self.degraded_since.map_or(0, |since| now.since(since));
        self.degraded_ms.saturating_add(spell)
    }

    /// Notes that the policy's mode becomes another with the entry at `index`.
    pub(crate) fn note_mode(&mut self, from: Mode, to: Mode, index: u64) {
        if from == Mode::Strict && to < from {
            self.strict_until = index;
        }
        if from > Mode::Async && to == Mode::Async {
            self.sync_until = index;
        }
    }
}

/// How many of n nodes make a change protected: more than half of them; none where there are none.
#[must_use]
pub fn quorum(nodes: usize) -> usize {
    if nodes == 0 { 0 } else { nodes / 2 + 1 }
}

/// What the leader says on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The secondary is given up: answers go out without it from here on.
    Degrade,
    /// The secondary has caught up: answers wait for it again.
    Recover,
}

impl Command {
    /// The method's name in request records.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::Degrade => "Degrade",
            Self::Recover => "Recover",
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Degrade => Kind::ProtectionDegraded,
            Self::Recover => Kind::ProtectionRecovered,
        }
    }
}

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: Command) -> Effect {
    let event = Event::new(command.kind());
    if !matches!(context.actor, Actor::Node(_)) {
        return Effect::rejected(Rejection::NotAllowed, event);
    }
    if state.header.line != LineId::Main {
        return Effect::rejected(Rejection::MainLineOnly, event);
    }
    let mode = state.policy.protection;
    let protection = &mut state.header.protection;
    match (command, protection.degraded_since) {
        (Command::Degrade, _) if mode == Mode::Strict => {
            Effect::rejected(Rejection::NotAllowed, event)
        }
        (Command::Degrade, Some(_)) | (Command::Recover, None) => {
            Effect::rejected(Rejection::AlreadySo, event)
        }
        (Command::Degrade, None) => {
            protection.degraded_since = Some(context.now);
            protection.degraded_count = protection.degraded_count.saturating_add(1);
            Effect::done(Answer::Nothing, event)
        }
        (Command::Recover, Some(since)) => {
            let spell = context.now.since(since);
            protection.degraded_since = None;
            protection.degraded_ms = protection.degraded_ms.saturating_add(spell);
            let seconds = spell / 1_000;
            Effect::done(
                Answer::Nothing,
                event.detail(format!("after {seconds} s without the secondary")),
            )
        }
    }
}

/// The policy is replaced: what its mode promised stands until the secondary knows of the change.
/// A degraded line that becomes `strict` relies on the secondary again at once.
pub(crate) fn policy_changes(state: &mut State, context: &Context<'_>, to: &Policy) {
    let from = state.policy.protection;
    let protection = &mut state.header.protection;
    protection.note_mode(from, to.protection, context.at.index);
    if to.protection == Mode::Strict {
        protection.degraded_ms = protection.degraded_ms_at(context.now);
        protection.degraded_since = None;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn more_than_half_of_the_secondary_makes_a_change_protected() {
        let needed: Vec<usize> = (0..=6).map(quorum).collect();
        assert_eq!(needed, [0, 1, 2, 2, 3, 3, 4]);
    }

    #[test]
    fn a_weaker_mode_holds_only_once_the_secondary_knows_of_it() {
        let mut protection = Protection::default();
        protection.note_mode(Mode::Strict, Mode::Async, 40);
        assert_eq!(protection.needed(Mode::Async, 90), 40);
        assert!(
            !protection.may_degrade(Mode::Async, 39),
            "strict is believed in"
        );
        assert!(protection.may_degrade(Mode::Async, 40));
        protection.degraded_since = Some(UnixMs(1));
        assert_eq!(protection.needed(Mode::Async, 90), 40, "degraded or not");

        let mut protection = Protection::default();
        protection.note_mode(Mode::Sync, Mode::Async, 50);
        assert_eq!(protection.needed(Mode::Async, 90), 50);
        protection.degraded_since = Some(UnixMs(1));
        assert_eq!(protection.needed(Mode::Async, 90), 0);
    }

    #[test]
    fn an_answer_waits_for_its_own_entry_unless_the_line_is_degraded() {
        let mut protection = Protection::default();
        assert_eq!(protection.needed(Mode::Sync, 90), 90);
        assert_eq!(protection.needed(Mode::Strict, 90), 90);
        assert_eq!(protection.needed(Mode::Async, 90), 0);
        protection.degraded_since = Some(UnixMs(1));
        assert_eq!(protection.needed(Mode::Sync, 90), 0);
        assert_eq!(protection.needed(Mode::Strict, 90), 90);
    }
}
