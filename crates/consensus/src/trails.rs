//! Audit rows between nodes, and what a closed branch leaves behind.
//!
//! A trail is one chain a line, so that rows that came from a peer prove themselves against the
//! head in the state.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use domain::audit::{Head, Kind, Row, Verdict};
use domain::session::Evidence;
use domain::{LineId, LineRef, NodeId, encoding};
use proto::peer::v1 as peer;
use tokio::time::Duration;
use tonic::Status;

use crate::audit::Trail;
use crate::line::Line;
use crate::node::{Error, Node, blocking};
use crate::{export, wire};

/// Rows that are read or fetched at once.
const PAGE: u32 = 4096;
const FETCH_MAX: Duration = Duration::from_secs(30);

impl Node {
    /// Audit rows of a line as a peer has them, from a sequence number on, at most `rows_max`.
    /// They are not checked against anything yet.
    ///
    /// # Errors
    /// `Branch` when the peer does not have the line's trail or cannot be reached.
    pub async fn fetch_audit(
        &self,
        line: &LineRef,
        from_sequence: u64,
        rows_max: u32,
        from: NodeId,
    ) -> Result<Vec<Row>, Error> {
        let failed = |why: &str| Error::Branch(format!("audit rows from node {from}: {why}"));
        let mut client = self
            .peers()
            .file_client(from)
            .ok_or_else(|| failed("it is not in the directory"))?;
        let request = peer::FetchAuditRequest {
            line: Some(wire::line_ref(line)),
            from_sequence,
            rows_max,
        };
        let fetch = async {
            let mut parts = client.fetch_audit(request).await?.into_inner();
            let mut rows = Vec::new();
            while let Some(part) = parts.message().await? {
                for row in part.rows {
                    let row = encoding::decode(&row)
                        .map_err(|error| Status::data_loss(error.to_string()))?;
                    rows.push(row);
                }
            }
            Ok::<Vec<Row>, Status>(rows)
        };
        tokio::time::timeout(FETCH_MAX, fetch)
            .await
            .map_err(|_| failed("it took too long"))?
            .map_err(|status| failed(status.message()))
    }

    /// Copies the trail of a branch from a peer, from `audit_from` up to the head that its
    /// evidence names; durable here when this returns. May be repeated and goes on where it was.
    ///
    /// # Errors
    /// `Branch` when rows are missing at the peer or are not of that chain.
    pub async fn copy_audit(
        &self,
        line: &LineRef,
        audit_from: u64,
        head: Head,
        from: NodeId,
    ) -> Result<(), Error> {
        let trail = self.trail(line).await?;
        let holes = trail.missing().into_iter().rev();
        for gap in holes.filter(|gap| gap.end > audit_from) {
            self.fill_gap(line, &trail, gap).await?;
        }
        loop {
            let at = trail.head().sequence.max(audit_from);
            if at >= head.sequence {
                self.sync_audit(line).await?;
                return if trail.holds(audit_from, &head) {
                    Ok(())
                } else {
                    Err(Error::Branch(
                        "the trail here is of another chain".to_owned(),
                    ))
                };
            }
            let left = u32::try_from(head.sequence.saturating_sub(at)).unwrap_or(PAGE);
            let rows = self.fetch_audit(line, at, left.min(PAGE), from).await?;
            let Some(first) = rows.first() else {
                return Err(Error::Branch(format!("node {from} lacks audit row {at}")));
            };
            if trail.head().sequence < at {
                trail.skip_to(Head {
                    sequence: first.sequence,
                    hash: first.previous,
                });
            }
            let trail = trail.clone();
            blocking(move || trail.append_copied(&rows, &head).map_err(foreign)).await?;
        }
    }

    /// Whether the trail of a line is durable here, from `audit_from` up to this head.
    ///
    /// # Errors
    /// `Branch` when the trail here is damaged.
    pub async fn has_audit(
        &self,
        line: &LineRef,
        audit_from: u64,
        head: &Head,
    ) -> Result<bool, Error> {
        Ok(self.trail(line).await?.holds(audit_from, head))
    }

