//! What scripts are told where their grant does not hold: outside its window, of a plan that was
//! changed, taken back, used up. Each as the script itself hears it (LOGIN.md, "Administration").
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;

use domain::UnixMs;
use domain::approval::Act;
use domain::script::{Deed, Terms};
use proto::operator::v1::calendar_service_client::CalendarServiceClient;
use proto::operator::v1::script_service_client::ScriptServiceClient;
use proto::operator::v1::session_service_client::SessionServiceClient;
use proto::operator::v1::{
    ApproveGrantRequest, Grant, GrantState, GrantTerms, ListGrantsRequest, OpenSessionRequest,
    PlanStage, ScriptAct, SetTimetableRequest, WithdrawGrantRequest,
};
use tests::Cluster;
use tests::cluster::{S2, local, refused};
use tidemark::drill::{call, request};
use tidemark::profile::Identity;
use tidemark::refusal::fact;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::approvals::registered;

/// A script, at the operators' listener of the first node.
struct Script(Channel);

impl Script {
    async fn registered(cluster: &Cluster) -> Self {
        registered(cluster, "script/saturday", "scripts").await;
        let identity = Identity {
            cert: "scripts/saturday.pem".into(),
            key: "scripts/saturday.key".into(),
        };
        let address = &cluster.profile().nodes()[0].operator;
        Self(tidemark::client::dial(cluster.profile(), &identity, address).unwrap())
    }

    async fn opens(&self, cluster: &Cluster) -> Result<(), Status> {
        let message = OpenSessionRequest {
            request_id: cluster.id(),
            session: S2.to_owned(),
            validate_only: false,
        };
        let mut client = SessionServiceClient::new(self.0.clone());
        client.open_session(request(message)).await.map(drop)
    }
}

/// Terms for opening session 2 as it is planned now.
async fn terms(cluster: &Cluster, from: &str, until: &str, runs: u32) -> Terms {
    let listed = cluster.sessions().await;
    let mut listed = listed.into_iter();
    let found = listed.find(|entry| entry.session.as_ref().unwrap().session == S2);
    Terms {
        script: "saturday".parse().unwrap(),
        session: S2.parse().unwrap(),
        plan: found.unwrap().plan_digest.parse().unwrap(),
        deeds: BTreeSet::from([Deed::Open]),
        from: local(from),
        until: local(until),
        runs,
    }
}

fn timestamp(at: UnixMs) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(at.0 / 1_000).unwrap(),
        nanos: 0,
    }
}

/// Both operators grant it; how the grant is named.
async fn granted(cluster: &Cluster, terms: &Terms) -> String {
    let act = Act::Grant(Box::new(terms.clone()));
    let mut named = String::new();
    for operator in [1, 2] {
        let message = ApproveGrantRequest {
            request_id: cluster.id(),
            terms: Some(GrantTerms {
                script: terms.script.to_string(),
                session: terms.session.to_string(),
                plan_digest: terms.plan.to_string(),
                acts: vec![ScriptAct::Open.into()],
                start_time: Some(timestamp(terms.from)),
                end_time: Some(timestamp(terms.until)),
                run_count: terms.runs,
            }),
            reason: "the drill".to_owned(),
            approval: Some(cluster.signed(operator, &act).await),
            validate_only: false,
        };
        let answer = call(cluster.operators(operator), |channel| {
            let message = message.clone();
            async move {
                ScriptServiceClient::new(channel)
                    .approve_grant(request(message))
                    .await
            }
        });
        named = answer.await.unwrap().grant;
    }
    named
}

async fn withdrawn(cluster: &Cluster, grant: &str) {
    let message = WithdrawGrantRequest {
        request_id: cluster.id(),
        grant: grant.to_owned(),
        reason: "by hand this time".to_owned(),
        validate_only: false,
    };
    let answer = call(cluster.operators(1), |channel| {
        let message = message.clone();
        async move {
            ScriptServiceClient::new(channel)
                .withdraw_grant(request(message))
                .await
        }
    });
    answer.await.unwrap();
}

