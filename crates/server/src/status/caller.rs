//! What the rejections about callers are as statuses: operators' approvals, registrations, scripts.

use domain::Rejection;
use tonic::Code;

use super::shape::Shape;

/// The status of a rejection that is about callers; of any other one an internal fault.
pub(super) fn of(rejection: &Rejection) -> Shape {
    approval(rejection)
        .or_else(|| registration(rejection))
        .or_else(|| script(rejection))
        .unwrap_or_else(|| Shape::new(Code::Internal, "INTERNAL", "the service failed"))
}

fn approval(rejection: &Rejection) -> Option<Shape> {
    let (code, reason, message) = if *rejection == Rejection::ApprovalUnsigned {
        (
            Code::PermissionDenied,
            "APPROVAL_UNSIGNED",
            "this act takes an operator's signed approval; nothing was changed. `tidemark` signs with \
             the operator's key",
        )
    } else if *rejection == Rejection::ApprovalExpired {
        (
            Code::FailedPrecondition,
            "APPROVAL_EXPIRED",
            "the approval has expired; nothing was changed: look again, and approve anew",
        )
    } else if *rejection == Rejection::ApprovalTooLong {
        (
            Code::InvalidArgument,
            "APPROVAL_TOO_LONG",
            "an approval is valid for at most 30 minutes by the line's clock; nothing was changed",
        )
    } else if *rejection == Rejection::ApprovalOtherKey {
        (
            Code::PermissionDenied,
            "APPROVAL_OTHER_KEY",
            "the approval was signed with another key than the operator's registered one; nothing \
             was changed",
        )
    } else if *rejection == Rejection::ApprovalDiffers {
        (
            Code::FailedPrecondition,
            "APPROVAL_DIFFERS",
            "the approval is of another act, other arguments or another state than this one; nothing \
             was changed: look again, and approve what is there now",
        )
    } else {
        return None;
    };
    Some(if code == Code::FailedPrecondition {
        Shape::precondition(reason, message).about("approval")
    } else if code == Code::InvalidArgument {
        Shape::invalid(reason, "approval", message)
    } else {
        Shape::new(code, reason, message)
    })
}

fn registration(rejection: &Rejection) -> Option<Shape> {
    if *rejection == Rejection::CallerRetired {
        let message = "the caller's access was taken away";
        return Some(Shape::new(
            Code::PermissionDenied,
            "CALLER_NOT_REGISTERED",
            message,
        ));
    }
    if *rejection == Rejection::NoSuchCaller {
        let message = "no such caller is registered: see them with `tidemark caller list`";
        return Some(Shape::new(Code::NotFound, "NO_SUCH_CALLER", message));
    }
    if let Rejection::KeyPinned { holder } = rejection {
        let message = format!("the key is {holder}'s: each caller has a key of its own");
        return Some(Shape::new(Code::AlreadyExists, "KEY_PINNED", message).with("caller", holder));
    }
    if let Rejection::LastOperators { need } = rejection {
        let message = format!(
            "{need} operators must stay, or nothing could be approved any more: register another \
             one first"
        );
        return Some(Shape::precondition("LAST_OPERATORS", message).with("need", need));
    }
    None
}

fn script(rejection: &Rejection) -> Option<Shape> {
    if *rejection == Rejection::ScriptMayNot {
        let message = "a script opens, closes and rolls over sessions that were granted to it, and \
                       reads; it does nothing else";
        return Some(Shape::new(
            Code::PermissionDenied,
            "SCRIPT_MAY_NOT",
            message,
        ));
    }
    if *rejection == Rejection::NotGranted {
        let message =
            "two operators have not granted this, or one took it back; nothing was changed";
        return Some(Shape::new(Code::PermissionDenied, "NOT_GRANTED", message));
    }
    if let Rejection::OutsideWindow { from, until } = rejection {
        let message = format!("the grant is for the time from {from} to {until}");
        let shape = Shape::precondition("OUTSIDE_WINDOW", message).about("grant");
        return Some(shape.with("from", from).with("until", until));
    }
    if let Rejection::RunsUsed { runs } = rejection {
        let message = format!("the grant's {runs} runs are used up: two operators grant more");
        let shape = Shape::precondition("RUNS_USED", message).about("grant");
        return Some(shape.with("runs", runs));
    }
    None
}
