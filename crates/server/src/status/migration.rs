//! What the rejections of the migration are as statuses: methods that are off, go-live, enrolment
//! and the revocation list.

use domain::UnixMs;
use domain::calendar::Day;
use domain::factor::Method;
use domain::id::SessionId;

use super::shape::Shape;

pub(super) fn revocation_list_older(number: u64) -> Shape {
    Shape::precondition(
        "REVOCATION_LIST_OLDER",
        format!("the list that is held has number {number}: a newer one has a greater number"),
    )
    .about("revocation_list")
    .with("number", number)
}

pub(super) fn no_go_live() -> Shape {
    Shape::precondition("NO_GO_LIVE", "no go-live is planned: schedule it first").about("go_live")
}

pub(super) fn go_live_scheduled(date: Day) -> Shape {
    Shape::precondition(
        "GO_LIVE_SCHEDULED",
        format!(
            "go-live is planned for {}: postpone or withdraw it",
            date.long()
        ),
    )
    .about("go_live")
    .with("date", date)
}

pub(super) fn enrolment_closed(session: &SessionId, last: Day) -> Shape {
    Shape::precondition(
        "ENROLMENT_CLOSED",
        format!(
            "enrolment for {session} has closed: its last day in Hong Kong was {}",
            last.long()
        ),
    )
    .about("session")
    .with("session", session)
    .with("last_day", last)
}

/// Says since when, and what to use (R2).
pub(super) fn method_off(method: Method, from: Option<UnixMs>, until: Option<UnixMs>) -> Shape {
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

pub(super) fn overdue(since: Option<UnixMs>) -> Shape {
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
