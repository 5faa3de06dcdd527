//! The evidence report of a drill: what was done, what was measured, and what proves it. It holds
//! no secret. `report.json` has a versioned schema; `report.md` says the same to people.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::markdown;
use crate::exit::{Exit, Failure, file_failure};

/// The schema that this binary writes and reads.
pub const SCHEMA: &str = "tidemark.drill-report/1";

/// A drill's report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The schema's name and version.
    pub schema: String,
    /// The drill's name.
    pub drill: String,
    /// What it is called.
    pub title: String,
    /// The circular that asks for it (R57).
    pub source: String,
    /// The cluster's uuid.
    pub cluster: String,
    /// Whether every step and every proof held.
    pub result: Verdict,
    /// The sessions that were held.
    pub timetable: Vec<SessionRow>,
    /// The people who approved the session at the secondary.
    pub approved_by: Vec<String>,
    /// Where the branch left the main line.
    pub boundary: Option<Boundary>,
    /// Each step, in order.
    pub steps: Vec<StepRow>,
    /// Times that were measured, in milliseconds of real time.
    pub measured_ms: BTreeMap<String, u64>,
    /// Each initiation of the session at the primary, and whether it was there afterwards.
    pub carried: Vec<Carried>,
    /// What the rollover threw away.
    pub forgotten: Vec<Change>,
    /// What had to be repeated, with the answers.
    pub must_repeat: Vec<Answered>,
    /// The proofs.
    pub proofs: Vec<Proof>,
    /// Who tried and passed what, from server records alone (R51, R56).
    pub matrix: Vec<Cell>,
    /// What was out of the ordinary.
    pub anomalies: Vec<String>,
}

/// Pass or fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// It held.
    Pass,
    /// It did not.
    Fail,
}

impl Verdict {
    /// The verdict on something that held or did not.
    #[must_use]
    pub fn of(holds: bool) -> Self {
        if holds { Self::Pass } else { Self::Fail }
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
        }
    }
}

/// A session of the timetable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRow {
    /// Its id.
    pub session: String,
    /// The centre that serves it.
    pub centre: String,
    /// The centre's role.
    pub role: String,
    /// When it opens, local.
    pub opens: String,
    /// When it closes, local.
    pub closes: String,
    /// The circular that announced it (R57).
    pub source: String,
    /// Where its plan stood at the end of the drill.
    pub stage: String,
}

/// Where the branch left the main line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boundary {
    /// The last shared entry.
    pub log_id: String,
    /// The main line's epoch.
    pub epoch: u64,
    /// The full digest of the state there.
    pub digest: String,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRow {
    /// Its part, from 1.
    pub part: usize,
    /// What it was.
    pub title: String,
    /// The local time of the cluster at its start.
    pub at: String,
    /// Whether what was expected came of it.
    pub result: Verdict,
    /// How long it took, in milliseconds of real time.
    pub took_ms: u64,
    /// What came of it.
    pub told: String,
    /// The rows of the requirements that it shows.
    pub shows: Vec<String>,
}

/// An initiation of the session at the primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carried {
    /// The account.
    pub account: String,
    /// When it was acknowledged, local.
    pub acknowledged: String,
    /// Whether its password and channel logged in after the rollover.
    pub found_after: bool,
}

/// A change that the rollover threw away. No secrets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// What was done.
    pub kind: String,
    /// The account.
    pub account: String,
    /// When, local.
    pub at: String,
    /// By whom.
    pub by: String,
}

/// An item of the must-repeat list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answered {
    /// Its name.
    pub item: String,
    /// The change.
    pub change: Change,
    /// `repeated`, `waived` or `unanswered`.
    pub answer: String,
    /// Why, if it was waived.
    pub reason: String,
}

/// Something that must be equal, or empty, or there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The invariant (I1, I4, …) or rule.
    pub id: String,
    /// What it says.
    pub what: String,
    /// Whether it held.
    pub result: Verdict,
    /// Values that must all be equal, by where they come from.
    pub equal: BTreeMap<String, String>,
}

