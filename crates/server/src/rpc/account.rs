//! Looking after accounts: `AccountService` for delegated administrators and operators (LOGIN.md,
//! "Administration"). Emergencies and tokens have files of their own.

use credential::associated::{ActivationHalf, Associated};
use credential::code::Half;
use domain::account::{Account, Class, Command};
use domain::id::{AccountId, ParticipantId};
use domain::token::TokenId;
use domain::{Answer, Rejection, State, UnixMs};
use prost_types::FieldMask;
use proto::account::v1::{AccountClass, AccountStatus, Stage};
use proto::admin::v1 as admin;
use proto::admin::v1::account_service_server::AccountService;
use tonic::{Request, Response, Status};

use super::change_request::read_title;
use super::{answered, changed, token};
use crate::edge::{self, Edge, Validity};
use crate::factor;
use crate::identity::Caller;
use crate::reads::Read;
use crate::request::{Ask, REASON_BYTES_MAX};
use crate::status::{Field, Refusal};
use crate::wire;

mod emergency;
mod tokens;

pub(super) use emergency::Emergencies;

/// Accounts and the like on a page, if the caller does not say.
pub(super) const PAGE_DEFAULT: usize = 50;
/// Most of them.
pub(super) const PAGE_MAX: usize = 500;

type Answered<T> = Result<Response<T>, Status>;

/// The service for accounts.
#[derive(Debug, Clone)]
pub(super) struct Accounts(pub(super) Edge);

#[tonic::async_trait]
impl AccountService for Accounts {
    async fn get_account(
        &self,
        request: Request<admin::GetAccountRequest>,
    ) -> Answered<admin::GetAccountResponse> {
        answered!(self.0, request, get)
    }

    async fn list_accounts(
        &self,
        request: Request<admin::ListAccountsRequest>,
    ) -> Answered<admin::ListAccountsResponse> {
        answered!(self.0, request, list)
    }

    async fn suspend_account(
        &self,
        request: Request<admin::SuspendAccountRequest>,
    ) -> Answered<admin::SuspendAccountResponse> {
        answered!(self.0, request, suspend)
    }

    async fn update_account(
        &self,
        request: Request<admin::UpdateAccountRequest>,
    ) -> Answered<admin::UpdateAccountResponse> {
        answered!(self.0, request, update)
    }

    async fn revoke_card(
        &self,
        request: Request<admin::RevokeCardRequest>,
    ) -> Answered<admin::RevokeCardResponse> {
        answered!(self.0, request, revoke_card)
    }

    async fn issue_activation_code(
        &self,
        request: Request<admin::IssueActivationCodeRequest>,
    ) -> Answered<admin::IssueActivationCodeResponse> {
        answered!(self.0, request, issue_activation)
    }

    type WatchAccountTokensStream = tokens::Watched;

    async fn disable_method(
        &self,
        request: Request<admin::DisableMethodRequest>,
    ) -> Answered<admin::DisableMethodResponse> {
        answered!(self.0, request, disable_method)
    }

    async fn list_account_tokens(
        &self,
        request: Request<admin::ListAccountTokensRequest>,
    ) -> Answered<admin::ListAccountTokensResponse> {
        answered!(self.0, request, tokens::list)
    }

    async fn get_account_token(
        &self,
        request: Request<admin::GetAccountTokenRequest>,
    ) -> Answered<admin::GetAccountTokenResponse> {
        answered!(self.0, request, tokens::get)
    }

    async fn watch_account_tokens(
        &self,
        request: Request<admin::WatchAccountTokensRequest>,
    ) -> Answered<Self::WatchAccountTokensStream> {
        answered!(self.0, request, tokens::watch)
    }

    async fn end_account_tokens(
        &self,
        request: Request<admin::EndAccountTokensRequest>,
    ) -> Answered<admin::EndAccountTokensResponse> {
        answered!(self.0, request, end_tokens)
    }
}

/// Whose accounts the caller looks after.
pub(super) enum Scope {
    /// Everybody's: an operator.
    All,
    /// The users of one participant: a delegated administrator.
    UsersOf(ParticipantId),
}

