//! The audit: one chain of records a line. The state holds the head; the records stand beside it
//! on disk. No record holds a secret.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::account::Class;
use crate::approval::{self, Approval};
use crate::digest::Digest;
use crate::encoding;
use crate::factor::Method;
use crate::id::{AccountId, ParticipantId, SessionId};
use crate::line::LogId;
use crate::portal::Portal;
use crate::time::UnixMs;

/// The end of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// How many records there are; the next one's sequence number.
    pub sequence: u64,
    /// The hash of the last record.
    pub hash: Digest,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            sequence: 0,
            hash: Digest::ZERO,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// The cluster was founded.
    Founded,
    /// The clock was moved.
    ClockAdvanced,
    /// Entries are applied by later rules from here on.
    RulesRaised,
    /// The calendar was set.
    CalendarSet,
    /// The policy was set.
    PolicySet,
    /// The secondary was given up: answers go out without it.
    ProtectionDegraded,
    /// Answers wait for the secondary again.
    ProtectionRecovered,
    /// A switchover began: nobody serves.
    SwitchStarted,
    /// The other centre is the primary.
    SwitchDone,
    /// A switchover ended as it had begun.
    SwitchGivenUp,
    /// A new main line began.
    Promoted,
    /// Other nodes belong to a centre.
    NodesChanged,
    /// The secondary's nodes that protect answers are the new ones alone.
    NodesSettled,
    /// An operator approved an act.
    ActApproved,
    /// A secondary session was opened: the boundary.
    SessionOpened,
    /// Its branch was confirmed.
    SessionConfirmed,
    /// A branch began.
    BranchStarted,
    /// A session began to serve.
    SessionStarted,
    /// A session closed.
    SessionClosed,
    /// A branch was discarded.
    RolledOver,
    /// A session was given up.
    SessionAbandoned,
    /// What was opened without the primary was taken over.
    SessionAdopted,
    /// Held items were answered.
    HoldsAnswered,
    /// Firms and people were imported.
    AccountsImported,
    /// An account was suspended.
    AccountSuspended,
    /// An account's password and OTP channel were revoked.
    OtpRevoked,
    /// An account was created.
    AccountCreated,
    /// A suspended account was resumed.
    AccountResumed,
    /// Failures were forgotten.
    AccountUnlocked,
    /// An account got another name.
    AccountRenamed,
    /// An account was deleted.
    AccountDeleted,
    /// An e-mail address was registered or changed.
    EmailSet,
    /// A card was registered.
    CardRegistered,
    /// A card was taken away.
    CardRevoked,
    /// A password is to be set anew.
    PasswordReset,
    /// A channel is to be set up anew.
    ChannelReset,
    /// A firm was entered or renamed.
    ParticipantSet,
    /// A firm's people were shut out, all at once.
    ParticipantSuspended,
    /// A suspended firm's people may log in again.
    ParticipantResumed,
    /// A firm was deleted, with all its accounts.
    ParticipantDeleted,
    /// A change was asked for.
    ChangeRequested,
    /// A change request was approved, and carried out.
    ChangeApproved,
    /// A change request was refused.
    ChangeRejected,
    /// A change request was taken back.
    ChangeWithdrawn,
    /// An operator said a change of go-live or methods.
    MigrationProposed,
    /// Go-live was planned, approved, postponed or withdrawn.
    GoLiveSet,
    /// A method was switched.
    MethodsSet,
    /// A firm was enrolled for a session, or that was taken back.
    EnrolmentSet,
    /// A newer revocation list was set.
    RevocationListSet,
    /// The second half of an activation code was issued.
    ActivationIssued,
    /// An administrator ended tokens.
    TokensEnded,
    /// A second person looked at an act that took access away.
    ActReviewed,
    /// An act that took access away left the list of those to be looked at, and nobody had.
    ActUnreviewed,
    /// A login was opened.
    LoginBegun,
    /// A code was sent again.
    CodeResent,
    /// A login was checked.
    LoginVerified,
    /// Attempts that were refused unheard were counted.
    AttemptsUnheard,
    /// A login completed a connectivity test (R27, R28, R51).
    ConnectivityCompleted,
    /// A person logged out, or ended tokens of its own.
    LoggedOut,
    /// A token's activity was noted.
    TokenTouched,
    /// An activation code was asked for.
    ActivationRequested,
    /// An initiation was begun.
    InitiationBegun,
    /// 2FA was initiated (R30, R31).
    Initiated,
    /// A password was changed.
    PasswordChanged,
    /// A password was kept under a verifier of today's cost; it is the same password.
    PasswordRehashed,
    /// A step-up was asked for.
    StepUpBegun,
    /// A step-up was verified.
    StepUpVerified,
    /// A channel replacement was begun.
    ReplacementBegun,
    /// An OTP channel was replaced.
    ChannelReplaced,
    /// A request was sent again, and answered again.
    Repeated,
    /// An operator had people reminded to set up 2FA.
    RemindersSent,
    /// A notice was mailed.
    NoticeSent,
    /// A notice could not be mailed, and is not tried any more.
    NoticeGivenUp,
    /// A new key was announced.
    KeyAnnounced,
    /// A node proved that it holds an announced key.
    KeyProved,
    /// A key was put to use.
    KeyUsed,
    /// Values that older keys sealed were sealed anew.
    ValuesResealed,
    /// A key was retired.
    KeyRetired,
    /// An operator approved that a caller be registered.
    RegistrationApproved,
    /// A caller was registered, or got another key.
    CallerRegistered,
    /// A caller's access was taken away.
    CallerRetired,
    /// An operator approved what a script may do.
    ScriptGrantApproved,
    /// A script may run a plan.
    ScriptGranted,
    /// A script may not run a plan any more.
    ScriptGrantWithdrawn,
    /// A script's act on a branch was counted.
    ScriptRun,
    /// A backup of the main line was taken.
    BackupTaken,
    /// The cluster began with a backup of another one.
    Restored,
    /// Records or accounts were read at a node; only in that node's own trail of reads.
    Read,
    /// A watch began; only in a trail of reads.
    WatchBegun,
    /// A watch ended; only in a trail of reads.
    WatchEnded,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Kind {
    /// Whether it changes what an account is: a branch's are forgotten at rollover.
    #[must_use]
    pub fn changes_account(self) -> bool {
        match self {
            Self::AccountsImported
            | Self::AccountSuspended
            | Self::OtpRevoked
            | Self::AccountCreated
            | Self::AccountResumed
            | Self::AccountUnlocked
            | Self::AccountRenamed
            | Self::AccountDeleted
            | Self::EmailSet
            | Self::CardRegistered
            | Self::CardRevoked
            | Self::PasswordReset
            | Self::ChannelReset
            | Self::ParticipantSet
            | Self::ParticipantSuspended
            | Self::ParticipantResumed
            | Self::ParticipantDeleted
            | Self::ChangeRequested
            | Self::ChangeRejected
            | Self::ChangeWithdrawn
            | Self::MethodsSet
            | Self::EnrolmentSet
            | Self::Initiated
            | Self::PasswordChanged
            | Self::ChannelReplaced => true,
            Self::Founded
            | Self::ClockAdvanced
            | Self::RulesRaised
            | Self::CalendarSet
            | Self::PolicySet
            | Self::ProtectionDegraded
            | Self::ProtectionRecovered
            | Self::Promoted
            | Self::NodesChanged
            | Self::NodesSettled
            | Self::SwitchStarted
            | Self::SwitchDone
            | Self::SwitchGivenUp
            | Self::ActApproved
            | Self::SessionOpened
            | Self::SessionConfirmed
            | Self::BranchStarted
            | Self::SessionStarted
            | Self::SessionClosed
            | Self::RolledOver
            | Self::SessionAbandoned
            | Self::SessionAdopted
            | Self::HoldsAnswered
            | Self::ChangeApproved
            | Self::MigrationProposed
            | Self::GoLiveSet
            | Self::RevocationListSet
            | Self::ActivationIssued
            | Self::TokensEnded
            | Self::ActReviewed
            | Self::ActUnreviewed
            | Self::LoginBegun
            | Self::CodeResent
            | Self::LoginVerified
            | Self::AttemptsUnheard
            | Self::ConnectivityCompleted
            | Self::LoggedOut
            | Self::TokenTouched
            | Self::ActivationRequested
            | Self::InitiationBegun
            | Self::PasswordRehashed
            | Self::StepUpBegun
            | Self::StepUpVerified
            | Self::ReplacementBegun
            | Self::Repeated
            | Self::RemindersSent
            | Self::NoticeSent
            | Self::NoticeGivenUp
            | Self::RegistrationApproved
            | Self::CallerRegistered
            | Self::CallerRetired
            | Self::ScriptGrantApproved
            | Self::ScriptGranted
            | Self::ScriptGrantWithdrawn
            | Self::ScriptRun
            | Self::KeyAnnounced
            | Self::KeyProved
            | Self::KeyUsed
            | Self::ValuesResealed
            | Self::KeyRetired
            | Self::BackupTaken
            | Self::Restored
            | Self::Read
            | Self::WatchBegun
            | Self::WatchEnded => false,
        }
    }
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Done.
    Done,
    /// An attempt that failed.
    Failed,
    /// Rejected, with the rejection's code.
    Rejected(String),
}

