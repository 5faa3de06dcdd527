//! Flags of `certificate`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Acts on certificates; no node is asked.
#[derive(Debug, Clone, Subcommand)]
pub enum Certificate {
    /// Issue a caller's certificate, with the authorities of the founding folder.
    Issue(Issue),
}

/// Flags of `certificate issue`.
#[derive(Debug, Clone, Args)]
pub struct Issue {
    /// Role and id: `operator/carol`, `front-end/web-3`, `back-end/core-2` or `script/saturday`.
    pub caller: String,
    /// The folder that `tidemark init` wrote, with `ca/` in it.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// For how many days it is valid.
    #[arg(long, value_name = "NUMBER", default_value_t = 365)]
    pub days: u16,
    /// Check everything and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}
