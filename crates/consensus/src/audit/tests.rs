#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::io::Write;

use domain::audit::{Head, Row};
use domain::state::State;
use openraft::EntryPayload;

use super::{Error, Trail, Trails};
use crate::place;
use crate::raft::Proposed;
use crate::sample;

/// The first rows of a line.
fn rows(count: usize) -> Vec<Row> {
    let mut state = State::unfounded();
    let mut rows = Vec::new();
    for entry in sample::history(count as u64 + 2) {
        let at = crate::raft::log_id(&entry.log_id);
        if let EntryPayload::Normal(Proposed(envelope)) = entry.payload {
            let line = domain::LineId::Main;
            rows.extend(domain::apply(&mut state, &line, at, &envelope).audit);
        }
    }
    rows.truncate(count);
    assert_eq!(rows.len(), count);
    rows
}

fn gap(start: u64, end: u64) -> std::ops::Range<u64> {
    start..end
}

fn head(rows: &[Row]) -> Head {
    rows.last().map_or_else(Head::default, Row::head)
}

#[test]
fn rows_are_there_after_a_restart_and_replay_adds_none() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(20);
    {
        let trail = Trail::open(folder.path(), &sample::main_line()).unwrap();
        trail.append(&rows[..5]).unwrap();
        trail.append(&rows[5..20]).unwrap();
        assert_eq!(trail.durable_up_to(), 0);
        trail.sync().unwrap();
        assert_eq!(trail.durable_up_to(), 20);
    }
    let trail = Trail::open(folder.path(), &sample::main_line()).unwrap();
    trail.append(&rows).unwrap();
    assert_eq!(trail.rows(0..100, usize::MAX).unwrap(), rows);
    assert_eq!(trail.rows(3..9, 4).unwrap(), rows[3..7]);
    assert_eq!(trail.verify(&head(&rows)).unwrap(), 20);
    assert_eq!(trail.missing(), []);
}

#[test]
fn a_torn_tail_is_cut_and_comes_again_by_replay() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(6);
    let line = sample::main_line();
    let path = place::audit(folder.path(), &line).join("00000000000000000000.audit");
    Trail::open(folder.path(), &line)
        .unwrap()
        .append(&rows)
        .unwrap();
    let whole = std::fs::read(&path).unwrap();
    // Cut short; cut to nothing; and grown before the bytes arrived.
    let mut ends = vec![whole[..whole.len() - 1].to_vec(), whole[..2].to_vec()];
    let last_row = crate::audit::segment::encode("main.e1", &rows[5..]).unwrap();
    let mut zeros = whole[..whole.len() - last_row.len()].to_vec();
    zeros.resize(whole.len(), 0);
    ends.push(zeros);
    for torn in ends {
        std::fs::write(&path, torn).unwrap();
        let trail = Trail::open(folder.path(), &line).unwrap();
        assert!(trail.head().sequence < 6);
        trail.append(&rows).unwrap();
        assert_eq!(trail.verify(&head(&rows)).unwrap(), 6);
    }
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

#[test]
fn a_row_that_is_being_written_is_not_cut_off_by_who_reads() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(6);
    let line = sample::main_line();
    let path = place::audit(folder.path(), &line).join("00000000000000000000.audit");
    let trails = Trails::new(folder.path());
    trails.of(&line).unwrap().append(&rows[..5]).unwrap();
    let row = crate::audit::segment::encode("main.e1", &rows[5..]).unwrap();
    let (begin, end) = row.split_at(row.len() / 2);
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    file.write_all(begin).unwrap();
    let read = trails.of(&line).unwrap().rows(0..100, usize::MAX).unwrap();
    assert_eq!(read, rows[..5]);
    file.write_all(end).unwrap();
    let trail = Trail::open(folder.path(), &line).unwrap();
    assert_eq!(trail.verify(&head(&rows)).unwrap(), 6);
}

