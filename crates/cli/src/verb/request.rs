//! `request`: what one person asked for and another decides.

use proto::account::v1::Method;
use proto::admin::v1::change_act::Act;
use proto::admin::v1::{
    ApproveChangeRequestRequest, ChangeRequest, ChangeRequestState, GetChangeRequestRequest,
    ListChangeRequestsRequest, RejectChangeRequestRequest, WithdrawChangeRequestRequest,
};

use super::already;
use crate::args::request::{Decide, List, Request, Show};
use crate::client::{Operator, told};
use crate::drill::words;
use crate::exit::Failure;
use crate::output::{Output, Table};

/// Lists, shows or decides.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Request, output: Output) -> Result<(), Failure> {
    match flags {
        Request::List(flags) => list(flags, output).await,
        Request::Show(flags) => show(flags, output).await,
        Request::Approve(flags) => already(&flags.change, approve(flags, output).await, output),
        Request::Reject(flags) => already(&flags.change, reject(flags, output).await, output),
        Request::Withdraw(flags) => already(&flags.change, withdraw(flags, output).await, output),
    }
}

/// The resource name, also where the id alone was given.
fn name(text: &str) -> String {
    if text.starts_with("changeRequests/") {
        text.to_owned()
    } else {
        format!("changeRequests/{text}")
    }
}

fn state(of: &ChangeRequest) -> &'static str {
    match of.state() {
        ChangeRequestState::Open => "open",
        ChangeRequestState::Approved => "approved",
        ChangeRequestState::Rejected => "rejected",
        ChangeRequestState::Withdrawn => "withdrawn",
        ChangeRequestState::Expired => "expired",
        ChangeRequestState::Unspecified => "-",
    }
}

/// What is asked for, in words.
fn act(of: &ChangeRequest) -> String {
    let Some(act) = of.act.as_ref().and_then(|act| act.act.as_ref()) else {
        return "-".to_owned();
    };
    match act {
        Act::Create(new) => format!("create {}", new.title),
        Act::Resume(_) => "resume".to_owned(),
        Act::Unlock(method) => match Method::try_from(*method) {
            Ok(Method::Smartcard) => "unlock the smartcard".to_owned(),
            Ok(Method::Otp) => "unlock OTP".to_owned(),
            Ok(Method::Unspecified) | Err(_) => "unlock".to_owned(),
        },
        Act::SetEmail(address) => format!("set e-mail {address}"),
        Act::RegisterCard(card) => format!("register card {}", card.number),
        Act::ResetPassword(_) => "reset the password".to_owned(),
        Act::ResetChannel(_) => "reset the channel".to_owned(),
        Act::ResetBoth(_) => "reset password and channel".to_owned(),
        Act::Delete(_) => "delete".to_owned(),
        Act::AllowMethod(method) => match Method::try_from(*method) {
            Ok(Method::Smartcard) => "allow the smartcard".to_owned(),
            Ok(Method::Otp) => "allow OTP".to_owned(),
            Ok(Method::Unspecified) | Err(_) => "allow a method".to_owned(),
        },
    }
}

fn document(of: &ChangeRequest) -> serde_json::Value {
    serde_json::json!({
        "request": of.name, "account": of.account, "act": act(of), "state": state(of),
        "reason": of.reason, "maker": of.maker,
        "made": words::local(of.create_time.as_ref()),
        "expires": words::local(of.expire_time.as_ref()),
        "decider": of.decider, "decided": words::local(of.decide_time.as_ref()),
        "rejection_reason": of.rejection_reason,
    })
}

fn table(requests: &[ChangeRequest]) -> String {
    let mut table = Table::new(&[
        "REQUEST", "ACCOUNT", "WHAT", "STATE", "MADE BY", "EXPIRES", "REASON",
    ]);
    for request in requests {
        table.row([
            words::last(&request.name).to_owned(),
            request.account.clone(),
            act(request),
            state(request).to_owned(),
            request.maker.clone(),
            words::local(request.expire_time.as_ref()),
            request.reason.clone(),
        ]);
    }
    table.text()
}

