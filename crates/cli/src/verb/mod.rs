//! The verbs: flags resolved, nodes asked, answers shown. One file a noun.

pub mod account;
pub mod audit;
pub mod backup;
pub mod calendar;
pub mod caller;
pub mod centre;
pub mod certificate;
pub mod demo;
pub mod doctor;
pub mod drill;
pub mod init;
pub mod key;
pub mod log;
pub mod method;
pub mod node;
pub mod participant;
pub mod policy;
pub mod request;
pub mod revocation;
pub mod script;
pub mod serve;
pub mod session;
pub mod status;
pub mod token;

use crate::args::{Change, Confirm};
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Tells how many operators have approved, and what comes next.
pub(crate) fn approved(output: Output, what: &str, have: u32, need: u32) -> Result<(), Failure> {
    let done = have >= need;
    let document = serde_json::json!({
        "approved": what, "approvals": have, "needed": need, "done": done,
    });
    output.data(&document, || {
        if done {
            format!("{what}: done, {have} of {need} operators have approved")
        } else {
            format!(
                "{what}: {have} of {need} operators have approved; nothing is changed until another \
                 approves the same within 30 minutes, with --as"
            )
        }
    })
}

/// Tells what would be done: a node has judged it by the line's own rules, and changed nothing.
pub(crate) fn would(output: Output, act: &str) -> Result<(), Failure> {
    output.talk("dry run: nothing was changed");
    let document = serde_json::json!({ "dry_run": true, "act": act });
    output.data(&document, || format!("would {act}"))
}

/// What is so already is well for those who said so.
pub(crate) fn already(
    change: &Change,
    done: Result<(), Failure>,
    output: Output,
) -> Result<(), Failure> {
    well_if_done(change.ok_if_done, done, output)
}

/// As `already`, for an act with flags of its own.
pub(crate) fn well_if_done(
    ok_if_done: bool,
    done: Result<(), Failure>,
    output: Output,
) -> Result<(), Failure> {
    match done {
        Err(failure) if failure.exit == Exit::Already && ok_if_done => {
            output.talk(&failure.what);
            Ok(())
        }
        other => other,
    }
}

/// Has the id of what an act is about typed again, or takes it from the flag. A script is never asked.
pub(crate) fn confirmed(
    confirm: &Confirm,
    id: &str,
    question: &str,
    output: Output,
) -> Result<(), Failure> {
    let given = confirm
        .confirm
        .clone()
        .or_else(|| output.ask(&format!("{question} Type {id} to go on:")));
    match given {
        Some(given) if given == id => Ok(()),
        Some(given) => Err(Failure::usage(format!(
            "\"{given}\" is not {id}; nothing was changed"
        ))),
        None => Err(
            Failure::usage("this act wants a confirmation; nothing was changed")
                .next(format!("add --confirm {id}")),
        ),
    }
}
