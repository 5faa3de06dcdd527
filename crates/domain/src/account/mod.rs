//! Accounts: who may log in, and what administrators do to them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

mod administer;
pub mod import;
pub mod review;

pub(crate) use administer::apply;

use crate::attempts::Attempts;
use crate::audit::Kind;
use crate::digest::Digest;
use crate::encoding;
use crate::factor::{Card, Method, Otp, Password, Reset, Sealed};
use crate::id::{AccountId, CardNumber, OperatorId, ParticipantId};
use crate::migration::Methods;
use crate::participant::Participant;
use crate::table::Record;
use crate::time::UnixMs;
use crate::token::TokenId;

/// Longest e-mail address, in bytes (RFC 5321 §4.5.3.1).
pub const EMAIL_BYTES_MAX: usize = 254;
/// Longest name of a person or firm, in bytes.
pub const TITLE_BYTES_MAX: usize = 128;
/// Most rows in one import entry; longer files become several.
pub const IMPORT_ROWS_MAX: usize = 500;

/// The two classes of accounts, never interchangeable (R50).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// Works in CCMS.
    User,
    /// Delegated administrator: works in DMS.
    DelegatedAdmin,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::DelegatedAdmin => "DA",
        })
    }
}

/// Who took or gave access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// A delegated administrator of the same participant.
    Account(AccountId),
    /// An operator.
    Operator(OperatorId),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(f, "{id}"),
            Self::Operator(id) => write!(f, "operator {id}"),
        }
    }
}

/// Whether the account may log in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It may.
    #[default]
    Active,
    /// It may not, until resumed.
    Suspended {
        /// Since when.
        at: UnixMs,
        /// By whom.
        by: By,
    },
    /// It never may again: what is left keeps the id from being used for another person.
    Deleted {
        /// Since when.
        at: UnixMs,
        /// By whom.
        by: By,
    },
}

/// A registered e-mail address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Email {
    /// The address.
    pub address: String,
    /// When it was registered.
    pub since: UnixMs,
    /// From when on it gets codes: a changed address waits (LOGIN.md, "Initiation").
    pub codes_from: UnixMs,
    /// Who made and approved the change; nobody for an imported address.
    pub changed_by: Vec<By>,
}

impl Email {
    /// An address that gets codes at once: the first one of an account.
    pub(crate) fn first(address: String, now: UnixMs) -> Self {
        Self {
            address,
            since: now,
            codes_from: now,
            changed_by: Vec::new(),
        }
    }

    /// Whether codes are sent to it.
    #[must_use]
    pub fn gets_codes(&self, now: UnixMs) -> bool {
        self.codes_from <= now
    }

    /// Whether the change of address is too fresh for whoever had a part in it to reset the
    /// account.
    #[must_use]
    pub fn held_for(&self, by: &By, now: UnixMs) -> bool {
        !self.gets_codes(now) && self.changed_by.contains(by)
    }
}

/// A person's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The user id.
    pub id: AccountId,
    /// The firm.
    pub participant: ParticipantId,
    /// User or delegated administrator.
    pub class: Class,
    /// The person's name.
    pub title: String,
    /// The registered address, if any (R8).
    pub email: Option<Email>,
    /// Whether it may log in.
    pub status: Status,
    /// The smartcard, if any.
    pub card: Option<Card>,
    /// Password and OTP, once initiated.
    pub otp: Option<Otp>,
    /// Failures by method, of a password that is not set too: so an account without one waits
    /// like one that has it (S23).
    pub attempts: BTreeMap<Method, Attempts>,
    /// Counts the changes of passwords, for `factor::Password::version`, and revocations.
    pub passwords_set: u64,
    /// The last login, if any.
    pub last_login: Option<UnixMs>,
    /// Which methods are on for it, where the service and its firm have them on.
    #[serde(default, skip_serializing_if = "Methods::untouched")]
    pub methods: Methods,
}

impl Record for Account {
    type Key = AccountId;
    const TABLE: &'static str = "account";
    fn key(&self) -> AccountId {
        self.id.clone()
    }
}

/// How far an account's migration is (R10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    /// No e-mail registered: it cannot initiate.
    NoEmail,
    /// It can initiate, and has not.
    EmailRegistered,
    /// It has initiated, and has a card too.
    Initiated,
    /// It has initiated, and has no card.
    TwoFactorOnly,
}

