//! The key file: TOML, one `[[key]]` table each. Keys are added to it and retired from it by
//! operators, never changed; what a node does with them is in `keyring`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use data_encoding::BASE64;
use serde::Deserialize;
use zeroize::{Zeroize as _, Zeroizing};

use domain::UnixMs;

use crate::Entropy;

/// Bytes of a key in the file.
pub const KEY_BYTES: usize = 32;
/// Most keys in a file.
pub const KEYS_MAX: usize = 64;
/// Most bytes of a key file.
pub const FILE_BYTES_MAX: usize = 64 * 1024;

pub use domain::keys::Purpose;

/// Why a text is no key file. Never quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The file is larger than any key file.
    #[error("the key file is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// The file is no key file. The line is not quoted, since it may hold a key.
    #[error("the key file is no list of [[key]] tables with id, created_ms, purpose and secret")]
    Form,
    /// A key is not 32 bytes of base64.
    #[error("the secret of key {id} is not {KEY_BYTES} bytes of base64")]
    Secret {
        /// Which key.
        id: u32,
    },
    /// Two keys have one id.
    #[error("key {id} is in the key file twice")]
    Twice {
        /// Which key.
        id: u32,
    },
    /// More keys than a file may hold.
    #[error("the key file holds more than {KEYS_MAX} keys: retire those that nothing uses")]
    TooMany,
    /// No key of a purpose.
    #[error("the key file holds no key for purpose \"{purpose}\"")]
    None {
        /// Which purpose.
        purpose: &'static str,
    },
}

/// A key file's text, with a new key for each purpose: what founding a cluster writes, once, and
/// gives to every node.
#[must_use]
pub fn found(created: UnixMs, entropy: &dyn Entropy) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(1024));
    text.push_str(
        "# Keys of this cluster. Whoever holds this file and a copy of the store holds\n",
    );
    text.push_str(
        "# every secret in it. The same file belongs on every node, and in no backup of\n",
    );
    text.push_str("# the store.\n");
    for (id, purpose) in [(1, Purpose::Seal), (2, Purpose::Digest)] {
        add(&mut text, id, created, purpose, entropy);
    }
    text
}

/// Adds a new key to a key file's text. It is used once `Keyring::use_key` is told to.
pub fn add(
    text: &mut Zeroizing<String>,
    id: u32,
    created: UnixMs,
    purpose: Purpose,
    entropy: &dyn Entropy,
) {
    let mut secret = Zeroizing::new([0; KEY_BYTES]);
    entropy.fill(secret.as_mut());
    let secret = Zeroizing::new(BASE64.encode(secret.as_ref()));
    // Writing to a string cannot fail.
    let _infallible = write!(
        text,
        "\n[[key]]\nid = {id}\ncreated_ms = {}\npurpose = \"{}\"\nsecret = \"{}\"\n",
        created.0,
        purpose.name(),
        *secret,
    );
}

/// Reads the rows of a key file; ids differ, and each purpose has a key.
pub(crate) fn parse(text: &str) -> Result<Vec<Row>, Malformed> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Malformed::TooLarge);
    }
    let File { key: rows } = toml::from_str(text).map_err(|_| Malformed::Form)?;
    if rows.len() > KEYS_MAX {
        return Err(Malformed::TooMany);
    }
    let mut ids = BTreeSet::new();
    for row in &rows {
        if !ids.insert(row.id) {
            return Err(Malformed::Twice { id: row.id });
        }
    }
    Ok(rows)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    key: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) id: u32,
    pub(crate) created_ms: u64,
    pub(crate) purpose: Purpose,
    secret: String,
}

impl Row {
    /// The key.
    pub(crate) fn secret(&self) -> Result<Zeroizing<[u8; KEY_BYTES]>, Malformed> {
        let malformed = Malformed::Secret { id: self.id };
        let text = self.secret.as_bytes();
        // Checked first: whatever is decoded fits in the room that there is.
        let mut bytes = Zeroizing::new([0; KEY_BYTES + 1]);
        if BASE64.decode_len(text.len()) != Ok(bytes.len()) {
            return Err(malformed);
        }
        match BASE64.decode_mut(text, bytes.as_mut()) {
            Ok(KEY_BYTES) => {}
            Ok(_) | Err(_) => return Err(malformed),
        }
        match bytes.split_first_chunk() {
            Some((key, _)) => Ok(Zeroizing::new(*key)),
            None => Err(malformed),
        }
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
mod tests {
    use super::*;
    use crate::SeededEntropy;
    use crate::keyring::Keyring;

    fn file(seed: u64) -> Zeroizing<String> {
        found(UnixMs(1_686_391_200_000), &SeededEntropy::new(seed))
    }

    fn refusal(text: &str) -> Malformed {
        Keyring::parse(text)
            .err()
            .expect("should have been refused")
    }

    #[test]
    fn what_is_no_key_file_is_refused_without_quoting_it() {
        assert_eq!(refusal(""), Malformed::None { purpose: "seal" });
        assert_eq!(refusal("secret = \"hunter2\""), Malformed::Form);
        assert_eq!(
            refusal(&file(1).replace("created_ms", "made")),
            Malformed::Form
        );
        assert_eq!(
            refusal(&file(1).replace("\"seal\"", "\"sign\"")),
            Malformed::Form
        );
        assert_eq!(
            refusal(&file(1).replace("id = 2", "id = 1")),
            Malformed::Twice { id: 1 }
        );
        assert_eq!(
            refusal(&file(1).replace("=\"", "\"")),
            Malformed::Secret { id: 1 }
        );
        assert_eq!(
            refusal(&file(1).replace("\"digest\"", "\"seal\"")),
            Malformed::None { purpose: "digest" }
        );
        assert_eq!(
            refusal(&" ".repeat(FILE_BYTES_MAX + 1)),
            Malformed::TooLarge
        );
        assert!(
            !refusal("secret = \"hunter2\"")
                .to_string()
                .contains("hunter2")
        );
    }
}
