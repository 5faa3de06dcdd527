//! A trail as a file that anybody can check who has the public key, and the signature of a
//! trail's end as of now. The form is `credential::export`'s.

use std::collections::VecDeque;

use credential::checkpoint::{Checkpoint, Claim, Seen, Trail};
use credential::export as form;
use domain::audit::{Head, Row};
use domain::{LineId, UnixMs};
use futures::{StreamExt, stream};
use proto::audit::v1 as wired;

use super::{Parts, ROWS_AT_ONCE, Source, operators_only};
use crate::checkpoints;
use crate::edge::Edge;
use crate::reads::{Read, Watch};
use crate::request::Ask;
use crate::status::Refusal;
use crate::wire;

/// Rows in one part of an export.
const ROWS_A_PART: usize = 256;

/// Signs what is here of a trail.
///
/// # Errors
/// `Internal` without the key in use, which no running node is.
pub(super) fn sign(
    edge: &Edge,
    trail: Trail,
    head: Head,
    claim: Claim,
) -> Result<Checkpoint, Refusal> {
    let at = now(edge);
    let seen = Seen {
        trail,
        head,
        at,
        claim,
    };
    edge.keyring()
        .sign_checkpoint(seen)
        .ok_or_else(|| Refusal::Internal("no key signs checkpoints".to_owned()))
}

fn now(edge: &Edge) -> UnixMs {
    edge.now(&edge.node().main().state())
}

/// The end of a trail here, signed.
pub(super) async fn checkpoint(
    edge: &Edge,
    ask: Ask<wired::GetCheckpointRequest>,
) -> Result<wired::GetCheckpointResponse, Refusal> {
    operators_only(&ask)?;
    let source = Source::named(edge, &ask.body.line)?;
    let missing = |why: String| Refusal::NoEvidence { why };
    let head = match &source {
        Source::Line(line) => edge.node().durable_audit(line).await,
        Source::Reads => Ok(edge.parts().reads.head()),
    }
    .map_err(|error| missing(error.to_string()))?;
    let signed = sign(edge, source.trail(edge), head, Claim::End)?;
    let public_key = edge
        .keyring()
        .checkpoint_keys()
        .find(|(id, _)| *id == signed.key)
        .map(|(_, key)| key.to_string());
    let read = Read::of(format!("line={}", ask.body.line), 1);
    edge.note_read(&ask, &edge.serving_line().state(), read)?;
    Ok(wired::GetCheckpointResponse {
        line: match &source {
            Source::Line(line) => Some(wire::line_reference(line)),
            Source::Reads => None,
        },
        event_count: head.sequence,
        hash: head.hash.to_string(),
        time: Some(wire::time(signed.seen.at)),
        key_id: signed.key,
        public_key: public_key.unwrap_or_default(),
        checkpoint: domain::encoding::encode(&signed),
    })
}

/// How far an export is.
struct Export {
    edge: Edge,
    source: Source,
    trail: Trail,
    /// Those that were signed of the trail, as far as they come after what was told.
    signed: VecDeque<Checkpoint>,
    first: Option<u64>,
    head: Head,
    stage: Stage,
    /// Its end is noted when the export is dropped, told to its end or not.
    watch: Watch,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Beginning,
    Rows,
    Done,
}

