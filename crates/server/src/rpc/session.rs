//! `SessionService`: opening and closing (LINES.md, "The plan of a session"). What comes after the
//! close has its own files.

use std::collections::BTreeSet;

use consensus::{Line, Proposal};
use domain::id::{OperatorId, SessionId};
use domain::request::Key;
use domain::session::{Act, Command, Plan};
use domain::{Actor, LineId, Rejection, State, script};
use proto::operator::v1 as operator;
use proto::operator::v1::session_service_server::SessionService;
use tonic::{Request, Response, Status};

use super::{answered, plan};
use crate::approvals::{self, Call};
use crate::edge::{Edge, Validity};
use crate::identity::Caller;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

mod abandon;
mod evidence;
mod rollover;
pub(super) mod unplanned;

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

    async fn open_unplanned(
        &self,
        request: Request<operator::OpenUnplannedRequest>,
    ) -> Answered<operator::OpenUnplannedResponse> {
        answered!(self.0, request, unplanned::open)
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
        answered!(self.0, request, abandon::abandon)
    }

    async fn preview_rollover(
        &self,
        request: Request<operator::PreviewRolloverRequest>,
    ) -> Answered<operator::PreviewRolloverResponse> {
        answered!(self.0, request, rollover::preview)
    }

    async fn roll_over(
        &self,
        request: Request<operator::RollOverRequest>,
    ) -> Answered<operator::RollOverResponse> {
        answered!(self.0, request, rollover::roll_over)
    }

    async fn answer_holds(
        &self,
        request: Request<operator::AnswerHoldsRequest>,
    ) -> Answered<operator::AnswerHoldsResponse> {
        answered!(self.0, request, rollover::answer_holds)
    }

    async fn get_evidence(
        &self,
        request: Request<operator::GetEvidenceRequest>,
    ) -> Answered<operator::GetEvidenceResponse> {
        answered!(self.0, request, evidence::evidence)
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
    let primary = &state.primary()?.name;
    let session = match state.plan(id) {
        Some(plan) => plan.session.clone(),
        None => state.calendar().session(id, primary)?,
    };
    let branch = branch_state(edge, id);
    let now = edge.now(&state);
    let session = plan::session(&session, &main, &state, branch.as_ref(), now);
    Some(unplanned::told(edge, &state, session))
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
    let unsigned = operator::ApprovePlanRequest {
        approval: None,
        ..body.clone()
    };
    let key = ask.key_of(&body.request_id, &unsigned, edge.keyring())?;
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
    let command = domain::Command::Session(Command::Approve { act, plan });
    let call = Call {
        key,
        approval: body.approval.as_ref(),
        validity: Validity::of(body.validate_only),
    };
    let (approval_count, needed_count) = approvals::approve(edge, &ask, call, command).await?;
    Ok(operator::ApprovePlanResponse {
        approval_count,
        needed_count,
    })
}

async fn open(
    edge: &Edge,
    ask: Ask<operator::OpenSessionRequest>,
) -> Result<operator::OpenSessionResponse, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    let session = read_session(&ask.body.session)?;
    let is_known = edge.node().main().state().plan(&session).is_some();
    if !is_known && edge.node().is_ordered(&session) {
        return Err(Refusal::AlreadyOpen { session });
    }
    let line = edge.line(&ask)?;
    let command = domain::Command::Session(Command::Open {
        session: session.clone(),
    });
    let validity = Validity::of(ask.body.validate_only);
    edge.propose_or_judge(&ask, &line, (Some(key), validity), command)
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
    let line = match edge.line(&ask) {
        // Outside its times the plan can be closed on the main line: its branch follows, or has
        // closed before.
        Err(refusal) if is_fenced_by(&refusal, &session) => edge.node().main(),
        found => found?,
    };
    let command = || {
        domain::Command::Session(Command::Close {
            session: session.clone(),
        })
    };
    if ask.body.validate_only {
        let request = (Some(key), Validity::ValidateOnly);
        edge.propose_or_judge(&ask, &line, request, command())
            .await?;
        return Ok(operator::CloseSessionResponse {
            closed_log_id: None,
            session: shown(edge, &session),
        });
    }
    count_run(edge, &ask, &line, key, command()).await?;
    let settled = edge.propose(&ask, &line, Some(key), command()).await?;
    if line.reference().line != LineId::Main {
        let main = edge.node().main();
        // The branch has closed, and the main line's plan follows. A script's run is not counted
        // again for it.
        let actor = match &ask.caller {
            Caller::Script(_) => Actor::Node(edge.node().id()),
            Caller::Operator(_) | Caller::FrontEnd(..) | Caller::BackEnd(_) | Caller::Node(_) => {
                ask.caller.actor()
            }
        };
        let follow = Proposal {
            actor,
            request: None,
            command: command(),
        };
        if let Err(error) = main.propose(follow).await {
            tracing::info!(%session, %error, "the main line's plan is closed by its followers");
        }
    }
    Ok(operator::CloseSessionResponse {
        closed_log_id: Some(wire::log_id(settled.at)),
        session: shown(edge, &session),
    })
}

/// Counts a script's close of a branch on the main line, where its grant stands, before the branch
/// closes. Nothing is counted of a close that the branch would refuse.
async fn count_run(
    edge: &Edge,
    ask: &Ask<operator::CloseSessionRequest>,
    line: &Line,
    key: Key,
    close: domain::Command,
) -> Result<(), Refusal> {
    let LineId::Branch { session, .. } = line.reference().line else {
        return Ok(());
    };
    let Caller::Script(_) = &ask.caller else {
        return Ok(());
    };
    edge.judge(ask, line, Some(key), close)?;
    let run = domain::Command::Script(script::Command::Run {
        session,
        deed: script::Deed::Close,
    });
    edge.propose(ask, &edge.node().main(), Some(key), run)
        .await
        .map(|_| ())
}

fn is_fenced_by(refusal: &Refusal, named: &SessionId) -> bool {
    match refusal.rejection() {
        Some(Rejection::BranchOpen { session }) => session == named,
        Some(_) | None => false,
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
    let Some(primary) = state.primary() else {
        return Ok(operator::ListSessionsResponse::default());
    };
    let now = edge.now(&state);
    let mut sessions =
        state
            .calendar()
            .sessions_between(now.minus(LISTED_MS), now.plus(LISTED_MS), &primary.name);
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
                let approvers: Vec<OperatorId> = match state.plan(&session.id) {
                    Some(plan) => plan.approved_by.keys().cloned().collect(),
                    None => state
                        .approvals(&act)
                        .map(|approvals| approvals.by.keys().cloned().collect())
                        .unwrap_or_default(),
                };
                operator::SessionEntry {
                    plan_digest: Plan::digest_of(&session).to_string(),
                    approvers: approvers.iter().map(ToString::to_string).collect(),
                    session: Some(unplanned::told(
                        edge,
                        &state,
                        plan::session(&session, &main, &state, branch.as_ref(), now),
                    )),
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
