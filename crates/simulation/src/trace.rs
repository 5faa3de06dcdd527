//! What happened, in order, and the hash of it: two runs of one seed have the same.

use std::hash::{DefaultHasher, Hasher as _};

/// The trace of a run.
pub(crate) struct Trace {
    hash: DefaultHasher,
    shown: bool,
    lines: u64,
}

impl Trace {
    pub(crate) fn new(shown: bool) -> Self {
        Self {
            // Without a key of the process: the same in every one.
            hash: DefaultHasher::new(),
            shown,
            lines: 0,
        }
    }

    /// Notes what happened at this time.
    pub(crate) fn note(&mut self, at_ms: u64, what: &str) {
        let line = format!("{at_ms:>7} {what}\n");
        if self.shown {
            print!("{line}");
        }
        self.hash.write(line.as_bytes());
        self.lines += 1;
    }

    /// The hash of all lines so far, and their number.
    pub(crate) fn end(&self) -> (String, u64) {
        (format!("{:016x}", self.hash.finish()), self.lines)
    }
}