impl Proof {
    /// A proof by values that must all be equal; at least two of them.
    #[must_use]
    pub fn of_equality(id: &str, what: &str, equal: BTreeMap<String, String>) -> Self {
        Self {
            id: id.to_owned(),
            what: what.to_owned(),
            result: Verdict::of(all_equal(&equal)),
            equal,
        }
    }

    /// A proof by something that was found so or not.
    #[must_use]
    pub fn of_finding(id: &str, what: &str, holds: bool) -> Self {
        Self {
            id: id.to_owned(),
            what: what.to_owned(),
            result: Verdict::of(holds),
            equal: BTreeMap::new(),
        }
    }
}

/// A cell of the matrix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// The session.
    pub session: String,
    /// The firm.
    pub participant: String,
    /// `user` or `DA`.
    pub class: String,
    /// The account.
    pub account: String,
    /// `smartcard` or `OTP`.
    pub method: String,
    /// Logins tried.
    pub tried: u32,
    /// Logins passed.
    pub passed: u32,
    /// Whether the connectivity test is complete for it (R27, R28).
    pub completed: bool,
}

fn all_equal(values: &BTreeMap<String, String>) -> bool {
    let mut each = values.values();
    let Some(first) = each.next() else {
        return false;
    };
    values.len() > 1 && !first.is_empty() && each.all(|value| value == first)
}

impl Report {
    /// How a drill with this report ends: 7 if a proof failed, 1 if a step did.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let proved = self
            .proofs
            .iter()
            .all(|proof| proof.result == Verdict::Pass);
        let done = self.steps.iter().all(|step| step.result == Verdict::Pass);
        match (proved, done && self.result == Verdict::Pass) {
            (false, _) => Exit::Mismatch,
            (true, false) => Exit::Internal,
            (true, true) => Exit::Done,
        }
    }

    /// Writes `report.json` and `report.md` into a folder, which is made if need be.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), Failure> {
        fs::create_dir_all(folder).map_err(|error| file_failure("make", folder, &error))?;
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| Failure::internal(format!("cannot write JSON: {error}")))?;
        for (name, text) in [("report.json", json), ("report.md", markdown::of(self))] {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|error| file_failure("write", &path, &error))?;
        }
        Ok(())
    }

    /// Reads a `report.json`.
    ///
    /// # Errors
    /// If it cannot be read, or is of a schema that is not known here.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| file_failure("read", path, &error))?;
        let report: Self = serde_json::from_str(&text).map_err(|error| {
            Failure::pre_check(format!("{} is no drill report: {error}", path.display()))
        })?;
        if report.schema == SCHEMA {
            Ok(report)
        } else {
            Err(Failure::pre_check(format!(
                "{} has schema {}, this binary reads {SCHEMA}",
                path.display(),
                report.schema
            )))
        }
    }

    /// What in the report contradicts itself: judged by its own values, not by its verdicts.
    #[must_use]
    pub fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        for proof in &self.proofs {
            let holds = proof.equal.is_empty() || all_equal(&proof.equal);
            if proof.result == Verdict::Pass && !holds {
                found.push(format!(
                    "{}: the values are not equal: {}",
                    proof.id, proof.what
                ));
            }
            if proof.result == Verdict::Fail {
                found.push(format!("{}: failed: {}", proof.id, proof.what));
            }
        }
        for id in ["I1", "I4", "I5", "I6"] {
            if !self.proofs.iter().any(|proof| proof.id == id) {
                found.push(format!("{id}: there is no proof of it"));
            }
        }
        if self.forgotten.is_empty() {
            found.push("I5: nothing was forgotten, so that nothing is shown".to_owned());
        }
        for carried in self.carried.iter().filter(|carried| !carried.found_after) {
            found.push(format!(
                "I3: {} was not found after rollover",
                carried.account
            ));
        }
        for item in &self.must_repeat {
            if item.answer == "unanswered" {
                found.push(format!(
                    "item {} of {} has no answer",
                    item.item, item.change.account
                ));
            }
        }
        for step in self
            .steps
            .iter()
            .filter(|step| step.result == Verdict::Fail)
        {
            found.push(format!("step \"{}\" failed: {}", step.title, step.told));
        }
        if self.result == Verdict::Fail {
            found.push("the drill's result is FAIL".to_owned());
        }
        found
    }
}

#[cfg(test)]
pub(super) mod tests;
