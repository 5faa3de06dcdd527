//! The back end: it checks the tokens that people show it, and follows those that end.

use proto::account::v1::Portal;
use proto::token::v1::token_service_client::TokenServiceClient;
use proto::token::v1::watch_revocations_response::Event;
use proto::token::v1::{IntrospectTokenRequest, Introspection, WatchRevocationsRequest};
use tests::cast::TAM;
use tonic::transport::Channel;

use super::{FrontEnd, request};

/// Whether a token is good for what the back end is about to do.
async fn introspect(service: &TokenServiceClient<Channel>, token: &str) -> Introspection {
    let message = IntrospectTokenRequest {
        access_token: token.to_owned(),
        portal: Portal::Ccms.into(),
        scope: "online-functions".to_owned(),
        // The person did something: idleness begins anew.
        activity: true,
    };
    let mut service = service.clone();
    let answer = service.introspect_token(request(message, None)).await;
    answer.unwrap().into_inner().introspection.unwrap()
}

/// Checks a token, follows revocations, and sees the token end when the person logs out.
pub(super) async fn checks_and_follows(web: &FrontEnd<'_>) {
    let doors = tidemark::drill::at(web.cluster.back(), &web.cluster.centre());
    let service = TokenServiceClient::new(doors.first().unwrap().channel.clone());
    // From now on; a stream has no deadline. After a break: the last position seen, at any node.
    let now = WatchRevocationsRequest::default();
    let mut ended = service.clone().watch_revocations(now).await;
    let ended = ended.as_mut().unwrap().get_mut();

    let token = web.log_in_by_card(&TAM).await;
    let found = introspect(&service, &token).await;
    println!("back end: active {}, {}", found.active, found.account);
    assert!(found.active);
    web.log_out(&token).await;
    let told = ended.message().await.unwrap().unwrap();
    match told.event.unwrap() {
        Event::TokenEnded(one) => {
            println!("back end: ended {}…", one.token_digest.get(..16).unwrap())
        }
        Event::ParticipantEnded(firm) => println!("back end: ask anew of {}", firm.participant),
        Event::AllEnded(_) => println!("back end: forget what was cached"),
    }
    assert!(!introspect(&service, &token).await.active);
}
