//! The other centre is promoted while the primary is cut off and goes on by itself; then the link is
//! back, and so is the old primary, as the secondary. Clients of both centres call all the while,
//! and what they were answered is judged (LINES.md, "Promotion", "Reinstate"; I11, I12).

use std::time::{Duration, Instant};

use domain::policy::Policy;
use domain::protection::Mode;
use proto::operator::v1::{Fence, Loss, PromotionTerms};
use tests::cast::{CARD, CHAN, NG, Person};
use tests::cluster::{EAST, WEST, refused, until};
use tests::login::By;
use tests::record::{Answer, Kept};
use tests::{Cluster, Recorder};
use tidemark::drill::Door;

use super::{healed, link, primary};
use crate::centres::assess;
use crate::moves::{
    at_work_in_each, both_reinstate, dropped, moved, nothing_is_lost_unlisted, promoted,
};

/// How soon people must log in at a centre that is promoted.
const PROMOTION_MAX: Duration = Duration::from_secs(10);
/// How long a link flaps: longer than a promotion takes.
const FLAPS_S: &str = "15";

fn login_at(centre: &str) -> impl Fn(&Answer) -> bool {
    move |one| one.is_login() && one.is_of(centre)
}

/// Moves the role there, unless it is there.
pub(super) async fn to(cluster: &Cluster, centre: &str) {
    if primary(cluster).await != centre {
        moved(cluster, centre).await;
        healed(cluster, "the role has moved").await;
    }
    cluster.send_to(centre);
}

/// Returns once no node of the east logs anybody in.
async fn nobody_is_served_by_the_east(cluster: &Cluster) {
    for node in 1..=3 {
        until("the old primary serves nobody", async || {
            let doors = cluster.front_at(EAST);
            let door: Vec<Door> = doors.into_iter().filter(|door| door.node == node).collect();
            let login = cluster.log_in_at(&door, &CHAN, CHAN.card_option(), CARD, By::Card);
            login.await.is_err().then_some(())
        })
        .await;
    }
}

/// Both operators bring the east back, and the role goes back to it.
async fn come_back(cluster: &Cluster, clients: &Recorder, out: &std::path::Path) {
    let began = Instant::now();
    both_reinstate(cluster, out).await;
    healed(cluster, "the old primary is the secondary").await;
    println!(
        "  back after {} ms, from the first signature",
        began.elapsed().as_millis()
    );
    clients.acknowledged("they go on", 5, login_at(WEST)).await;
    to(cluster, EAST).await;
    clients
        .acknowledged("they log in at the east again", 5, login_at(EAST))
        .await;
}

