//! A backup is taken while a cluster goes on, and another one begins with it: people log in there
//! as before, nothing single-use comes back to life, and nobody of the old cluster gets in.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::fs;
use std::path::Path;

use consensus::export::{self, Start};
use credential::keyring::Keyring;
use domain::State;
use domain::backup::Backup;
use proto::auth::v1::verify_factor_request::Factor;
use proto::peer::v1::GetNodeStatusRequest;
use proto::peer::v1::peer_service_client::PeerServiceClient;
use tests::cast::{CHAN, CHEUNG, LEE, OTP, WONG};
use tests::cluster::{refused, settled, until};
use tests::{By, Cluster};
use tidemark::exit::Exit;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// What is in a backup, opened with a cluster's key file.
fn opened(cluster: &Cluster, file: &[u8]) -> (Backup, State) {
    let keys = fs::read_to_string(cluster.key_file(1)).unwrap();
    let keys = Keyring::parse(&keys).ok().unwrap();
    let opener = credential::backup::Opener::open(&keys, file).ok().unwrap();
    let backup = opener.backup().clone();
    let image = consensus::image::read_from(Path::new("backup"), opener).unwrap();
    assert_eq!(image.digests, backup.digests);
    (backup, image.state)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_begins_with_a_backup_that_was_taken_while_another_went_on() {
    let old = Box::pin(Cluster::start()).await;
    old.serves_at("2023-06-10 18:00").await;
    old.sets_up_app(&WONG).await;
    old.sets_up_mail(&LEE).await;
    let token = old.with_app(&WONG).await;
    let begun = old.begin(&old.front(), &LEE, LEE.otp_option(), OTP).await;
    let begun = begun.unwrap();
    let code = old.mailed(&LEE, "login-code").await;

    // People log in all the while.
    let mut files = Vec::new();
    let (_, ()) = tokio::join!(
        async {
            for reason in ["nightly", "before the release", "nightly"] {
                files.push(settled(|| old.backup(reason)).await.unwrap());
            }
        },
        async {
            for _ in 0..6 {
                old.with_card(&CHAN).await;
            }
        }
    );
    let file = files.pop().unwrap();
    let (backup, state) = opened(&old, &file);
    // It is what every node had after that very entry.
    for node in 1..=6 {
        let line = old.node(node).lines().main();
        assert_eq!(line.digests_at(backup.log), Some(backup.digests), "{node}");
    }
    assert_eq!(state.header().applied, backup.log);
    let kinds = old.audited_kinds().await;
    let noted = kinds.iter().find(|(kind, _)| plain(kind) == "backuptaken");
    assert_eq!(noted.map(|(_, count)| *count), Some(3), "{kinds:?}");
    let without_reason = old.backup("").await;
    assert_eq!(refused(without_reason), "BAD_VALUES");

    let path = old.file("nightly.backup", &file);
    let new = old.restored(&path).await;
    let digests = new.agreed_digests().await;
    assert_eq!(digests.account, backup.digests.account.to_string());
    assert_ne!(new.profile().cluster(), old.profile().cluster());

    // What counts once is over here, and goes on there.
    new.serves_at("2023-06-10 18:30").await;
    assert!(old.good(&token, token.scope()).await);
    new.dead(&token).await;
    let factor = Factor::Code(code.clone());
    let late = new.verify(&new.front(), &begun.login_id, factor).await;
    assert_eq!(refused(late), "CREDENTIALS_REJECTED");

    // People come as they did before.
    let again = new.with_app(&WONG).await;
    assert!(new.good(&again, again.scope()).await);
    new.with_card(&CHAN).await;
    let by_mail = settled(|| new.log_in(&LEE, LEE.otp_option(), OTP, By::Mail)).await;
    by_mail.unwrap();
    let wrong = new.log_in(&CHAN, CHAN.card_option(), "not it", By::Card);
    assert_eq!(refused(wrong.await), "CREDENTIALS_REJECTED");
    new.sets_up_app(&CHEUNG).await;

    // The audit goes on where the backup's ended, and says where it came from.
    let events = new.audit(&new.operators_at("east"), "main").await;
    let first = &events[0];
    assert_eq!(first.sequence, backup.audit.sequence);
    assert_eq!(plain(&first.kind), "restored");
    let said = format!("{first:?}");
    assert!(said.contains("operator/bob"), "{said}");
    assert!(said.contains(&backup.id.to_string()), "{said}");
    assert!(
        said.contains(&old.profile().cluster().to_string()),
        "{said}"
    );

    // A replay needs what the line began with, and then gives the same.
    let log = new.export(4).await;
    let lacking = export::replay(&log, None).unwrap_err().to_string();
    assert!(lacking.contains("restored.image"), "{lacking}");
    let image = new.folder().join("nodes/4/restored.image");
    let replayed = export::replay(&log, Some(&image)).unwrap();
    assert_eq!(replayed.start, Start::Restored);
    let line = new.node(4).lines().main();
    assert_eq!(
        line.digests_at(replayed.last),
        Some(replayed.state.digests())
    );

    nobody_of_the_old_cluster_gets_in(&old, &new).await;
    new.end().await;
    old.end().await;
}

/// A kind without its spelling.
fn plain(kind: &str) -> String {
    let letters = kind.chars().filter(char::is_ascii_alphabetic);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Neither nodes nor operators, though somebody hands them the new cluster's anchors.
async fn nobody_of_the_old_cluster_gets_in(old: &Cluster, new: &Cluster) {
    let founding = new.node(1).lines().founding().clone();
    let address = founding.primary.nodes[0].address.clone();
    let text = |cluster: &Cluster, path: &str| fs::read_to_string(cluster.folder().join(path));
    let anchor = text(new, "ca/peer.pem").unwrap();
    let dial = |certificate: String, key: String, to: &str| {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&anchor))
            .identity(Identity::from_pem(certificate, key))
            .domain_name("www.ccass.com");
        let endpoint = Endpoint::from_shared(format!("https://{to}")).unwrap();
        endpoint.tls_config(tls).unwrap().connect_lazy()
    };
    let asked = |cluster: &Cluster| GetNodeStatusRequest {
        cluster: cluster.profile().cluster().0.to_vec().into(),
    };
    let member = |of: &Cluster| {
        let certificate = text(of, "nodes/1/node.pem").unwrap();
        dial(certificate, text(of, "nodes/1/node.key").unwrap(), &address)
    };
    let mut theirs = PeerServiceClient::new(member(old));
    let believed = theirs.get_node_status(asked(new)).await;
    assert!(believed.is_err(), "an old node's certificate is believed");
    // A node of the new one that speaks for the old one is told so.
    let mut ours = PeerServiceClient::new(member(new));
    let wrong = ours.get_node_status(asked(old)).await.unwrap_err();
    assert!(wrong.message().contains("cluster"), "{wrong:?}");
    assert!(ours.get_node_status(asked(new)).await.is_ok());

    let operator = new.profile().nodes()[0].operator.clone();
    let status = |of: &Cluster| {
        let certificate = text(of, "operators/alice.pem").unwrap();
        let channel = dial(
            certificate,
            text(of, "operators/alice.key").unwrap(),
            &operator,
        );
        async move {
            let request = proto::operator::v1::GetStatusRequest {};
            proto::operator::v1::cluster_service_client::ClusterServiceClient::new(channel)
                .get_status(request)
                .await
        }
    };
    assert!(status(old).await.is_err(), "an old operator is believed");
    assert!(status(new).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_on_what_its_cluster_was_restored_from_and_on_nothing_else() {
    let mut old = Box::pin(Cluster::start()).await;
    let first = settled(|| old.backup("one")).await.unwrap();
    old.serves_at("2023-06-10 18:00").await;
    let second = settled(|| old.backup("another")).await.unwrap();
    let (first, second) = (old.file("1.backup", &first), old.file("2.backup", &second));
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    assert_eq!(old.restore(&first, &other).await, Exit::Done);
    assert_eq!(old.restore(&first, &other).await, Exit::PreCheck);
    let mut new = old.restored(&second).await;
    old.stop(6).await;
    new.stop(6).await;
    let node = new.folder().join("nodes/6");
    let image = node.join("restored.image");
    let whole = fs::read(&image).unwrap();

    // Not without it, not with an altered one, not with that of another restore.
    fs::remove_file(&image).unwrap();
    assert!(starts(&node).await.contains("restored.image"));
    let mut altered = whole.clone();
    altered[whole.len() / 2] ^= 1;
    fs::write(&image, &altered).unwrap();
    assert!(starts(&node).await.contains("damaged"));
    fs::copy(other.join("nodes/6/restored.image"), &image).unwrap();
    assert!(starts(&node).await.contains("not what was asked for"));
    fs::write(&image, &whole).unwrap();

    // Nor with what an old member had on its disk.
    let data = node.join("data");
    fs::rename(&data, node.join("mine")).unwrap();
    fs::rename(old.folder().join("nodes/6/data"), &data).unwrap();
    let refusal = starts(&node).await;
    assert!(
        refusal.contains("is it the file of another cluster?"),
        "{refusal}"
    );
    fs::remove_file(data.join("keys.json")).unwrap();
    let refusal = starts(&node).await;
    assert!(
        refusal.contains("belongs to node 6 of cluster"),
        "{refusal}"
    );
    fs::remove_dir_all(&data).unwrap();
    fs::rename(node.join("mine"), &data).unwrap();

    new.restart(6).await;
    until("node 6 has caught up", async || {
        let state = new.node(6).lines().main().state();
        state.founding().is_some().then_some(())
    })
    .await;
    new.agreed_digests().await;
    new.end().await;
    old.end().await;
}

/// What the node of a folder says when it does not start.
async fn starts(node: &Path) -> String {
    let config = server::Config::read(&node.join("node.toml")).unwrap();
    match Box::pin(server::Node::start(config)).await {
        Ok(started) => {
            started.stop().await;
            panic!("it started")
        }
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_fenced_main_line_ends_its_session_where_it_is_restored() {
    let old = Box::pin(Cluster::start()).await;
    old.serves_at("2023-06-10 18:00").await;
    old.sets_up_app(&WONG).await;
    old.session_2().await;
    let on_branch = old.with_app(&WONG).await;
    let file = settled(|| old.backup("in the middle of a drill"))
        .await
        .unwrap();
    let (backup, state) = opened(&old, &file);
    assert!(state.header().fence.is_some());
    let path = old.file("drill.backup", &file);
    let new = old.restored(&path).await;
    let header = new.node(1).lines().main().state().header().clone();
    assert_eq!((header.fence, header.current), (None, None));
    assert!(header.clock >= backup.clock);
    let kinds = new.audited_kinds().await;
    assert!(kinds.keys().any(|kind| plain(kind) == "sessionabandoned"));
    new.dead(&on_branch).await;
    let listed = new.sessions().await;
    let s2 = listed.iter().filter_map(|entry| entry.session.as_ref());
    let s2: Vec<_> = s2.filter(|one| one.session == tests::cluster::S2).collect();
    let stage = s2[0].stage();
    assert_eq!(stage, proto::operator::v1::PlanStage::Abandoned);
    // Monday opens.
    new.serves_at("2023-06-12 08:00").await;
    let _token = new.with_app(&WONG).await;
    new.end().await;
    old.end().await;
}
