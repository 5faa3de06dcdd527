//! `ParticipantService`: firms, for operators.

use domain::account::{Command, Status};
use domain::id::{ParticipantId, SessionId};
use domain::migration::{self, Enrolment, Terms};
use domain::participant::Participant;
use domain::{Digest, Rejection};
use proto::admin::v1 as admin;
use proto::admin::v1::participant_service_server::ParticipantService;
use tonic::{Request, Response};

use super::account::{PAGE_DEFAULT, PAGE_MAX, read_mask};
use super::answered;
use super::change_request::read_title;
use crate::edge::{Edge, Validity};
use crate::reads::Read;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

mod shut;

pub(super) use shut::suspended;

type Answered<T> = Result<Response<T>, tonic::Status>;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Participants(pub(super) Edge);

#[tonic::async_trait]
impl ParticipantService for Participants {
    async fn get_participant(
        &self,
        request: Request<admin::GetParticipantRequest>,
    ) -> Answered<admin::GetParticipantResponse> {
        answered!(self.0, request, get)
    }

    async fn list_participants(
        &self,
        request: Request<admin::ListParticipantsRequest>,
    ) -> Answered<admin::ListParticipantsResponse> {
        answered!(self.0, request, list)
    }

    async fn create_participant(
        &self,
        request: Request<admin::CreateParticipantRequest>,
    ) -> Answered<admin::CreateParticipantResponse> {
        answered!(self.0, request, create)
    }

    async fn update_participant(
        &self,
        request: Request<admin::UpdateParticipantRequest>,
    ) -> Answered<admin::UpdateParticipantResponse> {
        answered!(self.0, request, update)
    }

    async fn suspend_participant(
        &self,
        request: Request<admin::SuspendParticipantRequest>,
    ) -> Answered<admin::SuspendParticipantResponse> {
        answered!(self.0, request, shut::suspend)
    }

    async fn resume_participant(
        &self,
        request: Request<admin::ResumeParticipantRequest>,
    ) -> Answered<admin::ResumeParticipantResponse> {
        answered!(self.0, request, shut::resume)
    }

    async fn delete_participant(
        &self,
        request: Request<admin::DeleteParticipantRequest>,
    ) -> Answered<admin::DeleteParticipantResponse> {
        answered!(self.0, request, shut::delete)
    }

    async fn enrol_participant(
        &self,
        request: Request<admin::EnrolParticipantRequest>,
    ) -> Answered<admin::EnrolParticipantResponse> {
        answered!(self.0, request, enrol)
    }

    async fn withdraw_enrolment(
        &self,
        request: Request<admin::WithdrawEnrolmentRequest>,
    ) -> Answered<admin::WithdrawEnrolmentResponse> {
        answered!(self.0, request, withdraw_enrolment)
    }
}

fn shown(of: &Participant, terms: Option<&Terms>) -> admin::Participant {
    let enrolled = terms.map(|terms| terms.enrolled.iter().map(ToString::to_string).collect());
    let switches = terms.map(|terms| wire::method_switches(&terms.methods));
    admin::Participant {
        name: format!("participants/{}", of.id),
        title: of.title.clone(),
        etag: of.etag().to_string(),
        enrolled_sessions: enrolled.unwrap_or_default(),
        method_switches: switches.unwrap_or_default(),
        state: state(of).into(),
    }
}

/// Whether its people may log in.
pub(super) fn state(of: &Participant) -> admin::ParticipantState {
    match of.status {
        Status::Active => admin::ParticipantState::Active,
        Status::Suspended { .. } => admin::ParticipantState::Suspended,
        Status::Deleted { .. } => admin::ParticipantState::Deleted,
    }
}

fn read_name(text: &str) -> Result<ParticipantId, Refusal> {
    wire::read_parent(text)?
        .ok_or_else(|| Refusal::malformed(Field::Other("name"), "participants/{p}"))
}

/// The participant that a message names, as it is to be.
fn read(asked: Option<&admin::Participant>) -> Result<(Participant, Option<Digest>), Refusal> {
    let asked = asked.ok_or_else(|| Refusal::malformed(Field::Required("participant"), "said"))?;
    let seen = wire::read_etag(&asked.etag)?;
    let participant = Participant::new(read_name(&asked.name)?, read_title(&asked.title)?);
    Ok((participant, seen))
}

async fn get(
    edge: &Edge,
    ask: Ask<admin::GetParticipantRequest>,
) -> Result<admin::GetParticipantResponse, Refusal> {
    let id = read_name(&ask.body.name)?;
    let (_, state) = edge.fresh(&ask).await?;
    let found = state.participant(&id).ok_or(Refusal::Rejected {
        rejection: Rejection::OtherParticipant,
        clock: edge.now(&state),
    })?;
    edge.note_read(&ask, &state, Read::of(ask.body.name.clone(), 1))?;
    Ok(admin::GetParticipantResponse {
        participant: Some(shown(found, state.terms(&id))),
    })
}

