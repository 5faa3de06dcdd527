//! What callers are told.

use tonic::Code;

use super::*;

fn status(refusal: Refusal) -> Status {
    let support = Support {
        english: "hotline 2211 6688".to_owned(),
        chinese: "熱線 2211 6688".to_owned(),
    };
    of(refusal, &support)
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
        assert_eq!(info.metadata["support_zh_hant"], "熱線 2211 6688");
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

/// What somebody who logs in, sets up 2FA or changes a factor can be told.
fn told_to_people() -> Vec<Status> {
    use credential::rules::Refusal as Rule;
    let session = SessionId::parse("S1").unwrap();
    let at = UnixMs(61_000);
    let serving = CentreName::parse("west").unwrap();
    let rejections = [
        Rejection::SessionClosed { next: None },
        Rejection::BranchOpen {
            session: session.clone(),
        },
        Rejection::CentreNotServing { serving },
        Rejection::RateLimited { until: at },
        Rejection::TooMany,
        Rejection::TokenEnded,
        Rejection::ProcedureEnded,
        Rejection::StepUpRequired,
        Rejection::InitiationRequired,
        Rejection::AlreadyInitiated,
        Rejection::InitiationDenied,
        Rejection::EmailJustChanged { until: at },
        Rejection::MethodOff {
            method: domain::factor::Method::Smartcard,
            from: None,
            until: None,
        },
        Rejection::RevocationsOverdue { since: None },
        Rejection::NotEnrolled {
            text: None,
            text_zh_hant: None,
        },
        Rejection::ParticipantSuspended,
        Rejection::WrongPortal,
        Rejection::AlreadyDone,
        Rejection::LineChanged,
    ];
    let refusals = [
        Refusal::CredentialsRejected,
        Refusal::TokenExpired,
        Refusal::CentreChanging { session },
        Refusal::Line(line::Error::NoLeader),
        Refusal::Line(line::Error::SecondaryUnreachable),
        Refusal::Line(line::Error::ClockOff),
        Refusal::Line(line::Error::OutcomeUnknown),
        Refusal::Hashing(hashing::Error::QueueFull),
        Refusal::Hashing(hashing::Error::Stopped),
        Refusal::Password(Rule::TooShort { min: 8 }),
        Refusal::Password(Rule::Common),
        Refusal::Password(Rule::UserId),
        Refusal::Password(Rule::ParticipantId),
        Refusal::Password(Rule::Email),
        Refusal::Password(Rule::Breached),
        Refusal::PasswordTooLong,
    ];
    let rejections = rejections.into_iter().map(rejected);
    rejections.chain(refusals.map(status)).collect()
}

#[test]
fn whatever_people_are_told_has_both_languages_and_no_text_is_left_over_r12() {
    let mut told = std::collections::BTreeSet::new();
    for status in told_to_people() {
        let reason = reason(&status);
        assert!(!status.message().is_empty(), "{reason}");
        let local = status.get_details_localized_message();
        let local = local.unwrap_or_else(|| panic!("{reason} has no text in Chinese"));
        assert_eq!(local.locale, "zh-Hant");
        let chinese = |letter: char| ('\u{4e00}'..='\u{9fff}').contains(&letter);
        assert!(
            local.message.contains(chinese),
            "{reason}: {}",
            local.message
        );
        told.insert(reason);
    }
    let known: Vec<_> = words::reasons().collect();
    for reason in &known {
        assert!(told.contains(*reason), "nobody is told {reason}");
    }
    let mut once = known.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), known.len(), "a reason has two texts");
}

#[test]
fn where_there_is_no_chinese_the_english_stands_alone_r12() {
    for status in [
        rejected(Rejection::AlreadySo),
        rejected(Rejection::MakerIsChecker),
        status(Refusal::EtagMismatch),
    ] {
        assert!(!status.message().is_empty());
        assert!(status.get_details_localized_message().is_none());
    }
}

#[test]
fn a_status_with_a_long_list_fits_into_headers_and_says_how_much_is_left_out() {
    let long = "潮".repeat(1_000);
    let problems = (0..10_000)
        .map(|line| (format!("line {line}"), long.clone()))
        .collect();
    let rows = vec![long; 10_000];
    let items: Vec<u64> = (0..10_000).collect();
    for status in [
        status(Refusal::Problems {
            reason: "BAD_ROWS",
            problems,
        }),
        rejected(Rejection::ImportConflicts(rows.clone())),
        rejected(Rejection::BadValues(rows)),
        rejected(Rejection::Unanswered(items)),
    ] {
        let told = status.message();
        assert!(told.contains("and 9980 more"), "{told}");
        let answer = status.clone().into_http::<()>();
        let bytes: usize = answer
            .headers()
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum();
        assert!(bytes < 16 * 1_024, "{bytes} bytes of headers");
        let named = status.get_details_bad_request();
        assert!(named.is_none_or(|named| named.field_violations.len() == 20));
    }
}
