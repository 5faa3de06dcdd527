//! `ImportService`: participants and accounts, all rows or none. Every bad row is told.

use std::collections::BTreeSet;

use credential::associated::Associated;
use credential::password::Verifier;
use domain::account::import::{Part, Terms};
use domain::account::{Class, EMAIL_BYTES_MAX, IMPORT_ROWS_MAX, Imported, TITLE_BYTES_MAX};
use domain::factor::Method;
use domain::id::{AccountId, CardNumber, ParticipantId};
use domain::participant::Participant;
use domain::{Answer, Digest, State};
use proto::account::v1::AccountClass;
use proto::admin::v1 as admin;
use proto::admin::v1::import_service_server::ImportService;
use tonic::{Request, Response, Status};

use super::answered;
use crate::approvals;
use crate::edge::{self, Edge};
use crate::factor;
use crate::import::verifiers;
use crate::reads::Read;
use crate::request::Ask;
use crate::status::{Field, Refusal};
use crate::wire;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Imports(pub(super) Edge);

#[tonic::async_trait]
impl ImportService for Imports {
    async fn approve_import(
        &self,
        request: Request<admin::ApproveImportRequest>,
    ) -> Result<Response<admin::ApproveImportResponse>, Status> {
        answered!(self.0, request, approve)
    }

    async fn import_accounts(
        &self,
        request: Request<admin::ImportAccountsRequest>,
    ) -> Result<Response<admin::ImportAccountsResponse>, Status> {
        answered!(self.0, request, import)
    }
}

/// Rows as they are read, and what is wrong with them.
#[derive(Default)]
struct Rows {
    participants: Vec<Participant>,
    accounts: Vec<Row>,
    problems: Vec<admin::RowProblem>,
    firms: BTreeSet<ParticipantId>,
    ids: BTreeSet<AccountId>,
    cards: BTreeSet<CardNumber>,
}

struct Row {
    line: u32,
    id: AccountId,
    participant: ParticipantId,
    class: Class,
    title: String,
    email: Option<String>,
    card: Option<(CardNumber, Verifier)>,
}

impl Rows {
    fn wrong(&mut self, line: u32, column: &str, text: impl ToString) {
        self.problems.push(admin::RowProblem {
            line,
            column: column.to_owned(),
            text: text.to_string(),
        });
    }

    fn title(&mut self, line: u32, title: &str) -> String {
        let title = title.trim();
        if title.is_empty() || title.len() > TITLE_BYTES_MAX {
            self.wrong(
                line,
                "title",
                format!("must have 1 to {TITLE_BYTES_MAX} bytes"),
            );
        }
        title.to_owned()
    }

    fn participant(&mut self, row: &admin::ParticipantRow) {
        let title = self.title(row.line, &row.title);
        match ParticipantId::parse(&row.participant_id) {
            Err(wrong) => self.wrong(row.line, "participant_id", wrong),
            Ok(id) if self.firms.insert(id.clone()) => {
                self.participants.push(Participant::new(id, title));
            }
            Ok(id) => self.wrong(
                row.line,
                "participant_id",
                format!("{id} is in the file twice"),
            ),
        }
    }

    fn account(&mut self, row: &admin::AccountRow) {
        let before = self.problems.len();
        let title = self.title(row.line, &row.title);
        let id = AccountId::parse(&row.user_id);
        let participant = ParticipantId::parse(&row.participant_id);
        let class = match AccountClass::try_from(row.account_class) {
            Ok(AccountClass::User) => Some(Class::User),
            Ok(AccountClass::DelegatedAdmin) => Some(Class::DelegatedAdmin),
            Ok(AccountClass::Unspecified) | Err(_) => None,
        };
        if let Err(wrong) = &id {
            self.wrong(row.line, "user_id", wrong);
        }
        if let Err(wrong) = &participant {
            self.wrong(row.line, "participant_id", wrong);
        }
        if class.is_none() {
            self.wrong(
                row.line,
                "account_class",
                "must be a user or a delegated administrator",
            );
        }
        let email = self.email(row);
        let card = self.card(row);
        if let Ok(id) = &id
            && !self.ids.insert(id.clone())
        {
            self.wrong(row.line, "user_id", format!("{id} is in the file twice"));
        }
        if let (Ok(id), Ok(participant), Some(class)) = (id, participant, class)
            && self.problems.len() == before
        {
            self.accounts.push(Row {
                line: row.line,
                id,
                participant,
                class,
                title,
                email,
                card,
            });
        }
    }

    fn email(&mut self, row: &admin::AccountRow) -> Option<String> {
        let address = row.email.trim();
        if address.is_empty() {
            return None;
        }
        if address.len() > EMAIL_BYTES_MAX || address.parse::<lettre::Address>().is_err() {
            self.wrong(row.line, "email", "is not an e-mail address");
            return None;
        }
        Some(address.to_owned())
    }

    fn card(&mut self, row: &admin::AccountRow) -> Option<(CardNumber, Verifier)> {
        match (row.card_number.trim(), row.card_verifier.as_str()) {
            ("", "") => None,
            ("", _) => {
                self.wrong(row.line, "card_number", "is missing beside a verifier");
                None
            }
            (_, "") => {
                self.wrong(row.line, "card_verifier", "is missing beside a card number");
                None
            }
            (number, verifier) => {
                let number = CardNumber::parse(number);
                let verifier = Verifier::parse(verifier);
                match &number {
                    Err(wrong) => self.wrong(row.line, "card_number", wrong),
                    Ok(number) if !self.cards.insert(number.clone()) => self.wrong(
                        row.line,
                        "card_number",
                        format!("{number} is in the file twice"),
                    ),
                    Ok(_) => {}
                }
                if let Err(wrong) = &verifier {
                    self.wrong(row.line, "card_verifier", wrong);
                }
                Some((number.ok()?, verifier.ok()?))
            }
        }
    }

