//! `audit`: verify, export, list and watch. The chain is checked here, row by row, from what the
//! node sent or what a file holds: the node's own word on the matter is not asked.

use std::io::Read as _;
use std::path::Path;

use credential::checkpoint::PublicKey;
use credential::export::{Chain, Fault, Whole};
use domain::Digest;
use proto::audit::v1::ExportAuditRequest;
use serde::Serialize;

use self::progress::Progress;
use crate::args::audit::{Audit, Export, Verify};
use crate::client::{Operator, told};
use crate::exit::{Failure, file_failure};
use crate::output::{Output, Table};
use crate::profile::Profile;
use crate::refusal::{self, Asked};

pub(super) mod list;
mod progress;
mod watch;

/// Bytes of a file that are read at once.
const PART_BYTES: usize = 256 * 1024;

/// Verifies, exports, lists or watches.
///
/// # Errors
/// What went wrong, with its exit code; 7 if a chain is broken.
pub async fn run(flags: &Audit, output: Output) -> Result<(), Failure> {
    match flags {
        Audit::Verify(flags) => verify(flags, output).await,
        Audit::Export(flags) => export(flags, output).await,
        Audit::List(flags) => list::run(flags, output).await,
        Audit::Watch(flags) => watch::run(flags, output).await,
    }
}

#[derive(Serialize)]
struct Verified {
    node: u64,
    rows: u64,
    head: String,
    fault: Option<String>,
}

/// Whether the trail ends with the row that it should end with.
fn check_head(found: Option<&Digest>, wanted: Option<&Digest>) -> Result<(), Failure> {
    match (found, wanted) {
        (_, None) => Ok(()),
        (Some(found), Some(wanted)) if found == wanted => Ok(()),
        (found, Some(wanted)) => Err(Failure::mismatch(format!(
            "the trail ends with {}, not with {wanted}",
            found.map_or_else(|| "no row".to_owned(), ToString::to_string)
        ))
        .next("a trail that was cut, or that goes on, ends with another row")),
    }
}

/// The hash of the last row.
fn head(of: &Whole) -> String {
    of.head
        .map(|head| head.hash.to_string())
        .unwrap_or_default()
}

/// Checks an exported trail; no node is asked.
fn verify_file(path: &Path, flags: &Verify, output: Output) -> Result<(), Failure> {
    if flags.keys.is_empty() && flags.head.is_none() {
        return Err(Failure::usage(
            "nobody's signature is believed: a trail could have been made anew",
        )
        .next("give --key HEX, which tidemark key list prints, or --head HASH"));
    }
    let failed = |error: std::io::Error| file_failure("read", path, &error);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut part = vec![0; PART_BYTES];
    let mut progress = Progress::new("checked", output);
    let mut chain = Chain::believing(&flags.keys);
    let wrong = |fault: Fault| Failure::mismatch(format!("{}: {fault}", path.display()));
    loop {
        let length = file.read(&mut part).map_err(failed)?;
        let read = part.get(..length).unwrap_or_default();
        if read.is_empty() {
            break;
        }
        chain.take(read).map_err(wrong)?;
        progress.took(read.len());
    }
    let whole = chain.end().map_err(wrong)?;
    check_head(
        whole.head.map(|head| head.hash).as_ref(),
        flags.head.as_ref(),
    )?;
    let trail = whole.trail.as_ref().map_or("-", |trail| trail.name());
    let document = serde_json::json!({
        "file": path, "line": trail, "rows": whole.rows, "first": whole.first,
        "head": head(&whole), "checkpoints": whole.checkpoints, "approvals": whole.approvals,
        "ended_at": whole.ended_at.map(|at| at.to_string()),
    });
    output.data(&document, || {
        let signed = match whole.checkpoints {
            Some(count) => format!("{count} signatures good"),
            None => "signatures not checked".to_owned(),
        };
        let approved = format!("{} operators' approvals good", whole.approvals);
        let ended = whole.ended_at.map(|at| at.to_string()).unwrap_or_default();
        format!(
            "{trail}: {} rows from {}, whole and in order, head {}\n{signed}; {approved}; exported {ended}",
            whole.rows,
            whole.first,
            head(&whole)
        )
    })
}

