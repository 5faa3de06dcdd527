//! The proof by replay (I4): a process of its own is given nothing but the exported log, and gets
//! the account digest that every node has.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use proto::line::v1::LogId;
use proto::operator::v1::ExportLogRequest;
use proto::operator::v1::cluster_service_client::ClusterServiceClient;
use tokio::io::AsyncWriteExt as _;

use super::play::{Done, Player, Trouble};
use super::report::Proof;
use super::stage::{Door, call, request};
use super::words;
use crate::exit::{Failure, file_failure};

impl Player {
    pub(super) async fn replay_agrees(&mut self) -> Done {
        let folder = tempfile::tempdir()
            .map_err(|error| Failure::internal(format!("no temporary folder: {error}")))?;
        let doors = self.stage.operator(None)?.to_vec();
        let mut equal = BTreeMap::new();
        let mut seen = Vec::new();
        for door in &doors {
            if seen.contains(&door.centre) {
                continue;
            }
            seen.push(door.centre.clone());
            let file = folder.path().join(format!("{}.log", door.centre));
            export(door, &file).await?;
            let replayed = self.replay(&file).await?;
            let name = format!("replay of {}'s log by a process of its own", door.centre);
            let last = LogId {
                term: replayed.term,
                node: replayed.node,
                index: replayed.index,
            };
            let place = words::log_id(&last);
            equal.insert(format!("{name}, to {place}"), replayed.account);
            for other in &doors {
                let found = Self::digests(other, "main", Some(last)).await?;
                let account = found.digests.map(|digests| digests.account);
                let from = format!("node {} at {place}", other.node);
                equal.insert(from, account.unwrap_or_default());
            }
        }
        let what = "the exported log alone gives the account digest that every node has";
        self.prove(Proof::of_equality("I4", what, equal))
    }

    /// Replays an exported log in a process of its own, which is given nothing else.
    async fn replay(&self, file: &Path) -> Result<Replayed, Failure> {
        let run = tokio::process::Command::new(&self.setting.replayer)
            .args(["--output", "json", "log", "replay"])
            .arg(file)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| file_failure("run", &self.setting.replayer, &error))?;
        if !run.status.success() {
            return Err(Failure::mismatch(format!(
                "the replay failed: {}",
                String::from_utf8_lossy(&run.stderr).trim()
            )));
        }
        serde_json::from_slice(&run.stdout)
            .map_err(|error| Failure::internal(format!("the replay's answer: {error}")))
    }
}

/// What the replaying process answers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Replayed {
    /// The term of the last entry applied.
    pub term: u64,
    /// The node that wrote it.
    pub node: u64,
    /// Its index.
    pub index: u64,
    /// How many entries there were.
    pub entries: u64,
    /// Where the replay began: `first entry`, or an entry of a snapshot.
    pub from: String,
    /// The account digest of the state.
    pub account: String,
    /// Its full digest.
    pub full: String,
}

/// Writes a node's log of the main line to a file.
async fn export(door: &Door, file: &Path) -> Result<(), Trouble> {
    let mut chunks = call(std::slice::from_ref(door), |channel| async move {
        ClusterServiceClient::new(channel)
            .export_log(request(ExportLogRequest {
                line: "main".to_owned(),
            }))
            .await
    })
    .await?;
    let failed = |error: std::io::Error| file_failure("write", file, &error);
    let mut to = tokio::fs::File::create(file).await.map_err(failed)?;
    while let Some(part) = chunks.message().await? {
        to.write_all(&part.chunk).await.map_err(failed)?;
    }
    to.flush().await.map_err(failed)?;
    Ok(())
}
