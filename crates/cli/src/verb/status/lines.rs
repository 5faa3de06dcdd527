//! The lines of all nodes: a row a centre and line, and a row a node.

use proto::operator::v1::{
    CentreRole, CentreStatus, GetStatusResponse, LineRole, LineStatus, NodeStatus, ProtectionMode,
};
use serde::Serialize;

use crate::drill::words;
use crate::output::Table;

/// One line at one node.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    centre: String,
    role: &'static str,
    serves: bool,
    node: u64,
    reachable: bool,
    heard_ms: Option<u64>,
    clock_ahead_ms: Option<i64>,
    line: Option<String>,
    line_role: Option<&'static str>,
    applied: Option<u64>,
    trails: Option<u64>,
    account_digest: Option<String>,
    full_digest: Option<String>,
}

/// Every line of every node; a node that was never heard has one row without a line.
pub(super) fn rows(status: &GetStatusResponse) -> Vec<Row> {
    let mut rows = Vec::new();
    for node in &status.nodes {
        if node.lines.is_empty() {
            rows.push(row(status, node, None));
        }
        rows.extend(node.lines.iter().map(|line| row(status, node, Some(line))));
    }
    rows
}

fn row(status: &GetStatusResponse, node: &NodeStatus, line: Option<&LineStatus>) -> Row {
    let centre = status
        .centres
        .iter()
        .find(|centre| centre.centre == node.centre);
    let applied = |line: &LineStatus| Some(line.applied_log_id.as_ref()?.index);
    let name = line.and_then(name);
    let furthest = status
        .nodes
        .iter()
        .flat_map(|node| &node.lines)
        .filter(|other| self::name(other) == name)
        .filter_map(applied)
        .max();
    let here = line.and_then(applied);
    let digests = line.and_then(|line| line.digests.clone());
    Row {
        centre: node.centre.clone(),
        role: centre.map_or("-", |centre: &CentreStatus| words::centre_role(centre.role)),
        serves: centre.is_some_and(|centre| centre.serving),
        node: node.node_id,
        reachable: node.reachable,
        heard_ms: node.heard_ms,
        clock_ahead_ms: node.clock_ahead_ms,
        line: name,
        line_role: line.map(|line| line_role(line.role())),
        applied: here,
        trails: here.and_then(|here| Some(furthest?.saturating_sub(here))),
        account_digest: digests.as_ref().map(|digests| digests.account.clone()),
        full_digest: digests.map(|digests| digests.full),
    }
}

/// The nodes that were not heard lately.
pub(super) fn unreachable(status: &GetStatusResponse) -> Vec<u64> {
    let away = status.nodes.iter().filter(|node| !node.reachable);
    away.map(|node| node.node_id).collect()
}

/// `main, epoch 1`, or `branch S2`.
fn name(line: &LineStatus) -> Option<String> {
    let reference = line.line.as_ref()?;
    Some(match reference.line.strip_prefix("branch/") {
        None => format!("{}, epoch {}", reference.line, reference.epoch),
        Some(rest) => format!("branch {}", rest.split('/').next().unwrap_or(rest)),
    })
}

fn line_role(role: LineRole) -> &'static str {
    match role {
        LineRole::Leader => "leader",
        LineRole::Follower => "follower",
        LineRole::Learner => "learner",
        LineRole::Unspecified => "stopped",
    }
}

/// The table of UX: a row for each line of each centre, with how many of its nodes have it.
pub(super) fn grouped(status: &GetStatusResponse, rows: &[Row]) -> String {
    let mut table = Table::new(&[
        "CENTRE", "ROLE", "SERVES", "NODES", "LINE", "APPLIED", "TRAILS", "ACK", "OFFSET", "DIGEST",
    ]);
    for centre in &status.centres {
        let of_centre = || rows.iter().filter(|row| row.centre == centre.centre);
        let count = |reachable: &[&Row]| {
            let nodes = status.nodes.iter();
            let all = nodes.filter(|node| node.centre == centre.centre).count();
            format!("{}/{all}", reachable.len())
        };
        let mut lines: Vec<&str> = of_centre().filter_map(|row| row.line.as_deref()).collect();
        // The main line first: it is the one that every node has.
        lines.sort_unstable_by_key(|line| (line.starts_with("branch "), *line));
        lines.dedup();
        let mut first = vec![
            centre.centre.clone(),
            words::centre_role(centre.role).to_owned(),
            if centre.serving { "yes" } else { "no" }.to_owned(),
        ];
        if lines.is_empty() {
            first.extend([count(&[]), "-".to_owned()]);
            table.row(std::mem::take(&mut first));
        }
        for line in lines {
            let here: Vec<&Row> = of_centre()
                .filter(|row| row.reachable && row.line.as_deref() == Some(line))
                .collect();
            let mut cells = std::mem::take(&mut first);
            cells.resize(3, String::new());
            cells.extend([
                count(&here),
                line.to_owned(),
                applied(&here),
                trails(&here),
                acknowledges(status, centre, line).to_owned(),
                offset(&here),
                digest(&here),
            ]);
            table.row(cells);
        }
    }
    table.text()
}

