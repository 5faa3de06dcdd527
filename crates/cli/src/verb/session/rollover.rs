//! `session rollover` and `session report`: what is forgotten, what must be repeated, and what
//! the main line sealed.

use proto::operator::v1::{
    Answer, Evidence, GetEvidenceRequest, MustRepeatAnswer, PlanStage, PreviewRolloverRequest,
    PreviewRolloverResponse, RollOverRequest,
};
use serde_json::json;

use super::confirmed;
use crate::args::session::{Report, Rollover};
use crate::client::{Operator, changed, told};
use crate::drill::evidence::{answered, change};
use crate::drill::words;
use crate::exit::{Exit, Failure, file_failure};
use crate::output::{Output, Table};

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
    let message = PreviewRolloverRequest {
        session: flags.session.clone(),
    };
    let request = node.request(message, None);
    let preview = told(node.session().preview_rollover(request).await)?;
    output.talk(&foretold(&preview));
    let answers = answers(flags, &preview)?;
    if flags.change.dry_run {
        output.talk("dry run: nothing was rolled over");
        return Ok(());
    }
    confirmed(
        &flags.confirm,
        &flags.session,
        "Rolling over throws the branch away for good.",
        output,
    )?;
    let id = node.request_id(&flags.change);
    let message = RollOverRequest {
        request_id: id.to_string(),
        session: flags.session.clone(),
        answers,
        ..RollOverRequest::default()
    };
    let request = node.request(message, flags.change.reason.as_deref());
    let answer = changed(node.session().roll_over(request).await, id)?;
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
        Err(Failure::new(
            Exit::Already,
            "it had been rolled over before; nothing was changed",
        ))
    } else {
        Ok(())
    }
}

/// What the rollover would do, for whoever decides.
fn foretold(preview: &PreviewRolloverResponse) -> String {
    let mut text = format!(
        "{} changes will be FORGOTTEN; next business day {}",
        preview.forgotten.len(),
        preview.next_business_day
    );
    if !preview.must_repeat.is_empty() {
        let mut table = Table::new(&["ITEM", "KIND", "ACCOUNT", "AT", "BY", "WHY"]);
        for item in &preview.must_repeat {
            let of = item.change.as_ref().map(change);
            let cell = |pick: fn(&crate::drill::report::Change) -> &String| {
                of.as_ref().map(|of| pick(of).clone()).unwrap_or_default()
            };
            table.row([
                item.item.clone(),
                cell(|of| &of.kind),
                cell(|of| &of.account),
                cell(|of| &of.at),
                cell(|of| &of.by),
                item.reason.clone(),
            ]);
        }
        text.push_str("\nTo repeat or to waive, each by --repeat ITEM or --waive ITEM:\n");
        text.push_str(&table.text());
    }
    text
}

/// The answers of the flags: one for each item, and none for an item that is not there.
fn answers(
    flags: &Rollover,
    preview: &PreviewRolloverResponse,
) -> Result<Vec<MustRepeatAnswer>, Failure> {
    let items: Vec<&str> = preview
        .must_repeat
        .iter()
        .map(|item| item.item.as_str())
        .collect();
    for given in flags.repeat.iter().chain(&flags.waive) {
        if !items.contains(&given.as_str()) {
            return Err(Failure::usage(format!(
                "there is no item {given} to answer"
            )));
        }
        if flags.repeat.contains(given) && flags.waive.contains(given) {
            return Err(Failure::usage(format!(
                "item {given} cannot be both repeated and waived"
            )));
        }
    }
    if !flags.waive.is_empty() && flags.change.reason.is_none() {
        return Err(Failure::usage("a waiver wants --reason, for the evidence"));
    }
    let unanswered: Vec<&str> = items
        .iter()
        .copied()
        .filter(|item| {
            let given = |list: &[String]| list.iter().any(|given| given == item);
            !given(&flags.repeat) && !given(&flags.waive)
        })
        .collect();
    if !unanswered.is_empty() {
        return Err(Failure::pre_check(format!(
            "items without an answer: {}; nothing was changed",
            unanswered.join(", ")
        ))
        .next(
            "answer each: --repeat ITEM does it again on the main line, --waive ITEM leaves it",
        ));
    }
    let one = |item: &String, answer: Answer, reason: String| MustRepeatAnswer {
        item: item.clone(),
        answer: answer.into(),
        reason,
    };
    let why = flags.change.reason.clone().unwrap_or_default();
    Ok(flags
        .repeat
        .iter()
        .map(|item| one(item, Answer::Repeat, String::new()))
        .chain(
            flags
                .waive
                .iter()
                .map(|item| one(item, Answer::Waive, why.clone())),
        )
        .collect())
}

pub(super) async fn report(flags: &Report, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let message = GetEvidenceRequest {
        session: flags.session.clone(),
    };
    let request = node.request(message, None);
    let answer = told(node.session().get_evidence(request).await)?;
    let evidence = answer.evidence.ok_or_else(|| {
        Failure::pre_check(format!("there is no evidence of {} yet", flags.session))
    })?;
    let document = document(&flags.session, &evidence);
    let text = text(&flags.session, &evidence);
    if let Some(folder) = &flags.dir {
        std::fs::create_dir_all(folder).map_err(|error| file_failure("make", folder, &error))?;
        let json = serde_json::to_string_pretty(&document)
            .map_err(|error| Failure::internal(format!("cannot write JSON: {error}")))?;
        for (name, content) in [("report.json", &json), ("report.md", &text)] {
            let path = folder.join(name);
            std::fs::write(&path, content).map_err(|error| file_failure("write", &path, &error))?;
        }
    }
    output.data(&document, || text)
}

