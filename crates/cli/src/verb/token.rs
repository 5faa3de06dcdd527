//! `token`: live tokens as operators see them, by their digests.

use std::io::{IsTerminal as _, Read as _};

use proto::account::v1::{Channel, Method, Portal};
use proto::admin::v1::watch_account_tokens_response::Event;
use proto::admin::v1::{
    AccountToken, EndAccountTokensRequest, GetAccountTokenRequest, ListAccountTokensRequest,
    WatchAccountTokensRequest,
};
use zeroize::Zeroizing;

use super::account::shown::find;
use crate::args::token::{End, Introspect, List, Token, Watch};
use crate::client::{Operator, told};
use crate::drill::words;
use crate::exit::Failure;
use crate::output::{Output, Table};

/// Most bytes that are read of a token on stdin.
const TYPED_BYTES_MAX: u64 = 1_024;

/// Lists, shows, ends or watches.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Token, output: Output) -> Result<(), Failure> {
    match flags {
        Token::List(flags) => list(flags, output).await,
        Token::Introspect(flags) => introspect(flags, output).await,
        Token::End(flags) => end(flags, output).await,
        Token::Watch(flags) => watch(flags, output).await,
    }
}

fn portal(of: &AccountToken) -> &'static str {
    match of.portal() {
        Portal::Ccms => "ccms",
        Portal::Dms => "dms",
        Portal::Unspecified => "-",
    }
}

fn method(of: &AccountToken) -> &'static str {
    match (of.method(), of.channel()) {
        (Method::Smartcard, _) => "smartcard",
        (Method::Otp, Channel::Email) => "otp by e-mail",
        (Method::Otp, Channel::Authenticator | Channel::Unspecified) => "otp",
        (Method::Unspecified, _) => "-",
    }
}

fn document(of: &AccountToken) -> serde_json::Value {
    serde_json::json!({
        "digest": of.token_id, "account": of.account, "portal": portal(of), "method": method(of),
        "scopes": of.scopes, "front_end": of.front_end, "client_address": of.client_address,
        "created": words::local(of.create_time.as_ref()),
        "ends": words::local(of.expire_time.as_ref()),
        "ends_without_activity": words::local(of.idle_expire_time.as_ref()),
    })
}

fn table(tokens: &[AccountToken]) -> String {
    let mut table = Table::new(&[
        "DIGEST",
        "ACCOUNT",
        "PORTAL",
        "METHOD",
        "FRONT END",
        "FROM",
        "SINCE",
        "ENDS",
        "IDLE UNTIL",
    ]);
    for token in tokens {
        table.row([
            token.token_id.clone(),
            token.account.clone(),
            portal(token).to_owned(),
            method(token).to_owned(),
            token.front_end.clone(),
            token.client_address.clone(),
            words::local(token.create_time.as_ref()),
            words::local(token.expire_time.as_ref()),
            words::local(token.idle_expire_time.as_ref()),
        ]);
    }
    table.text()
}

async fn list(flags: &List, output: Output) -> Result<(), Failure> {
    let node = Operator::serving(&flags.connection).await?;
    let account = find(&node, &flags.account).await?;
    let message = ListAccountTokensRequest { name: account.name };
    let answer = told(
        node.account()
            .list_account_tokens(node.request(message, None))
            .await,
    )?;
    let documents: Vec<_> = answer.tokens.iter().map(document).collect();
    output.data(&serde_json::json!({ "tokens": documents }), || {
        table(&answer.tokens)
    })
}

/// The digest of a token that is typed or piped in. The token itself goes no further than here.
fn typed_digest(output: Output) -> Result<String, Failure> {
    let text = Zeroizing::new(if std::io::stdin().is_terminal() {
        output.ask_hidden("The token:")?
    } else {
        let mut text = String::new();
        let mut input = std::io::stdin().lock().take(TYPED_BYTES_MAX);
        input
            .read_to_string(&mut text)
            .map_err(|error| Failure::usage(format!("cannot read the token: {error}")))?;
        text
    });
    let token = credential::secret::Token::parse(text.trim())
        .map_err(|wrong| Failure::usage(format!("what was typed is no token: it {wrong}")))?;
    Ok(token.digest().to_string())
}

async fn introspect(flags: &Introspect, output: Output) -> Result<(), Failure> {
    let token_id = match &flags.digest {
        Some(digest) => digest.clone(),
        None => typed_digest(output)?,
    };
    let node = Operator::serving(&flags.connection).await?;
    let message = GetAccountTokenRequest { token_id };
    let answer = told(
        node.account()
            .get_account_token(node.request(message, None))
            .await,
    )?;
    let token = answer.token.unwrap_or_default();
    output.data(&document(&token), || table(std::slice::from_ref(&token)))
}

async fn end(flags: &End, output: Output) -> Result<(), Failure> {
    let node = Operator::serving(&flags.connection).await?;
    let account = find(&node, &flags.account).await?;
    let id = node.request_id(&flags.change);
    let message = EndAccountTokensRequest {
        request_id: id.to_string(),
        name: account.name.clone(),
        token_id: flags.token.clone().unwrap_or_default(),
        validate_only: flags.change.dry_run,
        ..EndAccountTokensRequest::default()
    };
    let ask = |request| {
        let mut client = node.account();
        async move { client.end_account_tokens(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    let (dry, count) = (flags.change.dry_run, answer.ended_count);
    let document = serde_json::json!({ "dry_run": dry, "account": account.name, "ended": count });
    output.data(&document, || match dry {
        true => format!("would end {count} tokens of {}", account.name),
        false => format!("ended {count} tokens of {}", account.name),
    })
}

async fn watch(flags: &Watch, output: Output) -> Result<(), Failure> {
    let node = Operator::serving(&flags.connection).await?;
    let message = WatchAccountTokensRequest {
        position: flags.position.clone().unwrap_or_default(),
    };
    // A watch has no deadline: it does not end by itself.
    let request = tonic::Request::new(message);
    let mut told_next = told(node.account().watch_account_tokens(request).await)?;
    loop {
        let next = told_next
            .message()
            .await
            .map_err(|status| crate::refusal::failure(&status, crate::refusal::Asked::Read))?;
        let Some(next) = next else {
            return Ok(());
        };
        let (document, text) = match &next.event {
            Some(Event::TokenId(digest)) => (
                serde_json::json!({ "position": next.position, "ended": digest }),
                format!("{} ended", digest),
            ),
            Some(Event::Participant(name)) => (
                serde_json::json!({ "position": next.position, "ended_of": name }),
                format!("all of {name} ended"),
            ),
            Some(Event::AllEnded(line)) => (
                serde_json::json!({
                    "position": next.position, "all_ended": true, "epoch": line.epoch,
                }),
                "all ended: the line changed, or the position was too old".to_owned(),
            ),
            None => continue,
        };
        output.event(&document, || text)?;
    }
}
