//! `ReadinessService`: how far each participant's accounts have come (R8, R10). What operators do
//! about it is in `migration`.

use std::collections::BTreeMap;

use domain::State;
use domain::account::{Account, Stage};
use domain::id::ParticipantId;
use domain::participant::lets_in;
use proto::admin::v1 as admin;
use proto::admin::v1::readiness_service_server::ReadinessService;
use tonic::{Request, Response, Status};

use super::account::{Scope, accounts, read_page_token};
use super::{answered, migration, participant, remind};
use crate::edge::Edge;
use crate::reads::Read;
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

    async fn send_reminders(
        &self,
        request: Request<admin::SendRemindersRequest>,
    ) -> Result<Response<admin::SendRemindersResponse>, Status> {
        answered!(self.0, request, remind::send)
    }

    async fn get_migration(
        &self,
        request: Request<admin::GetMigrationRequest>,
    ) -> Result<Response<admin::GetMigrationResponse>, Status> {
        answered!(self.0, request, migration::get)
    }

    async fn set_login_methods(
        &self,
        request: Request<admin::SetLoginMethodsRequest>,
    ) -> Result<Response<admin::SetLoginMethodsResponse>, Status> {
        answered!(self.0, request, migration::set_methods)
    }

    async fn schedule_go_live(
        &self,
        request: Request<admin::ScheduleGoLiveRequest>,
    ) -> Result<Response<admin::ScheduleGoLiveResponse>, Status> {
        answered!(self.0, request, migration::schedule)
    }

    async fn approve_go_live(
        &self,
        request: Request<admin::ApproveGoLiveRequest>,
    ) -> Result<Response<admin::ApproveGoLiveResponse>, Status> {
        answered!(self.0, request, migration::approve)
    }

    async fn postpone_go_live(
        &self,
        request: Request<admin::PostponeGoLiveRequest>,
    ) -> Result<Response<admin::PostponeGoLiveResponse>, Status> {
        answered!(self.0, request, migration::postpone)
    }

    async fn withdraw_go_live(
        &self,
        request: Request<admin::WithdrawGoLiveRequest>,
    ) -> Result<Response<admin::WithdrawGoLiveResponse>, Status> {
        answered!(self.0, request, migration::withdraw)
    }
}

/// Why the account cannot be initiated; nothing if it can or was.
fn unready_reason(state: &State, account: &Account) -> Option<admin::UnreadyReason> {
    match account.stage() {
        Stage::NoEmail => Some(admin::UnreadyReason::NoEmail),
        Stage::EmailRegistered if !account.active() || !lets_in(state, account) => {
            Some(admin::UnreadyReason::Shut)
        }
        Stage::EmailRegistered | Stage::Initiated | Stage::TwoFactorOnly => None,
    }
}

fn state_of(state: &State, firm: &ParticipantId) -> admin::ParticipantState {
    let firm = state.participant(firm);
    firm.map_or(admin::ParticipantState::Unspecified, participant::state)
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
                state: state_of(&state, &account.participant).into(),
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
        if account.stage() == Stage::TwoFactorOnly {
            firm.two_factor_only_count += 1;
        }
        if !account.active() {
            firm.suspended_count += 1;
        }
    }
    edge.note_read(&ask, &state, Read::of(ask.body.parent.clone(), firms.len()))?;
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
        .filter_map(|account| Some((account, unready_reason(&state, account)?)));
    let page: Vec<_> = found.by_ref().take(size).collect();
    let next = page
        .last()
        .filter(|_| found.next().is_some())
        .map(|(account, _)| account.id.to_string());
    edge.note_read(&ask, &state, Read::of(ask.body.parent.clone(), page.len()))?;
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
