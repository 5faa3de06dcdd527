//! What is checked by asking further: keys, revocation list, calendar, change requests, acts to
//! review, callers, audit. What cannot be asked is told of, and does not hide the rest.

use std::collections::BTreeMap;

use domain::UnixMs;
use proto::admin::v1::{
    ActReviewState, ChangeRequestState, ListActReviewsRequest, ListChangeRequestsRequest,
};
use proto::audit::v1::GetCheckpointRequest;
use proto::operator::v1::{
    GetCalendarRequest, GetCalendarResponse, GetRevocationListRequest, GetStatusResponse, KeyStage,
    LintCalendarRequest, ListKeysRequest, Verdict,
};

use super::{Check, Found, Level};
use crate::args::Connection;
use crate::client::{Operator, told};
use crate::drill::words;
use crate::exit::Failure;

const DAY_MS: u64 = 86_400_000;
/// How long before its end a change request is told of.
const REQUEST_SOON_MS: u64 = DAY_MS;
/// How long before a newer revocation list is due it is told of.
const REVOCATIONS_SOON_MS: u64 = DAY_MS;
/// For how long ahead holidays should be known.
const HOLIDAYS_AHEAD_MS: u64 = 30 * DAY_MS;
/// How long an act that took access away may wait for its review.
const REVIEW_WAITS_MS: u64 = DAY_MS;
/// Change requests, and acts to review, that are looked at.
const REQUESTS_MAX: i32 = 500;

pub(super) async fn of(
    connection: &Connection,
    node: &Operator,
    status: &GetStatusResponse,
) -> Vec<Check> {
    let now = words::unix_ms(status.clock_time.as_ref());
    let or_unasked = |name: &'static str, asked: Result<Vec<Check>, Failure>| {
        asked.unwrap_or_else(|failure| vec![Check::unasked(name, &failure)])
    };
    let mut checks = or_unasked("keys", keys(node).await);
    checks.extend(or_unasked("revocations", revocations(node, now).await));
    checks.extend(or_unasked("calendar", calendar(node, now).await));
    checks.extend(or_unasked("requests", requests(connection, now).await));
    checks.extend(or_unasked("reviews", reviews(connection, now).await));
    checks
}

async fn keys(node: &Operator) -> Result<Vec<Check>, Failure> {
    const NAME: &str = "keys";
    let request = node.request(ListKeysRequest {}, None);
    let answer = told(node.keys().list_keys(request).await)?;
    let listed = |nodes: &[u64]| {
        let texts: Vec<String> = nodes.iter().map(u64::to_string).collect();
        texts.join(", ")
    };
    let mut checks = Vec::new();
    for key in &answer.keys {
        let missing = listed(&key.missing_node_ids);
        let (level, next) = match key.stage() {
            KeyStage::InUse | KeyStage::Old => (
                Level::Error,
                "copy a complete key file to the node: it does not start again without",
            ),
            KeyStage::Announced => (
                Level::Warning,
                "put the key into the node's file: it cannot be used before",
            ),
            KeyStage::Retired | KeyStage::Unspecified => continue,
        };
        if !key.missing_node_ids.is_empty() {
            let found = format!("key {} is not held by node {missing}", key.key_id);
            checks.push(Check::not(level, NAME, found, next));
        } else if !key.held && level == Level::Error {
            let found = format!("key {} is not held by node {}", key.key_id, answer.node_id);
            checks.push(Check::not(level, NAME, found, next));
        }
    }
    if answer.waiting_count > 0 {
        let found = format!("{} values wait to be sealed anew", answer.waiting_count);
        let next = "nothing: the node that leads does it; tidemark key reseal shows how far it is";
        checks.push(Check::not(Level::Warning, NAME, found, next));
    }
    if checks.is_empty() {
        let found = format!("{} keys, each held by every node", answer.keys.len());
        checks.push(Check::ok(NAME, found));
    }
    Ok(checks)
}

async fn revocations(node: &Operator, now: UnixMs) -> Result<Vec<Check>, Failure> {
    const NAME: &str = "revocations";
    let request = node.request(GetRevocationListRequest {}, None);
    let answer = told(node.revocation_list().get_revocation_list(request).await)?;
    let set = "set a newer one: tidemark revocation set";
    let check = match &answer.revocation_list {
        None if answer.required => {
            let found = "no list was set, and one is required: smartcards are refused";
            Check::not(Level::Error, NAME, found, set)
        }
        None => Check::ok(NAME, "no list was set, and none is required"),
        Some(list) => {
            let next_update = words::unix_ms(list.next_update_time.as_ref());
            let usable = words::unix_ms(list.usable_until_time.as_ref());
            let due = format!("list {}: the next is due at {next_update}", list.number);
            if usable <= now {
                let found = format!("list {} is too old: smartcards are refused", list.number);
                Check::not(Level::Error, NAME, found, set)
            } else if next_update <= now.plus(REVOCATIONS_SOON_MS) {
                let found = format!("{due}; smartcards are refused from {usable} on");
                Check::not(Level::Warning, NAME, found, set)
            } else {
                Check::ok(NAME, due)
            }
        }
    };
    Ok(vec![check])
}

