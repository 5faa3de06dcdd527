//! Revocation lists (RFC 5280 §5): read from the file that a card authority publishes, and believed
//! only with the signature of a configured anchor.
//!
//! A list that says more than this service understands is refused whole: a delta, an indirect or
//! partial list would look like a complete one with nothing revoked.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{CertificateRevocationList as Parsed, FromDer};

use domain::UnixMs;

use crate::card::Serial;
use crate::certificate;

/// Most bytes of a list's file.
pub const LIST_BYTES_MAX: usize = 900 * 1024;
/// Most certificates on a list.
pub const REVOKED_MAX: usize = 20_000;

/// Why a list is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is larger than any that the service keeps.
    #[error("the list has more than {LIST_BYTES_MAX} bytes or {REVOKED_MAX} certificates")]
    TooLarge,
    /// It is no revocation list.
    #[error("the file is no revocation list in DER or PEM")]
    Unreadable,
    /// An anchor cannot be read.
    #[error(transparent)]
    Anchor(#[from] certificate::Error),
    /// Nobody who is trusted signed it.
    #[error("the list is not signed by a configured card anchor")]
    Signature,
    /// It lacks what says which list is newer, or until when it counts.
    #[error("the list has no number below 2^64, or no time of its next update after this one")]
    NumberOrTime,
    /// It is not a complete list of its issuer.
    #[error("the list has a critical extension that is not understood: only complete lists are")]
    Partial,
}

/// What a list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// Its number: a greater one is newer.
    pub number: u64,
    /// When it was made.
    pub this_update: UnixMs,
    /// When the next one is due at the latest.
    pub next_update: UnixMs,
    /// What was revoked, in order.
    pub serials: Vec<Serial>,
}

impl RevocationList {
    /// Reads a list in DER or PEM, and checks that one of the anchors (PEM) signed it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read(file: &[u8], anchors_pem: &str) -> Result<Self, Error> {
        if file.len() > LIST_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        let der = match rustls_pki_types::CertificateRevocationListDer::from_pem_slice(file) {
            Ok(der) => der.as_ref().to_vec(),
            Err(_) => file.to_vec(),
        };
        let ([], list) = Parsed::from_der(&der).map_err(|_| Error::Unreadable)? else {
            return Err(Error::Unreadable);
        };
        let anchors = certificate::from_pem(anchors_pem)?;
        let mut signed = false;
        for anchor in &anchors {
            signed |= signed_by(&list, anchor)?;
        }
        if !signed {
            return Err(Error::Signature);
        }
        let understood = list.extensions().iter().all(|extension| {
            matches!(extension.parsed_extension(), ParsedExtension::CRLNumber(_))
                || !extension.critical
        });
        if !understood {
            return Err(Error::Partial);
        }
        Self::of(&list)
    }

    fn of(list: &Parsed<'_>) -> Result<Self, Error> {
        let ms = |seconds: i64| u64::try_from(seconds).ok()?.checked_mul(1_000);
        let this_update = ms(list.last_update().timestamp());
        let next_update = list.next_update().and_then(|at| ms(at.timestamp()));
        let number = list.crl_number().and_then(|number| number.try_into().ok());
        let (Some(number), Some(this_update), Some(next_update)) =
            (number, this_update, next_update)
        else {
            return Err(Error::NumberOrTime);
        };
        if next_update <= this_update {
            return Err(Error::NumberOrTime);
        }
        let mut serials = Vec::new();
        for revoked in list.iter_revoked_certificates() {
            if serials.len() >= REVOKED_MAX {
                return Err(Error::TooLarge);
            }
            // An entry may name another issuer: the list is then an indirect one.
            if revoked.extensions().iter().any(|found| found.critical) {
                return Err(Error::Partial);
            }
            serials.push(Serial::from_bytes(revoked.raw_serial()).ok_or(Error::Unreadable)?);
        }
        serials.sort_unstable();
        serials.dedup();
        Ok(Self {
            number,
            this_update: UnixMs(this_update),
            next_update: UnixMs(next_update),
            serials,
        })
    }
}

