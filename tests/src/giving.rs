//! What gives access, step by step: the step-up that a delegated administrator needs, and what
//! comes of doing without.

use proto::admin::v1::account_service_client::AccountServiceClient;
use proto::admin::v1::change_act::Act;
use proto::admin::v1::change_request_service_client::ChangeRequestServiceClient;
use proto::admin::v1::{
    ApproveChangeRequestRequest, ApproveChangeRequestResponse, IssueActivationCodeRequest,
    IssueActivationCodeResponse,
};
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::verify_step_up_request::Factor;
use proto::auth::v1::{BeginStepUpRequest, StepUpAct};
use tidemark::drill::{call, request_as};
use tonic::Status;

use crate::administration::Admin;
use crate::cast::{APP, Person};
use crate::cluster::Cluster;
use crate::token::{ADDRESS, Token};

impl Cluster {
    /// Proves the card, or the app of who has none, for an act with this token.
    ///
    /// # Errors
    /// The refusal.
    pub async fn step_up(
        &self,
        token: &Token,
        act: StepUpAct,
        resource: &str,
    ) -> Result<(), Status> {
        let message = BeginStepUpRequest {
            request_id: self.id(),
            act: act.into(),
            client_address: ADDRESS.to_owned(),
            resource: resource.to_owned(),
        };
        let begun = call(&self.front(), |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .begin_step_up(request_as(message, &token.text))
                    .await
            }
        })
        .await?;
        let factor = match token.person.card {
            Some(_) => Factor::Card(self.sign(token.person, begun.card_challenge.as_ref())),
            None => Factor::Code(self.app_code(token.person, APP).await),
        };
        self.prove_step_up(token, &begun.step_up_id, factor).await
    }

    /// Somebody issues it without a step-up.
    ///
    /// # Errors
    /// The refusal.
    pub async fn issue_as_it_is(
        &self,
        by: Admin<'_>,
        person: &Person,
    ) -> Result<IssueActivationCodeResponse, Status> {
        let message = IssueActivationCodeRequest {
            request_id: self.id(),
            name: person.resource(),
            client_address: by.address(),
            ..IssueActivationCodeRequest::default()
        };
        call(&by.doors(self), |channel| {
            let message = by.request(message.clone());
            async move {
                AccountServiceClient::new(channel)
                    .issue_activation_code(message)
                    .await
            }
        })
        .await
    }

    /// Somebody approves a change request without a step-up.
    ///
    /// # Errors
    /// The refusal.
    pub async fn check_as_it_is(
        &self,
        by: Admin<'_>,
        name: &str,
    ) -> Result<ApproveChangeRequestResponse, Status> {
        let approval = match by {
            Admin::Token(_) => None,
            Admin::Operator(number) => Some(self.signed_check(number, name).await?),
        };
        let message = ApproveChangeRequestRequest {
            request_id: self.id(),
            name: name.to_owned(),
            client_address: by.address(),
            approval,
            ..ApproveChangeRequestRequest::default()
        };
        call(&by.doors(self), |channel| {
            let message = by.request(message.clone());
            async move {
                ChangeRequestServiceClient::new(channel)
                    .approve_change_request(message)
                    .await
            }
        })
        .await
    }

    /// Two operators give access, one after the other.
    ///
    /// # Panics
    /// If either is refused.
    pub async fn given_by_operators(&self, resource: &str, act: Act) {
        let name = self.make(Admin::Operator(1), resource, act).await.unwrap();
        self.check(Admin::Operator(2), &name).await.unwrap();
    }
}
