//! `account reviews` and `account review`: what one person took away at once, for another one to
//! look at.

use proto::admin::v1::{ActReview, ActReviewState, ListActReviewsRequest, ReviewActRequest};

use crate::args::account::{Review, Reviews};
use crate::client::{Operator, told};
use crate::drill::words;
use crate::exit::Failure;
use crate::output::{Output, Table};
use crate::verb::already;

/// Acts on one page.
const PAGE: i32 = 500;

/// The resource name, also where the number alone was given.
fn name(text: &str) -> String {
    if text.starts_with("actReviews/") {
        text.to_owned()
    } else {
        format!("actReviews/{text}")
    }
}

fn state(of: &ActReview) -> &'static str {
    match of.state() {
        ActReviewState::Waiting => "waiting",
        ActReviewState::Reviewed => "reviewed",
        ActReviewState::Unspecified => "-",
    }
}

/// From whom: an account, a participant as a whole, or a caller, whom the reason names.
fn whose(of: &ActReview) -> &str {
    match (of.account.as_str(), of.participant.as_str()) {
        ("", "") => "-",
        ("", participant) => participant,
        (account, _) => account,
    }
}

fn document(of: &ActReview) -> serde_json::Value {
    serde_json::json!({
        "act": of.name, "kind": of.kind, "account": of.account, "participant": of.participant,
        "state": state(of), "reason": of.reason, "maker": of.maker,
        "made": words::local(of.create_time.as_ref()),
        "reviewer": of.reviewer, "reviewed": words::local(of.review_time.as_ref()),
    })
}

fn table(acts: &[ActReview]) -> String {
    let mut table = Table::new(&["ACT", "WHAT", "WHOSE", "STATE", "DONE BY", "AT", "REASON"]);
    for act in acts {
        table.row([
            words::last(&act.name).to_owned(),
            act.kind.clone(),
            whose(act).to_owned(),
            state(act).to_owned(),
            act.maker.clone(),
            words::local(act.create_time.as_ref()),
            act.reason.clone(),
        ]);
    }
    table.text()
}

async fn acts(
    node: &Operator,
    participant: Option<&str>,
    wanted: ActReviewState,
) -> Result<Vec<ActReview>, Failure> {
    let mut acts = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = ListActReviewsRequest {
            parent: format!("participants/{}", participant.unwrap_or("-")),
            state: wanted.into(),
            page_size: PAGE,
            page_token,
        };
        let request = node.request(message, None);
        let answer = told(node.change_request().list_act_reviews(request).await)?;
        acts.extend(answer.act_reviews);
        if answer.next_page_token.is_empty() {
            return Ok(acts);
        }
        page_token = answer.next_page_token;
    }
}

/// Lists the acts, those that wait for a review unless all are asked for.
///
/// # Errors
/// What went wrong, with its exit code.
pub(super) async fn list(flags: &Reviews, output: Output) -> Result<(), Failure> {
    let node = Operator::serving(&flags.connection).await?;
    let wanted = if flags.all {
        ActReviewState::Unspecified
    } else {
        ActReviewState::Waiting
    };
    let acts = acts(&node, flags.participant.as_deref(), wanted).await?;
    let documents: Vec<_> = acts.iter().map(document).collect();
    output.data(&serde_json::json!({ "acts": documents }), || table(&acts))
}

/// Says that another person has looked at the act.
///
/// # Errors
/// What went wrong, with its exit code.
pub(super) async fn run(flags: &Review, output: Output) -> Result<(), Failure> {
    already(&flags.change, review(flags, output).await, output)
}

async fn review(flags: &Review, output: Output) -> Result<(), Failure> {
    let node = Operator::serving(&flags.connection).await?;
    let name = name(&flags.act);
    // What is reviewed is shown before it is, on stderr.
    let seen = acts(&node, None, ActReviewState::Unspecified).await?;
    if let Some(act) = seen.iter().find(|act| act.name == name) {
        output.talk(&table(std::slice::from_ref(act)));
    }
    let id = node.request_id(&flags.change);
    let message = ReviewActRequest {
        request_id: id.to_string(),
        name: name.clone(),
        client_address: String::new(),
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.change_request();
        async move { client.review_act(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    if flags.change.dry_run {
        output.talk("dry run: nothing was reviewed");
        let document = serde_json::json!({ "dry_run": true, "act": name, "state": "reviewed" });
        return output.data(&document, || format!("{name} would be reviewed"));
    }
    let document = serde_json::json!({ "act": name, "state": "reviewed", "notice": answer.notice });
    output.data(&document, || {
        format!("{name} is reviewed\n{}", answer.notice)
    })
}
