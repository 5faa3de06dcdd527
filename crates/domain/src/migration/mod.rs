//! Migration from smartcards to 2FA (R1, R2): go-live as dated, approvable, postponable data; the
//! methods of the service, of a firm and of an account; and who is enrolled for a session (R5, R6).
//!
//! Nothing here is switched by code or by a timer: whether a method is on is asked of the state at
//! each login, with its time. Deliberately absent: accounts' factors, which no switch touches, so
//! that a card works again when go-live is postponed (R3).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

mod decide;

pub(crate) use decide::apply;

use crate::account::Account;
use crate::approval;
use crate::audit::Kind;
use crate::calendar::{Day, Session};
use crate::factor::Method;
use crate::id::{ParticipantId, SessionId};
use crate::outcome::Rejection;
use crate::state::State;
use crate::table::{Expires, Record};
use crate::time::UnixMs;

/// Most changes that wait for a second operator.
pub const PROPOSALS_MAX: usize = 10_000;
/// Most sessions that a firm is enrolled for.
pub const ENROLMENTS_MAX: usize = 200;
/// Longest reference of the regulator's approval, in bytes.
pub const REFERENCE_BYTES_MAX: usize = 256;

/// Whether a method is on, and from when on that changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Switch {
    /// On.
    #[default]
    On,
    /// Off at once. It is kept with the time at which it was carried out.
    Off,
    /// Off from this time on.
    OffFrom(UnixMs),
    /// On from this time on, and off before.
    OnFrom(UnixMs),
}

impl Switch {
    /// That the method is off at `now`, if it is.
    #[must_use]
    pub fn off(self, method: Method, now: UnixMs) -> Option<Rejection> {
        let off = |from, until| {
            Some(Rejection::MethodOff {
                method,
                from,
                until,
            })
        };
        match self {
            Self::Off => off(None, None),
            Self::OffFrom(from) if from <= now => off(Some(from), None),
            Self::OnFrom(until) if now < until => off(None, Some(until)),
            Self::On | Self::OffFrom(_) | Self::OnFrom(_) => None,
        }
    }

    /// The switch as it is kept.
    pub(crate) fn carried_out(self, now: UnixMs) -> Self {
        match self {
            Self::Off => Self::OffFrom(now),
            Self::On | Self::OffFrom(_) | Self::OnFrom(_) => self,
        }
    }

    /// Whether asking for `asked` at `now` would change nothing.
    pub(crate) fn is_so(self, asked: Self, now: UnixMs) -> bool {
        match (asked, self) {
            (Self::Off, Self::OffFrom(from)) => from <= now,
            (Self::On, Self::OnFrom(from)) => from <= now,
            (asked, kept) => asked == kept,
        }
    }
}

/// The switches of both methods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Methods {
    /// Smartcard and the card's password.
    pub smartcard: Switch,
    /// Password and one-time password.
    pub otp: Switch,
}

impl Methods {
    /// The method's switch.
    #[must_use]
    pub fn get(&self, method: Method) -> Switch {
        match method {
            Method::Smartcard => self.smartcard,
            Method::Otp => self.otp,
        }
    }

    pub(crate) fn set(&mut self, method: Method, switch: Switch) {
        match method {
            Method::Smartcard => self.smartcard = switch,
            Method::Otp => self.otp = switch,
        }
    }

    /// Whether nothing was ever switched off.
    #[must_use]
    pub fn untouched(&self) -> bool {
        *self == Self::default()
    }
}

/// The day from whose 00:00 on smartcards are refused, if the regulator has approved it by then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoLive {
    /// The day, in Hong Kong.
    pub date: Day,
    /// The regulator's reference; none as long as it has not approved this day.
    pub approval: Option<String>,
}

/// What holds for the whole service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// Go-live, if it is planned.
    pub go_live: Option<GoLive>,
    /// Whether one-time passwords are on at all (R55: installed is not switched on).
    pub otp: Switch,
}

impl Migration {
    /// That the method is off for everybody at `now`, if it is.
    #[must_use]
    pub fn off(&self, method: Method, now: UnixMs) -> Option<Rejection> {
        match method {
            Method::Otp => self.otp.off(method, now),
            Method::Smartcard => {
                let go_live = self.go_live.as_ref()?;
                go_live.approval.as_ref()?;
                Switch::OffFrom(go_live.date.start()?).off(method, now)
            }
        }
    }

    /// The day that has begun without the regulator's approval, if one has: nothing was switched.
    #[must_use]
    pub fn unapproved(&self, now: UnixMs) -> Option<Day> {
        let go_live = self.go_live.as_ref()?;
        let begun = go_live.date.start().is_some_and(|start| start <= now);
        (begun && go_live.approval.is_none()).then_some(go_live.date)
    }
}

/// On which terms a firm's people log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The firm.
    pub participant: ParticipantId,
    /// Its methods.
    pub methods: Methods,
    /// The sessions that it is enrolled for.
    pub enrolled: BTreeSet<SessionId>,
}

