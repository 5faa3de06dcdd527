//! The migration as operators drive it: go-live and methods (R1, R2). Each says the change; the
//! line carries it out once enough have said the same (S34).

use domain::UnixMs;
use domain::calendar::Day;
use domain::factor::Method;
use domain::migration::{Change, Command, Methods, Proposal, Subject, Switch, Topic};
use prost::Message;
use proto::account::v1 as account;
use proto::admin::v1 as admin;
use proto::approval::v1 as wired;

use crate::approvals::{self, Call};
use crate::edge::{Edge, Validity};
use crate::identity::Caller;
use crate::reads::Read;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

/// How many operators have said it, and how many it takes.
struct Said {
    have: u32,
    need: u32,
}

/// Only an operator's call gets as far as the line: others would leave records there.
pub(super) fn operators_alone<B>(ask: &Ask<B>) -> Result<(), Refusal> {
    match ask.caller {
        // Scripts read; what they would change, the gate refuses.
        Caller::Operator(_) | Caller::Script(_) => Ok(()),
        Caller::FrontEnd(..) | Caller::BackEnd(_) | Caller::Node(_) => Err(Refusal::NotAllowed {
            why: "the migration is for operators, on their own listener".to_owned(),
        }),
    }
}

/// What every change of the migration is asked with.
struct Words<'a, B> {
    request_id: &'a str,
    reason: &'a str,
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
            approval: $body.approval.as_ref(),
            validate_only: $body.validate_only,
            unsigned,
        }
    }};
}

async fn say<B: Message>(
    edge: &Edge,
    ask: &Ask<B>,
    words: Words<'_, B>,
    change: Change,
) -> Result<Said, Refusal> {
    let key = ask.key_of(words.request_id, &words.unsigned, edge.keyring())?;
    let reason = words.reason;
    let reason = match (reason, &ask.reason) {
        ("", Some(header)) => header.clone(),
        (text, _) => text.to_owned(),
    };
    let command = domain::Command::Migration(Command::Say { change, reason });
    let call = Call {
        key,
        approval: words.approval,
        validity: Validity::of(words.validate_only),
    };
    let (have, need) = approvals::approve(edge, ask, call, command).await?;
    Ok(Said { have, need })
}

fn read_day(text: &str) -> Result<Day, Refusal> {
    text.parse()
        .map_err(|_| Refusal::malformed(Field::Other("date"), "a date as 2023-06-12"))
}

fn read_subject(name: &str) -> Result<Subject, Refusal> {
    if name == "service" {
        return Ok(Subject::Service);
    }
    match wire::read_parent(name) {
        Ok(Some(participant)) => Ok(Subject::Participant(participant)),
        Ok(None) | Err(_) => Err(Refusal::malformed(
            Field::Other("name"),
            "service or participants/{p}; an account's methods are switched off by DisableMethod, \
             and on by a change request",
        )),
    }
}

fn read_switch(asked: &admin::SetLoginMethodsRequest) -> Result<Switch, Refusal> {
    let from = match &asked.effective_time {
        None => None,
        Some(at) => Some(wire::read_time(at).ok_or_else(|| {
            Refusal::malformed(Field::Other("effective_time"), "a time after 1970")
        })?),
    };
    match (asked.state(), from) {
        (account::MethodState::On, None) => Ok(Switch::On),
        (account::MethodState::On, Some(from)) => Ok(Switch::OnFrom(from)),
        (account::MethodState::Off, None) => Ok(Switch::Off),
        (account::MethodState::Off, Some(from)) => Ok(Switch::OffFrom(from)),
        (account::MethodState::Unspecified, _) => Err(Refusal::malformed(
            Field::Required("state"),
            "METHOD_STATE_ON or METHOD_STATE_OFF",
        )),
    }
}

pub(super) async fn set_methods(
    edge: &Edge,
    ask: Ask<admin::SetLoginMethodsRequest>,
) -> Result<admin::SetLoginMethodsResponse, Refusal> {
    operators_alone(&ask)?;
    let body = &ask.body;
    let method = wire::read_method(body.method)?.ok_or_else(|| {
        let should_be = "METHOD_SMARTCARD or METHOD_OTP";
        Refusal::malformed(Field::Required("method"), should_be)
    })?;
    let of = read_subject(&body.name)?;
    let switch = read_switch(body)?;
    let change = Change::Switch { of, method, switch };
    let said = say(edge, &ask, words!(body), change).await?;
    Ok(admin::SetLoginMethodsResponse {
        approval_count: said.have,
        needed_count: said.need,
    })
}

