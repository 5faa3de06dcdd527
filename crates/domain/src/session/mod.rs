//! The plan of a session: opening, close, rollover, abandonment (LINES.md, "The plan of a
//! session"). It stands in the main line's state; nodes' own files only follow it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

mod agreed;
mod plan;
mod rollover;
pub mod unplanned;

pub(crate) use agreed::operator;
pub(crate) use plan::{apply, planned};
pub(crate) use rollover::{DROPPED, drop_branch, give_up};

use crate::approval;
use crate::audit;
use crate::calendar;
use crate::digest::Digest;
use crate::encoding;
use crate::factor::Method;
use crate::id::{AccountId, NodeId, ParticipantId, SessionId};
use crate::line::LogId;
use crate::notice;
use crate::table::Record;
use crate::time::UnixMs;

/// Most finished plans that are kept; the oldest goes.
pub const PLANS_MAX: usize = 400;
/// Most changes that a branch's evidence names one by one, so that it fits into an entry.
pub const TOUCHED_MAX: usize = 20_000;
/// Longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 256;

/// Where a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// The boundary stands; the branch is being started. Only for the secondary.
    Opening,
    /// It is open: at the primary it serves; at the secondary its branch runs.
    Open,
    /// It has closed.
    Closed,
    /// The branch was discarded. Only for the secondary.
    RolledOver,
    /// The branch is given up. Only for the secondary.
    Abandoned,
}

/// The boundary of a secondary session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boundary {
    /// The entry.
    pub at: LogId,
    /// The main line's epoch.
    pub epoch: u64,
    /// The full digest of the state after it; known once a node that verified it says so.
    pub digest: Option<Digest>,
}

/// A session's plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The session as it stood in the calendar when it was opened.
    pub session: calendar::Session,
    /// Where the plan is.
    pub phase: Phase,
    /// When it opened, by the line's clock.
    pub opened_at: UnixMs,
    /// When it began to serve on this line, if it did.
    pub started_at: Option<UnixMs>,
    /// When it closed; none while it is open, and where a promotion dropped its branch before that.
    pub closed_at: Option<UnixMs>,
    /// Who approved, each with the signed statement, if it is a secondary session.
    pub approved_by: approval::By,
    /// The boundary, if it is a secondary session.
    pub boundary: Option<Boundary>,
    /// What was sealed at rollover.
    pub sealed: Option<Sealing>,
    /// That it was opened without the primary, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unplanned: Option<Box<unplanned::Unplanned>>,
}

impl Record for Plan {
    type Key = SessionId;
    const TABLE: &'static str = "plan";
    fn key(&self) -> SessionId {
        self.session.id.clone()
    }
}

impl Plan {
    /// The digest that approvals name.
    #[must_use]
    pub fn digest_of(session: &calendar::Session) -> Digest {
        Digest::of("tidemark plan", &[&encoding::encode(session)])
    }

    /// Whether a promotion dropped the branch and nothing of it is sealed yet. `epoch` is the main
    /// line's.
    #[must_use]
    pub fn awaits_evidence_of_dropped(&self, epoch: u64) -> bool {
        let is_of_older = self.boundary.is_some_and(|boundary| boundary.epoch < epoch);
        let is_open = |sealed: &Sealing| sealed.evidence.is_none();
        self.phase == Phase::Abandoned && is_of_older && self.sealed.as_ref().is_some_and(is_open)
    }

    /// Whether a promotion dropped the branch before its session had closed: that goes on, on the
    /// main line, where it stands in the timetable.
    #[must_use]
    pub fn goes_on_without_its_branch(&self) -> bool {
        self.phase == Phase::Abandoned && self.closed_at.is_none()
    }
}

/// What operators approve (S34).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Act {
    /// Opening a secondary session.
    Open(SessionId),
    /// Giving one up.
    Abandon(SessionId),
}

/// The approvals of an act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approvals {
    /// The act.
    pub act: Act,
    /// The digest of the plan that they approve.
    pub plan: Digest,
    /// Who, each with the signed statement.
    pub by: approval::By,
}

