//! A flood of logins, at what a password costs in service: it is shed with when to come again.
//! Through one front end, the people of another log in meanwhile; on one account, everybody else
//! does, through the same front end too (LOGIN.md, "Login").
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use credential::phc::Params;
use futures::future::join_all;
use proto::auth::v1::BeginLoginRequest;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use tests::Cluster;
use tests::cast::{CARD, CCMS_CARD, CHAN, NG, OTP};
use tests::cluster::TIMETABLE;
use tidemark::refusal;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Connections of the flood, and calls at once on each: more than may wait.
const CONNECTIONS: usize = 4;
const CALLS: usize = 120;
/// What a login of the other front end may take while the flood's own waits are many seconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// Logins of the other front end.
const LOGINS: usize = 12;

/// Where the flood comes from, and where the others are.
const FLOOD: &str = "198.51.100.7";
const OTHERS: &str = "192.0.2.1";

async fn begin(
    channel: &Channel,
    id: String,
    (who, from): (String, &str),
    password: &str,
) -> Result<(), Status> {
    let mut request = Request::new(BeginLoginRequest {
        request_id: id,
        user_id: who,
        option: CCMS_CARD.to_owned(),
        password: password.to_owned(),
        client_address: from.to_owned(),
    });
    request.set_timeout(Duration::from_secs(60));
    AuthServiceClient::new(channel.clone())
        .begin_login(request)
        .await
        .map(drop)
}

/// Floods node 1 through `web-1`, as `named` says whose logins they are; meanwhile somebody logs
/// in there through `others`. Returns how many of the flood were served, and why others were not.
async fn beside_a_flood(
    cluster: &Cluster,
    others: &Channel,
    named: impl Fn(usize, usize) -> String,
) -> (usize, BTreeMap<String, usize>) {
    let chan = || (CHAN.id.to_owned(), OTHERS);
    begin(others, cluster.id(), chan(), CARD).await.unwrap();
    let mut flood = Vec::new();
    for connection in 0..CONNECTIONS {
        let channel = cluster.dial_front("web-1", 1);
        for call in 0..CALLS {
            let (channel, id) = (channel.clone(), cluster.id());
            let who = (named(connection, call), FLOOD);
            let began = async move { begin(&channel, id, who, OTP).await };
            flood.push(tokio::spawn(began));
        }
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..LOGINS {
        let began = Instant::now();
        begin(others, cluster.id(), chan(), CARD).await.unwrap();
        slowest = slowest.max(began.elapsed());
    }
    let under_way = flood.iter().filter(|call| !call.is_finished()).count();
    assert!(
        under_way > 0,
        "the flood was over before the others logged in"
    );
    assert!(
        slowest < PATIENCE,
        "a login took {slowest:?} beside the flood"
    );

    let (mut served, mut refused) = (0, BTreeMap::new());
    for ended in join_all(flood).await {
        match ended.unwrap() {
            Ok(()) => served += 1,
            Err(status) => {
                let reason = refusal::reason(&status).unwrap();
                assert!(refusal::retry_after(&status).is_some(), "{status:?}");
                *refused.entry(reason).or_default() += 1;
            }
        }
    }
    (served, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_through_one_front_end_is_shed_and_another_s_people_log_in() {
    let cluster = Box::pin(Cluster::with_cost(TIMETABLE, Params::STANDARD)).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let other = cluster.dial_front("web-2", 1);
    let nobody = |connection, call| format!("NOBODY{connection}N{call}");
    let (served, refused) = beside_a_flood(&cluster, &other, nobody).await;
    assert!(served > 0, "{refused:?}");
    let reasons: Vec<&str> = refused.keys().map(String::as_str).collect();
    assert_eq!(reasons, ["HASHING_QUEUE_FULL"]);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_on_one_account_leaves_room_for_others_of_the_same_front_end() {
    let cluster = Box::pin(Cluster::with_cost(TIMETABLE, Params::STANDARD)).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let same = cluster.dial_front("web-1", 1);
    let one = |_, _| NG.id.to_owned();
    let (served, refused) = beside_a_flood(&cluster, &same, one).await;
    assert!(served > 0, "{refused:?}");
    assert!(refused.contains_key("HASHING_QUEUE_FULL"), "{refused:?}");
    // Beside what waits for a thread, an account's guesses are slowed.
    let known = ["HASHING_QUEUE_FULL", "RATE_LIMITED"];
    let unknown = refused
        .keys()
        .find(|reason| !known.contains(&reason.as_str()));
    assert_eq!(unknown, None, "{refused:?}");
    cluster.end().await;
}
