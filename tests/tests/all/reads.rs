//! One record a read call (LOGIN.md, "Audit"): every rpc that reads is called here, by the list in
//! the proto descriptors. A new one fails this test until it says here whether it leaves a record.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use prost::Message;
use proto::admin::v1 as admin;
use proto::admin::v1::Plain;
use proto::admin::v1::change_act::Act;
use proto::audit::v1 as audit;
use proto::auth::v1 as auth;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::operator::v1 as operator;
use server::table::{Rpc, Table};
use tests::administration::Admin;
use tests::cast::{CHAN, CHEUNG, LEE};
use tests::cluster::{S1, S2};
use tests::raw::send;
use tests::{Cluster, Token};
use tidemark::drill::{Door, request, request_as};

/// Whether a call leaves a record, and what is sent.
enum Reads {
    /// It names people, or what operators do: it is noted.
    Noted(Vec<u8>),
    /// It tells what everybody may know, or nobody did: see decision 9.
    NotNoted(Vec<u8>),
}

/// What is known of the cluster to ask about.
struct About<'a> {
    cluster: &'a Cluster,
    request: String,
    token_id: String,
}

fn message(rpc: &Rpc, about: &About<'_>) -> Reads {
    use Reads::{NotNoted, Noted};
    let all = "participants/-".to_owned();
    let name = CHAN.resource();
    match rpc.path.trim_start_matches("/tidemark.") {
        "admin.v1.AccountService/GetAccount" => {
            Noted(admin::GetAccountRequest { name }.encode_to_vec())
        }
        "admin.v1.AccountService/ListAccounts" => {
            let parent = all;
            let message = admin::ListAccountsRequest {
                parent,
                ..Default::default()
            };
            Noted(message.encode_to_vec())
        }
        "admin.v1.AccountService/ListAccountTokens" => {
            Noted(admin::ListAccountTokensRequest { name }.encode_to_vec())
        }
        "admin.v1.AccountService/GetAccountToken" => {
            let token_id = about.token_id.clone();
            Noted(admin::GetAccountTokenRequest { token_id }.encode_to_vec())
        }
        "admin.v1.ChangeRequestService/GetChangeRequest" => {
            let name = about.request.clone();
            Noted(admin::GetChangeRequestRequest { name }.encode_to_vec())
        }
        "admin.v1.ChangeRequestService/ListChangeRequests" => {
            let parent = all;
            let message = admin::ListChangeRequestsRequest {
                parent,
                ..Default::default()
            };
            Noted(message.encode_to_vec())
        }
        "admin.v1.ChangeRequestService/ListActReviews" => {
            let parent = all;
            let message = admin::ListActReviewsRequest {
                parent,
                ..Default::default()
            };
            Noted(message.encode_to_vec())
        }
        "admin.v1.ParticipantService/GetParticipant" => {
            let name = "participants/C00001".to_owned();
            Noted(admin::GetParticipantRequest { name }.encode_to_vec())
        }
        "admin.v1.ReadinessService/GetReadinessReport" => {
            Noted(admin::GetReadinessReportRequest { parent: all }.encode_to_vec())
        }
        "admin.v1.ReadinessService/ListUnreadyAccounts" => {
            let parent = all;
            let message = admin::ListUnreadyAccountsRequest {
                parent,
                ..Default::default()
            };
            Noted(message.encode_to_vec())
        }
        "admin.v1.AccountService/WatchAccountTokens"
        | "admin.v1.ParticipantService/ListParticipants"
        | "admin.v1.ReadinessService/GetMigration"
        | "audit.v1.AuditService/WatchAuditEvents"
        | "operator.v1.RegistrationService/ListRegistrations"
        | "operator.v1.ScriptService/ListGrants"
        | "token.v1.TokenService/WatchRevocations" => Noted(Vec::new()),
        "audit.v1.AuditService/GetCompletionMatrix" => {
            let message = audit::GetCompletionMatrixRequest {
                sessions: vec![S1.to_owned()],
            };
            Noted(message.encode_to_vec())
        }
        "audit.v1.AuditService/ListAuditEvents" => {
            let line = "main".to_owned();
            let message = audit::ListAuditEventsRequest {
                line,
                ..Default::default()
            };
            Noted(message.encode_to_vec())
        }
        "audit.v1.AuditService/GetCheckpoint" => {
            let line = "main".to_owned();
            Noted(audit::GetCheckpointRequest { line }.encode_to_vec())
        }
        "audit.v1.AuditService/ExportAudit" => {
            let line = "main".to_owned();
            Noted(audit::ExportAuditRequest { line }.encode_to_vec())
        }
        "operator.v1.ClusterService/ExportLog" => {
            let line = "main".to_owned();
            Noted(operator::ExportLogRequest { line }.encode_to_vec())
        }
        "operator.v1.SessionService/PreviewRollover" => {
            let session = S2.to_owned();
            let message = operator::PreviewRolloverRequest {
                session,
                ..Default::default()
            };
            Noted(message.encode_to_vec())
        }
        "operator.v1.SessionService/GetEvidence" => {
            let session = S2.to_owned();
            let message = operator::GetEvidenceRequest {
                session,
                ..Default::default()
            };
            Noted(message.encode_to_vec())
        }
        "auth.v1.AuthService/ListLandingOptions"
        | "operator.v1.CalendarService/GetCalendar"
        | "operator.v1.CalendarService/LintCalendar"
        | "operator.v1.ClockService/GetClock"
        | "operator.v1.ClusterService/GetStatus"
        | "operator.v1.KeyService/ListKeys"
        | "operator.v1.PolicyService/GetPolicy"
        | "operator.v1.NodeService/ListNodes"
        | "operator.v1.RevocationListService/GetRevocationList"
        | "operator.v1.SessionService/ListSessions" => NotNoted(Vec::new()),
        "operator.v1.CentreService/CheckSwitchover" => {
            let centre = "west".to_owned();
            NotNoted(operator::CheckSwitchoverRequest { centre }.encode_to_vec())
        }
        "operator.v1.ClusterService/GetDigests" => {
            let line = "main".to_owned();
            NotNoted(
                operator::GetDigestsRequest {
                    line,
                    ..Default::default()
                }
                .encode_to_vec(),
            )
        }
        unknown => panic!("does {unknown} leave a record of what it reads? say so here"),
    }
}

