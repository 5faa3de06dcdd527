//! `node`: the nodes of the centres. What a change would be is shown before it is signed.

use proto::operator::v1::{ListNodesRequest, ListNodesResponse, NodePlace, NodesChange};

use super::{already, confirmed};
use crate::args::node::{Add, List, Node, Remove, Replace};
use crate::client::{Operator, told};
use crate::exit::Failure;
use crate::output::{Output, Table};

pub(super) mod change;
mod prepare;

/// Lists or changes nodes.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Node, output: Output) -> Result<(), Failure> {
    match flags {
        Node::List(flags) => list(flags, output).await,
        Node::Prepare(flags) => prepare::run(flags, output),
        Node::Add(flags) => already(&flags.change, add(flags, output).await, output),
        Node::Remove(flags) => already(&flags.change, remove(flags, output).await, output),
        Node::Replace(flags) => already(&flags.change, replace(flags, output).await, output),
    }
}

async fn listed(node: &Operator) -> Result<ListNodesResponse, Failure> {
    let request = node.request(ListNodesRequest {}, None);
    told(node.nodes().list_nodes(request).await)
}

async fn list(flags: &List, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let found = listed(&node).await?;
    let document = |of: &NodePlace| {
        serde_json::json!({
            "node": of.node_id, "centre": of.centre, "address": of.address, "next": of.next_node_id,
        })
    };
    let document = serde_json::json!({
        "primary": found.primary,
        "nodes": found.nodes.iter().map(document).collect::<Vec<_>>(),
        "retired": found.retired.iter().map(document).collect::<Vec<_>>(),
    });
    output.data(&document, || {
        let mut table = Table::new(&["NODE", "CENTRE", "PEER ADDRESS", "STATE"]);
        let row = |of: &NodePlace, state: &str| {
            let (centre, address) = (of.centre.clone(), of.address.clone());
            [of.node_id.to_string(), centre, address, state.to_owned()]
        };
        for of in &found.nodes {
            table.row(row(of, "member"));
        }
        for of in &found.retired {
            table.row(row(of, "gone"));
        }
        table.text()
    })
}

/// The member of this id, or why there is none.
async fn member(node: &Operator, id: u64) -> Result<NodePlace, Failure> {
    let found = listed(node).await?;
    let member = found.nodes.into_iter().find(|of| of.node_id == id);
    member.ok_or_else(|| {
        Failure::pre_check(format!("no centre has a node {id}; nothing was changed"))
            .next("tidemark node list")
    })
}

async fn add(flags: &Add, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let wanted = NodesChange {
        centre: flags.centre.clone(),
        add: vec![NodePlace {
            node_id: flags.number,
            address: flags.address.clone(),
            ..NodePlace::default()
        }],
        ..NodesChange::default()
    };
    change::say(&node, wanted, &flags.change, output).await
}

async fn remove(flags: &Remove, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let gone = member(&node, flags.number).await?;
    let wanted = NodesChange {
        centre: gone.centre.clone(),
        remove_node_ids: vec![gone.node_id],
        ..NodesChange::default()
    };
    if !flags.change.dry_run {
        let question = format!("Node {} of {} goes for good.", gone.node_id, gone.centre);
        confirmed(&flags.confirm, &gone.node_id.to_string(), &question, output)?;
    }
    change::say(&node, wanted, &flags.change, output).await
}

async fn replace(flags: &Replace, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let gone = member(&node, flags.number).await?;
    let wanted = NodesChange {
        centre: gone.centre.clone(),
        add: vec![NodePlace {
            node_id: gone.next_node_id,
            address: flags.address.clone().unwrap_or(gone.address),
            ..NodePlace::default()
        }],
        remove_node_ids: vec![gone.node_id],
        ..NodesChange::default()
    };
    if !flags.change.dry_run {
        let question = format!(
            "Node {} of {} comes back as {}: what is on its disk is given up, all but the audit.",
            gone.node_id, gone.centre, gone.next_node_id
        );
        confirmed(&flags.confirm, &gone.node_id.to_string(), &question, output)?;
    }
    change::say(&node, wanted, &flags.change, output).await
}
