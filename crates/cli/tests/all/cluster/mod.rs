//! Six nodes as six processes of the built binary, on loopback, each with a folder of its own;
//! and a drill played against them by another process. Nothing here reaches into a node: what is
//! known of it is what it says and what its files hold.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, and each test file uses a part of this"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The built binary.
pub const TIDEMARK: &str = env!("CARGO_BIN_EXE_tidemark");
/// The nodes of the secondary.
pub const SECONDARY: [u64; 3] = [4, 5, 6];
/// All of them.
pub const ALL: [u64; 6] = [1, 2, 3, 4, 5, 6];
/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// Ports below those that systems hand out by themselves.
const PORTS: std::ops::Range<u32> = 10_000..32_000;
/// The ports that one cluster spans.
const PORTS_EACH: u32 = 64;

/// A path of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// Runs the binary to its end.
pub fn tidemark(arguments: &[&str]) -> Output {
    Command::new(TIDEMARK)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

/// Everything that a command said, and its exit code.
pub fn said(output: &Output) -> (i32, String) {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code().unwrap_or(-1), text)
}

/// Waits for a condition.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    until_said(what, || if holds() { Ok(()) } else { Err(String::new()) });
}

/// Waits for a condition; what was said while it did not hold is shown if it never does.
pub fn until_said(what: &str, mut holds: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + DEADLINE;
    while let Err(said) = holds() {
        assert!(Instant::now() < deadline, "in vain: {what}\n{said}");
        std::thread::sleep(LOOK);
    }
}

/// A founded cluster and the processes of it that run. They end with it.
pub struct Cluster {
    folder: tempfile::TempDir,
    running: BTreeMap<u64, Child>,
}

impl Cluster {
    /// Founds a cluster on ports that nobody uses. No node runs yet.
    pub fn found() -> Self {
        Self::found_as(&repository("deploy/demo/timetable.toml"), &[])
    }

    /// As `found`, with a timetable of its own and more flags.
    pub fn found_as(timetable: &Path, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = folder.path().join("cluster");
        let (port, holidays) = (free_ports(), repository("deploy/demo/holidays.txt"));
        let init = [
            "init",
            "--dir",
            dir.to_str().unwrap(),
            "--port",
            &port.to_string(),
            "--timetable",
            timetable.to_str().unwrap(),
            "--holidays",
            holidays.to_str().unwrap(),
            "--simulated-clock",
            "2023-06-10T17:55",
        ];
        let output = tidemark(&[&init[..], flags].concat());
        assert!(output.status.success(), "{}", said(&output).1);
        Self {
            folder,
            running: BTreeMap::new(),
        }
    }

    /// Founds a cluster and starts every node.
    pub fn start() -> Self {
        Self::start_of(&ALL, Self::found)
    }

    /// Founds a cluster of these nodes, and starts them.
    pub fn start_of(nodes: &[u64], found: impl Fn() -> Self) -> Self {
        // Another test may have been faster to bind a port that was free a moment ago.
        for _ in 0..5 {
            let mut cluster = found();
            cluster.spawn(nodes);
            if cluster.ready() {
                return cluster;
            }
        }
        panic!("no cluster came up on any ports");
    }

