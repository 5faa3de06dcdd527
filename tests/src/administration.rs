//! What delegated administrators and operators do to other people's accounts.

use domain::approval::Act as Signed;
use prost_types::FieldMask;
use proto::account::v1::{Account, Method};
use proto::admin::v1::account_service_client::AccountServiceClient;
use proto::admin::v1::change_act::Act;
use proto::admin::v1::change_request_service_client::ChangeRequestServiceClient;
use proto::admin::v1::readiness_service_client::ReadinessServiceClient;
use proto::admin::v1::{
    AccountToken, DisableMethodRequest, DisableMethodResponse, EndAccountTokensRequest,
    GetAccountRequest, IssueActivationCodeResponse, ListAccountTokensRequest,
    ListUnreadyAccountsRequest, SuspendAccountRequest, SuspendAccountResponse,
};
use proto::admin::v1::{
    ApproveChangeRequestResponse, ChangeAct, ChangeRequest, CreateChangeRequestRequest,
    GetChangeRequestRequest, ListChangeRequestsRequest, RejectChangeRequestRequest,
    RejectChangeRequestResponse, RevokeCardRequest, RevokeCardResponse, UpdateAccountRequest,
    UpdateAccountResponse, WithdrawChangeRequestRequest, WithdrawChangeRequestResponse,
};
use proto::approval::v1::Approval;
use proto::auth::v1::StepUpAct;
use proto::operator::v1::emergency_service_client::EmergencyServiceClient;
use proto::operator::v1::{SuspendOnMainLineRequest, SuspendOnMainLineResponse};
use tidemark::drill::{Door, at, call, request, request_as};
use tonic::{Request, Status};

use crate::cast::Person;
use crate::cluster::Cluster;
use crate::token::{ADDRESS, Token};

/// Who looks after accounts.
#[derive(Debug, Clone, Copy)]
pub enum Admin<'a> {
    /// A delegated administrator, logged in.
    Token(&'a Token),
    /// Operator 1 or 2.
    Operator(usize),
}

