//! Bringing firms and people in. Two operators approve the files as a whole (S34), each by a signed
//! statement; then their rows come entry by entry, each entry of rows that were approved.
//!
//! Deliberately absent: an easier way for an empty cluster. Whoever brought in the first delegated
//! administrator alone would be that administrator.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Class, IMPORT_ROWS_MAX, Imported};
use crate::apply::{Context, Effect};
use crate::approval::{self, Act, Pending};
use crate::audit::{Event, Kind};
use crate::cluster;
use crate::digest::Digest;
use crate::outcome::{Answer, Rejection};
use crate::participant::Participant;
use crate::state::State;

/// Most entries of one import: about a million rows.
pub const PARTS_MAX: usize = 2_048;
/// Most imports that wait for another operator, or are under way.
pub const IMPORTS_MAX: usize = 16;
/// Most conflicts that a refusal names.
const CONFLICTS_NAMED: usize = 20;

/// What operators approve: all rows, by the digest of each entry's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// How many firms there are.
    pub participants: u32,
    /// How many people.
    pub accounts: u32,
    /// The digests of the entries, in their order.
    pub parts: Vec<Digest>,
}

impl Terms {
    /// What the approval is shown to be of.
    #[must_use]
    pub fn arguments(&self) -> Vec<(&'static str, String)> {
        vec![
            ("participants", self.participants.to_string()),
            ("accounts", self.accounts.to_string()),
            ("rows", self.id().to_string()),
        ]
    }

    /// Names the import.
    #[must_use]
    pub fn id(&self) -> Digest {
        let parts: Vec<&[u8]> = self.parts.iter().map(|part| part.0.as_slice()).collect();
        Digest::of("tidemark import", &parts)
    }

    /// The act that operators approve.
    #[must_use]
    pub fn act(&self) -> Act {
        Act::Import(Box::new(self.clone()))
    }
}

/// Which rows of an import an entry brings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The import, as `Terms::id` names it.
    pub import: Digest,
    /// Which of its entries, from 0.
    pub index: u32,
    /// Names the verifiers of the rows' cards, which the entry itself holds sealed.
    pub verifiers: Digest,
}

/// An account's row as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// The user id.
    pub id: &'a str,
    /// The firm's id.
    pub participant: &'a str,
    /// User or delegated administrator.
    pub class: Class,
    /// The person's name.
    pub title: &'a str,
    /// The address; empty for none.
    pub email: &'a str,
    /// The card's number; empty for none.
    pub card: &'a str,
}

impl<'a> Row<'a> {
    /// The row that an account is of.
    #[must_use]
    pub fn of(account: &'a Imported) -> Self {
        Self {
            id: account.id.as_str(),
            participant: account.participant.as_str(),
            class: account.class,
            title: &account.title,
            email: account.email.as_deref().unwrap_or_default(),
            card: account
                .card
                .as_ref()
                .map(|(card, _)| card.as_str())
                .unwrap_or_default(),
        }
    }
}

/// Names the verifiers of the cards of an entry's accounts, in their order; empty for no card. A
/// verifier holds a random salt, so that its digest tells nothing of the password.
#[must_use]
pub fn verifiers_digest<'a>(verifiers: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let verifiers: Vec<&[u8]> = verifiers.into_iter().collect();
    Digest::of("tidemark import verifiers", &verifiers)
}

/// Names the rows of an entry: firms by id and name, then people.
#[must_use]
pub fn part_digest<'a>(
    participants: impl IntoIterator<Item = (&'a str, &'a str)>,
    accounts: impl IntoIterator<Item = Row<'a>>,
    verifiers: &Digest,
) -> Digest {
    let firms: Vec<&[u8]> = participants
        .into_iter()
        .flat_map(|(id, title)| [id.as_bytes(), title.as_bytes()])
        .collect();
    let people: Vec<&[u8]> = accounts
        .into_iter()
        .flat_map(|row| {
            let class: &[u8] = match row.class {
                Class::User => b"user",
                Class::DelegatedAdmin => b"da",
            };
            [
                row.id.as_bytes(),
                row.participant.as_bytes(),
                class,
                row.title.as_bytes(),
                row.email.as_bytes(),
                row.card.as_bytes(),
            ]
        })
        .collect();
    let firms = Digest::of("tidemark import participants", &firms);
    let people = Digest::of("tidemark import accounts", &people);
    Digest::of("tidemark import part", &[&firms.0, &people.0, &verifiers.0])
}

fn about(import: &Digest) -> String {
    format!("import {import}")
}

