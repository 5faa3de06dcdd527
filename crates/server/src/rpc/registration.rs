//! `RegistrationService`: who may call, by which key (LOGIN.md, "Who calls").

use domain::approval::Act;
use domain::cluster::KeyPin;
use domain::id::{BackEndId, FrontEndId, OperatorId, ScriptId};
use domain::portal::Portal;
use domain::registration::{Command, Holder, Registering, Registration};
use domain::{Answer, State, approval};
use prost::Message;
use proto::approval::v1 as wired;
use proto::operator::v1 as operator;
use proto::operator::v1::registration_service_server::RegistrationService;
use tonic::{Request, Response, Status};

use super::account::{PAGE_DEFAULT, PAGE_MAX, reason};
use super::answered;
use crate::approvals::{self, Call};
use crate::edge::{self, Edge, Validity};
use crate::reads::Read;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

type Answered<T> = Result<Response<T>, Status>;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Registrations(pub(super) Edge);

#[tonic::async_trait]
impl RegistrationService for Registrations {
    async fn list_registrations(
        &self,
        request: Request<operator::ListRegistrationsRequest>,
    ) -> Answered<operator::ListRegistrationsResponse> {
        answered!(self.0, request, list)
    }

    async fn register_operator(
        &self,
        request: Request<operator::RegisterOperatorRequest>,
    ) -> Answered<operator::RegisterOperatorResponse> {
        answered!(self.0, request, register_operator)
    }

    async fn register_front_end(
        &self,
        request: Request<operator::RegisterFrontEndRequest>,
    ) -> Answered<operator::RegisterFrontEndResponse> {
        answered!(self.0, request, register_front_end)
    }

    async fn register_back_end(
        &self,
        request: Request<operator::RegisterBackEndRequest>,
    ) -> Answered<operator::RegisterBackEndResponse> {
        answered!(self.0, request, register_back_end)
    }

    async fn register_script(
        &self,
        request: Request<operator::RegisterScriptRequest>,
    ) -> Answered<operator::RegisterScriptResponse> {
        answered!(self.0, request, register_script)
    }

    async fn retire_caller(
        &self,
        request: Request<operator::RetireCallerRequest>,
    ) -> Answered<operator::RetireCallerResponse> {
        answered!(self.0, request, retire)
    }
}

/// What every registration is asked with.
struct Words<'a, B> {
    request_id: &'a str,
    reason: &'a str,
    key: &'a str,
    approval: Option<&'a wired::Approval>,
    validate_only: bool,
    /// The message without the approval.
    unsigned: B,
}

/// The words of a message.
macro_rules! words {
    ($body:expr) => {{
        let mut unsigned = $body.clone();
        unsigned.approval = None;
        Words {
            request_id: &$body.request_id,
            reason: &$body.reason,
            key: &$body.key,
            approval: $body.approval.as_ref(),
            validate_only: $body.validate_only,
            unsigned,
        }
    }};
}

/// Approves a registration: how many have, and how many it takes.
async fn register<B: Message>(
    edge: &Edge,
    ask: &Ask<B>,
    words: Words<'_, B>,
    (holder, portals): (Holder, Vec<Portal>),
) -> Result<(u32, u32), Refusal> {
    let key = ask.key_of(words.request_id, &words.unsigned, edge.keyring())?;
    let registering = Registering {
        holder,
        key: KeyPin(wire::read_digest(words.key, "key")?.0),
        portals,
    };
    let reason = reason(ask, words.reason)?;
    let command = domain::Command::Registration(Command::Register {
        registering,
        reason,
    });
    let call = Call {
        key,
        approval: words.approval,
        validity: Validity::of(words.validate_only),
    };
    approvals::approve(edge, ask, call, command).await
}

fn read_id<T: std::str::FromStr>(text: &str, field: &'static str) -> Result<T, Refusal>
where
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|wrong: T::Err| Refusal::malformed(Field::Other(field), &wrong.to_string()))
}