#[test]
fn what_a_failed_write_left_is_cut_off_before_the_next_row() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(6);
    let line = sample::main_line();
    let path = place::audit(folder.path(), &line).join("00000000000000000000.audit");
    let trail = Trail::open(folder.path(), &line).unwrap();
    trail.append(&rows[..5]).unwrap();
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    file.write_all(b"half a row").unwrap();
    trail.inner().open = None;
    trail.append(&rows[5..]).unwrap();
    assert_eq!(trail.verify(&head(&rows)).unwrap(), 6);
}

#[test]
fn a_damaged_row_in_the_middle_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let line = sample::main_line();
    let path = place::audit(folder.path(), &line).join("00000000000000000000.audit");
    Trail::open(folder.path(), &line)
        .unwrap()
        .append(&rows(6))
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = Trail::open(folder.path(), &line).unwrap_err();
    let Error::Damaged { file, sequence, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(file, &path);
    assert!((1..5).contains(sequence), "{error}");
}

#[test]
fn a_gap_is_known_and_filled_from_its_end_with_the_right_rows_only() {
    let folder = tempfile::tempdir().unwrap();
    let line = sample::main_line();
    let rows = rows(20);
    {
        let trail = Trail::open(folder.path(), &line).unwrap();
        trail.append(&rows[..4]).unwrap();
        // A snapshot was installed.
        trail.skip_to(head(&rows[..12]));
        assert_eq!(trail.missing(), vec![gap(4, 12)]);
        trail.append(&rows[12..]).unwrap();
        trail.sync().unwrap();
        assert_eq!(trail.durable_up_to(), 4);
        assert!(trail.verify(&head(&rows)).is_err());

        let mut forged = rows[8..12].to_vec();
        forged[3].actor = "operator/somebody".to_owned();
        assert!(matches!(trail.fill(&forged), Err(Error::Foreign { .. })));
        assert!(matches!(
            trail.fill(&rows[4..8]),
            Err(Error::Foreign { .. })
        ));
        trail.fill(&rows[8..12]).unwrap();
        assert_eq!(trail.missing(), vec![gap(4, 8)]);
    }
    let trail = Trail::open(folder.path(), &line).unwrap();
    trail.fill(&rows[4..8]).unwrap();
    trail.sync().unwrap();
    assert_eq!(trail.missing(), []);
    assert_eq!(trail.durable_up_to(), 20);
    assert_eq!(trail.verify(&head(&rows)).unwrap(), 20);
    assert_eq!(trail.rows(0..20, usize::MAX).unwrap(), rows);
}

#[test]
fn a_branchs_trail_is_copied_from_its_boundary_on_and_must_lead_to_the_head() {
    let folder = tempfile::tempdir().unwrap();
    let line = sample::main_line();
    let rows = rows(20);
    let trail = Trail::open(folder.path(), &line).unwrap();
    trail.begin_at(head(&rows[..5])).unwrap();
    let sealed = head(&rows[..12]);
    trail.append_copied(&rows[5..9], &sealed).unwrap();
    trail.append_copied(&rows[7..12], &sealed).unwrap();
    assert!(matches!(
        trail.append_copied(&rows[12..13], &sealed),
        Err(Error::Foreign { sequence: 12, .. })
    ));
    assert_eq!(trail.durable_up_to(), 12);
    assert_eq!(trail.verify(&sealed).unwrap(), 7);
    assert!(trail.begin_at(Head::default()).is_ok());
    assert_eq!(trail.missing(), vec![gap(0, 5)]);
}

#[test]
fn segments_are_closed_by_size_and_read_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let line = sample::main_line();
    let rows = rows(60);
    let trail = Trail::open(folder.path(), &line).unwrap();
    for row in &rows {
        trail.append(std::slice::from_ref(row)).unwrap();
        trail.close_segment();
    }
    trail.sync().unwrap();
    assert_eq!(trail.rows(10..50, usize::MAX).unwrap(), rows[10..50]);
    drop(trail);
    let files = std::fs::read_dir(place::audit(folder.path(), &line))
        .unwrap()
        .count();
    assert_eq!(files, 60);
    let trail = Trail::open(folder.path(), &line).unwrap();
    assert_eq!(trail.verify(&head(&rows)).unwrap(), 60);
}
