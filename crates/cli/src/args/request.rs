//! Flags of `request`.

use clap::{Args, Subcommand};

use super::{Change, Connection};

/// Acts on change requests: what gives access takes two people.
#[derive(Debug, Clone, Subcommand)]
pub enum Request {
    /// List requests, those that wait for a checker unless all are asked for.
    List(List),
    /// Show one request.
    Show(Show),
    /// Approve a request, which carries it out.
    Approve(Decide),
    /// Refuse a request; wants --reason.
    Reject(Decide),
    /// Take one's own request back.
    Withdraw(Decide),
}

/// Flags of `request list`.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// About this participant's accounts alone.
    #[arg(long, value_name = "ID")]
    pub participant: Option<String>,
    /// Those that were decided or have expired too.
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `request show`.
#[derive(Debug, Clone, Args)]
pub struct Show {
    /// The request, as it was printed when it was made.
    pub request: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of the decisions.
#[derive(Debug, Clone, Args)]
pub struct Decide {
    /// The request, as it was printed when it was made.
    pub request: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}
