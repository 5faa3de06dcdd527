//! The policy, as operators set it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::world::drill::{EAST, now, reason, sign};
use crate::world::{Shape, world};
use credential::authority::Issued;
use domain::approval::Act;
use proto::operator::v1::policy_service_client::PolicyServiceClient;
use proto::operator::v1::{GetPolicyRequest, SetPolicyRequest};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_policies_with_one_etag_the_second_is_refused_and_a_repeat_is_not() {
    let world = world(Shape::TwoCentres).await;
    let mut client = PolicyServiceClient::new(world.operator(EAST, &world.kay).await);
    let seen = client.get_policy(GetPolicyRequest {}).await.unwrap();
    let seen = seen.into_inner();
    let text = |contact: &str| -> String {
        seen.policy_toml
            .lines()
            .map(|line| match line.split_once(" = ") {
                Some(("support_contact", _)) => format!("support_contact = \"{contact}\"\n"),
                Some(_) | None => format!("{line}\n"),
            })
            .collect()
    };
    let set = |who: &Issued, contact: &str| {
        let policy_toml = text(contact);
        let policy = toml::from_str(&policy_toml).unwrap();
        let act = Act::Policy(Box::new(policy), Some(seen.etag.parse().unwrap()));
        SetPolicyRequest {
            request_id: now(&world),
            policy_toml,
            etag: seen.etag.clone(),
            dry_run: false,
            approval: Some(sign(&world, who, &act)),
        }
    };
    let first = set(&world.kay, "the first");
    let answer = client.set_policy(first.clone()).await.unwrap().into_inner();
    assert_eq!((answer.approval_count, answer.needed_count), (1, 2));
    let in_force = client.get_policy(GetPolicyRequest {}).await.unwrap();
    assert_eq!(in_force.into_inner().etag, seen.etag, "one operator alone");
    let mut other = PolicyServiceClient::new(world.operator(EAST, &world.lee).await);
    let unsigned = SetPolicyRequest {
        approval: None,
        ..set(&world.lee, "the first")
    };
    let refused = other.set_policy(unsigned).await.unwrap_err();
    assert_eq!(reason(&refused), "APPROVAL_UNSIGNED");
    other
        .set_policy(set(&world.lee, "the first"))
        .await
        .unwrap();
    let second = set(&world.kay, "the second");
    let refused = client.set_policy(second).await.unwrap_err();
    assert_eq!(reason(&refused), "ETAG_MISMATCH");
    // The caller that did not hear of its success hears of it now.
    let again = SetPolicyRequest {
        approval: set(&world.kay, "the first").approval,
        ..first
    };
    client.set_policy(again).await.unwrap();
    let in_force = client.get_policy(GetPolicyRequest {}).await.unwrap();
    assert!(in_force.into_inner().policy_toml.contains("the first"));
    world.stop().await;
}
