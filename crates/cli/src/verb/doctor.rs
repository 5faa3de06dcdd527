//! `doctor`: everything that could go wrong tonight, one line a check, with what to do about it.
//! It changes nothing.
//!
//! Each node is asked itself, so that one which its peers reach and operators do not is found.
//! Deliberately absent: a whole reading of the audit trails (`audit verify --all-nodes`), which
//! takes as long as they are.

use std::time::{Duration, Instant};

use futures::future::join_all;
use proto::operator::v1::{GetStatusRequest, GetStatusResponse, NodeStatus};
use serde::Serialize;

use crate::args::Connection;
use crate::args::cluster::Doctor;
use crate::client::{Operator, told};
use crate::exit::{Exit, Failure};
use crate::output::{Output, Table};
use crate::profile::Profile;

mod asked;
mod certificates;
mod cluster;
mod nodes;

/// How long one node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How a check came out; the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Level {
    /// As it should be.
    Ok,
    /// Somebody should see to it before long.
    Warning,
    /// Tonight's work should not begin.
    Error,
    /// What must be equal is not.
    Mismatch,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Error | Self::Mismatch => "ERROR",
        }
    }
}

/// One line of the answer.
#[derive(Debug, PartialEq, Eq)]
struct Check {
    level: Level,
    name: &'static str,
    found: String,
    next: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            name,
            found: found.into(),
            next: None,
        }
    }

    fn not(
        level: Level,
        name: &'static str,
        found: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            level,
            name,
            found: found.into(),
            next: Some(next.into()),
        }
    }

    /// What could not be asked is not well either.
    fn unasked(name: &'static str, failure: &Failure) -> Self {
        let next = failure
            .next
            .as_deref()
            .unwrap_or("ask again with tidemark doctor");
        Self::not(
            Level::Warning,
            name,
            format!("could not be asked: {}", failure.what),
            next,
        )
    }

    fn document(&self) -> serde_json::Value {
        serde_json::json!({
            "verdict": self.level.word(), "check": self.name,
            "found": self.found, "next": self.next,
        })
    }
}

/// A node as it was found, by its own answer where it gave one.
struct Found<'p> {
    node: &'p crate::profile::Node,
    asked: Operator,
    answer: Result<GetStatusResponse, Failure>,
    took: Duration,
}

impl Found<'_> {
    /// What the node says of itself.
    fn itself(&self) -> Option<&NodeStatus> {
        let status = self.answer.as_ref().ok()?;
        let mut nodes = status.nodes.iter();
        nodes.find(|node| node.node_id == status.node_id)
    }
}

/// Checks everything.
///
/// # Errors
/// 6 if there are warnings, 3 if there are errors, 7 if what must be equal is not.
pub async fn run(flags: &Doctor, output: Output) -> Result<(), Failure> {
    let began = Instant::now();
    let connection = &flags.connection;
    let profile = Profile::read(&connection.profile)?;
    let found = find(connection, &profile).await?;
    let mut checks = nodes::reached(&found);
    checks.extend(certificates::of_profile(&profile));
    if let Some((node, status)) = found
        .iter()
        .find_map(|found| Some((&found.asked, found.answer.as_ref().ok()?)))
    {
        checks.extend(nodes::facts(&found, status));
        checks.extend(cluster::of_status(status));
        checks.extend(asked::of(connection, node, status).await);
        checks.push(asked::audit(&found).await);
    }
    // The worst first; among equals the order stays, so that two runs can be compared by eye.
    checks.sort_by_key(|check| std::cmp::Reverse(check.level));
    told_of(&checks, began.elapsed(), output)?;
    ended(&checks)
}

async fn find<'p>(
    connection: &Connection,
    profile: &'p Profile,
) -> Result<Vec<Found<'p>>, Failure> {
    let limited = Connection {
        timeout: connection.timeout.min(ANSWER_MAX),
        ..connection.clone()
    };
    let asks = Operator::each(&limited, profile)?
        .into_iter()
        .filter_map(|asked| {
            let node = profile
                .nodes()
                .iter()
                .find(|node| node.id == asked.node())?;
            Some(async move {
                let request = asked.request(GetStatusRequest {}, None);
                let began = Instant::now();
                let answer = told(asked.cluster().get_status(request).await);
                Found {
                    node,
                    asked,
                    answer,
                    took: began.elapsed(),
                }
            })
        });
    Ok(join_all(asks).await)
}