fn document(session: &str, evidence: &Evidence) -> serde_json::Value {
    let boundary = evidence.boundary.clone().unwrap_or_default();
    let closed = evidence.closed_digests.clone().unwrap_or_default();
    json!({
        "schema": "tidemark.session-report/1",
        "session": session,
        "boundary": {
            "log_id": boundary.log_id.as_ref().map(words::log_id),
            "epoch": boundary.line.as_ref().map(|line| line.epoch),
            "full_digest": boundary.digests.map(|digests| digests.full),
        },
        "closed": {
            "log_id": evidence.closed_log_id.as_ref().map(words::log_id),
            "at": words::local(evidence.closed_time.as_ref()),
            "account_digest": closed.account,
            "full_digest": closed.full,
        },
        "audit": { "head": evidence.audit_head, "count": evidence.audit_count },
        "rolled_over_at": words::local(evidence.rolled_over_time.as_ref()),
        "forgotten": evidence.forgotten.iter().map(change).collect::<Vec<_>>(),
        "must_repeat": answered(evidence),
    })
}

fn text(session: &str, evidence: &Evidence) -> String {
    let boundary = evidence.boundary.clone().unwrap_or_default();
    let mut text = format!(
        "# Session {session}\n\nBoundary {}, digest {}\nClosed {}, rolled over {}\n\
         Audit of the branch: {} events, head {}\n\n## Forgotten: {}\n\n",
        boundary
            .log_id
            .as_ref()
            .map(words::log_id)
            .unwrap_or_default(),
        boundary
            .digests
            .map(|digests| digests.full)
            .unwrap_or_default(),
        words::local(evidence.closed_time.as_ref()),
        words::local(evidence.rolled_over_time.as_ref()),
        evidence.audit_count,
        evidence.audit_head,
        evidence.forgotten.len(),
    );
    let mut table = Table::new(&["KIND", "ACCOUNT", "AT", "BY"]);
    for row in evidence.forgotten.iter().map(change) {
        table.row([row.kind, row.account, row.at, row.by]);
    }
    text.push_str(&table.text());
    let answered = answered(evidence);
    text.push_str(&format!("\n\n## To repeat: {}\n\n", answered.len()));
    let mut table = Table::new(&["ITEM", "KIND", "ACCOUNT", "ANSWER", "WHY"]);
    for row in answered {
        table.row([
            row.item,
            row.change.kind,
            row.change.account,
            row.answer,
            row.reason,
        ]);
    }
    text.push_str(&table.text());
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use clap::Parser as _;
    use proto::operator::v1::MustRepeat;

    use super::*;
    use crate::args::session::Session;
    use crate::args::{Tidemark, Verb};

    fn flags(more: &[&str]) -> Rollover {
        let given = ["tidemark", "session", "rollover", "S2", "--profile", "p"];
        let read = Tidemark::try_parse_from(given.iter().chain(more)).unwrap();
        if let Verb::Session(Session::Rollover(flags)) = read.verb {
            return flags;
        }
        unreachable!("the words are those of session rollover")
    }

    fn preview() -> PreviewRolloverResponse {
        let item = |item: &str| MustRepeat {
            item: item.to_owned(),
            ..MustRepeat::default()
        };
        PreviewRolloverResponse {
            must_repeat: vec![item("7"), item("9")],
            ..PreviewRolloverResponse::default()
        }
    }

    #[test]
    fn each_item_wants_an_answer_or_it_is_exit_3() {
        let refused = answers(&flags(&["--repeat", "7"]), &preview()).unwrap_err();
        assert_eq!(refused.exit, Exit::PreCheck);
        assert!(refused.what.contains("items without an answer: 9"));
    }

    #[test]
    fn a_waiver_wants_a_reason() {
        let waive = ["--repeat", "7", "--waive", "9"];
        let refused = answers(&flags(&waive), &preview()).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        let given = answers(
            &flags(&[&waive[..], &["--reason", "found again"]].concat()),
            &preview(),
        );
        let given = given.unwrap();
        assert_eq!(given.len(), 2);
        assert!(given.iter().any(|answer| answer.reason == "found again"));
    }

    #[test]
    fn an_answer_to_no_item_or_to_both_sides_is_refused() {
        for wrong in [
            &["--repeat", "8"][..],
            &["--repeat", "7", "--waive", "7", "--reason", "x"][..],
        ] {
            let refused = answers(&flags(wrong), &preview()).unwrap_err();
            assert_eq!(refused.exit, Exit::Usage);
        }
    }

    #[test]
    fn without_items_nothing_needs_an_answer() {
        let none = PreviewRolloverResponse::default();
        assert!(answers(&flags(&[]), &none).unwrap().is_empty());
    }
}