/// Whether the anchor signed the list, under its own name.
fn signed_by(list: &Parsed<'_>, anchor: &CertificateDer<'_>) -> Result<bool, Error> {
    let anchor = certificate::parse(anchor)?;
    let same_name = anchor.subject().as_raw() == list.issuer().as_raw();
    Ok(same_name && list.verify_signature(anchor.public_key()).is_ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::authority::{Authority, Validity};

    /// 2020 to 2040.
    const VALIDITY: Validity = Validity {
        not_before: UnixMs(1_577_836_800_000),
        not_after: UnixMs(2_208_988_800_000),
    };
    /// 10 June 2023, and a day later.
    const DAY: Validity = Validity {
        not_before: UnixMs(1_686_391_200_000),
        not_after: UnixMs(1_686_477_600_000),
    };

    fn serial(bytes: &[u8]) -> Serial {
        Serial::from_bytes(bytes).unwrap()
    }

    #[test]
    fn a_list_says_its_number_its_times_and_what_was_revoked() {
        let authority = Authority::create("test card CA", VALIDITY).unwrap();
        let revoked = [serial(&[9, 9]), serial(&[1]), serial(&[9, 9])];
        let pem = authority.revoke(7, &revoked, DAY).unwrap();
        let read = RevocationList::read(pem.as_bytes(), authority.certificate_pem()).unwrap();
        assert_eq!(read.number, 7);
        assert_eq!(read.this_update, DAY.not_before);
        assert_eq!(read.next_update, DAY.not_after);
        assert_eq!(read.serials, [serial(&[1]), serial(&[9, 9])]);
    }

    #[test]
    fn only_a_configured_anchor_s_list_is_believed() {
        let authority = Authority::create("test card CA", VALIDITY).unwrap();
        let same_name = Authority::create("test card CA", VALIDITY).unwrap();
        let pem = same_name.revoke(7, &[], DAY).unwrap();
        let read = RevocationList::read(pem.as_bytes(), authority.certificate_pem());
        assert_eq!(read, Err(Error::Signature));
        let both = format!(
            "{}{}",
            authority.certificate_pem(),
            same_name.certificate_pem()
        );
        RevocationList::read(pem.as_bytes(), &both).unwrap();
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let authority = Authority::create("test card CA", VALIDITY).unwrap();
        let anchors = authority.certificate_pem();
        for text in [
            "",
            "-----BEGIN X509 CRL-----\nMA==\n-----END X509 CRL-----\n",
            anchors,
        ] {
            let read = RevocationList::read(text.as_bytes(), anchors);
            assert_eq!(read, Err(Error::Unreadable), "{text}");
        }
        let large = vec![0x30; LIST_BYTES_MAX + 1];
        assert_eq!(RevocationList::read(&large, anchors), Err(Error::TooLarge));
    }

    proptest! {
        #[test]
        fn an_altered_list_says_what_was_signed_or_is_refused(at in 0_usize..300, bit in 0_u8..8) {
            let authority = Authority::create("test card CA", VALIDITY).unwrap();
            let pem = authority.revoke(7, &[serial(&[5])], DAY).unwrap();
            let der = rustls_pki_types::CertificateRevocationListDer::from_pem_slice(pem.as_bytes());
            let mut der = der.unwrap().as_ref().to_vec();
            let before = RevocationList::read(&der, authority.certificate_pem()).unwrap();
            let at = at % der.len();
            if let Some(byte) = der.get_mut(at) {
                *byte ^= 1 << bit;
            }
            // What stands outside the signed part may change its spelling.
            if let Ok(read) = RevocationList::read(&der, authority.certificate_pem()) {
                prop_assert_eq!(read, before);
            }
        }
    }
}
