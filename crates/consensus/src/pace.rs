//! When snapshots are built: after some thousands of entries, a different number on each node,
//! and one at a time in a process, so that no two nodes of a group pause together.

use std::sync::Arc;
use std::time::Duration;

use domain::LineId;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::sync::Semaphore;

use crate::line::Line;

/// Entries between two snapshots, before the node's own addition.
const ENTRIES_BASE: u64 = 10_000;
/// The addition is a multiple of this, by node.
const ENTRIES_STEP: u64 = 1_700;
const STEPS: u64 = 7;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a builder is waited for before another line may have its turn.
const BUILD_MAX: Duration = Duration::from_secs(120);

/// Builds snapshots of the line for as long as it runs.
pub(crate) async fn snapshots(line: Line, builders: Arc<Semaphore>) {
    let due_after = due_after(&line);
    let mut clock = tokio::time::interval(LOOK_EVERY);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let applied = line.applied().borrow().map_or(0, |log_id| log_id.index);
        let since = applied.saturating_sub(line.snapshot_index().unwrap_or(0));
        if since < due_after {
            continue;
        }
        let Ok(_permit) = builders.acquire().await else {
            return;
        };
        if let Err(error) = line.trigger_snapshot().await {
            tracing::debug!(%error, "no more snapshots");
            return;
        }
        built(&line, applied).await;
    }
}

async fn built(line: &Line, at_least: u64) {
    let mut metrics = line.inner.raft.data_metrics();
    let built = async {
        while line.snapshot_index() < Some(at_least) && metrics.changed().await.is_ok() {}
    };
    if tokio::time::timeout(BUILD_MAX, built).await.is_err() {
        tracing::warn!(line = %line.reference().line, "a snapshot takes long");
    }
}

fn due_after(line: &Line) -> u64 {
    let line_shift = match line.reference().line {
        LineId::Main => 0,
        LineId::Branch { .. } => ENTRIES_STEP / 2,
    };
    let step = line.inner.peers.me().0 % STEPS;
    ENTRIES_BASE
        .saturating_add(step.saturating_mul(ENTRIES_STEP))
        .saturating_add(line_shift)
}
