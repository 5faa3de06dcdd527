//! Callers, their certificates, scripts and tokens, and a session that is given up, with the verbs
//! of the built binary against six processes: one cluster, an evening long.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::cluster::{Cluster, said, tidemark, until};

const USAGE: i32 = 2;
const PRE_CHECK: i32 = 3;
const REFUSED: i32 = 4;
const ALREADY: i32 = 8;
const S2: &str = "S2-2023-06-10";
const CHAN: &str = "C00001U1";

#[test]
fn callers_certificates_scripts_and_tokens_are_at_hand_and_a_session_is_given_up() {
    let cluster = Cluster::start();
    certificates(&cluster);
    callers(&cluster);
    tokens(&cluster);
    scripts(&cluster);
    given_up(&cluster);
}

fn with<'a>(act: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [act, more].concat()
}

/// `certificate issue`, which asks no node.
fn issue(cluster: &Cluster, caller: &str, more: &[&str]) -> (i32, String) {
    let folder = cluster.path("");
    let act = ["certificate", "issue", caller, "--dir"];
    let act = with(&act, &[folder.to_str().unwrap()]);
    said(&tidemark(&with(&act, more)))
}

fn certificates(cluster: &Cluster) {
    for wrong in ["node/7", "nonsense", "front-end/"] {
        let (code, told) = issue(cluster, wrong, &[]);
        assert_eq!(code, USAGE, "{told}");
    }
    let file = |name: &str| cluster.path(&format!("front-ends/{name}"));
    let (code, told) = issue(cluster, "front-end/web-3", &["--dry-run"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("nothing was written"), "{told}");
    assert!(!file("web-3.pem").exists() && !file("web-3.key").exists());

    let (code, told) = issue(cluster, "front-end/web-3", &[]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("tidemark caller register"), "{told}");
    let before = fs::read_to_string(file("web-3.key")).unwrap();
    let mode = fs::metadata(file("web-3.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!told.contains(before.lines().nth(1).unwrap()), "{told}");
    // Never over another.
    for more in [&[][..], &["--dry-run"]] {
        let (code, told) = issue(cluster, "front-end/web-3", more);
        assert_eq!(code, PRE_CHECK, "{told}");
    }
    assert_eq!(fs::read_to_string(file("web-3.key")).unwrap(), before);

    let (code, told) = issue(cluster, "script/saturday", &["--days", "30"]);
    assert_eq!(code, 0, "{told}");
    let own = fs::read_to_string(cluster.path("scripts/saturday.profile.toml")).unwrap();
    assert!(own.contains("saturday") && !own.contains("alice"), "{own}");
}

fn callers(cluster: &Cluster) {
    let path = |of: &str| cluster.path(of).to_str().unwrap().to_owned();
    let certificate = path("front-ends/web-3.pem");
    let register = ["caller", "register", &certificate, "--portal", "ccms"];
    cluster.expect(&register, USAGE, &["--reason"]);
    let key = path("front-ends/web-3.key");
    let no_certificate = ["caller", "register", &key, "--reason", "a new one"];
    cluster.expect(&no_certificate, PRE_CHECK, &["certificate issue"]);

    let register = with(&register, &["--reason", "a new one"]);
    let dry = with(&register, &["--dry-run"]);
    cluster.expect(&dry, 0, &["front-end/web-3", "nothing was changed"]);
    let list = ["caller", "list"];
    assert!(!cluster.expect(&list, 0, &["web-1"]).contains("web-3"));
    cluster.expect(&register, 0, &["registration.register", "1 of 2 operators"]);
    cluster.expect(&list, 0, &["web-3", "waits for another operator"]);
    let second = with(&register, &["--as", "bob"]);
    cluster.expect(&second, 0, &["done, 2 of 2"]);
    cluster.expect(&second, ALREADY, &[]);
    // A dry run is judged by the line's own rules, as the act is.
    cluster.expect(&dry, ALREADY, &[]);
    let told = cluster.expect(&list, 0, &["alice, bob"]);
    let row = told.lines().find(|line| line.contains("web-3")).unwrap();
    assert!(row.contains("ccms") && !row.contains("dms"), "{row}");

    let retire = ["caller", "retire", "front-end/web-3"];
    cluster.expect(&retire, USAGE, &["--reason"]);
    let retire = with(&retire, &["--reason", "sold"]);
    let dry = with(&retire, &["--dry-run"]);
    cluster.expect(&dry, 0, &["would retire front-end/web-3"]);
    cluster.expect(&retire, 0, &["is retired", "0 tokens ended"]);
    cluster.expect(&retire, ALREADY, &[]);
    cluster.expect(&with(&retire, &["--ok-if-done"]), 0, &[]);
    cluster.expect(&list, 0, &["by alice: sold"]);
    let some = with(&list, &["--role", "front-end", "--omit-retired"]);
    let told = cluster.expect(&some, 0, &["front-end/web-1"]);
    assert!(
        !told.contains("web-3") && !told.contains("operator/"),
        "{told}"
    );
    let nobody = ["caller", "retire", "front-end/web-9", "--reason", "sold"];
    cluster.expect(&nobody, PRE_CHECK, &["caller list"]);
    let second = ["caller", "retire", "operator/bob", "--reason", "has left"];
    cluster.expect(&second, REFUSED, &["LAST_OPERATORS", "caller register"]);
    let dry = with(&second, &["--dry-run"]);
    cluster.expect(&dry, REFUSED, &["LAST_OPERATORS"]);
}

/// The digests of somebody's live tokens.
fn digests(cluster: &Cluster) -> Vec<String> {
    let profile = cluster.profile();
    let act = ["--output", "json", "token", "list", CHAN, "--profile"];
    let output = tidemark(&with(&act, &[&profile]));
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let tokens = listed["tokens"].as_array().unwrap();
    let digests = tokens.iter().map(|token| token["digest"].as_str().unwrap());
    digests.map(str::to_owned).collect()
}

fn tokens(cluster: &Cluster) {
    let login = "do.login = { person = \"chan\", option = \"ccms-smartcard-online-and-reports\", \
                 password = \"card\", factor = \"card\" }";
    let begins = format!("at = \"2023-06-10 18:01\"\n{login}");
    cluster.carry_out(&["do.import = {}", &begins, login]);
    let name = format!("participants/C00001/users/{CHAN}");
    let words = [name.as_str(), "ccms", "smartcard", "web-1"];
    cluster.expect(&["token", "list", CHAN], 0, &words);
    cluster.expect(&["token", "list", "NOBODY"], PRE_CHECK, &["account list"]);
    let [one, other] = digests(cluster).try_into().unwrap();

    let shown = ["token", "introspect", "--digest", &one];
    let told = cluster.expect(&shown, 0, &words);
    assert!(!told.contains(&other), "{told}");
    let nothing = "0".repeat(64);
    let nothing = ["token", "introspect", "--digest", &nothing];
    cluster.expect(&nothing, PRE_CHECK, &["NOT_FOUND"]);
    // What is typed and is no token is not sent anywhere.
    cluster.expect(&["token", "introspect"], USAGE, &["is no token"]);

    // A watch from nowhere begins with that it cannot know what it missed.
    let mut watch = cluster.begin(&["token", "watch", "--position", "none:0:0"]);
    watch.until("all ended");
    let end = ["token", "end", CHAN];
    cluster.expect(&end, USAGE, &["--token"]);
    let first = with(&end, &["--token", &one]);
    let dry = with(&first, &["--dry-run"]);
    cluster.expect(&dry, 0, &["would end 1 tokens"]);
    cluster.expect(&shown, 0, &[]);
    cluster.expect(&first, 0, &["ended 1 tokens"]);
    watch.until(&format!("{one} ended"));
    cluster.expect(&shown, PRE_CHECK, &["NOT_FOUND"]);
    assert_eq!(digests(cluster), std::slice::from_ref(&other));
    cluster.expect(&with(&end, &["--all"]), 0, &["ended 1 tokens"]);
    watch.until(&format!("{other} ended"));
    assert!(digests(cluster).is_empty());
}

/// The grant of a script, as `script list` names it.
fn granted(cluster: &Cluster) -> String {
    let profile = cluster.profile();
    let act = ["--output", "json", "script", "list", "--profile"];
    let output = tidemark(&with(&act, &[&profile]));
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    listed[0]["grant"].as_str().unwrap().to_owned()
}

/// Runs a verb as the script, under its own profile.
fn as_script(cluster: &Cluster, act: &[&str], code: i32, words: &[&str]) {
    let own = cluster.path("scripts/saturday.profile.toml");
    let (ended, told) = said(&tidemark(&with(act, &["--profile", own.to_str().unwrap()])));
    assert_eq!(ended, code, "{act:?}\n{told}");
    for word in words {
        assert!(told.contains(word), "{act:?}: no \"{word}\" in:\n{told}");
    }
}

fn scripts(cluster: &Cluster) {
    let open = ["session", "open", S2, "--confirm", S2];
    as_script(cluster, &open, PRE_CHECK, &["not registered"]);
    let certificate = cluster.path("scripts/saturday.pem");
    let certificate = certificate.to_str().unwrap();
    let register = ["caller", "register", certificate, "--reason", "drills"];
    cluster.expect(&register, 0, &["1 of 2"]);
    cluster.expect(&with(&register, &["--as", "bob"]), 0, &["2 of 2"]);
    as_script(cluster, &open, REFUSED, &["NOT_GRANTED", "script list"]);
    as_script(cluster, &["session", "list"], 0, &[S2]);

    let grant = [
        "script",
        "grant",
        "saturday",
        S2,
        "--act",
        "open",
        "--act",
        "close",
        "--from",
        "2023-06-10 20:00",
    ];
    let backwards = with(&grant, &["--until", "2023-06-10 19:00", "--reason", "x"]);
    cluster.expect(&backwards, PRE_CHECK, &[]);
    cluster.expect(&with(&backwards, &["--dry-run"]), PRE_CHECK, &[]);
    let grant = with(&grant, &["--until", "2023-06-11 02:00"]);
    cluster.expect(&grant, USAGE, &["--reason"]);
    let grant = with(&grant, &["--reason", "the drill"]);
    let dry = with(&grant, &["--dry-run"]);
    cluster.expect(&dry, 0, &["script.grant", "nothing was changed"]);
    cluster.expect(&grant, 0, &["1 of 2 operators"]);
    let words = ["saturday", "open,close", "0 of 2", "waits for another"];
    cluster.expect(&["script", "list"], 0, &words);
    as_script(cluster, &open, REFUSED, &["NOT_GRANTED"]);
    let id = granted(cluster);
    let approve = ["script", "approve", &id[..8], "--as", "bob"];
    let approve = with(&approve, &["--reason", "the drill"]);
    cluster.expect(
        &with(&approve, &["--dry-run"]),
        0,
        &["would approve: grant"],
    );
    cluster.expect(&approve, 0, &["done, 2 of 2"]);
    cluster.expect(&["script", "list"], 0, &["its window has not begun"]);
    as_script(cluster, &open, REFUSED, &["OUTSIDE_WINDOW", "20:00"]);

    let withdraw = |name| ["script", "withdraw", name, "--reason", "by hand this time"];
    cluster.expect(&withdraw("xyz"), PRE_CHECK, &["script list"]);
    let dry = with(&withdraw(&id), &["--dry-run"]);
    cluster.expect(&dry, 0, &["would withdraw grant"]);
    cluster.expect(&withdraw(&id), 0, &["is withdrawn"]);
    cluster.expect(&withdraw(&id), ALREADY, &[]);
    cluster.expect(&["script", "list"], 0, &["withdrawn"]);
    as_script(cluster, &open, REFUSED, &["NOT_GRANTED"]);
}

/// Moves the clock, with a step that comes to pass then: `refused` is why that does nothing.
fn goes_on(cluster: &Cluster, time: &str, refused: &str) {
    let step = format!("at = \"2023-06-10 {time}\"\ndo.unready = {{ person = \"ho\" }}\n{refused}");
    cluster.carry_out(&[&step]);
}

fn stage(cluster: &Cluster) -> String {
    let told = cluster.expect(&["session", "list"], 0, &[]);
    let row = told.lines().find(|line| line.starts_with(S2));
    row.unwrap_or_else(|| panic!("no {S2} in:\n{told}"))
        .to_owned()
}

/// Keeps two nodes of the primary from storing the branch's records: where their folder would be
/// is a file. Gives the node that can.
fn hindered(cluster: &Cluster) -> &'static str {
    let audit = |node: u64| cluster.path(&format!("nodes/{node}/data/audit"));
    let mut branch = None;
    until("the branch has a trail", || {
        let entries = fs::read_dir(audit(4)).unwrap();
        let mut names = entries.map(|entry| entry.unwrap().file_name());
        branch = names.find(|name| name.to_str().unwrap().starts_with("branch."));
        branch.is_some()
    });
    for node in [2, 3] {
        let folder = audit(node).join(Path::new(branch.as_ref().unwrap()));
        assert!(!folder.exists(), "there before the close");
        fs::write(folder, "in the way").unwrap();
    }
    "1"
}

fn given_up(cluster: &Cluster) {
    goes_on(cluster, "20:01", "");
    for who in ["alice", "bob"] {
        cluster.expect(&["session", "approve", S2, "--as", who], 0, &[]);
    }
    cluster.expect(&["session", "open", S2, "--confirm", S2], 0, &["boundary"]);
    let node = hindered(cluster);
    until("the branch is confirmed", || {
        stage(cluster).contains(" open ")
    });

    let abandon = ["session", "abandon", S2, "--confirm", S2];
    cluster.expect(&abandon, USAGE, &["--reason"]);
    let abandon = with(&abandon, &["--reason", "the disks of west are gone"]);
    cluster.expect(&abandon, REFUSED, &[]);
    goes_on(cluster, "23:30", "refused = \"BRANCH_OPEN\"");
    until("the close is known", || stage(cluster).contains(" closed "));
    let rollover = [
        "session",
        "rollover",
        S2,
        "--confirm",
        S2,
        "--node",
        node,
        "--timeout",
        "3s",
    ];
    until("one node of the primary has the records", || {
        let (code, told) = cluster.operator(&rollover);
        assert_eq!(code, PRE_CHECK, "{told}");
        told.contains("durable at 1 of the 3 nodes") && told.contains("--accept-gap REASON")
    });
    cluster.expect(&abandon, REFUSED, &["NOT_APPROVED", "session approve"]);
    for who in ["alice", "bob"] {
        let approve = ["session", "approve", S2, "--act", "abandon", "--as", who];
        cluster.expect(&approve, 0, &["session.abandon"]);
    }
    // What is not to be done yet, a dry run says too.
    let early = [
        "session",
        "rollover",
        S2,
        "--dry-run",
        "--timeout",
        "3s",
        "--node",
        node,
    ];
    cluster.expect(&early, PRE_CHECK, &["durable at 1 of the 3 nodes"]);
    let unconfirmed = ["session", "abandon", S2, "--reason", "the disks are gone"];
    cluster.expect(&unconfirmed, USAGE, &["--confirm S2-2023-06-10"]);
    let dry = with(&abandon, &["--dry-run"]);
    cluster.expect(&dry, 0, &["would give S2-2023-06-10 up"]);
    assert!(stage(cluster).contains(" closed "));
    cluster.expect(&abandon, 0, &["is given up"]);
    assert!(stage(cluster).contains(" abandoned "));
    cluster.expect(&abandon, ALREADY, &[]);
    cluster.expect(&with(&abandon, &["--ok-if-done"]), 0, &[]);

    // The branch was not lost after all: its evidence is attached, though its records are in one
    // centre alone, and somebody answers for that.
    let gap = with(&rollover, &["--accept-gap", "two disks of east are full"]);
    cluster.expect(
        &with(&gap, &["--dry-run"]),
        0,
        &["would roll S2-2023-06-10 over"],
    );
    cluster.expect(&rollover, PRE_CHECK, &[]);
    cluster.expect(&gap, 0, &["business day 2023-06-12"]);
    let report = ["session", "report", S2, "--node", node];
    cluster.expect(&report, 0, &["two disks of east are full"]);
    for node in ["1", "2", "3"] {
        cluster.expect(&["status", "--node", node], 0, &["business day 2023-06-12"]);
    }
}
