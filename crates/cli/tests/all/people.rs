//! What operators do to accounts, requests, participants and the policy, and how the audit is read
//! and checked, with the built binary against six processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::fs;

use crate::cluster::{Cluster, said, tidemark};

const USAGE: i32 = 2;
const PRE_CHECK: i32 = 3;
const REFUSED: i32 = 4;
const MISMATCH: i32 = 7;
const ALREADY: i32 = 8;

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
    cluster.import();
    let show = ["account", "show", DA];
    cluster.expect(
        &show,
        0,
        &["participants/C00001/delegatedAdmins/C00001A1", "active"],
    );
    let told = cluster.expect(&["account", "list", "--class", "da"], 0, &[DA]);
    assert!(!told.contains("/users/"), "{told}");
    cluster.expect(&["account", "show", "NOBODY"], PRE_CHECK, &["account list"]);

    // Access is taken away at once, by one person.
    let suspend = ["account", "suspend", DA, "--reason", "has left"];
    cluster.expect(
        &["account", "suspend", DA, "--dry-run"],
        0,
        &["nothing was changed"],
    );
    cluster.expect(&show, 0, &["active"]);
    cluster.expect(&suspend, 0, &["suspended"]);
    cluster.expect(&suspend, ALREADY, &[]);
    cluster.expect(&[&suspend[..], &["--ok-if-done"]].concat(), 0, &[]);

    // It is given back by two.
    cluster.expect(&["account", "resume", DA], USAGE, &["--reason"]);
    let resume = ["account", "resume", DA, "--reason", "is back"];
    let dry = [&resume[..], &["--dry-run"]].concat();
    cluster.expect(&dry, 0, &["nothing was asked for"]);
    cluster.expect(&["request", "list"], 0, &[]);
    let told = cluster.expect(&resume, 0, &["request approve"]);
    let name = requested(&told);
    cluster.expect(&show, 0, &["suspended"]);
    cluster.expect(
        &["request", "list"],
        0,
        &["resume", "operator/alice", "is back"],
    );
    cluster.expect(
        &["request", "approve", name],
        REFUSED,
        &["MAKER_IS_CHECKER"],
    );
    // Nobody's signature leaves in a dry run, and a dry run is refused as the act would be.
    let own = ["request", "approve", name, "--dry-run"];
    cluster.expect(&own, REFUSED, &["MAKER_IS_CHECKER"]);
    let approve = ["request", "approve", name, "--as", "bob"];
    cluster.expect(
        &[&approve[..], &["--dry-run"]].concat(),
        0,
        &["nothing was decided"],
    );
    cluster.expect(&approve, 0, &["approved"]);
    cluster.expect(&show, 0, &["active"]);
    cluster.expect(&["request", "withdraw", name], REFUSED, &[]);
    cluster.expect(&["request", "show", name], 0, &["approved"]);

    // What cannot be taken back is confirmed.
    let delete = ["account", "delete", DA, "--reason", "gone"];
    cluster.expect(&delete, USAGE, &["--confirm C00001A1"]);
    let told = cluster.expect(&[&delete[..], &["--confirm", DA]].concat(), 0, &[]);
    let name = requested(&told).to_owned();
    cluster.expect(
        &["request", "reject", &name, "--as", "bob"],
        USAGE,
        &["--reason"],
    );
    let reject = [
        "request", "reject", &name, "--as", "bob", "--reason", "stays",
    ];
    cluster.expect(&reject, 0, &["rejected"]);
    cluster.expect(
        &["account", "rename", DA, "Cheung Siu Ming"],
        0,
        &["renamed"],
    );
    cluster.expect(&show, 0, &["Cheung Siu Ming", "active"]);

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
    let told = cluster.expect(&create, 0, &[]);
    let name = requested(&told).to_owned();
    cluster.expect(&["account", "show", new], PRE_CHECK, &[]);
    cluster.expect(&["request", "approve", &name, "--as", "bob"], 0, &[]);
    cluster.expect(&["account", "show", "C00001A9"], 0, &["e-mail registered"]);
    // Users are their own administrators' business.
    let user = [
        "account",
        "set-email",
        "C00001U1",
        "x@harbour.example",
        "--reason",
        "x",
    ];
    cluster.expect(&user, REFUSED, &[]);
}

