//! Promotion as operators ask for it: seal, read, show; then two signatures, the fence, and the
//! certificate (LINES.md, "Promotion"). Nothing of it needs the main line: that is what is lost.

use std::collections::{BTreeMap, BTreeSet};

use consensus::promotion::{self, Report};
use domain::approval::{Act, By};
use domain::centre::Centres;
use domain::cluster::Centre;
use domain::promotion::{Certificate, Found, Loss, SealId, Stopped, Terms};
use domain::session::unplanned::Used;
use domain::{NodeId, State};
use futures::future::join_all;
use proto::operator::v1 as operator;
use tokio::time::{Duration, Instant};

use super::fence::{Fenced, Old, contested, fence};
use super::read_centre;
use crate::approvals;
use crate::edge::Edge;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

/// How long the new main line may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often the nodes are sealed anew, since the best one knows others.
const ROUNDS_MAX: usize = 3;

/// Terms that an operator signed here, and that wait for another.
#[derive(Debug, Default)]
pub(crate) struct Waiting(std::sync::Mutex<Option<(Terms, By)>>);

impl Waiting {
    fn read(&self) -> Option<(Terms, By)> {
        let held = self.0.lock();
        held.unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    fn set(&self, waiting: Option<(Terms, By)>) {
        let held = self.0.lock();
        *held.unwrap_or_else(std::sync::PoisonError::into_inner) = waiting;
    }
}

fn own_centre(edge: &Edge) -> Result<Centre, Refusal> {
    let (node, centres) = (edge.node(), edge.node().centres());
    let own = centres.of_node(node.id()).cloned();
    own.ok_or_else(|| Refusal::NotPromoted {
        why: format!("node {} belongs to no centre any more", node.id()),
    })
}

/// A name that nobody has given before.
fn new_seal(edge: &Edge) -> SealId {
    let mut id = [0; 16];
    edge.entropy().fill(&mut id);
    SealId(id)
}

fn nodes_of(centre: &Centre) -> BTreeSet<NodeId> {
    centre.nodes.iter().map(|node| node.id).collect()
}

/// Seals a centre's nodes, or reads again those that are. Which nodes it has is what the best of
/// them has in its log: this one may not know yet that they changed.
pub(super) async fn seals(
    edge: &Edge,
    mut nodes: BTreeSet<NodeId>,
) -> BTreeMap<NodeId, Result<Report, String>> {
    let mut said = BTreeMap::new();
    // Each round knows more of the log; they change one after the other.
    for _ in 0..ROUNDS_MAX {
        said = seal_all(edge, &nodes).await;
        match promotion::best(sealed(&said)) {
            Some(best) if best.nodes != nodes => nodes = best.nodes.clone(),
            Some(_) | None => break,
        }
    }
    said
}

async fn seal_all(
    edge: &Edge,
    nodes: &BTreeSet<NodeId>,
) -> BTreeMap<NodeId, Result<Report, String>> {
    let epoch = edge.node().main().reference().epoch.saturating_add(1);
    let nodes = nodes.iter().copied().collect();
    let said = edge
        .node()
        .collect_seals(nodes, epoch, new_seal(edge))
        .await;
    said.into_iter()
        .map(|(node, report)| (node, report.map_err(|error| error.to_string())))
        .collect()
}

pub(super) fn sealed(said: &BTreeMap<NodeId, Result<Report, String>>) -> Vec<&Report> {
    said.values()
        .filter_map(|report| report.as_ref().ok())
        .collect()
}

/// The node to go on from.
pub(super) fn best(said: &BTreeMap<NodeId, Result<Report, String>>) -> Result<&Report, Refusal> {
    let best = promotion::best(sealed(said));
    best.ok_or_else(|| {
        let problems = said.values().filter_map(|report| report.as_ref().err());
        let problems: Vec<&str> = problems.map(String::as_str).collect();
        Refusal::NotPromoted {
            why: format!(
                "no node of this centre could be sealed ({})",
                problems.join("; ")
            ),
        }
    })
}

fn found(edge: &Edge, nodes: usize, sealed: &[&Report], best: &Report) -> Found {
    Found {
        nodes,
        sealed: sealed.len(),
        mode: best.mode,
        degraded: best.degraded,
        stopped: None,
        contested: contested(edge).is_some(),
    }
}

/// The certificate that made this centre the primary, while its main line has not begun here.
fn accepted_before(edge: &Edge, centre: &Centre) -> Option<Certificate> {
    let epoch = edge.node().main().state().header().epoch;
    let accepted = edge.node().standing().accepted?;
    let is_due = accepted.terms.centre == centre.name && accepted.terms.epoch > epoch;
    is_due.then_some(accepted)
}

pub(super) async fn assess(
    edge: &Edge,
    _ask: Ask<operator::AssessPromotionRequest>,
) -> Result<operator::AssessPromotionResponse, Refusal> {
    let centre = own_centre(edge)?;
    if let Some(accepted) = accepted_before(edge, &centre) {
        // Promoted already, unless too many nodes were lost since.
        drop(begun(edge, &accepted.terms, Instant::now()).await);
    }
    let centres = edge.node().centres();
    let two_lines = contested(edge).is_some();
    if centres.primary.name == centre.name && centres.switch.is_none() && !two_lines {
        return Err(Refusal::Rejected {
            rejection: domain::Rejection::AlreadySo,
            clock: edge.now(&edge.node().main().state()),
        });
    }
    let was_sealed = edge.node().standing().sealed.is_some();
    let said = seals(edge, nodes_of(&centre)).await;
    let (sealed, best) = (sealed(&said), best(&said)?);
    let found = found(edge, said.len(), &sealed, best);
    let (claim, why) = found.claim();
    let old = Old::of(edge, &centre.name);
    let answers = old.as_ref().is_some_and(|old| old.answers(edge));
    let if_stopped = Found {
        stopped: answers.then_some(Stopped {
            gave_up: false,
            beyond: None,
        }),
        ..found
    };
    let terms = Terms {
        centre: centre.name.clone(),
        epoch: best.seal.epoch,
        boundary: best.last,
        genesis: best.digest,
        voters: sealed
            .iter()
            .map(|report| (report.node, report.seal.id))
            .collect(),
        left_out: said
            .iter()
            .filter(|(_, report)| report.is_err())
            .map(|(node, _)| *node)
            .collect(),
        accepted_loss: claim,
        accepts_split_brain: false,
        old: edge.node().main_named(),
        reason: String::new(),
    };
    let waiting = edge.waiting().read();
    Ok(operator::AssessPromotionResponse {
        nodes: said.iter().map(|(id, report)| shown(*id, report)).collect(),
        terms: Some(message(&terms)),
        claim_reason: why.to_owned(),
        primary_heard_node_ids: old.as_ref().map(|old| old.heard(edge)).unwrap_or_default(),
        primary: old.map_or_else(String::new, |old| old.name.to_string()),
        best_loss: loss(if_stopped.claim().0).into(),
        was_sealed,
        contested: two_lines,
        now_time: Some(wire::time(edge.now(&edge.node().main().state()))),
        uncommitted: best.uncommitted.iter().map(entry).collect(),
        uncommitted_count: best.uncommitted_count,
        waiting: waiting.as_ref().map(|(terms, _)| message(terms)),
        approvers: waiting
            .map(|(_, by)| by.keys().map(ToString::to_string).collect())
            .unwrap_or_default(),
    })
}

pub(super) fn other<'a>(centres: &'a Centres, than: &domain::CentreName) -> Option<&'a Centre> {
    centres.all().find(|centre| centre.name != *than)
}

