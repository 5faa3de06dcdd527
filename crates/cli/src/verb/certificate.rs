//! `certificate issue`: a caller's certificate from the authorities that `tidemark init` left in the
//! founding folder. It works where that folder is, and asks no node; registering the key is another
//! step, `caller register`.

use std::path::{Path, PathBuf};

use credential::authority::{Authority, Validity};
use credential::certificate::{Holder, Identity};
use domain::UnixMs;

use crate::args::certificate::{Certificate, Issue};
use crate::exit::{Failure, file_failure};
use crate::founding::create;
use crate::output::Output;
use crate::profile::{self, Profile};

const DAY_MS: u64 = 86_400_000;
/// By how much clocks of machines may differ.
const LEEWAY_MS: u64 = 3_600_000;

/// Issues.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(flags: &Certificate, output: Output) -> Result<(), Failure> {
    match flags {
        Certificate::Issue(flags) => issue(flags, output),
    }
}

/// The authority and the folder of a role.
fn place(holder: &Holder) -> Result<(&'static str, &'static str), Failure> {
    match holder {
        Holder::Operator(_) => Ok(("operator", "operators")),
        Holder::FrontEnd(_) => Ok(("front", "front-ends")),
        Holder::BackEnd(_) => Ok(("back", "back-ends")),
        // Scripts call at the operators' listener.
        Holder::Script(_) => Ok(("operator", "scripts")),
        Holder::Node(_) => Err(Failure::usage("a node's certificate is made by init alone")),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        file_failure("read", path, &error)
            .next("bring ca/ back from the safe, or have your own authority issue it")
    })
}

/// An authority that `tidemark init` made, from the founding folder.
pub(super) fn authority(dir: &Path, name: &str) -> Result<Authority, Failure> {
    let ca = dir.join("ca");
    let certificate = read(&ca.join(format!("{name}.pem")))?;
    let key = zeroize::Zeroizing::new(read(&ca.join(format!("{name}.key")))?);
    Authority::load(&certificate, &key).map_err(not_made)
}

pub(super) fn not_made(error: credential::authority::Error) -> Failure {
    Failure::pre_check(format!("the certificate was not made: {error}"))
}

/// A profile with this one identity, beside its certificate; none for those that no verb acts as.
fn own_profile(of: &Profile, holder: &Holder, id: &str) -> Result<Option<String>, Failure> {
    let identity = profile::Identity {
        cert: PathBuf::from(format!("{id}.pem")),
        key: PathBuf::from(format!("{id}.key")),
    };
    let mut file = profile::File {
        ca: Path::new("..").join(&of.file().ca),
        operators: Default::default(),
        scripts: Default::default(),
        front_ends: Default::default(),
        back_ends: Default::default(),
        cards: None,
        mailboxes: Vec::new(),
        ..of.file().clone()
    };
    match holder {
        Holder::Operator(id) => drop(file.operators.insert(id.clone(), identity)),
        Holder::Script(id) => drop(file.scripts.insert(id.clone(), identity)),
        Holder::FrontEnd(_) | Holder::BackEnd(_) | Holder::Node(_) => return Ok(None),
    }
    let text = toml::to_string_pretty(&file)
        .map_err(|error| Failure::internal(format!("cannot write TOML: {error}")))?;
    Ok(Some(format!(
        "# How {holder} reaches the cluster. Paths are relative to this file.\n\n{text}"
    )))
}

fn issue(flags: &Issue, output: Output) -> Result<(), Failure> {
    let profile = Profile::read(&flags.dir.join("profile.toml"))?;
    let cluster = profile.cluster();
    let identity: Identity = format!("tidemark://{cluster}/{}", flags.caller)
        .parse()
        .map_err(|_| {
            Failure::usage(format!("\"{}\" is no caller", flags.caller))
                .next("name role and id: operator/carol, front-end/web-3, script/saturday")
        })?;
    let (authority, kind) = place(&identity.holder)?;
    let authority = self::authority(&flags.dir, authority)?;
    let now = jiff::Timestamp::now().as_millisecond();
    let now = UnixMs(u64::try_from(now).unwrap_or(0));
    let validity = Validity {
        not_before: now.minus(LEEWAY_MS),
        not_after: now.plus(u64::from(flags.days).saturating_mul(DAY_MS)),
    };
    let issued = authority
        .issue_client(&identity, validity)
        .map_err(not_made)?;
    let id = flags.caller.rsplit('/').next().unwrap_or_default();
    let folder = flags.dir.join(kind);
    let path = folder.join(format!("{id}.pem"));
    let own = own_profile(&profile, &identity.holder, id)?;
    let profile_path = own
        .as_ref()
        .map(|_| folder.join(format!("{id}.profile.toml")));
    if flags.dry_run {
        output.talk("dry run: nothing was written");
        if path.exists() {
            return Err(Failure::pre_check(format!(
                "{} is there already",
                path.display()
            )));
        }
    } else {
        create(&path, &issued.certificate_pem, 0o644)?;
        create(&folder.join(format!("{id}.key")), &issued.key_pem, 0o600)?;
        if let (Some(text), Some(path)) = (&own, &profile_path) {
            create(path, text, 0o644)?;
        }
    }
    let document = serde_json::json!({
        "caller": flags.caller, "certificate": path, "key": issued.key.to_string(),
        "profile": profile_path, "dry_run": flags.dry_run,
    });
    output.data(&document, || {
        format!(
            "{}: {}\nkey         {}\nregister it with two operators: tidemark caller register {}",
            flags.caller,
            path.display(),
            issued.key,
            path.display(),
        )
    })
}
