//! Flags of `caller`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Change, Connection};

/// Acts on who may call.
#[derive(Debug, Clone, Subcommand)]
pub enum Caller {
    /// List operators, front ends, back ends and scripts, retired ones too.
    List(List),
    /// Approve that the holder of a certificate be registered; it takes two operators.
    Register(Register),
    /// Take a caller's access away, at once.
    Retire(Retire),
}

/// Flags of `caller list`.
#[derive(Debug, Clone, Args)]
pub struct List {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `caller register`.
#[derive(Debug, Clone, Args)]
pub struct Register {
    /// The certificate, PEM: it says role and id, and its key is what is pinned.
    #[arg(value_name = "CERTIFICATE")]
    pub certificate: PathBuf,
    /// A portal that a front end serves; both if none is said.
    #[arg(long, value_enum)]
    pub portal: Vec<Portal>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// A portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Portal {
    /// For users.
    Ccms,
    /// For delegated administrators.
    Dms,
}

/// Flags of `caller retire`.
#[derive(Debug, Clone, Args)]
pub struct Retire {
    /// Role and id, as `caller list` shows them: `front-end/web-1`.
    pub caller: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}
