//! Logins (LOGIN.md, "Login"): a challenge for everybody, and every rejection from the factor.

use std::net::IpAddr;

use credential::associated::Associated;
use credential::card::Challenge;
use credential::code::Code;
use credential::secret::Token;
use domain::factor::{Channel, CodeProof, Method, Verdict};
use domain::id::LoginId;
use domain::login::{Command, Login, Proof, wait_until};
use domain::migration;
use domain::outcome::Issued;
use domain::portal::LandingOption;
use domain::request::Key;
use domain::{Answer, Rejection, Sealed, State, UnixMs};
use proto::auth::v1 as auth;
use proto::auth::v1::verify_factor_request::Factor;

use super::rehash::{self, Judged};
use crate::edge::{self, Edge};
use crate::factor::{self, Claimed};
use crate::identity::Caller;
use crate::mail::Letter;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

type Begin = Ask<auth::BeginLoginRequest>;
type Verify = Ask<auth::VerifyFactorRequest>;
type Resend = Ask<auth::ResendCodeRequest>;

/// Opens a login. The answer is the same for everybody.
pub(super) async fn begin(edge: &Edge, ask: Begin) -> Result<auth::BeginLoginResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    let option = LandingOption::from_id(&body.option)
        .ok_or_else(|| Refusal::malformed(Field::Option, "one that ListLandingOptions lists"))?;
    let address = edge::address(&body.client_address)?;
    let password = factor::typed(&body.password, Field::Password)?;
    let (line, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let claimed = Claimed::look_up(edge, &state, &body.user_id)?;
    let method = option.method();
    // A fact of the whole service, told before anything of the person is looked at. That it was
    // tried is recorded all the same: by the line, which says the same.
    if let Err(rejection) = migration::admit(&state, method, now) {
        if edge.unheard().recorded_singly(address) {
            note_refused(edge, &ask, &line, option, &claimed, (key, address)).await?;
        }
        return Err(Refusal::Rejected {
            rejection,
            clock: now,
        });
    }
    // Asked before hashing: who must wait costs nothing.
    if let Some(until) = wait_until(&state, &claimed.subject, method, address, now) {
        edge.unheard().count(address);
        return Err(Refusal::Rejected {
            rejection: Rejection::RateLimited { until },
            clock: now,
        });
    }
    let lane = ask.lane(&claimed.user_id);
    let (verdict, anew) =
        factor::judge_and_renew(edge, &lane, password, claimed.account.as_ref(), method).await?;
    let login = LoginId(edge.derived("login id", &key));
    let nonce = edge.derived("login nonce", &key);
    // Drawn and sealed for everybody; it is kept only where a code is to be sent.
    let code = Code::random(edge.entropy());
    let associated = Associated::login_code(&claimed.row(), login);
    let sealed = factor::seal(edge, code.as_bytes(), &associated)?;
    let command = Command::Begin {
        login,
        subject: claimed.subject.clone(),
        option,
        address,
        verdict,
        code: Some(sealed.clone()),
        nonce,
    };
    let settled = edge
        .propose(&ask, &line, Some(key), domain::Command::Login(command))
        .await?;
    let Answer::LoginOpened { ends_at, send_code } = settled.answer else {
        return Err(edge::unexpected(&settled.answer));
    };
    if let Some(account) = &claimed.account {
        let judged = Judged {
            account: account.id.clone(),
            method,
            verdict,
        };
        rehash::later(edge, &line, ask.caller.actor(), judged, anew);
    }
    let after = line.state();
    if send_code {
        post_code(edge, &after, login, &sealed, code, settled.at);
    }
    // A repeated call is answered with what the first one opened.
    let challenge = Challenge {
        line: line.reference(),
        portal: option.portal(),
        option: option.id().to_owned(),
        user_id: claimed.user_id,
        nonce,
        expires_at: ends_at,
    };
    Ok(auth::BeginLoginResponse {
        login_id: login.to_string(),
        expire_time: Some(wire::time(ends_at)),
        card_challenge: Some(factor::challenge(&challenge)),
    })
}

