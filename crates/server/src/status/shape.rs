//! What a status says: code, reason, message, and what goes beside them.

use std::time::Duration;

use consensus::line;
use domain::id::NodeId;
use domain::{Rejection, UnixMs};
use tonic::Code;

use super::{RETRY_SOON, Refusal, Unread, rejection};
use crate::listener::MESSAGE_BYTES_MAX;
use crate::{hashing, identity};

/// Most things of a list that a status names. It goes into the answer's headers, of which clients
/// take 16 KiB in all.
pub(super) const NAMED_MAX: usize = 20;
/// Longest text about one of them, in bytes.
const WORDS_BYTES_MAX: usize = 128;
/// Longest list of them in the message, in bytes.
const LIST_BYTES_MAX: usize = 1_024;

/// Cuts a text that is longer, and shows that it was cut.
fn shorten(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let end = text.floor_char_boundary(bytes_max);
        text.truncate(end);
        text.push('…');
    }
}

/// What goes beside the reason.
pub(super) enum Extra {
    None,
    Retry(Duration),
    Precondition(String),
    Fields(Vec<(String, String)>),
    Repeat(String),
}

pub(super) struct Shape {
    pub(super) code: Code,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) extra: Extra,
    pub(super) metadata: Vec<(&'static str, String)>,
    /// What people are shown in Traditional Chinese, if it is data and not ours.
    pub(super) chinese: Option<String>,
}

impl Shape {
    pub(super) fn new(code: Code, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            extra: Extra::None,
            metadata: Vec::new(),
            chinese: None,
        }
    }

    pub(super) fn invalid(reason: &str, field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            extra: Extra::Fields(vec![(field.to_owned(), message.clone())]),
            ..Self::new(Code::InvalidArgument, reason, message)
        }
    }

    /// The first of the problems, and how many more there are: a status goes into headers.
    pub(super) fn problems(reason: &str, mut problems: Vec<(String, String)>) -> Self {
        let more = problems.len().saturating_sub(NAMED_MAX);
        problems.truncate(NAMED_MAX);
        for (at, what) in &mut problems {
            shorten(at, WORDS_BYTES_MAX);
            shorten(what, WORDS_BYTES_MAX);
        }
        let mut message = problems
            .iter()
            .map(|(at, what)| {
                if at.is_empty() {
                    what.clone()
                } else {
                    format!("{at}: {what}")
                }
            })
            .collect::<Vec<_>>()
            .join("; ");
        shorten(&mut message, LIST_BYTES_MAX);
        if more > 0 {
            message.push_str(&format!("; and {more} more"));
        }
        Self {
            extra: Extra::Fields(problems),
            ..Self::new(Code::InvalidArgument, reason, message)
        }
    }

    pub(super) fn precondition(reason: &str, message: impl Into<String>) -> Self {
        Self {
            extra: Extra::Precondition(String::new()),
            ..Self::new(Code::FailedPrecondition, reason, message)
        }
    }

    pub(super) fn retry(
        code: Code,
        reason: &str,
        after: Duration,
        message: impl Into<String>,
    ) -> Self {
        Self {
            extra: Extra::Retry(after),
            ..Self::new(code, reason, message)
        }
    }

    pub(super) fn unknown_outcome(request_id: String) -> Self {
        Self {
            extra: Extra::Repeat(request_id),
            ..Self::new(
                Code::DeadlineExceeded,
                "OUTCOME_UNKNOWN",
                "the outcome is unknown: repeat the call with the same request_id",
            )
        }
    }

    pub(super) fn about(mut self, subject: &str) -> Self {
        self.extra = Extra::Precondition(subject.to_owned());
        self
    }

    pub(super) fn in_chinese(mut self, text: Option<String>) -> Self {
        self.chinese = text;
        self
    }

    pub(super) fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }
}

