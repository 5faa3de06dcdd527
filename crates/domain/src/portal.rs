//! Portals, the options on their landing pages, and what each option grants (R20–R24).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::account::Class;
use crate::factor::Method;

/// Where a person logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Portal {
    /// The collateral system's terminal, for users.
    Ccms,
    /// Security management under `/dms`, for delegated administrators (R20).
    Dms,
}

impl Portal {
    /// The class of accounts that logs in there (R50).
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::Ccms => Class::User,
            Self::Dms => Class::DelegatedAdmin,
        }
    }
}

impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ccms => "CCMS",
            Self::Dms => "DMS",
        })
    }
}

/// A service that a token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Online functions.
    OnlineFunctions,
    /// Overnight report download.
    OvernightReports,
    /// Security management functions.
    SecurityManagement,
}

impl Scope {
    /// The stable id.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::OnlineFunctions => "online-functions",
            Self::OvernightReports => "overnight-report-download",
            Self::SecurityManagement => "security-management",
        }
    }

    /// The scope with this id.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        [
            Self::OnlineFunctions,
            Self::OvernightReports,
            Self::SecurityManagement,
        ]
        .into_iter()
        .find(|scope| scope.id() == id)
    }
}

/// An entry of a landing page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LandingOption {
    /// One choice that grants both services of CCMS (R22).
    SmartcardOnlineAndReports,
    /// Security management by smartcard (R24).
    SmartcardSecurity,
    /// Online functions by OTP (R23).
    OtpOnline,
    /// Overnight report download by OTP (R23).
    OtpReports,
    /// Security management by OTP (R24).
    OtpSecurity,
}

/// All options, as landing pages show them.
pub const LANDING_OPTIONS: [LandingOption; 5] = [
    LandingOption::SmartcardOnlineAndReports,
    LandingOption::OtpOnline,
    LandingOption::OtpReports,
    LandingOption::SmartcardSecurity,
    LandingOption::OtpSecurity,
];

impl LandingOption {
    /// The stable id.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::SmartcardOnlineAndReports => "ccms-smartcard-online-and-reports",
            Self::SmartcardSecurity => "dms-smartcard-security",
            Self::OtpOnline => "ccms-otp-online",
            Self::OtpReports => "ccms-otp-reports",
            Self::OtpSecurity => "dms-otp-security",
        }
    }

    /// The option with this id.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        LANDING_OPTIONS.into_iter().find(|option| option.id() == id)
    }

    /// The portal it belongs to.
    #[must_use]
    pub fn portal(self) -> Portal {
        match self {
            Self::SmartcardOnlineAndReports | Self::OtpOnline | Self::OtpReports => Portal::Ccms,
            Self::SmartcardSecurity | Self::OtpSecurity => Portal::Dms,
        }
    }

    /// The method it logs in with.
    #[must_use]
    pub fn method(self) -> Method {
        match self {
            Self::SmartcardOnlineAndReports | Self::SmartcardSecurity => Method::Smartcard,
            Self::OtpOnline | Self::OtpReports | Self::OtpSecurity => Method::Otp,
        }
    }

    /// What it grants.
    #[must_use]
    pub fn scopes(self) -> &'static [Scope] {
        match self {
            Self::SmartcardOnlineAndReports => &[Scope::OnlineFunctions, Scope::OvernightReports],
            Self::OtpOnline => &[Scope::OnlineFunctions],
            Self::OtpReports => &[Scope::OvernightReports],
            Self::SmartcardSecurity | Self::OtpSecurity => &[Scope::SecurityManagement],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smartcard_option_grants_both_services_and_each_otp_option_one_r22_r23() {
        assert_eq!(LandingOption::SmartcardOnlineAndReports.scopes().len(), 2);
        for option in LANDING_OPTIONS {
            if option.method() == Method::Otp {
                assert_eq!(option.scopes().len(), 1);
            }
            assert_eq!(LandingOption::from_id(option.id()), Some(option));
        }
    }
}