    /// Fetches the rows that the trail of a line misses here, since a snapshot was installed.
    ///
    /// # Errors
    /// `Branch` when no peer has them.
    pub(crate) async fn fill_audit(&self, line: &Line) -> Result<(), Error> {
        let trail = line.inner.shared.audit().clone();
        for gap in trail.missing().into_iter().rev() {
            self.fill_gap(&line.reference(), &trail, gap).await?;
        }
        Ok(())
    }

    async fn fill_gap(&self, line: &LineRef, trail: &Trail, gap: Range<u64>) -> Result<(), Error> {
        let mut end = gap.end;
        // From the end to the beginning: each page proves itself by the row after it.
        while end > gap.start {
            let start = end.saturating_sub(u64::from(PAGE)).max(gap.start);
            let wanted = u32::try_from(end.saturating_sub(start)).unwrap_or(PAGE);
            let mut filled = false;
            for peer in self.peers().others() {
                let Ok(rows) = self.fetch_audit(line, start, wanted, peer.node).await else {
                    continue;
                };
                let trail = trail.clone();
                let whole = rows.len() == usize::try_from(wanted).unwrap_or(usize::MAX);
                if whole
                    && blocking(move || trail.fill(&rows).map_err(foreign))
                        .await
                        .is_ok()
                {
                    filled = true;
                    break;
                }
            }
            if !filled {
                return Err(Error::Branch(format!(
                    "no peer has the audit rows {start} to {end}"
                )));
            }
            end = start;
        }
        Ok(())
    }

    /// The trail of a line, running here or not.
    async fn trail(&self, line: &LineRef) -> Result<Trail, Error> {
        let (trails, line) = (self.inner.trails.clone(), line.clone());
        blocking(move || trails.of(&line).map_err(foreign)).await
    }

    /// Audit rows of a line as this node has them, of one that no longer runs too.
    ///
    /// # Errors
    /// `Branch` when this node has no trail of the line, or it is damaged.
    pub async fn audit_rows(
        &self,
        line: &LineRef,
        from_sequence: u64,
        rows_max: usize,
    ) -> Result<Vec<Row>, Error> {
        if line.cluster != self.cluster() || !self.inner.trails.has(line) {
            let what = &line.line;
            return Err(Error::Branch(format!(
                "this node has no audit trail of {what}"
            )));
        }
        let trail = self.trail(line).await?;
        blocking(move || {
            trail
                .rows(from_sequence..u64::MAX, rows_max)
                .map_err(foreign)
        })
        .await
    }

    /// Writes the log of a line that runs here to a file, up to the last entry applied here.
    ///
    /// # Errors
    /// `Branch` when the log no longer holds what is asked for, or the file cannot be written.
    pub async fn export_log(&self, line: &Line, path: &Path) -> Result<export::Header, Error> {
        let last = line.applied().borrow().unwrap_or_default();
        let log = line.inner.shared.log().clone();
        let path = path.to_owned();
        blocking(move || {
            export::write_log(&log, last, &path).map_err(|error| Error::Branch(error.to_string()))
        })
        .await
    }

    /// What a closed branch leaves behind, from its state and its audit trail here, which is
    /// durable when this returns.
    ///
    /// # Errors
    /// `Branch` when the branch is not closed, or this node has not all of its rows.
    pub async fn branch_evidence(&self, branch: &Line) -> Result<Evidence, Error> {
        let missing = |what: &str| Error::Branch(format!("no evidence yet: {what}"));
        let LineId::Branch { session, genesis } = branch.reference().line else {
            return Err(missing("the main line is no branch"));
        };
        let state = branch.state();
        if !state.header().ended {
            return Err(missing("the branch is not closed"));
        }
        let boundary = state
            .plan(&session)
            .and_then(|plan| plan.boundary)
            .ok_or_else(|| missing("the plan has no boundary"))?;
        let trail = branch.inner.shared.audit().clone();
        let rows = blocking(move || {
            // What is sealed must not be lost with the log that could write it again.
            trail.sync().map_err(foreign)?;
            match trail.missing().first() {
                None => own_rows(&trail),
                Some(gap) => Err(Error::Branch(format!(
                    "no evidence yet: the audit rows {} to {} are missing here",
                    gap.start, gap.end
                ))),
            }
        })
        .await?;
        let began = rows
            .first()
            .ok_or_else(|| missing("the branch's first audit row is not here"))?;
        let closed = rows
            .iter()
            .rfind(|row| row.kind == Kind::SessionClosed && row.verdict == Verdict::Done)
            .ok_or_else(|| missing("the audit row of its close is not here"))?;
        let digests = match branch.digests_at(closed.log) {
            Some(digests) => digests,
            // The latest digests are in memory alone, and this node was restarted.
            None => {
                let (shared, at) = (Arc::clone(&branch.inner.shared), closed.log);
                shared.log().barrier().await?;
                blocking(move || Ok(shared.rebuild(at)?.digests())).await?
            }
        };
        let mut evidence = Evidence {
            session,
            boundary: boundary.at,
            genesis,
            closed: closed.log,
            closed_at: closed.at,
            audit: closed.head(),
            audit_from: began.sequence,
            account: digests.account,
            full: digests.full,
            forgotten: BTreeMap::new(),
            accounts: 0,
            must_repeat: Vec::new(),
            touched: BTreeMap::new(),
        };
        evidence.count(
            rows.iter()
                .take_while(|row| row.sequence <= closed.sequence),
        );
        Ok(evidence)
    }

