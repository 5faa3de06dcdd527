//! What the people of a drill carry with them: cards, app keys, tokens, and the mail they got.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use credential::authority::{Authority, Validity};
use credential::secret::Seed;
use credential::software_card::SoftwareCard;
use domain::{CentreName, UnixMs};
use proto::account::v1::Portal;
use tokio::time::Instant;

use super::file::{Class, Drill, Person};
use crate::exit::Failure;
use crate::profile::Profile;

/// How long a mail may take.
const MAIL_DEADLINE: Duration = Duration::from_secs(4);
/// How often the mailbox is looked into meanwhile.
const MAIL_LOOK: Duration = Duration::from_millis(20);
/// Largest mail that is read.
const MAIL_BYTES_MAX: u64 = 64 * 1024;

/// A token that somebody holds.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// The token itself.
    pub(super) text: String,
    /// Whose.
    pub(super) person: String,
    /// The portal it is for.
    pub(super) portal: Portal,
    /// The scopes it has.
    pub(super) scopes: Vec<String>,
    /// The centre that gave it.
    pub(super) centre: CentreName,
    /// Whether it is of a branch.
    pub(super) of_branch: bool,
}

/// What everybody carries.
#[derive(Default)]
pub(super) struct People {
    cards: BTreeMap<String, SoftwareCard>,
    keys: BTreeMap<(String, String), Seed>,
    steps: BTreeMap<(String, String), u64>,
    /// Tokens, by what the drill calls them.
    pub(super) tokens: BTreeMap<String, Held>,
    /// Halves of activation codes that were passed on by voice, by person.
    pub(super) halves: BTreeMap<String, String>,
}

/// The portal of a class (R50).
pub(super) fn portal(class: Class) -> Portal {
    match class {
        Class::User => Portal::Ccms,
        Class::Da => Portal::Dms,
    }
}

/// The resource name of a person's account.
pub(super) fn resource(person: &Person) -> String {
    let class = match person.class {
        Class::User => "users",
        Class::Da => "delegatedAdmins",
    };
    format!(
        "participants/{}/{class}/{}",
        person.participant, person.account
    )
}

impl People {
    /// Makes a software card for everybody who has one.
    pub(super) fn with_cards(drill: &Drill, profile: &Profile) -> Result<Self, Failure> {
        let mut people = Self::default();
        let holders = || drill.person.iter().filter(|person| person.card.is_some());
        if holders().next().is_none() {
            return Ok(people);
        }
        let cards = profile.file().cards.as_ref().ok_or_else(|| {
            Failure::pre_check("the profile has no card authority, and the drill has cards")
                .next("found the cluster with --simulated-clock: it gets one for software cards")
        })?;
        let broken = |error: &dyn std::fmt::Display| {
            Failure::pre_check(format!("no software card can be made: {error}"))
        };
        let authority = Authority::load(&profile.text(&cards.cert)?, &profile.text(&cards.key)?)
            .map_err(|error| broken(&error))?;
        // Cards are judged by the cluster's clock, which may be anywhere.
        let validity = Validity {
            not_before: drill.begins.0.minus(365 * 86_400_000),
            not_after: drill.begins.0.plus(5 * 365 * 86_400_000),
        };
        for person in holders() {
            if let Some(number) = &person.card {
                let card =
                    SoftwareCard::issue(&authority, number, person.account.as_str(), validity)
                        .map_err(|error| broken(&error))?;
                people.cards.insert(person.id.clone(), card);
            }
        }
        Ok(people)
    }

    /// The person's card.
    pub(super) fn card(&self, person: &str) -> Result<&SoftwareCard, Failure> {
        self.cards
            .get(person)
            .ok_or_else(|| Failure::internal(format!("{person} has no card in the drill")))
    }

    /// Keeps an app key.
    pub(super) fn keep_key(&mut self, person: &str, key: &str, seed: Seed) {
        let name = (person.to_owned(), key.to_owned());
        self.steps.remove(&name);
        self.keys.insert(name, seed);
    }

    /// The first step whose code the app has not shown to the service yet.
    pub(super) fn next_step(&self, person: &str, key: &str) -> u64 {
        self.steps
            .get(&(person.to_owned(), key.to_owned()))
            .map_or(0, |used| used + 1)
    }