async fn register_operator(
    edge: &Edge,
    ask: Ask<operator::RegisterOperatorRequest>,
) -> Result<operator::RegisterOperatorResponse, Refusal> {
    let id: OperatorId = read_id(&ask.body.operator, "operator")?;
    let who = (Holder::Operator(id), Vec::new());
    let (approval_count, needed_count) = register(edge, &ask, words!(ask.body), who).await?;
    Ok(operator::RegisterOperatorResponse {
        approval_count,
        needed_count,
    })
}

async fn register_front_end(
    edge: &Edge,
    ask: Ask<operator::RegisterFrontEndRequest>,
) -> Result<operator::RegisterFrontEndResponse, Refusal> {
    let id: FrontEndId = read_id(&ask.body.front_end, "front_end")?;
    let portals = ask.body.portals.iter();
    let mut portals: Vec<Portal> = portals
        .map(|portal| wire::required_portal(*portal))
        .collect::<Result<_, Refusal>>()?;
    portals.sort_unstable();
    portals.dedup();
    let who = (Holder::FrontEnd(id), portals);
    let (approval_count, needed_count) = register(edge, &ask, words!(ask.body), who).await?;
    Ok(operator::RegisterFrontEndResponse {
        approval_count,
        needed_count,
    })
}

async fn register_back_end(
    edge: &Edge,
    ask: Ask<operator::RegisterBackEndRequest>,
) -> Result<operator::RegisterBackEndResponse, Refusal> {
    let id: BackEndId = read_id(&ask.body.back_end, "back_end")?;
    let who = (Holder::BackEnd(id), Vec::new());
    let (approval_count, needed_count) = register(edge, &ask, words!(ask.body), who).await?;
    Ok(operator::RegisterBackEndResponse {
        approval_count,
        needed_count,
    })
}

async fn register_script(
    edge: &Edge,
    ask: Ask<operator::RegisterScriptRequest>,
) -> Result<operator::RegisterScriptResponse, Refusal> {
    let id: ScriptId = read_id(&ask.body.script, "script")?;
    let who = (Holder::Script(id), Vec::new());
    let (approval_count, needed_count) = register(edge, &ask, words!(ask.body), who).await?;
    Ok(operator::RegisterScriptResponse {
        approval_count,
        needed_count,
    })
}

/// Role and id, as a list shows them.
fn read_holder(text: &str) -> Result<Holder, Refusal> {
    let malformed = || {
        let should_be = "operator/{id}, front-end/{id}, back-end/{id} or script/{id}";
        Refusal::malformed(Field::Other("caller"), should_be)
    };
    let (role, id) = text.split_once('/').ok_or_else(malformed)?;
    match role {
        "operator" => Ok(Holder::Operator(id.parse().map_err(|_| malformed())?)),
        "front-end" => Ok(Holder::FrontEnd(id.parse().map_err(|_| malformed())?)),
        "back-end" => Ok(Holder::BackEnd(id.parse().map_err(|_| malformed())?)),
        "script" => Ok(Holder::Script(id.parse().map_err(|_| malformed())?)),
        _ => Err(malformed()),
    }
}

async fn retire(
    edge: &Edge,
    ask: Ask<operator::RetireCallerRequest>,
) -> Result<operator::RetireCallerResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    let holder = read_holder(&body.caller)?;
    let reason = reason(&ask, &body.reason)?;
    let line = edge.line(&ask)?;
    let command = domain::Command::Registration(Command::Retire { holder, reason });
    let request = (Some(key), Validity::of(body.validate_only));
    let settled = edge.propose_or_judge(&ask, &line, request, command).await?;
    let Answer::TokensEnded { count } = settled.answer else {
        return Err(edge::unexpected(&settled.answer));
    };
    Ok(operator::RetireCallerResponse {
        ended_token_count: count,
    })
}

fn names(by: &approval::By) -> Vec<String> {
    by.keys().map(ToString::to_string).collect()
}

fn portals(of: &[Portal]) -> Vec<i32> {
    let portals = of.iter();
    portals.map(|portal| wire::portal(*portal).into()).collect()
}

