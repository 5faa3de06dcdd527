//! Smartcard logins: what a card signs, and whether a signature proves a card (S35, S36).
//!
//! The card signs a structure of its own, so that no signature made for another use passes, and
//! none made for one login, line, portal or cluster passes in another. Trust anchors and the
//! revocation list are configuration and state, never input. Whose card it is, and that a nonce
//! counts once, is `domain`'s.

use std::collections::BTreeSet;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext,
};
use x509_parser::prelude::X509Certificate;

use domain::id::CardNumber;
use domain::line::{LineId, LineRef};
use domain::portal::Portal;
use domain::{Digest, UnixMs};

use crate::authority::SERIAL_NUMBER_OID;
use crate::certificate;
use crate::statement::Statement;

/// Bytes of a challenge's nonce (S36 asks for 8 at least).
pub const NONCE_BYTES: usize = 16;
/// Most certificates in a chain, the card's own included.
pub const CHAIN_MAX: usize = 4;
/// Most bytes of a signature.
pub const SIGNATURE_BYTES_MAX: usize = 1024;
/// Most bytes of a certificate's serial number (RFC 5280 §4.1.2.2 allows 20).
pub const SERIAL_BYTES_MAX: usize = 32;

const PURPOSE: &str = "tidemark card login v1";

/// Extended key usages of a card: TLS client, or Microsoft's smartcard logon.
/// The contents of their object identifiers in DER: 1.3.6.1.5.5.7.3.2 and 1.3.6.1.4.1.311.20.2.2.
const CLIENT_AUTH: KeyPurposeId<'static> = KeyPurposeId::new(&[43, 6, 1, 5, 5, 7, 3, 2]);
const SMARTCARD_LOGON: KeyPurposeId<'static> =
    KeyPurposeId::new(&[43, 6, 1, 4, 1, 130, 55, 20, 2, 2]);
const SMARTCARD_LOGON_TEXT: &str = "1.3.6.1.4.1.311.20.2.2";

/// How a card may sign a challenge. PKCS #1 v1.5 is left to chains.
static SIGNATURES: [&dyn SignatureVerificationAlgorithm; 4] = [
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
    webpki::ring::ED25519,
    webpki::ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
];

/// What a card signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Cluster, line and epoch of the login.
    pub line: LineRef,
    /// The portal.
    pub portal: Portal,
    /// The landing option's id, or the act that a step-up is for.
    pub option: String,
    /// The user id, as typed.
    pub user_id: String,
    /// Random, and good for one login.
    pub nonce: [u8; NONCE_BYTES],
    /// When it ends.
    pub expires_at: UnixMs,
}

impl Challenge {
    /// The bytes to sign: `tidemark card login v1`, a zero byte, then each field with its length
    /// as eight bytes, big endian, before it. Numbers are eight bytes, big endian. The line is
    /// `main`, or `branch`, session and genesis.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let statement = Statement::new(PURPOSE).bytes(&self.line.cluster.0);
        let statement = match &self.line.line {
            LineId::Main => statement.text("main"),
            LineId::Branch { session, genesis } => statement
                .text("branch")
                .text(session.as_str())
                .bytes(&genesis.0),
        };
        let portal = match self.portal {
            Portal::Ccms => "ccms",
            Portal::Dms => "dms",
        };
        statement
            .number(self.line.epoch)
            .text(portal)
            .text(&self.option)
            .text(&self.user_id)
            .bytes(&self.nonce)
            .number(self.expires_at.0)
            .finish()
    }
}

