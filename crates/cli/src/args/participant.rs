//! Flags of `participant`.

use clap::{Args, Subcommand};

use super::{Change, Connection};

/// Acts on participants.
#[derive(Debug, Clone, Subcommand)]
pub enum Participant {
    /// List participants, with what they are enrolled for.
    List(List),
    /// Enrol a participant for a session, or take that back.
    Enrol(Enrol),
    /// What is done to one participant.
    #[command(flatten)]
    Firm(super::firm::Firm),
}

/// Flags of `participant list`.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// In this state alone.
    #[arg(long, value_enum)]
    pub state: Option<State>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Whether a participant's people may log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum State {
    /// They may.
    Active,
    /// Shut by an operator.
    Suspended,
    /// Gone for good.
    Deleted,
}

/// Flags of `participant enrol`.
#[derive(Debug, Clone, Args)]
pub struct Enrol {
    /// The participant's id.
    pub participant: String,
    /// The session's id.
    pub session: String,
    /// Take the enrolment back.
    #[arg(long)]
    pub withdraw: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}
