//! What is wrong is refused with a sentence that says what to do, with its exit code, and nothing
//! is changed: bad files, bad folders, bad clocks, and acts out of their order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::cluster;

use std::fs;
use std::path::{Path, PathBuf};

use crate::cluster::{ALL, Cluster, said, tidemark};

const PRE_CHECK: i32 = 3;
const REFUSED: i32 = 4;
const ALREADY: i32 = 8;

/// Every one of the words is in the text.
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no \"{word}\" in:\n{text}");
    }
}

/// Starts a node that must refuse to run.
fn refuses_to_start(cluster: &mut Cluster, node: u64, words: &[&str]) {
    cluster.spawn(&[node]);
    let (code, log) = cluster.ends(node);
    assert_eq!(code, PRE_CHECK, "{log}");
    says(&log, words);
}

fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(path).unwrap();
    let changed = change(text.clone());
    assert_ne!(text, changed, "{} is as it was", path.display());
    fs::write(path, changed).unwrap();
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn an_unknown_field_in_the_configuration_is_refused() {
    let mut cluster = Cluster::found();
    edit(&cluster.path("nodes/1/node.toml"), |text| {
        text.replace("private_key", "privat_key")
    });
    refuses_to_start(
        &mut cluster,
        1,
        &["node.toml", "unknown field", "privat_key"],
    );
}

#[test]
fn the_key_file_of_another_cluster_is_refused() {
    let mut cluster = Cluster::start();
    let other = Cluster::found();
    cluster.kill(&[2]);
    fs::copy(
        other.path("nodes/2/keys.toml"),
        cluster.path("nodes/2/keys.toml"),
    )
    .unwrap();
    refuses_to_start(&mut cluster, 2, &["keys.toml", "another cluster"]);
}

#[test]
fn the_data_folder_of_another_cluster_or_node_is_refused() {
    let mut cluster = Cluster::start();
    cluster.kill(&ALL);
    let mut other = Cluster::found();
    copy(&cluster.path("nodes/4/data"), &other.path("nodes/4/data"));
    fs::remove_file(other.path("nodes/4/data/keys.json")).unwrap();
    refuses_to_start(&mut other, 4, &["nodes/4/data", "cluster"]);

    fs::remove_dir_all(cluster.path("nodes/5/data")).unwrap();
    copy(&cluster.path("nodes/4/data"), &cluster.path("nodes/5/data"));
    refuses_to_start(&mut cluster, 5, &["nodes/5/data", "node 4"]);
}

#[test]
fn a_data_folder_in_use_is_refused_and_its_node_goes_on() {
    let cluster = Cluster::start();
    let config = cluster.path("nodes/3/second.toml");
    let text = fs::read_to_string(cluster.path("nodes/3/node.toml")).unwrap();
    let elsewhere: Vec<String> = text
        .lines()
        .map(|line| match line.split_once("127.0.0.1:") {
            Some((name, _)) => format!("{name}127.0.0.1:0\""),
            None => line.to_owned(),
        })
        .collect();
    fs::write(&config, elsewhere.join("\n")).unwrap();
    let (code, told) = said(&tidemark(&["serve", "--config", config.to_str().unwrap()]));
    assert_eq!(code, PRE_CHECK, "{told}");
    says(
        &told,
        &[
            "nodes/3/data",
            "in use",
            "stop it, or choose another folder",
        ],
    );
    let (code, told) = said(&cluster.status(3, &[]));
    assert_eq!(code, 0, "{told}");
}

#[test]
fn a_damaged_record_stops_the_node_which_says_where() {
    let mut cluster = Cluster::start();
    cluster.import();
    cluster::until("node 5 has followed", || {
        store(&cluster, 5)
            .windows(NAME.len())
            .any(|part| part == NAME)
    });
    cluster.kill(&[5]);
    let whole = cluster.path("store-as-it-was");
    let folder = cluster.path("nodes/5/data/store");
    copy(&folder, &whole);
    let mut bytes = store(&cluster, 5);
    let at = bytes
        .windows(NAME.len())
        .rposition(|part| part == NAME)
        .unwrap();
    bytes[at] ^= 1;
    fs::write(store_path(&cluster, 5), &bytes).unwrap();
    // Twice: a start that fails must not mend what it fails for.
    for _ in 0..2 {
        cluster.spawn(&[5]);
        let (code, log) = cluster.ends(5);
        assert_eq!(code, PRE_CHECK, "{log}");
        says(
            &log,
            &["damaged", "nodes/5/data/store/db", "restore this node"],
        );
        assert!(!log.contains("panicked"), "{log}");
    }
    // The others never noticed.
    let (code, told) = said(&cluster.status(1, &[]));
    assert_eq!(code, 0, "{told}");

    // The record as it was is good, and the node goes on from it.
    fs::remove_dir_all(&folder).unwrap();
    copy(&whole, &folder);
    cluster.spawn(&[5]);
    assert!(cluster.ready());
}