fn count(checks: &[Check], level: impl Fn(Level) -> bool) -> usize {
    checks.iter().filter(|check| level(check.level)).count()
}

fn summary(checks: &[Check]) -> String {
    let errors = count(checks, |level| level >= Level::Error);
    let warnings = count(checks, |level| level == Level::Warning);
    match (errors, warnings) {
        (0, 0) => format!("all {} checks hold", checks.len()),
        (errors, warnings) => format!(
            "{}, {} in {} checks",
            counted(errors, "error"),
            counted(warnings, "warning"),
            checks.len()
        ),
    }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn told_of(checks: &[Check], took: Duration, output: Output) -> Result<(), Failure> {
    let worst = checks.iter().map(|check| check.level).max();
    let verdict = worst.unwrap_or(Level::Error).word();
    let all: Vec<_> = checks.iter().map(Check::document).collect();
    let document = serde_json::json!({
        "verdict": verdict, "summary": summary(checks), "checks": all,
        "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    });
    output.data(&document, || {
        let mut table = Table::new(&["VERDICT", "CHECK", "FOUND"]);
        for check in checks {
            let next = check.next.as_ref();
            let next = next.map_or_else(String::new, |next| format!("; next: {next}"));
            table.row([
                check.level.word().to_owned(),
                check.name.to_owned(),
                format!("{}{next}", check.found),
            ]);
        }
        format!(
            "{verdict}  {}   (took {:.1} s)\n\n{}",
            summary(checks),
            took.as_secs_f32(),
            table.text()
        )
    })
}

fn ended(checks: &[Check]) -> Result<(), Failure> {
    let exit = match checks.iter().map(|check| check.level).max() {
        Some(Level::Ok) => return Ok(()),
        Some(Level::Warning) => Exit::Loss,
        Some(Level::Error) | None => Exit::PreCheck,
        Some(Level::Mismatch) => {
            return Err(Failure::mismatch("what must be equal is not")
                .next("keep the data folders as they are, and call whoever is responsible"));
        }
    };
    Err(Failure::new(exit, summary(checks)))
}

/// `12.4 GiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut tenths = bytes / 103;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("B");
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(levels: &[Level]) -> Vec<Check> {
        let check = |level| Check {
            level,
            ..Check::ok("test", "")
        };
        levels.iter().copied().map(check).collect()
    }

    #[test]
    fn the_worst_check_is_the_exit_code() {
        let exit = |levels: &[Level]| ended(&checks(levels)).err().map(|failure| failure.exit);
        assert_eq!(exit(&[Level::Ok, Level::Ok]), None);
        assert_eq!(exit(&[Level::Ok, Level::Warning]), Some(Exit::Loss));
        assert_eq!(exit(&[Level::Error, Level::Warning]), Some(Exit::PreCheck));
        assert_eq!(exit(&[Level::Mismatch, Level::Error]), Some(Exit::Mismatch));
        assert_eq!(
            exit(&[]),
            Some(Exit::PreCheck),
            "nothing checked is not well"
        );
    }

    #[test]
    fn the_summary_counts_what_is_wrong() {
        assert_eq!(summary(&checks(&[Level::Ok; 3])), "all 3 checks hold");
        let wrong = checks(&[Level::Ok, Level::Mismatch, Level::Warning]);
        assert_eq!(summary(&wrong), "1 error, 1 warning in 3 checks");
    }

    #[test]
    fn sizes_are_told_in_the_unit_that_fits() {
        assert_eq!(size(12 * 1024), "11.9 KiB");
        assert_eq!(size(3 * 1024 * 1024 * 1024 + 512 * 1024 * 1024), "3.4 GiB");
    }
}
