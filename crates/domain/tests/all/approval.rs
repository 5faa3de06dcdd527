//! Operators' signed approvals as the line counts them, who is registered, and what scripts may do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeSet;

use crate::world::*;
use domain::approval::{Act, Approval, Signed};
use domain::cluster::KeyPin;
use domain::outcome::Result as Came;
use domain::portal::{LandingOption, Portal};
use domain::registration::{self, Holder, Registering};
use domain::script::{self, Deed, Terms};
use domain::session::{self, Plan};
use domain::{Actor, Answer, Command, Digest, Rejection, ScriptId, State, UnixMs};

pub(crate) fn planned(world: &World) -> Digest {
    let primary = domain::CentreName::parse("east").unwrap();
    let session = world.state.calendar().session(&session("S2"), &primary);
    Plan::digest_of(&session.unwrap())
}

fn approve_opening(world: &World) -> Command {
    Command::Session(session::Command::Approve {
        act: session::Act::Open(session("S2")),
        plan: planned(world),
    })
}

pub(crate) fn open() -> Command {
    Command::Session(session::Command::Open {
        session: session("S2"),
    })
}

/// Asks as `who` with this very approval.
fn with(world: &mut World, who: &str, command: Command, approval: Approval) -> Came {
    let signed = Command::Signed(Box::new(Signed { approval, command }));
    world.ask(&operator(who), signed).result
}

/// Session 1 is over.
pub(crate) fn evening() -> World {
    let mut world = World::in_session_1();
    world.close("S1", SATURDAY_2000);
    world
}

fn opening(world: &World) -> Act {
    Act::Session(session::Act::Open(session("S2")), planned(world))
}

#[test]
fn s34_an_approval_that_does_not_fit_is_refused_and_nothing_is_counted() {
    let mut world = evening();
    let act = opening(&world);
    let right = world.approval("ann", &act);
    type Change = fn(&mut Approval);
    let changes: [(Change, Rejection); 9] = [
        (
            |a| a.statement.cluster = domain::ClusterId([8; 16]),
            Rejection::ApprovalDiffers,
        ),
        (|a| a.statement.epoch = 2, Rejection::ApprovalDiffers),
        (
            |a| a.statement.act = "session.abandon".to_owned(),
            Rejection::ApprovalDiffers,
        ),
        (
            |a| a.statement.arguments = Digest::ZERO,
            Rejection::ApprovalDiffers,
        ),
        (|a| a.statement.index += 1_000, Rejection::ApprovalDiffers),
        (
            |a| a.certificate = vec![0; domain::approval::CERTIFICATE_BYTES_MAX + 1],
            Rejection::ApprovalDiffers,
        ),
        (|a| a.key = KeyPin([99; 32]), Rejection::ApprovalOtherKey),
        (
            |a| a.statement.expires_at = SATURDAY_1800,
            Rejection::ApprovalExpired,
        ),
        (
            |a| a.statement.expires_at = SATURDAY_2200.plus(HOUR),
            Rejection::ApprovalTooLong,
        ),
    ];
    for (change, rejection) in changes {
        let mut wrong = right.clone();
        change(&mut wrong);
        let command = approve_opening(&world);
        let came = with(&mut world, "ann", command, wrong);
        assert_eq!(came, Came::Rejected(rejection));
    }
    // Ben's own would be another key.
    let command = approve_opening(&world);
    let came = with(&mut world, "ben", command, right);
    assert_eq!(came, Came::Rejected(Rejection::ApprovalOtherKey));
    assert!(
        world
            .state
            .approvals(&session::Act::Open(session("S2")))
            .is_none()
    );
    let none = Rejection::NotApproved { have: 0, need: 2 };
    assert_eq!(world.rejected(&operator("ann"), open()), none);
}

