//! The nodes of the centres: adding, removing and replacing them, and bringing an old primary's
//! back (LINES.md, "Reinstate").
//!
//! A node's id is a place and how many lives there were at it. What a node has promised goes with
//! its id: one whose disk is lost or wiped comes back under the next id of its place, with the
//! certificate and the configuration of the place. Deliberately absent: the members of the Raft
//! group, which follow what stands here.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Centres, Retired};
use crate::apply::{Context, Effect};
use crate::approval;
use crate::audit::{Event, Head, Kind};
use crate::cluster::{self, Node};
use crate::envelope::Actor;
use crate::id::{CentreName, NodeId};
use crate::line::LogId;
use crate::outcome::{Answer, Rejection};
use crate::registration::reason_fits;
use crate::state::{Held, State};

/// Most nodes of one centre.
pub const NODES_MAX: usize = 9;
/// Longest address of a node, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 256;

/// What an old primary answered that the main line does not have, as it was read and kept before
/// its nodes are wiped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// The epoch of its main line.
    pub epoch: u64,
    /// The node that it was read from: the one with the greatest last log id.
    pub node: NodeId,
    /// The nodes that were asked and answered.
    pub read: BTreeSet<NodeId>,
    /// The last entry that this node knew to be committed.
    pub applied: LogId,
    /// The last entry in its log.
    pub last: LogId,
    /// The sequence number of the first audit record that the main line does not have.
    pub from: u64,
    /// The end of that chain of audit records.
    pub head: Head,
}

/// A change of one centre's nodes, as two operators agree on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The centre.
    pub centre: CentreName,
    /// The nodes that come.
    pub add: Vec<Node>,
    /// The nodes that go, for good.
    pub remove: BTreeSet<NodeId>,
    /// What is given up of an old primary whose nodes come back.
    pub tail: Option<Box<Tail>>,
}

impl Change {
    /// What a person is shown is what is signed.
    #[must_use]
    pub fn arguments(&self) -> Vec<(&'static str, String)> {
        let tail = self.tail.as_ref();
        let tail = tail.map_or_else(|| "nothing".to_owned(), |tail| tail.told());
        vec![
            ("centre", self.centre.to_string()),
            ("add", self.added()),
            ("remove", listed(self.remove.iter())),
            ("dropped", tail),
        ]
    }

    fn added(&self) -> String {
        let nodes = self.add.iter();
        let nodes: Vec<String> = nodes
            .map(|node| format!("{} at {}", node.id, node.address))
            .collect();
        nodes.join(", ")
    }
}

impl Tail {
    /// How many audit records are only there.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.head.sequence.saturating_sub(self.from)
    }

    fn told(&self) -> String {
        format!(
            "epoch {}, entries to {}, {} audit records from {} on, head {}, of node {}",
            self.epoch,
            self.last,
            self.records(),
            self.from,
            self.head.hash,
            self.node,
        )
    }
}

fn listed<'a>(nodes: impl Iterator<Item = &'a NodeId>) -> String {
    let nodes: Vec<String> = nodes.map(ToString::to_string).collect();
    nodes.join(", ")
}

/// Who protected the primary's answers before its nodes changed: both sets have to, until both have
/// the entry that changed them. Else a promotion that knows the former set alone could claim that
/// nothing is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// The nodes.
    pub nodes: BTreeSet<NodeId>,
    /// The entry that changed them.
    pub until: u64,
}

impl Centres {
    /// The node that has this place now.
    #[must_use]
    pub fn at_place(&self, place: NodeId) -> Option<&Node> {
        let mut nodes = self.all().flat_map(|centre| &centre.nodes);
        nodes.find(|node| node.id.place() == place.place())
    }

    /// The id that the next node at this place gets.
    #[must_use]
    pub fn next_at(&self, place: NodeId) -> NodeId {
        let used = self.all().flat_map(|centre| &centre.nodes);
        let used = used.map(|node| node.id).chain(self.retired.keys().copied());
        let last = used.filter(|id| id.place() == place.place()).max();
        last.map_or(place.place(), NodeId::next_life)
    }

    /// Why the nodes cannot be changed so; nothing where they can.
    fn problems(&self, change: &Change) -> Vec<String> {
        let mut problems = Vec::new();
        let Some(centre) = self.named(&change.centre) else {
            return problems;
        };
        if change.add.is_empty() && change.remove.is_empty() {
            problems.push("nothing would change".to_owned());
        }
        for id in &change.remove {
            if !centre.nodes.iter().any(|node| node.id == *id) {
                problems.push(format!("{} has no node {id}", change.centre));
            }
        }
        let mut places = BTreeSet::new();
        for node in &change.add {
            let stays = self.at_place(node.id);
            let stays = stays.filter(|other| !change.remove.contains(&other.id));
            if let Some(other) = stays {
                problems.push(format!("node {} has the place of {}", other.id, node.id));
            } else if node.id != self.next_at(node.id) {
                let next = self.next_at(node.id);
                problems.push(format!("the next node at that place is {next}"));
            }
            if !places.insert(node.id.place()) || node.id.place().0 == 0 {
                problems.push(format!("{} is no id for a new node", node.id));
            }
            let port = node.address.rsplit_once(':').map(|(_, port)| port.parse());
            let is_address = matches!(port, Some(Ok(1u16..)));
            if !is_address || node.address.len() > ADDRESS_BYTES_MAX {
                problems.push(format!("\"{}\" is no host and port", node.address));
            }
        }
        let stay = centre.nodes.len().saturating_sub(change.remove.len());
        let reuses = |id: &NodeId| change.add.iter().any(|node| node.id.place() == id.place());
        // A node whose place is taken gives its disk up, and its vote with it.
        if *centre == self.primary
            && change.remove.iter().any(reuses)
            && stay <= centre.nodes.len() / 2
        {
            problems.push(format!(
                "more than half of {}'s nodes must stay: they decide this",
                change.centre
            ));
        }
        let left = centre.nodes.len() + change.add.len();
        match left.saturating_sub(change.remove.len()) {
            0 => problems.push(format!("{} would have no node", change.centre)),
            1..=NODES_MAX => {}
            _ => problems.push(format!("a centre has at most {NODES_MAX} nodes")),
        }
        problems
    }

