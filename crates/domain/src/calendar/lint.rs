//! What is wrong with a calendar, or soon will be.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::timetable::Problem;
use super::{Calendar, Day, HOLIDAYS_MAX, LINKS_MAX, SESSIONS_MAX, Session};
use crate::UnixMs;
use crate::id::CentreName;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// Somebody should look at it.
    Warning,
    /// The service will not do what is expected of it.
    Error,
}

/// One thing that somebody should know about the calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Stable name, for scripts.
    pub code: String,
    /// What it is and what to do, for people.
    pub what: String,
}

impl Finding {
    fn new(severity: Severity, code: &str, what: String) -> Self {
        Self {
            severity,
            code: code.to_owned(),
            what,
        }
    }
}

impl Calendar {
    /// What no calendar may have, whatever the time: sessions that overlap (one centre serves at
    /// a time, R18), close before they open or share an id; links that share one. A calendar with a problem is refused.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |at: String, what: String| problems.push(Problem::new(at, what));
        if self.timetable.len() > SESSIONS_MAX {
            let what = format!("{} sessions; at most {SESSIONS_MAX}", self.timetable.len());
            add("the timetable".to_owned(), what);
        }
        if self.holidays.len() > HOLIDAYS_MAX {
            let what = format!("{} holidays; at most {HOLIDAYS_MAX}", self.holidays.len());
            add("the holidays".to_owned(), what);
        }
        if self.links.len() > LINKS_MAX {
            let what = format!("{} links; at most {LINKS_MAX}", self.links.len());
            add("the links".to_owned(), what);
        }
        let mut links = BTreeSet::new();
        for link in &self.links {
            if !links.insert(&link.id) {
                let at = format!("link {}", link.id);
                add(at, "another link has this id".to_owned());
            }
        }
        let mut ids = BTreeSet::new();
        for session in &self.timetable {
            let at = || format!("session {}", session.id);
            if session.closes <= session.opens {
                let what = format!("closes before it opens: {}", session.window());
                add(at(), what);
            }
            if Day::of(session.opens) != Some(session.day)
                || Day::of(session.closes.minus(1)) != Some(session.day)
            {
                add(
                    at(),
                    format!("does not lie within its day, {}", session.day),
                );
            }
            if !self.days_named.contains(&session.day) {
                add(at(), format!("its day, {}, is not named", session.day));
            }
            if !ids.insert(&session.id) {
                add(at(), "another session has this id".to_owned());
            }
        }
        for (earlier, later) in overlapping(&self.timetable) {
            add(
                format!("session {}", later.id),
                format!(
                    "overlaps session {}: {} and {}",
                    earlier.id,
                    earlier.window(),
                    later.window()
                ),
            );
        }
        let mut rules = BTreeSet::new();
        for (index, rule) in self.weekly.iter().enumerate() {
            let at = || format!("weekly rule {}", rule.id);
            if rule.closes <= rule.opens {
                let what = format!("closes before it opens: {}–{}", rule.opens, rule.closes);
                add(at(), what);
            }
            // The date is 11 characters with its hyphen.
            if rule.id.as_str().len() + 11 > crate::id::NAME_BYTES_MAX {
                add(
                    at(),
                    "the id is too long to take a date behind it".to_owned(),
                );
            }
            if !rules.insert(&rule.id) {
                add(at(), "another weekly rule has this id".to_owned());
            }
            for other in self.weekly.iter().take(index) {
                if rule.overlaps(other) {
                    add(at(), format!("overlaps weekly rule {}", other.id));
                }
            }
            if ids.iter().any(|id| {
                id.as_str()
                    .strip_prefix(rule.id.as_str())
                    .and_then(|rest| rest.strip_prefix('-'))
                    .is_some_and(|rest| rest.parse::<Day>().is_ok())
            }) {
                add(
                    at(),
                    "a session has an id that this rule would give".to_owned(),
                );
            }
        }
        problems
    }

    /// What somebody should know at `now`, worst first.
    #[must_use]
    pub fn lint(&self, now: UnixMs, primary: &CentreName) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self
            .problems()
            .into_iter()
            .map(|problem| Finding::new(Severity::Error, "INVALID", problem.to_string()))
            .collect();
        let Some(today) = Day::of(now) else {
            return findings;
        };
        let mut add =
            |severity, code: &str, what| findings.push(Finding::new(severity, code, what));
        match self.next_business_day(today) {
            None => add(
                Severity::Error,
                "NO_BUSINESS_DAY",
                "no business day in the next 400 days: check the holidays file".to_owned(),
            ),
            Some(next) => {
                if self.sessions_on(next, primary).is_empty() {
                    add(
                        Severity::Error,
                        "NO_SESSION_PLANNED",
                        format!(
                            "no session is planned for the next business day, {}: \
                             add it to the timetable, or a weekly rule that covers it",
                            next.long()
                        ),
                    );
                }
                let known_until = self.holidays.last().map(|day| day.year());
                if known_until.is_none_or(|year| year < next.year()) {
                    add(
                        Severity::Warning,
                        "HOLIDAYS_MISSING",
                        format!("no holiday of {} is known: load its holidays", next.year()),
                    );
                }
            }
        }
        if self.weekly.is_empty() {
            add(
                Severity::Warning,
                "NO_WEEKLY_RULE",
                "there is no weekly rule: each business day needs an entry in the timetable"
                    .to_owned(),
            );
        }
        for session in self.timetable.iter().filter(|session| session.opens > now) {
            if self.holidays.contains(&session.day) {
                add(
                    Severity::Warning,
                    "SESSION_ON_HOLIDAY",
                    format!(
                        "session {} is on a holiday, {}",
                        session.id,
                        session.day.long()
                    ),
                );
            }
            if session.source.is_none() {
                add(
                    Severity::Warning,
                    "NO_SOURCE",
                    format!("session {} has no source reference", session.id),
                );
            }
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings
    }
}

/// Pairs of sessions that share a moment, the earlier first. The list is short by its limit.
fn overlapping(sessions: &[Session]) -> Vec<(&Session, &Session)> {
    let mut by_opening: Vec<&Session> = sessions.iter().collect();
    by_opening.sort_by_key(|session| session.opens);
    let mut pairs = Vec::new();
    let mut longest: Option<&Session> = None;
    for session in by_opening {
        if let Some(earlier) = longest
            && earlier.overlaps(session)
        {
            pairs.push((earlier, session));
        }
        if longest.is_none_or(|longest| session.closes > longest.closes) {
            longest = Some(session);
        }
    }
    pairs
}
