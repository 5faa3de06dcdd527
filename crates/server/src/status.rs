//! Every refusal and every fault as a gRPC status: the one place where that is decided, by
//! exhaustive match (API.md, "Errors").
//!
//! Each status has one `ErrorInfo` with a stable reason, the support contact and a reference id
//! (R11). What people are likely to be shown has a Traditional Chinese text beside the English
//! one (R12). No status quotes a secret.

use std::time::Duration;

use consensus::line;
use domain::id::SessionId;
use domain::session::Phase;
use domain::{Outcome, Rejection, UnixMs, outcome};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

use crate::{hashing, identity};

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "tidemark";

/// How long a client waits before it tries again, where nothing better is known.
const RETRY_SOON: Duration = Duration::from_millis(500);
const RETRY_LATER: Duration = Duration::from_secs(60);

/// A field that can be malformed, by its name on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `request_id`
    RequestId,
    /// `user_id`
    UserId,
    /// `option`
    Option,
    /// `password`
    Password,
    /// `new_password`
    NewPassword,
    /// `client_address`
    ClientAddress,
    /// An enumeration that was left out, or a message that must be there.
    Required(&'static str),
    /// Any other field.
    Other(&'static str),
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::RequestId => "request_id",
            Self::UserId => "user_id",
            Self::Option => "option",
            Self::Password => "password",
            Self::NewPassword => "new_password",
            Self::ClientAddress => "client_address",
            Self::Required(name) | Self::Other(name) => name,
        }
    }
}

/// Why a call has no answer.
#[derive(Debug)]
pub enum Refusal {
    /// The line said no, at this time of its clock.
    Rejected {
        /// Why.
        rejection: Rejection,
        /// The line's clock, from which waits are counted.
        clock: UnixMs,
    },
    /// A factor was wrong, or there was nothing to check it against: one answer for all.
    CredentialsRejected,
    /// The call carries no token, or one that is good for nothing.
    TokenExpired,
    /// The caller is not who may call here.
    Caller(identity::Error),
    /// The line has no answer.
    Line(line::Error),
    /// The command may have been carried out: the request id to repeat with.
    OutcomeUnknown {
        /// The call's request id; empty if it had none.
        request_id: String,
    },
    /// The password was not hashed.
    Hashing(hashing::Error),
    /// A field cannot be read.
    Malformed {
        /// Which.
        field: Field,
        /// What it should be.
        should_be: String,
    },
    /// Several things are wrong with a file or a list of rows.
    Problems {
        /// A stable reason.
        reason: &'static str,
        /// Where, and what.
        problems: Vec<(String, String)>,
    },
    /// The new password is refused, and why is told (S18).
    Password(credential::rules::Refusal),
    /// A new password is longer than any may be.
    PasswordTooLong,
    /// The session was opened already.
    AlreadyOpen {
        /// Which.
        session: SessionId,
    },
    /// What a branch leaves behind is not here yet, or not everywhere that it must be.
    NoEvidence {
        /// What is missing.
        why: String,
    },
    /// Another version than the caller saw.
    EtagMismatch,
    /// There is no such thing; told to those who may know.
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// The caller may not do this.
    NotAllowed {
        /// What, and who may.
        why: String,
    },
    /// The node's store is damaged, or digests differ.
    DataLoss {
        /// A stable reason.
        reason: &'static str,
        /// What is damaged.
        what: String,
    },
    /// A fault of ours. The text goes to the log, not to the caller.
    Internal(String),
}

impl Refusal {
    /// A field that cannot be read.
    #[must_use]
    pub fn malformed(field: Field, should_be: &str) -> Self {
        Self::Malformed {
            field,
            should_be: should_be.to_owned(),
        }
    }
}

impl Refusal {
    /// The line's rejection, if that is what it is.
    #[must_use]
    pub fn rejection(&self) -> Option<&Rejection> {
        if let Self::Rejected { rejection, .. } = self {
            Some(rejection)
        } else {
            None
        }
    }
}

impl From<line::Error> for Refusal {
    fn from(error: line::Error) -> Self {
        Self::Line(error)
    }
}

impl From<hashing::Error> for Refusal {
    fn from(error: hashing::Error) -> Self {
        Self::Hashing(error)
    }
}

