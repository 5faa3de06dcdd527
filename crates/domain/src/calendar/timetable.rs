//! The timetable file (TOML): days with headings as circulars write them, their sessions, the
//! weekly rule, and links (`link.rs`). Every problem of a file is listed, not only the first.
//!
//! ```toml
//! [[weekly]]
//! id = "day"
//! label = "Ordinary business day"
//! weekdays = ["Mon", "Tue", "Wed", "Thu", "Fri"]
//! opens = "08:00"
//! closes = "20:00"
//! # centre: the one that is primary at the time, unless named
//!
//! [[day]]
//! heading = "10 June 2023 (Saturday) – Post-release connectivity test"
//!
//! [[day.session]]
//! id = "S1-2023-06-10"
//! centre = "east"
//! opens = "18:00"
//! closes = "20:00"
//! purpose = "connectivity-test"          # or "business", "drill"
//! source = "CD/OEC/SEOCH/093/2023"
//! business_functions_open = false        # by default as the purpose is "business" or not
//! enrolled_only = false
//! # enrol_by = "2023-06-02"             the last day of enrolment; the session's own if not said
//! # not_enrolled_text = "…"             what people of other participants are told
//! # not_enrolled_text_zh_hant = "…"     the same in Traditional Chinese
//! initiation = "allow"                   # or "deny"
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::day::{Day, TimeOfDay, Weekday};
use super::link::{self, Link};
use super::session::{Initiation, Purpose, Session};
use super::weekly::WeeklyRule;
use super::{Calendar, SESSIONS_MAX};

/// Longest text that people are told, in bytes: it may go into a status.
const TOLD_BYTES_MAX: usize = 512;

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where: `day 1, session S1-2023-06-10`.
    pub at: String,
    /// What is wrong there.
    pub what: String,
}

impl Problem {
    pub(super) fn new(at: String, what: String) -> Self {
        Self { at, what }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// What a timetable file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timetable {
    /// Sessions of ordinary days.
    pub weekly: Vec<WeeklyRule>,
    /// The days that it names, those without a session too.
    pub days_named: BTreeSet<Day>,
    /// The sessions of those days, in the order of the file.
    pub sessions: Vec<Session>,
    /// What landing pages link to, in the order of the file (R7).
    pub links: Vec<Link>,
}

impl Timetable {
    /// Reads the text of a timetable file.
    ///
    /// # Errors
    /// Every problem found: headings whose weekday is not the date's (R13), unknown fields,
    /// missing ones, sessions that overlap or close before they open, ids used twice.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| vec![syntax(text, &error)])?;
        let mut problems = Vec::new();
        let mut timetable = Self::default();

        let mut file = Fields::new("the file".to_owned(), &table, &mut problems);
        if let Some(zone) = file.text("zone", Presence::Optional)
            && zone != crate::time::ZONE
        {
            let only = format!("the zone can only be {}", crate::time::ZONE);
            file.wrong("zone", &only);
        }
        let weekly = file.tables("weekly");
        let days = file.tables("day");
        let links = file.tables("link");
        file.finish();

        for (index, rule) in weekly.into_iter().enumerate() {
            let at = format!("weekly rule {}", index + 1);
            timetable
                .weekly
                .extend(weekly_rule(at, rule, &mut problems));
        }
        for (index, day) in days.into_iter().enumerate() {
            timetable.day(index + 1, day, &mut problems);
        }
        for (index, table) in links.into_iter().enumerate() {
            let at = format!("link {}", index + 1);
            timetable.links.extend(link::read(at, table, &mut problems));
        }
        problems.extend(Calendar::new(timetable.clone(), BTreeSet::new()).problems());
        if problems.is_empty() {
            Ok(timetable)
        } else {
            Err(problems)
        }
    }

    fn day(&mut self, number: usize, table: &Table, problems: &mut Vec<Problem>) {
        let mut fields = Fields::new(format!("day {number}"), table, problems);
        let heading = fields.text("heading", Presence::Required);
        let sessions = fields.tables("session");
        let read = heading.and_then(|heading| match Day::from_heading(heading) {
            Ok(read) => Some(read),
            Err(wrong) => {
                fields.wrong("heading", &wrong.to_string());
                None
            }
        });
        fields.finish();
        if let Some((day, _)) = &read
            && !self.days_named.insert(*day)
        {
            let at = format!("day {number}");
            problems.push(Problem::new(at, format!("{day} has a heading already")));
        }
        for (index, table) in sessions.into_iter().enumerate() {
            let at = format!("day {number}, session {}", index + 1);
            self.sessions
                .extend(session(at, table, read.as_ref(), problems));
        }
    }
}

