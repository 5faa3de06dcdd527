//! What people change about themselves: the password of their method, and the channel after a
//! step-up (LOGIN.md, S19).

use credential::associated::Associated;
use credential::card::Challenge;
use credential::code::Code;
use domain::account::Account;
use domain::change::{Act, Command, Kind, Procedure, StepUpProof};
use domain::factor::{ChannelKind, Method};
use domain::id::ProcedureId;
use domain::token::Token;
use domain::{State, UnixMs};
use proto::auth::v1 as auth;
use proto::auth::v1::verify_step_up_request::Factor;

use super::initiation::{confirmed, opened, read_procedure};
use super::token::shown;
use super::{change_request, changed};
use crate::edge::{self, Edge};
use crate::factor;
use crate::mail::Letter;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

/// The person behind the call's token.
struct Person<'a> {
    token: &'a Token,
    account: &'a Account,
}

fn person<'a, B>(ask: &Ask<B>, state: &'a State, now: UnixMs) -> Result<Person<'a>, Refusal> {
    let token = shown(state, &ask.caller, &ask.token()?, now)?;
    let account = state.account(&token.account).ok_or(Refusal::TokenExpired)?;
    Ok(Person { token, account })
}

/// Sets another password of the token's method.
pub(super) async fn password(
    edge: &Edge,
    ask: Ask<auth::ChangePasswordRequest>,
) -> Result<auth::ChangePasswordResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    edge::address(&body.client_address)?;
    let reason = wire::read_reason(body.reason)?;
    let current = factor::typed(&body.current_password, Field::Other("current_password"))?;
    let (line, state) = edge.fresh(&ask).await?;
    let Person { token, account } = person(&ask, &state, edge.now(&state))?;
    let method = token.method();
    let lane = ask.lane(account.id.as_str());
    let verdict = factor::judge(edge, &lane, current, Some(account), method).await?;
    let new = &body.new_password;
    let password = factor::new_password(edge, &lane, new, Some(account), method).await?;
    let command = Command::Password {
        token: token.id,
        verdict,
        password,
        reason,
    };
    let settled = edge
        .propose(&ask, &line, Some(key), domain::Command::Change(command))
        .await?;
    let carry = changed::carry(&settled)?;
    Ok(auth::ChangePasswordResponse {
        carry_forward: wire::carry(carry).into(),
        notice: wire::notice_text(carry),
    })
}

fn read_act(body: &auth::BeginStepUpRequest) -> Result<Act, Refusal> {
    let resource = body.resource.as_str();
    match body.act() {
        auth::StepUpAct::ReplaceChannel if resource.is_empty() => Ok(Act::ReplaceChannel),
        auth::StepUpAct::ReplaceChannel => Err(Refusal::malformed(
            Field::Other("resource"),
            "empty for one's own channel",
        )),
        auth::StepUpAct::ApproveChangeRequest => {
            change_request::read_name(resource).map(Act::ApproveChange)
        }
        auth::StepUpAct::IssueActivationCode => {
            wire::read_account_name(resource).map(|name| Act::IssueActivation(name.id))
        }
        auth::StepUpAct::Unspecified => {
            Err(Refusal::malformed(Field::Required("act"), "a STEP_UP_ACT"))
        }
    }
}

/// What a card signs for a step-up: the act stands where a login has its option.
fn challenge(
    line: &consensus::Line,
    person: &Person<'_>,
    act: &Act,
    nonce: [u8; 16],
    expires_at: UnixMs,
) -> Challenge {
    let act = match act {
        Act::ReplaceChannel => "step-up:replace-channel".to_owned(),
        Act::ApproveChange(request) => format!("step-up:approve-change-request:{request}"),
        Act::IssueActivation(account) => format!("step-up:issue-activation-code:{account}"),
    };
    Challenge {
        line: line.reference(),
        portal: person.token.option.portal(),
        option: act,
        user_id: person.account.id.to_string(),
        nonce,
        expires_at,
    }
}

/// Asks for a step-up; mails a code if the current channel is e-mail.
pub(super) async fn begin_step_up(
    edge: &Edge,
    ask: Ask<auth::BeginStepUpRequest>,
) -> Result<auth::BeginStepUpResponse, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    edge::address(&ask.body.client_address)?;
    let act = read_act(&ask.body)?;
    let (line, state) = edge.fresh(&ask).await?;
    let person = person(&ask, &state, edge.now(&state))?;
    let procedure = ProcedureId(edge.derived("procedure id", &key));
    let nonce = edge.derived("step-up nonce", &key);
    let mails = person.token.method() == Method::Otp
        && person.account.otp.as_ref().map(|otp| otp.channel.kind()) == Some(ChannelKind::Email);
    let code = mails.then(|| Code::random(edge.entropy()));
    let associated = Associated::procedure_code(&person.account.id, procedure);
    let sealed = match &code {
        None => None,
        Some(code) => Some(factor::seal(edge, code.as_bytes(), &associated)?),
    };
    let command = Command::BeginStepUp {
        procedure,
        token: person.token.id,
        act: act.clone(),
        code: sealed.clone(),
        nonce,
    };
    let settled = edge
        .propose(&ask, &line, Some(key), domain::Command::Change(command))
        .await?;
    let ends_at = opened(settled.answer)?;
    let after = line.state();
    let kept = after
        .procedure(&procedure, edge.now(&after))
        .and_then(sealed_code);
    // A repeated call sealed another code than the one that was kept and sent.
    let is_first = sealed.is_some() && kept == sealed.as_ref();
    if let (Some(code), Some(email), true) = (code, &person.account.email, is_first) {
        let letter = Letter::ConfirmationCode(code, ends_at);
        let mark = edge::mark(&line.reference().line);
        edge.parts()
            .outbox
            .post(&email.address, letter, mark, settled.at);
    }
    let challenge = challenge(&line, &person, &act, nonce, ends_at);
    Ok(auth::BeginStepUpResponse {
        step_up_id: procedure.to_string(),
        expire_time: Some(wire::time(ends_at)),
        card_challenge: Some(factor::challenge(&challenge)),
    })
}

