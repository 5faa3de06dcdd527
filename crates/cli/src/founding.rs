//! Founding a cluster: authorities, certificates, keys, and a folder for each node that holds
//! everything that this node needs and nothing of another's. There are no default accounts
//! (S27): the first operators are named here, by their keys.

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use credential::authority::{Authorities, Authority, Issued, Validity};
use credential::certificate::{Holder, Identity};
use credential::keyring::Keyring;
use credential::{SystemEntropy, key_file};
use domain::backup::{self, Backup, Restored};
use domain::calendar::Calendar;
use domain::cluster::{BackEnd, Centre, Founding, FrontEnd, KeyPin, Node, Operator};
use domain::policy::Policy;
use domain::portal::Portal;
use domain::registration;
use domain::{BackEndId, CentreName, ClusterId, FrontEndId, NodeId, OperatorId, State, UnixMs};
use zeroize::Zeroizing;

use crate::exit::{Failure, file_failure};
use crate::profile;

/// How long certificates of a new cluster are valid, in milliseconds: two years.
const VALID_MS: u64 = 2 * 365 * 86_400_000;
/// By how much clocks of machines may differ at the start of that.
const LEEWAY_MS: u64 = 3_600_000;
/// A year, for the authority of software cards, which a simulated clock judges.
const YEAR_MS: u64 = 365 * 86_400_000;

/// A node to be.
#[derive(Debug, Clone)]
pub struct PlannedNode {
    /// Its number.
    pub id: NodeId,
    /// Its centre.
    pub centre: CentreName,
    /// Its listeners: front, back, operator, peer.
    pub listen: [SocketAddr; 4],
    /// Where it answers load balancers in plain HTTP, if it does.
    pub health: Option<SocketAddr>,
    /// Where it gives its figures to a monitoring system in plain HTTP, if it does.
    pub metrics: Option<SocketAddr>,
}

/// A cluster to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its name, for people.
    pub title: String,
    /// The centre that is primary at first.
    pub primary: CentreName,
    /// The other one; none in a cluster of one.
    pub secondary: Option<CentreName>,
    /// The nodes of both.
    pub nodes: Vec<PlannedNode>,
    /// The name that clients call every node by (R19).
    pub server_name: String,
    /// The first operators.
    pub operators: Vec<OperatorId>,
    /// The first front ends.
    pub front_ends: Vec<FrontEndId>,
    /// The first back ends.
    pub back_ends: Vec<BackEndId>,
    /// The calendar to begin with.
    pub calendar: Calendar,
    /// The time that it is now.
    pub now: UnixMs,
    /// The time that a simulated clock begins with; none for the machines' own.
    pub simulated: Option<UnixMs>,
}

impl Plan {
    /// Its centres, for people.
    #[must_use]
    pub fn centres(&self) -> String {
        match &self.secondary {
            Some(secondary) => format!("{} and {secondary}", self.primary),
            None => format!("{} alone", self.primary),
        }
    }
}

/// Somebody registered, with the certificate.
struct Registered<I> {
    id: I,
    issued: Issued,
}

/// What a cluster begins with that is restored.
#[derive(Debug)]
pub struct Base<'b> {
    /// The backup.
    pub backup: &'b Backup,
    /// The state in it.
    pub state: &'b State,
    /// The text of the key file that its values are sealed under.
    pub keys: &'b str,
    /// The anchors of people's cards (PEM), if they stay.
    pub cards: Option<&'b str>,
    /// Who restores.
    pub by: OperatorId,
    /// Why.
    pub reason: String,
}

/// Writes a cluster folder.
///
/// # Errors
/// If the folder is not empty, or something cannot be made or written.
pub fn found(plan: &Plan, folder: &Path) -> Result<ClusterId, Failure> {
    found_on(plan, None, folder)
}

