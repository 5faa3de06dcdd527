//! `backup restore`: a new cluster that begins with a backup.
//!
//! The folder is written under another name and gets its own at the end, when all of it is on the
//! disk: there is either a whole cluster or none. What was left under the other name is no
//! cluster: no node starts from it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use consensus::base::UNFINISHED;
use domain::registration::{Holder, Registration};
use domain::{ClusterId, OperatorId, State, UnixMs};

use super::file::{self, Keys, Opened};
use super::{document, time};
use crate::args::backup::Restore;
use crate::args::cluster::Init;
use crate::exit::{Failure, file_failure};
use crate::founding::{self, Base, Plan};
use crate::output::Output;
use crate::verb::init;

/// By how much this machine's clock may be behind the backup's.
const BEHIND_MS_MAX: u64 = 2_000;

pub(super) fn run(flags: &Restore, output: Output) -> Result<(), Failure> {
    if flags.init.exists() {
        let what = format!(
            "{} is there: a restore founds a new cluster",
            flags.init.display()
        );
        return Err(Failure::pre_check(what).next("name a folder that does not exist"));
    }
    let keys = Keys::read(&flags.keys)?;
    output.talk("opening the backup");
    let opened = file::open(&flags.file, &keys)?;
    let plan = plan(flags, &opened)?;
    let by: OperatorId = flags
        .by
        .parse()
        .map_err(|error| Failure::usage(format!("--by: {error}")))?;
    if !plan.operators.contains(&by) {
        return Err(Failure::usage(format!(
            "--by: {by} is not among the new cluster's operators"
        )));
    }
    if !(1..=server::request::REASON_BYTES_MAX).contains(&flags.reason.len()) {
        return Err(Failure::usage(
            "--reason: a reason is needed, of 256 bytes at most",
        ));
    }
    let cards = flags.card_anchors.as_deref().map(anchors).transpose()?;
    let base = Base {
        backup: &opened.backup,
        state: &opened.state,
        keys: &keys.text,
        cards: cards.as_deref(),
        by,
        reason: flags.reason.clone(),
    };
    let cluster = if flags.dry_run {
        founding::check(&plan, &base)?;
        None
    } else {
        output.talk("writing the new cluster");
        Some(write(&plan, &base, &flags.init)?)
    };
    told(flags, &opened, &plan, cluster, output)
}

fn told(
    flags: &Restore,
    opened: &Opened,
    plan: &Plan,
    cluster: Option<ClusterId>,
    output: Output,
) -> Result<(), Failure> {
    let backup = &opened.backup;
    let document = serde_json::json!({
        "cluster": cluster.map(|cluster| cluster.to_string()),
        "dry_run": flags.dry_run,
        "folder": flags.init,
        "nodes": plan.nodes.iter().map(|node| node.id.0).collect::<Vec<u64>>(),
        "operators": plan.operators,
        "front_ends": plan.front_ends,
        "back_ends": plan.back_ends,
        "restored_from": document(backup),
    });
    output.data(&document, || {
        let dir = flags.init.display();
        let from = format!(
            "backup {} of cluster {}: {} accounts as of {}",
            backup.id,
            backup.cluster,
            backup.accounts,
            time(backup.clock)
        );
        let Some(cluster) = cluster else {
            return format!("{from}\na cluster could be founded with it; nothing was written");
        };
        format!(
            "{from}\n\
             cluster {cluster}: {} nodes in {}, account digest {}\n\
             bring to everybody the certificates in {dir}/operators, front-ends and back-ends:\n  \
             those of the old cluster are not believed\n\
             start each node:  tidemark serve --config {dir}/nodes/1/node.toml\n\
             then look at it:  tidemark status --profile {dir}/profile.toml\n\
             take {dir}/ca/*.key into a safe: no node needs them",
            plan.nodes.len(),
            plan.centres(),
            backup.digests.account,
        )
    })
}

fn anchors(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| file_failure("read", path, &error))?;
    credential::card::Anchors::from_pem(&text)
        .map_err(|error| Failure::pre_check(format!("{}: {error}", path.display())))?;
    Ok(text)
}