const NAME: &[u8] = b"Harbour Securities Limited";

fn store_path(cluster: &Cluster, node: u64) -> PathBuf {
    cluster.path(&format!("nodes/{node}/data/store/db"))
}

fn store(cluster: &Cluster, node: u64) -> Vec<u8> {
    fs::read(store_path(cluster, node)).unwrap()
}

/// A library that puts a process's wall clock a year ahead, and no other clock.
const YEAR_AHEAD: &str = r#"
#[repr(C)]
pub struct Timespec { seconds: i64, nanos: i64 }
unsafe extern "C" { fn syscall(number: i64, clock: i64, at: *mut Timespec) -> i64; }
#[cfg(target_arch = "x86_64")]
const CLOCK_GETTIME: i64 = 228;
#[cfg(target_arch = "aarch64")]
const CLOCK_GETTIME: i64 = 113;
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: i32, at: *mut Timespec) -> i32 {
    unsafe {
        let answer = syscall(CLOCK_GETTIME, i64::from(clock), at);
        if answer == 0 && clock == 0 { (*at).seconds += 365 * 86_400; }
        answer as i32
    }
}
"#;

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#[test]
fn a_node_whose_clock_is_a_year_ahead_neither_leads_nor_poisons() {
    let mut cluster = Cluster::start();
    cluster.import();
    let source = write(&cluster.path(""), "ahead.rs", YEAR_AHEAD);
    let library = cluster.path("ahead.so");
    let built = std::process::Command::new("rustc")
        .args(["--edition", "2024", "--crate-type", "cdylib", "-O", "-o"])
        .arg(&library)
        .arg(&source)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", said(&built).1);

    // Of the primary's three, one is off and another gone: only the third may lead.
    cluster.kill(&[1, 3]);
    cluster.spawn_in(&[3], &[("LD_PRELOAD", library.as_path())]);
    cluster::until("node 2 leads", || {
        let (code, told) = said(&cluster.status(2, &["--output", "json"]));
        (code == 0 || code == 6) && told.contains("\"leader\"")
    });
    cluster::until("node 3 knows that its clock is off", || {
        let (_, told) = said(&cluster.status(3, &[]));
        told.contains("clock")
    });
    let (_, told) = said(&cluster.status(3, &[]));
    assert!(told.starts_with("ERROR"), "{told}");

    // What is changed now gets the time of the others.
    let (code, told) = cluster.operator(&["session", "approve", S2, "--node", "2"]);
    assert_eq!(code, 0, "{told}");
    let (_, told) = said(&cluster.status(2, &[]));
    says(&told, &["clock 2023-06-10"]);
    cluster.spawn(&[1]);
    cluster.kill(&[3]);
    cluster.spawn(&[3]);
    assert!(cluster.ready());
    let (_, told) = said(&cluster.status(3, &[]));
    says(&told, &["clock 2023-06-10"]);
}

const S2: &str = "S2-2023-06-10";

#[test]
fn a_timetable_that_cannot_be_is_refused_by_every_verb_that_takes_one() {
    let cluster = Cluster::start();
    let good = fs::read_to_string(cluster::repository("deploy/demo/timetable.toml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (
            good.replace("10 June 2023 (Saturday)", "10 June 2022 (Saturday)"),
            &["10 June 2022 was a Friday, not a Saturday"][..],
        ),
        (
            good.replace("opens = \"22:00\"", "opens = \"19:30\""),
            &["S1-2023-06-10", "S2-2023-06-10", "overlap"][..],
        ),
    ];
    let (_, before) = cluster.operator(&["calendar", "show"]);
    for (text, words) in cases {
        let file = write(folder.path(), "timetable.toml", &text);
        let (code, told) = said(&tidemark(&[
            "calendar",
            "lint",
            "--offline",
            "--timetable",
            &file,
        ]));
        assert_eq!(code, PRE_CHECK, "{told}");
        says(&told, words);
        let (code, told) = cluster.operator(&["calendar", "set", &file]);
        assert_eq!(code, PRE_CHECK, "{told}");
        says(&told, words);
        let dir = folder.path().join("cluster");
        let (code, told) = said(&tidemark(&[
            "init",
            "--dir",
            dir.to_str().unwrap(),
            "--timetable",
            &file,
        ]));
        assert_eq!(code, PRE_CHECK, "{told}");
        says(&told, words);
        assert!(!dir.exists(), "a refused cluster leaves a folder");
    }
    assert_eq!(cluster.operator(&["calendar", "show"]).1, before);
}

