//! `KeyService`: the keys of the key files, announced, used and retired by operators.
//!
//! What a node said of itself is checked here, by a node that holds the key; the line compares
//! only that nothing else was said since.

use std::collections::BTreeMap;

use credential::checkpoint::PublicKey;
use domain::keys::{Command, Key, Purpose, Stage};
use domain::{Digest, NodeId, Rejection, State, UnixMs};
use proto::operator::v1 as operator;
use proto::operator::v1::key_service_server::KeyService;
use tonic::{Request, Response, Status};

use super::answered;
use crate::edge::Edge;
use crate::request::Ask;
use crate::status::Refusal;
use crate::wire;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Keys(pub(super) Edge);

#[tonic::async_trait]
impl KeyService for Keys {
    async fn list_keys(
        &self,
        request: Request<operator::ListKeysRequest>,
    ) -> Result<Response<operator::ListKeysResponse>, Status> {
        answered!(self.0, request, list)
    }

    async fn announce_key(
        &self,
        request: Request<operator::AnnounceKeyRequest>,
    ) -> Result<Response<operator::AnnounceKeyResponse>, Status> {
        answered!(self.0, request, announce)
    }

    async fn use_key(
        &self,
        request: Request<operator::UseKeyRequest>,
    ) -> Result<Response<operator::UseKeyResponse>, Status> {
        answered!(self.0, request, use_key)
    }

    async fn retire_key(
        &self,
        request: Request<operator::RetireKeyRequest>,
    ) -> Result<Response<operator::RetireKeyResponse>, Status> {
        answered!(self.0, request, retire)
    }
}

/// Who of the registered nodes holds an announced key, as far as this node can tell.
struct Proved {
    proved: Vec<NodeId>,
    missing: Vec<NodeId>,
    refuted: Vec<NodeId>,
}

impl Proved {
    fn of(edge: &Edge, state: &State, key: &Key) -> Self {
        let (mut proved, mut missing, mut refuted) = (Vec::new(), Vec::new(), Vec::new());
        for node in state.key_holders() {
            let code = key.proofs.get(&node);
            let fits = code.and_then(|code| fits(edge, key, node, code));
            match (key.stage, code, fits) {
                // Without it none of them started.
                (Stage::InUse | Stage::Old, _, _) => proved.push(node),
                (_, Some(_), Some(false)) => {
                    refuted.push(node);
                    missing.push(node);
                }
                (_, Some(_), Some(true) | None) => proved.push(node),
                (_, None, _) => missing.push(node),
            }
        }
        Self {
            proved,
            missing,
            refuted,
        }
    }
}

/// Whether a node's code is of this very key; none if this node does not hold it.
fn fits(edge: &Edge, key: &Key, node: NodeId, code: &Digest) -> Option<bool> {
    let cluster = edge.node().cluster();
    let keyring = edge.keyring();
    let held = keyring.proof(cluster, key.id)?;
    if held != key.reference() {
        return None;
    }
    keyring.node_proof_fits(cluster, key.id, node, code)
}

fn shown(edge: &Edge, state: &State, key: &Key) -> operator::Key {
    let of = Proved::of(edge, state, key);
    let ids = |nodes: Vec<NodeId>| nodes.into_iter().map(|node| node.0).collect();
    let cluster = edge.node().cluster();
    let purpose = match key.purpose {
        Purpose::Seal => operator::KeyPurpose::Seal,
        Purpose::Digest => operator::KeyPurpose::Digest,
    };
    let stage = match key.stage {
        Stage::Announced => operator::KeyStage::Announced,
        Stage::InUse => operator::KeyStage::InUse,
        Stage::Old => operator::KeyStage::Old,
        Stage::Retired => operator::KeyStage::Retired,
    };
    let founded = |at: &UnixMs| *at != UnixMs(0);
    operator::Key {
        key_id: key.id,
        purpose: purpose.into(),
        stage: stage.into(),
        announce_time: Some(wire::time(key.announced_at)),
        use_time: key.used_from.map(|from| {
            let since = Some(from).filter(founded);
            wire::time(since.unwrap_or(key.announced_at))
        }),
        end_time: key.used_until.map(wire::time),
        proved_node_ids: ids(of.proved),
        missing_node_ids: ids(of.missing),
        refuted_node_ids: ids(of.refuted),
        sealed_count: state.values_sealed_by(key.id),
        checkpoint_key: key
            .public
            .map(|public| PublicKey(public.0).to_string())
            .unwrap_or_default(),
        held: edge.keyring().proof(cluster, key.id) == Some(key.reference()),
    }
}

