//! How a command ends: the exit codes that scripts rely on, and the failure that people read.

use std::fmt;
use std::process::ExitCode;

/// The exit codes. Their numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// Done and verified.
    Done,
    /// A fault of this program or of a node.
    Internal,
    /// Wrong usage, or a confirmation is missing.
    Usage,
    /// A check before the act failed; nothing was changed.
    PreCheck,
    /// Refused by policy, session or approval; nothing was changed.
    Refused,
    /// Nobody knows whether it was done: repeat with the same request id.
    Unknown,
    /// Done, with loss or degraded.
    Loss,
    /// What must be equal is not: wake someone.
    Mismatch,
    /// It is so already; nothing was changed.
    Already,
}

impl Exit {
    /// The number that the process ends with.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::PreCheck => 3,
            Self::Refused => 4,
            Self::Unknown => 5,
            Self::Loss => 6,
            Self::Mismatch => 7,
            Self::Already => 8,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what was asked, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What is wrong.
    pub what: String,
    /// What to do next, where that is known.
    pub next: Option<String>,
    /// The stable reason of a node's refusal, for scripts.
    pub reason: Option<String>,
}

impl Failure {
    /// A failure that says nothing more than what is wrong.
    #[must_use]
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            next: None,
            reason: None,
        }
    }

    /// Wrong usage.
    #[must_use]
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// A failed check before the act.
    #[must_use]
    pub fn pre_check(what: impl Into<String>) -> Self {
        Self::new(Exit::PreCheck, what)
    }

    /// A fault.
    #[must_use]
    pub fn internal(what: impl Into<String>) -> Self {
        Self::new(Exit::Internal, what)
    }

    /// Two things differ that must be equal.
    #[must_use]
    pub fn mismatch(what: impl Into<String>) -> Self {
        Self::new(Exit::Mismatch, what)
    }

    /// The same, with what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(next) = &self.next {
            write!(f, "\n  next: {next}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Names the file that could not be read or written.
pub(crate) fn file_failure(act: &str, path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::pre_check(format!("cannot {act} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_exit_has_its_number() {
        let codes: Vec<u8> = [
            Exit::Done,
            Exit::Internal,
            Exit::Usage,
            Exit::PreCheck,
            Exit::Refused,
            Exit::Unknown,
            Exit::Loss,
            Exit::Mismatch,
            Exit::Already,
        ]
        .into_iter()
        .map(Exit::code)
        .collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
