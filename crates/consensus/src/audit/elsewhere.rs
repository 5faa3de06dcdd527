//! Rows that come from another node: those that this one missed, and another line's. None is taken
//! on trust: each step is checked against a hash that is known already.

use std::io::{self, Write};

use domain::audit::{Head, Row};

use super::segment::{self, Segment};
use super::{Error, Trail, chained};
use crate::files::File;
use crate::place;

impl Trail {
    /// Fills the end of a gap: the last of the rows must be the one before a row that is here, or
    /// before the state's head. So a gap is filled from its end to its beginning, and each step is
    /// checked against what is known already. Blocks; the rows are durable when it returns.
    ///
    /// # Errors
    /// `Foreign` when they do not fit; nothing is stored then.
    pub fn fill(&self, rows: &[Row]) -> Result<(), Error> {
        let mut inner = self.inner();
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(());
        };
        let foreign = |why| Error::Foreign {
            sequence: last.sequence,
            why,
        };
        let gaps = inner.gaps();
        let gap = gaps
            .iter()
            .find(|gap| gap.contains(&last.sequence))
            .ok_or_else(|| foreign("it is not missing"))?;
        let end = last.sequence + 1;
        let after = match inner.segments.get(&end) {
            Some(segment) => segment.previous,
            None if inner.next.sequence == end => inner.next.hash,
            None => return Err(foreign("a gap is filled from its end")),
        };
        let start = Head {
            sequence: first.sequence,
            hash: first.previous,
        };
        if chained(rows, start)?.hash != after {
            return Err(foreign("the chain goes another way"));
        }
        if first.sequence < gap.start {
            return Err(foreign("the row is here already"));
        }
        let before = inner.segments.range(..end).next_back();
        let joined = before.map_or(inner.origin, |(_, segment)| segment.head);
        if first.sequence == gap.start && !first.follows(&joined) {
            return Err(foreign("the chain comes another way"));
        }
        let path = self.path(first.sequence);
        let bytes = (|| {
            // What comes before in the chain is durable before this file says that it ended there.
            if let Some((_, before)) = before {
                File::open(&before.path)?.sync_data()?;
            }
            let bytes = segment::encode(&self.0.line, rows)?;
            let unfinished = path.with_extension("unfinished");
            let mut file = File::create(&unfinished)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            place::rename(&unfinished, &path)?;
            io::Result::Ok(bytes.len())
        })()
        .map_err(|source| Error::file(&path, source))?;
        let segment = Segment {
            path,
            first: first.sequence,
            previous: first.previous,
            head: last.head(),
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        };
        inner.segments.insert(first.sequence, segment);
        if end == inner.next.sequence {
            inner.synced = end;
            inner.open = None;
        }
        Ok(())
    }

    /// Stores rows of another line's trail, whose chain ends in `head`, as they come in order. They
    /// are durable when it returns; those stored before are not stored again. Blocks.
    ///
    /// # Errors
    /// `Foreign` when they do not follow on those before, or do not lead to `head`.
    pub fn append_copied(&self, rows: &[Row], head: &Head) -> Result<(), Error> {
        if let Some(last) = rows.last() {
            let end = last.head();
            if end.sequence > head.sequence || (end.sequence == head.sequence && end != *head) {
                return Err(Error::Foreign {
                    sequence: last.sequence,
                    why: "it does not lead to the sealed head",
                });
            }
        }
        self.append(rows)?;
        self.sync()
    }

    /// Reads the whole trail again and checks that it is one chain, without a gap, up to `head`;
    /// gives the number of rows. Blocks.
    ///
    /// # Errors
    /// `Damaged` or `Foreign`, naming the first row that is not as it should be.
    pub fn verify(&self, head: &Head) -> Result<u64, Error> {
        let origin = self.inner().origin;
        let mut at = origin;
        while at.sequence < head.sequence {
            let upto = at.sequence.saturating_add(4096).min(head.sequence);
            let rows = self.rows(at.sequence..upto, usize::MAX)?;
            if rows.is_empty() {
                return Err(Error::Foreign {
                    sequence: at.sequence,
                    why: "the row is missing",
                });
            }
            at = chained(&rows, at)?;
        }
        if at == *head {
            Ok(at.sequence.saturating_sub(origin.sequence))
        } else {
            Err(Error::Foreign {
                sequence: at.sequence.saturating_sub(1),
                why: "the chain does not end in the head",
            })
        }
    }
}
