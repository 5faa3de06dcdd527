//! `centre reinstate`: an old primary comes back as the secondary. What it had and the main line
//! does not is shown, kept and told by name before anything is wiped.

use std::time::{Duration, Instant};

use proto::operator::v1::{AssessReinstatementRequest, NodeStatus};

use crate::args::centre::Reinstate;
use crate::client::{Operator, told};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::verb::{confirmed, node};

/// How long the nodes may take to be back.
const BACK_MAX: Duration = Duration::from_secs(120);
/// Entries that a node may lack and count as back.
const LAG_MAX: u64 = 100;
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Brings the nodes back.
///
/// # Errors
/// What went wrong, with its exit code.
pub(super) async fn run(flags: &Reinstate, output: Output) -> Result<(), Failure> {
    let operator = Operator::connect(&flags.connection).await?;
    output.talk(&super::topology(&operator.status().await?));
    let message = AssessReinstatementRequest {
        centre: flags.centre.clone(),
    };
    let found = told(
        operator
            .nodes()
            .assess_reinstatement(operator.request(message, flags.change.reason.as_deref()))
            .await,
    )?;
    for (node, why) in &found.problems {
        output.talk(&format!("node {node} was not asked: {why}"));
    }
    let kept = found.kept_node_ids.iter().map(u64::to_string);
    let kept = kept.collect::<Vec<_>>().join(", ");
    super::dropped::tell(&operator, &found, flags.out.as_deref(), output).await?;
    if found.record_count == 0 {
        output.talk("the old primary has nothing that the main line does not have");
    } else {
        output.talk(&format!(
            "{} audit records are dropped, and kept apart by nodes {kept} as {}",
            found.record_count, found.line
        ));
    }
    let change = found
        .change
        .ok_or_else(|| Failure::internal("the node answers without a change"))?;
    let back: Vec<u64> = change.add.iter().map(|node| node.node_id).collect();
    if !flags.change.dry_run {
        let question = format!(
            "All that the nodes of {} have is wiped, all but their audit.",
            flags.centre
        );
        confirmed(&flags.confirm, &flags.centre, &question, output)?;
    }
    let began = Instant::now();
    if node::change::say_it(&operator, change, &flags.change, output).await? {
        await_back(&operator, &back, began, output).await?;
        output.talk(&super::topology(&operator.status().await?));
    }
    Ok(())
}

/// How far a node has applied the main line.
fn applied(node: &NodeStatus) -> Option<u64> {
    let main = node.lines.iter().find(|line| {
        let of = line.line.as_ref();
        of.is_some_and(|of| of.line == "main")
    });
    Some(main?.applied_log_id?.index)
}

/// Waits until all of these nodes answer and have what the main line has.
async fn await_back(
    operator: &Operator,
    back: &[u64],
    began: Instant,
    output: Output,
) -> Result<(), Failure> {
    let mut told_of = 0;
    while began.elapsed() < BACK_MAX {
        // A node that asks may be asked away for a moment itself.
        if let Ok(status) = operator.status().await {
            let last = status.nodes.iter().filter_map(applied).max().unwrap_or(0);
            let follows = |node: &&NodeStatus| {
                let near = applied(node).is_some_and(|at| at.saturating_add(LAG_MAX) >= last);
                node.reachable && near && back.contains(&node.node_id)
            };
            let count = status.nodes.iter().filter(follows).count();
            if count == back.len() {
                output.talk(&format!(
                    "{count} of {count} nodes are back, {:.1} s after the approval",
                    began.elapsed().as_secs_f64()
                ));
                return Ok(());
            }
            if count > told_of {
                output.talk(&format!("{count} of {} nodes are back", back.len()));
                told_of = count;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(Failure::new(
        Exit::Unknown,
        "approved, and not all nodes are back yet: start those that have ended",
    )
    .next("tidemark status"))
}
