//! What is looked at before an act on the centres, each by itself: an operator sees all of it.

use domain::{CentreName, LineId, Rejection, State, UnixMs};
use proto::operator::v1::{Check, Verdict};

use super::heard::{self, Known, differing};
use crate::edge::Edge;

/// Entries that a node of the other centre may lack.
const LAG_MAX: u64 = 1_000;

/// From how long before its end on a certificate is a warning, in milliseconds: 30 days.
const CERTIFICATE_SOON_MS: u64 = 30 * 86_400_000;
/// Below this much room the role does not move, and below that it is a warning; in percent.
const DISK_FULL_PERCENT: u64 = 2;
const DISK_LITTLE_PERCENT: u64 = 10;

fn check(name: &str, verdict: Verdict, text: impl Into<String>) -> Check {
    Check {
        check: name.to_owned(),
        verdict: verdict.into(),
        text: text.into(),
    }
}

/// The checks before a switchover to this centre, the worst first. Every node is asked anew: one
/// that was lost in the last seconds is seen.
pub(in crate::rpc) async fn before_switchover(
    edge: &Edge,
    state: &State,
    to: &CentreName,
) -> Vec<Check> {
    if state.nodes_of(to).next().is_none() {
        return vec![plan(state, to)];
    }
    let answered = edge.node().hear().await;
    let mut known = heard::nodes(edge);
    let silent = |node: &&mut Known| node.id != edge.node().id() && !answered.contains(&node.id);
    for node in known.iter_mut().filter(silent) {
        node.heard_ms = None;
    }
    let there: Vec<&Known> = known.iter().filter(|node| node.centre == *to).collect();
    let mut checks = vec![
        plan(state, to),
        nodes(&there, to),
        lag(state.header().applied.index, &there),
        digests(&differing(edge, &known)),
        clocks(&known),
        versions(&known),
        keys(&there),
        certificates(edge.node().base_time(), &there),
        disks(&there),
    ];
    checks.sort_by_key(|check| std::cmp::Reverse(check.verdict));
    checks
}

fn plan(state: &State, to: &CentreName) -> Check {
    let text = match state.may_switch(to) {
        Ok(()) => return check("PLAN", Verdict::Ok, format!("{to} can become the primary")),
        Err(Rejection::AlreadySo) => format!("{to} is the primary, or is becoming it"),
        Err(Rejection::BranchOpen { session }) => {
            format!("session {session} is not rolled over: that comes first")
        }
        Err(Rejection::CentreSwitching { to }) => format!("a switchover to {to} is under way"),
        Err(Rejection::NoSuchCentre) => format!("there is no centre {to} with nodes"),
        Err(Rejection::Degraded { since }) => {
            format!("degraded since {since}: {to} lacks what was answered since")
        }
        Err(other) => format!("{to} cannot become the primary: {}", other.code()),
    };
    check("PLAN", Verdict::Error, text)
}

fn nodes(there: &[&Known], to: &CentreName) -> Check {
    let away: Vec<String> = there
        .iter()
        .filter(|node| !node.is_reachable())
        .map(|node| node.id.to_string())
        .collect();
    let reached = there.len().saturating_sub(away.len());
    let away = away.join(", ");
    if reached <= there.len() / 2 {
        let text = format!("node {away} of {to} cannot be reached: no majority is left there");
        return check("NODES", Verdict::Error, text);
    }
    if away.is_empty() {
        let text = format!("all {reached} nodes of {to} answer");
        return check("NODES", Verdict::Ok, text);
    }
    let text = format!("node {away} of {to} cannot be reached: replace it soon");
    check("NODES", Verdict::Warning, text)
}

