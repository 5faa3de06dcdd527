//! `centre promote`: seal, read, show what there is and what can be claimed of the loss, then ask.
//! Two operators sign the same terms at the same node; the second call does it.

use proto::line::v1::LogId;
use proto::operator::v1::{
    AssessPromotionRequest, AssessPromotionResponse, Fence, Loss, PromoteRequest, PromoteResponse,
    PromotionTerms, ReleaseSealsRequest,
};

use crate::args::Connection;
use crate::args::centre::{AcceptedLoss, Promote, Release};
use crate::client::{Operator, acted, told};
use crate::drill::words;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Table};
use crate::profile::Profile;
use crate::terms;
use crate::verb::confirmed;

/// A connection to the first node of the centre that answers, or to the one that was said.
async fn at(connection: &Connection, centre: &str) -> Result<Operator, Failure> {
    let profile = Profile::read(&connection.profile)?;
    let mut last = Failure::usage(format!("the profile has no node in {centre}"));
    for node in profile.nodes() {
        let wanted = connection.node.unwrap_or(node.id);
        if node.centre.as_str() != centre || node.id != wanted {
            continue;
        }
        let mut only = connection.clone();
        only.node = Some(node.id);
        match Operator::connect(&only).await {
            Ok(node) => return Ok(node),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

fn loss(of: Loss) -> &'static str {
    match of {
        Loss::None => "0",
        Loss::Unknown => "unknown",
        Loss::Unspecified => "-",
    }
}

fn entry(at: Option<&LogId>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.index.to_string())
}

fn evidence(found: &AssessPromotionResponse) -> String {
    let mut table = Table::new(&["NODE", "SEALED", "LAST", "COMMITTED", "CLOCK", "DIGEST"]);
    for node in &found.nodes {
        let sealed = match node.problem.as_str() {
            "" => "yes".to_owned(),
            problem => format!("no: {problem}"),
        };
        table.row([
            node.node_id.to_string(),
            sealed,
            entry(node.last_log_id.as_ref()),
            entry(node.applied_log_id.as_ref()),
            words::local(node.clock_time.as_ref()),
            node.digest.chars().take(12).collect(),
        ]);
    }
    table.text()
}

fn listed(nodes: &[u64]) -> String {
    let names: Vec<String> = nodes.iter().map(u64::to_string).collect();
    names.join(", ")
}

/// What the operator accepts of the loss, once what can be claimed was shown.
fn accepted(flags: &Promote, claim: Loss, why: &str) -> Result<Loss, Failure> {
    match (flags.accept_loss, claim) {
        (None, Loss::None) => Ok(Loss::None),
        (None, _) => Err(Failure::usage(format!(
            "the loss is unknown: {why}; nothing was promoted"
        ))
        .next("accept it by name with --accept-loss=unknown, or tidemark centre release")),
        (Some(AcceptedLoss::None), Loss::None) => Ok(Loss::None),
        (Some(AcceptedLoss::None), _) => Err(Failure::pre_check(format!(
            "a loss of 0 cannot be claimed: {why}; nothing was promoted"
        ))),
        (Some(AcceptedLoss::Unknown), _) => Ok(Loss::Unknown),
    }
}

/// Promotes.
///
/// # Errors
/// What went wrong, with its exit code.
pub(super) async fn run(flags: &Promote, output: Output) -> Result<(), Failure> {
    let node = at(&flags.connection, &flags.to).await?;
    let seen = node.seen().await?;
    output.talk(&format!("sealing the nodes of {}", flags.to));
    let found = told(
        node.centre()
            .assess_promotion(node.request(AssessPromotionRequest {}, None))
            .await,
    )?;
    output.talk(&evidence(&found));
    let terms = found
        .terms
        .clone()
        .ok_or_else(|| Failure::internal("the node answers without terms"))?;
    output.talk(&format!(
        "would go on from entry {} in epoch {}; loss that can be claimed: {} ({})",
        entry(terms.boundary.as_ref()),
        terms.epoch,
        loss(terms.accepted_loss()),
        found.claim_reason
    ));
    match found.primary_heard_node_ids.as_slice() {
        [] => output.talk(&format!("{} does not answer", found.primary)),
        heard => output.talk(&format!(
            "node {} of {} answers still: try tidemark centre switchover first",
            listed(heard),
            found.primary
        )),
    }
    let terms = PromotionTerms {
        accepted_loss: accepted(flags, terms.accepted_loss(), &found.claim_reason)?.into(),
        accept_split_brain: flags.accept_split_brain,
        reason: flags.reason.clone(),
        ..terms
    };
    if let Some(waiting) = found.waiting.as_ref().filter(|waiting| **waiting != terms) {
        output.talk(&format!(
            "other terms wait here, signed by {}: loss {}, split brain {}, \"{}\"; signing these \
             begins anew",
            found.approvers.join(", "),
            loss(waiting.accepted_loss()),
            if waiting.accept_split_brain {
                "accepted"
            } else {
                "not accepted"
            },
            waiting.reason
        ));
    }
    confirmed(
        &flags.confirm,
        &flags.to,
        &format!(
            "{} goes on without {}: every token ends, and {} comes back only wiped.",
            flags.to, found.primary, found.primary
        ),
        output,
    )?;
    let act = domain::approval::Act::Promotion(Box::new(terms::read(&terms)?));
    let message = PromoteRequest {
        terms: Some(terms),
        approval: Some(node.sign(&act, &seen, output)?),
    };
    let answer = acted(node.centre().promote(node.request(message, None)).await)?;
    show(&answer, node.node(), output)
}

fn fence(of: Fence) -> &'static str {
    match of {
        Fence::Acknowledged => "acknowledged",
        Fence::Hook => "by the hook",
        Fence::None => "none",
        Fence::Unspecified => "-",
    }
}

