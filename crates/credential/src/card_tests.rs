//! Cards in software against the check that real cards pass.

use rcgen::{DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose};

use super::*;
use crate::authority::{self, SERIAL_NUMBER_OID};
use crate::card::{self, Anchors, Proved, Revocations, Serial, verify};
use domain::id::{ClusterId, SessionId};
use domain::line::{LineId, LineRef};
use domain::portal::Portal;
use domain::{Digest, UnixMs};

/// 2020 to 2040.
const VALIDITY: Validity = Validity {
    not_before: UnixMs(1_577_836_800_000),
    not_after: UnixMs(2_208_988_800_000),
};
/// 10 June 2023, 18:00 in Hong Kong.
const NOW: UnixMs = UnixMs(1_686_391_200_000);

struct Fixture {
    authority: Authority,
    anchors: Anchors,
    card: SoftwareCard,
    revocations: Revocations,
}

fn fixture() -> Fixture {
    let authority = Authority::create("test card CA", VALIDITY).unwrap();
    let anchors = Anchors::from_pem(authority.certificate_pem()).unwrap();
    let number = CardNumber::parse("SC-0001").unwrap();
    let card = SoftwareCard::issue(&authority, &number, "Wong Tai", VALIDITY)
        .ok()
        .unwrap();
    Fixture {
        authority,
        anchors,
        card,
        revocations: Revocations::default(),
    }
}

impl Fixture {
    fn verify(&self, challenge: &Challenge, signature: &[u8]) -> Result<Proved, card::Error> {
        self.verify_at(challenge, signature, NOW)
    }

    fn verify_at(
        &self,
        challenge: &Challenge,
        signature: &[u8],
        now: UnixMs,
    ) -> Result<Proved, card::Error> {
        let Self {
            anchors,
            revocations,
            card,
            ..
        } = self;
        verify(
            anchors,
            revocations,
            card.chain(),
            challenge,
            signature,
            now,
        )
    }

    fn signed(&self, challenge: &Challenge) -> Vec<u8> {
        self.card.sign(challenge).ok().unwrap()
    }

    fn swap_card(&mut self, change: impl FnOnce(&mut rcgen::CertificateParams)) {
        let mut params = authority::params("Wong Tai", VALIDITY).unwrap();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let issued = self.authority.issue(&params).unwrap();
        let pem = format!("{}{}", issued.certificate_pem, *issued.key_pem);
        self.card = SoftwareCard::from_pem(&pem).ok().unwrap();
    }
}

fn number_type() -> DnType {
    DnType::CustomDnType(SERIAL_NUMBER_OID.to_vec())
}

fn challenge() -> Challenge {
    Challenge {
        line: LineRef {
            cluster: ClusterId([7; 16]),
            line: LineId::Main,
            epoch: 1,
        },
        portal: Portal::Ccms,
        option: "ccms-smartcard-online-and-reports".to_owned(),
        user_id: "C001USER1".to_owned(),
        nonce: [9; 16],
        expires_at: NOW.plus(120_000),
    }
}

#[test]
fn s36_a_card_that_signed_the_challenge_is_proved_by_its_number() {
    let fixture = fixture();
    let challenge = challenge();
    let proved = fixture
        .verify(&challenge, &fixture.signed(&challenge))
        .unwrap();
    assert_eq!(proved.number.as_str(), "SC-0001");
}

#[test]
fn s36_a_signature_holds_for_one_challenge_only() {
    let fixture = fixture();
    let signed = challenge();
    let signature = fixture.signed(&signed);
    let branch = LineId::Branch {
        session: SessionId::parse("s2").unwrap(),
        genesis: Digest([1; 32]),
    };
    let other_branch = LineId::Branch {
        session: SessionId::parse("s2").unwrap(),
        genesis: Digest([2; 32]),
    };
    let changes: [fn(&mut Challenge); 7] = [
        |c| c.line.cluster = ClusterId([8; 16]),
        |c| c.line.epoch = 2,
        |c| c.portal = Portal::Dms,
        |c| c.option = "dms-smartcard-security".to_owned(),
        |c| c.user_id = "C001USER2".to_owned(),
        |c| c.nonce = [8; 16],
        |c| c.expires_at = c.expires_at.plus(1),
    ];
    let mut others: Vec<Challenge> = changes
        .into_iter()
        .map(|change| {
            let mut other = signed.clone();
            change(&mut other);
            other
        })
        .collect();
    for line in [branch, other_branch] {
        let mut other = signed.clone();
        other.line.line = line;
        others.push(other);
    }
    for other in &others {
        let refused = fixture.verify(other, &signature);
        assert_eq!(refused, Err(card::Error::Signature), "{other:?}");
    }
    let mut all: Vec<_> = others.iter().map(Challenge::to_bytes).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), others.len());
}

#[test]
fn s36_what_is_signed_is_marked_as_a_card_login() {
    let bytes = challenge().to_bytes();
    assert!(bytes.starts_with(b"tidemark card login v1\0"));
}

#[test]
fn s36_a_card_of_another_authority_is_refused() {
    let (ours, theirs) = (fixture(), fixture());
    let challenge = challenge();
    let refused = verify(
        &ours.anchors,
        &ours.revocations,
        theirs.card.chain(),
        &challenge,
        &theirs.signed(&challenge),
        NOW,
    );
    assert!(matches!(refused, Err(card::Error::Chain(_))), "{refused:?}");
}

