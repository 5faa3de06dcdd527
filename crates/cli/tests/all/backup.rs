//! Backups by the verbs of the built binary: taken of six processes, checked, and restored into six
//! others, as docs/runbooks/backup.md and restore.md say.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::cluster::{ALL, Cluster, TIDEMARK, repository, said, tidemark, until};

const USAGE: i32 = 2;
const PRE_CHECK: i32 = 3;
const LOSS: i32 = 6;
const MISMATCH: i32 = 7;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a command that must end with this code and say each word.
fn expect(act: &[&str], code: i32, words: &[&str]) -> String {
    let (ended, told) = said(&tidemark(act));
    assert_eq!(ended, code, "{act:?}\n{told}");
    for word in words {
        assert!(told.contains(word), "{act:?}: no \"{word}\" in:\n{told}");
    }
    told
}

/// Runs an operator's command that must end with this code and say each word.
fn told(cluster: &Cluster, act: &[&str], code: i32, words: &[&str]) -> String {
    let profile = cluster.profile();
    expect(&[act, &["--profile", &profile]].concat(), code, words)
}

/// Runs an act that is done; on a busy machine the secondary may be late to confirm it.
fn done(cluster: &Cluster, act: &[&str], words: &[&str]) {
    let (ended, told) = cluster.operator(act);
    assert!([0, LOSS].contains(&ended), "{act:?}\n{told}");
    for word in words {
        assert!(told.contains(word), "{act:?}: no \"{word}\" in:\n{told}");
    }
}

/// Imports the demonstration's accounts.
fn import(cluster: &Cluster) {
    let [accounts, firms] =
        ["accounts.csv", "participants.csv"].map(|name| repository(&format!("deploy/demo/{name}")));
    let act = [
        "account",
        "import",
        text(&accounts),
        "--participants",
        text(&firms),
    ];
    done(cluster, &act, &["1 of 2 operators have approved"]);
    let bob = [&act[..], &["--as", "bob"]].concat();
    done(cluster, &bob, &["accounts imported"]);
}

fn taken(cluster: &Cluster, name: &str) -> PathBuf {
    let file = cluster.path(name);
    let take = [
        "backup",
        "take",
        "--out",
        text(&file),
        "--reason",
        "nightly",
    ];
    done(
        cluster,
        &take,
        &["main line, epoch 1", "accounts", "backup verify"],
    );
    file
}

/// The flags of a restore.
fn restore<'a>(file: &'a Path, keys: &'a Path, dir: &'a Path, port: &'a str) -> Vec<&'a str> {
    let mut flags = vec!["backup", "restore", text(file), "--keys", text(keys)];
    flags.extend(["--init", text(dir), "--port", port]);
    flags.extend(["--by", "alice", "--reason", "the old one burnt"]);
    flags
}

/// A folder and ports that a restored cluster may take.
fn room() -> (Cluster, PathBuf, String) {
    let cluster = Cluster::found();
    let profile = fs::read_to_string(cluster.profile()).unwrap();
    let port = profile.split("front = \"127.0.0.1:").nth(1).unwrap();
    let port = port.split('"').next().unwrap().to_owned();
    // With a slash at its end, as shells complete it.
    let dir = cluster.path("");
    fs::remove_dir_all(&dir).unwrap();
    (cluster, dir, port)
}

/// Everything that is in a folder, by its path.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(text(path.strip_prefix(folder).unwrap()).to_owned());
            }
        }
    }
    found
}

