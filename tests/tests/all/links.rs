//! Help texts and links are data with a release date: landing pages get each from its day on.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use proto::account::v1::Portal;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::{Link, ListLandingOptionsRequest};
use proto::operator::v1::calendar_service_client::CalendarServiceClient;
use proto::operator::v1::{GetCalendarRequest, SetTimetableRequest};
use tests::Cluster;
use tests::cluster::{TIMETABLE, refused};
use tidemark::drill::{call, request};
use tonic::Status;

/// Beside the timetable's own links, which were released before the clock begins.
const MONDAY: &str = r#"
[[link]]
id = "monday"
text = "From Monday on"
url = "https://clearing.example/monday?lang=en"
from = "2023-06-12"
portals = ["CCMS"]
"#;

async fn links(cluster: &Cluster, portal: Portal) -> Vec<Link> {
    let front = cluster.front();
    let answer = call(&front, |channel| async move {
        let message = ListLandingOptionsRequest {
            portal: portal.into(),
        };
        AuthServiceClient::new(channel)
            .list_landing_options(request(message))
            .await
    });
    answer.await.unwrap().links
}

async fn ids(cluster: &Cluster, portal: Portal) -> Vec<String> {
    let links = links(cluster, portal).await;
    links.into_iter().map(|link| link.link).collect()
}

async fn timetable(cluster: &Cluster) -> String {
    let answer = call(cluster.operators(1), |channel| async move {
        CalendarServiceClient::new(channel)
            .get_calendar(request(GetCalendarRequest {}))
            .await
    });
    answer.await.unwrap().timetable_toml
}

async fn set(cluster: &Cluster, timetable: String) -> Result<(), Status> {
    let message = SetTimetableRequest {
        request_id: cluster.id(),
        timetable_toml: timetable,
        ..SetTimetableRequest::default()
    };
    let answer = call(cluster.operators(1), |channel| {
        let message = message.clone();
        async move {
            CalendarServiceClient::new(channel)
                .set_timetable(request(message))
                .await
        }
    });
    answer.await.map(drop)
}

const GUIDES: [&str; 2] = ["information-pack", "guide-users"];

#[tokio::test(flavor = "multi_thread")]
async fn landing_pages_show_a_link_from_its_day_on_and_not_before_r7() {
    let cluster = Box::pin(Cluster::with_timetable(&format!("{TIMETABLE}{MONDAY}"))).await;
    assert_eq!(ids(&cluster, Portal::Ccms).await, GUIDES);
    let administrators = ["information-pack", "guide-delegated-administrators"];
    assert_eq!(ids(&cluster, Portal::Dms).await, administrators);
    let every = ids(&cluster, Portal::Unspecified).await;
    assert_eq!(every.len(), 3, "{every:?}");

    cluster.at("2023-06-11 23:59").await;
    assert_eq!(ids(&cluster, Portal::Ccms).await, GUIDES);
    cluster.at("2023-06-12 00:00").await;
    let shown = links(&cluster, Portal::Ccms).await;
    let [pack, _, monday] = shown.as_slice() else {
        unreachable!("three links: {shown:?}");
    };
    assert_eq!(pack.text.as_ref().unwrap().zh_hant, "雙重認證資料套");
    assert_eq!(monday.link, "monday");
    assert_eq!(monday.url, "https://clearing.example/monday?lang=en");
    // What has no Chinese is told in English (R12).
    let text = monday.text.as_ref().unwrap();
    assert_eq!([&text.en, &text.zh_hant], ["From Monday on"; 2]);
    assert_eq!(ids(&cluster, Portal::Dms).await, administrators);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sets_links_with_the_timetable_and_gets_them_back_r7() {
    let cluster = Box::pin(Cluster::start()).await;
    let had = timetable(&cluster).await;
    assert_eq!(had.matches("[[link]]").count(), 3, "{had}");

    let insecure = format!("{had}{MONDAY}").replace("https://clearing", "http://clearing");
    assert_eq!(refused(set(&cluster, insecure).await), "BAD_TIMETABLE");
    assert_eq!(timetable(&cluster).await, had);

    let sooner = MONDAY.replace("2023-06-12", "2023-06-10");
    set(&cluster, format!("{had}{sooner}")).await.unwrap();
    assert_eq!(
        ids(&cluster, Portal::Ccms).await,
        [GUIDES[0], GUIDES[1], "monday"]
    );
    // What was shown sets the same again.
    let now = timetable(&cluster).await;
    set(&cluster, now.clone()).await.unwrap();
    assert_eq!(timetable(&cluster).await, now);
    cluster.end().await;
}
