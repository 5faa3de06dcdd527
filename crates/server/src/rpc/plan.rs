//! Sessions and their plans as messages.

use consensus::Line;
use domain::calendar::Session;
use domain::session::{Boundary, Phase, Plan};
use domain::{Digests, LineRef, State, UnixMs};
use proto::line::v1 as line;
use proto::operator::v1 as operator;

use crate::wire;

/// Where a plan stands.
pub(super) fn stage(phase: Phase) -> operator::PlanStage {
    match phase {
        Phase::Opening => operator::PlanStage::Opening,
        Phase::Open => operator::PlanStage::Open,
        Phase::Closed => operator::PlanStage::Closed,
        Phase::RolledOver => operator::PlanStage::RolledOver,
        Phase::Abandoned => operator::PlanStage::Abandoned,
    }
}

/// A session as the main line has it, and its branch where one runs here.
pub(super) fn session(
    of: &Session,
    main: &Line,
    state: &State,
    branch: Option<&State>,
    now: UnixMs,
) -> operator::Session {
    let plan = state.plan(&of.id);
    let is_primary = state
        .primary()
        .is_some_and(|primary| primary.name == of.centre);
    let on_branch = branch.and_then(|branch| branch.plan(&of.id));
    // The branch knows first that it has closed.
    let phase = match (
        plan.map(|plan| plan.phase),
        on_branch.map(|plan| plan.phase),
    ) {
        (Some(Phase::Opening | Phase::Open), Some(Phase::Closed)) => Some(Phase::Closed),
        // Opened without the main line, which has yet to hear of it.
        (None, on_branch) => on_branch,
        (phase, _) => phase,
    };
    let serving = [Some(state), branch].into_iter().flatten().any(|state| {
        state
            .open_session(now)
            .is_ok_and(|plan| plan.session.id == of.id)
    });
    let role = if is_primary {
        operator::CentreRole::Primary
    } else {
        operator::CentreRole::Secondary
    };
    operator::Session {
        session: of.id.to_string(),
        centre: of.centre.to_string(),
        centre_role: role.into(),
        open_time: Some(wire::time(of.opens)),
        close_time: Some(wire::time(of.closes)),
        business_day: of.day.to_string(),
        purpose: of.purpose.word().to_owned(),
        source: of.source.clone().unwrap_or_default(),
        stage: phase.map_or(operator::PlanStage::Unspecified, stage).into(),
        boundary: plan.and_then(|plan| boundary_of(plan, main)),
        serving,
        unplanned: None,
    }
}

/// The boundary of a plan, with the digests there as far as this node has them.
pub(super) fn boundary_of(plan: &Plan, main: &Line) -> Option<line::Boundary> {
    let boundary = plan.boundary?;
    let reference = main.reference();
    let is_of_main = boundary.epoch == reference.epoch;
    let digests = is_of_main.then(|| main.digests_at(boundary.at)).flatten();
    Some(boundary_message(&reference, &boundary, digests))
}

fn boundary_message(
    reference: &LineRef,
    boundary: &Boundary,
    digests: Option<Digests>,
) -> line::Boundary {
    let known = digests.as_ref().map(wire::digests).or_else(|| {
        boundary.digest.map(|full| line::Digests {
            account: String::new(),
            full: full.to_string(),
        })
    });
    line::Boundary {
        line: Some(line::LineReference {
            epoch: boundary.epoch,
            ..wire::line_reference(reference)
        }),
        log_id: Some(wire::log_id(boundary.at)),
        digests: known,
    }
}
