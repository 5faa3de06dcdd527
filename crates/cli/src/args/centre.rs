//! Flags of `centre`.

use clap::{Args, Subcommand};
use domain::promotion::Loss;

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
    /// The loss that is accepted, by name: 0, at most so many entries of the log, or unknown.
    #[arg(long, value_name = "0|NUMBER|unknown", value_parser = accepted_loss)]
    pub accept_loss: Option<Loss>,
    /// Go on even if the old primary cannot be shown to have stopped: both may serve then.
    #[arg(long)]
    pub accept_split_brain: bool,
    /// Seal and look, then take the seals back: nothing that stays is changed.
    #[arg(long)]
    pub dry_run: bool,
    /// End with 0, not 8, when the centre is the primary already.
    #[arg(long)]
    pub ok_if_done: bool,
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

fn accepted_loss(text: &str) -> Result<Loss, String> {
    match text {
        "0" => Ok(Loss::None),
        "unknown" => Ok(Loss::Unknown),
        entries => entries
            .parse()
            .map(Loss::AtMost)
            .map_err(|_| format!("\"{text}\" is no loss: 0, a number of entries, or unknown")),
    }
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
