//! Certificate authorities for founding a cluster and for the demo: one for each kind of caller,
//! so that each listener has trust anchors of its own, one for the nodes and one for cards.
//!
//! A clearing house with its own PKI issues the certificates there, to the same shape, and
//! configures its anchors; nothing in the service asks who made them. Validity is always passed
//! in: TLS libraries judge by the real clock, cards are judged by the cluster's.
//!
//! Keys are ECDSA P-256, made with the operating system's randomness.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use domain::UnixMs;
use domain::cluster::KeyPin;
use domain::id::{CardNumber, ClusterId, NodeId};

use crate::card::Serial;
use crate::certificate::{self, Holder, Identity};

/// X.520's serialNumber attribute, where cards carry their number.
pub(crate) const SERIAL_NUMBER_OID: [u64; 4] = [2, 5, 4, 5];

/// The last second that a certificate can name: the end of the year 9999.
const END_OF_TIME: UnixMs = UnixMs(253_402_300_799_000);

/// Why a certificate was not made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate library.
    #[error("the certificate was not made: {0}")]
    Rcgen(#[from] rcgen::Error),
    /// A certificate that was just made, or is to be loaded, does not read.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// The validity.
    #[error("a certificate must end after it begins, and before the year 10000")]
    Validity,
    /// A name in a certificate.
    #[error("\"{0}\" cannot stand in a certificate")]
    Name(String),
}

/// From when until when a certificate is valid, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: UnixMs,
    /// The last moment.
    pub not_after: UnixMs,
}

/// A certificate with its key, as files hold them.
pub struct Issued {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// The certificate as PEM.
    pub certificate_pem: String,
    /// Its private key as PEM (PKCS #8): a secret.
    pub key_pem: Zeroizing<String>,
    /// The fingerprint of its public key, for registering its holder.
    pub key: KeyPin,
}

/// An authority that issues certificates.
pub struct Authority {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key_pem: Zeroizing<String>,
    issuer: Issuer<'static, KeyPair>,
}

/// The authorities of a cluster, one for each use.
pub struct Authorities {
    /// Signs nodes; anchor of the peer listener, and of every client for the servers it calls.
    pub peer: Authority,
    /// Signs front ends; anchor of the front listener.
    pub front: Authority,
    /// Signs back ends; anchor of the back listener.
    pub back: Authority,
    /// Signs operators; anchor of the operators' listener.
    pub operator: Authority,
    /// Signs smartcards.
    pub card: Authority,
}

impl Authorities {
    /// New authorities for a cluster of this name.
    ///
    /// # Errors
    /// [`Error`].
    pub fn create(cluster_name: &str, validity: Validity) -> Result<Self, Error> {
        let make = |what: &str| Authority::create(&format!("{cluster_name} {what} CA"), validity);
        Ok(Self {
            peer: make("peer")?,
            front: make("front end")?,
            back: make("back end")?,
            operator: make("operator")?,
            card: make("card")?,
        })
    }
}