    /// The code that the app shows at `step`.
    pub(super) fn code(&mut self, person: &str, key: &str, step: u64) -> Result<String, Failure> {
        let name = (person.to_owned(), key.to_owned());
        let seed = self
            .keys
            .get(&name)
            .ok_or_else(|| Failure::internal(format!("{person} has no app key {key}")))?;
        let code = credential::totp::code(seed, credential::totp::Parameters::default(), step)
            .map_err(|error| Failure::internal(format!("no code from the app: {error}")))?;
        self.steps.insert(name, step);
        Ok(code.text().to_owned())
    }

    /// The token that the drill calls so.
    pub(super) fn token(&self, name: &str) -> Result<Held, Failure> {
        self.tokens.get(name).cloned().ok_or_else(|| {
            Failure::pre_check(format!("nobody holds the token {name}: its login failed"))
        })
    }
}

/// The folders in which nodes leave their mail, read as the people would read it.
pub struct Mailbox {
    folders: Vec<PathBuf>,
    seen: BTreeSet<PathBuf>,
}

/// One mail, as far as a drill reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mail {
    to: String,
    kind: String,
    code: Option<String>,
}

impl Mailbox {
    /// The mailbox of the profile; what lies there already is old.
    pub fn open(profile: &Profile) -> Self {
        let folders = profile.file().mailboxes.iter();
        let mut mailbox = Self {
            folders: folders.map(|folder| profile.path(folder)).collect(),
            seen: BTreeSet::new(),
        };
        let _old = mailbox.fresh();
        mailbox
    }

    /// The code of the next mail of this kind to this address.
    pub async fn code(&mut self, to: &str, kind: &str) -> Result<String, Failure> {
        let deadline = Instant::now() + MAIL_DEADLINE;
        loop {
            let found = self.fresh().into_iter().rev().find_map(|mail| {
                (mail.to == to && mail.kind == kind)
                    .then_some(mail.code)
                    .flatten()
            });
            if let Some(code) = found {
                return Ok(code);
            }
            if Instant::now() >= deadline {
                return Err(Failure::pre_check(format!(
                    "no {kind} came to {to} within {} s",
                    MAIL_DEADLINE.as_secs()
                )));
            }
            tokio::time::sleep(MAIL_LOOK).await;
        }
    }

    /// Marks everything that came so far as read.
    pub fn forget(&mut self) {
        let _old = self.fresh();
    }

    /// What came since the last look, oldest first.
    fn fresh(&mut self) -> Vec<Mail> {
        let mut paths: Vec<PathBuf> = self
            .folders
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ending| ending == "eml"))
            .filter(|path| !self.seen.contains(path))
            .collect();
        // Named by time, so that this is their order over all folders.
        paths.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
        let small =
            |path: &PathBuf| fs::metadata(path).is_ok_and(|facts| facts.len() <= MAIL_BYTES_MAX);
        let mails = paths
            .iter()
            .filter(|path| small(path))
            .filter_map(|path| fs::read_to_string(path).ok())
            .map(|text| Mail::parse(&text))
            .collect();
        self.seen.extend(paths);
        mails
    }
}

impl Mail {
    fn parse(text: &str) -> Self {
        let after = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(|rest| rest.trim().to_owned())
        };
        let to = after("To:").unwrap_or_default();
        Self {
            to: to.trim_matches(['<', '>']).to_owned(),
            kind: after("X-Tidemark-Kind:").unwrap_or_default(),
            code: after("Code:"),
        }
    }
}

/// The step of one-time passwords at a time.
pub(super) fn step_at(at: UnixMs) -> u64 {
    domain::totp::step(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_is_read_as_its_person_would_read_it() {
        let mail = Mail::parse(
            "From: tidemark <no-reply@localhost>\r\nTo: lee@harbour.example\r\n\
             X-Tidemark-Kind: login-code\r\n\r\nYour one-time password.\r\nCode: 123456\r\n",
        );
        assert_eq!(mail.to, "lee@harbour.example");
        assert_eq!(mail.kind, "login-code");
        assert_eq!(mail.code.as_deref(), Some("123456"));
    }
}