impl Admin<'_> {
    /// Where they ask.
    #[must_use]
    pub fn doors(self, cluster: &Cluster) -> Vec<Door> {
        match self {
            Self::Token(_) => cluster.front(),
            Self::Operator(number) => at(cluster.operators(number), &cluster.centre()),
        }
    }

    pub(crate) fn address(self) -> String {
        match self {
            Self::Token(_) => ADDRESS.to_owned(),
            Self::Operator(_) => String::new(),
        }
    }

    /// What they ask, with the token that they show.
    pub fn request<T>(self, message: T) -> Request<T> {
        match self {
            Self::Token(token) => request_as(message, &token.text),
            Self::Operator(_) => request(message),
        }
    }
}

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
            ..SuspendAccountRequest::default()
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
            ..SuspendAccountRequest::default()
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
            ..SuspendOnMainLineRequest::default()
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

    /// A delegated administrator issues the second half of an activation code, after a step-up.
    ///
    /// # Errors
    /// The refusal.
    pub async fn issue_half(
        &self,
        by: &Token,
        person: &Person,
    ) -> Result<IssueActivationCodeResponse, Status> {
        let act = StepUpAct::IssueActivationCode;
        self.step_up(by, act, &person.resource()).await?;
        self.issue_as_it_is(Admin::Token(by), person).await
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
            ..EndAccountTokensRequest::default()
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

    /// Somebody makes a change request; its name.
    ///
    /// # Errors
    /// The refusal.
    pub async fn make(&self, by: Admin<'_>, resource: &str, act: Act) -> Result<String, Status> {
        let message = CreateChangeRequestRequest {
            request_id: self.id(),
            account: resource.to_owned(),
            act: Some(ChangeAct { act: Some(act) }),
            reason: "asked for by phone".to_owned(),
            etag: String::new(),
            client_address: by.address(),
            ..CreateChangeRequestRequest::default()
        };
        let doors = by.doors(self);
        let answer = call(&doors, |channel| {
            let message = by.request(message.clone());
            async move {
                ChangeRequestServiceClient::new(channel)
                    .create_change_request(message)
                    .await
            }
        });
        Ok(answer.await?.name)
    }

    /// Somebody approves a change request: a delegated administrator after a step-up.
    ///
    /// # Errors
    /// The refusal.
    pub async fn check(
        &self,
        by: Admin<'_>,
        name: &str,
    ) -> Result<ApproveChangeRequestResponse, Status> {
        if let Admin::Token(token) = by {
            let act = StepUpAct::ApproveChangeRequest;
            self.step_up(token, act, name).await?;
        }
        self.check_as_it_is(by, name).await
    }

    /// What an operator signs to approve a change request.
    ///
    /// # Errors
    /// The refusal to show it.
    pub async fn signed_check(&self, operator: usize, name: &str) -> Result<Approval, Status> {
        let message = GetChangeRequestRequest {
            name: name.to_owned(),
        };
        let answer = call(&Admin::Operator(operator).doors(self), |channel| {
            let message = message.clone();
            async move {
                ChangeRequestServiceClient::new(channel)
                    .get_change_request(request(message))
                    .await
            }
        })
        .await?;
        let content = answer.change_request.unwrap().content_digest;
        let id = name.rsplit('/').next().unwrap().parse().unwrap();
        let act = Signed::ChangeRequest(id, content.parse().unwrap());
        Ok(self.signed(operator, &act).await)
    }

    /// Two people give access, one after the other.
    ///
    /// # Panics
    /// If either is refused.
    pub async fn given(&self, by: [&Token; 2], resource: &str, act: Act) {
        let [maker, checker] = by.map(Admin::Token);
        let name = self.make(maker, resource, act).await.unwrap();
        self.check(checker, &name).await.unwrap();
    }

    /// Somebody refuses a change request.
    ///
    /// # Errors
    /// The refusal.
    pub async fn reject(
        &self,
        by: Admin<'_>,
        name: &str,
    ) -> Result<RejectChangeRequestResponse, Status> {
        let message = RejectChangeRequestRequest {
            request_id: self.id(),
            name: name.to_owned(),
            reason: "nobody knows of it".to_owned(),
            client_address: by.address(),
            ..RejectChangeRequestRequest::default()
        };
        call(&by.doors(self), |channel| {
            let message = by.request(message.clone());
            async move {
                ChangeRequestServiceClient::new(channel)
                    .reject_change_request(message)
                    .await
            }
        })
        .await
    }

    /// Somebody takes a change request back.
    ///
    /// # Errors
    /// The refusal.
    pub async fn withdraw(
        &self,
        by: Admin<'_>,
        name: &str,
    ) -> Result<WithdrawChangeRequestResponse, Status> {
        let message = WithdrawChangeRequestRequest {
            request_id: self.id(),
            name: name.to_owned(),
            client_address: by.address(),
            ..WithdrawChangeRequestRequest::default()
        };
        call(&by.doors(self), |channel| {
            let message = by.request(message.clone());
            async move {
                ChangeRequestServiceClient::new(channel)
                    .withdraw_change_request(message)
                    .await
            }
        })
        .await
    }

    /// The change requests of a firm that somebody sees.
    ///
    /// # Errors
    /// The refusal.
    pub async fn change_requests(
        &self,
        by: Admin<'_>,
        participant: &str,
    ) -> Result<Vec<ChangeRequest>, Status> {
        let message = ListChangeRequestsRequest {
            parent: format!("participants/{participant}"),
            page_size: 500,
            ..ListChangeRequestsRequest::default()
        };
        let doors = by.doors(self);
        let answer = call(&doors, |channel| {
            let message = by.request(message.clone());
            async move {
                ChangeRequestServiceClient::new(channel)
                    .list_change_requests(message)
                    .await
            }
        });
        Ok(answer.await?.change_requests)
    }

    /// A delegated administrator takes a card away.
    ///
    /// # Errors
    /// The refusal.
    pub async fn revoke_card(
        &self,
        by: &Token,
        person: &Person,
    ) -> Result<RevokeCardResponse, Status> {
        let message = RevokeCardRequest {
            request_id: self.id(),
            name: person.resource(),
            reason: "the card was lost".to_owned(),
            client_address: ADDRESS.to_owned(),
            ..RevokeCardRequest::default()
        };
        call(&self.front(), |channel| {
            let message = request_as(message.clone(), &by.text);
            async move {
                AccountServiceClient::new(channel)
                    .revoke_card(message)
                    .await
            }
        })
        .await
    }

    /// Somebody switches a method of an account off, or says what would come of it.
    ///
    /// # Errors
    /// The refusal.
    pub async fn disable_method(
        &self,
        by: Admin<'_>,
        resource: &str,
        method: Method,
        validate_only: bool,
    ) -> Result<DisableMethodResponse, Status> {
        let message = DisableMethodRequest {
            request_id: self.id(),
            name: resource.to_owned(),
            method: method.into(),
            effective_time: None,
            reason: "cards returned".to_owned(),
            client_address: by.address(),
            validate_only,
        };
        call(&by.doors(self), |channel| {
            let message = by.request(message.clone());
            async move {
                AccountServiceClient::new(channel)
                    .disable_method(message)
                    .await
            }
        })
        .await
    }

    /// Somebody's live tokens.
    ///
    /// # Errors
    /// The refusal.
    pub async fn tokens_of(
        &self,
        by: Admin<'_>,
        resource: &str,
    ) -> Result<Vec<AccountToken>, Status> {
        let message = ListAccountTokensRequest {
            name: resource.to_owned(),
        };
        let doors = by.doors(self);
        let answer = call(&doors, |channel| {
            let message = by.request(message.clone());
            async move {
                AccountServiceClient::new(channel)
                    .list_account_tokens(message)
                    .await
            }
        });
        Ok(answer.await?.tokens)
    }

    /// Somebody ends one token of an account; how many there were.
    ///
    /// # Errors
    /// The refusal.
    pub async fn end_one(
        &self,
        by: Admin<'_>,
        resource: &str,
        token_id: &str,
    ) -> Result<u32, Status> {
        let message = EndAccountTokensRequest {
            request_id: self.id(),
            name: resource.to_owned(),
            reason: "a forgotten screen".to_owned(),
            client_address: by.address(),
            token_id: token_id.to_owned(),
            validate_only: false,
        };
        let doors = by.doors(self);
        let answer = call(&doors, |channel| {
            let message = by.request(message.clone());
            async move {
                AccountServiceClient::new(channel)
                    .end_account_tokens(message)
                    .await
            }
        });
        Ok(answer.await?.ended_count)
    }

    /// A delegated administrator gives an account another title.
    ///
    /// # Errors
    /// The refusal.
    pub async fn rename(
        &self,
        by: &Token,
        person: &Person,
        title: &str,
        etag: &str,
    ) -> Result<UpdateAccountResponse, Status> {
        let message = UpdateAccountRequest {
            request_id: self.id(),
            account: Some(Account {
                name: person.resource(),
                title: title.to_owned(),
                etag: etag.to_owned(),
                ..Account::default()
            }),
            update_mask: Some(FieldMask {
                paths: vec!["title".to_owned()],
            }),
            client_address: ADDRESS.to_owned(),
            ..UpdateAccountRequest::default()
        };
        call(&self.front(), |channel| {
            let message = request_as(message.clone(), &by.text);
            async move {
                AccountServiceClient::new(channel)
                    .update_account(message)
                    .await
            }
        })
        .await
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
