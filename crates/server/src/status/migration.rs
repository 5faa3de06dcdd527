//! What the rejections of the migration are as statuses: methods that are off, go-live, enrolment
//! and the revocation list.

use domain::factor::Method;
use domain::{Rejection, UnixMs};
use tonic::Code;

use super::shape::Shape;

/// The status of a rejection that is of the migration; of any other one an internal fault.
pub(super) fn of(rejection: &Rejection) -> Shape {
    if let Rejection::MethodOff {
        method,
        from,
        until,
    } = rejection
    {
        return method_off(*method, *from, *until);
    }
    if let Rejection::RevocationsOverdue { since } = rejection {
        return overdue(*since);
    }
    if let Rejection::RevocationListOlder { number } = rejection {
        return Shape::precondition(
            "REVOCATION_LIST_OLDER",
            format!("the list that is held has number {number}: a newer one has a greater number"),
        )
        .about("revocation_list")
        .with("number", number);
    }
    if let Rejection::GoLiveScheduled { date } = rejection {
        return Shape::precondition(
            "GO_LIVE_SCHEDULED",
            format!(
                "go-live is planned for {}: postpone or withdraw it",
                date.long()
            ),
        )
        .about("go_live")
        .with("date", date);
    }
    if let Rejection::EnrolmentClosed { session, last } = rejection {
        return Shape::precondition(
            "ENROLMENT_CLOSED",
            format!(
                "enrolment for {session} has closed: its last day in Hong Kong was {}",
                last.long()
            ),
        )
        .about("session")
        .with("session", session)
        .with("last_day", last);
    }
    if *rejection == Rejection::NoGoLive {
        return Shape::precondition("NO_GO_LIVE", "no go-live is planned: schedule it first")
            .about("go_live");
    }
    Shape::new(Code::Internal, "INTERNAL", "the service failed")
}

/// Says since when, and what to use (R2).
fn method_off(method: Method, from: Option<UnixMs>, until: Option<UnixMs>) -> Shape {
    let (word, name, instead) = match method {
        Method::Smartcard => (
            "smartcard",
            "smartcard",
            "log in with user id, password and one-time password; who has not set them up yet \
             asks for an activation code first",
        ),
        Method::Otp => ("otp", "one-time password", "log in with the smartcard"),
    };
    let since = from.map_or_else(String::new, |from| format!(" since {from}"));
    let back = until.map_or_else(String::new, |until| format!(" until {until}"));
    let mut shape = Shape::precondition(
        "METHOD_OFF",
        format!("login by {name} is switched off{since}{back}: {instead}"),
    )
    .about("method")
    .with("method", word)
    .with("next", instead);
    if let Some(from) = from {
        shape = shape.with("from", from);
    }
    if let Some(until) = until {
        shape = shape.with("until", until);
    }
    shape
}

fn overdue(since: Option<UnixMs>) -> Shape {
    let why = since.map_or_else(
        || "there is no revocation list yet".to_owned(),
        |since| format!("the next revocation list was due at {since}"),
    );
    Shape::precondition(
        "REVOCATION_LIST_OVERDUE",
        format!("no smartcard can be relied on, because {why}: log in with a one-time password"),
    )
    .about("revocation_list")
}
