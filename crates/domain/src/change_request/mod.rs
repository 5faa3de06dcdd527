//! Change requests: what gives access takes two people, a maker and a checker (S34).
//!
//! A user's are made by a delegated administrator of its firm and checked by another one, or by an
//! operator where the firm has no other. Those of delegated administrators are made and checked by
//! operators (R9), and those that bring a card: who chooses its password's verifier could choose the
//! password (S25).
//! Taking access away needs no request: it is in `account`.

use serde::{Deserialize, Serialize};

mod carry_out;
mod decide;

pub(crate) use decide::apply;

use imbl::OrdSet;

use crate::account::{By, Class, Imported};
use crate::audit;
use crate::digest::{Digest, SetHash};
use crate::factor::{Method, Sealed};
use crate::id::{AccountId, CardNumber, ChangeRequestId, ParticipantId};
use crate::table::{Expires, Expiring, Record};
use crate::time::UnixMs;
use crate::token::TokenId;

/// Most requests of one firm, decided ones included.
pub const REQUESTS_A_PARTICIPANT_MAX: usize = 2_000;
/// How long a request stays to be read after it was decided or has expired.
pub const KEPT_MS: u64 = 30 * 24 * 3_600_000;
/// Longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 512;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// A new account.
    Create(Box<Imported>),
    /// A suspended account may log in again.
    Resume,
    /// Failures of the method's password are forgotten.
    Unlock(Method),
    /// Another registered e-mail address, or the first one.
    SetEmail(String),
    /// A card, in the place of the one that the account has.
    RegisterCard {
        /// Its number.
        number: CardNumber,
        /// The sealed verifier of its password.
        password: Sealed,
    },
    /// The OTP password is to be set anew, with the channel that is there (S26).
    ResetPassword,
    /// The channel is to be set up anew, with the password that is there (S26).
    ResetChannel,
    /// Both: the account is to be initiated again.
    ResetBoth,
    /// The account goes for good; its id is never used again.
    Delete,
    /// A login method that was switched off for the account is on again.
    AllowMethod(Method),
}

impl Act {
    /// What the act does, as the audit has it.
    #[must_use]
    pub fn kind(&self) -> audit::Kind {
        match self {
            Self::Create(_) => audit::Kind::AccountCreated,
            Self::Resume => audit::Kind::AccountResumed,
            Self::Unlock(_) => audit::Kind::AccountUnlocked,
            Self::SetEmail(_) => audit::Kind::EmailSet,
            Self::RegisterCard { .. } => audit::Kind::CardRegistered,
            Self::ResetPassword => audit::Kind::PasswordReset,
            Self::ResetChannel => audit::Kind::ChannelReset,
            Self::ResetBoth => audit::Kind::OtpRevoked,
            Self::Delete => audit::Kind::AccountDeleted,
            Self::AllowMethod(_) => audit::Kind::MethodsSet,
        }
    }

    /// Whether it brings a card, with the verifier of its password: the clearing house issues those.
    pub(crate) fn brings_card(&self) -> bool {
        match self {
            Self::Create(account) => account.card.is_some(),
            Self::RegisterCard { .. } => true,
            Self::Resume
            | Self::Unlock(_)
            | Self::SetEmail(_)
            | Self::ResetPassword
            | Self::ResetChannel
            | Self::ResetBoth
            | Self::Delete
            | Self::AllowMethod(_) => false,
        }
    }

    /// Whether it is about a card alone, and so the clearing house's, whoever holds the card.
    pub(crate) fn is_card(&self) -> bool {
        self.brings_card() && !matches!(self, Self::Create(_))
    }

    /// Whether it opens a way around a factor, which who changed the e-mail may not do (LOGIN.md).
    pub(crate) fn resets(&self) -> bool {
        match self {
            Self::ResetPassword | Self::ResetChannel | Self::ResetBoth => true,
            Self::Create(_)
            | Self::Resume
            | Self::Unlock(_)
            | Self::SetEmail(_)
            | Self::RegisterCard { .. }
            | Self::Delete
            | Self::AllowMethod(_) => false,
        }
    }
}

/// How a request was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// It was carried out.
    Approved,
    /// It was refused.
    Rejected {
        /// Why.
        reason: String,
    },
    /// Its maker took it back.
    Withdrawn,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRequest {
    /// Its id.
    pub id: ChangeRequestId,
    /// The account that it is about, there or to be.
    pub account: AccountId,
    /// The account's firm.
    pub participant: ParticipantId,
    /// The account's class: it says who may make and check.
    pub class: Class,
    /// What is asked for.
    pub act: Act,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub maker: By,
    /// When.
    pub made_at: UnixMs,
    /// Until when it can be approved.
    pub expires_at: UnixMs,
    /// How it was decided, by whom and when; none while it is open.
    pub decided: Option<(Decision, By, UnixMs)>,
}

impl ChangeRequest {
    /// Whether it waits for a checker.
    #[must_use]
    pub fn open(&self, now: UnixMs) -> bool {
        self.decided.is_none() && now < self.expires_at
    }
}

