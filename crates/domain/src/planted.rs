//! Planted faults: switches that a test turns on to show that it would see the fault. They exist
//! in builds with the feature `planted-faults` and of the simulation alone; elsewhere `is` is a constant.

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// The floor under TOTP steps is not raised when the line changes.
    NoTotpFloor = 1,
    /// A command of the branch is applied to the main line.
    LeakFromBranch = 2,
    /// Rollover leaves the branch's accounts in place.
    SkipDiscard = 3,
    /// A node starts the branch before it has applied the boundary.
    SkipBoundaryWait = 4,
    /// A snapshot and the log before the boundary are dropped while the genesis is not durable.
    SkipGenesisPin = 5,
    /// The store answers before it has written.
    EarlyAcknowledgement = 6,
    /// The store answers what it has written and not synced.
    SkipSync = 7,
    /// A vote is kept in memory alone.
    VoteNotPersisted = 8,
}

#[cfg(any(feature = "planted-faults", simulation))]
static PLANTED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Turns a fault on for this process; none turns it off.
#[cfg(any(feature = "planted-faults", simulation))]
pub fn plant(fault: Option<Fault>) {
    PLANTED.store(
        fault.map_or(0, |fault| fault as u8),
        std::sync::atomic::Ordering::SeqCst,
    );
}

/// Whether the fault is on.
#[must_use]
#[cfg(any(feature = "planted-faults", simulation))]
pub fn is(fault: Fault) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::SeqCst) == fault as u8
}

/// Whether the fault is on: never, in this build.
#[must_use]
#[cfg(not(any(feature = "planted-faults", simulation)))]
pub const fn is(_fault: Fault) -> bool {
    false
}
