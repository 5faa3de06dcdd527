//! Tokens, and what back ends say of them.

use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::{LogoutRequest, VerifyFactorResponse};
use proto::token::v1::token_service_client::TokenServiceClient;
use proto::token::v1::{IntrospectTokenRequest, Introspection};
use tidemark::drill::{call, request, request_as};
use tidemark::refusal;
use tonic::Status;

use crate::cast::Person;
use crate::cluster::{Cluster, until};

/// The address that the front end reports of its people.
pub const ADDRESS: &str = "192.0.2.10";

/// A token and whose it is.
#[derive(Debug, Clone)]
pub struct Token {
    /// Who holds it.
    pub person: &'static Person,
    /// The token.
    pub text: String,
    /// What the login answered.
    pub answer: VerifyFactorResponse,
}

impl Token {
    /// What a back end asks of this token.
    #[must_use]
    pub fn question(&self, scope: &str, activity: bool) -> IntrospectTokenRequest {
        IntrospectTokenRequest {
            access_token: self.text.clone(),
            portal: self.person.portal().into(),
            scope: scope.to_owned(),
            activity,
        }
    }

    /// A scope that the token was given.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.answer.scopes[0]
    }
}

impl Cluster {
    /// What the serving centre's nodes say of a token.
    pub async fn introspect(&self, token: &Token, scope: &str) -> Introspection {
        let doors = tidemark::drill::at(self.back(), &self.centre());
        let message = token.question(scope, false);
        let answer = call(&doors, |channel| {
            let message = message.clone();
            async move {
                TokenServiceClient::new(channel)
                    .introspect_token(request(message))
                    .await
            }
        })
        .await;
        answer.unwrap().introspection.unwrap()
    }

    /// Whether the token is good for a scope.
    pub async fn good(&self, token: &Token, scope: &str) -> bool {
        self.introspect(token, scope).await.active
    }

    /// Returns once every running node says that the token is not good, or does not serve.
    ///
    /// # Panics
    /// If one accepts it for longer than the deadline.
    pub async fn dead(&self, token: &Token) {
        let running: Vec<u64> = self.running().collect();
        for door in self.back() {
            if !running.contains(&door.node) {
                continue;
            }
            let what = format!("the token is dead at node {}", door.node);
            until(&what, async || {
                let answer = TokenServiceClient::new(door.channel.clone())
                    .introspect_token(request(token.question(token.scope(), false)))
                    .await;
                let dead = match answer {
                    Ok(answer) => !answer.into_inner().introspection.unwrap().active,
                    Err(status) => {
                        let reason = refusal::reason(&status).unwrap_or_default();
                        ["CENTRE_NOT_SERVING", "SESSION_CLOSED", "BRANCH_OPEN"]
                            .contains(&reason.as_str())
                    }
                };
                dead.then_some(())
            })
            .await;
        }
    }

    /// Logs out.
    ///
    /// # Errors
    /// The refusal.
    pub async fn log_out(&self, token: &Token) -> Result<(), Status> {
        let message = LogoutRequest {
            request_id: self.id(),
            client_address: ADDRESS.to_owned(),
        };
        call(&self.front(), |channel| {
            let message = message.clone();
            async move {
                AuthServiceClient::new(channel)
                    .logout(request_as(message, &token.text))
                    .await
            }
        })
        .await?;
        Ok(())
    }
}
