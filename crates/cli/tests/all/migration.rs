//! `method`, `participant enrol`, `account readiness` and `revocation` as operators type them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::cluster::Cluster;
use credential::authority::{Authority, Validity};
use domain::UnixMs;

const USAGE: i32 = 2;
const PRE_CHECK: i32 = 3;
const REFUSED: i32 = 4;
const ALREADY: i32 = 8;
const S1: &str = "S1-2023-06-10";

#[test]
fn the_migration_is_driven_from_the_command_line_r1_r6_r8_s36() {
    let cluster = Cluster::start();
    cluster.import();

    // Who is ready, for people, for scripts and for a spreadsheet (R8).
    cluster.expect(&["account", "readiness"], 0, &["NOT INITIATED"]);
    let csv = ["--output", "csv", "account", "readiness"];
    let csv = cluster.expect(&csv, 0, &["PARTICIPANT,ACCOUNTS,NO E-MAIL"]);
    assert!(
        csv.lines().all(|line| line.matches(',').count() == 7),
        "{csv}"
    );
    let each = ["--output", "csv", "account", "readiness", "--accounts"];
    cluster.expect(&each, 0, &["ACCOUNT,NAME,STAGE", "no e-mail"]);
    let none = ["--output", "csv", "method", "show"];
    cluster.expect(&none, USAGE, &["no CSV"]);

    // Reminders by mail: whom it would be, then once a day.
    let remind = ["account", "remind"];
    let dry = [&remind[..], &["--dry-run"]].concat();
    let yip = "participants/C00002/users/C00002U2";
    let told = cluster.expect(&dry, 0, &["9 would be reminded", yip]);
    assert!(!told.contains("C00001U4"), "has no e-mail: {told}");
    let csv = [&["--output", "csv"], &dry[..]].concat();
    cluster.expect(&csv, 0, &["ACCOUNT\n", yip]);
    cluster.expect(&remind, PRE_CHECK, &["a reason has"]);
    let of = |firm: &'static str| {
        [
            &remind[..],
            &["--participant", firm, "--reason", "two weeks"],
        ]
        .concat()
    };
    cluster.expect(&of("C99999"), PRE_CHECK, &["NOT_FOUND"]);
    cluster.expect(&of("C00002"), 0, &["3 reminded"]);
    cluster.expect(&of("C00002"), 0, &["0 reminded"]);
    cluster.expect(&dry, 0, &["6 would be reminded"]);

    // Two operators say the same (R1, S34).
    cluster.expect(&["method", "show"], 0, &["not planned"]);
    let schedule = [
        "method",
        "go-live",
        "schedule",
        "2023-06-12",
        "--reason",
        "circular",
    ];
    let dry = [&schedule[..], &["--dry-run"]].concat();
    cluster.expect(&dry, 0, &["would say: go-live on 2023-06-12"]);
    cluster.expect(&schedule, 0, &["1 of 2 operators"]);
    cluster.expect(
        &["method", "show"],
        0,
        &["WAITS FOR ANOTHER", "not planned"],
    );
    let second = |line: &[&'static str]| [line, &["--as", "bob"]].concat();
    cluster.expect(&second(&schedule), 0, &["done: 2 of 2"]);
    cluster.expect(&schedule, REFUSED, &["GO_LIVE_SCHEDULED", "method show"]);
    cluster.expect(&["method", "show"], 0, &["not approved"]);
    let slip = ["method", "go-live", "postpone", "12 June", "--reason", "x"];
    cluster.expect(&slip, USAGE, &["2023-06-12"]);
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
    cluster.expect(&off, 0, &["1 of 2"]);
    cluster.expect(&second(&off), 0, &["done"]);
    cluster.expect(&off, ALREADY, &[]);

    // Enrolment (R6).
    let enrol = ["participant", "enrol", "C00001", S1];
    cluster.expect(&enrol, 0, &[S1]);
    cluster.expect(&enrol, ALREADY, &[]);
    let listed = ["participant", "list"];
    cluster.expect(&listed, 0, &[S1, "smartcard off from 2023-06-12 00:00:00"]);
    let withdraw = ["participant", "enrol", "C00001", S1, "--withdraw"];
    cluster.expect(&withdraw, 0, &[]);

    // The revocation list (S36).
    cluster.expect(&["revocation", "show"], 0, &["no revocation list"]);
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
    cluster.expect(&set, 0, &["number 3: 0 revoked"]);
    cluster.expect(&["revocation", "show"], 0, &["number 3", "usable until"]);
    cluster.expect(&set, ALREADY, &[]);
    let stranger = cluster.path("profile.toml");
    let wrong = ["revocation", "set", stranger.to_str().unwrap()];
    cluster.expect(&wrong, PRE_CHECK, &["BAD_REVOCATION_LIST"]);
}
