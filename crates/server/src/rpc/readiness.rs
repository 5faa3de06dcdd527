//! `ReadinessService`: how far each participant's accounts have come (R8, R10).

use std::collections::BTreeMap;

use domain::account::{Account, Stage};
use domain::id::ParticipantId;
use proto::admin::v1 as admin;
use proto::admin::v1::readiness_service_server::ReadinessService;
use tonic::{Request, Response, Status};

use super::account::{Scope, accounts, read_page_token};
use super::answered;
use crate::edge::Edge;
use crate::request::Ask;
use crate::status::Refusal;
use crate::wire;

const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 500;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Readiness(pub(super) Edge);

#[tonic::async_trait]
impl ReadinessService for Readiness {
    async fn get_readiness_report(
        &self,
        request: Request<admin::GetReadinessReportRequest>,
    ) -> Result<Response<admin::GetReadinessReportResponse>, Status> {
        answered!(self.0, request, report)
    }

    async fn list_unready_accounts(
        &self,
        request: Request<admin::ListUnreadyAccountsRequest>,
    ) -> Result<Response<admin::ListUnreadyAccountsResponse>, Status> {
        answered!(self.0, request, unready)
    }
}

/// Why the account cannot be initiated; nothing if it can or was.
fn unready_reason(account: &Account) -> Option<admin::UnreadyReason> {
    match account.stage() {
        Stage::NoEmail => Some(admin::UnreadyReason::NoEmail),
        Stage::EmailRegistered if !account.active() => Some(admin::UnreadyReason::Shut),
        Stage::EmailRegistered | Stage::Initiated | Stage::TwoFactorOnly => None,
    }
}

async fn report(
    edge: &Edge,
    ask: Ask<admin::GetReadinessReportRequest>,
) -> Result<admin::GetReadinessReportResponse, Refusal> {
    let (_, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let scope = Scope::of(&ask, &state, now)?;
    let participant = scope.participant(&ask.body.parent, now)?;
    let mut firms: BTreeMap<ParticipantId, admin::ParticipantReadiness> = BTreeMap::new();
    for account in accounts(&state, &scope, participant.as_ref(), None) {
        let firm = firms.entry(account.participant.clone()).or_insert_with(|| {
            admin::ParticipantReadiness {
                participant: wire::participant_name(&account.participant),
                ..Default::default()
            }
        });
        firm.account_count += 1;
        let count = match account.stage() {
            Stage::NoEmail => &mut firm.without_email_count,
            Stage::EmailRegistered => &mut firm.ready_count,
            Stage::Initiated | Stage::TwoFactorOnly => &mut firm.initiated_count,
        };
        *count += 1;
    }
    Ok(admin::GetReadinessReportResponse {
        participants: firms.into_values().collect(),
    })
}

async fn unready(
    edge: &Edge,
    ask: Ask<admin::ListUnreadyAccountsRequest>,
) -> Result<admin::ListUnreadyAccountsResponse, Refusal> {
    let size = wire::page_size(ask.body.page_size, PAGE_DEFAULT, PAGE_MAX)?;
    let after = read_page_token(&ask.body.page_token)?;
    let (_, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let scope = Scope::of(&ask, &state, now)?;
    let participant = scope.participant(&ask.body.parent, now)?;
    let mut found = accounts(&state, &scope, participant.as_ref(), after.as_ref())
        .filter_map(|account| Some((account, unready_reason(account)?)));
    let page: Vec<_> = found.by_ref().take(size).collect();
    let next = page
        .last()
        .filter(|_| found.next().is_some())
        .map(|(account, _)| account.id.to_string());
    Ok(admin::ListUnreadyAccountsResponse {
        accounts: page
            .into_iter()
            .map(|(account, reason)| admin::UnreadyAccount {
                account: Some(wire::account(account)),
                reason: reason.into(),
            })
            .collect(),
        next_page_token: next.unwrap_or_default(),
    })
}