#[test]
fn s34_an_approval_of_one_session_is_none_of_another_or_of_giving_it_up() {
    let mut world = evening();
    let other = Act::Session(session::Act::Open(session("S3")), planned(&world));
    let approval = world.approval("ann", &other);
    let command = approve_opening(&world);
    let came = with(&mut world, "ann", command, approval);
    assert_eq!(came, Came::Rejected(Rejection::ApprovalDiffers));
    let abandon = Act::Session(session::Act::Abandon(session("S2")), planned(&world));
    let approval = world.approval("ann", &abandon);
    let command = approve_opening(&world);
    let came = with(&mut world, "ann", command, approval);
    assert_eq!(came, Came::Rejected(Rejection::ApprovalDiffers));
}

#[test]
fn s34_an_approval_that_expired_before_the_act_does_not_count() {
    let mut world = evening();
    let command = approve_opening(&world);
    let mut short = world.approval("ann", &opening(&world));
    short.statement.expires_at = world.now.plus(MINUTE);
    assert!(matches!(
        with(&mut world, "ann", command.clone(), short),
        Came::Done(_)
    ));
    world.done(&operator("ben"), command.clone());
    world.at(world.now.plus(MINUTE));
    let one = Rejection::NotApproved { have: 1, need: 2 };
    assert_eq!(world.rejected(&operator("ann"), open()), one);
    world.done(&operator("ann"), command);
    world.done(&operator("ann"), open());
    let plan = world.state.plan(&session("S2")).unwrap();
    let by: Vec<&str> = plan.approved_by.keys().map(|id| id.as_str()).collect();
    assert_eq!(by, ["ann", "ben"]);
}

#[test]
fn s34_what_takes_two_takes_a_signature_of_each() {
    let mut world = evening();
    // Straight to `apply`, as a command that no edge has seen signed.
    let unsigned = domain::Envelope {
        at: world.now,
        actor: operator("ann"),
        line: world.line.clone(),
        request: None,
        command: approve_opening(&world),
    };
    let at = world.next_log_id();
    let line = world.line.clone();
    let came = domain::apply(&mut world.state, &line, at, &unsigned).outcome;
    assert_eq!(came.result, Came::Rejected(Rejection::ApprovalUnsigned));
}

#[test]
fn s34_the_statement_stays_in_the_audit_with_what_it_approved() {
    let mut world = evening();
    let command = approve_opening(&world);
    world.done(&operator("ann"), command);
    let row = world.rows.last().unwrap();
    let kept = row.approval.as_ref().unwrap();
    assert_eq!(kept.statement.act, "session.open");
    assert_eq!(kept.statement.arguments, opening(&world).digest());
    let mut other = row.clone();
    other.approval = None;
    assert_ne!(other.hash(), row.hash());
}

#[test]
fn an_approval_of_a_state_is_the_same_after_a_snapshot() {
    let mut world = evening();
    let command = approve_opening(&world);
    world.done(&operator("ann"), command);
    world.done(&operator("ann"), register(script_holder(), 50, &[]));
    let again = State::from_rows(world.state.rows()).unwrap();
    assert_eq!(again.digests(), world.state.digests());
    assert_eq!(again.pending(world.now).count(), 1);
}

pub(crate) fn script_id() -> ScriptId {
    ScriptId::parse("saturday").unwrap()
}

pub(crate) fn script_actor() -> Actor {
    Actor::Script(script_id())
}

pub(crate) fn script_holder() -> Holder {
    Holder::Script(script_id())
}

fn register(holder: Holder, key: u8, portals: &[Portal]) -> Command {
    Command::Registration(registration::Command::Register {
        registering: Registering {
            holder,
            key: KeyPin([key; 32]),
            portals: portals.to_vec(),
        },
        reason: "test".to_owned(),
    })
}

pub(crate) fn retire(holder: Holder) -> Command {
    Command::Registration(registration::Command::Retire {
        holder,
        reason: "test".to_owned(),
    })
}

pub(crate) fn registered(world: &mut World, holder: Holder, key: u8, portals: &[Portal]) {
    for who in ["ann", "ben"] {
        world.done(&operator(who), register(holder.clone(), key, portals));
    }
}

