//! The arithmetic of TOTP steps (RFC 6238 §4.2). Codes themselves are the edge's work.

use crate::time::UnixMs;

/// A step's length.
pub const STEP_MS: u64 = 30_000;

/// The step that a time falls in.
#[must_use]
pub fn step(at: UnixMs) -> u64 {
    at.0 / STEP_MS
}

/// How many steps back one may be that is accepted: the edge looks one back (S8), and the way
/// through the log is less than a step.
pub const STEPS_BACK: u64 = 2;
