//! The landing page, logins and logout.

use proto::auth::v1::verify_factor_request::Factor;
use proto::auth::v1::{
    BeginLoginRequest, BeginLoginResponse, ListLandingOptionsRequest, LogoutRequest,
    ResendCodeRequest, VerifyFactorRequest, VerifyFactorResponse,
};
use tests::Person;
use tests::cast::{CARD, OTP};
use tonic::Status;

use super::{FrontEnd, PERSON_AT, request};

impl FrontEnd<'_> {
    /// What the landing page shows: the ways in, the session, the rules for passwords.
    pub(super) async fn landing_page(&self) {
        let page = self.call(|| {
            let mut service = self.auth();
            let message = ListLandingOptionsRequest::default();
            async move { service.list_landing_options(request(message, None)).await }
        });
        let page = page.await.unwrap();
        println!("landing page: {} ways in", page.options.len());
        let session = page.session.unwrap();
        println!(
            "  {} at {}, open: {}",
            session.session, session.centre, session.open
        );
    }

    /// A login: the password first, then the second factor. The first call is answered alike
    /// for everybody; every refusal comes from the second.
    pub(super) async fn log_in(
        &self,
        user_id: &str,
        option: &str,
        password: &str,
        prove: impl AsyncFnOnce(&BeginLoginResponse) -> Factor,
    ) -> Result<VerifyFactorResponse, Status> {
        let message = BeginLoginRequest {
            request_id: self.request_id(),
            user_id: user_id.to_owned(),
            option: option.to_owned(),
            password: password.to_owned(),
            client_address: PERSON_AT.to_owned(),
        };
        let begun = self.call(|| {
            let (mut service, message) = (self.auth(), message.clone());
            async move { service.begin_login(request(message, None)).await }
        });
        let begun = begun.await?;
        let message = VerifyFactorRequest {
            request_id: self.request_id(),
            factor: Some(prove(&begun).await),
            login_id: begun.login_id,
            client_address: PERSON_AT.to_owned(),
        };
        // Shown once, never by itself again.
        let answer = self.auth().verify_factor(request(message, None)).await?;
        Ok(answer.into_inner())
    }

    /// By smartcard: the card signs the challenge.
    pub(super) async fn log_in_by_card(&self, person: &Person) -> String {
        let token = self.log_in(person.id, person.card_option(), CARD, async |begun| {
            Factor::Card(self.cluster.sign(person, begun.card_challenge.as_ref()))
        });
        let token = token.await.unwrap();
        println!(
            "card login of {}: {:?}, \"{}\"",
            person.id, token.scopes, token.function_status
        );
        token.access_token
    }

    /// By a code that is mailed; the first one does not come, and another is asked for.
    pub(super) async fn log_in_by_mail(&self, person: &Person) {
        self.cluster.mailbox_is_read().await;
        let token = self.log_in(person.id, person.otp_option(), OTP, async |begun| {
            let _lost = self.cluster.mailed(person, "login-code").await;
            self.resend(&begun.login_id).await;
            Factor::Code(self.cluster.mailed(person, "login-code").await)
        });
        let token = token.await.unwrap();
        println!("login by mailed code: {:?}", token.scopes);
    }

    /// Another code for the login that is open; failures stay counted.
    async fn resend(&self, login_id: &str) {
        self.cluster.mailbox_is_read().await;
        let message = ResendCodeRequest {
            request_id: self.request_id(),
            login_id: login_id.to_owned(),
            client_address: PERSON_AT.to_owned(),
        };
        let sent = self.call(|| {
            let (mut service, message) = (self.auth(), message.clone());
            async move { service.resend_code(request(message, None)).await }
        });
        sent.await.unwrap();
        println!("another code was sent");
    }

    /// Logging out: the token is dead at every node within a second.
    pub(super) async fn log_out(&self, token: &str) {
        let message = LogoutRequest {
            request_id: self.request_id(),
            client_address: PERSON_AT.to_owned(),
        };
        let request = request(message, Some(token));
        self.auth().logout(request).await.unwrap();
        println!("logged out");
    }
}