    /// The end of a line's trail here; its rows up to there are durable when this returns.
    ///
    /// # Errors
    /// `Branch` when this node has no trail of the line, rows are missing, or the disk fails.
    pub async fn durable_audit(&self, line: &LineRef) -> Result<Head, Error> {
        if line.cluster != self.cluster() || !self.inner.trails.has(line) {
            let what = &line.line;
            return Err(Error::Branch(format!(
                "this node has no audit trail of {what}"
            )));
        }
        let trail = self.trail(line).await?;
        blocking(move || {
            let head = trail.head();
            trail.sync().map_err(foreign)?;
            match trail.missing().first() {
                None => Ok(head),
                Some(gap) => Err(Error::Branch(format!(
                    "the audit rows {} to {} are missing here",
                    gap.start, gap.end
                ))),
            }
        })
        .await
    }

    /// Makes the audit rows of a line durable here, as far as there are any.
    ///
    /// # Errors
    /// `Branch` when the trail is damaged or the disk fails.
    pub(crate) async fn sync_audit(&self, line: &LineRef) -> Result<(), Error> {
        if !self.inner.trails.has(line) {
            return Ok(());
        }
        let trail = self.trail(line).await?;
        blocking(move || trail.sync().map_err(foreign)).await
    }

    /// Asks a peer for the evidence of a closed branch.
    ///
    /// # Errors
    /// `Branch` when it does not have it, or cannot be reached.
    pub async fn fetch_evidence(&self, branch: &LineRef, from: NodeId) -> Result<Evidence, Error> {
        let failed = |why: &str| Error::Branch(format!("evidence from node {from}: {why}"));
        let mut client = self
            .peers()
            .file_client(from)
            .ok_or_else(|| failed("it is not in the directory"))?;
        let request = peer::GetBranchEvidenceRequest {
            line: Some(wire::line_ref(branch)),
        };
        let answer = tokio::time::timeout(FETCH_MAX, client.get_branch_evidence(request))
            .await
            .map_err(|_| failed("it took too long"))?
            .map_err(|status| failed(status.message()))?
            .into_inner();
        encoding::decode(&answer.evidence).map_err(|error| failed(&error.to_string()))
    }
}

/// The branch's own rows: from the one that it begins with.
fn own_rows(trail: &Trail) -> Result<Vec<Row>, Error> {
    let mut rows: Vec<Row> = Vec::new();
    let mut from = 0;
    loop {
        let page = usize::try_from(PAGE).unwrap_or(usize::MAX);
        let found = trail.rows(from..u64::MAX, page).map_err(foreign)?;
        let Some(last) = found.last() else {
            break;
        };
        from = last.sequence.saturating_add(1);
        let begun = !rows.is_empty();
        rows.extend(
            found
                .into_iter()
                .skip_while(|row| !begun && row.kind != Kind::BranchStarted),
        );
    }
    Ok(rows)
}

fn foreign(error: crate::audit::Error) -> Error {
    Error::Branch(error.to_string())
}
