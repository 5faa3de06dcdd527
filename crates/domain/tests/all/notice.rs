//! Notices through `apply`: who is told what, at which address, and what stands until it is mailed.
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;

use crate::world::*;
use domain::audit;
use domain::change::Reason;
use domain::change_request::Act;
use domain::factor::Method;
use domain::notice::{self, Kind, Notice, NoticeId};
use domain::outcome::Result as Came;
use domain::portal::LandingOption;
use domain::session::Reply;
use domain::{Command, Rejection, Row, State, encoding};

/// What waits, as account, address and kind.
fn waiting(world: &World) -> Vec<(String, String, Kind)> {
    let told = |notice: &Notice| {
        let account = notice.account.to_string();
        (account, notice.address.clone(), notice.kind.clone())
    };
    world.state.outbox().iter().map(told).collect()
}

fn ids(world: &World) -> Vec<NoticeId> {
    world.state.outbox().iter().map(|one| one.id).collect()
}

fn sent(sent: Vec<NoticeId>, given_up: Vec<NoticeId>) -> Command {
    Command::Notice(notice::Command::Sent { sent, given_up })
}

/// Mails what waits; what it was.
fn mailed(world: &mut World) -> Vec<(String, String, Kind)> {
    let were = waiting(world);
    let all = ids(world);
    if !all.is_empty() {
        world.done(&node(), sent(all, Vec::new()));
    }
    assert!(world.state.outbox().is_empty());
    were
}

fn told(account: &str, kind: Kind) -> (String, String, Kind) {
    (account.to_owned(), format!("{account}@example.com"), kind)
}

/// Two people of the operators' side make and approve an act about a DA.
fn given(world: &mut World, who: &str, act: Act) {
    let (request, made) = world.make(&operator("ann"), None, who, act);
    assert!(matches!(made.result, Came::Done(_)), "{made:?}");
    let done = world.approve_change(&operator("ben"), None, request);
    assert!(matches!(done.result, Came::Done(_)), "{done:?}");
}

#[test]
fn each_change_of_a_credential_is_told_by_its_own_entry_s28() {
    let mut world = World::in_session_1();
    assert!(waiting(&world).is_empty(), "an import tells nobody");
    world.initiate("AD1", "first", false);
    let before = world.state.outbox().iter().next().unwrap().clone();
    assert_eq!(before.id.entry, world.log.last().unwrap().0);
    assert_eq!(mailed(&mut world), [told("AD1", Kind::Initiated)]);

    world.at(world.now.plus(MINUTE));
    world.login("AD1", LandingOption::OtpSecurity, "first");
    let token = *world.tokens.last().unwrap();
    assert!(waiting(&world).is_empty(), "a login is no change");
    world.change_password(token, "first", "second", Reason::Routine);
    let changed = Kind::PasswordChanged(Method::Otp);
    assert_eq!(mailed(&mut world), [told("AD1", changed.clone())]);
    world.at(world.now.plus(MINUTE));
    world.replace_channel(token, "second", Reason::Routine);
    assert_eq!(mailed(&mut world), [told("AD1", Kind::ChannelReplaced)]);

    let token = world.card_token("AD1");
    world.change_password(token, "friday", "saturday", Reason::Routine);
    let card = Kind::PasswordChanged(Method::Smartcard);
    assert_eq!(mailed(&mut world), [told("AD1", card)]);

    world.suspend(&operator("ann"), None, "AD1");
    assert_eq!(mailed(&mut world), [told("AD1", Kind::Suspended)]);
    given(&mut world, "AD1", Act::Resume);
    assert_eq!(mailed(&mut world), [told("AD1", Kind::Resumed)]);
    given(&mut world, "AD1", Act::ResetPassword);
    assert_eq!(mailed(&mut world), [told("AD1", Kind::PasswordReset)]);
    given(&mut world, "AD1", Act::ResetChannel);
    assert_eq!(mailed(&mut world), [told("AD1", Kind::OtpRevoked)]);
    let act = domain::account::Command::RevokeCard {
        account: id("AD1"),
        token: None,
        reason: "lost".into(),
    };
    world.done(&operator("ann"), Command::Account(act));
    assert_eq!(mailed(&mut world), [told("AD1", Kind::CardRevoked)]);
    let act = Act::RegisterCard {
        number: domain::CardNumber::parse("CARD-NEW").unwrap(),
        password: sealed("new"),
    };
    given(&mut world, "AD1", act);
    assert_eq!(mailed(&mut world), [told("AD1", Kind::CardRegistered)]);
    given(&mut world, "AD1", Act::Delete);
    assert_eq!(mailed(&mut world), [told("AD1", Kind::Deleted)]);
    // Each was noted in the audit with its account.
    let noted = world
        .rows
        .iter()
        .filter(|row| row.kind == audit::Kind::NoticeSent && row.account == Some(id("AD1")));
    assert_eq!(noted.count(), 11);
}

