//! An online session: a window in which one centre serves (R15, R16, R18).

use serde::{Deserialize, Serialize};

use super::day::{Day, local};
use crate::UnixMs;
use crate::id::{CentreName, SessionId};

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// An ordinary day's work.
    Business,
    /// A connectivity test as the circular announces it (R51).
    ConnectivityTest,
    /// A drill of the clearing house's own.
    Drill,
}

impl Purpose {
    /// The word for it, as in the timetable file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Business => "business",
            Self::ConnectivityTest => "connectivity-test",
            Self::Drill => "drill",
        }
    }
}

/// Whether people may initiate 2FA in a session (R42). At the secondary an allowed initiation
/// comes with the warning that it will be discarded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initiation {
    /// They may.
    #[default]
    Allow,
    /// They may not.
    Deny,
}

/// A window in which one centre serves. It holds from `opens`, and no longer at `closes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Its name, unique in the calendar.
    pub id: SessionId,
    /// The centre that serves.
    pub centre: CentreName,
    /// The local day on which it is held.
    pub day: Day,
    /// First moment at which it serves.
    pub opens: UnixMs,
    /// First moment at which it serves no more.
    pub closes: UnixMs,
    /// What it is for.
    pub purpose: Purpose,
    /// What it is called, for people.
    #[serde(default)]
    pub title: Option<String>,
    /// The circular that announced it (R57).
    #[serde(default)]
    pub source: Option<String>,
    /// Whether CCMS's functions are open after a login, or "Function not available" shows (R27).
    pub business_functions_open: bool,
    /// Whether only enrolled participants may log in (R5).
    #[serde(default)]
    pub enrolled_only: bool,
    /// The last local day on which a participant is enrolled (R6); the session's own if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrol_by: Option<Day>,
    /// What people of a participant that is not enrolled are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_enrolled_text: Option<String>,
    /// The same in Traditional Chinese (R12).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_enrolled_text_zh_hant: Option<String>,
    /// Whether 2FA can be set up in it (R42).
    #[serde(default)]
    pub initiation: Initiation,
}

impl Session {
    /// Whether the session holds at `at`: `opens` is inside, `closes` is not (R15).
    #[must_use]
    pub fn holds(&self, at: UnixMs) -> bool {
        self.opens <= at && at < self.closes
    }

    /// The last local day on which a participant is enrolled for it, itself included (R6).
    #[must_use]
    pub fn last_day_to_enrol(&self) -> Day {
        self.enrol_by.unwrap_or(self.day)
    }

    /// Whether the two windows share a moment.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.opens < other.closes && other.opens < self.closes
    }

    /// The window for people, local and UTC (R14):
    /// `Sat 10 Jun 2023 18:00–20:00 HKT (10:00–12:00 UTC)`.
    #[must_use]
    pub fn window(&self) -> String {
        let clock = |at: UnixMs| {
            local(at).map_or_else(
                || "?".to_owned(),
                |local| local.strftime("%H:%M").to_string(),
            )
        };
        format!(
            "{} {}–{} HKT ({}–{} UTC)",
            self.day.long(),
            clock(self.opens),
            clock(self.closes),
            utc(self.opens),
            utc(self.closes),
        )
    }
}

/// The UTC time of day, `10:00`.
fn utc(at: UnixMs) -> String {
    let minutes = at.0 / 60_000;
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}