/// The door of one node that the rpc is behind.
fn door(cluster: &Cluster, rpc: &Rpc, node: u64) -> Door {
    let doors = match rpc.service.as_str() {
        "tidemark.auth.v1.AuthService" => cluster.front(),
        "tidemark.token.v1.TokenService" => cluster.back().to_vec(),
        _ => cluster.operators(1).to_vec(),
    };
    let mut of_node = doors.into_iter().filter(|door| door.node == node);
    of_node.next().unwrap()
}

/// How many reads by the rpc are noted at the node.
async fn noted(cluster: &Cluster, node: u64, rpc: &Rpc) -> usize {
    let mut doors = cluster.operators(1).iter();
    let door = doors.find(|door| door.node == node).unwrap();
    let message = audit::ListAuditEventsRequest {
        line: "reads".to_owned(),
        page_size: 1_000,
        ..Default::default()
    };
    let mut client = audit::audit_service_client::AuditServiceClient::new(door.channel.clone());
    let answer = client.list_audit_events(request(message)).await.unwrap();
    let name = rpc.path.rsplit('/').next().unwrap();
    // The list of the reads is a read of its own: it is noted under its own name.
    let own = |detail: &str| detail.contains("line=reads");
    let events = answer.into_inner().events;
    let of_rpc = events.iter().filter(|event| {
        let begun = event.kind == "Read" || event.kind == "WatchBegun";
        begun && event.detail_json.contains(&format!("{name} ")) && !own(&event.detail_json)
    });
    of_rpc.count()
}

async fn own_tokens(door: &Door, token: &Token) {
    let message = request_as(auth::ListOwnTokensRequest::default(), &token.text);
    let mut client = AuthServiceClient::new(door.channel.clone());
    client.list_own_tokens(message).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_that_can_name_a_person_leaves_one_record_and_no_other_does() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let token = cluster.with_card(&CHEUNG).await;
    let act = Act::Delete(Plain {});
    let made = cluster
        .make(Admin::Token(&token), &LEE.resource(), act)
        .await;
    let live = cluster
        .tokens_of(Admin::Operator(1), &CHEUNG.resource())
        .await;
    let about = About {
        cluster: &cluster,
        request: made.unwrap(),
        token_id: live.unwrap()[0].token_id.clone(),
    };
    let node = cluster.front()[0].node;
    let table = Table::read().unwrap();
    let (after_close, now): (Vec<&Rpc>, Vec<&Rpc>) = {
        // What goes on without the main line, or with what a promotion left, is tried where that
        // is so.
        let reads = table.rpcs().filter(|rpc| {
            !rpc.writes
                && ![
                    "/AssessPromotion",
                    "/Promote",
                    "/ReleaseSeals",
                    "/AssessReinstatement",
                    "/OpenUnplanned",
                ]
                .iter()
                .any(|end| rpc.path.ends_with(end))
        });
        reads.partition(|rpc| {
            rpc.path.ends_with("/PreviewRollover") || rpc.path.ends_with("/GetEvidence")
        })
    };
    assert!(now.len() > 25 && after_close.len() == 2);
    for rpc in now {
        let before = noted(about.cluster, node, rpc).await;
        let door = door(&cluster, rpc, node);
        let expected = if rpc.path.ends_with("/ListOwnTokens") {
            own_tokens(&door, &token).await;
            1
        } else {
            let (bytes, expected) = match message(rpc, &about) {
                Reads::Noted(bytes) => (bytes, 1),
                Reads::NotNoted(bytes) => (bytes, 0),
            };
            let answered = send(&door, &rpc.path, bytes).await;
            answered.unwrap_or_else(|refused| panic!("{}: {refused:?}", rpc.path));
            expected
        };
        let after = noted(&cluster, node, rpc).await;
        assert_eq!(after - before, expected, "{}", rpc.path);
    }

    cluster.session_2().await;
    cluster.at("2023-06-10 23:00").await;
    cluster.closed().await;
    cluster.evidence().await;
    // The branch's own trail is at the secondary's nodes.
    let node = cluster.operators_at("west")[0].node;
    for rpc in after_close {
        let before = noted(&cluster, node, rpc).await;
        let (Reads::Noted(bytes) | Reads::NotNoted(bytes)) = message(rpc, &about);
        let answered = send(&door(&cluster, rpc, node), &rpc.path, bytes).await;
        answered.unwrap_or_else(|refused| panic!("{}: {refused:?}", rpc.path));
        let after = noted(&cluster, node, rpc).await;
        assert_eq!(after - before, 1, "{}", rpc.path);
    }
    cluster.end().await;
}
