//! Whether the time of an answer tells who exists, is suspended or is locked (S23): interleaved
//! tries of each kind, at what a password costs in service, through the gRPC API of six nodes.
//! `cargo run --release -p tests --example timing -- [TRIES] [--assert]` prints for each pair the
//! chance that a classifier on time tells them apart, of BeginLogin and of VerifyFactor; with
//! `--assert` it ends with 1 if one is outside 0.45 to 0.55.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark may fail loudly, and prints"
)]

use std::process::ExitCode;
use std::time::Duration;

use credential::phc::Params;
use domain::Digest;
use domain::attempts::{CONSECUTIVE_FAILURES_MAX, FREE_FAILURES, KNOWN_MAX, WAIT_MS_MAX};
use proto::account::v1::AccountClass;
use proto::admin::v1::account_service_client::AccountServiceClient;
use proto::admin::v1::{AccountRow, SuspendAccountRequest};
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::verify_factor_request::Factor;
use proto::auth::v1::{BeginLoginRequest, BeginLoginResponse, VerifyFactorRequest};
use tests::cast::{CARD, CCMS_CARD, CHAN, HO, LAU, LEE, NG, OTP, WONG};
use tests::cluster::{TIMETABLE, refused};
use tests::import::verifier;
use tests::{Cluster, Person};
use tidemark::drill::{call, request};
use tokio::time::Instant;
use tonic::Status;

/// Tries of each kind, if it is not said.
const TRIES: usize = 1_000;
/// Tries at one account before its guesses are slowed, and a little room.
const TRIES_AN_ACCOUNT: usize = 8;
/// Who is locked for the tries with a wrong password, and for those with the right one.
const LOCKED: [[&Person; 3]; 2] = [[&CHAN, &WONG, &LEE], [&HO, &NG, &LAU]];
/// Tries at the locked accounts before each of their counts makes them wait.
const TRIES_A_WAIT: usize = LOCKED[0].len() * (KNOWN_MAX + 1);
/// Within which the chance must be.
const AUC_BOUNDS: [f64; 2] = [0.45, 0.55];

/// What is tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unknown,
    WrongPassword,
    Suspended,
    SuspendedRightPassword,
    Locked,
    LockedRightPassword,
}

const KINDS: [Kind; 6] = [
    Kind::Unknown,
    Kind::WrongPassword,
    Kind::Suspended,
    Kind::SuspendedRightPassword,
    Kind::Locked,
    Kind::LockedRightPassword,
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown user id",
            Self::WrongPassword => "wrong password",
            Self::Suspended => "suspended account",
            Self::SuspendedRightPassword => "suspended, right password",
            Self::Locked => "locked account",
            Self::LockedRightPassword => "locked, right password",
        }
    }

    fn letter(self) -> char {
        match self {
            Self::Unknown => 'U',
            Self::WrongPassword => 'W',
            Self::Suspended => 'S',
            Self::SuspendedRightPassword => 'R',
            Self::Locked => 'L',
            Self::LockedRightPassword => 'K',
        }
    }

    fn password(self) -> &'static str {
        match self {
            Self::SuspendedRightPassword | Self::LockedRightPassword => CARD,
            Self::Unknown | Self::WrongPassword | Self::Suspended | Self::Locked => OTP,
        }
    }

    /// Who is tried in a round, and from where: of the locked a count at a time.
    fn whom(self, round: usize) -> (String, String) {
        let locked = |people: [&Person; 3]| {
            let turn = round % TRIES_A_WAIT;
            let person = people[turn / (KNOWN_MAX + 1)];
            (person.id.to_owned(), address(turn % (KNOWN_MAX + 1)))
        };
        match self {
            Self::Locked => locked(LOCKED[0]),
            Self::LockedRightPassword => locked(LOCKED[1]),
            Self::Unknown
            | Self::WrongPassword
            | Self::Suspended
            | Self::SuspendedRightPassword => {
                let user = user(self, round / TRIES_AN_ACCOUNT);
                (user, address(KNOWN_MAX))
            }
        }
    }
}

fn user(kind: Kind, number: usize) -> String {
    format!("T{}N{number:04}", kind.letter())
}

/// The addresses from which the locked had logged in, and then one of a stranger.
fn address(number: usize) -> String {
    format!("192.0.2.{}", number + 1)
}

async fn begin(
    cluster: &Cluster,
    user_id: &str,
    password: &str,
    client_address: &str,
) -> (BeginLoginResponse, Duration) {
    let message = BeginLoginRequest {
        request_id: cluster.id(),
        user_id: user_id.to_owned(),
        option: CCMS_CARD.to_owned(),
        password: password.to_owned(),
        client_address: client_address.to_owned(),
    };
    let door = cluster.front().into_iter().next().unwrap();
    let mut client = AuthServiceClient::new(door.channel);
    let began = Instant::now();
    let answer = client.begin_login(request(message)).await.unwrap();
    let took = began.elapsed();
    (answer.into_inner(), took)
}

/// Ends a login with somebody's card, whosever login it is.
async fn verify(
    cluster: &Cluster,
    begun: &BeginLoginResponse,
    card: &Person,
    client_address: &str,
) -> (Result<(), Status>, Duration) {
    let message = VerifyFactorRequest {
        request_id: cluster.id(),
        login_id: begun.login_id.clone(),
        factor: Some(Factor::Card(
            cluster.sign(card, begun.card_challenge.as_ref()),
        )),
        client_address: client_address.to_owned(),
    };
    let door = cluster.front().into_iter().next().unwrap();
    let mut client = AuthServiceClient::new(door.channel);
    let began = Instant::now();
    let answer = client.verify_factor(request(message)).await;
    (answer.map(drop), began.elapsed())
}

