//! Flags of `audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use credential::checkpoint::PublicKey;

use super::{Connection, MaybeConnection};

/// Acts on the audit trail.
#[derive(Debug, Clone, Subcommand)]
pub enum Audit {
    /// Check a trail: its chain at a node, or an exported file with its signatures.
    Verify(Verify),
    /// Write a trail to a file that anybody can check who has the public key.
    Export(Export),
    /// List events, oldest first.
    List(List),
    /// Tell events as they happen, until interrupted.
    Watch(Watch),
}

/// Flags of `audit verify`.
#[derive(Debug, Clone, Args)]
pub struct Verify {
    /// An exported trail to check without asking a node; needs no profile.
    pub file: Option<PathBuf>,
    /// A public key whose signatures are believed; `tidemark key list` prints it.
    #[arg(long = "key", value_name = "HEX")]
    pub keys: Vec<PublicKey>,
    /// `main`, the session whose branch is meant, or `reads` for what was read at the node.
    #[arg(long, default_value = "main")]
    pub line: String,
    /// Compare the trails of all nodes, not only one.
    #[arg(long, conflicts_with = "file")]
    pub all_nodes: bool,
    /// The hash that the last row must have, as evidence or another node tells it.
    #[arg(long, value_name = "HASH")]
    pub head: Option<domain::Digest>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: MaybeConnection,
}

/// Flags of `audit export`.
#[derive(Debug, Clone, Args)]
pub struct Export {
    /// `main`, the session whose branch is meant, or `reads` for what was read at the node.
    #[arg(long, default_value = "main")]
    pub line: String,
    /// The file to write.
    pub file: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Which events.
#[derive(Debug, Clone, Args)]
pub struct Filter {
    /// About this account alone: a user id.
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
    /// About accounts of this participant alone.
    #[arg(long, value_name = "ID")]
    pub participant: Option<String>,
    /// Of these kinds alone, such as `PasswordChanged`.
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
    pub kinds: Vec<String>,
    /// In this online session alone.
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
}

/// Flags of `audit list`.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// `main`, the session whose branch is meant, `reads` for what was read at the node, or the
    /// name of what was dropped of an old primary.
    #[arg(long, default_value = "main")]
    pub line: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub filter: Filter,
    /// At this time or later: `2023-06-10 18:00` in Hong Kong.
    #[arg(long, value_name = "TIME", value_parser = local)]
    pub from: Option<domain::UnixMs>,
    /// Before this time.
    #[arg(long, value_name = "TIME", value_parser = local)]
    pub until: Option<domain::UnixMs>,
    /// At most so many.
    #[arg(long, default_value_t = 1_000)]
    pub limit: usize,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `audit watch`.
#[derive(Debug, Clone, Args)]
pub struct Watch {
    /// `main`, a session or `reads`; the main line and whatever branch runs if not said.
    #[arg(long)]
    pub line: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub filter: Filter,
    /// Go on at a position that an earlier watch printed.
    #[arg(long, value_name = "POSITION")]
    pub position: Option<String>,
    /// Begin with the first event, not with the next one.
    #[arg(long, conflicts_with = "position")]
    pub from_start: bool,
    /// End after so many events.
    #[arg(long, value_name = "COUNT")]
    pub count: Option<usize>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Reads a local time.
fn local(text: &str) -> Result<domain::UnixMs, String> {
    let wrong = || format!("\"{text}\" is no time: write it as 2023-06-10 18:00");
    let (day, time) = text.split_once([' ', 'T']).ok_or_else(wrong)?;
    let day: domain::calendar::Day = day.parse().map_err(|_| wrong())?;
    day.at(time.parse().map_err(|_| wrong())?).ok_or_else(wrong)
}
