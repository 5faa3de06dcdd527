//! `init`: founds a cluster from the flags.

use std::collections::BTreeSet;
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
const PORTS_A_NODE: u16 = 10;

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
            "cluster {cluster}: {} nodes in {}\n\
             start each node:  tidemark serve --config {dir}/nodes/1/node.toml\n\
             then look at it:  tidemark status --profile {dir}/profile.toml\n\
             take {dir}/ca/*.key into a safe: no node needs them",
            plan.nodes.len(),
            plan.centres(),
        )
    })
}

/// The plan of the flags.
pub(crate) fn plan(flags: &Init) -> Result<Plan, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
    let primary: CentreName = flags.primary.parse().map_err(|error| wrong(&error))?;
    let secondary = match flags.single_centre {
        true => None,
        false => Some(flags.secondary.parse().map_err(|error| wrong(&error))?),
    };
    if secondary.as_ref() == Some(&primary) {
        return Err(Failure::usage("the two centres must have two names"));
    }
    let centres: Vec<&CentreName> = std::iter::once(&primary).chain(&secondary).collect();
    let nodes = nodes(flags, &centres)?;
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

/// The nodes of the centres. One that has an address to itself takes the same ports as every
/// other one, so that clients need no change when the serving centre changes (R4).
fn nodes(flags: &Init, centres: &[&CentreName]) -> Result<Vec<PlannedNode>, Failure> {
    let of: Vec<&CentreName> = centres
        .iter()
        .flat_map(|centre| std::iter::repeat_n(*centre, usize::from(flags.nodes)))
        .collect();
    let hosts: Vec<(IpAddr, u16)> = match flags.host.as_slice() {
        [host] => (0..)
            .zip(&of)
            .map(|(index, _): (u16, _)| (*host, index * PORTS_A_NODE))
            .collect(),
        hosts if hosts.len() == of.len() => hosts.iter().map(|host| (*host, 0)).collect(),
        hosts => {
            return Err(Failure::usage(format!(
                "--host: {} addresses for {} nodes",
                hosts.len(),
                of.len()
            ))
            .next("name one address for all nodes, or one for each, the primary's first"));
        }
    };
    let alone: BTreeSet<&(IpAddr, u16)> = hosts.iter().collect();
    if alone.len() != hosts.len() {
        return Err(Failure::usage("--host: two nodes have the same address"));
    }
    let node = |(id, (centre, (host, later))): (u64, (&CentreName, &(IpAddr, u16)))| {
        let port = |offset: u16| {
            flags
                .port
                .checked_add(*later)
                .and_then(|first| first.checked_add(offset))
                .map(|port| SocketAddr::new(*host, port))
                .ok_or_else(|| Failure::usage("the ports do not fit: choose a lower --port"))
        };
        Ok(PlannedNode {
            id: NodeId(id),
            centre: centre.clone(),
            listen: [port(0)?, port(1)?, port(2)?, port(3)?],
            health: if flags.health { Some(port(4)?) } else { None },
            metrics: if flags.metrics { Some(port(5)?) } else { None },
        })
    };
    (1..).zip(of.into_iter().zip(&hosts)).map(node).collect()
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
        None => BTreeSet::new(),
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
pub(crate) fn moment(local: jiff::civil::DateTime) -> Result<UnixMs, Failure> {
    let date = local.date();
    let time = format!("{:02}:{:02}", local.hour(), local.minute());
    Day::new(date.year(), date.month(), date.day())
        .and_then(|day| day.at(time.parse().ok()?))
        .ok_or_else(|| Failure::usage("the simulated clock must begin after 1970"))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        init: Init,
    }

    fn planned(flags: &str) -> Result<Plan, Failure> {
        let words = format!("init --dir never {flags}");
        plan(&Line::parse_from(words.split(' ')).init)
    }

    #[test]
    fn nodes_with_an_address_each_have_the_same_ports_at_both_centres_r4() {
        let hosts = "10.1.0.1,10.1.0.2,10.2.0.1,10.2.0.2";
        let plan = planned(&format!("--nodes 2 --port 7443 --host {hosts}")).unwrap();
        let mut shown = Vec::new();
        for node in &plan.nodes {
            assert_eq!(
                node.listen.map(|address| address.port()),
                [7443, 7444, 7445, 7446]
            );
            assert_eq!(node.health, None, "off unless it is asked for");
            shown.push((node.centre.as_str(), node.listen[0].ip().to_string()));
        }
        let wanted = hosts.split(',').map(str::to_owned);
        let centres = ["east", "east", "west", "west"];
        assert_eq!(shown, centres.into_iter().zip(wanted).collect::<Vec<_>>());
    }

    #[test]
    fn nodes_at_one_address_have_ports_of_their_own() {
        let plan = planned("--nodes 2 --port 7010").unwrap();
        let firsts = plan.nodes.iter().map(|node| node.listen[0].to_string());
        let wanted = ["7010", "7020", "7030", "7040"].map(|port| format!("127.0.0.1:{port}"));
        assert_eq!(firsts.collect::<Vec<_>>(), wanted);
        assert!(planned("--nodes 7 --port 65500").is_err());
        let plan = planned("--nodes 1 --port 7010 --health").unwrap();
        let health = plan.nodes.iter().filter_map(|node| node.health);
        let ports: Vec<u16> = health.map(|address| address.port()).collect();
        assert_eq!(ports, [7014, 7024]);
    }

    #[test]
    fn addresses_for_some_nodes_or_for_two_at_once_are_refused() {
        for hosts in [
            "10.1.0.1,10.2.0.1,10.2.0.2",
            "10.1.0.1,10.1.0.2,10.2.0.1,10.1.0.1",
        ] {
            let failure = planned(&format!("--nodes 2 --host {hosts}")).unwrap_err();
            assert_eq!(failure.exit, crate::exit::Exit::Usage, "{hosts}");
        }
    }
}
