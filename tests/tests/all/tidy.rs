//! Rules about the tree itself, so that they need no reviewer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Past this, a second noun has moved in.
const LINES_MAX: usize = 600;

/// Each heavy dependency has one home (docs/architecture.md).
const HOMES: [(&str, &[&str]); 12] = [
    ("openraft", &["consensus"]),
    ("sled", &["consensus"]),
    ("argon2", &["credential"]),
    ("ring", &["credential"]),
    ("totp-rs", &["credential"]),
    ("rcgen", &["credential", "cli"]),
    ("lettre", &["server"]),
    ("tonic-health", &["server"]),
    ("tonic-reflection", &["server"]),
    ("clap", &["cli"]),
    ("imbl", &["domain"]),
    ("blake3", &["domain"]),
];

/// What each crate may use of the others: arrows point down only.
const BELOW: [(&str, &[&str]); 6] = [
    ("domain", &[]),
    ("credential", &["domain"]),
    ("proto", &[]),
    ("consensus", &["domain", "proto"]),
    ("server", &["domain", "credential", "proto", "consensus"]),
    (
        "cli",
        &["domain", "credential", "proto", "consensus", "server"],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("crates"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 100, "the sources were found");
    found
}

/// The names under `[dependencies]` of a crate.
fn dependencies(of: &str) -> BTreeSet<String> {
    let manifest = root().join("crates").join(of).join("Cargo.toml");
    let text = fs::read_to_string(manifest).unwrap();
    let section = text.split("[dependencies]").nth(1).unwrap();
    section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn arrows_between_crates_point_down_only() {
    let ours: BTreeSet<&str> = [
        "domain",
        "credential",
        "proto",
        "consensus",
        "server",
        "tidemark",
    ]
    .into_iter()
    .collect();
    for (name, below) in BELOW {
        for dependency in dependencies(name) {
            let wrong = ours.contains(dependency.as_str()) && !below.contains(&dependency.as_str());
            assert!(!wrong, "{name} must not use {dependency}");
        }
    }
}

#[test]
fn each_heavy_dependency_has_one_home() {
    for (name, _) in BELOW {
        let used = dependencies(name);
        for (heavy, homes) in HOMES {
            let strayed = used.contains(heavy) && !homes.contains(&name);
            assert!(!strayed, "{name} must not use {heavy}");
        }
    }
}

#[test]
fn the_domain_reads_no_clock_no_randomness_and_does_no_io() {
    let banned = [
        "std::fs",
        "std::net::Tcp",
        "std::thread",
        "tokio",
        "rand::",
        "SystemTime",
        "HashMap",
        "HashSet",
        "f32",
        "f64",
    ];
    for (path, text) in sources() {
        let inside = path.components().any(|part| part.as_os_str() == "domain")
            && path.components().any(|part| part.as_os_str() == "src");
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code.filter(|_| inside) {
            for word in banned {
                assert!(!line.contains(word), "{}: {line}", path.display());
            }
        }
    }
}

#[test]
fn files_stay_readable_and_say_their_job() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{}: {lines} lines", path.display());
        let begins = text.starts_with("//!") || text.starts_with("#![");
        assert!(begins, "{} does not open with its job", path.display());
    }
}

#[test]
fn nothing_is_left_for_later_in_the_code() {
    // In pieces, so that this file does not find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    for (path, text) in sources() {
        for word in words {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}

/// What needs more than the toolchain is run by a script, which the gate runs or counts as skipped.
#[test]
fn a_test_that_is_not_always_run_names_the_script_that_runs_it() {
    let gate = fs::read_to_string(root().join("scripts/check")).unwrap();
    let ignored = concat!("#[ign", "ore");
    for (path, text) in sources() {
        for (at, _) in text.match_indices(ignored) {
            let attribute = text[at..].lines().next().unwrap();
            let named = attribute.strip_suffix(" test\"]").unwrap_or_default();
            let (_, script) = named.rsplit_once(": ").unwrap_or_default();
            let runs = !script.is_empty() && gate.contains(script);
            let there = root().join(script).is_file();
            assert!(runs && there, "{}: {attribute}", path.display());
        }
    }
}

#[test]
fn the_top_level_holds_what_it_may_and_nothing_else() {
    let allowed: BTreeSet<&str> = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "crates",
        "deploy",
        "docs",
        "proto",
        "scripts",
        "target",
        "tests",
    ]
    .into_iter()
    .collect();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let fits = name.starts_with('.') || allowed.contains(name.as_str());
        assert!(fits, "{name} does not belong at the top level");
    }
}
