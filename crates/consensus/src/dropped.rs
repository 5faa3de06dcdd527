//! What an old primary has beyond the boundary of the main line that followed it: read from its
//! fenced nodes, and kept apart as a trail of audit records before they are wiped (LINES.md,
//! "Reinstate").
//!
//! Where the two histories part is found by the audit chain, not by log ids: an entry that was
//! overwritten may have a smaller id than the boundary. Deliberately absent: who asks, and what
//! operators are shown (the server).

use std::collections::BTreeMap;
use std::time::Duration;

use domain::audit::{Head, Row};
use domain::centre::nodes::Tail;
use domain::{Digest, LineRef, LogId, NodeId, encoding};
use futures::future::join_all;
use proto::peer::v1 as peer;
use tonic::Status;

use crate::audit::Trail;
use crate::node::{Error, Node, blocking};
use crate::promotion::{ANSWER_MAX, answered};
use crate::{place, wire};

/// Records that are read or fetched at once.
const PAGE: u32 = 4096;
/// Most records of a tail that are kept: more than an old primary answers in a day cut off.
const RECORDS_MAX: u64 = 10_000_000;
/// How long a node may take to copy a tail. Asked again, it goes on where it was.
const KEEP_MAX: Duration = Duration::from_secs(60);

/// What a fenced node says of its old main line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Said {
    epoch: u64,
    applied: LogId,
    last: LogId,
    head: Head,
    uncommitted_from: u64,
}

/// What was found of an old main line at its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What is to be dropped: of the node with the greatest last log id.
    pub tail: Tail,
    /// Records from this one on are of entries not known to have been committed.
    pub uncommitted_from: u64,
    /// Why a node could not be asked.
    pub problems: BTreeMap<NodeId, String>,
}

fn failed(why: impl Into<String>) -> Error {
    Error::Promotion(why.into())
}

impl Node {
    /// What this node has of a main line that has stopped here for good. All of it is in the audit
    /// trail when this returns, so that others can fetch it.
    pub(crate) async fn own_tail(&self) -> Result<peer::GetTailResponse, Error> {
        let standing = self.standing();
        let main = self.main();
        let epoch = main.reference().epoch;
        let accepted = standing.accepted.map_or(0, |one| one.terms.epoch);
        if accepted <= epoch {
            return Err(failed(format!(
                "node {} was shown no certificate: its main line may go on",
                self.id()
            )));
        }
        let tail = self.stopped_tail(&main).await?;
        Ok(peer::GetTailResponse {
            epoch,
            applied: Some(wire::log_id(tail.applied)),
            last: Some(wire::log_id(tail.last)),
            head: Some(peer::AuditHead {
                sequence: tail.head.sequence,
                hash: tail.head.hash.0.to_vec().into(),
            }),
            uncommitted_from: tail.uncommitted_from,
        })
    }

    /// What the old primary's nodes have that this node's main line does not.
    ///
    /// # Errors
    /// `Promotion` when none of them can be asked, or this node cannot tell where they part.
    pub async fn find_tail(&self, nodes: Vec<NodeId>) -> Result<Found, Error> {
        let mut said = BTreeMap::new();
        let mut problems = BTreeMap::new();
        let asked = nodes.into_iter();
        let asked = asked.map(|node| async move { (node, self.ask_tail(node).await) });
        for (node, answer) in join_all(asked).await {
            match answer {
                Ok(one) => drop(said.insert(node, one)),
                Err(error) => drop(problems.insert(node, error.to_string())),
            }
        }
        let best = said.iter().max_by_key(|(_, one)| (one.epoch, one.last));
        let Some((node, best)) = best.map(|(node, best)| (*node, *best)) else {
            let told: Vec<String> = problems.into_values().collect();
            let told = told.join("; ");
            return Err(failed(format!(
                "no node of the old primary can be asked: {told}"
            )));
        };
        let from = self.parts_at(node, &best).await?;
        let tail = Tail {
            epoch: best.epoch,
            node,
            read: said.into_keys().collect(),
            applied: best.applied,
            last: best.last,
            from,
            head: best.head,
        };
        if tail.records() > RECORDS_MAX {
            return Err(failed(format!(
                "node {node} has {} records",
                tail.records()
            )));
        }
        Ok(Found {
            tail,
            uncommitted_from: best.uncommitted_from,
            problems,
        })
    }

    async fn ask_tail(&self, node: NodeId) -> Result<Said, Error> {
        let mut client = self.promising(node)?;
        let request = peer::GetTailRequest {
            cluster: self.cluster().0.to_vec().into(),
        };
        let answer = answered(node, ANSWER_MAX, client.get_tail(request)).await?;
        read(answer).map_err(|status| failed(format!("node {node}: {}", status.message())))
    }

    /// The sequence number of the first record of the old line that this one does not have.
    async fn parts_at(&self, node: NodeId, said: &Said) -> Result<u64, Error> {
        let line = self.main_of(said.epoch);
        // What the line after the old one began with knows how far it went with it.
        let began = self.began_with(said.epoch.saturating_add(1)).await?;
        let mut end = began.sequence.min(said.head.sequence);
        if end == began.sequence && self.leads_to(node, &line, &began).await? {
            return Ok(end);
        }
        while end > 0 {
            let start = end.saturating_sub(u64::from(PAGE));
            let wanted = u32::try_from(end - start).unwrap_or(PAGE);
            let theirs = self.fetch_audit(&line, start, wanted, node).await?;
            let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
            let ours = self.audit_rows(&line, start, wanted).await?;
            let ours: BTreeMap<u64, Digest> =
                ours.iter().map(|row| (row.sequence, row.hash())).collect();
            let common = theirs
                .iter()
                .rev()
                .find(|row| ours.get(&row.sequence) == Some(&row.hash()));
            if let Some(row) = common {
                return Ok(row.sequence.saturating_add(1));
            }
            end = start;
        }
        Err(failed(format!(
            "node {node} and this one have no audit record in common: ask at another node"
        )))
    }