async fn calendar(node: &Operator, now: UnixMs) -> Result<Vec<Check>, Failure> {
    const NAME: &str = "timetable";
    let request = node.request(GetCalendarRequest {}, None);
    let calendar = told(node.calendar().get_calendar(request).await)?;
    let mut checks = vec![holidays(&calendar, now)];
    let request = node.request(LintCalendarRequest::default(), None);
    let found = told(node.calendar().lint_calendar(request).await)?.findings;
    checks.extend(found.iter().map(|finding| {
        let level = match finding.verdict() {
            Verdict::Ok => Level::Ok,
            Verdict::Warning => Level::Warning,
            Verdict::Error | Verdict::Unspecified => Level::Error,
        };
        Check::not(level, NAME, finding.text.clone(), "tidemark calendar set")
    }));
    if found.is_empty() {
        let next = match calendar.next_business_day.as_str() {
            "" => String::new(),
            day => format!("; the next business day is {day}"),
        };
        checks.push(Check::ok(NAME, format!("nothing is wrong with it{next}")));
    }
    Ok(checks)
}

/// Whether the holidays of the days ahead are known: those of a year are loaded at a time.
fn holidays(calendar: &GetCalendarResponse, now: UnixMs) -> Check {
    const NAME: &str = "holidays";
    let next = "load the next year's: tidemark calendar set --holidays FILE";
    let Some(last) = calendar.holidays.iter().max() else {
        return Check::not(Level::Warning, NAME, "none are known", next);
    };
    let year = last.get(..4).unwrap_or(last);
    let ahead = now.plus(HOLIDAYS_AHEAD_MS).to_string();
    if ahead.get(..4).is_some_and(|then| then > year) {
        let found = format!("known until the end of {year} alone");
        return Check::not(Level::Warning, NAME, found, next);
    }
    Check::ok(NAME, format!("known until the end of {year}"))
}

async fn requests(connection: &Connection, now: UnixMs) -> Result<Vec<Check>, Failure> {
    const NAME: &str = "requests";
    let node = Operator::serving(connection).await?;
    let message = ListChangeRequestsRequest {
        parent: "participants/-".to_owned(),
        state: ChangeRequestState::Open.into(),
        page_size: REQUESTS_MAX,
        page_token: String::new(),
    };
    let request = node.request(message, None);
    let answer = told(node.change_request().list_change_requests(request).await)?;
    let more = if answer.next_page_token.is_empty() {
        ""
    } else {
        " at least"
    };
    let open = answer.change_requests.len();
    let soon: Vec<&str> = answer
        .change_requests
        .iter()
        .filter(|request| words::unix_ms(request.expire_time.as_ref()) <= now.plus(REQUEST_SOON_MS))
        .map(|request| request.account.as_str())
        .collect();
    if soon.is_empty() {
        let found = format!("{open}{more} open; none ends within a day");
        return Ok(vec![Check::ok(NAME, found)]);
    }
    let found = format!("{} of {open}{more} open end within a day", soon.len());
    let next = "tidemark request list; approve or reject each";
    Ok(vec![Check::not(Level::Warning, NAME, found, next)])
}

/// Whether somebody has looked at what was taken away by one person.
async fn reviews(connection: &Connection, now: UnixMs) -> Result<Vec<Check>, Failure> {
    let node = Operator::serving(connection).await?;
    let message = ListActReviewsRequest {
        parent: "participants/-".to_owned(),
        state: ActReviewState::Waiting.into(),
        page_size: REQUESTS_MAX,
        page_token: String::new(),
    };
    let request = node.request(message, None);
    let answer = told(node.change_request().list_act_reviews(request).await)?;
    let made = answer.act_reviews.iter();
    let made: Vec<UnixMs> = made
        .map(|act| words::unix_ms(act.create_time.as_ref()))
        .collect();
    Ok(vec![of_reviews(
        &made,
        !answer.next_page_token.is_empty(),
        now,
    )])
}

