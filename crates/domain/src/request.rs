//! Requests: a request that is sent again is answered again, and executed once (LINES.md,
//! "Request ids").

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::envelope::Actor;
use crate::id::RequestId;
use crate::line::LineId;
use crate::outcome::{Outcome, Rejection};
use crate::table::{Expires, Expiring, Record};
use crate::time::UnixMs;
use crate::token::TokenId;

/// Most records of one caller.
pub const RECORDS_A_CALLER_MAX: u32 = 100_000;
/// Most records on a line.
pub const RECORDS_MAX: usize = 1_000_000;
/// How far ahead of the line's clock a request's own time may be. Short, since an id that is ahead
/// of a change of lines cannot be told from one that came after it.
pub const AHEAD_MS_MAX: u64 = 5_000;

/// What a caller says of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The id, a UUIDv7.
    pub id: RequestId,
    /// The hash of the request's body as the caller sent it.
    pub body: Digest,
}

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Who sent it.
    pub caller: String,
    /// The id.
    pub id: RequestId,
    /// What was asked.
    pub method: String,
    /// The hash of its body.
    pub body: Digest,
    /// The line that it was executed on.
    pub line: LineId,
    /// What was answered; without the part that held a secret.
    pub outcome: Outcome,
    /// The token that the answer held: if the caller asks again it never saw it, and it ends.
    pub token: Option<TokenId>,
    /// Whether the answer held a secret, which is not kept.
    pub held_secret: bool,
    /// When the record goes.
    pub ends_at: UnixMs,
}

/// Caller, id, method.
type RecordKey = (String, RequestId, String);

impl Record for Answered {
    type Key = RecordKey;
    const TABLE: &'static str = "request";
    fn key(&self) -> RecordKey {
        (self.caller.clone(), self.id, self.method.clone())
    }
}

impl Expires for Answered {
    fn expires(&self) -> UnixMs {
        self.ends_at
    }
}

/// The requests that were answered lately.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    records: Expiring<Answered>,
    by_caller: OrdMap<String, u32>,
}

impl FromIterator<Answered> for Requests {
    fn from_iter<I: IntoIterator<Item = Answered>>(records: I) -> Self {
        let mut all = Self::default();
        for record in records {
            all.note(record);
        }
        all
    }
}

/// What is known of a request.
pub(crate) enum Known<'a> {
    /// It is new.
    New,
    /// It was answered so.
    Answered(&'a Answered),
    /// It may not be executed.
    Refused(Rejection),
}

/// What `Requests::look_up` judges a request by.
pub(crate) struct Asked<'a> {
    pub(crate) actor: &'a Actor,
    pub(crate) method: &'static str,
    pub(crate) key: Key,
    pub(crate) line: &'a LineId,
    /// When the line became what it is: an older id may have been sent to another line first.
    pub(crate) line_since: UnixMs,
    pub(crate) now: UnixMs,
    /// Records of requests minted before this may be gone.
    pub(crate) remembered_from: UnixMs,
}

impl Requests {
    pub(crate) fn records(&self) -> &Expiring<Answered> {
        &self.records
    }

    pub(crate) fn look_up(&self, asked: &Asked<'_>) -> Known<'_> {
        let caller = asked.actor.to_string();
        let key = (caller, asked.key.id, asked.method.to_owned());
        if let Some(record) = self.records.get(&key, asked.now) {
            return if record.body != asked.key.body {
                Known::Refused(Rejection::RequestBodyDiffers)
            } else if record.line != *asked.line {
                Known::Refused(Rejection::LineChanged)
            } else {
                Known::Answered(record)
            };
        }
        let refused = match asked.key.id.minted_at() {
            None => Some(Rejection::RequestIdMalformed),
            Some(minted) if minted <= asked.remembered_from => Some(Rejection::RequestTooOld),
            Some(minted) if minted.since(asked.now) > AHEAD_MS_MAX => {
                Some(Rejection::RequestFromTheFuture)
            }
            Some(minted) if minted < asked.line_since => Some(Rejection::LineChanged),
            Some(_) if self.records.len() >= RECORDS_MAX => Some(Rejection::TooMany),
            Some(_) => self
                .by_caller
                .get(&key.0)
                .is_some_and(|count| *count >= RECORDS_A_CALLER_MAX)
                .then_some(Rejection::TooMany),
        };
        refused.map_or(Known::New, Known::Refused)
    }

    /// Whether there is a record of the same request already.
    pub(crate) fn has(&self, answered: &Answered) -> bool {
        self.records.get(&answered.key(), UnixMs(0)).is_some()
    }

    pub(crate) fn note(&mut self, record: Answered) {
        *self.by_caller.entry(record.caller.clone()).or_insert(0) += 1;
        self.records.set(record);
    }

    pub(crate) fn remove_ended(&mut self, now: UnixMs, limit: usize) {
        for record in self.records.remove_ended(now, limit) {
            let left = self
                .by_caller
                .get(&record.caller)
                .map_or(0, |count| count.saturating_sub(1));
            if left == 0 {
                self.by_caller.remove(&record.caller);
            } else {
                self.by_caller.insert(record.caller.clone(), left);
            }
        }
    }
}
