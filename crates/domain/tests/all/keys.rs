//! Keys: announced, proved, used, retired; and values sealed anew behind a change (LOGIN.md,
//! "Keys"; S22, S39).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;

use crate::world::*;
use domain::change_request::Act;
use domain::cluster::{self, KeyProof};
use domain::factor::Method;
use domain::keys::{self, CheckpointKey, Place, Purpose, Resealed, Stage};
use domain::outcome::Result as Came;
use domain::{Actor, Answer, Command, Digest, NodeId, Rejection, Sealed, State, UnixMs};

fn proof(id: u32, purpose: Purpose) -> KeyProof {
    let public = match purpose {
        Purpose::Seal => None,
        Purpose::Digest => Some(CheckpointKey([u8::try_from(id).unwrap(); 32])),
    };
    KeyProof {
        id,
        purpose,
        code: Digest::of("reference", &[&id.to_le_bytes()]),
        public,
    }
}

fn code(key: u32, node: u64) -> Digest {
    Digest::of("node", &[&key.to_le_bytes(), &node.to_le_bytes()])
}

/// The small world, founded with a record of its first two keys.
fn founded() -> World {
    let mut founding = founding();
    founding.keys = vec![proof(1, Purpose::Seal), proof(2, Purpose::Digest)];
    let mut world = World::empty();
    let command = cluster::Command::Found(Box::new(founding));
    world.done(&node(), Command::Cluster(command));
    let other = World::founded();
    for (_, envelope) in other.log.iter().skip(1) {
        world.done(&envelope.actor, envelope.command.clone());
    }
    world
}

fn announce(world: &mut World, id: u32, purpose: Purpose) -> Came {
    let key = proof(id, purpose);
    let command = Command::Keys(keys::Command::Announce { key });
    world.ask(&operator("ann"), command).result
}

fn prove(world: &mut World, key: u32, by: u64) -> Came {
    let code = code(key, by);
    let command = Command::Keys(keys::Command::Prove { key, code });
    world.ask(&Actor::Node(NodeId(by)), command).result
}

fn use_key(world: &mut World, key: u32) -> Came {
    let checked = world.state.key(key).map(|key| key.proofs.clone());
    let checked = checked.unwrap_or_default();
    let command = Command::Keys(keys::Command::Use { key, checked });
    world.ask(&operator("ann"), command).result
}

fn retire(world: &mut World, key: u32) -> Came {
    let command = Command::Keys(keys::Command::Retire { key });
    world.ask(&operator("ben"), command).result
}

fn put_to_use(world: &mut World, key: u32, purpose: Purpose) {
    assert_eq!(announce(world, key, purpose), Came::Done(Answer::Nothing));
    for by in 1..=6 {
        assert_eq!(prove(world, key, by), Came::Done(Answer::Nothing));
    }
    assert_eq!(use_key(world, key), Came::Done(Answer::Nothing));
}

/// The same value under another key, as a leader would seal it.
fn anew(place: Place, sealed: &Sealed, key: u32) -> Resealed {
    Resealed {
        place,
        was: sealed.digest(),
        sealed: Sealed {
            key,
            nonce: [9; 12],
            bytes: sealed.bytes.clone(),
        },
    }
}

fn waiting(state: &State, key: u32) -> Vec<Resealed> {
    let waiting = state.to_reseal(key);
    waiting
        .map(|(place, sealed)| anew(place, sealed, key))
        .collect()
}

fn reseal(world: &mut World, key: u32, values: Vec<Resealed>) -> Came {
    let command = Command::Keys(keys::Command::Reseal { key, values });
    world.ask(&node(), command).result
}

fn stage(world: &World, key: u32) -> Stage {
    world.state.key(key).unwrap().stage
}

#[test]
fn founding_keys_are_in_use_from_the_first_entry() {
    let world = founded();
    assert_eq!(world.state.keys().count(), 2);
    let of = |purpose| world.state.key_in_use(purpose).map(|key| key.id);
    assert_eq!((of(Purpose::Seal), of(Purpose::Digest)), (Some(1), Some(2)));
    assert!(world.state.values_sealed_by(1) > 0);
}

