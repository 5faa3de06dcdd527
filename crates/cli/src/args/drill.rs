//! Flags of `drill`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Acts on drills.
#[derive(Debug, Clone, Subcommand)]
pub enum Drill {
    /// Play a drill against running nodes.
    Run(Run),
    /// Read a drill and say what is wrong with it, without playing it.
    Check(Check),
    /// Check that a report's proofs hold.
    Verify(Verify),
}

/// Flags of `drill run`.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// The drill.
    pub file: PathBuf,
    /// The profile file that `tidemark init` wrote, with front ends, back ends and operators.
    #[arg(long, env = "TIDEMARK_PROFILE", value_name = "FILE")]
    pub profile: PathBuf,
    /// Where the evidence report goes.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
}

/// Flags of `drill check`.
#[derive(Debug, Clone, Args)]
pub struct Check {
    /// The drill.
    pub file: PathBuf,
}

/// Flags of `drill verify`.
#[derive(Debug, Clone, Args)]
pub struct Verify {
    /// The report.json of a drill.
    pub report: PathBuf,
}
