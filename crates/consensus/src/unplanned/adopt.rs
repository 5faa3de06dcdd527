//! What spreads once a session is open without the primary: to the centre's nodes that were away,
//! and to the main line as soon as it can be asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::session::Command;
use domain::session::unplanned::{Found, Order};
use domain::{LogId, NodeId, SessionId, State, encoding};

use crate::follow;
use crate::line::Line;
use crate::node::{Error, Node, blocking};
use crate::raft;

/// Entries that are read at once.
const PAGE: u64 = 256;

/// The orders that nodes say to follow, each with those nodes.
fn heard(node: &Node) -> Vec<(Order, BTreeSet<NodeId>)> {
    let mut found: BTreeMap<SessionId, Vec<(Order, BTreeSet<NodeId>)>> = BTreeMap::new();
    let own = node.orders().into_iter().map(|order| (node.id(), order));
    let others = node.peers().others().into_iter().flat_map(|peer| {
        let said = node.heard().from(peer.node);
        let orders = said.into_iter().flat_map(|(_, status)| status.unplanned);
        orders
            .filter_map(|order| encoding::decode::<Order>(&order).ok())
            .map(|order| (peer.node, order))
            .collect::<Vec<_>>()
    });
    for (from, order) in own.chain(others) {
        let same = found.entry(order.session.id.clone()).or_default();
        match same.iter_mut().find(|(known, _)| *known == order) {
            Some((_, nodes)) => {
                nodes.insert(from);
            }
            None => same.push((order, BTreeSet::from([from]))),
        }
    }
    found.into_values().flatten().collect()
}

impl Node {
    /// Whether any node says that the session is open without the primary.
    #[must_use]
    pub fn is_ordered(&self, session: &SessionId) -> bool {
        heard(self)
            .iter()
            .any(|(order, _)| order.session.id == *session)
    }
}

/// Follows an order that this node was not there for.
pub(crate) async fn learn(node: &Node) -> Result<(), Error> {
    let main = node.main();
    let state = main.state();
    for (order, _) in heard(node) {
        let session = &order.session.id;
        let is_voter = state
            .nodes_of(&order.session.centre)
            .any(|voter| voter == node.id());
        // Where the primary opened it, the main line says which of the two stands.
        let stands = state.plan(session).is_none_or(|plan| {
            let unplanned = plan.unplanned.as_ref();
            plan.is_unplanned_and_stands()
                && unplanned.is_some_and(|unplanned| unplanned.order == order)
        });
        if is_voter
            && stands
            && order.epoch == main.reference().epoch
            && node.order(session).is_none()
        {
            node.decide_unplanned(order).await?;
        }
    }
    Ok(())
}

/// Takes over, as the main line's leader, what was opened without it. Says whether it did.
pub(crate) async fn adopt(node: &Node, main: &Line, state: &State) -> Result<bool, Error> {
    for (order, nodes) in heard(node) {
        let wanted = match state.plan(&order.session.id) {
            None => true,
            // A majority that follows the order can never be one that has the other genesis.
            Some(plan) if plan.gives_way() => {
                let voters: Vec<NodeId> = state.nodes_of(&order.session.centre).collect();
                let follow = voters.iter().filter(|voter| nodes.contains(voter));
                follow.count() > voters.len() / 2
            }
            // A later main line may begin a session before it hears that its branch ran.
            Some(plan) => plan.boundary.is_none() && order.epoch < main.reference().epoch,
        };
        if !wanted {
            continue;
        }
        // What former leaders left is settled once this one has committed.
        main.read_index().await?;
        let found = look(main, &order).await?;
        tracing::warn!(session = %order.session.id, ?found, "opened without the main line");
        let order = Box::new(order);
        follow::step(node, main, Command::Adopt { order, found }).await?;
        return Ok(true);
    }
    Ok(false)
}

/// As `look`, of a main line that a promotion began: it has what the old one had up to the boundary
/// that was signed.
fn on_later(state: &State, order: &Order) -> Found {
    let certificate = state.certificate();
    let next = certificate.filter(|one| one.terms.epoch == order.epoch.saturating_add(1));
    let end = next.map_or(LogId::default(), |one| one.terms.boundary);
    // What is committed is in the log of every later leader, and what one leader wrote is one
    // history. Of anything else nobody here can say that it is there.
    let is_there = |at: &LogId| {
        let is_of_one_leader = (at.term, at.node) == (end.term, end.node);
        *at <= end && (*at <= order.committed || is_of_one_leader)
    };
    if is_there(&order.boundary) {
        return Found::OnMainLine;
    }
    let gone = order.used.iter().map(|used| &used.at);
    let first = gone.filter(|at| !is_there(at)).map(|at| at.index).min();
    Found::NotOnMainLine {
        from: first.unwrap_or(order.boundary.index),
    }
}

/// Whether the entries that the order used are on this line.
async fn look(main: &Line, order: &Order) -> Result<Found, Error> {
    if order.epoch < main.reference().epoch {
        return Ok(on_later(&main.state(), order));
    }
    let digests = main.digests_at(order.boundary);
    if digests.is_some_and(|digests| digests.full == order.genesis) {
        return Ok(Found::OnMainLine);
    }
    let shared = Arc::clone(&main.inner.shared);
    let order = order.clone();
    shared.log().barrier().await?;
    blocking(move || {
        let mut entries: BTreeMap<u64, LogId> = BTreeMap::new();
        let mut next = order
            .committed
            .index
            .saturating_add(1)
            .min(order.boundary.index);
        while next <= order.boundary.index {
            let upto = next.saturating_add(PAGE).min(order.boundary.index);
            for entry in shared.log().entries(next, upto)? {
                let at = raft::log_id(&entry.log_id);
                entries.insert(at.index, at);
            }
            next = upto.saturating_add(1);
        }
        let is_there = |at: &LogId| entries.get(&at.index) == Some(at);
        if is_there(&order.boundary) {
            // By now it may be older than the digests that are kept.
            let same = shared
                .rebuild(order.boundary)
                .map_or(true, |state| state.digests().full == order.genesis);
            if same {
                return Ok(Found::OnMainLine);
            }
        }
        let gone = order.used.iter().map(|used| &used.at);
        let first = gone.filter(|at| !is_there(at)).map(|at| at.index).min();
        Ok(Found::NotOnMainLine {
            from: first.unwrap_or(order.boundary.index),
        })
    })
    .await
}
