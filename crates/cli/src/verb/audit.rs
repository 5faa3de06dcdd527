//! `audit verify` and `audit export`. The chain is checked here, row by row, from what the node
//! sent: its own word on the matter is not asked.

use domain::audit::{Head, Row};
use proto::audit::v1::ExportAuditRequest;
use serde::Serialize;

use crate::args::audit::{Audit, Export, Verify};
use crate::client::{Operator, told};
use crate::exit::{Failure, file_failure};
use crate::output::{Output, Table};
use crate::profile::Profile;
use crate::refusal::{self, Asked};

/// Bytes of a row's length, before it.
const LENGTH_BYTES: usize = 4;
/// Most bytes of a row.
const ROW_BYTES_MAX: usize = 1024 * 1024;

/// Verifies or exports.
///
/// # Errors
/// What went wrong, with its exit code; 7 if a chain is broken.
pub async fn run(flags: &Audit, output: Output) -> Result<(), Failure> {
    match flags {
        Audit::Verify(flags) => verify(flags, output).await,
        Audit::Export(flags) => export(flags, output).await,
    }
}

/// A trail as it is read: each row follows on the one before.
#[derive(Debug, Default)]
struct Chain {
    pending: Vec<u8>,
    head: Option<Head>,
    rows: u64,
}

impl Chain {
    /// Takes a part of the trail; its rows may begin and end anywhere.
    fn take(&mut self, part: &[u8]) -> Result<(), String> {
        self.pending.extend_from_slice(part);
        let mut used = 0;
        while let Some((length, rest)) = self
            .pending
            .get(used..)
            .and_then(|left| left.split_first_chunk::<LENGTH_BYTES>())
        {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if length > ROW_BYTES_MAX {
                return Err(format!("row {} has {length} bytes", self.rows + 1));
            }
            let Some(row) = rest.get(..length) else {
                break;
            };
            let row: Row = domain::encoding::decode(row)
                .map_err(|error| format!("row {} cannot be read: {error}", self.rows + 1))?;
            used += LENGTH_BYTES + length;
            self.follow(&row)?;
        }
        self.pending.drain(..used);
        Ok(())
    }

    fn follow(&mut self, row: &Row) -> Result<(), String> {
        // A branch's own trail begins where it left the main line's.
        if let Some(head) = &self.head
            && !row.follows(head)
        {
            return Err(format!(
                "row {} does not follow on the one before it: the chain is broken",
                row.sequence
            ));
        }
        self.head = Some(row.head());
        self.rows += 1;
        Ok(())
    }

    fn end(self) -> Result<(u64, String), String> {
        if self.pending.is_empty() {
            let hash = self.head.map(|head| head.hash.to_string());
            Ok((self.rows, hash.unwrap_or_default()))
        } else {
            Err("the trail is cut short".to_owned())
        }
    }
}

#[derive(Serialize)]
struct Verified {
    node: u64,
    rows: u64,
    head: String,
    fault: Option<String>,
}

async fn verify(flags: &Verify, output: Output) -> Result<(), Failure> {
    let nodes = if flags.all_nodes {
        let profile = Profile::read(&flags.connection.profile)?;
        Operator::each(&flags.connection, &profile)?
    } else {
        vec![Operator::connect(&flags.connection).await?]
    };
    let mut found = Vec::new();
    for node in &nodes {
        found.push(one(node, &flags.line).await?);
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
    Ok(())
}

async fn one(node: &Operator, line: &str) -> Result<Verified, Failure> {
    let mut chain = Chain::default();
    let taken = read(node, line, |part| chain.take(part)).await?;
    let ended = taken.and_then(|()| chain.end());
    Ok(match ended {
        Ok((rows, head)) => Verified {
            node: node.node(),
            rows,
            head,
            fault: None,
        },
        Err(fault) => Verified {
            node: node.node(),
            rows: 0,
            head: String::new(),
            fault: Some(fault),
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
    read(&node, &flags.line, |part| {
        file.write_all(part).map_err(failed)?;
        chain.take(part).map_err(Failure::mismatch)
    })
    .await??;
    let (rows, head) = chain.end().map_err(Failure::mismatch)?;
    let document = serde_json::json!({
        "line": flags.line, "file": flags.file, "rows": rows, "head": head,
    });
    output.data(&document, || format!("{rows} rows, head {head}"))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
mod tests {
    use domain::audit::{Kind, Verdict};
    use domain::{LogId, UnixMs};

    use super::*;

    fn trail(count: u64) -> Vec<Row> {
        let mut head = Head::default();
        (0..count)
            .map(|sequence| {
                let row = Row {
                    sequence,
                    previous: head.hash,
                    log: LogId::default(),
                    at: UnixMs(sequence),
                    session: None,
                    kind: Kind::LoggedOut,
                    verdict: Verdict::Done,
                    actor: "front-end/web-1".to_owned(),
                    by: "C1".to_owned(),
                    account: None,
                    participant: None,
                    class: None,
                    portal: None,
                    method: None,
                    repeat: None,
                    detail: None,
                };
                head = row.head();
                row
            })
            .collect()
    }

    fn bytes(rows: &[Row]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for row in rows {
            let row = domain::encoding::encode(row);
            bytes.extend_from_slice(&u32::try_from(row.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(&row);
        }
        bytes
    }

    #[test]
    fn a_whole_trail_is_verified_however_it_is_cut_into_parts() {
        let rows = trail(20);
        for part in [1, 7, 1_000_000] {
            let mut chain = Chain::default();
            for part in bytes(&rows).chunks(part) {
                chain.take(part).unwrap();
            }
            assert_eq!(chain.end().unwrap(), (20, rows[19].hash().to_string()));
        }
    }

    #[test]
    fn a_changed_missing_or_cut_row_is_found() {
        let mut changed = trail(5);
        changed[2].by = "C2".to_owned();
        assert!(Chain::default().take(&bytes(&changed)).is_err());
        let mut missing = trail(5);
        missing.remove(2);
        assert!(Chain::default().take(&bytes(&missing)).is_err());
        let whole = bytes(&trail(5));
        let mut cut = Chain::default();
        cut.take(&whole[..whole.len() - 1]).unwrap();
        assert!(cut.end().is_err());
    }
}
