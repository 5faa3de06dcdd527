//! `method show`, `method set`, `method go-live`: what operators say about the migration. Each
//! says the change as itself; the service carries it out with the last one that it takes.

use domain::UnixMs;
use domain::approval::Act;
use domain::calendar::{Day, TimeOfDay};
use domain::migration::{self, Subject};
use proto::account::v1 as account;
use proto::admin::v1::{
    ApproveGoLiveRequest, DisableMethodRequest, GetMigrationRequest, PostponeGoLiveRequest,
    ScheduleGoLiveRequest, SetLoginMethodsRequest, WithdrawGoLiveRequest,
};
use proto::approval::v1::Approval;

use super::account::person::allow_method;
use crate::args::Change;
use crate::args::method::{Approve, GoLive, Method, OnDay, Set, Show, State, Which, Withdraw};
use crate::client::{Operator, told};
use crate::drill::words;
use crate::exit::Failure;
use crate::output::{Output, Table};

/// Shows or changes methods and go-live.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Method, output: Output) -> Result<(), Failure> {
    let (change, done) = match flags {
        Method::Show(flags) => return show(flags, output).await,
        Method::Set(flags) => (&flags.change, set(flags, output).await),
        Method::GoLive(GoLive::Schedule(flags)) => (&flags.change, schedule(flags, output).await),
        Method::GoLive(GoLive::Approve(flags)) => (&flags.change, approve(flags, output).await),
        Method::GoLive(GoLive::Postpone(flags)) => (&flags.change, postpone(flags, output).await),
        Method::GoLive(GoLive::Withdraw(flags)) => (&flags.change, withdraw(flags, output).await),
    };
    super::already(change, done, output)
}

/// A switch in words: `otp off from 2023-06-12 00:00 HKT`.
pub(crate) fn switch(of: &account::MethodSwitch) -> String {
    let method = match of.method() {
        account::Method::Smartcard => "smartcard",
        account::Method::Otp => "otp",
        account::Method::Unspecified => "-",
    };
    let state = match of.state() {
        account::MethodState::On => "on",
        account::MethodState::Off => "off",
        account::MethodState::Unspecified => "-",
    };
    match &of.effective_time {
        Some(at) => format!("{method} {state} from {}", words::local(Some(at))),
        None => format!("{method} {state}"),
    }
}

async fn show(flags: &Show, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let request = node.request(GetMigrationRequest {}, None);
    let answer = told(node.readiness().get_migration(request).await)?;
    let switches: Vec<String> = answer.method_switches.iter().map(switch).collect();
    let waiting: Vec<(String, String, String)> = answer
        .proposals
        .iter()
        .map(|proposal| {
            (
                proposal.change.clone(),
                proposal.operators.join(", "),
                words::local(proposal.expire_time.as_ref()),
            )
        })
        .collect();
    let go_live = answer.go_live.as_ref();
    let document = serde_json::json!({
        "go_live": go_live.map(|planned| serde_json::json!({
            "date": planned.date, "approval": planned.approval, "live": planned.live,
        })),
        "service": switches,
        "waiting": waiting.iter().map(|(change, by, until)| serde_json::json!({
            "change": change, "said_by": by, "until": until,
        })).collect::<Vec<_>>(),
        "operators_needed": answer.needed_count,
    });
    output.data(&document, || {
        let mut lines = vec![match go_live {
            None => "go-live       not planned: smartcards are on".to_owned(),
            Some(planned) if planned.live => {
                format!(
                    "go-live       since {} ({}): smartcards are refused",
                    planned.date, planned.approval
                )
            }
            Some(planned) if planned.approval.is_empty() => format!(
                "go-live       planned for {}, not approved: nothing will be switched",
                planned.date
            ),
            Some(planned) => format!(
                "go-live       planned for {}, approved: {}",
                planned.date, planned.approval
            ),
        }];
        lines.extend(switches.iter().map(|text| format!("service       {text}")));
        if !waiting.is_empty() {
            let mut table = Table::new(&["WAITS FOR ANOTHER OPERATOR", "SAID BY", "UNTIL"]);
            for (change, by, until) in &waiting {
                table.row([change.as_str(), by, until]);
            }
            lines.push(table.text());
        }
        lines.join("\n")
    })
}

