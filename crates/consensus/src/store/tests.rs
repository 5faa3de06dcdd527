#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::io;
use std::path::Path;
use std::time::Duration;

use domain::LogId;
use domain::state::State;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{RaftLogReader, StorageError};
use tempfile::TempDir;

use super::{Disk, Error, Log, Pin, record};
use crate::audit::Trails;
use crate::machine::Machine;
use crate::place;
use crate::raft::{Entry, TypeConfig, Vote, raft_log_id};
use crate::sample;

fn open(data: &Path) -> Log {
    Disk::open(data).unwrap().log(&sample::main_line()).unwrap()
}

async fn append(log: &mut Log, entries: Vec<Entry>) -> io::Result<()> {
    let (sender, receiver) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(sender)).await?;
    receiver.await.unwrap()
}

struct Builder;

impl StoreBuilder<TypeConfig, Log, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, Log, Machine), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        let hook = std::sync::Arc::new(|_, _: &_, _: &_, _: &_| ());
        let trail = Trails::new(folder.path()).of(log.reference()).unwrap();
        let machine = Machine::open(log.clone(), trail, State::unfounded(), hook).unwrap();
        Ok((folder, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_passes_openrafts_conformance_suite() {
    Suite::<TypeConfig, Log, Machine, Builder, TempDir>::test_all(Builder)
        .await
        .unwrap();
}

#[test]
fn a_log_entry_has_golden_bytes() {
    let encoded = record::encode_entry(&sample::blank(7)).unwrap();
    assert_eq!(
        encoded,
        b"\x82\xa2id\x83\xa4term\x01\xa4node\x01\xa5index\x07\xa4body\xa5Blank"
    );
    let rows = record::rows("main.e1", 7, &encoded).unwrap();
    let (key, value) = &rows[0];
    assert_eq!(key, &[0, 0, 0, 0, 0, 0, 0, 7, 0, 0]);
    assert_eq!(value[0], 1);
    assert_eq!(value[1..5], [18, 207, 211, 136]);
    assert_eq!(value[5..7], [1, 0]);
    assert_eq!(value[7..], encoded);

    for entry in [sample::found(1), sample::members(2)] {
        let encoded = record::encode_entry(&entry).unwrap();
        assert_eq!(record::decode_entry(&encoded).unwrap(), entry);
    }
    let members = record::encode_entry(&sample::members(2)).unwrap();
    assert_eq!(
        members,
        b"\x82\xa2id\x83\xa4term\x01\xa4node\x01\xa5index\x02\xa4body\x81\xa7Members\x82\
          \xa7configs\x91\x91\x01\xa5nodes\x81\x01\x82\xa7address\xa3a:1\xa6centre\xa4east"
    );
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let vote = Vote::new_committed(3, 2);
    {
        let mut log = open(folder.path());
        append(&mut log, sample::history(20)).await.unwrap();
        log.save_committed(Some(raft_log_id(sample::at(15))))
            .await
            .unwrap();
        log.save_vote(&vote).await.unwrap();
        // Lazily saved, but not forgotten when the store is closed.
        log.save_committed(Some(raft_log_id(sample::at(16))))
            .await
            .unwrap();
        log.truncate_after(Some(raft_log_id(sample::at(17))))
            .await
            .unwrap();
        log.purge(raft_log_id(sample::at(4))).await.unwrap();
        log.barrier().await.unwrap();
    }
    let mut log = open(folder.path());
    assert_eq!(log.bounds(), (Some(sample::at(4)), Some(sample::at(17))));
    assert_eq!(log.read_vote().await.unwrap(), Some(vote));
    assert_eq!(log.committed(), Some(sample::at(16)));
    let entries = log.try_get_log_entries(..).await.unwrap();
    assert_eq!(entries, sample::history(18)[5..]);
    assert!(!log.is_pristine());
    assert_eq!(log.disk().lines().unwrap(), [sample::main_line()]);
}

#[tokio::test]
async fn what_is_committed_is_on_the_disk_soon_after_the_last_entry() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    append(&mut log, sample::history(3)).await.unwrap();
    let committed = Some(raft_log_id(sample::at(2)));
    log.save_committed(committed).await.unwrap();
    let before = log.disk().syncs();
    let synced = async {
        while log.disk().syncs() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(10), synced).await;
    in_time.expect("nothing was synced after the last entry");
    // The files as SIGKILL leaves them: what waits in memory is not in them.
    let copy = tempfile::tempdir().unwrap();
    copy_folder(folder.path(), copy.path());
    assert_eq!(open(copy.path()).committed(), Some(sample::at(2)));
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, name) = entry.map(|one| (one.path(), one.file_name())).unwrap();
        match from.is_dir() {
            true => copy_folder(&from, &to.join(name)),
            false => drop(std::fs::copy(&from, to.join(name)).unwrap()),
        }
    }
}

