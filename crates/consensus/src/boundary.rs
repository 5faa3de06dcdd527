//! Keeps the state at each boundary: when the main line applies the entry that opens a session,
//! this node takes an O(1) clone and writes it to a genesis file in the background. Until the
//! file is durable, the store keeps what rebuilding that state needs (LINES.md, Opening).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use domain::session::{self, Phase};
use domain::state::State;
use domain::{Command, LogId, SessionId, outcome};
use tokio::sync::mpsc;

use crate::machine::{Hook, Shared};
use crate::node::{Error, Node, blocking};

/// How often the plan is looked at while a genesis waits to be written.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What a branch's first election takes.
const SETTLES_IN: Duration = Duration::from_millis(500);
/// No genesis waits longer: a node that is away must not keep the others from being safe.
const WRITE_AFTER_MAX: Duration = Duration::from_secs(5);

/// A state at a boundary, as it was applied.
pub(crate) struct Passed {
    session: SessionId,
    at: LogId,
    state: State,
}

/// Where the state machine of a main line says which boundaries it passed.
pub(crate) type Sender = mpsc::UnboundedSender<Passed>;

/// The way from the state machine, which must not wait, to the task that writes. Its length is
/// bounded by the sessions that are opened.
pub(crate) fn channel() -> (Sender, mpsc::UnboundedReceiver<Passed>) {
    mpsc::unbounded_channel()
}

/// Sees each entry of the main line right after it was applied.
pub(crate) fn hook(boundaries: Sender, line: Arc<OnceLock<Arc<Shared>>>) -> Hook {
    Arc::new(move |at, envelope, outcome, state| {
        let (Command::Session(command), Some(line)) = (&envelope.command, line.get()) else {
            return;
        };
        if !matches!(outcome.result, outcome::Result::Done(_)) {
            return;
        }
        line.keep_digests(at);
        let session::Command::Open { session } = command else {
            return;
        };
        let is_boundary = state
            .plan(session)
            .and_then(|plan| plan.boundary)
            .is_some_and(|boundary| boundary.at == at);
        if is_boundary {
            // Before anybody can ask for a snapshot or a purge that would take it away; both wait
            // until it is durable.
            drop(line.pin(at));
            // The task is gone only when the node stops, and then the log brings it back.
            let _gone = boundaries.send(Passed {
                session: session.clone(),
                at,
                state: state.clone(),
            });
        }
    })
}

/// Writes geneses, for as long as the node runs.
pub(crate) async fn keep(node: Node, mut passed: mpsc::UnboundedReceiver<Passed>) {
    node.find_geneses().await;
    if let Err(error) = make_up(&node).await {
        tracing::error!(%error, "a genesis cannot be rebuilt here; it will be fetched");
    }
    while let Some(boundary) = passed.recv().await {
        if is_wanted(&node, &boundary.session) {
            node.note_fork(&boundary.session, boundary.at, boundary.state.clone());
            // Behind the opening: the branch starts from memory, and the pin holds meanwhile.
            wait_for_the_branch(&node, &boundary.session).await;
        }
        if let Err(error) = write(&node, &boundary).await {
            // The pin stays, and the next start tries again.
            tracing::error!(session = %boundary.session, %error, "cannot write a genesis");
        }
    }
}

/// Waits until the branch is open, or long enough.
async fn wait_for_the_branch(node: &Node, session: &SessionId) {
    let opening = || {
        let state = node.main().state();
        state.plan(session).map(|plan| plan.phase) == Some(Phase::Opening)
    };
    let begun = async {
        while opening() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        // The branch's own first entries come right after its confirmation.
        tokio::time::sleep(SETTLES_IN).await;
    };
    let _late = tokio::time::timeout(WRITE_AFTER_MAX, begun).await;
}

async fn write(node: &Node, boundary: &Passed) -> Result<(), Error> {
    if is_wanted(node, &boundary.session) {
        node.fork(&boundary.session, boundary.at, &boundary.state)
            .await?;
    }
    release(node, boundary.at).await
}

/// What a crash left: boundaries that are pinned and whose genesis was not durable.
async fn make_up(node: &Node) -> Result<(), Error> {
    let shared = Arc::clone(&node.main().inner.shared);
    for pin in shared.log().pins() {
        let state = shared.state();
        let plan = state
            .plans()
            .find(|plan| plan.boundary.is_some_and(|b| b.at == pin.boundary));
        // Without a plan, the entry comes again with the log, and is seen then.
        let Some(session) = plan.map(|plan| plan.session.id.clone()) else {
            continue;
        };
        if is_wanted(node, &session) && !node.geneses().iter().any(|(id, _)| *id == session) {
            let rebuilding = Arc::clone(&shared);
            let at = pin.boundary;
            rebuilding.log().barrier().await?;
            let state = blocking(move || Ok(rebuilding.rebuild(at)?)).await?;
            node.fork(&session, at, &state).await?;
        }
        release(node, pin.boundary).await?;
    }
    Ok(())
}

async fn release(node: &Node, at: LogId) -> Result<(), Error> {
    Ok(node.main().inner.shared.release(at).await?)
}

/// Whether the session's branch may still be started. An entry that is applied again at a
/// restart may open one that was over long ago; one that a promotion dropped still has to be asked
/// what it did; and what was opened without the primary goes on
/// from its own boundary.
fn is_wanted(node: &Node, session: &SessionId) -> bool {
    if node.order(session).is_some() {
        return false;
    }
    let state = node.main().state();
    let plan = state.plan(session);
    if plan.is_some_and(|plan| plan.awaits_evidence_of_dropped(state.header().epoch)) {
        return true;
    }
    match plan.map(|plan| plan.phase) {
        Some(Phase::RolledOver | Phase::Abandoned) => false,
        Some(Phase::Opening | Phase::Open | Phase::Closed) | None => true,
    }
}
