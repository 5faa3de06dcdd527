//! The verbs about one account, its methods and the policy, as an operator at the desk types them,
//! with the built binary against six processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::fs;

use crate::cluster::{Cluster, repository, said, tidemark};

const USAGE: i32 = 2;
const PRE_CHECK: i32 = 3;
const REFUSED: i32 = 4;
const ALREADY: i32 = 8;

const DA: &str = "C00001A1";
const NEW_DA: &str = "participants/C00001/delegatedAdmins/C00001A9";

fn with<'a>(act: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [act, more].concat()
}

/// What a command prints for scripts.
fn json(cluster: &Cluster, act: &[&str]) -> serde_json::Value {
    let profile = cluster.profile();
    let output = tidemark(&with(act, &["--output", "json", "--profile", &profile]));
    assert!(output.status.success(), "{act:?}\n{}", said(&output).1);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{act:?}: {error}\n{}", said(&output).1))
}

/// Asks for what gives access: a dry run makes no request, alice makes one, bob approves it.
fn given(cluster: &Cluster, act: &[&str]) {
    let act = with(act, &["--reason", "asked for by telephone"]);
    let tried = json(cluster, &with(&act, &["--dry-run"]));
    assert_eq!(tried["dry_run"], true, "{tried}");
    let open = json(cluster, &["request", "list"]);
    assert_eq!(open["requests"], serde_json::json!([]), "{act:?}");
    let made = json(cluster, &act);
    let request = made["request"].as_str().unwrap();
    let approve = ["request", "approve", request, "--as", "bob"];
    cluster.expect(&approve, 0, &["is approved"]);
}

fn show(cluster: &Cluster, account: &str) -> serde_json::Value {
    json(cluster, &["account", "show", account])["account"].clone()
}

/// The user ids that a list shows.
fn listed(cluster: &Cluster, filter: &[&str]) -> Vec<String> {
    let all = json(cluster, &with(&["account", "list"], filter));
    let accounts = all["accounts"].as_array().unwrap().iter();
    accounts
        .map(|account| account["user_id"].as_str().unwrap().to_owned())
        .collect()
}

/// Both acts of alice wait for another person, who looks at each, once.
fn reviewed(cluster: &Cluster) {
    let waiting = |more: &[&str]| {
        let list = json(cluster, &with(&["account", "reviews"], more));
        list["acts"].as_array().unwrap().clone()
    };
    let acts = waiting(&["--participant", "C00001"]);
    let kinds: Vec<_> = acts.iter().map(|act| act["kind"].clone()).collect();
    assert_eq!(kinds, ["TokensEnded", "CardRevoked"]);
    assert_eq!(acts[0]["reason"], "a forgotten desk");
    for act in &acts {
        let review = ["account", "review", act["act"].as_str().unwrap()];
        cluster.expect(&review, REFUSED, &["MAKER_IS_CHECKER"]);
        let by_bob = with(&review, &["--as", "bob"]);
        let dry = json(cluster, &with(&by_bob, &["--dry-run"]));
        assert_eq!(dry["dry_run"], true, "{dry}");
        cluster.expect(&by_bob, 0, &["operator/alice", "is reviewed"]);
        cluster.expect(&by_bob, ALREADY, &[]);
        cluster.expect(&with(&by_bob, &["--ok-if-done"]), 0, &[]);
    }
    assert!(waiting(&[]).is_empty());
    let all = waiting(&["--all"]);
    assert!(all.iter().all(|act| act["reviewer"] == "operator/bob"));
    assert_eq!(all.len(), 2);
    cluster.expect(&["account", "reviews", "--all"], 0, &["reviewed"]);
    cluster.expect(
        &["account", "review", "999999", "--as", "bob"],
        PRE_CHECK,
        &["NO_SUCH_ACT_REVIEW"],
    );
}

/// The verifier of a card's first password, as its issuer hands it over.
fn verifier() -> String {
    let rows = fs::read_to_string(repository("deploy/demo/accounts.csv")).unwrap();
    let verifier = rows.split('"').find(|text| text.starts_with("$argon2id$"));
    verifier.unwrap().to_owned()
}

