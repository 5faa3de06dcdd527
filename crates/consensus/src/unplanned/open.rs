//! Ordering the opening: one node asks the nodes of its centre, as often as it is repeated.

use std::time::Duration;

use domain::session::unplanned::{Order, USED_MAX};
use domain::{LogId, NodeId, SessionId, encoding};
use futures::future::join_all;
use proto::peer::v1 as peer;
use tonic::Status;

use super::{Ballot, Promise, Wanted, refused};
use crate::node::{Error, Node};
use crate::peers::Client;

/// How long a node may take to read the main line's tail, or to note a decision.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long a node may take to make a genesis durable.
const ACCEPT_MAX: Duration = Duration::from_secs(60);

impl Node {
    /// Opens the session at this node's centre without the primary: from the best node's last
    /// entry, once a majority of the centre has the genesis and the order durably. May be repeated,
    /// and then goes on with the order that was begun.
    ///
    /// # Errors
    /// `Branch` when too few nodes take part, and why each of them does not.
    pub async fn open_unplanned(&self, wanted: &Wanted) -> Result<Order, Error> {
        let centres = self.centres();
        let centre = centres
            .of_node(self.id())
            .ok_or_else(|| refused(format!("node {} belongs to no centre", self.id())))?;
        let nodes: Vec<NodeId> = centre.nodes.iter().map(|node| node.id).collect();
        let ballot = self.next_ballot(&wanted.session);
        let asked = nodes
            .iter()
            .map(|node| async move { (*node, self.ask_to_promise(*node, wanted, ballot).await) });
        let mut promises = Vec::new();
        let mut against = Vec::new();
        for (node, said) in join_all(asked).await {
            match said {
                Ok(Promise::Decided(order)) => {
                    self.tell_all(&nodes, &order).await;
                    return Ok(*order);
                }
                Ok(promise) => promises.push((node, promise)),
                Err(error) => against.push(error.to_string()),
            }
        }
        if promises.len() <= nodes.len() / 2 {
            return Err(refused(format!(
                "{} of the {} nodes of {} take part in opening {}, and a majority is needed: {}",
                promises.len(),
                nodes.len(),
                centre.name,
                wanted.session,
                against.join("; ")
            )));
        }
        let (source, order) = chosen(promises)?;
        // The others may have to fetch the genesis from this one.
        self.ask_to_accept(source, &order, ballot, source).await?;
        let others = nodes.iter().filter(|node| **node != source);
        let order_of = &order;
        let asked = others.map(|node| self.ask_to_accept(*node, order_of, ballot, source));
        let said = join_all(asked).await;
        let accepted = said.iter().filter(|said| said.is_ok()).count() + 1;
        if accepted <= nodes.len() / 2 {
            let against: Vec<String> = said
                .into_iter()
                .filter_map(|said| Some(said.err()?.to_string()))
                .collect();
            return Err(refused(format!(
                "the genesis is durable at {accepted} of the {} nodes of {}, and a majority is \
                 needed; repeat it: {}",
                nodes.len(),
                centre.name,
                against.join("; ")
            )));
        }
        if self.tell_all(&nodes, &order).await == 0 {
            return Err(refused("no node could note that it is open; repeat it"));
        }
        Ok(order)
    }

    fn next_ballot(&self, session: &SessionId) -> Ballot {
        let records = self.unplanned_records();
        let promised = records.get(session).map(|record| record.promised);
        // Two nodes' clocks are near one another, so that a repeat elsewhere comes later too.
        let round = promised.unwrap_or_default().round.saturating_add(1);
        Ballot {
            round: round.max(self.base_time().0),
            node: self.id().0,
        }
    }

    /// Tells the nodes that the order is decided, and gives how many heard it. Who did not learns
    /// it from the others.
    async fn tell_all(&self, nodes: &[NodeId], order: &Order) -> usize {
        let told = nodes.iter().map(|node| self.ask_to_decide(*node, order));
        let said = join_all(told).await;
        for error in said.iter().filter_map(|said| said.as_ref().err()) {
            tracing::info!(session = %order.session.id, %error, "it will learn it later");
        }
        said.iter().filter(|said| said.is_ok()).count()
    }

