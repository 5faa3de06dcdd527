//! The nodes and their lines: this one's own, and what the others last said of themselves.

use std::collections::BTreeMap;

use consensus::Line;
use consensus::facts::{self, Facts, VERSION};
use consensus::line::Role;
use domain::cluster::Centre;
use domain::id::{CentreName, NodeId};
use domain::{Digest, Digests, LineRef, LogId};
use proto::operator::v1 as operator;
use proto::peer::v1 as peer;

use crate::edge::{self, Edge, WORD_AGE_MAX};
use crate::wire;

/// A line at a node.
pub(super) struct Heard {
    pub(super) reference: LineRef,
    pub(super) applied: Option<LogId>,
    pub(super) digests: Option<Digests>,
    pub(super) leader: Option<NodeId>,
    pub(super) role: operator::LineRole,
    pub(super) running: bool,
}

/// A node, as it is known here.
pub(super) struct Known {
    pub(super) id: NodeId,
    pub(super) centre: CentreName,
    pub(super) address: String,
    pub(super) heard_ms: Option<u64>,
    pub(super) ahead_ms: Option<i64>,
    pub(super) clock_is_off: bool,
    /// Empty if it was never heard.
    pub(super) version: String,
    /// Why it does not talk to this one, as it says.
    pub(super) refusal: Option<String>,
    pub(super) facts: Facts,
    pub(super) lines: Vec<Heard>,
}

impl Known {
    pub(super) fn is_reachable(&self) -> bool {
        self.heard_ms
            .is_some_and(|ms| u128::from(ms) <= WORD_AGE_MAX.as_millis())
    }

    pub(super) fn message(&self) -> operator::NodeStatus {
        operator::NodeStatus {
            node_id: self.id.0,
            centre: self.centre.to_string(),
            peer_address: self.address.clone(),
            heard_ms: self.heard_ms,
            lines: self.lines.iter().map(Heard::message).collect(),
            reachable: self.is_reachable(),
            clock_ahead_ms: self.ahead_ms,
            version: self.version.clone(),
            disk_free_bytes: self.facts.room.map(|room| room.free_bytes),
            disk_total_bytes: self.facts.room.map(|room| room.total_bytes),
            certificates: self.facts.certificates.iter().map(certificate).collect(),
            key_problem: self.facts.key_problem.clone().unwrap_or_default(),
            clock_off: self.clock_is_off,
            refusal: self.refusal.clone().unwrap_or_default(),
        }
    }
}

impl Heard {
    pub(super) fn message(&self) -> operator::LineStatus {
        operator::LineStatus {
            line: Some(wire::line_reference(&self.reference)),
            applied_log_id: self.applied.map(wire::log_id),
            digests: self.digests.as_ref().map(wire::digests),
            leader_node_id: self.leader.map_or(0, |node| node.0),
            role: self.role.into(),
        }
    }
}

fn certificate(one: &facts::Certificate) -> operator::NodeCertificate {
    operator::NodeCertificate {
        name: one.name.clone(),
        expire_time: Some(wire::time(one.not_after)),
    }
}

/// All registered nodes, the primary's first.
pub(super) fn nodes(edge: &Edge) -> Vec<Known> {
    let centres = edge.node().centres();
    centres
        .all()
        .flat_map(|centre| centre.nodes.iter().map(move |node| (centre, node)))
        .map(|(centre, node)| known(edge, centre, node))
        .collect()
}

