//! What operators do about the migration: go-live, methods, enrolment, the revocation list.

use credential::authority::Authority;
use credential::card::Challenge;
use domain::approval::Act;
use domain::migration::{Change, Subject, Switch};
use proto::account::v1::{Method, MethodState};
use proto::admin::v1::participant_service_client::ParticipantServiceClient;
use proto::admin::v1::readiness_service_client::ReadinessServiceClient;
use proto::admin::v1::{
    ApproveGoLiveRequest, EnrolParticipantRequest, EnrolParticipantResponse, GetMigrationRequest,
    GetMigrationResponse, GetReadinessReportRequest, ParticipantReadiness, PostponeGoLiveRequest,
    ScheduleGoLiveRequest, SendRemindersRequest, SendRemindersResponse, SetLoginMethodsRequest,
    WithdrawEnrolmentRequest, WithdrawGoLiveRequest,
};
use proto::approval::v1::Approval;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::{ListLandingOptionsRequest, ListLandingOptionsResponse, Text};
use proto::operator::v1::cluster_service_client::ClusterServiceClient;
use proto::operator::v1::revocation_list_service_client::RevocationListServiceClient;
use proto::operator::v1::{
    GetRevocationListRequest, GetStatusRequest, RevocationList, SetRevocationListOnBranchRequest,
    SetRevocationListOnBranchResponse, SetRevocationListRequest, SetRevocationListResponse,
};
use tidemark::drill::{Door, at, call, request};
use tonic::Status;

use crate::cast::Person;
use crate::cluster::Cluster;

/// How many operators have said it, and how many it takes.
pub type Said = Result<(u32, u32), Status>;

const REFERENCE: &str = "SFC 2023/77";
const REASON: &str = "as the circular says";

impl Cluster {
    /// Operator 1 or 2 plans the day of go-live.
    ///
    /// # Errors
    /// The refusal.
    pub async fn schedule_go_live(&self, operator: usize, date: &str) -> Said {
        let change = Change::Schedule {
            date: date.parse().unwrap(),
        };
        let approval = self.signed(operator, &Act::Migration(change)).await;
        self.schedule_go_live_at(self.operators(operator), date, Some(approval))
            .await
    }

    /// Somebody plans the day of go-live at these doors.
    ///
    /// # Errors
    /// The refusal.
    pub async fn schedule_go_live_at(
        &self,
        doors: &[Door],
        date: &str,
        approval: Option<Approval>,
    ) -> Said {
        let message = ScheduleGoLiveRequest {
            approval,
            request_id: self.id(),
            date: date.to_owned(),
            reason: REASON.to_owned(),
            validate_only: false,
        };
        let answer = call(doors, |channel| {
            let message = message.clone();
            async move {
                ReadinessServiceClient::new(channel)
                    .schedule_go_live(request(message))
                    .await
            }
        })
        .await?;
        Ok((answer.approval_count, answer.needed_count))
    }

    /// Operator 1 or 2 notes the regulator's approval.
    ///
    /// # Errors
    /// The refusal.
    pub async fn approve_go_live(&self, operator: usize, date: &str) -> Said {
        let change = Change::Approve {
            date: date.parse().unwrap(),
            reference: REFERENCE.to_owned(),
        };
        let approval = self.signed(operator, &Act::Migration(change)).await;
        let message = ApproveGoLiveRequest {
            approval: Some(approval),
            request_id: self.id(),
            date: date.to_owned(),
            reference: REFERENCE.to_owned(),
            reason: REASON.to_owned(),
            validate_only: false,
        };
        let answer = call(self.operators(operator), |channel| {
            let message = message.clone();
            async move {
                ReadinessServiceClient::new(channel)
                    .approve_go_live(request(message))
                    .await
            }
        })
        .await?;
        Ok((answer.approval_count, answer.needed_count))
    }

    /// Operator 1 or 2 postpones go-live.
    ///
    /// # Errors
    /// The refusal.
    pub async fn postpone_go_live(&self, operator: usize, date: &str) -> Said {
        let change = Change::Postpone {
            date: date.parse().unwrap(),
        };
        let approval = self.signed(operator, &Act::Migration(change)).await;
        let message = PostponeGoLiveRequest {
            approval: Some(approval),
            request_id: self.id(),
            date: date.to_owned(),
            reason: REASON.to_owned(),
            validate_only: false,
        };
        let answer = call(self.operators(operator), |channel| {
            let message = message.clone();
            async move {
                ReadinessServiceClient::new(channel)
                    .postpone_go_live(request(message))
                    .await
            }
        })
        .await?;
        Ok((answer.approval_count, answer.needed_count))
    }