    async fn leads_to(&self, node: NodeId, line: &LineRef, head: &Head) -> Result<bool, Error> {
        let Some(last) = head.sequence.checked_sub(1) else {
            return Ok(true);
        };
        let rows = self.fetch_audit(line, last, 1, node).await?;
        Ok(rows.first().map(Row::head) == Some(*head))
    }

    fn main_of(&self, epoch: u64) -> LineRef {
        let main = self.main().reference();
        LineRef { epoch, ..main }
    }

    /// Has these nodes keep the tail, each from the node that has it; gives those that did.
    pub async fn have_tail_kept(&self, tail: &Tail, nodes: Vec<NodeId>) -> Vec<NodeId> {
        let asked = nodes.into_iter().map(|node| async move {
            match self.ask_to_keep(tail, node).await {
                Ok(()) => Some(node),
                Err(error) => {
                    tracing::error!(%node, %error, "cannot keep what is dropped");
                    None
                }
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    async fn ask_to_keep(&self, tail: &Tail, node: NodeId) -> Result<(), Error> {
        if node == self.id() {
            return self.keep_tail(tail).await;
        }
        let mut client = self.promising(node)?;
        let request = peer::KeepTailRequest {
            cluster: self.cluster().0.to_vec().into(),
            tail: encoding::encode(tail).into(),
        };
        answered(node, KEEP_MAX, client.keep_tail(request)).await?;
        Ok(())
    }

    /// Copies a tail from the node that has it, and keeps it apart; durable when this returns. May
    /// be repeated, and goes on where it was.
    ///
    /// # Errors
    /// `Promotion` when it is not there as it was described.
    pub async fn keep_tail(&self, tail: &Tail) -> Result<(), Error> {
        let trail = self.kept_trail(tail).await?;
        let line = self.main_of(tail.epoch);
        loop {
            let at = trail.head().sequence.max(tail.from);
            let left = tail.head.sequence.saturating_sub(at);
            if left == 0 {
                break;
            }
            let wanted = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
            let rows = self.fetch_audit(&line, at, wanted, tail.node).await?;
            let Some(first) = rows.first() else {
                let node = tail.node;
                return Err(failed(format!("node {node} lacks audit record {at}")));
            };
            let begins = Head {
                sequence: first.sequence,
                hash: first.previous,
            };
            let trail = trail.clone();
            blocking(move || {
                if begins.sequence > trail.head().sequence {
                    trail.begin_at(begins).map_err(foreign)?;
                }
                trail.append(&rows).map_err(foreign)
            })
            .await?;
        }
        let (head, held) = (tail.head, trail.clone());
        blocking(move || held.sync().map_err(foreign)).await?;
        if tail.records() > 0 && trail.head() != head {
            return Err(failed("what came is not what was described: assess again"));
        }
        Ok(())
    }

    /// The records of a tail that is kept here, from a sequence number on.
    ///
    /// # Errors
    /// `Promotion` when it is not kept here, or damaged.
    pub async fn kept_tail(&self, tail: &Tail, from: u64, max: usize) -> Result<Vec<Row>, Error> {
        let trail = self.kept_trail(tail).await?;
        let end = tail.head.sequence;
        blocking(move || trail.rows(from..end, max).map_err(foreign)).await
    }

    async fn kept_trail(&self, tail: &Tail) -> Result<Trail, Error> {
        let trails = self.inner.trails.clone();
        let name = place::dropped_name(tail);
        let folder = place::dropped(self.data(), &name);
        blocking(move || trails.at(folder, name).map_err(foreign)).await
    }

    /// The records of what was dropped that are kept here under a trail's name, from a sequence
    /// number on.
    ///
    /// # Errors
    /// `Promotion` when no such trail is kept here, or it is damaged.
    pub async fn dropped_rows(&self, name: &str, from: u64, max: usize) -> Result<Vec<Row>, Error> {
        let folder = place::dropped(self.data(), name);
        if !place::is_dropped(name) || !folder.is_dir() {
            return Err(failed(format!("{name:?} is not kept at this node")));
        }
        let (trails, name) = (self.inner.trails.clone(), name.to_owned());
        blocking(move || {
            let trail = trails.at(folder, name).map_err(foreign)?;
            trail.rows(from..u64::MAX, max).map_err(foreign)
        })
        .await
    }
}

fn foreign(error: crate::audit::Error) -> Error {
    Error::Promotion(error.to_string())
}

fn read(answer: peer::GetTailResponse) -> Result<Said, Status> {
    let missing = || Status::data_loss("the answer is not whole");
    let head = answer.head.ok_or_else(missing)?;
    let hash = <[u8; 32]>::try_from(head.hash.as_ref()).map_err(|_| missing())?;
    Ok(Said {
        epoch: answer.epoch,
        applied: wire::read_log_id(answer.applied.ok_or_else(missing)?),
        last: wire::read_log_id(answer.last.ok_or_else(missing)?),
        head: Head {
            sequence: head.sequence,
            hash: Digest(hash),
        },
        uncommitted_from: answer.uncommitted_from,
    })
}
