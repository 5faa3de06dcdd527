//! What the rejections about callers are as statuses: operators' approvals, registrations, scripts.

use domain::UnixMs;
use tonic::Code;

use super::shape::Shape;

pub(super) fn approval_unsigned() -> Shape {
    Shape::new(
        Code::PermissionDenied,
        "APPROVAL_UNSIGNED",
        "this act takes an operator's signed approval; nothing was changed. `tidemark` signs with \
         the operator's key",
    )
}

pub(super) fn approval_expired() -> Shape {
    Shape::precondition(
        "APPROVAL_EXPIRED",
        "the approval has expired; nothing was changed: look again, and approve anew",
    )
    .about("approval")
}

pub(super) fn approval_too_long() -> Shape {
    Shape::invalid(
        "APPROVAL_TOO_LONG",
        "approval",
        "an approval is valid for at most 30 minutes by the line's clock; nothing was changed",
    )
}

pub(super) fn approval_other_key() -> Shape {
    Shape::new(
        Code::PermissionDenied,
        "APPROVAL_OTHER_KEY",
        "the approval was signed with another key than the operator's registered one; nothing was \
         changed",
    )
}

pub(super) fn approval_differs() -> Shape {
    Shape::precondition(
        "APPROVAL_DIFFERS",
        "the approval is of another act, other arguments or another state than this one; nothing \
         was changed: look again, and approve what is there now",
    )
    .about("approval")
}

pub(super) fn retired() -> Shape {
    Shape::new(
        Code::PermissionDenied,
        "CALLER_NOT_REGISTERED",
        "the caller's access was taken away",
    )
}

pub(super) fn absent() -> Shape {
    Shape::new(
        Code::NotFound,
        "NO_SUCH_CALLER",
        "no such caller is registered: see them with `tidemark caller list`",
    )
}

pub(super) fn key_pinned(holder: &str) -> Shape {
    let message = format!("the key is {holder}'s: each caller has a key of its own");
    Shape::new(Code::AlreadyExists, "KEY_PINNED", message).with("caller", holder)
}

pub(super) fn last_operators(need: u32) -> Shape {
    let message = format!(
        "{need} operators must stay, or nothing could be approved any more: register another one \
         first"
    );
    Shape::precondition("LAST_OPERATORS", message).with("need", need)
}

pub(super) fn script_may_not() -> Shape {
    Shape::new(
        Code::PermissionDenied,
        "SCRIPT_MAY_NOT",
        "a script opens, closes and rolls over sessions and moves the primary's role as it was granted, \
         and reads; it does nothing else",
    )
}

pub(super) fn not_granted() -> Shape {
    Shape::new(
        Code::PermissionDenied,
        "NOT_GRANTED",
        "two operators have not granted this, or one took it back; nothing was changed",
    )
}

pub(super) fn outside_window(from: UnixMs, until: UnixMs) -> Shape {
    let message = format!("the grant is for the time from {from} to {until}");
    Shape::precondition("OUTSIDE_WINDOW", message)
        .about("grant")
        .with("from", from)
        .with("until", until)
}

pub(super) fn runs_used(runs: u32) -> Shape {
    let message = format!("the grant's {runs} runs are used up: two operators grant more");
    Shape::precondition("RUNS_USED", message)
        .about("grant")
        .with("runs", runs)
}