/// What the flags say, and else the backup.
fn plan(flags: &Restore, opened: &Opened) -> Result<Plan, Failure> {
    let state = &opened.state;
    let broken = || Failure::mismatch("the backup holds no founding");
    let founding = state.founding().ok_or_else(broken)?;
    // As they are now: the primary's role may have moved since the founding.
    let centres = state.centres().ok_or_else(broken)?;
    let centres: Vec<&str> = centres.all().map(|centre| centre.name.as_str()).collect();
    let primary = flags.primary.as_deref().or(centres.first().copied());
    let primary = primary.ok_or_else(broken)?;
    let secondary = centres.iter().find(|name| **name != primary);
    if !centres.contains(&primary) {
        return Err(Failure::usage(format!(
            "--primary: the centres are {}",
            centres.join(" and ")
        )));
    }
    let or = |said: &[String], known: fn(&Registration) -> Option<String>| {
        if said.is_empty() {
            registered(state, known)
        } else {
            said.to_vec()
        }
    };
    let init = Init {
        dir: flags.init.clone(),
        title: flags.title.clone().unwrap_or(founding.title.clone()),
        primary: primary.to_owned(),
        secondary: secondary.map_or("", |name| name).to_owned(),
        single_centre: secondary.is_none(),
        nodes: flags.nodes,
        host: flags.host.clone(),
        port: flags.port,
        health: flags.health,
        metrics: flags.metrics,
        server_name: flags.server_name.clone(),
        operators: or(&flags.operators, |known| match &known.holder {
            Holder::Operator(id) => Some(id.to_string()),
            Holder::FrontEnd(_) | Holder::BackEnd(_) | Holder::Script(_) => None,
        }),
        front_ends: or(&flags.front_ends, |known| match &known.holder {
            Holder::FrontEnd(id) => Some(id.to_string()),
            Holder::Operator(_) | Holder::BackEnd(_) | Holder::Script(_) => None,
        }),
        back_ends: or(&flags.back_ends, |known| match &known.holder {
            Holder::BackEnd(id) => Some(id.to_string()),
            Holder::Operator(_) | Holder::FrontEnd(_) | Holder::Script(_) => None,
        }),
        timetable: None,
        holidays: None,
        simulated_clock: flags.simulated_clock,
    };
    let mut plan = init::plan(&init)?;
    plan.calendar = state.calendar().clone();
    plan.simulated = begins(founding.simulated_clock, plan.simulated, opened)?;
    let now = plan.simulated.unwrap_or(plan.now);
    if now.plus(BEHIND_MS_MAX) < opened.backup.clock {
        let what = format!(
            "the clock says {}, and the backup is of {}: time never goes backwards on a line",
            time(now),
            time(opened.backup.clock)
        );
        return Err(Failure::pre_check(what).next("set this machine's clock, or the simulated one"));
    }
    Ok(plan)
}

/// Where a simulated clock goes on: only a cluster for drills is restored as one.
fn begins(
    simulated: bool,
    said: Option<UnixMs>,
    opened: &Opened,
) -> Result<Option<UnixMs>, Failure> {
    match (simulated, said) {
        (true, said) => Ok(Some(said.unwrap_or(opened.backup.clock))),
        (false, None) => Ok(None),
        (false, Some(_)) => Err(Failure::usage(
            "--simulated-clock: the backup is of a cluster with the machines' own clock",
        )),
    }
}

fn registered(state: &State, name: fn(&Registration) -> Option<String>) -> Vec<String> {
    let live = state
        .registrations()
        .filter(|known| known.retired.is_none());
    live.filter_map(name).collect()
}

/// Writes the cluster beside its place, and puts it there once all of it is on the disk.
fn write(plan: &Plan, base: &Base<'_>, folder: &Path) -> Result<ClusterId, Failure> {
    // Without a slash at its end, behind which the other name would be inside.
    let folder = std::path::absolute(folder)
        .map_err(|error| file_failure("make", folder, &error))?
        .components()
        .collect::<PathBuf>();
    let mut name = folder.as_os_str().to_owned();
    name.push(".");
    name.push(UNFINISHED);
    let unfinished = PathBuf::from(name);
    let failed = |error: &io::Error| file_failure("write", &unfinished, error);
    // What an earlier restore left that did not end: no node ever started from it.
    consensus::place::remove_folder(&unfinished).map_err(|error| failed(&error))?;
    let written = founding::found_on(plan, Some(base), &unfinished).and_then(|cluster| {
        sync(&unfinished).map_err(|error| failed(&error))?;
        consensus::place::rename(&unfinished, &folder)
            .map_err(|error| file_failure("make", &folder, &error))?;
        Ok(cluster)
    });
    if written.is_err() {
        // Half a cluster is none; the disk may be full because of it.
        drop(fs::remove_dir_all(&unfinished));
    }
    written
}

/// Makes a folder durable with all that is in it.
fn sync(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    consensus::place::sync_folder(folder)
}
