//! Session 2 while the primary is cut off, and alive: it goes on with the main line, and hears of
//! the session once the link is back (R41; LINES.md, "Opening, unplanned").

use proto::operator::v1::session_service_client::SessionServiceClient;
use proto::operator::v1::{Answer, BoundaryFinding, OpenUnplannedRequest, PlanStage, Session};
use tests::cast::{CHAN, TAM, WONG};
use tests::cluster::{EAST, S2, WEST, refused, settled, until};
use tests::login::By;
use tests::record::{Asked, Kept};
use tests::{Cluster, Recorder};
use tidemark::drill::{call, request};

use super::{healed, link};

async fn listed(cluster: &Cluster) -> Session {
    let listed = cluster.sessions().await.into_iter();
    let mut sessions = listed.filter_map(|entry| entry.session);
    sessions.find(|session| session.session == S2).unwrap()
}

async fn opened(cluster: &Cluster) -> Session {
    let doors = cluster.operators_at(WEST);
    until("the primary is heard no more", async || {
        let answer = call(&doors, |channel| async move {
            let message = OpenUnplannedRequest {
                validate_only: false,
                session: S2.to_owned(),
                reason: "the primary is cut off".to_owned(),
            };
            SessionServiceClient::new(channel)
                .open_unplanned(request(message))
                .await
        });
        match answer.await {
            Ok(answer) => answer.session,
            Err(status) => {
                let reason = refused::<()>(Err(status));
                let early = ["PRIMARY_ANSWERS", "NOT_OPENED"].contains(&reason.as_str());
                assert!(early, "{reason}");
                None
            }
        }
    })
    .await
}

/// People log in at the secondary, on the branch, while operators of the cut-off primary change the
/// main line: that stays, the branch's goes, and Monday is as planned.
pub(super) async fn while_the_primary_is_cut_off(cluster: &Cluster) {
    cluster.at("2023-06-10 20:01").await;
    cluster.at("2023-06-10 21:50").await;
    for operator in [1, 2] {
        settled(|| cluster.approve(operator)).await.unwrap();
    }
    cluster.at("2023-06-10 22:00").await;
    healed(cluster, "both centres have it").await;
    link(&["cut", "both"]);
    opened(cluster).await;
    cluster.send_to(WEST);

    let mut clients = Recorder::start(cluster).await;
    clients.logs_in(&CHAN, cluster.front_at(WEST));
    clients.changes_password(&WONG, cluster.front_at(WEST));
    clients.logs_in(&TAM, cluster.front_at(EAST));
    clients.enters_firms('D', cluster.operators_at(EAST));
    clients
        .acknowledged("people change on the branch", 3, |one| {
            matches!(one.asked, Asked::Password(..))
        })
        .await;
    clients
        .acknowledged("the primary goes on", 3, |one| {
            one.is_firm() && one.kept() == Some(Kept::Alone)
        })
        .await;
    let record = clients.end().await;
    let served = record.acknowledged().filter(|one| !one.is_firm());
    let east = served.filter(|one| one.is_of(EAST)).count();
    assert_eq!(east, 0, "nobody is served between two sessions");

    link(&["heal"]);
    let taken = until("the main line has taken it over", async || {
        let unplanned = listed(cluster).await.unplanned?;
        (unplanned.finding() != BoundaryFinding::Unspecified).then_some(unplanned)
    })
    .await;
    assert_eq!(taken.finding(), BoundaryFinding::OnMainLine);
    cluster.at("2023-06-10 23:01").await;
    until("it closes by the timetable", async || {
        let stage = listed(cluster).await.stage();
        (stage == PlanStage::Closed).then_some(())
    })
    .await;
    let evidence = cluster.rolled_over(Answer::Waive).await.evidence.unwrap();
    assert!(evidence.lost.is_empty());
    let acknowledged = record.acknowledged();
    let changed = acknowledged.filter(|one| matches!(one.asked, Asked::Password(..)));
    let changed = changed.count();
    let forgotten = evidence.forgotten.iter();
    let forgotten = forgotten.filter(|change| change.kind == "PasswordChanged");
    assert!(forgotten.count() >= changed, "I5");
    let firms = cluster.firms_at(cluster.operators(1)).await;
    let lost = record.lost_firms(&firms, |_| true);
    assert!(lost.is_empty(), "I11: {lost:?}");

    cluster.at("2023-06-12 08:00").await;
    cluster.with_card(&WONG).await;
    let new = record.0.iter().rev().find_map(|one| match &one.asked {
        Asked::Password(_, password) => Some(password.clone()),
        Asked::Login(_) | Asked::Firm(_) => None,
    });
    let new = new.unwrap();
    let new = cluster.log_in(&WONG, WONG.card_option(), &new, By::Card);
    assert_eq!(refused(new.await), "CREDENTIALS_REJECTED", "R53");
}