/// What an entry did; no secrets.
fn entry(of: &Used) -> operator::UncommittedEntry {
    operator::UncommittedEntry {
        log_id: Some(wire::log_id(of.at)),
        what: format!("{:?}", of.kind),
        account: of
            .account
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        participant: of
            .participant
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        time: Some(wire::time(of.time)),
        by: of.by.clone(),
    }
}

fn shown(id: NodeId, report: &Result<Report, String>) -> operator::SealedNode {
    match report {
        Ok(report) => operator::SealedNode {
            node_id: id.0,
            problem: String::new(),
            seal: report.seal.id.to_string(),
            last_log_id: Some(wire::log_id(report.last)),
            applied_log_id: Some(wire::log_id(report.applied)),
            digest: report.digest.to_string(),
            clock_time: Some(wire::time(report.clock)),
        },
        Err(problem) => operator::SealedNode {
            node_id: id.0,
            problem: problem.clone(),
            ..operator::SealedNode::default()
        },
    }
}

fn message(terms: &Terms) -> operator::PromotionTerms {
    operator::PromotionTerms {
        centre: terms.centre.to_string(),
        epoch: terms.epoch,
        boundary: Some(wire::log_id(terms.boundary)),
        genesis: terms.genesis.to_string(),
        voters: terms
            .voters
            .iter()
            .map(|(node, seal)| (node.0, seal.to_string()))
            .collect(),
        left_out_node_ids: terms.left_out.iter().map(|node| node.0).collect(),
        accepted_loss: loss(terms.accepted_loss).into(),
        accepted_loss_entries: entries(terms.accepted_loss),
        accept_split_brain: terms.accepts_split_brain,
        old_line: terms.old.map(|old| old.to_string()).unwrap_or_default(),
        reason: terms.reason.clone(),
    }
}

