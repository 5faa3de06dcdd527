//! The primary's role moves, planned and not (LINES.md, "Switchover", "Promotion"; I11, I12).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use domain::approval::Act;
use proto::operator::v1::centre_service_client::CentreServiceClient;
use proto::operator::v1::cluster_service_client::ClusterServiceClient;
use proto::operator::v1::{
    AssessPromotionRequest, AssessPromotionResponse, Check, CheckSwitchoverRequest, Fence,
    GetStatusRequest, GetStatusResponse, Loss, PromoteRequest, PromoteResponse, PromotionTerms,
    ReleaseSealsRequest, SwitchoverRequest, SwitchoverResponse, Verdict,
};
use tests::Cluster;
use tests::cast::{CHAN, LEE, TAM, WONG};
use tests::cluster::{EAST, WEST, refused, until};
use tidemark::drill::{Door, call, request};
use tidemark::terms;
use tonic::Status;

fn door(cluster: &Cluster, operator: usize, node: u64) -> &Door {
    let doors = cluster.operators(operator);
    doors.iter().find(|door| door.node == node).unwrap()
}

pub(crate) async fn status(cluster: &Cluster, node: u64) -> GetStatusResponse {
    let channel = door(cluster, 1, node).channel.clone();
    let answer = ClusterServiceClient::new(channel)
        .get_status(request(GetStatusRequest {}))
        .await;
    answer.unwrap().into_inner()
}

pub(crate) async fn protected(cluster: &Cluster) {
    until("the other centre is relied on", async || {
        let protection = status(cluster, 2).await.protection?;
        protection.degraded_time.is_none().then_some(())
    })
    .await;
}

async fn checks(cluster: &Cluster, to: &str) -> Vec<Check> {
    let answer = call(cluster.operators(1), |channel| async move {
        let message = CheckSwitchoverRequest {
            centre: to.to_owned(),
        };
        CentreServiceClient::new(channel)
            .check_switchover(request(message))
            .await
    });
    answer.await.unwrap().checks
}

