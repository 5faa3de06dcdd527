//! Flags of `audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Connection, MaybeConnection};

/// Acts on the audit trail.
#[derive(Debug, Clone, Subcommand)]
pub enum Audit {
    /// Check the chain of a line's trail, at a node or in an exported file.
    Verify(Verify),
    /// Write a line's trail to a file.
    Export(Export),
}

/// Flags of `audit verify`.
#[derive(Debug, Clone, Args)]
pub struct Verify {
    /// An exported trail to check without asking a node; needs no profile.
    pub file: Option<PathBuf>,
    /// `main`, or the session whose branch is meant.
    #[arg(long, default_value = "main")]
    pub line: String,
    /// Compare the trails of all nodes, not only one.
    #[arg(long, conflicts_with = "file")]
    pub all_nodes: bool,
    /// The hash that the last row must have, as evidence or another node tells it.
    #[arg(long, value_name = "HASH")]
    pub head: Option<domain::Digest>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: MaybeConnection,
}

/// Flags of `audit export`.
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
