//! A change of nodes as operators sign it.

use domain::approval::Act;
use domain::audit::Head;
use domain::centre::nodes::{Change, Tail};
use domain::{NodeId, cluster};
use proto::line::v1 as line;
use proto::operator::v1::{ChangeNodesRequest, DroppedTail, NodesChange};

use crate::args;
use crate::client::Operator;
use crate::exit::Failure;
use crate::output::Output;

fn read(change: &NodesChange) -> Result<Change, Failure> {
    let centre = change.centre.parse();
    Ok(Change {
        centre: centre.map_err(|_| Failure::usage(format!("no centre \"{}\"", change.centre)))?,
        add: change
            .add
            .iter()
            .map(|node| cluster::Node {
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

fn read_tail(tail: &DroppedTail) -> Result<Tail, Failure> {
    let odd = || Failure::internal("the node answers with a tail that cannot be read");
    let entry = |log_id: Option<line::LogId>| {
        let log_id = log_id.map(server::wire::read_log_id);
        log_id.ok_or_else(odd)
    };
    Ok(Tail {
        epoch: tail.epoch,
        node: NodeId(tail.node_id),
        read: tail.read_node_ids.iter().copied().map(NodeId).collect(),
        applied: entry(tail.applied_log_id)?,
        last: entry(tail.last_log_id)?,
        from: tail.from_sequence,
        head: Head {
            sequence: tail.end_sequence,
            hash: tail.head_hash.parse().map_err(|_| odd())?,
        },
    })
}

/// Signs a change and asks for it, and tells how many operators have. Says whether it is done.
pub(in crate::verb) async fn say_it(
    node: &Operator,
    wanted: NodesChange,
    flags: &args::Change,
    output: Output,
) -> Result<bool, Failure> {
    let seen = node.seen().await?;
    let act = Act::Nodes(Box::new(read(&wanted)?));
    let id = node.request_id(flags);
    let approval = if flags.dry_run {
        None
    } else {
        Some(node.sign(&act, &seen, output)?)
    };
    let message = ChangeNodesRequest {
        request_id: id.to_string(),
        change: Some(wanted),
        reason: flags.reason.clone().unwrap_or_default(),
        dry_run: flags.dry_run,
        approval,
    };
    let ask = |request| {
        let mut client = node.nodes();
        async move { client.change_nodes(request).await }
    };
    let answer = node.change(id, flags, message, ask).await?;
    let (have, need) = (answer.approval_count, answer.needed_count);
    let done = !flags.dry_run && have >= need;
    let document = serde_json::json!({
        "dry_run": flags.dry_run, "approvals": have, "needed": need, "done": done,
    });
    output.data(&document, || {
        if flags.dry_run {
            "dry run: it could be done; nothing was changed".to_owned()
        } else if done {
            format!("done, {have} of {need} operators have approved")
        } else {
            format!(
                "{have} of {need} operators have approved; nothing is changed until another approves \
                 the same within 30 minutes, with --as"
            )
        }
    })?;
    Ok(done)
}

/// As `say_it`.
pub(super) async fn say(
    node: &Operator,
    wanted: NodesChange,
    flags: &args::Change,
    output: Output,
) -> Result<(), Failure> {
    say_it(node, wanted, flags, output).await.map(|_| ())
}
