//! Signed checkpoints: at a set interval each node signs the end of each trail that grows here,
//! and keeps what it signed in a file beside the trail. Rows that are changed afterwards fit no
//! signature, and a trail that was cut is shorter than what was signed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use consensus::{Line, place};
use credential::checkpoint::{Checkpoint, Claim, Seen, Trail};
use credential::export::{self, Reader, Record};
use domain::audit::{Head, Row};

use crate::edge::Edge;

/// So many new records are signed at once.
pub const ROWS_MAX: u64 = 1_000;
/// New records are signed after this time, however few they are.
pub const INTERVAL: Duration = Duration::from_secs(60);
/// How often a node looks whether something is to be signed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether the end of a trail is to be signed, so long after the last signature.
fn due(signed: Option<u64>, sequence: u64, since: Duration) -> bool {
    match signed {
        None => sequence > 0,
        Some(signed) if sequence <= signed => false,
        Some(signed) => sequence.saturating_sub(signed) >= ROWS_MAX || since >= INTERVAL,
    }
}

/// Whether the record before what was signed is the one that is there now. A line that begins with
/// another one's end may have been signed before its own first record, which follows that end.
fn fits(signed: &Head, row: Option<&Row>) -> bool {
    row.is_some_and(|row| row.head() == *signed || row.follows(signed))
}

/// What was signed of the trail in a folder, oldest first.
///
/// # Errors
/// When the file cannot be read, or is none of checkpoints. One that is half written is left out.
pub async fn read(folder: PathBuf) -> io::Result<Vec<Checkpoint>> {
    let read = tokio::task::spawn_blocking(move || load(&folder));
    Ok(read.await.map_err(io::Error::other)??.0)
}

/// The checkpoints, and how long the file is up to the last whole one.
fn load(folder: &Path) -> io::Result<(Vec<Checkpoint>, u64)> {
    let mut bytes = Vec::new();
    match File::open(place::checkpoints(folder)) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(error),
    };
    let mut reader = Reader::default();
    let damaged = |why: String| {
        let path = place::checkpoints(folder);
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: {why}", path.display()),
        )
    };
    let records = reader
        .take(&bytes)
        .map_err(|fault| damaged(fault.to_string()))?;
    let checkpoints = records
        .into_iter()
        .map(|record| match record {
            Record::Checkpoint(checkpoint) => Ok(*checkpoint),
            Record::Row(_) => Err(damaged("it holds a record of another kind".to_owned())),
        })
        .collect::<io::Result<_>>()?;
    Ok((checkpoints, reader.bytes()))
}

