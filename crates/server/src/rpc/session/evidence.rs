//! What is kept of a session: what was forgotten, what wanted an answer, and what the main line
//! sealed.

use consensus::node;
use domain::Rejection;
use domain::audit::{Repeat, Row};
use domain::id::SessionId;
use domain::session::{Evidence, MustRepeat, Phase, Reply};
use proto::operator::v1 as operator;

use super::super::{audit, plan};
use super::{read_session, shown};
use crate::edge::Edge;
use crate::request::Ask;
use crate::status::Refusal;
use crate::wire;

pub(super) async fn evidence(
    edge: &Edge,
    ask: Ask<operator::GetEvidenceRequest>,
) -> Result<operator::GetEvidenceResponse, Refusal> {
    let session = read_session(&ask.body.session)?;
    edge.fresh(&ask).await?;
    Ok(operator::GetEvidenceResponse {
        evidence: Some(evidence_of(edge, &session).await?),
    })
}

/// What is kept of a session: what the main line sealed, else what its closed branch says.
pub(super) async fn evidence_of(
    edge: &Edge,
    session: &SessionId,
) -> Result<operator::Evidence, Refusal> {
    let main = edge.node().main();
    let state = main.state();
    let plan = state.plan(session).ok_or_else(|| Refusal::Rejected {
        rejection: Rejection::NoSuchSession,
        clock: state.header().clock,
    })?;
    let mut shown = operator::Evidence {
        session: shown(edge, session),
        boundary: plan::boundary_of(plan, &main),
        rolled_over_time: plan.sealed.as_ref().map(|sealed| wire::time(sealed.at)),
        gap_accepted: plan
            .sealed
            .as_ref()
            .and_then(|sealed| sealed.gap_accepted.clone())
            .unwrap_or_default(),
        ..Default::default()
    };
    let sealed = plan
        .sealed
        .as_ref()
        .and_then(|sealed| sealed.evidence.clone());
    let kept = match (sealed, plan.phase) {
        (Some(sealed), _) => Some(sealed),
        (None, Phase::Closed) if plan.boundary.is_some() => {
            let gathered = edge.node().gather(session).await;
            Some(gathered.map_err(|error| not_gathered(&error))?.evidence)
        }
        (
            None,
            Phase::Opening | Phase::Open | Phase::Closed | Phase::RolledOver | Phase::Abandoned,
        ) => None,
    };
    let Some(kept) = kept else { return Ok(shown) };
    shown.closed_log_id = Some(wire::log_id(kept.closed));
    shown.closed_digests = Some(wire::digests(&domain::Digests {
        account: kept.account,
        full: kept.full,
    }));
    shown.audit_head = kept.audit.hash.to_string();
    shown.audit_count = kept.audit.sequence.saturating_sub(kept.audit_from);
    shown.closed_time = Some(wire::time(kept.closed_at));
    // The rows may be at other nodes alone; the sealed counts stand without them.
    shown.forgotten = forgotten(edge, &kept).await.unwrap_or_default();
    let replies = plan.sealed.as_ref().map(|sealed| &sealed.replies);
    shown.answered = kept
        .must_repeat
        .iter()
        .map(|one| answered_item(one, replies.and_then(|replies| replies.get(&one.sequence))))
        .collect();
    Ok(shown)
}

fn answered_item(of: &MustRepeat, reply: Option<&Reply>) -> operator::AnsweredItem {
    let (answer, reason) = match reply {
        None => (operator::Answer::Unspecified, String::new()),
        Some(Reply::Repeated) => (operator::Answer::Repeat, String::new()),
        Some(Reply::Waived { reason }) => (operator::Answer::Waive, reason.clone()),
    };
    operator::AnsweredItem {
        item: Some(item(of)),
        answer: answer.into(),
        reason,
    }
}

pub(super) fn repeat_reason(kind: Repeat) -> &'static str {
    match kind {
        Repeat::Suspension => "the account was suspended",
        Repeat::OtpRevocation => "password and one-time password were taken away",
        Repeat::PasswordCompromised => "the password was changed as lost or compromised",
        Repeat::ChannelCompromised => "the channel was replaced as lost or compromised",
    }
}

pub(super) fn item(of: &MustRepeat) -> operator::MustRepeat {
    operator::MustRepeat {
        item: of.sequence.to_string(),
        change: Some(operator::Change {
            kind: format!("{:?}", of.kind),
            account: of.account.to_string(),
            time: Some(wire::time(of.at)),
            actor: of.by.clone(),
        }),
        reason: repeat_reason(of.kind).to_owned(),
    }
}

fn change(row: &Row) -> operator::Change {
    operator::Change {
        kind: format!("{:?}", row.kind),
        account: row
            .account
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        time: Some(wire::time(row.at)),
        actor: row.by.clone(),
    }
}

/// A fault of gathering is the operator's to wait for or look into, not ours.
pub(super) fn not_gathered(error: &node::Error) -> Refusal {
    Refusal::NoEvidence {
        why: error.to_string(),
    }
}

/// The rows of the branch that changed an account: what the rollover forgets.
pub(super) async fn forgotten(
    edge: &Edge,
    evidence: &Evidence,
) -> Result<Vec<operator::Change>, Refusal> {
    let branch = edge
        .node()
        .branch_reference(&evidence.session, evidence.genesis);
    let rows = audit::rows(edge, &branch, evidence.audit_from, evidence.audit.sequence).await?;
    Ok(rows
        .iter()
        .filter(|row| row.is_change())
        .map(change)
        .collect())
}
