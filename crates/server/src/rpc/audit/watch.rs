//! Events as they are applied here, from a position on, with the lines that begin and end.
//!
//! A watch reads the trails on disk and no queue, so that a slow reader loses nothing and holds
//! nobody up.

use std::time::Duration;

use domain::id::SessionId;
use domain::registration::Holder;
use domain::{LineId, Rejection, State};
use futures::{StreamExt, stream};
use proto::audit::v1 as wired;
use proto::audit::v1::watch_audit_events_response::What;

use super::filter::Filter;
use super::{Parts, Source, event, named};
use crate::edge::Edge;
use crate::identity::Caller;
use crate::reads::Watch;
use crate::request::Ask;
use crate::rpc::token;
use crate::status::{Field, Refusal};

/// Rows of one trail that are read at once.
const ROWS_AT_ONCE: u32 = 256;
/// Most trails that a position may name: the main line and its branch, and one to spare.
const TRAILS_MAX: usize = 3;
/// How often a watch looks again when nothing was applied: a branch may have come or gone.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where a watch is in one trail.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    name: String,
    source: Source,
    next: u64,
}

/// A watch.
struct Watching {
    edge: Edge,
    ask: Ask<()>,
    filter: Filter,
    cursors: Vec<Cursor>,
    /// Whether branches that begin are told too.
    all: bool,
    ended: bool,
    watch: Watch,
}

/// The main line's name in a position holds its epoch: another one has another trail.
fn epoch_of(source: &Source) -> u64 {
    match source {
        Source::Line(line) => line.epoch,
        Source::Reads => 0,
    }
}

fn position(cursors: &[Cursor]) -> String {
    let each: Vec<_> = cursors
        .iter()
        .map(|at| format!("{}@{}:{}", at.name, epoch_of(&at.source), at.next))
        .collect();
    each.join(",")
}

fn read_position(edge: &Edge, text: &str) -> Result<Vec<Cursor>, Refusal> {
    let malformed = || {
        Refusal::malformed(
            Field::Other("position"),
            "one that a watch told, of lines that are still here, or empty",
        )
    };
    let parts: Vec<_> = text.split(',').collect();
    if parts.len() > TRAILS_MAX {
        return Err(malformed());
    }
    parts
        .into_iter()
        .map(|part| {
            let (name, place) = part.split_once('@').ok_or_else(malformed)?;
            let (epoch, next) = place.split_once(':').ok_or_else(malformed)?;
            let source = Source::named(edge, name).map_err(|_| malformed())?;
            let same = epoch.parse() == Ok(epoch_of(&source));
            let next = next.parse().ok().filter(|_| same).ok_or_else(malformed)?;
            Ok(Cursor {
                name: name.to_owned(),
                source,
                next,
            })
        })
        .collect()
}

/// The branch that runs here.
fn running(edge: &Edge) -> Option<(SessionId, Source)> {
    let reference = edge.node().branch()?.reference();
    match reference.line.clone() {
        LineId::Branch { session, .. } => Some((session, Source::Line(reference))),
        LineId::Main => None,
    }
}

/// How many records there are, by what was applied; none for a line that does not run here.
fn length(edge: &Edge, source: &Source) -> Option<u64> {
    match source {
        Source::Reads => Some(edge.parts().reads.head().sequence),
        Source::Line(line) => {
            let line = edge.node().line(line).ok()?;
            Some(line.state().header().audit.sequence)
        }
    }
}

fn cursor(edge: &Edge, name: &str, from_start: bool) -> Result<Cursor, Refusal> {
    let source = Source::named(edge, name)?;
    let next = if from_start {
        0
    } else {
        length(edge, &source).unwrap_or_default()
    };
    Ok(Cursor {
        name: name.to_owned(),
        source,
        next,
    })
}

