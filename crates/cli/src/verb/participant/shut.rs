//! `participant suspend`, `resume` and `delete`: a firm as a whole. Suspending takes one operator,
//! the others two (S34).

use domain::approval::Act;
use domain::participant::{self, Wanted};
use proto::admin::v1::{
    DeleteParticipantRequest, GetParticipantRequest, Participant, ResumeParticipantRequest,
    SuspendParticipantRequest,
};
use proto::operator::v1::SuspendParticipantOnMainLineRequest;

use super::firm::name;
use super::state;
use crate::args::firm::{Delete, Seen, Suspend};
use crate::client::{Operator, told};
use crate::exit::Failure;
use crate::output::Output;
use crate::verb::{approved, confirmed};

/// Why, which the audit keeps.
fn wanted(flags: &Seen) -> Result<String, Failure> {
    let reason = flags.change.reason.clone();
    reason.ok_or_else(|| Failure::usage("this act wants --reason, for the audit"))
}

/// The participant, shown on stderr before anything is done to it.
async fn before(node: &Operator, flags: &Seen, output: Output) -> Result<Participant, Failure> {
    let message = GetParticipantRequest {
        name: name(&flags.participant),
    };
    let request = node.request(message, None);
    let found = told(node.participant().get_participant(request).await)?;
    let found = found.participant.unwrap_or_default();
    let now = state(found.state());
    output.talk(&format!("{}, {}, {now}", found.name, found.title));
    Ok(found)
}

fn dry(flags: &Seen, act: &str, output: Output) -> Result<(), Failure> {
    output.talk("dry run: nothing was changed");
    let name = name(&flags.participant);
    let document = serde_json::json!({ "dry_run": true, "act": act, "participant": name });
    output.data(&document, || format!("would {act} {name}"))
}

pub(super) async fn suspend(flags: &Suspend, output: Output) -> Result<(), Failure> {
    let of = &flags.of;
    let reason = wanted(of)?;
    let name = name(&of.participant);
    let dry_run = of.change.dry_run;
    let notice = if flags.main_line {
        let node = Operator::connect(&of.connection).await?;
        let id = node.request_id(&of.change);
        let message = SuspendParticipantOnMainLineRequest {
            request_id: id.to_string(),
            name: name.clone(),
            reason,
            validate_only: dry_run,
        };
        let ask = |request| {
            let mut client = node.emergency();
            async move { client.suspend_participant_on_main_line(request).await }
        };
        node.change(id, &of.change, message, ask).await?.notice
    } else {
        let node = Operator::serving(&of.connection).await?;
        let id = node.request_id(&of.change);
        let message = SuspendParticipantRequest {
            request_id: id.to_string(),
            name: name.clone(),
            reason,
            validate_only: dry_run,
        };
        let ask = |request| {
            let mut client = node.participant();
            async move { client.suspend_participant(request).await }
        };
        node.change(id, &of.change, message, ask).await?.notice
    };
    if dry_run {
        return dry(of, "suspend", output);
    }
    let document = serde_json::json!({
        "act": "suspended", "participant": name, "main_line": flags.main_line, "notice": notice,
    });
    output.data(&document, || format!("suspended {name}\n{notice}"))
}

/// What an operator says: the act that is signed, of the participant as it was shown.
fn act(flags: &Seen, found: &Participant, wanted: Wanted) -> Result<participant::Act, Failure> {
    let usage = |wrong: domain::id::Malformed| Failure::usage(wrong.to_string());
    Ok(participant::Act {
        participant: flags.participant.parse().map_err(usage)?,
        wanted,
        seen: found.etag.parse().ok(),
    })
}

pub(super) async fn resume(flags: &Seen, output: Output) -> Result<(), Failure> {
    let reason = wanted(flags)?;
    let node = Operator::connect(&flags.connection).await?;
    let found = before(&node, flags, output).await?;
    let act = Act::Participant(act(flags, &found, Wanted::Resume)?);
    let seen = node.seen().await?;
    let dry_run = flags.change.dry_run;
    let approval = node.sign_unless_dry(&flags.change, &act, &seen, output)?;
    let id = node.request_id(&flags.change);
    let message = ResumeParticipantRequest {
        request_id: id.to_string(),
        name: found.name.clone(),
        etag: found.etag,
        reason,
        approval,
        validate_only: dry_run,
    };
    let ask = |request| {
        let mut client = node.participant();
        async move { client.resume_participant(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    if dry_run {
        return dry(flags, "say: resume", output);
    }
    let what = format!("resume {}", found.name);
    approved(output, &what, answer.approval_count, answer.needed_count)
}

pub(super) async fn delete(flags: &Delete, output: Output) -> Result<(), Failure> {
    let of = &flags.of;
    let reason = wanted(of)?;
    let node = Operator::connect(&of.connection).await?;
    let found = before(&node, of, output).await?;
    let act = Act::Participant(act(of, &found, Wanted::Delete)?);
    let seen = node.seen().await?;
    let dry_run = of.change.dry_run;
    let approval = if dry_run {
        crate::approval::show(&act, &seen, output);
        None
    } else {
        confirmed(
            &flags.confirm,
            &of.participant,
            "A deleted participant is gone for good with all its accounts, and no id of them is \
             ever used again.",
            output,
        )?;
        Some(node.sign(&act, &seen, output)?)
    };
    let id = node.request_id(&of.change);
    let message = DeleteParticipantRequest {
        request_id: id.to_string(),
        name: found.name.clone(),
        etag: found.etag,
        reason,
        approval,
        validate_only: dry_run,
    };
    let ask = |request| {
        let mut client = node.participant();
        async move { client.delete_participant(request).await }
    };
    let answer = node.change(id, &of.change, message, ask).await?;
    if dry_run {
        return dry(of, "say: delete", output);
    }
    let what = format!("delete {}", found.name);
    approved(output, &what, answer.approval_count, answer.needed_count)
}
