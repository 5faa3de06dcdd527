//! `caller`: who may call, by which key. Registering takes two operators, each with a signed
//! approval; retiring one.

use credential::certificate;
use domain::approval::Act;
use domain::portal::Portal;
use domain::registration::{Holder, Registering};
use proto::account::v1 as account;
use proto::operator::v1::registration_service_client::RegistrationServiceClient;
use proto::operator::v1::{
    ListRegistrationsRequest, RegisterBackEndRequest, RegisterFrontEndRequest,
    RegisterOperatorRequest, RegisterScriptRequest, Registration, RetireCallerRequest,
};
use tonic::transport::Channel;

use super::already;
use crate::args::caller::{Caller, List, Portal as Named, Register, Retire, Role};
use crate::client::{Operator, told};
use crate::drill::words;
use crate::exit::{Failure, file_failure};
use crate::output::{Output, Table};
use crate::profile::Profile;

/// Lists, registers or retires.
///
/// # Errors
/// What went wrong, with its exit code.
pub async fn run(flags: &Caller, output: Output) -> Result<(), Failure> {
    match flags {
        Caller::List(flags) => list(flags, output).await,
        Caller::Register(flags) => already(&flags.change, register(flags, output).await, output),
        Caller::Retire(flags) => already(&flags.change, retire(flags, output).await, output),
    }
}

fn role(of: Role) -> &'static str {
    match of {
        Role::Operator => "operator",
        Role::FrontEnd => "front-end",
        Role::BackEnd => "back-end",
        Role::Script => "script",
    }
}

/// Those that `wanted` asks for, and those of them that wait.
async fn all(
    node: &Operator,
    wanted: ListRegistrationsRequest,
) -> Result<(Vec<Registration>, Vec<Registration>), Failure> {
    let mut known = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = ListRegistrationsRequest {
            page_size: 500,
            page_token,
            ..wanted.clone()
        };
        let request = node.request(message, None);
        let answer = told(node.registration().list_registrations(request).await)?;
        known.extend(answer.registrations);
        if answer.next_page_token.is_empty() {
            return Ok((known, answer.waiting));
        }
        page_token = answer.next_page_token;
    }
}

fn state(of: &Registration) -> String {
    match (&of.retire_time, &of.register_time) {
        (Some(_), _) => format!(
            "retired {} by {}: {}",
            words::local(of.retire_time.as_ref()),
            of.retired_by,
            of.retire_reason
        ),
        (None, Some(_)) => format!("since {}", words::local(of.register_time.as_ref())),
        (None, None) => "waits for another operator".to_owned(),
    }
}

fn portals(of: &Registration) -> String {
    let portals = of.portals().map(|portal| match portal {
        account::Portal::Ccms => "ccms",
        account::Portal::Dms => "dms",
        account::Portal::Unspecified => "-",
    });
    portals.collect::<Vec<_>>().join(",")
}

async fn list(flags: &List, output: Output) -> Result<(), Failure> {
    let node = Operator::connect(&flags.connection).await?;
    let wanted = ListRegistrationsRequest {
        role: flags.role.map(role).unwrap_or_default().to_owned(),
        omit_retired: flags.omit_retired,
        ..ListRegistrationsRequest::default()
    };
    let (known, waiting) = all(&node, wanted).await?;
    let rows: Vec<&Registration> = waiting.iter().chain(&known).collect();
    let document: Vec<serde_json::Value> = rows
        .iter()
        .map(|of| {
            serde_json::json!({
                "caller": of.caller, "key": of.key, "portals": portals(of), "state": state(of),
                "approved_by": of.approvers, "retired": of.retire_time.is_some(),
                "waits": of.register_time.is_none(),
            })
        })
        .collect();
    output.data(&document, || {
        let mut table = Table::new(&["CALLER", "KEY", "PORTALS", "STATE", "APPROVED BY"]);
        for of in &rows {
            let key: String = of.key.chars().take(16).collect();
            table.row([
                of.caller.clone(),
                key,
                portals(of),
                state(of),
                of.approvers.join(", "),
            ]);
        }
        table.text()
    })
}

/// Who holds the certificate, and what of it is pinned.
fn read(flags: &Register) -> Result<Registering, Failure> {
    let path = &flags.certificate;
    let text = std::fs::read_to_string(path).map_err(|error| file_failure("read", path, &error))?;
    let wrong = |error: certificate::Error| {
        Failure::pre_check(format!("{}: {error}", path.display()))
            .next("issue one: tidemark certificate issue ROLE/ID --dir FOLDER")
    };
    let chain = certificate::from_pem(&text).map_err(wrong)?;
    let first = chain.first().ok_or(certificate::Error::Unreadable);
    let peer = certificate::peer(first.map_err(wrong)?).map_err(wrong)?;
    if peer.identity.cluster != Profile::read(&flags.connection.profile)?.cluster() {
        return Err(Failure::pre_check(format!(
            "{} is a certificate of another cluster",
            path.display()
        )));
    }
    let holder = match peer.identity.holder {
        certificate::Holder::Operator(id) => Holder::Operator(id),
        certificate::Holder::FrontEnd(id) => Holder::FrontEnd(id),
        certificate::Holder::BackEnd(id) => Holder::BackEnd(id),
        certificate::Holder::Script(id) => Holder::Script(id),
        certificate::Holder::Node(_) => {
            return Err(Failure::pre_check(
                "a node is not registered: its own authority vouches for it",
            ));
        }
    };
    let mut portals: Vec<Portal> = flags
        .portal
        .iter()
        .map(|portal| match portal {
            Named::Ccms => Portal::Ccms,
            Named::Dms => Portal::Dms,
        })
        .collect();
    if matches!(holder, Holder::FrontEnd(_)) && portals.is_empty() {
        portals = vec![Portal::Ccms, Portal::Dms];
    }
    portals.sort_unstable();
    portals.dedup();
    Ok(Registering {
        holder,
        key: peer.key,
        portals,
    })
}