impl From<credential::seal::Error> for Refusal {
    fn from(error: credential::seal::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

/// The answer of an outcome, or why there is none.
///
/// # Errors
/// The rejection. A failed attempt is an answer here: some callers go on with it.
pub fn answer(outcome: Outcome) -> Result<outcome::Answer, Refusal> {
    match outcome.result {
        outcome::Result::Done(answer) | outcome::Result::FailedAttempt(answer) => Ok(answer),
        outcome::Result::Rejected(rejection) => Err(Refusal::Rejected {
            rejection,
            clock: outcome.clock,
        }),
    }
}

/// What goes beside the reason.
enum Extra {
    None,
    Retry(Duration),
    Precondition(String),
    Fields(Vec<(String, String)>),
    Repeat(String),
}

struct Shape {
    code: Code,
    reason: String,
    message: String,
    extra: Extra,
    metadata: Vec<(&'static str, String)>,
}

impl Shape {
    fn new(code: Code, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            extra: Extra::None,
            metadata: Vec::new(),
        }
    }

    fn invalid(reason: &str, field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            extra: Extra::Fields(vec![(field.to_owned(), message.clone())]),
            ..Self::new(Code::InvalidArgument, reason, message)
        }
    }

    fn problems(reason: &str, problems: Vec<(String, String)>) -> Self {
        let message = problems
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
        Self {
            extra: Extra::Fields(problems),
            ..Self::new(Code::InvalidArgument, reason, message)
        }
    }

    fn precondition(reason: &str, message: impl Into<String>) -> Self {
        Self {
            extra: Extra::Precondition(String::new()),
            ..Self::new(Code::FailedPrecondition, reason, message)
        }
    }

    fn retry(code: Code, reason: &str, after: Duration, message: impl Into<String>) -> Self {
        Self {
            extra: Extra::Retry(after),
            ..Self::new(code, reason, message)
        }
    }

    fn unknown_outcome(request_id: String) -> Self {
        Self {
            extra: Extra::Repeat(request_id),
            ..Self::new(
                Code::DeadlineExceeded,
                "OUTCOME_UNKNOWN",
                "the outcome is unknown: repeat the call with the same request_id",
            )
        }
    }

    fn about(mut self, subject: &str) -> Self {
        self.extra = Extra::Precondition(subject.to_owned());
        self
    }

    fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }
}

/// The status of a refusal. `support` is whom people ask.
#[must_use]
pub fn of(refusal: Refusal, support: &str) -> Status {
    let reference = Uuid::new_v4();
    if let Refusal::Internal(fault) = &refusal {
        tracing::error!(%reference, fault, "a call failed");
    }
    let shape = shape(refusal);
    let mut details = ErrorDetails::new();
    let mut metadata = vec![
        ("reference".to_owned(), reference.to_string()),
        ("support".to_owned(), support.to_owned()),
    ];
    metadata.extend(
        shape
            .metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone())),
    );
    details.set_error_info(
        shape.reason.clone(),
        DOMAIN,
        metadata
            .into_iter()
            .collect::<std::collections::HashMap<_, _>>(),
    );
    if let Some(text) = chinese(&shape.reason) {
        details.set_localized_message("zh-Hant", text);
    }
    match shape.extra {
        Extra::None => {}
        Extra::Retry(after) => {
            details.set_retry_info(Some(after));
        }
        Extra::Precondition(subject) => {
            details.add_precondition_failure_violation(
                shape.reason.clone(),
                subject,
                shape.message.clone(),
            );
        }
        Extra::Fields(fields) => {
            for (field, what) in fields {
                details.add_bad_request_violation(field, what);
            }
        }
        Extra::Repeat(request_id) => {
            details.set_request_info(request_id, "");
        }
    }
    Status::with_error_details(shape.code, shape.message, details)
}

