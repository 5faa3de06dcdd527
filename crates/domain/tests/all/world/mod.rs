//! A small world for tests: one cluster, two firms, a Saturday with two sessions, and the Monday
//! after it. Everything goes through `apply`.
#![allow(
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, and not each test needs all of the world"
)]

mod drill;
mod giving;
mod logins;
mod people;

pub use drill::{abandon, close_both, drill};
pub use giving::{entry, terms};

use std::collections::BTreeMap;

use domain::account::{Class, Imported};
use domain::approval::{Act, Approval, Signed};
use domain::audit::Row;
use domain::calendar::{Calendar, Timetable};
use domain::cluster::{self, Centre, FrontEnd, KeyPin, Node, Operator};
use domain::outcome::Result as Came;
use domain::participant::Participant;
use domain::portal::Portal;
use domain::registration::Holder;
use domain::session::{self, Evidence, Reply};
use domain::token::TokenId;
use domain::{
    AccountId, Actor, Answer, Applied, Command, Digest, Envelope, LineId, LogId, NodeId, Outcome,
    Rejection, Sealed, State, UnixMs, apply, line, policy,
};

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

[[day.session]]
id = "S3"
centre = "east"
opens = "23:00"
closes = "23:30"
purpose = "drill"
"#;

pub const MINUTE: u64 = 60_000;
pub const HOUR: u64 = 60 * MINUTE;
/// Saturday 10 June 2023, 17:55 in Hong Kong.
pub const SATURDAY_1755: UnixMs = UnixMs(1_686_390_900_000);
pub const SATURDAY_1800: UnixMs = UnixMs(SATURDAY_1755.0 + 5 * MINUTE);
pub const SATURDAY_2000: UnixMs = UnixMs(SATURDAY_1800.0 + 2 * HOUR);
pub const SATURDAY_2200: UnixMs = UnixMs(SATURDAY_1800.0 + 4 * HOUR);
pub const SATURDAY_2300: UnixMs = UnixMs(SATURDAY_1800.0 + 5 * HOUR);
/// Monday 12 June 2023, 08:00 in Hong Kong.
pub const MONDAY_0800: UnixMs = UnixMs(SATURDAY_1800.0 + 38 * HOUR);

pub fn id(text: &str) -> AccountId {
    AccountId::parse(text).unwrap()
}
pub fn session(text: &str) -> domain::SessionId {
    domain::SessionId::parse(text).unwrap()
}
pub fn sealed(of: &str) -> Sealed {
    Sealed {
        key: 1,
        nonce: [7; 12],
        bytes: of.as_bytes().to_vec(),
    }
}
pub fn front() -> Actor {
    Actor::FrontEnd(domain::FrontEndId::parse("web").unwrap())
}
pub fn back() -> Actor {
    Actor::BackEnd(domain::BackEndId::parse("ccms").unwrap())
}
pub fn operator(name: &str) -> Actor {
    Actor::Operator(domain::OperatorId::parse(name).unwrap())
}
pub fn node() -> Actor {
    Actor::Node(NodeId(1))
}

pub fn calendar() -> Calendar {
    Calendar::new(
        Timetable::parse(TIMETABLE).unwrap(),
        std::collections::BTreeSet::new(),
    )
}

pub fn founding() -> cluster::Founding {
    let centre = |name: &str, ids: [u64; 3]| Centre {
        name: domain::CentreName::parse(name).unwrap(),
        nodes: ids
            .map(|id| Node {
                id: NodeId(id),
                address: format!("127.0.0.1:{id}"),
            })
            .to_vec(),
    };
    let operator = |name: &str| Operator {
        id: domain::OperatorId::parse(name).unwrap(),
        key: KeyPin([name.as_bytes()[0]; 32]),
    };
    cluster::Founding {
        cluster: domain::ClusterId([9; 16]),
        title: "test".into(),
        primary: centre("east", [1, 2, 3]),
        secondary: Some(centre("west", [4, 5, 6])),
        operators: vec![operator("ann"), operator("ben")],
        front_ends: vec![FrontEnd {
            id: domain::FrontEndId::parse("web").unwrap(),
            key: KeyPin([2; 32]),
            portals: vec![Portal::Ccms, Portal::Dms],
        }],
        back_ends: vec![],
        policy: policy::Policy::default(),
        calendar: calendar(),
        simulated_clock: false,
        clock_offset_ms: 0,
        keys: Vec::new(),
        restored: None,
    }
}

/// A line with its history.
#[derive(Debug, Clone)]
pub struct World {
    pub state: State,
    pub line: LineId,
    pub now: UnixMs,
    pub log: Vec<(LogId, Envelope)>,
    pub rows: Vec<Row>,
    /// The tokens that were issued, latest last.
    pub tokens: Vec<TokenId>,
    counter: u64,
}

