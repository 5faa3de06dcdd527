//! `session`: the plan of an online session, from approval to rollover. What it will do is shown
//! before it is asked for; the acts that cannot be taken back want the session's id again.

use proto::operator::v1::{
    AbandonSessionRequest, ApprovePlanRequest, CloseSessionRequest, ListSessionsRequest,
    OpenSessionRequest, PlanAct, PlanStage, SessionEntry,
};

use crate::args::Connection;
use crate::args::session::{Abandon, Act, Approve, Close, List, Open, Session};
use crate::client::{Operator, told};
use crate::drill::evidence::session_row;
use crate::drill::words;
use crate::exit::Failure;
use crate::output::{Output, Table};
use crate::verb::{already, confirmed, would};

mod answers;
mod holds;
mod report;
mod rollover;
mod show;
mod unplanned;

/// Sessions to come that a list shows.
const NEXT_SHOWN: usize = 5;

/// Approves, opens, closes, rolls over, gives up, reports or lists.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Session, output: Output) -> Result<(), Failure> {
    match flags {
        Session::Approve(flags) => already(&flags.change, approve(flags, output).await, output),
        Session::Open(flags) => already(&flags.change, open(flags, output).await, output),
        Session::Close(flags) => already(&flags.change, close(flags, output).await, output),
        Session::Rollover(flags) => {
            already(&flags.change, rollover::run(flags, output).await, output)
        }
        Session::Abandon(flags) => already(&flags.change, abandon(flags, output).await, output),
        Session::AnswerHolds(flags) => {
            already(&flags.change, holds::run(flags, output).await, output)
        }
        Session::Report(flags) => report::run(flags, output).await,
        Session::List(flags) => list(flags, output).await,
        Session::Show(flags) => show::run(flags, output).await,
    }
}

/// Every session that the node lists.
async fn entries(node: &Operator) -> Result<Vec<SessionEntry>, Failure> {
    let mut entries = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = ListSessionsRequest {
            page_size: 500,
            page_token,
        };
        let request = node.request(message, None);
        let answer = told(node.session().list_sessions(request).await)?;
        entries.extend(answer.sessions);
        if answer.next_page_token.is_empty() {
            return Ok(entries);
        }
        page_token = answer.next_page_token;
    }
}

pub(crate) async fn entry(node: &Operator, session: &str) -> Result<SessionEntry, Failure> {
    let found = entries(node).await?.into_iter().find(|entry| {
        let listed = entry.session.as_ref();
        listed.is_some_and(|listed| listed.session == session)
    });
    found.ok_or_else(|| {
        Failure::pre_check(format!("the calendar has no session {session}"))
            .next("see them all: tidemark session list")
    })
}

/// Shows the session as it stands, on stderr.
pub(crate) fn show(entry: &SessionEntry, output: Output) {
    if let Some(row) = session_row(entry) {
        output.talk(&format!(
            "{} at {} ({}), {} to {}, {}; approved by {}",
            row.session,
            row.centre,
            row.role,
            row.opens,
            row.closes,
            row.stage,
            if entry.approvers.is_empty() {
                "nobody".to_owned()
            } else {
                entry.approvers.join(", ")
            }
        ));
    }
}