/// As `found`, of a cluster that begins with a backup if one is given.
///
/// # Errors
/// As `found`.
pub fn found_on(plan: &Plan, base: Option<&Base<'_>>, folder: &Path) -> Result<ClusterId, Failure> {
    let problems = plan.calendar.problems();
    if !problems.is_empty() {
        let listed: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return Err(Failure::pre_check(format!(
            "the calendar cannot be:\n  {}",
            listed.join("\n  ")
        )));
    }
    empty(folder)?;
    let cluster = ClusterId(*uuid::Uuid::new_v4().as_bytes());
    let validity = Validity {
        not_before: plan.now.minus(LEEWAY_MS),
        not_after: plan.now.plus(VALID_MS),
    };
    let mut authorities =
        Authorities::create(&plan.title, validity).map_err(|error| not_made(&error))?;
    if let Some(begins) = plan.simulated {
        // Cards are judged by the cluster's clock, which may be years from the machine's.
        let validity = Validity {
            not_before: begins.min(plan.now).minus(YEAR_MS),
            not_after: begins.max(plan.now).plus(10 * YEAR_MS),
        };
        let name = format!("{} card CA", plan.title);
        authorities.card = Authority::create(&name, validity).map_err(|error| not_made(&error))?;
    }
    let client = |authority: &Authority, holder: Holder| {
        let identity = Identity { cluster, holder };
        authority
            .issue_client(&identity, validity)
            .map_err(|error| not_made(&error))
    };
    let operators = plan.operators.iter().map(|id| {
        let issued = client(&authorities.operator, Holder::Operator(id.clone()))?;
        Ok(Registered {
            id: id.clone(),
            issued,
        })
    });
    let operators = operators.collect::<Result<Vec<_>, Failure>>()?;
    let front_ends = plan.front_ends.iter().map(|id| {
        let issued = client(&authorities.front, Holder::FrontEnd(id.clone()))?;
        Ok(Registered {
            id: id.clone(),
            issued,
        })
    });
    let front_ends = front_ends.collect::<Result<Vec<_>, Failure>>()?;
    let back_ends = plan.back_ends.iter().map(|id| {
        let issued = client(&authorities.back, Holder::BackEnd(id.clone()))?;
        Ok(Registered {
            id: id.clone(),
            issued,
        })
    });
    let back_ends = back_ends.collect::<Result<Vec<_>, Failure>>()?;

    let keys = match base {
        Some(base) => Zeroizing::new(base.keys.to_owned()),
        None => key_file::found(plan.now, &SystemEntropy::new()),
    };
    let keyring = Keyring::parse(&keys)
        .map_err(|error| Failure::internal(format!("the keys were not made: {error}")))?;
    let mut founding = Founding {
        keys: keyring.proofs(cluster),
        ..record(plan, cluster, &operators, &front_ends, &back_ends)?
    };
    match base {
        Some(base) => begin_with(&mut founding, base, plan.now)?,
        None => possible(&founding)?,
    }
    let cards = base.and_then(|base| base.cards);
    let writer = Writer {
        folder,
        plan,
        cards,
    };
    writer.authorities(&authorities)?;
    for node in &plan.nodes {
        writer.node(node, cluster, &founding, &authorities, &keys, validity)?;
    }
    for operator in &operators {
        writer.identity("operators", operator.id.as_str(), &operator.issued)?;
    }
    for front_end in &front_ends {
        writer.identity("front-ends", front_end.id.as_str(), &front_end.issued)?;
    }
    for back_end in &back_ends {
        writer.identity("back-ends", back_end.id.as_str(), &back_end.issued)?;
    }
    writer.profile(cluster)?;
    if let Some(base) = base {
        writer.base(cluster, base.state)?;
    }
    Ok(cluster)
}

/// Checks what `found_on` checks, and writes nothing.
///
/// # Errors
/// What the cluster cannot be.
pub fn check(plan: &Plan, base: &Base<'_>) -> Result<(), Failure> {
    let mut founding = record(plan, base.backup.cluster, &[], &[], &[])?;
    // Their keys will be made with the certificates, and differ.
    let operators = (0..).zip(&plan.operators);
    founding.operators = operators
        .map(|(number, id)| Operator {
            id: id.clone(),
            key: KeyPin([number; 32]),
        })
        .collect();
    begin_with(&mut founding, base, plan.now)
}

/// Makes the record that of a cluster that begins with a backup: what was agreed in it stays, and
/// its digest is pinned.
fn begin_with(founding: &mut Founding, base: &Base<'_>, now: UnixMs) -> Result<(), Failure> {
    founding.policy = base.state.policy().clone();
    founding.calendar = base.state.calendar().clone();
    for front_end in &mut founding.front_ends {
        let holder = registration::Holder::FrontEnd(front_end.id.clone());
        if let Some(known) = base.state.registered(&holder) {
            front_end.portals.clone_from(&known.portals);
        }
    }
    founding.restored = Some(Box::new(Restored {
        backup: base.backup.clone(),
        base: backup::base(base.state).digests().full,
        at: now,
        by: base.by.clone(),
        reason: base.reason.clone(),
    }));
    possible(founding)
}

/// A node does not start on a record that no cluster can be founded from.
fn possible(founding: &Founding) -> Result<(), Failure> {
    let problems = founding.problems();
    if problems.is_empty() {
        return Ok(());
    }
    let listed = problems.join("\n  ");
    Err(Failure::pre_check(format!(
        "the cluster cannot be:\n  {listed}"
    )))
}

fn not_made(error: &dyn std::fmt::Display) -> Failure {
    Failure::internal(format!("a certificate was not made: {error}"))
}

