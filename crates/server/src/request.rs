//! Requests at the edge: who asks, with which token, and the key that makes a repeat harmless.
//!
//! Whether an id is too old, too new or known is judged by the line's clock, in `domain`: an edge
//! whose clock is off must not refuse what the line would take.

use std::sync::Arc;
use std::time::Duration;

use credential::keyring::Keyring;
use credential::secret::Token;
use domain::id::RequestId;
use domain::request::Key;
use domain::token::TokenId;
use prost::Message;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request};

use crate::gate::Call;
use crate::hashing::Lane;
use crate::identity::Caller;
use crate::status::{Field, Refusal};
use crate::table::Rpc;

/// The header with the reason of an operator's change, for messages without a field for it.
pub const REASON_HEADER: &str = "tidemark-reason-bin";
/// Longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = domain::session::REASON_BYTES_MAX;

const BEARER: &str = "Bearer ";

/// What is asked, and by whom.
#[derive(Debug)]
pub struct Ask<B> {
    /// Who calls.
    pub caller: Caller,
    /// What is called.
    pub rpc: Arc<Rpc>,
    /// The hash of the person's token, if the call carries one that can be read.
    pub token: Option<TokenId>,
    /// Why, if the caller says so in a header.
    pub reason: Option<String>,
    /// When the caller stops waiting, if it said so.
    pub deadline: Option<Instant>,
    /// The message.
    pub body: B,
}

impl<B> Ask<B> {
    /// Takes a request apart.
    ///
    /// # Errors
    /// `Internal` when the call did not come through the gate.
    pub fn read(request: Request<B>) -> Result<Self, Refusal> {
        let (metadata, extensions, body) = request.into_parts();
        let Call { caller, rpc } = called(&extensions)?;
        Ok(Self {
            caller,
            rpc: rpc.ok_or_else(|| Refusal::Internal("the rpc is not in the table".to_owned()))?,
            token: token(&metadata),
            reason: reason(&metadata)?,
            deadline: deadline(&metadata),
            body,
        })
    }

    /// The person's token.
    ///
    /// # Errors
    /// `TokenExpired` when the call carries none.
    pub fn token(&self) -> Result<TokenId, Refusal> {
        self.token.ok_or(Refusal::TokenExpired)
    }

    /// Where the caller's passwords wait: with those of the same person, behind its own.
    #[must_use]
    pub fn lane(&self, person: &str) -> Lane {
        Lane {
            caller: self.caller.actor().to_string(),
            person: person.to_owned(),
        }
    }

    /// The same call with what was read of its message.
    pub fn map<T>(self, body: T) -> Ask<T> {
        Ask {
            caller: self.caller,
            rpc: self.rpc,
            token: self.token,
            reason: self.reason,
            deadline: self.deadline,
            body,
        }
    }
}

impl<B: Message> Ask<B> {
    /// The key of a write: its id, and the digest of rpc, token and message. The digest is keyed,
    /// because it goes into the log and the message may hold a password.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with `MALFORMED_REQUEST_ID` when the id is no UUIDv7.
    pub fn key(&self, id: &str, keyring: &Keyring) -> Result<Key, Refusal> {
        self.key_of(id, &self.body, keyring)
    }

    /// As `key`, of a message that stands for the call's: without an approval, which is signed anew
    /// when a call is repeated.
    ///
    /// # Errors
    /// As `key`.
    pub fn key_of(&self, id: &str, body: &B, keyring: &Keyring) -> Result<Key, Refusal> {
        let malformed = || Refusal::malformed(Field::RequestId, "a UUIDv7, made for this call");
        let id: RequestId = id.parse().map_err(|_| malformed())?;
        let minted = id.minted_at().ok_or_else(malformed)?;
        let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(
            body.encoded_len() + self.rpc.path.len() + 33,
        ));
        bytes.extend_from_slice(self.rpc.path.as_bytes());
        bytes.push(0);
        // Another person's token makes another request.
        bytes.extend_from_slice(&self.token.map_or([0; 32], |token| token.0));
        bytes.extend_from_slice(&zeroize::Zeroizing::new(body.encode_to_vec()));
        // By the key of that time, so that a repeat is known for one after another key is used.
        let body = keyring.digest_at(minted, "request", &bytes).digest;
        Ok(Key { id, body })
    }
}

fn called(extensions: &Extensions) -> Result<Call, Refusal> {
    extensions
        .get::<Call>()
        .cloned()
        .ok_or_else(|| Refusal::Internal("a call came past the gate".to_owned()))
}

fn token(metadata: &MetadataMap) -> Option<TokenId> {
    let shown = metadata.get("authorization")?.to_str().ok()?;
    let token = Token::parse(shown.strip_prefix(BEARER)?).ok()?;
    Some(token.digest())
}

fn reason(metadata: &MetadataMap) -> Result<Option<String>, Refusal> {
    let malformed = || {
        let should_be = format!("UTF-8 of at most {REASON_BYTES_MAX} bytes");
        Refusal::malformed(Field::Other("reason"), &should_be)
    };
    let Some(value) = metadata.get_bin(REASON_HEADER) else {
        return Ok(None);
    };
    let bytes = value.to_bytes().map_err(|_| malformed())?;
    if bytes.len() > REASON_BYTES_MAX {
        return Err(malformed());
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
    Ok(Some(text.to_owned()))
}

/// The caller's deadline: digits and a unit, as gRPC over HTTP/2 writes it.
fn deadline(metadata: &MetadataMap) -> Option<Instant> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u32 = digits.parse().ok()?;
    let one = match unit {
        "H" => Duration::from_secs(3_600),
        "M" => Duration::from_secs(60),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return None,
    };
    Instant::now().checked_add(one.checked_mul(count)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn the_callers_deadline_is_read_in_each_unit() {
        let left = |text: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            deadline(&metadata).map(|at| at.saturating_duration_since(Instant::now()))
        };
        for (text, seconds) in [("2H", 7_200), ("3M", 180), ("30S", 30), ("30000m", 30)] {
            let left = left(text).unwrap();
            assert!(left <= Duration::from_secs(seconds), "{text}");
            assert!(left > Duration::from_secs(seconds - 1), "{text}");
        }
        for bad in ["", "S", "30", "30x", "-1S", "99999999999999S"] {
            assert!(left(bad).is_none(), "{bad}");
        }
    }
}
