//! The primary's role moves while people log in and change their passwords and operators enter
//! firms. What those clients were answered is what is judged, not what the service says of itself
//! (LINES.md, "Switchover", "Promotion", "Reinstate"; I11, I12).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::policy::Policy;
use domain::protection::Mode;
use proto::operator::v1::{Fence, Loss, PromotionTerms};
use server::node::Fault;
use tests::cast::{CARD, CHAN, LAU, Person, TAM, WONG};
use tests::cluster::{EAST, WEST, until};
use tests::record::{self, Answer, Asked, Kept, Listed, Record};
use tests::search::{Search, Secrets};
use tests::{Cluster, Recorder};
use tidemark::args::centre::{Centre, Reinstate};
use tidemark::args::{Change, Confirm, Connection};
use tidemark::drill::Door;
use tidemark::output::{Format, Output};
use tidemark::{refusal, verb};

use crate::centres::{assess, promote, protected, switch};

/// How long a client that tries again may be without an answer while the role moves.
const GAP_MAX: Duration = Duration::from_secs(10);

pub(crate) fn everywhere(cluster: &Cluster) -> Vec<Door> {
    [cluster.front_at(EAST), cluster.front_at(WEST)].concat()
}

/// Clients of every kind, who know both centres.
async fn at_work(cluster: &Cluster) -> Recorder {
    let mut clients = Recorder::start(cluster).await;
    clients.logs_in(&CHAN, everywhere(cluster));
    clients.logs_in(&WONG, everywhere(cluster));
    clients.changes_password(&LAU, everywhere(cluster));
    clients.changes_password(&TAM, everywhere(cluster));
    clients.enters_firms('S', cluster.operators(1).to_vec());
    clients
        .acknowledged("they are answered", 10, |_| true)
        .await;
    clients
}

/// Clients who know one centre, as with a stale address: those of the east never ask the west. One
/// knows both, and stays where it is answered.
pub(crate) async fn at_work_in_each(cluster: &Cluster, changes: &'static Person) -> Recorder {
    let mut clients = Recorder::start(cluster).await;
    clients.logs_in(&CHAN, everywhere(cluster));
    clients.logs_in(&TAM, cluster.front_at(EAST));
    clients.logs_in(&WONG, cluster.front_at(WEST));
    clients.changes_password(changes, cluster.front_at(EAST));
    clients.enters_firms('E', cluster.operators_at(EAST));
    clients.enters_firms('W', cluster.operators_at(WEST));
    let kinds: [fn(&Answer) -> bool; 3] = [
        |one| one.is_login() && one.is_of(EAST),
        |one| one.is_firm() && one.is_of(EAST),
        |one| one.is_firm() && one.is_of(WEST),
    ];
    for kind in kinds {
        clients.acknowledged("they are answered", 3, kind).await;
    }
    clients
}

async fn with_protection(cluster: &Cluster, mode: Mode) {
    let policy = Policy {
        protection: mode,
        ..cluster.policy().await
    };
    cluster.has_policy(&policy).await;
    protected(cluster).await;
}

/// Moves the role there; again where a check failed because of what went on.
pub(crate) async fn moved(cluster: &Cluster, to: &str) {
    until("the switchover is done", async || {
        match switch(cluster, 3, to).await {
            Ok(_) => Some(()),
            Err(status) => {
                let reason = refusal::reason(&status);
                (reason.as_deref() == Some("ALREADY_SO")).then_some(())
            }
        }
    })
    .await;
}