/// Why a change of a branch must be repeated on the main line, or waived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Repeat {
    /// Access was taken away: by suspension.
    Suspension,
    /// Access was taken away from all of a firm's people.
    ParticipantSuspension,
    /// Access was taken away: password and channel were revoked.
    OtpRevocation,
    /// Access was taken away: the card was revoked.
    CardRevocation,
    /// Access was taken away: a login method was switched off for the account.
    MethodDisabled,
    /// A password was changed as lost or compromised.
    PasswordCompromised,
    /// A channel was replaced as lost or compromised.
    ChannelCompromised,
}

/// What happened, before it has its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: Kind,
    pub(crate) account: Option<AccountId>,
    pub(crate) participant: Option<ParticipantId>,
    pub(crate) class: Option<Class>,
    pub(crate) portal: Option<Portal>,
    pub(crate) method: Option<Method>,
    pub(crate) by: Option<String>,
    pub(crate) repeat: Option<Repeat>,
    pub(crate) detail: Option<String>,
    pub(crate) approved: Option<Approved>,
}

impl Event {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            account: None,
            participant: None,
            class: None,
            portal: None,
            method: None,
            by: None,
            repeat: None,
            detail: None,
            approved: None,
        }
    }

    pub(crate) fn of(kind: Kind, account: &crate::account::Account) -> Self {
        Self {
            account: Some(account.id.clone()),
            participant: Some(account.participant.clone()),
            class: Some(account.class),
            ..Self::new(kind)
        }
    }

    pub(crate) fn at(mut self, portal: Portal, method: Method) -> Self {
        self.portal = Some(portal);
        self.method = Some(method);
        self
    }

    pub(crate) fn by(mut self, by: impl ToString) -> Self {
        self.by = Some(by.to_string());
        self
    }

    pub(crate) fn repeat(mut self, repeat: Option<Repeat>) -> Self {
        self.repeat = repeat;
        self
    }

    /// Names the act that was approved, by its digest.
    pub(crate) fn approved(mut self, act: Digest) -> Self {
        let by = Vec::new();
        self.approved = Some(Approved { act, by });
        self
    }

    /// As `approved`, by approvals that have no records of their own.
    pub(crate) fn approved_by(mut self, act: Digest, by: &approval::By) -> Self {
        let by = by.values().cloned().collect();
        self.approved = Some(Approved { act, by });
        self
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// What operators had approved when it was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// The digest of the act and its arguments, which each approval signed.
    pub act: Digest,
    /// Approvals that came with the act; of the others there are records before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<Approval>,
}

