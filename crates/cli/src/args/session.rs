//! Flags of `session`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Change, Confirm, Connection};

/// Acts on online sessions.
#[derive(Debug, Clone, Subcommand)]
pub enum Session {
    /// Approve that a session be opened or given up; it takes two operators.
    Approve(Approve),
    /// Open a session: at the secondary, take the boundary and start the branch.
    Open(Open),
    /// Close a session and end its tokens.
    Close(Close),
    /// Throw the branch away, seal its evidence, and go to the next business day.
    Rollover(Rollover),
    /// Give up a session whose branch is lost, so that the next day opens.
    Abandon(Abandon),
    /// Answer items that a rollover which ran by itself had to hold.
    AnswerHolds(AnswerHolds),
    /// Show the evidence of a session.
    Report(Report),
    /// List the sessions that were opened, and the next ones.
    List(List),
    /// Show one session as it stands, with the digest of its plan.
    Show(Show),
}

/// Flags of `session approve`.
#[derive(Debug, Clone, Args)]
pub struct Approve {
    /// The session.
    pub session: String,
    /// What is approved.
    #[arg(long, value_enum, default_value_t)]
    pub act: Act,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// What is approved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Act {
    /// Opening it.
    #[default]
    Open,
    /// Giving it up.
    Abandon,
}

/// Flags of `session open`.
#[derive(Debug, Clone, Args)]
pub struct Open {
    /// The session.
    pub session: String,
    /// Open it at the secondary although the primary cannot be asked; wants --reason, and the
    /// centre's name as its confirmation.
    #[arg(long)]
    pub unplanned: bool,
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

/// Flags of `session close`.
#[derive(Debug, Clone, Args)]
pub struct Close {
    /// The session.
    pub session: String,
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

/// Flags of `session rollover`.
#[derive(Debug, Clone, Args)]
pub struct Rollover {
    /// The session.
    pub session: String,
    /// An item of the must-repeat list to do again on the main line; can be given more than once.
    #[arg(long, value_name = "ITEM")]
    pub repeat: Vec<String>,
    /// An item of the must-repeat list to leave forgotten; can be given more than once.
    #[arg(long, value_name = "ITEM")]
    pub waive: Vec<String>,
    /// Go on without the branch's audit records in both centres, and say why.
    #[arg(long, value_name = "REASON")]
    pub accept_gap: Option<String>,
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

/// Flags of `session answer-holds`.
#[derive(Debug, Clone, Args)]
pub struct AnswerHolds {
    /// The session.
    pub session: String,
    /// A held item to do again on the main line; can be given more than once.
    #[arg(long, value_name = "ITEM")]
    pub repeat: Vec<String>,
    /// A held item to leave forgotten; can be given more than once.
    #[arg(long, value_name = "ITEM")]
    pub waive: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// Flags of `session abandon`.
#[derive(Debug, Clone, Args)]
pub struct Abandon {
    /// The session.
    pub session: String,
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

/// Flags of `session report`.
#[derive(Debug, Clone, Args)]
pub struct Report {
    /// The session.
    pub session: String,
    /// Also write report.json and report.md into this folder.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `session show`.
#[derive(Debug, Clone, Args)]
pub struct Show {
    /// The session.
    pub session: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `session list`.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// Also those that are long past or far ahead.
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}