/// The whole trail as it is here, which ends with a signature over its end.
pub(super) async fn export(
    edge: &Edge,
    ask: Ask<wired::ExportAuditRequest>,
) -> Result<Parts<wired::ExportAuditResponse>, Refusal> {
    operators_only(&ask)?;
    let source = Source::named(edge, &ask.body.line)?;
    // Before the rows are read: whatever was signed by now must be among them.
    let signed = checkpoints::read(source.folder(edge))
        .await
        .map_err(|error| Refusal::DataLoss {
            reason: "LOG_DAMAGED",
            what: error.to_string(),
        })?;
    // A trail that is not here is told at once, not in the middle of a stream.
    source.page(edge, 0, 1).await?;
    let state = edge.serving_line().state();
    let watch = edge.note_watch(&ask, &state, format!("line={}", ask.body.line))?;
    let export = Export {
        trail: source.trail(edge),
        source,
        signed: signed.into(),
        first: None,
        head: Head::default(),
        stage: Stage::Beginning,
        watch,
        edge: edge.clone(),
    };
    let parts = stream::unfold(export, |mut export| async move {
        if export.stage == Stage::Done {
            return None;
        }
        let told = match export.next().await {
            Ok(parts) => parts
                .into_iter()
                .map(|chunk| Ok(wired::ExportAuditResponse { chunk }))
                .collect(),
            Err(refusal) => {
                export.stage = Stage::Done;
                vec![Err(export.edge.status(refusal))]
            }
        };
        Some((stream::iter(told), export))
    });
    Ok(parts.flatten().boxed())
}

impl Export {
    async fn next(&mut self) -> Result<Vec<Vec<u8>>, Refusal> {
        if self.stage == Stage::Beginning {
            self.stage = Stage::Rows;
            return Ok(vec![form::BEGINNING.to_vec()]);
        }
        let from = self.first.map_or(0, |_| self.head.sequence);
        let rows = self.source.page(&self.edge, from, ROWS_AT_ONCE).await?;
        if rows.is_empty() {
            self.stage = Stage::Done;
            return Ok(vec![self.end()?]);
        }
        rows.chunks(ROWS_A_PART)
            .map(|rows| self.part(rows))
            .collect()
    }

    fn damaged(&self, what: &str) -> Refusal {
        Refusal::DataLoss {
            reason: "LOG_DAMAGED",
            what: format!(
                "the audit trail {} here, after {} records: {what}",
                self.trail.name(),
                self.head.sequence
            ),
        }
    }

    fn part(&mut self, rows: &[Row]) -> Result<Vec<u8>, Refusal> {
        let mut part = Vec::new();
        for row in rows {
            match self.first {
                Some(_) if !row.follows(&self.head) => {
                    return Err(self.damaged("records are missing or of another chain"));
                }
                Some(_) => {}
                None => self.begin(row)?,
            }
            self.head = row.head();
            part.extend_from_slice(&form::row(row));
            self.watch.count(1);
            while let Some(signed) = self.signed.front() {
                let seen = &signed.seen;
                if seen.head.sequence > self.head.sequence {
                    break;
                }
                if seen.head.sequence == self.head.sequence {
                    if seen.head.hash != self.head.hash {
                        return Err(self.damaged("other records were signed"));
                    }
                    part.extend_from_slice(&form::checkpoint(signed));
                }
                self.signed.pop_front();
            }
        }
        Ok(part)
    }

    fn begin(&mut self, first: &Row) -> Result<(), Refusal> {
        let whole = match &self.source {
            Source::Line(line) => match &line.line {
                LineId::Main => first.follows(&self.origin()),
                LineId::Branch { .. } => true,
            },
            Source::Reads => first.follows(&Head::default()),
        };
        if !whole {
            return Err(Refusal::NoEvidence {
                why: "the first records are missing here: ask another node".to_owned(),
            });
        }
        self.first = Some(first.sequence);
        Ok(())
    }

    /// Where the main line's trail begins: the earlier records of a restored cluster are in the old
    /// one's, and those of an earlier epoch in the trail of that.
    fn origin(&self) -> Head {
        self.edge.node().main().began_with()
    }

    fn end(&mut self) -> Result<Vec<u8>, Refusal> {
        if !self.signed.is_empty() {
            return Err(self.damaged("more records were signed than there are"));
        }
        let claim = Claim::Export {
            first: self.first.unwrap_or_default(),
        };
        let signed = sign(&self.edge, self.trail.clone(), self.head, claim)?;
        Ok(form::checkpoint(&signed))
    }
}
