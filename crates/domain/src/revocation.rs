//! The revocation list of smartcards as the main line holds it (S36): number, times and serial
//! numbers. Its signature was checked at the edge, against the configured anchors.
//!
//! Deliberately absent: which card has which serial number. That is in the certificate which a
//! card shows, and the edge looks it up on this list.

use serde::{Deserialize, Serialize};

use crate::apply::{Context, Effect};
use crate::audit::{Event, Kind};
use crate::envelope::Actor;
use crate::factor::{Card, CardProof};
use crate::outcome::{Answer, Rejection};
use crate::state::{Held, State};
use crate::time::UnixMs;

/// Most certificates on a list.
pub const REVOKED_MAX: usize = 20_000;
/// Most bytes of a certificate's serial number (RFC 5280 §4.1.2.2 allows 20).
pub const SERIAL_BYTES_MAX: usize = 32;

/// A certificate's serial number, big endian, without leading zeros.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Serial(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// A list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Its number: a greater one is newer.
    pub number: u64,
    /// When it was made.
    pub this_update: UnixMs,
    /// When the next one is due at the latest.
    pub next_update: UnixMs,
    /// What was revoked, in order.
    pub serials: Vec<Serial>,
}

/// Whether cards can be relied on at `now`: a fact of the whole service.
///
/// # Errors
/// `RevocationsOverdue` when the list's next update is overdue beyond the grace of the policy, or
/// the policy requires a list and there is none.
pub fn admit(state: &State, now: UnixMs) -> Result<(), Rejection> {
    let policy = state.policy();
    match state.revocations() {
        Some(list) if list.next_update.plus(policy.revocation_grace_ms) <= now => {
            Err(Rejection::RevocationsOverdue {
                since: Some(list.next_update),
            })
        }
        None if policy.revocation_list_required => {
            Err(Rejection::RevocationsOverdue { since: None })
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether the card that was shown is this one, and the line's list revokes neither it nor its
/// issuers. The edge looked at the list too; but one that was set since counts as well.
pub(crate) fn proved(state: &State, card: &Card, shown: Option<&CardProof>) -> bool {
    shown.is_some_and(|shown| {
        let revoked = |serial: &Serial| {
            let list = state.revocations();
            list.is_some_and(|list| list.serials.binary_search(serial).is_ok())
        };
        shown.number == card.number && !shown.serials.iter().any(revoked)
    })
}

/// Puts a newer list in the place of the one that is held. It takes access away, as a suspension
/// does: a fenced main line takes it too, and so does a branch, whose own is forgotten with it.
/// Nothing flows from line to line (LOGIN.md, "Administration").
pub(crate) fn set(state: &mut State, context: &Context<'_>, list: &List) -> Effect {
    let count = list.serials.len();
    let detail = format!(
        "number {}, {count} revoked, next update {}",
        list.number, list.next_update
    );
    let event = Event::new(Kind::RevocationListSet).detail(detail);
    if let Err(rejection) = may_set(state, context, list) {
        return Effect::rejected(rejection, event);
    }
    state.revocations = Some(Held::new(list.clone()));
    Effect::done(Answer::Nothing, event)
}

fn may_set(state: &State, context: &Context<'_>, list: &List) -> Result<(), Rejection> {
    if !matches!(context.actor, Actor::Operator(_)) {
        return Err(Rejection::NotAllowed);
    }
    match state.revocations() {
        Some(held) if held == list => return Err(Rejection::AlreadySo),
        Some(held) if held.number >= list.number => {
            return Err(Rejection::RevocationListOlder {
                number: held.number,
            });
        }
        Some(_) | None => {}
    }
    let problems = problems(state, context.now, list);
    if problems.is_empty() {
        return Ok(());
    }
    Err(Rejection::BadValues(problems))
}

fn problems(state: &State, now: UnixMs, list: &List) -> Vec<String> {
    let mut problems = Vec::new();
    let grace_ms = state.policy().revocation_grace_ms;
    if list.next_update <= list.this_update || list.next_update.plus(grace_ms) <= now {
        problems.push(format!("its next update was due at {}", list.next_update));
    }
    if now.plus(state.policy().clock_skew_ms) < list.this_update {
        problems.push(format!("it is of a time to come: {}", list.this_update));
    }
    let orderly = list.serials.is_sorted_by(|one, next| one < next);
    let whole =
        |serial: &Serial| serial.0.len() <= SERIAL_BYTES_MAX && serial.0.first() != Some(&0);
    if list.serials.len() > REVOKED_MAX || !orderly || !list.serials.iter().all(whole) {
        problems.push(format!(
            "it has at most {REVOKED_MAX} serial numbers of {SERIAL_BYTES_MAX} bytes, in order"
        ));
    }
    problems
}