impl Record for Approvals {
    type Key = Act;
    const TABLE: &'static str = "approvals";
    fn key(&self) -> Act {
        self.act.clone()
    }
}

/// Whose access a change of the branch took away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Whose {
    /// One account's.
    Account(AccountId),
    /// All of a firm's people's.
    Participant(ParticipantId),
}

impl fmt::Display for Whose {
    /// An account's user id, or a firm's resource name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(f, "{id}"),
            Self::Participant(id) => write!(f, "participants/{id}"),
        }
    }
}

/// An account or firm that waits for an operator: a rollover that ran by itself found no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Whose.
    pub of: Whose,
    /// The items without an answer, each of its session.
    pub items: BTreeSet<(SessionId, u64)>,
}

impl Record for Hold {
    type Key = Whose;
    const TABLE: &'static str = "hold";
    fn key(&self) -> Whose {
        self.of.clone()
    }
}

/// A change of the branch that must be repeated on the main line, or waived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MustRepeat {
    /// The audit record's sequence number on the branch.
    pub sequence: u64,
    /// Whose.
    pub of: Whose,
    /// What was done.
    pub kind: audit::Repeat,
    /// Of which method, where the change was of one.
    pub method: Option<Method>,
    /// When.
    pub at: UnixMs,
    /// Who did it.
    pub by: String,
}

/// An operator's answer to an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It has been repeated on the main line: true of its state, or the rollover is refused.
    Repeated,
    /// It is not to be repeated.
    Waived {
        /// Why.
        reason: String,
    },
}

/// What a closed branch leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The session.
    pub session: SessionId,
    /// What it started from.
    pub boundary: LogId,
    /// The digest that it started from.
    pub genesis: Digest,
    /// The branch's closing entry.
    pub closed: LogId,
    /// The branch's clock then.
    pub closed_at: UnixMs,
    /// The head of the branch's audit chain.
    pub audit: audit::Head,
    /// The sequence number at which the branch's own records begin.
    pub audit_from: u64,
    /// The branch's account digest at its close.
    pub account: Digest,
    /// The branch's full digest at its close.
    pub full: Digest,
    /// The changes of accounts that are forgotten, by kind.
    pub forgotten: BTreeMap<audit::Kind, u64>,
    /// How many accounts they touched.
    pub accounts: u64,
    /// What must be repeated: the latest of each kind for each account or firm.
    pub must_repeat: Vec<MustRepeat>,
    /// Whose holders are told what was not carried forward, and when it was last changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub touched: BTreeMap<AccountId, BTreeMap<audit::Kind, UnixMs>>,
}

impl Evidence {
    /// Sums the branch's audit records up: `forgotten`, `accounts`, `must_repeat`, `touched`.
    pub fn count<'a>(&mut self, rows: impl Iterator<Item = &'a audit::Row>) {
        let mut accounts = BTreeSet::new();
        let mut items = BTreeMap::new();
        let mut touched = 0;
        for row in rows.filter(|row| row.is_change()) {
            *self.forgotten.entry(row.kind).or_insert(0) += 1;
            accounts.extend(&row.account);
            if let Some(account) = row.account.as_ref().filter(|_| notice::tells_of(row.kind))
                && touched < TOUCHED_MAX
            {
                let changes = self.touched.entry(account.clone()).or_default();
                if changes.insert(row.kind, row.at).is_none() {
                    touched += 1;
                }
            }
            let of = match (&row.account, &row.participant) {
                (Some(account), _) => Some(Whose::Account(account.clone())),
                (None, Some(firm)) => Some(Whose::Participant(firm.clone())),
                (None, None) => None,
            };
            if let (Some(kind), Some(of)) = (row.repeat, of) {
                // Who did it ten thousand times left one thing to repeat.
                let item = MustRepeat {
                    sequence: row.sequence,
                    of: of.clone(),
                    kind,
                    method: row.method,
                    at: row.at,
                    by: row.by.clone(),
                };
                items.insert((of, kind, row.method), item);
            }
        }
        self.accounts = accounts.len() as u64;
        self.must_repeat = items.into_values().collect();
        self.must_repeat.sort_by_key(|item| item.sequence);
    }
}

