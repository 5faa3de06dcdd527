//! What each rejection of the line is as a status.

use std::time::Duration;

use domain::session::Phase;
use domain::{Rejection, UnixMs};
use tonic::Code;

use super::shape::{self, NAMED_MAX, Shape};
use super::{RETRY_LATER, RETRY_SOON, Refusal};
use super::{caller, centre, keys, migration};

pub(super) fn of(rejection: Rejection, clock: UnixMs) -> Shape {
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
        R::CentreSwitching { to } => centre::switching(&to),
        R::NoSuchCentre => centre::absent(),
        R::Degraded { since } => centre::degraded(since),
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
        R::NotEnrolled { text, text_zh_hant } => Shape::precondition(
            "NOT_ENROLLED",
            text.unwrap_or_else(|| "the participant is not enrolled for this session".to_owned()),
        )
        .about("participant")
        .in_chinese(text_zh_hant),
        R::MethodOff {
            method,
            from,
            until,
        } => migration::method_off(method, from, until),
        R::RevocationsOverdue { since } => migration::overdue(since),
        R::RevocationListOlder { number } => migration::revocation_list_older(number),
        R::NoGoLive => migration::no_go_live(),
        R::GoLiveScheduled { date } => migration::go_live_scheduled(date),
        R::EnrolmentClosed { session, last } => migration::enrolment_closed(&session, last),
        R::NoSuchKey { key } => keys::absent(key),
        R::KeyIdUsed { key } => keys::id_used(key),
        R::KeyNotProved { key, nodes } => keys::not_proved(key, &nodes),
        R::KeyInUse { key, values, until } => keys::in_use(key, values, until),
        R::KeyRetired { key } => keys::retired(key),
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
        R::ParticipantSuspended => Shape::precondition(
            "PARTICIPANT_SUSPENDED",
            "your participant is suspended: none of its people can log in until it is resumed",
        )
        .about("participant"),
        R::ParticipantIdUsed => Shape::new(
            Code::AlreadyExists,
            "PARTICIPANT_ID_USED",
            "the participant's id was another firm's, which was deleted: choose another",
        ),
        R::OtherParticipant => Shape::new(
            Code::PermissionDenied,
            "OTHER_PARTICIPANT",
            "the account is not of your participant, or there is none",
        ),
        R::LookedAfterByAdmins => Shape::new(
            Code::PermissionDenied,
            "LOOKED_AFTER_BY_ADMINS",
            "a firm's delegated administrators look after its users, operators after those",
        ),
        R::NoSuchChangeRequest => Shape::new(
            Code::NotFound,
            "NO_SUCH_CHANGE_REQUEST",
            "there is no such change request, or it is another firm's",
        ),
        R::NoSuchReview => Shape::new(
            Code::NotFound,
            "NO_SUCH_ACT_REVIEW",
            "there is no such act to review, or it is another firm's",
        ),
        R::ChangeRequestDecided => Shape::precondition(
            "CHANGE_REQUEST_DECIDED",
            "the change request was decided already; nothing was changed",
        )
        .about("change_request"),
        R::ChangeRequestExpired => Shape::precondition(
            "CHANGE_REQUEST_EXPIRED",
            "the change request has expired: make it anew",
        )
        .about("change_request"),
        R::MakerIsChecker => Shape::new(
            Code::PermissionDenied,
            "MAKER_IS_CHECKER",
            "who asked for a change, or took access away, cannot be the second person: ask another",
        ),
        R::MakerNotActive => Shape::precondition(
            "MAKER_NOT_ACTIVE",
            "who made the change request may not any more: somebody else makes it anew",
        )
        .about("change_request"),
        R::AccountExists => Shape::new(
            Code::AlreadyExists,
            "ACCOUNT_EXISTS",
            "there is an account of this user id",
        ),
        R::IdUsedBefore => Shape::new(
            Code::AlreadyExists,
            "ID_USED_BEFORE",
            "the user id was another person's, who is gone: choose another",
        ),
        R::CardInUse => Shape::new(
            Code::AlreadyExists,
            "CARD_IN_USE",
            "the card belongs to another account",
        ),
        R::EmailJustChanged { until } => Shape::precondition(
            "EMAIL_JUST_CHANGED",
            format!(
                "the e-mail address was changed lately: until {until} it gets no codes, and who \
                 changed it cannot reset the account"
            ),
        )
        .about("account")
        .with("until", until),
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
        R::ApprovalUnsigned => caller::approval_unsigned(),
        R::ApprovalExpired => caller::approval_expired(),
        R::ApprovalTooLong => caller::approval_too_long(),
        R::ApprovalOtherKey => caller::approval_other_key(),
        R::ApprovalDiffers => caller::approval_differs(),
        R::CallerRetired => caller::retired(),
        R::NoSuchCaller => caller::absent(),
        R::KeyPinned { holder } => caller::key_pinned(&holder),
        R::LastOperators { need } => caller::last_operators(need),
        R::ScriptMayNot => caller::script_may_not(),
        R::NotGranted => caller::not_granted(),
        R::OutsideWindow { from, until } => caller::outside_window(from, until),
        R::RunsUsed { runs } => caller::runs_used(runs),
        R::ChangedSince => shape::of(Refusal::EtagMismatch),
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
    let named = items.iter().take(NAMED_MAX).map(u64::to_string);
    let mut text = named.collect::<Vec<_>>().join(", ");
    let more = items.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