    /// The cluster's folder.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("cluster").join(path)
    }

    /// The profile, as an argument.
    pub fn profile(&self) -> String {
        self.path("profile.toml").to_str().unwrap().to_owned()
    }

    /// Starts processes.
    pub fn spawn(&mut self, nodes: &[u64]) {
        self.spawn_in(nodes, &[]);
    }

    /// Starts processes with variables in their environment.
    pub fn spawn_in(&mut self, nodes: &[u64], environment: &[(&str, &Path)]) {
        for node in nodes {
            let log = File::options()
                .create(true)
                .append(true)
                .open(self.log_path(*node))
                .unwrap();
            let child = Command::new(TIDEMARK)
                .arg("serve")
                .arg("--config")
                .arg(self.path(&format!("nodes/{node}/node.toml")))
                .envs(environment.iter().copied())
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .expect("the binary runs");
            assert!(self.running.insert(*node, child).is_none(), "{node} runs");
        }
    }

    fn log_path(&self, node: u64) -> PathBuf {
        self.path(&format!("node-{node}.log"))
    }

    /// What a node's processes have said.
    pub fn log(&self, node: u64) -> String {
        fs::read_to_string(self.log_path(node)).unwrap_or_default()
    }

    /// Waits until every node that runs finds the cluster well. False if one has ended because
    /// its address is taken.
    pub fn ready(&mut self) -> bool {
        let deadline = Instant::now() + DEADLINE;
        for node in self.running.keys().copied().collect::<Vec<_>>() {
            while !self.status(node, &[]).status.success() {
                let child = self.running.get_mut(&node).unwrap();
                if let Some(ended) = child.try_wait().unwrap() {
                    let log = self.log(node);
                    assert!(log.contains("in use"), "node {node} ended, {ended}: {log}");
                    return false;
                }
                assert!(Instant::now() < deadline, "node {node} is not ready");
                std::thread::sleep(LOOK);
            }
        }
        true
    }

    /// `tidemark status` of one node.
    pub fn status(&self, node: u64, more: &[&str]) -> Output {
        let (profile, node) = (self.profile(), node.to_string());
        let mut all = vec!["status", "--profile", &profile, "--node", &node];
        all.extend(["--timeout", "2s"]);
        all.extend(more);
        tidemark(&all)
    }

    /// Runs an operator's command.
    pub fn operator(&self, arguments: &[&str]) -> (i32, String) {
        let profile = self.profile();
        let mut all = arguments.to_vec();
        all.extend(["--profile", &profile]);
        said(&tidemark(&all))
    }

    /// Runs an operator's command that must end with this code and say each word.
    pub fn expect(&self, act: &[&str], code: i32, words: &[&str]) -> String {
        let (ended, told) = self.operator(act);
        assert_eq!(ended, code, "{act:?}\n{told}");
        for word in words {
            assert!(told.contains(word), "{act:?}: no \"{word}\" in:\n{told}");
        }
        told
    }

    /// Imports the demonstration's accounts, as two operators.
    pub fn import(&self) {
        let file = |name: &str| repository(&format!("deploy/demo/{name}"));
        let (accounts, participants) = (file("accounts.csv"), file("participants.csv"));
        let (accounts, participants) = (accounts.to_str().unwrap(), participants.to_str().unwrap());
        let import = [
            "account",
            "import",
            accounts,
            "--participants",
            participants,
        ];
        self.imported(&import);
    }

    /// Both operators say an import, which the second one carries out.
    pub fn imported(&self, import: &[&str]) -> String {
        self.expect(import, 0, &["1 of 2 operators have approved"]);
        self.expect(
            &[import, &["--as", "bob"]].concat(),
            0,
            &["accounts imported"],
        )
    }

    /// The process of a node that runs.
    pub fn process(&self, node: u64) -> u32 {
        self.running.get(&node).expect("it runs").id()
    }

    /// SIGKILL. Returns when the processes are gone.
    pub fn kill(&mut self, nodes: &[u64]) {
        let mut ended = Vec::new();
        for node in nodes {
            let mut child = self.running.remove(node).expect("it runs");
            child.kill().unwrap();
            ended.push(child);
        }
        for mut child in ended {
            child.wait().unwrap();
        }
    }

    /// SIGKILL, and a new start at once.
    pub fn kill_and_start(&mut self, nodes: &[u64]) {
        self.kill(nodes);
        self.spawn(nodes);
    }

    /// Waits until a node's process ends by itself: its exit code and what it said.
    pub fn ends(&mut self, node: u64) -> (i32, String) {
        let mut code = None;
        until("the node ends by itself", || {
            let child = self.running.get_mut(&node).expect("it runs");
            code = child.try_wait().unwrap();
            code.is_some()
        });
        self.running.remove(&node);
        let code = code.and_then(|status| status.code()).unwrap_or(-1);
        (code, self.log(node))
    }

    /// Starts to play the annex.
    pub fn annex(&self) -> Running {
        self.play(&repository("deploy/drills/annex-1.toml"))
    }

    /// Starts to play a drill.
    pub fn play(&self, drill: &Path) -> Running {
        let report = self.path("report");
        let (drill, report) = (drill.to_str().unwrap(), report.to_str().unwrap());
        self.begin(&["drill", "run", drill, "--report", report])
    }

    /// Plays steps that must come to pass; the proofs of a whole drill are not in them.
    pub fn carry_out(&self, steps: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let text: String = steps
            .iter()
            .map(|step| format!("[[part.step]]\ntitle = \"A step\"\n{step}\n"))
            .collect();
        let (_, told) = self.play(&drill(folder.path(), &text)).end();
        assert!(
            !told.contains("FAIL  ") || told.matches("FAIL  ").count() == 1,
            "{told}"
        );
        assert_eq!(told.matches("  A step").count(), steps.len(), "{told}");
        assert!(!told.contains("ms  A step\n        "), "{told}");
    }

    /// Starts an operator's command that tells as it goes.
    pub fn begin(&self, arguments: &[&str]) -> Running {
        let mut command = Command::new(TIDEMARK);
        command.args(arguments).args(["--profile", &self.profile()]);
        Running::start(command)
    }
}

