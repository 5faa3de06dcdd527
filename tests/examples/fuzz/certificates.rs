//! Certificates, cards and revocation lists: an altered one is refused, or says what was signed.

use credential::authority::{Authority, Validity};
use credential::card::{self, Anchors, Challenge, Revocations, Serial};
use credential::certificate::{self, Holder, Identity};
use credential::revocation::RevocationList;
use credential::software_card::SoftwareCard;
use domain::line::{LineId, LineRef};
use domain::portal::Portal;
use domain::{CardNumber, ClusterId, FrontEndId, UnixMs};

use crate::Run;

/// 10 June 2023, 18:00 in Hong Kong.
const NOW: UnixMs = UnixMs(1_686_391_200_000);
const VALIDITY: Validity = Validity {
    not_before: UnixMs(NOW.0 - 86_400_000),
    not_after: UnixMs(NOW.0 + 86_400_000),
};

pub(crate) fn throw(run: &mut Run) {
    let authority = Authority::create("fuzz CA", VALIDITY).unwrap();
    let anchors = Anchors::from_pem(authority.certificate_pem()).unwrap();
    let number = CardNumber::parse("K1").unwrap();
    let card = SoftwareCard::issue(&authority, &number, "Fuzz", VALIDITY).unwrap();
    let cluster = ClusterId([7; 16]);
    let challenge = Challenge {
        line: LineRef {
            cluster,
            line: LineId::Main,
            epoch: 1,
        },
        portal: Portal::Ccms,
        option: "ccms-smartcard-online-and-reports".to_owned(),
        user_id: "C1U1".to_owned(),
        nonce: [3; 16],
        expires_at: NOW.plus(60_000),
    };
    let signature = card.sign(&challenge).unwrap();
    let chain: Vec<Vec<u8>> = card.chain().iter().map(|one| one.to_vec()).collect();
    let identity = Identity {
        cluster,
        holder: Holder::FrontEnd(FrontEndId::parse("web-1").unwrap()),
    };
    let caller = authority.issue_client(&identity, VALIDITY).unwrap();
    let revoked = [Serial::from_bytes(&[9]).unwrap()];
    let list = authority.revoke(1, &revoked, VALIDITY).unwrap();
    let told = RevocationList::read(list.as_bytes(), authority.certificate_pem()).unwrap();
    let none = Revocations::default();

    while run.goes_on() {
        let altered = run.dice.altered(&caller.certificate);
        // Its signature is the TLS library's to check: here it only must not be misread.
        run.count(certificate::peer(&altered).is_ok());

        let mut altered = chain.clone();
        let at = run.dice.below(altered.len());
        altered[at] = run.dice.altered(&altered[at]);
        let proved = card::verify(&anchors, &none, &altered, &challenge, &signature, NOW);
        if let Ok(proved) = &proved {
            assert_eq!(proved.number, number, "another card was believed");
        }
        run.count(proved.is_ok());

        let altered = run.dice.altered(&signature);
        if altered != signature {
            let proved = card::verify(&anchors, &none, &chain, &challenge, &altered, NOW);
            assert!(proved.is_err(), "an altered signature was believed");
            run.count(false);
        }

        let altered = run.dice.altered(list.as_bytes());
        let read = RevocationList::read(&altered, authority.certificate_pem());
        if let Ok(read) = &read {
            assert_eq!(*read, told, "an altered list was believed");
        }
        run.count(read.is_ok());
    }
}
