//! When certificates end: those that nodes use, those that callers showed them, and those of
//! callers that the profile knows. Of other callers only the keys are registered.

use std::collections::BTreeMap;
use std::path::Path;

use domain::UnixMs;
use proto::operator::v1::{GetStatusResponse, NodeCertificate};

use super::{Check, Found, Level};
use crate::drill::words;
use crate::profile::{Identity, Profile};
use crate::verb::init;

/// How long before its end a certificate is told of.
const SOON_MS: u64 = 30 * DAY_MS;
/// How long before it nothing should begin that needs it.
const NOW_MS: u64 = 2 * DAY_MS;
const DAY_MS: u64 = 86_400_000;
/// What to do about a caller's.
const RENEW: &str = "issue another one, and register its key: tidemark caller register";

/// How near an end is.
pub(super) fn level(now: UnixMs, not_after: UnixMs) -> Level {
    match not_after.since(now) {
        0..=NOW_MS => Level::Error,
        left if left <= SOON_MS => Level::Warning,
        _ => Level::Ok,
    }
}

fn until(now: UnixMs, not_after: UnixMs) -> String {
    match not_after.since(now) {
        0 => format!("expired at {not_after}"),
        left => format!("expires at {not_after}, in {} days", left / DAY_MS),
    }
}

struct Ending {
    whose: String,
    level: Level,
    when: String,
    next: &'static str,
}

/// The worst and the soonest are told one by one, the others together.
fn told(name: &'static str, all: Vec<Ending>, soonest: Option<UnixMs>) -> Vec<Check> {
    let count = all.len();
    let near: Vec<Check> = all
        .into_iter()
        .filter(|ending| ending.level != Level::Ok)
        .map(|ending| {
            let found = format!("{}: {}", ending.whose, ending.when);
            Check::not(ending.level, name, found, ending.next)
        })
        .collect();
    match (near.is_empty(), soonest) {
        (true, Some(soonest)) => {
            let found = format!("{count} certificates, the first expires at {soonest}");
            vec![Check::ok(name, found)]
        }
        (true, None) => Vec::new(),
        (false, _) => near,
    }
}

/// Those of the nodes, the anchors that they trust, and what callers showed them.
pub(super) fn of_nodes(found: &[Found<'_>], status: &GetStatusResponse) -> Vec<Check> {
    let Ok(machine) = init::now() else {
        return Vec::new();
    };
    let cluster = words::unix_ms(status.clock_time.as_ref());
    let (mut nodes, mut callers) = (Vec::new(), BTreeMap::new());
    let mut soonest: Option<UnixMs> = None;
    for found in found {
        let certificates = found
            .itself()
            .into_iter()
            .flat_map(|node| &node.certificates);
        for one in certificates {
            let not_after = words::unix_ms(one.expire_time.as_ref());
            match one.name.strip_prefix("caller/") {
                // The newest that any node was shown is in use.
                Some(caller) => {
                    let known: &mut UnixMs = callers.entry(caller.to_owned()).or_insert(UnixMs(0));
                    *known = not_after.max(*known);
                }
                None => {
                    soonest = soonest.into_iter().chain([not_after]).min();
                    nodes.push(ending(found.node.id, one, not_after, (machine, cluster)));
                }
            }
        }
    }
    let first = callers.values().copied().min();
    let callers = callers.into_iter().map(|(whose, not_after)| Ending {
        whose,
        level: level(machine, not_after),
        when: until(machine, not_after),
        next: RENEW,
    });
    let mut checks = told("certificates of nodes", nodes, soonest);
    checks.extend(told("certificates shown", callers.collect(), first));
    checks
}

/// Smartcards are judged by the cluster's clock, everything else by the machine's.
fn ending(
    node: u64,
    one: &NodeCertificate,
    not_after: UnixMs,
    (machine, cluster): (UnixMs, UnixMs),
) -> Ending {
    let now = if one.name == "anchor/cards" {
        cluster
    } else {
        machine
    };
    let (whose, next) = match one.name.strip_prefix("anchor/") {
        Some(role) => (
            format!("node {node}'s anchor of {role}"),
            "add the new anchor to the file on every node, and start each again",
        ),
        None => (
            format!("node {node}'s own"),
            "issue another one, put it in the node's folder, and start the node again",
        ),
    };
    Ending {
        whose,
        level: level(now, not_after),
        when: until(now, not_after),
        next,
    }
}

/// Those of the callers that the profile knows, and of the nodes' authority.
pub(super) fn of_profile(profile: &Profile) -> Vec<Check> {
    const NAME: &str = "certificates of callers";
    let Ok(now) = init::now() else {
        return Vec::new();
    };
    let file = profile.file();
    let cert = |kind: &str, id: &str, of: &Identity| (format!("{kind}/{id}"), of.cert.clone());
    let operators = file.operators.iter();
    let scripts = file.scripts.iter();
    let front_ends = file.front_ends.iter();
    let back_ends = file.back_ends.iter();
    let named = std::iter::once(("the nodes' authority".to_owned(), file.ca.clone()))
        .chain(operators.map(|(id, of)| cert("operator", id.as_str(), of)))
        .chain(scripts.map(|(id, of)| cert("script", id.as_str(), of)))
        .chain(front_ends.map(|(id, of)| cert("front-end", id.as_str(), of)))
        .chain(back_ends.map(|(id, of)| cert("back-end", id.as_str(), of)));
    let (mut all, mut checks) = (Vec::new(), Vec::new());
    let mut soonest: Option<UnixMs> = None;
    for (whose, path) in named {
        match ends(profile, &path) {
            Some(not_after) => {
                soonest = soonest.into_iter().chain([not_after]).min();
                all.push(Ending {
                    whose,
                    level: level(now, not_after),
                    when: until(now, not_after),
                    next: RENEW,
                });
            }
            None => checks.push(Check::not(
                Level::Warning,
                NAME,
                format!("{whose}: {} cannot be read", profile.path(&path).display()),
                "put the file where the profile says, or take it out of the profile",
            )),
        }
    }
    checks.extend(told(NAME, all, soonest));
    checks
}

/// When the first of a file's certificates ends.
fn ends(profile: &Profile, path: &Path) -> Option<UnixMs> {
    let pem = profile.text(path).ok()?;
    let certificates = credential::certificate::from_pem(&pem).ok()?;
    let ends = certificates
        .iter()
        .map(|der| credential::certificate::not_after(der).ok());
    ends.collect::<Option<Vec<UnixMs>>>()?.into_iter().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_told_of_a_month_before_its_end() {
        let now = UnixMs(1_000 * DAY_MS);
        let in_days = |days: u64| level(now, now.plus(days * DAY_MS));
        assert_eq!(in_days(31), Level::Ok);
        assert_eq!(in_days(30), Level::Warning);
        assert_eq!(in_days(2), Level::Error);
        assert_eq!(level(now, now.minus(1)), Level::Error);
    }
}