#[test]
fn participants_policy_keys_and_completions_are_at_hand() {
    let cluster = Cluster::start();
    cluster.import();
    cluster.expect(
        &["participant", "create", "C00077", "New Firm"],
        0,
        &["C00077"],
    );
    cluster.expect(
        &["participant", "create", "C00077", "New Firm"],
        ALREADY,
        &[],
    );
    cluster.expect(
        &["participant", "rename", "C00077", "Newer Firm"],
        0,
        &["Newer Firm"],
    );
    cluster.expect(&["participant", "show", "C00077"], 0, &["Newer Firm"]);
    cluster.expect(&["participant", "list"], 0, &["C00077", "C00001"]);

    let policy = cluster.expect(&["policy", "show"], 0, &["token_idle_ms", "# etag"]);
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
    cluster.expect(
        &dry,
        0,
        &["+ token_idle_ms = 600000", "nothing was changed"],
    );
    cluster.expect(&["policy", "show"], 0, &[idle]);
    let one = cluster.expect(&set, 0, &["+ token_idle_ms = 600000"]);
    assert!(one.contains("1 of 2 operators"), "{one}");
    cluster.expect(&["policy", "show"], 0, &[idle]);
    let second = [&set[..], &["--as", "bob"]].concat();
    cluster.expect(&second, 0, &["policy.set"]);
    cluster.expect(&["policy", "show"], 0, &["token_idle_ms = 600000"]);
    // Whom people ask, in both languages (R11, R12).
    let settings = policy
        .lines()
        .map(|line| match line.split_once(" = ") {
            Some(("support_contact", _)) => "support_contact = \"2211 6688\"".to_owned(),
            Some(("support_contact_zh_hant", empty)) => {
                assert_eq!(empty, "\"\"");
                "support_contact_zh_hant = \"熱線 2211 6688\"".to_owned()
            }
            Some(_) | None => line.to_owned(),
        })
        .collect::<Vec<_>>();
    fs::write(&file, settings.join("\n")).unwrap();
    let words = ["+ support_contact_zh_hant = \"熱線 2211 6688\""];
    cluster.expect(&set, 0, &words);
    cluster.expect(&second, 0, &words);
    cluster.expect(
        &["policy", "show"],
        0,
        &["support_contact_zh_hant = \"熱線"],
    );
    let two_lines = settings.join("\n").replace("熱線 ", "熱線\\n");
    fs::write(&file, two_lines).unwrap();
    cluster.expect(&set, PRE_CHECK, &["must be one line"]);

    fs::write(&file, "token_idle_ms = 1\n").unwrap();
    cluster.expect(&set, PRE_CHECK, &[]);

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
    cluster.import();
    cluster.expect(&["account", "suspend", DA, "--reason", "has left"], 0, &[]);
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
    cluster.expect(&["audit", "export", &file], 0, &["rows"]);
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
    let told = cluster.expect(&list, 0, &["AccountSuspended", DA, "operator alice"]);
    assert_eq!(told.lines().count(), 2, "{told}");
    cluster.expect(
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
    cluster.expect(&watch, 0, &["Founded", "--position main@"]);
    let reads = ["audit", "list", "--line", "reads", "--node", "1"];
    let one = [&list[..], &["--node", "1"]].concat();
    cluster.expect(&one, 0, &[]);
    let words = [
        "Read",
        "ListAuditEvents line=main account=C00001A1",
        "operator/alice",
    ];
    cluster.expect(&reads, 0, &words);
    let verify = ["audit", "verify", "--all-nodes", "--key", &public];
    cluster.expect(&verify, 0, &["whole"]);
}