impl Scope {
    /// What the caller may look after, by its certificate or the token it shows.
    ///
    /// # Errors
    /// `TokenExpired` or `NOT_ALLOWED`.
    pub(super) fn of<B>(ask: &Ask<B>, state: &State, now: UnixMs) -> Result<Self, Refusal> {
        match &ask.caller {
            // A script reads what an operator does; what it changes, the gate refuses.
            Caller::Operator(_) | Caller::Script(_) => Ok(Self::All),
            Caller::FrontEnd(..) => {
                let token = token::shown(state, &ask.caller, &ask.token()?, now)?;
                match token.class {
                    Class::DelegatedAdmin => Ok(Self::UsersOf(token.participant.clone())),
                    Class::User => Err(Refusal::Rejected {
                        rejection: Rejection::NotAllowed,
                        clock: now,
                    }),
                }
            }
            Caller::BackEnd(_) | Caller::Node(_) => Err(Refusal::Rejected {
                rejection: Rejection::NotAllowed,
                clock: now,
            }),
        }
    }

    /// Whether the account is among them.
    pub(super) fn holds(&self, account: &Account) -> bool {
        match self {
            Self::All => true,
            Self::UsersOf(participant) => {
                account.participant == *participant && account.class == Class::User
            }
        }
    }

    /// Whether an account of this name would be among them.
    pub(super) fn may_name(&self, name: &wire::Name) -> bool {
        match self {
            Self::All => true,
            Self::UsersOf(participant) => {
                name.participant == *participant && name.class == Class::User
            }
        }
    }

    /// What the caller is told of an account that it may not see, or that is not there.
    pub(super) fn absent(&self, clock: UnixMs) -> Refusal {
        let rejection = match self {
            Self::All => Rejection::NoSuchAccount,
            Self::UsersOf(_) => Rejection::OtherParticipant,
        };
        Refusal::Rejected { rejection, clock }
    }

    /// The firm that a list is asked for; all for none.
    ///
    /// # Errors
    /// `OTHER_PARTICIPANT` for another than the caller's own.
    pub(super) fn participant(
        &self,
        parent: &str,
        clock: UnixMs,
    ) -> Result<Option<ParticipantId>, Refusal> {
        let asked = wire::read_parent(parent)?;
        match (self, asked) {
            (Self::All, asked) => Ok(asked),
            (Self::UsersOf(own), Some(asked)) if *own == asked => Ok(Some(asked)),
            (Self::UsersOf(_), Some(_) | None) => Err(self.absent(clock)),
        }
    }
}

/// The accounts of a firm, or of all, from an id on, as far as the caller may see them.
pub(super) fn accounts<'a>(
    state: &'a State,
    scope: &'a Scope,
    participant: Option<&'a ParticipantId>,
    after: Option<&'a AccountId>,
) -> Box<dyn Iterator<Item = &'a Account> + Send + 'a> {
    let later = move |account: &&Account| {
        !state.gone(account) && after.is_none_or(|after| account.id > *after)
    };
    match (participant, AccountId::parse("0")) {
        (Some(participant), Ok(first)) => {
            let from = after.cloned().unwrap_or(first);
            let found: Vec<&Account> = state.accounts_of(participant, &from).collect();
            Box::new(
                found
                    .into_iter()
                    .filter(later)
                    .filter(|account| scope.holds(account)),
            )
        }
        (Some(_) | None, _) => Box::new(
            state
                .accounts()
                .filter(later)
                .filter(|account| scope.holds(account)),
        ),
    }
}

/// What is left of the accounts that were deleted, for who asks for them by that status alone.
fn tombstones<'a>(
    state: &'a State,
    scope: &'a Scope,
    participant: Option<&'a ParticipantId>,
    after: Option<&'a AccountId>,
) -> Box<dyn Iterator<Item = &'a Account> + Send + 'a> {
    let left = state.accounts().filter(move |account| {
        account.deleted()
            && after.is_none_or(|after| account.id > *after)
            && participant.is_none_or(|participant| account.participant == *participant)
    });
    Box::new(left.filter(|account| scope.holds(account)))
}