async fn there_and_back(mode: Mode) {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    with_protection(&cluster, mode).await;
    let clients = at_work(&cluster).await;
    let mut moves = Vec::new();
    for to in [WEST, EAST, WEST, EAST] {
        protected(&cluster).await;
        let began = Instant::now();
        moved(&cluster, to).await;
        let there = |one: &Answer| one.is_login() && one.is_of(to);
        clients.acknowledged("people log in there", 5, there).await;
        moves.push((began, Instant::now()));
    }
    let record = clients.end().await;
    for (began, ended) in &moves {
        let gap = record.longest_gap(*began, *ended);
        assert!(gap <= GAP_MAX, "nobody could log in for {gap:?}");
    }
    assert_eq!(record.turns(EAST), moves.len(), "I12");
    for centre in [EAST, WEST] {
        let firms = cluster.firms_at(&cluster.operators_at(centre)).await;
        let lost = record.lost_firms(&firms, |_| true);
        assert!(lost.is_empty(), "I11: {centre}: {lost:?}");
    }
    let doors = cluster.front_at(EAST);
    record.passwords_hold(&cluster, &doors, |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_there_and_back_keeps_all_that_clients_were_answered_by_one_centre_i11_i12() {
    there_and_back(Mode::Sync).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_switchover_keeps_all_that_clients_were_answered_by_one_centre_i11_i12() {
    there_and_back(Mode::Strict).await;
}

/// The flags of `centre reinstate`, as one of the operators says it.
fn reinstate(cluster: &Cluster, operator: &str, out: &Path, dry_run: bool) -> Centre {
    Centre::Reinstate(Reinstate {
        centre: EAST.to_owned(),
        out: Some(out.to_owned()),
        connection: Connection {
            profile: cluster.profile_path(),
            operator: Some(operator.to_owned()),
            node: Some(5),
            timeout: Duration::from_secs(20),
        },
        change: Change {
            dry_run,
            request_id: None,
            reason: Some("the east is mended".to_owned()),
            ok_if_done: false,
        },
        confirm: Confirm {
            confirm: Some(EAST.to_owned()),
        },
    })
}

async fn say(flags: &Centre) {
    let said = verb::centre::run(flags, Output::new(Format::Json)).await;
    said.unwrap();
}

/// What would be dropped of the east, once all of it can be read; and the file that says so.
pub(crate) async fn dropped(cluster: &Cluster, folder: &Path) -> (Vec<Listed>, PathBuf) {
    let out = folder.join("dropped.json");
    let flags = reinstate(cluster, "alice", &out, true);
    until("the old primary says what it has", async || {
        let said = verb::centre::run(&flags, Output::new(Format::Json)).await;
        said.ok()
    })
    .await;
    let text = std::fs::read_to_string(&out).unwrap();
    (record::listed(&text), out)
}

/// Both operators say it; whether all nodes are back is what the second one waits for.
pub(crate) async fn both_reinstate(cluster: &Cluster, out: &Path) {
    say(&reinstate(cluster, "alice", out, false)).await;
    say(&reinstate(cluster, "bob", out, false)).await;
}

/// Brings the nodes of the east back, which run in this process: each starts anew by itself
/// elsewhere.
async fn reinstated(cluster: &mut Cluster, out: &Path) {
    say(&reinstate(cluster, "alice", out, false)).await;
    let second = reinstate(cluster, "bob", out, false);
    let nodes = async {
        for node in 1..=3 {
            let fault = cluster.node(node).failed().await;
            assert!(matches!(fault, Fault::AnotherLife(_)), "{fault}");
            cluster.stop(node).await;
            cluster.restart(node).await;
        }
    };
    tokio::join!(say(&second), nodes);
    protected_by_the_east(cluster).await;
}

async fn protected_by_the_east(cluster: &Cluster) {
    until("the east protects", async || {
        let status = crate::centres::status(cluster, 4).await;
        status.protection?.degraded_time.is_none().then_some(())
    })
    .await;
}

/// What is promised of all that was answered before: the protected is at the new primary, and what
/// is not there is on the list (I11, I12).
pub(crate) async fn nothing_is_lost_unlisted(
    cluster: &Cluster,
    record: &Record,
    listed: &[Listed],
) {
    let firms = cluster.firms_at(&cluster.operators_at(WEST)).await;
    let lost = record.lost_firms(&firms, |one| one.kept() == Some(Kept::Protected));
    assert!(
        lost.is_empty(),
        "I11: it was said to be protected: {lost:?}"
    );
    let on_list = |one: &&Answer| {
        let (kind, about) = one.asked.row();
        let mut rows = listed.iter();
        rows.any(|row| row.kind == kind && row.about == about)
    };
    let mut lost = record.lost_firms(&firms, |_| true);
    lost.retain(|one| !on_list(one));
    assert!(lost.is_empty(), "I12: lost, and on no list: {lost:?}");
}

/// Two operators promote the west at node 4, on these terms.
pub(crate) async fn promoted(
    cluster: &Cluster,
    terms: &PromotionTerms,
) -> proto::operator::v1::PromoteResponse {
    promote(cluster, 1, 4, terms).await.unwrap();
    let done = promote(cluster, 2, 4, terms).await.unwrap();
    assert_eq!(done.primary, WEST);
    cluster.send_to(WEST);
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_primary_is_followed_within_10_s_and_what_it_alone_had_is_listed_i11_i12() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    protected(&cluster).await;
    let clients = at_work(&cluster).await;
    for node in 1..=3 {
        cluster.stop(node).await;
    }
    let began = Instant::now();
    let found = assess(&cluster, 4).await.unwrap();
    let terms = PromotionTerms {
        accepted_loss: Loss::Unknown.into(),
        accept_split_brain: true,
        reason: "the east is lost".to_owned(),
        ..found.terms.unwrap()
    };
    promoted(&cluster, &terms).await;
    let there = |one: &Answer| one.is_login() && one.is_of(WEST);
    clients.acknowledged("people log in there", 1, there).await;
    let took = began.elapsed();
    assert!(took <= GAP_MAX, "the first login came after {took:?}");

    for node in 1..=3 {
        cluster.restart(node).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let (listed, out) = dropped(&cluster, folder.path()).await;
    nothing_is_lost_unlisted(&cluster, &clients.so_far(), &listed).await;
    reinstated(&mut cluster, &out).await;
    clients.acknowledged("they go on", 10, there).await;
    moved(&cluster, EAST).await;
    let here = |one: &Answer| one.is_login() && one.is_of(EAST);
    clients
        .acknowledged("people log in here again", 5, here)
        .await;
    let record = clients.end().await;
    assert_eq!(record.turns(EAST), 2, "I12");
    nothing_is_lost_unlisted(&cluster, &record, &listed).await;
    cluster.agreed_digests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_shown_the_certificate_answers_nobody_and_its_list_is_complete_i11_i12() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    protected(&cluster).await;
    let clients = at_work_in_each(&cluster, &LAU).await;
    // The west listens no more from here on: the east gives it up, and answers alone.
    let found = assess(&cluster, 4).await.unwrap();
    let sealed = Instant::now();
    let alone = |one: &Answer| one.kept() == Some(Kept::Alone) && one.is_of(EAST);
    for kind in [Answer::is_firm, Answer::is_login] {
        let kind = |one: &Answer| alone(one) && kind(one);
        clients
            .acknowledged("the east answers alone", 5, kind)
            .await;
    }
    let terms = PromotionTerms {
        accepted_loss: Loss::Unknown.into(),
        reason: "the east is to be left".to_owned(),
        ..found.terms.unwrap()
    };
    let done = promoted(&cluster, &terms).await;
    let promoted = Instant::now();
    assert_eq!(done.fence(), Fence::Acknowledged);
    let there = |one: &Answer| one.is_login() && one.is_of(WEST);
    clients.acknowledged("people log in there", 5, there).await;

    let folder = tempfile::tempdir().unwrap();
    let (listed, out) = dropped(&cluster, folder.path()).await;
    let record = clients.so_far();
    let late = record.acknowledged();
    let mut late = late.filter(|one| one.is_of(EAST) && one.began >= promoted);
    assert_eq!(late.next().map(|one| &one.asked), None, "I12");
    nothing_is_lost_unlisted(&cluster, &record, &listed).await;
    // Nothing crossed after the seal: what the east answered since then is there alone.
    let missing = record.unlisted(&listed, |one| alone(one) && one.began >= sealed);
    assert!(missing.is_empty(), "I12: {missing:?}");
    let protected = |one: &Answer| one.kept() == Some(Kept::Protected);
    let doors = cluster.front_at(WEST);
    record.passwords_hold(&cluster, &doors, protected).await;

    reinstated(&mut cluster, &out).await;
    clients.acknowledged("they go on", 10, there).await;
    let record = clients.end().await;
    assert_eq!(record.turns(EAST), 1, "I12");
    nothing_is_lost_unlisted(&cluster, &record, &listed).await;
    cluster.agreed_digests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_strict_a_promotion_loses_nothing_that_a_client_was_answered_i11_i12() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    with_protection(&cluster, Mode::Strict).await;
    let clients = at_work_in_each(&cluster, &LAU).await;
    let found = assess(&cluster, 4).await.unwrap();
    let sealed = Instant::now();
    let terms = PromotionTerms {
        accepted_loss: Loss::None.into(),
        reason: "the east is to be left".to_owned(),
        ..found.terms.unwrap()
    };
    let done = promoted(&cluster, &terms).await;
    assert_eq!(
        (done.fence(), done.loss()),
        (Fence::Acknowledged, Loss::None)
    );
    let there = |one: &Answer| one.is_login() && one.is_of(WEST);
    clients.acknowledged("people log in there", 5, there).await;
    let record = clients.end().await;
    assert_eq!(record.turns(EAST), 1, "I12");
    let late = record.acknowledged();
    let mut late = late.filter(|one| one.is_of(EAST) && one.began >= sealed);
    assert_eq!(
        late.next().map(|one| &one.asked),
        None,
        "nobody protects it"
    );
    let firms = cluster.firms_at(&cluster.operators_at(WEST)).await;
    let lost = record.lost_firms(&firms, |_| true);
    assert!(lost.is_empty(), "I11: {lost:?}");
    let doors = cluster.front_at(WEST);
    record
        .passwords_hold(&cluster, &doors, |one| one.is_of(EAST))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_more_than_a_page_is_whole_holds_no_secret_and_is_read_later_too_i12() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    protected(&cluster).await;
    let mut clients = at_work_in_each(&cluster, &LAU).await;
    let found = assess(&cluster, 4).await.unwrap();
    let sealed = Instant::now();
    for letter in 'F'..'L' {
        clients.enters_firms(letter, cluster.operators_at(EAST));
    }
    let alone = |one: &Answer| one.kept() == Some(Kept::Alone) && one.is_of(EAST);
    for _ in 0..5 {
        let firms = |one: &Answer| alone(one) && one.is_firm();
        clients
            .acknowledged("the east answers alone", 210, firms)
            .await;
    }
    let terms = PromotionTerms {
        accepted_loss: Loss::Unknown.into(),
        reason: "the east is to be left".to_owned(),
        ..found.terms.unwrap()
    };
    promoted(&cluster, &terms).await;
    let record = clients.end().await;
    let folder = tempfile::tempdir().unwrap();
    let (listed, out) = dropped(&cluster, folder.path()).await;
    assert!(listed.len() > 1_000, "{}", listed.len());
    let missing = record.unlisted(&listed, |one| alone(one) && one.began >= sealed);
    assert!(missing.is_empty(), "I12: {missing:?}");

    let mut secrets = Secrets::default();
    for (what, value) in [("a password", CARD), ("a verifier", "$argon2id$")] {
        secrets.add(what, value);
    }
    for one in &record.0 {
        if let Asked::Password(_, password) = &one.asked {
            secrets.add("a password", password);
        }
    }
    secrets.add_keys(&std::fs::read_to_string(cluster.key_file(4)).unwrap());
    let text = std::fs::read(&out).unwrap();
    let found = Search::of(&secrets).find(&text);
    assert!(found.is_empty(), "{found:?}");

    // The nodes that keep it tell it to operators under its name, after the return too.
    reinstated(&mut cluster, &out).await;
    let document: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let line = document.get("line").unwrap().as_str().unwrap();
    let doors = cluster.operators_at(WEST);
    let kept = cluster.audit(&doors, line).await;
    let hashes: Vec<&str> = kept.iter().map(|event| event.hash.as_str()).collect();
    let records = document.get("records").unwrap().as_array().unwrap();
    let told = records.iter().map(|record| record.get("hash"));
    let told: Vec<&str> = told.map(|hash| hash.unwrap().as_str().unwrap()).collect();
    assert_eq!(hashes, told);
}