async fn list(
    edge: &Edge,
    ask: Ask<admin::ListParticipantsRequest>,
) -> Result<admin::ListParticipantsResponse, Refusal> {
    let body = &ask.body;
    let size = wire::page_size(body.page_size, PAGE_DEFAULT, PAGE_MAX)?;
    let malformed = || Refusal::malformed(Field::Other("page_token"), "one that was answered");
    let after = match body.page_token.as_str() {
        "" => None,
        text => Some(ParticipantId::parse(text).map_err(|_| malformed())?),
    };
    let wanted = admin::ParticipantState::try_from(body.state)
        .map_err(|_| Refusal::malformed(Field::Other("state"), "a PARTICIPANT_STATE"))?;
    let all = wanted == admin::ParticipantState::Unspecified;
    let (_, state) = edge.fresh(&ask).await?;
    let mut page: Vec<&Participant> = state
        .participants()
        .filter(|firm| after.as_ref().is_none_or(|after| firm.id > *after))
        .filter(|firm| all || self::state(firm) == wanted)
        .take(size.saturating_add(1))
        .collect();
    let more = page.len() > size;
    page.truncate(size);
    let next = page.last().filter(|_| more).map(|firm| firm.id.to_string());
    let about = if all { "all" } else { wanted.as_str_name() };
    edge.note_read(&ask, &state, Read::of(about.to_owned(), page.len()))?;
    Ok(admin::ListParticipantsResponse {
        participants: page
            .into_iter()
            .map(|firm| shown(firm, state.terms(&firm.id)))
            .collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

async fn set<B: prost::Message>(
    edge: &Edge,
    ask: &Ask<B>,
    (request_id, validity): (&str, Validity),
    command: (Participant, bool, Option<Digest>),
) -> Result<Option<admin::Participant>, Refusal> {
    let key = ask.key(request_id, edge.keyring())?;
    let (participant, new, seen) = command;
    let (line, state) = edge.fresh(ask).await?;
    let mut after = participant.clone();
    if let Some(there) = state.participant(&participant.id) {
        after.status = there.status.clone();
        after.endings = there.endings;
    }
    let answer = shown(&after, state.terms(&participant.id));
    let command = domain::Command::Account(Command::SetParticipant {
        participant,
        new,
        seen,
    });
    edge.propose_or_judge(ask, &line, (Some(key), validity), command)
        .await?;
    Ok(Some(answer))
}

async fn create(
    edge: &Edge,
    ask: Ask<admin::CreateParticipantRequest>,
) -> Result<admin::CreateParticipantResponse, Refusal> {
    let (participant, _) = read(ask.body.participant.as_ref())?;
    let request_id = ask.body.request_id.clone();
    let request = (request_id.as_str(), Validity::of(ask.body.validate_only));
    let participant = set(edge, &ask, request, (participant, true, None)).await?;
    Ok(admin::CreateParticipantResponse { participant })
}

async fn update(
    edge: &Edge,
    ask: Ask<admin::UpdateParticipantRequest>,
) -> Result<admin::UpdateParticipantResponse, Refusal> {
    read_mask(ask.body.update_mask.as_ref(), &["title"])?;
    let (participant, seen) = read(ask.body.participant.as_ref())?;
    let request_id = ask.body.request_id.clone();
    let request = (request_id.as_str(), Validity::of(ask.body.validate_only));
    let participant = set(edge, &ask, request, (participant, false, seen)).await?;
    Ok(admin::UpdateParticipantResponse { participant })
}

fn read_session(text: &str) -> Result<SessionId, Refusal> {
    SessionId::parse(text)
        .map_err(|_| Refusal::malformed(Field::Other("session"), "a session's id"))
}

/// Says whether the participant is enrolled for the session; gives the participant after it, and
/// the last day for it.
async fn set_enrolment<B: prost::Message>(
    edge: &Edge,
    ask: &Ask<B>,
    (request_id, validity): (&str, Validity),
    (name, session): (&str, &str),
    wanted: Enrolment,
) -> Result<(Option<admin::Participant>, String), Refusal> {
    let key = ask.key(request_id, edge.keyring())?;
    let id = read_name(name)?;
    let session = read_session(session)?;
    let (line, _) = edge.fresh(ask).await?;
    let command = domain::Command::Migration(migration::Command::Enrol {
        participant: id.clone(),
        session: session.clone(),
        wanted,
    });
    edge.propose_or_judge(ask, &line, (Some(key), validity), command)
        .await?;
    let state = line.state();
    let participant = state.participant(&id);
    let participant = participant.map(|firm| shown(firm, state.terms(&id)));
    let planned = state
        .primary()
        .and_then(|primary| state.calendar().session(&session, &primary.name));
    let last_day = planned.map(|planned| planned.last_day_to_enrol().to_string());
    Ok((participant, last_day.unwrap_or_default()))
}

async fn enrol(
    edge: &Edge,
    ask: Ask<admin::EnrolParticipantRequest>,
) -> Result<admin::EnrolParticipantResponse, Refusal> {
    let body = &ask.body;
    let about = (body.name.as_str(), body.session.as_str());
    let request = (body.request_id.as_str(), Validity::of(body.validate_only));
    let set = set_enrolment(edge, &ask, request, about, Enrolment::Enrolled);
    let (participant, last_day) = set.await?;
    Ok(admin::EnrolParticipantResponse {
        participant,
        last_day,
    })
}

async fn withdraw_enrolment(
    edge: &Edge,
    ask: Ask<admin::WithdrawEnrolmentRequest>,
) -> Result<admin::WithdrawEnrolmentResponse, Refusal> {
    let body = &ask.body;
    let about = (body.name.as_str(), body.session.as_str());
    let request = (body.request_id.as_str(), Validity::of(body.validate_only));
    let set = set_enrolment(edge, &ask, request, about, Enrolment::Withdrawn);
    let (participant, _) = set.await?;
    Ok(admin::WithdrawEnrolmentResponse { participant })
}
