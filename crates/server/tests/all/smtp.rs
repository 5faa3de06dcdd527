//! Notices and a mail server: one that is down, one that hangs up half-way, one that refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::world::{Shape, World, prepared, until};
use proto::account::v1::AccountClass;
use proto::admin::v1::account_service_client::AccountServiceClient;
use proto::admin::v1::{AccountRow, SuspendAccountRequest};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

/// How the mail server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Takes no connection.
    Down,
    /// Takes a mail, and hangs up before it says so.
    HangsUp,
    /// Refuses what is to `u1`.
    RefusesOne,
    /// Takes everything.
    Takes,
}

/// A mail server with TLS from the first byte.
struct Server {
    port: u16,
    manner: Mutex<Manner>,
    calls: AtomicUsize,
    taken: Mutex<Vec<String>>,
}

impl Server {
    async fn start(world: &World, manner: Manner) -> Arc<Self> {
        let issued = world.server();
        let chain = CertificateDer::pem_slice_iter(issued.certificate_pem.as_bytes());
        let chain = chain.map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let socket = TcpListener::bind("localhost:0").await.unwrap();
        let server = Arc::new(Self {
            port: socket.local_addr().unwrap().port(),
            manner: Mutex::new(manner),
            calls: AtomicUsize::default(),
            taken: Mutex::default(),
        });
        let serving = Arc::clone(&server);
        tokio::spawn(async move {
            loop {
                let (caller, _) = socket.accept().await.unwrap();
                let (server, acceptor) = (Arc::clone(&serving), acceptor.clone());
                server.calls.fetch_add(1, Ordering::Relaxed);
                // A caller that hangs up first has heard what it came for.
                tokio::spawn(async move { server.serve(acceptor, caller).await.ok() });
            }
        });
        server
    }

    fn manner(&self) -> Manner {
        *self.manner.lock().unwrap()
    }

    fn becomes(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    async fn serve(&self, acceptor: TlsAcceptor, caller: TcpStream) -> std::io::Result<()> {
        if self.manner() == Manner::Down {
            return Ok(());
        }
        let mut caller = BufStream::new(acceptor.accept(caller).await?);
        let mut answer = "220 localhost\r\n";
        loop {
            caller.write_all(answer.as_bytes()).await?;
            caller.flush().await?;
            let mut line = String::new();
            if caller.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            answer = match line.get(..4) {
                Some("EHLO") => "250-localhost\r\n250 8BITMIME\r\n",
                Some("RCPT") if self.manner() == Manner::RefusesOne && line.contains("u1@") => {
                    "550 5.1.1 not known here\r\n"
                }
                Some("DATA") => {
                    caller.write_all(b"354 go on\r\n").await?;
                    caller.flush().await?;
                    let mut mail = String::new();
                    while !mail.ends_with("\r\n.\r\n") {
                        if caller.read_line(&mut mail).await? == 0 {
                            return Ok(());
                        }
                    }
                    self.taken.lock().unwrap().push(mail);
                    if self.manner() == Manner::HangsUp {
                        return Ok(());
                    }
                    "250 taken\r\n"
                }
                Some(_) | None => "250 localhost\r\n",
            };
        }
    }

    /// The mails that were taken: how often each, by id and recipient.
    fn taken(&self) -> BTreeMap<(String, String), usize> {
        let mut counts = BTreeMap::new();
        for mail in self.taken.lock().unwrap().iter() {
            let header = |name: &str| {
                let line = mail.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap().trim().to_owned()
            };
            let key = (header("Message-ID:"), header("To:"));
            *counts.entry(key).or_default() += 1;
        }
        counts
    }

    fn taken_for(&self, to: &str) -> usize {
        let taken = self.taken();
        taken.keys().filter(|(_, of)| of == to).count()
    }
}

/// A node that mails by this server, and three people, who have just been suspended.
async fn three_suspended(manner: Manner) -> (World, Arc<Server>) {
    let mut world = prepared(Shape::OneNode);
    let server = Server::start(&world, manner).await;
    let path = world.folder().join("node-1.toml");
    let mut config = std::fs::read_to_string(&path).unwrap();
    config.push_str(&format!(
        "[mail.smtp]\nhost = \"localhost\"\nport = {}\nsecurity = \"tls\"\nanchors = \"peer.pem\"\n",
        server.port
    ));
    std::fs::write(&path, config).unwrap();
    let node = world.start(0).await.unwrap();
    world.nodes.push(node);
    world.status(0).await;
    let row = |line: u32, user_id: &str| AccountRow {
        line,
        user_id: user_id.to_owned(),
        participant_id: "C1".to_owned(),
        account_class: AccountClass::User.into(),
        title: user_id.to_owned(),
        email: format!("{}@firm.example", user_id.to_lowercase()),
        ..AccountRow::default()
    };
    let rows = vec![row(2, "U1"), row(3, "U2"), row(4, "U3")];
    world.import(rows).await.unwrap();
    for user_id in ["U1", "U2", "U3"] {
        let suspend = SuspendAccountRequest {
            request_id: Uuid::now_v7().to_string(),
            name: format!("participants/C1/users/{user_id}"),
            reason: "a test".to_owned(),
            ..SuspendAccountRequest::default()
        };
        AccountServiceClient::new(world.operator(0, &world.kay).await)
            .suspend_account(suspend)
            .await
            .unwrap();
    }
    (world, server)
}

fn waiting(world: &World) -> usize {
    world.nodes[0].lines().main().state().outbox().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_is_down_or_hangs_up_delays_notices_and_loses_none() {
    let (world, server) = three_suspended(Manner::Down).await;
    until("it was tried again", async || {
        (server.calls.load(Ordering::Relaxed) >= 4).then_some(())
    })
    .await;
    assert_eq!(waiting(&world), 3);
    assert!(server.taken().is_empty());
    server.becomes(Manner::HangsUp);
    until("a mail was taken, and nobody was told", async || {
        (!server.taken().is_empty()).then_some(())
    })
    .await;
    assert_eq!(waiting(&world), 3);
    server.becomes(Manner::Takes);
    until("all has left", async || {
        (waiting(&world) == 0).then_some(())
    })
    .await;
    let taken = server.taken();
    // What was sent again is known for the same mail.
    assert_eq!(taken.len(), 3, "{taken:?}");
    assert!(taken.values().any(|times| *times > 1), "{taken:?}");
    for to in ["u1@firm.example", "u2@firm.example", "u3@firm.example"] {
        assert_eq!(server.taken_for(to), 1, "{taken:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_refused_holds_up_no_other_and_is_tried_again() {
    let (world, server) = three_suspended(Manner::RefusesOne).await;
    until("the others have left", async || {
        (waiting(&world) == 1).then_some(())
    })
    .await;
    assert_eq!(server.taken_for("u1@firm.example"), 0);
    assert_eq!(server.taken().len(), 2);
    server.becomes(Manner::Takes);
    until("all has left", async || {
        (waiting(&world) == 0).then_some(())
    })
    .await;
    assert_eq!(server.taken_for("u1@firm.example"), 1);
    world.stop().await;
}
