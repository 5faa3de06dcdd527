//! Initiation (LOGIN.md, "Initiation"): the mailed code, what goes with it, and one atomic change
//! of password and channel at the end (R30).

use credential::associated::{ActivationHalf, Associated};
use credential::code::{Code, Half};
use domain::account::{Account, SetUp};
use domain::change::Kind;
use domain::factor::{ChannelKind, CodeProof, Method, NewChannel, Sealed, Verdict};
use domain::id::{AccountId, ProcedureId};
use domain::initiation::{Command, SecondProof, Setting};
use domain::{Answer, State, UnixMs};
use proto::auth::v1 as auth;
use proto::auth::v1::begin_initiation_request::Proof;

use super::auth::text;
use super::changed;
use crate::edge::{self, Edge};
use crate::factor::{self, Claimed};
use crate::mail::Letter;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

/// Asks for a code. The answer is the same for everybody (R8).
pub(super) async fn request(
    edge: &Edge,
    ask: Ask<auth::RequestActivationRequest>,
) -> Result<auth::RequestActivationResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    let portal = wire::required_portal(body.portal)?;
    edge::address(&body.client_address)?;
    let (line, state) = edge.fresh(&ask).await?;
    let claimed = Claimed::look_up(edge, &state, &body.user_id)?;
    let half = Half::random(edge.entropy());
    let associated = Associated::activation(&claimed.row(), ActivationHalf::Mailed);
    let sealed = factor::seal(edge, half.as_bytes(), &associated)?;
    let here = claimed
        .account
        .as_ref()
        .filter(|account| account.class == portal.class());
    let command = Command::Request {
        subject: claimed.subject.clone(),
        code: here.map(|_| sealed.clone()),
    };
    let settled = edge
        .propose(&ask, &line, Some(key), domain::Command::Initiation(command))
        .await?;
    let Answer::ActivationNoted { send_code } = settled.answer else {
        return Err(edge::unexpected(&settled.answer));
    };
    if let (true, Some(account)) = (send_code, here) {
        post_half(edge, &line.state(), account, &sealed, half, settled.at);
    }
    Ok(auth::RequestActivationResponse {
        message: Some(text(
            "If this account can be set up, a code has been sent to its registered address; otherwise ask your administrator or the hotline.",
            "如此帳戶可以設定，代碼已發送至其登記地址；否則請向管理員或熱線查詢。",
        )),
    })
}

/// Mails the half that is in the state, if it is this one: a repeated call sends none.
fn post_half(
    edge: &Edge,
    state: &State,
    account: &Account,
    sealed: &Sealed,
    half: Half,
    about: domain::LogId,
) {
    let activation = state.activation(&account.id, edge.now(state));
    let Some(activation) = activation.filter(|kept| kept.mailed.as_ref() == Some(sealed)) else {
        return;
    };
    if let Some(email) = &account.email {
        let letter = Letter::ActivationCode(half, activation.mailed_ends);
        let mark = edge::mark(&state.header().line);
        edge.parts()
            .outbox
            .post(&email.address, letter, mark, about);
    }
}

