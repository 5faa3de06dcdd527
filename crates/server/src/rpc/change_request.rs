//! `ChangeRequestService`: what gives access, made by one person and checked by another (S34).

use credential::associated::Associated;
use credential::password::Verifier;
use domain::account::{By, Class, EMAIL_BYTES_MAX, Imported, TITLE_BYTES_MAX};
use domain::change_request::{Act, ChangeRequest, Command, Decision};
use domain::factor::{Method, Sealed};
use domain::id::{CardNumber, ChangeRequestId, ParticipantId};
use domain::{Carry, Rejection, UnixMs};
use prost_types::Timestamp;
use proto::admin::v1 as admin;
use proto::admin::v1::change_act::Act as Asked;
use proto::admin::v1::change_request_service_server::ChangeRequestService;
use tonic::{Request, Response, Status};

use super::account::{PAGE_DEFAULT, PAGE_MAX, Scope, reason, token_of};
use super::{answered, changed};
use crate::approvals;
use crate::edge::{self, Edge};
use crate::factor;
use crate::identity::Caller;
use crate::reads::Read;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire::{self, Name};

mod review;

const NAME: &str = "changeRequests/";

type Answered<T> = Result<Response<T>, Status>;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct ChangeRequests(pub(super) Edge);

#[tonic::async_trait]
impl ChangeRequestService for ChangeRequests {
    async fn create_change_request(
        &self,
        request: Request<admin::CreateChangeRequestRequest>,
    ) -> Answered<admin::CreateChangeRequestResponse> {
        answered!(self.0, request, create)
    }

    async fn get_change_request(
        &self,
        request: Request<admin::GetChangeRequestRequest>,
    ) -> Answered<admin::GetChangeRequestResponse> {
        answered!(self.0, request, get)
    }

    async fn list_change_requests(
        &self,
        request: Request<admin::ListChangeRequestsRequest>,
    ) -> Answered<admin::ListChangeRequestsResponse> {
        answered!(self.0, request, list)
    }

    async fn approve_change_request(
        &self,
        request: Request<admin::ApproveChangeRequestRequest>,
    ) -> Answered<admin::ApproveChangeRequestResponse> {
        answered!(self.0, request, approve)
    }

    async fn reject_change_request(
        &self,
        request: Request<admin::RejectChangeRequestRequest>,
    ) -> Answered<admin::RejectChangeRequestResponse> {
        answered!(self.0, request, reject)
    }

    async fn withdraw_change_request(
        &self,
        request: Request<admin::WithdrawChangeRequestRequest>,
    ) -> Answered<admin::WithdrawChangeRequestResponse> {
        answered!(self.0, request, withdraw)
    }

    async fn list_act_reviews(
        &self,
        request: Request<admin::ListActReviewsRequest>,
    ) -> Answered<admin::ListActReviewsResponse> {
        answered!(self.0, request, review::list)
    }

    async fn review_act(
        &self,
        request: Request<admin::ReviewActRequest>,
    ) -> Answered<admin::ReviewActResponse> {
        answered!(self.0, request, review::review)
    }
}

fn name_of(id: ChangeRequestId) -> String {
    format!("{NAME}{id}")
}

pub(super) fn read_name(text: &str) -> Result<ChangeRequestId, Refusal> {
    text.strip_prefix(NAME)
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| Refusal::malformed(Field::Other("name"), "changeRequests/{id}"))
}

/// Proposes a decision of the caller's; what becomes of it.
async fn decide<B: prost::Message>(
    edge: &Edge,
    ask: &Ask<B>,
    (request_id, client_address, validate_only): (&str, &str, bool),
    command: domain::Command,
) -> Result<Carry, Refusal> {
    let key = ask.key(request_id, edge.keyring())?;
    edge::address(client_address)?;
    let (line, _) = edge.fresh(ask).await?;
    changed::propose(edge, ask, &line, (key, validate_only), command).await
}

