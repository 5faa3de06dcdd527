//! `SessionService`: opening, closing and rolling over (LINES.md, "The plan of a session").

use std::collections::{BTreeMap, BTreeSet};

use consensus::node;
use domain::account;
use domain::audit::{Repeat, Row};
use domain::factor::Method;
use domain::id::SessionId;
use domain::session::{Act, Command, Evidence, MustRepeat, Phase, Plan, Reply};
use domain::{Answer, LineId, LogId, Rejection, State};
use proto::operator::v1 as operator;
use proto::operator::v1::session_service_server::SessionService;
use tonic::{Request, Response, Status};

use super::{answered, audit, plan};
use crate::edge::{self, Edge};
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 500;
/// How far around today sessions are listed, in milliseconds.
const LISTED_MS: u64 = 35 * 24 * 3_600_000;

type Answered<T> = Result<Response<T>, Status>;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Sessions(pub(super) Edge);

#[tonic::async_trait]
impl SessionService for Sessions {
    async fn approve_plan(
        &self,
        request: Request<operator::ApprovePlanRequest>,
    ) -> Answered<operator::ApprovePlanResponse> {
        answered!(self.0, request, approve)
    }

    async fn open_session(
        &self,
        request: Request<operator::OpenSessionRequest>,
    ) -> Answered<operator::OpenSessionResponse> {
        answered!(self.0, request, open)
    }

    async fn close_session(
        &self,
        request: Request<operator::CloseSessionRequest>,
    ) -> Answered<operator::CloseSessionResponse> {
        answered!(self.0, request, close)
    }

    async fn abandon_session(
        &self,
        request: Request<operator::AbandonSessionRequest>,
    ) -> Answered<operator::AbandonSessionResponse> {
        answered!(self.0, request, abandon)
    }

    async fn preview_rollover(
        &self,
        request: Request<operator::PreviewRolloverRequest>,
    ) -> Answered<operator::PreviewRolloverResponse> {
        answered!(self.0, request, preview)
    }

    async fn roll_over(
        &self,
        request: Request<operator::RollOverRequest>,
    ) -> Answered<operator::RollOverResponse> {
        answered!(self.0, request, roll_over)
    }

    async fn answer_holds(
        &self,
        request: Request<operator::AnswerHoldsRequest>,
    ) -> Answered<operator::AnswerHoldsResponse> {
        answered!(self.0, request, answer_holds)
    }

    async fn get_evidence(
        &self,
        request: Request<operator::GetEvidenceRequest>,
    ) -> Answered<operator::GetEvidenceResponse> {
        answered!(self.0, request, evidence)
    }

    async fn list_sessions(
        &self,
        request: Request<operator::ListSessionsRequest>,
    ) -> Answered<operator::ListSessionsResponse> {
        answered!(self.0, request, list)
    }
}

fn read_session(text: &str) -> Result<SessionId, Refusal> {
    SessionId::parse(text)
        .map_err(|_| Refusal::malformed(Field::Other("session"), "a session of the timetable"))
}

/// The session as it is now.
pub(super) fn shown(edge: &Edge, id: &SessionId) -> Option<operator::Session> {
    let main = edge.node().main();
    let state = main.state();
    let primary = &state.founding()?.primary.name;
    let session = match state.plan(id) {
        Some(plan) => plan.session.clone(),
        None => state.calendar().session(id, primary)?,
    };
    let branch = branch_state(edge, id);
    let now = edge.now(&state);
    Some(plan::session(&session, &main, &state, branch.as_ref(), now))
}

/// The state of the session's branch, if it runs here.
pub(super) fn branch_state(edge: &Edge, id: &SessionId) -> Option<State> {
    let branch = edge.node().branch()?;
    match branch.reference().line {
        LineId::Branch { session, .. } if session == *id => Some(branch.state()),
        LineId::Branch { .. } | LineId::Main => None,
    }
}

async fn approve(
    edge: &Edge,
    ask: Ask<operator::ApprovePlanRequest>,
) -> Result<operator::ApprovePlanResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    let session = read_session(&body.session)?;
    let act = match operator::PlanAct::try_from(body.act) {
        Ok(operator::PlanAct::Open) => Act::Open(session),
        Ok(operator::PlanAct::Abandon) => Act::Abandon(session),
        Ok(operator::PlanAct::Unspecified) | Err(_) => {
            return Err(Refusal::malformed(
                Field::Required("act"),
                "PLAN_ACT_OPEN or PLAN_ACT_ABANDON",
            ));
        }
    };
    let plan = wire::read_digest(&body.plan_digest, "plan_digest")?;
    let line = edge.line(&ask)?;
    let command = domain::Command::Session(Command::Approve { act, plan });
    let settled = edge.propose(&ask, &line, Some(key), command).await?;
    let Answer::Approved { have, need } = settled.answer else {
        return Err(edge::unexpected(&settled.answer));
    };
    Ok(operator::ApprovePlanResponse {
        approval_count: have,
        needed_count: need,
    })
}

