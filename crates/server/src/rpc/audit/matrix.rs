//! Who tried and passed what, from the records alone (R51, R56).

use std::collections::BTreeMap;

use domain::account::Class;
use domain::audit::{Kind, Row, Verdict};
use domain::factor::Method;
use domain::id::{AccountId, ParticipantId, SessionId};
use proto::audit::v1 as wired;

use super::{ROWS_AT_ONCE, branch, operators_only, page};
use crate::edge::Edge;
use crate::reads::Read;
use crate::request::Ask;
use crate::status::Refusal;
use crate::wire;

type Cell = (SessionId, ParticipantId, AccountId, Class, Method);

/// The cells that are not empty.
pub(super) async fn matrix(
    edge: &Edge,
    ask: Ask<wired::GetCompletionMatrixRequest>,
) -> Result<wired::GetCompletionMatrixResponse, Refusal> {
    operators_only(&ask)?;
    let main = edge.node().main();
    let state = main.state();
    let mut lines = vec![main.reference()];
    lines.extend(
        state
            .plans()
            .filter_map(|plan| branch(edge, &state, &plan.session.id)),
    );
    let wanted = &ask.body.sessions;
    let mut cells: BTreeMap<Cell, wired::Completion> = BTreeMap::new();
    for (index, line) in lines.iter().enumerate() {
        let mut from = 0;
        loop {
            let rows = match page(edge, line, from, ROWS_AT_ONCE).await {
                // A branch's rows may be at other nodes alone.
                Err(_) if index > 0 => break,
                found => found?,
            };
            let Some(last) = rows.last() else { break };
            from = last.sequence.saturating_add(1);
            for row in &rows {
                count(&mut cells, row, wanted);
            }
        }
    }
    let read = Read::of(format!("sessions={}", wanted.join(",")), cells.len());
    edge.note_read(&ask, &state, read)?;
    Ok(wired::GetCompletionMatrixResponse {
        completions: cells.into_values().collect(),
    })
}

fn count(cells: &mut BTreeMap<Cell, wired::Completion>, row: &Row, wanted: &[String]) {
    let (Some(session), Some(participant), Some(account), Some(class), Some(method)) = (
        &row.session,
        &row.participant,
        &row.account,
        row.class,
        row.method,
    ) else {
        return;
    };
    if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == session.as_str()) {
        return;
    }
    if !matches!(row.kind, Kind::LoginVerified | Kind::ConnectivityCompleted) {
        return;
    }
    let key = (
        session.clone(),
        participant.clone(),
        account.clone(),
        class,
        method,
    );
    let cell = cells.entry(key).or_insert_with(|| wired::Completion {
        session: session.to_string(),
        participant: wire::participant_name(participant),
        account: wire::account_name(participant, class, account),
        account_class: wire::class(class).into(),
        method: wire::method(method).into(),
        ..Default::default()
    });
    if row.kind == Kind::ConnectivityCompleted {
        cell.completed = true;
        return;
    }
    cell.tried_count = cell.tried_count.saturating_add(1);
    if row.verdict == Verdict::Done {
        cell.passed_count = cell.passed_count.saturating_add(1);
    }
}
