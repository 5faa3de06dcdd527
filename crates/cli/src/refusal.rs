//! A node's refusal as a sentence with what to do next, and as an exit code. The reasons are
//! those of the API; a reason that is not known here is told as the node put it.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::exit::{Exit, Failure};

/// What was being asked: whether a lost answer leaves an unknown outcome behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To tell something.
    Read,
    /// To change something, under this request id.
    Change(uuid::Uuid),
    /// To change something that is repeated without an id: a repeat goes on with what was begun.
    Act,
}

/// The stable reason of a status, if it has one.
#[must_use]
pub fn reason(status: &Status) -> Option<String> {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .filter(|reason| !reason.is_empty())
}

/// A fact that the node told with its refusal, such as the centre that serves.
#[must_use]
pub fn fact(status: &Status, name: &str) -> Option<String> {
    status
        .get_details_error_info()
        .and_then(|info| info.metadata.get(name).cloned())
}

/// How long the node asks to wait before another try.
#[must_use]
pub fn retry_after(status: &Status) -> Option<Duration> {
    status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay)
}

/// Whether repeating the call, with the same request id, is what the status asks for.
#[must_use]
pub fn passing(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

/// The failure that a person reads.
#[must_use]
pub fn failure(status: &Status, asked: Asked) -> Failure {
    let reason = reason(status);
    let (exit, advice) = match reason.as_deref().and_then(known) {
        Some((exit, advice)) => (exit, (!advice.is_empty()).then(|| advice.to_owned())),
        None => by_code(status, asked),
    };
    let next = fact(status, "next").or(advice);
    let next = match (exit, asked) {
        (Exit::Unknown, Asked::Change(id)) => Some(format!(
            "repeat the command with --request-id {id}: it is carried out once at most"
        )),
        (Exit::Unknown, Asked::Act) => {
            Some("repeat the command: it goes on with what was begun".to_owned())
        }
        _ => next,
    };
    let mut what = status.message().to_owned();
    if what.is_empty() {
        what = format!("the node answered {:?}", status.code());
    }
    let fields = status.get_details_bad_request();
    let fields = fields.into_iter().flat_map(|told| told.field_violations);
    let states = status.get_details_precondition_failure();
    let states = states.into_iter().flat_map(|told| told.violations);
    let violations = fields
        .map(|violation| (violation.field, violation.description))
        .chain(states.map(|violation| (violation.subject, violation.description)));
    let what = with_violations(what, violations);
    Failure {
        exit,
        what,
        next,
        reason,
    }
}

/// The message and each violation, on a line of its own and once: a message may be the list of its
/// violations.
fn with_violations(said: String, violations: impl Iterator<Item = (String, String)>) -> String {
    let mut what = said.clone();
    for (at, description) in violations.filter(|(_, description)| *description != said) {
        let violation = if at.is_empty() {
            description
        } else {
            format!("{at}: {description}")
        };
        if said.contains(&violation) {
            what = what.replacen(&format!("; {violation}"), &format!("\n  {violation}"), 1);
        } else {
            what.push_str(&format!("\n  {violation}"));
        }
    }
    what
}

/// The exit code and the advice for a known reason.
fn known(reason: &str) -> Option<(Exit, &'static str)> {
    Some(match reason {
        "UNANSWERED" | "MUST_REPEAT_UNANSWERED" => (
            Exit::PreCheck,
            "answer each item: --repeat ITEM or --waive ITEM",
        ),
        "NOT_REPEATED" => (
            Exit::PreCheck,
            "repeat the change on the main line first, or --waive the item",
        ),
        "BAD_VALUES" | "BAD_TIMETABLE" | "BAD_ROWS" | "IMPORT_CONFLICTS" => {
            (Exit::PreCheck, "correct them all and try again")
        }
        "SESSION_NOT_CLOSED" => (
            Exit::Refused,
            "close the session first: tidemark session close",
        ),
        "NO_EVIDENCE" => (
            Exit::PreCheck,
            "see which nodes are away: tidemark status; then try again, or go on without the records \
             by --accept-gap REASON",
        ),
        "WRONG_PHASE" => (
            Exit::Refused,
            "see where the session stands: tidemark session list",
        ),
        "ALREADY_SO" | "ALREADY_OPEN" | "ALREADY_CLOSED" | "ALREADY_DONE" | "ALREADY_FOUNDED" => {
            (Exit::Already, "")
        }
        "NOT_APPROVED" => (
            Exit::Refused,
            "two operators approve first: tidemark session approve SESSION --as OPERATOR; of an import, both \
             say the same again",
        ),
        "APPROVAL_EXPIRED" | "APPROVAL_DIFFERS" => (
            Exit::Refused,
            "look at it again and approve it anew: what was shown is not what is there now",
        ),
        "APPROVAL_OTHER_KEY" => (
            Exit::Refused,
            "see which key is registered: tidemark caller list",
        ),
        "KEY_PINNED" => (
            Exit::Refused,
            "issue a certificate with a key of its own: tidemark certificate issue",
        ),
        "LAST_OPERATORS" => (
            Exit::Refused,
            "register another operator first: tidemark caller register",
        ),
        "NOT_GRANTED" | "OUTSIDE_WINDOW" | "RUNS_USED" => {
            (Exit::Refused, "see what is granted: tidemark script list")
        }
        "SCRIPT_MAY_NOT" => (Exit::Refused, "an operator does this: --as OPERATOR"),
        "PLAN_DIFFERS" => (
            Exit::Refused,
            "the plan changed since it was approved: tidemark session list, then approve it again",
        ),
        "EARLIER_SESSION_OPEN" => (Exit::Refused, "close the earlier session first"),
        "ROLLOVER_PENDING" => (
            Exit::Refused,
            "roll the earlier session over first: tidemark session rollover",
        ),
        "BRANCH_OPEN" => (
            Exit::Refused,
            "wait for the session's rollover: tidemark status says where it stands",
        ),
        "BRANCH_RUNS" => (Exit::Refused, "close it: tidemark session close"),
        "NO_GO_LIVE" => (
            Exit::Refused,
            "plan one first: tidemark method go-live schedule DAY",
        ),
        "GO_LIVE_SCHEDULED" => (
            Exit::Refused,
            "see what is planned: tidemark method show; then postpone or withdraw it",
        ),
        "ENROLMENT_CLOSED" => (
            Exit::Refused,
            "give the session a later enrol_by first: tidemark calendar set",
        ),
        "REVOCATION_LIST_OLDER" => (
            Exit::Refused,
            "see which list is held: tidemark revocation show",
        ),
        "NO_SUCH_KEY" => (
            Exit::PreCheck,
            "announce it first: tidemark key announce ID",
        ),
        "KEY_NOT_PROVED" => (
            Exit::PreCheck,
            "bring the key file to those nodes: tidemark key list",
        ),
        "PARTICIPANT_ID_USED" => (
            Exit::Refused,
            "a deleted participant's id is never used again: choose another",
        ),
        // Somebody else's: it is not so already.
        "ID_USED_BEFORE" => (
            Exit::Refused,
            "a deleted account's id is never used again: choose another",
        ),
        "CARD_IN_USE" => (Exit::Refused, "see the card's number"),
        "KEY_ID_USED" => (
            Exit::Refused,
            "add a key with an id that was never used: tidemark key add --id ID",
        ),
        "KEY_IN_USE" => (
            Exit::Refused,
            "see what uses it: tidemark key list; and how far it is: tidemark key reseal",
        ),
        "KEY_RETIRED" => (
            Exit::Refused,
            "add and announce a new one: tidemark key add",
        ),
        "BAD_REVOCATION_LIST" => (
            Exit::PreCheck,
            "take the complete list that the card authority signed",
        ),
        "SESSION_CLOSED" | "OUTSIDE_SESSION" => (
            Exit::Refused,
            "see when a session opens: tidemark calendar show",
        ),
        "CENTRE_NOT_SERVING" => (Exit::Refused, "ask the centre that serves: tidemark status"),
        "NO_LEADER" | "CENTRE_CHANGING" | "CLOCK_OFF" | "NODE_STOPPING" => (
            Exit::PreCheck,
            "try again shortly; if it stays so: tidemark status",
        ),
        "SECONDARY_UNREACHABLE" => (
            Exit::PreCheck,
            "bring the secondary's nodes back, or mend the link to them: tidemark status",
        ),
        "CHECK_FAILED" | "SWITCHOVER_GIVEN_UP" | "DEGRADED" => (
            Exit::PreCheck,
            "see every check: tidemark centre switchover --dry-run",
        ),
        "NOT_PROMOTED" => (
            Exit::PreCheck,
            "look again: tidemark centre promote; or take the seals back: tidemark centre release",
        ),
        "NOT_REINSTATED" => (
            Exit::PreCheck,
            "start the old primary's nodes and repeat, or replace them: tidemark node add",
        ),
        "NOT_OPENED" => (
            Exit::PreCheck,
            "see which nodes answer: tidemark status; then repeat it",
        ),
        "PRIMARY_ANSWERS" => (
            Exit::PreCheck,
            "open it as planned: tidemark session open SESSION",
        ),
        "NOT_FENCED" => (
            Exit::Refused,
            "stop the old primary and repeat, configure fence_hook, or say --accept-split-brain",
        ),
        "NO_SUCH_CENTRE" => (Exit::Usage, "see the centres: tidemark status"),
        "OUTCOME_UNKNOWN" => (Exit::Unknown, ""),
        "LINE_CHANGED" => (
            Exit::Refused,
            "the line changed under the request and nothing was done: look at tidemark status, \
             then ask anew with a new request id",
        ),
        "REQUEST_TOO_OLD" => (
            Exit::Refused,
            "its outcome is not remembered any more: look at tidemark status, then ask anew",
        ),
        "DIGEST_MISMATCH" | "LOG_DAMAGED" => (
            Exit::Mismatch,
            "stop, keep the data folders as they are, and call whoever is responsible",
        ),
        _ => return None,
    })
}

/// The exit code and the advice where there is only a status code.
fn by_code(status: &Status, asked: Asked) -> (Exit, Option<String>) {
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange | Code::NotFound => (Exit::PreCheck, None),
        Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::ResourceExhausted => (Exit::Refused, None),
        Code::AlreadyExists => (Exit::Already, None),
        Code::DataLoss => (Exit::Mismatch, None),
        // The call may have arrived before the connection or the time was gone.
        Code::DeadlineExceeded | Code::Cancelled | Code::Unavailable | Code::Unknown => match asked
        {
            Asked::Change(_) | Asked::Act => (Exit::Unknown, None),
            Asked::Read => (
                Exit::PreCheck,
                Some("check that the node runs, or ask another: --node NUMBER".to_owned()),
            ),
        },
        Code::Ok | Code::Unimplemented | Code::Internal => (Exit::Internal, None),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn refused(code: Code, reason: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, "tidemark", HashMap::new());
        Status::with_error_details(code, "no", details)
    }

    fn change() -> Asked {
        Asked::Change(uuid::Uuid::nil())
    }

    #[test]
    fn an_unanswered_must_repeat_item_is_exit_3() {
        let failure = failure(&refused(Code::FailedPrecondition, "UNANSWERED"), change());
        assert_eq!(failure.exit, Exit::PreCheck);
        assert!(failure.next.unwrap().contains("--waive"));
    }

    #[test]
    fn a_change_whose_answer_was_lost_is_exit_5_and_names_its_request() {
        let lost = Status::deadline_exceeded("too late");
        let told = failure(&lost, change());
        assert_eq!(told.exit, Exit::Unknown);
        assert!(told.next.unwrap().contains(&uuid::Uuid::nil().to_string()));
        assert_eq!(failure(&lost, Asked::Read).exit, Exit::PreCheck);
    }

    #[test]
    fn an_act_without_a_request_id_whose_answer_was_lost_is_exit_5_too() {
        let told = failure(&Status::deadline_exceeded("too late"), Asked::Act);
        assert_eq!(told.exit, Exit::Unknown);
        assert!(told.next.unwrap().contains("repeat the command"));
    }

    /// A refusal with this message and these violations, as a person reads it.
    fn read(message: &str, violations: &[(&str, &str)]) -> String {
        let mut details = ErrorDetails::with_error_info("BAD_VALUES", "tidemark", HashMap::new());
        for (field, description) in violations {
            details.add_bad_request_violation(*field, *description);
        }
        let status = Status::with_error_details(Code::InvalidArgument, message, details);
        failure(&status, change()).what
    }

    #[test]
    fn what_is_wrong_with_a_value_is_told_once() {
        let one = [("values", "the reason is missing")];
        let told = read("values: the reason is missing", &one);
        assert_eq!(told, "values: the reason is missing");
        let two = [("line 1", "no id"), ("line 2", "no day")];
        let told = read("line 1: no id; line 2: no day; and 7 more", &two);
        assert_eq!(told, "line 1: no id\n  line 2: no day; and 7 more");
        let bare = [("", "no id"), ("password", "too short")];
        let told = read("no id", &bare);
        assert_eq!(told, "no id\n  password: too short");
    }

    #[test]
    fn an_unknown_reason_falls_back_to_its_code() {
        let told = failure(&refused(Code::FailedPrecondition, "NEW_REASON"), change());
        assert_eq!(told.exit, Exit::Refused);
        assert_eq!(told.reason.as_deref(), Some("NEW_REASON"));
    }

    #[test]
    fn what_is_so_already_is_exit_8() {
        let told = failure(&refused(Code::FailedPrecondition, "ALREADY_SO"), change());
        assert_eq!(told.exit, Exit::Already);
    }
}
