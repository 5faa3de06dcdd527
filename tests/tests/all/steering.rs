//! Clients that were configured once, behind the load balancers of `deploy/steering/`: whichever
//! centre serves, they reach it, and those whose DNS is stale do too (R4, R19).
//!
//! Needs HAProxy, so `scripts/steering test` runs these, where it is installed.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::centres::{protected, switch};
use proto::auth::v1::ListLandingOptionsRequest;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use tests::cast::{CARD, CCMS_CARD, CHAN, LAU, Person};
use tests::client::{Client, Resolver, door};
use tests::cluster::{EAST, S1, S2, WEST, balancer, refused, until};
use tests::{By, Cluster};
use tidemark::drill::request;
use tidemark::refusal;
use tonic::transport::Channel;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The balancer of one centre. It ends with the test.
struct Balancer {
    address: SocketAddr,
    process: Child,
}

impl Balancer {
    /// Starts the shipped configuration, with the cluster's nodes in it.
    fn start(cluster: &Cluster, centre: &str) -> Self {
        let address = balancer(centre);
        let written = Command::new(repository("scripts/steering"))
            .args(["config", &address.to_string()])
            .env("TIDEMARK_CLUSTER", cluster.folder())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&written.stderr);
        assert!(written.status.success(), "{said}");
        let path = cluster.folder().join(format!("haproxy-{centre}.cfg"));
        fs::write(&path, written.stdout).unwrap();
        let process = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { address, process }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _gone_already = self.process.kill();
        let _status = self.process.wait();
    }
}

/// A client, never configured anew, with one channel from beginning to end.
struct Steered {
    what: &'static str,
    name: Resolver,
    channel: Channel,
    person: &'static Person,
}

impl Steered {
    fn new(what: &'static str, client: &Client, first: &Balancer, person: &'static Person) -> Self {
        let name = Resolver::of(first.address.ip());
        let channel = client.call(&name);
        Self {
            what,
            name,
            channel,
            person,
        }
    }

    /// The session that the landing page is told to be open; none while there is none, and none
    /// while nobody answers.
    async fn open_session(&self) -> Option<String> {
        let answer = AuthServiceClient::new(self.channel.clone())
            .list_landing_options(request(ListLandingOptionsRequest::default()))
            .await;
        let session = answer.ok()?.into_inner().session?;
        session.open.then_some(session.session)
    }

    /// Returns once the client has got to the session, and its person has logged in there.
    async fn gets_to(&self, cluster: &Cluster, session: &str, centre: &str) {
        let what = format!("{} gets to {session}", self.what);
        until(&what, async || {
            (self.open_session().await? == session).then_some(())
        })
        .await;
        let token = until(&what, async || {
            let door = door(self.channel.clone(), centre);
            let by = (CCMS_CARD, CARD);
            let logged_in = cluster.log_in_at(&door, self.person, by.0, by.1, By::Card);
            logged_in.await.ok()
        })
        .await;
        assert_eq!(token.answer.function_status, "Function not available");
    }

    /// The reason why its person cannot log in.
    async fn refused(&self, cluster: &Cluster) -> String {
        let door = door(self.channel.clone(), EAST);
        let logged_in = cluster.log_in_at(&door, self.person, CCMS_CARD, CARD, By::Card);
        refused(logged_in.await)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs haproxy: scripts/steering test"]
async fn an_unchanged_client_and_one_with_stale_dns_go_with_the_serving_centre_r4_r19() {
    let cluster = Box::pin(Cluster::start()).await;
    let east = Balancer::start(&cluster, EAST);
    let west = Balancer::start(&cluster, WEST);
    assert_eq!(east.address.port(), west.address.port());
    let client = Client::configured(&cluster, "www.ccass.com", east.address.port());
    let fresh = Steered::new("the client", &client, &east, &CHAN);
    let stale = Steered::new("the client with stale DNS", &client, &east, &LAU);

    // Nobody serves yet; people are told so, and are not left with a dead connection.
    until("the balancers are up", async || {
        fresh.name.set(west.address.ip());
        let status = AuthServiceClient::new(client.call(&fresh.name))
            .list_landing_options(request(ListLandingOptionsRequest::default()))
            .await;
        fresh.name.set(east.address.ip());
        status.ok()?;
        AuthServiceClient::new(stale.channel.clone())
            .list_landing_options(request(ListLandingOptionsRequest::default()))
            .await
            .ok()
    })
    .await;
    assert_eq!(fresh.refused(&cluster).await, "SESSION_CLOSED");

    cluster.serves_at("2023-06-10 18:00").await;
    fresh.gets_to(&cluster, S1, EAST).await;
    stale.gets_to(&cluster, S1, EAST).await;

    cluster.session_2().await;
    // One client hears of the new address; the other believes the old one for ever.
    fresh.name.set(west.address.ip());
    fresh.gets_to(&cluster, S2, WEST).await;
    stale.gets_to(&cluster, S2, WEST).await;

    // Without a balancer, a stale address still gets an answer that says where to go.
    let node = cluster.profile().nodes().iter().find(|node| node.id == 1);
    let node: SocketAddr = node.unwrap().front.parse().unwrap();
    let direct = Client::configured(&cluster, "www.ccass.com", node.port());
    let direct = door(direct.dial(node.ip()), EAST);
    let told = cluster.log_in_at(&direct, &CHAN, CCMS_CARD, CARD, By::Card);
    let told = told.await.unwrap_err();
    let reason = refusal::reason(&told).unwrap();
    assert_eq!(reason, "CENTRE_NOT_SERVING");
    assert_eq!(refusal::fact(&told, "centre").as_deref(), Some(WEST));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs haproxy: scripts/steering test"]
async fn an_unchanged_client_and_one_with_stale_dns_go_with_the_primary_and_back_r19() {
    let cluster = Box::pin(Cluster::start()).await;
    let east = Balancer::start(&cluster, EAST);
    let west = Balancer::start(&cluster, WEST);
    let client = Client::configured(&cluster, "www.ccass.com", east.address.port());
    let fresh = Steered::new("the client", &client, &east, &CHAN);
    let stale = Steered::new("the client with stale DNS", &client, &east, &LAU);
    cluster.serves_at("2023-06-10 18:00").await;
    fresh.gets_to(&cluster, S1, EAST).await;
    stale.gets_to(&cluster, S1, EAST).await;

    for (to, balancer) in [(WEST, &west), (EAST, &east)] {
        protected(&cluster).await;
        let moved = until("no check fails", async || {
            switch(&cluster, 2, to).await.ok()
        })
        .await;
        assert_eq!(moved.primary, to);
        fresh.name.set(balancer.address.ip());
        fresh.gets_to(&cluster, S1, to).await;
        stale.gets_to(&cluster, S1, to).await;
    }
    cluster.end().await;
}