/// Tells how many operators have said it, and what comes next; of a dry run what would be said.
fn said(
    output: Output,
    change: &Change,
    what: &str,
    (have, need): (u32, u32),
) -> Result<(), Failure> {
    if change.dry_run {
        output.talk("dry run: nothing was changed");
        let document = serde_json::json!({ "dry_run": true, "change": what, "needed": need });
        return output.data(&document, || format!("would say: {what}"));
    }
    let done = have >= need;
    let document = serde_json::json!({ "operators": have, "needed": need, "done": done });
    output.data(&document, || {
        if done {
            format!("done: {have} of {need} operators have said so")
        } else {
            format!(
                "{have} of {need} operators have said so; nothing is changed until another says \
                 the same within 30 minutes, with --as"
            )
        }
    })
}

/// A day that the node will read too; checked here, so that a slip costs no call.
fn day(text: &str) -> Result<Day, Failure> {
    text.parse()
        .map_err(|wrong: domain::calendar::Wrong| Failure::usage(wrong.to_string()))
}

/// A local time, `2023-06-12 00:00`.
pub(crate) fn moment(text: &str) -> Result<prost_types::Timestamp, Failure> {
    let wrong = || {
        Failure::usage(format!(
            "\"{text}\" is no time: write it as 2023-06-12 00:00"
        ))
    };
    let (date, time) = text.split_once([' ', 'T']).ok_or_else(wrong)?;
    let date: Day = date.parse().map_err(|_| wrong())?;
    let time: TimeOfDay = time.parse().map_err(|_| wrong())?;
    let UnixMs(ms) = date.at(time).ok_or_else(wrong)?;
    Ok(prost_types::Timestamp {
        seconds: i64::try_from(ms / 1_000).map_err(|_| wrong())?,
        nanos: 0,
    })
}

/// The change as it is signed, by the operator's key, as of now.
async fn signed(
    node: &Operator,
    flags: &Change,
    change: migration::Change,
    output: Output,
) -> Result<Option<Approval>, Failure> {
    let seen = node.seen().await?;
    node.sign_unless_dry(flags, &Act::Migration(change), &seen, output)
}

/// What the service reads of the flags.
fn switched(
    flags: &Set,
    from: Option<&prost_types::Timestamp>,
) -> Result<migration::Change, Failure> {
    let wrong = |wrong: domain::id::Malformed| Failure::usage(wrong.to_string());
    let of = match &flags.whose.participant {
        Some(participant) => Subject::Participant(participant.parse().map_err(wrong)?),
        None => Subject::Service,
    };
    let method = match flags.method {
        Which::Smartcard => domain::factor::Method::Smartcard,
        Which::Otp => domain::factor::Method::Otp,
    };
    let from = from.map(|at| words::unix_ms(Some(at)));
    let switch = match (flags.state, from) {
        (State::On, None) => migration::Switch::On,
        (State::On, Some(from)) => migration::Switch::OnFrom(from),
        (State::Off, None) => migration::Switch::Off,
        (State::Off, Some(from)) => migration::Switch::OffFrom(from),
    };
    Ok(migration::Change::Switch { of, method, switch })
}

