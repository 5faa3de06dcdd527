//! What people do at a front end: log in, set up 2FA, and change what is theirs.

use credential::card::Challenge;
use domain::{CentreName, LineRef, UnixMs};
use proto::account::v1::Portal;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::verify_factor_request::Factor as WireFactor;
use proto::auth::v1::{
    BeginLoginRequest, BeginLoginResponse, CardChallenge, CardProof, LogoutRequest,
    ResendCodeRequest, VerifyFactorRequest, VerifyFactorResponse,
};

use super::action::{Factor, Login, Logout};
use super::file::{Carry, Person};
use super::people::{Held, portal, resource, step_at};
use super::play::{Done, Passed, Player, Told, Trouble};
use super::stage::{Door, call, request, request_as};
use super::words;
use crate::exit::Failure;
use crate::refusal;

/// The address that the front end reports of its people.
pub(super) const ADDRESS: &str = "192.0.2.10";
/// The text that CCMS shows in a test session (R27).
const NOT_AVAILABLE: &str = "Function not available";

impl Player {
    /// The password that the drill calls so.
    pub(super) fn password(person: &Person, name: &str) -> Result<String, Failure> {
        person
            .passwords
            .get(name)
            .cloned()
            .ok_or_else(|| Failure::internal(format!("{} has no password {name}", person.id)))
    }

    /// The next code of the person's app. One that was shown to the service is not shown again:
    /// the person waits for the next.
    pub(super) async fn app_code(&mut self, person: &str, key: &str) -> Result<String, Failure> {
        let next = self.people.next_step(person, key);
        self.clock
            .until(UnixMs(next.saturating_mul(30_000)))
            .await?;
        let step = step_at(self.now().await?);
        self.people.code(person, key, step)
    }

    /// The next mail's code.
    pub(super) async fn mailed(&mut self, person: &Person, kind: &str) -> Result<String, Failure> {
        let address = person
            .email
            .clone()
            .ok_or_else(|| Failure::internal(format!("{} has no e-mail", person.id)))?;
        self.mailbox.code(&address, kind).await
    }

    /// The front-end doors of the centre that people are sent to.
    pub(super) fn front(&self) -> Vec<Door> {
        self.stage.front(&self.centre)
    }

    pub(super) async fn login(&mut self, act: &Login, refused: bool) -> Done {
        let person = self.drill.person(&act.person)?.clone();
        let centre = act.centre.clone().unwrap_or_else(|| self.centre.clone());
        self.mailbox.forget();
        let begun = self.begin_login(act, &person, &centre).await;
        let (begun, centre) = match begun {
            Ok(begun) => (begun, centre),
            // A client whose name service is stale is told where to go (R19).
            Err(status) if act.centre.is_none() => {
                let told = refusal::fact(&status, "centre")
                    .and_then(|name| CentreName::parse(&name).ok())
                    .filter(|told| *told != centre);
                let Some(told) = told else {
                    return Err(status.into());
                };
                self.centre = told.clone();
                (self.begin_login(act, &person, &told).await?, told)
            }
            Err(status) => return Err(status.into()),
        };
        let factor = self.factor(act, &person, &begun, refused).await?;
        let answer = self.verify(&begun, factor, &centre).await?;
        self.logged_in(act, &person, &centre, answer)
    }

