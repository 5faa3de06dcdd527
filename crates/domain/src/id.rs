//! The identifiers. A value of one of these types is valid by existing: it was parsed at the edge.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest name that any identifier may have, in bytes.
pub const NAME_BYTES_MAX: usize = 48;

/// Why a text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{kind} must be 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' or '.', starting with a letter or digit"
)]
pub struct Malformed {
    kind: &'static str,
}

fn well_formed(text: &str) -> bool {
    let first_is_plain = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    first_is_plain
        && text.len() <= NAME_BYTES_MAX
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $fold:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "Arc<str>", into = "Arc<str>")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the text; letters are folded where the kind of name ignores case.
            ///
            /// # Errors
            /// `Malformed` when the text is empty, too long or has another character.
            pub fn parse(text: &str) -> Result<Self, Malformed> {
                if !well_formed(text) {
                    return Err(Malformed { kind: $kind });
                }
                let fold: fn(&str) -> Arc<str> = $fold;
                Ok(Self(fold(text)))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<Arc<str>> for $name {
            type Error = Malformed;
            fn try_from(text: Arc<str>) -> Result<Self, Malformed> {
                Self::parse(&text)
            }
        }

        impl From<$name> for Arc<str> {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = Malformed;
            fn from_str(text: &str) -> Result<Self, Malformed> {
                Self::parse(text)
            }
        }
    };
}

fn as_is(text: &str) -> Arc<str> {
    Arc::from(text)
}
fn upper(text: &str) -> Arc<str> {
    Arc::from(text.to_ascii_uppercase().as_str())
}
fn lower(text: &str) -> Arc<str> {
    Arc::from(text.to_ascii_lowercase().as_str())
}

name!(
    /// A firm. Case is ignored.
    ParticipantId, "a participant id", upper
);
name!(
    /// A person's user id, unique over users and delegated administrators. Case is ignored.
    AccountId, "a user id", upper
);
name!(
    /// Staff of the clearing house, known by a client certificate.
    OperatorId, "an operator id", lower
);
name!(
    /// A registered web server that logs people in.
    FrontEndId, "a front end id", lower
);
name!(
    /// A registered system that checks tokens.
    BackEndId, "a back end id", lower
);
name!(
    /// A registered program that runs approved plans alone.
    ScriptId, "a script id", lower
);
name!(
    /// An online session of the timetable (R15).
    SessionId, "a session id", as_is
);
name!(
    /// A help text with its link, as landing pages show it (R7).
    LinkId, "a link id", as_is
);
name!(
    /// A data centre.
    CentreName, "a centre name", lower
);
name!(
    /// The number printed on a smartcard: its certificate's subject serial number.
    CardNumber, "a card number", upper
);

impl AccountId {
    /// What sorts before every user id.
    pub(crate) fn first() -> Self {
        Self(Arc::from(""))
    }
}

/// A process that serves; belongs to one centre. Never used again once retired.
///
/// Ids below `PLACES` name places; a node whose disk is lost or wiped comes back under the next id
/// of its place, `PLACES` further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

/// How many places for nodes there are, the one of 0 included, which nobody has.
pub const PLACES: u64 = 1_000;

impl NodeId {
    /// The place: what certificates and configurations name.
    #[must_use]
    pub fn place(self) -> Self {
        Self(self.0 % PLACES)
    }

    /// The next node's id at the same place.
    #[must_use]
    pub fn next_life(self) -> Self {
        Self(self.0.saturating_add(PLACES))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

macro_rules! bytes16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(#[serde(with = "serde_bytes")] pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // The form of RFC 9562, which people recognise.
                for (index, byte) in self.0.iter().enumerate() {
                    if matches!(index, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Malformed;
            fn from_str(text: &str) -> Result<Self, Malformed> {
                let malformed = Malformed { kind: stringify!($name) };
                let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
                if digits.len() != 32 || !matches!(text.len(), 32 | 36) {
                    return Err(malformed);
                }
                let mut bytes = [0_u8; 16];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
                    let pair = std::str::from_utf8(pair).map_err(|_| malformed.clone())?;
                    *byte = u8::from_str_radix(pair, 16).map_err(|_| malformed.clone())?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

bytes16!(
    /// A cluster, for good: part of every peer message.
    ClusterId
);
bytes16!(
    /// A request, chosen by its caller: a UUIDv7, so that it carries its time (LINES.md).
    RequestId
);
bytes16!(
    /// A login under way.
    LoginId
);
bytes16!(
    /// An initiation, channel replacement or step-up under way.
    ProcedureId
);
bytes16!(
    /// A change request.
    ChangeRequestId
);

impl RequestId {
    /// The time that the caller wrote into the id (RFC 9562, 5.7); none if it is no UUIDv7.
    #[must_use]
    pub fn minted_at(&self) -> Option<crate::UnixMs> {
        let [a, b, c, d, e, f, version, _, variant, ..] = self.0;
        let is_v7 = version >> 4 == 7 && variant >> 6 == 0b10;
        is_v7.then(|| crate::UnixMs(u64::from_be_bytes([0, 0, a, b, c, d, e, f])))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn names_of_people_ignore_case_and_refuse_odd_characters() {
        assert_eq!(AccountId::parse("c001user1").unwrap().as_str(), "C001USER1");
        for bad in ["", "-a", "a b", "a/b", "ä", &"a".repeat(NAME_BYTES_MAX + 1)] {
            assert!(AccountId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_id_carries_its_time() {
        let id: RequestId = "0188a1f0-0000-7abc-8123-456789abcdef".parse().unwrap();
        assert_eq!(id.minted_at(), Some(crate::UnixMs(0x0188_a1f0_0000)));
        let v4: RequestId = "0188a1f0-0000-4abc-8123-456789abcdef".parse().unwrap();
        assert_eq!(v4.minted_at(), None);
        assert_eq!(id.to_string(), "0188a1f0-0000-7abc-8123-456789abcdef");
    }
}
