//! Every refusal and every fault as a gRPC status: the one place where that is decided, by
//! exhaustive match (AIP-193).
//!
//! Each status has one `ErrorInfo` with a stable reason, the support contact and a reference id
//! (R11). What people are likely to be shown has a Traditional Chinese text beside the English
//! one (R12). No status quotes a secret.

use std::time::Duration;

use consensus::line;
use domain::id::{CentreName, NodeId, SessionId};
use domain::policy::Support;
use domain::{Outcome, Rejection, UnixMs, outcome};
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

use shape::Extra;

use crate::{hashing, identity};

mod caller;
mod centre;
mod keys;
mod migration;
mod rejection;
mod shape;
mod words;

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

/// Why a message never reached the service that it was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It is not a message of the rpc's type.
    Malformed,
    /// It is larger than the listener takes.
    TooLarge,
    /// No rpc of this name is here.
    UnknownRpc,
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
    /// The call's message never reached the service.
    Unread(Unread),
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
    /// The session is held here, and its branch does not serve yet, or not again.
    CentreChanging {
        /// Which.
        session: SessionId,
    },
    /// What a branch leaves behind is not here yet, or not everywhere that it must be.
    NoEvidence {
        /// What is missing.
        why: String,
    },
    /// What is looked at before an act is not as it must be.
    CheckFailed {
        /// What was looked at.
        check: String,
        /// What was found.
        text: String,
    },
    /// A promotion cannot be done as it was asked for.
    NotPromoted {
        /// Why.
        why: String,
    },
    /// An old primary cannot be brought back as it was asked for.
    NotReinstated {
        /// Why.
        why: String,
    },
    /// A session cannot be opened without the primary.
    NotOpened {
        /// Why.
        why: String,
    },
    /// A session is opened without the primary only if the primary does not answer.
    PrimaryAnswers {
        /// It.
        centre: CentreName,
        /// Its nodes that were heard.
        nodes: Vec<NodeId>,
    },
    /// The old primary may still go on: nothing was promoted.
    NotFenced {
        /// It.
        centre: CentreName,
        /// How many of its nodes said that they have stopped.
        stopped: u32,
    },
    /// The other centre did not keep pace, and the switchover was given up.
    SwitchoverGivenUp {
        /// The centre that did not become the primary.
        to: CentreName,
    },
    /// A session cannot be given up before its end: its branch runs.
    BranchRuns {
        /// Which.
        session: SessionId,
        /// Where it was seen to run.
        nodes: Vec<NodeId>,
    },
    /// A session cannot be given up before its end: too few nodes refused to start its branch.
    NotRefused {
        /// Which.
        session: SessionId,
        /// Who refused.
        nodes: Vec<NodeId>,
        /// When it can be given up all the same.
        until: UnixMs,
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

/// The status of a refusal. `support` is whom people ask.
#[must_use]
pub fn of(refusal: Refusal, support: &Support) -> Status {
    let reference = Uuid::new_v4();
    if let Refusal::Internal(fault) = &refusal {
        tracing::error!(%reference, fault, "a call failed");
    }
    let shape = shape::of(refusal);
    let mut details = ErrorDetails::new();
    let mut metadata = vec![
        ("reference".to_owned(), reference.to_string()),
        ("support".to_owned(), support.english.clone()),
        ("support_zh_hant".to_owned(), support.chinese.clone()),
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
    let ours = || words::chinese(&shape.reason).map(str::to_owned);
    if let Some(text) = shape.chinese.clone().or_else(ours) {
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
mod tests;
