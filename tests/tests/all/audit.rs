//! The audit through the gRPC API: a delegated administrator reads about its own participant, a
//! watch tells the lines that begin and end, reads are noted once a call, and what a node signs is
//! believed by its public key.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::time::Duration;

use credential::checkpoint::{Checkpoint, Claim, PublicKey};
use proto::audit::v1::audit_service_client::AuditServiceClient;
use proto::audit::v1::watch_audit_events_response::What;
use proto::audit::v1::{
    AuditEvent, AuditFilter, ExportAuditRequest, GetCheckpointRequest, ListAuditEventsRequest,
    ListAuditEventsResponse, WatchAuditEventsRequest, WatchAuditEventsResponse,
};
use proto::operator::v1::Answer;
use tests::cast::{CHEUNG, LAU, NG};
use tests::cluster::{S1, S2, refused, until};
use tests::{Cluster, Token};
use tidemark::drill::{Door, request, request_as};
use tonic::{Request, Status, Streaming};

/// How long a watch may take to tell something.
const PATIENCE: Duration = Duration::from_secs(20);

async fn list(
    door: &Door,
    token: Option<&Token>,
    line: &str,
    filter: AuditFilter,
) -> Result<ListAuditEventsResponse, Status> {
    let message = ListAuditEventsRequest {
        line: line.to_owned(),
        page_size: 1_000,
        page_token: String::new(),
        filter: Some(filter),
    };
    let request = match token {
        Some(token) => request_as(message, &token.text),
        None => request(message),
    };
    let mut client = AuditServiceClient::new(door.channel.clone());
    client
        .list_audit_events(request)
        .await
        .map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_filter_leaves_the_records_that_fit_and_no_other() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.with_card(&NG).await;
    cluster.serves_at("2023-06-10 18:05").await;
    let cheung = cluster.with_card(&CHEUNG).await;
    cluster.end_tokens_of(&cheung, &NG).await.unwrap();
    cluster.with_card(&LAU).await;
    let door = &cluster.operators(1)[0];
    let all = list(door, None, "main", AuditFilter::default()).await;
    let all = all.unwrap().events;
    let seconds = |event: &AuditEvent| event.time.as_ref().unwrap().seconds;
    let half = seconds(all.iter().rfind(|event| event.account == LAU.id).unwrap()) - 60;
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let session = |event: &AuditEvent| {
        let detail: serde_json::Value = serde_json::from_str(&event.detail_json).unwrap();
        detail["session"] == S1
    };
    let none = AuditFilter::default;
    type Fits<'a> = Box<dyn Fn(&AuditEvent) -> bool + 'a>;
    let filters: [(AuditFilter, Fits<'_>); 6] = [
        (
            AuditFilter {
                account: NG.id.into(),
                ..none()
            },
            Box::new(|one| one.account == NG.id),
        ),
        (
            AuditFilter {
                participant: "C00002".into(),
                ..none()
            },
            Box::new(|one| one.participant == "C00002"),
        ),
        (
            AuditFilter {
                kinds: vec!["TokensEnded".into(), "LoginBegun".into()],
                ..none()
            },
            Box::new(|one| ["TokensEnded", "LoginBegun"].contains(&&*one.kind)),
        ),
        (
            AuditFilter {
                from_time: time(half),
                ..none()
            },
            Box::new(|one| seconds(one) >= half),
        ),
        (
            AuditFilter {
                until_time: time(half),
                ..none()
            },
            Box::new(|one| seconds(one) < half),
        ),
        (
            AuditFilter {
                session: S1.into(),
                ..none()
            },
            Box::new(session),
        ),
    ];
    for (filter, fits) in filters {
        let expected: Vec<u64> = all
            .iter()
            .filter(|one| fits(one))
            .map(|one| one.sequence)
            .collect();
        assert!(
            !expected.is_empty() && expected.len() < all.len(),
            "{filter:?}"
        );
        let found = list(door, None, "main", filter.clone())
            .await
            .unwrap()
            .events;
        let last = all.last().unwrap().sequence;
        let found: Vec<u64> = found
            .iter()
            .map(|one| one.sequence)
            .filter(|at| *at <= last)
            .collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    // What no record can be is told, and is no empty list.
    for bad in [
        AuditFilter {
            kinds: vec!["Nonsense".into()],
            ..none()
        },
        AuditFilter {
            account: "a b".into(),
            ..none()
        },
        AuditFilter {
            session: "../x".into(),
            ..none()
        },
    ] {
        let asked = list(door, None, "main", bad.clone()).await;
        assert!(refused(asked).starts_with("MALFORMED_"), "{bad:?}");
    }
    cluster.end().await;
}

async fn watch(door: &Door, position: &str) -> Streaming<WatchAuditEventsResponse> {
    let message = WatchAuditEventsRequest {
        line: String::new(),
        position: position.to_owned(),
        from_start: false,
        filter: None,
    };
    let mut client = AuditServiceClient::new(door.channel.clone());
    let answer = client.watch_audit_events(Request::new(message)).await;
    answer.unwrap().into_inner()
}

/// Waits until the watch tells what is waited for.
async fn told(
    watch: &mut Streaming<WatchAuditEventsResponse>,
    what: &str,
    is: impl Fn(&str, &What) -> bool,
) -> WatchAuditEventsResponse {
    let look = async {
        loop {
            let answer = watch
                .message()
                .await
                .unwrap()
                .expect("a watch does not end");
            if is(&answer.line, answer.what.as_ref().unwrap()) {
                return answer;
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, look).await;
    found.unwrap_or_else(|_| panic!("not told: {what}"))
}

fn event_of(line: &str, kind: &str) -> impl Fn(&str, &What) -> bool {
    let (line, kind) = (line.to_owned(), kind.to_owned());
    move |at, what| at == line && matches!(what, What::Event(event) if event.kind == kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_reads_about_its_own_participant_alone_and_each_read_is_noted_once() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let token = cluster.with_card(&CHEUNG).await;
    cluster.suspend(&token, &NG).await.unwrap();
    let front = cluster.front().into_iter().next().unwrap();
    let none = AuditFilter::default;

    let own = list(&front, Some(&token), "main", none()).await.unwrap();
    assert!(
        own.events
            .iter()
            .any(|event| event.kind == "AccountSuspended")
    );
    assert!(own.events.iter().all(|event| event.participant == "C00001"));
    let other = AuditFilter {
        participant: "C00002".to_owned(),
        ..none()
    };
    let of_other = list(&front, Some(&token), "main", other).await.unwrap();
    assert!(of_other.events.is_empty());
    let nobody = list(&front, None, "main", none()).await;
    assert_eq!(refused(nobody), "TOKEN_EXPIRED");
    let reads = list(&front, Some(&token), "reads", none()).await;
    assert_eq!(refused(reads), "NOT_ALLOWED");
    let message = ExportAuditRequest {
        line: "main".to_owned(),
    };
    let exported = AuditServiceClient::new(front.channel.clone())
        .export_audit(request_as(message, &token.text))
        .await;
    assert_eq!(refused(exported), "NOT_ALLOWED");

    // The two lists that were answered are noted at the node that answered them, with the person.
    let here = |door: &&Door| door.node == front.node;
    let door = cluster.operators(1).iter().find(here).unwrap();
    let noted = list(door, None, "reads", none()).await.unwrap().events;
    let by: Vec<_> = noted
        .iter()
        .filter(|event| event.kind == "Read" && event.by == "C00001A1")
        .collect();
    assert_eq!(by.len(), 2, "{noted:?}");
    assert!(by[0].detail_json.contains("ListAuditEvents line=main"));
    assert_eq!(by[0].participant, "C00001");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_where_it_was_and_tells_the_lines_that_begin_and_end() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let door = cluster.operators_at("west").into_iter().next().unwrap();
    let mut watching = watch(&door, "").await;
    let token = cluster.with_card(&CHEUNG).await;
    cluster.suspend(&token, &NG).await.unwrap();
    let seen = told(
        &mut watching,
        "a suspension",
        event_of("main", "AccountSuspended"),
    )
    .await;
    drop(watching);

    cluster.session_2().await;
    let mut watching = watch(&door, &seen.position).await;
    told(
        &mut watching,
        "the boundary",
        event_of("main", "SessionOpened"),
    )
    .await;
    let began = |line: &str, what: &What| line == S2 && matches!(what, What::LineBegan(_));
    told(&mut watching, "the branch", began).await;
    told(
        &mut watching,
        "its first event",
        event_of(S2, "BranchStarted"),
    )
    .await;
    cluster.with_card(&CHEUNG).await;
    told(
        &mut watching,
        "a login on it",
        event_of(S2, "LoginVerified"),
    )
    .await;
    cluster.at("2023-06-10 23:00").await;
    cluster.closed().await;
    cluster.rolled_over(Answer::Waive).await;
    told(
        &mut watching,
        "the rollover",
        event_of("main", "RolledOver"),
    )
    .await;
    let ended = |line: &str, what: &What| line == S2 && matches!(what, What::LineEnded(_));
    told(&mut watching, "the branch's end", ended).await;
    drop(watching);
    let noted = list(&door, None, "reads", AuditFilter::default())
        .await
        .unwrap();
    let begun = noted
        .events
        .iter()
        .filter(|event| event.kind == "WatchBegun");
    assert_eq!(begun.count(), 2);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_believed_by_the_clusters_public_key() {
    let cluster = Box::pin(Cluster::start()).await;
    let mut seen = Vec::new();
    for door in cluster.operators(1) {
        let message = GetCheckpointRequest {
            line: "main".to_owned(),
        };
        let answer = until("the node knows the cluster", async || {
            let mut client = AuditServiceClient::new(door.channel.clone());
            client.get_checkpoint(request(message.clone())).await.ok()
        });
        let answer = answer.await.into_inner();
        let signed: Checkpoint = domain::encoding::decode(&answer.checkpoint).unwrap();
        let key: PublicKey = answer.public_key.parse().unwrap();
        assert!(signed.signed_by(&key));
        assert_eq!(signed.seen.claim, Claim::End);
        assert_eq!(signed.seen.head.sequence, answer.event_count);
        assert_eq!(signed.seen.head.hash.to_string(), answer.hash);
        seen.push(key);
    }
    // Every node signs with the same key, the one that founding the cluster made.
    assert!(seen.windows(2).all(|two| two[0] == two[1]));
    cluster.end().await;
}
