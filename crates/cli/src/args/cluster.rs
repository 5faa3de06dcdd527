//! Flags of `init`, `serve`, `demo`, `status` and `doctor`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Connection, duration};

/// Flags of `init`.
#[derive(Debug, Clone, Args)]
pub struct Init {
    /// The folder to write; it must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The cluster's name, for people.
    #[arg(long, default_value = "tidemark")]
    pub title: String,
    /// The centre that is primary at first.
    #[arg(long, default_value = "east")]
    pub primary: String,
    /// The other centre.
    #[arg(long, default_value = "west")]
    pub secondary: String,
    /// There is one centre, the primary, and no other to go on at when it is lost.
    #[arg(long, conflicts_with = "secondary")]
    pub single_centre: bool,
    /// Nodes in each centre.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=7))]
    pub nodes: u16,
    /// The address that all nodes listen on, or one for each node: the primary's first.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1")]
    pub host: Vec<IpAddr>,
    /// The first of a node's four ports. The same at every node with an address for each (R4);
    /// with one for all, the next node begins ten later.
    #[arg(long, default_value_t = 7010)]
    pub port: u16,
    /// Also answer load balancers in plain HTTP, at the port after a node's four. Whoever reaches
    /// it may ask.
    #[arg(long)]
    pub health: bool,
    /// Also give figures to a monitoring system in plain HTTP, at the port after that. Whoever
    /// reaches it may ask.
    #[arg(long)]
    pub metrics: bool,
    /// The name that clients call both centres by.
    #[arg(long, default_value = "www.ccass.com")]
    pub server_name: String,
    /// The first operators.
    #[arg(long, value_delimiter = ',', default_value = "alice,bob")]
    pub operators: Vec<String>,
    /// The first front ends.
    #[arg(long, value_delimiter = ',', default_value = "web-1")]
    pub front_ends: Vec<String>,
    /// The first back ends.
    #[arg(long, value_delimiter = ',', default_value = "ccms-1")]
    pub back_ends: Vec<String>,
    /// The timetable file to begin with.
    #[arg(long, value_name = "FILE")]
    pub timetable: Option<PathBuf>,
    /// The holidays file to begin with.
    #[arg(long, value_name = "FILE")]
    pub holidays: Option<PathBuf>,
    /// Found a cluster for drills, whose clock operators set: it begins at this local time, such
    /// as 2023-06-10T17:55. Such a cluster can never serve in earnest.
    #[arg(long, value_name = "TIME")]
    pub simulated_clock: Option<jiff::civil::DateTime>,
}

/// Flags of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// The node's configuration.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Flags of `demo`.
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// Where the nodes keep their data; a temporary folder if not said.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the evidence report goes.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// The drill to play.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "deploy/drills/annex-1.toml"
    )]
    pub drill: PathBuf,
    /// Leave the cluster up afterwards, and print how to go on with it.
    #[arg(long)]
    pub keep: bool,
}

/// Flags of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct Doctor {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `status`.
#[derive(Debug, Clone, Args)]
pub struct Status {
    /// Also show each node's lines; JSON always has them.
    #[arg(long)]
    pub nodes: bool,
    /// Look again and again, until ctrl-c: in place at a terminal, else one block below the other,
    /// or one JSON document a line. Ends with the exit code of the last look.
    #[arg(long)]
    pub watch: bool,
    /// Pause between two looks.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration, requires = "watch")]
    pub interval: Duration,
    /// End after so many looks.
    #[arg(long, value_name = "NUMBER", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}
