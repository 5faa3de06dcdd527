//! What is kept of a session: what was forgotten, what wanted an answer, and what the main line
//! sealed.

use consensus::node;
use domain::Rejection;
use domain::audit::{Repeat, Row};
use domain::id::SessionId;
use domain::session::{Evidence, MustRepeat, Phase, Reply};
use proto::operator::v1 as operator;
use tokio::time::Duration;

use super::super::{audit, plan};
use super::{read_session, shown, unplanned};
use crate::edge::Edge;
use crate::reads::Read;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

/// How long the nodes of a branch that was given up are asked.
const GATHER_MAX: Duration = Duration::from_secs(3);
/// Changes in a page when the caller does not say.
const PAGE_DEFAULT: usize = 1_000;
/// Most changes in a page: what an answer holds at most is 4 MiB.
const PAGE_MAX: usize = 5_000;

pub(super) async fn evidence(
    edge: &Edge,
    ask: Ask<operator::GetEvidenceRequest>,
) -> Result<operator::GetEvidenceResponse, Refusal> {
    let session = read_session(&ask.body.session)?;
    let page = Page::read(ask.body.page_size, &ask.body.page_token)?;
    let (_, state) = edge.fresh(&ask).await?;
    let evidence = evidence_of(edge, &session, &page).await?;
    let read = Read::of(session.to_string(), evidence.forgotten.len());
    edge.note_read(&ask, &state, read)?;
    Ok(operator::GetEvidenceResponse {
        evidence: Some(evidence),
    })
}

/// What is kept of a session: what the main line sealed, else what its closed branch says.
pub(super) async fn evidence_of(
    edge: &Edge,
    session: &SessionId,
    page: &Page,
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
        lost: unplanned::lost(plan.unplanned.as_deref()),
        ..Default::default()
    };
    let sealed = plan
        .sealed
        .as_ref()
        .and_then(|sealed| sealed.evidence.clone());
    let kept = match (sealed, plan.phase) {
        (Some(sealed), _) => Some(sealed),
        (None, _) if plan.boundary.is_none() => None,
        (None, Phase::Closed) => {
            let gathered = edge.node().gather(session).await;
            Some(gathered.map_err(|error| not_gathered(&error))?.evidence)
        }
        (None, Phase::Opening | Phase::Open) => {
            shown.not_available = "the branch has not closed yet".to_owned();
            None
        }
        (None, Phase::RolledOver | Phase::Abandoned) => {
            shown.not_available = not_sealed(edge, session).await;
            None
        }
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
    let found = forgotten(edge, &kept, page).await.unwrap_or_default();
    shown.forgotten = found.changes;
    shown.next_page_token = found.next_page_token;
    shown.forgotten_count = count(&kept);
    let replies = plan.sealed.as_ref().map(|sealed| &sealed.replies);
    shown.answered = kept
        .must_repeat
        .iter()
        .map(|one| answered_item(one, replies.and_then(|replies| replies.get(&one.sequence))))
        .collect();
    Ok(shown)
}

/// Why the main line has not sealed what the branch of a session did that was given up.
async fn not_sealed(edge: &Edge, session: &SessionId) -> String {
    match tokio::time::timeout(GATHER_MAX, edge.node().gather(session)).await {
        Ok(Ok(_)) => {
            "the branch's evidence is found and not sealed yet: roll the session over".into()
        }
        Ok(Err(error)) => format!("nobody can say what the branch did: {error}"),
        Err(_) => "nobody can say what the branch did: its nodes do not answer".to_owned(),
    }
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
        Repeat::ParticipantSuspension => "the participant was suspended",
        Repeat::OtpRevocation => "password and one-time password were taken away",
        Repeat::MethodDisabled => "a login method was switched off",
        Repeat::CardRevocation => "the card was taken away",
        Repeat::PasswordCompromised => "the password was changed as lost or compromised",
        Repeat::ChannelCompromised => "the channel was replaced as lost or compromised",
    }
}

pub(super) fn item(of: &MustRepeat) -> operator::MustRepeat {
    operator::MustRepeat {
        item: of.sequence.to_string(),
        change: Some(operator::Change {
            kind: format!("{:?}", of.kind),
            account: of.of.to_string(),
            time: Some(wire::time(of.at)),
            actor: of.by.clone(),
        }),
        reason: repeat_reason(of.kind).to_owned(),
    }
}

fn change(row: &Row) -> operator::Change {
    operator::Change {
        kind: format!("{:?}", row.kind),
        account: match (&row.account, &row.participant) {
            (Some(account), _) => account.to_string(),
            (None, Some(firm)) => wire::participant_name(firm),
            (None, None) => String::new(),
        },
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

/// Which part of what is forgotten is asked for.
pub(super) struct Page {
    from: u64,
    size: usize,
}

impl Page {
    /// The first one, as long as it is by default.
    pub(super) const FIRST: Self = Self {
        from: 0,
        size: PAGE_DEFAULT,
    };

    pub(super) fn read(size: i32, token: &str) -> Result<Self, Refusal> {
        let from = match token {
            "" => 0,
            text => text.parse().map_err(|_| {
                Refusal::malformed(Field::Other("page_token"), "one that was answered before")
            })?,
        };
        let size = wire::page_size(size, PAGE_DEFAULT, PAGE_MAX)?;
        Ok(Self { from, size })
    }
}

/// A page of the changes that a rollover forgets.
#[derive(Default)]
pub(super) struct Forgotten {
    pub(super) changes: Vec<operator::Change>,
    /// Where the next page begins; empty after the last.
    pub(super) next_page_token: String,
}

/// The rows of the branch that changed an account: what the rollover forgets. A page begins at a
/// sequence number of the branch's audit.
pub(super) async fn forgotten(
    edge: &Edge,
    evidence: &Evidence,
    page: &Page,
) -> Result<Forgotten, Refusal> {
    let branch = edge
        .node()
        .branch_reference(&evidence.session, evidence.genesis);
    let end = evidence.audit.sequence;
    let mut at = page.from.max(evidence.audit_from);
    let mut found = Forgotten::default();
    while at < end {
        let rows = audit::page(edge, &branch, at, audit::ROWS_AT_ONCE).await?;
        let Some(last) = rows.last() else { break };
        at = last.sequence.saturating_add(1);
        let changes = rows
            .iter()
            .filter(|row| row.sequence < end && row.is_change());
        for row in changes {
            if found.changes.len() >= page.size {
                found.next_page_token = row.sequence.to_string();
                return Ok(found);
            }
            found.changes.push(change(row));
        }
    }
    Ok(found)
}

/// How many changes are forgotten.
pub(super) fn count(evidence: &Evidence) -> u64 {
    evidence.forgotten.values().sum()
}