fn show(answer: &PromoteResponse, node: u64, output: Output) -> Result<(), Failure> {
    let done = !answer.primary.is_empty();
    let took = answer.duration.unwrap_or_default();
    let ms = took.seconds.saturating_mul(1_000) + i64::from(took.nanos) / 1_000_000;
    let document = serde_json::json!({
        "done": done, "approvals": answer.approval_count, "needed": answer.needed_count,
        "primary": done.then_some(&answer.primary),
        "fence": done.then(|| fence(answer.fence())),
        "loss": done.then(|| loss(answer.loss())),
        "duration_ms": done.then_some(ms),
    });
    output.data(&document, || {
        if done {
            format!(
                "{} is the primary, after {ms} ms; fence: {}; loss: {} ({})",
                answer.primary,
                fence(answer.fence()),
                loss(answer.loss()),
                answer.loss_reason
            )
        } else {
            format!(
                "{} of {} operators have signed; another signs the same with --as, --node {node}",
                answer.approval_count, answer.needed_count
            )
        }
    })?;
    match (done, answer.fence(), answer.loss()) {
        (false, _, _) | (true, Fence::Acknowledged | Fence::Hook, Loss::None) => Ok(()),
        (true, Fence::None, _) => Err(Failure::new(
            Exit::Loss,
            "done, and the old primary was not shown to have stopped: both may serve",
        )),
        (true, _, _) => Err(Failure::new(
            Exit::Loss,
            "done, with a loss that nobody here can know",
        )),
    }
}

/// Takes the seals back.
///
/// # Errors
/// What went wrong, with its exit code.
pub(super) async fn release(flags: &Release, output: Output) -> Result<(), Failure> {
    let node = at(&flags.connection, &flags.centre).await?;
    let message = ReleaseSealsRequest {
        reason: flags.reason.clone(),
    };
    let answer = told(
        node.centre()
            .release_seals(node.request(message, None))
            .await,
    )?;
    let document = serde_json::json!({ "released": answer.node_ids });
    output.data(&document, || match answer.node_ids.as_slice() {
        [] => "no node was sealed".to_owned(),
        nodes => format!("node {} follows the primary again", listed(nodes)),
    })
}
