//! A state as a plain file of framed records: header, rows, footer. Snapshots and genesis files
//! are such images, what a restored main line begins with, and what a backup seals.
//!
//! Reading one checks every frame, the count of rows, and that the digests, computed from scratch,
//! are those that the writer had.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use domain::state::{Damaged, Digests, Row, State};
use domain::{LineRef, LogId, encoding};
use serde::{Deserialize, Serialize};

use crate::files::{self, File};
use crate::frame::{self, Next};
use crate::place;
use crate::raft::Members;

/// The only version of the format so far.
pub const FORMAT: u32 = 1;

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// What a node restarts from, and a peer catches up with.
    Snapshot,
    /// What a branch starts from.
    Genesis,
    /// What the main line of a restored cluster begins with.
    Base,
    /// What is sealed in a backup.
    Backup,
}

impl Kind {
    /// What it is, in a sentence.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "a snapshot",
            Self::Genesis => "a genesis",
            Self::Base => "the beginning of a restored line",
            Self::Backup => "a backup",
        }
    }
}

/// What an image begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub format: u32,
    /// What it is for.
    pub kind: Kind,
    /// The line whose state it is.
    pub reference: LineRef,
    /// The last entry of that line that it includes.
    pub last: Option<LogId>,
    /// The members of the line's group then; none in a genesis, since a branch has its own.
    pub members: Members,
    /// The entry that made them members.
    pub members_at: Option<LogId>,
}

/// What an image ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Footer {
    rows: u64,
    digests: Digests,
}

#[derive(Serialize)]
enum PieceRef<'a> {
    Header(&'a Header),
    Row(&'a Row),
    Footer(Footer),
}

#[derive(Deserialize)]
enum Piece {
    Header(Header),
    Row(Row),
    Footer(Footer),
}

/// An image that was read and found whole.
#[derive(Debug, Clone)]
pub struct Image {
    /// What it begins with.
    pub header: Header,
    /// The state.
    pub state: State,
    /// The state's digests.
    pub digests: Digests,
}

/// Why a file is no image that can be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A record is not what was written.
    #[error("{file} is damaged at record {record}: {why}")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The record's place in the file; the header is 0.
        record: u64,
        /// What is wrong.
        why: String,
    },
    /// The rows are whole but make no state.
    #[error("{file}: {source}")]
    State {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: Damaged,
    },
    /// The image is whole but not the one that was asked for.
    #[error("{file} is not what was asked for: {why}")]
    Other {
        /// The file.
        file: PathBuf,
        /// How it differs.
        why: String,
    },
    /// The file system.
    #[error("{file}: {source}")]
    File {
        /// The file.
        file: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Damaged { .. } | Error::State { .. } | Error::Other { .. } => {
                io::ErrorKind::InvalidData
            }
            Error::File { source, .. } => source.kind(),
        };
        Self::new(kind, error)
    }
}

pub(crate) fn at<T>(file: &Path, result: io::Result<T>) -> Result<T, Error> {
    result.map_err(|source| Error::File {
        file: file.to_owned(),
        source,
    })
}

/// The name of a file while it is being written.
pub(crate) const UNFINISHED: &str = "unfinished";

fn context(record: u64) -> [u8; 14] {
    let mut context = *b"image\0\0\0\0\0\0\0\0\0";
    if let Some((_, place)) = context.split_last_chunk_mut::<8>() {
        place.copy_from_slice(&record.to_be_bytes());
    }
    context
}

/// Writes an image: beside its place first, and into it once it is durable.
///
/// # Errors
/// The file system's; nothing is in the file's place then.
pub fn write(path: &Path, header: &Header, state: &State) -> Result<Digests, Error> {
    if let Some(folder) = path.parent() {
        at(folder, place::create_folder(folder))?;
    }
    let unfinished = path.with_extension(UNFINISHED);
    let digests = state.digests();
    let written = File::create(&unfinished).and_then(|file| {
        let mut to = BufWriter::with_capacity(1 << 18, file);
        write_pieces(&mut to, header, state, digests)?;
        to.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()
    });
    if let Err(source) = written {
        // A half-written file is of no use; the disk may be full because of it.
        drop(files::remove_file(&unfinished));
        return at(&unfinished, Err(source));
    }
    at(path, place::rename(&unfinished, path))?;
    Ok(digests)
}

/// Writes an image to where it is sealed or sent.
///
/// # Errors
/// The writer's.
pub fn write_to(
    to: &mut impl Write,
    header: &Header,
    state: &State,
    digests: Digests,
) -> io::Result<()> {
    write_pieces(to, header, state, digests)
}

