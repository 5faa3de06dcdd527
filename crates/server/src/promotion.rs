//! Checking a promotion's certificate: the signatures, which the line does not look at.

use domain::State;
use domain::promotion::Certificate;

/// Whether each operator's signature of the certificate holds. Who the operators are, and that the
/// signed terms are these, the state has judged.
///
/// # Errors
/// Whose does not, and why.
pub(crate) fn signatures_hold(_state: &State, certificate: &Certificate) -> Result<(), String> {
    for (operator, approval) in &certificate.by {
        credential::approval::check(approval)
            .map_err(|error| format!("the signature of {operator}: {error}"))?;
    }
    Ok(())
}
