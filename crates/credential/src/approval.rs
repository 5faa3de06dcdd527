//! Approvals: an operator signs what is to be done, with the key of the operator's certificate.
//!
//! The statement names cluster, epoch, act and arguments, and the log index that the operator was
//! shown, so that an approval cannot be used for another act, after a promotion, or on a state
//! that the operator never saw. Who must approve what, and that the same person does not count
//! twice, is `domain`'s.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use webpki::EndEntityCert;

use domain::UnixMs;
use domain::approval::{
    Approval, CERTIFICATE_BYTES_MAX, LIFE_MS_MAX, SIGNATURE_BYTES_MAX, Statement,
};
use domain::cluster::KeyPin;

use crate::certificate;
use crate::statement::Statement as Signed;

const PURPOSE: &str = "tidemark approval v1";

/// The bytes that are signed: `tidemark approval v1`, a zero byte, then each field with its length
/// as eight bytes, big endian, before it; numbers are eight bytes, big endian.
#[must_use]
pub fn to_bytes(statement: &Statement) -> Vec<u8> {
    Signed::new(PURPOSE)
        .bytes(&statement.cluster.0)
        .number(statement.epoch)
        .text(&statement.act)
        .bytes(&statement.arguments.0)
        .number(statement.index)
        .number(statement.expires_at.0)
        .finish()
}

/// Why a statement was not signed, or an approval does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key cannot be read.
    #[error("the operator's key is no PKCS #8 PEM of a P-256 key")]
    Key,
    /// The signing failed.
    #[error("the statement was not signed")]
    Sign,
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// The key is not the operator's registered one.
    #[error("the approval was signed with another key than the operator's registered one")]
    OtherKey,
    /// The time is over.
    #[error("the approval has expired: approve again")]
    Expired,
    /// It would be valid for longer than approvals may be.
    #[error("an approval may be valid for at most {} minutes", LIFE_MS_MAX / 60_000)]
    TooLong,
    /// The signature is over something else.
    #[error("the approval does not fit the act, its arguments, or the state that was shown")]
    Signature,
}

/// Signs a statement with an operator's key and certificate, both PEM.
///
/// # Errors
/// [`Error`] if either cannot be read.
pub fn sign(key_pem: &str, certificate_pem: &str, statement: Statement) -> Result<Approval, Error> {
    let random = SystemRandom::new();
    let key = PrivatePkcs8KeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| Error::Key)?;
    let key = EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        key.secret_pkcs8_der(),
        &random,
    )
    .map_err(|_| Error::Key)?;
    let certificate = certificate::from_pem(certificate_pem)?
        .into_iter()
        .next()
        .ok_or(certificate::Error::Unreadable)?;
    let signature = key
        .sign(&random, &to_bytes(&statement))
        .map_err(|_| Error::Sign)?;
    Ok(Approval {
        key: certificate::spki_fingerprint(&certificate)?,
        statement,
        certificate: certificate.to_vec(),
        signature: signature.as_ref().to_vec(),
    })
}

/// Checks that the holder of the registered key signed this statement, and that it is valid at
/// `now`.
///
/// # Errors
/// [`Error`] for the first that does not hold.
pub fn verify(registered: KeyPin, approval: &Approval, now: UnixMs) -> Result<(), Error> {
    let statement = &approval.statement;
    if now >= statement.expires_at {
        return Err(Error::Expired);
    }
    if statement.expires_at.since(now) > LIFE_MS_MAX {
        return Err(Error::TooLong);
    }
    if approval.key != registered {
        return Err(Error::OtherKey);
    }
    check(approval)
}

