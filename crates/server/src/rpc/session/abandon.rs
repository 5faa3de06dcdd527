//! Giving a session up whose branch is lost (LINES.md, Abandon): after its end, or at once if a
//! majority of the branch's voters durably refused to start it.

use domain::id::{NodeId, SessionId};
use domain::session::{Command, Plan};
use domain::{LineId, LineRef, Rejection, State};
use proto::operator::v1 as operator;

use super::{read_session, shown};
use crate::edge::{Edge, Validity};
use crate::reads::Read;
use crate::request::Ask;
use crate::status::Refusal;

pub(super) async fn abandon(
    edge: &Edge,
    ask: Ask<operator::AbandonSessionRequest>,
) -> Result<operator::AbandonSessionResponse, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    let session = read_session(&ask.body.session)?;
    let validity = Validity::of(ask.body.validate_only);
    let line = edge.line(&ask)?;
    if validity == Validity::ValidateOnly {
        line.read_index().await?;
    }
    let command = |refused: Vec<NodeId>| {
        domain::Command::Session(Command::Abandon {
            session: session.clone(),
            refused,
            reason: ask.body.reason.clone(),
        })
    };
    let state = line.state();
    let refused = match state.plan(&session) {
        Some(plan) if !is_over(edge, &state, plan) => {
            // A promise not to start is never taken back: nobody gives one for an act that would
            // be refused all the same.
            let voters = voters(edge, plan);
            edge.judge(&ask, &line, Some(key), command(voters.clone()))?;
            check_not_running(edge, &session, &voters)?;
            match validity {
                Validity::CarryOut => edge.node().collect_refusals(&session).await,
                // They would be asked; what they would say nobody knows.
                Validity::ValidateOnly => voters,
            }
        }
        Some(_) | None => Vec::new(),
    };
    if validity == Validity::ValidateOnly {
        edge.note_read(&ask, &state, Read::of("validate only".to_owned(), 1))?;
        edge.judge(&ask, &line, Some(key), command(refused))?;
        return Ok(operator::AbandonSessionResponse {
            session: shown(edge, &session),
            refused_node_ids: Vec::new(),
        });
    }
    edge.propose(&ask, &line, Some(key), command(refused.clone()))
        .await
        .map_err(|refusal| still_open(refusal, &session, &refused))?;
    Ok(operator::AbandonSessionResponse {
        session: shown(edge, &session),
        refused_node_ids: refused.into_iter().map(|node| node.0).collect(),
    })
}

/// Whether the plan is past its end: what its nodes say counts no more.
fn is_over(edge: &Edge, state: &State, plan: &Plan) -> bool {
    plan.session.closes.plus(state.policy().clock_skew_ms) <= edge.now(state)
}

fn voters(edge: &Edge, plan: &Plan) -> Vec<NodeId> {
    let state = edge.node().main().state();
    state.nodes_of(&plan.session.centre).collect()
}

/// A majority that was seen to run the branch cannot refuse it: it is closed instead.
fn check_not_running(edge: &Edge, session: &SessionId, voters: &[NodeId]) -> Result<(), Refusal> {
    let runs_at = |node: NodeId| {
        let runs_here = || edge.node().branch().map(|branch| branch.reference());
        let known: Vec<LineRef> = if node == edge.node().id() {
            runs_here().into_iter().collect()
        } else {
            let heard = edge.node().heard().from(node);
            heard
                .into_iter()
                .flat_map(|(_, status)| status.lines)
                .filter_map(|line| consensus::wire::read_line_ref(line.line).ok())
                .collect()
        };
        known.iter().any(|line| match &line.line {
            LineId::Branch { session: of, .. } => of == session,
            LineId::Main => false,
        })
    };
    let running: Vec<NodeId> = voters.iter().copied().filter(|id| runs_at(*id)).collect();
    let may_refuse = voters.len().saturating_sub(running.len());
    if may_refuse > voters.len() / 2 {
        return Ok(());
    }
    Err(Refusal::BranchRuns {
        session: session.clone(),
        nodes: running,
    })
}

/// Too few refused: who did, so that an operator knows what is left to do.
fn still_open(refusal: Refusal, session: &SessionId, refused: &[NodeId]) -> Refusal {
    match refusal.rejection() {
        Some(Rejection::OutsideSession { closes, .. }) => Refusal::NotRefused {
            session: session.clone(),
            nodes: refused.to_vec(),
            until: *closes,
        },
        Some(_) | None => refusal,
    }
}