#[tokio::test]
async fn a_commit_whose_entry_is_gone_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    {
        let mut log = open(folder.path());
        append(&mut log, sample::history(3)).await.unwrap();
        let ahead = LogId {
            term: 2,
            ..sample::at(2)
        };
        log.save_committed(Some(raft_log_id(ahead))).await.unwrap();
        log.save_vote(&Vote::new(2, 1)).await.unwrap();
    }
    assert_eq!(open(folder.path()).committed(), None);
}

#[tokio::test]
async fn entries_of_many_parts_come_back_whole_and_leave_sleds_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [record::PART_BYTES - 300, record::PART_BYTES, 300_000];
    let entry = |index: u64| {
        let size = usize::try_from(index).unwrap() % sizes.len();
        sample::enter(index, sizes[size])
    };
    let entries: Vec<_> = (0..300).map(entry).collect();
    {
        let mut log = open(folder.path());
        for batch in entries.chunks(7) {
            append(&mut log, batch.to_vec()).await.unwrap();
        }
        // From memory and from the disk at once.
        assert_eq!(log.try_get_log_entries(..).await.unwrap(), entries);
        let some = log.limited_get_log_entries(3, 300).await.unwrap();
        assert!(!some.is_empty() && some.len() < 20, "{}", some.len());
        // Shorter ones in their place leave no part behind.
        log.truncate_after(Some(raft_log_id(sample::at(100))))
            .await
            .unwrap();
        append(&mut log, vec![sample::blank(101)]).await.unwrap();
    }
    // What sled puts into files of its own is not covered by the sync of its main file.
    let blobs = place::store(folder.path()).join("blobs");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0);
    let mut log = open(folder.path());
    let mut expected = entries[..=100].to_vec();
    expected.push(sample::blank(101));
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), expected);
}

#[tokio::test]
async fn a_damaged_entry_stops_the_open_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    {
        let mut log = open(folder.path());
        append(&mut log, sample::history(10)).await.unwrap();
    }
    {
        let db = sled::open(place::store(folder.path())).unwrap();
        let tree = db.open_tree("log/main.e1").unwrap();
        let key = record::key(6, 0);
        let mut value = tree.get(key).unwrap().unwrap().to_vec();
        let middle = value.len() / 2;
        value[middle] ^= 1;
        tree.insert(key, value).unwrap();
        db.flush().unwrap();
    }
    let disk = Disk::open(folder.path()).unwrap();
    let error = disk.log(&sample::main_line()).unwrap_err();
    let Error::Damaged {
        line, index, file, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((line.as_str(), *index), ("main.e1", Some(6)));
    assert_eq!(file, &place::store(folder.path()).join("db"));
}

#[tokio::test]
async fn a_missing_entry_stops_the_open_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    {
        let mut log = open(folder.path());
        append(&mut log, sample::history(10)).await.unwrap();
    }
    {
        let db = sled::open(place::store(folder.path())).unwrap();
        let tree = db.open_tree("log/main.e1").unwrap();
        tree.remove(record::key(6, 0)).unwrap();
        db.flush().unwrap();
    }
    let disk = Disk::open(folder.path()).unwrap();
    let error = disk.log(&sample::main_line()).unwrap_err();
    assert!(
        matches!(error, Error::Damaged { index: Some(6), .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_end_that_sled_takes_for_a_crash_stops_the_open() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    append(&mut log, sample::history(3)).await.unwrap();
    log.save_vote(&Vote::new(7, 1)).await.unwrap();
    drop(log);
    let file = place::store(folder.path()).join("db");
    let mut bytes = std::fs::read(&file).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end - 24] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    // Twice: what sled dropped at the first open is not forgotten at the second.
    for _ in 0..2 {
        let error = Disk::open(folder.path()).unwrap_err();
        assert!(matches!(error, Error::Lost { .. }), "{error}");
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}

/// The witness is never synced: a power cut before its bytes arrived leaves it short, or zeros.
#[tokio::test]
async fn a_witness_that_never_reached_the_disk_stops_no_open() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    append(&mut log, sample::history(3)).await.unwrap();
    drop(log);
    let file = place::witness(folder.path());
    let bytes = std::fs::read(&file).unwrap();
    for left in [&[][..], &bytes[..5], &vec![0; bytes.len()]] {
        std::fs::write(&file, left).unwrap();
        assert_eq!(open(folder.path()).bounds().1, Some(sample::at(2)));
    }
    let mut damaged = bytes;
    damaged[0] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    assert!(Disk::open(folder.path()).is_err());
}

#[test]
fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open(folder.path()).unwrap();
    let error = Disk::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use"));
    drop(disk);
    Disk::open(folder.path()).unwrap();
}

