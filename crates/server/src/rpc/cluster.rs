//! `ClusterService` and `ClockService`: what this node knows, and the simulated clock.

use std::pin::Pin;

use consensus::Line;
use consensus::line::Role;
use domain::cluster::{Centre, Command};
use domain::{LineId, LogId, State};
use futures::Stream;
use proto::operator::v1 as operator;
use proto::operator::v1::clock_service_server::ClockService;
use proto::operator::v1::cluster_service_server::ClusterService;
use tonic::{Request, Response, Status};

use super::{answered, session};
use crate::edge::Edge;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

/// The service for nodes and lines.
#[derive(Debug, Clone)]
pub struct Cluster(pub(super) Edge);

/// The service for the simulated clock.
#[derive(Debug, Clone)]
pub struct Clock(pub(super) Edge);

#[tonic::async_trait]
impl ClusterService for Cluster {
    type ExportLogStream =
        Pin<Box<dyn Stream<Item = Result<operator::ExportLogResponse, Status>> + Send>>;

    async fn get_status(
        &self,
        request: Request<operator::GetStatusRequest>,
    ) -> Result<Response<operator::GetStatusResponse>, Status> {
        answered!(self.0, request, status)
    }

    async fn get_digests(
        &self,
        request: Request<operator::GetDigestsRequest>,
    ) -> Result<Response<operator::GetDigestsResponse>, Status> {
        answered!(self.0, request, digests)
    }

    async fn export_log(
        &self,
        request: Request<operator::ExportLogRequest>,
    ) -> Result<Response<Self::ExportLogStream>, Status> {
        let line = request.into_inner().line;
        self.0.tell(super::export::log(&self.0, &line).await)
    }
}

#[tonic::async_trait]
impl ClockService for Clock {
    async fn get_clock(
        &self,
        request: Request<operator::GetClockRequest>,
    ) -> Result<Response<operator::GetClockResponse>, Status> {
        answered!(self.0, request, clock)
    }

    async fn advance_clock(
        &self,
        request: Request<operator::AdvanceClockRequest>,
    ) -> Result<Response<operator::AdvanceClockResponse>, Status> {
        answered!(self.0, request, advance)
    }
}

fn role(role: Role) -> operator::LineRole {
    match role {
        Role::Leader => operator::LineRole::Leader,
        Role::Follower | Role::Candidate => operator::LineRole::Follower,
        Role::Learner => operator::LineRole::Learner,
        Role::Stopped => operator::LineRole::Unspecified,
    }
}

fn line_status(line: &Line) -> operator::LineStatus {
    let applied: Option<LogId> = *line.applied().borrow();
    let digests = applied.and_then(|at| line.digests_at(at));
    operator::LineStatus {
        line: Some(wire::line_reference(&line.reference())),
        applied_log_id: applied.map(wire::log_id),
        digests: digests.as_ref().map(wire::digests),
        leader_node_id: line.leader().map_or(0, |node| node.0),
        role: role(line.role()).into(),
    }
}

/// What is not as it should be: the worst first.
fn reasons(edge: &Edge, state: &State) -> Vec<(operator::Verdict, String)> {
    let mut reasons = Vec::new();
    let node = edge.node();
    if node.main().leader().is_none() {
        let text = "the main line has no leader: nothing can be changed".to_owned();
        reasons.push((operator::Verdict::Error, text));
    }
    if !node.clock_verdict().is_good() {
        let text = "this node's clock is off, or not compared yet: it neither leads nor serves";
        reasons.push((operator::Verdict::Error, text.to_owned()));
    }
    let Some(founding) = state.founding() else {
        reasons.push((
            operator::Verdict::Error,
            "the cluster is not founded yet".to_owned(),
        ));
        return reasons;
    };
    for hold in state.holds() {
        let text = format!(
            "account {} is held since a rollover that ran by itself: answer its {} items",
            hold.account,
            hold.items.len()
        );
        reasons.push((operator::Verdict::Warning, text));
    }
    let now = edge.now(state);
    for finding in state.calendar().lint(now, &founding.primary.name) {
        let verdict = match finding.severity {
            domain::calendar::Severity::Warning => operator::Verdict::Warning,
            domain::calendar::Severity::Error => operator::Verdict::Error,
        };
        reasons.push((verdict, format!("calendar: {}", finding.what)));
    }
    reasons.sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict as i32));
    reasons
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