pub(super) fn of(refusal: Refusal) -> Shape {
    match refusal {
        Refusal::Rejected { rejection, clock } => rejection::of(rejection, clock),
        Refusal::CredentialsRejected => Shape::new(
            Code::Unauthenticated,
            "CREDENTIALS_REJECTED",
            "the user id, password or code is not right",
        ),
        Refusal::TokenExpired => rejection::of(Rejection::TokenEnded, UnixMs(0)),
        Refusal::Caller(error) => of_caller(&error),
        Refusal::Line(error) => of_line(error),
        Refusal::OutcomeUnknown { request_id } => Shape::unknown_outcome(request_id),
        Refusal::Hashing(error) => of_hashing(error),
        Refusal::Unread(why) => of_unread(why),
        Refusal::Malformed { field, should_be } => {
            let name = field.name();
            let reason = format!("MALFORMED_{}", name.replace('.', "_").to_ascii_uppercase());
            Shape::invalid(&reason, name, format!("{name} must be {should_be}"))
        }
        Refusal::Problems { reason, problems } => Shape::problems(reason, problems),
        Refusal::Password(refusal) => {
            use credential::rules::Refusal as Rule;
            let reason = match refusal {
                Rule::TooShort { .. } => "PASSWORD_TOO_SHORT",
                Rule::Breached => "PASSWORD_BREACHED",
                Rule::Common | Rule::UserId | Rule::ParticipantId | Rule::Email => {
                    "PASSWORD_BLOCKED"
                }
            };
            Shape::invalid(reason, "new_password", refusal.to_string())
        }
        Refusal::PasswordTooLong => Shape::invalid(
            "PASSWORD_TOO_LONG",
            "new_password",
            format!(
                "the password is too long: use at most {} characters",
                credential::secret::PASSWORD_LENGTH_MAX
            ),
        ),
        Refusal::AlreadyOpen { session } => Shape::precondition(
            "ALREADY_OPEN",
            format!("session {session} was opened already; nothing was changed"),
        )
        .about("session")
        .with("session", session),
        Refusal::CentreChanging { session } => Shape::retry(
            Code::Unavailable,
            "CENTRE_CHANGING",
            RETRY_SOON,
            format!("the branch of {session} is starting here; nothing was done, try again"),
        )
        .with("session", session),
        Refusal::NoEvidence { why } => Shape::precondition("NO_EVIDENCE", why).about("session"),
        Refusal::CheckFailed { check, text } => {
            Shape::precondition("CHECK_FAILED", format!("{text}; nothing was changed"))
                .with("check", check)
        }
        Refusal::NotPromoted { why } => {
            Shape::precondition("NOT_PROMOTED", format!("{why}; nothing was promoted"))
        }
        Refusal::NotReinstated { why } => {
            Shape::precondition("NOT_REINSTATED", format!("{why}; nothing was changed"))
        }
        Refusal::NotOpened { why } => {
            Shape::precondition("NOT_OPENED", format!("{why}; nothing was opened")).about("session")
        }
        Refusal::PrimaryAnswers { centre, nodes } => {
            let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
            Shape::precondition(
                "PRIMARY_ANSWERS",
                format!(
                    "node {} of {centre} answers: open it as planned; nothing was opened",
                    nodes.join(", ")
                ),
            )
            .about("session")
            .with("centre", centre)
        }
        Refusal::NotFenced { centre, stopped } => Shape::precondition(
            "NOT_FENCED",
            format!(
                "{stopped} nodes of {centre} said that they have stopped, no majority, and no fence \
                 hook stopped it: both might go on. Nothing was promoted, and the seals stand"
            ),
        )
        .with("centre", centre),
        Refusal::SwitchoverGivenUp { to } => Shape::precondition(
            "SWITCHOVER_GIVEN_UP",
            format!("{to} did not keep pace: the switchover was given up, and all is as before"),
        )
        .with("to", to),
        Refusal::BranchRuns { session, nodes } => Shape::precondition(
            "BRANCH_RUNS",
            format!(
                "the branch of {session} runs at node {}: close the session, or wait for its end",
                listed_nodes(&nodes)
            ),
        )
        .about("session"),
        Refusal::NotRefused {
            session,
            nodes,
            until,
        } => Shape::precondition(
            "OUTSIDE_SESSION",
            format!(
                "{session} can be given up from {until} on, or before that once a majority of its \
                 nodes refused to start its branch; refused by node {}",
                listed_nodes(&nodes)
            ),
        )
        .about("session"),
        Refusal::EtagMismatch => Shape::new(
            Code::Aborted,
            "ETAG_MISMATCH",
            "it was changed since it was read: read it again",
        ),
        Refusal::NotFound { what } => {
            Shape::new(Code::NotFound, "NOT_FOUND", format!("there is no {what}"))
        }
        Refusal::NotAllowed { why } => Shape::new(Code::PermissionDenied, "NOT_ALLOWED", why),
        Refusal::DataLoss { reason, what } => Shape::new(Code::DataLoss, reason, what),
        Refusal::Internal(_) => Shape::new(
            Code::Internal,
            "INTERNAL",
            "the service failed; the reference names the cause in its log",
        ),
    }
}

