//! The keys of the key files: announced by an operator, proved by every node, used, and retired
//! once nothing uses them (LOGIN.md, "Keys").
//!
//! No key stands here and nothing is computed with one: a node that holds the key checked what is
//! compared here. Sealed values that an older key made are sealed anew by the node that leads
//! (`sealed`), one bounded entry after another; how far that is, the values themselves say.
//!
//! A branch has a copy of the keys as they were at its boundary, and takes no command about them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

mod sealed;

pub use sealed::{Place, Resealed};
pub(crate) use sealed::{carried_by, values_by};

use crate::apply::{Context, Effect};
use crate::attempts::FORGOTTEN_AFTER_MS;
use crate::audit::{Event, Kind};
use crate::cluster::KeyProof;
use crate::digest::Digest;
use crate::envelope::Actor;
use crate::id::NodeId;
use crate::line::LineId;
use crate::outcome::{Answer, Rejection};
use crate::state::State;
use crate::table::{Record, Table};
use crate::time::UnixMs;

/// Most keys that a cluster knows, retired ones included.
pub const KEYS_MAX: usize = 64;
/// Most values that one entry seals anew.
pub const RESEALED_MAX: usize = 500;
/// A digest key is used from so long after the entry that says so: every node has applied it by
/// then, so that all of them know a repeated request by one digest.
pub const DIGEST_LEAD_MS: u64 = 60_000;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Sealing verifiers, seeds and codes (S22, S39).
    Seal,
    /// Digests of what must be recognised but not read, such as unknown user ids; and signing
    /// checkpoints of the audit.
    Digest,
}

impl Purpose {
    /// As key files write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Digest => "digest",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The Ed25519 public key by which a digest key's checkpoints are believed. It stays when the key
/// is retired, so that what it signed can be checked for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointKey(#[serde(with = "serde_bytes")] pub [u8; 32]);

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Nodes are proving that they hold it; nothing is made with it.
    Announced,
    /// What is made new is made with it.
    InUse,
    /// Another took its place; what it made is still read, and sealed values are made anew.
    Old,
    /// Nothing uses it: nodes start without it.
    Retired,
}

/// A key, as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its id in the key files; never given twice.
    pub id: u32,
    /// What it is for.
    pub purpose: Purpose,
    /// What a node compares its own key file with.
    pub code: Digest,
    /// The public half of its signatures; none of a key that signs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<CheckpointKey>,
    /// Where it is.
    pub stage: Stage,
    /// When the cluster heard of it.
    pub announced_at: UnixMs,
    /// From when on it was used, last; a digest key from somewhat after the entry.
    pub used_from: Option<UnixMs>,
    /// Until when it was used; none while it is, and before.
    pub used_until: Option<UnixMs>,
    /// The code of each node that proved to hold it. None of a key that the cluster was founded
    /// with: without it no node ever started.
    pub proofs: BTreeMap<NodeId, Digest>,
}

impl Record for Key {
    type Key = u32;
    const TABLE: &'static str = "key";
    fn key(&self) -> u32 {
        self.id
    }
}

impl Key {
    /// Whether a node must hold it.
    #[must_use]
    pub fn needed(&self) -> bool {
        match self.stage {
            Stage::InUse | Stage::Old => true,
            Stage::Announced | Stage::Retired => false,
        }
    }

    /// What a node that must hold it compares its key file with.
    #[must_use]
    pub fn reference(&self) -> KeyProof {
        KeyProof {
            id: self.id,
            purpose: self.purpose,
            code: self.code,
            public: self.public,
        }
    }
}

