//! The status: one verdict, what stands behind it, and the facts.

use domain::cluster::Centre;
use domain::id::NodeId;
use domain::promotion::Certificate;
use domain::protection::Mode;
use domain::session::{Phase, Plan, Whose};
use domain::{LineId, State, UnixMs};
use proto::operator::v1 as operator;
use proto::operator::v1::Verdict;

use super::super::{audit, session};
use super::heard::{self, Known, differing, listed};
use super::{outlook, tally, waiting};
use crate::edge::Edge;
use crate::request::Ask;
use crate::status::Refusal;
use crate::wire;

/// Whose access waits for an operator's answer.
fn held(of: &Whose) -> String {
    match of {
        Whose::Account(id) => format!("account {id}"),
        Whose::Participant(id) => format!("participant {id}"),
    }
}

/// Entries that a node may trail without being named.
const TRAILS_MAX: u64 = 1_000;
/// How long a notice may wait for its mail without being told of.
const MAIL_LATE_MS: u64 = 10 * 60_000;

type Reason = (Verdict, String);

pub(super) async fn status(
    edge: &Edge,
    _ask: Ask<operator::GetStatusRequest>,
) -> Result<operator::GetStatusResponse, Refusal> {
    let node = edge.node();
    let state = node.main().state();
    let now = edge.now(&state);
    let founding = node.founding();
    let known = heard::nodes(edge);
    let differing = differing(edge, &known);
    let current = current_session(edge, &state);
    let rollover = rollover(edge, &state).await;
    let reasons = reasons(edge, &state, &known, &differing);
    let verdict = reasons.first().map_or(Verdict::Ok, |(verdict, _)| *verdict);
    let serving = current
        .as_ref()
        .filter(|session| session.open)
        .map(|session| session.centre.as_str());
    let centres = node.centres();
    Ok(operator::GetStatusResponse {
        verdict: verdict.into(),
        summary: summary(&state, current.as_ref(), verdict),
        reasons: reasons.into_iter().map(|(_, text)| text).collect(),
        cluster: node.cluster().to_string(),
        node_id: node.id().0,
        node_centre: node
            .centre()
            .map(|centre| centre.name.to_string())
            .unwrap_or_default(),
        clock_time: Some(wire::time(now)),
        simulated_clock: founding.simulated_clock,
        business_day: state
            .header()
            .business_day
            .map(|day| day.to_string())
            .unwrap_or_default(),
        centres: centres
            .all()
            .map(|of| centre(of, &centres.primary, serving))
            .collect(),
        nodes: known.iter().map(Known::message).collect(),
        lines: known
            .iter()
            .filter(|known| known.id == node.id())
            .flat_map(|own| own.lines.iter().map(heard::Heard::message))
            .collect(),
        session: current
            .as_ref()
            .and_then(|current| session::shown(edge, &current.id)),
        refused_outside_session_count: edge.refused_outside_session(),
        rules_version: state.header().rules_version,
        rollover,
        digests_differ: !differing.is_empty(),
        protection: protection(edge, &state, now),
        mail: Some(waiting::mail(edge)),
        pending_acts: waiting::pending_acts(&state, now),
        held_count: waiting::held_count(&state),
        promotion: outlook::of(&centres, &state, &known, is_contested(node)),
    })
}

fn summary(state: &State, current: Option<&Current>, verdict: Verdict) -> String {
    let plan = match verdict {
        Verdict::Ok => ", on plan",
        Verdict::Warning | Verdict::Error | Verdict::Unspecified => "",
    };
    let waits = waiting(state).filter(|plan| plan.phase == Phase::Closed);
    match (current, waits) {
        (Some(session), _) if session.open => {
            format!("{} session {} is open{plan}", session.role, session.id)
        }
        (_, Some(waits)) => format!(
            "closed{plan}; session {} waits for its rollover",
            waits.session.id
        ),
        (Some(session), None) => format!("closed{plan}; next is session {}", session.id),
        (None, None) => format!("closed{plan}; no session is planned"),
    }
}

/// The plan of the branch that stands, open or waiting for its rollover.
fn waiting(state: &State) -> Option<&Plan> {
    let fence = state.header().fence.as_ref()?;
    state.plan(fence)
}

async fn rollover(edge: &Edge, state: &State) -> Option<operator::RolloverStatus> {
    let plan = waiting(state)?;
    let id = &plan.session.id;
    let counts = match audit::branch(edge, state, id) {
        Some(line) => tally::count(edge, &line, &voters(edge, plan)).await,
        None => None,
    };
    Some(operator::RolloverStatus {
        session: id.to_string(),
        due_time: consensus::follow::rollover_due(plan, state).map(wire::time),
        forgotten_count: counts.map(|counts| counts.changes),
        forgotten_account_count: counts.map(|counts| counts.accounts),
        must_repeat_count: counts.map(|counts| counts.repeats),
    })
}

