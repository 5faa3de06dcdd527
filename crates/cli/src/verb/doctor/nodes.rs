//! What is checked of each node: that it answers, its clock, its disk, its program, its key file.

use std::collections::BTreeMap;

use proto::operator::v1::{GetStatusResponse, NodeStatus};

use super::{Check, Found, Level, certificates, size};

/// A clock that is further off is told of; past two seconds a node does not serve.
const OFFSET_MS: u64 = 500;
const OFFSET_MS_MAX: u64 = 2_000;
/// Too little room on a disk.
const LITTLE_BYTES: u64 = 2 << 30;
const LITTLE_PERCENT: u64 = 10;
/// So little that a night may fill it.
const NONE_BYTES: u64 = 512 << 20;
const NONE_PERCENT: u64 = 2;

/// Whether operators reach each node.
pub(super) fn reached(found: &[Found<'_>]) -> Vec<Check> {
    let check = |found: &Found<'_>| {
        let who = format!("node {} of {}", found.node.id, found.node.centre);
        match &found.answer {
            Ok(_) => {
                let took = format!("{who} answers, in {} ms", found.took.as_millis());
                Check::ok("reached", took)
            }
            Err(failure) => Check::not(
                Level::Error,
                "reached",
                format!(
                    "{who} does not answer at {}: {}",
                    found.node.operator, failure.what
                ),
                "start the node, or mend the way to its operators' listener",
            ),
        }
    };
    found.iter().map(check).collect()
}

