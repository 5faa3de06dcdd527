//! The policy, as two operators set it.

use domain::approval::Act;
use domain::policy::Policy;
use proto::operator::v1::policy_service_client::PolicyServiceClient;
use proto::operator::v1::{GetPolicyRequest, SetPolicyRequest};
use tidemark::drill::{call, request};
use tonic::Status;

use crate::cluster::Cluster;

impl Cluster {
    /// The policy in force.
    ///
    /// # Panics
    /// If it cannot be read.
    pub async fn policy(&self) -> Policy {
        let answer = call(self.operators(1), |channel| async move {
            PolicyServiceClient::new(channel)
                .get_policy(request(GetPolicyRequest {}))
                .await
        });
        toml::from_str(&answer.await.unwrap().policy_toml).unwrap()
    }

    /// One operator says what the policy is to be; gives how many have.
    ///
    /// # Errors
    /// The refusal.
    pub async fn set_policy(&self, operator: usize, policy: &Policy) -> Result<u32, Status> {
        let act = Act::Policy(Box::new(policy.clone()), None);
        let message = SetPolicyRequest {
            request_id: self.id(),
            policy_toml: toml::to_string(policy).unwrap(),
            approval: Some(self.signed(operator, &act).await),
            ..SetPolicyRequest::default()
        };
        let answer = call(self.operators(operator), |channel| {
            let message = message.clone();
            async move {
                PolicyServiceClient::new(channel)
                    .set_policy(request(message))
                    .await
            }
        });
        Ok(answer.await?.approval_count)
    }

    /// Both operators set the policy.
    ///
    /// # Panics
    /// If one is refused.
    pub async fn has_policy(&self, policy: &Policy) {
        for operator in [1, 2] {
            self.set_policy(operator, policy).await.unwrap();
        }
        assert_eq!(self.policy().await, *policy);
    }
}
