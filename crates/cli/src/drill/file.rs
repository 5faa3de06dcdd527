//! The drill file: who takes part, what they do and when, and what must come of it. Every name
//! that a step uses is checked before anything is played.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use domain::calendar::Day;
use domain::{AccountId, CardNumber, ParticipantId, SessionId, UnixMs};
use serde::Deserialize;

use super::action::Action;
use crate::exit::{Failure, file_failure};

/// The version of the form that this binary reads.
pub const VERSION: u32 = 1;
/// Longest drill file.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// A drill.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// The version of the form.
    pub version: u32,
    /// Its name.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// The circular or order that asks for it (R57).
    pub source: String,
    /// The local time at which it begins: a simulated clock is founded with it.
    pub begins: LocalTime,
    /// The session at the primary.
    pub first_session: SessionId,
    /// The session at the secondary, whose changes are discarded.
    pub second_session: SessionId,
    /// The files beside it.
    pub data: Data,
    /// Who takes part.
    pub person: Vec<Person>,
    /// What happens.
    pub part: Vec<Part>,
}

/// The files that a drill needs, relative to its own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The participants to import.
    pub participants: PathBuf,
    /// The accounts to import.
    pub accounts: PathBuf,
    /// The timetable.
    pub timetable: PathBuf,
    /// The holidays.
    pub holidays: PathBuf,
}

/// Somebody with an account.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// What steps call the person.
    pub id: String,
    /// The user id.
    pub account: AccountId,
    /// The firm.
    pub participant: ParticipantId,
    /// Whose account it is.
    pub class: Class,
    /// The registered e-mail address.
    pub email: Option<String>,
    /// The card's number.
    pub card: Option<CardNumber>,
    /// The passwords that the person knows or will set, by what steps call them. Of a drill, not
    /// of a person: this is the one place where passwords stand in a file.
    #[serde(default)]
    pub passwords: BTreeMap<String, String>,
}

/// Whose account it is (R50).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Works in CCMS.
    User,
    /// Delegated administrator: works in DMS.
    Da,
}

/// Some steps that belong together.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What they are called.
    pub title: String,
    /// The steps, in order.
    pub step: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What happens, for people.
    pub title: String,
    /// The local time before which it does not happen.
    pub at: Option<LocalTime>,
    /// The rows of the requirements that it shows.
    #[serde(default)]
    pub shows: Vec<String>,
    /// What is done.
    #[serde(rename = "do")]
    pub action: Action,
    /// The reason with which it must be refused; it must be done if not said.
    pub refused: Option<String>,
    /// A text that the answer or refusal must hold.
    pub says: Option<String>,
    /// What the answer must say about the next business day.
    pub carry: Option<Carry>,
}

/// What becomes of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carry {
    /// It stays.
    Carried,
    /// The rollover throws it away.
    Discarded,
}

/// A local date and time, `2023-06-10 17:55`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct LocalTime(pub UnixMs);

impl TryFrom<String> for LocalTime {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let read = || {
            let (day, time) = text.split_once(' ')?;
            let day: Day = day.parse().ok()?;
            day.at(time.parse().ok()?)
        };
        read()
            .map(Self)
            .ok_or_else(|| format!("\"{text}\" is no local time: write it as 2023-06-10 17:55"))
    }
}

impl Drill {
    /// Reads a drill, and checks every name in it.
    ///
    /// # Errors
    /// If it cannot be read; or all that is wrong with it.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| file_failure("read", path, &error))?;
        if text.len() > FILE_BYTES_MAX {
            return Err(Failure::pre_check(format!(
                "{} has more than {FILE_BYTES_MAX} bytes: is it a drill?",
                path.display()
            )));
        }
        let drill = Self::parse(&text)
            .map_err(|what| Failure::pre_check(format!("{}: {what}", path.display())))?;
        let problems = drill.problems();
        if problems.is_empty() {
            Ok(drill)
        } else {
            Err(Failure::pre_check(format!(
                "{} cannot be played:\n  {}",
                path.display(),
                problems.join("\n  ")
            )))
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let drill: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if drill.version == VERSION {
            Ok(drill)
        } else {
            Err(format!(
                "version {} is not read here, only {VERSION}",
                drill.version
            ))
        }
    }

    /// The steps, with the number of their part from 1.
    pub fn steps(&self) -> impl Iterator<Item = (usize, &Step)> {
        self.part
            .iter()
            .enumerate()
            .flat_map(|(index, part)| part.step.iter().map(move |step| (index + 1, step)))
    }

