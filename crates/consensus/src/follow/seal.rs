//! From the branch's close to its rollover: the evidence, and its audit rows in both centres.

use domain::session::{Evidence, Phase, Plan};
use domain::{LineRef, NodeId, SessionId};

use super::main_line;
use crate::node::{Error, Node};

/// What a rollover needs to know of a closed branch.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// What the branch leaves behind.
    pub evidence: Evidence,
    /// Nodes of the primary on which the branch's audit rows are durable.
    pub durable_at: Vec<NodeId>,
    /// Whether those are a majority of the primary's nodes.
    pub in_both_centres: bool,
}

impl Node {
    /// The evidence of the session's closed branch, and how far its audit rows are safe.
    ///
    /// # Errors
    /// `Branch` when the session is not at the secondary, its branch is not closed, or none of its
    /// nodes can be asked.
    pub async fn gather(&self, session: &SessionId) -> Result<Gathered, Error> {
        let state = self.main().state();
        let plan = state
            .plan(session)
            .ok_or_else(|| Error::Branch(format!("session {session} was not opened")))?;
        let (evidence, _) = fetch(self, plan).await?;
        let primary = &self.founding().primary.nodes;
        let durable_at: Vec<NodeId> = primary
            .iter()
            .map(|node| node.id)
            .filter(|node| has_copied(self, *node, &evidence))
            .collect();
        Ok(Gathered {
            in_both_centres: durable_at.len() > primary.len() / 2,
            durable_at,
            evidence,
        })
    }
}

/// Copies the closed branch's audit rows to this node, if it is one of the primary's.
pub(super) async fn round(node: &Node) -> Result<(), Error> {
    let state = node.main().state();
    let plan = state
        .header()
        .fence
        .as_ref()
        .and_then(|session| state.plan(session))
        .filter(|plan| plan.phase == Phase::Closed);
    let Some(plan) = plan else { return Ok(()) };
    let is_voter = main_line::voters(node, plan).contains(&node.id());
    if is_voter || node.copied().of(&plan.session.id).is_some() {
        return Ok(());
    }
    let (evidence, from) = fetch(node, plan).await?;
    let branch = reference(node, &evidence);
    node.copy_audit(&branch, evidence.audit_from, evidence.audit, from)
        .await?;
    tracing::info!(session = %evidence.session, %from, "copied the branch's audit rows");
    node.copied().note(evidence);
    Ok(())
}

fn reference(node: &Node, evidence: &Evidence) -> LineRef {
    node.branch_reference(&evidence.session, evidence.genesis)
}

/// The evidence, from this node or from one of the branch's voters, and from which.
async fn fetch(node: &Node, plan: &Plan) -> Result<(Evidence, NodeId), Error> {
    let session = &plan.session.id;
    if let Some(branch) = node.branch() {
        return Ok((node.branch_evidence(&branch).await?, node.id()));
    }
    let digest = plan.boundary.and_then(|boundary| boundary.digest);
    let Some(digest) = digest else {
        return Err(Error::Branch(format!(
            "the branch of {session} was never confirmed: there is no evidence; abandon it"
        )));
    };
    let branch = node.branch_reference(session, digest);
    let mut last = Error::Branch(format!("no node of {} can be asked", plan.session.centre));
    for voter in main_line::voters(node, plan) {
        match node.fetch_evidence(&branch, voter).await {
            Ok(evidence) => return Ok((evidence, voter)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether a node says that the branch's audit rows are durable there.
fn has_copied(node: &Node, of: NodeId, evidence: &Evidence) -> bool {
    if of == node.id() {
        return node.copied().of(&evidence.session).as_ref() == Some(evidence);
    }
    let heard = node.heard().from(of);
    heard
        .into_iter()
        .flat_map(|(_, status)| status.copied)
        .any(|trail| {
            trail.session == evidence.session.as_str()
                && trail.sequence == evidence.audit.sequence
                && trail.hash.as_ref() == evidence.audit.hash.0
        })
}
