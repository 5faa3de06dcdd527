//! What the command line says of changes that the secondary centre does not confirm (LINES.md,
//! "Protection"), with six processes of the built binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::cluster::{Cluster, until};

const NOT_PROTECTED: i32 = 6;
const ALREADY: i32 = 8;
const SAID: &str = "committed, not protected";

#[test]
fn a_change_that_the_secondary_does_not_confirm_is_done_and_ends_with_6() {
    let mut cluster = Cluster::start();
    let create = |firm: &'static str| ["participant", "create", firm, "A firm"];
    let told = cluster.expect(&create("C00071"), 0, &["C00071"]);
    assert!(!told.contains(SAID), "{told}");

    cluster.kill(&[5, 6]);
    let words = ["C00072", SAID, "tidemark status"];
    cluster.expect(&create("C00072"), NOT_PROTECTED, &words);
    // It is done: what is read says so, and so does a second time.
    let told = cluster.expect(&["participant", "show", "C00072"], 0, &["A firm"]);
    assert!(!told.contains(SAID), "{told}");
    cluster.expect(&create("C00072"), ALREADY, &[]);
    let dry = [&create("C00073")[..], &["--dry-run"]].concat();
    let told = cluster.expect(&dry, 0, &["nothing was changed"]);
    assert!(!told.contains(SAID), "nothing was committed: {told}");
    cluster.expect(&["status"], 0, &["WARNING", "DEGRADED since"]);
    // A script gets its data as ever, and the exit code.
    let json = [&["--output", "json"], &create("C00074")[..]].concat();
    cluster.expect(&json, NOT_PROTECTED, &["participants/C00074"]);

    cluster.spawn(&[5, 6]);
    until("the secondary is relied on again", || {
        !cluster.operator(&["status"]).1.contains("DEGRADED")
    });
    let told = cluster.expect(&create("C00075"), 0, &["C00075"]);
    assert!(!told.contains(SAID), "{told}");
}
