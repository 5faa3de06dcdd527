//! `NodeService`: which nodes the centres have (LINES.md, "Reinstate").

use std::collections::BTreeSet;

use domain::centre::nodes::{Change, Tail};
use domain::centre::{Centres, Command};
use domain::cluster::Node;
use domain::{Answer, CentreName, NodeId, State, audit};
use proto::operator::v1 as operator;
use proto::operator::v1::node_service_server::NodeService;
use tonic::{Request, Response, Status};

use super::account::reason;
use super::answered;
use super::centre::read_centre;
use crate::approvals;
use crate::edge::{self, Edge};
use crate::reads::Read;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

/// Most records of a tail that are answered at once; the others are listed as an audit trail.
const SHOWN_MAX: usize = 1_000;

type Answered<T> = Result<Response<T>, Status>;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Nodes(pub(super) Edge);

#[tonic::async_trait]
impl NodeService for Nodes {
    async fn list_nodes(
        &self,
        request: Request<operator::ListNodesRequest>,
    ) -> Answered<operator::ListNodesResponse> {
        answered!(self.0, request, list)
    }

    async fn change_nodes(
        &self,
        request: Request<operator::ChangeNodesRequest>,
    ) -> Answered<operator::ChangeNodesResponse> {
        answered!(self.0, request, change)
    }

    async fn assess_reinstatement(
        &self,
        request: Request<operator::AssessReinstatementRequest>,
    ) -> Answered<operator::AssessReinstatementResponse> {
        answered!(self.0, request, assess)
    }
}

fn centres<'a>(edge: &Edge, state: &'a State) -> Result<&'a Centres, Refusal> {
    state.centres().ok_or_else(|| Refusal::Rejected {
        rejection: domain::Rejection::NotFounded,
        clock: edge.now(state),
    })
}

fn place(of: &Centres, id: NodeId, centre: &CentreName, address: &str) -> operator::NodePlace {
    operator::NodePlace {
        node_id: id.0,
        centre: centre.to_string(),
        address: address.to_owned(),
        next_node_id: of.next_at(id).0,
    }
}

async fn list(
    edge: &Edge,
    ask: Ask<operator::ListNodesRequest>,
) -> Result<operator::ListNodesResponse, Refusal> {
    let (_, state) = edge.fresh(&ask).await?;
    let centres = centres(edge, &state)?;
    let nodes = centres.all().flat_map(|centre| {
        let nodes = centre.nodes.iter();
        nodes.map(|node| place(centres, node.id, &centre.name, &node.address))
    });
    let retired = centres.retired.iter();
    let retired = retired.map(|(id, was)| place(centres, *id, &was.centre, &was.address));
    Ok(operator::ListNodesResponse {
        nodes: nodes.collect(),
        retired: retired.collect(),
        primary: centres.primary.name.to_string(),
    })
}

fn read(change: &operator::NodesChange) -> Result<Change, Refusal> {
    Ok(Change {
        centre: read_centre(&change.centre)?,
        add: change
            .add
            .iter()
            .map(|node| Node {
                id: NodeId(node.node_id),
                address: node.address.clone(),
            })
            .collect(),
        remove: change.remove_node_ids.iter().copied().map(NodeId).collect(),
        tail: match &change.tail {
            Some(tail) => Some(Box::new(read_tail(tail)?)),
            None => None,
        },
    })
}

fn read_tail(tail: &operator::DroppedTail) -> Result<Tail, Refusal> {
    let entry = |log_id: Option<proto::line::v1::LogId>, field| {
        log_id
            .map(wire::read_log_id)
            .ok_or_else(|| Refusal::malformed(Field::Required(field), "an entry"))
    };
    Ok(Tail {
        epoch: tail.epoch,
        node: NodeId(tail.node_id),
        read: tail.read_node_ids.iter().copied().map(NodeId).collect(),
        applied: entry(tail.applied_log_id, "applied_log_id")?,
        last: entry(tail.last_log_id, "last_log_id")?,
        from: tail.from_sequence,
        head: audit::Head {
            sequence: tail.end_sequence,
            hash: wire::read_digest(&tail.head_hash, "head_hash")?,
        },
    })
}

fn shown(tail: &Tail) -> operator::DroppedTail {
    operator::DroppedTail {
        epoch: tail.epoch,
        node_id: tail.node.0,
        read_node_ids: tail.read.iter().map(|node| node.0).collect(),
        applied_log_id: Some(wire::log_id(tail.applied)),
        last_log_id: Some(wire::log_id(tail.last)),
        from_sequence: tail.from,
        end_sequence: tail.head.sequence,
        head_hash: tail.head.hash.to_string(),
    }
}

