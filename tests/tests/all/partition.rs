//! Two centres with a link between them that is cut: both ways, one way, again and again. People go
//! on to log in at the primary, and are told whether it is protected (LINES.md, "Protection"); the
//! role moves, the other centre is promoted, the old primary comes back, and a drill is held.
//!
//! Needs network namespaces, so `scripts/netns test` runs it, where they are allowed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]
#![allow(
    clippy::print_stdout,
    reason = "who runs them wants to know how long it took"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::centres::switch;
use proto::operator::v1::cluster_service_client::ClusterServiceClient;
use proto::operator::v1::{CentreRole, CentreStatus, GetStatusRequest, GetStatusResponse, Verdict};
use tests::Cluster;
use tests::cast::{CARD, CHAN, HO, LAU, LEE, MAK, SIT, TAM};
use tests::cluster::{EAST, WEST, until};
use tests::login::By;
use tidemark::drill::request;

mod back;
mod drill;

/// When protection is given up (`T_degrade`), and by when it must have been.
const DEGRADE: Duration = Duration::from_secs(3);
const DEGRADE_MAX: Duration = Duration::from_secs(8);

/// Works the link, as an operator would.
fn link(words: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/netns");
    let output = Command::new(script).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
}

async fn status(cluster: &Cluster, node: u64) -> Option<GetStatusResponse> {
    let door = cluster.operators(1).iter().find(|door| door.node == node);
    let answer = ClusterServiceClient::new(door?.channel.clone())
        .get_status(request(GetStatusRequest {}))
        .await;
    Some(answer.ok()?.into_inner())
}

async fn is_degraded(cluster: &Cluster) -> Option<bool> {
    let protection = status(cluster, 1).await?.protection?;
    Some(protection.degraded_time.is_some())
}

/// Returns once every node hears every other one, none trails, and answers are protected.
async fn healed(cluster: &Cluster, after: &str) {
    until(after, async || {
        for node in 1..=6 {
            let status = status(cluster, node).await?;
            let well = status.verdict() == Verdict::Ok && !status.digests_differ;
            (well && status.nodes.iter().all(|node| node.reachable)).then_some(())?;
        }
        (!is_degraded(cluster).await?).then_some(())
    })
    .await;
}

/// Logs people in until protection was given up; how long that took, and how many logged in.
async fn until_degraded(cluster: &Cluster) -> (Duration, usize) {
    let began = Instant::now();
    let mut logins = 0;
    while is_degraded(cluster).await == Some(false) {
        // Each of them succeeds: the one that waits is told that it is not protected.
        for person in [&CHAN, &LAU, &TAM] {
            cluster.with_card(person).await;
            logins += 1;
        }
        assert!(
            began.elapsed() < DEGRADE_MAX,
            "it waits for the secondary still"
        );
    }
    (began.elapsed(), logins)
}

async fn while_the_link_flaps(cluster: &Cluster) {
    let flapping = std::thread::spawn(|| link(&["flap", "10"]));
    let mut logins = 0;
    while !flapping.is_finished() {
        cluster.with_card(&CHAN).await;
        logins += 1;
    }
    flapping.join().unwrap();
    println!("{logins} logins while the link flapped");
    assert!(logins > 0);
    healed(cluster, "it ends well").await;
}

async fn while_the_link_is_cut(cluster: &Cluster, way: &str) {
    let before = status(cluster, 1).await.unwrap().protection.unwrap();
    link(&["cut", way]);
    let (took, logins) = until_degraded(cluster).await;
    println!(
        "cut {way}: degraded after {} ms, {logins} logins by then",
        took.as_millis()
    );
    // Confirmed answers before the cut count from their own time.
    assert!(took + Duration::from_secs(1) >= DEGRADE, "{took:?}");

    for person in [&CHAN, &LAU, &TAM] {
        let began = Instant::now();
        cluster.with_card(person).await;
        assert!(began.elapsed() < DEGRADE, "an answer waits no more");
    }
    let cut = status(cluster, 1).await.unwrap();
    assert_eq!(cut.verdict(), Verdict::Warning, "{:?}", cut.reasons);
    // Whom the leader's word does not reach knows that it does not know.
    if way != "west-east" {
        until("the secondary hears nobody", async || {
            let there = status(cluster, 4).await?;
            (there.verdict() == Verdict::Error).then_some(())
        })
        .await;
    }

    link(&["heal"]);
    let began = Instant::now();
    healed(cluster, "protection comes back").await;
    println!(
        "healed: protected again after {} ms",
        began.elapsed().as_millis()
    );
    let after = status(cluster, 1).await.unwrap().protection.unwrap();
    assert_eq!(after.degraded_count, before.degraded_count + 1);
}

