//! What an old primary alone answered, shown and written before its nodes are wiped: all of it, page
//! by page, and checked against what two operators sign.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use proto::audit::v1::{AuditEvent, ListAuditEventsRequest};
use proto::operator::v1::{AssessReinstatementResponse, DroppedTail};

use crate::client::{Operator, told};
use crate::exit::{Failure, file_failure};
use crate::output::{Output, Table};
use crate::verb::audit::list::{cells, document};

const HEADINGS: [&str; 7] = ["ROW", "TIME", "WHAT", "BY", "ABOUT", "DETAIL", "COMMITTED"];
/// Records that are asked for at once.
const PAGE: i32 = 1_000;

fn table(records: &[AuditEvent], uncommitted_from: u64) -> String {
    let mut table = Table::new(&HEADINGS);
    for record in records {
        let [row, time, what, by, account, detail] = cells(record);
        // Of a firm as a whole, the firm.
        let about = match record.account.as_str() {
            "" => record.participant.clone(),
            _ => account,
        };
        let committed = if record.sequence < uncommitted_from {
            "yes"
        } else {
            "not known"
        };
        table.row([row, time, what, by, about, detail, committed.to_owned()]);
    }
    table.text()
}

/// The file that takes what is dropped: one JSON document, written as the records come.
struct Written {
    file: BufWriter<File>,
    first: bool,
}

impl Written {
    fn begin(path: &Path, found: &AssessReinstatementResponse) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|error| file_failure("write", path, &error))?;
        let mut written = Self {
            file: BufWriter::new(file),
            first: true,
        };
        let tail = tail(found)?;
        let head = [
            ("epoch", serde_json::json!(tail.epoch)),
            ("node", serde_json::json!(tail.node_id)),
            ("read", serde_json::json!(tail.read_node_ids)),
            ("head", serde_json::json!(tail.head_hash)),
            ("line", serde_json::json!(found.line)),
            ("record_count", serde_json::json!(found.record_count)),
            (
                "uncommitted_from",
                serde_json::json!(found.uncommitted_from),
            ),
            ("kept_by", serde_json::json!(found.kept_node_ids)),
        ];
        let head = head.map(|(name, value)| format!("  \"{name}\": {value},\n"));
        written.text(path, &format!("{{\n{}  \"records\": [", head.concat()))?;
        Ok(written)
    }

    fn text(&mut self, path: &Path, text: &str) -> Result<(), Failure> {
        let done = self.file.write_all(text.as_bytes());
        done.map_err(|error| file_failure("write", path, &error))
    }

    fn page(&mut self, path: &Path, records: &[AuditEvent]) -> Result<(), Failure> {
        for record in records {
            let comma = if self.first { "" } else { "," };
            self.first = false;
            self.text(path, &format!("{comma}\n    {}", document(record)))?;
        }
        Ok(())
    }

    fn end(mut self, path: &Path) -> Result<(), Failure> {
        self.text(path, "\n  ]\n}\n")?;
        let synced = self.file.into_inner().map_err(|error| error.into_error());
        let synced = synced.and_then(|file| file.sync_all());
        synced.map_err(|error| file_failure("write", path, &error))
    }
}

fn tail(found: &AssessReinstatementResponse) -> Result<&DroppedTail, Failure> {
    let change = found.change.as_ref();
    let tail = change.and_then(|change| change.tail.as_ref());
    tail.ok_or_else(|| Failure::internal("the node answers without what is dropped"))
}

/// Shows every record that is dropped, or writes them all to the file and shows the first page.
///
/// # Errors
/// If the node does not answer, the file cannot be written, or what came is not all of what was
/// described.
pub(super) async fn tell(
    operator: &Operator,
    found: &AssessReinstatementResponse,
    out: Option<&Path>,
    output: Output,
) -> Result<(), Failure> {
    let mut written = match out {
        Some(path) => Some((path, Written::begin(path, found)?)),
        None => None,
    };
    let (mut count, mut last) = (0_u64, None);
    let mut records = found.records.clone();
    let mut page_token = found.next_page_token.clone();
    loop {
        if !records.is_empty() && (count == 0 || written.is_none()) {
            output.talk(&table(&records, found.uncommitted_from));
        }
        if let Some((path, written)) = &mut written {
            written.page(path, &records)?;
        }
        count = count.saturating_add(u64::try_from(records.len()).unwrap_or(u64::MAX));
        last = records.pop().map(|record| record.hash).or(last);
        if page_token.is_empty() {
            break;
        }
        let message = ListAuditEventsRequest {
            line: found.line.clone(),
            page_size: PAGE,
            page_token,
            filter: None,
        };
        let request = operator.request(message, None);
        let answer = told(operator.audit().list_audit_events(request).await)?;
        (records, page_token) = (answer.events, answer.next_page_token);
    }
    let described = &tail(found)?.head_hash;
    if count != found.record_count || last.is_some_and(|last| last != *described) {
        return Err(Failure::mismatch(format!(
            "{count} records came, and {} are dropped: the list is not whole",
            found.record_count
        ))
        .next("look again, at another node of the primary with --node"));
    }
    if let Some((path, written)) = written {
        written.end(path)?;
        output.talk(&format!(
            "all {count} records were written to {}",
            path.display()
        ));
    }
    Ok(())
}
