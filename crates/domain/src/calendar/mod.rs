//! The business calendar: holidays, the weekly rule, the timetable of online sessions, and the
//! links that are released from a day on. It is part of the replicated state, so two nodes always
//! read the same one. Deliberately absent: the
//! clock, and the roles of the centres; both come as arguments.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::UnixMs;
use crate::id::{CentreName, SessionId};

mod day;
mod file;
mod holidays;
mod link;
mod lint;
mod session;
mod timetable;
mod weekly;

pub use day::{Day, TimeOfDay, Weekday, Wrong};
pub use holidays::parse as parse_holidays;
pub use link::{LINKS_MAX, Link, URL_BYTES_MAX, Url};
pub use lint::{Finding, Severity};
pub use session::{Initiation, Purpose, Session};
pub use timetable::{Problem, Timetable};
pub use weekly::WeeklyRule;

/// How far a search over days goes before it says that there is nothing.
const SEARCH_DAYS_MAX: usize = 400;

/// Most sessions that a timetable may hold.
pub const SESSIONS_MAX: usize = 4_096;

/// Most holidays that a calendar may hold.
pub const HOLIDAYS_MAX: usize = 4_096;

/// The zone in which days begin and end (R14). Only one is built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Zone {
    /// Hong Kong time, UTC+8 the whole year.
    #[default]
    #[serde(rename = "Asia/Hong_Kong")]
    HongKong,
}

/// Which days are business days, and which centre serves when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calendar {
    /// The zone of every day and time in it.
    pub zone: Zone,
    /// Weekdays that are no business days.
    pub holidays: BTreeSet<Day>,
    /// Sessions of ordinary days.
    pub weekly: Vec<WeeklyRule>,
    /// Days that the timetable names: the weekly rule holds on none of them.
    pub days_named: BTreeSet<Day>,
    /// Sessions of the named days, ordered by opening.
    pub timetable: Vec<Session>,
    /// What landing pages link to, each from its day on (R7), in the order of the file.
    #[serde(default)]
    pub links: Vec<Link>,
}

impl Calendar {
    /// A calendar of a timetable file and a holidays file.
    #[must_use]
    pub fn new(timetable: Timetable, holidays: BTreeSet<Day>) -> Self {
        let Timetable {
            weekly,
            days_named,
            mut sessions,
            links,
        } = timetable;
        sessions.sort_by(|a, b| (a.opens, &a.id).cmp(&(b.opens, &b.id)));
        Self {
            zone: Zone::HongKong,
            holidays,
            weekly,
            days_named,
            timetable: sessions,
            links,
        }
    }

    /// Whether the clearing house works on `day`.
    #[must_use]
    pub fn is_business_day(&self, day: Day) -> bool {
        !day.weekday().is_weekend() && !self.holidays.contains(&day)
    }

    /// The first business day after `day` (R49: Monday 12 June after Saturday 10 June 2023).
    /// None if there is none within 400 days.
    #[must_use]
    pub fn next_business_day(&self, day: Day) -> Option<Day> {
        std::iter::successors(day.tomorrow(), |day| day.tomorrow())
            .take(SEARCH_DAYS_MAX)
            .find(|day| self.is_business_day(*day))
    }

    /// The last business day before `day`. None if there is none within 400 days.
    #[must_use]
    pub fn previous_business_day(&self, day: Day) -> Option<Day> {
        std::iter::successors(day.yesterday(), |day| day.yesterday())
            .take(SEARCH_DAYS_MAX)
            .find(|day| self.is_business_day(*day))
    }

    /// The sessions of a day, by opening: the timetable's if it names the day, else the weekly
    /// rule's if it is a business day. `primary` serves where a rule names no centre.
    #[must_use]
    pub fn sessions_on(&self, day: Day, primary: &CentreName) -> Vec<Session> {
        let mut sessions: Vec<Session> = self
            .timetable
            .iter()
            .filter(|session| session.day == day)
            .cloned()
            .collect();
        if !self.days_named.contains(&day) && self.is_business_day(day) {
            sessions.extend(
                self.weekly
                    .iter()
                    .filter(|rule| rule.weekdays.contains(&day.weekday()))
                    .filter_map(|rule| rule.session_on(day, primary)),
            );
        }
        sessions.sort_by(|a, b| (a.opens, &a.id).cmp(&(b.opens, &b.id)));
        sessions
    }

    /// The session that holds at `at`, if one does.
    #[must_use]
    pub fn session_at(&self, at: UnixMs, primary: &CentreName) -> Option<Session> {
        self.sessions_on(Day::of(at)?, primary)
            .into_iter()
            .find(|session| session.holds(at))
    }

    /// The first session that opens after `after`. None if there is none within 400 days and the
    /// timetable has no later one.
    #[must_use]
    pub fn next_session(&self, after: UnixMs, primary: &CentreName) -> Option<Session> {
        let near = std::iter::successors(Day::of(after), |day| day.tomorrow())
            .take(SEARCH_DAYS_MAX)
            .find_map(|day| {
                self.sessions_on(day, primary)
                    .into_iter()
                    .find(|session| session.opens > after)
            });
        near.or_else(|| {
            self.timetable
                .iter()
                .filter(|session| session.opens > after)
                .min_by_key(|session| session.opens)
                .cloned()
        })
    }

    /// The last session that opened before `before`, open still or not. With a session's own
    /// opening as `before`: the one whose close it must wait for (R17).
    #[must_use]
    pub fn previous_session(&self, before: UnixMs, primary: &CentreName) -> Option<Session> {
        let near = std::iter::successors(Day::of(before), |day| day.yesterday())
            .take(SEARCH_DAYS_MAX)
            .find_map(|day| {
                self.sessions_on(day, primary)
                    .into_iter()
                    .rev()
                    .find(|session| session.opens < before)
            });
        near.or_else(|| {
            self.timetable
                .iter()
                .filter(|session| session.opens < before)
                .max_by_key(|session| session.opens)
                .cloned()
        })
    }

    /// The sessions that open from `from` on and before `until`, by opening; those of the first
    /// 400 days if the range is longer.
    #[must_use]
    pub fn sessions_between(
        &self,
        from: UnixMs,
        until: UnixMs,
        primary: &CentreName,
    ) -> Vec<Session> {
        let last = Day::of(until);
        std::iter::successors(Day::of(from), |day| day.tomorrow())
            .take(SEARCH_DAYS_MAX)
            .take_while(|day| last.is_none_or(|last| *day <= last))
            .flat_map(|day| self.sessions_on(day, primary))
            .filter(|session| from <= session.opens && session.opens < until)
            .collect()
    }

    /// The session of this name: the timetable's, or the one that a weekly rule yields.
    #[must_use]
    pub fn session(&self, id: &SessionId, primary: &CentreName) -> Option<Session> {
        if let Some(found) = self.timetable.iter().find(|session| session.id == *id) {
            return Some(found.clone());
        }
        self.weekly.iter().find_map(|rule| {
            let day = id
                .as_str()
                .strip_prefix(rule.id.as_str())?
                .strip_prefix('-')?
                .parse()
                .ok()?;
            self.sessions_on(day, primary)
                .into_iter()
                .find(|session| session.id == *id)
        })
    }

    /// The moment at which the first session of `day` opens; none if none is planned.
    #[must_use]
    pub fn opening_of(&self, day: Day, primary: &CentreName) -> Option<UnixMs> {
        self.sessions_on(day, primary)
            .first()
            .map(|session| session.opens)
    }
}

#[cfg(test)]
mod tests;