/// Checks the signature alone, at any later time: that the holder of the key that the approval
/// names signed its statement.
///
/// # Errors
/// [`Error`] for the first that does not hold.
pub fn check(approval: &Approval) -> Result<(), Error> {
    let certificate = approval.certificate.as_slice();
    if certificate.len() > CERTIFICATE_BYTES_MAX {
        return Err(certificate::Error::Unreadable.into());
    }
    if certificate::spki_fingerprint(certificate)? != approval.key {
        return Err(Error::OtherKey);
    }
    if approval.signature.len() > SIGNATURE_BYTES_MAX {
        return Err(Error::Signature);
    }
    let certificate = CertificateDer::from(certificate);
    EndEntityCert::try_from(&certificate)
        .map_err(|_| certificate::Error::Unreadable)?
        .verify_signature(
            webpki::ring::ECDSA_P256_SHA256,
            &to_bytes(&approval.statement),
            &approval.signature,
        )
        .map_err(|_| Error::Signature)
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
    use crate::authority::{Authority, Issued, Validity};
    use crate::certificate::{Holder, Identity};
    use domain::Digest;
    use domain::id::{ClusterId, OperatorId};

    const NOW: UnixMs = UnixMs(1_686_391_200_000);

    fn operator(id: &str) -> Issued {
        let validity = Validity {
            not_before: UnixMs(1_577_836_800_000),
            not_after: UnixMs(2_208_988_800_000),
        };
        let identity = Identity {
            cluster: ClusterId([7; 16]),
            holder: Holder::Operator(OperatorId::parse(id).unwrap()),
        };
        Authority::create("test operator CA", validity)
            .unwrap()
            .issue_client(&identity, validity)
            .unwrap()
    }

    fn statement() -> Statement {
        Statement {
            cluster: ClusterId([7; 16]),
            epoch: 1,
            act: "session.open".to_owned(),
            arguments: Digest([3; 32]),
            index: 41,
            expires_at: NOW.plus(LIFE_MS_MAX),
        }
    }

    fn signed(operator: &Issued, statement: &Statement) -> Approval {
        let statement = statement.clone();
        sign(&operator.key_pem, &operator.certificate_pem, statement).unwrap()
    }

    #[test]
    fn s34_an_approval_holds_for_the_operator_who_signed_it() {
        let (li, chan) = (operator("li.wei"), operator("chan.mei"));
        let approval = signed(&li, &statement());
        assert_eq!(verify(li.key, &approval, NOW), Ok(()));
        assert_eq!(verify(chan.key, &approval, NOW), Err(Error::OtherKey));
        let said = Approval {
            key: chan.key,
            ..approval
        };
        assert_eq!(verify(chan.key, &said, NOW), Err(Error::OtherKey));
        let forged = Approval {
            certificate: chan.certificate.to_vec(),
            ..said
        };
        assert_eq!(verify(chan.key, &forged, NOW), Err(Error::Signature));
    }

    #[test]
    fn s34_an_approval_holds_for_one_act_only() {
        let li = operator("li.wei");
        let approval = signed(&li, &statement());
        let changes: [fn(&mut Statement); 6] = [
            |s| s.cluster = ClusterId([8; 16]),
            |s| s.epoch = 2,
            |s| s.act = "session.abandon".to_owned(),
            |s| s.arguments = Digest([4; 32]),
            |s| s.index = 42,
            |s| s.expires_at = s.expires_at.minus(1),
        ];
        for change in changes {
            let mut other = approval.clone();
            change(&mut other.statement);
            let refused = verify(li.key, &other, NOW);
            assert_eq!(refused, Err(Error::Signature), "{other:?}");
        }
    }

    #[test]
    fn an_approval_is_valid_for_thirty_minutes_at_most() {
        let li = operator("li.wei");
        let statement = statement();
        let approval = signed(&li, &statement);
        let at = |now| verify(li.key, &approval, now);
        assert_eq!(at(NOW.minus(1)), Err(Error::TooLong));
        assert_eq!(at(NOW), Ok(()));
        assert_eq!(at(statement.expires_at.minus(1)), Ok(()));
        assert_eq!(at(statement.expires_at), Err(Error::Expired));
    }

    #[test]
    fn what_is_no_key_or_certificate_is_refused() {
        let li = operator("li.wei");
        let refused = sign("", &li.certificate_pem, statement());
        assert_eq!(refused.err(), Some(Error::Key));
        assert!(sign(&li.key_pem, "", statement()).is_err());
        let mut approval = signed(&li, &statement());
        approval.signature = vec![0; SIGNATURE_BYTES_MAX + 1];
        let refused = verify(li.key, &approval, NOW);
        assert_eq!(refused, Err(Error::Signature));
        approval.certificate.clear();
        assert!(verify(li.key, &approval, NOW).is_err());
    }
}
