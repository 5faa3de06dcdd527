//! `TokenService`: whether a token that a person showed is good, as of now (LOGIN.md, "Login").

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use consensus::Line;
use credential::secret;
use domain::id::{FrontEndId, ParticipantId};
use domain::outcome::Functions;
use domain::portal::{Portal, Scope};
use domain::registration::Holder;
use domain::token::{ACTIVITY_MS_MIN, Command, Ending, Token, TokenId};
use domain::{LineRef, Rejection, State, UnixMs};
use futures::{Stream, StreamExt, stream};
use proto::token::v1 as wired;
use proto::token::v1::token_service_server::TokenService;
use proto::token::v1::watch_revocations_response::Event;
use tonic::{Request, Response, Status};

use super::answered;
use crate::edge::Edge;
use crate::identity::Caller;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

/// Most tokens in one call.
const BATCH_MAX: usize = 500;
/// How often a watch looks again when nothing was applied: a branch may have come or gone.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The live token that the call carries, if it was issued through this front end.
///
/// # Errors
/// `TokenExpired`, whatever is wrong with it.
pub(super) fn shown<'a>(
    state: &'a State,
    caller: &Caller,
    token: &TokenId,
    now: UnixMs,
) -> Result<&'a Token, Refusal> {
    state
        .tokens()
        .get(token, now)
        .filter(|token| now < token.idle_until)
        .filter(|token| match caller {
            Caller::FrontEnd(id, _) => token.front_end == *id,
            Caller::BackEnd(_) | Caller::Operator(_) | Caller::Node(_) | Caller::Script(_) => false,
        })
        .ok_or(Refusal::TokenExpired)
}

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Tokens(pub(super) Edge);

#[tonic::async_trait]
impl TokenService for Tokens {
    type WatchRevocationsStream =
        Pin<Box<dyn Stream<Item = Result<wired::WatchRevocationsResponse, Status>> + Send>>;

    async fn introspect_token(
        &self,
        request: Request<wired::IntrospectTokenRequest>,
    ) -> Result<Response<wired::IntrospectTokenResponse>, Status> {
        answered!(self.0, request, introspect)
    }

    async fn batch_introspect_tokens(
        &self,
        request: Request<wired::BatchIntrospectTokensRequest>,
    ) -> Result<Response<wired::BatchIntrospectTokensResponse>, Status> {
        answered!(self.0, request, introspect_batch)
    }

    async fn watch_revocations(
        &self,
        request: Request<wired::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        answered!(self.0, request, watch)
    }
}

async fn introspect(
    edge: &Edge,
    ask: Ask<wired::IntrospectTokenRequest>,
) -> Result<wired::IntrospectTokenResponse, Refusal> {
    let (line, state) = edge.fresh(&ask).await?;
    let introspection = introspection(edge, &ask, &line, &state, &ask.body).await?;
    Ok(wired::IntrospectTokenResponse {
        introspection: Some(introspection),
    })
}

async fn introspect_batch(
    edge: &Edge,
    ask: Ask<wired::BatchIntrospectTokensRequest>,
) -> Result<wired::BatchIntrospectTokensResponse, Refusal> {
    if ask.body.requests.len() > BATCH_MAX {
        let should_be = format!("at most {BATCH_MAX}");
        return Err(Refusal::malformed(Field::Other("requests"), &should_be));
    }
    let (line, state) = edge.fresh(&ask).await?;
    let mut introspections = Vec::with_capacity(ask.body.requests.len());
    for request in &ask.body.requests {
        introspections.push(introspection(edge, &ask, &line, &state, request).await?);
    }
    Ok(wired::BatchIntrospectTokensResponse { introspections })
}

