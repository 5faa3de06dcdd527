//! `PolicyService`: the numbers and choices that operators set, as one TOML text.

use domain::policy::Policy;
use proto::operator::v1 as operator;
use proto::operator::v1::policy_service_server::PolicyService;
use tonic::{Request, Response, Status};

use super::answered;
use crate::approvals::{self, Call};
use crate::edge::{Edge, Validity};
use crate::request::Ask;
use crate::status::Refusal;
use crate::wire;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Policies(pub(super) Edge);

#[tonic::async_trait]
impl PolicyService for Policies {
    async fn get_policy(
        &self,
        request: Request<operator::GetPolicyRequest>,
    ) -> Result<Response<operator::GetPolicyResponse>, Status> {
        answered!(self.0, request, get)
    }

    async fn set_policy(
        &self,
        request: Request<operator::SetPolicyRequest>,
    ) -> Result<Response<operator::SetPolicyResponse>, Status> {
        answered!(self.0, request, set)
    }
}

fn text(policy: &Policy) -> Result<String, Refusal> {
    toml::to_string(policy).map_err(|fault| Refusal::Internal(fault.to_string()))
}

async fn get(
    edge: &Edge,
    _ask: Ask<operator::GetPolicyRequest>,
) -> Result<operator::GetPolicyResponse, Refusal> {
    let state = edge.node().main().state();
    let policy_toml = text(state.policy())?;
    Ok(operator::GetPolicyResponse {
        etag: state.policy().digest().to_string(),
        policy_toml,
    })
}

async fn set(
    edge: &Edge,
    ask: Ask<operator::SetPolicyRequest>,
) -> Result<operator::SetPolicyResponse, Refusal> {
    let body = &ask.body;
    let unsigned = operator::SetPolicyRequest {
        approval: None,
        ..body.clone()
    };
    let key = ask.key_of(&body.request_id, &unsigned, edge.keyring())?;
    let seen = wire::read_etag(&body.etag)?;
    let problems = |problems: Vec<String>| Refusal::Problems {
        reason: "BAD_POLICY",
        problems: problems
            .into_iter()
            .map(|what| ("policy".to_owned(), what))
            .collect(),
    };
    let policy: Policy =
        toml::from_str(&body.policy_toml).map_err(|wrong| problems(vec![wrong.to_string()]))?;
    let wrong = policy.problems();
    if !wrong.is_empty() {
        return Err(problems(wrong.into_iter().map(str::to_owned).collect()));
    }
    let policy_toml = text(&policy)?;
    // The line compares, once it knows that the call is no repeat of one that was carried out.
    let command = domain::Command::SetPolicy { policy, seen };
    let call = Call {
        key,
        approval: body.approval.as_ref(),
        validity: Validity::of(body.dry_run),
    };
    let (have, need) = approvals::approve(edge, &ask, call, command).await?;
    Ok(operator::SetPolicyResponse {
        policy_toml,
        approval_count: have,
        needed_count: need,
    })
}
