//! The timetable as the file that would set it: what is there can be taken, changed and set again.

use toml::{Table, Value};

use super::{Calendar, Day, Initiation, Purpose, Session, WeeklyRule, day, link};
use crate::UnixMs;

impl Calendar {
    /// The timetable file that yields this calendar's weekly rules, sessions and links;
    /// holidays apart.
    #[must_use]
    pub fn timetable_file(&self) -> String {
        let weekly = self.weekly.iter().map(weekly);
        let days = self.days_named.iter().map(|day| self.day(*day));
        let mut file = Table::new();
        for (name, tables) in [
            ("weekly", weekly.collect::<Vec<_>>()),
            ("day", days.collect()),
            ("link", self.links.iter().map(link::written).collect()),
        ] {
            if !tables.is_empty() {
                file.insert(name.to_owned(), Value::Array(tables));
            }
        }
        file.to_string()
    }

    fn day(&self, day: Day) -> Value {
        let mut table = Table::new();
        set(&mut table, "heading", day.heading());
        let sessions = self.timetable.iter().filter(|session| session.day == day);
        let sessions: Vec<Value> = sessions.map(session).collect();
        if !sessions.is_empty() {
            set(&mut table, "session", sessions);
        }
        Value::Table(table)
    }
}

fn set(table: &mut Table, name: &str, value: impl Into<Value>) {
    table.insert(name.to_owned(), value.into());
}

fn weekly(rule: &WeeklyRule) -> Value {
    let mut table = Table::new();
    set(&mut table, "id", rule.id.as_str());
    if let Some(label) = &rule.label {
        set(&mut table, "label", label.as_str());
    }
    let weekdays = rule.weekdays.iter().map(|day| Value::from(day.name()));
    set(&mut table, "weekdays", weekdays.collect::<Vec<_>>());
    set(&mut table, "opens", rule.opens.to_string());
    set(&mut table, "closes", rule.closes.to_string());
    if let Some(centre) = &rule.centre {
        set(&mut table, "centre", centre.as_str());
    }
    Value::Table(table)
}

fn session(session: &Session) -> Value {
    let mut table = Table::new();
    set(&mut table, "id", session.id.as_str());
    if let Some(title) = &session.title {
        set(&mut table, "title", title.as_str());
    }
    set(&mut table, "centre", session.centre.as_str());
    set(&mut table, "opens", time_of_day(session.opens));
    set(&mut table, "closes", time_of_day(session.closes));
    set(&mut table, "purpose", session.purpose.word());
    if let Some(source) = &session.source {
        set(&mut table, "source", source.as_str());
    }
    let open = session.business_functions_open;
    if open != (session.purpose == Purpose::Business) {
        set(&mut table, "business_functions_open", open);
    }
    if session.enrolled_only {
        set(&mut table, "enrolled_only", true);
    }
    if let Some(day) = session.enrol_by {
        set(&mut table, "enrol_by", day.to_string());
    }
    if let Some(text) = &session.not_enrolled_text {
        set(&mut table, "not_enrolled_text", text.as_str());
    }
    if let Some(text) = &session.not_enrolled_text_zh_hant {
        set(&mut table, "not_enrolled_text_zh_hant", text.as_str());
    }
    if session.initiation == Initiation::Deny {
        set(&mut table, "initiation", "deny");
    }
    Value::Table(table)
}

fn time_of_day(at: UnixMs) -> String {
    day::local(at).map_or_else(String::new, |local| local.strftime("%H:%M").to_string())
}
