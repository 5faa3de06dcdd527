//! Promotion as operators ask for it: seal, read, show; then two signatures, the fence, and the
//! certificate (LINES.md, "Promotion"). Nothing of it needs the main line: that is what is lost.

use std::collections::{BTreeMap, BTreeSet};

use consensus::promotion::Report;
use domain::approval::{Act, By};
use domain::centre::Centres;
use domain::cluster::Centre;
use domain::promotion::{Certificate, Found, Loss, SealId, Terms};
use domain::{NodeId, State};
use futures::future::join_all;
use proto::operator::v1 as operator;
use tokio::process::Command;
use tokio::time::{Duration, Instant};

use super::read_centre;
use crate::approvals;
use crate::edge::{Edge, WORD_AGE_MAX};
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

/// How long the new main line may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(15);
/// How long a fence hook may take.
const HOOK_MAX: Duration = Duration::from_secs(10);
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

/// Seals the centre's nodes, or reads again those that are. Which nodes it has is what the best of
/// them has in its log: this one may not know yet that they changed.
async fn seals(edge: &Edge, centre: &Centre) -> BTreeMap<NodeId, Result<Report, String>> {
    let mut nodes: BTreeSet<NodeId> = centre.nodes.iter().map(|node| node.id).collect();
    let mut said = BTreeMap::new();
    // Each round knows more of the log; they change one after the other.
    for _ in 0..ROUNDS_MAX {
        said = seal_all(edge, &nodes).await;
        let best = sealed(&said).into_iter().max_by_key(|report| report.last);
        match best {
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

fn sealed(said: &BTreeMap<NodeId, Result<Report, String>>) -> Vec<&Report> {
    said.values()
        .filter_map(|report| report.as_ref().ok())
        .collect()
}

/// The node to go on from: the greatest last log id, by leader before index, never simply the
/// longest log.
fn best<'a>(sealed: &[&'a Report]) -> Result<&'a Report, Refusal> {
    let best = sealed.iter().copied().max_by_key(|report| report.last);
    best.ok_or_else(|| Refusal::NotPromoted {
        why: "no node of this centre could be sealed".to_owned(),
    })
}

fn found(nodes: usize, sealed: &[&Report], best: &Report, acknowledged: bool) -> Found {
    Found {
        nodes,
        sealed: sealed.len(),
        mode: best.mode,
        degraded: best.degraded,
        acknowledged,
    }
}

pub(super) async fn assess(
    edge: &Edge,
    _ask: Ask<operator::AssessPromotionRequest>,
) -> Result<operator::AssessPromotionResponse, Refusal> {
    let centre = own_centre(edge)?;
    let centres = edge.node().centres();
    if centres.primary.name == centre.name && centres.switch.is_none() {
        return Err(Refusal::NotPromoted {
            why: format!("{} is the primary", centre.name),
        });
    }
    let said = seals(edge, &centre).await;
    let sealed = sealed(&said);
    let best = best(&sealed)?;
    let (claim, why) = found(said.len(), &sealed, best, false).claim();
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
        reason: String::new(),
    };
    let waiting = edge.waiting().read();
    Ok(operator::AssessPromotionResponse {
        nodes: said.iter().map(|(id, report)| shown(*id, report)).collect(),
        terms: Some(message(&terms)),
        claim_reason: why.to_owned(),
        primary_heard_node_ids: heard(edge, &centres),
        primary: other(&centres, &centre.name).map_or_else(String::new, |one| one.name.to_string()),
        waiting: waiting.as_ref().map(|(terms, _)| message(terms)),
        approvers: waiting
            .map(|(_, by)| by.keys().map(ToString::to_string).collect())
            .unwrap_or_default(),
    })
}

fn other<'a>(centres: &'a Centres, than: &domain::CentreName) -> Option<&'a Centre> {
    centres.all().find(|centre| centre.name != *than)
}

