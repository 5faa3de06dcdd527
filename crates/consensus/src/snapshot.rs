//! Snapshots: images of a line's state, one current and those that a pin keeps.
//!
//! They are streamed from and into files, never through memory.

use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::state::State;
use domain::{LineRef, LogId};

use crate::files::{self, FileExt as _};
use crate::image::{self, Error, Header, Image, Kind, at};
use crate::place;
use crate::raft::{self, Members, Membership, SnapshotMeta, StoredMembership};

/// A snapshot's file, open: it can be read to its end even when a newer one takes its place.
#[derive(Debug, Clone)]
pub struct File(Arc<Held>);

#[derive(Debug)]
struct Held {
    file: files::File,
    path: PathBuf,
    bytes: u64,
    /// Whether nobody wants the file once nobody holds it: it was received but not installed.
    temporary: AtomicBool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.temporary.load(Ordering::SeqCst) {
            // What stays behind is swept when the folder is opened.
            drop(files::remove_file(&self.path));
        }
    }
}

impl File {
    fn open(path: &Path) -> io::Result<Self> {
        Self::of(files::File::open(path)?, path, false)
    }

    fn of(file: files::File, path: &Path, temporary: bool) -> io::Result<Self> {
        Ok(Self(Arc::new(Held {
            bytes: file.metadata()?.len(),
            file,
            path: path.to_owned(),
            temporary: AtomicBool::new(temporary),
        })))
    }

    /// The file's length.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// The file's path when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Reads from `offset` on, as much as there is and fits; 0 at the end.
    ///
    /// # Errors
    /// The file system's.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.file.read_at(buffer, offset)
    }

    /// Reads the file from its beginning, whoever else reads it.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            file: self,
            offset: 0,
        }
    }

    /// Reads the image and checks all of it. Blocks.
    ///
    /// # Errors
    /// `Damaged`, saying where.
    pub fn load(&self) -> Result<Image, Error> {
        image::read_from(
            &self.0.path,
            BufReader::with_capacity(1 << 18, self.reader()),
        )
    }
}

/// Reads a snapshot's file at a place of its own.
#[derive(Debug)]
pub struct Reader<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(self.offset, buffer)?;
        self.offset = self
            .offset
            .saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }
}

/// What openraft knows about a snapshot with this header.
///
/// # Errors
/// `Damaged` when its members make no group.
fn meta(path: &Path, header: &Header) -> Result<SnapshotMeta, Error> {
    let membership =
        Membership::try_from(header.members.clone()).map_err(|why| Error::Damaged {
            file: path.to_owned(),
            record: 0,
            why,
        })?;
    Ok(SnapshotMeta {
        last_log_id: header.last.map(raft::raft_log_id),
        last_membership: StoredMembership::new(
            header.members_at.map(raft::raft_log_id),
            membership,
        ),
    })
}

/// The folder of a line's snapshots. Clones are the same folder.
#[derive(Debug, Clone)]
pub struct Folder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    reference: LineRef,
    /// The snapshots there are, the current one last.
    snapshots: Mutex<Vec<(Option<LogId>, PathBuf)>>,
    received: AtomicU64,
}

const EXTENSION: &str = "snapshot";

impl Folder {
    /// Opens the folder, which is created when it is not there, and sweeps what was not finished.
    ///
    /// # Errors
    /// `Damaged` or `Other` when a snapshot's header is not this line's; else the file system's.
    pub fn open(data: &Path, reference: &LineRef) -> Result<Self, Error> {
        let path = place::snapshots(data, reference);
        at(&path, place::create_folder(&path))?;
        let mut snapshots = Vec::new();
        for entry in at(&path, files::read_dir(&path))? {
            let file = at(&path, entry)?.path();
            if file.extension().is_some_and(|found| found == EXTENSION) {
                let header = image::read_header(&file)?;
                check(&file, &header, reference)?;
                snapshots.push((header.last, file));
            } else {
                at(&file, files::remove_file(&file))?;
            }
        }
        snapshots.sort();
        Ok(Self(Arc::new(Inner {
            path,
            reference: reference.clone(),
            snapshots: Mutex::new(snapshots),
            received: AtomicU64::new(0),
        })))
    }

    fn snapshots(&self) -> MutexGuard<'_, Vec<(Option<LogId>, PathBuf)>> {
        self.0
            .snapshots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn file_name(&self, last: Option<LogId>) -> PathBuf {
        let name = last.map_or_else(
            || "empty".to_owned(),
            |id| format!("{:020}-{}-{}", id.index, id.term, id.node),
        );
        self.0.path.join(format!("{name}.{EXTENSION}"))
    }

    /// The current snapshot.
    ///
    /// # Errors
    /// `Damaged` when its header is.
    pub fn current(&self) -> Result<Option<(SnapshotMeta, File)>, Error> {
        let snapshots = self.snapshots();
        let Some((_, path)) = snapshots.last() else {
            return Ok(None);
        };
        // Under the lock: a newer one may remove it.
        let file = at(path, File::open(path))?;
        let meta = meta(path, &image::read_header(path)?)?;
        Ok(Some((meta, file)))
    }

    /// The newest snapshot at or before the entry.
    #[must_use]
    pub fn at_or_before(&self, boundary: LogId) -> Option<LogId> {
        let snapshots = self.snapshots();
        let before = |(last, _): &&(Option<LogId>, PathBuf)| last.is_some_and(|l| l <= boundary);
        snapshots
            .iter()
            .rev()
            .find(before)
            .and_then(|(last, _)| *last)
    }

