//! Factors: what a login checks. Secrets stand here sealed, under a key outside the store (S22).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::attempts::CONSECUTIVE_FAILURES_MAX;
use crate::id::CardNumber;
use crate::revocation::Serial;
use crate::time::UnixMs;

/// A secret that was sealed by AES-256-GCM under a key of the key file; opaque here.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Which key.
    pub key: u32,
    /// The nonce.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; 12],
    /// The ciphertext with its tag.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(key {}, {} bytes)", self.key, self.bytes.len())
    }
}

/// A way to log in (R3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Method {
    /// Smartcard and the card's password.
    Smartcard,
    /// Password and one-time password.
    Otp,
}

/// One of an account's passwords; there is one a method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Password {
    /// The verifier.
    pub verifier: Sealed,
    /// Counts the changes, so that a verdict on an older verifier is known for one.
    pub version: u64,
    /// When it was set.
    pub set_at: UnixMs,
}

/// A card that signed a nonce, as its certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardProof {
    /// The card's number.
    pub number: CardNumber,
    /// The serial numbers of its certificate and its issuers': they are looked up again on the
    /// revocation list of the line, which may have come after the edge looked (S36).
    pub serials: Vec<Serial>,
}

impl CardProof {
    /// A card with this number, of no certificate.
    #[must_use]
    pub fn bare(number: CardNumber) -> Self {
        Self {
            number,
            serials: Vec::new(),
        }
    }
}

/// The edge's verdict on a password that was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It fits the verifier of this version.
    Right {
        /// The version that it was checked against.
        version: u64,
    },
    /// It does not, or there was nothing to check it against.
    Wrong,
}

impl Verdict {
    /// Whether the verdict is that this very password was typed.
    #[must_use]
    pub fn fits(self, password: &Password) -> bool {
        self == Self::Right {
            version: password.version,
        }
    }
}

/// The smartcard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The serial number in the certificate's subject.
    pub number: CardNumber,
    /// The card's password.
    pub password: Password,
}

/// What of password and channel is to be set anew; the other half proves the person (S26).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reset {
    /// The password, with the channel that is there.
    Password,
    /// The channel, with the password that is there.
    Channel,
}

/// Password and OTP, as initiation sets them (R30).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Otp {
    /// The OTP password.
    pub password: Password,
    /// Where the one-time passwords come from.
    pub channel: Channel,
    /// Consecutive failures of the one-time password with the right password (S12, S13).
    pub failures: u32,
    /// When it was initiated.
    pub initiated_at: UnixMs,
    /// When password or channel last changed.
    pub changed_at: UnixMs,
    /// What is to be set anew before anybody logs in by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<Reset>,
}

impl Otp {
    /// Whether the channel is disabled until it is bound again (S12).
    #[must_use]
    pub fn locked(&self) -> bool {
        self.failures >= CONSECUTIVE_FAILURES_MAX || self.reset == Some(Reset::Channel)
    }
}

/// Where one-time passwords come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Channel {
    /// An authenticator app (S40: the default).
    Authenticator {
        /// The sealed seed.
        seed: Sealed,
        /// The greatest step accepted; none at or below it is accepted again (S5).
        last_step: u64,
    },
    /// Codes by e-mail to the registered address.
    Email,
}

/// Which channel, without its secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ChannelKind {
    /// An authenticator app.
    Authenticator,
    /// Codes by e-mail.
    Email,
}

impl Channel {
    /// Which it is.
    #[must_use]
    pub fn kind(&self) -> ChannelKind {
        match self {
            Self::Authenticator { .. } => ChannelKind::Authenticator,
            Self::Email => ChannelKind::Email,
        }
    }
}

/// A channel that is being set up, with what its first code is checked against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NewChannel {
    /// An authenticator app.
    Authenticator {
        /// The sealed seed.
        seed: Sealed,
    },
    /// Codes by e-mail.
    Email {
        /// The sealed code that was sent.
        code: Sealed,
    },
}

impl NewChannel {
    /// Which it is.
    #[must_use]
    pub fn kind(&self) -> ChannelKind {
        match self {
            Self::Authenticator { .. } => ChannelKind::Authenticator,
            Self::Email { .. } => ChannelKind::Email,
        }
    }

    /// The channel, once `proof` showed that the person has it; none when it did not.
    ///
    /// The step that confirmed it counts as used: it cannot be the first login's (S9).
    #[must_use]
    pub fn confirmed(&self, proof: CodeProof, steps: Steps) -> Option<Channel> {
        match (self, proof) {
            (Self::Authenticator { seed }, CodeProof::Step(Some(step))) if steps.admit(step, 0) => {
                Some(Channel::Authenticator {
                    seed: seed.clone(),
                    last_step: step,
                })
            }
            (Self::Email { .. }, CodeProof::Mailed { matched: true }) => Some(Channel::Email),
            (Self::Authenticator { .. } | Self::Email { .. }, _) => None,
        }
    }
}

/// Which TOTP steps can be accepted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// None at or below it.
    pub floor: u64,
    /// None below it: the edge looks one step back, and the log takes some seconds.
    pub first: u64,
    /// None above it (S8).
    pub last: u64,
}

impl Steps {
    /// Whether the step is among them, and above the last that was accepted (S5).
    #[must_use]
    pub fn admit(self, step: u64, last_step: u64) -> bool {
        step > self.floor && step > last_step && (self.first..=self.last).contains(&step)
    }
}

/// The edge's verdict on a one-time password that was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CodeProof {
    /// The TOTP step that it matched, if any.
    Step(Option<u64>),
    /// Whether it is the code that was mailed.
    Mailed {
        /// Whether it is.
        matched: bool,
    },
}
