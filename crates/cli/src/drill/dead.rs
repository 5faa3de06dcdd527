//! Tries every token of the branch at every rpc that takes one (I6). Each must be refused because
//! the token is dead: a refusal for another reason, or no answer, shows nothing.

use std::future::Future;

use proto::admin::v1::account_service_client::AccountServiceClient;
use proto::admin::v1::{
    EndAccountTokensRequest, GetAccountRequest, IssueActivationCodeRequest, ListAccountsRequest,
    SuspendAccountRequest,
};
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::{
    BeginReplaceChannelRequest, BeginStepUpRequest, ChangePasswordRequest,
    ConfirmReplaceChannelRequest, EndOwnTokensRequest, ListOwnTokensRequest, LogoutRequest,
    VerifyStepUpRequest,
};
use proto::token::v1::IntrospectTokenRequest;
use proto::token::v1::token_service_client::TokenServiceClient;
use tonic::{Response, Status};

use super::people::{Held, resource};
use super::person::ADDRESS;
use super::play::{Player, Trouble};
use super::stage::{Door, call, request, request_as};
use crate::exit::Failure;
use crate::refusal;

/// What was tried, and what was accepted.
#[derive(Debug, Default)]
pub(super) struct Tried {
    /// How many calls were made.
    pub(super) count: usize,
    /// The calls that went through, or were not refused for the token's sake.
    pub(super) accepted: Vec<String>,
}

/// The reason with which a dead token is refused.
const DEAD: &str = "TOKEN_EXPIRED";

impl Tried {
    async fn note<T, F>(&mut self, rpc: &str, name: &str, answer: F)
    where
        F: Future<Output = Result<T, Status>>,
    {
        self.count += 1;
        match answer.await {
            Ok(_) => self.accepted.push(format!("{rpc} with {name}")),
            Err(status) if refusal::reason(&status).as_deref() == Some(DEAD) => {}
            Err(status) => self.accepted.push(format!(
                "{rpc} with {name} (refused for another reason: {})",
                status.message()
            )),
        }
    }
}

/// Tries all tokens of the branch.
pub(super) async fn try_all(player: &Player) -> Result<Tried, Trouble> {
    let mut tried = Tried::default();
    let front = player.front();
    let tokens: Vec<(&String, &Held)> = player
        .people
        .tokens
        .iter()
        .filter(|(_, held)| held.of_branch)
        .collect();
    if tokens.is_empty() {
        return Err(Failure::pre_check("nobody holds a token of the branch").into());
    }
    for (name, held) in tokens {
        introspection(player, &mut tried, name, held).await;
        own(player, &mut tried, &front, name, held).await;
        let person = player.drill.person(&held.person)?;
        administration(player, &mut tried, &front, name, held, resource(person)).await;
    }
    Ok(tried)
}

async fn introspection(player: &Player, tried: &mut Tried, name: &str, held: &Held) {
    for door in player.stage.back() {
        for scope in &held.scopes {
            tried.count += 1;
            let message = IntrospectTokenRequest {
                access_token: held.text.clone(),
                portal: held.portal.into(),
                scope: scope.clone(),
                activity: true,
            };
            let answer = TokenServiceClient::new(door.channel.clone())
                .introspect_token(request(message))
                .await
                .map(Response::into_inner);
            let told = match answer {
                Ok(answer)
                    if answer
                        .introspection
                        .as_ref()
                        .is_some_and(|found| !found.active) =>
                {
                    continue;
                }
                Ok(_) => "it is active".to_owned(),
                // The centre that does not serve says nothing of tokens.
                Err(status)
                    if refusal::reason(&status).as_deref() == Some("CENTRE_NOT_SERVING") =>
                {
                    continue;
                }
                Err(status) => status.message().to_owned(),
            };
            let at = format!("IntrospectToken with {name} at node {}: {told}", door.node);
            tried.accepted.push(at);
        }
    }
}

/// Calls one rpc of a service with the token, and notes whether it went through.
macro_rules! attempt {
    ($tried:expr, $doors:expr, $name:expr, $held:expr, $client:ident, $rpc:ident, $message:expr) => {
        $tried
            .note(
                stringify!($rpc),
                $name,
                call($doors, |channel| {
                    let message = $message;
                    let token = $held.text.clone();
                    async move {
                        $client::new(channel)
                            .$rpc(request_as(message, &token))
                            .await
                    }
                }),
            )
            .await
    };
}