/// The evidence as the main line sealed it, with the answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealing {
    /// The evidence; none when the session was abandoned without.
    pub evidence: Option<Evidence>,
    /// The answers, by item.
    pub replies: BTreeMap<u64, Reply>,
    /// Items without an answer: their accounts are held.
    pub held: BTreeSet<u64>,
    /// When, by the main line's clock.
    pub at: UnixMs,
    /// The entry.
    pub log: LogId,
    /// The gap in the branch's audit records that was accepted by name.
    pub gap_accepted: Option<String>,
}

/// What is asked about sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// An operator approves an act on the plan as it stands.
    Approve {
        /// The act.
        act: Act,
        /// The digest of the plan that the operator saw.
        plan: Digest,
    },
    /// Opens a session at the secondary: this entry is the boundary.
    Open {
        /// Which.
        session: SessionId,
    },
    /// Nodes of the secondary have verified the genesis: the branch runs.
    ConfirmOpen {
        /// Which.
        session: SessionId,
        /// The digest that they verified.
        digest: Digest,
        /// Who did: at least a majority of the centre.
        verified: Vec<NodeId>,
    },
    /// The branch's first entry: turns its own fence off.
    BranchStart {
        /// Which.
        session: SessionId,
        /// The digest that it starts from.
        genesis: Digest,
    },
    /// The first entry of a branch that was opened without the primary.
    BeginUnplanned {
        /// The order.
        order: Box<unplanned::Order>,
    },
    /// The main line takes over what was opened without the primary. By the node that leads.
    Adopt {
        /// The order.
        order: Box<unplanned::Order>,
        /// What became of the entries that it used.
        found: unplanned::Found,
    },
    /// The session begins to serve on this line; the timetable triggers it.
    Start {
        /// Which.
        session: SessionId,
    },
    /// Closes the session on this line.
    Close {
        /// Which.
        session: SessionId,
    },
    /// Discards the branch.
    RollOver {
        /// Which.
        session: SessionId,
        /// What it leaves behind.
        evidence: Box<Evidence>,
        /// The answers, by item.
        replies: BTreeMap<u64, Reply>,
        /// The gap in the branch's audit records that is accepted, if there is one.
        gap_accepted: Option<String>,
    },
    /// Gives a session up whose branch is lost.
    Abandon {
        /// Which.
        session: SessionId,
        /// Nodes that durably refused to start the branch.
        refused: Vec<NodeId>,
        /// Why.
        reason: String,
    },
    /// Answers items that a rollover had to hold.
    AnswerHolds {
        /// Which session.
        session: SessionId,
        /// The answers, by item.
        replies: BTreeMap<u64, Reply>,
    },
}

impl Command {
    pub(crate) fn kind(&self) -> audit::Kind {
        match self {
            Self::Approve { .. } => audit::Kind::ActApproved,
            Self::Open { .. } => audit::Kind::SessionOpened,
            Self::ConfirmOpen { .. } => audit::Kind::SessionConfirmed,
            Self::BranchStart { .. } | Self::BeginUnplanned { .. } => audit::Kind::BranchStarted,
            Self::Adopt { .. } => audit::Kind::SessionAdopted,
            Self::Start { .. } => audit::Kind::SessionStarted,
            Self::Close { .. } => audit::Kind::SessionClosed,
            Self::RollOver { .. } => audit::Kind::RolledOver,
            Self::Abandon { .. } => audit::Kind::SessionAbandoned,
            Self::AnswerHolds { .. } => audit::Kind::HoldsAnswered,
        }
    }

    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Approve { .. } => "Approve",
            Self::Open { .. } => "OpenSession",
            Self::ConfirmOpen { .. } => "ConfirmOpen",
            Self::BranchStart { .. } => "BranchStart",
            Self::BeginUnplanned { .. } => "BeginUnplanned",
            Self::Adopt { .. } => "AdoptSession",
            Self::Start { .. } => "StartSession",
            Self::Close { .. } => "CloseSession",
            Self::RollOver { .. } => "RollOver",
            Self::Abandon { .. } => "AbandonSession",
            Self::AnswerHolds { .. } => "AnswerHolds",
        }
    }
}
