//! `account import` and `account readiness`.

use proto::admin::v1::{GetReadinessReportRequest, ListUnreadyAccountsRequest, UnreadyReason};
use serde::Serialize;

use crate::args::account::{Account, Readiness};
use crate::client::{Operator, told};
use crate::exit::Failure;
use crate::output::{Output, Table};

mod import;

/// Imports accounts, or shows who is ready.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Account, output: Output) -> Result<(), Failure> {
    match flags {
        Account::Import(flags) => import::run(flags, output).await,
        Account::Readiness(flags) => readiness(flags, output).await,
    }
}

#[derive(Serialize)]
struct Row {
    participant: String,
    accounts: u32,
    without_email: u32,
    ready: u32,
    initiated: u32,
}

#[derive(Serialize)]
struct Unready {
    account: String,
    reason: &'static str,
}

async fn readiness(flags: &Readiness, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let parent = format!(
        "participants/{}",
        flags.participant.as_deref().unwrap_or("-")
    );
    let message = GetReadinessReportRequest {
        parent: parent.clone(),
    };
    let report = node.request(message, None);
    let report = told(node.readiness().get_readiness_report(report).await)?;
    let rows: Vec<Row> = report
        .participants
        .into_iter()
        .map(|row| Row {
            participant: row.participant,
            accounts: row.account_count,
            without_email: row.without_email_count,
            ready: row.ready_count,
            initiated: row.initiated_count,
        })
        .collect();
    let unready = unready(&node, &parent).await?;
    let document = serde_json::json!({ "participants": rows, "unready": unready });
    output.data(&document, || {
        let mut table = Table::new(&["PARTICIPANT", "ACCOUNTS", "NO E-MAIL", "READY", "INITIATED"]);
        for row in &rows {
            table.row([
                row.participant.clone(),
                row.accounts.to_string(),
                row.without_email.to_string(),
                row.ready.to_string(),
                row.initiated.to_string(),
            ]);
        }
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
