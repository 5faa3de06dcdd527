//! `revocation show` and `revocation set`: the revocation list of smartcards (S36).

use proto::operator::v1::{GetRevocationListRequest, RevocationList, SetRevocationListRequest};

use crate::args::revocation::{Revocation, Set, Show};
use crate::client::{Operator, told};
use crate::drill::words;
use crate::exit::{Failure, file_failure};
use crate::output::Output;

/// Shows or sets the list.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Revocation, output: Output) -> Result<(), Failure> {
    match flags {
        Revocation::Show(flags) => show(flags, output).await,
        Revocation::Set(flags) => set(flags, output).await,
    }
}

fn tell(
    output: Output,
    list: Option<&RevocationList>,
    without: &str,
    dry_run: bool,
) -> Result<(), Failure> {
    let document = serde_json::json!({
        "dry_run": dry_run,
        "revocation_list": list.map(|list| serde_json::json!({
            "number": list.number,
            "this_update": words::local(list.this_update_time.as_ref()),
            "next_update": words::local(list.next_update_time.as_ref()),
            "usable_until": words::local(list.usable_until_time.as_ref()),
            "revoked": list.revoked_count,
        })),
    });
    output.data(&document, || match list {
        None => without.to_owned(),
        Some(list) => format!(
            "number {}: {} revoked\nmade         {}\nnext update  {}\nusable until {}",
            list.number,
            list.revoked_count,
            words::local(list.this_update_time.as_ref()),
            words::local(list.next_update_time.as_ref()),
            words::local(list.usable_until_time.as_ref()),
        ),
    })
}

async fn show(flags: &Show, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let request = node.request(GetRevocationListRequest {}, None);
    let answer = told(node.revocation_list().get_revocation_list(request).await)?;
    let without = if answer.required {
        "no revocation list was set: smartcards are refused until one is"
    } else {
        "no revocation list was set"
    };
    tell(output, answer.revocation_list.as_ref(), without, false)
}

async fn set(flags: &Set, output: Output) -> Result<(), Failure> {
    let list =
        std::fs::read(&flags.list).map_err(|error| file_failure("read", &flags.list, &error))?;
    let node = Operator::connect(&flags.connection).await?;
    let id = node.request_id(&flags.change);
    let message = SetRevocationListRequest {
        request_id: id.to_string(),
        list,
        dry_run: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.revocation_list();
        async move { client.set_revocation_list(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    if flags.change.dry_run {
        output.talk("dry run: nothing was changed");
    }
    let list = answer.revocation_list.as_ref();
    tell(output, list, "-", flags.change.dry_run)
}
