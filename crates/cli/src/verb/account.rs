//! `account`: imports, readiness, reminders, reviews, and what is done to one account.

use crate::args::account::Account;
use crate::exit::Failure;
use crate::output::Output;

mod import;
pub(super) mod person;
mod readiness;
mod remind;
mod review;
pub(super) mod shown;

/// Carries out the verb.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Account, output: Output) -> Result<(), Failure> {
    match flags {
        Account::Import(flags) => import::run(flags, output).await,
        Account::Readiness(flags) => readiness::run(flags, output).await,
        Account::Remind(flags) => remind::run(flags, output).await,
        Account::Reviews(flags) => review::list(flags, output).await,
        Account::Review(flags) => review::run(flags, output).await,
        Account::Person(act) => Box::pin(person::run(act, output)).await,
    }
}
