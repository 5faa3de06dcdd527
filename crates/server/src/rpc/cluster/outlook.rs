//! What could be claimed if the primary were lost now (LINES.md, "Promotion"): what an operator
//! wants to know before the night, not in it.
//!
//! Deliberately absent: any seal. What is told here rests on what was last heard; the promotion
//! itself seals the nodes before it claims anything.

use domain::State;
use domain::centre::Centres;
use domain::promotion::{Found, Loss, Stopped};
use domain::protection;
use proto::operator::v1 as operator;

use super::heard::Known;

/// None where no other centre could take over, or a switchover is under way.
pub(super) fn of(
    centres: &Centres,
    state: &State,
    known: &[Known],
    is_contested: bool,
) -> Option<operator::PromotionOutlook> {
    if centres.switch.is_some() {
        return None;
    }
    let primary = &centres.primary.name;
    let other = centres.all().find(|centre| centre.name != *primary)?;
    let there = known.iter().filter(|node| node.centre == other.name);
    let (nodes, reachable) = there.fold((0_usize, 0_usize), |(nodes, reachable), node| {
        let heard = usize::from(node.is_reachable());
        (nodes.saturating_add(1), reachable.saturating_add(heard))
    });
    if nodes == 0 {
        return None;
    }
    let found = Found {
        nodes,
        sealed: reachable,
        mode: state.policy().protection,
        degraded: state.header().protection.degraded_since.is_some(),
        stopped: None,
        contested: is_contested,
    };
    let (claim, reason) = found.claim();
    let (fenced, _) = Found {
        stopped: Some(Stopped {
            gave_up: false,
            beyond: None,
        }),
        ..found
    }
    .claim();
    let count = |nodes: usize| u32::try_from(nodes).unwrap_or(u32::MAX);
    Some(operator::PromotionOutlook {
        primary: primary.to_string(),
        centre: other.name.to_string(),
        node_count: count(nodes),
        reachable_count: count(reachable),
        ready: reachable >= protection::quorum(nodes),
        loses_nothing: claim == Loss::None,
        loses_nothing_if_fenced: fenced == Loss::None,
        reason: reason.to_owned(),
    })
}
