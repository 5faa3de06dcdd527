//! Notices: what people are told by mail of what became of their accounts (S28).
//!
//! The entry that makes a change puts the notice: it follows from the difference between the
//! account before and after, so that no change can forget its own. A node that leads the line mails
//! it and says so; until then it stands here, whatever crashes. A branch starts with none, and what
//! stands on it goes with it. Deliberately absent: texts, and when a notice is mailed. They are the
//! edge's.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::apply::{Context, Effect};
use crate::audit::{self, Event};
use crate::digest::SetHash;
use crate::envelope::Actor;
use crate::factor::Method;
use crate::id::{AccountId, SessionId};
use crate::line::LogId;
use crate::outcome::{Answer, Rejection};
use crate::state::State;
use crate::table::{Expires, Expiring, Record, Table};
use crate::time::UnixMs;

mod differences;
mod remind;

pub use remind::{REMINDED_MAX, REMINDERS_ROOM, is_to_be_reminded};

/// Most notices that wait; the oldest goes, and is counted.
pub const NOTICES_MAX: usize = 100_000;
/// Most notices that one entry settles.
pub const SETTLED_MAX: usize = 256;
/// The window in which notices to one person are counted.
pub const HOUR_MS: u64 = 3_600_000;
/// Most notices of one kind about one account in an hour.
pub const AN_HOUR_MAX: u32 = 10;

/// A notice's name on its line: the entry that put it, and its place among that entry's. People
/// are shown it, so that a support desk finds the entry in the audit (R11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NoticeId {
    /// The entry.
    pub entry: LogId,
    /// Its place, from 0.
    pub part: u32,
}

impl fmt::Display for NoticeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.entry, self.part)
    }
}

/// What somebody is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Password and OTP channel were set up.
    Initiated,
    /// The method's password was changed.
    PasswordChanged(Method),
    /// The OTP channel was replaced.
    ChannelReplaced,
    /// The registered address was changed: told to the old one and the new one.
    EmailChanged,
    /// A reset of the OTP password was started.
    PasswordReset,
    /// A reset of the OTP channel was started.
    ChannelReset,
    /// OTP password and channel were taken away.
    OtpRevoked,
    /// The account was suspended.
    Suspended,
    /// The account may log in again.
    Resumed,
    /// The account was deleted.
    Deleted,
    /// A card was registered.
    CardRegistered,
    /// The card was taken away.
    CardRevoked,
    /// Somebody failed to log in, again and again.
    SuspiciousAttempts,
    /// So often that a password or a channel is disabled.
    Locked,
    /// What was changed in a secondary session was forgotten with it.
    NotCarriedForward {
        /// The session.
        session: SessionId,
        /// What, and when it was last changed there.
        changes: BTreeMap<audit::Kind, UnixMs>,
    },
    /// The account has yet to be set up for 2FA.
    Reminder,
}

impl Kind {
    /// A stable name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Initiated => "initiated",
            Self::PasswordChanged(Method::Otp) => "password-changed",
            Self::PasswordChanged(Method::Smartcard) => "card-password-changed",
            Self::ChannelReplaced => "channel-replaced",
            Self::EmailChanged => "email-changed",
            Self::PasswordReset => "password-reset",
            Self::ChannelReset => "channel-reset",
            Self::OtpRevoked => "otp-revoked",
            Self::Suspended => "suspended",
            Self::Resumed => "resumed",
            Self::Deleted => "deleted",
            Self::CardRegistered => "card-registered",
            Self::CardRevoked => "card-revoked",
            Self::SuspiciousAttempts => "suspicious-attempts",
            Self::Locked => "locked",
            Self::NotCarriedForward { .. } => "not-carried-forward",
            Self::Reminder => "reminder",
        }
    }

    /// How often it is told of one account until [`Kind::counted_until`]. What a stranger can cause
    /// is told once: otherwise guessing would fill a mailbox.
    fn count_max(&self) -> u32 {
        match self {
            Self::SuspiciousAttempts | Self::Locked | Self::Reminder => 1,
            Self::Initiated
            | Self::PasswordChanged(_)
            | Self::ChannelReplaced
            | Self::EmailChanged
            | Self::PasswordReset
            | Self::ChannelReset
            | Self::OtpRevoked
            | Self::Suspended
            | Self::Resumed
            | Self::Deleted
            | Self::CardRegistered
            | Self::CardRevoked
            | Self::NotCarriedForward { .. } => AN_HOUR_MAX,
        }
    }

    /// Until when it is counted how often it was told: for an hour, a reminder until the day in
    /// Hong Kong is over.
    fn counted_until(&self, at: UnixMs) -> UnixMs {
        match self {
            Self::Reminder => remind::day_ends(at),
            Self::Initiated
            | Self::PasswordChanged(_)
            | Self::ChannelReplaced
            | Self::EmailChanged
            | Self::PasswordReset
            | Self::ChannelReset
            | Self::OtpRevoked
            | Self::Suspended
            | Self::Resumed
            | Self::Deleted
            | Self::CardRegistered
            | Self::CardRevoked
            | Self::SuspiciousAttempts
            | Self::Locked
            | Self::NotCarriedForward { .. } => at.plus(HOUR_MS),
        }
    }
}

