//! Key files in a cluster's folder, and the keys of the cluster.

use std::path::PathBuf;

use credential::key_file::{self, Purpose};
use domain::{NodeId, UnixMs};
use proto::operator::v1::key_service_client::KeyServiceClient;
use proto::operator::v1::{
    AnnounceKeyRequest, Key, KeyStage, ListKeysRequest, ListKeysResponse, RetireKeyRequest,
    UseKeyRequest,
};
use proto::peer::v1::peer_service_client::PeerServiceClient;
use tidemark::drill::{Door, call, request};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Response, Status};
use zeroize::Zeroizing;

use crate::cluster::{Cluster, until};

impl Cluster {
    /// A node's key file.
    #[must_use]
    pub fn key_file(&self, node: u64) -> PathBuf {
        self.folder().join(format!("nodes/{node}/keys.toml"))
    }

    /// Node 1's key file with a new key added, not brought to any node.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn with_new_key(&self, id: u32, purpose: Purpose) -> String {
        let text = std::fs::read_to_string(self.key_file(1)).unwrap();
        let mut text = Zeroizing::new(text);
        let entropy = credential::SystemEntropy::new();
        key_file::add(&mut text, id, UnixMs(1), purpose, &entropy);
        text.to_string()
    }

    /// Brings a key file to nodes, as an operator does: put beside it, and renamed.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn bring_keys(&self, text: &str, nodes: impl IntoIterator<Item = u64>) {
        for node in nodes {
            let path = self.key_file(node);
            let partial = path.with_extension("new");
            std::fs::write(&partial, text).unwrap();
            std::fs::rename(partial, path).unwrap();
        }
    }

    /// The operator's door at one node.
    #[must_use]
    pub fn operator_at(&self, node: u64) -> Vec<Door> {
        let doors = self.operators(1).iter();
        doors.filter(|door| door.node == node).cloned().collect()
    }

    /// Asks the key service of one node.
    async fn of_keys<T, F>(
        &self,
        node: u64,
        ask: impl Fn(KeyServiceClient<Channel>) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let doors = self.operator_at(node);
        call(&doors, |channel| ask(KeyServiceClient::new(channel))).await
    }

    /// The keys, as one node knows them.
    ///
    /// # Errors
    /// The refusal.
    pub async fn keys_at(&self, node: u64) -> Result<ListKeysResponse, Status> {
        self.of_keys(node, |mut keys| async move {
            keys.list_keys(request(ListKeysRequest {})).await
        })
        .await
    }

    /// One key, as the cluster knows it.
    ///
    /// # Panics
    /// If there is none.
    pub async fn key(&self, id: u32) -> Key {
        let node = self.running().next().unwrap();
        let keys = self.keys_at(node).await.unwrap().keys;
        keys.into_iter().find(|key| key.key_id == id).unwrap()
    }

    /// Announces a key at a node that holds it.
    ///
    /// # Errors
    /// The refusal.
    pub async fn announce_key(&self, node: u64, key_id: u32) -> Result<(), Status> {
        let message = AnnounceKeyRequest {
            request_id: self.id(),
            key_id,
            dry_run: false,
        };
        let answer = self.of_keys(node, |mut keys| {
            let message = message.clone();
            async move { keys.announce_key(request(message)).await }
        });
        answer.await.map(|_| ())
    }

    /// Announces it once the node has read its file again.
    ///
    /// # Panics
    /// If it never can.
    pub async fn announced(&self, node: u64, key_id: u32) {
        until("the key is announced", async || {
            self.announce_key(node, key_id).await.ok()
        })
        .await;
    }

    /// Has a key used.
    ///
    /// # Errors
    /// The refusal.
    pub async fn use_key(&self, key_id: u32) -> Result<Key, Status> {
        let message = UseKeyRequest {
            request_id: self.id(),
            key_id,
            dry_run: false,
        };
        let node = self.running().next().unwrap();
        let answer = self.of_keys(node, |mut keys| {
            let message = message.clone();
            async move { keys.use_key(request(message)).await }
        });
        Ok(answer.await?.key.unwrap())
    }

    /// Waits until every node proved a key, and has it used.
    ///
    /// # Panics
    /// If that never comes to be.
    pub async fn put_to_use(&self, key_id: u32) {
        until("every node proved the key", async || {
            self.key(key_id)
                .await
                .missing_node_ids
                .is_empty()
                .then_some(())
        })
        .await;
        let key = self.use_key(key_id).await.unwrap();
        assert_eq!(key.stage(), KeyStage::InUse);
    }

    /// Adds a key to every node's file, and has it used.
    pub async fn rotate(&self, key_id: u32, purpose: Purpose) {
        let text = self.with_new_key(key_id, purpose);
        self.bring_keys(&text, 1..=6);
        let node = self.running().next().unwrap();
        self.announced(node, key_id).await;
        self.put_to_use(key_id).await;
    }

    /// Waits until everything is sealed with the key in use.
    pub async fn sealed_anew(&self) {
        until("everything is sealed anew", async || {
            let node = self.running().next()?;
            let keys = self.keys_at(node).await.ok()?;
            (keys.waiting_count == 0).then_some(())
        })
        .await;
    }

    /// Retires a key.
    ///
    /// # Errors
    /// The refusal.
    pub async fn retire_key(&self, key_id: u32) -> Result<Key, Status> {
        let message = RetireKeyRequest {
            request_id: self.id(),
            key_id,
            dry_run: false,
        };
        let node = self.running().next().unwrap();
        let answer = self.of_keys(node, |mut keys| {
            let message = message.clone();
            async move { keys.retire_key(request(message)).await }
        });
        Ok(answer.await?.key.unwrap())
    }

    /// A connection to a node's peer listener, with the certificate of another node.
    ///
    /// # Panics
    /// If its files cannot be read.
    #[must_use]
    pub fn peer(&self, from: u64, to: u64) -> PeerServiceClient<Channel> {
        let config = |node: u64| {
            let path = self.folder().join(format!("nodes/{node}/node.toml"));
            server::Config::read(&path).unwrap()
        };
        let (own, other) = (config(from), config(to));
        let text = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(text(&own.anchors.peer)))
            .identity(Identity::from_pem(
                text(&own.certificate),
                text(&own.private_key),
            ))
            .domain_name(server::node::peer_name(NodeId(to)));
        let address = format!("https://{}", other.listen.peer);
        let endpoint = Endpoint::from_shared(address).unwrap();
        PeerServiceClient::new(endpoint.tls_config(tls).unwrap().connect_lazy())
    }
}
