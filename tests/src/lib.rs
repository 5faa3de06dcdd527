//! Clusters for tests: six whole nodes in this process, on real sockets and real disks, with a
//! simulated clock and cheap passwords, and the people who call them. Everything goes through the
//! gRPC API; nothing here reaches into a node but to ask who leads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

pub mod administration;
pub mod backup;
pub mod cast;
pub mod client;
pub mod cluster;
pub mod giving;
pub mod import;
pub mod keys;
pub mod login;
pub mod mail;
pub mod migration;
pub mod participant;
pub mod policy;
pub mod raw;
pub mod record;
pub mod recorder;
pub mod review;
pub mod search;
pub mod session;
pub mod setup;
pub mod token;

pub use cast::Person;
pub use cluster::Cluster;
pub use login::By;
pub use recorder::Recorder;
pub use token::Token;
