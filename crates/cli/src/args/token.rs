//! Flags of `token`.

use clap::{Args, Subcommand};

use super::{Change, Connection};

/// Acts on people's live tokens, which are named by their digests. No verb prints a token.
#[derive(Debug, Clone, Subcommand)]
pub enum Token {
    /// List an account's live tokens.
    List(List),
    /// Show what a token is that somebody sent in: it is typed without being shown, or read from
    /// stdin, and only its digest leaves this machine.
    Introspect(Introspect),
    /// End one or all of an account's tokens, at once.
    End(End),
    /// Tell each token that ends, until interrupted.
    Watch(Watch),
}

/// Flags of `token list`.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// The account's user id, or its resource name.
    pub account: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `token introspect`.
#[derive(Debug, Clone, Args)]
pub struct Introspect {
    /// The token's digest, where it is known, in place of the token.
    #[arg(long, value_name = "HEX")]
    pub digest: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `token end`.
#[derive(Debug, Clone, Args)]
pub struct End {
    /// The account's user id, or its resource name.
    pub account: String,
    /// The digest of the one to end.
    #[arg(long, value_name = "HEX", required_unless_present = "all")]
    pub token: Option<String>,
    /// All of them.
    #[arg(long, conflicts_with = "token")]
    pub all: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// Flags of `token watch`.
#[derive(Debug, Clone, Args)]
pub struct Watch {
    /// Where to go on after a break: the last position that was told.
    #[arg(long, value_name = "POSITION")]
    pub position: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}