#[test]
fn a_key_is_used_only_after_every_node_of_both_centres_proved_it() {
    let mut world = founded();
    let unknown = Came::Rejected(Rejection::NoSuchKey { key: 3 });
    assert_eq!(use_key(&mut world, 3), unknown);
    assert_eq!(prove(&mut world, 3, 1), unknown);
    announce(&mut world, 3, Purpose::Seal);
    for by in [1, 2, 3, 4, 6] {
        prove(&mut world, 3, by);
    }
    let before = world.state.digests().account;
    let not_yet = Rejection::KeyNotProved {
        key: 3,
        nodes: vec![NodeId(5)],
    };
    assert_eq!(use_key(&mut world, 3), Came::Rejected(not_yet));
    assert_eq!(
        (stage(&world, 1), stage(&world, 3)),
        (Stage::InUse, Stage::Announced)
    );
    prove(&mut world, 3, 5);
    assert_eq!(use_key(&mut world, 3), Came::Done(Answer::Nothing));
    assert_eq!(
        (stage(&world, 1), stage(&world, 3)),
        (Stage::Old, Stage::InUse)
    );
    assert_eq!(use_key(&mut world, 3), Came::Rejected(Rejection::AlreadySo));
    // No account changed by it.
    assert_eq!(world.state.digests().account, before);
}

#[test]
fn a_node_proves_for_itself_and_what_was_said_since_is_looked_at_again() {
    let mut world = founded();
    announce(&mut world, 3, Purpose::Seal);
    let stranger = prove(&mut world, 3, 7);
    assert_eq!(stranger, Came::Rejected(Rejection::NotAllowed));
    for by in 1..=6 {
        prove(&mut world, 3, by);
    }
    let checked: BTreeMap<_, _> = world.state.key(3).unwrap().proofs.clone();
    // Node 6 says something else after somebody looked.
    let code = Digest::of("a guess", &[]);
    let lie = Command::Keys(keys::Command::Prove { key: 3, code });
    world.done(&Actor::Node(NodeId(6)), lie);
    let command = Command::Keys(keys::Command::Use { key: 3, checked });
    let refused = world.rejected(&operator("ann"), command);
    assert_eq!(refused, Rejection::ChangedSince);
    assert_eq!(stage(&world, 3), Stage::Announced);
}

#[test]
fn operators_alone_act_on_keys_and_on_the_main_line_alone() {
    let mut world = founded();
    announce(&mut world, 3, Purpose::Seal);
    for actor in [front(), back(), node()] {
        let command = Command::Keys(keys::Command::Use {
            key: 3,
            checked: BTreeMap::new(),
        });
        assert_eq!(world.rejected(&actor, command), Rejection::NotAllowed);
        let command = Command::Keys(keys::Command::Retire { key: 3 });
        assert_eq!(world.rejected(&actor, command), Rejection::NotAllowed);
        let key = proof(4, Purpose::Seal);
        let command = Command::Keys(keys::Command::Announce { key });
        assert_eq!(world.rejected(&actor, command), Rejection::NotAllowed);
    }
    let mut world = in_session_1();
    world.close("S1", SATURDAY_2000);
    world.open_session_2(SATURDAY_2000.plus(MINUTE));
    let mut branch = world.branch();
    let refused = announce(&mut branch, 3, Purpose::Seal);
    assert_eq!(refused, Came::Rejected(Rejection::MainLineOnly));
}

#[test]
fn an_id_is_never_given_twice() {
    let mut world = founded();
    announce(&mut world, 3, Purpose::Seal);
    let again = announce(&mut world, 3, Purpose::Seal);
    assert_eq!(again, Came::Rejected(Rejection::AlreadySo));
    let used = Came::Rejected(Rejection::KeyIdUsed { key: 3 });
    assert_eq!(announce(&mut world, 3, Purpose::Digest), used);
    assert_eq!(retire(&mut world, 3), Came::Done(Answer::Nothing));
    assert_eq!(announce(&mut world, 3, Purpose::Seal), used);
    let retired = Came::Rejected(Rejection::KeyRetired { key: 3 });
    assert_eq!(use_key(&mut world, 3), retired);
}

