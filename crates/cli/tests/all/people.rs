//! What operators do to accounts, requests, participants and the policy, and how the audit is read
//! and checked, with the built binary against six processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::cluster;

use std::fs;

use crate::cluster::{Cluster, said, tidemark};

const USAGE: i32 = 2;
const PRE_CHECK: i32 = 3;
const REFUSED: i32 = 4;
const MISMATCH: i32 = 7;
const ALREADY: i32 = 8;

/// Runs an operator's command, whose end and words are expected.
fn expect(cluster: &Cluster, act: &[&str], code: i32, words: &[&str]) -> String {
    let (ended, told) = cluster.operator(act);
    assert_eq!(ended, code, "{act:?}\n{told}");
    for word in words {
        assert!(told.contains(word), "{act:?}: no \"{word}\" in:\n{told}");
    }
    told
}

fn import(cluster: &Cluster) {
    let file = |name: &str| cluster::repository(&format!("deploy/demo/{name}"));
    let (accounts, participants) = (file("accounts.csv"), file("participants.csv"));
    let import = [
        "account",
        "import",
        accounts.to_str().unwrap(),
        "--participants",
        participants.to_str().unwrap(),
    ];
    expect(cluster, &import, 0, &[]);
}

/// The name of the request that a command printed.
fn requested(told: &str) -> &str {
    let name = told
        .lines()
        .find(|line| line.starts_with("changeRequests/"));
    name.unwrap_or_else(|| panic!("no request in:\n{told}"))
}

const DA: &str = "C00001A1";

#[test]
fn operators_look_after_administrators_two_by_two_s34() {
    let cluster = Cluster::start();
    import(&cluster);
    let show = ["account", "show", DA];
    expect(
        &cluster,
        &show,
        0,
        &["participants/C00001/delegatedAdmins/C00001A1", "active"],
    );
    let told = expect(&cluster, &["account", "list", "--class", "da"], 0, &[DA]);
    assert!(!told.contains("/users/"), "{told}");
    expect(
        &cluster,
        &["account", "show", "NOBODY"],
        PRE_CHECK,
        &["account list"],
    );

    // Access is taken away at once, by one person.
    let suspend = ["account", "suspend", DA, "--reason", "has left"];
    expect(
        &cluster,
        &["account", "suspend", DA, "--dry-run"],
        0,
        &["nothing was changed"],
    );
    expect(&cluster, &show, 0, &["active"]);
    expect(&cluster, &suspend, 0, &["suspended"]);
    expect(&cluster, &suspend, ALREADY, &[]);
    expect(
        &cluster,
        &[&suspend[..], &["--ok-if-done"]].concat(),
        0,
        &[],
    );

    // It is given back by two.
    expect(&cluster, &["account", "resume", DA], USAGE, &["--reason"]);
    let resume = ["account", "resume", DA, "--reason", "is back"];
    let dry = [&resume[..], &["--dry-run"]].concat();
    expect(&cluster, &dry, 0, &["nothing was asked for"]);
    expect(&cluster, &["request", "list"], 0, &[]);
    let told = expect(&cluster, &resume, 0, &["request approve"]);
    let name = requested(&told);
    expect(&cluster, &show, 0, &["suspended"]);
    expect(
        &cluster,
        &["request", "list"],
        0,
        &["resume", "operator/alice", "is back"],
    );
    expect(
        &cluster,
        &["request", "approve", name],
        REFUSED,
        &["MAKER_IS_CHECKER"],
    );
    let approve = ["request", "approve", name, "--as", "bob"];
    expect(
        &cluster,
        &[&approve[..], &["--dry-run"]].concat(),
        0,
        &["nothing was decided"],
    );
    expect(&cluster, &approve, 0, &["approved"]);
    expect(&cluster, &show, 0, &["active"]);
    expect(&cluster, &["request", "withdraw", name], REFUSED, &[]);
    expect(&cluster, &["request", "show", name], 0, &["approved"]);

    // What cannot be taken back is confirmed.
    let delete = ["account", "delete", DA, "--reason", "gone"];
    expect(&cluster, &delete, USAGE, &["--confirm C00001A1"]);
    let told = expect(
        &cluster,
        &[&delete[..], &["--confirm", DA]].concat(),
        0,
        &[],
    );
    let name = requested(&told).to_owned();
    expect(
        &cluster,
        &["request", "reject", &name, "--as", "bob"],
        USAGE,
        &["--reason"],
    );
    let reject = [
        "request", "reject", &name, "--as", "bob", "--reason", "stays",
    ];
    expect(&cluster, &reject, 0, &["rejected"]);
    expect(
        &cluster,
        &["account", "rename", DA, "Cheung Siu Ming"],
        0,
        &["renamed"],
    );
    expect(&cluster, &show, 0, &["Cheung Siu Ming", "active"]);

    // A new one, made and approved.
    let new = "participants/C00001/delegatedAdmins/C00001A9";
    let create = [
        "account",
        "create",
        new,
        "--title",
        "New",
        "--email",
        "new@harbour.example",
        "--reason",
        "joined",
    ];
    let told = expect(&cluster, &create, 0, &[]);
    let name = requested(&told).to_owned();
    expect(&cluster, &["account", "show", new], PRE_CHECK, &[]);
    expect(
        &cluster,
        &["request", "approve", &name, "--as", "bob"],
        0,
        &[],
    );
    expect(
        &cluster,
        &["account", "show", "C00001A9"],
        0,
        &["e-mail registered"],
    );
    // Users are their own administrators' business.
    let user = [
        "account",
        "set-email",
        "C00001U1",
        "x@harbour.example",
        "--reason",
        "x",
    ];
    expect(&cluster, &user, REFUSED, &[]);
}