    /// Operator 1 or 2 withdraws go-live.
    ///
    /// # Errors
    /// The refusal.
    pub async fn withdraw_go_live(&self, operator: usize) -> Said {
        let change = Change::Withdraw;
        let approval = self.signed(operator, &Act::Migration(change)).await;
        let message = WithdrawGoLiveRequest {
            approval: Some(approval),
            request_id: self.id(),
            reason: REASON.to_owned(),
            validate_only: false,
        };
        let answer = call(self.operators(operator), |channel| {
            let message = message.clone();
            async move {
                ReadinessServiceClient::new(channel)
                    .withdraw_go_live(request(message))
                    .await
            }
        })
        .await?;
        Ok((answer.approval_count, answer.needed_count))
    }

    /// Operator 1 or 2 switches a method at once.
    ///
    /// # Errors
    /// The refusal.
    pub async fn set_method(
        &self,
        operator: usize,
        name: &str,
        method: Method,
        state: MethodState,
    ) -> Said {
        let of = match name {
            "service" => Subject::Service,
            name => match name.split('/').collect::<Vec<_>>()[..] {
                ["participants", firm] => Subject::Participant(firm.parse().unwrap()),
                // An account's is refused by its name, before what was signed is looked at.
                [..] => Subject::Service,
            },
        };
        let change = Change::Switch {
            of,
            method: match method {
                Method::Otp => domain::factor::Method::Otp,
                Method::Smartcard | Method::Unspecified => domain::factor::Method::Smartcard,
            },
            switch: match state {
                MethodState::Off => Switch::Off,
                MethodState::On | MethodState::Unspecified => Switch::On,
            },
        };
        let approval = self.signed(operator, &Act::Migration(change)).await;
        let message = SetLoginMethodsRequest {
            approval: Some(approval),
            request_id: self.id(),
            name: name.to_owned(),
            method: method.into(),
            state: state.into(),
            effective_time: None,
            reason: REASON.to_owned(),
            validate_only: false,
        };
        let answer = call(self.operators(operator), |channel| {
            let message = message.clone();
            async move {
                ReadinessServiceClient::new(channel)
                    .set_login_methods(request(message))
                    .await
            }
        })
        .await?;
        Ok((answer.approval_count, answer.needed_count))
    }

    /// What an operator asks to have these people reminded.
    #[must_use]
    pub fn reminders(&self, parent: &str) -> SendRemindersRequest {
        SendRemindersRequest {
            request_id: self.id(),
            parent: parent.to_owned(),
            reason: REASON.to_owned(),
            ..SendRemindersRequest::default()
        }
    }

    /// Somebody has people reminded, at these doors.
    ///
    /// # Errors
    /// The refusal.
    pub async fn remind(
        &self,
        doors: &[Door],
        message: &SendRemindersRequest,
    ) -> Result<SendRemindersResponse, Status> {
        call(doors, |channel| {
            let message = message.clone();
            async move {
                ReadinessServiceClient::new(channel)
                    .send_reminders(request(message))
                    .await
            }
        })
        .await
    }

    /// Go-live and methods, as operators see them.
    pub async fn migration(&self) -> GetMigrationResponse {
        let answer = call(self.operators(1), |channel| async move {
            ReadinessServiceClient::new(channel)
                .get_migration(request(GetMigrationRequest {}))
                .await
        });
        answer.await.unwrap()
    }

    /// An operator enrols a participant for a session.
    ///
    /// # Errors
    /// The refusal.
    pub async fn enrol(
        &self,
        participant: &str,
        session: &str,
    ) -> Result<EnrolParticipantResponse, Status> {
        let message = EnrolParticipantRequest {
            request_id: self.id(),
            name: format!("participants/{participant}"),
            session: session.to_owned(),
            ..EnrolParticipantRequest::default()
        };
        call(self.operators(1), |channel| {
            let message = message.clone();
            async move {
                ParticipantServiceClient::new(channel)
                    .enrol_participant(request(message))
                    .await
            }
        })
        .await
    }