async fn grant(cluster: &Cluster, name: &str) -> Grant {
    let answer = call(cluster.operators(1), |channel| async move {
        ScriptServiceClient::new(channel)
            .list_grants(request(ListGrantsRequest::default()))
            .await
    });
    let mut grants = answer.await.unwrap().grants.into_iter();
    grants.find(|grant| grant.grant == name).unwrap()
}

/// An operator sets the timetable with one text of it replaced.
async fn reschedules(cluster: &Cluster, from: &str, to: &str) {
    let before = tests::cluster::TIMETABLE;
    let timetable = before.replace(from, to);
    assert_ne!(before, timetable);
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
    answer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_is_told_why_its_grant_does_not_hold_and_nothing_is_opened() {
    let cluster = Box::pin(Cluster::start()).await;
    let script = Script::registered(&cluster).await;

    // Before its window, and after it.
    let window = ("2023-06-10 20:05", "2023-06-10 20:15");
    let early = terms(&cluster, window.0, window.1, 2).await;
    let name = granted(&cluster, &early).await;
    assert_eq!(grant(&cluster, &name).await.state(), GrantState::Coming);
    cluster.shut_at("2023-06-10 20:01").await;
    let refusal = script.opens(&cluster).await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert_eq!(refused(Err::<(), _>(refusal.clone())), "OUTSIDE_WINDOW");
    assert_eq!(fact(&refusal, "from"), Some(local(window.0).to_string()));
    assert_eq!(fact(&refusal, "until"), Some(local(window.1).to_string()));
    cluster.at("2023-06-10 20:15").await;
    assert_eq!(refused(script.opens(&cluster).await), "OUTSIDE_WINDOW");
    assert_eq!(grant(&cluster, &name).await.state(), GrantState::Over);

    // Taken back by one operator, at once.
    let window = ("2023-06-10 20:10", "2023-06-11 02:00");
    let back = granted(&cluster, &terms(&cluster, window.0, window.1, 2).await).await;
    withdrawn(&cluster, &back).await;
    withdrawn(&cluster, &name).await;
    let refusal = script.opens(&cluster).await.unwrap_err();
    assert_eq!(refusal.code(), Code::PermissionDenied);
    assert_eq!(refused(Err::<(), _>(refusal)), "NOT_GRANTED");
    assert_eq!(grant(&cluster, &back).await.state(), GrantState::Withdrawn);

    // Another plan than the one that was granted.
    let window = ("2023-06-10 20:11", "2023-06-11 02:00");
    let one = granted(&cluster, &terms(&cluster, window.0, window.1, 1).await).await;
    reschedules(&cluster, "opens = \"22:00\"", "opens = \"22:05\"").await;
    assert_eq!(refused(script.opens(&cluster).await), "PLAN_DIFFERS");
    let opened = cluster.sessions().await;
    let stages = opened.iter().filter_map(|entry| entry.session.as_ref());
    let mut stages = stages.filter(|session| session.session == S2);
    assert_eq!(stages.next().unwrap().stage(), PlanStage::Unspecified);
    assert_eq!(grant(&cluster, &one).await.used_count, 0);

    // One run: a second act is more than was granted.
    let again = terms(&cluster, window.0, window.1, 1).await;
    let last = granted(&cluster, &again).await;
    assert_ne!(last, one);
    withdrawn(&cluster, &one).await;
    script.opens(&cluster).await.unwrap();
    assert_eq!(grant(&cluster, &last).await.state(), GrantState::Used);
    let refusal = script.opens(&cluster).await.unwrap_err();
    assert_eq!(refused(Err::<(), _>(refusal.clone())), "RUNS_USED");
    assert_eq!(fact(&refusal, "runs").as_deref(), Some("1"));
    cluster.end().await;
}