/// A drill of the annex's people and files, with steps of its own.
fn drill(folder: &Path, steps: &str) -> PathBuf {
    let annex = fs::read_to_string(repository("deploy/drills/annex-1.toml")).unwrap();
    let demo = repository("deploy/demo");
    let head = annex
        .split("[[part]]")
        .next()
        .unwrap()
        .replace("../demo", demo.to_str().unwrap());
    let path = folder.join("drill.toml");
    let text = format!("{head}\n[[part]]\ntitle = \"Some steps\"\n{steps}");
    fs::write(&path, text).unwrap();
    path
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let _gone_already = child.kill();
            let _status = child.wait();
        }
    }
}

/// A command that runs: a drill that is being played, a watch.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Starts a command.
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let (sender, lines) = channel();
        let stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        let talk = sender.clone();
        std::thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        std::thread::spawn(move || {
            BufReader::new(stderr)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| talk.send(line))
        });
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Returns when the command has told this: a step of a drill.
    pub fn until(&mut self, step: &str) {
        self.until_one(&[step]);
    }

    /// Returns which of these the command has told first.
    pub fn until_one<'a>(&mut self, words: &[&'a str]) -> &'a str {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let found = words.iter().find(|word| line.contains(**word));
                    self.seen.push(line);
                    if let Some(found) = found {
                        return found;
                    }
                }
                Err(error) => panic!("none of {words:?}: {error}\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Whether it has told this, without waiting for it.
    pub fn has_told(&mut self, step: &str) -> bool {
        self.seen.extend(self.lines.try_iter());
        self.seen.iter().any(|line| line.contains(step))
    }

    /// Waits for the end: the exit code and all that was told.
    pub fn end(mut self) -> (i32, String) {
        let deadline = Instant::now() + 2 * DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the command does not end:\n{}", self.seen.join("\n"))
                }
            }
        }
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        (code, self.seen.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The first port of a stretch that nobody listens in. Tests that run side by side begin to look
/// at different places.
pub fn free_ports() -> u32 {
    let stretches = (PORTS.end - PORTS.start) / PORTS_EACH;
    let unlike = uuid::Uuid::new_v4().as_u128();
    let first = u32::try_from(unlike % u128::from(stretches)).unwrap();
    (0..stretches)
        .map(|step| PORTS.start + (first + step) % stretches * PORTS_EACH)
        .find(|base| {
            (*base..base + PORTS_EACH).all(|port| {
                let port = u16::try_from(port).unwrap();
                TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            })
        })
        .expect("free ports")
}
