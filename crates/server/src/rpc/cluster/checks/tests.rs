//! Each check refuses by itself; what they are made of is built here.

use consensus::facts::{Certificate, Facts, Room};
use domain::{Digest, Digests, LineRef, LogId, NodeId};
use proto::operator::v1::LineRole;

use super::heard::{Heard, differing_from};
use super::*;

fn node(id: u64, facts: Facts, version: &str) -> Known {
    Known {
        id: NodeId(id),
        centre: CentreName::parse("west").unwrap(),
        address: String::new(),
        heard_ms: None,
        ahead_ms: None,
        clock_is_off: false,
        version: version.to_owned(),
        refusal: None,
        facts,
        lines: Vec::new(),
    }
}

fn certificate(ends: u64) -> Facts {
    Facts {
        certificates: vec![Certificate {
            name: "node".to_owned(),
            not_after: UnixMs(ends),
        }],
        ..Facts::default()
    }
}

fn room(free_bytes: u64) -> Facts {
    Facts {
        room: Some(Room {
            free_bytes,
            total_bytes: 100,
        }),
        ..Facts::default()
    }
}

fn verdict(check: &Check) -> Verdict {
    check.verdict()
}

#[test]
fn what_would_stop_the_other_centre_tonight_is_seen_before_the_role_moves() {
    let now = UnixMs(1_000);
    let soon = CERTIFICATE_SOON_MS;
    for (ends, wanted) in [
        (1_000, Verdict::Error),
        (1_001, Verdict::Warning),
        (1_000 + soon, Verdict::Warning),
        (1_001 + soon, Verdict::Ok),
    ] {
        let (good, bad) = (
            node(4, certificate(u64::MAX), "1"),
            node(5, certificate(ends), "1"),
        );
        let found = certificates(now, &[&good, &bad]);
        assert_eq!(verdict(&found), wanted, "{found:?}");
    }
    for (free, wanted) in [
        (1, Verdict::Error),
        (2, Verdict::Warning),
        (9, Verdict::Warning),
        (10, Verdict::Ok),
    ] {
        let (good, bad) = (node(4, room(90), "1"), node(5, room(free), "1"));
        let found = disks(&[&good, &bad]);
        assert_eq!(verdict(&found), wanted, "{found:?}");
    }
    let missing = Facts {
        key_problem: Some("key 3 is missing".to_owned()),
        ..Facts::default()
    };
    let (good, bad) = (node(4, Facts::default(), "1"), node(5, missing, "2"));
    assert_eq!(verdict(&keys(&[&good])), Verdict::Ok);
    assert_eq!(verdict(&keys(&[&good, &bad])), Verdict::Error);
    assert_eq!(verdict(&versions(&[good, bad])), Verdict::Warning);
}

/// A node that was just heard, with its main line at an entry.
fn following(id: u64, index: u64, full: u8) -> Known {
    let reference = LineRef {
        cluster: domain::ClusterId([7; 16]),
        line: LineId::Main,
        epoch: 1,
    };
    let line = Heard {
        reference,
        applied: Some(LogId {
            index,
            ..LogId::default()
        }),
        digests: Some(Digests {
            account: Digest([1; 32]),
            full: Digest([full; 32]),
        }),
        leader: None,
        role: LineRole::Learner,
        running: true,
    };
    Known {
        heard_ms: Some(10),
        lines: vec![line],
        ..node(id, Facts::default(), "1")
    }
}

#[test]
fn a_node_that_trails_or_does_not_follow_refuses_the_switchover() {
    let last = 5_000;
    for (at, wanted) in [
        (last, Verdict::Ok),
        (last - LAG_MAX, Verdict::Ok),
        (last - LAG_MAX - 1, Verdict::Error),
    ] {
        let (good, bad) = (following(4, last, 2), following(5, at, 2));
        let found = lag(last, &[&good, &bad]);
        assert_eq!(verdict(&found), wanted, "{found:?}");
        assert_eq!(found.check, "LAG");
    }
    let mut stopped = following(5, last, 2);
    for line in &mut stopped.lines {
        line.running = false;
    }
    let mut without = following(5, last, 2);
    without.lines.clear();
    for bad in [stopped, without] {
        let found = lag(last, &[&following(4, last, 2), &bad]);
        assert_eq!(verdict(&found), Verdict::Error, "{found:?}");
    }
    // One that cannot be reached is told of by NODES: what it said before says nothing now.
    let mut away = following(5, 0, 2);
    away.heard_ms = None;
    assert_eq!(verdict(&lag(last, &[&away])), Verdict::Ok);
}

#[test]
fn digests_that_differ_at_one_entry_refuse_the_switchover() {
    let nothing = |_: &LineRef, _: LogId| None;
    let own = NodeId(1);
    let alike = [following(4, 100, 2), following(5, 100, 2)];
    let apart = [following(4, 100, 2), following(5, 101, 3)];
    for known in [alike, apart] {
        let found = digests(&differing_from(own, &known, nothing));
        assert_eq!(verdict(&found), Verdict::Ok, "{found:?}");
    }
    let two = [following(4, 100, 2), following(5, 100, 3)];
    let found = digests(&differing_from(own, &two, nothing));
    assert_eq!(verdict(&found), Verdict::Error, "{found:?}");
    assert!(found.text.contains("entry"), "{found:?}");
    // Nor may they differ from what this node had at an entry that it has passed.
    let here = |_: &LineRef, at: LogId| (at.index == 100).then_some(Digest([9; 32]));
    let found = digests(&differing_from(own, &[following(4, 100, 2)], here));
    assert_eq!(verdict(&found), Verdict::Error, "{found:?}");
    assert_eq!(found.check, "DIGESTS");
}

#[test]
fn a_clock_that_is_off_refuses_the_switchover() {
    let good = following(4, 1, 2);
    let mut off = following(5, 1, 2);
    off.clock_is_off = true;
    let found = clocks(&[good, off]);
    assert_eq!(verdict(&found), Verdict::Error, "{found:?}");
    assert_eq!(found.check, "CLOCKS");
    assert!(found.text.contains('5'), "{found:?}");
    let mut away = following(5, 1, 2);
    (away.clock_is_off, away.heard_ms) = (true, None);
    let found = clocks(&[following(4, 1, 2), away]);
    assert_eq!(verdict(&found), Verdict::Ok, "{found:?}");
}

#[test]
fn a_centre_without_a_majority_refuses_the_switchover() {
    let west = CentreName::parse("west").unwrap();
    let away = |id| node(id, Facts::default(), "1");
    let here = |id| following(id, 1, 2);
    for (there, wanted) in [
        ([here(4), here(5), here(6)], Verdict::Ok),
        ([here(4), here(5), away(6)], Verdict::Warning),
        ([here(4), away(5), away(6)], Verdict::Error),
    ] {
        let there: Vec<&Known> = there.iter().collect();
        let found = nodes(&there, &west);
        assert_eq!(verdict(&found), wanted, "{found:?}");
    }
}
