//! The people of the tests, and what they carry: cards and keys of authenticator apps.

use std::collections::BTreeMap;

use credential::authority::{Authority, Validity};
use credential::phc::Params;
use credential::secret::Seed;
use credential::software_card::SoftwareCard;
use domain::{CardNumber, UnixMs};
use proto::account::v1::{AccountClass, Portal};
use proto::admin::v1::{AccountRow, ParticipantRow};
use tidemark::profile::Profile;

use crate::import::verifier;

/// The password of everybody's card, as it was on Friday (R25).
pub const CARD: &str = "ferry pier seven";
/// The password that people choose when they set up 2FA.
pub const OTP: &str = "harbour lights at dusk";
/// A password of session 2.
pub const CARD_S2: &str = "ferry pier eight";
/// A password of session 2.
pub const OTP_S2: &str = "harbour lights at dawn";
/// The app that people set up first.
pub const APP: &str = "app";

/// The way in for smartcards to CCMS.
pub const CCMS_CARD: &str = "ccms-smartcard-online-and-reports";
/// The way in for one-time passwords to the online functions.
pub const CCMS_OTP: &str = "ccms-otp-online";
/// The way in for one-time passwords to the reports.
pub const CCMS_REPORTS: &str = "ccms-otp-reports";
/// The way in for smartcards to DMS.
pub const DMS_CARD: &str = "dms-smartcard-security";
/// The way in for one-time passwords to DMS.
pub const DMS_OTP: &str = "dms-otp-security";

/// Somebody with an account.
#[derive(Debug, PartialEq, Eq)]
pub struct Person {
    /// The user id.
    pub id: &'static str,
    /// The firm.
    pub participant: &'static str,
    /// Whose account it is.
    pub class: AccountClass,
    /// The registered e-mail address.
    pub email: Option<&'static str>,
    /// The card's number.
    pub card: Option<&'static str>,
}

const fn user(
    id: &'static str,
    participant: &'static str,
    email: Option<&'static str>,
    card: Option<&'static str>,
) -> Person {
    Person {
        id,
        participant,
        class: AccountClass::User,
        email,
        card,
    }
}

/// Works by smartcard.
pub const CHAN: Person = user(
    "C00001U1",
    "C00001",
    Some("chan@harbour.example"),
    Some("K11"),
);
/// Sets up the app, and keeps the card.
pub const WONG: Person = user(
    "C00001U2",
    "C00001",
    Some("wong@harbour.example"),
    Some("K12"),
);
/// Sets up e-mail.
pub const LEE: Person = user(
    "C00001U3",
    "C00001",
    Some("lee@harbour.example"),
    Some("K13"),
);
/// Has no registered e-mail.
pub const HO: Person = user("C00001U4", "C00001", None, Some("K14"));
/// Is there to be suspended.
pub const NG: Person = user(
    "C00001U5",
    "C00001",
    Some("ng@harbour.example"),
    Some("K15"),
);
/// Has no card.
pub const YIP: Person = user("C00002U2", "C00002", Some("yip@lionrock.example"), None);
/// Of another firm.
pub const LAU: Person = user(
    "C00002U1",
    "C00002",
    Some("lau@lionrock.example"),
    Some("K21"),
);
/// Of another firm.
pub const TAM: Person = user("C00003U1", "C00003", Some("tam@peak.example"), Some("K31"));
/// Delegated administrator, who sets up the app.
pub const CHEUNG: Person = Person {
    id: "C00001A1",
    participant: "C00001",
    class: AccountClass::DelegatedAdmin,
    email: Some("cheung@harbour.example"),
    card: Some("K16"),
};
/// Delegated administrator of the same firm, who checks what that one makes.
pub const SIT: Person = Person {
    id: "C00001A2",
    participant: "C00001",
    class: AccountClass::DelegatedAdmin,
    email: Some("sit@harbour.example"),
    card: Some("K17"),
};
/// Delegated administrator of another firm.
pub const MAK: Person = Person {
    id: "C00002A1",
    participant: "C00002",
    class: AccountClass::DelegatedAdmin,
    email: Some("mak@lionrock.example"),
    card: Some("K23"),
};

/// Everybody.
pub const ALL: [&Person; 11] = [
    &CHAN, &WONG, &LEE, &HO, &NG, &YIP, &LAU, &TAM, &CHEUNG, &SIT, &MAK,
];

impl Person {
    /// The account's resource name.
    #[must_use]
    pub fn resource(&self) -> String {
        let class = if self.class == AccountClass::DelegatedAdmin {
            "delegatedAdmins"
        } else {
            "users"
        };
        format!("participants/{}/{class}/{}", self.participant, self.id)
    }

