//! A participant as a whole, with the built binary against six processes: suspended by one
//! operator, resumed and deleted by two.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::fs;

use crate::cluster::{Cluster, said, tidemark};

const USAGE: i32 = 2;
const REFUSED: i32 = 4;
const MISMATCH: i32 = 7;
const ALREADY: i32 = 8;

const FIRM: &str = "C00001";

#[test]
fn a_participant_is_suspended_by_one_operator_and_resumed_or_deleted_by_two_s34() {
    let cluster = Cluster::start();
    cluster.import();
    let show = ["participant", "show", FIRM];
    cluster.expect(&show, 0, &["participants/C00001", "active"]);

    // Access is taken away at once, for a reason.
    cluster.expect(&["participant", "suspend", FIRM], USAGE, &["--reason"]);
    let suspend = ["participant", "suspend", FIRM, "--reason", "did not pay"];
    let with = |act: &[&'static str], more: &[&'static str]| [act, more].concat();
    let dry = with(&suspend, &["--dry-run"]);
    cluster.expect(&dry, 0, &["nothing was changed", "would suspend"]);
    cluster.expect(&show, 0, &["active"]);
    let main = with(&suspend, &["--main-line"]);
    cluster.expect(&main, 0, &["suspended participants/C00001"]);
    cluster.expect(&show, 0, &["suspended"]);
    cluster.expect(&main, ALREADY, &[]);
    cluster.expect(&with(&main, &["--ok-if-done"]), 0, &[]);
    cluster.expect(&["account", "readiness"], 0, &["STATE", "suspended"]);
    let told = cluster.expect(&["participant", "list"], 0, &["STATE", "active"]);
    let of_firm = told.lines().find(|line| line.contains(FIRM)).unwrap();
    assert!(of_firm.contains("suspended"), "{told}");
    let of_state = ["participant", "list", "--state", "suspended"];
    let told = cluster.expect(&of_state, 0, &[FIRM]);
    assert!(!told.contains("active"), "{told}");

    // It is given back by two, each with a signed approval of the participant as it was shown.
    let resume = ["participant", "resume", FIRM, "--reason", "has paid"];
    let dry = with(&resume, &["--dry-run"]);
    cluster.expect(&dry, 0, &["participant.resume", "nothing was changed"]);
    let words = ["signing       participant.resume", "1 of 2 operators"];
    cluster.expect(&resume, 0, &words);
    cluster.expect(&resume, 0, &["1 of 2 operators"]);
    cluster.expect(&show, 0, &["suspended"]);
    cluster.expect(&with(&resume, &["--as", "bob"]), 0, &["2 of 2 operators"]);
    cluster.expect(&show, 0, &["active"]);
    cluster.expect(&resume, ALREADY, &[]);

    // What cannot be taken back is confirmed.
    let delete = ["participant", "delete", FIRM, "--reason", "has left"];
    cluster.expect(&delete, USAGE, &["--confirm C00001"]);
    let dry = with(&delete, &["--dry-run"]);
    cluster.expect(&dry, 0, &["would say: delete"]);
    let delete = with(&delete, &["--confirm", FIRM]);
    cluster.expect(&delete, 0, &["1 of 2 operators"]);
    cluster.expect(&show, 0, &["active"]);
    let second = with(&delete, &["--as", "bob"]);
    cluster.expect(&second, 0, &["2 of 2 operators"]);
    cluster.expect(&show, 0, &["deleted"]);
    let told = cluster.expect(&["account", "list"], 0, &[]);
    assert!(!told.contains("participants/C00001/"), "{told}");
    let again = ["participant", "create", FIRM, "Another Firm"];
    cluster.expect(&again, REFUSED, &["never used again"]);

    // Who approved it is found in the exported trail, away from the cluster.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("main.audit");
    let file = path.to_str().unwrap();
    let told = cluster.expect(&["audit", "export", file], 0, &["head "]);
    let head = told.trim().rsplit(' ').next().unwrap();
    let verify = || said(&tidemark(&["audit", "verify", file, "--head", head]));
    let (code, told) = verify();
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("7 operators' approvals good"), "{told}");
    let whole = fs::read(&path).unwrap();
    let act = b"participant.delete";
    let at = whole
        .windows(act.len())
        .position(|part| part == act)
        .unwrap();
    let mut altered = whole.clone();
    altered[at + act.len() - 1] = b'd';
    fs::write(&path, altered).unwrap();
    let (code, told) = verify();
    assert_eq!(code, MISMATCH, "{told}");
}
