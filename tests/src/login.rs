//! Logging in, by card and by one-time password.

use domain::UnixMs;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::verify_factor_request::Factor;
use proto::auth::v1::{
    BeginLoginRequest, BeginLoginResponse, CardChallenge, CardProof, VerifyFactorRequest,
    VerifyFactorResponse,
};
use tidemark::drill::{Door, call, read_challenge, request};
use tonic::Status;

use crate::cast::{APP, CARD, OTP, Person};
use crate::cluster::{Cluster, settled};
use crate::token::{ADDRESS, Token};

/// What a login is completed with.
#[derive(Debug, Clone)]
pub enum By {
    /// The person's card.
    Card,
    /// The next code of an app.
    App(&'static str),
    /// The code that comes by mail.
    Mail,
    /// This code.
    Code(String),
}

impl Cluster {
    /// Begins a login at one of these doors.
    ///
    /// # Errors
    /// The refusal.
    pub async fn begin(
        &self,
        doors: &[Door],
        person: &Person,
        option: &str,
        password: &str,
    ) -> Result<BeginLoginResponse, Status> {
        let message = BeginLoginRequest {
            request_id: self.id(),
            user_id: person.id.to_owned(),
            option: option.to_owned(),
            password: password.to_owned(),
            client_address: ADDRESS.to_owned(),
        };
        call(doors, |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .begin_login(request(message))
                    .await
            }
        })
        .await
    }

    /// Ends a login at one of these doors.
    ///
    /// # Errors
    /// The refusal.
    pub async fn verify(
        &self,
        doors: &[Door],
        login_id: &str,
        factor: Factor,
    ) -> Result<VerifyFactorResponse, Status> {
        let message = self.verification(login_id, factor);
        call(doors, |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .verify_factor(request(message))
                    .await
            }
        })
        .await
    }

    /// The message that ends a login.
    #[must_use]
    pub fn verification(&self, login_id: &str, factor: Factor) -> VerifyFactorRequest {
        VerifyFactorRequest {
            request_id: self.id(),
            login_id: login_id.to_owned(),
            factor: Some(factor),
            client_address: ADDRESS.to_owned(),
        }
    }

    /// Logs in at one of these doors, once.
    ///
    /// # Errors
    /// The refusal.
    pub async fn log_in_at(
        &self,
        doors: &[Door],
        person: &'static Person,
        option: &str,
        password: &str,
        by: By,
    ) -> Result<Token, Status> {
        self.mailbox.lock().await.forget();
        let begun = self.begin(doors, person, option, password).await?;
        let factor = match by {
            By::Card => Factor::Card(self.sign(person, begun.card_challenge.as_ref())),
            By::App(app) => Factor::Code(self.app_code(person, app).await),
            By::Mail => Factor::Code(self.mailed(person, "login-code").await),
            By::Code(code) => Factor::Code(code),
        };
        let answer = self.verify(doors, &begun.login_id, factor).await?;
        Ok(Token {
            person,
            text: answer.access_token.clone(),
            answer,
        })
    }

    /// Logs in where people are sent, once.
    ///
    /// # Errors
    /// The refusal.
    pub async fn log_in(
        &self,
        person: &'static Person,
        option: &str,
        password: &str,
        by: By,
    ) -> Result<Token, Status> {
        let doors = self.front();
        self.log_in_at(&doors, person, option, password, by).await
    }

    /// Logs in by card with Friday's password; while nodes are changing places, again.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn with_card(&self, person: &'static Person) -> Token {
        settled(|| self.log_in(person, person.card_option(), CARD, By::Card))
            .await
            .unwrap()
    }

    /// Logs in by app with the first one-time password's password.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn with_app(&self, person: &'static Person) -> Token {
        settled(|| self.log_in(person, person.otp_option(), OTP, By::App(APP)))
            .await
            .unwrap()
    }

    /// The card's signature over a challenge.
    ///
    /// # Panics
    /// If there is none, or the person has no card.
    #[must_use]
    pub fn sign(&self, person: &Person, challenge: Option<&CardChallenge>) -> CardProof {
        let challenge = read_challenge(challenge.unwrap()).unwrap();
        let pockets = self.pockets.lock().unwrap();
        let card = pockets.card(person);
        CardProof {
            certificate_chain_der: card.chain().iter().map(|der| der.to_vec()).collect(),
            signature: card.sign(&challenge).unwrap(),
        }
    }

    /// The next code of the person's app; the clock moves until there is one that was not shown.
    pub async fn app_code(&self, person: &Person, app: &'static str) -> String {
        let next = self.pockets.lock().unwrap().next_step(person, app);
        self.until(UnixMs(next * 30_000)).await;
        let step = domain::totp::step(self.now().await);
        self.pockets.lock().unwrap().code(person, app, step)
    }

    /// What came by mail so far is old.
    pub async fn mailbox_is_read(&self) {
        self.mailbox.lock().await.forget();
    }

    /// The code of the next mail of this kind to the person.
    pub async fn mailed(&self, person: &Person, kind: &str) -> String {
        let mut mailbox = self.mailbox.lock().await;
        mailbox.code(person.email.unwrap(), kind).await.unwrap()
    }
}
