//! Measures what `docs/performance.md` states about lines: six nodes in two centres in this
//! process, real sockets on loopback, real disks.
//!
//! ```text
//! cargo run --release --package consensus --example measure
//! ```

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::cast_precision_loss,
    reason = "a measurement prints what it measured and fails loudly"
)]

#[path = "../tests/all/harness/mod.rs"]
mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use consensus::Proposal;
use domain::account::{self, Class, Imported};
use domain::calendar::{Calendar, Timetable};
use domain::participant::Participant;
use domain::session::{Act, Command, Phase, Plan};
use domain::{
    AccountId, Actor, CardNumber, CentreName, LineId, LogId, OperatorId, Outcome, ParticipantId,
    Sealed, SessionId, State, UnixMs, apply, outcome,
};
use harness::{Cluster, asked, import_of, signed, until};

const TIMETABLE: &str = r#"
[[day]]
heading = "10 June 2023 (Saturday)"

[[day.session]]
id = "S2"
centre = "west"
opens = "22:00"
closes = "23:00"
purpose = "drill"
"#;

/// Saturday 10 June 2023, 20:00 in Hong Kong.
const TWENTY: UnixMs = UnixMs(1_686_398_400_000);
const HOUR_MS: u64 = 3_600_000;
const WRITERS: u32 = 64;
const WRITES_EACH: u32 = 50;
const ROWS_AN_ENTRY: u32 = 400;

fn s2() -> SessionId {
    SessionId::parse("S2").unwrap()
}

fn account(number: u32) -> Imported {
    let name = format!("C{:03}U{number:06}", number % 500);
    Imported {
        id: AccountId::parse(&name).unwrap(),
        participant: ParticipantId::parse("A").unwrap(),
        class: Class::User,
        title: format!("Person {number}"),
        email: Some(format!("{name}@example.com")),
        // As long as a sealed argon2id verifier is.
        card: Some((
            CardNumber::parse(&format!("CARD{number:08}")).unwrap(),
            Sealed {
                key: 1,
                nonce: [0; 12],
                bytes: vec![0; 113],
            },
        )),
    }
}

fn imports(accounts: u32) -> (domain::Command, Vec<domain::Command>) {
    let parts = (0..accounts.div_ceil(ROWS_AN_ENTRY)).map(|part| {
        let from = part * ROWS_AN_ENTRY;
        let firm = Participant::new(ParticipantId::parse("A").unwrap(), "A".to_owned());
        let people = from..(from + ROWS_AN_ENTRY).min(accounts);
        (vec![firm], people.map(account).collect())
    });
    import_of(parts.collect())
}

struct World {
    cluster: Cluster,
}

impl World {
    async fn with(accounts: u32) -> Self {
        let mut cluster = Cluster::six().await;
        cluster.founding.calendar =
            Calendar::new(Timetable::parse(TIMETABLE).unwrap(), BTreeSet::new());
        let world = Self { cluster };
        world.set_clocks(TWENTY);
        let mut world = world;
        for node in 1..=6 {
            world.cluster.start(node).await;
        }
        world.cluster.founded().await;
        let (approve, entries) = imports(accounts);
        for name in ["op1", "op2"] {
            world.ask(name, approve.clone()).await;
        }
        for command in entries {
            world.ask("op1", command).await;
        }
        world.cluster.agree().await;
        world
    }

    fn set_clocks(&self, time: UnixMs) {
        for clock in self.cluster.clocks.values() {
            clock.set_now(time);
        }
    }

    async fn ask(&self, operator: &str, command: domain::Command) -> Outcome {
        let main = self.cluster.main(1);
        let outcome = main.propose(asked(&main, operator, command)).await.unwrap();
        assert!(
            matches!(outcome.result, outcome::Result::Done(_)),
            "{outcome:?}"
        );
        outcome
    }

    async fn plan(&self, command: Command) -> Outcome {
        self.ask("op1", domain::Command::Session(command)).await
    }

    async fn phase(&self, phase: Phase) {
        until(&format!("{phase:?}"), async || {
            self.cluster.running.values().all(|running| {
                let state = running.node.main().state();
                state.plan(&s2()).map(|plan| plan.phase) == Some(phase)
            })
        })
        .await;
    }

    /// Time of the boundary's entry, and until the branch runs on all nodes of the secondary.
    async fn open(&self) -> (Duration, Duration) {
        let state = self.cluster.main(1).state();
        let primary = CentreName::parse("east").unwrap();
        let planned = state.calendar().session(&s2(), &primary).unwrap();
        for operator in ["op1", "op2"] {
            let command = Command::Approve {
                act: Act::Open(s2()),
                plan: Plan::digest_of(&planned),
            };
            self.ask(operator, domain::Command::Session(command)).await;
        }
        let began = Instant::now();
        self.plan(Command::Open { session: s2() }).await;
        let entry = began.elapsed();
        until("the branch has begun", async || {
            (4..=6).all(|node| {
                self.cluster.node(node).branch().is_some_and(|branch| {
                    matches!(branch.state().header().line, LineId::Branch { .. })
                })
            })
        })
        .await;
        let runs = began.elapsed();
        self.phase(Phase::Open).await;
        (entry, runs)
    }

