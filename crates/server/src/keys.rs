//! What a node does about keys without being asked: it reads its key file again, proves to hold
//! what was announced, uses what the cluster uses; and where it leads the main line it seals anew
//! what older keys sealed (LOGIN.md, "Keys").
//!
//! How far the sealing is, nobody keeps: what is left to do is what the state still holds under
//! another key, so a new leader or a new start goes on where the last entry stopped. A branch is
//! left as it is: it is thrown away at its rollover.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use consensus::{Line, Proposal, line, place};
use credential::associated::Associated;
use credential::keyring::{Error, Keyring, Proof};
use domain::keys::{self, Key, Place, Purpose, Resealed, Stage};
use domain::outcome::Result as Outcome;
use domain::{Actor, Answer, Command, Digest, State, UnixMs};
use zeroize::Zeroizing;

use crate::edge::Edge;

/// How often the key file and the state are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The pause after an entry that sealed values anew, so that logins come in between.
const PACE: Duration = Duration::from_millis(200);
/// After everything was found sealed with the key in use, the state is searched again: somebody
/// may have sealed with the former key just before it was told.
const SEARCH_EVERY: Duration = Duration::from_secs(5);
/// The file in the data folder with what the node compares its key file with at its start.
const KEY_PROOFS: &str = "keys.json";

/// What a node says of its keys.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    problem: Mutex<Option<String>>,
    fault: Mutex<Option<Error>>,
}

impl Watch {
    /// What is wrong with the key file, or with a value that should open and does not.
    pub(crate) fn problem(&self) -> Option<String> {
        let problem = self.problem.lock();
        problem.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the node cannot go on: the cluster uses a key that it does not hold.
    pub(crate) fn fault(&self) -> Option<Error> {
        let fault = self.fault.lock();
        fault.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, problem: Option<String>) {
        let mut told = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != problem {
            match &problem {
                Some(what) => tracing::warn!(what, "the keys want somebody's attention"),
                None => tracing::info!("the keys are as they should be"),
            }
            *told = problem;
        }
    }

    fn stop(&self, fault: Error) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }
}

/// What a node must hold by this state, to compare its key file with.
fn needed(state: &State) -> Vec<Proof> {
    let needed = state.keys().filter(|key| key.needed());
    needed.map(Key::reference).collect()
}

