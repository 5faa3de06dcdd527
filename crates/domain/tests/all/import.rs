//! Imports through `apply`: what two operators approved comes in, and nothing else (S34).
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use crate::world::*;
use domain::account::import::{IMPORTS_MAX, PARTS_MAX, Terms};
use domain::account::{self, Class, Imported};
use domain::outcome::Result as Came;
use domain::participant::Participant;
use domain::registration::{self, Holder};
use domain::{Answer, Command, Outcome, ParticipantId, Rejection};

fn refused(outcome: &Outcome) -> Rejection {
    match &outcome.result {
        Came::Rejected(rejection) => rejection.clone(),
        other => panic!("{other:?}"),
    }
}

fn firm(name: &str) -> Participant {
    Participant::new(ParticipantId::parse(name).unwrap(), name.into())
}

/// A delegated administrator with the mailbox of whoever wrote the file, and no card.
fn own_administrator(name: &str, firm: &str) -> Imported {
    Imported {
        id: id(name),
        participant: ParticipantId::parse(firm).unwrap(),
        class: Class::DelegatedAdmin,
        title: "me".into(),
        email: Some("ann@example.com".into()),
        card: None,
    }
}

const APPROVED: fn(u32) -> Came = |have| Came::Done(Answer::Approved { have, need: 2 });

#[test]
fn one_operator_alone_ends_with_nobody_let_in_s34() {
    let mut world = World::in_session_1();
    let before = world.state.digests().account;
    let (firms, people) = ([firm("A")], [own_administrator("AD9", "A")]);
    let wanted = terms(&[(&firms, &people)]);
    let import = entry(&wanted, 0, &firms, &people);
    let not_approved = |have| Rejection::NotApproved { have, need: 2 };
    assert_eq!(
        world.rejected(&operator("ann"), import.clone()),
        not_approved(0)
    );
    // The same person again is one person.
    for _ in 0..2 {
        let approved = world.approve_import("ann", &wanted);
        assert_eq!(approved.result, APPROVED(1));
    }
    assert_eq!(
        world.rejected(&operator("ann"), import.clone()),
        not_approved(1)
    );
    // Nor without naming what was approved, nor on the strength of what another approved.
    let bare = Command::Account(account::Command::Import {
        participants: firms.to_vec(),
        accounts: people.to_vec(),
        part: None,
    });
    assert_eq!(world.rejected(&operator("ann"), bare), not_approved(0));
    let others = [own_administrator("BD9", "B")];
    let other = terms(&[(&[], &others)]);
    assert_eq!(world.approve_import("ben", &other).result, APPROVED(1));
    assert_eq!(
        world.rejected(&operator("ann"), entry(&other, 0, &[], &others)),
        not_approved(1)
    );
    for actor in [front(), back(), node()] {
        assert_eq!(
            world.rejected(&actor, import.clone()),
            Rejection::NotAllowed
        );
        let terms = wanted.clone();
        let approve = Command::Account(account::Command::ApproveImport { terms });
        assert_eq!(world.rejected(&actor, approve), Rejection::NotAllowed);
    }
    assert!(matches!(
        world.issue(&operator("ann"), None, "AD9").result,
        Came::Rejected(Rejection::NoSuchAccount)
    ));
    assert_eq!(world.state.digests().account, before);
    // With the second it comes in.
    assert_eq!(world.approve_import("ben", &wanted).result, APPROVED(2));
    world.done(&operator("ben"), import);
    assert!(world.state.account(&id("AD9")).is_some());
}

