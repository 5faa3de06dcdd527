//! `status`: one screen, one verdict first.

use std::time::{Duration, Instant};

use proto::operator::v1::{
    GetStatusRequest, GetStatusResponse, PlanStage, ProtectionMode, ProtectionStatus,
    RolloverStatus, Session, Verdict,
};

use self::lines::{Row, grouped, short};
use super::calendar::verdict;
use crate::args::Connection;
use crate::args::cluster::Status;
use crate::client::{Operator, told};
use crate::drill::words;
use crate::exit::{Exit, Failure};
use crate::output::Output;

mod lines;
mod outlook;
mod watch;

/// Shows the status. An error verdict is an exit code too, so that a monitor can use it.
///
/// # Errors
/// What went wrong, with its exit code: 6 if the cluster needs attention now, 7 if nodes have
/// different digests at one entry.
pub async fn run(flags: &Status, output: Output) -> Result<(), Failure> {
    if flags.watch {
        return watch::run(flags, output).await;
    }
    let look = Look::at(&flags.connection).await?;
    output.data(&look.document(), || look.text(flags.nodes))?;
    ended(&look.status)
}

/// What one look at the cluster found.
struct Look {
    status: GetStatusResponse,
    rows: Vec<Row>,
    /// When it was asked for: what is told can be no older than that.
    asked: Instant,
}

impl Look {
    async fn at(connection: &Connection) -> Result<Self, Failure> {
        let node = Operator::connect(connection).await?;
        let request = node.request(GetStatusRequest {}, None);
        let asked = Instant::now();
        let status = told(node.cluster().get_status(request).await)?;
        let rows = lines::rows(&status);
        Ok(Self {
            status,
            rows,
            asked,
        })
    }

    fn document(&self) -> serde_json::Value {
        document(&self.status, &self.rows, self.asked.elapsed())
    }

    fn text(&self, each_node: bool) -> String {
        text(&self.status, &self.rows, self.asked.elapsed(), each_node)
    }
}

/// How a command ends that showed this status.
fn ended(status: &GetStatusResponse) -> Result<(), Failure> {
    if status.digests_differ {
        return Err(
            Failure::mismatch("nodes have different digests at one entry")
                .next("keep the data folders as they are, and call whoever is responsible"),
        );
    }
    match status.verdict() {
        Verdict::Ok | Verdict::Warning => Ok(()),
        Verdict::Error | Verdict::Unspecified => Err(Failure::new(
            Exit::Loss,
            format!("the cluster needs attention: {}", status.summary),
        )),
    }
}

fn document(status: &GetStatusResponse, rows: &[Row], age: Duration) -> serde_json::Value {
    serde_json::json!({
        "verdict": verdict(status.verdict()),
        "summary": status.summary,
        "reasons": status.reasons,
        "checked_ms_ago": u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        "cluster": status.cluster,
        "asked_node": status.node_id,
        "clock": words::local(status.clock_time.as_ref()),
        "simulated_clock": status.simulated_clock,
        "business_day": status.business_day,
        "rules_version": status.rules_version,
        "digests_differ": status.digests_differ,
        "unreachable": lines::unreachable(status),
        "lines": rows,
        "session": status.session.as_ref().map(session),
        "rollover": status.rollover.as_ref().map(rollover),
        "refused_outside_session": status.refused_outside_session_count,
        "protection": status.protection.as_ref().map(protection),
        "promotion": status.promotion.as_ref().map(outlook::document),
    })
}

fn session(session: &Session) -> serde_json::Value {
    let boundary = session.boundary.as_ref();
    let digests = boundary.and_then(|boundary| boundary.digests.as_ref());
    serde_json::json!({
        "session": session.session,
        "centre": session.centre,
        "opens": words::local(session.open_time.as_ref()),
        "closes": words::local(session.close_time.as_ref()),
        "source": session.source,
        "stage": words::stage(session.stage),
        "serving": session.serving,
        "boundary": boundary.and_then(|boundary| boundary.log_id.as_ref()).map(words::log_id),
        "boundary_digest": digests.map(|digests| &digests.full),
    })
}

fn protection(protection: &ProtectionStatus) -> serde_json::Value {
    let degraded = protection.degraded_time.as_ref();
    serde_json::json!({
        "mode": mode(protection),
        "degraded_since": degraded.map(|since| words::local(Some(since))),
        "degraded_count": protection.degraded_count,
        "degraded_ms": protection.degraded_ms,
        "unconfirmed": protection.unconfirmed_count,
    })
}

fn mode(protection: &ProtectionStatus) -> &'static str {
    match protection.mode() {
        ProtectionMode::Async => "async",
        ProtectionMode::Sync => "sync",
        ProtectionMode::Strict => "strict",
        ProtectionMode::Unspecified => "unknown",
    }
}

fn rollover(rollover: &RolloverStatus) -> serde_json::Value {
    serde_json::json!({
        "session": rollover.session,
        "due": rollover.due_time.as_ref().map(|due| words::local(Some(due))),
        "forgotten_changes": rollover.forgotten_count,
        "forgotten_accounts": rollover.forgotten_account_count,
        "to_repeat": rollover.must_repeat_count,
    })
}