fn write_pieces(
    to: &mut impl Write,
    header: &Header,
    state: &State,
    digests: Digests,
) -> io::Result<()> {
    let mut record = 0;
    let mut put = |piece: PieceRef<'_>| {
        frame::write(to, &context(record), &encoding::encode(&piece))?;
        record += 1;
        io::Result::Ok(())
    };
    put(PieceRef::Header(header))?;
    let mut rows = 0;
    for row in state.rows() {
        put(PieceRef::Row(&row))?;
        rows += 1;
    }
    put(PieceRef::Footer(Footer { rows, digests }))
}

/// Reads the image in the file.
///
/// # Errors
/// `Damaged` or `State`, saying where and how; else the file system's.
pub fn read(path: &Path) -> Result<Image, Error> {
    let file = at(path, File::open(path))?;
    read_from(path, BufReader::with_capacity(1 << 18, file))
}

/// Reads the header of the image in the file, and nothing more.
///
/// # Errors
/// `Damaged` when it is; else the file system's.
pub fn read_header(path: &Path) -> Result<Header, Error> {
    let file = at(path, File::open(path))?;
    Pieces::new(path, BufReader::new(file)).header()
}

/// Reads an image from where it was opened; the path is for messages.
///
/// # Errors
/// As `read`.
pub fn read_from(path: &Path, from: impl Read) -> Result<Image, Error> {
    let mut pieces = Pieces::new(path, from);
    let header = pieces.header()?;
    let state = State::from_rows(&mut pieces);
    if let Some(error) = pieces.error.take() {
        return Err(error);
    }
    let state = state.map_err(|source| Error::State {
        file: path.to_owned(),
        source,
    })?;
    let Some(footer) = pieces.footer else {
        return Err(pieces.damaged("the file has no footer".to_owned()));
    };
    if footer.rows != pieces.rows {
        let why = format!("{} rows, the footer says {}", pieces.rows, footer.rows);
        return Err(pieces.damaged(why));
    }
    match frame::read(&mut pieces.from, &context(pieces.record)) {
        Ok(Next::End) => {}
        Ok(Next::Payload(_) | Next::Torn | Next::Damaged(_)) => {
            return Err(pieces.damaged("something follows the footer".to_owned()));
        }
        Err(source) => return at(path, Err(source)),
    }
    let digests = state.digests();
    if digests != footer.digests {
        let why = format!(
            "the state's digest is {}, the footer says {}",
            digests.full, footer.digests.full
        );
        return Err(pieces.damaged(why));
    }
    Ok(Image {
        header,
        state,
        digests,
    })
}

/// The records of an image. As an iterator it gives the rows and stops at the footer or an error.
struct Pieces<'a, R> {
    path: &'a Path,
    from: R,
    record: u64,
    rows: u64,
    footer: Option<Footer>,
    error: Option<Error>,
}

impl<'a, R: Read> Pieces<'a, R> {
    fn new(path: &'a Path, from: R) -> Self {
        Self {
            path,
            from,
            record: 0,
            rows: 0,
            footer: None,
            error: None,
        }
    }

    fn damaged(&self, why: String) -> Error {
        Error::Damaged {
            file: self.path.to_owned(),
            record: self.record,
            why,
        }
    }

    fn piece(&mut self) -> Result<Piece, Error> {
        let next = at(
            self.path,
            frame::read(&mut self.from, &context(self.record)),
        )?;
        let payload = match next {
            Next::Payload(payload) => payload,
            Next::End | Next::Torn => return Err(self.damaged("the file is cut short".to_owned())),
            Next::Damaged(damaged) => return Err(self.damaged(damaged.to_string())),
        };
        let piece = encoding::decode(&payload).map_err(|error| self.damaged(error.to_string()))?;
        self.record += 1;
        Ok(piece)
    }

    fn header(&mut self) -> Result<Header, Error> {
        match self.piece()? {
            Piece::Header(header) if header.format == FORMAT => Ok(header),
            Piece::Header(header) => {
                let why = format!("format {}, this binary reads {FORMAT}", header.format);
                Err(self.damaged(why))
            }
            Piece::Row(_) | Piece::Footer(_) => {
                Err(self.damaged("the file does not begin with a header".to_owned()))
            }
        }
    }
}

impl<R: Read> Iterator for &mut Pieces<'_, R> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        if self.footer.is_some() || self.error.is_some() {
            return None;
        }
        match self.piece() {
            Ok(Piece::Row(row)) => {
                self.rows += 1;
                Some(row)
            }
            Ok(Piece::Footer(footer)) => {
                self.footer = Some(footer);
                None
            }
            Ok(Piece::Header(_)) => {
                self.error = Some(self.damaged("a second header".to_owned()));
                None
            }
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }
}
