//! Counting failed attempts, so that guessing is slow and nobody can shut another out (S12, S13).
//!
//! An address that succeeded lately has a count of its own; all others share one. An attacker
//! who walks the user ids therefore delays strangers, not the people at their usual desks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::time::UnixMs;

/// Failures before the first wait.
pub const FREE_FAILURES: u32 = 10;
/// The first wait; each further failure doubles it.
pub const WAIT_MS_FIRST: u64 = 60_000;
/// The longest wait.
pub const WAIT_MS_MAX: u64 = 15 * 60_000;
/// How long without a failure until the doubling begins anew; the consecutive count stays.
pub const FORGOTTEN_AFTER_MS: u64 = 24 * 3_600_000;
/// Consecutive failures that disable a factor until it is unlocked or bound again (S12).
pub const CONSECUTIVE_FAILURES_MAX: u32 = 100;
/// How long an address is known after a success.
pub const KNOWN_FOR_MS: u64 = 30 * 24 * 3_600_000;
/// Most addresses known for a password; the one longest without success makes room.
pub const KNOWN_MAX: usize = 8;

/// Failures of one kind of origin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Failures since the last success, or since they were last forgotten.
    pub failures: u32,
    /// When the last one was.
    pub failed_at: UnixMs,
    /// No attempt counts before this time.
    pub wait_until: UnixMs,
}

impl Count {
    fn fail(&mut self, now: UnixMs) {
        if now.since(self.failed_at) >= FORGOTTEN_AFTER_MS {
            self.failures = 0;
        }
        self.failed_at = now;
        self.failures = self.failures.saturating_add(1);
        if let Some(doublings) = self.failures.checked_sub(FREE_FAILURES) {
            let wait = WAIT_MS_FIRST
                .checked_shl(doublings.min(8))
                .unwrap_or(WAIT_MS_MAX);
            self.wait_until = now.plus(wait.min(WAIT_MS_MAX));
        }
    }
}

/// An address from which the password was right lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// When it last was.
    pub succeeded_at: UnixMs,
    /// Its own failures since.
    pub count: Count,
}

/// The failures of one password.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// Of all addresses that are not known.
    pub strangers: Count,
    /// By known address.
    pub known: BTreeMap<IpAddr, Known>,
    /// Since the last success, from anywhere.
    pub consecutive: u32,
}

impl Attempts {
    fn known(&self, address: Option<IpAddr>, now: UnixMs) -> Option<&Known> {
        self.known
            .get(&address?)
            .filter(|known| now.since(known.succeeded_at) < KNOWN_FOR_MS)
    }

    /// Until when this address must wait; none when it may try now.
    #[must_use]
    pub fn wait_until(&self, address: Option<IpAddr>, now: UnixMs) -> Option<UnixMs> {
        let count = self
            .known(address, now)
            .map_or(self.strangers, |known| known.count);
        (now < count.wait_until).then_some(count.wait_until)
    }

    /// Whether the password is disabled until somebody unlocks it.
    #[must_use]
    pub fn locked(&self) -> bool {
        self.consecutive >= CONSECUTIVE_FAILURES_MAX
    }

    /// Whether there is no failure to forget.
    #[must_use]
    pub fn clear(&self) -> bool {
        let none = Count::default();
        self.consecutive == 0
            && self.strangers == none
            && self.known.values().all(|known| known.count == none)
    }

    /// Forgets all failures; known addresses stay known.
    pub fn unlock(&mut self) {
        self.consecutive = 0;
        self.strangers = Count::default();
        for known in self.known.values_mut() {
            known.count = Count::default();
        }
    }

    /// Counts a failure.
    pub fn fail(&mut self, address: Option<IpAddr>, now: UnixMs) {
        self.consecutive = self.consecutive.saturating_add(1);
        let is_known = self.known(address, now).is_some();
        match address.and_then(|address| self.known.get_mut(&address)) {
            Some(known) if is_known => known.count.fail(now),
            Some(_) | None => self.strangers.fail(now),
        }
    }

    /// Notes a success: the consecutive failures end, and the address is known from now on.
    ///
    /// The strangers' count stands, unless a stranger was this: otherwise each login of the
    /// owner would give an attacker ten more tries.
    pub fn succeed(&mut self, address: Option<IpAddr>, now: UnixMs) {
        self.consecutive = 0;
        if self.known(address, now).is_none() {
            self.strangers = Count::default();
        }
        let Some(address) = address else { return };
        let fresh = Known {
            succeeded_at: now,
            count: Count::default(),
        };
        if !self.known.contains_key(&address) && self.known.len() >= KNOWN_MAX {
            let oldest = self
                .known
                .iter()
                .min_by_key(|(_, known)| known.succeeded_at)
                .map(|(address, _)| *address);
            if let Some(oldest) = oldest {
                self.known.remove(&oldest);
            }
        }
        self.known.insert(address, fresh);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn desk() -> Option<IpAddr> {
        Some("192.0.2.1".parse().unwrap())
    }
    fn stranger() -> Option<IpAddr> {
        Some("198.51.100.9".parse().unwrap())
    }

    #[test]
    fn the_wait_doubles_from_one_to_fifteen_minutes_s13() {
        let mut attempts = Attempts::default();
        let now = UnixMs(0);
        let mut waits = Vec::new();
        for _ in 0..16 {
            attempts.fail(desk(), now);
            waits.push(attempts.wait_until(desk(), now).map_or(0, |t| t.0 / 60_000));
        }
        assert_eq!(waits[..9], [0; 9]);
        assert_eq!(waits[9..], [1, 2, 4, 8, 15, 15, 15]);
    }

    #[test]
    fn strangers_cannot_shut_out_a_desk_that_succeeded_s13() {
        let mut attempts = Attempts::default();
        attempts.succeed(desk(), UnixMs(0));
        for _ in 0..30 {
            attempts.fail(stranger(), UnixMs(1));
        }
        assert!(attempts.wait_until(stranger(), UnixMs(1)).is_some());
        assert_eq!(attempts.wait_until(desk(), UnixMs(1)), None);
        // The desk is a stranger again after 30 days.
        let later = UnixMs(KNOWN_FOR_MS);
        for _ in 0..30 {
            attempts.fail(stranger(), later);
        }
        assert!(attempts.wait_until(desk(), later).is_some());
    }

    #[test]
    fn a_hundred_consecutive_failures_lock_s12() {
        let mut attempts = Attempts::default();
        for _ in 0..CONSECUTIVE_FAILURES_MAX - 1 {
            attempts.fail(stranger(), UnixMs(0));
        }
        assert!(!attempts.locked());
        attempts.fail(desk(), UnixMs(0));
        assert!(attempts.locked());
    }
}
