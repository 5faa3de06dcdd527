//! What delegated administrators and operators do to other people's accounts.

use proto::account::v1::Account;
use proto::admin::v1::account_service_client::AccountServiceClient;
use proto::admin::v1::readiness_service_client::ReadinessServiceClient;
use proto::admin::v1::{
    EndAccountTokensRequest, GetAccountRequest, IssueActivationCodeRequest,
    IssueActivationCodeResponse, ListUnreadyAccountsRequest, SuspendAccountRequest,
    SuspendAccountResponse,
};
use proto::operator::v1::emergency_service_client::EmergencyServiceClient;
use proto::operator::v1::{SuspendOnMainLineRequest, SuspendOnMainLineResponse};
use tidemark::drill::{call, request, request_as};
use tonic::Status;

use crate::cast::Person;
use crate::cluster::Cluster;
use crate::token::{ADDRESS, Token};

impl Cluster {
    /// A delegated administrator suspends an account.
    ///
    /// # Errors
    /// The refusal.
    pub async fn suspend(
        &self,
        by: &Token,
        person: &Person,
    ) -> Result<SuspendAccountResponse, Status> {
        let message = SuspendAccountRequest {
            request_id: self.id(),
            name: person.resource(),
            reason: "has left the firm".to_owned(),
            client_address: ADDRESS.to_owned(),
        };
        call(&self.front(), |channel| {
            let message = message.clone();
            async move {
                AccountServiceClient::new(channel)
                    .suspend_account(request_as(message, &by.text))
                    .await
            }
        })
        .await
    }

    /// An operator suspends an account on the line that serves.
    ///
    /// # Errors
    /// The refusal.
    pub async fn suspend_serving(&self, person: &Person) -> Result<SuspendAccountResponse, Status> {
        let message = SuspendAccountRequest {
            request_id: self.id(),
            name: person.resource(),
            reason: "the card was stolen".to_owned(),
            client_address: String::new(),
        };
        let doors = self.operators_at(self.centre().as_str());
        call(&doors, |channel| {
            let message = message.clone();
            async move {
                AccountServiceClient::new(channel)
                    .suspend_account(request(message))
                    .await
            }
        })
        .await
    }

    /// An operator suspends an account on the main line.
    ///
    /// # Errors
    /// The refusal.
    pub async fn suspend_main(&self, person: &Person) -> Result<SuspendOnMainLineResponse, Status> {
        let message = SuspendOnMainLineRequest {
            request_id: self.id(),
            name: person.resource(),
            reason: "the card was stolen".to_owned(),
        };
        call(self.operators(1), |channel| {
            let message = message.clone();
            async move {
                EmergencyServiceClient::new(channel)
                    .suspend_on_main_line(request(message))
                    .await
            }
        })
        .await
    }

    /// A delegated administrator issues the second half of an activation code.
    ///
    /// # Errors
    /// The refusal.
    pub async fn issue_half(
        &self,
        by: &Token,
        person: &Person,
    ) -> Result<IssueActivationCodeResponse, Status> {
        let message = IssueActivationCodeRequest {
            request_id: self.id(),
            name: person.resource(),
            client_address: ADDRESS.to_owned(),
        };
        call(&self.front(), |channel| {
            let message = message.clone();
            async move {
                AccountServiceClient::new(channel)
                    .issue_activation_code(request_as(message, &by.text))
                    .await
            }
        })
        .await
    }

    /// A delegated administrator ends all tokens of an account; how many there were.
    ///
    /// # Errors
    /// The refusal.
    pub async fn end_tokens_of(&self, by: &Token, person: &Person) -> Result<u32, Status> {
        let message = EndAccountTokensRequest {
            request_id: self.id(),
            name: person.resource(),
            reason: "a forgotten screen".to_owned(),
            client_address: ADDRESS.to_owned(),
        };
        let answer = call(&self.front(), |channel| {
            let message = message.clone();
            async move {
                AccountServiceClient::new(channel)
                    .end_account_tokens(request_as(message, &by.text))
                    .await
            }
        })
        .await?;
        Ok(answer.ended_count)
    }

    /// An account, as an operator of the serving centre sees it.
    ///
    /// # Errors
    /// The refusal.
    pub async fn account(&self, person: &Person) -> Result<Account, Status> {
        let message = GetAccountRequest {
            name: person.resource(),
        };
        let doors = self.operators_at(self.centre().as_str());
        let answer = call(&doors, |channel| {
            let message = message.clone();
            async move {
                AccountServiceClient::new(channel)
                    .get_account(request(message))
                    .await
            }
        })
        .await?;
        Ok(answer.account.unwrap())
    }

    /// The user ids in the readiness report.
    pub async fn unready(&self) -> Vec<String> {
        let message = ListUnreadyAccountsRequest {
            parent: "participants/-".to_owned(),
            page_size: 500,
            page_token: String::new(),
        };
        let doors = self.operators_at(self.centre().as_str());
        let answer = call(&doors, |channel| {
            let message = message.clone();
            async move {
                ReadinessServiceClient::new(channel)
                    .list_unready_accounts(request(message))
                    .await
            }
        })
        .await
        .unwrap();
        let accounts = answer.accounts.into_iter();
        accounts.map(|row| row.account.unwrap().user_id).collect()
    }
}