/// A page token of a list by user id.
pub(super) fn read_page_token(text: &str) -> Result<Option<AccountId>, Refusal> {
    match text {
        "" => Ok(None),
        text => AccountId::parse(text)
            .map(Some)
            .map_err(|_| Refusal::malformed(Field::Other("page_token"), "one that was answered")),
    }
}

async fn get(
    edge: &Edge,
    ask: Ask<admin::GetAccountRequest>,
) -> Result<admin::GetAccountResponse, Refusal> {
    let name = wire::read_account_name(&ask.body.name)?;
    let (_, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let scope = Scope::of(&ask, &state, now)?;
    let account = state
        .account(&name.id)
        .filter(|account| name.is_of(account) && scope.holds(account))
        // Of one that went with its firm nothing is shown, erased or not yet.
        .filter(|account| account.deleted() || !state.gone(account))
        .ok_or_else(|| scope.absent(now))?;
    let read = Read::of(ask.body.name.clone(), 1).about(Some(name.id));
    edge.note_read(&ask, &state, read)?;
    Ok(admin::GetAccountResponse {
        account: Some(wire::account(account)),
    })
}

async fn list(
    edge: &Edge,
    ask: Ask<admin::ListAccountsRequest>,
) -> Result<admin::ListAccountsResponse, Refusal> {
    let size = wire::page_size(ask.body.page_size, PAGE_DEFAULT, PAGE_MAX)?;
    let after = read_page_token(&ask.body.page_token)?;
    let (_, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let scope = Scope::of(&ask, &state, now)?;
    let participant = scope.participant(&ask.body.parent, now)?;
    let filter = ask.body.filter.clone().unwrap_or_default();
    let wanted = wanted(&filter)?;
    let found = match filter.status() {
        AccountStatus::Deleted => tombstones(&state, &scope, participant.as_ref(), after.as_ref()),
        AccountStatus::Unspecified
        | AccountStatus::Active
        | AccountStatus::Suspended
        | AccountStatus::Locked => accounts(&state, &scope, participant.as_ref(), after.as_ref()),
    };
    let mut page: Vec<_> = found
        .map(wire::account)
        .filter(|account| wanted.fits(account))
        .take(size.saturating_add(1))
        .collect();
    let more = page.len() > size;
    page.truncate(size);
    let next = page
        .last()
        .filter(|_| more)
        .map(|last| last.user_id.clone());
    let about = format!("{} {}", ask.body.parent, wanted.said);
    edge.note_read(&ask, &state, Read::of(about, page.len()))?;
    Ok(admin::ListAccountsResponse {
        accounts: page,
        next_page_token: next.unwrap_or_default(),
    })
}

/// Which accounts a list is to show.
struct Wanted<'a> {
    filter: &'a admin::AccountFilter,
    said: String,
}

fn wanted(filter: &admin::AccountFilter) -> Result<Wanted<'_>, Refusal> {
    let malformed = |name| Refusal::malformed(Field::Other(name), "one that the API knows");
    let class = AccountClass::try_from(filter.account_class)
        .map_err(|_| malformed("filter.account_class"))?;
    let status = AccountStatus::try_from(filter.status).map_err(|_| malformed("filter.status"))?;
    let stage = Stage::try_from(filter.stage).map_err(|_| malformed("filter.stage"))?;
    let mut said = Vec::new();
    said.extend((!filter.user_id.is_empty()).then(|| filter.user_id.clone()));
    said.extend((class != AccountClass::Unspecified).then(|| class.as_str_name().to_owned()));
    said.extend((status != AccountStatus::Unspecified).then(|| status.as_str_name().to_owned()));
    said.extend((stage != Stage::Unspecified).then(|| stage.as_str_name().to_owned()));
    Ok(Wanted {
        filter,
        said: said.join(" "),
    })
}

