//! `script`: what scripts may do. A grant takes two operators, each with a signed approval, and one
//! to take it back.

use std::collections::BTreeSet;

use domain::UnixMs;
use domain::approval::Act;
use domain::script::{Deed, Terms};
use proto::operator::v1::{
    ApproveGrantRequest, Grant, GrantState, GrantTerms, ListGrantsRequest, ScriptAct,
    WithdrawGrantRequest,
};

use super::already;
use super::method::moment;
use super::session::entry;
use crate::args::Change;
use crate::args::script::{self, List, Named, Script};
use crate::client::{Operator, told};
use crate::drill::words;
use crate::exit::Failure;
use crate::output::{Output, Table};

/// Lists, grants, approves or withdraws.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Script, output: Output) -> Result<(), Failure> {
    match flags {
        Script::List(flags) => list(flags, output).await,
        Script::Grant(flags) => already(&flags.change, grant(flags, output).await, output),
        Script::Approve(flags) => already(&flags.change, approve(flags, output).await, output),
        Script::Withdraw(flags) => already(&flags.change, withdraw(flags, output).await, output),
    }
}

async fn all(node: &Operator, script: Option<&str>) -> Result<Vec<Grant>, Failure> {
    let mut grants = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = ListGrantsRequest {
            script: script.unwrap_or_default().to_owned(),
            page_size: 500,
            page_token,
        };
        let request = node.request(message, None);
        let answer = told(node.script().list_grants(request).await)?;
        grants.extend(answer.grants);
        if answer.next_page_token.is_empty() {
            return Ok(grants);
        }
        page_token = answer.next_page_token;
    }
}

fn state(of: &Grant) -> &'static str {
    match of.state() {
        GrantState::Waiting => "waits for another operator",
        GrantState::Coming => "its window has not begun",
        GrantState::Open => "open",
        GrantState::Used => "used up",
        GrantState::Over => "over",
        GrantState::Withdrawn => "withdrawn",
        GrantState::Unspecified => "-",
    }
}

fn acts(terms: &GrantTerms) -> String {
    let acts = terms.acts().map(|act| match act {
        ScriptAct::Open => "open",
        ScriptAct::Close => "close",
        ScriptAct::RollOver => "rollover",
        ScriptAct::OpenUnplanned => "open-unplanned",
        ScriptAct::SwitchOver => "switchover",
        ScriptAct::Unspecified => "-",
    });
    acts.collect::<Vec<_>>().join(",")
}

async fn list(flags: &List, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let grants = all(&node, flags.script.as_deref()).await?;
    let rows: Vec<(&Grant, GrantTerms)> = grants
        .iter()
        .map(|grant| (grant, grant.terms.clone().unwrap_or_default()))
        .collect();
    let document: Vec<serde_json::Value> = rows
        .iter()
        .map(|(grant, terms)| {
            serde_json::json!({
                "grant": grant.grant, "script": terms.script, "session": terms.session,
                "plan_digest": terms.plan_digest, "acts": acts(terms),
                "from": words::local(terms.start_time.as_ref()),
                "until": words::local(terms.end_time.as_ref()),
                "runs": terms.run_count, "used": grant.used_count, "state": state(grant),
                "approved_by": grant.approvers, "withdrawn_by": grant.withdrawn_by,
            })
        })
        .collect();
    output.data(&document, || {
        let mut table = Table::new(&[
            "GRANT",
            "SCRIPT",
            "SESSION",
            "ACTS",
            "FROM",
            "UNTIL",
            "RUNS",
            "STATE",
            "APPROVED BY",
        ]);
        for (grant, terms) in &rows {
            table.row([
                grant.grant.chars().take(12).collect::<String>(),
                terms.script.clone(),
                terms.session.clone(),
                acts(terms),
                words::local(terms.start_time.as_ref()),
                words::local(terms.end_time.as_ref()),
                format!("{} of {}", grant.used_count, terms.run_count),
                state(grant).to_owned(),
                grant.approvers.join(", "),
            ]);
        }
        table.text()
    })
}

/// The terms as the service reads them: what is signed.
fn signed(terms: &GrantTerms) -> Result<Terms, Failure> {
    let wrong = |what: &str| Failure::usage(format!("{what} is not well-formed"));
    let deeds = terms.acts().map(|act| match act {
        ScriptAct::Open => Ok(Deed::Open),
        ScriptAct::Close => Ok(Deed::Close),
        ScriptAct::RollOver => Ok(Deed::RollOver),
        ScriptAct::OpenUnplanned => Ok(Deed::OpenUnplanned),
        ScriptAct::SwitchOver => Ok(Deed::SwitchOver),
        ScriptAct::Unspecified => Err(wrong("the act")),
    });
    Ok(Terms {
        script: terms.script.parse().map_err(|_| wrong("the script's id"))?,
        session: terms
            .session
            .parse()
            .map_err(|_| wrong("the session's id"))?,
        plan: terms
            .plan_digest
            .parse()
            .map_err(|_| wrong("the plan's digest"))?,
        deeds: deeds.collect::<Result<BTreeSet<Deed>, Failure>>()?,
        from: words::unix_ms(terms.start_time.as_ref()),
        until: words::unix_ms(terms.end_time.as_ref()),
        runs: terms.run_count,
    })
}

