//! Session 2 with the primary switched off, over the API (R41; LINES.md, "Opening, unplanned").
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::time::Duration;

use consensus::Proposal;
use domain::{Actor, Command, Digest};
use proto::operator::v1::session_service_client::SessionServiceClient;
use proto::operator::v1::{
    Answer, BoundaryFinding, GetStatusRequest, OpenUnplannedRequest, PlanStage, Session, Verdict,
};
use tests::Cluster;
use tests::cast::{CHAN, LEE, OTP, OTP_S2, WONG};
use tests::cluster::{EAST, S2, WEST, local, refused, until};
use tests::login::By;
use tidemark::args::{Change, Confirm, Connection, session};
use tidemark::drill::{Door, call, request};
use tidemark::exit::{Exit, Failure};
use tidemark::output::{Format, Output};
use tidemark::verb;
use tonic::Status;

/// An operator orders the opening at the first node that answers, of one centre.
async fn open(cluster: &Cluster, centre: &str) -> Result<Session, Status> {
    let running: Vec<u64> = cluster.running().collect();
    let doors: Vec<Door> = cluster
        .operators_at(centre)
        .into_iter()
        .filter(|door| running.contains(&door.node))
        .collect();
    let answer = call(&doors, |channel| async move {
        let message = OpenUnplannedRequest {
            session: S2.to_owned(),
            reason: "the primary is dark".to_owned(),
            validate_only: false,
        };
        SessionServiceClient::new(channel)
            .open_unplanned(request(message))
            .await
    });
    Ok(answer.await?.session.unwrap())
}

async fn listed(cluster: &Cluster) -> Session {
    let listed = cluster.sessions().await.into_iter();
    let mut sessions = listed.filter_map(|entry| entry.session);
    sessions.find(|session| session.session == S2).unwrap()
}

async fn warnings(cluster: &Cluster) -> Vec<String> {
    let doors = cluster.operators_at(WEST);
    let answer = call(&doors, |channel| async move {
        proto::operator::v1::cluster_service_client::ClusterServiceClient::new(channel)
            .get_status(request(GetStatusRequest {}))
            .await
    });
    let status = answer.await.unwrap();
    assert_eq!(status.verdict(), Verdict::Error, "the primary is away");
    status.reasons
}

