//! The policy, as operators set it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::world::drill::{EAST, now, reason};
use crate::world::{Shape, world};
use proto::operator::v1::policy_service_client::PolicyServiceClient;
use proto::operator::v1::{GetPolicyRequest, SetPolicyRequest};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_policies_with_one_etag_the_second_is_refused_and_a_repeat_is_not() {
    let world = world(Shape::TwoCentres).await;
    let mut client = PolicyServiceClient::new(world.operator(EAST, &world.kay).await);
    let seen = client.get_policy(GetPolicyRequest {}).await.unwrap();
    let seen = seen.into_inner();
    let set = |contact: &str| SetPolicyRequest {
        request_id: now(&world),
        policy_toml: seen
            .policy_toml
            .lines()
            .map(|line| match line.split_once(" = ") {
                Some(("support_contact", _)) => format!("support_contact = \"{contact}\"\n"),
                Some(_) | None => format!("{line}\n"),
            })
            .collect(),
        etag: seen.etag.clone(),
        dry_run: false,
    };
    let first = set("the first");
    client.set_policy(first.clone()).await.unwrap();
    let refused = client.set_policy(set("the second")).await.unwrap_err();
    assert_eq!(reason(&refused), "ETAG_MISMATCH");
    // The caller that did not hear of its success hears of it now.
    client.set_policy(first).await.unwrap();
    let in_force = client.get_policy(GetPolicyRequest {}).await.unwrap();
    assert!(in_force.into_inner().policy_toml.contains("the first"));
    world.stop().await;
}
