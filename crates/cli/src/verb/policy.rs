//! `policy`: the numbers and choices that operators set, as one file.

use domain::Digest;
use domain::approval::Act;
use proto::operator::v1::{GetPolicyRequest, SetPolicyRequest};

use super::already;
use crate::args::policy::{Policy, Set, Show};
use crate::client::{Operator, told};
use crate::exit::{Failure, file_failure};
use crate::output::Output;

/// Shows or sets.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Policy, output: Output) -> Result<(), Failure> {
    match flags {
        Policy::Show(flags) => show(flags, output).await,
        Policy::Set(flags) => already(&flags.change, set(flags, output).await, output),
    }
}

async fn show(flags: &Show, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let request = node.request(GetPolicyRequest {}, None);
    let answer = told(node.policy().get_policy(request).await)?;
    let document = serde_json::json!({ "policy": answer.policy_toml, "etag": answer.etag });
    output.data(&document, || {
        format!("# etag {}\n{}", answer.etag, answer.policy_toml)
    })
}

/// What is different, line by line: the settings are one a line.
fn differences(before: &str, after: &str) -> Vec<String> {
    let lines = |text: &str| -> Vec<String> {
        let all = text.lines().map(str::trim);
        all.filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    };
    let (before, after) = (lines(before), lines(after));
    let gone = before.iter().filter(|line| !after.contains(line));
    let new = after.iter().filter(|line| !before.contains(line));
    gone.map(|line| format!("- {line}"))
        .chain(new.map(|line| format!("+ {line}")))
        .collect()
}

async fn set(flags: &Set, output: Output) -> Result<(), Failure> {
    let path = &flags.file;
    let text = std::fs::read_to_string(path).map_err(|error| file_failure("read", path, &error))?;
    let node = Operator::connect(&flags.connection).await?;
    let seen = node.seen().await?;
    let request = node.request(GetPolicyRequest {}, None);
    let before = told(node.policy().get_policy(request).await)?.policy_toml;
    let id = node.request_id(&flags.change);
    let etag = flags.etag.as_deref().map(str::parse).transpose();
    let etag: Option<Digest> = etag.map_err(|_| Failure::usage("the etag is no digest"))?;
    // What cannot be read is told by the node, all that is wrong with it at once.
    let approval = match toml::from_str::<domain::policy::Policy>(&text) {
        Ok(policy) if !flags.change.dry_run => {
            output.talk(&differences(&before, &text).join("\n"));
            let act = Act::Policy(Box::new(policy), etag);
            Some(node.sign(&act, &seen, output)?)
        }
        Ok(_) | Err(_) => None,
    };
    let message = SetPolicyRequest {
        request_id: id.to_string(),
        policy_toml: text,
        etag: flags.etag.clone().unwrap_or_default(),
        dry_run: flags.change.dry_run,
        approval,
    };
    let ask = |request| {
        let mut client = node.policy();
        async move { client.set_policy(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    let changed = differences(&before, &answer.policy_toml);
    if flags.change.dry_run {
        output.talk("dry run: nothing was changed");
    }
    let document = serde_json::json!({
        "dry_run": flags.change.dry_run, "changes": changed, "policy": answer.policy_toml,
        "approvals": answer.approval_count, "needed": answer.needed_count,
        "done": answer.approval_count >= answer.needed_count,
    });
    if answer.approval_count < answer.needed_count && !flags.change.dry_run {
        output.talk(&format!(
            "{} of {} operators have approved; nothing is changed until another approves the same \
             file within 30 minutes, with --as",
            answer.approval_count, answer.needed_count
        ));
    }
    output.data(&document, || {
        if changed.is_empty() {
            "nothing is different".to_owned()
        } else {
            changed.join("\n")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_policy_changes_is_shown_line_by_line() {
        let found = differences("# etag 1\na = 1\nb = 2\n", "a = 1\nb = 3");
        assert_eq!(found, ["- b = 2", "+ b = 3"]);
    }
}
