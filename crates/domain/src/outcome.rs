//! Outcomes: what applying an envelope answers.

use serde::{Deserialize, Serialize};

use crate::account::Class;
use crate::calendar::Day;
use crate::factor::{ChannelKind, Method};
use crate::id::{AccountId, CentreName, NodeId, ParticipantId, SessionId};
use crate::line::{Carry, LogId};
use crate::portal::Portal;
use crate::session::Phase;
use crate::time::UnixMs;

/// What came of a command, and where it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The entry.
    pub at: LogId,
    /// The line's clock after it.
    pub clock: UnixMs,
    /// What came of it.
    pub result: Result,
}

/// The three classes of outcome (docs/architecture.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Result {
    /// The command was carried out.
    Done(Answer),
    /// An attempt failed: counters moved, and the login or procedure under way.
    FailedAttempt(Answer),
    /// Nothing of accounts, factors, tokens or policy changed.
    Rejected(Rejection),
}

/// What is answered. Nothing here tells a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing to tell.
    Nothing,
    /// A login was opened; the same whatever the password. `send_code` is for the edge alone.
    LoginOpened {
        /// When it ends.
        ends_at: UnixMs,
        /// Whether the edge sends the code that it sealed.
        send_code: bool,
    },
    /// A factor was wrong.
    CredentialsRejected,
    /// The factors were right, and the login cannot be: told only then, and the code is used up.
    Refused(Box<Rejection>),
    /// A token was issued.
    TokenIssued(Box<Issued>),
    /// Whether the edge mails the activation code that it sealed; never told to the caller.
    ActivationNoted {
        /// Whether.
        send_code: bool,
    },
    /// A procedure goes on; a mailed code that was sealed for it is to be sent.
    ProcedureOpened {
        /// When it ends.
        ends_at: UnixMs,
    },
    /// An account changed.
    Changed {
        /// Whether it will be there on the next business day.
        carry: Carry,
    },
    /// An activation's second half counts until then.
    HalfIssued {
        /// Until when.
        ends_at: UnixMs,
        /// Whether it will be there on the next business day.
        carry: Carry,
    },
    /// Accounts were imported.
    Imported {
        /// New firms.
        participants: u32,
        /// New accounts.
        accounts: u32,
    },
    /// People will be reminded to set up 2FA.
    Reminded {
        /// How many.
        count: u32,
        /// The last of those who were named, reminded or not; none if nobody was named.
        through: Option<AccountId>,
    },
    /// Tokens ended.
    TokensEnded {
        /// How many.
        count: u32,
    },
    /// A session's plan moved.
    Plan {
        /// The session.
        session: SessionId,
        /// Where its plan is now.
        phase: Phase,
    },
    /// An approval was noted.
    Approved {
        /// How many operators have approved.
        have: u32,
        /// How many it takes.
        need: u32,
    },
    /// The clock was moved.
    ClockAdvanced,
    /// Values were sealed anew.
    Resealed {
        /// How many; others changed since they were read, and stayed.
        count: u32,
    },
}

/// What the person at the front end gets, less the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// Who logged in.
    pub account: AccountId,
    /// The firm.
    pub participant: ParticipantId,
    /// User or delegated administrator.
    pub class: Class,
    /// Where.
    pub portal: Portal,
    /// How.
    pub method: Method,
    /// The channel of the one-time password, if one was used (S40).
    pub channel: Option<ChannelKind>,
    /// Whether the business functions behind the portal are open (R27).
    pub functions: Functions,
    /// Whether what the person changes now will be there on the next business day.
    pub carry: Carry,
    /// Whether the account has yet to initiate 2FA.
    pub initiation_required: bool,
    /// When the token ends at the latest.
    pub ends_at: UnixMs,
    /// The online session.
    pub session: SessionId,
}