/// A record of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its place in the chain.
    pub sequence: u64,
    /// The hash of the record before it.
    pub previous: Digest,
    /// The log entry that it is of.
    pub log: LogId,
    /// When, by the line's clock.
    pub at: UnixMs,
    /// The online session open then.
    pub session: Option<SessionId>,
    /// What happened.
    pub kind: Kind,
    /// How it went.
    pub verdict: Verdict,
    /// Who asked: a front end, an operator, a node.
    pub actor: String,
    /// The person or operator who acted.
    pub by: String,
    /// The account that was acted on.
    pub account: Option<AccountId>,
    /// Its firm.
    pub participant: Option<ParticipantId>,
    /// Its class.
    pub class: Option<Class>,
    /// Where.
    pub portal: Option<Portal>,
    /// How.
    pub method: Option<Method>,
    /// Whether and why it must be repeated after a rollover.
    pub repeat: Option<Repeat>,
    /// More, for people.
    pub detail: Option<String>,
    /// The operator's signed statement, where one was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Box<Approval>>,
    /// What had been approved, where the act takes operators' approvals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Box<Approved>>,
}

impl Row {
    /// The record's hash, which the next one holds.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of("tidemark audit", &[&encoding::encode(self)])
    }

    /// Whether it changed what an account is.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.verdict == Verdict::Done && self.kind.changes_account()
    }

    /// The head of a chain that ends with this record.
    #[must_use]
    pub fn head(&self) -> Head {
        Head {
            sequence: self.sequence + 1,
            hash: self.hash(),
        }
    }

    /// Whether it follows on `head`.
    #[must_use]
    pub fn follows(&self, head: &Head) -> bool {
        self.sequence == head.sequence && self.previous == head.hash
    }
}