fn operator_holder(name: &str) -> Holder {
    Holder::Operator(domain::OperatorId::parse(name).unwrap())
}

#[test]
fn registering_takes_two_operators_and_a_key_is_pinned_once_s34() {
    let mut world = World::founded();
    let cat = operator_holder("cat");
    let one = world.done(&operator("ann"), register(cat.clone(), 60, &[]));
    assert_eq!(one, Answer::Approved { have: 1, need: 2 });
    world.done(&operator("ann"), register(cat.clone(), 60, &[]));
    assert!(world.state.registered(&cat).is_none());
    // Who says another key begins anew.
    let other = world.done(&operator("ben"), register(cat.clone(), 61, &[]));
    assert_eq!(other, Answer::Approved { have: 1, need: 2 });
    assert!(world.state.registered(&cat).is_none());
    registered(&mut world, cat.clone(), 60, &[]);
    let known = world.state.registered(&cat).unwrap();
    assert_eq!((known.key, known.approvals.len()), (KeyPin([60; 32]), 2));
    for taken in [60, 2] {
        let refused = world.rejected(&operator("ann"), register(script_holder(), taken, &[]));
        assert!(
            matches!(refused, Rejection::KeyPinned { .. }),
            "{refused:?}"
        );
    }
    let again = world.rejected(&operator("ann"), register(cat, 60, &[]));
    assert_eq!(again, Rejection::AlreadySo);
    let web = Holder::FrontEnd(domain::FrontEndId::parse("web-9").unwrap());
    let none = world.rejected(&operator("ann"), register(web, 70, &[]));
    assert!(matches!(none, Rejection::BadValues(_)));
}

#[test]
fn one_operator_retires_at_once_but_never_the_last_two() {
    let mut world = evening();
    let need = Rejection::LastOperators { need: 2 };
    let ben = operator_holder("ben");
    assert_eq!(world.rejected(&operator("ann"), retire(ben.clone())), need);
    registered(&mut world, operator_holder("cat"), 60, &[]);
    // Ben has approved, and is gone before it is done.
    let command = approve_opening(&world);
    world.done(&operator("ben"), command.clone());
    world.done(&operator("ann"), retire(ben.clone()));
    let gone = world.rejected(&operator("ben"), command.clone());
    assert_eq!(gone, Rejection::CallerRetired);
    world.done(&operator("ann"), command);
    let one = Rejection::NotApproved { have: 1, need: 2 };
    assert_eq!(world.rejected(&operator("cat"), open()), one);
    assert_eq!(
        world.rejected(&operator("ann"), retire(ben)),
        Rejection::AlreadySo
    );
}

#[test]
fn a_retired_front_ends_tokens_end_and_it_logs_nobody_in_s32() {
    let mut world = World::in_session_1();
    world.login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    let token = world.tokens[0];
    let web = Holder::FrontEnd(domain::FrontEndId::parse("web").unwrap());
    let ended = world.done(&operator("ann"), retire(web));
    assert_eq!(ended, Answer::TokensEnded { count: 1 });
    assert!(world.state.tokens().get(&token, world.now).is_none());
    let refused = world.login("AU1", LandingOption::SmartcardOnlineAndReports, "friday");
    assert_eq!(refused.result, Came::Rejected(Rejection::CallerRetired));
}

pub(crate) fn terms(world: &World) -> Terms {
    Terms {
        script: script_id(),
        session: session("S2"),
        plan: planned(world),
        deeds: BTreeSet::from([Deed::Open, Deed::Close, Deed::RollOver]),
        from: SATURDAY_2000,
        until: SATURDAY_2300.plus(HOUR),
        runs: 3,
    }
}

pub(crate) fn grant(terms: &Terms) -> Command {
    Command::Script(script::Command::Grant {
        terms: terms.clone(),
        reason: "test".to_owned(),
    })
}

