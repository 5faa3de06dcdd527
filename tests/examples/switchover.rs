//! How long nobody can log in while the primary's role moves: 20 switchovers there and back, and a
//! promotion after the primary's nodes were stopped. Six nodes in this process, one client that
//! tries one centre and then the other without pause, and its own record of what was answered. It ends
//! with an error where a gap is longer than is wanted.
//!
//! `cargo run --release -p tests --example switchover`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement may fail loudly, and prints what it found"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domain::approval::Act;
use proto::operator::v1::centre_service_client::CentreServiceClient;
use proto::operator::v1::cluster_service_client::ClusterServiceClient;
use proto::operator::v1::{
    AssessPromotionRequest, GetStatusRequest, Loss, PromoteRequest, PromotionTerms,
    SwitchoverRequest,
};
use tests::Cluster;
use tests::cast::{CARD, CHAN};
use tests::cluster::{EAST, WEST, until};
use tests::login::By;
use tidemark::drill::{Door, request};
use tidemark::terms;

const RUNS: usize = 20;
/// What is wanted of the gaps' median.
const GAP_MEDIAN_MAX: Duration = Duration::from_secs(2);
/// What is wanted of each gap, and of a promotion up to the first login.
const GAP_MAX: Duration = Duration::from_secs(10);
/// How long the client goes on before and after each move.
const AROUND: Duration = Duration::from_millis(500);

fn door(cluster: &Cluster, operator: usize, node: u64) -> &Door {
    let doors = cluster.operators(operator);
    doors.iter().find(|door| door.node == node).unwrap()
}

async fn login_at(cluster: &Cluster, centre: &str) -> bool {
    let doors = cluster.front_at(centre);
    let by = cluster.log_in_at(&doors, &CHAN, CHAN.card_option(), CARD, By::Card);
    by.await.is_ok()
}

/// One login, at whichever centre answers.
async fn login(cluster: &Cluster) -> bool {
    login_at(cluster, EAST).await || login_at(cluster, WEST).await
}

/// Logs in until told to stop; the longest time between two logins that succeeded.
async fn longest_gap(cluster: &Cluster, stop: &AtomicBool) -> Duration {
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    while !stop.load(Ordering::SeqCst) {
        if login(cluster).await {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    }
    longest.max(last.elapsed())
}

async fn relied_on(cluster: &Cluster) {
    until("the other centre is relied on", async || {
        let channel = door(cluster, 1, 2).channel.clone();
        let status = ClusterServiceClient::new(channel)
            .get_status(request(GetStatusRequest {}))
            .await
            .ok()?
            .into_inner();
        let protection = status.protection?;
        protection.degraded_time.is_none().then_some(())
    })
    .await;
}

async fn switch(cluster: &Cluster, to: &str) -> Duration {
    let stop = Arc::new(AtomicBool::new(false));
    let client = longest_gap(cluster, &stop);
    let act = async {
        tokio::time::sleep(AROUND).await;
        let message = SwitchoverRequest {
            request_id: cluster.id(),
            centre: to.to_owned(),
            reason: "a measurement".to_owned(),
        };
        CentreServiceClient::new(door(cluster, 1, 1).channel.clone())
            .switchover(request(message))
            .await
            .unwrap();
        tokio::time::sleep(AROUND).await;
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(client, act).0
}

async fn promote(cluster: &Cluster) -> Duration {
    let began = Instant::now();
    let channel = door(cluster, 1, 4).channel.clone();
    let mut node = CentreServiceClient::new(channel);
    let found = node
        .assess_promotion(request(AssessPromotionRequest {}))
        .await
        .unwrap()
        .into_inner();
    let wanted = PromotionTerms {
        accepted_loss: Loss::Unknown.into(),
        accept_split_brain: true,
        reason: "a measurement".to_owned(),
        ..found.terms.unwrap()
    };
    let act = Act::Promotion(Box::new(terms::read(&wanted).unwrap()));
    for operator in [1, 2] {
        let channel = door(cluster, operator, 4).channel.clone();
        let status = ClusterServiceClient::new(channel.clone())
            .get_status(request(GetStatusRequest {}))
            .await
            .unwrap();
        let seen = tidemark::approval::Seen::of(&status.into_inner()).unwrap();
        let message = PromoteRequest {
            terms: Some(wanted.clone()),
            approval: Some(cluster.pen(operator).sign(&act, &seen).unwrap()),
        };
        CentreServiceClient::new(channel)
            .promote(request(message))
            .await
            .unwrap();
    }
    // As a load balancer does, which asks nobody who does not serve.
    while !login_at(cluster, WEST).await {}
    began.elapsed()
}

#[tokio::main]
async fn main() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let mut gaps = Vec::new();
    for run in 0..RUNS {
        relied_on(&cluster).await;
        let to = if run % 2 == 0 { WEST } else { EAST };
        let gap = switch(&cluster, to).await;
        println!("switchover {:2} to {to}: {gap:?}", run + 1);
        gaps.push(gap);
    }
    gaps.sort();
    println!(
        "gap between two logins that succeeded, {RUNS} switchovers: median {:?}, worst {:?}",
        gaps.get(RUNS / 2).unwrap(),
        gaps.last().unwrap()
    );
    assert!(
        gaps.get(RUNS / 2)
            .is_some_and(|median| *median <= GAP_MEDIAN_MAX),
        "the median is above {GAP_MEDIAN_MAX:?}"
    );
    assert!(
        gaps.last().is_some_and(|worst| *worst <= GAP_MAX),
        "the worst is above {GAP_MAX:?}"
    );
    for node in 1..=3 {
        cluster.stop(node).await;
    }
    let took = promote(&cluster).await;
    println!("promotion, from the first look to the first login: {took:?}");
    assert!(took <= GAP_MAX, "it is above {GAP_MAX:?}");
    cluster.end().await;
}