fn known(edge: &Edge, centre: &Centre, node: &domain::cluster::Node) -> Known {
    let mut known = Known {
        id: node.id,
        centre: centre.name.clone(),
        address: node.address.clone(),
        heard_ms: None,
        ahead_ms: None,
        clock_is_off: false,
        version: String::new(),
        refusal: edge.node().heard().refusal(node.id),
        facts: Facts::default(),
        lines: Vec::new(),
    };
    let own = edge.node();
    if node.id == own.id() {
        known.heard_ms = Some(0);
        known.ahead_ms = Some(0);
        known.clock_is_off = !own.clock_verdict().is_good();
        known.version = VERSION.to_owned();
        known.facts = own.facts();
        known.lines = std::iter::once(&own.main())
            .chain(own.branch().as_ref())
            .map(own_line)
            .collect();
    } else if let Some((ago, said)) = own.heard().from(node.id) {
        let ago_ms = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        let then = own.base_time().minus(ago_ms).0;
        known.heard_ms = Some(ago_ms);
        known.ahead_ms = i64::try_from(i128::from(said.clock_base_ms) - i128::from(then)).ok();
        known.clock_is_off = match said.clock_verdict() {
            peer::ClockVerdict::Off => true,
            peer::ClockVerdict::Unspecified
            | peer::ClockVerdict::Unknown
            | peer::ClockVerdict::Good => false,
        };
        known.version = said.version;
        known.facts = said.facts.map(Facts::read).unwrap_or_default();
        known.lines = said.lines.into_iter().filter_map(heard_line).collect();
    }
    known
}

fn own_line(line: &Line) -> Heard {
    let applied: Option<LogId> = *line.applied().borrow();
    // An engine that ended by a fault had no time to take its role back.
    let role = match edge::fault(line) {
        Some(_) => Role::Stopped,
        None => line.role(),
    };
    let (role, running) = match role {
        Role::Leader => (operator::LineRole::Leader, true),
        Role::Follower | Role::Candidate => (operator::LineRole::Follower, true),
        Role::Learner => (operator::LineRole::Learner, true),
        Role::Stopped => (operator::LineRole::Unspecified, false),
    };
    Heard {
        reference: line.reference(),
        applied,
        digests: applied.and_then(|at| line.digests_at(at)),
        leader: line.leader().filter(|_| running),
        role,
        running,
    }
}

fn heard_line(line: peer::LineStatus) -> Option<Heard> {
    let role = match line.role() {
        peer::LineRole::Leader => operator::LineRole::Leader,
        peer::LineRole::Follower | peer::LineRole::Candidate => operator::LineRole::Follower,
        peer::LineRole::Learner => operator::LineRole::Learner,
        peer::LineRole::Unspecified => operator::LineRole::Unspecified,
    };
    let digest = |bytes: &[u8]| consensus::wire::read_digest(bytes).ok();
    Some(Heard {
        reference: consensus::wire::read_line_ref(line.line).ok()?,
        applied: line.applied.map(consensus::wire::read_log_id),
        digests: line.digests.and_then(|digests| {
            Some(Digests {
                account: digest(&digests.account)?,
                full: digest(&digests.full)?,
            })
        }),
        leader: (line.leader != 0).then_some(NodeId(line.leader)),
        role,
        running: line.running,
    })
}

/// Nodes that have another digest than others at one entry of a line, and where.
pub(super) fn differing(edge: &Edge, nodes: &[Known]) -> Vec<String> {
    let own = edge.node();
    differing_from(own.id(), nodes, |line, at| {
        own.line(line).ok()?.digests_at(at).map(|here| here.full)
    })
}

/// The same, with what this node had at an entry that others have applied.
pub(super) fn differing_from(
    own: NodeId,
    nodes: &[Known],
    here: impl Fn(&LineRef, LogId) -> Option<Digest>,
) -> Vec<String> {
    let mut at_entries: BTreeMap<(String, LogId), BTreeMap<Digest, Vec<NodeId>>> = BTreeMap::new();
    for node in nodes {
        for line in &node.lines {
            let (Some(at), Some(digests)) = (line.applied, &line.digests) else {
                continue;
            };
            let entry = at_entries
                .entry((wire::line_reference(&line.reference).line, at))
                .or_default();
            entry.entry(digests.full).or_default().push(node.id);
            // What the others have applied, this node has mostly applied before or just after.
            if let Some(here) = here(&line.reference, at) {
                let known = entry.entry(here).or_default();
                if !known.contains(&own) {
                    known.push(own);
                }
            }
        }
    }
    at_entries
        .into_iter()
        .filter(|(_, digests)| digests.len() > 1)
        .map(|((line, at), digests)| {
            let sides: Vec<String> = digests.values().map(|nodes| listed(nodes)).collect();
            format!(
                "{line} at entry {at}: node {}",
                sides.join(" against node ")
            )
        })
        .collect()
}

pub(super) fn listed(nodes: &[NodeId]) -> String {
    let texts: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
