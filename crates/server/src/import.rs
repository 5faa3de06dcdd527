//! Rows of an import as they are named: the service and whoever signs for them use the same
//! definition, which is `domain`'s. Here the rows of a message are brought into its form.

use domain::account::Class;
use domain::account::import::{Row, Terms, part_digest, verifiers_digest};
use domain::{AccountId, CardNumber, Digest, ParticipantId};
use proto::account::v1::AccountClass;
use proto::admin::v1::{AccountRow, ParticipantRow};

/// Names the verifiers of the rows' cards.
#[must_use]
pub fn verifiers(accounts: &[AccountRow]) -> Digest {
    verifiers_digest(accounts.iter().map(|row| row.card_verifier.as_bytes()))
}

/// Names the rows of a part.
#[must_use]
pub fn part(participants: &[ParticipantRow], accounts: &[AccountRow]) -> Digest {
    let firms: Vec<(String, &str)> = participants
        .iter()
        .map(|row| (firm(&row.participant_id), row.title.trim()))
        .collect();
    let people: Vec<[String; 3]> = accounts
        .iter()
        .map(|row| {
            let id = AccountId::parse(&row.user_id);
            let card = CardNumber::parse(row.card_number.trim());
            [
                id.map_or_else(|_| row.user_id.clone(), |id| id.to_string()),
                firm(&row.participant_id),
                card.map_or_else(|_| row.card_number.clone(), |card| card.to_string()),
            ]
        })
        .collect();
    let rows = accounts.iter().zip(&people).map(|(row, known)| {
        let [id, participant, card] = known;
        Row {
            id,
            participant,
            class: match row.account_class() {
                AccountClass::DelegatedAdmin => Class::DelegatedAdmin,
                AccountClass::User | AccountClass::Unspecified => Class::User,
            },
            title: row.title.trim(),
            email: row.email.trim(),
            card,
        }
    });
    let firms = firms.iter().map(|(id, title)| (id.as_str(), *title));
    part_digest(firms, rows, &verifiers(accounts))
}

/// The id as it is kept; one that is none is refused where it is read.
fn firm(id: &str) -> String {
    ParticipantId::parse(id).map_or_else(|_| id.to_owned(), |id| id.to_string())
}

/// What operators approve of an import with these parts, and with so many participants in them.
#[must_use]
pub fn terms<'a>(
    participants: usize,
    parts: impl IntoIterator<Item = (&'a [ParticipantRow], &'a [AccountRow])>,
) -> Terms {
    let count = |rows: usize| u32::try_from(rows).unwrap_or(u32::MAX);
    let mut accounts = 0;
    let parts = parts
        .into_iter()
        .map(|(firms, people)| {
            accounts += people.len();
            part(firms, people)
        })
        .collect();
    Terms {
        participants: count(participants),
        accounts: count(accounts),
        parts,
    }
}