async fn register(flags: &Register, output: Output) -> Result<(), Failure> {
    let registering = read(flags)?;
    let reason = wanted(flags.change.reason.as_deref())?;
    let node = Operator::connect(&flags.connection).await?;
    let seen = node.seen().await?;
    let act = Act::Register(registering.clone());
    let approval = node.sign_unless_dry(&flags.change, &act, &seen, output)?;
    let validate_only = flags.change.dry_run;
    let id = node.request_id(&flags.change);
    let request_id = id.to_string();
    let key = registering.key.to_string();
    let change = &flags.change;
    let client = || node.registration();
    let (have, need) = match &registering.holder {
        Holder::Operator(operator) => {
            let message = RegisterOperatorRequest {
                request_id,
                operator: operator.to_string(),
                key,
                reason,
                approval,
                validate_only,
            };
            let ask = |request| {
                let mut client: RegistrationServiceClient<Channel> = client();
                async move { client.register_operator(request).await }
            };
            let answer = node.change(id, change, message, ask).await?;
            (answer.approval_count, answer.needed_count)
        }
        Holder::FrontEnd(front_end) => {
            let portals = registering.portals.iter().map(|portal| match portal {
                Portal::Ccms => account::Portal::Ccms.into(),
                Portal::Dms => account::Portal::Dms.into(),
            });
            let message = RegisterFrontEndRequest {
                request_id,
                front_end: front_end.to_string(),
                key,
                portals: portals.collect(),
                reason,
                approval,
                validate_only,
            };
            let ask = |request| {
                let mut client: RegistrationServiceClient<Channel> = client();
                async move { client.register_front_end(request).await }
            };
            let answer = node.change(id, change, message, ask).await?;
            (answer.approval_count, answer.needed_count)
        }
        Holder::BackEnd(back_end) => {
            let message = RegisterBackEndRequest {
                request_id,
                back_end: back_end.to_string(),
                key,
                reason,
                approval,
                validate_only,
            };
            let ask = |request| {
                let mut client: RegistrationServiceClient<Channel> = client();
                async move { client.register_back_end(request).await }
            };
            let answer = node.change(id, change, message, ask).await?;
            (answer.approval_count, answer.needed_count)
        }
        Holder::Script(script) => {
            let message = RegisterScriptRequest {
                request_id,
                script: script.to_string(),
                key,
                reason,
                approval,
                validate_only,
            };
            let ask = |request| {
                let mut client: RegistrationServiceClient<Channel> = client();
                async move { client.register_script(request).await }
            };
            let answer = node.change(id, change, message, ask).await?;
            (answer.approval_count, answer.needed_count)
        }
    };
    if validate_only {
        return super::would(output, &format!("approve: register {}", registering.holder));
    }
    super::approved(output, &registering.holder.to_string(), have, need)
}

/// Why, which the audit keeps.
fn wanted(reason: Option<&str>) -> Result<String, Failure> {
    reason
        .map(str::to_owned)
        .ok_or_else(|| Failure::usage("this act wants --reason, for the audit"))
}

async fn retire(flags: &Retire, output: Output) -> Result<(), Failure> {
    let reason = wanted(flags.change.reason.as_deref())?;
    let node = Operator::connect(&flags.connection).await?;
    let (known, _) = all(&node, ListRegistrationsRequest::default()).await?;
    let found = known.iter().find(|of| of.caller == flags.caller);
    let found = found.ok_or_else(|| {
        Failure::pre_check(format!("no {} is registered", flags.caller))
            .next("see them: tidemark caller list")
    })?;
    output.talk(&format!(
        "{}, key {}, {}",
        found.caller,
        found.key,
        state(found)
    ));
    let id = node.request_id(&flags.change);
    let message = RetireCallerRequest {
        request_id: id.to_string(),
        caller: flags.caller.clone(),
        reason,
        validate_only: flags.change.dry_run,
    };
    let ask = |request| {
        let mut client = node.registration();
        async move { client.retire_caller(request).await }
    };
    let answer = node.change(id, &flags.change, message, ask).await?;
    if flags.change.dry_run {
        return super::would(output, &format!("retire {}", flags.caller));
    }
    let document = serde_json::json!({
        "caller": flags.caller, "retired": true, "ended_tokens": answer.ended_token_count,
    });
    output.data(&document, || {
        format!(
            "{} is retired; {} tokens ended",
            flags.caller, answer.ended_token_count
        )
    })
}
