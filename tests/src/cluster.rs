//! A cluster of six nodes in this process, each of which can be stopped and started again.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use credential::phc::Params;
use domain::approval::Act;
use domain::calendar::{Calendar, Day, Timetable};
use domain::{CentreName, NodeId, UnixMs};
use proto::approval::v1::Approval;
use proto::auth::v1::ListLandingOptionsRequest;
use proto::auth::v1::auth_service_client::AuthServiceClient;
use server::mail::post::Pace;
use server::node::{Environment, Node};
use tidemark::approval::Pen;
use tidemark::drill::{Clock, Door, Mailbox, Stage, at, request, seen};
use tidemark::founding::{self, Plan, PlannedNode};
use tidemark::profile::Profile;
use tidemark::refusal;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Channel;

use crate::cast::{self, Pockets};

/// The centre that is primary.
pub const EAST: &str = "east";
/// The other one.
pub const WEST: &str = "west";
/// The session at the primary.
pub const S1: &str = "S1-2023-06-10";
/// The session at the secondary.
pub const S2: &str = "S2-2023-06-10";
/// The annex's timetable and ordinary days.
pub const TIMETABLE: &str = include_str!("../../deploy/demo/timetable.toml");
const HOLIDAYS: &str = include_str!("../../deploy/demo/holidays.txt");

/// How long anything may take that nodes do by themselves.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// How soon a mail that failed is tried again.
const MAIL_PACE: Pace = Pace {
    first: Duration::from_millis(50),
    most: Duration::from_millis(500),
};
/// The first port; below those that the machine hands out by itself.
const PORT_BASE: u16 = 10_000;

static CLUSTERS: AtomicU16 = AtomicU16::new(0);

/// Six nodes, 1 to 3 in the east and 4 to 6 in the west, and who calls them.
pub struct Cluster {
    folder: tempfile::TempDir,
    params: Params,
    profile: Profile,
    nodes: Vec<Option<Node>>,
    stage: Stage,
    clock: Clock,
    centre: Mutex<CentreName>,
    pub(crate) mailbox: tokio::sync::Mutex<Mailbox>,
    pub(crate) pockets: Mutex<Pockets>,
}

/// A local time, `2023-06-10 18:00`.
#[must_use]
pub fn local(text: &str) -> UnixMs {
    let (day, time) = text.split_once(' ').unwrap();
    let day: Day = day.parse().unwrap();
    day.at(time.parse().unwrap()).unwrap()
}

/// A process's own loopback addresses, one a centre, so that its ports are nobody else's, also
/// while a node is stopped. Both centres have the same ports, as in service (R4).
fn loopback(centre: &str) -> IpAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let group = if centre == EAST { 64 } else { 128 };
    IpAddr::V4(Ipv4Addr::new(127, group + high % 64, middle, low))
}

/// Where a load balancer of the centre may listen, beside its nodes.
#[must_use]
pub fn balancer(centre: &str) -> SocketAddr {
    SocketAddr::new(loopback(centre), PORT_BASE + 99)
}

fn plan(timetable: &str) -> Plan {
    let cluster = CLUSTERS.fetch_add(1, Ordering::Relaxed);
    let name = |text: &str| CentreName::parse(text).unwrap();
    let node = |id, centre, first: u16| PlannedNode {
        id: NodeId(id),
        centre: name(centre),
        listen: [0, 1, 2, 3].map(|kind| SocketAddr::new(loopback(centre), first + kind)),
        health: Some(SocketAddr::new(loopback(centre), first + 4)),
        metrics: Some(SocketAddr::new(loopback(centre), first + 5)),
    };
    let ports = (PORT_BASE + 100 * cluster..).step_by(6);
    let east = (1..=3).zip(ports.clone());
    let west = (4..=6).zip(ports);
    let nodes = east
        .map(|(id, first)| node(id, EAST, first))
        .chain(west.map(|(id, first)| node(id, WEST, first)))
        .collect();
    let holidays = domain::calendar::parse_holidays(HOLIDAYS).unwrap();
    let calendar = Calendar::new(Timetable::parse(timetable).unwrap(), holidays);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    Plan {
        title: "test".to_owned(),
        primary: name(EAST),
        secondary: Some(name(WEST)),
        nodes,
        server_name: "www.ccass.com".to_owned(),
        operators: vec!["alice".parse().unwrap(), "bob".parse().unwrap()],
        front_ends: vec!["web-1".parse().unwrap(), "web-2".parse().unwrap()],
        back_ends: vec!["ccms-1".parse().unwrap()],
        calendar,
        now: UnixMs(u64::try_from(now).unwrap()),
        simulated: Some(local("2023-06-10 17:55")),
    }
}