#[test]
fn s36_an_authority_sent_along_is_no_anchor() {
    let (ours, theirs) = (fixture(), fixture());
    let challenge = challenge();
    let mut chain = theirs.card.chain().to_vec();
    chain.push(theirs.authority.certificate().clone());
    let signature = theirs.signed(&challenge);
    let check = |chain: &[CertificateDer<'_>]| {
        let Fixture {
            anchors,
            revocations,
            ..
        } = &ours;
        verify(anchors, revocations, chain, &challenge, &signature, NOW)
    };
    assert!(matches!(check(&chain), Err(card::Error::Chain(_))));
    let long = vec![chain[0].clone(); card::CHAIN_MAX + 1];
    assert_eq!(check(&long), Err(card::Error::ChainLength));
    assert_eq!(check(&[]), Err(card::Error::ChainLength));
}

#[test]
fn another_cards_signature_is_refused() {
    let mut fixture = fixture();
    let challenge = challenge();
    let signature = fixture.signed(&challenge);
    fixture.swap_card(|params| params.distinguished_name.push(number_type(), "SC-0001"));
    let refused = fixture.verify(&challenge, &signature);
    assert_eq!(refused, Err(card::Error::Signature));
    assert!(
        fixture
            .verify(&challenge, &fixture.signed(&challenge))
            .is_ok()
    );
    for bad in [vec![], vec![0; 64], vec![0; card::SIGNATURE_BYTES_MAX + 1]] {
        assert_eq!(
            fixture.verify(&challenge, &bad),
            Err(card::Error::Signature)
        );
    }
}

#[test]
fn a_challenge_ends_when_it_says() {
    let fixture = fixture();
    let challenge = challenge();
    let signature = fixture.signed(&challenge);
    let at = |now| fixture.verify_at(&challenge, &signature, now);
    assert!(at(challenge.expires_at.minus(1)).is_ok());
    assert_eq!(at(challenge.expires_at), Err(card::Error::Expired));
}

#[test]
fn a_card_is_judged_by_the_clusters_time() {
    let fixture = fixture();
    let mut challenge = challenge();
    challenge.expires_at = UnixMs(u64::MAX);
    let signature = fixture.signed(&challenge);
    let at = |now| fixture.verify_at(&challenge, &signature, now);
    assert!(at(VALIDITY.not_before).is_ok());
    for outside in [
        VALIDITY.not_before.minus(1_000),
        VALIDITY.not_after.plus(1_000),
    ] {
        assert!(matches!(at(outside), Err(card::Error::Chain(_))));
    }
}

#[test]
fn a_revoked_card_is_refused_and_an_overdue_list_refuses_all() {
    let mut fixture = fixture();
    let challenge = challenge();
    let signature = fixture.signed(&challenge);
    let serial = fixture.verify(&challenge, &signature).unwrap().serial;
    fixture.revocations.usable_until = Some(NOW.plus(1));
    assert!(fixture.verify(&challenge, &signature).is_ok());
    fixture.revocations.usable_until = Some(NOW);
    let refused = fixture.verify(&challenge, &signature);
    assert_eq!(refused, Err(card::Error::RevocationsOverdue));
    fixture.revocations = Revocations::default();
    let mut written = vec![0, 0];
    written.extend_from_slice(serial.as_bytes());
    let listed = Serial::from_bytes(&written).unwrap();
    fixture.revocations.serials.insert(listed);
    let refused = fixture.verify(&challenge, &signature);
    assert_eq!(refused, Err(card::Error::Revoked));
}

#[test]
fn a_certificate_that_is_no_cards_is_refused() {
    let mut fixture = fixture();
    let challenge = challenge();
    let mut refused = |change: fn(&mut rcgen::CertificateParams)| {
        fixture.swap_card(change);
        let signature = fixture.signed(&challenge);
        fixture.verify(&challenge, &signature).err()
    };
    let number = |params: &mut rcgen::CertificateParams| {
        params.distinguished_name.push(number_type(), "SC-0001");
    };
    assert_eq!(refused(number), None);
    assert_eq!(refused(|_| {}), Some(card::Error::Number));
    assert_eq!(
        refused(|params| params.distinguished_name.push(number_type(), "SC 0001/x")),
        Some(card::Error::Number)
    );
    assert_eq!(
        refused(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
        Some(card::Error::KeyUsage)
    );
    assert_eq!(
        refused(|params| params.key_usages.clear()),
        Some(card::Error::KeyUsage)
    );
    assert_eq!(
        refused(|params| params.extended_key_usages.clear()),
        Some(card::Error::ExtendedKeyUsage)
    );
    assert_eq!(
        refused(|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }),
        Some(card::Error::ExtendedKeyUsage)
    );
    assert_eq!(
        refused(|params| {
            params.distinguished_name.push(number_type(), "SC-0001");
            let logon = vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 2];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(logon)];
        }),
        None
    );
}

#[test]
fn a_card_reads_back_from_its_file() {
    let fixture = fixture();
    let challenge = challenge();
    let loaded = SoftwareCard::from_pem(fixture.card.pem()).ok().unwrap();
    let signature = loaded.sign(&challenge).ok().unwrap();
    assert!(fixture.verify(&challenge, &signature).is_ok());
    assert!(matches!(SoftwareCard::from_pem("").err(), Some(Error::Key)));
}
