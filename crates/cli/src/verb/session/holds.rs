//! `session answer-holds`: a rollover that ran by itself held the accounts of unanswered items;
//! here an operator answers them.

use proto::operator::v1::{AnswerHoldsRequest, GetEvidenceRequest, MustRepeat};

use super::answers::{Given, answers, listed};
use crate::args::session::AnswerHolds;
use crate::client::{Operator, told};
use crate::exit::{Exit, Failure};
use crate::output::Output;

pub(super) async fn run(flags: &AnswerHolds, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let held = held(&node, &flags.session).await?;
    if held.is_empty() {
        return Err(Failure::new(
            Exit::Already,
            format!(
                "nothing of {} waits for an answer; nothing was changed",
                flags.session
            ),
        ));
    }
    output.talk(&format!("held since the rollover:\n{}", listed(&held)));
    let given = Given {
        repeat: &flags.repeat,
        waive: &flags.waive,
        reason: flags.change.reason.as_deref(),
    };
    // Holds are answered as answers are known: the others stay.
    let of: Vec<MustRepeat> = held
        .iter()
        .filter(|item| flags.repeat.contains(&item.item) || flags.waive.contains(&item.item))
        .cloned()
        .collect();
    if of.is_empty() && flags.repeat.is_empty() && flags.waive.is_empty() {
        return Err(
            Failure::pre_check("no item was answered; nothing was changed").next(
                "--repeat ITEM does it again on the main line, --waive ITEM leaves it forgotten",
            ),
        );
    }
    let answers = answers(&of, given)?;
    let left = held.len().saturating_sub(of.len());
    let id = node.request_id(&flags.change);
    let message = AnswerHoldsRequest {
        request_id: id.to_string(),
        session: flags.session.clone(),
        answers,
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.session();
        async move { client.answer_holds(request).await }
    };
    node.change(id, &flags.change, message, ask).await?;
    if flags.change.dry_run {
        let act = format!(
            "answer {} items of {}, {left} still held",
            of.len(),
            flags.session
        );
        return super::would(output, &act);
    }
    let document = serde_json::json!({
        "session": flags.session, "answered": of.len(), "held": left,
    });
    output.data(&document, || {
        format!("{} answered, {left} still held", of.len())
    })
}

/// The items without an answer of a session that was rolled over.
async fn held(node: &Operator, session: &str) -> Result<Vec<MustRepeat>, Failure> {
    let message = GetEvidenceRequest {
        session: session.to_owned(),
        ..GetEvidenceRequest::default()
    };
    let answer = told(
        node.session()
            .get_evidence(node.request(message, None))
            .await,
    )?;
    let evidence = answer.evidence.unwrap_or_default();
    if evidence.rolled_over_time.is_none() {
        return Err(Failure::new(
            Exit::Refused,
            format!("{session} was not rolled over; nothing is held"),
        )
        .next("answer its items with the rollover: tidemark session rollover"));
    }
    Ok(evidence
        .answered
        .into_iter()
        .filter(|item| item.answer() == proto::operator::v1::Answer::Unspecified)
        .filter_map(|item| item.item)
        .collect())
}
