//! Flags of `account`, of its verbs about one account.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Change, Confirm, Connection};

/// Acts on one account, or a list of them. What takes access away is done at once; what gives
/// access makes a change request, which another operator approves.
#[derive(Debug, Clone, Subcommand)]
pub enum Act {
    /// Show one account.
    Show(Show),
    /// List accounts.
    List(List),
    /// Shut an account and end its tokens, at once.
    Suspend(Suspend),
    /// Take an account's card away and end its tokens, at once.
    RevokeCard(On),
    /// End every token of an account, at once.
    EndTokens(On),
    /// Show the second half of an activation code, once, to pass on by voice.
    IssueCode(On),
    /// Give the person of an account another name.
    Rename(Rename),
    /// Ask for a new account.
    Create(Create),
    /// Ask that a card be registered, in the place of the one that is there.
    RegisterCard(RegisterCard),
    /// Ask that a suspended account may log in again.
    Resume(On),
    /// Ask that failures be forgotten, so that a locked account may log in again.
    Unlock(Unlock),
    /// Ask for another registered e-mail address, or the first one.
    SetEmail(SetEmail),
    /// Ask that the OTP password be set anew; the channel stays.
    ResetPassword(On),
    /// Ask that the channel be set up anew; the OTP password stays.
    ResetChannel(On),
    /// Ask for both: the account is to be initiated again.
    Reset(On),
    /// Ask that an account go for good; its id is never used again.
    Delete(Delete),
}

/// Flags of `account show`.
#[derive(Debug, Clone, Args)]
pub struct Show {
    /// Its user id, or its resource name.
    pub account: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Flags of `account list`.
#[derive(Debug, Clone, Args)]
pub struct List {
    /// Of this participant alone.
    #[arg(long, value_name = "ID")]
    pub participant: Option<String>,
    /// Of this class alone.
    #[arg(long, value_enum)]
    pub class: Option<Class>,
    /// In this status alone.
    #[arg(long, value_enum)]
    pub status: Option<Status>,
    /// At this stage of the migration alone.
    #[arg(long, value_enum)]
    pub stage: Option<Stage>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
}

/// Whose accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Class {
    /// Those who work in CCMS.
    User,
    /// Delegated administrators.
    Da,
}

/// Whether an account may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Status {
    /// In use.
    Active,
    /// Shut by a person.
    Suspended,
    /// Shut by failures.
    Locked,
    /// Gone for good; the id is never used again.
    Deleted,
}

/// How far an account has come on the way to 2FA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Stage {
    /// A card and no registered e-mail: it cannot initiate.
    SmartcardOnly,
    /// A registered e-mail, and not initiated.
    EmailRegistered,
    /// Initiated, and a card still.
    Initiated,
    /// Initiated, and no card.
    TwoFactorOnly,
}

/// How somebody logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Method {
    /// With the card.
    Smartcard,
    /// With the one-time password.
    Otp,
}

/// One account, and nothing more to say.
#[derive(Debug, Clone, Args)]
pub struct On {
    /// Its user id, or its resource name.
    pub account: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// Flags of `account suspend`.
#[derive(Debug, Clone, Args)]
pub struct Suspend {
    /// On the main line, where it stays, even while a session is on a branch; the other one is
    /// where people are logging in.
    #[arg(long)]
    pub main_line: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub on: On,
}

/// Flags of `account rename`.
#[derive(Debug, Clone, Args)]
pub struct Rename {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub on: On,
    /// The person's name.
    pub title: String,
}

/// Flags of `account create`.
#[derive(Debug, Clone, Args)]
pub struct Create {
    /// `participants/{p}/delegatedAdmins/{d}`, or `participants/{p}/users/{u}`.
    pub name: String,
    /// The person's name.
    #[arg(long)]
    pub title: String,
    /// The registered e-mail address.
    #[arg(long)]
    pub email: Option<String>,
    /// The number of the card, if there is one; it comes with --card-verifier-file.
    #[arg(long, requires = "card_verifier_file")]
    pub card: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub secret: CardSecret,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub connection: Connection,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub change: Change,
}

/// What goes with a card's number.
#[derive(Debug, Clone, Args)]
pub struct CardSecret {
    /// The file with the verifier of the card's first password (`$argon2id$…`), from its issuer.
    #[arg(long, value_name = "FILE", requires = "card")]
    pub card_verifier_file: Option<PathBuf>,
}

/// Flags of `account register-card`.
#[derive(Debug, Clone, Args)]
pub struct RegisterCard {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub on: On,
    /// The number of the card.
    #[arg(long)]
    pub card: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub secret: CardSecret,
}

/// Flags of `account unlock`.
#[derive(Debug, Clone, Args)]
pub struct Unlock {
    /// Which password's failures are forgotten.
    #[arg(long, value_enum)]
    pub method: Method,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub on: On,
}

/// Flags of `account set-email`.
#[derive(Debug, Clone, Args)]
pub struct SetEmail {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub on: On,
    /// The address.
    pub email: String,
}

/// Flags of `account delete`.
#[derive(Debug, Clone, Args)]
pub struct Delete {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub on: On,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub confirm: Confirm,
}
