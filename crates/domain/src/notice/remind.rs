//! Reminders: operators ask those who have yet to set up 2FA to do so, before go-live (R1, R8).
//!
//! The edge names whom, a bounded number at a time; here each is judged again, so that nobody is
//! reminded who has initiated meanwhile, or twice on one day. Deliberately absent: reminders by
//! themselves. Whether and when people are reminded, an operator says.

use std::collections::BTreeSet;

use super::{Kind, NOTICES_MAX};
use crate::account::{Account, Stage};
use crate::apply::{Context, Effect};
use crate::audit::Event;
use crate::calendar::Day;
use crate::cluster;
use crate::id::AccountId;
use crate::outcome::{Answer, Rejection};
use crate::participant;
use crate::session::REASON_BYTES_MAX;
use crate::state::State;
use crate::time::UnixMs;

/// Most people that one entry reminds.
pub const REMINDED_MAX: usize = 256;
/// Reminders are put while no more notices wait than this: they never push out what people are
/// told of changes of their accounts.
pub const REMINDERS_ROOM: usize = NOTICES_MAX / 2;
/// What a day is where its end cannot be told from the calendar.
const DAY_MS: u64 = 24 * 3_600_000;

/// When the day in Hong Kong is over.
pub(super) fn day_ends(at: UnixMs) -> UnixMs {
    let next = Day::of(at).and_then(Day::tomorrow).and_then(Day::start);
    next.unwrap_or(at.plus(DAY_MS))
}

/// Whether a reminder is for this account: it can be initiated, and was not.
#[must_use]
pub fn is_to_be_reminded(account: &Account) -> bool {
    match account.stage() {
        Stage::EmailRegistered => account.active(),
        Stage::NoEmail | Stage::Initiated | Stage::TwoFactorOnly => false,
    }
}

fn judge(
    state: &State,
    context: &Context<'_>,
    accounts: &[AccountId],
    reason: &str,
) -> Result<(), Rejection> {
    cluster::may_set(state, context)?;
    if !(1..=REASON_BYTES_MAX).contains(&reason.len()) {
        let problem = format!("a reason has 1 to {REASON_BYTES_MAX} bytes");
        return Err(Rejection::BadValues(vec![problem]));
    }
    let waiting = state.outbox().len().saturating_add(accounts.len());
    if accounts.len() > REMINDED_MAX || waiting > REMINDERS_ROOM {
        return Err(Rejection::TooMany);
    }
    Ok(())
}

pub(super) fn apply(
    state: &mut State,
    context: &Context<'_>,
    event: Event,
    accounts: &[AccountId],
    reason: &str,
) -> Effect {
    if let Err(rejection) = judge(state, context, accounts, reason) {
        return Effect::rejected(rejection, event);
    }
    let named: BTreeSet<&AccountId> = accounts.iter().collect();
    let due: Vec<Account> = named
        .iter()
        .filter_map(|id| state.account(id))
        .filter(|account| is_to_be_reminded(account) && participant::lets_in(state, account))
        .filter(|account| !state.outbox().was_reminded(&account.id, context.now))
        .cloned()
        .collect();
    for account in &due {
        state.outbox.note(account, Kind::Reminder);
    }
    let count = u32::try_from(due.len()).unwrap_or(u32::MAX);
    let through = named.last().map(|id| (*id).clone());
    let whom = match (named.first(), &through) {
        (Some(first), Some(last)) => format!(" from {first} to {last}"),
        (None, _) | (_, None) => String::new(),
    };
    let event = event.detail(format!("{count} reminded{whom}: {reason}"));
    Effect::done(Answer::Reminded { count, through }, event)
}