/// Adds a checkpoint after `length` bytes, durably; the length afterwards.
fn add(folder: &Path, length: u64, checkpoint: &Checkpoint) -> io::Result<u64> {
    let path = place::checkpoints(folder);
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    // What a power cut left of another one goes.
    file.set_len(length)?;
    let mut bytes = match length {
        0 => export::BEGINNING.to_vec(),
        _ => Vec::new(),
    };
    bytes.extend_from_slice(&export::checkpoint(checkpoint));
    file.write_all(&bytes)?;
    file.sync_all()?;
    if length == 0 {
        place::sync_folder(folder)?;
    }
    Ok(length + u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

/// What is known of a trail's file.
struct Book {
    length: u64,
    signed: Option<Head>,
    at: Instant,
}

impl Book {
    fn open(folder: &Path) -> io::Result<Self> {
        let (checkpoints, length) = load(folder)?;
        Ok(Self {
            length,
            signed: checkpoints.last().map(|last| last.seen.head),
            at: Instant::now(),
        })
    }
}

/// Signs what is to be signed, until the node stops.
pub(crate) async fn keep(edge: Edge) {
    let mut books = BTreeMap::new();
    let mut stopping = edge.parts().stopping.clone();
    loop {
        let node = edge.node();
        for line in std::iter::once(node.main()).chain(node.branch()) {
            if let Err(error) = of_line(&edge, &mut books, &line).await {
                tracing::warn!(line = %line.reference().line, %error, "no checkpoint was signed");
            }
        }
        if let Err(error) = of_reads(&edge, &mut books).await {
            tracing::warn!(%error, "no checkpoint of the reads was signed");
        }
        let stopped = stopping.wait_for(|stop| *stop);
        // The sender is gone only when the node is.
        if tokio::time::timeout(LOOK_EVERY, stopped).await.is_ok() {
            return;
        }
    }
}

type Books = BTreeMap<PathBuf, Book>;

async fn book(books: &mut Books, folder: &Path) -> io::Result<()> {
    if !books.contains_key(folder) {
        let path = folder.to_owned();
        let book = tokio::task::spawn_blocking(move || Book::open(&path))
            .await
            .map_err(io::Error::other)??;
        books.insert(folder.to_owned(), book);
    }
    Ok(())
}

async fn of_line(edge: &Edge, books: &mut Books, line: &Line) -> io::Result<()> {
    let reference = line.reference();
    let folder = place::audit(edge.node().data(), &reference);
    if !folder.is_dir() {
        return Ok(());
    }
    let sequence = line.state().header().audit.sequence;
    if !is_due(books, &folder, sequence).await? {
        return Ok(());
    }
    let head = edge.node().durable_audit(&reference).await;
    let head = head.map_err(io::Error::other)?;
    if let Some(signed) = books.get(&folder).and_then(|book| book.signed) {
        let at = signed.sequence.saturating_sub(1);
        let rows = edge.node().audit_rows(&reference, at, 1).await;
        let rows = rows.map_err(io::Error::other)?;
        if !fits(&signed, rows.first()) {
            return Err(io::Error::other(
                "the audit trail is not the one that was signed: keep the data folder as it is",
            ));
        }
    }
    sign(edge, books, &folder, Trail::Line(reference), head).await
}

async fn of_reads(edge: &Edge, books: &mut Books) -> io::Result<()> {
    let reads = edge.parts().reads.clone();
    let folder = place::reads(edge.node().data());
    let syncing = reads.clone();
    tokio::task::spawn_blocking(move || syncing.sync())
        .await
        .map_err(io::Error::other)??;
    let head = reads.head();
    if !is_due(books, &folder, head.sequence).await? {
        return Ok(());
    }
    sign(edge, books, &folder, reads.trail(), head).await
}

async fn is_due(books: &mut Books, folder: &Path, sequence: u64) -> io::Result<bool> {
    book(books, folder).await?;
    Ok(books.get(folder).is_some_and(|book| {
        let signed = book.signed.map(|head| head.sequence);
        due(signed, sequence, book.at.elapsed())
    }))
}

async fn sign(
    edge: &Edge,
    books: &mut Books,
    folder: &Path,
    trail: Trail,
    head: Head,
) -> io::Result<()> {
    let Some(book) = books.get_mut(folder) else {
        return Ok(());
    };
    let seen = Seen {
        trail,
        head,
        at: edge.now(&edge.node().main().state()),
        claim: Claim::End,
    };
    let signed = edge.keyring().sign_checkpoint(seen);
    let signed = signed.ok_or_else(|| io::Error::other("no key signs checkpoints"))?;
    let (path, length) = (folder.to_owned(), book.length);
    let added = tokio::task::spawn_blocking(move || add(&path, length, &signed));
    book.length = added.await.map_err(io::Error::other)??;
    book.signed = Some(head);
    book.at = Instant::now();
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use credential::keyring::Keyring;
    use credential::{SeededEntropy, key_file};
    use domain::audit::{Kind, Verdict};
    use domain::{ClusterId, Digest, LogId, NodeId, UnixMs};

    use super::*;

    #[test]
    fn a_trail_is_signed_after_so_many_records_or_so_long() {
        let (short, long) = (Duration::ZERO, INTERVAL);
        assert!(!due(None, 0, long));
        assert!(due(None, 1, short));
        assert!(!due(Some(5), 5, long));
        assert!(!due(Some(5), 6, short));
        assert!(due(Some(5), 6, long));
        assert!(!due(Some(5), 4 + ROWS_MAX, short));
        assert!(due(Some(5), 5 + ROWS_MAX, short));
    }

    #[test]
    fn what_was_signed_before_a_line_s_first_record_fits_that_one_and_no_other() {
        let end = Head {
            sequence: 7,
            hash: Digest([1; 32]),
        };
        let row = Row {
            sequence: end.sequence,
            previous: end.hash,
            log: LogId::default(),
            at: UnixMs(0),
            session: None,
            kind: Kind::SwitchDone,
            verdict: Verdict::Done,
            actor: String::new(),
            by: String::new(),
            account: None,
            participant: None,
            class: None,
            portal: None,
            method: None,
            repeat: None,
            detail: None,
            approval: None,
            approved: None,
        };
        assert!(fits(&end, Some(&row)), "it is the first one");
        assert!(fits(&row.head(), Some(&row)));
        assert!(!fits(&end, None));
        let altered = Row {
            actor: "operator/mallory".to_owned(),
            ..row.clone()
        };
        assert!(!fits(&row.head(), Some(&altered)));
        let elsewhere = Row {
            previous: Digest([2; 32]),
            ..row
        };
        assert!(!fits(&end, Some(&elsewhere)));
    }

    #[test]
    fn what_a_power_cut_left_of_a_checkpoint_is_written_over() {
        let file = key_file::found(UnixMs(0), &SeededEntropy::new(1));
        let keyring = Keyring::parse(&file).ok().unwrap();
        let signed = |sequence| {
            let seen = Seen {
                trail: Trail::Reads {
                    cluster: ClusterId([7; 16]),
                    node: NodeId(1),
                },
                head: Head {
                    sequence,
                    hash: Digest([1; 32]),
                },
                at: UnixMs(sequence),
                claim: Claim::End,
            };
            keyring.sign_checkpoint(seen).unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let first = add(folder.path(), 0, &signed(1)).unwrap();
        let second = add(folder.path(), first, &signed(2)).unwrap();
        let path = place::checkpoints(folder.path());
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(second - 3).unwrap();
        let (found, length) = load(folder.path()).unwrap();
        assert_eq!((found, length), (vec![signed(1)], first));
        add(folder.path(), length, &signed(3)).unwrap();
        assert_eq!(load(folder.path()).unwrap().0, [signed(1), signed(3)]);
        std::fs::write(&path, b"something else").unwrap();
        assert!(load(folder.path()).is_err());
    }
}
