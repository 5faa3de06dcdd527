//! Days, weekdays and times of day, as the clearing house's calendar writes them. No clock: which
//! day it is now is the caller's knowledge.

use std::fmt;
use std::str::FromStr;

use jiff::civil;
use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Serialize};

use crate::UnixMs;
use crate::time::ZONE;

/// Why a text is no day, weekday or time of day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Not a date in the form that was asked for.
    #[error("\"{text}\" is not a date: write it as {form}")]
    Date {
        /// What was written.
        text: String,
        /// What would have been right.
        form: &'static str,
    },
    /// The heading's weekday is not the date's (R13).
    #[error("{date} was a {actual}, not a {stated}: correct the date or the weekday")]
    Weekday {
        /// The date, as the heading writes it.
        date: String,
        /// The weekday of that date.
        actual: Weekday,
        /// The weekday that the heading states.
        stated: Weekday,
    },
    /// Not a weekday.
    #[error("\"{0}\" is not a weekday: write it as Mon or Monday")]
    NoWeekday(String),
    /// Not a time of day.
    #[error("\"{0}\" is not a time of day: write it as 18:00")]
    Time(String),
}

/// A weekday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    /// Monday.
    Monday,
    /// Tuesday.
    Tuesday,
    /// Wednesday.
    Wednesday,
    /// Thursday.
    Thursday,
    /// Friday.
    Friday,
    /// Saturday.
    Saturday,
    /// Sunday.
    Sunday,
}

impl Weekday {
    /// All seven, Monday first.
    pub const ALL: [Self; 7] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];

    /// The English name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Monday => "Monday",
            Self::Tuesday => "Tuesday",
            Self::Wednesday => "Wednesday",
            Self::Thursday => "Thursday",
            Self::Friday => "Friday",
            Self::Saturday => "Saturday",
            Self::Sunday => "Sunday",
        }
    }

    /// Whether the clearing house never works on it.
    #[must_use]
    pub fn is_weekend(self) -> bool {
        match self {
            Self::Saturday | Self::Sunday => true,
            Self::Monday | Self::Tuesday | Self::Wednesday | Self::Thursday | Self::Friday => false,
        }
    }
}

impl fmt::Display for Weekday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Weekday {
    type Err = Wrong;

    /// Reads the English name or its first three letters, in any case.
    fn from_str(text: &str) -> Result<Self, Wrong> {
        Self::ALL
            .into_iter()
            .find(|day| {
                let name = day.name();
                name.eq_ignore_ascii_case(text)
                    || name
                        .get(..3)
                        .is_some_and(|short| short.eq_ignore_ascii_case(text))
            })
            .ok_or_else(|| Wrong::NoWeekday(text.to_owned()))
    }
}

impl From<civil::Weekday> for Weekday {
    fn from(day: civil::Weekday) -> Self {
        match day {
            civil::Weekday::Monday => Self::Monday,
            civil::Weekday::Tuesday => Self::Tuesday,
            civil::Weekday::Wednesday => Self::Wednesday,
            civil::Weekday::Thursday => Self::Thursday,
            civil::Weekday::Friday => Self::Friday,
            civil::Weekday::Saturday => Self::Saturday,
            civil::Weekday::Sunday => Self::Sunday,
        }
    }
}

/// A calendar date in the service's zone, written `2023-06-12`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(civil::Date);

/// The service's zone. The fallback is what Hong Kong has kept since 1979.
fn zone() -> TimeZone {
    TimeZone::get(ZONE).unwrap_or_else(|_| TimeZone::fixed(Offset::constant(8)))
}

/// The service's civil time at `at`; none past the year 9999.
pub(super) fn local(at: UnixMs) -> Option<civil::DateTime> {
    let stamp = jiff::Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()?;
    Some(stamp.to_zoned(zone()).datetime())
}

impl Day {
    /// The day with this year, month and day of the month, where there is one.
    #[must_use]
    pub fn new(year: i16, month: i8, day: i8) -> Option<Self> {
        civil::Date::new(year, month, day).ok().map(Self)
    }

    /// The local day at a time (R14); none past the year 9999.
    #[must_use]
    pub fn of(at: UnixMs) -> Option<Self> {
        local(at).map(|local| Self(local.date()))
    }

    /// Its weekday.
    #[must_use]
    pub fn weekday(self) -> Weekday {
        self.0.weekday().into()
    }

    /// Its year.
    #[must_use]
    pub fn year(self) -> i16 {
        self.0.year()
    }

    /// The day after; none after the last day of 9999.
    #[must_use]
    pub fn tomorrow(self) -> Option<Self> {
        self.0.tomorrow().ok().map(Self)
    }

    /// The day before; none before the first day that dates can name.
    #[must_use]
    pub fn yesterday(self) -> Option<Self> {
        self.0.yesterday().ok().map(Self)
    }

    /// The moment of a local time of day on this day (R14); none before 1970.
    #[must_use]
    pub fn at(self, time: TimeOfDay) -> Option<UnixMs> {
        let zoned = self.0.to_datetime(time.0).to_zoned(zone()).ok()?;
        u64::try_from(zoned.timestamp().as_millisecond())
            .ok()
            .map(UnixMs)
    }

    /// The moment at which the day begins; none before 1970.
    #[must_use]
    pub fn start(self) -> Option<UnixMs> {
        self.at(TimeOfDay(civil::Time::midnight()))
    }

