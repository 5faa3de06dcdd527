//! Backups of the main line, and how a cluster begins with one.
//!
//! What a backup is of stands in its file, and in the founding record of every cluster that begins
//! with it. Such a cluster is another one: it has another uuid, other nodes and other certificates,
//! and its line begins at entry 0. Its first state is the backup's without what belonged to the old
//! cluster, and its first entry is the founding, which ends here what every change of lines ends
//! (LINES.md). Deliberately absent: files, and the key that seals them.

use serde::{Deserialize, Serialize};

use crate::apply::{Context, Effect};
use crate::audit::{self, Event, Kind};
use crate::cluster::{Founding, KeyProof};
use crate::digest::Digest;
use crate::id::{ClusterId, NodeId, OperatorId};
use crate::keys::Stage;
use crate::line::{self, LineId, LogId};
use crate::outcome::{Answer, Rejection};
use crate::protection::Protection;
use crate::registration::{self, reason_fits};
use crate::request::Requests;
use crate::session::{self, Phase};
use crate::state::{Digests, State};
use crate::table::{Expiring, Table};
use crate::time::UnixMs;

/// A backup's name: 16 bytes that were drawn for it, written as a uuid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BackupId(#[serde(with = "serde_bytes")] pub [u8; 16]);

impl std::fmt::Display for BackupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&ClusterId(self.0), f)
    }
}

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Its name, as the audit has it.
    pub id: BackupId,
    /// The cluster.
    pub cluster: ClusterId,
    /// The cluster's name, for people.
    pub title: String,
    /// The epoch of its main line.
    pub epoch: u64,
    /// The last entry that it includes.
    pub log: LogId,
    /// The line's clock after that entry.
    pub clock: UnixMs,
    /// The state's digests after it.
    pub digests: Digests,
    /// The end of the audit chain after it.
    pub audit: audit::Head,
    /// How many accounts are in it.
    pub accounts: u64,
    /// When it was taken, by the clock of the node.
    pub taken_at: UnixMs,
    /// The node that it was taken at.
    pub node: NodeId,
    /// Who took it.
    pub by: OperatorId,
    /// The keys of the key file that it takes to use it; the first one seals the file.
    pub keys: Vec<u32>,
}

impl Backup {
    /// What a backup of this main line is of; none before the cluster is founded. `seal` is the
    /// key that seals its file.
    #[must_use]
    pub fn of(state: &State, taken: Taken, seal: u32) -> Option<Self> {
        let founding = state.founding()?;
        let needed = state.keys().filter(|key| key.needed()).map(|key| key.id);
        let mut keys = vec![seal];
        keys.extend(needed.filter(|id| *id != seal));
        Some(Self {
            id: taken.id,
            cluster: founding.cluster,
            title: founding.title.clone(),
            epoch: state.header().epoch,
            log: state.header().applied,
            clock: state.header().clock,
            digests: state.digests(),
            audit: state.header().audit,
            accounts: u64::try_from(state.accounts_count()).unwrap_or(u64::MAX),
            taken_at: taken.at,
            node: taken.node,
            by: taken.by,
            keys,
        })
    }
}

/// When, where and by whom a backup is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its name.
    pub id: BackupId,
    /// When.
    pub at: UnixMs,
    /// The node.
    pub node: NodeId,
    /// Who.
    pub by: OperatorId,
}

/// That a cluster begins with a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Which.
    pub backup: Backup,
    /// The full digest of the state that the main line begins with.
    pub base: Digest,
    /// When the founding record was made.
    pub at: UnixMs,
    /// Who restored.
    pub by: OperatorId,
    /// Why.
    pub reason: String,
}

/// The state that a restored main line begins with: the backup's without its founding, its centres
/// and the certificate of its epoch, so that nothing can be asked of it before the new founding.
#[must_use]
pub fn base(backup: &State) -> State {
    let mut base = backup.clone();
    base.founding = None;
    base.centres = None;
    base.certificate = None;
    base
}

/// An operator takes a backup: the entry is the record of it, and the file includes it.
pub(crate) fn note(state: &State, context: &Context<'_>, id: BackupId, reason: &str) -> Effect {
    let event = Event::new(Kind::BackupTaken).detail(format!("{id}: {reason}"));
    let allowed = session::operator(context).and_then(|_| {
        // A branch is gone tomorrow; what is asked for is the main line's.
        if state.header.line == LineId::Main {
            reason_fits(reason)
        } else {
            Err(Rejection::MainLineOnly)
        }
    });
    match allowed {
        Ok(()) => Effect::done(Answer::Nothing, event),
        Err(rejection) => Effect::rejected(rejection, event),
    }
}

