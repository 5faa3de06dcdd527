//! What a card login costs is the same for everybody (S23): for a user id that nobody has, the
//! chain and the signature are checked too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::fmt;
use std::sync::{Arc, Mutex};

use crate::world::{Shape, at, request_at, until, world};
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::verify_factor_request::Factor;
use proto::auth::v1::{BeginLoginRequest, CardProof, VerifyFactorRequest};
use proto::operator::v1::AdvanceClockRequest;
use proto::operator::v1::clock_service_client::ClockServiceClient;
use tonic_types::StatusExt;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What the edge writes to its log about factors.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "server::factor"
    }
    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn the_card_of_a_user_id_that_nobody_has_is_checked_like_any_s23() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let world = world(Shape::TwoCentres).await;
    let now = || request_at(world.nodes[0].lines().time());
    let opens = at(18, 1);
    let seconds = i64::try_from(opens.0 / 1_000).unwrap();
    ClockServiceClient::new(world.operator(0, &world.kay).await)
        .advance_clock(AdvanceClockRequest {
            request_id: now(),
            clock_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        })
        .await
        .unwrap();
    let address = world.nodes[0].addresses().front;
    let channel = world.channel(address, &world.front).await.unwrap();
    let mut client = AuthServiceClient::new(channel);
    let begun = until("the session opens", async || {
        let message = BeginLoginRequest {
            request_id: now(),
            user_id: "C00001U9".to_owned(),
            option: "ccms-smartcard-online-and-reports".to_owned(),
            password: "low tide at noon".to_owned(),
            client_address: "192.0.2.1".to_owned(),
        };
        client.begin_login(message).await.ok()
    })
    .await
    .into_inner();

    let card = world.card("K11");
    let challenge = begun.card_challenge.unwrap();
    let signed = credential::card::Challenge {
        line: world.nodes[0].lines().main().reference(),
        portal: domain::portal::Portal::Ccms,
        option: challenge.option,
        user_id: challenge.user_id,
        nonce: challenge.nonce.try_into().unwrap(),
        expires_at: domain::UnixMs(challenge.expire_unix_ms),
    };
    let proof = CardProof {
        certificate_chain_der: card.chain().iter().map(|der| der.to_vec()).collect(),
        signature: card.sign(&signed).unwrap(),
    };
    let refused = client
        .verify_factor(VerifyFactorRequest {
            request_id: now(),
            login_id: begun.login_id,
            factor: Some(Factor::Card(proof)),
            client_address: "192.0.2.1".to_owned(),
        })
        .await
        .unwrap_err();
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.reason, "CREDENTIALS_REJECTED");
    let lines = log.0.lock().unwrap().join("\n");
    assert!(lines.contains("a card proved nothing"), "{lines:?}");
    // The last of all that is checked.
    assert!(lines.contains("the signature does not fit"), "{lines:?}");
    world.stop().await;
}
