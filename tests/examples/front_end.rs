//! A front end's flows, each as the calls that it takes (docs/front-end.md). It starts a cluster of
//! its own, and stands in for the people: their cards, apps and mailboxes.
//!
//! `cargo run --release -p tests --example front_end`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "an example shows the calls, and stops at the first that fails"
)]

use std::future::Future;
use std::time::Duration;

use proto::account::v1::{ChangeReason, Channel as OtpChannel, Portal};
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::begin_initiation_request::Proof;
use proto::auth::v1::verify_factor_request::Factor;
use proto::auth::v1::{
    BeginInitiationRequest, BeginLoginRequest, ChangePasswordRequest, ConfirmInitiationRequest,
    ListLandingOptionsRequest, LogoutRequest, RequestActivationRequest, VerifyFactorRequest,
    VerifyFactorResponse,
};
use tests::Cluster;
use tests::cast::{APP, CARD, CHAN, OTP, OTP_S2, WONG};
use tidemark::refusal;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a call that found the service changing is made again.
const TRIES_MAX: usize = 20;

/// What a front end needs: a connection with its own certificate, and a source of UUIDv7.
struct FrontEnd<'a> {
    service: AuthServiceClient<Channel>,
    cluster: &'a Cluster,
}

/// The person's own address, as the web server saw it: throttling is by it.
const PERSON_AT: &str = "198.51.100.20";

