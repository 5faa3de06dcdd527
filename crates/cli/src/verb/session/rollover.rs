//! `session rollover`: what is forgotten, what must be repeated, and the entry that does it.

use proto::operator::v1::{
    PlanStage, PreviewRolloverRequest, PreviewRolloverResponse, RollOverRequest,
};
use serde_json::json;

use super::answers::{Given, answers, listed};
use super::{confirmed, unplanned};
use crate::args::session::Rollover;
use crate::client::{Operator, told};
use crate::exit::{Exit, Failure};
use crate::output::Output;

pub(super) async fn run(flags: &Rollover, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let stage = super::entry(&node, &flags.session)
        .await?
        .session
        .map(|session| session.stage());
    if stage == Some(PlanStage::RolledOver) {
        return Err(Failure::new(
            Exit::Already,
            format!(
                "{} is rolled over already; nothing was changed",
                flags.session
            ),
        ));
    }
    if stage == Some(PlanStage::Unspecified) {
        return Err(Failure::new(
            Exit::Refused,
            format!("{} has not been opened; nothing was changed", flags.session),
        )
        .next("see where the sessions stand: tidemark session list"));
    }
    let message = PreviewRolloverRequest {
        session: flags.session.clone(),
        ..PreviewRolloverRequest::default()
    };
    let request = node.request(message, None);
    let preview = told(node.session().preview_rollover(request).await)?;
    output.talk(&foretold(&preview));
    let answers = answers(&preview.must_repeat, given(flags))?;
    if !flags.change.dry_run {
        confirmed(
            &flags.confirm,
            &flags.session,
            "Rolling over throws the branch away for good.",
            output,
        )?;
    }
    let id = node.request_id(&flags.change);
    let message = RollOverRequest {
        request_id: id.to_string(),
        session: flags.session.clone(),
        answers,
        accept_gap: flags.accept_gap.clone().unwrap_or_default(),
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.session();
        async move { client.roll_over(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    if flags.change.dry_run && !answer.already_done {
        output.talk("dry run: nothing was changed");
        let (forgotten, day) = (preview.forgotten_count, &preview.next_business_day);
        let document = json!({
            "dry_run": true, "session": flags.session, "forgotten": forgotten,
            "to_repeat": preview.must_repeat.len(), "next_business_day": day,
        });
        return output.data(&document, || format!("would roll {} over", flags.session));
    }
    let document = json!({
        "session": flags.session,
        "business_day": answer.business_day,
        "already_done": answer.already_done,
    });
    output.data(&document, || {
        format!(
            "{} is rolled over; business day {}",
            flags.session, answer.business_day
        )
    })?;
    if answer.already_done {
        return Err(Failure::new(
            Exit::Already,
            "it had been rolled over before; nothing was changed",
        ));
    }
    let session = answer.evidence.and_then(|evidence| evidence.session);
    if unplanned::is_lossy(session.and_then(|session| session.unplanned).as_ref()) {
        return Err(Failure::new(
            Exit::Loss,
            format!(
                "{} is rolled over; boundary not on the main line",
                flags.session
            ),
        )
        .next(format!(
            "see what is lost: tidemark session report {}",
            flags.session
        )));
    }
    Ok(())
}

fn given(flags: &Rollover) -> Given<'_> {
    Given {
        repeat: &flags.repeat,
        waive: &flags.waive,
        reason: flags.change.reason.as_deref(),
    }
}

/// What the rollover would do, for whoever decides.
fn foretold(preview: &PreviewRolloverResponse) -> String {
    let mut text = format!(
        "{} changes will be FORGOTTEN; next business day {}",
        preview.forgotten_count, preview.next_business_day
    );
    if !preview.must_repeat.is_empty() {
        text.push_str("\nTo repeat or to waive, each by --repeat ITEM or --waive ITEM:\n");
        text.push_str(&listed(&preview.must_repeat));
    }
    text
}