    /// For people: `Mon 12 Jun 2023`.
    #[must_use]
    pub fn long(self) -> String {
        self.0.strftime("%a %-d %b %Y").to_string()
    }

    /// As a heading says it: `10 June 2023 (Saturday)`.
    #[must_use]
    pub fn heading(self) -> String {
        self.0.strftime("%-d %B %Y (%A)").to_string()
    }

    /// Reads a heading such as `10 June 2023 (Saturday) – Post-release connectivity test`: the
    /// day, and the title if there is one.
    ///
    /// # Errors
    /// `Wrong` if it is no date, or if the weekday is not that date's (R13).
    pub fn from_heading(heading: &str) -> Result<(Self, Option<String>), Wrong> {
        const FORM: &str = "10 June 2023 (Saturday)";
        let malformed = || Wrong::Date {
            text: heading.to_owned(),
            form: FORM,
        };
        let (date, rest) = heading.split_once('(').ok_or_else(malformed)?;
        let (stated, rest) = rest.split_once(')').ok_or_else(malformed)?;
        let date = date.split_whitespace().collect::<Vec<_>>().join(" ");
        let day = civil::Date::strptime("%d %B %Y", &date).map_err(|_| malformed())?;
        let day = Self(day);
        let stated: Weekday = stated.trim().parse()?;
        if day.weekday() != stated {
            return Err(Wrong::Weekday {
                date,
                actual: day.weekday(),
                stated,
            });
        }
        let rest = rest.trim();
        let title = rest.trim_start_matches(['-', '–', '—']).trim();
        if title.len() == rest.len() && !rest.is_empty() {
            return Err(malformed());
        }
        Ok((day, (!title.is_empty()).then(|| title.to_owned())))
    }
}

impl FromStr for Day {
    type Err = Wrong;

    /// Reads `2023-06-12`, and nothing looser.
    fn from_str(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::Date {
            text: text.to_owned(),
            form: "2023-06-12",
        };
        let day = Self(civil::Date::strptime("%Y-%m-%d", text).map_err(|_| wrong())?);
        // The lenient reader takes 2023-6-12 too; a day has one spelling.
        if day.to_string() == text {
            Ok(day)
        } else {
            Err(wrong())
        }
    }
}

impl TryFrom<String> for Day {
    type Error = Wrong;
    fn try_from(text: String) -> Result<Self, Wrong> {
        text.parse()
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A local time of day, written `18:00`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(civil::Time);

impl FromStr for TimeOfDay {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::Time(text.to_owned());
        let time = Self(civil::Time::strptime("%H:%M", text).map_err(|_| wrong())?);
        if time.to_string() == text {
            Ok(time)
        } else {
            Err(wrong())
        }
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = Wrong;
    fn try_from(text: String) -> Result<Self, Wrong> {
        text.parse()
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0.hour(), self.0.minute())
    }
}

impl fmt::Debug for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn the_annex_s_own_heading_is_refused_naming_both_facts_r13() {
        let refused = Day::from_heading("10 June 2022 (Saturday) – Post-release connectivity test");
        assert_eq!(
            refused.unwrap_err().to_string(),
            "10 June 2022 was a Friday, not a Saturday: correct the date or the weekday"
        );
    }

    #[test]
    fn the_annex_s_heading_with_the_body_s_year_is_read() {
        let (day, title) =
            Day::from_heading("10 June 2023 (Saturday) – Post-release connectivity test").unwrap();
        assert_eq!(day.to_string(), "2023-06-10");
        assert_eq!(title.as_deref(), Some("Post-release connectivity test"));
        assert_eq!(Day::from_heading("2 June 2023 (Fri)").unwrap().1, None);
    }

    #[test]
    fn a_heading_that_is_no_date_is_refused() {
        for heading in [
            "",
            "10 June 2023",
            "31 June 2023 (Saturday)",
            "10 Juni 2023 (Saturday)",
            "10 June 2023 (Sonnabend)",
            "10 June 2023 (Saturday) and more",
        ] {
            assert!(Day::from_heading(heading).is_err(), "{heading}");
        }
    }

    #[test]
    fn a_day_and_a_time_have_one_spelling_each() {
        assert!("2023-06-12".parse::<Day>().is_ok());
        for bad in ["2023-6-12", "12/06/2023", "2023-02-29", " 2023-06-12", ""] {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
        assert!("08:05".parse::<TimeOfDay>().is_ok());
        for bad in ["8:05", "24:00", "18.00", "18:00:00", ""] {
            assert!(bad.parse::<TimeOfDay>().is_err(), "{bad}");
        }
    }

    #[test]
    fn session_1_opens_at_10_utc_r14() {
        let opens = Day::new(2023, 6, 10)
            .unwrap()
            .at("18:00".parse().unwrap())
            .unwrap();
        assert_eq!(opens, UnixMs(1_686_391_200_000));
        assert_eq!(Day::of(opens).unwrap().to_string(), "2023-06-10");
        // 16:00Z is midnight in Hong Kong.
        let midnight = UnixMs(opens.0 + 6 * 3_600_000);
        assert_eq!(Day::of(midnight).unwrap().to_string(), "2023-06-11");
        assert_eq!(
            Day::of(midnight.minus(1)).unwrap().to_string(),
            "2023-06-10"
        );
    }
}