    /// The portal of the person's class (R50).
    #[must_use]
    pub fn portal(&self) -> Portal {
        if self.class == AccountClass::DelegatedAdmin {
            Portal::Dms
        } else {
            Portal::Ccms
        }
    }

    /// The way in by smartcard.
    #[must_use]
    pub fn card_option(&self) -> &'static str {
        if self.class == AccountClass::DelegatedAdmin {
            DMS_CARD
        } else {
            CCMS_CARD
        }
    }

    /// The way in by one-time password.
    #[must_use]
    pub fn otp_option(&self) -> &'static str {
        if self.class == AccountClass::DelegatedAdmin {
            DMS_OTP
        } else {
            CCMS_OTP
        }
    }

    fn row(&self, line: u32, verifier: &str) -> AccountRow {
        let text = |found: Option<&str>| found.unwrap_or_default().to_owned();
        AccountRow {
            line,
            user_id: self.id.to_owned(),
            participant_id: self.participant.to_owned(),
            account_class: self.class.into(),
            title: format!("Person {}", self.id),
            email: text(self.email),
            card_number: text(self.card),
            card_verifier: text(self.card.map(|_| verifier)),
        }
    }
}

/// The rows of an import of everybody, with verifiers at this cost.
#[must_use]
pub fn rows(params: Params) -> (Vec<ParticipantRow>, Vec<AccountRow>) {
    let participants = ["C00001", "C00002", "C00003"].map(|id| ParticipantRow {
        line: 1,
        participant_id: id.to_owned(),
        title: format!("Firm {id}"),
    });
    let lines = 2_u32..;
    let verifier = verifier(CARD, params);
    let accounts = ALL.iter().zip(lines);
    let accounts = accounts.map(|(one, line)| one.row(line, &verifier));
    (participants.to_vec(), accounts.collect())
}

/// What people carry.
#[derive(Default)]
pub struct Pockets {
    cards: BTreeMap<&'static str, SoftwareCard>,
    apps: BTreeMap<(&'static str, &'static str), App>,
    seeds: Vec<String>,
    codes: Vec<String>,
}

struct App {
    seed: Seed,
    /// The step of the last code that was shown to the service.
    shown: Option<u64>,
}

impl Pockets {
    /// A software card for everybody who has one, good around `now`.
    #[must_use]
    pub fn with_cards(profile: &Profile, now: UnixMs) -> Self {
        let authority = profile.file().cards.as_ref().unwrap();
        let authority = Authority::load(
            &profile.text(&authority.cert).unwrap(),
            &profile.text(&authority.key).unwrap(),
        )
        .unwrap();
        let year_ms = 365 * 86_400_000;
        let validity = Validity {
            not_before: now.minus(year_ms),
            not_after: now.plus(year_ms),
        };
        let mut pockets = Self::default();
        for person in ALL {
            if let Some(number) = person.card {
                let number = CardNumber::parse(number).unwrap();
                let card = SoftwareCard::issue(&authority, &number, person.id, validity).unwrap();
                pockets.cards.insert(person.id, card);
            }
        }
        pockets
    }

    /// The person's card.
    #[must_use]
    pub fn card(&self, person: &Person) -> &SoftwareCard {
        &self.cards[person.id]
    }

    /// Keeps the key that an app was given.
    pub fn keep(&mut self, person: &Person, app: &'static str, base32: &str) {
        let seed = Seed::parse(base32).unwrap();
        self.seeds.push(base32.to_owned());
        self.apps
            .insert((person.id, app), App { seed, shown: None });
    }

    /// The keys of all apps, in base32.
    #[must_use]
    pub fn seeds(&self) -> &[String] {
        &self.seeds
    }

    /// The codes that apps have shown.
    #[must_use]
    pub fn codes(&self) -> &[String] {
        &self.codes
    }

    /// All cards.
    pub fn cards(&self) -> impl Iterator<Item = &SoftwareCard> {
        self.cards.values()
    }

    /// The first step whose code was not shown to the service yet.
    #[must_use]
    pub fn next_step(&self, person: &Person, app: &'static str) -> u64 {
        self.apps[&(person.id, app)]
            .shown
            .map_or(0, |shown| shown + 1)
    }

    /// The code that the app shows at a step.
    pub fn code(&mut self, person: &Person, app: &'static str, step: u64) -> String {
        let app = self.apps.get_mut(&(person.id, app)).unwrap();
        app.shown = Some(step);
        let parameters = credential::totp::Parameters::default();
        let code = credential::totp::code(&app.seed, parameters, step).unwrap();
        self.codes.push(code.text().to_owned());
        code.text().to_owned()
    }
}