#[test]
fn a_store_whose_last_threads_still_hold_it_opens_when_they_let_go() {
    let folder = tempfile::tempdir().unwrap();
    drop(Disk::open(folder.path()).unwrap());
    let held = std::fs::File::open(place::store(folder.path()).join("db")).unwrap();
    held.lock().unwrap();
    let (sender, opened) = std::sync::mpsc::channel();
    let data = folder.path().to_owned();
    let opener = std::thread::spawn(move || sender.send(Disk::open(&data).map(drop)).unwrap());
    opened
        .recv_timeout(std::time::Duration::from_millis(100))
        .unwrap_err();
    held.unlock().unwrap();
    opened.recv().unwrap().unwrap();
    opener.join().unwrap();
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    // A device cannot be synced.
    let file = Path::new("/dev/null");
    std::fs::create_dir(place::store(folder.path())).unwrap();
    let db = sled::open(place::store(folder.path())).unwrap();
    let lock = super::take_lock(folder.path()).unwrap();
    let disk = Disk::start(folder.path(), db.into(), file, lock).unwrap();
    let mut log = disk.log(&sample::main_line()).unwrap();
    append(&mut log, sample::history(3)).await.unwrap_err();
    log.save_vote(&Vote::new(1, 1)).await.unwrap_err();
    assert_eq!(log.read_vote().await.unwrap(), None);
    log.barrier().await.unwrap_err();
    assert_eq!(disk.syncs(), 0);
}

#[test]
fn a_folder_of_another_cluster_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open(folder.path()).unwrap();
    disk.log(&sample::main_line()).unwrap();
    let mut other = sample::main_line();
    other.cluster = domain::ClusterId([9; 16]);
    assert!(matches!(disk.log(&other), Err(Error::OtherLine { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_appends_share_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open(folder.path()).unwrap();
    let mut log = disk.log(&sample::main_line()).unwrap();
    let before = disk.syncs();
    let mut waiting = Vec::new();
    for index in 0..1000 {
        let (sender, receiver) = TypeConfig::oneshot();
        log.append([sample::blank(index)], IOFlushed::signal(sender))
            .await
            .unwrap();
        waiting.push(receiver);
    }
    for receiver in waiting {
        receiver.await.unwrap().unwrap();
    }
    let syncs = disk.syncs() - before;
    assert!((1..250).contains(&syncs), "{syncs} syncs for 1000 appends");
}

#[tokio::test]
async fn pinned_entries_outlive_a_purge_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let pin = Pin {
        boundary: sample::at(8),
        from: Some(sample::at(3)),
    };
    {
        let mut log = open(folder.path());
        append(&mut log, sample::history(20)).await.unwrap();
        log.pin(pin).await.unwrap();
        log.purge(raft_log_id(sample::at(15))).await.unwrap();
        log.barrier().await.unwrap();
    }
    let mut log = open(folder.path());
    assert_eq!(log.pins(), [pin]);
    // openraft sees them as purged.
    let visible = log.try_get_log_entries(..).await.unwrap();
    assert_eq!(visible, sample::history(20)[16..]);
    assert_eq!(log.entries(0, 15).unwrap(), sample::history(20)[4..=8]);

    log.release(pin.boundary).await.unwrap();
    assert_eq!(log.entries(0, 15).unwrap(), []);
    drop(log);
    let log = open(folder.path());
    assert_eq!(log.pins(), []);
    assert_eq!(log.entries(0, 19).unwrap(), sample::history(20)[16..]);
}

#[tokio::test]
async fn a_forgotten_line_leaves_nothing_but_can_be_forgotten_again() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open(folder.path()).unwrap();
    let line = sample::main_line();
    {
        let mut log = disk.log(&line).unwrap();
        append(&mut log, sample::history(5)).await.unwrap();
    }
    disk.forget(&line).await.unwrap();
    disk.forget(&line).await.unwrap();
    assert_eq!(disk.lines().unwrap(), []);
    assert!(disk.log(&line).unwrap().is_pristine());
}