fn nodes(edge: &Edge, of: &Centre) -> Vec<operator::NodeStatus> {
    of.nodes
        .iter()
        .map(|node| operator::NodeStatus {
            node_id: node.id.0,
            centre: of.name.to_string(),
            peer_address: node.address.clone(),
            heard_ms: edge
                .node()
                .heard()
                .from(node.id)
                .map(|(ago, _)| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
            lines: Vec::new(),
        })
        .collect()
}

async fn status(
    edge: &Edge,
    _ask: Ask<operator::GetStatusRequest>,
) -> Result<operator::GetStatusResponse, Refusal> {
    let node = edge.node();
    let main = node.main();
    let state = main.state();
    let now = edge.now(&state);
    let founding = node.founding();
    let reasons = reasons(edge, &state);
    let verdict = reasons
        .first()
        .map_or(operator::Verdict::Ok, |(verdict, _)| *verdict);
    let current = current_session(edge, &state);
    let serving = current
        .as_ref()
        .filter(|session| session.open)
        .map(|session| session.centre.as_str());
    let centres = || std::iter::once(&founding.primary).chain(&founding.secondary);
    Ok(operator::GetStatusResponse {
        verdict: verdict.into(),
        summary: match &current {
            Some(session) if session.open => format!("session {} is open", session.id),
            Some(session) => format!("closed; next is session {}", session.id),
            None => "closed; no session is planned".to_owned(),
        },
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
        centres: centres()
            .map(|of| centre(of, &founding.primary, serving))
            .collect(),
        nodes: centres().flat_map(|of| nodes(edge, of)).collect(),
        lines: std::iter::once(&main)
            .chain(node.branch().as_ref())
            .map(line_status)
            .collect(),
        session: current
            .as_ref()
            .and_then(|current| session::shown(edge, &current.id)),
        refused_outside_session_count: edge.refused_outside_session(),
        rules_version: state.header().rules_version,
    })
}

struct Current {
    id: domain::SessionId,
    centre: String,
    open: bool,
}

/// The session that is open, is fencing the main line, or comes next.
fn current_session(edge: &Edge, state: &State) -> Option<Current> {
    let now = edge.now(state);
    let serving = edge.serving_line().state();
    let open = serving.open_session(now).ok().map(|plan| &plan.session);
    let fence = state.header().fence.as_ref().and_then(|id| state.plan(id));
    let found = open.or(fence.map(|plan| &plan.session));
    let current = |session: &domain::calendar::Session, open| Current {
        id: session.id.clone(),
        centre: session.centre.to_string(),
        open,
    };
    match found {
        Some(session) => {
            let fenced_and_on = fence.is_some_and(|plan| {
                plan.phase == domain::session::Phase::Open && plan.session.holds(now)
            });
            Some(current(session, open.is_some() || fenced_and_on))
        }
        None => {
            let primary = &state.founding()?.primary.name;
            let next = state.calendar().next_session(now, primary)?;
            Some(current(&next, false))
        }
    }
}

/// The line that runs here by its name: `main`, or the session whose branch it is.
pub(super) fn running(edge: &Edge, name: &str) -> Result<Line, Refusal> {
    if name == "main" {
        return Ok(edge.node().main());
    }
    let branch = edge
        .node()
        .branch()
        .filter(|branch| match &branch.reference().line {
            LineId::Branch { session, .. } => session.as_str() == name,
            LineId::Main => false,
        });
    branch.ok_or_else(|| Refusal::NotFound {
        what: format!("line {name:?} at this node: say main, or the id of a session"),
    })
}

async fn digests(
    edge: &Edge,
    ask: Ask<operator::GetDigestsRequest>,
) -> Result<operator::GetDigestsResponse, Refusal> {
    let line = running(edge, &ask.body.line)?;
    let mut applied = line.applied();
    let latest: Option<LogId> = *applied.borrow();
    let at = match &ask.body.log_id {
        Some(asked) => session::read_log_id(asked),
        None => latest.ok_or(Refusal::NotFound {
            what: "entry on this line yet".to_owned(),
        })?,
    };
    if ask.body.wait {
        // Ends with the call: its deadline is the caller's.
        let reached = applied
            .wait_for(|applied| applied.is_some_and(|applied| applied.index >= at.index))
            .await;
        if reached.is_err() {
            return Err(Refusal::Line(consensus::line::Error::Stopped));
        }
    }
    let digests = line.digests_at(at).ok_or_else(|| Refusal::NotFound {
        what: format!("digest of entry {at} here: it is not applied, or too long ago"),
    })?;
    Ok(operator::GetDigestsResponse {
        line: Some(wire::line_reference(&line.reference())),
        log_id: Some(wire::log_id(at)),
        digests: Some(wire::digests(&digests)),
    })
}

async fn clock(
    edge: &Edge,
    _ask: Ask<operator::GetClockRequest>,
) -> Result<operator::GetClockResponse, Refusal> {
    Ok(operator::GetClockResponse {
        clock_time: Some(wire::time(edge.node().time())),
        simulated: edge.node().founding().simulated_clock,
    })
}

/// Moves the simulated clock ahead: on the main line, whose offset all nodes follow, and on the
/// branch that runs here, which refuses jumps that it was not told of.
async fn advance(
    edge: &Edge,
    ask: Ask<operator::AdvanceClockRequest>,
) -> Result<operator::AdvanceClockResponse, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    let malformed = || Refusal::malformed(Field::Required("clock_time"), "a time to come");
    let to = ask
        .body
        .clock_time
        .as_ref()
        .and_then(wire::read_time)
        .ok_or_else(malformed)?;
    let line = edge.line(&ask)?;
    let base = edge.node().base_time();
    let ahead = i64::try_from(to.since(base)).map_err(|_| malformed())?;
    let behind = i64::try_from(base.since(to)).map_err(|_| malformed())?;
    let command = || {
        domain::Command::Cluster(Command::AdvanceClock {
            to,
            offset_ms: Some(ahead.saturating_sub(behind)),
        })
    };
    if to < edge.node().time() {
        return Err(malformed());
    }
    if let Some(branch) = edge.node().branch()
        && !branch.state().header().ended
    {
        edge.propose(&ask, &branch, None, command()).await?;
    }
    edge.propose(&ask, &line, Some(key), command()).await?;
    Ok(operator::AdvanceClockResponse {
        clock_time: Some(wire::time(edge.node().time())),
    })
}
