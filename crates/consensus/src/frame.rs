//! The frame around every record on disk: `[version][crc32c][payload]`.
//!
//! The checksum covers the record's context (its key or kind) before the payload, so that a record
//! found in the wrong place is as damaged as one with a flipped bit. In files, where no key gives
//! the length, the frame has its length before it.

use std::io::{self, Read, Write};

/// The only version of the frame so far.
pub const VERSION: u8 = 1;
/// Bytes of a frame before its payload.
pub const HEAD_BYTES: usize = 5;
/// The largest frame that a file may hold: a bound on what a damaged length makes us allocate.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// Why a frame is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// Fewer bytes than a frame has.
    #[error("record of {0} bytes is cut short")]
    Short(usize),
    /// A version that this binary does not know.
    #[error("record has version {0}, this binary reads version {VERSION}")]
    Version(u8),
    /// The bytes changed, or belong somewhere else.
    #[error("checksum is {found:08x}, the record says {expected:08x}")]
    Checksum {
        /// What the record says.
        expected: u32,
        /// What its bytes give.
        found: u32,
    },
    /// A length that no record has.
    #[error("record claims {0} bytes, the most is {FRAME_BYTES_MAX}")]
    Length(usize),
}

fn checksum(context: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(context), payload)
}

/// Frames the payload.
#[must_use]
pub fn seal(context: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(HEAD_BYTES + payload.len());
    framed.push(VERSION);
    framed.extend_from_slice(&checksum(context, payload).to_le_bytes());
    framed.extend_from_slice(payload);
    framed
}

/// Checks the frame and gives its payload.
///
/// # Errors
/// `Damaged`, saying how.
pub fn open<'a>(context: &[u8], framed: &'a [u8]) -> Result<&'a [u8], Damaged> {
    let short = Damaged::Short(framed.len());
    let (version, rest) = framed.split_first().ok_or(short.clone())?;
    let (crc, payload) = rest.split_first_chunk::<4>().ok_or(short)?;
    if *version != VERSION {
        return Err(Damaged::Version(*version));
    }
    let expected = u32::from_le_bytes(*crc);
    let found = checksum(context, payload);
    if expected != found {
        return Err(Damaged::Checksum { expected, found });
    }
    Ok(payload)
}

/// Writes the framed payload with its length before it; gives the bytes written.
///
/// # Errors
/// The file's.
pub fn write(to: &mut impl Write, context: &[u8], payload: &[u8]) -> io::Result<u64> {
    let framed = seal(context, payload);
    let length = u32::try_from(framed.len())
        .ok()
        .filter(|_| framed.len() <= FRAME_BYTES_MAX)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                Damaged::Length(framed.len()).to_string(),
            )
        })?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&framed)?;
    Ok(u64::from(length) + 4)
}

/// What reading a frame from a file found.
#[derive(Debug)]
pub enum Next {
    /// A whole, undamaged payload.
    Payload(Vec<u8>),
    /// The end of the file, between two records.
    End,
    /// The file ends within the record: it was being written.
    Torn,
    /// The record is whole but not what was written.
    Damaged(Damaged),
}

/// Reads the next framed payload.
///
/// # Errors
/// The file's; a damaged record is no error here, since callers know where they are.
pub fn read(from: &mut impl Read, context: &[u8]) -> io::Result<Next> {
    let mut length = [0_u8; 4];
    match fill(from, &mut length)? {
        0 => return Ok(Next::End),
        4 => {}
        _ => return Ok(Next::Torn),
    }
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Ok(Next::Damaged(Damaged::Length(length)));
    }
    let mut framed = vec![0_u8; length];
    if fill(from, &mut framed)? < length {
        return Ok(Next::Torn);
    }
    Ok(match open(context, &framed) {
        Ok(payload) => Next::Payload(payload.to_vec()),
        Err(damaged) => Next::Damaged(damaged),
    })
}

/// Reads until the buffer is full or the file ends.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_has_golden_bytes() {
        assert_eq!(
            seal(b"kind", b"payload"),
            [
                1, 0xdc, 0x60, 0x22, 0x15, b'p', b'a', b'y', b'l', b'o', b'a', b'd'
            ]
        );
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let framed = seal(b"kind", b"payload");
        assert_eq!(open(b"kind", &framed).unwrap(), b"payload");
        for bit in 0..framed.len() * 8 {
            let mut damaged = framed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(b"kind", &damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_misplaced_record_is_damaged() {
        let framed = seal(b"here", b"payload");
        assert!(matches!(
            open(b"there", &framed),
            Err(Damaged::Checksum { .. })
        ));
    }

    #[test]
    fn a_file_ends_between_records_or_is_torn() {
        let mut file = Vec::new();
        write(&mut file, b"k", b"one").unwrap();
        let whole = file.len();
        write(&mut file, b"k", b"two").unwrap();
        for cut in whole + 1..file.len() {
            let mut from = &file[..cut];
            assert!(matches!(read(&mut from, b"k").unwrap(), Next::Payload(p) if p == b"one"));
            assert!(matches!(read(&mut from, b"k").unwrap(), Next::Torn));
        }
        let mut from = &file[..whole];
        let _one = read(&mut from, b"k").unwrap();
        assert!(matches!(read(&mut from, b"k").unwrap(), Next::End));
    }
}
