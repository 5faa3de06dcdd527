//! Asking other nodes for their promises, and showing them a certificate.

use std::time::Duration;

use domain::LineId;
use domain::promotion::{Certificate, SealId};
use domain::{Digest, NodeId, encoding};
use futures::future::join_all;
use proto::peer::v1 as peer;
use tonic::Status;

use super::{Accepted, Answer, Report, refused};
use crate::clockwatch::WORD_AGE_MAX;
use crate::line::Line;
use crate::node::{Error, Node};
use crate::peers::Client;
use crate::wire;

/// How long a node may take to promise, or to accept. One with a long tail replays it first.
pub const ANSWER_MAX: Duration = Duration::from_secs(5);

impl Node {
    /// Seals these nodes for the epoch, each under this name or the one that its promise has, and
    /// gives what each of them said.
    pub async fn collect_seals(
        &self,
        nodes: Vec<NodeId>,
        epoch: u64,
        id: SealId,
    ) -> Vec<(NodeId, Result<Report, Error>)> {
        let asked = nodes
            .into_iter()
            .map(|node| async move { (node, self.ask_to_seal(node, epoch, id).await) });
        join_all(asked).await
    }

    async fn ask_to_seal(&self, node: NodeId, epoch: u64, id: SealId) -> Result<Report, Error> {
        let line = self.main_named();
        if node == self.id() {
            return self.seal(epoch, id, line).await;
        }
        let request = peer::SealRequest {
            cluster: self.cluster().0.to_vec().into(),
            epoch,
            seal: id.0.to_vec().into(),
            beginning: line.map(|line| line.0.to_vec().into()).unwrap_or_default(),
        };
        let mut client = self.promising(node)?;
        let answer = answered(node, ANSWER_MAX, client.seal(request)).await?;
        encoding::decode(&answer.report)
            .map_err(|error| refused(format!("node {node} answers in another form: {error}")))
    }

    /// Takes a node's promise back.
    ///
    /// # Errors
    /// `Promotion` when it cannot be reached, or has no such promise.
    pub async fn ask_to_release(&self, node: NodeId, id: SealId) -> Result<(), Error> {
        if node == self.id() {
            return self.release(id).await;
        }
        let request = peer::ReleaseSealRequest {
            cluster: self.cluster().0.to_vec().into(),
            seal: id.0.to_vec().into(),
        };
        let mut client = self.promising(node)?;
        answered(node, ANSWER_MAX, client.release_seal(request)).await?;
        Ok(())
    }

    /// Shows a certificate to a node, this one included.
    ///
    /// # Errors
    /// `Promotion` when it cannot be reached, or does not accept.
    pub async fn show_certificate(
        &self,
        node: NodeId,
        certificate: &Certificate,
    ) -> Result<Accepted, Error> {
        let answer = self.show(node, certificate, false).await?;
        answer.accepted(node, certificate.terms.epoch)
    }

    /// As `show_certificate`, and says whether a line has begun with it.
    pub(super) async fn show(
        &self,
        node: NodeId,
        certificate: &Certificate,
        has_begun: bool,
    ) -> Result<Answer, Error> {
        if node == self.id() {
            return self.be_shown(certificate.clone(), has_begun).await;
        }
        let request = peer::ShowCertificateRequest {
            cluster: self.cluster().0.to_vec().into(),
            certificate: encoding::encode(certificate).into(),
            has_begun,
        };
        let mut client = self.promising(node)?;
        let answer = answered(node, ANSWER_MAX, client.show_certificate(request)).await?;
        if answer.another.is_empty() {
            return Ok(Answer::Accepted(Accepted {
                fenced: answer.fenced,
                degraded: answer.degraded,
            }));
        }
        let another = encoding::decode(&answer.another);
        let another = another
            .map_err(|error| refused(format!("node {node} answers in another form: {error}")))?;
        Ok(Answer::Another(Box::new(another)))
    }

    /// A client of a node's peer service.
    ///
    /// # Errors
    /// `Promotion` when it is not in the directory.
    pub(crate) fn promising(&self, node: NodeId) -> Result<Client, Error> {
        let client = self.peers().client(node);
        client.ok_or_else(|| refused(format!("node {node} is not in the directory")))
    }
}

