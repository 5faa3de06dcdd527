//! Signed approvals, scripts and registrations through the API and the verbs, on six nodes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use domain::UnixMs;
use domain::approval::{Act, Statement};
use domain::cluster::KeyPin;
use domain::registration::{Holder, Registering};
use proto::approval::v1::Approval;
use proto::auth::v1::ListLandingOptionsRequest;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::operator::v1::calendar_service_client::CalendarServiceClient;
use proto::operator::v1::policy_service_client::PolicyServiceClient;
use proto::operator::v1::registration_service_client::RegistrationServiceClient;
use proto::operator::v1::session_service_client::SessionServiceClient;
use proto::operator::v1::{
    ApprovePlanRequest, GetPolicyRequest, PlanAct, PlanStage, RegisterScriptRequest,
    RetireCallerRequest, SetPolicyRequest, SetTimetableRequest,
};
use tests::Cluster;
use tests::cast::{CHAN, WONG};
use tests::cluster::{S1, S2, refused};
use tidemark::approval::Seen;
use tidemark::args::{Change, Confirm, Connection, caller, certificate, script, session};
use tidemark::drill::{call, request, seen};
use tidemark::exit::{Exit, Failure};
use tidemark::output::{Format, Output};
use tidemark::profile::Identity;
use tidemark::refusal::reason;
use tidemark::verb;
use tonic::Status;

/// Operator `sender` hands in an approval.
async fn hand_in(
    cluster: &Cluster,
    sender: usize,
    (act, digest): (PlanAct, &str),
    approval: Option<Approval>,
) -> Result<u32, Status> {
    let message = ApprovePlanRequest {
        request_id: cluster.id(),
        session: S2.to_owned(),
        act: act.into(),
        plan_digest: digest.to_owned(),
        approval,
        validate_only: false,
    };
    let answer = call(cluster.operators(sender), |channel| {
        let message = message.clone();
        async move {
            SessionServiceClient::new(channel)
                .approve_plan(request(message))
                .await
        }
    })
    .await?;
    Ok(answer.approval_count)
}

async fn plan_of(cluster: &Cluster, id: &str) -> String {
    let listed = cluster.sessions().await;
    let mut listed = listed.into_iter();
    let found = listed.find(|entry| entry.session.as_ref().unwrap().session == id);
    found.unwrap().plan_digest
}