#[test]
fn a_changed_address_is_told_to_the_old_one_first_s29() {
    let mut world = World::in_session_1();
    given(&mut world, "AD1", Act::SetEmail("new@example.com".into()));
    let to = |address: &str| ("AD1".to_owned(), address.to_owned(), Kind::EmailChanged);
    let expected = [to("AD1@example.com"), to("new@example.com")];
    assert_eq!(waiting(&world), expected);
    // What comes after goes to the address that is registered.
    world.suspend(&operator("ann"), None, "AD1");
    assert_eq!(waiting(&world)[2].1, "new@example.com");
    // Who has no address is told nothing.
    world.suspend(&operator("ann"), None, "AU4");
    assert_eq!(waiting(&world).len(), 3);
}

#[test]
fn failed_attempts_are_told_once_and_a_lock_is_told_by_itself_s28() {
    let mut world = World::in_session_1();
    let option = LandingOption::SmartcardOnlineAndReports;
    for failure in 1..=100 {
        world.begin_login("AU1", option, "guess");
        let kinds: Vec<Kind> = waiting(&world)
            .into_iter()
            .map(|(_, _, kind)| kind)
            .collect();
        match failure {
            ..10 => assert!(kinds.is_empty(), "{failure}"),
            10..100 => assert_eq!(kinds, [Kind::SuspiciousAttempts], "{failure}"),
            _ => assert_eq!(kinds, [Kind::SuspiciousAttempts, Kind::Locked], "{failure}"),
        }
        if let Some(wait) = domain::login::wait_until(
            &world.state,
            &world.subject("AU1"),
            Method::Smartcard,
            None,
            world.now,
        ) {
            // A hundred failures of strangers take longer than the session lasts.
            world.state = reopened(&world);
            world.at(wait);
        }
    }
}

/// The state with a session that does not end.
fn reopened(world: &World) -> State {
    let rows = world.state.rows().map(|row| match row {
        Row::Plan(mut plan) => {
            plan.session.closes = domain::UnixMs(u64::MAX);
            Row::Plan(plan)
        }
        other => other,
    });
    State::from_rows(rows).unwrap()
}

#[test]
fn guessing_does_not_fill_a_mailbox() {
    let mut world = World::in_session_1();
    let option = LandingOption::SmartcardOnlineAndReports;
    for _ in 0..3 {
        for _ in 0..10 {
            world.begin_login("AU1", option, "guess");
        }
        let verdict = world.verdict("AU1", Method::Smartcard, "friday");
        assert!(matches!(verdict, domain::factor::Verdict::Right { .. }));
        world.at(world.now.plus(MINUTE));
        world.login("AU1", option, "friday");
    }
    assert_eq!(waiting(&world), [told("AU1", Kind::SuspiciousAttempts)]);
    assert_eq!(world.state.outbox().counts().withheld, 2);
    // An hour later it is told again.
    world.at(world.now.plus(notice::HOUR_MS));
    for _ in 0..10 {
        world.begin_login("AU1", option, "guess");
    }
    assert_eq!(waiting(&world).len(), 2);
}

#[test]
fn a_notice_stands_until_a_node_says_that_it_was_mailed() {
    let mut world = World::in_session_1();
    world.suspend(&operator("ann"), None, "AU1");
    world.suspend(&operator("ann"), None, "AU2");
    let all = ids(&world);
    let before = world.state.digests();
    for other in [operator("ann"), front(), back()] {
        let refused = world.rejected(&other, sent(all.clone(), Vec::new()));
        assert_eq!(refused, Rejection::NotAllowed);
    }
    assert_eq!(ids(&world), all);
    world.done(&node(), sent(vec![all[0]], Vec::new()));
    assert_eq!(ids(&world), all[1..]);
    // Another node, which led before, says it too.
    let again = world.rejected(&node(), sent(vec![all[0]], Vec::new()));
    assert_eq!(again, Rejection::AlreadySo);
    world.done(&node(), sent(all.clone(), Vec::new()));
    assert!(world.state.outbox().is_empty());
    // The outbox lies outside the account digest, and inside the full one.
    assert_eq!(world.state.digests().account, before.account);
    let many = vec![all[0]; notice::SETTLED_MAX + 1];
    assert_eq!(
        world.rejected(&node(), sent(many, Vec::new())),
        Rejection::TooMany
    );
    world.initiate("BU1", "first", false);
    let given_up = ids(&world);
    world.done(&node(), sent(Vec::new(), given_up));
    assert!(world.state.outbox().is_empty());
    let last = world.rows.last().unwrap();
    assert_eq!(last.kind, audit::Kind::NoticeGivenUp);
    assert_eq!(last.account, Some(id("BU1")));
}