/// What is asked about keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// An operator says that a new key is in the key files, or will be.
    Announce {
        /// The key, as the node that was asked holds it.
        key: KeyProof,
    },
    /// A node says that it holds an announced key; which node, the actor says.
    Prove {
        /// Which key.
        key: u32,
        /// A code over cluster, key and node that only a holder of the key can make.
        code: Digest,
    },
    /// An operator has an announced key used, or an old one again.
    Use {
        /// Which key.
        key: u32,
        /// The nodes' codes as a holder of the key checked them.
        checked: BTreeMap<NodeId, Digest>,
    },
    /// The leader seals values anew that older keys sealed.
    Reseal {
        /// The key that they are sealed with now.
        key: u32,
        /// At most `RESEALED_MAX` values.
        values: Vec<Resealed>,
    },
    /// An operator retires a key that nothing uses.
    Retire {
        /// Which key.
        key: u32,
    },
}

impl Command {
    /// The method's name in request records.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::Announce { .. } => "AnnounceKey",
            Self::Prove { .. } => "ProveKey",
            Self::Use { .. } => "UseKey",
            Self::Reseal { .. } => "Reseal",
            Self::Retire { .. } => "RetireKey",
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Announce { .. } => Kind::KeyAnnounced,
            Self::Prove { .. } => Kind::KeyProved,
            Self::Use { .. } => Kind::KeyUsed,
            Self::Reseal { .. } => Kind::ValuesResealed,
            Self::Retire { .. } => Kind::KeyRetired,
        }
    }
}

/// The keys that a cluster is founded with: the first of each purpose is used at once.
pub(crate) fn founded(proofs: &[KeyProof], at: UnixMs) -> Table<Key> {
    let mut used: Vec<Purpose> = Vec::new();
    let mut sorted: Vec<&KeyProof> = proofs.iter().collect();
    sorted.sort_by_key(|proof| proof.id);
    sorted
        .into_iter()
        .map(|proof| {
            let first = !used.contains(&proof.purpose);
            used.push(proof.purpose);
            let mut key = announced(proof, at);
            if first {
                key.stage = Stage::InUse;
                key.used_from = Some(UnixMs(0));
            }
            key
        })
        .collect()
}

fn announced(proof: &KeyProof, at: UnixMs) -> Key {
    Key {
        id: proof.id,
        purpose: proof.purpose,
        code: proof.code,
        public: proof.public,
        stage: Stage::Announced,
        announced_at: at,
        used_from: None,
        used_until: None,
        proofs: BTreeMap::new(),
    }
}

impl State {
    /// The keys, by id.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// The key with this id.
    #[must_use]
    pub fn key(&self, id: u32) -> Option<&Key> {
        self.keys.get(&id)
    }

    /// The key of this purpose that is in use; none in a cluster founded without a record of keys.
    #[must_use]
    pub fn key_in_use(&self, purpose: Purpose) -> Option<&Key> {
        self.keys
            .iter()
            .find(|key| key.purpose == purpose && key.stage == Stage::InUse)
    }

    /// Every node that must prove an announced key: all of both centres.
    #[must_use]
    pub fn key_holders(&self) -> Vec<NodeId> {
        let centres = self.centres().into_iter();
        centres
            .flat_map(|centres| centres.all())
            .flat_map(|centre| centre.nodes.iter().map(|node| node.id))
            .collect()
    }

    /// How many sealed values of this line's state the key made.
    #[must_use]
    pub fn values_sealed_by(&self, key: u32) -> u64 {
        values_by(self, |by| by == key)
            .count()
            .try_into()
            .unwrap_or(u64::MAX)
    }

    /// The values that another key than this one sealed.
    pub fn to_reseal(
        &self,
        key: u32,
    ) -> impl Iterator<Item = (Place, &crate::factor::Sealed)> + '_ {
        values_by(self, move |by| by != key)
    }
}

impl State {
    /// Whether the key can be retired now.
    ///
    /// # Errors
    /// What still uses it.
    pub fn may_retire_key(&self, id: u32, now: UnixMs) -> Result<(), Rejection> {
        let key = found(self, id)?;
        match (key.stage, key.purpose) {
            (Stage::Retired, _) => Err(Rejection::AlreadySo),
            (Stage::InUse, _) => Err(Rejection::KeyInUse {
                key: id,
                values: self.values_sealed_by(id),
                until: None,
            }),
            // Nothing was ever made with it.
            (Stage::Announced, _) => Ok(()),
            (Stage::Old, purpose) => {
                // A branch began with its boundary's state, and reads by its keys until it goes.
                if let Some(session) = &self.header.fence {
                    return Err(Rejection::BranchOpen {
                        session: session.clone(),
                    });
                }
                unused(self, now, key, purpose)
            }
        }
    }
}

