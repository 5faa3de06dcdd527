//! Flags of `account`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Change, Connection};

/// Acts on accounts.
#[derive(Debug, Clone, Subcommand)]
pub enum Account {
    /// Import participants and accounts from CSV files, once two operators said the same.
    Import(Import),
    /// Show who is ready for 2FA, and which accounts cannot initiate.
    Readiness(Readiness),
    /// Remind those by mail who could set up 2FA and have not, each once a day at most.
    Remind(Remind),
    /// List what one person took away at once and nobody else has looked at.
    Reviews(Reviews),
    /// Say that a second person has looked at such an act. It undoes nothing.
    Review(Review),
    /// What is done to one account.
    #[command(flatten)]
    Person(super::person::Act),
}

/// Flags of `account import`.
#[derive(Debug, Clone, Args)]
pub struct Import {
    /// The accounts: participant,id,class,name,email,card,card_password_phc.
    pub accounts: PathBuf,
    /// The participants: participant,name.
    #[arg(long, value_name = "FILE")]
    pub participants: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// Flags of `account remind`.
#[derive(Debug, Clone, Args)]
pub struct Remind {
    /// People of this participant alone.
    #[arg(long, value_name = "ID")]
    pub participant: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// Flags of `account reviews`.
#[derive(Debug, Clone, Args)]
pub struct Reviews {
    /// About this participant and its accounts alone.
    #[arg(long, value_name = "ID")]
    pub participant: Option<String>,
    /// Those that were reviewed in the last 30 days too.
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `account review`.
#[derive(Debug, Clone, Args)]
pub struct Review {
    /// The act, by its number in the list.
    pub act: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// Flags of `account readiness`.
#[derive(Debug, Clone, Args)]
pub struct Readiness {
    /// This participant alone.
    #[arg(long, value_name = "ID")]
    pub participant: Option<String>,
    /// Each account with its stage, in place of counts.
    #[arg(long)]
    pub accounts: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}
