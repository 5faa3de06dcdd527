//! The report for people, in nine numbered parts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::report::{Report, Verdict};

/// The report as Markdown.
#[must_use]
pub fn of(report: &Report) -> String {
    let mut text = String::new();
    head(&mut text, report);
    timeline(&mut text, report);
    changes(&mut text, report);
    proofs(&mut text, report);
    people(&mut text, report);
    text
}

/// Adds a line; writing to a string cannot fail.
macro_rules! line {
    ($text:expr) => { $text.push('\n') };
    ($text:expr, $($what:tt)*) => {{
        let _infallible = writeln!($text, $($what)*);
    }};
}

/// A cell of a table: nothing in it ends the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn head(text: &mut String, report: &Report) {
    line!(
        text,
        "# Drill report {}: {}",
        report.drill,
        report.result.word()
    );
    line!(text);
    line!(text, "{} (source: {})", report.title, report.source);
    line!(
        text,
        "Cluster {}. Verify with `tidemark drill verify report.json`.",
        report.cluster
    );
    line!(text);
    line!(text, "## 1 Approved by");
    line!(text);
    if report.approved_by.is_empty() {
        line!(text, "Nobody; no session was opened at the secondary.");
    } else {
        line!(
            text,
            "{} ({} people)",
            report.approved_by.join(", "),
            report.approved_by.len()
        );
    }
    line!(text);
}

fn timeline(text: &mut String, report: &Report) {
    line!(text, "## 2 Timeline");
    line!(text);
    line!(
        text,
        "| Session | Centre | Opens | Closes | Source | Stood at the end |"
    );
    line!(text, "|---|---|---|---|---|---|");
    for session in &report.timetable {
        line!(
            text,
            "| {} | {} ({}) | {} | {} | {} | {} |",
            session.session,
            session.centre,
            session.role,
            session.opens,
            session.closes,
            cell(&session.source),
            session.stage
        );
    }
    line!(text);
    if let Some(boundary) = &report.boundary {
        line!(
            text,
            "Boundary: entry {}, epoch {}, digest `{}`.",
            boundary.log_id,
            boundary.epoch,
            boundary.digest
        );
        line!(text);
    }
    line!(
        text,
        "| Part | At | Step | Shows | Result | Took | What came of it |"
    );
    line!(text, "|---|---|---|---|---|---|---|");
    for step in &report.steps {
        line!(
            text,
            "| {} | {} | {} | {} | {} | {} ms | {} |",
            step.part,
            step.at,
            cell(&step.title),
            step.shows.join(" "),
            step.result.word(),
            step.took_ms,
            cell(&step.told)
        );
    }
    line!(text);
    line!(text, "## 3 Measured");
    line!(text);
    for (what, ms) in &report.measured_ms {
        line!(text, "- {what}: {ms} ms");
    }
    line!(text);
}

fn changes(text: &mut String, report: &Report) {
    let found = report.carried.iter().filter(|row| row.found_after).count();
    line!(text, "## 4 Carried");
    line!(text);
    line!(
        text,
        "Initiations in {} found after rollover: {found} of {}.",
        "session 1",
        report.carried.len()
    );
    line!(text);
    for row in &report.carried {
        let after = if row.found_after {
            "found"
        } else {
            "NOT FOUND"
        };
        line!(text, "- {} at {}: {after}", row.account, row.acknowledged);
    }
    line!(text);

    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for change in &report.forgotten {
        *kinds.entry(&change.kind).or_default() += 1;
    }
    let counts: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    line!(text, "## 5 Forgotten");
    line!(text);
    line!(
        text,
        "{} changes: {}.",
        report.forgotten.len(),
        counts.join(", ")
    );
    line!(text);
    line!(text, "| Kind | Account | At | By |");
    line!(text, "|---|---|---|---|");
    for change in &report.forgotten {
        line!(
            text,
            "| {} | {} | {} | {} |",
            change.kind,
            change.account,
            change.at,
            change.by
        );
    }
    line!(text);
}

fn proofs(text: &mut String, report: &Report) {
    line!(text, "## 6 Proof");
    line!(text);
    for proof in &report.proofs {
        line!(
            text,
            "- **{} {}**: {}",
            proof.id,
            proof.result.word(),
            proof.what
        );
        for (from, value) in &proof.equal {
            line!(text, "  - {from}: `{value}`");
        }
    }
    line!(text);
    line!(text, "## 7 Repeat");
    line!(text);
    if report.must_repeat.is_empty() {
        line!(text, "Nothing had to be repeated.");
    }
    for item in &report.must_repeat {
        let why = if item.reason.is_empty() {
            String::new()
        } else {
            format!(" ({})", item.reason)
        };
        line!(
            text,
            "- item {}: {} of {} by {} at {}: **{}**{why}",
            item.item,
            item.change.kind,
            item.change.account,
            item.change.by,
            item.change.at,
            item.answer
        );
    }
    line!(text);
}

fn people(text: &mut String, report: &Report) {
    line!(text, "## 8 Matrix");
    line!(text);
    line!(text, "From server records alone.");
    line!(text);
    line!(
        text,
        "| Session | Participant | Class | Account | Method | Tried | Passed | Completed |"
    );
    line!(text, "|---|---|---|---|---|---|---|---|");
    for row in &report.matrix {
        line!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            row.session,
            row.participant,
            row.class,
            row.account,
            row.method,
            row.tried,
            row.passed,
            if row.completed { "yes" } else { "no" }
        );
    }
    line!(text);
    line!(text, "## 9 Anomalies");
    line!(text);
    let failed = report
        .steps
        .iter()
        .filter(|step| step.result == Verdict::Fail)
        .count();
    if failed > 0 {
        line!(text, "- {failed} steps failed");
    }
    for anomaly in &report.anomalies {
        line!(text, "- {anomaly}");
    }
    if failed == 0 && report.anomalies.is_empty() {
        line!(text, "None.");
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn the_report_for_people_has_its_nine_parts() {
        let text = of(&report());
        for part in [
            "# Drill report annex-1: PASS",
            "## 1 Approved by\n\nalice, bob (2 people)",
            "## 2 Timeline",
            "Boundary: entry 1-1-57, epoch 1, digest `9f3c`.",
            "- opening: 210 ms",
            "found after rollover: 1 of 1.",
            "1 changes: 1 AccountSuspended.",
            "- **I4 PASS**",
            "**repeated**",
            "| smartcard | 2 | 2 | yes |",
            "## 9 Anomalies\n\nNone.",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