#[test]
fn participants_policy_keys_and_completions_are_at_hand() {
    let cluster = Cluster::start();
    import(&cluster);
    expect(
        &cluster,
        &["participant", "create", "C00077", "New Firm"],
        0,
        &["C00077"],
    );
    expect(
        &cluster,
        &["participant", "create", "C00077", "New Firm"],
        ALREADY,
        &[],
    );
    expect(
        &cluster,
        &["participant", "rename", "C00077", "Newer Firm"],
        0,
        &["Newer Firm"],
    );
    expect(
        &cluster,
        &["participant", "show", "C00077"],
        0,
        &["Newer Firm"],
    );
    expect(&cluster, &["participant", "list"], 0, &["C00077", "C00001"]);

    let policy = expect(
        &cluster,
        &["policy", "show"],
        0,
        &["token_idle_ms", "# etag"],
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let path = file.to_str().unwrap();
    let idle = policy
        .lines()
        .find(|line| line.starts_with("token_idle_ms"))
        .unwrap();
    fs::write(&file, policy.replace(idle, "token_idle_ms = 600000")).unwrap();
    let set = ["policy", "set", path];
    let dry = [&set[..], &["--dry-run"]].concat();
    expect(
        &cluster,
        &dry,
        0,
        &["+ token_idle_ms = 600000", "nothing was changed"],
    );
    expect(&cluster, &["policy", "show"], 0, &[idle]);
    let one = expect(&cluster, &set, 0, &["+ token_idle_ms = 600000"]);
    assert!(one.contains("1 of 2 operators"), "{one}");
    expect(&cluster, &["policy", "show"], 0, &[idle]);
    let second = [&set[..], &["--as", "bob"]].concat();
    expect(&cluster, &second, 0, &["policy.set"]);
    expect(
        &cluster,
        &["policy", "show"],
        0,
        &["token_idle_ms = 600000"],
    );
    fs::write(&file, "token_idle_ms = 1\n").unwrap();
    expect(&cluster, &set, PRE_CHECK, &[]);

    let keys = cluster.path("nodes/1/keys.toml");
    let (code, told) = said(&tidemark(&[
        "key",
        "list",
        "--file",
        keys.to_str().unwrap(),
    ]));
    assert_eq!(code, 0, "{told}");
    for line in fs::read_to_string(&keys).unwrap().lines() {
        if let Some(secret) = line.strip_prefix("secret = ") {
            assert!(!told.contains(secret.trim_matches('"')), "{told}");
        }
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, told) = said(&tidemark(&["completions", shell]));
        assert_eq!(code, 0, "{told}");
        assert!(told.contains("completions"), "{shell}: {told}");
    }
}

#[test]
fn an_exported_trail_is_checked_away_from_the_cluster_by_the_public_key_alone() {
    let cluster = Cluster::start();
    import(&cluster);
    expect(
        &cluster,
        &["account", "suspend", DA, "--reason", "has left"],
        0,
        &[],
    );
    let keys = cluster.path("nodes/1/keys.toml");
    let listed = tidemark(&[
        "--output",
        "json",
        "key",
        "list",
        "--file",
        keys.to_str().unwrap(),
    ]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let public = listed["keys"].as_array().unwrap().iter();
    let mut public = public.filter_map(|key| key["checkpoint_key"].as_str());
    let public = public.next().unwrap().to_owned();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("main.audit");
    let file = path.to_str().unwrap().to_owned();
    expect(&cluster, &["audit", "export", &file], 0, &["rows"]);
    let verify = |key: &str| said(&tidemark(&["audit", "verify", &file, "--key", key]));
    let (code, told) = verify(&public);
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("main: ") && told.contains("signatures good"),
        "{told}"
    );
    let (code, told) = said(&tidemark(&["audit", "verify", &file]));
    assert_eq!(code, USAGE, "{told}");
    let (code, told) = verify(&"ab".repeat(32));
    assert_eq!(code, MISMATCH, "{told}");

    let whole = fs::read(&path).unwrap();
    for at in [100, whole.len() / 2, whole.len() - 5] {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&path, altered).unwrap();
        assert_eq!(verify(&public).0, MISMATCH, "byte {at}");
    }
    for length in [17, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(verify(&public).0, MISMATCH, "cut to {length}");
    }

    // Lists, watches, and who read.
    let list = [
        "audit",
        "list",
        "--kind",
        "AccountSuspended",
        "--account",
        DA,
    ];
    let told = expect(
        &cluster,
        &list,
        0,
        &["AccountSuspended", DA, "operator alice"],
    );
    assert_eq!(told.lines().count(), 2, "{told}");
    expect(
        &cluster,
        &["audit", "list", "--kind", "Nonsense"],
        PRE_CHECK,
        &["kinds"],
    );
    let watch = [
        "audit",
        "watch",
        "--line",
        "main",
        "--from-start",
        "--count",
        "3",
    ];
    expect(&cluster, &watch, 0, &["Founded", "--position main@"]);
    let reads = ["audit", "list", "--line", "reads", "--node", "1"];
    let one = [&list[..], &["--node", "1"]].concat();
    expect(&cluster, &one, 0, &[]);
    let words = [
        "Read",
        "ListAuditEvents line=main account=C00001A1",
        "operator/alice",
    ];
    expect(&cluster, &reads, 0, &words);
    let verify = ["audit", "verify", "--all-nodes", "--key", &public];
    expect(&cluster, &verify, 0, &["whole"]);
}
