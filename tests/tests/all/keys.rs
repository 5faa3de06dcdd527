//! Keys rotate online over six nodes: proved by every one, used, sealed anew, retired (LOGIN.md,
//! "Keys"; S22, S39).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use credential::key_file::Purpose;
use domain::{Actor, Command, Digest, NodeId, encoding, keys};
use proto::admin::v1::AccountRow;
use proto::operator::v1::{Answer, KeyStage};
use proto::peer::v1 as peer;
use tests::cast::{CARD, CHAN, CHEUNG, LEE, OTP, WONG};
use tests::cluster::{refused, until};
use tests::import::verifier;
use tests::{By, Cluster};

/// Every way of logging in works.
async fn all_log_in(cluster: &Cluster) {
    cluster.with_card(&CHAN).await;
    cluster.with_app(&WONG).await;
    let by_mail = cluster.log_in(&LEE, LEE.otp_option(), OTP, By::Mail);
    by_mail.await.unwrap();
}

async fn set_up() -> Cluster {
    let cluster = Box::pin(Cluster::start()).await;
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.sets_up_app(&WONG).await;
    cluster.sets_up_mail(&LEE).await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn s22_s39_a_key_is_used_once_all_proved_it_and_the_former_one_goes() {
    let mut cluster = set_up().await;
    all_log_in(&cluster).await;
    let unknown = cluster.use_key(3).await;
    assert_eq!(refused(unknown), "NO_SUCH_KEY");

    // Node 6 is left out, and then gets another key of that id.
    let file = cluster.with_new_key(3, Purpose::Seal);
    cluster.bring_keys(&file, 1..=5);
    cluster.announced(1, 3).await;
    until("five nodes proved it", async || {
        (cluster.key(3).await.missing_node_ids == [6]).then_some(())
    })
    .await;
    assert_eq!(refused(cluster.use_key(3).await), "KEY_NOT_PROVED");
    let other = cluster.with_new_key(3, Purpose::Seal);
    assert_ne!(other, file);
    let founding = std::fs::read_to_string(cluster.key_file(6)).unwrap();
    cluster.bring_keys(&other, [6]);
    until("node 6 says what is wrong", async || {
        let at_6 = cluster.keys_at(6).await.ok()?;
        (!at_6.file_problem.is_empty()).then_some(())
    })
    .await;
    assert_eq!(refused(cluster.use_key(3).await), "KEY_NOT_PROVED");
    assert_eq!(cluster.key(1).await.stage(), KeyStage::InUse);
    cluster.bring_keys(&founding, [6]);
    until("node 6 dropped it", async || {
        let at_6 = cluster.keys_at(6).await.ok()?;
        at_6.file_problem.is_empty().then_some(())
    })
    .await;
    cluster.bring_keys(&file, [6]);
    let sealed_before = cluster.key(1).await.sealed_count;
    assert!(sealed_before > 10);
    cluster.put_to_use(3).await;
    let early = cluster.retire_key(3).await;
    assert_eq!(refused(early), "KEY_IN_USE");

    // During, and after.
    all_log_in(&cluster).await;
    cluster.sealed_anew().await;
    all_log_in(&cluster).await;
    assert_eq!(cluster.key(1).await.sealed_count, 0);
    assert!(cluster.key(3).await.sealed_count >= sealed_before);
    cluster.agreed_digests().await;
    let retired = cluster.retire_key(1).await.unwrap();
    assert_eq!(retired.stage(), KeyStage::Retired);
    all_log_in(&cluster).await;

    // A file without the key in use stops a node at its start; one without the retired one does not.
    let left = cluster.folder().join("nodes/5/data/keys.json");
    until("node 5 has heard that key 1 is retired", async || {
        let left = std::fs::read_to_string(&left).unwrap();
        (!left.contains("\"id\":1,")).then_some(())
    })
    .await;
    cluster.stop(5).await;
    let refusal = start_with(&cluster, 5, &founding).await.unwrap_err();
    assert!(refusal.contains("does not hold key 3"), "{refusal}");
    let first = file.find("[[key]]").unwrap();
    let second = file[first + 1..].find("[[key]]").unwrap() + first + 1;
    let without_1 = format!("{}{}", &file[..first], &file[second..]);
    cluster.bring_keys(&without_1, [5]);
    cluster.restart(5).await;
    until("node 5 follows", async || {
        let at_5 = cluster.keys_at(5).await.ok()?;
        at_5.file_problem.is_empty().then_some(())
    })
    .await;
    cluster.agreed_digests().await;
    cluster.end().await;
}

/// Tries to start a stopped node with this key file; what it says when it does not.
async fn start_with(cluster: &Cluster, node: u64, file: &str) -> Result<(), String> {
    cluster.bring_keys(file, [node]);
    let path = cluster.folder().join(format!("nodes/{node}/node.toml"));
    let config = server::Config::read(&path).unwrap();
    match Box::pin(server::Node::start(config)).await {
        Ok(started) => {
            started.stop().await;
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_down_holds_a_key_back_until_it_is_there() {
    let mut cluster = Box::pin(Cluster::start()).await;
    cluster.stop(5).await;
    let file = cluster.with_new_key(3, Purpose::Seal);
    cluster.bring_keys(&file, 1..=6);
    cluster.announced(1, 3).await;
    until("the others proved it", async || {
        (cluster.key(3).await.missing_node_ids == [5]).then_some(())
    })
    .await;
    let status = cluster.use_key(3).await.unwrap_err();
    assert!(status.message().contains("node 5"), "{status:?}");
    assert_eq!(refused::<()>(Err(status)), "KEY_NOT_PROVED");
    cluster.restart(5).await;
    cluster.put_to_use(3).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_cannot_prove_a_key_for_another_nor_without_it() {
    let cluster = Box::pin(Cluster::start()).await;
    let file = cluster.with_new_key(3, Purpose::Seal);
    cluster.bring_keys(&file, [1, 2, 3]);
    cluster.announced(1, 3).await;
    let leader = cluster.main_leader().await;
    let founding = cluster.node(1).lines().founding().cluster;
    let say = async |from: u64, named: u64, code: Digest| {
        let command = Command::Keys(keys::Command::Prove { key: 3, code });
        let message = peer::ProposeRequest {
            line: Some(peer::LineRef {
                node: 0,
                cluster: founding.0.to_vec().into(),
                line: Some(peer::line_ref::Line::Main(peer::MainLine::default())),
                epoch: 1,
            }),
            actor: encoding::encode(&Actor::Node(NodeId(named))).into(),
            request: None,
            command: encoding::encode(&command).into(),
            deadline_ms: 5_000,
        };
        cluster.peer(from, leader).propose(message).await
    };
    let guess = Digest::of("a guess", &[]);
    let other = say(6, 5, guess).await.unwrap_err();
    assert_eq!(other.code(), tonic::Code::PermissionDenied, "{other:?}");
    // In its own name it may say what it likes: whoever holds the key sees that it is a lie.
    say(6, 6, guess).await.unwrap();
    until("the lie is seen", async || {
        let key = cluster.key(3).await;
        (key.refuted_node_ids == [6] && key.proved_node_ids == [1, 2, 3]).then_some(())
    })
    .await;
    // Nor is another node's code its own.
    let state = cluster.node(1).lines().main().state();
    let copied = state.key(3).unwrap().proofs[&NodeId(1)];
    say(6, 6, copied).await.unwrap();
    until("the copy is seen", async || {
        (cluster.key(3).await.refuted_node_ids == [6]).then_some(())
    })
    .await;
    assert_eq!(refused(cluster.use_key(3).await), "KEY_NOT_PROVED");
    cluster.bring_keys(&file, 4..=6);
    cluster.put_to_use(3).await;
    cluster.end().await;
}

/// Many accounts with a card, so that sealing them anew takes many entries.
async fn crowd(cluster: &Cluster, count: usize) {
    let verifier = verifier(CARD, cluster.params());
    let row = |index: usize| AccountRow {
        line: u32::try_from(index).unwrap() + 1,
        user_id: format!("C00001X{index}"),
        participant_id: "C00001".to_owned(),
        account_class: CHAN.class.into(),
        title: format!("Clerk {index}"),
        card_number: format!("X{index}"),
        card_verifier: verifier.clone(),
        ..AccountRow::default()
    };
    for part in (0..count).collect::<Vec<_>>().chunks(250) {
        let rows = part.iter().map(|index| row(*index)).collect();
        cluster.imports(Vec::new(), rows).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_may_go_while_it_seals_anew_and_the_next_goes_on() {
    let mut cluster = set_up().await;
    crowd(&cluster, 2_500).await;
    cluster.rotate(3, Purpose::Seal).await;
    let leader = cluster.main_leader().await;
    until("some are sealed anew, and not all", async || {
        let state = cluster.node(leader).lines().main().state();
        let (old, new) = (state.values_sealed_by(1), state.values_sealed_by(3));
        assert!(old > 0, "it was done before anybody could look");
        (new > 0).then_some(())
    })
    .await;
    cluster.stop(leader).await;
    let next = cluster.main_leader().await;
    let state = cluster.node(next).lines().main().state();
    assert!(
        state.values_sealed_by(1) > 0,
        "nothing was left to the next leader"
    );
    cluster.sealed_anew().await;
    cluster.restart(leader).await;
    assert_eq!(cluster.key(1).await.sealed_count, 0);
    cluster.agreed_digests().await;
    all_log_in(&cluster).await;
    cluster.retire_key(1).await.unwrap();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_a_branch_opened_before_a_key_is_used_is_rolled_over_after() {
    let cluster = set_up().await;
    cluster.session_2().await;
    cluster.rotate(3, Purpose::Seal).await;
    cluster.sealed_anew().await;
    // The branch reads what its boundary had, and seals what is new with the key in use.
    all_log_in(&cluster).await;
    let branch = cluster.branch_leader().await;
    let branch = cluster.node(branch).lines().branch().unwrap().state();
    assert!(branch.values_sealed_by(1) > 0);
    assert_eq!(refused(cluster.retire_key(1).await), "BRANCH_OPEN");
    cluster.at("2023-06-10 23:00").await;
    cluster.closed().await;
    cluster.rolled_over(Answer::Waive).await;
    cluster.agreed_digests().await;
    cluster.serves_at("2023-06-12 08:00").await;
    all_log_in(&cluster).await;
    cluster.retire_key(1).await.unwrap();
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_digest_key_leaves_what_was_asked_and_signed_before_it_good() {
    let cluster = set_up().await;
    let before = cluster.key(2).await.checkpoint_key;
    assert_eq!(before.len(), 64);

    cluster.rotate(3, Purpose::Digest).await;
    let after = cluster.key(3).await.checkpoint_key;
    assert_ne!(before, after);
    all_log_in(&cluster).await;
    assert_eq!(refused(cluster.retire_key(2).await), "KEY_IN_USE");
    let token = cluster.with_card(&CHEUNG).await;
    cluster.log_out(&token).await.unwrap();
    let kept = cluster.key(2).await;
    assert_eq!((kept.stage(), kept.checkpoint_key), (KeyStage::Old, before));
    cluster.agreed_digests().await;
    cluster.end().await;
}