#[test]
fn a_backup_is_taken_checked_and_restored_by_its_verbs() {
    let cluster = Cluster::start();
    import(&cluster);
    let keys = cluster.path("nodes/1/keys.toml");
    let file = cluster.path("nightly.backup");
    let out = ["backup", "take", "--out", text(&file)];
    let with = |more: &[&'static str]| [&out[..], more].concat();
    told(&cluster, &out, USAGE, &["--reason"]);
    told(
        &cluster,
        &with(&["--reason", "why", "--dry-run"]),
        0,
        &["could be taken"],
    );
    assert!(!file.exists());
    taken(&cluster, "nightly.backup");
    assert!(!cluster.path("nightly.backup.part").exists());
    let again = with(&["--reason", "again"]);
    told(&cluster, &again, PRE_CHECK, &["no backup is written over"]);
    told(&cluster, &["audit", "list"], 0, &["nightly"]);

    // A full disk leaves nothing, and says so.
    let full = cluster.path("full.backup");
    let part = cluster.path("full.backup.part");
    symlink("/dev/full", &part).unwrap();
    let take = ["backup", "take", "--out", text(&full), "--reason", "why"];
    told(&cluster, &take, PRE_CHECK, &["No space left", "make room"]);
    assert!(!full.exists() && !part.is_symlink());

    let verify = ["backup", "verify", text(&file)];
    expect(&verify, 0, &["its checksum is right", "takes --keys"]);
    let content = [&verify[..], &["--keys", text(&keys)]].concat();
    expect(
        &content,
        0,
        &["verified: sealed by key 1", "sealed values in it open"],
    );
    expect(
        &["backup", "show", text(&file)],
        0,
        &["nothing of it was checked"],
    );
    let json = expect(&["--output", "json", "backup", "show", text(&file)], 0, &[]);
    assert!(json.contains("\"account_digest\""), "{json}");

    // Another cluster's key file, and a file that is not as it was written.
    let other = Cluster::found();
    let foreign = other.path("nodes/1/keys.toml");
    let wrong = [&verify[..], &["--keys", text(&foreign)]].concat();
    expect(&wrong, MISMATCH, &["the key file is another cluster's"]);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let altered = cluster.path("altered.backup");
    fs::write(&altered, &bytes).unwrap();
    expect(
        &["backup", "verify", text(&altered)],
        MISMATCH,
        &["damaged"],
    );
    fs::write(&altered, &bytes[..middle]).unwrap();
    let (mut new, dir, port) = room();
    let cut = restore(&altered, &keys, &dir, &port);
    expect(&cut, MISMATCH, &["cut short"]);
    assert!(!dir.exists());

    // The new cluster: its own name, the same people.
    let flags = restore(&file, &keys, &dir, &port);
    let dry = [&flags[..], &["--dry-run"]].concat();
    expect(&dry, 0, &["nothing was written"]);
    assert!(!dir.exists());
    let strange = [&flags[..], &["--primary", "north"]].concat();
    expect(&strange, USAGE, &["east and west"]);
    let nobody = [&flags[..], &["--operators", "carol,dave"]].concat();
    expect(&nobody, USAGE, &["not among the new cluster's operators"]);
    expect(&flags, 0, &["6 nodes in east and west", "are not believed"]);
    expect(&flags, PRE_CHECK, &["a restore founds a new cluster"]);
    new.spawn(&ALL);
    assert!(new.ready());
    told(
        &new,
        &["audit", "list"],
        0,
        &["Restored", "the old one burnt"],
    );
    let accounts = |of: &Cluster| told(of, &["account", "list"], 0, &[]);
    assert_eq!(accounts(&new), accounts(&cluster));

    // Neither is asked in the other's name.
    let (ours, theirs) = (new.profile(), cluster.path("operators"));
    let mixed = fs::read_to_string(&ours).unwrap();
    let mixed = mixed.replace("operators/", &format!("{}/", text(&theirs)));
    let profile = new.path("mixed.toml");
    fs::write(&profile, mixed).unwrap();
    let status = ["status", "--profile", text(&profile), "--timeout", "2s"];
    expect(&status, PRE_CHECK, &["no node answers"]);

    // A backup of what was restored is a backup like any other.
    let second = taken(&new, "second.backup");
    let keys = new.path("nodes/3/keys.toml");
    let verify = ["backup", "verify", text(&second), "--keys", text(&keys)];
    expect(&verify, 0, &["verified"]);
}

#[test]
fn a_restore_that_is_killed_leaves_a_whole_cluster_or_none() {
    let mut cluster = Cluster::found();
    cluster.spawn(&ALL);
    assert!(cluster.ready());
    import(&cluster);
    let keys = cluster.path("nodes/1/keys.toml");
    let file = taken(&cluster, "nightly.backup");
    cluster.kill(&ALL);
    let (whole, dir) = (cluster.path("whole"), cluster.path("restored"));
    let unfinished = cluster.path("restored.restoring");
    let port = "10000";
    expect(&restore(&file, &keys, &whole, port), 0, &[]);
    let complete = files(&whole);
    assert!(complete.contains("nodes/6/restored.image"));

    let (mut before, mut after, mut between) = (0, 0, 0);
    let mut wait = Duration::ZERO;
    // Later each time, until it ends by itself.
    while after == 0 {
        let mut child = Command::new(TIDEMARK)
            .args(restore(&file, &keys, &dir, port))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(wait);
        child.kill().unwrap();
        child.wait().unwrap();
        wait += Duration::from_millis(15);
        if dir.exists() {
            assert_eq!(files(&dir), complete);
            assert!(!unfinished.exists());
            after += 1;
            continue;
        }
        before += 1;
        let config = unfinished.join("nodes/1/node.toml");
        if config.exists() {
            between += 1;
            let serve = ["serve", "--config", text(&config)];
            // Whatever is missing, no node starts from there.
            let (code, told) = said(&tidemark(&serve));
            assert_ne!(code, 0, "{told}");
        }
    }
    assert!(before > 0 && between > 0, "{before} {between}");

    // What is whole in every file is refused there too, until it has its name.
    fs::rename(&dir, &unfinished).unwrap();
    let config = unfinished.join("nodes/1/node.toml");
    let serve = ["serve", "--config", text(&config)];
    expect(&serve, PRE_CHECK, &["has not ended"]);
    // And the next restore begins anew.
    expect(&restore(&file, &keys, &dir, port), 0, &[]);
    until("it is there", || files(&dir) == complete);
}

fn signal(name: &str, process: u32) {
    let sent = Command::new("kill")
        .args([format!("-{name}"), process.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_backup_that_is_stopped_leaves_nothing_and_one_that_is_killed_is_in_nobody_s_way() {
    let cluster = Cluster::start();
    import(&cluster);
    let file = cluster.path("nightly.backup");
    let part = cluster.path("nightly.backup.part");
    let take = ["backup", "take", "--out", text(&file), "--reason", "why"];
    // A node that answers nothing holds it where it is.
    let node = cluster.process(1);
    signal("STOP", node);
    for (name, left) in [("INT", false), ("TERM", false), ("KILL", true)] {
        let child = Command::new(TIDEMARK)
            .args(take)
            .args(["--node", "1", "--timeout", "60s"])
            .args(["--profile", &cluster.profile()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until("it has begun", || part.exists());
        signal(name, child.id());
        let ended = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(!file.exists());
        assert_eq!(part.exists(), left, "{name}: {told}");
        if !left {
            assert_eq!(ended.status.code(), Some(1), "{told}");
            assert!(told.contains("nothing is left of it"), "{told}");
        }
    }
    signal("CONT", node);
    taken(&cluster, "nightly.backup");
    assert!(!part.exists());
}
