//! Flags of `centre`.

use clap::{Args, Subcommand};

use super::{Change, Confirm, Connection};

/// Acts on the roles of the centres.
#[derive(Debug, Clone, Subcommand)]
pub enum Centre {
    /// Make the other centre the primary, with nothing lost.
    Switchover(Switchover),
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
