//! Flags of `key`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{Change, Confirm, Connection, MaybeConnection, duration};

/// Acts on keys: of key files, and of the cluster that uses them.
#[derive(Debug, Clone, Subcommand)]
pub enum Key {
    /// Show the cluster's keys and what still uses them, or what a key file holds.
    List(List),
    /// Add a new key to a key file. No node is asked.
    Add(Add),
    /// Tell the cluster of a new key: each node proves that it holds it.
    Announce(Act),
    /// Use a key from now on; refused until every node of both centres proved it.
    Use(Act),
    /// Show how far the values of older keys are sealed anew, until all are.
    Reseal(Reseal),
    /// Retire a key that nothing uses.
    Retire(Retire),
}

/// Flags of `key list`.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// A key file, `keys.toml`, in place of the cluster; no node is asked.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: MaybeConnection,
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Purpose {
    /// Sealing passwords' verifiers, seeds and codes.
    Seal,
    /// Digests of unknown user ids, and signatures of checkpoints.
    Digest,
}

/// Flags of `key add`.
#[derive(Debug, Clone, Args)]
pub struct Add {
    /// The key file, `keys.toml`.
    pub file: PathBuf,
    /// What the key is for.
    #[arg(long, value_enum, default_value = "seal")]
    pub purpose: Purpose,
    /// Its id; one above the greatest in the file if not said.
    #[arg(long, value_name = "ID")]
    pub id: Option<u32>,
    /// Check everything, say what would be done, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Flags of `key announce` and `key use`.
#[derive(Debug, Clone, Args)]
pub struct Act {
    /// The key's id.
    pub key: u32,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// Flags of `key reseal`.
#[derive(Debug, Clone, Args)]
pub struct Reseal {
    /// Say how far it is, and do not wait.
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait until all are.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub within: Duration,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `key retire`.
#[derive(Debug, Clone, Args)]
pub struct Retire {
    /// The key's id.
    pub key: u32,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub confirm: Confirm,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}
