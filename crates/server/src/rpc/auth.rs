//! `AuthService`: what people do through a front end. Logins, initiations and changes have files
//! of their own; here are the landing page and a person's own tokens.

use credential::secret::PASSWORD_LENGTH_MAX;
use domain::factor::ChannelKind;
use domain::migration;
use domain::portal::{LANDING_OPTIONS, LandingOption};
use domain::token::{Command, Token, Which};
use domain::{Answer, LineId};
use proto::auth::v1 as auth;
use proto::auth::v1::auth_service_server::AuthService;
use tonic::{Request, Response, Status};

use super::{answered, change, initiation, login};
use crate::edge::{self, Edge};
use crate::reads::Read;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 200;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Auth(pub(super) Edge);

type Answered<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AuthService for Auth {
    async fn list_landing_options(
        &self,
        request: Request<auth::ListLandingOptionsRequest>,
    ) -> Answered<auth::ListLandingOptionsResponse> {
        answered!(self.0, request, landing_options)
    }

    async fn begin_login(
        &self,
        request: Request<auth::BeginLoginRequest>,
    ) -> Answered<auth::BeginLoginResponse> {
        answered!(self.0, request, login::begin)
    }

    async fn verify_factor(
        &self,
        request: Request<auth::VerifyFactorRequest>,
    ) -> Answered<auth::VerifyFactorResponse> {
        answered!(self.0, request, login::verify)
    }

    async fn resend_code(
        &self,
        request: Request<auth::ResendCodeRequest>,
    ) -> Answered<auth::ResendCodeResponse> {
        answered!(self.0, request, login::resend)
    }

    async fn logout(
        &self,
        request: Request<auth::LogoutRequest>,
    ) -> Answered<auth::LogoutResponse> {
        answered!(self.0, request, logout)
    }

    async fn request_activation(
        &self,
        request: Request<auth::RequestActivationRequest>,
    ) -> Answered<auth::RequestActivationResponse> {
        answered!(self.0, request, initiation::request)
    }

    async fn begin_initiation(
        &self,
        request: Request<auth::BeginInitiationRequest>,
    ) -> Answered<auth::BeginInitiationResponse> {
        answered!(self.0, request, initiation::begin)
    }

    async fn confirm_initiation(
        &self,
        request: Request<auth::ConfirmInitiationRequest>,
    ) -> Answered<auth::ConfirmInitiationResponse> {
        answered!(self.0, request, initiation::confirm)
    }

    async fn begin_step_up(
        &self,
        request: Request<auth::BeginStepUpRequest>,
    ) -> Answered<auth::BeginStepUpResponse> {
        answered!(self.0, request, change::begin_step_up)
    }

    async fn verify_step_up(
        &self,
        request: Request<auth::VerifyStepUpRequest>,
    ) -> Answered<auth::VerifyStepUpResponse> {
        answered!(self.0, request, change::verify_step_up)
    }

    async fn change_password(
        &self,
        request: Request<auth::ChangePasswordRequest>,
    ) -> Answered<auth::ChangePasswordResponse> {
        answered!(self.0, request, change::password)
    }

    async fn begin_replace_channel(
        &self,
        request: Request<auth::BeginReplaceChannelRequest>,
    ) -> Answered<auth::BeginReplaceChannelResponse> {
        answered!(self.0, request, change::begin_replacement)
    }

    async fn confirm_replace_channel(
        &self,
        request: Request<auth::ConfirmReplaceChannelRequest>,
    ) -> Answered<auth::ConfirmReplaceChannelResponse> {
        answered!(self.0, request, change::confirm_replacement)
    }

    async fn list_own_tokens(
        &self,
        request: Request<auth::ListOwnTokensRequest>,
    ) -> Answered<auth::ListOwnTokensResponse> {
        answered!(self.0, request, own_tokens)
    }

    async fn end_own_tokens(
        &self,
        request: Request<auth::EndOwnTokensRequest>,
    ) -> Answered<auth::EndOwnTokensResponse> {
        answered!(self.0, request, end_own_tokens)
    }
}

/// What the option is called. Labels are data, ids are stable (R24).
fn label(option: LandingOption) -> auth::Text {
    let (en, zh_hant) = match option {
        LandingOption::SmartcardOnlineAndReports => (
            "Online Functions and Overnight Report Download",
            "網上功能及下載隔夜報表",
        ),
        LandingOption::OtpOnline => ("Online Functions", "網上功能"),
        LandingOption::OtpReports => ("Overnight Report Download", "下載隔夜報表"),
        LandingOption::SmartcardSecurity | LandingOption::OtpSecurity => {
            ("Security Management Functions", "保安管理功能")
        }
    };
    text(en, zh_hant)
}

/// A text in both languages (R12).
pub(super) fn text(en: &str, zh_hant: &str) -> auth::Text {
    auth::Text {
        en: en.to_owned(),
        zh_hant: zh_hant.to_owned(),
    }
}

