//! Whether the time of an answer tells who exists (S23): interleaved tries of an unknown user id, a
//! suspended account and a wrong password, at what a password costs in service, through the gRPC
//! API of six nodes. Prints for each pair the chance that a classifier on time tells them apart.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark may fail loudly, and prints"
)]

use std::time::Duration;

use credential::phc::Params;
use domain::Digest;
use proto::account::v1::AccountClass;
use proto::admin::v1::account_service_client::AccountServiceClient;
use proto::admin::v1::{AccountRow, SuspendAccountRequest};
use proto::auth::v1::BeginLoginRequest;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use tests::Cluster;
use tests::cast::{CARD, CCMS_CARD, OTP};
use tests::cluster::TIMETABLE;
use tests::import::verifier;
use tidemark::drill::{call, request};
use tokio::time::Instant;

/// Tries of each kind.
const TRIES: usize = 1_000;
/// Tries at one account before its guesses are slowed, and a little room.
const TRIES_AN_ACCOUNT: usize = 8;
const KINDS: [&str; 3] = ["unknown user id", "suspended account", "wrong password"];
/// The orders in which the kinds of a round can come.
const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

fn user(kind: usize, number: usize) -> String {
    format!("T{kind}N{number:04}")
}

/// One try; how long its answer took.
async fn one(cluster: &Cluster, kind: usize, round: usize) -> Duration {
    let message = BeginLoginRequest {
        request_id: cluster.id(),
        user_id: user(kind, round / TRIES_AN_ACCOUNT),
        option: CCMS_CARD.to_owned(),
        password: OTP.to_owned(),
        client_address: "192.0.2.9".to_owned(),
    };
    let door = cluster.front().into_iter().next().unwrap();
    let mut client = AuthServiceClient::new(door.channel);
    let began = Instant::now();
    client.begin_login(request(message)).await.unwrap();
    began.elapsed()
}

/// The order of a round, drawn so that no kind comes more often after one than after another: what
/// the nodes do after an answer makes the next one wait.
fn order(round: usize) -> [usize; 3] {
    let drawn = Digest::of("order", &[&round.to_le_bytes()]);
    let [first, second, ..] = drawn.0;
    ORDERS[usize::from(u16::from_le_bytes([first, second])) % ORDERS.len()]
}

/// How often a try of the one kind took longer than one of the other, ties as halves.
fn auc(one: &[Duration], other: &[Duration]) -> f64 {
    let mut wins = 0.0;
    for a in one {
        for b in other {
            wins += match a.cmp(b) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    let pairs = one.len() * other.len();
    wins / f64::from(u32::try_from(pairs).unwrap())
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

async fn import(cluster: &Cluster, kind: usize) {
    let accounts = TRIES.div_ceil(TRIES_AN_ACCOUNT);
    let verifier = verifier(CARD, cluster.params());
    let rows = (0..accounts).map(|number| AccountRow {
        line: 1,
        user_id: user(kind, number),
        participant_id: "C00001".to_owned(),
        account_class: AccountClass::User.into(),
        title: "Somebody".to_owned(),
        email: String::new(),
        card_number: format!("TK{kind}N{number}"),
        card_verifier: verifier.clone(),
    });
    cluster.imports(Vec::new(), rows.collect()).await;
}

async fn suspend(cluster: &Cluster, kind: usize) {
    for number in 0..TRIES.div_ceil(TRIES_AN_ACCOUNT) {
        let message = SuspendAccountRequest {
            request_id: cluster.id(),
            name: format!("participants/C00001/users/{}", user(kind, number)),
            reason: "for the benchmark".to_owned(),
            client_address: String::new(),
            ..SuspendAccountRequest::default()
        };
        call(cluster.operators(1), |channel| {
            let message = message.clone();
            async move {
                AccountServiceClient::new(channel)
                    .suspend_account(request(message))
                    .await
            }
        })
        .await
        .unwrap();
    }
}

#[tokio::main]
async fn main() {
    let cluster = Box::pin(Cluster::with_cost(TIMETABLE, Params::STANDARD)).await;
    cluster.serves_at("2023-06-10 18:00").await;
    import(&cluster, 1).await;
    import(&cluster, 2).await;
    suspend(&cluster, 1).await;
    let mut times: [Vec<Duration>; 3] = Default::default();
    for round in 0..TRIES {
        for kind in order(round) {
            times[kind].push(one(&cluster, kind, round).await);
        }
    }
    println!("answers to BeginLogin, {TRIES} tries of each kind, interleaved");
    for (kind, times) in KINDS.iter().zip(&times) {
        println!("{kind:<20} median {:?}", median(times));
    }
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        println!(
            "AUC {:.3}  {} against {}",
            auc(&times[one], &times[other]),
            KINDS[one],
            KINDS[other]
        );
    }
    cluster.end().await;
}
