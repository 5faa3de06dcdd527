//! Session 2 from its opening on, as operators drive it.

use super::{S2, World, at, request_at, until};
use credential::authority::Issued;
use domain::UnixMs;
use domain::approval::Act;
use proto::operator::v1::clock_service_client::ClockServiceClient;
use proto::operator::v1::session_service_client::SessionServiceClient;
use proto::operator::v1::{
    AdvanceClockRequest, ApprovePlanRequest, ListSessionsRequest, MustRepeatAnswer,
    OpenSessionRequest, PlanAct, RollOverRequest, RollOverResponse,
};
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt;

pub const EAST: usize = 0;
pub const WEST: usize = 1;

/// The stable reason of a refusal.
pub fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

pub async fn sessions(world: &World, node: usize, who: &Issued) -> SessionServiceClient<Channel> {
    SessionServiceClient::new(world.operator(node, who).await)
}

pub async fn advance(world: &World, to: UnixMs) {
    let time = prost_types::Timestamp {
        seconds: i64::try_from(to.0 / 1_000).unwrap(),
        nanos: 0,
    };
    for node in [WEST, EAST] {
        let now = world.nodes[node].lines().time();
        if now >= to {
            continue;
        }
        let mut client = ClockServiceClient::new(world.operator(node, &world.kay).await);
        client
            .advance_clock(AdvanceClockRequest {
                request_id: request_at(now),
                clock_time: Some(time),
            })
            .await
            .unwrap();
        until("the clock is there at every node", async || {
            let there = |node: &server::Node| node.lines().time() >= to;
            world.nodes.iter().all(there).then_some(())
        })
        .await;
    }
}

/// What an operator approves, signed as of now.
pub fn sign(world: &World, who: &Issued, act: &Act) -> proto::approval::v1::Approval {
    let main = world.nodes[EAST].lines().main();
    let state = main.state();
    let expires_at = world.nodes[EAST].lines().time().plus(20 * 60_000);
    let place = (state.cluster().unwrap(), state.header().epoch);
    // Any node may be asked: none is behind the founding.
    let statement = act.statement(place, 1, expires_at);
    let signed = credential::approval::sign(&who.key_pem, &who.certificate_pem, statement).unwrap();
    proto::approval::v1::Approval {
        certificate: signed.certificate,
        signature: signed.signature,
        index: 1,
        expire_time: Some(prost_types::Timestamp {
            seconds: i64::try_from(expires_at.0 / 1_000).unwrap(),
            nanos: i32::try_from(expires_at.0 % 1_000 * 1_000_000).unwrap(),
        }),
    }
}

pub fn now(world: &World) -> String {
    request_at(world.nodes[EAST].lines().time())
}

pub async fn approve(world: &World, act: PlanAct) {
    for who in [&world.kay, &world.lee] {
        let mut client = sessions(world, EAST, who).await;
        let listed = client
            .list_sessions(ListSessionsRequest::default())
            .await
            .unwrap()
            .into_inner();
        let entry = listed
            .sessions
            .into_iter()
            .find(|entry| entry.session.as_ref().unwrap().session == S2)
            .unwrap();
        let approved = match act {
            PlanAct::Abandon => domain::session::Act::Abandon(S2.parse().unwrap()),
            PlanAct::Open | PlanAct::Unspecified => domain::session::Act::Open(S2.parse().unwrap()),
        };
        let signed = Act::Session(approved, entry.plan_digest.parse().unwrap());
        let approval = ApprovePlanRequest {
            request_id: now(world),
            session: S2.to_owned(),
            act: act.into(),
            plan_digest: entry.plan_digest,
            approval: Some(sign(world, who, &signed)),
            validate_only: false,
        };
        client.approve_plan(approval).await.unwrap();
    }
}

/// Session 2 is opened at 20:01.
pub async fn open(world: &World) {
    advance(world, at(20, 1)).await;
    approve(world, PlanAct::Open).await;
    sessions(world, EAST, &world.kay)
        .await
        .open_session(OpenSessionRequest {
            request_id: now(world),
            session: S2.to_owned(),
            validate_only: false,
        })
        .await
        .unwrap();
}

pub async fn branch_runs(world: &World) {
    until("the branch runs", async || {
        world.nodes[WEST].lines().branch().map(|_| ())
    })
    .await;
}

pub async fn roll_over(
    world: &World,
    answers: Vec<MustRepeatAnswer>,
) -> Result<RollOverResponse, Status> {
    sessions(world, EAST, &world.kay)
        .await
        .roll_over(RollOverRequest {
            request_id: now(world),
            session: S2.to_owned(),
            answers,
            ..RollOverRequest::default()
        })
        .await
        .map(tonic::Response::into_inner)
}
