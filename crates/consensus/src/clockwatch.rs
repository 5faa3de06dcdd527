//! Compares this node's clock with its peers' (LINES.md, Time): a node that is more than two
//! seconds from them does not lead, propose or serve.
//!
//! The clocks that are compared are the machines' own, before the offset of a simulated clock:
//! that one is part of the state, and nodes apply its jumps one after the other. The comparison
//! itself runs on the monotonic clock.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use domain::NodeId;
use futures::future::join_all;
use proto::peer::v1::{GetNodeStatusRequest, GetNodeStatusResponse};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::clock::Clock;
use crate::peers::Peers;

/// How far a clock may be from its peers'.
pub const AHEAD_MS_MAX: u64 = 2_000;

const POLL_EVERY: Duration = Duration::from_secs(1);
/// While nothing is known yet, so that a start is quick.
const POLL_EVERY_AT_FIRST: Duration = Duration::from_millis(100);
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// What comparing clocks found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClockVerdict {
    /// Too few nodes have answered since this one started.
    #[default]
    Unknown,
    /// This clock is near the others.
    Good {
        /// How far this clock is ahead of them, in milliseconds.
        ahead_ms: i64,
    },
    /// This clock is not to be trusted.
    Off {
        /// How far this clock is ahead of the others, in milliseconds.
        ahead_ms: i64,
    },
}

impl ClockVerdict {
    /// Whether a node with this clock may lead, propose and serve.
    #[must_use]
    pub fn is_good(self) -> bool {
        match self {
            Self::Good { .. } => true,
            Self::Unknown | Self::Off { .. } => false,
        }
    }

    fn of(ahead_ms: i64) -> Self {
        if ahead_ms.unsigned_abs() > AHEAD_MS_MAX {
            Self::Off { ahead_ms }
        } else {
            Self::Good { ahead_ms }
        }
    }
}

/// The latest word of each other node, with the time it came.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    latest: Arc<RwLock<BTreeMap<NodeId, (Instant, GetNodeStatusResponse)>>>,
    count: Arc<watch::Sender<u64>>,
}

impl Heard {
    /// The latest status of a node, and how long ago it came; none if it was never heard.
    #[must_use]
    pub fn from(&self, node: NodeId) -> Option<(Duration, GetNodeStatusResponse)> {
        self.latest
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&node)
            .map(|(at, status)| (at.elapsed(), status.clone()))
    }

    fn note(&self, node: NodeId, status: GetNodeStatusResponse) {
        self.latest
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(node, (Instant::now(), status));
        self.count
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Moves with every word that comes.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }
}

/// Compares for as long as anybody looks at the verdict.
pub(crate) async fn watch(
    peers: Peers,
    base: Arc<dyn Clock>,
    heard: Heard,
    verdict: watch::Sender<ClockVerdict>,
) {
    let mut last_good: Option<(Instant, i64)> = None;
    let mut quick = tokio::time::interval(POLL_EVERY_AT_FIRST);
    let mut steady = tokio::time::interval(POLL_EVERY);
    quick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    steady.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !verdict.is_closed() {
        if *verdict.borrow() == ClockVerdict::Unknown {
            quick.tick().await;
        } else {
            steady.tick().await;
        }
        let ahead = poll(&peers, base.as_ref(), &heard).await;
        let found = if enough(&peers, &ahead) {
            ClockVerdict::of(median(ahead.values().copied()))
        } else {
            let now = signed(base.now().0);
            match last_good {
                None => *verdict.borrow(),
                // Peers that have gone do not move this clock; only its own jump does.
                Some((at, then)) => {
                    let elapsed =
                        signed(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX));
                    ClockVerdict::of(now.saturating_sub(then).saturating_sub(elapsed))
                }
            }
        };
        if found.is_good() && enough(&peers, &ahead) {
            last_good = Some((Instant::now(), signed(base.now().0)));
        }
        let before = verdict.send_replace(found);
        if before.is_good() != found.is_good() {
            tracing::info!(?before, ?found, "the verdict on this node's clock changed");
        }
    }
}

/// Asks every other node for its time; gives how far this clock is ahead of each that answered.
async fn poll(peers: &Peers, base: &dyn Clock, heard: &Heard) -> BTreeMap<NodeId, i64> {
    let asked = peers.others().into_iter().map(|peer| async move {
        let mut client = peers.client(peer.node)?;
        let request = GetNodeStatusRequest {
            cluster: peers.cluster().0.to_vec().into(),
        };
        let before = Instant::now();
        let status = tokio::time::timeout(ANSWER_MAX, client.get_node_status(request))
            .await
            .ok()?
            .ok()?
            .into_inner();
        // The answer was written about half a round trip ago.
        let age_ms = u64::try_from(before.elapsed().as_millis() / 2).unwrap_or(u64::MAX);
        let theirs = signed(status.clock_base_ms.saturating_add(age_ms));
        let ahead = signed(base.now().0).saturating_sub(theirs);
        heard.note(peer.node, status);
        Some((peer.node, ahead))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Whether those who answered, and this node, are a majority of the cluster or of this node's
/// centre: a centre that is cut off must be able to go on.
fn enough(peers: &Peers, answered: &BTreeMap<NodeId, i64>) -> bool {
    let majority = |nodes: &[NodeId]| {
        let present = nodes
            .iter()
            .filter(|node| **node == peers.me() || answered.contains_key(node))
            .count();
        present > nodes.len() / 2
    };
    let all: Vec<NodeId> = peers.all().into_iter().map(|peer| peer.node).collect();
    let centre = peers.get(peers.me()).map(|me| peers.of_centre(&me.centre));
    majority(&all) || centre.is_some_and(|centre| majority(&centre))
}

/// The middle of the differences, this node's own (none) among them. Of two middles the greater
/// difference counts: when it is one clock against another, nobody knows whose is right.
fn median(ahead: impl Iterator<Item = i64>) -> i64 {
    let mut all: Vec<i64> = ahead.chain([0]).collect();
    all.sort_unstable();
    let upper = all.get(all.len() / 2).copied().unwrap_or(0);
    let lower = all
        .get(all.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0);
    if upper.unsigned_abs() > lower.unsigned_abs() {
        upper
    } else {
        lower
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: i64 = 31_536_000_000;

    #[test]
    fn one_clock_a_year_ahead_is_off_and_the_others_are_good() {
        // Ahead of its two peers by a year.
        assert!(!ClockVerdict::of(median([YEAR, YEAR].into_iter())).is_good());
        // One of the others: behind the bad one, level with the good one.
        assert!(ClockVerdict::of(median([-YEAR, 3].into_iter())).is_good());
    }

    #[test]
    fn of_two_clocks_that_differ_neither_is_good() {
        assert!(!ClockVerdict::of(median([YEAR].into_iter())).is_good());
        assert!(!ClockVerdict::of(median([-YEAR].into_iter())).is_good());
        assert!(ClockVerdict::of(median([-40].into_iter())).is_good());
    }

    #[test]
    fn a_clock_alone_is_good() {
        assert!(ClockVerdict::of(median(std::iter::empty())).is_good());
    }

    #[test]
    fn two_seconds_are_the_limit() {
        let limit = signed(AHEAD_MS_MAX);
        assert!(ClockVerdict::of(limit).is_good());
        assert!(!ClockVerdict::of(limit + 1).is_good());
        assert!(!ClockVerdict::of(-limit - 1).is_good());
    }
}
