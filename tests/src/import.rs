//! Bringing firms and people in, as two operators do it.

use credential::SystemEntropy;
use credential::password::{Memory, hash};
use credential::phc::Params;
use credential::secret::Password;
use domain::account::import::Terms;
use proto::admin::v1::import_service_client::ImportServiceClient;
use proto::admin::v1::{
    AccountRow, ApproveImportRequest, ImportAccountsRequest, ImportAccountsResponse, ParticipantRow,
};
use tidemark::drill::{call, request};
use tonic::Status;

use crate::cluster::Cluster;

/// The verifier of a card's password, as the card's issuer hands it out.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn verifier(password: &str, params: Params) -> String {
    let password = Password::parse(password).unwrap();
    let mut memory = Memory::new(params).unwrap();
    let verifier = hash(&password, params, &SystemEntropy::default(), &mut memory).unwrap();
    String::from_utf8(verifier.as_bytes().to_vec()).unwrap()
}

/// What operators approve of an import in one part.
#[must_use]
pub fn terms(participants: &[ParticipantRow], accounts: &[AccountRow]) -> Terms {
    server::import::terms(participants.len(), [(participants, accounts)])
}

impl Cluster {
    /// One operator approves an import; gives how many have.
    ///
    /// # Errors
    /// The refusal.
    pub async fn approve_import(&self, operator: usize, terms: &Terms) -> Result<u32, Status> {
        let message = ApproveImportRequest {
            request_id: self.id(),
            participant_count: terms.participants,
            account_count: terms.accounts,
            part_digests: terms.parts.iter().map(|part| part.0.to_vec()).collect(),
            approval: Some(self.signed(operator, &terms.act()).await),
        };
        let answer = call(self.operators(operator), |channel| {
            let message = message.clone();
            async move {
                ImportServiceClient::new(channel)
                    .approve_import(request(message))
                    .await
            }
        });
        Ok(answer.await?.approval_count)
    }

    /// An operator imports rows in one part, as far as they were approved.
    ///
    /// # Errors
    /// The refusal.
    pub async fn import_as_it_is(
        &self,
        operator: usize,
        participants: Vec<ParticipantRow>,
        accounts: Vec<AccountRow>,
    ) -> Result<ImportAccountsResponse, Status> {
        let message = ImportAccountsRequest {
            request_id: self.id(),
            import_digest: terms(&participants, &accounts).id().to_string(),
            participants,
            accounts,
            ..ImportAccountsRequest::default()
        };
        call(self.operators(operator), |channel| {
            let message = message.clone();
            async move {
                ImportServiceClient::new(channel)
                    .import_accounts(request(message))
                    .await
            }
        })
        .await
    }

    /// Both operators approve rows, and one imports them.
    ///
    /// # Panics
    /// If one is refused.
    pub async fn imports(&self, participants: Vec<ParticipantRow>, accounts: Vec<AccountRow>) {
        let terms = terms(&participants, &accounts);
        for operator in [1, 2] {
            self.approve_import(operator, &terms).await.unwrap();
        }
        self.import_as_it_is(1, participants, accounts)
            .await
            .unwrap();
    }
}
