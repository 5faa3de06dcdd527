//! One run: everybody starts, things go wrong, everything is whole again, and what must hold is
//! checked.

use std::process::ExitCode;

use domain::planted::{self, Fault};
use futures::FutureExt as _;

use crate::chaos::Chaos;
use crate::checks::{self, Seen};
use crate::trace::Trace;
use crate::world::World;

/// How long things go wrong.
const CHAOS_MS: u64 = 40_000;
/// How long a cluster takes to be founded at most.
const FOUNDED_MS_MAX: u64 = 60_000;
/// How long after the last fault everybody is served at most.
const SERVED_MS_MAX: u64 = 60_000;
/// How long after the last question all nodes take to have the same.
const SETTLED_MS_MAX: u64 = 60_000;
/// How often nodes are compared.
const LOOK_EVERY_MS: u64 = 20;

const FAULTS: [(&str, Fault); 3] = [
    ("early-acknowledgement", Fault::EarlyAcknowledgement),
    ("skipped-sync", Fault::SkipSync),
    ("vote-not-persisted", Fault::VoteNotPersisted),
];

struct Asked {
    seed: u64,
    fault: Option<(&'static str, Fault)>,
    trace: bool,
}

fn asked() -> Option<Asked> {
    let mut seed = None;
    let mut fault = None;
    let mut trace = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--trace" => trace = true,
            "--plant" => {
                let name = arguments.next()?;
                fault = Some(*FAULTS.iter().find(|(known, _)| *known == name)?);
            }
            number => seed = Some(number.parse().ok()?),
        }
    }
    Some(Asked {
        seed: seed?,
        fault,
        trace,
    })
}

/// Runs the seed that is asked for; the last line says what came of it.
pub(crate) fn main() -> ExitCode {
    let Some(asked) = asked() else {
        let names: Vec<&str> = FAULTS.iter().map(|(name, _)| *name).collect();
        eprintln!("simulation SEED [--trace] [--plant {}]", names.join("|"));
        return ExitCode::from(2);
    };
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_writer(std::io::stderr)
            .without_time()
            .init();
    }
    let seed = asked.seed;
    let planted = asked
        .fault
        .map_or_else(String::new, |(name, _)| format!(" --plant {name}"));
    report_panics(seed, planted.clone());
    planted::plant(asked.fault.map(|(_, fault)| fault));
    let mut run = match World::new(seed, Trace::new(asked.trace)) {
        Some(world) => Run {
            world,
            seen: Seen::default(),
            chaos: Chaos::default(),
            served_after_ms: 0,
        },
        None => {
            eprintln!("the world cannot be made");
            return ExitCode::from(2);
        }
    };
    let result = run.whole();
    let told = run.told();
    match result {
        Ok(()) => {
            println!("seed {seed}: holds; {told}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("seed {seed}: DOES NOT HOLD: {why}");
            println!("replay: scripts/sim {seed}{planted} --trace");
            println!("seed {seed}: violated; {told}");
            ExitCode::FAILURE
        }
    }
}

/// A panic is a bug, whoever has it: the run ends with it.
fn report_panics(seed: u64, planted: String) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        println!("seed {seed}: DOES NOT HOLD: {panic}");
        println!("replay: scripts/sim {seed}{planted} --trace");
    }));
}

struct Run {
    world: World,
    seen: Seen,
    chaos: Chaos,
    served_after_ms: u64,
}

impl Run {
    fn told(&self) -> String {
        let shared = &self.world.shared;
        let (hash, lines) = shared.trace().end();
        let record = shared.record();
        let count = |told| record.marks.values().filter(|one| **one == told).count();
        let faults: Vec<String> = self
            .chaos
            .counts
            .iter()
            .map(|(kind, count)| format!("{kind:?}={count}"))
            .collect();
        format!(
            "trace {hash} lines {lines} ms {} marks {} done {} unknown {} not-executed {} compared {} served-after-ms {} faults {}",
            shared.now_ms(),
            record.marks.len(),
            count(crate::client::Told::Done),
            count(crate::client::Told::Nothing),
            count(crate::client::Told::NotExecuted),
            self.seen.entries(),
            self.served_after_ms,
            faults.join(",")
        )
    }

    fn step(&mut self) -> Result<(), String> {
        self.world.step()?;
        if self.world.shared.now_ms() % LOOK_EVERY_MS == 0 {
            self.seen.look(&self.world)?;
        }
        Ok(())
    }

    fn until(
        &mut self,
        what: &str,
        within_ms: u64,
        holds: impl Fn(&World) -> bool,
    ) -> Result<(), String> {
        let end = self.world.shared.now_ms() + within_ms;
        while !holds(&self.world) {
            if self.world.shared.now_ms() >= end {
                return Err(format!("liveness: not within {within_ms} ms: {what}"));
            }
            self.step()?;
        }
        Ok(())
    }

    fn whole(&mut self) -> Result<(), String> {
        self.until("the cluster is founded", FOUNDED_MS_MAX, |world| {
            let nodes = world.shared.nodes();
            nodes.len() == 6
                && nodes
                    .values()
                    .all(|node| node.main().state().founding().is_some())
        })?;
        self.world.set_quiet(false);
        let end = self.world.shared.now_ms() + CHAOS_MS;
        while self.world.shared.now_ms() < end {
            self.chaos.step(&mut self.world);
            self.step()?;
        }
        self.chaos.heal(&mut self.world);
        let healed = self.world.shared.now_ms();
        self.until(
            "clients of every primary node are served",
            SERVED_MS_MAX,
            move |world| checks::serves_since(world, healed),
        )?;
        self.served_after_ms = self.world.shared.now_ms() - healed;
        self.world.set_quiet(true);
        self.until("all nodes have the same", SETTLED_MS_MAX, |world| {
            checks::is_settled(world)
        })?;
        // What clients asked for last is answered by then.
        let end = self.world.shared.now_ms() + 6_000;
        while self.world.shared.now_ms() < end {
            self.step()?;
        }
        self.until("all nodes have the same", SETTLED_MS_MAX, |world| {
            checks::is_settled(world)
        })?;
        self.seen.look(&self.world)?;
        checks::marks(&self.world)?;
        self.audits()
    }

    /// Every node has the whole audit trail, within a time.
    fn audits(&mut self) -> Result<(), String> {
        let end = self.world.shared.now_ms() + SETTLED_MS_MAX;
        loop {
            let mut missing = Vec::new();
            for (id, node) in self.world.shared.nodes() {
                // Nothing here waits in a simulation, where files do not block.
                match checks::audit(&node).now_or_never() {
                    Some(Ok(Some(_))) => {}
                    Some(Ok(None)) => missing.push(id),
                    Some(Err(why)) => return Err(format!("node {id}: {why}")),
                    None => return Err(format!("node {id}: its audit trail was not read at once")),
                }
            }
            if missing.is_empty() {
                return Ok(());
            }
            if self.world.shared.now_ms() >= end {
                return Err(format!("audit: rows are missing on nodes {missing:?}"));
            }
            for _ in 0..100 {
                self.step()?;
            }
        }
    }
}