/// The west is promoted while the link is cut this way, or flaps; what the old primary answers
/// then is all on the list of what is dropped.
pub(super) async fn promoted_and_back(cluster: &Cluster, way: &str, person: &'static Person) {
    let clients = at_work_in_each(cluster, person).await;
    if way == "both" {
        cluster.suspend_serving(&NG).await.unwrap();
    }
    let flapping = match way {
        "flap" => Some(std::thread::spawn(|| link(&["flap", FLAPS_S]))),
        way => {
            link(&["cut", way]);
            None
        }
    };
    let began = Instant::now();
    let found = assess(cluster, 4).await.unwrap();
    let sealed = Instant::now();
    let terms = PromotionTerms {
        accepted_loss: Loss::Unknown.into(),
        accept_split_brain: true,
        reason: format!("the east is not heard: {way}"),
        ..found.terms.unwrap()
    };
    let done = promoted(cluster, &terms).await;
    let since = Instant::now();
    clients
        .acknowledged("people log in at the west", 1, login_at(WEST))
        .await;
    let took = began.elapsed();
    assert!(took <= PROMOTION_MAX, "{took:?}");
    println!(
        "promoted, {way}: first login after {} ms, fence {:?}",
        took.as_millis(),
        done.fence()
    );
    let alone = |one: &Answer| one.is_of(EAST) && one.kept() == Some(Kept::Alone);
    // What the west sends reaches the east there: it may be shown the certificate and stop, unheard.
    if flapping.is_none() && way != "east-west" {
        // The old one goes on: that is what was accepted by name.
        assert_eq!(done.fence(), Fence::None);
        for kind in [Answer::is_firm, Answer::is_login] {
            let kind = |one: &Answer| alone(one) && kind(one);
            clients
                .acknowledged("the old primary goes on", 5, kind)
                .await;
        }
    }
    if way == "both" {
        let there = cluster.log_in(&NG, NG.card_option(), CARD, By::Card);
        assert_eq!(refused(there.await), "CREDENTIALS_REJECTED", "I11");
    }

    if let Some(flapping) = flapping {
        flapping.join().unwrap();
    }
    link(&["heal"]);
    nobody_is_served_by_the_east(cluster).await;
    let folder = tempfile::tempdir().unwrap();
    let (listed, out) = dropped(cluster, folder.path()).await;
    let record = clients.so_far();
    nothing_is_lost_unlisted(cluster, &record, &listed).await;
    // The seals stood: nothing that was answered since crossed the link, flapping or not.
    let missing = record.unlisted(&listed, |one| alone(one) && one.began >= sealed);
    assert!(missing.is_empty(), "I12: {missing:?}");
    let late = record.acknowledged();
    let late = late.filter(|one| one.is_of(EAST) && one.began >= since);
    let (late, claims): (Vec<&Answer>, Vec<&Answer>) = late.partition(|one| alone(one));
    assert!(claims.is_empty(), "I11: nobody protected it: {claims:?}");
    println!(
        "  {} answers of the old primary after the promotion, {} records on the list",
        late.len(),
        listed.len()
    );
    assert!(way == "flap" || !late.is_empty());
    let protected = |one: &Answer| one.kept() == Some(Kept::Protected);
    let doors = cluster.front_at(WEST);
    record.passwords_hold(cluster, &doors, protected).await;

    come_back(cluster, &clients, &out).await;
    let record = clients.end().await;
    nothing_is_lost_unlisted(cluster, &record, &listed).await;
}

/// In `strict`, one main line answers at a time whatever the link does, and nothing is lost.
pub(super) async fn strictly_promoted_and_back(cluster: &Cluster, person: &'static Person) {
    let sync = cluster.policy().await;
    let strict = Policy {
        protection: Mode::Strict,
        ..sync.clone()
    };
    cluster.has_policy(&strict).await;
    healed(cluster, "it is strict").await;
    let clients = at_work_in_each(cluster, person).await;
    link(&["cut", "both"]);
    let found = assess(cluster, 4).await.unwrap();
    let sealed = Instant::now();
    let terms = PromotionTerms {
        accepted_loss: Loss::None.into(),
        accept_split_brain: true,
        reason: "the east is not heard".to_owned(),
        ..found.terms.unwrap()
    };
    let done = promoted(cluster, &terms).await;
    assert_eq!((done.fence(), done.loss()), (Fence::None, Loss::None));
    clients
        .acknowledged("people log in at the west", 20, login_at(WEST))
        .await;
    link(&["heal"]);
    nobody_is_served_by_the_east(cluster).await;
    let folder = tempfile::tempdir().unwrap();
    let (_, out) = dropped(cluster, folder.path()).await;
    let record = clients.so_far();
    assert_eq!(record.turns(EAST), 1, "I12");
    let late = record.acknowledged();
    let late: Vec<&Answer> = late
        .filter(|one| one.is_of(EAST) && one.began >= sealed)
        .collect();
    assert!(late.is_empty(), "I12: nobody protected it: {late:?}");
    nothing_is_lost_unlisted(cluster, &record, &[]).await;
    let doors = cluster.front_at(WEST);
    record.passwords_hold(cluster, &doors, |_| true).await;
    come_back(cluster, &clients, &out).await;
    clients.end().await;
    cluster.has_policy(&sync).await;
    healed(cluster, "it is as before").await;
}