/// What the node's last run left in its data folder, if it ran before.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn left(data: &Path) -> io::Result<Option<Vec<Proof>>> {
    match std::fs::read(data.join(KEY_PROOFS)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Leaves them for the next start, whole or not at all, and durably: half a file would stop the
/// node for good.
fn leave(data: &Path, proofs: &[Proof]) -> io::Result<()> {
    let path = data.join(KEY_PROOFS);
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(&serde_json::to_vec(proofs)?)?;
    file.sync_all()?;
    place::rename(&partial, &path)
}

/// Compares the key file with what this folder's main line uses, before anything is answered, and
/// uses those keys.
///
/// # Errors
/// The key that is missing or another one, or the file that cannot be written.
pub(crate) fn begin(
    data: &Path,
    keyring: &Keyring,
    state: &State,
    founded: &[Proof],
    (cluster, now): (domain::ClusterId, UnixMs),
) -> io::Result<Result<(), Error>> {
    let state_needs = needed(state);
    if state.founding().is_some() && !state_needs.is_empty() {
        if let Err(error) = keyring.check(cluster, &state_needs) {
            return Ok(Err(error));
        }
        leave(data, &state_needs)?;
    } else if left(data)?.is_none() {
        let all = keyring.proofs(cluster);
        leave(data, if founded.is_empty() { &all } else { founded })?;
    }
    Ok(follow(keyring, state, now))
}

/// Uses the keys that the state says.
fn follow(keyring: &Keyring, state: &State, now: UnixMs) -> Result<(), Error> {
    let sealing = state.key_in_use(Purpose::Seal).map(|key| key.id);
    let digesting = state.keys().filter(|key| match key.purpose {
        Purpose::Digest => key.needed(),
        Purpose::Seal => false,
    });
    let digesting = digesting.filter_map(|key| Some((key.used_from?, key.id)));
    keyring.follow(sealing, digesting.collect(), now)
}

/// What is remembered between two looks.
#[derive(Default)]
struct Memory {
    /// The key file that was taken in last, by its digest, and what was needed then.
    read: Option<(Digest, Vec<u32>)>,
    /// What is wrong with the file.
    file: Option<String>,
    /// What was left for the next start.
    left: Vec<Proof>,
    /// Values that do not open: they stay, and are told of.
    stuck: BTreeSet<Digest>,
    /// The key that everything was found sealed with, and when.
    clean: Option<(u32, Instant)>,
}

/// Sees to the keys until the node stops.
pub(crate) async fn keep(edge: Edge, file: PathBuf) {
    let mut memory = Memory::default();
    let mut stopping = edge.parts().stopping.clone();
    loop {
        let pause = look(&edge, &file, &mut memory).await;
        if edge.keys().fault().is_some() {
            return;
        }
        let stopped = stopping.wait_for(|stop| *stop);
        // The sender is gone only when the node is.
        if tokio::time::timeout(pause, stopped).await.is_ok() {
            return;
        }
    }
}

async fn look(edge: &Edge, file: &Path, memory: &mut Memory) -> Duration {
    let main = edge.node().main();
    let state = main.state();
    if state.founding().is_none() {
        return LOOK_EVERY;
    }
    let needed = needed(&state);
    read_again(edge, file, &needed, memory).await;
    let keyring = edge.keyring();
    let cluster = edge.node().cluster();
    let used = keyring
        .check(cluster, &needed)
        .and_then(|()| follow(keyring, &state, edge.now(&state)));
    if let Err(fault) = used {
        tracing::error!(%fault, "the cluster uses a key that this node does not hold");
        edge.keys().stop(fault);
        return LOOK_EVERY;
    }
    if memory.left != needed && !needed.is_empty() {
        match leave(edge.node().data(), &needed) {
            Ok(()) => memory.left.clone_from(&needed),
            Err(error) => tracing::warn!(%error, "cannot write {KEY_PROOFS}; will try again"),
        }
    }
    let mut problem = memory.file.clone();
    for key in state.keys().filter(|key| key.stage == Stage::Announced) {
        match prove(edge, &main, key).await {
            Ok(None) => {}
            Ok(Some(other)) => problem = problem.or(Some(other)),
            Err(error) => tracing::debug!(key = key.id, %error, "will prove the key again"),
        }
    }
    let sealed = match reseal(edge, &main, memory).await {
        Ok(sealed) => sealed,
        Err(error) => {
            tracing::debug!(%error, "will seal anew again");
            0
        }
    };
    let stuck = memory.stuck.len();
    if stuck > 0 {
        let text = format!("{stuck} sealed values do not open with the key that they name");
        problem = problem.or(Some(text));
    }
    edge.keys().tell(problem);
    if sealed > 0 { PACE } else { LOOK_EVERY }
}

/// Takes in what is in the key file now, where it is another than before.
async fn read_again(edge: &Edge, file: &Path, needed: &[Proof], memory: &mut Memory) {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
    let text = match read.map_err(io::Error::other).and_then(|read| read) {
        Ok(text) => Zeroizing::new(text),
        Err(error) => {
            memory.read = None;
            memory.file = Some(format!("cannot read the key file: {error}"));
            return;
        }
    };
    let ids: Vec<u32> = needed.iter().map(|proof| proof.id).collect();
    let name = (Digest::of("key file", &[text.as_bytes()]), ids);
    if memory.read.as_ref() == Some(&name) {
        return;
    }
    let renewed = Keyring::parse(&text)
        .map_err(|wrong| wrong.to_string())
        .and_then(|found| {
            let (_, ids) = &name;
            let renewed = edge.keyring().renew(found, |id| ids.contains(&id));
            renewed.map_err(|wrong| wrong.to_string())
        });
    memory.file = renewed.err();
    memory.read = Some(name);
}

/// Proves an announced key that is held here, once; says so when it is another key.
async fn prove(edge: &Edge, main: &Line, key: &Key) -> Result<Option<String>, line::Error> {
    let (keyring, node) = (edge.keyring(), edge.node());
    let Some(held) = keyring.proof(node.cluster(), key.id) else {
        return Ok(None);
    };
    if held != key.reference() {
        let text = format!(
            "key {} in the key file is not the one that was announced",
            key.id
        );
        return Ok(Some(text));
    }
    let code = keyring.node_proof(node.cluster(), key.id, node.id());
    let Some(code) = code.filter(|code| key.proofs.get(&node.id()) != Some(code)) else {
        return Ok(None);
    };
    let command = keys::Command::Prove { key: key.id, code };
    let outcome = main.propose(proposal(edge, command)).await?;
    tracing::info!(key = key.id, result = ?outcome.result, "proved to hold a key");
    Ok(None)
}

fn proposal(edge: &Edge, command: keys::Command) -> Proposal {
    Proposal {
        actor: Actor::Node(edge.node().id()),
        request: None,
        command: Command::Keys(command),
    }
}

/// Seals some values anew, where this node leads; says how many.
async fn reseal(edge: &Edge, main: &Line, memory: &mut Memory) -> Result<usize, line::Error> {
    let state = main.state();
    let used = state.key_in_use(Purpose::Seal);
    // The founding's own key has nothing before it.
    let used = used.filter(|key| key.used_from > Some(UnixMs(0)));
    let Some(key) = used.map(|key| key.id).filter(|_| main.is_leader()) else {
        memory.clean = None;
        return Ok(0);
    };
    let searched = memory.clean.filter(|(by, _)| *by == key);
    if searched.is_some_and(|(_, at)| at.elapsed() < SEARCH_EVERY) {
        return Ok(0);
    }
    let (there, stuck) = (edge.clone(), memory.stuck.clone());
    let sealing = tokio::task::spawn_blocking(move || seal_anew(&there, &state, key, &stuck));
    let Ok((values, stuck)) = sealing.await else {
        return Ok(0);
    };
    for (place, digest) in stuck {
        tracing::error!(?place, "a sealed value does not open, and stays as it is");
        memory.stuck.insert(digest);
    }
    if values.is_empty() {
        memory.clean = Some((key, Instant::now()));
        return Ok(0);
    }
    memory.clean = None;
    let asked = values.len();
    let command = keys::Command::Reseal { key, values };
    let outcome = main.propose(proposal(edge, command)).await?;
    match outcome.result {
        Outcome::Done(Answer::Resealed { count }) => {
            tracing::info!(count, asked, key, "sealed values anew");
            Ok(asked)
        }
        other @ (Outcome::Done(_) | Outcome::FailedAttempt(_) | Outcome::Rejected(_)) => {
            tracing::info!(?other, "values were not sealed anew");
            Ok(0)
        }
    }
}

type Stuck = Vec<(Place, Digest)>;

fn seal_anew(
    edge: &Edge,
    state: &State,
    key: u32,
    stuck: &BTreeSet<Digest>,
) -> (Vec<Resealed>, Stuck) {
    let mut values = Vec::new();
    let mut more_stuck = Vec::new();
    for (place, sealed) in state.to_reseal(key) {
        let was = sealed.digest();
        if values.len() >= keys::RESEALED_MAX {
            break;
        }
        if stuck.contains(&was) {
            continue;
        }
        let associated = Associated::of(&place);
        match edge.keyring().reseal(sealed, &associated, edge.entropy()) {
            Ok(Some(sealed)) if sealed.key == key => values.push(Resealed { place, was, sealed }),
            // The key changed meanwhile: the next look has the new one.
            Ok(Some(_) | None) => {}
            Err(_) => more_stuck.push((place, was)),
        }
    }
    (values, more_stuck)
}