fn opening(id: &str, plan: &str) -> Act {
    let act = domain::session::Act::Open(id.parse().unwrap());
    Act::Session(act, plan.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn s34_over_the_api_an_approval_counts_only_as_the_operators_own_signed_statement() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.shut_at("2023-06-10 20:01").await;
    let plan = plan_of(&cluster, S2).await;
    let act = opening(S2, &plan);
    let open = (PlanAct::Open, plan.as_str());
    let right = cluster.signed(1, &act).await;
    let now: Seen = seen(cluster.operators(1)).await.unwrap();
    let pen = cluster.pen(1);

    let unsigned = hand_in(&cluster, 1, open, None).await;
    assert_eq!(refused(unsigned), "APPROVAL_UNSIGNED");
    let anothers = hand_in(&cluster, 2, open, Some(right.clone())).await;
    assert_eq!(refused(anothers), "APPROVAL_OTHER_KEY");
    // Replayed for giving up, for another session, with other arguments, of another state.
    let giving_up = (PlanAct::Abandon, plan.as_str());
    let replayed = hand_in(&cluster, 1, giving_up, Some(right.clone())).await;
    assert_eq!(refused(replayed), "APPROVAL_DIFFERS");
    let other = opening(S1, &plan_of(&cluster, S1).await);
    let tampered = opening(S2, &"0".repeat(64));
    let elsewhere = [
        (&other, now),
        (&tampered, now),
        (
            &act,
            Seen {
                epoch: now.epoch + 1,
                ..now
            },
        ),
        (
            &act,
            Seen {
                cluster: domain::ClusterId([1; 16]),
                ..now
            },
        ),
        (
            &act,
            Seen {
                index: now.index + 1_000_000,
                ..now
            },
        ),
    ];
    for (act, seen) in elsewhere {
        let approval = pen.sign(act, &seen).unwrap();
        let wrong = hand_in(&cluster, 1, open, Some(approval)).await;
        assert_eq!(refused(wrong), "APPROVAL_DIFFERS", "{seen:?}");
    }
    for (until, expected) in [
        (now.now.minus(1), "APPROVAL_EXPIRED"),
        (now.now.plus(3_600_000), "APPROVAL_TOO_LONG"),
    ] {
        let approval = pen.sign_until(&act, &now, until).unwrap();
        let wrong = hand_in(&cluster, 1, open, Some(approval)).await;
        assert_eq!(refused(wrong), expected);
    }
    assert_eq!(refused(cluster.open().await), "NOT_APPROVED");

    // The same person twice is one; and who approved for ten minutes did not for eleven.
    for _ in 0..2 {
        let short = pen.sign_until(&act, &now, now.now.plus(600_000)).unwrap();
        assert_eq!(hand_in(&cluster, 1, open, Some(short)).await.unwrap(), 1);
    }
    assert_eq!(cluster.approve(2).await.unwrap(), 2);
    cluster.until(now.now.plus(660_000)).await;
    assert_eq!(refused(cluster.open().await), "NOT_APPROVED");
    assert_eq!(cluster.approve(1).await.unwrap(), 2);
    cluster.opened().await;

    // Anybody can check them later, with what the trail holds alone.
    let trail = cluster.audit(cluster.operators(1), "main").await;
    let kept: Vec<_> = trail
        .iter()
        .filter_map(|event| event.approval.as_ref())
        // The cast was imported by two before.
        .filter(|statement| statement.act != "account.import")
        .collect();
    assert!(kept.len() >= 4, "{}", kept.len());
    for statement in kept {
        let at = statement.expire_time.as_ref().unwrap();
        let approval = domain::approval::Approval {
            statement: Statement {
                cluster: statement.cluster.parse().unwrap(),
                epoch: statement.epoch,
                act: statement.act.clone(),
                arguments: statement.argument_digest.parse().unwrap(),
                index: statement.index,
                expires_at: UnixMs(
                    u64::try_from(at.seconds * 1_000 + i64::from(at.nanos) / 1_000_000).unwrap(),
                ),
            },
            key: KeyPin(statement.key.parse::<domain::Digest>().unwrap().0),
            certificate: statement.certificate.clone(),
            signature: statement.signature.clone(),
        };
        assert_eq!(statement.act, "session.open");
        assert_eq!(approval.statement.arguments, act.digest());
        credential::approval::check(&approval).unwrap();
    }
    cluster.end().await;
}

pub(super) fn connection(cluster: &Cluster, profile: &str, name: Option<&str>) -> Connection {
    Connection {
        profile: cluster.folder().join(profile),
        operator: name.map(str::to_owned),
        node: None,
        timeout: Duration::from_secs(20),
    }
}

pub(super) fn change() -> Change {
    Change {
        dry_run: false,
        request_id: None,
        reason: Some("as agreed".to_owned()),
        ok_if_done: false,
    }
}

pub(super) fn output() -> Output {
    Output::new(Format::Json)
}

/// Issues a caller's certificate in the cluster's folder.
fn issued(cluster: &Cluster, caller: &str, kind: &str) -> PathBuf {
    let flags = certificate::Issue {
        caller: caller.to_owned(),
        dir: cluster.folder().to_path_buf(),
        days: 30,
        dry_run: false,
    };
    verb::certificate::run(&certificate::Certificate::Issue(flags), output()).unwrap();
    let id = caller.rsplit('/').next().unwrap();
    cluster.folder().join(format!("{kind}/{id}.pem"))
}

async fn register(
    cluster: &Cluster,
    certificate: &std::path::Path,
    name: &str,
) -> Result<(), Failure> {
    let flags = caller::Register {
        certificate: certificate.to_path_buf(),
        portal: Vec::new(),
        connection: connection(cluster, "profile.toml", Some(name)),
        change: change(),
    };
    verb::caller::run(&caller::Caller::Register(flags), output()).await
}

pub(super) async fn registered(cluster: &Cluster, caller: &str, kind: &str) -> PathBuf {
    let certificate = issued(cluster, caller, kind);
    for name in ["alice", "bob"] {
        register(cluster, &certificate, name).await.unwrap();
    }
    certificate
}

async fn grant(cluster: &Cluster, name: &str, runs: u32) -> Result<(), Failure> {
    let flags = script::Grant {
        script: "saturday".to_owned(),
        session: S2.to_owned(),
        acts: vec![script::Act::Open, script::Act::Close, script::Act::Rollover],
        from: "2023-06-10 20:00".to_owned(),
        until: "2023-06-11 02:00".to_owned(),
        runs: Some(runs),
        connection: connection(cluster, "profile.toml", Some(name)),
        change: change(),
    };
    verb::script::run(&script::Script::Grant(flags), output()).await
}

/// The script's own profile, in which there is nobody else.
const OWN: &str = "scripts/saturday.profile.toml";

async fn opens(cluster: &Cluster) -> Result<(), Failure> {
    let flags = session::Open {
        unplanned: false,
        session: S2.to_owned(),
        connection: connection(cluster, OWN, None),
        change: change(),
        confirm: Confirm {
            confirm: Some(S2.to_owned()),
        },
    };
    verb::session::run(&session::Session::Open(flags), output()).await
}

async fn closes(cluster: &Cluster) -> Result<(), Failure> {
    let flags = session::Close {
        session: S2.to_owned(),
        connection: connection(cluster, OWN, None),
        change: change(),
        confirm: Confirm {
            confirm: Some(S2.to_owned()),
        },
    };
    verb::session::run(&session::Session::Close(flags), output()).await
}

async fn rolls_over(cluster: &Cluster) -> Result<(), Failure> {
    let flags = session::Rollover {
        session: S2.to_owned(),
        repeat: Vec::new(),
        waive: Vec::new(),
        accept_gap: None,
        connection: connection(cluster, OWN, None),
        change: change(),
        confirm: Confirm {
            confirm: Some(S2.to_owned()),
        },
    };
    verb::session::run(&session::Session::Rollover(flags), output()).await
}

fn told(done: Result<(), Failure>) -> (Exit, String) {
    let failure = done.unwrap_err();
    (failure.exit, failure.reason.unwrap_or(failure.what))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_runs_what_two_operators_granted_under_its_own_profile_and_nothing_else() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.shut_at("2023-06-10 20:01").await;
    let certificate = issued(&cluster, "script/saturday", "scripts");
    register(&cluster, &certificate, "alice").await.unwrap();
    let early = opens(&cluster).await.unwrap_err();
    assert!(early.what.contains("not registered"), "{early}");
    register(&cluster, &certificate, "bob").await.unwrap();
    let refusal = (Exit::Refused, "NOT_GRANTED".to_owned());
    assert_eq!(told(opens(&cluster).await), refusal);
    grant(&cluster, "alice", 2).await.unwrap();
    assert_eq!(told(opens(&cluster).await), refusal);
    grant(&cluster, "bob", 2).await.unwrap();

    // Reading is allowed, writing anything else is not.
    let identity = Identity {
        cert: "scripts/saturday.pem".into(),
        key: "scripts/saturday.key".into(),
    };
    let address = &cluster.profile().nodes()[0].operator;
    let channel = tidemark::client::dial(cluster.profile(), &identity, address).unwrap();
    let policy = PolicyServiceClient::new(channel.clone())
        .get_policy(request(GetPolicyRequest {}))
        .await
        .unwrap()
        .into_inner();
    let message = SetPolicyRequest {
        request_id: cluster.id(),
        policy_toml: policy.policy_toml,
        ..SetPolicyRequest::default()
    };
    let mut client = PolicyServiceClient::new(channel.clone());
    let set = client.set_policy(request(message)).await;
    assert_eq!(refused(set), "SCRIPT_MAY_NOT");
    let message = SetTimetableRequest {
        request_id: cluster.id(),
        ..SetTimetableRequest::default()
    };
    let mut client = CalendarServiceClient::new(channel.clone());
    let set = client.set_timetable(request(message)).await;
    assert_eq!(refused(set), "SCRIPT_MAY_NOT");
    let message = ApprovePlanRequest {
        request_id: cluster.id(),
        session: S2.to_owned(),
        ..ApprovePlanRequest::default()
    };
    let mut client = SessionServiceClient::new(channel);
    let approve = client.approve_plan(request(message)).await;
    assert_eq!(refused(approve), "SCRIPT_MAY_NOT");

    opens(&cluster).await.unwrap();
    // The clock must not outrun the main line's word that the branch stands.
    tests::cluster::until("the branch is confirmed", async || {
        let listed = cluster.sessions().await;
        let mut sessions = listed.iter().filter_map(|entry| entry.session.as_ref());
        let open = sessions.any(|one| one.session == S2 && one.stage() == PlanStage::Open);
        open.then_some(())
    })
    .await;
    cluster.send_to("west");
    cluster.serves_at("2023-06-10 22:00").await;
    // The close of the branch is counted on the main line.
    // A branch that has just begun refuses what was asked before it did.
    tests::cluster::until("the script closes the session", async || {
        closes(&cluster).await.ok()
    })
    .await;
    // One act more than granted.
    let mut spent = told(rolls_over(&cluster).await);
    let deadline = Instant::now() + Duration::from_secs(15);
    while spent.1 != "RUNS_USED" && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(200)).await;
        spent = told(rolls_over(&cluster).await);
    }
    assert_eq!(spent, (Exit::Refused, "RUNS_USED".to_owned()));
    cluster
        .rolled_over(proto::operator::v1::Answer::Waive)
        .await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_caller_is_refused_on_every_node_within_a_second_and_its_tokens_end_s32() {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    let token = cluster.with_card(&CHAN).await;
    cluster.with_card(&WONG).await;

    // A key is pinned once.
    let key = KeyPin([7; 32]);
    let holder = Holder::Script("night".parse().unwrap());
    let act = Act::Register(Registering {
        holder,
        key,
        portals: Vec::new(),
    });
    let taken = Act::Register(Registering {
        holder: Holder::Script("night".parse().unwrap()),
        key: first_key(&cluster).await,
        portals: Vec::new(),
    });
    for (act, key, expected) in [
        (&act, first_key(&cluster).await, "APPROVAL_DIFFERS"),
        (&taken, first_key(&cluster).await, "KEY_PINNED"),
    ] {
        let message = RegisterScriptRequest {
            request_id: cluster.id(),
            script: "night".to_owned(),
            key: key.to_string(),
            reason: "test".to_owned(),
            approval: Some(cluster.signed(1, act).await),
            validate_only: false,
        };
        let done = call(cluster.operators(1), |channel| {
            let message = message.clone();
            async move {
                RegistrationServiceClient::new(channel)
                    .register_script(request(message))
                    .await
            }
        })
        .await;
        assert_eq!(refused(done), expected);
    }
    assert_eq!(
        refused(retire(&cluster, "operator/bob").await),
        "LAST_OPERATORS"
    );
    assert_eq!(
        refused(retire(&cluster, "script/night").await),
        "NO_SUCH_CALLER"
    );

    // A front end that was registered later calls everywhere, and no more once it is retired.
    registered(&cluster, "front-end/web-3", "front-ends").await;
    let identity = Identity {
        cert: "front-ends/web-3.pem".into(),
        key: "front-ends/web-3.key".into(),
    };
    let nodes = cluster.profile().nodes();
    let doors: Vec<_> = nodes
        .iter()
        .map(|node| tidemark::client::dial(cluster.profile(), &identity, &node.front).unwrap())
        .collect();
    let knows = async |door: &tonic::transport::Channel| {
        let asked = AuthServiceClient::new(door.clone())
            .list_landing_options(request(ListLandingOptionsRequest::default()))
            .await;
        match asked {
            Err(status) => reason(&status).as_deref() != Some("CALLER_NOT_REGISTERED"),
            Ok(_) => true,
        }
    };
    for door in &doors {
        tests::cluster::until("the node knows the front end", async || {
            knows(door).await.then_some(())
        })
        .await;
    }
    retire(&cluster, "front-end/web-3").await.unwrap();
    let retired = Instant::now();
    for door in &doors {
        while knows(door).await {
            assert!(retired.elapsed() < Duration::from_secs(1));
        }
    }
    assert!(retired.elapsed() < Duration::from_secs(1));

    // The token of another one ends with it.
    assert!(cluster.good(&token, token.scope()).await);
    let ended = retire(&cluster, "front-end/web-1").await.unwrap();
    assert!(ended >= 2, "{ended} tokens");
    assert!(!cluster.good(&token, token.scope()).await);
    cluster.end().await;
}

async fn first_key(cluster: &Cluster) -> KeyPin {
    let listed = call(cluster.operators(1), |channel| async move {
        RegistrationServiceClient::new(channel)
            .list_registrations(request(Default::default()))
            .await
    })
    .await
    .unwrap();
    let key = listed.registrations[0].key.parse::<domain::Digest>();
    KeyPin(key.unwrap().0)
}

async fn retire(cluster: &Cluster, caller: &str) -> Result<u32, Status> {
    let message = RetireCallerRequest {
        request_id: cluster.id(),
        caller: caller.to_owned(),
        reason: "test".to_owned(),
        validate_only: false,
    };
    let answer = call(cluster.operators(1), |channel| {
        let message = message.clone();
        async move {
            RegistrationServiceClient::new(channel)
                .retire_caller(request(message))
                .await
        }
    })
    .await?;
    Ok(answer.ended_token_count)
}
