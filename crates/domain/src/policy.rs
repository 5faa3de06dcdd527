//! Policy: the numbers and choices that operators set. Times are milliseconds of state time.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::encoding;
use crate::protection::Mode;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// Longest overall life of a token that policy may set (S31).
pub const TOKEN_LIFE_MS_MAX: u64 = 24 * HOUR_MS;
/// Longest idle life of a token that policy may set (S31).
pub const TOKEN_IDLE_MS_MAX: u64 = HOUR_MS;
/// Longest life of an e-mailed code that policy may set (S10).
pub const CODE_LIFE_MS_MAX: u64 = 10 * MINUTE_MS;

/// Longest text that says whom to ask.
const SUPPORT_BYTES_MAX: usize = 256;

/// What operators set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// A token's overall life, if the session does not end sooner.
    pub token_life_ms: u64,
    /// A token's life without activity.
    pub token_idle_ms: u64,
    /// How long an opened login waits for its factor.
    pub login_life_ms: u64,
    /// How long an e-mailed code counts.
    pub code_life_ms: u64,
    /// How long an activation code counts.
    pub activation_life_ms: u64,
    /// How long a step-up counts, once.
    pub step_up_life_ms: u64,
    /// Most activation codes that an account can be sent in an hour.
    pub activations_an_hour: u32,
    /// How far ahead of the line's clock an envelope may be, without `AdvanceClock` before it.
    pub clock_jump_ms: u64,
    /// How far clocks of nodes may be apart.
    pub clock_skew_ms: u64,
    /// How long a changed e-mail address gets no code (LOGIN.md, "Initiation").
    pub email_hold_ms: u64,
    /// How long a change request can be approved.
    pub change_request_life_ms: u64,
    /// How long a request's record lives.
    pub request_life_ms: u64,
    /// How long before the next business day's opening the leader rolls over by itself.
    pub rollover_lead_ms: u64,
    /// How many operators approve a sensitive act (S34).
    pub approvals: u32,
    /// How long past its next update a revocation list of smartcards is relied on.
    #[serde(default = "revocation_grace_ms")]
    pub revocation_grace_ms: u64,
    /// Whether cards are refused as long as no revocation list was set.
    #[serde(default)]
    pub revocation_list_required: bool,
    /// What answers of the main line wait for (LINES.md, "Protection").
    #[serde(default)]
    pub protection: Mode,
    /// How long the secondary may confirm nothing before the line degrades, by the leader's
    /// monotonic clock. A claim of no loss counts on it.
    #[serde(default = "degrade_after_ms")]
    pub degrade_after_ms: u64,
    /// Whom a person asks (R11).
    pub support_contact: String,
    /// The same in Traditional Chinese (R12). Empty, it is `support_contact` that is told.
    #[serde(default)]
    pub support_contact_zh_hant: String,
}

/// Whom a person asks, in both languages (R11, R12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    /// In English.
    pub english: String,
    /// In Traditional Chinese.
    pub chinese: String,
}

impl Support {
    /// What is told as long as no operator said more.
    #[must_use]
    pub fn unsaid() -> Self {
        Self {
            english: "your administrator, or the hotline of the clearing house".into(),
            chinese: "你的管理員，或結算所熱線".into(),
        }
    }
}

fn revocation_grace_ms() -> u64 {
    24 * HOUR_MS
}

fn degrade_after_ms() -> u64 {
    3 * SECOND_MS
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            token_life_ms: 12 * HOUR_MS,
            token_idle_ms: 15 * MINUTE_MS,
            login_life_ms: 5 * MINUTE_MS,
            code_life_ms: 10 * MINUTE_MS,
            activation_life_ms: 30 * MINUTE_MS,
            step_up_life_ms: 5 * MINUTE_MS,
            activations_an_hour: 3,
            clock_jump_ms: 10 * MINUTE_MS,
            clock_skew_ms: 2 * SECOND_MS,
            email_hold_ms: 24 * HOUR_MS,
            change_request_life_ms: 7 * 24 * HOUR_MS,
            request_life_ms: 10 * MINUTE_MS,
            rollover_lead_ms: HOUR_MS,
            approvals: 2,
            revocation_grace_ms: revocation_grace_ms(),
            revocation_list_required: false,
            protection: Mode::default(),
            degrade_after_ms: degrade_after_ms(),
            support_contact: Support::unsaid().english,
            support_contact_zh_hant: String::new(),
        }
    }
}

