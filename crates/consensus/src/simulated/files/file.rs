//! An open file or folder of a simulated disk.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Change, Disks, Inode, TryLockError, disks};

/// An open file or folder.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    inode: usize,
    at: Mutex<u64>,
    append: bool,
    holds_lock: Mutex<bool>,
}

/// How a file is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    write: bool,
    append: bool,
    create: bool,
    truncate: bool,
}

impl OpenOptions {
    /// Reading is always allowed.
    pub fn read(&mut self, _read: bool) -> &mut Self {
        self
    }

    /// As in `std`.
    pub fn write(&mut self, write: bool) -> &mut Self {
        self.write = write;
        self
    }

    /// As in `std`.
    pub fn append(&mut self, append: bool) -> &mut Self {
        self.append = append;
        self
    }

    /// As in `std`.
    pub fn create(&mut self, create: bool) -> &mut Self {
        self.create = create;
        self
    }

    /// As in `std`.
    pub fn truncate(&mut self, truncate: bool) -> &mut Self {
        self.truncate = truncate;
        self
    }

    /// As in `std`.
    ///
    /// # Errors
    /// When it is not there, or the disk refuses.
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        let mut disks = disks();
        disks.allow(path, Change::Nothing)?;
        let inode = match disks.find(path) {
            Ok(inode) => inode,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.create => {
                disks.allow(path, Change::Write)?;
                disks.put(
                    path,
                    Inode::File {
                        now: Vec::new(),
                        durable: Vec::new(),
                        locked: false,
                    },
                )?
            }
            Err(error) => return Err(error),
        };
        if self.truncate {
            disks.allow(path, Change::Write)?;
            disks.bytes(inode)?.clear();
        }
        drop(disks);
        Ok(File {
            path: path.to_owned(),
            inode,
            at: Mutex::new(0),
            append: self.append,
            holds_lock: Mutex::new(false),
        })
    }
}

/// What is known of a file.
#[derive(Debug, Clone, Copy)]
pub struct Metadata {
    length: u64,
}

impl Metadata {
    /// Its length.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "as in std")]
    pub fn len(&self) -> u64 {
        self.length
    }
}

impl File {
    /// As in `std`.
    ///
    /// # Errors
    /// When it is not there, or the disk refuses.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::default().open(path)
    }

    /// As in `std`.
    ///
    /// # Errors
    /// The disk's.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut options = OpenOptions::default();
        options.write(true).create(true).truncate(true).open(path)
    }

    /// As in `std`.
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::default()
    }

    fn on_disk<T>(
        &self,
        change: Change,
        work: impl FnOnce(&mut Disks) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut disks = disks();
        disks.allow(&self.path, change)?;
        work(&mut disks)
    }

    /// As in `std`.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync_all(&self) -> io::Result<()> {
        self.on_disk(Change::Sync, |disks| disks.sync(self.inode))
    }

    /// As in `std`.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync_data(&self) -> io::Result<()> {
        self.sync_all()
    }

    /// As in `std`.
    ///
    /// # Errors
    /// The disk's.
    pub fn set_len(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        self.on_disk(Change::Write, |disks| {
            disks.bytes(self.inode)?.resize(length, 0);
            Ok(())
        })
    }

    /// As in `std`.
    ///
    /// # Errors
    /// The disk's.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.on_disk(Change::Nothing, |disks| {
            let length = disks.bytes(self.inode)?.len() as u64;
            Ok(Metadata { length })
        })
    }

    /// As in `std`, but with a place of its own.
    ///
    /// # Errors
    /// None.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            path: self.path.clone(),
            inode: self.inode,
            at: Mutex::new(self.place()),
            append: self.append,
            holds_lock: Mutex::new(false),
        })
    }

    /// As in `std`.
    ///
    /// # Errors
    /// `WouldBlock` when another handle has it locked.
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        let mut disks = disks();
        match disks.inode(self.inode).map_err(TryLockError::Error)? {
            Inode::File { locked, .. } if !*locked => *locked = true,
            Inode::File { .. } | Inode::Folder { .. } => return Err(TryLockError::WouldBlock),
        }
        *self.lock_held() = true;
        Ok(())
    }

    /// As in `std`.
    ///
    /// # Errors
    /// None.
    pub fn unlock(&self) -> io::Result<()> {
        if std::mem::take(&mut *self.lock_held())
            && let Inode::File { locked, .. } = disks().inode(self.inode)?
        {
            *locked = false;
        }
        Ok(())
    }

    fn lock_held(&self) -> MutexGuard<'_, bool> {
        self.holds_lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> u64 {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn move_to(&self, at: u64) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn read_from(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.on_disk(Change::Nothing, |disks| {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            let there = disks.bytes(self.inode)?.get(offset..).unwrap_or_default();
            let mut there = there;
            there.read(buffer)
        })
    }

    fn write_to(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.on_disk(Change::Write, |disks| {
            let offset = usize::try_from(offset).map_err(io::Error::other)?;
            let there = disks.bytes(self.inode)?;
            let end = offset.saturating_add(bytes.len());
            if there.len() < end {
                there.resize(end, 0);
            }
            if let Some(place) = there.get_mut(offset..end) {
                place.copy_from_slice(bytes);
            }
            Ok(())
        })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _never_fails = self.unlock();
    }
}

impl Read for &File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at = self.place();
        let count = self.read_from(at, buffer)?;
        self.move_to(at + count as u64);
        Ok(count)
    }
}

impl Write for &File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let at = if self.append {
            self.metadata()?.len()
        } else {
            self.place()
        };
        self.write_to(at, bytes)?;
        self.move_to(at + bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(by) => self.metadata()?.len().saturating_add_signed(by),
            SeekFrom::Current(by) => self.place().saturating_add_signed(by),
        };
        self.move_to(at);
        Ok(at)
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

/// As `std::os::unix::fs::FileExt`.
pub trait FileExt {
    /// As in `std`.
    ///
    /// # Errors
    /// The disk's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// As in `std`.
    ///
    /// # Errors
    /// `UnexpectedEof`, or the disk's.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// As in `std`.
    ///
    /// # Errors
    /// The disk's.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
}

impl FileExt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_from(offset, buffer)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read_from(offset, buffer)? < buffer.len() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_to(offset, bytes)
    }
}
