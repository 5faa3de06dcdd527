//! Two certificates for one epoch: both lines stop, and say so until a person has looked (LINES.md,
//! "Promotion", 6).
//!
//! A line that has begun goes on only where the other one can never begin, which the two
//! certificates say by themselves (`Terms::excludes`). Deliberately absent: which of two lines goes
//! on. Two operators decide that with the certificate of the next epoch.

use domain::promotion::{Certificate, Terms};
use domain::state::State;
use domain::{Digest, NodeId};
use futures::future::join_all;

use super::ask::main_lines;
use super::{Accepted, refused};
use crate::node::{Error, FIRST_EPOCH, Node};
use crate::standing::Standing;

/// What a node says to a certificate that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It has accepted it.
    Accepted(Accepted),
    /// It has accepted this one for the same epoch before.
    Another(Box<Certificate>),
}

impl Answer {
    /// That it was accepted.
    pub(super) fn accepted(self, node: NodeId, epoch: u64) -> Result<Accepted, Error> {
        match self {
            Self::Accepted(accepted) => Ok(accepted),
            Self::Another(_) => Err(refused(format!(
                "node {node} has accepted another certificate for epoch {epoch}"
            ))),
        }
    }
}

/// What names the main line of an epoch here among others of it: the terms that it began with, or
/// is to begin with. None in the first epoch.
pub(crate) fn named(state: &State, standing: &Standing, epoch: u64) -> Option<Digest> {
    let is_of_epoch = |one: &&Certificate| one.terms.epoch == epoch;
    let begun = state.certificate().filter(is_of_epoch);
    let certificate = begun.or(standing.accepted.as_ref().filter(is_of_epoch));
    certificate.map(|certificate| certificate.terms.line())
}

impl Node {
    /// What names this node's main line among others of its epoch; none in the first.
    #[must_use]
    pub fn main_named(&self) -> Option<Digest> {
        self.main().inner.beginning
    }

    /// Whether these terms go on from another line than the one that is here, so that what was
    /// answered here would be dropped unseen.
    pub(super) fn has_another_line(&self, terms: &Terms) -> bool {
        let main = self.main();
        let epoch = main.reference().epoch;
        let is_next = epoch.saturating_add(1) == terms.epoch && epoch > FIRST_EPOCH;
        let differs = terms.old.is_some() && terms.old != main.inner.beginning;
        is_next && differs || self.standing().is_contested(epoch)
    }

    /// Looks at another certificate for the epoch of one that was accepted here. Where two lines may
    /// have begun, this one stops.
    pub(super) async fn contest(
        &self,
        known: &Certificate,
        other: Certificate,
        has_begun: bool,
    ) -> Result<(), Error> {
        let mut standing = self.standing();
        let epoch = other.terms.epoch;
        if standing.is_contested(epoch) {
            return Ok(());
        }
        let main = self.main();
        let is_on = main.reference().epoch >= epoch;
        // It is judged by the state that the first one was judged by.
        let state = match is_on {
            true => main.inner.shared.base().clone(),
            false => self.judging(&main).await?,
        };
        self.holds(&state, &other)?;
        let stops = if is_on && main.state().header().epoch == epoch {
            !known.terms.excludes(&other.terms)
        } else {
            // What never began has answered nothing: it stops only for a line that did.
            has_begun
        };
        if !stops {
            tracing::error!(
                epoch,
                "there is another certificate for this epoch; no line of it"
            );
            return Ok(());
        }
        standing.conflicting = Some(other);
        self.promise(standing).await?;
        main.stop().await;
        tracing::error!(
            epoch,
            "two certificates for one epoch: this node has stopped; wake someone"
        );
        Ok(())
    }
}

/// Shows every node whose line of the contested epoch runs the certificate that it does not have.
pub(super) async fn tell(node: &Node, accepted: &Certificate, other: &Certificate) {
    let epoch = accepted.terms.epoch;
    let began = node.main().state().header().epoch == epoch;
    let own = Some(accepted.terms.line());
    let peers = node.peers().others().into_iter();
    let shown = peers.filter_map(|peer| {
        let mut said = main_lines(node, peer.node);
        let said = said.find(|said| said.epoch == epoch && said.runs)?;
        if node.inner.promotion.has_accepted(peer.node, epoch) {
            return None;
        }
        let (certificate, has_begun) = match said.beginning == own {
            true => (other, false),
            false => (accepted, began),
        };
        Some(async move {
            let shown = node.show(peer.node, certificate, has_begun).await;
            tracing::warn!(node = %peer.node, ?shown, "told of two certificates");
            if shown.is_ok() {
                node.inner.promotion.note_accepted(peer.node, epoch);
            }
        })
    });
    join_all(shown).await;
}
