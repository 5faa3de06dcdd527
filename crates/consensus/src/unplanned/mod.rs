//! Opening a session of the secondary while the primary cannot be asked (LINES.md, "Opening,
//! unplanned"; R41): what a node promises, accepts and is told.
//!
//! The centre's nodes agree on one order among themselves, by ballots: an order counts once a
//! majority has accepted it in one ballot, with its genesis durable, and whoever repeats the
//! opening goes on with the order that was accepted before. So a crash at any step leaves either no
//! order or the same one. The main line is only read: it goes on from where it is, and what reaches
//! it later is no part of the branch. Where the primary opened the session after all, the main line
//! decides which of the two stands: it confirms the one, or takes over the other. Deliberately
//! absent: what the branch does once it is open (`follow`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::session::unplanned::{Order, USED_MAX, Used};
use domain::{Actor, LineId, LogId, NodeId, SessionId, UnixMs};
use serde::{Deserialize, Serialize};

use crate::node::{Error, Fork, Node, blocking};
use crate::promotion::{self, Tail};
use crate::{files, genesis, identity, place, raft};

mod adopt;
mod open;

pub(crate) use adopt::{adopt, learn};

const CONTEXT: &[u8] = b"unplanned";
const EXTENSION: &str = "unplanned";
/// A centre answers if a majority of its nodes was heard so lately. They are asked every second.
pub const HEARD_MAX: Duration = Duration::from_secs(5);

/// What an operator wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The session that is to be opened.
    pub session: SessionId,
    /// Who orders it.
    pub by: Actor,
    /// Why.
    pub reason: String,
    /// When.
    pub at: UnixMs,
}

/// One attempt at agreeing on an order; a later one is greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Ballot {
    round: u64,
    node: u64,
}

/// What a node holds of a session's opening, durably.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// It takes no ballot before this one.
    promised: Ballot,
    /// What it accepted last.
    accepted: Option<(Ballot, Order)>,
    /// Whether a majority accepted that.
    decided: bool,
}

/// What a node says to a ballot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Promise {
    /// It has accepted nothing, and would open the session like this.
    Free(Box<Order>),
    /// It has accepted nothing, and cannot open it from its last entry.
    Unable(LogId, String),
    /// It has accepted nothing, and hears the primary.
    PrimaryHeard(String),
    /// It has accepted this.
    Accepted(Ballot, Box<Order>),
    /// This was decided.
    Decided(Box<Order>),
}

/// The orders that this node holds.
#[derive(Debug, Default)]
pub(crate) struct Unplanned {
    records: Mutex<BTreeMap<SessionId, Record>>,
    /// The main line's tail, as it was read last.
    tail: Mutex<Option<Fork>>,
    change: tokio::sync::Mutex<()>,
}

fn path(data: &Path, session: &SessionId) -> PathBuf {
    genesis::path(data, session).with_extension(EXTENSION)
}

/// What is on the disk. Blocks.
///
/// # Errors
/// `Damaged`: such a node must not start, since it may have promised anything.
pub(crate) fn read(data: &Path) -> Result<Unplanned, Error> {
    let mut records = BTreeMap::new();
    let files = files::read_dir(data.join("genesis")).into_iter().flatten();
    for file in files.flatten().map(|file| file.path()) {
        let session = file
            .file_stem()
            .filter(|_| file.extension().is_some_and(|kind| kind == EXTENSION))
            .and_then(|name| SessionId::parse(name.to_str()?).ok());
        let Some(session) = session else { continue };
        if let Some(record) = identity::read_record(&file, CONTEXT)? {
            records.insert(session, record);
        }
    }
    Ok(Unplanned {
        records: Mutex::new(records),
        ..Unplanned::default()
    })
}

fn refused(why: impl Into<String>) -> Error {
    Error::Branch(why.into())
}

impl Node {
    fn unplanned_records(&self) -> MutexGuard<'_, BTreeMap<SessionId, Record>> {
        let records = &self.inner.unplanned.records;
        records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The order by which the session is open at this centre without the primary, if it is.
    #[must_use]
    pub fn order(&self, session: &SessionId) -> Option<Order> {
        let records = self.unplanned_records();
        let record = records.get(session).filter(|record| record.decided)?;
        record.accepted.as_ref().map(|(_, order)| order.clone())
    }

    /// All orders by which a session is open here without the primary.
    #[must_use]
    pub fn orders(&self) -> Vec<Order> {
        let records = self.unplanned_records();
        let decided = records.values().filter(|record| record.decided);
        decided
            .filter_map(|record| record.accepted.as_ref())
            .map(|(_, order)| order.clone())
            .collect()
    }

    /// The nodes of the primary that were heard in the last seconds, and whether they are a
    /// majority of it.
    #[must_use]
    pub fn primary_heard(&self) -> (Vec<NodeId>, bool) {
        let primary = self.centres().primary;
        let heard: Vec<NodeId> = primary
            .nodes
            .iter()
            .map(|node| node.id)
            .filter(|node| {
                let heard = self.heard().from(*node);
                heard.is_some_and(|(ago, _)| ago <= HEARD_MAX)
            })
            .collect();
        let answers = heard.len() > primary.nodes.len() / 2;
        (heard, answers)
    }