fn voters(edge: &Edge, plan: &Plan) -> Vec<NodeId> {
    let state = edge.node().main().state();
    state.nodes_of(&plan.session.centre).collect()
}

/// What is not as it should be: the worst first.
fn reasons(edge: &Edge, state: &State, known: &[Known], differing: &[String]) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = differing
        .iter()
        .map(|what| {
            let text = format!("digests differ on {what}: wake someone, and change nothing");
            (Verdict::Error, text)
        })
        .collect();
    of_this_node(edge, &mut reasons);
    of_centres(edge, state, known, &mut reasons);
    of_lines(known, &mut reasons);
    let Some(primary) = state.primary() else {
        let text = "the cluster is not founded yet".to_owned();
        reasons.insert(0, (Verdict::Error, text));
        return reasons;
    };
    let now = edge.now(state);
    of_plan(state, known, now, &mut reasons);
    of_migration(state, now, &mut reasons);
    of_mail(edge, now, &mut reasons);
    reasons.extend(session::unplanned::reasons(edge, state));
    of_protection(state, &mut reasons);
    for hold in state.holds() {
        let items: Vec<String> = hold
            .items
            .iter()
            .map(|(session, item)| format!("{session} item {item}"))
            .collect();
        let text = format!(
            "{} is held since a rollover that ran by itself: answer {} with tidemark \
             session answer-holds",
            held(&hold.of),
            items.join(", ")
        );
        reasons.push((Verdict::Warning, text));
    }
    for finding in state.calendar().lint(now, &primary.name) {
        let verdict = match finding.severity {
            domain::calendar::Severity::Warning => Verdict::Warning,
            domain::calendar::Severity::Error => Verdict::Error,
        };
        reasons.push((verdict, format!("calendar: {}", finding.what)));
    }
    reasons.sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict as i32));
    reasons
}

fn of_this_node(edge: &Edge, reasons: &mut Vec<Reason>) {
    let node = edge.node();
    if let Some(problem) = edge.keys().problem() {
        let text = format!("node {}: {problem}", node.id());
        reasons.push((Verdict::Warning, text));
    }
    if let Some(text) = stands_still(node) {
        reasons.push((Verdict::Error, text));
    } else if !edge.answers(&node.main()) {
        let text = "the main line has no leader here: nothing can be changed".to_owned();
        reasons.push((Verdict::Error, text));
    }
    if !node.clock_verdict().is_good() {
        let text = "this node's clock is off, or not compared yet: it neither leads nor serves";
        reasons.push((Verdict::Error, text.to_owned()));
    }
}

/// Whether two lines began in the epoch of this one.
fn is_contested(node: &consensus::Node) -> bool {
    let epoch = node.main().reference().epoch;
    node.standing().is_contested(epoch)
}

/// Why the main line stands still at this node by its own promise, and what to do.
fn stands_still(node: &consensus::Node) -> Option<String> {
    let (standing, id) = (node.standing(), node.id());
    let epoch = node.main().reference().epoch;
    if let (Some(known), Some(other), true) = (
        &standing.accepted,
        &standing.conflicting,
        standing.is_contested(epoch),
    ) {
        let of = |one: &Certificate| {
            let voters: Vec<NodeId> = one.terms.voters.keys().copied().collect();
            format!("{} with node {}", one.terms.centre, listed(&voters))
        };
        return Some(format!(
            "node {id} has stopped: there are two certificates for epoch {}, here {}, and {}. Wake \
             someone: decide which of them goes on, and there tidemark centre promote --to CENTRE \
             --node NODE; docs/runbooks/promotion.md says the rest",
            other.terms.epoch,
            of(known),
            of(other)
        ));
    }
    if !standing.stops(epoch) {
        return None;
    }
    Some(match standing.accepted {
        Some(accepted) if accepted.terms.epoch >= standing.sealed.map_or(0, |seal| seal.epoch) => {
            let is_apart = standing.apart >= accepted.terms.epoch;
            let (centre, epoch) = (accepted.terms.centre, accepted.terms.epoch);
            let next = match is_apart {
                true => ", from another line than is here: tidemark node replace, or add",
                false => "",
            };
            format!("node {id} has stopped: {centre} was promoted, in epoch {epoch}{next}")
        }
        Some(_) | None => format!(
            "node {id} is sealed for a promotion: finish it with tidemark centre promote, or take \
             it back with tidemark centre release"
        ),
    })
}

