//! What a cluster is that begins with a backup: the people are there, what counts once is over, and
//! nothing of the old cluster's own is left.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::world::*;
use domain::audit::Kind;
use domain::backup::{self, Backup, BackupId, Restored, Taken};
use domain::cluster::{self, Founding, KeyPin, KeyProof, Operator};
use domain::keys::{Purpose, Stage};
use domain::outcome::Result as Came;
use domain::portal::LandingOption;
use domain::registration::Holder;
use domain::session::Phase;
use domain::{
    ClusterId, Command, Digest, Envelope, LineId, LogId, NodeId, Rejection, State, UnixMs, apply,
    totp,
};

const SIX_DAYS: u64 = 6 * 24 * HOUR;

fn take(world: &mut World) -> Backup {
    let id = BackupId(world.next_id());
    let command = Command::Cluster(cluster::Command::BackUp {
        id,
        reason: "nightly".into(),
    });
    world.done(&operator("ann"), command);
    let taken = Taken {
        id,
        at: world.now,
        node: NodeId(2),
        by: domain::OperatorId::parse("ann").unwrap(),
    };
    Backup::of(&world.state, taken, 1).unwrap()
}

/// A founding record of a cluster that begins with the backup.
fn record(backup: &Backup, state: &State) -> Founding {
    let mut founding = founding();
    founding.cluster = ClusterId([1; 16]);
    founding.operators = ["ann", "cat"]
        .map(|name| Operator {
            id: domain::OperatorId::parse(name).unwrap(),
            key: KeyPin([name.as_bytes()[1]; 32]),
        })
        .to_vec();
    founding.restored = Some(Box::new(Restored {
        backup: backup.clone(),
        base: backup::base(state).digests().full,
        at: UnixMs(0),
        by: domain::OperatorId::parse("cat").unwrap(),
        reason: "the old one burnt".into(),
    }));
    founding
}

/// The first entry of the new cluster.
fn begin(founding: Founding, base: State, at: UnixMs) -> (State, domain::Applied) {
    let mut state = base;
    let envelope = Envelope {
        at,
        actor: node(),
        line: LineId::Main,
        request: None,
        command: Command::Cluster(cluster::Command::Found(Box::new(founding))),
    };
    let log = LogId {
        term: 1,
        node: 1,
        index: 1,
    };
    let applied = apply(&mut state, &LineId::Main, log, &envelope);
    (state, applied)
}

fn restored(world: &mut World, at: UnixMs) -> (State, domain::Applied) {
    let backup = take(world);
    let founding = record(&backup, &world.state);
    let (state, applied) = begin(founding, backup::base(&world.state), at);
    assert!(
        matches!(applied.outcome.result, Came::Done(_)),
        "{applied:?}"
    );
    (state, applied)
}

#[test]
fn people_are_there_and_nothing_single_use_comes_back_to_life() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.initiate("AU2", "first", true);
    world.at(world.now.plus(MINUTE));
    world.login("AU1", LandingOption::OtpOnline, "first");
    world.begin_login("AU1", LandingOption::OtpOnline, "first");
    let token = *world.tokens.last().unwrap();
    assert!(world.state.tokens().get(&token, world.now).is_some());
    let generation = world.state.header().generation;

    let later = world.now.plus(SIX_DAYS);
    let (state, applied) = restored(&mut world, later);
    let old = &world.state;
    assert_eq!(state.digests().account, old.digests().account);
    assert_eq!(state.accounts_count(), old.accounts_count());
    assert!(state.tokens().get(&token, later).is_none());
    assert_eq!(state.header().generation, generation + 1);
    // No step is accepted that could have been, anywhere, by now.
    let greatest = totp::step(later.plus(old.policy().clock_skew_ms));
    assert!(state.header().totp_floor >= greatest);
    assert_eq!(state.header().line_since, later);
    assert_eq!(state.header().clock, later);
    assert_eq!(state.header().epoch, 1);

    // The chain goes on, and its first record says where it came from.
    let first = &applied.audit[0];
    assert!(first.follows(&old.header().audit));
    assert_eq!(first.kind, Kind::Restored);
    assert_eq!(first.by, "operator/cat");
    let detail = first.detail.clone().unwrap();
    assert!(detail.contains("the old one burnt"), "{detail}");
    assert!(detail.contains(&old.digests().full.to_string()), "{detail}");
    // Saturday's session is over.
    assert_eq!(state.header().current, None);
    assert_eq!(state.plan(&session("S1")).unwrap().phase, Phase::Closed);
    assert!(
        applied
            .audit
            .iter()
            .any(|row| row.kind == Kind::SessionClosed)
    );
}

#[test]
fn a_session_of_the_primary_goes_on_while_its_time_lasts() {
    let mut world = World::in_session_1();
    let soon = world.now.plus(MINUTE);
    let (state, _) = restored(&mut world, soon);
    assert_eq!(state.header().current, Some(session("S1")));
    assert!(state.open_session(soon).is_ok());
}

#[test]
fn callers_are_those_of_the_new_founding_alone() {
    let mut world = World::in_session_1();
    let at = world.now;
    let (state, _) = restored(&mut world, at);
    let holders: Vec<String> = state
        .registrations()
        .map(|known| known.holder.to_string())
        .collect();
    let ann = Holder::Operator(domain::OperatorId::parse("ann").unwrap());
    assert_eq!(holders.len(), 3, "{holders:?}");
    // The same name, and another key.
    assert_ne!(
        state.registered(&ann).unwrap().key,
        world.state.registered(&ann).unwrap().key
    );
    assert_eq!(state.cluster(), Some(ClusterId([1; 16])));
    assert_eq!(state.reference().unwrap().epoch, 1);
}

