//! Lines, and the carry rule.
//!
//! A session at the secondary centre runs on a **branch**: a line that starts from the main
//! line's state at the **boundary**. What is done there stays there. Rollover drops the branch
//! whole; no list says which fields are carried forward, because nothing is. Three things follow,
//! and they are all of this module:
//!
//! 1. `fork` takes the state after the boundary entry, unmodified (I1).
//! 2. `start_branch` gives the copy its own identity, turns its fences off and empties its outbox
//!    (what the main line has to tell, the main line tells), no more.
//! 3. `end_short_lived` runs at every change of lines, on the line that goes on: nothing that
//!    counts once (codes, nonces, tokens, steps) comes back to life (LINES.md).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{ClusterId, SessionId};
use crate::notice::Outbox;
use crate::state::State;
use crate::time::UnixMs;
use crate::totp;

/// The place of an entry in a line's log.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LogId {
    /// The term of the leader that wrote it.
    pub term: u64,
    /// The node that led.
    pub node: u64,
    /// The position in the log.
    pub index: u64,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.term, self.node, self.index)
    }
}

/// Which line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LineId {
    /// The line of record.
    Main,
    /// The line of a session at the secondary centre; named by what it starts from.
    Branch {
        /// The session.
        session: SessionId,
        /// The full digest of the state at the boundary.
        genesis: Digest,
    },
}

impl fmt::Display for LineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Main => f.write_str("main"),
            Self::Branch { session, genesis } => {
                write!(f, "branch {session} ({})", genesis.short())
            }
        }
    }
}

/// A line among all lines of all clusters: on every peer message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LineRef {
    /// The cluster.
    pub cluster: ClusterId,
    /// The line.
    pub line: LineId,
    /// The main line's epoch; only a promotion raises it.
    pub epoch: u64,
}

/// Whether what a person changes now is there on the next business day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Carry {
    /// It is.
    CarriedForward,
    /// It is forgotten at rollover (R44).
    DiscardedAtRollover,
}

impl LineId {
    /// What becomes of a change made on this line.
    #[must_use]
    pub fn carry(&self) -> Carry {
        match self {
            Self::Main => Carry::CarriedForward,
            Self::Branch { .. } => Carry::DiscardedAtRollover,
        }
    }
}

/// The state that a branch starts from: the main line's after the boundary entry, unmodified.
#[must_use]
pub fn fork(main_at_boundary: &State) -> State {
    main_at_boundary.clone()
}

/// The branch's first entry: the copy becomes the branch, and serves.
pub(crate) fn start_branch(state: &mut State, session: SessionId, genesis: Digest) {
    state.header.line = LineId::Branch { session, genesis };
    state.header.fence = None;
    state.outbox = Outbox::default();
}

/// Ends everything short-lived and raises the floor under TOTP steps to the greatest that can
/// have been accepted anywhere by `latest`, the latest time that any line has seen.
pub(crate) fn end_short_lived(state: &mut State, latest: UnixMs) {
    state.short.end_all();
    state.header.generation = state.header.generation.saturating_add(1);
    raise_totp_floor(state, latest);
}

/// Raises the floor under TOTP steps to the greatest that can have been accepted by `latest`.
pub(crate) fn raise_totp_floor(state: &mut State, latest: UnixMs) {
    let latest = latest.max(state.header.clock);
    let greatest = totp::step(latest.plus(state.policy.clock_skew_ms));
    if !crate::planted::is(crate::planted::Fault::NoTotpFloor) {
        state.header.totp_floor = state.header.totp_floor.max(greatest);
    }
}
