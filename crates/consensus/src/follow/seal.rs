//! From the branch's close to its rollover: the evidence, and its audit rows in both centres.

use std::time::Duration;

use domain::session::{Evidence, Phase, Plan};
use domain::{LineId, LineRef, NodeId, SessionId};
use futures::future::join_all;
use proto::peer::v1 as peer;
use tokio::time::Instant;

use super::{branch, main_line};
use crate::line::Line;
use crate::node::{Error, Node};

/// How long a node may take to refuse a branch.
const REFUSAL_MAX: Duration = Duration::from_secs(3);

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

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// That some node has the evidence.
    Evidence,
    /// That the branch's audit rows are durable in both centres too.
    InBothCentres,
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
        let evidence = fetch(self, plan).await?;
        Ok(gathered(self, evidence))
    }

    /// As `gather`, and waits for what is still on its way: for the evidence, and where the rows
    /// are wanted in both centres, for those too. At the deadline it is given as it is.
    ///
    /// # Errors
    /// As `gather`, once the deadline has passed.
    pub async fn gather_by(
        &self,
        session: &SessionId,
        wanted: Wanted,
        deadline: Instant,
    ) -> Result<Gathered, Error> {
        let (mut heard, mut copied) = (self.heard().watch(), self.copied().watch());
        let mut found: Option<Gathered> = None;
        loop {
            heard.mark_unchanged();
            copied.mark_unchanged();
            let latest = match found.take() {
                // A closed branch's evidence never changes; only where its rows are does.
                Some(before) => Ok(gathered(self, before.evidence)),
                None => self.gather(session).await,
            };
            let is_enough = latest.as_ref().is_ok_and(|latest| match wanted {
                Wanted::Evidence => true,
                Wanted::InBothCentres => latest.in_both_centres,
            });
            if is_enough || Instant::now() >= deadline {
                return latest;
            }
            found = latest.ok();
            tokio::select! {
                _ = heard.changed() => {}
                _ = copied.changed() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    /// Has the nodes that vote on the session's branch promise never to start it, and gives those
    /// that did (LINES.md, Abandon). A node on which it was started, or that cannot be reached,
    /// is not among them.
    pub async fn collect_refusals(&self, session: &SessionId) -> Vec<NodeId> {
        let state = self.main().state();
        let Some(plan) = state.plan(session) else {
            return Vec::new();
        };
        let asked = main_line::voters(self, plan)
            .into_iter()
            .map(|voter| async move {
                match self.ask_to_refuse(session, voter).await {
                    Ok(()) => Some(voter),
                    Err(error) => {
                        tracing::info!(%session, %voter, %error, "the branch was not refused");
                        None
                    }
                }
            });
        join_all(asked).await.into_iter().flatten().collect()
    }

    async fn ask_to_refuse(&self, session: &SessionId, voter: NodeId) -> Result<(), Error> {
        if voter == self.id() {
            return self.refuse_branch(session).await;
        }
        let failed = |why: &str| Error::Branch(format!("node {voter}: {why}"));
        let mut client = self
            .peers()
            .client(voter)
            .ok_or_else(|| failed("it is not in the directory"))?;
        let request = peer::RefuseBranchRequest {
            cluster: self.cluster().0.to_vec().into(),
            session: session.as_str().to_owned(),
        };
        tokio::time::timeout(REFUSAL_MAX, client.refuse_branch(request))
            .await
            .map_err(|_| failed("it took too long"))?
            .map_err(|status| failed(status.message()))?;
        Ok(())
    }
}

fn gathered(node: &Node, evidence: Evidence) -> Gathered {
    let state = node.main().state();
    let primary: Vec<NodeId> = state
        .primary()
        .into_iter()
        .flat_map(|primary| primary.nodes.iter().map(|node| node.id))
        .collect();
    let durable_at: Vec<NodeId> = primary
        .iter()
        .copied()
        .filter(|primary| has_copied(node, *primary, &evidence))
        .collect();
    Gathered {
        in_both_centres: durable_at.len() > primary.len() / 2,
        durable_at,
        evidence,
    }
}

/// Copies the closed branch's audit rows to this node, if it is one of the primary's and has no
/// branch. What a promotion dropped is sealed as soon as that can be: the branch's own nodes are
/// the primary then, and nobody waits for an operator, who has other things to do.
pub(super) async fn round(node: &Node) -> Result<(), Error> {
    let state = node.main().state();
    let plan = branch::attended(node, &state).filter(|plan| match plan.phase {
        Phase::Closed | Phase::Abandoned => true,
        Phase::Opening | Phase::Open | Phase::RolledOver => false,
    });
    let Some(plan) = plan else { return Ok(()) };
    let plan = &plan;
    let is_voter = main_line::voters(node, plan).contains(&node.id());
    if plan.awaits_evidence_of_dropped(state.header().epoch) && is_voter {
        note_own(node, plan).await?;
        return seal_dropped(node, plan).await;
    }
    if is_voter || node.copied().of(&plan.session.id).is_some() {
        return Ok(());
    }
    let branch = confirmed(node, plan)?;
    let mut last = nobody(plan);
    for voter in main_line::voters(node, plan) {
        match copy(node, &branch, voter).await {
            Ok(evidence) => {
                node.copied().note(evidence);
                return Ok(());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Says that the closed branch's audit rows are durable here, once they are.
async fn note_own(node: &Node, plan: &Plan) -> Result<(), Error> {
    let own = node.branch().filter(|branch| is_of(branch, plan));
    let closed = own.filter(|branch| branch.state().header().ended);
    if let Some(branch) = closed
        && node.copied().of(&plan.session.id).is_none()
    {
        node.copied().note(node.branch_evidence(&branch).await?);
    }
    Ok(())
}

/// Attaches, as the main line's leader, what the branch did that a promotion dropped.
async fn seal_dropped(node: &Node, plan: &Plan) -> Result<(), Error> {
    let main = node.main();
    if !main.is_leader() || !main.clock_is_ok() {
        return Ok(());
    }
    let is_confirmed = plan
        .boundary
        .is_some_and(|boundary| boundary.digest.is_some());
    if !is_confirmed {
        main_line::confirm(node, &main, plan).await?;
        return Ok(());
    }
    // Nobody is asked before that can come to anything: the branch may be lost for good.
    let voters = main_line::voters(node, plan);
    let have = voters.iter().filter(|of| says_copied(node, **of, plan));
    if have.count() <= voters.len() / 2 {
        return Ok(());
    }
    main_line::roll_over(node, &main, &plan.session.id).await
}

/// Whether a node says that it has audit rows of the session's closed branch.
fn says_copied(node: &Node, of: NodeId, plan: &Plan) -> bool {
    let session = &plan.session.id;
    if of == node.id() {
        return node.copied().of(session).is_some();
    }
    let heard = node.heard().from(of);
    let mut copied = heard.into_iter().flat_map(|(_, status)| status.copied);
    copied.any(|trail| trail.session == session.as_str())
}

/// Completes the trail of a sealed branch at one of its voters: this one may not have applied the
/// branch's last entries, and its log is about to go.
pub(super) async fn complete(node: &Node, plan: &Plan) {
    let sealed = plan.sealed.as_ref();
    let Some(evidence) = sealed.and_then(|sealed| sealed.evidence.as_ref()) else {
        return;
    };
    let branch = node.branch_reference(&evidence.session, evidence.genesis);
    let (from, head) = (evidence.audit_from, evidence.audit);
    // The latest rows may be all here, and not be durable yet.
    let synced = node.sync_audit(&branch).await;
    if synced.is_ok() && matches!(node.has_audit(&branch, from, &head).await, Ok(true)) {
        return;
    }
    let mut last = synced.err();
    for peer in node.peers().others() {
        match node.copy_audit(&branch, from, head, peer.node).await {
            Ok(()) => return,
            Err(error) => last = Some(error),
        }
    }
    tracing::warn!(session = %plan.session.id, ?last, "the branch's audit trail is not whole here");
}

/// What one of the branch's voters has to show, and the audit rows that prove it.
async fn copy(node: &Node, branch: &LineRef, from: NodeId) -> Result<Evidence, Error> {
    let evidence = node.fetch_evidence(branch, from).await?;
    node.copy_audit(branch, evidence.audit_from, evidence.audit, from)
        .await?;
    tracing::info!(session = %evidence.session, %from, "copied the branch's audit rows");
    Ok(evidence)
}

/// The evidence, from this node or from one of the branch's voters.
async fn fetch(node: &Node, plan: &Plan) -> Result<Evidence, Error> {
    let mut last = nobody(plan);
    let own = node.branch().filter(|branch| is_of(branch, plan));
    let branch = match own {
        Some(own) => {
            match node.branch_evidence(&own).await {
                Ok(evidence) => return Ok(evidence),
                Err(error) => last = error,
            }
            own.reference()
        }
        None => confirmed(node, plan)?,
    };
    for voter in main_line::voters(node, plan) {
        if voter == node.id() {
            continue;
        }
        match node.fetch_evidence(&branch, voter).await {
            Ok(evidence) => return Ok(evidence),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn nobody(plan: &Plan) -> Error {
    Error::Branch(format!("no node of {} can be asked", plan.session.centre))
}

/// The branch that the plan's opening was confirmed with.
fn confirmed(node: &Node, plan: &Plan) -> Result<LineRef, Error> {
    let session = &plan.session.id;
    let digest = plan.boundary.and_then(|boundary| boundary.digest);
    match digest {
        Some(digest) => Ok(node.branch_reference(session, digest)),
        None => Err(Error::Branch(format!(
            "the branch of {session} was never confirmed: there is no evidence; abandon it"
        ))),
    }
}

fn is_of(branch: &Line, plan: &Plan) -> bool {
    match branch.reference().line {
        LineId::Main => false,
        LineId::Branch { session, .. } => session == plan.session.id,
    }
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
