//! What is in the log of a main line that stands still, committed or not: replayed once, on a copy.

use std::sync::{Arc, PoisonError};

use domain::state::State;
use domain::{Digest, LineId, LineRef, LogId, audit};
use openraft::EntryPayload;

use super::refused;
use crate::line::Line;
use crate::machine::Shared;
use crate::node::{Error, Node, blocking};
use crate::raft::{self, Proposed};
use crate::{image, place};

/// Entries that are replayed between two looks at the disk.
const PAGE: u64 = 256;

/// The state after all that is in the log of a line, committed or not.
#[derive(Debug, Clone)]
pub(crate) struct Tail {
    pub(crate) last: LogId,
    pub(crate) applied: LogId,
    pub(crate) state: State,
    pub(crate) digest: Digest,
    pub(crate) rows: Vec<audit::Row>,
}

/// What a main line left in the log when it stopped for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped {
    /// The last entry known to be committed.
    pub(crate) applied: LogId,
    /// The last entry.
    pub(crate) last: LogId,
    /// The end of the audit chain after it.
    pub(crate) head: audit::Head,
    /// Audit records from this one on are of entries not known to be committed.
    pub(crate) uncommitted_from: u64,
}

impl Node {
    pub(super) fn tails(&self) -> std::sync::MutexGuard<'_, Option<Tail>> {
        let tail = &self.inner.promotion.tail;
        tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state after all that is in the stopped line's log.
    pub(super) async fn tail(&self, main: &Line) -> Result<Tail, Error> {
        if let Some(tail) = self.tails().clone() {
            return Ok(tail);
        }
        let shared = Arc::clone(&main.inner.shared);
        let epoch = main.reference().epoch;
        shared.log().barrier().await?;
        let tail = blocking(move || replay(&shared, epoch)).await?;
        *self.tails() = Some(tail.clone());
        Ok(tail)
    }

    /// The state to judge terms and signatures by. A sealed node goes on from its whole log; one that
    /// was restarted has its log before it has applied it.
    pub(super) async fn judging(&self, main: &Line) -> Result<State, Error> {
        let epoch = main.reference().epoch;
        if self
            .standing()
            .sealed
            .is_some_and(|seal| seal.epoch > epoch)
        {
            return Ok(self.tail(main).await?.state);
        }
        let state = main.state();
        if has_begun(&state, epoch) {
            return Ok(state);
        }
        let shared = Arc::clone(&main.inner.shared);
        shared.log().barrier().await?;
        Ok(blocking(move || replay(&shared, epoch)).await?.state)
    }

    /// The state by which this node judges the terms of a promotion, and who signed them.
    ///
    /// # Errors
    /// `Promotion` when the main line has not begun here; else the disk's.
    pub async fn promoted_from(&self) -> Result<State, Error> {
        let _one_at_a_time = self.inner.promotion.change().await;
        self.judging(&self.main()).await
    }

    /// What is in the log of a main line that has stopped for good; its audit trail holds all of it
    /// when this returns.
    pub(crate) async fn stopped_tail(&self, main: &Line) -> Result<Stopped, Error> {
        let _one_at_a_time = self.inner.promotion.change().await;
        let tail = self.tail(main).await?;
        let uncommitted_from = tail.rows.first().map(|row| row.sequence);
        let head = write_rows(main, tail.rows).await?;
        Ok(Stopped {
            applied: tail.applied,
            last: tail.last,
            head,
            uncommitted_from: uncommitted_from.unwrap_or(head.sequence),
        })
    }

    /// The end of the audit chain that the main line of this epoch began with.
    pub(crate) async fn began_with(&self, epoch: u64) -> Result<audit::Head, Error> {
        let main = self.main();
        let reference = main.reference();
        if reference.epoch == epoch {
            return Ok(main.began_with());
        }
        let path = place::beginning(self.data(), &LineRef { epoch, ..reference });
        blocking(move || Ok(image::read(&path)?.state.header().audit)).await
    }
}

/// Whether the main line of this epoch has begun in this state.
fn has_begun(state: &State, epoch: u64) -> bool {
    state.founding().is_some() && state.header().epoch == epoch
}

/// Puts rows that were replayed at the end of a stopped line's trail, durably; gives its end.
pub(super) async fn write_rows(main: &Line, rows: Vec<audit::Row>) -> Result<audit::Head, Error> {
    let trail = main.inner.shared.audit().clone();
    blocking(move || {
        trail.append(&rows).map_err(crate::machine::Error::from)?;
        trail.sync().map_err(crate::machine::Error::from)?;
        Ok(trail.head())
    })
    .await
}

/// Replays what the line has in its log beyond what it knows to be committed. What was appended may
/// still be on its way to the disk: `Log::barrier` comes first. Blocks.
pub(crate) fn replay(shared: &Shared, epoch: u64) -> Result<Tail, Error> {
    let applied = shared.applied().borrow().unwrap_or_default();
    // A line that goes on may have applied more by now.
    let mut state = shared.state();
    let applied = applied.max(state.header().applied);
    let (_, last) = shared.log().bounds();
    let last = last.unwrap_or(applied).max(applied);
    let line = LineId::Main;
    let mut rows = Vec::new();
    let mut next = applied.index.saturating_add(1);
    while next <= last.index {
        let upto = next.saturating_add(PAGE).min(last.index);
        let entries = shared.log().entries(next, upto)?;
        for entry in &entries {
            let at = raft::log_id(&entry.log_id);
            if at.index != next {
                return Err(refused(format!("log entry {next} is not on the disk")));
            }
            if let EntryPayload::Normal(Proposed(envelope)) = &entry.payload {
                rows.extend(domain::apply(&mut state, &line, at, envelope).audit);
            }
            next = next.saturating_add(1);
        }
        if next <= upto {
            return Err(refused(format!("log entry {next} is not on the disk")));
        }
    }
    // Only now: a node that was restarted may have all in its log and have applied none of it.
    if !has_begun(&state, epoch) {
        return Err(refused(
            "the main line has not begun here: nothing can go on from it",
        ));
    }
    Ok(Tail {
        last,
        applied,
        digest: state.digests().full,
        state,
        rows,
    })
}
