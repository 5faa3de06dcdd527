//! `status`: one screen, one verdict first.

use std::time::Instant;

use proto::operator::v1::{
    CentreStatus, GetStatusRequest, GetStatusResponse, LineRole, LineStatus, Session, Verdict,
};
use serde::Serialize;

use super::calendar::verdict;
use crate::args::cluster::Status;
use crate::client::{Operator, told};
use crate::drill::words;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Table};

/// A line of the table.
#[derive(Debug, Serialize)]
struct Row {
    centre: String,
    role: &'static str,
    serves: bool,
    node: u64,
    line: String,
    line_role: &'static str,
    applied: Option<u64>,
    trails: Option<u64>,
    heard_ms: Option<u64>,
    digest: String,
}

/// Shows the status. An error verdict is an exit code too, so that a monitor can use it.
///
/// # Errors
/// What went wrong, with its exit code; 6 if the cluster is degraded.
pub async fn run(flags: &Status, output: Output) -> Result<(), Failure> {
    let began = Instant::now();
    let node = Operator::connect(&flags.connection).await?;
    let request = node.request(GetStatusRequest {}, None);
    let status = told(node.cluster().get_status(request).await)?;
    let age = began.elapsed();
    let rows = rows(&status);
    let document = serde_json::json!({
        "verdict": verdict(status.verdict()),
        "summary": status.summary,
        "reasons": status.reasons,
        "cluster": status.cluster,
        "asked_node": status.node_id,
        "clock": words::local(status.clock_time.as_ref()),
        "simulated_clock": status.simulated_clock,
        "business_day": status.business_day,
        "rules_version": status.rules_version,
        "lines": rows,
        "session": status.session.as_ref().map(session),
        "refused_outside_session": status.refused_outside_session_count,
    });
    output.data(&document, || text(&status, &rows, age))?;
    match status.verdict() {
        Verdict::Ok | Verdict::Warning => Ok(()),
        Verdict::Error | Verdict::Unspecified => Err(Failure::new(
            Exit::Loss,
            format!("the cluster needs attention: {}", status.summary),
        )),
    }
}

fn rows(status: &GetStatusResponse) -> Vec<Row> {
    let mut rows = Vec::new();
    // The longest log of each line, to say how far the others trail.
    let every = || {
        let others = status.nodes.iter().flat_map(|node| &node.lines);
        status.lines.iter().chain(others)
    };
    for node in &status.nodes {
        let own = node.node_id == status.node_id;
        let lines = if own { &status.lines } else { &node.lines };
        let centre = status
            .centres
            .iter()
            .find(|centre| centre.centre == node.centre);
        let row = |line: Option<&LineStatus>| {
            let name = line.map(name).unwrap_or_default();
            let applied = line.and_then(|line| Some(line.applied_log_id.as_ref()?.index));
            let furthest = every()
                .filter(|other| self::name(other) == name)
                .filter_map(|other| Some(other.applied_log_id.as_ref()?.index))
                .max();
            Row {
                centre: node.centre.clone(),
                role: centre.map_or("-", |centre: &CentreStatus| words::centre_role(centre.role)),
                serves: centre.is_some_and(|centre| centre.serving),
                node: node.node_id,
                line: name,
                line_role: match (line, node.heard_ms) {
                    (Some(line), _) => line_role(line.role()),
                    (None, Some(_)) => "-",
                    (None, None) => "unreachable",
                },
                applied,
                trails: applied.and_then(|applied| Some(furthest?.saturating_sub(applied))),
                heard_ms: if own { Some(0) } else { node.heard_ms },
                digest: line
                    .and_then(|line| line.digests.as_ref())
                    .map(|digests| short(&digests.full))
                    .unwrap_or_default(),
            }
        };
        if lines.is_empty() {
            rows.push(row(None));
        }
        rows.extend(lines.iter().map(|line| row(Some(line))));
    }
    rows
}

/// `main, epoch 1`, or `branch S2`.
fn name(line: &LineStatus) -> String {
    let Some(reference) = &line.line else {
        return "-".to_owned();
    };
    match reference.line.strip_prefix("branch/") {
        None => format!("{}, epoch {}", reference.line, reference.epoch),
        Some(rest) => format!("branch {}", rest.split('/').next().unwrap_or(rest)),
    }
}

fn line_role(role: LineRole) -> &'static str {
    match role {
        LineRole::Leader => "leader",
        LineRole::Follower => "follower",
        LineRole::Learner => "learner",
        LineRole::Unspecified => "-",
    }
}

/// `9f3c…a1`: enough to compare by eye.
fn short(digest: &str) -> String {
    match (
        digest.get(..4),
        digest.get(digest.len().saturating_sub(2)..),
    ) {
        (Some(head), Some(tail)) if digest.len() > 8 => format!("{head}…{tail}"),
        (_, _) => digest.to_owned(),
    }
}

fn session(session: &Session) -> serde_json::Value {
    let boundary = session.boundary.as_ref();
    serde_json::json!({
        "session": session.session,
        "centre": session.centre,
        "opens": words::local(session.open_time.as_ref()),
        "closes": words::local(session.close_time.as_ref()),
        "source": session.source,
        "stage": words::stage(session.stage),
        "serving": session.serving,
        "boundary": boundary.and_then(|boundary| boundary.log_id.as_ref()).map(words::log_id),
    })
}

fn text(status: &GetStatusResponse, rows: &[Row], age: std::time::Duration) -> String {
    let mut text = format!(
        "{}  {}   (checked {:.1} s ago, node {})",
        verdict(status.verdict()),
        status.summary,
        age.as_secs_f32(),
        status.node_id
    );
    for reason in &status.reasons {
        text.push_str(&format!("\n    {reason}"));
    }
    text.push_str(&format!(
        "\nclock {}{}, business day {}\n\n",
        words::local(status.clock_time.as_ref()),
        if status.simulated_clock {
            " (simulated)"
        } else {
            ""
        },
        status.business_day
    ));
    let mut table = Table::new(&[
        "CENTRE", "ROLE", "SERVES", "NODE", "LINE", "IS", "APPLIED", "TRAILS", "HEARD", "DIGEST",
    ]);
    let number =
        |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    for row in rows {
        table.row([
            row.centre.clone(),
            row.role.to_owned(),
            if row.serves { "yes" } else { "no" }.to_owned(),
            row.node.to_string(),
            row.line.clone(),
            row.line_role.to_owned(),
            number(row.applied),
            number(row.trails),
            row.heard_ms
                .map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms")),
            row.digest.clone(),
        ]);
    }
    text.push_str(&table.text());
    if let Some(session) = &status.session {
        text.push_str(&format!(
            "\n\nSESSION {}  {}  {} to {}, {}{}",
            session.session,
            session.centre,
            words::local(session.open_time.as_ref()),
            words::local(session.close_time.as_ref()),
            words::stage(session.stage),
            if session.source.is_empty() {
                String::new()
            } else {
                format!("   ({})", session.source)
            }
        ));
        if let Some(boundary) = &session.boundary {
            text.push_str(&format!(
                "\n  boundary {}  {}\n  What is changed in it is FORGOTTEN at rollover.",
                boundary
                    .log_id
                    .as_ref()
                    .map(words::log_id)
                    .unwrap_or_default(),
                boundary
                    .digests
                    .as_ref()
                    .map(|digests| short(&digests.full))
                    .unwrap_or_default()
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_shown_short() {
        assert_eq!(short("9f3c0000000000a1"), "9f3c…a1");
        assert_eq!(short("9f3c"), "9f3c");
        assert_eq!(short(""), "");
    }
}
