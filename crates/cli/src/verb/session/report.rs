//! `session report`: what is kept of a session, as the main line sealed it.

use proto::operator::v1::{Evidence, GetEvidenceRequest, PlanStage, Session};
use serde_json::json;

use super::unplanned;
use crate::args::session::Report;
use crate::client::{Operator, told};
use crate::drill::evidence::{answered, change};
use crate::drill::words;
use crate::exit::{Exit, Failure, file_failure};
use crate::output::{Output, Table};

pub(super) async fn run(flags: &Report, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let evidence = whole(&node, &flags.session).await?;
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
    output.data(&document, || text)?;
    let stage = evidence.session.as_ref().map(Session::stage);
    if stage == Some(PlanStage::Abandoned) && !evidence.not_available.is_empty() {
        return Err(Failure::new(
            Exit::Loss,
            format!("{}: {}", flags.session, evidence.not_available),
        ));
    }
    let opened = evidence.session.as_ref();
    if unplanned::is_lossy(opened.and_then(|session| session.unplanned.as_ref())) {
        return Err(Failure::new(
            Exit::Loss,
            format!(
                "{}: boundary not on the main line, {} changes that it used are lost",
                flags.session,
                evidence.lost.len()
            ),
        ));
    }
    Ok(())
}

/// The evidence with all pages of what was forgotten.
async fn whole(node: &Operator, session: &str) -> Result<Evidence, Failure> {
    let mut message = GetEvidenceRequest {
        session: session.to_owned(),
        ..GetEvidenceRequest::default()
    };
    let mut forgotten = Vec::new();
    loop {
        let request = node.request(message.clone(), None);
        let answer = told(node.session().get_evidence(request).await)?;
        let mut evidence = answer
            .evidence
            .ok_or_else(|| Failure::pre_check(format!("there is no evidence of {session} yet")))?;
        forgotten.append(&mut evidence.forgotten);
        message.page_token = std::mem::take(&mut evidence.next_page_token);
        if message.page_token.is_empty() {
            evidence.forgotten = forgotten;
            return Ok(evidence);
        }
    }
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
        "gap_accepted": evidence.gap_accepted,
        "not_available": evidence.not_available,
        "forgotten": evidence.forgotten.iter().map(change).collect::<Vec<_>>(),
        "must_repeat": answered(evidence),
        "unplanned": evidence
            .session
            .as_ref()
            .and_then(|session| session.unplanned.as_ref())
            .map(unplanned::document),
        "lost": evidence.lost.iter().map(change).collect::<Vec<_>>(),
    })
}

fn text(session: &str, evidence: &Evidence) -> String {
    let boundary = evidence.boundary.clone().unwrap_or_default();
    let mut text = format!(
        "# Session {session}\n\nBoundary {}, digest {}\nClosed {}, rolled over {}\n\
         Audit of the branch: {} events, head {}\n\n",
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
    );
    if !evidence.gap_accepted.is_empty() {
        text.push_str(&format!("Accepted by name: {}\n\n", evidence.gap_accepted));
    }
    if evidence.not_available.is_empty() {
        text.push_str(&done_there(evidence));
    } else {
        let why = &evidence.not_available;
        text.push_str(&format!("What was done there is not available: {why}"));
    }
    let opened = evidence.session.as_ref();
    if let Some(how) = opened.and_then(|session| session.unplanned.as_ref()) {
        text.push_str(&format!(
            "\n\n## Opening\n\n{}\n\nUsed, and not on the main line: {}\n\n",
            unplanned::text(how),
            evidence.lost.len()
        ));
        let mut table = Table::new(&["KIND", "ACCOUNT", "AT", "BY"]);
        for row in evidence.lost.iter().map(change) {
            table.row([row.kind, row.account, row.at, row.by]);
        }
        text.push_str(&table.text());
    }
    text
}

/// What was forgotten, and what had to be repeated.
fn done_there(evidence: &Evidence) -> String {
    let mut text = format!("## Forgotten: {}\n\n", evidence.forgotten.len());
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