/// Something to tell somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its name on the line.
    pub id: NoticeId,
    /// The account that it is about.
    pub account: AccountId,
    /// Where it is sent: the address as it was registered when it was put.
    pub address: String,
    /// What is told.
    pub kind: Kind,
    /// When it was put, by the line's clock.
    pub at: UnixMs,
}

impl Record for Notice {
    type Key = NoticeId;
    const TABLE: &'static str = "notice";
    fn key(&self) -> NoticeId {
        self.id
    }
}

/// How often somebody was told something lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The account.
    pub account: AccountId,
    /// The kind's name.
    pub kind: String,
    /// Until when is counted.
    pub until: UnixMs,
    /// How often.
    pub count: u32,
}

impl Record for Told {
    type Key = (AccountId, String);
    const TABLE: &'static str = "told";
    fn key(&self) -> (AccountId, String) {
        (self.account.clone(), self.kind.clone())
    }
}

impl Expires for Told {
    fn expires(&self) -> UnixMs {
        self.until
    }
}

/// What was not kept for want of room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Notices that made room for newer ones.
    pub dropped: u64,
    /// Notices of a kind that was told too often of late.
    pub withheld: u64,
}

/// What is to be told by an entry that is being applied.
#[derive(Debug, Clone)]
struct Due {
    account: AccountId,
    address: String,
    kind: Kind,
}

/// The notices of a line that wait for their mail.
#[derive(Debug, Clone, Default)]
pub struct Outbox {
    notices: Table<Notice>,
    told: Expiring<Told>,
    counts: Counts,
    /// Put while an entry is applied, and stamped at its end: never there between entries.
    due: Vec<Due>,
}

impl Outbox {
    /// The notices that wait, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Notice> {
        self.notices.iter()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.notices.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.notices.is_empty()
    }

    /// Whether the notice waits.
    #[must_use]
    pub fn holds(&self, id: &NoticeId) -> bool {
        self.notices.get(id).is_some()
    }

    /// Whether the account was reminded on this day.
    #[must_use]
    pub fn was_reminded(&self, account: &AccountId, now: UnixMs) -> bool {
        let key = (account.clone(), Kind::Reminder.name().to_owned());
        self.told.get(&key, now).is_some()
    }

    /// What was not kept.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn told(&self) -> impl Iterator<Item = &Told> {
        self.told.iter()
    }

    pub(crate) fn hashes(&self) -> [&SetHash; 2] {
        [self.notices.hash(), self.told.hash()]
    }

    /// Puts a notice that stood in the outbox before.
    pub(crate) fn restore(&mut self, notice: Notice) {
        self.notices.set(notice);
    }

    pub(crate) fn restore_told(&mut self, told: Told) {
        self.told.set(told);
    }

    pub(crate) fn set_counts(&mut self, counts: Counts) {
        self.counts = counts;
    }

    /// Names all notices after this entry: of a line whose entries count from 0 again.
    pub(crate) fn rename(&mut self, entry: LogId) {
        let waiting: Vec<Notice> = self.notices.iter().cloned().collect();
        self.notices = (0..)
            .zip(waiting)
            .map(|(part, notice)| Notice {
                id: NoticeId { entry, part },
                ..notice
            })
            .collect();
    }

    /// Notes what the account's holder is to be told of what it became.
    pub(crate) fn note_change(&mut self, former: &Account, now: &Account) {
        let differences = differences::told(former, now);
        self.due
            .extend(differences.into_iter().map(|(kind, address)| Due {
                account: now.id.clone(),
                address: address.to_owned(),
                kind,
            }));
    }

    /// Notes something to tell the account's holder; nothing, if there is no address.
    pub(crate) fn note(&mut self, account: &Account, kind: Kind) {
        if let Some(email) = &account.email {
            self.due.push(Due {
                account: account.id.clone(),
                address: email.address.clone(),
                kind,
            });
        }
    }

    /// Puts what the entry has to tell, under the entry's name.
    pub(crate) fn stamp(&mut self, entry: LogId, at: UnixMs) {
        for (part, due) in (0..).zip(std::mem::take(&mut self.due)) {
            if !self.may_tell(&due, at) {
                self.counts.withheld = self.counts.withheld.saturating_add(1);
                continue;
            }
            if self.notices.len() >= NOTICES_MAX {
                let oldest = self.notices.iter().next().map(Record::key);
                oldest.and_then(|oldest| self.notices.remove(&oldest));
                self.counts.dropped = self.counts.dropped.saturating_add(1);
            }
            self.notices.set(Notice {
                id: NoticeId { entry, part },
                account: due.account,
                address: due.address,
                kind: due.kind,
                at,
            });
        }
    }

    /// Whether the account may be told this once more for now; it is counted if so.
    fn may_tell(&mut self, due: &Due, at: UnixMs) -> bool {
        let key = (due.account.clone(), due.kind.name().to_owned());
        let mut told = self.told.get(&key, at).cloned().unwrap_or(Told {
            account: key.0,
            kind: key.1,
            until: due.kind.counted_until(at),
            count: 0,
        });
        told.count = told.count.saturating_add(1);
        let may = told.count <= due.kind.count_max();
        if may {
            self.told.set(told);
        }
        may
    }

    pub(crate) fn remove_ended(&mut self, now: UnixMs, limit: usize) {
        self.told.remove_ended(now, limit);
    }
}