async fn create(
    edge: &Edge,
    ask: Ask<admin::CreateChangeRequestRequest>,
) -> Result<admin::CreateChangeRequestResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    edge::address(&body.client_address)?;
    let name = wire::read_account_name(&body.account)?;
    let seen = wire::read_etag(&body.etag)?;
    let token = token_of(&ask)?;
    let reason = reason(&ask, &body.reason)?;
    if reason.is_empty() {
        return Err(Refusal::malformed(Field::Other("reason"), "said"));
    }
    let asked = body
        .act
        .as_ref()
        .and_then(|act| act.act.as_ref())
        .ok_or_else(|| Refusal::malformed(Field::Required("act"), "said"))?;
    let (line, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let scope = Scope::of(&ask, &state, now)?;
    // A name that is not the account's own names nobody, before anything is hashed for it.
    let there = state.account(&name.id);
    let fits = there.is_none_or(|account| name.is_of(account)) && scope.may_name(&name);
    if !fits {
        return Err(scope.absent(now));
    }
    // Who could choose a verifier could choose the password (S25).
    if brings_card(asked) && matches!(scope, Scope::UsersOf(_)) {
        return Err(Refusal::NotAllowed {
            why: "operators alone register cards".to_owned(),
        });
    }
    let act = read_act(edge, asked, &name)?;
    let id = ChangeRequestId(edge.derived("change request id", &key));
    let command = Command::Make {
        id,
        account: name.id,
        act,
        reason,
        token,
        seen,
    };
    let command = domain::Command::ChangeRequest(command);
    let request = (key, body.validate_only);
    let carry = changed::propose(edge, &ask, &line, request, command).await?;
    Ok(admin::CreateChangeRequestResponse {
        name: name_of(id),
        carry_forward: wire::carry(carry).into(),
        notice: wire::notice_text(carry),
    })
}

fn brings_card(asked: &Asked) -> bool {
    match asked {
        Asked::Create(new) => new.card.is_some(),
        Asked::RegisterCard(_) => true,
        Asked::Resume(_)
        | Asked::Unlock(_)
        | Asked::SetEmail(_)
        | Asked::ResetPassword(_)
        | Asked::ResetChannel(_)
        | Asked::ResetBoth(_)
        | Asked::Delete(_)
        | Asked::AllowMethod(_) => false,
    }
}

/// What is asked for, with its secrets sealed.
fn read_act(edge: &Edge, asked: &Asked, name: &Name) -> Result<Act, Refusal> {
    Ok(match asked {
        Asked::Create(new) => {
            let card = match &new.card {
                Some(card) => Some(read_card(edge, card, name)?),
                None => None,
            };
            Act::Create(Box::new(Imported {
                id: name.id.clone(),
                participant: name.participant.clone(),
                class: name.class,
                title: read_title(&new.title)?,
                email: match new.email.trim() {
                    "" => None,
                    address => Some(read_email(address)?),
                },
                card,
            }))
        }
        Asked::Resume(_) => Act::Resume,
        Asked::Unlock(method) => Act::Unlock(wire::read_method(*method)?.ok_or_else(|| {
            Refusal::malformed(Field::Required("unlock"), "METHOD_SMARTCARD or METHOD_OTP")
        })?),
        Asked::SetEmail(address) => Act::SetEmail(read_email(address.trim())?),
        Asked::RegisterCard(card) => {
            let (number, password) = read_card(edge, card, name)?;
            Act::RegisterCard { number, password }
        }
        Asked::ResetPassword(_) => Act::ResetPassword,
        Asked::ResetChannel(_) => Act::ResetChannel,
        Asked::ResetBoth(_) => Act::ResetBoth,
        Asked::Delete(_) => Act::Delete,
        Asked::AllowMethod(method) => {
            Act::AllowMethod(wire::required_method(*method, "allow_method")?)
        }
    })
}

/// A person's or firm's name.
pub(super) fn read_title(title: &str) -> Result<String, Refusal> {
    let title = title.trim();
    if title.is_empty() || title.len() > TITLE_BYTES_MAX {
        let should_be = format!("1 to {TITLE_BYTES_MAX} bytes");
        return Err(Refusal::malformed(Field::Other("title"), &should_be));
    }
    Ok(title.to_owned())
}

fn read_email(address: &str) -> Result<String, Refusal> {
    if address.len() > EMAIL_BYTES_MAX || address.parse::<lettre::Address>().is_err() {
        return Err(Refusal::malformed(
            Field::Other("email"),
            "an e-mail address",
        ));
    }
    Ok(address.to_owned())
}

/// A card's number and the sealed verifier of its password. That comes from whoever issued the
/// card: an administrator neither chooses a password nor sees one (S25).
fn read_card(
    edge: &Edge,
    card: &admin::NewCard,
    name: &Name,
) -> Result<(CardNumber, Sealed), Refusal> {
    let number = CardNumber::parse(card.number.trim())
        .map_err(|wrong| Refusal::malformed(Field::Other("card.number"), &wrong.to_string()))?;
    let verifier = Verifier::parse(&card.verifier)
        .map_err(|wrong| Refusal::malformed(Field::Other("card.verifier"), &wrong.to_string()))?;
    let associated = Associated::verifier(&name.id, Method::Smartcard);
    Ok((
        number,
        factor::seal(edge, verifier.as_bytes(), &associated)?,
    ))
}

