//! A list of passwords that were stolen elsewhere (S18), as a file of SHA-1 hashes: one a line in
//! hexadecimal, sorted, each with `:count` behind it or without, as the Pwned Passwords download
//! is. It has many gigabytes, so that it is searched where it lies, in some forty short reads.
//!
//! Deliberately absent: the passwords of the service. SHA-1 is what such lists are made of, and
//! nothing is kept under it here.

use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ring::digest;
use zeroize::Zeroize;

use crate::secret::Password;

/// Bytes of a hash.
const HASH_BYTES: usize = 20;
/// Hexadecimal digits of one.
const HASH_DIGITS: usize = 2 * HASH_BYTES;
/// Longest line: a hash, a colon, a count, an end of line.
const LINE_BYTES_MAX: usize = HASH_DIGITS + 1 + 20 + 2;
/// Lines that are looked at when the file is opened.
const SAMPLES: u64 = 1_024;
/// Group's and others' right to write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read the breached passwords in {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no file, or an empty one.
    #[error("{path} is no file with breached passwords: it is empty, or a folder")]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// Others could take a password off the list.
    #[error("{path} can be written by others than its owner: chmod go-w {path}")]
    Writable {
        /// Which file.
        path: PathBuf,
    },
    /// A line is not as it should be.
    #[error(
        "{path}, byte {offset}: a line should be a SHA-1 hash in hexadecimal, alone or before :count"
    )]
    Form {
        /// Which file.
        path: PathBuf,
        /// Where the line begins.
        offset: u64,
    },
    /// Nothing can be found in it.
    #[error("{path}, byte {offset}: the lines must be sorted by hash, each once")]
    Unsorted {
        /// Which file.
        path: PathBuf,
        /// Where a line begins that should come earlier.
        offset: u64,
    },
}

/// The SHA-1 of a password, to look for. Wiped when dropped: it can be guessed from.
pub struct Wanted([u8; HASH_BYTES]);

impl Wanted {
    /// The hash of the password as it is normalised (NFKC, S16).
    #[must_use]
    pub fn of(password: &Password) -> Self {
        let bytes = password.text().as_bytes();
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
        let mut wanted = [0; HASH_BYTES];
        for (to, from) in wanted.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        Self(wanted)
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A line of the file.
struct Line {
    begins: u64,
    ends: u64,
    hash: [u8; HASH_BYTES],
}

/// A list.
#[derive(Debug)]
pub struct Breached {
    file: File,
    bytes: u64,
    path: PathBuf,
}

impl Breached {
    /// Opens a list, and looks at some lines of it: that they are hashes, and sorted. Blocks.
    ///
    /// # Errors
    /// [`Error`], with file and place.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        let path = path.to_owned();
        if !about.is_file() || about.len() == 0 {
            return Err(Error::Empty { path });
        }
        if about.permissions().mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(Error::Writable { path });
        }
        let list = Self {
            file,
            bytes: about.len(),
            path,
        };
        list.look_through()?;
        Ok(list)
    }

    /// Whether the password is on the list. Blocks for some forty reads.
    ///
    /// # Errors
    /// [`Error`] when the file cannot be read any more, or is another than it was.
    pub fn holds(&self, wanted: &Wanted) -> Result<bool, Error> {
        // What is looked for begins at `from` or after it, and before `to`.
        let (mut from, mut to) = (0, self.bytes);
        while from < to {
            let middle = from + (to - from) / 2;
            let Some(line) = self.line_from(middle)?.filter(|line| line.begins < to) else {
                to = middle;
                continue;
            };
            match line.hash.cmp(&wanted.0) {
                Ordering::Equal => return Ok(true),
                Ordering::Less => from = line.ends,
                Ordering::Greater => to = middle,
            }
        }
        Ok(false)
    }

    /// Lines at even distances, the first and the last among them.
    fn look_through(&self) -> Result<(), Error> {
        let mut last: Option<Line> = None;
        let step = (self.bytes / SAMPLES).max(1);
        let mut at = 0;
        while at < self.bytes {
            let Some(line) = self.line_from(at)? else {
                break;
            };
            if last.as_ref().is_some_and(|last| last.hash >= line.hash) {
                return Err(Error::Unsorted {
                    path: self.path.clone(),
                    offset: line.begins,
                });
            }
            at = line.ends.max(at.saturating_add(step));
            last = Some(line);
        }
        Ok(())
    }

    /// The first line that begins at `offset` or after it.
    fn line_from(&self, offset: u64) -> Result<Option<Line>, Error> {
        let begins = match offset.checked_sub(1) {
            None => 0,
            // What stands before may be the end of the line before.
            Some(before) => {
                let read = self.read(before)?;
                match read.iter().position(|byte| *byte == b'\n') {
                    Some(end) => before.saturating_add(end as u64).saturating_add(1),
                    None if read.len() < LINE_BYTES_MAX => return Ok(None),
                    None => return Err(self.malformed(before)),
                }
            }
        };
        if begins >= self.bytes {
            return Ok(None);
        }
        let read = self.read(begins)?;
        let end = read.iter().position(|byte| *byte == b'\n');
        let text = end.map_or(Some(read.as_slice()), |end| read.get(..end));
        let hash = text
            .and_then(hash_of)
            .ok_or_else(|| self.malformed(begins))?;
        let length = end.map_or(read.len(), |end| end.saturating_add(1));
        Ok(Some(Line {
            begins,
            ends: begins.saturating_add(length as u64),
            hash,
        }))
    }

    fn malformed(&self, offset: u64) -> Error {
        Error::Form {
            path: self.path.clone(),
            offset,
        }
    }

