//! Lines: agree on envelopes, keep them on disk, fork, close, roll over.
//!
//! A `Line` is a Raft group, its storage and its state. What is deliberately absent: any rule about
//! accounts (that is `domain::apply`), and any credential.

pub mod audit;
pub mod clock;
mod digests;
pub mod export;
pub mod frame;
pub mod genesis;
pub mod image;
pub mod machine;
pub mod place;
pub mod raft;
pub mod snapshot;
pub mod store;
