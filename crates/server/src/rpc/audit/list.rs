//! Events by the page.

use proto::audit::v1 as wired;

use super::filter::Filter;
use super::{ROWS_AT_ONCE, Source, event};
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
    let source = Source::named(edge, &body.line)?;
    let filter = Filter::read(edge, &ask, &state, Some(&source), body.filter.as_ref())?;
    let mut events = Vec::new();
    let mut next = None;
    'looking: for _ in 0..LOOKS_MAX {
        let rows = source.page(edge, from, ROWS_AT_ONCE).await?;
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