fn listed_nodes(nodes: &[NodeId]) -> String {
    if nodes.is_empty() {
        return "(none)".to_owned();
    }
    let texts: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn of_line(error: line::Error) -> Shape {
    match error {
        line::Error::NoLeader => Shape::retry(
            Code::Unavailable,
            "NO_LEADER",
            RETRY_SOON,
            "no node leads at the moment; nothing was done, try again",
        ),
        line::Error::SecondaryUnreachable => Shape::retry(
            Code::Unavailable,
            "SECONDARY_UNREACHABLE",
            RETRY_SOON,
            "the secondary centre does not confirm, and nothing is answered without it; nothing \
             was done, try again",
        ),
        line::Error::OutcomeUnknown => Shape::unknown_outcome(String::new()),
        line::Error::WrongLine { detail } => Shape::new(Code::Aborted, "LINE_CHANGED", detail),
        line::Error::ClockOff => Shape::retry(
            Code::Unavailable,
            "CLOCK_OFF",
            RETRY_SOON,
            "this node's clock is off; another node answers",
        ),
        line::Error::Stopped => Shape::retry(
            Code::Unavailable,
            "CENTRE_CHANGING",
            RETRY_SOON,
            "the line has stopped at this node; try again",
        ),
        line::Error::Storage(detail) => Shape::new(Code::DataLoss, "LOG_DAMAGED", detail),
        line::Error::TooLarge { .. } => {
            Shape::invalid("TOO_LARGE", "", "the call is too large: split it")
        }
    }
}

fn of_unread(why: Unread) -> Shape {
    match why {
        Unread::Malformed => Shape::new(
            Code::InvalidArgument,
            "MALFORMED_MESSAGE",
            "the message cannot be read as this rpc's request; nothing was changed. Compare the \
             client's protos with the service's (reflection is on the operators' listener)",
        ),
        Unread::TooLarge => Shape::new(
            Code::InvalidArgument,
            "MESSAGE_TOO_LARGE",
            format!(
                "a message has at most {MESSAGE_BYTES_MAX} bytes; nothing was changed. Send less \
                 at a time"
            ),
        )
        .with("bytes_max", MESSAGE_BYTES_MAX),
        Unread::UnknownRpc => Shape::new(
            Code::Unimplemented,
            "UNKNOWN_RPC",
            "this listener has no such rpc: each of the four has its own services",
        ),
    }
}

fn of_hashing(error: hashing::Error) -> Shape {
    match error {
        hashing::Error::QueueFull => Shape::retry(
            Code::ResourceExhausted,
            "HASHING_QUEUE_FULL",
            RETRY_SOON,
            error.to_string(),
        ),
        hashing::Error::Stopped => Shape::retry(
            Code::Unavailable,
            "NODE_STOPPING",
            RETRY_SOON,
            "this node is stopping; another node answers",
        ),
        hashing::Error::Failed(fault) => {
            tracing::error!(%fault, "a password was not hashed");
            of(Refusal::Internal(fault.to_string()))
        }
    }
}

fn of_caller(error: &identity::Error) -> Shape {
    use identity::Error as E;
    match error {
        E::NoCertificate | E::Certificate(_) | E::OtherCluster => {
            Shape::new(Code::Unauthenticated, "CALLER_UNKNOWN", error.to_string())
        }
        E::WrongListener { .. } | E::NotRegistered { .. } | E::OtherKey { .. } => Shape::new(
            Code::PermissionDenied,
            "CALLER_NOT_REGISTERED",
            error.to_string(),
        ),
        E::NotFounded => rejection::of(Rejection::NotFounded, UnixMs(0)),
    }
}
