//! What is looked at before an act on the centres, each by itself: an operator sees all of it.

use domain::{CentreName, LineId, Rejection, State};
use proto::operator::v1::{Check, Verdict};

use super::heard::{self, Known, differing};
use crate::edge::Edge;

/// Entries that a node of the other centre may lack.
const LAG_MAX: u64 = 1_000;

fn check(name: &str, verdict: Verdict, text: impl Into<String>) -> Check {
    Check {
        check: name.to_owned(),
        verdict: verdict.into(),
        text: text.into(),
    }
}

/// The checks before a switchover to this centre, the worst first.
pub(in crate::rpc) fn before_switchover(edge: &Edge, state: &State, to: &CentreName) -> Vec<Check> {
    let known = heard::nodes(edge);
    let there: Vec<&Known> = known.iter().filter(|node| node.centre == *to).collect();
    let mut checks = vec![
        plan(state, to),
        nodes(&there, to),
        lag(state, &there),
        digests(edge, &known),
        clocks(&known),
        keys(edge),
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

fn lag(state: &State, there: &[&Known]) -> Check {
    let last = state.header().applied.index;
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

fn digests(edge: &Edge, known: &[Known]) -> Check {
    let differing = differing(edge, known);
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

fn keys(edge: &Edge) -> Check {
    match edge.keys().problem() {
        None => check("KEYS", Verdict::Ok, "this node holds the keys in use"),
        Some(problem) => check("KEYS", Verdict::Error, problem.to_string()),
    }
}