/// What a node's answer comes to within this time.
pub(crate) async fn answered<T>(
    node: NodeId,
    limit: Duration,
    answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(refused(format!("node {node}: {}", status.message()))),
        Err(_) => Err(refused(format!("node {node} took too long"))),
    }
}

/// Shows a certificate that this node has accepted to the others that it names, until the new main
/// line has begun: who decided may be lost before it told them, and the operators' word with it.
pub(super) async fn spread(node: &Node, certificate: &Certificate) {
    let terms = &certificate.terms;
    let begun = node.main().state().header().epoch >= terms.epoch;
    if begun || !terms.voters.contains_key(&node.id()) {
        return;
    }
    let others = terms.voters.keys().filter(|voter| **voter != node.id());
    let waiting = others.filter(|voter| late(node, **voter, terms.epoch).is_some());
    let shown = waiting.map(|voter| async move {
        match node.show_certificate(*voter, certificate).await {
            Ok(_) => tracing::info!(node = %voter, "showed the certificate that names it"),
            Err(error) => tracing::debug!(node = %voter, %error, "does not accept yet"),
        }
    });
    join_all(shown).await;
}

/// Shows the certificate of the line that this node leads to every node that still is in an older
/// epoch: a late one of the centre, sealed or not, or one of the old primary's that comes back.
pub(crate) async fn inform(node: &Node, main: &Line) {
    let epoch = main.reference().epoch;
    let certificate = node.standing().accepted;
    let Some(certificate) = certificate.filter(|one| one.terms.epoch == epoch) else {
        return;
    };
    for peer in node.peers().others() {
        let is_due = late(node, peer.node, epoch).is_some_and(|late| match late {
            Late::Runs => true,
            // Who has accepted it, and is not of the centre, stays where it is.
            Late::StandsStill => !node.inner.promotion.has_accepted(peer.node, epoch),
        });
        if !is_due && !began_otherwise(node, peer.node, main) {
            continue;
        }
        let shown = node.show(peer.node, &certificate, true).await;
        tracing::warn!(node = %peer.node, ?shown, "showed the certificate");
        let Ok(shown) = shown else { continue };
        node.inner.promotion.note_accepted(peer.node, epoch);
        if let Answer::Another(other) = shown
            && let Err(error) = node.be_shown(*other, false).await
        {
            tracing::error!(%error, "another certificate for this epoch does not hold");
        }
    }
}

/// A node in an older epoch.
enum Late {
    Runs,
    StandsStill,
}

/// Whether a node said lately that its main line is of an epoch before this one.
fn late(node: &Node, peer: NodeId, epoch: u64) -> Option<Late> {
    let of = main_lines(node, peer).find(|said| said.epoch < epoch)?;
    Some(match of.runs {
        true => Late::Runs,
        false => Late::StandsStill,
    })
}

/// Whether a node has another main line of this line's epoch, and does not know yet of this one. One
/// that has stopped is asked too: it may not have been heard to say why.
fn began_otherwise(node: &Node, peer: NodeId, main: &Line) -> bool {
    let epoch = main.reference().epoch;
    let mut said = main_lines(node, peer);
    let other = said.any(|said| said.epoch == epoch && said.beginning != main.inner.beginning);
    other && !node.inner.promotion.has_accepted(peer, epoch)
}

/// A main line that a node said lately it has.
pub(super) struct Said {
    pub(super) epoch: u64,
    pub(super) runs: bool,
    pub(super) beginning: Option<Digest>,
}

pub(super) fn main_lines(node: &Node, peer: NodeId) -> impl Iterator<Item = Said> {
    let heard = node.heard().from(peer);
    let said = heard.filter(|(ago, _)| *ago <= WORD_AGE_MAX);
    let lines = said.into_iter().flat_map(|(_, said)| said.lines);
    lines.filter_map(|line| {
        let named = line.line?;
        let beginning = wire::beginning(&named);
        let of = wire::read_line_ref(Some(named)).ok()?;
        (of.line == LineId::Main).then_some(Said {
            epoch: of.epoch,
            runs: line.running,
            beginning,
        })
    })
}

impl Node {
    /// Whether another node runs the main line of this epoch, or a later one.
    pub(super) fn hears_of(&self, epoch: u64) -> bool {
        let others = self.peers().others();
        let mut lines = others
            .iter()
            .flat_map(|peer| main_lines(self, peer.node))
            .filter(|said| said.runs);
        lines.any(|said| said.epoch >= epoch)
    }
}