fn sealed_code(procedure: &Procedure) -> Option<&domain::Sealed> {
    match &procedure.kind {
        Kind::StepUp { code, .. } => code.as_ref(),
        Kind::SetUp { .. } | Kind::Replacement { .. } => None,
    }
}

/// Proves the current channel or card.
pub(super) async fn verify_step_up(
    edge: &Edge,
    ask: Ask<auth::VerifyStepUpRequest>,
) -> Result<auth::VerifyStepUpResponse, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    edge::address(&ask.body.client_address)?;
    let id = read_procedure(&ask.body.step_up_id, "step_up_id")?;
    let (line, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let person = person(&ask, &state, now)?;
    let procedure = state
        .procedure(&id, now)
        .filter(|procedure| procedure.account == person.account.id);
    let proof = match &ask.body.factor {
        Some(Factor::Code(typed)) => {
            let associated = Associated::procedure_code(&person.account.id, id);
            let mailed = procedure
                .and_then(sealed_code)
                .map(|sealed| (sealed, &associated));
            let proof = factor::own_code_proof(edge, person.account, mailed, typed, now)?;
            StepUpProof::Code(proof)
        }
        Some(Factor::Card(signed)) => {
            let open = procedure.and_then(|procedure| match &procedure.kind {
                Kind::StepUp { act, nonce, .. } => {
                    Some(challenge(&line, &person, act, *nonce, procedure.ends_at))
                }
                Kind::SetUp { .. } | Kind::Replacement { .. } => None,
            });
            let shown = open
                .as_ref()
                .and_then(|open| factor::card_proof(edge, &state, signed, open, now));
            StepUpProof::Card(shown)
        }
        None => {
            return Err(Refusal::malformed(
                Field::Required("factor"),
                "a code or a card",
            ));
        }
    };
    let command = Command::VerifyStepUp {
        procedure: id,
        token: person.token.id,
        proof,
    };
    let settled = edge
        .propose(&ask, &line, Some(key), domain::Command::Change(command))
        .await?;
    let ends_at = opened(settled.answer)?;
    Ok(auth::VerifyStepUpResponse {
        expire_time: Some(wire::time(ends_at)),
    })
}

/// Names the new channel.
pub(super) async fn begin_replacement(
    edge: &Edge,
    ask: Ask<auth::BeginReplaceChannelRequest>,
) -> Result<auth::BeginReplaceChannelResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    edge::address(&body.client_address)?;
    let reason = wire::read_reason(body.reason)?;
    let kind = wire::read_channel(body.channel)?;
    let step_up = read_procedure(&body.step_up_id, "step_up_id")?;
    let current = factor::typed(&body.current_password, Field::Other("current_password"))?;
    let (line, state) = edge.fresh(&ask).await?;
    let Person { token, account } = person(&ask, &state, edge.now(&state))?;
    let lane = ask.lane(account.id.as_str());
    let verdict = factor::judge(edge, &lane, current, Some(account), Method::Otp).await?;
    let procedure = ProcedureId(edge.derived("procedure id", &key));
    let enrolment = factor::enrol(edge, &account.id, procedure, kind)?;
    let command = Command::BeginReplacement {
        procedure,
        token: token.id,
        step_up,
        verdict,
        channel: enrolment.channel,
        reason,
    };
    let settled = edge
        .propose(&ask, &line, Some(key), domain::Command::Change(command))
        .await?;
    let ends_at = opened(settled.answer)?;
    if let (Some(code), Some(email)) = (enrolment.code, &account.email) {
        let letter = Letter::ConfirmationCode(code, ends_at);
        let mark = edge::mark(&line.reference().line);
        edge.parts()
            .outbox
            .post(&email.address, letter, mark, settled.at);
    }
    Ok(auth::BeginReplaceChannelResponse {
        replacement_id: procedure.to_string(),
        expire_time: Some(wire::time(ends_at)),
        authenticator: enrolment.authenticator,
    })
}

/// Shows a code of the new channel, and sets it.
pub(super) async fn confirm_replacement(
    edge: &Edge,
    ask: Ask<auth::ConfirmReplaceChannelRequest>,
) -> Result<auth::ConfirmReplaceChannelResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    edge::address(&body.client_address)?;
    let id = read_procedure(&body.replacement_id, "replacement_id")?;
    let (line, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let Person { token, account } = person(&ask, &state, now)?;
    let channel = state
        .procedure(&id, now)
        .filter(|procedure| procedure.account == account.id)
        .and_then(|procedure| match &procedure.kind {
            Kind::Replacement { channel, .. } => Some(channel),
            Kind::SetUp { .. } | Kind::StepUp { .. } => None,
        });
    let command = Command::ConfirmReplacement {
        procedure: id,
        token: token.id,
        proof: confirmed(edge, Some(account), id, channel, &body.code, now)?,
    };
    let settled = edge
        .propose(&ask, &line, Some(key), domain::Command::Change(command))
        .await?;
    let carry = changed::carry(&settled)?;
    Ok(auth::ConfirmReplaceChannelResponse {
        carry_forward: wire::carry(carry).into(),
        notice: wire::notice_text(carry),
    })
}