/// The entry that all have applied, or the first and the last.
fn applied(rows: &[&Row]) -> String {
    let entries = || rows.iter().filter_map(|row| row.applied);
    match (entries().min(), entries().max()) {
        (Some(least), Some(most)) if least == most => thousands(most),
        (Some(least), Some(most)) => format!("{} to {}", thousands(least), thousands(most)),
        (_, _) => "-".to_owned(),
    }
}

/// By how much the node that trails most does.
fn trails(rows: &[&Row]) -> String {
    let most = rows.iter().filter_map(|row| row.trails).max();
    most.map_or_else(|| "-".to_owned(), thousands)
}

/// What answers of the main line wait for from this centre.
fn acknowledges(status: &GetStatusResponse, centre: &CentreStatus, line: &str) -> &'static str {
    let of_main = !line.starts_with("branch ");
    match (&status.protection, centre.role()) {
        (Some(protection), CentreRole::Secondary) if of_main => {
            match (protection.mode(), &protection.degraded_time) {
                (ProtectionMode::Async, _) => "async",
                (ProtectionMode::Sync | ProtectionMode::Strict, Some(_)) => "DEGRADED",
                (ProtectionMode::Sync, None) => "sync",
                (ProtectionMode::Strict, None) => "strict",
                (ProtectionMode::Unspecified, None | Some(_)) => "-",
            }
        }
        (_, _) => "-",
    }
}

/// The clock that is furthest from the asked node's.
fn offset(rows: &[&Row]) -> String {
    let offsets = rows.iter().filter_map(|row| row.clock_ahead_ms);
    let greatest = offsets.max_by_key(|ms| ms.unsigned_abs());
    greatest.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"))
}

/// The digest at the latest entry. Nodes that trail have another one, of another entry.
fn digest(rows: &[&Row]) -> String {
    let latest = rows.iter().filter_map(|row| row.applied).max();
    let mut digests: Vec<&str> = rows
        .iter()
        .filter(|row| row.applied == latest)
        .filter_map(|row| row.full_digest.as_deref())
        .collect();
    digests.sort_unstable();
    digests.dedup();
    match digests.as_slice() {
        [] => "-".to_owned(),
        [one] => short(one),
        [_, _, ..] => "DIFFER".to_owned(),
    }
}

/// A row a node and line.
pub(super) fn each(rows: &[Row]) -> String {
    let mut table = Table::new(&[
        "NODE", "CENTRE", "LINE", "IS", "APPLIED", "TRAILS", "HEARD", "OFFSET", "DIGEST",
    ]);
    let dash = || "-".to_owned();
    for row in rows {
        table.row([
            row.node.to_string(),
            row.centre.clone(),
            row.line.clone().unwrap_or_else(dash),
            match (row.reachable, row.line_role) {
                (true, Some(role)) => role.to_owned(),
                (true, None) => dash(),
                (false, _) => "unreachable".to_owned(),
            },
            row.applied.map_or_else(dash, thousands),
            row.trails.map_or_else(dash, thousands),
            row.heard_ms
                .map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms ago")),
            row.clock_ahead_ms
                .map_or_else(dash, |ms| format!("{ms} ms")),
            row.full_digest.as_deref().map_or_else(dash, short),
        ]);
    }
    table.text()
}

