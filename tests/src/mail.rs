//! The mail that nodes leave in their folders, as the people it is for would see it; and folders
//! that take none, as if the mail server were down.

use std::path::PathBuf;

use proto::operator::v1::GetStatusRequest;
use proto::operator::v1::cluster_service_client::ClusterServiceClient;
use tidemark::drill::{call, request};

use crate::cast::Person;
use crate::cluster::{Cluster, until};

/// One mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The node that sent it.
    pub node: u64,
    /// Its recipient.
    pub to: String,
    /// What it is: a code, or a notice.
    pub kind: String,
    /// Its id: the same when it is sent again.
    pub id: String,
    /// Whether it is marked as of a drill.
    pub drill: bool,
    /// All of it.
    pub text: String,
}

impl Mail {
    fn parse(node: u64, text: String) -> Self {
        let header = |name: &str| {
            let mut lines = text.lines();
            let found = lines.find_map(|line| line.strip_prefix(name));
            found.unwrap_or_default().trim().to_owned()
        };
        Self {
            node,
            to: header("To:"),
            kind: header("X-Tidemark-Kind:"),
            id: header("Message-ID:"),
            drill: header("X-Tidemark-Drill:") == "yes",
            text,
        }
    }
}

impl Cluster {
    fn outbox(&self, node: u64) -> PathBuf {
        self.folder().join(format!("nodes/{node}/data/outbox"))
    }

    /// Every mail that is there.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        let mut mails = Vec::new();
        for node in 1..=6 {
            let Ok(entries) = std::fs::read_dir(self.outbox(node)) else {
                continue;
            };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|ending| ending == "eml") {
                    mails.push(Mail::parse(node, std::fs::read_to_string(path).unwrap()));
                }
            }
        }
        mails
    }

    /// The notices to the person that hold these words.
    #[must_use]
    pub fn notices(&self, person: &Person, words: &str) -> Vec<Mail> {
        let to = person.email.unwrap();
        let mut mails = self.mails();
        mails.retain(|mail| mail.kind == "notice" && mail.to == to && mail.text.contains(words));
        mails
    }

    /// Waits for a notice to the person that holds these words.
    pub async fn notice(&self, person: &Person, words: &str) -> Mail {
        until(words, async || self.notices(person, words).pop()).await
    }

    /// From now on no mail leaves the node.
    pub fn mail_is_down_at(&self, node: u64) {
        let outbox = self.outbox(node);
        std::fs::rename(&outbox, outbox.with_extension("away")).unwrap();
        std::fs::write(&outbox, "").unwrap();
    }

    /// From now on mail leaves the node again.
    pub fn mail_is_up_at(&self, node: u64) {
        let outbox = self.outbox(node);
        std::fs::remove_file(&outbox).unwrap();
        std::fs::rename(outbox.with_extension("away"), &outbox).unwrap();
    }

    /// What operators are told is wrong.
    pub async fn warnings(&self) -> Vec<String> {
        let answer = call(self.operators(1), |channel| async move {
            ClusterServiceClient::new(channel)
                .get_status(request(GetStatusRequest {}))
                .await
        });
        answer.await.unwrap().reasons
    }

    /// How many notices wait on the main line, as a node has it.
    #[must_use]
    pub fn waiting_at(&self, node: u64) -> usize {
        self.node(node).lines().main().state().outbox().len()
    }
}
