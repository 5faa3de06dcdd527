//! `CentreService`: which centre is the primary, and moving that role (LINES.md, "Switchover").

use domain::centre::Command;
use domain::{CentreName, State};
use proto::operator::v1 as operator;
use proto::operator::v1::Verdict;
use proto::operator::v1::centre_service_server::CentreService;
use tokio::time::{Duration, Instant};
use tonic::{Request, Response, Status};

use super::account::reason;
use super::answered;
use super::cluster::checks;
use crate::edge::Edge;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

mod fence;
mod promote;

pub(crate) use promote::Waiting;

/// How long a switchover is waited for: catching up, the change of voters, and room for both.
const SWITCH_MAX: Duration = Duration::from_secs(20);

type Answered<T> = Result<Response<T>, Status>;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Centres(pub(super) Edge);

#[tonic::async_trait]
impl CentreService for Centres {
    async fn check_switchover(
        &self,
        request: Request<operator::CheckSwitchoverRequest>,
    ) -> Answered<operator::CheckSwitchoverResponse> {
        answered!(self.0, request, check)
    }

    async fn switchover(
        &self,
        request: Request<operator::SwitchoverRequest>,
    ) -> Answered<operator::SwitchoverResponse> {
        answered!(self.0, request, switch)
    }

    async fn assess_promotion(
        &self,
        request: Request<operator::AssessPromotionRequest>,
    ) -> Answered<operator::AssessPromotionResponse> {
        answered!(self.0, request, promote::assess)
    }

    async fn promote(
        &self,
        request: Request<operator::PromoteRequest>,
    ) -> Answered<operator::PromoteResponse> {
        answered!(self.0, request, promote::promote)
    }

    async fn release_seals(
        &self,
        request: Request<operator::ReleaseSealsRequest>,
    ) -> Answered<operator::ReleaseSealsResponse> {
        answered!(self.0, request, promote::release)
    }
}

pub(super) fn read_centre(text: &str) -> Result<CentreName, Refusal> {
    CentreName::parse(text)
        .map_err(|_| Refusal::malformed(Field::Other("centre"), "a centre's name"))
}

fn primary(state: &State) -> String {
    let primary = state.primary();
    primary
        .map(|primary| primary.name.to_string())
        .unwrap_or_default()
}

async fn check(
    edge: &Edge,
    ask: Ask<operator::CheckSwitchoverRequest>,
) -> Result<operator::CheckSwitchoverResponse, Refusal> {
    let to = read_centre(&ask.body.centre)?;
    let (_, state) = edge.fresh(&ask).await?;
    Ok(operator::CheckSwitchoverResponse {
        checks: checks::before_switchover(edge, &state, &to).await,
        primary: primary(&state),
    })
}

async fn switch(
    edge: &Edge,
    ask: Ask<operator::SwitchoverRequest>,
) -> Result<operator::SwitchoverResponse, Refusal> {
    let began = Instant::now();
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    let to = read_centre(&body.centre)?;
    let reason = reason(&ask, &body.reason)?;
    let (line, state) = edge.fresh(&ask).await?;
    // A repeat finds it begun or done, and is answered by the record of the first.
    if state.may_switch(&to).is_ok() {
        let failed = checks::before_switchover(edge, &state, &to)
            .await
            .into_iter()
            .find(|check| check.verdict() == Verdict::Error);
        if let Some(failed) = failed {
            return Err(Refusal::CheckFailed {
                check: failed.check,
                text: failed.text,
            });
        }
    }
    let start = Command::SwitchStart {
        to: to.clone(),
        reason,
    };
    let settled = edge
        .propose(&ask, &line, Some(key), domain::Command::Centre(start))
        .await?;
    let deadline = began + SWITCH_MAX;
    let mut applied = line.applied();
    loop {
        let state = line.state();
        let centres = state.centres();
        match centres {
            Some(centres) if centres.switch.is_some() => {}
            Some(centres) if centres.primary.name == to => break,
            Some(_) | None => return Err(Refusal::SwitchoverGivenUp { to }),
        }
        let moved = tokio::time::timeout_at(deadline, applied.changed()).await;
        if !matches!(moved, Ok(Ok(()))) {
            return Err(Refusal::OutcomeUnknown {
                request_id: body.request_id.clone(),
            });
        }
    }
    Ok(operator::SwitchoverResponse {
        primary: to.to_string(),
        start_log_id: Some(wire::log_id(settled.at)),
        duration: prost_types::Duration::try_from(began.elapsed()).ok(),
    })
}