async fn verify(flags: &Verify, output: Output) -> Result<(), Failure> {
    if let Some(path) = &flags.file {
        return verify_file(path, flags, output);
    }
    let connection = flags
        .connection
        .get("check an exported trail: tidemark audit verify FILE")?;
    let nodes = if flags.all_nodes {
        let profile = Profile::read(&connection.profile)?;
        Operator::each(&connection, &profile)?
    } else {
        vec![Operator::connect(&connection).await?]
    };
    let mut found = Vec::new();
    for node in &nodes {
        found.push(one(node, &flags.line, &flags.keys, output).await?);
    }
    output.data(
        &serde_json::json!({ "line": flags.line, "nodes": found }),
        || {
            let mut table = Table::new(&["NODE", "ROWS", "HEAD", "CHAIN"]);
            for row in &found {
                table.row([
                    row.node.to_string(),
                    row.rows.to_string(),
                    row.head.clone(),
                    row.fault.clone().unwrap_or_else(|| "whole".to_owned()),
                ]);
            }
            table.text()
        },
    )?;
    let broken = found.iter().filter(|row| row.fault.is_some()).count();
    // Trails are read one after another, so that a later one may be longer; of the same length
    // they must be the same.
    let differ = found.iter().any(|row| {
        let same = |other: &&Verified| other.rows == row.rows && other.head != row.head;
        found.iter().any(|other| same(&other))
    });
    if broken > 0 {
        return Err(
            Failure::mismatch(format!("the trail is broken at {broken} nodes"))
                .next("keep the data folders as they are, and call whoever is responsible"),
        );
    }
    if differ {
        return Err(
            Failure::mismatch("the nodes have different trails of one length")
                .next("keep the data folders as they are, and call whoever is responsible"),
        );
    }
    for row in &found {
        let head: Option<Digest> = row.head.parse().ok();
        check_head(head.as_ref(), flags.head.as_ref())?;
    }
    Ok(())
}

async fn one(
    node: &Operator,
    line: &str,
    keys: &[PublicKey],
    output: Output,
) -> Result<Verified, Failure> {
    let mut chain = Chain::believing(keys);
    let mut progress = Progress::new(&format!("node {}: checked", node.node()), output);
    let taken = read(node, line, |part| {
        progress.took(part.len());
        chain.take(part)
    })
    .await?;
    let ended = taken.and_then(|()| chain.end());
    Ok(match ended {
        Ok(whole) => Verified {
            node: node.node(),
            rows: whole.rows,
            head: head(&whole),
            fault: None,
        },
        Err(fault) => Verified {
            node: node.node(),
            rows: 0,
            head: String::new(),
            fault: Some(fault.to_string()),
        },
    })
}

/// Hands each part of the trail on, until one is refused.
async fn read<E>(
    node: &Operator,
    line: &str,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Result<(), E>, Failure> {
    let message = ExportAuditRequest {
        line: line.to_owned(),
    };
    let mut parts = told(node.audit().export_audit(node.request(message, None)).await)?;
    while let Some(part) = parts
        .message()
        .await
        .map_err(|status| refusal::failure(&status, Asked::Read))?
    {
        if let Err(refused) = take(&part.chunk) {
            return Ok(Err(refused));
        }
    }
    Ok(Ok(()))
}

async fn export(flags: &Export, output: Output) -> Result<(), Failure> {
    use std::io::Write as _;
    let node = Operator::connect(&flags.connection).await?;
    let mut chain = Chain::default();
    let failed = |error: std::io::Error| file_failure("write", &flags.file, &error);
    let mut file = std::fs::File::create(&flags.file).map_err(failed)?;
    let wrong = |fault: Fault| Failure::mismatch(fault.to_string());
    let mut progress = Progress::new("exported", output);
    read(&node, &flags.line, |part| {
        progress.took(part.len());
        file.write_all(part).map_err(failed)?;
        chain.take(part).map_err(wrong)
    })
    .await??;
    let whole = chain.end().map_err(wrong)?;
    file.sync_all().map_err(failed)?;
    let (rows, head) = (whole.rows, head(&whole));
    let document = serde_json::json!({
        "line": flags.line, "file": flags.file, "rows": rows, "head": head,
    });
    output.data(&document, || format!("{rows} rows, head {head}"))
}