fn loss(of: Loss) -> operator::Loss {
    match of {
        Loss::None => operator::Loss::None,
        Loss::AtMost(_) => operator::Loss::AtMost,
        Loss::Unknown => operator::Loss::Unknown,
    }
}

/// The most entries that are lost, where that is known.
fn entries(of: Loss) -> u64 {
    match of {
        Loss::AtMost(entries) => entries,
        Loss::None | Loss::Unknown => 0,
    }
}

fn read(terms: &operator::PromotionTerms) -> Result<Terms, Refusal> {
    let malformed = |field, should_be: &str| Refusal::malformed(Field::Other(field), should_be);
    let accepted_loss = match terms.accepted_loss() {
        operator::Loss::None => Loss::None,
        operator::Loss::AtMost => Loss::AtMost(terms.accepted_loss_entries),
        operator::Loss::Unknown => Loss::Unknown,
        operator::Loss::Unspecified => {
            return Err(malformed(
                "accepted_loss",
                "none, at most so many, or unknown",
            ));
        }
    };
    let voters = terms.voters.iter().map(|(node, seal)| {
        let seal: SealId = seal
            .parse()
            .map_err(|_| malformed("voters", "each node with its seal in 32 hexadecimal digits"))?;
        Ok((NodeId(*node), seal))
    });
    Ok(Terms {
        centre: read_centre(&terms.centre)?,
        epoch: terms.epoch,
        boundary: terms
            .boundary
            .map(wire::read_log_id)
            .ok_or_else(|| malformed("boundary", "an entry"))?,
        genesis: wire::read_digest(&terms.genesis, "genesis")?,
        voters: voters.collect::<Result<_, Refusal>>()?,
        left_out: terms
            .left_out_node_ids
            .iter()
            .copied()
            .map(NodeId)
            .collect(),
        accepted_loss,
        accepts_split_brain: terms.accept_split_brain,
        old: match terms.old_line.as_str() {
            "" => None,
            old => Some(wire::read_digest(old, "old_line")?),
        },
        reason: terms.reason.clone(),
    })
}

pub(super) async fn promote(
    edge: &Edge,
    ask: Ask<operator::PromoteRequest>,
) -> Result<operator::PromoteResponse, Refusal> {
    let began = Instant::now();
    let asked = ask.body.terms.as_ref();
    let terms = read(asked.ok_or_else(|| Refusal::malformed(Field::Required("terms"), "said"))?)?;
    let centre = own_centre(edge)?;
    let state = promoted_from(edge).await?;
    let done = edge.node().standing().accepted;
    if state.certificate().map(|begun| &begun.terms) == Some(&terms) {
        return Err(Refusal::Rejected {
            rejection: domain::Rejection::AlreadySo,
            clock: edge.now(&state),
        });
    }
    let (certificate, found) = match done.filter(|done| done.terms == terms) {
        // Repeated: it goes on where it was.
        Some(done) => (done, None),
        None => {
            let signed = sign(edge, &ask, &state, terms.clone())?;
            let (have, need) = (signed.by.len(), state.policy().approvals);
            let have = u32::try_from(have).unwrap_or(u32::MAX);
            if have < need {
                return Ok(operator::PromoteResponse {
                    approval_count: have,
                    needed_count: need,
                    ..operator::PromoteResponse::default()
                });
            }
            let found = found_again(edge, &signed.terms, &centre).await?;
            (signed, Some(found))
        }
    };
    let Fenced { fence, found } = fence(edge, &certificate, found).await?;
    let (loss_now, why) = match found {
        Some(found) => found.claim(),
        None => (certificate.terms.accepted_loss, "as it was accepted"),
    };
    let voters: Vec<NodeId> = certificate.terms.voters.keys().copied().collect();
    let shown = voters
        .iter()
        .map(|voter| edge.node().show_certificate(*voter, &certificate));
    for accepted in join_all(shown).await {
        if let Err(error) = accepted {
            tracing::error!(%error, "a node that is to form the new main line does not accept");
            return Err(Refusal::NotPromoted {
                why: format!("{error}; repeat: nodes that have accepted go on"),
            });
        }
    }
    begun(edge, &certificate.terms, began).await?;
    edge.waiting().set(None);
    Ok(operator::PromoteResponse {
        approval_count: u32::try_from(certificate.by.len()).unwrap_or(u32::MAX),
        needed_count: state.policy().approvals,
        primary: certificate.terms.centre.to_string(),
        fence: fence.into(),
        loss: loss(loss_now).into(),
        loss_entries: entries(loss_now),
        loss_reason: why.to_owned(),
        duration: prost_types::Duration::try_from(began.elapsed()).ok(),
    })
}