/// Shows the codes and names the channel.
pub(super) async fn begin(
    edge: &Edge,
    ask: Ask<auth::BeginInitiationRequest>,
) -> Result<auth::BeginInitiationResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    let portal = wire::required_portal(body.portal)?;
    let address = edge::address(&body.client_address)?;
    let kind = wire::read_channel(body.channel)?;
    let (line, state) = edge.fresh(&ask).await?;
    let claimed = Claimed::look_up(edge, &state, &body.user_id)?;
    let account = claimed
        .account
        .as_ref()
        .filter(|account| account.class == portal.class());
    let now = edge.now(&state);
    let activation = account.and_then(|account| state.activation(&account.id, now));
    let code_matched = half_matches(
        edge,
        account,
        activation.and_then(|activation| activation.mailed(now)),
        ActivationHalf::Mailed,
        &body.activation_code,
    )?;
    let lane = ask.lane(&claimed.user_id);
    let second = match &body.proof {
        Some(Proof::CardPassword(password)) => {
            let password = factor::typed(password, Field::Other("card_password"))?;
            let verdict = factor::judge(edge, &lane, password, account, Method::Smartcard).await?;
            SecondProof::CardPassword(verdict)
        }
        Some(Proof::CurrentPassword(password)) => {
            let password = factor::typed(password, Field::Other("current_password"))?;
            let verdict = factor::judge(edge, &lane, password, account, Method::Otp).await?;
            SecondProof::CurrentPassword(verdict)
        }
        Some(Proof::SecondHalf(typed)) => SecondProof::IssuedHalf {
            matched: half_matches(
                edge,
                account,
                activation.and_then(|activation| activation.issued(now)),
                ActivationHalf::Spoken,
                typed,
            )?,
        },
        None => SecondProof::CardPassword(Verdict::Wrong),
    };
    let procedure = ProcedureId(edge.derived("procedure id", &key));
    let begun = setting(edge, account, &claimed.row(), procedure, kind)?;
    let command = Command::Begin {
        procedure,
        subject: claimed.subject.clone(),
        address,
        serial: activation.map_or(0, |activation| activation.serial),
        code_matched,
        second,
        setting: begun.setting,
    };
    let settled = edge
        .propose(&ask, &line, Some(key), domain::Command::Initiation(command))
        .await?;
    let ends_at = opened(settled.answer)?;
    if let (Some(code), Some(email)) = (
        begun.code,
        account.and_then(|account| account.email.as_ref()),
    ) {
        let letter = Letter::ConfirmationCode(code, ends_at);
        let mark = edge::mark(&line.reference().line);
        edge.parts()
            .outbox
            .post(&email.address, letter, mark, settled.at);
    }
    let carry = line.reference().line.carry();
    Ok(auth::BeginInitiationResponse {
        initiation_id: procedure.to_string(),
        expire_time: Some(wire::time(ends_at)),
        authenticator: begun.authenticator,
        set_up: wire::set_up(begun.set_up).into(),
        carry_forward: wire::carry(carry).into(),
        notice: wire::notice_text(carry),
    })
}

/// What is set up, and what the person must be told or sent for it.
struct Begun {
    setting: Setting,
    set_up: SetUp,
    authenticator: Option<auth::AuthenticatorEnrolment>,
    code: Option<Code>,
}

/// What somebody can set up: the channel that was named, but for a password that was reset. Then
/// the channel that is there proves the person (S26).
fn setting(
    edge: &Edge,
    account: Option<&Account>,
    row: &AccountId,
    procedure: ProcedureId,
    kind: ChannelKind,
) -> Result<Begun, Refusal> {
    let set_up = account.and_then(Account::set_up).unwrap_or(SetUp::Both);
    let own = account.and_then(|account| account.otp.as_ref());
    let enrolment = factor::enrol(edge, row, procedure, kind)?;
    match (set_up, own.map(|otp| otp.channel.kind())) {
        (SetUp::Both | SetUp::Channel, _) | (SetUp::Password, None) => Ok(Begun {
            setting: Setting::Channel(enrolment.channel),
            set_up,
            authenticator: enrolment.authenticator,
            code: enrolment.code,
        }),
        (SetUp::Password, Some(ChannelKind::Authenticator)) => Ok(Begun {
            setting: Setting::Password { code: None },
            set_up,
            authenticator: None,
            code: None,
        }),
        (SetUp::Password, Some(ChannelKind::Email)) => {
            let code = Code::random(edge.entropy());
            let associated = Associated::procedure_code(row, procedure);
            let sealed = factor::seal(edge, code.as_bytes(), &associated)?;
            Ok(Begun {
                setting: Setting::Password { code: Some(sealed) },
                set_up,
                authenticator: None,
                code: Some(code),
            })
        }
    }
}