async fn open(
    edge: &Edge,
    ask: Ask<operator::OpenSessionRequest>,
) -> Result<operator::OpenSessionResponse, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    let session = read_session(&ask.body.session)?;
    let line = edge.line(&ask)?;
    let command = domain::Command::Session(Command::Open {
        session: session.clone(),
    });
    edge.propose(&ask, &line, Some(key), command)
        .await
        .map_err(|refusal| already_open(refusal, &session))?;
    let state = line.state();
    let boundary = state
        .plan(&session)
        .and_then(|plan| plan::boundary_of(plan, &line));
    Ok(operator::OpenSessionResponse {
        boundary,
        session: shown(edge, &session),
    })
}

fn already_open(refusal: Refusal, session: &SessionId) -> Refusal {
    if refusal.rejection() == Some(&Rejection::AlreadySo) {
        return Refusal::AlreadyOpen {
            session: session.clone(),
        };
    }
    refusal
}

/// Closes the session on the line that it is held on. A branch's close is its last entry; the
/// main line's plan follows it.
async fn close(
    edge: &Edge,
    ask: Ask<operator::CloseSessionRequest>,
) -> Result<operator::CloseSessionResponse, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    let session = read_session(&ask.body.session)?;
    let line = edge.line(&ask)?;
    let command = || {
        domain::Command::Session(Command::Close {
            session: session.clone(),
        })
    };
    let settled = edge.propose(&ask, &line, Some(key), command()).await?;
    if line.reference().line != LineId::Main {
        let main = edge.node().main();
        if let Err(refusal) = edge.propose(&ask, &main, None, command()).await {
            // The nodes follow the branch: the main line's plan closes all the same.
            tracing::info!(%session, ?refusal, "the main line's plan is closed by its followers");
        }
    }
    Ok(operator::CloseSessionResponse {
        closed_log_id: Some(wire::log_id(settled.at)),
        session: shown(edge, &session),
    })
}

async fn abandon(
    edge: &Edge,
    ask: Ask<operator::AbandonSessionRequest>,
) -> Result<operator::AbandonSessionResponse, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    let session = read_session(&ask.body.session)?;
    let line = edge.line(&ask)?;
    let command = domain::Command::Session(Command::Abandon {
        session: session.clone(),
        refused: Vec::new(),
        reason: ask.body.reason.clone(),
    });
    edge.propose(&ask, &line, Some(key), command).await?;
    Ok(operator::AbandonSessionResponse {
        session: shown(edge, &session),
    })
}

fn repeat_reason(kind: Repeat) -> &'static str {
    match kind {
        Repeat::Suspension => "the account was suspended",
        Repeat::OtpRevocation => "password and one-time password were taken away",
        Repeat::PasswordCompromised => "the password was changed as lost or compromised",
        Repeat::ChannelCompromised => "the channel was replaced as lost or compromised",
    }
}

fn item(of: &MustRepeat) -> operator::MustRepeat {
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
fn not_gathered(error: &node::Error) -> Refusal {
    Refusal::NoEvidence {
        why: error.to_string(),
    }
}

/// The rows of the branch that changed an account: what the rollover forgets.
async fn forgotten(edge: &Edge, evidence: &Evidence) -> Result<Vec<operator::Change>, Refusal> {
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

async fn preview(
    edge: &Edge,
    ask: Ask<operator::PreviewRolloverRequest>,
) -> Result<operator::PreviewRolloverResponse, Refusal> {
    let session = read_session(&ask.body.session)?;
    let (_, state) = edge.fresh(&ask).await?;
    check_closed(&state, &session)?;
    let gathered = edge.node().gather(&session).await;
    let evidence = gathered.map_err(|error| not_gathered(&error))?.evidence;
    let day = state.plan(&session).map(|plan| plan.session.day);
    let next = day.and_then(|day| state.calendar().next_business_day(day));
    Ok(operator::PreviewRolloverResponse {
        forgotten: forgotten(edge, &evidence).await?,
        must_repeat: evidence.must_repeat.iter().map(item).collect(),
        next_business_day: next.map(|day| day.to_string()).unwrap_or_default(),
        session: shown(edge, &session),
    })
}

/// Whether the session's branch has closed and waits for its rollover.
fn check_closed<'a>(state: &'a State, session: &SessionId) -> Result<&'a Plan, Refusal> {
    let rejected = |rejection| Refusal::Rejected {
        rejection,
        clock: state.header().clock,
    };
    let plan = state
        .plan(session)
        .ok_or_else(|| rejected(Rejection::NoSuchSession))?;
    match plan.phase {
        Phase::Closed => Ok(plan),
        Phase::Opening | Phase::Open | Phase::RolledOver | Phase::Abandoned => {
            Err(rejected(Rejection::WrongPhase { phase: plan.phase }))
        }
    }
}

