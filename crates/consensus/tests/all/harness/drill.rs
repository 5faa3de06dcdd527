//! The Saturday of the circular and its Monday, step by step, on nodes that follow the plan.

use std::collections::BTreeSet;

use consensus::Proposal;
use domain::account::{self, Class, Imported};
use domain::calendar::{Calendar, Timetable};
use domain::participant::Participant;
use domain::session::{Act, Command, Phase, Plan, Reply};
use domain::{
    AccountId, Actor, CentreName, Digest, LineId, OperatorId, Outcome, ParticipantId, SessionId,
    UnixMs, outcome,
};

use super::{Cluster, asked, until};

pub const TIMETABLE: &str = r#"
[[weekly]]
id = "day"
weekdays = ["Mon", "Tue", "Wed", "Thu", "Fri"]
opens = "08:00"
closes = "20:00"

[[day]]
heading = "10 June 2023 (Saturday)"

[[day.session]]
id = "S1"
centre = "east"
opens = "18:00"
closes = "20:00"
purpose = "connectivity-test"

[[day.session]]
id = "S2"
centre = "west"
opens = "22:00"
closes = "23:00"
purpose = "connectivity-test"
"#;

pub const HOUR_MS: u64 = 3_600_000;
/// Saturday 10 June 2023, 18:00 in Hong Kong.
pub const EIGHTEEN: UnixMs = UnixMs(1_686_391_200_000);

pub fn at(hours_after_eighteen: u64) -> UnixMs {
    EIGHTEEN.plus(hours_after_eighteen * HOUR_MS)
}

pub fn id(text: &str) -> SessionId {
    SessionId::parse(text).unwrap()
}

pub fn who(number: u32) -> AccountId {
    AccountId::parse(&format!("U{number}")).unwrap()
}

/// A cluster that plays the Saturday.
pub struct Drill {
    pub cluster: Cluster,
}

impl Drill {
    /// 17:55 on Saturday, with four accounts.
    pub async fn begin() -> Self {
        let mut cluster = Cluster::six().await;
        cluster.founding.calendar =
            Calendar::new(Timetable::parse(TIMETABLE).unwrap(), BTreeSet::new());
        let drill = Self { cluster };
        drill.set_clocks(EIGHTEEN.minus(5 * 60_000));
        drill
    }

    pub async fn running() -> Self {
        let mut drill = Self::begin().await;
        for node in 1..=6 {
            drill.cluster.start(node).await;
        }
        drill.cluster.founded().await;
        let firm = ParticipantId::parse("A").unwrap();
        let accounts = (1..=4).map(|number| Imported {
            id: who(number),
            participant: firm.clone(),
            class: Class::User,
            title: format!("user {number}"),
            email: None,
            card: None,
        });
        let firms = vec![Participant::new(firm.clone(), "A".into())];
        let (approve, entries) = super::import_of(vec![(firms, accounts.collect())]);
        for name in ["op1", "op2"] {
            drill.operator(name, approve.clone()).await;
        }
        for entry in entries {
            drill.operator("op1", entry).await;
        }
        drill
    }

    pub fn set_clocks(&self, time: UnixMs) {
        for clock in self.cluster.clocks.values() {
            clock.set_now(time);
        }
    }

    /// An operator asks the main line, through any node that runs and has a good clock.
    pub async fn operator(&self, name: &str, command: domain::Command) -> Outcome {
        let mut running = self.cluster.running.iter().rev();
        let good = running.find(|(_, running)| running.node.clock_verdict().is_good());
        let running = *good.unwrap().0;
        let main = self.cluster.main(running);
        let outcome = main.propose(asked(&main, name, command)).await.unwrap();
        assert!(
            matches!(outcome.result, outcome::Result::Done(_)),
            "{outcome:?}"
        );
        outcome
    }

    pub async fn plan(&self, command: Command) -> Outcome {
        self.operator("op1", domain::Command::Session(command))
            .await
    }

    pub async fn phase(&self, session: &str, phase: Phase) {
        let session = id(session);
        until(
            &format!("{session} is {phase:?} on all nodes"),
            async || {
                self.cluster.running.values().all(|running| {
                    let state = running.node.main().state();
                    state.plan(&session).map(|plan| plan.phase) == Some(phase)
                })
            },
        )
        .await;
    }

    pub async fn approve_and_open(&self) -> Outcome {
        self.approve().await;
        self.plan(Command::Open { session: id("S2") }).await
    }