async fn get(
    edge: &Edge,
    ask: Ask<admin::GetChangeRequestRequest>,
) -> Result<admin::GetChangeRequestResponse, Refusal> {
    let id = read_name(&ask.body.name)?;
    let (_, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let scope = Scope::of(&ask, &state, now)?;
    let found = state
        .change_requests()
        .get(&id, now)
        .filter(|request| sees(&scope, request))
        .ok_or(Refusal::Rejected {
            rejection: Rejection::NoSuchChangeRequest,
            clock: now,
        })?;
    let read = Read::of(ask.body.name.clone(), 1).about(Some(found.account.clone()));
    edge.note_read(&ask, &state, read)?;
    Ok(admin::GetChangeRequestResponse {
        change_request: Some(shown(found, now)),
    })
}

/// Whether the caller may see the request: a delegated administrator those about its firm's users.
fn sees(scope: &Scope, request: &ChangeRequest) -> bool {
    match scope {
        Scope::All => true,
        Scope::UsersOf(firm) => request.participant == *firm && request.class == Class::User,
    }
}

async fn list(
    edge: &Edge,
    ask: Ask<admin::ListChangeRequestsRequest>,
) -> Result<admin::ListChangeRequestsResponse, Refusal> {
    let body = &ask.body;
    let size = wire::page_size(body.page_size, PAGE_DEFAULT, PAGE_MAX)?;
    let malformed = || Refusal::malformed(Field::Other("page_token"), "one that was answered");
    let after: Option<ChangeRequestId> = match body.page_token.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| malformed())?),
    };
    let wanted = admin::ChangeRequestState::try_from(body.state)
        .map_err(|_| Refusal::malformed(Field::Other("state"), "a CHANGE_REQUEST_STATE"))?;
    let (_, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let scope = Scope::of(&ask, &state, now)?;
    let participant = scope.participant(&body.parent, now)?;
    let from = after.unwrap_or(ChangeRequestId([0; 16]));
    let mut page = requests(&state, participant.as_ref(), from, now)
        .filter(|request| after != Some(request.id) && sees(&scope, request))
        .map(|request| (request.id, shown(request, now)))
        .filter(|(_, shown)| {
            wanted == admin::ChangeRequestState::Unspecified || shown.state() == wanted
        })
        .take(size.saturating_add(1))
        .collect::<Vec<_>>();
    let more = page.len() > size;
    page.truncate(size);
    let next = page.last().filter(|_| more).map(|(id, _)| id.to_string());
    let about = format!("{} {}", body.parent, wanted.as_str_name());
    edge.note_read(&ask, &state, Read::of(about, page.len()))?;
    Ok(admin::ListChangeRequestsResponse {
        change_requests: page.into_iter().map(|(_, shown)| shown).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

fn requests<'a>(
    state: &'a domain::State,
    participant: Option<&'a ParticipantId>,
    from: ChangeRequestId,
    now: UnixMs,
) -> Box<dyn Iterator<Item = &'a ChangeRequest> + Send + 'a> {
    match participant {
        Some(participant) => Box::new(state.change_requests().of(participant, from, now)),
        None => {
            let all = state.change_requests().iter();
            Box::new(all.filter(move |request| request.id >= from))
        }
    }
}

fn by(by: &By) -> String {
    match by {
        By::Account(id) => format!("account/{id}"),
        By::Operator(id) => format!("operator/{id}"),
    }
}

/// A request without its secrets.
fn shown(request: &ChangeRequest, now: UnixMs) -> admin::ChangeRequest {
    use admin::ChangeRequestState as State;
    let (state, rejection_reason) = match &request.decided {
        None if request.open(now) => (State::Open, ""),
        None => (State::Expired, ""),
        Some((Decision::Approved, ..)) => (State::Approved, ""),
        Some((Decision::Withdrawn, ..)) => (State::Withdrawn, ""),
        Some((Decision::Rejected { reason }, ..)) => (State::Rejected, reason.as_str()),
    };
    let decided = request.decided.as_ref();
    let decide_time: Option<Timestamp> = decided.map(|(_, _, at)| wire::time(*at));
    admin::ChangeRequest {
        name: name_of(request.id),
        account: wire::account_name(&request.participant, request.class, &request.account),
        act: Some(admin::ChangeAct {
            act: Some(shown_act(&request.act)),
        }),
        reason: request.reason.clone(),
        state: state.into(),
        maker: by(&request.maker),
        create_time: Some(wire::time(request.made_at)),
        expire_time: Some(wire::time(request.expires_at)),
        decider: decided.map(|(_, who, _)| by(who)).unwrap_or_default(),
        decide_time,
        rejection_reason: rejection_reason.to_owned(),
        content_digest: request.content().to_string(),
    }
}

fn shown_act(act: &Act) -> Asked {
    let card = |number: &CardNumber| admin::NewCard {
        number: number.to_string(),
        verifier: String::new(),
    };
    let plain = admin::Plain {};
    match act {
        Act::Create(new) => Asked::Create(admin::NewAccount {
            title: new.title.clone(),
            email: new.email.clone().unwrap_or_default(),
            card: new.card.as_ref().map(|(number, _)| card(number)),
        }),
        Act::Resume => Asked::Resume(plain),
        Act::Unlock(method) => Asked::Unlock(wire::method(*method).into()),
        Act::SetEmail(address) => Asked::SetEmail(address.clone()),
        Act::RegisterCard { number, .. } => Asked::RegisterCard(card(number)),
        Act::ResetPassword => Asked::ResetPassword(plain),
        Act::ResetChannel => Asked::ResetChannel(plain),
        Act::ResetBoth => Asked::ResetBoth(plain),
        Act::Delete => Asked::Delete(plain),
        Act::AllowMethod(method) => Asked::AllowMethod(wire::method(*method).into()),
    }
}

async fn approve(
    edge: &Edge,
    ask: Ask<admin::ApproveChangeRequestRequest>,
) -> Result<admin::ApproveChangeRequestResponse, Refusal> {
    let body = &ask.body;
    let without = admin::ApproveChangeRequestRequest {
        approval: None,
        ..body.clone()
    };
    let key = ask.key_of(&body.request_id, &without, edge.keyring())?;
    let unsigned = body.validate_only && body.approval.is_none();
    edge::address(&body.client_address)?;
    let id = read_name(&body.name)?;
    let token = token_of(&ask)?;
    let command = domain::Command::ChangeRequest(Command::Approve { id, token });
    let (line, state) = edge.fresh(&ask).await?;
    let command = match (&ask.caller, &body.approval) {
        // A delegated administrator's approval rests on its token and a step-up, which the line knows.
        (Caller::FrontEnd(..) | Caller::BackEnd(_) | Caller::Node(_), None) => command,
        (Caller::FrontEnd(..) | Caller::BackEnd(_) | Caller::Node(_), Some(_)) => {
            let should_be = "absent: an operator alone signs";
            return Err(Refusal::malformed(Field::Other("approval"), should_be));
        }
        (Caller::Operator(_) | Caller::Script(_), approval) => {
            let now = edge.now(&state);
            state
                .change_requests()
                .get(&id, now)
                .ok_or(Refusal::Rejected {
                    rejection: Rejection::NoSuchChangeRequest,
                    clock: now,
                })?;
            match unsigned {
                true => command,
                false => approvals::signed(edge, &ask, &state, approval.as_ref(), command)?,
            }
        }
    };
    let request = (key, body.validate_only);
    let carry = match changed::propose(edge, &ask, &line, request, command).await {
        // Everything else was found right.
        Err(Refusal::Rejected {
            rejection: Rejection::ApprovalUnsigned,
            ..
        }) if unsigned => line.reference().line.carry(),
        carry => carry?,
    };
    Ok(admin::ApproveChangeRequestResponse {
        carry_forward: wire::carry(carry).into(),
        notice: wire::notice_text(carry),
    })
}

async fn reject(
    edge: &Edge,
    ask: Ask<admin::RejectChangeRequestRequest>,
) -> Result<admin::RejectChangeRequestResponse, Refusal> {
    let body = &ask.body;
    let command = Command::Reject {
        id: read_name(&body.name)?,
        reason: reason(&ask, &body.reason)?,
        token: token_of(&ask)?,
    };
    let call = (
        body.request_id.as_str(),
        body.client_address.as_str(),
        body.validate_only,
    );
    let command = domain::Command::ChangeRequest(command);
    let carry = decide(edge, &ask, call, command).await?;
    Ok(admin::RejectChangeRequestResponse {
        carry_forward: wire::carry(carry).into(),
        notice: wire::notice_text(carry),
    })
}

async fn withdraw(
    edge: &Edge,
    ask: Ask<admin::WithdrawChangeRequestRequest>,
) -> Result<admin::WithdrawChangeRequestResponse, Refusal> {
    let body = &ask.body;
    let command = Command::Withdraw {
        id: read_name(&body.name)?,
        token: token_of(&ask)?,
    };
    let call = (
        body.request_id.as_str(),
        body.client_address.as_str(),
        body.validate_only,
    );
    let command = domain::Command::ChangeRequest(command);
    let carry = decide(edge, &ask, call, command).await?;
    Ok(admin::WithdrawChangeRequestResponse {
        carry_forward: wire::carry(carry).into(),
        notice: wire::notice_text(carry),
    })
}
