//! What goes wrong, and when: drawn from the seed.

use std::collections::BTreeMap;

use consensus::simulated::dice;
use consensus::simulated::files::Fault;

use crate::world::{EAST, WEST, World, all};

/// Longest time between two misfortunes.
const CALM_MS_MAX: u64 = 2_500;
/// How far a clock goes wrong.
const OFFSET_MS_MAX: u64 = 30_000;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Crash,
    PowerCut,
    CentreCrash,
    CentrePowerCut,
    Cut,
    OneWayCut,
    CentresCut,
    CentresOneWayCut,
    Isolation,
    Mend,
    Disk,
    Stall,
    Clock,
}

const KINDS: [Kind; 16] = [
    Kind::Crash,
    Kind::Crash,
    Kind::PowerCut,
    Kind::PowerCut,
    Kind::CentreCrash,
    Kind::CentrePowerCut,
    Kind::Cut,
    Kind::OneWayCut,
    Kind::CentresCut,
    Kind::CentresOneWayCut,
    Kind::Isolation,
    Kind::Mend,
    Kind::Mend,
    Kind::Disk,
    Kind::Stall,
    Kind::Clock,
];

/// What is to happen, and what has.
#[derive(Default)]
pub(crate) struct Chaos {
    next_ms: u64,
    /// When what is down starts again.
    boots: BTreeMap<u64, u64>,
    pub(crate) counts: BTreeMap<Kind, u64>,
}

fn one_of(ids: &[u64]) -> Option<u64> {
    let at = usize::try_from(dice::below(ids.len() as u64)).ok()?;
    ids.get(at).copied()
}

impl Chaos {
    /// Lets happen what is due.
    pub(crate) fn step(&mut self, world: &mut World) {
        let now = world.shared.now_ms();
        let due: Vec<u64> = self
            .boots
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.boots.remove(&id);
            world.boot(id);
        }
        // A process that a bad disk ended is started again by whoever mends the disk.
        for id in world.shared.ended().into_keys() {
            if world.is_faulty(id) {
                self.crash(world, id, false);
            }
        }
        if now < self.next_ms {
            return;
        }
        self.next_ms = now + dice::between(100, CALM_MS_MAX);
        let Some(kind) = usize::try_from(dice::below(KINDS.len() as u64))
            .ok()
            .and_then(|at| KINDS.get(at))
        else {
            return;
        };
        *self.counts.entry(*kind).or_default() += 1;
        self.happen(world, *kind);
    }

    fn crash(&mut self, world: &mut World, id: u64, power: bool) {
        world.crash(id, power);
        let boot = world.shared.now_ms() + dice::between(10, 6_000);
        self.boots.entry(id).or_insert(boot);
    }

    fn happen(&mut self, world: &mut World, kind: Kind) {
        let nodes: Vec<u64> = all().collect();
        let centre = if dice::once_in(3) { WEST } else { EAST };
        let (Some(one), Some(other)) = (one_of(&nodes), one_of(&nodes)) else {
            return;
        };
        match kind {
            Kind::Crash | Kind::PowerCut => {
                if let Some(id) = one_of(&world.up()) {
                    self.crash(world, id, kind == Kind::PowerCut);
                }
            }
            Kind::CentreCrash | Kind::CentrePowerCut => {
                for id in centre {
                    self.crash(world, id, kind == Kind::CentrePowerCut);
                }
            }
            Kind::Cut if one != other => world.part(&[one], &[other], true),
            Kind::OneWayCut if one != other => world.part(&[one], &[other], false),
            Kind::Cut | Kind::OneWayCut => {}
            Kind::CentresCut => world.part(&EAST, &WEST, true),
            Kind::CentresOneWayCut if dice::once_in(2) => world.part(&EAST, &WEST, false),
            Kind::CentresOneWayCut => world.part(&WEST, &EAST, false),
            Kind::Isolation => {
                let rest: Vec<u64> = all().filter(|id| *id != one).collect();
                world.part(&[one], &rest, true);
            }
            Kind::Mend => world.mend(),
            Kind::Disk => {
                let fault = if dice::once_in(2) {
                    Fault::Failing
                } else {
                    Fault::Full
                };
                world.set_fault(one, Some(fault));
            }
            Kind::Stall => world.set_fault(one, Some(Fault::Stalling(dice::between(50, 2_000)))),
            Kind::Clock => {
                let offset = i64::try_from(dice::below(2 * OFFSET_MS_MAX)).unwrap_or(0);
                let most = i64::try_from(OFFSET_MS_MAX).unwrap_or(0);
                world.set_offset(one, offset - most);
            }
        }
    }

    /// Everything is whole again, and everybody runs.
    pub(crate) fn heal(&mut self, world: &mut World) {
        self.boots.clear();
        for id in all() {
            world.set_offset(id, 0);
            if world.is_faulty(id) || world.shared.ended().contains_key(&id) {
                world.crash(id, false);
            }
        }
        for id in world.down() {
            world.boot(id);
        }
        world.mend();
    }
}