impl Policy {
    /// Names these values: whoever replaces them says which they saw.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of("policy", &[&encoding::encode(self)])
    }

    /// Whom a person asks. Without words in Chinese the English ones stand: a hotline's number is
    /// the same in both.
    #[must_use]
    pub fn support(&self) -> Support {
        let unsaid = Support::unsaid();
        let chinese = match self.support_contact_zh_hant.as_str() {
            "" if self.support_contact == unsaid.english => unsaid.chinese,
            "" => self.support_contact.clone(),
            said => said.to_owned(),
        };
        Support {
            english: self.support_contact.clone(),
            chinese,
        }
    }

    /// What is wrong with these values; nothing when they may be set.
    #[must_use]
    pub fn problems(&self) -> Vec<&'static str> {
        let mut problems = Vec::new();
        let mut check = |holds: bool, problem| {
            if !holds {
                problems.push(problem);
            }
        };
        check(
            (1..=TOKEN_LIFE_MS_MAX).contains(&self.token_life_ms),
            "token_life_ms must be from 1 to 24 hours' worth",
        );
        check(
            (2 * MINUTE_MS..=TOKEN_IDLE_MS_MAX).contains(&self.token_idle_ms),
            "token_idle_ms must be from 2 minutes' to an hour's worth",
        );
        check(
            (1..=CODE_LIFE_MS_MAX).contains(&self.code_life_ms),
            "code_life_ms must be from 1 to 10 minutes' worth",
        );
        check(
            (1..=CODE_LIFE_MS_MAX).contains(&self.login_life_ms)
                && (1..=CODE_LIFE_MS_MAX).contains(&self.step_up_life_ms),
            "login_life_ms and step_up_life_ms must be from 1 to 10 minutes' worth",
        );
        check(
            (1..=24 * HOUR_MS).contains(&self.activation_life_ms),
            "activation_life_ms must be from 1 to a day's worth",
        );
        check(
            (MINUTE_MS..=24 * HOUR_MS).contains(&self.clock_jump_ms),
            "clock_jump_ms must be from a minute's to a day's worth",
        );
        check(
            self.rollover_lead_ms <= 24 * HOUR_MS,
            "rollover_lead_ms must be at most a day's worth",
        );
        check(
            (SECOND_MS..=4 * SECOND_MS).contains(&self.degrade_after_ms),
            "degrade_after_ms must be from 1 to 4 seconds' worth",
        );
        check(
            self.clock_skew_ms <= MINUTE_MS,
            "clock_skew_ms must be at most a minute's worth",
        );
        check(
            self.email_hold_ms <= 7 * 24 * HOUR_MS,
            "email_hold_ms must be at most 7 days' worth",
        );
        check(
            (MINUTE_MS..=30 * 24 * HOUR_MS).contains(&self.change_request_life_ms),
            "change_request_life_ms must be from a minute's to 30 days' worth",
        );
        check(
            (MINUTE_MS..=24 * HOUR_MS).contains(&self.request_life_ms),
            "request_life_ms must be from a minute's to a day's worth",
        );
        check(
            (2..=8).contains(&self.approvals),
            "approvals must be from 2 to 8: a sensitive act takes a second person",
        );
        check(
            self.revocation_grace_ms <= 30 * 24 * HOUR_MS,
            "revocation_grace_ms must be at most 30 days' worth",
        );
        check(
            (1..=SUPPORT_BYTES_MAX).contains(&self.support_contact.len()),
            "support_contact must have 1 to 256 bytes",
        );
        check(
            self.support_contact_zh_hant.len() <= SUPPORT_BYTES_MAX,
            "support_contact_zh_hant must have at most 256 bytes",
        );
        let said = [&self.support_contact, &self.support_contact_zh_hant];
        check(
            said.iter().all(|text| !text.contains(char::is_control)),
            "support_contact and support_contact_zh_hant must be one line each",
        );
        problems
    }
}