impl Wanted<'_> {
    fn fits(&self, account: &proto::account::v1::Account) -> bool {
        let filter = self.filter;
        let is = |wanted: i32, found: i32| wanted == 0 || wanted == found;
        (filter.user_id.is_empty() || filter.user_id == account.user_id)
            && is(filter.account_class, account.account_class)
            && is(filter.status, account.status)
            && is(filter.stage, account.stage)
    }
}

/// The account that a change is about: the name must be its own, or there is none.
fn named<B>(ask: &Ask<B>, state: &State, name: &str, now: UnixMs) -> Result<Account, Refusal> {
    let name = wire::read_account_name(name)?;
    let scope = Scope::of(ask, state, now)?;
    state
        .account(&name.id)
        .filter(|account| name.is_of(account) && scope.holds(account))
        .cloned()
        .ok_or_else(|| scope.absent(now))
}

/// The token that goes into the command: a delegated administrator's; none for an operator.
pub(super) fn token_of<B>(ask: &Ask<B>) -> Result<Option<TokenId>, Refusal> {
    match &ask.caller {
        Caller::Operator(_) | Caller::Script(_) => Ok(None),
        Caller::FrontEnd(..) | Caller::BackEnd(_) | Caller::Node(_) => ask.token().map(Some),
    }
}

/// Why: of the message, else of the header.
pub(super) fn reason<B>(ask: &Ask<B>, said: &str) -> Result<String, Refusal> {
    if said.len() > REASON_BYTES_MAX {
        let should_be = format!("at most {REASON_BYTES_MAX} bytes");
        return Err(Refusal::malformed(Field::Other("reason"), &should_be));
    }
    Ok(match said {
        "" => ask.reason.clone().unwrap_or_default(),
        said => said.to_owned(),
    })
}

async fn suspend(
    edge: &Edge,
    ask: Ask<admin::SuspendAccountRequest>,
) -> Result<admin::SuspendAccountResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    edge::address(&body.client_address)?;
    let (line, state) = edge.fresh(&ask).await?;
    let account = named(&ask, &state, &body.name, edge.now(&state))?;
    let command = Command::Suspend {
        account: account.id.clone(),
        token: token_of(&ask)?,
        reason: reason(&ask, &body.reason)?,
    };
    let request = (key, body.validate_only);
    let command = domain::Command::Account(command);
    let carry = changed::propose(edge, &ask, &line, request, command).await?;
    Ok(admin::SuspendAccountResponse {
        carry_forward: wire::carry(carry).into(),
        notice: wire::notice_text(carry),
    })
}

/// Which fields an update is about: all that can be for none, never another.
pub(super) fn read_mask(mask: Option<&FieldMask>, known: &[&str]) -> Result<(), Refusal> {
    let named = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
    match named.iter().find(|path| !known.contains(&path.as_str())) {
        None => Ok(()),
        Some(_) => {
            let should_be = format!("of {}: nothing else is changed here", known.join(", "));
            Err(Refusal::malformed(Field::Other("update_mask"), &should_be))
        }
    }
}

async fn update(
    edge: &Edge,
    ask: Ask<admin::UpdateAccountRequest>,
) -> Result<admin::UpdateAccountResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    edge::address(&body.client_address)?;
    read_mask(body.update_mask.as_ref(), &["title"])?;
    let asked = body
        .account
        .as_ref()
        .ok_or_else(|| Refusal::malformed(Field::Required("account"), "said"))?;
    let seen = wire::read_etag(&asked.etag)?;
    let title = read_title(&asked.title)?;
    let (line, state) = edge.fresh(&ask).await?;
    let account = named(&ask, &state, &asked.name, edge.now(&state))?;
    let command = Command::SetTitle {
        account: account.id,
        token: token_of(&ask)?,
        title,
        seen,
    };
    let request = (key, body.validate_only);
    let command = domain::Command::Account(command);
    let carry = changed::propose(edge, &ask, &line, request, command).await?;
    Ok(admin::UpdateAccountResponse {
        carry_forward: wire::carry(carry).into(),
        notice: wire::notice_text(carry),
    })
}

