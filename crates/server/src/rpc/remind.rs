//! Reminders: which people the next entry names (R1, R8). The line judges each again; the mail
//! leaves from its outbox.

use domain::id::{AccountId, ParticipantId};
use domain::notice::{self, Command, REMINDED_MAX};
use domain::participant::lets_in;
use domain::{Answer, State, UnixMs};
use proto::admin::v1 as admin;

use super::account::{Scope, accounts, read_page_token};
use super::migration::operators_alone;
use crate::edge::{self, Edge};
use crate::reads::Read;
use crate::request::Ask;
use crate::status::Refusal;
use crate::wire;

/// Somebody to remind: the user id and the resource name.
struct Person {
    id: AccountId,
    name: String,
}

/// Those whom a reminder is for today, at most so many, from behind an id on.
fn due(
    state: &State,
    participant: Option<&ParticipantId>,
    after: Option<&AccountId>,
    now: UnixMs,
    most: usize,
) -> Vec<Person> {
    accounts(state, &Scope::All, participant, after)
        .filter(|account| notice::is_to_be_reminded(account) && lets_in(state, account))
        .filter(|account| !state.outbox().was_reminded(&account.id, now))
        .take(most)
        .map(|account| Person {
            id: account.id.clone(),
            name: wire::account_name(&account.participant, account.class, &account.id),
        })
        .collect()
}

pub(super) async fn send(
    edge: &Edge,
    ask: Ask<admin::SendRemindersRequest>,
) -> Result<admin::SendRemindersResponse, Refusal> {
    operators_alone(&ask)?;
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    let size = wire::page_size(body.page_size, REMINDED_MAX, REMINDED_MAX)?;
    let after = read_page_token(&body.page_token)?;
    let participant = wire::read_parent(&body.parent)?;
    let (line, state) = edge.fresh(&ask).await?;
    if let Some(id) = &participant
        && state.participant(id).is_none()
    {
        return Err(Refusal::NotFound {
            what: format!("participant {id}"),
        });
    }
    let now = edge.now(&state);
    let from =
        |after: Option<&AccountId>, most| due(&state, participant.as_ref(), after, now, most);
    let mut page = from(after.as_ref(), size.saturating_add(1));
    let more = page.len() > size;
    page.truncate(size);
    let token = |last: Option<&AccountId>, more: bool| {
        let last = last.filter(|_| more);
        last.map(ToString::to_string).unwrap_or_default()
    };
    if body.dry_run {
        edge.note_read(&ask, &state, Read::of(body.parent.clone(), page.len()))?;
        return Ok(admin::SendRemindersResponse {
            reminded_count: u32::try_from(page.len()).unwrap_or(u32::MAX),
            next_page_token: token(page.last().map(|one| &one.id), more),
            accounts: page.into_iter().map(|one| one.name).collect(),
        });
    }
    let reason = match (body.reason.as_str(), &ask.reason) {
        ("", Some(header)) => header.clone(),
        (text, _) => text.to_owned(),
    };
    let command = domain::Command::Notice(Command::Remind {
        accounts: page.into_iter().map(|one| one.id).collect(),
        reason,
    });
    let settled = edge.propose(&ask, &line, Some(key), command).await?;
    let Answer::Reminded { count, through } = settled.answer else {
        return Err(edge::unexpected(&settled.answer));
    };
    // After those whom the entry named, which a repeated call may not find among the due any more.
    let more = !from(through.as_ref(), 1).is_empty();
    Ok(admin::SendRemindersResponse {
        reminded_count: count,
        accounts: Vec::new(),
        next_page_token: token(through.as_ref(), more),
    })
}
