//! How far a long export or check has come, told on stderr now and then.

use std::time::{Duration, Instant};

use crate::output::Output;

/// What takes less is not told of.
const TOLD_EVERY: Duration = Duration::from_secs(2);
const MIB: u64 = 1024 * 1024;

/// Bytes of a trail that went by.
pub(super) struct Progress {
    what: String,
    output: Output,
    bytes: u64,
    begun: Instant,
    told: Instant,
}

impl Progress {
    pub(super) fn new(what: &str, output: Output) -> Self {
        let now = Instant::now();
        Self {
            what: what.to_owned(),
            output,
            bytes: 0,
            begun: now,
            told: now,
        }
    }

    /// Counts a part, and says how far it is.
    pub(super) fn took(&mut self, bytes: usize) {
        if let Some(text) = self.told_at(bytes, Instant::now()) {
            self.output.talk(&text);
        }
    }

    fn told_at(&mut self, bytes: usize, now: Instant) -> Option<String> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if now.duration_since(self.told) < TOLD_EVERY {
            return None;
        }
        self.told = now;
        let (mib, seconds) = (self.bytes / MIB, now.duration_since(self.begun).as_secs());
        Some(format!("{} {mib} MiB so far, {seconds} s", self.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    #[test]
    fn long_work_is_told_of_now_and_then_and_short_work_never() {
        let mut progress = Progress::new("exported", Output::new(Format::Table));
        let begun = progress.begun;
        let mib = 1024 * 1024;
        assert_eq!(progress.told_at(3 * mib, begun), None);
        let late = begun + TOLD_EVERY;
        let told = progress.told_at(2 * mib, late);
        assert_eq!(told.as_deref(), Some("exported 5 MiB so far, 2 s"));
        assert_eq!(progress.told_at(mib, late), None, "told a moment ago");
    }
}
