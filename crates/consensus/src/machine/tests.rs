#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use domain::state::{Digests, State};
use domain::{LogId, SessionId};
use futures::stream;
use openraft::RaftSnapshotBuilder;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;

use super::{Error, Hook, Machine, Shared};
use crate::audit::Trails;
use crate::raft::{self, Entry, Snapshot, TypeConfig, raft_log_id};
use crate::store::{Disk, Durable, Log};
use crate::{export, genesis, image, place, sample};

fn no_hook() -> Hook {
    Arc::new(|_, _, _, _| ())
}

/// A node's storage of the main line, opened as openraft does: snapshot, then the committed log.
struct Node {
    log: Log,
    machine: Machine,
    shared: Arc<Shared>,
}

impl Node {
    async fn open(data: &Path, hook: Hook) -> Self {
        let line = sample::main_line();
        let log = Disk::open(data).unwrap().log(&line).unwrap();
        let (opening, trails) = (log.clone(), Trails::new(data));
        let open = move || {
            let trail = trails.of(&line).unwrap();
            Machine::open(opening, trail, State::unfounded(), hook).unwrap()
        };
        let mut machine = tokio::task::spawn_blocking(open).await.unwrap();
        if let Some(current) = machine.get_current_snapshot().await.unwrap() {
            let Snapshot { meta, snapshot } = current;
            machine.install_snapshot(&meta, snapshot).await.unwrap();
        }
        let mut node = Self {
            shared: machine.shared(),
            log,
            machine,
        };
        let next = node.machine.last.map_or(0, |last| last.index + 1);
        if let Some(committed) = node.log.committed() {
            let entries = node.log.entries(next, committed.index).unwrap();
            node.apply(entries).await;
        }
        node
    }

    async fn apply(&mut self, entries: Vec<Entry>) {
        let items = entries.into_iter().map(|entry| Ok((entry, None)));
        self.machine.apply(stream::iter(items)).await.unwrap();
    }

    /// Appends the entries, commits and applies them.
    async fn commit(&mut self, entries: Vec<Entry>) {
        let last = entries.last().unwrap().log_id;
        let (sender, receiver) = TypeConfig::oneshot();
        self.log
            .append(entries.clone(), IOFlushed::signal(sender))
            .await
            .unwrap();
        receiver.await.unwrap().unwrap();
        self.log.save_committed(Some(last)).await.unwrap();
        self.apply(entries).await;
    }

    async fn snapshot(&mut self) -> Snapshot {
        let mut builder = self.machine.get_snapshot_builder().await;
        builder.build_snapshot().await.unwrap()
    }

    fn digests(&self) -> Digests {
        self.shared.state().digests()
    }

    async fn rebuild(&self, boundary: LogId) -> Result<State, Error> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || shared.rebuild(boundary))
            .await
            .unwrap()
    }
}

fn state_after(end: u64) -> State {
    let mut state = State::unfounded();
    for entry in sample::history(end) {
        let at = raft::log_id(&entry.log_id);
        if let openraft::EntryPayload::Normal(proposed) = entry.payload {
            domain::apply(&mut state, &domain::LineId::Main, at, &proposed.0);
        }
    }
    state
}

#[tokio::test]
async fn replay_and_snapshot_both_give_the_live_state() {
    let folder = tempfile::tempdir().unwrap();
    let live = {
        let mut node = Node::open(folder.path(), no_hook()).await;
        node.commit(sample::history(30)).await;
        // What is committed goes to the disk with the next batch.
        node.commit(vec![sample::enter(30, 9)]).await;
        node.commit(vec![sample::blank(31)]).await;
        node.digests()
    };
    let snapshot = {
        let mut node = Node::open(folder.path(), no_hook()).await;
        assert_eq!(node.digests(), live);
        assert_eq!(node.shared.digests_at(sample::at(30)), Some(live));
        node.snapshot().await.meta
    };
    assert_eq!(
        snapshot.last_log_id.map(|id| raft::log_id(&id)),
        node_last(folder.path()).await
    );
    let mut node = Node::open(folder.path(), no_hook()).await;
    node.log.purge(raft_log_id(sample::at(28))).await.unwrap();
    drop(node);
    let node = Node::open(folder.path(), no_hook()).await;
    assert_eq!(node.digests(), live);
    let head = node.shared.state().header().audit;
    assert_eq!(node.shared.audit().verify(&head).unwrap(), head.sequence);
    assert!(head.sequence >= 30);
}

async fn node_last(data: &Path) -> Option<LogId> {
    Node::open(data, no_hook()).await.machine.last
}

