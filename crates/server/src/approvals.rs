//! Operators' signed approvals at the edge: read from a call, checked against the registered key and
//! what the state is, and shown with what they approved (S34; LOGIN.md, "Administration").
//!
//! Deliberately absent: how many it takes, and whether one still counts when the act is done. That
//! is the line's, in `domain`.

use credential::approval::{self, Error};
use domain::approval::{Act, Approval, Signed};
use domain::id::OperatorId;
use domain::registration::Holder;
use domain::request::Key;
use domain::{Answer, Command, Rejection, State};
use proto::approval::v1 as wired;

use crate::edge::{self, Edge, Validity};
use crate::identity::Caller;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

/// The command with the approval that the call carries, once that holds: signed by the registered
/// key of the operator who calls, over this act with these arguments, this cluster and epoch, and a
/// log index that the line has reached.
///
/// # Errors
/// `APPROVAL_UNSIGNED`, `APPROVAL_EXPIRED`, `APPROVAL_TOO_LONG`, `APPROVAL_OTHER_KEY`,
/// `APPROVAL_DIFFERS`; `NOT_ALLOWED` to all but operators.
pub fn signed<B>(
    edge: &Edge,
    ask: &Ask<B>,
    state: &State,
    approval: Option<&wired::Approval>,
    command: Command,
) -> Result<Command, Refusal> {
    let act = Act::of(state, &command)
        .ok_or_else(|| Refusal::Internal("the command takes no approval".to_owned()))?;
    let (_, approval) = given(edge, ask, state, approval, &act)?;
    Ok(Command::Signed(Box::new(Signed { approval, command })))
}

/// How an act that takes several operators is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Of the request, without the approval.
    pub key: Key,
    /// What the operator signed.
    pub approval: Option<&'a wired::Approval>,
    /// Whether anything is changed. Where nothing is, the approval can be left out.
    pub validity: Validity,
}

/// Hands the caller's approval in, or judges what it would be of: how many operators have approved,
/// and how many it takes.
///
/// # Errors
/// As `signed`, or the line's rejection.
pub async fn approve<B>(
    edge: &Edge,
    ask: &Ask<B>,
    call: Call<'_>,
    command: Command,
) -> Result<(u32, u32), Refusal> {
    let (line, state) = edge.fresh(ask).await?;
    let unsigned = call.validity == Validity::ValidateOnly && call.approval.is_none();
    let command = match unsigned {
        true => command,
        false => signed(edge, ask, &state, call.approval, command)?,
    };
    let request = (Some(call.key), call.validity);
    let settled = match edge.propose_or_judge(ask, &line, request, command).await {
        // Everything else was found right.
        Err(Refusal::Rejected {
            rejection: Rejection::ApprovalUnsigned,
            ..
        }) if unsigned => return Ok((0, state.policy().approvals)),
        settled => settled?,
    };
    let Answer::Approved { have, need } = settled.answer else {
        return Err(edge::unexpected(&settled.answer));
    };
    Ok((have, need))
}

/// The operator who calls, with the approval of this act that the call carries, once that holds.
///
/// # Errors
/// As `signed`.
pub fn given<B>(
    edge: &Edge,
    ask: &Ask<B>,
    state: &State,
    approval: Option<&wired::Approval>,
    act: &Act,
) -> Result<(OperatorId, Approval), Refusal> {
    let refused = |rejection| Refusal::Rejected {
        rejection,
        clock: edge.now(state),
    };
    let Caller::Operator(operator) = &ask.caller else {
        return Err(refused(Rejection::NotAllowed));
    };
    let said = approval.ok_or_else(|| refused(Rejection::ApprovalUnsigned))?;
    let cluster = state
        .cluster()
        .ok_or_else(|| refused(Rejection::NotFounded))?;
    let known = state
        .registered(&Holder::Operator(operator.clone()))
        .ok_or_else(|| refused(Rejection::CallerRetired))?;
    let expires_at = said
        .expire_time
        .as_ref()
        .and_then(wire::read_time)
        .ok_or_else(|| Refusal::malformed(Field::Other("approval.expire_time"), "a time"))?;
    // One of a state that nobody has seen yet cannot be. What is shown is the main line's.
    let applied = edge.node().main().applied().borrow().unwrap_or_default();
    if said.index > applied.index {
        return Err(refused(Rejection::ApprovalDiffers));
    }
    let place = (cluster, state.header().epoch);
    let approval = Approval {
        statement: act.statement(place, said.index, expires_at),
        key: credential::certificate::spki_fingerprint(&said.certificate)
            .map_err(|_| refused(Rejection::ApprovalOtherKey))?,
        certificate: said.certificate.clone(),
        signature: said.signature.clone(),
    };
    approval::verify(known.key, &approval, edge.now(state)).map_err(|error| {
        refused(match error {
            Error::Expired => Rejection::ApprovalExpired,
            Error::TooLong => Rejection::ApprovalTooLong,
            Error::OtherKey | Error::Certificate(_) => Rejection::ApprovalOtherKey,
            Error::Signature | Error::Key | Error::Sign => Rejection::ApprovalDiffers,
        })
    })?;
    Ok((operator.clone(), approval))
}

/// An approval with what it takes to check it again.
#[must_use]
pub fn statement(of: &Approval) -> wired::SignedStatement {
    let statement = &of.statement;
    wired::SignedStatement {
        cluster: statement.cluster.to_string(),
        epoch: statement.epoch,
        act: statement.act.clone(),
        argument_digest: statement.arguments.to_string(),
        index: statement.index,
        expire_time: Some(wire::time(statement.expires_at)),
        key: of.key.to_string(),
        certificate: of.certificate.clone(),
        signature: of.signature.clone(),
    }
}
