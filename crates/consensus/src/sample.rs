//! Entries and lines for this crate's tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};

use domain::account;
use domain::calendar::Calendar;
use domain::cluster::{self, Centre, Founding};
use domain::participant::Participant;
use domain::policy::Policy;
use domain::{
    Actor, CentreName, ClusterId, Command, Envelope, LineId, LineRef, LogId, NodeId, OperatorId,
    ParticipantId, UnixMs,
};
use openraft::EntryPayload;

use crate::raft::{Entry, Members, Peer, Proposed, raft_log_id};

pub(crate) const START: u64 = 1_686_391_200_000;

pub(crate) fn cluster() -> ClusterId {
    ClusterId([7; 16])
}

pub(crate) fn main_line() -> LineRef {
    LineRef {
        cluster: cluster(),
        line: LineId::Main,
        epoch: 1,
    }
}

pub(crate) fn at(index: u64) -> LogId {
    LogId {
        term: 1,
        node: 1,
        index,
    }
}

pub(crate) fn blank(index: u64) -> Entry {
    Entry {
        log_id: raft_log_id(at(index)),
        payload: EntryPayload::Blank,
    }
}

pub(crate) fn members(index: u64) -> Entry {
    let peer = Peer {
        address: "a:1".to_owned(),
        centre: "east".to_owned(),
    };
    let members = Members {
        configs: vec![BTreeSet::from([1])],
        nodes: BTreeMap::from([(1, peer)]),
    };
    Entry {
        log_id: raft_log_id(at(index)),
        payload: EntryPayload::Membership(members.try_into().unwrap()),
    }
}

pub(crate) fn normal(index: u64, envelope: Envelope) -> Entry {
    Entry {
        log_id: raft_log_id(at(index)),
        payload: EntryPayload::Normal(Proposed::from(envelope)),
    }
}

fn envelope(index: u64, actor: Actor, command: Command) -> Envelope {
    Envelope {
        at: UnixMs(START + index * 1000),
        actor,
        line: LineId::Main,
        request: None,
        command,
    }
}

/// The entry that founds a cluster.
pub(crate) fn found(index: u64) -> Entry {
    let founding = Founding {
        cluster: cluster(),
        title: "sample".to_owned(),
        primary: Centre {
            name: CentreName::parse("east").unwrap(),
            nodes: vec![cluster::Node {
                id: domain::NodeId(1),
                address: "127.0.0.1:1".to_owned(),
            }],
        },
        secondary: None,
        operators: ["ann", "ben"]
            .map(|name| cluster::Operator {
                id: domain::OperatorId::parse(name).unwrap(),
                key: cluster::KeyPin([name.as_bytes()[0]; 32]),
            })
            .to_vec(),
        front_ends: Vec::new(),
        back_ends: Vec::new(),
        policy: Policy::default(),
        calendar: Calendar::default(),
        simulated_clock: false,
        clock_offset_ms: 0,
        keys: Vec::new(),
        restored: None,
    };
    let command = Command::Cluster(cluster::Command::Found(Box::new(founding)));
    normal(index, envelope(index, Actor::Node(NodeId(1)), command))
}

/// An entry that enters a firm of its own, with a title of so many bytes.
pub(crate) fn enter(index: u64, title_bytes: usize) -> Entry {
    let id = ParticipantId::parse(&format!("C{index}")).unwrap();
    let command = Command::Account(account::Command::SetParticipant {
        participant: Participant::new(id, "x".repeat(title_bytes)),
        new: true,
        seen: None,
    });
    let operator = Actor::Operator(OperatorId::parse("op1").unwrap());
    normal(index, envelope(index, operator, command))
}

/// A blank entry, the founding, and a firm for each further index below `end`.
pub(crate) fn history(end: u64) -> Vec<Entry> {
    (0..end)
        .map(|index| match index {
            0 => blank(0),
            1 => found(1),
            index => enter(index, 20),
        })
        .collect()
}