    async fn ask_to_promise(
        &self,
        node: NodeId,
        wanted: &Wanted,
        ballot: Ballot,
    ) -> Result<Promise, Error> {
        if node == self.id() {
            return self.promise_unplanned(wanted, ballot).await;
        }
        let request = peer::PromiseUnplannedRequest {
            cluster: self.cluster().0.to_vec().into(),
            wanted: encoding::encode(wanted).into(),
            ballot: encoding::encode(&ballot).into(),
        };
        let mut client = self.client_of(node)?;
        let answer = within(node, ANSWER_MAX, client.promise_unplanned(request)).await?;
        encoding::decode(&answer.promise)
            .map_err(|error| refused(format!("node {node} answers in another form: {error}")))
    }

    async fn ask_to_accept(
        &self,
        node: NodeId,
        order: &Order,
        ballot: Ballot,
        source: NodeId,
    ) -> Result<(), Error> {
        if node == self.id() {
            return self.accept_unplanned(order.clone(), ballot, source).await;
        }
        let request = peer::AcceptUnplannedRequest {
            cluster: self.cluster().0.to_vec().into(),
            order: encoding::encode(order).into(),
            ballot: encoding::encode(&ballot).into(),
            source: source.0,
        };
        let mut client = self.client_of(node)?;
        within(node, ACCEPT_MAX, client.accept_unplanned(request)).await?;
        Ok(())
    }

    async fn ask_to_decide(&self, node: NodeId, order: &Order) -> Result<(), Error> {
        if node == self.id() {
            return self.decide_unplanned(order.clone()).await;
        }
        let request = peer::DecideUnplannedRequest {
            cluster: self.cluster().0.to_vec().into(),
            order: encoding::encode(order).into(),
        };
        let mut client = self.client_of(node)?;
        within(node, ANSWER_MAX, client.decide_unplanned(request)).await?;
        Ok(())
    }

    fn client_of(&self, node: NodeId) -> Result<Client, Error> {
        let client = self.peers().file_client(node);
        client.ok_or_else(|| refused(format!("node {node} is not in the directory")))
    }
}

/// What was accepted in the latest ballot; else the best node's order: the greatest last log id, by
/// leader before index. With the node that has its genesis.
fn chosen(promises: Vec<(NodeId, Promise)>) -> Result<(NodeId, Order), Error> {
    let mut accepted: Option<(Ballot, NodeId, Order)> = None;
    let mut best: Option<(LogId, NodeId, Result<Order, String>)> = None;
    let mut committed = LogId::default();
    let mut heard = None;
    for (node, promise) in promises {
        let (last, said) = match promise {
            Promise::Accepted(ballot, order) => {
                if accepted
                    .as_ref()
                    .is_none_or(|(latest, ..)| *latest < ballot)
                {
                    accepted = Some((ballot, node, *order));
                }
                continue;
            }
            Promise::Free(order) => {
                committed = committed.max(order.committed);
                (order.boundary, Ok(*order))
            }
            Promise::Unable(last, why) => (last, Err(why)),
            Promise::PrimaryHeard(why) => {
                heard = Some(why);
                continue;
            }
            Promise::Decided(order) => return Ok((node, *order)),
        };
        // Of two that are as good, the one that can open it.
        if best
            .as_ref()
            .is_none_or(|(known, _, so_far)| (*known, so_far.is_ok()) < (last, said.is_ok()))
        {
            best = Some((last, node, said));
        }
    }
    if let Some((_, node, order)) = accepted {
        return Ok((node, order));
    }
    if let Some(why) = heard {
        return Err(refused(why));
    }
    let (_, node, said) = best.ok_or_else(|| refused("no node could be asked"))?;
    let mut order = said.map_err(refused)?;
    order.committed = committed;
    // What another node knows to be committed is not in doubt.
    if usize::try_from(order.used_count).is_ok_and(|count| count <= USED_MAX) {
        order.used.retain(|used| committed < used.at);
        order.used_count = order.used.len() as u64;
    }
    Ok((node, order))
}

async fn within<T>(
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