    fn after(&self, change: &Change, index: u64, degraded: bool) -> Self {
        let mut centres = self.clone();
        let secondary = centres.secondary.as_ref();
        let protects = secondary.filter(|secondary| secondary.name == change.centre);
        if let Some(secondary) = protects
            && !degraded
        {
            centres.former = Some(Former {
                nodes: secondary.nodes.iter().map(|node| node.id).collect(),
                until: index,
            });
        }
        let mut retired = Vec::new();
        let all = std::iter::once(&mut centres.primary).chain(&mut centres.secondary);
        for centre in all.filter(|centre| centre.name == change.centre) {
            let (go, mut stay): (Vec<Node>, Vec<Node>) = std::mem::take(&mut centre.nodes)
                .into_iter()
                .partition(|node| change.remove.contains(&node.id));
            stay.extend(change.add.iter().cloned());
            centre.nodes = stay;
            retired = go;
        }
        for node in retired {
            centres.retired.insert(
                node.id,
                Retired {
                    centre: change.centre.clone(),
                    address: node.address,
                },
            );
        }
        centres
    }
}

impl State {
    /// Whether the nodes could be changed so.
    ///
    /// # Errors
    /// Why not.
    pub fn may_change_nodes(&self, change: &Change) -> Result<(), Rejection> {
        let centres = self.centres().ok_or(Rejection::NotFounded)?;
        if let Some(switch) = &centres.switch {
            return Err(Rejection::CentreSwitching {
                to: switch.to.clone(),
            });
        }
        // One after the other: what protects an answer is clear for two sets at a time.
        if centres.former.is_some() {
            return Err(Rejection::TooMany);
        }
        if centres.named(&change.centre).is_none() {
            return Err(Rejection::NoSuchCentre);
        }
        let problems = centres.problems(change);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Rejection::BadValues(problems))
        }
    }
}

/// Notes an operator's approval of a change; carries it out with the last one that it takes.
pub(super) fn change(
    state: &mut State,
    context: &Context<'_>,
    change: &Change,
    reason: &str,
) -> Effect {
    let mut parts = Vec::new();
    if !change.add.is_empty() {
        parts.push(format!("add {}", change.added()));
    }
    if !change.remove.is_empty() {
        parts.push(format!("remove {}", listed(change.remove.iter())));
    }
    let detail = format!("{}: {}: {reason}", change.centre, parts.join("; "));
    let event = Event::new(Kind::ActApproved).detail(format!("centre.nodes: {detail}"));
    let judged = cluster::may_set(state, context)
        .and_then(|()| reason_fits(reason))
        .and_then(|()| state.may_change_nodes(change));
    if let Err(rejection) = judged {
        return Effect::rejected(rejection, event);
    }
    let about = format!("nodes of {}", change.centre);
    let act = approval::Act::Nodes(Box::new(change.clone()));
    let counted = match approval::note(state, context, about, act) {
        Ok(counted) => counted,
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    let (have, need) = (counted.have, counted.need);
    let mut effect = Effect::done(Answer::Approved { have, need }, event);
    if have < need {
        return effect;
    }
    let degraded = state.header.protection.degraded_since.is_some();
    if let Some(centres) = state.centres() {
        let centres = centres.after(change, context.at.index, degraded);
        state.centres = Some(Held::new(centres));
    }
    let dropped = change.tail.as_ref().map_or_else(String::new, |tail| {
        format!("; dropped, and kept apart: {}", tail.told())
    });
    let done = Event::new(Kind::NodesChanged)
        .detail(format!("{detail}{dropped}"))
        .approved(counted.act);
    effect.events.push(done);
    effect
}

/// Both sets of nodes have the entry that changed them: from here on the new one protects alone.
pub(super) fn settle(state: &mut State, context: &Context<'_>, until: u64) -> Effect {
    let event = Event::new(Kind::NodesSettled);
    if !matches!(context.actor, Actor::Node(_)) {
        return Effect::rejected(Rejection::NotAllowed, event);
    }
    let Some(centres) = state.centres() else {
        return Effect::rejected(Rejection::NotFounded, event);
    };
    if centres
        .former
        .as_ref()
        .is_none_or(|former| former.until != until)
    {
        return Effect::rejected(Rejection::AlreadySo, event);
    }
    let mut centres = centres.clone();
    centres.former = None;
    state.centres = Some(Held::new(centres));
    Effect::done(Answer::Nothing, event)
}
