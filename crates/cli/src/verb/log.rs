//! `log export` and `log replay`. Replaying is the third party's part of I4: it is given an
//! exported log and nothing else, and gets the digests of the state.

use consensus::export::{self, Start};
use proto::operator::v1::ExportLogRequest;
use tokio::io::AsyncWriteExt as _;

use crate::args::log::{Export, Log, Replay};
use crate::client::{Operator, told};
use crate::drill::Replayed;
use crate::exit::{Failure, file_failure};
use crate::output::Output;

/// Exports or replays.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Log, output: Output) -> Result<(), Failure> {
    match flags {
        Log::Export(flags) => write(flags, output).await,
        Log::Replay(flags) => replay(flags, output),
    }
}

async fn write(flags: &Export, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let message = ExportLogRequest {
        line: flags.line.clone(),
    };
    let mut chunks = told(node.cluster().export_log(node.request(message, None)).await)?;
    let failed = |error: std::io::Error| file_failure("write", &flags.file, &error);
    let mut to = tokio::fs::File::create(&flags.file).await.map_err(failed)?;
    let mut bytes = 0_u64;
    while let Some(part) = chunks
        .message()
        .await
        .map_err(|status| crate::refusal::failure(&status, crate::refusal::Asked::Read))?
    {
        bytes += u64::try_from(part.chunk.len()).unwrap_or(0);
        to.write_all(&part.chunk).await.map_err(failed)?;
    }
    to.flush().await.map_err(failed)?;
    let document = serde_json::json!({
        "node": node.node(), "line": flags.line, "file": flags.file, "bytes": bytes,
    });
    output.data(&document, || {
        format!("{bytes} bytes of {} from node {}", flags.line, node.node())
    })
}

fn replay(flags: &Replay, output: Output) -> Result<(), Failure> {
    let damaged = |error: &dyn std::fmt::Display| Failure::mismatch(error.to_string());
    let replayed = export::replay(&flags.file, flags.restored_from.as_deref())
        .map_err(|error| damaged(&error))?;
    let digests = replayed.state.digests();
    let document = Replayed {
        term: replayed.last.term,
        node: replayed.last.node,
        index: replayed.last.index,
        entries: replayed.entries,
        from: match replayed.start {
            Start::FirstEntry => "first entry".to_owned(),
            Start::Restored => "backup that the cluster began with".to_owned(),
            Start::Snapshot(last) => format!("snapshot at {last}"),
        },
        account: digests.account.to_string(),
        full: digests.full.to_string(),
    };
    output.data(&document, || {
        format!(
            "{} entries from the {}, to entry {}\naccount  {}\nfull     {}",
            document.entries, document.from, document.index, document.account, document.full
        )
    })
}