/// Waits until an app shows a code that no line can have taken: half a minute at most.
async fn codes_count(cluster: &Cluster) {
    let lines = cluster.node(4).lines();
    let counts = async {
        loop {
            let branch = lines.branch().unwrap().state();
            if branch.header().totp_floor < domain::totp::step(lines.time()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(40), counts).await;
    in_time.unwrap();
}

async fn primary_off(cluster: &mut Cluster) -> Session {
    for node in 1..=3 {
        cluster.stop(node).await;
    }
    cluster.send_to(WEST);
    until("the primary is heard no more", async || {
        match open(cluster, WEST).await {
            Ok(session) => Some(session),
            Err(status) => {
                // One node may have heard it a moment later than another.
                let reason = refused::<()>(Err(status));
                assert!(["PRIMARY_ANSWERS", "NOT_OPENED"].contains(&reason.as_str()));
                None
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_with_the_primary_off_people_log_in_with_a_code_by_each_channel_and_monday_is_as_planned()
 {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.sets_up_app(&WONG).await;
    cluster.sets_up_mail(&LEE).await;
    cluster.shut_at("2023-06-10 20:01").await;
    cluster.at("2023-06-10 21:50").await;
    assert_eq!(refused(open(&cluster, EAST).await), "NOT_APPROVED");
    cluster.approved().await;
    assert_eq!(refused(open(&cluster, EAST).await), "NOT_OPENED");
    cluster.until(local("2023-06-10 22:00").plus(14_000)).await;

    let opened = primary_off(&mut cluster).await;
    let unplanned = opened.unplanned.clone().unwrap();
    assert_eq!(unplanned.reason, "the primary is dark");
    assert_eq!(unplanned.finding(), BoundaryFinding::Unspecified);
    let boundary = opened.boundary.clone().unwrap();
    let genesis: Digest = boundary.digests.clone().unwrap().full.parse().unwrap();
    assert_eq!(refused(open(&cluster, WEST).await), "ALREADY_OPEN");
    until("people can log in", async || {
        listed(&cluster).await.serving.then_some(())
    })
    .await;
    let told = warnings(&cluster).await;
    assert!(
        told.iter()
            .any(|told| told.contains("without the primary")
                && told.contains("does not know of it yet")),
        "{told:?}"
    );

    // By card, by e-mail, and by app once its next code counts.
    cluster.with_card(&CHAN).await;
    cluster
        .log_in(&LEE, LEE.otp_option(), OTP, By::Mail)
        .await
        .unwrap();
    codes_count(&cluster).await;
    let token = cluster.with_app(&WONG).await;
    assert!(cluster.good(&token, token.scope()).await, "R41");
    let changed = cluster.change_password(&token, OTP, OTP_S2).await;
    changed.unwrap();
    until("the holder is told of the change by mail", async || {
        let told = cluster.notices(&WONG, "");
        told.iter().any(|mail| mail.drill).then_some(())
    })
    .await;

    // The primary is switched on again: the main line takes the plan over.
    for node in 1..=3 {
        cluster.restart(node).await;
    }
    let taken = until("the main line has taken it over", async || {
        let session = listed(&cluster).await;
        let finding = session.unplanned.as_ref()?.finding();
        (finding != BoundaryFinding::Unspecified).then_some(session)
    })
    .await;
    let unplanned = taken.unplanned.unwrap();
    assert_eq!(unplanned.finding(), BoundaryFinding::OnMainLine);
    // The boundary is the last entry that a node had, known to be committed or not; the main line
    // has passed it by now.
    let main = cluster.node(5).lines().main();
    let at = server::wire::read_log_id(boundary.log_id.unwrap());
    let passed = until("node 5 has applied the boundary", async || {
        main.digests_at(at)
    })
    .await;
    assert_eq!(passed.full, genesis, "I1: it began with what was there");
    assert_eq!(
        refused(cluster.open().await),
        "ALREADY_OPEN",
        "not a second time"
    );
    cluster.at("2023-06-10 23:01").await;
    until("it closes by the timetable", async || {
        let stage = listed(&cluster).await.stage();
        (stage == PlanStage::Closed).then_some(())
    })
    .await;
    let done = cluster.rolled_over(Answer::Waive).await;
    let evidence = done.evidence.unwrap();
    assert!(evidence.lost.is_empty());
    assert_eq!(evidence.session.unwrap().unplanned.unwrap(), unplanned);
    assert_eq!(evidence.boundary.unwrap().log_id, boundary.log_id);
    let kinds = evidence.forgotten.iter().map(|change| change.kind.as_str());
    assert!(
        kinds.into_iter().any(|kind| kind == "PasswordChanged"),
        "I5"
    );

    cluster.serves_at("2023-06-12 08:00").await;
    let new = cluster
        .log_in(&WONG, WONG.otp_option(), OTP_S2, By::App(tests::cast::APP))
        .await;
    assert_eq!(refused(new), "CREDENTIALS_REJECTED", "R44");
    cluster.with_app(&WONG).await;
    cluster.agreed_digests().await;
}

fn connection(cluster: &Cluster) -> Connection {
    Connection {
        profile: cluster.folder().join("profile.toml"),
        operator: None,
        node: None,
        timeout: Duration::from_secs(20),
    }
}

fn because(reason: &str) -> Change {
    Change {
        dry_run: false,
        request_id: None,
        reason: Some(reason.to_owned()),
        ok_if_done: false,
    }
}

async fn ordered(cluster: &Cluster, typed: &str, unplanned: bool) -> Result<(), Failure> {
    let flags = session::Open {
        session: S2.to_owned(),
        unplanned,
        connection: Connection {
            timeout: Duration::from_secs(8),
            ..connection(cluster)
        },
        change: because("the primary is dark"),
        confirm: Confirm {
            confirm: Some(typed.to_owned()),
        },
    };
    verb::session::run(&session::Session::Open(flags), Output::new(Format::Json)).await
}

async fn rolled_over(cluster: &Cluster) -> Result<(), Failure> {
    let flags = session::Rollover {
        session: S2.to_owned(),
        repeat: Vec::new(),
        waive: Vec::new(),
        accept_gap: None,
        connection: connection(cluster),
        change: because("a test"),
        confirm: Confirm {
            confirm: Some(S2.to_owned()),
        },
    };
    let flags = session::Session::Rollover(flags);
    verb::session::run(&flags, Output::new(Format::Json)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_primary_came_back_without_is_listed_and_the_commands_end_with_6() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.shut_at("2023-06-10 20:01").await;
    cluster.at("2023-06-10 21:50").await;
    cluster.approved().await;
    cluster.at("2023-06-10 22:00").await;

    // The primary begins to open the session, and is lost before a majority of it has the entry.
    let leader = cluster.main_leader().await;
    let others: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
    cluster.stop(others[0]).await;
    let last = |node: u64| cluster.node(node).lines().main().last_log_index();
    let before = last(leader);
    // The second one goes at once, so that the leader does not know it yet.
    cluster.node(others[1]).lines().stop().await;
    let main = cluster.node(leader).lines().main();
    let opening = main.propose(Proposal {
        actor: Actor::Operator("alice".parse().unwrap()),
        request: None,
        command: Command::Session(domain::session::Command::Open {
            session: S2.parse().unwrap(),
        }),
    });
    let reached = until("the entry is at the secondary", async || {
        (4..=6).all(|node| last(node) > before).then_some(())
    });
    tokio::select! {
        done = opening => panic!("nobody can commit it: {done:?}"),
        () = reached => {}
    }
    drop(main);
    cluster.stop(others[1]).await;
    cluster.stop(leader).await;
    let planned = ordered(&cluster, S2, false).await.unwrap_err();
    let next = planned.next.clone().unwrap_or_default();
    assert!(next.contains("--unplanned"), "{planned:?}");
    let untyped = ordered(&cluster, S2, true).await.unwrap_err();
    assert_eq!(untyped.exit, Exit::Usage, "the centre's name is typed");
    until("the primary is heard no more", async || {
        let done = ordered(&cluster, WEST, true).await;
        done.is_ok().then_some(())
    })
    .await;
    cluster.send_to(WEST);
    let again = ordered(&cluster, WEST, true).await.unwrap_err();
    assert_eq!(again.exit, Exit::Already);
    cluster.with_card(&CHAN).await;

    for node in &others {
        cluster.restart(*node).await;
    }
    until("the main line has taken it over", async || {
        let unplanned = listed(&cluster).await.unplanned?;
        (unplanned.finding() == BoundaryFinding::NotOnMainLine).then_some(())
    })
    .await;
    cluster.restart(leader).await;
    cluster.at("2023-06-10 23:01").await;
    until("its evidence is in both centres", async || {
        let done = rolled_over(&cluster).await.unwrap_err();
        (done.exit == Exit::Loss).then_some(())
    })
    .await;
    let out = tempfile::tempdir().unwrap();
    let flags = session::Report {
        session: S2.to_owned(),
        dir: Some(out.path().to_owned()),
        connection: connection(&cluster),
    };
    let flags = session::Session::Report(flags);
    let told = verb::session::run(&flags, Output::new(Format::Json)).await;
    assert_eq!(told.unwrap_err().exit.code(), 6);
    let text = std::fs::read_to_string(out.path().join("report.md")).unwrap();
    for words in [
        "boundary not on the main line",
        "SessionOpened",
        "the primary is dark",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    cluster.send_to(EAST);
    cluster.serves_at("2023-06-12 08:00").await;
    cluster.with_card(&CHAN).await;
    cluster.agreed_digests().await;
}
