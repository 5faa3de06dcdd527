//! What is checked of the cluster as a whole, from one node's status.

use proto::operator::v1::{GetStatusResponse, ProtectionMode, Verdict};

use super::{Check, Level};
use crate::drill::words;

/// Entries that a node may trail without being told of.
const TRAILS_MAX: u64 = 1_000;
/// How long a notice may wait for its mail.
const MAIL_LATE_MS: u64 = 10 * 60_000;
/// Notices that may wait before that.
const MAIL_MANY: u64 = 1_000;

pub(super) fn of_status(status: &GetStatusResponse) -> Vec<Check> {
    let mut checks = vec![verdict(status), digests(status), lag(status)];
    checks.extend(protection(status));
    checks.push(mail(status));
    checks.push(held(status));
    checks.extend(rollover(status));
    checks.push(approvals(status));
    checks
}

fn verdict(status: &GetStatusResponse) -> Check {
    const NAME: &str = "status";
    let level = match status.verdict() {
        Verdict::Ok => return Check::ok(NAME, status.summary.clone()),
        Verdict::Warning => Level::Warning,
        Verdict::Error | Verdict::Unspecified => Level::Error,
    };
    let reasons = status.reasons.join("; ");
    let found = format!("{}: {reasons}", status.summary);
    Check::not(level, NAME, found, "tidemark status shows it as it changes")
}

fn digests(status: &GetStatusResponse) -> Check {
    if status.digests_differ {
        let found = "nodes have different digests at one entry";
        let next = "change nothing, and call whoever is responsible";
        return Check::not(Level::Mismatch, "digests", found, next);
    }
    Check::ok(
        "digests",
        "the same wherever two nodes have applied the same entry",
    )
}

fn lag(status: &GetStatusResponse) -> Check {
    const NAME: &str = "lag";
    let index =
        |line: &proto::operator::v1::LineStatus| line.applied_log_id.as_ref().map(|at| at.index);
    let name =
        |line: &proto::operator::v1::LineStatus| line.line.as_ref().map(|line| line.line.clone());
    let lines = || {
        let reachable = status.nodes.iter().filter(|node| node.reachable);
        reachable.flat_map(|node| node.lines.iter().map(move |line| (node.node_id, line)))
    };
    let trails = lines().filter_map(|(node, line)| {
        let same = lines().filter(|(_, other)| name(other) == name(line));
        let furthest = same.filter_map(|(_, other)| index(other)).max()?;
        // One that has applied nothing yet trails by everything.
        Some((furthest.saturating_sub(index(line).unwrap_or(0)), node))
    });
    match trails.max() {
        Some((most, node)) if most > TRAILS_MAX => Check::not(
            Level::Warning,
            NAME,
            format!("node {node} trails by {most} entries"),
            "wait until it has followed; if it does not, see its log and its disk",
        ),
        Some((most, _)) => Check::ok(NAME, format!("at most {most} entries")),
        None => Check::not(
            Level::Warning,
            NAME,
            "no node has applied anything yet",
            "wait",
        ),
    }
}

fn protection(status: &GetStatusResponse) -> Option<Check> {
    const NAME: &str = "protection";
    if let [only] = status.centres.as_slice() {
        let centre = &only.centre;
        let found = format!("none: {centre} is the only centre, and a backup is what outlives it");
        return Some(Check::ok(NAME, found));
    }
    let protection = status.protection.as_ref()?;
    let mode = match protection.mode() {
        ProtectionMode::Async => "async",
        ProtectionMode::Sync => "sync",
        ProtectionMode::Strict => "strict",
        ProtectionMode::Unspecified => "unknown",
    };
    let check = match (&protection.degraded_time, protection.mode()) {
        (Some(since), _) => Check::not(
            Level::Warning,
            NAME,
            format!("{mode}, degraded since {}", words::local(Some(since))),
            "bring the secondary's nodes back: what is answered now is lost with the primary",
        ),
        (None, ProtectionMode::Async | ProtectionMode::Unspecified) => Check::not(
            Level::Warning,
            NAME,
            format!("{mode}: answers do not wait for the secondary"),
            "if that is not meant: tidemark policy set, with protection = \"sync\"",
        ),
        (None, ProtectionMode::Sync | ProtectionMode::Strict) => {
            let times = match protection.degraded_count {
                0 => "never degraded".to_owned(),
                count => format!(
                    "degraded {count} times, for {} s in all",
                    protection.degraded_ms / 1_000
                ),
            };
            Check::ok(NAME, format!("{mode}, {times}"))
        }
    };
    Some(check)
}

fn mail(status: &GetStatusResponse) -> Check {
    const NAME: &str = "mail";
    let mail = status.mail.unwrap_or_default();
    let now = words::unix_ms(status.clock_time.as_ref());
    let waits_ms = mail
        .oldest_time
        .as_ref()
        .map_or(0, |oldest| now.since(words::unix_ms(Some(oldest))));
    let waiting = mail.waiting_count;
    if waits_ms >= MAIL_LATE_MS || waiting >= MAIL_MANY {
        let minutes = waits_ms / 60_000;
        let found = format!("{waiting} notices wait, the oldest for {minutes} min");
        let next = "see the mail server, and the log of the node that leads";
        return Check::not(Level::Warning, NAME, found, next);
    }
    let dropped = match mail.dropped_count {
        0 => String::new(),
        dropped => format!("; {dropped} were dropped for want of room since the founding"),
    };
    Check::ok(NAME, format!("{waiting} notices wait{dropped}"))
}

