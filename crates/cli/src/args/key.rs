//! Flags of `key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Acts on key files.
#[derive(Debug, Clone, Subcommand)]
pub enum Key {
    /// Show a key file's keys without their secrets, and the public keys of its checkpoints.
    List(List),
}

/// Flags of `key list`.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// The key file of a node, `keys.toml`.
    pub file: PathBuf,
}
