//! Session 2 with the primary switched off, over the API (R41; LINES.md, "Opening, unplanned").
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::time::Duration;

use domain::Digest;
use proto::operator::v1::session_service_client::SessionServiceClient;
use proto::operator::v1::{
    Answer, BoundaryFinding, GetStatusRequest, OpenUnplannedRequest, Session, Verdict,
};
use tests::Cluster;
use tests::cast::{CHAN, LEE, OTP, OTP_S2, WONG};
use tests::cluster::{EAST, S2, WEST, local, refused, until};
use tests::login::By;
use tidemark::drill::{Door, call, request};
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
                assert_eq!(refused::<()>(Err(status)), "PRIMARY_ANSWERS");
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
    let main = cluster.node(5).lines().main().state().digests();
    assert_eq!(main.full, genesis, "I1: it begins with what is there");
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
    assert_eq!(
        refused(cluster.open().await),
        "ALREADY_OPEN",
        "not a second time"
    );
    cluster.at("2023-06-10 23:01").await;
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
