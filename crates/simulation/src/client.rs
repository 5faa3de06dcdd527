//! Clients: at each node some that set marks through it, one after the other, and a record of what
//! they asked and what they were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use consensus::line;
use consensus::simulated::dice;
use consensus::{Node, Proposal};
use domain::participant::Participant;
use domain::{Actor, Command, OperatorId, ParticipantId, account, outcome};

use crate::world::Shared;

/// Clients at each node.
pub(crate) const EACH: u64 = 2;
/// Longest pause of a client between two marks.
const PAUSE_MS_MAX: u64 = 400;

/// What a client knows of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing yet, or that the outcome is unknown.
    Nothing,
    /// That it is set.
    Done,
    /// That nothing was executed.
    NotExecuted,
}

/// What was asked and told.
#[derive(Default)]
pub(crate) struct Record {
    next: u64,
    pub(crate) marks: BTreeMap<u64, Told>,
    /// When the last mark was acknowledged to a client of this node.
    pub(crate) done_at: BTreeMap<u64, u64>,
    /// What no client should ever hear.
    pub(crate) wrong: Option<String>,
}

/// The participant that a mark leaves.
pub(crate) fn participant(mark: u64) -> Option<ParticipantId> {
    ParticipantId::parse(&format!("MARK{mark:06}")).ok()
}

fn marking(mark: u64) -> Option<Proposal> {
    Some(Proposal {
        actor: Actor::Operator(OperatorId::parse("op1").ok()?),
        request: None,
        command: Command::Account(account::Command::SetParticipant {
            participant: Participant::new(participant(mark)?, format!("mark {mark}")),
            new: true,
            seen: None,
        }),
    })
}

/// Sets marks through a node for as long as it runs.
pub(crate) async fn run(id: u64, node: Node, shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(Duration::from_millis(dice::between(5, PAUSE_MS_MAX))).await;
        if shared.quiet() {
            continue;
        }
        let mark = {
            let mut record = shared.record();
            record.next += 1;
            let mark = record.next;
            record.marks.insert(mark, Told::Nothing);
            mark
        };
        let Some(proposal) = marking(mark) else {
            return;
        };
        shared.note(&format!("node {id}: mark {mark} is asked for"));
        let answer = node.main().propose(proposal).await;
        let mut record = shared.record();
        let told = match &answer {
            Ok(outcome) => match &outcome.result {
                outcome::Result::Done(_) => {
                    record.done_at.insert(id, shared.now_ms());
                    Told::Done
                }
                outcome::Result::FailedAttempt(_) | outcome::Result::Rejected(_) => {
                    let wrong = format!("mark {mark}, asked for once: {:?}", outcome.result);
                    record.wrong.get_or_insert(wrong);
                    Told::Nothing
                }
            },
            Err(
                line::Error::NoLeader
                | line::Error::ClockOff
                | line::Error::TooLarge { .. }
                | line::Error::Stopped,
            ) => Told::NotExecuted,
            Err(
                line::Error::OutcomeUnknown
                | line::Error::SecondaryUnreachable
                | line::Error::WrongLine { .. }
                | line::Error::Storage(_),
            ) => Told::Nothing,
        };
        record.marks.insert(mark, told);
        drop(record);
        let error = answer.err().map(|error| error.to_string());
        shared.note(&format!(
            "node {id}: mark {mark} {told:?} {}",
            error.unwrap_or_default()
        ));
    }
}
