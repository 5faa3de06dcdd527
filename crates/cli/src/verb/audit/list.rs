//! `audit list`: events by filter, oldest first.

use proto::audit::v1::{AuditEvent, AuditFilter, ListAuditEventsRequest};

use crate::args::audit::{Filter, List};
use crate::client::{Operator, told};
use crate::drill::words;
use crate::exit::Failure;
use crate::output::{Output, Table};

const PAGE: usize = 1_000;

/// A filter as the API has it.
pub(super) fn filter(flags: &Filter) -> AuditFilter {
    let said = |text: &Option<String>| text.clone().unwrap_or_default();
    AuditFilter {
        account: said(&flags.account),
        participant: said(&flags.participant),
        kinds: flags.kinds.clone(),
        session: said(&flags.session),
        ..AuditFilter::default()
    }
}

/// An event as JSON: its record, with its hash.
pub(in crate::verb) fn document(event: &AuditEvent) -> serde_json::Value {
    let record: serde_json::Value = serde_json::from_str(&event.detail_json).unwrap_or_default();
    serde_json::json!({
        "sequence": event.sequence,
        "time": words::local(event.time.as_ref()),
        "kind": event.kind,
        "verdict": event.verdict,
        "by": event.by,
        "account": event.account,
        "participant": event.participant,
        "hash": event.hash,
        "record": record,
    })
}

/// An event's cells for people.
pub(in crate::verb) fn cells(event: &AuditEvent) -> [String; 6] {
    let record: serde_json::Value = serde_json::from_str(&event.detail_json).unwrap_or_default();
    let detail = record.get("detail").and_then(serde_json::Value::as_str);
    let or_none = |text: &str| match text {
        "" => "-".to_owned(),
        text => text.to_owned(),
    };
    let about = match event.account.as_str() {
        "" => &event.participant,
        account => account,
    };
    [
        event.sequence.to_string(),
        words::local(event.time.as_ref()),
        match event.verdict.as_str() {
            "Done" => event.kind.clone(),
            verdict => format!("{} ({verdict})", event.kind),
        },
        or_none(&event.by),
        or_none(about),
        or_none(detail.unwrap_or_default()),
    ]
}

/// Their headings.
pub(super) const HEADINGS: [&str; 6] = ["ROW", "TIME", "WHAT", "BY", "ABOUT", "DETAIL"];

pub(super) async fn run(flags: &List, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let filter = AuditFilter {
        from_time: flags.from.map(words::timestamp),
        until_time: flags.until.map(words::timestamp),
        ..filter(&flags.filter)
    };
    let mut events = Vec::new();
    let mut page_token = String::new();
    while events.len() < flags.limit {
        let left = flags.limit.saturating_sub(events.len()).min(PAGE);
        let message = ListAuditEventsRequest {
            line: flags.line.clone(),
            page_size: i32::try_from(left).unwrap_or(i32::MAX),
            page_token,
            filter: Some(filter.clone()),
        };
        let request = node.request(message, None);
        let answer = told(node.audit().list_audit_events(request).await)?;
        events.extend(answer.events);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if !page_token.is_empty() {
        output.talk("there are more: raise --limit, or narrow the filter");
    }
    let documents: Vec<_> = events.iter().map(document).collect();
    output.data(
        &serde_json::json!({ "line": flags.line, "events": documents }),
        || {
            let mut table = Table::new(&HEADINGS);
            for event in &events {
                table.row(cells(event));
            }
            table.text()
        },
    )
}
