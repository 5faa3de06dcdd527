//! Flags of `log`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Connection;

/// Acts on a line's log.
#[derive(Debug, Clone, Subcommand)]
pub enum Log {
    /// Write a line's log to a file.
    Export(Export),
    /// Apply an exported log from nothing, and print the digests of the state that it gives.
    Replay(Replay),
}

/// Flags of `log export`.
#[derive(Debug, Clone, Args)]
pub struct Export {
    /// `main`, or the session whose branch is meant.
    #[arg(long, default_value = "main")]
    pub line: String,
    /// The file to write.
    pub file: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `log replay`.
#[derive(Debug, Clone, Args)]
pub struct Replay {
    /// The exported log.
    pub file: PathBuf,
    /// Of a cluster that was restored from a backup: `restored.image` of a node's folder, which the
    /// line began with.
    #[arg(long, value_name = "FILE")]
    pub restored_from: Option<PathBuf>,
}