impl Record for Terms {
    type Key = ParticipantId;
    const TABLE: &'static str = "terms";
    fn key(&self) -> ParticipantId {
        self.participant.clone()
    }
}

impl Terms {
    /// The terms of a firm about which nothing was said.
    #[must_use]
    pub fn new(participant: ParticipantId) -> Self {
        Self {
            participant,
            methods: Methods::default(),
            enrolled: BTreeSet::new(),
        }
    }
}

/// Whose method two operators switch. One account's goes off by one person at once
/// (`account::Command::DisableMethod`), and on by a change request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    /// Everybody's.
    Service,
    /// A firm's people's.
    Participant(ParticipantId),
}

/// What two operators say alike before it is carried out (S34).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Go-live gets its first date.
    Schedule {
        /// The day.
        date: Day,
    },
    /// The regulator has approved the date.
    Approve {
        /// The day that it approved.
        date: Day,
        /// Its reference.
        reference: String,
    },
    /// Go-live gets another date, which wants an approval of its own.
    Postpone {
        /// The day.
        date: Day,
    },
    /// There will be no go-live, or none any more: cards are on again.
    Withdraw,
    /// A method is switched.
    Switch {
        /// Whose.
        of: Subject,
        /// Which.
        method: Method,
        /// How.
        switch: Switch,
    },
}

impl Change {
    /// What it is about.
    #[must_use]
    pub fn topic(&self) -> Topic {
        match self {
            Self::Schedule { .. }
            | Self::Approve { .. }
            | Self::Postpone { .. }
            | Self::Withdraw => Topic::GoLive,
            Self::Switch { of, method, .. } => Topic::Method(of.clone(), *method),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Schedule { .. }
            | Self::Approve { .. }
            | Self::Postpone { .. }
            | Self::Withdraw => Kind::GoLiveSet,
            Self::Switch { .. } => Kind::MethodsSet,
        }
    }
}

/// What a change is about: one waits for a second operator at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Topic {
    /// Go-live.
    GoLive,
    /// A method of somebody.
    Method(Subject, Method),
}

/// A change that too few operators have said yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// What it is about.
    pub topic: Topic,
    /// What was said.
    pub change: Change,
    /// By whom, each with the signed statement.
    pub by: approval::By,
    /// When it is forgotten.
    pub ends_at: UnixMs,
}

impl Record for Proposal {
    type Key = Topic;
    const TABLE: &'static str = "migration proposal";
    fn key(&self) -> Topic {
        self.topic.clone()
    }
}

impl Expires for Proposal {
    fn expires(&self) -> UnixMs {
        self.ends_at
    }
}

/// Whether a firm is to be enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enrolment {
    /// It is, until the session's last day for it.
    Enrolled,
    /// It is not.
    Withdrawn,
}

/// What is asked about the migration. All of it is the main line's, by operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// An operator says a change. It is carried out once enough have said the same.
    Say {
        /// What.
        change: Change,
        /// Why, for the record.
        reason: String,
    },
    /// Enrols a firm for a session, or takes that back.
    Enrol {
        /// The firm.
        participant: ParticipantId,
        /// The session.
        session: SessionId,
        /// Which of the two.
        wanted: Enrolment,
    },
}

impl Command {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Say { .. } => Kind::MigrationProposed,
            Self::Enrol { .. } => Kind::EnrolmentSet,
        }
    }

    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Say { .. } => "SayMigration",
            Self::Enrol { .. } => "Enrol",
        }
    }
}

/// Whether a login by the method can be at `now` at all: a fact of the whole service, told to
/// everybody before anything is asked of them (LOGIN.md).
///
/// # Errors
/// `MethodOff`, or `RevocationsOverdue` for cards.
pub fn admit(state: &State, method: Method, now: UnixMs) -> Result<(), Rejection> {
    if let Some(off) = state.migration().off(method, now) {
        return Err(off);
    }
    match method {
        Method::Smartcard => crate::revocation::admit(state, now),
        Method::Otp => Ok(()),
    }
}

/// Why this account cannot log in by the method in the session, if it cannot: told only after one
/// of its factors was proved.
pub(crate) fn refusal(
    state: &State,
    account: &Account,
    method: Method,
    session: &Session,
    now: UnixMs,
) -> Option<Rejection> {
    let terms = state.terms(&account.participant);
    let of_firm = || terms.and_then(|terms| terms.methods.get(method).off(method, now));
    let off = account.methods.get(method).off(method, now);
    let enrolled = terms.is_some_and(|terms| terms.enrolled.contains(&session.id));
    off.or_else(of_firm).or_else(|| {
        (session.enrolled_only && !enrolled).then(|| Rejection::NotEnrolled {
            text: session.not_enrolled_text.clone(),
            text_zh_hant: session.not_enrolled_text_zh_hant.clone(),
        })
    })
}
