//! The gRPC edge: who calls, what a person typed, and what the line answered.
//!
//! Everything slow, secret or random is settled here, before a command is proposed: passwords are
//! verdicts, codes are sealed, tokens are hashed. What is deliberately absent: any rule about
//! accounts and sessions. Those are `domain`'s, and this crate only asks.

pub mod approvals;
pub mod checkpoints;
pub mod config;
pub mod edge;
pub mod factor;
mod facts;
pub mod gate;
pub mod hashing;
pub mod health;
pub mod identity;
pub mod import;
mod keys;
pub mod listener;
pub mod mail;
pub mod node;
mod promotion;
pub mod reads;
pub mod request;
pub mod rpc;
mod shown;
pub mod status;
pub mod table;
mod unheard;
pub mod web;
pub mod wire;

pub use config::Config;
pub use node::{Error, Node, peer_name};
