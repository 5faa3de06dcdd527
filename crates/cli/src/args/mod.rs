//! The raw flags, as clap reads them, one file a noun. What they resolve to is another type, in
//! the verbs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::exit::Failure;
use crate::output::Format;

pub mod account;
pub mod audit;
pub mod backup;
pub mod calendar;
pub mod caller;
pub mod centre;
pub mod certificate;
pub mod cluster;
pub mod drill;
pub mod firm;
pub mod key;
pub mod log;
pub mod method;
pub mod node;
pub mod participant;
pub mod person;
pub mod policy;
pub mod request;
pub mod revocation;
pub mod script;
pub mod session;
pub mod token;

/// Two-centre identity service for clearing terminals.
#[derive(Debug, Parser)]
#[command(name = "tidemark", version, propagate_version = true)]
pub struct Tidemark {
    /// The form of the data on stdout; talk goes to stderr.
    #[arg(long, value_enum, default_value_t, global = true)]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The first word.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Found a cluster: authorities, certificates, keys and configuration for each node.
    Init(cluster::Init),
    /// Run one node.
    Serve(cluster::Serve),
    /// Play the circular's Saturday and Monday on six nodes in this process.
    Demo(cluster::Demo),
    /// Show the cluster: one verdict first.
    Status(cluster::Status),
    /// Check everything that could go wrong tonight, and say what to do about it.
    Doctor(cluster::Doctor),
    /// Play a drill from a file, or check its report.
    #[command(subcommand)]
    Drill(drill::Drill),
    /// Open, close, roll over or give up an online session.
    #[command(subcommand)]
    Session(session::Session),
    /// Make the other centre the primary.
    #[command(subcommand)]
    Centre(centre::Centre),
    /// List, add, remove or replace nodes, with another operator.
    #[command(subcommand)]
    Node(node::Node),
    /// Check, show or set the calendar.
    #[command(subcommand)]
    Calendar(calendar::Calendar),
    /// Look after accounts, import them, or see who is ready for 2FA.
    #[command(subcommand)]
    Account(account::Account),
    /// Show or change login methods and go-live, with another operator.
    #[command(subcommand)]
    Method(method::Method),
    /// List participants, or enrol them for a session.
    #[command(subcommand)]
    Participant(participant::Participant),
    /// Show or set the revocation list of smartcards.
    #[command(subcommand)]
    Revocation(revocation::Revocation),
    /// Decide what another person asked for.
    #[command(subcommand)]
    Request(request::Request),
    /// List, look up, end or watch people's tokens.
    #[command(subcommand)]
    Token(token::Token),
    /// Show or set the policy.
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Rotate the keys of the key files, or show them without their secrets.
    #[command(subcommand)]
    Key(key::Key),
    /// Take, check or restore backups.
    #[command(subcommand)]
    Backup(backup::Backup),
    /// Print the completions of a shell.
    Completions(Completions),
    /// Check, export, list or watch the audit trail.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// List, register or retire who may call.
    #[command(subcommand)]
    Caller(caller::Caller),
    /// Say which plans a script may run.
    #[command(subcommand)]
    Script(script::Script),
    /// Issue a caller's certificate in the founding folder.
    #[command(subcommand)]
    Certificate(certificate::Certificate),
    /// Export a line's log, or replay an exported one.
    #[command(subcommand)]
    Log(log::Log),
}

/// Flags of `completions`.
#[derive(Debug, Clone, Args)]
pub struct Completions {
    /// The shell.
    pub shell: clap_complete::Shell,
}

/// Which cluster to talk to, as whom.
#[derive(Debug, Clone, Args)]
pub struct Connection {
    /// The profile file that `tidemark init` wrote.
    #[arg(long, env = "TIDEMARK_PROFILE", value_name = "FILE")]
    pub profile: PathBuf,
    /// The operator or script to act as; the profile's first one if not said.
    #[arg(long = "as", value_name = "NAME")]
    pub operator: Option<String>,
    /// Ask this node and no other.
    #[arg(long, value_name = "NUMBER")]
    pub node: Option<u64>,
    /// How long to wait for an answer.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
}

/// A connection that an offline check does without.
#[derive(Debug, Clone, Args)]
pub struct MaybeConnection {
    /// The profile file that `tidemark init` wrote.
    #[arg(long, env = "TIDEMARK_PROFILE", value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// The operator or script to act as; the profile's first one if not said.
    #[arg(long = "as", value_name = "NAME")]
    pub operator: Option<String>,
    /// Ask this node and no other.
    #[arg(long, value_name = "NUMBER")]
    pub node: Option<u64>,
    /// How long to wait for an answer.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
}

impl MaybeConnection {
    /// The connection, once a node is to be asked.
    ///
    /// # Errors
    /// Wrong usage when no profile was said; `instead` is how to do without.
    pub fn get(&self, instead: &str) -> Result<Connection, Failure> {
        let profile = self.profile.clone().ok_or_else(|| {
            Failure::usage("no profile was said").next(format!("give --profile FILE, or {instead}"))
        })?;
        Ok(Connection {
            profile,
            operator: self.operator.clone(),
            node: self.node,
            timeout: self.timeout,
        })
    }
}

/// What every change takes.
#[derive(Debug, Clone, Args)]
pub struct Change {
    /// Check everything, say what would be done, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Repeat an earlier request whose outcome was unknown.
    #[arg(long, value_name = "UUIDv7")]
    pub request_id: Option<uuid::Uuid>,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// End with 0, not 8, when it is so already.
    #[arg(long)]
    pub ok_if_done: bool,
}

/// Confirmation of acts that cannot be taken back.
#[derive(Debug, Clone, Args)]
pub struct Confirm {
    /// The id of what it is about again, in place of typing it when asked.
    #[arg(long, value_name = "ID")]
    pub confirm: Option<String>,
}

/// Reads `30s`, `500ms` or `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let signed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("\"{text}\" is no time: write it as 30s, 500ms or 2m"))?;
    Duration::try_from(signed)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "the time must be greater than 0".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Tidemark::command().debug_assert();
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("30s").unwrap(), Duration::from_secs(30));
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        for bad in ["", "30", "-1s", "0s", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
