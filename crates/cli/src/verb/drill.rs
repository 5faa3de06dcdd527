//! `drill run`, `drill check`, `drill verify`.

use std::path::Path;

use crate::args::drill::{Check, Drill as Flags, Run, Verify};
use crate::drill::{self, Drill, Report, Setting};
use crate::exit::Failure;
use crate::output::Output;
use crate::profile::Profile;

/// Plays, checks or verifies.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Flags, output: Output) -> Result<(), Failure> {
    match flags {
        Flags::Run(flags) => play(flags, output).await,
        Flags::Check(flags) => check(flags, output),
        Flags::Verify(flags) => verify(flags, output),
    }
}

async fn play(flags: &Run, output: Output) -> Result<(), Failure> {
    let setting = setting(Profile::read(&flags.profile)?, &flags.file)?;
    let report = drill::play(&flags.file, setting, output).await?;
    finish(&report, flags.report.as_deref(), output)
}

/// What a drill needs besides its file: everything that the profile has, and this program.
pub(crate) fn setting(profile: Profile, file: &Path) -> Result<Setting, Failure> {
    Ok(Setting {
        profile,
        folder: file.parent().unwrap_or_else(|| Path::new("")).to_path_buf(),
        replayer: std::env::current_exe()
            .map_err(|error| Failure::internal(format!("cannot find this program: {error}")))?,
    })
}

/// Writes the report, and ends as it says.
pub(crate) fn finish(
    report: &Report,
    folder: Option<&Path>,
    output: Output,
) -> Result<(), Failure> {
    if let Some(folder) = folder {
        report.write(folder)?;
        output.talk(&format!("report: {}", folder.join("report.md").display()));
    }
    if output.json() {
        output.data(report, String::new)?;
    }
    drill::failure(report).map_or(Ok(()), Err)
}

fn check(flags: &Check, output: Output) -> Result<(), Failure> {
    let drill = Drill::read(&flags.file)?;
    let steps = drill.steps().count();
    let document = serde_json::json!({
        "drill": drill.id, "parts": drill.part.len(), "steps": steps, "people": drill.person.len(),
    });
    output.data(&document, || {
        format!(
            "OK  {}: {} parts, {steps} steps, {} people",
            drill.id,
            drill.part.len(),
            drill.person.len()
        )
    })
}

fn verify(flags: &Verify, output: Output) -> Result<(), Failure> {
    let report = Report::read(&flags.report)?;
    let found = report.contradictions();
    let document = serde_json::json!({ "drill": report.drill, "contradictions": found });
    output.data(&document, || {
        if found.is_empty() {
            format!("OK  {}: {} proofs hold", report.drill, report.proofs.len())
        } else {
            format!("ERROR  {}:\n  {}", report.drill, found.join("\n  "))
        }
    })?;
    if found.is_empty() {
        Ok(())
    } else {
        Err(Failure::mismatch(format!(
            "the report does not hold in {} places",
            found.len()
        )))
    }
}