fn read_answers(
    answers: &[operator::MustRepeatAnswer],
    otherwise: Option<&str>,
) -> Result<BTreeMap<u64, Reply>, Refusal> {
    let mut replies = BTreeMap::new();
    for answer in answers {
        let item: u64 = answer
            .item
            .parse()
            .map_err(|_| Refusal::malformed(Field::Other("item"), "one that the preview names"))?;
        let reply = match operator::Answer::try_from(answer.answer) {
            Ok(operator::Answer::Repeat) => Reply::Repeated,
            Ok(operator::Answer::Waive) => {
                let reason = match answer.reason.as_str() {
                    "" => otherwise.unwrap_or_default(),
                    said => said,
                };
                if reason.is_empty() {
                    return Err(Refusal::malformed(
                        Field::Required("reason"),
                        "why it is waived",
                    ));
                }
                Reply::Waived {
                    reason: reason.to_owned(),
                }
            }
            Ok(operator::Answer::Unspecified) | Err(_) => {
                return Err(Refusal::malformed(
                    Field::Required("answer"),
                    "ANSWER_REPEAT or ANSWER_WAIVE",
                ));
            }
        };
        replies.insert(item, reply);
    }
    Ok(replies)
}

/// Does on the main line what the branch did and the rollover forgets; what is so already stays.
async fn repeat<B>(
    edge: &Edge,
    ask: &Ask<B>,
    items: &[MustRepeat],
    replies: &BTreeMap<u64, Reply>,
) -> Result<(), Refusal> {
    let main = edge.node().main();
    for item in items {
        match replies.get(&item.sequence) {
            Some(Reply::Repeated) => {}
            Some(Reply::Waived { .. }) | None => continue,
        }
        let reason = format!("repeated after the branch: {}", repeat_reason(item.kind));
        let account = item.account.clone();
        let command = match (item.kind, item.method) {
            // A card's password cannot be taken away alone.
            (Repeat::Suspension, _) | (Repeat::PasswordCompromised, Some(Method::Smartcard)) => {
                account::Command::Suspend {
                    account,
                    token: None,
                    reason,
                }
            }
            (
                Repeat::OtpRevocation | Repeat::PasswordCompromised | Repeat::ChannelCompromised,
                _,
            ) => account::Command::RevokeOtp { account, reason },
        };
        let command = domain::Command::Account(command);
        match edge.propose(ask, &main, None, command).await {
            Ok(_)
            | Err(Refusal::Rejected {
                rejection: Rejection::AlreadySo | Rejection::NoSuchAccount,
                ..
            }) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(())
}

async fn roll_over(
    edge: &Edge,
    ask: Ask<operator::RollOverRequest>,
) -> Result<operator::RollOverResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    let session = read_session(&body.session)?;
    let replies = read_answers(&body.answers, ask.reason.as_deref())?;
    let (line, state) = edge.fresh(&ask).await?;
    if state
        .plan(&session)
        .is_some_and(|plan| plan.phase == Phase::RolledOver)
    {
        return rolled_over(edge, &session, AlreadyDone::Yes).await;
    }
    check_closed(&state, &session)?;
    let gathered = edge.node().gather(&session).await;
    let gathered = gathered.map_err(|error| not_gathered(&error))?;
    let evidence = gathered.evidence;
    // Asked before anything is repeated: a refused rollover changes nothing.
    let unanswered: Vec<u64> = evidence
        .must_repeat
        .iter()
        .map(|item| item.sequence)
        .filter(|item| !replies.contains_key(item))
        .collect();
    if !unanswered.is_empty() {
        return Err(Refusal::Rejected {
            rejection: Rejection::Unanswered(unanswered),
            clock: state.header().clock,
        });
    }
    if !gathered.in_both_centres && body.accept_gap.is_empty() {
        return Err(Refusal::NoEvidence {
            why: "the branch's audit records are not in both centres yet: wait, or accept the gap by name".to_owned(),
        });
    }
    repeat(edge, &ask, &evidence.must_repeat, &replies).await?;
    let gap = (!gathered.in_both_centres).then(|| body.accept_gap.clone());
    let command = domain::Command::Session(Command::RollOver {
        session: session.clone(),
        evidence: Box::new(evidence),
        replies,
        gap_accepted: gap,
    });
    match edge.propose(&ask, &line, Some(key), command).await {
        Ok(_) => rolled_over(edge, &session, AlreadyDone::No).await,
        Err(Refusal::Rejected {
            rejection: Rejection::AlreadySo,
            ..
        }) => rolled_over(edge, &session, AlreadyDone::Yes).await,
        Err(refusal) => Err(refusal),
    }
}

#[derive(Clone, Copy)]
enum AlreadyDone {
    Yes,
    No,
}

async fn rolled_over(
    edge: &Edge,
    session: &SessionId,
    done: AlreadyDone,
) -> Result<operator::RollOverResponse, Refusal> {
    let state = edge.node().main().state();
    Ok(operator::RollOverResponse {
        evidence: Some(evidence_of(edge, session).await?),
        business_day: state
            .header()
            .business_day
            .map(|day| day.to_string())
            .unwrap_or_default(),
        already_done: match done {
            AlreadyDone::Yes => true,
            AlreadyDone::No => false,
        },
    })
}

async fn answer_holds(
    edge: &Edge,
    ask: Ask<operator::AnswerHoldsRequest>,
) -> Result<operator::AnswerHoldsResponse, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    let session = read_session(&ask.body.session)?;
    let replies = read_answers(&ask.body.answers, ask.reason.as_deref())?;
    let (line, state) = edge.fresh(&ask).await?;
    let items = state
        .plan(&session)
        .and_then(|plan| plan.sealed.as_ref())
        .and_then(|sealed| sealed.evidence.as_ref())
        .map(|evidence| evidence.must_repeat.clone())
        .unwrap_or_default();
    repeat(edge, &ask, &items, &replies).await?;
    let command = domain::Command::Session(Command::AnswerHolds { session, replies });
    edge.propose(&ask, &line, Some(key), command).await?;
    Ok(operator::AnswerHoldsResponse {})
}