    async fn begin_login(
        &self,
        act: &Login,
        person: &Person,
        centre: &CentreName,
    ) -> Result<BeginLoginResponse, tonic::Status> {
        let message = BeginLoginRequest {
            request_id: self.clock.request_id(),
            user_id: person.account.to_string(),
            option: act.option.clone(),
            password: person
                .passwords
                .get(&act.password)
                .cloned()
                .unwrap_or_default(),
            client_address: ADDRESS.to_owned(),
        };
        call(&self.stage.front(centre), |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .begin_login(request(message))
                    .await
            }
        })
        .await
    }

    async fn factor(
        &mut self,
        act: &Login,
        person: &Person,
        begun: &BeginLoginResponse,
        refused: bool,
    ) -> Result<WireFactor, Trouble> {
        Ok(match act.factor {
            Factor::Card => {
                let challenge = begun.card_challenge.as_ref();
                let challenge = challenge
                    .ok_or_else(|| Failure::internal("the login has no challenge for a card"))?;
                WireFactor::Card(self.sign(person, challenge)?)
            }
            Factor::App => {
                let key = act.key.as_deref().unwrap_or("app");
                WireFactor::Code(self.app_code(&person.id, key).await?)
            }
            // No mail comes after a wrong password, so nobody waits for it.
            Factor::Email if refused => WireFactor::Code("000000".to_owned()),
            Factor::Email => WireFactor::Code(self.login_code(person, begun).await?),
        })
    }

    /// The mailed code of a login. One that was lost with a node is asked for again.
    async fn login_code(
        &mut self,
        person: &Person,
        begun: &BeginLoginResponse,
    ) -> Result<String, Trouble> {
        if let Ok(code) = self.mailed(person, "login-code").await {
            return Ok(code);
        }
        let message = ResendCodeRequest {
            request_id: self.clock.request_id(),
            login_id: begun.login_id.clone(),
            client_address: ADDRESS.to_owned(),
        };
        call(&self.front(), |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .resend_code(request(message))
                    .await
            }
        })
        .await?;
        self.anomalies.push(format!(
            "a code for {} was lost and asked for again",
            person.account
        ));
        Ok(self.mailed(person, "login-code").await?)
    }

    /// The card's signature over a challenge.
    pub(super) fn sign(
        &self,
        person: &Person,
        challenge: &CardChallenge,
    ) -> Result<CardProof, Failure> {
        let card = self.people.card(&person.id)?;
        let signature = card
            .sign(&read_challenge(challenge)?)
            .map_err(|error| Failure::internal(format!("the card did not sign: {error}")))?;
        Ok(CardProof {
            certificate_chain_der: card.chain().iter().map(|der| der.to_vec()).collect(),
            signature,
        })
    }

    async fn verify(
        &self,
        begun: &BeginLoginResponse,
        factor: WireFactor,
        centre: &CentreName,
    ) -> Result<VerifyFactorResponse, tonic::Status> {
        let message = VerifyFactorRequest {
            request_id: self.clock.request_id(),
            login_id: begun.login_id.clone(),
            factor: Some(factor),
            client_address: ADDRESS.to_owned(),
        };
        call(&self.stage.front(centre), |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .verify_factor(request(message))
                    .await
            }
        })
        .await
    }

    fn logged_in(
        &mut self,
        act: &Login,
        person: &Person,
        centre: &CentreName,
        answer: VerifyFactorResponse,
    ) -> Done {
        let carry = words::carry(answer.carry_forward);
        let session = match carry {
            Some(Carry::Discarded) => Some(self.drill.second_session.to_string()),
            Some(Carry::Carried) | None if !self.rolled_over => {
                Some(self.drill.first_session.to_string())
            }
            Some(Carry::Carried) | None => None,
        };
        let method = match act.factor {
            Factor::Card => "smartcard",
            Factor::App | Factor::Email => "OTP",
        };
        self.passed.extend(session.map(|session| Passed {
            session,
            account: person.account.to_string(),
            method: method.to_owned(),
        }));
        if self.rolled_over && method == "OTP" {
            for carried in &mut self.carried {
                if carried.account == resource(person) {
                    carried.found_after = true;
                }
            }
        }
        if let Some(token) = &act.token {
            let held = Held {
                text: answer.access_token,
                person: person.id.clone(),
                portal: portal(person.class),
                scopes: answer.scopes.clone(),
                centre: centre.clone(),
                of_branch: carry == Some(Carry::Discarded),
            };
            self.people.tokens.insert(token.clone(), held);
        }
        let shown = answer.function_status.as_str();
        match act.function_not_available {
            Some(true) if shown != NOT_AVAILABLE => Err(Failure::pre_check(format!(
                "\"{NOT_AVAILABLE}\" must show, and what shows is \"{shown}\""
            ))
            .into()),
            Some(false) if !shown.is_empty() => {
                Err(Failure::pre_check(format!("\"{shown}\" shows, and nothing must")).into())
            }
            Some(_) | None => {
                let shown = if shown.is_empty() { "logged in" } else { shown };
                Ok(Told::new(format!("{shown} ({})", answer.scopes.join(", "))).carried(carry))
            }
        }
    }

    pub(super) async fn logout(&mut self, act: &Logout) -> Done {
        let held = self.people.token(&act.token)?;
        let message = LogoutRequest {
            request_id: self.clock.request_id(),
            client_address: ADDRESS.to_owned(),
        };
        call(&self.stage.front(&held.centre), |channel| {
            let (message, token) = (message.clone(), held.text.clone());
            async move {
                AuthServiceClient::new(channel)
                    .logout(request_as(message, &token))
                    .await
            }
        })
        .await?;
        Ok(Told::new("logged out"))
    }
}

/// What the card signs, from what the node sent.
///
/// # Errors
/// If a part of it is missing.
pub fn read_challenge(wire: &CardChallenge) -> Result<Challenge, Failure> {
    let broken = |what: &str| Failure::internal(format!("the card's challenge has no {what}"));
    let line = wire.line.as_ref().ok_or_else(|| broken("line"))?;
    let id = if line.line == "main" {
        domain::LineId::Main
    } else {
        let mut parts = line.line.split('/').skip(1);
        let session = parts.next().and_then(|text| text.parse().ok());
        let genesis = parts.next().and_then(|text| text.parse().ok());
        domain::LineId::Branch {
            session: session.ok_or_else(|| broken("session"))?,
            genesis: genesis.ok_or_else(|| broken("genesis"))?,
        }
    };
    Ok(Challenge {
        line: LineRef {
            cluster: line.cluster.parse().map_err(|_| broken("cluster"))?,
            line: id,
            epoch: line.epoch,
        },
        portal: match wire.portal() {
            Portal::Ccms => domain::portal::Portal::Ccms,
            Portal::Dms => domain::portal::Portal::Dms,
            Portal::Unspecified => return Err(broken("portal")),
        },
        option: wire.option.clone(),
        user_id: wire.user_id.clone(),
        nonce: wire
            .nonce
            .as_slice()
            .try_into()
            .map_err(|_| broken("nonce"))?,
        expires_at: UnixMs(wire.expire_unix_ms),
    })
}
