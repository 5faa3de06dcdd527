//! Other people's live tokens, as their administrators and operators see them: by their digests,
//! never by what could be used as one. Ending them is in `account`.

use std::pin::Pin;

use domain::token::Token;
use domain::{Rejection, State, UnixMs};
use futures::{Stream, StreamExt};
use proto::admin::v1 as admin;
use proto::admin::v1::watch_account_tokens_response::Event;
use tonic::Status;

use super::{Scope, named};
use crate::edge::Edge;
use crate::identity::Caller;
use crate::reads::Read;
use crate::request::Ask;
use crate::rpc::token::{self, Ended};
use crate::status::Refusal;
use crate::wire;

pub(in crate::rpc) type Watched =
    Pin<Box<dyn Stream<Item = Result<admin::WatchAccountTokensResponse, Status>> + Send>>;

fn shown(token: &Token) -> admin::AccountToken {
    let address = token.address.map(|address| address.to_string());
    admin::AccountToken {
        token_id: token.id.to_string(),
        account: wire::account_name(&token.participant, token.class, &token.account),
        portal: wire::portal(token.portal()).into(),
        method: wire::method(token.method()).into(),
        channel: wire::channel(token.channel).into(),
        scopes: wire::scopes(token.scopes()),
        front_end: token.front_end.to_string(),
        client_address: address.unwrap_or_default(),
        create_time: Some(wire::time(token.issued_at)),
        expire_time: Some(wire::time(token.ends_at)),
        idle_expire_time: Some(wire::time(token.idle_until)),
    }
}

pub(super) async fn list(
    edge: &Edge,
    ask: Ask<admin::ListAccountTokensRequest>,
) -> Result<admin::ListAccountTokensResponse, Refusal> {
    let (_, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let account = named(&ask, &state, &ask.body.name, now)?;
    let tokens: Vec<_> = state
        .tokens()
        .of(&account.id, now)
        .filter(|token| now < token.idle_until)
        .map(shown)
        .collect();
    let read = Read::of(ask.body.name.clone(), tokens.len()).about(Some(account.id));
    edge.note_read(&ask, &state, read)?;
    Ok(admin::ListAccountTokensResponse { tokens })
}

pub(super) async fn get(
    edge: &Edge,
    ask: Ask<admin::GetAccountTokenRequest>,
) -> Result<admin::GetAccountTokenResponse, Refusal> {
    let id = wire::read_digest(&ask.body.token_id, "token_id")?;
    let (_, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let scope = Scope::of(&ask, &state, now)?;
    // One of another firm is as one that is not there.
    let token = live(&state, &id, now)
        .filter(|token| {
            let account = state.account(&token.account);
            account.is_some_and(|account| scope.holds(account))
        })
        .ok_or_else(|| Refusal::NotFound {
            what: format!("live token {id}"),
        })?;
    let read = Read::of(id.to_string(), 1).about(Some(token.account.clone()));
    edge.note_read(&ask, &state, read)?;
    Ok(admin::GetAccountTokenResponse {
        token: Some(shown(token)),
    })
}

fn live<'a>(state: &'a State, id: &domain::token::TokenId, now: UnixMs) -> Option<&'a Token> {
    let token = state.tokens().get(id, now);
    token.filter(|token| now < token.idle_until)
}

/// For operators: endings name no account, so that a delegated administrator could not be told
/// those of its own firm alone.
pub(super) async fn watch(
    edge: &Edge,
    ask: Ask<admin::WatchAccountTokensRequest>,
) -> Result<Watched, Refusal> {
    match ask.caller {
        Caller::Operator(_) => {}
        Caller::FrontEnd(..) | Caller::BackEnd(_) | Caller::Node(_) | Caller::Script(_) => {
            return Err(Refusal::Rejected {
                rejection: Rejection::NotAllowed,
                clock: edge.node().time(),
            });
        }
    }
    let position = ask.body.position.clone();
    let told = token::endings(edge, &ask, &position)?;
    Ok(told
        .map(|(position, ended)| {
            let event = match ended {
                Ended::One(id) => Event::TokenId(id.to_string()),
                Ended::Participant(id) => Event::Participant(wire::participant_name(&id)),
                Ended::All(line) => Event::AllEnded(wire::line_reference(&line)),
            };
            Ok(admin::WatchAccountTokensResponse {
                position,
                event: Some(event),
            })
        })
        .boxed())
}