/// Why a card proves nothing. For the audit: the person is told that the credentials were
/// rejected, whatever it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No certificates, or more than a chain has.
    #[error("the chain must have 1 to {CHAIN_MAX} certificates")]
    ChainLength,
    /// A certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// The chain does not end in a configured anchor, or something in it does not hold.
    #[error("the card's chain does not hold: {0}")]
    Chain(webpki::Error),
    /// The certificate may not sign.
    #[error("the card's certificate is not for digital signatures")]
    KeyUsage,
    /// The certificate is not a card's.
    #[error("the card's certificate is neither for client authentication nor smartcard logon")]
    ExtendedKeyUsage,
    /// It was revoked.
    #[error("the card or its issuer was revoked")]
    Revoked,
    /// The revocation list is too old to rely on.
    #[error("the revocation list is overdue")]
    RevocationsOverdue,
    /// The subject has no card number, or several.
    #[error("the certificate's subject has no single serial number that is a card number")]
    Number,
    /// The challenge has ended.
    #[error("the challenge has expired")]
    Expired,
    /// The signature is not over this challenge by this card.
    #[error("the signature does not fit the challenge and the card's key")]
    Signature,
}

/// A certificate's serial number, without leading zeros.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// A serial number from its bytes, big endian; none if there are more than any has.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let bytes = bytes.get(zeros..)?;
        (bytes.len() <= SERIAL_BYTES_MAX).then(|| Self(bytes.to_vec()))
    }

    /// The bytes, big endian, without leading zeros.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The revocation list as the main line holds it. Serials count for every issuer: should two
/// issuers have used one, the other's card is refused too, which is the safe mistake.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    /// What was revoked, cards and intermediate issuers.
    pub serials: BTreeSet<Serial>,
    /// When the list can no longer be relied on: its next update and a grace. None where no list
    /// is kept, and cards are revoked by number in the state alone.
    pub usable_until: Option<UnixMs>,
}

/// The configured trust anchors for cards.
#[derive(Debug, Clone)]
pub struct Anchors(Vec<TrustAnchor<'static>>);

impl Anchors {
    /// Reads the anchors from PEM.
    ///
    /// # Errors
    /// [`Error`] if there is none, or one cannot be used.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        Self::from_certificates(&certificate::from_pem(pem)?)
    }

    /// Takes certificates as anchors.
    ///
    /// # Errors
    /// [`Error::Chain`] if one cannot be used.
    pub fn from_certificates(certificates: &[CertificateDer<'_>]) -> Result<Self, Error> {
        let anchor = |certificate| {
            webpki::anchor_from_trusted_cert(certificate)
                .map(|anchor| anchor.to_owned())
                .map_err(Error::Chain)
        };
        Ok(Self(
            certificates.iter().map(anchor).collect::<Result<_, _>>()?,
        ))
    }
}

/// A card that proved itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// The number in its certificate's subject.
    pub number: CardNumber,
    /// Its certificate's serial number.
    pub serial: Serial,
    /// Those of the issuers between it and the anchor.
    pub issuers: Vec<Serial>,
    /// The SHA-256 of its certificate, for the audit.
    pub certificate: Digest,
}

/// Checks chain, usage, revocation and signature.
///
/// `chain` is the card's certificate and those that lead to an anchor, as DER; `now` is the
/// cluster's time.
///
/// # Errors
/// [`Error`] for the first that does not hold.
pub fn verify(
    anchors: &Anchors,
    revocations: &Revocations,
    chain: &[impl AsRef<[u8]>],
    challenge: &Challenge,
    signature: &[u8],
    now: UnixMs,
) -> Result<Proved, Error> {
    if now >= challenge.expires_at {
        return Err(Error::Expired);
    }
    if signature.len() > SIGNATURE_BYTES_MAX {
        return Err(Error::Signature);
    }
    if revocations.usable_until.is_some_and(|until| now >= until) {
        return Err(Error::RevocationsOverdue);
    }
    let Some((card, issuers)) = chain.split_first() else {
        return Err(Error::ChainLength);
    };
    if chain.len() > CHAIN_MAX {
        return Err(Error::ChainLength);
    }
    let card = CertificateDer::from(card.as_ref());
    let issuers: Vec<_> = issuers
        .iter()
        .map(|issuer| CertificateDer::from(issuer.as_ref()))
        .collect();

    let certificate = certificate::parse(&card)?;
    let serial = Serial::from_bytes(certificate.raw_serial()).ok_or(Error::Revoked)?;
    check_usage(&certificate)?;
    let number = number_of(&certificate)?;
    let end_entity = EndEntityCert::try_from(&card).map_err(Error::Chain)?;
    let issuers = check_chain(&end_entity, &issuers, anchors, revocations, &serial, now)?;
    check_signature(&end_entity, &challenge.to_bytes(), signature)?;
    Ok(Proved {
        number,
        serial,
        issuers,
        certificate: crate::digest_of(ring::digest::digest(&ring::digest::SHA256, &card)),
    })
}

