//! Who a certificate says its holder is: the URI in its subject alternative name, and the
//! fingerprint of its key (LOGIN.md, "Who calls").
//!
//! The TLS library has checked the chain before anything here is asked. That the holder is
//! registered and its key is the pinned one is `domain`'s.

use std::fmt;
use std::str::FromStr;

use ring::digest;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use domain::UnixMs;
use domain::cluster::KeyPin;
use domain::id::{self, BackEndId, ClusterId, FrontEndId, NodeId, OperatorId, ScriptId};

/// Most bytes of one certificate.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

const SCHEME: &str = "tidemark://";

/// Why a certificate names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no certificate, or a larger one than any of ours.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// Its URI is absent, or there is another beside it.
    #[error("the certificate must have exactly one URI {SCHEME}<cluster>/<role>/<id>")]
    Uri,
    /// The URI's form.
    #[error(
        "the certificate's URI is not {SCHEME}<cluster>/<role>/<id> with a role of node, \
         front-end, back-end, operator or script"
    )]
    Form,
    /// The id in the URI.
    #[error("the certificate's URI: {0}")]
    Id(#[from] id::Malformed),
}

/// Who holds a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A node of the cluster.
    Node(NodeId),
    /// A web server that logs people in.
    FrontEnd(FrontEndId),
    /// A system that checks tokens.
    BackEnd(BackEndId),
    /// Staff of the clearing house.
    Operator(OperatorId),
    /// A program that runs approved plans alone.
    Script(ScriptId),
}

/// A holder within a cluster: what the URI says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The holder.
    pub holder: Holder,
}

/// Who calls, with the key that proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What the certificate says.
    pub identity: Identity,
    /// The fingerprint of its key.
    pub key: KeyPin,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) => write!(f, "node/{id}"),
            Self::FrontEnd(id) => write!(f, "front-end/{id}"),
            Self::BackEnd(id) => write!(f, "back-end/{id}"),
            Self::Operator(id) => write!(f, "operator/{id}"),
            Self::Script(id) => write!(f, "script/{id}"),
        }
    }
}

impl fmt::Display for Identity {
    /// The URI.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.cluster, self.holder)
    }
}

impl FromStr for Identity {
    type Err = Error;

    fn from_str(uri: &str) -> Result<Self, Error> {
        let rest = uri.strip_prefix(SCHEME).ok_or(Error::Form)?;
        let mut parts = rest.split('/');
        let mut part = || parts.next().ok_or(Error::Form);
        let (cluster, role, id) = (part()?, part()?, part()?);
        let holder = match role {
            "node" => Holder::Node(NodeId(id.parse().map_err(|_| Error::Form)?)),
            "front-end" => Holder::FrontEnd(FrontEndId::parse(id)?),
            "back-end" => Holder::BackEnd(BackEndId::parse(id)?),
            "operator" => Holder::Operator(OperatorId::parse(id)?),
            "script" => Holder::Script(ScriptId::parse(id)?),
            _ => return Err(Error::Form),
        };
        let identity = Self {
            cluster: cluster.parse()?,
            holder,
        };
        // One identity has one URI: a variant in case or leading zeros is not it.
        if identity.to_string() != uri {
            return Err(Error::Form);
        }
        Ok(identity)
    }
}

/// Reads who holds the certificate.
///
/// # Errors
/// [`Error`] if it names nobody, or more than one.
pub fn peer(der: &[u8]) -> Result<Peer, Error> {
    let certificate = parse(der)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| Error::Unreadable)?
        .ok_or(Error::Uri)?;
    let mut uris = names.value.general_names.iter().filter_map(|name| {
        if let GeneralName::URI(uri) = name {
            Some(*uri)
        } else {
            None
        }
    });
    let uri = uris.next().ok_or(Error::Uri)?;
    if uris.next().is_some() {
        return Err(Error::Uri);
    }
    Ok(Peer {
        identity: uri.parse()?,
        key: pin_of(&certificate),
    })
}

/// The SHA-256 of the certificate's public key with its algorithm (SubjectPublicKeyInfo): what is
/// pinned of a registered caller.
///
/// # Errors
/// [`Error::Unreadable`].
pub fn spki_fingerprint(der: &[u8]) -> Result<KeyPin, Error> {
    Ok(pin_of(&parse(der)?))
}

/// Until when the certificate is valid.
///
/// # Errors
/// [`Error::Unreadable`].
pub fn not_after(der: &[u8]) -> Result<UnixMs, Error> {
    let seconds = parse(der)?.validity().not_after.timestamp();
    let seconds = u64::try_from(seconds).map_err(|_| Error::Unreadable)?;
    Ok(UnixMs(seconds.saturating_mul(1_000)))
}

/// The certificates of a PEM text, the leaf first.
///
/// # Errors
/// [`Error::Unreadable`] if there is none, or one is damaged.
pub fn from_pem(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(Error::Unreadable),
    }
}

pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Error> {
    if der.len() > CERTIFICATE_BYTES_MAX {
        return Err(Error::Unreadable);
    }
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(Error::Unreadable),
    }
}

fn pin_of(certificate: &X509Certificate<'_>) -> KeyPin {
    let hash = digest::digest(&digest::SHA256, certificate.public_key().raw);
    KeyPin(crate::digest_of(hash).0)
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
    fn an_identity_reads_back_from_its_uri() {
        let cluster = ClusterId([0xab; 16]);
        for holder in [
            Holder::Node(NodeId(6)),
            Holder::FrontEnd(FrontEndId::parse("ccms-web").unwrap()),
            Holder::BackEnd(BackEndId::parse("ccms").unwrap()),
            Holder::Operator(OperatorId::parse("li.wei").unwrap()),
            Holder::Script(ScriptId::parse("saturday").unwrap()),
        ] {
            let identity = Identity { cluster, holder };
            assert_eq!(identity.to_string().parse(), Ok(identity));
        }
    }

    #[test]
    fn a_uri_of_another_form_names_nobody() {
        let cluster = "abababab-abab-abab-abab-abababababab";
        assert!(
            format!("tidemark://{cluster}/node/6")
                .parse::<Identity>()
                .is_ok()
        );
        for uri in [
            String::new(),
            format!("https://{cluster}/node/6"),
            format!("tidemark://{cluster}/node"),
            format!("tidemark://{cluster}/node/6/7"),
            format!("tidemark://{cluster}/node/06"),
            format!("tidemark://{cluster}/node/+6"),
            format!("tidemark://{cluster}/root/6"),
            format!("tidemark://{cluster}/operator/Li.Wei"),
            format!("tidemark://{cluster}/operator/li wei"),
            format!("tidemark://{}/node/6", cluster.replace('-', "")),
        ] {
            assert!(uri.parse::<Identity>().is_err(), "{uri}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert_eq!(peer(b"").err(), Some(Error::Unreadable));
        assert_eq!(peer(&[0x30; 100]).err(), Some(Error::Unreadable));
        let large = vec![0x30; CERTIFICATE_BYTES_MAX + 1];
        assert_eq!(spki_fingerprint(&large).err(), Some(Error::Unreadable));
        assert_eq!(from_pem("").err(), Some(Error::Unreadable));
    }
}