/// Begins to move the primary's role, and cuts the link that much later. Whatever came of it, once
/// the link is back one centre is the primary for all nodes, and people log in there.
async fn a_switchover_that_the_link_dies_in(cluster: &Cluster, after: Duration) {
    let from = primary(cluster).await;
    let to = if from == EAST { WEST } else { EAST };
    let node = if from == EAST { 2 } else { 5 };
    let (said, ()) = tokio::join!(switch(cluster, node, to), async {
        // When it dies is what is tried.
        tokio::time::sleep(after).await;
        link(&["cut", "both"]);
    });
    let told = match &said {
        Ok(done) => {
            assert_eq!(done.primary, to, "what is answered is so");
            "done"
        }
        Err(_) => "not answered, or refused",
    };
    link(&["heal"]);
    healed(cluster, "the link is back").await;
    // A switchover that had begun goes on by itself then.
    let now = until("people log in at the primary", async || {
        let now = primary(cluster).await;
        cluster.send_to(&now);
        let login = cluster.log_in(&CHAN, CHAN.card_option(), CARD, By::Card);
        login.await.ok().map(|_| now)
    })
    .await;
    if said.is_ok() {
        assert_eq!(now, to, "what was answered stays so");
    }
    println!(
        "switchover from {from}, cut after {} ms: {told}; the primary is {now}",
        after.as_millis()
    );
    for person in [&LAU, &TAM] {
        cluster.with_card(person).await;
    }
}

/// The centre that every node takes for the primary.
async fn primary(cluster: &Cluster) -> String {
    until("all nodes name one primary", async || {
        let mut named = BTreeSet::new();
        for node in 1..=6 {
            let status = status(cluster, node).await?;
            let is_primary = |centre: &CentreStatus| centre.role() == CentreRole::Primary;
            let centre = status.centres.into_iter().find(is_primary)?;
            named.insert(centre.centre);
        }
        named.pop_first().filter(|_| named.is_empty())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs network namespaces: scripts/netns test"]
async fn logins_go_on_while_the_centres_are_cut_apart_and_as_the_primary_moves_i11_i12() {
    let folder = std::env::var_os("TIDEMARK_CLUSTER").map(PathBuf::from);
    let cluster = Box::pin(Cluster::elsewhere(&folder.unwrap())).await;
    cluster.at("2023-06-10 18:00").await;
    healed(&cluster, "it begins well").await;

    while_the_link_flaps(&cluster).await;
    for way in ["both", "east-west", "west-east"] {
        while_the_link_is_cut(&cluster, way).await;
    }

    for after in [0, 20, 60, 150, 300] {
        a_switchover_that_the_link_dies_in(&cluster, Duration::from_millis(after)).await;
    }
    let kinds = cluster.audited_kinds().await;
    for kind in ["ProtectionDegraded", "ProtectionRecovered"] {
        assert!(
            kinds.get(kind).is_some_and(|count| *count >= 3),
            "{kinds:?}"
        );
    }
    back::to(&cluster, EAST).await;
    back::promoted_and_back(&cluster, "both", &LAU).await;
    // The gate has the short form; `scripts/netns test all` goes on.
    if std::env::var_os("TIDEMARK_CUTS").is_none_or(|cuts| cuts != "all") {
        return;
    }
    for (way, person) in [("east-west", &LEE), ("west-east", &HO), ("flap", &MAK)] {
        back::promoted_and_back(&cluster, way, person).await;
    }
    back::strictly_promoted_and_back(&cluster, &SIT).await;
    drill::while_the_primary_is_cut_off(&cluster).await;
}
