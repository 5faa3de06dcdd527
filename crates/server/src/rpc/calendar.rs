//! `CalendarService`: the business calendar, and the timetable as operators write it.

use domain::calendar::{self, Calendar, Severity, Timetable};
use domain::{State, UnixMs};
use proto::operator::v1 as operator;
use proto::operator::v1::calendar_service_server::CalendarService;
use tonic::{Request, Response, Status};

use super::{answered, plan, session};
use crate::edge::Edge;
use crate::request::Ask;
use crate::status::Refusal;

/// How far ahead sessions are shown, in milliseconds.
const SHOWN_MS: u64 = 35 * 24 * 3_600_000;
/// How far back.
const SHOWN_BEFORE_MS: u64 = 7 * 24 * 3_600_000;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Calendars(pub(super) Edge);

#[tonic::async_trait]
impl CalendarService for Calendars {
    async fn get_calendar(
        &self,
        request: Request<operator::GetCalendarRequest>,
    ) -> Result<Response<operator::GetCalendarResponse>, Status> {
        answered!(self.0, request, get)
    }

    async fn set_timetable(
        &self,
        request: Request<operator::SetTimetableRequest>,
    ) -> Result<Response<operator::SetTimetableResponse>, Status> {
        answered!(self.0, request, set)
    }

    async fn lint_calendar(
        &self,
        request: Request<operator::LintCalendarRequest>,
    ) -> Result<Response<operator::LintCalendarResponse>, Status> {
        answered!(self.0, request, lint)
    }
}

fn sessions(
    edge: &Edge,
    calendar: &Calendar,
    state: &State,
    now: UnixMs,
) -> Vec<operator::Session> {
    let Some(primary) = state.primary() else {
        return Vec::new();
    };
    let main = edge.node().main();
    calendar
        .sessions_between(
            now.minus(SHOWN_BEFORE_MS),
            now.plus(SHOWN_MS),
            &primary.name,
        )
        .iter()
        .map(|found| {
            let branch = session::branch_state(edge, &found.id);
            plan::session(found, &main, state, branch.as_ref(), now)
        })
        .collect()
}

async fn get(
    edge: &Edge,
    _ask: Ask<operator::GetCalendarRequest>,
) -> Result<operator::GetCalendarResponse, Refusal> {
    let state = edge.node().main().state();
    let now = edge.now(&state);
    let calendar = state.calendar();
    let day = state.header().business_day;
    Ok(operator::GetCalendarResponse {
        zone: domain::time::ZONE.to_owned(),
        holidays: calendar.holidays.iter().map(ToString::to_string).collect(),
        timetable_toml: calendar.timetable_file(),
        sessions: sessions(edge, calendar, &state, now),
        business_day: day.map(|day| day.to_string()).unwrap_or_default(),
        next_business_day: day
            .and_then(|day| calendar.next_business_day(day))
            .map(|day| day.to_string())
            .unwrap_or_default(),
    })
}

/// The calendar with another timetable; the holidays stay.
fn read(state: &State, text: &str) -> Result<Calendar, Vec<calendar::Problem>> {
    let timetable = Timetable::parse(text)?;
    Ok(Calendar::new(timetable, state.calendar().holidays.clone()))
}

/// The calendar that a call asks for: what it does not name stays.
fn asked(
    state: &State,
    asked: &operator::SetTimetableRequest,
) -> Result<Calendar, Vec<calendar::Problem>> {
    let mut calendar = match (asked.timetable_toml.as_str(), &asked.holidays) {
        ("", Some(_)) => Ok(state.calendar().clone()),
        (text, _) => read(state, text),
    };
    if let Some(text) = &asked.holidays {
        match (calendar::parse_holidays(text), &mut calendar) {
            (Ok(holidays), Ok(calendar)) => calendar.holidays = holidays,
            (Ok(_), Err(_)) => {}
            (Err(problems), found) => {
                // Everything that is wrong is told at once.
                let mut all = calendar_problems(found);
                all.extend(problems.into_iter().map(|problem| calendar::Problem {
                    at: format!("holidays, {}", problem.at),
                    ..problem
                }));
                return Err(all);
            }
        }
    }
    calendar
}

fn calendar_problems(of: &mut Result<Calendar, Vec<calendar::Problem>>) -> Vec<calendar::Problem> {
    match of {
        Ok(_) => Vec::new(),
        Err(problems) => std::mem::take(problems),
    }
}

async fn set(
    edge: &Edge,
    ask: Ask<operator::SetTimetableRequest>,
) -> Result<operator::SetTimetableResponse, Refusal> {
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    let (line, state) = edge.fresh(&ask).await?;
    let calendar = asked(&state, &ask.body).map_err(|problems| Refusal::Problems {
        reason: "BAD_TIMETABLE",
        problems: problems
            .into_iter()
            .map(|problem| (problem.at, problem.what))
            .collect(),
    })?;
    if !ask.body.dry_run {
        let command = domain::Command::SetCalendar(Box::new(calendar.clone()));
        edge.propose(&ask, &line, Some(key), command).await?;
    }
    let now = edge.now(&state);
    Ok(operator::SetTimetableResponse {
        sessions: sessions(edge, &calendar, &state, now),
        holidays: calendar.holidays.iter().map(ToString::to_string).collect(),
    })
}

async fn lint(
    edge: &Edge,
    ask: Ask<operator::LintCalendarRequest>,
) -> Result<operator::LintCalendarResponse, Refusal> {
    let state = edge.node().main().state();
    let now = edge.now(&state);
    let calendar = match ask.body.timetable_toml.as_str() {
        "" => Ok(state.calendar().clone()),
        text => read(&state, text),
    };
    let mut findings = match (calendar, state.primary()) {
        (Err(problems), _) => problems.iter().map(wrong).collect(),
        (Ok(calendar), Some(primary)) => calendar
            .lint(now, &primary.name)
            .into_iter()
            .map(|finding| operator::Finding {
                verdict: match finding.severity {
                    Severity::Warning => operator::Verdict::Warning,
                    Severity::Error => operator::Verdict::Error,
                }
                .into(),
                text: finding.what,
            })
            .collect(),
        (Ok(_), None) => Vec::new(),
    };
    findings.sort_by_key(|finding: &operator::Finding| std::cmp::Reverse(finding.verdict));
    Ok(operator::LintCalendarResponse { findings })
}

fn wrong(problem: &calendar::Problem) -> operator::Finding {
    operator::Finding {
        verdict: operator::Verdict::Error.into(),
        text: problem.to_string(),
    }
}
