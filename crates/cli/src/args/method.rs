//! Flags of `method`.

use clap::{Args, Subcommand, ValueEnum};

use super::{Change, Connection};

/// Acts on login methods and go-live. Two operators say the same change before it is carried out.
#[derive(Debug, Clone, Subcommand)]
pub enum Method {
    /// Show go-live, the methods of the service, and what waits for another operator.
    Show(Show),
    /// Switch a method of the service, of a participant's people or of one account. One account's
    /// goes off at once by one person, and on by a change request.
    Set(Set),
    /// Plan, approve, postpone or withdraw the day from which smartcards are refused.
    #[command(subcommand)]
    GoLive(GoLive),
}

/// Flags of `method show`.
#[derive(Debug, Clone, Args)]
pub struct Show {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// A login method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// Smartcard and the card's password.
    Smartcard,
    /// User id, password and one-time password.
    Otp,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// At once, or from the time on and off before.
    On,
    /// At once, or from the time on.
    Off,
}

/// Whose method it is.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// Everybody's; the smartcard goes off for everybody by go-live alone.
    #[arg(long)]
    pub service: bool,
    /// This participant's people's.
    #[arg(long, value_name = "ID")]
    pub participant: Option<String>,
    /// This account's: participants/P/users/U or participants/P/delegatedAdmins/D.
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
}

/// Flags of `method set`.
#[derive(Debug, Clone, Args)]
pub struct Set {
    /// Which method.
    pub method: Which,
    /// How.
    pub state: State,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub whose: Whose,
    /// From when on, in Hong Kong: "2023-06-12 00:00"; at once if not said.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// Acts on go-live.
#[derive(Debug, Clone, Subcommand)]
pub enum GoLive {
    /// Plan the day; nothing is switched on it without the regulator's approval.
    Schedule(OnDay),
    /// Note that the regulator has approved the planned day, before it begins.
    Approve(Approve),
    /// Plan another day, which wants an approval of its own.
    Postpone(OnDay),
    /// Plan no day any more; smartcards are on.
    Withdraw(Withdraw),
}

/// Flags of `method go-live schedule` and `postpone`.
#[derive(Debug, Clone, Args)]
pub struct OnDay {
    /// The day in Hong Kong, as 2023-06-12.
    pub day: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// Flags of `method go-live approve`.
#[derive(Debug, Clone, Args)]
pub struct Approve {
    /// The planned day, as 2023-06-12.
    pub day: String,
    /// The reference of the regulator's approval.
    #[arg(long, value_name = "TEXT")]
    pub reference: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// Flags of `method go-live withdraw`.
#[derive(Debug, Clone, Args)]
pub struct Withdraw {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}
