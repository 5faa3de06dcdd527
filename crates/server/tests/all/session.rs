//! Two centres with a node each, on a simulated clock: what operators do with the session at the
//! secondary, through their listener.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::world::drill::{
    EAST, WEST, advance, approve, branch_runs, now, open, reason, roll_over, sessions,
};
use crate::world::{S2, Shape, World, at, until, world};
use domain::SessionId;
use proto::account::v1::Portal;
use proto::admin::v1::account_service_client::AccountServiceClient;
use proto::admin::v1::{GetAccountRequest, SuspendAccountRequest};
use proto::audit::v1::ListAuditEventsRequest;
use proto::audit::v1::audit_service_client::AuditServiceClient;
use proto::auth::v1::BeginLoginRequest;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::operator::v1::calendar_service_client::CalendarServiceClient;
use proto::operator::v1::{
    AbandonSessionRequest, AbandonSessionResponse, CloseSessionRequest, PlanAct, PlanStage,
    RollOverRequest, SetTimetableRequest, Verdict,
};
use proto::token::v1::IntrospectTokenRequest;
use proto::token::v1::token_service_client::TokenServiceClient;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

async fn abandon(world: &World, node: usize) -> Result<AbandonSessionResponse, Status> {
    sessions(world, node, &world.kay)
        .await
        .abandon_session(AbandonSessionRequest {
            request_id: now(world),
            session: S2.to_owned(),
            reason: "the disks of west are gone".to_owned(),
            validate_only: false,
        })
        .await
        .map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_nodes_refused_its_branch_is_given_up_before_its_end() {
    let world = world(Shape::TwoCentres).await;
    let session = SessionId::parse(S2).unwrap();
    // As after a lost disk: the branch will not start there.
    let west = world.nodes[WEST].lines();
    west.refuse_branch(&session).await.unwrap();
    open(&world).await;
    let refused = abandon(&world, EAST).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_APPROVED");
    approve(&world, PlanAct::Abandon).await;
    let done = abandon(&world, EAST).await.unwrap();
    assert_eq!(done.refused_node_ids, [2]);
    assert_eq!(done.session.unwrap().stage(), PlanStage::Abandoned);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_branch_runs_is_given_up_after_its_end_alone() {
    let world = world(Shape::TwoCentres).await;
    let session = SessionId::parse(S2).unwrap();
    open(&world).await;
    branch_runs(&world).await;
    approve(&world, PlanAct::Abandon).await;
    let refused = abandon(&world, WEST).await.unwrap_err();
    assert_eq!(reason(&refused), "BRANCH_RUNS", "{refused:?}");
    let west = world.nodes[WEST].lines();
    assert!(!west.has_refused(&session), "nobody promised in vain");
    until("the branch is confirmed", async || {
        let state = world.nodes[EAST].lines().main().state();
        state.plan(&session)?.boundary?.digest
    })
    .await;
    advance(&world, at(23, 30)).await;
    approve(&world, PlanAct::Abandon).await;
    let done = abandon(&world, EAST).await.unwrap();
    assert_eq!(done.session.unwrap().stage(), PlanStage::Abandoned);
    // The branch was not lost: what it did is attached, once.
    let done = roll_over(&world, Vec::new()).await.unwrap();
    assert!(!done.already_done);
    let evidence = done.evidence.unwrap();
    assert!(!evidence.audit_head.is_empty() && evidence.closed_time.is_some());
    assert_eq!(evidence.session.unwrap().stage(), PlanStage::Abandoned);
    let again = roll_over(&world, Vec::new()).await.unwrap();
    assert!(again.already_done);
    until("nothing of the branch is left", async || {
        west.branch().is_none().then_some(())
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollover_right_after_the_close_waits_for_the_branchs_records() {
    let world = world(Shape::TwoCentres).await;
    open(&world).await;
    branch_runs(&world).await;
    advance(&world, at(22, 1)).await;
    let status = until("the session serves", async || {
        let status = world.status(EAST).await;
        let serves = status.centres.iter().any(|centre| centre.serving);
        let counted = status.rollover.as_ref()?.forgotten_count.is_some();
        (serves && counted).then_some(status)
    })
    .await;
    assert!(
        status.summary.contains("secondary session S2"),
        "{status:?}"
    );
    let rollover = status.rollover.unwrap();
    assert_eq!(rollover.forgotten_count, Some(0));
    assert!(rollover.due_time.is_some());
    sessions(&world, WEST, &world.kay)
        .await
        .close_session(CloseSessionRequest {
            request_id: now(&world),
            session: S2.to_owned(),
            validate_only: false,
        })
        .await
        .unwrap();
    let done = sessions(&world, EAST, &world.kay)
        .await
        .roll_over(RollOverRequest {
            request_id: now(&world),
            session: S2.to_owned(),
            ..RollOverRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(done.business_day, "2023-06-12");
    assert!(!done.already_done);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_has_every_nodes_lines_and_names_who_is_away() {
    let mut world = world(Shape::TwoCentres).await;
    let status = until("both nodes are heard", async || {
        let status = world.status(EAST).await;
        let known = status
            .nodes
            .iter()
            .all(|node| node.reachable && node.lines.iter().all(|line| line.digests.is_some()));
        (known && status.nodes.iter().all(|node| !node.lines.is_empty())).then_some(status)
    })
    .await;
    assert_eq!(status.nodes.len(), 2);
    assert!(!status.digests_differ);
    assert!(
        status
            .nodes
            .iter()
            .all(|node| node.clock_ahead_ms.is_some())
    );
    world.nodes.remove(WEST).stop().await;
    let status = until("node 2 is missed", async || {
        let status = world.status(EAST).await;
        let missed = status.nodes.iter().any(|node| !node.reachable);
        missed.then_some(status)
    })
    .await;
    assert_eq!(status.verdict(), Verdict::Warning, "{:?}", status.reasons);
    let named = |reason: &String| reason.contains("node 2 of west cannot be reached");
    assert!(status.reasons.iter().any(named), "{:?}", status.reasons);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holidays_are_set_without_touching_the_timetable_or_all_faults_are_told() {
    let world = world(Shape::TwoCentres).await;
    let mut client = CalendarServiceClient::new(world.operator(EAST, &world.kay).await);
    let set = |holidays: &str| SetTimetableRequest {
        request_id: now(&world),
        holidays: Some(holidays.to_owned()),
        ..SetTimetableRequest::default()
    };
    let refused = client
        .set_timetable(set("2023-06-12 a day\ntomorrow\n2023-02-30\n"))
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "BAD_TIMETABLE");
    let told = refused.message();
    assert!(told.contains("line 2") && told.contains("line 3"), "{told}");
    let done = client
        .set_timetable(set("2023-06-12 a holiday\n"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(done.holidays, ["2023-06-12"]);
    let sessions = done.sessions.iter();
    assert!(sessions.clone().any(|session| session.session == S2));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_audit_are_bounded_whatever_is_asked() {
    let world = world(Shape::TwoCentres).await;
    let mut client = AuditServiceClient::new(world.operator(EAST, &world.kay).await);
    let mut ask = async |page_size: i32, page_token: &str| {
        let request = ListAuditEventsRequest {
            line: "main".to_owned(),
            page_size,
            page_token: page_token.to_owned(),
            filter: None,
        };
        client
            .list_audit_events(request)
            .await
            .map(tonic::Response::into_inner)
    };
    assert_eq!(
        reason(&ask(-1, "").await.unwrap_err()),
        "MALFORMED_PAGE_SIZE"
    );
    assert_eq!(
        reason(&ask(1, "-1").await.unwrap_err()),
        "MALFORMED_PAGE_TOKEN"
    );
    let past = ask(i32::MAX, &u64::MAX.to_string()).await.unwrap();
    assert!(past.events.is_empty() && past.next_page_token.is_empty());
    let first = ask(1, "").await.unwrap();
    assert_eq!(first.events.len(), 1);
    world.stop().await;
}

/// An operator suspends an account on the line that serves; there is none.
async fn suspends(world: &World, node: usize) -> Status {
    let message = SuspendAccountRequest {
        request_id: now(world),
        name: "participants/C00001/users/C00001U1".to_owned(),
        reason: "has left".to_owned(),
        client_address: String::new(),
        ..SuspendAccountRequest::default()
    };
    AccountServiceClient::new(world.operator(node, &world.kay).await)
        .suspend_account(message)
        .await
        .unwrap_err()
}

async fn introspects(world: &World, node: usize) -> Status {
    let address = world.nodes[node].addresses().back;
    let channel = world.channel(address, &world.back).await.unwrap();
    TokenServiceClient::new(channel)
        .introspect_token(IntrospectTokenRequest {
            access_token: "a token of the branch".to_owned(),
            portal: Portal::Ccms.into(),
            scope: "online-functions".to_owned(),
            activity: false,
        })
        .await
        .unwrap_err()
}

async fn logs_in(world: &World, node: usize) -> Status {
    let address = world.nodes[node].addresses().front;
    let channel = world.channel(address, &world.front).await.unwrap();
    AuthServiceClient::new(channel)
        .begin_login(BeginLoginRequest {
            request_id: now(world),
            user_id: "C00001U1".to_owned(),
            option: "ccms-otp-online".to_owned(),
            password: "low tide at noon".to_owned(),
            client_address: "192.0.2.1".to_owned(),
        })
        .await
        .unwrap_err()
}

async fn each(world: &World, node: usize) -> [String; 3] {
    [
        reason(&suspends(world, node).await),
        reason(&introspects(world, node).await),
        reason(&logs_in(world, node).await),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_main_line_serves_neither_operators_nor_back_ends_nor_people_i2() {
    let world = world(Shape::TwoCentres).await;
    // The branch does not come up in time.
    let west = world.nodes[WEST].lines();
    let session = SessionId::parse(S2).unwrap();
    west.refuse_branch(&session).await.unwrap();
    open(&world).await;
    let closed = ["BRANCH_OPEN", "BRANCH_OPEN", "SESSION_CLOSED"];
    for node in [EAST, WEST] {
        assert_eq!(each(&world, node).await, closed, "before its times");
    }
    advance(&world, at(22, 1)).await;
    let elsewhere = "CENTRE_NOT_SERVING";
    assert_eq!(each(&world, EAST).await, [elsewhere; 3]);
    assert_eq!(each(&world, WEST).await, ["CENTRE_CHANGING"; 3]);
    let again = introspects(&world, WEST).await;
    assert_eq!(again.code(), Code::Unavailable, "clients repeat it");
    advance(&world, at(23, 30)).await;
    for node in [EAST, WEST] {
        assert_eq!(each(&world, node).await, closed, "after its times");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_closed_before_its_times_at_either_centre_and_once() {
    let world = world(Shape::TwoCentres).await;
    open(&world).await;
    branch_runs(&world).await;
    let close = async |node: usize| {
        sessions(&world, node, &world.kay)
            .await
            .close_session(CloseSessionRequest {
                request_id: now(&world),
                session: S2.to_owned(),
                validate_only: false,
            })
            .await
    };
    close(EAST).await.unwrap();
    until("the branch follows", async || {
        let branch = world.nodes[WEST].lines().branch()?;
        branch.state().header().ended.then_some(())
    })
    .await;
    for node in [EAST, WEST] {
        let refused = close(node).await.unwrap_err();
        assert_eq!(reason(&refused), "ALREADY_SO", "{refused:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_off_serves_nobody_also_not_reads() {
    let world = world(Shape::TwoCentres).await;
    let read = async || {
        AccountServiceClient::new(world.operator(EAST, &world.kay).await)
            .get_account(GetAccountRequest {
                name: "participants/C00001/users/C00001U1".to_owned(),
            })
            .await
            .unwrap_err()
    };
    assert_eq!(read().await.code(), Code::NotFound);
    // Of two clocks that differ, nobody knows whose is right.
    world.clocks[WEST].set_offset_ms(10_000);
    until("the clocks are compared", async || {
        let verdict = world.nodes[EAST].lines().clock_verdict();
        (!verdict.is_good()).then_some(())
    })
    .await;
    let refused = read().await;
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(reason(&refused), "CLOCK_OFF");
    assert_eq!(reason(&introspects(&world, EAST).await), "CLOCK_OFF");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_whose_engine_has_stopped_is_told_by_health_status_and_the_node() {
    let world = world(Shape::TwoCentres).await;
    open(&world).await;
    branch_runs(&world).await;
    advance(&world, at(22, 1)).await;
    let serves = async || {
        let address = world.nodes[WEST].addresses().front;
        let channel = world.channel(address, &world.front).await.unwrap();
        let service = "tidemark.auth.v1.AuthService".to_owned();
        let answer = HealthClient::new(channel)
            .check(HealthCheckRequest { service })
            .await
            .unwrap();
        answer.into_inner().status() == ServingStatus::Serving
    };
    until("the session serves", async || serves().await.then_some(())).await;
    world.nodes[WEST].lines().branch().unwrap().stop().await;
    assert!(!serves().await);
    let status = world.status(WEST).await;
    assert_eq!(status.verdict(), Verdict::Error);
    let said = status
        .reasons
        .iter()
        .any(|reason| reason.contains("has stopped there"));
    assert!(said, "{:?}", status.reasons);
    let fault = world.nodes[WEST].failed().await;
    assert!(fault.to_string().contains(S2), "{fault}");
    world.stop().await;
}
