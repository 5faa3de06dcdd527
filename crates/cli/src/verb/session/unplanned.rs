//! `session open --unplanned`: the session opens at the secondary although the primary cannot be
//! asked. What is known of the main line there is shown; the centre's name is typed.

use proto::operator::v1::{BoundaryFinding, OpenUnplannedRequest, UnplannedOpening};

use super::{confirmed, entry, holder, show, would};
use crate::args::session::Open;
use crate::client::{Operator, acted};
use crate::drill::words;
use crate::exit::Failure;
use crate::output::Output;

pub(super) async fn open(flags: &Open, output: Output) -> Result<(), Failure> {
    let Some(reason) = flags.change.reason.clone() else {
        return Err(Failure::usage(
            "opening without the primary wants --reason, for the evidence",
        ));
    };
    let any = Operator::connect(&flags.connection).await?;
    let entry = entry(&any, &flags.session).await?;
    show(&entry, output);
    let centre = entry
        .session
        .map(|session| session.centre)
        .unwrap_or_default();
    if !flags.change.dry_run {
        confirmed(
            &flags.confirm,
            &centre,
            "Without the primary, what it answered and did not send here is missing in the session.",
            output,
        )?;
    }
    let node = holder(&flags.connection, &centre).await?;
    let message = OpenUnplannedRequest {
        session: flags.session.clone(),
        reason,
        validate_only: flags.change.dry_run,
    };
    let request = node.request(message, None);
    let answer = acted(node.session().open_unplanned(request).await)?;
    if flags.change.dry_run {
        let act = format!("begin the branch at {centre} from the best node's last entry");
        return would(output, &act);
    }
    let session = answer.session.unwrap_or_default();
    let boundary = session.boundary.clone().unwrap_or_default();
    let place = boundary
        .log_id
        .as_ref()
        .map(words::log_id)
        .unwrap_or_default();
    let digest = boundary.digests.unwrap_or_default().full;
    let unplanned = session.unplanned.unwrap_or_default();
    let document = serde_json::json!({
        "session": flags.session,
        "centre": session.centre,
        "boundary": { "log_id": place, "full_digest": digest },
        "unplanned": document(&unplanned),
    });
    output.data(&document, || {
        format!(
            "{} is open at {} without the primary\nboundary  {place}\ndigest    {digest}\n{}",
            flags.session,
            session.centre,
            text(&unplanned),
        )
    })
}

/// How it was opened, for scripts.
pub(super) fn document(of: &UnplannedOpening) -> serde_json::Value {
    serde_json::json!({
        "by": of.actor,
        "reason": of.reason,
        "at": words::local(of.order_time.as_ref()),
        "known_committed": of.committed_log_id.as_ref().map(words::log_id),
        "used_beyond": of.used_count,
        "given_up_since": of.degraded_time.as_ref().map(|time| words::local(Some(time))),
        "boundary": finding(of.finding()),
    })
}

/// How it was opened, for people.
pub(super) fn text(of: &UnplannedOpening) -> String {
    let mut text = format!(
        "Opened without the primary by {} at {}: {}\nknown to be committed up to {}; {} changes \
         used beyond\n{}",
        of.actor,
        words::local(of.order_time.as_ref()),
        of.reason,
        of.committed_log_id
            .as_ref()
            .map(words::log_id)
            .unwrap_or_default(),
        of.used_count,
        finding(of.finding()),
    );
    if of.degraded_time.is_some() {
        text.push_str(&format!(
            "\nwhat the primary answered since {} is missing in it",
            words::local(of.degraded_time.as_ref())
        ));
    }
    text
}

fn finding(of: BoundaryFinding) -> &'static str {
    match of {
        BoundaryFinding::Unspecified => "the main line does not know of it yet",
        BoundaryFinding::OnMainLine => "boundary on the main line",
        BoundaryFinding::NotOnMainLine => "boundary not on the main line",
    }
}

/// Whether the session used entries that are not on the main line: done, with loss.
pub(super) fn is_lossy(of: Option<&UnplannedOpening>) -> bool {
    of.is_some_and(|of| match of.finding() {
        BoundaryFinding::NotOnMainLine => true,
        BoundaryFinding::OnMainLine | BoundaryFinding::Unspecified => false,
    })
}
