//! Backups of a cluster, and another one that begins with them.

use std::path::{Path, PathBuf};

use clap::Parser as _;
use proto::operator::v1::TakeBackupRequest;
use proto::operator::v1::backup_service_client::BackupServiceClient;
use tidemark::args::Tidemark;
use tidemark::drill::{call, request};
use tidemark::exit::Exit;
use tonic::Status;

use crate::Cluster;

/// The first port of a restored cluster: above all that are founded.
const PORT: u16 = 24_000;

impl Cluster {
    /// Takes a backup as operator 1.
    ///
    /// # Errors
    /// The refusal.
    pub async fn backup(&self, reason: &str) -> Result<Vec<u8>, Status> {
        let message = TakeBackupRequest {
            request_id: self.id(),
            reason: reason.to_owned(),
            validate_only: false,
        };
        let mut parts = call(self.operators(1), |channel| {
            let message = message.clone();
            async move {
                BackupServiceClient::new(channel)
                    .take_backup(request(message))
                    .await
            }
        })
        .await?;
        let mut file = Vec::new();
        while let Some(part) = parts.message().await? {
            file.extend(part.chunk);
        }
        Ok(file)
    }

    /// A file in the cluster's folder with this in it.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Founds a cluster in the folder with a backup and this cluster's key file; no node runs.
    ///
    /// # Panics
    /// If a path is no text.
    pub async fn restore(&self, backup: &Path, folder: &Path) -> Exit {
        let host = self.profile().nodes()[0].front.split(':').next().unwrap();
        let (keys, cards) = (self.key_file(1), self.folder().join("ca/card.pem"));
        let port = PORT.to_string();
        let flags = Tidemark::parse_from([
            "tidemark".as_ref(),
            "backup".as_ref(),
            "restore".as_ref(),
            backup.as_os_str(),
            "--keys".as_ref(),
            keys.as_os_str(),
            "--init".as_ref(),
            folder.as_os_str(),
            "--card-anchors".as_ref(),
            cards.as_os_str(),
            "--host".as_ref(),
            host.as_ref(),
            "--port".as_ref(),
            port.as_ref(),
            "--by".as_ref(),
            "bob".as_ref(),
            "--reason".as_ref(),
            "the test lost its cluster".as_ref(),
        ]);
        Box::pin(tidemark::run(flags)).await
    }

    /// The cluster that begins with a backup, all of it running; people's cards and apps go there.
    ///
    /// # Panics
    /// If it cannot be restored.
    pub async fn restored(&self, backup: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A restore makes its folder itself.
        std::fs::remove_dir(folder.path()).unwrap();
        assert_eq!(self.restore(backup, folder.path()).await, Exit::Done);
        let pockets = std::mem::take(&mut *self.pockets());
        Self::in_folder(folder, pockets).await
    }
}
