//! What must hold, and whether it does.

use std::collections::BTreeMap;

use consensus::Node;
use domain::audit::{Head, Row};
use domain::{Digest, LogId};

use crate::client::{self, Told};
use crate::world::{EAST, World};

/// Entries that a node is compared at each time, besides its last.
const COMPARED: usize = 64;

/// What has been seen of the main line so far, on any node.
#[derive(Default)]
pub(crate) struct Seen {
    digests: BTreeMap<LogId, Digest>,
    at_index: BTreeMap<u64, LogId>,
    told: BTreeMap<u64, Option<LogId>>,
}

impl Seen {
    /// Compares the nodes that run with what was seen of others.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) fn look(&mut self, world: &World) -> Result<(), String> {
        if let Some(wrong) = &world.shared.record().wrong {
            return Err(format!("an answer is wrong: {wrong}"));
        }
        for (id, why) in world.shared.ended() {
            if !world.is_faulty(id) {
                return Err(format!(
                    "node {id} ended without a fault of its disk: {why}"
                ));
            }
        }
        for (id, node) in world.shared.nodes() {
            let main = node.main();
            let last = *main.applied().borrow();
            if self.told.insert(id, last) != Some(last) {
                let leads = if main.is_leader() { ", leads" } else { "" };
                world
                    .shared
                    .note(&format!("node {id} has applied {last:?}{leads}"));
            }
            let Some(last) = last else { continue };
            let of_index = *self.at_index.entry(last.index).or_insert(last);
            if of_index != last {
                return Err(format!(
                    "digests (one log): two entries were applied as {}: {of_index} and {last}, the latter by node {id}",
                    last.index
                ));
            }
            let known = self.digests.range(..=last).rev().take(COMPARED);
            for (at, digest) in known {
                if let Some(found) = main.digests_at(*at)
                    && found.full != *digest
                {
                    return Err(format!(
                        "digests (equal at equal log ids): node {id} has another state at {at}"
                    ));
                }
            }
            if let Some(digests) = main.digests_at(last) {
                self.digests.insert(last, digests.full);
            }
        }
        Ok(())
    }

    /// How many entries were compared.
    pub(crate) fn entries(&self) -> usize {
        self.digests.len()
    }
}

/// Whether a mark that was asked for since this time was acknowledged to a client of each node of
/// the primary, and of one of the secondary.
pub(crate) fn serves_since(world: &World, since_ms: u64) -> bool {
    let record = world.shared.record();
    let served = |id: &u64| record.done_at.get(id).is_some_and(|at| *at > since_ms);
    EAST.iter().all(served) && crate::world::WEST.iter().any(served)
}

/// Whether all six run and have applied the same entry.
pub(crate) fn is_settled(world: &World) -> bool {
    let nodes = world.shared.nodes();
    let mut applied = nodes.values().map(|node| *node.main().applied().borrow());
    let Some(first) = applied.next() else {
        return false;
    };
    nodes.len() == 6 && first.is_some() && applied.all(|other| other == first)
}

/// What must hold of marks once all nodes have the same.
///
/// # Errors
/// What does not hold.
pub(crate) fn marks(world: &World) -> Result<(), String> {
    let record = world.shared.record();
    for (id, node) in world.shared.nodes() {
        let state = node.main().state();
        let set: std::collections::BTreeSet<_> =
            state.participants().map(|one| one.id.clone()).collect();
        for (mark, told) in &record.marks {
            let there =
                client::participant(*mark).is_some_and(|participant| set.contains(&participant));
            match (told, there) {
                (Told::Done, false) => {
                    return Err(format!(
                        "I11: mark {mark} was acknowledged and is not there on node {id}"
                    ));
                }
                (Told::NotExecuted, true) => {
                    return Err(format!(
                        "an answer is wrong: mark {mark} was said not to be executed and is there on node {id}"
                    ));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Reads a node's audit trail of the main line and compares it with the state's head; nothing as
/// long as rows are still on their way.
///
/// # Errors
/// What does not hold.
pub(crate) async fn audit(node: &Node) -> Result<Option<u64>, String> {
    let main = node.main();
    let head = main.state().header().audit;
    let mut at = Head::default();
    while at.sequence < head.sequence {
        let rows: Vec<Row> = node
            .audit_rows(&main.reference(), at.sequence, 4096)
            .await
            .map_err(|error| format!("audit: {error}"))?;
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        if first.sequence > at.sequence {
            return Ok(None);
        }
        for row in &rows {
            if at.sequence < head.sequence {
                if !row.follows(&at) {
                    return Err(format!("audit: row {} does not follow", row.sequence));
                }
                at = row.head();
            }
        }
    }
    if at == head {
        Ok(Some(at.sequence))
    } else {
        Err(format!(
            "audit: the trail ends in {at:?}, the state says {head:?}"
        ))
    }
}
