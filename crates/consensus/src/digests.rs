//! The digests of the latest states, by log id: two nodes compare theirs at one entry only
//! (LINES.md, "Digests").

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use domain::LogId;
use domain::state::Digests;

/// How many of the latest are kept.
pub(crate) const LATEST: usize = 1024;

/// The digests after each of the latest entries, and after those that are kept for good.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    latest: VecDeque<(LogId, Digests)>,
    wanted: BTreeSet<LogId>,
    kept: BTreeMap<LogId, Digests>,
}

impl Ring {
    /// Notes the digests after the entry, which is the latest.
    pub(crate) fn note(&mut self, at: LogId, digests: Digests) {
        if self.wanted.remove(&at) {
            self.kept.insert(at, digests);
        }
        if self.latest.len() >= LATEST {
            self.latest.pop_front();
        }
        self.latest.push_back((at, digests));
    }

    /// Keeps the digests after this entry, which is among the latest or still to come.
    pub(crate) fn keep(&mut self, at: LogId) {
        match self.find(at) {
            Some(digests) => drop(self.kept.insert(at, digests)),
            None => drop(self.wanted.insert(at)),
        }
    }

    /// The digests after this entry, if they are still known.
    pub(crate) fn find(&self, at: LogId) -> Option<Digests> {
        let found = self.latest.binary_search_by_key(&at, |(id, _)| *id);
        found
            .ok()
            .and_then(|place| self.latest.get(place))
            .map(|(_, digests)| *digests)
            .or_else(|| self.kept.get(&at).copied())
    }
}