impl Authority {
    /// A new authority with a self-signed certificate; it signs end entities only.
    ///
    /// # Errors
    /// [`Error`].
    pub fn create(name: &str, validity: Validity) -> Result<Self, Error> {
        let mut params = params(name, validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
            issuer: Issuer::new(params, key),
        })
    }

    /// An authority from its files.
    ///
    /// # Errors
    /// [`Error`] if either does not read.
    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, Error> {
        let certificate = certificate::from_pem(certificate_pem)?
            .into_iter()
            .next()
            .ok_or(certificate::Error::Unreadable)?;
        let key = KeyPair::from_pem(key_pem)?;
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&certificate, key)?,
            certificate,
            certificate_pem: certificate_pem.to_owned(),
            key_pem: Zeroizing::new(key_pem.to_owned()),
        })
    }

    /// The certificate: a trust anchor.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key as PEM: a secret, which stays off the nodes.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// A node's certificate: server to all, client of its peers. `names` are what clients call
    /// it by, `addresses` where they reach it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn issue_node(
        &self,
        cluster: ClusterId,
        node: NodeId,
        names: &[&str],
        addresses: &[IpAddr],
        validity: Validity,
    ) -> Result<Issued, Error> {
        let identity = Identity {
            cluster,
            holder: Holder::Node(node),
        };
        let mut params = client_params(&identity, validity)?;
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(ia5(name)?));
        }
        for address in addresses {
            params.subject_alt_names.push(SanType::IpAddress(*address));
        }
        self.issue(&params)
    }

    /// The certificate of a front end, back end or operator: a client's only.
    ///
    /// # Errors
    /// [`Error`].
    pub fn issue_client(&self, identity: &Identity, validity: Validity) -> Result<Issued, Error> {
        self.issue(&client_params(identity, validity)?)
    }

    /// A card's certificate: its number is the subject's serial number.
    ///
    /// # Errors
    /// [`Error`].
    pub fn issue_card(
        &self,
        number: &CardNumber,
        name: &str,
        validity: Validity,
    ) -> Result<Issued, Error> {
        let mut params = params(name, validity)?;
        params.distinguished_name.push(
            DnType::CustomDnType(SERIAL_NUMBER_OID.to_vec()),
            number.as_str(),
        );
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&params)
    }

    /// A revocation list as PEM: its number, what was revoked, and from when until when it counts.
    ///
    /// # Errors
    /// [`Error`].
    pub fn revoke(
        &self,
        number: u64,
        serials: &[Serial],
        validity: Validity,
    ) -> Result<String, Error> {
        let this_update = time(validity.not_before);
        let revoked = |serial: &Serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial.as_bytes()),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update,
            next_update: time(validity.not_after),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
    }

    pub(crate) fn issue(&self, params: &CertificateParams) -> Result<Issued, Error> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            key: certificate::spki_fingerprint(certificate.der())?,
            certificate_pem: certificate.pem(),
            certificate: certificate.der().clone(),
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }
}

