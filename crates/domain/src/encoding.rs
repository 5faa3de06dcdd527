//! One encoding for everything that is stored, sent to peers or hashed: MessagePack with named
//! fields, so that a field can be added without moving the others. Deliberately absent: framing
//! and checksums, which belong to whoever stores the bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes are not what was expected.
#[derive(Debug, thiserror::Error)]
#[error("not a valid {what}: {source}")]
pub struct Undecodable {
    what: &'static str,
    source: rmp_serde::decode::Error,
}

/// Encodes a value; equal values give equal bytes, on every node.
///
/// Our own types hold nothing that MessagePack cannot express, so that this cannot fail; a type
/// that could would be a bug, and shows itself as the empty encoding, which never decodes.
#[must_use]
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap_or_default()
}

/// Decodes what `encode` wrote.
///
/// # Errors
/// `Undecodable`, naming the type, when the bytes are damaged or of another version.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Undecodable> {
    rmp_serde::from_slice(bytes).map_err(|source| Undecodable {
        what: std::any::type_name::<T>(),
        source,
    })
}
