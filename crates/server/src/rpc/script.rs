//! `ScriptService`: what scripts may do (LOGIN.md, "Administration").

use std::collections::BTreeSet;

use domain::approval::Act;
use domain::id::{ScriptId, SessionId};
use domain::script::{Command, Deed, Grant, Terms};
use domain::{UnixMs, approval};
use proto::operator::v1 as operator;
use proto::operator::v1::script_service_server::ScriptService;
use tonic::{Request, Response, Status};

use super::account::{PAGE_DEFAULT, PAGE_MAX, reason};
use super::answered;
use crate::approvals::{self, Call};
use crate::edge::{Edge, Validity};
use crate::reads::Read;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

type Answered<T> = Result<Response<T>, Status>;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Scripts(pub(super) Edge);

#[tonic::async_trait]
impl ScriptService for Scripts {
    async fn list_grants(
        &self,
        request: Request<operator::ListGrantsRequest>,
    ) -> Answered<operator::ListGrantsResponse> {
        answered!(self.0, request, list)
    }

    async fn approve_grant(
        &self,
        request: Request<operator::ApproveGrantRequest>,
    ) -> Answered<operator::ApproveGrantResponse> {
        answered!(self.0, request, approve)
    }

    async fn withdraw_grant(
        &self,
        request: Request<operator::WithdrawGrantRequest>,
    ) -> Answered<operator::WithdrawGrantResponse> {
        answered!(self.0, request, withdraw)
    }
}

fn read_terms(terms: Option<&operator::GrantTerms>) -> Result<Terms, Refusal> {
    let terms = terms.ok_or_else(|| Refusal::malformed(Field::Required("terms"), "said"))?;
    let malformed = |field, should_be: &str| Refusal::malformed(Field::Other(field), should_be);
    let deeds = terms
        .acts
        .iter()
        .map(|act| match operator::ScriptAct::try_from(*act) {
            Ok(operator::ScriptAct::Open) => Ok(Deed::Open),
            Ok(operator::ScriptAct::Close) => Ok(Deed::Close),
            Ok(operator::ScriptAct::RollOver) => Ok(Deed::RollOver),
            Ok(operator::ScriptAct::OpenUnplanned) => Ok(Deed::OpenUnplanned),
            Ok(operator::ScriptAct::SwitchOver) => Ok(Deed::SwitchOver),
            Ok(operator::ScriptAct::Unspecified) | Err(_) => {
                Err(malformed("acts", "SCRIPT_ACT_OPEN, _CLOSE or _ROLL_OVER"))
            }
        });
    let time = |at: Option<&prost_types::Timestamp>, field| {
        at.and_then(wire::read_time)
            .ok_or_else(|| malformed(field, "a time"))
    };
    Ok(Terms {
        script: ScriptId::parse(&terms.script)
            .map_err(|wrong| malformed("script", &wrong.to_string()))?,
        session: SessionId::parse(&terms.session)
            .map_err(|wrong| malformed("session", &wrong.to_string()))?,
        plan: wire::read_digest(&terms.plan_digest, "plan_digest")?,
        deeds: deeds.collect::<Result<BTreeSet<Deed>, Refusal>>()?,
        from: time(terms.start_time.as_ref(), "start_time")?,
        until: time(terms.end_time.as_ref(), "end_time")?,
        runs: terms.run_count,
    })
}

async fn approve(
    edge: &Edge,
    ask: Ask<operator::ApproveGrantRequest>,
) -> Result<operator::ApproveGrantResponse, Refusal> {
    let body = &ask.body;
    let unsigned = operator::ApproveGrantRequest {
        approval: None,
        ..body.clone()
    };
    let key = ask.key_of(&body.request_id, &unsigned, edge.keyring())?;
    let terms = read_terms(body.terms.as_ref())?;
    let id = terms.id();
    let reason = reason(&ask, &body.reason)?;
    let command = domain::Command::Script(Command::Grant { terms, reason });
    let call = Call {
        key,
        approval: body.approval.as_ref(),
        validity: Validity::of(body.validate_only),
    };
    let (approval_count, needed_count) = approvals::approve(edge, &ask, call, command).await?;
    Ok(operator::ApproveGrantResponse {
        grant: id.to_string(),
        approval_count,
        needed_count,
    })
}