/// Whether functions are open after a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Functions {
    /// They are.
    Open,
    /// "Function not available" is shown, and the connectivity is completed (R27).
    NotAvailable,
    /// Nothing is shown, and the connectivity is completed: DMS in a test session (R28).
    Completed,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection {
    /// There is no founded cluster yet.
    NotFounded,
    /// The cluster is founded already.
    AlreadyFounded,
    /// The envelope or the request was meant for another line, or for this one before it changed.
    LineChanged,
    /// The line has ended: a branch after its close.
    LineEnded,
    /// The request id is no UUIDv7.
    RequestIdMalformed,
    /// The request's record may be gone already.
    RequestTooOld,
    /// The request's own time is in the future.
    RequestFromTheFuture,
    /// The request id was used for another body.
    RequestBodyDiffers,
    /// It was done; the answer held a secret, which is gone.
    AlreadyDone,
    /// The envelope's time is too far ahead of the line's clock.
    ClockJump,
    /// The cluster's clock is not simulated.
    ClockNotSimulated,
    /// No online session is open.
    SessionClosed {
        /// The next one, if one is planned.
        next: Option<(SessionId, UnixMs)>,
    },
    /// Another centre serves.
    CentreNotServing {
        /// Which.
        serving: CentreName,
    },
    /// The primary's role is moving to another centre: nobody serves.
    CentreSwitching {
        /// Which.
        to: CentreName,
    },
    /// There is no such centre, or it has no nodes.
    NoSuchCentre,
    /// The secondary is given up: it lacks what was answered since.
    Degraded {
        /// Since when.
        since: UnixMs,
    },
    /// A branch is open: operators' changes wait for its rollover.
    BranchOpen {
        /// The session.
        session: SessionId,
    },
    /// The act is for the main line alone.
    MainLineOnly,
    /// The act is for a branch alone.
    BranchOnly,
    /// Too many records of a kind, or requests of a caller.
    TooMany,
    /// Too many failures: wait.
    RateLimited {
        /// Until when.
        until: UnixMs,
    },
    /// 2FA cannot be initiated in this session (R42).
    InitiationDenied,
    /// The login was good, at the wrong portal (R50).
    WrongPortal,
    /// The login was good, and the session is for enrolled participants (R5).
    NotEnrolled {
        /// What people are told, if the timetable says so.
        text: Option<String>,
        /// The same in Traditional Chinese.
        text_zh_hant: Option<String>,
    },
    /// The method is off: for everybody, or for the account whose factors were proved (R2).
    MethodOff {
        /// Which.
        method: Method,
        /// Since when, if that was set.
        from: Option<UnixMs>,
        /// Until when, if it comes.
        until: Option<UnixMs>,
    },
    /// The revocation list cannot be relied on any more: no card logs in (S36).
    RevocationsOverdue {
        /// Since when its next update is due; none when there is no list.
        since: Option<UnixMs>,
    },
    /// A revocation list that is as new or newer is held.
    RevocationListOlder {
        /// Its number.
        number: u64,
    },
    /// No go-live is planned.
    NoGoLive,
    /// Go-live is planned for this date, and not for the one that was said.
    GoLiveScheduled {
        /// The date.
        date: Day,
    },
    /// The last day of enrolment is over (R6).
    EnrolmentClosed {
        /// The session.
        session: SessionId,
        /// That day, in Hong Kong; it counted still.
        last: Day,
    },
    /// The front end does not serve the portal.
    PortalNotRegistered,
    /// No such token, or it has ended.
    TokenEnded,
    /// No such login or procedure, or it has ended.
    ProcedureEnded,
    /// The act needs a verified step-up.
    StepUpRequired,
    /// The account has no password and OTP to change.
    InitiationRequired,
    /// The account has initiated already.
    AlreadyInitiated,
    /// The account has no registered e-mail; told to administrators alone.
    NoEmail,
    /// The login was good, and the account's participant is suspended.
    ParticipantSuspended,
    /// The participant's id was another firm's, which is gone.
    ParticipantIdUsed,
    /// The account is of another participant, or there is none.
    OtherParticipant,
    /// The accounts are another one's to look after: users their own firm's delegated
    /// administrators', those an operator's (R9).
    LookedAfterByAdmins,
    /// No such change request, or none that the caller may see.
    NoSuchChangeRequest,
    /// The change request was decided already.
    ChangeRequestDecided,
    /// The change request can no longer be approved.
    ChangeRequestExpired,
    /// Who made a change request cannot check it (S34).
    MakerIsChecker,
    /// Who made the change request has lost the right to.
    MakerNotActive,
    /// There is such an account.
    AccountExists,
    /// The user id was another person's, who is gone.
    IdUsedBefore,
    /// The card belongs to another account.
    CardInUse,
    /// The address was changed a short while ago: it gets no codes yet, and who had a part in the
    /// change cannot reset the account.
    EmailJustChanged {
        /// Until when.
        until: UnixMs,
    },
    /// There is no such account; told to operators alone.
    NoSuchAccount,
    /// The caller may not do this.
    NotAllowed,
    /// It is so already.
    AlreadySo,
    /// The import's rows contradict what is there; the first few are named.
    ImportConflicts(Vec<String>),
    /// The values of policy or calendar cannot be.
    BadValues(Vec<String>),
    /// It is not what the caller saw any more.
    ChangedSince,
    /// No such session in the calendar.
    NoSuchSession,
    /// The session is held at the primary: there is nothing to open.
    NotAtSecondary,
    /// An earlier session has not closed.
    EarlierSessionOpen {
        /// Which.
        session: SessionId,
    },
    /// An earlier secondary session has not been rolled over.
    RolloverPending {
        /// Which.
        session: SessionId,
    },
    /// The time is outside the session.
    OutsideSession {
        /// When it opens.
        opens: UnixMs,
        /// When it closes.
        closes: UnixMs,
    },
    /// Operators have not approved.
    NotApproved {
        /// How many have.
        have: u32,
        /// How many it takes.
        need: u32,
    },
    /// The act takes a signed approval.
    ApprovalUnsigned,
    /// The approval's time is over.
    ApprovalExpired,
    /// The approval would be valid for longer than any may be.
    ApprovalTooLong,
    /// The approval was signed with another key than the operator's registered one.
    ApprovalOtherKey,
    /// The approval is of another act, other arguments, or a state that the operator did not see.
    ApprovalDiffers,
    /// The caller's access was taken away.
    CallerRetired,
    /// No such caller is registered.
    NoSuchCaller,
    /// The key is another caller's.
    KeyPinned {
        /// Whose.
        holder: String,
    },
    /// Too few operators would be left.
    LastOperators {
        /// How many must stay.
        need: u32,
    },
    /// No script may do this.
    ScriptMayNot,
    /// Nobody has granted it.
    NotGranted,
    /// The time is outside the grant's window.
    OutsideWindow {
        /// When it begins.
        from: UnixMs,
        /// When it ends.
        until: UnixMs,
    },
    /// The grant's runs are used up.
    RunsUsed {
        /// How many there were.
        runs: u32,
    },
    /// The approval is of another plan than the one in force.
    PlanDiffers,
    /// The plan is not where it must be.
    WrongPhase {
        /// Where it is.
        phase: Phase,
    },
    /// The evidence is of another boundary.
    EvidenceDiffers,
    /// Must-repeat items have no answer; their sequence numbers on the branch.
    Unanswered(Vec<u64>),
    /// An item is said to be repeated, and is not so on the main line.
    NotRepeated {
        /// Its sequence number on the branch.
        item: u64,
    },
    /// No such key was announced.
    NoSuchKey {
        /// Which.
        key: u32,
    },
    /// A key of this id is known, or was: ids are never given twice.
    KeyIdUsed {
        /// Which.
        key: u32,
    },
    /// Nodes have not proved that they hold the key.
    KeyNotProved {
        /// Which.
        key: u32,
        /// Those nodes.
        nodes: Vec<NodeId>,
    },
    /// Something still uses the key.
    KeyInUse {
        /// Which.
        key: u32,
        /// How many sealed values.
        values: u64,
        /// Until when, if it comes with time.
        until: Option<UnixMs>,
    },
    /// The key was retired.
    KeyRetired {
        /// Which.
        key: u32,
    },
    /// No such act is to be reviewed, or none that the caller may see.
    NoSuchReview,
}

impl Rejection {
    /// The variant's name, for the audit.
    #[must_use]
    pub fn code(&self) -> String {
        let whole = format!("{self:?}");
        whole
            .split(|c: char| !c.is_ascii_alphanumeric())
            .next()
            .unwrap_or_default()
            .to_owned()
    }
}
