//! `centre promote`: seal, read, show what there is and what can be claimed of the loss, then ask.
//! Two operators sign the same terms at the same node; the second call does it.

use domain::promotion::Loss as Accepted;
use prost_types::Timestamp;
use proto::line::v1::LogId;
use proto::operator::v1::{
    AssessPromotionRequest, AssessPromotionResponse, Fence, Loss, PromoteRequest, PromoteResponse,
    PromotionTerms, ReleaseSealsRequest, ReleaseSealsResponse,
};

use crate::args::Connection;
use crate::args::centre::{Promote, Release};
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

/// A loss in words.
fn loss(of: Loss, entries: u64) -> String {
    match of {
        Loss::None => "0".to_owned(),
        Loss::AtMost => format!("at most {entries} entries"),
        Loss::Unknown => "unknown".to_owned(),
        Loss::Unspecified => "-".to_owned(),
    }
}

fn terms_loss(of: &PromotionTerms) -> String {
    loss(of.accepted_loss(), of.accepted_loss_entries)
}

/// An entry as its leader's term, that leader, and its index.
fn entry(at: Option<&LogId>) -> String {
    at.map_or_else(
        || "-".to_owned(),
        |at| server::wire::read_log_id(*at).to_string(),
    )
}

/// How long ago that was, by the clock of the answering node.
fn age(at: Option<&Timestamp>, now: Option<&Timestamp>) -> String {
    let ms = |at: &Timestamp| i128::from(at.seconds) * 1_000 + i128::from(at.nanos) / 1_000_000;
    match (at, now) {
        (Some(at), Some(now)) => {
            let ms = (ms(now) - ms(at)).max(0);
            format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
        }
        _ => "-".to_owned(),
    }
}

fn evidence(found: &AssessPromotionResponse) -> String {
    let heads = [
        "NODE",
        "SEALED",
        "LAST",
        "COMMITTED",
        "CLOCK",
        "AGE",
        "DIGEST",
    ];
    let mut table = Table::new(&heads);
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
            age(node.clock_time.as_ref(), found.now_time.as_ref()),
            node.digest.chars().take(12).collect(),
        ]);
    }
    table.text()
}

/// What is gone on from and not known to be committed.
fn uncommitted(found: &AssessPromotionResponse) -> String {
    let mut table = Table::new(&["ENTRY", "TIME", "WHAT", "BY", "ABOUT"]);
    for of in &found.uncommitted {
        let about = match of.account.as_str() {
            "" => &of.participant,
            account => account,
        };
        table.row([
            entry(of.log_id.as_ref()),
            words::local(of.time.as_ref()),
            of.what.clone(),
            of.by.clone(),
            about.to_owned(),
        ]);
    }
    table.text()
}

fn listed(nodes: &[u64]) -> String {
    let names: Vec<String> = nodes.iter().map(u64::to_string).collect();
    names.join(", ")
}

/// What the operator accepts of the loss, once what can be claimed was shown.
fn accepted(
    flags: &Promote,
    found: &AssessPromotionResponse,
    claim: Loss,
) -> Result<Accepted, Failure> {
    let why = &found.claim_reason;
    match (flags.accept_loss, claim, found.best_loss()) {
        (None, Loss::None, _) => Ok(Accepted::None),
        (None, _, best) => {
            let or_none = match best {
                Loss::None => {
                    "--accept-loss=0 (refused, with nothing done, if it turns out more), "
                }
                Loss::AtMost | Loss::Unknown | Loss::Unspecified => "",
            };
            Err(
                Failure::usage(format!("the loss is unknown: {why}; nothing was promoted")).next(
                    format!("accept it by name with {or_none}--accept-loss=unknown"),
                ),
            )
        }
        // What the old primary has is known once it has stopped.
        (Some(Accepted::None), _, Loss::None) => Ok(Accepted::None),
        (Some(Accepted::None), _, _) => Err(Failure::pre_check(format!(
            "a loss of 0 cannot be claimed: {why}; nothing was promoted"
        ))),
        (Some(accepted), _, _) => Ok(accepted),
    }
}

/// Tells what was found.
fn tell(found: &AssessPromotionResponse, terms: &PromotionTerms, output: Output) {
    output.talk(&evidence(found));
    if found.uncommitted_count > 0 {
        output.talk(&format!(
            "not known to be committed, and gone on from ({}):",
            found.uncommitted_count
        ));
        output.talk(&uncommitted(found));
    }
    output.talk(&format!(
        "would go on from entry {} in epoch {}; loss that can be claimed: {} ({})",
        entry(terms.boundary.as_ref()),
        terms.epoch,
        terms_loss(terms),
        found.claim_reason
    ));
    if found.best_loss() == Loss::None && terms.accepted_loss() != Loss::None {
        output
            .talk("0 if the old primary stops when it is asked, and had not given this centre up");
    }
    match found.primary_heard_node_ids.as_slice() {
        [] if found.contested => output.talk(&format!(
            "the other line of this epoch was begun by nodes of {} that do not answer",
            found.primary
        )),
        [] => output.talk(&format!("{} does not answer", found.primary)),
        heard if found.contested => output.talk(&format!(
            "the other line of this epoch was begun by node {} of {}",
            listed(heard),
            found.primary
        )),
        heard => output.talk(&format!(
            "node {} of {} answers still: try tidemark centre switchover first",
            listed(heard),
            found.primary
        )),
    }
}

