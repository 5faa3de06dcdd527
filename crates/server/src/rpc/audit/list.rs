//! Events by the page.

use consensus::place;
use domain::audit::Row;
use proto::audit::v1 as wired;

use super::filter::Filter;
use super::{ROWS_AT_ONCE, Source, event, operators_only};
use crate::edge::Edge;
use crate::reads::Read;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;
/// Most pages of rows that one call looks through; what it found by then is answered.
const LOOKS_MAX: usize = 16;

/// A page of what is wanted. Where few rows fit, it may be short.
pub(super) async fn list(
    edge: &Edge,
    ask: Ask<wired::ListAuditEventsRequest>,
) -> Result<wired::ListAuditEventsResponse, Refusal> {
    let body = &ask.body;
    let size = wire::page_size(body.page_size, PAGE_DEFAULT, PAGE_MAX)?;
    let mut from: u64 = match body.page_token.as_str() {
        "" => 0,
        text => text.parse().map_err(|_| {
            Refusal::malformed(Field::Other("page_token"), "one that was answered before")
        })?,
    };
    let state = edge.serving_line().state();
    let source = if place::is_dropped(&body.line) {
        operators_only(&ask)?;
        None
    } else {
        Some(Source::named(edge, &body.line)?)
    };
    let filter = Filter::read(edge, &ask, &state, source.as_ref(), body.filter.as_ref())?;
    let mut events = Vec::new();
    let mut next = None;
    'looking: for _ in 0..LOOKS_MAX {
        let rows = match &source {
            Some(source) => source.page(edge, from, ROWS_AT_ONCE).await?,
            None => dropped(edge, &body.line, from).await?,
        };
        next = None;
        for row in &rows {
            if filter.is_past(row) {
                break 'looking;
            }
            if filter.fits(row) {
                if events.len() >= size {
                    next = Some(row.sequence);
                    break 'looking;
                }
                events.push(event(row));
            }
        }
        let Some(last) = rows.last() else {
            break;
        };
        from = last.sequence.saturating_add(1);
        next = Some(from);
    }
    let about = format!("line={} {filter}", body.line);
    let read = Read::of(about, events.len()).about(filter.account());
    edge.note_read(&ask, &state, read)?;
    Ok(wired::ListAuditEventsResponse {
        events,
        next_page_token: next.map(|at| at.to_string()).unwrap_or_default(),
    })
}

/// What was dropped of an old main line, as this node keeps it.
async fn dropped(edge: &Edge, name: &str, from: u64) -> Result<Vec<Row>, Refusal> {
    let rows_max = usize::try_from(ROWS_AT_ONCE).unwrap_or(usize::MAX);
    let rows = edge.node().dropped_rows(name, from, rows_max).await;
    rows.map_err(|error| Refusal::NoEvidence {
        why: error.to_string(),
    })
}