async fn own(player: &Player, tried: &mut Tried, front: &[Door], name: &str, held: &Held) {
    let address = || ADDRESS.to_owned();
    let id = || player.clock.request_id();
    attempt!(
        tried,
        front,
        name,
        held,
        AuthServiceClient,
        list_own_tokens,
        ListOwnTokensRequest::default()
    );
    attempt!(
        tried,
        front,
        name,
        held,
        AuthServiceClient,
        begin_step_up,
        BeginStepUpRequest {
            resource: String::new(),
            request_id: id(),
            act: 1,
            client_address: address()
        }
    );
    attempt!(
        tried,
        front,
        name,
        held,
        AuthServiceClient,
        verify_step_up,
        VerifyStepUpRequest {
            request_id: id(),
            step_up_id: id(),
            factor: None,
            client_address: address(),
        }
    );
    attempt!(
        tried,
        front,
        name,
        held,
        AuthServiceClient,
        change_password,
        ChangePasswordRequest {
            request_id: id(),
            current_password: "whatever it was before".to_owned(),
            new_password: "whatever it is to be now".to_owned(),
            reason: 1,
            client_address: address(),
        }
    );
    attempt!(
        tried,
        front,
        name,
        held,
        AuthServiceClient,
        begin_replace_channel,
        BeginReplaceChannelRequest {
            request_id: id(),
            step_up_id: id(),
            channel: 1,
            reason: 1,
            client_address: address(),
            current_password: "whatever it was before".to_owned(),
        }
    );
    attempt!(
        tried,
        front,
        name,
        held,
        AuthServiceClient,
        confirm_replace_channel,
        ConfirmReplaceChannelRequest {
            request_id: id(),
            replacement_id: id(),
            code: "000000".to_owned(),
            client_address: address(),
        }
    );
    attempt!(
        tried,
        front,
        name,
        held,
        AuthServiceClient,
        end_own_tokens,
        EndOwnTokensRequest {
            request_id: id(),
            token_id: String::new(),
            client_address: address(),
        }
    );
    attempt!(
        tried,
        front,
        name,
        held,
        AuthServiceClient,
        logout,
        LogoutRequest {
            request_id: id(),
            client_address: address()
        }
    );
}

async fn administration(
    player: &Player,
    tried: &mut Tried,
    front: &[Door],
    name: &str,
    held: &Held,
    account: String,
) {
    let address = || ADDRESS.to_owned();
    let parent = account.split('/').take(2).collect::<Vec<&str>>().join("/");
    attempt!(
        tried,
        front,
        name,
        held,
        AccountServiceClient,
        get_account,
        GetAccountRequest {
            name: account.clone()
        }
    );
    attempt!(
        tried,
        front,
        name,
        held,
        AccountServiceClient,
        list_accounts,
        ListAccountsRequest {
            parent: parent.clone(),
            page_size: 0,
            page_token: String::new(),
            filter: None,
        }
    );
    attempt!(
        tried,
        front,
        name,
        held,
        AccountServiceClient,
        issue_activation_code,
        IssueActivationCodeRequest {
            request_id: player.clock.request_id(),
            name: account.clone(),
            client_address: address(),
            ..IssueActivationCodeRequest::default()
        }
    );
    attempt!(
        tried,
        front,
        name,
        held,
        AccountServiceClient,
        end_account_tokens,
        EndAccountTokensRequest {
            request_id: player.clock.request_id(),
            name: account.clone(),
            reason: "must not pass".to_owned(),
            client_address: address(),
            ..EndAccountTokensRequest::default()
        }
    );
    attempt!(
        tried,
        front,
        name,
        held,
        AccountServiceClient,
        suspend_account,
        SuspendAccountRequest {
            request_id: player.clock.request_id(),
            name: account.clone(),
            reason: "must not pass".to_owned(),
            client_address: address(),
            ..SuspendAccountRequest::default()
        }
    );
}