/// Founds a cluster in a folder, and starts nothing.
///
/// # Panics
/// If it cannot be founded.
#[must_use]
pub fn found(folder: &Path, timetable: &str) -> Profile {
    founding::found(&plan(timetable), folder).unwrap();
    Profile::read(&folder.join("profile.toml")).unwrap()
}

/// What a guess costs in tests that are not about it.
///
/// # Panics
/// Never: the values are allowed.
#[must_use]
pub fn cheap() -> Params {
    Params::new(64, 1, 1).unwrap()
}

async fn node(folder: &Path, id: u64, params: Params) -> Node {
    let path = folder.join(format!("nodes/{id}/node.toml"));
    let config = server::Config::read(&path).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let environment = Environment {
            params,
            mail_pace: MAIL_PACE,
            ..Environment::default()
        };
        match Box::pin(Node::start_in(config.clone(), environment)).await {
            Ok(node) => return node,
            // Its folder may be held for a moment by what the stopped node leaves behind.
            Err(server::Error::Node(_)) if Instant::now() < deadline => {
                tokio::time::sleep(LOOK).await;
            }
            Err(error) => panic!("node {id} does not start: {error:?}"),
        }
    }
}

/// Starts the six nodes of a cluster folder.
pub async fn start_all(folder: &Path, params: Params) -> Vec<Node> {
    let mut nodes = Vec::new();
    for id in 1..=6 {
        nodes.push(node(folder, id, params).await);
    }
    nodes
}

impl Cluster {
    /// Six nodes with the annex's timetable and everybody's accounts, on Saturday at 17:55.
    pub async fn start() -> Self {
        Self::with_timetable(TIMETABLE).await
    }

    /// The same with another timetable.
    pub async fn with_timetable(timetable: &str) -> Self {
        Self::with_cost(timetable, cheap()).await
    }

