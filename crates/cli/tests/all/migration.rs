//! `method`, `participant enrol`, `account readiness` and `revocation` as operators type them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::cluster::{Cluster, repository};
use credential::authority::{Authority, Validity};
use domain::UnixMs;

const USAGE: i32 = 2;
const PRE_CHECK: i32 = 3;
const REFUSED: i32 = 4;
const ALREADY: i32 = 8;
const S1: &str = "S1-2023-06-10";

/// Runs a command that must end with the code and say each word.
fn tells(cluster: &Cluster, line: &[&str], code: i32, words: &[&str]) -> String {
    let (ended, told) = cluster.operator(line);
    assert_eq!(ended, code, "{line:?}\n{told}");
    for word in words {
        assert!(told.contains(word), "no \"{word}\" in:\n{told}");
    }
    told
}

#[test]
fn the_migration_is_driven_from_the_command_line_r1_r6_r8_s36() {
    let cluster = Cluster::start();
    let accounts = repository("deploy/demo/accounts.csv");
    let participants = repository("deploy/demo/participants.csv");
    let import = [
        "account",
        "import",
        accounts.to_str().unwrap(),
        "--participants",
        participants.to_str().unwrap(),
    ];
    tells(&cluster, &import, 0, &[]);

    // Who is ready, for people, for scripts and for a spreadsheet (R8).
    tells(&cluster, &["account", "readiness"], 0, &["NOT INITIATED"]);
    let csv = ["--output", "csv", "account", "readiness"];
    let csv = tells(&cluster, &csv, 0, &["PARTICIPANT,ACCOUNTS,NO E-MAIL"]);
    assert!(
        csv.lines().all(|line| line.matches(',').count() == 6),
        "{csv}"
    );
    let each = ["--output", "csv", "account", "readiness", "--accounts"];
    tells(&cluster, &each, 0, &["ACCOUNT,NAME,STAGE", "no e-mail"]);
    let none = ["--output", "csv", "method", "show"];
    tells(&cluster, &none, USAGE, &["no CSV"]);

    // Reminders by mail: whom it would be, then once a day.
    let remind = ["account", "remind"];
    let dry = [&remind[..], &["--dry-run"]].concat();
    let yip = "participants/C00002/users/C00002U2";
    let told = tells(&cluster, &dry, 0, &["9 would be reminded", yip]);
    assert!(!told.contains("C00001U4"), "has no e-mail: {told}");
    let csv = [&["--output", "csv"], &dry[..]].concat();
    tells(&cluster, &csv, 0, &["ACCOUNT\n", yip]);
    tells(&cluster, &remind, PRE_CHECK, &["a reason has"]);
    let of = |firm: &'static str| {
        [
            &remind[..],
            &["--participant", firm, "--reason", "two weeks"],
        ]
        .concat()
    };
    tells(&cluster, &of("C99999"), PRE_CHECK, &["NOT_FOUND"]);
    tells(&cluster, &of("C00002"), 0, &["3 reminded"]);
    tells(&cluster, &of("C00002"), 0, &["0 reminded"]);
    tells(&cluster, &dry, 0, &["6 would be reminded"]);

    // Two operators say the same (R1, S34).
    tells(&cluster, &["method", "show"], 0, &["not planned"]);
    let schedule = [
        "method",
        "go-live",
        "schedule",
        "2023-06-12",
        "--reason",
        "circular",
    ];
    let dry = [&schedule[..], &["--dry-run"]].concat();
    tells(&cluster, &dry, 0, &["would say: go-live on 2023-06-12"]);
    tells(&cluster, &schedule, 0, &["1 of 2 operators"]);
    tells(
        &cluster,
        &["method", "show"],
        0,
        &["WAITS FOR ANOTHER", "not planned"],
    );
    let second = |line: &[&'static str]| [line, &["--as", "bob"]].concat();
    tells(&cluster, &second(&schedule), 0, &["done: 2 of 2"]);
    tells(
        &cluster,
        &schedule,
        REFUSED,
        &["GO_LIVE_SCHEDULED", "method show"],
    );
    tells(&cluster, &["method", "show"], 0, &["not approved"]);
    let slip = ["method", "go-live", "postpone", "12 June", "--reason", "x"];
    tells(&cluster, &slip, USAGE, &["2023-06-12"]);
    let off = [
        "method",
        "set",
        "smartcard",
        "off",
        "--participant",
        "C00001",
        "--from",
        "2023-06-12 00:00",
        "--reason",
        "cards returned",
    ];
    tells(&cluster, &off, 0, &["1 of 2"]);
    tells(&cluster, &second(&off), 0, &["done"]);
    tells(&cluster, &off, ALREADY, &[]);

    // Enrolment (R6).
    let enrol = ["participant", "enrol", "C00001", S1];
    tells(&cluster, &enrol, 0, &[S1]);
    tells(&cluster, &enrol, ALREADY, &[]);
    let listed = ["participant", "list"];
    tells(
        &cluster,
        &listed,
        0,
        &[S1, "smartcard off from 2023-06-12 00:00:00"],
    );
    let withdraw = ["participant", "enrol", "C00001", S1, "--withdraw"];
    tells(&cluster, &withdraw, 0, &[]);

    // The revocation list (S36).
    tells(
        &cluster,
        &["revocation", "show"],
        0,
        &["no revocation list"],
    );
    let read = |name: &str| std::fs::read_to_string(cluster.path(name)).unwrap();
    let authority = Authority::load(&read("ca/card.pem"), &read("ca/card.key")).unwrap();
    // Saturday, 17:00 in Hong Kong, and a day later.
    let day = Validity {
        not_before: UnixMs(1_686_387_600_000),
        not_after: UnixMs(1_686_474_000_000),
    };
    let file = cluster.path("list.pem");
    std::fs::write(&file, authority.revoke(3, &[], day).unwrap()).unwrap();
    let set = ["revocation", "set", file.to_str().unwrap()];
    tells(&cluster, &set, 0, &["number 3: 0 revoked"]);
    tells(
        &cluster,
        &["revocation", "show"],
        0,
        &["number 3", "usable until"],
    );
    tells(&cluster, &set, ALREADY, &[]);
    let stranger = cluster.path("profile.toml");
    let wrong = ["revocation", "set", stranger.to_str().unwrap()];
    tells(&cluster, &wrong, PRE_CHECK, &["BAD_REVOCATION_LIST"]);
}