#[tokio::test]
async fn a_snapshot_streams_to_another_node_and_its_audit_is_fetched() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut leader = Node::open(one.path(), no_hook()).await;
    leader.commit(sample::history(30)).await;
    let sent = leader.snapshot().await;

    let mut follower = Node::open(other.path(), no_hook()).await;
    let mut incoming = follower.shared.snapshots().incoming().unwrap();
    let mut offset = 0;
    let mut chunk = [0_u8; 1000];
    loop {
        let count = sent.snapshot.read_at(offset, &mut chunk).unwrap();
        if count == 0 {
            break;
        }
        incoming.write(&chunk[..count]).unwrap();
        offset += count as u64;
    }
    assert_eq!(offset, sent.snapshot.bytes());
    let (meta, file) = incoming.finish().unwrap();
    assert_eq!(meta, sent.meta);
    follower
        .machine
        .install_snapshot(&meta, file)
        .await
        .unwrap();
    assert_eq!(follower.digests(), leader.digests());

    let missing = follower.shared.audit().missing();
    let [gap] = missing.as_slice() else {
        panic!("{missing:?}");
    };
    let rows = leader.shared.audit().rows(gap.clone(), usize::MAX).unwrap();
    follower.shared.audit().fill(&rows).unwrap();
    assert_eq!(follower.shared.audit().missing(), []);

    // It is there after a restart, with nothing replayed.
    let digests = follower.digests();
    drop(follower);
    let follower = Node::open(other.path(), no_hook()).await;
    assert_eq!(follower.digests(), digests);
}

#[tokio::test]
async fn a_received_snapshot_that_is_dropped_or_damaged_leaves_nothing() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut leader = Node::open(one.path(), no_hook()).await;
    leader.commit(sample::history(30)).await;
    let sent = leader.snapshot().await;
    let mut bytes = Vec::new();
    sent.snapshot.reader().read_to_end(&mut bytes).unwrap();

    let mut follower = Node::open(other.path(), no_hook()).await;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut incoming = follower.shared.snapshots().incoming().unwrap();
    incoming.write(&bytes).unwrap();
    let (meta, file) = incoming.finish().unwrap();
    let error = follower
        .machine
        .install_snapshot(&meta, file)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    assert_eq!(follower.machine.last, None);

    let folder = place::snapshots(other.path(), &sample::main_line());
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
}

#[tokio::test]
async fn a_flipped_byte_in_a_snapshot_is_found_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path(), no_hook()).await;
    node.commit(sample::history(5)).await;
    let path = node.snapshot().await.snapshot.path().to_owned();
    let whole = std::fs::read(&path).unwrap();
    image::read(&path).unwrap();
    for place in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        std::fs::write(&path, damaged).unwrap();
        assert!(image::read(&path).is_err(), "byte {place}");
    }
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let error = image::read(&path).unwrap_err();
    assert!(matches!(error, image::Error::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()));
}

#[tokio::test]
async fn a_pinned_boundary_is_rebuilt_after_newer_snapshots_purge_and_restart() {
    let folder = tempfile::tempdir().unwrap();
    let boundary = sample::at(12);
    let shared: Arc<OnceLock<Arc<Shared>>> = Arc::default();
    let pinned: Arc<Mutex<Option<Durable>>> = Arc::default();
    let hook: Hook = {
        let (shared, pinned) = (Arc::clone(&shared), Arc::clone(&pinned));
        Arc::new(move |at, _, _, _| {
            if let Some(shared) = shared.get().filter(|_| at == boundary) {
                *pinned.lock().unwrap() = Some(shared.pin(boundary));
                shared.keep_digests(boundary);
            }
        })
    };
    {
        let mut node = Node::open(folder.path(), hook).await;
        drop(shared.set(Arc::clone(&node.shared)));
        let history = sample::history(40);
        node.commit(history[..8].to_vec()).await;
        node.snapshot().await;
        node.commit(history[8..25].to_vec()).await;
        node.snapshot().await;
        node.commit(history[25..].to_vec()).await;
        node.snapshot().await;
        node.log.purge(raft_log_id(sample::at(38))).await.unwrap();
        node.log.barrier().await.unwrap();
    }
    drop(shared);
    // The hook holds what it was given: the store closes once it is gone.
    let pinned = pinned.lock().unwrap().take().unwrap();
    pinned.await.unwrap();

    let node = Node::open(folder.path(), no_hook()).await;
    let pins = node.log.pins();
    assert_eq!(pins.len(), 1);
    assert_eq!(pins[0].from, Some(sample::at(7)));
    let state = node.rebuild(boundary).await.unwrap();
    assert_eq!(state.digests(), state_after(13).digests());

    node.shared.release(boundary).await.unwrap();
    let mut node = node;
    node.commit(vec![sample::blank(40)]).await;
    node.snapshot().await;
    assert!(matches!(
        node.rebuild(boundary).await,
        Err(Error::NotKept { index: 0, .. })
    ));
    let folder = place::snapshots(folder.path(), &sample::main_line());
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
}