/// What somebody sets up with an activation code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SetUp {
    /// Password and channel: initiation (R30).
    Both,
    /// The password, after a reset; the channel proves the person.
    Password,
    /// The channel, after a reset; the password proves the person.
    Channel,
}

impl Account {
    /// How far the migration is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match (&self.otp, &self.card, &self.email) {
            (Some(_), Some(_), _) => Stage::Initiated,
            (Some(_), None, _) => Stage::TwoFactorOnly,
            (None, _, Some(_)) => Stage::EmailRegistered,
            (None, _, None) => Stage::NoEmail,
        }
    }

    /// Whether it may log in.
    #[must_use]
    pub fn active(&self) -> bool {
        match self.status {
            Status::Active => true,
            Status::Suspended { .. } | Status::Deleted { .. } => false,
        }
    }

    /// Whether it is gone for good.
    #[must_use]
    pub fn deleted(&self) -> bool {
        match self.status {
            Status::Deleted { .. } => true,
            Status::Active | Status::Suspended { .. } => false,
        }
    }

    /// What a caller shows to say which version it saw: it moves with every field.
    #[must_use]
    pub fn etag(&self) -> Digest {
        Digest::of("etag", &[&encoding::encode(self)])
    }

    /// What the person can set up now, if anything.
    #[must_use]
    pub fn set_up(&self) -> Option<SetUp> {
        match self.otp.as_ref().map(|otp| otp.reset) {
            None => Some(SetUp::Both),
            Some(Some(Reset::Password)) => Some(SetUp::Password),
            Some(Some(Reset::Channel)) => Some(SetUp::Channel),
            Some(None) => None,
        }
    }

    /// Takes password and channel away: the account must be initiated again.
    pub(crate) fn revoke_otp(&mut self) {
        self.otp = None;
        self.attempts.remove(&Method::Otp);
        self.outdate_procedures();
    }

    /// What was begun on the strength of the account as it was does not come to an end.
    pub(crate) fn outdate_procedures(&mut self) {
        self.passwords_set = self.passwords_set.saturating_add(1);
    }

    /// Leaves nothing but the id, and that it was used.
    pub(crate) fn delete(&mut self, at: UnixMs, by: By) {
        self.status = Status::Deleted { at, by };
        self.title = String::new();
        self.email = None;
        self.card = None;
        self.last_login = None;
        self.methods = Methods::default();
        self.revoke_otp();
        self.attempts = BTreeMap::new();
    }

    /// The password of the method, if it is set.
    #[must_use]
    pub fn password(&self, method: Method) -> Option<&Password> {
        match method {
            Method::Smartcard => self.card.as_ref().map(|card| &card.password),
            Method::Otp => self
                .otp
                .as_ref()
                .filter(|otp| otp.reset != Some(Reset::Password))
                .map(|otp| &otp.password),
        }
    }

    /// Whether the password of the method is disabled until it is unlocked (S12).
    #[must_use]
    pub fn locked(&self, method: Method) -> bool {
        self.attempts.get(&method).is_some_and(Attempts::locked)
    }

    /// Until when this address must wait before the password of the method is looked at.
    #[must_use]
    pub fn wait_until(
        &self,
        method: Method,
        address: Option<IpAddr>,
        now: UnixMs,
    ) -> Option<UnixMs> {
        self.attempts.get(&method)?.wait_until(address, now)
    }

    /// The failures of the method, to count one or to end them.
    pub(crate) fn attempts_mut(&mut self, method: Method) -> &mut Attempts {
        self.attempts.entry(method).or_default()
    }

    /// A new password of this account, with its version.
    pub(crate) fn next_password(&mut self, verifier: Sealed, now: UnixMs) -> Password {
        self.passwords_set = self.passwords_set.saturating_add(1);
        Password {
            verifier,
            version: self.passwords_set,
            set_at: now,
        }
    }
}

/// An account as an import gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The user id.
    pub id: AccountId,
    /// The firm; it must exist or be in the same import.
    pub participant: ParticipantId,
    /// User or delegated administrator.
    pub class: Class,
    /// The person's name.
    pub title: String,
    /// The registered address, if any.
    pub email: Option<String>,
    /// The card's number and the sealed verifier of its password, if there is a card.
    pub card: Option<(CardNumber, Sealed)>,
}

