//! Lines: agree on envelopes, keep them on disk, fork, close, roll over.
//!
//! A `Line` is a Raft group, its storage and its state. What is deliberately absent: any rule about
//! accounts (that is `domain::apply`), and any credential.

pub mod clock;
pub mod frame;
pub mod raft;
