//! Flags of `calendar`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Change, Connection, MaybeConnection};

/// Acts on the calendar.
#[derive(Debug, Clone, Subcommand)]
pub enum Calendar {
    /// Say what is wrong with the calendar in force, or with a timetable file.
    Lint(Lint),
    /// Show the days and sessions to come.
    Show(Show),
    /// Set the timetable, the holidays or both from files.
    Set(Set),
}

/// Flags of `calendar lint`.
#[derive(Debug, Clone, Args)]
pub struct Lint {
    /// A timetable file to check in place of the one in force.
    #[arg(long, value_name = "FILE")]
    pub timetable: Option<PathBuf>,
    /// Check the file here, without asking a node; needs no profile.
    #[arg(long, requires = "timetable")]
    pub offline: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: MaybeConnection,
}

/// Flags of `calendar show`.
#[derive(Debug, Clone, Args)]
pub struct Show {
    /// Prints the timetable as the file that would set it, to change and set again.
    #[arg(long)]
    pub timetable: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `calendar set`.
#[derive(Debug, Clone, Args)]
pub struct Set {
    /// The timetable file; the timetable stays as it is if not said.
    #[arg(required_unless_present = "holidays")]
    pub timetable: Option<PathBuf>,
    /// The holidays file: one date a line, a name after it; the holidays stay if not said.
    #[arg(long, value_name = "FILE")]
    pub holidays: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}