fn shape(refusal: Refusal) -> Shape {
    match refusal {
        Refusal::Rejected { rejection, clock } => of_rejection(rejection, clock),
        Refusal::CredentialsRejected => Shape::new(
            Code::Unauthenticated,
            "CREDENTIALS_REJECTED",
            "the user id, password or code is not right",
        ),
        Refusal::TokenExpired => of_rejection(Rejection::TokenEnded, UnixMs(0)),
        Refusal::Caller(error) => of_caller(&error),
        Refusal::Line(error) => of_line(error),
        Refusal::OutcomeUnknown { request_id } => Shape::unknown_outcome(request_id),
        Refusal::Hashing(error) => of_hashing(error),
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
        Refusal::NoEvidence { why } => Shape::precondition("NO_EVIDENCE", why).about("session"),
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

fn of_rejection(rejection: Rejection, clock: UnixMs) -> Shape {
    use Rejection as R;
    match rejection {
        R::NotFounded => Shape::retry(
            Code::Unavailable,
            "NOT_FOUNDED",
            RETRY_SOON,
            "the cluster is being founded",
        ),
        R::AlreadyFounded => {
            Shape::precondition("ALREADY_FOUNDED", "the cluster is founded already")
        }
        R::LineChanged => Shape::new(
            Code::Aborted,
            "LINE_CHANGED",
            "the service moved to another line since; nothing was done, begin again",
        ),
        R::LineEnded => {
            Shape::precondition("SESSION_CLOSED", "the session has closed").about("session")
        }
        R::RequestIdMalformed => Shape::invalid(
            "MALFORMED_REQUEST_ID",
            "request_id",
            "request_id must be a UUIDv7, made for this call",
        ),
        R::RequestTooOld => Shape::new(
            Code::Aborted,
            "REQUEST_TOO_OLD",
            "the request_id is too old to tell whether it was done: look, and begin again",
        ),
        R::RequestFromTheFuture => Shape::invalid(
            "REQUEST_FROM_THE_FUTURE",
            "request_id",
            "the request_id is of a time to come: set the caller's clock",
        ),
        R::RequestBodyDiffers => Shape::invalid(
            "REQUEST_BODY_DIFFERS",
            "request_id",
            "the request_id was used for another call: make a new one",
        ),
        R::AlreadyDone => Shape::new(
            Code::Aborted,
            "ALREADY_DONE",
            "it was done, and its answer held a secret that is not kept: begin again",
        ),
        R::ClockJump => Shape::precondition(
            "CLOCK_JUMP",
            "the node's clock is further ahead than the line allows: check the nodes' clocks",
        ),
        R::ClockNotSimulated => Shape::precondition(
            "CLOCK_NOT_SIMULATED",
            "the clock of this cluster is the real one and cannot be set",
        ),
        R::SessionClosed { next } => session_closed(next),
        R::CentreNotServing { serving } => Shape::precondition(
            "CENTRE_NOT_SERVING",
            format!("another data centre serves now: {serving}"),
        )
        .about("centre")
        .with("centre", serving)
        .with("next", "call a node of that centre"),
        R::BranchOpen { session } => Shape::precondition(
            "BRANCH_OPEN",
            format!("session {session} is on a branch: this waits for its rollover"),
        )
        .about("session")
        .with("session", session),
        R::MainLineOnly => {
            Shape::precondition("MAIN_LINE_ONLY", "this can be done on the main line alone")
        }
        R::BranchOnly => Shape::precondition("BRANCH_ONLY", "this can be done on a branch alone"),
        R::TooMany => Shape::retry(
            Code::ResourceExhausted,
            "TOO_MANY",
            RETRY_LATER,
            "too many are under way; try again later",
        ),
        R::RateLimited { until } => Shape::retry(
            Code::ResourceExhausted,
            "RATE_LIMITED",
            Duration::from_millis(until.since(clock)),
            format!("too many tries; try again after {until}"),
        ),
        R::InitiationDenied => Shape::precondition(
            "INITIATION_DENIED",
            "password and one-time password cannot be set up in this session",
        )
        .about("session"),
        R::WrongPortal => Shape::precondition("WRONG_PORTAL", "this account uses the other portal")
            .about("account"),
        R::NotEnrolled => Shape::precondition(
            "NOT_ENROLLED",
            "the participant is not enrolled for this session",
        )
        .about("participant"),
        R::PortalNotRegistered => Shape::new(
            Code::PermissionDenied,
            "PORTAL_NOT_REGISTERED",
            "this front end is not registered for the portal",
        ),
        R::TokenEnded => Shape::new(
            Code::Unauthenticated,
            "TOKEN_EXPIRED",
            "the login has ended: log in again",
        ),
        R::ProcedureEnded => Shape::precondition(
            "PROCEDURE_ENDED",
            "this has ended or was never begun: begin again",
        ),
        R::StepUpRequired => Shape::new(
            Code::PermissionDenied,
            "STEP_UP_REQUIRED",
            "prove the current channel or card first",
        ),
        R::InitiationRequired => Shape::precondition(
            "INITIATION_REQUIRED",
            "set up password and one-time password first",
        )
        .about("account"),
        R::AlreadyInitiated => Shape::precondition(
            "ALREADY_INITIATED",
            "password and one-time password are set up already",
        )
        .about("account"),
        R::NoEmail => {
            Shape::precondition("NO_EMAIL", "the account has no registered e-mail address")
                .about("account")
        }
        R::OtherParticipant => Shape::new(
            Code::PermissionDenied,
            "OTHER_PARTICIPANT",
            "the account is not of your participant, or there is none",
        ),
        R::NoSuchAccount => Shape::new(
            Code::NotFound,
            "NO_SUCH_ACCOUNT",
            "there is no such account",
        ),
        R::NotAllowed => Shape::new(
            Code::PermissionDenied,
            "NOT_ALLOWED",
            "the caller may not do this",
        ),
        R::AlreadySo => Shape::precondition("ALREADY_SO", "it is so already; nothing was changed"),
        R::ImportConflicts(rows) => Shape::problems("IMPORT_CONFLICTS", listed("rows", rows)),
        R::BadValues(values) => Shape::problems("BAD_VALUES", listed("values", values)),
        R::NoSuchSession => Shape::new(
            Code::NotFound,
            "NO_SUCH_SESSION",
            "the calendar has no such session",
        ),
        R::NotAtSecondary => Shape::precondition(
            "NOT_AT_SECONDARY",
            "the session is held at the primary: it opens by the timetable",
        )
        .about("session"),
        R::EarlierSessionOpen { session } => Shape::precondition(
            "EARLIER_SESSION_OPEN",
            format!("session {session} has not closed: close it first, or wait for its end"),
        )
        .about("session")
        .with("session", session),
        R::RolloverPending { session } => Shape::precondition(
            "ROLLOVER_PENDING",
            format!("session {session} has not been rolled over: do that first"),
        )
        .with("session", session),
        R::OutsideSession { opens, closes } => Shape::precondition(
            "OUTSIDE_SESSION",
            format!("the time is outside the session, {opens} to {closes}"),
        ),
        R::NotApproved { have, need } => Shape::precondition(
            "NOT_APPROVED",
            format!("{have} of {need} operators have approved"),
        )
        .with("have", have)
        .with("need", need),
        R::PlanDiffers => Shape::precondition(
            "PLAN_DIFFERS",
            "the plan is not the one that was approved: look at it and approve it again",
        ),
        R::WrongPhase { phase } => wrong_phase(phase),
        R::EvidenceDiffers => Shape::new(
            Code::DataLoss,
            "DIGEST_MISMATCH",
            "the evidence is of another boundary than the session's",
        ),
        R::Unanswered(items) => Shape {
            metadata: vec![
                ("items", joined(&items)),
                (
                    "next",
                    "answer each item with --repeat or --waive".to_owned(),
                ),
            ],
            ..Shape::precondition(
                "MUST_REPEAT_UNANSWERED",
                format!(
                    "items {} want an answer: repeat or waive each",
                    joined(&items)
                ),
            )
        },
        R::NotRepeated { item } => Shape::precondition(
            "NOT_REPEATED",
            format!("item {item} is said to be repeated and is not so on the main line"),
        )
        .with("item", item),
    }
}

/// The plan is not where the act needs it; what that means depends on where it is.
fn wrong_phase(phase: Phase) -> Shape {
    let (reason, message) = match phase {
        Phase::Opening => (
            "SESSION_OPENING",
            "the session is being opened: wait for it",
        ),
        Phase::Open => ("SESSION_NOT_CLOSED", "the session is open: close it first"),
        Phase::Closed => ("SESSION_CLOSED", "the session has closed"),
        Phase::RolledOver => ("ROLLED_OVER", "the session was rolled over already"),
        Phase::Abandoned => ("ABANDONED", "the session was given up already"),
    };
    Shape::precondition(reason, message)
        .about("session")
        .with("phase", format!("{phase:?}"))
}

fn session_closed(next: Option<(domain::SessionId, UnixMs)>) -> Shape {
    match next {
        Some((session, opens)) => Shape::precondition(
            "SESSION_CLOSED",
            format!("the service is closed; it opens at {opens}"),
        )
        .about("session")
        .with("next_session", session)
        .with("opens", opens)
        .with("next", "try again when it opens"),
        None => Shape::precondition(
            "SESSION_CLOSED",
            "the service is closed; no session is planned",
        )
        .about("session"),
    }
}

fn listed(field: &str, texts: Vec<String>) -> Vec<(String, String)> {
    texts
        .into_iter()
        .map(|text| (field.to_owned(), text))
        .collect()
}

fn joined(items: &[u64]) -> String {
    let texts: Vec<String> = items.iter().map(u64::to_string).collect();
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
            shape(Refusal::Internal(fault.to_string()))
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
        E::NotFounded => of_rejection(Rejection::NotFounded, UnixMs(0)),
    }
}

/// What people are shown in Traditional Chinese; elsewhere the English text stands (R12).
fn chinese(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "CREDENTIALS_REJECTED" => "用戶識別碼、密碼或驗證碼不正確",
        "TOKEN_EXPIRED" => "登入已結束，請重新登入",
        "SESSION_CLOSED" => "服務現已關閉",
        "CENTRE_NOT_SERVING" => "現由另一數據中心提供服務",
        "RATE_LIMITED" => "嘗試次數過多，請稍後再試",
        "HASHING_QUEUE_FULL" | "NO_LEADER" | "CENTRE_CHANGING" => "系統繁忙，請稍後再試",
        "INITIATION_REQUIRED" => "請先設定密碼及一次性密碼",
        "ALREADY_INITIATED" => "密碼及一次性密碼已經設定",
        "INITIATION_DENIED" => "本節不可設定密碼及一次性密碼",
        "NOT_ENROLLED" => "參與者並未登記參加本節",
        "WRONG_PORTAL" => "此帳戶須使用另一入口",
        "PASSWORD_TOO_SHORT" => "密碼太短",
        "PASSWORD_TOO_LONG" => "密碼太長",
        "PASSWORD_BLOCKED" => "此密碼不可使用，請另選密碼",
        "STEP_UP_REQUIRED" => "請先驗證現有的途徑或智能卡",
        "ALREADY_DONE" | "LINE_CHANGED" => "請重新開始",
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn status(refusal: Refusal) -> Status {
        of(refusal, "hotline 2211 6688")
    }

    fn rejected(rejection: Rejection) -> Status {
        status(Refusal::Rejected {
            rejection,
            clock: UnixMs(1_000),
        })
    }

    fn reason(status: &Status) -> String {
        status.get_details_error_info().unwrap().reason
    }

    #[test]
    fn every_status_has_reason_support_and_reference_r11() {
        for status in [
            rejected(Rejection::AlreadySo),
            status(Refusal::CredentialsRejected),
            status(Refusal::Line(line::Error::NoLeader)),
            status(Refusal::Internal("a secret path".to_owned())),
        ] {
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.domain, DOMAIN);
            assert!(!info.reason.is_empty());
            assert_eq!(info.metadata["support"], "hotline 2211 6688");
            assert!(Uuid::parse_str(&info.metadata["reference"]).is_ok());
        }
    }

    #[test]
    fn the_serving_centre_is_named_r19() {
        let serving = domain::CentreName::parse("west").unwrap();
        let status = rejected(Rejection::CentreNotServing { serving });
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(reason(&status), "CENTRE_NOT_SERVING");
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata["centre"], "west");
    }

    #[test]
    fn a_wait_is_counted_from_the_lines_clock() {
        let status = rejected(Rejection::RateLimited {
            until: UnixMs(61_000),
        });
        assert_eq!(status.code(), Code::ResourceExhausted);
        let retry = status.get_details_retry_info().unwrap();
        assert_eq!(retry.retry_delay, Some(Duration::from_secs(60)));
    }

    #[test]
    fn an_unknown_outcome_says_what_to_repeat_with() {
        let status = status(Refusal::OutcomeUnknown {
            request_id: "the-request".to_owned(),
        });
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(
            status.get_details_request_info().unwrap().request_id,
            "the-request"
        );
    }

    #[test]
    fn a_fault_of_ours_is_not_told() {
        let status = status(Refusal::Internal("/srv/keys.toml".to_owned()));
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("keys"));
    }

    #[test]
    fn unanswered_items_are_named() {
        let status = rejected(Rejection::Unanswered(vec![7, 9]));
        assert_eq!(reason(&status), "MUST_REPEAT_UNANSWERED");
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata["items"], "7, 9");
    }

    #[test]
    fn what_people_see_has_both_languages_r12() {
        let status = status(Refusal::CredentialsRejected);
        let local = status.get_details_localized_message().unwrap();
        assert_eq!(local.locale, "zh-Hant");
    }
}