async fn list(
    edge: &Edge,
    ask: Ask<operator::ListKeysRequest>,
) -> Result<operator::ListKeysResponse, Refusal> {
    let (_, state) = edge.fresh(&ask).await?;
    let edge = edge.clone();
    // Every value is looked at: not where calls are answered.
    let counted = tokio::task::spawn_blocking(move || {
        let waiting = state
            .key_in_use(Purpose::Seal)
            .map_or(0, |key| state.to_reseal(key.id).count());
        operator::ListKeysResponse {
            keys: state.keys().map(|key| shown(&edge, &state, key)).collect(),
            node_id: edge.node().id().0,
            file_problem: edge.keys().problem().unwrap_or_default(),
            waiting_count: waiting.try_into().unwrap_or(u64::MAX),
        }
    });
    counted
        .await
        .map_err(|fault| Refusal::Internal(fault.to_string()))
}

/// The key as the state has it after the call.
fn now_shown(edge: &Edge, key: u32) -> Option<operator::Key> {
    let state = edge.node().main().state();
    state.key(key).map(|key| shown(edge, &state, key))
}

fn rejected(edge: &Edge, state: &State, rejection: Rejection) -> Refusal {
    Refusal::Rejected {
        rejection,
        clock: edge.now(state),
    }
}

async fn announce(
    edge: &Edge,
    ask: Ask<operator::AnnounceKeyRequest>,
) -> Result<operator::AnnounceKeyResponse, Refusal> {
    let id = ask.body.key_id;
    let key = ask.key(&ask.body.request_id, edge.keyring())?;
    let (line, state) = edge.fresh(&ask).await?;
    let held = edge.keyring().proof(edge.node().cluster(), id);
    let held = held.ok_or_else(|| Refusal::NotFound {
        what: format!(
            "key {id} in the key file of node {}: add it with tidemark key add, and bring the \
             file there",
            edge.node().id()
        ),
    })?;
    if ask.body.dry_run {
        return match state.key(id) {
            None => Ok(operator::AnnounceKeyResponse { key: None }),
            Some(_) => Err(rejected(edge, &state, Rejection::KeyIdUsed { key: id })),
        };
    }
    let command = domain::Command::Keys(Command::Announce { key: held });
    edge.propose(&ask, &line, Some(key), command).await?;
    Ok(operator::AnnounceKeyResponse {
        key: now_shown(edge, id),
    })
}

async fn use_key(
    edge: &Edge,
    ask: Ask<operator::UseKeyRequest>,
) -> Result<operator::UseKeyResponse, Refusal> {
    let id = ask.body.key_id;
    let request = ask.key(&ask.body.request_id, edge.keyring())?;
    let (line, state) = edge.fresh(&ask).await?;
    let checked = match state.key(id) {
        Some(key) if key.stage == Stage::Announced => checked(edge, &state, key)?,
        // What else is wrong, or that it is a repeat, the line says.
        Some(_) | None => BTreeMap::new(),
    };
    if ask.body.dry_run {
        return match state.key(id) {
            Some(key) => Ok(operator::UseKeyResponse {
                key: Some(shown(edge, &state, key)),
            }),
            None => Err(rejected(edge, &state, Rejection::NoSuchKey { key: id })),
        };
    }
    let command = domain::Command::Keys(Command::Use { key: id, checked });
    edge.propose(&ask, &line, Some(request), command).await?;
    Ok(operator::UseKeyResponse {
        key: now_shown(edge, id),
    })
}

/// The nodes' codes, each of which is of this key.
fn checked(edge: &Edge, state: &State, key: &Key) -> Result<BTreeMap<NodeId, Digest>, Refusal> {
    let here = edge.node().id();
    let of = Proved::of(edge, state, key);
    let held = edge.keyring().proof(edge.node().cluster(), key.id) == Some(key.reference());
    let mut nodes = of.missing;
    // A node that lacks the key cannot tell whether the others hold it.
    if !held && !nodes.contains(&here) {
        nodes.push(here);
    }
    if !nodes.is_empty() {
        let rejection = Rejection::KeyNotProved { key: key.id, nodes };
        return Err(rejected(edge, state, rejection));
    }
    Ok(key.proofs.clone())
}

async fn retire(
    edge: &Edge,
    ask: Ask<operator::RetireKeyRequest>,
) -> Result<operator::RetireKeyResponse, Refusal> {
    let id = ask.body.key_id;
    let request = ask.key(&ask.body.request_id, edge.keyring())?;
    let (line, state) = edge.fresh(&ask).await?;
    if ask.body.dry_run {
        let may = state.may_retire_key(id, edge.now(&state));
        may.map_err(|rejection| rejected(edge, &state, rejection))?;
        return Ok(operator::RetireKeyResponse {
            key: now_shown(edge, id),
        });
    }
    let command = domain::Command::Keys(Command::Retire { key: id });
    edge.propose(&ask, &line, Some(request), command).await?;
    Ok(operator::RetireKeyResponse {
        key: now_shown(edge, id),
    })
}