impl FrontEnd<'_> {
    /// A new request id for a new intention; the same one only to repeat the same call.
    fn request_id(&self) -> String {
        self.cluster.id()
    }

    /// The one rule of retrying: UNAVAILABLE, after the wait that it names, with the same message.
    /// Nothing else is repeated by itself: a code would be spent.
    async fn call<T, Fut>(&self, make: impl Fn() -> Fut) -> Result<T, Status>
    where
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            match make().await {
                Err(status) if status.code() == Code::Unavailable && tries < TRIES_MAX => {
                    let wait = refusal::retry_after(&status);
                    tokio::time::sleep(wait.unwrap_or(CALL_TIMEOUT)).await;
                }
                answer => return answer.map(Response::into_inner),
            }
        }
    }

    fn request<T>(message: T, token: Option<&str>) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(CALL_TIMEOUT);
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", bearer);
        }
        request
    }

    /// What the landing page shows: the ways in, the session, the rules for passwords.
    async fn landing_page(&self) {
        let message = ListLandingOptionsRequest::default();
        let page = self.call(|| {
            let mut service = self.service.clone();
            async move {
                let request = Self::request(message, None);
                service.list_landing_options(request).await
            }
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
    async fn log_in(
        &self,
        user_id: &str,
        option: &str,
        password: &str,
        prove: impl AsyncFnOnce(&proto::auth::v1::BeginLoginResponse) -> Factor,
    ) -> Result<VerifyFactorResponse, Status> {
        let message = BeginLoginRequest {
            request_id: self.request_id(),
            user_id: user_id.to_owned(),
            option: option.to_owned(),
            password: password.to_owned(),
            client_address: PERSON_AT.to_owned(),
        };
        let begun = self.call(|| {
            let (mut service, message) = (self.service.clone(), message.clone());
            async move { service.begin_login(Self::request(message, None)).await }
        });
        let begun = begun.await?;
        let message = VerifyFactorRequest {
            request_id: self.request_id(),
            factor: Some(prove(&begun).await),
            login_id: begun.login_id,
            client_address: PERSON_AT.to_owned(),
        };
        // Shown once, never by itself again.
        let request = Self::request(message, None);
        let answer = self.service.clone().verify_factor(request).await?;
        Ok(answer.into_inner())
    }

    /// Setting up password and app for the first time.
    async fn initiate(&self) {
        let message = RequestActivationRequest {
            request_id: self.request_id(),
            user_id: WONG.id.to_owned(),
            portal: Portal::Ccms.into(),
            client_address: PERSON_AT.to_owned(),
        };
        let request = Self::request(message, None);
        let told = self.service.clone().request_activation(request).await;
        println!(
            "initiation: {}",
            told.unwrap().into_inner().message.unwrap().en
        );

        let message = BeginInitiationRequest {
            request_id: self.request_id(),
            user_id: WONG.id.to_owned(),
            portal: Portal::Ccms.into(),
            activation_code: self.cluster.mailed(&WONG, "activation-code").await,
            proof: Some(Proof::CardPassword(CARD.to_owned())),
            channel: OtpChannel::Authenticator.into(),
            client_address: PERSON_AT.to_owned(),
        };
        let request = Self::request(message, None);
        let begun = self.service.clone().begin_initiation(request).await;
        let begun = begun.unwrap().into_inner();
        // Show `notice` first: at the secondary, what is set up now is forgotten. The QR code is
        // an SVG image to put into the page as it is; it is told this once, and cached nowhere.
        println!("  notice: {}", begun.notice);
        let enrolment = begun.authenticator.as_ref();
        let image = enrolment.map_or("", |app| app.qr_code_svg.as_str());
        println!("  QR code: an image of {} bytes", image.len());
        let code = self.cluster.channel_code(&WONG, APP, enrolment).await;

        let message = ConfirmInitiationRequest {
            request_id: self.request_id(),
            initiation_id: begun.initiation_id,
            code,
            new_password: OTP.to_owned(),
            client_address: PERSON_AT.to_owned(),
        };
        let request = Self::request(message, None);
        let done = self.service.clone().confirm_initiation(request).await;
        println!("  done: {}", done.unwrap().into_inner().notice);
    }

    /// Changing the password of the method that the token was obtained with.
    async fn change_password(&self, token: &str) {
        let message = ChangePasswordRequest {
            request_id: self.request_id(),
            current_password: OTP.to_owned(),
            new_password: OTP_S2.to_owned(),
            reason: ChangeReason::Routine.into(),
            client_address: PERSON_AT.to_owned(),
        };
        let done = self.call(|| {
            let (mut service, message) = (self.service.clone(), message.clone());
            let request = Self::request(message, Some(token));
            async move { service.change_password(request).await }
        });
        println!("password changed: {}", done.await.unwrap().notice);
    }

    /// Logging out: the token is dead at every node within a second.
    async fn log_out(&self, token: &str) {
        let message = LogoutRequest {
            request_id: self.request_id(),
            client_address: PERSON_AT.to_owned(),
        };
        let request = Self::request(message, Some(token));
        self.service.clone().logout(request).await.unwrap();
        println!("logged out");
    }
}

#[tokio::main]
async fn main() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let web = FrontEnd {
        service: AuthServiceClient::new(cluster.dial_front("web-1", 1)),
        cluster: &cluster,
    };
    web.landing_page().await;

    let by_card = web.log_in(CHAN.id, CHAN.card_option(), CARD, async |begun| {
        Factor::Card(cluster.sign(&CHAN, begun.card_challenge.as_ref()))
    });
    let token = by_card.await.unwrap();
    println!(
        "card login: {:?}, \"{}\"",
        token.scopes, token.function_status
    );
    web.log_out(&token.access_token).await;

    web.initiate().await;
    let by_app = web.log_in(WONG.id, WONG.otp_option(), OTP, async |_| {
        Factor::Code(cluster.app_code(&WONG, APP).await)
    });
    let token = by_app.await.unwrap();
    println!("login by app: {:?}", token.scopes);
    web.change_password(&token.access_token).await;

    // A wrong password and an unknown user are told apart by nobody.
    for (who, password) in [(WONG.id, OTP), ("NOBODY", OTP)] {
        let refused = web.log_in(who, WONG.otp_option(), password, async |_| {
            Factor::Code("12345678".to_owned())
        });
        let status = refused.await.unwrap_err();
        println!(
            "refused: {} ({}), reference {}",
            refusal::reason(&status).unwrap(),
            status.message(),
            refusal::fact(&status, "reference").unwrap().len()
        );
    }
    cluster.end().await;
}