    /// What contradicts the state. The line judges it again; here it is for all rows at once.
    fn compare(&mut self, state: &State) {
        let mut wrong = Vec::new();
        for row in &self.accounts {
            let firm = &row.participant;
            if state.participant(firm).is_none() && !self.firms.contains(firm) {
                wrong.push((
                    row.line,
                    "participant_id",
                    format!("there is no participant {firm}"),
                ));
            }
            if state.account(&row.id).is_some() {
                wrong.push((row.line, "user_id", format!("{} exists already", row.id)));
            }
            if let Some((card, _)) = &row.card
                && state.account_of_card(card).is_some()
            {
                wrong.push((
                    row.line,
                    "card_number",
                    format!("{card} is another account's"),
                ));
            }
        }
        for (line, column, text) in wrong {
            self.wrong(line, column, text);
        }
        self.problems.sort_by_key(|problem| problem.line);
    }
}

async fn approve(
    edge: &Edge,
    ask: Ask<admin::ApproveImportRequest>,
) -> Result<admin::ApproveImportResponse, Refusal> {
    let body = &ask.body;
    let unsigned = admin::ApproveImportRequest {
        approval: None,
        ..body.clone()
    };
    let key = ask.key_of(&body.request_id, &unsigned, edge.keyring())?;
    let digest = |bytes: &Vec<u8>| bytes.as_slice().try_into().map(Digest);
    let parts: Result<Vec<Digest>, _> = body.part_digests.iter().map(digest).collect();
    let terms = Terms {
        participants: body.participant_count,
        accounts: body.account_count,
        parts: parts
            .map_err(|_| Refusal::malformed(Field::Other("part_digests"), "of 32 bytes each"))?,
    };
    let import = terms.id();
    let command = domain::account::Command::ApproveImport { terms };
    let (line, state) = edge.fresh(&ask).await?;
    let command = domain::Command::Account(command);
    let command = approvals::signed(edge, &ask, &state, body.approval.as_ref(), command)?;
    let settled = edge.propose(&ask, &line, Some(key), command).await?;
    let Answer::Approved { have, need } = settled.answer else {
        return Err(edge::unexpected(&settled.answer));
    };
    Ok(admin::ApproveImportResponse {
        import_digest: import.to_string(),
        approval_count: have,
        needed_count: need,
    })
}

async fn import(
    edge: &Edge,
    ask: Ask<admin::ImportAccountsRequest>,
) -> Result<admin::ImportAccountsResponse, Refusal> {
    let body = &ask.body;
    let key = ask.key(&body.request_id, edge.keyring())?;
    let mut rows = Rows::default();
    let count = body.participants.len().saturating_add(body.accounts.len());
    if count > IMPORT_ROWS_MAX {
        let text = format!("{count} rows; send at most {IMPORT_ROWS_MAX} a call");
        rows.wrong(0, "", text);
        return Err(refusal(rows.problems));
    }
    for row in &body.participants {
        rows.participant(row);
    }
    for row in &body.accounts {
        rows.account(row);
    }
    let (line, state) = edge.fresh(&ask).await?;
    if body.dry_run {
        rows.compare(&state);
        let new = |id: &ParticipantId| state.participant(id).is_none();
        let participants = rows.participants.iter().filter(|row| new(&row.id)).count();
        // What is there already is told, so that it is a read.
        let looked_up = rows.participants.len().saturating_add(rows.accounts.len());
        edge.note_read(&ask, &state, Read::of("dry run".to_owned(), looked_up))?;
        return Ok(admin::ImportAccountsResponse {
            participant_count: u32::try_from(participants).unwrap_or(u32::MAX),
            account_count: u32::try_from(rows.accounts.len()).unwrap_or(u32::MAX),
            problems: rows.problems,
        });
    }
    let part = match body.import_digest.as_str() {
        "" => None,
        import => Some(Part {
            import: wire::read_digest(import, "import_digest")?,
            index: body.part,
            verifiers: verifiers(&body.accounts),
        }),
    };
    // What contradicts the state is the line's to say: a repeated call finds its own rows there.
    if !rows.problems.is_empty() {
        return Err(refusal(rows.problems));
    }
    let mut accounts = Vec::with_capacity(rows.accounts.len());
    for row in rows.accounts {
        accounts.push(sealed(edge, row)?);
    }
    let command = domain::account::Command::Import {
        participants: rows.participants,
        accounts,
        part,
    };
    let settled = edge
        .propose(&ask, &line, Some(key), domain::Command::Account(command))
        .await?;
    let Answer::Imported {
        participants,
        accounts,
    } = settled.answer
    else {
        return Err(edge::unexpected(&settled.answer));
    };
    Ok(admin::ImportAccountsResponse {
        participant_count: participants,
        account_count: accounts,
        problems: Vec::new(),
    })
}

fn refusal(problems: Vec<admin::RowProblem>) -> Refusal {
    Refusal::Problems {
        reason: "BAD_ROWS",
        problems: problems
            .into_iter()
            .map(|problem| {
                let at = format!("line {} {}", problem.line, problem.column);
                (at.trim_end().to_owned(), problem.text)
            })
            .collect(),
    }
}

fn sealed(edge: &Edge, row: Row) -> Result<Imported, Refusal> {
    let card = match row.card {
        None => None,
        Some((number, verifier)) => {
            let associated = Associated::verifier(&row.id, Method::Smartcard);
            let sealed = factor::seal(edge, verifier.as_bytes(), &associated)?;
            Some((number, sealed))
        }
    };
    Ok(Imported {
        id: row.id,
        participant: row.participant,
        class: row.class,
        title: row.title,
        email: row.email,
        card,
    })
}
