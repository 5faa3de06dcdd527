//! A flood of logins through one front end, at what a password costs in service: it is shed with
//! when to come again, and the people of another front end log in meanwhile (LOGIN.md, "Login").
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::time::{Duration, Instant};

use credential::phc::Params;
use futures::future::join_all;
use proto::auth::v1::BeginLoginRequest;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use tests::Cluster;
use tests::cast::{CARD, CCMS_CARD, CHAN, OTP};
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

async fn begin(channel: &Channel, id: String, who: String, password: &str) -> Result<(), Status> {
    let mut request = Request::new(BeginLoginRequest {
        request_id: id,
        user_id: who,
        option: CCMS_CARD.to_owned(),
        password: password.to_owned(),
        client_address: "198.51.100.7".to_owned(),
    });
    request.set_timeout(Duration::from_secs(60));
    AuthServiceClient::new(channel.clone())
        .begin_login(request)
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_through_one_front_end_is_shed_and_another_s_people_log_in() {
    let cluster = Box::pin(Cluster::with_cost(TIMETABLE, Params::STANDARD)).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let other = cluster.dial_front("web-2", 1);
    let chan = || CHAN.id.to_owned();
    begin(&other, cluster.id(), chan(), CARD).await.unwrap();

    let mut flood = Vec::new();
    for connection in 0..CONNECTIONS {
        let channel = cluster.dial_front("web-1", 1);
        for call in 0..CALLS {
            let (channel, id) = (channel.clone(), cluster.id());
            let who = format!("NOBODY{connection}N{call}");
            flood.push(tokio::spawn(async move {
                let began = Instant::now();
                (begin(&channel, id, who, OTP).await, began.elapsed())
            }));
        }
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..LOGINS {
        let began = Instant::now();
        begin(&other, cluster.id(), chan(), CARD).await.unwrap();
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

    let (mut served, mut shed) = (0, 0);
    for ended in join_all(flood).await {
        match ended.unwrap() {
            (Ok(()), _) => served += 1,
            (Err(status), _) => {
                let reason = refusal::reason(&status);
                assert_eq!(reason.as_deref(), Some("HASHING_QUEUE_FULL"), "{status:?}");
                assert!(refusal::retry_after(&status).is_some());
                shed += 1;
            }
        }
    }
    assert!(served > 0 && shed > 0, "{served} served, {shed} shed");
    cluster.end().await;
}
