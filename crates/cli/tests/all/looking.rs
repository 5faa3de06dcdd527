//! Looking at a cluster of six processes: `status --watch`, which goes on when nodes go, and
//! `doctor`, which finds what is wrong before the night does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::cluster::{ALL, Cluster, SECONDARY, TIDEMARK, said, tidemark, until};

const PRE_CHECK: i32 = 3;
const LOSS: i32 = 6;

/// A watch that runs until it is interrupted. It ends with the test.
struct Watch {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watch {
    fn start(cluster: &Cluster) -> Self {
        let mut child = Command::new(TIDEMARK)
            .args(["status", "--watch", "--interval", "100ms"])
            .args(["--profile", &cluster.profile()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads on to a line that says so.
    fn until(&mut self, what: &str) -> String {
        let mut found = self.lines.by_ref().map_while(Result::ok);
        let line = found.find(|line| line.contains(what));
        line.unwrap_or_else(|| panic!("the watch ended before {what}"))
    }

    fn interrupt(mut self) -> i32 {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status();
        assert!(sent.unwrap().success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The check of this name that is not well, as the doctor tells it.
fn found(told: &serde_json::Value, name: &str) -> Option<String> {
    let checks = told["checks"].as_array().unwrap();
    let mut wrong = checks.iter().filter(|check| check["verdict"] != "OK");
    let found = wrong.find(|check| check["check"] == name)?;
    assert!(found["next"].is_string(), "what to do: {found}");
    Some(found["found"].as_str().unwrap().to_owned())
}

fn doctor(cluster: &Cluster, more: &[&str]) -> (i32, serde_json::Value) {
    let profile = cluster.profile();
    let mut all = vec!["doctor", "--profile", &profile, "--output", "json"];
    all.extend(more);
    let output = tidemark(&all);
    let document = serde_json::from_slice(&output.stdout);
    let document = document.unwrap_or_else(|error| panic!("{error}: {}", said(&output).1));
    (output.status.code().unwrap(), document)
}

#[test]
fn a_watch_goes_on_when_nodes_go_and_the_doctor_says_what_is_wrong() {
    let mut cluster = Cluster::start();

    // A cluster that has just begun may have a moment without protection.
    until("it begins well", || {
        let well = |node: &u64| said(&cluster.status(*node, &[])).1.starts_with("OK");
        ALL.iter().all(well)
    });
    // One block an interval, the verdict first.
    let output = cluster.status(1, &["--watch", "--interval", "50ms", "--count", "2"]);
    let (code, told) = said(&output);
    assert_eq!(code, 0, "{told}");
    assert_eq!(told.matches("OK  ").count(), 2, "{told}");
    assert_eq!(told.matches("TRAILS").count(), 2, "{told}");
    assert!(told.contains("checked 0."), "{told}");
    let json = [
        "--watch",
        "--interval",
        "50ms",
        "--count",
        "3",
        "--output",
        "json",
    ];
    let output = cluster.status(1, &json);
    let lines = String::from_utf8(output.stdout).unwrap();
    for line in lines.lines() {
        let look: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(look["verdict"], "OK");
    }
    assert_eq!(lines.lines().count(), 3);

    // Nodes tell each other every second what they were shown.
    until("nodes tell of an operator's certificate", || {
        let told = doctor(&cluster, &[]).1;
        let checks = told["checks"].as_array().unwrap();
        checks
            .iter()
            .any(|check| check["check"] == "certificates shown")
    });
    let (code, told) = doctor(&cluster, &[]);
    // What is left is not of the cluster but of this machine.
    let of_machine = ["disks", "clocks"];
    let checks = told["checks"].as_array().unwrap();
    for check in checks.iter().filter(|check| check["verdict"] != "OK") {
        let name = check["check"].as_str().unwrap();
        assert!(of_machine.contains(&name), "{check}");
    }
    assert!([0, LOSS, PRE_CHECK].contains(&code), "{told}");
    for name in [
        "reached",
        "peers",
        "clocks",
        "versions",
        "disks",
        "certificates of nodes",
        "certificates shown",
        "certificates of callers",
        "key files",
        "status",
        "digests",
        "lag",
        "protection",
        "mail",
        "holds",
        "approvals",
        "keys",
        "revocations",
        "holidays",
        "timetable",
        "requests",
        "reviews",
        "audit",
    ] {
        assert!(checks.iter().any(|check| check["check"] == name), "{name}");
    }

    let mut watch = Watch::start(&cluster);
    watch.until("OK  ");
    // The watch asks the first node that answers.
    cluster.kill(&[1]);
    watch.until("at node 2");
    cluster.kill(&SECONDARY);
    watch.until("DEGRADED");
    until("the secondary is missed, and given up", || {
        let told = doctor(&cluster, &[]).1;
        let unheard = found(&told, "peers").unwrap_or_default();
        found(&told, "protection").is_some() && unheard.contains("4 from 2")
    });
    let (code, told) = doctor(&cluster, &[]);
    assert_eq!(code, PRE_CHECK, "{told}");
    assert_eq!(told["verdict"], "ERROR");
    assert!(
        found(&told, "reached")
            .unwrap()
            .contains("does not answer at")
    );
    assert!(
        found(&told, "protection")
            .unwrap()
            .contains("degraded since")
    );

    cluster.kill(&[2, 3]);
    let missed = watch.until("ERROR  no node answers");
    watch.until("as it was:");
    assert_eq!(watch.interrupt(), PRE_CHECK, "{missed}");
    let (code, told) = doctor(&cluster, &[]);
    assert_eq!(code, PRE_CHECK);
    assert_eq!(
        told["checks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|check| check["check"] == "reached")
            .count(),
        ALL.len()
    );
}