    /// Time of the rollover's entry, and until no node has the branch any more.
    async fn roll_over(&self) -> (Duration, Duration) {
        self.set_clocks(TWENTY.plus(3 * HOUR_MS));
        self.phase(Phase::Closed).await;
        let mut gathered = None;
        until("the evidence is in both centres", async || {
            gathered = self.cluster.node(1).gather(&s2()).await.ok();
            gathered.as_ref().is_some_and(|found| found.in_both_centres)
        })
        .await;
        let began = Instant::now();
        self.plan(Command::RollOver {
            session: s2(),
            evidence: Box::new(gathered.unwrap().evidence),
            replies: BTreeMap::new(),
            gap_accepted: None,
        })
        .await;
        let entry = began.elapsed();
        until("no node has the branch", async || {
            (4..=6).all(|node| self.cluster.node(node).branch().is_none())
        })
        .await;
        (entry, began.elapsed())
    }
}

fn proposal(operator: &str, command: domain::Command) -> Proposal {
    Proposal {
        actor: Actor::Operator(OperatorId::parse(operator).unwrap()),
        request: None,
        command,
    }
}

async fn sessions() {
    println!("session at the secondary, six nodes, milliseconds");
    println!("accounts  open: entry  open: branch runs  rollover: entry  rollover: branch gone");
    for accounts in [100, 100_000, 100, 100_000] {
        let world = Box::pin(World::with(accounts)).await;
        let (entry, runs) = world.open().await;
        let (sealed, gone) = world.roll_over().await;
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        println!(
            "{accounts:>8}  {:>11.1}  {:>17.1}  {:>15.1}  {:>21.1}",
            ms(entry),
            ms(runs),
            ms(sealed),
            ms(gone)
        );
    }
}

async fn syncs() {
    let world = Box::pin(World::with(WRITERS * WRITES_EACH)).await;
    let leader = world.cluster.wait_leader().await;
    let line = world.cluster.main(leader);
    let before = world.cluster.node(leader).syncs();
    let began = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let line = line.clone();
            tokio::spawn(async move {
                for write in 0..WRITES_EACH {
                    let id = account(writer * WRITES_EACH + write).id;
                    let command = domain::Command::Account(account::Command::Suspend {
                        account: id,
                        token: None,
                        reason: "measured".to_owned(),
                    });
                    line.propose(proposal("op1", command)).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let took = began.elapsed().as_secs_f64();
    let changes = f64::from(WRITERS * WRITES_EACH);
    let synced = world.cluster.node(leader).syncs() - before;
    println!("committed changes with {WRITERS} concurrent writers at the leader's node");
    println!("changes {changes}, changes a second {:.0}", changes / took);
    println!(
        "log syncs on the leader {synced}, for each change {:.4}",
        synced as f64 / changes
    );
}

/// What one more account takes in memory, by the resident size of this process.
fn memory() {
    const ACCOUNTS: u32 = 100_000;
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4_096
    };
    let mut state = State::unfounded();
    let mut at = LogId::default();
    let mut envelope = |state: &mut State, who: &str, command| {
        at.index += 1;
        let envelope = domain::Envelope {
            at: TWENTY,
            actor: match command {
                domain::Command::Cluster(_) => Actor::Node(domain::NodeId(1)),
                _ => Actor::Operator(OperatorId::parse(who).unwrap()),
            },
            line: LineId::Main,
            request: None,
            command: signed(state, at.index - 1, who, command),
        };
        let applied = apply(state, &LineId::Main, at, &envelope);
        assert!(matches!(applied.outcome.result, outcome::Result::Done(_)));
    };
    let founding = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(Cluster::six())
        .founding;
    envelope(
        &mut state,
        "",
        domain::Command::Cluster(domain::cluster::Command::Found(Box::new(founding))),
    );
    let before = resident();
    let (approve, entries) = imports(ACCOUNTS);
    for who in ["op1", "op2"] {
        envelope(&mut state, who, approve.clone());
    }
    for command in entries {
        envelope(&mut state, "op1", command);
    }
    let each = (resident() - before) / u64::from(ACCOUNTS);
    println!(
        "memory for an account with card, password and e-mail, at {} accounts: {each} bytes",
        state.accounts_count()
    );
}

fn main() {
    memory();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(syncs());
    runtime.block_on(sessions());
}
