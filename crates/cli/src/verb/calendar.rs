//! `calendar lint`, `calendar show`, `calendar set`.

use std::fs;
use std::path::{Path, PathBuf};

use domain::calendar::{Timetable, parse_holidays};
use proto::operator::v1::{
    GetCalendarRequest, LintCalendarRequest, Session, SetTimetableRequest, Verdict,
};
use serde::Serialize;

use crate::args::Connection;
use crate::args::calendar::{Calendar, Lint, Set, Show};
use crate::client::{Operator, told};
use crate::drill::words;
use crate::exit::{Failure, file_failure};
use crate::output::{Output, Table};

/// Checks, shows or sets the calendar.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Calendar, output: Output) -> Result<(), Failure> {
    match flags {
        Calendar::Lint(flags) => lint(flags, output).await,
        Calendar::Show(flags) => show(flags, output).await,
        Calendar::Set(flags) => set(flags, output).await,
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| file_failure("read", path, &error))
}

#[derive(Serialize)]
struct Found {
    verdict: &'static str,
    text: String,
}

async fn lint(flags: &Lint, output: Output) -> Result<(), Failure> {
    let timetable = flags.timetable.as_deref().map(read).transpose()?;
    let found = if flags.offline {
        check(&timetable.unwrap_or_default())
    } else {
        let connection = flags
            .connection
            .get("check a file alone: --offline --timetable FILE")?;
        ask(&connection, timetable.unwrap_or_default()).await?
    };
    let errors = found.iter().filter(|row| row.verdict == "ERROR").count();
    output.data(&serde_json::json!({ "findings": found }), || {
        if found.is_empty() {
            return "OK  nothing is wrong".to_owned();
        }
        let lines: Vec<String> = found
            .iter()
            .map(|row| format!("{:<8} {}", row.verdict, row.text))
            .collect();
        lines.join("\n")
    })?;
    if errors == 0 {
        Ok(())
    } else {
        Err(Failure::pre_check(format!(
            "{errors} errors in the calendar"
        )))
    }
}

/// The findings of this program alone: what the file itself has wrong.
fn check(timetable: &str) -> Vec<Found> {
    let problems = Timetable::parse(timetable).err().unwrap_or_default();
    problems
        .iter()
        .map(|problem| Found {
            verdict: "ERROR",
            text: problem.to_string(),
        })
        .collect()
}

async fn ask(connection: &Connection, timetable_toml: String) -> Result<Vec<Found>, Failure> {
    let node = Operator::connect(connection).await?;
    let request = node.request(LintCalendarRequest { timetable_toml }, None);
    let answer = told(node.calendar().lint_calendar(request).await)?;
    Ok(answer
        .findings
        .into_iter()
        .map(|finding| Found {
            verdict: verdict(finding.verdict()),
            text: finding.text,
        })
        .collect())
}

/// A verdict in words.
pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "OK",
        Verdict::Warning => "WARNING",
        Verdict::Error | Verdict::Unspecified => "ERROR",
    }
}

#[derive(Serialize)]
struct Row {
    session: String,
    centre: String,
    role: &'static str,
    opens: String,
    closes: String,
    purpose: String,
    source: String,
    stage: &'static str,
}

fn rows(sessions: &[Session]) -> Vec<Row> {
    sessions
        .iter()
        .map(|session| Row {
            session: session.session.clone(),
            centre: session.centre.clone(),
            role: words::centre_role(session.centre_role),
            opens: moment(session.open_time.as_ref()),
            closes: moment(session.close_time.as_ref()),
            purpose: session.purpose.clone(),
            source: session.source.clone(),
            stage: words::stage(session.stage),
        })
        .collect()
}

/// A moment in local time and UTC (R14).
fn moment(at: Option<&prost_types::Timestamp>) -> String {
    let Some(at) = at else {
        return "-".to_owned();
    };
    let minutes = words::unix_ms(Some(at)).0 / 60_000;
    format!(
        "{} ({:02}:{:02}Z)",
        words::local(Some(at)),
        minutes / 60 % 24,
        minutes % 60
    )
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new(&[
        "SESSION", "CENTRE", "ROLE", "OPENS", "CLOSES", "PURPOSE", "STAGE", "SOURCE",
    ]);
    for row in rows {
        table.row([
            row.session.as_str(),
            &row.centre,
            row.role,
            &row.opens,
            &row.closes,
            &row.purpose,
            row.stage,
            &row.source,
        ]);
    }
    table.text()
}

async fn show(flags: &Show, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let request = node.request(GetCalendarRequest {}, None);
    let calendar = told(node.calendar().get_calendar(request).await)?;
    let sessions = rows(&calendar.sessions);
    let document = serde_json::json!({
        "zone": calendar.zone,
        "business_day": calendar.business_day,
        "next_business_day": calendar.next_business_day,
        "holidays": calendar.holidays,
        "sessions": sessions,
        "timetable": calendar.timetable_toml,
    });
    output.data(&document, || {
        if flags.timetable {
            return calendar.timetable_toml.clone();
        }
        format!(
            "business day {}, next {} ({}; {} holidays known)\n{}",
            calendar.business_day,
            calendar.next_business_day,
            calendar.zone,
            calendar.holidays.len(),
            table(&sessions)
        )
    })
}

/// What is wrong with the files, all of it, before a node is asked.
fn problems(flags: &Set, timetable: Option<&str>, holidays: Option<&str>) -> Vec<String> {
    let told = |path: &Option<PathBuf>, problems: Vec<domain::calendar::Problem>| {
        let path = path.as_deref().unwrap_or_else(|| Path::new("-"));
        problems
            .iter()
            .map(|problem| format!("{}: {problem}", path.display()))
            .collect::<Vec<String>>()
    };
    let timetable = timetable.and_then(|text| Timetable::parse(text).err());
    let holidays = holidays.and_then(|text| parse_holidays(text).err());
    [(&flags.timetable, timetable), (&flags.holidays, holidays)]
        .into_iter()
        .flat_map(|(path, problems)| told(path, problems.unwrap_or_default()))
        .collect()
}

async fn set(flags: &Set, output: Output) -> Result<(), Failure> {
    let timetable = flags.timetable.as_deref().map(read).transpose()?;
    let holidays = flags.holidays.as_deref().map(read).transpose()?;
    let problems = problems(flags, timetable.as_deref(), holidays.as_deref());
    if !problems.is_empty() {
        return Err(Failure::pre_check(format!(
            "nothing was changed:\n  {}",
            problems.join("\n  ")
        )));
    }
    let node = Operator::connect(&flags.connection).await?;
    let id = node.request_id(&flags.change);
    let message = SetTimetableRequest {
        request_id: id.to_string(),
        timetable_toml: timetable.unwrap_or_default(),
        dry_run: flags.change.dry_run,
        holidays,
    };
    let ask = |request| {
        let mut client = node.calendar();
        async move { client.set_timetable(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    let sessions = rows(&answer.sessions);
    let document = serde_json::json!({
        "dry_run": flags.change.dry_run, "sessions": sessions, "holidays": answer.holidays,
    });
    if flags.change.dry_run {
        output.talk("dry run: nothing was changed");
    }
    output.data(&document, || {
        format!("{} holidays\n{}", answer.holidays.len(), table(&sessions))
    })
}