/// Makes the folder; one with something in it is left alone.
fn empty(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| file_failure("make", folder, &error))?;
    let mut there = fs::read_dir(folder).map_err(|error| file_failure("read", folder, &error))?;
    if there.next().is_some() {
        return Err(
            Failure::pre_check(format!("{} is not empty", folder.display()))
                .next("name a new folder: the keys of a cluster are never written over"),
        );
    }
    Ok(())
}

fn record(
    plan: &Plan,
    cluster: ClusterId,
    operators: &[Registered<OperatorId>],
    front_ends: &[Registered<FrontEndId>],
    back_ends: &[Registered<BackEndId>],
) -> Result<Founding, Failure> {
    let centre = |name: &CentreName| Centre {
        name: name.clone(),
        nodes: plan
            .nodes
            .iter()
            .filter(|node| node.centre == *name)
            .map(|node| Node {
                id: node.id,
                address: node.listen[3].to_string(),
            })
            .collect(),
    };
    let offset = plan.simulated.map(|begins| {
        let ahead = i64::try_from(begins.since(plan.now));
        let behind = i64::try_from(plan.now.since(begins));
        ahead
            .ok()
            .zip(behind.ok())
            .map(|(ahead, behind)| ahead - behind)
    });
    let clock_offset_ms = match offset {
        None => 0,
        Some(Some(offset)) => offset,
        Some(None) => return Err(Failure::usage("the simulated clock is too far from now")),
    };
    Ok(Founding {
        cluster,
        title: plan.title.clone(),
        primary: centre(&plan.primary),
        secondary: plan.secondary.as_ref().map(centre),
        operators: operators
            .iter()
            .map(|one| Operator {
                id: one.id.clone(),
                key: one.issued.key,
            })
            .collect(),
        front_ends: front_ends
            .iter()
            .map(|one| FrontEnd {
                id: one.id.clone(),
                key: one.issued.key,
                portals: vec![Portal::Ccms, Portal::Dms],
            })
            .collect(),
        back_ends: back_ends
            .iter()
            .map(|one| BackEnd {
                id: one.id.clone(),
                key: one.issued.key,
            })
            .collect(),
        policy: Policy::default(),
        calendar: plan.calendar.clone(),
        simulated_clock: plan.simulated.is_some(),
        clock_offset_ms,
        keys: Vec::new(),
        restored: None,
    })
}

/// Writes a new file, in a folder that is made if it is not there; never over another one.
pub(crate) fn create(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| file_failure("make", parent, &error))?;
    }
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| file_failure("write", path, &error))
}

/// Writes the files of a cluster folder.
struct Writer<'p> {
    folder: &'p Path,
    plan: &'p Plan,
    /// The anchors of people's cards, where they are not the new authority's.
    cards: Option<&'p str>,
}

