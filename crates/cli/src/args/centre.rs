//! Flags of `centre`.

use clap::{Args, Subcommand};

use super::{Change, Confirm, Connection};

/// Acts on the roles of the centres.
#[derive(Debug, Clone, Subcommand)]
pub enum Centre {
    /// Make the other centre the primary, with nothing lost.
    Switchover(Switchover),
    /// Go on at this centre without the primary, with a new main line; it takes two operators.
    Promote(Promote),
    /// Take the seals of a promotion back that was not done.
    Release(Release),
    /// Bring an old primary's nodes back, wiped, as the secondary; it takes two operators.
    Reinstate(Reinstate),
}

/// Flags of `centre reinstate`.
#[derive(Debug, Clone, Args)]
pub struct Reinstate {
    /// The centre whose nodes come back.
    #[arg(long, value_name = "CENTRE")]
    pub centre: String,
    /// Write what is dropped to a file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub out: Option<std::path::PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub confirm: Confirm,
}

/// Flags of `centre promote`.
#[derive(Debug, Clone, Args)]
pub struct Promote {
    /// The centre that becomes the primary.
    #[arg(long, value_name = "CENTRE")]
    pub to: String,
    /// The loss that is accepted, by name.
    #[arg(long, value_enum, value_name = "LOSS")]
    pub accept_loss: Option<AcceptedLoss>,
    /// Go on even if the old primary cannot be shown to have stopped: both may serve then.
    #[arg(long)]
    pub accept_split_brain: bool,
    /// Why, for the certificate and the audit.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub confirm: Confirm,
}

/// How much of what the old primary answered may be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AcceptedLoss {
    /// Nothing: refused where that cannot be claimed.
    #[value(name = "0")]
    None,
    /// What nobody here can know.
    Unknown,
}

/// Flags of `centre release`.
#[derive(Debug, Clone, Args)]
pub struct Release {
    /// The centre whose nodes follow the primary again.
    #[arg(long, value_name = "CENTRE")]
    pub centre: String,
    /// Why, for the log.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `centre switchover`.
#[derive(Debug, Clone, Args)]
pub struct Switchover {
    /// The centre that becomes the primary.
    #[arg(long, value_name = "CENTRE")]
    pub to: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub confirm: Confirm,
}