/// How far nodes there are behind the last entry applied here.
fn lag(last: u64, there: &[&Known]) -> Check {
    let mut furthest = 0;
    for node in there.iter().filter(|node| node.is_reachable()) {
        let main = node
            .lines
            .iter()
            .find(|line| line.reference.line == LineId::Main && line.running);
        let Some(applied) = main.and_then(|line| line.applied) else {
            let text = format!("node {} does not follow the main line", node.id);
            return check("LAG", Verdict::Error, text);
        };
        furthest = furthest.max(last.saturating_sub(applied.index));
    }
    if furthest > LAG_MAX {
        let text = format!("a node there lacks {furthest} entries: wait until it has caught up");
        return check("LAG", Verdict::Error, text);
    }
    check(
        "LAG",
        Verdict::Ok,
        format!("at most {furthest} entries behind"),
    )
}

fn digests(differing: &[String]) -> Check {
    if differing.is_empty() {
        return check("DIGESTS", Verdict::Ok, "no digests differ");
    }
    let text = format!("digests differ on {}: wake someone", differing.join(", "));
    check("DIGESTS", Verdict::Error, text)
}

fn clocks(known: &[Known]) -> Check {
    let off: Vec<String> = known
        .iter()
        .filter(|node| node.is_reachable() && node.clock_is_off)
        .map(|node| node.id.to_string())
        .collect();
    if off.is_empty() {
        return check("CLOCKS", Verdict::Ok, "the clocks agree");
    }
    let text = format!("the clock of node {} is off its peers'", off.join(", "));
    check("CLOCKS", Verdict::Error, text)
}

fn versions(known: &[Known]) -> Check {
    let of = known.iter().filter(|node| !node.version.is_empty());
    let mut versions: Vec<&str> = of.map(|node| node.version.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    match versions.as_slice() {
        [] | [_] => check("VERSIONS", Verdict::Ok, "all nodes run the same program"),
        several => {
            let text = format!(
                "nodes run {}: finish the upgrade soon",
                several.join(" and ")
            );
            check("VERSIONS", Verdict::Warning, text)
        }
    }
}

fn keys(there: &[&Known]) -> Check {
    let problem = there.iter().find_map(|node| {
        let problem = node.facts.key_problem.as_ref()?;
        Some(format!("node {}: {problem}", node.id))
    });
    match problem {
        None => check("KEYS", Verdict::Ok, "no node there misses a key in use"),
        Some(problem) => check("KEYS", Verdict::Error, problem),
    }
}

/// The certificate there that ends first; by the machines' clock, which TLS goes by.
fn certificates(now: UnixMs, there: &[&Known]) -> Check {
    let all = there.iter().flat_map(|node| {
        let certificates = node.facts.certificates.iter();
        // Those that callers showed are theirs to renew.
        let own = certificates.filter(|one| one.name == "node" || one.name.starts_with("anchor/"));
        own.map(|one| (one.not_after, node.id, &one.name))
    });
    let Some((ends, node, name)) = all.min() else {
        return check(
            "CERTIFICATES",
            Verdict::Warning,
            "no node there says when they end",
        );
    };
    let text = format!("{name} of node {node} ends first: {ends}");
    let verdict = match ends.since(now) {
        0 => Verdict::Error,
        left if left <= CERTIFICATE_SOON_MS => Verdict::Warning,
        _ => Verdict::Ok,
    };
    check("CERTIFICATES", verdict, text)
}

fn disks(there: &[&Known]) -> Check {
    let rooms = there.iter().filter_map(|node| {
        let room = node.facts.room?;
        let percent = room.free_bytes.saturating_mul(100) / room.total_bytes.max(1);
        Some((percent, node.id))
    });
    let Some((percent, node)) = rooms.min() else {
        return check(
            "DISK",
            Verdict::Warning,
            "no node there says how much room it has",
        );
    };
    let text = format!("at least {percent} % free, least at node {node}");
    let verdict = match percent {
        0..DISK_FULL_PERCENT => Verdict::Error,
        DISK_FULL_PERCENT..DISK_LITTLE_PERCENT => Verdict::Warning,
        _ => Verdict::Ok,
    };
    check("DISK", verdict, text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests;
