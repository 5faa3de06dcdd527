//! `account import` and `account readiness`.

use crate::args::account::Account;
use crate::exit::Failure;
use crate::output::Output;

mod import;
mod person;
mod readiness;
mod shown;

/// Imports accounts, or shows who is ready.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Account, output: Output) -> Result<(), Failure> {
    match flags {
        Account::Import(flags) => import::run(flags, output).await,
        Account::Readiness(flags) => readiness::run(flags, output).await,
        Account::Person(act) => Box::pin(person::run(act, output)).await,
    }
}