impl Writer<'_> {
    fn file(&self, path: impl AsRef<Path>, text: &str) -> Result<(), Failure> {
        self.write(path.as_ref(), text, 0o644)
    }

    /// A file that nobody but its owner reads.
    fn secret(&self, path: impl AsRef<Path>, text: &str) -> Result<(), Failure> {
        self.write(path.as_ref(), text, 0o600)
    }

    fn write(&self, path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
        create(&self.folder.join(path), text, mode)
    }

    /// The authorities stay off the nodes: their keys belong in a safe.
    fn authorities(&self, all: &Authorities) -> Result<(), Failure> {
        for (name, authority) in [
            ("peer", &all.peer),
            ("front", &all.front),
            ("back", &all.back),
            ("operator", &all.operator),
            ("card", &all.card),
        ] {
            self.file(format!("ca/{name}.pem"), authority.certificate_pem())?;
            self.secret(format!("ca/{name}.key"), authority.key_pem())?;
        }
        Ok(())
    }

    fn node(
        &self,
        node: &PlannedNode,
        cluster: ClusterId,
        founding: &Founding,
        all: &Authorities,
        keys: &str,
        validity: Validity,
    ) -> Result<(), Failure> {
        let peer_name = server::node::peer_name(node.id);
        let mut addresses: Vec<IpAddr> = node.listen.iter().map(SocketAddr::ip).collect();
        addresses.dedup();
        let issued = all
            .peer
            .issue_node(
                cluster,
                node.id,
                &[&self.plan.server_name, &peer_name],
                &addresses,
                validity,
            )
            .map_err(|error| not_made(&error))?;
        let folder = format!("nodes/{}", node.id);
        let json = serde_json::to_string_pretty(founding)
            .map_err(|error| Failure::internal(format!("cannot write JSON: {error}")))?;
        self.file(format!("{folder}/founding.json"), &json)?;
        self.secret(format!("{folder}/keys.toml"), keys)?;
        self.file(format!("{folder}/node.pem"), &issued.certificate_pem)?;
        self.secret(format!("{folder}/node.key"), &issued.key_pem)?;
        for (name, authority) in [
            ("front", &all.front),
            ("back", &all.back),
            ("operator", &all.operator),
            ("peer", &all.peer),
            ("cards", &all.card),
        ] {
            let path = format!("{folder}/anchors/{name}.pem");
            let cards = self.cards.filter(|_| name == "cards");
            self.file(path, cards.unwrap_or(authority.certificate_pem()))?;
        }
        self.file(format!("{folder}/node.toml"), &configuration(node))
    }

    /// What the main line begins with, in each node's folder.
    fn base(&self, cluster: ClusterId, state: &State) -> Result<(), Failure> {
        let mut written: Option<PathBuf> = None;
        for node in &self.plan.nodes {
            let folder = self.folder.join(format!("nodes/{}", node.id));
            let path = folder.join(consensus::base::FILE);
            match &written {
                Some(first) => {
                    let copied = fs::copy(first, &path);
                    copied.map_err(|error| file_failure("write", &path, &error))?;
                }
                None => {
                    let done = consensus::base::write(&path, cluster, state);
                    done.map_err(|error| Failure::pre_check(error.to_string()))?;
                    written = Some(path);
                }
            }
        }
        Ok(())
    }

    fn identity(&self, kind: &str, id: &str, issued: &Issued) -> Result<(), Failure> {
        self.file(format!("{kind}/{id}.pem"), &issued.certificate_pem)?;
        self.secret(format!("{kind}/{id}.key"), &issued.key_pem)
    }

    fn profile(&self, cluster: ClusterId) -> Result<(), Failure> {
        let identity = |kind: &str, id: &str| profile::Identity {
            cert: PathBuf::from(format!("{kind}/{id}.pem")),
            key: PathBuf::from(format!("{kind}/{id}.key")),
        };
        let plan = self.plan;
        let file = profile::File {
            cluster: cluster.to_string(),
            server_name: plan.server_name.clone(),
            ca: PathBuf::from("ca/peer.pem"),
            operators: plan
                .operators
                .iter()
                .map(|id| (id.clone(), identity("operators", id.as_str())))
                .collect(),
            scripts: std::collections::BTreeMap::new(),
            front_ends: plan
                .front_ends
                .iter()
                .map(|id| (id.clone(), identity("front-ends", id.as_str())))
                .collect(),
            back_ends: plan
                .back_ends
                .iter()
                .map(|id| (id.clone(), identity("back-ends", id.as_str())))
                .collect(),
            // Software cards are for drills: a cluster that may serve in earnest gets none.
            cards: plan.simulated.map(|_| identity("ca", "card")),
            mailboxes: plan
                .nodes
                .iter()
                .map(|node| PathBuf::from(format!("nodes/{}/data/outbox", node.id)))
                .collect(),
            node: plan
                .nodes
                .iter()
                .map(|node| profile::Node {
                    id: node.id.0,
                    centre: node.centre.clone(),
                    front: node.listen[0].to_string(),
                    back: node.listen[1].to_string(),
                    operator: node.listen[2].to_string(),
                })
                .collect(),
        };
        let text = toml::to_string_pretty(&file)
            .map_err(|error| Failure::internal(format!("cannot write TOML: {error}")))?;
        self.file(
            "profile.toml",
            &format!("# How to reach the cluster, and as whom. Paths are relative to this file.\n\n{text}"),
        )
    }
}

/// A node's configuration; its relative paths begin at its own folder.
pub(crate) fn configuration(node: &PlannedNode) -> String {
    let [front, back, operator, peer] = node.listen;
    let health = node.health.map_or_else(String::new, |address| {
        format!("# Plain HTTP, for load balancers alone: GET /serving.\nhealth = \"{address}\"\n")
    });
    let metrics = node.metrics.map_or_else(String::new, |address| {
        format!("# Plain HTTP, for monitoring alone: GET /metrics.\nmetrics = \"{address}\"\n")
    });
    format!(
        "# Node {id}, centre {centre}. Relative paths begin at this file's folder.\n\
         node = {id}\n\
         data = \"data\"\n\
         founding = \"founding.json\"\n\
         keys = \"keys.toml\"\n\
         certificate = \"node.pem\"\n\
         private_key = \"node.key\"\n\n\
         [listen]\n\
         front = \"{front}\"\n\
         back = \"{back}\"\n\
         operator = \"{operator}\"\n\
         peer = \"{peer}\"\n\
         {health}{metrics}\n\
         # Whom each listener trusts.\n\
         [anchors]\n\
         front = \"anchors/front.pem\"\n\
         back = \"anchors/back.pem\"\n\
         operator = \"anchors/operator.pem\"\n\
         peer = \"anchors/peer.pem\"\n\
         cards = \"anchors/cards.pem\"\n",
        id = node.id,
        centre = node.centre,
    )
}

#[cfg(test)]
mod tests;