pub(crate) fn granted(world: &mut World, terms: &Terms) {
    for who in ["ann", "ben"] {
        world.done(&operator(who), grant(terms));
    }
}

/// Session 1 is over, and a script is registered.
pub(crate) fn scripted() -> World {
    let mut world = evening();
    registered(&mut world, script_holder(), 50, &[]);
    world
}

pub(crate) fn used(world: &World) -> u32 {
    world.state.grants().next().unwrap().used
}

#[test]
fn a_script_runs_a_granted_plan_to_its_rollover_and_each_act_is_counted() {
    let mut world = scripted();
    let refused = world.rejected(&script_actor(), open());
    assert_eq!(refused, Rejection::NotGranted);
    let terms = terms(&world);
    let one = world.done(&operator("ann"), grant(&terms));
    assert_eq!(one, Answer::Approved { have: 1, need: 2 });
    assert_eq!(
        world.rejected(&script_actor(), open()),
        Rejection::NotGranted
    );
    world.done(&operator("ben"), grant(&terms));
    world.done(&script_actor(), open());
    assert_eq!(used(&world), 1);
    let plan = world.state.plan(&session("S2")).unwrap();
    assert_eq!(plan.approved_by.len(), 2);
    let mut branch = world.branch();
    branch.close("S2", SATURDAY_2300);
    world.at(SATURDAY_2300);
    let close = Command::Session(session::Command::Close {
        session: session("S2"),
    });
    world.done(&script_actor(), close);
    assert_eq!(used(&world), 2);
    let roll_over = |evidence| {
        Command::Session(session::Command::RollOver {
            session: session("S2"),
            evidence: Box::new(evidence),
            replies: std::collections::BTreeMap::new(),
            gap_accepted: None,
        })
    };
    world.done(&script_actor(), roll_over(branch.evidence()));
    assert_eq!(used(&world), 3);
}

#[test]
fn a_script_rolls_nothing_over_that_wants_an_answer_and_gives_none() {
    let mut world = scripted();
    let terms = terms(&world);
    granted(&mut world, &terms);
    world.done(&script_actor(), open());
    let mut branch = world.branch();
    branch.suspend(&operator("ann"), None, "AU1");
    branch.close("S2", SATURDAY_2300);
    world.close("S2", SATURDAY_2300);
    let evidence = branch.evidence();
    let ask = |replies, gap: Option<&str>| {
        Command::Session(session::Command::RollOver {
            session: session("S2"),
            evidence: Box::new(evidence.clone()),
            replies,
            gap_accepted: gap.map(str::to_owned),
        })
    };
    let silent = world.rejected(&script_actor(), ask(Default::default(), None));
    assert!(matches!(silent, Rejection::Unanswered(_)), "{silent:?}");
    for answered in [
        ask(waive(&evidence), None),
        ask(Default::default(), Some("why")),
    ] {
        let refused = world.rejected(&script_actor(), answered);
        assert_eq!(refused, Rejection::ScriptMayNot);
    }
    assert_eq!(used(&world), 1);
}