    /// The person of this name. Names are checked when the drill is read.
    ///
    /// # Errors
    /// If there is none.
    pub fn person(&self, id: &str) -> Result<&Person, Failure> {
        self.person
            .iter()
            .find(|person| person.id == id)
            .ok_or_else(|| Failure::internal(format!("the drill has no person {id}")))
    }

    /// What is wrong with the drill: names that nobody has, tokens before their login, times
    /// that run backwards.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut check = Check {
            drill: self,
            tokens: BTreeSet::new(),
            keys: BTreeSet::new(),
            problems: Vec::new(),
        };
        let mut ids = BTreeSet::new();
        for person in &self.person {
            if !ids.insert(&person.id) {
                check
                    .problems
                    .push(format!("person {} is there twice", person.id));
            }
        }
        let mut clock = self.begins;
        for (number, (_, step)) in self.steps().enumerate() {
            let at = format!("step {} \"{}\"", number + 1, step.title);
            if let Some(time) = step.at {
                if time < clock {
                    check
                        .problems
                        .push(format!("{at}: its time is before that of an earlier step"));
                }
                clock = time;
            }
            check.step(&at, &step.action);
        }
        check.problems
    }
}

/// Walks through the steps and keeps what each leaves behind.
struct Check<'d> {
    drill: &'d Drill,
    tokens: BTreeSet<&'d str>,
    keys: BTreeSet<(&'d str, &'d str)>,
    problems: Vec<String>,
}

impl<'d> Check<'d> {
    fn step(&mut self, at: &str, action: &'d Action) {
        match action {
            Action::Login(login) => {
                self.password(at, &login.person, &login.password);
                if let Some(key) = &login.key
                    && !self.keys.contains(&(login.person.as_str(), key.as_str()))
                {
                    self.wrong(at, &format!("{} has no app key {key} yet", login.person));
                }
                self.tokens.extend(login.token.as_deref());
            }
            Action::Initiate(initiate) => {
                self.password(at, &initiate.person, &initiate.password);
                let key = initiate.key.as_deref().unwrap_or("app");
                self.keys.insert((&initiate.person, key));
            }
            Action::ChangePassword(change) => self.token(at, &change.token),
            Action::ReplaceChannel(replace) => {
                self.token(at, &replace.token);
                // Whose it is, only the token says; any person's will do here.
                for person in &self.drill.person {
                    self.keys.insert((&person.id, &replace.new_key));
                }
            }
            Action::Logout(logout) => self.token(at, &logout.token),
            Action::Introspect(introspect) => self.token(at, &introspect.token),
            Action::Suspend(suspend) => {
                self.known(at, &suspend.person);
                self.token(at, &suspend.token);
            }
            Action::IssueHalf(issue) => {
                self.known(at, &issue.person);
                self.token(at, &issue.token);
            }
            Action::EmergencySuspend(suspend) => self.known(at, &suspend.person),
            Action::AskActivation(ask) => self.known(at, &ask.person),
            Action::Unready(unready) => self.known(at, &unready.person),
            Action::Rollover(rollover) => {
                for person in rollover.repeat.iter().chain(&rollover.waive) {
                    self.known(at, person);
                }
            }
            Action::Approve(approve) if !(1..=2).contains(&approve.operator) => {
                self.wrong(at, "operator must be 1 or 2");
            }
            Action::Import(_)
            | Action::SetTimetable(_)
            | Action::Approve(_)
            | Action::Open(_)
            | Action::Close(_)
            | Action::BranchIsBoundary(_)
            | Action::ForgottenIsDone(_)
            | Action::BranchSecretsDead(_)
            | Action::NodesAgree(_)
            | Action::ReplayAgrees(_)
            | Action::MatrixAgrees(_) => {}
        }
    }

    fn wrong(&mut self, at: &str, what: &str) {
        self.problems.push(format!("{at}: {what}"));
    }

    fn find(&self, person: &str) -> Option<&'d Person> {
        self.drill.person.iter().find(|known| known.id == person)
    }

    fn known(&mut self, at: &str, person: &str) {
        if self.find(person).is_none() {
            self.wrong(at, &format!("there is no person {person}"));
        }
    }

    fn password(&mut self, at: &str, person: &str, password: &str) {
        match self.find(person) {
            None => self.known(at, person),
            Some(found) if !found.passwords.contains_key(password) => {
                self.wrong(at, &format!("{person} has no password {password}"));
            }
            Some(_) => {}
        }
    }

    fn token(&mut self, at: &str, token: &str) {
        if !self.tokens.contains(token) {
            self.wrong(at, &format!("no login before it keeps a token {token}"));
        }
    }
}

#[cfg(test)]
mod tests;
