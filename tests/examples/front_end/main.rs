//! A front end's flows, each as the calls that it takes (docs/front-end.md): a file a kind of flow,
//! a function a flow. It starts a cluster of its own, and stands in for the people: their cards,
//! apps and mailboxes.
//!
//! `cargo run --release -p tests --example front_end`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "an example shows the calls, and stops at the first that fails"
)]

mod admin;
mod back_end;
mod login;
mod set_up;
mod tokens;

use std::future::Future;
use std::time::Duration;

use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::verify_factor_request::Factor;
use tests::Cluster;
use tests::cast::{APP, CHAN, CHEUNG, LEE, MAK, NG, OTP, OTP_S2, SIT, WONG, YIP};
use tidemark::refusal;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a call that found the service changing is made again.
const TRIES_MAX: usize = 20;

/// The person's own address, as the web server saw it: throttling is by it.
const PERSON_AT: &str = "198.51.100.20";

/// What a front end needs: a connection with its own certificate, and a source of UUIDv7.
struct FrontEnd<'a> {
    channel: Channel,
    cluster: &'a Cluster,
}

impl FrontEnd<'_> {
    fn auth(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.channel.clone())
    }

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
}

/// A call with its deadline, and with the token of whoever is logged in.
fn request<T>(message: T, token: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    if let Some(token) = token {
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
    }
    request
}

#[tokio::main]
async fn main() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let web = FrontEnd {
        channel: cluster.dial_front("web-1", 1),
        cluster: &cluster,
    };
    web.landing_page().await;
    Box::pin(people(&web)).await;
    Box::pin(administrators(&web)).await;
    Box::pin(back_end::checks_and_follows(&web)).await;
    cluster.end().await;
}

/// What people do for themselves.
async fn people(web: &FrontEnd<'_>) {
    let cluster = web.cluster;
    let token = web.log_in_by_card(&CHAN).await;
    web.log_out(&token).await;

    web.initiate_by_app(&WONG).await;
    let by_app = || {
        web.log_in(WONG.id, WONG.otp_option(), OTP, async |_| {
            Factor::Code(cluster.app_code(&WONG, APP).await)
        })
    };
    let _forgotten_at_another_desk = by_app().await.unwrap();
    let token = by_app().await.unwrap();
    println!(
        "login by app: {:?}, \"{}\"",
        token.scopes, token.function_status
    );
    web.own_tokens(&token.access_token).await;
    web.change_password(&token.access_token).await;
    web.another_channel(&WONG, &token.access_token).await;

    web.initiate_by_mail(&LEE).await;
    web.log_in_by_mail(&LEE).await;

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
}

/// What delegated administrators do for their firm's people, and what those do then.
async fn administrators(web: &FrontEnd<'_>) {
    let cheung = web.log_in_by_card(&CHEUNG).await;
    let sit = web.log_in_by_card(&SIT).await;
    let asked = web.ask_for_a_reset(&cheung, &WONG).await;
    web.approve(&SIT, &sit, &asked).await;
    web.set_up_after_a_reset(&WONG, OTP_S2).await;
    let asked = web.ask_for_a_reset(&cheung, &LEE).await;
    web.reject(&sit, &asked).await;
    web.suspend(&cheung, &NG).await;
    web.review(&sit).await;
    web.read_the_audit(&cheung).await;

    let mak = web.log_in_by_card(&MAK).await;
    let half = web.issue_half_a_code(&MAK, &mak, &YIP).await;
    web.initiate_by_half(&YIP, half).await;
}
