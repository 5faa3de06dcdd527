//! Between our types and those of the peer protocol.

use domain::{ClusterId, Digest, LineId, LineRef, LogId, SessionId};
use proto::peer::v1 as peer;
use tonic::Status;

/// A peer's message does not say what it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the message has no valid {field}")]
pub struct Malformed {
    field: &'static str,
}

impl From<Malformed> for Status {
    fn from(malformed: Malformed) -> Self {
        Self::invalid_argument(malformed.to_string())
    }
}

/// Which line a message speaks of, as sent.
#[must_use]
pub fn line_ref(line: &LineRef) -> peer::LineRef {
    let id = match &line.line {
        LineId::Main => peer::line_ref::Line::Main(peer::MainLine::default()),
        LineId::Branch { session, genesis } => peer::line_ref::Line::Branch(peer::BranchLine {
            session: session.as_str().to_owned(),
            genesis: genesis.0.to_vec().into(),
        }),
    };
    peer::LineRef {
        cluster: line.cluster.0.to_vec().into(),
        line: Some(id),
        epoch: line.epoch,
        node: 0,
    }
}

/// The same, with what names a main line among those of its epoch after a promotion.
#[must_use]
pub fn line_ref_from(line: &LineRef, beginning: Option<Digest>) -> peer::LineRef {
    let mut named = line_ref(line);
    if let (Some(peer::line_ref::Line::Main(main)), Some(beginning)) = (&mut named.line, beginning)
    {
        main.beginning = beginning.0.to_vec().into();
    }
    named
}

/// What names a main line, as a message says; none if it does not.
#[must_use]
pub fn beginning(line: &peer::LineRef) -> Option<Digest> {
    match &line.line {
        Some(peer::line_ref::Line::Main(main)) => read_digest(&main.beginning).ok(),
        Some(peer::line_ref::Line::Branch(_)) | None => None,
    }
}

/// Which line a received message speaks of.
///
/// # Errors
/// `Malformed` when the reference is absent or a part of it has the wrong form.
pub fn read_line_ref(line: Option<peer::LineRef>) -> Result<LineRef, Malformed> {
    let malformed = |field| Malformed { field };
    let line = line.ok_or(malformed("line"))?;
    let id = match line.line.ok_or(malformed("line id"))? {
        peer::line_ref::Line::Main(peer::MainLine { beginning: _ }) => LineId::Main,
        peer::line_ref::Line::Branch(branch) => LineId::Branch {
            session: SessionId::parse(&branch.session).map_err(|_| malformed("session"))?,
            genesis: read_digest(&branch.genesis)?,
        },
    };
    Ok(LineRef {
        cluster: read_cluster(&line.cluster)?,
        line: id,
        epoch: line.epoch,
    })
}

/// The cluster that a message names.
///
/// # Errors
/// `Malformed` when it is not 16 bytes.
pub fn read_cluster(bytes: &[u8]) -> Result<ClusterId, Malformed> {
    let bytes = <[u8; 16]>::try_from(bytes).map_err(|_| Malformed { field: "cluster" })?;
    Ok(ClusterId(bytes))
}

/// A digest that a message holds.
///
/// # Errors
/// `Malformed` when it is not 32 bytes.
pub fn read_digest(bytes: &[u8]) -> Result<Digest, Malformed> {
    let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| Malformed { field: "digest" })?;
    Ok(Digest(bytes))
}

/// A log id, as sent.
#[must_use]
pub fn log_id(log_id: LogId) -> peer::LogId {
    peer::LogId {
        term: log_id.term,
        node: log_id.node,
        index: log_id.index,
    }
}

/// A received log id.
#[must_use]
pub fn read_log_id(log_id: peer::LogId) -> LogId {
    LogId {
        term: log_id.term,
        node: log_id.node,
        index: log_id.index,
    }
}

/// What is left until a deadline, in milliseconds, as sent.
#[must_use]
pub fn millis_until(deadline: tokio::time::Instant) -> u32 {
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    u32::try_from(left.as_millis()).unwrap_or(u32::MAX)
}