impl World {
    /// Before its first entry.
    pub fn empty() -> Self {
        Self {
            state: State::unfounded(),
            line: LineId::Main,
            now: SATURDAY_1755,
            log: Vec::new(),
            rows: Vec::new(),
            tokens: Vec::new(),
            counter: 0,
        }
    }

    /// Founded, with people: at each firm four users and two DAs. `*1` and `*2` have cards and
    /// e-mail, `*3` e-mail alone, `*4` neither; DAs have both.
    pub fn founded() -> Self {
        Self::founded_at(SATURDAY_1755)
    }

    /// The same at another time.
    pub fn founded_at(now: UnixMs) -> Self {
        let mut world = Self::empty();
        world.now = now;
        let founding = Box::new(founding());
        world.done(&node(), Command::Cluster(cluster::Command::Found(founding)));
        let mut participants = Vec::new();
        let mut accounts = Vec::new();
        for firm in ["A", "B"] {
            let participant = domain::ParticipantId::parse(firm).unwrap();
            participants.push(Participant::new(participant.clone(), firm.into()));
            for (name, class, email, card) in [
                ("U1", Class::User, true, true),
                ("U2", Class::User, true, true),
                ("U3", Class::User, true, false),
                ("U4", Class::User, false, false),
                ("D1", Class::DelegatedAdmin, true, true),
                ("D2", Class::DelegatedAdmin, true, true),
            ] {
                let name = format!("{firm}{name}");
                accounts.push(Imported {
                    id: id(&name),
                    participant: participant.clone(),
                    class,
                    title: name.clone(),
                    email: email.then(|| format!("{name}@example.com")),
                    card: card.then(|| {
                        (
                            domain::CardNumber::parse(&format!("CARD-{name}")).unwrap(),
                            sealed("friday"),
                        )
                    }),
                });
            }
        }
        let imported = world.import(&participants, &accounts);
        assert!(matches!(imported.result, Came::Done(_)), "{imported:?}");
        world
    }

    /// In session 1.
    pub fn in_session_1() -> Self {
        let mut world = Self::founded();
        world.start("S1", SATURDAY_1800);
        world
    }

