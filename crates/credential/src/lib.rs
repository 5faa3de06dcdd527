//! Secrets to verifiers, codes to verdicts, cards to identities, things sealed and signed.
//!
//! The edge calls this crate and proposes what came out: a sealed verifier, a matched step, a
//! card number. It keeps nothing, knows no line and no account, and decides no login: that is
//! `domain`'s. It has no clock either; every function that needs the time is told it. Randomness
//! is passed in as [`Entropy`].

pub mod approval;
pub mod associated;
pub mod authority;
pub mod backup;
pub mod breached;
pub mod card;
pub mod certificate;
pub mod checkpoint;
pub mod code;
pub mod entropy;
pub mod export;
pub mod key_file;
pub mod keyring;
pub mod password;
pub mod phc;
pub mod qr;
pub mod revocation;
pub mod rules;
pub mod seal;
pub mod secret;
pub mod software_card;
pub mod totp;

mod statement;

pub use entropy::{Entropy, SeededEntropy, SystemEntropy};

/// A hash or authentication code of 32 bytes as the domain's digest. A shorter one, which no
/// algorithm used here makes, is filled with zeros.
fn digest_of(hash: impl AsRef<[u8]>) -> domain::Digest {
    let mut bytes = [0; 32];
    for (byte, hashed) in bytes.iter_mut().zip(hash.as_ref()) {
        *byte = *hashed;
    }
    domain::Digest(bytes)
}