async fn revoke_card(
    edge: &Edge,
    ask: Ask<admin::RevokeCardRequest>,
) -> Result<admin::RevokeCardResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    edge::address(&body.client_address)?;
    let (line, state) = edge.fresh(&ask).await?;
    let account = named(&ask, &state, &body.name, edge.now(&state))?;
    let command = Command::RevokeCard {
        account: account.id.clone(),
        token: token_of(&ask)?,
        reason: reason(&ask, &body.reason)?,
    };
    let request = (key, body.validate_only);
    let command = domain::Command::Account(command);
    let carry = changed::propose(edge, &ask, &line, request, command).await?;
    Ok(admin::RevokeCardResponse {
        carry_forward: wire::carry(carry).into(),
        notice: wire::notice_text(carry),
    })
}

async fn disable_method(
    edge: &Edge,
    ask: Ask<admin::DisableMethodRequest>,
) -> Result<admin::DisableMethodResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    edge::address(&body.client_address)?;
    let method = wire::required_method(body.method, "method")?;
    let from = match &body.effective_time {
        None => None,
        Some(at) => Some(wire::read_time(at).ok_or_else(|| {
            Refusal::malformed(Field::Other("effective_time"), "a time after 1970")
        })?),
    };
    let (line, state) = edge.fresh(&ask).await?;
    let account = named(&ask, &state, &body.name, edge.now(&state))?;
    let command = Command::DisableMethod {
        account: account.id.clone(),
        token: token_of(&ask)?,
        method,
        from,
        reason: reason(&ask, &body.reason)?,
    };
    let request = (key, body.validate_only);
    let command = domain::Command::Account(command);
    let carry = changed::propose(edge, &ask, &line, request, command).await?;
    Ok(admin::DisableMethodResponse {
        carry_forward: wire::carry(carry).into(),
        notice: wire::notice_text(carry),
    })
}

async fn issue_activation(
    edge: &Edge,
    ask: Ask<admin::IssueActivationCodeRequest>,
) -> Result<admin::IssueActivationCodeResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    edge::address(&body.client_address)?;
    let (line, state) = edge.fresh(&ask).await?;
    let account = named(&ask, &state, &body.name, edge.now(&state))?;
    let half = Half::random(edge.entropy());
    let associated = Associated::activation(&account.id, ActivationHalf::Spoken);
    let command = Command::IssueActivationCode {
        account: account.id.clone(),
        token: token_of(&ask)?,
        code: factor::seal(edge, half.as_bytes(), &associated)?,
    };
    let request = (Some(key), Validity::of(body.validate_only));
    let settled = edge
        .propose_or_judge(&ask, &line, request, domain::Command::Account(command))
        .await?;
    let Answer::HalfIssued { carry, .. } = settled.answer else {
        return Err(edge::unexpected(&settled.answer));
    };
    // Half a code that nobody noted would be told in vain.
    let told = (!body.validate_only).then(|| factor::plain(&half.text()));
    Ok(admin::IssueActivationCodeResponse {
        second_half: told.unwrap_or_default(),
        carry_forward: wire::carry(carry).into(),
        notice: wire::notice_text(carry),
    })
}

async fn end_tokens(
    edge: &Edge,
    ask: Ask<admin::EndAccountTokensRequest>,
) -> Result<admin::EndAccountTokensResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    edge::address(&body.client_address)?;
    let reason = reason(&ask, &body.reason)?;
    let (line, state) = edge.fresh(&ask).await?;
    let account = named(&ask, &state, &body.name, edge.now(&state))?;
    let one = match body.token_id.as_str() {
        "" => None,
        text => Some(wire::read_digest(text, "token_id")?),
    };
    let command = Command::EndTokens {
        account: account.id,
        one,
        token: token_of(&ask)?,
        reason,
    };
    let request = (Some(key), Validity::of(body.validate_only));
    let settled = edge
        .propose_or_judge(&ask, &line, request, domain::Command::Account(command))
        .await?;
    let Answer::TokensEnded { count } = settled.answer else {
        return Err(edge::unexpected(&settled.answer));
    };
    Ok(admin::EndAccountTokensResponse { ended_count: count })
}