async fn withdraw(
    edge: &Edge,
    ask: Ask<operator::WithdrawGrantRequest>,
) -> Result<operator::WithdrawGrantResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    let grant = wire::read_digest(&body.grant, "grant")?;
    let reason = reason(&ask, &body.reason)?;
    let line = edge.line(&ask)?;
    let command = domain::Command::Script(Command::Withdraw { grant, reason });
    let request = (Some(key), Validity::of(body.validate_only));
    edge.propose_or_judge(&ask, &line, request, command).await?;
    Ok(operator::WithdrawGrantResponse {})
}

fn terms(of: &Terms) -> operator::GrantTerms {
    let acts = of.deeds.iter().map(|deed| match deed {
        Deed::Open => operator::ScriptAct::Open,
        Deed::Close => operator::ScriptAct::Close,
        Deed::RollOver => operator::ScriptAct::RollOver,
        Deed::OpenUnplanned => operator::ScriptAct::OpenUnplanned,
        Deed::SwitchOver => operator::ScriptAct::SwitchOver,
    });
    operator::GrantTerms {
        script: of.script.to_string(),
        session: of.session.to_string(),
        plan_digest: of.plan.to_string(),
        acts: acts.map(Into::into).collect(),
        start_time: Some(wire::time(of.from)),
        end_time: Some(wire::time(of.until)),
        run_count: of.runs,
    }
}

fn names(by: &approval::By) -> Vec<String> {
    by.keys().map(ToString::to_string).collect()
}

fn state_of(grant: &Grant, now: UnixMs) -> operator::GrantState {
    use operator::GrantState as State;
    if grant.withdrawn.is_some() {
        State::Withdrawn
    } else if grant.used >= grant.terms.runs {
        State::Used
    } else if now < grant.terms.from {
        State::Coming
    } else if now < grant.terms.until {
        State::Open
    } else {
        State::Over
    }
}

fn shown(of: &Grant, now: UnixMs) -> operator::Grant {
    let withdrawn_by = of.withdrawn.as_ref().map(|(by, _)| by.to_string());
    operator::Grant {
        grant: of.terms.id().to_string(),
        terms: Some(terms(&of.terms)),
        state: state_of(of, now).into(),
        approvers: names(&of.approvals),
        used_count: of.used,
        withdrawn_by: withdrawn_by.unwrap_or_default(),
    }
}

async fn list(
    edge: &Edge,
    ask: Ask<operator::ListGrantsRequest>,
) -> Result<operator::ListGrantsResponse, Refusal> {
    let body = &ask.body;
    let size = wire::page_size(body.page_size, PAGE_DEFAULT, PAGE_MAX)?;
    let after: usize = match body.page_token.as_str() {
        "" => 0,
        text => text.parse().map_err(|_| {
            Refusal::malformed(Field::Other("page_token"), "one that was answered before")
        })?,
    };
    let (_, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let waiting = state.pending(now).filter_map(|pending| match &pending.act {
        Act::Grant(asked) => Some(operator::Grant {
            grant: asked.id().to_string(),
            terms: Some(terms(asked)),
            state: operator::GrantState::Waiting.into(),
            approvers: names(&pending.by),
            ..operator::Grant::default()
        }),
        Act::Session(..)
        | Act::Migration(_)
        | Act::ChangeRequest(..)
        | Act::Participant(_)
        | Act::Policy(..)
        | Act::Import(_)
        | Act::Register(_)
        | Act::Promotion(_)
        | Act::Nodes(_) => None,
    });
    let wanted = |grant: &operator::Grant| {
        let of = grant.terms.as_ref().map(|terms| terms.script.as_str());
        body.script.is_empty() || of == Some(body.script.as_str())
    };
    let mut page: Vec<operator::Grant> = waiting
        .chain(state.grants().map(|grant| shown(grant, now)))
        .filter(wanted)
        .skip(after)
        .take(size.saturating_add(1))
        .collect();
    let more = page.len() > size;
    page.truncate(size);
    let read = Read::of(format!("script={}", body.script), page.len());
    edge.note_read(&ask, &state, read)?;
    Ok(operator::ListGrantsResponse {
        grants: page,
        needed_count: state.policy().approvals,
        next_page_token: if more {
            after.saturating_add(size).to_string()
        } else {
            String::new()
        },
    })
}
