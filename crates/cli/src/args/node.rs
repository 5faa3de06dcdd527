//! Flags of `node`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use domain::CentreName;

use super::{Change, Confirm, Connection};

/// Acts on the nodes of the centres.
#[derive(Debug, Clone, Subcommand)]
pub enum Node {
    /// List the nodes of both centres, and those that are gone.
    List(List),
    /// Make the folder that a node on a new machine is started from, where ca/ is; asks no node.
    Prepare(Prepare),
    /// Add a node to a centre; it takes two operators.
    Add(Add),
    /// Remove a node for good; it takes two operators.
    Remove(Remove),
    /// Replace a node whose disk is lost, at the same place; it takes two operators.
    Replace(Replace),
}

/// Flags of `node list`.
#[derive(Debug, Clone, Args)]
pub struct List {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `node prepare`.
#[derive(Debug, Clone, Args)]
pub struct Prepare {
    /// The folder that `tidemark init` wrote, with ca/ brought back from the safe.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The node's number, that no node has or had.
    #[arg(long, value_name = "N")]
    pub node: u64,
    /// Its centre.
    #[arg(long, value_name = "CENTRE")]
    pub centre: CentreName,
    /// Its address.
    #[arg(long, value_name = "IP")]
    pub host: IpAddr,
    /// The first of its four ports.
    #[arg(long, value_name = "PORT", default_value_t = 7443)]
    pub port: u16,
    /// How long its certificate is valid.
    #[arg(long, value_name = "DAYS", default_value_t = 730)]
    pub days: u32,
}

/// Flags of `node add`.
#[derive(Debug, Clone, Args)]
pub struct Add {
    /// The node's number, as in its configuration.
    #[arg(value_name = "NODE")]
    pub number: u64,
    /// Its centre.
    #[arg(long, value_name = "CENTRE")]
    pub centre: String,
    /// Host and port of its peer listener.
    #[arg(long, value_name = "HOST:PORT")]
    pub address: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// Flags of `node remove`.
#[derive(Debug, Clone, Args)]
pub struct Remove {
    /// The node.
    #[arg(value_name = "NODE")]
    pub number: u64,
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

/// Flags of `node replace`.
#[derive(Debug, Clone, Args)]
pub struct Replace {
    /// The node.
    #[arg(value_name = "NODE")]
    pub number: u64,
    /// Host and port of the new one's peer listener, if they are others.
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<String>,
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