/// A connection to a node of the centre that holds the session.
pub(super) async fn holder(connection: &Connection, centre: &str) -> Result<Operator, Failure> {
    let profile = crate::profile::Profile::read(&connection.profile)?;
    let there = profile
        .nodes()
        .iter()
        .filter(|node| node.centre.as_str() == centre);
    let mut last = Failure::usage(format!("the profile has no node in {centre}"));
    for node in there {
        let mut only = connection.clone();
        only.node = connection.node.or(Some(node.id));
        match Operator::connect(&only).await {
            Ok(node) => return Ok(node),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

async fn approve(flags: &Approve, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let seen = node.seen().await?;
    let entry = entry(&node, &flags.session).await?;
    show(&entry, output);
    let id = node.request_id(&flags.change);
    let session = flags
        .session
        .parse()
        .map_err(|wrong: domain::id::Malformed| Failure::usage(wrong.to_string()))?;
    let (act, approved) = match flags.act {
        Act::Open => (PlanAct::Open, domain::session::Act::Open(session)),
        Act::Abandon => (PlanAct::Abandon, domain::session::Act::Abandon(session)),
    };
    let plan = entry
        .plan_digest
        .parse()
        .map_err(|_| Failure::internal("the node shows no digest of the plan"))?;
    let signed = domain::approval::Act::Session(approved, plan);
    let message = ApprovePlanRequest {
        request_id: id.to_string(),
        session: flags.session.clone(),
        act: act.into(),
        plan_digest: entry.plan_digest.clone(),
        approval: node.sign_unless_dry(&flags.change, &signed, &seen, output)?,
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.session();
        async move { client.approve_plan(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    if flags.change.dry_run {
        return would(output, &format!("approve the plan of {}", flags.session));
    }
    let document = serde_json::json!({
        "session": flags.session,
        "plan_digest": entry.plan_digest,
        "approvals": answer.approval_count,
        "needed": answer.needed_count,
    });
    output.data(&document, || {
        format!(
            "{} of {} approvals",
            answer.approval_count, answer.needed_count
        )
    })
}

async fn open(flags: &Open, output: Output) -> Result<(), Failure> {
    if flags.unplanned {
        return unplanned::open(flags, output).await;
    }
    let node = Operator::connect(&flags.connection).await?;
    let entry = entry(&node, &flags.session).await?;
    show(&entry, output);
    if !flags.change.dry_run {
        confirmed(
            &flags.confirm,
            &flags.session,
            "Opening takes the boundary, ends every token and fences the primary.",
            output,
        )?;
    }
    let id = node.request_id(&flags.change);
    let message = OpenSessionRequest {
        request_id: id.to_string(),
        session: flags.session.clone(),
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.session();
        async move { client.open_session(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await;
    let answer = answer.map_err(|failure| match failure.reason.as_deref() {
        Some("NO_LEADER") => failure.next(format!(
            "if the primary cannot be brought back in time: tidemark session open {} --unplanned \
             --reason WHY",
            flags.session
        )),
        Some(_) | None => failure,
    })?;
    if flags.change.dry_run {
        let act = format!(
            "take the boundary for {}, and fence the primary",
            flags.session
        );
        return would(output, &act);
    }
    let boundary = answer.boundary.unwrap_or_default();
    let place = boundary
        .log_id
        .as_ref()
        .map(words::log_id)
        .unwrap_or_default();
    let epoch = boundary.line.as_ref().map_or(0, |line| line.epoch);
    let digests = boundary.digests.unwrap_or_default();
    let document = serde_json::json!({
        "session": flags.session,
        "boundary": {
            "log_id": place, "epoch": epoch,
            "account_digest": digests.account, "full_digest": digests.full,
        },
    });
    output.data(&document, || {
        format!(
            "{} is open\nboundary  {place}, epoch {epoch}\ndigest    {}",
            flags.session, digests.full
        )
    })
}

async fn close(flags: &Close, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let entry = entry(&node, &flags.session).await?;
    show(&entry, output);
    if !flags.change.dry_run {
        confirmed(
            &flags.confirm,
            &flags.session,
            "Closing ends every token of the session.",
            output,
        )?;
    }
    let centre = entry
        .session
        .map(|session| session.centre)
        .unwrap_or_default();
    let node = holder(&flags.connection, &centre).await?;
    let id = node.request_id(&flags.change);
    let message = CloseSessionRequest {
        request_id: id.to_string(),
        session: flags.session.clone(),
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.session();
        async move { client.close_session(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    if flags.change.dry_run {
        let act = format!("close {}, and end its tokens", flags.session);
        return would(output, &act);
    }
    let place = answer.closed_log_id.as_ref().map(words::log_id);
    let document = serde_json::json!({ "session": flags.session, "closed_log_id": place });
    output.data(&document, || {
        format!(
            "{} is closed at entry {}",
            flags.session,
            place.unwrap_or_default()
        )
    })
}

async fn abandon(flags: &Abandon, output: Output) -> Result<(), Failure> {
    let Some(reason) = flags.change.reason.clone() else {
        return Err(Failure::usage(
            "giving a session up wants --reason, for the evidence",
        ));
    };
    let node = Operator::connect(&flags.connection).await?;
    show(&entry(&node, &flags.session).await?, output);
    if !flags.change.dry_run {
        confirmed(
            &flags.confirm,
            &flags.session,
            "Giving up loses the branch for good, its evidence too if nobody finds it later.",
            output,
        )?;
    }
    let id = node.request_id(&flags.change);
    let message = AbandonSessionRequest {
        request_id: id.to_string(),
        session: flags.session.clone(),
        reason,
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.session();
        async move { client.abandon_session(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    if flags.change.dry_run {
        return would(output, &format!("give {} up", flags.session));
    }
    let document = serde_json::json!({
        "session": flags.session, "stage": "abandoned", "refused_by": answer.refused_node_ids,
    });
    output.data(&document, || {
        let mut text = format!("{} is given up", flags.session);
        if !answer.refused_node_ids.is_empty() {
            let nodes: Vec<String> = answer.refused_node_ids.iter().map(u64::to_string).collect();
            text.push_str(&format!(
                "; its branch will never start at node {}",
                nodes.join(", ")
            ));
        }
        text
    })
}

/// Keeps the sessions that were opened, and the next ones that will be.
fn shorten(entries: &mut Vec<SessionEntry>, now: domain::UnixMs) {
    let mut ahead = 0;
    entries.retain(|entry| {
        let Some(session) = &entry.session else {
            return false;
        };
        if session.stage() != PlanStage::Unspecified {
            return true;
        }
        let coming = words::unix_ms(session.close_time.as_ref()) > now;
        ahead += usize::from(coming);
        coming && ahead <= NEXT_SHOWN
    });
}

async fn list(flags: &List, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let mut entries = entries(&node).await?;
    if !flags.all {
        shorten(&mut entries, node.now());
    }
    let rows: Vec<_> = entries
        .iter()
        .filter_map(|entry| Some((session_row(entry)?, entry)))
        .collect();
    let document: Vec<serde_json::Value> = rows
        .iter()
        .map(|(row, entry)| {
            serde_json::json!({
                "session": row, "plan_digest": entry.plan_digest, "approvers": entry.approvers,
            })
        })
        .collect();
    output.data(&document, || {
        let mut table = Table::new(&[
            "SESSION",
            "CENTRE",
            "ROLE",
            "OPENS",
            "CLOSES",
            "STAGE",
            "APPROVED BY",
            "SOURCE",
        ]);
        for (row, entry) in &rows {
            table.row([
                row.session.clone(),
                row.centre.clone(),
                row.role.clone(),
                row.opens.clone(),
                row.closes.clone(),
                row.stage.clone(),
                entry.approvers.join(", "),
                row.source.clone(),
            ]);
        }
        table.text()
    })
}