/// Has the line refuse a login that it would refuse whatever the password is, so that there is a
/// record of it. Nothing was hashed for it, and nothing is opened.
async fn note_refused(
    edge: &Edge,
    ask: &Begin,
    line: &consensus::Line,
    option: LandingOption,
    claimed: &Claimed,
    (key, address): (Key, Option<IpAddr>),
) -> Result<(), Refusal> {
    let command = Command::Begin {
        login: LoginId(edge.derived("login id", &key)),
        subject: claimed.subject.clone(),
        option,
        address,
        verdict: Verdict::Wrong,
        code: None,
        nonce: edge.derived("login nonce", &key),
    };
    let command = domain::Command::Login(command);
    match edge.propose(ask, line, Some(key), command).await {
        // In the moment in which a method goes on again, a wrong password would be counted: the
        // person is told of the method all the same, and tries again.
        Ok(_) | Err(Refusal::Rejected { .. }) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

/// Mails the code, if the login is still the one that it was sealed for: a repeated call finds
/// another, and its code was sent already.
fn post_code(
    edge: &Edge,
    state: &State,
    id: LoginId,
    sealed: &Sealed,
    code: Code,
    about: domain::LogId,
) {
    let now = edge.now(state);
    let Some(login) = state.login(&id, now) else {
        return;
    };
    let email = login
        .subject
        .account()
        .and_then(|id| state.account(id))
        .and_then(|account| account.email.as_ref());
    if let (Some(email), true) = (email, login.code.as_ref() == Some(sealed)) {
        let letter = Letter::LoginCode(code, login.code_ends);
        let mark = edge::mark(&state.header().line);
        edge.parts()
            .outbox
            .post(&email.address, letter, mark, about);
    }
}

/// Sends another code, where one was sent; answers alike where none was.
pub(super) async fn resend(edge: &Edge, ask: Resend) -> Result<auth::ResendCodeResponse, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    edge::address(&ask.body.client_address)?;
    let login = read_login_id(&ask.body.login_id)?;
    let (line, state) = edge.fresh(&ask).await?;
    let row = state
        .login(&login, edge.now(&state))
        .and_then(|login| login.subject.account().cloned())
        .unwrap_or_else(|| factor::row(None));
    let code = Code::random(edge.entropy());
    let associated = Associated::login_code(&row, login);
    let sealed = factor::seal(edge, code.as_bytes(), &associated)?;
    let command = Command::Resend {
        login,
        code: Some(sealed.clone()),
    };
    let settled = edge
        .propose(&ask, &line, Some(key), domain::Command::Login(command))
        .await?;
    let Answer::LoginOpened { ends_at, send_code } = settled.answer else {
        return Err(edge::unexpected(&settled.answer));
    };
    if send_code {
        post_code(edge, &line.state(), login, &sealed, code, settled.at);
    }
    Ok(auth::ResendCodeResponse {
        expire_time: Some(wire::time(ends_at)),
    })
}

/// A login id that is none of ours is as good as one that has ended.
fn read_login_id(text: &str) -> Result<LoginId, Refusal> {
    text.parse().map_err(|_| Refusal::CredentialsRejected)
}

/// Checks the factor, and yields the token or the one rejection.
pub(super) async fn verify(
    edge: &Edge,
    ask: Verify,
) -> Result<auth::VerifyFactorResponse, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    edge::address(&ask.body.client_address)?;
    let id = read_login_id(&ask.body.login_id)?;
    let (line, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let login = state
        .login(&id, now)
        .filter(|login| is_callers(login, &ask.caller));
    // Proposed even if there is no such login: a repeated call must find its first answer.
    let proof = match login {
        Some(login) => prove(edge, &state, login, ask.body.factor.as_ref(), &line, now)?,
        None => Proof::None,
    };
    let token = Token::random(edge.entropy());
    let codes = login.map_or(0, |login| login.codes);
    let command = Command::Verify {
        login: id,
        proof,
        codes,
        token: token.digest(),
    };
    let settled = edge
        .propose(&ask, &line, Some(key), domain::Command::Login(command))
        .await
        .map_err(rejected_alike)?;
    let Answer::TokenIssued(issued) = settled.answer else {
        return Err(edge::rejected_or_unexpected(&settled.answer));
    };
    // The login's own: by now the token may have ended, with the session or otherwise.
    let scopes = login.map_or_else(Vec::new, |login| wire::scopes(login.option.scopes()));
    Ok(issued_token(&line.state(), &token, &issued, scopes))
}

fn is_callers(login: &Login, caller: &Caller) -> bool {
    match caller {
        Caller::FrontEnd(id, _) => login.front_end == *id,
        Caller::BackEnd(_) | Caller::Operator(_) | Caller::Node(_) | Caller::Script(_) => false,
    }
}

/// That there is no such login must look like any other failure.
fn rejected_alike(refusal: Refusal) -> Refusal {
    if refusal.rejection() == Some(&Rejection::ProcedureEnded) {
        return Refusal::CredentialsRejected;
    }
    refusal
}

fn prove(
    edge: &Edge,
    state: &State,
    login: &Login,
    given: Option<&Factor>,
    line: &consensus::Line,
    now: UnixMs,
) -> Result<Proof, Refusal> {
    match (login.option.method(), given) {
        (Method::Smartcard, Some(Factor::Card(proof))) => {
            let account = login.subject.account();
            let challenge = Challenge {
                line: line.reference(),
                portal: login.option.portal(),
                option: login.option.id().to_owned(),
                user_id: account.map_or_else(|| factor::row(None).to_string(), ToString::to_string),
                nonce: login.nonce,
                expires_at: login.ends_at,
            };
            // Checked for nobody too, so that it takes as long (S23); a number is an account's.
            let shown = factor::card_proof(edge, state, proof, &challenge, now);
            Ok(Proof::Card(account.and(shown)))
        }
        (Method::Otp, Some(Factor::Code(code))) => {
            Ok(Proof::Code(code_proof(edge, state, login, code, now)?))
        }
        (Method::Smartcard | Method::Otp, Some(Factor::Card(_) | Factor::Code(_)) | None) => {
            Ok(Proof::None)
        }
    }
}

fn code_proof(
    edge: &Edge,
    state: &State,
    login: &Login,
    typed: &str,
    now: UnixMs,
) -> Result<CodeProof, Refusal> {
    let account = login.subject.account().and_then(|id| state.account(id));
    let channel = account
        .and_then(|account| account.otp.as_ref())
        .map(|otp| &otp.channel);
    match (account, channel) {
        (Some(account), Some(Channel::Email)) => {
            let associated = Associated::login_code(&account.id, login.id);
            let mailed = login.code.as_ref().map(|sealed| (sealed, &associated));
            factor::own_code_proof(edge, account, mailed, typed, now)
        }
        (Some(account), Some(Channel::Authenticator { .. })) => {
            factor::own_code_proof(edge, account, None, typed, now)
        }
        (Some(_) | None, None) | (None, Some(_)) => {
            // As much work as for somebody who has a code.
            let decoy = credential::totp::decoy(edge.entropy(), now)
                .map_err(|fault| Refusal::Internal(fault.to_string()))?;
            let _never = Code::parse(typed).is_ok_and(|typed| typed.matches(&decoy));
            Ok(CodeProof::Step(None))
        }
    }
}

fn issued_token(
    state: &State,
    token: &Token,
    issued: &Issued,
    scopes: Vec<String>,
) -> auth::VerifyFactorResponse {
    auth::VerifyFactorResponse {
        access_token: factor::plain(&token.text()),
        expire_time: Some(wire::time(issued.ends_at)),
        idle_timeout: Some(wire::duration(state.policy().token_idle_ms)),
        account: wire::account_name(&issued.participant, issued.class, &issued.account),
        scopes,
        function_status: wire::function_status(issued.functions),
        carry_forward: wire::carry(issued.carry).into(),
        notice: wire::notice_text(issued.carry),
    }
}
