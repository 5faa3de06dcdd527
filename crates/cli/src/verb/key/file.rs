//! Key files: what one holds, without its secrets, and adding a key to one. No node is asked.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use consensus::clock::{Clock as _, WallClock};
use credential::SystemEntropy;
use credential::key_file::{self, KEYS_MAX, Purpose};
use credential::keyring::Keyring;
use zeroize::Zeroizing;

use crate::args::key::{self, Add};
use crate::exit::{Failure, file_failure};
use crate::output::{Output, Table};

/// A key file is its owner's alone.
const MODE: u32 = 0o600;

fn read(path: &Path) -> Result<(Zeroizing<String>, Keyring), Failure> {
    let text = fs::read_to_string(path).map_err(|error| file_failure("read", path, &error))?;
    let text = Zeroizing::new(text);
    let keyring = Keyring::parse(&text)
        .map_err(|wrong| Failure::pre_check(format!("{}: {wrong}", path.display())))?;
    Ok((text, keyring))
}

/// What a key file holds.
///
/// # Errors
/// When the file cannot be read, or is no key file.
pub(super) fn list(path: &Path, output: Output) -> Result<(), Failure> {
    let (_, keyring) = read(path)?;
    let rows: Vec<_> = keyring
        .keys()
        .map(|(id, purpose, created)| {
            let mut public = keyring.checkpoint_keys();
            let public = public.find(|(key, _)| *key == id);
            let public = public.map(|(_, key)| key.to_string());
            (id, purpose, created.to_string(), public)
        })
        .collect();
    let documents: Vec<_> = rows
        .iter()
        .map(|(id, purpose, created, public)| {
            serde_json::json!({
                "id": id, "purpose": purpose, "created": created, "checkpoint_key": public,
            })
        })
        .collect();
    output.data(&serde_json::json!({ "keys": documents }), || {
        let mut table = Table::new(&["KEY", "PURPOSE", "CREATED", "CHECKPOINTS ARE BELIEVED BY"]);
        for (id, purpose, created, public) in &rows {
            table.row([
                id.to_string(),
                purpose.to_string(),
                created.clone(),
                public.clone().unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        table.text()
    })
}

/// Adds a new key to a key file, whole or not at all.
///
/// # Errors
/// When the file is no key file, holds the id or as many keys as it may, or cannot be written.
pub(super) fn add(flags: &Add, output: Output) -> Result<(), Failure> {
    let path = &flags.file;
    let (before, keyring) = read(path)?;
    let ids: Vec<u32> = keyring.keys().map(|(id, _, _)| id).collect();
    let greatest = ids.iter().copied().max().unwrap_or(0);
    let next = greatest.checked_add(1);
    let id = flags.id.or(next).ok_or_else(|| {
        Failure::pre_check("the greatest id is taken").next("choose another with --id")
    })?;
    if ids.contains(&id) {
        let what = format!("{} holds a key {id}", path.display());
        return Err(Failure::pre_check(what).next("choose another with --id"));
    }
    if ids.len() >= KEYS_MAX {
        let what = format!(
            "{} holds {KEYS_MAX} keys, the most there are",
            path.display()
        );
        return Err(Failure::pre_check(what).next("take out those that are retired"));
    }
    let purpose = match flags.purpose {
        key::Purpose::Seal => Purpose::Seal,
        key::Purpose::Digest => Purpose::Digest,
    };
    if flags.dry_run {
        output.talk("dry run: nothing was changed");
    } else {
        // Room from the start: a text that grows leaves the keys behind in memory.
        let mut text = Zeroizing::new(String::with_capacity(before.len().saturating_add(512)));
        text.push_str(&before);
        let entropy = SystemEntropy::new();
        key_file::add(&mut text, id, WallClock.now(), purpose, &entropy);
        write(path, &text)?;
        output.talk("bring the file to every node, then: tidemark key announce");
    }
    let document = serde_json::json!({
        "dry_run": flags.dry_run, "key": id, "purpose": purpose.name(),
    });
    output.data(&document, || id.to_string())
}

/// Puts the text in the place of the file: durably, and readable by its owner alone from the
/// first byte on.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let partial = path.with_extension("partial");
    let failed = |error: std::io::Error| file_failure("write", path, &error);
    let mut options = OpenOptions::new();
    let created = options
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&partial);
    let mut file = created.map_err(|error| file_failure("write", &partial, &error))?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| consensus::place::rename(&partial, path));
    written.map_err(|error| {
        // What was begun holds a key.
        let _gone = fs::remove_file(&partial);
        failed(error)
    })
}