#[tokio::test]
async fn a_genesis_is_the_state_it_was_written_from_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let session = SessionId::parse("2023-06-10-2").unwrap();
    let path = genesis::path(folder.path(), &session);
    let state = state_after(10);
    let digests = genesis::write(&path, &sample::main_line(), sample::at(9), &state).unwrap();
    assert_eq!(digests, state.digests());
    let again = genesis::verify(&path, sample::at(9), &digests.full).unwrap();
    assert_eq!(again.state.digests(), digests);
    let other = state_after(9).digests();
    assert!(matches!(
        genesis::verify(&path, sample::at(9), &other.full),
        Err(image::Error::Other { .. })
    ));
    assert!(genesis::verify(&path, sample::at(8), &digests.full).is_err());
    genesis::remove(folder.path(), &session).unwrap();
    genesis::remove(folder.path(), &session).unwrap();
    assert!(genesis::read(&path).is_err());
}

#[tokio::test]
async fn an_unfounded_genesis_has_golden_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("golden.genesis");
    genesis::write(
        &path,
        &sample::main_line(),
        sample::at(0),
        &State::unfounded(),
    )
    .unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let golden: &[u8] = b"\x81\xa6Header\x86\xa6format\x01\xa4kind\xa7Genesis\xa9reference\x83\xa7cluster\xc4\x10\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\xa4line\xa4Main\xa5epoch\x01\xa4last\x83\xa4term\x01\xa4node\x01\xa5index\x00\xa7members\x82\xa7configs\x90\xa5nodes\x80\xaamembers_at\xc0";
    let length = u32::from_le_bytes(bytes[..4].try_into().unwrap());
    assert_eq!(length as usize, golden.len() + 5);
    assert_eq!(bytes[4], 1);
    assert_eq!(bytes[9..9 + golden.len()], *golden);
}

#[tokio::test]
async fn a_snapshots_header_has_golden_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path(), no_hook()).await;
    node.commit(vec![sample::members(0)]).await;
    let snapshot = node.snapshot().await.snapshot;
    let name = snapshot.path().file_name().unwrap();
    assert_eq!(name, "00000000000000000000-1-1.snapshot");
    let bytes = std::fs::read(snapshot.path()).unwrap();
    let golden: &[u8] = b"\x81\xa6Header\x86\xa6format\x01\xa4kind\xa8Snapshot\xa9reference\x83\xa7cluster\xc4\x10\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\xa4line\xa4Main\xa5epoch\x01\xa4last\x83\xa4term\x01\xa4node\x01\xa5index\x00\xa7members\x82\xa7configs\x91\x91\x01\xa5nodes\x81\x01\x82\xa7address\xa3a:1\xa6centre\xa4east\xaamembers_at\x83\xa4term\x01\xa4node\x01\xa5index\x00";
    assert_eq!(bytes[4], 1);
    assert_eq!(bytes[9..9 + golden.len()], *golden);
}

#[tokio::test]
async fn an_exported_log_replays_to_the_same_state() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path(), no_hook()).await;
    node.commit(sample::history(600)).await;
    let live = node.digests();
    let path = folder.path().join("main.log");
    let snapshot = node.snapshot().await.snapshot.path().to_owned();
    let log = node.log.clone();
    export::write_log(&log, sample::at(599), &path).unwrap();
    let replayed = export::replay(&path, None).unwrap();
    assert_eq!(replayed.state.digests(), live);
    assert_eq!(replayed.start, export::Start::FirstEntry);
    assert_eq!(replayed.entries, 600);

    // Not from the first entry any more: only with the snapshot.
    let mut more: Vec<Entry> = sample::history(610);
    node.commit(more.split_off(600)).await;
    node.log.purge(raft_log_id(sample::at(500))).await.unwrap();
    export::write_log(&log, sample::at(609), &path).unwrap();
    assert!(export::replay(&path, None).is_err());
    let replayed = export::replay(&path, Some(&snapshot)).unwrap();
    assert_eq!(replayed.state.digests(), node.digests());
    assert_eq!(replayed.start, export::Start::Snapshot(sample::at(599)));
    assert_eq!(replayed.entries, 10);

    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = export::replay(&path, Some(&snapshot)).unwrap_err();
    assert!(matches!(error, image::Error::Damaged { .. }), "{error}");
}
