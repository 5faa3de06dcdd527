//! `backup`: take, check and show one. Restoring from it is in `restore`, and what is found in a
//! file in `file`.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};

use domain::backup::Backup;
use proto::operator::v1::{TakeBackupRequest, TakeBackupResponse};
use tonic::Streaming;

use crate::args::backup::{Backup as Flags, Show, Take, Verify};
use crate::client::Operator;
use crate::drill::words;
use crate::exit::{Failure, file_failure};
use crate::output::Output;
use crate::refusal::{self, Asked};

mod file;
mod restore;

/// How often the progress is told.
const TOLD_EVERY_BYTES: u64 = 16 << 20;

/// Acts on backups.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Flags, output: Output) -> Result<(), Failure> {
    match flags {
        Flags::Take(flags) => take(flags, output).await,
        Flags::Verify(flags) => verify(flags, output),
        Flags::Show(flags) => show(flags, output),
        Flags::Restore(flags) => restore::run(flags, output),
    }
}

fn time(at: domain::UnixMs) -> String {
    words::local(Some(&server::wire::time(at)))
}

fn document(backup: &Backup) -> serde_json::Value {
    serde_json::json!({
        "backup": backup.id.to_string(),
        "cluster": backup.cluster.to_string(),
        "title": backup.title,
        "line": "main",
        "epoch": backup.epoch,
        "log_id": backup.log.to_string(),
        "clock": time(backup.clock),
        "accounts": backup.accounts,
        "account_digest": backup.digests.account.to_string(),
        "full_digest": backup.digests.full.to_string(),
        "audit_records": backup.audit.sequence,
        "audit_head": backup.audit.hash.to_string(),
        "taken": time(backup.taken_at),
        "taken_by": backup.by.to_string(),
        "node": backup.node.0,
        "keys": backup.keys,
    })
}

fn text(backup: &Backup) -> String {
    let keys: Vec<String> = backup.keys.iter().map(u32::to_string).collect();
    format!(
        "backup    {}\n\
         cluster   {} ({}), main line, epoch {}\n\
         entry     {}, at {}\n\
         accounts  {}\n\
         account   {}\n\
         full      {}\n\
         audit     {} records, head {}\n\
         taken     {} by {} at node {}\n\
         keys      {} of the key file, without which it is of no use",
        backup.id,
        backup.cluster,
        backup.title,
        backup.epoch,
        backup.log,
        time(backup.clock),
        backup.accounts,
        backup.digests.account,
        backup.digests.full,
        backup.audit.sequence,
        backup.audit.hash,
        time(backup.taken_at),
        backup.by,
        backup.node,
        keys.join(", "),
    )
}

/// A file that is being written beside its place. Dropped before it was put there, it is gone.
struct Part {
    file: File,
    path: PathBuf,
    done: bool,
}

