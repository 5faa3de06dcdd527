//! Flags of `policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Change, Connection};

/// Acts on the policy.
#[derive(Debug, Clone, Subcommand)]
pub enum Policy {
    /// Print the policy in force as the file that would set it.
    Show(Show),
    /// Set the policy from a file.
    Set(Set),
}

/// Flags of `policy show`.
#[derive(Debug, Clone, Args)]
pub struct Show {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `policy set`.
#[derive(Debug, Clone, Args)]
pub struct Set {
    /// Every setting, as TOML.
    pub file: PathBuf,
    /// Only if the policy in force is still this one, by its etag.
    #[arg(long, value_name = "ETAG")]
    pub etag: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}