impl Imported {
    pub(crate) fn into_account(self, now: UnixMs) -> Account {
        let mut account = Account {
            id: self.id,
            participant: self.participant,
            class: self.class,
            title: self.title,
            email: self.email.map(|address| Email::first(address, now)),
            status: Status::Active,
            card: None,
            otp: None,
            attempts: BTreeMap::new(),
            passwords_set: 0,
            last_login: None,
            methods: Methods::default(),
        };
        if let Some((number, verifier)) = self.card {
            account.card = Some(Card {
                number,
                password: account.next_password(verifier, now),
            });
        }
        account
    }
}

/// What is asked about accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// An operator approves that firms and people be brought in. Their rows may come once enough
    /// have approved the same.
    ApproveImport {
        /// Which rows.
        terms: import::Terms,
    },
    /// New participants and accounts, all or none, of rows that were approved.
    Import {
        /// Firms, of which id and name count; one that exists is left as it is.
        participants: Vec<Participant>,
        /// People; one that exists refuses the import.
        accounts: Vec<Imported>,
        /// Which of the approved rows they are; none in a record from before it took approvals.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        part: Option<import::Part>,
    },
    /// Takes access away at once; all tokens end.
    Suspend {
        /// Whose.
        account: AccountId,
        /// The administrator's token; none when the actor is an operator.
        token: Option<TokenId>,
        /// Why, for the record.
        reason: String,
    },
    /// Takes password and OTP channel away: the account must be initiated again.
    RevokeOtp {
        /// Whose.
        account: AccountId,
        /// Why, for the record.
        reason: String,
    },
    /// Takes the card away; all tokens end.
    RevokeCard {
        /// Whose.
        account: AccountId,
        /// The administrator's token; none when the actor is an operator.
        token: Option<TokenId>,
        /// Why, for the record.
        reason: String,
    },
    /// Switches a login method of the account off: at once, or from a time on.
    DisableMethod {
        /// Whose.
        account: AccountId,
        /// The administrator's token; none when the actor is an operator.
        token: Option<TokenId>,
        /// Which.
        method: Method,
        /// From when on, if not at once.
        from: Option<UnixMs>,
        /// Why, for the record.
        reason: String,
    },
    /// Another name of the person.
    SetTitle {
        /// Whose.
        account: AccountId,
        /// The administrator's token; none when the actor is an operator.
        token: Option<TokenId>,
        /// The name.
        title: String,
        /// The account as the caller saw it, if the caller says so.
        seen: Option<Digest>,
    },
    /// A new firm, or another name of one.
    SetParticipant {
        /// The firm, of which id and name count.
        participant: Participant,
        /// Whether it is new; else it must be there.
        new: bool,
        /// The firm as the caller saw it, if the caller says so.
        seen: Option<Digest>,
    },
    /// Notes the second half of an activation code, which the administrator passes on by voice.
    IssueActivationCode {
        /// For whom.
        account: AccountId,
        /// The administrator's token; none when the actor is an operator.
        token: Option<TokenId>,
        /// The sealed half.
        code: Sealed,
    },
    /// Ends the account's tokens (S33).
    EndTokens {
        /// Whose.
        account: AccountId,
        /// The one to end; all for none.
        one: Option<TokenId>,
        /// The administrator's token; none when the actor is an operator.
        token: Option<TokenId>,
        /// Why, for the record; empty in one from before it was said.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// A second person has looked at an act by which one person took access away.
    Review {
        /// Which.
        act: review::ReviewId,
        /// The administrator's token; none when the actor is an operator.
        token: Option<TokenId>,
    },
}

impl Command {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::ApproveImport { .. } => Kind::ActApproved,
            Self::Import { .. } => Kind::AccountsImported,
            Self::Suspend { .. } => Kind::AccountSuspended,
            Self::RevokeOtp { .. } => Kind::OtpRevoked,
            Self::RevokeCard { .. } => Kind::CardRevoked,
            Self::DisableMethod { .. } => Kind::MethodsSet,
            Self::SetTitle { .. } => Kind::AccountRenamed,
            Self::SetParticipant { .. } => Kind::ParticipantSet,
            Self::IssueActivationCode { .. } => Kind::ActivationIssued,
            Self::EndTokens { .. } => Kind::TokensEnded,
            Self::Review { .. } => Kind::ActReviewed,
        }
    }
}
