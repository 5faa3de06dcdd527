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
    /// Of this role alone.
    #[arg(long, value_enum)]
    pub role: Option<Role>,
    /// Leave out who was retired.
    #[arg(long)]
    pub omit_retired: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// What a caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Staff of the clearing house.
    Operator,
    /// A web server that logs people in.
    FrontEnd,
    /// A system that checks tokens.
    BackEnd,
    /// A program that runs approved plans alone.
    Script,
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