/// The other centre's nodes that answer still.
fn heard(edge: &Edge, centres: &Centres) -> Vec<u64> {
    let own = edge.node().centre().map(|centre| centre.name.clone());
    let others = centres
        .all()
        .filter(|centre| Some(&centre.name) != own.as_ref())
        .flat_map(|centre| &centre.nodes);
    others
        .filter(|node| {
            let heard = edge.node().heard().from(node.id);
            heard.is_some_and(|(ago, _)| ago <= WORD_AGE_MAX)
        })
        .map(|node| node.id.0)
        .collect()
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
        accept_split_brain: terms.accepts_split_brain,
        reason: terms.reason.clone(),
    }
}

fn loss(of: Loss) -> operator::Loss {
    match of {
        Loss::None => operator::Loss::None,
        Loss::Unknown => operator::Loss::Unknown,
    }
}

fn read(terms: &operator::PromotionTerms) -> Result<Terms, Refusal> {
    let malformed = |field, should_be: &str| Refusal::malformed(Field::Other(field), should_be);
    let accepted_loss = match terms.accepted_loss() {
        operator::Loss::None => Loss::None,
        operator::Loss::Unknown => Loss::Unknown,
        operator::Loss::Unspecified => {
            return Err(malformed("accepted_loss", "LOSS_NONE or LOSS_UNKNOWN"));
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
    let state = edge.node().main().state();
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
    let (fence, acknowledged) = fence(edge, &certificate).await?;
    let (loss_now, why) = match found {
        Some(found) => Found {
            acknowledged,
            ..found
        }
        .claim(),
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
        loss_reason: why.to_owned(),
        duration: prost_types::Duration::try_from(began.elapsed()).ok(),
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

/// What the nodes have that the terms name, and that it allows the loss that they accept.
async fn found_again(edge: &Edge, terms: &Terms, centre: &Centre) -> Result<Found, Refusal> {
    let said = seals(edge, centre).await;
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
    let sealed = sealed(&said);
    let found = found(said.len(), &sealed, best(&sealed)?, false);
    match found.claim() {
        (Loss::Unknown, why) if terms.accepted_loss == Loss::None => Err(Refusal::NotPromoted {
            why: format!("a loss of 0 cannot be claimed: {why}"),
        }),
        (Loss::Unknown | Loss::None, _) => Ok(found),
    }
}

/// Keeps the old primary from going on; and whether it said that it had answered nothing alone.
async fn fence(edge: &Edge, certificate: &Certificate) -> Result<(operator::Fence, bool), Refusal> {
    let centres = edge.node().centres();
    let Some(old) = other(&centres, &certificate.terms.centre) else {
        return Ok((operator::Fence::Acknowledged, true));
    };
    let hook = edge.parts().fence_hook.as_ref();
    let accepted = certificate.terms.accepts_split_brain;
    let not_fenced = |stopped| Refusal::NotFenced {
        centre: old.name.clone(),
        stopped,
    };
    // Nodes that are shown a certificate have stopped for good, so that none is shown in vain.
    if heard(edge, &centres).len() <= old.nodes.len() / 2 && hook.is_none() && !accepted {
        return Err(not_fenced(0));
    }
    let shown = old
        .nodes
        .iter()
        .map(|node| edge.node().show_certificate(node.id, certificate));
    let answers: Vec<_> = join_all(shown).await.into_iter().flatten().collect();
    let stopped = answers.iter().filter(|answer| answer.fenced).count();
    if stopped > old.nodes.len() / 2 {
        let degraded = answers.iter().any(|answer| answer.degraded);
        return Ok((operator::Fence::Acknowledged, !degraded));
    }
    if let Some(hook) = hook {
        let run = Command::new(hook)
            .arg(old.name.as_str())
            .kill_on_drop(true)
            .status();
        match tokio::time::timeout(HOOK_MAX, run).await {
            Ok(Ok(status)) if status.success() => return Ok((operator::Fence::Hook, false)),
            other => tracing::error!(?other, "the fence hook did not stop the old primary"),
        }
    }
    if accepted {
        return Ok((operator::Fence::None, false));
    }
    Err(not_fenced(u32::try_from(stopped).unwrap_or(u32::MAX)))
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
    let said = seals(edge, &centre).await;
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