/// What a token is. Whatever is wrong with it, the answer is that it is not active.
async fn introspection<B>(
    edge: &Edge,
    ask: &Ask<B>,
    line: &Line,
    state: &State,
    request: &wired::IntrospectTokenRequest,
) -> Result<wired::Introspection, Refusal> {
    let portal = wire::required_portal(request.portal)?;
    let scope = Scope::from_id(&request.scope)
        .ok_or_else(|| Refusal::malformed(Field::Required("scope"), "the id of a scope"))?;
    let now = edge.now(state);
    let token = secret::Token::parse(&request.access_token)
        .ok()
        .map(|token| token.digest());
    let token = token
        .and_then(|id| state.tokens().get(&id, now))
        .filter(|token| now < token.idle_until)
        // On a branch too: its own copy of who may call is as old as its boundary.
        .filter(|token| registered(edge, &token.front_end))
        .filter(|token| token.option.portal() == portal && token.scopes().contains(&scope));
    let Some(token) = token else {
        return Ok(wired::Introspection::default());
    };
    if request.activity && !touch(edge, ask, line, state, token, now).await? {
        return Ok(wired::Introspection::default());
    }
    let plan = state.plan(&token.session);
    let functions = match (
        plan.map(|plan| plan.session.business_functions_open),
        portal,
    ) {
        (Some(false), Portal::Ccms) => Functions::NotAvailable,
        (Some(false), Portal::Dms) => Functions::Completed,
        (Some(true) | None, Portal::Ccms | Portal::Dms) => Functions::Open,
    };
    let reference = line.reference();
    Ok(wired::Introspection {
        active: true,
        account: wire::account_name(&token.participant, token.class, &token.account),
        user_id: token.account.to_string(),
        portal: wire::portal(portal).into(),
        scopes: wire::scopes(token.scopes()),
        method: wire::method(token.method()).into(),
        channel: wire::channel(token.channel).into(),
        expire_time: Some(wire::time(token.ends_at)),
        function_status: wire::function_status(functions),
        carry_forward: wire::carry(reference.line.carry()).into(),
        line: Some(wire::line_reference(&reference)),
    })
}

/// Whether the front end that obtained a token may still call.
fn registered(edge: &Edge, front_end: &FrontEndId) -> bool {
    let holder = Holder::FrontEnd(front_end.clone());
    edge.node().main().state().registered(&holder).is_some()
}

/// Notes activity, at most once a minute. False if the token ended in the meantime.
async fn touch<B>(
    edge: &Edge,
    ask: &Ask<B>,
    line: &Line,
    state: &State,
    token: &Token,
    now: UnixMs,
) -> Result<bool, Refusal> {
    let noted_at = token.idle_until.minus(state.policy().token_idle_ms);
    if now.since(noted_at) < ACTIVITY_MS_MIN {
        return Ok(true);
    }
    let command = domain::Command::Token(Command::Touch { token: token.id });
    match edge.propose(ask, line, None, command).await {
        Ok(_)
        | Err(Refusal::Rejected {
            rejection: Rejection::AlreadySo,
            ..
        }) => Ok(true),
        Err(Refusal::Rejected {
            rejection: Rejection::TokenEnded,
            ..
        }) => Ok(false),
        Err(refusal) => Err(refusal),
    }
}

/// Where a watch is: on which line, in which generation of short-lived things, and how many
/// endings it has told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Position {
    line: String,
    generation: u64,
    ended: u64,
}

impl Position {
    fn of(line: &Line, state: &State) -> Self {
        let reference = line.reference();
        Self {
            line: format!("{}@{}", wire::line_name(&reference.line), reference.epoch),
            generation: state.header().generation,
            ended: state.tokens().ended(),
        }
    }

    fn text(&self) -> String {
        format!("{}:{}:{}", self.line, self.generation, self.ended)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, ':');
        let ended = parts.next()?.parse().ok()?;
        let generation = parts.next()?.parse().ok()?;
        Some(Self {
            line: parts.next()?.to_owned(),
            generation,
            ended,
        })
    }
}

type Watched = Pin<Box<dyn Stream<Item = Result<wired::WatchRevocationsResponse, Status>> + Send>>;