/// Reads one `[[day.session]]`; none if anything in it is wrong, or its day is.
fn session(
    at: String,
    table: &Table,
    heading: Option<&(Day, Option<String>)>,
    problems: &mut Vec<Problem>,
) -> Option<Session> {
    let mut fields = Fields::new(at, table, problems);
    let id = fields.parsed("id", Presence::Required);
    let centre = fields.parsed("centre", Presence::Required);
    let opens: Option<TimeOfDay> = fields.parsed("opens", Presence::Required);
    let closes: Option<TimeOfDay> = fields.parsed("closes", Presence::Required);
    let purpose = fields
        .word(
            "purpose",
            &[
                ("business", Purpose::Business),
                ("connectivity-test", Purpose::ConnectivityTest),
                ("drill", Purpose::Drill),
            ],
        )
        .unwrap_or(Purpose::Business);
    let title = fields.text("title", Presence::Optional).map(str::to_owned);
    let source = fields.text("source", Presence::Optional).map(str::to_owned);
    let open = fields.flag("business_functions_open");
    let enrolled_only = fields.flag("enrolled_only").unwrap_or(false);
    let enrol_by: Option<Day> = fields.parsed("enrol_by", Presence::Optional);
    let not_enrolled_text = told(&mut fields, "not_enrolled_text", Presence::Optional);
    let not_enrolled_text_zh_hant =
        told(&mut fields, "not_enrolled_text_zh_hant", Presence::Optional);
    if not_enrolled_text.is_none() && not_enrolled_text_zh_hant.is_some() {
        fields.wrong(
            "not_enrolled_text_zh_hant",
            "wants not_enrolled_text beside it",
        );
    }
    if let (Some(last), Some((day, _))) = (enrol_by, heading)
        && last > *day
    {
        fields.wrong("enrol_by", "must not be after the session's day");
    }
    let initiation = fields
        .word(
            "initiation",
            &[("allow", Initiation::Allow), ("deny", Initiation::Deny)],
        )
        .unwrap_or_default();
    let (day, day_title) = heading?;
    if !fields.finish() {
        return None;
    }
    Some(Session {
        id: id?,
        centre: centre?,
        day: *day,
        opens: day.at(opens?)?,
        closes: day.at(closes?)?,
        purpose,
        title: title.or_else(|| day_title.clone()),
        source,
        business_functions_open: open.unwrap_or(purpose == Purpose::Business),
        enrolled_only,
        enrol_by,
        not_enrolled_text,
        not_enrolled_text_zh_hant,
        initiation,
    })
}

/// A text that people are told.
pub(super) fn told(
    fields: &mut Fields<'_, '_>,
    name: &'static str,
    presence: Presence,
) -> Option<String> {
    let text = fields.text(name, presence).map(str::to_owned);
    let too_long = |text: &String| text.is_empty() || text.len() > TOLD_BYTES_MAX;
    if text.as_ref().is_some_and(too_long) {
        let what = format!("must have 1 to {TOLD_BYTES_MAX} bytes");
        fields.wrong(name, &what);
    }
    text
}

/// Reads one `[[weekly]]`; none if anything in it is wrong.
fn weekly_rule(at: String, table: &Table, problems: &mut Vec<Problem>) -> Option<WeeklyRule> {
    let mut fields = Fields::new(at, table, problems);
    let id = fields.parsed("id", Presence::Required);
    let label = fields.text("label", Presence::Optional).map(str::to_owned);
    let opens = fields.parsed("opens", Presence::Required);
    let closes = fields.parsed("closes", Presence::Required);
    let centre = fields.parsed("centre", Presence::Optional);
    let weekdays = fields.weekdays();
    if !fields.finish() {
        return None;
    }
    Some(WeeklyRule {
        id: id?,
        label,
        weekdays,
        opens: opens?,
        closes: closes?,
        centre,
    })
}