async fn evidence(
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
async fn evidence_of(edge: &Edge, session: &SessionId) -> Result<operator::Evidence, Refusal> {
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

/// The sessions around today, those that the timetable names and those that were opened.
async fn list(
    edge: &Edge,
    ask: Ask<operator::ListSessionsRequest>,
) -> Result<operator::ListSessionsResponse, Refusal> {
    let size = wire::page_size(ask.body.page_size, PAGE_DEFAULT, PAGE_MAX)?;
    let after: usize = match ask.body.page_token.as_str() {
        "" => 0,
        text => text.parse().map_err(|_| {
            Refusal::malformed(Field::Other("page_token"), "one that was answered before")
        })?,
    };
    let main = edge.node().main();
    let state = main.state();
    let Some(founding) = state.founding() else {
        return Ok(operator::ListSessionsResponse::default());
    };
    let now = edge.now(&state);
    let mut sessions = state.calendar().sessions_between(
        now.minus(LISTED_MS),
        now.plus(LISTED_MS),
        &founding.primary.name,
    );
    let known: BTreeSet<SessionId> = sessions.iter().map(|session| session.id.clone()).collect();
    let opened = state.plans().map(|plan| plan.session.clone());
    sessions.extend(opened.filter(|session| !known.contains(&session.id)));
    sessions.sort_by(|a, b| (a.opens, &a.id).cmp(&(b.opens, &b.id)));
    let more = sessions.len() > after.saturating_add(size);
    let page = sessions.into_iter().skip(after).take(size);
    Ok(operator::ListSessionsResponse {
        sessions: page
            .map(|session| {
                let act = Act::Open(session.id.clone());
                let branch = branch_state(edge, &session.id);
                let approvers = match state.plan(&session.id) {
                    Some(plan) => plan.approved_by.clone(),
                    None => state
                        .approvals(&act)
                        .map(|approvals| approvals.by.keys().cloned().collect())
                        .unwrap_or_default(),
                };
                operator::SessionEntry {
                    plan_digest: Plan::digest_of(&session).to_string(),
                    approvers: approvers.iter().map(ToString::to_string).collect(),
                    session: Some(plan::session(&session, &main, &state, branch.as_ref(), now)),
                }
            })
            .collect(),
        next_page_token: if more {
            after.saturating_add(size).to_string()
        } else {
            String::new()
        },
    })
}

/// The place of an entry, read from a message.
pub(super) fn read_log_id(at: &proto::line::v1::LogId) -> LogId {
    LogId {
        term: at.term,
        node: at.node,
        index: at.index,
    }
}