/// What ended.
#[derive(Debug, Clone)]
pub(super) enum Ended {
    /// One token.
    One(TokenId),
    /// All of a firm's people's that were issued before.
    Participant(ParticipantId),
    /// All of them; tokens live on this line from now.
    All(LineRef),
}

async fn watch(edge: &Edge, ask: Ask<wired::WatchRevocationsRequest>) -> Result<Watched, Refusal> {
    let position = ask.body.position.clone();
    let told = endings(edge, &ask, &position)?;
    Ok(told
        .map(|(position, ended)| {
            let event = match ended {
                Ended::One(id) => Event::TokenEnded(wired::TokenEnded {
                    token_digest: id.to_string(),
                }),
                Ended::Participant(id) => Event::ParticipantEnded(wired::ParticipantEnded {
                    participant: wire::participant_name(&id),
                }),
                Ended::All(line) => Event::AllEnded(wired::AllEnded {
                    line: Some(wire::line_reference(&line)),
                }),
            };
            Ok(wired::WatchRevocationsResponse {
                position,
                event: Some(event),
            })
        })
        .boxed())
}

/// What ends from a position on, each with the position after it, until the node stops.
///
/// # Errors
/// `MALFORMED_POSITION`; `Internal` when the watch cannot be noted.
pub(super) fn endings<B>(
    edge: &Edge,
    ask: &Ask<B>,
    position: &str,
) -> Result<impl Stream<Item = (String, Ended)> + Send + use<B>, Refusal> {
    let position = match position {
        "" => {
            let line = edge.serving_line();
            Position::of(&line, &line.state())
        }
        text => Position::parse(text).ok_or_else(|| {
            Refusal::malformed(Field::Other("position"), "one that a watch told, or empty")
        })?,
    };
    let state = edge.serving_line().state();
    let noted = edge.note_watch(ask, &state, position.text())?;
    let edge = edge.clone();
    let mut stopping = edge.parts().stopping.clone();
    let begun = (edge, position, noted);
    let told = stream::unfold(begun, |(edge, position, mut noted)| async move {
        let (events, position) = next(&edge, position).await;
        noted.count(events.len());
        Some((stream::iter(events), (edge, position, noted)))
    });
    let stopped = async move {
        // The sender is gone only when the node is.
        let _stopped = stopping.wait_for(|stop| *stop).await;
    };
    Ok(told.flatten().take_until(stopped))
}

/// Waits until something ended, and tells it.
async fn next(edge: &Edge, position: Position) -> (Vec<(String, Ended)>, Position) {
    loop {
        let line = edge.serving_line();
        let mut applied = line.applied();
        applied.mark_unchanged();
        let state = line.state();
        let now = Position::of(&line, &state);
        if now != position {
            return (events(&line, &state, &position, &now), now);
        }
        // Either something is applied, or it is time to see whether the line is another.
        let _either = tokio::time::timeout(LOOK_EVERY, applied.changed()).await;
    }
}

fn events(line: &Line, state: &State, from: &Position, to: &Position) -> Vec<(String, Ended)> {
    let same = from.line == to.line && from.generation == to.generation;
    let ended = state
        .tokens()
        .endings_from(from.ended)
        .filter(|_| same && from.ended <= to.ended);
    let Some((ended, _)) = ended else {
        return vec![(to.text(), Ended::All(line.reference()))];
    };
    // A token that is named twice is told once.
    let ended: BTreeMap<u64, Ending> = (from.ended.saturating_add(1)..).zip(ended).collect();
    ended
        .into_iter()
        .map(|(count, ending)| {
            let ended = match ending {
                Ending::Token(id) => Ended::One(id),
                Ending::Participant(id) => Ended::Participant(id),
            };
            let position = Position {
                ended: count,
                ..to.clone()
            };
            (position.text(), ended)
        })
        .collect()
}