    /// As much as a line has, from here on; less at the end of the file.
    fn read(&self, offset: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; LINE_BYTES_MAX];
        let mut length = 0;
        while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(length as u64);
            match self.file.read_at(rest, at) {
                Ok(0) => break,
                Ok(read) => length = length.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(Error::Read {
                        path: self.path.clone(),
                        source,
                    });
                }
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// The hash at the start of a line, if the rest is as it should be.
fn hash_of(line: &[u8]) -> Option<[u8; HASH_BYTES]> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (digits, rest) = line.split_at_checked(HASH_DIGITS)?;
    let count = match rest.split_first() {
        None => None,
        Some((b':', count)) => Some(count),
        Some(_) => return None,
    };
    if count.is_some_and(|count| count.is_empty() || !count.iter().all(u8::is_ascii_digit)) {
        return None;
    }
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(digits).ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
mod tests {
    use std::fmt::Write as _;
    use std::fs::Permissions;

    use super::*;

    fn password(text: &str) -> Password {
        Password::parse(text).ok().unwrap()
    }

    fn hex(text: &str) -> String {
        data_encoding::HEXUPPER.encode(&Wanted::of(&password(text)).0)
    }

    /// A file of its own, which only its owner can write.
    fn written(name: &str, text: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("tidemark-breached-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        path
    }

    fn list(hashes: &[String], end: &str) -> String {
        let mut sorted = hashes.to_vec();
        sorted.sort();
        sorted.iter().fold(String::new(), |mut text, hash| {
            write!(text, "{hash}{end}").unwrap();
            text
        })
    }

    #[test]
    fn s18_every_password_on_the_list_is_found_and_no_other() {
        let hashes: Vec<String> = (0..3_000).map(|n| hex(&format!("stolen-{n}"))).collect();
        for (name, end) in [
            ("plain", "\n"),
            ("counted", ":17\r\n"),
            ("long", ":12345678901\n"),
        ] {
            let opened = Breached::open(&written(name, &list(&hashes, end))).unwrap();
            for n in 0..3_000 {
                let stolen = Wanted::of(&password(&format!("stolen-{n}")));
                assert!(opened.holds(&stolen).unwrap(), "{name} {n}");
                let own = Wanted::of(&password(&format!("own-{n}")));
                assert!(!opened.holds(&own).unwrap(), "{name} {n}");
            }
        }
    }

    #[test]
    fn s18_lines_of_any_length_and_a_last_one_without_an_end_are_found() {
        for count in 1..40 {
            let ends = ["", ":1", ":123456789"];
            let hashes: Vec<String> = (0..count)
                .map(|n| format!("{}{}", hex(&format!("p{n}")), ends[n % 3]))
                .collect();
            let text = list(&hashes, "\n");
            let opened = Breached::open(&written("some", text.trim_end())).unwrap();
            for n in 0..count {
                let stolen = Wanted::of(&password(&format!("p{n}")));
                assert!(opened.holds(&stolen).unwrap(), "{n} of {count}");
            }
            assert!(!opened.holds(&Wanted::of(&password("q"))).unwrap());
        }
    }

    #[test]
    fn s18_a_list_is_searched_for_the_normalised_password() {
        // The SHA-1 of `password`, as the download has it.
        let text = "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:9545824\n";
        let opened = Breached::open(&written("one", text)).unwrap();
        for typed in ["password", "ｐａｓｓｗｏｒｄ"] {
            assert!(
                opened.holds(&Wanted::of(&password(typed))).unwrap(),
                "{typed}"
            );
        }
        assert!(!opened.holds(&Wanted::of(&password("Password"))).unwrap());
    }

    #[test]
    fn a_list_that_cannot_be_searched_is_refused_with_the_place() {
        let hashes: Vec<String> = (0..100).map(|n| hex(&format!("{n}"))).collect();
        let sorted = list(&hashes, "\n");
        let backwards: Vec<&str> = sorted.lines().rev().collect();
        for (name, text, told) in [
            ("empty", String::new(), "is empty"),
            (
                "words",
                "password\n123456\n".to_owned(),
                "byte 0: a line should be",
            ),
            (
                "md5",
                format!("{}\n", &hashes[0][..32]),
                "byte 0: a line should be",
            ),
            (
                "count",
                format!("{}:many\n", hashes[0]),
                "byte 0: a line should be",
            ),
            (
                "twice",
                format!("{0}\n{0}\n", hashes[0]),
                "byte 41: the lines must be sorted",
            ),
            (
                "backwards",
                backwards.join("\n"),
                "byte 41: the lines must be sorted",
            ),
        ] {
            let refused = Breached::open(&written(name, &text))
                .unwrap_err()
                .to_string();
            assert!(refused.contains(told), "{name}: {refused}");
        }
        let path = written("open", &sorted);
        std::fs::set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
        let refused = Breached::open(&path).unwrap_err();
        assert!(matches!(refused, Error::Writable { .. }), "{refused}");
        let refused = Breached::open(Path::new("/nowhere/list")).unwrap_err();
        assert!(matches!(refused, Error::Read { .. }), "{refused}");
    }

    #[test]
    fn a_list_that_was_cut_off_while_in_use_is_an_error_and_not_an_absence() {
        let hashes: Vec<String> = (0..100).map(|n| hex(&format!("{n}"))).collect();
        let path = written("cut", &list(&hashes, "\n"));
        let opened = Breached::open(&path).unwrap();
        std::fs::write(&path, "no hash at all\n".repeat(400)).unwrap();
        assert!(opened.holds(&Wanted::of(&password("7"))).is_err());
    }
}
