//! `ClusterService` and `ClockService`: what is known of the cluster, and the simulated clock.

use std::pin::Pin;
use std::time::Duration;

use consensus::Line;
use domain::cluster::Command;
use domain::{LineId, LogId};
use futures::Stream;
use proto::operator::v1 as operator;
use proto::operator::v1::clock_service_server::ClockService;
use proto::operator::v1::cluster_service_server::ClusterService;
use tonic::{Request, Response, Status};

use super::answered;
use crate::edge::Edge;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

pub(in crate::rpc) mod checks;
mod heard;
mod outlook;
mod status;
pub(crate) mod tally;
mod waiting;

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
        answered!(self.0, request, status::status)
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
        answered!(self.0, request, super::export::log)
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

/// How long a call waits for an entry to be applied here, if its caller waits that long.
const APPLIED_WITHIN: Duration = Duration::from_secs(10);

async fn digests(
    edge: &Edge,
    ask: Ask<operator::GetDigestsRequest>,
) -> Result<operator::GetDigestsResponse, Refusal> {
    let line = running(edge, &ask.body.line)?;
    let mut applied = line.applied();
    let latest: Option<LogId> = *applied.borrow();
    let at = match &ask.body.log_id {
        Some(asked) => wire::read_log_id(*asked),
        None => latest.ok_or(Refusal::NotFound {
            what: "entry on this line yet".to_owned(),
        })?,
    };
    if ask.body.wait {
        let reached =
            applied.wait_for(|applied| applied.is_some_and(|applied| applied.index >= at.index));
        // What was not applied by then has no digest here, and is told so.
        if let Ok(Err(_)) = tokio::time::timeout(APPLIED_WITHIN, reached).await {
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