/// What a landing page offers: facts of the whole service, and of nobody.
async fn landing_options(
    edge: &Edge,
    ask: Ask<auth::ListLandingOptionsRequest>,
) -> Result<auth::ListLandingOptionsResponse, Refusal> {
    let portal = wire::read_portal(ask.body.portal)?;
    let state = edge.serving_line().state();
    let now = edge.now(&state);
    // What is off for everybody is not offered; what is off for somebody is nobody else's business.
    let on = |option: &LandingOption| migration::admit(&state, option.method(), now).is_ok();
    let options = LANDING_OPTIONS
        .into_iter()
        .filter(|option| portal.is_none_or(|portal| option.portal() == portal))
        .filter(on)
        .map(|option| auth::LandingOption {
            option: option.id().to_owned(),
            portal: wire::portal(option.portal()).into(),
            method: wire::method(option.method()).into(),
            scopes: wire::scopes(option.scopes()),
            label: Some(label(option)),
        })
        .collect();
    let links = state.calendar().links_released(now, portal);
    let links = links.map(|link| auth::Link {
        link: link.id.to_string(),
        text: Some(text(
            &link.text,
            link.text_zh_hant.as_deref().unwrap_or(&link.text),
        )),
        url: link.url.to_string(),
    });
    let min = credential::rules::LENGTH_MIN;
    let max = PASSWORD_LENGTH_MAX;
    let support = edge.support();
    Ok(auth::ListLandingOptionsResponse {
        options,
        session: session_window(edge),
        password_rules: Some(auth::PasswordRules {
            length_min: u32::try_from(min).unwrap_or_default(),
            length_max: u32::try_from(max).unwrap_or_default(),
            text: Some(text(
                &format!(
                    "{min} to {max} characters of any kind; not a common password, and nothing of your ids or e-mail address."
                ),
                &format!(
                    "{min} 至 {max} 個任何字元；不可使用常見密碼，亦不可包含你的識別碼或電郵地址。"
                ),
            )),
        }),
        support: Some(auth::SupportContact {
            text: Some(text(&support.english, &support.chinese)),
        }),
        links: links.collect(),
    })
}

/// The session that is open or comes next, as the serving line has it.
fn session_window(edge: &Edge) -> Option<auth::SessionWindow> {
    let line = edge.serving_line();
    let state = line.state();
    let now = edge.now(&state);
    let primary = &state.primary()?.name;
    let fenced = state.header().fence.as_ref().and_then(|id| state.plan(id));
    let open = state
        .open_session(now)
        .ok()
        .or(fenced.filter(|plan| plan.session.holds(now)))
        .map(|plan| plan.session.clone());
    let (session, open) = match open {
        Some(session) => (session, true),
        None => (state.calendar().next_session(now, primary)?, false),
    };
    let carry = if session.centre == *primary {
        LineId::Main.carry()
    } else {
        domain::Carry::DiscardedAtRollover
    };
    let (en, zh_hant) = wire::notice(carry);
    Some(auth::SessionWindow {
        session: session.id.to_string(),
        centre: session.centre.to_string(),
        open_time: Some(wire::time(session.opens)),
        close_time: Some(wire::time(session.closes)),
        open,
        carry_forward: wire::carry(carry).into(),
        notice: Some(text(en, zh_hant)),
    })
}

/// Ends the caller's token (R29).
async fn logout(
    edge: &Edge,
    ask: Ask<auth::LogoutRequest>,
) -> Result<auth::LogoutResponse, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    edge::address(&ask.body.client_address)?;
    let token = ask.token()?;
    let line = edge.line(&ask)?;
    let command = Command::End {
        token,
        which: Which::This,
    };
    edge.propose(&ask, &line, Some(key), domain::Command::Token(command))
        .await?;
    Ok(auth::LogoutResponse {})
}

fn own_token(token: &Token, current: bool) -> auth::OwnToken {
    auth::OwnToken {
        token_id: token.id.to_string(),
        portal: wire::portal(token.option.portal()).into(),
        method: wire::method(token.method()).into(),
        channel: wire::channel(token.channel.map(|kind: ChannelKind| kind)).into(),
        scopes: wire::scopes(token.scopes()),
        create_time: Some(wire::time(token.issued_at)),
        expire_time: Some(wire::time(token.ends_at.min(token.idle_until))),
        current,
    }
}

async fn own_tokens(
    edge: &Edge,
    ask: Ask<auth::ListOwnTokensRequest>,
) -> Result<auth::ListOwnTokensResponse, Refusal> {
    let size = wire::page_size(ask.body.page_size, PAGE_DEFAULT, PAGE_MAX)?;
    let shown = ask.token()?;
    let (_, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let current = super::token::shown(&state, &ask.caller, &shown, now)?;
    let after = match ask.body.page_token.as_str() {
        "" => None,
        text => Some(wire::read_digest(text, "page_token")?),
    };
    let mut tokens: Vec<&Token> = state.tokens().of(&current.account, now).collect();
    tokens.sort_by_key(|token| token.id);
    let mut page: Vec<auth::OwnToken> = tokens
        .into_iter()
        .filter(|token| after.is_none_or(|after| token.id > after))
        .take(size.saturating_add(1))
        .map(|token| own_token(token, token.id == shown))
        .collect();
    let more = page.len() > size;
    page.truncate(size);
    let next = page
        .last()
        .filter(|_| more)
        .map(|last| last.token_id.clone());
    let read = Read::of("own".to_owned(), page.len()).about(Some(current.account.clone()));
    edge.note_read(&ask, &state, read)?;
    Ok(auth::ListOwnTokensResponse {
        tokens: page,
        next_page_token: next.unwrap_or_default(),
    })
}

async fn end_own_tokens(
    edge: &Edge,
    ask: Ask<auth::EndOwnTokensRequest>,
) -> Result<auth::EndOwnTokensResponse, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    edge::address(&ask.body.client_address)?;
    let token = ask.token()?;
    let which = match ask.body.token_id.as_str() {
        "" => Which::All,
        text => {
            let id = wire::read_digest(text, "token_id");
            Which::One(id.map_err(|_| {
                Refusal::malformed(Field::Other("token_id"), "one that ListOwnTokens lists")
            })?)
        }
    };
    let line = edge.line(&ask)?;
    let command = Command::End { token, which };
    let settled = edge
        .propose(&ask, &line, Some(key), domain::Command::Token(command))
        .await?;
    let Answer::TokensEnded { count } = settled.answer else {
        return Err(edge::unexpected(&settled.answer));
    };
    Ok(auth::EndOwnTokensResponse { ended_count: count })
}
