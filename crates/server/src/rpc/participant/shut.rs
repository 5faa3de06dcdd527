//! Shutting a participant as a whole, and opening it again: suspended by one operator at once,
//! resumed or deleted by two (S34).

use domain::Carry;
use domain::id::ParticipantId;
use domain::participant::{Act, Command, Wanted};
use prost::Message;
use proto::admin::v1 as admin;
use proto::approval::v1 as wired;

use super::{read_name, shown};
use crate::approvals::{self, Call};
use crate::edge::{Edge, Validity};
use crate::request::Ask;
use crate::rpc::account::reason;
use crate::rpc::changed;
use crate::status::Refusal;
use crate::wire;

/// Suspends the participant of this name on the line that the rpc speaks to, for a reason; says
/// what becomes of it.
pub(in crate::rpc) async fn suspended<B>(
    edge: &Edge,
    ask: &Ask<B>,
    (request_id, validate_only): (&str, bool),
    (name, why): (&str, &str),
) -> Result<(Carry, Option<admin::Participant>), Refusal>
where
    B: Message,
{
    let key = ask.key(request_id, edge.keyring())?;
    let id = read_name(name)?;
    let command = Command::Suspend {
        participant: id.clone(),
        reason: reason(ask, why)?,
    };
    let (line, _) = edge.fresh(ask).await?;
    let command = domain::Command::Participant(command);
    let carry = changed::propose(edge, ask, &line, (key, validate_only), command).await?;
    Ok((carry, of(&line.state(), &id)))
}

fn of(state: &domain::State, id: &ParticipantId) -> Option<admin::Participant> {
    let firm = state.participant(id);
    firm.map(|firm| shown(firm, state.terms(id)))
}

pub(super) async fn suspend(
    edge: &Edge,
    ask: Ask<admin::SuspendParticipantRequest>,
) -> Result<admin::SuspendParticipantResponse, Refusal> {
    let body = &ask.body;
    let request = (body.request_id.as_str(), body.validate_only);
    let about = (body.name.as_str(), body.reason.as_str());
    let (carry, participant) = suspended(edge, &ask, request, about).await?;
    Ok(admin::SuspendParticipantResponse {
        participant,
        carry_forward: wire::carry(carry).into(),
        notice: wire::notice_text(carry),
    })
}

/// What an operator says of a participant.
struct Words<'a, B> {
    request_id: &'a str,
    name: &'a str,
    etag: &'a str,
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
            name: &$body.name,
            etag: &$body.etag,
            reason: &$body.reason,
            approval: $body.approval.as_ref(),
            validate_only: $body.validate_only,
            unsigned,
        }
    }};
}

/// How many operators have said it, how many it takes, and the participant after it.
struct Said {
    have: u32,
    need: u32,
    participant: Option<admin::Participant>,
}

async fn say<B: Message>(
    edge: &Edge,
    ask: &Ask<B>,
    words: Words<'_, B>,
    wanted: Wanted,
) -> Result<Said, Refusal> {
    let key = ask.key_of(words.request_id, &words.unsigned, edge.keyring())?;
    let act = Act {
        participant: read_name(words.name)?,
        wanted,
        seen: wire::read_etag(words.etag)?,
    };
    let id = act.participant.clone();
    let reason = reason(ask, words.reason)?;
    let command = domain::Command::Participant(Command::Say { act, reason });
    let call = Call {
        key,
        approval: words.approval,
        validity: Validity::of(words.validate_only),
    };
    let (have, need) = approvals::approve(edge, ask, call, command).await?;
    let line = edge.line(ask)?;
    Ok(Said {
        have,
        need,
        participant: of(&line.state(), &id),
    })
}

pub(super) async fn resume(
    edge: &Edge,
    ask: Ask<admin::ResumeParticipantRequest>,
) -> Result<admin::ResumeParticipantResponse, Refusal> {
    let said = say(edge, &ask, words!(ask.body), Wanted::Resume).await?;
    Ok(admin::ResumeParticipantResponse {
        participant: said.participant,
        approval_count: said.have,
        needed_count: said.need,
    })
}

pub(super) async fn delete(
    edge: &Edge,
    ask: Ask<admin::DeleteParticipantRequest>,
) -> Result<admin::DeleteParticipantResponse, Refusal> {
    let said = say(edge, &ask, words!(ask.body), Wanted::Delete).await?;
    Ok(admin::DeleteParticipantResponse {
        participant: said.participant,
        approval_count: said.have,
        needed_count: said.need,
    })
}