pub(crate) async fn switch(
    cluster: &Cluster,
    node: u64,
    to: &str,
) -> Result<SwitchoverResponse, Status> {
    let message = SwitchoverRequest {
        request_id: cluster.id(),
        centre: to.to_owned(),
        reason: "a drill".to_owned(),
    };
    CentreServiceClient::new(door(cluster, 1, node).channel.clone())
        .switchover(request(message))
        .await
        .map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_moves_logins_and_a_token_stays_good() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    protected(&cluster).await;
    let token = cluster.with_card(&CHAN).await;
    // Each node's word is a second old at most.
    until("every check holds", async || {
        let found = checks(&cluster, WEST).await;
        // A machine that runs tests may have little room.
        let well = found.iter().all(|check| check.verdict() != Verdict::Error);
        well.then_some(())
    })
    .await;
    let answer = switch(&cluster, 3, WEST).await.unwrap();
    assert_eq!(answer.primary, WEST);
    cluster.send_to(WEST);
    assert!(
        cluster.good(&token, token.scope()).await,
        "nothing was lost"
    );
    cluster.with_card(&WONG).await;
    cluster.send_to(EAST);
    let there = cluster.log_in(
        &LEE,
        LEE.card_option(),
        tests::cast::CARD,
        tests::login::By::Card,
    );
    assert_eq!(refused(there.await), "CENTRE_NOT_SERVING");
    // It is so already; and back.
    assert_eq!(refused(switch(&cluster, 5, WEST).await), "ALREADY_SO");
    protected(&cluster).await;
    assert_eq!(switch(&cluster, 5, EAST).await.unwrap().primary, EAST);
    cluster.with_card(&LEE).await;
    assert!(cluster.good(&token, token.scope()).await);
    assert_eq!(status(&cluster, 1).await.verdict(), Verdict::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_is_refused_while_a_check_fails_and_changes_nothing() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    protected(&cluster).await;
    cluster.stop(5).await;
    cluster.stop(6).await;
    // Nobody waits until the last word of each is old.
    assert_eq!(refused(switch(&cluster, 1, WEST).await), "CHECK_FAILED");
    let found = checks(&cluster, WEST).await;
    let failed = found
        .iter()
        .filter(|check| check.verdict() == Verdict::Error);
    let failed: Vec<&str> = failed.map(|check| check.check.as_str()).collect();
    assert!(failed.contains(&"NODES"), "{failed:?}");
    assert_eq!(
        refused(switch(&cluster, 1, "north").await),
        "NO_SUCH_CENTRE"
    );
    cluster.with_card(&CHAN).await;
}

pub(crate) async fn assess(
    cluster: &Cluster,
    node: u64,
) -> Result<AssessPromotionResponse, Status> {
    CentreServiceClient::new(door(cluster, 1, node).channel.clone())
        .assess_promotion(request(AssessPromotionRequest {}))
        .await
        .map(tonic::Response::into_inner)
}

pub(crate) async fn promote(
    cluster: &Cluster,
    operator: usize,
    node: u64,
    promotion: &PromotionTerms,
) -> Result<PromoteResponse, Status> {
    let act = Act::Promotion(Box::new(terms::read(promotion).unwrap()));
    let seen = tidemark::approval::Seen::of(&status(cluster, node).await).unwrap();
    let message = PromoteRequest {
        terms: Some(promotion.clone()),
        approval: Some(cluster.pen(operator).sign(&act, &seen).unwrap()),
    };
    CentreServiceClient::new(door(cluster, operator, node).channel.clone())
        .promote(request(message))
        .await
        .map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_promote_the_other_centre_when_the_primary_is_lost() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    protected(&cluster).await;
    let token = cluster.with_card(&CHAN).await;
    for node in 1..=3 {
        cluster.stop(node).await;
    }
    let found = assess(&cluster, 4).await.unwrap();
    assert!(
        found.nodes.iter().all(|node| node.problem.is_empty()),
        "{found:?}"
    );
    let shown = found.terms.unwrap();
    // What is sync may have been degraded since: nobody here can know.
    assert_eq!(shown.accepted_loss(), Loss::Unknown);
    let wanted = PromotionTerms {
        reason: "the east is on fire".to_owned(),
        ..shown.clone()
    };
    let claims = PromotionTerms {
        accepted_loss: Loss::None.into(),
        accept_split_brain: true,
        ..wanted.clone()
    };
    assert_eq!(
        promote(&cluster, 1, 4, &claims).await.unwrap().needed_count,
        2
    );
    let claimed = promote(&cluster, 2, 4, &claims).await;
    assert_eq!(refused(claimed), "NOT_PROMOTED");
    // The old primary cannot say that it has stopped.
    assert_eq!(
        promote(&cluster, 1, 4, &wanted)
            .await
            .unwrap()
            .approval_count,
        1
    );
    assert_eq!(
        refused(promote(&cluster, 2, 4, &wanted).await),
        "NOT_FENCED"
    );
    let accepted = PromotionTerms {
        accept_split_brain: true,
        ..wanted
    };
    let first = promote(&cluster, 1, 4, &accepted).await.unwrap();
    assert_eq!((first.approval_count, first.primary.as_str()), (1, ""));
    let again = promote(&cluster, 1, 4, &accepted).await.unwrap();
    assert_eq!(again.approval_count, 1, "one person counts once");
    let done = promote(&cluster, 2, 4, &accepted).await.unwrap();
    assert_eq!(done.primary, WEST);
    assert_eq!((done.fence(), done.loss()), (Fence::None, Loss::Unknown));
    cluster.send_to(WEST);
    cluster.with_card(&WONG).await;
    assert!(
        !cluster.good(&token, token.scope()).await,
        "tokens have ended"
    );
    // Back, the old primary is shown the certificate, and serves nobody.
    cluster.restart(1).await;
    cluster.restart(2).await;
    until("the old primary has stopped", async || {
        let stopped = |node| {
            let lines = cluster.node(node).lines();
            lines.main().running().is_err().then_some(())
        };
        stopped(1).and(stopped(2))
    })
    .await;
    cluster.with_card(&LEE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assessment_can_be_taken_back_and_the_primary_never_noticed() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    protected(&cluster).await;
    assert_eq!(refused(assess(&cluster, 1).await), "ALREADY_SO");
    let found = assess(&cluster, 5).await.unwrap();
    assert!(!found.primary_heard_node_ids.is_empty());
    cluster.with_card(&CHAN).await;
    let released = CentreServiceClient::new(door(&cluster, 1, 5).channel.clone())
        .release_seals(request(ReleaseSealsRequest::default()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(released.node_ids, [4, 5, 6]);
    protected(&cluster).await;
    cluster.with_card(&TAM).await;
}
