//! `key`: what a cluster knows of its keys, and the rotation of them step by step.
//!
//! What is done to a key file without asking anybody is in `file`.

use std::time::Duration;

use proto::operator::v1::{
    AnnounceKeyRequest, Key as Shown, KeyPurpose, KeyStage, ListKeysRequest, ListKeysResponse,
    RetireKeyRequest, UseKeyRequest,
};
use tokio::time::Instant;

use super::{already, confirmed};
use crate::args::Connection;
use crate::args::key::{Act, Key, List, Reseal, Retire};
use crate::client::{Operator, told};
use crate::drill::words;
use crate::exit::Failure;
use crate::output::{Output, Table};

mod file;

/// How often the progress is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Acts on key files and keys.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Key, output: Output) -> Result<(), Failure> {
    match flags {
        Key::List(flags) => list(flags, output).await,
        Key::Add(flags) => file::add(flags, output),
        Key::Announce(flags) => already(&flags.change, announce(flags, output).await, output),
        Key::Use(flags) => already(&flags.change, use_key(flags, output).await, output),
        Key::Reseal(flags) => reseal(flags, output).await,
        Key::Retire(flags) => already(&flags.change, retire(flags, output).await, output),
    }
}

fn purpose(key: &Shown) -> &'static str {
    match key.purpose() {
        KeyPurpose::Seal => "seal",
        KeyPurpose::Digest => "digest",
        KeyPurpose::Unspecified => "-",
    }
}

fn stage(key: &Shown) -> &'static str {
    match key.stage() {
        KeyStage::Announced => "announced",
        KeyStage::InUse => "in use",
        KeyStage::Old => "old",
        KeyStage::Retired => "retired",
        KeyStage::Unspecified => "-",
    }
}

fn listed(nodes: &[u64]) -> String {
    let names: Vec<String> = nodes.iter().map(u64::to_string).collect();
    names.join(", ")
}

/// Who proved the key, and who did not: `4 of 6, not 5, 6`.
fn proved(key: &Shown) -> String {
    let (have, lack) = (key.proved_node_ids.len(), key.missing_node_ids.len());
    if key.stage() == KeyStage::Retired {
        return "-".to_owned();
    }
    if lack == 0 {
        return format!("{have} of {have}");
    }
    let mut text = format!(
        "{have} of {}, not {}",
        have.saturating_add(lack),
        listed(&key.missing_node_ids)
    );
    if !key.refuted_node_ids.is_empty() {
        text.push_str(&format!(
            " (another key at {})",
            listed(&key.refuted_node_ids)
        ));
    }
    text
}

fn document(key: &Shown) -> serde_json::Value {
    serde_json::json!({
        "id": key.key_id,
        "purpose": purpose(key),
        "stage": stage(key),
        "announced": words::local(key.announce_time.as_ref()),
        "used_from": key.use_time.as_ref().map(|at| words::local(Some(at))),
        "used_until": key.end_time.as_ref().map(|at| words::local(Some(at))),
        "proved_by": key.proved_node_ids,
        "not_proved_by": key.missing_node_ids,
        "another_key_at": key.refuted_node_ids,
        "sealed_values": key.sealed_count,
        "checkpoint_key": (!key.checkpoint_key.is_empty()).then_some(&key.checkpoint_key),
        "held_here": key.held,
    })
}

fn table(keys: &[Shown]) -> String {
    let mut table = Table::new(&[
        "KEY",
        "PURPOSE",
        "STATE",
        "PROVED",
        "VALUES",
        "CHECKPOINTS ARE BELIEVED BY",
    ]);
    for key in keys {
        let public = match key.checkpoint_key.as_str() {
            "" => "-",
            public => public,
        };
        table.row([
            key.key_id.to_string(),
            purpose(key).to_owned(),
            stage(key).to_owned(),
            proved(key),
            key.sealed_count.to_string(),
            public.to_owned(),
        ]);
    }
    table.text()
}

async fn asked(connection: &Connection) -> Result<(Operator, ListKeysResponse), Failure> {
    let node = Operator::connect(connection).await?;
    let request = node.request(ListKeysRequest {}, None);
    let answer = told(node.keys().list_keys(request).await)?;
    Ok((node, answer))
}