/// Whether the holder of an account is told that such a change was not carried forward. Requests
/// that were open on a branch are between administrators.
#[must_use]
pub fn tells_of(kind: audit::Kind) -> bool {
    use audit::Kind as Audited;
    kind.changes_account()
        && !matches!(
            kind,
            Audited::ChangeRequested
                | Audited::ChangeRejected
                | Audited::ChangeWithdrawn
                | Audited::AccountsImported
                | Audited::ParticipantSet
                | Audited::ParticipantSuspended
                | Audited::ParticipantResumed
                | Audited::ParticipantDeleted
        )
}

/// What is asked about notices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// An operator has people reminded to set up 2FA: those of them that it is for, and that were
    /// not reminded on this day. On the main line alone.
    Remind {
        /// Whom, by user id.
        accounts: Vec<AccountId>,
        /// Why, for the record.
        reason: String,
    },
    /// A node that leads the line says that they need not stand here any more.
    Sent {
        /// A mail server has them.
        sent: Vec<NoticeId>,
        /// Their addresses take no mail, and did not for long enough.
        given_up: Vec<NoticeId>,
    },
}

impl Command {
    pub(crate) fn kind(&self) -> audit::Kind {
        match self {
            Self::Remind { .. } => audit::Kind::RemindersSent,
            Self::Sent { .. } => audit::Kind::NoticeSent,
        }
    }

    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Remind { .. } => "Remind",
            Self::Sent { .. } => "NoticeSent",
        }
    }
}

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: &Command) -> Effect {
    let event = Event::new(command.kind());
    match command {
        Command::Remind { accounts, reason } => {
            remind::apply(state, context, event, accounts, reason)
        }
        Command::Sent { sent, given_up } => settle(state, context, event, sent, given_up),
    }
}

fn settle(
    state: &mut State,
    context: &Context<'_>,
    event: Event,
    sent: &[NoticeId],
    given_up: &[NoticeId],
) -> Effect {
    match context.actor {
        Actor::Node(_) => {}
        Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Operator(_) | Actor::Script(_) => {
            return Effect::rejected(Rejection::NotAllowed, event);
        }
    }
    if sent.len() + given_up.len() > SETTLED_MAX {
        return Effect::rejected(Rejection::TooMany, event);
    }
    let named = sent.iter().map(|id| (id, audit::Kind::NoticeSent));
    let named = named.chain(given_up.iter().map(|id| (id, audit::Kind::NoticeGivenUp)));
    let mut events = Vec::new();
    for (id, kind) in named {
        // Another leader may have sent it too.
        if let Some(notice) = state.outbox.notices.remove(id) {
            let detail = format!("{} ({id})", notice.kind.name());
            events.push(match state.account(&notice.account) {
                Some(account) => Event::of(kind, account).detail(detail),
                None => Event::new(kind).detail(detail),
            });
        }
    }
    if events.is_empty() {
        return Effect::rejected(Rejection::AlreadySo, event);
    }
    Effect {
        events,
        ..Effect::done(Answer::Nothing, event)
    }
}
