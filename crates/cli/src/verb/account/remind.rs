//! `account remind`: mail to those who have yet to set up 2FA, a page an entry.
//!
//! Nobody is reminded twice on one day, so that a command that was cut off is simply given again.

use std::time::Duration;

use proto::admin::v1::{SendRemindersRequest, SendRemindersResponse};
use tokio::time::Instant;
use uuid::Uuid;

use super::import::part_id;
use crate::args::account::Remind;
use crate::client::Operator;
use crate::exit::Failure;
use crate::output::{Output, Table};

/// How soon a page is sent again while the mail before it goes out.
const ROOM_WAIT: Duration = Duration::from_secs(1);

/// Reminds people, or says whom it would remind.
///
/// # Errors
/// What went wrong, with its exit code.
pub(super) async fn run(flags: &Remind, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let id = node.request_id(&flags.change);
    let mut pages = Pages {
        node: &node,
        flags,
        output,
        id,
        done: 0,
    };
    let mut accounts = Vec::new();
    let mut page_token = String::new();
    for page in 0.. {
        let answer = pages.next(page, page_token).await?;
        pages.done = pages.done.saturating_add(answer.reminded_count);
        accounts.extend(answer.accounts);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
        output.talk(&format!("{} so far", pages.done));
    }
    let (count, dry) = (pages.done, flags.change.dry_run);
    let document = if dry {
        serde_json::json!({ "dry_run": true, "reminded": count, "accounts": accounts })
    } else {
        serde_json::json!({ "dry_run": false, "reminded": count })
    };
    if dry && output.csv() {
        return output.rows(&table(&accounts));
    }
    output.data(&document, || match (dry, accounts.is_empty()) {
        (true, true) => "nobody would be reminded".to_owned(),
        (true, false) => format!("{}\n\n{count} would be reminded", table(&accounts).text()),
        (false, _) => format!("{count} reminded"),
    })
}

fn table(accounts: &[String]) -> Table {
    let mut table = Table::new(&["ACCOUNT"]);
    for account in accounts {
        table.row([account.as_str()]);
    }
    table
}

struct Pages<'c> {
    node: &'c Operator,
    flags: &'c Remind,
    output: Output,
    id: Uuid,
    done: u32,
}

impl Pages<'_> {
    /// The next page, once there is room for its mail.
    async fn next(
        &self,
        page: usize,
        page_token: String,
    ) -> Result<SendRemindersResponse, Failure> {
        let Remind {
            participant,
            connection,
            change,
        } = self.flags;
        let message = SendRemindersRequest {
            request_id: part_id(self.id, page).to_string(),
            parent: format!("participants/{}", participant.as_deref().unwrap_or("-")),
            page_size: 0,
            page_token,
            dry_run: change.dry_run,
            reason: change.reason.clone().unwrap_or_default(),
        };
        let ask = |request| {
            let mut client = self.node.readiness();
            async move { client.send_reminders(request).await }
        };
        let deadline = Instant::now() + connection.timeout;
        loop {
            let answer = self
                .node
                .change(self.id, change, message.clone(), ask)
                .await;
            match answer {
                Err(failure)
                    if failure.reason.as_deref() == Some("TOO_MANY")
                        && Instant::now() + ROOM_WAIT < deadline =>
                {
                    self.output.talk("the mail before it goes out first");
                    tokio::time::sleep(ROOM_WAIT).await;
                }
                Err(failure) => return Err(self.cut_off(failure)),
                Ok(answer) => return Ok(answer),
            }
        }
    }

    fn cut_off(&self, failure: Failure) -> Failure {
        if self.done == 0 || self.flags.change.dry_run {
            return failure;
        }
        Failure {
            what: format!(
                "{} are reminded, the others are not: {}",
                self.done, failure.what
            ),
            next: Some("give the command again: nobody is reminded twice on one day".to_owned()),
            ..failure
        }
    }
}