/// When a procedure that was opened ends.
pub(super) fn opened(answer: Answer) -> Result<UnixMs, Refusal> {
    let Answer::ProcedureOpened { ends_at } = answer else {
        return Err(edge::rejected_or_unexpected(&answer));
    };
    Ok(ends_at)
}

fn half_matches(
    edge: &Edge,
    account: Option<&Account>,
    sealed: Option<&Sealed>,
    half: ActivationHalf,
    typed: &str,
) -> Result<bool, Refusal> {
    let (Some(account), Some(sealed), Ok(typed)) = (account, sealed, Half::parse(typed)) else {
        return Ok(false);
    };
    let associated = Associated::activation(&account.id, half);
    let opened = edge.keyring().open(sealed, &associated)?;
    let text = std::str::from_utf8(&opened).unwrap_or_default();
    Ok(Half::parse(text).is_ok_and(|kept| kept.matches(&typed)))
}

/// Shows a code of the channel, and sets what was begun at once.
pub(super) async fn confirm(
    edge: &Edge,
    ask: Ask<auth::ConfirmInitiationRequest>,
) -> Result<auth::ConfirmInitiationResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    edge::address(&body.client_address)?;
    let id = read_procedure(&body.initiation_id, "initiation_id")?;
    let (line, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let found = state.procedure(&id, now);
    let setting = found.and_then(|procedure| match &procedure.kind {
        Kind::SetUp { setting, .. } => Some(setting),
        Kind::StepUp { .. } | Kind::Replacement { .. } => None,
    });
    let account = found.and_then(|procedure| state.account(&procedure.account));
    // Proposed even if nothing is found: a repeated call must find its first answer.
    let proof = match (account, setting) {
        (Some(account), Some(Setting::Password { code })) => {
            let associated = Associated::procedure_code(&account.id, id);
            let mailed = code.as_ref().map(|code| (code, &associated));
            factor::own_code_proof(edge, account, mailed, &body.code, now)?
        }
        (account, Some(Setting::Channel(channel))) => {
            confirmed(edge, account, id, Some(channel), &body.code, now)?
        }
        (account, None | Some(Setting::Password { .. })) => {
            confirmed(edge, account, id, None, &body.code, now)?
        }
    };
    let set_up = account.and_then(Account::set_up);
    let lane = ask.lane(account.map_or(body.initiation_id.as_str(), |one| one.id.as_str()));
    let password = match (set_up, body.new_password.as_str()) {
        (Some(SetUp::Channel), "") => None,
        (Some(SetUp::Channel), _) => {
            let should_be = "left out: only the channel is set up";
            return Err(Refusal::malformed(Field::NewPassword, should_be));
        }
        (Some(SetUp::Both | SetUp::Password) | None, text) => {
            Some(factor::new_password(edge, &lane, text, account, Method::Otp).await?)
        }
    };
    let command = Command::Confirm {
        procedure: id,
        proof,
        password,
    };
    let settled = edge
        .propose(&ask, &line, Some(key), domain::Command::Initiation(command))
        .await?;
    let carry = changed::carry(&settled)?;
    Ok(auth::ConfirmInitiationResponse {
        carry_forward: wire::carry(carry).into(),
        notice: wire::notice_text(carry),
    })
}

/// What a typed code proves of a channel that is being set up, if there is one.
pub(super) fn confirmed(
    edge: &Edge,
    account: Option<&Account>,
    id: ProcedureId,
    channel: Option<&NewChannel>,
    typed: &str,
    now: UnixMs,
) -> Result<CodeProof, Refusal> {
    match (account, channel) {
        (Some(account), Some(channel)) => {
            factor::new_code_proof(edge, &account.id, id, channel, typed, now)
        }
        (Some(_) | None, None) | (None, Some(_)) => Ok(CodeProof::Mailed { matched: false }),
    }
}

/// The id of a procedure; one that is none of ours is as good as one that has ended.
pub(super) fn read_procedure(text: &str, field: &'static str) -> Result<ProcedureId, Refusal> {
    text.parse()
        .map_err(|_| Refusal::malformed(Field::Other(field), "one that was answered before"))
}