/// The check of the acts that wait, made at these times, the oldest first; there may be more.
fn of_reviews(made: &[UnixMs], more: bool, now: UnixMs) -> Check {
    const NAME: &str = "reviews";
    let more = if more { " at least" } else { "" };
    let waiting = made.len();
    let old = made.iter().filter(|at| at.plus(REVIEW_WAITS_MS) <= now);
    match old.count() {
        0 => Check::ok(
            NAME,
            format!("{waiting}{more} acts wait for a review; none for a day"),
        ),
        old => {
            let found = format!("{old} of {waiting}{more} acts have waited for a review for a day");
            let next = "tidemark account reviews; another person looks at each";
            Check::not(Level::Warning, NAME, found, next)
        }
    }
}

/// Whether every node has the same trail of the main line, as far as two of them have as many
/// events, and signs its end.
pub(super) async fn audit(found: &[Found<'_>]) -> Check {
    const NAME: &str = "audit";
    let mut heads: BTreeMap<u64, BTreeMap<String, Vec<u64>>> = BTreeMap::new();
    let mut failed = Vec::new();
    for found in found.iter().filter(|found| found.answer.is_ok()) {
        let message = GetCheckpointRequest {
            line: "main".to_owned(),
        };
        let request = found.asked.request(message, None);
        match told(found.asked.audit().get_checkpoint(request).await) {
            Ok(signed) => {
                let at = heads.entry(signed.event_count).or_default();
                at.entry(signed.hash).or_default().push(found.node.id);
            }
            Err(failure) => failed.push(format!("node {}: {}", found.node.id, failure.what)),
        }
    }
    of_heads(&heads, &failed).unwrap_or_else(|| {
        let events = heads.keys().max().copied().unwrap_or(0);
        let found = format!("{events} events at the end, one head, signed by every node");
        Check::ok(NAME, found)
    })
}

fn of_heads(heads: &BTreeMap<u64, BTreeMap<String, Vec<u64>>>, failed: &[String]) -> Option<Check> {
    const NAME: &str = "audit";
    let differ = heads.iter().find(|(_, at)| at.len() > 1);
    if let Some((count, at)) = differ {
        let sides: Vec<String> = at.values().map(|nodes| format!("{nodes:?}")).collect();
        let found = format!(
            "after {count} events nodes have different heads: {}",
            sides.join(" against ")
        );
        let next = "keep the data folders as they are: tidemark audit verify --all-nodes";
        return Some(Check::not(Level::Mismatch, NAME, found, next));
    }
    (!failed.is_empty()).then(|| {
        let found = format!("no signature of its end: {}", failed.join("; "));
        Check::not(Level::Error, NAME, found, "see the logs of those nodes")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holidays_are_wanted_a_month_before_the_year_ends() {
        let calendar = |holidays: &[&str]| GetCalendarResponse {
            holidays: holidays.iter().map(|&day| day.to_owned()).collect(),
            ..GetCalendarResponse::default()
        };
        // 10 June 2023, 18:00 in Hong Kong; and the 10th of December.
        let (june, december) = (UnixMs(1_686_391_200_000), UnixMs(1_702_202_400_000));
        let known = calendar(&["2023-12-25", "2023-06-22"]);
        assert_eq!(holidays(&known, june).level, Level::Ok);
        assert_eq!(holidays(&known, december).level, Level::Warning);
        let further = calendar(&["2023-12-25", "2024-01-01"]);
        assert_eq!(holidays(&further, december).level, Level::Ok);
        assert_eq!(holidays(&calendar(&[]), june).level, Level::Warning);
    }

    #[test]
    fn an_act_that_waited_for_a_day_wants_its_review() {
        let now = UnixMs(10 * DAY_MS);
        let fresh = UnixMs(now.0 - DAY_MS + 1);
        assert_eq!(of_reviews(&[], false, now).level, Level::Ok);
        assert_eq!(of_reviews(&[fresh, now], false, now).level, Level::Ok);
        let old = of_reviews(&[UnixMs(now.0 - DAY_MS), fresh], true, now);
        assert_eq!(old.level, Level::Warning);
        assert!(old.found.starts_with("1 of 2 at least"), "{}", old.found);
    }

    #[test]
    fn two_heads_after_as_many_events_are_a_mismatch() {
        let head = |hash: &str, nodes: &[u64]| (hash.to_owned(), nodes.to_vec());
        let one = BTreeMap::from([head("aa", &[1, 2])]);
        let two = BTreeMap::from([head("aa", &[1]), head("bb", &[2])]);
        let later = BTreeMap::from([head("cc", &[3])]);
        let level = |heads: &_, failed: &[String]| of_heads(heads, failed).map(|check| check.level);
        let same = BTreeMap::from([(5, one), (6, later.clone())]);
        assert_eq!(level(&same, &[]), None);
        assert_eq!(level(&same, &["node 4".to_owned()]), Some(Level::Error));
        let differ = BTreeMap::from([(5, two), (6, later)]);
        assert_eq!(level(&differ, &[]), Some(Level::Mismatch));
    }
}
