//! The terms of a promotion, from a node's answer to what operators sign.

use std::collections::{BTreeMap, BTreeSet};

use domain::NodeId;
use domain::promotion::{self, Terms};
use proto::operator::v1::{Loss, PromotionTerms};

use crate::exit::Failure;

/// The terms as a node shows them and operators sign them.
///
/// # Errors
/// Internal: the node answers with something else.
pub fn read(terms: &PromotionTerms) -> Result<Terms, Failure> {
    let odd = || Failure::internal("the node answers with terms that cannot be read");
    let boundary = terms.boundary.ok_or_else(odd)?;
    let voters = terms.voters.iter().map(|(node, seal)| {
        let seal = seal.parse().map_err(|_| odd())?;
        Ok((NodeId(*node), seal))
    });
    Ok(Terms {
        centre: terms.centre.parse().map_err(|_| odd())?,
        epoch: terms.epoch,
        boundary: server::wire::read_log_id(boundary),
        genesis: terms.genesis.parse().map_err(|_| odd())?,
        voters: voters.collect::<Result<BTreeMap<_, _>, Failure>>()?,
        left_out: terms
            .left_out_node_ids
            .iter()
            .copied()
            .map(NodeId)
            .collect::<BTreeSet<_>>(),
        accepted_loss: match terms.accepted_loss() {
            Loss::None => promotion::Loss::None,
            Loss::AtMost => promotion::Loss::AtMost(terms.accepted_loss_entries),
            Loss::Unknown => promotion::Loss::Unknown,
            Loss::Unspecified => return Err(odd()),
        },
        accepts_split_brain: terms.accept_split_brain,
        old: match terms.old_line.as_str() {
            "" => None,
            old => Some(old.parse().map_err(|_| odd())?),
        },
        reason: terms.reason.clone(),
    })
}
