//! What people change themselves: passwords and channels, with the step-up that a channel needs.

use serde::{Deserialize, Serialize};

mod carry_out;

pub(crate) use carry_out::{apply, count_failure, own, use_step_up};

use crate::audit::{self};
use crate::factor::{CardProof, CodeProof, NewChannel, Sealed, Verdict};
use crate::id::{AccountId, ChangeRequestId, FrontEndId, ProcedureId};
use crate::initiation::Setting;
use crate::table::{Expires, Record};
use crate::time::UnixMs;
use crate::token::TokenId;

/// Most procedures under way on a line.
pub const PROCEDURES_MAX: usize = 200_000;
/// Wrong codes that a procedure takes.
pub const TRIES_MAX: u8 = 5;

/// Why somebody changes a factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Routine.
    Routine,
    /// The former one is lost, or another may have it: must be repeated after a rollover.
    LostOrCompromised,
}

/// An act that needs a step-up, with what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// Replacing the OTP channel.
    ReplaceChannel,
    /// A delegated administrator's approving of a change request.
    ApproveChange(ChangeRequestId),
    /// A delegated administrator's issuing of an activation code for an account.
    IssueActivation(AccountId),
}

/// Something under way that takes two calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Procedure {
    /// Its id.
    pub id: ProcedureId,
    /// Whose.
    pub account: AccountId,
    /// The front end; no other may go on with it.
    pub front_end: FrontEndId,
    /// Wrong codes so far.
    pub tries: u8,
    /// When it ends.
    pub ends_at: UnixMs,
    /// What it is.
    pub kind: Kind,
}

/// What is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// An initiation, or what follows a reset, whose codes were right.
    SetUp {
        /// What to confirm.
        setting: Setting,
        /// The account's count of passwords then: another since means another initiation.
        passwords_set: u64,
    },
    /// A step-up for one act of one token.
    StepUp {
        /// The token.
        token: TokenId,
        /// The act.
        act: Act,
        /// The sealed code that was sent, if the channel is e-mail.
        code: Option<Sealed>,
        /// What a card must sign.
        #[serde(with = "serde_bytes")]
        nonce: [u8; 16],
        /// Whether it was verified.
        verified: bool,
    },
    /// A channel replacement whose current factors were proved.
    Replacement {
        /// The token.
        token: TokenId,
        /// The channel to confirm.
        channel: NewChannel,
        /// Why.
        reason: Reason,
    },
}

impl Record for Procedure {
    type Key = ProcedureId;
    const TABLE: &'static str = "procedure";
    fn key(&self) -> ProcedureId {
        self.id
    }
}

impl Expires for Procedure {
    fn expires(&self) -> UnixMs {
        self.ends_at
    }
}

/// What people ask about their own factors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Sets another password of the token's method (S19).
    Password {
        /// The token.
        token: TokenId,
        /// The verdict on the current password.
        verdict: Verdict,
        /// The sealed verifier of the new one.
        password: Sealed,
        /// Why.
        reason: Reason,
    },
    /// Asks for a step-up.
    BeginStepUp {
        /// Its id.
        procedure: ProcedureId,
        /// The token.
        token: TokenId,
        /// What for.
        act: Act,
        /// The sealed code to send, if the channel is e-mail.
        code: Option<Sealed>,
        /// What a card must sign.
        #[serde(with = "serde_bytes")]
        nonce: [u8; 16],
    },
    /// Proves the current channel or card.
    VerifyStepUp {
        /// Which.
        procedure: ProcedureId,
        /// The token.
        token: TokenId,
        /// What the edge found.
        proof: StepUpProof,
    },
    /// Names the new channel.
    BeginReplacement {
        /// The id of what is begun.
        procedure: ProcedureId,
        /// The token.
        token: TokenId,
        /// The verified step-up; it is used up.
        step_up: ProcedureId,
        /// The verdict on the current OTP password.
        verdict: Verdict,
        /// The channel to set up.
        channel: NewChannel,
        /// Why.
        reason: Reason,
    },
    /// Shows a code of the new channel, and sets it.
    ConfirmReplacement {
        /// What was begun.
        procedure: ProcedureId,
        /// The token.
        token: TokenId,
        /// The edge's verdict on the new channel's code.
        proof: CodeProof,
    },
}

/// What the edge found at a step-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepUpProof {
    /// A code of the current channel.
    Code(CodeProof),
    /// A card that signed the step-up's nonce; none when it did not hold.
    Card(Option<CardProof>),
}

impl Command {
    pub(crate) fn kind(&self) -> audit::Kind {
        match self {
            Self::Password { .. } => audit::Kind::PasswordChanged,
            Self::BeginStepUp { .. } => audit::Kind::StepUpBegun,
            Self::VerifyStepUp { .. } => audit::Kind::StepUpVerified,
            Self::BeginReplacement { .. } => audit::Kind::ReplacementBegun,
            Self::ConfirmReplacement { .. } => audit::Kind::ChannelReplaced,
        }
    }

    fn token(&self) -> &TokenId {
        match self {
            Self::Password { token, .. }
            | Self::BeginStepUp { token, .. }
            | Self::VerifyStepUp { token, .. }
            | Self::BeginReplacement { token, .. }
            | Self::ConfirmReplacement { token, .. } => token,
        }
    }
}