#[test]
fn a_file_with_bad_rows_is_refused_whole_and_each_row_is_named() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().unwrap();
    let participants = write(folder.path(), "p.csv", "participant,name\nC00001,Harbour\n");
    let accounts = write(
        folder.path(),
        "a.csv",
        "participant,id,class,name,email,card,card_password_phc\n\
         C00001,C00001U1,user,Good,good@harbour.example,,\n\
         C00001,C00001U2,admin,Bad class,b@harbour.example,,\n\
         C00001,C00001U1,user,Twice,c@harbour.example,,\n\
         C00001,C00001U4,user,No address,nowhere,,\n\
         C00001,C00001U5,user,Short row\n",
    );
    let import = [
        "account",
        "import",
        &accounts,
        "--participants",
        &participants,
    ];
    let (code, told) = cluster.operator(&import);
    assert_eq!(code, PRE_CHECK, "{told}");
    says(
        &told,
        &[
            "a.csv:3:",
            "a.csv:4:",
            "a.csv:5:",
            "a.csv:6:",
            "nothing was imported",
        ],
    );
    assert!(!told.contains("a.csv:2:"), "{told}");

    // The good rows of it were not imported either: they can be now.
    let mended = "participant,id,class,name,email,card,card_password_phc\n\
                  C00001,C00001U1,user,Good,good@harbour.example,,\n\
                  C00009,C00009U1,user,Stranger,x@harbour.example,,\n";
    write(folder.path(), "a.csv", mended);
    let (code, told) = cluster.operator(&import);
    assert_eq!(code, PRE_CHECK, "{told}");
    says(&told, &["a.csv:3:", "there is no participant C00009"]);
    write(
        folder.path(),
        "a.csv",
        &mended.lines().take(2).collect::<Vec<_>>().join("\n"),
    );
    cluster.imported(&import);
    // And what is there is named, before anybody signs anything.
    let (code, told) = cluster.operator(&import);
    assert_eq!(code, PRE_CHECK, "{told}");
    says(&told, &["a.csv:2:", "exists already"]);
    assert!(!told.contains("signing"), "{told}");
}

#[test]
fn one_operator_s_import_brings_nobody_in_and_another_s_is_of_the_same_files_s34() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().unwrap();
    let head = "participant,id,class,name,email,card,card_password_phc\n";
    let own = format!("{head}C00001,C00001A9,da,Me,me@elsewhere.example,,\n");
    let participants = write(folder.path(), "p.csv", "participant,name\nC00001,Harbour\n");
    let accounts = write(folder.path(), "a.csv", &own);
    let import = [
        "account",
        "import",
        &accounts,
        "--participants",
        &participants,
    ];
    let waits = [
        "signing",
        "account.import",
        "1 of 2",
        "nothing was imported yet",
    ];
    for _ in 0..2 {
        let (code, told) = cluster.operator(&import);
        assert_eq!(code, 0, "{told}");
        says(&told, &waits);
    }
    let issue = ["account", "issue-code", "C00001A9", "--reason", "alone"];
    let (code, told) = cluster.operator(&issue);
    assert_ne!(code, 0, "{told}");
    // Another operator with other rows is the first one of another import.
    write(folder.path(), "a.csv", &own.replace("me@", "you@"));
    let bob = [&import[..], &["--as", "bob"]].concat();
    let (code, told) = cluster.operator(&bob);
    assert_eq!(code, 0, "{told}");
    says(&told, &waits);
    let (_, listed) = cluster.operator(&["account", "list"]);
    assert!(!listed.contains("C00001A9"), "{listed}");
    write(folder.path(), "a.csv", &own);
    let (code, told) = cluster.operator(&bob);
    assert_eq!(code, 0, "{told}");
    says(&told, &["1 participants and 1 accounts imported"]);
}

