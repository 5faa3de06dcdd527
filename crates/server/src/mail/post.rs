//! Mailing the notices that stand in the lines' states.
//!
//! The node that leads a line mails its notices and says on the line which have left; a notice goes
//! only then. So each is mailed at least once, whatever crashes, always with the same Message-ID.
//! While the mail server cannot be had, tries come ever more seldom, and everything waits in the
//! state. Deliberately absent: any way for mail to hold up what people do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use consensus::{Line, Proposal};
use domain::notice::{self, Kind, NoticeId};
use domain::{Actor, Command, LineId, LineRef, State, outcome};
use futures::StreamExt as _;
use tokio::time::Instant;

use super::{Error, Letter, Notice};
use crate::edge::{self, Edge};

/// Most notices that are mailed between two entries that say so.
const BATCH: usize = 64;
/// Most notices on their way at once.
const AT_ONCE: usize = 4;
/// How often the lines are looked at when nothing moved.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long an address that the mail server refuses is tried (RFC 5321 §4.5.4.1), by the line's
/// clock.
pub const REFUSED_FOR_MS_MAX: u64 = 5 * 24 * 3_600_000;

/// How soon a mail that failed is tried again: the wait doubles with each failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The first wait.
    pub first: Duration,
    /// The longest.
    pub most: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            most: Duration::from_secs(300),
        }
    }
}

impl Pace {
    fn wait(self, failures: u32) -> Duration {
        let doubled = 2_u32.checked_pow(failures.saturating_sub(1));
        let wait = doubled.and_then(|factor| self.first.checked_mul(factor));
        wait.map_or(self.most, |wait| wait.min(self.most))
    }
}

/// Failures in a row, and when the next try comes.
#[derive(Debug, Clone, Copy, Default)]
struct Backoff {
    failures: u32,
    not_before: Option<Instant>,
}

impl Backoff {
    fn fail(&mut self, pace: Pace) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + pace.wait(self.failures));
    }

    fn waits(&self) -> bool {
        self.not_before.is_some_and(|until| Instant::now() < until)
    }
}

/// What this node remembers of a line that it leads.
#[derive(Debug, Default)]
struct Round {
    /// Mailed, and perhaps not yet said on the line.
    sent: BTreeSet<NoticeId>,
    /// Not tried any more.
    given_up: BTreeSet<NoticeId>,
    /// Refused one by one.
    refused: BTreeMap<NoticeId, Backoff>,
}

