//! What is told once: the key of an authenticator app, and that no message prints its secrets.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use proto::account::v1::Channel;
use proto::auth::v1::begin_initiation_request::Proof;
use proto::auth::v1::verify_factor_request::Factor;
use proto::auth::v1::{
    BeginInitiationResponse, BeginLoginRequest, VerifyFactorRequest, VerifyFactorResponse,
};
use tests::cast::{CARD, LEE, WONG};
use tests::{Cluster, Person};

async fn begins(cluster: &Cluster, person: &Person, channel: Channel) -> BeginInitiationResponse {
    cluster.ask_activation(person).await.unwrap();
    let code = cluster.mailed(person, "activation-code").await;
    let proof = Proof::CardPassword(CARD.to_owned());
    let begun = cluster.begin_initiation(person, &code, proof, channel);
    begun.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn initiation_shows_the_key_as_a_qr_code_that_is_printed_nowhere() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let begun = begins(&cluster, &WONG, Channel::Authenticator).await;
    let app = begun.authenticator.as_ref().unwrap();
    let drawn = credential::qr::svg(&app.otpauth_uri).unwrap();
    assert_eq!(app.qr_code_svg, *drawn, "the drawing is of this key");
    assert!(app.otpauth_uri.contains(&app.secret_base32));
    assert!(app.qr_code_svg.len() <= credential::qr::SVG_BYTES_MAX);
    for printed in [
        format!("{begun:?}"),
        format!("{begun:#?}"),
        format!("{app:?}"),
    ] {
        for secret in [&*app.secret_base32, "otpauth", "<svg"] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
    // Who sets up e-mail gets no key.
    let begun = begins(&cluster, &LEE, Channel::Email).await;
    assert!(begun.authenticator.is_none());
    cluster.end().await;
}

#[test]
fn a_message_with_a_secret_is_printed_by_its_name_r52() {
    let request = BeginLoginRequest {
        user_id: "C00001U1".to_owned(),
        password: "ferry pier seven".to_owned(),
        ..BeginLoginRequest::default()
    };
    assert_eq!(format!("{request:?}"), "BeginLoginRequest { .. }");
    let request = VerifyFactorRequest {
        factor: Some(Factor::Code("755224".to_owned())),
        ..VerifyFactorRequest::default()
    };
    assert_eq!(format!("{request:?}"), "VerifyFactorRequest { .. }");
    assert_eq!(format!("{:?}", request.factor), "Some(Factor { .. })");
    let answer = VerifyFactorResponse {
        access_token: "a token".to_owned(),
        ..VerifyFactorResponse::default()
    };
    assert_eq!(format!("{answer:?}"), "VerifyFactorResponse { .. }");
}