fn shown(of: &Registration) -> operator::Registration {
    let retired = of.retired.as_ref();
    operator::Registration {
        caller: of.holder.to_string(),
        key: of.key.to_string(),
        portals: portals(&of.portals),
        register_time: Some(wire::time(of.since)),
        approvers: names(&of.approvals),
        retire_time: retired.map(|retired| wire::time(retired.at)),
        retired_by: retired
            .map(|retired| retired.by.to_string())
            .unwrap_or_default(),
        retire_reason: retired
            .map(|retired| retired.reason.clone())
            .unwrap_or_default(),
    }
}

fn waiting(edge: &Edge, state: &State, wanted: &Wanted) -> Vec<operator::Registration> {
    let pending = state.pending(edge.now(state));
    pending
        .filter_map(|pending| match &pending.act {
            Act::Register(asked) if wanted.is(&asked.holder) => Some(operator::Registration {
                caller: asked.holder.to_string(),
                key: asked.key.to_string(),
                portals: portals(&asked.portals),
                approvers: names(&pending.by),
                ..operator::Registration::default()
            }),
            Act::Register(_)
            | Act::Session(..)
            | Act::Migration(_)
            | Act::ChangeRequest(..)
            | Act::Participant(_)
            | Act::Policy(..)
            | Act::Import(_)
            | Act::Grant(_)
            | Act::Promotion(_)
            | Act::Nodes(_) => None,
        })
        .take(PAGE_MAX)
        .collect()
}

/// The role of a caller, as it is written before its id.
fn role(of: &Holder) -> &'static str {
    match of {
        Holder::Operator(_) => "operator",
        Holder::FrontEnd(_) => "front-end",
        Holder::BackEnd(_) => "back-end",
        Holder::Script(_) => "script",
    }
}

/// Which callers a list is to show.
struct Wanted {
    role: Option<&'static str>,
    omit_retired: bool,
}

impl Wanted {
    fn read(asked: &operator::ListRegistrationsRequest) -> Result<Self, Refusal> {
        let roles = ["operator", "front-end", "back-end", "script"];
        let role = roles.into_iter().find(|role| *role == asked.role);
        if role.is_none() && !asked.role.is_empty() {
            let should_be = roles.join(", ");
            return Err(Refusal::malformed(Field::Other("role"), &should_be));
        }
        Ok(Self {
            role,
            omit_retired: asked.omit_retired,
        })
    }

    fn is(&self, holder: &Holder) -> bool {
        self.role.is_none_or(|wanted| wanted == role(holder))
    }

    fn fits(&self, known: &Registration) -> bool {
        self.is(&known.holder) && !(self.omit_retired && known.retired.is_some())
    }

    /// As the record of the read has it.
    fn said(&self) -> String {
        let role = self.role.unwrap_or("all");
        match self.omit_retired {
            true => format!("{role}, without retired ones"),
            false => role.to_owned(),
        }
    }
}

async fn list(
    edge: &Edge,
    ask: Ask<operator::ListRegistrationsRequest>,
) -> Result<operator::ListRegistrationsResponse, Refusal> {
    let size = wire::page_size(ask.body.page_size, PAGE_DEFAULT, PAGE_MAX)?;
    let after = match ask.body.page_token.as_str() {
        "" => None,
        text => Some(read_holder(text).map_err(|_| {
            Refusal::malformed(Field::Other("page_token"), "one that was answered before")
        })?),
    };
    let wanted = Wanted::read(&ask.body)?;
    let (_, state) = edge.fresh(&ask).await?;
    let mut page: Vec<&Registration> = state
        .registrations()
        .filter(|known| after.as_ref().is_none_or(|after| known.holder > *after))
        .filter(|known| wanted.fits(known))
        .take(size.saturating_add(1))
        .collect();
    let more = page.len() > size;
    page.truncate(size);
    let next = page.last().filter(|_| more);
    edge.note_read(&ask, &state, Read::of(wanted.said(), page.len()))?;
    Ok(operator::ListRegistrationsResponse {
        registrations: page.iter().map(|known| shown(known)).collect(),
        waiting: waiting(edge, &state, &wanted),
        needed_count: state.policy().approvals,
        next_page_token: next.map(|last| last.holder.to_string()).unwrap_or_default(),
    })
}