fn text(status: &GetStatusResponse, rows: &[Row], age: Duration, each_node: bool) -> String {
    let mut text = format!(
        "{}  {}   (checked {:.1} s ago at node {})",
        verdict(status.verdict()),
        status.summary,
        age.as_secs_f32(),
        status.node_id
    );
    for reason in &status.reasons {
        text.push_str(&format!("\n    {reason}"));
    }
    text.push_str(&format!("\n\n{}", grouped(status, rows)));
    if each_node {
        text.push_str(&format!("\n\n{}", lines::each(rows)));
    }
    if let Some(session) = &status.session {
        text.push_str(&format!("\n\n{}", session_line(status, session)));
        if let Some(rollover) = status
            .rollover
            .as_ref()
            .filter(|rollover| rollover.session == session.session)
        {
            text.push_str(&forgotten(session, rollover));
        }
    }
    if let Some(protection) = &status.protection {
        let degraded = protection.degraded_time.as_ref();
        let since = degraded.map(|since| format!(", DEGRADED since {}", words::local(Some(since))));
        let since = since.unwrap_or_default();
        text.push_str(&format!("\nprotection {}{since}", mode(protection)));
    } else if let [only] = status.centres.as_slice() {
        let centre = &only.centre;
        text.push_str(&format!(
            "\nprotection none: {centre} is the only centre, and a backup is what outlives it"
        ));
    }
    if let Some(promotion) = &status.promotion {
        text.push_str(&format!("\n{}", outlook::text(promotion)));
    }
    text.push_str(&format!(
        "\nclock {}{}, business day {}",
        words::local(status.clock_time.as_ref()),
        if status.simulated_clock {
            " (simulated)"
        } else {
            ""
        },
        if status.business_day.is_empty() {
            "not set yet"
        } else {
            &status.business_day
        }
    ));
    text
}

fn session_line(status: &GetStatusResponse, session: &Session) -> String {
    let source = if session.source.is_empty() {
        String::new()
    } else {
        format!("   ({})", session.source)
    };
    let now = words::unix_ms(status.clock_time.as_ref());
    let until = |word: &str, at: Option<&prost_types::Timestamp>| {
        let left = words::unix_ms(at).since(now);
        (left > 0).then(|| format!(", {word} in {}", span(left)))
    };
    let when = match session.stage() {
        PlanStage::Open | PlanStage::Opening => until("opens", session.open_time.as_ref())
            .or_else(|| until("closes", session.close_time.as_ref())),
        PlanStage::Unspecified => until("opens", session.open_time.as_ref()),
        PlanStage::Closed | PlanStage::RolledOver | PlanStage::Abandoned => None,
    };
    format!(
        "SESSION {}  {}  {} to {}, {}{}{source}",
        session.session,
        session.centre,
        words::local(session.open_time.as_ref()),
        words::local(session.close_time.as_ref()),
        words::stage(session.stage),
        when.unwrap_or_default()
    )
}

/// Minutes, and hours or days where there are so many.
fn span(ms: u64) -> String {
    let minutes = ms.div_ceil(60_000);
    match minutes {
        0..120 => format!("{minutes} min"),
        120..2_880 => format!("{} h {} min", minutes / 60, minutes % 60),
        2_880.. => format!("{} days", minutes / 1_440),
    }
}

fn forgotten(session: &Session, rollover: &RolloverStatus) -> String {
    let mut text = String::new();
    if let Some(boundary) = &session.boundary {
        text.push_str(&format!(
            "\n  boundary {}  {}",
            boundary
                .log_id
                .as_ref()
                .map(words::log_id)
                .unwrap_or_default(),
            boundary
                .digests
                .as_ref()
                .map(|digests| short(&digests.full))
                .unwrap_or_default()
        ));
    }
    match (rollover.forgotten_count, rollover.forgotten_account_count) {
        (Some(changes), Some(accounts)) => text.push_str(&format!(
            "      branch: {}, {}",
            counted(changes, "change"),
            counted(accounts, "account")
        )),
        (_, _) => text.push_str("      branch: no node of it can be asked"),
    }
    let what = match session.stage() {
        PlanStage::Opening | PlanStage::Open => "What is changed now",
        PlanStage::Unspecified
        | PlanStage::Closed
        | PlanStage::RolledOver
        | PlanStage::Abandoned => "What was changed on it",
    };
    text.push_str(&format!("\n  {what} is FORGOTTEN at rollover"));
    if let Some(due) = &rollover.due_time {
        text.push_str(&format!(", due before {}", words::local(Some(due))));
    }
    if let Some(items) = rollover.must_repeat_count.filter(|items| *items > 0) {
        text.push_str(&format!(
            "\n  To repeat on the main line, or to waive: {}",
            counted(items, "change")
        ));
    }
    text
}

fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_the_unit_that_fits() {
        assert_eq!(span(31 * 60_000), "31 min");
        assert_eq!(span(150 * 60_000), "2 h 30 min");
        assert_eq!(span(3 * 1_440 * 60_000), "3 days");
    }

    #[test]
    fn what_is_forgotten_and_when_it_is_due_is_said() {
        let session = Session {
            stage: PlanStage::Open.into(),
            ..Session::default()
        };
        let rollover = RolloverStatus {
            forgotten_count: Some(57),
            forgotten_account_count: Some(12),
            must_repeat_count: Some(1),
            due_time: Some(prost_types::Timestamp::default()),
            ..RolloverStatus::default()
        };
        let text = forgotten(&session, &rollover);
        assert!(text.contains("57 changes, 12 accounts"), "{text}");
        assert!(text.contains("FORGOTTEN at rollover, due before"), "{text}");
        assert!(text.contains("to waive: 1 change"), "{text}");
    }
}
