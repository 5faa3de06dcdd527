//! `account readiness`: how far each participant's accounts have come (R8, R10), as a table, CSV
//! or JSON.

use proto::account::v1::{Account, AccountStatus, Stage};
use proto::admin::v1::{
    GetReadinessReportRequest, ListAccountsRequest, ListUnreadyAccountsRequest, UnreadyReason,
};
use serde::Serialize;

use crate::args::account::Readiness;
use crate::client::{Operator, told};
use crate::exit::Failure;
use crate::output::{Output, Table};
use crate::verb::participant::state;

#[derive(Serialize)]
struct Row {
    participant: String,
    state: &'static str,
    accounts: u32,
    without_email: u32,
    not_initiated: u32,
    initiated: u32,
    two_factor_only: u32,
    suspended: u32,
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let counts = [
            self.accounts,
            self.without_email,
            self.not_initiated,
            self.initiated,
            self.two_factor_only,
            self.suspended,
        ];
        let mut cells = vec![self.participant.clone()];
        cells.extend(counts.iter().map(ToString::to_string));
        cells.push(self.state.to_owned());
        cells
    }
}

#[derive(Serialize)]
struct Unready {
    account: String,
    reason: &'static str,
}

#[derive(Serialize)]
struct Person {
    account: String,
    title: String,
    stage: &'static str,
    status: &'static str,
    email: String,
}

impl Person {
    fn of(account: Account) -> Self {
        Self {
            stage: match account.stage() {
                Stage::SmartcardOnly => "no e-mail",
                Stage::EmailRegistered => "not initiated",
                Stage::Initiated => "initiated",
                Stage::TwoFactorOnly => "2FA only",
                Stage::Unspecified => "-",
            },
            status: match account.status() {
                AccountStatus::Active => "active",
                AccountStatus::Suspended => "suspended",
                AccountStatus::Locked => "locked",
                AccountStatus::Deleted => "deleted",
                AccountStatus::Unspecified => "-",
            },
            account: account.name,
            title: account.title,
            email: account.email,
        }
    }

    fn cells(&self) -> Vec<String> {
        let cells = [
            self.account.as_str(),
            &self.title,
            self.stage,
            self.status,
            &self.email,
        ];
        cells.map(str::to_owned).to_vec()
    }
}

/// Shows who is ready: counts by participant, or with `--accounts` each account's stage.
///
/// # Errors
/// What went wrong, with its exit code.
pub(super) async fn run(flags: &Readiness, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let parent = format!(
        "participants/{}",
        flags.participant.as_deref().unwrap_or("-")
    );
    if flags.accounts {
        return each(&node, &parent, output).await;
    }
    let message = GetReadinessReportRequest {
        parent: parent.clone(),
    };
    let report = node.request(message, None);
    let report = told(node.readiness().get_readiness_report(report).await)?;
    let rows: Vec<Row> = report
        .participants
        .into_iter()
        .map(|row| Row {
            state: state(row.state()),
            participant: row.participant,
            accounts: row.account_count,
            without_email: row.without_email_count,
            not_initiated: row.ready_count,
            initiated: row.initiated_count,
            two_factor_only: row.two_factor_only_count,
            suspended: row.suspended_count,
        })
        .collect();
    let headings = [
        "PARTICIPANT",
        "ACCOUNTS",
        "NO E-MAIL",
        "NOT INITIATED",
        "INITIATED",
        "2FA ONLY",
        "SUSPENDED",
        "STATE",
    ];
    let mut table = Table::new(&headings);
    for row in &rows {
        table.row(row.cells());
    }
    if output.csv() {
        return output.rows(&table);
    }
    let unready = unready(&node, &parent).await?;
    let document = serde_json::json!({ "participants": rows, "unready": unready });
    output.data(&document, || {
        let mut text = table.text();
        if !unready.is_empty() {
            let mut table = Table::new(&["CANNOT INITIATE", "WHY"]);
            for row in &unready {
                table.row([row.account.as_str(), row.reason]);
            }
            text.push_str("\n\n");
            text.push_str(&table.text());
        }
        text
    })
}

/// Every account with its stage, over all pages.
async fn each(node: &Operator, parent: &str, output: Output) -> Result<(), Failure> {
    let mut people = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = ListAccountsRequest {
            parent: parent.to_owned(),
            page_size: 500,
            page_token,
            filter: None,
        };
        let request = node.request(message, None);
        let answer = told(node.account().list_accounts(request).await)?;
        people.extend(answer.accounts.into_iter().map(Person::of));
        if answer.next_page_token.is_empty() {
            break;
        }
        page_token = answer.next_page_token;
    }
    let mut table = Table::new(&["ACCOUNT", "NAME", "STAGE", "STATUS", "E-MAIL"]);
    for person in &people {
        table.row(person.cells());
    }
    if output.csv() {
        return output.rows(&table);
    }
    output.data(&serde_json::json!({ "accounts": people }), || table.text())
}

/// Every account that cannot initiate, over all pages.
async fn unready(node: &Operator, parent: &str) -> Result<Vec<Unready>, Failure> {
    let mut rows = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = ListUnreadyAccountsRequest {
            parent: parent.to_owned(),
            page_size: 500,
            page_token,
        };
        let request = node.request(message, None);
        let answer = told(node.readiness().list_unready_accounts(request).await)?;
        rows.extend(answer.accounts.into_iter().map(|row| Unready {
            reason: match row.reason() {
                UnreadyReason::NoEmail => "no e-mail is registered",
                UnreadyReason::Shut => "suspended or locked",
                UnreadyReason::Unspecified => "-",
            },
            account: row.account.map(|account| account.name).unwrap_or_default(),
        }));
        if answer.next_page_token.is_empty() {
            return Ok(rows);
        }
        page_token = answer.next_page_token;
    }
}