    pub fn next_id(&mut self) -> [u8; 16] {
        self.counter += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.counter.to_be_bytes());
        id
    }

    pub fn next_log_id(&self) -> LogId {
        LogId {
            term: 1,
            node: 1,
            index: self.log.len() as u64 + 1,
        }
    }

    pub fn propose(&mut self, mut envelope: Envelope) -> Applied {
        let at = self.next_log_id();
        envelope.command = self.signed(&envelope.actor, envelope.command);
        let applied = apply(&mut self.state, &self.line, at, &envelope);
        self.log.push((at, envelope));
        self.rows.extend(applied.audit.iter().cloned());
        applied
    }

    /// The command, with the approval that the edge would have checked where it takes one.
    fn signed(&self, actor: &Actor, command: Command) -> Command {
        let (Actor::Operator(operator), Some(act)) = (actor, Act::of(&self.state, &command)) else {
            return command;
        };
        if matches!(command, Command::Signed(_)) {
            return command;
        }
        let approval = self.approval(operator.as_str(), &act);
        Command::Signed(Box::new(Signed { approval, command }))
    }

    /// An operator's approval as the edge hands it on, of the state as it is.
    pub fn approval(&self, operator: &str, act: &Act) -> Approval {
        let holder = Holder::Operator(domain::OperatorId::parse(operator).unwrap());
        let mut known = self.state.registrations();
        let known = known.find(|known| known.holder == holder);
        let header = self.state.header();
        let place = (self.state.cluster().unwrap(), header.epoch);
        let until = header.clock.max(self.now).plus(20 * MINUTE);
        Approval {
            statement: act.statement(place, header.applied.index, until),
            key: known.map_or(KeyPin([0; 32]), |known| known.key),
            certificate: b"a certificate".to_vec(),
            signature: b"a signature".to_vec(),
        }
    }

    /// Two operators set the policy.
    pub fn set_policy(&mut self, policy: policy::Policy) {
        for who in ["ann", "ben"] {
            let policy = policy.clone();
            self.done(&operator(who), Command::SetPolicy { policy, seen: None });
        }
    }

    pub fn ask(&mut self, actor: &Actor, command: Command) -> Outcome {
        self.propose(Envelope {
            at: self.now,
            actor: actor.clone(),
            line: self.line.clone(),
            request: None,
            command,
        })
        .outcome
    }

    pub fn done(&mut self, actor: &Actor, command: Command) -> Answer {
        match self.ask(actor, command.clone()).result {
            Came::Done(answer) => answer,
            other => panic!("{command:?} gave {other:?}"),
        }
    }

    pub fn rejected(&mut self, actor: &Actor, command: Command) -> Rejection {
        match self.ask(actor, command.clone()).result {
            Came::Rejected(rejection) => rejection,
            other => panic!("{command:?} gave {other:?}"),
        }
    }

    /// Moves the time; the line's clock with it, as an idle leader does.
    pub fn at(&mut self, now: UnixMs) {
        self.now = self.now.max(now);
        self.ask(
            &node(),
            Command::Cluster(cluster::Command::AdvanceClock {
                to: self.now,
                offset_ms: None,
            }),
        );
    }

    pub fn start(&mut self, name: &str, now: UnixMs) {
        self.at(now);
        self.done(
            &node(),
            Command::Session(session::Command::Start {
                session: session(name),
            }),
        );
    }

    pub fn close(&mut self, name: &str, now: UnixMs) {
        self.at(now);
        self.done(
            &node(),
            Command::Session(session::Command::Close {
                session: session(name),
            }),
        );
    }

    pub fn approve(&mut self, act: session::Act) {
        let id = match &act {
            session::Act::Open(id) | session::Act::Abandon(id) => id.clone(),
        };
        let primary = domain::CentreName::parse("east").unwrap();
        let planned = self.state.calendar().session(&id, &primary).unwrap();
        let plan = session::Plan::digest_of(&planned);
        for who in ["ann", "ben"] {
            self.done(
                &operator(who),
                Command::Session(session::Command::Approve {
                    act: act.clone(),
                    plan,
                }),
            );
        }
    }

    /// Opens session 2 at `now`, with its approvals. The state after it is the genesis.
    pub fn open_session_2(&mut self, now: UnixMs) {
        self.at(now);
        self.approve(session::Act::Open(session("S2")));
        self.done(
            &operator("ann"),
            Command::Session(session::Command::Open {
                session: session("S2"),
            }),
        );
    }

    /// Says that nodes of the secondary have verified the genesis with this digest.
    pub fn confirm(&mut self, digest: Digest) {
        self.done(
            &node(),
            Command::Session(session::Command::ConfirmOpen {
                session: session("S2"),
                digest,
                verified: vec![NodeId(4), NodeId(5)],
            }),
        );
    }

    /// The branch of session 2, confirmed, started and serving.
    pub fn branch(&mut self) -> Self {
        let branch = self.branch_at(self.now);
        if let LineId::Branch { genesis, .. } = &branch.line {
            self.confirm(*genesis);
        }
        branch
    }

    /// The branch of session 2, whose first entry comes at `began`.
    pub fn branch_at(&self, began: UnixMs) -> Self {
        let mut branch = self.fork_at(began);
        let genesis = branch.state.digests().full;
        branch.done(
            &node(),
            Command::Session(session::Command::BranchStart {
                session: session("S2"),
                genesis,
            }),
        );
        branch.start("S2", SATURDAY_2200);
        branch
    }

    /// A branch of session 2 before its first entry.
    pub fn fork_at(&self, began: UnixMs) -> Self {
        let genesis = line::fork(&self.state);
        let digest = genesis.digests().full;
        Self {
            state: genesis,
            line: LineId::Branch {
                session: session("S2"),
                genesis: digest,
            },
            now: began,
            log: Vec::new(),
            rows: Vec::new(),
            tokens: Vec::new(),
            counter: 1 << 32,
        }
    }

    /// What this closed branch leaves behind.
    pub fn evidence(&self) -> Evidence {
        let LineId::Branch { session, genesis } = &self.line else {
            panic!("the main line leaves nothing behind");
        };
        let digests = self.state.digests();
        let mut evidence = Evidence {
            session: session.clone(),
            boundary: self.state.plan(session).unwrap().boundary.unwrap().at,
            genesis: *genesis,
            closed: self.state.header().applied,
            closed_at: self.state.header().clock,
            audit: self.state.header().audit,
            audit_from: self.rows.first().map_or(0, |row| row.sequence),
            account: digests.account,
            full: digests.full,
            forgotten: BTreeMap::new(),
            accounts: 0,
            must_repeat: Vec::new(),
            touched: BTreeMap::new(),
        };
        evidence.count(self.rows.iter());
        evidence
    }

    pub fn roll_over(&mut self, evidence: Evidence, replies: BTreeMap<u64, Reply>) -> Outcome {
        self.ask(
            &operator("ann"),
            Command::Session(session::Command::RollOver {
                session: session("S2"),
                evidence: Box::new(evidence),
                replies,
                gap_accepted: None,
            }),
        )
    }
}

/// Whether the outcome is a token.
pub fn issued(outcome: &Outcome) -> bool {
    matches!(outcome.result, Came::Done(Answer::TokenIssued(_)))
}

/// Waives every item.
pub fn waive(evidence: &Evidence) -> BTreeMap<u64, Reply> {
    let reason = "test".to_owned();
    evidence
        .must_repeat
        .iter()
        .map(|item| {
            (
                item.sequence,
                Reply::Waived {
                    reason: reason.clone(),
                },
            )
        })
        .collect()
}