/// `128,734`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `9f3c…a1`: enough to compare by eye.
pub(super) fn short(digest: &str) -> String {
    match (
        digest.get(..4),
        digest.get(digest.len().saturating_sub(2)..),
    ) {
        (Some(head), Some(tail)) if digest.len() > 8 => format!("{head}…{tail}"),
        (_, _) => digest.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may fail loudly")]
mod tests {
    use proto::line::v1::{Digests, LineReference, LogId};

    use super::*;

    fn line(index: u64, full: &str) -> LineStatus {
        LineStatus {
            line: Some(LineReference {
                cluster: String::new(),
                line: "main".to_owned(),
                epoch: 1,
            }),
            applied_log_id: Some(LogId {
                term: 1,
                node: 1,
                index,
            }),
            digests: Some(Digests {
                account: String::new(),
                full: full.to_owned(),
            }),
            ..LineStatus::default()
        }
    }

    fn node(node_id: u64, line: Option<LineStatus>) -> NodeStatus {
        NodeStatus {
            node_id,
            centre: "east".to_owned(),
            reachable: line.is_some(),
            lines: line.into_iter().collect(),
            ..NodeStatus::default()
        }
    }

    fn status(nodes: Vec<NodeStatus>) -> GetStatusResponse {
        GetStatusResponse {
            nodes,
            centres: vec![CentreStatus {
                centre: "east".to_owned(),
                ..CentreStatus::default()
            }],
            ..GetStatusResponse::default()
        }
    }

    fn shown(status: &GetStatusResponse) -> String {
        grouped(status, &rows(status))
    }

    #[test]
    fn a_centre_whose_nodes_agree_is_one_row() {
        let same = || Some(line(1_234, "9f3c0000000000a1"));
        let status = status(vec![node(1, same()), node(2, same()), node(3, None)]);
        let text = shown(&status);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("2/3") && text.contains("1,234"), "{text}");
        assert!(text.contains("9f3c…a1"), "{text}");
        assert_eq!(unreachable(&status), [3]);
        assert_eq!(rows(&status).len(), 3);
    }

    #[test]
    fn a_node_that_trails_has_no_say_in_the_digest() {
        let status = status(vec![
            node(1, Some(line(9, "aaaa0000000000a1"))),
            node(2, Some(line(7, "bbbb0000000000b1"))),
        ]);
        assert!(shown(&status).contains("7 to 9"));
        assert!(shown(&status).contains("aaaa…a1"));
        assert_eq!(rows(&status)[1].trails, Some(2));
    }

    #[test]
    fn the_secondary_says_how_far_it_trails_and_whether_it_is_waited_for() {
        let mut behind = node(4, Some(line(1_200, "bbbb0000000000b1")));
        behind.centre = "west".to_owned();
        let mut status = status(vec![node(1, Some(line(1_234, "aaaa0000000000a1"))), behind]);
        status.centres.push(CentreStatus {
            centre: "west".to_owned(),
            role: CentreRole::Secondary.into(),
            ..CentreStatus::default()
        });
        let mut protection = proto::operator::v1::ProtectionStatus {
            mode: ProtectionMode::Sync.into(),
            ..Default::default()
        };
        let row = |status: &GetStatusResponse, protection: &_| {
            let told = GetStatusResponse {
                protection: Some(Clone::clone(protection)),
                ..status.clone()
            };
            let text = shown(&told);
            let words = |line: &str| {
                line.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            let lines: Vec<Vec<String>> = text.lines().map(words).collect();
            [lines[1].join(" "), lines[2].join(" ")]
        };
        let [east, west] = row(&status, &protection);
        assert!(east.contains("1,234 0 - -"), "{east}");
        assert!(west.contains("1,200 34 sync -"), "{west}");
        protection.degraded_time = Some(prost_types::Timestamp::default());
        assert!(row(&status, &protection)[1].contains("34 DEGRADED"));
        protection.mode = ProtectionMode::Async.into();
        assert!(row(&status, &protection)[1].contains("34 async"));
    }

    #[test]
    fn digests_that_differ_at_one_entry_are_named() {
        let status = status(vec![
            node(1, Some(line(9, "aaaa0000000000a1"))),
            node(2, Some(line(9, "bbbb0000000000b1"))),
        ]);
        assert!(shown(&status).contains("DIFFER"));
    }

    #[test]
    fn digests_are_shown_short_and_numbers_in_thousands() {
        assert_eq!(short("9f3c0000000000a1"), "9f3c…a1");
        assert_eq!(short("9f3c"), "9f3c");
        assert_eq!(short(""), "");
        assert_eq!(thousands(128_734), "128,734");
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(1_000), "1,000");
    }
}
