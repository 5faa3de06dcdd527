//! That what takes several people had them (S34): an act of operators the approvals of two, before
//! it or with it; a change request a maker and another checker; what gives access a request.
//!
//! Deliberately absent: how many operators the policy asked for beyond two, which the trail does not
//! say. An export that does not begin with the trail's first record is not blamed for what may
//! stand before it.

use std::collections::{BTreeMap, BTreeSet};

use domain::approval::{Approval, LIFE_MS_MAX, is_carried_out_as, is_recorded_as, takes_approvals};
use domain::audit::{Kind, Row, Verdict};
use domain::{Digest, LogId, UnixMs};

/// What gives an account something, and stands beside the approval of its request.
const GIVEN: [Kind; 8] = [
    Kind::AccountCreated,
    Kind::AccountResumed,
    Kind::AccountUnlocked,
    Kind::AccountDeleted,
    Kind::EmailSet,
    Kind::CardRegistered,
    Kind::PasswordReset,
    Kind::ChannelReset,
];

/// The least that an act of operators takes.
const OPERATORS_MIN: usize = 2;

/// An act that operators have approved.
#[derive(Debug, Default)]
struct Given {
    name: String,
    /// By whom, and until when each approval counts.
    by: BTreeMap<String, UnixMs>,
}

/// The acts of a trail as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Acts {
    given: BTreeMap<Digest, Given>,
    granted: BTreeSet<Digest>,
    /// Who asked for which change.
    asked: BTreeMap<String, String>,
    /// When it begins, if not with the first record of all.
    begins_late: Option<UnixMs>,
    last: Option<(LogId, Kind)>,
}

impl Acts {
    /// Checks a record whose approvals were found good; `with` are those that came with it, and who
    /// signed each.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn follow(
        &mut self,
        row: &Row,
        with: &[(String, &Approval)],
    ) -> Result<(), &'static str> {
        let late = self.last.is_none() && row.sequence > 0;
        // What was asked for or granted in another cluster is not in this one's trail.
        if late || row.kind == Kind::Restored {
            self.begins_late = Some(row.at);
        }
        let last = self.last.replace((row.log, row.kind));
        if row.verdict != Verdict::Done {
            return Ok(());
        }
        self.requests(row, last)?;
        if takes_approvals(row) || row.approved.is_some() {
            self.approved(row, with)?;
        }
        if let Some(signed) = &row.approval
            && is_recorded_as(row.kind, &signed.statement.act) == Some(true)
        {
            let given = self.given.entry(signed.statement.arguments).or_default();
            given.name.clone_from(&signed.statement.act);
            let until = signed.statement.expires_at;
            given.by.insert(row.actor.clone(), until);
        }
        Ok(())
    }

    fn requests(&mut self, row: &Row, last: Option<(LogId, Kind)>) -> Result<(), &'static str> {
        let said = row.detail.as_deref().and_then(request_id);
        match (row.kind, said) {
            (Kind::ChangeRequested, Some(id)) => {
                self.asked.insert(id.to_owned(), row.by.clone());
            }
            (Kind::ChangeApproved, said) => match said.and_then(|id| self.asked.get(id)) {
                Some(maker) if *maker == row.by => {
                    return Err("who asked for it approved it");
                }
                None if self.begins_late.is_none() => {
                    return Err("nobody asked for what it approves");
                }
                Some(_) | None => {}
            },
            (kind, _) if GIVEN.contains(&kind) => {
                let beside = Some((row.log, Kind::ChangeApproved));
                if last != beside && last.is_some() {
                    return Err("it gives access, and no request for it was approved");
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn approved(&mut self, row: &Row, with: &[(String, &Approval)]) -> Result<(), &'static str> {
        let Some(approved) = &row.approved else {
            return Err("it takes the approvals of operators, and names none");
        };
        let mut by = BTreeSet::new();
        for (signer, approval) in with {
            let statement = &approval.statement;
            if statement.arguments != approved.act || !is_carried_out_as(row.kind, &statement.act) {
                return Err("an approval that came with it is of another act");
            }
            by.insert(signer.as_str());
        }
        if let Some(given) = self.given.get(&approved.act) {
            if !is_carried_out_as(row.kind, &given.name) {
                return Err("what was approved is another act");
            }
            let counts = given.by.iter().filter(|(_, until)| row.at < **until);
            by.extend(counts.map(|(who, _)| who.as_str()));
        }
        let by_script = row.actor.starts_with("script/") && self.granted.contains(&approved.act);
        if by.len() < OPERATORS_MIN && !by_script && !self.may_stand_before(row) {
            return Err("it lacks the approvals of two operators");
        }
        if row.kind == Kind::ScriptGranted {
            self.granted.insert(approved.act);
        }
        Ok(())
    }

    /// Whether what a record rests on can stand before the first one that was read.
    fn may_stand_before(&self, row: &Row) -> bool {
        let by_script = row.actor.starts_with("script/");
        self.begins_late
            .is_some_and(|at| by_script || row.at.since(at) <= LIFE_MS_MAX)
    }
}

/// The id of the request that a record is about.
fn request_id(detail: &str) -> Option<&str> {
    let (_, rest) = detail.split_once(" (")?;
    rest.split_once("): ").map(|(id, _)| id)
}