    /// Both operators approve that session 2 opens.
    pub async fn approve(&self) {
        let state = self.cluster.main(1).state();
        let primary = CentreName::parse("east").unwrap();
        let planned = state.calendar().session(&id("S2"), &primary).unwrap();
        for operator in ["op1", "op2"] {
            let command = Command::Approve {
                act: Act::Open(id("S2")),
                plan: Plan::digest_of(&planned),
            };
            self.operator(operator, domain::Command::Session(command))
                .await;
        }
    }

    /// To the branch of session 2, confirmed and running on all nodes of the secondary.
    pub async fn open_session_2(&self) -> Digest {
        self.set_clocks(at(0));
        self.phase("S1", Phase::Open).await;
        self.set_clocks(at(2));
        self.phase("S1", Phase::Closed).await;
        let boundary = self.approve_and_open().await.at;
        self.phase("S2", Phase::Open).await;
        let digest = self.branch_runs().await;
        for running in self.cluster.running.values() {
            let main = running.node.main();
            let own = main.digests_at(boundary).map(|digests| digests.full);
            assert_eq!(own, Some(digest), "I1 on node {}", running.node.id());
        }
        digest
    }

    pub async fn branch_runs(&self) -> Digest {
        until(
            "the branch runs and has begun on the secondary",
            async || {
                (4..=6).all(|node| {
                    self.cluster.running.get(&node).is_none_or(|running| {
                        running.node.branch().is_some_and(|branch| {
                            branch.state().header().line == branch.reference().line
                        })
                    })
                })
            },
        )
        .await;
        let node = *self.cluster.running.keys().next_back().unwrap();
        let branch = self.cluster.node(node).branch().unwrap();
        match branch.reference().line {
            LineId::Branch { genesis, .. } => genesis,
            LineId::Main => panic!("a branch"),
        }
    }

    pub async fn serve_session_2(&self) {
        self.set_clocks(at(4));
        until("session 2 serves", async || {
            let running = self.cluster.running.range(4..).next();
            running.is_some_and(|(_, running)| {
                running
                    .node
                    .branch()
                    .is_some_and(|branch| branch.state().header().current == Some(id("S2")))
            })
        })
        .await;
    }

    /// Somebody is suspended on the branch.
    pub async fn suspend_on_branch(&self, number: u32) {
        let node = *self.cluster.running.keys().next_back().unwrap();
        let branch = self.cluster.node(node).branch().unwrap();
        let outcome = branch
            .propose(Proposal {
                actor: Actor::Operator(OperatorId::parse("op1").unwrap()),
                request: None,
                command: domain::Command::Account(account::Command::Suspend {
                    account: who(number),
                    token: None,
                    reason: "test".into(),
                }),
            })
            .await
            .unwrap();
        assert!(matches!(outcome.result, outcome::Result::Done(_)));
    }

    pub async fn roll_over(&self) {
        self.set_clocks(at(5));
        self.phase("S2", Phase::Closed).await;
        let mut gathered = None;
        until("the evidence is in both centres", async || {
            gathered = self.cluster.node(1).gather(&id("S2")).await.ok();
            gathered
                .as_ref()
                .is_some_and(|gathered| gathered.in_both_centres)
        })
        .await;
        let evidence = gathered.unwrap().evidence;
        let replies = evidence
            .must_repeat
            .iter()
            .map(|item| {
                let reason = "a drill".to_owned();
                (item.sequence, Reply::Waived { reason })
            })
            .collect();
        self.plan(Command::RollOver {
            session: id("S2"),
            evidence: Box::new(evidence),
            replies,
            gap_accepted: None,
        })
        .await;
        self.phase("S2", Phase::RolledOver).await;
    }

    pub async fn branch_is_gone(&self) {
        until("nothing of the branch is left but its audit", async || {
            self.cluster.running.values().all(|running| {
                let snapshots = running.node.data().join("genesis");
                let left = std::fs::read_dir(snapshots)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .filter(|file| file.path().extension().is_some_and(|e| e == "genesis"));
                running.node.branch().is_none() && left.count() == 0
            })
        })
        .await;
    }

    pub async fn monday(&self) {
        self.set_clocks(at(38));
        self.phase("day-2023-06-12", Phase::Open).await;
        self.cluster.agree().await;
        let state = self.cluster.main(1).state();
        assert!(state.accounts().all(account::Account::active), "I10");
    }
}
