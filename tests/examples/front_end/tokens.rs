//! A person's own tokens.

use proto::auth::v1::{EndOwnTokensRequest, ListOwnTokensRequest};

use super::{FrontEnd, PERSON_AT, request};

impl FrontEnd<'_> {
    /// Where somebody is logged in, and ending what was left open elsewhere. The ids name tokens
    /// and cannot be used as such.
    pub(super) async fn own_tokens(&self, token: &str) {
        let listed = self.call(|| {
            let mut service = self.auth();
            let request = request(ListOwnTokensRequest::default(), Some(token));
            async move { service.list_own_tokens(request).await }
        });
        let tokens = listed.await.unwrap().tokens;
        println!("logged in {} times", tokens.len());
        for other in tokens.into_iter().filter(|token| !token.current) {
            let message = EndOwnTokensRequest {
                request_id: self.request_id(),
                token_id: other.token_id,
                client_address: PERSON_AT.to_owned(),
            };
            let ended = self.call(|| {
                let (mut service, message) = (self.auth(), message.clone());
                let request = request(message, Some(token));
                async move { service.end_own_tokens(request).await }
            });
            println!("  ended elsewhere: {}", ended.await.unwrap().ended_count);
        }
    }
}
