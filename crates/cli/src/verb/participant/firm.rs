//! `participant show`, `create` and `rename`.

use proto::admin::v1::{
    CreateParticipantRequest, GetParticipantRequest, Participant, UpdateParticipantRequest,
};

use super::{Row, shut, table};
use crate::args::firm::{Firm, Named, Show};
use crate::client::{Operator, told};
use crate::exit::Failure;
use crate::output::Output;
use crate::verb::already;

/// Does what is asked.
///
/// # Errors
/// What went wrong, with its exit code.
pub(super) async fn run(flags: &Firm, output: Output) -> Result<(), Failure> {
    match flags {
        Firm::Show(flags) => show(flags, output).await,
        Firm::Create(flags) => already(&flags.change, create(flags, output).await, output),
        Firm::Rename(flags) => already(&flags.change, rename(flags, output).await, output),
        Firm::Suspend(flags) => {
            let done = shut::suspend(flags, output).await;
            already(&flags.of.change, done, output)
        }
        Firm::Resume(flags) => already(&flags.change, shut::resume(flags, output).await, output),
        Firm::Delete(flags) => {
            let done = shut::delete(flags, output).await;
            already(&flags.of.change, done, output)
        }
    }
}

pub(super) fn name(id: &str) -> String {
    format!("participants/{id}")
}

fn shown(firm: Option<Participant>, output: Output) -> Result<(), Failure> {
    let rows: Vec<Row> = firm.into_iter().map(Row::from).collect();
    output.data(&serde_json::json!({ "participants": rows }), || {
        table(&rows)
    })
}

fn dry(flags: &Named, act: &str, output: Output) -> Result<(), Failure> {
    output.talk("dry run: nothing was changed");
    let document = serde_json::json!({
        "dry_run": true, "act": act, "participant": name(&flags.participant),
    });
    output.data(&document, || {
        format!(
            "would {act} {} as {}",
            name(&flags.participant),
            flags.title
        )
    })
}

/// The participant as it is to be.
fn wanted(flags: &Named) -> Participant {
    Participant {
        name: name(&flags.participant),
        title: flags.title.clone(),
        ..Participant::default()
    }
}

async fn show(flags: &Show, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let message = GetParticipantRequest {
        name: name(&flags.participant),
    };
    let request = node.request(message, None);
    let answer = told(node.participant().get_participant(request).await)?;
    shown(answer.participant, output)
}

async fn create(flags: &Named, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let id = node.request_id(&flags.change);
    let message = CreateParticipantRequest {
        request_id: id.to_string(),
        participant: Some(wanted(flags)),
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.participant();
        async move { client.create_participant(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    if flags.change.dry_run {
        return dry(flags, "create", output);
    }
    shown(answer.participant, output)
}

async fn rename(flags: &Named, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let id = node.request_id(&flags.change);
    let message = UpdateParticipantRequest {
        request_id: id.to_string(),
        participant: Some(wanted(flags)),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["title".to_owned()],
        }),
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.participant();
        async move { client.update_participant(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    if flags.change.dry_run {
        return dry(flags, "rename", output);
    }
    shown(answer.participant, output)
}
