//! `account import` of a long file: cut off by SIGKILL, by the loss of the leader, and gone on with
//! by its request id. Nothing is imported twice, and nothing is left out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::cluster::{Cluster, TIDEMARK, until};

/// Accounts in a file: as many entries as make a file that is cut off in the middle.
const ROWS: usize = 10_000;
const FIRMS: usize = 40;
const DONE: i32 = 0;
const PRE_CHECK: i32 = 3;

fn files(cluster: &Cluster, name: &str, bad: bool) -> [PathBuf; 2] {
    let mut firms = "participant,name\n".to_owned();
    for firm in 0..FIRMS {
        writeln!(firms, "{name}{firm},Firm {firm}").unwrap();
    }
    let mut accounts = "participant,id,class,name,email,card,card_password_phc\n".to_owned();
    for row in 0..ROWS {
        let firm = if bad && row % 2_500 == 7 {
            999
        } else {
            row % FIRMS
        };
        writeln!(
            accounts,
            "{name}{firm},{name}U{row},user,Person {row},p{row}@example.com,,"
        )
        .unwrap();
    }
    let paths = ["accounts", "firms"].map(|kind| cluster.path(&format!("{name}-{kind}.csv")));
    std::fs::write(&paths[0], accounts).unwrap();
    std::fs::write(&paths[1], firms).unwrap();
    paths
}

fn import(cluster: &Cluster, files: &[PathBuf; 2], more: &[&str]) -> Child {
    Command::new(TIDEMARK)
        .args(["account", "import"])
        .arg(&files[0])
        .arg("--participants")
        .arg(&files[1])
        .args(["--profile", &cluster.profile()])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs")
}

/// The other operator than the profile's first.
const BOB: [&str; 2] = ["--as", "bob"];

/// The first operator approves the files; nothing is imported yet.
fn approved(cluster: &Cluster, files: &[PathBuf; 2]) {
    let (code, said) = ended(import(cluster, files, &[]));
    assert_eq!(code, DONE, "{said}");
    assert!(said.contains("1 of 2 operators have approved"), "{said}");
}

/// Reads what the command says until it has said `text`; the request id, if it has told one.
fn told(lines: &mut dyn Iterator<Item = String>, text: &str) -> Option<String> {
    let mut id = None;
    for line in lines {
        if let Some((_, told)) = line.split_once("under the request id ") {
            id = Some(told.to_owned());
        }
        if line.contains(text) {
            return id;
        }
    }
    panic!("it never said \"{text}\"");
}

fn ended(child: Child) -> (i32, String) {
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// How many accounts there are whose firms begin so.
fn count(cluster: &Cluster, name: &str) -> u64 {
    let (code, told) = cluster.operator(&["--output", "csv", "account", "readiness"]);
    assert_eq!(code, DONE, "{told}");
    let firms = told
        .lines()
        .filter(|line| line.starts_with(&format!("participants/{name}")));
    firms
        .map(|line| line.split(',').nth(1).unwrap().parse::<u64>().unwrap())
        .sum()
}

/// The node that leads the main line.
fn leader(cluster: &Cluster) -> u64 {
    let mut found = None;
    until("the main line has a leader", || {
        let status = cluster.status(1, &["--output", "json"]);
        let told = serde_json::from_slice(&status.stdout).unwrap_or_default();
        found = leads(&told);
        found.is_some()
    });
    found.unwrap()
}

/// The node of the row that says so.
fn leads(told: &serde_json::Value) -> Option<u64> {
    if told.get("line_role").is_some_and(|role| role == "leader") {
        return told.get("node").and_then(serde_json::Value::as_u64);
    }
    let rows = told.as_array().into_iter().flatten();
    let fields = told
        .as_object()
        .into_iter()
        .flat_map(|fields| fields.values());
    rows.chain(fields).find_map(leads)
}

#[test]
fn a_long_import_goes_on_after_a_kill_of_the_command_and_after_the_loss_of_the_leader() {
    let mut cluster = Cluster::start();

    // All errors of all entries, and nothing changed.
    let bad = files(&cluster, "X", true);
    let (code, said) = ended(import(&cluster, &bad, &["--dry-run"]));
    assert_eq!(code, PRE_CHECK, "{said}");
    assert_eq!(
        said.matches("there is no participant X999").count(),
        ROWS / 2_500,
        "{said}"
    );
    assert!(said.contains("checked 10000 of 10000"), "{said}");
    assert_eq!(count(&cluster, "X"), 0);

    // Killed after the first entries.
    let paths = files(&cluster, "K", false);
    approved(&cluster, &paths);
    let mut child = import(&cluster, &paths, &BOB);
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let mut lines = stderr.lines().map_while(Result::ok);
    let id = told(&mut lines, "under the request id").unwrap();
    told(&mut lines, "0 of 10000 accounts");
    child.kill().unwrap();
    child.wait().unwrap();
    let before = count(&cluster, "K");
    assert!(
        before > 0 && before < ROWS as u64,
        "{before} were imported before the kill"
    );
    let (code, said) = ended(import(
        &cluster,
        &paths,
        &["--request-id", &id, "--as", "bob"],
    ));
    assert_eq!(code, DONE, "{said}");
    assert_eq!(count(&cluster, "K"), ROWS as u64);

    // The leader is lost in the middle.
    let paths = files(&cluster, "L", false);
    approved(&cluster, &paths);
    let leader = leader(&cluster);
    let other = (1..=3).find(|node| *node != leader).unwrap().to_string();
    let mut child = import(&cluster, &paths, &["--node", &other, "--as", "bob"]);
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let mut lines = stderr.lines().map_while(Result::ok);
    let id = told(&mut lines, "under the request id").unwrap();
    told(&mut lines, "0 of 10000 accounts");
    cluster.kill(&[leader]);
    let said: Vec<String> = lines.collect();
    let code = child.wait().unwrap().code().unwrap_or(-1);
    if code != DONE {
        // Whatever was not answered is said to be unknown, with how to go on.
        assert!(
            said.iter().any(|line| line.contains(&id)),
            "{code} {said:?}"
        );
        let again = ["--request-id", &id, "--node", &other, "--as", "bob"];
        let (code, said) = ended(import(&cluster, &paths, &again));
        assert_eq!(code, DONE, "{said}");
    }
    assert_eq!(count(&cluster, "L"), ROWS as u64);
}
