//! Chance, all of it from one seed. A process simulates one seed, in one thread.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// Begins anew from this seed.
pub fn seed(seed: u64) {
    STATE.set(seed);
}

/// The next number (SplitMix64).
pub fn draw() -> u64 {
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number from 0 up to but not including `end`; 0 when there is none.
pub fn below(end: u64) -> u64 {
    draw().checked_rem(end).unwrap_or(0)
}

/// A number from `first` to `last`, both included.
pub fn between(first: u64, last: u64) -> u64 {
    first + below(last.saturating_sub(first) + 1)
}

/// Whether it happens that happens once in `times`.
pub fn once_in(times: u64) -> bool {
    below(times) == 0
}