fn in_session_1() -> World {
    let mut world = founded();
    world.start("S1", SATURDAY_1800);
    world
}

/// A state with every place that a sealed value can stand in.
fn full() -> World {
    let mut world = in_session_1();
    world.initiate("AU1", "first", false);
    world.initiate("AU2", "first", true);
    let ann = operator("ann");
    let card = Act::RegisterCard {
        number: domain::CardNumber::parse("CARD-NEW").unwrap(),
        password: sealed("friday"),
    };
    world.make(&ann, None, "AD1", card);
    let issue = domain::account::Command::IssueActivationCode {
        account: id("AD2"),
        token: None,
        code: sealed("half"),
    };
    world.done(&ann, Command::Account(issue));
    let request = domain::initiation::Command::Request {
        subject: world.subject("BU3"),
        code: Some(sealed("mailed")),
    };
    world.done(&front(), Command::Initiation(request));
    world.begin_login("AU2", domain::portal::LandingOption::OtpOnline, "first");
    world
}

#[test]
fn every_sealed_value_in_the_rows_is_found_by_its_place() {
    let world = full();
    // Each one is encoded as a map with its three fields: counted in the rows as they are kept.
    let mut encoded = 0;
    for row in world.state.rows() {
        let bytes = domain::encoding::encode(&row);
        encoded += bytes
            .windows(6)
            .filter(|window| *window == b"\xa5nonce")
            .count();
    }
    let plain_nonces = world
        .state
        .rows()
        .map(|row| format!("{row:?}"))
        .map(|text| text.matches("nonce: [").count())
        .sum::<usize>();
    let found: Vec<Place> = world.state.to_reseal(99).map(|(place, _)| place).collect();
    assert_eq!(found.len() + plain_nonces, encoded, "{found:?}");
    let kinds = |wanted: fn(&Place) -> bool| found.iter().filter(|place| wanted(place)).count();
    assert!(
        kinds(|place| matches!(
            place,
            Place::Verifier {
                method: Method::Otp,
                ..
            }
        )) >= 2
    );
    assert!(kinds(|place| matches!(place, Place::Seed { .. })) >= 1);
    assert!(kinds(|place| matches!(place, Place::AskedFor { .. })) >= 1);
    assert!(kinds(|place| matches!(place, Place::IssuedHalf { .. })) >= 1);
    assert!(kinds(|place| matches!(place, Place::MailedHalf { .. })) >= 1);
}

#[test]
fn s39_every_value_is_sealed_anew_and_nothing_else_changes() {
    let mut world = full();
    put_to_use(&mut world, 3, Purpose::Seal);
    let notices = world.state.outbox().len();
    let values = waiting(&world.state, 3);
    let count = u32::try_from(values.len()).unwrap();
    assert!(count > 10);
    let plain = |state: &State| -> Vec<Vec<u8>> {
        let all = state.to_reseal(99);
        all.map(|(_, sealed)| sealed.bytes.clone()).collect()
    };
    let before = plain(&world.state);
    let came = reseal(&mut world, 3, values);
    assert_eq!(came, Came::Done(Answer::Resealed { count }));
    assert_eq!(world.state.values_sealed_by(1), 0);
    assert_eq!(world.state.to_reseal(3).count(), 0);
    assert_eq!(plain(&world.state), before);
    // Nobody is told that a factor changed: none did.
    assert_eq!(world.state.outbox().len(), notices);
    let account = world.state.account(&id("AU1")).unwrap();
    let version = account.password(Method::Otp).unwrap().version;
    assert!(version > 0);
    world.at(SATURDAY_1800.plus(2 * MINUTE));
    let logged_in = world.login("AU1", domain::portal::LandingOption::OtpOnline, "first");
    assert!(matches!(logged_in.result, Came::Done(_)), "{logged_in:?}");
    // The rows alone say the same.
    let again = State::from_rows(world.state.rows()).unwrap();
    assert_eq!(again.digests(), world.state.digests());
    assert_eq!(again.to_reseal(3).count(), 0);
}