impl Part {
    fn begin(out: &Path) -> Result<Self, Failure> {
        if out.exists() {
            let what = format!("{} is there: no backup is written over", out.display());
            return Err(Failure::pre_check(what).next("name another file"));
        }
        let mut name = out.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        let opened = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path);
        let failed = |error: &io::Error| file_failure("write", &path, error);
        let file = opened.map_err(|error| failed(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let what = format!("another backup is being written to {}", path.display());
                return Err(Failure::pre_check(what));
            }
            Err(TryLockError::Error(error)) => return Err(failed(&error)),
        }
        // What an earlier one left that was killed.
        let left = file.metadata().map_err(|error| failed(&error))?.len();
        if left > 0 {
            file.set_len(0).map_err(|error| failed(&error))?;
        }
        Ok(Self {
            file,
            path,
            done: false,
        })
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let failure = file_failure("write", &self.path, error);
        if error.kind() == io::ErrorKind::StorageFull {
            return failure
                .next("make room, or name a file on another disk; nothing was left here");
        }
        failure
    }

    /// Puts the file in its place, durably.
    fn end(mut self, out: &Path) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| self.failed(&error))?;
        let read = File::open(&self.path).map_err(|error| self.failed(&error))?;
        file::checked(&self.path, credential::backup::check(BufReader::new(read)))?;
        consensus::place::rename(&self.path, out).map_err(|error| self.failed(&error))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.done {
            // Half a backup is of no use; the disk may be full because of it.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Takes one, or is stopped: what was written by then goes with it.
async fn take(flags: &Take, output: Output) -> Result<(), Failure> {
    tokio::select! {
        // The signals are waited for before there is a file.
        biased;
        asked = super::serve::stopped() => {
            asked?;
            Err(Failure::internal("stopped: no backup was taken, and nothing is left of it"))
        }
        done = taken(flags, output) => done,
    }
}

async fn taken(flags: &Take, output: Output) -> Result<(), Failure> {
    let reason = flags.change.reason.clone().unwrap_or_default();
    if reason.is_empty() {
        let what = "a backup is noted in the audit, with a reason";
        return Err(Failure::usage(what).next("add --reason"));
    }
    // Its folder has a name then, and is made durable with it.
    let out = std::path::absolute(&flags.out);
    let out = &out.map_err(|error| file_failure("write", &flags.out, &error))?;
    let part = Part::begin(out)?;
    let node = Operator::connect(&flags.connection).await?;
    let id = node.request_id(&flags.change);
    let message = TakeBackupRequest {
        request_id: id.to_string(),
        reason,
        validate_only: flags.change.dry_run,
    };
    let call = |request| {
        let node = node.clone();
        async move { node.backup().take_backup(request).await }
    };
    let parts = node.change(id, &flags.change, message, call).await?;
    if flags.change.dry_run {
        let document = serde_json::json!({ "dry_run": true, "file": flags.out });
        return output.data(&document, || {
            format!(
                "a backup could be taken at node {} now; nothing was changed and no file written",
                node.node()
            )
        });
    }
    let (part, bytes) = receive(&node, parts, part, output).await?;
    part.end(out)?;
    let read = File::open(out).map_err(|error| file_failure("read", out, &error))?;
    let backup = file::checked(out, credential::backup::show(BufReader::new(read)))?;
    let mut document = document(&backup);
    if let Some(fields) = document.as_object_mut() {
        fields.insert("file".to_owned(), serde_json::json!(out));
        fields.insert("bytes".to_owned(), serde_json::json!(bytes));
    }
    output.data(&document, || {
        let file = out.display();
        format!(
            "{}\nfile      {file}, {bytes} bytes\n\
             check it, where the key file is:  tidemark backup verify {file} --keys FILE",
            text(&backup)
        )
    })
}

/// Writes what comes; a node that goes silent ends it.
async fn receive(
    node: &Operator,
    mut parts: Streaming<TakeBackupResponse>,
    mut part: Part,
    output: Output,
) -> Result<(Part, u64), Failure> {
    let (mut bytes, mut told) = (0_u64, 0_u64);
    loop {
        let next = tokio::time::timeout(node.patience(), parts.message()).await;
        let next = next.map_err(|_| {
            Failure::internal(format!("node {} sends nothing any more", node.node()))
                .next("take the backup again, at another node with --node")
        })?;
        let next = next.map_err(|status| refusal::failure(&status, Asked::Read))?;
        let Some(next) = next else {
            return Ok((part, bytes));
        };
        let written = part.file.write_all(&next.chunk);
        written.map_err(|error| part.failed(&error))?;
        bytes = bytes.saturating_add(u64::try_from(next.chunk.len()).unwrap_or(0));
        if bytes.saturating_sub(told) >= TOLD_EVERY_BYTES {
            told = bytes;
            output.talk(&format!("{} MiB so far", bytes >> 20));
        }
    }
}

fn verify(flags: &Verify, output: Output) -> Result<(), Failure> {
    let Some(keys) = &flags.keys else {
        let backup = file::sum(&flags.file)?;
        let mut document = document(&backup);
        if let Some(fields) = document.as_object_mut() {
            fields.insert("verified".to_owned(), serde_json::json!("checksum"));
        }
        return output.data(&document, || {
            format!(
                "{}\nwhole: its checksum is right. Whether it is what a node sealed, and what is in \
                 it, takes --keys",
                text(&backup)
            )
        });
    };
    let keys = file::Keys::read(keys)?;
    output.talk("opening the seal, and computing the digests from the accounts");
    let opened = file::open(&flags.file, &keys)?;
    let mut document = document(&opened.backup);
    if let Some(fields) = document.as_object_mut() {
        fields.insert("verified".to_owned(), serde_json::json!("content"));
        fields.insert("sealed_values".to_owned(), serde_json::json!(opened.sealed));
    }
    output.data(&document, || {
        format!(
            "{}\nverified: sealed by key {}, whole, its digests computed from {} accounts; all {} \
             sealed values in it open",
            text(&opened.backup),
            opened.backup.keys.first().copied().unwrap_or_default(),
            opened.backup.accounts,
            opened.sealed,
        )
    })
}

fn show(flags: &Show, output: Output) -> Result<(), Failure> {
    let read =
        File::open(&flags.file).map_err(|error| file_failure("read", &flags.file, &error))?;
    let backup = file::checked(&flags.file, credential::backup::show(BufReader::new(read)))?;
    output.data(&document(&backup), || text(&backup))?;
    output.talk("what the file says; nothing of it was checked");
    Ok(())
}
