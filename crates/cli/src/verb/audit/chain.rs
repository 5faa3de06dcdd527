//! A trail's chain, checked row by row: whole, in order, and with the head that it should have.

use domain::audit::{Head, Row};
use domain::{Digest, LogId, UnixMs};

/// Bytes of a row's length, before it.
const LENGTH_BYTES: usize = 4;
/// Most bytes of a row.
const ROW_BYTES_MAX: usize = 1024 * 1024;

/// A trail as it is read: each row follows on the one before.
#[derive(Debug, Default)]
pub(super) struct Chain {
    pending: Vec<u8>,
    last: Option<Last>,
    first: u64,
    rows: u64,
}

#[derive(Debug)]
struct Last {
    head: Head,
    log: LogId,
    at: UnixMs,
}

/// What a whole trail was found to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// Its rows.
    pub(super) rows: u64,
    /// The sequence number of its first row: 0, but for a branch.
    pub(super) first: u64,
    /// The hash of its last row; none without rows.
    pub(super) head: Option<Digest>,
}

impl Whole {
    pub(super) fn head(&self) -> String {
        self.head.map(|head| head.to_string()).unwrap_or_default()
    }
}

impl Chain {
    /// Takes a part of the trail; its rows may begin and end anywhere.
    pub(super) fn take(&mut self, part: &[u8]) -> Result<(), String> {
        self.pending.extend_from_slice(part);
        let mut used = 0;
        while let Some((length, rest)) = self
            .pending
            .get(used..)
            .and_then(|left| left.split_first_chunk::<LENGTH_BYTES>())
        {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if length > ROW_BYTES_MAX {
                return Err(format!("row {} has {length} bytes", self.rows + 1));
            }
            let Some(row) = rest.get(..length) else {
                break;
            };
            let row: Row = domain::encoding::decode(row)
                .map_err(|error| format!("row {} cannot be read: {error}", self.rows + 1))?;
            used += LENGTH_BYTES + length;
            self.follow(&row)?;
        }
        self.pending.drain(..used);
        Ok(())
    }

    fn follow(&mut self, row: &Row) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("row {}: {what}", row.sequence));
        match &self.last {
            Some(last) if !row.follows(&last.head) => {
                return wrong("it does not follow on the one before it: the chain is broken");
            }
            Some(last) if row.log < last.log => {
                return wrong("it is of an earlier entry than the one before it");
            }
            Some(last) if row.at < last.at => {
                return wrong("its time is before that of the one before it");
            }
            Some(_) => {}
            // A main line's trail begins with nothing before it.
            None if row.sequence == 0 && !row.follows(&Head::default()) => {
                return wrong("it is the first and names one before it");
            }
            // A branch's own trail begins where it left the main line's.
            None => self.first = row.sequence,
        }
        self.last = Some(Last {
            head: row.head(),
            log: row.log,
            at: row.at,
        });
        self.rows += 1;
        Ok(())
    }

    pub(super) fn end(self) -> Result<Whole, String> {
        if !self.pending.is_empty() {
            return Err("the trail is cut short".to_owned());
        }
        Ok(Whole {
            rows: self.rows,
            first: self.first,
            head: self.last.map(|last| last.head.hash),
        })
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
mod tests {
    use domain::audit::{Kind, Verdict};

    use super::*;

    fn trail(count: u64) -> Vec<Row> {
        let mut head = Head::default();
        (0..count)
            .map(|sequence| {
                let row = Row {
                    sequence,
                    previous: head.hash,
                    log: LogId::default(),
                    at: UnixMs(sequence),
                    session: None,
                    kind: Kind::LoggedOut,
                    verdict: Verdict::Done,
                    actor: "front-end/web-1".to_owned(),
                    by: "C1".to_owned(),
                    account: None,
                    participant: None,
                    class: None,
                    portal: None,
                    method: None,
                    repeat: None,
                    detail: None,
                };
                head = row.head();
                row
            })
            .collect()
    }

    fn bytes(rows: &[Row]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for row in rows {
            let row = domain::encoding::encode(row);
            bytes.extend_from_slice(&u32::try_from(row.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(&row);
        }
        bytes
    }

    #[test]
    fn a_whole_trail_is_verified_however_it_is_cut_into_parts() {
        let rows = trail(20);
        for part in [1, 7, 1_000_000] {
            let mut chain = Chain::default();
            for part in bytes(&rows).chunks(part) {
                chain.take(part).unwrap();
            }
            let whole = chain.end().unwrap();
            assert_eq!((whole.rows, whole.first), (20, 0));
            assert_eq!(whole.head, Some(rows[19].hash()));
        }
    }

    #[test]
    fn a_changed_missing_or_cut_row_is_found() {
        let mut changed = trail(5);
        changed[2].by = "C2".to_owned();
        assert!(Chain::default().take(&bytes(&changed)).is_err());
        let mut missing = trail(5);
        missing.remove(2);
        assert!(Chain::default().take(&bytes(&missing)).is_err());
        let whole = bytes(&trail(5));
        let mut cut = Chain::default();
        cut.take(&whole[..whole.len() - 1]).unwrap();
        assert!(cut.end().is_err());
    }

    #[test]
    fn rows_out_of_the_order_of_time_or_log_are_found() {
        let mut rows = trail(3);
        rows[2].at = UnixMs(0);
        let refused = Chain::default().take(&bytes(&rows)).unwrap_err();
        assert!(refused.contains("time"), "{refused}");
        let mut rows = trail(2);
        rows[0].log.index = 7;
        rows[1].previous = rows[0].hash();
        let refused = Chain::default().take(&bytes(&rows)).unwrap_err();
        assert!(refused.contains("earlier entry"), "{refused}");
    }

    #[test]
    fn a_trail_that_begins_with_a_forged_past_is_found() {
        let mut rows = trail(1);
        rows[0].previous = Digest([1; 32]);
        assert!(Chain::default().take(&bytes(&rows)).is_err());
    }

    #[test]
    fn a_branchs_trail_begins_where_it_left_the_main_line() {
        let rows = trail(5).split_off(2);
        let mut chain = Chain::default();
        chain.take(&bytes(&rows)).unwrap();
        let whole = chain.end().unwrap();
        assert_eq!((whole.rows, whole.first), (3, 2));
    }
}
