//! `account`: what is done to one account, and lists of them. What takes access away is done at
//! once; what gives access makes a change request, whose name is printed for the checker (S34).

use proto::account::v1::{Account, Method as Way};
use proto::admin::v1::change_act::Act as Asked;
use proto::admin::v1::{
    ChangeAct, CreateChangeRequestRequest, EndAccountTokensRequest, IssueActivationCodeRequest,
    NewAccount, NewCard, Plain, RevokeCardRequest, SuspendAccountRequest, UpdateAccountRequest,
};
use proto::operator::v1::SuspendOnMainLineRequest;

use super::shown::{find, row, show_to};
use crate::args::person::{
    Act, CardSecret, Create, Delete, Method, On, RegisterCard, Rename, SetEmail, Suspend, Unlock,
};
use crate::args::{Change, Connection};
use crate::client::Operator;
use crate::exit::{Failure, file_failure};
use crate::output::Output;
use crate::verb::{already, confirmed};

const PLAIN: Plain = Plain {};

/// Does what is asked.
///
/// # Errors
/// What went wrong, with its exit code.
pub(super) async fn run(act: &Act, output: Output) -> Result<(), Failure> {
    let plain = |flags, asked| Box::pin(ask(flags, asked, output));
    let (change, done) = match act {
        Act::Show(flags) => return super::shown::show(flags, output).await,
        Act::List(flags) => return super::shown::list(flags, output).await,
        Act::Suspend(flags) => (&flags.on.change, suspend(flags, output).await),
        Act::RevokeCard(flags) => (&flags.change, revoke_card(flags, output).await),
        Act::EndTokens(flags) => (&flags.change, end_tokens(flags, output).await),
        Act::IssueCode(flags) => (&flags.change, issue_code(flags, output).await),
        Act::Rename(flags) => (&flags.on.change, rename(flags, output).await),
        Act::Create(flags) => (&flags.change, create(flags, output).await),
        Act::RegisterCard(flags) => (&flags.on.change, register_card(flags, output).await),
        Act::Resume(flags) => (&flags.change, plain(flags, Asked::Resume(PLAIN)).await),
        Act::Unlock(flags) => (&flags.on.change, unlock(flags, output).await),
        Act::SetEmail(flags) => (&flags.on.change, set_email(flags, output).await),
        Act::ResetPassword(flags) => (
            &flags.change,
            plain(flags, Asked::ResetPassword(PLAIN)).await,
        ),
        Act::ResetChannel(flags) => (
            &flags.change,
            plain(flags, Asked::ResetChannel(PLAIN)).await,
        ),
        Act::Reset(flags) => (&flags.change, plain(flags, Asked::ResetBoth(PLAIN)).await),
        Act::Delete(flags) => (&flags.on.change, delete(flags, output).await),
    };
    already(change, done, output)
}

/// What was done at once, or would be: a node has judged it by the line's own rules.
fn done(
    change: &Change,
    (what, was): (&str, &str),
    account: &Account,
    notice: &str,
    output: Output,
) -> Result<(), Failure> {
    if change.dry_run {
        output.talk("dry run: nothing was changed");
        let document = serde_json::json!({
            "dry_run": true, "act": what, "account": row(account),
        });
        return output.data(&document, || format!("would {what} {}", account.name));
    }
    let document = serde_json::json!({
        "act": was, "account": account.name, "notice": notice,
    });
    output.data(&document, || format!("{was} {}\n{notice}", account.name))
}

/// The account, shown on stderr before anything is done to it.
async fn before(node: &Operator, flags: &On, output: Output) -> Result<Account, Failure> {
    let account = find(node, &flags.account).await?;
    show_to(&account, output);
    Ok(account)
}

async fn suspend(flags: &Suspend, output: Output) -> Result<(), Failure> {
    let change = &flags.on.change;
    if flags.main_line {
        return suspend_main(flags, output).await;
    }
    let node = Operator::serving(&flags.on.connection).await?;
    let account = before(&node, &flags.on, output).await?;
    let id = node.request_id(change);
    let message = SuspendAccountRequest {
        request_id: id.to_string(),
        name: account.name.clone(),
        reason: String::new(),
        client_address: String::new(),
        validate_only: change.dry_run,
    };
    let ask = |request| {
        let mut client = node.account();
        async move { client.suspend_account(request).await }
    };
    let answer = node.change(id, change, message, ask).await?;
    done(
        change,
        ("suspend", "suspended"),
        &account,
        &answer.notice,
        output,
    )
}