impl ChangeRequest {
    /// Names what is asked for: what an operator's approval signs. A sealed verifier, which may be
    /// sealed anew in the meantime, is not part of it.
    #[must_use]
    pub fn content(&self) -> Digest {
        let unsealed = Sealed {
            key: 0,
            nonce: [0; 12],
            bytes: Vec::new(),
        };
        let mut named = Self {
            decided: None,
            ..self.clone()
        };
        match &mut named.act {
            Act::RegisterCard { password, .. } => *password = unsealed,
            Act::Create(account) => {
                if let Some((_, password)) = &mut account.card {
                    *password = unsealed;
                }
            }
            Act::Resume
            | Act::Unlock(_)
            | Act::SetEmail(_)
            | Act::ResetPassword
            | Act::ResetChannel
            | Act::ResetBoth
            | Act::Delete
            | Act::AllowMethod(_) => {}
        }
        Digest::of(
            "tidemark change request",
            &[&crate::encoding::encode(&named)],
        )
    }
}

impl Record for ChangeRequest {
    type Key = ChangeRequestId;
    const TABLE: &'static str = "change request";
    fn key(&self) -> ChangeRequestId {
        self.id
    }
}

impl Expires for ChangeRequest {
    fn expires(&self) -> UnixMs {
        let ended = self
            .decided
            .as_ref()
            .map_or(self.expires_at, |(_, _, at)| *at);
        ended.plus(KEPT_MS)
    }
}

/// All requests, with a look-up by firm.
#[derive(Debug, Clone, Default)]
pub struct ChangeRequests {
    all: Expiring<ChangeRequest>,
    by_participant: OrdSet<(ParticipantId, ChangeRequestId)>,
}

impl ChangeRequests {
    /// The request with this id.
    #[must_use]
    pub fn get(&self, id: &ChangeRequestId, now: UnixMs) -> Option<&ChangeRequest> {
        self.all.get(id, now)
    }

    /// All requests, by id.
    pub fn iter(&self) -> impl Iterator<Item = &ChangeRequest> {
        self.all.iter()
    }

    /// A firm's requests, by id, from `from` on.
    pub fn of<'a>(
        &'a self,
        participant: &'a ParticipantId,
        from: ChangeRequestId,
        now: UnixMs,
    ) -> impl Iterator<Item = &'a ChangeRequest> + 'a {
        self.by_participant
            .range((participant.clone(), from)..)
            .take_while(move |(owner, _)| owner == participant)
            .filter_map(move |(_, id)| self.all.get(id, now))
    }

    pub(crate) fn set(&mut self, request: ChangeRequest) {
        self.by_participant
            .insert((request.participant.clone(), request.id));
        self.all.set(request);
    }

    /// Changes a request without moving it to another firm.
    pub(crate) fn change(&mut self, id: &ChangeRequestId, change: impl FnOnce(&mut ChangeRequest)) {
        self.all.change(id, change);
    }

    pub(crate) fn remove_ended(&mut self, now: UnixMs, limit: usize) {
        for request in self.all.remove_ended(now, limit) {
            self.by_participant
                .remove(&(request.participant.clone(), request.id));
        }
    }

    pub(crate) fn hash(&self) -> &SetHash {
        self.all.hash()
    }
}

/// What is asked about change requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A new request.
    Make {
        /// Its id.
        id: ChangeRequestId,
        /// The account that it is about.
        account: AccountId,
        /// What is asked for.
        act: Act,
        /// Why.
        reason: String,
        /// The administrator's token; none when the actor is an operator.
        token: Option<TokenId>,
        /// The account as the maker saw it, if the maker says so.
        seen: Option<Digest>,
    },
    /// A second person agrees: the act is carried out.
    Approve {
        /// Which request.
        id: ChangeRequestId,
        /// The administrator's token; none when the actor is an operator.
        token: Option<TokenId>,
    },
    /// A second person does not agree.
    Reject {
        /// Which request.
        id: ChangeRequestId,
        /// Why.
        reason: String,
        /// The administrator's token; none when the actor is an operator.
        token: Option<TokenId>,
    },
    /// The maker takes it back.
    Withdraw {
        /// Which request.
        id: ChangeRequestId,
        /// The administrator's token; none when the actor is an operator.
        token: Option<TokenId>,
    },
}

impl Command {
    /// The method's name in request records.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::Make { .. } => "MakeChangeRequest",
            Self::Approve { .. } => "ApproveChangeRequest",
            Self::Reject { .. } => "RejectChangeRequest",
            Self::Withdraw { .. } => "WithdrawChangeRequest",
        }
    }

    pub(crate) fn kind(&self) -> audit::Kind {
        match self {
            Self::Make { .. } => audit::Kind::ChangeRequested,
            Self::Approve { .. } => audit::Kind::ChangeApproved,
            Self::Reject { .. } => audit::Kind::ChangeRejected,
            Self::Withdraw { .. } => audit::Kind::ChangeWithdrawn,
        }
    }

    fn token(&self) -> Option<&TokenId> {
        match self {
            Self::Make { token, .. }
            | Self::Approve { token, .. }
            | Self::Reject { token, .. }
            | Self::Withdraw { token, .. } => token.as_ref(),
        }
    }
}
