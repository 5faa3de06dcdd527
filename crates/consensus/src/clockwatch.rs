//! Compares this node's clock with its peers' (LINES.md, Time): a node that is more than two
//! seconds from them does not lead, propose or serve.
//!
//! The clocks that are compared are the machines' own, before the offset of a simulated clock:
//! that one is part of the state, and nodes apply its jumps one after the other. The comparison
//! itself runs on the monotonic clock. Between two comparisons, a clock that steps is found out by
//! the monotonic clock too.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use domain::{NodeId, UnixMs};
use futures::future::join_all;
use proto::peer::v1::{GetNodeStatusRequest, GetNodeStatusResponse};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::{Code, Status};

use crate::clock::Clock;
use crate::peers::Peers;
use crate::standing::Standing;

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

/// How old a node's last word may be to be acted on.
pub const WORD_AGE_MAX: Duration = Duration::from_secs(5);

/// The latest word of each other node, with the time it came.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    latest: Arc<RwLock<BTreeMap<NodeId, (Instant, GetNodeStatusResponse)>>>,
    refusals: Arc<RwLock<BTreeMap<NodeId, String>>>,
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

    /// Why a node that can be reached does not talk to this one, as it said last.
    #[must_use]
    pub fn refusal(&self, node: NodeId) -> Option<String> {
        self.refusals
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&node)
            .cloned()
    }

    fn note_refusal(&self, node: NodeId, refused: &Status) {
        let mut refusals = self
            .refusals
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if refused.code() != Code::FailedPrecondition {
            // It cannot be reached, or is about to start or end.
            refusals.remove(&node);
            return;
        }
        let said = refused.message();
        let former = refusals.insert(node, said.to_owned());
        if former.as_deref() != Some(said) {
            tracing::error!(%node, %said, "the node does not talk to this one");
        }
    }

    fn note(&self, node: NodeId, status: GetNodeStatusResponse) {
        self.refusals
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&node);
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

/// The latest reading of this node's clock that a comparison with its peers found good. It shows
/// at once that the clock has stepped since, before anything is stamped with it.
#[derive(Clone)]
pub struct LastGood {
    base: Arc<dyn Clock>,
    reading: Arc<RwLock<Option<Reading>>>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    shown: UnixMs,
}

impl fmt::Debug for LastGood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LastGood").field(&self.reading).finish()
    }
}

impl LastGood {
    /// Of this clock, which nothing has been compared with yet.
    #[must_use]
    pub fn none_yet(base: Arc<dyn Clock>) -> Self {
        Self {
            base,
            reading: Arc::default(),
        }
    }

    /// Whether the clock goes on from its last good reading: it is not more than `AHEAD_MS_MAX`
    /// from where that and the monotonic clock say. False as long as there was none.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.ahead_ms()
            .is_some_and(|ahead_ms| ClockVerdict::of(ahead_ms).is_good())
    }

    /// How far the clock has stepped ahead since its last good reading.
    fn ahead_ms(&self) -> Option<i64> {
        let last = *self.reading.read().unwrap_or_else(PoisonError::into_inner);
        let last = last?;
        let elapsed_ms = u64::try_from(last.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let expected = last.shown.plus(elapsed_ms);
        Some(signed(self.base.now().0).saturating_sub(signed(expected.0)))
    }

    fn read(&self) -> Reading {
        Reading {
            at: Instant::now(),
            shown: self.base.now(),
        }
    }

    fn note(&self, reading: Reading) {
        *self.reading.write().unwrap_or_else(PoisonError::into_inner) = Some(reading);
    }
}