async fn list(flags: &List, output: Output) -> Result<(), Failure> {
    let node = Operator::serving(&flags.connection).await?;
    let wanted = if flags.all {
        ChangeRequestState::Unspecified
    } else {
        ChangeRequestState::Open
    };
    let mut requests = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = ListChangeRequestsRequest {
            parent: format!(
                "participants/{}",
                flags.participant.as_deref().unwrap_or("-")
            ),
            state: wanted.into(),
            page_size: 500,
            page_token,
        };
        let request = node.request(message, None);
        let answer = told(node.change_request().list_change_requests(request).await)?;
        requests.extend(answer.change_requests);
        if answer.next_page_token.is_empty() {
            break;
        }
        page_token = answer.next_page_token;
    }
    let documents: Vec<_> = requests.iter().map(document).collect();
    output.data(&serde_json::json!({ "requests": documents }), || {
        table(&requests)
    })
}

async fn get(node: &Operator, request: &str) -> Result<ChangeRequest, Failure> {
    let message = GetChangeRequestRequest {
        name: name(request),
    };
    let request = node.request(message, None);
    let answer = told(node.change_request().get_change_request(request).await)?;
    Ok(answer.change_request.unwrap_or_default())
}

async fn show(flags: &Show, output: Output) -> Result<(), Failure> {
    let node = Operator::serving(&flags.connection).await?;
    let request = get(&node, &flags.request).await?;
    output.data(&document(&request), || {
        table(std::slice::from_ref(&request))
    })
}

/// Shows what is decided on, on stderr.
async fn look(node: &Operator, flags: &Decide, output: Output) -> Result<ChangeRequest, Failure> {
    let request = get(node, &flags.request).await?;
    output.talk(&table(std::slice::from_ref(&request)));
    Ok(request)
}

/// What was decided, or would be, and what becomes of it.
fn decided(flags: &Decide, state: &str, notice: &str, output: Output) -> Result<(), Failure> {
    let name = name(&flags.request);
    if flags.change.dry_run {
        output.talk("dry run: nothing was decided");
        let document = serde_json::json!({ "dry_run": true, "request": name, "state": state });
        return output.data(&document, || format!("{name} would be {state}"));
    }
    let document = serde_json::json!({ "request": name, "state": state, "notice": notice });
    output.data(&document, || format!("{name} is {state}\n{notice}"))
}

async fn approve(flags: &Decide, output: Output) -> Result<(), Failure> {
    let node = Operator::serving(&flags.connection).await?;
    let seen = node.seen().await?;
    let request = look(&node, flags, output).await?;
    let unread = || Failure::internal("the node shows no digest of the request");
    let of = request.name.rsplit('/').next().unwrap_or_default();
    let act = domain::approval::Act::ChangeRequest(
        of.parse().map_err(|_| unread())?,
        request.content_digest.parse().map_err(|_| unread())?,
    );
    let id = node.request_id(&flags.change);
    let message = ApproveChangeRequestRequest {
        request_id: id.to_string(),
        name: name(&flags.request),
        client_address: String::new(),
        approval: node.sign_unless_dry(&flags.change, &act, &seen, output)?,
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.change_request();
        async move { client.approve_change_request(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    decided(flags, "approved", &answer.notice, output)
}

async fn reject(flags: &Decide, output: Output) -> Result<(), Failure> {
    let Some(reason) = flags.change.reason.clone() else {
        return Err(Failure::usage("a refusal wants --reason, for its maker"));
    };
    let node = Operator::serving(&flags.connection).await?;
    look(&node, flags, output).await?;
    let id = node.request_id(&flags.change);
    let message = RejectChangeRequestRequest {
        request_id: id.to_string(),
        name: name(&flags.request),
        reason,
        client_address: String::new(),
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.change_request();
        async move { client.reject_change_request(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    decided(flags, "rejected", &answer.notice, output)
}

async fn withdraw(flags: &Decide, output: Output) -> Result<(), Failure> {
    let node = Operator::serving(&flags.connection).await?;
    look(&node, flags, output).await?;
    let id = node.request_id(&flags.change);
    let message = WithdrawChangeRequestRequest {
        request_id: id.to_string(),
        name: name(&flags.request),
        client_address: String::new(),
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.change_request();
        async move { client.withdraw_change_request(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    decided(flags, "withdrawn", &answer.notice, output)
}
