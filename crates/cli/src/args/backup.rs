//! Flags of `backup`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Change, Connection};

/// Acts on backups.
#[derive(Debug, Clone, Subcommand)]
pub enum Backup {
    /// Take a backup of the main line, while it goes on.
    Take(Take),
    /// Check a backup without asking anybody: with the key file, all of it.
    Verify(Verify),
    /// Show what a backup says that it is of. Nothing is proved.
    Show(Show),
    /// Found a new cluster that begins with a backup. Nodes of the old one can never join it.
    Restore(Restore),
}

/// Flags of `backup take`.
#[derive(Debug, Clone, Args)]
pub struct Take {
    /// The file to write. One that is there is never written over.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// Flags of `backup verify`.
#[derive(Debug, Clone, Args)]
pub struct Verify {
    /// The backup.
    pub file: PathBuf,
    /// The key file of the cluster, to open the seal; without it only the checksum is compared.
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
}

/// Flags of `backup show`.
#[derive(Debug, Clone, Args)]
pub struct Show {
    /// The backup.
    pub file: PathBuf,
}

/// Flags of `backup restore`. What is not said is as in the backup.
#[derive(Debug, Clone, Args)]
pub struct Restore {
    /// The backup.
    pub file: PathBuf,
    /// The key file of the cluster that it is of. The new cluster goes on with the same keys.
    #[arg(long, value_name = "FILE")]
    pub keys: PathBuf,
    /// The folder of the new cluster, as `tidemark init` writes it; it must not exist.
    #[arg(long, value_name = "DIR")]
    pub init: PathBuf,
    /// Who restores: one of the new cluster's operators.
    #[arg(long, value_name = "NAME")]
    pub by: String,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The cluster's name, for people.
    #[arg(long)]
    pub title: Option<String>,
    /// The centre that is primary at first: one of the backup's two.
    #[arg(long, value_name = "CENTRE")]
    pub primary: Option<String>,
    /// Nodes in each centre.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=7))]
    pub nodes: u16,
    /// The address that all nodes listen on, or one for each node: the primary's first.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1")]
    pub host: Vec<IpAddr>,
    /// The first of a node's four ports, as of `tidemark init`.
    #[arg(long, default_value_t = 7010)]
    pub port: u16,
    /// Also answer load balancers in plain HTTP, as of `tidemark init`.
    #[arg(long)]
    pub health: bool,
    /// Also give figures to a monitoring system in plain HTTP, as of `tidemark init`.
    #[arg(long)]
    pub metrics: bool,
    /// The name that clients call both centres by.
    #[arg(long, default_value = "www.ccass.com")]
    pub server_name: String,
    /// The operators, each of whom gets a new certificate.
    #[arg(long, value_delimiter = ',')]
    pub operators: Vec<String>,
    /// The front ends, each of which gets a new certificate.
    #[arg(long, value_delimiter = ',')]
    pub front_ends: Vec<String>,
    /// The back ends, each of which gets a new certificate.
    #[arg(long, value_delimiter = ',')]
    pub back_ends: Vec<String>,
    /// The trust anchors (PEM) of people's smartcards; without them no card of the old cluster is
    /// believed.
    #[arg(long, value_name = "FILE")]
    pub card_anchors: Option<PathBuf>,
    /// Of a backup of a cluster for drills: where its clock goes on, such as 2023-06-10T17:55; at
    /// the backup's time if not said.
    #[arg(long, value_name = "TIME")]
    pub simulated_clock: Option<jiff::civil::DateTime>,
    /// Check everything, say what would be done, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}
