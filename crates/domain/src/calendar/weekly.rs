//! The weekly rule: ordinary business days need no entry in the timetable.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::day::{Day, TimeOfDay, Weekday};
use super::session::{Initiation, Purpose, Session};
use crate::id::{CentreName, SessionId};

/// One session on each business day of the named weekdays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeeklyRule {
    /// First part of the session ids: `day` yields `day-2023-06-12`.
    pub id: SessionId,
    /// What the sessions are called, for people.
    #[serde(default)]
    pub label: Option<String>,
    /// The weekdays it holds on, holidays apart.
    pub weekdays: BTreeSet<Weekday>,
    /// Local time at which they open.
    pub opens: TimeOfDay,
    /// Local time at which they close.
    pub closes: TimeOfDay,
    /// The centre that serves; none for the one that is primary at the time.
    #[serde(default)]
    pub centre: Option<CentreName>,
}

impl WeeklyRule {
    /// The session of `day`, whether or not the rule names its weekday. None if the times have
    /// no moment (before 1970) or the id would be too long; `Calendar::problems` finds those.
    #[must_use]
    pub fn session_on(&self, day: Day, primary: &CentreName) -> Option<Session> {
        Some(Session {
            id: SessionId::parse(&format!("{}-{day}", self.id)).ok()?,
            centre: self.centre.clone().unwrap_or_else(|| primary.clone()),
            day,
            opens: day.at(self.opens)?,
            closes: day.at(self.closes)?,
            purpose: Purpose::Business,
            title: self.label.clone(),
            source: None,
            business_functions_open: true,
            enrolled_only: false,
            enrol_by: None,
            not_enrolled_text: None,
            not_enrolled_text_zh_hant: None,
            initiation: Initiation::Allow,
        })
    }

    /// Whether the two rules would ask for overlapping sessions on one day.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        !self.weekdays.is_disjoint(&other.weekdays)
            && self.opens < other.closes
            && other.opens < self.closes
    }
}