/// Compares for as long as anybody looks at the verdict.
pub(crate) async fn watch(
    peers: Peers,
    last_good: LastGood,
    heard: Heard,
    promised: watch::Receiver<Standing>,
    verdict: watch::Sender<ClockVerdict>,
) {
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
        // From before the answers: a step that they may not have seen is not taken for good.
        let reading = last_good.read();
        let ahead = poll(&peers, last_good.base.as_ref(), &heard).await;
        let enough = enough(&peers, &founders(&promised.borrow()), &ahead);
        let found = if enough {
            ClockVerdict::of(median(ahead.values().copied()))
        } else {
            // Peers that have gone do not move this clock; only its own jump does.
            let own = last_good.ahead_ms().map(ClockVerdict::of);
            own.unwrap_or(*verdict.borrow())
        };
        if found.is_good() && enough {
            last_good.note(reading);
        }
        let before = verdict.send_replace(found);
        if before.is_good() != found.is_good() {
            tracing::info!(?before, ?found, "the verdict on this node's clock changed");
        }
    }
}

/// Asks every other node for its time; gives how far this clock is ahead of each that answered.
pub(crate) async fn poll(peers: &Peers, base: &dyn Clock, heard: &Heard) -> BTreeMap<NodeId, i64> {
    let asked = peers.others().into_iter().map(|peer| async move {
        let mut client = peers.client(peer.node)?;
        let request = GetNodeStatusRequest {
            cluster: peers.cluster().0.to_vec().into(),
        };
        let before = Instant::now();
        let said = tokio::time::timeout(ANSWER_MAX, client.get_node_status(request)).await;
        let status = match said.ok()? {
            Ok(status) => status.into_inner(),
            Err(refused) => {
                heard.note_refusal(peer.node, &refused);
                return None;
            }
        };
        // The answer was written about half a round trip ago.
        let age_ms = u64::try_from(before.elapsed().as_millis() / 2).unwrap_or(u64::MAX);
        let theirs = signed(status.clock_base_ms.saturating_add(age_ms));
        let ahead = signed(base.now().0).saturating_sub(theirs);
        heard.note(peer.node, status);
        Some((peer.node, ahead))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// The nodes that are to go on with the next main line, and know of no other yet. Two operators have
/// said of the others that they are lost.
fn founders(promised: &Standing) -> Vec<NodeId> {
    let terms = promised.accepted.iter().map(|accepted| &accepted.terms);
    terms
        .flat_map(|terms| terms.voters.keys().copied())
        .collect()
}

/// Whether those who answered, and this node, are a majority of the cluster, of this node's centre
/// or of the founders that it is one of: a centre that is cut off must be able to go on.
fn enough(peers: &Peers, founders: &[NodeId], answered: &BTreeMap<NodeId, i64>) -> bool {
    let majority = |nodes: &[NodeId]| {
        let present = nodes
            .iter()
            .filter(|node| **node == peers.me() || answered.contains_key(node))
            .count();
        present > nodes.len() / 2
    };
    let all: Vec<NodeId> = peers.all().into_iter().map(|peer| peer.node).collect();
    let centre = peers.get(peers.me()).map(|me| peers.of_centre(&me.centre));
    let founds = founders.contains(&peers.me()) && majority(founders);
    majority(&all) || founds || centre.is_some_and(|centre| majority(&centre))
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
    use crate::clock::OffsetClock;

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
    fn a_clock_that_steps_no_longer_goes_on_from_its_last_good_reading() {
        let clock = OffsetClock::default();
        let last_good = LastGood::none_yet(Arc::new(clock.clone()));
        assert!(!last_good.holds());
        last_good.note(last_good.read());
        assert!(last_good.holds());
        for step in [YEAR, -YEAR, 10_000, -10_000] {
            clock.set_offset_ms(step);
            assert!(!last_good.holds(), "{step}");
        }
        // Its peers stepped with it.
        last_good.note(last_good.read());
        assert!(last_good.holds());
    }

    #[test]
    fn two_seconds_are_the_limit() {
        let limit = signed(AHEAD_MS_MAX);
        assert!(ClockVerdict::of(limit).is_good());
        assert!(!ClockVerdict::of(limit + 1).is_good());
        assert!(!ClockVerdict::of(-limit - 1).is_good());
    }
}