/// Who cannot be reached. It is an error where it leaves a line without a majority.
fn of_centres(edge: &Edge, state: &State, known: &[Known], reasons: &mut Vec<Reason>) {
    let centres = edge.node().centres();
    let branch_at = waiting(state).map(|plan| &plan.session.centre);
    for centre in centres.all() {
        let away: Vec<NodeId> = known
            .iter()
            .filter(|node| node.centre == centre.name && !node.is_reachable())
            .map(|node| node.id)
            .collect();
        if away.is_empty() {
            continue;
        }
        let votes = centre.name == centres.primary.name || branch_at == Some(&centre.name);
        let lost = away.len() > centre.nodes.len().saturating_sub(1) / 2;
        let verdict = if votes && lost {
            Verdict::Error
        } else {
            Verdict::Warning
        };
        let text = format!(
            "node {} of {} cannot be reached from node {}{}",
            listed(&away),
            centre.name,
            edge.node().id(),
            if votes && lost {
                ": no majority is left there"
            } else {
                ""
            }
        );
        reasons.push((verdict, text));
    }
}

fn of_lines(known: &[Known], reasons: &mut Vec<Reason>) {
    let furthest = |of: &LineId| {
        let lines = known.iter().flat_map(|node| &node.lines);
        lines
            .filter(|line| line.reference.line == *of)
            .filter_map(|line| line.applied)
            .map(|at| at.index)
            .max()
    };
    for node in known {
        if let Some(refusal) = &node.refusal {
            let text = format!("node {} does not talk to this one: {refusal}", node.id);
            reasons.push((Verdict::Error, text));
        }
    }
    for node in known.iter().filter(|node| node.is_reachable()) {
        if node.clock_is_off {
            let text = format!("node {}: its clock is off its peers'", node.id);
            reasons.push((Verdict::Warning, text));
        }
        for line in &node.lines {
            let name = &line.reference.line;
            if !line.running {
                let text = format!("node {}: {name} has stopped there; see its log", node.id);
                reasons.push((Verdict::Error, text));
            }
            let applied = line.applied.map_or(0, |at| at.index);
            let trails = furthest(name).unwrap_or(0).saturating_sub(applied);
            if trails > TRAILS_MAX {
                let text = format!("node {}: {name} trails by {trails} entries", node.id);
                reasons.push((Verdict::Warning, text));
            }
        }
    }
}

/// A branch that should serve and does not, or that should be gone and is not.
fn of_plan(state: &State, known: &[Known], now: domain::UnixMs, reasons: &mut Vec<Reason>) {
    let Some(plan) = waiting(state) else { return };
    let id = &plan.session.id;
    let has_leader = known.iter().flat_map(|node| &node.lines).any(|line| {
        let is_branch = match &line.reference.line {
            LineId::Branch { session, .. } => session == id,
            LineId::Main => false,
        };
        is_branch && line.role == operator::LineRole::Leader
    });
    let should_serve = match plan.phase {
        Phase::Opening | Phase::Open => plan.session.holds(now),
        Phase::Closed | Phase::RolledOver | Phase::Abandoned => false,
    };
    if should_serve && !has_leader {
        let text = format!(
            "the branch of {id} has no leader: nobody can log in at {}",
            plan.session.centre
        );
        reasons.push((Verdict::Error, text));
    }
    let overdue = plan.phase == Phase::Closed
        && consensus::follow::rollover_due(plan, state).is_some_and(|due| due <= now);
    if overdue {
        let text = format!(
            "the rollover of {id} is overdue: tidemark session rollover {id} says what is missing"
        );
        reasons.push((Verdict::Error, text));
    }
}

/// Notices that do not leave, and those that had to make room.
fn protection(edge: &Edge, state: &State, now: UnixMs) -> Option<operator::ProtectionStatus> {
    state.secondary_nodes().next()?;
    let main = edge.node().main();
    let promise = state.header().protection;
    let mode = match state.policy().protection {
        Mode::Async => operator::ProtectionMode::Async,
        Mode::Sync => operator::ProtectionMode::Sync,
        Mode::Strict => operator::ProtectionMode::Strict,
    };
    let last = main.last_log_index().unwrap_or(0);
    Some(operator::ProtectionStatus {
        mode: mode.into(),
        degraded_time: promise.degraded_since.map(wire::time),
        degraded_count: promise.degraded_count,
        degraded_ms: promise.degraded_ms_at(now),
        unconfirmed_count: main
            .persisted_by_secondary()
            .map(|persisted| last.saturating_sub(persisted)),
    })
}