pub(super) async fn schedule(
    edge: &Edge,
    ask: Ask<admin::ScheduleGoLiveRequest>,
) -> Result<admin::ScheduleGoLiveResponse, Refusal> {
    operators_alone(&ask)?;
    let body = &ask.body;
    let date = read_day(&body.date)?;
    let change = Change::Schedule { date };
    let said = say(edge, &ask, words!(body), change).await?;
    Ok(admin::ScheduleGoLiveResponse {
        approval_count: said.have,
        needed_count: said.need,
    })
}

pub(super) async fn approve(
    edge: &Edge,
    ask: Ask<admin::ApproveGoLiveRequest>,
) -> Result<admin::ApproveGoLiveResponse, Refusal> {
    operators_alone(&ask)?;
    let body = &ask.body;
    let change = Change::Approve {
        date: read_day(&body.date)?,
        reference: body.reference.clone(),
    };
    let said = say(edge, &ask, words!(body), change).await?;
    Ok(admin::ApproveGoLiveResponse {
        approval_count: said.have,
        needed_count: said.need,
    })
}

pub(super) async fn postpone(
    edge: &Edge,
    ask: Ask<admin::PostponeGoLiveRequest>,
) -> Result<admin::PostponeGoLiveResponse, Refusal> {
    operators_alone(&ask)?;
    let body = &ask.body;
    let date = read_day(&body.date)?;
    let change = Change::Postpone { date };
    let said = say(edge, &ask, words!(body), change).await?;
    Ok(admin::PostponeGoLiveResponse {
        approval_count: said.have,
        needed_count: said.need,
    })
}

pub(super) async fn withdraw(
    edge: &Edge,
    ask: Ask<admin::WithdrawGoLiveRequest>,
) -> Result<admin::WithdrawGoLiveResponse, Refusal> {
    operators_alone(&ask)?;
    let body = &ask.body;
    let said = say(edge, &ask, words!(body), Change::Withdraw).await?;
    Ok(admin::WithdrawGoLiveResponse {
        approval_count: said.have,
        needed_count: said.need,
    })
}

pub(super) async fn get(
    edge: &Edge,
    ask: Ask<admin::GetMigrationRequest>,
) -> Result<admin::GetMigrationResponse, Refusal> {
    operators_alone(&ask)?;
    let (_, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let migration = state.migration();
    let live = migration.off(Method::Smartcard, now).is_some();
    let go_live = migration.go_live.as_ref().map(|planned| admin::GoLive {
        date: planned.date.to_string(),
        approval: planned.approval.clone().unwrap_or_default(),
        live,
    });
    let of_service = Methods {
        otp: migration.otp,
        ..Methods::default()
    };
    let proposals: Vec<_> = state.proposals(now).map(proposal).collect();
    let read = Read::of("proposals".to_owned(), proposals.len());
    edge.note_read(&ask, &state, read)?;
    Ok(admin::GetMigrationResponse {
        go_live,
        method_switches: wire::method_switches(&of_service),
        proposals,
        needed_count: state.policy().approvals,
    })
}

fn proposal(of: &Proposal) -> admin::MigrationProposal {
    admin::MigrationProposal {
        change: in_words(&of.change, &of.topic),
        operators: of.by.keys().map(ToString::to_string).collect(),
        expire_time: Some(wire::time(of.ends_at)),
    }
}

/// A change in words, for an operator who is to say the same.
fn in_words(change: &Change, topic: &Topic) -> String {
    let what = match topic {
        Topic::GoLive => "go-live".to_owned(),
        Topic::Method(of, method) => {
            let method = match method {
                Method::Smartcard => "smartcard",
                Method::Otp => "otp",
            };
            match of {
                Subject::Service => format!("{method} of the service"),
                Subject::Participant(id) => format!("{method} of participant {id}"),
            }
        }
    };
    let how = match change {
        Change::Schedule { date } => format!("on {date}"),
        Change::Approve { date, reference } => format!("on {date} approved: {reference}"),
        Change::Postpone { date } => format!("postponed to {date}"),
        Change::Withdraw => "withdrawn".to_owned(),
        Change::Switch { switch, .. } => how(*switch),
    };
    format!("{what} {how}")
}

fn how(switch: Switch) -> String {
    let from = |word: &str, at: UnixMs| format!("{word} from {at}");
    match switch {
        Switch::On => "on".to_owned(),
        Switch::Off => "off".to_owned(),
        Switch::OffFrom(at) => from("off", at),
        Switch::OnFrom(at) => from("on", at),
    }
}
