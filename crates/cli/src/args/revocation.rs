//! Flags of `revocation`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Change, Connection};

/// Acts on the revocation list of smartcards.
#[derive(Debug, Clone, Subcommand)]
pub enum Revocation {
    /// Show the list that is held: its number, its times, and until when it is relied on.
    Show(Show),
    /// Put a newer list in its place; on the branch too, while a session is on one.
    #[command(visible_alias = "load")]
    Set(Set),
}

/// Flags of `revocation show`.
#[derive(Debug, Clone, Args)]
pub struct Show {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `revocation set`.
#[derive(Debug, Clone, Args)]
pub struct Set {
    /// The list as the card authority publishes it, DER or PEM.
    pub list: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}
