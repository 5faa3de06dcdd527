//! A small world for tests: one cluster, two firms, a Saturday with two sessions, and the Monday
//! after it. Everything goes through `apply`.
#![allow(
    clippy::wildcard_enum_match_arm,
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly, and not each test needs all of the world"
)]

use std::collections::BTreeMap;

use domain::account::{Class, Imported, Participant};
use domain::audit::Row;
use domain::calendar::{Calendar, Timetable};
use domain::change::{self, Act, Reason, StepUpProof};
use domain::cluster::{self, Centre, FrontEnd, KeyPin, Node, Operator};
use domain::factor::{Channel, CodeProof, Method, NewChannel, Verdict};
use domain::login::{self, Proof, Subject};
use domain::outcome::Result as Came;
use domain::portal::{LandingOption, Portal};
use domain::session::{self, Evidence, Reply};
use domain::token::{TokenId, Which};
use domain::{
    AccountId, Actor, Answer, Applied, Command, Digest, Envelope, LineId, LogId, NodeId, Outcome,
    Rejection, Sealed, State, UnixMs, account, apply, initiation, line, policy, request, token,
    totp,
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
        let mut world = Self::empty();
        let founding = Box::new(founding());
        world.done(&node(), Command::Cluster(cluster::Command::Found(founding)));
        let mut participants = Vec::new();
        let mut accounts = Vec::new();
        for firm in ["A", "B"] {
            let participant = domain::ParticipantId::parse(firm).unwrap();
            participants.push(Participant {
                id: participant.clone(),
                title: firm.into(),
            });
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
        world.done(
            &operator("ann"),
            Command::Account(account::Command::Import {
                participants,
                accounts,
            }),
        );
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

    pub fn propose(&mut self, envelope: Envelope) -> Applied {
        let at = self.next_log_id();
        let applied = apply(&mut self.state, &self.line, at, &envelope);
        self.log.push((at, envelope));
        self.rows.extend(applied.audit.iter().cloned());
        applied
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
        let genesis = line::fork(&self.state);
        let digest = genesis.digests().full;
        let mut branch = Self {
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
        };
        branch.done(
            &node(),
            Command::Session(session::Command::BranchStart {
                session: session("S2"),
                genesis: digest,
            }),
        );
        branch.start("S2", SATURDAY_2200);
        branch
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

    pub fn subject(&self, who: &str) -> Subject {
        Subject::Known(id(who))
    }

    /// The verdict of an edge that looked at the verifier: right if `password` is what was sealed.
    pub fn verdict(&self, who: &str, method: Method, password: &str) -> Verdict {
        self.state
            .account(&id(who))
            .and_then(|account| account.password(method))
            .filter(|known| known.verifier == sealed(password))
            .map_or(Verdict::Wrong, |known| Verdict::Right {
                version: known.version,
            })
    }

    pub fn begin_login(&mut self, who: &str, option: LandingOption, password: &str) -> Outcome {
        let login = domain::LoginId(self.next_id());
        let verdict = self.verdict(who, option.method(), password);
        let subject = self.subject(who);
        self.ask(
            &front(),
            Command::Login(login::Command::Begin {
                login,
                subject,
                option,
                address: None,
                verdict,
                code: Some(sealed("code")),
                nonce: [1; 16],
            }),
        )
    }

    pub fn verify_login(&mut self, proof: Proof) -> Outcome {
        let mut login = [0; 16];
        login[..8].copy_from_slice(&self.counter.to_be_bytes());
        let token = Digest::of("token", &[&self.next_id()]);
        let outcome = self.ask(
            &front(),
            Command::Login(login::Command::Verify {
                login: domain::LoginId(login),
                proof,
                codes: 1,
                token,
            }),
        );
        if let Came::Done(_) = outcome.result {
            self.tokens.push(token);
        }
        outcome
    }

    /// A whole login; the proof is what the person's factor gives now.
    pub fn login(&mut self, who: &str, option: LandingOption, password: &str) -> Outcome {
        let begun = self.begin_login(who, option, password);
        if matches!(begun.result, Came::Rejected(_)) {
            return begun;
        }
        let proof = match option.method() {
            Method::Smartcard => Proof::Card(Some(
                domain::CardNumber::parse(&format!("CARD-{who}")).unwrap(),
            )),
            Method::Otp => Proof::Code(self.code(who)),
        };
        self.verify_login(proof)
    }

    /// The verdict on a code that the person types now.
    pub fn code(&self, who: &str) -> CodeProof {
        let account = self.state.account(&id(who));
        match account.and_then(|account| account.otp.as_ref()) {
            Some(otp) if otp.channel == Channel::Email => CodeProof::Mailed { matched: true },
            Some(_) | None => CodeProof::Step(Some(totp::step(self.now))),
        }
    }

    /// Initiates with an authenticator or e-mail. The last outcome is given.
    pub fn initiate(&mut self, who: &str, password: &str, by_mail: bool) -> Outcome {
        let subject = self.subject(who);
        self.ask(
            &front(),
            Command::Initiation(initiation::Command::Request {
                subject: subject.clone(),
                code: Some(sealed("activation")),
            }),
        );
        let procedure = domain::ProcedureId(self.next_id());
        let channel = if by_mail {
            NewChannel::Email {
                code: sealed("proof"),
            }
        } else {
            NewChannel::Authenticator {
                seed: sealed(&format!("seed {procedure}")),
            }
        };
        let has_card = self
            .state
            .account(&id(who))
            .is_some_and(|account| account.card.is_some());
        let second = if has_card {
            let card = self
                .state
                .account(&id(who))
                .and_then(|account| account.card.as_ref())
                .map_or(0, |card| card.password.version);
            initiation::SecondProof::CardPassword(Verdict::Right { version: card })
        } else {
            self.ask(
                &operator("ann"),
                Command::Account(account::Command::IssueActivationCode {
                    account: id(who),
                    token: None,
                    code: sealed("half"),
                }),
            );
            initiation::SecondProof::IssuedHalf { matched: true }
        };
        let begun = self.ask(
            &front(),
            Command::Initiation(initiation::Command::Begin {
                procedure,
                serial: self.serial(who),
                subject,
                address: None,
                code_matched: true,
                second,
                channel,
            }),
        );
        if !matches!(begun.result, Came::Done(_)) {
            return begun;
        }
        let proof = if by_mail {
            CodeProof::Mailed { matched: true }
        } else {
            CodeProof::Step(Some(totp::step(self.now)))
        };
        self.ask(
            &front(),
            Command::Initiation(initiation::Command::Confirm {
                procedure,
                proof,
                password: sealed(password),
            }),
        )
    }

    /// The serial of the account's activation codes, as an edge sees it.
    pub fn serial(&self, who: &str) -> u32 {
        let activation = self.state.activation(&id(who), self.now);
        activation.map_or(0, |activation| activation.serial)
    }

    pub fn change_password(
        &mut self,
        token: TokenId,
        current: &str,
        new: &str,
        reason: Reason,
    ) -> Outcome {
        let now = self.now;
        let held = self.state.tokens().get(&token, now).cloned();
        let verdict = held.map_or(Verdict::Wrong, |held| {
            self.verdict(held.account.as_str(), held.method(), current)
        });
        self.ask(
            &front(),
            Command::Change(change::Command::Password {
                token,
                verdict,
                password: sealed(new),
                reason,
            }),
        )
    }

    pub fn replace_channel(&mut self, token: TokenId, password: &str, reason: Reason) -> Outcome {
        let step_up = domain::ProcedureId(self.next_id());
        let Some(held) = self.state.tokens().get(&token, self.now).cloned() else {
            return self.end(token);
        };
        let who = held.account.as_str().to_owned();
        self.ask(
            &front(),
            Command::Change(change::Command::BeginStepUp {
                procedure: step_up,
                token,
                act: Act::ReplaceChannel,
                code: Some(sealed("step-up")),
                nonce: [2; 16],
            }),
        );
        let proof = StepUpProof::Code(self.code(&who));
        self.ask(
            &front(),
            Command::Change(change::Command::VerifyStepUp {
                procedure: step_up,
                token,
                proof,
            }),
        );
        let procedure = domain::ProcedureId(self.next_id());
        let verdict = self.verdict(&who, Method::Otp, password);
        self.ask(
            &front(),
            Command::Change(change::Command::BeginReplacement {
                procedure,
                token,
                step_up,
                verdict,
                channel: NewChannel::Authenticator {
                    seed: sealed(&format!("seed {procedure}")),
                },
                reason,
            }),
        );
        let step = totp::step(self.now);
        self.ask(
            &front(),
            Command::Change(change::Command::ConfirmReplacement {
                procedure,
                token,
                proof: CodeProof::Step(Some(step)),
            }),
        )
    }

    pub fn end(&mut self, token: TokenId) -> Outcome {
        self.ask(
            &front(),
            Command::Token(token::Command::End {
                token,
                which: Which::This,
            }),
        )
    }

    pub fn suspend(&mut self, by: &Actor, token: Option<TokenId>, who: &str) -> Outcome {
        self.ask(
            by,
            Command::Account(account::Command::Suspend {
                account: id(who),
                token,
                reason: "test".into(),
            }),
        )
    }

    pub fn revoke_otp(&mut self, who: &str) -> Outcome {
        self.ask(
            &operator("ann"),
            Command::Account(account::Command::RevokeOtp {
                account: id(who),
                reason: "test".into(),
            }),
        )
    }

    /// A request with an id minted now.
    pub fn key(&mut self, body: &str) -> request::Key {
        self.counter += 1;
        let mut id = [0; 16];
        id[..6].copy_from_slice(&self.now.0.to_be_bytes()[2..]);
        id[6] = 0x70;
        id[8] = 0x80;
        id[9..16].copy_from_slice(&self.counter.to_be_bytes()[1..]);
        request::Key {
            id: domain::RequestId(id),
            body: Digest::of("body", &[body.as_bytes()]),
        }
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
