//! Following the plans: what nodes do because the main line's state or the timetable says so.
//!
//! Opening and closing are entries; the timetable triggers and bounds them (LINES.md, "Time").
//! Every step looks at the state and may be repeated, so a node that crashes at any point goes on
//! where the state says. Deliberately absent: deciding. What an operator must decide stays open
//! until an operator does, or until the rollover has to run by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::session::Evidence;
use domain::{Actor, Command, SessionId, outcome, session};
use futures::future::join_all;
use tokio::sync::watch;

use crate::line::Line;
use crate::node::{self, Node};
use crate::propose::Proposal;

mod branch;
mod main_line;
mod seal;

pub use main_line::rollover_due;
pub use seal::{Gathered, Wanted};

/// How often the timetable is looked at, when nothing else woke the node.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a step that failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// What a node has copied of closed branches, durably.
#[derive(Debug, Default)]
pub(crate) struct Copied(watch::Sender<BTreeMap<SessionId, Evidence>>);

impl Copied {
    pub(crate) fn of(&self, session: &SessionId) -> Option<Evidence> {
        self.0.borrow().get(session).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Evidence> {
        self.0.borrow().values().cloned().collect()
    }

    /// Moves with everything that is copied.
    fn watch(&self) -> watch::Receiver<BTreeMap<SessionId, Evidence>> {
        self.0.subscribe()
    }

    fn note(&self, evidence: Evidence) {
        // Plans follow one another: what is older than the latest is sealed.
        let latest = BTreeMap::from([(evidence.session.clone(), evidence)]);
        self.0.send_replace(latest);
    }
}

/// One of the things that a node follows.
#[derive(Debug, Clone, Copy)]
enum Lane {
    MainLine,
    Branch,
    Evidence,
}

impl Lane {
    /// Does what there is to do, while a main line runs here. A branch that has failed does not end
    /// this: it is left to its other nodes, and dropped in its time.
    async fn follow(self, node: &Node) {
        loop {
            let main = node.main();
            if main.running().is_err() {
                tracing::warn!(lane = ?self, "the main line has stopped: plans are not followed here");
                node.another_main(&main).await;
            }
            if let Err(error) = self.round(node).await {
                tracing::debug!(lane = ?self, %error, "will try again");
                tokio::time::sleep(PAUSE).await;
            }
            changed(node).await;
        }
    }

    async fn round(self, node: &Node) -> Result<(), node::Error> {
        match self {
            Self::MainLine => main_line::round(node).await,
            Self::Branch => branch::round(node).await,
            Self::Evidence => seal::round(node).await,
        }
    }
}

/// Follows the plans, for as long as the node runs. No lane waits for another.
pub(crate) async fn follow(node: Node) {
    let lanes = [Lane::MainLine, Lane::Branch, Lane::Evidence];
    join_all(lanes.map(|lane| lane.follow(&node))).await;
}

/// Resolves when there may be something to do.
async fn changed(node: &Node) {
    let (main, branch) = (node.main(), node.branch());
    let branch_changed = async {
        match &branch {
            Some(branch) => branch.changed().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = main.changed() => {}
        () = branch_changed => {}
        () = tokio::time::sleep(LOOK_EVERY) => {}
    }
}

/// Proposes a step of a plan in the node's own name.
pub(crate) async fn step(
    node: &Node,
    line: &Line,
    command: session::Command,
) -> Result<(), node::Error> {
    let what = format!("{command:?}");
    let outcome = line
        .propose(Proposal {
            actor: Actor::Node(node.id()),
            request: None,
            command: Command::Session(command),
        })
        .await?;
    tracing::info!(line = %line.reference().line, %what, result = ?outcome.result, "proposed");
    match outcome.result {
        // A refusal is in the audit; asking again at once would only fill it.
        outcome::Result::Rejected(rejection) => Err(node::Error::Branch(format!(
            "{what} was refused: {rejection:?}"
        ))),
        outcome::Result::Done(_) | outcome::Result::FailedAttempt(_) => Ok(()),
    }
}
