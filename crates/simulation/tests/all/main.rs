//! The simulation itself: one seed gives one trace.

#![cfg(simulation)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::process::Command;

/// What a run in a process of its own says, whether it ended well, and its last line.
fn run(arguments: &[&str]) -> (bool, String, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_simulation"))
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    let last = said.lines().last().unwrap_or_default().to_owned();
    (ran.status.success(), said, last)
}

#[test]
fn one_seed_gives_one_trace_and_another_seed_another() {
    let (holds, _, first) = run(&["1"]);
    assert!(holds, "{first}");
    assert!(first.contains("trace "), "{first}");
    let (_, _, again) = run(&["1"]);
    assert_eq!(first, again);
    let (_, _, other) = run(&["2"]);
    let trace = |line: &str| line.split_once("trace ").unwrap().1[..16].to_owned();
    assert_ne!(trace(&first), trace(&other));
}
