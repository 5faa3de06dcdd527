//! Attempts that a node refuses without looking at anything of them, counted by address and minute
//! (LOGIN.md, "Audit"): a record of each would be a way to fill the log without a password.
//!
//! What has not reached the line when the node is killed is lost with it: at most a minute's.
//! Deliberately absent: refusals that say something of the attempt. They are recorded one by one,
//! until there are too many of one address in the minute.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use consensus::Proposal;
use domain::login::{Command, UNHEARD_MAX};
use domain::{Actor, NodeId, outcome};
use tokio::time::MissedTickBehavior;

use crate::edge::Edge;

/// How often counts are recorded.
const RECORDED_EVERY: Duration = Duration::from_secs(60);
/// Attempts of one address that are recorded one by one in that time.
const SINGLY_MAX: u32 = 60;
/// Addresses that are told apart in that time; further ones are counted together.
const ADDRESSES_MAX: usize = 10_000;

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    singly: u32,
    unheard: u32,
}

/// What was refused unheard since it was last recorded.
#[derive(Debug, Default)]
pub(crate) struct Unheard(Mutex<BTreeMap<Option<IpAddr>, Count>>);

impl Unheard {
    fn with<T>(&self, address: Option<IpAddr>, change: impl FnOnce(&mut Count) -> T) -> T {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = counts.len() >= ADDRESSES_MAX && !counts.contains_key(&address);
        change(counts.entry(address.filter(|_| !full)).or_default())
    }

    /// Counts an attempt.
    pub(crate) fn count(&self, address: Option<IpAddr>) {
        self.with(address, |count| {
            count.unheard = count.unheard.saturating_add(1);
        });
    }

    /// Whether an attempt is recorded by itself; it is counted if not.
    pub(crate) fn recorded_singly(&self, address: Option<IpAddr>) -> bool {
        self.with(address, |count| {
            let singly = count.singly < SINGLY_MAX;
            if singly {
                count.singly += 1;
            } else {
                count.unheard = count.unheard.saturating_add(1);
            }
            singly
        })
    }

    /// What was counted, and begins anew: the most of an address first, further ones together.
    fn take(&self) -> Vec<(Option<IpAddr>, u32)> {
        let counts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut told: Vec<_> = counts
            .into_iter()
            .filter(|(_, count)| count.unheard > 0)
            .map(|(address, count)| (address, count.unheard))
            .collect();
        told.sort_by_key(|(_, unheard)| std::cmp::Reverse(*unheard));
        let rest = told.split_off(told.len().min(UNHEARD_MAX - 1));
        let rest = rest
            .iter()
            .fold(0_u32, |sum, (_, unheard)| sum.saturating_add(*unheard));
        told.extend((rest > 0).then_some((None, rest)));
        told
    }
}

/// Records the counts of each minute, and of the last one as the node stops.
pub(crate) async fn keep(edge: Edge) {
    let mut stopping = edge.parts().stopping.clone();
    let mut every = tokio::time::interval(RECORDED_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stop = tokio::select! {
            _ = every.tick() => false,
            _ = stopping.wait_for(|stop| *stop) => true,
        };
        record(&edge).await;
        if stop {
            return;
        }
    }
}

/// Records what was counted on the line that serves.
pub(crate) async fn record(edge: &Edge) {
    let counts = edge.unheard().take();
    if counts.is_empty() {
        return;
    }
    let proposal = Proposal {
        actor: Actor::Node(NodeId(edge.node().id().0)),
        request: None,
        command: domain::Command::Login(Command::Unheard {
            counts: counts.clone(),
        }),
    };
    match edge
        .serving_line()
        .propose(proposal)
        .await
        .map(|told| told.result)
    {
        Ok(outcome::Result::Done(_)) => {}
        Ok(outcome::Result::FailedAttempt(_) | outcome::Result::Rejected(_)) | Err(_) => {
            // It is tried again with the next minute's.
            for (address, unheard) in counts {
                edge.unheard().with(address, |count| {
                    count.unheard = count.unheard.saturating_add(unheard);
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(last: u8) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)))
    }

    #[test]
    fn an_address_is_recorded_singly_and_then_counted() {
        let unheard = Unheard::default();
        let singly = (0..SINGLY_MAX + 7).filter(|_| unheard.recorded_singly(at(1)));
        assert_eq!(singly.count(), SINGLY_MAX as usize);
        assert!(
            unheard.recorded_singly(at(2)),
            "another address has its own"
        );
        assert_eq!(unheard.take(), [(at(1), 7)]);
        assert!(unheard.take().is_empty());
    }

    #[test]
    fn the_most_frequent_addresses_are_named_and_the_others_counted_together() {
        let unheard = Unheard::default();
        for last in 0..100 {
            for _ in 0..=last {
                unheard.count(at(last));
            }
        }
        let told = unheard.take();
        assert_eq!(told.len(), UNHEARD_MAX);
        assert_eq!(told.first(), Some(&(at(99), 100)));
        let sum: u32 = told.iter().map(|(_, count)| count).sum();
        assert_eq!(sum, (1..=100).sum::<u32>());
        assert_eq!(told.last().map(|(address, _)| *address), Some(None));
    }

    #[test]
    fn there_is_room_for_so_many_addresses_and_no_more() {
        let unheard = Unheard::default();
        let addresses = (0..=u32::try_from(ADDRESSES_MAX).unwrap_or(u32::MAX)).map(Ipv4Addr::from);
        for address in addresses {
            unheard.count(Some(IpAddr::V4(address)));
        }
        let held = unheard.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(held.len() <= ADDRESSES_MAX + 1);
        drop(held);
        let sum: u32 = unheard.take().iter().map(|(_, count)| count).sum();
        assert_eq!(usize::try_from(sum).unwrap_or(0), ADDRESSES_MAX + 1);
    }
}