    async fn keep_record(&self, session: &SessionId, record: Record) -> Result<(), Error> {
        let (path, written) = (path(self.data(), session), record.clone());
        blocking(move || Ok(identity::write_record(&path, CONTEXT, &written)?)).await?;
        self.unplanned_records().insert(session.clone(), record);
        Ok(())
    }

    /// Forgets what was promised and ordered of a session whose branch is gone.
    pub(crate) async fn forget_order(&self, session: &SessionId) -> Result<(), Error> {
        let _one_at_a_time = self.inner.unplanned.change.lock().await;
        let path = path(self.data(), session);
        blocking(move || Ok(place::remove_file(&path)?)).await?;
        self.unplanned_records().remove(session);
        Ok(())
    }

    /// Whether anything at this node is against opening the session without the primary.
    fn may_take_part(&self, session: &SessionId) -> Result<(), Error> {
        let (main, id) = (self.main(), self.id());
        if self.standing().stops(main.reference().epoch) {
            return Err(refused(format!("node {id} is sealed for a promotion")));
        }
        main.running()?;
        if self.has_refused(session) {
            return Err(refused(format!(
                "node {id} refused to start the branch of {session}"
            )));
        }
        if main.state().plan(session).is_some() {
            return Err(refused(format!(
                "node {id}: the main line has opened {session}"
            )));
        }
        if let Some(branch) = self.branch() {
            let line = branch.reference().line;
            return Err(refused(format!("node {id}: {line} runs here")));
        }
        Ok(())
    }

