//! What delegated administrators do, at DMS with their own tokens. What takes access away is done
//! at once; what gives it is asked for by one and approved by another.

use proto::admin::v1::account_service_client::AccountServiceClient;
use proto::admin::v1::change_act::Act;
use proto::admin::v1::change_request_service_client::ChangeRequestServiceClient;
use proto::admin::v1::{
    ActReviewState, ApproveChangeRequestRequest, ChangeAct, ChangeRequestState,
    CreateChangeRequestRequest, IssueActivationCodeRequest, ListActReviewsRequest,
    ListChangeRequestsRequest, Plain, RejectChangeRequestRequest, ReviewActRequest,
    SuspendAccountRequest,
};
use proto::audit::v1::audit_service_client::AuditServiceClient;
use proto::audit::v1::{AuditFilter, ListAuditEventsRequest};
use proto::auth::v1::StepUpAct;
use proto::auth::v1::verify_step_up_request::Factor;
use tests::Person;
use tonic::transport::Channel;

use super::{FrontEnd, PERSON_AT, request};

impl FrontEnd<'_> {
    fn accounts(&self) -> AccountServiceClient<Channel> {
        AccountServiceClient::new(self.channel.clone())
    }

    fn requests(&self) -> ChangeRequestServiceClient<Channel> {
        ChangeRequestServiceClient::new(self.channel.clone())
    }

    /// What gives access wants the card once more.
    async fn step_up_by_card(&self, admin: &Person, token: &str, act: (StepUpAct, &str)) {
        self.step_up(token, act, async |begun| {
            Factor::Card(self.cluster.sign(admin, begun.card_challenge.as_ref()))
        })
        .await;
    }

    /// Asks that somebody's channel be set up anew. Nothing is changed until another approves.
    pub(super) async fn ask_for_a_reset(&self, token: &str, person: &Person) -> String {
        let message = CreateChangeRequestRequest {
            request_id: self.request_id(),
            account: person.resource(),
            act: Some(ChangeAct {
                act: Some(Act::ResetChannel(Plain {})),
            }),
            reason: "has lost the telephone".to_owned(),
            client_address: PERSON_AT.to_owned(),
            ..CreateChangeRequestRequest::default()
        };
        let made = self.call(|| {
            let (mut service, message) = (self.requests(), message.clone());
            let request = request(message, Some(token));
            async move { service.create_change_request(request).await }
        });
        let made = made.await.unwrap();
        println!("asked for a reset of {}: {}", person.id, made.notice);
        made.name
    }

    /// Another administrator of the firm looks at what waits, and approves it: that carries it out.
    pub(super) async fn approve(&self, admin: &Person, token: &str, name: &str) {
        let message = ListChangeRequestsRequest {
            parent: "participants/C00001".to_owned(),
            state: ChangeRequestState::Open.into(),
            ..ListChangeRequestsRequest::default()
        };
        let mut service = self.requests();
        let waiting = service.list_change_requests(request(message, Some(token)));
        let waiting = waiting.await.unwrap().into_inner().change_requests;
        let found = waiting.iter().find(|request| request.name == name).unwrap();
        println!("  waits: {}, because: {}", found.account, found.reason);
        let act = (StepUpAct::ApproveChangeRequest, name);
        self.step_up_by_card(admin, token, act).await;
        let message = ApproveChangeRequestRequest {
            request_id: self.request_id(),
            name: name.to_owned(),
            client_address: PERSON_AT.to_owned(),
            ..ApproveChangeRequestRequest::default()
        };
        let done = self.call(|| {
            let (mut service, message) = (self.requests(), message.clone());
            let request = request(message, Some(token));
            async move { service.approve_change_request(request).await }
        });
        println!("  approved: {}", done.await.unwrap().notice);
    }

    /// Or refuses it, and says why.
    pub(super) async fn reject(&self, token: &str, name: &str) {
        let message = RejectChangeRequestRequest {
            request_id: self.request_id(),
            name: name.to_owned(),
            reason: "the telephone was found".to_owned(),
            client_address: PERSON_AT.to_owned(),
            ..RejectChangeRequestRequest::default()
        };
        let done = self.call(|| {
            let (mut service, message) = (self.requests(), message.clone());
            let request = request(message, Some(token));
            async move { service.reject_change_request(request).await }
        });
        done.await.unwrap();
        println!("  rejected");
    }

    /// Shuts an account at once, and ends its tokens. `validate_only` says what would come of it.
    pub(super) async fn suspend(&self, token: &str, person: &Person) {
        for validate_only in [true, false] {
            let message = SuspendAccountRequest {
                request_id: self.request_id(),
                name: person.resource(),
                reason: "has left the firm".to_owned(),
                client_address: PERSON_AT.to_owned(),
                validate_only,
            };
            let done = self.call(|| {
                let (mut service, message) = (self.accounts(), message.clone());
                let request = request(message, Some(token));
                async move { service.suspend_account(request).await }
            });
            let notice = done.await.unwrap().notice;
            println!(
                "suspended {} (only tried: {validate_only}): {notice}",
                person.id
            );
        }
    }

    /// Another administrator of the firm looks at what one took away, and says so. It undoes nothing.
    pub(super) async fn review(&self, token: &str) {
        let message = ListActReviewsRequest {
            parent: "participants/C00001".to_owned(),
            state: ActReviewState::Waiting.into(),
            ..ListActReviewsRequest::default()
        };
        let mut service = self.requests();
        let waiting = service.list_act_reviews(request(message, Some(token)));
        let waiting = waiting.await.unwrap().into_inner().act_reviews;
        assert!(!waiting.is_empty(), "what was taken away waits");
        for act in waiting {
            let message = ReviewActRequest {
                request_id: self.request_id(),
                name: act.name.clone(),
                client_address: PERSON_AT.to_owned(),
                validate_only: false,
            };
            let done = self.call(|| {
                let (mut service, message) = (self.requests(), message.clone());
                let request = request(message, Some(token));
                async move { service.review_act(request).await }
            });
            done.await.unwrap();
            println!(
                "  reviewed: {} of {}, because: {}",
                act.kind, act.account, act.reason
            );
        }
    }

    /// The second half of an activation code, for somebody without a card: shown to the
    /// administrator this once, and passed on by voice.
    pub(super) async fn issue_half_a_code(
        &self,
        admin: &Person,
        token: &str,
        person: &Person,
    ) -> String {
        let name = person.resource();
        let act = (StepUpAct::IssueActivationCode, name.as_str());
        self.step_up_by_card(admin, token, act).await;
        let message = IssueActivationCodeRequest {
            request_id: self.request_id(),
            name,
            client_address: PERSON_AT.to_owned(),
            ..IssueActivationCodeRequest::default()
        };
        // Not repeated by itself: the answer holds a secret, and is told once.
        let mut service = self.accounts();
        let issued = service.issue_activation_code(request(message, Some(token)));
        let issued = issued.await.unwrap().into_inner();
        println!("half a code for {}: {}", person.id, issued.notice);
        issued.second_half
    }

    /// What was done in the firm: an administrator reads its own participant's records alone.
    pub(super) async fn read_the_audit(&self, token: &str) {
        let message = ListAuditEventsRequest {
            line: "main".to_owned(),
            filter: Some(AuditFilter {
                kinds: vec!["AccountSuspended".to_owned(), "ChangeApproved".to_owned()],
                ..AuditFilter::default()
            }),
            ..ListAuditEventsRequest::default()
        };
        let mut service = AuditServiceClient::new(self.channel.clone());
        let found = service.list_audit_events(request(message, Some(token)));
        for event in found.await.unwrap().into_inner().events {
            println!("audit: {} of {} by {}", event.kind, event.account, event.by);
        }
    }
}
