//! Flags of `script`.

use clap::{Args, Subcommand};

use super::{Change, Connection};

/// Acts on what scripts may do.
#[derive(Debug, Clone, Subcommand)]
pub enum Script {
    /// List the grants, and what waits for another operator.
    List(List),
    /// Grant a session's plan to a script; another operator approves it.
    Grant(Grant),
    /// Approve a grant that waits.
    Approve(Named),
    /// Take a grant back, at once.
    Withdraw(Named),
}

/// Flags of `script list`.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// Of this script alone.
    #[arg(long, value_name = "SCRIPT")]
    pub script: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `script grant`.
#[derive(Debug, Clone, Args)]
pub struct Grant {
    /// The script.
    pub script: String,
    /// The session whose plan, as it is now, the script may run.
    pub session: String,
    /// What it may do; can be given more than once.
    #[arg(long = "act", value_enum, required = true)]
    pub acts: Vec<Act>,
    /// From when on, as `2023-06-10 20:00`.
    #[arg(long, value_name = "TIME")]
    pub from: String,
    /// Until when, at most 31 days ahead.
    #[arg(long, value_name = "TIME")]
    pub until: String,
    /// How many acts it may carry out in all; as many as acts are named if not said.
    #[arg(long, value_name = "NUMBER")]
    pub runs: Option<u32>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// What a script can be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Act {
    /// Opening the session.
    Open,
    /// Closing it.
    Close,
    /// Rolling it over, where nothing wants an answer.
    Rollover,
    /// Opening it although the primary cannot be asked.
    OpenUnplanned,
    /// Moving the primary's role to the other centre, either way.
    Switchover,
}

/// Flags of `script approve` and `script withdraw`.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// The grant, as `script list` names it; its first digits are enough if no other begins so.
    pub grant: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}
