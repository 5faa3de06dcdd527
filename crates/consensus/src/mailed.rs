//! Which branches have no notice left to mail. A branch is dropped once its notices have left, so
//! that a close does not swallow them (LOGIN.md, "Mail"); but never later than `WAIT_MAX`.
//!
//! What its leader mailed after the close is in no log: nodes tell each other. Deliberately absent:
//! the mailing itself, which is the edge's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{NodeId, SessionId};
use tokio::time::Instant;

use crate::node::Node;

/// How long a branch that is over is kept for its notices, by the real clock.
pub const WAIT_MAX: Duration = Duration::from_secs(600);
/// Most sessions that are remembered; the first by name goes, whose branch went long ago.
const SESSIONS_MAX: usize = 16;

#[derive(Debug, Default)]
struct Known {
    /// Whether somebody mails notices on this node.
    attended: bool,
    /// Whose notices have left.
    mailed: BTreeSet<SessionId>,
    /// Since when this node waits for them.
    waits: BTreeMap<SessionId, Instant>,
}

/// What this node knows of it.
#[derive(Debug)]
pub(crate) struct Mailed(Mutex<Known>);

impl Mailed {
    pub(crate) fn new(attended: bool) -> Self {
        Self(Mutex::new(Known {
            attended,
            ..Known::default()
        }))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the session's branch has been waited for long enough; from the first question on.
    fn waited(&self, session: &SessionId, now: Instant) -> bool {
        let mut known = self.known();
        let since = known.waits.entry(session.clone()).or_insert(now);
        now.saturating_duration_since(*since) >= WAIT_MAX
    }
}

impl Node {
    /// Says that the branch's notices have left, or that there are none.
    pub fn note_mailed(&self, session: &SessionId) {
        let mut known = self.inner.mailed.known();
        known.waits.remove(session);
        known.mailed.insert(session.clone());
        while known.mailed.len() > SESSIONS_MAX {
            known.mailed.pop_first();
        }
    }

    /// The sessions whose notices have left, as far as this node knows.
    pub(crate) fn mailed(&self) -> Vec<SessionId> {
        self.inner.mailed.known().mailed.iter().cloned().collect()
    }

    /// Whether the branch, which is over, need not be kept for its notices.
    pub(crate) fn needs_no_mail(
        &self,
        session: &SessionId,
        voters: impl IntoIterator<Item = NodeId>,
    ) -> bool {
        if !self.inner.mailed.known().attended || self.mailed().contains(session) {
            return true;
        }
        let said = |node: NodeId| {
            let heard = self.heard().from(node);
            let mut mailed = heard.into_iter().flat_map(|(_, status)| status.mailed);
            mailed.any(|of| of == session.as_str())
        };
        if voters.into_iter().any(said) {
            // Who is asked next may not reach the one that said it.
            self.note_mailed(session);
            return true;
        }
        let waited = self.inner.mailed.waited(session, Instant::now());
        if waited {
            tracing::error!(%session, "the branch goes though not all of its notices have left");
        }
        waited
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_kept_for_its_mail_for_ten_minutes_at_most() {
        let mailed = Mailed::new(true);
        let session = SessionId::parse("S2").unwrap();
        let began = Instant::now();
        assert!(!mailed.waited(&session, began));
        let almost = WAIT_MAX.checked_sub(Duration::from_secs(1)).unwrap();
        assert!(!mailed.waited(&session, began + almost));
        assert!(mailed.waited(&session, began + WAIT_MAX));
    }
}
