//! What operators do to a participant as a whole.

use domain::approval::Act as Signed;
use domain::participant::{Act, Wanted};
use proto::admin::v1::participant_service_client::ParticipantServiceClient;
use proto::admin::v1::{
    CreateParticipantRequest, DeleteParticipantRequest, GetParticipantRequest, Participant,
    ResumeParticipantRequest, SuspendParticipantRequest, SuspendParticipantResponse,
};
use proto::operator::v1::emergency_service_client::EmergencyServiceClient;
use proto::operator::v1::{
    SuspendParticipantOnMainLineRequest, SuspendParticipantOnMainLineResponse,
};
use tidemark::drill::{call, request};
use tonic::Status;

use crate::cluster::Cluster;

const REASON: &str = "by order of the board";

impl Cluster {
    /// An operator enters a participant.
    ///
    /// # Errors
    /// The refusal.
    pub async fn enter_firm(&self, id: &str) -> Result<(), Status> {
        let message = CreateParticipantRequest {
            request_id: self.id(),
            participant: Some(Participant {
                name: format!("participants/{id}"),
                title: format!("Firm {id}"),
                ..Participant::default()
            }),
            ..CreateParticipantRequest::default()
        };
        let entered = call(self.operators(1), |channel| {
            let message = message.clone();
            async move {
                ParticipantServiceClient::new(channel)
                    .create_participant(request(message))
                    .await
            }
        });
        entered.await.map(drop)
    }

    /// The participant as operators see it.
    ///
    /// # Errors
    /// The refusal.
    pub async fn firm(&self, id: &str) -> Result<Participant, Status> {
        let message = GetParticipantRequest {
            name: format!("participants/{id}"),
        };
        let answer = call(self.operators(1), |channel| {
            let message = message.clone();
            async move {
                ParticipantServiceClient::new(channel)
                    .get_participant(request(message))
                    .await
            }
        });
        Ok(answer.await?.participant.unwrap())
    }

    /// An operator suspends a participant on the line that serves, or would.
    ///
    /// # Errors
    /// The refusal.
    pub async fn suspend_firm(
        &self,
        id: &str,
        validate_only: bool,
    ) -> Result<SuspendParticipantResponse, Status> {
        let message = SuspendParticipantRequest {
            request_id: self.id(),
            name: format!("participants/{id}"),
            reason: REASON.to_owned(),
            validate_only,
        };
        let doors = self.operators_at(self.centre().as_str());
        call(&doors, |channel| {
            let message = message.clone();
            async move {
                ParticipantServiceClient::new(channel)
                    .suspend_participant(request(message))
                    .await
            }
        })
        .await
    }

    /// An operator suspends a participant on the main line.
    ///
    /// # Errors
    /// The refusal.
    pub async fn suspend_firm_main(
        &self,
        id: &str,
    ) -> Result<SuspendParticipantOnMainLineResponse, Status> {
        let message = SuspendParticipantOnMainLineRequest {
            request_id: self.id(),
            name: format!("participants/{id}"),
            reason: REASON.to_owned(),
            validate_only: false,
        };
        call(self.operators(1), |channel| {
            let message = message.clone();
            async move {
                EmergencyServiceClient::new(channel)
                    .suspend_participant_on_main_line(request(message))
                    .await
            }
        })
        .await
    }

    /// Operator 1 or 2 says that the participant, as `etag` shows it, may log in again: how many
    /// have said so, and how many it takes.
    ///
    /// # Errors
    /// The refusal.
    pub async fn resume_firm(
        &self,
        operator: usize,
        id: &str,
        etag: &str,
    ) -> Result<(u32, u32), Status> {
        let act = Act {
            participant: id.parse().unwrap(),
            wanted: Wanted::Resume,
            seen: etag.parse().ok(),
        };
        let approval = self.signed(operator, &Signed::Participant(act)).await;
        let message = ResumeParticipantRequest {
            request_id: self.id(),
            name: format!("participants/{id}"),
            etag: etag.to_owned(),
            reason: REASON.to_owned(),
            approval: Some(approval),
            validate_only: false,
        };
        let answer = call(self.operators(operator), |channel| {
            let message = message.clone();
            async move {
                ParticipantServiceClient::new(channel)
                    .resume_participant(request(message))
                    .await
            }
        });
        let said = answer.await?;
        Ok((said.approval_count, said.needed_count))
    }

    /// Operator 1 or 2 says that the participant goes for good.
    ///
    /// # Errors
    /// The refusal.
    pub async fn delete_firm(&self, operator: usize, id: &str) -> Result<(u32, u32), Status> {
        let act = Act {
            participant: id.parse().unwrap(),
            wanted: Wanted::Delete,
            seen: None,
        };
        let approval = self.signed(operator, &Signed::Participant(act)).await;
        let message = DeleteParticipantRequest {
            request_id: self.id(),
            name: format!("participants/{id}"),
            etag: String::new(),
            reason: REASON.to_owned(),
            approval: Some(approval),
            validate_only: false,
        };
        let answer = call(self.operators(operator), |channel| {
            let message = message.clone();
            async move {
                ParticipantServiceClient::new(channel)
                    .delete_participant(request(message))
                    .await
            }
        });
        let said = answer.await?;
        Ok((said.approval_count, said.needed_count))
    }
}