/// Notes an operator's approval. With the last one that it takes, the rows may come, as long as the
/// approvals count.
pub(super) fn approve(state: &mut State, context: &Context<'_>, terms: &Terms) -> Effect {
    let import = terms.id();
    let (firms, people) = (terms.participants, terms.accounts);
    let detail = format!("import {import}: {firms} participants, {people} accounts");
    let event = Event::new(Kind::ActApproved).detail(detail);
    let judged = cluster::may_set(state, context).and_then(|()| judge(state, context, terms));
    if let Err(rejection) = judged {
        return Effect::rejected(rejection, event);
    }
    let about = about(&import);
    let counted = match approval::note(state, context, about.clone(), terms.act()) {
        Ok(counted) => counted,
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    let (have, need) = (counted.have, counted.need);
    if have >= need {
        state.pending.set(Pending {
            about,
            act: terms.act(),
            by: counted.by,
            ends_at: context.now.plus(approval::LIFE_MS_MAX),
        });
    }
    Effect::done(Answer::Approved { have, need }, event)
}

fn judge(state: &State, context: &Context<'_>, terms: &Terms) -> Result<(), Rejection> {
    if !(1..=PARTS_MAX).contains(&terms.parts.len()) {
        let problem = format!("an import has 1 to {PARTS_MAX} entries");
        return Err(Rejection::BadValues(vec![problem]));
    }
    let imports = state
        .pending(context.now)
        .filter(|waiting| matches!(waiting.act, Act::Import(_)));
    let about = about(&terms.id());
    let others = imports.filter(|waiting| waiting.about != about).count();
    match others < IMPORTS_MAX {
        true => Ok(()),
        false => Err(Rejection::TooMany),
    }
}

/// The digest of what enough operators have approved, these rows among it.
fn approved(
    state: &State,
    context: &Context<'_>,
    participants: &[Participant],
    accounts: &[Imported],
    part: Option<&Part>,
) -> Result<Digest, Rejection> {
    let need = state.policy.approvals;
    let part = part.ok_or(Rejection::NotApproved { have: 0, need })?;
    let waiting = state.pending.get(&about(&part.import), context.now);
    let by = waiting.map(|waiting| approval::counted(state, context.now, &waiting.by));
    let have = by.map_or(0, |by| u32::try_from(by.len()).unwrap_or(u32::MAX));
    let not_approved = Rejection::NotApproved { have, need };
    let Some(Act::Import(terms)) = waiting.map(|waiting| &waiting.act) else {
        return Err(not_approved);
    };
    if have < need {
        return Err(not_approved);
    }
    let firms = participants
        .iter()
        .map(|firm| (firm.id.as_str(), firm.title.as_str()));
    let rows = part_digest(firms, accounts.iter().map(Row::of), &part.verifiers);
    let index = usize::try_from(part.index).unwrap_or(usize::MAX);
    match terms.parts.get(index) {
        Some(known) if *known == rows => Ok(terms.act().digest()),
        Some(_) | None => Err(Rejection::ApprovalDiffers),
    }
}

/// Brings an entry's rows in, all or none.
pub(super) fn carry_out(
    state: &mut State,
    context: &Context<'_>,
    participants: &[Participant],
    accounts: &[Imported],
    part: Option<&Part>,
) -> Effect {
    let event = Event::new(Kind::AccountsImported);
    if let Err(rejection) = cluster::may_set(state, context) {
        return Effect::rejected(rejection, event);
    }
    if participants.len() + accounts.len() > IMPORT_ROWS_MAX {
        let conflict = format!("more than {IMPORT_ROWS_MAX} rows in one entry");
        return Effect::rejected(Rejection::ImportConflicts(vec![conflict]), event);
    }
    let act = match approved(state, context, participants, accounts, part) {
        Ok(act) => act,
        Err(rejection) => return Effect::rejected(rejection, event),
    };
    let conflicts = conflicts(state, participants, accounts);
    if !conflicts.is_empty() {
        return Effect::rejected(Rejection::ImportConflicts(conflicts), event);
    }
    let mut firms = 0;
    for participant in participants {
        if state.participants.get(&participant.id).is_none() {
            let firm = Participant::new(participant.id.clone(), participant.title.clone());
            state.put_participant(firm);
            firms += 1;
        }
    }
    for account in accounts {
        state.put_account(account.clone().into_account(context.now));
    }
    let people = u32::try_from(accounts.len()).unwrap_or(u32::MAX);
    let detail = format!("{firms} participants, {people} accounts");
    Effect::done(
        Answer::Imported {
            participants: firms,
            accounts: people,
        },
        event.detail(detail).approved(act),
    )
}

/// What contradicts the state, or the other rows.
fn conflicts(state: &State, participants: &[Participant], accounts: &[Imported]) -> Vec<String> {
    let mut conflicts = Vec::new();
    let mut ids = BTreeSet::new();
    let mut cards = BTreeSet::new();
    let firms: BTreeSet<_> = participants.iter().map(|row| &row.id).collect();
    for firm in &firms {
        let there = state.participants.get(*firm);
        if there.is_some_and(Participant::deleted) {
            conflicts.push(format!(
                "{firm}: the participant was deleted, and its id is used up"
            ));
        }
    }
    for account in accounts {
        let id = &account.id;
        let firm = &account.participant;
        if state.firm(firm).is_none() && !firms.contains(firm) {
            conflicts.push(format!("{id}: there is no participant {firm}"));
        }
        if state.account(id).is_some() || !ids.insert(id) {
            conflicts.push(format!("{id}: the user id exists already"));
        }
        if let Some((card, _)) = &account.card
            && (state.by_card.contains_key(card) || !cards.insert(card))
        {
            conflicts.push(format!("{id}: the card {card} belongs to another account"));
        }
        if conflicts.len() >= CONFLICTS_NAMED {
            break;
        }
    }
    conflicts
}