pub(crate) fn apply(state: &mut State, context: &Context<'_>, command: &Command) -> Effect {
    let result = match command {
        Command::Announce { key } => announce(state, context, key),
        Command::Prove { key, code } => prove(state, context, *key, *code),
        Command::Use { key, checked } => use_key(state, context, *key, checked),
        Command::Reseal { key, values } => return reseal(state, context, *key, values),
        Command::Retire { key } => retire(state, context, *key),
    };
    let event = Event::new(command.kind()).detail(detail(command));
    match result {
        Ok(()) => Effect::done(Answer::Nothing, event),
        Err(rejection) => Effect::rejected(rejection, event),
    }
}

fn detail(command: &Command) -> String {
    match command {
        Command::Announce { key } => format!("key {}, to {}", key.id, key.purpose),
        Command::Prove { key, .. } | Command::Use { key, .. } | Command::Retire { key } => {
            format!("key {key}")
        }
        Command::Reseal { key, values } => format!("{} values with key {key}", values.len()),
    }
}

/// Whether an operator acts on the main line. A session at the secondary does not matter: its
/// branch has its own copy, and values of it are never sealed anew.
fn by_operator(state: &State, context: &Context<'_>) -> Result<(), Rejection> {
    match context.actor {
        Actor::Operator(_) => on_main(state),
        Actor::FrontEnd(_) | Actor::BackEnd(_) | Actor::Node(_) | Actor::Script(_) => {
            Err(Rejection::NotAllowed)
        }
    }
}

fn on_main(state: &State) -> Result<(), Rejection> {
    match state.header.line {
        LineId::Main => Ok(()),
        LineId::Branch { .. } => Err(Rejection::MainLineOnly),
    }
}

fn found(state: &State, id: u32) -> Result<&Key, Rejection> {
    state.keys.get(&id).ok_or(Rejection::NoSuchKey { key: id })
}

fn announce(state: &mut State, context: &Context<'_>, key: &KeyProof) -> Result<(), Rejection> {
    by_operator(state, context)?;
    if let Some(known) = state.keys.get(&key.id) {
        return Err(match known.stage {
            Stage::Announced if known.reference() == *key => Rejection::AlreadySo,
            Stage::Announced | Stage::InUse | Stage::Old | Stage::Retired => {
                Rejection::KeyIdUsed { key: key.id }
            }
        });
    }
    if state.keys.len() >= KEYS_MAX {
        return Err(Rejection::TooMany);
    }
    state.keys.set(announced(key, context.now));
    Ok(())
}

fn prove(state: &mut State, context: &Context<'_>, id: u32, code: Digest) -> Result<(), Rejection> {
    on_main(state)?;
    let node = match context.actor {
        Actor::Node(node) if state.key_holders().contains(node) => *node,
        Actor::Node(_)
        | Actor::FrontEnd(_)
        | Actor::BackEnd(_)
        | Actor::Operator(_)
        | Actor::Script(_) => {
            return Err(Rejection::NotAllowed);
        }
    };
    let mut key = found(state, id)?.clone();
    if key.stage != Stage::Announced || key.proofs.get(&node) == Some(&code) {
        return Err(Rejection::AlreadySo);
    }
    key.proofs.insert(node, code);
    state.keys.set(key);
    Ok(())
}