/// Without a look at the account first: what serves may be cut off, and the main line not.
async fn suspend_main(flags: &Suspend, output: Output) -> Result<(), Failure> {
    let change = &flags.on.change;
    let account = Account {
        name: flags.on.account.clone(),
        ..Account::default()
    };
    if !account.name.starts_with("participants/") {
        return Err(Failure::usage(
            "--main-line wants the account's resource name, participants/{p}/users/{u}",
        ));
    }
    let node = Operator::connect(&flags.on.connection).await?;
    let id = node.request_id(change);
    let message = SuspendOnMainLineRequest {
        request_id: id.to_string(),
        name: account.name.clone(),
        reason: String::new(),
        validate_only: change.dry_run,
    };
    let ask = |request| {
        let mut client = node.emergency();
        async move { client.suspend_on_main_line(request).await }
    };
    let answer = node.change(id, change, message, ask).await?;
    done(
        change,
        ("suspend on the main line", "suspended on the main line"),
        &account,
        &answer.notice,
        output,
    )
}

async fn revoke_card(flags: &On, output: Output) -> Result<(), Failure> {
    let node = Operator::serving(&flags.connection).await?;
    let account = before(&node, flags, output).await?;
    let id = node.request_id(&flags.change);
    let message = RevokeCardRequest {
        request_id: id.to_string(),
        name: account.name.clone(),
        reason: String::new(),
        client_address: String::new(),
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.account();
        async move { client.revoke_card(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    done(
        &flags.change,
        ("revoke the card of", "revoked the card of"),
        &account,
        &answer.notice,
        output,
    )
}

async fn end_tokens(flags: &On, output: Output) -> Result<(), Failure> {
    let node = Operator::serving(&flags.connection).await?;
    let account = before(&node, flags, output).await?;
    let id = node.request_id(&flags.change);
    let message = EndAccountTokensRequest {
        request_id: id.to_string(),
        name: account.name.clone(),
        reason: String::new(),
        client_address: String::new(),
        validate_only: flags.change.dry_run,
        ..EndAccountTokensRequest::default()
    };
    let ask = |request| {
        let mut client = node.account();
        async move { client.end_account_tokens(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    let notice = format!("{} were ended", answer.ended_count);
    let what = ("end the tokens of", "ended the tokens of");
    done(&flags.change, what, &account, &notice, output)
}

async fn issue_code(flags: &On, output: Output) -> Result<(), Failure> {
    let node = Operator::serving(&flags.connection).await?;
    let account = before(&node, flags, output).await?;
    let id = node.request_id(&flags.change);
    let message = IssueActivationCodeRequest {
        request_id: id.to_string(),
        name: account.name.clone(),
        client_address: String::new(),
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.account();
        async move { client.issue_activation_code(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    if flags.change.dry_run {
        let what = ("issue half a code for", "issued half a code for");
        return done(&flags.change, what, &account, &answer.notice, output);
    }
    let document = serde_json::json!({
        "account": account.name, "second_half": answer.second_half, "notice": answer.notice,
    });
    output.data(&document, || {
        format!(
            "second half for {}, to pass on by voice: {}\n{}",
            account.name, answer.second_half, answer.notice
        )
    })
}

async fn rename(flags: &Rename, output: Output) -> Result<(), Failure> {
    let change = &flags.on.change;
    let node = Operator::serving(&flags.on.connection).await?;
    let account = before(&node, &flags.on, output).await?;
    let id = node.request_id(change);
    let message = UpdateAccountRequest {
        request_id: id.to_string(),
        account: Some(Account {
            name: account.name.clone(),
            title: flags.title.clone(),
            // A repeated request is the same to the byte only without what changed meanwhile.
            etag: String::new(),
            ..Account::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["title".to_owned()],
        }),
        client_address: String::new(),
        validate_only: change.dry_run,
    };
    let ask = |request| {
        let mut client = node.account();
        async move { client.update_account(request).await }
    };
    let answer = node.change(id, change, message, ask).await?;
    done(
        change,
        ("rename", "renamed"),
        &account,
        &answer.notice,
        output,
    )
}

/// Makes a change request about an account that is there.
async fn ask(flags: &On, asked: Asked, output: Output) -> Result<(), Failure> {
    let node = Operator::serving(&flags.connection).await?;
    let account = before(&node, flags, output).await?;
    request(&node, &flags.change, &account.name, asked, output).await
}

/// Makes a change request, and prints its name for the checker.
async fn request(
    node: &Operator,
    change: &Change,
    account: &str,
    asked: Asked,
    output: Output,
) -> Result<(), Failure> {
    let Some(reason) = change.reason.clone() else {
        return Err(Failure::usage(
            "what gives access wants --reason, for the checker",
        ));
    };
    let id = node.request_id(change);
    let message = CreateChangeRequestRequest {
        request_id: id.to_string(),
        account: account.to_owned(),
        act: Some(ChangeAct { act: Some(asked) }),
        reason,
        etag: String::new(),
        client_address: String::new(),
        validate_only: change.dry_run,
    };
    let ask = |request| {
        let mut client = node.change_request();
        async move { client.create_change_request(request).await }
    };
    let answer = node.change(id, change, message, ask).await?;
    if change.dry_run {
        output.talk("dry run: nothing was asked for");
        let document = serde_json::json!({ "dry_run": true, "account": account });
        return output.data(&document, || {
            format!("would make a request about {account}")
        });
    }
    let document = serde_json::json!({
        "account": account, "request": answer.name, "notice": answer.notice,
    });
    output.data(&document, || {
        format!(
            "{}\nNothing is changed until another person approves it: tidemark request approve {}\n{}",
            answer.name, answer.name, answer.notice
        )
    })
}

async fn create(flags: &Create, output: Output) -> Result<(), Failure> {
    let card = match &flags.card {
        Some(number) => Some(card(number, &flags.secret)?),
        None => None,
    };
    let asked = Asked::Create(NewAccount {
        title: flags.title.clone(),
        email: flags.email.clone().unwrap_or_default(),
        card,
    });
    let node = Operator::serving(&flags.connection).await?;
    request(&node, &flags.change, &flags.name, asked, output).await
}

/// A card with the verifier of its first password, which its issuer made: nobody here chooses or
/// sees the password (S25).
fn card(number: &str, secret: &CardSecret) -> Result<NewCard, Failure> {
    let Some(file) = &secret.card_verifier_file else {
        return Err(
            Failure::usage("a card comes with the verifier of its first password")
                .next("give the file that its issuer made: --card-verifier-file FILE"),
        );
    };
    let text = std::fs::read_to_string(file).map_err(|error| file_failure("read", file, &error))?;
    Ok(NewCard {
        number: number.to_owned(),
        verifier: text.trim().to_owned(),
    })
}

async fn register_card(flags: &RegisterCard, output: Output) -> Result<(), Failure> {
    let card = card(&flags.card, &flags.secret)?;
    ask(&flags.on, Asked::RegisterCard(card), output).await
}

/// Asks that a method that was switched off for an account be on again.
pub(in crate::verb) async fn allow_method(
    connection: &Connection,
    change: &Change,
    (account, method): (&str, Way),
    output: Output,
) -> Result<(), Failure> {
    let node = Operator::serving(connection).await?;
    let asked = Asked::AllowMethod(method.into());
    request(&node, change, account, asked, output).await
}

async fn unlock(flags: &Unlock, output: Output) -> Result<(), Failure> {
    let method = match flags.method {
        Method::Smartcard => Way::Smartcard,
        Method::Otp => Way::Otp,
    };
    ask(&flags.on, Asked::Unlock(method.into()), output).await
}

async fn set_email(flags: &SetEmail, output: Output) -> Result<(), Failure> {
    ask(&flags.on, Asked::SetEmail(flags.email.clone()), output).await
}

async fn delete(flags: &Delete, output: Output) -> Result<(), Failure> {
    let change = &flags.on.change;
    let node = Operator::serving(&flags.on.connection).await?;
    let account = before(&node, &flags.on, output).await?;
    if !change.dry_run {
        confirmed(
            &flags.confirm,
            &account.user_id,
            "A deleted account is gone for good, and its id is never used again.",
            output,
        )?;
    }
    request(&node, change, &account.name, Asked::Delete(PLAIN), output).await
}
