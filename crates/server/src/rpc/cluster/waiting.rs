//! What waits for somebody: notices for their mail, acts for another operator, holds for an answer.

use domain::{State, UnixMs};
use proto::operator::v1 as operator;

use crate::edge::Edge;
use crate::wire;

/// What waits to be mailed on the lines here.
pub(super) fn mail(edge: &Edge) -> operator::MailStatus {
    let node = edge.node();
    let mut told = operator::MailStatus::default();
    let mut oldest: Option<UnixMs> = None;
    for line in std::iter::once(node.main()).chain(node.branch()) {
        let (state, name) = (line.state(), line.reference().line);
        // A branch before its first entry still shows the main line's.
        if state.header().line != name {
            continue;
        }
        let outbox = state.outbox();
        told.waiting_count = told.waiting_count.saturating_add(outbox.len() as u64);
        told.dropped_count = told.dropped_count.saturating_add(outbox.counts().dropped);
        let first = outbox.iter().next().map(|notice| notice.at);
        oldest = oldest.into_iter().chain(first).min();
    }
    told.oldest_time = oldest.map(wire::time);
    told
}

/// Acts that too few operators have approved yet.
pub(super) fn pending_acts(state: &State, now: UnixMs) -> Vec<operator::PendingAct> {
    let count = |approvals: usize| u32::try_from(approvals).unwrap_or(u32::MAX);
    let acts = state.pending(now).map(|pending| operator::PendingAct {
        about: pending.about.clone(),
        approval_count: count(pending.by.len()),
        expire_time: Some(wire::time(pending.ends_at)),
    });
    let proposals = state.proposals(now).map(|proposal| operator::PendingAct {
        about: "login methods and go-live".to_owned(),
        approval_count: count(proposal.by.len()),
        expire_time: Some(wire::time(proposal.ends_at)),
    });
    acts.chain(proposals).collect()
}

/// Whose access waits for an answer.
pub(super) fn held_count(state: &State) -> u32 {
    u32::try_from(state.holds().count()).unwrap_or(u32::MAX)
}