#[test]
fn what_changed_since_it_was_read_stays() {
    let mut world = full();
    put_to_use(&mut world, 3, Purpose::Seal);
    let place = Place::Verifier {
        account: id("AU1"),
        method: Method::Otp,
    };
    let values = waiting(&world.state, 3);
    let value = values.iter().find(|value| value.place == place).unwrap();
    // The password changes between the reading and the entry.
    world.at(SATURDAY_1800.plus(2 * MINUTE));
    let logged_in = world.login("AU1", domain::portal::LandingOption::OtpOnline, "first");
    assert!(matches!(logged_in.result, Came::Done(_)), "{logged_in:?}");
    let token = world.tokens.last().copied().unwrap();
    let changed = world.change_password(token, "first", "second", domain::change::Reason::Routine);
    assert!(matches!(changed.result, Came::Done(_)), "{changed:?}");
    let before = world.state.digests().account;
    let came = reseal(&mut world, 3, vec![value.clone()]);
    assert_eq!(came, Came::Done(Answer::Resealed { count: 0 }));
    assert_eq!(world.state.digests().account, before);
    // Nor is a value put where another account is gone, or sealed for a key that is not in use.
    let mut other = value.clone();
    other.sealed.key = 1;
    let refused = reseal(&mut world, 3, vec![other.clone()]);
    assert_eq!(refused, Came::Rejected(Rejection::ChangedSince));
    let refused = reseal(&mut world, 1, vec![other]);
    assert_eq!(refused, Came::Rejected(Rejection::ChangedSince));
    let many = vec![value.clone(); keys::RESEALED_MAX + 1];
    let refused = reseal(&mut world, 3, many);
    assert_eq!(refused, Came::Rejected(Rejection::TooMany));
    let command = keys::Command::Reseal {
        key: 3,
        values: vec![value.clone()],
    };
    let refused = world.rejected(&operator("ann"), Command::Keys(command));
    assert_eq!(refused, Rejection::NotAllowed);
    assert_eq!(world.state.digests().account, before);
}

#[test]
fn a_key_is_retired_when_nothing_uses_it_and_nothing_comes_back_under_it() {
    let mut world = full();
    put_to_use(&mut world, 3, Purpose::Seal);
    let values = world.state.values_sealed_by(1);
    let in_use = |key, values| {
        Came::Rejected(Rejection::KeyInUse {
            key,
            values,
            until: None,
        })
    };
    assert_eq!(retire(&mut world, 1), in_use(1, values));
    assert_eq!(retire(&mut world, 3), in_use(3, 0));
    // All but one, of whichever kind it is.
    let mut all = waiting(&world.state, 3);
    while let Some(last) = all.pop() {
        let mut world = world.clone();
        let place = last.place.clone();
        reseal(&mut world, 3, all.clone());
        assert_ne!(
            retire(&mut world, 1),
            Came::Done(Answer::Nothing),
            "{place:?}"
        );
        if all.len() < 3 {
            break;
        }
    }
    let all = waiting(&world.state, 3);
    reseal(&mut world, 3, all);
    // An edge that has not heard of it yet seals with the former key still: that is taken.
    let late = domain::account::Command::IssueActivationCode {
        account: id("BD1"),
        token: None,
        code: sealed("half"),
    };
    world.done(&operator("ann"), Command::Account(late.clone()));
    assert_eq!(retire(&mut world, 1), in_use(1, 1));
    let all = waiting(&world.state, 3);
    reseal(&mut world, 3, all);
    assert_eq!(retire(&mut world, 1), Came::Done(Answer::Nothing));
    assert_eq!(stage(&world, 1), Stage::Retired);
    // And after it nothing that nobody could open any more.
    let before = world.state.digests().account;
    let refused = world.rejected(&operator("ann"), Command::Account(late));
    assert_eq!(refused, Rejection::KeyRetired { key: 1 });
    let token = world.tokens.last().copied().unwrap_or(Digest::ZERO);
    let changed = world.change_password(token, "first", "second", domain::change::Reason::Routine);
    assert_eq!(
        changed.result,
        Came::Rejected(Rejection::KeyRetired { key: 1 })
    );
    assert_eq!(world.state.digests().account, before);
    assert_eq!(retire(&mut world, 1), Came::Rejected(Rejection::AlreadySo));
}

