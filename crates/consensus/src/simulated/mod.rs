//! What a node stands on in a simulation: one thread, chance from a seed, disks in memory that
//! forget what was not synced. In builds with the cfg `simulation` alone (docs/reliability.md).
//!
//! Deliberately absent: the network and the time, which are turmoil's, and what goes wrong when,
//! which is the `simulation` crate's.

pub mod dice;
pub mod files;
pub(crate) mod rows;
mod runtime;

pub use runtime::Runtime;