fn held(status: &GetStatusResponse) -> Check {
    match status.held_count {
        0 => Check::ok("holds", "nobody is held since a rollover"),
        held => Check::not(
            Level::Warning,
            "holds",
            format!("{held} held since a rollover that ran by itself"),
            "answer the items that tidemark status names: tidemark session answer-holds",
        ),
    }
}

fn rollover(status: &GetStatusResponse) -> Option<Check> {
    const NAME: &str = "rollover";
    let rollover = status.rollover.as_ref()?;
    let due = words::local(rollover.due_time.as_ref());
    let session = &rollover.session;
    Some(match rollover.must_repeat_count {
        Some(0) => Check::ok(
            NAME,
            format!("{session}: nothing to repeat; due before {due}"),
        ),
        Some(items) => Check::not(
            Level::Warning,
            NAME,
            format!("{session}: {items} changes want an answer before {due}"),
            "tidemark session rollover lists them; what is not answered is held",
        ),
        None => Check::not(
            Level::Warning,
            NAME,
            format!("{session}: no node of its branch can be asked"),
            "start the nodes of the secondary",
        ),
    })
}

fn approvals(status: &GetStatusResponse) -> Check {
    const NAME: &str = "approvals";
    if status.pending_acts.is_empty() {
        return Check::ok(NAME, "no act of operators waits for another one");
    }
    let acts: Vec<String> = status
        .pending_acts
        .iter()
        .map(|act| {
            format!(
                "{} until {}",
                act.about,
                words::local(act.expire_time.as_ref())
            )
        })
        .collect();
    let found = format!("half approved: {}", acts.join("; "));
    Check::not(
        Level::Warning,
        NAME,
        found,
        "have another operator approve the same, or let it go",
    )
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may fail loudly")]
mod tests {
    use proto::operator::v1::{MailStatus, PendingAct, ProtectionStatus, RolloverStatus};

    use super::*;

    fn at(ms: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp {
            seconds: ms / 1_000,
            nanos: 0,
        })
    }

    fn well() -> GetStatusResponse {
        GetStatusResponse {
            verdict: Verdict::Ok.into(),
            clock_time: at(100 * 60_000),
            protection: Some(ProtectionStatus {
                mode: ProtectionMode::Sync.into(),
                ..ProtectionStatus::default()
            }),
            ..GetStatusResponse::default()
        }
    }

    fn wrong(status: &GetStatusResponse) -> Vec<(&'static str, Level)> {
        let checks = of_status(status).into_iter();
        let told = checks.map(|check| (check.name, check.level));
        // Nothing is applied in these.
        told.filter(|(name, level)| *level != Level::Ok && *name != "lag")
            .collect()
    }

    #[test]
    fn what_is_well_is_not_told_of() {
        assert_eq!(wrong(&well()), []);
    }

    #[test]
    fn each_thing_that_waits_for_somebody_is_told_of() {
        let cases = [
            (
                "digests",
                Level::Mismatch,
                GetStatusResponse {
                    digests_differ: true,
                    ..well()
                },
            ),
            (
                "status",
                Level::Error,
                GetStatusResponse {
                    verdict: Verdict::Error.into(),
                    ..well()
                },
            ),
            (
                "holds",
                Level::Warning,
                GetStatusResponse {
                    held_count: 1,
                    ..well()
                },
            ),
            (
                "mail",
                Level::Warning,
                GetStatusResponse {
                    mail: Some(MailStatus {
                        waiting_count: 1,
                        oldest_time: at(80 * 60_000),
                        dropped_count: 0,
                    }),
                    ..well()
                },
            ),
            (
                "rollover",
                Level::Warning,
                GetStatusResponse {
                    rollover: Some(RolloverStatus {
                        must_repeat_count: Some(1),
                        ..RolloverStatus::default()
                    }),
                    ..well()
                },
            ),
            (
                "approvals",
                Level::Warning,
                GetStatusResponse {
                    pending_acts: vec![PendingAct::default()],
                    ..well()
                },
            ),
            (
                "protection",
                Level::Warning,
                GetStatusResponse {
                    protection: Some(ProtectionStatus {
                        mode: ProtectionMode::Sync.into(),
                        degraded_time: at(1),
                        ..ProtectionStatus::default()
                    }),
                    ..well()
                },
            ),
            (
                "protection",
                Level::Warning,
                GetStatusResponse {
                    protection: Some(ProtectionStatus {
                        mode: ProtectionMode::Async.into(),
                        ..ProtectionStatus::default()
                    }),
                    ..well()
                },
            ),
        ];
        for (name, level, status) in cases {
            assert_eq!(wrong(&status), [(name, level)]);
        }
    }
}
