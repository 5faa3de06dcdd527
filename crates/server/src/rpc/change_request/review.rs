//! What one person took away at once, for a second one to look at (LOGIN.md, "Administration").

use domain::account::Command;
use domain::account::review::{Review, ReviewId};
use prost_types::Timestamp;
use proto::admin::v1 as admin;

use super::{by, decide};
use crate::edge::Edge;
use crate::reads::Read;
use crate::request::Ask;
use crate::rpc::account::{PAGE_DEFAULT, PAGE_MAX, Scope, token_of};
use crate::status::{Field, Refusal};
use crate::wire;

const NAME: &str = "actReviews/";

fn read_name(text: &str) -> Result<ReviewId, Refusal> {
    text.strip_prefix(NAME)
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| Refusal::malformed(Field::Other("name"), "actReviews/{number}"))
}

/// Whether the caller may see the act: a delegated administrator those about its firm's users.
fn sees(scope: &Scope, review: &Review) -> bool {
    match scope {
        Scope::All => true,
        Scope::UsersOf(firm) => review.is_of_user_of(firm),
    }
}

pub(super) async fn list(
    edge: &Edge,
    ask: Ask<admin::ListActReviewsRequest>,
) -> Result<admin::ListActReviewsResponse, Refusal> {
    let body = &ask.body;
    let size = wire::page_size(body.page_size, PAGE_DEFAULT, PAGE_MAX)?;
    let malformed = || Refusal::malformed(Field::Other("page_token"), "one that was answered");
    let after: Option<ReviewId> = match body.page_token.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| malformed())?),
    };
    let wanted = admin::ActReviewState::try_from(body.state)
        .map_err(|_| Refusal::malformed(Field::Other("state"), "an ACT_REVIEW_STATE"))?;
    let (_, state) = edge.fresh(&ask).await?;
    let now = edge.now(&state);
    let scope = Scope::of(&ask, &state, now)?;
    let participant = scope.participant(&body.parent, now)?;
    let mut page: Vec<_> = state
        .reviews(now)
        .filter(|review| after.is_none_or(|after| review.id > after) && sees(&scope, review))
        .filter(|review| participant.is_none() || review.participant == participant)
        .filter(|review| wanted == admin::ActReviewState::Unspecified || wanted == progress(review))
        .take(size.saturating_add(1))
        .collect();
    let more = page.len() > size;
    page.truncate(size);
    let next = page.last().filter(|_| more).map(|last| last.id.to_string());
    let about = format!("{} {}", body.parent, wanted.as_str_name());
    edge.note_read(&ask, &state, Read::of(about, page.len()))?;
    Ok(admin::ListActReviewsResponse {
        act_reviews: page.into_iter().map(shown).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

fn progress(review: &Review) -> admin::ActReviewState {
    match review.reviewed {
        None => admin::ActReviewState::Waiting,
        Some(_) => admin::ActReviewState::Reviewed,
    }
}

fn shown(review: &Review) -> admin::ActReview {
    let firm = review.participant.as_ref();
    let account = match (firm, review.class, &review.account) {
        (Some(firm), Some(class), Some(account)) => wire::account_name(firm, class, account),
        (Some(_) | None, Some(_) | None, Some(_) | None) => String::new(),
    };
    let reviewed = review.reviewed.as_ref();
    let review_time: Option<Timestamp> = reviewed.map(|(_, at)| wire::time(*at));
    admin::ActReview {
        name: format!("{NAME}{}", review.id),
        kind: review.kind.to_string(),
        account,
        participant: firm.map(wire::participant_name).unwrap_or_default(),
        reason: review.reason.clone(),
        maker: by(&review.by),
        create_time: Some(wire::time(review.at)),
        state: progress(review).into(),
        reviewer: reviewed.map(|(who, _)| by(who)).unwrap_or_default(),
        review_time,
    }
}

pub(super) async fn review(
    edge: &Edge,
    ask: Ask<admin::ReviewActRequest>,
) -> Result<admin::ReviewActResponse, Refusal> {
    let body = &ask.body;
    let command = Command::Review {
        act: read_name(&body.name)?,
        token: token_of(&ask)?,
    };
    let call = (
        body.request_id.as_str(),
        body.client_address.as_str(),
        body.validate_only,
    );
    let carry = decide(edge, &ask, call, domain::Command::Account(command)).await?;
    Ok(admin::ReviewActResponse {
        carry_forward: wire::carry(carry).into(),
        notice: wire::notice_text(carry),
    })
}