/// The state by which terms and signatures are judged.
async fn promoted_from(edge: &Edge) -> Result<State, Refusal> {
    let state = edge.node().promoted_from().await;
    state.map_err(|error| Refusal::NotPromoted {
        why: error.to_string(),
    })
}

/// Adds the caller's signature to those of the same terms.
fn sign(
    edge: &Edge,
    ask: &Ask<operator::PromoteRequest>,
    state: &State,
    terms: Terms,
) -> Result<Certificate, Refusal> {
    let act = Act::Promotion(Box::new(terms.clone()));
    let given = approvals::given(edge, ask, state, ask.body.approval.as_ref(), &act)?;
    state
        .may_promote(&terms)
        .map_err(|rejection| Refusal::Rejected {
            rejection,
            clock: edge.now(state),
        })?;
    let now = edge.now(state);
    let mut by = edge
        .waiting()
        .read()
        .filter(|(waiting, _)| *waiting == terms)
        .map(|(_, by)| by)
        .unwrap_or_default();
    by.retain(|_, approval| now < approval.statement.expires_at);
    by.insert(given.0, given.1);
    edge.waiting().set(Some((terms.clone(), by.clone())));
    Ok(Certificate { terms, by })
}

/// What the nodes have that the terms name.
async fn found_again(
    edge: &Edge,
    terms: &Terms,
    centre: &Centre,
) -> Result<(Found, Report), Refusal> {
    let said = seals(edge, nodes_of(centre)).await;
    for (node, seal) in &terms.voters {
        // One that answers otherwise may have accepted already; whether it does, it says when asked.
        let is_another = match said.get(node) {
            Some(Ok(report)) => report.seal.id != *seal,
            Some(Err(_)) | None => false,
        };
        if is_another {
            return Err(Refusal::NotPromoted {
                why: format!("node {node} is not sealed as the terms say: assess anew"),
            });
        }
    }
    let (sealed, best) = (sealed(&said), best(&said)?);
    let found = found(edge, said.len(), &sealed, best);
    Ok((found, best.clone()))
}

/// Waits until the new main line has begun here.
async fn begun(edge: &Edge, terms: &Terms, began: Instant) -> Result<(), Refusal> {
    let deadline = began + BEGIN_MAX;
    while Instant::now() < deadline {
        let state = edge.node().main().state();
        if state.header().epoch == terms.epoch {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(Refusal::OutcomeUnknown {
        request_id: String::new(),
    })
}

pub(super) async fn release(
    edge: &Edge,
    _ask: Ask<operator::ReleaseSealsRequest>,
) -> Result<operator::ReleaseSealsResponse, Refusal> {
    let centre = own_centre(edge)?;
    let said = seals(edge, nodes_of(&centre)).await;
    let mut released = BTreeSet::new();
    for report in sealed(&said) {
        match edge
            .node()
            .ask_to_release(report.node, report.seal.id)
            .await
        {
            Ok(()) => {
                released.insert(report.node.0);
            }
            Err(error) => tracing::error!(node = %report.node, %error, "cannot release a seal"),
        }
    }
    edge.waiting().set(None);
    Ok(operator::ReleaseSealsResponse {
        node_ids: released.into_iter().collect(),
    })
}
