//! What clients were answered, and what it shows: that nothing acknowledged is lost (I11), and that
//! one main line answered at a time (I12).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use domain::CentreName;
use proto::admin::v1::ListParticipantsRequest;
use proto::admin::v1::participant_service_client::ParticipantServiceClient;
use tidemark::drill::{Door, call, request};

use crate::cast::{self, CARD};
use crate::cluster::{Cluster, settled};
use crate::login::By;

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// To log this person in.
    Login(&'static str),
    /// To change this person's password to that one.
    Password(&'static str, String),
    /// To enter this firm.
    Firm(String),
}

impl Asked {
    /// The kind and the subject of the audit record of it.
    #[must_use]
    pub fn row(&self) -> (&'static str, &str) {
        match self {
            Self::Login(person) => ("LoginVerified", person),
            Self::Password(person, _) => ("PasswordChanged", person),
            Self::Firm(firm) => ("ParticipantSet", firm),
        }
    }
}

/// What was said of an acknowledged answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing: the other centre has what it tells of.
    Protected,
    /// That the other centre may not have it.
    Alone,
}

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// It is done.
    Acknowledged(Kept),
    /// This try did nothing.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

/// One try of a client.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What for.
    pub asked: Asked,
    /// The node that was asked.
    pub node: u64,
    /// Its centre.
    pub centre: CentreName,
    /// When it was asked.
    pub began: Instant,
    /// When the answer came.
    pub ended: Instant,
    /// The answer.
    pub came: Came,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ago, took) = (self.began.elapsed(), self.ended - self.began);
        let (node, asked, came) = (self.node, &self.asked, &self.came);
        write!(
            f,
            "{ago:?} ago, node {node}: {asked:?} {came:?} in {took:?}"
        )
    }
}

impl Answer {
    /// What was said of it, if it was acknowledged.
    #[must_use]
    pub fn kept(&self) -> Option<Kept> {
        match self.came {
            Came::Acknowledged(kept) => Some(kept),
            Came::Refused(_) | Came::Unknown(_) => None,
        }
    }

    /// Whether a node of this centre was asked.
    #[must_use]
    pub fn is_of(&self, centre: &str) -> bool {
        self.centre.as_str() == centre
    }

    /// Whether it was to log somebody in.
    #[must_use]
    pub fn is_login(&self) -> bool {
        matches!(self.asked, Asked::Login(_))
    }

    /// Whether a firm was to be entered.
    #[must_use]
    pub fn is_firm(&self) -> bool {
        matches!(self.asked, Asked::Firm(_))
    }
}

/// What all clients were answered: each try, in the order of the answers.
#[derive(Debug, Clone)]
pub struct Record(pub Vec<Answer>);

impl Record {
    /// The acknowledged answers.
    pub fn acknowledged(&self) -> impl Iterator<Item = &Answer> {
        self.0.iter().filter(|one| one.kept().is_some())
    }

    /// How often the centre that answers people must have changed, at least, to explain what they
    /// were answered, when this one began. Each answer was given at some moment between its asking
    /// and its end; an operator's call says nothing here, since nodes pass it on.
    #[must_use]
    pub fn turns(&self, first: &str) -> usize {
        let of_people = self.acknowledged().filter(|one| !one.is_firm());
        let mut left: Vec<&Answer> = of_people.collect();
        let (mut is_first, mut turns) = (true, 0);
        loop {
            // The one that answers may have gone on until the other one must have answered.
            let others = left.iter().filter(|one| one.is_of(first) != is_first);
            let Some(end) = others.map(|one| one.ended).min() else {
                return turns;
            };
            left.retain(|one| one.is_of(first) != is_first || one.began > end);
            is_first = !is_first;
            turns += 1;
        }
    }

    /// The longest time between two logins that succeeded, of those that reach into this stretch.
    #[must_use]
    pub fn longest_gap(&self, from: Instant, until: Instant) -> Duration {
        let logins = self.acknowledged().filter(|one| one.is_login());
        let ends: Vec<Instant> = logins.map(|one| one.ended).collect();
        let pairs = ends.iter().zip(ends.iter().skip(1));
        let pairs = pairs.filter(|(before, after)| **after >= from && **before <= until);
        let gaps = pairs.map(|(before, after)| after.duration_since(*before));
        gaps.max().unwrap_or_default()
    }

    /// The firms that these answers say were entered, and that are not there.
    #[must_use]
    pub fn lost_firms<'a>(
        &'a self,
        there: &BTreeSet<String>,
        which: impl Fn(&Answer) -> bool,
    ) -> Vec<&'a Answer> {
        self.acknowledged()
            .filter(|one| match &one.asked {
                Asked::Firm(firm) => !there.contains(firm) && which(one),
                Asked::Login(_) | Asked::Password(..) => false,
            })
            .collect()
    }

    /// How many of these answers are on no list, by kind and subject.
    #[must_use]
    pub fn unlisted(
        &self,
        listed: &[Listed],
        which: impl Fn(&Answer) -> bool,
    ) -> BTreeMap<(String, String), usize> {
        let mut answered: BTreeMap<(String, String), usize> = BTreeMap::new();
        for one in self.acknowledged().filter(|one| which(one)) {
            let (kind, about) = one.asked.row();
            let count = answered.entry((kind.to_owned(), about.to_owned()));
            *count.or_default() += 1;
        }
        for row in listed {
            if let Some(count) = answered.get_mut(&(row.kind.clone(), row.about.clone())) {
                *count = count.saturating_sub(1);
            }
        }
        answered.retain(|_, count| *count > 0);
        answered
    }

    /// Everybody who changed passwords logs in with the last one that counts, or with a later one:
    /// of those that do not count, and of those that were not acknowledged, either may hold (I11).
    ///
    /// # Panics
    /// If somebody does not.
    pub async fn passwords_hold(
        &self,
        cluster: &Cluster,
        doors: &[Door],
        counts: impl Fn(&Answer) -> bool,
    ) {
        let mut asked: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for one in &self.0 {
            let Asked::Password(person, password) = &one.asked else {
                continue;
            };
            let may_hold = asked.entry(*person).or_insert_with(|| vec![CARD]);
            if one.kept().is_some() && counts(one) {
                may_hold.clear();
            }
            if may_hold.last() != Some(&password.as_str()) {
                may_hold.push(password);
            }
        }
        for (id, may_hold) in asked {
            let person = cast::ALL.into_iter().find(|one| one.id == id).unwrap();
            let mut told = Vec::new();
            for password in &may_hold {
                let option = person.card_option();
                let login =
                    settled(|| cluster.log_in_at(doors, person, option, password, By::Card));
                match login.await {
                    Ok(_) => break,
                    Err(status) => told.push(status),
                }
            }
            assert!(
                told.len() < may_hold.len(),
                "I11: {id} has none of {may_hold:?}: {told:?}"
            );
        }
    }
}