    /// The same, with what hashing a password costs.
    pub async fn with_cost(timetable: &str, params: Params) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let profile = found(folder.path(), timetable);
        let nodes = start_all(folder.path(), params).await;
        let pockets = Pockets::with_cards(&profile, local("2023-06-10 17:55"));
        let cluster = Self::of(nodes, (folder, profile), pockets, params);
        cluster.clock.now().await.unwrap();
        let (participants, accounts) = cast::rows(params);
        cluster.imports(participants, accounts).await;
        cluster
    }

    fn of(
        nodes: Vec<Node>,
        (folder, profile): (tempfile::TempDir, Profile),
        pockets: Pockets,
        params: Params,
    ) -> Self {
        let stage = Stage::dial(&profile).unwrap();
        Self {
            nodes: nodes.into_iter().map(Some).collect(),
            clock: Clock::new(stage.operator(None).unwrap().to_vec()),
            centre: Mutex::new(CentreName::parse(EAST).unwrap()),
            mailbox: tokio::sync::Mutex::new(Mailbox::open(&profile)),
            pockets: Mutex::new(pockets),
            stage,
            params,
            folder,
            profile,
        }
    }

    /// The cluster that was restored into a folder, with cheap guesses and what people carry.
    pub(crate) async fn in_folder(folder: tempfile::TempDir, pockets: Pockets) -> Self {
        let profile = Profile::read(&folder.path().join("profile.toml")).unwrap();
        let nodes = start_all(folder.path(), cheap()).await;
        let cluster = Self::of(nodes, (folder, profile), pockets, cheap());
        until("the restored cluster is founded", async || {
            let states = cluster.nodes.iter().flatten();
            let mut states = states.map(|node| node.lines().main().state());
            states.all(|state| state.founding().is_some()).then_some(())
        })
        .await;
        cluster
    }

    /// Six nodes that run as processes elsewhere, as `scripts/cluster` starts them, with
    /// everybody's accounts. None of them can be stopped from here.
    ///
    /// # Panics
    /// If the folder holds no cluster that answers.
    pub async fn elsewhere(folder: &Path) -> Self {
        let profile = Profile::read(&folder.join("profile.toml")).unwrap();
        let pockets = Pockets::with_cards(&profile, local("2023-06-10 17:55"));
        let own = (tempfile::tempdir().unwrap(), profile);
        let cluster = Self::of(Vec::new(), own, pockets, cheap());
        cluster.clock.now().await.unwrap();
        let (participants, accounts) = cast::rows(Params::STANDARD);
        cluster.imports(participants, accounts).await;
        cluster
    }

    /// What hashing a password costs here.
    #[must_use]
    pub fn params(&self) -> Params {
        self.params
    }

    /// Stops every node.
    pub async fn end(mut self) {
        for node in self.nodes.drain(..).flatten() {
            node.stop().await;
        }
    }

    /// The cluster's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What people carry.
    ///
    /// # Panics
    /// Never: nobody panics with it in hand.
    pub fn pockets(&self) -> std::sync::MutexGuard<'_, Pockets> {
        self.pockets.lock().unwrap()
    }

    /// The file that says how it is reached, and as whom.
    #[must_use]
    pub fn profile_path(&self) -> PathBuf {
        self.profile.path(Path::new("profile.toml"))
    }

    /// How it is reached, and as whom.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// A new request id.
    #[must_use]
    pub fn id(&self) -> String {
        self.clock.request_id()
    }

    /// A running node, from 1.
    ///
    /// # Panics
    /// If it is stopped.
    #[must_use]
    pub fn node(&self, id: u64) -> &Node {
        self.nodes[usize::try_from(id - 1).unwrap()]
            .as_ref()
            .unwrap()
    }

    /// The numbers of the nodes that run.
    pub fn running(&self) -> impl Iterator<Item = u64> {
        (1..).zip(&self.nodes).filter_map(|(id, node)| {
            let _running = node.as_ref()?;
            Some(id)
        })
    }

    /// Stops a node. Its disk stays.
    pub async fn stop(&mut self, id: u64) {
        let index = usize::try_from(id - 1).unwrap();
        self.nodes[index].take().unwrap().stop().await;
        self.look_again().await;
    }

    /// Starts a stopped node on its own disk.
    pub async fn restart(&mut self, id: u64) {
        let started = node(self.folder.path(), id, self.params).await;
        let index = usize::try_from(id - 1).unwrap();
        self.nodes[index] = Some(started);
        self.look_again().await;
    }

    /// The clock asks the running nodes alone. One that has just started may have yet to follow,
    /// so its time is taken only once it is not behind what was known.
    async fn look_again(&mut self) {
        let known = self.clock.now().await.unwrap();
        let running: Vec<u64> = self.running().collect();
        let doors = self.operators(1).iter();
        let doors = doors.filter(|door| running.contains(&door.node));
        let clock = Clock::new(doors.cloned().collect());
        until("the clock is known again", async || {
            let now = clock.now().await.ok()?;
            (now >= known).then_some(())
        })
        .await;
        self.clock = clock;
    }

    /// The node that leads the main line.
    pub async fn main_leader(&self) -> u64 {
        until("the main line has a leader", async || {
            let mut running = self.running();
            running.find(|id| self.node(*id).lines().main().is_leader())
        })
        .await
    }

    /// The node that leads the branch.
    pub async fn branch_leader(&self) -> u64 {
        until("the branch has a leader", async || {
            let leads = |id: &u64| {
                let branch = self.node(*id).lines().branch();
                branch.is_some_and(|branch| branch.is_leader())
            };
            self.running().find(leads)
        })
        .await
    }

    /// The operator doors of operator 1 or 2, at every node.
    #[must_use]
    pub fn operators(&self, number: usize) -> &[Door] {
        self.stage.operator_number(number).unwrap()
    }

    /// What operator 1 or 2 signs for an act, of the main line as it is now.
    ///
    /// # Panics
    /// If no node answers.
    pub async fn signed(&self, operator: usize, act: &Act) -> Approval {
        let seen = seen(self.operators(operator)).await.unwrap();
        self.stage.pen(operator).unwrap().sign(act, &seen).unwrap()
    }

    /// What operator 1 or 2 signs with.
    ///
    /// # Panics
    /// If there is no such operator.
    #[must_use]
    pub fn pen(&self, operator: usize) -> &Pen {
        self.stage.pen(operator).unwrap()
    }

    /// The operator doors at one centre.
    #[must_use]
    pub fn operators_at(&self, centre: &str) -> Vec<Door> {
        at(self.operators(1), &CentreName::parse(centre).unwrap())
    }

    /// The front-end doors of the centre that people are sent to.
    #[must_use]
    pub fn front(&self) -> Vec<Door> {
        self.stage.front(&self.centre())
    }

    /// The front-end doors of a centre.
    #[must_use]
    pub fn front_at(&self, centre: &str) -> Vec<Door> {
        self.stage.front(&CentreName::parse(centre).unwrap())
    }

    /// Another connection to one node's front-end listener, as the front end of this id.
    ///
    /// # Panics
    /// If there is no such front end or node.
    #[must_use]
    pub fn dial_front(&self, front_end: &str, node: u64) -> Channel {
        let id = front_end.parse().unwrap();
        let identity = &self.profile.file().front_ends[&id];
        let nodes = self.profile.nodes();
        let node = nodes.iter().find(|found| found.id == node).unwrap();
        tidemark::client::dial(&self.profile, identity, &node.front).unwrap()
    }

    /// The back-end doors of every node.
    #[must_use]
    pub fn back(&self) -> &[Door] {
        self.stage.back()
    }

    /// The centre that people are sent to.
    #[must_use]
    pub fn centre(&self) -> CentreName {
        let centre = self.centre.lock();
        centre.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends people to a centre.
    pub fn send_to(&self, centre: &str) {
        let mut place = self.centre.lock().unwrap();
        *place = CentreName::parse(centre).unwrap();
    }

    /// Moves the clock to a local time, on every running node.
    pub async fn at(&self, time: &str) {
        self.until(local(time)).await;
    }

    /// The cluster's time.
    pub async fn now(&self) -> UnixMs {
        self.clock.now().await.unwrap()
    }

    /// Moves the clock.
    pub async fn until(&self, time: UnixMs) {
        self.clock.until(time).await.unwrap();
    }

    /// Moves the clock, and returns once every running node of the centre serves.
    pub async fn serves_at(&self, time: &str) {
        self.at(time).await;
        self.look(true).await;
    }

    /// Moves the clock, and returns once no running node of the centre serves.
    pub async fn shut_at(&self, time: &str) {
        self.at(time).await;
        self.look(false).await;
    }

    async fn look(&self, open: bool) {
        let running: Vec<u64> = self.running().collect();
        let doors = self.front().into_iter();
        let doors: Vec<Door> = doors.filter(|door| running.contains(&door.node)).collect();
        let what = if open { "it serves" } else { "it is shut" };
        until(what, async || {
            for door in &doors {
                let answer = AuthServiceClient::new(door.channel.clone())
                    .list_landing_options(request(ListLandingOptionsRequest::default()))
                    .await
                    .ok()?
                    .into_inner();
                let found = answer.session.is_some_and(|session| session.open);
                if found != open {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }
}

/// Looks until there is something, with a deadline.
///
/// # Panics
/// At the deadline, naming `what` was waited for.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    until_said(what, async || look().await.ok_or_else(String::new)).await
}

/// As `until`, and tells what was there instead.
///
/// # Panics
/// At the deadline, naming `what` was waited for.
pub async fn until_said<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(said) => assert!(Instant::now() < deadline, "waited in vain: {what}\n{said}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Does something again while nodes refuse it only because they have yet to follow the plan.
///
/// # Errors
/// The first refusal that does not go by itself, or the last one at the deadline.
pub async fn settled<T, F>(mut act: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        match act().await {
            Err(status) if settles(&status) && Instant::now() < deadline => {
                tokio::time::sleep(LOOK).await;
            }
            done => return done,
        }
    }
}

fn settles(status: &Status) -> bool {
    let reason = refusal::reason(status).unwrap_or_default();
    [
        "SESSION_CLOSED",
        "CENTRE_NOT_SERVING",
        "CENTRE_CHANGING",
        "NO_LEADER",
        "LINE_CHANGED",
        "CLOCK_OFF",
        "CLOCK_JUMP",
        "EARLIER_SESSION_OPEN",
        "OUTSIDE_SESSION",
        "NO_EVIDENCE",
        "ALREADY_DONE",
    ]
    .contains(&reason.as_str())
}

/// The reason of a refusal.
///
/// # Panics
/// If it was done, or the refusal has no reason.
pub fn refused<T>(done: Result<T, Status>) -> String {
    match done {
        Ok(_) => panic!("it was done, not refused"),
        Err(status) => refusal::reason(&status).unwrap_or_else(|| panic!("no reason: {status:?}")),
    }
}