/// A syntax error with its line.
fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    let line = error.span().map_or(1, |span| {
        text.get(..span.start)
            .map_or(1, |before| before.matches('\n').count() + 1)
    });
    Problem::new(format!("line {line}"), error.message().to_owned())
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Required,
    Optional,
}

/// The fields of one table, each read once; what stays unread is an unknown field.
pub(super) struct Fields<'t, 'p> {
    at: String,
    table: &'t Table,
    read: BTreeSet<&'static str>,
    problems: &'p mut Vec<Problem>,
    problems_before: usize,
}

impl<'t, 'p> Fields<'t, 'p> {
    pub(super) fn new(at: String, table: &'t Table, problems: &'p mut Vec<Problem>) -> Self {
        // A session is better known by its id than by its number.
        let at = match table.get("id").and_then(Value::as_str) {
            Some(id) => format!("{at} ({id})"),
            None => at,
        };
        Self {
            at,
            table,
            read: BTreeSet::new(),
            problems_before: problems.len(),
            problems,
        }
    }

    pub(super) fn wrong(&mut self, field: &str, what: &str) {
        self.problems
            .push(Problem::new(self.at.clone(), format!("{field}: {what}")));
    }

    pub(super) fn value(&mut self, field: &'static str, presence: Presence) -> Option<&'t Value> {
        self.read.insert(field);
        let value = self.table.get(field);
        if value.is_none() && presence == Presence::Required {
            self.wrong(field, "is missing");
        }
        value
    }

    fn text(&mut self, field: &'static str, presence: Presence) -> Option<&'t str> {
        let text = self.value(field, presence)?.as_str();
        if text.is_none() {
            self.wrong(field, "must be a text in quotes");
        }
        text
    }

    pub(super) fn parsed<T>(&mut self, field: &'static str, presence: Presence) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        match self.text(field, presence)?.parse() {
            Ok(parsed) => Some(parsed),
            Err(wrong) => {
                self.wrong(field, &wrong.to_string());
                None
            }
        }
    }

    fn flag(&mut self, field: &'static str) -> Option<bool> {
        let flag = self.value(field, Presence::Optional)?.as_bool();
        if flag.is_none() {
            self.wrong(field, "must be true or false");
        }
        flag
    }

    fn word<T: Copy>(&mut self, field: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(field, Presence::Optional)?;
        let found = words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.wrong(field, &format!("must be one of {}", known.join(", ")));
        }
        found
    }

    fn weekdays(&mut self) -> BTreeSet<Weekday> {
        let mut weekdays = BTreeSet::new();
        let Some(value) = self.value("weekdays", Presence::Required) else {
            return weekdays;
        };
        let listed = value.as_array().map(Vec::as_slice).unwrap_or_default();
        for day in listed {
            match day.as_str().unwrap_or_default().parse() {
                Ok(day) => {
                    weekdays.insert(day);
                }
                Err(wrong) => self.wrong("weekdays", &wrong.to_string()),
            }
        }
        if listed.is_empty() {
            self.wrong("weekdays", "must list at least one weekday");
        }
        weekdays
    }

    fn tables(&mut self, field: &'static str) -> Vec<&'t Table> {
        let Some(value) = self.value(field, Presence::Optional) else {
            return Vec::new();
        };
        let listed = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let tables: Vec<&Table> = listed.iter().filter_map(Value::as_table).collect();
        if tables.len() != listed.len() || tables.is_empty() {
            self.wrong(field, &format!("must be written as [[{field}]]"));
        }
        if tables.len() > SESSIONS_MAX {
            self.wrong(field, &format!("at most {SESSIONS_MAX} are read"));
            return Vec::new();
        }
        tables
    }

    /// Reports the fields that nobody asked for; true if the whole table was right.
    pub(super) fn finish(mut self) -> bool {
        let unknown: Vec<String> = self
            .table
            .keys()
            .filter(|key| !self.read.contains(key.as_str()))
            .cloned()
            .collect();
        for key in unknown {
            let known: Vec<&str> = self.read.iter().copied().collect();
            let what = format!("is no known field; known are {}", known.join(", "));
            self.wrong(&key, &what);
        }
        self.problems.len() == self.problems_before
    }
}
