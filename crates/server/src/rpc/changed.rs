//! What becomes of a change: whether the next rollover carries it forward or discards it.

use consensus::Line;
use domain::request::Key;
use domain::{Answer, Carry, Command};

use crate::edge::{self, Edge, Settled, Validity};
use crate::request::Ask;
use crate::status::Refusal;

/// What became of a change. Its holder is told by mail: the entry itself put the notice (S28).
pub(super) fn carry(settled: &Settled) -> Result<Carry, Refusal> {
    let Answer::Changed { carry } = settled.answer else {
        return Err(edge::rejected_or_unexpected(&settled.answer));
    };
    Ok(carry)
}

/// Has a change carried out, or judged alone where that is asked; what becomes, or would become,
/// of it.
pub(super) async fn propose<B>(
    edge: &Edge,
    ask: &Ask<B>,
    line: &Line,
    (key, validate_only): (Key, bool),
    command: Command,
) -> Result<Carry, Refusal> {
    let request = (Some(key), Validity::of(validate_only));
    carry(&edge.propose_or_judge(ask, line, request, command).await?)
}