pub(crate) fn params(name: &str, validity: Validity) -> Result<CertificateParams, Error> {
    if validity.not_before >= validity.not_after || validity.not_after > END_OF_TIME {
        return Err(Error::Validity);
    }
    let mut params = CertificateParams::default();
    params.not_before = time(validity.not_before);
    params.not_after = time(validity.not_after);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// A moment as the certificate library has it, in whole seconds.
fn time(at: UnixMs) -> OffsetDateTime {
    rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(at.0 / 1_000)
}

fn client_params(identity: &Identity, validity: Validity) -> Result<CertificateParams, Error> {
    let mut params = params(&identity.holder.to_string(), validity)?;
    params
        .subject_alt_names
        .push(SanType::URI(ia5(&identity.to_string())?));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn ia5(text: &str) -> Result<Ia5String, Error> {
    Ia5String::try_from(text).map_err(|_| Error::Name(text.to_owned()))
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
    use std::net::Ipv4Addr;

    use rustls_pki_types::{ServerName, UnixTime};
    use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

    use super::*;
    use domain::id::{FrontEndId, OperatorId};

    /// 2020 to 2040.
    const VALIDITY: Validity = Validity {
        not_before: UnixMs(1_577_836_800_000),
        not_after: UnixMs(2_208_988_800_000),
    };
    const CLUSTER: ClusterId = ClusterId([7; 16]);

    fn verified(
        issued: &Issued,
        anchor: &Authority,
        usage: KeyUsage,
        at_s: u64,
    ) -> Result<(), webpki::Error> {
        let anchors = [anchor_from_trusted_cert(anchor.certificate()).unwrap()];
        EndEntityCert::try_from(&issued.certificate)
            .unwrap()
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                &[],
                UnixTime::since_unix_epoch(Duration::from_secs(at_s)),
                usage,
                None,
                None,
            )
            .map(|_| ())
    }

    #[test]
    fn a_nodes_certificate_serves_and_calls_under_its_names() {
        let authority = Authority::create("test peer CA", VALIDITY).unwrap();
        let issued = authority
            .issue_node(
                CLUSTER,
                NodeId(3),
                &["localhost", "tidemark"],
                &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
                VALIDITY,
            )
            .unwrap();
        let now_s = 1_700_000_000;
        verified(&issued, &authority, KeyUsage::server_auth(), now_s).unwrap();
        verified(&issued, &authority, KeyUsage::client_auth(), now_s).unwrap();
        let certificate = EndEntityCert::try_from(&issued.certificate).unwrap();
        for name in ["localhost", "tidemark", "127.0.0.1"] {
            let name = ServerName::try_from(name).unwrap();
            certificate.verify_is_valid_for_subject_name(&name).unwrap();
        }
        let peer = certificate::peer(&issued.certificate).unwrap();
        assert_eq!(peer.identity.holder, Holder::Node(NodeId(3)));
        assert_eq!(peer.identity.cluster, CLUSTER);
        assert_eq!(peer.key, issued.key);
    }

    #[test]
    fn a_certificate_is_valid_in_its_time_only() {
        let authority = Authority::create("test peer CA", VALIDITY).unwrap();
        let issued = authority
            .issue_node(CLUSTER, NodeId(3), &["localhost"], &[], VALIDITY)
            .unwrap();
        let at = |at_s| verified(&issued, &authority, KeyUsage::server_auth(), at_s);
        assert!(at(1_577_836_799).is_err());
        assert_eq!(at(1_577_836_800), Ok(()));
        assert_eq!(at(2_208_988_800), Ok(()));
        assert!(at(2_208_988_801).is_err());
    }

    #[test]
    fn a_clients_certificate_does_not_serve_and_holds_for_its_own_listener_only() {
        let authorities = Authorities::create("test", VALIDITY).unwrap();
        let identity = Identity {
            cluster: CLUSTER,
            holder: Holder::FrontEnd(FrontEndId::parse("ccms-web").unwrap()),
        };
        let issued = authorities.front.issue_client(&identity, VALIDITY).unwrap();
        let now_s = 1_700_000_000;
        let check = |anchor, usage| verified(&issued, anchor, usage, now_s);
        assert_eq!(check(&authorities.front, KeyUsage::client_auth()), Ok(()));
        assert!(check(&authorities.front, KeyUsage::server_auth()).is_err());
        for other in [&authorities.back, &authorities.operator, &authorities.peer] {
            assert!(check(other, KeyUsage::client_auth()).is_err());
        }
        assert_eq!(
            certificate::peer(&issued.certificate).unwrap().identity,
            identity
        );
    }

    #[test]
    fn an_authority_goes_on_issuing_after_it_was_loaded() {
        let made = Authority::create("test operator CA", VALIDITY).unwrap();
        let loaded = Authority::load(made.certificate_pem(), made.key_pem()).unwrap();
        let identity = Identity {
            cluster: CLUSTER,
            holder: Holder::Operator(OperatorId::parse("li.wei").unwrap()),
        };
        let issued = loaded.issue_client(&identity, VALIDITY).unwrap();
        assert_eq!(
            verified(&issued, &made, KeyUsage::client_auth(), 1_700_000_000),
            Ok(())
        );
        let again = loaded.issue_client(&identity, VALIDITY).unwrap();
        assert_ne!(issued.key, again.key);
    }

    #[test]
    fn a_validity_that_never_is_and_a_name_that_cannot_be_are_refused() {
        let backwards = Validity {
            not_before: VALIDITY.not_after,
            not_after: VALIDITY.not_before,
        };
        let endless = Validity {
            not_after: UnixMs(u64::MAX),
            ..VALIDITY
        };
        for validity in [backwards, endless] {
            let made = Authority::create("test", validity);
            assert!(matches!(made.err(), Some(Error::Validity)));
        }
        let authority = Authority::create("test", VALIDITY).unwrap();
        let issued = authority.issue_node(CLUSTER, NodeId(1), &["größe"], &[], VALIDITY);
        assert!(matches!(issued.err(), Some(Error::Name(_))));
    }
}
