//! Which events a caller wants, and which of them it may read.

use std::collections::BTreeSet;

use domain::audit::{Kind, Row};
use domain::id::{AccountId, ParticipantId, SessionId};
use domain::{State, UnixMs};
use proto::audit::v1 as wired;

use super::{Source, not_allowed};
use crate::edge::Edge;
use crate::request::Ask;
use crate::rpc::account::Scope;
use crate::status::{Field, Refusal};
use crate::wire;

/// Most kinds in one filter.
const KINDS_MAX: usize = 64;

/// What is wanted, and may be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    account: Option<AccountId>,
    participant: Option<ParticipantId>,
    kinds: BTreeSet<Kind>,
    from: Option<UnixMs>,
    until: Option<UnixMs>,
    session: Option<SessionId>,
    /// The one participant that the caller may read about.
    own: Option<ParticipantId>,
}

impl Filter {
    /// Reads what is asked for, and what the caller may read: an operator everything, a delegated
    /// administrator what is about its own participant.
    pub(super) fn read<B>(
        edge: &Edge,
        ask: &Ask<B>,
        state: &State,
        source: Option<&Source>,
        asked: Option<&wired::AuditFilter>,
    ) -> Result<Self, Refusal> {
        let own = match Scope::of(ask, state, edge.now(state))? {
            Scope::All => None,
            Scope::UsersOf(_) if source == Some(&Source::Reads) => {
                return Err(not_allowed(edge, state));
            }
            Scope::UsersOf(participant) => Some(participant),
        };
        let none = wired::AuditFilter::default();
        let asked = asked.unwrap_or(&none);
        if asked.kinds.len() > KINDS_MAX {
            let should_be = format!("at most {KINDS_MAX}");
            return Err(Refusal::malformed(Field::Other("filter.kinds"), &should_be));
        }
        let participant = asked.participant.strip_prefix("participants/");
        let participant = participant.unwrap_or(&asked.participant);
        Ok(Self {
            account: optional(&asked.account, "filter.account", AccountId::parse)?,
            participant: optional(participant, "filter.participant", ParticipantId::parse)?,
            kinds: asked
                .kinds
                .iter()
                .map(|kind| read_kind(kind))
                .collect::<Result<_, _>>()?,
            from: time(asked.from_time.as_ref(), "filter.from_time")?,
            until: time(asked.until_time.as_ref(), "filter.until_time")?,
            session: optional(&asked.session, "filter.session", SessionId::parse)?,
            own,
        })
    }

    /// Whether the row is wanted, and may be read.
    pub(super) fn fits(&self, row: &Row) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
            wanted.is_none() || wanted == found
        }
        is(self.own.as_ref(), row.participant.as_ref())
            && is(self.account.as_ref(), row.account.as_ref())
            && is(self.participant.as_ref(), row.participant.as_ref())
            && is(self.session.as_ref(), row.session.as_ref())
            && (self.kinds.is_empty() || self.kinds.contains(&row.kind))
            && self.from.is_none_or(|from| row.at >= from)
            && !self.is_past(row)
    }

    /// Whether nothing that is wanted comes after the row: a trail's times never fall.
    pub(super) fn is_past(&self, row: &Row) -> bool {
        self.until.is_some_and(|until| row.at >= until)
    }

    /// The account, if it is one account that is wanted.
    pub(super) fn account(&self) -> Option<AccountId> {
        self.account.clone()
    }
}

impl std::fmt::Display for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut said = Vec::new();
        said.extend(self.account.as_ref().map(|id| format!("account={id}")));
        let firm = self.own.as_ref().or(self.participant.as_ref());
        said.extend(firm.map(|id| format!("participant={id}")));
        let kinds: Vec<_> = self.kinds.iter().map(Kind::to_string).collect();
        said.extend((!kinds.is_empty()).then(|| format!("kinds={}", kinds.join(","))));
        said.extend(self.from.map(|at| format!("from={}", at.0)));
        said.extend(self.until.map(|at| format!("until={}", at.0)));
        said.extend(self.session.as_ref().map(|id| format!("session={id}")));
        f.write_str(&said.join(" "))
    }
}

fn optional<T, E: std::fmt::Display>(
    text: &str,
    field: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, Refusal> {
    match text {
        "" => Ok(None),
        text => parse(text)
            .map(Some)
            .map_err(|wrong| Refusal::malformed(Field::Other(field), &wrong.to_string())),
    }
}

fn read_kind(name: &str) -> Result<Kind, Refusal> {
    serde_json::from_value(serde_json::Value::String(name.to_owned()))
        .map_err(|_| Refusal::malformed(Field::Other("filter.kinds"), "names of kinds of events"))
}

fn time(
    at: Option<&prost_types::Timestamp>,
    field: &'static str,
) -> Result<Option<UnixMs>, Refusal> {
    match at {
        None => Ok(None),
        Some(at) => wire::read_time(at)
            .map(Some)
            .ok_or_else(|| Refusal::malformed(Field::Other(field), "a time since 1970")),
    }
}
