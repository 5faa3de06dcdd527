//! What one person took away, and who looks at it afterwards.

use proto::admin::v1::change_request_service_client::ChangeRequestServiceClient;
use proto::admin::v1::{
    ActReview, ActReviewState, ListActReviewsRequest, ReviewActRequest, ReviewActResponse,
};
use tidemark::drill::call;
use tonic::Status;

use crate::administration::Admin;
use crate::cluster::Cluster;

impl Cluster {
    /// The acts of a firm, or of all for `-`, that somebody sees: those in the state alone, if it
    /// is one. They are asked for in pages of two.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// If a page is no page.
    pub async fn acts_to_review(
        &self,
        by: Admin<'_>,
        participant: &str,
        state: ActReviewState,
    ) -> Result<Vec<ActReview>, Status> {
        let mut message = ListActReviewsRequest {
            parent: format!("participants/{participant}"),
            state: state.into(),
            page_size: 2,
            page_token: String::new(),
        };
        let mut acts = Vec::new();
        loop {
            let answer = call(&by.doors(self), |channel| {
                let message = by.request(message.clone());
                async move {
                    ChangeRequestServiceClient::new(channel)
                        .list_act_reviews(message)
                        .await
                }
            })
            .await?;
            assert!(answer.act_reviews.len() <= 2, "a page is too full");
            acts.extend(answer.act_reviews);
            if answer.next_page_token.is_empty() {
                return Ok(acts);
            }
            assert_ne!(answer.next_page_token, message.page_token);
            message.page_token = answer.next_page_token;
        }
    }

    /// Somebody says that it has looked at an act, or asks whether it could.
    ///
    /// # Errors
    /// The refusal.
    pub async fn review(
        &self,
        by: Admin<'_>,
        act: &str,
        validate_only: bool,
    ) -> Result<ReviewActResponse, Status> {
        let message = ReviewActRequest {
            request_id: self.id(),
            name: act.to_owned(),
            client_address: by.address(),
            validate_only,
        };
        call(&by.doors(self), |channel| {
            let message = by.request(message.clone());
            async move {
                ChangeRequestServiceClient::new(channel)
                    .review_act(message)
                    .await
            }
        })
        .await
    }
}
