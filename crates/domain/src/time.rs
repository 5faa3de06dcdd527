//! Time as the log knows it. The leader stamps it; nothing here reads a clock.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The zone of the timetable and of everything shown to people (R14).
pub const ZONE: &str = "Asia/Hong_Kong";

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// This time and `ms` milliseconds; the latest time there is, when that would overflow.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// This time less `ms` milliseconds; 1970 when that would be before it.
    #[must_use]
    pub fn minus(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to this time; 0 when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for UnixMs {
    /// Local time of the service with its offset, for people: `2023-06-10 18:00:00+08:00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = i64::try_from(self.0)
            .ok()
            .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
            .and_then(|stamp| stamp.in_tz(ZONE).ok());
        match shown {
            Some(zoned) => write!(f, "{}", zoned.strftime("%Y-%m-%d %H:%M:%S%:z")),
            None => write!(f, "{} ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_hong_kong_r14() {
        // 10:00Z is 18:00 in Hong Kong.
        assert_eq!(
            UnixMs(1_686_391_200_000).to_string(),
            "2023-06-10 18:00:00+08:00"
        );
    }
}