/// What nodes say of themselves.
pub(super) fn facts(found: &[Found<'_>], status: &GetStatusResponse) -> Vec<Check> {
    let said: Vec<&NodeStatus> = found.iter().filter_map(Found::itself).collect();
    let mut checks = vec![
        peers(found, status),
        // How far clocks are apart, one node can tell of all.
        clocks(&status.nodes),
    ];
    checks.push(versions(&said));
    checks.extend(disks(&said));
    checks.extend(certificates::of_nodes(found, status));
    checks.extend(key_files(&said));
    checks
}

/// Whether the nodes reach each other.
fn peers(found: &[Found<'_>], status: &GetStatusResponse) -> Check {
    let mut gaps = Vec::new();
    for answer in found.iter().filter_map(|found| found.answer.as_ref().ok()) {
        let away = answer.nodes.iter().filter(|node| !node.reachable);
        gaps.extend(away.map(|node| format!("{} from {}", node.node_id, answer.node_id)));
    }
    if gaps.is_empty() {
        let found = format!("the {} nodes hear each other", status.nodes.len());
        return Check::ok("peers", found);
    }
    Check::not(
        Level::Error,
        "peers",
        format!("not heard: node {}", gaps.join(", node ")),
        "start the nodes that are down, or mend the way between their peer listeners",
    )
}

fn clocks(nodes: &[NodeStatus]) -> Check {
    const NAME: &str = "clocks";
    let off: Vec<String> = nodes
        .iter()
        .filter(|node| node.clock_off)
        .map(|node| node.node_id.to_string())
        .collect();
    let offset = |node: &NodeStatus| node.clock_ahead_ms.map(i64::unsigned_abs);
    let known = nodes.iter().filter(|node| node.reachable);
    let furthest = known
        .filter_map(|node| Some((offset(node)?, node)))
        .max_by_key(|(ms, _)| *ms);
    let next = "see to the machine's time service";
    match furthest {
        _ if !off.is_empty() => {
            let found = format!(
                "node {}: off its peers', so it does not serve",
                off.join(", ")
            );
            Check::not(Level::Error, NAME, found, next)
        }
        Some((ms, node)) if ms > OFFSET_MS => {
            let level = if ms > OFFSET_MS_MAX {
                Level::Error
            } else {
                Level::Warning
            };
            let found = format!("node {} is {ms} ms from the others", node.node_id);
            Check::not(level, NAME, found, next)
        }
        Some((ms, _)) => Check::ok(NAME, format!("at most {ms} ms apart")),
        None => Check::not(Level::Warning, NAME, "not compared yet", next),
    }
}

fn versions(said: &[&NodeStatus]) -> Check {
    let mut versions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for node in said {
        let of = versions.entry(&node.version).or_default();
        of.push(node.node_id.to_string());
    }
    let told: Vec<String> = versions
        .iter()
        .map(|(version, nodes)| format!("{version} at node {}", nodes.join(", ")))
        .collect();
    match versions.len() {
        0 | 1 => Check::ok("versions", told.join("; ")),
        _ => Check::not(
            Level::Warning,
            "versions",
            told.join("; "),
            "finish the upgrade, one node after another",
        ),
    }
}

fn room(free: u64, total: u64) -> Level {
    let percent = |percent| total / 100 * percent;
    if free < NONE_BYTES || free < percent(NONE_PERCENT) {
        Level::Error
    } else if free < LITTLE_BYTES || free < percent(LITTLE_PERCENT) {
        Level::Warning
    } else {
        Level::Ok
    }
}

fn disks(said: &[&NodeStatus]) -> Vec<Check> {
    const NAME: &str = "disks";
    let next = "make room on the file system of the data folder";
    let mut least: Option<u64> = None;
    let mut checks = Vec::new();
    for node in said {
        let id = node.node_id;
        match (node.disk_free_bytes, node.disk_total_bytes) {
            (Some(free), Some(total)) => {
                least = least.into_iter().chain([free]).min();
                let level = room(free, total);
                if level != Level::Ok {
                    let found = format!("node {id}: {} of {} free", size(free), size(total));
                    checks.push(Check::not(level, NAME, found, next));
                }
            }
            (_, _) => {
                let found = format!("node {id}: the room is not known");
                checks.push(Check::not(Level::Warning, NAME, found, next));
            }
        }
    }
    match (checks.is_empty(), least) {
        (true, Some(least)) => vec![Check::ok(NAME, format!("{} free at least", size(least)))],
        (_, _) => checks,
    }
}

fn key_files(said: &[&NodeStatus]) -> Vec<Check> {
    let wrong: Vec<Check> = said
        .iter()
        .filter(|node| !node.key_problem.is_empty())
        .map(|node| {
            let found = format!("node {}: {}", node.node_id, node.key_problem);
            let next = "copy another node's key file: the node will not start again with this one";
            Check::not(Level::Error, "key files", found, next)
        })
        .collect();
    if wrong.is_empty() {
        return vec![Check::ok(
            "key files",
            "every node that answers can read its own",
        )];
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn node(node_id: u64) -> NodeStatus {
        NodeStatus {
            node_id,
            reachable: true,
            version: "1.0.0".to_owned(),
            clock_ahead_ms: Some(3),
            disk_free_bytes: Some(50 * GIB),
            disk_total_bytes: Some(100 * GIB),
            ..NodeStatus::default()
        }
    }

    #[test]
    fn a_disk_is_told_of_before_it_is_full() {
        assert_eq!(room(50 * GIB, 100 * GIB), Level::Ok);
        assert_eq!(room(9 * GIB, 100 * GIB), Level::Warning);
        assert_eq!(room(GIB, 5 * GIB), Level::Warning);
        assert_eq!(room(GIB, 100 * GIB), Level::Error);
        assert_eq!(room(GIB / 4, GIB), Level::Error);
        let unknown = NodeStatus {
            disk_free_bytes: None,
            ..node(2)
        };
        let found = disks(&[&node(1), &unknown]);
        let levels: Vec<Level> = found.iter().map(|check| check.level).collect();
        assert_eq!(levels, [Level::Warning]);
    }

    #[test]
    fn a_clock_is_told_of_before_it_stops_the_node() {
        let with = |ahead: i64, off: bool| {
            let other = NodeStatus {
                clock_ahead_ms: Some(ahead),
                clock_off: off,
                ..node(2)
            };
            clocks(&[node(1), other]).level
        };
        assert_eq!(with(-400, false), Level::Ok);
        assert_eq!(with(-600, false), Level::Warning);
        assert_eq!(with(2_100, false), Level::Error);
        assert_eq!(with(0, true), Level::Error);
    }

    #[test]
    fn nodes_of_two_versions_are_named() {
        let newer = NodeStatus {
            version: "1.1.0".to_owned(),
            ..node(3)
        };
        assert_eq!(versions(&[&node(1), &node(2)]).level, Level::Ok);
        let check = versions(&[&node(1), &node(2), &newer]);
        assert_eq!(check.level, Level::Warning);
        assert_eq!(check.found, "1.0.0 at node 1, 2; 1.1.0 at node 3");
    }
}
