//! A smartcard in software, for the demo, drills and tests: a P-256 key and certificate that sign
//! challenges as a card would. Its key is in a file; it is no substitute for a card.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use domain::id::CardNumber;

use crate::authority::{Authority, Validity};
use crate::card::Challenge;
use crate::{authority, certificate};

/// Why a software card was not made, read or did not sign.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its certificate was not issued.
    #[error(transparent)]
    Authority(#[from] authority::Error),
    /// Its certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// Its key cannot be read.
    #[error("the card's key is no PKCS #8 PEM of a P-256 key")]
    Key,
    /// The signing failed.
    #[error("the card did not sign")]
    Sign,
}

/// A key and its certificate.
pub struct SoftwareCard {
    key: EcdsaKeyPair,
    chain: Vec<CertificateDer<'static>>,
    pem: Zeroizing<String>,
}

impl SoftwareCard {
    /// A new card of this number and holder's name, issued by the card authority.
    ///
    /// # Errors
    /// [`Error`].
    pub fn issue(
        authority: &Authority,
        number: &CardNumber,
        name: &str,
        validity: Validity,
    ) -> Result<Self, Error> {
        let issued = authority.issue_card(number, name, validity)?;
        let mut pem = Zeroizing::new(String::with_capacity(
            issued.certificate_pem.len() + issued.key_pem.len(),
        ));
        pem.push_str(&issued.certificate_pem);
        pem.push_str(&issued.key_pem);
        Self::from_pem(&pem)
    }

    /// Reads a card as [`SoftwareCard::pem`] writes it: certificates, the card's own first, and
    /// the key.
    ///
    /// # Errors
    /// [`Error`] if certificate or key cannot be read.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| Error::Key)?;
        Ok(Self {
            key: EcdsaKeyPair::from_pkcs8(
                &ECDSA_P256_SHA256_ASN1_SIGNING,
                key.secret_pkcs8_der(),
                &SystemRandom::new(),
            )
            .map_err(|_| Error::Key)?,
            chain: certificate::from_pem(pem)?,
            pem: Zeroizing::new(pem.to_owned()),
        })
    }

    /// The card as one PEM text: a secret.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificates to send with a signature, the card's own first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Signs a challenge (ECDSA P-256, SHA-256, ASN.1).
    ///
    /// # Errors
    /// [`Error::Sign`].
    pub fn sign(&self, challenge: &Challenge) -> Result<Vec<u8>, Error> {
        let signature = self
            .key
            .sign(&SystemRandom::new(), &challenge.to_bytes())
            .map_err(|_| Error::Sign)?;
        Ok(signature.as_ref().to_vec())
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
#[path = "card_tests.rs"]
mod tests;
