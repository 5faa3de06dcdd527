//! Accounts as people see them: `account show` and `account list`.

use proto::account::v1::{Account, AccountClass, AccountStatus, Channel, Reset, Stage};
use proto::admin::v1::{AccountFilter, GetAccountRequest, ListAccountsRequest};
use serde::Serialize;

use crate::args::person::{self, List, Show};
use crate::client::{Operator, told};
use crate::drill::words;
use crate::exit::Failure;
use crate::output::{Output, Table};

/// An account for people and scripts.
#[derive(Serialize)]
pub(super) struct Row {
    account: String,
    user_id: String,
    title: String,
    class: &'static str,
    status: &'static str,
    stage: &'static str,
    email: String,
    codes_from: Option<String>,
    channel: &'static str,
    has_card: bool,
    reset: Option<&'static str>,
    last_login: String,
    etag: String,
}

/// An account's fields in words.
pub(super) fn row(of: &Account) -> Row {
    Row {
        account: of.name.clone(),
        user_id: of.user_id.clone(),
        title: of.title.clone(),
        class: match of.account_class() {
            AccountClass::User => "user",
            AccountClass::DelegatedAdmin => "da",
            AccountClass::Unspecified => "-",
        },
        status: match of.status() {
            AccountStatus::Active => "active",
            AccountStatus::Suspended => "suspended",
            AccountStatus::Locked => "locked",
            AccountStatus::Deleted => "deleted",
            AccountStatus::Unspecified => "-",
        },
        stage: match of.stage() {
            Stage::SmartcardOnly => "smartcard only",
            Stage::EmailRegistered => "e-mail registered",
            Stage::Initiated => "initiated",
            Stage::TwoFactorOnly => "2FA only",
            Stage::Unspecified => "-",
        },
        email: of.email.clone(),
        codes_from: of
            .email_codes_from_time
            .as_ref()
            .map(|at| words::local(Some(at))),
        channel: match of.channel() {
            Channel::Authenticator => "authenticator",
            Channel::Email => "e-mail",
            Channel::Unspecified => "-",
        },
        has_card: of.has_card,
        reset: match of.reset() {
            Reset::Password => Some("password"),
            Reset::Channel => Some("channel"),
            Reset::Unspecified => None,
        },
        last_login: words::local(of.last_login_time.as_ref()),
        etag: of.etag.clone(),
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "ACCOUNT",
        "NAME",
        "STATUS",
        "STAGE",
        "E-MAIL",
        "CHANNEL",
        "CARD",
        "LAST LOGIN",
    ]);
    let or_none = |text: &str| match text {
        "" => "-".to_owned(),
        text => text.to_owned(),
    };
    for row in rows {
        table.row([
            row.account.clone(),
            or_none(&row.title),
            row.status.to_owned(),
            match row.reset {
                Some(reset) => format!("{}, {reset} reset", row.stage),
                None => row.stage.to_owned(),
            },
            or_none(&row.email),
            row.channel.to_owned(),
            if row.has_card { "yes" } else { "no" }.to_owned(),
            row.last_login.clone(),
        ]);
    }
    table
}

/// Shows an account on stderr, before something is done to it.
pub(super) fn show_to(account: &Account, output: Output) {
    output.talk(&table(&[row(account)]).text());
}

/// The account of this resource name, or of this user id.
///
/// # Errors
/// When there is none that an operator may see.
pub(in crate::verb) async fn find(node: &Operator, named: &str) -> Result<Account, Failure> {
    if named.contains('/') {
        let message = GetAccountRequest {
            name: named.to_owned(),
        };
        let request = node.request(message, None);
        let answer = told(node.account().get_account(request).await)?;
        return Ok(answer.account.unwrap_or_default());
    }
    let filter = AccountFilter {
        user_id: named.to_owned(),
        ..AccountFilter::default()
    };
    let found = pages(node, "-", filter).await?.into_iter().next();
    found.ok_or_else(|| {
        Failure::pre_check(format!("there is no account {named}"))
            .next("see them all: tidemark account list")
    })
}

async fn pages(
    node: &Operator,
    participant: &str,
    filter: AccountFilter,
) -> Result<Vec<Account>, Failure> {
    let mut accounts = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = ListAccountsRequest {
            parent: format!("participants/{participant}"),
            page_size: 500,
            page_token,
            filter: Some(filter.clone()),
        };
        let request = node.request(message, None);
        let answer = told(node.account().list_accounts(request).await)?;
        accounts.extend(answer.accounts);
        if answer.next_page_token.is_empty() {
            return Ok(accounts);
        }
        page_token = answer.next_page_token;
    }
}

pub(super) async fn show(flags: &Show, output: Output) -> Result<(), Failure> {
    let node = Operator::serving(&flags.connection).await?;
    let row = row(&find(&node, &flags.account).await?);
    output.data(&serde_json::json!({ "account": row }), || {
        table(std::slice::from_ref(&row)).text()
    })
}

pub(super) async fn list(flags: &List, output: Output) -> Result<(), Failure> {
    let node = Operator::serving(&flags.connection).await?;
    let filter = AccountFilter {
        account_class: flags.class.map(class_of).unwrap_or_default().into(),
        status: flags.status.map(status_of).unwrap_or_default().into(),
        stage: flags.stage.map(stage_of).unwrap_or_default().into(),
        ..AccountFilter::default()
    };
    let participant = flags.participant.as_deref().unwrap_or("-");
    let rows: Vec<Row> = pages(&node, participant, filter)
        .await?
        .iter()
        .map(row)
        .collect();
    output.data(&serde_json::json!({ "accounts": rows }), || {
        table(&rows).text()
    })
}

/// A class as flags say it.
fn class_of(of: person::Class) -> AccountClass {
    match of {
        person::Class::User => AccountClass::User,
        person::Class::Da => AccountClass::DelegatedAdmin,
    }
}

/// A status as flags say it.
fn status_of(of: person::Status) -> AccountStatus {
    match of {
        person::Status::Active => AccountStatus::Active,
        person::Status::Suspended => AccountStatus::Suspended,
        person::Status::Locked => AccountStatus::Locked,
        person::Status::Deleted => AccountStatus::Deleted,
    }
}

/// A stage as flags say it.
fn stage_of(of: person::Stage) -> Stage {
    match of {
        person::Stage::SmartcardOnly => Stage::SmartcardOnly,
        person::Stage::EmailRegistered => Stage::EmailRegistered,
        person::Stage::Initiated => Stage::Initiated,
        person::Stage::TwoFactorOnly => Stage::TwoFactorOnly,
    }
}