async fn set(flags: &Set, output: Output) -> Result<(), Failure> {
    let whose = &flags.whose;
    if let Some(account) = &whose.account {
        return of_account(flags, account, output).await;
    }
    let name = match &whose.participant {
        Some(participant) => format!("participants/{participant}"),
        None => "service".to_owned(),
    };
    let method = match flags.method {
        Which::Smartcard => account::Method::Smartcard,
        Which::Otp => account::Method::Otp,
    };
    let state = match flags.state {
        State::On => account::MethodState::On,
        State::Off => account::MethodState::Off,
    };
    let effective_time = flags.from.as_deref().map(moment).transpose()?;
    let what = switch(&account::MethodSwitch {
        method: method.into(),
        state: state.into(),
        effective_time,
    });
    let what = format!("{name}: {what}");
    let node = Operator::connect(&flags.connection).await?;
    let change = switched(flags, effective_time.as_ref())?;
    let approval = signed(&node, &flags.change, change, output).await?;
    let id = node.request_id(&flags.change);
    let message = SetLoginMethodsRequest {
        request_id: id.to_string(),
        name,
        method: method.into(),
        state: state.into(),
        effective_time,
        reason: flags.change.reason.clone().unwrap_or_default(),
        approval,
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.readiness();
        async move { client.set_login_methods(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    let count = (answer.approval_count, answer.needed_count);
    said(output, &flags.change, &what, count)
}

/// One account's method: off at once by one person, on by a change request (S34).
async fn of_account(flags: &Set, account: &str, output: Output) -> Result<(), Failure> {
    let method = match flags.method {
        Which::Smartcard => account::Method::Smartcard,
        Which::Otp => account::Method::Otp,
    };
    let effective_time = flags.from.as_deref().map(moment).transpose()?;
    match (flags.state, effective_time) {
        (State::On, None) => {
            let about = (account, method);
            allow_method(&flags.connection, &flags.change, about, output).await
        }
        (State::On, Some(_)) => Err(Failure::usage(
            "an account's method goes on when another person approves it, and at no other time",
        )),
        (State::Off, effective_time) => {
            let node = Operator::serving(&flags.connection).await?;
            let id = node.request_id(&flags.change);
            let message = DisableMethodRequest {
                request_id: id.to_string(),
                name: account.to_owned(),
                method: method.into(),
                effective_time,
                reason: flags.change.reason.clone().unwrap_or_default(),
                client_address: String::new(),
                validate_only: flags.change.dry_run,
            };
            let ask = |request| {
                let mut client = node.account();
                async move { client.disable_method(request).await }
            };
            let answer = node.change(id, &flags.change, message, ask).await?;
            let dry = flags.change.dry_run;
            let document = serde_json::json!({
                "dry_run": dry, "account": account, "notice": answer.notice,
            });
            output.data(&document, || match dry {
                true => format!("would switch it off for {account}"),
                false => format!("switched off for {account}\n{}", answer.notice),
            })
        }
    }
}

async fn schedule(flags: &OnDay, output: Output) -> Result<(), Failure> {
    let date = day(&flags.day)?;
    let what = format!("go-live on {date}");
    let node = Operator::connect(&flags.connection).await?;
    let change = migration::Change::Schedule { date };
    let approval = signed(&node, &flags.change, change, output).await?;
    let id = node.request_id(&flags.change);
    let message = ScheduleGoLiveRequest {
        request_id: id.to_string(),
        date: date.to_string(),
        reason: flags.change.reason.clone().unwrap_or_default(),
        approval,
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.readiness();
        async move { client.schedule_go_live(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    let count = (answer.approval_count, answer.needed_count);
    said(output, &flags.change, &what, count)
}

async fn approve(flags: &Approve, output: Output) -> Result<(), Failure> {
    let date = day(&flags.day)?;
    let what = format!("go-live on {date} approved: {}", flags.reference);
    let node = Operator::connect(&flags.connection).await?;
    let change = migration::Change::Approve {
        date,
        reference: flags.reference.clone(),
    };
    let approval = signed(&node, &flags.change, change, output).await?;
    let id = node.request_id(&flags.change);
    let message = ApproveGoLiveRequest {
        request_id: id.to_string(),
        date: date.to_string(),
        reference: flags.reference.clone(),
        reason: flags.change.reason.clone().unwrap_or_default(),
        approval,
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.readiness();
        async move { client.approve_go_live(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    let count = (answer.approval_count, answer.needed_count);
    said(output, &flags.change, &what, count)
}

async fn postpone(flags: &OnDay, output: Output) -> Result<(), Failure> {
    let date = day(&flags.day)?;
    let what = format!("go-live postponed to {date}");
    let node = Operator::connect(&flags.connection).await?;
    let change = migration::Change::Postpone { date };
    let approval = signed(&node, &flags.change, change, output).await?;
    let id = node.request_id(&flags.change);
    let message = PostponeGoLiveRequest {
        request_id: id.to_string(),
        date: date.to_string(),
        reason: flags.change.reason.clone().unwrap_or_default(),
        approval,
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.readiness();
        async move { client.postpone_go_live(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    let count = (answer.approval_count, answer.needed_count);
    said(output, &flags.change, &what, count)
}

async fn withdraw(flags: &Withdraw, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let change = migration::Change::Withdraw;
    let approval = signed(&node, &flags.change, change, output).await?;
    let id = node.request_id(&flags.change);
    let message = WithdrawGoLiveRequest {
        request_id: id.to_string(),
        reason: flags.change.reason.clone().unwrap_or_default(),
        approval,
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.readiness();
        async move { client.withdraw_go_live(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    let count = (answer.approval_count, answer.needed_count);
    said(output, &flags.change, "go-live withdrawn", count)
}
