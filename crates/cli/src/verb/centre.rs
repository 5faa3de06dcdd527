//! `centre`: which centre is the primary, and moving that role. Every check is shown before the
//! question, the centres before and after the act.

use proto::operator::v1::{
    CentreRole, Check, CheckSwitchoverRequest, GetStatusResponse, SwitchoverRequest, Verdict,
};

use super::{already, confirmed, well_if_done};
use crate::args::centre::{Centre, Switchover};
use crate::client::{Operator, told};
use crate::exit::{Exit, Failure};
use crate::output::{Output, Table};

mod dropped;
mod promote;
mod reinstate;

/// Moves the primary's role.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Centre, output: Output) -> Result<(), Failure> {
    match flags {
        Centre::Switchover(flags) => {
            already(&flags.change, switchover(flags, output).await, output)
        }
        Centre::Promote(flags) => {
            well_if_done(flags.ok_if_done, promote::run(flags, output).await, output)
        }
        Centre::Release(flags) => promote::release(flags, output).await,
        Centre::Reinstate(flags) => {
            already(&flags.change, reinstate::run(flags, output).await, output)
        }
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "OK",
        Verdict::Warning => "WARNING",
        Verdict::Error => "ERROR",
        Verdict::Unspecified => "-",
    }
}

fn checked(checks: &[Check]) -> String {
    let mut table = Table::new(&["CHECK", "VERDICT", "FOUND"]);
    for check in checks {
        table.row([
            check.check.clone(),
            word(check.verdict()).to_owned(),
            check.text.clone(),
        ]);
    }
    table.text()
}

fn documents(checks: &[Check]) -> Vec<serde_json::Value> {
    checks
        .iter()
        .map(|check| {
            serde_json::json!({
                "check": check.check, "verdict": word(check.verdict()), "found": check.text,
            })
        })
        .collect()
}

/// The centres, their roles and how many of their nodes answer.
fn topology(status: &GetStatusResponse) -> String {
    let mut table = Table::new(&["CENTRE", "ROLE", "NODES"]);
    for centre in &status.centres {
        let nodes = || {
            status
                .nodes
                .iter()
                .filter(|node| node.centre == centre.centre)
        };
        let role = match centre.role() {
            CentreRole::Primary => "primary",
            CentreRole::Secondary => "secondary",
            CentreRole::Unspecified => "-",
        };
        table.row([
            centre.centre.clone(),
            role.to_owned(),
            format!(
                "{}/{}",
                nodes().filter(|node| node.reachable).count(),
                nodes().count()
            ),
        ]);
    }
    table.text()
}

async fn switchover(flags: &Switchover, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let message = CheckSwitchoverRequest {
        centre: flags.to.clone(),
    };
    let found = told(
        node.centre()
            .check_switchover(node.request(message, None))
            .await,
    )?;
    let failed: Vec<&Check> = found
        .checks
        .iter()
        .filter(|check| check.verdict() == Verdict::Error)
        .collect();
    output.talk(&topology(&node.status().await?));
    if flags.change.dry_run {
        let document = serde_json::json!({
            "primary": found.primary, "to": flags.to, "ready": failed.is_empty(),
            "checks": documents(&found.checks),
        });
        output.data(&document, || checked(&found.checks))?;
        output.talk("dry run: nothing was changed");
        return match failed.as_slice() {
            [] => Ok(()),
            [..] => Err(Failure::pre_check("a check failed; nothing was changed")),
        };
    }
    output.talk(&checked(&found.checks));
    // A repeat under the request id of the first call is judged by what that call did.
    if let ([first, ..], None) = (failed.as_slice(), flags.change.request_id) {
        if found.primary == flags.to {
            return Err(Failure::new(
                Exit::Already,
                format!("{} is the primary", flags.to),
            ));
        }
        return Err(Failure::pre_check(format!(
            "{}; nothing was changed",
            first.text
        )));
    }
    confirmed(
        &flags.confirm,
        &flags.to,
        &format!(
            "{} becomes the primary in place of {}: logins fail for a moment, nothing is lost.",
            flags.to, found.primary
        ),
        output,
    )?;
    let id = node.request_id(&flags.change);
    let message = SwitchoverRequest {
        request_id: id.to_string(),
        centre: flags.to.clone(),
        reason: flags.change.reason.clone().unwrap_or_default(),
    };
    let ask = |request| {
        let mut client = node.centre();
        async move { client.switchover(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    output.talk(&topology(&node.status().await?));
    let took = answer.duration.unwrap_or_default();
    let ms = took.seconds.saturating_mul(1_000) + i64::from(took.nanos) / 1_000_000;
    let document = serde_json::json!({
        "primary": answer.primary, "duration_ms": ms,
        "start": answer.start_log_id.map(|at| at.index),
    });
    output.data(&document, || {
        format!("{} is the primary, after {ms} ms", answer.primary)
    })
}