/// A record of a list of what an old primary alone answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// What was done.
    pub kind: String,
    /// The account or the firm that it is about.
    pub about: String,
}

/// The list that `tidemark centre reinstate --out` wrote: what was done.
///
/// # Panics
/// If it is not such a list, or says another number of records than it has.
#[must_use]
pub fn listed(text: &str) -> Vec<Listed> {
    let document: serde_json::Value = serde_json::from_str(text).unwrap();
    let records = document["records"].as_array().unwrap();
    assert_eq!(document["record_count"], records.len());
    let done = records.iter().filter(|record| record["verdict"] == "Done");
    let text = |record: &serde_json::Value, name| record[name].as_str().unwrap().to_owned();
    done.map(|record| Listed {
        kind: text(record, "kind"),
        about: match text(record, "account") {
            account if account.is_empty() => text(record, "participant"),
            account => account,
        },
    })
    .collect()
}

impl Cluster {
    /// The firms that there are, as these doors tell.
    ///
    /// # Panics
    /// If they tell nothing.
    pub async fn firms_at(&self, doors: &[Door]) -> BTreeSet<String> {
        let (mut firms, mut page_token) = (BTreeSet::new(), String::new());
        loop {
            let message = ListParticipantsRequest {
                state: 0,
                page_size: 500,
                page_token,
            };
            let page = call(doors, |channel| {
                let message = message.clone();
                async move {
                    ParticipantServiceClient::new(channel)
                        .list_participants(request(message))
                        .await
                }
            });
            let page = page.await.unwrap();
            let names = page.participants.iter().map(|one| one.name.as_str());
            let ids = names.map(|name| name.trim_start_matches("participants/").to_owned());
            firms.extend(ids);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return firms;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(answers: &[(&str, u64, u64)]) -> usize {
        let zero = Instant::now();
        let at = |ms: &u64| zero + Duration::from_millis(*ms);
        let answers = answers.iter().map(|(centre, began, ended)| Answer {
            asked: Asked::Login("C00001U1"),
            node: 1,
            centre: CentreName::parse(centre).unwrap(),
            began: at(began),
            ended: at(ended),
            came: Came::Acknowledged(Kept::Protected),
        });
        Record(answers.collect()).turns("east")
    }

    #[test]
    fn two_that_answer_at_the_same_time_take_more_turns_than_there_were_i12() {
        assert_eq!(turns(&[]), 0);
        assert_eq!(turns(&[("east", 0, 1), ("east", 2, 3)]), 0);
        // The last of the one may have been given before the first of the other.
        assert_eq!(turns(&[("east", 0, 9), ("west", 5, 10)]), 1);
        assert_eq!(turns(&[("west", 0, 1), ("east", 2, 3)]), 2);
        // It was asked after the other one had answered.
        assert_eq!(turns(&[("east", 0, 1), ("west", 2, 3), ("east", 4, 5)]), 2);
        let together = [
            ("east", 0, 1),
            ("west", 2, 3),
            ("east", 4, 5),
            ("west", 6, 7),
            ("east", 8, 9),
        ];
        assert_eq!(turns(&together), 4);
    }

    #[test]
    fn an_answer_that_is_neither_there_nor_listed_is_seen_i11() {
        let now = Instant::now();
        let entered = |firm: &str, came| Answer {
            asked: Asked::Firm(firm.to_owned()),
            node: 1,
            centre: CentreName::parse("east").unwrap(),
            began: now,
            ended: now,
            came,
        };
        let done = Came::Acknowledged(Kept::Alone);
        let record = Record(vec![
            entered("S00001", done.clone()),
            entered("S00002", Came::Unknown("nobody knows".to_owned())),
            entered("S00003", done.clone()),
            entered("S00003", done),
        ]);
        let there = BTreeSet::from(["S00001".to_owned()]);
        let lost = record.lost_firms(&there, |_| true);
        let lost: Vec<&Asked> = lost.into_iter().map(|one| &one.asked).collect();
        let third = Asked::Firm("S00003".to_owned());
        assert_eq!(lost, [&third, &third]);
        let row = |about: &str| Listed {
            kind: "ParticipantSet".to_owned(),
            about: about.to_owned(),
        };
        let listed = [row("S00001"), row("S00003")];
        let missing = record.unlisted(&listed, |_| true);
        let once = ("ParticipantSet".to_owned(), "S00003".to_owned());
        assert_eq!(missing, BTreeMap::from([(once, 1)]));
    }
}