    /// Promises durably to take no earlier ballot, and says what was accepted here; where nothing
    /// was, the order as it would be from this node.
    ///
    /// # Errors
    /// `Branch` when this node takes no part in it, and why; else the disk's.
    pub(crate) async fn promise_unplanned(
        &self,
        wanted: &Wanted,
        ballot: Ballot,
    ) -> Result<Promise, Error> {
        let _one_at_a_time = self.inner.unplanned.change.lock().await;
        let session = &wanted.session;
        if let Some(order) = self.order(session) {
            return Ok(Promise::Decided(Box::new(order)));
        }
        self.may_take_part(session)?;
        let known = self.unplanned_records().get(session).cloned();
        let mut record = known.unwrap_or_default();
        if ballot < record.promised {
            return Err(refused(format!(
                "node {} has promised another opening of {session}: try again",
                self.id()
            )));
        }
        record.promised = ballot;
        if let Some((of, order)) = record.accepted.clone() {
            self.keep_record(session, record).await?;
            return Ok(Promise::Accepted(of, Box::new(order)));
        }
        let (heard, answers) = self.primary_heard();
        if answers {
            let heard: Vec<String> = heard.iter().map(ToString::to_string).collect();
            self.keep_record(session, record).await?;
            return Ok(Promise::PrimaryHeard(format!(
                "node {} hears node {} of the primary",
                self.id(),
                heard.join(", "),
            )));
        }
        let tail = self.running_tail().await?;
        let order = self.candidate(&tail, wanted);
        self.keep_record(session, record).await?;
        let order = match order {
            Ok(order) => order,
            Err(error) => return Ok(Promise::Unable(tail.last, error.to_string())),
        };
        let kept = &self.inner.unplanned.tail;
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Fork {
            at: tail.last,
            state: tail.state,
            digest: tail.digest,
        });
        Ok(Promise::Free(Box::new(order)))
    }

    /// The main line's tail, read while it may go on. Entries can be overwritten by a leader of a
    /// later term alone, so a tail is one history if the term is the same after it was read, and
    /// its last entry is still there.
    async fn running_tail(&self) -> Result<Tail, Error> {
        let main = self.main();
        let epoch = main.reference().epoch;
        let shared = Arc::clone(&main.inner.shared);
        let term = main.term();
        shared.log().barrier().await?;
        let (tail, still) = blocking(move || {
            let tail = promotion::replay(&shared, epoch)?;
            let (at, still) = (tail.last, tail.last == tail.applied);
            let last = shared.log().entries(at.index, at.index)?;
            let still = still || last.iter().any(|entry| raft::log_id(&entry.log_id) == at);
            Ok((tail, still))
        })
        .await?;
        if !still || main.term() != term {
            return Err(refused(format!(
                "node {}: the main line moved while it was read: try again",
                self.id()
            )));
        }
        Ok(tail)
    }

    fn candidate(&self, tail: &Tail, wanted: &Wanted) -> Result<Order, Error> {
        let header = tail.state.header();
        let now = wanted.at.max(header.clock);
        let (session, approved_by) = tail
            .state
            .may_open_unplanned(now, &wanted.by, &wanted.session)
            .map_err(|rejection| refused(format!("node {}: {rejection:?}", self.id())))?;
        let centres = tail.state.centres();
        let here = centres.and_then(|centres| centres.of_node(self.id()));
        if here.is_none_or(|here| here.name != session.centre) {
            return Err(refused(format!(
                "node {} is not of {}",
                self.id(),
                session.centre
            )));
        }
        Ok(Order {
            session,
            boundary: tail.last,
            epoch: header.epoch,
            genesis: tail.digest,
            clock: header.clock,
            committed: tail.applied,
            used: tail.rows.iter().take(USED_MAX).map(Used::from).collect(),
            used_count: tail.rows.len() as u64,
            degraded_since: header.protection.degraded_since,
            approved_by,
            by: wanted.by.clone(),
            reason: wanted.reason.clone(),
            at: now,
        })
    }

    /// Makes the genesis and the order durable here; a genesis that is not here is fetched.
    ///
    /// # Errors
    /// `Branch` when a later ballot was promised or this node takes no part; else the disk's.
    pub(crate) async fn accept_unplanned(
        &self,
        order: Order,
        ballot: Ballot,
        source: NodeId,
    ) -> Result<(), Error> {
        let _one_at_a_time = self.inner.unplanned.change.lock().await;
        let session = order.session.id.clone();
        if let Some(decided) = self.order(&session) {
            return match decided == order {
                true => Ok(()),
                false => Err(refused(format!("{session} is open already"))),
            };
        }
        self.may_take_part(&session)?;
        let known = self.unplanned_records().get(&session).cloned();
        let promised = known.unwrap_or_default().promised;
        if ballot < promised {
            return Err(refused(format!(
                "node {} has promised another opening of {session}: try again",
                self.id()
            )));
        }
        let kept = {
            let tail = &self.inner.unplanned.tail;
            let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.clone()
        };
        let kept = kept.filter(|tail| tail.at == order.boundary && tail.digest == order.genesis);
        match kept {
            Some(Fork { at, state, .. }) => {
                self.fork(&session, at, &state).await?;
            }
            None if self.has_genesis(&order).await? => {}
            None => {
                self.fetch_genesis(&session, order.boundary, order.genesis, source)
                    .await?;
            }
        }
        let record = Record {
            promised: ballot,
            accepted: Some((ballot, order)),
            decided: false,
        };
        self.keep_record(&session, record).await
    }

    async fn has_genesis(&self, order: &Order) -> Result<bool, Error> {
        let path = genesis::path(self.data(), &order.session.id);
        let (boundary, digest) = (order.boundary, order.genesis);
        let is_here =
            blocking(move || Ok(genesis::verify(&path, boundary, &digest).is_ok())).await?;
        if is_here {
            self.note_genesis(&order.session.id, Some(digest));
        }
        Ok(is_here)
    }

    /// A majority has accepted the order: from now on this node follows it.
    ///
    /// # Errors
    /// `Branch` when the main line opened the session first; else the disk's.
    pub(crate) async fn decide_unplanned(&self, order: Order) -> Result<(), Error> {
        let _one_at_a_time = self.inner.unplanned.change.lock().await;
        let session = order.session.id.clone();
        if self.order(&session).as_ref() == Some(&order) {
            return Ok(());
        }
        let known = self.unplanned_records().get(&session).cloned();
        let mut record = known.unwrap_or_default();
        let ballot = record.accepted.map_or(record.promised, |(of, _)| of);
        record.accepted = Some((ballot, order.clone()));
        record.decided = true;
        self.keep_record(&session, record.clone()).await?;
        // Looked at after the order is known here, as a boundary that passes looks at the order
        // after it has passed: one of the two sees the other.
        let state = self.main().state();
        let plan = state.plan(&session);
        let is_taken_over = plan.is_none_or(|plan| {
            let unplanned = plan.unplanned.as_ref();
            unplanned.is_some_and(|unplanned| unplanned.order == order)
        });
        if !is_taken_over {
            record.decided = false;
            self.keep_record(&session, record).await?;
            return Err(refused(format!(
                "node {}: the main line has opened {session}",
                self.id()
            )));
        }
        *self
            .inner
            .unplanned
            .tail
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        tracing::warn!(%session, boundary = %order.boundary, "open without the primary");
        Ok(())
    }

    /// Whether the line is the branch of a session that is open here without the primary, and that
    /// the main line has not ended.
    #[must_use]
    pub fn runs_unplanned(&self, line: &LineId) -> bool {
        let LineId::Branch { session, genesis } = line else {
            return false;
        };
        let order = self.order(session);
        let main = self.main();
        // A promotion drops it.
        let is_own = order.is_some_and(|order| {
            order.genesis == *genesis && order.epoch == main.reference().epoch
        });
        let state = main.state();
        is_own
            && state
                .plan(session)
                .is_none_or(|plan| plan.gives_way() || plan.is_unplanned_and_stands())
    }
}
