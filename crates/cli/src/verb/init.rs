//! `init`: founds a cluster from the flags.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use domain::calendar::{Calendar, Day, Timetable, parse_holidays};
use domain::{CentreName, NodeId, UnixMs};

use crate::args::cluster::Init;
use crate::exit::{Failure, file_failure};
use crate::founding::{self, Plan, PlannedNode};
use crate::output::Output;

/// How far the ports of two nodes are apart.
const PORTS_A_NODE: u64 = 10;

/// Founds a cluster.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run(flags: &Init, output: Output) -> Result<(), Failure> {
    let plan = plan(flags)?;
    let cluster = founding::found(&plan, &flags.dir)?;
    let document = serde_json::json!({
        "cluster": cluster.to_string(),
        "folder": flags.dir,
        "nodes": plan.nodes.iter().map(|node| node.id.0).collect::<Vec<u64>>(),
    });
    output.data(&document, || {
        let dir = flags.dir.display();
        format!(
            "cluster {cluster}: {} nodes in {} and {}\n\
             start each node:  tidemark serve --config {dir}/nodes/1/node.toml\n\
             then look at it:  tidemark status --profile {dir}/profile.toml\n\
             take {dir}/ca/*.key into a safe: no node needs them",
            plan.nodes.len(),
            plan.primary,
            plan.secondary,
        )
    })
}

fn plan(flags: &Init) -> Result<Plan, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
    let primary: CentreName = flags.primary.parse().map_err(|error| wrong(&error))?;
    let secondary: CentreName = flags.secondary.parse().map_err(|error| wrong(&error))?;
    if primary == secondary {
        return Err(Failure::usage("the two centres must have two names"));
    }
    let host: IpAddr = flags
        .host
        .parse()
        .map_err(|_| Failure::usage(format!("--host: \"{}\" is no address", flags.host)))?;
    let each = u64::from(flags.nodes);
    let nodes = (0..2 * each)
        .map(|index| {
            let first = u64::from(flags.port) + index * PORTS_A_NODE;
            let port = |offset: u64| {
                u16::try_from(first + offset)
                    .map(|port| SocketAddr::new(host, port))
                    .map_err(|_| Failure::usage("the ports do not fit: choose a lower --port"))
            };
            Ok(PlannedNode {
                id: NodeId(index + 1),
                centre: if index < each {
                    primary.clone()
                } else {
                    secondary.clone()
                },
                listen: [port(0)?, port(1)?, port(2)?, port(3)?],
            })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    if flags.operators.len() < 2 {
        return Err(Failure::usage(
            "a cluster needs two operators at least (S34)",
        ));
    }
    Ok(Plan {
        title: flags.title.clone(),
        primary,
        secondary,
        nodes,
        server_name: flags.server_name.clone(),
        operators: parsed(&flags.operators)?,
        front_ends: parsed(&flags.front_ends)?,
        back_ends: parsed(&flags.back_ends)?,
        calendar: calendar(flags.timetable.as_deref(), flags.holidays.as_deref())?,
        now: now()?,
        simulated: flags.simulated_clock.map(moment).transpose()?,
    })
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    texts: &[String],
) -> Result<Vec<T>, Failure> {
    texts
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|error| Failure::usage(format!("{text}: {error}")))
        })
        .collect()
}

/// The calendar of two files, either of which may be absent.
pub(crate) fn calendar(
    timetable: Option<&Path>,
    holidays: Option<&Path>,
) -> Result<Calendar, Failure> {
    let read =
        |path: &Path| fs::read_to_string(path).map_err(|error| file_failure("read", path, &error));
    let listed = |path: &Path, problems: &[domain::calendar::Problem]| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Failure::pre_check(format!("{}:\n  {}", path.display(), lines.join("\n  ")))
    };
    let timetable = match timetable {
        Some(path) => Timetable::parse(&read(path)?).map_err(|found| listed(path, &found))?,
        None => Timetable::default(),
    };
    let holidays = match holidays {
        Some(path) => parse_holidays(&read(path)?).map_err(|found| listed(path, &found))?,
        None => std::collections::BTreeSet::new(),
    };
    Ok(Calendar::new(timetable, holidays))
}

/// The machine's time.
pub(crate) fn now() -> Result<UnixMs, Failure> {
    u64::try_from(jiff::Timestamp::now().as_millisecond())
        .map(UnixMs)
        .map_err(|_| Failure::internal("this machine's clock is before 1970"))
}

/// The moment of a local time, to the minute.
fn moment(local: jiff::civil::DateTime) -> Result<UnixMs, Failure> {
    let date = local.date();
    let time = format!("{:02}:{:02}", local.hour(), local.minute());
    Day::new(date.year(), date.month(), date.day())
        .and_then(|day| day.at(time.parse().ok()?))
        .ok_or_else(|| Failure::usage("the simulated clock must begin after 1970"))
}