#[test]
fn an_open_branch_is_abandoned_with_a_record_and_monday_opens() {
    let mut world = World::in_session_1();
    world.close("S1", SATURDAY_2000);
    world.open_session_2(SATURDAY_2000.plus(MINUTE));
    let _branch = world.branch();
    let (state, applied) = restored(&mut world, SATURDAY_2300);
    assert_eq!(state.header().fence, None);
    assert_eq!(state.header().current, None);
    let plan = state.plan(&session("S2")).unwrap();
    assert_eq!(plan.phase, Phase::Abandoned);
    let why = plan.sealed.as_ref().unwrap().gap_accepted.clone().unwrap();
    assert!(why.contains("backup"), "{why}");
    let row = applied
        .audit
        .iter()
        .find(|row| row.kind == Kind::SessionAbandoned);
    assert!(row.unwrap().detail.as_ref().unwrap().starts_with("S2"));
}

#[test]
fn notices_that_wait_keep_waiting_under_names_of_the_new_line() {
    let mut world = World::in_session_1();
    world.initiate("AU1", "first", false);
    world.initiate("AU2", "first", true);
    let waiting: Vec<_> = world.state.outbox().iter().cloned().collect();
    assert!(waiting.len() > 1);
    let at = world.now;
    let (state, _) = restored(&mut world, at);
    let renamed: Vec<_> = state.outbox().iter().cloned().collect();
    assert_eq!(renamed.len(), waiting.len());
    for (part, (before, after)) in (0..).zip(waiting.iter().zip(&renamed)) {
        assert_eq!((after.id.entry.index, after.id.part), (1, part));
        assert_eq!(after.account, before.account);
        assert_eq!(after.kind, before.kind);
    }
}

#[test]
fn keys_are_proved_for_the_new_cluster() {
    let key = |id, purpose, code| KeyProof {
        id,
        purpose,
        code: Digest([code; 32]),
        public: None,
    };
    let mut world = World::empty();
    let mut founding = founding();
    founding.keys = vec![key(1, Purpose::Seal, 1), key(2, Purpose::Digest, 2)];
    let found = Command::Cluster(cluster::Command::Found(Box::new(founding)));
    world.done(&node(), found);
    let backup = take(&mut world);
    assert_eq!(backup.keys, [1, 2]);
    let base = backup::base(&world.state);
    let mut lacking = record(&backup, &world.state);
    lacking.keys = vec![key(1, Purpose::Seal, 9)];
    let (_, applied) = begin(lacking.clone(), base.clone(), world.now);
    let refused = matches!(
        &applied.outcome.result,
        Came::Rejected(Rejection::BadValues(problems)) if problems[0].contains("key 2")
    );
    assert!(refused, "{applied:?}");
    lacking.keys.push(key(2, Purpose::Digest, 8));
    let (state, applied) = begin(lacking, base, world.now);
    assert!(
        matches!(applied.outcome.result, Came::Done(_)),
        "{applied:?}"
    );
    let codes: Vec<_> = state
        .keys()
        .map(|key| (key.id, key.code, key.stage))
        .collect();
    let expected = [
        (1, Digest([9; 32]), Stage::InUse),
        (2, Digest([8; 32]), Stage::InUse),
    ];
    assert_eq!(codes, expected);
}

#[test]
fn a_cluster_begins_with_the_state_that_its_record_names_and_once() {
    let mut world = World::in_session_1();
    let backup = take(&mut world);
    let founding = record(&backup, &world.state);
    let base = backup::base(&world.state);
    let evidence = Came::Rejected(Rejection::EvidenceDiffers);

    let (_, applied) = begin(founding.clone(), State::unfounded(), world.now);
    assert_eq!(applied.outcome.result, evidence);
    let mut others = founding.clone();
    others.restored.as_mut().unwrap().base = Digest::ZERO;
    let (_, applied) = begin(others, base.clone(), world.now);
    assert_eq!(applied.outcome.result, evidence);
    // Nor is it founded as if it were new.
    let mut plain = founding.clone();
    plain.restored = None;
    let (_, applied) = begin(plain, base.clone(), world.now);
    assert_eq!(applied.outcome.result, evidence);

    let (state, _) = begin(founding.clone(), base, world.now);
    let (_, applied) = begin(founding, state, world.now);
    let again = Came::Rejected(Rejection::AlreadyFounded);
    assert_eq!(applied.outcome.result, again);
}

#[test]
fn a_backup_is_noted_by_an_operator_on_the_main_line_with_a_reason() {
    let mut world = World::in_session_1();
    let command = |reason: &str| {
        Command::Cluster(cluster::Command::BackUp {
            id: BackupId([5; 16]),
            reason: reason.into(),
        })
    };
    for actor in [front(), back(), node()] {
        assert_eq!(
            world.rejected(&actor, command("why")),
            Rejection::NotAllowed
        );
    }
    for reason in ["", &"x".repeat(257)] {
        let rejection = world.rejected(&operator("ann"), command(reason));
        assert!(
            matches!(rejection, Rejection::BadValues(_)),
            "{rejection:?}"
        );
    }
    world.close("S1", SATURDAY_2000);
    world.open_session_2(SATURDAY_2000.plus(MINUTE));
    let mut branch = world.branch();
    let rejection = branch.rejected(&operator("ann"), command("why"));
    assert_eq!(rejection, Rejection::MainLineOnly);
    // The main line goes on taking it.
    world.done(&operator("ann"), command("why"));
    let row = world.rows.last().unwrap();
    assert_eq!(
        (row.kind, row.by.as_str()),
        (Kind::BackupTaken, "operator/ann")
    );
    let id = BackupId([5; 16]).to_string();
    assert_eq!(row.detail, Some(format!("{id}: why")));
}
