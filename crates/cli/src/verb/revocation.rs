//! `revocation show` and `revocation set`: the revocation list of smartcards (S36).

use proto::operator::v1::{
    GetRevocationListRequest, RevocationList, SetRevocationListOnBranchRequest,
    SetRevocationListRequest,
};

use crate::args::revocation::{Revocation, Set, Show};
use crate::client::{Operator, told};
use crate::drill::words;
use crate::exit::{Exit, Failure, file_failure};
use crate::output::Output;
use crate::verb::already;

/// Shows or sets the list.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Revocation, output: Output) -> Result<(), Failure> {
    match flags {
        Revocation::Show(flags) => show(flags, output).await,
        Revocation::Set(flags) => already(&flags.change, set(flags, output).await, output),
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

/// Sets the list on the main line, and on the branch of a session that is open: two commands, each
/// told by itself, since nothing flows from line to line.
async fn set(flags: &Set, output: Output) -> Result<(), Failure> {
    let list =
        std::fs::read(&flags.list).map_err(|error| file_failure("read", &flags.list, &error))?;
    let node = Operator::connect(&flags.connection).await?;
    let id = node.request_id(&flags.change);
    let message = SetRevocationListRequest {
        request_id: id.to_string(),
        list: list.clone(),
        dry_run: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.revocation_list();
        async move { client.set_revocation_list(request).await }
    };
    let on_main = node.change(id, &flags.change, message, ask).await;
    let message = SetRevocationListOnBranchRequest {
        request_id: id.to_string(),
        list,
        dry_run: flags.change.dry_run,
    };
    // A main line that cannot be reached, or has the list already, keeps it from no branch.
    let serving = Operator::serving(&flags.connection).await?;
    let ask = |request| {
        let mut client = serving.revocation_list();
        async move { client.set_revocation_list_on_branch(request).await }
    };
    let on_branch = serving.change(id, &flags.change, message, ask).await;
    if flags.change.dry_run {
        output.talk("dry run: nothing was changed");
    }
    let on_branch = match on_branch {
        Err(failure) if failure.reason.as_deref() == Some("BRANCH_ONLY") => None,
        told => Some(told),
    };
    if let Some(told) = &on_branch {
        let said = |what: &Result<(), &Failure>| match what {
            Ok(()) => "set".to_owned(),
            Err(failure) => failure.what.clone(),
        };
        let main = on_main.as_ref().map(|_| ());
        let branch = told.as_ref().map(|_| ());
        output.talk(&format!("main line: {}", said(&main)));
        output.talk(&format!("branch: {}", said(&branch)));
    }
    let list = match (on_main, on_branch) {
        (Err(failure), Some(Ok(answer))) if failure.exit == Exit::Already => answer.revocation_list,
        (Err(failure), Some(Ok(_)) | None) => return Err(failure),
        (Ok(_) | Err(_), Some(Err(failure))) => return Err(failure),
        (Ok(answer), Some(Ok(_)) | None) => answer.revocation_list,
    };
    tell(output, list.as_ref(), "-", flags.change.dry_run)
}