#[test]
fn only_rows_that_were_approved_come_in_each_at_its_place_s34() {
    let mut world = World::founded();
    let first = [own_administrator("AD8", "A")];
    let second = [own_administrator("CD1", "C")];
    let new = [firm("C")];
    let wanted = terms(&[(&[], &first), (&new, &second)]);
    for who in ["ann", "ben"] {
        world.approve_import(who, &wanted);
    }
    let before = world.state.digests().account;
    let changed = |change: fn(&mut Imported)| {
        let mut rows = first.clone();
        change(&mut rows[0]);
        entry(&wanted, 0, &[], &rows)
    };
    let named = |change: fn(&mut account::import::Part)| {
        let mut command = entry(&wanted, 0, &[], &first);
        if let Command::Account(account::Command::Import {
            part: Some(part), ..
        }) = &mut command
        {
            change(part);
        }
        command
    };
    for other in [
        changed(|row| row.email = Some("thief@example.com".into())),
        changed(|row| row.class = Class::User),
        changed(|row| row.title = "you".into()),
        changed(|row| row.id = id("AD7")),
        changed(|row| {
            row.card = Some((domain::CardNumber::parse("X1").unwrap(), sealed("x")));
        }),
        // A card's verifier is sealed in the entry; the edge says which one it was.
        named(|part| part.verifiers = domain::Digest::ZERO),
        named(|part| part.index = 1),
        named(|part| part.index = 2),
        entry(&wanted, 1, &[], &second),
    ] {
        assert_eq!(
            world.rejected(&operator("ann"), other),
            Rejection::ApprovalDiffers
        );
    }
    assert_eq!(world.state.digests().account, before);
    // In any order, by any operator; and twice is told.
    world.done(&operator("ben"), entry(&wanted, 1, &new, &second));
    world.done(&operator("ann"), entry(&wanted, 0, &[], &first));
    let again = world.rejected(&operator("ann"), entry(&wanted, 0, &[], &first));
    assert!(matches!(again, Rejection::ImportConflicts(_)));
}

#[test]
fn approvals_that_count_no_longer_bring_nobody_in_s34() {
    let (people, ann) = ([own_administrator("AD9", "A")], operator("ann"));
    let wanted = terms(&[(&[], &people)]);
    let import = entry(&wanted, 0, &[], &people);
    let mut late = World::founded();
    for who in ["ann", "ben"] {
        late.approve_import(who, &wanted);
    }
    let mut retired = late.clone();
    late.at(late.now.plus(20 * MINUTE));
    assert_eq!(
        late.rejected(&ann, import.clone()),
        Rejection::NotApproved { have: 0, need: 2 }
    );
    let cat = registration::Registering {
        holder: Holder::Operator(domain::OperatorId::parse("cat").unwrap()),
        key: domain::cluster::KeyPin([77; 32]),
        portals: Vec::new(),
    };
    for who in ["ann", "ben"] {
        let registering = cat.clone();
        let register = registration::Command::Register {
            registering,
            reason: "a third".into(),
        };
        retired.done(&operator(who), Command::Registration(register));
    }
    let retire = registration::Command::Retire {
        holder: Holder::Operator(domain::OperatorId::parse("ben").unwrap()),
        reason: "has left".into(),
    };
    retired.done(&ann, Command::Registration(retire));
    assert_eq!(
        retired.rejected(&ann, import),
        Rejection::NotApproved { have: 1, need: 2 }
    );
}

#[test]
fn what_waits_of_imports_has_a_limit() {
    let mut world = World::founded();
    let of = |parts: usize| Terms {
        participants: 0,
        accounts: 1,
        parts: vec![domain::Digest::ZERO; parts],
    };
    for parts in [0, PARTS_MAX + 1] {
        let approved = world.approve_import("ann", &of(parts));
        assert!(matches!(refused(&approved), Rejection::BadValues(_)));
    }
    // What the world began with waits no longer.
    world.at(world.now.plus(31 * MINUTE));
    for parts in 1..=IMPORTS_MAX {
        let approved = world.approve_import("ann", &of(parts));
        assert_eq!(approved.result, APPROVED(1));
    }
    let one_more = world.approve_import("ann", &of(IMPORTS_MAX + 1));
    assert_eq!(refused(&one_more), Rejection::TooMany);
    let known = world.approve_import("ben", &of(IMPORTS_MAX));
    assert_eq!(known.result, APPROVED(2));
}

#[test]
fn a_stored_import_from_before_approvals_is_read_and_brings_nobody_in() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/import-unapproved.txt"
    );
    let hex = std::fs::read_to_string(path).unwrap();
    let bytes: Vec<u8> = hex
        .trim()
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let stored: domain::Envelope = domain::encoding::decode(&bytes).unwrap();
    let Command::Account(account::Command::Import { part, accounts, .. }) = &stored.command else {
        panic!("{stored:?}");
    };
    assert!(part.is_none() && !accounts.is_empty());
    let mut world = World::in_session_1();
    assert_eq!(
        world.rejected(&stored.actor, stored.command.clone()),
        Rejection::NotApproved { have: 0, need: 2 }
    );
}