#[test]
fn an_account_goes_through_its_life_at_the_desk_s26_s34_r10() {
    let cluster = Cluster::start();
    let card = "do.login = { person = \"cheung\", option = \"dms-smartcard-security\", \
                password = \"card\", factor = \"card\" }";
    let wrong = "do.login = { person = \"cheung\", option = \"dms-otp-security\", \
                 password = \"card\", factor = \"app\" }\nrefused = \"CREDENTIALS_REJECTED\"";
    let sets_up = "do.initiate = { person = \"cheung\", channel = \"app\", \
                   proof = \"card-password\", password = \"otp\" }";
    let begins = format!("at = \"2023-06-10 18:01\"\n{sets_up}");
    cluster.carry_out(&["do.import = {}", &begins, card, wrong]);

    // Lists by stage and status (R10).
    assert_eq!(listed(&cluster, &["--stage", "initiated"]), [DA]);
    let no_email = listed(&cluster, &["--stage", "smartcard-only"]);
    assert_eq!(no_email, ["C00001U4", "C00003A1"]);
    assert!(listed(&cluster, &["--status", "locked"]).is_empty());
    assert!(listed(&cluster, &["--status", "deleted"]).is_empty());

    // What takes access away is done at once, and once.
    let end = ["account", "end-tokens", DA, "--reason", "a forgotten desk"];
    let dry = json(&cluster, &with(&end, &["--dry-run"]));
    assert_eq!(dry["dry_run"], true, "{dry}");
    cluster.expect(&end, 0, &["ended the tokens of", "1 were ended"]);
    let revoke = ["account", "revoke-card", DA, "--reason", "lost"];
    cluster.expect(
        &with(&revoke, &["--dry-run"]),
        0,
        &["would revoke the card"],
    );
    assert_eq!(show(&cluster, DA)["has_card"], true);
    cluster.expect(&revoke, 0, &["revoked the card of"]);
    cluster.expect(&revoke, ALREADY, &[]);
    cluster.expect(&with(&revoke, &["--dry-run"]), ALREADY, &[]);
    assert_eq!(listed(&cluster, &["--stage", "two-factor-only"]), [DA]);
    reviewed(&cluster);

    // What gives it is asked for by one and approved by another (S34).
    given(&cluster, &["account", "unlock", DA, "--method", "otp"]);
    let unlock = ["account", "unlock", DA, "--method", "otp", "--reason", "x"];
    cluster.expect(&unlock, ALREADY, &[]);
    let card = ["account", "register-card", DA, "--card", "K100000099"];
    cluster.expect(
        &with(&card, &["--reason", "x"]),
        USAGE,
        &["--card-verifier-file"],
    );
    let file = cluster.path("card.phc");
    fs::write(&file, verifier()).unwrap();
    let file = ["--card-verifier-file", file.to_str().unwrap()];
    given(&cluster, &with(&card, &file));
    assert_eq!(show(&cluster, DA)["stage"], "initiated");

    // The three resets (S26).
    given(&cluster, &["account", "reset-password", DA]);
    assert_eq!(show(&cluster, DA)["reset"], "password");
    let again = ["account", "reset-password", DA, "--reason", "x"];
    cluster.expect(&again, ALREADY, &[]);
    cluster.expect(&with(&again, &["--dry-run"]), ALREADY, &[]);
    given(&cluster, &["account", "reset", DA]);
    assert_eq!(show(&cluster, DA)["stage"], "e-mail registered");
    let channel = ["account", "reset-channel", DA, "--reason", "x"];
    for more in [&[][..], &["--dry-run"]] {
        cluster.expect(&with(&channel, more), REFUSED, &["INITIATION_REQUIRED"]);
    }

    // An account of its own, from the request to the tombstone.
    let create = ["account", "create", NEW_DA, "--title", "Sit Wing Yan"];
    let create = with(&create, &["--email", "sit.wy@harbour.example"]);
    let bare = with(&create, &["--card", "K100000077", "--reason", "x"]);
    cluster.expect(&bare, USAGE, &["--card-verifier-file"]);
    given(&cluster, &create);
    let issue = ["account", "issue-code", NEW_DA];
    let dry = json(&cluster, &with(&issue, &["--dry-run"]));
    assert_eq!(dry["second_half"], serde_json::Value::Null, "{dry}");
    cluster.expect(&issue, 0, &["to pass on by voice"]);
    let delete = ["account", "delete", NEW_DA, "--confirm", "C00001A9"];
    given(&cluster, &delete);
    assert_eq!(listed(&cluster, &["--status", "deleted"]), ["C00001A9"]);
    let again = with(&create, &["--reason", "x", "--dry-run"]);
    cluster.expect(&again, REFUSED, &["ID_USED_BEFORE"]);
}

#[test]
fn one_account_s_method_goes_off_by_one_and_on_by_two_s34() {
    let cluster = Cluster::start();
    cluster.import();
    let name = "participants/C00001/delegatedAdmins/C00001A1";
    let of = |state| ["method", "set", "smartcard", state, "--account", name];
    let off = of("off");
    let off = with(&off, &["--reason", "cards returned"]);
    let dry = json(&cluster, &with(&off, &["--dry-run"]));
    assert_eq!(dry["dry_run"], true, "{dry}");
    cluster.expect(&off, 0, &["switched off"]);
    cluster.expect(&off, ALREADY, &[]);
    cluster.expect(&with(&off, &["--ok-if-done"]), 0, &[]);
    let later = of("on");
    let later = with(&later, &["--from", "2023-06-12 00:00", "--reason", "x"]);
    cluster.expect(&later, USAGE, &["at no other time"]);
    given(&cluster, &of("on"));
    cluster.expect(&off, 0, &["switched off"]);

    // A policy that somebody else changed meanwhile is not overwritten.
    let before = json(&cluster, &["policy", "show"]);
    let (text, etag) = (&before["policy"], before["etag"].as_str().unwrap());
    let text = text.as_str().unwrap();
    let idle = text.lines().find(|line| line.starts_with("token_idle_ms"));
    let file = cluster.path("policy.toml");
    fs::write(&file, text.replace(idle.unwrap(), "token_idle_ms = 600000")).unwrap();
    let set = ["policy", "set", file.to_str().unwrap(), "--etag", etag];
    cluster.expect(&with(&set, &["--dry-run"]), 0, &["nothing was changed"]);
    cluster.expect(&set, 0, &["1 of 2 operators"]);
    cluster.expect(&with(&set, &["--as", "bob"]), 0, &["+ token_idle_ms"]);
    for more in [&[][..], &["--dry-run"]] {
        cluster.expect(&with(&set, more), REFUSED, &["ETAG_MISMATCH"]);
    }
    let odd = ["policy", "set", file.to_str().unwrap(), "--etag", "odd"];
    cluster.expect(&odd, USAGE, &["etag"]);
}

#[test]
fn the_help_says_what_the_commands_ask_for() {
    let (code, told) = said(&tidemark(&["account", "create", "--help"]));
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("--card-verifier-file"), "{told}");
    assert!(!told.contains("asked for without"), "{told}");
}