/// Answers that the secondary does not confirm.
fn of_protection(state: &State, reasons: &mut Vec<Reason>) {
    let Some(since) = state.header().protection.degraded_since else {
        return;
    };
    let text = match state.policy().protection {
        Mode::Sync | Mode::Strict => format!(
            "degraded since {since}: the secondary confirms nothing, and what is answered now is \
             lost if the primary is lost"
        ),
        Mode::Async => format!("the secondary has confirmed nothing since {since}"),
    };
    reasons.push((Verdict::Warning, text));
}

fn of_mail(edge: &Edge, now: UnixMs, reasons: &mut Vec<Reason>) {
    let node = edge.node();
    for line in std::iter::once(node.main()).chain(node.branch()) {
        let (state, name) = (line.state(), line.reference().line);
        let outbox = state.outbox();
        // A branch before its first entry still shows the main line's.
        let late = outbox
            .iter()
            .next()
            .filter(|oldest| state.header().line == name && now.since(oldest.at) >= MAIL_LATE_MS);
        let Some(oldest) = late else { continue };
        let lost = match outbox.counts().dropped {
            0 => String::new(),
            dropped => format!("; {dropped} in all were dropped for want of room"),
        };
        let text = format!(
            "{} notices of {name} wait for their mail, the oldest since {}: see the mail server, \
             and the log of the node that leads{lost}",
            outbox.len(),
            oldest.at,
        );
        reasons.push((Verdict::Warning, text));
    }
}

/// A go-live that has not come to be, and a revocation list that will not do for long.
fn of_migration(state: &State, now: domain::UnixMs, reasons: &mut Vec<Reason>) {
    if let Some(date) = state.migration().unapproved(now) {
        let text = format!(
            "go-live was planned for {} and is not approved: smartcards are on; postpone or \
             withdraw it with tidemark method go-live",
            date.long()
        );
        reasons.push((Verdict::Warning, text));
    }
    let required = state.policy().revocation_list_required;
    match state.revocations() {
        Some(list) if list.next_update <= now => {
            let until = list.next_update.plus(state.policy().revocation_grace_ms);
            let text = format!(
                "the next revocation list was due at {}: smartcards are refused from {until} on; \
                 set a newer one with tidemark revocation set",
                list.next_update
            );
            reasons.push((Verdict::Warning, text));
        }
        None if required => {
            let text = "no revocation list was set: smartcards are refused until one is";
            reasons.push((Verdict::Error, text.to_owned()));
        }
        Some(_) | None => {}
    }
}

fn centre(of: &Centre, primary: &Centre, serving: Option<&str>) -> operator::CentreStatus {
    let role = if of.name == primary.name {
        operator::CentreRole::Primary
    } else {
        operator::CentreRole::Secondary
    };
    operator::CentreStatus {
        centre: of.name.to_string(),
        role: role.into(),
        serving: serving == Some(of.name.as_str()),
    }
}

struct Current {
    id: domain::SessionId,
    /// The centre that serves it, or is to.
    centre: String,
    role: &'static str,
    open: bool,
}

/// The session that is open, is fencing the main line, or comes next.
fn current_session(edge: &Edge, state: &State) -> Option<Current> {
    let now = edge.now(state);
    let serving = edge.serving_line().state();
    let open = serving.open_session(now).ok().map(|plan| &plan.session);
    let fence = state.header().fence.as_ref().and_then(|id| state.plan(id));
    let found = open.or(fence.map(|plan| &plan.session));
    let primary = state.primary().map(|primary| &primary.name);
    // What the main line serves is at the primary, wherever it was at the opening.
    let here = open.and(serving.serving_centre()).cloned();
    let current = |session: &domain::calendar::Session, open| {
        let centre = here.as_ref().unwrap_or(&session.centre);
        Current {
            id: session.id.clone(),
            centre: centre.to_string(),
            role: if Some(centre) == primary {
                "primary"
            } else {
                "secondary"
            },
            open,
        }
    };
    match found {
        Some(session) => {
            let fenced_and_on = fence.is_some_and(|plan| {
                plan.phase == domain::session::Phase::Open && plan.session.holds(now)
            });
            Some(current(session, open.is_some() || fenced_and_on))
        }
        None => {
            let primary = &state.primary()?.name;
            let next = state.calendar().next_session(now, primary)?;
            Some(current(&next, false))
        }
    }
}
