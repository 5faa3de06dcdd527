//! Lines: agree on envelopes, keep them on disk, fork, close, roll over.
//!
//! A `Line` is a Raft group, its storage and its state. What is deliberately absent: any rule about
//! accounts (that is `domain::apply`), and any credential.

pub mod audit;
pub mod base;
mod blocking;
mod boundary;
mod branch;
pub mod clock;
pub mod clockwatch;
mod digests;
pub mod dropped;
mod duties;
pub mod export;
pub mod facts;
mod fetch;
pub mod files;
pub mod follow;
pub mod frame;
pub mod genesis;
pub mod identity;
pub mod image;
mod join;
pub mod line;
pub mod machine;
pub mod mailed;
pub mod members;
mod network;
pub mod node;
mod pace;
pub mod peers;
pub mod place;
pub mod promotion;
pub mod propose;
mod protection;
pub mod raft;
mod read;
mod seen;
pub mod service;
#[cfg(simulation)]
pub mod simulated;
pub mod snapshot;
pub mod standing;
mod status;
pub mod store;
mod switchover;
mod trails;
mod transfer;
pub mod unplanned;
pub mod versions;
pub mod wire;

pub use line::Line;
pub use node::Node;
pub use propose::Proposal;
#[cfg(test)]
mod sample;