fn check_chain(
    card: &EndEntityCert<'_>,
    issuers: &[CertificateDer<'_>],
    anchors: &Anchors,
    revocations: &Revocations,
    serial: &Serial,
    now: UnixMs,
) -> Result<Vec<Serial>, Error> {
    let path = card
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors.0,
            issuers,
            UnixTime::since_unix_epoch(Duration::from_millis(now.0)),
            CardUsage,
            None,
            None,
        )
        .map_err(Error::Chain)?;
    let revoked = |serial: &Serial| revocations.serials.contains(serial);
    if revoked(serial) {
        return Err(Error::Revoked);
    }
    path.intermediate_certificates()
        .map(|issuer| {
            Serial::from_bytes(issuer.serial())
                .filter(|serial| !revoked(serial))
                .ok_or(Error::Revoked)
        })
        .collect()
}

fn check_signature(
    card: &EndEntityCert<'_>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), Error> {
    // The key in the certificate says which algorithm can fit; the caller has no say in it.
    let fits = SIGNATURES.iter().any(|algorithm| {
        card.verify_signature(*algorithm, message, signature)
            .is_ok()
    });
    if fits { Ok(()) } else { Err(Error::Signature) }
}

/// webpki does not look at key usage, and takes an absent extended usage for all; a card must
/// state both.
fn check_usage(card: &X509Certificate<'_>) -> Result<(), Error> {
    let unreadable = |_| certificate::Error::Unreadable;
    let signs = card
        .key_usage()
        .map_err(unreadable)?
        .is_some_and(|usage| usage.value.digital_signature());
    if !signs {
        return Err(Error::KeyUsage);
    }
    let logs_in = card
        .extended_key_usage()
        .map_err(unreadable)?
        .is_some_and(|usage| {
            usage.value.client_auth
                || usage
                    .value
                    .other
                    .iter()
                    .any(|oid| oid.to_id_string() == SMARTCARD_LOGON_TEXT)
        });
    if !logs_in {
        return Err(Error::ExtendedKeyUsage);
    }
    Ok(())
}

fn number_of(card: &X509Certificate<'_>) -> Result<CardNumber, Error> {
    let mut numbers = card.subject().iter_attributes().filter(|attribute| {
        attribute
            .attr_type()
            .iter()
            .is_some_and(|arcs| arcs.eq(SERIAL_NUMBER_OID))
    });
    match (numbers.next(), numbers.next()) {
        (Some(number), None) => {
            let text = number.as_str().map_err(|_| Error::Number)?;
            CardNumber::parse(text).map_err(|_| Error::Number)
        }
        (None | Some(_), _) => Err(Error::Number),
    }
}

/// The extended key usage of a whole chain: an issuer need not state one.
struct CardUsage;

impl ExtendedKeyUsageValidator for CardUsage {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut stated = false;
        for usage in usages {
            stated = true;
            let usage = usage?;
            if usage == CLIENT_AUTH || usage == SMARTCARD_LOGON {
                return Ok(());
            }
        }
        if stated {
            Err(webpki::Error::RequiredEkuNotFoundContext(
                RequiredEkuNotFoundContext {
                    required: KeyUsage::client_auth(),
                    present: Vec::new(),
                },
            ))
        } else {
            Ok(())
        }
    }
}