#[test]
fn what_waits_survives_its_rows_and_moves_the_full_digest() {
    let mut world = World::in_session_1();
    let empty = world.state.digests();
    world.suspend(&operator("ann"), None, "AU1");
    assert_ne!(world.state.digests().full, empty.full);
    let rows: Vec<Row> = world
        .state
        .rows()
        .map(|row| encoding::decode(&encoding::encode(&row)).unwrap())
        .collect();
    let without = rows.iter().filter(|row| !matches!(row, Row::Notice(_)));
    let without = State::from_rows(without.cloned()).unwrap();
    assert_ne!(without.digests().full, world.state.digests().full);
    assert_eq!(without.digests().account, world.state.digests().account);
    let restored = State::from_rows(rows).unwrap();
    assert_eq!(restored.digests(), world.state.digests());
    assert_eq!(restored.outbox().len(), 1);
}

#[test]
fn a_branch_starts_with_an_empty_outbox_and_its_genesis_has_the_main_line_s() {
    let (main, branch) = drill();
    assert_eq!(waiting(&main), [told("AU1", Kind::Initiated)]);
    assert!(branch.state.outbox().is_empty());
    // What the main line has to tell, its own leader mails meanwhile.
    let mut main = main;
    assert_eq!(mailed(&mut main).len(), 1);
}

#[test]
fn each_holder_of_a_touched_account_is_told_that_it_was_not_carried_forward() {
    let (mut main, mut branch) = drill();
    mailed(&mut main);
    branch.login("AU1", LandingOption::OtpOnline, "first");
    let token = *branch.tokens.last().unwrap();
    branch.at(SATURDAY_2200.plus(14 * MINUTE));
    branch.change_password(token, "first", "second", Reason::Routine);
    // One without an address, and one whose address was changed in the session alone.
    branch.suspend(&operator("ann"), None, "AU4");
    let email = Act::SetEmail("elsewhere@example.com".into());
    let (request, made) = {
        let maker = branch.card_token("BD1");
        branch.make(&front(), Some(maker), "BU1", email)
    };
    assert!(matches!(made.result, Came::Done(_)), "{made:?}");
    let checker = branch.card_token("BD2");
    let approved = branch.approve_change(&front(), Some(checker), request);
    assert!(matches!(approved.result, Came::Done(_)), "{approved:?}");
    // Only looked at: nobody is told of a login.
    branch.card_token("BU2");
    let drill_mail = waiting(&branch);
    assert_eq!(drill_mail.len(), 3, "{drill_mail:?}");
    branch.close("S2", SATURDAY_2300);
    main.close("S2", SATURDAY_2300);
    let evidence = branch.evidence();
    let replies: BTreeMap<u64, Reply> = waive(&evidence);
    let refused = main.roll_over(evidence.clone(), BTreeMap::new());
    assert!(matches!(refused.result, Came::Rejected(_)));
    assert!(waiting(&main).is_empty(), "a refused rollover tells nobody");
    main.roll_over(evidence.clone(), replies.clone());
    let not_carried = |kind: audit::Kind, at: domain::UnixMs| Kind::NotCarriedForward {
        session: session("S2"),
        changes: BTreeMap::from([(kind, at)]),
    };
    let at = SATURDAY_2200.plus(14 * MINUTE);
    assert_eq!(
        waiting(&main),
        [
            told("AU1", not_carried(audit::Kind::PasswordChanged, at)),
            told("BU1", not_carried(audit::Kind::EmailSet, at)),
        ]
    );
    // Twice is once (I8).
    main.roll_over(evidence, replies);
    assert_eq!(waiting(&main).len(), 2);
}

#[test]
fn the_oldest_makes_room_and_is_counted() {
    let mut world = World::in_session_1();
    world.suspend(&operator("ann"), None, "AU1");
    let first = world.state.outbox().iter().next().unwrap().clone();
    let rows = (1..notice::NOTICES_MAX).map(|part| {
        let part = u32::try_from(part).unwrap();
        Row::Notice(Box::new(Notice {
            id: NoticeId { part, ..first.id },
            ..first.clone()
        }))
    });
    world.state = State::from_rows(world.state.rows().chain(rows)).unwrap();
    assert_eq!(world.state.outbox().len(), notice::NOTICES_MAX);
    world.suspend(&operator("ann"), None, "AU2");
    assert_eq!(world.state.outbox().len(), notice::NOTICES_MAX);
    assert_eq!(world.state.outbox().counts().dropped, 1);
    assert!(!ids(&world).contains(&first.id));
}
