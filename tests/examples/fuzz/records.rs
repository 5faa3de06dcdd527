//! What stands on a node's disk, and what is taken from it: an exported log, a genesis, a snapshot,
//! a segment of the audit trail, a promise, a backup, the log itself. An altered one is refused, or
//! gives what the whole one gave.

use std::fs;
use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use consensus::audit::Trail;
use consensus::standing::{self, Seal, Standing};
use consensus::store::Disk;
use consensus::{export, genesis, image, place};
use credential::backup::Opener;
use credential::keyring::Keyring;
use domain::promotion::SealId;
use domain::{LineRef, SessionId};
use tests::Cluster;
use tests::cluster::{S2, until};

use crate::Run;

/// The log is opened once in so many inputs: it takes a while.
const LOG_EVERY: usize = 40;

/// What came of reading an altered record: nothing where it was refused, else whether it gave what
/// the whole one gave.
type Same = Option<bool>;

/// A record that is altered.
struct Kept {
    what: &'static str,
    /// Where the altered one is put.
    path: PathBuf,
    whole: Vec<u8>,
    read: Box<dyn Fn(&Path) -> Same>,
}

pub(crate) async fn throw(cluster: &mut Cluster, run: &mut Run) {
    cluster.serves_at("2023-06-10 18:00").await;
    cluster.sets_up_app(&tests::cast::WONG).await;
    let backup = cluster.backup("as every night").await.unwrap();
    cluster.session_2().await;
    let log = cluster.export(1).await;
    let reference = {
        let line = cluster.node(1).lines().main();
        line.trigger_snapshot().await.unwrap();
        line.reference()
    };
    let data = cluster.folder().join("nodes/1/data");
    let snapshots = place::snapshots(&data, &reference);
    let snapshot = until("a snapshot is written", async || {
        only_file(&snapshots, "snapshot")
    })
    .await;
    let session = SessionId::parse(S2).unwrap();
    let kept = place::genesis(&cluster.folder().join("nodes/4/data"), &session);
    let genesis = until("the genesis file is written", async || fs::read(&kept).ok()).await;
    // What it reads is not written meanwhile.
    cluster.stop(1).await;

    let folder = cluster.folder().join("altered");
    fs::create_dir(&folder).unwrap();
    let records = [
        exported_log(&folder, fs::read(log).unwrap()),
        genesis_file(&folder, genesis),
        snapshot_file(&folder, fs::read(snapshot).unwrap()),
        segment(&folder, &place::audit(&data, &reference), &reference),
        promise(&folder),
        sealed_backup(&folder, backup, &cluster.key_file(1)),
    ];
    for kept in &records {
        fs::write(&kept.path, &kept.whole).unwrap();
        assert_eq!((kept.read)(&kept.path), Some(true), "{}", kept.what);
    }
    let store = Store::of(&data, &folder, reference);
    while run.goes_on() {
        let kept = run.dice.one(&records);
        fs::write(&kept.path, run.dice.altered(&kept.whole)).unwrap();
        let same = (kept.read)(&kept.path);
        assert_ne!(same, Some(false), "{} gives something else", kept.what);
        run.count(same.is_some());
        if run.dice.below(LOG_EVERY) == 0 {
            let same = store.altered(run);
            assert_ne!(same, Some(false), "the log gives something else");
            run.count(same.is_some());
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn only_file(folder: &Path, ending: &str) -> Option<PathBuf> {
    let mut found = files(folder).into_iter();
    found.find(|path| path.extension().is_some_and(|known| known == ending))
}

fn exported_log(folder: &Path, whole: Vec<u8>) -> Kept {
    let path = folder.join("export.log");
    fs::write(&path, &whole).unwrap();
    let digests = export::replay(&path, None).unwrap().state.digests();
    let read = move |path: &Path| {
        let replayed = export::replay(path, None).ok()?;
        Some(replayed.state.digests() == digests)
    };
    Kept {
        what: "an exported log",
        path,
        whole,
        read: Box::new(read),
    }
}

fn genesis_file(folder: &Path, whole: Vec<u8>) -> Kept {
    let path = folder.join("altered.genesis");
    fs::write(&path, &whole).unwrap();
    let digests = genesis::read(&path).unwrap().state.digests();
    let read = move |path: &Path| Some(genesis::read(path).ok()?.state.digests() == digests);
    Kept {
        what: "a genesis",
        path,
        whole,
        read: Box::new(read),
    }
}

fn snapshot_file(folder: &Path, whole: Vec<u8>) -> Kept {
    let path = folder.join("altered.snapshot");
    fs::write(&path, &whole).unwrap();
    let digests = image::read(&path).unwrap().state.digests();
    let read = move |path: &Path| Some(image::read(path).ok()?.state.digests() == digests);
    Kept {
        what: "a snapshot",
        path,
        whole,
        read: Box::new(read),
    }
}

/// Of a trail whose last row was torn, the rows before it are good.
fn segment(folder: &Path, trail: &Path, reference: &LineRef) -> Kept {
    let name = place::line_name(reference);
    let folder = folder.join("trail");
    fs::create_dir(&folder).unwrap();
    let file = files(trail)
        .into_iter()
        .find(|path| path.is_file())
        .unwrap();
    let path = folder.join(file.file_name().unwrap());
    let whole = fs::read(file).unwrap();
    fs::write(&path, &whole).unwrap();
    let rows = move |path: &Path| {
        let trail = Trail::open_in(path.parent().unwrap().to_owned(), name.clone()).ok()?;
        let end = trail.head().sequence;
        trail.rows(0..end, usize::MAX).ok()
    };
    let known = rows(&path).unwrap();
    let read = move |path: &Path| Some(known.starts_with(&rows(path)?));
    Kept {
        what: "a segment of the audit trail",
        path,
        whole,
        read: Box::new(read),
    }
}

fn promise(folder: &Path) -> Kept {
    let folder = folder.join("promise");
    fs::create_dir(&folder).unwrap();
    let promised = Standing {
        sealed: Some(Seal {
            epoch: 7,
            id: SealId([5; 16]),
        }),
        ..Standing::default()
    };
    standing::write(&folder, &promised).unwrap();
    let path = folder.join("standing");
    let whole = fs::read(&path).unwrap();
    let read = move |path: &Path| {
        let found = standing::read(path.parent().unwrap()).ok()?;
        Some(found == promised)
    };
    Kept {
        what: "a promise",
        path,
        whole,
        read: Box::new(read),
    }
}

fn sealed_backup(folder: &Path, whole: Vec<u8>, keys: &Path) -> Kept {
    let path = folder.join("altered.backup");
    let keys = fs::read_to_string(keys).unwrap();
    let keyring = Keyring::parse(&keys).ok().unwrap();
    let content = move |path: &Path| {
        let mut opener = Opener::open(&keyring, fs::File::open(path).unwrap()).ok()?;
        let mut content = Vec::new();
        opener.read_to_end(&mut content).ok()?;
        Some((opener.backup().clone(), content))
    };
    fs::write(&path, &whole).unwrap();
    let known = content(&path).unwrap();
    let read = move |path: &Path| Some(content(path)? == known);
    Kept {
        what: "a backup",
        path,
        whole,
        read: Box::new(read),
    }
}

/// The files of a node's log, with what its main line's entries are.
struct Store {
    files: Vec<(PathBuf, Vec<u8>)>,
    copy: PathBuf,
    reference: LineRef,
    entries: String,
}

impl Store {
    fn of(data: &Path, folder: &Path, reference: LineRef) -> Self {
        let own = files(&place::store(data));
        let own = own.into_iter().chain([place::witness(data)]);
        let files = own.filter(|path| path.is_file()).map(|path| {
            let bytes = fs::read(&path).unwrap();
            (path.strip_prefix(data).unwrap().to_owned(), bytes)
        });
        let mut store = Self {
            files: files.collect(),
            copy: folder.join("store"),
            reference,
            entries: String::new(),
        };
        store.write(None);
        store.entries = store.read().unwrap();
        store
    }

    /// A copy of all files, with one of them as it is given.
    fn write(&self, other: Option<(usize, Vec<u8>)>) {
        if self.copy.exists() {
            fs::remove_dir_all(&self.copy).unwrap();
        }
        for (number, (path, whole)) in self.files.iter().enumerate() {
            let path = self.copy.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let bytes = match &other {
                Some((changed, bytes)) if *changed == number => bytes,
                Some(_) | None => whole,
            };
            fs::write(path, bytes).unwrap();
        }
    }

    fn read(&self) -> Option<String> {
        let disk = Disk::open(&self.copy).ok()?;
        let log = disk.log(&self.reference).ok()?;
        let (from, end) = log.range();
        let entries = log.entries(from, end.saturating_sub(1)).ok()?;
        Some(format!("{from} {end} {entries:?}"))
    }

    fn altered(&self, run: &Run) -> Same {
        let number = run.dice.below(self.files.len());
        let bytes = run.dice.altered(&self.files[number].1);
        self.write(Some((number, bytes)));
        // The database stops in its own way at some of it, and a node with it.
        let read = catch_unwind(AssertUnwindSafe(|| self.read()));
        Some(read.ok()?? == self.entries)
    }
}
