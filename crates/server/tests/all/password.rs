//! Verifiers of an import: which are taken, and what becomes of them at the first login.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::world::{Shape, World, at, request_at, until, verifier, world};
use domain::account::Account;
use domain::id::AccountId;
use domain::portal::LandingOption;
use proto::account::v1::AccountClass;
use proto::admin::v1::AccountRow;
use proto::auth::v1::BeginLoginRequest;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::operator::v1::AdvanceClockRequest;
use proto::operator::v1::clock_service_client::ClockServiceClient;
use tonic::Status;
use tonic_types::StatusExt;

const EAST: usize = 0;
/// "password", at a small part of our cost: from the reference implementation's own tests.
const CHEAP: &str =
    "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

fn now(world: &World) -> String {
    request_at(world.nodes[EAST].lines().time())
}

async fn import(world: &World, verifiers: &[&str]) -> Result<(), Status> {
    let row = |(line, kept): (u32, &&str)| AccountRow {
        line,
        user_id: format!("U{line}"),
        participant_id: "C1".to_owned(),
        account_class: AccountClass::User.into(),
        title: "somebody".to_owned(),
        card_number: format!("CARD-{line}"),
        card_verifier: (*kept).to_owned(),
        ..AccountRow::default()
    };
    let rows = (1..).zip(verifiers).map(row).collect();
    world.import(rows).await.map(drop)
}

/// Session 1 is open.
async fn session_1(world: &World) {
    let to = at(18, 1);
    let time = prost_types::Timestamp {
        seconds: i64::try_from(to.0 / 1_000).unwrap(),
        nanos: 0,
    };
    ClockServiceClient::new(world.operator(EAST, &world.kay).await)
        .advance_clock(AdvanceClockRequest {
            request_id: now(world),
            clock_time: Some(time),
        })
        .await
        .unwrap();
    until("session 1 is open", async || {
        let state = world.nodes[EAST].lines().main().state();
        state.header().current.as_ref().map(|_| ())
    })
    .await;
}

async fn begin(world: &World, user_id: &str, password: &str) {
    let front = world.nodes[EAST].addresses().front;
    let channel = world.channel(front, &world.front).await.unwrap();
    AuthServiceClient::new(channel)
        .begin_login(BeginLoginRequest {
            request_id: now(world),
            user_id: user_id.to_owned(),
            option: LandingOption::SmartcardOnlineAndReports.id().to_owned(),
            password: password.to_owned(),
            client_address: "192.0.2.1".to_owned(),
        })
        .await
        .unwrap();
}

fn account(world: &World, user_id: &str) -> Account {
    let state = world.nodes[EAST].lines().main().state();
    let id = AccountId::parse(user_id).unwrap();
    state.account(&id).cloned().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_kept_at_less_than_our_cost_is_kept_anew_once_it_was_right_s21() {
    let world = world(Shape::TwoCentres).await;
    let ours = verifier("a password of our own");
    import(&world, &[CHEAP, &ours]).await.unwrap();
    session_1(&world).await;
    let [imported, ours] = ["U1", "U2"].map(|id| account(&world, id));
    begin(&world, "U1", "not the password").await;
    let failed = account(&world, "U1").attempts;
    begin(&world, "U2", "a password of our own").await;
    begin(&world, "U1", "password").await;
    let after = until("the verifier is another", async || {
        let now = account(&world, "U1");
        let kept = now.card.as_ref()?.password.verifier.clone();
        (kept != imported.card.as_ref()?.password.verifier).then_some(now)
    })
    .await;
    let [before, password] = [imported, after].map(|account| account.card.unwrap().password);
    assert_eq!(password.version, before.version);
    assert_eq!(password.set_at, before.set_at);
    // It is still the password, and is not hashed again.
    begin(&world, "U1", "password").await;
    let attempts = account(&world, "U1").attempts;
    assert_eq!(attempts, failed, "the wrong one alone has failed");
    assert_eq!(account(&world, "U1").card.unwrap().password, password);
    assert_eq!(account(&world, "U2").card, ours.card);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_that_costs_more_than_ours_or_is_of_another_kind_is_refused_s23() {
    let world = world(Shape::TwoCentres).await;
    let tail = "c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    let costlier = format!("$argon2id$v=19$m=65536,t=3,p=4${tail}");
    let other = format!("$argon2i$v=19$m=256,t=2,p=1${tail}");
    let refused = import(&world, &[CHEAP, &costlier, &other])
        .await
        .unwrap_err();
    let problems = refused.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<&str> = problems.iter().map(|of| of.field.as_str()).collect();
    assert_eq!(fields, ["line 2 card_verifier", "line 3 card_verifier"]);
    assert!(problems[0].description.contains("out of bounds"));
    assert!(problems[1].description.contains("argon2id"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_rows_are_refused_before_any_is_looked_at() {
    let world = world(Shape::TwoCentres).await;
    let wrong = vec!["$argon2"; 600];
    let refused = import(&world, &wrong).await.unwrap_err();
    let problems = refused.get_details_bad_request().unwrap().field_violations;
    assert_eq!(problems.len(), 1);
    assert!(problems[0].description.contains("at most 500"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_clear_is_refused_and_not_told_s25() {
    let world = world(Shape::TwoCentres).await;
    let clear = "harbour-lantern-18";
    let refused = import(&world, &[CHEAP, clear]).await.unwrap_err();
    assert!(!format!("{refused:?}").contains(clear), "{refused:?}");
    let problems = refused.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<&str> = problems.iter().map(|of| of.field.as_str()).collect();
    assert_eq!(fields, ["line 2 card_verifier"]);
    assert!(
        world.nodes[EAST]
            .lines()
            .main()
            .state()
            .accounts()
            .next()
            .is_none()
    );
    world.stop().await;
}