/// Checks that this is the state that the founding record names, and that its keys are there.
pub(crate) fn check(
    state: &State,
    context: &Context<'_>,
    founding: &Founding,
) -> Result<(), Rejection> {
    let Some(restored) = &founding.restored else {
        // A state with a past is not founded as a new one.
        let is_new = state.accounts_count() == 0 && state.keys().next().is_none();
        return is_new.then_some(()).ok_or(Rejection::EvidenceDiffers);
    };
    if context.genesis != Some(restored.base) {
        return Err(Rejection::EvidenceDiffers);
    }
    let mut needed = state.keys().filter(|key| key.needed());
    match needed.find(|key| proof(founding, key.id).is_none()) {
        Some(key) => Err(Rejection::BadValues(vec![format!(
            "key {} of the backup is not among the founding record's",
            key.id
        )])),
        None => Ok(()),
    }
}

fn proof(founding: &Founding, id: u32) -> Option<&KeyProof> {
    founding.keys.iter().find(|proof| proof.id == id)
}

/// Makes the backup's state the new cluster's own, with its first entry. What counts once ends, and
/// so does what names the old cluster: who could call, what operators had signed, which keys its
/// nodes had proved, and a session at its secondary.
pub(crate) fn begin(
    state: &mut State,
    context: &Context<'_>,
    founding: &Founding,
    restored: &Restored,
) -> Effect {
    let backup = &restored.backup;
    let detail = format!(
        "from backup {} of cluster {} ({}), epoch {}, entry {}, audit {} records, head {}, digests \
         account {}, full {}: {}",
        backup.id,
        backup.cluster,
        backup.title,
        backup.epoch,
        backup.log,
        backup.audit.sequence,
        backup.audit.hash,
        backup.digests.account,
        backup.digests.full,
        restored.reason,
    );
    let event = Event::new(Kind::Restored)
        .by(format!("operator/{}", restored.by))
        .detail(detail);
    let mut effect = Effect::done(Answer::Nothing, event);
    effect.events.extend(end_sessions(state, context));
    line::end_short_lived(state, context.now);
    state.header.line = LineId::Main;
    state.header.line_since = context.now;
    state.header.epoch = 1;
    state.header.ended = false;
    state.header.protection = Protection::default();
    state.requests = Requests::default();
    state.pending = Expiring::default();
    state.proposals = Expiring::default();
    state.approvals = Table::default();
    state.grants = Expiring::default();
    state.registrations = Table::default();
    registration::found(state, founding, context.now);
    prove_anew(state, founding);
    // Entries count from 0 again: a notice that waits must not stand where a new one will.
    state.outbox.rename(context.at);
    effect
}

/// Ends the session that was open in the backup, unless it is the primary's and its time has not
/// passed: that one goes on.
fn end_sessions(state: &mut State, context: &Context<'_>) -> Vec<Event> {
    let open: Vec<_> = state
        .plans()
        .filter(|plan| match plan.phase {
            Phase::Opening | Phase::Open => true,
            Phase::Closed => plan.boundary.is_some(),
            Phase::RolledOver | Phase::Abandoned => false,
        })
        .cloned()
        .collect();
    let mut events = Vec::new();
    for plan in open {
        let id = plan.session.id.clone();
        if plan.boundary.is_some() {
            let why = "open in the backup that this cluster began with; its branch is in none";
            session::give_up(state, context, plan, why);
            events.push(Event::new(Kind::SessionAbandoned).detail(format!("{id}: {why}")));
        } else if !plan.session.holds(context.now) {
            state.plans.change(&id, |plan| {
                plan.phase = Phase::Closed;
                plan.closed_at = Some(context.now);
            });
            state.header.current = None;
            let why = "open in the backup that this cluster began with";
            events.push(Event::new(Kind::SessionClosed).detail(format!("{id}: {why}")));
        }
    }
    events
}

/// The keys are the same, and what proves that a node holds them names the new cluster.
fn prove_anew(state: &mut State, founding: &Founding) {
    let known: Vec<u32> = state.keys().map(|key| key.id).collect();
    for id in known {
        let proof = proof(founding, id).copied();
        state.keys.change(&id, |key| {
            key.proofs.clear();
            match (key.stage, proof) {
                (Stage::Announced | Stage::InUse | Stage::Old, Some(proof)) => {
                    key.code = proof.code;
                }
                (Stage::Announced | Stage::InUse | Stage::Old, None) | (Stage::Retired, _) => {}
            }
        });
    }
}