#[test]
fn a_deleted_account_leaves_nothing_sealed() {
    let mut world = full();
    let (request, made) = world.make(&operator("ann"), None, "AD1", Act::Delete);
    assert!(matches!(made.result, Came::Done(_)), "{made:?}");
    world.approve_change(&operator("ben"), None, request);
    let of = |place: &Place| matches!(place, Place::Verifier { account, .. } | Place::Seed { account } if *account == id("AD1"));
    assert!(world.state.account(&id("AD1")).unwrap().deleted());
    assert!(!world.state.to_reseal(99).any(|(place, _)| of(&place)));
}

#[test]
fn a_former_key_is_used_again_without_new_proofs() {
    let mut world = full();
    put_to_use(&mut world, 3, Purpose::Seal);
    assert_eq!(use_key(&mut world, 1), Came::Done(Answer::Nothing));
    assert_eq!(
        (stage(&world, 1), stage(&world, 3)),
        (Stage::InUse, Stage::Old)
    );
    assert_eq!(retire(&mut world, 3), Came::Done(Answer::Nothing));
}

#[test]
fn a_digest_key_is_used_a_minute_later_and_kept_until_its_digests_are_forgotten() {
    let mut world = in_session_1();
    put_to_use(&mut world, 3, Purpose::Digest);
    let from = world.state.header().clock.plus(keys::DIGEST_LEAD_MS);
    assert_eq!(world.state.key(3).unwrap().used_from, Some(from));
    assert_eq!(world.state.key(2).unwrap().used_until, Some(from));
    let until = from.plus(24 * HOUR);
    let refused = Rejection::KeyInUse {
        key: 2,
        values: 0,
        until: Some(until),
    };
    assert_eq!(retire(&mut world, 2), Came::Rejected(refused.clone()));
    world.at(UnixMs(until.0 - 1));
    assert_eq!(retire(&mut world, 2), Came::Rejected(refused));
    world.at(until);
    assert_eq!(retire(&mut world, 2), Came::Done(Answer::Nothing));
    // What it signed is checked by its public half for ever.
    let retired = world.state.key(2).unwrap();
    assert_eq!(retired.public, Some(CheckpointKey([2; 32])));
    // Sealing has nothing to do with it.
    assert_eq!(world.state.key_in_use(Purpose::Seal).unwrap().id, 1);
}

#[test]
fn i10_a_branch_keeps_its_boundarys_keys_and_leaves_nothing_of_them() {
    let mut world = full();
    world.close("S1", SATURDAY_2000);
    world.open_session_2(SATURDAY_2000.plus(MINUTE));
    let mut without = world.clone();
    let mut branch = world.branch();
    let genesis = branch.state.to_reseal(99).count();
    // The key is used while the branch stands: on the main line alone.
    put_to_use(&mut world, 3, Purpose::Seal);
    put_to_use(&mut without, 3, Purpose::Seal);
    assert!(branch.state.key(3).is_none());
    for main in [&mut world, &mut without] {
        let values = waiting(&main.state, 3);
        let count = u32::try_from(values.len()).unwrap();
        assert_eq!(
            reseal(main, 3, values),
            Came::Done(Answer::Resealed { count })
        );
    }
    assert_eq!(branch.state.to_reseal(99).count(), genesis);
    // A value of the branch may carry the new key: every node holds it.
    let session = Came::Rejected(Rejection::BranchOpen {
        session: session("S2"),
    });
    assert_eq!(retire(&mut world, 1), session);
    branch.close("S2", SATURDAY_2300);
    let boundary = world.state.digests().account;
    world.close("S2", SATURDAY_2300);
    let evidence = branch.evidence();
    let rolled = world.roll_over(evidence, BTreeMap::new());
    assert!(matches!(rolled.result, Came::Done(_)), "{rolled:?}");
    assert_eq!(world.state.digests().account, boundary);
    assert_eq!(
        world.state.digests().account,
        without.state.digests().account
    );
    assert_eq!(retire(&mut world, 1), Came::Done(Answer::Nothing));
}