async fn list(flags: &List, output: Output) -> Result<(), Failure> {
    if let Some(path) = &flags.file {
        return file::list(path, output);
    }
    let connection = flags.connection.get("a key file with --file FILE")?;
    let (_, answer) = asked(&connection).await?;
    if !answer.file_problem.is_empty() {
        output.talk(&format!("node {}: {}", answer.node_id, answer.file_problem));
    }
    let keys: Vec<_> = answer.keys.iter().map(document).collect();
    let document = serde_json::json!({
        "keys": keys,
        "node": answer.node_id,
        "file_problem": (!answer.file_problem.is_empty()).then_some(&answer.file_problem),
        "waiting_values": answer.waiting_count,
    });
    output.data(&document, || table(&answer.keys))
}

fn tell(output: Output, dry_run: bool, id: u32, key: Option<&Shown>) -> Result<(), Failure> {
    if dry_run {
        output.talk("dry run: nothing was changed");
    }
    let document = serde_json::json!({ "dry_run": dry_run, "key": key.map(document) });
    output.data(&document, || match key {
        Some(key) => table(std::slice::from_ref(key)),
        None => format!("key {id} can be announced"),
    })
}

async fn announce(flags: &Act, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let id = node.request_id(&flags.change);
    let message = AnnounceKeyRequest {
        request_id: id.to_string(),
        key_id: flags.key,
        dry_run: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.keys();
        async move { client.announce_key(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    if !flags.change.dry_run {
        output.talk("each node proves it once it is in its key file: tidemark key list");
    }
    tell(output, flags.change.dry_run, flags.key, answer.key.as_ref())
}

async fn use_key(flags: &Act, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let id = node.request_id(&flags.change);
    let message = UseKeyRequest {
        request_id: id.to_string(),
        key_id: flags.key,
        dry_run: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.keys();
        async move { client.use_key(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    tell(output, flags.change.dry_run, flags.key, answer.key.as_ref())
}

async fn retire(flags: &Retire, output: Output) -> Result<(), Failure> {
    if !flags.change.dry_run {
        let question = format!(
            "Key {} is used no more, and never again. Backups from before need it still.",
            flags.key
        );
        confirmed(&flags.confirm, &flags.key.to_string(), &question, output)?;
    }
    let node = Operator::connect(&flags.connection).await?;
    let id = node.request_id(&flags.change);
    let message = RetireKeyRequest {
        request_id: id.to_string(),
        key_id: flags.key,
        dry_run: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.keys();
        async move { client.retire_key(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    tell(output, flags.change.dry_run, flags.key, answer.key.as_ref())
}

async fn reseal(flags: &Reseal, output: Output) -> Result<(), Failure> {
    let deadline = Instant::now() + flags.within;
    loop {
        let (_, answer) = asked(&flags.connection).await?;
        let waiting = answer.waiting_count;
        let sealed: u64 = answer.keys.iter().map(|key| key.sealed_count).sum();
        let done = sealed.saturating_sub(waiting);
        if waiting == 0 || flags.no_wait {
            let document = serde_json::json!({ "sealed_anew": done, "waiting": waiting });
            return output.data(&document, || {
                format!("{done} of {sealed} values are sealed with the key in use")
            });
        }
        output.progress(&format!("{done} of {sealed} values"));
        if Instant::now() >= deadline {
            let what = format!("{waiting} of {sealed} values still wait to be sealed anew");
            return Err(Failure::pre_check(what)
                .next("see that the main line has a leader: tidemark status"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lacks_a_key_is_named() {
        let key = Shown {
            stage: KeyStage::Announced.into(),
            proved_node_ids: vec![1, 2],
            missing_node_ids: vec![3, 4],
            refuted_node_ids: vec![4],
            ..Shown::default()
        };
        assert_eq!(proved(&key), "2 of 4, not 3, 4 (another key at 4)");
        let all = Shown {
            missing_node_ids: Vec::new(),
            refuted_node_ids: Vec::new(),
            ..key
        };
        assert_eq!(proved(&all), "2 of 2");
    }
}
