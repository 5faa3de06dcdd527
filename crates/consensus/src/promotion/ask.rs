//! Asking other nodes for their promises, and showing them a certificate.

use std::time::Duration;

use domain::LineId;
use domain::promotion::{Certificate, SealId};
use domain::{Digest, NodeId, encoding};
use futures::future::join_all;
use proto::peer::v1 as peer;
use tonic::Status;

use super::{Accepted, Report, refused};
use crate::clockwatch::WORD_AGE_MAX;
use crate::line::Line;
use crate::node::{Error, Node};
use crate::peers::Client;
use crate::wire;

/// How long a node may take to promise, or to accept. One with a long tail replays it first.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(5);

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
        if node == self.id() {
            return self.seal(epoch, id).await;
        }
        let request = peer::SealRequest {
            cluster: self.cluster().0.to_vec().into(),
            epoch,
            seal: id.0.to_vec().into(),
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
        if node == self.id() {
            return self.accept(certificate.clone()).await;
        }
        let request = peer::ShowCertificateRequest {
            cluster: self.cluster().0.to_vec().into(),
            certificate: encoding::encode(certificate).into(),
        };
        let mut client = self.promising(node)?;
        let answer = answered(node, ANSWER_MAX, client.show_certificate(request)).await?;
        Ok(Accepted {
            fenced: answer.fenced,
            degraded: answer.degraded,
        })
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
        // Two certificates for one epoch: whoever sees both stops.
        if is_due || began_otherwise(node, peer.node, main) {
            let shown = node.show_certificate(peer.node, &certificate).await;
            tracing::warn!(node = %peer.node, ?shown, "showed the certificate");
            if shown.is_ok() {
                node.inner.promotion.note_accepted(peer.node, epoch);
            }
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

/// Whether a node runs a main line of this line's epoch that began with something else.
fn began_otherwise(node: &Node, peer: NodeId, main: &Line) -> bool {
    let mut said = main_lines(node, peer);
    said.any(|said| {
        let same_epoch = said.epoch == main.reference().epoch;
        same_epoch && said.runs && said.beginning != main.inner.beginning
    })
}

/// A main line that a node said lately it has.
struct Said {
    epoch: u64,
    runs: bool,
    beginning: Option<Digest>,
}

fn main_lines(node: &Node, peer: NodeId) -> impl Iterator<Item = Said> {
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