/// One try; how long its two answers took.
async fn one(cluster: &Cluster, kind: Kind, round: usize) -> [Duration; 2] {
    let (user_id, from) = kind.whom(round);
    let (begun, first) = begin(cluster, &user_id, kind.password(), &from).await;
    let (ended, second) = verify(cluster, &begun, &tests::cast::TAM, &from).await;
    assert_eq!(refused(ended), "CREDENTIALS_REJECTED");
    [first, second]
}

/// The order of a round, drawn so that no kind comes more often after one than after another: what
/// the nodes do after an answer makes the next one wait.
fn order(round: usize) -> [Kind; 6] {
    let drawn = Digest::of("order", &[&round.to_le_bytes()]);
    let mut order = KINDS;
    for (last, chance) in (1..order.len()).rev().zip(drawn.0.chunks(4)) {
        let chance = chance
            .iter()
            .fold(0, |sum: usize, byte| sum * 256 + usize::from(*byte));
        order.swap(last, chance % (last + 1));
    }
    order
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

async fn import(cluster: &Cluster, kind: Kind, tries: usize) {
    let accounts = tries.div_ceil(TRIES_AN_ACCOUNT);
    let verifier = verifier(CARD, cluster.params());
    let rows = (0..accounts).map(|number| AccountRow {
        line: 1,
        user_id: user(kind, number),
        participant_id: "C00001".to_owned(),
        account_class: AccountClass::User.into(),
        title: "Somebody".to_owned(),
        email: String::new(),
        card_number: format!("TK{}N{number}", kind.letter()),
        card_verifier: verifier.clone(),
    });
    cluster.imports(Vec::new(), rows.collect()).await;
}

async fn suspend(cluster: &Cluster, kind: Kind, tries: usize) {
    for number in 0..tries.div_ceil(TRIES_AN_ACCOUNT) {
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

/// Locks people by a hundred failures: ten from each address that is known and from strangers, and
/// what is missing once those waits are over.
async fn lock(cluster: &Cluster, people: &[&Person]) {
    for person in people {
        for number in 0..KNOWN_MAX {
            let (begun, _) = begin(cluster, person.id, CARD, &address(number)).await;
            let (done, _) = verify(cluster, &begun, person, &address(number)).await;
            done.unwrap();
        }
    }
    let mut left = CONSECUTIVE_FAILURES_MAX;
    let mut each = FREE_FAILURES;
    while left > 0 {
        for number in 0..=KNOWN_MAX {
            let now = each.min(left);
            for person in people {
                for _ in 0..now {
                    begin(cluster, person.id, OTP, &address(number)).await;
                }
            }
            left -= now;
        }
        waits_are_over(cluster).await;
        each = 1;
    }
}

async fn waits_are_over(cluster: &Cluster) {
    let over = cluster.now().await.plus(WAIT_MS_MAX + 1_000);
    cluster.until(over).await;
}

/// Prints what was found of one rpc; whether each pair is within the bounds.
fn told(rpc: &str, times: &[Vec<Duration>; 6]) -> bool {
    println!(
        "answers to {rpc}, {} tries of each kind, interleaved",
        times[0].len()
    );
    for (kind, times) in KINDS.iter().zip(times) {
        println!("{:<26} median {:?}", kind.name(), median(times));
    }
    let mut within = true;
    for one in 0..KINDS.len() {
        for other in one + 1..KINDS.len() {
            let found = auc(&times[one], &times[other]);
            let good = (AUC_BOUNDS[0]..=AUC_BOUNDS[1]).contains(&found);
            within &= good;
            println!(
                "AUC {found:.3}{} {} against {}",
                if good { ' ' } else { '!' },
                KINDS[one].name(),
                KINDS[other].name()
            );
        }
    }
    within
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let asserts = arguments.iter().any(|word| word == "--assert");
    let tries = arguments.iter().find(|word| !word.starts_with("--"));
    let tries = tries.map_or(TRIES, |text| text.parse().unwrap());
    assert!(tries > 0, "nothing would be tried");

    let cluster = Box::pin(Cluster::with_cost(TIMETABLE, Params::STANDARD)).await;
    // Monday has the hours that the waits of the locked take.
    cluster.shut_at("2023-06-10 20:01").await;
    cluster.serves_at("2023-06-12 08:00").await;
    for kind in [
        Kind::WrongPassword,
        Kind::Suspended,
        Kind::SuspendedRightPassword,
    ] {
        import(&cluster, kind, tries).await;
    }
    for kind in [Kind::Suspended, Kind::SuspendedRightPassword] {
        suspend(&cluster, kind, tries).await;
    }
    lock(&cluster, LOCKED.as_flattened()).await;
    let mut times: [[Vec<Duration>; 6]; 2] = Default::default();
    for round in 0..tries {
        if round.is_multiple_of(TRIES_A_WAIT) {
            waits_are_over(&cluster).await;
        }
        for kind in order(round) {
            let took = one(&cluster, kind, round).await;
            let at = KINDS.iter().position(|known| *known == kind).unwrap();
            for (times, took) in times.iter_mut().zip(took) {
                times[at].push(took);
            }
        }
    }
    let within = told("BeginLogin", &times[0]) & told("VerifyFactor", &times[1]);
    cluster.end().await;
    match (asserts, within) {
        (true, false) => ExitCode::FAILURE,
        (true, true) | (false, _) => ExitCode::SUCCESS,
    }
}