async fn change(
    edge: &Edge,
    ask: Ask<operator::ChangeNodesRequest>,
) -> Result<operator::ChangeNodesResponse, Refusal> {
    let body = &ask.body;
    let unsigned = operator::ChangeNodesRequest {
        approval: None,
        ..body.clone()
    };
    let key = ask.key_of(&body.request_id, &unsigned, edge.keyring())?;
    let asked = body.change.as_ref();
    let change = read(asked.ok_or_else(|| Refusal::malformed(Field::Required("change"), "said"))?)?;
    let reason = reason(&ask, &body.reason)?;
    let (line, state) = edge.fresh(&ask).await?;
    if body.dry_run {
        let judged = state.may_change_nodes(&change);
        judged.map_err(|rejection| Refusal::Rejected {
            rejection,
            clock: edge.now(&state),
        })?;
        return Ok(operator::ChangeNodesResponse {
            approval_count: 0,
            needed_count: state.policy().approvals,
        });
    }
    if let Some(tail) = &change.tail {
        // Nothing is wiped that is not kept by those who decide it.
        keep(edge, &state, tail).await?;
    }
    let command = domain::Command::Centre(Command::ChangeNodes {
        change: Box::new(change),
        reason,
    });
    let command = approvals::signed(edge, &ask, &state, body.approval.as_ref(), command)?;
    let settled = edge.propose(&ask, &line, Some(key), command).await?;
    let Answer::Approved { have, need } = settled.answer else {
        return Err(edge::unexpected(&settled.answer));
    };
    Ok(operator::ChangeNodesResponse {
        approval_count: have,
        needed_count: need,
    })
}

fn not_reinstated(why: impl Into<String>) -> Refusal {
    Refusal::NotReinstated { why: why.into() }
}

/// Has more than half of the primary's nodes keep the tail.
async fn keep(edge: &Edge, state: &State, tail: &Tail) -> Result<Vec<NodeId>, Refusal> {
    let primary = &centres(edge, state)?.primary;
    let nodes: Vec<NodeId> = primary.nodes.iter().map(|node| node.id).collect();
    let wanted = nodes.len() / 2 + 1;
    let kept = edge.node().have_tail_kept(tail, nodes).await;
    if kept.len() < wanted {
        return Err(not_reinstated(format!(
            "{} of {wanted} nodes of {} keep what would be dropped",
            kept.len(),
            primary.name
        )));
    }
    Ok(kept)
}

async fn assess(
    edge: &Edge,
    ask: Ask<operator::AssessReinstatementRequest>,
) -> Result<operator::AssessReinstatementResponse, Refusal> {
    let name = read_centre(&ask.body.centre)?;
    let (_, state) = edge.fresh(&ask).await?;
    let centres = centres(edge, &state)?;
    let centre = centres.named(&name);
    match centre {
        None => {
            return Err(Refusal::Rejected {
                rejection: domain::Rejection::NoSuchCentre,
                clock: edge.now(&state),
            });
        }
        Some(centre) if !centre.nodes.is_empty() => {
            return Err(not_reinstated(format!(
                "{name} has nodes: tidemark node replaces them one by one"
            )));
        }
        Some(_) => {}
    }
    // Of two lives at one place the last is there, if any.
    let mut places = BTreeSet::new();
    let gone = centres.retired.iter().rev();
    let gone: Vec<_> = gone
        .filter(|(id, was)| was.centre == name && places.insert(id.place()))
        .collect();
    let add: Vec<operator::NodePlace> = gone
        .iter()
        .rev()
        .map(|(id, was)| place(centres, centres.next_at(**id), &name, &was.address))
        .collect();
    let asked = gone.iter().map(|(id, _)| **id).collect();
    let found = edge.node().find_tail(asked).await;
    let found = found.map_err(|error| not_reinstated(error.to_string()))?;
    if found.tail.read.len() <= places.len() / 2 {
        let told: Vec<String> = found.problems.into_values().collect();
        return Err(not_reinstated(format!(
            "{} of {} nodes of {name} can be asked: only more than half of them have everything \
             that was answered ({})",
            found.tail.read.len(),
            places.len(),
            told.join("; ")
        )));
    }
    let kept = keep(edge, &state, &found.tail).await?;
    if !kept.contains(&edge.node().id()) {
        let others: Vec<String> = kept.iter().map(ToString::to_string).collect();
        return Err(not_reinstated(format!(
            "this node does not keep what would be dropped: ask at node {}",
            others.join(", ")
        )));
    }
    let records = edge
        .node()
        .kept_tail(&found.tail, found.tail.from, SHOWN_MAX)
        .await
        .map_err(|error| not_reinstated(error.to_string()))?;
    let about = format!("reinstatement of {name}");
    edge.note_read(&ask, &state, Read::of(about, records.len()))?;
    let next = records.last().map(|row| row.sequence.saturating_add(1));
    let next = next.filter(|next| *next < found.tail.head.sequence);
    Ok(operator::AssessReinstatementResponse {
        change: Some(operator::NodesChange {
            centre: name.to_string(),
            add,
            remove_node_ids: Vec::new(),
            tail: Some(shown(&found.tail)),
        }),
        records: records.iter().map(super::audit::event).collect(),
        record_count: found.tail.records(),
        uncommitted_from: found.uncommitted_from,
        kept_node_ids: kept.iter().map(|node| node.0).collect(),
        problems: found
            .problems
            .into_iter()
            .map(|(node, why)| (node.0, why))
            .collect(),
        line: consensus::place::dropped_name(&found.tail),
        next_page_token: next.map(|at| at.to_string()).unwrap_or_default(),
    })
}
