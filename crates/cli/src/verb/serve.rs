//! `serve`: one node as a process, until it is told to stop.

use std::path::Path;
use std::time::Duration;

use server::Config;
use server::node::{Fault, Node};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::args::cluster::Serve;
use crate::exit::Failure;
use crate::output::Output;

/// How long what is left of a node that has stopped may hold its folder.
const FREED_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs a node.
///
/// # Errors
/// If it cannot start: the file or address that is at fault.
pub async fn run(flags: &Serve, output: Output) -> Result<(), Failure> {
    let mut node = start(&flags.config).await?;
    while let Next::Again = Box::pin(serve(node, output)).await? {
        node = start_again(&flags.config).await?;
    }
    Ok(())
}

/// What follows once a node has stopped.
enum Next {
    Nothing,
    /// It starts under its new id.
    Again,
}

async fn serve(node: Node, output: Output) -> Result<Next, Failure> {
    let addresses = node.addresses();
    let pages = [("health", addresses.health), ("metrics", addresses.metrics)];
    let pages = pages.iter().filter_map(|(name, at)| Some((name, (*at)?)));
    let pages: Vec<String> = pages.map(|(name, at)| format!(", {name} {at}")).collect();
    output.talk(&format!(
        "serving: front {}, back {}, operator {}, peer {}{}",
        addresses.front,
        addresses.back,
        addresses.operator,
        addresses.peer,
        pages.concat()
    ));
    let ended = tokio::select! {
        asked = stopped() => asked.map(|()| Next::Nothing),
        fault = node.failed() => match fault {
            Fault::AnotherLife(_) => {
                output.talk(&fault.to_string());
                Ok(Next::Again)
            }
            // A node that does nothing must not look as if it ran: whoever watches it starts it anew.
            Fault::Line { .. } | Fault::Founding | Fault::Keys(_) => Err(failure(&fault)),
        },
    };
    output.talk("stopping");
    node.stop().await;
    ended
}

fn failure(fault: &Fault) -> Failure {
    let next = match fault {
        Fault::Line { .. } => {
            "start the node again; if it ends so again, restore it from its peers"
        }
        Fault::AnotherLife(_) => "start the node again",
        Fault::Founding => "start the node with the founding file that tidemark init wrote",
        Fault::Keys(_) => "put the key file of another node in its place, and start again",
    };
    Failure::internal(fault.to_string()).next(next)
}

/// Starts the node of a configuration file.
pub(crate) async fn start(path: &Path) -> Result<Node, Failure> {
    let config = read(path)?;
    Box::pin(Node::start(config)).await.map_err(not_started)
}

/// Starts it once more in this process, in which tasks of the former one may still hold the folder.
async fn start_again(path: &Path) -> Result<Node, Failure> {
    let deadline = Instant::now() + FREED_WITHIN;
    loop {
        match Box::pin(Node::start(read(path)?)).await {
            Err(error) if error.is_in_use() && Instant::now() < deadline => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            started => return started.map_err(not_started),
        }
    }
}

fn read(path: &Path) -> Result<Config, Failure> {
    Config::read(path).map_err(|error| Failure::pre_check(error.to_string()))
}

fn not_started(error: server::node::Error) -> Failure {
    Failure::pre_check(format!("the node does not start: {error}"))
}

/// Returns when the process is asked to stop.
pub(crate) async fn stopped() -> Result<(), Failure> {
    let watch =
        |kind| signal(kind).map_err(|error| Failure::internal(format!("no signals: {error}")));
    let (mut terminate, mut interrupt) = (
        watch(SignalKind::terminate())?,
        watch(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
