//! `session show`: one session as it stands. A node of the centre that holds it is asked, which
//! knows of an opening without the primary first, and of the branch's close.

use proto::operator::v1::SessionEntry;
use serde_json::json;

use super::{entry, holder, unplanned};
use crate::args::session::Show;
use crate::client::Operator;
use crate::drill::evidence::session_row;
use crate::drill::words;
use crate::exit::Failure;
use crate::output::Output;

pub(super) async fn run(flags: &Show, output: Output) -> Result<(), Failure> {
    let any = Operator::connect(&flags.connection).await?;
    let mut found = entry(&any, &flags.session).await?;
    let centre = found.session.as_ref().map(|session| &session.centre);
    if let (None, Some(centre)) = (flags.connection.node, centre)
        && let Ok(there) = holder(&flags.connection, centre).await
        && let Ok(known) = entry(&there, &flags.session).await
    {
        found = known;
    }
    let document = document(&found);
    output.data(&document, || text(&found))
}

fn document(of: &SessionEntry) -> serde_json::Value {
    let session = of.session.clone().unwrap_or_default();
    let boundary = session.boundary.as_ref();
    let row = session_row(of);
    json!({
        "session": session.session,
        "centre": session.centre,
        "role": words::centre_role(session.centre_role),
        "opens": row.as_ref().map(|row| &row.opens),
        "closes": row.as_ref().map(|row| &row.closes),
        "stage": words::stage(session.stage),
        "serving": session.serving,
        "plan_digest": of.plan_digest,
        "approvers": of.approvers,
        "boundary": boundary.and_then(|boundary| boundary.log_id.as_ref()).map(words::log_id),
        "unplanned": session.unplanned.as_ref().map(unplanned::document),
        "source": session.source,
    })
}

fn text(of: &SessionEntry) -> String {
    let session = of.session.clone().unwrap_or_default();
    let by = match of.approvers.as_slice() {
        [] => "nobody".to_owned(),
        by => by.join(", "),
    };
    let mut text = format!(
        "{} at {} ({}), {}\nopens     {}\ncloses    {}\nplan      {}\napproved  by {by}",
        session.session,
        session.centre,
        words::centre_role(session.centre_role),
        words::stage(session.stage),
        words::local(session.open_time.as_ref()),
        words::local(session.close_time.as_ref()),
        of.plan_digest,
    );
    if let Some(how) = &session.unplanned {
        text.push_str(&format!("\n{}", unplanned::text(how)));
    }
    text
}
