//! What the log carries: a command, with who asked, when, and on which line.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{BackEndId, FrontEndId, NodeId, OperatorId, ScriptId};
use crate::line::LineId;
use crate::time::UnixMs;
use crate::{
    account, approval, calendar, centre, change, change_request, cluster, initiation, login,
    notice, policy, request, session, token,
};
use crate::{
    keys, migration, participant, promotion, protection, registration, revocation, script,
};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Actor {
    /// A registered front end, for a person or about to find out for whom.
    FrontEnd(FrontEndId),
    /// A registered back end.
    BackEnd(BackEndId),
    /// An operator.
    Operator(OperatorId),
    /// A node, following the timetable.
    Node(NodeId),
    /// A script, within what two operators granted it.
    Script(ScriptId),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrontEnd(id) => write!(f, "front-end/{id}"),
            Self::BackEnd(id) => write!(f, "back-end/{id}"),
            Self::Operator(id) => write!(f, "operator/{id}"),
            Self::Node(id) => write!(f, "node/{id}"),
            Self::Script(id) => write!(f, "script/{id}"),
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The cluster: founding, clock.
    Cluster(cluster::Command),
    /// The plan of a session.
    Session(session::Command),
    /// A new calendar.
    SetCalendar(Box<calendar::Calendar>),
    /// A new policy.
    SetPolicy {
        /// What it will be.
        policy: policy::Policy,
        /// The digest of the one that the caller saw, if no other may be replaced.
        seen: Option<Digest>,
    },
    /// Accounts, by administrators.
    Account(account::Command),
    /// A firm as a whole, by operators.
    Participant(participant::Command),
    /// Change requests.
    ChangeRequest(change_request::Command),
    /// Go-live, methods, enrolment.
    Migration(migration::Command),
    /// A newer revocation list of smartcards.
    SetRevocationList(Box<revocation::List>),
    /// Logins.
    Login(login::Command),
    /// Tokens.
    Token(token::Command),
    /// Initiations.
    Initiation(initiation::Command),
    /// A person's own factors.
    Change(change::Command),
    /// Notices, by the node that mails them.
    Notice(notice::Command),
    /// Who may call.
    Registration(registration::Command),
    /// What scripts may do.
    Script(script::Command),
    /// Any of these with an operator's signed approval.
    Signed(Box<approval::Signed>),
    /// The keys of the key files.
    Keys(keys::Command),
    /// What answers wait for, by the node that leads.
    Protection(protection::Command),
    /// The roles of the centres.
    Centre(centre::Command),
    /// A new main line begins with a certificate.
    Promote(Box<promotion::Begin>),
}

impl Command {
    /// The method's name in request records.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::Cluster(cluster::Command::Found(_)) => "Found",
            Self::Cluster(cluster::Command::AdvanceClock { .. }) => "AdvanceClock",
            Self::Cluster(cluster::Command::BackUp { .. }) => "BackUp",
            Self::Cluster(cluster::Command::RaiseRules { .. }) => "RaiseRules",
            Self::Session(command) => command.method(),
            Self::SetCalendar(_) => "SetCalendar",
            Self::SetPolicy { .. } => "SetPolicy",
            Self::Account(command) => match command {
                account::Command::ApproveImport { .. } => "ApproveImport",
                account::Command::Import { .. } => "Import",
                account::Command::Suspend { .. } => "Suspend",
                account::Command::RevokeOtp { .. } => "RevokeOtp",
                account::Command::RevokeCard { .. } => "RevokeCard",
                account::Command::DisableMethod { .. } => "DisableMethod",
                account::Command::SetTitle { .. } => "SetTitle",
                account::Command::SetParticipant { .. } => "SetParticipant",
                account::Command::IssueActivationCode { .. } => "IssueActivationCode",
                account::Command::EndTokens { .. } => "EndTokens",
                account::Command::Review { .. } => "ReviewAct",
            },
            Self::Participant(command) => command.method(),
            Self::ChangeRequest(command) => command.method(),
            Self::Migration(command) => command.method(),
            Self::SetRevocationList(_) => "SetRevocationList",
            Self::Login(command) => match command {
                login::Command::Begin { .. } => "BeginLogin",
                login::Command::Resend { .. } => "ResendCode",
                login::Command::Verify { .. } => "VerifyFactor",
                login::Command::Unheard { .. } => "Unheard",
                login::Command::Rehash { .. } => "Rehash",
            },
            Self::Notice(command) => command.method(),
            Self::Registration(command) => command.method(),
            Self::Script(command) => command.method(),
            Self::Signed(signed) => signed.command.method(),
            Self::Keys(command) => command.method(),
            Self::Protection(command) => command.method(),
            Self::Centre(command) => command.method(),
            Self::Promote(_) => "Promote",
            Self::Token(command) => match command {
                token::Command::End { .. } => "EndToken",
                token::Command::Touch { .. } => "TouchToken",
            },
            Self::Initiation(command) => match command {
                initiation::Command::Request { .. } => "RequestActivation",
                initiation::Command::Begin { .. } => "BeginInitiation",
                initiation::Command::Confirm { .. } => "ConfirmInitiation",
            },
            Self::Change(command) => match command {
                change::Command::Password { .. } => "ChangePassword",
                change::Command::BeginStepUp { .. } => "BeginStepUp",
                change::Command::VerifyStepUp { .. } => "VerifyStepUp",
                change::Command::BeginReplacement { .. } => "BeginReplaceChannel",
                change::Command::ConfirmReplacement { .. } => "ConfirmReplaceChannel",
            },
        }
    }
}

/// An entry of a line's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// When, by the leader's clock.
    pub at: UnixMs,
    /// Who.
    pub actor: Actor,
    /// The line that it was meant for.
    pub line: LineId,
    /// The request, if its caller may repeat it.
    pub request: Option<request::Key>,
    /// What.
    pub command: Command,
}