#[test]
fn acts_out_of_their_order_are_refused_with_what_to_do_instead() {
    let cluster = Cluster::start();
    cluster.carry_out(&[
        "do.import = {}",
        "at = \"2023-06-10 20:01\"\ndo.approve = { session = \"S2-2023-06-10\", operator = 1 }",
    ]);
    let open = ["session", "open", S2, "--confirm", S2];
    let close = ["session", "close", S2, "--confirm", S2];
    let rollover = ["session", "rollover", S2, "--confirm", S2];
    let with = |act: &[&'static str], flag| [act, &[flag]].concat();
    let expect = |act: &[&str], code: i32, words: &[&str]| {
        let (ended, told) = cluster.operator(act);
        assert_eq!(ended, code, "{act:?}\n{told}");
        says(&told, words);
    };

    expect(&open, REFUSED, &["session approve"]);
    expect(&rollover, REFUSED, &["has not been opened", "session list"]);
    expect(&["session", "approve", S2, "--as", "bob"], 0, &["2 of 2"]);
    expect(&["session", "open", S2], 2, &["--confirm S2-2023-06-10"]);
    expect(
        &["session", "open", "S9", "--confirm", "S9"],
        PRE_CHECK,
        &["session list"],
    );
    expect(&open, 0, &["boundary"]);
    expect(&open, ALREADY, &["open"]);
    expect(&with(&open, "--ok-if-done"), 0, &[]);
    cluster::until("the branch has begun", || {
        !cluster.operator(&rollover).1.contains("is being opened")
    });
    expect(&rollover, REFUSED, &["session close"]);

    cluster.carry_out(
        &[
            "at = \"2023-06-10 22:30\"\ndo.rollover = { session = \"S2-2023-06-10\" }\nrefused = \"SESSION_NOT_CLOSED\"",
        ],
    );
    expect(&rollover, REFUSED, &["session close"]);
    // A request is as old as the clock of the node says that it is asked at.
    cluster::until("the west knows the time", || {
        ["4", "5", "6"].iter().all(|node| {
            let told = cluster.operator(&["status", "--node", node]).1;
            told.contains("clock 2023-06-10 22:3")
        })
    });
    expect(&close, 0, &["closed"]);
    expect(&close, ALREADY, &[]);
    expect(&with(&close, "--ok-if-done"), 0, &[]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        // The branch's records may still be on their way; that is said, and nothing is changed.
        let (code, told) = cluster.operator(&rollover);
        if code == 0 {
            break;
        }
        assert_eq!(code, PRE_CHECK, "{told}");
        says(&told, &["try again"]);
        assert!(std::time::Instant::now() < deadline, "{told}");
    }
    expect(&rollover, ALREADY, &["already"]);
    expect(&with(&rollover, "--ok-if-done"), 0, &[]);
    expect(&open, REFUSED, &["rolled over"]);
}

#[test]
fn a_cluster_is_never_founded_over_another() {
    let cluster = Cluster::found();
    let before = fs::read(cluster.path("nodes/1/keys.toml")).unwrap();
    let (code, told) = said(&tidemark(&[
        "init",
        "--dir",
        cluster.path("").to_str().unwrap(),
    ]));
    assert_eq!(code, PRE_CHECK, "{told}");
    says(&told, &["not empty", "name a new folder"]);
    assert_eq!(fs::read(cluster.path("nodes/1/keys.toml")).unwrap(), before);
}

#[test]
fn nonsense_on_a_listener_is_cut_off_and_the_node_goes_on() {
    use std::io::{Read as _, Write as _};

    let cluster = Cluster::start();
    let config = fs::read_to_string(cluster.path("nodes/1/node.toml")).unwrap();
    let addresses = config.lines().filter_map(|line| {
        let from = line.find("127.0.0.1:")?;
        Some(line[from..].trim_end_matches('"').to_owned())
    });
    for address in addresses {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let limit = std::time::Duration::from_secs(20);
        stream.set_read_timeout(Some(limit)).unwrap();
        let _cut_off_while_writing = stream.write_all(&[0x5a; 256 * 1024]);
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            let kind = error.kind();
            assert_ne!(kind, std::io::ErrorKind::WouldBlock, "{address} holds on");
        }
    }
    let (code, told) = said(&cluster.status(1, &[]));
    assert_eq!(code, 0, "{told}");
}