/// Mails notices for as long as the node runs.
pub(crate) async fn run(edge: Edge, pace: Pace) {
    let mut stopping = edge.parts().stopping.clone();
    let mut post = Post {
        edge,
        pace,
        server: Backoff::default(),
        rounds: BTreeMap::new(),
    };
    while !*stopping.borrow() {
        let more = tokio::select! {
            more = post.round() => more,
            // What is half-way is mailed again, by whoever leads then.
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        if !more {
            tokio::select! {
                () = post.changed() => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
    }
}

/// The notices to mail next, the oldest first; reminders only when nothing else waits: what people
/// are told of changes of their accounts does not queue behind a hundred thousand of them.
fn due<'a>(waiting: &'a notice::Outbox, round: &Round, most: usize) -> Vec<&'a notice::Notice> {
    let (mut due, mut reminders) = (Vec::new(), Vec::new());
    for one in waiting.iter().filter(|one| round.is_due(&one.id)) {
        if due.len() >= most {
            break;
        }
        if !matches!(one.kind, Kind::Reminder) {
            due.push(one);
        } else if reminders.len() < most {
            reminders.push(one);
        }
    }
    due.extend(reminders);
    due.truncate(most);
    due
}

struct Post {
    edge: Edge,
    pace: Pace,
    server: Backoff,
    rounds: BTreeMap<String, Round>,
}

impl Post {
    /// Resolves when there may be something to mail.
    async fn changed(&self) {
        let wait = self.server.not_before.map_or(LOOK_EVERY, |until| {
            until
                .saturating_duration_since(Instant::now())
                .min(LOOK_EVERY)
        });
        let (main, branch) = (self.edge.node().main(), self.edge.node().branch());
        let mut on_main = main.applied();
        on_main.mark_unchanged();
        let on_branch = async {
            match branch.map(|branch| branch.applied()) {
                Some(mut applied) => {
                    applied.mark_unchanged();
                    let _stopped = applied.changed().await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = on_main.changed() => {}
            () = on_branch => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// Mails a batch of each line that this node leads. Says whether there is more at once.
    async fn round(&mut self) -> bool {
        let node = self.edge.node().clone();
        let lines: Vec<Line> = std::iter::once(node.main()).chain(node.branch()).collect();
        let names: BTreeSet<String> = lines.iter().map(name).collect();
        self.rounds.retain(|name, _| names.contains(name));
        let mut more = false;
        for line in lines {
            let state = line.state();
            // A branch before its first entry still shows the main line's.
            let begun = state.header().line == line.reference().line;
            if begun && line.is_leader() && !state.outbox().is_empty() {
                // A mail tells of a change: it waits for its protection as an answer does.
                if line.reference().line == LineId::Main && line.read_index().await.is_err() {
                    continue;
                }
                let mut round = self.rounds.remove(&name(&line)).unwrap_or_default();
                more |= self.mail(&line, &state, &mut round).await;
                self.rounds.insert(name(&line), round);
            }
        }
        more
    }

    async fn mail(&mut self, line: &Line, state: &State, round: &mut Round) -> bool {
        let waiting = state.outbox();
        round.sent.retain(|id| waiting.holds(id));
        round.given_up.retain(|id| waiting.holds(id));
        round.refused.retain(|id, _| waiting.holds(id));
        let most = if self.server.waits() { 0 } else { BATCH };
        let due = due(waiting, round, most);
        let all = due.len() == BATCH;
        let went = self.send(&line.reference(), state, due, round).await;
        let said = self.say(line, state, round).await;
        if let LineId::Branch { session, .. } = &state.header().line
            && state.header().ended
            && waiting.iter().all(|one| round.is_done(&one.id))
        {
            self.edge.node().note_mailed(session);
        }
        all && went && said
    }

    /// Sends what is due; false if the mail server cannot be had.
    async fn send(
        &mut self,
        line: &LineRef,
        state: &State,
        due: Vec<&notice::Notice>,
        round: &mut Round,
    ) -> bool {
        if due.is_empty() {
            return true;
        }
        let mark = edge::mark(&line.line);
        let now = state.header().clock;
        let letters: Vec<_> = due
            .into_iter()
            .map(|one| (one.clone(), Letter::Notice(Notice::of(one, line, state))))
            .collect();
        let mut sending = futures::stream::iter(letters)
            .map(|(one, letter)| {
                let outbox = self.edge.parts().outbox.clone();
                async move {
                    let sent = outbox.send(&one.address, &letter, mark, one.id.entry).await;
                    (one, sent)
                }
            })
            .buffer_unordered(AT_ONCE);
        let mut down = None;
        let mut reached = false;
        while let Some((one, sent)) = sending.next().await {
            match sent {
                Ok(()) => {
                    reached = true;
                    round.sent.insert(one.id);
                }
                Err(error @ (Error::To | Error::Message(_))) => {
                    tracing::warn!(notice = %one.id, account = %one.account, %error, "a notice cannot be mailed");
                    round.given_up.insert(one.id);
                }
                Err(Error::Refused(error)) => {
                    reached = true;
                    tracing::warn!(notice = %one.id, account = %one.account, %error, "a notice was refused");
                    if now.since(one.at) >= REFUSED_FOR_MS_MAX {
                        round.given_up.insert(one.id);
                    } else {
                        round.refused.entry(one.id).or_default().fail(self.pace);
                    }
                }
                Err(
                    error @ (Error::From(_)
                    | Error::Folder { .. }
                    | Error::Server { .. }
                    | Error::Smtp(_)
                    | Error::TooMany),
                ) => {
                    down = Some(error);
                    // The rest would fail alike; it waits in the state.
                    break;
                }
            }
        }
        drop(sending);
        match down {
            Some(error) => {
                self.server.fail(self.pace);
                let (failures, waiting) = (self.server.failures, state.outbox().len());
                tracing::warn!(line = %line.line, %error, failures, waiting, "notices wait for the mail server");
                false
            }
            None if reached => {
                self.server = Backoff::default();
                true
            }
            None => true,
        }
    }

    /// Says on the line what need not stand there any more.
    async fn say(&self, line: &Line, state: &State, round: &mut Round) -> bool {
        if round.sent.is_empty() && round.given_up.is_empty() {
            return true;
        }
        // After its close a branch takes no entry: what was mailed is remembered here alone.
        if state.header().ended {
            return true;
        }
        let take = |ids: &BTreeSet<NoticeId>| ids.iter().copied().take(BATCH).collect();
        let (sent, given_up): (Vec<_>, Vec<_>) = (take(&round.sent), take(&round.given_up));
        let proposed = line.propose(Proposal {
            actor: Actor::Node(self.edge.node().id()),
            request: None,
            command: Command::Notice(notice::Command::Sent { sent, given_up }),
        });
        match proposed.await.map(|outcome| outcome.result) {
            Ok(outcome::Result::Done(_) | outcome::Result::FailedAttempt(_)) => true,
            Ok(outcome::Result::Rejected(rejection)) => {
                tracing::debug!(line = %line.reference().line, ?rejection, "said in vain what was mailed");
                false
            }
            Err(error) => {
                tracing::debug!(line = %line.reference().line, %error, "will say again what was mailed");
                false
            }
        }
    }
}

impl Round {
    fn is_done(&self, id: &NoticeId) -> bool {
        self.sent.contains(id) || self.given_up.contains(id)
    }

    fn is_due(&self, id: &NoticeId) -> bool {
        !self.is_done(id) && !self.refused.get(id).is_some_and(Backoff::waits)
    }
}

fn name(line: &Line) -> String {
    let reference = line.reference();
    format!("{} {}", reference.epoch, reference.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_ever_more_seldom_up_to_five_minutes() {
        let pace = Pace::default();
        let waits: Vec<u64> = (1..=12).map(|n| pace.wait(n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(pace.wait(u32::MAX), pace.most);
    }
}