/// Promotes. What ends before a signature leaves no seal that was not there before.
///
/// # Errors
/// What went wrong, with its exit code.
pub(super) async fn run(flags: &Promote, output: Output) -> Result<(), Failure> {
    match &flags.confirm.confirm {
        // Nobody is asked in vain, and nothing sealed for it.
        None if !flags.dry_run && !output.can_ask() => {
            confirmed(&flags.confirm, &flags.to, "", output)?;
        }
        Some(_) if !flags.dry_run => confirmed(&flags.confirm, &flags.to, "", output)?,
        Some(_) | None => {}
    }
    let node = at(&flags.connection, &flags.to).await?;
    let seen = node.seen().await?;
    output.talk(&super::topology(&node.status().await?));
    output.talk(&format!("sealing the nodes of {}", flags.to));
    let found = told(
        node.centre()
            .assess_promotion(node.request(AssessPromotionRequest {}, None))
            .await,
    )
    .map_err(|failure| {
        if failure.exit == Exit::Already {
            Failure::new(Exit::Already, format!("{} is the primary", flags.to))
        } else {
            failure
        }
    })?;
    let terms = match decided(flags, &found, output) {
        Ok(Some(terms)) => terms,
        ended => {
            if !found.was_sealed {
                told(released(&node, &flags.reason).await)?;
            }
            return match ended {
                Ok(_) => dry(&found, output),
                Err(failure) => Err(failure),
            };
        }
    };
    let act = domain::approval::Act::Promotion(Box::new(terms::read(&terms)?));
    let message = PromoteRequest {
        terms: Some(terms),
        approval: Some(node.sign(&act, &seen, output)?),
    };
    let answer = acted(node.centre().promote(node.request(message, None)).await)?;
    if !answer.primary.is_empty() {
        output.talk(&super::topology(&node.status().await?));
    }
    show(&answer, node.node(), output)
}

/// The terms that the operator signs; none in a dry run.
fn decided(
    flags: &Promote,
    found: &AssessPromotionResponse,
    output: Output,
) -> Result<Option<PromotionTerms>, Failure> {
    let terms = found
        .terms
        .clone()
        .ok_or_else(|| Failure::internal("the node answers without terms"))?;
    tell(found, &terms, output);
    if flags.dry_run {
        return Ok(None);
    }
    let (accepted_loss, accepted_loss_entries) =
        match accepted(flags, found, terms.accepted_loss())? {
            Accepted::None => (Loss::None, 0),
            Accepted::AtMost(entries) => (Loss::AtMost, entries),
            Accepted::Unknown => (Loss::Unknown, 0),
        };
    let terms = PromotionTerms {
        accepted_loss: accepted_loss.into(),
        accepted_loss_entries,
        accept_split_brain: flags.accept_split_brain,
        reason: flags.reason.clone(),
        ..terms
    };
    if let Some(waiting) = found.waiting.as_ref().filter(|waiting| **waiting != terms) {
        output.talk(&format!(
            "other terms wait here, signed by {}: loss {}, split brain {}, \"{}\"; signing these \
             begins anew",
            found.approvers.join(", "),
            terms_loss(waiting),
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
    Ok(Some(terms))
}

fn dry(found: &AssessPromotionResponse, output: Output) -> Result<(), Failure> {
    let terms = found.terms.clone().unwrap_or_default();
    let document = serde_json::json!({
        "epoch": terms.epoch,
        "boundary": entry(terms.boundary.as_ref()),
        "loss": terms_loss(&terms),
        "loss_at_best": loss(found.best_loss(), 0),
        "why": found.claim_reason,
        "primary": found.primary,
        "primary_heard": found.primary_heard_node_ids,
        "uncommitted": found.uncommitted_count,
    });
    output.data(&document, || {
        let stands = match found.was_sealed {
            true => "the seals that were there stand",
            false => "the seals were taken back",
        };
        format!("dry run: nothing was promoted, and {stands}")
    })
}

async fn released(
    node: &Operator,
    reason: &str,
) -> Result<tonic::Response<ReleaseSealsResponse>, tonic::Status> {
    let message = ReleaseSealsRequest {
        reason: reason.to_owned(),
    };
    node.centre()
        .release_seals(node.request(message, None))
        .await
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
        "loss": done.then(|| loss(answer.loss(), answer.loss_entries)),
        "duration_ms": done.then_some(ms),
    });
    output.data(&document, || {
        if done {
            format!(
                "{} is the primary, after {ms} ms; fence: {}; loss: {} ({})",
                answer.primary,
                fence(answer.fence()),
                loss(answer.loss(), answer.loss_entries),
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
        (true, _, Loss::AtMost) => Err(Failure::new(
            Exit::Loss,
            "done, with a loss of which nobody here can know more than its bound",
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
    let answer = told(released(&node, &flags.reason).await)?;
    let document = serde_json::json!({ "released": answer.node_ids });
    output.data(&document, || match answer.node_ids.as_slice() {
        [] => "no node was sealed".to_owned(),
        nodes => format!("node {} follows the primary again", listed(nodes)),
    })
}