fn use_key(
    state: &mut State,
    context: &Context<'_>,
    id: u32,
    checked: &BTreeMap<NodeId, Digest>,
) -> Result<(), Rejection> {
    by_operator(state, context)?;
    let mut key = found(state, id)?.clone();
    match key.stage {
        Stage::Announced => {
            let missing: Vec<NodeId> = state
                .key_holders()
                .into_iter()
                .filter(|node| !key.proofs.contains_key(node))
                .collect();
            if !missing.is_empty() {
                return Err(Rejection::KeyNotProved {
                    key: id,
                    nodes: missing,
                });
            }
            // A node said something else since its code was looked at.
            if *checked != key.proofs {
                return Err(Rejection::ChangedSince);
            }
        }
        // Every node holds it still: without it none starts.
        Stage::Old => {}
        Stage::InUse => return Err(Rejection::AlreadySo),
        Stage::Retired => return Err(Rejection::KeyRetired { key: id }),
    }
    let from = match key.purpose {
        Purpose::Seal => context.now,
        Purpose::Digest => context.now.plus(DIGEST_LEAD_MS),
    };
    if let Some(former) = state.key_in_use(key.purpose).cloned() {
        state.keys.set(Key {
            stage: Stage::Old,
            used_until: Some(from),
            ..former
        });
    }
    key.stage = Stage::InUse;
    key.used_from = Some(from);
    key.used_until = None;
    state.keys.set(key);
    Ok(())
}

fn reseal(state: &mut State, context: &Context<'_>, key: u32, values: &[Resealed]) -> Effect {
    let asked = Event::new(Kind::ValuesResealed);
    let refused = |rejection| {
        let detail = format!("{} values with key {key}", values.len());
        Effect::rejected(rejection, Event::new(Kind::ValuesResealed).detail(detail))
    };
    if let Err(rejection) = on_main(state) {
        return refused(rejection);
    }
    if !matches!(context.actor, Actor::Node(_)) {
        return refused(Rejection::NotAllowed);
    }
    let in_use = state.key_in_use(Purpose::Seal).map(|key| key.id);
    // Another key took its place since: what it sealed would have to be sealed again.
    if in_use != Some(key) || values.iter().any(|value| value.sealed.key != key) {
        return refused(Rejection::ChangedSince);
    }
    if values.len() > RESEALED_MAX {
        return refused(Rejection::TooMany);
    }
    let mut count: u32 = 0;
    for value in values {
        if sealed::replace(state, value) {
            count = count.saturating_add(1);
        }
    }
    let detail = format!("{count} of {} values with key {key}", values.len());
    Effect::done(Answer::Resealed { count }, asked.detail(detail))
}

fn retire(state: &mut State, context: &Context<'_>, id: u32) -> Result<(), Rejection> {
    by_operator(state, context)?;
    state.may_retire_key(id, context.now)?;
    state.keys.change(&id, |key| key.stage = Stage::Retired);
    Ok(())
}

/// Whether nothing in the state was made by the old key and is still wanted.
fn unused(state: &State, now: UnixMs, key: &Key, purpose: Purpose) -> Result<(), Rejection> {
    let in_use = |values, until| {
        Err(Rejection::KeyInUse {
            key: key.id,
            values,
            until,
        })
    };
    match purpose {
        Purpose::Seal => match state.values_sealed_by(key.id) {
            0 => Ok(()),
            values => in_use(values, None),
        },
        // Failures of unknown user ids and records of requests are known by its digests until
        // they are forgotten.
        Purpose::Digest => match key.used_until.map(|at| at.plus(FORGOTTEN_AFTER_MS)) {
            Some(until) if now < until => in_use(0, Some(until)),
            Some(_) | None => Ok(()),
        },
    }
}

/// The retired key that sealed something in the command, if one did: the edge sealed it before it
/// knew, and nobody could open it.
pub(crate) fn retired_in(state: &State, command: &crate::envelope::Command) -> Option<u32> {
    let retired: Vec<u32> = state
        .keys
        .iter()
        .filter(|key| key.stage == Stage::Retired)
        .map(|key| key.id)
        .collect();
    if retired.is_empty() {
        return None;
    }
    carried_by(command)
        .into_iter()
        .map(|sealed| sealed.key)
        .find(|key| retired.contains(key))
}
