//! Bringing firms and people in, as two operators do it.

use credential::SystemEntropy;
use credential::password::{Memory, hash};
use credential::phc::Params;
use credential::secret::Password;
use domain::approval::Act;
use proto::admin::v1::import_service_client::ImportServiceClient;
use proto::admin::v1::{
    AccountRow, ApproveImportRequest, ImportAccountsRequest, ImportAccountsResponse, ParticipantRow,
};
use proto::approval::v1::Approval;
use tonic::Status;

use super::{CLUSTER, Issued, World, request_at};

/// The verifier of a card's password, at our own cost.
pub fn verifier(password: &str) -> String {
    let password = Password::parse(password).unwrap();
    let params = Params::STANDARD;
    let mut memory = Memory::new(params).unwrap();
    let made = hash(&password, params, &SystemEntropy::default(), &mut memory).unwrap();
    String::from_utf8(made.as_bytes().to_vec()).unwrap()
}

impl World {
    /// An operator's approval of an act, of what the first node shows.
    pub fn signed(&self, by: &Issued, act: &Act) -> Approval {
        let node = self.nodes[0].lines();
        let state = node.main().state();
        let until = node.time().max(state.header().clock).plus(20 * 60_000);
        let place = (CLUSTER, state.header().epoch);
        let statement = act.statement(place, state.header().applied.index, until);
        let index = statement.index;
        let signed = credential::approval::sign(&by.key_pem, &by.certificate_pem, statement);
        let signed = signed.unwrap();
        Approval {
            certificate: signed.certificate,
            signature: signed.signature,
            index,
            expire_time: Some(prost_types::Timestamp {
                seconds: i64::try_from(until.0 / 1_000).unwrap(),
                nanos: i32::try_from(until.0 % 1_000 * 1_000_000).unwrap(),
            }),
        }
    }

    /// Both operators bring in one firm, C1, and these people of it.
    pub async fn import(
        &self,
        accounts: Vec<AccountRow>,
    ) -> Result<ImportAccountsResponse, Status> {
        let participants = vec![ParticipantRow {
            line: 1,
            participant_id: "C1".to_owned(),
            title: "a firm".to_owned(),
        }];
        let parts = [(participants.as_slice(), accounts.as_slice())];
        let terms = server::import::terms(participants.len(), parts);
        let id = || request_at(self.nodes[0].lines().time());
        for by in [&self.kay, &self.lee] {
            let message = ApproveImportRequest {
                request_id: id(),
                participant_count: terms.participants,
                account_count: terms.accounts,
                part_digests: terms.parts.iter().map(|part| part.0.to_vec()).collect(),
                approval: Some(self.signed(by, &terms.act())),
            };
            ImportServiceClient::new(self.operator(0, by).await)
                .approve_import(message)
                .await?;
        }
        let message = ImportAccountsRequest {
            request_id: id(),
            import_digest: terms.id().to_string(),
            participants,
            accounts,
            ..ImportAccountsRequest::default()
        };
        ImportServiceClient::new(self.operator(0, &self.kay).await)
            .import_accounts(message)
            .await
            .map(tonic::Response::into_inner)
    }
}
