//! The row that a sealed value belongs to. It is authenticated with the value, so that a verifier
//! or seed copied into another row does not open there (S22, S39).
//!
//! The line is deliberately absent: a branch starts from the main line's rows, and they must open
//! on it.

use domain::factor::Method;
use domain::id::{AccountId, LoginId, ProcedureId};
use domain::keys::Place;

use crate::statement::Statement;

const PURPOSE: &str = "tidemark sealed row v1";

/// A row's name in bytes. Made by the functions below only, one for each kind of row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Associated(Vec<u8>);

/// Which half of an activation code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivationHalf {
    /// The one sent to the registered address.
    Mailed,
    /// The one that the administrator passes on.
    Spoken,
}

impl Associated {
    /// The verifier of one of an account's passwords.
    #[must_use]
    pub fn verifier(account: &AccountId, method: Method) -> Self {
        let method = match method {
            Method::Smartcard => "smartcard",
            Method::Otp => "otp",
        };
        Self::row("verifier", account, method.as_bytes())
    }

    /// The seed of an account's authenticator app, while it is set up and after.
    #[must_use]
    pub fn seed(account: &AccountId) -> Self {
        Self::row("seed", account, &[])
    }

    /// The code e-mailed for a login: it is that login's alone (S10).
    #[must_use]
    pub fn login_code(account: &AccountId, login: LoginId) -> Self {
        Self::row("login code", account, &login.0)
    }

    /// The code e-mailed for an initiation, a channel replacement or a step-up (S10).
    #[must_use]
    pub fn procedure_code(account: &AccountId, procedure: ProcedureId) -> Self {
        Self::row("procedure code", account, &procedure.0)
    }

    /// One half of an account's activation code (S24).
    #[must_use]
    pub fn activation(account: &AccountId, half: ActivationHalf) -> Self {
        let half = match half {
            ActivationHalf::Mailed => "mailed",
            ActivationHalf::Spoken => "spoken",
        };
        Self::row("activation", account, half.as_bytes())
    }

    /// What a value of this place is sealed for.
    #[must_use]
    pub fn of(place: &Place) -> Self {
        match place {
            Place::Verifier { account, method } => Self::verifier(account, *method),
            Place::AskedFor { account, .. } => Self::verifier(account, Method::Smartcard),
            Place::Seed { account } | Place::ProcedureSeed { account, .. } => Self::seed(account),
            Place::MailedHalf { account } => Self::activation(account, ActivationHalf::Mailed),
            Place::IssuedHalf { account } => Self::activation(account, ActivationHalf::Spoken),
            Place::ProcedureCode { procedure, account } => {
                Self::procedure_code(account, *procedure)
            }
            Place::LoginCode { login, account } => Self::login_code(account, *login),
        }
    }

    fn row(kind: &str, account: &AccountId, which: &[u8]) -> Self {
        Self(
            Statement::new(PURPOSE)
                .text(kind)
                .text(account.as_str())
                .bytes(which)
                .finish(),
        )
    }

    /// The bytes that are authenticated.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
mod tests {
    use super::*;

    #[test]
    fn s22_no_two_rows_have_one_name() {
        let one = AccountId::parse("C001USER1").unwrap();
        let other = AccountId::parse("C001USER2").unwrap();
        let names = [
            Associated::verifier(&one, Method::Otp),
            Associated::verifier(&one, Method::Smartcard),
            Associated::verifier(&other, Method::Otp),
            Associated::seed(&one),
            Associated::seed(&other),
            Associated::login_code(&one, LoginId([1; 16])),
            Associated::login_code(&one, LoginId([2; 16])),
            Associated::procedure_code(&one, ProcedureId([1; 16])),
            Associated::activation(&one, ActivationHalf::Mailed),
            Associated::activation(&one, ActivationHalf::Spoken),
        ];
        for (index, name) in names.iter().enumerate() {
            let again = names.iter().position(|n| n == name);
            assert_eq!(again, Some(index));
        }
    }
}