/// Signs the grant and hands the approval in.
async fn say(
    node: &Operator,
    terms: GrantTerms,
    change: &Change,
    output: Output,
) -> Result<(), Failure> {
    let seen = node.seen().await?;
    let act = Act::Grant(Box::new(signed(&terms)?));
    let reason = wanted(change)?;
    let id = node.request_id(change);
    let message = ApproveGrantRequest {
        request_id: id.to_string(),
        terms: Some(terms),
        reason,
        approval: node.sign_unless_dry(change, &act, &seen, output)?,
        validate_only: change.dry_run,
    };
    let ask = |request| {
        let mut client = node.script();
        async move { client.approve_grant(request).await }
    };
    let answer = node.change(id, change, message, ask).await?;
    let what = format!("grant {}", answer.grant);
    if change.dry_run {
        return super::would(output, &format!("approve: {what}"));
    }
    super::approved(output, &what, answer.approval_count, answer.needed_count)
}

fn wanted(change: &Change) -> Result<String, Failure> {
    let reason = change.reason.clone();
    reason.ok_or_else(|| Failure::usage("this act wants --reason, for the audit"))
}

async fn grant(flags: &script::Grant, output: Output) -> Result<(), Failure> {
    let start_time = Some(moment(&flags.from)?);
    let end_time = Some(moment(&flags.until)?);
    let node = Operator::connect(&flags.connection).await?;
    let entry = entry(&node, &flags.session).await?;
    super::session::show(&entry, output);
    let acts: BTreeSet<i32> = flags
        .acts
        .iter()
        .map(|act| match act {
            script::Act::Open => ScriptAct::Open.into(),
            script::Act::Close => ScriptAct::Close.into(),
            script::Act::Rollover => ScriptAct::RollOver.into(),
            script::Act::OpenUnplanned => ScriptAct::OpenUnplanned.into(),
            script::Act::Switchover => ScriptAct::SwitchOver.into(),
        })
        .collect();
    let each = u32::try_from(acts.len()).unwrap_or(u32::MAX);
    let terms = GrantTerms {
        script: flags.script.clone(),
        session: flags.session.clone(),
        plan_digest: entry.plan_digest,
        acts: acts.into_iter().collect(),
        start_time,
        end_time,
        run_count: flags.runs.unwrap_or(each),
    };
    say(&node, terms, &flags.change, output).await
}

/// The one grant that begins so.
async fn found(node: &Operator, name: &str) -> Result<Grant, Failure> {
    let mut all = all(node, None).await?;
    all.retain(|grant| grant.grant.starts_with(name));
    match (all.pop(), all.is_empty()) {
        (Some(grant), true) => Ok(grant),
        (Some(_), false) => Err(Failure::usage(format!("{name} names more than one grant"))),
        (None, _) => Err(Failure::pre_check(format!("there is no grant {name}"))
            .next("see them: tidemark script list")),
    }
}

async fn approve(flags: &Named, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let grant = found(&node, &flags.grant).await?;
    let terms = grant.terms.unwrap_or_default();
    super::session::show(&entry(&node, &terms.session).await?, output);
    say(&node, terms, &flags.change, output).await
}

async fn withdraw(flags: &Named, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let grant = found(&node, &flags.grant).await?;
    let terms = grant.terms.unwrap_or_default();
    output.talk(&format!(
        "{} may {} {} until {}",
        terms.script,
        acts(&terms),
        terms.session,
        words::local(Some(&words::timestamp(UnixMs(
            words::unix_ms(terms.end_time.as_ref()).0
        )))),
    ));
    let id = node.request_id(&flags.change);
    let message = WithdrawGrantRequest {
        request_id: id.to_string(),
        grant: grant.grant.clone(),
        reason: wanted(&flags.change)?,
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.script();
        async move { client.withdraw_grant(request).await }
    };
    node.change(id, &flags.change, message, ask).await?;
    if flags.change.dry_run {
        return super::would(output, &format!("withdraw grant {}", grant.grant));
    }
    let document = serde_json::json!({ "grant": grant.grant, "withdrawn": true });
    output.data(&document, || format!("grant {} is withdrawn", grant.grant))
}
