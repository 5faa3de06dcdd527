//! `EmergencyService`: what operators take away on the main line, even while a branch is open.

use domain::Carry;
use domain::account::Command;
use proto::operator::v1 as operator;
use proto::operator::v1::emergency_service_server::EmergencyService;
use tonic::Request;

use super::{Answered, named, reason};
use crate::edge::Edge;
use crate::request::Ask;
use crate::rpc::{answered, changed, participant};
use crate::status::Refusal;
use crate::wire;

/// The service for emergencies.
#[derive(Debug, Clone)]
pub(in crate::rpc) struct Emergencies(pub(in crate::rpc) Edge);

#[tonic::async_trait]
impl EmergencyService for Emergencies {
    async fn suspend_on_main_line(
        &self,
        request: Request<operator::SuspendOnMainLineRequest>,
    ) -> Answered<operator::SuspendOnMainLineResponse> {
        answered!(self.0, request, suspend_on_main)
    }

    async fn suspend_participant_on_main_line(
        &self,
        request: Request<operator::SuspendParticipantOnMainLineRequest>,
    ) -> Answered<operator::SuspendParticipantOnMainLineResponse> {
        answered!(self.0, request, suspend_participant_on_main)
    }

    async fn revoke_factor_on_main_line(
        &self,
        request: Request<operator::RevokeFactorOnMainLineRequest>,
    ) -> Answered<operator::RevokeFactorOnMainLineResponse> {
        answered!(self.0, request, revoke_on_main)
    }
}

/// What an operator is told after an act on the main line.
fn main_line_notice(edge: &Edge) -> String {
    let said = wire::notice_text(Carry::CarriedForward);
    match edge.node().main().state().header().fence.clone() {
        None => said,
        Some(session) => format!(
            "{said} Session {session} is on a branch: do the same there, at the centre that serves."
        ),
    }
}

async fn suspend_on_main(
    edge: &Edge,
    ask: Ask<operator::SuspendOnMainLineRequest>,
) -> Result<operator::SuspendOnMainLineResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    let (line, state) = edge.fresh(&ask).await?;
    let account = named(&ask, &state, &body.name, edge.now(&state))?;
    let command = Command::Suspend {
        account: account.id.clone(),
        token: None,
        reason: reason(&ask, &body.reason)?,
    };
    let request = (key, body.validate_only);
    let command = domain::Command::Account(command);
    let carry = changed::propose(edge, &ask, &line, request, command).await?;
    Ok(operator::SuspendOnMainLineResponse {
        carry_forward: wire::carry(carry).into(),
        notice: main_line_notice(edge),
    })
}

async fn suspend_participant_on_main(
    edge: &Edge,
    ask: Ask<operator::SuspendParticipantOnMainLineRequest>,
) -> Result<operator::SuspendParticipantOnMainLineResponse, Refusal> {
    let body = &ask.body;
    let request = (body.request_id.as_str(), body.validate_only);
    let about = (body.name.as_str(), body.reason.as_str());
    let (carry, _) = participant::suspended(edge, &ask, request, about).await?;
    Ok(operator::SuspendParticipantOnMainLineResponse {
        carry_forward: wire::carry(carry).into(),
        notice: main_line_notice(edge),
    })
}

async fn revoke_on_main(
    edge: &Edge,
    ask: Ask<operator::RevokeFactorOnMainLineRequest>,
) -> Result<operator::RevokeFactorOnMainLineResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    let (line, state) = edge.fresh(&ask).await?;
    let account = named(&ask, &state, &body.name, edge.now(&state))?;
    let command = Command::RevokeOtp {
        account: account.id.clone(),
        reason: reason(&ask, &body.reason)?,
    };
    let request = (key, body.validate_only);
    let command = domain::Command::Account(command);
    let carry = changed::propose(edge, &ask, &line, request, command).await?;
    Ok(operator::RevokeFactorOnMainLineResponse {
        carry_forward: wire::carry(carry).into(),
        notice: main_line_notice(edge),
    })
}
