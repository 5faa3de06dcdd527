//! The file of a backup: what it is of in clear, then the state, sealed piece by piece
//! (AES-256-GCM), then a checksum over all before it.
//!
//! ```text
//! "tidemark backup 1\n"
//! u32 length, header      what the backup is of, and a salt that was drawn for this file
//! 'c' u32 length, piece   sealed; any number of these
//! 'e' u32 length, piece   sealed; the last one
//! 's' 32 bytes            BLAKE3 of everything before
//! ```
//!
//! Numbers are big endian. Each file has a key of its own, derived from the sealing key that the
//! header names and from the salt, so that a counter can be the nonce. Authenticated with each
//! piece are everything before the first one, its place, and whether it is the last: a piece that
//! is altered, left out, moved, or taken from another file does not open, and neither does any
//! under another header. The checksum finds what a disk or a copy does, without any key; it keeps
//! out nobody. Deliberately absent: what the state looks like inside.

use std::io::{self, Read};

use domain::backup::Backup;
use domain::digest::Hasher;
use domain::{Digest, encoding};
use ring::aead::{Aad, LessSafeKey, Nonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Entropy;
use crate::keyring::Keyring;
use crate::statement::Statement;

/// What every file begins with; its last number is the version of the form.
pub const BEGINNING: &[u8] = b"tidemark backup 1\n";
/// Most bytes that are sealed as one piece.
pub const PIECE_BYTES_MAX: usize = 128 * 1024;
/// Most bytes of a header.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;

const PURPOSE: &str = "tidemark backup piece v1";
const TAG_BYTES: usize = 16;
const PIECE: u8 = b'c';
const LAST: u8 = b'e';
const SUM: u8 = b's';

/// Why a file is no backup that can be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not begin as one.
    #[error("this is no backup of a form that is known here")]
    NotABackup,
    /// It is a backup, and not as it was written.
    #[error("the backup is damaged at piece {piece}: {why}")]
    Damaged {
        /// Where; the header is 0.
        piece: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// The key file lacks the key that sealed it.
    #[error("the key file does not hold key {key}, which sealed the backup")]
    Key {
        /// Which.
        key: u32,
    },
    /// The file system.
    #[error(transparent)]
    File(#[from] io::Error),
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::File(source) => source,
            Error::NotABackup | Error::Damaged { .. } | Error::Key { .. } => {
                Self::new(io::ErrorKind::InvalidData, error)
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    backup: Backup,
    #[serde(with = "serde_bytes")]
    salt: [u8; 32],
}

/// What each piece is authenticated with, and the key.
struct Lock {
    key: LessSafeKey,
    /// The digest of everything before the first piece.
    before: Digest,
    pieces: u64,
}

impl Lock {
    fn of(keyring: &Keyring, header: &Header, before: &[u8]) -> Result<Self, Error> {
        let id = header.backup.keys.first().copied().unwrap_or_default();
        let missing = Error::Key { key: id };
        let key = keyring.get(id).filter(|key| key.seals());
        let key = key.and_then(|key| key.of_backup(&header.salt));
        Ok(Self {
            key: key.ok_or(missing)?,
            before: Digest::of("tidemark backup header", &[before]),
            pieces: 0,
        })
    }

    /// The nonce and what is authenticated with the next piece.
    fn next(&mut self, last: bool) -> (Nonce, Vec<u8>) {
        let statement = Statement::new(PURPOSE)
            .bytes(&self.before.0)
            .number(self.pieces)
            .number(u64::from(last))
            .finish();
        let mut nonce = [0; ring::aead::NONCE_LEN];
        if let Some((_, place)) = nonce.split_last_chunk_mut::<8>() {
            place.copy_from_slice(&self.pieces.to_be_bytes());
        }
        self.pieces += 1;
        (Nonce::assume_unique_for_key(nonce), statement)
    }
}

/// Writes a backup's file.
pub struct Sealer {
    lock: Lock,
    sum: Hasher,
}

impl Sealer {
    /// Begins a file: gives it with its first bytes. The first of the backup's keys seals it.
    ///
    /// # Errors
    /// `Key` if it is not held.
    pub fn begin(
        keyring: &Keyring,
        backup: Backup,
        entropy: &dyn Entropy,
    ) -> Result<(Self, Vec<u8>), Error> {
        let mut salt = [0; 32];
        entropy.fill(&mut salt);
        let header = Header { backup, salt };
        let content = encoding::encode(&header);
        let mut bytes = BEGINNING.to_vec();
        bytes.extend_from_slice(&length(content.len()));
        bytes.extend_from_slice(&content);
        let lock = Lock::of(keyring, &header, &bytes)?;
        let mut sum = Hasher::default();
        sum.add(&bytes);
        Ok((Self { lock, sum }, bytes))
    }

    /// The next piece of the file, with at most `PIECE_BYTES_MAX` bytes of the state.
    ///
    /// # Errors
    /// If there are more.
    pub fn piece(&mut self, content: &[u8]) -> io::Result<Vec<u8>> {
        self.seal(PIECE, content)
    }

    /// The end of the file.
    ///
    /// # Errors
    /// None that can happen.
    pub fn end(mut self) -> io::Result<Vec<u8>> {
        let mut bytes = self.seal(LAST, &[])?;
        bytes.push(SUM);
        self.sum.add(&[SUM]);
        bytes.extend_from_slice(&self.sum.digest().0);
        Ok(bytes)
    }

    fn seal(&mut self, kind: u8, content: &[u8]) -> io::Result<Vec<u8>> {
        if content.len() > PIECE_BYTES_MAX {
            return Err(io::Error::other("a piece of a backup is too long"));
        }
        let (nonce, statement) = self.lock.next(kind == LAST);
        let mut sealed = Vec::with_capacity(content.len() + TAG_BYTES);
        sealed.extend_from_slice(content);
        self.lock
            .key
            .seal_in_place_append_tag(nonce, Aad::from(statement), &mut sealed)
            .map_err(|_| io::Error::other("a piece of a backup was not sealed"))?;
        let mut bytes = Vec::with_capacity(sealed.len() + 5);
        bytes.push(kind);
        bytes.extend_from_slice(&length(sealed.len()));
        bytes.extend_from_slice(&sealed);
        self.sum.add(&bytes);
        Ok(bytes)
    }
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

/// A file that is read, record by record, with its checksum.
struct Records<R> {
    from: R,
    sum: Hasher,
    header: Header,
    before: Vec<u8>,
    pieces: u64,
}

/// What comes next in a file.
enum Next {
    Piece(Vec<u8>),
    Last(Vec<u8>),
    End,
}

impl<R: Read> Records<R> {
    fn open(mut from: R) -> Result<Self, Error> {
        let mut beginning = [0; BEGINNING.len()];
        if !fill(&mut from, &mut beginning)? || beginning != *BEGINNING {
            return Err(Error::NotABackup);
        }
        let damaged = |why| Error::Damaged { piece: 0, why };
        let mut long = [0; 4];
        if !fill(&mut from, &mut long)? {
            return Err(damaged("the file is cut short"));
        }
        let bytes = usize::try_from(u32::from_be_bytes(long)).unwrap_or(usize::MAX);
        if bytes > HEADER_BYTES_MAX {
            return Err(damaged("its header is too long"));
        }
        let mut content = vec![0; bytes];
        if !fill(&mut from, &mut content)? {
            return Err(damaged("the file is cut short"));
        }
        let header = encoding::decode(&content).map_err(|_| damaged("its header is none"))?;
        let before = [&beginning, long.as_slice(), &content].concat();
        let mut sum = Hasher::default();
        sum.add(&before);
        Ok(Self {
            from,
            sum,
            header,
            before,
            pieces: 0,
        })
    }

    fn damaged(&self, why: &'static str) -> Error {
        Error::Damaged {
            piece: self.pieces + 1,
            why,
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        if fill(&mut self.from, buffer)? {
            Ok(())
        } else {
            Err(self.damaged("the file is cut short"))
        }
    }

    fn next(&mut self) -> Result<Next, Error> {
        let mut kind = [0];
        self.fill(&mut kind)?;
        self.sum.add(&kind);
        let [kind] = kind;
        if kind == SUM {
            let Digest(expected) = self.sum.digest();
            let mut found = [0; 32];
            self.fill(&mut found)?;
            if found != expected {
                return Err(self.damaged("the checksum differs"));
            }
            if fill(&mut self.from, &mut [0])? {
                return Err(self.damaged("something follows the checksum"));
            }
            return Ok(Next::End);
        }
        if kind != PIECE && kind != LAST {
            return Err(self.damaged("it is of no known kind"));
        }
        let mut long = [0; 4];
        self.fill(&mut long)?;
        let bytes = usize::try_from(u32::from_be_bytes(long)).unwrap_or(usize::MAX);
        if bytes > PIECE_BYTES_MAX + TAG_BYTES {
            return Err(self.damaged("it is too long"));
        }
        let mut sealed = vec![0; bytes];
        self.fill(&mut sealed)?;
        self.sum.add(&long);
        self.sum.add(&sealed);
        self.pieces += 1;
        Ok(if kind == LAST {
            Next::Last(sealed)
        } else {
            Next::Piece(sealed)
        })
    }
}

/// Fills the buffer; says whether the file was long enough.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a file says that it is of. Nothing of it is proved.
///
/// # Errors
/// `NotABackup`, `Damaged`; else the file system's.
pub fn show(from: impl Read) -> Result<Backup, Error> {
    Ok(Records::open(from)?.header.backup)
}

/// Checks a file without any key: that it is whole, and what was written. Whoever made another
/// one can have made its checksum too; that takes the key to tell.
///
/// # Errors
/// `NotABackup`, `Damaged`; else the file system's.
pub fn check(from: impl Read) -> Result<Backup, Error> {
    let mut records = Records::open(from)?;
    let mut ended = false;
    loop {
        match records.next()? {
            Next::Piece(_) | Next::Last(_) if ended => {
                return Err(records.damaged("something follows the last piece"));
            }
            Next::Piece(_) => {}
            Next::Last(_) => ended = true,
            Next::End if ended => return Ok(records.header.backup),
            Next::End => return Err(records.damaged("the last piece is missing")),
        }
    }
}

/// Opens a backup's file: what is read from it is the state, and the end of it is told only after
/// everything was found to be what was sealed.
pub struct Opener<R> {
    records: Records<R>,
    lock: Lock,
    piece: Zeroizing<Vec<u8>>,
    read: usize,
    ended: bool,
}

impl<R: Read> Opener<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// `NotABackup`, `Damaged`, `Key`; else the file system's.
    pub fn open(keyring: &Keyring, from: R) -> Result<Self, Error> {
        let records = Records::open(from)?;
        let lock = Lock::of(keyring, &records.header, &records.before)?;
        Ok(Self {
            records,
            lock,
            piece: Zeroizing::default(),
            read: 0,
            ended: false,
        })
    }

    /// What it is of. It is proved once something was read.
    #[must_use]
    pub fn backup(&self) -> &Backup {
        &self.records.header.backup
    }

    fn advance(&mut self) -> Result<(), Error> {
        let (last, sealed) = match self.records.next()? {
            Next::Piece(sealed) => (false, sealed),
            Next::Last(sealed) => (true, sealed),
            Next::End => return Err(self.records.damaged("the last piece is missing")),
        };
        let (nonce, statement) = self.lock.next(last);
        self.piece = Zeroizing::new(sealed);
        self.read = 0;
        let opened = self
            .lock
            .key
            .open_in_place(nonce, Aad::from(statement), &mut self.piece)
            .map(|opened| opened.len());
        let Ok(length) = opened else {
            self.piece.clear();
            return Err(Error::Damaged {
                piece: self.records.pieces,
                why: "it does not open with this key in this place of this file",
            });
        };
        self.piece.truncate(length);
        if last {
            match self.records.next()? {
                Next::End => self.ended = true,
                Next::Piece(_) | Next::Last(_) => {
                    return Err(self.records.damaged("something follows the last piece"));
                }
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read >= self.piece.len() {
            if self.ended {
                return Ok(0);
            }
            self.advance()?;
        }
        let rest = self.piece.get(self.read..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.read += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