#[test]
fn a_script_acts_within_window_runs_and_plan_alone() {
    let outside = |world: &mut World| {
        let refused = world.rejected(&script_actor(), open());
        let Rejection::OutsideWindow { from, until } = refused else {
            panic!("{refused:?}");
        };
        (from, until)
    };
    // Before and after the window.
    let mut world = scripted();
    let mut later = terms(&world);
    (later.from, later.until) = (SATURDAY_2000.plus(MINUTE), SATURDAY_2000.plus(2 * MINUTE));
    granted(&mut world, &later);
    assert_eq!(outside(&mut world), (later.from, later.until));
    world.at(later.until);
    assert_eq!(outside(&mut world), (later.from, later.until));
    assert_eq!(used(&world), 0);
    // One act more than granted.
    let mut world = scripted();
    let mut once = terms(&world);
    once.runs = 1;
    granted(&mut world, &once);
    world.done(&script_actor(), open());
    let close = Command::Session(session::Command::Close {
        session: session("S2"),
    });
    let more = world.rejected(&script_actor(), close.clone());
    assert_eq!(more, Rejection::RunsUsed { runs: 1 });
    // An act that is not granted.
    let mut world = scripted();
    let mut opens = terms(&world);
    opens.deeds = BTreeSet::from([Deed::Open]);
    granted(&mut world, &opens);
    world.done(&script_actor(), open());
    assert_eq!(
        world.rejected(&script_actor(), close),
        Rejection::NotGranted
    );
    // Another plan than the granted one.
    let mut world = scripted();
    let terms = terms(&world);
    granted(&mut world, &terms);
    let changed = TIMETABLE.replace("opens = \"22:00\"", "opens = \"22:15\"");
    let calendar = domain::calendar::Calendar::new(
        domain::calendar::Timetable::parse(&changed).unwrap(),
        BTreeSet::new(),
    );
    world.done(&operator("ann"), Command::SetCalendar(Box::new(calendar)));
    assert_eq!(
        world.rejected(&script_actor(), open()),
        Rejection::PlanDiffers
    );
    // Taken back by one.
    let mut world = scripted();
    granted(&mut world, &terms);
    let withdraw = Command::Script(script::Command::Withdraw {
        grant: terms.id(),
        reason: "test".to_owned(),
    });
    world.done(&operator("ben"), withdraw);
    assert_eq!(
        world.rejected(&script_actor(), open()),
        Rejection::NotGranted
    );
    let again = world.rejected(&operator("ann"), grant(&terms));
    assert_eq!(again, Rejection::AlreadySo);
}

#[test]
fn a_script_does_nothing_else() {
    let mut world = scripted();
    let terms = terms(&world);
    granted(&mut world, &terms);
    let policy = domain::policy::Policy::default();
    let digest = planned(&world);
    let others = [
        Command::SetPolicy { policy, seen: None },
        Command::SetCalendar(Box::new(calendar())),
        approve_opening(&world),
        register(operator_holder("cat"), 60, &[]),
        retire(operator_holder("ann")),
        grant(&terms),
        Command::Session(session::Command::Start {
            session: session("S2"),
        }),
        Command::Session(session::Command::ConfirmOpen {
            session: session("S2"),
            digest,
            verified: Vec::new(),
        }),
        Command::Account(domain::account::Command::Suspend {
            account: id("AU1"),
            token: None,
            reason: "test".to_owned(),
        }),
        Command::Keys(domain::keys::Command::Retire { key: 1 }),
    ];
    let digests = world.state.digests().account;
    for command in others {
        let refused = world.rejected(&script_actor(), command);
        assert_eq!(refused, Rejection::ScriptMayNot);
    }
    assert_eq!(world.state.digests().account, digests);
    world.done(&operator("ann"), retire(script_holder()));
    let gone = world.rejected(&script_actor(), open());
    assert_eq!(gone, Rejection::CallerRetired);
}

#[test]
fn a_grant_is_bounded() {
    let mut world = scripted();
    type Change = fn(&mut Terms);
    let changes: [Change; 6] = [
        |t| t.deeds.clear(),
        |t| t.runs = 0,
        |t| t.runs = script::RUNS_MAX + 1,
        |t| t.until = t.from,
        |t| t.until = UnixMs(t.from.0 + script::WINDOW_MS_MAX + 1),
        |t| t.until = SATURDAY_1800,
    ];
    for change in changes {
        let mut wrong = terms(&world);
        change(&mut wrong);
        let refused = world.rejected(&operator("ann"), grant(&wrong));
        assert!(matches!(refused, Rejection::BadValues(_)), "{refused:?}");
    }
    let mut stranger = terms(&world);
    stranger.script = ScriptId::parse("stranger").unwrap();
    let refused = world.rejected(&operator("ann"), grant(&stranger));
    assert_eq!(refused, Rejection::NoSuchCaller);
}
