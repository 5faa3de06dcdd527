//! `status --watch`: look after look, until somebody has seen enough.
//!
//! A node that goes away does not end the watch: the next look asks another one, and while none
//! answers, what was seen last stays, with its age.

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::{Look, ended};
use crate::args::cluster::Status;
use crate::exit::Failure;
use crate::output::Output;

pub(super) async fn run(flags: &Status, output: Output) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())
        .map_err(|error| Failure::internal(format!("no signals: {error}")))?;
    let mut every = tokio::time::interval(flags.interval);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left = flags.count.unwrap_or(u64::MAX);
    let mut seen: Option<Look> = None;
    let mut end = Ok(());
    while left > 0 {
        let looked = async {
            every.tick().await;
            Look::at(&flags.connection).await
        };
        let looked = tokio::select! {
            looked = looked => looked,
            _ = interrupt.recv() => break,
        };
        left -= 1;
        end = match &looked {
            Ok(look) => ended(&look.status),
            Err(failure) => Err(failure.clone()),
        };
        let missed = looked.map(|look| seen = Some(look)).err();
        show(flags, output, seen.as_ref(), missed.as_ref())?;
    }
    end
}

fn show(
    flags: &Status,
    output: Output,
    seen: Option<&Look>,
    missed: Option<&Failure>,
) -> Result<(), Failure> {
    if output.json() {
        let document = match (missed, seen) {
            (None, Some(look)) => look.document(),
            (missed, _) => unanswered(missed),
        };
        return output.event(&document, String::new);
    }
    let before = seen.map(|look| look.text(flags.nodes));
    output.redraw(&match missed {
        None => before.unwrap_or_default(),
        Some(failure) => {
            let before = before.map(|text| format!("\n\nas it was:\n{text}"));
            format!("ERROR  {failure}{}", before.unwrap_or_default())
        }
    });
    Ok(())
}

fn unanswered(missed: Option<&Failure>) -> serde_json::Value {
    serde_json::json!({
        "verdict": "ERROR",
        "summary": missed.map(|failure| failure.what.as_str()),
    })
}