    /// Reads the snapshot that ends with this entry. Blocks.
    ///
    /// # Errors
    /// `Damaged`, saying where; the file system's when there is none.
    pub fn load(&self, last: LogId) -> Result<Image, Error> {
        image::read(&self.file_name(Some(last)))
    }

    /// Writes a snapshot of the state. It is durable when this returns. Blocks.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(
        &self,
        state: &State,
        last: Option<LogId>,
        membership: &StoredMembership,
    ) -> Result<(SnapshotMeta, File), Error> {
        let header = Header {
            format: image::FORMAT,
            kind: Kind::Snapshot,
            reference: self.0.reference.clone(),
            last,
            members: Members::from(membership.membership()),
            members_at: membership.log_id().as_ref().map(raft::log_id),
        };
        let path = self.file_name(last);
        image::write(&path, &header, state)?;
        let file = at(&path, File::open(&path))?;
        self.add(last, &path);
        Ok((meta(&path, &header)?, file))
    }

    fn add(&self, last: Option<LogId>, path: &Path) {
        let mut snapshots = self.snapshots();
        snapshots.retain(|(found, _)| *found != last);
        snapshots.push((last, path.to_owned()));
        snapshots.sort();
    }

    /// Begins to receive a snapshot.
    ///
    /// # Errors
    /// The file system's.
    pub fn incoming(&self) -> io::Result<Incoming> {
        let number = self.0.received.fetch_add(1, Ordering::Relaxed);
        let path = self.0.path.join(format!("{number}.received"));
        let file = files::File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)?;
        Ok(Incoming {
            file: File::of(file, &path, true)?,
            reference: self.0.reference.clone(),
        })
    }

    /// Takes a snapshot in: checks all of it, and puts it durably among the others. One that is
    /// among them already is only checked. Blocks.
    ///
    /// # Errors
    /// `Damaged`, saying where; `Other` when it is of another line or entry than announced.
    pub fn install(&self, announced: &SnapshotMeta, file: &File) -> Result<Image, Error> {
        let image = file.load()?;
        check(file.path(), &image.header, &self.0.reference)?;
        if meta(file.path(), &image.header)? != *announced {
            return Err(Error::Other {
                file: file.path().to_owned(),
                why: format!("it was announced as {announced}"),
            });
        }
        let path = self.file_name(image.header.last);
        if file.path() != path {
            let ours = file.path().parent() == Some(self.0.path.as_path());
            if ours && file.0.temporary.swap(false, Ordering::SeqCst) {
                at(file.path(), file.0.file.sync_all())?;
                at(&path, place::rename(file.path(), &path))?;
            } else {
                let unfinished = path.with_extension(image::UNFINISHED);
                let copied = files::File::create(&unfinished).and_then(|mut to| {
                    io::copy(&mut file.reader(), &mut to)?;
                    to.sync_all()
                });
                at(&unfinished, copied)?;
                at(&path, place::rename(&unfinished, &path))?;
            }
        }
        self.add(image.header.last, &path);
        Ok(image)
    }

    /// Removes the snapshots before the current one, but those that a pin needs.
    ///
    /// # Errors
    /// The file system's.
    pub fn sweep(&self, pinned: &[Option<LogId>]) -> Result<(), Error> {
        let mut snapshots = self.snapshots();
        let Some(current) = snapshots.last().map(|(last, _)| *last) else {
            return Ok(());
        };
        let mut left = Vec::new();
        for (last, path) in std::mem::take(&mut *snapshots) {
            if last == current || pinned.contains(&last) {
                left.push((last, path));
            } else if let Err(error) = place::remove_file(&path) {
                // It costs room, no more; the next sweep tries again.
                tracing::warn!(path = %path.display(), %error, "an old snapshot stays");
                left.push((last, path));
            }
        }
        *snapshots = left;
        Ok(())
    }
}

fn check(file: &Path, header: &Header, reference: &LineRef) -> Result<(), Error> {
    let why = match header.kind {
        kind @ (Kind::Genesis | Kind::Base | Kind::Backup) => format!("it is {}", kind.name()),
        Kind::Snapshot if header.reference != *reference => {
            format!("it is of {:?}", header.reference)
        }
        Kind::Snapshot => return Ok(()),
    };
    Err(Error::Other {
        file: file.to_owned(),
        why,
    })
}

/// A snapshot that is being received. Dropped, it is gone.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    reference: LineRef,
}

impl Incoming {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        (&self.file.0.file).write_all(bytes)
    }

    /// Ends: what openraft needs to know stands in the file. It is checked as a whole when it is
    /// installed, and is gone when it is dropped before. Blocks.
    ///
    /// # Errors
    /// `Damaged` or `Other` when its header is not this line's.
    pub fn finish(self) -> Result<(SnapshotMeta, File), Error> {
        let path = self.file.path().to_owned();
        let header = image::read_header(&path)?;
        check(&path, &header, &self.reference)?;
        let held = &self.file.0;
        let whole = Held {
            file: at(&path, held.file.try_clone())?,
            path: path.clone(),
            bytes: at(&path, held.file.metadata())?.len(),
            temporary: AtomicBool::new(true),
        };
        // From here on the new handle cleans up.
        held.temporary.store(false, Ordering::SeqCst);
        Ok((meta(&path, &header)?, File(Arc::new(whole))))
    }
}
