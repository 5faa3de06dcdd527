//! Where the leader's stamps come from: the clock is injected, so that tests and simulated
//! clusters move it. Raft's own timers do not use it: they run on the monotonic clock, always
//! (LINES.md, "Time").

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use domain::UnixMs;

use crate::machine::Shared;

/// Tells the time that the leader writes into an envelope.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> UnixMs;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> UnixMs {
        // A machine set before 1970 reads as 1970: the skew check then keeps it from leading.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The clock of the machine and an offset that can be set: for clusters founded with a simulated
/// clock, and for tests. Clones share the offset.
#[derive(Debug, Clone, Default)]
pub struct OffsetClock {
    offset_ms: Arc<AtomicI64>,
}

impl OffsetClock {
    /// A clock that is `offset_ms` ahead of the machine's.
    #[must_use]
    pub fn ahead_by(offset_ms: i64) -> Self {
        Self {
            offset_ms: Arc::new(AtomicI64::new(offset_ms)),
        }
    }

    /// A clock that shows `time` now.
    #[must_use]
    pub fn starting_at(time: UnixMs) -> Self {
        let clock = Self::default();
        clock.set_now(time);
        clock
    }

    /// Sets how far this clock is ahead of the machine's, in milliseconds.
    pub fn set_offset_ms(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::SeqCst);
    }

    /// Moves this clock so that it shows `time` now.
    pub fn set_now(&self, time: UnixMs) {
        let wall = WallClock.now();
        let ahead = i64::try_from(time.since(wall)).unwrap_or(i64::MAX);
        let behind = i64::try_from(wall.since(time)).unwrap_or(i64::MAX);
        self.set_offset_ms(ahead.saturating_sub(behind));
    }

    /// How far this clock is ahead of the machine's, in milliseconds.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::SeqCst)
    }
}

impl Clock for OffsetClock {
    fn now(&self) -> UnixMs {
        UnixMs(WallClock.now().0.saturating_add_signed(self.offset_ms()))
    }
}

/// The clock that stamps a node's proposals: the machine's, and in a cluster with a simulated clock
/// the offset that the main line's state gives.
#[derive(Clone)]
pub(crate) struct NodeClock {
    base: Arc<dyn Clock>,
    founded_offset_ms: i64,
    main: Arc<RwLock<Option<Arc<Shared>>>>,
}

impl fmt::Debug for NodeClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeClock").finish_non_exhaustive()
    }
}

impl NodeClock {
    /// The machine's clock with the offset of the founding record, until there is a main line.
    pub(crate) fn new(base: Arc<dyn Clock>, founded_offset_ms: i64) -> Self {
        Self {
            base,
            founded_offset_ms,
            main: Arc::default(),
        }
    }

    /// The machine's clock.
    pub(crate) fn base(&self) -> &Arc<dyn Clock> {
        &self.base
    }

    /// From now on the offset is this main line's.
    pub(crate) fn follow(&self, main: Arc<Shared>) {
        *self.main.write().unwrap_or_else(PoisonError::into_inner) = Some(main);
    }
}

impl Clock for NodeClock {
    fn now(&self) -> UnixMs {
        let main = self.main.read().unwrap_or_else(PoisonError::into_inner);
        let state = main.as_ref().map(|shared| shared.state());
        let offset_ms = state
            .filter(|state| state.founding().is_some())
            .map_or(self.founded_offset_ms, |state| {
                state.header().clock_offset_ms
            });
        UnixMs(self.base.now().0.saturating_add_signed(offset_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_clock_moves_with_its_clones() {
        let clock = OffsetClock::default();
        let other = clock.clone();
        let saturday = UnixMs(1_686_391_200_000);
        clock.set_now(saturday);
        assert!(other.now().since(saturday) < 60_000);
        assert!(saturday.since(other.now()) == 0);
        other.set_offset_ms(0);
        assert_eq!(clock.offset_ms(), 0);
    }
}
