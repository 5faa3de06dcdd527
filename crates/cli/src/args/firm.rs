//! Flags of `participant`, of its verbs about one participant.

use clap::{Args, Subcommand};

use super::{Change, Connection};

/// Acts on one participant.
#[derive(Debug, Clone, Subcommand)]
pub enum Firm {
    /// Show one participant.
    Show(Show),
    /// Enter a participant.
    Create(Named),
    /// Give a participant another name.
    Rename(Named),
}

/// Flags of `participant show`.
#[derive(Debug, Clone, Args)]
pub struct Show {
    /// Its id.
    pub participant: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `participant create` and `participant rename`.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Its id.
    pub participant: String,
    /// The firm's name.
    pub title: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}
