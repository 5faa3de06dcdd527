//! `audit watch`: events as they happen, a line each, JSON too.

use proto::audit::v1::WatchAuditEventsRequest;
use proto::audit::v1::watch_audit_events_response::What;

use super::list;
use crate::args::audit::Watch;
use crate::client::{Operator, told};
use crate::exit::Failure;
use crate::output::Output;
use crate::refusal::{self, Asked};

pub(super) async fn run(flags: &Watch, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let message = WatchAuditEventsRequest {
        line: flags.line.clone().unwrap_or_default(),
        position: flags.position.clone().unwrap_or_default(),
        from_start: flags.from_start,
        filter: Some(list::filter(&flags.filter)),
    };
    // Without the deadline of other calls: a watch does not end by itself.
    let request = tonic::Request::new(message);
    let mut events = told(node.audit().watch_audit_events(request).await)?;
    let mut left = flags.count.unwrap_or(usize::MAX);
    let mut position = String::new();
    while left > 0 {
        let next = events
            .message()
            .await
            .map_err(|status| refusal::failure(&status, Asked::Read))?;
        let Some(answer) = next else { break };
        position = answer.position;
        let line = &answer.line;
        match answer.what {
            Some(What::Event(event)) => {
                left = left.saturating_sub(1);
                let mut document = list::document(&event);
                if let Some(fields) = document.as_object_mut() {
                    fields.insert("line".to_owned(), line.clone().into());
                    fields.insert("position".to_owned(), position.clone().into());
                }
                let cells = list::cells(&event);
                output.event(&document, || format!("{line}  {}", cells.join("  ")))?;
            }
            Some(What::LineBegan(_)) => output.talk(&format!("{line} began")),
            Some(What::LineEnded(_)) => output.talk(&format!("{line} has ended")),
            None => {}
        }
    }
    if !position.is_empty() {
        output.talk(&format!("go on with --position {position}"));
    }
    Ok(())
}
