//! Flags of `participant`, of its verbs about one participant.

use clap::{Args, Subcommand};

use super::{Change, Confirm, Connection};

/// Acts on one participant.
#[derive(Debug, Clone, Subcommand)]
pub enum Firm {
    /// Show one participant.
    Show(Show),
    /// Enter a participant.
    Create(Named),
    /// Give a participant another name.
    Rename(Named),
    /// Shut a participant's people out and end their tokens, at once.
    Suspend(Suspend),
    /// Say that a suspended participant's people may log in again; it takes two operators.
    Resume(Seen),
    /// Say that a participant goes for good, with all its accounts; it takes two operators.
    Delete(Delete),
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

/// Flags of `participant suspend`.
#[derive(Debug, Clone, Args)]
pub struct Suspend {
    /// On the main line, where it stays, even while a session is on a branch; the other one is
    /// where people are logging in.
    #[arg(long)]
    pub main_line: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub of: Seen,
}

/// One participant, and nothing more to say.
#[derive(Debug, Clone, Args)]
pub struct Seen {
    /// Its id.
    pub participant: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// Flags of `participant delete`.
#[derive(Debug, Clone, Args)]
pub struct Delete {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub of: Seen,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub confirm: Confirm,
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
