//! Help texts and their links, each with the day from which landing pages show it (R7). They are
//! part of the timetable file:
//!
//! ```toml
//! [[link]]
//! id = "guide"
//! text = "Two-factor authentication: registration guide"
//! text_zh_hant = "雙重認證登記指引"       # English where there is none
//! url = "https://www.example.com/guide"
//! from = "2023-06-02"                    # that day is in it, Hong Kong time
//! portals = ["CCMS", "DMS"]              # both, if not said
//! ```
//!
//! Deliberately absent: what a link leads to. No node fetches one.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::timetable::{Fields, Presence, Problem, told};
use super::{Calendar, Day};
use crate::UnixMs;
use crate::id::LinkId;
use crate::portal::Portal;

/// Most links that a timetable may hold: all go into one answer.
pub const LINKS_MAX: usize = 32;

/// Longest address of a link, in bytes.
pub const URL_BYTES_MAX: usize = 512;

const SCHEME: &str = "https://";

/// Why a text is no address of a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an address such as https://www.example.com/guide, in ASCII, of at most {URL_BYTES_MAX} bytes"
)]
pub struct Malformed;

/// An address that a page can link to: `https` alone, and nothing in it that ends an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Arc<str>", into = "Arc<str>")]
pub struct Url(Arc<str>);

impl Url {
    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Url {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let rest = text.strip_prefix(SCHEME).ok_or(Malformed)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        let label = |label: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            !label.is_empty() && label.bytes().all(plain)
        };
        let shown =
            |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'<' | b'>' | b'\\' | b'`');
        if text.len() <= URL_BYTES_MAX
            && text.bytes().all(shown)
            && host.split('.').all(label)
            && port.is_none_or(|port| port.parse::<u16>().is_ok())
        {
            Ok(Self(Arc::from(text)))
        } else {
            Err(Malformed)
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<Arc<str>> for Url {
    type Error = Malformed;
    fn try_from(text: Arc<str>) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<Url> for Arc<str> {
    fn from(url: Url) -> Self {
        url.0
    }
}

/// One link of the landing pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Its name in the timetable.
    pub id: LinkId,
    /// What it says, in English: the canonical text (R12).
    pub text: String,
    /// The same in Traditional Chinese, if there is one.
    #[serde(default)]
    pub text_zh_hant: Option<String>,
    /// Where it leads.
    pub url: Url,
    /// The day on which it is released, from its midnight in Hong Kong (R14).
    pub from: Day,
    /// The portals whose landing pages show it.
    pub portals: BTreeSet<Portal>,
}

impl Link {
    /// Whether it may be shown at `now` (R7).
    #[must_use]
    pub fn is_released(&self, now: UnixMs) -> bool {
        self.from.start().is_some_and(|start| start <= now)
    }
}

impl Calendar {
    /// The links that `portal` shows at `now`, in the order of the file; of both portals if none
    /// is named (R7).
    pub fn links_released(
        &self,
        now: UnixMs,
        portal: Option<Portal>,
    ) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(move |link| {
            link.is_released(now) && portal.is_none_or(|portal| link.portals.contains(&portal))
        })
    }
}

/// Reads one `[[link]]`; none if anything in it is wrong.
pub(super) fn read(at: String, table: &Table, problems: &mut Vec<Problem>) -> Option<Link> {
    let mut fields = Fields::new(at, table, problems);
    let id = fields.parsed("id", Presence::Required);
    let text = told(&mut fields, "text", Presence::Required);
    let text_zh_hant = told(&mut fields, "text_zh_hant", Presence::Optional);
    let url = fields.parsed("url", Presence::Required);
    let from = fields.parsed("from", Presence::Required);
    let portals = portals(&mut fields);
    if !fields.finish() {
        return None;
    }
    Some(Link {
        id: id?,
        text: text?,
        text_zh_hant,
        url: url?,
        from: from?,
        portals,
    })
}

fn portals(fields: &mut Fields<'_, '_>) -> BTreeSet<Portal> {
    let both = BTreeSet::from([Portal::Ccms, Portal::Dms]);
    let Some(value) = fields.value("portals", Presence::Optional) else {
        return both;
    };
    let listed = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let named: Option<BTreeSet<Portal>> = listed
        .iter()
        .map(|name| {
            let named = |portal: &Portal| name.as_str() == Some(&portal.to_string());
            both.iter().copied().find(named)
        })
        .collect();
    let named = named.unwrap_or_default();
    if named.is_empty() {
        fields.wrong("portals", "must list \"CCMS\", \"DMS\" or both");
    }
    named
}

/// The link as the file that would set it.
pub(super) fn written(link: &Link) -> Value {
    let mut table = Table::new();
    let mut set = |name: &str, text: String| table.insert(name.to_owned(), Value::String(text));
    set("id", link.id.to_string());
    set("text", link.text.clone());
    if let Some(text) = &link.text_zh_hant {
        set("text_zh_hant", text.clone());
    }
    set("url", link.url.to_string());
    set("from", link.from.to_string());
    let portals = link
        .portals
        .iter()
        .map(|portal| Value::from(portal.to_string()));
    table.insert("portals".to_owned(), portals.collect::<Vec<_>>().into());
    Value::Table(table)
}
