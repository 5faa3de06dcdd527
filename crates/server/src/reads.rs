//! What was read at this node, by whom: a trail of its own, chained and signed as the lines' are.
//!
//! A read is answered by one node from what it has, and changes nothing; as an entry of the log it
//! would cost a round of the whole cluster and could not be made while there is no leader. So each
//! node keeps its own (docs/decisions/009). What cannot be noted is not answered. Deliberately
//! absent: checks of tokens, which say nothing of a person that the person did not show.

use std::sync::{Arc, Mutex, PoisonError};

use consensus::audit::{self, Trail};
use consensus::place;
use credential::checkpoint;
use domain::audit::{Head, Kind, Row, Verdict};
use domain::id::{AccountId, ParticipantId};
use domain::{LogId, NodeId, State, UnixMs};

use crate::edge::Edge;
use crate::identity::Caller;
use crate::request::Ask;
use crate::status::Refusal;

/// The reads of one node. Clones are the same.
#[derive(Debug, Clone)]
pub struct Reads(Arc<Held>);

#[derive(Debug)]
struct Held {
    trail: Trail,
    named: checkpoint::Trail,
    /// The last record's time: a clock that goes back does not take the trail with it.
    last: Mutex<UnixMs>,
}

/// What was read in one call.
#[derive(Debug)]
pub struct Read {
    filter: String,
    count: usize,
    account: Option<AccountId>,
}

impl Read {
    /// This many records or accounts, of those that the filter names.
    #[must_use]
    pub fn of(filter: String, count: usize) -> Self {
        Self {
            filter,
            count,
            account: None,
        }
    }

    /// The same, if it was one account that was asked for.
    #[must_use]
    pub fn about(mut self, account: Option<AccountId>) -> Self {
        self.account = account;
        self
    }
}

/// Who reads what.
#[derive(Debug, Clone)]
struct Reader {
    actor: String,
    by: String,
    participant: Option<ParticipantId>,
    rpc: String,
}

impl Reader {
    fn of<B>(ask: &Ask<B>, state: &State) -> Self {
        let actor = ask.caller.actor().to_string();
        let token = match &ask.caller {
            Caller::FrontEnd(..) => ask.token,
            Caller::BackEnd(_) | Caller::Operator(_) | Caller::Node(_) | Caller::Script(_) => None,
        };
        let person = token.and_then(|id| state.tokens().get(&id, state.header().clock));
        let path = ask.rpc.path.as_str();
        Self {
            by: person.map_or_else(|| actor.clone(), |token| token.account.to_string()),
            participant: person.map(|token| token.participant.clone()),
            rpc: path.rsplit('/').next().unwrap_or(path).to_owned(),
            actor,
        }
    }

    fn row(&self, kind: Kind, about: (Option<AccountId>, String)) -> Row {
        let (account, detail) = about;
        Row {
            sequence: 0,
            previous: domain::Digest::ZERO,
            log: LogId::default(),
            at: UnixMs(0),
            session: None,
            kind,
            verdict: Verdict::Done,
            actor: self.actor.clone(),
            by: self.by.clone(),
            account,
            participant: self.participant.clone(),
            class: None,
            portal: None,
            method: None,
            repeat: None,
            detail: Some(format!("{} {}", self.rpc, detail.trim())),
            approval: None,
            approved: None,
        }
    }
}

/// A watch that has begun; its end is noted when it is dropped.
#[derive(Debug)]
pub struct Watch {
    edge: Edge,
    reader: Reader,
    count: usize,
}

impl Watch {
    /// Some more was told.
    pub fn count(&mut self, told: usize) {
        self.count = self.count.saturating_add(told);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let detail = format!("told {}", self.count);
        let row = self.reader.row(Kind::WatchEnded, (None, detail));
        if let Err(error) = self.edge.parts().reads.append(row, self.edge.node().time()) {
            tracing::error!(%error, "the end of a watch was not noted");
        }
    }
}

impl Reads {
    /// Opens the trail in the node's data folder, and checks all of it. Blocks.
    ///
    /// # Errors
    /// `Damaged`, naming file and row.
    pub fn open(node: &consensus::Node) -> Result<Self, audit::Error> {
        let folder = place::reads(node.data());
        let trail = Trail::open_in(folder, format!("{}.{}", place::READS, node.id()))?;
        let head = trail.head();
        let last = trail.rows(head.sequence.saturating_sub(1)..head.sequence, 1)?;
        Ok(Self(Arc::new(Held {
            trail,
            named: checkpoint::Trail::Reads {
                cluster: node.cluster(),
                node: NodeId(node.id().0),
            },
            last: Mutex::new(last.first().map_or(UnixMs(0), |row| row.at)),
        })))
    }

    /// How checkpoints name it.
    #[must_use]
    pub fn trail(&self) -> checkpoint::Trail {
        self.0.named.clone()
    }

    /// The end of the chain.
    #[must_use]
    pub fn head(&self) -> Head {
        self.0.trail.head()
    }

    /// Makes what was noted durable. Blocks.
    ///
    /// # Errors
    /// The file system's.
    pub fn sync(&self) -> Result<(), audit::Error> {
        self.0.trail.sync()
    }

    /// At most this many records from a sequence number on.
    ///
    /// # Errors
    /// `LOG_DAMAGED`.
    pub async fn page(&self, from: u64, rows_max: u32) -> Result<Vec<Row>, Refusal> {
        let trail = self.0.trail.clone();
        let rows_max = usize::try_from(rows_max).unwrap_or(usize::MAX);
        tokio::task::spawn_blocking(move || trail.rows(from..u64::MAX, rows_max))
            .await
            .map_err(|error| Refusal::Internal(error.to_string()))?
            .map_err(|error| Refusal::DataLoss {
                reason: "LOG_DAMAGED",
                what: error.to_string(),
            })
    }

    /// The record is with the operating system when this returns, and durable within a second.
    fn append(&self, mut row: Row, now: UnixMs) -> Result<(), audit::Error> {
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let head = self.0.trail.head();
        row.sequence = head.sequence;
        row.previous = head.hash;
        row.at = now.max(*last);
        self.0.trail.append(std::slice::from_ref(&row))?;
        *last = row.at;
        Ok(())
    }
}

impl Edge {
    /// Notes what a call read, before it is answered.
    ///
    /// # Errors
    /// `Internal` when it cannot be noted: then it is not answered.
    pub fn note_read<B>(&self, ask: &Ask<B>, state: &State, read: Read) -> Result<(), Refusal> {
        let detail = format!("{}: {}", read.filter.trim(), read.count);
        let reader = Reader::of(ask, state);
        self.note(reader.row(Kind::Read, (read.account, detail)))
    }

    /// Notes that a watch begins, before anything of it is told.
    ///
    /// # Errors
    /// As `note_read`.
    pub fn note_watch<B>(
        &self,
        ask: &Ask<B>,
        state: &State,
        filter: String,
    ) -> Result<Watch, Refusal> {
        let reader = Reader::of(ask, state);
        self.note(reader.row(Kind::WatchBegun, (None, filter)))?;
        Ok(Watch {
            edge: self.clone(),
            reader,
            count: 0,
        })
    }

    fn note(&self, row: Row) -> Result<(), Refusal> {
        let noted = self.parts().reads.append(row, self.node().time());
        noted.map_err(|error| Refusal::Internal(format!("a read was not noted: {error}")))
    }
}