/// Tells what happens.
pub(super) async fn watch(
    edge: &Edge,
    ask: Ask<wired::WatchAuditEventsRequest>,
) -> Result<Parts<wired::WatchAuditEventsResponse>, Refusal> {
    let body = &ask.body;
    let state = edge.serving_line().state();
    let all = body.line.is_empty();
    let cursors = if !body.position.is_empty() {
        read_position(edge, &body.position)?
    } else if all {
        let mut cursors = vec![cursor(edge, "main", body.from_start)?];
        if let Some((session, source)) = running(edge) {
            cursors.push(Cursor {
                next: length(edge, &source)
                    .filter(|_| !body.from_start)
                    .unwrap_or(0),
                name: session.to_string(),
                source,
            });
        }
        cursors
    } else {
        // A name that is none is refused as such.
        named_or_reads(edge, &body.line)?;
        vec![cursor(edge, &body.line, body.from_start)?]
    };
    let mut filter = Filter::default();
    for cursor in &cursors {
        let source = Some(&cursor.source);
        filter = Filter::read(edge, &ask, &state, source, body.filter.as_ref())?;
    }
    let names: Vec<_> = cursors.iter().map(|at| at.name.as_str()).collect();
    let about = format!("line={} {filter}", names.join(","));
    let watch = edge.note_watch(&ask, &state, about)?;
    let mut stopping = edge.parts().stopping.clone();
    let watching = Watching {
        edge: edge.clone(),
        ask: ask.map(()),
        filter,
        cursors,
        all,
        ended: false,
        watch,
    };
    let told = stream::unfold(watching, |mut watching| async move {
        if watching.ended {
            return None;
        }
        let told = match watching.next().await {
            Ok(told) => told.into_iter().map(Ok).collect(),
            Err(refusal) => {
                watching.ended = true;
                vec![Err(watching.edge.status(refusal))]
            }
        };
        Some((stream::iter(told), watching))
    });
    let stopped = async move {
        // The sender is gone only when the node is.
        let _stopped = stopping.wait_for(|stop| *stop).await;
    };
    Ok(told.flatten().take_until(stopped).boxed())
}

fn named_or_reads(edge: &Edge, name: &str) -> Result<(), Refusal> {
    match name {
        consensus::place::READS => Ok(()),
        name => named(edge, name).map(drop),
    }
}

impl Watching {
    /// Waits until there is something to tell.
    async fn next(&mut self) -> Result<Vec<wired::WatchAuditEventsResponse>, Refusal> {
        loop {
            let line = self.edge.serving_line();
            let mut applied = line.applied();
            applied.mark_unchanged();
            self.may_go_on(&line.state())?;
            let told = self.look().await?;
            if !told.is_empty() || self.ended {
                self.watch.count(told.len());
                return Ok(told);
            }
            let _either = tokio::time::timeout(LOOK_EVERY, applied.changed()).await;
        }
    }

    /// A delegated administrator watches for as long as its token lives.
    fn may_go_on(&self, state: &State) -> Result<(), Refusal> {
        match &self.ask.caller {
            Caller::FrontEnd(..) => {
                let now = self.edge.now(state);
                token::shown(state, &self.ask.caller, &self.ask.token()?, now).map(drop)
            }
            Caller::Operator(_) | Caller::BackEnd(_) | Caller::Node(_) | Caller::Script(_) => {
                let main = self.edge.node().main().state();
                let holder = Holder::of(&self.ask.caller.actor());
                let known = holder.is_none_or(|holder| main.registered(&holder).is_some());
                known.then_some(()).ok_or(Refusal::Rejected {
                    rejection: Rejection::CallerRetired,
                    clock: main.header().clock,
                })
            }
        }
    }

    fn tell(&self, name: &str, what: What) -> wired::WatchAuditEventsResponse {
        wired::WatchAuditEventsResponse {
            position: position(&self.cursors),
            line: name.to_owned(),
            what: Some(what),
        }
    }

    async fn look(&mut self) -> Result<Vec<wired::WatchAuditEventsResponse>, Refusal> {
        let mut told = Vec::new();
        let mut over = Vec::new();
        let mut caught_up = true;
        for index in 0..self.cursors.len() {
            let Some(at) = self.cursors.get(index).cloned() else {
                break;
            };
            let known = length(&self.edge, &at.source);
            if known.is_some_and(|length| length <= at.next) {
                continue;
            }
            let rows = at.source.page(&self.edge, at.next, ROWS_AT_ONCE).await?;
            caught_up &= rows.len() < usize::try_from(ROWS_AT_ONCE).unwrap_or(usize::MAX);
            if rows.is_empty() && known.is_none() {
                over.push(at.name.clone());
            }
            for row in &rows {
                if let Some(cursor) = self.cursors.get_mut(index) {
                    cursor.next = row.sequence.saturating_add(1);
                }
                if self.filter.fits(row) {
                    told.push(self.tell(&at.name, What::Event(event(row))));
                }
            }
        }
        // After what led to it: the boundary is the main line's.
        if let Some((session, source)) = running(&self.edge).filter(|_| self.all && caught_up)
            && self.cursors.iter().all(|at| at.source != source)
        {
            let name = session.to_string();
            self.cursors.push(Cursor {
                name: name.clone(),
                source,
                next: 0,
            });
            told.push(self.tell(&name, What::LineBegan(wired::LineBegan {})));
        }
        for name in over {
            self.cursors.retain(|at| at.name != name);
            told.push(self.tell(&name, What::LineEnded(wired::LineEnded {})));
            self.ended = self.cursors.is_empty();
        }
        Ok(told)
    }
}