    /// An operator takes an enrolment back; the sessions that are left.
    ///
    /// # Errors
    /// The refusal.
    pub async fn withdraw_enrolment(
        &self,
        participant: &str,
        session: &str,
    ) -> Result<Vec<String>, Status> {
        let message = WithdrawEnrolmentRequest {
            request_id: self.id(),
            name: format!("participants/{participant}"),
            session: session.to_owned(),
            ..WithdrawEnrolmentRequest::default()
        };
        let answer = call(self.operators(1), |channel| {
            let message = message.clone();
            async move {
                ParticipantServiceClient::new(channel)
                    .withdraw_enrolment(request(message))
                    .await
            }
        })
        .await?;
        Ok(answer.participant.unwrap().enrolled_sessions)
    }

    async fn landing(&self) -> ListLandingOptionsResponse {
        let doors = self.front();
        let answer = call(&doors, |channel| async move {
            AuthServiceClient::new(channel)
                .list_landing_options(request(ListLandingOptionsRequest::default()))
                .await
        });
        answer.await.unwrap()
    }

    /// The ids of the options on the landing pages.
    pub async fn landing_options(&self) -> Vec<String> {
        let options = self.landing().await.options.into_iter();
        options.map(|option| option.option).collect()
    }

    /// Whom landing pages say to ask.
    ///
    /// # Panics
    /// If they say nothing.
    pub async fn support(&self) -> Text {
        self.landing().await.support.unwrap().text.unwrap()
    }

    /// An operator sets a revocation list.
    ///
    /// # Errors
    /// The refusal.
    pub async fn set_revocations(&self, list: &str) -> Result<SetRevocationListResponse, Status> {
        let message = SetRevocationListRequest {
            request_id: self.id(),
            list: list.as_bytes().to_vec(),
            dry_run: false,
        };
        call(self.operators(1), |channel| {
            let message = message.clone();
            async move {
                RevocationListServiceClient::new(channel)
                    .set_revocation_list(request(message))
                    .await
            }
        })
        .await
    }

    /// An operator sets a revocation list on the branch that is open.
    ///
    /// # Errors
    /// The refusal.
    pub async fn set_revocations_on_branch(
        &self,
        list: &str,
    ) -> Result<SetRevocationListOnBranchResponse, Status> {
        let message = SetRevocationListOnBranchRequest {
            request_id: self.id(),
            list: list.as_bytes().to_vec(),
            dry_run: false,
        };
        let doors = at(self.operators(1), &self.centre());
        call(&doors, |channel| {
            let message = message.clone();
            async move {
                RevocationListServiceClient::new(channel)
                    .set_revocation_list_on_branch(request(message))
                    .await
            }
        })
        .await
    }

    /// The authority of the tests' cards.
    ///
    /// # Panics
    /// If the profile lacks it.
    #[must_use]
    pub fn card_authority(&self) -> Authority {
        let profile = self.profile();
        let identity = profile.file().cards.as_ref().unwrap();
        let cert = profile.text(&identity.cert).unwrap();
        let key = profile.text(&identity.key).unwrap();
        Authority::load(&cert, &key).unwrap()
    }

    /// The revocation list that is held.
    pub async fn revocations(&self) -> Option<RevocationList> {
        let answer = call(self.operators(1), |channel| async move {
            RevocationListServiceClient::new(channel)
                .get_revocation_list(request(GetRevocationListRequest {}))
                .await
        });
        answer.await.unwrap().revocation_list
    }

    /// How far each participant's accounts have come.
    pub async fn readiness(&self) -> Vec<ParticipantReadiness> {
        let message = GetReadinessReportRequest {
            parent: "participants/-".to_owned(),
        };
        let doors = self.operators_at(self.centre().as_str());
        let answer = call(&doors, |channel| {
            let message = message.clone();
            async move {
                ReadinessServiceClient::new(channel)
                    .get_readiness_report(request(message))
                    .await
            }
        });
        answer.await.unwrap().participants
    }

    /// What the status says is not as it should be.
    pub async fn status_reasons(&self) -> Vec<String> {
        let answer = call(self.operators(1), |channel| async move {
            ClusterServiceClient::new(channel)
                .get_status(request(GetStatusRequest {}))
                .await
        });
        answer.await.unwrap().reasons
    }

    /// What somebody's card signs, with the chain that it shows.
    #[must_use]
    pub fn signed_by_card(
        &self,
        person: &Person,
        challenge: &Challenge,
    ) -> (Vec<Vec<u8>>, Vec<u8>) {
        let pockets = self.pockets.lock().unwrap();
        let card = pockets.card(person);
        let chain = card.chain().iter().map(|der| der.to_vec()).collect();
        (chain, card.sign(challenge).unwrap())
    }
}
